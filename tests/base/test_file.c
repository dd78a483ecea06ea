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
    tlmi_mapping_t mapping = {(const uint8_t *)"x", 1};

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
    /* A directory in the way is noticed at the rename. */
    ck_assert_int_eq(mkdir(test_path("directory"), 0700), 0);
    files = count_files();
    ASSERT_OK(tlmi_writer_open(&writer, test_path("directory")));
    ASSERT_OK(tlmi_writer_write(writer, "x", 1));
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
    };
    return run_tests("file", tests, COUNT(tests));
}
