"""Operators and methods of tensors that make new tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

from ._assign import _update
from ._checks import (Operand, _dim, _dim_list, _floats, _index_tensor, _mask, _operand, _shape_of, _tensor)
from ._convert import _dims
from ._handle import _Handle
from ._native import _lib
from ._structs import _flag, _given, _real
from ._words import _number
from .dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT64, DType, _dtype

if TYPE_CHECKING:
    from .tensors import Tensor

_Dims = Any  # None, one dimension or several


def _both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The operands of arithmetic: what is no float32 becomes that beside one that is, and shorter floats always."""
    narrow = FLOAT16, BFLOAT16
    if a.dtype in narrow or a.dtype != FLOAT32 and b.dtype == FLOAT32:
        a = a.astype(FLOAT32)
    if b.dtype in narrow or b.dtype != FLOAT32 and a.dtype == FLOAT32:
        b = b.astype(FLOAT32)
    return a, b


class _Operators(_Handle):
    """What Tensor inherits: everything here makes a new tensor."""

    if TYPE_CHECKING:
        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def ndim(self) -> int: ...
        @property
        def size(self) -> int: ...
        @property
        def dtype(self) -> DType: ...

    def _arithmetic(self: Any, function: str, other: Any, swapped: bool = False) -> Tensor:
        from .tensors import _call
        tensor = _operand(other, self)
        if tensor is None:
            return cast("Tensor", NotImplemented)
        a, b = _both(*((tensor, self) if swapped else (self, tensor)))
        for side in (a, b):
            if side.dtype != FLOAT32:
                raise TypeError(f"tensors are computed with in float32, and this one is of {side.dtype}: use "
                                "astype(\"float32\")")
        return _call(function, a, b)

    def _compared(self: Any, word: str, other: Any) -> Tensor:
        from .tensors import _call
        tensor = _operand(other, self)
        if tensor is None:
            return cast("Tensor", NotImplemented)
        sides = [_floats(side) if side.dtype in ("float16", "bfloat16") else side for side in (self, tensor)]
        return _call("tlm_compare", *sides, _number("comparison", word))

    # -- Arithmetic --

    def __add__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_add", other)

    def __sub__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_sub", other)

    def __mul__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_mul", other)

    def __truediv__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_div", other)

    def __pow__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_pow", other)

    def __matmul__(self, other: Operand) -> Tensor:
        return _product(self, other)

    def matmul(self, other: Operand) -> Tensor:
        """The matrix product, as @ gives it."""
        result: Tensor = self @ other
        return result

    def __radd__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_add", other, True)

    def __rsub__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_sub", other, True)

    def __rmul__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_mul", other, True)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_div", other, True)

    def __rpow__(self, other: Operand) -> Tensor:
        return self._arithmetic("tlm_pow", other, True)

    def __rmatmul__(self: Any, other: Operand) -> Tensor:
        tensor = _operand(other, self)
        return cast("Tensor", NotImplemented) if tensor is None else _product(tensor, self)

    # In place, as NumPy and PyTorch have it.

    def __iadd__(self, other: Operand) -> Tensor:
        return _in_place(self, self + other)

    def __isub__(self, other: Operand) -> Tensor:
        return _in_place(self, self - other)

    def __imul__(self, other: Operand) -> Tensor:
        return _in_place(self, self * other)

    def __itruediv__(self, other: Operand) -> Tensor:
        return _in_place(self, self / other)

    def __ipow__(self, other: Operand) -> Tensor:
        return _in_place(self, self ** other)

    def add_(self, other: Operand, alpha: float = 1.0) -> Tensor:
        """self += alpha * other; this and the following write to the tensor itself and return it."""
        self += other if alpha == 1 else other * _real("alpha", alpha)
        return cast("Tensor", self)

    def sub_(self, other: Operand, alpha: float = 1.0) -> Tensor:
        """self -= alpha * other."""
        return self.add_(-other if alpha == 1 else other * -_real("alpha", alpha))

    def mul_(self, other: Operand) -> Tensor:
        """self *= other."""
        self *= other
        return cast("Tensor", self)

    def div_(self, other: Operand) -> Tensor:
        """self /= other."""
        self /= other
        return cast("Tensor", self)

    def fill_(self: Any, value: Any) -> Tensor:
        """One number in each place."""
        self[...] = value
        return cast("Tensor", self)

    def zero_(self) -> Tensor:
        """0 in each place."""
        return self.fill_(0)

    def clip_(self, min: float | None = None, max: float | None = None) -> Tensor:
        """clip, in place."""
        return _in_place(self, self.clip(min, max))

    clamp_ = clip_

    def __neg__(self) -> Tensor:
        return self.scale(-1.0)

    def __pos__(self) -> Tensor:
        return self.scale(1.0)

    def __abs__(self) -> Tensor:
        return self.abs()

    # -- Comparisons, and masks --

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._compared("equal", other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._compared("not_equal", other)

    def __lt__(self, other: Operand) -> Tensor:
        return self._compared("less", other)

    def __le__(self, other: Operand) -> Tensor:
        return self._compared("less_equal", other)

    def __gt__(self, other: Operand) -> Tensor:
        return self._compared("greater", other)

    def __ge__(self, other: Operand) -> Tensor:
        return self._compared("greater_equal", other)

    __hash__ = object.__hash__

    def __invert__(self) -> Tensor:
        return _mask("~", self)._compared("equal", False)

    def __and__(self, other: Operand) -> Tensor:
        return (~self)._compared("less", _mask("&", other))

    def __or__(self, other: Operand) -> Tensor:
        return (~self)._compared("less_equal", _mask("|", other))

    def __xor__(self, other: Operand) -> Tensor:
        return _mask("^", self)._compared("not_equal", _mask("^", other))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def isnan(self) -> Tensor:
        """Booleans: where the elements are NaN."""
        return self != self

    def any(self) -> bool:
        """Whether some element is not 0."""
        return any(self.astype(BOOL)._copy_out())

    def all(self) -> bool:
        """Whether no element is 0."""
        return all(self.astype(BOOL)._copy_out())

    # -- Sums and the like --

    def sum(self, dim: _Dims = None, keepdim: bool = False, *, axis: _Dims = None, keepdims: bool | None = None,
            keep_dim: bool | None = None) -> Tensor:
        """The sum of all elements, or along one dimension or several (axis is dim, and keepdims keepdim, as NumPy
        calls them). Booleans are counted, and whole numbers summed, as int64."""
        if self.dtype not in (FLOAT32, "float16", "bfloat16"):
            return _whole_sum(self, dim, axis, _kept(keepdim, keepdims, keep_dim))
        return _reduce(self, "tlm_sum", dim, axis, _kept(keepdim, keepdims, keep_dim))

    def mean(self, dim: _Dims = None, keepdim: bool = False, *, axis: _Dims = None, keepdims: bool | None = None,
             keep_dim: bool | None = None) -> Tensor:
        """The mean of all elements, or along one dimension or several; of booleans and whole numbers too."""
        whole: Any = self
        tensor = _floats(whole)
        return _reduce(tensor, "tlm_mean", dim, axis, _kept(keepdim, keepdims, keep_dim))

    def var(self, dim: _Dims = None, keepdim: bool = False, *, axis: _Dims = None, correction: int = 0) -> Tensor:
        """The mean square of the distance from the mean; correction is taken from the number of elements: 0 is
        NumPy's, 1 PyTorch's."""
        dim = axis if dim is None else dim
        dims = range(self.ndim) if dim is None else _dim_list("dim", dim, self.ndim)
        count = 1
        for d in dims:
            count *= self.shape[d]
        off = self - self.mean(dim=list(dims) or None, keepdim=True)
        return (off * off).sum(dim=list(dims) or None, keepdim=keepdim).scale(
            1.0 / (count - correction) if count > correction else float("nan"))

    def std(self, dim: _Dims = None, keepdim: bool = False, *, axis: _Dims = None, correction: int = 0) -> Tensor:
        """The root of var."""
        return self.var(dim, keepdim, axis=axis, correction=correction).sqrt()

    @overload
    def max(self) -> Tensor: ...
    @overload
    def max(self, dim: int, keepdim: bool = False, *, keep_dim: bool | None = None) -> Extremes: ...
    @overload
    def max(self, dim: None = None, keepdim: bool = False, *, axis: int | None = None, keepdims: bool | None = None,
            keep_dim: bool | None = None) -> Tensor: ...

    def max(self, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
            keepdims: bool | None = None, keep_dim: bool | None = None) -> Tensor | Extremes:
        """The maximum of all elements. Along a dimension `dim`, the maxima and their indices, as in PyTorch; with
        `axis`, the maxima alone, as in NumPy. Of equal ones the first counts, for the gradient too."""
        kept = _kept(keepdim, keepdims, keep_dim)
        if dim is not None:
            return _largest(self, dim, kept)
        if axis is not None:
            return _largest(self, axis, kept)[0]
        whole = _largest(self.reshape(-1), 0, False)[0]
        return whole.reshape([1] * self.ndim) if kept else whole

    @overload
    def min(self) -> Tensor: ...
    @overload
    def min(self, dim: int, keepdim: bool = False, *, keep_dim: bool | None = None) -> Extremes: ...
    @overload
    def min(self, dim: None = None, keepdim: bool = False, *, axis: int | None = None, keepdims: bool | None = None,
            keep_dim: bool | None = None) -> Tensor: ...

    def min(self, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
            keepdims: bool | None = None, keep_dim: bool | None = None) -> Tensor | Extremes:
        """The minimum: see max."""
        kept = _kept(keepdim, keepdims, keep_dim)
        if dim is not None:
            values, places = _largest(-self, dim, kept)
            return Extremes(-values, places)
        return -(-self).max(axis=axis, keepdim=kept)

    def argmax(self, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
               keepdims: bool | None = None) -> Tensor:
        """The place of the maximum along a dimension, or among all elements in row-major order, as int64."""
        dim = axis if dim is None else dim
        tensor: Tensor = self.reshape(-1) if dim is None else self  # type: ignore[assignment]
        return _largest(tensor, 0 if dim is None else dim, _kept(keepdim, keepdims, None) and dim is not None)[1]

    def argmin(self, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
               keepdims: bool | None = None) -> Tensor:
        """The place of the minimum: see argmax."""
        return (-self).argmax(dim, keepdim, axis=axis, keepdims=keepdims)

    # -- Shapes --

    def reshape(self, *shape: Any) -> Tensor:
        """Another shape of the same elements; one size may be -1."""
        from .tensors import _call
        sizes = _shape_of("shape", shape)
        return _call("tlm_reshape", self, _dims(sizes), len(sizes))

    def view(self, *shape: Any) -> Tensor:
        """reshape, as PyTorch calls it; of a tensor that is not row-major it is a copy."""
        return self.reshape(*shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Dimensions start_dim .. end_dim as one."""
        if self.ndim == 0:
            return self.reshape(1)
        first, last = _dim("start_dim", start_dim, self.ndim), _dim("end_dim", end_dim, self.ndim)
        size = 1
        for n in self.shape[first:last + 1]:
            size *= n
        return self.reshape([*self.shape[:first], size, *self.shape[last + 1:]])

    def squeeze(self, dim: _Dims = None) -> Tensor:
        """Without dimensions of size 1: all, or these."""
        dims = range(self.ndim) if dim is None else _dim_list("dim", dim, self.ndim)
        return self.reshape([n for d, n in enumerate(self.shape) if n != 1 or d not in dims])

    def unsqueeze(self, dim: int) -> Tensor:
        """With a dimension of size 1 in this place."""
        at = _dim("dim", dim, self.ndim + 1)
        return self.reshape([*self.shape[:at], 1, *self.shape[at:]])

    def transpose(self, *dims: Any) -> Tensor:
        """Two dimensions swapped, or of more or none all, as permute has them: a view."""
        from .tensors import _call
        if len(dims) == 2 and all(hasattr(type(dim), "__index__") for dim in dims):
            return _call("tlm_transpose", self, *dims)
        return self.permute(*dims) if dims else self.permute(*range(self.ndim - 1, -1, -1))

    def permute(self, *dims: Any) -> Tensor:
        """The dimensions in another order: a view."""
        from .tensors import _call
        order = _dim_list("dims", _shape_of("dims", dims) if dims else [], self.ndim)
        if len(order) != self.ndim:
            raise ValueError(f"dims {tuple(order)} for a tensor of {self.ndim} dimensions")
        result: Tensor = _call("tlm_transpose", self, 0, 0) if self.ndim else self  # type: ignore[assignment]
        now = list(range(self.ndim))
        for place, dim in enumerate(order):
            at = now.index(dim)
            if at != place:
                result = _call("tlm_transpose", result, place, at)
                now[place], now[at] = now[at], now[place]
        return result

    @property
    def T(self) -> Tensor:
        """The dimensions in reverse order: of a matrix, its transpose. A view."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The last two dimensions swapped: a view."""
        return self.transpose(-2, -1)

    def broadcast_to(self, *shape: Any) -> Tensor:
        """A copy in a larger shape, to which the tensor broadcasts."""
        sizes = _shape_of("shape", shape)
        tensor: Tensor = self.reshape([1] * (len(sizes) - self.ndim) + list(self.shape))
        if tensor.ndim != len(sizes) or any(n != m and n != 1 for n, m in zip(tensor.shape, sizes)):
            raise ValueError(f"{self.shape} does not broadcast to {tuple(sizes)}")
        for dim, (n, m) in enumerate(zip(tensor.shape, sizes)):
            if n != m:
                tensor = tensor.take([0] * m, dim)
        return tensor

    expand = broadcast_to

    def slice(self, dim: int, start: int, stop: int) -> Tensor:
        """Elements start .. stop - 1 of a dimension: a view."""
        from .tensors import _call
        return _call("tlm_slice", self, dim, start, stop)

    def take(self, indices: Any, dim: int = 0) -> Tensor:
        """The elements along a dimension that whole numbers name, whose shape takes its place."""
        from .tensors import _call
        return _call("tlm_take", self, dim, _index_tensor("indices", indices))

    def split(self, size: int, dim: int = 0) -> list[Tensor]:
        """Pieces of `size` along a dimension, the last perhaps smaller: views."""
        if size < 1:
            raise ValueError(f"size {size} is not above 0")
        at = _dim("dim", dim, self.ndim)
        return [self.slice(at, i, min(i + size, self.shape[at])) for i in range(0, self.shape[at], size)]

    def contiguous(self) -> Tensor:
        """The same elements in row-major order."""
        from .tensors import _call
        return _call("tlm_contiguous", self)

    def astype(self: Any, dtype: Any) -> Tensor:
        """The elements as another type, a copy outside any graph; the same tensor if it has the type. Whole numbers
        are cut, as in NumPy; ValueError for numbers beyond the type, TypeError for float16 and bfloat16 where a
        gradient is required."""
        from .tensors import _call
        target = _dtype(dtype)
        if target in (FLOAT16, BFLOAT16):
            self._check_no_graph(f"a tensor of {target}", f"tensor.detach().astype(\"{target}\")")
        if target == self.dtype:
            return cast("Tensor", self)
        result = _call("tlm_tensor_convert", self, int(target))
        if target in _INFINITY and not _INFINITY[target].isdisjoint(result._copy_out()):
            _check_finite(self, target)
        return result

    def to(self: Any, dtype: Any) -> Tensor:
        """astype, as PyTorch calls it; "cpu", where all tensors are, is taken too."""
        if str(dtype).partition(":")[0] in ("cuda", "mps", "xpu"):
            raise ValueError(f"to: there is no {dtype}: tinylm computes on CPUs")
        return cast("Tensor", self) if str(dtype) == "cpu" else cast("Tensor", self.astype(dtype))

    # -- Functions, element by element --

    def scale(self, factor: float) -> Tensor:
        """The tensor times factor."""
        from .tensors import _call
        return _call("tlm_scale", self, _real("factor", factor))

    def pow(self, exponent: Operand) -> Tensor:
        """Powers, as ** gives them."""
        result: Tensor = self ** exponent
        return result

    def square(self) -> Tensor:
        """x^2 for each element; the functions below are also element-wise."""
        return self * self

    def exp(self) -> Tensor:
        """e^x."""
        return self._unary("tlm_exp")

    def log(self) -> Tensor:
        """Natural logarithm."""
        return self._unary("tlm_log")

    def sqrt(self) -> Tensor:
        """Square root."""
        return self._unary("tlm_sqrt")

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return self._unary("tlm_tanh")

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return self._unary("tlm_sigmoid")

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return self._unary("tlm_relu")

    def gelu(self) -> Tensor:
        """x P(Z <= x), Z normal."""
        return self._unary("tlm_gelu")

    def silu(self) -> Tensor:
        """x sigmoid(x)."""
        return self._unary("tlm_silu")

    def softmax(self, dim: int = -1) -> Tensor:
        """exp(x) / sum of exp(x) along a dimension."""
        from .functional import softmax
        return softmax(self, dim)

    def abs(self) -> Tensor:
        """|x|; the slope at 0 is 0."""
        return self._unary("tlm_abs")

    def clip(self, min: float | None = None, max: float | None = None) -> Tensor:
        """x, or min where it is less, or max where it is more; no gradient there. NaN stays."""
        from .functional import where
        result: Tensor = self  # type: ignore[assignment]
        if min is not None:
            result = where(result < min, min, result)
        return result if max is None else where(result > max, max, result)

    clamp = clip

    def _unary(self, name: str) -> Tensor:
        from .tensors import _call
        return _call(name, self)


def _in_place(given: Any, result: Tensor) -> Tensor:
    """The tensor itself, with the result of an operator on it."""
    return cast("Tensor", NotImplemented) if result is NotImplemented else _update(given, result)


# The bits of both infinities.
_INFINITY = {FLOAT16: {0x7C00, 0xFC00}, BFLOAT16: {0x7F80, 0xFF80}}


def _check_finite(tensor: Any, dtype: DType) -> None:
    """Refuses a finite number that has become infinite in a type."""
    from ._values import _BEYOND, _LARGEST
    for value in map(float, _items(tensor)):
        if math.isfinite(value) and abs(value) >= _BEYOND[dtype]:
            raise ValueError(f"astype: {value} is beyond {dtype}, whose largest number is {_LARGEST[dtype]}")


def _items(tensor: Any) -> list[Any]:
    """The elements as numbers of Python."""
    items: list[Any] = tensor.reshape(-1).tolist()
    return items


class Extremes(NamedTuple):
    """What max and min along a dimension give."""

    values: Tensor
    indices: Tensor


def _product(a: Any, b: Any) -> Tensor:
    """a @ b; a vector is a row on the left and a column on the right, as in NumPy."""
    from .tensors import Tensor, _call
    other = _operand(b, a)
    if other is None or not isinstance(b, Tensor) and other.ndim == 0:
        return cast("Tensor", NotImplemented)
    left, right = _both(a, other)
    if left.ndim == 0 or right.ndim == 0:
        raise ValueError("a matrix product of a number: use *")
    row, column = left.ndim == 1, right.ndim == 1
    result = _call("tlm_matmul", left.unsqueeze(0) if row else left, right.unsqueeze(1) if column else right)
    if column:
        result = result.squeeze(-1)
    return result.squeeze(-1 if column else -2) if row else result


def _kept(keepdim: Any, keepdims: Any, keep_dim: Any) -> bool:
    """One of the three names of the argument."""
    for value in (keepdims, keep_dim):
        if value is not None:
            return _flag("keepdim", value)
    return _flag("keepdim", keepdim)


def _reduce(given: Any, name: str, dim: Any, axis: Any, kept: bool) -> Tensor:
    from .tensors import _call
    tensor: Tensor = given
    dim = axis if dim is None else dim
    if dim is None:
        result = _call(name, tensor)
        return result.reshape([1] * tensor.ndim) if kept else result
    for one in sorted(_dim_list("dim", dim, tensor.ndim), reverse=True):
        tensor = _call({"tlm_sum": "tlm_sum_dim", "tlm_mean": "tlm_mean_dim"}[name], tensor, one, kept)
    return tensor


def _whole_sum(tensor: Any, dim: Any, axis: Any, kept: bool) -> Tensor:
    """Sums of whole numbers and booleans, exact."""
    from .tensors import Tensor
    dim = axis if dim is None else dim
    dims = list(range(tensor.ndim)) if dim is None else _dim_list("dim", dim, tensor.ndim)
    if tensor.dtype == BOOL and tensor.size < 1 << 24:  # float32 counts that far
        return _reduce(tensor.astype(FLOAT32), "tlm_sum", dims or None, None, kept).astype(INT64)
    rest = [d for d in range(tensor.ndim) if d not in dims]
    rows = tensor.permute(*rest, *dims).reshape([*(tensor.shape[d] for d in rest), -1]) if tensor.size else None
    shape = [1 if d in dims else n for d, n in enumerate(tensor.shape)] if kept else [tensor.shape[d] for d in rest]
    if rows is None:
        return Tensor([0] * _count(shape), INT64).reshape(shape)
    n, values = rows.shape[-1], list(rows._copy_out())
    return Tensor([sum(values[i:i + n]) for i in range(0, len(values), n)], INT64).reshape(shape)


def _count(shape: Any) -> int:
    n = 1
    for size in shape:
        n *= size
    return n


def _largest(tensor: Any, dim: Any, kept: bool) -> Extremes:
    from ctypes import byref, c_void_p
    from .tensors import Tensor
    if not hasattr(type(dim), "__index__"):
        raise TypeError(f"dim takes one whole number, not {_given(dim)}")
    values, indices = c_void_p(), c_void_p()
    tensor = tensor.astype(FLOAT32) if tensor.dtype in (FLOAT16, BFLOAT16) else tensor
    _lib.tlm_max_dim(byref(values), byref(indices), tensor._handle, dim, kept)
    return Extremes(Tensor._wrap(values), Tensor._wrap(indices))
