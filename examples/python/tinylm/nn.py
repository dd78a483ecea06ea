"""Small networks of layers: modules that hold parameters, in the manner of PyTorch.

    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = tinylm.AdamW(model, learning_rate=1e-2)
    tinylm.cross_entropy(model(x), y).backward()
    optimizer.step()
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from . import functional
from ._checks import _float_tensor
from ._structs import _flag, _given, _whole
from .creation import _drawn, _empty, ones, zeros
from .tensors import Tensor, no_grad


class Parameter(Tensor):
    """A tensor that a module trains."""

    def __init__(self, values: Any, requires_grad: bool = True) -> None:
        super().__init__(values, "float32", requires_grad)


class Module:
    """What has parameters: a subclass sets them, other tensors and other modules as attributes (also in lists and
    dicts), and computes in forward(). Tensors that require a gradient are parameters; others, unless their name
    begins with _, are kept in state_dict with them."""

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        from ._elsewhere import MODULES, advice
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{advice(MODULES, name)}")

    # -- What is inside --

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Tensors and modules in attributes, by the names that lead to them."""
        for name, value in vars(self).items():
            if not name.startswith("_"):
                yield from _find(name, value)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module, called "", and all modules in it, each once."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, value in self._members():
            if isinstance(value, Module):
                yield from value._walk(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all modules in it."""
        return (module for _, module in self.named_modules())

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for prefix, module in self._walk(""):
            for name, value in module._members():
                if isinstance(value, Tensor):
                    yield f"{prefix}.{name}" if prefix else name, value

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Names and parameters, each once."""
        seen: set[int] = set()
        for name, tensor in self._named_tensors():
            if (isinstance(tensor, Parameter) or tensor.requires_grad) and id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    def parameters(self) -> Iterator[Tensor]:
        """The parameters, as optimizers take them."""
        return (tensor for _, tensor in self.named_parameters())

    @property
    def num_elements(self) -> int:
        """The elements of all parameters."""
        return sum(tensor.size for tensor in self.parameters())

    # -- Values in and out --

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors by name: the module's own, not copies."""
        return {name: tensor.detach() for name, tensor in self._named_tensors()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copies values (tensors, or arrays of NumPy or PyTorch) into the module's tensors, by name. ValueError,
        before anything changes, for shapes that differ and, if strict, for names on one side alone."""
        if not hasattr(state, "items"):
            raise TypeError(f"state takes a dict of names and tensors, not {_given(state)}")
        own, wrong = dict(self._named_tensors()), []
        if _flag("strict", strict):
            wrong += [f"{name} is missing" for name in own if name not in state]
            wrong += [f"{name} is not in the module" for name in state if name not in own]
        values = {name: Tensor(_values_of(value), own[name].dtype) for name, value in state.items() if name in own}
        wrong += [f"{name} has shape {value.shape}, not {own[name].shape}" for name, value in values.items()
                  if value.shape != own[name].shape]
        if wrong:
            raise ValueError("state: " + "; ".join(wrong))
        with no_grad():
            for name, value in values.items():
                own[name].copy_(value)

    def train(self, mode: bool = True) -> Any:
        """Turns dropout on, or with False off, here and in all modules inside; returns the module."""
        for module in self.modules():
            module.training = _flag("mode", mode)
        return self

    def eval(self) -> Any:
        """Turns dropout off."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for tensor in self.parameters():
            tensor.zero_grad()

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Sets whether all parameters are trained; returns the module."""
        for _, tensor in list(self._named_tensors()):
            if isinstance(tensor, Parameter):
                tensor.requires_grad = requires_grad
        return self

    def __repr__(self) -> str:
        rows = [(name, str(tensor.shape), f"{tensor.size:,}",
                 "trained" if tensor.requires_grad else "frozen" if isinstance(tensor, Parameter) else "kept")
                for name, tensor in self._named_tensors()]
        rows = [("name", "shape", "elements", ""), *rows]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"  {row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip() for row in rows]
        title = f"{type(self).__name__}: {self.num_elements:,} elements in {len(rows) - 1} tensors"
        return "\n".join([title, *(lines if len(rows) > 1 else [])])


def _values_of(value: Any) -> Any:
    """A tensor of a state_dict outside any graph, PyTorch's too."""
    return value.detach() if hasattr(value, "detach") else value


def _find(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Tensor, Module)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, one in enumerate(value):
            yield from _find(f"{name}.{i}", one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _find(f"{name}.{key}", one)


def _random_parameter(shape: list[int], sigma: float) -> Parameter:
    """Normal(0, sigma^2) cut to +-3 sigma, as CS336 has it."""
    tensor = _empty(shape)
    functional.init_truncated_normal(tensor, sigma, 3.0, **_drawn(None))
    return Parameter(tensor)


def _size(name: str, value: Any) -> int:
    size = _whole(name, value)
    if size < 1:
        raise ValueError(f"{name} {size} is not above 0")
    return size


class _Layer(Module):
    """A module from tensor to tensor."""

    def __call__(self, x: Any) -> Tensor:
        result: Tensor = self.forward(x)
        return result


class Linear(_Layer):
    """x (..., d_in) times weight^T, plus bias: (..., d_out). weight (d_out, d_in) begins with deviation
    sqrt(2 / (d_in + d_out)), as CS336 has it, and bias with 0."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        shape = [_size("d_out", d_out), _size("d_in", d_in)]
        self.weight = _random_parameter(shape, (2.0 / (d_in + d_out)) ** 0.5)
        self.bias = Parameter(zeros(d_out)) if _flag("bias", bias) else None

    def forward(self, x: Any) -> Tensor:
        """The layer's result."""
        return functional.linear(x, self.weight, self.bias)


class Embedding(_Layer):
    """Rows of weight (vocab_size, d) by ids (...): (..., d)."""

    def __init__(self, vocab_size: int, d: int) -> None:
        self.weight = _random_parameter([_size("vocab_size", vocab_size), _size("d", d)], 1.0)

    def forward(self, ids: Any) -> Tensor:
        """The rows."""
        return functional.embedding(self.weight, ids)


class LayerNorm(_Layer):
    """LayerNorm over the last dimension, of size d."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        self.weight, self.bias = Parameter(ones(_size("d", d))), Parameter(zeros(d))
        self.eps = eps

    def forward(self, x: Any) -> Tensor:
        """The layer's result."""
        return functional.layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(_Layer):
    """RMSNorm over the last dimension, of size d."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        self.weight, self.eps = Parameter(ones(_size("d", d))), eps

    def forward(self, x: Any) -> Tensor:
        """The layer's result."""
        return functional.rms_norm(x, self.weight, self.eps)


class Dropout(_Layer):
    """In training, elements are 0 with probability `rate`, and the others divided by 1 - rate; after eval(), and
    with rate 0, nothing changes. Each call drops others, by manual_seed."""

    def __init__(self, rate: float = 0.5) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate {rate} is not in [0, 1)")
        self.rate = rate

    def forward(self, x: Any) -> Tensor:
        """The layer's result."""
        if not self.training or self.rate == 0:
            return _float_tensor("x", x)
        return functional.dropout(x, self.rate, **_drawn(None))


class Sequential(_Layer):
    """Modules, and functions of a tensor, one after another."""

    def __init__(self, *layers: Any) -> None:
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(f"layer {i} is {_given(layer)}, not a module or a function")
        self.layers = list(layers)

    def _members(self) -> Iterator[tuple[str, Any]]:
        for i, layer in enumerate(self.layers):
            yield from _find(str(i), layer)

    def forward(self, x: Any) -> Any:
        """The result of the last layer."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, place: int) -> Any:
        return self.layers[place]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)


class _Function(_Layer):
    def forward(self, x: Any) -> Tensor:
        """The function's result."""
        result: Tensor = getattr(_float_tensor("x", x), type(self).__name__.lower())()
        return result


class ReLU(_Function):
    """max(x, 0)."""


class GELU(_Function):
    """x P(Z <= x), Z normal."""


class SiLU(_Function):
    """x sigmoid(x)."""


class Tanh(_Function):
    """Hyperbolic tangent."""


class Flatten(_Layer):
    """All dimensions but the first as one."""

    def forward(self, x: Any) -> Tensor:
        """The tensor in that shape."""
        return _float_tensor("x", x).flatten(min(1, x.ndim - 1))


def __getattr__(name: str) -> object:
    from ._elsewhere import NN, advice
    raise AttributeError(f"module 'tinylm.nn' has no attribute {name!r}{advice(NN, name)}")


__all__ = ["Parameter", "Module", "Linear", "Embedding", "LayerNorm", "RMSNorm", "Dropout", "Sequential", "ReLU", "GELU",
           "SiLU", "Tanh", "Flatten"]
