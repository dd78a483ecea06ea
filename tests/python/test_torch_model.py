"""The switches of a model that is trained from nothing against their formulas in PyTorch, in float64: losses and all
gradients. Skipped where PyTorch is not installed."""

import math
import unittest

import peers

torch = peers.require("torch")

import tinylm  # noqa: E402
from torch.nn import functional  # noqa: E402

torch.set_num_threads(1)

VOCAB, TIME, WIDTH, LAYERS, HEADS, BATCH = 61, 20, 32, 3, 4, 3
SIZES = dict(vocab_size=VOCAB, context_length=TIME, d_model=WIDTH, num_layers=LAYERS, num_heads=HEADS, seed=5)
TOLERANCE = 1e-5  # of the largest element
EMBEDDING_STREAM, BLOCK_STREAM = 7 << 20, 8 << 20  # of dropout's random numbers; four for each block

CASES = {
    "plain": {},
    "z-loss": {"z_loss": 0.01},
    "label smoothing": {"label_smoothing": 0.1},
    "both, capped": {"z_loss": 0.02, "label_smoothing": 0.2, "logit_softcap": 5.0},
    "tied": {"z_loss": 0.02, "label_smoothing": 0.2, "tied_embeddings": True},
    "value embeddings": {"value_embeddings": True},
    "value embeddings, fewer heads": {"value_embeddings": True, "num_kv_heads": 2},
    "relu2": {"ffn": "relu2", "output_init": "depth"},
    "norms": {"qk_norm": "heads", "embedding_norm": True},
    "all": {"ffn": "relu2", "qk_norm": "heads", "embedding_norm": True, "logit_softcap": 15.0, "z_loss": 1e-3,
            "label_smoothing": 0.1, "value_embeddings": True, "num_kv_heads": 2},
    "norms after blocks": {"norm": "post"},
    "no norms": {"norm": "none"},
    "norms of changes": {"norm": "after"},
    "norms around": {"norm": "both", "scaled_embeddings": True, "ffn": "geglu", "norm_eps": 1e-3},
    "queries of the whole width": {"qk_norm": "width", "num_kv_heads": 2},
    "gpt2": {"norm_kind": "layer", "position": "learned", "attention_bias": "all", "ffn_bias": True, "ffn": "gelu"},
    "layer norms behind": {"norm_kind": "layer", "norm": "post", "embedding_norm": True, "position": "none"},
    "biases": {"attention_bias": "qkv", "ffn_bias": True, "head_dim": 6, "ffn": "silu"},
    "windows": {"sliding_window": 5, "window_period": 2, "window_rope_theta": 100.0, "rope_theta": 5000.0},
    "all windows": {"sliding_window": 3, "unrotated_period": 2},
    "scores": {"query_scalar": 11.0, "attention_softcap": 2.0, "rope_scaling": "linear", "rope_factor": 3.0},
    "muP": {"base_width": 16, "output_init": "zero"},
}
DROPOUTS = {
    "residual": {"dropout": 0.3},
    "attention": {"attention_dropout": 0.4},
    "embeddings": {"embedding_dropout": 0.2},
    "all": {"dropout": 0.1, "attention_dropout": 0.2, "embedding_dropout": 0.3, "num_kv_heads": 2,
            "embedding_norm": True},
    "norms around": {"dropout": 0.25, "norm": "both", "attention_softcap": 3.0, "sliding_window": 4},
    "norms after blocks": {"dropout": 0.25, "norm": "post", "attention_dropout": 0.5},
}


def ids(salt):
    generator = torch.Generator().manual_seed(salt)
    return torch.randint(0, VOCAB, (BATCH, TIME), generator=generator)


def mask(shape, rate, stream):
    """What dropout multiplies a tensor by: that of the library, whose choice PyTorch cannot make."""
    rows = tinylm.Tensor([[1.0] * shape[-1]] * math.prod(shape[:-1]))
    return torch.tensor(tinylm.dropout(rows, rate, SIZES["seed"], stream).tolist(), dtype=torch.float64).reshape(shape)


def drop(x, options, name, stream):
    """The masks of a model's streams, while dropout is on from row 0 (lib/base/rng.h)."""
    rate = options.get(name, 0.0)
    return x * mask(x.shape, rate, stream) if rate > 0.0 else x


def norm(w, name, x, options):
    """The norm of that name, or nothing where the model has none."""
    if name + ".weight" not in w:
        return x
    eps = options.get("norm_eps", 1e-5)
    if options.get("norm_kind") == "layer":
        return functional.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], eps)
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * w[name + ".weight"]


def linear(w, name, x):
    return functional.linear(x, w[name + ".weight"], w.get(name + ".bias"))


def rotate(x, theta, factor):
    width = x.shape[-1]
    angle = torch.arange(TIME, dtype=torch.float64)[:, None] / factor / theta ** (
        torch.arange(0, width, 2, dtype=torch.float64) / width)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], -1).flatten(-2)


def rotated(q, k, layer, options):
    period = options.get("unrotated_period", 0)
    if options.get("position", "rope") != "rope" or (period and (layer + 1) % period == 0):
        return q, k
    theta = options.get("rope_theta", 10000.0)
    if has_window(layer, options):
        theta = options.get("window_rope_theta", theta)
    return [rotate(x, theta, options.get("rope_factor", 1.0)) for x in (q, k)]


def has_window(layer, options):
    period = options.get("window_period", 0)
    return "sliding_window" in options and (period == 0 or (layer + 1) % period != 0)


def attention_weights(q, k, layer, options):
    scores = q @ k.transpose(-1, -2) / options.get("query_scalar", q.shape[-1]) ** 0.5
    if "attention_softcap" in options:
        scores = options["attention_softcap"] * torch.tanh(scores / options["attention_softcap"])
    distance = torch.arange(TIME)[:, None] - torch.arange(TIME)
    seen = distance >= 0
    if has_window(layer, options):
        seen &= distance < options["sliding_window"]
    weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
    # The library numbers the rows of its mask by token, then by head.
    rows = weights.transpose(1, 2)
    return drop(rows, options, "attention_dropout", BLOCK_STREAM + 4 * layer).transpose(1, 2)


def attention(w, part, x, shared, layer, options):
    kv_heads = options.get("num_kv_heads", HEADS)
    q, k, v = (linear(w, f"{part}attn.{name}_proj", x) for name in "qkv")
    if shared is not None:
        mix = w[part + "attn.value_mix.weight"]
        v = mix[0] * v + mix[1] * shared
    if options.get("qk_norm") == "width":
        q, k = norm(w, part + "attn.q_norm", q, options), norm(w, part + "attn.k_norm", k, options)
    q = q.unflatten(-1, (HEADS, -1)).transpose(1, 2)
    k, v = (y.unflatten(-1, (kv_heads, -1)).transpose(1, 2) for y in (k, v))
    if options.get("qk_norm") == "heads":
        q, k = norm(w, part + "attn.q_norm", q, options), norm(w, part + "attn.k_norm", k, options)
    q, k = rotated(q, k, layer, options)
    k, v = (y.repeat_interleave(HEADS // kv_heads, 1) for y in (k, v))
    heads = attention_weights(q, k, layer, options) @ v
    return linear(w, part + "attn.output_proj", heads.transpose(1, 2).flatten(2))


def feed_forward(w, part, x, options):
    kind = options.get("ffn", "swiglu")
    gate = linear(w, part + "ffn.w1", x)
    if kind == "relu2":
        hidden = functional.relu(gate).square()
    elif kind in ("gelu", "geglu"):
        hidden = functional.gelu(gate, approximate="tanh")
    else:
        hidden = functional.silu(gate)
    if kind in ("swiglu", "geglu"):
        hidden = hidden * linear(w, part + "ffn.w3", x)
    return linear(w, part + "ffn.w2", hidden)


def block(w, layer, x, shared, options):
    part = f"layers.{layer}."
    post = options.get("norm") == "post"
    sublayers = [("ln1", lambda y: attention(w, part, y, shared, layer, options)),
                 ("ln2", lambda y: feed_forward(w, part, y, options))]
    for number, (name, change) in enumerate(sublayers):
        y = change(x if post else norm(w, part + name, x, options))
        y = norm(w, part + name + "_after", y, options)
        x = x + drop(y, options, "dropout", BLOCK_STREAM + 4 * layer + 1 + number)
        if post:
            x = norm(w, part + name, x, options)
    return x


def torch_logits(w, inputs, options):
    x = w["token_embeddings.weight"][inputs]
    shared = w["value_embeddings.weight"][inputs] if "value_embeddings" in options else None
    if "scaled_embeddings" in options:
        x = x * WIDTH ** 0.5
    if options.get("position") == "learned":
        x = x + w["position_embeddings.weight"][:TIME]
    x = drop(norm(w, "embedding_norm", x, options), options, "embedding_dropout", EMBEDDING_STREAM)
    for layer in range(LAYERS):
        x = block(w, layer, x, shared, options)
    head = w["token_embeddings.weight" if options.get("tied_embeddings") else "lm_head.weight"]
    logits = norm(w, "ln_final", x, options) @ head.T
    if "logit_softcap" in options:
        logits = options["logit_softcap"] * torch.tanh(logits / options["logit_softcap"])
    return logits


def torch_loss(logits, targets, options):
    smoothing, weight = options.get("label_smoothing", 0.0), options.get("z_loss", 0.0)
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=smoothing) + \
        weight * logits.logsumexp(-1).square().mean()


class SwitchesTest(unittest.TestCase):
    def compare(self, ours, theirs, what):
        ours = torch.tensor(ours, dtype=torch.float64)
        self.assertEqual(ours.shape, theirs.shape, what)
        self.assertLessEqual((ours - theirs).abs().max().item(), TOLERANCE * theirs.abs().max().item(), what)

    def model(self, options):
        """A model none of whose parameters is what it began with, and its parameters in PyTorch."""
        model = tinylm.Model.create(**SIZES, **options)
        generator = torch.Generator().manual_seed(7)
        for name, p in model.parameters().items():
            change = torch.rand(p.shape, generator=generator) * 0.2 - 0.1
            model.set_parameter(name, (torch.tensor(p.tolist()) + change).tolist())
        w = {name: torch.tensor(p.tolist(), dtype=torch.float64, requires_grad=True)
             for name, p in model.parameters().items()}
        return model, w

    def compare_gradients(self, model, w, inputs, targets, options):
        expected = torch_loss(torch_logits(w, inputs, options), targets, options)
        gradients = torch.autograd.grad(expected, list(w.values()))
        loss = model.loss(inputs.tolist(), targets.tolist())
        self.compare(loss.tolist(), expected.detach(), "loss")
        loss.backward()
        for (parameter, p), gradient in zip(model.parameters().items(), gradients):
            # A shift of all scores of a query changes none of its weights.
            if not parameter.endswith("k_proj.bias") or "position" not in options:
                self.compare(p.grad.tolist(), gradient, parameter)

    def test_losses_and_gradients(self):
        inputs, targets = ids(1), ids(2)
        for name, options in CASES.items():
            with self.subTest(name):
                model, w = self.model(options)
                self.compare_gradients(model, w, inputs, targets, options)
                with tinylm.no_grad():
                    plain = model.loss(inputs.tolist(), targets.tolist())
                self.compare(plain.tolist(), torch_loss(torch_logits(w, inputs, options), targets, {}).detach(),
                             "loss of an evaluation")

    def test_dropout(self):
        inputs, targets = ids(1), ids(2)
        for name, options in DROPOUTS.items():
            for checkpointing in False, True:
                with self.subTest(name, checkpointing=checkpointing):
                    model, w = self.model(options)
                    model.set_checkpointing(checkpointing)
                    model.set_dropout_row(0)
                    self.compare_gradients(model, w, inputs, targets, options)

    def test_scores_over_caches(self):
        """The other forward pass: log-probabilities of each token given those before it."""
        row = ids(3)[0]
        for name, options in CASES.items():
            with self.subTest(name):
                model, w = self.model(options)
                logs = torch_logits(w, row[None], options)[0].log_softmax(-1).detach()
                self.compare(model.score(row.tolist()), logs[:-1].gather(1, row[1:, None])[:, 0], "scores")


if __name__ == "__main__":
    unittest.main()
