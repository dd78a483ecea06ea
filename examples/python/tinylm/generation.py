"""Generating tokens and text."""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_float, c_int32, c_size_t, c_uint32, c_void_p
from typing import Any, Callable, Iterable, Mapping, NamedTuple, TYPE_CHECKING

from ._abi import _FLOATS, _GenerateOptions, _IDS, _Ids, _LogitBias, _LogitsCallback
from ._convert import Ids, Path, Text, _bytes_array, _ids_array
from ._handle import _Callbacks, _Handle
from ._native import _lib
from ._options import _end_tokens
from ._structs import _real, _unsigned
from ._words import FLOAT32, _WORDS, _number

if TYPE_CHECKING:
    from typing_extensions import Unpack
    from .models import Model
    from .options import GenerateOptions
    from .tokenizers import Tokenizer


class GeneratedText(NamedTuple):
    """What Model.generate_text gives: the text and one of Generator.STATES."""

    text: str
    state: str


def _on_logits(callbacks: Callable[[], _Callbacks], function: Callable[[int, list[int], Any], Any] | None) -> Any:
    """The callback for the library; `callbacks` gives those that are in use when it is called."""
    if function is None:
        return _LogitsCallback()

    def ask(sequence: int, ids: list[int], logits: Any) -> Any:
        result = function(sequence, ids, logits)
        return result if result is None or result is True else _unsigned("token", result)

    def call(_user: Any, sequence: int, ids: Any, n: int, logits: Any, vocab_size: int, token: Any) -> int:
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
                      cache_type: int = FLOAT32, keeps_cache: bool = False) -> Any:
    arrays = [_ids_array(stop, "stop_sequences") for stop in stop_sequences]
    stops = _bytes_array([stop_strings] if isinstance(stop_strings, (str, bytes)) else stop_strings, "stop_strings")
    biases = [_LogitBias(_unsigned("token id", token, c_uint32), _real("logit_bias", bias)) for token, bias in (logit_bias or {}).items()]
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
    options.kept = None if tokenizer is None else tokenizer._share(), options.on_logits  # not to be collected while the options are in use
    return options


class Generator(_Handle):
    """Sequences that a model continues at the same time, one token per step."""

    _free = "tlm_generator_free"
    _instead = "make one of its Model, which can be, in each process; save(sequence, path) and load keep a sequence"
    STATES = _WORDS["state"]

    def __init__(self, model: Model) -> None:
        handle = c_void_p()
        _lib.tlm_generator_create(byref(handle), model._handle)
        self._handle, self._model = handle, model._share()  # which the library borrows
        self._kept: dict[int, Any] = {}  # of each sequence: tokenizer and callback, which it borrows too
        self._callbacks = _Callbacks()
        self.size = 0

    def _options(self, how: GenerateOptions) -> Any:
        callbacks = self._callbacks  # not self: a cycle might be taken apart with the model first
        return _generate_options(lambda: callbacks, **how)

    def add(self, prompt: Ids, **how: Unpack[GenerateOptions]) -> int:
        """Adds a prompt and returns its number. Arguments: max_tokens, temperature, top_k, top_p,
        min_p, repetition_penalty, end_token, stop_sequences (of ids), seed, num_top_log_probs;
        tokenizer, which makes text, stop_strings in it, skip_special_tokens; logit_bias, a mapping of ids;
        on_logits(sequence, ids, logits), which sees the new ids and may change the logits, a writable
        memoryview of floats, and returns None, an id that it chooses, or True to end; past_context
        ("default", "slide", "stop", "recompute") and kept_tokens; cache_type (FLOAT32 or FLOAT16);
        keeps_cache, for extend and save."""
        array, sequence, options = _ids_array(prompt, "prompt"), c_size_t(), self._options(how)
        _lib.tlm_generator_add(byref(sequence), self._handle, array, len(array), byref(options))
        self._kept[sequence.value] = options.kept
        self.size = sequence.value + 1
        return sequence.value

    def extend(self, sequence: int, ids: Ids = (), keep: int | None = None,
               **how: Unpack[GenerateOptions]) -> None:
        """Continues a sequence that has ended: its first `keep` tokens (None: all) and then the ids are
        its prompt from now on. Arguments are those of add."""
        array, options = _ids_array(ids), self._options(how)
        _lib.tlm_generator_extend(self._handle, sequence, c_size_t(-1).value if keep is None else keep, array,
                                  len(array), byref(options))
        self._kept[sequence] = options.kept

    def save(self, sequence: int, path: Path) -> None:
        """Saves the tokens, the state and the key-value cache of a sequence, for load."""
        with self._callbacks:
            _lib.tlm_generator_save(self._handle, sequence, os.fsencode(path))

    def load(self, path: Path, **how: Unpack[GenerateOptions]) -> int:
        """Adds the sequence of a file and returns its number. One that was running goes on; one that had
        ended waits for extend. Arguments are those of add."""
        sequence, options = c_size_t(), self._options(how)
        with self._callbacks:
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
