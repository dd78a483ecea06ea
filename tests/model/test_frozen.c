/* Frozen parameters: patterns, no gradients and no state, runs that resume to the bit. */
#include "adapter_support.h"
#include "run_suite.h"

#include "base/glob.h"

static bool glob(const char *pattern, const char *text)
{
    return tlmi_glob(pattern, strlen(pattern), text, strlen(text));
}

START_TEST(patterns_are_those_of_fnmatch)
{
    static const char *const match[][2] = {{"", ""},
                                           {"*", ""},
                                           {"*", "a.b"},
                                           {"a*", "a"},
                                           {"a*c", "abbc"},
                                           {"a*c*e", "abcde"},
                                           {"?", "x"},
                                           {"a?c", "abc"},
                                           {"[abc]", "b"},
                                           {"[a-c]x", "bx"},
                                           {"[!a-c]", "d"},
                                           {"[]]", "]"},
                                           {"[!]]", "x"},
                                           {"[", "["},
                                           {"[a", "[a"},
                                           {"*.weight", "a.weight"},
                                           {"layers.[0-9].*", "layers.7.ln1"},
                                           {"**", "abc"},
                                           {"[a-]", "-"},
                                           {"*ab", "aab"},
                                           {"*a*b*", "xxaxxbxx"}};
    static const char *const no_match[][2] = {
        {"", "a"},       {"a", ""},       {"a", "ab"},   {"ab", "a"},    {"?", ""},
        {"[abc]", "d"},  {"[!a-c]", "b"}, {"[a-c]", ""}, {"a*c", "abd"}, {"*.bias", "a.weight"},
        {"[0-9]", "10"}, {"A", "a"},      {"[!]]", "]"}};

    for (size_t i = 0; i < sizeof(match) / sizeof(match[0]); i++)
        ck_assert_msg(glob(match[i][0], match[i][1]), "%s %s", match[i][0], match[i][1]);
    for (size_t i = 0; i < sizeof(no_match) / sizeof(no_match[0]); i++)
        ck_assert_msg(!glob(no_match[i][0], no_match[i][1]), "%s %s", no_match[i][0],
                      no_match[i][1]);
    /* Many stars take no more than pattern times text. */
    static char stars[401], text[2001];
    for (size_t i = 0; i < 400; i++)
        stars[i] = i % 2 == 0 ? '*' : 'a';
    stars[399] = 'b';
    memset(text, 'a', 2000);
    ck_assert(!glob(stars, text));
}
END_TEST

static bool is_trained(const tlm_model_t *model, const char *name)
{
    tlm_tensor_t *tensor;

    ASSERT_OK(tlm_model_parameter(&tensor, model, name));
    return tlm_tensor_requires_grad(tensor);
}

START_TEST(frozen_parameters_get_no_gradient_and_no_state)
{
    tlm_model_options_t options = adapted_options(0);
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, &options));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "no parameter of the model fits 'layers.7.*'",
                 tlm_model_set_frozen(model, "token*,layers.7.*", true));
    ck_assert(is_trained(model, "token_embeddings.weight"));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "fits ''", tlm_model_set_frozen(model, "", true));
    ASSERT_OK(tlm_model_set_frozen(model, "token_embeddings.weight, layers.0.*", true));
    ck_assert(!is_trained(model, "token_embeddings.weight"));
    ck_assert(!is_trained(model, "layers.0.ffn.w2.weight"));
    ck_assert(is_trained(model, "layers.1.ffn.w2.weight"));
    run_backward(model);
    uint64_t elements = 0;
    size_t trained = 0;
    for (size_t i = 0; i < model->num_parameters; i++) {
        const bool is_on = model->parameters[i]->requires_grad;

        ck_assert_int_eq(model->parameters[i]->grad != NULL, is_on);
        trained += is_on;
        elements += is_on ? (uint64_t)model->parameters[i]->numel : 0;
    }
    ck_assert_uint_eq(tlm_model_num_trained(model), elements);
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), trained);
    tlm_optimizer_free(optimizer);
    ASSERT_OK(tlm_model_set_frozen(model, "*", true));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_FAILS(TLM_ERR_STATE, "are frozen", tlm_optimizer_add_model(optimizer, model, 0, NULL));
    ASSERT_OK(tlm_model_set_frozen(model, "ln_final.*", false));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), 1);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frozen");
    TCase *tcase = tcase_create("frozen");

    tcase_add_test(tcase, patterns_are_those_of_fnmatch);
    tcase_add_test(tcase, frozen_parameters_get_no_gradient_and_no_state);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
