/* Loading, storing and masking of attention's tiles. */
#include "nn/attention.h"

#include <string.h>

#include "kernels/vector_math.h"

void tlmi_attention_load(float *dst, const tlmi_attention_t *attention, tlmi_heads_t operand,
                         int64_t head, int64_t first, int64_t n, int64_t d, float scale,
                         bool rotate)
{
    const float *rows = tlmi_head_rows(operand, head);
    const tlmi_rotation_t *rotation = rotate ? attention->rotation : NULL;
    for (int64_t i = 0; i < n; i++, dst += d) {
        const float *row = rows + (first + i) * operand.row_stride;
        if (rotation != NULL)
            tlmi_rotate(dst, row, tlmi_rotation_row(rotation, head / operand.heads, first + i), d,
                        false);
        else if (d > 0)
            memcpy(dst, row, (size_t)d * sizeof(float));
    }
    if (scale != 1.0f)
        tlmi_vec_scale(dst - n * d, dst - n * d, scale, n * d);
}

void tlmi_attention_store(const tlmi_attention_t *attention, tlmi_heads_t operand, int64_t head,
                          int64_t first, int64_t n, int64_t d, float scale, bool rotate,
                          bool accumulate, float *src)
{
    float *rows = tlmi_head_rows(operand, head);
    const tlmi_rotation_t *rotation = rotate ? attention->rotation : NULL;
    for (int64_t i = 0; i < n; i++, src += d) {
        float *row = rows + (first + i) * operand.row_stride;
        if (rotation != NULL)
            tlmi_rotate(src, src, tlmi_rotation_row(rotation, head / operand.heads, first + i), d,
                        true);
        if (accumulate)
            tlmi_vec_axpy(row, scale, src, d);
        else
            tlmi_vec_scale(row, src, scale, d);
    }
}

/* The mask's byte for query 0 and key 0 of a head. */
static const uint8_t *mask_origin(const tlmi_mask_t *mask, int64_t head)
{
    const uint8_t *origin = mask->data;
    for (int32_t dim = mask->leading - 1; dim >= 0; dim--) {
        origin += head % mask->shape[dim] * mask->strides[dim];
        head /= mask->shape[dim];
    }
    return origin;
}

void tlmi_attention_mask(float *scores, const tlmi_attention_t *attention, int64_t head,
                         int64_t first_query, int64_t rows, int64_t first_key, int64_t n,
                         float hidden)
{
    const tlmi_mask_t *mask = &attention->mask;
    if (mask->data == NULL)
        return;
    const uint8_t *origin = mask_origin(mask, head) + first_key * mask->key_stride;
    for (int64_t i = 0; i < rows; i++) {
        float *row = scores + i * TLMI_SCORE_STRIDE;
        const uint8_t *bytes = origin + (first_query + i) * mask->query_stride;
        for (int64_t j = 0; j < n; j++)
            if (!bytes[j * mask->key_stride])
                row[j] = hidden;
    }
}
