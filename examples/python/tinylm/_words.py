"""Constants of the headers, and the words that stand for numbers in arguments and results."""

from __future__ import annotations

from ctypes import c_bool, c_float, c_int32, c_int64, c_size_t, c_uint16, c_uint32
from typing import Any

FLOAT32, INT32, INT64, UINT32, BOOL, BFLOAT16, FLOAT16 = range(7)
_ELEMENTS: dict[int, Any] = {FLOAT32: c_float, INT32: c_int32, INT64: c_int64, UINT32: c_uint32, BOOL: c_bool,
             BFLOAT16: c_uint16, FLOAT16: c_uint16}  # the last two as bits
_NUMPY_NAMES = {FLOAT32: "float32", INT32: "int32", INT64: "int64", UINT32: "uint32", BOOL: "bool",
                FLOAT16: "float16"}
_FORMATS: dict[int, Any] = {FLOAT32: "f", INT32: "i", INT64: "q", UINT32: "I", BOOL: "?", FLOAT16: "e"}  # of memoryview
# Words for the library's numbers, each the index of its word: TLM_NORM_... and so on.
_WORDS: dict[str, list[str]] = {
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
    "products": ["float32", "bfloat16", "bfloat16_emulated"],
    "schedule": ["constant", "cosine", "linear", "wsd"], "cpu_level": ["scalar", "avx2", "avx512", "neon"],
    "state": ["running", "length", "end", "stop", "stopped", "failed", "context", "callback"],
    "past_context": ["default", "slide", "stop", "recompute"],
    "phase": ["counting", "learning"], "cost_optimizer": ["adamw", "sgd", "muon", "lion", "adafactor"],
    "muon_scale": ["moonlight", "jordan"],
    "comparison": ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"],
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
