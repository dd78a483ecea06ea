"""Pre-tokenization patterns by name."""

from __future__ import annotations

import re

from ._convert import Text, _utf8
from ._native import _lib


def _patterns() -> dict[str, str]:
    names = iter(lambda: _lib.tlm_pattern_name(len(patterns)), None)
    patterns: dict[str, str] = {}
    for name in names:
        patterns[name.decode()] = _lib.tlm_pattern_by_name(name).decode()
    return patterns


# Pre-tokenization patterns by name: PATTERNS["qwen3.5"] and so on.
PATTERNS = _patterns()


def _plain(name: str) -> str:
    """A name as it is compared: "GPT-2" and "gpt2" are one."""
    return re.sub(r"[-_. ]", "", name.lower())


_BY_PLAIN_NAME = {_plain(name): pattern for name, pattern in PATTERNS.items()}


def _pattern(pattern: Text | None) -> bytes | None:
    """A regular expression, from a name or from itself. What looks like a name and is none is refused: as an
    expression it would match only this word."""
    if pattern is None:
        return None
    text = _utf8(pattern, "pattern").decode(errors="replace")
    known = _BY_PLAIN_NAME.get(_plain(text))
    if known is not None:
        return known.encode()
    if re.fullmatch(r"[A-Za-z][\w.\- ]*", text):
        raise ValueError(f"pattern {text!r} is none of {', '.join(PATTERNS)}; as a regular expression it would find "
                         f"this word alone, and is written (?:{text})")
    return _utf8(pattern)
