"""Between Python objects and the arrays of C."""

from __future__ import annotations

import ctypes
import itertools
import os
from array import array as _array
from ctypes import c_int64, c_size_t, c_uint32, c_void_p
from typing import Any, Iterable, Iterator, Mapping, Sequence, Union

from ._abi import _Bytes
from ._native import _lib
from ._structs import _given

Text = Union[str, bytes]
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Ids = Iterable[int]
Specials = Union[Iterable[Text], Mapping[Text, int]]


def _utf8(text: Text, name: str = "text") -> bytes:
    """The bytes of a text."""
    if isinstance(text, str):
        return text.encode()
    if isinstance(text, (bytes, bytearray)):
        return bytes(text)
    if hasattr(text, "as_py") and isinstance(text.as_py(), (str, bytes)):  # of PyArrow
        return _utf8(text.as_py())
    advice = "; decode takes ids, encode_batch several texts" if hasattr(type(text), "__iter__") else ""
    raise TypeError(f"{name} takes a text, str or bytes, not {_given(text)}{advice}")


def _joined(chunks: Text | Iterable[Text]) -> Iterator[bytes]:
    """The chunks, small ones in pieces of a few kilobytes: a call for each line of a file would take
    longer than its work."""
    parts, size = [], 0
    for chunk in [chunks] if isinstance(chunks, (str, bytes, bytearray)) else chunks:
        parts.append(_utf8(chunk))
        size += len(parts[-1])
        if size >= 8192:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def _bytes_array(items: Iterable[Text], name: str = "texts") -> Any:
    """Texts as the library takes them; one text is no list of its letters."""
    if isinstance(items, (str, bytes, bytearray)) or not hasattr(type(items), "__iter__"):
        advice = f": write [{name}]" if hasattr(type(items), "__iter__") else ""
        raise TypeError(f"{name} takes a list of texts, not {_given(items)}{advice}")
    to_list = getattr(items, "to_pylist", None)  # of PyArrow, whose own elements are no texts
    items = list(items) if to_list is None else to_list()
    try:
        encoded = [_utf8(item) for item in items]
    except TypeError:
        encoded = [_utf8(item, f"{name}[{i}]") for i, item in enumerate(items)]
    return (_Bytes * len(encoded))(*[_Bytes(item, len(item)) for item in encoded])


def _listed(values: Any) -> list[Any]:
    """A list of what an array or an iterator holds."""
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _ids_array(ids: Any, name: str = "ids") -> Any:
    """A flat C array; what is no list of token ids is refused."""
    if isinstance(ids, (str, bytes, bytearray)) or not hasattr(type(ids), "__iter__"):
        advice = "; encode makes ids of a text" if isinstance(ids, (str, bytes)) else ""
        raise TypeError(f"{name} takes a list or an array of ids, not {_given(ids)}{advice}")
    ids = _listed(ids)
    try:
        if ids and isinstance(ids[0], bool):
            raise TypeError
        return (c_uint32 * len(ids)).from_buffer(_array("I", ids))
    except (OverflowError, TypeError):
        for i, one in enumerate(ids):
            if isinstance(one, bool) or not hasattr(type(one), "__index__"):
                raise TypeError(f"{name}[{i}] is {_given(one)}, not a token id") from None
            if not 0 <= one < 1 << 32:
                raise ValueError(f"token id {one} is not in 0..2**32-1") from None
        raise


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


def _batch(rows: Any, name: str = "ids") -> tuple[Any, int, int]:
    """Ids as a flat C array with (batch, time), from ids or rows of ids: lists, or arrays that have
    tolist()."""
    if isinstance(rows, (str, bytes, bytearray)) or not hasattr(type(rows), "__iter__"):
        _ids_array(rows, name)  # which says what is wrong
    rows = _listed(rows)
    if not rows or not hasattr(type(rows[0]), "__iter__") or isinstance(rows[0], (str, bytes)):
        return _ids_array(rows, name), 1, len(rows)
    rows = [row.tolist() if hasattr(row, "tolist") else row for row in rows]
    for i, row in enumerate(rows):
        if not isinstance(row, (list, tuple)):
            raise TypeError(f"{name}[{i}] is {_given(row)}, not a row of ids")
        if len(row) != len(rows[0]):
            raise ValueError(f"{name}: rows of different lengths, {len(rows[0])} and {len(row)}")
    return _ids_array(itertools.chain.from_iterable(rows), name), len(rows), len(rows[0])
