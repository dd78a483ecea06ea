"""The exceptions: one class per status of the library."""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """A call of the library failed. `status` is its code, such as "TLM_ERR_SHAPE"."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, str(self))


class InvalidArgumentError(Error, ValueError):
    """An argument makes no sense."""


class ShapeError(Error, ValueError):
    """Shapes do not fit."""


class OutOfMemoryError(Error, MemoryError):
    """There is no memory left; nothing has changed."""


class FileError(Error, OSError):
    """A file cannot be read or written."""


class FormatError(Error, ValueError):
    """A file is damaged, or not what it should be."""


class NotFoundError(Error, FileNotFoundError, LookupError):
    """There is no such file, token or name."""


class UnsupportedError(Error, NotImplementedError):
    """The library does not do this."""


class RangeError(Error, IndexError, ValueError):
    """A value, such as an id, is outside its range."""


class StateError(Error, RuntimeError):
    """The object is not in a state that allows the call."""


class RegexError(Error, ValueError):
    """A pattern is malformed, or a search exceeds its limits."""


class NonFiniteError(Error, ArithmeticError):
    """NaN or infinity where a number should be."""


class CancelledError(Error, RuntimeError):
    """A callback has ended the call."""


class SpecialTokenError(Error, ValueError):
    """A text holds a special token that is not allowed there."""


_ERRORS = {
    -1: InvalidArgumentError, -2: ShapeError, -3: OutOfMemoryError, -4: FileError, -5: FormatError,
    -6: NotFoundError, -7: UnsupportedError, -8: RangeError, -9: StateError, -10: RegexError,
    -11: NonFiniteError, -12: CancelledError, -13: SpecialTokenError}
_CANCELLED = -12
