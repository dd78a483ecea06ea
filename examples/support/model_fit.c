/* Searches for shapes by their cost. */
#include "support/model_fit.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a process takes besides the model: the program, its libraries, token files, buffers. */
#define BASE_BYTES ((uint64_t)32 << 20)

enum { HEAD_WIDTH = 64, MOST_HEADS = 1024, BLOCK = 256 };

const fit_use_t fit_uses[] = {
    {"train", true, false, 0, TLM_FLOAT32},
    {"train, --checkpointing", true, true, 0, TLM_FLOAT32},
    {"adapters, bfloat16", true, false, 8, TLM_BFLOAT16},
    {"adapters, q8_0", true, false, 8, TLM_Q8_0},
    {"generate, float32", false, false, 0, TLM_FLOAT32},
    {"generate, bfloat16", false, false, 0, TLM_BFLOAT16},
    {"generate, q8_0", false, false, 0, TLM_Q8_0},
    {"generate, q4_k", false, false, 0, TLM_Q4_K},
};

_Static_assert(sizeof(fit_uses) / sizeof(fit_uses[0]) == NUM_FIT_USES, "uses are counted");

/* The layers of a model that has so many heads: as many up to 32, then half of the others. */
static int64_t usual_layers(int64_t heads)
{
    const int64_t layers = heads <= 32 ? heads : 32 + (heads - 32) / 2;

    return layers < 2 ? 2 : layers;
}

/* Fills in the cost of a shape; false if it has none, or does not fit. */
static bool fits(fit_t *out, const fit_use_t *use, const tlm_model_options_t *base, int64_t heads,
                 int64_t layers, int64_t batch, int32_t optimizer, uint64_t memory)
{
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT;
    tlm_model_options_t shape = *base;
    uint64_t bytes;

    shape.num_heads = heads;
    shape.d_model = heads * HEAD_WIDTH;
    shape.num_layers = layers;
    shape.num_kv_heads = shape.head_dim = shape.d_ff = 0;
    if (use->weights == TLM_Q4_K) /* rows are whole blocks */
        shape.d_ff = (8 * shape.d_model / 3 + BLOCK - 1) / BLOCK * BLOCK;
    lora.rank = use->lora_rank;
    asked.batch = batch;
    asked.optimizer = optimizer;
    asked.checkpointing = use->checkpointing;
    asked.weights = use->weights;
    asked.lora = lora.rank > 0 ? &lora : NULL;
    if (tlm_model_cost(&cost, &shape, &asked) != TLM_OK)
        return false;
    bytes =
        BASE_BYTES + (use->trains ? cost.step_peak_bytes : cost.weight_bytes + cost.kv_cache_bytes);
    if (bytes > memory)
        return false;
    *out = (fit_t){shape, cost.parameters, bytes};
    return true;
}

fit_t fit_largest(const fit_use_t *use, const tlm_model_options_t *base, int64_t batch,
                  int32_t optimizer, uint64_t memory)
{
    const int64_t unit = use->weights == TLM_Q4_K ? BLOCK / HEAD_WIDTH : 1;
    int64_t low = 0, high = 1;
    fit_t best = {.parameters = 0};

    while (high <= MOST_HEADS && fits(&best, use, base, high * unit, usual_layers(high * unit),
                                      batch, optimizer, memory)) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2, heads = middle * unit;

        if (fits(&best, use, base, heads, usual_layers(heads), batch, optimizer, memory))
            low = middle;
        else
            high = middle;
    }
    if (low == 0)
        return (fit_t){.parameters = 0};
    /* What is left goes into more layers. */
    const int64_t heads = low * unit;
    low = usual_layers(heads);
    for (high = 2 * low; high - low > 1;) {
        const int64_t middle = (low + high) / 2;

        if (fits(&best, use, base, heads, middle, batch, optimizer, memory))
            low = middle;
        else
            high = middle;
    }
    return best;
}

bool fit_parse_memory(uint64_t *bytes, const char *text)
{
    static const char letters[] = "KMGT";
    char *end;
    const double number = strtod(text, &end);
    const char *letter = *end != '\0' ? strchr(letters, *end & ~0x20) : NULL;
    double unit = 1073741824.0;

    if (end == text || !(number > 0.0) || (*end != '\0' && letter == NULL))
        return false;
    if (letter != NULL) {
        unit = 1024.0;
        for (const char *c = letters; c < letter; c++)
            unit *= 1024.0;
        end++;
        if (strcasecmp(end, "B") != 0 && strcasecmp(end, "iB") != 0 && *end != '\0')
            return false;
    }
    if (number * unit >= 1e18)
        return false;
    *bytes = (uint64_t)(number * unit);
    return true;
}
