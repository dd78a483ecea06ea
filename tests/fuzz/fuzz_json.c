/* Any bytes as JSON: what is accepted reads back from its own text, every value is found where it stands,
 * and where jansson is installed both accept the same texts and write the same. */
#include "fuzz_support.h"
#include "base/json.h"
#include "base/memory.h"

#if defined(HAVE_JANSSON)
#include <jansson.h>
#endif

static size_t depth_of(const tlmi_json_t *value)
{
    size_t deepest = 0;

    if (tlmi_json_is_array(value)) {
        for (size_t i = 0; i < tlmi_json_size(value); i++) {
            size_t depth = depth_of(tlmi_json_item(value, i));
            deepest = depth > deepest ? depth : deepest;
        }
        FUZZ_CHECK(tlmi_json_item(value, tlmi_json_size(value)) == NULL);
        return deepest + 1;
    }
    if (tlmi_json_is_object(value)) {
        const tlmi_json_t *member;
        void *cursor = NULL;
        const char *key;
        size_t n = 0;

        while (tlmi_json_next(value, &cursor, &key, &member)) {
            size_t depth = depth_of(member);
            deepest = depth > deepest ? depth : deepest;
            FUZZ_CHECK(tlmi_json_member(value, key) == member);
            n++;
        }
        FUZZ_CHECK(n == tlmi_json_size(value));
        return deepest + 1;
    }
    return 0;
}

#if defined(HAVE_JANSSON)
/* jansson goes to 2048 levels. */
static size_t brackets(const uint8_t *data, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < size; i++)
        n += data[i] == '[' || data[i] == '{';
    return n;
}

static void compare(const tlmi_json_t *root, const uint8_t *data, size_t size, const char *text)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_error_t error;
    json_t *other = json_loadb((const char *)data, size, flags, &error);

    /* It refuses integers of more than 64 bits, which are real numbers here. */
    if (other == NULL && json_error_code(&error) == json_error_numeric_overflow)
        return;
    FUZZ_CHECK((root != NULL) == (other != NULL) ||
               (root == NULL && brackets(data, size) > TLMI_JSON_MAX_DEPTH));
    if (root != NULL) {
        char *theirs = json_dumps(other, JSON_COMPACT | JSON_REAL_PRECISION(17));

        FUZZ_CHECK(theirs != NULL && strcmp(theirs, text) == 0);
        free(theirs);
    }
    json_decref(other);
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1); /* so that a read behind the end is seen */
    tlmi_json_t *root = NULL, *again = NULL;
    char *text = NULL, *text_again;
    size_t text_size, size_again;

    FUZZ_CHECK(copy != NULL);
    memcpy(copy, data, size);
    if (tlmi_json_parse(&root, copy, size, "fuzz") == TLM_OK) {
        FUZZ_CHECK(depth_of(root) <= TLMI_JSON_MAX_DEPTH);
        FUZZ_OK(tlmi_json_dump(&text, &text_size, root));
        FUZZ_OK(tlmi_json_parse(&again, text, text_size, "again"));
        FUZZ_OK(tlmi_json_dump(&text_again, &size_again, again));
        FUZZ_CHECK(fuzz_same(text, text_size, text_again, size_again));
        tlmi_free(text_again);
    } else {
        FUZZ_CHECK(root == NULL && strncmp(tlm_error_message(), "fuzz: line ", 11) == 0);
    }
#if defined(HAVE_JANSSON)
    if (memchr(data, '\0', size) == NULL) /* behind a number jansson passes a NUL over */
        compare(root, data, size, text);
#endif
    tlmi_free(text);
    tlmi_json_free(root);
    tlmi_json_free(again);
    free(copy);
    return 0;
}
