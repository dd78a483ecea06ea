"""tensor[index], as NumPy has it: whole numbers, slices, None, ..., arrays of whole numbers and of booleans."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from ._structs import _given, _whole
from ._values import _is_array
from .dtypes import BOOL, INT32, INT64, UINT32

if TYPE_CHECKING:
    from .tensors import Tensor

_WHOLE = (INT32, INT64, UINT32)


def _item(value: Any) -> Any:
    """One part of an index: None, ..., a slice, a whole number, or a tensor of whole numbers or booleans."""
    from .tensors import Tensor
    if value is None or value is Ellipsis or isinstance(value, slice):
        return value
    if isinstance(value, (bool, str, bytes, float)):
        raise TypeError(f"an index is a whole number, a slice, None, ..., or an array of whole numbers or of booleans, "
                        f"not {_given(value)}")
    if isinstance(value, (list, range)):
        found = Tensor(list(value)) if value and _all_booleans(value) else Tensor(list(value), INT64)
    elif isinstance(value, Tensor) or _is_array(value):
        found = value if isinstance(value, Tensor) else Tensor(value)
    elif hasattr(type(value), "__index__"):
        return _whole("index", value)
    else:
        raise TypeError(f"an index is a whole number, a slice, None, ..., or an array of whole numbers or of booleans, "
                        f"not {_given(value)}")
    if found.dtype != BOOL and found.dtype not in _WHOLE:
        raise IndexError(f"an index of {found.dtype}: arrays that index hold whole numbers or booleans")
    if found.ndim == 0 and found.dtype != BOOL:
        return int(found.tolist())
    return found


def _all_booleans(values: Any) -> bool:
    return all(_all_booleans(value) if isinstance(value, list) else isinstance(value, bool) or
               type(value).__name__ in ("bool_",) for value in values)


def _parts(index: Any, ndim: int) -> list[Any]:
    """The index, one part per dimension, with None between them; of masks, one tensor of places for each of
    their dimensions."""
    items = [_item(value) for value in (index if isinstance(index, tuple) else (index,))]
    if sum(item is Ellipsis for item in items) > 1:
        raise IndexError("an index has one ... at most")
    taken = sum(0 if item is None or item is Ellipsis else _dims_of(item) for item in items)
    if taken > ndim:
        raise IndexError(f"{taken} indices for a tensor of {ndim} dimensions")
    rest = [slice(None)] * (ndim - taken)
    if not any(item is Ellipsis for item in items):
        items.append(Ellipsis)
    parts: list[Any] = []
    for item in items:
        parts.extend(rest if item is Ellipsis else [item])
    return parts


def _dims_of(item: Any) -> int:
    return int(item.ndim) if hasattr(item, "ndim") and item.dtype == BOOL else 1


def _places(mask: Tensor, shape: tuple[int, ...], at: int) -> list[Tensor]:
    """Where a mask is true, a tensor of indices for each of its dimensions."""
    from .tensors import Tensor
    if mask.shape != shape[at:at + mask.ndim] or mask.ndim == 0:
        raise IndexError(f"a mask of shape {mask.shape} for dimensions {shape[at:at + mask.ndim]} of a tensor of {shape}")
    flat = bytes(mask._copy_out())
    chosen = [i for i, is_set in enumerate(flat) if is_set]
    places = []
    for dim in range(mask.ndim):
        below = math.prod(mask.shape[dim + 1:])
        places.append(Tensor([i // below % mask.shape[dim] for i in chosen], INT64))
    return places


def _split(parts: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The parts with masks as places, each dimension with one part."""
    result: list[Any] = []
    at = 0
    for part in parts:
        if hasattr(part, "dtype") and part.dtype == BOOL:
            result.extend(_places(part, shape, at))
        else:
            result.append(part)
        at += 0 if part is None else _dims_of(part)
    return result


def _basic(tensor: Tensor, parts: list[Any]) -> tuple[Tensor, list[Any], list[int]]:
    """The slices and whole numbers done: a view with all dimensions, the parts that remain, and the shape that
    the result has where no tensor indexes."""
    from .tensors import _call
    shape: list[int] = []
    rest: list[Any] = []
    dim = 0
    arrays = any(hasattr(part, "dtype") for part in parts)
    for part in parts:
        if part is None:
            shape.append(1)
            rest.append(None)
            continue
        size = tensor.shape[dim]
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            count = len(range(start, stop, step))
            if (start, step, count) != (0, 1, size):
                tensor = (_call("tlm_slice", tensor, dim, start if count else 0, start + count if count else 0)
                          if step == 1 else _call("tlm_slice_step", tensor, dim, start if count else 0, step, count))
            shape.append(count)
            rest.append(slice(None))
        elif isinstance(part, int):
            if not -size <= part < size:
                raise IndexError(f"index {part} is outside dimension {dim} of a tensor of shape {tensor.shape}")
            tensor = _call("tlm_slice", tensor, dim, part % size, part % size + 1)
            rest.append(0 if arrays else slice(None))
        else:
            rest.append(part)
        dim += 1
    return tensor, rest, shape


def _flat_places(indices: list[Any], sizes: list[int], dims: list[int]) -> Tensor:
    """The indices of several dimensions, which broadcast, as indices of the one that these make together."""
    from .tensors import Tensor
    shape: list[int] = []
    for index in indices:
        own = [] if isinstance(index, int) else list(index.shape)
        longer, shorter = (shape, own) if len(shape) >= len(own) else (own, shape)
        shorter = [1] * (len(longer) - len(shorter)) + shorter
        if any(a != b and 1 not in (a, b) for a, b in zip(longer, shorter)):
            raise IndexError(f"indices of shapes {[() if isinstance(i, int) else i.shape for i in indices]} do not "
                             "broadcast")
        shape = [b if a == 1 else a for a, b in zip(longer, shorter)]
    total = [0] * math.prod(shape)
    for index, size, dim in zip(indices, sizes, dims):
        values = [index] if isinstance(index, int) else list(index._copy_out())
        own = [1] * len(shape) if isinstance(index, int) else [1] * (len(shape) - index.ndim) + list(index.shape)
        steps = [0 if n == 1 else math.prod(own[d + 1:]) for d, n in enumerate(own)]
        for value in values:
            if not -size <= value < size:
                raise IndexError(f"index {value} is outside dimension {dim}, of size {size}")
        for at, place in enumerate(itertools.product(*map(range, shape))):
            total[at] = total[at] * size + values[sum(map(int.__mul__, place, steps))] % size
    return Tensor(total, INT64).reshape(shape) if total or len(shape) != 1 else Tensor([], INT64)


def _advanced(tensor: Tensor, rest: list[Any]) -> Tensor:
    """The tensors' parts done: their dimensions give way to those that they have together, in the place of the
    first, or in front where slices or None stand between them."""
    from .tensors import _call
    places = [i for i, part in enumerate(rest) if isinstance(part, int) or hasattr(part, "dtype")]
    dims = [sum(part is not None for part in rest[:i]) for i in places]
    indices = [rest[i] for i in places]
    adjacent = places == list(range(places[0], places[0] + len(places)))
    target = dims[0] if adjacent else 0
    if len(dims) == 1:
        result, count = _call("tlm_take", tensor, dims[0], indices[0]), indices[0].ndim
    else:
        others = [d for d in range(tensor.ndim) if d not in dims]
        front = others[:target]
        moved = tensor.permute(*front, *dims, *others[target:])
        sizes = [tensor.shape[d] for d in dims]
        shape = [tensor.shape[d] for d in front], [tensor.shape[d] for d in others[target:]]
        flat = _flat_places(indices, sizes, dims)
        result = _call("tlm_take", moved.reshape([*shape[0], math.prod(sizes), *shape[1]]), target, flat)
        count = flat.ndim
    # None, which has no dimension yet.
    if None not in rest:
        return result
    final: list[int] = []
    kept = iter([n for d, n in enumerate(result.shape) if not target <= d < target + count])
    block = list(result.shape[target:target + count])
    if not adjacent:
        final.extend(block)
    for i, part in enumerate(rest):
        if part is None:
            final.append(1)
        elif i in places:
            final.extend(block if adjacent and i == places[0] else [])
        else:
            final.append(next(kept))
    return result.reshape(final)


def _get(tensor: Tensor, index: Any) -> Tensor:
    """tensor[index]."""
    if not isinstance(index, tuple):
        index = _item(index)
        if hasattr(index, "dtype") and index.ndim == 0:  # one truth value: a dimension of all or nothing
            return tensor.unsqueeze(0).take([0] if index else [])
    parts = _split(_parts(index, tensor.ndim), tensor.shape)
    view, rest, shape = _basic(tensor, parts)
    if any(hasattr(part, "dtype") for part in rest):
        return _advanced(view, rest)
    return view if tuple(shape) == view.shape else view.reshape(shape)
