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
from .patterns import _pattern
from .progress import _Phases, _progress

if TYPE_CHECKING:
    from .tokenizers import Tokenizer


def _is_name_of_file(text: Text) -> bool:
    """Whether a text is the name of a file, whose letters are hardly what is to be learned."""
    if not isinstance(text, str) or not 1 < len(text) < 1024 or any(character.isspace() for character in text):
        return False
    return text.startswith(("/", "./", "../", "~/")) or os.path.isfile(text)


class BpeTrainer(_Handle):
    """Counts the pretokens of texts and learns a vocabulary from them. progress(phase, done, total), if
    given, is called for "counting" (bytes) and "learning" (merges); True ends the call;
    progress=True shows a bar.
    communicator: ranks that add the same texts, of which each counts its share, and learn the same
    vocabulary, as one process would (Communicator)."""

    _free = "tlm_bpe_trainer_free"
    _instead = "train() gives a Tokenizer, which can be"

    def __init__(self, vocab_size: int, special_tokens: Iterable[Text] = (), pattern: Text | None = None,
                 min_frequency: int = 0, max_token_length: int = 0, byte_order: str = "value",
                 max_distinct_pretokens: int = 0, base: Tokenizer | None = None,
                 progress: Callable[[str, int, int], Any] | bool | None = None, communicator: Any = None) -> None:
        shown = self._shown = _progress(progress, "counting")

        def report(_user: Any, phase: int, done: int, total: int) -> Any:
            return None if shown is None else shown(_WORDS["phase"][phase], done, total)

        specials, handle = _bytes_array(special_tokens, "special_tokens"), c_void_p()
        self._callbacks = _Callbacks()
        options = _BpeTrainerOptions(
            vocab_size=vocab_size, special_tokens=specials, num_special_tokens=len(specials),
            pattern=_pattern(pattern), min_frequency=min_frequency,
            max_token_length=max_token_length, byte_order=_number("byte_order", byte_order),
            max_distinct_pretokens=max_distinct_pretokens, base=None if base is None else base._handle,
            progress=self._callbacks.wrap(_BpeProgress, report))
        ranks = _communicator(communicator)
        options.communicator = None if ranks is None else ranks._handle
        self._borrowed = options.progress, None if base is None else base._share(), ranks
        _lib.tlm_bpe_trainer_create(byref(handle), byref(options))
        self._handle = handle

    def add_text(self, text: Text) -> None:
        """Counts one text."""
        if "/" in text[:1024] if isinstance(text, str) else False:
            if _is_name_of_file(text):
                raise ValueError(f"text is {text!r}, the name of a file; add_file({text!r}) reads it")
        text = _utf8(text)
        with self._callbacks:
            _lib.tlm_bpe_trainer_add_text(self._handle, text, len(text))

    def add_file(self, path: Path) -> None:
        """Counts a file of any size."""
        with self._callbacks:
            _lib.tlm_bpe_trainer_add_file(self._handle, os.fsencode(path))

    def add_iterable(self, chunks: Text | Iterable[Text]) -> None:
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
        try:
            with self._callbacks:
                _lib.tlm_bpe_trainer_train(byref(handle), self._handle)
        finally:
            if isinstance(self._shown, _Phases):
                self._shown.close()  # there may be fewer merges than were asked for
        return Tokenizer._wrap(handle)


def train_bpe(input_path: Path, vocab_size: int, special_tokens: Iterable[Text] = (), *,
              pattern: Text | None = None, min_frequency: int = 0, max_token_length: int = 0,
              byte_order: str = "value", max_distinct_pretokens: int = 0, base: Tokenizer | None = None,
              progress: Callable[[str, int, int], Any] | bool | None = None,
              communicator: Any = None
              ) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learns a vocabulary from a file; returns it as tokens by id and merges in order, as Tokenizer
    takes them. The options are those of BpeTrainer."""
    trainer = BpeTrainer(vocab_size, special_tokens, pattern=pattern, min_frequency=min_frequency,
                         max_token_length=max_token_length, byte_order=byte_order,
                         max_distinct_pretokens=max_distinct_pretokens, base=base, progress=progress,
                         communicator=communicator)
    trainer.add_file(input_path)
    tokenizer = trainer.train()
    return dict(tokenizer.vocab), tokenizer.merges
