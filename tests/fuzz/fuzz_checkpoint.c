/* Any checkpoint. Its checksum is made right first, for it would keep the fuzzer from all behind it. */
#include "fuzz_checksum.h"

/* What a seed of the corpus holds: see tests/fuzz/README.md. */
static tlm_model_t *make_model(tlm_optimizer_t **optimizer)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_tensor_t *const *parameters;
    tlm_model_t *model;
    size_t n;

    options.vocab_size = 3;
    options.context_length = 4;
    options.d_model = 2;
    options.num_layers = 1;
    options.num_heads = 1;
    options.d_ff = 2;
    FUZZ_OK(tlm_model_create(&model, &options));
    FUZZ_OK(tlm_model_parameters(&parameters, &n, model));
    FUZZ_OK(tlm_optimizer_create_adamw(optimizer, NULL));
    FUZZ_OK(tlm_optimizer_add_group(*optimizer, parameters, n, NULL));
    return model;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tlm_optimizer_t *optimizer;
    static tlm_model_t *model;
    uint64_t iteration = 77;
    tlm_model_t *loaded = NULL;
    tlm_tensor_t *logits;
    const char *path;
    char *metadata = NULL;
    uint8_t *bytes = malloc(size + (size == 0));

    FUZZ_CHECK(bytes != NULL);
    if (size > 0)
        memcpy(bytes, data, size);
    fuzz_mend_checksum(bytes, size);
    path = fuzz_file(0, bytes, size);
    free(bytes);
    if (model == NULL)
        model = make_model(&optimizer);
    if (tlm_checkpoint_load(&iteration, model, optimizer, path) != TLM_OK)
        FUZZ_CHECK(iteration == 77 && tlm_error_message()[0] != '\0');
    if (tlm_checkpoint_metadata(&metadata, NULL, path) == TLM_OK)
        FUZZ_CHECK(metadata != NULL);
    tlm_free(metadata);
    tlm_tokenizer_t *tokenizer = NULL;
    if (tlm_checkpoint_tokenizer(&tokenizer, path) != TLM_OK)
        FUZZ_CHECK(tokenizer == NULL);
    tlm_tokenizer_free(tokenizer);
    if (tlm_model_load(&loaded, path) != TLM_OK) {
        FUZZ_CHECK(loaded == NULL && tlm_error_message()[0] != '\0');
        return 0;
    }
    if (tlm_model_forward(&logits, loaded, &(uint32_t){0}, 1, 1) == TLM_OK)
        tlm_tensor_free(logits);
    tlm_model_free(loaded);
    return 0;
}
