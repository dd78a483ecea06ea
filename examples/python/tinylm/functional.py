"""Layers and other ops as functions."""

from __future__ import annotations

from typing import Sequence, TYPE_CHECKING

from ._native import _lib
from ._structs import _unsigned
from .tensors import _call, _handles

if TYPE_CHECKING:
    from .tensors import Tensor


def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Elements of a where condition (BOOL) is true, and of b elsewhere."""
    return _call("tlm_where", condition, a, b)


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after another along a dimension."""
    return _call("tlm_concat", _handles(tensors), len(tensors), dim)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., d_in) times the transpose of weight (d_out, d_in), plus bias (d_out)."""
    return _call("tlm_linear", x, weight) if bias is None else _call("tlm_linear_bias", x, weight, bias)


def embedding(weight: Tensor, ids: Tensor) -> Tensor:
    """The rows of weight (vocab, d) that an integer tensor names."""
    return _call("tlm_embedding", weight, ids)


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension."""
    return _call("tlm_rms_norm", x, weight, eps)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias over the last dimension."""
    return _call("tlm_layer_norm", x, weight, bias, eps)


def dropout(x: Tensor, rate: float, seed: int = 0, stream: int = 0) -> Tensor:
    """x with elements set to 0 with probability `rate`, and the others divided by 1 - rate; which ones is a
    pure function of seed and stream."""
    return _call("tlm_dropout", x, rate, _unsigned("seed", seed), _unsigned("stream", stream))


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    return _call("tlm_silu_mul", gate, up)


def swiglu(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    """W2 (silu(W1 x) * W3 x)."""
    return _call("tlm_swiglu", x, w1, w2, w3)


def rope(x: Tensor, positions: Tensor | None = None, theta: float = 10000.0) -> Tensor:
    """Rotary position embedding of x (..., time, d) over pairs of neighbors; positions, integers, are
    of a shape that broadcasts to (..., time), and 0, 1, 2, ... without."""
    return _call("tlm_rope", x, positions, theta)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """Softmax along a dimension."""
    return _call("tlm_softmax", x, dim)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None,
              causal: bool = False) -> Tensor:
    """softmax(query key^T / sqrt(d_k)) value; mask: BOOL, true where a query sees a key."""
    return _call("tlm_attention", query, key, value, mask, causal)


def multi_head_attention(x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, wo: Tensor, num_heads: int,
                         rope_theta: float = 0.0, positions: Tensor | None = None) -> Tensor:
    """Causal self-attention of x (..., time, d_model); rope_theta 0: without rotation."""
    return _call("tlm_multi_head_attention", x, wq, wk, wv, wo, num_heads, rope_theta, positions)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log softmax(logits)[target] over all positions, in nats."""
    return _call("tlm_cross_entropy", logits, targets)


def init_truncated_normal(tensor: Tensor, sigma: float, cut_sigmas: float = 3.0, seed: int = 0,
                          stream: int = 0) -> None:
    """Fills a leaf with Normal(0, sigma^2) cut to +-cut_sigmas sigma."""
    _lib.tlm_init_truncated_normal(tensor._handle, sigma, cut_sigmas, _unsigned("seed", seed),
                                   _unsigned("stream", stream))


def init_uniform(tensor: Tensor, low: float = 0.0, high: float = 1.0, seed: int = 0, stream: int = 0) -> None:
    """Fills a leaf with numbers uniform in [low, high)."""
    _lib.tlm_init_uniform(tensor._handle, low, high, _unsigned("seed", seed), _unsigned("stream", stream))
