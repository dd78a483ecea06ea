/* Writing files: data goes to a temporary file beside the target, which is renamed at the end. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/platform.h"

#define BUFFER_SIZE ((size_t)1 << 18)
#define PIECE       ((size_t)4 << 20) /* bytes between two questions whether to go on */
#define ASIDE_MARK  ".tmp-"           /* followed by the process id and a number */
#define MAX_LINKS   40                /* most symbolic links followed, as in Linux */

struct tlmi_writer {
    int file;
    char *path;
    char *aside; /* the temporary file's name */
    bool joined; /* another writer created the temporary file, and renames or removes it */
    uint8_t *buffer;
    size_t used;      /* bytes in the buffer */
    uint64_t flushed; /* bytes already in the file */
};

static void writer_free(tlmi_writer_t *writer)
{
    tlmi_free(writer->path);
    tlmi_free(writer->aside);
    tlmi_free(writer->buffer);
    tlmi_free(writer);
}

/* ---- Target path ----------------------------------------------------------------------------- */

/* Returns where the symbolic link `path` points, as a path relative to the same directory that
 * `path` is relative to. Owned. */
static tlm_status_t read_link(char **out, const char *path)
{
    char target[4096];
    ssize_t size = readlink(path, target, sizeof(target));
    if (size < 0)
        return tlmi_fail_errno("read link", path);
    if ((size_t)size == sizeof(target))
        return tlmi_fail(TLM_ERR_IO, "read link %s: the link names a path longer than %zu bytes",
                         path, sizeof(target) - 1);
    const char *slash = strrchr(path, '/');
    size_t folder = target[0] == '/' || slash == NULL ? 0 : (size_t)(slash - path) + 1;
    char *joined = tlmi_alloc(folder + (size_t)size + 1, 1, "a file name");
    if (joined == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(joined, path, folder);
    memcpy(joined + folder, target, (size_t)size);
    joined[folder + (size_t)size] = '\0';
    *out = joined;
    return TLM_OK;
}

/* Resolves all symbolic links of `path` and returns the path that a write replaces; it need not
 * exist. Owned. */
static tlm_status_t resolve_links(char **out, const char *path)
{
    struct stat info;
    char *at = tlmi_strdup(path, "a file name");
    tlm_status_t status = at == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    for (int links = 0; status == TLM_OK && lstat(at, &info) == 0 && S_ISLNK(info.st_mode);
         links++) {
        char *next = NULL;
        status = links == MAX_LINKS ? tlmi_fail(TLM_ERR_IO, "open %s: more than %d symbolic links",
                                                path, MAX_LINKS)
                                    : read_link(&next, at);
        tlmi_free(at);
        at = next;
    }
    if (status == TLM_OK)
        *out = at;
    return status;
}

/* Gives the new file the owner, group and mode of the file it replaces. If the group cannot be
 * set, the group's permissions are cut to those of others; otherwise a different group would
 * receive them. */
static tlm_status_t copy_rights(const tlmi_writer_t *writer, const struct stat *old)
{
    mode_t mode = old->st_mode & 07777;
    struct stat own;
    if (fstat(writer->file, &own) != 0)
        return tlmi_fail_errno("stat", writer->aside);
    if (own.st_gid != old->st_gid && fchown(writer->file, (uid_t)-1, old->st_gid) != 0)
        mode &= ~(mode_t)070 | (mode & 07) << 3;
    if (own.st_uid != old->st_uid && fchown(writer->file, old->st_uid, (gid_t)-1) != 0)
        mode &= ~(mode_t)06000; /* this process's user owns it: no setuid or setgid */
    return fchmod(writer->file, mode) == 0 ? TLM_OK : tlmi_fail_errno("set mode of", writer->path);
}

/* Locks the open temporary file and returns whether this process still has it: another process
 * may have removed it as a leftover before it was locked. On a file system without locks, no
 * leftovers are removed. */
static bool lock_aside(int file)
{
    if (flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return false;
    struct stat info;
    return fstat(file, &info) == 0 && info.st_nlink > 0;
}

enum { ASIDE_SUFFIX_SIZE = 48 };

/* Creates the temporary file and stores its name in writer->aside. A name may be taken by a
 * killed process with the same id, from before a restart or from another container. */
static tlm_status_t create_aside(tlmi_writer_t *writer)
{
    static atomic_uint counter;
    struct stat old;
    bool replaces = stat(writer->path, &old) == 0 && S_ISREG(old.st_mode);
    size_t size = strlen(writer->path) + ASIDE_SUFFIX_SIZE;
    writer->aside = tlmi_alloc(size, 1, "a file name");
    if (writer->aside == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (;;) {
        snprintf(writer->aside, size, "%s" ASIDE_MARK "%ld-%u", writer->path, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
        /* Nobody else may open the file before it has the old file's mode. */
        writer->file =
            open(writer->aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, replaces ? 0600 : 0666);
        if (writer->file < 0 && errno != EEXIST)
            return tlmi_fail_errno("create", writer->path);
        if (writer->file >= 0 && lock_aside(writer->file))
            break;
        if (writer->file >= 0)
            close(writer->file);
    }
    tlm_status_t status = replaces ? copy_rights(writer, &old) : TLM_OK;
    if (status != TLM_OK) {
        close(writer->file);
        unlink(writer->aside);
    }
    return status;
}

tlm_status_t tlmi_writer_open(tlmi_writer_t **out, const char *path)
{
    TLMI_TRY(tlmi_require_regular_file("write", path));
    tlmi_writer_t *writer = tlmi_calloc(1, sizeof(*writer), "a file writer");
    if (writer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = resolve_links(&writer->path, path);
    if (status == TLM_OK) {
        writer->buffer = tlmi_alloc(BUFFER_SIZE, 1, "a file buffer");
        status = writer->buffer == NULL ? TLM_ERR_OUT_OF_MEMORY : create_aside(writer);
    }
    if (status == TLM_OK)
        *out = writer;
    else
        writer_free(writer);
    return status;
}

const char *tlmi_writer_aside_name(const tlmi_writer_t *writer)
{
    const char *slash = strrchr(writer->aside, '/');
    return slash == NULL ? writer->aside : slash + 1;
}

/* Opens the temporary file `name` that another process created beside the target. */
static tlm_status_t open_aside(tlmi_writer_t *writer, const char *name)
{
    const char *slash = strrchr(writer->path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - writer->path) + 1;
    size_t size = folder + strlen(name) + 1;
    writer->aside = tlmi_alloc(size, 1, "a file name");
    if (writer->aside == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(writer->aside, writer->path, folder);
    memcpy(writer->aside + folder, name, size - folder);
    writer->file = open(writer->aside, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    return writer->file < 0 ? tlmi_fail_errno("open", writer->aside) : TLM_OK;
}

tlm_status_t tlmi_writer_join(tlmi_writer_t **out, const char *path, const char *aside_name)
{
    tlmi_writer_t *writer = tlmi_calloc(1, sizeof(*writer), "a file writer");
    if (writer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    writer->joined = true;
    tlm_status_t status = resolve_links(&writer->path, path);
    if (status == TLM_OK) {
        writer->buffer = tlmi_alloc(BUFFER_SIZE, 1, "a file buffer");
        status = writer->buffer == NULL ? TLM_ERR_OUT_OF_MEMORY : open_aside(writer, aside_name);
    }
    if (status == TLM_OK)
        *out = writer;
    else
        writer_free(writer);
    return status;
}

/* ---- Writing ---------------------------------------------------------------------------- */

static tlm_status_t write_all(tlmi_writer_t *writer, const uint8_t *bytes, size_t size,
                              uint64_t offset)
{
    while (size > 0) {
        TLMI_TRY(tlmi_check_interrupt(writer->path));
        ssize_t n = pwrite(writer->file, bytes, size < PIECE ? size : PIECE, (off_t)offset);
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
        return tlmi_fail(TLM_ERR_RANGE,
                         "patch %s: bytes %" PRIu64 " to %" PRIu64 " are not within the %" PRIu64
                         " bytes written",
                         writer->path, offset, offset + size, writer->flushed);
    return write_all(writer, bytes, size, offset);
}

tlm_status_t tlmi_writer_seek(tlmi_writer_t *writer, uint64_t offset)
{
    TLMI_TRY(flush(writer));
    writer->flushed = offset;
    return TLM_OK;
}

uint64_t tlmi_writer_size(const tlmi_writer_t *writer)
{
    return writer->flushed + writer->used;
}

/* Makes the rename durable: the directory entry must reach the disk too. */
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
        /* Some file systems cannot do this; the data itself is safe by then. */
        (void)tlmi_platform_sync(file);
        close(file);
    }
    return TLM_OK;
}

tlm_status_t tlmi_writer_commit(tlmi_writer_t *writer)
{
    tlm_status_t status = flush(writer);
    if (status == TLM_OK && tlmi_platform_sync(writer->file) != 0)
        status = tlmi_fail_errno("sync", writer->path);
    if (close(writer->file) != 0 && status == TLM_OK)
        status = tlmi_fail_errno("close", writer->path);
    if (!writer->joined && status == TLM_OK && rename(writer->aside, writer->path) != 0)
        status = tlmi_fail_errno("rename to", writer->path);
    if (!writer->joined && status == TLM_OK)
        status = sync_directory(writer->path);
    else if (!writer->joined)
        unlink(writer->aside);
    writer_free(writer);
    return status;
}

void tlmi_writer_abort(tlmi_writer_t *writer)
{
    if (writer == NULL)
        return;
    close(writer->file);
    if (!writer->joined)
        unlink(writer->aside);
    writer_free(writer);
}

/* ---- Directories ------------------------------------------------------------------------ */

/* Whether `name` is a name that a writer gives its temporary file. */
static bool is_aside_name(const char *name, const char *prefix)
{
    const char *mark = strstr(name, ASIDE_MARK);
    long process;
    unsigned number;
    int size = 0;
    return mark != NULL && strncmp(name, prefix, strlen(prefix)) == 0 &&
           sscanf(mark, ASIDE_MARK "%ld-%u%n", &process, &number, &size) == 2 && mark[size] == '\0';
}

/* Removes a temporary file unless its writer is still active, in which case the writer holds the
 * lock. Files that cannot be opened or locked are left alone. */
static tlm_status_t remove_leftover(int directory, const char *name)
{
    int file = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return TLM_OK;
    tlm_status_t status = TLM_OK;
    struct stat info;
    if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) && flock(file, LOCK_EX | LOCK_NB) == 0 &&
        unlinkat(directory, name, 0) != 0 && errno != ENOENT)
        status = tlmi_fail_errno("remove", name);
    close(file);
    return status;
}

tlm_status_t tlmi_remove_leftovers(const char *directory, const char *prefix)
{
    DIR *handle = opendir(directory);
    if (handle == NULL)
        return tlmi_fail_errno("open", directory);
    tlm_status_t status = TLM_OK;
    struct dirent *entry;
    while (status == TLM_OK && (entry = readdir(handle)) != NULL)
        if (is_aside_name(entry->d_name, prefix))
            status = remove_leftover(dirfd(handle), entry->d_name);
    closedir(handle);
    return status;
}

tlm_status_t tlmi_writer_remove_leftovers(const char *path)
{
    char *directory, *target = NULL;
    TLMI_TRY(resolve_links(&target, path));
    const char *slash = strrchr(target, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - target) + 1;
    size_t name_size = strlen(target + folder), size = folder + 2 + name_size + sizeof(ASIDE_MARK);
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    directory = tlmi_alloc(size, 1, "a directory name");
    if (directory != NULL) { /* the directory, and behind it what the names begin with */
        char *prefix = directory + folder + 2;
        snprintf(directory, folder + 2, "%.*s", folder == 0 ? 1 : (int)folder,
                 folder == 0 ? "." : target);
        snprintf(prefix, name_size + sizeof(ASIDE_MARK), "%s" ASIDE_MARK, target + folder);
        status = tlmi_remove_leftovers(directory, prefix);
    }
    tlmi_free(directory);
    tlmi_free(target);
    return status;
}

tlm_status_t tlmi_make_directory(const char *path)
{
    if (mkdir(path, 0777) == 0)
        return sync_directory(path);
    int error = errno;
    if (error == EEXIST && tlmi_is_directory(path))
        return TLM_OK;
    errno = error;
    return tlmi_fail_errno("make directory", path);
}
