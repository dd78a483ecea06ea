"""A tensor's elements: memory shared with others, lists and numbers."""

from __future__ import annotations

import ctypes
import itertools
import struct
from ctypes import POINTER, c_char_p, c_void_p
from typing import Any

from ._abi import _DLManagedTensor, _DLManagedTensorVersioned, _Release
from ._words import BFLOAT16, FLOAT16

# DLPack capsules: named "dltensor" until a consumer takes what is in them. A consumer that refuses it has raised an
# exception by then, beside which no function of Python can run: so its tensor keeps a capsule until it goes itself.
_CAPSULE, _USED_CAPSULE = b"dltensor", b"used_dltensor"
_VERSIONED, _USED_VERSIONED = b"dltensor_versioned", b"used_dltensor_versioned"  # of DLPack 1.0
_capsule_new, _capsule_pointer, _capsule_is, _capsule_rename = (
    prototype((name, ctypes.pythonapi)) for name, prototype in [
        ("PyCapsule_New", ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, c_char_p, c_void_p)),
        ("PyCapsule_GetPointer", ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, c_char_p)),
        ("PyCapsule_IsValid", ctypes.PYFUNCTYPE(ctypes.c_int, c_void_p, c_char_p)),
        ("PyCapsule_SetName", ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, c_char_p))])
# The same function for a capsule that is going: no reference is to be taken to it.
_dying_capsule_pointer = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


def _forget_capsule(capsule: Any) -> None:
    for name, kind in ((_CAPSULE, _DLManagedTensor), (_VERSIONED, _DLManagedTensorVersioned)):
        if _capsule_is(capsule, name):
            managed = ctypes.cast(_dying_capsule_pointer(capsule, name), POINTER(kind))
            managed.contents.deleter(managed)


_delete_capsule = ctypes.PYFUNCTYPE(None, c_void_p)(_forget_capsule)

# Objects whose memory tensors lie over, by number, until the library lets them go.
_buffers: dict[int, Any] = {}
_numbers = itertools.count(1)


_release_buffer = _Release(_buffers.pop)  # which no handler of a signal interrupts


def _flatten(values: Any, shape: list[int]) -> list[Any]:
    """Checks that nested lists have one shape, which it appends to `shape`; returns a flat list."""
    if not isinstance(values, (list, tuple)) and hasattr(values, "tolist"):
        if getattr(values, "requires_grad", False):
            raise TypeError("a list of tensors that require gradients would lose their graph: use tinylm.stack(list)")
        values = values.tolist()  # an array or a number of NumPy in a list
    if not isinstance(values, (list, tuple)):
        return [values]
    shape.append(len(values))
    parts: list[Any] = []
    inner = None
    for value in values:
        own: list[int] = []
        parts.extend(_flatten(value, own))
        if inner is not None and own != inner:
            raise ValueError(f"rows of different shapes, {inner} and {own}")
        inner = own
    shape.extend(inner or [])
    return parts


def _nest(values: list[Any], shape: tuple[int, ...]) -> Any:
    """The inverse of _flatten."""
    if not shape:
        return values[0]
    step = len(values) // shape[0] if shape[0] else 0
    return [_nest(values[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])]


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
