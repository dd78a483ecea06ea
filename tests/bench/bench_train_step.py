#!/usr/bin/env python3
"""The whole train step (forward, loss, backward, clipping, AdamW) of libtinylm beside PyTorch, eager and, with
--compile, through torch.compile (which needs a C++ compiler) as well.

All run in this process on the same threads, batches and initial weights, in alternating rounds; before that
their losses must agree. Peak memory is that of a process that runs one of them alone. At the end stands what
the C program bench_train_step prints: the parts of the step, and its matrix products alone.

    python3 -m venv .venv-bench && .venv-bench/bin/pip install torch==2.13.0 numpy
    .venv-bench/bin/python tests/bench/bench_train_step.py build/lib/libtinylm.so
"""
import argparse
import ctypes
import math
import os
import re
import statistics
import subprocess
import sys
import time
from ctypes import (POINTER, Structure, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t,
                    c_uint32, c_uint64, c_void_p)

# vocabulary, context, d_model, layers, heads, d_ff, batch
SHAPES = {"cs336": (10000, 256, 512, 4, 16, 1344, 8), "gpt2-small": (50257, 1024, 768, 12, 12, 2048, 1)}
VOCAB, CONTEXT, D_MODEL, LAYERS, HEADS, D_FF, BATCH = SHAPES["cs336"]
THETA, SEED = 10000.0, 1
SKIP = 77  # what meson takes for a skipped test


class ModelOptions(Structure):
    _fields_ = [("size", c_size_t), ("vocab_size", c_int64), ("context_length", c_int64),
                ("d_model", c_int64), ("num_layers", c_int64), ("num_heads", c_int64),
                ("d_ff", c_int64), ("rope_theta", c_double), ("seed", c_uint64)]


class Tinylm:
    """The model and optimizer of the library, through its C interface."""

    def __init__(self, path, threads, checkpointing=False):
        self.lib = ctypes.CDLL(path)
        self.lib.tlm_error_message.restype = c_char_p
        self.lib.tlm_tensor_data.restype = POINTER(c_float)
        for name in ("data", "free", "numel", "shape", "ndim"):
            getattr(self.lib, "tlm_tensor_" + name).argtypes = [c_void_p]
        self.lib.tlm_tensor_shape.restype = POINTER(c_int64)
        self.lib.tlm_tensor_numel.restype = c_int64
        self.call("set_num_threads", c_int32(threads))
        options = ModelOptions(ctypes.sizeof(ModelOptions), VOCAB, CONTEXT, D_MODEL, LAYERS, HEADS,
                               D_FF, THETA, SEED)
        self.model, self.optimizer = c_void_p(), c_void_p()
        self.call("model_create", byref(self.model), byref(options))
        if checkpointing:
            self.call("model_set_checkpointing", self.model, ctypes.c_bool(True))
        self.parameters, self.n = POINTER(c_void_p)(), c_size_t()
        self.call("model_parameters", byref(self.parameters), byref(self.n), self.model)
        self.call("optimizer_create_adamw", byref(self.optimizer), None)
        self.call("optimizer_add_group", self.optimizer, self.parameters, self.n, None)

    def call(self, name, *arguments):
        if getattr(self.lib, "tlm_" + name)(*arguments) != 0:
            sys.exit("tlm_%s: %s" % (name, self.lib.tlm_error_message().decode()))

    def weights(self):
        """Name and a view of the values of each parameter."""
        import numpy
        for i in range(self.n.value):
            name, tensor = c_char_p(), c_void_p(self.parameters[i])
            self.call("model_parameter_name", byref(name), self.model, c_size_t(i))
            shape = self.lib.tlm_tensor_shape(tensor)[:self.lib.tlm_tensor_ndim(tensor)]
            yield name.value.decode(), numpy.ctypeslib.as_array(self.lib.tlm_tensor_data(tensor),
                                                                tuple(shape))

    def step(self, inputs, targets):
        loss, value = c_void_p(), c_float()
        ids = POINTER(c_uint32)
        for i in range(self.n.value):
            self.lib.tlm_tensor_zero_grad(c_void_p(self.parameters[i]))
        self.call("model_loss", byref(loss), self.model, inputs.ctypes.data_as(ids),
                  targets.ctypes.data_as(ids), c_int64(BATCH), c_int64(CONTEXT))
        self.call("tensor_item", byref(value), loss)
        self.call("tensor_backward", loss, None)
        self.lib.tlm_tensor_free(loss)
        self.call("clip_grad_norm", None, self.parameters, self.n, c_double(1.0))
        self.call("optimizer_step", self.optimizer)
        return value.value


def make_torch_model():
    """The same model as PyTorch's own functions make it."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    def linear(d_in, d_out):
        return nn.Linear(d_in, d_out, bias=False)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.k_proj = linear(D_MODEL, D_MODEL), linear(D_MODEL, D_MODEL)
            self.v_proj, self.output_proj = linear(D_MODEL, D_MODEL), linear(D_MODEL, D_MODEL)

        def forward(self, x, cos, sin):
            def heads(t):
                return t.view(BATCH, -1, HEADS, D_MODEL // HEADS).transpose(1, 2)

            def rotate(t):
                even, odd = t[..., 0::2], t[..., 1::2]
                return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)

            q, k = rotate(heads(self.q_proj(x))), rotate(heads(self.k_proj(x)))
            y = F.scaled_dot_product_attention(q, k, heads(self.v_proj(x)), is_causal=True)
            return self.output_proj(y.transpose(1, 2).reshape(x.shape))

    class FeedForward(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1, self.w2, self.w3 = (linear(D_MODEL, D_FF), linear(D_FF, D_MODEL),
                                         linear(D_MODEL, D_FF))

        def forward(self, x):
            return self.w2(F.silu(self.w1(x)) * self.w3(x))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.ffn = Attention(), FeedForward()
            self.ln1, self.ln2 = nn.RMSNorm(D_MODEL, 1e-5), nn.RMSNorm(D_MODEL, 1e-5)

        def forward(self, x, cos, sin):
            x = x + self.attn(self.ln1(x), cos, sin)
            return x + self.ffn(self.ln2(x))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embeddings = nn.Embedding(VOCAB, D_MODEL)
            self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
            self.ln_final, self.lm_head = nn.RMSNorm(D_MODEL, 1e-5), linear(D_MODEL, VOCAB)
            d_head = D_MODEL // HEADS
            angles = torch.outer(torch.arange(CONTEXT).double(),
                                 THETA ** (-torch.arange(0, d_head, 2).double() / d_head))
            self.register_buffer("cos", angles.cos().float(), persistent=False)
            self.register_buffer("sin", angles.sin().float(), persistent=False)

        def forward(self, ids):
            x = self.token_embeddings(ids)
            for layer in self.layers:
                x = layer(x, self.cos, self.sin)
            return self.lm_head(self.ln_final(x))

    return Transformer()


class Torch:
    """PyTorch's model and optimizer; `mode` picks its AdamW implementation."""

    def __init__(self, threads, mode, weights=None, compiled=False):
        import torch
        self.torch = torch
        torch.set_num_threads(threads)
        self.model = make_torch_model()
        if weights is not None:
            state = {name: torch.from_numpy(values.copy()) for name, values in weights}
            self.model.load_state_dict(state)
        self.forward = torch.compile(self.model) if compiled else self.model
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
                                           weight_decay=0.01, **({mode: True} if mode else {}))
        self.steps = 0

    def step(self, inputs, targets):
        torch = self.torch
        inputs, targets = (torch.from_numpy(ids.astype("int64")) for ids in (inputs, targets))
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(self.forward(inputs).view(-1, VOCAB),
                                                 targets.view(-1))
        value = loss.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.steps += 1
        # The library's epsilon, as CS336's, is added to sqrt(v) before its bias is corrected, PyTorch's after that.
        self.optimizer.param_groups[0]["eps"] = 1e-8 / math.sqrt(1 - 0.999 ** self.steps)
        self.optimizer.step()
        return value


def make_batches(count):
    import numpy
    random = numpy.random.default_rng(0)
    rows = random.integers(0, VOCAB, (count, BATCH, CONTEXT + 1), dtype="uint32")
    return [(numpy.ascontiguousarray(r[:, :-1]), numpy.ascontiguousarray(r[:, 1:])) for r in rows]


def timed(side, batches):
    begin = time.perf_counter()
    for batch in batches:
        side.step(*batch)
    return (time.perf_counter() - begin) / len(batches)


def fastest_mode(threads, batches):
    times = {}
    for mode in ("", "foreach", "fused"):
        side = Torch(threads, mode)
        side.step(*batches[0])
        times[mode] = timed(side, batches[:2])
    return min(times, key=times.get)


def peak_memory(arguments, side):
    command = [sys.executable, __file__, arguments.library, "--threads", str(arguments.threads),
               "--shape", arguments.shape, "--batch", str(BATCH), "--only", side]
    command += ["--checkpointing"] * arguments.checkpointing
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_kib():
    """Peak of this process since it was started; getrusage would count its parent's too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def run_alone(arguments, batches):
    """For peak_memory: MiB that three steps add to what the loaded libraries take."""
    import torch  # noqa: F401  loaded for both sides, so that the base is the same
    before = peak_kib()
    name, _, mode = arguments.only.partition("-")
    side = (Tinylm(arguments.library, arguments.threads, arguments.checkpointing) if name == "tinylm"
            else Torch(arguments.threads, mode, compiled=name == "compiled"))
    for batch in batches[:3]:
        side.step(*batch)
    print((peak_kib() - before) / 1024)


def use_shape(arguments):
    global VOCAB, CONTEXT, D_MODEL, LAYERS, HEADS, D_FF, BATCH
    VOCAB, CONTEXT, D_MODEL, LAYERS, HEADS, D_FF, BATCH = SHAPES[arguments.shape]
    BATCH = arguments.batch or BATCH


def step_flop():
    """Multiply-adds of the linear layers, forward and backward, and of causal attention, twice each."""
    tokens = BATCH * CONTEXT
    weights = LAYERS * (4 * D_MODEL ** 2 + 3 * D_MODEL * D_FF) + VOCAB * D_MODEL
    return 6 * tokens * weights + 7 * LAYERS * tokens * CONTEXT * D_MODEL


def run_program(arguments):
    """What bench_train_step prints for this step, or for a small one where it cannot take the shape; and
    the machine's peak in FLOP/s that it found."""
    if not os.path.exists(arguments.program):
        return "", None
    sizes = [BATCH, CONTEXT, LAYERS, VOCAB] if arguments.shape == "cs336" else [1, 64, 1, 1000]
    command = [arguments.program, arguments.threads, arguments.steps] + sizes
    text = subprocess.run([str(word) for word in command], check=True, capture_output=True,
                          text=True).stdout
    peak = float(re.search(r"of the peak of ([\d.]+)", text).group(1)) * 1e9
    return (text if arguments.shape == "cs336" else ""), peak


def print_table(arguments, names, rounds, mode, peak):
    """Best of the rounds; "times tinylm" is the median of the rounds' ratios, and all of them."""
    print("\n| | s/step | tokens/s | of peak | peak memory | times tinylm |\n|---|---|---|---|---|---|")
    memory = {}
    for i, name in enumerate(names):
        best = min(times[i] for times in rounds)
        ratios = [times[i] / times[0] for times in rounds]
        memory[name] = peak_memory(arguments, name + "-" * (i > 0) + mode * (i > 0))
        title = {"tinylm": "tinylm", "torch": "PyTorch, eager", "compiled": "PyTorch, compiled"}[name]
        share = "%.0f%%" % (100 * step_flop() / best / peak) if peak else ""
        print("| %s | %.3f | %.0f | %s | %.0f MiB | %.2f (%s) |" % (
            title, best, BATCH * CONTEXT / best, share, memory[name], statistics.median(ratios),
            " ".join("%.2f" % ratio for ratio in ratios)))
    for name in names[1:]:
        print("memory: %.2f of that of %s" % (memory["tinylm"] / memory[name], name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("library", help="path of libtinylm.so")
    parser.add_argument("--program", help="path of bench_train_step; default: where the build has it")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--shape", choices=sorted(SHAPES), default="cs336")
    parser.add_argument("--batch", type=int, help="sequences per step; default 8, gpt2-small 1")
    parser.add_argument("--compile", action="store_true", help="PyTorch through torch.compile as well")
    parser.add_argument("--checkpointing", action="store_true", help="tinylm with its blocks recomputed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps a round")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.program is None:
        arguments.program = os.path.join(os.path.dirname(os.path.abspath(arguments.library)),
                                         "../tests/bench/bench_train_step")
    use_shape(arguments)
    try:
        import numpy  # noqa: F401
        import torch
    except ImportError:
        print("PyTorch is not installed: see the top of this file")
        return SKIP
    batches = make_batches(max(4, arguments.steps))
    if arguments.only:
        run_alone(arguments, batches)
        return 0

    mode = "foreach" if arguments.shape != "cs336" else fastest_mode(arguments.threads, batches)
    names = ["tinylm", "torch"] + ["compiled"] * arguments.compile
    ours = Tinylm(arguments.library, arguments.threads, arguments.checkpointing)
    weights = [(name, values.copy()) for name, values in ours.weights()]
    sides = [ours] + [Torch(arguments.threads, mode, weights, name == "compiled")
                      for name in names[1:]]
    for step in range(2):
        losses = [side.step(*batches[step]) for side in sides]
        print("step %d: losses %s" % (step, " ".join("%.6f" % loss for loss in losses)))
        if not all(abs(loss - losses[0]) <= 1e-4 for loss in losses):
            sys.exit("the losses differ")

    rounds = []
    for _ in range(arguments.rounds):
        rounds.append([timed(side, batches[:arguments.steps]) for side in sides])
        print("round: " + ", ".join("%.3f s %s" % pair for pair in zip(rounds[-1], names)), flush=True)
    del sides, ours
    text, peak = run_program(arguments)
    print("PyTorch %s, AdamW %s; %d threads, batch %d" % (torch.__version__, mode or "plain",
                                                          arguments.threads, BATCH))
    print_table(arguments, names, rounds, mode, peak)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
