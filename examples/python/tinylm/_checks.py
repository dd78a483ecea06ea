"""Arguments of functions of tensors: what they may be, and words for what they may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

from ._structs import _given, _whole
from ._values import _handle_of, _is_array
from .dtypes import BOOL, FLOAT32, INT64

if TYPE_CHECKING:
    from .tensors import Tensor

Index = Any  # of Tensor.__getitem__
Shape = Any  # one whole number or a sequence of them
Operand = Any  # a Tensor, a number, an array of NumPy or PyTorch, or nested lists of numbers


def _tensor(name: str, value: Any) -> Tensor:
    """An argument that is a tensor; an array of NumPy or PyTorch becomes one without a gradient."""
    from .tensors import Tensor
    if isinstance(value, Tensor):
        return value
    if _is_array(value):
        return Tensor(_without_graph(value))
    raise TypeError(f"{name} takes a Tensor or an array of NumPy or PyTorch, not {_given(value)}: make one with "
                    "tinylm.Tensor(values)")


def _without_graph(value: Any) -> Any:
    """A tensor of PyTorch as an operand, whose own graph would end here unnoticed."""
    if getattr(value, "requires_grad", False) and getattr(value, "grad_fn", value) is not value:
        from .tensors import is_grad_enabled
        if is_grad_enabled():
            raise TypeError("a torch.Tensor requires a gradient, and no graph goes through both libraries: use "
                            "tensor.detach()")
    return value


def _float_tensor(name: str, value: Any) -> Tensor:
    """The same where values are computed with: integers of other libraries' arrays become float32."""
    from .tensors import Tensor
    return value if isinstance(value, Tensor) else _floats(_tensor(name, value))


def _floats(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == FLOAT32 else tensor.astype(FLOAT32)


def _index_tensor(name: str, value: Any) -> Tensor:
    """Ids and the like: an integer tensor, an array, or nested lists of whole numbers."""
    from .tensors import Tensor
    if isinstance(value, (list, tuple, range, int)) and not isinstance(value, bool):
        return Tensor._wrap(_handle_of(value, INT64, name))
    return _tensor(name, value)


def _mask(name: str, value: Any) -> Tensor:
    """A tensor of booleans."""
    from .tensors import Tensor
    is_list = isinstance(value, (list, tuple, bool))
    tensor = Tensor._wrap(_handle_of(value, None, name)) if is_list else _tensor(name, value)
    if tensor.dtype != BOOL:
        raise TypeError(f"{name} takes booleans, not {tensor.dtype}: compare, as in x > 0")
    return tensor


def _operand(value: Any, other: Tensor) -> Tensor | None:
    """The other side of an operator, or None for what it does not take. Numbers and arrays become float32, or
    where `other` has whole numbers and so have they, int64: ops then say that they do not compute with these."""
    from .tensors import Tensor
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (bool, int, float)):
        whole = isinstance(value, int) and other.dtype not in _FLOATS
        return Tensor(int(value) if whole else float(value), INT64 if whole else FLOAT32)
    if _is_array(value):
        array = Tensor(_without_graph(value))
        return array if array.dtype == FLOAT32 or other.dtype not in _FLOATS else array.astype(FLOAT32)
    if isinstance(value, (list, tuple)):
        return Tensor(value)
    return None


_FLOATS = ("float32", "float16", "bfloat16")


def _dim(name: str, value: Any, ndim: int) -> int:
    """A dimension, counted from the front."""
    dim = _whole(name, value)
    if not -ndim <= dim < ndim:
        raise IndexError(f"{name} {dim} is not a dimension of a tensor with {ndim}")
    return dim % ndim


def _dim_list(name: str, value: Any, ndim: int) -> list[int]:
    """One dimension or several, each once."""
    several = value if isinstance(value, (list, tuple)) else [value]
    dims = [_dim(name, one, ndim) for one in several]
    if len(set(dims)) != len(dims):
        raise ValueError(f"{name} {tuple(several)} names a dimension twice")
    return dims


def _shape_of(name: str, shape: Sequence[Any]) -> list[int]:
    """Sizes given one by one or in one sequence."""
    if len(shape) == 1 and not hasattr(type(shape[0]), "__index__"):
        if not hasattr(shape[0], "__iter__") or isinstance(shape[0], str):
            raise TypeError(f"{name} takes whole numbers or a sequence of them, not {_given(shape[0])}")
        shape = tuple(shape[0])
    return [_whole(name, size) for size in shape]
