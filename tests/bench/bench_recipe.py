#!/usr/bin/env python3
"""The train step of a recipe of train_lm (forward, loss, backward, clipping, Muon or AdamW) in libtinylm beside the
same recipe in PyTorch, with torch.optim.Muon and torch.optim.AdamW, eager and, with --compile, through torch.compile
as well (which needs a C++ compiler).

All run in this process on the same threads, batches and initial weights, in alternating rounds; before that their losses
over the first steps must agree. The recipe is read from `train_lm --help`, and switches are added or replaced by
--set. PyTorch's Muon iterates in bfloat16, ours in float32.

    python3 -m venv .venv-bench && .venv-bench/bin/pip install torch==2.13.0 numpy
    TINYLM_LIBRARY=build/lib/libtinylm.so PYTHONPATH=examples/python \\
        .venv-bench/bin/python tests/bench/bench_recipe.py build/examples/train_lm --compile
"""
import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
import time

SKIP = 77  # what meson takes for a skipped test
# vocabulary, context, d_model, layers, heads, batch
SHAPES = {"cs336": (10000, 256, 512, 4, 16, 32), "long": (4096, 256, 256, 4, 8, 16),
          "small": (4096, 128, 128, 4, 4, 8)}
# Switches of train_lm, and the options of the library that they are.
MODEL = {"norm": "norm", "position": "position", "ffn": "ffn", "tied": "tied_embeddings", "qk-norm": "qk_norm",
         "embedding-norm": "embedding_norm", "softcap": "logit_softcap", "output-init": "output_init",
         "value-embeddings": "value_embeddings", "z-loss": "z_loss"}
OPTIMIZER = {"optimizer", "rate", "adamw-rate", "momentum", "muon-iterations", "weight-decay", "adamw", "beta1", "beta2",
             "eps", "clip"}
# What does not change the work of a step: rates of later steps and of groups, and when a run is stopped.
LEFT_OUT = {"min-rate", "schedule", "warmup", "decay-steps", "rope-theta", "no-decay", "warmup-share", "ema",
            "group"}


def number(text):
    try:
        return float(text)
    except ValueError:
        return {"true": True, "false": False}.get(text, text)


def read_recipe(program, name, changes):
    """The settings that --help lists below a recipe's name."""
    text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    found = re.search(rf"^--recipe {re.escape(name)}:.*\n((?:  .*\n?)+)", text, re.MULTILINE)
    if not found:
        sys.exit(f"{program} has no recipe {name}")
    words, settings = shlex.split(found.group(1)), {}
    for i, word in enumerate(words):
        if word.startswith("--"):
            option, _, value = word[2:].partition("=")
            follows = words[i + 1] if i + 1 < len(words) and not words[i + 1].startswith("--") else "true"
            settings[option] = number(value or follows)
    for change in changes:
        option, _, value = change.partition("=")
        settings[option] = number(value or "true")
    unknown = [option for option, value in settings.items()
               if option not in MODEL and option not in OPTIMIZER | LEFT_OUT and value not in (0, False, "none")]
    if unknown:
        sys.exit("this benchmark does not know the switches " + ", ".join(unknown))
    for option, values in {"norm": ("pre", "both"), "position": ("rope",), "ffn": ("swiglu", "relu2"),
                           "qk-norm": ("none", "heads"), "tied": (False,)}.items():
        if settings.get(option, values[0]) not in values:
            sys.exit(f"this benchmark does not know {option} {settings[option]}")
    return settings


class Tinylm:
    """Our side, through the Python package."""

    def __init__(self, shape, settings, threads):
        import tinylm
        self.tinylm = tinylm
        tinylm.set_num_threads(threads)
        vocab, context, width, layers, heads, _ = shape
        switches = {MODEL[name]: value for name, value in settings.items()
                    if name in MODEL and value not in (0, False, "none") or name == "output-init"}
        switches["output_init"] = "linear"  # so that the losses say something about every part
        self.model = tinylm.Model.create(vocab_size=vocab, context_length=context, d_model=width, num_layers=layers,
                                         num_heads=heads, seed=1, **switches)
        adamw = {"weight_decay": settings["weight-decay"], "beta1": settings["beta1"], "beta2": settings["beta2"],
                 "eps": settings["eps"], "variant": "pytorch"}
        if settings["optimizer"] == "muon":
            self.optimizer = tinylm.Muon(self.model, learning_rate=settings["rate"], momentum=settings["momentum"],
                                         weight_decay=settings["weight-decay"],
                                         iterations=int(settings.get("muon-iterations", 5)),
                                         rest={"learning_rate": settings.get("adamw-rate") or settings["rate"], **adamw})
        else:
            self.optimizer = tinylm.AdamW(self.model, learning_rate=settings["rate"], **adamw)
        self.parameters = self.model.parameters()
        self.clip = settings["clip"]

    def step(self, inputs, targets):
        self.optimizer.zero_grad()
        loss = self.model.loss(inputs, targets)
        value = loss.item()
        loss.backward()
        if self.clip:
            self.tinylm.clip_grad_norm(list(self.parameters.values()), self.clip)
        self.optimizer.step()
        return value


def make_torch_model(shape, settings, names):
    """The model in PyTorch's own functions; parameters have the library's names, with _ for the points."""
    import torch
    from torch import nn
    from torch.nn import functional as F
    vocab, context, width, layers, heads, batch = shape
    d_head = width // heads

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            for name, values in names.items():
                setattr(self, name.replace(".", "_"), nn.Parameter(values.clone()))
            angles = torch.outer(torch.arange(context).double(),
                                 10000.0 ** (-torch.arange(0, d_head, 2).double() / d_head))
            self.register_buffer("cos", angles.cos().float(), persistent=False)
            self.register_buffer("sin", angles.sin().float(), persistent=False)

        def part(self, layer, name):
            return getattr(self, f"layers_{layer}_{name}_weight")

        def norm(self, layer, name, x):
            return F.rms_norm(x, (width,), self.part(layer, name), 1e-5)

        def attention(self, layer, x, shared):
            q, k, v = (F.linear(x, self.part(layer, f"attn_{name}_proj")) for name in "qkv")
            if shared is not None:
                mix = self.part(layer, "attn_value_mix")
                v = mix[0] * v + mix[1] * shared
            q, k, v = (t.view(batch, -1, heads, d_head).transpose(1, 2) for t in (q, k, v))
            if settings.get("qk-norm") == "heads":
                q = F.rms_norm(q, (d_head,), self.part(layer, "attn_q_norm"), 1e-5)
                k = F.rms_norm(k, (d_head,), self.part(layer, "attn_k_norm"), 1e-5)

            def rotate(t):
                even, odd = t[..., 0::2], t[..., 1::2]
                return torch.stack((even * self.cos - odd * self.sin, even * self.sin + odd * self.cos), -1).flatten(-2)

            y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
            return F.linear(y.transpose(1, 2).reshape(x.shape), self.part(layer, "attn_output_proj"))

        def feed_forward(self, layer, x):
            gate = F.linear(x, self.part(layer, "ffn_w1"))
            if settings.get("ffn") == "relu2":
                hidden = F.relu(gate).square()
            else:
                hidden = F.silu(gate) * F.linear(x, self.part(layer, "ffn_w3"))
            return F.linear(hidden, self.part(layer, "ffn_w2"))

        def forward(self, ids, targets):
            x = F.embedding(ids, self.token_embeddings_weight)
            if settings.get("embedding-norm"):
                x = F.rms_norm(x, (width,), self.embedding_norm_weight, 1e-5)
            after = settings.get("norm") == "both"
            shared = F.embedding(ids, self.value_embeddings_weight) if settings.get("value-embeddings") else None
            for layer in range(layers):
                y = self.attention(layer, self.norm(layer, "ln1", x), shared)
                x = x + (self.norm(layer, "ln1_after", y) if after else y)
                y = self.feed_forward(layer, self.norm(layer, "ln2", x))
                x = x + (self.norm(layer, "ln2_after", y) if after else y)
            logits = F.linear(F.rms_norm(x, (width,), self.ln_final_weight, 1e-5), self.lm_head_weight)
            if settings.get("softcap"):
                logits = settings["softcap"] * torch.tanh(logits / settings["softcap"])
            loss = F.cross_entropy(logits.view(-1, vocab), targets.view(-1))
            if settings.get("z-loss"):
                loss = loss + settings["z-loss"] * logits.logsumexp(-1).square().mean()
            return loss

    return Transformer()


class Torch:
    """PyTorch's side, with the same initial weights."""

    def __init__(self, shape, settings, threads, names, compiled):
        import torch
        self.torch = torch
        torch.set_num_threads(threads)
        self.model = make_torch_model(shape, settings, names)
        self.forward = torch.compile(self.model) if compiled else self.model
        own = dict(self.model.named_parameters())
        hidden = [p for name, p in own.items() if name.startswith("layers_") and p.ndim == 2]
        rest = [p for p in own.values() if not any(p is other for other in hidden)]
        adamw = {"betas": (settings["beta1"], settings["beta2"]), "eps": settings["eps"],
                 "weight_decay": settings["weight-decay"], "foreach": True}
        if settings["optimizer"] == "muon":
            self.optimizers = [
                torch.optim.Muon(hidden, lr=settings["rate"], momentum=settings["momentum"],
                                 weight_decay=settings["weight-decay"], adjust_lr_fn="match_rms_adamw",
                                 ns_steps=int(settings.get("muon-iterations", 5))),
                torch.optim.AdamW(rest, lr=settings.get("adamw-rate") or settings["rate"], **adamw)]
        else:
            self.optimizers = [torch.optim.AdamW(own.values(), lr=settings["rate"], **adamw)]
        self.parameters = list(own.values())
        self.clip = settings["clip"]

    def step(self, inputs, targets):
        torch = self.torch
        inputs, targets = (torch.from_numpy(ids.astype("int64")) for ids in (inputs, targets))
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self.forward(inputs, targets)
        value = loss.item()
        loss.backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        return value


def make_batches(shape, count):
    import numpy
    random = numpy.random.default_rng(0)
    rows = random.integers(0, shape[0], (count, shape[5], shape[1] + 1), dtype="uint32")
    return [(numpy.ascontiguousarray(r[:, :-1]), numpy.ascontiguousarray(r[:, 1:])) for r in rows]


def timed(side, batches):
    """Wall-clock and processor time per step."""
    wall, processor = time.perf_counter(), time.process_time()
    for batch in batches:
        side.step(*batch)
    return (time.perf_counter() - wall) / len(batches), (time.process_time() - processor) / len(batches)


def print_table(names, rounds, tokens):
    """Medians; "times tinylm" are the medians of the rounds' ratios, and all of those of wall-clock time."""
    print("\n| | s/step | tokens/s | processor s/step | times tinylm | by processor time |\n|---|---|---|---|---|---|")
    for i, name in enumerate(names):
        wall, processor = (statistics.median(times[i][k] for times in rounds) for k in (0, 1))
        ratios = [[times[i][k] / times[0][k] for times in rounds] for k in (0, 1)]
        print("| %s | %.3f | %.0f | %.3f | %.2f (%s) | %.2f |" % (
            name, wall, tokens / wall, processor, statistics.median(ratios[0]),
            " ".join("%.2f" % ratio for ratio in ratios[0]), statistics.median(ratios[1])))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("program", help="train_lm, whose --help lists the recipe")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="replaces a switch")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="cs336")
    parser.add_argument("--batch", type=int, help="sequences per step")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps per round")
    parser.add_argument("--compile", action="store_true", help="PyTorch through torch.compile as well")
    arguments = parser.parse_args()
    try:
        import torch
        import numpy  # noqa: F401
        torch.optim.Muon  # noqa: B018
    except (ImportError, AttributeError):
        print("PyTorch with torch.optim.Muon is not installed: see the top of this file")
        return SKIP
    shape = SHAPES[arguments.shape][:5] + (arguments.batch or SHAPES[arguments.shape][5],)
    settings = read_recipe(arguments.program, arguments.recipe, arguments.set)
    ours = Tinylm(shape, settings, arguments.threads)
    weights = {name: torch.tensor(tensor.tolist()) for name, tensor in ours.parameters.items()}
    batches = make_batches(shape, max(3, arguments.steps))
    names = ["tinylm", "PyTorch, eager"] + ["PyTorch, compiled"] * arguments.compile
    sides = [ours] + [Torch(shape, settings, arguments.threads, weights, i == 1)
                      for i in range(1 + arguments.compile)]
    for step in range(3):
        losses = [side.step(*batches[step]) for side in sides]
        print("step %d: losses %s" % (step, " ".join("%.5f" % loss for loss in losses)))
        # Later ones differ by PyTorch's bfloat16.
        if not all(abs(loss - losses[0]) <= (1e-4 if step == 0 else 0.02) for loss in losses):
            sys.exit("the losses differ")
    rounds = []
    for _ in range(arguments.rounds):
        rounds.append([timed(side, batches[:arguments.steps]) for side in sides])
        print("round: " + ", ".join("%.3f s %s" % (times[0], name) for times, name in zip(rounds[-1], names)),
              flush=True)
    print("PyTorch %s, recipe %s, %d threads, batch %d of %d tokens" % (
        torch.__version__, arguments.recipe, arguments.threads, shape[5], shape[1]))
    print_table(names, rounds, shape[1] * shape[5])
    return 0


if __name__ == "__main__":
    sys.exit(main())
