/* Mapped files, and files written aside. */
#include "base_support.h"

#include <sys/stat.h>

#include "base/file.h"

static void assert_holds(const char *path, const void *bytes, size_t size)
{
    tlmi_mapping_t mapping;

    ASSERT_OK(tlmi_map_file(&mapping, path));
    ck_assert_uint_eq(mapping.size, size);
    ck_assert(size == 0 || memcmp(mapping.data, bytes, size) == 0);
    tlmi_unmap_file(&mapping);
    ck_assert(mapping.data == NULL && mapping.size == 0);
}

START_TEST(files_are_mapped)
{
    tlmi_mapping_t mapping = {.data = (const uint8_t *)"x", .size = 1};

    write_bytes(test_path("full"), "some\0bytes", 10);
    assert_holds(test_path("full"), "some\0bytes", 10);
    write_bytes(test_path("empty"), "", 0);
    assert_holds(test_path("empty"), NULL, 0);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere", tlmi_map_file(&mapping, test_path("nowhere")));
    ASSERT_FAILS(TLM_ERR_IO, "not a regular file", tlmi_map_file(&mapping, test_directory));
    ck_assert_uint_eq(mapping.size, 1);
}
END_TEST

START_TEST(writers_rename_at_the_end)
{
    const char *path = test_path("written");
    tlmi_writer_t *writer;
    int files;

    write_bytes(path, "old", 3);
    files = count_files();
    ASSERT_OK(tlmi_writer_open(&writer, path));
    ASSERT_OK(tlmi_writer_write(writer, "new bytes", 9));
    ASSERT_OK(tlmi_writer_write(writer, NULL, 0));
    ck_assert_uint_eq(tlmi_writer_size(writer), 9);
    ck_assert_int_eq(count_files(), files + 1);
    assert_holds(path, "old", 3);
    ASSERT_OK(tlmi_writer_commit(writer));
    assert_holds(path, "new bytes", 9);
    ck_assert_int_eq(count_files(), files);
}
END_TEST

START_TEST(aborted_writers_leave_nothing)
{
    const char *path = test_path("aborted");
    int files = count_files();
    tlmi_writer_t *writer;

    ASSERT_OK(tlmi_writer_open(&writer, path));
    ASSERT_OK(tlmi_writer_write(writer, "bytes", 5));
    tlmi_writer_abort(writer);
    ck_assert_int_eq(count_files(), files);
    write_bytes(path, "old", 3);
    ASSERT_OK(tlmi_writer_open(&writer, path));
    tlmi_writer_abort(writer);
    assert_holds(path, "old", 3);
    tlmi_writer_abort(NULL);
}
END_TEST

/* Pieces of all sizes around the buffer's, one after another. */
START_TEST(long_files_are_whole)
{
    static const size_t pieces[] = {
        1,      1000, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 1,
        700000, 3,    1 << 17,       1 << 17, (1 << 17),     123456789 % 100000};
    const char *path = test_path("long");
    tlmi_writer_t *writer;
    size_t total = 0;

    for (size_t i = 0; i < COUNT(pieces); i++)
        total += pieces[i];
    unsigned char *bytes = malloc(total);
    for (size_t i = 0; i < total; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    ASSERT_OK(tlmi_writer_open(&writer, path));
    for (size_t i = 0, at = 0; i < COUNT(pieces); at += pieces[i++]) {
        ASSERT_OK(tlmi_writer_write(writer, bytes + at, pieces[i]));
        ck_assert_uint_eq(tlmi_writer_size(writer), at + pieces[i]);
    }
    ASSERT_OK(tlmi_writer_patch(writer, total - 4, "tail", 4));
    ASSERT_OK(tlmi_writer_patch(writer, 0, "head", 4));
    ASSERT_FAILS(TLM_ERR_RANGE, "long", tlmi_writer_patch(writer, total - 3, "tail", 4));
    ASSERT_FAILS(TLM_ERR_RANGE, "long", tlmi_writer_patch(writer, UINT64_MAX, "tail", 4));
    memcpy(bytes + total - 4, "tail", 4);
    memcpy(bytes, "head", 4);
    ASSERT_OK(tlmi_writer_commit(writer));
    assert_holds(path, bytes, total);
    free(bytes);
}
END_TEST

START_TEST(bad_places_are_refused)
{
    char path[600];
    tlmi_writer_t *writer;
    int files;

    snprintf(path, sizeof(path), "%s/no/such/file", test_directory);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "no/such", tlmi_writer_open(&writer, path));
    ck_assert_int_eq(mkdir(test_path("directory"), 0700), 0);
    ASSERT_FAILS(TLM_ERR_IO, "not a regular file but a directory",
                 tlmi_writer_open(&writer, test_path("directory")));
    ck_assert_int_eq(rmdir(test_path("directory")), 0);
    /* One that comes in between is noticed at the rename. */
    ASSERT_OK(tlmi_writer_open(&writer, test_path("directory")));
    files = count_files();
    ck_assert_int_eq(mkdir(test_path("directory"), 0700), 0);
    ASSERT_FAILS(TLM_ERR_IO, "directory", tlmi_writer_commit(writer));
    ck_assert_int_eq(count_files(), files);
    ck_assert_int_eq(rmdir(test_path("directory")), 0);
}
END_TEST

START_TEST(a_bare_name_is_written_here)
{
    tlmi_writer_t *writer;

    ck_assert_int_eq(chdir(test_directory), 0);
    ASSERT_OK(tlmi_writer_open(&writer, "bare"));
    ASSERT_OK(tlmi_writer_write(writer, "here", 4));
    ASSERT_OK(tlmi_writer_commit(writer));
    assert_holds(test_path("bare"), "here", 4);
}
END_TEST

START_TEST(two_writers_of_one_path_do_not_meet)
{
    const char *path = test_path("twice");
    tlmi_writer_t *first, *second;

    ASSERT_OK(tlmi_writer_open(&first, path));
    ASSERT_OK(tlmi_writer_open(&second, path));
    ASSERT_OK(tlmi_writer_write(first, "first", 5));
    ASSERT_OK(tlmi_writer_write(second, "second", 6));
    ASSERT_OK(tlmi_writer_commit(first));
    assert_holds(path, "first", 5);
    ASSERT_OK(tlmi_writer_commit(second));
    assert_holds(path, "second", 6);
}
END_TEST

static mode_t mode_of(const char *path)
{
    struct stat info;

    ck_assert_int_eq(stat(path, &info), 0);
    return info.st_mode & 07777;
}

START_TEST(a_replaced_file_keeps_its_mode)
{
    static const mode_t modes[] = {0600, 0644, 0640, 0400, 0755, 0666, 0000};
    const char *path = test_path("mode");
    tlmi_writer_t *writer;

    write_bytes(path, "old", 3);
    for (size_t i = 0; i < COUNT(modes); i++) {
        ck_assert_int_eq(chmod(path, modes[i]), 0);
        ASSERT_OK(tlmi_writer_open(&writer, path));
        ASSERT_OK(tlmi_writer_write(writer, "new", 3));
        ASSERT_OK(tlmi_writer_commit(writer));
        ck_assert_int_eq(mode_of(path), modes[i]);
    }
    umask(027);
    ASSERT_OK(tlmi_writer_open(&writer, test_path("fresh")));
    ASSERT_OK(tlmi_writer_commit(writer));
    ck_assert_int_eq(mode_of(test_path("fresh")), 0640);
}
END_TEST

/* By a chain of links, absolute and relative, to a file that exists and to one that does not yet. */
START_TEST(symbolic_links_are_followed)
{
    struct stat info;
    tlmi_writer_t *writer;

    ck_assert_int_eq(mkdir(test_path("folder"), 0700), 0);
    ck_assert_int_eq(symlink("folder/target", test_path("relative")), 0);
    ck_assert_int_eq(symlink(test_path("relative"), test_path("absolute")), 0);
    for (int round = 0; round < 2; round++) {
        ASSERT_OK(tlmi_writer_open(&writer, test_path("absolute")));
        ASSERT_OK(tlmi_writer_write(writer, round == 0 ? "one" : "two", 3));
        ASSERT_OK(tlmi_writer_commit(writer));
        assert_holds(test_path("folder/target"), round == 0 ? "one" : "two", 3);
    }
    ck_assert(lstat(test_path("absolute"), &info) == 0 && S_ISLNK(info.st_mode));
    ck_assert(lstat(test_path("relative"), &info) == 0 && S_ISLNK(info.st_mode));
    ck_assert_int_eq(symlink("loop", test_path("loop")), 0);
    ASSERT_FAILS(TLM_ERR_IO, "symbolic links", tlmi_writer_open(&writer, test_path("loop")));
    ck_assert_int_eq(unlink(test_path("folder/target")), 0);
    ck_assert_int_eq(rmdir(test_path("folder")), 0);
}
END_TEST

/* Whichever process writes: a file aside whose writer is at work stays, any other goes. */
START_TEST(only_leftovers_are_removed)
{
    tlmi_writer_t *writer;
    int files;

    ASSERT_OK(tlmi_writer_open(&writer, test_path("busy")));
    files = count_files();
    write_bytes(test_path("busy.tmp-1-1"), "half", 4); /* process 1 is at work, but not on this */
    ASSERT_OK(tlmi_remove_leftovers(test_directory, "other"));
    ck_assert_int_eq(count_files(), files + 1);
    ASSERT_OK(tlmi_remove_leftovers(test_directory, "busy"));
    ck_assert_int_eq(count_files(), files);
    ASSERT_OK(tlmi_writer_write(writer, "whole", 5));
    ASSERT_OK(tlmi_writer_commit(writer));
    assert_holds(test_path("busy"), "whole", 5);
}
END_TEST

START_TEST(files_without_a_size_are_read)
{
    tlmi_mapping_t mapping;
    struct stat info;

    if (stat("/proc/self/status", &info) != 0)
        return;
    ck_assert_int_eq(info.st_size, 0);
    ASSERT_OK(tlmi_map_file(&mapping, "/proc/self/status"));
    ck_assert_uint_gt(mapping.size, 20);
    ck_assert_int_eq(memcmp(mapping.data, "Name:", 5), 0);
    tlmi_unmap_file(&mapping);
}
END_TEST

/* Sizes around the one from which files are mapped. */
START_TEST(a_mapping_tells_that_its_file_was_cut_short)
{
    const char *path = test_path("cut");

    for (int round = 0; round < 2; round++) {
        off_t size = (off_t)TLMI_COPIED_FILE_SIZE + round;
        tlmi_mapping_t mapping;

        write_bytes(path, "bytes", 5);
        ck_assert_int_eq(truncate(path, size), 0);
        ASSERT_OK(tlmi_map_file(&mapping, path));
        ck_assert_int_eq(mapping.is_mapped, round);
        ck_assert_uint_eq(mapping.size, (size_t)size);
        ck_assert_int_eq(memcmp(mapping.data, "bytes", 5), 0);
        ASSERT_OK(tlmi_mapping_check(&mapping, "cut"));
        ck_assert_int_eq(truncate(path, 5), 0);
        if (mapping.is_mapped)
            ASSERT_FAILS(TLM_ERR_IO, "cut short", tlmi_mapping_check(&mapping, "cut"));
        else
            ck_assert_int_eq(mapping.data[size - 1], 0);
        tlmi_unmap_file(&mapping);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        files_are_mapped,
        writers_rename_at_the_end,
        aborted_writers_leave_nothing,
        long_files_are_whole,
        bad_places_are_refused,
        a_bare_name_is_written_here,
        two_writers_of_one_path_do_not_meet,
        a_replaced_file_keeps_its_mode,
        symbolic_links_are_followed,
        only_leftovers_are_removed,
        files_without_a_size_are_read,
        a_mapping_tells_that_its_file_was_cut_short,
    };
    return run_tests("file", tests, COUNT(tests));
}
