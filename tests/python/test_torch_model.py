"""The switches of a model that is trained from nothing against their formulas in PyTorch, in float64: losses and all
gradients. Skipped where PyTorch is not installed."""

import unittest

import peers

torch = peers.require("torch")

import tinylm  # noqa: E402
from torch.nn import functional  # noqa: E402

torch.set_num_threads(1)

VOCAB, TIME, WIDTH, LAYERS, HEADS, BATCH = 61, 20, 32, 3, 4, 3
SIZES = dict(vocab_size=VOCAB, context_length=TIME, d_model=WIDTH, num_layers=LAYERS, num_heads=HEADS, seed=5)
TOLERANCE = 1e-5  # of the largest element

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
}


def ids(salt):
    generator = torch.Generator().manual_seed(salt)
    return torch.randint(0, VOCAB, (BATCH, TIME), generator=generator)


def norm(x, gain):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * gain


def rotate(x):
    width = x.shape[-1]
    angle = torch.arange(TIME, dtype=torch.float64)[:, None] / 10000.0 ** (
        torch.arange(0, width, 2, dtype=torch.float64) / width)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], -1).flatten(-2)


def attention(w, part, x, shared, options):
    kv_heads = options.get("num_kv_heads", HEADS)
    q, k, v = (x @ w[f"{part}attn.{name}_proj.weight"].T for name in "qkv")
    if shared is not None:
        mix = w[part + "attn.value_mix.weight"]
        v = mix[0] * v + mix[1] * shared
    q = q.unflatten(-1, (HEADS, -1)).transpose(1, 2)
    k, v = (y.unflatten(-1, (kv_heads, -1)).transpose(1, 2) for y in (k, v))
    if "qk_norm" in options:
        q, k = norm(q, w[part + "attn.q_norm.weight"]), norm(k, w[part + "attn.k_norm.weight"])
    k, v = (y.repeat_interleave(HEADS // kv_heads, 1) for y in (rotate(k), v))
    heads = functional.scaled_dot_product_attention(rotate(q), k, v, is_causal=True)
    return heads.transpose(1, 2).flatten(2) @ w[part + "attn.output_proj.weight"].T


def feed_forward(w, part, x, options):
    gate = x @ w[part + "ffn.w1.weight"].T
    if options.get("ffn") == "relu2":
        hidden = functional.relu(gate).square()
    else:
        hidden = functional.silu(gate) * (x @ w[part + "ffn.w3.weight"].T)
    return hidden @ w[part + "ffn.w2.weight"].T


def torch_logits(w, inputs, options):
    x = w["token_embeddings.weight"][inputs]
    shared = w["value_embeddings.weight"][inputs] if "value_embeddings" in options else None
    if "embedding_norm" in options:
        x = norm(x, w["embedding_norm.weight"])
    for layer in range(LAYERS):
        part = f"layers.{layer}."
        x = x + attention(w, part, norm(x, w[part + "ln1.weight"]), shared, options)
        x = x + feed_forward(w, part, norm(x, w[part + "ln2.weight"]), options)
    head = w["token_embeddings.weight" if options.get("tied_embeddings") else "lm_head.weight"]
    logits = norm(x, w["ln_final.weight"]) @ head.T
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

    def test_losses_and_gradients(self):
        inputs, targets = ids(1), ids(2)
        for name, options in CASES.items():
            with self.subTest(name):
                model = tinylm.Model.create(**SIZES, **options)
                w = {name: torch.tensor(p.tolist(), dtype=torch.float64, requires_grad=True)
                     for name, p in model.parameters().items()}
                logits = torch_logits(w, inputs, options)
                expected = torch_loss(logits, targets, options)
                gradients = torch.autograd.grad(expected, list(w.values()))
                loss = model.loss(inputs.tolist(), targets.tolist())
                self.compare(loss.tolist(), expected.detach(), "loss")
                loss.backward()
                for (parameter, p), gradient in zip(model.parameters().items(), gradients):
                    self.compare(p.grad.tolist(), gradient, parameter)
                with tinylm.no_grad():
                    plain = model.loss(inputs.tolist(), targets.tolist())
                self.compare(plain.tolist(), torch_loss(logits, targets, {}).detach(), "loss of an evaluation")

    def test_scores_over_caches(self):
        """The other forward pass: log-probabilities of each token given those before it."""
        row = ids(3)[0]
        for name, options in CASES.items():
            with self.subTest(name):
                model = tinylm.Model.create(**SIZES, **options)
                w = {name: torch.tensor(p.tolist(), dtype=torch.float64) for name, p in model.parameters().items()}
                logs = torch_logits(w, row[None], options)[0].log_softmax(-1)
                self.compare(model.score(row.tolist()), logs[:-1].gather(1, row[1:, None])[:, 0], "scores")


if __name__ == "__main__":
    unittest.main()
