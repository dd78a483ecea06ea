/* Graphs of ops and layers, forward and back. */
#include "oom_scenarios.h"

#include "tensor/dlpack.h"

/* Frees the tensors that were made. */
static void free_tensors(tlm_tensor_t **tensors, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tlm_tensor_free(tensors[i]);
}

static tlm_status_t graph_of_general_ops(void)
{
    static const float values[12] = {1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6};
    static const int64_t shape[] = {3, 4}, row[] = {4}, flat[] = {-1};
    tlm_tensor_t *t[14] = {NULL};
    tlm_status_t status;

    TRY(tlm_tensor_from_data(&t[0], TLM_FLOAT32, values, shape, 2));
    TRY(tlm_tensor_from_data(&t[1], TLM_FLOAT32, values, row, 1));
    TRY(tlm_tensor_set_requires_grad(t[0], true));
    TRY(tlm_tensor_set_requires_grad(t[1], true));
    TRY(tlm_add(&t[2], t[0], t[1]));
    TRY(tlm_mul(&t[3], t[2], t[0]));
    TRY(tlm_transpose(&t[4], t[3], 0, 1));
    TRY(tlm_matmul(&t[5], t[3], t[4]));
    TRY(tlm_scale(&t[6], t[5], 0.5f));
    TRY(tlm_slice(&t[7], t[6], 1, 0, 2));
    TRY(tlm_contiguous(&t[8], t[7]));
    TRY(tlm_reshape(&t[9], t[8], flat, 1));
    TRY(tlm_sum_dim(&t[10], t[6], 0, false));
    TRY(tlm_mean_dim(&t[11], t[10], -1, true));
    TRY(tlm_mul(&t[12], t[9], t[11]));
    TRY(tlm_mean(&t[13], t[12]));
    TRY(tlm_tensor_backward(t[13], NULL));
done:
    free_tensors(t, sizeof(t) / sizeof(t[0]));
    return status;
}

static tlm_status_t graph_of_layers(void)
{
    static const int64_t shape[] = {2, 3, 8}, weights[] = {8, 8}, gains[] = {8}, vocab[] = {5, 8};
    static const int64_t id_shape[] = {2, 3};
    static const uint32_t ids[] = {0, 4, 2, 3, 3, 1};
    tlm_tensor_t *t[16] = {NULL};
    tlm_status_t status;

    TRY(tlm_tensor_create(&t[0], TLM_FLOAT32, shape, 3));
    TRY(tlm_tensor_create(&t[1], TLM_FLOAT32, weights, 2));
    TRY(tlm_tensor_create(&t[2], TLM_FLOAT32, gains, 1));
    TRY(tlm_tensor_create(&t[3], TLM_FLOAT32, vocab, 2));
    TRY(tlm_tensor_from_data(&t[4], TLM_UINT32, ids, id_shape, 2));
    for (uint64_t i = 0; i < 4; i++) {
        TRY(tlm_init_truncated_normal(t[i], 1.0, 3.0, 1, i));
        TRY(tlm_tensor_set_requires_grad(t[i], true));
    }
    TRY(tlm_embedding(&t[5], t[3], t[4]));
    TRY(tlm_add(&t[6], t[5], t[0]));
    TRY(tlm_rms_norm(&t[7], t[6], t[2], 1e-5f));
    TRY(tlm_multi_head_attention(&t[8], t[7], t[1], t[1], t[1], t[1], 2, 10000.0, NULL));
    TRY(tlm_swiglu(&t[9], t[8], t[1], t[1], t[1]));
    TRY(tlm_silu(&t[10], t[9]));
    TRY(tlm_rope(&t[11], t[10], NULL, 100.0));
    TRY(tlm_softmax(&t[12], t[11], -1));
    TRY(tlm_attention(&t[13], t[12], t[11], t[9], NULL, true));
    TRY(tlm_linear(&t[14], t[13], t[3]));
    TRY(tlm_cross_entropy(&t[15], t[14], t[4]));
    TRY(tlm_tensor_backward(t[15], NULL));
done:
    free_tensors(t, sizeof(t) / sizeof(t[0]));
    return status;
}

/* Widened, computed, rounded. */
static tlm_status_t layers_in_bfloat16(void)
{
    static const int64_t shape[] = {3, 8};
    tlm_tensor_t *t[7] = {NULL};
    tlm_status_t status;

    TRY(tlm_tensor_create(&t[0], TLM_BFLOAT16, shape, 2));
    TRY(tlm_tensor_create(&t[1], TLM_FLOAT16, shape + 1, 1));
    TRY(tlm_transpose(&t[2], t[0], 0, 1));
    TRY(tlm_softmax(&t[3], t[2], 0));
    TRY(tlm_transpose(&t[4], t[3], 0, 1));
    TRY(tlm_rms_norm(&t[5], t[4], t[1], 1e-5f));
    TRY(tlm_layer_norm(&t[6], t[5], t[1], t[1], 1e-5f));
done:
    free_tensors(t, sizeof(t) / sizeof(t[0]));
    return status;
}

/* Out through DLPack and in again; what is not taken in stays ours to delete. */
static tlm_status_t exchange(void)
{
    static const int64_t shape[] = {3, 4};
    struct DLManagedTensor *managed = NULL;
    struct DLManagedTensorVersioned *versioned = NULL;
    tlm_tensor_t *t[4] = {NULL};
    tlm_status_t status;

    TRY(tlm_tensor_create(&t[0], TLM_FLOAT32, shape, 2));
    TRY(tlm_transpose(&t[1], t[0], 0, 1));
    TRY(tlm_tensor_to_dlpack(&managed, t[1]));
    TRY(tlm_tensor_from_dlpack(&t[2], managed));
    managed = NULL;
    TRY(tlm_tensor_to_dlpack_versioned(&versioned, t[1], false));
    TRY(tlm_tensor_from_dlpack_versioned(&t[3], versioned));
    versioned = NULL;
done:
    if (managed != NULL)
        managed->deleter(managed);
    if (versioned != NULL)
        versioned->deleter(versioned);
    free_tensors(t, sizeof(t) / sizeof(t[0]));
    return status;
}

static tlm_status_t pass_on(void *user, tlm_tensor_t **grads, tlm_tensor_t *grad_out,
                            tlm_tensor_t *const *inputs, size_t num_inputs,
                            tlm_tensor_t *const *saved, size_t num_saved)
{
    (void)inputs, (void)num_inputs, (void)num_saved, (void)user;
    grads[0] = tlm_tensor_retain(grad_out);
    return tlm_mul(&grads[1], grad_out, saved[0]);
}

static tlm_status_t graph_of_more_ops(void)
{
    static const int64_t shape[] = {3, 4};
    tlm_custom_op_options_t options = TLM_CUSTOM_OP_OPTIONS_INIT;
    tlm_tensor_t *t[18] = {NULL};
    tlm_status_t status;

    options.backward = pass_on;
    TRY(tlm_tensor_create(&t[0], TLM_FLOAT32, shape, 2));
    TRY(tlm_tensor_create(&t[1], TLM_FLOAT32, shape + 1, 1));
    TRY(tlm_tensor_create(&t[2], TLM_BOOL, shape, 2));
    TRY(tlm_tensor_set_requires_grad(t[0], true));
    TRY(tlm_tensor_set_requires_grad(t[1], true));
    TRY(tlm_exp(&t[3], t[0]));
    TRY(tlm_sub(&t[4], t[3], t[1]));
    TRY(tlm_div(&t[5], t[1], t[3]));
    TRY(tlm_where(&t[6], t[2], t[4], t[1]));
    TRY(tlm_max_dim(&t[7], &t[8], t[6], 0, true));
    TRY(tlm_concat(&t[9], t + 3, 3, -1));
    TRY(tlm_transpose(&t[10], t[9], 0, 1));
    TRY(tlm_gelu(&t[11], t[10]));
    TRY(tlm_sum(&t[12], t[11]));
    TRY(tlm_custom_op_record(&t[13], t[0], t + 4, 2, t + 5, 1, &options));
    TRY(tlm_mul(&t[14], t[13], t[7]));
    TRY(tlm_sum(&t[15], t[14]));
    TRY(tlm_add(&t[16], t[15], t[12]));
    TRY(tlm_tensor_backward(t[16], NULL));
done:
    free_tensors(t, sizeof(t) / sizeof(t[0]));
    return status;
}

static tlm_status_t graph_of_chosen_elements(void)
{
    static const int64_t shape[] = {3, 4}, places[] = {2, 0, 2, -1};
    tlm_tensor_t *t[12] = {NULL};
    tlm_status_t status;

    TRY(tlm_tensor_create(&t[0], TLM_FLOAT32, shape, 2));
    TRY(tlm_tensor_create(&t[1], TLM_FLOAT32, shape + 1, 1));
    TRY(tlm_tensor_from_data(&t[2], TLM_INT64, places, shape + 1, 1));
    TRY(tlm_init_uniform(t[0], 0.5, 1.0, 1, 2));
    TRY(tlm_tensor_set_requires_grad(t[0], true));
    TRY(tlm_tensor_set_requires_grad(t[1], true));
    TRY(tlm_slice_step(&t[3], t[0], 1, 3, -1, 4));
    TRY(tlm_take(&t[4], t[3], 0, t[2]));
    TRY(tlm_pow(&t[5], t[4], t[1]));
    TRY(tlm_layer_norm(&t[6], t[5], t[1], t[1], 1e-5f));
    TRY(tlm_dropout(&t[7], t[6], 0.5, 1, 2));
    TRY(tlm_linear_bias(&t[8], t[7], t[4], t[1]));
    TRY(tlm_compare(&t[9], t[8], t[1], TLM_COMPARE_LESS));
    TRY(tlm_tensor_convert(&t[10], t[9], TLM_INT32));
    TRY(tlm_sum(&t[11], t[8]));
    TRY(tlm_tensor_backward(t[11], NULL));
done:
    free_tensors(t, sizeof(t) / sizeof(t[0]));
    return status;
}

const scenario_t tensor_scenarios[] = {
    {"tensor_ops", NULL, graph_of_general_ops, NULL, false},
    {"more_ops", NULL, graph_of_more_ops, NULL, false},
    {"chosen_elements", NULL, graph_of_chosen_elements, NULL, false},
    {"layers", NULL, graph_of_layers, NULL, false},
    {"layers_in_bfloat16", NULL, layers_in_bfloat16, NULL, false},
    {"exchange", NULL, exchange, NULL, false},
    {0},
};
