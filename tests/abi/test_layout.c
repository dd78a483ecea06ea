/* Sizes, offsets and values that programs have compiled in. A line may be added, never changed,
 * but for the size of an options struct, which may grow: a change that breaks one needs another
 * TLM_ABI_VERSION. */
#include "tinylm/tinylm.h"

#include <stdio.h>
#include <string.h>

#define SIZE(type, bytes)  _Static_assert(sizeof(type) == (bytes), "size of " #type)
#define VALUE(name, value) _Static_assert((name) == (value), "value of " #name)
#define FIELD(type, field, at, bytes)                                                              \
    _Static_assert(offsetof(type, field) == (at) && sizeof(((type *)0)->field) == (bytes),         \
                   #type "." #field)

#if SIZE_MAX == UINT64_MAX
SIZE(tlm_bytes_t, 16);
FIELD(tlm_bytes_t, data, 0, 8);
FIELD(tlm_bytes_t, size, 8, 8);

SIZE(tlm_bpe_trainer_options_t, 96);
FIELD(tlm_bpe_trainer_options_t, size, 0, 8);
FIELD(tlm_bpe_trainer_options_t, vocab_size, 8, 4);
FIELD(tlm_bpe_trainer_options_t, reserved, 12, 4);
FIELD(tlm_bpe_trainer_options_t, special_tokens, 16, 8);
FIELD(tlm_bpe_trainer_options_t, num_special_tokens, 24, 8);
FIELD(tlm_bpe_trainer_options_t, pattern, 32, 8);
FIELD(tlm_bpe_trainer_options_t, min_frequency, 40, 8);
FIELD(tlm_bpe_trainer_options_t, max_token_length, 48, 4);
FIELD(tlm_bpe_trainer_options_t, byte_order, 52, 4);
FIELD(tlm_bpe_trainer_options_t, max_distinct_pretokens, 56, 8);
FIELD(tlm_bpe_trainer_options_t, base, 64, 8);
FIELD(tlm_bpe_trainer_options_t, progress, 72, 8);
FIELD(tlm_bpe_trainer_options_t, progress_user, 80, 8);
FIELD(tlm_bpe_trainer_options_t, communicator, 88, 8);

SIZE(tlm_tokenizer_options_t, 48);
FIELD(tlm_tokenizer_options_t, size, 0, 8);
FIELD(tlm_tokenizer_options_t, special_tokens, 8, 8);
FIELD(tlm_tokenizer_options_t, num_special_tokens, 16, 8);
FIELD(tlm_tokenizer_options_t, pattern, 24, 8);
FIELD(tlm_tokenizer_options_t, ignore_merges, 32, 1);
FIELD(tlm_tokenizer_options_t, nfc, 33, 1);
FIELD(tlm_tokenizer_options_t, reserved, 34, 6);
FIELD(tlm_tokenizer_options_t, special_token_ids, 40, 8);

SIZE(tlm_decode_options_t, 16);
FIELD(tlm_decode_options_t, size, 0, 8);
FIELD(tlm_decode_options_t, skip_special_tokens, 8, 1);
FIELD(tlm_decode_options_t, as_text, 9, 1);
FIELD(tlm_decode_options_t, reserved, 10, 6);
SIZE(tlm_encode_options_t, 72);
FIELD(tlm_encode_options_t, size, 0, 8);
FIELD(tlm_encode_options_t, allowed_special, 8, 4);
FIELD(tlm_encode_options_t, disallowed_special, 12, 4);
FIELD(tlm_encode_options_t, allowed, 16, 8);
FIELD(tlm_encode_options_t, num_allowed, 24, 8);
FIELD(tlm_encode_options_t, disallowed, 32, 8);
FIELD(tlm_encode_options_t, num_disallowed, 40, 8);
FIELD(tlm_encode_options_t, dropout, 48, 8);
FIELD(tlm_encode_options_t, seed, 56, 8);
FIELD(tlm_encode_options_t, add_special_tokens, 64, 1);
FIELD(tlm_encode_options_t, whole_texts, 65, 1);
FIELD(tlm_encode_options_t, reserved, 66, 6);

SIZE(tlm_encode_files_options_t, 40);
FIELD(tlm_encode_files_options_t, size, 0, 8);
FIELD(tlm_encode_files_options_t, token_type, 8, 4);
FIELD(tlm_encode_files_options_t, reserved, 12, 4);
FIELD(tlm_encode_files_options_t, communicator, 16, 8);
FIELD(tlm_encode_files_options_t, progress, 24, 8);
FIELD(tlm_encode_files_options_t, user, 32, 8);

SIZE(tlm_chat_data_options_t, 32);
FIELD(tlm_chat_data_options_t, size, 0, 8);
FIELD(tlm_chat_data_options_t, row_length, 8, 8);
FIELD(tlm_chat_data_options_t, packed, 16, 1);
FIELD(tlm_chat_data_options_t, whole_texts, 17, 1);
FIELD(tlm_chat_data_options_t, has_begin_token, 18, 1);
FIELD(tlm_chat_data_options_t, has_end_token, 19, 1);
FIELD(tlm_chat_data_options_t, pad_id, 20, 4);
FIELD(tlm_chat_data_options_t, begin_token, 24, 4);
FIELD(tlm_chat_data_options_t, end_token, 28, 4);

SIZE(tlm_chat_data_t, 56);
FIELD(tlm_chat_data_t, size, 0, 8);
FIELD(tlm_chat_data_t, conversations, 8, 8);
FIELD(tlm_chat_data_t, truncated, 16, 8);
FIELD(tlm_chat_data_t, left_out, 24, 8);
FIELD(tlm_chat_data_t, rows, 32, 8);
FIELD(tlm_chat_data_t, tokens, 40, 8);
FIELD(tlm_chat_data_t, counted, 48, 8);

SIZE(tlm_chat_options_t, 32);
FIELD(tlm_chat_options_t, size, 0, 8);
FIELD(tlm_chat_options_t, add_generation_prompt, 8, 1);
FIELD(tlm_chat_options_t, reserved, 9, 7);
FIELD(tlm_chat_options_t, variables, 16, 8);
FIELD(tlm_chat_options_t, now, 24, 8);

SIZE(tlm_muon_options_t, 56);
FIELD(tlm_muon_options_t, size, 0, 8);
FIELD(tlm_muon_options_t, learning_rate, 8, 8);
FIELD(tlm_muon_options_t, momentum, 16, 8);
FIELD(tlm_muon_options_t, eps, 24, 8);
FIELD(tlm_muon_options_t, weight_decay, 32, 8);
FIELD(tlm_muon_options_t, iterations, 40, 4);
FIELD(tlm_muon_options_t, scale, 44, 4);
FIELD(tlm_muon_options_t, nesterov, 48, 1);
FIELD(tlm_muon_options_t, reserved, 49, 7);

SIZE(tlm_pad_options_t, 40);
FIELD(tlm_pad_options_t, size, 0, 8);
FIELD(tlm_pad_options_t, max_length, 8, 8);
FIELD(tlm_pad_options_t, pad_length, 16, 8);
FIELD(tlm_pad_options_t, pad_id, 24, 4);
FIELD(tlm_pad_options_t, pad_side, 28, 4);
FIELD(tlm_pad_options_t, cut_side, 32, 4);
FIELD(tlm_pad_options_t, reserved, 36, 4);

SIZE(tlm_model_options_t, 280);
FIELD(tlm_model_options_t, size, 0, 8);
FIELD(tlm_model_options_t, vocab_size, 8, 8);
FIELD(tlm_model_options_t, context_length, 16, 8);
FIELD(tlm_model_options_t, d_model, 24, 8);
FIELD(tlm_model_options_t, num_layers, 32, 8);
FIELD(tlm_model_options_t, num_heads, 40, 8);
FIELD(tlm_model_options_t, d_ff, 48, 8);
FIELD(tlm_model_options_t, rope_theta, 56, 8);
FIELD(tlm_model_options_t, seed, 64, 8);
FIELD(tlm_model_options_t, num_kv_heads, 72, 8);
FIELD(tlm_model_options_t, norm_eps, 80, 8);
FIELD(tlm_model_options_t, norm, 88, 4);
FIELD(tlm_model_options_t, position, 92, 4);
FIELD(tlm_model_options_t, ffn, 96, 4);
FIELD(tlm_model_options_t, tied_embeddings, 100, 1);
FIELD(tlm_model_options_t, ffn_bias, 101, 1);
FIELD(tlm_model_options_t, scaled_embeddings, 102, 1);
FIELD(tlm_model_options_t, embedding_norm, 103, 1);
FIELD(tlm_model_options_t, head_dim, 104, 8);
FIELD(tlm_model_options_t, qk_norm, 112, 4);
FIELD(tlm_model_options_t, attention_bias, 116, 4);
FIELD(tlm_model_options_t, sliding_window, 120, 8);
FIELD(tlm_model_options_t, window_period, 128, 8);
FIELD(tlm_model_options_t, window_rope_theta, 136, 8);
FIELD(tlm_model_options_t, unrotated_period, 144, 8);
FIELD(tlm_model_options_t, rope_scaling, 152, 4);
FIELD(tlm_model_options_t, norm_kind, 156, 4);
FIELD(tlm_model_options_t, rope_factor, 160, 8);
FIELD(tlm_model_options_t, rope_low_turns, 168, 8);
FIELD(tlm_model_options_t, rope_high_turns, 176, 8);
FIELD(tlm_model_options_t, rope_original_context, 184, 8);
FIELD(tlm_model_options_t, rope_magnitude, 192, 8);
FIELD(tlm_model_options_t, query_scalar, 200, 8);
FIELD(tlm_model_options_t, attention_softcap, 208, 8);
FIELD(tlm_model_options_t, logit_softcap, 216, 8);
FIELD(tlm_model_options_t, output_init, 224, 4);
FIELD(tlm_model_options_t, value_embeddings, 228, 1);
FIELD(tlm_model_options_t, reserved, 229, 3);
FIELD(tlm_model_options_t, base_width, 232, 8);
FIELD(tlm_model_options_t, z_loss, 240, 8);
FIELD(tlm_model_options_t, label_smoothing, 248, 8);
FIELD(tlm_model_options_t, dropout, 256, 8);
FIELD(tlm_model_options_t, attention_dropout, 264, 8);
FIELD(tlm_model_options_t, embedding_dropout, 272, 8);

SIZE(tlm_cost_options_t, 80);
FIELD(tlm_cost_options_t, size, 0, 8);
FIELD(tlm_cost_options_t, batch, 8, 8);
FIELD(tlm_cost_options_t, time, 16, 8);
FIELD(tlm_cost_options_t, optimizer, 24, 4);
FIELD(tlm_cost_options_t, counting, 28, 4);
FIELD(tlm_cost_options_t, checkpointing, 32, 1);
FIELD(tlm_cost_options_t, reserved, 33, 7);
FIELD(tlm_cost_options_t, frozen, 40, 8);
FIELD(tlm_cost_options_t, lora, 48, 8);
FIELD(tlm_cost_options_t, weights, 56, 4);
FIELD(tlm_cost_options_t, reserved2, 60, 4);
FIELD(tlm_cost_options_t, accumulation, 64, 8);
FIELD(tlm_cost_options_t, num_ranks, 72, 4);
FIELD(tlm_cost_options_t, average, 76, 1);
FIELD(tlm_cost_options_t, reserved3, 77, 3);

SIZE(tlm_lora_options_t, 56);
FIELD(tlm_lora_options_t, size, 0, 8);
FIELD(tlm_lora_options_t, rank, 8, 8);
FIELD(tlm_lora_options_t, alpha, 16, 8);
FIELD(tlm_lora_options_t, dropout, 24, 8);
FIELD(tlm_lora_options_t, targets, 32, 8);
FIELD(tlm_lora_options_t, seed, 40, 8);
FIELD(tlm_lora_options_t, family, 48, 4);
FIELD(tlm_lora_options_t, rank_stabilized, 52, 1);
FIELD(tlm_lora_options_t, reserved, 53, 3);

SIZE(tlm_cost_t, 312);
FIELD(tlm_cost_t, size, 0, 8);
FIELD(tlm_cost_t, parameters, 8, 8);
FIELD(tlm_cost_t, part_parameters, 16, 64);
FIELD(tlm_cost_t, weight_bytes, 80, 8);
FIELD(tlm_cost_t, gradient_bytes, 88, 8);
FIELD(tlm_cost_t, optimizer_bytes, 96, 8);
FIELD(tlm_cost_t, activation_bytes, 104, 8);
FIELD(tlm_cost_t, step_live_bytes, 112, 8);
FIELD(tlm_cost_t, step_peak_bytes, 120, 8);
FIELD(tlm_cost_t, kv_cache_bytes, 128, 8);
FIELD(tlm_cost_t, forward_flops, 136, 64);
FIELD(tlm_cost_t, backward_flops, 200, 64);
FIELD(tlm_cost_t, recompute_flops, 264, 8);
FIELD(tlm_cost_t, optimizer_flops, 272, 8);
FIELD(tlm_cost_t, step_flops, 280, 8);
FIELD(tlm_cost_t, model_flops, 288, 8);
FIELD(tlm_cost_t, token_flops, 296, 8);
FIELD(tlm_cost_t, trained_parameters, 304, 8);

SIZE(tlm_ids_t, 16);
FIELD(tlm_ids_t, ids, 0, 8);
FIELD(tlm_ids_t, n, 8, 8);

SIZE(tlm_logit_bias_t, 8);
FIELD(tlm_logit_bias_t, id, 0, 4);
FIELD(tlm_logit_bias_t, bias, 4, 4);

SIZE(tlm_generate_options_t, 200);
FIELD(tlm_generate_options_t, size, 0, 8);
FIELD(tlm_generate_options_t, max_tokens, 8, 8);
FIELD(tlm_generate_options_t, temperature, 16, 8);
FIELD(tlm_generate_options_t, top_p, 24, 8);
FIELD(tlm_generate_options_t, top_k, 32, 4);
FIELD(tlm_generate_options_t, has_end_token, 36, 1);
FIELD(tlm_generate_options_t, reserved, 37, 3);
FIELD(tlm_generate_options_t, end_token, 40, 4);
FIELD(tlm_generate_options_t, reserved2, 44, 4);
FIELD(tlm_generate_options_t, seed, 48, 8);
FIELD(tlm_generate_options_t, min_p, 56, 8);
FIELD(tlm_generate_options_t, repetition_penalty, 64, 8);
FIELD(tlm_generate_options_t, stop_sequences, 72, 8);
FIELD(tlm_generate_options_t, num_stop_sequences, 80, 8);
FIELD(tlm_generate_options_t, num_top_log_probs, 88, 4);
FIELD(tlm_generate_options_t, num_more_end_tokens, 92, 4);
FIELD(tlm_generate_options_t, more_end_tokens, 96, 28);
FIELD(tlm_generate_options_t, past_context, 124, 4);
FIELD(tlm_generate_options_t, tokenizer, 128, 8);
FIELD(tlm_generate_options_t, stop_strings, 136, 8);
FIELD(tlm_generate_options_t, num_stop_strings, 144, 8);
FIELD(tlm_generate_options_t, logit_bias, 152, 8);
FIELD(tlm_generate_options_t, num_logit_biases, 160, 8);
FIELD(tlm_generate_options_t, on_logits, 168, 8);
FIELD(tlm_generate_options_t, logits_user, 176, 8);
FIELD(tlm_generate_options_t, kept_tokens, 184, 8);
FIELD(tlm_generate_options_t, cache_type, 192, 4);
FIELD(tlm_generate_options_t, skip_special_tokens, 196, 1);
FIELD(tlm_generate_options_t, keeps_cache, 197, 1);
FIELD(tlm_generate_options_t, reserved3, 198, 2);

SIZE(tlm_model_file_options_t, 88);
FIELD(tlm_model_file_options_t, size, 0, 8);
FIELD(tlm_model_file_options_t, weights, 8, 4);
FIELD(tlm_model_file_options_t, has_begin_token, 12, 1);
FIELD(tlm_model_file_options_t, has_end_token, 13, 1);
FIELD(tlm_model_file_options_t, reserved, 14, 2);
FIELD(tlm_model_file_options_t, begin_token, 16, 4);
FIELD(tlm_model_file_options_t, end_token, 20, 4);
FIELD(tlm_model_file_options_t, family, 24, 4);
FIELD(tlm_model_file_options_t, num_more_end_tokens, 28, 4);
FIELD(tlm_model_file_options_t, more_end_tokens, 32, 28);
FIELD(tlm_model_file_options_t, reserved2, 60, 4);
FIELD(tlm_model_file_options_t, keys_from, 64, 8);
FIELD(tlm_model_file_options_t, chat_template, 72, 8);
FIELD(tlm_model_file_options_t, weight_bytes, 80, 8);

SIZE(tlm_communicator_options_t, 72);
FIELD(tlm_communicator_options_t, size, 0, 8);
FIELD(tlm_communicator_options_t, rank, 8, 4);
FIELD(tlm_communicator_options_t, num_ranks, 12, 4);
FIELD(tlm_communicator_options_t, user, 16, 8);
FIELD(tlm_communicator_options_t, exchange, 24, 8);
FIELD(tlm_communicator_options_t, all_gather, 32, 8);
FIELD(tlm_communicator_options_t, broadcast, 40, 8);
FIELD(tlm_communicator_options_t, all_reduce, 48, 8);
FIELD(tlm_communicator_options_t, release, 56, 8);
FIELD(tlm_communicator_options_t, any_thread, 64, 1);
FIELD(tlm_communicator_options_t, reserved, 65, 7);

SIZE(tlm_custom_op_options_t, 40);
FIELD(tlm_custom_op_options_t, size, 0, 8);
FIELD(tlm_custom_op_options_t, name, 8, 8);
FIELD(tlm_custom_op_options_t, backward, 16, 8);
FIELD(tlm_custom_op_options_t, release, 24, 8);
FIELD(tlm_custom_op_options_t, user, 32, 8);

SIZE(tlm_checkpoint_options_t, 40);
FIELD(tlm_checkpoint_options_t, size, 0, 8);
FIELD(tlm_checkpoint_options_t, metadata, 8, 8);
FIELD(tlm_checkpoint_options_t, validation_loss, 16, 8);
FIELD(tlm_checkpoint_options_t, has_validation_loss, 24, 1);
FIELD(tlm_checkpoint_options_t, reserved, 25, 7);
FIELD(tlm_checkpoint_options_t, tokenizer, 32, 8);

SIZE(tlm_loader_options_t, 48);
FIELD(tlm_loader_options_t, size, 0, 8);
FIELD(tlm_loader_options_t, batch_size, 8, 8);
FIELD(tlm_loader_options_t, context_length, 16, 8);
FIELD(tlm_loader_options_t, seed, 24, 8);
FIELD(tlm_loader_options_t, order, 32, 4);
FIELD(tlm_loader_options_t, document_end, 36, 4);
FIELD(tlm_loader_options_t, has_document_end, 40, 1);
FIELD(tlm_loader_options_t, reserved, 41, 3);
FIELD(tlm_loader_options_t, prefetch, 44, 4);

SIZE(tlm_lion_options_t, 40);
FIELD(tlm_lion_options_t, size, 0, 8);
FIELD(tlm_lion_options_t, learning_rate, 8, 8);
FIELD(tlm_lion_options_t, beta1, 16, 8);
FIELD(tlm_lion_options_t, beta2, 24, 8);
FIELD(tlm_lion_options_t, weight_decay, 32, 8);

SIZE(tlm_adafactor_options_t, 56);
FIELD(tlm_adafactor_options_t, size, 0, 8);
FIELD(tlm_adafactor_options_t, learning_rate, 8, 8);
FIELD(tlm_adafactor_options_t, power, 16, 8);
FIELD(tlm_adafactor_options_t, eps, 24, 8);
FIELD(tlm_adafactor_options_t, min_rms, 32, 8);
FIELD(tlm_adafactor_options_t, threshold, 40, 8);
FIELD(tlm_adafactor_options_t, weight_decay, 48, 8);

SIZE(tlm_adamw_options_t, 56);
FIELD(tlm_adamw_options_t, size, 0, 8);
FIELD(tlm_adamw_options_t, learning_rate, 8, 8);
FIELD(tlm_adamw_options_t, beta1, 16, 8);
FIELD(tlm_adamw_options_t, beta2, 24, 8);
FIELD(tlm_adamw_options_t, eps, 32, 8);
FIELD(tlm_adamw_options_t, weight_decay, 40, 8);
FIELD(tlm_adamw_options_t, variant, 48, 4);
FIELD(tlm_adamw_options_t, reserved, 52, 4);

SIZE(tlm_group_options_t, 40);
FIELD(tlm_group_options_t, size, 0, 8);
FIELD(tlm_group_options_t, learning_rate, 8, 8);
FIELD(tlm_group_options_t, weight_decay, 16, 8);
FIELD(tlm_group_options_t, has_learning_rate, 24, 1);
FIELD(tlm_group_options_t, has_weight_decay, 25, 1);
FIELD(tlm_group_options_t, reserved, 26, 6);
FIELD(tlm_group_options_t, rate_factor, 32, 8);

SIZE(tlm_group_rule_t, 48);
FIELD(tlm_group_rule_t, size, 0, 8);
FIELD(tlm_group_rule_t, patterns, 8, 8);
FIELD(tlm_group_rule_t, learning_rate, 16, 8);
FIELD(tlm_group_rule_t, weight_decay, 24, 8);
FIELD(tlm_group_rule_t, has_learning_rate, 32, 1);
FIELD(tlm_group_rule_t, has_weight_decay, 33, 1);
FIELD(tlm_group_rule_t, reserved, 34, 6);
FIELD(tlm_group_rule_t, schedule, 40, 8);

SIZE(tlm_schedule_options_t, 56);
FIELD(tlm_schedule_options_t, size, 0, 8);
FIELD(tlm_schedule_options_t, kind, 8, 4);
FIELD(tlm_schedule_options_t, reserved, 12, 4);
FIELD(tlm_schedule_options_t, max_learning_rate, 16, 8);
FIELD(tlm_schedule_options_t, min_learning_rate, 24, 8);
FIELD(tlm_schedule_options_t, warmup_steps, 32, 8);
FIELD(tlm_schedule_options_t, total_steps, 40, 8);
FIELD(tlm_schedule_options_t, decay_steps, 48, 8);

SIZE(tlm_evaluation_t, 56);
FIELD(tlm_evaluation_t, size, 0, 8);
FIELD(tlm_evaluation_t, step, 8, 8);
FIELD(tlm_evaluation_t, tokens, 16, 8);
FIELD(tlm_evaluation_t, loss, 24, 8);
FIELD(tlm_evaluation_t, perplexity, 32, 8);
FIELD(tlm_evaluation_t, seconds, 40, 8);
FIELD(tlm_evaluation_t, is_best, 48, 1);
FIELD(tlm_evaluation_t, reserved, 49, 7);

SIZE(tlm_train_step_t, 128);
FIELD(tlm_train_step_t, size, 0, 8);
FIELD(tlm_train_step_t, step, 8, 8);
FIELD(tlm_train_step_t, tokens, 16, 8);
FIELD(tlm_train_step_t, loss, 24, 8);
FIELD(tlm_train_step_t, learning_rate, 32, 8);
FIELD(tlm_train_step_t, gradient_norm, 40, 8);
FIELD(tlm_train_step_t, seconds, 48, 8);
FIELD(tlm_train_step_t, tokens_per_second, 56, 8);
FIELD(tlm_train_step_t, utilization, 64, 8);
FIELD(tlm_train_step_t, communication_seconds, 72, 8);
FIELD(tlm_train_step_t, compute_seconds, 80, 8);
FIELD(tlm_train_step_t, reduce_scatter_seconds, 88, 8);
FIELD(tlm_train_step_t, update_seconds, 96, 8);
FIELD(tlm_train_step_t, gather_seconds, 104, 8);
FIELD(tlm_train_step_t, overlap_seconds, 112, 8);
FIELD(tlm_train_step_t, step_tokens, 120, 8);

SIZE(tlm_trainer_options_t, 216);
FIELD(tlm_trainer_options_t, size, 0, 8);
FIELD(tlm_trainer_options_t, steps, 8, 8);
FIELD(tlm_trainer_options_t, schedule, 16, 8);
FIELD(tlm_trainer_options_t, clip_norm, 24, 8);
FIELD(tlm_trainer_options_t, accumulation, 32, 8);
FIELD(tlm_trainer_options_t, valid, 40, 8);
FIELD(tlm_trainer_options_t, eval_every, 48, 8);
FIELD(tlm_trainer_options_t, eval_tokens, 56, 8);
FIELD(tlm_trainer_options_t, checkpoint_path, 64, 8);
FIELD(tlm_trainer_options_t, save_every, 72, 8);
FIELD(tlm_trainer_options_t, peak_flops, 80, 8);
FIELD(tlm_trainer_options_t, on_step, 88, 8);
FIELD(tlm_trainer_options_t, on_evaluation, 96, 8);
FIELD(tlm_trainer_options_t, on_save, 104, 8);
FIELD(tlm_trainer_options_t, user, 112, 8);
FIELD(tlm_trainer_options_t, activation_checkpointing, 120, 1);
FIELD(tlm_trainer_options_t, save_on_cancel, 121, 1);
FIELD(tlm_trainer_options_t, reserved, 122, 6);
FIELD(tlm_trainer_options_t, checkpoint_dir, 128, 8);
FIELD(tlm_trainer_options_t, keep_last, 136, 4);
FIELD(tlm_trainer_options_t, reserved2, 140, 4);
FIELD(tlm_trainer_options_t, tokenizer, 144, 8);
FIELD(tlm_trainer_options_t, communicator, 152, 8);
FIELD(tlm_trainer_options_t, irreproducible, 160, 1);
FIELD(tlm_trainer_options_t, reserved3, 161, 3);
FIELD(tlm_trainer_options_t, products, 164, 4);
FIELD(tlm_trainer_options_t, average_decay, 168, 8);
FIELD(tlm_trainer_options_t, batch_start, 176, 8);
FIELD(tlm_trainer_options_t, batch_increment, 184, 8);
FIELD(tlm_trainer_options_t, batch_warmup_steps, 192, 8);
FIELD(tlm_trainer_options_t, batch_warmup_tokens, 200, 8);
FIELD(tlm_trainer_options_t, resume_changes, 208, 8);
#endif

SIZE(tlm_status_t, 4);
VALUE(TLM_OK, 0);
VALUE(TLM_ERR_INVALID_ARGUMENT, -1);
VALUE(TLM_ERR_SHAPE, -2);
VALUE(TLM_ERR_OUT_OF_MEMORY, -3);
VALUE(TLM_ERR_IO, -4);
VALUE(TLM_ERR_FORMAT, -5);
VALUE(TLM_ERR_NOT_FOUND, -6);
VALUE(TLM_ERR_UNSUPPORTED, -7);
VALUE(TLM_ERR_RANGE, -8);
VALUE(TLM_ERR_STATE, -9);
VALUE(TLM_ERR_REGEX, -10);
VALUE(TLM_ERR_NON_FINITE, -11);
VALUE(TLM_ERR_CANCELLED, -12);
VALUE(TLM_ERR_SPECIAL_TOKEN, -13);

VALUE(TLM_SPECIAL_ALL, 0);
VALUE(TLM_SPECIAL_NONE, 1);
VALUE(TLM_SPECIAL_LIST, 2);
VALUE(TLM_SIDE_RIGHT, 0);
VALUE(TLM_SIDE_LEFT, 1);

VALUE(TLM_FLOAT32, 0);
VALUE(TLM_INT32, 1);
VALUE(TLM_INT64, 2);
VALUE(TLM_UINT32, 3);
VALUE(TLM_BOOL, 4);
VALUE(TLM_BFLOAT16, 5);
VALUE(TLM_FLOAT16, 6);
VALUE(TLM_Q8_0, 32);
VALUE(TLM_Q8_K, 42);
VALUE(TLM_IGNORED_TARGET, 4294967295u);
VALUE(TLM_NO_DROPOUT, UINT64_MAX);
VALUE(TLM_MAX_DIMS, 8);
VALUE(TLM_MAX_THREADS, 256);
VALUE(TLM_CPU_SCALAR, 0);
VALUE(TLM_CPU_AVX2, 1);
VALUE(TLM_CPU_AVX512, 2);
VALUE(TLM_BYTE_ORDER_VALUE, 0);
VALUE(TLM_BYTE_ORDER_GPT2, 1);
VALUE(TLM_BPE_PHASE_COUNTING, 0);
VALUE(TLM_BPE_PHASE_LEARNING, 1);
VALUE(TLM_TOKENS_AUTO, 0);
VALUE(TLM_TOKENS_UINT16, 2);
VALUE(TLM_TOKENS_UINT32, 4);
VALUE(TLM_TOKENS_INT64, 8);
VALUE(TLM_ORDER_RANDOM, 0);
VALUE(TLM_ORDER_SHUFFLED, 1);
VALUE(TLM_ORDER_SEQUENTIAL, 2);
VALUE(TLM_ALL_GROUPS, SIZE_MAX);
VALUE(TLM_SCHEDULE_CONSTANT, 0);
VALUE(TLM_SCHEDULE_COSINE, 1);
VALUE(TLM_SCHEDULE_LINEAR, 2);
VALUE(TLM_SCHEDULE_WSD, 3);
VALUE(TLM_NO_DECAY_NORMS, 1);
VALUE(TLM_NO_DECAY_EMBEDDINGS, 2);
VALUE(TLM_NORM_PRE, 0);
VALUE(TLM_NORM_POST, 1);
VALUE(TLM_NORM_NONE, 2);
VALUE(TLM_NORM_AFTER, 3);
VALUE(TLM_NORM_BOTH, 4);
VALUE(TLM_KIND_OF_NORM_RMS, 0);
VALUE(TLM_KIND_OF_NORM_LAYER, 1);
VALUE(TLM_QK_NORM_WIDTH, 2);
VALUE(TLM_ATTENTION_BIAS_NONE, 0);
VALUE(TLM_ATTENTION_BIAS_QKV, 1);
VALUE(TLM_ATTENTION_BIAS_ALL, 2);
VALUE(TLM_ROPE_SCALING_NONE, 0);
VALUE(TLM_ROPE_SCALING_LINEAR, 1);
VALUE(TLM_ROPE_SCALING_DYNAMIC, 2);
VALUE(TLM_ROPE_SCALING_LLAMA3, 3);
VALUE(TLM_ROPE_SCALING_YARN, 4);
VALUE(TLM_POSITION_ROPE, 0);
VALUE(TLM_POSITION_NONE, 1);
VALUE(TLM_POSITION_LEARNED, 2);
VALUE(TLM_FFN_SWIGLU, 0);
VALUE(TLM_FFN_SILU, 1);
VALUE(TLM_FFN_GEGLU, 2);
VALUE(TLM_FFN_GELU, 3);
VALUE(TLM_FFN_RELU2, 4);
VALUE(TLM_OUTPUT_INIT_LINEAR, 0);
VALUE(TLM_OUTPUT_INIT_ZERO, 1);
VALUE(TLM_OUTPUT_INIT_DEPTH, 2);
VALUE(TLM_MORE_END_TOKENS, 7);
VALUE(TLM_FAMILY_AUTO, 0);
VALUE(TLM_FAMILY_LLAMA, 1);
VALUE(TLM_FAMILY_MISTRAL, 2);
VALUE(TLM_FAMILY_QWEN2, 3);
VALUE(TLM_FAMILY_QWEN3, 4);
VALUE(TLM_FAMILY_PHI3, 5);
VALUE(TLM_FAMILY_OLMO2, 6);
VALUE(TLM_FAMILY_SMOLLM3, 7);
VALUE(TLM_FAMILY_GEMMA, 8);
VALUE(TLM_FAMILY_GEMMA2, 9);
VALUE(TLM_FAMILY_GEMMA3, 10);
VALUE(TLM_FAMILY_GPT2, 11);
VALUE(TLM_WEIGHTS_FLOAT32, 0);
VALUE(TLM_WEIGHTS_FLOAT16, 1);
VALUE(TLM_WEIGHTS_BFLOAT16, 2);
VALUE(TLM_WEIGHTS_Q8_0, 3);
VALUE(TLM_WEIGHTS_Q4_0, 4);
VALUE(TLM_WEIGHTS_Q4_1, 5);
VALUE(TLM_WEIGHTS_Q5_0, 6);
VALUE(TLM_WEIGHTS_Q5_1, 7);
VALUE(TLM_WEIGHTS_Q4_K_M, 8);
VALUE(TLM_WEIGHTS_Q5_K_M, 9);
VALUE(TLM_WEIGHTS_Q6_K, 10);
VALUE(TLM_PART_EMBEDDING, 0);
VALUE(TLM_PART_ATTENTION, 1);
VALUE(TLM_PART_SCORES, 2);
VALUE(TLM_PART_FEED_FORWARD, 3);
VALUE(TLM_PART_NORMS, 4);
VALUE(TLM_PART_OUTPUT, 5);
VALUE(TLM_MAX_PARTS, 8);
VALUE(TLM_COST_ADAMW, 0);
VALUE(TLM_COST_SGD, 1);
VALUE(TLM_COST_MUON, 2);
VALUE(TLM_COST_LION, 3);
VALUE(TLM_COST_ADAFACTOR, 4);
VALUE(TLM_MUON_SCALE_MOONLIGHT, 0);
VALUE(TLM_MUON_SCALE_JORDAN, 1);
VALUE(TLM_COUNT_EXECUTED, 0);
VALUE(TLM_COUNT_FULL, 1);
VALUE(TLM_GENERATION_RUNNING, 0);
VALUE(TLM_GENERATION_LENGTH, 1);
VALUE(TLM_GENERATION_END, 2);
VALUE(TLM_GENERATION_STOP, 3);
VALUE(TLM_GENERATION_STOPPED, 4);
VALUE(TLM_GENERATION_FAILED, 5);
VALUE(TLM_GENERATION_CONTEXT, 6);
VALUE(TLM_GENERATION_CALLBACK, 7);
VALUE(TLM_PAST_CONTEXT_DEFAULT, 0);
VALUE(TLM_PAST_CONTEXT_SLIDE, 1);
VALUE(TLM_PAST_CONTEXT_STOP, 2);
VALUE(TLM_PAST_CONTEXT_RECOMPUTE, 3);

int main(void)
{
    char text[64];

    /* The library at run time is the one of these headers. */
    snprintf(text, sizeof(text), "%d.%d.%d", TLM_VERSION_MAJOR, TLM_VERSION_MINOR,
             TLM_VERSION_PATCH);
    if (strcmp(text, tlm_version()) != 0 || strcmp(text, TLM_VERSION_STRING) != 0) {
        printf("version: %s, headers: %s\n", tlm_version(), text);
        return 1;
    }
    return tlm_abi_version() == TLM_ABI_VERSION ? 0 : 1;
}
