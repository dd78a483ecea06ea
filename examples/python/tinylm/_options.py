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
    tokens = [] if ids is None else list(ids) if isinstance(ids, Iterable) else [ids]
    if len(tokens) > 8:
        raise ValueError("more than 8 end tokens")
    more = (c_uint32 * 7)(*[_unsigned("end_token", token) for token in tokens[1:]])
    return {"has_end_token": bool(tokens), "end_token": tokens[0] if tokens else None,
            "num_more_end_tokens": max(0, len(tokens) - 1), "more_end_tokens": more}


def _model_options(**values: Any) -> Any:
    return _ModelOptions(**{name: _number(name, value) if name in _WORDS else value
                            for name, value in values.items()})


def _lora_options(targets: str | Iterable[str] = "all-linear", family: str = "auto",
                  **values: Any) -> Any:
    text = targets if isinstance(targets, str) else ",".join(targets)
    return _LoraOptions(targets=_utf8(text), family=_number("family", family), **values)
