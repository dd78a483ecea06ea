"""The types of a tensor's elements."""

from __future__ import annotations

import ctypes
from typing import Any

from . import _words


class DType(int):
    """An element type. Wherever a dtype is asked for, its name ("int64"), NumPy's or PyTorch's type of that
    name, and Python's float, int and bool may stand for it too; it compares equal to all of these."""

    @property
    def name(self) -> str:
        """Its name, which is also NumPy's and PyTorch's: "float32"."""
        return _NAMES[int(self)]

    @property
    def dtype(self) -> Any:
        """NumPy's type, by which numpy.dtype(...) takes this one."""
        import numpy
        return numpy.dtype(self.name)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return ctypes.sizeof(_words._ELEMENTS[int(self)])

    def __repr__(self) -> str:
        return f"tinylm.{self.name.upper()}"

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return int(self) == int(other)
        name = _name_of(other)
        return name is not None and _NAMES[int(self)] == _ALIASES.get(name, name)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return DType, (int(self),)


_NAMES = ["float32", "int32", "int64", "uint32", "bool", "bfloat16", "float16"]
_ALIASES = {"bool_": "bool", "float": "float32", "int": "int64", "half": "float16"}
FLOAT32, INT32, INT64, UINT32, BOOL, BFLOAT16, FLOAT16 = map(DType, range(7))


def _name_of(value: Any) -> str | None:
    """What a type is called: the name, a type of Python or NumPy, a dtype of NumPy or PyTorch."""
    if isinstance(value, str):
        return value
    if isinstance(value, type):
        return value.__name__ if value in (float, int, bool) or value.__module__ in ("numpy", "ml_dtypes") else None
    text = str(value)
    if type(value).__module__.partition(".")[0] == "torch" and text.startswith("torch."):
        return text[len("torch."):]
    name = getattr(value, "name", None)  # of numpy.dtype
    return name if isinstance(name, str) and hasattr(value, "itemsize") else None


def _dtype(value: Any, name: str = "dtype") -> DType:
    """The DType that an argument stands for."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_NAMES):
        return DType(value)
    found = _name_of(value)
    if found is None:
        raise TypeError(f"{name} {value!r} is no element type: give a name such as \"float32\"")
    found = _ALIASES.get(found, found)
    if found not in _NAMES:
        raise TypeError(f"{name} {found} is none of {', '.join(_NAMES)}")
    return DType(_NAMES.index(found))
