"""Tensors."""

from __future__ import annotations

import contextlib
import ctypes
from ctypes import POINTER, byref, c_float, c_uint8, c_void_p
from typing import Any, Iterator, Sequence

from ._abi import _DLManagedTensor
from ._convert import _dims
from ._handle import _Callbacks, _Handle, _thread
from ._memory import (_CAPSULE, _USED_CAPSULE, _buffers, _capsule_new, _capsule_pointer, _capsule_rename,
                      _delete_capsule, _flatten, _load, _nest, _numbers, _release_buffer, _store)
from ._native import _lib
from ._words import BOOL, FLOAT16, FLOAT32, INT32, INT64, UINT32, _ELEMENTS, _FORMATS, _NUMPY_NAMES, _number
from .errors import Error


def _call(name: str, *arguments: Any) -> Tensor:
    """An op: a new tensor from tensors and numbers."""
    out = c_void_p()
    getattr(_lib, name)(byref(out), *[getattr(argument, "_handle", argument) for argument in arguments])
    return Tensor._wrap(out)


class Tensor(_Handle):
    """An array that may gather gradients, with a copy of nested lists, a number or a numpy array. In
    arithmetic a number is a tensor without dimensions."""

    _free = "tlm_tensor_free"

    def __init__(self, values: Any, dtype: int = FLOAT32, requires_grad: bool = False) -> None:
        handle, shape = c_void_p(), []
        if hasattr(values, "__array_interface__"):
            import numpy
            values = numpy.ascontiguousarray(values, dtype=_NUMPY_NAMES[dtype])
            shape, flat = list(values.shape), c_void_p(values.ctypes.data)
        else:
            items = _flatten(values, shape)
            flat = (_ELEMENTS[dtype] * len(items))(*(_store(dtype, item) for item in items))
        _lib.tlm_tensor_from_data(byref(handle), dtype, flat, _dims(shape), len(shape))
        self._handle = handle
        if requires_grad:
            self.requires_grad = True

    # -- Memory shared with others --

    @classmethod
    def from_buffer(cls, buffer: Any) -> Tensor:
        """A tensor over the memory of an array.array, a memoryview or anything else that has a writable
        buffer of one of the types: nothing is copied."""
        view = memoryview(buffer)
        formats = {("f", 4): FLOAT32, ("i", 4): INT32, ("l", 4): INT32, ("q", 8): INT64, ("l", 8): INT64,
                   ("I", 4): UINT32, ("L", 4): UINT32, ("?", 1): BOOL}
        dtype = formats.get((view.format.lstrip("@=<"), view.itemsize))
        if dtype is None:
            raise TypeError(f"a buffer of format {view.format!r}")
        if view.readonly or not view.c_contiguous:
            raise BufferError("a tensor takes a writable buffer in row-major order")
        size = view.nbytes
        memory = (c_uint8 * size).from_buffer(view.cast("B")) if size else (c_uint8 * 8)()
        handle, key = c_void_p(), next(_numbers)
        _buffers[key] = memory
        try:
            _lib.tlm_tensor_wrap(byref(handle), dtype, ctypes.addressof(memory), _dims(view.shape), None,
                                 view.ndim, _release_buffer, key)
        except Error:
            del _buffers[key]
            raise
        return cls._wrap(handle)

    @classmethod
    def from_dlpack(cls, array: Any) -> Tensor:
        """A tensor over the memory of a numpy array, a PyTorch tensor or anything else that supports
        DLPack: nothing is copied."""
        capsule, handle = array.__dlpack__(), c_void_p()
        pointer = _capsule_pointer(capsule, _CAPSULE)
        _lib.tlm_tensor_from_dlpack(byref(handle), ctypes.cast(pointer, POINTER(_DLManagedTensor)))
        _capsule_rename(capsule, _USED_CAPSULE)
        return cls._wrap(handle)

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: bool | None = None) -> Any:
        """For numpy.from_dlpack, torch.from_dlpack and the like, over the same memory. They see the
        values only: no gradient flows between the libraries."""
        if stream is not None or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("a tinylm.Tensor lies in CPU memory, without streams")
        managed, tensor = POINTER(_DLManagedTensor)(), self._copy() if copy else self
        _lib.tlm_tensor_to_dlpack(byref(managed), tensor._handle)
        return _capsule_new(ctypes.cast(managed, c_void_p), _CAPSULE,
                            ctypes.cast(_delete_capsule, c_void_p))

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """For numpy.asarray, over the same memory."""
        kind = {FLOAT32: "<f4", INT32: "<i4", INT64: "<i8", UINT32: "<u4", BOOL: "|b1",
                FLOAT16: "<f2"}.get(self.dtype)
        if kind is None:
            raise AttributeError("NumPy has no bfloat16")
        size = ctypes.sizeof(_ELEMENTS[self.dtype])
        return {"version": 3, "shape": self.shape, "typestr": kind, "data": (self.data or 0, False),
                "strides": tuple(size * stride for stride in self.strides)}

    def memoryview(self) -> memoryview:
        """The elements of a row-major tensor, over the same memory."""
        if _call("tlm_contiguous", self).data != self.data:
            raise BufferError("the tensor is a view that is not row-major")
        n = _lib.tlm_tensor_numel(self._handle) * ctypes.sizeof(_ELEMENTS[self.dtype])
        memory = (c_uint8 * n).from_address(self.data) if n else (c_uint8 * 0)()
        memory.owner = self
        view, code = memoryview(memory).cast("B"), _FORMATS[self.dtype]
        return view.cast(code, self.shape) if n and self.shape else view.cast(code)

    # -- Looking and copying --

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(_lib.tlm_tensor_shape(self._handle)[:_lib.tlm_tensor_ndim(self._handle)])

    @property
    def strides(self) -> tuple[int, ...]:
        """Its strides, in elements."""
        return tuple(_lib.tlm_tensor_strides(self._handle)[:_lib.tlm_tensor_ndim(self._handle)])

    @property
    def dtype(self) -> int:
        """FLOAT32, INT32, INT64, UINT32, BOOL, BFLOAT16 or FLOAT16; ops compute with the first alone."""
        return _lib.tlm_tensor_dtype(self._handle)

    @property
    def data(self) -> int | None:
        """The address of the first element, None where there is none."""
        return _lib.tlm_tensor_data(self._handle)

    def _copy_out(self) -> Any:
        n = _lib.tlm_tensor_numel(self._handle)
        data = (_ELEMENTS[self.dtype] * n)()
        _lib.tlm_tensor_copy_out(data, n, self._handle)
        return data

    def _copy(self) -> Tensor:
        return _call("tlm_tensor_from_data", self.dtype, self._copy_out(), _dims(self.shape), len(self.shape))

    def copy_(self, values: Any) -> None:
        """Copies as many values as it has (nested lists, a numpy array or a Tensor) into a leaf."""
        tensor = values if isinstance(values, Tensor) else Tensor(values, self.dtype)
        if (tensor.dtype, tensor.shape) != (self.dtype, self.shape):
            raise ValueError(f"values of shape {tensor.shape} for a tensor of {self.shape}")
        data = tensor._copy_out()
        _lib.tlm_tensor_copy_in(self._handle, data, len(data))

    def tolist(self) -> Any:
        """Nested lists; a number for a scalar."""
        return _nest([_load(self.dtype, element) for element in self._copy_out()], self.shape)

    def item(self) -> float:
        """The value of a float32 tensor with one element."""
        value = c_float()
        _lib.tlm_tensor_item(byref(value), self._handle)
        return value.value

    def numpy(self) -> Any:
        """A copy; numpy.asarray(tensor) shares the memory."""
        import numpy
        return numpy.frombuffer(self._copy_out(), dtype=_NUMPY_NAMES[self.dtype]).reshape(self.shape).copy()

    # -- Gradients --

    @property
    def requires_grad(self) -> bool:
        """Whether it gathers a gradient or passes one on. It may be set, except for results of ops."""
        return _lib.tlm_tensor_requires_grad(self._handle)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        _lib.tlm_tensor_set_requires_grad(self._handle, value)

    @property
    def grad(self) -> Tensor | None:
        """The gradient gathered so far, or None."""
        handle = _lib.tlm_tensor_grad(self._handle)
        return None if handle is None else Tensor._wrap(c_void_p(_lib.tlm_tensor_retain(handle)))

    def zero_grad(self) -> None:
        """Forgets the gradient."""
        _lib.tlm_tensor_zero_grad(self._handle)

    def backward(self, gradient: Tensor | None = None) -> None:
        """Back-propagates from a scalar, or from a gradient of the tensor's shape."""
        outer = getattr(_thread, "callbacks", None)
        try:
            with _Callbacks() as _thread.callbacks:
                _lib.tlm_tensor_backward(self._handle, gradient and gradient._handle)
        finally:
            _thread.callbacks = outer

    def detach(self) -> Tensor:
        """The same memory outside any graph."""
        return _call("tlm_tensor_detach", self)

    # -- Ops --

    def __add__(self, other: Tensor | float) -> Tensor:
        return _call("tlm_add", self, _operand(other))

    def __sub__(self, other: Tensor | float) -> Tensor:
        return _call("tlm_sub", self, _operand(other))

    def __mul__(self, other: Tensor | float) -> Tensor:
        return _call("tlm_mul", self, _operand(other))

    def __truediv__(self, other: Tensor | float) -> Tensor:
        return _call("tlm_div", self, _operand(other))

    def __radd__(self, other: float) -> Tensor:
        return _call("tlm_add", _operand(other), self)

    def __rsub__(self, other: float) -> Tensor:
        return _call("tlm_sub", _operand(other), self)

    def __rmul__(self, other: float) -> Tensor:
        return _call("tlm_mul", _operand(other), self)

    def __rtruediv__(self, other: float) -> Tensor:
        return _call("tlm_div", _operand(other), self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return _call("tlm_matmul", self, other)

    def __neg__(self) -> Tensor:
        return self.scale(-1.0)

    def scale(self, factor: float) -> Tensor:
        """The tensor times factor."""
        return _call("tlm_scale", self, factor)

    def sum(self, dim: int | None = None, keep_dim: bool = False) -> Tensor:
        """The sum of all elements, or along a dimension."""
        return _call("tlm_sum", self) if dim is None else _call("tlm_sum_dim", self, dim, keep_dim)

    def mean(self, dim: int | None = None, keep_dim: bool = False) -> Tensor:
        """The mean of all elements, or along a dimension."""
        return _call("tlm_mean", self) if dim is None else _call("tlm_mean_dim", self, dim, keep_dim)

    def max(self, dim: int, keep_dim: bool = False) -> tuple[Tensor, Tensor]:
        """The maximum along a dimension, and its indices."""
        values, indices = c_void_p(), c_void_p()
        _lib.tlm_max_dim(byref(values), byref(indices), self._handle, dim, keep_dim)
        return Tensor._wrap(values), Tensor._wrap(indices)

    def reshape(self, *shape: int) -> Tensor:
        """Another shape of the same elements; one size may be -1."""
        return _call("tlm_reshape", self, _dims(shape), len(shape))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two dimensions swapped: a view."""
        return _call("tlm_transpose", self, dim0, dim1)

    def slice(self, dim: int, start: int, stop: int) -> Tensor:
        """Elements start .. stop - 1 of a dimension: a view."""
        return _call("tlm_slice", self, dim, start, stop)

    def slice_step(self, dim: int, start: int, step: int, count: int) -> Tensor:
        """Elements start, start + step, ... of a dimension, `count` of them: a view if step is positive."""
        return _call("tlm_slice_step", self, dim, start, step, count)

    def take(self, indices: Tensor, dim: int = 0) -> Tensor:
        """The elements along a dimension that an integer tensor names, whose shape takes its place."""
        return _call("tlm_take", self, dim, indices)

    def compare(self, comparison: str, other: Tensor | float) -> Tensor:
        """Booleans: "equal", "not_equal", "less", "less_equal", "greater" or "greater_equal"."""
        return _call("tlm_compare", self, _operand(other), _number("comparison", comparison))

    def astype(self, dtype: int) -> Tensor:
        """A copy as another type, outside any graph."""
        return _call("tlm_tensor_convert", self, dtype)

    def pow(self, exponent: Tensor | float) -> Tensor:
        """Powers, element by element."""
        return _call("tlm_pow", self, _operand(exponent))

    def abs(self) -> Tensor:
        """Absolute values."""
        return _call("tlm_abs", self)

    def contiguous(self) -> Tensor:
        """The same elements in row-major order."""
        return _call("tlm_contiguous", self)

    def exp(self) -> Tensor:
        """e^x for each element; the functions below are also element-wise."""
        return _call("tlm_exp", self)

    def log(self) -> Tensor:
        """Natural logarithm."""
        return _call("tlm_log", self)

    def sqrt(self) -> Tensor:
        """Square root."""
        return _call("tlm_sqrt", self)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return _call("tlm_tanh", self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return _call("tlm_sigmoid", self)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return _call("tlm_relu", self)

    def gelu(self) -> Tensor:
        """x P(Z <= x), Z normal."""
        return _call("tlm_gelu", self)

    def silu(self) -> Tensor:
        """x sigmoid(x)."""
        return _call("tlm_silu", self)


def _operand(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(value)


def _handles(tensors: Sequence[Tensor]) -> Any:
    return (c_void_p * len(tensors))(*[tensor._handle for tensor in tensors])


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Ops inside are not recorded, on this thread."""
    before = _lib.tlm_set_grad_enabled(False)
    try:
        yield
    finally:
        _lib.tlm_set_grad_enabled(before)
