"""Looking at checkpoints without loading them."""

from __future__ import annotations

import json
import os
from ctypes import byref, c_uint64, c_void_p
from typing import Any

from ._convert import Path, _take_text
from ._handle import _Callbacks
from ._native import _lib
from .tokenizers import Tokenizer


def checkpoint_metadata(path: Path) -> tuple[dict[str, Any], int]:
    """The metadata of a checkpoint, and the number of iterations done."""
    text, iteration = c_void_p(), c_uint64()
    with _Callbacks():
        _lib.tlm_checkpoint_metadata(byref(text), byref(iteration), os.fsencode(path))
    return json.loads(_take_text(text)), iteration.value


def checkpoint_tokenizer(path: Path) -> Tokenizer | None:
    """The tokenizer that a checkpoint was saved with, or None."""
    handle = c_void_p()
    with _Callbacks():
        _lib.tlm_checkpoint_tokenizer(byref(handle), os.fsencode(path))
    return Tokenizer._wrap(handle) if handle else None


def latest_checkpoint(directory: Path) -> str:
    """The path of the latest undamaged checkpoint in a directory."""
    path = c_void_p()
    with _Callbacks():
        _lib.tlm_checkpoint_dir_latest(byref(path), None, os.fsencode(directory))
    return os.fsdecode(_take_text(path))


def best_checkpoint(directory: Path) -> str:
    """The path of the checkpoint with the lowest validation loss in a directory."""
    path = c_void_p()
    with _Callbacks():
        _lib.tlm_checkpoint_dir_best(byref(path), None, os.fsencode(directory))
    return os.fsdecode(_take_text(path))
