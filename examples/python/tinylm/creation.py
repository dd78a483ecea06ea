"""Tensors of zeros, ones, ranges and random numbers."""

from __future__ import annotations

import itertools
import math
from array import array
from typing import Any

from ._checks import _shape_of, _tensor
from ._convert import _dims
from ._native import _lib
from ._structs import _given, _real, _unsigned
from ._values import _create
from .dtypes import BOOL, FLOAT32, INT64, _dtype
from .functional import init_truncated_normal, init_uniform
from .tensors import Tensor


class _Random:
    """Where random numbers come from if no seed is given: one seed, and a stream for each call."""

    seed = 0
    streams = itertools.count(1)


def manual_seed(seed: int) -> None:
    """Sets what the random numbers that follow depend on: of rand, randn and the layers of tinylm.nn. It is 0
    at first, so that a program gives the same numbers each time."""
    _Random.seed = _unsigned("seed", seed)
    _Random.streams = itertools.count(1)


def _drawn(seed: int | None) -> dict[str, int]:
    """The seed and stream of a call."""
    if seed is not None:
        return {"seed": _unsigned("seed", seed), "stream": 0}
    return {"seed": _Random.seed, "stream": next(_Random.streams)}


def _made(tensor: Tensor, requires_grad: bool) -> Tensor:
    return tensor.requires_grad_() if requires_grad else tensor


def _empty(shape: list[int], dtype: int = FLOAT32) -> Tensor:
    from ctypes import byref, c_void_p
    out = c_void_p()
    _lib.tlm_tensor_create(byref(out), int(dtype), _dims(shape), len(shape))
    return Tensor._wrap(out)


def zeros(*shape: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Zeros in a shape: sizes one by one, or in a sequence."""
    return _made(_empty(_shape_of("shape", shape), _dtype(dtype)), requires_grad)


def ones(*shape: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Ones in a shape."""
    return full(_shape_of("shape", shape), 1, dtype=dtype, requires_grad=requires_grad)


def full(shape: Any, value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One number in each place; float32, and of a boolean bool, unless dtype says so."""
    one = Tensor(value, dtype)
    if one.ndim:
        raise TypeError(f"value takes a number, not {_given(value)}")
    return _made(one.broadcast_to(_shape_of("shape", (shape,))), requires_grad)


def zeros_like(tensor: Any) -> Tensor:
    """Zeros of the shape and type of a tensor."""
    like = _tensor("tensor", tensor)
    return zeros(like.shape, dtype=like.dtype)


def ones_like(tensor: Any) -> Tensor:
    """Ones of the shape and type of a tensor."""
    like = _tensor("tensor", tensor)
    return ones(like.shape, dtype=like.dtype)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """start, start + step, ... below stop, or 0, 1, ... below the only argument. Of whole numbers int64, else
    float32, as in NumPy and PyTorch."""
    if stop is None:
        start, stop = 0, start
    for name, value in (("start", start), ("stop", stop), ("step", step)):
        _real(name, value)
    if step == 0:
        raise ValueError("step is 0")
    if abs(stop - start) / abs(step) > 1 << 31:
        raise ValueError(f"arange from {start} to {stop} has more than 2**31 numbers")
    if all(hasattr(type(value), "__index__") for value in (start, stop, step)):
        numbers = range(int(start), int(stop), int(step))
        if dtype is None and all(abs(end) < 1 << 63 for end in (start, stop)):
            return Tensor._wrap(_create(INT64, array("q", numbers).tobytes(), (len(numbers),)))
        return Tensor(list(numbers), INT64 if dtype is None else dtype)
    count = max(0, math.ceil((stop - start) / step))
    return Tensor([start + i * step for i in range(count)], FLOAT32 if dtype is None else dtype)


def eye(n: int) -> Tensor:
    """The identity matrix."""
    places = arange(n)
    return (places.reshape(-1, 1) == places).astype(FLOAT32)


def rand(*shape: Any, seed: int | None = None, requires_grad: bool = False) -> Tensor:
    """Random numbers uniform in [0, 1), a pure function of seed, or of manual_seed and the calls since."""
    tensor = _empty(_shape_of("shape", shape))
    init_uniform(tensor, 0.0, 1.0, **_drawn(seed))
    return _made(tensor, requires_grad)


def randn(*shape: Any, seed: int | None = None, requires_grad: bool = False) -> Tensor:
    """Random numbers of the normal distribution with mean 0 and deviation 1; see rand for seed."""
    tensor = _empty(_shape_of("shape", shape))
    init_truncated_normal(tensor, 1.0, 1e3, **_drawn(seed))
    return _made(tensor, requires_grad)


def randint(low: int, high: int, shape: Any, seed: int | None = None) -> Tensor:
    """Random whole numbers low .. high - 1, as int64; see rand for seed."""
    from .library import random_bits
    if high <= low:
        raise ValueError(f"no whole number is in {low} .. {high} - 1")
    sizes = _shape_of("shape", (shape,))
    words = random_bits(math.prod(sizes), **_drawn(seed))
    return Tensor([low + (word * (high - low) >> 64) for word in words], INT64).reshape(sizes)


def tril(n: int, m: int | None = None) -> Tensor:
    """Booleans (n, m): true on and below the diagonal, which is what a causal mask is."""
    return (arange(n).reshape(-1, 1) >= arange(n if m is None else m)).astype(BOOL)
