"""Every op against PyTorch's: results and gradients, float32, over random shapes. Skipped where PyTorch is
not installed."""

import ctypes
import random
import unittest

import peers

torch = peers.require("torch")

import tinylm  # noqa: E402
from tinylm import _native  # noqa: E402
from tinylm.tensors import _handles  # noqa: E402
from torch.nn import functional  # noqa: E402

torch.set_num_threads(1)

TOLERANCE = 2e-5  # of the largest element
SEEDS = range(6)


def call(name, *arguments):
    """tlm_<name>(&out, arguments): tensors, floats (double: c_double), ints (int32), bools."""
    function, out = getattr(_native._lib, "tlm_" + name), ctypes.c_void_p()
    function.restype, function.argtypes, function.errcheck = ctypes.c_int32, None, _native._check
    kinds = {bool: ctypes.c_bool, int: ctypes.c_int32, float: ctypes.c_double}
    function(ctypes.byref(out), *[
        argument._handle if isinstance(argument, tinylm.Tensor) else
        kinds[type(argument)](argument) if type(argument) in kinds else argument
        for argument in arguments])
    return tinylm.Tensor._wrap(out)


def concat(*tensors):
    return call("concat", _handles(tensors), ctypes.c_size_t(len(tensors)), -1)


def shape(draw, *sizes):
    """Leading dimensions, 0 to 2 of them, and then these sizes."""
    return [draw.choice([1, 2, 3, 5]) for _ in range(draw.randint(0, 2))] + list(sizes)


def broadcast(draw):
    full = shape(draw, draw.randint(1, 9), draw.randint(1, 17))
    return full, [size if draw.random() < 0.6 else 1 for size in full[draw.randint(0, len(full)):]]


def elementwise(draw):
    return [shape(draw, draw.randint(1, 70))]


def matmul(draw):
    m, k, n = (draw.randint(1, 40) for _ in range(3))
    lead = shape(draw)
    return lead + [m, k], (lead if draw.random() < 0.5 else []) + [k, n]


def attention(draw):
    lead, n, d, e = [draw.randint(1, 4), 2], draw.randint(1, 70), draw.randint(1, 40), draw.randint(1, 33)
    return lead + [n, d], lead + [n, d], lead + [n, e]


def rms_norm(x, w):
    return call("rms_norm", x, w, ctypes.c_float(1e-5))


def swiglu_torch(x, w1, w2, w3):
    return (functional.silu(x @ w1.T) * (x @ w3.T)) @ w2.T


def rope_torch(x):
    time, d = x.shape[-2:]
    angle = torch.arange(time)[:, None] / 10000.0 ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    cos, sin = angle.cos().float(), angle.sin().float()
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


IDS = [[3, 0, 6], [6, 6, 2]]


def layer_norm_shapes(draw):
    d = draw.randint(1, 66)
    return shape(draw, d), [d]


def linear_shapes(draw):
    k, n = draw.randint(1, 66), draw.randint(1, 66)
    return shape(draw, k), [n, k]


def swiglu_shapes(draw):
    d, f = draw.randint(1, 33), draw.randint(1, 50)
    return shape(draw, d), [f, d], [d, f], [f, d]


def ids(dtype):
    return tinylm.Tensor(IDS, dtype)


# name, ours, PyTorch's, shapes of the inputs, range of their elements
OPS = [
    ("add", tinylm.Tensor.__add__, torch.add, broadcast, (-1, 1)),
    ("sub", tinylm.Tensor.__sub__, torch.sub, broadcast, (-1, 1)),
    ("mul", tinylm.Tensor.__mul__, torch.mul, broadcast, (-1, 1)),
    ("div", tinylm.Tensor.__truediv__, torch.div, broadcast, (0.5, 2)),
    ("matmul", tinylm.Tensor.__matmul__, torch.matmul, matmul, (-1, 1)),
    ("exp", tinylm.Tensor.exp, torch.exp, elementwise, (-9, 9)),
    ("log", tinylm.Tensor.log, torch.log, elementwise, (0.1, 9)),
    ("sqrt", tinylm.Tensor.sqrt, torch.sqrt, elementwise, (0.1, 9)),
    ("tanh", tinylm.Tensor.tanh, torch.tanh, elementwise, (-9, 9)),
    ("sigmoid", tinylm.Tensor.sigmoid, torch.sigmoid, elementwise, (-20, 20)),
    ("relu", tinylm.Tensor.relu, torch.relu, elementwise, (-1, 1)),
    ("gelu", tinylm.Tensor.gelu, functional.gelu, elementwise, (-6, 6)),
    ("silu", tinylm.Tensor.silu, functional.silu, elementwise, (-20, 20)),
    ("silu_mul", lambda a: call("silu_mul", a, a), lambda a: functional.silu(a) * a, elementwise, (-9, 9)),
    ("scale", lambda a: a.scale(-2.5), lambda a: a * -2.5, elementwise, (-1, 1)),
    ("sum", tinylm.Tensor.sum, torch.sum, elementwise, (-1, 1)),
    ("mean", tinylm.Tensor.mean, torch.mean, elementwise, (-1, 1)),
    ("sum_dim", lambda a: call("sum_dim", a, -1, True), lambda a: a.sum(-1, True), elementwise, (-1, 1)),
    ("mean_dim", lambda a: call("mean_dim", a, 0, False), lambda a: a.mean(0), elementwise, (-1, 1)),
    ("max_dim", lambda a: call("max_dim", None, a, -1, False), lambda a: a.max(-1)[0], elementwise, (-1, 1)),
    ("concat", lambda a: concat(a, a, a), lambda a: torch.cat([a, a, a], -1), elementwise, (-1, 1)),
    ("transpose", lambda a: a.transpose(0, -1), lambda a: a.transpose(0, -1), elementwise, (-1, 1)),
    ("linear", lambda x, w: call("linear", x, w), functional.linear, linear_shapes, (-1, 1)),
    ("rms_norm", rms_norm, lambda x, w: x * (x.square().mean(-1, True) + 1e-5).rsqrt() * w,
     layer_norm_shapes, (-2, 2)),
    ("swiglu", lambda *a: call("swiglu", *a), swiglu_torch, swiglu_shapes, (-1, 1)),
    ("rope", lambda x: call("rope", x, None, 10000.0), rope_torch,
     lambda draw: [shape(draw, draw.randint(1, 30), 2 * draw.randint(1, 20))], (-1, 1)),
    ("softmax", lambda x: call("softmax", x, 0), lambda x: x.softmax(0), elementwise, (-9, 9)),
    ("softmax, huge", lambda x: call("softmax", x, -1), lambda x: x.softmax(-1), elementwise, (-1e4, 1e4)),
    ("attention", lambda q, k, v: call("attention", q, k, v, None, False),
     functional.scaled_dot_product_attention, attention, (-2, 2)),
    ("attention, causal", lambda q, k, v: call("attention", q, k, v, None, True),
     lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True), attention, (-2, 2)),
    ("embedding", lambda w: call("embedding", w, ids(tinylm.INT64)),
     lambda w: functional.embedding(torch.tensor(IDS), w), lambda draw: [[7, draw.randint(1, 33)]], (-1, 1)),
    ("cross_entropy", lambda z: call("cross_entropy", z, ids(tinylm.INT32)),
     lambda z: functional.cross_entropy(z.flatten(0, 1), torch.tensor(IDS).flatten()),
     lambda draw: [[2, 3, draw.randint(7, 99)]], (-9, 9)),
    ("cross_entropy, huge", lambda z: call("cross_entropy", z, ids(tinylm.UINT32)),
     lambda z: functional.cross_entropy(z.flatten(0, 1), torch.tensor(IDS).flatten()),
     lambda draw: [[2, 3, 50]], (-1e4, 1e4)),
]


class TorchTest(unittest.TestCase):
    def compare(self, what, got, want):
        self.assertEqual(tuple(got.shape), tuple(want.shape), what)
        if want.numel() == 0:
            return
        got = torch.from_dlpack(got.detach())
        scale = max(want.abs().max().item(), 1e-3)
        off = (got - want).abs().max().item()  # NaN where either has one
        self.assertTrue(off <= TOLERANCE * scale, f"{what}: off by {off}, scale {scale}")

    def test_16_bit_floats(self):
        """As modules of PyTorch do it by hand: to float32, compute, to the type of x."""
        w = torch.empty(9).uniform_(0.5, 2)
        for dtype in (torch.bfloat16, torch.float16):
            x = torch.empty(5, 9).uniform_(-300, 300).to(dtype)
            wide, mine = x.float(), tinylm.Tensor.from_dlpack(x)
            norm = wide / torch.sqrt(wide.square().mean(-1, keepdim=True) + 1e-5)
            for gain, mine_gain in (w, tinylm.Tensor.from_dlpack(w)), (w.to(dtype), tinylm.Tensor.from_dlpack(w.to(dtype))):
                self.compare_rounded(tinylm.rms_norm(mine, mine_gain), (norm * gain).to(dtype))
            self.compare_rounded(tinylm.softmax(mine, 0), wide.softmax(0).to(dtype))
            centered = functional.layer_norm(wide, (9,), w, w)
            bias = tinylm.Tensor.from_dlpack(w)
            self.compare_rounded(tinylm.layer_norm(mine, bias, bias), centered.to(dtype))

    def compare_rounded(self, got, want):
        """Equal except for the last bit of the type, where float32 fell on two sides of a tie."""
        got = torch.from_dlpack(got)
        self.assertEqual(got.dtype, want.dtype)
        step = 2.0 ** (-7 if want.dtype == torch.bfloat16 else -10)
        off = (got.float() - want.float()).abs()
        self.assertTrue((off <= step * want.float().abs() + 1e-7).all(), off.max())
        self.assertTrue((off == 0).float().mean() > 0.8)

    def test_ops(self):
        for name, ours, theirs, shapes, (low, high) in OPS:
            for seed in SEEDS:
                with self.subTest(op=name, seed=seed):
                    torch.manual_seed(seed)
                    values = [torch.empty(s).uniform_(low, high) for s in shapes(random.Random(seed))]
                    mine = [tinylm.Tensor(value.tolist(), requires_grad=True) for value in values]
                    for value in values:
                        value.requires_grad_()
                    y, z = ours(*mine), theirs(*values)
                    self.compare("result", y, z.detach())
                    gradient = torch.empty(z.shape).uniform_(-1, 1)
                    z.backward(gradient)
                    y.backward(tinylm.Tensor.from_dlpack(gradient))
                    for i, (a, b) in enumerate(zip(mine, values)):
                        self.compare(f"gradient {i}", a.grad, b.grad)

    def test_the_comparison_sees_nan(self):
        for bad in ([float("nan"), 1.0], [float("inf"), 1.0], [1.1, 1.0]):
            with self.assertRaises(AssertionError):
                self.compare("bad", tinylm.Tensor(bad), torch.tensor([1.0, 1.0]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
