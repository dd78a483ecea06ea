/* Files: read whole or mapped; written under another name and renamed, so that no reader ever sees half
 * a file. */
#ifndef TLMI_FILE_H
#define TLMI_FILE_H

#include "tinylm/status.h"

/* The contents of a file. Small files are copied into memory. Large ones are mapped, and the system
 * ends a process that reads a mapped page behind the end of a file that was cut short meanwhile: who
 * goes on reading a mapping for long calls tlmi_mapping_check from time to time. */
typedef struct tlmi_mapping {
    const uint8_t *data; /* NULL where size is 0 */
    size_t size;
    bool is_mapped; /* else `data` is a block of memory */
    int file;       /* open while it is mapped */
} tlmi_mapping_t;

/* Files up to this size are copied: the copy takes a few milliseconds, and the file may then change. */
#define TLMI_COPIED_FILE_SIZE ((size_t)16 << 20)

/* Opens a regular file read-only; an empty one has size 0. Directories, FIFOs, devices and sockets are
 * TLM_ERR_IO, without waiting for anything. A file that states no size but has contents, as those of
 * /proc, is read to its end. */
tlm_status_t tlmi_map_file(tlmi_mapping_t *out, const char *path);
/* The same, copied whatever its size: for files that are parsed once and as a whole. */
tlm_status_t tlmi_read_file(tlmi_mapping_t *out, const char *path);
/* The first bytes alone, up to `room` of them. */
tlm_status_t tlmi_read_head(size_t *size, void *bytes, size_t room, const char *path);
void tlmi_unmap_file(tlmi_mapping_t *mapping);

/* TLM_ERR_IO if the file behind a mapping is shorter than it was. It may be cut short right after, so
 * this makes the crash unlikely, not impossible. Any thread may call it. */
tlm_status_t tlmi_mapping_check(const tlmi_mapping_t *mapping, const char *what);

/* Takes bytes [from, to) of a mapping, and what the system has read around them, out of the process's
 * memory; they come back when they are read again. Any thread may read them meanwhile. */
void tlmi_mapping_leave(const tlmi_mapping_t *mapping, size_t from, size_t to);

bool tlmi_is_directory(const char *path);
bool tlmi_is_regular_file(const char *path);
/* TLM_ERR_IO, saying what it is, if there is something at `path` other than a regular file. */
tlm_status_t tlmi_require_regular_file(const char *action, const char *path);

/* Buffered writer to "<path>.tmp-<pid>-<n>", renamed to `path` by commit after fsync. A symbolic link
 * stays, and the file that it names is written. The new file has the mode of the one that it replaces,
 * and its owner and group as far as the process may give them. */
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

/* Removes temporary files that killed writers left in `directory`, of files whose names begin with
 * `prefix`. A writer holds a lock on its temporary file, so files of writers at work are left alone,
 * whichever process, container or machine they belong to. */
tlm_status_t tlmi_remove_leftovers(const char *directory, const char *prefix);

/* Makes a directory unless there is one; its parent must exist. */
tlm_status_t tlmi_make_directory(const char *path);

#endif
