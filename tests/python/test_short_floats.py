"""Tensors of bfloat16 and float16 beside those of PyTorch and ml_dtypes: bits, memory, operators, and what is refused.
Skipped where PyTorch is not installed."""

import copy
import pickle
import unittest

import peers

torch, numpy, ml_dtypes = peers.find("torch", "numpy", "ml_dtypes")
if torch is None or numpy is None:
    raise SystemExit(peers.SKIP)

import tinylm  # noqa: E402
from tinylm import Tensor  # noqa: E402

torch.set_num_threads(1)
TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
LARGEST = {"bfloat16": 3.3895313892515355e38, "float16": 65504.0}


def bits(tensor):
    return tensor.contiguous().view(torch.int16).tolist()


def draw(dtype, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)).to(dtype)


class ShortFloatsTest(unittest.TestCase):
    def check(self, ours, theirs, what):
        self.assertEqual((bits(torch.from_dlpack(ours)), ours.shape), (bits(theirs), tuple(theirs.shape)), what)

    def test_all_bits(self):
        every = torch.arange(65536, dtype=torch.int32).to(torch.int16)
        for name, dtype in TYPES.items():
            halves = every.view(dtype)
            for ours in (Tensor.from_dlpack(halves), Tensor(halves)):
                self.check(ours, halves, name)
            wide = torch.from_dlpack(tinylm.Tensor(halves).astype("float32"))
            number = ~halves.isnan()
            self.assertTrue(wide[~number].isnan().all())
            self.assertTrue(torch.equal(wide[number].view(torch.int32), halves.float()[number].view(torch.int32)))

    def test_rounding(self):
        """Numbers of any size, those halfway between two of the type, and their neighbors."""
        drawn = torch.randint(-2**31, 2**31, (200000,), generator=torch.Generator().manual_seed(1))
        for name, dtype in TYPES.items():
            kept = 16 if name == "bfloat16" else 13
            halfway = drawn >> kept << kept | 1 << (kept - 1)
            small = torch.arange(-3000, 3000) << 10  # subnormal, of both types and of float32
            values = torch.cat([drawn, halfway, halfway - 1, halfway + 1, small, small | 1 << 31])
            values = values.to(torch.int32).view(torch.float32)
            values = torch.cat([values, torch.linspace(-2.0**-13, 2.0**-13, 5001), torch.tensor([torch.inf, -torch.inf, -0.0])])
            want = values.to(dtype)
            held = want.isfinite() | values.isinf()
            self.check(Tensor(values[held]).astype(name), want[held], name)
            self.check(Tensor(values[held], name), want[held], name)
            self.check(Tensor(values[held][:3000].tolist(), name), want[held][:3000], name)
            self.assertTrue(torch.from_dlpack(Tensor(values[values.isnan()]).astype(name)).isnan().all())

    def test_numbers_beyond_are_refused(self):
        for name, largest in LARGEST.items():
            step = largest * 2.0**(-9 if name == "bfloat16" else -12)  # half of the last
            for value in (largest + step * 1.01, -largest - step * 1.01, 3.402e38):
                for make in (lambda: Tensor([value], name), lambda: Tensor(torch.tensor([value]), name),
                             lambda: Tensor(numpy.float32([value]), name), lambda: Tensor([value]).astype(name),
                             lambda: tinylm.zeros(1, dtype=name).fill_(value), lambda: tinylm.full(1, value, dtype=name),
                             lambda: tinylm.zeros(1, dtype=name).copy_(Tensor([value]))):
                    with self.assertRaises(ValueError):
                        make()
            self.assertEqual(Tensor([largest + step * 0.98], name).item(), largest)

    def test_memory_is_shared(self):
        for name, dtype in TYPES.items():
            theirs = draw(dtype, 6, 4)
            for view in (theirs, theirs.T, theirs[::2, 1:3], theirs[1:1], theirs[2, 3], theirs[:1].expand(3, 4)):
                self.check(Tensor.from_dlpack(view), view, name)
                self.check(Tensor(view), view, name)
            ours = Tensor.from_dlpack(theirs)
            ours[0, 0] = 7
            theirs[1, 1] = 9
            self.assertEqual((theirs[0, 0].item(), ours[1, 1].item()), (7, 9))
            for index in (slice(1, 3), slice(None, None, -1), (slice(None), slice(0, 4, 2)), ..., [3, 0], 2):
                again = torch.from_dlpack(ours[index])
                self.assertEqual(again.tolist(), ours[index].tolist())
            self.check(ours.T, theirs.T, name)
            self.check(ours[ours > 0], theirs[theirs > 0], name)
            with self.assertRaisesRegex(BufferError, "detach"):
                Tensor.from_dlpack(draw(dtype, 2).requires_grad_())
            self.check(pickle.loads(pickle.dumps(ours)), theirs, name)
            self.check(copy.deepcopy(ours), theirs, name)
            with self.assertRaisesRegex(TypeError, f"no {name}"):
                ours.memoryview()

    def test_operators(self):
        """They compute in float32, in which PyTorch's results before rounding are."""
        for name, dtype in TYPES.items():
            a, b = draw(dtype, 4, 5), draw(dtype, 4, 5) * 0.5
            x, y, u, v = Tensor(a), Tensor(b), a.float(), b.float()
            pairs = [(x + y, u + v), (x * 2, u * 2), (x - y.astype("float32"), u - v), (x @ y.T, u @ v.T), (-x, -u),
                     (x.sum(), u.sum()), (x.mean(0), u.mean(0)), (x.max(), u.max()), (x.min(1).values, u.min(1).values),
                     (x.exp(), u.exp()), (x.abs().sqrt(), u.abs().sqrt()), (x.std(correction=1), u.std()),
                     (tinylm.linear(x, y), u @ v.T), (tinylm.where(x > y, x, y), torch.maximum(u, v)),
                     (tinylm.maximum(x, y), torch.maximum(u, v)), (tinylm.embedding(x, [1, 0]), u[[1, 0]]),
                     (tinylm.concat([x, y.astype("float32")]), torch.cat([u, v])),
                     (tinylm.cross_entropy(x, [1, 2, 3, 4]), torch.nn.functional.cross_entropy(u, torch.tensor([1, 2, 3, 4])))]
            for number, (ours, theirs) in enumerate(pairs):
                self.assertEqual(ours.dtype, "float32")
                torch.testing.assert_close(torch.from_dlpack(ours), theirs, msg=f"{name}, {number}")
            self.assertEqual(x.argmax(1).tolist(), a.argmax(1).tolist())
            self.assertEqual((tinylm.concat([x, y]).dtype, x.reshape(-1).dtype), (name, name))
            x += y
            x *= 3
            self.check(x, ((u + v).to(dtype).float() * 3).to(dtype), name)
            x[1:3] = Tensor([0.1] * 5)
            x.copy_(x.astype("float32") + 1)
            self.assertEqual((x.dtype, x[1, 0].item()), (name, (torch.tensor(0.1, dtype=dtype) + 1).item()))
            with self.assertRaisesRegex(TypeError, "detach"):
                tinylm.ones(4, 5, requires_grad=True).astype(name)
            weights = tinylm.ones(3, 5, requires_grad=True)
            tinylm.linear(Tensor(a), weights).sum().backward()  # constants may be short
            torch.testing.assert_close(torch.from_dlpack(weights.grad), u.sum(0).expand(3, 5))

    def test_what_others_refuse(self):
        """The exception is the consumer's own, and what it did not take is freed."""
        for _ in range(3):
            try:
                numpy.from_dlpack(Tensor([1.0], "bfloat16"))
            except (RuntimeError, BufferError, TypeError) as error:
                self.assertIn("type", str(error))
        wrong = [(torch.ones(2).to(torch.float8_e4m3fn), TypeError, "float8_e4m3fn"), (torch.ones(2, dtype=torch.complex64), TypeError, "complex64")]
        for values, kind, text in wrong:
            with self.assertRaisesRegex(kind, text):
                Tensor(values)
        negated = torch.tensor([1 + 2j]).conj().imag
        with self.assertRaisesRegex(BufferError, "resolve_neg"):
            Tensor.from_dlpack(negated)
        self.assertEqual(Tensor(negated).tolist(), [-2])
        for kind in ("float32", "float16"):
            backward = numpy.arange(3, dtype=kind)[::-1]
            with self.assertRaisesRegex(BufferError, "negative: Tensor.array. copies"):
                Tensor.from_dlpack(backward)
            self.assertEqual(Tensor(backward).tolist(), [2, 1, 0])

    def test_numpy(self):
        for kind in ("float16", "float32", "float64", "int32"):
            for value in (numpy.dtype(kind).type(3), numpy.full((), 3, kind), numpy.full((2, 1), 3, kind)[::-1].T):
                for name in TYPES:
                    self.assertEqual((Tensor(value, name).shape, Tensor(value, name).dtype), (value.shape, name))
        self.assertEqual(numpy.asarray(Tensor([1.5], "bfloat16"), "float32").tolist(), [1.5])
        with self.assertRaisesRegex(TypeError, "ml_dtypes"):
            Tensor([1.5], "bfloat16").numpy()

    @unittest.skipIf(ml_dtypes is None, "ml_dtypes is not installed")
    def test_ml_dtypes(self):
        array = numpy.array([[1.5, 2.5], [numpy.nan, -numpy.inf]], ml_dtypes.bfloat16)
        for part in (array, array.T, array[:, ::-1], array[:0], array[0, 0], array[0, :1].reshape(())):
            ours = Tensor(part)
            self.assertEqual((ours.dtype, ours.shape), ("bfloat16", part.shape))
            self.assertEqual(numpy.asarray(ours, ml_dtypes.bfloat16).tobytes(), part.tobytes())
            self.assertEqual(Tensor(part, "float32").astype("float32").numpy().tobytes(), part.astype("float32").tobytes())
        shared = Tensor(array)
        numpy.asarray(shared, ml_dtypes.bfloat16)[0, 0] = 4
        self.assertEqual(shared[0, 0].item(), 4)
        for kind in (ml_dtypes.bfloat16, numpy.dtype(ml_dtypes.bfloat16)):
            self.assertEqual(Tensor([1.5], kind).dtype, "bfloat16")
            self.assertEqual(tinylm.ones(2).astype(kind).dtype, kind)
        with self.assertRaisesRegex(TypeError, "float8"):
            Tensor(array.astype(ml_dtypes.float8_e5m2))


if __name__ == "__main__":
    unittest.main()
