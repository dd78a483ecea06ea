/* Allocation: overflow, alignment, growth. No request here is one that malloc would have to refuse. */
#include "base_support.h"

#include "base/memory.h"

START_TEST(sizes_that_overflow_are_refused)
{
    static const size_t pairs[][2] = {
        {SIZE_MAX, 2},         {SIZE_MAX / 2 + 1, 2},   {(size_t)1 << 32, (size_t)1 << 32},
        {SIZE_MAX, SIZE_MAX},  {(size_t)1 << 63, 1},    {(size_t)PTRDIFF_MAX + 1, 1},
        {SIZE_MAX / 4 + 1, 4}, {SIZE_MAX / 64 + 1, 64},
    };
    char *block = tlmi_alloc(4, 1, "a block");

    memcpy(block, "abc", 4);
    for (size_t i = 0; i < COUNT(pairs); i++) {
        size_t a = pairs[i][0], b = pairs[i][1];
        ck_assert_ptr_null(tlmi_alloc(a, b, "too much"));
        ck_assert_ptr_nonnull(strstr(tlm_error_message(), ": too much would exceed"));
        ck_assert_ptr_null(tlmi_calloc(a, b, "far too much"));
        ck_assert_ptr_nonnull(strstr(tlm_error_message(), ": far too much would"));
        ck_assert_ptr_null(tlmi_alloc_aligned(a, b, "aligned"));
        ck_assert_ptr_nonnull(strstr(tlm_error_message(), "aligned"));
        ck_assert_ptr_null(tlmi_realloc(block, a, b, "more"));
        ck_assert_str_eq(block, "abc");
    }
    tlmi_free(block);
}
END_TEST

START_TEST(sums_and_products_are_checked)
{
    size_t out = 7;

    ck_assert(tlmi_mul_size(&out, 6, 7) && out == 42);
    ck_assert(tlmi_mul_size(&out, SIZE_MAX, 1) && out == SIZE_MAX);
    ck_assert(tlmi_mul_size(&out, SIZE_MAX, 0) && out == 0);
    ck_assert(!tlmi_mul_size(&out, SIZE_MAX / 2 + 1, 2));
    ck_assert(tlmi_add_size(&out, SIZE_MAX - 1, 1) && out == SIZE_MAX);
    ck_assert(!tlmi_add_size(&out, SIZE_MAX, 1));
}
END_TEST

START_TEST(empty_blocks_are_blocks)
{
    void *blocks[] = {tlmi_alloc(0, 8, "x"), tlmi_calloc(8, 0, "x"), tlmi_alloc_aligned(0, 0, "x"),
                      tlmi_realloc(NULL, 0, 4, "x"), tlmi_memdup(NULL, 0, "x")};

    for (size_t i = 0; i < COUNT(blocks); i++) {
        ck_assert_ptr_nonnull(blocks[i]);
        tlmi_free(blocks[i]);
    }
    tlmi_free(NULL);
    tlm_free(NULL);
}
END_TEST

START_TEST(blocks_are_aligned_and_cleared)
{
    static const size_t sizes[] = {1, 63, 64, 65, 4096, (4u << 20) - 1, 4u << 20, (5u << 20) + 3};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        unsigned char *aligned = tlmi_alloc_aligned(sizes[i], 1, "aligned");
        unsigned char *zeros = tlmi_calloc(sizes[i], 1, "zeros");

        ck_assert_uint_eq((uintptr_t)aligned % TLMI_ALIGNMENT, 0);
        memset(aligned, 0xFF, sizes[i]);
        ck_assert(zeros[0] == 0 && zeros[sizes[i] - 1] == 0);
        tlmi_free(aligned);
        tlmi_free(zeros);
    }
}
END_TEST

START_TEST(arrays_grow_geometrically)
{
    int32_t *items = NULL;
    size_t capacity = 0, moves = 0;

    for (size_t n = 0; n < 100000; n++) {
        size_t before = capacity;
        if (!tlmi_grow(&items, &capacity, n + 1, sizeof(*items), "items") || capacity <= n)
            ck_abort_msg("%zu items in an array of %zu", n + 1, capacity);
        moves += capacity != before;
        items[n] = (int32_t)n;
    }
    ck_assert_uint_lt(moves, 40);
    for (size_t n = 0; n < 100000; n++)
        if (items[n] != (int32_t)n)
            ck_abort_msg("item %zu is %d", n, (int)items[n]);
    size_t before = capacity;
    ck_assert(!tlmi_grow(&items, &capacity, SIZE_MAX / 2, sizeof(*items), "items"));
    ck_assert_uint_eq(capacity, before);
    ck_assert_int_eq(items[99999], 99999);
    tlmi_free(items);
}
END_TEST

START_TEST(copies_are_whole)
{
    char *text = tlmi_strdup("word", "a word");
    unsigned char *bytes = tlmi_memdup("a\0b", 4, "bytes");

    ck_assert_str_eq(text, "word");
    ck_assert(memcmp(bytes, "a\0b", 4) == 0);
    tlmi_free(text);
    tlmi_free(bytes);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        sizes_that_overflow_are_refused, sums_and_products_are_checked, empty_blocks_are_blocks,
        blocks_are_aligned_and_cleared,  arrays_grow_geometrically,     copies_are_whole,
    };
    return run_tests("memory", tests, COUNT(tests));
}
