"""Writing to tensors in place: tensor[index] = values, +=, copy_ and the like.

Where no graph is concerned, values go to the tensor's memory, which views and arrays of NumPy share. A write that the
graph records makes a new tensor with an op, which the Python object stands for from then on; so nothing else may share
its memory.
"""

from __future__ import annotations

from array import array as _array
from typing import TYPE_CHECKING, Any

from ._indexing import _basic, _get, _item, _parts
from ._native import _lib
from ._values import _create
from .dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64, UINT32, DType

if TYPE_CHECKING:
    from .tensors import Tensor


def _joined(tensor: Tensor, view: Tensor) -> Tensor:
    """The view, counted among those that share the tensor's memory."""
    family = tensor.__dict__.setdefault("_family", [1])
    family[0] += 1
    view.__dict__["_family"] = family
    return view


def _share_with_others(tensor: Tensor) -> Tensor:
    """The tensor, counted as sharing its memory with what is no Tensor, which may hold it for good."""
    tensor.__dict__.setdefault("_family", [1])[0] += 1
    return tensor


def _check_leaf(tensor: Tensor) -> None:
    """A parameter is not written to while a graph is made, as in PyTorch."""
    from .tensors import is_grad_enabled
    if is_grad_enabled() and tensor.requires_grad and tensor.is_leaf:
        raise RuntimeError("a tensor that requires a gradient is written to within \"with tinylm.no_grad():\"")


def _is_recorded(tensor: Tensor, values: Tensor) -> bool:
    """Whether the graph must know of a write."""
    from .tensors import is_grad_enabled
    return is_grad_enabled() and (values.requires_grad or not tensor.is_leaf)


def _replace(tensor: Tensor, result: Tensor) -> None:
    """Lets the Python object stand for the result of an op, which has its shape."""
    if tensor.dtype != FLOAT32:
        raise TypeError(f"a tensor of {tensor.dtype} cannot take values with a graph: use values.detach()")
    if tensor.__dict__.get("_family", [1])[0] > 1:
        raise RuntimeError("the tensor shares its memory with another, as views do, which a write that the graph records "
                           "would leave behind: write with one index, as in t[0, 1] = x, or to tensor.clone()")
    tensor.close()
    tensor.__dict__["_handle"] = result.__dict__.pop("_handle")
    if "_family" in result.__dict__:
        tensor.__dict__["_family"] = result.__dict__.pop("_family")


def _write(tensor: Tensor, values: Tensor) -> None:
    """Copies values of the same shape and type into the tensor's memory."""
    data = values._copy_out()
    leaf = tensor if tensor.is_leaf else tensor.detach()
    _lib.tlm_tensor_copy_in(leaf._handle, data, len(data))


def _update(tensor: Tensor, result: Tensor) -> Tensor:
    """The tensor with the result of an op on it as its values."""
    _check_leaf(tensor)
    if result.shape != tensor.shape:
        raise ValueError(f"a result of shape {result.shape} does not fit into a tensor of {tensor.shape}")
    if _is_recorded(tensor, result):
        _replace(tensor, result)
        return tensor
    _write(tensor, _shortened(result, tensor.dtype))
    return tensor


def _shortened(values: Tensor, dtype: DType) -> Tensor:
    """The values for a tensor of that type: rounded to shorter floats, and otherwise of the type already."""
    if values.dtype == FLOAT32 and dtype in (FLOAT16, BFLOAT16) and not values.requires_grad:
        return values.astype(dtype)
    if values.dtype != dtype:
        raise TypeError(f"values of {values.dtype} for a tensor of {dtype}: use astype")
    return values


# ---- tensor[index] = values -------------------------------------------------------------------------


def _numbered(shape: tuple[int, ...]) -> Tensor:
    """0, 1, 2, ... in a shape."""
    from .tensors import Tensor
    count = 1
    for size in shape:
        count *= size
    return Tensor._wrap(_create(INT64, _array("q", range(count)).tobytes(), shape))


def _fitting(given: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Values without further dimensions of size 1 in front; they must broadcast to the shape."""
    sizes = given.shape
    while len(sizes) > len(shape) and sizes[0] == 1:
        sizes = sizes[1:]
    padded = (1,) * (len(shape) - len(sizes)) + sizes
    if len(sizes) > len(shape) or any(n not in (1, m) for n, m in zip(padded, shape)):
        raise ValueError(f"values of shape {given.shape} do not fit the shape {tuple(shape)} that the index selects")
    return given if sizes == given.shape else given.reshape(sizes)


def _with_values(tensor: Tensor, places: Any, sources: Any, given: Tensor) -> Tensor:
    """The tensor with elements of the values in some places, with its graph and theirs."""
    from .functional import where
    from .tensors import Tensor
    chosen, source = bytearray(tensor.size), _array("q", bytes(8 * tensor.size))
    for place, one in zip(places, sources):
        chosen[place], source[place] = 1, one
    mask = Tensor._wrap(_create(BOOL, bytes(chosen), tensor.shape))
    order = Tensor._wrap(_create(INT64, source.tobytes(), (tensor.size,)))
    return where(mask, given.reshape(-1).take(order).reshape(tensor.shape), tensor)


def _set_places(tensor: Tensor, index: Any, given: Tensor, recorded: bool) -> None:
    """Writes where an index selects, whatever it consists of; of places that it names twice, the last counts."""
    chosen = _get(_numbered(tensor.shape), index)
    given = _fitting(given, chosen.shape)
    sources = _numbered(given.shape).broadcast_to(chosen.shape)
    if chosen.size == 0:
        return
    places, order = chosen._copy_out(), sources._copy_out()
    if recorded:
        _replace(tensor, _with_values(tensor, places, order, given))
        return
    data, values = tensor._copy_out(), given._copy_out()
    for place, source in zip(places, order):
        data[place] = values[source]
    leaf = tensor if tensor.is_leaf else tensor.detach()
    _lib.tlm_tensor_copy_in(leaf._handle, data, len(data))


def _set_one_number(tensor: Tensor, mask: Tensor, given: Tensor, recorded: bool) -> None:
    """Writes one number where a mask is true, without going through the elements one by one."""
    from .functional import where
    if recorded:
        _replace(tensor, where(mask, given.reshape(()), tensor))
    else:
        _write(tensor, where(mask, given.detach().reshape(()), tensor.detach()))


def _converted(given: Tensor, dtype: DType) -> Tensor:
    """The values as the type that they are written to, as whole numbers if it has these alone."""
    result = given.astype(dtype)
    if dtype in (INT32, INT64, UINT32) and not (result.astype(given.dtype) == given).all():
        raise ValueError(f"values that are not whole numbers for a tensor of {dtype}: use values.astype(\"{dtype}\")")
    return result


def _set(tensor: Tensor, index: Any, values: Any) -> None:
    """tensor[index] = values."""
    from ._checks import _without_graph
    from .tensors import Tensor, no_grad
    _check_leaf(tensor)
    index = index if isinstance(index, tuple) else _item(index)
    is_mask = hasattr(index, "dtype") and index.dtype == BOOL
    parts = [index] if is_mask else _parts(index, tensor.ndim)
    given = values if isinstance(values, Tensor) else Tensor(_without_graph(values), tensor.dtype)
    recorded = _is_recorded(tensor, given)
    if recorded and tensor.dtype != FLOAT32:
        raise TypeError(f"a tensor of {tensor.dtype} cannot take values with a graph: use values.detach()")
    if given.dtype != tensor.dtype:
        given = _converted(given, tensor.dtype)
    if is_mask and tensor.dtype == FLOAT32 and given.size == 1 and index.shape == tensor.shape and given.ndim <= 1:
        _set_one_number(tensor, index, given, recorded)
        return
    if recorded or any(hasattr(part, "dtype") or isinstance(part, slice) and (part.step or 1) < 0 for part in parts):
        _set_places(tensor, index, given, recorded)
        return
    with no_grad():
        view, _, shape = _basic(tensor, parts)
        fitting = _fitting(given.detach(), tuple(shape))
        _write(view, fitting.broadcast_to(shape).reshape(view.shape))
