/* The buffers of attention over caches: rotations, scores, room for widened rows. */
#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "infer/infer_core.h"
#include "nn/nn_core.h"

bool tlmi_has_second_rotation(const tlm_model_t *model)
{
    return model->options.window_rope_theta != 0.0;
}

/* ---- Rotations --------------------------------------------------------------------------- */

/* The angles of blocks with or without a window; owned. NULL: no memory. */
static double *make_angles(tlmi_rope_t *rope, const tlm_model_t *model, bool windowed)
{
    const int64_t d_head = model->shape.d_head;
    double *angles =
        tlmi_alloc((size_t)(d_head / 2), sizeof(*angles), "the frequencies of generation");

    if (angles != NULL) {
        tlmi_rope_of(rope, &model->options, windowed);
        tlmi_rope_angles(angles, rope, d_head);
    }
    return angles;
}

/* Fills the rows of a table from num_positions on, up to `positions`. */
static tlm_status_t fill_rotation(float *table, const tlmi_attention_buffers_t *buffers,
                                  const tlm_model_t *model, int64_t positions, bool windowed)
{
    const int64_t d_head = model->shape.d_head;
    tlmi_rope_t rope;
    double *angles = make_angles(&rope, model, windowed);

    if (angles == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int64_t position = buffers->num_positions; position < positions; position++)
        tlmi_rope_row(table + position * d_head, position, d_head, angles, &rope);
    tlmi_free(angles);
    return TLM_OK;
}

/* Tables of positions up to `length`, or to the context. */
static tlm_status_t reserve_rotation(tlmi_attention_buffers_t *buffers, const tlm_model_t *model,
                                     int64_t length)
{
    const int64_t context = model->options.context_length;
    const int64_t needed = length < context ? length : context;
    const int64_t positions = tlmi_grown_tokens(needed, context);
    const int32_t tables = tlmi_has_second_rotation(model) ? 2 : 1;

    if (needed <= buffers->num_positions)
        return TLM_OK;
    size_t n;
    if (!tlmi_mul_size(&n, (size_t)positions, (size_t)model->shape.d_head))
        n = SIZE_MAX; /* refused by the allocator, with its message */
    for (int32_t i = 0; i < tables; i++) {
        float *larger =
            tlmi_realloc(buffers->rotations[i], n, sizeof(float), "the rotations of generation");
        if (larger == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        buffers->rotations[i] = larger;
        TLMI_TRY(fill_rotation(larger, buffers, model, positions, i == 1));
    }
    buffers->num_positions = positions;
    return TLM_OK;
}

/* Room for rotations past the context and for the second queries. */
static tlm_status_t reserve_late(tlmi_attention_buffers_t *buffers, const tlm_model_t *model)
{
    const bool rotates = model->options.position == TLM_POSITION_ROPE;
    const size_t rows = TLMI_CHUNK_TOKENS, d_head = (size_t)model->shape.d_head;
    const size_t q_width = (size_t)model->shape.q_width;

    if (buffers->first_query == NULL)
        buffers->first_query =
            tlmi_alloc_aligned(rows * q_width, sizeof(float), "the queries of generation");
    if (buffers->first_query == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int32_t i = 0; rotates && i < 2; i++) {
        if (i == 1 && !tlmi_has_second_rotation(model))
            break;
        if (buffers->late_angles[i] == NULL)
            buffers->late_angles[i] = make_angles(&buffers->late_ropes[i], model, i == 1);
        if (buffers->late_rotations[i] == NULL)
            buffers->late_rotations[i] =
                tlmi_alloc_aligned(rows * d_head, sizeof(float), "the rotations of generation");
        if (buffers->late_angles[i] == NULL || buffers->late_rotations[i] == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
    }
    return TLM_OK;
}

void tlmi_attention_start(tlmi_attention_buffers_t *buffers, const tlm_model_t *model,
                          const tlmi_new_tokens_t *tokens)
{
    const int64_t rows = tlmi_new_rows(tokens), d_head = model->shape.d_head;

    for (int64_t row = 0; row < rows; row++) {
        const int64_t position = tlmi_new_position(tokens, row);

        for (int32_t i = 0; i < 2 && position >= model->options.context_length; i++)
            if (buffers->late_angles[i] != NULL)
                tlmi_rope_row(buffers->late_rotations[i] + row * d_head, position, d_head,
                              buffers->late_angles[i], &buffers->late_ropes[i]);
    }
}

/* ---- Scores ------------------------------------------------------------------------------ */

/* Floats of one worker's scores: whole cache lines, so that no two workers write to the same
 * one. */
static bool count_scores(size_t *out, int64_t length, int64_t rows)
{
    enum { LINE = 16 };

    return tlmi_mul_size(out, (size_t)(length + LINE) / LINE * LINE, (size_t)rows);
}

/* If there is no memory for all workers, fewer do the work. */
static tlm_status_t reserve_scores(tlmi_attention_buffers_t *buffers, const tlm_model_t *model,
                                   int64_t length, int64_t queries)
{
    const int64_t rows = queries < TLMI_QUERY_BLOCK ? queries : TLMI_QUERY_BLOCK;
    const int64_t context = model->options.context_length;
    const int64_t grown = tlmi_grown_tokens(length, length > context ? length : context);
    int32_t workers = tlmi_max_workers();
    size_t larger;

    if (!count_scores(&larger, grown, rows) || !tlmi_mul_size(&larger, larger, (size_t)workers))
        larger = SIZE_MAX; /* refused by the allocator, with its message */
    size_t own;
    if (!count_scores(&own, length, rows))
        own = SIZE_MAX;
    if (own > buffers->score_capacity / (size_t)workers) {
        float *scores = tlmi_alloc_aligned(larger, sizeof(float), "the scores of generation");
        if (scores != NULL) {
            tlmi_free(buffers->scores);
            buffers->scores = scores;
            buffers->score_capacity = larger;
        } else if (own > buffers->score_capacity) {
            return TLM_ERR_OUT_OF_MEMORY;
        } else {
            workers = (int32_t)(buffers->score_capacity / own);
        }
    }
    buffers->worker_scores = (int64_t)own;
    buffers->workers = workers;
    return TLM_OK;
}

/* Room for rows of float16 caches as float32. */
static tlm_status_t reserve_wide(tlmi_attention_buffers_t *buffers, const tlm_model_t *model)
{
    const size_t rows = (size_t)TLMI_WIDE_ROWS * (size_t)buffers->workers;
    const size_t n = rows * (size_t)model->shape.d_head;

    if (buffers->workers <= buffers->wide_workers)
        return TLM_OK;
    float *wide = tlmi_alloc_aligned(n, sizeof(float), "the rows of a float16 cache");
    if (wide == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_free(buffers->wide);
    buffers->wide = wide;
    buffers->wide_workers = buffers->workers;
    return TLM_OK;
}

tlm_status_t tlmi_attention_buffers_reserve(tlmi_attention_buffers_t *buffers,
                                            const tlm_model_t *model,
                                            const tlmi_attention_needs_t *needs)
{
    if (model->options.position == TLM_POSITION_ROPE)
        TLMI_TRY(reserve_rotation(buffers, model, needs->positions));
    if (needs->late)
        TLMI_TRY(reserve_late(buffers, model));
    TLMI_TRY(reserve_scores(buffers, model, needs->rows, needs->queries));
    return needs->float16 && needs->queries > 1 ? reserve_wide(buffers, model) : TLM_OK;
}

void tlmi_attention_buffers_release(tlmi_attention_buffers_t *buffers)
{
    for (int32_t i = 0; i < 2; i++) {
        tlmi_free(buffers->rotations[i]);
        tlmi_free(buffers->late_rotations[i]);
        tlmi_free(buffers->late_angles[i]);
    }
    tlmi_free(buffers->first_query);
    tlmi_free(buffers->wide);
    tlmi_free(buffers->scores);
}
