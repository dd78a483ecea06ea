/* Any prompt cache, under several options. What loads must run and be extended. The first byte chooses the
 * options; the rest is the file, whose checksum is made right. */
#include "fuzz_checksum.h"

/* What a seed of the corpus was saved with: all parameters are 0.25. */
static tlm_model_t *make_model(void)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_tensor_t *const *parameters;
    tlm_model_t *model;
    size_t n;

    options.vocab_size = 5;
    options.context_length = 4;
    options.d_model = 2;
    options.num_layers = 1;
    options.num_heads = 1;
    options.d_ff = 2;
    FUZZ_OK(tlm_model_create(&model, &options));
    FUZZ_OK(tlm_model_parameters(&parameters, &n, model));
    for (size_t i = 0; i < n; i++)
        for (int64_t k = 0; k < tlm_tensor_numel(parameters[i]); k++)
            ((float *)tlm_tensor_data(parameters[i]))[k] = 0.25f;
    return model;
}

static void run(tlm_generator_t *generator, size_t sequence)
{
    int32_t state;

    for (int i = 0; i < 3; i++)
        (void)tlm_generator_step(NULL, generator);
    FUZZ_OK(tlm_generator_stop(generator, sequence));
    FUZZ_OK(tlm_generator_state(&state, generator, sequence));
    FUZZ_CHECK(state != TLM_GENERATION_RUNNING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tlm_model_t *model;
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    fuzz_input_t input = {data, size};
    const size_t choice = fuzz_take(&input, 48);
    const uint32_t ids[2] = {1, 4};
    tlm_generator_t *generator;
    size_t sequence = 77;

    options.keeps_cache = choice / 24 == 1;
    options.max_tokens = options.keeps_cache ? 0 : 9;
    options.past_context = (int32_t)(choice % 3) + 1;
    options.cache_type = choice / 3 % 2 == 0 ? TLM_FLOAT32 : TLM_FLOAT16;
    options.num_top_log_probs = choice / 6 % 2 == 0 ? 0 : 2;
    options.kept_tokens = choice / 12 % 2 == 0 ? 0 : 1;
    options.repetition_penalty = 1.1;
    tlm_bytes_t file = fuzz_take_bytes(&input, input.size);
    fuzz_mend_checksum((uint8_t *)(uintptr_t)file.data, file.size);
    const char *path = fuzz_file(0, file.data, file.size);
    fuzz_free(file);
    if (model == NULL)
        model = make_model();
    FUZZ_OK(tlm_generator_create(&generator, model));
    if (tlm_generator_load(&sequence, generator, path, &options) != TLM_OK) {
        FUZZ_CHECK(sequence == 77 && tlm_error_message()[0] != '\0');
    } else {
        FUZZ_CHECK(sequence == 0);
        run(generator, sequence);
        if (tlm_generator_extend(generator, sequence, SIZE_MAX, ids, 2, &options) == TLM_OK)
            run(generator, sequence);
    }
    tlm_generator_free(generator);
    return 0;
}
