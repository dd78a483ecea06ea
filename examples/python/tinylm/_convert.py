"""Between Python objects and the arrays of C."""

from __future__ import annotations

import ctypes
import itertools
from array import array as _array
from ctypes import c_int64, c_size_t, c_uint32, c_void_p
from typing import Any, Iterable, Iterator, Mapping, Sequence, Union

from ._abi import _Bytes
from ._native import _lib

Text = Union[str, bytes]
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Ids = Iterable[int]
Specials = Union[Iterable[Text], Mapping[Text, int]]


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


def _take_text(text: c_void_p) -> bytes:
    """A string that the library handed out, which is then freed."""
    result = ctypes.string_at(text)
    _lib.tlm_free(text)
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


def _dims(shape: Sequence[int]) -> Any:
    return (c_int64 * len(shape))(*shape)


def _batch(rows: Any) -> tuple:
    """Ids as a flat C array with (batch, time), from ids or rows of ids: lists, or arrays that have
    tolist()."""
    rows = rows.tolist() if hasattr(rows, "tolist") else list(rows)
    if not rows or not isinstance(rows[0], (list, tuple)):
        rows = [rows]
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("rows of different lengths")
    return _ids_array(itertools.chain.from_iterable(rows)), len(rows), len(rows[0])
