"""Python objects as elements of tensors: numbers, nested lists, and arrays of NumPy, PyTorch and others.
Nothing changes on the way without a word: what a type does not hold is refused."""

from __future__ import annotations

import array as _arrays
import ctypes
import math
import struct
import sys
from ctypes import byref, c_void_p
from typing import Any

from ._convert import _dims
from ._memory import _flatten, _store
from ._native import _lib
from .dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64, UINT32, DType

_BEYOND = {FLOAT32: 3.4028235677973366e38, BFLOAT16: 3.3961775292304957e38, FLOAT16: 65520.0}  # the first that are rounded up
_LARGEST = {FLOAT32: "3.4028235e38", BFLOAT16: "3.3895314e38", FLOAT16: "65504"}
_LIMITS = {INT32: (-1 << 31, (1 << 31) - 1), INT64: (-1 << 63, (1 << 63) - 1), UINT32: (0, (1 << 32) - 1)}
_PACKED = {FLOAT32: "f", INT32: "i", INT64: "q", UINT32: "I", BOOL: "?", FLOAT16: "e"}
# The type of a tensor for each of NumPy's and PyTorch's that is not asked to be another.
_NATURAL = {
    "bool": BOOL, "int8": INT32, "int16": INT32, "uint8": INT32, "uint16": INT32, "int32": INT32, "int64": INT64,
    "uint32": UINT32, "float16": FLOAT16, "bfloat16": BFLOAT16, "float32": FLOAT32, "float64": FLOAT32,
    "longdouble": FLOAT32, "float128": FLOAT32}


def _is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def _is_array(value: Any) -> bool:
    """An array of another library, which has a type of its own."""
    return (hasattr(value, "__array_interface__") or hasattr(value, "__array__") or _is_torch(value)
            or hasattr(value, "__dlpack__"))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (
        hasattr(value, "__array_interface__") and getattr(value, "shape", None) == () and hasattr(value, "item"))


def _create(dtype: int, data: Any, shape: tuple[int, ...] | list[int]) -> c_void_p:
    handle = c_void_p()
    _lib.tlm_tensor_from_data(byref(handle), dtype, data, _dims(shape), len(shape))
    return handle


# ---- Numbers and nested lists -----------------------------------------------------------------------


def _refuse(items: list[Any], dtype: DType, name: str) -> None:
    """Says which item is not of the type."""
    for item in items:
        if not hasattr(item, "__float__") and not hasattr(item, "__index__"):
            raise TypeError(f"{name} holds a {type(item).__name__}, {item!r:.40}, where a number should be")
        if dtype in _LIMITS:
            low, high = _LIMITS[dtype]
            if not math.isfinite(item) or item != int(item) or not low <= item <= high:
                raise ValueError(f"{name}: {item} is no {dtype}")
        elif dtype != BOOL and math.isfinite(item) and not abs(item) < _BEYOND[dtype]:
            raise ValueError(f"{name}: {item} is beyond {dtype}, whose largest number is {_LARGEST[dtype]}")
    raise ValueError(f"{name}: the values do not fit {dtype}")


def _pack(items: list[Any], dtype: DType, name: str) -> Any:
    """The numbers as a C array of the type."""
    try:
        if dtype == BOOL:
            return bytes(bool(item + 0) for item in items)
        if dtype == BFLOAT16:
            if any(_BEYOND[dtype] <= abs(item) < math.inf for item in items):
                _refuse(items, dtype, name)
            return struct.pack(f"={len(items)}H", *[_store(dtype, item) for item in items])
        if dtype in _LIMITS:
            items = [item if hasattr(item, "__index__") or item != int(item) else int(item) for item in items]
        return struct.pack(f"={len(items)}{_PACKED[dtype]}", *items)
    except (struct.error, OverflowError, TypeError, ValueError):
        _refuse(items, dtype, name)


def _natural_of_items(items: list[Any], name: str) -> DType:
    """bool of bools; of other numbers float32, which whole numbers must fit."""
    if items and all(isinstance(item, bool) for item in items):
        return BOOL
    for item in items:
        if isinstance(item, int) and abs(item) > 1 << 24 and (
                abs(item) >= 1 << 128 or struct.unpack("f", struct.pack("f", item))[0] != item):
            raise ValueError(f"{name}: {item} is no float32, the type of numbers in lists: give dtype=\"int64\"")
    return FLOAT32


def _of_items(values: Any, dtype: DType | None, name: str) -> c_void_p:
    shape: list[int] = []
    if isinstance(values, (range, _arrays.array, memoryview)):
        values = list(values) if isinstance(values, range) else values.tolist()
    if isinstance(values, (str, bytes, bytearray, dict, set)) or values is None or (
            not isinstance(values, (list, tuple)) and not hasattr(values, "__float__")
            and not hasattr(values, "__index__")):
        raise TypeError(f"{name} is a {type(values).__name__}: give numbers, nested lists of them, or an array of "
                        "NumPy or PyTorch")
    items = _flatten(values, shape)
    if dtype is None:
        dtype = _natural_of_items(items, name)
    return _create(dtype, _pack(items, dtype, name), shape)


# ---- Arrays -----------------------------------------------------------------------------------------


def _natural(kind: str, name: str) -> DType:
    if kind not in _NATURAL:
        raise TypeError(f"{name} is an array of {kind}: convert it, or give a dtype that holds the values")
    return _NATURAL[kind]


def _check_array(array: Any, dtype: DType, name: str) -> None:
    """Refuses elements that the type does not hold."""
    import numpy
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} is an array of {array.dtype.name}, which is no type of numbers that tensors have")
    if dtype in _LIMITS:
        low, high = _LIMITS[dtype]
        wrong = (array < low) | (array > high)
        if array.dtype.kind == "f":
            wrong |= ~(array == numpy.trunc(array)) | (array >= float(high + 1))
    elif dtype != BOOL and array.dtype.kind == "f" and array.dtype.itemsize > 2:  # float16 fits into all
        wrong = numpy.isfinite(array) & (numpy.abs(array) >= _BEYOND[dtype])
    else:
        return
    if wrong.any():
        place = tuple(int(i) for i in numpy.argwhere(wrong)[0])
        raise ValueError(f"{name}: {array[place]} at {list(place)} is no {dtype}")


def _of_numpy(values: Any, dtype: DType | None, name: str) -> c_void_p:
    import numpy
    if hasattr(values, "filled") and numpy.any(values.mask):
        raise TypeError(f"{name} is a masked array, whose masked elements are no numbers: use array.filled(value)")
    array = numpy.asarray(values)
    kind = array.dtype.name
    dtype = _natural(kind, name) if dtype is None else dtype
    if kind == "bfloat16":  # of ml_dtypes
        if dtype != BFLOAT16:
            return _of_numpy(array.astype("float32"), dtype, name)
        array = numpy.asarray(array, order="C").view("uint16")
    elif dtype == BFLOAT16:
        _check_array(array, dtype, name)
        whole = _create(FLOAT32, (narrow := numpy.asarray(array, "float32", order="C")).ctypes.data, narrow.shape)
        try:
            return _converted(whole, BFLOAT16)
        finally:
            _lib.tlm_tensor_free(whole)
    else:
        if kind != dtype.name:
            _check_array(array, dtype, name)
        array = numpy.asarray(array, dtype=dtype.name, order="C")  # of native byte order
    return _create(dtype, c_void_p(array.ctypes.data), array.shape)


def _converted(handle: Any, dtype: int) -> c_void_p:
    out = c_void_p()
    _lib.tlm_tensor_convert(byref(out), handle, dtype)
    return out


def _of_torch(values: Any, dtype: DType | None, name: str) -> c_void_p:
    if values.device.type != "cpu":
        raise TypeError(f"{name} is on {values.device}: call .cpu()")
    if values.grad_fn is not None and _lib.tlm_grad_enabled():
        raise TypeError(f"{name} is the result of ops of PyTorch, whose graph ends here: use tensor.detach()")
    values = values.detach()
    kind = str(values.dtype).partition(".")[2]
    if kind not in _NATURAL and not kind.startswith(("uint", "complex")):  # float8 and the like, which NumPy has not
        _natural(kind, name)
    if kind != "bfloat16":
        return _of_numpy(values.resolve_conj().resolve_neg().numpy(), dtype, name)
    bits = values.contiguous()
    shape = tuple(bits.shape)
    torch = sys.modules["torch"]
    handle = _create(BFLOAT16, c_void_p(bits.view(torch.int16).data_ptr()) if bits.numel() else None, shape)
    if dtype in (None, BFLOAT16):
        return handle
    try:
        return _converted(handle, dtype)
    finally:
        _lib.tlm_tensor_free(handle)


def _handle_of(values: Any, dtype: DType | None, name: str) -> c_void_p:
    """A new tensor of a copy of the values."""
    if _is_torch(values):
        return _of_torch(values, dtype, name)
    if hasattr(values, "__array_interface__") or hasattr(values, "__array__"):  # pandas has but the second
        return _of_numpy(values, dtype, name)
    if hasattr(values, "__dlpack__"):
        import numpy
        return _of_numpy(numpy.from_dlpack(values), dtype, name)
    if isinstance(values, (_arrays.array, memoryview)) and dtype is None:
        view = memoryview(values)
        if view.format not in ("f", "d", "?"):
            dtype = INT32 if view.itemsize < 4 or view.format in "il" and view.itemsize == 4 else (
                UINT32 if view.itemsize == 4 else INT64)
    return _of_items(values, dtype, name)


def _elements(handle: Any, dtype: int, n: int) -> Any:
    """A C array of a copy of the elements, in row-major order."""
    from ._words import _ELEMENTS
    data = (_ELEMENTS[dtype] * n)()
    _lib.tlm_tensor_copy_out(ctypes.cast(data, c_void_p), n, handle)
    return data
