"""Tokenizers: from texts to ids and back."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from array import array as _array
from ctypes import POINTER, byref, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, Sequence

from ._abi import (_Bytes, _DecodeOptions, _IDS, _Ids, _IdsCallback, _OUT, _PadOptions, _SIZES,
                   _TokenizerOptions)
from ._convert import Ids, Path, Specials, Text, _bytes_array, _ids_array, _joined, _rows, _take_bytes, _utf8
from ._encoding import _ROOM, _Room, _encode_options, _rooms
from ._handle import _Callbacks, _Handle
from ._native import _check, _encode_into, _lib
from ._structs import _given, _unsigned
from ._words import _number
from .bpe import BpeTrainer, _is_name_of_file
from .errors import NotFoundError
from .options import SpecialTokens
from .patterns import _pattern

if TYPE_CHECKING:
    from typing_extensions import Unpack
    from .options import CallOptions


def _from_json(text: bytes) -> Tokenizer:
    """The tokenizer that a tokenizer.json describes."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        with open(path, "wb") as file:
            file.write(text)
        return Tokenizer.open(path)


class Tokenizer(_Handle):
    """A byte-level BPE vocabulary, created from tokens by id and merges in order of application. Special
    tokens that are not in the vocabulary get the ids after it; a mapping gives each its id. ignore_merges:
    a pretoken that is a token is taken whole. nfc: texts are normalized to NFC first."""

    _free = "tlm_tokenizer_free"

    def __init__(self, vocab: dict[int, bytes], merges: Sequence[tuple[bytes, bytes]],
                 special_tokens: Specials | None = None, pattern: Text | None = None,
                 nfc: bool = False, ignore_merges: bool = False) -> None:
        ids = [_unsigned("an id in vocab", token_id, c_uint32) for token_id in vocab]
        largest = max(ids, default=-1)
        if largest > 16 * len(ids) + (1 << 20):
            raise ValueError(f"vocab has {len(ids)} tokens, and one with the id {largest}")
        tokens = [b""] * (largest + 1)
        for token_id, token in zip(ids, vocab.values()):
            tokens[token_id] = token
        merges = list(merges)
        for i, merge in enumerate(merges):
            if not isinstance(merge, (list, tuple)):
                raise TypeError(f"merges[{i}] is {_given(merge)}, not a pair of tokens")
            if len(merge) != 2:
                raise ValueError(f"merges[{i}] has {len(merge)} sides, not two")
        vocabulary = _bytes_array(tokens, "vocab")
        sides = _bytes_array([side for merge in merges for side in merge], "merges")
        options, handle = self._options(special_tokens, pattern, nfc, ignore_merges), c_void_p()
        with _Callbacks():
            _lib.tlm_tokenizer_create(byref(handle), vocabulary, len(vocabulary), sides, len(merges),
                                      byref(options))
        self._handle = handle

    @classmethod
    def train(cls, texts: Text | Iterable[Text] = (), vocab_size: int = 1024,
              special_tokens: Iterable[Text] = (), files: Path | Iterable[Path] = (),
              pattern: Text | None = None, min_frequency: int = 0, max_token_length: int = 0,
              byte_order: str = "value", max_distinct_pretokens: int = 0, base: Tokenizer | None = None,
              progress: Callable[[str, int, int], Any] | bool | None = None,
              communicator: Any = None) -> Tokenizer:
        """Learns a vocabulary from texts (one or a list) and files (one path or a list). The other options are
        those of BpeTrainer."""
        trainer = BpeTrainer(
            vocab_size, special_tokens, pattern=pattern, min_frequency=min_frequency,
            max_token_length=max_token_length, byte_order=byte_order,
            max_distinct_pretokens=max_distinct_pretokens, base=base, progress=progress,
                         communicator=communicator)
        texts = [texts] if isinstance(texts, (str, bytes, bytearray)) else texts
        files = [files] if isinstance(files, (str, bytes, os.PathLike)) else files
        if isinstance(texts, (list, tuple)) and texts and all(map(_is_name_of_file, texts)):
            raise ValueError(f"texts holds {texts[0]!r}, the name of a file; files=[{texts[0]!r}] reads it")
        for text in texts:
            as_python = getattr(text, "as_py", None)  # of PyArrow
            trainer.add_text(text if as_python is None else as_python())
        for path in files:
            trainer.add_file(path)
        return trainer.train()

    @classmethod
    def from_files(cls, vocab_path: Path, merges_path: Path, special_tokens: Specials | None = None,
                   pattern: Text | None = None, nfc: bool = False, ignore_merges: bool = False) -> Tokenizer:
        """Reads vocab.json and merges.txt. special_tokens None: tokens like <|endoftext|> that no merge makes are
        special, as in GPT-2's files, which do not say so; (): none is."""
        def load(special_tokens: Specials | None) -> Tokenizer:
            options, handle = cls._options(special_tokens, pattern, nfc, ignore_merges), c_void_p()
            with _Callbacks():
                _lib.tlm_tokenizer_load(byref(handle), os.fsencode(vocab_path), os.fsencode(merges_path),
                                        byref(options))
            return cls._wrap(handle)

        return load(special_tokens)._with_marked(load if special_tokens is None else None)

    @classmethod
    def open(cls, path: Path, special_tokens: Specials | None = None, pattern: Text | None = None,
             nfc: bool = False, ignore_merges: bool = False) -> Tokenizer:
        """Reads a tokenizer.json, a tiktoken rank file, a SentencePiece model, Tekken JSON, a GGUF file, a
        vocab.txt of BERT, or a directory with files of a tokenizer. Texts are put in NFC before they are
        encoded if a tokenizer.json asks for it, or with nfc. A rank file that is not a published one
        needs a pattern. special_tokens None: those of the files, or else as from_files."""
        def load(special_tokens: Specials | None) -> Tokenizer:
            options, handle = cls._options(special_tokens, pattern, nfc, ignore_merges), c_void_p()
            with _Callbacks():
                _lib.tlm_tokenizer_open(byref(handle), os.fsencode(path), byref(options))
            return cls._wrap(handle)

        is_directory = special_tokens is None and os.path.isdir(path)
        return load(special_tokens)._with_marked(load if is_directory else None)

    def _with_marked(self, load: Callable[[list[bytes]], Tokenizer] | None) -> Tokenizer:
        """The tokenizer, loaded again with special tokens if it has none and tokens are marked as such."""
        if load is None or _lib.tlm_tokenizer_num_special_tokens(self._handle):
            return self
        merged = {left + right for left, right in self.merges}
        marked = [token for token in self.vocab.values()
                  if token not in merged and re.fullmatch(rb"<\|[\w.:-]+\|>", token)]
        return load(marked) if marked else self

    @staticmethod
    def _options(special_tokens: Specials | None, pattern: Text | None, nfc: bool,
                 ignore_merges: bool) -> Any:
        specials = _bytes_array(() if special_tokens is None else special_tokens, "special_tokens")
        ids = None
        if isinstance(special_tokens, Mapping):
            ids = (c_uint32 * len(specials))(
                *(_unsigned("token id", token_id, c_uint32) for token_id in special_tokens.values()))
        return _TokenizerOptions(special_tokens=specials, num_special_tokens=len(specials),
                                 pattern=_pattern(pattern), nfc=nfc,
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
        return int(_lib.tlm_tokenizer_vocab_size(self._handle))

    @property
    def vocab(self) -> Mapping[int, bytes]:
        """All tokens by id: a mapping that is made once and cannot be changed."""
        made = self.__dict__.get("_vocab")
        if made is None:
            tokens = ((token_id, self.token(token_id)) for token_id in range(self.vocab_size))
            made = self._vocab = MappingProxyType({token_id: token for token_id, token in tokens if token})
        return made

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
        _lib.tlm_tokenizer_token(byref(token), self._handle, _unsigned("token_id", token_id, c_uint32))
        # A field of c_char_p would stop at a NUL.
        address = ctypes.cast(byref(token), _OUT)[0]
        return ctypes.string_at(address, token.size) if token.size else b""

    def token_id(self, token: Text) -> int:
        """The id of the token with these bytes; NotFoundError if there is none."""
        token, token_id = _utf8(token, "token"), c_uint32()
        _lib.tlm_tokenizer_token_id(byref(token_id), self._handle, token, len(token))
        return token_id.value

    def _encode_small(self, text: Text) -> _array[int]:
        """The ids of a text with the usual options, without a call of ctypes' that costs more than the text."""
        if type(text) is not bytes:
            text = _utf8(text)
        if len(text) > _ROOM:
            return self._encode_large(text, None)
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
            return self._encode_large(text, None)
        ids = _array("I")
        ids.frombytes(room.view[:4 * n])
        _rooms.append(room)
        return ids

    def _encode_large(self, text: bytes, options: Any) -> _array[int]:
        ids, n = _IDS(), c_size_t()
        array: _array[int] = _array("I")
        with _Callbacks():
            _lib.tlm_tokenizer_encode_with(byref(ids), byref(n), self._handle, text, len(text),
                                           None if options is None else byref(options))
        array.frombytes(ctypes.string_at(ids, 4 * n.value) if n.value else b"")
        _lib.tlm_free(ids)
        return array

    def encode_array(self, text: Text, *, allowed_special: SpecialTokens = "all", disallowed_special: SpecialTokens = "all",
                     dropout: float = 0.0, seed: int = 0, add_special_tokens: bool = False,
                     whole_texts: bool = False) -> _array[int]:
        """The ids of encode as an array.array of unsigned 32-bit integers, which is faster to make than a list
        and which numpy.frombuffer takes as it is."""
        if (dropout or seed or add_special_tokens or whole_texts or allowed_special != "all"
                or disallowed_special != "all"):
            options = _encode_options(allowed_special, disallowed_special, dropout, seed, add_special_tokens, whole_texts)
            return self._encode_large(_utf8(text), options)
        return self._encode_small(text)

    def encode(self, text: Text, *, allowed_special: SpecialTokens = "all", disallowed_special: SpecialTokens = "all",
               dropout: float = 0.0, seed: int = 0, add_special_tokens: bool = False, whole_texts: bool = False,
               as_numpy: bool = False) -> Any:
        """Ids of a text: a list, or with as_numpy an array of uint32. The options are those of tiktoken, except
        that by default all special tokens are allowed: allowed_special ("all" or a set of strings, which become
        their ids), disallowed_special (these raise SpecialTokenError; "all": all that are not allowed; others
        are plain text), dropout (0..1), the probability of skipping a merge, and its seed. add_special_tokens
        puts the special tokens around the text that the tokenizer's file asks for, such as [CLS] ... [SEP], and
        whole_texts ignores the truncation and padding that a tokenizer.json asks for. Long texts are encoded on
        all threads."""
        if (dropout or seed or add_special_tokens or whole_texts or allowed_special != "all"
                or disallowed_special != "all"):
            options = _encode_options(allowed_special, disallowed_special, dropout, seed, add_special_tokens, whole_texts)
            ids = self._encode_large(_utf8(text), options)
        else:
            ids = self._encode_small(text)
        return _numpy_ids(ids) if as_numpy else ids.tolist()

    def encode_ordinary(self, text: Text) -> list[int]:
        """Ids of a text in which special tokens are plain text."""
        return self._encode_large(_utf8(text), _encode_options((), ())).tolist()

    def __call__(self, text: Text | Iterable[Text], **options: Unpack[CallOptions]) -> Any:
        """encode of a text, encode_batch of a list of texts; with their options."""
        if isinstance(text, (str, bytes, bytearray)):
            return self.encode(text, **options)
        if not hasattr(type(text), "__iter__"):
            raise TypeError(f"text takes a text, str or bytes, or a list of them, not {_given(text)}")
        return self.encode_batch(text, **options)

    def count(self, text: Text) -> int:
        """The number of ids that encode would return, without storing them."""
        text, n = _utf8(text), c_uint64()
        with _Callbacks():
            _lib.tlm_tokenizer_count(byref(n), self._handle, text, len(text))
        return n.value

    def trim(self) -> None:
        """Frees the caches that the tokenizer keeps between calls, at most 256 MiB."""
        _lib.tlm_tokenizer_trim(self._handle)

    def encode_batch(self, texts: Iterable[Text], *, allowed_special: SpecialTokens = "all",
                     disallowed_special: SpecialTokens = "all", dropout: float = 0.0, seed: int = 0,
                     add_special_tokens: bool = False,
                     whole_texts: bool = False, as_numpy: bool = False) -> list[Any]:
        """A list of ids, or with as_numpy an array, for each text, on all threads. See encode for the options."""
        options = _encode_options(allowed_special, disallowed_special, dropout, seed, add_special_tokens, whole_texts)
        strings, ids, offsets = _bytes_array(texts), _IDS(), _SIZES()
        with _Callbacks():
            _lib.tlm_tokenizer_encode_batch(byref(ids), byref(offsets), self._handle, strings, len(strings),
                                            byref(options))
        ends = offsets[:len(strings) + 1]
        if as_numpy:
            array = _array("I")
            array.frombytes(ctypes.string_at(ids, 4 * ends[-1]) if ends[-1] else b"")
            whole = _numpy_ids(array)
            result = [whole[start:end] for start, end in zip(ends, ends[1:])]
        else:
            result = [ids[start:end] for start, end in zip(ends, ends[1:])]
        _lib.tlm_free(ids)
        _lib.tlm_free(offsets)
        return result

    def encode_padded(self, texts: Iterable[Text], max_length: int = 0, pad_length: int = 0, pad_id: int = 0,
                      pad_side: str = "right", cut_side: str = "right", as_numpy: bool = False, *,
                      allowed_special: SpecialTokens = "all", disallowed_special: SpecialTokens = "all", dropout: float = 0.0,
                      seed: int = 0, add_special_tokens: bool = False,
                      whole_texts: bool = False) -> tuple[Any, Any, list[int]]:
        """(ids, mask, lengths): rows of one length, 1 in the mask where there is an id and 0 where
        there is padding, and the number of ids of each row. Texts of more than max_length ids are cut
        (0: none is); rows have pad_length ids (0: as many as the longest). Lists, or numpy arrays;
        the other options are those of encode."""
        options = _encode_options(allowed_special, disallowed_special, dropout, seed, add_special_tokens, whole_texts)
        strings, ids, mask, lengths = _bytes_array(texts), _IDS(), POINTER(c_uint8)(), _SIZES()
        length = c_size_t()
        pad = _PadOptions(max_length=max_length, pad_length=pad_length, pad_id=pad_id,
                          pad_side=_number("side", pad_side), cut_side=_number("side", cut_side))
        with _Callbacks():
            _lib.tlm_tokenizer_encode_padded(byref(ids), byref(mask), byref(lengths), byref(length),
                                             self._handle, strings, len(strings), byref(options), byref(pad))
        shape = len(strings), length.value
        result = _rows(ids, shape, as_numpy), _rows(mask, shape, as_numpy), lengths[:len(strings)]
        for array in (ids, mask, lengths):
            _lib.tlm_free(array)
        return result

    def encode_iterable(self, chunks: Text | Iterable[Text]) -> Iterator[int]:
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
        most = min(_unsigned("most", most), self.vocab_size)
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
        arrays = [_ids_array(row, f"rows[{i}]") for i, row in enumerate(rows)]
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
                                      _unsigned("an id in ids", token_id, c_uint32))
                if size.value:
                    yield ctypes.string_at(text, size.value).decode()
            _lib.tlm_decoder_finish(byref(text), byref(size), handle)
            if size.value:
                yield ctypes.string_at(text, size.value).decode()
        finally:
            _lib.tlm_decoder_free(handle)

    # -- As other objects of Python --

    def __len__(self) -> int:
        return self.vocab_size

    def __contains__(self, token: Any) -> bool:
        """Whether a token (a text or its id) is in the vocabulary."""
        try:
            return bool(self.token(token)) if hasattr(type(token), "__index__") else self.token_id(token) >= 0
        except (NotFoundError, ValueError):  # an id outside the vocabulary
            return False

    def _json(self) -> bytes:
        """The tokenizer.json that describes it, made once."""
        made: bytes | None = self.__dict__.get("_text")
        if made is None:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "tokenizer.json")
                self.save_json(path)
                with open(path, "rb") as file:
                    made = self._text = file.read()
        return made

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self._handle is other._handle or self._json() == other._json()

    def __hash__(self) -> int:
        return hash(self._json())

    def __deepcopy__(self, _memo: Any) -> Tokenizer:
        return self._share()  # nobody can change it

    def __reduce__(self) -> Any:
        return _from_json, (self._json(),)

    def _described(self) -> str:
        specials = _lib.tlm_tokenizer_num_special_tokens(self._handle)
        return (f"{self.vocab_size:,} tokens, {_lib.tlm_tokenizer_num_merges(self._handle):,} merges, "
                f"{specials:,} special token{'' if specials == 1 else 's'}")


def _numpy_ids(ids: _array[int]) -> Any:
    """A NumPy array over the memory of ids, which nobody else has."""
    import numpy
    return numpy.frombuffer(ids, dtype=numpy.uint32) if ids else numpy.empty(0, numpy.uint32)


def nfc(text: Text) -> bytes:
    """The text in Unicode's Normalization Form C."""
    text, data, size = _utf8(text), c_void_p(), c_size_t()
    _lib.tlm_utf8_nfc(byref(data), byref(size), text, len(text))
    return _take_bytes(data, size.value)
