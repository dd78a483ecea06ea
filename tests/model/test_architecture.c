/* The tables of the architecture hold together: names are unique and fit, settings are of options that there are,
 * and options go out and in by them. */
#include "reference_model.h"
#include "run_suite.h"

#include "model/model_core.h"

START_TEST(names_are_unique_and_fit)
{
    for (int format = TLMI_NATIVE; format < TLMI_NUM_FORMATS; format++)
        for (int32_t a = 0; a < TLMI_NUM_PARTS; a++) {
            const char *name = tlmi_parts[a].names[format];

            ck_assert_ptr_nonnull(name);
            ck_assert_uint_le(strlen(tlmi_layer_prefixes[format]) + 6 + strlen(name), 63);
            for (int32_t b = 0; b < a; b++)
                /* Families with both have another name for the first. */
                ck_assert(strcmp(name, tlmi_parts[b].names[format]) != 0 ||
                          (format == TLMI_HF && b == TLMI_LN1_AFTER && a == TLMI_LN2));
        }
    for (size_t a = 0; a < tlmi_num_options; a++)
        for (size_t b = 0; b < a; b++) {
            ck_assert_str_ne(tlmi_options[a].name, tlmi_options[b].name);
            ck_assert_uint_ne(tlmi_options[a].offset, tlmi_options[b].offset);
        }
}
END_TEST

static bool is_option(const char *name)
{
    for (size_t i = 0; i < tlmi_num_options; i++)
        if (strcmp(tlmi_options[i].name, name) == 0)
            return true;
    return false;
}

START_TEST(families_set_options_that_there_are)
{
    for (size_t i = 0; i < tlmi_num_families; i++) {
        const tlmi_family_t *family = &tlmi_families[i];

        ck_assert_ptr_nonnull(family->names[TLMI_HF]);
        ck_assert_ptr_nonnull(family->names[TLMI_GGUF]);
        ck_assert_ptr_nonnull(family->hf_class);
        for (size_t k = 0; family->fixed[k].option != NULL; k++) {
            ck_assert_uint_lt(k + 1, TLMI_MAX_SETTINGS);
            ck_assert(is_option(family->fixed[k].option));
            ck_assert_ptr_null(
                tlmi_family_key(family, tlmi_option_find(family->fixed[k].option), TLMI_HF));
        }
        for (size_t k = 0; family->missing[k].option != NULL; k++) {
            ck_assert_uint_lt(k + 1, TLMI_MAX_SETTINGS);
            ck_assert(is_option(family->missing[k].option));
        }
    }
}
END_TEST

/* Every option, not only those that some test has in mind: out of its range it is refused by name, and its
 * default is told from another value. */
START_TEST(every_option_is_checked)
{
    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];
        tlm_model_options_t options = reference_shapes[0], resolved;
        tlmi_model_shape_t shape;

        if (option->type == TLMI_SEED || option->type == TLMI_FLAG)
            continue;
        ASSERT_OK(tlmi_model_resolve(&resolved, &shape, "test", &options));
        ck_assert(option->required || strcmp(option->name, "d_ff") == 0 ||
                  tlmi_option_is_default(&resolved, option));
        tlmi_option_set(&options, option, -1.0);
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, option->name,
                     tlmi_model_resolve(&resolved, &shape, "test", &options));
        tlmi_option_set(&options, option, option->type == TLMI_NUMBER ? 1e300 : 2147483647.0);
        if (option->type == TLMI_SIZE)
            tlmi_option_set_int(&options, option, INT64_MAX);
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, option->name,
                     tlmi_model_resolve(&resolved, &shape, "test", &options));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("architecture");
    TCase *tcase = tcase_create("architecture");

    tcase_add_test(tcase, names_are_unique_and_fit);
    tcase_add_test(tcase, families_set_options_that_there_are);
    tcase_add_test(tcase, every_option_is_checked);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
