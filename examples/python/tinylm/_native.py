"""Finds and loads the library."""

from __future__ import annotations

import ctypes
import os
import re
from ctypes import c_int32
from typing import Any

from ._abi import _declare
from ._headers import ABI_VERSION, FUNCTIONS, VERSION
from ._structs import _Options, _given
from .errors import Error, _ERRORS


def _check(status: int, _function: Any, _arguments: Any) -> int:
    if status != 0:
        raise _ERRORS.get(status, Error)(_lib.tlm_status_name(status).decode(),
                                         _lib.tlm_error_message().decode(errors="replace"))
    return status


def _wrong_argument(error: ctypes.ArgumentError, name: str, arguments: tuple[Any, ...]) -> BaseException:
    """What ctypes says of a wrong argument, in words that name the parameter."""
    found = re.fullmatch(r"argument (\d+): (?:<class ')?(\w+)(?:'>)?: (.*)", str(error), re.DOTALL)
    if found is None:
        return TypeError(str(error))
    number, kind, text = found.groups()
    if kind == "KeyboardInterrupt":  # came while an argument was converted
        return KeyboardInterrupt()
    label = FUNCTIONS[name][1][int(number) - 1][0]
    if text.startswith(label + " "):  # of _Whole
        return (ValueError if kind == "ValueError" else TypeError)(text)
    return TypeError(f"{label} does not take {_given(arguments[int(number) - 1])}")


# Ctrl-C while an object went, where Python drops exceptions: the next call raises it.
_missed: list[KeyboardInterrupt] = []


def _typed(function: Any, name: str) -> Any:
    """A function of the library with the types of the headers; wrong arguments are errors of Python."""
    if _declare(function, name):
        function.errcheck = _check

    def call(*arguments: Any) -> Any:
        if _missed:
            raise _missed.pop()
        try:
            return function(*arguments)
        except ctypes.ArgumentError as error:
            wrong = _wrong_argument(error, name, arguments)
        raise wrong

    setattr(call, "function", function)
    return call


class _Library(ctypes.CDLL):
    """The library, whose functions get their types when they are used first."""

    def __getitem__(self, name: Any) -> Any:
        function = super().__getitem__(name)
        return _typed(function, name) if name in FUNCTIONS else function


def _find() -> str:
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libtinylm.so")  # as in a wheel
    if os.environ.get("TINYLM_LIBRARY"):
        return os.environ["TINYLM_LIBRARY"]
    if os.path.exists(beside):
        return beside
    from ctypes.util import find_library  # which takes long to import
    path = find_library("tinylm")
    if path is None:
        raise ImportError("libtinylm not found: install it, or set TINYLM_LIBRARY to its path")
    return path


def _load_library() -> _Library:
    path = _find()
    try:
        library = _Library(path)
        found = library.tlm_version().decode(), library.tlm_abi_version()
    except (OSError, AttributeError) as error:
        raise ImportError(f"libtinylm cannot be loaded: {error}") from None
    if found[1] != ABI_VERSION or found[0].split(".")[:2] != VERSION.split(".")[:2]:
        raise ImportError(f"{path} is libtinylm {found[0]} with ABI {found[1]}; this package is for {VERSION} with "
                          f"ABI {ABI_VERSION}")
    return library


_lib = _load_library()

# Without conversions of arguments, and a check of the status, which take longer than a small text.
_encode_into = ctypes.CDLL.__getitem__(_lib, "tlm_tokenizer_encode_into")
_encode_into.restype = c_int32

_Options._set_defaults = staticmethod(_lib.tlm_options_init)
