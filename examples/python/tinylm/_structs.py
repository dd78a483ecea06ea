"""What the structs of the headers are made of, and numbers that fit in them."""

from __future__ import annotations

import ctypes
from ctypes import c_size_t, c_uint32, c_uint64
from typing import Any, Callable

_UNSIGNED = {c_uint32: 1 << 32, c_uint64: 1 << 64, c_size_t: 1 << 64}


def _unsigned(name: str, value: int, kind: Any = c_uint64) -> int:
    """A number for an argument that has no sign: ctypes would wrap what does not fit around."""
    if not 0 <= value < _UNSIGNED[kind]:
        raise ValueError(f"{name} {value} is not in 0..2**{8 * ctypes.sizeof(kind)}-1")
    return int(value)


class _Options(ctypes.Structure):
    """An options struct of the library: its own size comes first, the rest is the library's default
    until it is set."""

    _type = b""  # its name in C
    _set_defaults: Callable[[Any, int, bytes], int]  # of the library, once it is loaded

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._set_defaults(ctypes.pointer(self), ctypes.sizeof(self), self._type)
        for name, value in values.items():
            if value is not None:
                kind = dict(self._fields_)[name]
                setattr(self, name, _unsigned(name, value, kind) if kind in _UNSIGNED else value)
