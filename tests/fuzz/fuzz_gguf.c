/* Any GGUF file: a refusal makes nothing; what opens runs, and where it can be saved, opens again with the
 * same weights and ids. */
#include "fuzz_tokenizer.h"

static void check_same_weights(const tlm_model_t *a, const tlm_model_t *b)
{
    tlm_tensor_t *const *tensors, *const *others;
    size_t n, m;

    FUZZ_OK(tlm_model_parameters(&tensors, &n, a));
    FUZZ_OK(tlm_model_parameters(&others, &m, b));
    FUZZ_CHECK(n == m);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = (size_t)tlm_tensor_numel(tensors[i]) * sizeof(float);

        FUZZ_CHECK(
            fuzz_same(tlm_tensor_data(tensors[i]), bytes, tlm_tensor_data(others[i]), bytes));
    }
}

/* Some cannot: tokens may have names that are refused. */
static void check_saved(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer)
{
    const char *path = fuzz_saved_path("gguf");
    tlm_tokenizer_t *other = NULL;
    tlm_model_t *again;

    if (tlm_model_save_gguf(model, tokenizer, path, NULL) != TLM_OK) {
        FUZZ_CHECK(tlm_error_message()[0] != '\0');
        return;
    }
    FUZZ_OK(tlm_model_open(&again, &other, NULL, path));
    check_same_weights(model, again);
    FUZZ_CHECK((tokenizer == NULL) == (other == NULL));
    if (tokenizer != NULL)
        fuzz_check_same(tokenizer, other);
    tlm_tokenizer_free(other);
    tlm_model_free(again);
}

/* Others drop bytes or replace them. */
static bool has_all_bytes(const tlm_tokenizer_t *tokenizer)
{
    uint32_t id;

    for (unsigned byte = 0; byte < 256; byte++)
        if (tlm_tokenizer_token_id(&id, tokenizer, &(uint8_t){(uint8_t)byte}, 1) != TLM_OK)
            return false;
    return true;
}

/* Opened for inference, the same file gives a model that scores. */
static void check_for_inference(const char *path)
{
    tlm_model_t *model = NULL;
    const uint32_t ids[] = {0, 0};
    float log_probs[1];

    FUZZ_OK(tlm_model_open_for_inference(&model, NULL, NULL, path));
    FUZZ_OK(tlm_model_score(NULL, log_probs, model, ids, 2, 0));
    tlm_model_free(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = NULL;
    tlm_model_t *model = NULL;
    tlm_tensor_t *logits;
    static int saves;

    const char *path = fuzz_file(0, data, size);
    if (tlm_model_open(&model, &tokenizer, &file, path) != TLM_OK) {
        FUZZ_CHECK(model == NULL && tokenizer == NULL && tlm_error_message()[0] != '\0');
        return 0;
    }
    check_for_inference(path);
    FUZZ_OK(tlm_model_forward(&logits, model, &(uint32_t){0}, 1, 1));
    tlm_tensor_free(logits);
    if (tokenizer != NULL && has_all_bytes(tokenizer))
        fuzz_check_round_trip(tokenizer, data, size < 1000 ? size : 1000);
    if (saves++ % 64 == 0) /* each waits for the disk */
        check_saved(model, tokenizer);
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
    return 0;
}
