"""Tensors beside NumPy's arrays and PyTorch's tensors: operators, reductions and types on random shapes,
with gradients, and what is refused. NumPy and PyTorch are needed, and skipped by name without them."""

import copy
import math
import pickle
import random
import unittest

from tensor_cases import Compared, arrays, numpy, shape, torch

import tinylm
from tinylm import Tensor

DTYPES = {"float32": torch.float32, "int32": torch.int32, "int64": torch.int64, "bool": torch.bool,
          "float16": torch.float16, "bfloat16": torch.bfloat16}


class OperatorTest(Compared):
    BINARY = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b]

    def test_arithmetic_keeps_the_graph_on_both_sides(self):
        draw = random.Random(5)
        for function in self.BINARY:
            for _ in range(30):
                sizes = shape(draw, 3)
                values, mine, theirs = arrays(draw, *sizes)
                other = numpy.asarray(draw.uniform(1, 2), "float32") if draw.random() < 0.3 else numpy.float32(
                    [draw.uniform(1, 2) for _ in range(math.prod(sizes))]).reshape(sizes)
                for left in (other, torch.tensor(other), other.astype("float64")):
                    mine.zero_grad()
                    theirs.grad = None
                    got, want = function(left, mine), function(torch.tensor(other), theirs)
                    self.assertTrue(got.requires_grad)
                    self.same(got, want)
                    self.same_gradients(got, want, (mine, theirs))
                self.same(function(mine, other), function(values, other))
        weight = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        for product in (numpy.float32(2) * weight, numpy.float64(2) * weight, numpy.int64(2) * weight, 2 * weight):
            self.assertEqual((product.tolist(), product.requires_grad), ([2, 4, 6], True))

    def test_products(self):
        draw = random.Random(6)
        for left, right in (([3, 4], [4, 2]), ([4], [4, 2]), ([3, 4], [4]), ([4], [4]), ([2, 3, 4], [4, 5]), ([2, 3, 4], [2, 4, 1])):
            a, mine, theirs = arrays(draw, *left)
            b, other, their_other = arrays(draw, *right)
            got, want = mine @ other, theirs @ their_other
            self.same(got, want)
            self.same_gradients(got, want, (mine, theirs), (other, their_other))
            self.same(a @ other, a @ b)
            self.assertTrue((a @ other).requires_grad)
        for wrong in (lambda: mine @ 2, lambda: Tensor(1.0) @ Tensor(2.0), lambda: mine @ Tensor([[1.0]])):
            self.assertRaises((TypeError, ValueError), wrong)

    def test_in_place(self):
        weight = other = Tensor([1.0, 2.0], requires_grad=True)
        (weight * weight).sum().backward()
        with tinylm.no_grad():
            weight -= 0.25 * weight.grad
        self.assertIs(weight, other)
        self.assertEqual((weight.tolist(), weight.requires_grad), ([0.5, 1.0], True))
        total = alias = tinylm.zeros(2)
        total += 1
        total *= [2, 3]
        self.assertEqual((alias.tolist(), total is alias), ([2, 3], True))
        total += weight  # of a graph
        self.assertTrue(total.requires_grad and total is alias and alias.tolist() == [2.5, 4])
        total.add_(weight, alpha=2).mul_(2).sub_(1).div_(2).clip_(max=5.25).sum().backward()
        self.assertEqual((alias.tolist(), weight.grad.tolist()), ([3, 5.25], [2 + 3, 4]))
        array = numpy.float32([1, 1])
        array += weight.detach()
        self.assertEqual(array.tolist(), [1.5, 2])
        with self.assertRaisesRegex(RuntimeError, "no_grad"):
            weight += 1
        with self.assertRaisesRegex(ValueError, "does not fit"):
            alias += tinylm.zeros(3, 2)
        weight.grad.zero_()
        self.assertEqual(weight.grad.tolist(), [0, 0])
        weight.grad = None
        self.assertIsNone(weight.grad)
        weight.data = [3, 4]
        weight.data -= 1
        self.assertEqual((weight.tolist(), weight.requires_grad, weight.data.fill_(7).tolist()), ([2, 3], True, [7, 7]))
        with self.assertRaisesRegex(TypeError, "stack"):
            Tensor([weight[0], weight[1]])

    def test_powers(self):
        draw = random.Random(7)
        for exponent in (2, 0, 1, 3, 0.5, -1, 2.5):
            values, mine, theirs = arrays(draw, 3, 4)
            base, their_base = abs(mine) + 0.1, abs(theirs) + 0.1
            got, want = base ** exponent, their_base ** exponent
            self.same(got, want)
            self.same_gradients(got, want, (mine, theirs))
            self.same(1.5 ** mine, 1.5 ** values)
            self.same(numpy.float32(1.5) ** mine, 1.5 ** values)
            a, other, their_other = arrays(draw, 4)
            self.same_gradients((abs(mine) + 1) ** other, (abs(theirs) + 1) ** their_other, (other, their_other))

    def test_comparisons(self):
        draw = random.Random(8)
        for name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
            for _ in range(10):
                sizes = shape(draw, 3)
                a = numpy.float32([draw.randint(-1, 1) for _ in range(math.prod(sizes))]).reshape(sizes)
                b = numpy.float32([draw.randint(-1, 1) for _ in range(math.prod(sizes))]).reshape(sizes)
                want = getattr(numpy.asarray(a), name)(b)
                for right in (b, Tensor(b), torch.tensor(b)):
                    got = getattr(Tensor(a), name)(right)
                    self.assertEqual((got.dtype, got.shape, got.tolist()), ("bool", tuple(sizes), want.tolist()))
        ids = Tensor([2**62, 2**62 + 1], "int64")
        self.assertEqual((ids == 2**62).tolist(), [True, False])
        self.assertEqual((numpy.array([2**62, 0]) == ids).tolist(), [True, False])
        self.assertIs(Tensor([1.0]) == "text", False)
        self.assertIs(Tensor([1.0]) == None, False)  # noqa: E711
        self.assertEqual(len({Tensor([1.0]), Tensor([1.0])}), 2)
        yes, no = Tensor([True, True, False]), Tensor([True, False, False])
        self.assertEqual(((yes & no).tolist(), (yes | no).tolist(), (yes ^ no).tolist(), (~no).tolist()),
                         ([True, False, False], [True, True, False], [False, True, False], [False, True, True]))
        with self.assertRaisesRegex(TypeError, "booleans"):
            yes & Tensor([1.0, 2.0, 3.0])

    def test_truth(self):
        self.assertIs(bool(Tensor([0.0])), False)
        self.assertIs(bool(Tensor(2.0)), True)
        for several in (Tensor([1.0, 2.0]), Tensor([])):
            with self.assertRaisesRegex(ValueError, r"\.any\(\)"):
                bool(several)
        self.assertTrue(Tensor([0.0, 1.0]).any() and not Tensor([0.0, 1.0]).all() and Tensor([]).all())

    def test_numbers(self):
        loss = Tensor([3.25]).sum()
        self.assertEqual((float(loss), int(loss), f"{loss:.1f}", f"{loss}", round(float(loss), 1)),
                         (3.25, 3, "3.2", "3.2500", 3.2))
        self.assertEqual([10, 20, 30][Tensor(1, "int64")], 20)
        self.assertEqual(math.sqrt(Tensor(4.0)), 2)
        self.assertEqual(Tensor([1, 2], "int64")[1].item(), 2)
        for wrong in (lambda: float(Tensor([1.0, 2.0])), lambda: f"{Tensor([1.0, 2.0]):.2f}",
                      lambda: [1][Tensor(0.0)], lambda: Tensor([]).item()):
            self.assertRaises((TypeError, ValueError), wrong)

    def test_functions_of_numpy(self):
        values, mine, _ = arrays(random.Random(9), 3, 4)
        for name in ("exp", "tanh", "negative", "absolute", "square"):
            got = getattr(numpy, name)(mine)
            self.assertTrue(got.requires_grad)
            self.same(got, getattr(numpy, name)(values))
        self.same(numpy.sum(mine, axis=1), values.sum(1))
        self.same(numpy.mean(mine), values.mean())
        self.same(numpy.max(mine, axis=0), values.max(0))
        self.same(numpy.concatenate([mine, values], axis=1), numpy.concatenate([values, values], axis=1))
        self.same(numpy.stack([mine, mine]), numpy.stack([values, values]))
        self.same(numpy.where(mine > 0, mine, 0.0), numpy.where(values > 0, values, 0))
        self.same(numpy.maximum(mine, 0.5), numpy.maximum(values, 0.5))
        self.same(numpy.minimum(values.T.copy().T, mine), values)
        with self.assertRaisesRegex(TypeError, "numpy.sin would lose the graph"):
            numpy.sin(mine)
        with self.assertRaisesRegex(TypeError, "lose the graph"):
            values += mine
        with self.assertRaisesRegex(TypeError, "lose the graph"):
            numpy.cumsum(mine, axis=0)
        numpy.testing.assert_allclose(numpy.sin(mine.detach()), numpy.sin(values), rtol=1e-6)
        with self.assertRaisesRegex(TypeError, "torch"):
            torch.sin(mine)
        with self.assertRaisesRegex(TypeError, "no graph goes through"):
            torch.ones(4, requires_grad=True) * mine


class ReductionTest(Compared):
    def test_sums_and_means(self):
        draw = random.Random(10)
        for _ in range(80):
            sizes = shape(draw)
            values, mine, theirs = arrays(draw, *sizes)
            dims = draw.sample(range(-len(sizes), 0), draw.randint(1, len(sizes))) if sizes else None
            keep = draw.random() < 0.5
            for name in ("sum", "mean"):
                mine.zero_grad()
                theirs.grad = None
                axis = None if dims is None else tuple(dims)
                got = getattr(mine, name)(axis=axis, keepdims=keep)
                want = getattr(theirs, name)(dim=dims, keepdim=keep) if dims else getattr(theirs, name)()
                self.same(got, want)
                self.same(getattr(mine, name)(dims, keep), want)
                self.same_gradients(got, want, (mine, theirs))
            self.same(mine.var(axis=dims, keepdim=keep), values.var(axis=axis, keepdims=keep), 1e-4)

    def test_maxima(self):
        draw = random.Random(11)
        for _ in range(60):
            sizes = shape(draw, 3) or [3]
            values, mine, theirs = arrays(draw, *sizes)
            dim, keep = draw.randrange(-len(sizes), len(sizes)), draw.random() < 0.5
            for name in ("max", "min"):
                mine.zero_grad()
                theirs.grad = None
                got, want = getattr(mine, name)(dim, keep), getattr(theirs, name)(dim, keep)
                self.same(got[0], want.values)
                self.assertEqual(got[1].tolist(), want.indices.tolist())
                self.same_gradients(got[0], want.values, (mine, theirs))
                self.same(getattr(mine, name)(), getattr(values, name)())
                self.same(getattr(mine, name)(axis=dim, keepdims=keep), getattr(values, name)(dim, keepdims=keep))
                self.assertEqual(getattr(mine, "arg" + name)().item(), getattr(values, "arg" + name)())
                self.assertEqual(getattr(mine, "arg" + name)(dim).tolist(), getattr(values, "arg" + name)(dim).tolist())

    def test_counting(self):
        mask = Tensor([[True, False, True], [True, True, True]])
        self.assertEqual((mask.sum().item(), mask.sum(axis=0).tolist(), mask.sum().dtype), (5, [2, 1, 2], "int64"))
        self.assertAlmostEqual(mask.mean().item(), 5 / 6, places=6)
        ids = Tensor([[2**60, 1], [-3, 2**60]], "int64")
        self.assertEqual((ids.sum().item(), ids.sum(dim=1).tolist(), ids.sum(0, True).tolist()),
                         (2**61 - 2, [2**60 + 1, 2**60 - 3], [[2**60 - 3, 2**60 + 1]]))
        self.assertEqual(Tensor([], "int64").sum().item(), 0)

    def test_refusals(self):
        mine = Tensor([[1.0, 2.0]])
        for wrong, words in ((lambda: mine.sum(2), "dim 2"), (lambda: mine.sum((0, 0)), "twice"),
                             (lambda: mine.sum("a"), "whole number"), (lambda: mine.sum(1.5), "whole number"),
                             (lambda: mine.sum(0, "yes"), "keepdim"), (lambda: mine.max((0, 1)), "dim"),
                             (lambda: mine.mean(axis=-3), "dim -3"), (lambda: mine.reshape("a"), "shape"),
                             (lambda: mine.reshape(1.5), "shape"), (lambda: mine.permute(0), "dims"),
                             (lambda: mine.transpose(0, 5), "dimension")):
            with self.assertRaisesRegex((TypeError, ValueError, IndexError), words):
                wrong()


class ShapeTest(Compared):
    def test_like_numpy(self):
        draw = random.Random(12)
        for _ in range(60):
            sizes = shape(draw)
            values, mine, theirs = arrays(draw, *sizes)
            order = draw.sample(range(len(sizes)), len(sizes))
            self.same(mine.T, values.T, 0)
            self.same(mine.permute(*order), values.transpose(order), 0)
            self.same(mine.transpose(order), values.transpose(order), 0)
            self.same(mine.flatten(), values.flatten(), 0)
            self.same(mine.squeeze(), values.squeeze(), 0)
            at = draw.randint(-len(sizes) - 1, len(sizes))
            self.same(mine.unsqueeze(at), numpy.expand_dims(values, at), 0)
            self.same(mine.broadcast_to([2, *sizes]), numpy.broadcast_to(values, [2, *sizes]), 0)
            self.assertEqual((mine.ndim, mine.size, mine.numel()), (values.ndim, values.size, values.size))
            if sizes:
                self.same_gradients(mine.permute(*order), theirs.permute(*order), (mine, theirs))
        parts = Tensor([0, 1, 2, 3, 4]).split(2)
        self.assertEqual([part.tolist() for part in parts], [[0, 1], [2, 3], [4]])
        self.assertEqual(tinylm.stack([Tensor([1, 2]), Tensor([3, 4])], 1).tolist(), [[1, 3], [2, 4]])
        self.assertEqual(Tensor([-2, 0.5, float("nan"), 9]).clip(-1, 1).tolist()[:2] + [1.0],
                         Tensor([-1, 0.5, 1]).tolist())


class TypeTest(Compared):
    def test_names(self):
        for name, theirs in DTYPES.items():
            own = getattr(tinylm, name.upper())
            kinds = [name, own, int(own), theirs] + ([] if name == "bfloat16" else [
                numpy.dtype(name), getattr(numpy, "bool_" if name == "bool" else name)])
            for kind in kinds:
                tensor = Tensor([1, 0], kind)
                self.assertEqual((tensor.dtype, str(tensor.dtype)), (own, name))
                self.assertTrue(tensor.dtype == kind and not tensor.dtype != kind, kind)
            self.assertNotEqual(tensor.dtype, "float64")
            self.assertEqual(pickle.loads(pickle.dumps(own)), own)
            self.assertEqual(repr(own), f"tinylm.{name.upper()}")
        for python, name in ((float, "float32"), (int, "int64"), (bool, "bool")):
            self.assertEqual(Tensor([1], python).dtype, name)
        for wrong in ("float64", numpy.float64, torch.complex64, "abc", 9, None.__class__, True, [1]):
            with self.assertRaisesRegex(TypeError, "dtype"):
                Tensor([1], wrong)

    def test_arrays_keep_their_types(self):
        for kind, want in (("int8", "int32"), ("uint8", "int32"), ("int16", "int32"), ("uint16", "int32"),
                           ("int32", "int32"), ("int64", "int64"), ("uint32", "uint32"), ("bool", "bool"),
                           ("float16", "float16"), ("float32", "float32"), ("float64", "float32"), (">f4", "float32")):
            array = numpy.array([[1, 0], [1, 1]], kind)
            self.assertEqual((Tensor(array).dtype, Tensor(array).tolist()), (want, array.tolist()))
            self.assertEqual(Tensor(array.T[::-1]).tolist(), array.T[::-1].tolist())
            if hasattr(torch, kind):
                theirs = torch.tensor(array.tolist()).to(getattr(torch, kind))
                self.assertEqual((Tensor(theirs).dtype, Tensor(theirs.T).tolist()), (want, theirs.T.tolist()))
        halves = torch.tensor([[1.5, float("inf")], [-0.25, 3e38]], dtype=torch.bfloat16)
        self.assertEqual((Tensor(halves).dtype, Tensor(halves.T).tolist()), ("bfloat16", halves.T.tolist()))
        self.assertEqual((Tensor(halves, "float32") * 1).tolist(), halves.tolist())
        self.assertEqual(Tensor(numpy.zeros((0, 3))).shape, (0, 3))
        self.assertEqual(Tensor([numpy.float32(1), numpy.int64(2)]).tolist(), [1, 2])
        self.assertEqual(Tensor([numpy.array([1, 2]), Tensor([3, 4])]).tolist(), [[1, 2], [3, 4]])
        self.assertEqual((Tensor([True, False]).dtype, Tensor(3).dtype, Tensor(range(3)).tolist()),
                         ("bool", "float32", [0, 1, 2]))

    def test_nothing_changes_without_a_word(self):
        large = numpy.array([1.0, 1e300])
        for values, dtype, words in (
                (large, None, r"1e\+300 at \[1\]"), (1e300, None, "beyond float32"), ([1e300], "float32", "beyond"),
                ([1e30], "float16", "float16"), (large, "bfloat16", "bfloat16"), (2**24 + 1, None, "int64"),
                ([1, 2**60 + 1], None, "int64"), (10**400, None, "int64"), ([1.5], "int64", "1.5"), ([2**31], "int32", "2147483648"),
                ([-1], "uint32", "-1"), ([float("nan")], "int32", "nan"), (numpy.array([1.5]), "int32", "1.5"),
                (numpy.array([2**40]), "int32", "1099511627776"), (numpy.array([2**63], "uint64"), "int64", "int64"),
                (torch.tensor([1e300], dtype=torch.float64), None, "float32")):
            with self.assertRaisesRegex(ValueError, words):
                Tensor(values, dtype)
        for values in ("text", b"text", None, {"a": 1}, [1, "a"], [None], object(), numpy.array(["a"]),
                       numpy.array([1j]), numpy.array([2**63], "uint64"), numpy.array([object()]), iter([1])):
            with self.assertRaisesRegex(TypeError, "values"):
                Tensor(values)
        for values in ([[1], [1, 2]], [[1], 2]):
            with self.assertRaises(ValueError):
                Tensor(values)
        with self.assertRaisesRegex(TypeError, "requires_grad"):
            Tensor([1.0], requires_grad="yes")
        with self.assertRaisesRegex(TypeError, "gradients"):
            Tensor([1], "int64", requires_grad=True)

    def test_conversions(self):
        values = Tensor([[1.9, -1.9], [0.0, 3.0]])
        self.assertEqual(values.astype("int32").tolist(), [[1, -1], [0, 3]])
        self.assertEqual(values.to(torch.bool).tolist(), [[True, True], [False, True]])
        self.assertIs(values.astype(float), values)
        with self.assertRaisesRegex(tinylm.RangeError, "element 1, -1.9"):
            values.astype("uint32")
        products = values * Tensor([2, 3], "int64")
        self.same(products, values.numpy() * [2, 3])
        with self.assertRaisesRegex(TypeError, "int64.*astype"):
            Tensor([1], "int64") + Tensor([2], "int64")
        with self.assertRaisesRegex(TypeError, "int64.*astype"):
            Tensor([1], "int64") + 1

    def test_memory(self):
        mine = Tensor([[1.0, 2.0], [3.0, 4.0]])
        array = mine.numpy()
        array[0, 1] = 7
        self.assertEqual(mine.tolist(), [[1, 7], [3, 4]])
        self.assertEqual(mine.T.numpy().tolist(), [[1, 3], [7, 4]])
        self.assertEqual(Tensor(array).numpy().tolist(), array.tolist())
        own = Tensor(array)
        array[0, 0] = 9
        self.assertEqual(own.tolist()[0][0], 1)
        self.assertEqual(tinylm.zeros(0, 3).numpy().shape, (0, 3))
        with self.assertRaisesRegex(TypeError, "bfloat16"):
            Tensor([1.0], "bfloat16").numpy()


    def test_dlpack_of_both_versions(self):
        class Old:  # a consumer and producer that knows no versions
            def __init__(self, tensor):
                self.tensor = tensor

            def __dlpack__(self, stream=None):
                return self.tensor.__dlpack__()

            def __dlpack_device__(self):
                return self.tensor.__dlpack_device__()

        mine = Tensor([[1.0, 2.0], [3.0, 4.0]])
        for consumer in (numpy.from_dlpack, torch.from_dlpack, Tensor.from_dlpack):
            shared = consumer(mine.T)
            shared[0, 1] = shared[0, 1] * 2  # NumPy lets nobody write to what has no version
            self.assertEqual(mine.T.tolist(), numpy.asarray(shared).tolist())
        self.assertEqual(mine.tolist(), [[1, 2], [24, 4]])
        self.assertEqual(Tensor.from_dlpack(Old(mine)).tolist(), mine.tolist())
        array = numpy.float32([1, 2])
        Tensor.from_dlpack(array)[0] = 5
        self.assertEqual(array.tolist(), [5, 2])
        own = numpy.from_dlpack(mine, copy=True)
        own[:] = 0
        self.assertEqual(mine.tolist()[0], [1, 2])
        array.flags.writeable = False
        with self.assertRaisesRegex(BufferError, "copies|readonly|read-only"):
            Tensor.from_dlpack(array)
        self.assertEqual(Tensor(array).tolist(), [5, 2])
        halves = torch.tensor([1.5, 2.5], dtype=torch.bfloat16)
        Tensor.from_dlpack(halves)[1] = 4
        self.assertEqual(halves.tolist(), [1.5, 4])
        self.assertEqual(torch.from_dlpack(Tensor(halves)).dtype, torch.bfloat16)
        for capsule in (mine.__dlpack__(), mine.__dlpack__(max_version=(1, 1)), mine.__dlpack__(max_version=(0, 8))):
            del capsule  # not taken: freed
        for wrong in (lambda: mine.__dlpack__(dl_device=(2, 0)), lambda: mine.__dlpack__(stream=1)):
            self.assertRaises(BufferError, wrong)
        for wrong in ([1.0], "text", None):
            with self.assertRaisesRegex(TypeError, "^array takes"):
                Tensor.from_dlpack(wrong)


class CopyTest(unittest.TestCase):
    def test_pickle_and_copies(self):
        for dtype in DTYPES:
            tensor = Tensor([[1, 0], [1, 1]], dtype)
            for made in (pickle.loads(pickle.dumps(tensor)), copy.deepcopy(tensor), copy.copy(tensor)):
                self.assertEqual((made.tolist(), made.dtype), (tensor.tolist(), dtype))
        weight = Tensor([1.0, 2.0], requires_grad=True)
        for made in (pickle.loads(pickle.dumps(weight)), copy.deepcopy(weight)):
            self.assertTrue(made.requires_grad and made.tolist() == [1.0, 2.0])
            made.detach()[0] = 5
        self.assertEqual(weight.tolist(), [1.0, 2.0])
        copy.copy(weight).detach()[0] = 5
        self.assertEqual(weight.tolist(), [5.0, 2.0])
        pair = copy.deepcopy([weight, weight])
        self.assertIs(pair[0], pair[1])
        for fail in (pickle.dumps, copy.deepcopy):
            with self.assertRaisesRegex(TypeError, "detach"):
                fail(weight * 2)

    def test_text(self):
        self.assertEqual(repr(Tensor([1.0, 2.5])), "Tensor([1.0000, 2.5000], shape=(2,), dtype=float32)")
        self.assertEqual(repr(Tensor([[1, 20]], "int64")), "Tensor([[ 1, 20]], shape=(1, 2), dtype=int64)")
        self.assertEqual(str(Tensor(True)), "True")
        self.assertIn("requires_grad=True", repr(Tensor(1.0, requires_grad=True)))
        self.assertIn("nan", repr(Tensor([float("nan"), 1e-30])))
        large = repr(tinylm.zeros(1000, 1000))
        self.assertTrue("..." in large and "shape=(1000, 1000)" in large and len(large) < 600)
        self.assertEqual(repr(tinylm.zeros(0, 3)), "Tensor([], shape=(0, 3), dtype=float32)")


class RandomTest(unittest.TestCase):
    def test_creation(self):
        self.assertEqual(tinylm.arange(5).tolist(), [0, 1, 2, 3, 4])
        self.assertEqual(tinylm.arange(5).dtype, "int64")
        self.assertEqual(tinylm.arange(1, 2, 0.25).tolist(), [1, 1.25, 1.5, 1.75])
        self.assertEqual(tinylm.arange(3, 0, -1).tolist(), [3, 2, 1])
        self.assertEqual(tinylm.full((2, 2), 7, dtype="int32").tolist(), [[7, 7], [7, 7]])
        self.assertEqual((tinylm.ones(2, 3).shape, tinylm.ones((2, 3)).tolist()), ((2, 3), [[1, 1, 1]] * 2))
        self.assertEqual(tinylm.eye(2).tolist(), [[1, 0], [0, 1]])
        self.assertEqual(tinylm.tril(2).tolist(), [[True, False], [True, True]])
        self.assertEqual(tinylm.zeros(3, dtype=torch.int64).dtype, "int64")
        self.assertEqual(tinylm.ones_like(numpy.zeros((2, 1), "int32")).tolist(), [[1], [1]])
        for wrong in (lambda: tinylm.zeros(-1), lambda: tinylm.zeros("a"), lambda: tinylm.zeros(1.5), lambda: tinylm.arange("a"),
                      lambda: tinylm.arange(1, 2, 0), lambda: tinylm.full((2,), "a"), lambda: tinylm.rand(2, seed=-1),
                      lambda: tinylm.randn(2, seed="a"), lambda: tinylm.randint(3, 3, 2)):
            self.assertRaises((TypeError, ValueError), wrong)

    def test_seeds(self):
        for make in (tinylm.rand, tinylm.randn, lambda *shape, **how: tinylm.randint(0, 10, shape, **how)):
            self.assertEqual(make(4, seed=3).tolist(), make(4, seed=3).tolist())
            self.assertNotEqual(make(4, seed=3).tolist(), make(4, seed=4).tolist())
            tinylm.manual_seed(5)
            first, second = make(4).tolist(), make(4).tolist()
            self.assertNotEqual(first, second)
            tinylm.manual_seed(5)
            self.assertEqual((make(4).tolist(), make(4).tolist()), (first, second))
        many = tinylm.randn(200, 200, seed=1)
        self.assertAlmostEqual(many.mean().item(), 0, delta=0.03)
        self.assertAlmostEqual(many.std().item(), 1, delta=0.03)
        self.assertTrue(((tinylm.rand(999, seed=1) >= 0) & (tinylm.rand(999, seed=1) < 1)).all())
        self.assertEqual(sorted(set(tinylm.randint(-2, 2, 200, seed=1).tolist())), [-2, -1, 0, 1])


class ArgumentTest(unittest.TestCase):
    def test_layers_name_what_is_wrong(self):
        x, w = tinylm.randn(2, 3), tinylm.randn(4, 3)
        for call, words in (
                (lambda: tinylm.linear("x", w), "^x takes a Tensor"), (lambda: tinylm.linear(x, None), "^weight takes"),
                (lambda: tinylm.linear(x, w, 3), "^bias takes"), (lambda: tinylm.embedding(w, "ab"), "^ids takes"),
                (lambda: tinylm.embedding(w, [0.5]), "0.5"), (lambda: tinylm.dropout(x, "a"), "^rate takes a number"),
                (lambda: tinylm.softmax(x, "a"), "dim"), (lambda: tinylm.softmax(x, 1 << 40), "dim"),
                (lambda: tinylm.where(x, x, x), "^condition takes booleans"), (lambda: tinylm.where(x > 0, x, "a"), "^b takes"),
                (lambda: tinylm.concat(x), "^tensors takes a list"), (lambda: tinylm.concat([x, "a"]), r"^tensors\[1\]"),
                (lambda: tinylm.cross_entropy(x, [0, 9]), "9"), (lambda: tinylm.cross_entropy(x, None), "^targets"),
                (lambda: tinylm.rms_norm(x, w, None), "^eps takes"), (lambda: tinylm.attention(x, x, x, causal=2), "^causal"),
                (lambda: tinylm.rope(x, theta="a"), "^theta"), (lambda: x.scale("a"), "^factor"), (lambda: x + "a", "unsupported"),
                (lambda: x @ "a", "unsupported"), (lambda: x.slice(0, "a", 1), "start"), (lambda: x.backward("a"), "^gradient"),
                (lambda: x.copy_("a"), "^values"), (lambda: tinylm.clip_grad_norm(["a"], 1.0), r"^parameters\[0\]"),
                (lambda: tinylm.AdamW([1.0]), r"^parameters\[0\]"), (lambda: tinylm.custom_op(x, ["a"], len), r"^inputs\[0\]")):
            with self.assertRaisesRegex((TypeError, ValueError, IndexError), words):
                call()

    def test_arrays_are_taken_everywhere(self):
        x, w = numpy.float32([[1, 2, 3]]), torch.ones(2, 3)
        self.assertEqual(tinylm.linear(x, w, numpy.float64([1, 2])).tolist(), [[7, 8]])
        self.assertEqual(tinylm.linear(x, w.to(torch.bfloat16)).tolist(), [[6, 6]])
        self.assertEqual(tinylm.embedding(x.T, torch.tensor([2, 0])).tolist(), [[3], [1]])
        self.assertAlmostEqual(tinylm.cross_entropy(x, numpy.array([2])).item(), 0.4076, places=4)
        self.assertEqual(tinylm.where(x > 1, x, 0).tolist(), [[0, 2, 3]])


if __name__ == "__main__":
    unittest.main(verbosity=1)
