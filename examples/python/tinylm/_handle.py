"""What owns an object of the library, and Python functions that the library calls."""

from __future__ import annotations

import signal
import threading
from collections import deque
from ctypes import c_void_p
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ._abi import _Interrupt
from ._native import _lib, _missed

if TYPE_CHECKING:
    from typing_extensions import Self


if TYPE_CHECKING:
    _Named = type
else:
    class _Named(type):
        """Answers for a name that a class does not have, as Tokenizer.from_pretrained."""

        def __getattr__(cls, name):
            from ._elsewhere import OBJECTS, advice
            words = OBJECTS.get(cls.__name__, {})
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}{advice(words, name)}")


def _take_out(owner: dict[str, Any], key: str, function: Callable[..., Any]) -> None:
    """Takes a value out of a dict, if it is there, and calls the function with it. This is one step of Python: no
    handler of a signal runs within it, so that the value is in the dict or the call is made."""
    deque(map(function, iter(partial(owner.pop, key, None), None)), 0)


class _Handle(metaclass=_Named):
    """Owns one object of the library; `_free` names the function that lets it go. Copies, and objects that
    borrow it, share it: it goes with the last of them, so that close() never takes it away from another."""

    _free = ""
    _instead = "it holds what only this process has"  # why it cannot be pickled, and what to do
    _handle: Any  # c_void_p; there is none once the object is closed
    _keeper: _Handle  # of copies: the one that owns the object, for all of them

    @classmethod
    def _wrap(cls, handle: c_void_p) -> Self:
        """An object that owns the handle."""
        made = cls.__new__(cls)
        made._handle = handle
        return made

    def _share(self) -> Self:
        """Another owner of the same object of the library."""
        self._handle  # raises if it is closed
        made = type(self).__new__(type(self))
        keeper = self.__dict__.setdefault("_keeper", type(self).__new__(type(self)))
        if "_handle" not in keeper.__dict__:
            keeper.__dict__.update((name, value) for name, value in self.__dict__.items() if name != "_keeper")
        made.__dict__.update(self.__dict__)
        return made

    def close(self) -> None:
        """Lets go of the object now, and not when Python collects it; using it afterwards is an error."""
        self._let_go()

    def _let_go(self) -> None:
        """If Ctrl-C ends it, another call does the rest."""
        if "_keeper" in self.__dict__:
            self.__dict__.pop("_handle", None)
            self.__dict__.pop("_keeper", None)
        else:
            _take_out(self.__dict__, "_handle", getattr(_lib, self._free).function)

    def __getattr__(self, name: str) -> Any:
        kind = type(self).__name__
        if name == "_handle":
            raise ValueError(f"the {kind} is closed, or was never made")
        from ._elsewhere import OBJECTS, advice
        raise AttributeError(f"{kind!r} object has no attribute {name!r}{advice(OBJECTS.get(kind, {}), name)}")

    def __enter__(self) -> Self:
        self._handle
        return self

    def __exit__(self, kind: Any, *_what: Any) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self._let_go()
        except KeyboardInterrupt as interrupt:
            _missed.append(interrupt)
            self._let_go()

    def __copy__(self) -> Self:
        return self._share()

    def __reduce__(self) -> Any:
        kind = type(self).__name__
        raise TypeError(f"a {kind} cannot be pickled or copied deeply: {self._instead}")

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<{kind}: {self._described()}>" if self.__dict__.get("_handle") else f"<{kind}, closed>"

    def _described(self) -> str:
        """What repr() says of an object that is open."""
        return "open"


def _handle_of(owner: _Handle | None) -> Any:
    """The handle of an object that may be left out."""
    return None if owner is None else owner._handle


def _ends(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function ends the call that it was called from. A result that is neither a truth value nor None, such
    as the number of characters that write() returns, may be meant either way."""
    result = function(*arguments)
    if result is None or isinstance(result, bool) or type(result).__name__ in ("bool_", "bool"):  # NumPy's too
        return bool(result)
    raise TypeError(f"a callback returned {result!r}: True ends the call, False or None lets it go on")


class _Callbacks:
    """Python functions that the library calls within a `with`. An exception in one ends the call that it
    came from, and `with` raises it again. So does Ctrl-C: an exception that a signal's handler raised on
    the way from the library into a function would be lost, so the handler waits until it is there. Long
    calls ask now and then whether to go on, so that it waits for no longer than that."""

    _innermost: _Callbacks | None = None  # that the main thread is in
    _around: _Callbacks | None = None  # the one before it

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        self._entered: list[bool] = []  # where it is entered: _inside before, for a function may make such a call itself
        self._handler: Any = None  # of SIGINT before
        self._pending: Any = None  # arguments for it
        self._inside = False  # a function is running, whose exceptions are caught

    def guard(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result; None if it raised."""
        before = self._inside
        try:
            self._inside = True
            result = function(*arguments)
            self._deliver()
            return result
        except BaseException as exception:
            self.raised.append(exception)
            return None
        finally:
            self._inside = before

    def wrap(self, prototype: Any, function: Callable[..., Any]) -> Any:
        """For the library: True ends the call."""
        def call(*arguments: Any) -> int:
            ends = self.guard(_ends, function, *arguments)
            return 1 if ends or self.raised else 0
        return prototype(call)

    def _deliver(self) -> None:
        if self._pending is not None:
            arguments, self._pending = self._pending, None
            self._handler(*arguments)

    def _on_signal(self, *arguments: Any) -> None:
        self._pending = arguments
        if self._inside:
            self._deliver()

    def __enter__(self) -> _Callbacks:
        self._entered.append(self._inside)
        self._inside = False
        if len(self._entered) == 1 and threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._on_signal)
            self._around, _Callbacks._innermost = _Callbacks._innermost, self
            if self._around is None:
                _lib.tlm_set_interrupt(_ask, None)
        return self

    def __exit__(self, *_what: Any) -> None:
        self._inside = self._entered.pop()
        if not self._entered:
            if _Callbacks._innermost is self:
                _Callbacks._innermost, self._around = self._around, None
                if _Callbacks._innermost is None:
                    _lib.tlm_set_interrupt(_NOBODY, None)
            if self._handler is not None:
                signal.signal(signal.SIGINT, self._handler)
                self._deliver()
                self._handler = None
        if self.raised:
            exception = self.raised[0]
            self.raised.clear()
            raise exception from None


_NOBODY = _Interrupt()  # NULL


def _ends_now(_user: Any) -> int:
    """Whether a long call is to end: a signal's handler has raised an exception, or does so here."""
    callbacks = _Callbacks._innermost
    if callbacks is None:
        return 0
    callbacks.guard(int)
    return 1 if callbacks.raised else 0


_ask = _Interrupt(_ends_now)
_thread = threading.local()
