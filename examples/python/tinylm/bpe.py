"""Learning a vocabulary."""

from __future__ import annotations

import os
from ctypes import byref, c_uint64, c_void_p
from typing import Any, Callable, Iterable, TYPE_CHECKING

from ._abi import _BpeProgress, _BpeTrainerOptions
from ._convert import Path, Text, _bytes_array, _joined, _utf8
from ._handle import _Callbacks, _Handle
from ._native import _lib
from ._words import _WORDS, _number
from .communicator import _communicator

if TYPE_CHECKING:
    from .tokenizers import Tokenizer


class BpeTrainer(_Handle):
    """Counts the pretokens of texts and learns a vocabulary from them. progress(phase, done, total), if
    given, is called for "counting" (bytes) and "learning" (merges); True ends the call.
    communicator: ranks that add the same texts, of which each counts its share, and learn the same
    vocabulary, as one process would (Communicator)."""

    _free = "tlm_bpe_trainer_free"

    def __init__(self, vocab_size: int, special_tokens: Iterable[Text] = (), pattern: Text | None = None,
                 min_frequency: int = 0, max_token_length: int = 0, byte_order: str = "value",
                 max_distinct_pretokens: int = 0, base: Tokenizer | None = None,
                 progress: Callable[[str, int, int], Any] | None = None, communicator: Any = None) -> None:
        def report(_user, phase, done, total):
            return None if progress is None else progress(_WORDS["phase"][phase], done, total)

        specials, handle, self._callbacks = _bytes_array(special_tokens), c_void_p(), _Callbacks()
        options = _BpeTrainerOptions(
            vocab_size=vocab_size, special_tokens=specials, num_special_tokens=len(specials),
            pattern=None if pattern is None else _utf8(pattern), min_frequency=min_frequency,
            max_token_length=max_token_length, byte_order=_number("byte_order", byte_order),
            max_distinct_pretokens=max_distinct_pretokens, base=base and base._handle,
            progress=self._callbacks.wrap(_BpeProgress, report))
        ranks = _communicator(communicator)
        options.communicator = ranks and ranks._handle
        self._borrowed = options.progress, base, ranks
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
        from .tokenizers import Tokenizer
        handle = c_void_p()
        with self._callbacks:
            _lib.tlm_bpe_trainer_train(byref(handle), self._handle)
        return Tokenizer._wrap(handle)


def train_bpe(input_path: Path, vocab_size: int, special_tokens: Iterable[Text] = (),
              **options: Any) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learns a vocabulary from a file; returns it as tokens by id and merges in order, as Tokenizer
    takes them. More options as of BpeTrainer."""
    from .tokenizers import Tokenizer
    tokenizer = Tokenizer.train(files=[input_path], vocab_size=vocab_size,
                                special_tokens=special_tokens, **options)
    return tokenizer.vocab, tokenizer.merges
