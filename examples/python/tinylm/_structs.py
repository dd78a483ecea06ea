"""What the structs of the headers are made of, and numbers that fit in them."""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64
from typing import Any, Callable, ClassVar

# Whole numbers of C: the smallest, and one more than the largest.
_RANGES: dict[Any, tuple[int, int]] = {
    c_uint8: (0, 1 << 8), c_int32: (-1 << 31, 1 << 31), c_uint32: (0, 1 << 32), c_int64: (-1 << 63, 1 << 63),
    c_uint64: (0, 1 << 64), c_size_t: (0, 1 << 64)}


def _given(value: Any) -> str:
    """A wrong argument as messages show it."""
    text = " ".join(repr(value).split())
    text = text if len(text) <= 40 else text[:37] + "..."
    return text if value is None or isinstance(value, bool) else f"{text} ({type(value).__name__})"


def _whole(name: str, value: Any, kind: Any = c_int64) -> int:
    """A whole number for an argument of this type of C: ctypes would wrap what does not fit around."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} takes a whole number, not {_given(value)}")
    whole: int = value.__index__()
    low, high = _RANGES[kind]
    if not low <= whole < high:
        signed = "" if low == 0 else f"-2**{8 * ctypes.sizeof(kind) - 1}"
        raise ValueError(f"{name} {whole} is not in {signed or 0}..2**{high.bit_length() - 1}-1")
    return whole


def _unsigned(name: str, value: Any, kind: Any = c_uint64) -> int:
    """A whole number for an argument that has no sign."""
    return _whole(name, value, kind)


def _real(name: str, value: Any) -> float:
    """A number; one of NumPy's too, but no text and no truth value."""
    if isinstance(value, (bool, str, bytes, bytearray)) or not (
            hasattr(type(value), "__float__") or hasattr(type(value), "__index__")):
        raise TypeError(f"{name} takes a number, not {_given(value)}")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    """A truth value, one of NumPy's too: "no" would be true."""
    if value is True or value is False or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise TypeError(f"{name} takes True or False, not {_given(value)}")


class _Whole:
    """The type of a parameter that takes whole numbers, with its name and range for messages."""

    def __init__(self, name: str, kind: Any) -> None:
        self.name, self.kind = name, kind
        self.low, self.high = _RANGES[kind]

    @classmethod
    def of(cls, name: str, kind: str, scalars: dict[str, Any]) -> _Whole | None:
        """For a parameter; None for one that takes something else."""
        known = scalars.get(kind)
        return cls(name, known) if known in _RANGES else None

    def from_param(self, value: Any) -> Any:
        """What ctypes passes."""
        if type(value) is int and self.low <= value < self.high:
            return self.kind(value)
        if isinstance(value, self.kind):
            return value
        return self.kind(_whole(self.name, value, self.kind))


class _CText:
    """The type of a parameter that takes a text or a path, which ends at a NUL: one within it would cut it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def from_param(self, value: Any) -> Any:
        """What ctypes passes."""
        if isinstance(value, bytes):
            _without_nul(self.name, value)
        elif isinstance(value, str):
            raise TypeError(f"{self.name} takes bytes here, not {_given(value)}")
        return c_char_p.from_param(value)


def _without_nul(name: str, text: bytes) -> bytes:
    if b"\0" in text:
        raise ValueError(f"{name} holds a NUL: {_given(text)}")
    return text


class _Options(ctypes.Structure):
    """An options struct of the library: its own size comes first, the rest is the library's default
    until it is set."""

    _type = b""  # its name in C
    _by_name: ClassVar[dict[str, Any]]
    _set_defaults: Callable[[Any, int, bytes], int]  # of the library, once it is loaded

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._set_defaults(ctypes.pointer(self), ctypes.sizeof(self), self._type)
        kinds = self._kinds()
        for name, value in values.items():
            if name not in kinds:
                raise ValueError(f"{name!r} is no option; there are {', '.join(one for one in kinds if _is_option(one))}")
            if value is not None:
                setattr(self, name, _fitting(name, value, kinds[name]))

    @classmethod
    def _kinds(cls) -> dict[str, Any]:
        """The types of the fields by name."""
        if "_by_name" not in cls.__dict__:
            cls._by_name = {field[0]: field[1] for field in cls._fields_}
        return cls._by_name


def _is_option(field: str) -> bool:
    return field != "size" and not field.startswith("reserved")


def _room(kind: Any, n: Any, name: str) -> Any:
    """An array of C with as many elements as a parameter says."""
    n = _whole(name, n, c_size_t)
    if n > 1 << 40:
        raise ValueError(f"{name} {n} is more than there is memory for")
    return (kind * n)()


def _fitting(name: str, value: Any, kind: Any) -> Any:
    """A value for a field, which may be a number of another type."""
    if kind in _RANGES:
        return _whole(name, value, kind)
    if kind is c_double or kind is c_float:
        return _real(name, value)
    if kind is c_bool:
        return _flag(name, value)
    if kind is c_char_p:
        if not isinstance(value, bytes):
            raise TypeError(f"{name} takes a text, not {_given(value)}")
        _without_nul(name, value)
    return value
