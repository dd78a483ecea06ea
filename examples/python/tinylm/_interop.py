"""Functions of NumPy and PyTorch that are given a Tensor: those that tensors have themselves keep the graph,
others see the values, or are refused where a gradient would be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .tensors import Tensor


def _swap(name: str) -> Callable[[Any, Any], Any]:
    """An operator whose left side may be a number or another library's array."""
    def call(a: Any, b: Any) -> Any:
        from .tensors import Tensor
        if isinstance(a, Tensor):
            return getattr(a, f"__{name}__")(b)
        mirrored = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}
        return getattr(b, f"__{mirrored.get(name, 'r' + name)}__")(a)
    return call


def _method(name: str) -> Callable[..., Any]:
    return lambda tensor, *args, **kwargs: getattr(tensor, name)(*args, **kwargs)


_OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "true_divide": "truediv",
    "matmul": "matmul", "power": "pow", "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le",
    "greater": "gt", "greater_equal": "ge", "logical_and": "and", "logical_or": "or", "logical_xor": "xor",
    "bitwise_and": "and", "bitwise_or": "or", "bitwise_xor": "xor"}
_METHODS = {
    "negative": "__neg__", "positive": "__pos__", "absolute": "abs", "fabs": "abs", "exp": "exp", "log": "log",
    "sqrt": "sqrt", "tanh": "tanh", "square": "square", "isnan": "isnan", "logical_not": "__invert__",
    "invert": "__invert__"}
_UFUNCS: dict[str, Callable[..., Any]] = {
    **{name: _swap(operator) for name, operator in _OPERATORS.items()},
    **{name: _method(method) for name, method in _METHODS.items()}}
_FUNCTIONS = {name: name for name in (
    "sum", "mean", "max", "min", "argmax", "argmin", "reshape", "transpose", "squeeze", "var", "std", "clip")}
_FUNCTIONS |= {"amax": "max", "amin": "min", "ravel": "flatten", "broadcast_to": "broadcast_to", "permute_dims": "permute"}
# Functions of NumPy that have no gradient to lose.
_WITHOUT_SLOPES = frozenset(
    "allclose array_equal array_equiv isclose isfinite isinf signbit sign floor ceil rint trunc argsort nonzero flatnonzero "
    "argwhere count_nonzero unique searchsorted histogram digitize may_share_memory shares_memory array_str array_repr "
    "array2string save savetxt savez savez_compressed iscomplexobj isrealobj zeros_like ones_like empty_like full_like "
    "result_type can_cast".split())
# Of torch.Tensor and torch.
_TORCH = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "truediv", "true_divide": "truediv", "matmul": "matmul",
    "pow": "pow", "eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "__and__": "and",
    "__or__": "or", "__xor__": "xor", "__rsub__": "rsub", "rsub": "rsub", "__rpow__": "rpow", "__rdiv__": "rtruediv",
    "__radd__": "radd", "__rmul__": "rmul", "__rmatmul__": "rmatmul"}


def _plain(value: Any, name: str) -> Any:
    """The argument with arrays of NumPy in place of tensors."""
    from .tensors import Tensor, is_grad_enabled
    if isinstance(value, Tensor):
        if name not in _WITHOUT_SLOPES and value.requires_grad and is_grad_enabled():
            raise TypeError(f"numpy.{name} would lose the graph of a tensor that requires a gradient: use a function of "
                            "tinylm, or tensor.detach()")
        return value.detach().numpy()
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(one, name) for one in value)
    if isinstance(value, dict):
        return {key: _plain(one, name) for key, one in value.items()}
    return value


def _ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = ufunc.__name__
    if method == "__call__" and not kwargs and name in _UFUNCS:
        return _UFUNCS[name](*inputs)
    if method == "__call__" and not kwargs and name in ("maximum", "minimum"):
        from . import functional
        return getattr(functional, name)(*inputs)
    return getattr(ufunc, method)(*_plain(inputs, name), **_plain(kwargs, name))


def _function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from . import functional
    from .tensors import Tensor
    name = function.__name__
    given = {key: value for key, value in kwargs.items() if value is not None and key not in ("initial", "where")}
    if name in _FUNCTIONS and args and isinstance(args[0], Tensor):
        tensor, more = args[0], list(args[1:])
        if more and name in ("sum", "mean", "max", "min", "amax", "amin", "argmax", "argmin", "var", "std"):
            if len(more) > 1:
                raise TypeError(f"numpy.{name} of a Tensor takes the axis by position, and the rest by name")
            given = {"axis": more.pop(), **given}
        if name in ("amax", "amin", "max", "min") and "axis" in given and isinstance(given["axis"], (list, tuple)):
            raise TypeError(f"numpy.{name} of a Tensor takes one axis, not {given['axis']}")
        return getattr(tensor, _FUNCTIONS[name])(*more, **given)
    if name in ("concatenate", "stack", "where", "expand_dims", "dot"):
        if name == "expand_dims":
            return args[0].unsqueeze(args[1])
        if name == "dot":
            return args[0] @ args[1]
        if name == "where":
            return functional.where(*args)
        make = functional.concat if name == "concatenate" else functional.stack
        return make([one if isinstance(one, Tensor) else Tensor(one) for one in args[0]], *args[1:],
                    **({"dim": given["axis"]} if "axis" in given else {}))
    if name in ("shape", "ndim", "size"):
        return getattr(args[0], name)
    return function(*_plain(args, name), **_plain(kwargs, name))


def _torch(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = getattr(function, "__name__", str(function))
    if name in _TORCH and not kwargs and len(args) == 2:
        a, b = args
        operator = _TORCH[name]
        if operator.startswith("r"):  # b (op) a
            a, b, operator = b, a, operator[1:]
        return _swap(operator)(a, b)
    raise TypeError(f"torch.{name} takes torch.Tensor: make one with torch.from_dlpack(tensor), which shares the memory")
