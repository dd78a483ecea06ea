"""Token data: data sets, loaders and token files."""

from __future__ import annotations

import ctypes
import os
from array import array as _array
from ctypes import byref, c_char_p, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any, Callable, Iterable, Sequence, TYPE_CHECKING

from ._abi import _ChatData, _ChatDataOptions, _EncodeFilesOptions, _IDS, _LoaderOptions, _Progress
from ._convert import Ids, Path, _ids_array, _rows
from ._handle import _Callbacks, _Handle
from ._native import _lib
from ._structs import _room, _unsigned, _whole
from ._words import _TOKEN_TYPES, _number
from .progress import _progress
from .communicator import _communicator

if TYPE_CHECKING:
    from .chat import ChatTemplate
    from .tokenizers import Tokenizer


def _token_type(name: str | None) -> int:
    if name not in _TOKEN_TYPES:
        raise ValueError(f"token_type {name!r} is none of {', '.join(filter(None, _TOKEN_TYPES))}")
    return _TOKEN_TYPES[name]


class Dataset(_Handle):
    """Token ids to draw batches from: over the memory of a numpy array of uint16 or uint32, or over a
    copy of any other integers."""

    _free = "tlm_dataset_free"
    _recipe: tuple[Any, tuple[Any, ...]] | None = None  # a function and arguments that make it again
    found: dict[str, int]  # of open_chat: what was read

    def __init__(self, ids: Any) -> None:
        handle = c_void_p()
        if hasattr(ids, "__array_interface__"):
            if ids.dtype.kind not in "iuf":
                raise TypeError(f"ids takes whole numbers, not an array of {ids.dtype}")
            if getattr(ids, "mask", False) is not False and ids.mask.any():
                raise TypeError("ids is a masked array, whose masked elements are no ids: use array.compressed()")
            if ids.ndim != 1:
                raise ValueError(f"ids of {ids.ndim} dimensions, not 1")
            if str(ids.dtype) not in ("uint16", "uint32") or not ids.flags.c_contiguous:
                given, ids = ids, ids.astype("uint32")
                if (ids != given).any():
                    raise ValueError("ids that are not whole numbers in 0..2**32-1")
            self._ids = ids  # which the library borrows
            self._recipe = Dataset, (ids,)
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
        given: Any = path
        absolute = list(map(os.path.abspath, given)) if isinstance(given, (list, tuple)) else os.path.abspath(given)
        recipe = cls.open, (absolute, token_type, vocab_size)
        if isinstance(path, (list, tuple)):
            paths = (c_char_p * len(path))(*map(os.fsencode, path))
            with _Callbacks():
                _lib.tlm_dataset_open_files(byref(handle), paths, len(path), _token_type(token_type),
                                            _unsigned("vocab_size", vocab_size, c_uint32))
            return cls._wrap(handle)._made_by(recipe)
        with _Callbacks():
            _lib.tlm_dataset_open(byref(handle), os.fsencode(path),  # type: ignore[arg-type]
                                  _token_type(token_type), _unsigned("vocab_size", vocab_size, c_uint32))
        return cls._wrap(handle)._made_by(recipe)

    @classmethod
    def open_text(cls, path: Path, tokenizer: Tokenizer) -> Dataset:
        """Encodes a text file into memory."""
        handle = c_void_p()
        with _Callbacks():
            _lib.tlm_dataset_open_text(byref(handle), os.fsencode(path), tokenizer._handle)
        return cls._wrap(handle)

    @classmethod
    def from_rows(cls, rows: Iterable[Ids], counted: Iterable[Iterable[int]] | None = None) -> Dataset:
        """Rows of equal length, the only windows that loaders take; `counted`, of 0 and 1 in the same
        shape, says which ids count as targets."""
        lists = [list(_ids_array(row, f"rows[{i}]")) for i, row in enumerate(rows)]
        length = len(lists[0]) if lists else 0
        if any(len(row) != length for row in lists):
            raise ValueError("rows of different lengths")
        ids, mask = _ids_array([i for row in lists for i in row]), None
        if counted is not None:
            flat = [one for i, row in enumerate(counted) for one in _ids_array(row, f"counted[{i}]")]
            if len(flat) != len(ids):
                raise ValueError(f"{len(flat)} numbers in counted for {len(ids)} ids")
            mask = (c_uint8 * len(flat))(*flat)
        handle = c_void_p()
        _lib.tlm_dataset_from_rows(byref(handle), ids, mask, len(ids), length)
        marks = None if mask is None else [list(mask[i:i + length]) for i in range(0, len(ids), length)]
        return cls._wrap(handle)._made_by((cls.from_rows, (lists, marks)))

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
        template = None if chat_template is None else chat_template._handle
        with _Callbacks():
            _lib.tlm_dataset_open_chat(byref(handle), byref(found), os.fsencode(path), tokenizer._handle,
                                       template, byref(options))
        dataset = cls._wrap(handle)
        dataset.found = {name: getattr(found, name) for name, _ in found._fields_[1:]}
        return dataset._made_by((cls.open_chat, (os.path.abspath(path), tokenizer, row_length, chat_template, packed,
                                                 whole_texts, begin_token, end_token, pad_id)))

    def _made_by(self, recipe: tuple[Any, tuple[Any, ...]]) -> Dataset:
        self._recipe = recipe
        return self

    def __reduce__(self) -> Any:
        if self._recipe is not None:
            return self._recipe
        ids = _room(c_uint32, len(self), "n")
        _lib.tlm_dataset_read(ids, len(self), self._handle, 0)
        return _of_bytes, (bytes(ids),)

    def __deepcopy__(self, _memo: Any) -> Dataset:
        return self._share()  # nobody can change it

    def __len__(self) -> int:
        return int(_lib.tlm_dataset_length(self._handle))

    def __getitem__(self, place: Any) -> Any:
        """An id, or a list of them for a slice."""
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            first, last = (start, stop) if step > 0 else (stop + 1, start + 1)
            return self.read(first, last - first)[start - first::step] if last > first else []
        at = _whole("an index", place)
        if not -len(self) <= at < len(self):
            raise IndexError(f"index {at} of {len(self)} ids")
        return self.read(at % len(self), 1)[0]

    def read(self, offset: int, n: int) -> list[int]:
        """Ids offset .. offset + n - 1."""
        ids = _room(c_uint32, n, "n")
        _lib.tlm_dataset_read(ids, n, self._handle, _unsigned("offset", offset))
        return list(ids)

    def sample(self, batch: int, context: int, seed: int, step: int = 0, as_numpy: bool = False) -> tuple[Any, Any]:
        """Inputs and targets (batch, context) of a step of a seeded run, as lists of rows or numpy
        arrays: rows from places drawn uniformly, targets one id later."""
        size = max(batch, 0) * max(context, 0)
        inputs, targets = _room(c_uint32, size, "batch times context"), _room(c_uint32, size, "batch times context")
        _lib.tlm_dataset_sample(inputs, targets, self._handle, batch, context, _unsigned("seed", seed),
                                _unsigned("step", step))
        first, second = (_rows(ctypes.cast(array, _IDS), (batch, context), as_numpy) for array in (inputs, targets))
        return first, second


def _of_bytes(ids: bytes) -> Dataset:
    """A data set of ids as they lie in memory."""
    array = _array("I")
    array.frombytes(ids)
    return Dataset(array)


class Loader(_Handle):
    """Makes the batches of a run, without end: an iterator over inputs and targets (batch_size,
    context_length), lists of rows or numpy arrays. order: "random", "shuffled" (all windows once per
    epoch) or "sequential"; document_end: windows begin where documents do, after that id; prefetch:
    batches made ahead on a thread."""

    _free = "tlm_loader_free"
    _instead = "make one of its Dataset, which can be, in each process, and set its position"

    def __init__(self, dataset: Dataset, batch_size: int, context_length: int, seed: int = 0,
                 order: str = "random", document_end: int | None = None, prefetch: int = 0,
                 as_numpy: bool = False) -> None:
        options = _LoaderOptions(
            batch_size=batch_size, context_length=context_length, seed=seed, order=_number("order", order),
            document_end=document_end, has_document_end=document_end is not None, prefetch=prefetch)
        handle = c_void_p()
        _lib.tlm_loader_create(byref(handle), dataset._handle, byref(options))
        self._handle, self._dataset = handle, dataset._share()  # which the library borrows
        self._shape, self._as_numpy = (batch_size, context_length), as_numpy

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> tuple[Any, Any]:
        inputs, targets = _IDS(), _IDS()
        _lib.tlm_loader_next(byref(inputs), byref(targets), self._handle)
        first, second = (_rows(array, self._shape, self._as_numpy) for array in (inputs, targets))
        return first, second

    @property
    def position(self) -> int:
        """The number of the batch that comes next; may be set."""
        return int(_lib.tlm_loader_position(self._handle))

    @position.setter
    def position(self, batch: int) -> None:
        _lib.tlm_loader_seek(self._handle, _unsigned("batch", batch))

    @property
    def windows_per_epoch(self) -> int:
        """Windows in an epoch."""
        return int(_lib.tlm_loader_windows_per_epoch(self._handle))

    @property
    def batches_per_epoch(self) -> int:
        """Batches that hold them, rounded up."""
        return int(_lib.tlm_loader_batches_per_epoch(self._handle))


class TokenWriter(_Handle):
    """Writes a token file, .npy if it ends so: `with TokenWriter(path) as writer: writer.push(ids)`. The
    file appears at the end, and not after an exception."""

    _free = "tlm_token_writer_free"
    _instead = "write one file in each process; Dataset.open takes a list of them"

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
        self.close()


def encode_file(tokenizer: Tokenizer, text_path: Path, tokens_path: Path, token_type: str | None = None,
                progress: Callable[[int, int], Any] | bool | None = None, part: int = 0, num_parts: int = 1) -> int:
    """Encodes a text file of any size, or one of several parts of it, to a token file; returns the number of
    tokens. progress(done, total), in bytes of the text, ends the call if it returns True. The files of
    all parts, one after another, have the ids of the whole text."""
    shown = _progress(progress, "encoding")

    def report(_user: Any, done: int, total: int) -> Any:
        return None if shown is None else shown(done, total)

    n = c_uint64()
    paths = os.fsencode(text_path), os.fsencode(tokens_path), _token_type(token_type)
    with _Callbacks() as callbacks:
        callback = callbacks.wrap(_Progress, report)
        if (part, num_parts) == (0, 1):
            _lib.tlm_tokenizer_encode_file(byref(n), tokenizer._handle, *paths, callback, None)
        else:
            _lib.tlm_tokenizer_encode_file_part(byref(n), tokenizer._handle, *paths, part, num_parts, callback, None)
    return n.value


def encode_files(tokenizer: Tokenizer, text_paths: Sequence[Path], tokens_path: Path, token_type: str | None = None,
                 progress: Callable[[int, int], Any] | bool | None = None, communicator: Any = None) -> int:
    """Encodes text files to one token file, their ids one after another; returns the number of tokens. The ranks of
    a communicator (Communicator) share the work and write the same bytes as one process. progress as of encode_file."""
    shown = _progress(progress, "encoding")

    def report(_user: Any, done: int, total: int) -> Any:
        return None if shown is None else shown(done, total)

    paths, n, ranks = list(map(os.fsencode, text_paths)), c_uint64(), _communicator(communicator)
    with _Callbacks() as callbacks:
        options = _EncodeFilesOptions(token_type=_token_type(token_type), progress=callbacks.wrap(_Progress, report),
                                      communicator=ranks and ranks._handle)
        _lib.tlm_tokenizer_encode_files(byref(n), tokenizer._handle, (c_char_p * len(paths))(*paths), len(paths),
                                        os.fsencode(tokens_path), byref(options))
    return n.value
