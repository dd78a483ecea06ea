/* Files are read whole or mapped. They are written under a temporary name and then renamed, so no
 * reader ever sees a partial file. */
#ifndef TLMI_FILE_H
#define TLMI_FILE_H

#include <stdatomic.h>

#include "tinylm/status.h"

/* The contents of a file. Small files are copied into memory; large ones are mapped. If a mapped
 * file is truncated, the system kills a process that reads a page past the new end, so code that
 * reads a mapping for a long time calls tlmi_mapping_check from time to time. */
typedef struct tlmi_mapping {
    const uint8_t *data; /* NULL if size is 0 */
    size_t size;
    bool is_mapped;     /* otherwise `data` is a block of memory */
    int file;           /* open while the file is mapped */
    atomic_int *owners; /* NULL: one; see tlmi_mapping_share */
} tlmi_mapping_t;

/* Files up to this size are copied: the copy takes a few milliseconds, and the file may change
 * afterward. */
#define TLMI_COPIED_FILE_SIZE ((size_t)16 << 20)

/* Opens a regular file read-only; an empty file has size 0. Directories, FIFOs, devices and
 * sockets fail with TLM_ERR_IO without blocking. A file that reports size 0 but has contents, such
 * as one in /proc, is read to its end. */
tlm_status_t tlmi_map_file(tlmi_mapping_t *out, const char *path);
/* The same, but always copied: for files that are parsed once and as a whole. */
tlm_status_t tlmi_read_file(tlmi_mapping_t *out, const char *path);
/* Reads only the first bytes, up to `room` of them. */
tlm_status_t tlmi_read_head(size_t *size, void *bytes, size_t room, const char *path);
void tlmi_unmap_file(tlmi_mapping_t *mapping);

/* Makes *out another owner of the contents, which last until each owner has called tlmi_unmap_file.
 * Writing to shared contents changes the process's copy, not the file. */
tlm_status_t tlmi_mapping_share(tlmi_mapping_t *out, tlmi_mapping_t *mapping);

/* Fails with TLM_ERR_IO if the file behind a mapping is shorter than it was. The file may be
 * truncated right after the check, so this makes a crash unlikely, not impossible. Any thread may
 * call it. */
tlm_status_t tlmi_mapping_check(const tlmi_mapping_t *mapping, const char *what);

/* Drops bytes [from, to) of a mapping, and the pages that the system has read around them, from
 * the process's memory. They are loaded again when next read. Other threads may read them
 * meanwhile. */
void tlmi_mapping_leave(const tlmi_mapping_t *mapping, size_t from, size_t to);

/* The size of a file that tlmi_map_file would open, which has the same errors. */
tlm_status_t tlmi_file_size(uint64_t *size, const char *path);

bool tlmi_is_directory(const char *path);
bool tlmi_is_regular_file(const char *path);
/* Fails with TLM_ERR_IO, naming what is there, if `path` exists and is not a regular file. */
tlm_status_t tlmi_require_regular_file(const char *action, const char *path);

/* Buffered writer to "<path>.tmp-<pid>-<n>", which commit syncs and renames to `path`. If `path`
 * is a symbolic link, the link stays and its target is written. The new file gets the mode of
 * the file it replaces, and its owner and group as far as the process may set them. */
typedef struct tlmi_writer tlmi_writer_t;
tlm_status_t tlmi_writer_open(tlmi_writer_t **out, const char *path);
tlm_status_t tlmi_writer_write(tlmi_writer_t *writer, const void *bytes, size_t size);
/* Overwrites bytes already written at `offset` (a header whose counts are only known at the
 * end). */
tlm_status_t tlmi_writer_patch(tlmi_writer_t *writer, uint64_t offset, const void *bytes,
                               size_t size);
uint64_t tlmi_writer_size(const tlmi_writer_t *writer);
/* Flushes, fsyncs the file and its directory, renames, and frees the writer. On failure the old
 * file stays, the temporary file is removed, and the writer is freed as well. */
tlm_status_t tlmi_writer_commit(tlmi_writer_t *writer);
/* Discards what was written and frees the writer. NULL is allowed. */
void tlmi_writer_abort(tlmi_writer_t *writer);

/* Processes that write one file together. One of them opens a writer and tells the others the name
 * of its temporary file, without directories; each of these joins it, and writes where it seeks to.
 * To join, `path` needs the same directory only. Committing a writer that joined syncs what it
 * wrote; that of the first process, which comes last, renames the file. */
const char *tlmi_writer_aside_name(const tlmi_writer_t *writer); /* borrowed */
tlm_status_t tlmi_writer_join(tlmi_writer_t **out, const char *path, const char *aside_name);
/* What is written next goes to byte `offset`, which may be past the end. */
tlm_status_t tlmi_writer_seek(tlmi_writer_t *writer, uint64_t offset);
/* Removes the temporary files that killed writers of `path` left behind. */
tlm_status_t tlmi_writer_remove_leftovers(const char *path);

/* Removes the temporary files that killed writers left in `directory` for files whose names
 * begin with `prefix`. A writer holds a lock on its temporary file, so files of active writers
 * are left alone, whichever process, container or machine they belong to. */
tlm_status_t tlmi_remove_leftovers(const char *directory, const char *prefix);

/* Creates a directory unless it exists; its parent must exist. */
tlm_status_t tlmi_make_directory(const char *path);

/* ---- Checksums --------------------------------------------------------------------------- */

/* CRC-64/XZ, the checksum of checkpoints: polynomial ECMA-182, reflected, as the xz format defines
 * it. */

/* A running checksum. */
typedef struct tlmi_crc64 {
    uint64_t value;
} tlmi_crc64_t;

void tlmi_crc64_init(tlmi_crc64_t *crc);
void tlmi_crc64_update(tlmi_crc64_t *crc, const void *bytes, size_t size);
uint64_t tlmi_crc64_final(const tlmi_crc64_t *crc);

#endif
