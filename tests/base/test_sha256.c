/* SHA-256 on the examples of FIPS 180 and around the ends of blocks. */
#include "base_support.h"

#include "base/sha256.h"

static void find_hash(char hex[2 * TLMI_SHA256_SIZE + 1], const char *text, size_t size,
                      size_t most)
{
    tlmi_sha256_t hash;
    uint8_t digest[TLMI_SHA256_SIZE];

    tlmi_sha256_init(&hash);
    for (size_t at = 0, n; at < size; at += n) {
        n = size - at < most ? size - at : most;
        tlmi_sha256_update(&hash, text + at, n);
    }
    tlmi_sha256_final(digest, &hash);
    for (int i = 0; i < TLMI_SHA256_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

START_TEST(examples_have_their_hashes)
{
    static const struct {
        const char *text, *hash;
    } examples[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[2 * TLMI_SHA256_SIZE + 1];

    for (size_t i = 0; i < COUNT(examples); i++) {
        find_hash(hex, examples[i].text, strlen(examples[i].text), SIZE_MAX);
        ck_assert_str_eq(hex, examples[i].hash);
    }
}
END_TEST

START_TEST(pieces_do_not_matter)
{
    static char text[1000];
    char whole[2 * TLMI_SHA256_SIZE + 1], pieces[2 * TLMI_SHA256_SIZE + 1];

    memset(text, 'a', sizeof(text));
    find_hash(whole, text, sizeof(text), SIZE_MAX);
    ck_assert_str_eq(whole, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3");
    for (size_t size = 0; size < 200; size++) {
        find_hash(whole, text, size, SIZE_MAX);
        find_hash(pieces, text, size, 1 + size % 7);
        ck_assert_str_eq(whole, pieces);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        examples_have_their_hashes,
        pieces_do_not_matter,
    };
    return run_tests("sha256", tests, COUNT(tests));
}
