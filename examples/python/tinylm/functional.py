"""Layers and other ops as functions."""

from __future__ import annotations

from typing import Any, Sequence

from ._checks import Operand, _float_tensor, _floats, _index_tensor, _mask, _operand, _tensor
from ._native import _lib
from ._structs import _flag, _given, _real, _unsigned, _whole
from .dtypes import BFLOAT16, FLOAT16, FLOAT32
from .tensors import Tensor, _call, _handles


def where(condition: Any, a: Operand, b: Operand) -> Tensor:
    """Elements of a where condition (booleans) is true, and of b elsewhere; a and b may be numbers."""
    mask = _mask("condition", condition)
    sides = []
    for name, value in (("a", a), ("b", b)):
        side = _operand(value, mask if isinstance(value, Tensor) else Tensor(0.0))
        if side is None:
            raise TypeError(f"{name} takes a Tensor, a number or an array, not {_given(value)}")
        sides.append(side)
    if {sides[0].dtype, sides[1].dtype} != {FLOAT32} and FLOAT32 in (sides[0].dtype, sides[1].dtype):
        sides = [side.astype(FLOAT32) for side in sides]
    return _call("tlm_where", mask, *sides)


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of each pair of elements; NaN if one is."""
    left = _pair(a, b)
    return where((left[0] > left[1]) | left[0].isnan(), *left)


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of each pair of elements; NaN if one is."""
    left = _pair(a, b)
    return where((left[0] < left[1]) | left[0].isnan(), *left)


def _pair(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    first = a if isinstance(a, Tensor) else b if isinstance(b, Tensor) else Tensor(0.0)
    sides = _operand(a, first), _operand(b, first)
    if sides[0] is None or sides[1] is None:
        raise TypeError(f"a Tensor and a Tensor, a number or an array are needed, not {_given(a)} and {_given(b)}")
    return sides[0], sides[1]


def _list(name: str, tensors: Any) -> list[Tensor]:
    if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
        raise TypeError(f"{name} takes a list of tensors, not {_given(tensors) if not isinstance(tensors, Tensor) else 'one'}")
    return [_tensor(f"{name}[{i}]", tensor) for i, tensor in enumerate(tensors)]


def concat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors one after another along a dimension; floats of different types become float32."""
    given = _list("tensors", tensors)
    if len(types := {tensor.dtype for tensor in given}) > 1 and types <= {FLOAT32, FLOAT16, BFLOAT16}:
        given = [_floats(tensor) for tensor in given]
    return _call("tlm_concat", _handles(given), len(given), dim)


def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension."""
    return concat([tensor.unsqueeze(dim) for tensor in _list("tensors", tensors)], dim)


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x (..., d_in) times the transpose of weight (d_out, d_in), plus bias (d_out)."""
    x, weight = _float_tensor("x", x), _float_tensor("weight", weight)
    if bias is None:
        return _call("tlm_linear", x, weight)
    return _call("tlm_linear_bias", x, weight, _float_tensor("bias", bias))


def embedding(weight: Any, ids: Any) -> Tensor:
    """The rows of weight (vocab, d) that whole numbers name."""
    return _call("tlm_embedding", _float_tensor("weight", weight), _index_tensor("ids", ids))


def rms_norm(x: Any, weight: Any, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension."""
    return _call("tlm_rms_norm", _float_tensor("x", x), _float_tensor("weight", weight), _real("eps", eps))


def layer_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias over the last dimension; without weight 1, without
    bias 0."""
    x = _float_tensor("x", x)
    d = [x.shape[-1] if x.ndim else 1]
    weight = Tensor([1.0] * d[0]) if weight is None else _float_tensor("weight", weight)
    bias = Tensor([0.0] * d[0]) if bias is None else _float_tensor("bias", bias)
    return _call("tlm_layer_norm", x, weight, bias, _real("eps", eps))


def dropout(x: Any, rate: float, seed: int = 0, stream: int = 0) -> Tensor:
    """x with elements set to 0 with probability `rate`, and the others divided by 1 - rate; which ones is a
    pure function of seed and stream, so another call needs another stream (nn.Dropout counts)."""
    return _call("tlm_dropout", _float_tensor("x", x), _real("rate", rate), _unsigned("seed", seed),
                 _unsigned("stream", stream))


def silu_mul(gate: Any, up: Any) -> Tensor:
    """silu(gate) * up."""
    return _call("tlm_silu_mul", _float_tensor("gate", gate), _float_tensor("up", up))


def swiglu(x: Any, w1: Any, w2: Any, w3: Any) -> Tensor:
    """W2 (silu(W1 x) * W3 x)."""
    return _call("tlm_swiglu", *(_float_tensor(name, value) for name, value in zip(("x", "w1", "w2", "w3"),
                                                                                  (x, w1, w2, w3))))


def rope(x: Any, positions: Any = None, theta: float = 10000.0) -> Tensor:
    """Rotary position embedding of x (..., time, d) over pairs of neighbors; positions, whole numbers, are
    of a shape that broadcasts to (..., time), and 0, 1, 2, ... without."""
    places = None if positions is None else _index_tensor("positions", positions)
    return _call("tlm_rope", _float_tensor("x", x), places, _real("theta", theta))


def softmax(x: Any, dim: int = -1) -> Tensor:
    """Softmax along a dimension."""
    return _call("tlm_softmax", _float_tensor("x", x), dim)


def attention(query: Any, key: Any, value: Any, mask: Any = None, causal: bool = False) -> Tensor:
    """softmax(query key^T / sqrt(d_k)) value; mask: booleans, true where a query sees a key."""
    return _call("tlm_attention", _float_tensor("query", query), _float_tensor("key", key),
                 _float_tensor("value", value), None if mask is None else _mask("mask", mask), _flag("causal", causal))


def multi_head_attention(x: Any, wq: Any, wk: Any, wv: Any, wo: Any, num_heads: int, rope_theta: float = 0.0,
                         positions: Any = None) -> Tensor:
    """Causal self-attention of x (..., time, d_model); rope_theta 0: without rotation."""
    weights = [_float_tensor(name, value) for name, value in zip(("x", "wq", "wk", "wv", "wo"), (x, wq, wk, wv, wo))]
    places = None if positions is None else _index_tensor("positions", positions)
    return _call("tlm_multi_head_attention", *weights, _whole("num_heads", num_heads), _real("rope_theta", rope_theta),
                 places)


def cross_entropy(logits: Any, targets: Any) -> Tensor:
    """Mean of -log softmax(logits)[target] over all positions, in nats; targets are whole numbers."""
    return _call("tlm_cross_entropy", _float_tensor("logits", logits), _index_tensor("targets", targets))


def init_truncated_normal(tensor: Tensor, sigma: float, cut_sigmas: float = 3.0, seed: int = 0,
                          stream: int = 0) -> None:
    """Fills a leaf with Normal(0, sigma^2) cut to +-cut_sigmas sigma."""
    _lib.tlm_init_truncated_normal(_tensor("tensor", tensor)._handle, _real("sigma", sigma),
                                   _real("cut_sigmas", cut_sigmas), _unsigned("seed", seed),
                                   _unsigned("stream", stream))


def init_uniform(tensor: Tensor, low: float = 0.0, high: float = 1.0, seed: int = 0, stream: int = 0) -> None:
    """Fills a leaf with numbers uniform in [low, high)."""
    _lib.tlm_init_uniform(_tensor("tensor", tensor)._handle, _real("low", low), _real("high", high),
                          _unsigned("seed", seed), _unsigned("stream", stream))
