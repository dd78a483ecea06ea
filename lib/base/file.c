/* Mapped reading, and writing aside with a rename at the end. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

#define BUFFER_SIZE  ((size_t)1 << 18)
#define FAULT_WINDOW ((size_t)2 << 20) /* of a huge page */
#define ASIDE_MARK   ".tmp-"           /* then come the process and a number */

tlm_status_t tlmi_map_file(tlmi_mapping_t *out, const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return tlmi_fail_errno("open", path);
    struct stat info;
    tlm_status_t status = TLM_OK;
    void *data = NULL;
    if (fstat(file, &info) != 0)
        status = tlmi_fail_errno("stat", path);
    else if (!S_ISREG(info.st_mode))
        status = tlmi_fail(TLM_ERR_IO, "open %s: not a regular file", path);
    else if (info.st_size > 0) {
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED)
            status = tlmi_fail_errno("map", path);
    }
    close(file);
    if (status == TLM_OK)
        *out = (tlmi_mapping_t){data, (size_t)info.st_size};
    return status;
}

void tlmi_unmap_file(tlmi_mapping_t *mapping)
{
    if (mapping->size > 0)
        munmap((void *)(uintptr_t)mapping->data, mapping->size);
    *mapping = (tlmi_mapping_t){NULL, 0};
}

void tlmi_mapping_leave(const tlmi_mapping_t *mapping, size_t from, size_t to)
{
    /* A page fault maps the pages around it too, up to a huge page where the file is cached so. */
    from = from / FAULT_WINDOW * FAULT_WINDOW;
    to = mapping->size - to < FAULT_WINDOW ? mapping->size : (to / FAULT_WINDOW + 1) * FAULT_WINDOW;
    if (to > from)
        (void)madvise((uint8_t *)(uintptr_t)mapping->data + from, to - from, MADV_DONTNEED);
}

struct tlmi_writer {
    int file;
    char *path;
    char *aside; /* the temporary file's name */
    uint8_t *buffer;
    size_t used;      /* bytes in the buffer */
    uint64_t flushed; /* bytes in the file */
};

static void writer_free(tlmi_writer_t *writer)
{
    tlmi_free(writer->path);
    tlmi_free(writer->aside);
    tlmi_free(writer->buffer);
    tlmi_free(writer);
}

enum { ASIDE_SUFFIX_SIZE = 48 };

/* Makes the file aside and names it in writer->aside. A name may be taken: by a process of the same
 * number that was killed, before a restart or in another container. */
static tlm_status_t create_aside(tlmi_writer_t *writer)
{
    static atomic_uint counter;
    size_t size = strlen(writer->path) + ASIDE_SUFFIX_SIZE;
    writer->aside = tlmi_alloc(size, 1, "a file name");
    if (writer->aside == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    do {
        snprintf(writer->aside, size, "%s" ASIDE_MARK "%ld-%u", writer->path, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
        writer->file = open(writer->aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (writer->file < 0 && errno == EEXIST);
    return writer->file < 0 ? tlmi_fail_errno("create", writer->path) : TLM_OK;
}

tlm_status_t tlmi_writer_open(tlmi_writer_t **out, const char *path)
{
    tlmi_writer_t *writer = tlmi_calloc(1, sizeof *writer, "a file writer");
    if (writer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    writer->path = tlmi_strdup(path, "a file name");
    writer->buffer = tlmi_alloc(BUFFER_SIZE, 1, "a file buffer");
    tlm_status_t status = writer->path == NULL || writer->buffer == NULL ? TLM_ERR_OUT_OF_MEMORY
                                                                         : create_aside(writer);
    if (status == TLM_OK)
        *out = writer;
    else
        writer_free(writer);
    return status;
}

static tlm_status_t write_all(tlmi_writer_t *writer, const uint8_t *bytes, size_t size,
                              uint64_t offset)
{
    while (size > 0) {
        ssize_t n = pwrite(writer->file, bytes, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return tlmi_fail_errno("write", writer->path);
        bytes += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return TLM_OK;
}

static tlm_status_t flush(tlmi_writer_t *writer)
{
    TLMI_TRY(write_all(writer, writer->buffer, writer->used, writer->flushed));
    writer->flushed += writer->used;
    writer->used = 0;
    return TLM_OK;
}

tlm_status_t tlmi_writer_write(tlmi_writer_t *writer, const void *bytes, size_t size)
{
    if (size == 0)
        return TLM_OK;
    if (size > BUFFER_SIZE - writer->used)
        TLMI_TRY(flush(writer));
    if (size >= BUFFER_SIZE) {
        TLMI_TRY(write_all(writer, bytes, size, writer->flushed));
        writer->flushed += size;
        return TLM_OK;
    }
    memcpy(writer->buffer + writer->used, bytes, size);
    writer->used += size;
    return TLM_OK;
}

tlm_status_t tlmi_writer_patch(tlmi_writer_t *writer, uint64_t offset, const void *bytes,
                               size_t size)
{
    TLMI_TRY(flush(writer));
    if (offset > writer->flushed || size > writer->flushed - offset)
        return tlmi_fail(TLM_ERR_RANGE, "patch %s: bytes %llu to %llu of %llu", writer->path,
                         (unsigned long long)offset, (unsigned long long)(offset + size),
                         (unsigned long long)writer->flushed);
    return write_all(writer, bytes, size, offset);
}

uint64_t tlmi_writer_size(const tlmi_writer_t *writer)
{
    return writer->flushed + writer->used;
}

/* Makes the rename last: the directory's entry has to reach the disk too. */
static tlm_status_t sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    char *directory =
        tlmi_memdup(length == 0 ? "." : path, (length == 0 ? 1 : length) + 1, "a directory name");
    if (directory == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (length > 0)
        directory[length] = '\0';
    int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    tlmi_free(directory);
    if (file >= 0) {
        (void)fsync(file); /* some file systems cannot; the data itself is safe by then */
        close(file);
    }
    return TLM_OK;
}

tlm_status_t tlmi_writer_commit(tlmi_writer_t *writer)
{
    tlm_status_t status = flush(writer);
    if (status == TLM_OK && fsync(writer->file) != 0)
        status = tlmi_fail_errno("sync", writer->path);
    if (close(writer->file) != 0 && status == TLM_OK)
        status = tlmi_fail_errno("close", writer->path);
    if (status == TLM_OK && rename(writer->aside, writer->path) != 0)
        status = tlmi_fail_errno("rename to", writer->path);
    if (status == TLM_OK)
        status = sync_directory(writer->path);
    else
        unlink(writer->aside);
    writer_free(writer);
    return status;
}

void tlmi_writer_abort(tlmi_writer_t *writer)
{
    if (writer == NULL)
        return;
    close(writer->file);
    unlink(writer->aside);
    writer_free(writer);
}

/* Whether `name` is that of a file aside, and its writer is no more: an ended process, or this one. */
static bool is_leftover(const char *name, const char *prefix)
{
    const char *mark = strstr(name, ASIDE_MARK);
    long process;
    unsigned number;
    int size = 0;
    if (mark == NULL || strncmp(name, prefix, strlen(prefix)) != 0 ||
        sscanf(mark, ASIDE_MARK "%ld-%u%n", &process, &number, &size) != 2 || mark[size] != '\0')
        return false;
    return process == (long)getpid() ||
           (process > 0 && kill((pid_t)process, 0) != 0 && errno == ESRCH);
}

tlm_status_t tlmi_remove_leftovers(const char *directory, const char *prefix)
{
    DIR *handle = opendir(directory);
    if (handle == NULL)
        return tlmi_fail_errno("open", directory);
    tlm_status_t status = TLM_OK;
    struct dirent *entry;
    while (status == TLM_OK && (entry = readdir(handle)) != NULL)
        if (is_leftover(entry->d_name, prefix) && unlinkat(dirfd(handle), entry->d_name, 0) != 0 &&
            errno != ENOENT)
            status = tlmi_fail_errno("remove", entry->d_name);
    closedir(handle);
    return status;
}

tlm_status_t tlmi_make_directory(const char *path)
{
    struct stat info;
    if (mkdir(path, 0777) == 0)
        return sync_directory(path);
    if (errno == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return TLM_OK;
    return tlmi_fail_errno("make directory", path);
}
