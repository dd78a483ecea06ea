/* A directory of its own for each test program, and files with given bytes. */
#ifndef TEST_IO_SUPPORT_H
#define TEST_IO_SUPPORT_H

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tinylm/tinylm.h"

#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        tlm_status_t ok_status_ = (call);                                                          \
        ck_assert_msg(ok_status_ == TLM_OK, "%s: %s", #call, tlm_error_message());                 \
    } while (0)

/* The call fails with `code` and a message that contains `text`. */
#define ASSERT_FAILS(code, text, call)                                                             \
    do {                                                                                           \
        ck_assert_int_eq(call, code);                                                              \
        ck_assert_msg(strstr(tlm_error_message(), text) != NULL, "message: %s",                    \
                      tlm_error_message());                                                        \
    } while (0)

/* Whether a sanitizer is built in, which has memory of its own. */
static inline bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
#endif
#endif
    return false;
}

/* Whether the program runs in an emulator (tests/cross/run.sh says so), a hundred times as slowly: what takes
 * minutes there is repeated less often. */
static inline bool is_emulated(void)
{
    return getenv("TINYLM_TEST_IN_QEMU") != NULL;
}

static char test_directory[256];

static inline void make_test_directory(void)
{
    const char *parent = getenv("TMPDIR");

    snprintf(test_directory, sizeof(test_directory), "%s/tinylm-test-XXXXXX",
             parent != NULL ? parent : "/tmp");
    if (mkdtemp(test_directory) == NULL) {
        perror(test_directory);
        exit(2);
    }
}

/* Path of a file in the directory; one of a few static buffers. */
static inline const char *test_path(const char *name)
{
    static char paths[4][520];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", test_directory, name);
    return path;
}

static inline int count_files(void)
{
    DIR *directory = opendir(test_directory);
    int count = 0;

    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count - 2;
}

/* Removes a folder with the files in it, if there is one. */
static inline void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    char file[1024];

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(file);
    }
    if (folder == NULL)
        return;
    closedir(folder);
    ck_assert_int_eq(rmdir(path), 0);
}

static inline void remove_test_directory(void)
{
    DIR *directory = opendir(test_directory);
    struct dirent *entry;

    while ((entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            unlink(test_path(entry->d_name));
    closedir(directory);
    rmdir(test_directory);
}

static inline void write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void write_string(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

/* The whole of a file; freed by the caller. */
static inline unsigned char *read_bytes(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes;

    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*size + 1);
    ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

static inline void assert_same_files(const char *a, const char *b)
{
    size_t size, other;
    unsigned char *mine = read_bytes(a, &size), *theirs = read_bytes(b, &other);

    ck_assert_uint_eq(size, other);
    ck_assert_mem_eq(mine, theirs, size);
    free(mine);
    free(theirs);
}

#endif
