"""Options and memory of calls that encode."""

from __future__ import annotations

from ctypes import byref, c_size_t, c_uint32
from typing import Any

from ._abi import _EncodeOptions
from ._convert import _bytes_array
from ._words import _SPECIAL_ALL, _SPECIAL_LIST, _SPECIAL_NONE


def _special_set(name: str, tokens: Any) -> tuple[int, Any, int]:
    """A set of special tokens, "all" or strings, as TLM_SPECIAL_ALL, _NONE or _LIST and its list."""
    if isinstance(tokens, (str, bytes)):
        if tokens != "all":
            raise ValueError(f'{name} takes "all" or a list of special tokens, not {tokens!r}')
        return _SPECIAL_ALL, None, 0
    names = _bytes_array(tokens, name)
    return (_SPECIAL_LIST, names, len(names)) if len(names) else (_SPECIAL_NONE, None, 0)


def _encode_options(allowed_special: Any = "all", disallowed_special: Any = "all",
                    dropout: float = 0.0, seed: int = 0,
                    add_special_tokens: bool = False, whole_texts: bool = False) -> Any:
    allowed, allowed_names, num_allowed = _special_set("allowed_special", allowed_special)
    disallowed, disallowed_names, num_disallowed = _special_set("disallowed_special", disallowed_special)
    return _EncodeOptions(
        allowed_special=allowed, allowed=allowed_names, num_allowed=num_allowed,
        disallowed_special=disallowed, disallowed=disallowed_names, num_disallowed=num_disallowed,
        dropout=dropout, seed=seed, add_special_tokens=add_special_tokens, whole_texts=whole_texts)


_ROOM = 4096  # ids of a small text, at most


class _Room:
    """The array of a small call, and the objects that pass it, which are made once. A call takes one out of the
    list, so that calls of other threads and of signal handlers do not share it."""

    def __init__(self) -> None:
        array = (c_uint32 * _ROOM)()
        self.ids, self.capacity = byref(array), c_size_t(_ROOM)
        self.n, self.size = c_size_t(), c_size_t()
        self.to_n = byref(self.n)
        self.view = memoryview(array).cast("B")


_rooms: list[_Room] = []
