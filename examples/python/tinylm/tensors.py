"""Tensors: making them, sharing their memory, looking at them, and their gradients."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from ctypes import POINTER, byref, c_uint8, c_void_p
from typing import Any, Iterator, Sequence

from . import _interop
from ._abi import _DLManagedTensor
from ._assign import _check_leaf, _is_recorded, _joined, _replace, _set, _share_with_others, _shortened, _write
from ._checks import Index, _dim, _float_tensor
from ._convert import _dims
from ._display import _describe, _values_text
from ._handle import _Callbacks, _Handle, _thread
from ._indexing import _get
from ._memory import (_CAPSULE, _USED_CAPSULE, _USED_VERSIONED, _VERSIONED, _buffers, _capsule_is, _capsule_new,
                      _capsule_pointer, _capsule_rename, _delete_capsule, _load, _nest, _numbers, _release_buffer)
from ._native import _lib
from ._operators import _Operators
from ._structs import _flag, _given
from ._values import _elements, _handle_of
from ._words import _ELEMENTS, _FORMATS
from .dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64, UINT32, DType, _dtype
from .errors import Error, InvalidArgumentError, StateError, UnsupportedError


_NOTHING = (c_uint8 * 8)()  # where the elements of empty arrays are


def _call(name: str, *arguments: Any) -> Tensor:
    """An op: a new tensor from tensors and numbers. Ops that compute with float32 alone take shorter floats as that."""
    out = c_void_p()
    try:
        getattr(_lib, name)(byref(out), *[argument._handle if isinstance(argument, _Handle) else argument
                                          for argument in arguments])
    except InvalidArgumentError:
        wide = [argument.astype(FLOAT32) if isinstance(argument, Tensor) and argument.dtype in (BFLOAT16, FLOAT16)
                else argument for argument in arguments]
        if all(new is old for new, old in zip(wide, arguments)):
            raise
    except KeyboardInterrupt:  # which waits until the op is done
        getattr(_lib, Tensor._free).function(out)
        raise
    else:
        return _viewing(name, arguments, Tensor._wrap(out))
    return _call(name, *wide)


def _viewing(name: str, arguments: tuple[Any, ...], result: Tensor) -> Tensor:
    """The result of an op, counted if it lies over the memory of its argument."""
    if name in _VIEWS and (name not in _PERHAPS_VIEWS or result.data_ptr() == arguments[0].data_ptr()):
        return _joined(arguments[0], result)
    return result


# Ops whose results lie over the memory of the tensor, or do so if its elements are in row-major order.
_PERHAPS_VIEWS = frozenset(("tlm_reshape", "tlm_contiguous"))
_VIEWS = frozenset(("tlm_transpose", "tlm_slice", "tlm_slice_step", "tlm_tensor_detach")) | _PERHAPS_VIEWS


class _Memory:
    """The memory of a tensor as NumPy takes it."""

    def __init__(self, tensor: Tensor) -> None:
        kind = {FLOAT32: "<f4", INT32: "<i4", INT64: "<i8", UINT32: "<u4", BOOL: "|b1", FLOAT16: "<f2",
                BFLOAT16: "<u2"}[tensor.dtype]
        size = tensor.dtype.itemsize
        self.tensor = tensor  # keeps the elements
        self.__array_interface__ = {
            "version": 3, "shape": tensor.shape, "typestr": kind,
            "data": (tensor.data_ptr() or ctypes.addressof(_NOTHING), False),
            "strides": tuple(size * stride for stride in tensor.strides)}


class Count(int):
    """A number of elements, which can be called for the sizes of the dimensions."""

    shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[_dim("dim", dim, len(self.shape))]


class Tensor(_Operators):
    """An array that may gather gradients, made of a copy of a number, nested lists, an array of NumPy or PyTorch,
    or another tensor. Numbers in lists become float32, booleans alone bool; arrays keep their type, except that
    float64 becomes float32 and small integers int32. `dtype` asks for another type. Values that the type does not
    hold are refused. Operators broadcast as NumPy's do."""

    _free = "tlm_tensor_free"

    def __init__(self, values: Any, dtype: Any = None, requires_grad: bool = False) -> None:
        if type(dtype) is int and type(values) is int:  # taken for sizes
            raise TypeError(f"dtype {dtype} is no element type: Tensor takes values, and zeros({values}, {dtype}) a shape")
        kind = None if dtype is None else _dtype(dtype)
        if isinstance(values, Tensor):
            if not (requires_grad is True and values.is_leaf):  # which asks for a new parameter
                values._check_no_graph("a new Tensor", "tensor.clone(), which keeps the graph, or tensor.detach()")
            out = c_void_p()
            _lib.tlm_tensor_convert(byref(out), values._handle, int(values.dtype if kind is None else kind))
            self._handle = out
        else:
            self._handle = _handle_of(values, kind, "values")
        if _flag("requires_grad", requires_grad):
            self.requires_grad = True

    # -- Memory shared with others --

    @classmethod
    def from_buffer(cls, buffer: Any) -> Tensor:
        """A tensor over the memory of an array.array, a memoryview or anything else that has a writable
        buffer of one of the types: nothing is copied."""
        try:
            view = memoryview(buffer)
        except TypeError:
            raise TypeError(f"buffer takes what has a writable buffer, as array.array or bytearray, not {_given(buffer)}"
                            ) from None
        formats: dict[Any, DType] = {("f", 4): FLOAT32, ("i", 4): INT32, ("l", 4): INT32, ("q", 8): INT64, ("l", 8): INT64,
                   ("I", 4): UINT32, ("L", 4): UINT32, ("?", 1): BOOL}
        dtype = formats.get((view.format.lstrip("@=<"), view.itemsize))
        if dtype is None:
            raise TypeError(f"a buffer of format {view.format!r}: tensors hold float32, int32, int64, uint32 and bool")
        if view.readonly or not view.c_contiguous:
            raise BufferError("a tensor takes a writable buffer in row-major order")
        size = view.nbytes
        memory = (c_uint8 * size).from_buffer(view.cast("B")) if size else (c_uint8 * 8)()
        handle, key = c_void_p(), next(_numbers)
        _buffers[key] = memory
        try:
            _lib.tlm_tensor_wrap(byref(handle), dtype, ctypes.addressof(memory), _dims(view.shape or ()), None,
                                 view.ndim, _release_buffer, key)
        except Error:
            del _buffers[key]
            raise
        return _share_with_others(cls._wrap(handle))

    @classmethod
    def from_dlpack(cls, array: Any) -> Tensor:
        """A tensor over the memory of an array of NumPy, a tensor of PyTorch or anything else that supports
        DLPack: nothing is copied, and both sides see what the other writes. BufferError for memory that is
        read-only: Tensor(array) copies it."""
        if not hasattr(array, "__dlpack__"):
            raise TypeError(f"array takes an array with __dlpack__, not {_given(array)}")
        if getattr(array, "is_neg", bool)():  # of PyTorch, which leaves this out
            raise BufferError("the tensor's memory holds the negatives of its values: use tensor.resolve_neg()")
        try:
            capsule = array.__dlpack__(max_version=(1, 0))
        except TypeError:  # of a library that knows no versions
            capsule = array.__dlpack__()
        handle = c_void_p()
        versioned = _capsule_is(id(capsule), _VERSIONED)
        pointer = _capsule_pointer(capsule, _VERSIONED if versioned else _CAPSULE)
        try:
            if versioned:
                _lib.tlm_tensor_from_dlpack_versioned(byref(handle), pointer)
            else:
                _lib.tlm_tensor_from_dlpack(byref(handle), ctypes.cast(pointer, POINTER(_DLManagedTensor)))
        except UnsupportedError as error:
            if "read-only" not in str(error):
                raise
            raise BufferError("the array is read-only, and tensors may be written to: Tensor(array) copies it") from None
        except InvalidArgumentError as error:
            if "negative" not in str(error):
                raise
            raise BufferError(f"{error}: Tensor(array) copies it") from None
        _capsule_rename(capsule, _USED_VERSIONED if versioned else _USED_CAPSULE)
        return _share_with_others(cls._wrap(handle))

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: bool | None = None) -> Any:
        """For numpy.from_dlpack, torch.from_dlpack and the like, over the same memory, which both sides may write
        to. They see the values only: no gradient flows between the libraries."""
        if self.requires_grad and is_grad_enabled():
            raise BufferError("the tensor requires a gradient, which no other library passes on: use tensor.detach()")
        if stream is not None or dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError("a tinylm.Tensor lies in CPU memory, without streams")
        tensor = self._copied() if copy else self
        if not copy:
            _share_with_others(self)
        if max_version is not None and tuple(max_version) >= (1, 0):
            versioned = c_void_p()
            _lib.tlm_tensor_to_dlpack_versioned(byref(versioned), tensor._handle, bool(copy))
            capsule = _capsule_new(versioned, _VERSIONED, ctypes.cast(_delete_capsule, c_void_p))
            self.__dict__["_capsule"] = capsule
            return capsule
        managed = POINTER(_DLManagedTensor)()
        _lib.tlm_tensor_to_dlpack(byref(managed), tensor._handle)
        capsule = _capsule_new(ctypes.cast(managed, c_void_p), _CAPSULE, ctypes.cast(_delete_capsule, c_void_p))
        self.__dict__["_capsule"] = capsule
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """For numpy.asarray, over the same memory. TypeError where a gradient would be lost on the way."""
        import numpy
        self._check_no_graph("an array of NumPy", "tensor.detach().numpy()")
        array = numpy.asarray(_Memory(self.detach()))
        if self.dtype == BFLOAT16:
            if dtype is None:
                raise TypeError("NumPy has no bfloat16: use tensor.astype(\"float32\").numpy(), or "
                                "numpy.asarray(tensor, ml_dtypes.bfloat16)")
            if numpy.dtype(dtype).name == "bfloat16":
                array = array.view(dtype)
            elif copy is not False:
                array = _call("tlm_tensor_convert", self, int(FLOAT32)).__array__()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"a tensor of {self.dtype} becomes an array of {dtype} only by a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __arrow_array__(self, type: Any = None) -> Any:
        """For pyarrow.array: elements of a tensor of one dimension, rows of a fixed size of one of two."""
        pyarrow: Any = importlib.import_module("pyarrow")
        if self.ndim not in (1, 2):
            raise TypeError(f"PyArrow has arrays of one dimension, and this tensor has {self.ndim}: use reshape(-1)")
        if self.ndim == 1:
            return pyarrow.array(self.numpy(), type=type)
        rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(self.reshape(-1).numpy()), self.shape[1])
        return rows if type is None else rows.cast(type)

    def _check_no_graph(self, what: str, remedy: str) -> None:
        """Refuses to lose a graph unnoticed."""
        if self.requires_grad and is_grad_enabled():
            raise TypeError(f"the tensor requires a gradient, which {what} would lose: use {remedy}")

    def memoryview(self) -> memoryview:
        """The elements of a row-major tensor, over the same memory."""
        if self.dtype in (BFLOAT16, FLOAT16):
            raise TypeError(f"a memoryview has no {self.dtype}: use tensor.astype(\"float32\").memoryview()")
        if _call("tlm_contiguous", self).data_ptr() != self.data_ptr():
            raise BufferError("the tensor is a view that is not row-major")
        n = _lib.tlm_tensor_numel(self._handle) * ctypes.sizeof(_ELEMENTS[self.dtype])
        memory = (c_uint8 * n).from_address(self.data_ptr()) if n else (c_uint8 * 0)()
        setattr(memory, "owner", self.detach())  # keeps the elements
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
    def ndim(self) -> int:
        """The number of its dimensions."""
        return int(_lib.tlm_tensor_ndim(self._handle))

    @property
    def size(self) -> Count:
        """The number of its elements, as in NumPy; size() and size(dim) are its sizes, as in PyTorch."""
        count = Count(_lib.tlm_tensor_numel(self._handle))
        count.shape = self.shape
        return count

    def numel(self) -> int:
        """The number of its elements, as PyTorch calls it."""
        return int(self.size)

    @property
    def dtype(self) -> DType:
        """FLOAT32, INT32, INT64, UINT32, BOOL, BFLOAT16 or FLOAT16; ops compute with the first alone."""
        return DType(_lib.tlm_tensor_dtype(self._handle))

    def data_ptr(self) -> int:
        """The address of the first element, 0 where there is none."""
        return _lib.tlm_tensor_data(self._handle) or 0

    @property
    def data(self) -> Tensor:
        """detach(), as PyTorch calls it. Values assigned to it are copied into the tensor."""
        return self.detach()

    @data.setter
    def data(self, values: Any) -> None:
        with no_grad():
            self.copy_(values)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a tensor without dimensions has no len()")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a tensor without dimensions cannot be iterated over: tolist() or item() gives its number")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, value: Any) -> bool:
        found = self == value
        return found.any() if isinstance(found, Tensor) else False

    def __getitem__(self, index: Index) -> Tensor:
        return _get(self, index)

    def __setitem__(self, index: Index, values: Any) -> None:
        _set(self, index, values)

    def __repr__(self) -> str:
        kind = type(self).__name__
        return _describe(self, kind) if self.__dict__.get("_handle") else f"<{kind}, closed>"

    def __str__(self) -> str:
        return _values_text(self, 0)

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self.size != 1:
            raise TypeError(f"format {spec!r} is for one number, not for a tensor of shape {self.shape}")
        return format(self.item(), spec)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"a tensor of {self.size} elements is neither true nor false: use .any() or .all()")
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.ndim != 0 or self.dtype not in (INT32, INT64, UINT32):
            raise TypeError(f"a whole number is needed, not a tensor of {self.dtype} with shape {self.shape}")
        return int(self.item())

    def _copy_out(self) -> Any:
        return _elements(self._handle, self.dtype, self.size)

    def copy_(self, values: Any) -> Tensor:
        """Copies as many values as it has (nested lists, an array or a Tensor) into the tensor, and returns it."""
        tensor = values if isinstance(values, Tensor) else Tensor(values, self.dtype)
        tensor = _shortened(tensor, self.dtype)
        if tensor.shape != self.shape:
            raise ValueError(f"values of shape {tensor.shape} for a tensor of {self.shape}")
        if _is_recorded(self, tensor):
            _check_leaf(self)
            _replace(self, tensor.clone())
        else:
            _write(self, tensor)
        return self

    def tolist(self) -> Any:
        """Nested lists; a number for a scalar."""
        dtype = self.dtype
        return _nest([_load(dtype, element) for element in self._copy_out()], self.shape)

    def item(self) -> Any:
        """The value of a tensor with one element, as a number of Python."""
        if self.size != 1:
            raise ValueError(f"item() is for tensors of one element, not of {self.size} in shape {self.shape}")
        return _load(self.dtype, self._copy_out()[0])

    def numpy(self) -> Any:
        """An array of NumPy over the same memory, which may be written to; .copy() makes one of its own."""
        import numpy
        return numpy.asarray(self)

    def clone(self) -> Tensor:
        """A copy in memory of its own, to which gradients flow as to the tensor itself."""
        return self.scale(1.0) if self.requires_grad else self._copied()

    def _copied(self) -> Tensor:
        """A copy outside any graph."""
        return _call("tlm_tensor_convert", self, int(self.dtype))

    # -- With copy and pickle --

    def _state(self, verb: str) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise TypeError(f"the result of an op cannot be {verb}, for its graph stays behind: use tensor.detach()")
        return int(self.dtype), bytes(self._copy_out()), self.shape, self.requires_grad

    def __copy__(self) -> Any:
        made = type(self)._wrap(c_void_p(_lib.tlm_tensor_retain(self._handle)))
        return _joined(self, made)

    def close(self) -> None:
        """Lets go of the elements, which views and graphs may still hold."""
        self._let_go()

    def _let_go(self) -> None:
        self.__dict__.pop("_capsule", None)
        family = self.__dict__.pop("_family", None)
        if family is not None:
            family[0] -= 1
        super()._let_go()

    def __deepcopy__(self, memo: Any) -> Any:
        return _restore(type(self), *self._state("copied deeply"))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), *self._state("pickled"))

    # -- With NumPy and PyTorch --

    __array_priority__ = 1000

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _interop._ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _interop._function(function, args, kwargs)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _interop._torch(function, args, kwargs or {})

    # -- Gradients --

    @property
    def requires_grad(self) -> bool:
        """Whether it gathers a gradient or passes one on. It may be set, except for results of ops."""
        return bool(_lib.tlm_tensor_requires_grad(self._handle))

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.dtype != FLOAT32:
            raise TypeError(f"only float32 tensors have gradients, not {self.dtype}")
        _lib.tlm_tensor_set_requires_grad(self._handle, value)

    @property
    def grad(self) -> Tensor | None:
        """The gradient gathered so far, or None, which forgets it when it is set."""
        handle = _lib.tlm_tensor_grad(self._handle)
        return None if handle is None else Tensor._wrap(c_void_p(_lib.tlm_tensor_retain(handle)))

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            raise TypeError("a gradient is gathered by backward(); it may be set to None, or be written to in place")
        self.zero_grad()

    @property
    def is_leaf(self) -> bool:
        """Whether it is not the result of a recorded op."""
        if not self.requires_grad:
            return True
        try:
            _lib.tlm_tensor_set_requires_grad(self._handle, True)
        except StateError:
            return False
        return True

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets requires_grad and returns the tensor."""
        self.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forgets the gradient."""
        _lib.tlm_tensor_zero_grad(self._handle)

    def backward(self, gradient: Any = None) -> None:
        """Back-propagates from a scalar, or from a gradient of the tensor's shape."""
        if gradient is not None:
            gradient = _float_tensor("gradient", gradient)
        outer = getattr(_thread, "callbacks", None)
        try:
            with _Callbacks() as _thread.callbacks:
                _lib.tlm_tensor_backward(self._handle, None if gradient is None else gradient._handle)
        finally:
            _thread.callbacks = outer

    def detach(self) -> Tensor:
        """The same memory outside any graph."""
        return _call("tlm_tensor_detach", self)


def _restore(kind: Any, dtype: int, data: bytes, shape: tuple[int, ...], requires_grad: bool) -> Any:
    """A tensor of what _state gave."""
    out = c_void_p()
    _lib.tlm_tensor_from_data(byref(out), dtype, data, _dims(shape), len(shape))
    made = kind._wrap(out)
    if requires_grad:
        made.requires_grad = True
    return made


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Ops inside are not recorded, on this thread."""
    before = _lib.tlm_set_grad_enabled(False)
    try:
        yield
    finally:
        _lib.tlm_set_grad_enabled(before)


def is_grad_enabled() -> bool:
    """Whether ops are recorded on this thread."""
    return bool(_lib.tlm_grad_enabled())


def _handles(tensors: Sequence[Tensor]) -> Any:
    """Tensors as an array of C."""
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"tensor {i} of the list is {_given(tensor)}, not a Tensor")
    return (c_void_p * len(tensors))(*[tensor._handle for tensor in tensors])
