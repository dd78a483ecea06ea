/* Reading files: small files are copied, large ones are mapped. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/platform.h"

#define FAULT_WINDOW  ((size_t)2 << 20)  /* size of a huge page */
#define UNSTATED_SIZE ((size_t)64 << 20) /* limit for a file that reports size 0 */

/* ---- Kinds of files --------------------------------------------------------------------- */

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "something else";
}

static tlm_status_t require_regular(const struct stat *info, const char *action, const char *path)
{
    if (S_ISREG(info->st_mode))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_IO, "%s %s: not a regular file but %s", action, path,
                     kind_of(info->st_mode));
}

bool tlmi_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool tlmi_is_regular_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

tlm_status_t tlmi_require_regular_file(const char *action, const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? require_regular(&info, action, path) : TLM_OK;
}

/* ---- Contents --------------------------------------------------------------------------- */

/* Opens a regular file. The kind of file is checked before opening, because opening can block on a
 * FIFO's writer or start a device, and again afterward, because another file may have taken its
 * place. */
static tlm_status_t open_regular(int *out, struct stat *info, const char *path)
{
    TLMI_TRY(tlmi_require_regular_file("open", path));
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return tlmi_fail_errno("open", path);
    tlm_status_t status = fstat(file, info) != 0 ? tlmi_fail_errno("stat", path)
                                                 : require_regular(info, "open", path);
    if (status == TLM_OK)
        *out = file;
    else
        close(file);
    return status;
}

/* Reads until `room` bytes have arrived or the file ends. */
static tlm_status_t read_bytes(size_t *out, int file, void *bytes, size_t room, const char *path)
{
    size_t size = 0;
    while (size < room) {
        ssize_t n = read(file, (uint8_t *)bytes + size, room - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tlmi_fail_errno("read", path);
        if (n == 0)
            break;
        size += (size_t)n;
    }
    *out = size;
    return TLM_OK;
}

/* Reads up to `most` bytes into a block that grows from `expected` bytes. */
static tlm_status_t read_all(tlmi_mapping_t *out, int file, size_t expected, size_t most,
                             const char *path)
{
    uint8_t *bytes = NULL;
    size_t size = 0, capacity = 0;
    tlm_status_t status = TLM_OK;
    bool ended = false;
    while (!ended && size < most) {
        if (!tlmi_grow(&bytes, &capacity, size == 0 ? expected : size + 1, 1, "a file")) {
            status = TLM_ERR_OUT_OF_MEMORY;
            break;
        }
        size_t room = (capacity < most ? capacity : most) - size, n = 0;
        status = read_bytes(&n, file, bytes + size, room, path);
        if (status != TLM_OK)
            break;
        ended = n < room;
        size += n;
    }
    if (status != TLM_OK || size == 0) {
        tlmi_free(bytes);
        bytes = NULL;
    }
    if (status == TLM_OK)
        *out = (tlmi_mapping_t){.data = bytes, .size = size};
    return status;
}

static tlm_status_t copy_contents(tlmi_mapping_t *out, int file, size_t size, const char *path)
{
    if (size > 0)
        return read_all(out, file, size, size, path);
    tlmi_mapping_t contents;
    TLMI_TRY(read_all(&contents, file, 4096, UNSTATED_SIZE, path));
    if (contents.size == UNSTATED_SIZE) {
        tlmi_unmap_file(&contents);
        return tlmi_fail(TLM_ERR_IO,
                         "read %s: the file reports no size and is longer than %zu bytes", path,
                         UNSTATED_SIZE);
    }
    *out = contents;
    return TLM_OK;
}

static tlm_status_t open_contents(tlmi_mapping_t *out, const char *path, size_t copied_size)
{
    struct stat info;
    int file = -1;
    TLMI_TRY(open_regular(&file, &info, path));
    size_t size = (size_t)info.st_size;
    if ((uint64_t)info.st_size <= copied_size) {
        tlm_status_t status = copy_contents(out, file, size, path);
        close(file);
        return status;
    }
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
        tlm_status_t status = tlmi_fail_errno("map", path);
        close(file);
        return status;
    }
    *out = (tlmi_mapping_t){.data = data, .size = size, .is_mapped = true, .file = file};
    return TLM_OK;
}

tlm_status_t tlmi_map_file(tlmi_mapping_t *out, const char *path)
{
    return open_contents(out, path, TLMI_COPIED_FILE_SIZE);
}

tlm_status_t tlmi_read_file(tlmi_mapping_t *out, const char *path)
{
    return open_contents(out, path, PTRDIFF_MAX);
}

tlm_status_t tlmi_file_size(uint64_t *size, const char *path)
{
    struct stat info;
    int file = -1;
    TLMI_TRY(open_regular(&file, &info, path));
    close(file);
    if (info.st_size == 0) {
        tlmi_mapping_t contents;
        TLMI_TRY(tlmi_map_file(&contents, path));
        info.st_size = (off_t)contents.size;
        tlmi_unmap_file(&contents);
    }
    *size = (uint64_t)info.st_size;
    return TLM_OK;
}

tlm_status_t tlmi_read_head(size_t *size, void *bytes, size_t room, const char *path)
{
    struct stat info;
    int file = -1;
    TLMI_TRY(open_regular(&file, &info, path));
    tlm_status_t status = read_bytes(size, file, bytes, room, path);
    close(file);
    return status;
}

tlm_status_t tlmi_mapping_share(tlmi_mapping_t *out, tlmi_mapping_t *mapping)
{
    if (mapping->owners == NULL) {
        void *data = (void *)(uintptr_t)mapping->data;
        if (mapping->is_mapped && mprotect(data, mapping->size, PROT_READ | PROT_WRITE) != 0)
            return tlmi_fail_errno("map", "the weights of a model");
        mapping->owners = tlmi_alloc(1, sizeof(*mapping->owners), "a file");
        if (mapping->owners == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        atomic_init(mapping->owners, 1);
    }
    atomic_fetch_add_explicit(mapping->owners, 1, memory_order_relaxed);
    *out = *mapping;
    return TLM_OK;
}

void tlmi_unmap_file(tlmi_mapping_t *mapping)
{
    void *data = (void *)(uintptr_t)mapping->data;
    if (mapping->owners != NULL) {
        if (atomic_fetch_sub_explicit(mapping->owners, 1, memory_order_acq_rel) != 1) {
            *mapping = (tlmi_mapping_t){0};
            return;
        }
        tlmi_free(mapping->owners);
    }
    if (mapping->is_mapped) {
        munmap(data, mapping->size);
        close(mapping->file);
    } else {
        tlmi_free(data);
    }
    *mapping = (tlmi_mapping_t){0};
}

/* ---- While a file is mapped ------------------------------------------------------------- */

tlm_status_t tlmi_mapping_check(const tlmi_mapping_t *mapping, const char *what)
{
    if (!mapping->is_mapped)
        return TLM_OK;
    struct stat info;
    if (fstat(mapping->file, &info) != 0)
        return tlmi_fail_errno("stat", what);
    if ((uint64_t)info.st_size >= mapping->size)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_IO,
                     "%s: the file was cut short from %zu to %" PRId64
                     " bytes while it was being read",
                     what, mapping->size, (int64_t)info.st_size);
}

void tlmi_mapping_leave(const tlmi_mapping_t *mapping, size_t from, size_t to)
{
    if (!mapping->is_mapped)
        return;
    /* A page fault also maps the pages around it, up to a huge page if the file is cached as
     * one. */
    from = from / FAULT_WINDOW * FAULT_WINDOW;
    to = mapping->size - to < FAULT_WINDOW ? mapping->size : (to / FAULT_WINDOW + 1) * FAULT_WINDOW;
    if (to > from)
        tlmi_platform_leave_pages((uint8_t *)(uintptr_t)mapping->data + from, to - from);
}
