"""libtinylm from Python, through ctypes and nothing else: one file to copy beside a program.

    import tinylm
    tokenizer = tinylm.Tokenizer.train("some text", vocab_size=300)
    ids = tokenizer.encode("text")
    assert tokenizer.decode(ids) == "text"

The library is $TINYLM_LIBRARY, or else libtinylm.so beside this file, or else what the system's loader knows
as "tinylm". A call that fails raises a subclass of tinylm.Error, which is also the fitting exception of
Python's (ValueError, FileNotFoundError, MemoryError ...), with the library's message. An exception in a
function that the library calls, Ctrl-C among them, ends the call and comes out of it. Calls release the
interpreter's lock. numpy and PyTorch are only used if a call is given their objects or asks for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import itertools
import json
import math
import os
import struct
import signal
import struct
import threading
from array import array as _array
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_float, c_int32, c_int64
from ctypes import c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Sequence, Union

__all__ = [
    "FLOAT32", "INT32", "INT64", "UINT32", "BOOL", "BFLOAT16", "FLOAT16", "Error", "InvalidArgumentError", "ShapeError",
    "OutOfMemoryError", "FileError", "FormatError", "NotFoundError", "UnsupportedError", "RangeError",
    "StateError", "RegexError", "NonFiniteError", "CancelledError", "SpecialTokenError", "version",
    "abi_version", "set_num_threads", "num_threads", "cpu_level", "set_cpu_level",
    "cpu_features", "gemm_kernel_name", "shutdown",
    "random_bits", "BpeTrainer", "PATTERNS", "Tokenizer", "train_bpe", "nfc", "CHAT_TEMPLATES", "ChatTemplate", "Tensor", "no_grad", "where",
    "concat", "linear", "embedding", "rms_norm", "silu_mul", "swiglu", "rope", "softmax", "attention",
    "multi_head_attention", "cross_entropy", "init_truncated_normal", "custom_op", "Optimizer", "AdamW", "Muon",
    "SGD", "clip_grad_norm", "clip_norm", "adamw_update", "cosine_schedule", "schedule_learning_rate",
    "Dataset", "Loader", "TokenWriter", "encode_file", "checkpoint_metadata", "latest_checkpoint",
    "best_checkpoint", "checkpoint_tokenizer", "Model", "model_cost", "GeneratedText", "Generator", "TrainStep",
    "Evaluation", "Trainer"]

Text = Union[str, bytes]
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Ids = Iterable[int]
Specials = Union[Iterable[Text], Mapping[Text, int]]

# ---- Errors ---------------------------------------------------------------------------------------


class Error(Exception):
    """A call of the library failed. `status` is its code, such as "TLM_ERR_SHAPE"."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self):
        return type(self), (self.status, str(self))


class InvalidArgumentError(Error, ValueError):
    """An argument makes no sense."""


class ShapeError(Error, ValueError):
    """Shapes do not fit."""


class OutOfMemoryError(Error, MemoryError):
    """There is no memory left; nothing has changed."""


class FileError(Error, OSError):
    """A file cannot be read or written."""


class FormatError(Error, ValueError):
    """A file is damaged, or not what it should be."""


class NotFoundError(Error, FileNotFoundError, LookupError):
    """There is no such file, token or name."""


class UnsupportedError(Error, NotImplementedError):
    """The library does not do this."""


class RangeError(Error, IndexError, ValueError):
    """A value, such as an id, is outside its range."""


class StateError(Error, RuntimeError):
    """The object is not in a state that allows the call."""


class RegexError(Error, ValueError):
    """A pattern is malformed, or a search exceeds its limits."""


class NonFiniteError(Error, ArithmeticError):
    """NaN or infinity where a number should be."""


class CancelledError(Error, RuntimeError):
    """A callback has ended the call."""


class SpecialTokenError(Error, ValueError):
    """A text holds a special token that is not allowed there."""


_ERRORS = {
    -1: InvalidArgumentError, -2: ShapeError, -3: OutOfMemoryError, -4: FileError, -5: FormatError,
    -6: NotFoundError, -7: UnsupportedError, -8: RangeError, -9: StateError, -10: RegexError,
    -11: NonFiniteError, -12: CancelledError, -13: SpecialTokenError}
_CANCELLED = -12


def _check(status: int, _function: Any, _arguments: Any) -> int:
    if status != 0:
        raise _ERRORS.get(status, Error)(_lib.tlm_status_name(status).decode(),
                                         _lib.tlm_error_message().decode(errors="replace"))
    return status


# ---- Constants and structs of the headers ---------------------------------------------------------

FLOAT32, INT32, INT64, UINT32, BOOL, BFLOAT16, FLOAT16 = range(7)
_ELEMENTS = {FLOAT32: c_float, INT32: c_int32, INT64: c_int64, UINT32: c_uint32, BOOL: c_bool,
             BFLOAT16: c_uint16, FLOAT16: c_uint16}  # the last two as bits
_NUMPY_NAMES = {FLOAT32: "float32", INT32: "int32", INT64: "int64", UINT32: "uint32", BOOL: "bool",
                FLOAT16: "float16"}
_FORMATS = {FLOAT32: "f", INT32: "i", INT64: "q", UINT32: "I", BOOL: "?", FLOAT16: "e"}  # of memoryview

# Words for the library's numbers, each the index of its word: TLM_NORM_... and so on.
_WORDS = {
    "norm": ["pre", "post", "none", "after", "both"], "norm_kind": ["rms", "layer"],
    "position": ["rope", "none", "learned"], "ffn": ["swiglu", "silu", "geglu", "gelu", "relu2"],
    "output_init": ["linear", "zero", "depth"],
    "qk_norm": ["none", "heads", "width"], "attention_bias": ["none", "qkv", "all"],
    "rope_scaling": ["none", "linear", "dynamic", "llama3", "yarn"],
    "family": ["auto", "llama", "mistral", "qwen2", "qwen3", "phi3", "olmo2", "smollm3", "gemma",
               "gemma2", "gemma3", "gpt2"],
    "side": ["right", "left"], "byte_order": ["value", "gpt2"],
    "order": ["random", "shuffled", "sequential"],
    "weights": ["float32", "float16", "bfloat16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k_m", "q5_k_m", "q6_k"],
    "schedule": ["constant", "cosine", "linear", "wsd"], "cpu_level": ["scalar", "avx2", "avx512", "neon"],
    "state": ["running", "length", "end", "stop", "stopped", "failed", "context", "callback"],
    "past_context": ["default", "slide", "stop", "recompute"],
    "phase": ["counting", "learning"], "cost_optimizer": ["adamw", "sgd", "muon"],
    "muon_scale": ["moonlight", "jordan"],
    "adamw_variant": ["cs336_2025", "cs336_2026", "pytorch"],
    "counting": ["executed", "full"],
    "part": ["embedding", "attention", "scores", "feed_forward", "norms", "output"]}
_NO_DECAY = {"norms": 1, "embeddings": 2}
_SPECIAL_ALL, _SPECIAL_NONE, _SPECIAL_LIST = range(3)
_TOKEN_TYPES = {None: 0, "uint16": 2, "uint32": 4, "int64": 8}
_ALL_GROUPS = c_size_t(-1).value


def _number(kind: str, word: str) -> int:
    if word not in _WORDS[kind]:
        raise ValueError(f"{kind} {word!r} is none of {', '.join(_WORDS[kind])}")
    return _WORDS[kind].index(word)


class _Options(ctypes.Structure):
    """An options struct of the library: its own size comes first, the rest is the library's default
    until it is set."""

    _type = b""  # its name in C

    def __init__(self, **values: Any) -> None:
        super().__init__()
        _lib.tlm_options_init(byref(self), ctypes.sizeof(self), self._type)
        for name, value in values.items():
            if value is not None:
                kind = dict(self._fields_)[name]
                setattr(self, name, _unsigned(name, value, kind) if kind in _UNSIGNED else value)


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


# ---- Functions of the headers ---------------------------------------------------------------------

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


def _load_library() -> ctypes.CDLL:
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libtinylm.so")  # as in a wheel
    path = os.environ.get("TINYLM_LIBRARY") or (
        beside if os.path.exists(beside) else ctypes.util.find_library("tinylm"))
    if path is None:
        raise ImportError("libtinylm not found: install it, or set TINYLM_LIBRARY to its path")
    library = ctypes.CDLL(path)
    for name, arguments in _STATUS_FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes, function.errcheck = c_int32, arguments, _check
    for name, (result, arguments) in _OTHER_FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_lib = _load_library()


# Without conversions of arguments, and a check of the status, which take longer than a small text.
_encode_into = _lib["tlm_tokenizer_encode_into"]
_encode_into.restype = c_int32

# ---- The library as a whole -----------------------------------------------------------------------


def version() -> str:
    """The library's version, "major.minor.patch"."""
    return _lib.tlm_version().decode()


def abi_version() -> int:
    """The number of the library's binary interface."""
    return _lib.tlm_abi_version()


def set_num_threads(n: int) -> None:
    """Sets the number of threads that a call may use; 0: one per CPU. Results have the same bits for every number."""
    _lib.tlm_set_num_threads(n)


def num_threads() -> int:
    """The number of threads that a call may use."""
    return _lib.tlm_num_threads()


def shutdown() -> None:
    """Ends the library's threads and frees what it keeps for later calls. The library remains usable."""
    _lib.tlm_shutdown()


def cpu_level() -> str:
    """The level of the kernels in use: "scalar", "avx2", "avx512" or "neon"."""
    return _WORDS["cpu_level"][_lib.tlm_cpu_level()]


def set_cpu_level(level: str) -> None:
    """Lowers the level of the kernels, or raises it again up to what the CPU has."""
    _lib.tlm_set_cpu_level(_number("cpu_level", level))


def cpu_features() -> set[str]:
    """Names of the CPU features that the library may use now, such as "avx2" or "neon"."""
    mask = _lib.tlm_cpu_features()
    return {_lib.tlm_cpu_feature_name(1 << bit).decode() for bit in range(64) if mask >> bit & 1}


def gemm_kernel_name() -> str:
    """The name of the kernels that matrix products use."""
    return _lib.tlm_gemm_kernel_name().decode()


def random_bits(n: int, seed: int, stream: int = 0, offset: int = 0) -> list[int]:
    """n random numbers of 64 bits, a pure function of the arguments."""
    words = (c_uint64 * n)()
    _lib.tlm_random_bits(words, n, _unsigned("seed", seed), _unsigned("stream", stream),
                         _unsigned("offset", offset))
    return list(words)


# ---- What the rest is made of ---------------------------------------------------------------------

_UNSIGNED = {c_uint32: 1 << 32, c_uint64: 1 << 64, c_size_t: 1 << 64}


def _unsigned(name: str, value: int, kind: Any = c_uint64) -> int:
    """A number for an argument that has no sign: ctypes would wrap what does not fit around."""
    if not 0 <= value < _UNSIGNED[kind]:
        raise ValueError(f"{name} {value} is not in 0..2**{8 * ctypes.sizeof(kind)}-1")
    return int(value)


class _Handle:
    """Owns one object of the library; `_free` names the function that lets it go."""

    _free = ""
    _handle: Any = None

    @classmethod
    def _wrap(cls, handle: c_void_p):
        """An object that owns the handle."""
        made = cls.__new__(cls)
        made._handle = handle
        return made

    def __del__(self) -> None:
        if self._handle:
            getattr(_lib, self._free)(self._handle)
            self._handle = None


class _Callbacks:
    """Python functions that the library calls within a `with`. An exception in one ends the call that it
    came from, and `with` raises it again. So does Ctrl-C: an exception that a signal's handler raised on
    the way from the library into a function would be lost, so the handler waits until it is there."""

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        self._handler: Any = None  # of SIGINT before
        self._pending: Any = None  # arguments for it
        self._inside = False  # a function is running, whose exceptions are caught

    def guard(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result; None if it raised."""
        try:
            self._inside = True
            self._deliver()
            return function(*arguments)
        except BaseException as exception:
            self.raised.append(exception)
            return None
        finally:
            self._inside = False

    def wrap(self, prototype: Any, function: Callable[..., Any]) -> Any:
        """For the library: what is true ends the call."""
        return prototype(lambda *arguments: 1 if self.guard(function, *arguments) or self.raised else 0)

    def _deliver(self) -> None:
        if self._pending is not None:
            arguments, self._pending = self._pending, None
            self._handler(*arguments)

    def _on_signal(self, *arguments: Any) -> None:
        self._pending = arguments
        if self._inside:
            self._deliver()

    def __enter__(self) -> _Callbacks:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_what: Any) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._deliver()
            self._handler = None
        if self.raised:
            exception = self.raised[0]
            self.raised.clear()
            raise exception from None


def _utf8(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def _joined(chunks: Iterable[Text]) -> Iterator[bytes]:
    """The chunks, small ones in pieces of a few kilobytes: a call for each line of a file would take
    longer than its work."""
    parts, size = [], 0
    for chunk in chunks:
        parts.append(_utf8(chunk))
        size += len(parts[-1])
        if size >= 8192:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def _bytes_array(items: Iterable[Text]) -> Any:
    encoded = [_utf8(item) for item in items]
    return (_Bytes * len(encoded))(*[_Bytes(item, len(item)) for item in encoded])


def _ids_array(ids: Any) -> Any:
    """A flat C array; numbers that are not token ids are refused."""
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    try:
        return (c_uint32 * len(ids)).from_buffer(_array("I", ids))
    except OverflowError:
        wrong = next(i for i in ids if not 0 <= i < 1 << 32)
        raise ValueError(f"token id {wrong} is not in 0..2**32-1") from None


def _take_ids(ids: Any, n: c_size_t) -> list[int]:
    """A list of an array that the library handed out, which is then freed."""
    result = ids[:n.value] if n.value else []
    _lib.tlm_free(ids)
    return result


def _take_bytes(data: c_void_p, size: int) -> bytes:
    """Bytes that the library handed out, which are then freed."""
    result = ctypes.string_at(data, size) if size else b""
    _lib.tlm_free(data)
    return result


def _rows(values: Any, shape: tuple[int, int], as_numpy: bool) -> Any:
    """Nested lists, or a numpy array, of a copy of the matrix at a C pointer."""
    rows, length = shape
    if as_numpy:
        import numpy
        if rows * length == 0:
            return numpy.zeros(shape, values._type_)
        return numpy.ctypeslib.as_array(values, shape).copy()
    return [values[i * length:(i + 1) * length] for i in range(rows)]


# ---- Tokenizer ------------------------------------------------------------------------------------


def _special_set(tokens: Any) -> tuple:
    """A set of special tokens, "all" or strings, as TLM_SPECIAL_ALL, _NONE or _LIST and its list."""
    if isinstance(tokens, (str, bytes)):
        if tokens != "all":
            raise ValueError(f'a set of special tokens is "all" or a collection, not {tokens!r}')
        return _SPECIAL_ALL, None, 0
    names = _bytes_array(tokens)
    return (_SPECIAL_LIST, names, len(names)) if len(names) else (_SPECIAL_NONE, None, 0)


def _encode_options(allowed_special: Any = "all", disallowed_special: Any = "all",
                    dropout: float = 0.0, seed: int = 0,
                    add_special_tokens: bool = False, whole_texts: bool = False) -> _EncodeOptions:
    allowed, allowed_names, num_allowed = _special_set(allowed_special)
    disallowed, disallowed_names, num_disallowed = _special_set(disallowed_special)
    return _EncodeOptions(
        allowed_special=allowed, allowed=allowed_names, num_allowed=num_allowed,
        disallowed_special=disallowed, disallowed=disallowed_names, num_disallowed=num_disallowed,
        dropout=dropout, seed=seed, add_special_tokens=add_special_tokens, whole_texts=whole_texts)


class BpeTrainer(_Handle):
    """Counts the pretokens of texts and learns a vocabulary from them. progress(phase, done, total), if
    given, is called for "counting" (bytes) and "learning" (merges); a true result ends the call."""

    _free = "tlm_bpe_trainer_free"

    def __init__(self, vocab_size: int, special_tokens: Iterable[Text] = (), pattern: Text | None = None,
                 min_frequency: int = 0, max_token_length: int = 0, byte_order: str = "value",
                 max_distinct_pretokens: int = 0, base: Tokenizer | None = None,
                 progress: Callable[[str, int, int], Any] | None = None) -> None:
        def report(_user, phase, done, total):
            return progress is not None and progress(_WORDS["phase"][phase], done, total)

        specials, handle, self._callbacks = _bytes_array(special_tokens), c_void_p(), _Callbacks()
        options = _BpeTrainerOptions(
            vocab_size=vocab_size, special_tokens=specials, num_special_tokens=len(specials),
            pattern=None if pattern is None else _utf8(pattern), min_frequency=min_frequency,
            max_token_length=max_token_length, byte_order=_number("byte_order", byte_order),
            max_distinct_pretokens=max_distinct_pretokens, base=base and base._handle,
            progress=self._callbacks.wrap(_BpeProgress, report))
        self._borrowed = options.progress, base
        _lib.tlm_bpe_trainer_create(byref(handle), byref(options))
        self._handle = handle

    def add_text(self, text: Text) -> None:
        """Counts one text."""
        text = _utf8(text)
        with self._callbacks:
            _lib.tlm_bpe_trainer_add_text(self._handle, text, len(text))

    def add_file(self, path: Path) -> None:
        """Counts a file of any size."""
        with self._callbacks:
            _lib.tlm_bpe_trainer_add_file(self._handle, os.fsencode(path))

    def add_iterable(self, chunks: Iterable[Text]) -> None:
        """Counts one text that arrives in pieces, split anywhere."""
        with self._callbacks:
            for chunk in _joined(chunks):
                _lib.tlm_bpe_trainer_push(self._handle, chunk, len(chunk))
            _lib.tlm_bpe_trainer_end_text(self._handle)

    @property
    def stats(self) -> tuple[int, int]:
        """Bytes of text counted, and distinct pretokens among them."""
        return self._pair("tlm_bpe_trainer_stats")

    @property
    def dropped(self) -> tuple[int, int]:
        """The number of pretokens that max_distinct_pretokens dropped, and how often they had occurred."""
        return self._pair("tlm_bpe_trainer_dropped")

    def _pair(self, name: str) -> tuple[int, int]:
        first, second = c_uint64(), c_uint64()
        getattr(_lib, name)(byref(first), byref(second), self._handle)
        return first.value, second.value

    def train(self) -> Tokenizer:
        """Learns the merges. The counts stay: more text may be added."""
        handle = c_void_p()
        with self._callbacks:
            _lib.tlm_bpe_trainer_train(byref(handle), self._handle)
        return Tokenizer._wrap(handle)


def _patterns() -> dict[str, str]:
    names = iter(lambda: _lib.tlm_pattern_name(len(patterns)), None)
    patterns: dict[str, str] = {}
    for name in names:
        patterns[name.decode()] = _lib.tlm_pattern_by_name(name).decode()
    return patterns


# Pre-tokenization patterns by name: PATTERNS["qwen3.5"] and so on.
PATTERNS = _patterns()


_ROOM = 4096  # ids of a small text, at most


class _Room:
    """The array of a small call, and the objects that pass it, which are made once. A call takes one out of the
    list, so that calls of other threads and of signal handlers do not share it."""

    def __init__(self) -> None:
        array = (c_uint32 * _ROOM)()
        self.ids, self.capacity = byref(array), c_size_t(_ROOM)
        self.n, self.size = c_size_t(), c_size_t()
        self.to_n = byref(self.n)
        self.view = memoryview(array).cast("B")


_rooms: list[_Room] = []


class Tokenizer(_Handle):
    """A byte-level BPE vocabulary, created from tokens by id and merges in order of application. Special
    tokens that are not in the vocabulary get the ids after it; a mapping gives each its id. ignore_merges:
    a pretoken that is a token is taken whole. nfc: texts are normalized to NFC first."""

    _free = "tlm_tokenizer_free"

    def __init__(self, vocab: dict[int, bytes], merges: Sequence[tuple[bytes, bytes]],
                 special_tokens: Specials | None = None, pattern: Text | None = None,
                 nfc: bool = False, ignore_merges: bool = False) -> None:
        tokens = [b""] * (max(vocab, default=-1) + 1)
        for token_id, token in vocab.items():
            tokens[_unsigned("token id", token_id, c_uint32)] = token
        vocabulary, sides = _bytes_array(tokens), _bytes_array(side for merge in merges for side in merge)
        if len(sides) != 2 * len(merges):
            raise ValueError("a merge has two sides")
        options, handle = self._options(special_tokens, pattern, nfc, ignore_merges), c_void_p()
        _lib.tlm_tokenizer_create(byref(handle), vocabulary, len(vocabulary), sides, len(merges),
                                  byref(options))
        self._handle = handle

    @classmethod
    def train(cls, texts: Text | Iterable[Text] = (), vocab_size: int = 1024,
              special_tokens: Iterable[Text] = (), files: Iterable[Path] = (),
              **options: Any) -> Tokenizer:
        """Learns a vocabulary from texts (one or a sequence) and files (paths). More options as of
        BpeTrainer."""
        trainer = BpeTrainer(vocab_size, special_tokens, **options)
        for text in [texts] if isinstance(texts, (str, bytes)) else texts:
            trainer.add_text(text)
        for path in files:
            trainer.add_file(path)
        return trainer.train()

    @classmethod
    def from_files(cls, vocab_path: Path, merges_path: Path, special_tokens: Specials | None = None,
                   pattern: Text | None = None, nfc: bool = False, ignore_merges: bool = False) -> Tokenizer:
        """Reads vocab.json and merges.txt."""
        options, handle = cls._options(special_tokens, pattern, nfc, ignore_merges), c_void_p()
        _lib.tlm_tokenizer_load(byref(handle), os.fsencode(vocab_path), os.fsencode(merges_path),
                                byref(options))
        return cls._wrap(handle)

    @classmethod
    def open(cls, path: Path, special_tokens: Specials | None = None, pattern: Text | None = None,
             nfc: bool = False, ignore_merges: bool = False) -> Tokenizer:
        """Reads a tokenizer.json, a tiktoken rank file, a SentencePiece model, Tekken JSON, a GGUF file, a
        vocab.txt of BERT, or a directory with files of a tokenizer. Texts are put in NFC before they are
        encoded if a tokenizer.json asks for it, or with nfc. A rank file that is not a published one
        needs a pattern."""
        options, handle = cls._options(special_tokens, pattern, nfc, ignore_merges), c_void_p()
        _lib.tlm_tokenizer_open(byref(handle), os.fsencode(path), byref(options))
        return cls._wrap(handle)

    @staticmethod
    def _options(special_tokens: Specials | None, pattern: Text | None, nfc: bool,
                 ignore_merges: bool) -> _TokenizerOptions:
        specials, ids = _bytes_array(special_tokens or ()), None
        if isinstance(special_tokens, Mapping):
            ids = (c_uint32 * len(specials))(
                *(_unsigned("token id", token_id, c_uint32) for token_id in special_tokens.values()))
        return _TokenizerOptions(special_tokens=specials, num_special_tokens=len(specials),
                                 pattern=None if pattern is None else _utf8(pattern), nfc=nfc,
                                 ignore_merges=ignore_merges, special_token_ids=ids)

    def save(self, vocab_path: Path, merges_path: Path) -> None:
        """Writes vocab.json and merges.txt."""
        _lib.tlm_tokenizer_save(self._handle, os.fsencode(vocab_path), os.fsencode(merges_path))

    def save_json(self, path: Path) -> None:
        """Writes a tokenizer.json, as Hugging Face's tokenizers read it."""
        _lib.tlm_tokenizer_save_json(self._handle, os.fsencode(path))

    def save_tiktoken(self, path: Path) -> None:
        """Writes a rank file, as tiktoken reads it."""
        _lib.tlm_tokenizer_save_tiktoken(self._handle, os.fsencode(path))

    @property
    def vocab_size(self) -> int:
        """The number of ids, including special tokens and ids without a token."""
        return _lib.tlm_tokenizer_vocab_size(self._handle)

    @property
    def vocab(self) -> dict[int, bytes]:
        """All tokens by id."""
        tokens = ((token_id, self.token(token_id)) for token_id in range(self.vocab_size))
        return {token_id: token for token_id, token in tokens if token}  # without holes

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """All merges in order of application."""
        left, right, merges = c_uint32(), c_uint32(), []
        for index in range(_lib.tlm_tokenizer_num_merges(self._handle)):
            _lib.tlm_tokenizer_merge(byref(left), byref(right), self._handle, index)
            merges.append((self.token(left.value), self.token(right.value)))
        return merges

    @property
    def special_tokens(self) -> dict[bytes, int]:
        """The special tokens and their ids."""
        token_id, specials = c_uint32(), {}
        for index in range(_lib.tlm_tokenizer_num_special_tokens(self._handle)):
            _lib.tlm_tokenizer_special_token(byref(token_id), self._handle, index)
            specials[self.token(token_id.value)] = token_id.value
        return specials

    def token(self, token_id: int) -> bytes:
        """The bytes of a token."""
        token = _Bytes()
        _lib.tlm_tokenizer_token(byref(token), self._handle, _unsigned("token id", token_id, c_uint32))
        # A field of c_char_p would stop at a NUL.
        address = ctypes.cast(byref(token), _OUT)[0]
        return ctypes.string_at(address, token.size) if token.size else b""

    def token_id(self, token: Text) -> int:
        """The id of the token with these bytes; NotFoundError if there is none."""
        token, token_id = _utf8(token), c_uint32()
        _lib.tlm_tokenizer_token_id(byref(token_id), self._handle, token, len(token))
        return token_id.value

    def encode_array(self, text: Text, **options: Any) -> _array:
        """The ids of encode as an array.array of unsigned 32-bit integers, which is faster to make than a list
        and which numpy.frombuffer takes as it is."""
        if options or len(text) > _ROOM:
            return self._encode_large(text, options)
        if type(text) is not bytes:
            text = _utf8(text)
        try:
            room = _rooms.pop()
        except IndexError:
            room = _Room()
        room.size.value = len(text)
        status = _encode_into(room.ids, room.capacity, room.to_n, self._handle, text, room.size)
        if status != 0:
            _check(status, None, None)
        n = room.n.value
        if n > _ROOM:
            return self._encode_large(text, {})
        ids = _array("I")
        ids.frombytes(room.view[:4 * n])
        _rooms.append(room)
        return ids

    def _encode_large(self, text: Text, options: dict) -> _array:
        text, ids, n, array = _utf8(text), _IDS(), c_size_t(), _array("I")
        _lib.tlm_tokenizer_encode_with(byref(ids), byref(n), self._handle, text, len(text),
                                       byref(_encode_options(**options)) if options else None)
        array.frombytes(ctypes.string_at(ids, 4 * n.value) if n.value else b"")
        _lib.tlm_free(ids)
        return array

    def encode(self, text: Text, **options: Any) -> list[int]:
        """Ids of a text. The options are those of tiktoken, except that by default all special tokens are allowed:
        allowed_special ("all" or a set of strings, which become their ids), disallowed_special (these
        raise SpecialTokenError; "all": all that are not allowed; others are plain text), dropout
        (0..1), the probability of skipping a merge, and its seed. add_special_tokens puts the special
        tokens around the text that the tokenizer's file asks for, such as [CLS] ... [SEP], and
        whole_texts ignores the truncation and padding that a tokenizer.json asks for."""
        return self.encode_array(text, **options).tolist()

    def encode_ordinary(self, text: Text) -> list[int]:
        """Ids of a text in which special tokens are plain text."""
        return self.encode(text, allowed_special=(), disallowed_special=())

    def count(self, text: Text) -> int:
        """The number of ids that encode would return, without storing them."""
        text, n = _utf8(text), c_uint64()
        _lib.tlm_tokenizer_count(byref(n), self._handle, text, len(text))
        return n.value

    def trim(self) -> None:
        """Frees the caches that the tokenizer keeps between calls, at most 256 MiB."""
        _lib.tlm_tokenizer_trim(self._handle)

    def encode_batch(self, texts: Iterable[Text], **options: Any) -> list[list[int]]:
        """A list of ids for each text, on all threads. See encode for the options."""
        strings, ids, offsets = _bytes_array(texts), _IDS(), _SIZES()
        _lib.tlm_tokenizer_encode_batch(byref(ids), byref(offsets), self._handle, strings, len(strings),
                                        byref(_encode_options(**options)))
        result = [ids[offsets[i]:offsets[i + 1]] for i in range(len(strings))]
        _lib.tlm_free(ids)
        _lib.tlm_free(offsets)
        return result

    def encode_padded(self, texts: Iterable[Text], max_length: int = 0, pad_length: int = 0, pad_id: int = 0,
                      pad_side: str = "right", cut_side: str = "right", as_numpy: bool = False,
                      **options: Any) -> tuple:
        """(ids, mask, lengths): rows of one length, 1 in the mask where there is an id and 0 where
        there is padding, and the number of ids of each row. Texts of more than max_length ids are cut
        (0: none is); rows have pad_length ids (0: as many as the longest). Lists, or numpy arrays;
        more options as of encode."""
        strings, ids, mask, lengths = _bytes_array(texts), _IDS(), POINTER(c_uint8)(), _SIZES()
        length = c_size_t()
        pad = _PadOptions(max_length=max_length, pad_length=pad_length, pad_id=pad_id,
                          pad_side=_number("side", pad_side), cut_side=_number("side", cut_side))
        _lib.tlm_tokenizer_encode_padded(byref(ids), byref(mask), byref(lengths), byref(length),
                                         self._handle, strings, len(strings),
                                         byref(_encode_options(**options)), byref(pad))
        shape = len(strings), length.value
        result = _rows(ids, shape, as_numpy), _rows(mask, shape, as_numpy), lengths[:len(strings)]
        for array in (ids, mask, lengths):
            _lib.tlm_free(array)
        return result

    def encode_iterable(self, chunks: Iterable[Text]) -> Iterator[int]:
        """Yields the ids of a text that arrives in pieces, split anywhere. Memory does not grow with the
        text: an open file may have any size."""
        ready, handle, callbacks = [], c_void_p(), _Callbacks()
        take = callbacks.wrap(_IdsCallback, lambda _user, ids, n: ready.extend(ids[:n]))
        _lib.tlm_encoder_create(byref(handle), self._handle, take, None)
        try:
            for chunk in _joined(chunks):
                with callbacks:
                    _lib.tlm_encoder_push(handle, chunk, len(chunk))
                yield from ready
                ready.clear()
            with callbacks:
                _lib.tlm_encoder_finish(handle)
            yield from ready
        finally:
            _lib.tlm_encoder_free(handle)

    def offsets(self, ids: Ids) -> list[int]:
        """The byte of the text at which each id begins, followed by the size of the text."""
        array = _ids_array(ids)
        offsets = (c_size_t * (len(array) + 1))()
        _lib.tlm_tokenizer_offsets(offsets, self._handle, array, len(array))
        return list(offsets)

    def character_spans(self, ids: Ids) -> list[tuple[int, int]]:
        """(first, last + 1) of the characters that each id covers, even in part."""
        array = _ids_array(ids)
        spans = (c_size_t * (2 * len(array)))()
        _lib.tlm_tokenizer_character_spans(spans, self._handle, array, len(array))
        return list(zip(spans[::2], spans[1::2]))

    def longest_tokens(self, most: int = 10) -> list[int]:
        """Ids of the longest tokens, longest first, without special tokens."""
        ids, n = (c_uint32 * most)(), c_size_t()
        _lib.tlm_tokenizer_longest_tokens(ids, byref(n), self._handle, most)
        return ids[:n.value]

    def _decode(self, ids: Ids, as_text: bool, skip_special_tokens: bool) -> bytes:
        array, data, size = _ids_array(ids), c_void_p(), c_size_t()
        options = _DecodeOptions(as_text=as_text, skip_special_tokens=skip_special_tokens)
        _lib.tlm_tokenizer_decode_with(byref(data), byref(size), self._handle, array, len(array), byref(options))
        return _take_bytes(data, size.value)

    def decode_bytes(self, ids: Ids, skip_special_tokens: bool = False) -> bytes:
        """The bytes of all ids."""
        return self._decode(ids, False, skip_special_tokens)

    def decode(self, ids: Ids, skip_special_tokens: bool = False) -> str:
        """Text, with U+FFFD for what is not UTF-8."""
        return self._decode(ids, True, skip_special_tokens).decode()

    def decode_batch(self, rows: Iterable[Ids], skip_special_tokens: bool = False) -> list[str]:
        """The text of each row of ids, on all threads."""
        arrays = [_ids_array(row) for row in rows]
        structs = (_Ids * len(arrays))(*[_Ids(array, len(array)) for array in arrays])
        data, offsets = c_void_p(), _SIZES()
        options = _DecodeOptions(as_text=True, skip_special_tokens=skip_special_tokens)
        _lib.tlm_tokenizer_decode_batch(byref(data), byref(offsets), self._handle, structs, len(arrays),
                                        byref(options))
        ends = offsets[:len(arrays) + 1]
        _lib.tlm_free(offsets)
        texts = _take_bytes(data, ends[-1])
        return [texts[start:end].decode() for start, end in zip(ends, ends[1:])]

    def decode_iterable(self, ids: Ids, skip_special_tokens: bool = False) -> Iterator[str]:
        """Yields the text of ids as they come, in whole characters."""
        handle, text, size = c_void_p(), c_void_p(), c_size_t()
        options = _DecodeOptions(as_text=True, skip_special_tokens=skip_special_tokens)
        _lib.tlm_decoder_create_with(byref(handle), self._handle, byref(options))
        try:
            for token_id in ids:
                _lib.tlm_decoder_push(byref(text), byref(size), handle,
                                      _unsigned("token id", token_id, c_uint32))
                if size.value:
                    yield ctypes.string_at(text, size.value).decode()
            _lib.tlm_decoder_finish(byref(text), byref(size), handle)
            if size.value:
                yield ctypes.string_at(text, size.value).decode()
        finally:
            _lib.tlm_decoder_free(handle)


def train_bpe(input_path: Path, vocab_size: int, special_tokens: Iterable[Text] = (),
              **options: Any) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learns a vocabulary from a file; returns it as tokens by id and merges in order, as Tokenizer
    takes them. More options as of BpeTrainer."""
    tokenizer = Tokenizer.train(files=[input_path], vocab_size=vocab_size,
                                special_tokens=special_tokens, **options)
    return tokenizer.vocab, tokenizer.merges


def _chat_names() -> list[str]:
    names = []
    while (name := _lib.tlm_chat_template_name(len(names))) is not None:
        names.append(name.decode())
    return names


# Names of well-known chat templates, for ChatTemplate.
CHAT_TEMPLATES = _chat_names()
Messages = Iterable[Mapping[str, Text]]


class ChatTemplate(_Handle):
    """How a model's conversations become text: a well-known template by its name, such as "chatml". A
    conversation is a list of {"role": ..., "content": ...}. Further keyword arguments are variables of the
    template, such as enable_thinking=False; `now` is the time for templates that write the date."""

    _free = "tlm_chat_template_free"

    def __init__(self, name: str) -> None:
        handle = c_void_p()
        _lib.tlm_chat_template_create(byref(handle), name.encode())
        self._handle = handle

    @classmethod
    def open(cls, path: Path) -> ChatTemplate:
        """Reads the template of a folder of transformers, a GGUF file, or a file of its own."""
        handle = c_void_p()
        _lib.tlm_chat_template_open(byref(handle), os.fsencode(path))
        return cls._wrap(handle)

    @classmethod
    def parse(cls, source: Text, bos_token: str | None = None, eos_token: str | None = None) -> ChatTemplate:
        """Makes a template from Jinja text."""
        text, handle = _utf8(source), c_void_p()
        _lib.tlm_chat_template_parse(byref(handle), text, len(text), None if bos_token is None else bos_token.encode(),
                                     None if eos_token is None else eos_token.encode())
        return cls._wrap(handle)

    @property
    def source(self) -> str:
        """The Jinja text."""
        text, size = c_char_p(), c_size_t()
        _lib.tlm_chat_template_source(byref(text), byref(size), self._handle)
        return ctypes.string_at(text, size.value).decode()

    def render(self, messages: Messages, add_generation_prompt: bool = False, now: int = 0,
               **variables: Any) -> str:
        """The conversation as text."""
        text, size, array = c_void_p(), c_size_t(), self._messages(messages)
        _lib.tlm_chat_template_render(byref(text), byref(size), self._handle, array, len(array),
                                      byref(self._options(add_generation_prompt, now, variables)))
        result = ctypes.string_at(text, size.value)
        _lib.tlm_free(text)
        return result.decode(errors="replace")

    def encode(self, tokenizer: Tokenizer, messages: Messages, add_generation_prompt: bool = False, now: int = 0,
               **variables: Any) -> tuple[list[int], list[int]]:
        """(ids, mask): 1 in the mask for what the assistant says, with the token that ends its turn, and 0
        for the rest. A special token in a message is plain text."""
        ids, mask, n, array = _IDS(), POINTER(c_uint8)(), c_size_t(), self._messages(messages)
        _lib.tlm_chat_template_encode(byref(ids), byref(mask), byref(n), self._handle, tokenizer._handle, array,
                                      len(array), byref(self._options(add_generation_prompt, now, variables)))
        result = ids[:n.value], mask[:n.value]
        _lib.tlm_free(ids)
        _lib.tlm_free(mask)
        return result

    def end_token(self, tokenizer: Tokenizer) -> int:
        """The id of the special token that ends an answer."""
        token_id = c_uint32()
        _lib.tlm_chat_template_end_token(byref(token_id), self._handle, tokenizer._handle)
        return token_id.value

    @staticmethod
    def _messages(messages: Messages) -> Any:
        pairs = [(_utf8(message["role"]), _utf8(message["content"])) for message in messages]
        return (_ChatMessage * len(pairs))(*[(role, content, len(content)) for role, content in pairs])

    @staticmethod
    def _options(add_generation_prompt: bool, now: int, variables: dict[str, Any]) -> _ChatOptions:
        return _ChatOptions(add_generation_prompt=add_generation_prompt, now=now,
                            variables=json.dumps(variables).encode() if variables else None)


def nfc(text: Text) -> bytes:
    """The text in Unicode's Normalization Form C."""
    text, data, size = _utf8(text), c_void_p(), c_size_t()
    _lib.tlm_utf8_nfc(byref(data), byref(size), text, len(text))
    return _take_bytes(data, size.value)


# ---- Tensors --------------------------------------------------------------------------------------

# DLPack capsules: named "dltensor" until a consumer takes what is in them.
_CAPSULE, _USED_CAPSULE = b"dltensor", b"used_dltensor"
_capsule_new, _capsule_pointer, _capsule_is, _capsule_rename = (
    prototype((name, ctypes.pythonapi)) for name, prototype in [
        ("PyCapsule_New", ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, c_char_p, c_void_p)),
        ("PyCapsule_GetPointer", ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, c_char_p)),
        ("PyCapsule_IsValid", ctypes.PYFUNCTYPE(ctypes.c_int, c_void_p, c_char_p)),
        ("PyCapsule_SetName", ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, c_char_p))])
# The same function for a capsule that is going: no reference is to be taken to it.
_dying_capsule_pointer = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


@ctypes.PYFUNCTYPE(None, c_void_p)
def _delete_capsule(capsule):
    if _capsule_is(capsule, _CAPSULE):
        pointer = _dying_capsule_pointer(capsule, _CAPSULE)
        managed = ctypes.cast(pointer, POINTER(_DLManagedTensor))
        managed.contents.deleter(managed)


# Objects whose memory tensors lie over, by number, until the library lets them go.
_buffers: dict[int, Any] = {}
_numbers = itertools.count(1)


@_Release
def _release_buffer(user):
    del _buffers[user]


def _flatten(values: Any, shape: list[int]) -> list:
    """Checks that nested lists have one shape, which it appends to `shape`; returns a flat list."""
    if not isinstance(values, (list, tuple)):
        return [values]
    shape.append(len(values))
    parts: list = []
    inner = None
    for value in values:
        own: list[int] = []
        parts.extend(_flatten(value, own))
        if inner is not None and own != inner:
            raise ValueError(f"rows of different shapes, {inner} and {own}")
        inner = own
    shape.extend(inner or [])
    return parts


def _nest(values: list, shape: tuple[int, ...]) -> Any:
    """The inverse of _flatten."""
    if not shape:
        return values[0]
    step = len(values) // shape[0] if shape[0] else 0
    return [_nest(values[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])]


def _dims(shape: Sequence[int]) -> Any:
    return (c_int64 * len(shape))(*shape)


def _call(name: str, *arguments: Any) -> Tensor:
    """An op: a new tensor from tensors and numbers."""
    out = c_void_p()
    getattr(_lib, name)(byref(out), *[getattr(argument, "_handle", argument) for argument in arguments])
    return Tensor._wrap(out)


def _store(dtype: int, value: Any) -> Any:
    """A number as an element of a C array."""
    if dtype == FLOAT16:
        return struct.unpack("<H", struct.pack("<e", value))[0]
    if dtype == BFLOAT16:  # to the nearest, ties to even
        bits, = struct.unpack("<I", struct.pack("<f", value))
        return (bits | 0x400000 if value != value else bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return value


def _load(dtype: int, element: Any) -> Any:
    if dtype == FLOAT16:
        return struct.unpack("<e", struct.pack("<H", element))[0]
    if dtype == BFLOAT16:
        return struct.unpack("<f", struct.pack("<I", element << 16))[0]
    return element


class Tensor(_Handle):
    """An array that may gather gradients, with a copy of nested lists, a number or a numpy array. In
    arithmetic a number is a tensor without dimensions."""

    _free = "tlm_tensor_free"

    def __init__(self, values: Any, dtype: int = FLOAT32, requires_grad: bool = False) -> None:
        handle, shape = c_void_p(), []
        if hasattr(values, "__array_interface__"):
            import numpy
            values = numpy.ascontiguousarray(values, dtype=_NUMPY_NAMES[dtype])
            shape, flat = list(values.shape), c_void_p(values.ctypes.data)
        else:
            items = _flatten(values, shape)
            flat = (_ELEMENTS[dtype] * len(items))(*(_store(dtype, item) for item in items))
        _lib.tlm_tensor_from_data(byref(handle), dtype, flat, _dims(shape), len(shape))
        self._handle = handle
        if requires_grad:
            self.requires_grad = True

    # -- Memory shared with others --

    @classmethod
    def from_buffer(cls, buffer: Any) -> Tensor:
        """A tensor over the memory of an array.array, a memoryview or anything else that has a writable
        buffer of one of the types: nothing is copied."""
        view = memoryview(buffer)
        formats = {("f", 4): FLOAT32, ("i", 4): INT32, ("l", 4): INT32, ("q", 8): INT64, ("l", 8): INT64,
                   ("I", 4): UINT32, ("L", 4): UINT32, ("?", 1): BOOL}
        dtype = formats.get((view.format.lstrip("@=<"), view.itemsize))
        if dtype is None:
            raise TypeError(f"a buffer of format {view.format!r}")
        if view.readonly or not view.c_contiguous:
            raise BufferError("a tensor takes a writable buffer in row-major order")
        size = view.nbytes
        memory = (c_uint8 * size).from_buffer(view.cast("B")) if size else (c_uint8 * 8)()
        handle, key = c_void_p(), next(_numbers)
        _buffers[key] = memory
        try:
            _lib.tlm_tensor_wrap(byref(handle), dtype, ctypes.addressof(memory), _dims(view.shape), None,
                                 view.ndim, _release_buffer, key)
        except Error:
            del _buffers[key]
            raise
        return cls._wrap(handle)

    @classmethod
    def from_dlpack(cls, array: Any) -> Tensor:
        """A tensor over the memory of a numpy array, a PyTorch tensor or anything else that supports
        DLPack: nothing is copied."""
        capsule, handle = array.__dlpack__(), c_void_p()
        pointer = _capsule_pointer(capsule, _CAPSULE)
        _lib.tlm_tensor_from_dlpack(byref(handle), ctypes.cast(pointer, POINTER(_DLManagedTensor)))
        _capsule_rename(capsule, _USED_CAPSULE)
        return cls._wrap(handle)

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: bool | None = None) -> Any:
        """For numpy.from_dlpack, torch.from_dlpack and the like, over the same memory. They see the
        values only: no gradient flows between the libraries."""
        if stream is not None or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("a tinylm.Tensor lies in CPU memory, without streams")
        managed, tensor = POINTER(_DLManagedTensor)(), self._copy() if copy else self
        _lib.tlm_tensor_to_dlpack(byref(managed), tensor._handle)
        return _capsule_new(ctypes.cast(managed, c_void_p), _CAPSULE,
                            ctypes.cast(_delete_capsule, c_void_p))

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """For numpy.asarray, over the same memory."""
        kind = {FLOAT32: "<f4", INT32: "<i4", INT64: "<i8", UINT32: "<u4", BOOL: "|b1",
                FLOAT16: "<f2"}.get(self.dtype)
        if kind is None:
            raise AttributeError("NumPy has no bfloat16")
        size = ctypes.sizeof(_ELEMENTS[self.dtype])
        return {"version": 3, "shape": self.shape, "typestr": kind, "data": (self.data or 0, False),
                "strides": tuple(size * stride for stride in self.strides)}

    def memoryview(self) -> memoryview:
        """The elements of a row-major tensor, over the same memory."""
        if _call("tlm_contiguous", self).data != self.data:
            raise BufferError("the tensor is a view that is not row-major")
        n = _lib.tlm_tensor_numel(self._handle) * ctypes.sizeof(_ELEMENTS[self.dtype])
        memory = (c_uint8 * n).from_address(self.data) if n else (c_uint8 * 0)()
        memory.owner = self
        view, code = memoryview(memory).cast("B"), _FORMATS[self.dtype]
        return view.cast(code, self.shape) if n and self.shape else view.cast(code)

    # -- Looking and copying --

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(_lib.tlm_tensor_shape(self._handle)[:_lib.tlm_tensor_ndim(self._handle)])

    @property
    def strides(self) -> tuple[int, ...]:
        """Its strides, in elements."""
        return tuple(_lib.tlm_tensor_strides(self._handle)[:_lib.tlm_tensor_ndim(self._handle)])

    @property
    def dtype(self) -> int:
        """FLOAT32, INT32, INT64, UINT32, BOOL, BFLOAT16 or FLOAT16; ops compute with the first alone."""
        return _lib.tlm_tensor_dtype(self._handle)

    @property
    def data(self) -> int | None:
        """The address of the first element, None where there is none."""
        return _lib.tlm_tensor_data(self._handle)

    def _copy_out(self) -> Any:
        n = _lib.tlm_tensor_numel(self._handle)
        data = (_ELEMENTS[self.dtype] * n)()
        _lib.tlm_tensor_copy_out(data, n, self._handle)
        return data

    def _copy(self) -> Tensor:
        return _call("tlm_tensor_from_data", self.dtype, self._copy_out(), _dims(self.shape), len(self.shape))

    def copy_(self, values: Any) -> None:
        """Copies as many values as it has (nested lists, a numpy array or a Tensor) into a leaf."""
        tensor = values if isinstance(values, Tensor) else Tensor(values, self.dtype)
        if (tensor.dtype, tensor.shape) != (self.dtype, self.shape):
            raise ValueError(f"values of shape {tensor.shape} for a tensor of {self.shape}")
        data = tensor._copy_out()
        _lib.tlm_tensor_copy_in(self._handle, data, len(data))

    def tolist(self) -> Any:
        """Nested lists; a number for a scalar."""
        return _nest([_load(self.dtype, element) for element in self._copy_out()], self.shape)

    def item(self) -> float:
        """The value of a float32 tensor with one element."""
        value = c_float()
        _lib.tlm_tensor_item(byref(value), self._handle)
        return value.value

    def numpy(self) -> Any:
        """A copy; numpy.asarray(tensor) shares the memory."""
        import numpy
        return numpy.frombuffer(self._copy_out(), dtype=_NUMPY_NAMES[self.dtype]).reshape(self.shape).copy()

    # -- Gradients --

    @property
    def requires_grad(self) -> bool:
        """Whether it gathers a gradient or passes one on. It may be set, except for results of ops."""
        return _lib.tlm_tensor_requires_grad(self._handle)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        _lib.tlm_tensor_set_requires_grad(self._handle, value)

    @property
    def grad(self) -> Tensor | None:
        """The gradient gathered so far, or None."""
        handle = _lib.tlm_tensor_grad(self._handle)
        return None if handle is None else Tensor._wrap(c_void_p(_lib.tlm_tensor_retain(handle)))

    def zero_grad(self) -> None:
        """Forgets the gradient."""
        _lib.tlm_tensor_zero_grad(self._handle)

    def backward(self, gradient: Tensor | None = None) -> None:
        """Back-propagates from a scalar, or from a gradient of the tensor's shape."""
        outer = getattr(_thread, "callbacks", None)
        try:
            with _Callbacks() as _thread.callbacks:
                _lib.tlm_tensor_backward(self._handle, gradient and gradient._handle)
        finally:
            _thread.callbacks = outer

    def detach(self) -> Tensor:
        """The same memory outside any graph."""
        return _call("tlm_tensor_detach", self)

    # -- Ops --

    def __add__(self, other: Tensor | float) -> Tensor:
        return _call("tlm_add", self, _operand(other))

    def __sub__(self, other: Tensor | float) -> Tensor:
        return _call("tlm_sub", self, _operand(other))

    def __mul__(self, other: Tensor | float) -> Tensor:
        return _call("tlm_mul", self, _operand(other))

    def __truediv__(self, other: Tensor | float) -> Tensor:
        return _call("tlm_div", self, _operand(other))

    def __radd__(self, other: float) -> Tensor:
        return _call("tlm_add", _operand(other), self)

    def __rsub__(self, other: float) -> Tensor:
        return _call("tlm_sub", _operand(other), self)

    def __rmul__(self, other: float) -> Tensor:
        return _call("tlm_mul", _operand(other), self)

    def __rtruediv__(self, other: float) -> Tensor:
        return _call("tlm_div", _operand(other), self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return _call("tlm_matmul", self, other)

    def __neg__(self) -> Tensor:
        return self.scale(-1.0)

    def scale(self, factor: float) -> Tensor:
        """The tensor times factor."""
        return _call("tlm_scale", self, factor)

    def sum(self, dim: int | None = None, keep_dim: bool = False) -> Tensor:
        """The sum of all elements, or along a dimension."""
        return _call("tlm_sum", self) if dim is None else _call("tlm_sum_dim", self, dim, keep_dim)

    def mean(self, dim: int | None = None, keep_dim: bool = False) -> Tensor:
        """The mean of all elements, or along a dimension."""
        return _call("tlm_mean", self) if dim is None else _call("tlm_mean_dim", self, dim, keep_dim)

    def max(self, dim: int, keep_dim: bool = False) -> tuple[Tensor, Tensor]:
        """The maximum along a dimension, and its indices."""
        values, indices = c_void_p(), c_void_p()
        _lib.tlm_max_dim(byref(values), byref(indices), self._handle, dim, keep_dim)
        return Tensor._wrap(values), Tensor._wrap(indices)

    def reshape(self, *shape: int) -> Tensor:
        """Another shape of the same elements; one size may be -1."""
        return _call("tlm_reshape", self, _dims(shape), len(shape))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two dimensions swapped: a view."""
        return _call("tlm_transpose", self, dim0, dim1)

    def slice(self, dim: int, start: int, stop: int) -> Tensor:
        """Elements start .. stop - 1 of a dimension: a view."""
        return _call("tlm_slice", self, dim, start, stop)

    def contiguous(self) -> Tensor:
        """The same elements in row-major order."""
        return _call("tlm_contiguous", self)

    def exp(self) -> Tensor:
        """e^x for each element; the functions below are also element-wise."""
        return _call("tlm_exp", self)

    def log(self) -> Tensor:
        """Natural logarithm."""
        return _call("tlm_log", self)

    def sqrt(self) -> Tensor:
        """Square root."""
        return _call("tlm_sqrt", self)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return _call("tlm_tanh", self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return _call("tlm_sigmoid", self)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return _call("tlm_relu", self)

    def gelu(self) -> Tensor:
        """x P(Z <= x), Z normal."""
        return _call("tlm_gelu", self)

    def silu(self) -> Tensor:
        """x sigmoid(x)."""
        return _call("tlm_silu", self)


def _operand(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(value)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Ops inside are not recorded, on this thread."""
    before = _lib.tlm_set_grad_enabled(False)
    try:
        yield
    finally:
        _lib.tlm_set_grad_enabled(before)


def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Elements of a where condition (BOOL) is true, and of b elsewhere."""
    return _call("tlm_where", condition, a, b)


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after another along a dimension."""
    return _call("tlm_concat", _handles(tensors), len(tensors), dim)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x (..., d_in) times the transpose of weight (d_out, d_in)."""
    return _call("tlm_linear", x, weight)


def embedding(weight: Tensor, ids: Tensor) -> Tensor:
    """The rows of weight (vocab, d) that an integer tensor names."""
    return _call("tlm_embedding", weight, ids)


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension."""
    return _call("tlm_rms_norm", x, weight, eps)


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    return _call("tlm_silu_mul", gate, up)


def swiglu(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    """W2 (silu(W1 x) * W3 x)."""
    return _call("tlm_swiglu", x, w1, w2, w3)


def rope(x: Tensor, positions: Tensor | None = None, theta: float = 10000.0) -> Tensor:
    """Rotary position embedding of x (..., time, d) over pairs of neighbors; positions, integers, are
    of a shape that broadcasts to (..., time), and 0, 1, 2, ... without."""
    return _call("tlm_rope", x, positions, theta)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """Softmax along a dimension."""
    return _call("tlm_softmax", x, dim)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None,
              causal: bool = False) -> Tensor:
    """softmax(query key^T / sqrt(d_k)) value; mask: BOOL, true where a query sees a key."""
    return _call("tlm_attention", query, key, value, mask, causal)


def multi_head_attention(x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, wo: Tensor, num_heads: int,
                         rope_theta: float = 0.0, positions: Tensor | None = None) -> Tensor:
    """Causal self-attention of x (..., time, d_model); rope_theta 0: without rotation."""
    return _call("tlm_multi_head_attention", x, wq, wk, wv, wo, num_heads, rope_theta, positions)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log softmax(logits)[target] over all positions, in nats."""
    return _call("tlm_cross_entropy", logits, targets)


def init_truncated_normal(tensor: Tensor, sigma: float, cut_sigmas: float = 3.0, seed: int = 0,
                          stream: int = 0) -> None:
    """Fills a leaf with Normal(0, sigma^2) cut to +-cut_sigmas sigma."""
    _lib.tlm_init_truncated_normal(tensor._handle, sigma, cut_sigmas, _unsigned("seed", seed),
                                   _unsigned("stream", stream))


# Backward functions of custom ops that are still in a graph, by number; and what guards them in the call
# of Tensor.backward that is running on a thread.
_backwards: dict[int, Callable[[Tensor], Iterable]] = {}
_thread = threading.local()


def _take_back(grads: Any, grad_out: int, num_inputs: int, user: int) -> None:
    results = list(_backwards[user](Tensor._wrap(c_void_p(_lib.tlm_tensor_retain(grad_out)))))
    if len(results) != num_inputs:
        raise ValueError(f"{len(results)} gradients for {num_inputs} inputs")
    for i, result in enumerate(results):
        grads[i] = None if result is None else _lib.tlm_tensor_retain(result._handle)


@_Backward
def _call_backward(user, grads, grad_out, _inputs, num_inputs, _saved, _num_saved):
    _thread.callbacks.guard(_take_back, grads, grad_out, num_inputs, user)
    return _CANCELLED if _thread.callbacks.raised else 0


@_Release
def _release_backward(user):
    del _backwards[user]


def custom_op(result: Tensor, inputs: Sequence[Tensor],
              backward: Callable[[Tensor], Iterable[Tensor | None]], name: str = "custom op") -> Tensor:
    """A tensor with the values of `result`, recorded as made from `inputs`. backward(gradient) gets the
    gradient of the result and returns one for each input, or None for 0."""
    key, out = next(_numbers), c_void_p()
    options = _CustomOpOptions(name=_utf8(name), user=key, backward=_call_backward,
                               release=_release_backward)
    _backwards[key] = backward
    try:
        _lib.tlm_custom_op_record(byref(out), result._handle, _handles(inputs), len(inputs), None, 0,
                                  byref(options))
    except Error:
        del _backwards[key]
        raise
    return Tensor._wrap(out)


def _handles(tensors: Sequence[Tensor]) -> Any:
    return (c_void_p * len(tensors))(*[tensor._handle for tensor in tensors])


# ---- Optimizers -----------------------------------------------------------------------------------


def _adamw_options(variant: str | None = None, **options: float | None) -> _AdamWOptions:
    number = None if variant is None else _number("adamw_variant", variant)
    return _AdamWOptions(variant=number, **options)


def _muon_options(scale: str | None = None, **options: float | None) -> _MuonOptions:
    number = None if scale is None else _number("muon_scale", scale)
    return _MuonOptions(scale=number, **options)


def _group_options(learning_rate: float | None, weight_decay: float | None,
                   rate_factor: float | None) -> _GroupOptions:
    return _GroupOptions(learning_rate=learning_rate, has_learning_rate=learning_rate is not None,
                         weight_decay=weight_decay, has_weight_decay=weight_decay is not None,
                         rate_factor=rate_factor)


class Optimizer(_Handle):
    """What all optimizers share. Parameters are float32 leaves, each in one group."""

    _free = "tlm_optimizer_free"

    def _add(self, parameters: Any, no_decay: Iterable[str] = ()) -> None:
        if isinstance(parameters, Model):
            self.add_model(parameters, no_decay)
        else:
            self.add_group(parameters)

    def add_group(self, parameters: Iterable[Tensor], learning_rate: float | None = None,
                  weight_decay: float | None = None, rate_factor: float | None = None) -> None:
        """Another group, with the optimizer's options except for what is given. A trainer's schedule sets
        its learning rate to rate_factor (1) times what it gives the others."""
        tensors = list(parameters)
        _lib.tlm_optimizer_add_group(self._handle, _handles(tensors), len(tensors),
                                     byref(_group_options(learning_rate, weight_decay, rate_factor)))

    def add_adamw_group(self, parameters: Iterable[Tensor], **options: Any) -> None:
        """A group that AdamW updates, whatever the optimizer is itself. Options are those of AdamW:
        learning_rate, beta1, beta2, eps, weight_decay, variant."""
        tensors = list(parameters)
        _lib.tlm_optimizer_add_adamw_group(self._handle, _handles(tensors), len(tensors),
                                           byref(_adamw_options(**options)))

    def add_muon_group(self, parameters: Iterable[Tensor], **options: Any) -> None:
        """A group of matrices that Muon updates, whatever the optimizer is itself. Options are those of
        Muon: learning_rate, momentum, eps, weight_decay, iterations, nesterov, scale."""
        tensors = list(parameters)
        _lib.tlm_optimizer_add_muon_group(self._handle, _handles(tensors), len(tensors),
                                          byref(_muon_options(**options)))

    def add_model(self, model: Model, no_decay: Iterable[str] = (), learning_rate: float | None = None,
                  weight_decay: float | None = None, rate_factor: float | None = None) -> None:
        """All parameters of a model: a group, and one without weight decay for those that no_decay
        ("norms", "embeddings") names. With Muon these are the hidden matrices, and groups of AdamW follow."""
        bits = 0
        for name in no_decay:
            if name not in _NO_DECAY:
                raise ValueError(f"no_decay {name!r} is none of {', '.join(_NO_DECAY)}")
            bits |= _NO_DECAY[name]
        _lib.tlm_optimizer_add_model(self._handle, model._handle, bits,
                                     byref(_group_options(learning_rate, weight_decay, rate_factor)))

    @property
    def kind(self) -> str:
        """ "adamw", "muon" or "sgd"."""
        return _lib.tlm_optimizer_kind(self._handle).decode()

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return _lib.tlm_optimizer_num_groups(self._handle)

    @property
    def num_parameters(self) -> int:
        """Number of parameters over all groups."""
        return _lib.tlm_optimizer_num_parameters(self._handle)

    @property
    def steps(self) -> int:
        """Number of steps taken; may be set."""
        return _lib.tlm_optimizer_steps(self._handle)

    @steps.setter
    def steps(self, steps: int) -> None:
        _lib.tlm_optimizer_set_steps(self._handle, _unsigned("steps", steps))

    def learning_rate(self, group: int = 0) -> float:
        """The learning rate of a group."""
        rate = c_double()
        _lib.tlm_optimizer_learning_rate(byref(rate), self._handle, _unsigned("group", group))
        return rate.value

    def set_learning_rate(self, learning_rate: float, group: int | None = None) -> None:
        """Sets the learning rate of a group, or of all groups."""
        _lib.tlm_optimizer_set_learning_rate(
            self._handle, _ALL_GROUPS if group is None else _unsigned("group", group), learning_rate)

    def weight_decay(self, group: int = 0) -> float:
        """The weight decay of a group."""
        decay = c_double()
        _lib.tlm_optimizer_weight_decay(byref(decay), self._handle, _unsigned("group", group))
        return decay.value

    def set_weight_decay(self, weight_decay: float, group: int | None = None) -> None:
        """Sets the weight decay of a group, or of all groups."""
        _lib.tlm_optimizer_set_weight_decay(
            self._handle, _ALL_GROUPS if group is None else _unsigned("group", group), weight_decay)

    def state_names(self, index: int) -> list[str]:
        """The names of the buffers that are kept for a parameter: ["m", "v"] with AdamW."""
        if not 0 <= index < self.num_parameters:
            raise IndexError(f"parameter {index} of {self.num_parameters}")
        names: list[str] = []
        name = c_char_p()
        while True:
            try:
                _lib.tlm_optimizer_state_name(byref(name), self._handle, index, len(names))
            except RangeError:
                return names
            names.append(name.value.decode())

    def state(self, index: int, name: str) -> list[float]:
        """A buffer of a parameter, which is counted in order of addition: a copy."""
        values, n = _FLOATS(), c_size_t()
        _lib.tlm_optimizer_state(byref(values), byref(n), self._handle, _unsigned("index", index),
                                 _utf8(name))
        return values[:n.value]

    def set_state(self, index: int, name: str, state: Sequence[float]) -> None:
        """Writes a buffer of a parameter."""
        values, n = _FLOATS(), c_size_t()
        _lib.tlm_optimizer_state(byref(values), byref(n), self._handle, _unsigned("index", index),
                                 _utf8(name))
        if len(state) != n.value:
            raise ValueError(f"{len(state)} values for a state of {n.value}")
        for i, value in enumerate(state):
            values[i] = value

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        _lib.tlm_optimizer_step(self._handle)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        _lib.tlm_optimizer_zero_grad(self._handle)


class AdamW(Optimizer):
    """AdamW over a list of parameters, or over a model, of which no_decay ("norms", "embeddings") names
    what has no weight decay. variant: "cs336_2025", "cs336_2026" or "pytorch"."""

    def __init__(self, parameters: Model | Iterable[Tensor], learning_rate: float | None = None,
                 beta1: float | None = None, beta2: float | None = None, eps: float | None = None,
                 weight_decay: float | None = None, no_decay: Iterable[str] = (),
                 variant: str | None = None) -> None:
        options = _adamw_options(variant, learning_rate=learning_rate, beta1=beta1, beta2=beta2, eps=eps,
                                 weight_decay=weight_decay)
        handle = c_void_p()
        _lib.tlm_optimizer_create_adamw(byref(handle), byref(options))
        self._handle = handle
        self._add(parameters, no_decay)


class Muon(Optimizer):
    """Muon over a list of matrices, or over a model, of which it updates the hidden matrices, and AdamW
    the rest, with the options `rest` (those of AdamW) or else with Muon's learning rate and weight decay.
    scale: "moonlight" or "jordan"."""

    def __init__(self, parameters: Model | Iterable[Tensor], learning_rate: float | None = None,
                 momentum: float | None = None, eps: float | None = None, weight_decay: float | None = None,
                 iterations: int | None = None, nesterov: bool | None = None, scale: str | None = None,
                 rest: Mapping[str, Any] | None = None, no_decay: Iterable[str] = ()) -> None:
        options = _muon_options(scale, learning_rate=learning_rate, momentum=momentum, eps=eps,
                                weight_decay=weight_decay, iterations=iterations, nesterov=nesterov)
        handle = c_void_p()
        _lib.tlm_optimizer_create_muon(byref(handle), byref(options),
                                       None if rest is None else byref(_adamw_options(**rest)))
        self._handle = handle
        self._add(parameters, no_decay)


class SGD(Optimizer):
    """Gradient descent with the rate learning_rate / sqrt(t + 1) in step t = 0, 1, ..."""

    def __init__(self, parameters: Model | Iterable[Tensor], learning_rate: float) -> None:
        handle = c_void_p()
        _lib.tlm_optimizer_create_sgd(byref(handle), learning_rate)
        self._handle = handle
        self._add(parameters)


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scales the gradients to a joint norm of at most max_norm; returns the norm before that."""
    tensors, norm = list(parameters), c_double()
    _lib.tlm_clip_grad_norm(byref(norm), _handles(tensors), len(tensors), max_norm)
    return norm.value


def clip_norm(gradients: Iterable[Tensor], max_norm: float) -> float:
    """The same for tensors that are themselves the gradients."""
    tensors, norm = list(gradients), c_double()
    _lib.tlm_clip_norm(byref(norm), _handles(tensors), len(tensors), max_norm)
    return norm.value


def adamw_update(parameters: Sequence[Tensor], m: Sequence[Tensor], v: Sequence[Tensor],
                 gradients: Sequence[Tensor], step: int, **options: Any) -> None:
    """One update of parameters by AdamW, with moments m and v (zeros at first) and gradients in lists
    of the same order; step counts from 1. Options: learning_rate, beta1, beta2, eps, weight_decay,
    variant."""
    if not len(parameters) == len(m) == len(v) == len(gradients):
        raise ValueError(f"{len(parameters)} parameters, {len(m)} m, {len(v)} v and "
                         f"{len(gradients)} gradients")
    _lib.tlm_adamw_update(_handles(parameters), _handles(m), _handles(v), _handles(gradients),
                          len(parameters), _unsigned("step", step), byref(_adamw_options(**options)))


def cosine_schedule(step: int, max_learning_rate: float, min_learning_rate: float, warmup_steps: int,
                    cycle_steps: int) -> float:
    """The learning rate of a step: linear up over the warm-up, a half cosine wave down to the end of
    the cycle, the minimum after it."""
    rate = c_double()
    _lib.tlm_cosine_schedule(byref(rate), _unsigned("step", step), max_learning_rate, min_learning_rate,
                             _unsigned("warmup_steps", warmup_steps),
                             _unsigned("cycle_steps", cycle_steps))
    return rate.value


def _schedule_options(kind: str, max_learning_rate: float, min_learning_rate: float = 0.0,
                      warmup_steps: int = 0, total_steps: int = 0, decay_steps: int = 0) -> _ScheduleOptions:
    return _ScheduleOptions(kind=_number("schedule", kind), max_learning_rate=max_learning_rate,
                            min_learning_rate=min_learning_rate, warmup_steps=warmup_steps,
                            total_steps=total_steps, decay_steps=decay_steps)


def schedule_learning_rate(step: int, kind: str, max_learning_rate: float, **options: Any) -> float:
    """The learning rate of a step. kind: "constant", "cosine", "linear" or "wsd". Options:
    min_learning_rate, warmup_steps, total_steps, decay_steps (of "wsd")."""
    rate = c_double()
    _lib.tlm_schedule_learning_rate(byref(rate), byref(_schedule_options(kind, max_learning_rate, **options)),
                                    _unsigned("step", step))
    return rate.value


# ---- Token data -----------------------------------------------------------------------------------


def _token_type(name: str | None) -> int:
    if name not in _TOKEN_TYPES:
        raise ValueError(f"token_type {name!r} is none of {', '.join(filter(None, _TOKEN_TYPES))}")
    return _TOKEN_TYPES[name]


class Dataset(_Handle):
    """Token ids to draw batches from: over the memory of a numpy array of uint16 or uint32, or over a
    copy of any other integers."""

    _free = "tlm_dataset_free"

    def __init__(self, ids: Any) -> None:
        handle = c_void_p()
        if hasattr(ids, "__array_interface__"):
            if ids.ndim != 1:
                raise ValueError(f"ids of {ids.ndim} dimensions, not 1")
            if str(ids.dtype) not in ("uint16", "uint32") or not ids.flags.c_contiguous:
                given, ids = ids, ids.astype("uint32")
                if (ids != given).any():
                    raise ValueError("ids that are not whole numbers in 0..2**32-1")
            self._ids = ids  # which the library borrows
            _lib.tlm_dataset_wrap(byref(handle), ids.ctypes.data, len(ids), _token_type(str(ids.dtype)))
        else:
            array = _ids_array(ids)
            _lib.tlm_dataset_from_ids(byref(handle), array, len(array))
        self._handle = handle

    @classmethod
    def open(cls, path: Path | Sequence[Path], token_type: str | None = None, vocab_size: int = 0) -> Dataset:
        """Maps a token file, or a list of them as one. token_type ("uint16", "uint32", "int64") is for names
        that do not tell it; with vocab_size all ids are checked to be below it."""
        handle = c_void_p()
        if isinstance(path, (list, tuple)):
            paths = (c_char_p * len(path))(*map(os.fsencode, path))
            _lib.tlm_dataset_open_files(byref(handle), paths, len(path), _token_type(token_type),
                                        _unsigned("vocab_size", vocab_size, c_uint32))
            return cls._wrap(handle)
        _lib.tlm_dataset_open(byref(handle), os.fsencode(path), _token_type(token_type),
                              _unsigned("vocab_size", vocab_size, c_uint32))
        return cls._wrap(handle)

    @classmethod
    def open_text(cls, path: Path, tokenizer: Tokenizer) -> Dataset:
        """Encodes a text file into memory."""
        handle = c_void_p()
        _lib.tlm_dataset_open_text(byref(handle), os.fsencode(path), tokenizer._handle)
        return cls._wrap(handle)

    @classmethod
    def from_rows(cls, rows: Iterable[Ids], counted: Iterable[Iterable[int]] | None = None) -> Dataset:
        """Rows of equal length, the only windows that loaders take; `counted`, of 0 and 1 in the same
        shape, says which ids count as targets."""
        rows = [list(row) for row in rows]
        length = len(rows[0]) if rows else 0
        if any(len(row) != length for row in rows):
            raise ValueError("rows of different lengths")
        ids, mask = _ids_array([i for row in rows for i in row]), None
        if counted is not None:
            flat = [int(i) for row in counted for i in row]
            if len(flat) != len(ids):
                raise ValueError(f"{len(flat)} numbers in counted for {len(ids)} ids")
            mask = (c_uint8 * len(flat))(*flat)
        handle = c_void_p()
        _lib.tlm_dataset_from_rows(byref(handle), ids, mask, len(ids), length)
        return cls._wrap(handle)

    @classmethod
    def open_chat(cls, path: Path, tokenizer: Tokenizer, row_length: int,
                  chat_template: ChatTemplate | None = None, packed: bool = False, whole_texts: bool = False,
                  begin_token: int | None = None, end_token: int | None = None, pad_id: int = 0) -> Dataset:
        """Conversations, of JSON lines, in rows; answers and completions count as targets. The data set has
        the attribute `found`, a dict of what was read. docs/fine-tuning.md describes the file."""
        options = _ChatDataOptions(
            row_length=row_length, packed=packed, whole_texts=whole_texts, pad_id=pad_id,
            has_begin_token=begin_token is not None, begin_token=begin_token or 0,
            has_end_token=end_token is not None, end_token=end_token or 0)
        handle, found = c_void_p(), _ChatData()
        _lib.tlm_dataset_open_chat(byref(handle), byref(found), os.fsencode(path), tokenizer._handle,
                                   chat_template and chat_template._handle, byref(options))
        dataset = cls._wrap(handle)
        dataset.found = {name: getattr(found, name) for name, _ in found._fields_[1:]}
        return dataset

    def __len__(self) -> int:
        return _lib.tlm_dataset_length(self._handle)

    def read(self, offset: int, n: int) -> list[int]:
        """Ids offset .. offset + n - 1."""
        ids = (c_uint32 * n)()
        _lib.tlm_dataset_read(ids, n, self._handle, _unsigned("offset", offset))
        return list(ids)

    def sample(self, batch: int, context: int, seed: int, step: int = 0, as_numpy: bool = False) -> tuple:
        """Inputs and targets (batch, context) of a step of a seeded run, as lists of rows or numpy
        arrays: rows from places drawn uniformly, targets one id later."""
        size = max(batch, 0) * max(context, 0)
        inputs, targets = (c_uint32 * size)(), (c_uint32 * size)()
        _lib.tlm_dataset_sample(inputs, targets, self._handle, batch, context, _unsigned("seed", seed),
                                _unsigned("step", step))
        return tuple(_rows(ctypes.cast(array, _IDS), (batch, context), as_numpy)
                     for array in (inputs, targets))


class Loader(_Handle):
    """Makes the batches of a run, without end: an iterator over inputs and targets (batch_size,
    context_length), lists of rows or numpy arrays. order: "random", "shuffled" (all windows once per
    epoch) or "sequential"; document_end: windows begin where documents do, after that id; prefetch:
    batches made ahead on a thread."""

    _free = "tlm_loader_free"

    def __init__(self, dataset: Dataset, batch_size: int, context_length: int, seed: int = 0,
                 order: str = "random", document_end: int | None = None, prefetch: int = 0,
                 as_numpy: bool = False) -> None:
        options = _LoaderOptions(
            batch_size=batch_size, context_length=context_length, seed=seed, order=_number("order", order),
            document_end=document_end, has_document_end=document_end is not None, prefetch=prefetch)
        handle = c_void_p()
        _lib.tlm_loader_create(byref(handle), dataset._handle, byref(options))
        self._handle, self._dataset = handle, dataset  # which the library borrows
        self._shape, self._as_numpy = (batch_size, context_length), as_numpy

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> tuple:
        inputs, targets = _IDS(), _IDS()
        _lib.tlm_loader_next(byref(inputs), byref(targets), self._handle)
        return tuple(_rows(array, self._shape, self._as_numpy) for array in (inputs, targets))

    @property
    def position(self) -> int:
        """The number of the batch that comes next; may be set."""
        return _lib.tlm_loader_position(self._handle)

    @position.setter
    def position(self, batch: int) -> None:
        _lib.tlm_loader_seek(self._handle, _unsigned("batch", batch))

    @property
    def windows_per_epoch(self) -> int:
        """Windows in an epoch."""
        return _lib.tlm_loader_windows_per_epoch(self._handle)

    @property
    def batches_per_epoch(self) -> int:
        """Batches that hold them, rounded up."""
        return _lib.tlm_loader_batches_per_epoch(self._handle)


class TokenWriter(_Handle):
    """Writes a token file, .npy if it ends so: `with TokenWriter(path) as writer: writer.push(ids)`. The
    file appears at the end, and not after an exception."""

    _free = "tlm_token_writer_free"

    def __init__(self, path: Path, token_type: str | None = None) -> None:
        handle = c_void_p()
        _lib.tlm_token_writer_create(byref(handle), os.fsencode(path), _token_type(token_type))
        self._handle = handle

    def push(self, ids: Ids) -> None:
        """Appends ids."""
        array = _ids_array(ids)
        _lib.tlm_token_writer_push(self._handle, array, len(array))

    def finish(self) -> None:
        """Completes the file."""
        _lib.tlm_token_writer_finish(self._handle)

    def __enter__(self) -> TokenWriter:
        return self

    def __exit__(self, kind: Any, *_what: Any) -> None:
        if kind is None:
            self.finish()
        self.__del__()


def encode_file(tokenizer: Tokenizer, text_path: Path, tokens_path: Path, token_type: str | None = None,
                progress: Callable[[int, int], Any] | None = None, part: int = 0, num_parts: int = 1) -> int:
    """Encodes a text file of any size, or one of several parts of it, to a token file; returns the number of
    tokens. progress(done, total), in bytes of the text, ends the call if it returns something true. The files of
    all parts, one after another, have the ids of the whole text."""
    def report(_user, done, total):
        return progress is not None and progress(done, total)

    n = c_uint64()
    paths = os.fsencode(text_path), os.fsencode(tokens_path), _token_type(token_type)
    with _Callbacks() as callbacks:
        callback = callbacks.wrap(_Progress, report)
        if (part, num_parts) == (0, 1):
            _lib.tlm_tokenizer_encode_file(byref(n), tokenizer._handle, *paths, callback, None)
        else:
            _lib.tlm_tokenizer_encode_file_part(byref(n), tokenizer._handle, *paths, part, num_parts, callback, None)
    return n.value


# ---- Model ----------------------------------------------------------------------------------------


def _batch(rows: Any) -> tuple:
    """Ids as a flat C array with (batch, time), from ids or rows of ids: lists, or arrays that have
    tolist()."""
    rows = rows.tolist() if hasattr(rows, "tolist") else list(rows)
    if not rows or not isinstance(rows[0], (list, tuple)):
        rows = [rows]
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("rows of different lengths")
    return _ids_array(itertools.chain.from_iterable(rows)), len(rows), len(rows[0])


def _end_tokens(ids: int | Iterable[int] | None) -> dict[str, Any]:
    """The fields of end tokens: None, one id or several."""
    ids = [] if ids is None else [ids] if hasattr(ids, "__index__") else list(ids)
    if len(ids) > 8:
        raise ValueError("more than 8 end tokens")
    more = (c_uint32 * 7)(*[_unsigned("end_token", token) for token in ids[1:]])
    return {"has_end_token": bool(ids), "end_token": ids[0] if ids else None,
            "num_more_end_tokens": max(0, len(ids) - 1), "more_end_tokens": more}


def _model_options(**values: Any) -> _ModelOptions:
    return _ModelOptions(**{name: _number(name, value) if name in _WORDS else value
                            for name, value in values.items()})


def _take_text(text: c_void_p) -> bytes:
    """A string that the library handed out, which is then freed."""
    result = ctypes.string_at(text)
    _lib.tlm_free(text)
    return result


def checkpoint_metadata(path: Path) -> tuple[dict, int]:
    """The metadata of a checkpoint, and the number of iterations done."""
    text, iteration = c_void_p(), c_uint64()
    _lib.tlm_checkpoint_metadata(byref(text), byref(iteration), os.fsencode(path))
    return json.loads(_take_text(text)), iteration.value


def checkpoint_tokenizer(path: Path) -> Tokenizer | None:
    """The tokenizer that a checkpoint was saved with, or None."""
    handle = c_void_p()
    _lib.tlm_checkpoint_tokenizer(byref(handle), os.fsencode(path))
    return Tokenizer._wrap(handle) if handle else None


def latest_checkpoint(directory: Path) -> str:
    """The path of the latest undamaged checkpoint in a directory."""
    path = c_void_p()
    _lib.tlm_checkpoint_dir_latest(byref(path), None, os.fsencode(directory))
    return os.fsdecode(_take_text(path))


def best_checkpoint(directory: Path) -> str:
    """The path of the checkpoint with the lowest validation loss in a directory."""
    path = c_void_p()
    _lib.tlm_checkpoint_dir_best(byref(path), None, os.fsencode(directory))
    return os.fsdecode(_take_text(path))


class Model(_Handle):
    """A transformer language model."""

    _free = "tlm_model_free"

    @classmethod
    def create(cls, vocab_size: int, context_length: int, d_model: int, num_layers: int, num_heads: int,
               d_ff: int = 0, rope_theta: float = 0.0, seed: int = 0, num_kv_heads: int = 0,
               norm_eps: float = 0.0, norm: str = "pre", position: str = "rope", ffn: str = "swiglu",
               tied_embeddings: bool = False, head_dim: int = 0, qk_norm: str = "none",
               attention_bias: str = "none", ffn_bias: bool = False, sliding_window: int = 0,
               window_period: int = 0, window_rope_theta: float = 0.0, unrotated_period: int = 0,
               rope_scaling: str = "none", rope_factor: float = 0.0, rope_low_turns: float = 0.0,
               rope_high_turns: float = 0.0, rope_original_context: int = 0,
               rope_magnitude: float = 0.0, scaled_embeddings: bool = False, norm_kind: str = "rms",
               query_scalar: float = 0.0, attention_softcap: float = 0.0,
               logit_softcap: float = 0.0, embedding_norm: bool = False,
               output_init: str = "linear") -> Model:
        """With fresh parameters. norm: "pre", "post", "none", "after" or "both"; position: "rope",
        "none" or "learned"; ffn: "swiglu", "silu", "geglu", "gelu" or "relu2"; qk_norm: "none", "heads" or
        "width"; attention_bias: "none", "qkv" or "all"; rope_scaling: "none", "linear", "dynamic",
        "llama3" or "yarn"; norm_kind: "rms" or "layer"; output_init: "linear", "zero" or "depth"; for the rest 0 is the library's default."""
        options = _model_options(
            vocab_size=vocab_size, context_length=context_length, d_model=d_model, num_layers=num_layers,
            num_heads=num_heads, d_ff=d_ff, rope_theta=rope_theta, seed=seed, num_kv_heads=num_kv_heads,
            norm_eps=norm_eps, norm=norm, position=position, ffn=ffn, tied_embeddings=tied_embeddings,
            head_dim=head_dim, qk_norm=qk_norm, attention_bias=attention_bias, ffn_bias=ffn_bias,
            sliding_window=sliding_window, window_period=window_period,
            window_rope_theta=window_rope_theta, unrotated_period=unrotated_period,
            rope_scaling=rope_scaling, rope_factor=rope_factor, rope_low_turns=rope_low_turns,
            rope_high_turns=rope_high_turns, rope_original_context=rope_original_context,
            rope_magnitude=rope_magnitude, scaled_embeddings=scaled_embeddings, norm_kind=norm_kind,
            query_scalar=query_scalar, attention_softcap=attention_softcap,
            logit_softcap=logit_softcap, embedding_norm=embedding_norm, output_init=output_init)
        handle = c_void_p()
        _lib.tlm_model_create(byref(handle), byref(options))
        return cls._wrap(handle)

    @classmethod
    def load(cls, path: Path) -> Model:
        """The model of a checkpoint."""
        handle = c_void_p()
        _lib.tlm_model_load(byref(handle), os.fsencode(path))
        return cls._wrap(handle)

    @classmethod
    def open(cls, path: Path, for_inference: bool = False,
             tokenizer: bool = True) -> tuple[Model, Tokenizer | None]:
        """The model at a path, a checkpoint or a directory of them, a folder of transformers or a GGUF
        file, and the tokenizer that is with it, or None; tokenizer=False: it is not read. for_inference:
        weights stay as they are in the file, in few bytes, and the model can generate, score and train
        adapters. The model gets the attributes family, begin_token and
        end_tokens, which generate and save_... take."""
        handle, with_it = c_void_p(), c_void_p()
        file = _ModelFileOptions()
        function = _lib.tlm_model_open_for_inference if for_inference else _lib.tlm_model_open
        function(byref(handle), byref(with_it) if tokenizer else None, byref(file), os.fsencode(path))
        model = cls._wrap(handle)
        model.family = _WORDS["family"][file.family]
        model.begin_token = file.begin_token if file.has_begin_token else None
        model.end_tokens = ([file.end_token] if file.has_end_token else []) + \
            list(file.more_end_tokens[:file.num_more_end_tokens])
        return model, Tokenizer._wrap(with_it) if with_it else None

    def save(self, path: Path, optimizer: Optimizer | None = None, iteration: int = 0,
             tokenizer: Tokenizer | None = None) -> None:
        """Saves a checkpoint with the weights, the state of an optimizer, the number of iterations done
        and a tokenizer."""
        options = _CheckpointOptions(tokenizer=tokenizer and tokenizer._handle)
        _lib.tlm_checkpoint_save_with(self._handle, optimizer and optimizer._handle,
                                      _unsigned("iteration", iteration), os.fsencode(path), byref(options))

    def load_checkpoint(self, path: Path, optimizer: Optimizer | None = None) -> int:
        """Reads a checkpoint of this configuration, and into an optimizer of the same kind over the
        same parameters; returns the number of iterations."""
        iteration = c_uint64()
        _lib.tlm_checkpoint_load(byref(iteration), self._handle, optimizer and optimizer._handle,
                                 os.fsencode(path))
        return iteration.value

    @staticmethod
    def _file_options(weights, begin_token, end_token, family, chat_template):
        return _ModelFileOptions(
            weights=_number("weights", weights), has_begin_token=begin_token is not None,
            begin_token=begin_token, family=_number("family", family),
            chat_template=chat_template and chat_template._handle, **_end_tokens(end_token))

    def save_hf(self, directory: Path, tokenizer: Tokenizer | None = None, weights: str = "float32",
                begin_token: int | None = None, end_token: int | Iterable[int] | None = None,
                family: str = "auto", chat_template: ChatTemplate | None = None) -> None:
        """A folder that transformers loads as a LlamaForCausalLM, or the class of the family.
        weights: "float32", "float16" or "bfloat16"; begin_token: an id; end_token: one or several;
        family: "auto", or as Model.open says."""
        options = self._file_options(weights, begin_token, end_token, family, chat_template)
        _lib.tlm_model_save_hf(self._handle, tokenizer and tokenizer._handle, os.fsencode(directory),
                               byref(options))

    def save_gguf(self, path: Path, tokenizer: Tokenizer | None = None, weights: str = "float32",
                  begin_token: int | None = None, end_token: int | Iterable[int] | None = None,
                  family: str = "auto", keys_from: Path | None = None,
                  chat_template: ChatTemplate | None = None) -> None:
        """Saves a GGUF file for llama.cpp and programs based on it. weights: also "q8_0", "q4_0", "q4_1",
        "q5_0", "q5_1", "q4_k_m", "q5_k_m" or "q6_k"; keys_from: another GGUF file, whose tokenizer and
        description are taken instead of `tokenizer`. See save_hf for the other arguments."""
        options = self._file_options(weights, begin_token, end_token, family, chat_template)
        if keys_from is not None:
            options.keys_from = os.fsencode(keys_from)
        _lib.tlm_model_save_gguf(self._handle, tokenizer and tokenizer._handle, os.fsencode(path),
                                 byref(options))

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `create`, defaults resolved."""
        options = _ModelOptions()
        _lib.tlm_model_get_options(byref(options), self._handle)
        values = {name: getattr(options, name) for name, _ in options._fields_[1:]
                  if not name.startswith("reserved")}
        return {name: _WORDS[name][value] if name in _WORDS else value for name, value in values.items()}

    def parameters(self) -> dict[str, Tensor]:
        """The parameters by name. They are the model's own, not copies."""
        result, name, borrowed = {}, c_char_p(), c_void_p()
        for i in range(_lib.tlm_model_num_parameters(self._handle)):
            _lib.tlm_model_parameter_name(byref(name), self._handle, i)
            _lib.tlm_model_parameter(byref(borrowed), self._handle, name)
            handle = c_void_p(_lib.tlm_tensor_retain(borrowed))
            result[name.value.decode()] = Tensor._wrap(handle)
        return result

    def save_in(self, directory: Path, optimizer: Optimizer | None = None, iteration: int = 0,
                keep_last: int = 0, metadata: dict | None = None,
                validation_loss: float | None = None, tokenizer: Tokenizer | None = None) -> None:
        """A checkpoint in a file of its own in a directory, of which the keep_last latest (0: all) and
        the one of the lowest validation loss stay. metadata: what JSON can hold."""
        options = _CheckpointOptions(metadata=None if metadata is None else json.dumps(metadata).encode(),
                                     validation_loss=validation_loss,
                                     has_validation_loss=validation_loss is not None,
                                     tokenizer=tokenizer and tokenizer._handle)
        _lib.tlm_checkpoint_dir_save(self._handle, optimizer and optimizer._handle,
                                     _unsigned("iteration", iteration), os.fsencode(directory), keep_last,
                                     byref(options))

    @property
    def num_elements(self) -> int:
        """The elements of all parameters."""
        return _lib.tlm_model_num_elements(self._handle)

    def set_parameter(self, name: str, values: Any) -> None:
        """Copies values (a numpy array, a Tensor or nested lists) into a parameter."""
        tensor = values if isinstance(values, Tensor) else Tensor(values)
        if tensor.dtype != FLOAT32:
            raise TypeError(f"a parameter is float32, not {_NUMPY_NAMES[tensor.dtype]}")
        _lib.tlm_model_set_parameter(self._handle, _utf8(name), tensor._copy_out(), _dims(tensor.shape),
                                     len(tensor.shape))

    def set_checkpointing(self, enabled: bool) -> None:
        """Activation checkpointing: less memory, a third more time, the same bits."""
        _lib.tlm_model_set_checkpointing(self._handle, enabled)

    def freeze(self, patterns: str) -> None:
        """Parameters whose names fit one of the patterns ("layers.0.*", separated by commas) get no
        gradients, and optimizers leave them out. NotFoundError for a pattern that none fits."""
        _lib.tlm_model_set_frozen(self._handle, _utf8(patterns), True)

    def unfreeze(self, patterns: str) -> None:
        """Such parameters are trained again."""
        _lib.tlm_model_set_frozen(self._handle, _utf8(patterns), False)

    @property
    def num_trained(self) -> int:
        """Number of elements in the parameters that are not frozen."""
        return _lib.tlm_model_num_trained(self._handle)

    def add_lora(self, rank: int = 8, alpha: float = 8.0, dropout: float = 0.0,
                 targets: str | Iterable[str] = "all-linear", seed: int = 0,
                 rank_stabilized: bool = False, family: str = "auto") -> None:
        """Freezes the model and adds low-rank adapters to the layers that `targets` names: "q_proj",
        patterns, or "all-linear". docs/fine-tuning.md shows it in use."""
        options = _lora_options(rank=rank, alpha=alpha, dropout=dropout, targets=targets, seed=seed,
                                rank_stabilized=rank_stabilized, family=family)
        _lib.tlm_model_add_lora(self._handle, byref(options))

    @property
    def lora(self) -> dict[str, Any] | None:
        """The arguments of add_lora that the model's adapters have, or None."""
        options = _LoraOptions()
        try:
            _lib.tlm_model_lora(byref(options), self._handle)
        except NotFoundError:
            return None
        found = {name: getattr(options, name) for name, _ in options._fields_
                 if name not in ("size", "reserved")}
        found["targets"] = options.targets.decode()
        found["family"] = _WORDS["family"][options.family]
        return found

    def merge_lora(self) -> None:
        """Adds the adapters to the weights, which become float32, and removes them."""
        _lib.tlm_model_merge_lora(self._handle)

    def remove_lora(self) -> None:
        """Removes the adapters without their changes."""
        _lib.tlm_model_remove_lora(self._handle)

    def save_adapter(self, directory: Path) -> None:
        """Saves the adapters as a folder that PEFT loads."""
        _lib.tlm_model_save_adapter(self._handle, os.fsencode(directory))

    def load_adapter(self, directory: Path) -> None:
        """Freezes the model and adds the adapters in a folder of PEFT."""
        _lib.tlm_model_load_adapter(self._handle, os.fsencode(directory))

    def set_dropout_row(self, row: int | None) -> None:
        """Turns dropout on for batches that begin with this row of the data, or off with None, as it is
        at first. Trainers call this."""
        _lib.tlm_model_set_dropout_row(self._handle, (1 << 64) - 1 if row is None else _unsigned("row", row))

    def check_finite(self) -> None:
        """NonFiniteError, naming the place, if a parameter or a gradient holds NaN or infinity."""
        _lib.tlm_model_check_finite(self._handle)

    def forward(self, ids: Any) -> Tensor:
        """Logits (batch, time, vocab_size) of ids, (time) or (batch, time)."""
        array, batch, time = _batch(ids)
        return _call("tlm_model_forward", self, array, batch, time)

    def loss(self, inputs: Any, targets: Any) -> Tensor:
        """Mean cross-entropy in nats per token; its backward() fills the parameters' gradients."""
        inputs, batch, time = _batch(inputs)
        targets, target_batch, target_time = _batch(targets)
        if (batch, time) != (target_batch, target_time):
            raise ValueError(f"inputs are {(batch, time)}, targets {(target_batch, target_time)}")
        return _call("tlm_model_loss", self, inputs, targets, batch, time)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        _lib.tlm_model_zero_grad(self._handle)

    def evaluate(self, dataset: Dataset, batch: int, context: int = 0, max_tokens: int = 0) -> Evaluation:
        """The mean loss over windows of `context` ids (0: the model's) spread evenly over a data set, of
        about max_tokens in all (0: all of it), `batch` windows at a time."""
        result = _Evaluation(size=ctypes.sizeof(_Evaluation))
        _lib.tlm_model_evaluate(byref(result), self._handle, dataset._handle, batch, context,
                                _unsigned("max_tokens", max_tokens))
        return _record(Evaluation, result)

    def score(self, ids: Ids, stride: int = 0) -> list[float]:
        """The log-probability of each id except the first, given the ids before it."""
        array = _ids_array(ids)
        log_probs = (c_float * max(len(array) - 1, 1))()
        _lib.tlm_model_score(None, log_probs, self._handle, array, len(array), stride)
        return list(log_probs)

    def perplexity(self, ids: Ids, stride: int = 0) -> float:
        """How many tokens the model hesitates between, on average: exp of the mean loss. See score."""
        array, total = _ids_array(ids), c_double()
        _lib.tlm_model_score(byref(total), None, self._handle, array, len(array), stride)
        return math.exp(-total.value / (len(array) - 1))

    def generate(self, prompt: Ids, on_token: Callable[[int], Any] | None = None, **how: Any) -> list[int]:
        """New ids after those of the prompt; Generator.add says what `how` may hold. on_token(id) is
        called with each; True stops."""
        def call(_user, token_id):
            return on_token is not None and on_token(token_id) is True

        array, ids, n = _ids_array(prompt), _IDS(), c_size_t()
        with _Callbacks() as callbacks:
            options = _generate_options(lambda: callbacks, **how)
            _lib.tlm_model_generate(byref(ids), byref(n), self._handle, array, len(array), byref(options),
                                    callbacks.wrap(_TokenCallback, call), None)
            result = _take_ids(ids, n)
        return result

    def generate_text(self, prompt: Text | Ids, tokenizer: Tokenizer,
                      on_text: Callable[[str], Any] | None = None, **how: Any) -> GeneratedText:
        """The text after a prompt, a text or ids, and the state that says why it ended (Generator.STATES).
        Generator.add says what `how` may hold; stop_strings are cut exactly. on_text(piece) is called with
        each piece of text, which is never a part of a stop string; True stops."""
        def call(_user, data, size):
            return on_text is not None and on_text(ctypes.string_at(data, size).decode()) is True

        ids = tokenizer.encode(prompt) if isinstance(prompt, (str, bytes)) else prompt
        array, text, size, state = _ids_array(ids), c_void_p(), c_size_t(), c_int32()
        with _Callbacks() as callbacks:
            options = _generate_options(lambda: callbacks, tokenizer=tokenizer, **how)
            _lib.tlm_model_generate_text(byref(text), byref(size), byref(state), self._handle, array, len(array),
                                         byref(options), callbacks.wrap(_TextCallback, call), None)
            result = _take_bytes(text, size.value).decode()
        return GeneratedText(result, Generator.STATES[state.value])

    def generate_many(self, prompts: Iterable[Ids], seed: int | Iterable[int] = 0, **how: Any) -> list[list[int]]:
        """New ids for each of many prompts, generated together; prompt i has the seed `seed` + i, or the
        i-th of several seeds."""
        generator, prompts = Generator(self), list(prompts)
        seeds = [seed + i for i in range(len(prompts))] if hasattr(seed, "__index__") else list(seed)
        if len(seeds) != len(prompts):
            raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts")
        for prompt, own in zip(prompts, seeds):
            generator.add(prompt, seed=own, **how)
        while generator.step() > 0:
            pass
        return [generator.tokens(i) for i in range(generator.size)]


def _lora_options(targets: str | Iterable[str] = "all-linear", family: str = "auto",
                  **values: Any) -> _LoraOptions:
    text = targets if isinstance(targets, str) else ",".join(targets)
    return _LoraOptions(targets=_utf8(text), family=_number("family", family), **values)


def model_cost(model: dict[str, Any], batch: int = 1, time: int = 0, optimizer: str = "adamw",
               counting: str = "executed", checkpointing: bool = False, weights: int = FLOAT32,
               frozen: str | None = None, lora: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a model of these options (arguments of Model.create, or Model.options) costs: parameters,
    bytes, and operations of a train step of `batch` sequences of `time` tokens (0: its context) and of
    one generated token. weights: the type of a model that is opened for inference; frozen: patterns of
    parameters; lora: arguments of Model.add_lora. No model is created. docs/resources.md explains each
    number."""
    options = _CostOptions(batch=batch, time=time, optimizer=_number("cost_optimizer", optimizer),
                           counting=_number("counting", counting), checkpointing=checkpointing,
                           weights=weights, frozen=None if frozen is None else _utf8(frozen))
    if lora is not None:
        options.lora = ctypes.pointer(_lora_options(**lora))
    cost = _Cost(size=ctypes.sizeof(_Cost))
    _lib.tlm_model_cost(byref(cost), byref(_model_options(**model)), byref(options))
    values = {name: getattr(cost, name) for name, _ in cost._fields_[1:]}
    return {name: dict(zip(_WORDS["part"], value)) if isinstance(value, ctypes.Array) else value
            for name, value in values.items()}


class GeneratedText(NamedTuple):
    """What Model.generate_text gives: the text and one of Generator.STATES."""

    text: str
    state: str


def _on_logits(callbacks: Callable[[], _Callbacks], function: Callable[[int, list[int], Any], Any] | None) -> Any:
    """The callback for the library; `callbacks` gives those that are in use when it is called."""
    if function is None:
        return _LogitsCallback()

    def ask(sequence, ids, logits):
        result = function(sequence, ids, logits)
        return result if result is None or result is True else _unsigned("token", result)

    def call(_user, sequence, ids, n, logits, vocab_size, token):
        values = memoryview((c_float * vocab_size).from_address(ctypes.addressof(logits.contents)))
        result = callbacks().guard(ask, sequence, ids[:n] if n else [], values.cast("B").cast("f"))
        if result is True or callbacks().raised:
            return 1
        if result is not None:
            token[0] = result
        return 0

    return _LogitsCallback(call)


def _generate_options(callbacks: Callable[[], _Callbacks], max_tokens: int = 256, temperature: float = 0.0,
                      top_k: int = 0, top_p: float = 0.0, min_p: float = 0.0, repetition_penalty: float = 0.0,
                      end_token: int | Iterable[int] | None = None, stop_sequences: Iterable[Ids] = (),
                      seed: int = 0, num_top_log_probs: int = 0, tokenizer: Tokenizer | None = None,
                      stop_strings: Text | Iterable[Text] = (), skip_special_tokens: bool = False,
                      logit_bias: Mapping[int, float] | None = None,
                      on_logits: Callable[[int, list[int], Any], Any] | None = None,
                      past_context: str = "default", kept_tokens: int | None = None,
                      cache_type: int = FLOAT32, keeps_cache: bool = False) -> _GenerateOptions:
    arrays = [_ids_array(stop) for stop in stop_sequences]
    stops = _bytes_array([stop_strings] if isinstance(stop_strings, (str, bytes)) else stop_strings)
    biases = [_LogitBias(_unsigned("token id", token), bias) for token, bias in (logit_bias or {}).items()]
    options = _GenerateOptions(
        max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
        repetition_penalty=repetition_penalty, seed=seed, num_stop_sequences=len(arrays),
        num_top_log_probs=num_top_log_probs, num_stop_strings=len(stops), num_logit_biases=len(biases),
        past_context=_number("past_context", past_context), cache_type=cache_type,
        kept_tokens=0 if kept_tokens is None else kept_tokens or -1, keeps_cache=keeps_cache,
        skip_special_tokens=skip_special_tokens, **_end_tokens(end_token))
    options.stop_sequences = (_Ids * len(arrays))(*[_Ids(array, len(array)) for array in arrays])
    options.stop_strings = stops
    options.logit_bias = (_LogitBias * len(biases))(*biases)
    options.tokenizer = None if tokenizer is None else tokenizer._handle
    options.on_logits = _on_logits(callbacks, on_logits)
    options.kept = tokenizer, options.on_logits  # not to be collected while the options are in use
    return options


class Generator(_Handle):
    """Sequences that a model continues at the same time, one token per step."""

    _free = "tlm_generator_free"
    STATES = _WORDS["state"]

    def __init__(self, model: Model) -> None:
        handle = c_void_p()
        _lib.tlm_generator_create(byref(handle), model._handle)
        self._handle, self._model = handle, model  # which the library borrows
        self._kept: dict[int, Any] = {}  # of each sequence: tokenizer and callback, which it borrows too
        self._callbacks = _Callbacks()
        self.size = 0

    def _options(self, how: Mapping[str, Any]) -> _GenerateOptions:
        callbacks = self._callbacks  # not self: a cycle might be taken apart with the model first
        return _generate_options(lambda: callbacks, **how)

    def add(self, prompt: Ids, **how: Any) -> int:
        """Adds a prompt and returns its number. Arguments: max_tokens, temperature, top_k, top_p,
        min_p, repetition_penalty, end_token, stop_sequences (of ids), seed, num_top_log_probs;
        tokenizer, which makes text, stop_strings in it, skip_special_tokens; logit_bias, a mapping of ids;
        on_logits(sequence, ids, logits), which sees the new ids and may change the logits, a writable
        memoryview of floats, and returns None, an id that it chooses, or True to end; past_context
        ("default", "slide", "stop", "recompute") and kept_tokens; cache_type (FLOAT32 or FLOAT16);
        keeps_cache, for extend and save."""
        array, sequence, options = _ids_array(prompt), c_size_t(), self._options(how)
        _lib.tlm_generator_add(byref(sequence), self._handle, array, len(array), byref(options))
        self._kept[sequence.value] = options.kept
        self.size = sequence.value + 1
        return sequence.value

    def extend(self, sequence: int, ids: Ids = (), keep: int | None = None, **how: Any) -> None:
        """Continues a sequence that has ended: its first `keep` tokens (None: all) and then the ids are
        its prompt from now on. Arguments are those of add."""
        array, options = _ids_array(ids), self._options(how)
        _lib.tlm_generator_extend(self._handle, sequence, c_size_t(-1).value if keep is None else keep, array,
                                  len(array), byref(options))
        self._kept[sequence] = options.kept

    def save(self, sequence: int, path: Path) -> None:
        """Saves the tokens, the state and the key-value cache of a sequence, for load."""
        _lib.tlm_generator_save(self._handle, sequence, os.fsencode(path))

    def load(self, path: Path, **how: Any) -> int:
        """Adds the sequence of a file and returns its number. One that was running goes on; one that had
        ended waits for extend. Arguments are those of add."""
        sequence, options = c_size_t(), self._options(how)
        _lib.tlm_generator_load(byref(sequence), self._handle, os.fsencode(path), byref(options))
        self._kept[sequence.value] = options.kept
        self.size = sequence.value + 1
        return sequence.value

    def step(self) -> int:
        """One more token for each sequence that runs; returns how many still do."""
        running = c_size_t()
        with self._callbacks:
            _lib.tlm_generator_step(byref(running), self._handle)
        return running.value

    def tokens(self, sequence: int) -> list[int]:
        """The new ids so far."""
        ids, n = _IDS(), c_size_t()
        _lib.tlm_generator_tokens(byref(ids), None, byref(n), self._handle, sequence)
        return ids[:n.value] if n.value else []

    def log_probs(self, sequence: int) -> list[float]:
        """The log-probability that the model gave each of these ids."""
        values, n = _FLOATS(), c_size_t()
        _lib.tlm_generator_tokens(None, byref(values), byref(n), self._handle, sequence)
        return values[:n.value] if n.value else []

    def top_log_probs(self, sequence: int, position: int) -> list[tuple[int, float]]:
        """Pairs (id, log-probability), the likeliest first, in the place of new id `position`."""
        ids, values, n = _IDS(), _FLOATS(), c_size_t()
        _lib.tlm_generator_top_log_probs(byref(ids), byref(values), byref(n), self._handle,
                                         sequence, position)
        return list(zip(ids[:n.value], values[:n.value])) if n.value else []

    def text(self, sequence: int) -> str:
        """The text of the new ids, as far as it is certain: without what may be a stop string."""
        text, size = c_void_p(), c_size_t()
        _lib.tlm_generator_text(byref(text), byref(size), self._handle, sequence)
        return ctypes.string_at(text, size.value).decode()

    def context(self, sequence: int) -> list[int]:
        """The ids of the prompt and the new ones."""
        ids, n = _IDS(), c_size_t()
        _lib.tlm_generator_context(byref(ids), byref(n), self._handle, sequence)
        return ids[:n.value] if n.value else []

    def state(self, sequence: int) -> str:
        """One of STATES: "running", or how the sequence ended."""
        state = c_int32()
        _lib.tlm_generator_state(byref(state), self._handle, sequence)
        return self.STATES[state.value]

    def stop(self, sequence: int) -> None:
        """Ends a sequence; its tokens stay."""
        _lib.tlm_generator_stop(self._handle, sequence)


# ---- Trainer --------------------------------------------------------------------------------------


class TrainStep(NamedTuple):
    """What a step of training did."""

    step: int  # steps done, this one among them
    tokens: int  # of all these steps
    loss: float  # before the update, in nats per token
    learning_rate: float
    gradient_norm: float  # before clipping
    seconds: float
    tokens_per_second: float
    utilization: float  # share of peak_flops in use; 0: not known


class Evaluation(NamedTuple):
    """How good a model is."""

    step: int  # of a trainer
    tokens: int  # that were predicted
    loss: float  # in nats per token
    perplexity: float
    seconds: float
    is_best: bool  # of a trainer: the lowest loss so far


def _record(kind: Any, struct: ctypes.Structure) -> Any:
    return kind(*[getattr(struct, name) for name in kind._fields])


class Trainer(_Handle):
    """A run of `steps` training steps over a model, an optimizer that has its parameters, and a loader.
    schedule: arguments of schedule_learning_rate except the step, as a dict; clip_norm: of the gradient, 0:
    none; accumulation: batches per step; valid: data to evaluate on, every eval_every steps, on about
    eval_tokens tokens; checkpoint_path: a file that each save replaces, every save_every steps and at
    the end, or checkpoint_dir: a directory of checkpoints, of which keep_last and the best are kept, 0:
    all; tokenizer: stored in the checkpoints. on_step(TrainStep), on_evaluation(Evaluation) and on_save(path, step) end the run by a true
result; with save_on_cancel a checkpoint is saved then."""

    _free = "tlm_trainer_free"

    def __init__(self, model: Model, optimizer: Optimizer, loader: Loader, steps: int,
                 schedule: dict[str, Any] | None = None, clip_norm: float = 0.0, accumulation: int = 1,
                 valid: Dataset | None = None, eval_every: int = 0, eval_tokens: int = 0,
                 checkpoint_path: Path | None = None, save_every: int = 0, peak_flops: float = 0.0,
                 activation_checkpointing: bool = False, save_on_cancel: bool = False,
                 checkpoint_dir: Path | None = None, keep_last: int = 0,
                 on_step: Callable[[TrainStep], Any] | None = None,
                 on_evaluation: Callable[[Evaluation], Any] | None = None,
                 on_save: Callable[[str, int], Any] | None = None,
                 tokenizer: Tokenizer | None = None) -> None:
        def step(_user, struct):
            return on_step is not None and on_step(_record(TrainStep, struct.contents))

        def evaluation(_user, struct):
            return on_evaluation is not None and on_evaluation(_record(Evaluation, struct.contents))

        def save(_user, path, number):
            return on_save is not None and on_save(os.fsdecode(path), number)

        self._callbacks, handle = _Callbacks(), c_void_p()
        options = _TrainerOptions(
            steps=steps, clip_norm=clip_norm, accumulation=accumulation, valid=valid and valid._handle,
            eval_every=eval_every, eval_tokens=eval_tokens, save_every=save_every, peak_flops=peak_flops,
            checkpoint_path=None if checkpoint_path is None else os.fsencode(checkpoint_path),
            checkpoint_dir=None if checkpoint_dir is None else os.fsencode(checkpoint_dir),
            keep_last=keep_last, activation_checkpointing=activation_checkpointing,
            save_on_cancel=save_on_cancel, tokenizer=tokenizer and tokenizer._handle,
            on_step=self._callbacks.wrap(_StepCallback, step),
            on_evaluation=self._callbacks.wrap(_EvaluationCallback, evaluation),
            on_save=self._callbacks.wrap(_SaveCallback, save))
        if schedule is not None:
            options.schedule = ctypes.pointer(_schedule_options(**schedule))
        # What the library borrows; callbacks are in the options.
        self._borrowed = model, optimizer, loader, valid, tokenizer, options
        _lib.tlm_trainer_create(byref(handle), model._handle, optimizer._handle, loader._handle,
                                byref(options))
        self._handle = handle

    @property
    def steps(self) -> int:
        """The number of steps done, including those before a resumed checkpoint."""
        return _lib.tlm_trainer_steps(self._handle)

    def step(self) -> TrainStep:
        """Takes one step without calling any callback."""
        result = _TrainStep(size=ctypes.sizeof(_TrainStep))
        _lib.tlm_trainer_step(byref(result), self._handle)
        return _record(TrainStep, result)

    def run(self, until: int = 0) -> bool:
        """Steps until `until` of them (0: all) are done, with evaluations and saves. False if a function
        ended the run, which may be continued later. Ctrl-C ends it after a step."""
        with self._callbacks:
            try:
                _lib.tlm_trainer_run(self._handle, _unsigned("until", until))
            except CancelledError:
                return False
        return True

    def evaluate(self) -> Evaluation:
        """Evaluates the model on `valid`."""
        result = _Evaluation(size=ctypes.sizeof(_Evaluation))
        _lib.tlm_trainer_evaluate(byref(result), self._handle)
        return _record(Evaluation, result)

    def save(self, path: Path | None = None) -> None:
        """Saves a checkpoint of the steps done; None: to checkpoint_path or checkpoint_dir."""
        _lib.tlm_trainer_save(self._handle, None if path is None else os.fsencode(path))

    def resume(self, path: Path | None = None) -> None:
        """Loads a checkpoint into model and optimizer and continues after its steps, with the same bits as
        a run that was never interrupted."""
        _lib.tlm_trainer_resume(self._handle, None if path is None else os.fsencode(path))
