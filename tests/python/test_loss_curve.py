"""Fifty training steps against a table of losses in float64, and against PyTorch where it is installed.

The table was made by PyTorch in float64 from the same weights and data, with the formulas below, which use
nothing of the library but its initial weights:

    TINYLM_LIBRARY=build/lib/libtinylm.so PYTHONPATH=examples/python python3 tests/python/test_loss_curve.py --table
"""

import sys
import unittest

import peers

torch = peers.find("torch")

import tinylm  # noqa: E402

if torch is not None:
    torch.set_num_threads(1)

VOCAB, TIME, D_MODEL, LAYERS, HEADS, D_FF, THETA = 97, 24, 48, 2, 4, 128, 10000.0
BATCH, STEPS, RATE, DECAY, MAX_NORM = 4, 50, 3e-3, 0.1, 1.0
BETA1, BETA2, EPS = 0.9, 0.98, 1e-8

# Largest relative difference of a loss in float32. Measured: 4.5e-7 to the table, 1.3e-7 to PyTorch 2.13.
TOLERANCE = 5e-6

# Losses of steps 1 to 50.
TABLE = [
    4.834079614816, 4.627788318352, 4.565895380739, 4.327841810382, 3.860478371728,
    3.861491103922, 3.851627574609, 3.363760647954, 3.467449669293, 3.061616761848,
    2.907534505134, 2.998350428396, 2.452246503038, 3.124054691710, 2.689085577898,
    2.180001841039, 2.277686148199, 1.961596499105, 1.889958380824, 1.601105776194,
    1.705652793007, 1.926704812626, 1.743472378123, 1.813497470621, 1.573213262843,
    1.440782764828, 1.460576967308, 1.252321555604, 1.091665605873, 1.218038349816,
    1.372195807751, 1.202897740285, 0.993116702989, 1.108890964653, 1.541020617509,
    1.104033714195, 0.926509202457, 1.142084183297, 0.977895446871, 0.820898366516,
    0.984707468083, 1.145328623591, 0.991952003465, 1.257818343548, 0.641758539854,
    1.105026737808, 1.188275874521, 1.167763440177, 1.739195932763, 1.082503627789,
]


def batches():
    """Inputs and targets of each step: a rule that can be learned, x -> 5 x + 1, with a jump now and then."""
    state = 1
    for _ in range(STEPS):
        rows = []
        for _ in range(BATCH):
            row = []
            for _ in range(TIME + 1):
                state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
                jump = not row or (state >> 33) % 8 == 0
                row.append((state >> 40) % VOCAB if jump else (5 * row[-1] + 1) % VOCAB)
            rows.append(row)
        yield [row[:-1] for row in rows], [row[1:] for row in rows]


def make_model():
    return tinylm.Model.create(vocab_size=VOCAB, context_length=TIME, d_model=D_MODEL,
                               num_layers=LAYERS, num_heads=HEADS, d_ff=D_FF, rope_theta=THETA, seed=7)


def train_tinylm():
    """The losses, and the weights after the last step."""
    model = make_model()
    parameters = list(model.parameters().values())
    optimizer = tinylm.AdamW(parameters, learning_rate=RATE, beta1=BETA1, beta2=BETA2, eps=EPS,
                             weight_decay=DECAY)
    losses = []
    for inputs, targets in batches():
        optimizer.zero_grad()
        loss = model.loss(inputs, targets)
        loss.backward()
        tinylm.clip_grad_norm(parameters, MAX_NORM)
        optimizer.step()
        losses.append(loss.tolist())
    return losses, [parameter.tolist() for parameter in parameters]


def torch_loss(w, inputs, targets):
    """The transformer by its formulas."""
    def norm(x, name):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w[name]

    def rotate(x):
        angle = torch.arange(TIME, dtype=torch.float64)[:, None] / THETA ** (
            torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1])
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

    x = w["token_embeddings.weight"][inputs]
    hidden = torch.ones(TIME, TIME, dtype=torch.bool).triu(1)
    for layer in range(LAYERS):
        part = f"layers.{layer}."
        h = norm(x, part + "ln1.weight")
        q, k, v = ((h @ w[f"{part}attn.{n}_proj.weight"].T).unflatten(-1, (HEADS, -1)).transpose(1, 2)
                   for n in "qkv")
        scores = rotate(q) @ rotate(k).transpose(-1, -2) / (D_MODEL // HEADS) ** 0.5
        heads = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v
        x = x + heads.transpose(1, 2).flatten(2) @ w[part + "attn.output_proj.weight"].T
        h = norm(x, part + "ln2.weight")
        gate, up = h @ w[part + "ffn.w1.weight"].T, h @ w[part + "ffn.w3.weight"].T
        x = x + (gate * torch.sigmoid(gate) * up) @ w[part + "ffn.w2.weight"].T
    logits = norm(x, "ln_final.weight") @ w["lm_head.weight"].T
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train_torch(dtype):
    w = {name: torch.tensor(p.tolist(), dtype=dtype, requires_grad=True)
         for name, p in make_model().parameters().items()}
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in w.items()}
    losses = []
    for step, (inputs, targets) in enumerate(batches(), 1):
        loss = torch_loss(w, torch.tensor(inputs), torch.tensor(targets))
        gradients = torch.autograd.grad(loss, list(w.values()))
        norm = sum((g.double() ** 2).sum() for g in gradients).sqrt().item()
        scale = MAX_NORM / (norm + 1e-6) if norm >= MAX_NORM else 1.0
        rate = RATE * (1 - BETA2**step) ** 0.5 / (1 - BETA1**step)
        with torch.no_grad():
            for (p, (m, v)), g in zip(zip(w.values(), moments.values()), gradients):
                g = g * scale
                m.mul_(BETA1).add_(g, alpha=1 - BETA1)
                v.mul_(BETA2).add_(g * g, alpha=1 - BETA2)
                p.sub_(rate * m / (v.sqrt() + EPS)).mul_(1 - RATE * DECAY)
        losses.append(loss.item())
    return losses


class LossCurveTest(unittest.TestCase):
    def compare(self, got, want):
        self.assertEqual(len(got), STEPS)
        self.assertEqual(len(want), STEPS)
        worst = 0.0
        for step, (a, b) in enumerate(zip(got, want), 1):
            self.assertTrue(abs(a - b) <= TOLERANCE * abs(b), f"step {step}: {a}, should be {b}")
            worst = max(worst, abs(a - b) / abs(b))
        print(f"largest relative difference {worst:.2g}")

    def test_table(self):
        losses, _ = train_tinylm()
        self.compare(losses, TABLE)
        self.assertLess(losses[-1], 0.8 * losses[0])

    def test_threads(self):
        """One thread, two and five: the same losses and weights to the bit."""
        results = []
        for threads in (1, 2, 5):
            tinylm.set_num_threads(threads)
            results.append(train_tinylm())
        tinylm.set_num_threads(0)
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0], results[2])

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_torch(self):
        self.compare(train_tinylm()[0], train_torch(torch.float32))

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_table_is_torchs_in_float64(self):
        for got, want in zip(train_torch(torch.float64), TABLE):
            self.assertTrue(abs(got - want) <= 1e-9 * want, f"{got}, the table says {want}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        for value in train_torch(torch.float64):
            print(f"    {value:.12f},")
    else:
        unittest.main(verbosity=2)
