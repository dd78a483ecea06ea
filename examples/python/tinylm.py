"""libtinylm from Python, through ctypes and nothing else: one file to copy beside a program.

    import tinylm
    tokenizer = tinylm.Tokenizer.train("some text", vocab_size=300)
    ids = tokenizer.encode("text")
    assert tokenizer.decode(ids) == "text"

The library is $TINYLM_LIBRARY, or else libtinylm.so beside this file, or else what the system's loader knows
as "tinylm". A call that fails
raises tinylm.Error with the library's message. numpy is used where it is installed and asked for.
"""

import ctypes
import ctypes.util
import os
from array import array as _array
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_float, c_int32, c_int64
from ctypes import c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

FLOAT32, INT32, INT64, UINT32, BOOL = range(5)
_ELEMENTS = {FLOAT32: c_float, INT32: c_int32, INT64: c_int64, UINT32: c_uint32, BOOL: c_bool}
# Words for the library's numbers: of TLM_NORM_..., TLM_POSITION_... and TLM_FFN_...
_SWITCHES = {"norm": ["pre", "post", "none"], "position": ["rope", "none"],
             "ffn": ["swiglu", "silu"]}
_NUMPY_NAMES = {FLOAT32: "float32", INT32: "int32", INT64: "int64", UINT32: "uint32", BOOL: "bool"}


class Error(Exception):
    """A call of the library failed. `status` is its code, such as "TLM_ERR_SHAPE"."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class _Options(ctypes.Structure):
    """An options struct of the library: its own size comes first, the rest is the library's default
    until it is set."""

    def __init__(self, init, **values):
        super().__init__()
        init(byref(self), ctypes.sizeof(self))
        for name, value in values.items():
            if value is not None:
                setattr(self, name, value)


class _Bytes(ctypes.Structure):
    _fields_ = [("data", c_char_p), ("size", c_size_t)]


_Progress = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int32, c_uint64, c_uint64)


class _TrainerOptions(_Options):
    _fields_ = [("size", c_size_t), ("vocab_size", c_uint32), ("reserved", c_uint32),
                ("special_tokens", POINTER(_Bytes)), ("num_special_tokens", c_size_t),
                ("pattern", c_char_p), ("min_frequency", c_uint64), ("max_token_length", c_uint32),
                ("byte_order", c_int32), ("max_distinct_pretokens", c_uint64), ("base", c_void_p),
                ("progress", _Progress), ("progress_user", c_void_p)]


class _TokenizerOptions(_Options):
    _fields_ = [("size", c_size_t), ("special_tokens", POINTER(_Bytes)),
                ("num_special_tokens", c_size_t), ("pattern", c_char_p),
                ("ignore_merges", c_uint32), ("nfc", c_uint32),
                ("special_token_ids", POINTER(c_uint32))]


class _EncodeOptions(_Options):
    _fields_ = [("size", c_size_t), ("allowed_special", c_uint32), ("disallowed_special", c_uint32),
                ("allowed", POINTER(_Bytes)), ("num_allowed", c_size_t),
                ("disallowed", POINTER(_Bytes)), ("num_disallowed", c_size_t),
                ("dropout", c_double), ("seed", c_uint64)]


class _PadOptions(_Options):
    _fields_ = [("size", c_size_t), ("max_length", c_size_t), ("pad_length", c_size_t),
                ("pad_id", c_uint32), ("pad_side", c_uint32), ("cut_side", c_uint32),
                ("reserved", c_uint32)]


class _ModelOptions(_Options):
    _fields_ = [("size", c_size_t), ("vocab_size", c_int64), ("context_length", c_int64),
                ("d_model", c_int64), ("num_layers", c_int64), ("num_heads", c_int64),
                ("d_ff", c_int64), ("rope_theta", c_double), ("seed", c_uint64),
                ("num_kv_heads", c_int64), ("norm_eps", c_double), ("norm", c_int32),
                ("position", c_int32), ("ffn", c_int32), ("tied_embeddings", c_bool),
                ("reserved", c_uint8 * 3)]


class _ModelFileOptions(_Options):
    _fields_ = [("size", c_size_t), ("weights", c_int32), ("has_begin_token", c_bool),
                ("has_end_token", c_bool), ("reserved", c_uint8 * 2), ("begin_token", c_uint32),
                ("end_token", c_uint32)]


class _AdamWOptions(_Options):
    _fields_ = [("size", c_size_t), ("learning_rate", c_double), ("beta1", c_double),
                ("beta2", c_double), ("eps", c_double), ("weight_decay", c_double)]


class _Ids(ctypes.Structure):
    _fields_ = [("ids", POINTER(c_uint32)), ("n", c_size_t)]


class _GenerateOptions(_Options):
    _fields_ = [("size", c_size_t), ("max_tokens", c_int64), ("temperature", c_double),
                ("top_p", c_double), ("top_k", c_uint32), ("has_end_token", c_bool),
                ("reserved", c_uint8 * 3), ("end_token", c_uint32), ("reserved2", c_uint32),
                ("seed", c_uint64), ("min_p", c_double), ("repetition_penalty", c_double),
                ("stop_sequences", POINTER(_Ids)), ("num_stop_sequences", c_size_t),
                ("num_top_log_probs", c_uint32), ("reserved3", c_uint32)]


class _DLManagedTensor(ctypes.Structure):
    """What is behind a DLPack capsule; Python only ever calls the deleter."""


_Deleter = ctypes.CFUNCTYPE(None, POINTER(_DLManagedTensor))
_DLManagedTensor._fields_ = [("dl_tensor", c_uint8 * 48), ("manager_ctx", c_void_p),
                             ("deleter", _Deleter)]

_Release = ctypes.CFUNCTYPE(None, c_void_p)
_Backward = ctypes.CFUNCTYPE(c_int32, POINTER(c_void_p), c_void_p, POINTER(c_void_p), c_size_t,
                             POINTER(c_void_p), c_size_t, c_void_p)


class _CustomOpOptions(_Options):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("backward", _Backward),
                ("release", _Release), ("user", c_void_p)]


_TokenCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, c_uint32)
_IDS = POINTER(c_uint32)
_FLOATS = POINTER(c_float)
_SIZES = POINTER(c_size_t)
_IdsCallback = ctypes.CFUNCTYPE(c_int32, c_void_p, _IDS, c_size_t)
_SHAPE = POINTER(c_int64)

# Argument types of the functions used here: those that return a status, then the others.
_STATUS_FUNCTIONS = {
    "tlm_set_num_threads": [c_int32],
    "tlm_bpe_trainer_create": [POINTER(c_void_p), POINTER(_TrainerOptions)],
    "tlm_bpe_trainer_add_text": [c_void_p, c_char_p, c_size_t],
    "tlm_bpe_trainer_add_file": [c_void_p, c_char_p],
    "tlm_bpe_trainer_train": [POINTER(c_void_p), c_void_p],
    "tlm_tokenizer_create": [POINTER(c_void_p), POINTER(_Bytes), c_size_t, POINTER(_Bytes), c_size_t,
                             POINTER(_TokenizerOptions)],
    "tlm_tokenizer_merge": [_IDS, _IDS, c_void_p, c_uint32],
    "tlm_tokenizer_load": [POINTER(c_void_p), c_char_p, c_char_p, POINTER(_TokenizerOptions)],
    "tlm_tokenizer_save": [c_void_p, c_char_p, c_char_p],
    "tlm_tokenizer_open": [POINTER(c_void_p), c_char_p, POINTER(_TokenizerOptions)],
    "tlm_tokenizer_save_json": [c_void_p, c_char_p],
    "tlm_tokenizer_save_tiktoken": [c_void_p, c_char_p],
    "tlm_utf8_nfc": [POINTER(c_void_p), POINTER(c_size_t), c_char_p, c_size_t],
    "tlm_tokenizer_token": [POINTER(_Bytes), c_void_p, c_uint32],
    "tlm_tokenizer_token_id": [_IDS, c_void_p, c_char_p, c_size_t],
    "tlm_tokenizer_decode": [POINTER(c_void_p), POINTER(c_size_t), c_void_p, _IDS, c_size_t],
    "tlm_tokenizer_encode_with": [POINTER(_IDS), _SIZES, c_void_p, c_char_p, c_size_t,
                                  POINTER(_EncodeOptions)],
    "tlm_tokenizer_encode_batch": [POINTER(_IDS), POINTER(_SIZES), c_void_p, POINTER(_Bytes),
                                   c_size_t, POINTER(_EncodeOptions)],
    "tlm_tokenizer_encode_padded": [POINTER(_IDS), POINTER(POINTER(c_uint8)), POINTER(_SIZES),
                                    _SIZES, c_void_p, POINTER(_Bytes), c_size_t,
                                    POINTER(_EncodeOptions), POINTER(_PadOptions)],
    "tlm_tokenizer_decode_batch": [POINTER(c_void_p), POINTER(_SIZES), c_void_p, POINTER(_Ids),
                                   c_size_t],
    "tlm_tokenizer_offsets": [_SIZES, c_void_p, _IDS, c_size_t],
    "tlm_tokenizer_character_spans": [_SIZES, c_void_p, _IDS, c_size_t],
    "tlm_tokenizer_longest_tokens": [_IDS, _SIZES, c_void_p, c_size_t],
    "tlm_encoder_create": [POINTER(c_void_p), c_void_p, _IdsCallback, c_void_p],
    "tlm_encoder_push": [c_void_p, c_char_p, c_size_t],
    "tlm_encoder_finish": [c_void_p],
    "tlm_tensor_from_data": [POINTER(c_void_p), c_int32, c_void_p, _SHAPE, c_int32],
    "tlm_tensor_copy_out": [c_void_p, c_void_p, c_size_t],
    "tlm_tensor_set_requires_grad": [c_void_p, c_bool],
    "tlm_tensor_backward": [c_void_p, c_void_p],
    "tlm_tensor_to_dlpack": [POINTER(POINTER(_DLManagedTensor)), c_void_p],
    "tlm_tensor_from_dlpack": [POINTER(c_void_p), POINTER(_DLManagedTensor)],
    "tlm_custom_op_record": [POINTER(c_void_p), c_void_p, POINTER(c_void_p), c_size_t,
                             POINTER(c_void_p), c_size_t, POINTER(_CustomOpOptions)],
    **{"tlm_" + name: [POINTER(c_void_p), c_void_p, c_void_p]
       for name in ("add", "sub", "mul", "div", "matmul")},
    **{"tlm_" + name: [POINTER(c_void_p), c_void_p]
       for name in ("mean", "sum", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "silu")},
    "tlm_scale": [POINTER(c_void_p), c_void_p, c_float],
    "tlm_reshape": [POINTER(c_void_p), c_void_p, _SHAPE, c_int32],
    "tlm_transpose": [POINTER(c_void_p), c_void_p, c_int32, c_int32],
    "tlm_optimizer_create_adamw": [POINTER(c_void_p), POINTER(_AdamWOptions)],
    "tlm_optimizer_add_group": [c_void_p, POINTER(c_void_p), c_size_t, POINTER(_AdamWOptions)],
    "tlm_optimizer_set_learning_rate": [c_void_p, c_size_t, c_double],
    "tlm_optimizer_step": [c_void_p],
    "tlm_adamw_update": [POINTER(c_void_p), POINTER(c_void_p), POINTER(c_void_p), POINTER(c_void_p),
                         c_size_t, c_uint64, POINTER(_AdamWOptions)],
    "tlm_clip_norm": [POINTER(c_double), POINTER(c_void_p), c_size_t, c_double],
    "tlm_cosine_schedule": [POINTER(c_double), c_uint64, c_double, c_double, c_uint64, c_uint64],
    "tlm_linear": [POINTER(c_void_p), c_void_p, c_void_p],
    "tlm_embedding": [POINTER(c_void_p), c_void_p, c_void_p],
    "tlm_rms_norm": [POINTER(c_void_p), c_void_p, c_void_p, c_float],
    "tlm_silu_mul": [POINTER(c_void_p), c_void_p, c_void_p],
    "tlm_swiglu": [POINTER(c_void_p), c_void_p, c_void_p, c_void_p, c_void_p],
    "tlm_rope": [POINTER(c_void_p), c_void_p, c_void_p, c_double],
    "tlm_softmax": [POINTER(c_void_p), c_void_p, c_int32],
    "tlm_attention": [POINTER(c_void_p), c_void_p, c_void_p, c_void_p, c_void_p, c_bool],
    "tlm_multi_head_attention": [POINTER(c_void_p), c_void_p, c_void_p, c_void_p, c_void_p, c_void_p,
                                 c_int32, c_double, c_void_p],
    "tlm_cross_entropy": [POINTER(c_void_p), c_void_p, c_void_p],
    "tlm_dataset_open": [POINTER(c_void_p), c_char_p, c_int32, c_uint32],
    "tlm_dataset_from_ids": [POINTER(c_void_p), _IDS, c_size_t],
    "tlm_dataset_wrap": [POINTER(c_void_p), c_void_p, c_size_t, c_int32],
    "tlm_dataset_read": [_IDS, c_size_t, c_void_p, c_uint64],
    "tlm_dataset_sample": [_IDS, _IDS, c_void_p, c_int64, c_int64, c_uint64, c_uint64],
    "tlm_clip_grad_norm": [POINTER(c_double), POINTER(c_void_p), c_size_t, c_double],
    "tlm_model_create": [POINTER(c_void_p), POINTER(_ModelOptions)],
    "tlm_model_load": [POINTER(c_void_p), c_char_p],
    "tlm_checkpoint_save": [c_char_p, c_void_p, c_void_p, c_uint64],
    "tlm_model_save_hf": [c_char_p, c_void_p, c_void_p, POINTER(_ModelFileOptions)],
    "tlm_model_get_options": [POINTER(_ModelOptions), c_void_p],
    "tlm_model_parameter_name": [POINTER(c_char_p), c_void_p, c_size_t],
    "tlm_model_parameter": [POINTER(c_void_p), c_void_p, c_char_p],
    "tlm_model_set_parameter": [c_void_p, c_char_p, _FLOATS, _SHAPE, c_int32],
    "tlm_model_forward": [POINTER(c_void_p), c_void_p, _IDS, c_int64, c_int64],
    "tlm_model_loss": [POINTER(c_void_p), c_void_p, _IDS, _IDS, c_int64, c_int64],
    "tlm_model_generate": [POINTER(_IDS), POINTER(c_size_t), c_void_p, _IDS, c_size_t,
                           POINTER(_GenerateOptions), _TokenCallback, c_void_p],
    "tlm_model_score": [POINTER(c_double), _FLOATS, c_void_p, _IDS, c_size_t, c_int64],
    "tlm_generator_create": [POINTER(c_void_p), c_void_p],
    "tlm_generator_add": [POINTER(c_size_t), c_void_p, _IDS, c_size_t, POINTER(_GenerateOptions)],
    "tlm_generator_step": [POINTER(c_size_t), c_void_p],
    "tlm_generator_tokens": [POINTER(_IDS), POINTER(_FLOATS), POINTER(c_size_t), c_void_p,
                             c_size_t],
    "tlm_generator_top_log_probs": [POINTER(_IDS), POINTER(_FLOATS), POINTER(c_size_t), c_void_p,
                                    c_size_t, c_size_t],
    "tlm_generator_state": [POINTER(c_int32), c_void_p, c_size_t],
    "tlm_generator_stop": [c_void_p, c_size_t],
}
_OTHER_FUNCTIONS = {
    "tlm_version": (c_char_p, []),
    "tlm_status_name": (c_char_p, [c_int32]),
    "tlm_error_message": (c_char_p, []),
    "tlm_free": (None, [c_void_p]),
    "tlm_bpe_trainer_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_tokenizer_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_encode_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_pad_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_encoder_free": (None, [c_void_p]),
    "tlm_custom_op_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_adamw_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_optimizer_free": (None, [c_void_p]),
    "tlm_dataset_free": (None, [c_void_p]),
    "tlm_dataset_length": (c_uint64, [c_void_p]),
    "tlm_optimizer_zero_grad": (None, [c_void_p]),
    "tlm_model_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_model_file_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_generate_options_init_sized": (None, [c_void_p, c_size_t]),
    "tlm_bpe_trainer_free": (None, [c_void_p]),
    "tlm_tokenizer_free": (None, [c_void_p]),
    "tlm_tokenizer_vocab_size": (c_uint32, [c_void_p]),
    "tlm_tokenizer_num_merges": (c_uint32, [c_void_p]),
    "tlm_tensor_free": (None, [c_void_p]),
    "tlm_tensor_retain": (c_void_p, [c_void_p]),
    "tlm_tensor_dtype": (c_int32, [c_void_p]),
    "tlm_tensor_ndim": (c_int32, [c_void_p]),
    "tlm_tensor_shape": (_SHAPE, [c_void_p]),
    "tlm_tensor_requires_grad": (c_bool, [c_void_p]),
    "tlm_tensor_numel": (c_int64, [c_void_p]),
    "tlm_tensor_grad": (c_void_p, [c_void_p]),
    "tlm_model_free": (None, [c_void_p]),
    "tlm_generator_free": (None, [c_void_p]),
    "tlm_model_num_parameters": (c_size_t, [c_void_p]),
    "tlm_model_zero_grad": (None, [c_void_p]),
}


def _check(status, function, _arguments):
    if status != 0:
        raise Error(_lib.tlm_status_name(status).decode(), _lib.tlm_error_message().decode())
    return status


def _load_library():
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


def version():
    return _lib.tlm_version().decode()


def set_num_threads(n):
    """Threads that a call may use; 0: one a CPU."""
    _lib.tlm_set_num_threads(n)


def _utf8(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def _bytes_array(items):
    items = [_utf8(item) for item in items]
    return (_Bytes * len(items))(*[_Bytes(item, len(item)) for item in items])


def _ids_array(ids):
    """A flat C array; numbers that are not token ids are refused, which ctypes would wrap around."""
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    try:
        return (c_uint32 * len(ids)).from_buffer(_array("I", ids))
    except OverflowError:
        wrong = next(i for i in ids if not 0 <= i < 1 << 32)
        raise ValueError(f"token id {wrong} is not in 0..2**32-1") from None


def _take_ids(ids, n):
    """A Python list of an array that the library handed out, which is then freed."""
    result = ids[:n.value] if n.value else []
    _lib.tlm_free(ids)
    return result


def _special_set(tokens):
    """A set of special tokens, "all" or strings, as TLM_SPECIAL_ALL, _NONE or _LIST and its list."""
    if isinstance(tokens, (str, bytes)):
        if tokens != "all":
            raise ValueError(f'a set of special tokens is "all" or a collection, not {tokens!r}')
        return 0, None, 0
    names = _bytes_array(tokens)
    return (2, names, len(names)) if len(names) else (1, None, 0)


def _encode_options(allowed_special="all", disallowed_special="all", dropout=0.0, seed=0):
    allowed, allowed_names, num_allowed = _special_set(allowed_special)
    disallowed, disallowed_names, num_disallowed = _special_set(disallowed_special)
    return _EncodeOptions(
        _lib.tlm_encode_options_init_sized, allowed_special=allowed, allowed=allowed_names,
        num_allowed=num_allowed, disallowed_special=disallowed, disallowed=disallowed_names,
        num_disallowed=num_disallowed, dropout=dropout, seed=seed)


def _side(name):
    if name not in ("right", "left"):
        raise ValueError(f'a side is "right" or "left", not {name!r}')
    return 0 if name == "right" else 1


def _take_rows(array, shape, as_numpy):
    """Nested lists, or a numpy array, of the matrix at `array`, which is then freed."""
    rows, length = shape
    if as_numpy:
        import numpy
        result = numpy.array(array[:rows * length], dtype=array._type_).reshape(shape)
    else:
        result = [array[i * length:(i + 1) * length] for i in range(rows)]
    _lib.tlm_free(array)
    return result


class _Handle:
    """Owns one object of the library; `_free` names the function that lets it go."""

    _free = None

    def __init__(self, handle):
        self._handle = handle

    @classmethod
    def _wrap(cls, handle):
        """An object that owns the handle."""
        made = cls.__new__(cls)
        made._handle = handle
        return made

    def __del__(self):
        if getattr(self, "_handle", None):
            getattr(_lib, self._free)(self._handle)
            self._handle = None


class _Trainer(_Handle):
    _free = "tlm_bpe_trainer_free"


def nfc(text):
    """The text (str or bytes) in Unicode's Normalization Form C, as bytes."""
    text, data, size = _utf8(text), c_void_p(), c_size_t()
    _lib.tlm_utf8_nfc(byref(data), byref(size), text, len(text))
    result = ctypes.string_at(data, size.value)
    _lib.tlm_free(data)
    return result


class Tokenizer(_Handle):
    """A byte-level BPE vocabulary, made from tokens by id and merges, first to apply first. Special
    tokens that are not in the vocabulary get ids behind it."""

    _free = "tlm_tokenizer_free"

    def __init__(self, vocab, merges, special_tokens=None, pattern=None, nfc=False):
        tokens = [b""] * (max(vocab, default=-1) + 1)
        for token_id, token in vocab.items():
            if token_id < 0:
                raise ValueError(f"token id {token_id} is negative")
            tokens[token_id] = token
        vocabulary, sides = _bytes_array(tokens), _bytes_array(side for merge in merges for side in merge)
        if len(sides) != 2 * len(merges):
            raise ValueError("a merge has two sides")
        options, handle = self._options(special_tokens or (), pattern, nfc), c_void_p()
        _lib.tlm_tokenizer_create(byref(handle), vocabulary, len(vocabulary), sides, len(merges),
                                  byref(options))
        super().__init__(handle)

    @classmethod
    def train(cls, texts=(), vocab_size=1024, special_tokens=(), files=(), pattern=None,
              min_frequency=0, max_token_length=0, base=None):
        """Learns a vocabulary from texts (str or bytes, one or a sequence) and files (paths); with
        another Tokenizer as base, goes on from that."""
        specials = _bytes_array(special_tokens)
        options = _TrainerOptions(
            _lib.tlm_bpe_trainer_options_init_sized, vocab_size=vocab_size, special_tokens=specials,
            num_special_tokens=len(specials), min_frequency=min_frequency,
            pattern=None if pattern is None else _utf8(pattern), max_token_length=max_token_length,
            base=None if base is None else base._handle)
        handle = c_void_p()
        _lib.tlm_bpe_trainer_create(byref(handle), byref(options))
        trainer = _Trainer(handle)
        for text in [texts] if isinstance(texts, (str, bytes)) else texts:
            text = _utf8(text)
            _lib.tlm_bpe_trainer_add_text(handle, text, len(text))
        for path in files:
            _lib.tlm_bpe_trainer_add_file(handle, os.fsencode(path))
        tokenizer = c_void_p()
        _lib.tlm_bpe_trainer_train(byref(tokenizer), trainer._handle)
        return cls._wrap(tokenizer)

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None, pattern=None, nfc=False):
        """Reads vocab.json and merges.txt; nfc: texts are put in NFC before they are encoded."""
        options = cls._options(special_tokens or (), pattern, nfc)
        handle = c_void_p()
        _lib.tlm_tokenizer_load(byref(handle), os.fsencode(vocab_path), os.fsencode(merges_path),
                                byref(options))
        return cls._wrap(handle)

    @classmethod
    def open(cls, path, special_tokens=(), pattern=None, nfc=False):
        """Reads a tokenizer.json, a tiktoken rank file, or a directory with files of a tokenizer. Texts
        are put in NFC before they are encoded if a tokenizer.json asks for it, or with nfc."""
        options = cls._options(special_tokens, pattern, nfc)
        handle = c_void_p()
        _lib.tlm_tokenizer_open(byref(handle), os.fsencode(path), byref(options))
        return cls._wrap(handle)

    @staticmethod
    def _options(special_tokens, pattern, nfc):
        specials = _bytes_array(special_tokens)
        return _TokenizerOptions(
            _lib.tlm_tokenizer_options_init_sized, special_tokens=specials,
            num_special_tokens=len(specials), pattern=None if pattern is None else _utf8(pattern),
            nfc=nfc)

    def save(self, vocab_path, merges_path):
        _lib.tlm_tokenizer_save(self._handle, os.fsencode(vocab_path), os.fsencode(merges_path))

    def save_json(self, path):
        """Writes a tokenizer.json, as Hugging Face's tokenizers read it."""
        _lib.tlm_tokenizer_save_json(self._handle, os.fsencode(path))

    def save_tiktoken(self, path):
        """Writes a rank file, as tiktoken reads it."""
        _lib.tlm_tokenizer_save_tiktoken(self._handle, os.fsencode(path))

    @property
    def vocab_size(self):
        return _lib.tlm_tokenizer_vocab_size(self._handle)

    @property
    def vocab(self):
        """All tokens by id, as a dict of bytes."""
        tokens = ((token_id, self.token(token_id)) for token_id in range(self.vocab_size))
        return {token_id: token for token_id, token in tokens if token}  # without holes

    @property
    def merges(self):
        """All merges, first to apply first: pairs of bytes."""
        left, right, merges = c_uint32(), c_uint32(), []
        for index in range(_lib.tlm_tokenizer_num_merges(self._handle)):
            _lib.tlm_tokenizer_merge(byref(left), byref(right), self._handle, index)
            merges.append((self.token(left.value), self.token(right.value)))
        return merges

    def token(self, token_id):
        """The bytes of a token."""
        token = _Bytes()
        _ids_array([token_id])
        _lib.tlm_tokenizer_token(byref(token), self._handle, token_id)
        # A field of c_char_p would stop at a NUL.
        address = ctypes.cast(byref(token), POINTER(c_void_p))[0]
        return ctypes.string_at(address, token.size) if token.size else b""

    def token_id(self, token):
        """The id of the token with these bytes; Error if there is none."""
        token, token_id = _utf8(token), c_uint32()
        _lib.tlm_tokenizer_token_id(byref(token_id), self._handle, token, len(token))
        return token_id.value

    def encode(self, text, **options) -> list:
        """Ids of a text. Options as of tiktoken, but for the default, which allows all special tokens:
        allowed_special ("all" or a set of strings, which become their ids), disallowed_special (these
        raise Error; "all": all that are not allowed; others are plain text). And dropout (0..1), the
        chance of a merge to be passed over, with its seed."""
        text, ids, n = _utf8(text), _IDS(), c_size_t()
        _lib.tlm_tokenizer_encode_with(byref(ids), byref(n), self._handle, text, len(text),
                                       byref(_encode_options(**options)) if options else None)
        return _take_ids(ids, n)

    def encode_ordinary(self, text) -> list:
        """The same with special tokens as plain text."""
        return self.encode(text, allowed_special=(), disallowed_special=())

    def encode_batch(self, texts, **options) -> list:
        """A list of ids for each text, by all threads; options as of encode."""
        texts, ids, offsets = _bytes_array(texts), _IDS(), _SIZES()
        _lib.tlm_tokenizer_encode_batch(byref(ids), byref(offsets), self._handle, texts, len(texts),
                                        byref(_encode_options(**options)))
        result = [ids[offsets[i]:offsets[i + 1]] for i in range(len(texts))]
        _lib.tlm_free(ids)
        _lib.tlm_free(offsets)
        return result

    def encode_padded(self, texts, max_length=0, pad_length=0, pad_id=0, pad_side="right",
                      cut_side="right", as_numpy=False, **options) -> tuple:
        """(ids, mask, lengths): rows of one length, 1 in the mask where there is an id and 0 where
        there is padding, and the number of ids of each row. Texts of more than max_length ids are cut
        (0: none is); rows have pad_length ids (0: as many as the longest). Lists, or numpy arrays;
        more options as of encode."""
        texts, ids, mask, lengths = _bytes_array(texts), _IDS(), POINTER(c_uint8)(), _SIZES()
        length = c_size_t()
        pad = _PadOptions(_lib.tlm_pad_options_init_sized, max_length=max_length,
                          pad_length=pad_length, pad_id=pad_id, pad_side=_side(pad_side),
                          cut_side=_side(cut_side))
        _lib.tlm_tokenizer_encode_padded(byref(ids), byref(mask), byref(lengths), byref(length),
                                         self._handle, texts, len(texts),
                                         byref(_encode_options(**options)), byref(pad))
        shape = len(texts), length.value
        counts = lengths[:len(texts)]
        _lib.tlm_free(lengths)
        return _take_rows(ids, shape, as_numpy), _take_rows(mask, shape, as_numpy), counts

    def encode_iterable(self, chunks):
        """Yields the ids of a text that comes in pieces (str or bytes), cut anywhere. Memory does not
        grow with the text: an open file may have any size."""
        ready, handle = [], c_void_p()

        def take(_user, ids, n):
            ready.extend(ids[:n])
            return 0

        callback = _IdsCallback(take)
        _lib.tlm_encoder_create(byref(handle), self._handle, callback, None)
        try:
            for chunk in chunks:
                chunk = _utf8(chunk)
                _lib.tlm_encoder_push(handle, chunk, len(chunk))
                yield from ready
                ready.clear()
            _lib.tlm_encoder_finish(handle)
            yield from ready
        finally:
            _lib.tlm_encoder_free(handle)

    def offsets(self, ids) -> list:
        """The byte of the text at which each id begins, and behind the last the size of the text."""
        ids = _ids_array(ids)
        offsets = (c_size_t * (len(ids) + 1))()
        _lib.tlm_tokenizer_offsets(offsets, self._handle, ids, len(ids))
        return list(offsets)

    def character_spans(self, ids) -> list:
        """(first, last + 1) of the characters that each id has a part of."""
        ids = _ids_array(ids)
        spans = (c_size_t * (2 * len(ids)))()
        _lib.tlm_tokenizer_character_spans(spans, self._handle, ids, len(ids))
        return list(zip(spans[::2], spans[1::2]))

    def longest_tokens(self, most=10) -> list:
        """Ids of the longest tokens, special ones left out, from long to short."""
        ids, n = (c_uint32 * most)(), c_size_t()
        _lib.tlm_tokenizer_longest_tokens(ids, byref(n), self._handle, most)
        return ids[:n.value]

    def decode_bytes(self, ids):
        array, data, size = _ids_array(ids), c_void_p(), c_size_t()
        _lib.tlm_tokenizer_decode(byref(data), byref(size), self._handle, array, len(array))
        result = ctypes.string_at(data, size.value) if size.value else b""
        _lib.tlm_free(data)
        return result

    def decode(self, ids):
        """Text, with U+FFFD for what is not UTF-8."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_batch(self, rows) -> list:
        """The text of each row of ids, by all threads."""
        arrays = [_ids_array(row) for row in rows]
        structs = (_Ids * len(arrays))(*[_Ids(array, len(array)) for array in arrays])
        data, offsets = c_void_p(), _SIZES()
        _lib.tlm_tokenizer_decode_batch(byref(data), byref(offsets), self._handle, structs,
                                        len(arrays))
        texts = ctypes.string_at(data, offsets[len(arrays)])
        ends = offsets[:len(arrays) + 1]
        _lib.tlm_free(data)
        _lib.tlm_free(offsets)
        return [texts[start:end].decode("utf-8", errors="replace")
                for start, end in zip(ends, ends[1:])]


def train_bpe(input_path, vocab_size, special_tokens=(), **options):
    """Learns a vocabulary from a file; returns it as tokens by id and merges in order, as Tokenizer
    takes them. More options as of Tokenizer.train."""
    tokenizer = Tokenizer.train(files=[input_path], vocab_size=vocab_size,
                                special_tokens=special_tokens, **options)
    return tokenizer.vocab, tokenizer.merges


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


def _flatten(values, shape):
    """Checks that nested lists have one shape, which it appends to `shape`; returns a flat list."""
    if not isinstance(values, (list, tuple)):
        return [values]
    shape.append(len(values))
    parts, inner = [], None
    for value in values:
        own = []
        parts.extend(_flatten(value, own))
        if inner is not None and own != inner:
            raise ValueError(f"rows of different shapes, {inner} and {own}")
        inner = own
    shape.extend(inner or [])
    return parts


def _nest(values, shape):
    """The inverse of _flatten."""
    if not shape:
        return values[0]
    step = len(values) // shape[0] if shape[0] else 0
    return [_nest(values[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])]


class Tensor(_Handle):
    """An array that may gather gradients. Made from nested lists, a number or a numpy array."""

    _free = "tlm_tensor_free"

    def __init__(self, values, dtype=FLOAT32, requires_grad=False):
        handle, flat, shape = c_void_p(), None, []
        if hasattr(values, "__array_interface__"):
            import numpy
            values = numpy.ascontiguousarray(values, dtype=_NUMPY_NAMES[dtype])
            shape, flat = list(values.shape), c_void_p(values.ctypes.data)
        else:
            items = _flatten(values, shape)
            flat = (_ELEMENTS[dtype] * len(items))(*items)
        sizes = (c_int64 * len(shape))(*shape)
        _lib.tlm_tensor_from_data(byref(handle), dtype, flat, sizes, len(shape))
        super().__init__(handle)
        if requires_grad:
            _lib.tlm_tensor_set_requires_grad(handle, True)

    @property
    def shape(self):
        sizes = _lib.tlm_tensor_shape(self._handle)
        return tuple(sizes[i] for i in range(_lib.tlm_tensor_ndim(self._handle)))

    @property
    def dtype(self):
        return _lib.tlm_tensor_dtype(self._handle)

    @property
    def requires_grad(self):
        """Whether it gathers a gradient or passes one on; may be set, but of results of ops."""
        return _lib.tlm_tensor_requires_grad(self._handle)

    @requires_grad.setter
    def requires_grad(self, value):
        _lib.tlm_tensor_set_requires_grad(self._handle, value)

    def _copy_out(self):
        n = _lib.tlm_tensor_numel(self._handle)
        data = (_ELEMENTS[self.dtype] * n)()
        _lib.tlm_tensor_copy_out(self._handle, data, n)
        return data

    def tolist(self):
        """Nested lists; a number for a scalar."""
        return _nest(list(self._copy_out()), self.shape)

    def numpy(self):
        """A copy; numpy.from_dlpack(tensor) shares the memory."""
        import numpy
        return numpy.frombuffer(self._copy_out(), dtype=_NUMPY_NAMES[self.dtype]).reshape(self.shape).copy()

    @classmethod
    def from_dlpack(cls, array):
        """A tensor over the memory of a numpy array, a PyTorch tensor or anything else that speaks
        DLPack: nothing is copied."""
        capsule, handle = array.__dlpack__(), c_void_p()
        pointer = _capsule_pointer(capsule, _CAPSULE)
        _lib.tlm_tensor_from_dlpack(byref(handle), ctypes.cast(pointer, POINTER(_DLManagedTensor)))
        _capsule_rename(capsule, _USED_CAPSULE)
        return cls._wrap(handle)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """For numpy.from_dlpack, torch.from_dlpack and the like, over the same memory. They see the
        values only: no gradient flows between the libraries."""
        if stream is not None or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("a tinylm.Tensor lies in CPU memory, without streams")
        managed, tensor = POINTER(_DLManagedTensor)(), self._copy() if copy else self
        _lib.tlm_tensor_to_dlpack(byref(managed), tensor._handle)
        return _capsule_new(ctypes.cast(managed, c_void_p), _CAPSULE,
                            ctypes.cast(_delete_capsule, c_void_p))

    def __dlpack_device__(self):
        return (1, 0)

    def _copy(self):
        handle, data, ndim = c_void_p(), self._copy_out(), len(self.shape)
        sizes = (c_int64 * ndim)(*self.shape)
        _lib.tlm_tensor_from_data(byref(handle), self.dtype, data, sizes, ndim)
        return Tensor._wrap(handle)

    @property
    def grad(self):
        """The gradient gathered so far, or None."""
        handle = _lib.tlm_tensor_grad(self._handle)
        return None if handle is None else Tensor._wrap(c_void_p(_lib.tlm_tensor_retain(handle)))

    def backward(self, gradient=None):
        """Back-propagates from a scalar, or from a gradient of the tensor's shape."""
        try:
            _lib.tlm_tensor_backward(self._handle, gradient and gradient._handle)
        finally:
            if _raised:
                raise _raised.pop()

    def _apply(self, name, *arguments):
        out = c_void_p()
        getattr(_lib, name)(byref(out), self._handle,
                            *[getattr(argument, "_handle", argument) for argument in arguments])
        return Tensor._wrap(out)

    def __add__(self, other):
        return self._apply("tlm_add", other)

    def __sub__(self, other):
        return self._apply("tlm_sub", other)

    def __mul__(self, other):
        return self._apply("tlm_mul", other)

    def __truediv__(self, other):
        return self._apply("tlm_div", other)

    def __matmul__(self, other):
        return self._apply("tlm_matmul", other)

    def mean(self):
        return self._apply("tlm_mean")

    def sum(self):
        return self._apply("tlm_sum")

    def scale(self, factor):
        return self._apply("tlm_scale", factor)

    def reshape(self, *shape):
        return self._apply("tlm_reshape", (c_int64 * len(shape))(*shape), len(shape))

    def transpose(self, dim0, dim1):
        return self._apply("tlm_transpose", dim0, dim1)


def _add_functions():
    """Tensor.exp() and the like: functions of one variable, element by element."""
    for name in ("exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "silu"):
        setattr(Tensor, name, lambda self, call="tlm_" + name: self._apply(call))


_add_functions()

def _layer(name, *arguments):
    out = c_void_p()
    getattr(_lib, name)(byref(out), *[getattr(argument, "_handle", argument) for argument in arguments])
    return Tensor._wrap(out)


def linear(x, weight):
    """x (..., d_in) times the transpose of weight (d_out, d_in)."""
    return _layer("tlm_linear", x, weight)


def embedding(weight, ids):
    """The rows of weight (vocab, d) that an integer tensor names."""
    return _layer("tlm_embedding", weight, ids)


def rms_norm(x, weight, eps=1e-5):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension."""
    return _layer("tlm_rms_norm", x, weight, eps)


def silu_mul(gate, up):
    """silu(gate) * up."""
    return _layer("tlm_silu_mul", gate, up)


def swiglu(x, w1, w2, w3):
    """W2 (silu(W1 x) * W3 x)."""
    return _layer("tlm_swiglu", x, w1, w2, w3)


def rope(x, positions=None, theta=10000.0):
    """Rotary position embedding of x (..., time, d) over pairs of neighbours; positions, integers, are
    of a shape that broadcasts to (..., time), and 0, 1, 2, ... without."""
    return _layer("tlm_rope", x, positions, theta)


def softmax(x, dim=-1):
    """Softmax along a dimension."""
    return _layer("tlm_softmax", x, dim)


def attention(query, key, value, mask=None, causal=False):
    """softmax(query key^T / sqrt(d_k)) value; mask: bool, True where a query sees a key."""
    return _layer("tlm_attention", query, key, value, mask, causal)


def multi_head_attention(x, wq, wk, wv, wo, num_heads, rope_theta=0.0, positions=None):
    """Causal self-attention of x (..., time, d_model); rope_theta 0: without rotation."""
    return _layer("tlm_multi_head_attention", x, wq, wk, wv, wo, num_heads, rope_theta, positions)


def cross_entropy(logits, targets):
    """Mean of -log softmax(logits)[target] over all positions, in nats."""
    return _layer("tlm_cross_entropy", logits, targets)


# Backward functions of custom ops that are still in a graph, by number, and the exception that one of
# them has raised, on its way through the library to the caller of Tensor.backward.
_backwards, _raised = {}, []


@_Backward
def _call_backward(grads, grad_out, _inputs, num_inputs, _saved, _num_saved, user):
    try:
        gradient = Tensor._wrap(c_void_p(_lib.tlm_tensor_retain(grad_out)))
        results = list(_backwards[user](gradient))
        if len(results) != num_inputs:
            raise ValueError(f"{len(results)} gradients for {num_inputs} inputs")
        for i, result in enumerate(results):
            grads[i] = None if result is None else _lib.tlm_tensor_retain(result._handle)
        return 0
    except BaseException as exception:  # to be raised again on this side of the library
        _raised.append(exception)
        return -12  # TLM_ERR_CANCELLED


@_Release
def _release_backward(user):
    del _backwards[user]


def custom_op(result, inputs, backward, name="custom op"):
    """A tensor with the values of `result`, recorded as made from `inputs`. backward(gradient) gets the
    gradient of the result and returns one for each input, or None for 0."""
    key, out = max(_backwards, default=0) + 1, c_void_p()
    options = _CustomOpOptions(_lib.tlm_custom_op_options_init_sized, name=_utf8(name), user=key,
                               backward=_call_backward, release=_release_backward)
    _backwards[key] = backward
    try:
        _lib.tlm_custom_op_record(byref(out), result._handle, _handles(inputs), len(inputs), None, 0,
                                  byref(options))
    except Error:
        del _backwards[key]
        raise
    return Tensor._wrap(out)


def _handles(tensors):
    return (c_void_p * len(tensors))(*[tensor._handle for tensor in tensors])


class AdamW(_Handle):
    """The optimiser AdamW over a list of parameters."""

    _free = "tlm_optimizer_free"

    def __init__(self, parameters, learning_rate=None, beta1=None, beta2=None, eps=None,
                 weight_decay=None):
        options = _AdamWOptions(_lib.tlm_adamw_options_init_sized, learning_rate=learning_rate,
                                beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)
        handle = c_void_p()
        _lib.tlm_optimizer_create_adamw(byref(handle), byref(options))
        super().__init__(handle)
        _lib.tlm_optimizer_add_group(handle, _handles(parameters), len(parameters), None)

    def set_learning_rate(self, learning_rate):
        _lib.tlm_optimizer_set_learning_rate(self._handle, c_size_t(-1).value, learning_rate)

    def step(self):
        _lib.tlm_optimizer_step(self._handle)

    def zero_grad(self):
        _lib.tlm_optimizer_zero_grad(self._handle)


def clip_grad_norm(parameters, max_norm):
    """Scales the gradients to a joint norm of at most max_norm; returns what it was before."""
    norm = c_double()
    _lib.tlm_clip_grad_norm(byref(norm), _handles(parameters), len(parameters), max_norm)
    return norm.value


def clip_norm(tensors, max_norm):
    """The same for tensors that are themselves the gradients."""
    norm = c_double()
    _lib.tlm_clip_norm(byref(norm), _handles(tensors), len(tensors), max_norm)
    return norm.value


def adamw_update(parameters, m, v, gradients, step, **options):
    """One update of parameters by AdamW, with moments m and v (zeros at first) and gradients in lists
    of the same order; step counts from 1. Options: learning_rate, beta1, beta2, eps, weight_decay."""
    if not len(parameters) == len(m) == len(v) == len(gradients):
        raise ValueError(f"{len(parameters)} parameters, {len(m)} m, {len(v)} v and "
                         f"{len(gradients)} gradients")
    _lib.tlm_adamw_update(_handles(parameters), _handles(m), _handles(v), _handles(gradients),
                          len(parameters), _unsigned("step", step),
                          byref(_AdamWOptions(_lib.tlm_adamw_options_init_sized, **options)))


def cosine_schedule(step, max_learning_rate, min_learning_rate, warmup_steps, cycle_steps):
    """The learning rate of a step: linear up over the warm-up, a half cosine wave down to the end of
    the cycle, the minimum after it."""
    rate = c_double()
    _lib.tlm_cosine_schedule(byref(rate), _unsigned("step", step), max_learning_rate, min_learning_rate,
                             _unsigned("warmup_steps", warmup_steps),
                             _unsigned("cycle_steps", cycle_steps))
    return rate.value


def _unsigned(name, value):
    """A number for an argument that has no sign: ctypes would wrap a negative one around."""
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{name} {value} is not in 0..2**64-1")
    return int(value)


class Dataset(_Handle):
    """Token ids to draw batches from: over the memory of a numpy array of uint16 or uint32, or over a
    copy of any other integers."""

    _free = "tlm_dataset_free"
    _TYPES = {"uint16": 2, "uint32": 4}  # TLM_TOKENS_...

    def __init__(self, ids):
        handle = c_void_p()
        if hasattr(ids, "__array_interface__"):
            if ids.ndim != 1:
                raise ValueError(f"ids of {ids.ndim} dimensions, not 1")
            if str(ids.dtype) not in self._TYPES or not ids.flags.c_contiguous:
                given, ids = ids, ids.astype("uint32")
                if (ids != given).any():
                    raise ValueError("ids that are not whole numbers in 0..2**32-1")
            self._ids = ids  # which the library borrows
            _lib.tlm_dataset_wrap(byref(handle), ids.ctypes.data, len(ids), self._TYPES[str(ids.dtype)])
        else:
            array = _ids_array(ids)
            _lib.tlm_dataset_from_ids(byref(handle), array, len(array))
        super().__init__(handle)

    @classmethod
    def open(cls, path, token_type=0, vocab_size=0):
        """Maps a token file. token_type, 2 or 4 bytes, is for names that do not tell it; with
        vocab_size all ids are checked to be below it."""
        handle = c_void_p()
        _lib.tlm_dataset_open(byref(handle), os.fsencode(path), token_type, vocab_size)
        return cls._wrap(handle)

    def __len__(self):
        return _lib.tlm_dataset_length(self._handle)

    def read(self, offset, n):
        """Ids offset .. offset + n - 1."""
        ids = (c_uint32 * n)()
        _lib.tlm_dataset_read(ids, n, self._handle, _unsigned("offset", offset))
        return list(ids)

    def sample(self, batch, context, seed, step=0, as_numpy=False):
        """Inputs and targets (batch, context) of a step of a seeded run, as lists of rows or numpy
        arrays: rows from places drawn uniformly, targets one id later."""
        size = max(batch, 0) * max(context, 0)
        inputs, targets = (c_uint32 * size)(), (c_uint32 * size)()
        _lib.tlm_dataset_sample(inputs, targets, self._handle, batch, context, _unsigned("seed", seed),
                                _unsigned("step", step))
        if as_numpy:
            import numpy
            return tuple(numpy.frombuffer(a, "uint32").reshape(batch, context) for a in (inputs, targets))
        return tuple([list(a[i:i + context]) for i in range(0, size, context)] for a in (inputs, targets))


def _batch(rows):
    """Ids as a flat C array with (batch, time), from a list of ids or of lists of them."""
    rows = rows.tolist() if hasattr(rows, "tolist") else list(rows)
    if not rows or not isinstance(rows[0], (list, tuple)):
        rows = [rows]
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("rows of different lengths")
    return _ids_array(i for row in rows for i in row), len(rows), len(rows[0])


_WEIGHTS = ("float32", "float16", "bfloat16")


def _file_options(weights="float32", begin_token=None, end_token=None):
    return _ModelFileOptions(
        _lib.tlm_model_file_options_init_sized, weights=_WEIGHTS.index(weights),
        has_begin_token=begin_token is not None, begin_token=begin_token or 0,
        has_end_token=end_token is not None, end_token=end_token or 0)


class Model(_Handle):
    """A transformer language model."""

    _free = "tlm_model_free"

    @classmethod
    def create(cls, vocab_size, context_length, d_model, num_layers, num_heads, d_ff=0,
               rope_theta=0.0, seed=0, num_kv_heads=0, norm_eps=0.0, norm="pre", position="rope",
               ffn="swiglu", tied_embeddings=False):
        """norm: "pre", "post" or "none"; position: "rope" or "none"; ffn: "swiglu" or "silu"."""
        words = {"norm": norm, "position": position, "ffn": ffn}
        options = _ModelOptions(
            _lib.tlm_model_options_init_sized, vocab_size=vocab_size, context_length=context_length,
            d_model=d_model, num_layers=num_layers, num_heads=num_heads, d_ff=d_ff,
            rope_theta=rope_theta, seed=seed, num_kv_heads=num_kv_heads, norm_eps=norm_eps,
            tied_embeddings=tied_embeddings,
            **{name: _SWITCHES[name].index(word) for name, word in words.items()})
        handle = c_void_p()
        _lib.tlm_model_create(byref(handle), byref(options))
        return cls(handle)

    @classmethod
    def load(cls, path):
        """The model of a checkpoint."""
        handle = c_void_p()
        _lib.tlm_model_load(byref(handle), os.fsencode(path))
        return cls(handle)

    def save(self, path):
        """A checkpoint with the weights alone."""
        _lib.tlm_checkpoint_save(os.fsencode(path), self._handle, None, 0)

    def save_hf(self, directory, tokenizer=None, **options):
        """A folder that transformers loads as a LlamaForCausalLM. Options: weights ("float32",
        "float16", "bfloat16"), begin_token and end_token (ids)."""
        _lib.tlm_model_save_hf(os.fsencode(directory), self._handle,
                               tokenizer and tokenizer._handle, byref(_file_options(**options)))

    @property
    def options(self):
        """The arguments of `create`, defaults resolved, as a dict."""
        options = _ModelOptions(_lib.tlm_model_options_init_sized)
        _lib.tlm_model_get_options(byref(options), self._handle)
        values = {name: getattr(options, name) for name, _ in options._fields_[1:-1]}
        values.update({name: words[values[name]] for name, words in _SWITCHES.items()})
        return values

    def parameters(self):
        """The parameters by name. They are the model's own, not copies."""
        result, name, borrowed = {}, c_char_p(), c_void_p()
        for i in range(_lib.tlm_model_num_parameters(self._handle)):
            _lib.tlm_model_parameter_name(byref(name), self._handle, i)
            _lib.tlm_model_parameter(byref(borrowed), self._handle, name)
            handle = c_void_p(_lib.tlm_tensor_retain(borrowed))
            result[name.value.decode()] = Tensor._wrap(handle)
        return result

    def set_parameter(self, name, values):
        """Copies values (a numpy array, a Tensor or nested lists) into a parameter."""
        tensor = values if isinstance(values, Tensor) else Tensor(values)
        shape = (c_int64 * len(tensor.shape))(*tensor.shape)
        _lib.tlm_model_set_parameter(self._handle, _utf8(name), tensor._copy_out(), shape, len(shape))

    def forward(self, ids):
        """Logits (batch, time, vocab_size) of ids, (time) or (batch, time)."""
        array, batch, time = _batch(ids)
        out = c_void_p()
        _lib.tlm_model_forward(byref(out), self._handle, array, batch, time)
        return Tensor._wrap(out)

    def loss(self, inputs, targets):
        """Mean cross-entropy in nats a token; its backward() fills the parameters' gradients."""
        inputs, batch, time = _batch(inputs)
        targets, target_batch, target_time = _batch(targets)
        if (batch, time) != (target_batch, target_time):
            raise ValueError(f"inputs are {(batch, time)}, targets {(target_batch, target_time)}")
        out = c_void_p()
        _lib.tlm_model_loss(byref(out), self._handle, inputs, targets, batch, time)
        return Tensor._wrap(out)

    def zero_grad(self):
        _lib.tlm_model_zero_grad(self._handle)

    def score(self, ids, stride=0):
        """The log-probability of each id but the first, after those before it."""
        array = _ids_array(ids)
        log_probs = (c_float * max(len(array) - 1, 1))()
        _lib.tlm_model_score(None, log_probs, self._handle, array, len(array), stride)
        return list(log_probs)

    def generate(self, prompt, on_token=None, **how):
        """New ids after those of the prompt; Generator.add says what `how` may hold. on_token(id)
        is called with each; True stops."""
        array, ids, n, raised = _ids_array(prompt), _IDS(), c_size_t(), []
        options = _generate_options(**how)

        def call(_user, token_id):
            try:
                return 1 if on_token(token_id) is True else 0
            except BaseException as exception:  # to be raised again on this side of the library
                raised.append(exception)
                return 1

        callback = _TokenCallback(call) if on_token is not None else _TokenCallback()
        _lib.tlm_model_generate(byref(ids), byref(n), self._handle, array, len(array),
                                byref(options), callback, None)
        result = _take_ids(ids, n)
        if raised:
            raise raised[0]
        return result

    def generate_many(self, prompts, seed=0, **how):
        """New ids for each of many prompts, made side by side; prompt i has the seed `seed` + i."""
        generator = Generator(self)
        for i, prompt in enumerate(prompts):
            generator.add(prompt, seed=seed + i, **how)
        while generator.step() > 0:
            pass
        return [generator.tokens(i) for i in range(len(prompts))]


def _generate_options(max_tokens=256, temperature=0.0, top_k=0, top_p=0.0, min_p=0.0,
                      repetition_penalty=0.0, end_token=None, stop_sequences=(), seed=0,
                      num_top_log_probs=0):
    arrays = [_ids_array(stop) for stop in stop_sequences]
    stops = (_Ids * len(arrays))()
    for stop, array in zip(stops, arrays):
        stop.ids, stop.n = array, len(array)
    options = _GenerateOptions(
        _lib.tlm_generate_options_init_sized, max_tokens=max_tokens, temperature=temperature,
        top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty, seed=seed,
        end_token=end_token, has_end_token=end_token is not None,
        num_stop_sequences=len(arrays), num_top_log_probs=num_top_log_probs)
    options.stop_sequences = stops
    options.borrowed = arrays  # lives as long as the options
    return options


class Generator(_Handle):
    """Sequences that a model continues side by side, a token at a time."""

    _free = "tlm_generator_free"
    STATES = ["running", "length", "end", "stop", "stopped", "failed"]

    def __init__(self, model):
        handle = c_void_p()
        _lib.tlm_generator_create(byref(handle), model._handle)
        super().__init__(handle)
        self._model = model  # which the library borrows

    def add(self, prompt, **how):
        """Adds a prompt and returns its number. Arguments: max_tokens, temperature, top_k, top_p,
        min_p, repetition_penalty, end_token, stop_sequences (of ids), seed, num_top_log_probs."""
        array, sequence = _ids_array(prompt), c_size_t()
        _lib.tlm_generator_add(byref(sequence), self._handle, array, len(array),
                               byref(_generate_options(**how)))
        return sequence.value

    def step(self):
        """One more token for each sequence that runs; returns how many still do."""
        running = c_size_t()
        _lib.tlm_generator_step(byref(running), self._handle)
        return running.value

    def tokens(self, sequence):
        """The new ids so far."""
        ids, n = _IDS(), c_size_t()
        _lib.tlm_generator_tokens(byref(ids), None, byref(n), self._handle, sequence)
        return ids[:n.value] if n.value else []

    def log_probs(self, sequence):
        """The log-probability that the model gave each of these ids."""
        values, n = _FLOATS(), c_size_t()
        _lib.tlm_generator_tokens(None, byref(values), byref(n), self._handle, sequence)
        return values[:n.value] if n.value else []

    def top_log_probs(self, sequence, position):
        """Pairs (id, log-probability), the likeliest first, in the place of new id `position`."""
        ids, values, n = _IDS(), _FLOATS(), c_size_t()
        _lib.tlm_generator_top_log_probs(byref(ids), byref(values), byref(n), self._handle,
                                         sequence, position)
        return list(zip(ids[:n.value], values[:n.value])) if n.value else []

    def state(self, sequence):
        """One of STATES: "running", or how the sequence ended."""
        state = c_int32()
        _lib.tlm_generator_state(byref(state), self._handle, sequence)
        return self.STATES[state.value]

    def stop(self, sequence):
        _lib.tlm_generator_stop(self._handle, sequence)
