"""Each of the CS336 adapters against PyTorch."""

import copy
import io
import itertools
import math
import os
import tempfile
import unittest

import peers

torch, numpy = peers.require("torch", "numpy")

import adapters  # noqa: E402
import tinylm  # noqa: E402
from torch.nn import functional  # noqa: E402

torch.set_num_threads(1)
TOLERANCE = 1e-5
LEADING = [(), (3,), (2, 3), (2, 1, 3)]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def rotate(x, theta, positions):
    d = x.shape[-1]
    angle = positions[..., None] / theta ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def attend(x, wq, wk, wv, wo, heads, theta=None, positions=None):
    q, k, v = ((x @ w.T).unflatten(-1, (heads, -1)).transpose(-2, -3) for w in (wq, wk, wv))
    if theta is not None:
        positions = torch.arange(x.shape[-2]) if positions is None else positions[..., None, :]
        q, k = rotate(q, theta, positions), rotate(k, theta, positions)
    heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return heads.transpose(-2, -3).flatten(-2) @ wo.T


def swiglu(x, w1, w2, w3):
    return (functional.silu(x @ w1.T) * (x @ w3.T)) @ w2.T


def norm(x, weight):
    return functional.rms_norm(x, weight.shape, weight, 1e-5)


def block(x, w, heads, theta):
    x = x + attend(norm(x, w["ln1.weight"]), *[w[f"attn.{n}_proj.weight"] for n in ("q", "k", "v", "output")],
                   heads, theta)
    return x + swiglu(norm(x, w["ln2.weight"]), *[w[f"ffn.w{i}.weight"] for i in (1, 2, 3)])


def block_weights(d, d_ff, seed=0):
    shapes = {**{f"attn.{n}_proj.weight": (d, d) for n in ("q", "k", "v", "output")}, "ln1.weight": (d,),
              "ln2.weight": (d,), "ffn.w1.weight": (d_ff, d), "ffn.w2.weight": (d, d_ff),
              "ffn.w3.weight": (d_ff, d)}
    return {name: draw(*shape, seed=seed + i) / math.sqrt(d) for i, (name, shape) in enumerate(shapes.items())}


class AdaptersTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)

    def assert_close(self, got, want, what="result"):
        self.assertEqual(got.shape, want.shape, what)
        self.assertEqual(got.dtype, want.dtype, what)
        if want.numel():
            off = (got - want).abs().max().item()  # NaN where either has one
            scale = max(1.0, want.abs().max().item())
            self.assertTrue(off <= TOLERANCE * scale, f"{what} is off by {off}, the largest is {scale}")

    def compare(self, ours, theirs, *inputs):
        """Results and gradients of all inputs that are not integers."""
        mine, others = ([x.clone().requires_grad_(x.is_floating_point()) for x in inputs] for _ in range(2))
        got, want = ours(*mine), theirs(*others)
        self.assert_close(got.detach(), want.detach())
        gradient = draw(*want.shape, seed=99)
        got.backward(gradient)
        want.backward(gradient)
        for i, (a, b) in enumerate(zip(mine, others)):
            if a.is_floating_point():
                self.assert_close(a.grad, b.grad, f"gradient {i}")


class LayersTest(AdaptersTest):
    def test_linear(self):
        for lead in LEADING:
            self.compare(lambda x, w: adapters.run_linear(8, 5, w, x), functional.linear, draw(*lead, 8),
                         draw(5, 8))

    def test_embedding(self):
        for lead in LEADING:
            for dtype in (torch.int64, torch.int32, torch.uint8, torch.int16):
                ids = torch.randint(11, lead).to(dtype)
                self.compare(lambda w: adapters.run_embedding(11, 6, w, ids),
                             lambda w: functional.embedding(ids.long(), w), draw(11, 6))

    def test_swiglu(self):
        for lead in LEADING:
            self.compare(lambda x, w1, w2, w3: adapters.run_swiglu(8, 12, w1, w2, w3, x), swiglu,
                         draw(*lead, 8), draw(12, 8), draw(8, 12), draw(12, 8, seed=3))

    def test_silu(self):
        for lead in LEADING:
            self.compare(adapters.run_silu, functional.silu, 5 * draw(*lead, 7))

    def test_rmsnorm(self):
        for lead in LEADING:
            self.compare(lambda x, w: adapters.run_rmsnorm(8, 1e-5, w, x), norm, draw(*lead, 8), draw(8))

    def test_softmax(self):
        x = 3 * draw(2, 3, 4, 5)
        for dim in (-4, -1, 0, 1, 2, 3):
            self.compare(lambda x: adapters.run_softmax(x, dim), lambda x: x.softmax(dim), x)
        self.compare(lambda x: adapters.run_softmax(x, -1), lambda x: x.softmax(-1), 100 + 1000 * x)
        self.assertTrue(adapters.run_softmax(torch.full((1, 2), -math.inf), -1).isnan().all())

    def test_cross_entropy(self):
        for scale in (1, 1000):
            for lead in [(4,), (2, 3), (2, 3, 4)]:
                targets = torch.randint(9, lead)
                self.compare(lambda z: adapters.run_cross_entropy(z, targets),
                             lambda z: functional.cross_entropy(z.flatten(0, -2), targets.flatten()),
                             scale * draw(*lead, 9))

    def test_attention(self):
        for lead in LEADING:
            inputs = draw(*lead, 5, 8), draw(*lead, 7, 8), draw(*lead, 7, 6)
            masks = [None, torch.rand(*lead, 5, 7) > 0.3, torch.rand(5, 7) > 0.3]
            for mask in masks:
                if mask is not None:
                    mask[..., 0] = True  # torch gives NaN where nothing is seen
                self.compare(lambda q, k, v: adapters.run_scaled_dot_product_attention(q, k, v, mask),
                             lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, mask), *inputs)

    def test_attention_broadcasts(self):
        mask = torch.rand(2, 1, 5, 7) > 0.3
        mask[..., 0] = True
        self.compare(lambda q, k, v: adapters.run_scaled_dot_product_attention(q, k, v, mask),
                     lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, mask),
                     draw(3, 5, 8), draw(2, 1, 7, 8), draw(7, 6))

    def test_multi_head_attention(self):
        for lead in LEADING:
            for heads in (1, 2, 4):
                self.compare(
                    lambda x, wq, wk, wv, wo: adapters.run_multihead_self_attention(
                        16, heads, wq, wk, wv, wo, x),
                    lambda *tensors: attend(*tensors, heads),
                    draw(*lead, 6, 16), *[draw(16, 16, seed=i) / 4 for i in range(4)])

    def test_multi_head_attention_with_rope(self):
        for lead in LEADING:
            for shape in (None, (6,), (1, 6) if lead else (6,), (*lead, 6)):
                positions = None if shape is None else torch.randint(20, shape)
                self.compare(
                    lambda x, wq, wk, wv, wo: adapters.run_multihead_self_attention_with_rope(
                        16, 2, 32, 1000.0, wq, wk, wv, wo, x, positions),
                    lambda *tensors: attend(*tensors, 2, 1000.0, positions),
                    draw(*lead, 6, 16), *[draw(16, 16, seed=i) / 4 for i in range(4)])

    def test_rope(self):
        for lead in LEADING:
            for positions in (torch.arange(6), torch.randint(50, (*lead, 6))):
                self.compare(lambda x: adapters.run_rope(10, 10000.0, 64, x, positions),
                             lambda x: rotate(x, 10000.0, positions), draw(*lead, 6, 10))

    def test_transformer_block(self):
        weights = block_weights(16, 24)
        for lead in [(), (2,), (2, 3)]:
            self.compare(
                lambda x, *ws: adapters.run_transformer_block(16, 4, 24, 8, 500.0, dict(zip(weights, ws)), x),
                lambda x, *ws: block(x, dict(zip(weights, ws)), 4, 500.0),
                draw(*lead, 8, 16), *weights.values())

    def transformer(self):
        weights = {"token_embeddings.weight": draw(20, 16), "lm_head.weight": draw(20, 16, seed=1),
                   "ln_final.weight": draw(16)}
        for layer in range(3):
            part = block_weights(16, 24, seed=10 * layer)
            weights.update({f"layers.{layer}.{name}": value for name, value in part.items()})
        return weights

    def test_transformer_lm(self):
        weights = self.transformer()
        names = list(weights)

        def theirs(ids, *values):
            w = dict(zip(names, values))
            x = functional.embedding(ids, w["token_embeddings.weight"])
            for layer in range(3):
                part = f"layers.{layer}."
                x = block(x, {n[len(part):]: v for n, v in w.items() if n.startswith(part)}, 4, 10000.0)
            return norm(x, w["ln_final.weight"]) @ w["lm_head.weight"].T

        for shape in [(2, 8), (1, 5), (3, 1)]:
            self.compare(lambda ids, *values: adapters.run_transformer_lm(
                20, 8, 16, 3, 4, 24, 10000.0, dict(zip(names, values)), ids), theirs,
                torch.randint(20, shape), *weights.values())

    def test_transformer_lm_is_the_librarys_model(self):
        weights = self.transformer()
        model = tinylm.Model.create(20, 8, 16, 3, 4, 24)
        for name, value in weights.items():
            model.set_parameter(name, value.numpy())
        ids = torch.randint(20, (2, 8))
        self.assert_close(adapters.run_transformer_lm(20, 8, 16, 3, 4, 24, 10000.0, weights, ids),
                          torch.from_dlpack(model.forward(ids).detach()))

    def test_memory_is_shared_and_any_strides_will_do(self):
        x = draw(6, 10, 4).transpose(0, 2)[::2, 1:, ::3]
        weight = draw(9, 5).T
        for a, b in itertools.product([x, x.contiguous()], [weight, weight.contiguous()]):
            self.compare(lambda x, w: adapters.run_linear(9, 5, w, x.transpose(1, 2)),
                         lambda x, w: functional.linear(x.transpose(1, 2), w), a, b)
        self.assert_close(adapters.run_silu(torch.ones(1, 1).expand(3, 4)),
                          functional.silu(torch.ones(3, 4)))

    def test_other_types_of_elements(self):
        for dtype in (torch.bfloat16, torch.float16):
            x = draw(3, 8).to(dtype)
            result = adapters.run_softmax(x, -1)
            self.assert_close(result, x.float().softmax(-1).to(dtype))
            self.assertEqual(adapters.run_linear(8, 2, draw(2, 8), x).dtype, torch.float32)
        for dtype in (torch.float64, torch.complex64):
            with self.assertRaisesRegex(TypeError, "float32"):
                adapters.run_silu(torch.ones(2, dtype=dtype))
        with self.assertRaises(tinylm.Error):
            adapters.run_linear(2, 2, torch.ones(2, 2), torch.ones(2, 2, dtype=torch.int64))

    def test_refusals(self):
        with self.assertRaisesRegex(ValueError, r"weights is \(5, 8\)"):
            adapters.run_linear(5, 8, draw(5, 8), draw(5))
        with self.assertRaisesRegex(tinylm.Error, "11"):
            adapters.run_embedding(11, 2, draw(11, 2), torch.tensor([11]))
        with self.assertRaisesRegex(ValueError, "max_seq_len"):
            adapters.run_transformer_block(16, 4, 24, 7, 1e4, block_weights(16, 24), draw(8, 16))
        with self.assertRaisesRegex(RuntimeError, "CPU"):
            adapters.run_silu(torch.ones(2, device="meta"))

    def test_gradients(self):
        x = draw(3).requires_grad_()
        with torch.no_grad():
            self.assertFalse(adapters.run_silu(x).requires_grad)
        y = adapters.run_softmax(x, 0)
        with torch.no_grad():
            y.zero_()
        with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
            y.sum().backward()
        y = adapters.run_silu(x)
        y.sum().backward()
        with self.assertRaises(Exception):  # as of torch's own ops
            y.sum().backward()


class TrainingTest(AdaptersTest):
    def test_get_batch(self):
        for dtype in ("uint16", "uint32", "int64", "int32"):
            data = numpy.arange(100, 200).astype(dtype)
            starts = set()
            for _ in range(200):
                x, y = adapters.run_get_batch(data, 16, 7, "cpu")
                self.assertEqual((x.shape, x.dtype, y.dtype), ((16, 7), torch.int64, torch.int64))
                self.assertTrue(torch.equal(x + 1, y))
                self.assertTrue(torch.equal(x, x[:, :1] + torch.arange(7)))
                starts.update(x[:, 0].tolist())
            self.assertEqual(starts, set(range(100, 193)))
        torch.manual_seed(5)
        first, second = (adapters.run_get_batch(data, 4, 7, "cpu")[0] for _ in range(2))
        self.assertFalse(torch.equal(first, second))
        torch.manual_seed(5)
        self.assertTrue(torch.equal(first, adapters.run_get_batch(data, 4, 7, "cpu")[0]))

    def test_get_batch_of_a_mapped_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "ids.npy")
            numpy.save(path, numpy.arange(1000, dtype="uint16"))
            x, y = adapters.run_get_batch(numpy.load(path, mmap_mode="r"), 3, 9, "cpu")
            self.assertTrue(torch.equal(x + 1, y))

    def test_get_batch_refuses(self):
        data = numpy.arange(100)
        for device in ("cuda:99", "cuda", "meta", "no such device"):
            with self.assertRaises(RuntimeError):
                adapters.run_get_batch(data, 2, 7, device)
        with self.assertRaisesRegex(tinylm.Error, "too few"):
            adapters.run_get_batch(data, 2, 100, "cpu")
        for bad in (numpy.array([-1, 2, 3]), numpy.array([1.5, 2, 3]), numpy.ones((3, 3), "uint16")):
            with self.assertRaises(ValueError):
                adapters.run_get_batch(bad, 1, 1, "cpu")

    def test_gradient_clipping(self):
        for max_norm in (1e-2, 1.0, 1e3):
            for grad in ([draw(5, 5), draw(300, 300), None, draw(7, 3).T],
                         [draw(4, 4).to(torch.bfloat16).float(), draw(2)]):
                ours, theirs = ([torch.nn.Parameter(torch.zeros_like(g) if g is not None else torch.ones(2))
                                 for g in grad] for _ in range(2))
                for p, q, g in zip(ours, theirs, grad):
                    p.grad, q.grad = (None if g is None else g.clone() for _ in range(2))
                before = [p.grad for p in ours]
                adapters.run_gradient_clipping(iter(ours), max_norm)
                torch.nn.utils.clip_grad_norm_(theirs, max_norm)
                for p, q, old in zip(ours, theirs, before):
                    self.assertIs(p.grad, old)
                    if old is not None:
                        self.assert_close(p.grad, q.grad)
        adapters.run_gradient_clipping([], 1.0)

    def test_gradient_clipping_of_bfloat16(self):
        p = torch.nn.Parameter(torch.zeros(50, dtype=torch.bfloat16))
        p.grad = draw(50).to(torch.bfloat16)
        want = (p.grad.float() / (p.grad.float().norm() + 1e-6)).to(torch.bfloat16)
        adapters.run_gradient_clipping([p], 1.0)
        self.assert_close(p.grad, want)
        p.grad[3] = math.nan
        with self.assertRaisesRegex(tinylm.Error, "nan"):
            adapters.run_gradient_clipping([p], 1.0)

    def test_cosine_schedule(self):
        for warmup, cycle in [(0, 10), (4, 10), (5, 5)]:
            for it in range(14):
                if it < warmup:
                    want = it / warmup * 2.0
                elif it <= cycle:
                    part = (it - warmup) / max(cycle - warmup, 1)
                    want = 0.5 + (1 + math.cos(math.pi * part)) / 2 * 1.5
                else:
                    want = 0.5
                self.assertAlmostEqual(adapters.run_get_lr_cosine_schedule(it, 2.0, 0.5, warmup, cycle), want)
        with self.assertRaises(ValueError):
            adapters.run_get_lr_cosine_schedule(-1, 2.0, 0.5, 4, 10)


class AdamWTest(AdaptersTest):
    OPTIONS = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.01}

    def parameters(self):
        """One that is not row-major among them."""
        return [torch.nn.Parameter(draw(6, 4).clone()), torch.nn.Parameter(draw(4)),
                torch.nn.Parameter(draw(3, 5).T), torch.nn.Parameter(draw(5, 2))]

    def make(self, cls, parameters, **options):
        groups = [{"params": parameters[:2]}, {"params": parameters[2:], "weight_decay": 0.1}]
        return cls(groups, **{**self.OPTIONS, **options})

    def train(self, parameters, optimizer, steps, rate=None):
        """Steps of a small problem, in which the last parameter only has a gradient now and then."""
        w, b, u, rare = parameters
        for step in steps:
            optimizer.zero_grad()
            loss = ((draw(8, 6, seed=step) @ w + b) @ u.T[:, :4].T).square().mean()
            if step % 3 == 1:
                loss = loss + (rare - 1).square().sum()
            loss.backward()
            for group in optimizer.param_groups if rate else ():
                group["lr"] = rate(step)
            optimizer.step()

    def test_it_is_torchs(self):
        """Torch decays before the step and the course behind it: small rates hide that."""
        ours, theirs = self.parameters(), self.parameters()
        cls = adapters.get_adamw_cls()
        self.assertTrue(issubclass(cls, torch.optim.Optimizer))
        for make, parameters in [(cls, ours), (torch.optim.AdamW, theirs)]:
            self.train(parameters, self.make(make, parameters), range(60), lambda step: 2e-4 * (1 + step % 4))
        for a, b, start in zip(ours, theirs, self.parameters()):
            self.assert_close(a.detach(), b.detach())
            self.assertGreater((a - start).abs().max().item(), 1e-3)

    def test_it_is_algorithm_1(self):
        p = torch.nn.Parameter(draw(50))
        theta, m, v = p.detach().double(), torch.zeros(50).double(), torch.zeros(50).double()
        optimizer = adapters.get_adamw_cls()([p], **self.OPTIONS)
        for t in range(1, 101):
            p.grad = draw(50, seed=t)
            optimizer.step()
            g = p.grad.double()
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            theta -= 1e-2 * math.sqrt(1 - 0.99**t) / (1 - 0.9**t) * m / (v.sqrt() + 1e-8)
            theta -= 1e-2 * 0.01 * theta
            self.assert_close(p.detach(), theta.float())

    def test_state_goes_from_one_to_another(self):
        cls, whole, half = adapters.get_adamw_cls(), self.parameters(), self.parameters()
        self.train(whole, self.make(cls, whole), range(9))
        optimizer = self.make(cls, half)
        self.train(half, optimizer, range(5))
        rest = copy.deepcopy(half)
        other = self.make(cls, rest, lr=1.0)
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # torch shares the tensors in it
        for parameters, stepper in [(half, optimizer), (rest, other)]:
            self.train(parameters, stepper, range(5, 9))
            for a, b in zip(parameters, whole):
                self.assertTrue(torch.equal(a, b))

    def test_closure_and_what_autograd_notices(self):
        p = torch.nn.Parameter(torch.ones(3))
        optimizer = adapters.get_adamw_cls()([p])

        def closure():
            optimizer.zero_grad()
            loss = p.square().sum()
            loss.backward()
            return loss

        self.assertEqual(optimizer.step(closure).item(), 3.0)
        self.assertTrue((p < 1).all())
        y = p.square().sum()
        optimizer.step()
        with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
            y.backward()

    def test_refusals(self):
        cls, p = adapters.get_adamw_cls(), torch.nn.Parameter(torch.ones(3))
        for bad in ({"lr": -1.0}, {"betas": (1.0, 0.9)}, {"eps": math.nan}, {"weight_decay": -0.1}):
            with self.assertRaises(tinylm.Error):
                cls([p], **bad)
        with self.assertRaisesRegex(TypeError, "float64"):
            cls([torch.nn.Parameter(torch.ones(3, dtype=torch.float64))])
        optimizer = cls([p])
        p.grad = torch.tensor([1.0, math.inf, 1.0])
        with self.assertRaisesRegex(tinylm.Error, "parameter 0 is inf at element 1"):
            optimizer.step()
        self.assertTrue(torch.equal(p.detach(), torch.ones(3)))


class CheckpointTest(AdaptersTest):
    def make(self):
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
        return model, adapters.get_adamw_cls()(model.parameters(), lr=1e-2)

    def step(self, model, optimizer, seed):
        optimizer.zero_grad()
        model(draw(6, 4, seed=seed)).square().sum().backward()
        optimizer.step()

    def test_training_goes_on_exactly(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint.pt")
            for out in (path, io.BytesIO()):
                model, optimizer = self.make()
                for seed in range(3):
                    self.step(model, optimizer, seed)
                adapters.run_save_checkpoint(model, optimizer, 3, out)
                other, other_optimizer = self.make()
                if out is not path:
                    out.seek(0)
                self.assertEqual(adapters.run_load_checkpoint(out, other, other_optimizer), 3)
                for pair in ((model, optimizer), (other, other_optimizer)):
                    self.step(*pair, 3)
                for name, value in model.state_dict().items():
                    self.assertTrue(torch.equal(other.state_dict()[name], value), name)


class TokenizerTest(unittest.TestCase):
    TEXT = ("low " * 5 + "lower " * 2 + "widest " * 3 + "newest " * 6) * 30
    END = "<|endoftext|>"

    def train(self, vocab_size=300):
        with tempfile.NamedTemporaryFile() as file:
            file.write((self.TEXT + self.END + self.TEXT).encode())
            file.flush()
            return adapters.run_train_bpe(file.name, vocab_size, [self.END])

    def test_train_bpe(self):
        vocab, merges = self.train()
        self.assertEqual(vocab[0], self.END.encode())
        self.assertEqual(sorted(vocab), list(range(len(vocab))))
        self.assertEqual(len(vocab), 257 + len(merges))
        self.assertEqual([left + right for left, right in merges], list(vocab.values())[257:])
        self.assertEqual(merges[:2], [(b"s", b"t"), (b"e", b"st")])  # ties: the larger pair
        self.assertFalse(any(b"<|" in token for token in list(vocab.values())[1:]))

    def test_get_tokenizer(self):
        vocab, merges = self.train()
        tokenizer = adapters.get_tokenizer(vocab, merges, [self.END, self.END * 2, "new"])
        text = "low " + self.END * 3 + " newest \u00e9\U0001f600"
        ids = tokenizer.encode(text)
        self.assertEqual(ids, list(tokenizer.encode_iterable(text)))
        self.assertEqual([tokenizer.decode([i]) for i in ids[2:4]], [self.END * 2, self.END])
        self.assertEqual(tokenizer.decode(ids), text)
        plain = adapters.get_tokenizer(vocab, merges)
        self.assertNotIn(0, plain.encode(text))
        self.assertEqual(plain.decode(plain.encode(text)), text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
