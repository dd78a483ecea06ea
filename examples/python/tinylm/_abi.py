"""The structs, callbacks and functions of the headers, as ctypes declares them."""

from __future__ import annotations

import ctypes
from ctypes import (POINTER, c_bool, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8,
                    c_uint32, c_uint64, c_void_p)

from ._structs import _Options


class _Bytes(ctypes.Structure):
    _fields_ = [("data", c_char_p), ("size", c_size_t)]


class _Ids(ctypes.Structure):
    _fields_ = [("ids", POINTER(c_uint32)), ("n", c_size_t)]


_Progress = ctypes.CFUNCTYPE(c_int32, c_void_p, c_uint64, c_uint64)
_BpeProgress = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int32, c_uint64, c_uint64)


class _BpeTrainerOptions(_Options):
    _type = b"tlm_bpe_trainer_options_t"
    _fields_ = [("size", c_size_t), ("vocab_size", c_uint32), ("reserved", c_uint32),
                ("special_tokens", POINTER(_Bytes)), ("num_special_tokens", c_size_t),
                ("pattern", c_char_p), ("min_frequency", c_uint64), ("max_token_length", c_uint32),
                ("byte_order", c_int32), ("max_distinct_pretokens", c_uint64), ("base", c_void_p),
                ("progress", _BpeProgress), ("progress_user", c_void_p), ("communicator", c_void_p)]


class _TokenizerOptions(_Options):
    _type = b"tlm_tokenizer_options_t"
    _fields_ = [("size", c_size_t), ("special_tokens", POINTER(_Bytes)),
                ("num_special_tokens", c_size_t), ("pattern", c_char_p),
                ("ignore_merges", c_bool), ("nfc", c_bool), ("reserved", c_uint8 * 6),
                ("special_token_ids", POINTER(c_uint32))]


class _EncodeOptions(_Options):
    _type = b"tlm_encode_options_t"
    _fields_ = [("size", c_size_t), ("allowed_special", c_int32), ("disallowed_special", c_int32),
                ("allowed", POINTER(_Bytes)), ("num_allowed", c_size_t),
                ("disallowed", POINTER(_Bytes)), ("num_disallowed", c_size_t),
                ("dropout", c_double), ("seed", c_uint64), ("add_special_tokens", c_bool),
                ("whole_texts", c_bool), ("reserved", c_uint8 * 6)]


class _DecodeOptions(_Options):
    _type = b"tlm_decode_options_t"
    _fields_ = [("size", c_size_t), ("skip_special_tokens", c_bool), ("as_text", c_bool),
                ("reserved", c_uint8 * 6)]


class _PadOptions(_Options):
    _type = b"tlm_pad_options_t"
    _fields_ = [("size", c_size_t), ("max_length", c_size_t), ("pad_length", c_size_t),
                ("pad_id", c_uint32), ("pad_side", c_int32), ("cut_side", c_int32),
                ("reserved", c_uint32)]


class _ChatMessage(ctypes.Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p), ("size", c_size_t)]


class _ChatDataOptions(_Options):
    _type = b"tlm_chat_data_options_t"
    _fields_ = [("size", c_size_t), ("row_length", c_int64), ("packed", c_bool), ("whole_texts", c_bool),
                ("has_begin_token", c_bool), ("has_end_token", c_bool), ("pad_id", c_uint32),
                ("begin_token", c_uint32), ("end_token", c_uint32)]


class _ChatData(_Options):
    _type = b"tlm_chat_data_t"
    _fields_ = [("size", c_size_t), ("conversations", c_uint64), ("truncated", c_uint64),
                ("left_out", c_uint64), ("rows", c_uint64), ("tokens", c_uint64), ("counted", c_uint64)]


class _ChatOptions(_Options):
    _type = b"tlm_chat_options_t"
    _fields_ = [("size", c_size_t), ("add_generation_prompt", c_bool), ("reserved", c_uint8 * 7),
                ("variables", c_char_p), ("now", c_int64)]


class _ModelOptions(_Options):
    _type = b"tlm_model_options_t"
    _fields_ = [("size", c_size_t), ("vocab_size", c_int64), ("context_length", c_int64),
                ("d_model", c_int64), ("num_layers", c_int64), ("num_heads", c_int64),
                ("d_ff", c_int64), ("rope_theta", c_double), ("seed", c_uint64),
                ("num_kv_heads", c_int64), ("norm_eps", c_double), ("norm", c_int32),
                ("position", c_int32), ("ffn", c_int32), ("tied_embeddings", c_bool),
                ("ffn_bias", c_bool), ("scaled_embeddings", c_bool), ("embedding_norm", c_bool),
                ("head_dim", c_int64), ("qk_norm", c_int32), ("attention_bias", c_int32),
                ("sliding_window", c_int64), ("window_period", c_int64),
                ("window_rope_theta", c_double), ("unrotated_period", c_int64),
                ("rope_scaling", c_int32), ("norm_kind", c_int32), ("rope_factor", c_double),
                ("rope_low_turns", c_double), ("rope_high_turns", c_double),
                ("rope_original_context", c_int64), ("rope_magnitude", c_double),
                ("query_scalar", c_double), ("attention_softcap", c_double),
                ("logit_softcap", c_double), ("output_init", c_int32), ("reserved", c_int32)]


class _LoraOptions(_Options):
    _type = b"tlm_lora_options_t"
    _fields_ = [("size", c_size_t), ("rank", c_int64), ("alpha", c_double), ("dropout", c_double),
                ("targets", c_char_p), ("seed", c_uint64), ("family", c_int32),
                ("rank_stabilized", c_bool), ("reserved", c_uint8 * 3)]


class _CostOptions(_Options):
    _type = b"tlm_cost_options_t"
    _fields_ = [("size", c_size_t), ("batch", c_int64), ("time", c_int64), ("optimizer", c_int32),
                ("counting", c_int32), ("checkpointing", c_bool), ("reserved", c_uint8 * 7),
                ("frozen", c_char_p), ("lora", POINTER(_LoraOptions)), ("weights", c_int32),
                ("reserved2", c_uint8 * 4), ("accumulation", c_uint64), ("num_ranks", c_int32),
                ("reserved3", c_uint8 * 4)]


class _Cost(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("parameters", c_uint64), ("part_parameters", c_uint64 * 8),
                ("weight_bytes", c_uint64), ("gradient_bytes", c_uint64),
                ("optimizer_bytes", c_uint64), ("activation_bytes", c_uint64),
                ("step_live_bytes", c_uint64), ("step_peak_bytes", c_uint64),
                ("kv_cache_bytes", c_uint64), ("forward_flops", c_double * 8),
                ("backward_flops", c_double * 8), ("recompute_flops", c_double),
                ("optimizer_flops", c_double), ("step_flops", c_double), ("model_flops", c_double),
                ("token_flops", c_double), ("trained_parameters", c_uint64)]


class _ModelFileOptions(_Options):
    _type = b"tlm_model_file_options_t"
    _fields_ = [("size", c_size_t), ("weights", c_int32), ("has_begin_token", c_bool),
                ("has_end_token", c_bool), ("reserved", c_uint8 * 2), ("begin_token", c_uint32),
                ("end_token", c_uint32), ("family", c_int32), ("num_more_end_tokens", c_uint32),
                ("more_end_tokens", c_uint32 * 7), ("reserved2", c_uint32), ("keys_from", c_char_p),
                ("chat_template", c_void_p)]


class _CheckpointOptions(_Options):
    _type = b"tlm_checkpoint_options_t"
    _fields_ = [("size", c_size_t), ("metadata", c_char_p), ("validation_loss", c_double),
                ("has_validation_loss", c_bool), ("reserved", c_uint8 * 7), ("tokenizer", c_void_p)]


class _AdamWOptions(_Options):
    _type = b"tlm_adamw_options_t"
    _fields_ = [("size", c_size_t), ("learning_rate", c_double), ("beta1", c_double),
                ("beta2", c_double), ("eps", c_double), ("weight_decay", c_double),
                ("variant", c_int32), ("reserved", c_int32)]


class _MuonOptions(_Options):
    _type = b"tlm_muon_options_t"
    _fields_ = [("size", c_size_t), ("learning_rate", c_double), ("momentum", c_double),
                ("eps", c_double), ("weight_decay", c_double), ("iterations", c_int32),
                ("scale", c_int32), ("nesterov", c_bool), ("reserved", c_uint8 * 7)]


class _GroupOptions(_Options):
    _type = b"tlm_group_options_t"
    _fields_ = [("size", c_size_t), ("learning_rate", c_double), ("weight_decay", c_double),
                ("has_learning_rate", c_bool), ("has_weight_decay", c_bool), ("reserved", c_uint8 * 6),
                ("rate_factor", c_double)]


class _ScheduleOptions(_Options):
    _type = b"tlm_schedule_options_t"
    _fields_ = [("size", c_size_t), ("kind", c_int32), ("reserved", c_int32),
                ("max_learning_rate", c_double), ("min_learning_rate", c_double),
                ("warmup_steps", c_uint64), ("total_steps", c_uint64), ("decay_steps", c_uint64)]


class _LoaderOptions(_Options):
    _type = b"tlm_loader_options_t"
    _fields_ = [("size", c_size_t), ("batch_size", c_int64), ("context_length", c_int64),
                ("seed", c_uint64), ("order", c_int32), ("document_end", c_uint32),
                ("has_document_end", c_bool), ("reserved", c_uint8 * 3), ("prefetch", c_int32)]


class _TrainStep(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("step", c_uint64), ("tokens", c_uint64), ("loss", c_double),
                ("learning_rate", c_double), ("gradient_norm", c_double), ("seconds", c_double),
                ("tokens_per_second", c_double), ("utilization", c_double),
                ("communication_seconds", c_double)]


class _Evaluation(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("step", c_uint64), ("tokens", c_uint64), ("loss", c_double),
                ("perplexity", c_double), ("seconds", c_double), ("is_best", c_bool),
                ("reserved", c_uint8 * 7)]


_StepCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(_TrainStep))
_EvaluationCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(_Evaluation))
_SaveCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, c_char_p, c_uint64)


class _TrainerOptions(_Options):
    _type = b"tlm_trainer_options_t"
    _fields_ = [("size", c_size_t), ("steps", c_uint64), ("schedule", POINTER(_ScheduleOptions)),
                ("clip_norm", c_double), ("accumulation", c_uint64), ("valid", c_void_p),
                ("eval_every", c_uint64), ("eval_tokens", c_uint64), ("checkpoint_path", c_char_p),
                ("save_every", c_uint64), ("peak_flops", c_double), ("on_step", _StepCallback),
                ("on_evaluation", _EvaluationCallback), ("on_save", _SaveCallback),
                ("user", c_void_p), ("activation_checkpointing", c_bool),
                ("save_on_cancel", c_bool), ("reserved", c_uint8 * 6),
                ("checkpoint_dir", c_char_p), ("keep_last", c_int32), ("reserved2", c_uint8 * 4),
                ("tokenizer", c_void_p),
                ("communicator", c_void_p), ("irreproducible", c_bool), ("reserved3", c_uint8 * 7)]


class _LogitBias(ctypes.Structure):
    _fields_ = [("id", c_uint32), ("bias", c_float)]


_LogitsCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, c_size_t, POINTER(c_uint32), c_size_t, POINTER(c_float),
                                   c_size_t, POINTER(c_uint32))


class _GenerateOptions(_Options):
    _type = b"tlm_generate_options_t"
    _fields_ = [("size", c_size_t), ("max_tokens", c_int64), ("temperature", c_double),
                ("top_p", c_double), ("top_k", c_uint32), ("has_end_token", c_bool),
                ("reserved", c_uint8 * 3), ("end_token", c_uint32), ("reserved2", c_uint32),
                ("seed", c_uint64), ("min_p", c_double), ("repetition_penalty", c_double),
                ("stop_sequences", POINTER(_Ids)), ("num_stop_sequences", c_size_t),
                ("num_top_log_probs", c_uint32), ("num_more_end_tokens", c_uint32),
                ("more_end_tokens", c_uint32 * 7), ("past_context", c_int32), ("tokenizer", c_void_p),
                ("stop_strings", POINTER(_Bytes)), ("num_stop_strings", c_size_t),
                ("logit_bias", POINTER(_LogitBias)), ("num_logit_biases", c_size_t),
                ("on_logits", _LogitsCallback), ("logits_user", c_void_p), ("kept_tokens", c_int64),
                ("cache_type", c_int32), ("skip_special_tokens", c_bool), ("keeps_cache", c_bool),
                ("reserved3", c_uint8 * 2)]


class _DLManagedTensor(ctypes.Structure):
    """What is behind a DLPack capsule; Python only ever calls the deleter."""


_Deleter = ctypes.CFUNCTYPE(None, POINTER(_DLManagedTensor))
_DLManagedTensor._fields_ = [("dl_tensor", c_uint8 * 48), ("manager_ctx", c_void_p),
                             ("deleter", _Deleter)]
_OUT = POINTER(c_void_p)  # a handle that the library hands out, or an array of handles
_Release = ctypes.CFUNCTYPE(None, c_void_p)
_Backward = ctypes.CFUNCTYPE(c_int32, c_void_p, _OUT, c_void_p, _OUT, c_size_t, _OUT, c_size_t)


class _CustomOpOptions(_Options):
    _type = b"tlm_custom_op_options_t"
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("backward", _Backward),
                ("release", _Release), ("user", c_void_p)]


_IDS, _FLOATS, _SIZES = POINTER(c_uint32), POINTER(c_float), POINTER(c_size_t)
_COUNTS, _SHAPE, _REAL = POINTER(c_uint64), POINTER(c_int64), POINTER(c_double)
_TokenCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, c_uint32)
_TextCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t)
_IdsCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, _IDS, c_size_t)
# Argument types of the functions used here: those that return a status, then the others.
_STATUS_FUNCTIONS = {
    "tlm_options_init": [c_void_p, c_size_t, c_char_p],
    "tlm_set_num_threads": [c_int32],
    "tlm_shutdown": [],
    "tlm_set_cpu_level": [c_int32],
    "tlm_random_bits": [_COUNTS, c_size_t, c_uint64, c_uint64, c_uint64],
    "tlm_utf8_nfc": [_OUT, _SIZES, c_char_p, c_size_t],
    "tlm_bpe_trainer_create": [_OUT, POINTER(_BpeTrainerOptions)],
    "tlm_bpe_trainer_add_text": [c_void_p, c_char_p, c_size_t],
    "tlm_bpe_trainer_add_file": [c_void_p, c_char_p],
    "tlm_bpe_trainer_push": [c_void_p, c_char_p, c_size_t],
    "tlm_bpe_trainer_end_text": [c_void_p],
    "tlm_bpe_trainer_train": [_OUT, c_void_p],
    "tlm_bpe_trainer_stats": [_COUNTS, _COUNTS, c_void_p],
    "tlm_bpe_trainer_dropped": [_COUNTS, _COUNTS, c_void_p],
    "tlm_tokenizer_create": [_OUT, POINTER(_Bytes), c_size_t, POINTER(_Bytes), c_size_t,
                             POINTER(_TokenizerOptions)],
    "tlm_tokenizer_load": [_OUT, c_char_p, c_char_p, POINTER(_TokenizerOptions)],
    "tlm_tokenizer_save": [c_void_p, c_char_p, c_char_p],
    "tlm_tokenizer_open": [_OUT, c_char_p, POINTER(_TokenizerOptions)],
    "tlm_tokenizer_save_json": [c_void_p, c_char_p],
    "tlm_tokenizer_save_tiktoken": [c_void_p, c_char_p],
    "tlm_tokenizer_token": [POINTER(_Bytes), c_void_p, c_uint32],
    "tlm_tokenizer_merge": [_IDS, _IDS, c_void_p, c_uint32],
    "tlm_tokenizer_special_token": [_IDS, c_void_p, c_uint32],
    "tlm_tokenizer_token_id": [_IDS, c_void_p, c_char_p, c_size_t],
    "tlm_tokenizer_decode_with": [_OUT, _SIZES, c_void_p, _IDS, c_size_t, POINTER(_DecodeOptions)],
    "tlm_tokenizer_count": [_COUNTS, c_void_p, c_char_p, c_size_t],
    "tlm_tokenizer_encode_into": [_IDS, c_size_t, _SIZES, c_void_p, c_char_p, c_size_t],
    "tlm_tokenizer_encode_with": [POINTER(_IDS), _SIZES, c_void_p, c_char_p, c_size_t,
                                  POINTER(_EncodeOptions)],
    "tlm_tokenizer_encode_batch": [POINTER(_IDS), POINTER(_SIZES), c_void_p, POINTER(_Bytes),
                                   c_size_t, POINTER(_EncodeOptions)],
    "tlm_tokenizer_encode_padded": [POINTER(_IDS), POINTER(POINTER(c_uint8)), POINTER(_SIZES),
                                    _SIZES, c_void_p, POINTER(_Bytes), c_size_t,
                                    POINTER(_EncodeOptions), POINTER(_PadOptions)],
    "tlm_tokenizer_decode_batch": [_OUT, POINTER(_SIZES), c_void_p, POINTER(_Ids), c_size_t,
                                   POINTER(_DecodeOptions)],
    "tlm_tokenizer_offsets": [_SIZES, c_void_p, _IDS, c_size_t],
    "tlm_tokenizer_character_spans": [_SIZES, c_void_p, _IDS, c_size_t],
    "tlm_tokenizer_longest_tokens": [_IDS, _SIZES, c_void_p, c_size_t],
    "tlm_chat_template_open": [_OUT, c_char_p],
    "tlm_chat_template_create": [_OUT, c_char_p],
    "tlm_chat_template_parse": [_OUT, c_char_p, c_size_t, c_char_p, c_char_p],
    "tlm_chat_template_source": [POINTER(c_char_p), _SIZES, c_void_p],
    "tlm_chat_template_render": [_OUT, _SIZES, c_void_p, POINTER(_ChatMessage), c_size_t,
                                 POINTER(_ChatOptions)],
    "tlm_chat_template_encode": [POINTER(_IDS), POINTER(POINTER(c_uint8)), _SIZES, c_void_p, c_void_p,
                                 POINTER(_ChatMessage), c_size_t, POINTER(_ChatOptions)],
    "tlm_chat_template_end_token": [_IDS, c_void_p, c_void_p],
    "tlm_encoder_create": [_OUT, c_void_p, _IdsCallback, c_void_p],
    "tlm_encoder_push": [c_void_p, c_char_p, c_size_t],
    "tlm_encoder_finish": [c_void_p],
    "tlm_decoder_create_with": [_OUT, c_void_p, POINTER(_DecodeOptions)],
    "tlm_decoder_push": [_OUT, _SIZES, c_void_p, c_uint32],
    "tlm_decoder_finish": [_OUT, _SIZES, c_void_p],
    "tlm_tensor_from_data": [_OUT, c_int32, c_void_p, _SHAPE, c_int32],
    "tlm_tensor_wrap": [_OUT, c_int32, c_void_p, _SHAPE, _SHAPE, c_int32, _Release, c_void_p],
    "tlm_tensor_copy_in": [c_void_p, c_void_p, c_size_t],
    "tlm_tensor_copy_out": [c_void_p, c_size_t, c_void_p],
    "tlm_tensor_item": [_FLOATS, c_void_p],
    "tlm_tensor_set_requires_grad": [c_void_p, c_bool],
    "tlm_tensor_backward": [c_void_p, c_void_p],
    "tlm_tensor_detach": [_OUT, c_void_p],
    "tlm_tensor_to_dlpack": [POINTER(POINTER(_DLManagedTensor)), c_void_p],
    "tlm_tensor_from_dlpack": [_OUT, POINTER(_DLManagedTensor)],
    "tlm_custom_op_record": [_OUT, c_void_p, _OUT, c_size_t, _OUT, c_size_t,
                             POINTER(_CustomOpOptions)],
    **{"tlm_" + name: [_OUT, c_void_p, c_void_p]
       for name in ("add", "sub", "mul", "div", "matmul", "linear", "embedding", "silu_mul",
                    "cross_entropy")},
    **{"tlm_" + name: [_OUT, c_void_p]
       for name in ("mean", "sum", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "silu",
                    "contiguous")},
    "tlm_scale": [_OUT, c_void_p, c_float],
    "tlm_sum_dim": [_OUT, c_void_p, c_int32, c_bool],
    "tlm_mean_dim": [_OUT, c_void_p, c_int32, c_bool],
    "tlm_max_dim": [_OUT, _OUT, c_void_p, c_int32, c_bool],
    "tlm_where": [_OUT, c_void_p, c_void_p, c_void_p],
    "tlm_concat": [_OUT, _OUT, c_size_t, c_int32],
    "tlm_reshape": [_OUT, c_void_p, _SHAPE, c_int32],
    "tlm_transpose": [_OUT, c_void_p, c_int32, c_int32],
    "tlm_slice": [_OUT, c_void_p, c_int32, c_int64, c_int64],
    "tlm_rms_norm": [_OUT, c_void_p, c_void_p, c_float],
    "tlm_swiglu": [_OUT, c_void_p, c_void_p, c_void_p, c_void_p],
    "tlm_rope": [_OUT, c_void_p, c_void_p, c_double],
    "tlm_softmax": [_OUT, c_void_p, c_int32],
    "tlm_attention": [_OUT, c_void_p, c_void_p, c_void_p, c_void_p, c_bool],
    "tlm_multi_head_attention": [_OUT, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_int32,
                                 c_double, c_void_p],
    "tlm_init_truncated_normal": [c_void_p, c_double, c_double, c_uint64, c_uint64],
    "tlm_optimizer_create_adamw": [_OUT, POINTER(_AdamWOptions)],
    "tlm_optimizer_create_muon": [_OUT, POINTER(_MuonOptions), POINTER(_AdamWOptions)],
    "tlm_optimizer_add_muon_group": [c_void_p, _OUT, c_size_t, POINTER(_MuonOptions)],
    "tlm_optimizer_create_sgd": [_OUT, c_double],
    "tlm_optimizer_add_adamw_group": [c_void_p, _OUT, c_size_t, POINTER(_AdamWOptions)],
    "tlm_optimizer_add_group": [c_void_p, _OUT, c_size_t, POINTER(_GroupOptions)],
    "tlm_optimizer_add_model": [c_void_p, c_void_p, c_uint32, POINTER(_GroupOptions)],
    "tlm_optimizer_set_learning_rate": [c_void_p, c_size_t, c_double],
    "tlm_optimizer_learning_rate": [_REAL, c_void_p, c_size_t],
    "tlm_optimizer_set_weight_decay": [c_void_p, c_size_t, c_double],
    "tlm_optimizer_weight_decay": [_REAL, c_void_p, c_size_t],
    "tlm_optimizer_step": [c_void_p],
    "tlm_optimizer_state": [POINTER(_FLOATS), _SIZES, c_void_p, c_size_t, c_char_p],
    "tlm_optimizer_state_name": [POINTER(c_char_p), c_void_p, c_size_t, c_size_t],
    "tlm_optimizer_set_steps": [c_void_p, c_uint64],
    "tlm_adamw_update": [_OUT, _OUT, _OUT, _OUT, c_size_t, c_uint64, POINTER(_AdamWOptions)],
    "tlm_clip_grad_norm": [_REAL, _OUT, c_size_t, c_double],
    "tlm_clip_norm": [_REAL, _OUT, c_size_t, c_double],
    "tlm_cosine_schedule": [_REAL, c_uint64, c_double, c_double, c_uint64, c_uint64],
    "tlm_schedule_learning_rate": [_REAL, POINTER(_ScheduleOptions), c_uint64],
    "tlm_dataset_open": [_OUT, c_char_p, c_int32, c_uint32],
    "tlm_dataset_open_files": [_OUT, POINTER(c_char_p), c_size_t, c_int32, c_uint32],
    "tlm_dataset_from_ids": [_OUT, _IDS, c_size_t],
    "tlm_dataset_open_text": [_OUT, c_char_p, c_void_p],
    "tlm_dataset_from_rows": [_OUT, _IDS, POINTER(c_uint8), c_size_t, c_size_t],
    "tlm_dataset_open_chat": [_OUT, POINTER(_ChatData), c_char_p, c_void_p, c_void_p,
                              POINTER(_ChatDataOptions)],
    "tlm_dataset_wrap": [_OUT, c_void_p, c_size_t, c_int32],
    "tlm_dataset_read": [_IDS, c_size_t, c_void_p, c_uint64],
    "tlm_dataset_sample": [_IDS, _IDS, c_void_p, c_int64, c_int64, c_uint64, c_uint64],
    "tlm_loader_create": [_OUT, c_void_p, POINTER(_LoaderOptions)],
    "tlm_loader_next": [POINTER(_IDS), POINTER(_IDS), c_void_p],
    "tlm_loader_seek": [c_void_p, c_uint64],
    "tlm_token_writer_create": [_OUT, c_char_p, c_int32],
    "tlm_token_writer_push": [c_void_p, _IDS, c_size_t],
    "tlm_token_writer_finish": [c_void_p],
    "tlm_tokenizer_encode_file": [_COUNTS, c_void_p, c_char_p, c_char_p, c_int32, _Progress, c_void_p],
    "tlm_tokenizer_encode_file_part": [_COUNTS, c_void_p, c_char_p, c_char_p, c_int32, c_int32, c_int32,
                                       _Progress, c_void_p],
    "tlm_model_create": [_OUT, POINTER(_ModelOptions)],
    "tlm_model_load": [_OUT, c_char_p],
    "tlm_model_open": [_OUT, _OUT, POINTER(_ModelFileOptions), c_char_p],
    "tlm_model_open_for_inference": [_OUT, _OUT, POINTER(_ModelFileOptions), c_char_p],
    "tlm_model_save_gguf": [c_void_p, c_void_p, c_char_p, POINTER(_ModelFileOptions)],
    "tlm_model_save_hf": [c_void_p, c_void_p, c_char_p, POINTER(_ModelFileOptions)],
    "tlm_checkpoint_save_with": [c_void_p, c_void_p, c_uint64, c_char_p,
                                 POINTER(_CheckpointOptions)],
    "tlm_model_cost": [POINTER(_Cost), POINTER(_ModelOptions), POINTER(_CostOptions)],
    "tlm_checkpoint_load": [_COUNTS, c_void_p, c_void_p, c_char_p],
    "tlm_model_get_options": [POINTER(_ModelOptions), c_void_p],
    "tlm_model_parameter_name": [POINTER(c_char_p), c_void_p, c_size_t],
    "tlm_model_parameter": [_OUT, c_void_p, c_char_p],
    "tlm_model_set_parameter": [c_void_p, c_char_p, _FLOATS, _SHAPE, c_int32],
    "tlm_model_set_checkpointing": [c_void_p, c_bool],
    "tlm_model_check_finite": [c_void_p],
    "tlm_model_set_frozen": [c_void_p, c_char_p, c_bool],
    "tlm_model_add_lora": [c_void_p, POINTER(_LoraOptions)],
    "tlm_model_lora": [POINTER(_LoraOptions), c_void_p],
    "tlm_model_merge_lora": [c_void_p],
    "tlm_model_set_dropout_row": [c_void_p, c_uint64],
    "tlm_model_save_adapter": [c_void_p, c_char_p],
    "tlm_model_load_adapter": [c_void_p, c_char_p],
    "tlm_checkpoint_metadata": [_OUT, _COUNTS, c_char_p],
    "tlm_checkpoint_tokenizer": [_OUT, c_char_p],
    "tlm_checkpoint_dir_save": [c_void_p, c_void_p, c_uint64, c_char_p, c_int32,
                                POINTER(_CheckpointOptions)],
    "tlm_checkpoint_dir_latest": [_OUT, POINTER(c_int32), c_char_p],
    "tlm_checkpoint_dir_best": [_OUT, POINTER(c_int32), c_char_p],
    "tlm_model_forward": [_OUT, c_void_p, _IDS, c_int64, c_int64],
    "tlm_model_loss": [_OUT, c_void_p, _IDS, _IDS, c_int64, c_int64],
    "tlm_model_generate": [POINTER(_IDS), _SIZES, c_void_p, _IDS, c_size_t,
                           POINTER(_GenerateOptions), _TokenCallback, c_void_p],
    "tlm_model_evaluate": [POINTER(_Evaluation), c_void_p, c_void_p, c_int64, c_int64, c_uint64],
    "tlm_trainer_create": [_OUT, c_void_p, c_void_p, c_void_p, POINTER(_TrainerOptions)],
    "tlm_trainer_step": [POINTER(_TrainStep), c_void_p],
    "tlm_trainer_run": [c_void_p, c_uint64],
    "tlm_trainer_evaluate": [POINTER(_Evaluation), c_void_p],
    "tlm_trainer_save": [c_void_p, c_char_p],
    "tlm_trainer_resume": [c_void_p, c_char_p],
    "tlm_model_score": [_REAL, _FLOATS, c_void_p, _IDS, c_size_t, c_int64],
    "tlm_model_generate_text": [POINTER(c_void_p), _SIZES, POINTER(c_int32), c_void_p, _IDS, c_size_t,
                                POINTER(_GenerateOptions), _TextCallback, c_void_p],
    "tlm_generator_create": [_OUT, c_void_p],
    "tlm_generator_add": [_SIZES, c_void_p, _IDS, c_size_t, POINTER(_GenerateOptions)],
    "tlm_generator_extend": [c_void_p, c_size_t, c_size_t, _IDS, c_size_t, POINTER(_GenerateOptions)],
    "tlm_generator_save": [c_void_p, c_size_t, c_char_p],
    "tlm_generator_load": [_SIZES, c_void_p, c_char_p, POINTER(_GenerateOptions)],
    "tlm_generator_step": [_SIZES, c_void_p],
    "tlm_generator_tokens": [POINTER(_IDS), POINTER(_FLOATS), _SIZES, c_void_p, c_size_t],
    "tlm_generator_top_log_probs": [POINTER(_IDS), POINTER(_FLOATS), _SIZES, c_void_p, c_size_t,
                                    c_size_t],
    "tlm_generator_text": [POINTER(c_void_p), _SIZES, c_void_p, c_size_t],
    "tlm_generator_context": [POINTER(_IDS), _SIZES, c_void_p, c_size_t],
    "tlm_generator_state": [POINTER(c_int32), c_void_p, c_size_t],
    "tlm_generator_stop": [c_void_p, c_size_t],
}
_OTHER_FUNCTIONS = {
    "tlm_version": (c_char_p, []),
    "tlm_pattern_by_name": (c_char_p, [c_char_p]),
    "tlm_pattern_name": (c_char_p, [c_size_t]),
    "tlm_chat_template_name": (c_char_p, [c_size_t]),
    "tlm_abi_version": (c_uint32, []),
    "tlm_status_name": (c_char_p, [c_int32]),
    "tlm_error_message": (c_char_p, []),
    "tlm_num_threads": (c_int32, []),
    "tlm_cpu_level": (c_int32, []),
    "tlm_cpu_features": (c_uint64, []),
    "tlm_cpu_feature_name": (c_char_p, [c_uint64]),
    "tlm_gemm_kernel_name": (c_char_p, []),
    "tlm_set_grad_enabled": (c_bool, [c_bool]),
    "tlm_free": (None, [c_void_p]),
    **{f"tlm_{name}_free": (None, [c_void_p])
       for name in ("bpe_trainer", "tokenizer", "chat_template", "encoder", "decoder", "tensor", "optimizer",
                    "dataset", "loader", "token_writer", "model", "generator", "trainer")},
    "tlm_tokenizer_vocab_size": (c_uint32, [c_void_p]),
    "tlm_tokenizer_trim": (None, [c_void_p]),
    "tlm_tokenizer_num_merges": (c_uint32, [c_void_p]),
    "tlm_tokenizer_num_special_tokens": (c_uint32, [c_void_p]),
    "tlm_tensor_retain": (c_void_p, [c_void_p]),
    "tlm_tensor_dtype": (c_int32, [c_void_p]),
    "tlm_tensor_ndim": (c_int32, [c_void_p]),
    "tlm_tensor_shape": (_SHAPE, [c_void_p]),
    "tlm_tensor_strides": (_SHAPE, [c_void_p]),
    "tlm_tensor_numel": (c_int64, [c_void_p]),
    "tlm_tensor_data": (c_void_p, [c_void_p]),
    "tlm_tensor_requires_grad": (c_bool, [c_void_p]),
    "tlm_tensor_grad": (c_void_p, [c_void_p]),
    "tlm_tensor_zero_grad": (None, [c_void_p]),
    "tlm_optimizer_zero_grad": (None, [c_void_p]),
    "tlm_optimizer_num_groups": (c_size_t, [c_void_p]),
    "tlm_optimizer_num_parameters": (c_size_t, [c_void_p]),
    "tlm_optimizer_steps": (c_uint64, [c_void_p]),
    "tlm_optimizer_kind": (c_char_p, [c_void_p]),
    "tlm_dataset_length": (c_uint64, [c_void_p]),
    "tlm_loader_position": (c_uint64, [c_void_p]),
    "tlm_loader_windows_per_epoch": (c_uint64, [c_void_p]),
    "tlm_loader_batches_per_epoch": (c_uint64, [c_void_p]),
    "tlm_trainer_steps": (c_uint64, [c_void_p]),
    "tlm_model_num_parameters": (c_size_t, [c_void_p]),
    "tlm_model_num_elements": (c_uint64, [c_void_p]),
    "tlm_model_num_trained": (c_uint64, [c_void_p]),
    "tlm_model_remove_lora": (None, [c_void_p]),
    "tlm_model_zero_grad": (None, [c_void_p]),
}
