"""Finds and loads the library."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from ctypes import c_int32
from typing import Any

from ._abi import _OTHER_FUNCTIONS, _STATUS_FUNCTIONS
from ._structs import _Options
from .errors import Error, _ERRORS


def _check(status: int, _function: Any, _arguments: Any) -> int:
    if status != 0:
        raise _ERRORS.get(status, Error)(_lib.tlm_status_name(status).decode(),
                                         _lib.tlm_error_message().decode(errors="replace"))
    return status


def _load_library() -> ctypes.CDLL:
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libtinylm.so")  # as in a wheel
    path = os.environ.get("TINYLM_LIBRARY") or (
        beside if os.path.exists(beside) else ctypes.util.find_library("tinylm"))
    if path is None:
        raise ImportError("libtinylm not found: install it, or set TINYLM_LIBRARY to its path")
    library = ctypes.CDLL(path)
    for name, arguments in _STATUS_FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes, function.errcheck = c_int32, arguments, _check
    for name, (result, arguments) in _OTHER_FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_lib = _load_library()

# Without conversions of arguments, and a check of the status, which take longer than a small text.
_encode_into = _lib["tlm_tokenizer_encode_into"]
_encode_into.restype = c_int32

_Options._set_defaults = staticmethod(_lib.tlm_options_init)
