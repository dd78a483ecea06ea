"""The functions that Stanford CS336's assignment 1 asks for in its tests/adapters.py, over libtinylm.

Glue alone: torch's tensors become the library's over the same memory, the library computes, and its result
becomes a tensor of torch's over the same memory. Gradients pass through. docs/cs336.md says how to run the
course's own tests with this file and what the types of elements are.
"""

from __future__ import annotations

import contextlib
import functools
from typing import IO, Any, BinaryIO, Callable, Iterable, Iterator

import torch
from torch import Tensor

import tinylm

_WIDENED = (torch.bfloat16, torch.float16)


def _check_cpu(device: str | torch.device) -> None:
    if torch.device(device).type != "cpu":
        raise RuntimeError(f"device {device}: tinylm computes on the CPU only")


def _as_known(tensor: Tensor) -> Tensor:
    """The tensor in a type of elements that the library has, where that loses nothing."""
    _check_cpu(tensor.device)
    if tensor.dtype in _WIDENED:
        return tensor.float()
    if tensor.is_floating_point() and tensor.dtype != torch.float32 or tensor.is_complex():
        raise TypeError(f"{tensor.dtype}: tinylm computes in float32; convert to that first")
    if tensor.dtype in (torch.int8, torch.int16, torch.uint8):
        return tensor.int()
    return tensor


def _share(tensor: Tensor) -> tinylm.Tensor:
    """A tensor of the library over the same memory, whatever its strides."""
    return tinylm.Tensor.from_dlpack(tensor.detach())


class _Computed(torch.autograd.Function):
    """One or more ops of the library as one op of torch."""

    @staticmethod
    def forward(ctx, compute, *tensors):
        inputs = [_share(tensor) for tensor in tensors]
        for i, tensor in enumerate(inputs):
            if ctx.needs_input_grad[i + 1]:
                tensor.requires_grad = True
        result = compute(*inputs)
        output = torch.from_dlpack(result.detach())
        if any(ctx.needs_input_grad):
            ctx.inputs, ctx.result = inputs, result
            ctx.save_for_backward(*tensors, output)  # torch then notices if one is overwritten
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        ctx.saved_tensors
        ctx.result.backward(_share(gradient))
        gradients = [tensor.grad for tensor in ctx.inputs]
        return None, *[None if g is None else torch.from_dlpack(g) for g in gradients]


def _compute(compute: Callable[..., tinylm.Tensor], *tensors: Tensor) -> Tensor:
    """compute() on the library's tensors; the result in the type that torch would give it."""
    types = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    tensors = [_as_known(tensor) for tensor in tensors]
    if not torch.is_grad_enabled():
        tensors = [tensor.detach() for tensor in tensors]
    return _Computed.apply(compute, *tensors).to(functools.reduce(torch.promote_types, types))


def _check_shape(name: str, tensor: Tensor, *shape: int) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} is {tuple(tensor.shape)}, not {shape}")


# ---- Layers ----


def run_linear(d_in: int, d_out: int, weights: Tensor, in_features: Tensor) -> Tensor:
    _check_shape("weights", weights, d_out, d_in)
    return _compute(tinylm.linear, in_features, weights)


def run_embedding(vocab_size: int, d_model: int, weights: Tensor, token_ids: Tensor) -> Tensor:
    _check_shape("weights", weights, vocab_size, d_model)
    return _compute(tinylm.embedding, weights, token_ids)


def run_swiglu(d_model: int, d_ff: int, w1_weight: Tensor, w2_weight: Tensor, w3_weight: Tensor,
               in_features: Tensor) -> Tensor:
    _check_shape("w1_weight", w1_weight, d_ff, d_model)
    return _compute(tinylm.swiglu, in_features, w1_weight, w2_weight, w3_weight)


def run_scaled_dot_product_attention(Q: Tensor, K: Tensor, V: Tensor,
                                     mask: Tensor | None = None) -> Tensor:
    batch = torch.broadcast_shapes(*[tensor.shape[:-2] for tensor in (Q, K, V)],
                                   () if mask is None else mask.shape[:-2])
    inputs = [tensor.expand(*batch, *tensor.shape[-2:]) for tensor in (Q, K, V)]  # views
    return _compute(tinylm.attention, *inputs, *([] if mask is None else [mask]))


def run_multihead_self_attention(d_model: int, num_heads: int, q_proj_weight: Tensor,
                                 k_proj_weight: Tensor, v_proj_weight: Tensor, o_proj_weight: Tensor,
                                 in_features: Tensor) -> Tensor:
    _check_shape("o_proj_weight", o_proj_weight, d_model, v_proj_weight.shape[0])
    return _compute(lambda *tensors: tinylm.multi_head_attention(*tensors, num_heads), in_features,
                    q_proj_weight, k_proj_weight, v_proj_weight, o_proj_weight)


def run_multihead_self_attention_with_rope(d_model: int, num_heads: int, max_seq_len: int, theta: float,
                                           q_proj_weight: Tensor, k_proj_weight: Tensor,
                                           v_proj_weight: Tensor, o_proj_weight: Tensor,
                                           in_features: Tensor,
                                           token_positions: Tensor | None = None) -> Tensor:
    _check_shape("o_proj_weight", o_proj_weight, d_model, v_proj_weight.shape[0])
    _check_length(in_features.shape[-2], token_positions, max_seq_len)

    def attend(x, wq, wk, wv, wo, positions=None):
        return tinylm.multi_head_attention(x, wq, wk, wv, wo, num_heads, theta, positions)

    return _compute(attend, in_features, q_proj_weight, k_proj_weight, v_proj_weight, o_proj_weight,
                    *([] if token_positions is None else [token_positions]))


def _check_length(time: int, positions: Tensor | None, max_seq_len: int) -> None:
    if positions is None and time > max_seq_len:
        raise ValueError(f"{time} positions are more than max_seq_len, {max_seq_len}")


def run_rope(d_k: int, theta: float, max_seq_len: int, in_query_or_key: Tensor,
             token_positions: Tensor | None = None) -> Tensor:
    _check_shape("in_query_or_key", in_query_or_key, *in_query_or_key.shape[:-1], d_k)
    _check_length(in_query_or_key.shape[-2], token_positions, max_seq_len)
    return _compute(lambda x, positions=None: tinylm.rope(x, positions, theta), in_query_or_key,
                    *([] if token_positions is None else [token_positions]))


def run_rmsnorm(d_model: int, eps: float, weights: Tensor, in_features: Tensor) -> Tensor:
    _check_shape("weights", weights, d_model)
    return _compute(lambda x, weight: tinylm.rms_norm(x, weight, eps), in_features, weights)


def run_silu(in_features: Tensor) -> Tensor:
    return _compute(tinylm.Tensor.silu, in_features)


def run_softmax(in_features: Tensor, dim: int) -> Tensor:
    return _compute(lambda x: tinylm.softmax(x, dim), in_features)


def run_cross_entropy(inputs: Tensor, targets: Tensor) -> Tensor:
    return _compute(tinylm.cross_entropy, inputs, targets)


# ---- The transformer ----

_BLOCK = ("ln1", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.output_proj", "ln2", "ffn.w1",
          "ffn.w2", "ffn.w3")


def _block(x, weights, num_heads, theta):
    ln1, wq, wk, wv, wo, ln2, w1, w2, w3 = weights
    x = x + tinylm.multi_head_attention(tinylm.rms_norm(x, ln1), wq, wk, wv, wo, num_heads, theta)
    return x + tinylm.swiglu(tinylm.rms_norm(x, ln2), w1, w2, w3)


def run_transformer_block(d_model: int, num_heads: int, d_ff: int, max_seq_len: int, theta: float,
                          weights: dict[str, Tensor], in_features: Tensor) -> Tensor:
    _check_length(in_features.shape[-2], None, max_seq_len)
    _check_shape("ffn.w1.weight", weights["ffn.w1.weight"], d_ff, d_model)
    return _compute(lambda x, *tensors: _block(x, tensors, num_heads, theta), in_features,
                    *[weights[f"{name}.weight"] for name in _BLOCK])


def run_transformer_lm(vocab_size: int, context_length: int, d_model: int, num_layers: int,
                       num_heads: int, d_ff: int, rope_theta: float, weights: dict[str, Tensor],
                       in_indices: Tensor) -> Tensor:
    _check_length(in_indices.shape[-1], None, context_length)
    _check_shape("token_embeddings.weight", weights["token_embeddings.weight"], vocab_size, d_model)
    layers = [f"layers.{i}.{name}" for i in range(num_layers) for name in _BLOCK]
    names = ["token_embeddings", *layers, "ln_final", "lm_head"]

    def logits(embeddings, *tensors):
        *blocks, ln_final, lm_head, ids = tensors
        x = tinylm.embedding(embeddings, ids)
        for i in range(0, len(blocks), len(_BLOCK)):
            x = _block(x, blocks[i:i + len(_BLOCK)], num_heads, rope_theta)
        return tinylm.linear(tinylm.rms_norm(x, ln_final), lm_head)

    return _compute(logits, *[weights[f"{name}.weight"] for name in names], in_indices)


# ---- Data and training ----


def run_get_batch(dataset, batch_size: int, context_length: int, device: str) -> tuple[Tensor, Tensor]:
    """Of a numpy array of uint16 or uint32 (a memory-mapped one too) only the rows drawn are read. The
    places follow torch's random numbers."""
    _check_cpu(device)
    seed = torch.randint(2**63 - 1, ()).item()
    rows = tinylm.Dataset(dataset).sample(batch_size, context_length, seed, as_numpy=True)
    return tuple(torch.from_numpy(array.astype("int64")) for array in rows)


@contextlib.contextmanager
def _in_place(tensors: list[Tensor]) -> Iterator[list[tinylm.Tensor]]:
    """The tensors for calls that change them: over the same memory, or copied there and back."""
    known = [_as_known(tensor).contiguous() for tensor in tensors]
    yield [_share(tensor) for tensor in known]
    for tensor, changed in zip(tensors, known):
        if tensor is not changed:
            tensor.copy_(changed)
        else:
            torch.autograd.graph.increment_version(tensor)


@torch.no_grad()
def run_gradient_clipping(parameters: Iterable[torch.nn.Parameter], max_l2_norm: float) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    with _in_place(gradients) as tensors:
        tinylm.clip_norm(tensors, max_l2_norm)


class AdamW(torch.optim.Optimizer):
    """AdamW as the course defines it, each step one call of the library a group. The moments are torch's
    tensors, so that state_dict, load_state_dict, deepcopy and pickle are torch's own."""

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        try:
            self._update(self.param_groups[-1], [], 1)  # refuses options out of range
            for parameter in self.param_groups[-1]["params"]:
                _check_cpu(parameter.device)
                if parameter.dtype != torch.float32:
                    raise TypeError(f"a parameter of {parameter.dtype}: AdamW updates float32 ones")
        except Exception:
            del self.param_groups[-1]
            raise

    def _update(self, group: dict, parameters: list[Tensor], step: int) -> None:
        states = [self.state[parameter] for parameter in parameters]
        beta1, beta2 = group["betas"]
        with (_in_place(parameters) as theta, _in_place([s["exp_avg"] for s in states]) as m,
              _in_place([s["exp_avg_sq"] for s in states]) as v):
            tinylm.adamw_update(
                theta, m, v, [_share(parameter.grad.contiguous()) for parameter in parameters], step,
                learning_rate=float(group["lr"]), beta1=beta1, beta2=beta2, eps=group["eps"],
                weight_decay=group["weight_decay"])
        for state in states:
            state["step"] = step

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_step: dict[int, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(parameter),
                                 exp_avg_sq=torch.zeros_like(parameter))
                by_step.setdefault(int(state["step"]) + 1, []).append(parameter)
            for step, parameters in by_step.items():
                self._update(group, parameters, step)
        return loss


def get_adamw_cls() -> type[torch.optim.Optimizer]:
    return AdamW


def run_get_lr_cosine_schedule(it: int, max_learning_rate: float, min_learning_rate: float,
                               warmup_iters: int, cosine_cycle_iters: int) -> float:
    return tinylm.cosine_schedule(it, max_learning_rate, min_learning_rate, warmup_iters,
                                  cosine_cycle_iters)


def run_save_checkpoint(model: torch.nn.Module, optimizer: torch.optim.Optimizer, iteration: int,
                        out: Any | BinaryIO | IO[bytes]) -> None:
    """Any module and optimizer of torch, in torch's own format."""
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": iteration},
               out)


def run_load_checkpoint(src: Any | BinaryIO | IO[bytes], model: torch.nn.Module,
                        optimizer: torch.optim.Optimizer) -> int:
    checkpoint = torch.load(src, map_location="cpu", weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    return checkpoint["iteration"]


# ---- Tokenizer ----


def get_tokenizer(vocab: dict[int, bytes], merges: list[tuple[bytes, bytes]],
                  special_tokens: list[str] | None = None) -> tinylm.Tokenizer:
    return tinylm.Tokenizer(vocab, merges, special_tokens)


def run_train_bpe(input_path, vocab_size: int, special_tokens: list[str],
                  **kwargs) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    return tinylm.train_bpe(input_path, vocab_size, special_tokens, **kwargs)
