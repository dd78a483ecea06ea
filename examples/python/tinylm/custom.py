"""Ops of your own."""

from __future__ import annotations

from ctypes import byref, c_void_p
from typing import Any, Callable, Iterable, Sequence

from ._abi import _Backward, _CustomOpOptions, _Release
from ._convert import _utf8
from ._handle import _thread
from ._memory import _numbers
from ._native import _lib
from .errors import Error, _CANCELLED
from .tensors import Tensor, _handles

# Backward functions of custom ops that are still in a graph, by number; and what guards them in the call
# of Tensor.backward that is running on a thread.
_backwards: dict[int, Callable[[Tensor], Iterable[Tensor | None]]] = {}


def _take_back(grads: Any, grad_out: int, num_inputs: int, user: int) -> None:
    results = list(_backwards[user](Tensor._wrap(c_void_p(_lib.tlm_tensor_retain(grad_out)))))
    if len(results) != num_inputs:
        raise ValueError(f"{len(results)} gradients for {num_inputs} inputs")
    for i, result in enumerate(results):
        grads[i] = None if result is None else _lib.tlm_tensor_retain(result._handle)


def _run_backward(user: int, grads: Any, grad_out: int, _inputs: Any, num_inputs: int, _saved: Any, _num_saved: int) -> int:
    _thread.callbacks.guard(_take_back, grads, grad_out, num_inputs, user)
    return _CANCELLED if _thread.callbacks.raised else 0


def _drop_backward(user: int) -> None:
    del _backwards[user]


_call_backward, _release_backward = _Backward(_run_backward), _Release(_drop_backward)


def custom_op(result: Tensor, inputs: Sequence[Tensor],
              backward: Callable[[Tensor], Iterable[Tensor | None]], name: str = "custom op") -> Tensor:
    """A tensor with the values of `result`, recorded as made from `inputs`. backward(gradient) gets the
    gradient of the result and returns one for each input, or None for 0."""
    key, out = next(_numbers), c_void_p()
    options = _CustomOpOptions(name=_utf8(name), user=key, backward=_call_backward,
                               release=_release_backward)
    _backwards[key] = backward
    try:
        _lib.tlm_custom_op_record(byref(out), result._handle, _handles(inputs), len(inputs), None, 0,
                                  byref(options))
    except Error:
        del _backwards[key]
        raise
    return Tensor._wrap(out)
