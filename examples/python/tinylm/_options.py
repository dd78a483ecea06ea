"""Options of models and of their files."""

from __future__ import annotations

from ctypes import c_uint32
from typing import Any, Iterable

from ._abi import _LoraOptions, _ModelOptions
from ._convert import _utf8
from ._structs import _unsigned
from ._words import _WORDS, _number


def _end_tokens(ids: int | Iterable[int] | None) -> dict[str, Any]:
    """The fields of end tokens: None, one id or several."""
    ids = [] if ids is None else [ids] if hasattr(ids, "__index__") else list(ids)
    if len(ids) > 8:
        raise ValueError("more than 8 end tokens")
    more = (c_uint32 * 7)(*[_unsigned("end_token", token) for token in ids[1:]])
    return {"has_end_token": bool(ids), "end_token": ids[0] if ids else None,
            "num_more_end_tokens": max(0, len(ids) - 1), "more_end_tokens": more}


def _model_options(**values: Any) -> _ModelOptions:
    return _ModelOptions(**{name: _number(name, value) if name in _WORDS else value
                            for name, value in values.items()})


def _lora_options(targets: str | Iterable[str] = "all-linear", family: str = "auto",
                  **values: Any) -> _LoraOptions:
    text = targets if isinstance(targets, str) else ",".join(targets)
    return _LoraOptions(targets=_utf8(text), family=_number("family", family), **values)
