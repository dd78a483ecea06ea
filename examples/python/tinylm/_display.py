"""Tensors as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .dtypes import BFLOAT16, FLOAT16, FLOAT32

if TYPE_CHECKING:
    from .tensors import Tensor

_MOST, _EDGE = 1000, 3  # elements shown in full; of larger tensors, so many at each end of a dimension


def _shown(tensor: Tensor, summary: bool) -> Any:
    """Nested lists of the elements to be shown, None where some are left out."""
    if tensor.ndim == 0:
        return tensor.tolist()
    n = tensor.shape[0]
    if not summary:
        return tensor.tolist()
    places: list[int | None] = list(range(n)) if n <= 2 * _EDGE else [
        *range(_EDGE), None, *range(n - _EDGE, n)]
    return [None if place is None else _shown(tensor[place], True) for place in places]


def _leaves(values: Any) -> list[Any]:
    if isinstance(values, list):
        return [leaf for value in values if value is not None for leaf in _leaves(value)]
    return [values]


def _formatter(leaves: list[Any], is_float: bool) -> Any:
    """How numbers are written: all alike, so that columns are straight."""
    if not is_float:
        return lambda value: str(value)
    finite = [abs(value) for value in leaves if math.isfinite(value) and value != 0]
    if finite and (max(finite) >= 1e6 or min(finite) < 1e-4 or max(finite) / min(finite) > 1e6):
        return lambda value: f"{value:.4e}" if math.isfinite(value) else str(value)
    if all(value == int(value) for value in leaves if math.isfinite(value)):
        return lambda value: f"{value:.0f}." if math.isfinite(value) else str(value)
    return lambda value: f"{value:.4f}" if math.isfinite(value) else str(value)


def _nested(values: Any, write: Any, width: int, indent: int) -> str:
    if values is None:
        return "..."
    if not isinstance(values, list):
        return str(write(values)).rjust(width)
    if not values or not any(isinstance(value, list) for value in values):
        return "[" + ", ".join(_nested(value, write, width, 0) for value in values) + "]"
    gap = ",\n" + " " * (indent + 1)
    return "[" + gap.join(_nested(value, write, width, indent + 1) for value in values) + "]"


def _values_text(tensor: Tensor, indent: int) -> str:
    """The elements in brackets."""
    from .tensors import no_grad
    with no_grad():
        values = _shown(tensor.detach(), tensor.size > _MOST) if tensor.size else tensor.tolist()
    leaves = _leaves(values)
    write = _formatter(leaves, tensor.dtype in (FLOAT32, BFLOAT16, FLOAT16))
    width = max((len(str(write(leaf))) for leaf in leaves), default=0) if tensor.ndim else 0
    return _nested(values, write, width, indent)


def _describe(tensor: Tensor, name: str) -> str:
    """What repr() says: the values, and what cannot be seen from them."""
    parts = [_values_text(tensor, len(name) + 1), f"shape={tensor.shape}", f"dtype={tensor.dtype}"]
    if tensor.requires_grad:
        parts.append("requires_grad=True")
    separator = ",\n" + " " * (len(name) + 1) if "\n" in parts[0] else ", "
    return f"{name}({parts[0]}{separator}{', '.join(parts[1:])})"
