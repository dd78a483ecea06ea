"""Chat templates: from conversations to text and ids."""

from __future__ import annotations

import ctypes
import json
import os
from ctypes import POINTER, byref, c_char_p, c_size_t, c_uint8, c_uint32, c_void_p
from typing import Any, Iterable, Mapping, TYPE_CHECKING

from ._abi import _ChatMessage, _ChatOptions, _IDS
from ._convert import Path, Text, _utf8
from ._handle import _Handle
from ._native import _lib
from ._structs import _given
from .options import Json

if TYPE_CHECKING:
    from .tokenizers import Tokenizer


def _chat_names() -> list[str]:
    names: list[str] = []
    while (name := _lib.tlm_chat_template_name(len(names))) is not None:
        names.append(name.decode())
    return names


# Names of well-known chat templates, for ChatTemplate.
CHAT_TEMPLATES = _chat_names()
Messages = Iterable[Mapping[str, Text]]


class ChatTemplate(_Handle):
    """How a model's conversations become text: a well-known template by its name, such as "chatml". A
    conversation is a list of {"role": ..., "content": ...}. Further keyword arguments are variables of the
    template, such as enable_thinking=False; `now` is the time for templates that write the date."""

    _free = "tlm_chat_template_free"

    _recipe: tuple[Any, tuple[Any, ...]]  # a function and arguments that make it again

    def __init__(self, name: str) -> None:
        handle = c_void_p()
        _lib.tlm_chat_template_create(byref(handle), name.encode())
        self._handle, self._recipe = handle, (ChatTemplate, (name,))

    @classmethod
    def open(cls, path: Path) -> ChatTemplate:
        """Reads the template of a folder of transformers, a GGUF file, or a file of its own."""
        handle = c_void_p()
        _lib.tlm_chat_template_open(byref(handle), os.fsencode(path))
        made = cls._wrap(handle)
        made._recipe = cls.open, (os.path.abspath(path),)
        return made

    @classmethod
    def parse(cls, source: Text, bos_token: str | None = None, eos_token: str | None = None) -> ChatTemplate:
        """Makes a template from Jinja text."""
        text, handle = _utf8(source), c_void_p()
        _lib.tlm_chat_template_parse(byref(handle), text, len(text), None if bos_token is None else bos_token.encode(),
                                     None if eos_token is None else eos_token.encode())
        made = cls._wrap(handle)
        made._recipe = cls.parse, (source, bos_token, eos_token)
        return made

    def __reduce__(self) -> Any:
        return self._recipe

    @property
    def source(self) -> str:
        """The Jinja text."""
        text, size = c_char_p(), c_size_t()
        _lib.tlm_chat_template_source(byref(text), byref(size), self._handle)
        return ctypes.string_at(text, size.value).decode()

    def render(self, messages: Messages, add_generation_prompt: bool = False, now: int = 0,
               **variables: Json) -> str:
        """The conversation as text."""
        text, size, array = c_void_p(), c_size_t(), self._messages(messages)
        _lib.tlm_chat_template_render(byref(text), byref(size), self._handle, array, len(array),
                                      byref(self._options(add_generation_prompt, now, variables)))
        result = ctypes.string_at(text, size.value)
        _lib.tlm_free(text)
        return result.decode(errors="replace")

    def encode(self, tokenizer: Tokenizer, messages: Messages, add_generation_prompt: bool = False, now: int = 0,
               **variables: Json) -> tuple[list[int], list[int]]:
        """(ids, mask): 1 in the mask for what the assistant says, with the token that ends its turn, and 0
        for the rest. A special token in a message is plain text."""
        ids, mask, n, array = _IDS(), POINTER(c_uint8)(), c_size_t(), self._messages(messages)
        _lib.tlm_chat_template_encode(byref(ids), byref(mask), byref(n), self._handle, tokenizer._handle, array,
                                      len(array), byref(self._options(add_generation_prompt, now, variables)))
        result = ids[:n.value], mask[:n.value]
        _lib.tlm_free(ids)
        _lib.tlm_free(mask)
        return result

    def end_token(self, tokenizer: Tokenizer) -> int:
        """The id of the special token that ends an answer."""
        token_id = c_uint32()
        _lib.tlm_chat_template_end_token(byref(token_id), self._handle, tokenizer._handle)
        return token_id.value

    @staticmethod
    def _messages(messages: Messages) -> Any:
        pairs = []
        for i, message in enumerate(messages):
            if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
                raise TypeError(f"messages[{i}] is {_given(message)}, not a dict with role and content")
            pairs.append((_utf8(message["role"], f"messages[{i}].role"), _utf8(message["content"], f"messages[{i}].content")))
        return (_ChatMessage * len(pairs))(*[(role, content, len(content)) for role, content in pairs])

    @staticmethod
    def _json(variables: Mapping[str, Json]) -> bytes:
        for name, value in variables.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{name} takes what JSON holds, not {_given(value)}: {error}") from None
        return json.dumps(variables).encode()

    @staticmethod
    def _options(add_generation_prompt: bool, now: int, variables: Mapping[str, Json]) -> Any:
        return _ChatOptions(add_generation_prompt=add_generation_prompt, now=now,
                            variables=ChatTemplate._json(variables) if variables else None)
