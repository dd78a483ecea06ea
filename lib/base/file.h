/* Files: read by mapping, written aside and renamed, so that no reader ever sees half a file. */
#ifndef TLMI_FILE_H
#define TLMI_FILE_H

#include "tinylm/status.h"

typedef struct tlmi_mapping {
    const uint8_t *data; /* NULL where size is 0 */
    size_t size;
} tlmi_mapping_t;

/* Maps a regular file read-only (an empty one maps to size 0). */
tlm_status_t tlmi_map_file(tlmi_mapping_t *out, const char *path);
void tlmi_unmap_file(tlmi_mapping_t *mapping);
/* Takes bytes [from, to) and what the system has brought in around them out of the process's memory;
 * they come back when they are read again. Any thread may read them meanwhile. */
void tlmi_mapping_leave(const tlmi_mapping_t *mapping, size_t from, size_t to);

/* Buffered writer to "<path>.tmp-<pid>-<n>", renamed to `path` by commit after fsync. */
typedef struct tlmi_writer tlmi_writer_t;
tlm_status_t tlmi_writer_open(tlmi_writer_t **out, const char *path);
tlm_status_t tlmi_writer_write(tlmi_writer_t *writer, const void *bytes, size_t size);
/* Overwrites bytes already written at `offset` (a header whose counts are known last). */
tlm_status_t tlmi_writer_patch(tlmi_writer_t *writer, uint64_t offset, const void *bytes,
                               size_t size);
uint64_t tlmi_writer_size(const tlmi_writer_t *writer);
/* Flushes, fsyncs file and directory, renames, frees the writer. On failure the old file stays, the
 * temporary one is removed and the writer is freed as well. */
tlm_status_t tlmi_writer_commit(tlmi_writer_t *writer);
/* Drops what was written; NULL is fine. */
void tlmi_writer_abort(tlmi_writer_t *writer);

/* Removes what writers that were killed have left in `directory`, of files whose names begin with
 * `prefix`. No writer of this process may be at work on such a file; those of others are let be. */
tlm_status_t tlmi_remove_leftovers(const char *directory, const char *prefix);

/* Makes a directory unless there is one; its parent must exist. */
tlm_status_t tlmi_make_directory(const char *path);

#endif
