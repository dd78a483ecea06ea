"""What could go wrong without a word, and must not: lost graphs, changed numbers, arrays in unusual memory."""

import copy
import pickle
import unittest

import peers

numpy = peers.require("numpy")

import tinylm  # noqa: E402
from tinylm import Tensor, nn  # noqa: E402

torch = peers.find("torch")


class Frame:
    """As pandas and others have it: an array by __array__ alone."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return numpy.asarray(self.values, dtype)


class Strings:
    """As PyArrow has it: a list of strings by to_pylist(), whose own elements are none."""

    def __init__(self, texts):
        self.texts = texts

    def __iter__(self):
        return iter([object() for _ in self.texts])

    def to_pylist(self):
        return list(self.texts)


class GraphTest(unittest.TestCase):
    def setUp(self):
        self.weight = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        self.result = self.weight * 2

    def test_nothing_loses_a_graph_unnoticed(self):
        for tensor in (self.weight, self.result):
            for lose, kind in (
                    (lambda: Tensor(tensor), TypeError), (lambda: Tensor([tensor[0], tensor[1]]), TypeError),
                    (lambda: Tensor(tensor, "float16"), TypeError), (lambda: tensor.astype("bfloat16"), TypeError),
                    (lambda: tensor.numpy(), TypeError), (lambda: numpy.asarray(tensor), TypeError),
                    (lambda: numpy.array([tensor, tensor]), TypeError), (lambda: numpy.from_dlpack(tensor), BufferError),
                    (lambda: numpy.sin(tensor), TypeError), (lambda: numpy.cumsum(tensor), TypeError),
                    (lambda: numpy.concatenate([numpy.sort(tensor), [1.0]]), TypeError),
                    (lambda: setattr(tensor, "grad", tensor), TypeError)):
                self.assertRaisesRegex(kind, "detach|stack|set to None", lose)
                with tinylm.no_grad():
                    if kind is BufferError:
                        lose()
        self.assertRaisesRegex(TypeError, "graph", copy.deepcopy, self.result)
        self.assertRaisesRegex(TypeError, "graph", pickle.dumps, self.result)
        self.assertRaisesRegex(TypeError, "detach", nn.Parameter, self.result)
        self.assertEqual(nn.Parameter(self.weight).tolist(), [1, 2, 3])  # another parameter is asked for
        self.assertEqual(Tensor(self.weight, requires_grad=True).tolist(), [1, 2, 3])

    def test_what_keeps_the_graph(self):
        for keep in (copy.copy, lambda t: t.clone(), lambda t: t.to("float32"), lambda t: t.astype(numpy.float32), abs,
                     lambda t: +t, lambda t: t[...], lambda t: t[[0, 1, 2]], lambda t: t.view(3), lambda t: t.contiguous(),
                     lambda t: sum([t[0], t[1], t[2]]).reshape(1), lambda t: numpy.float64(2) * t, lambda t: numpy.ones(3) @ t,
                     lambda t: numpy.where([True] * 3, t, 0), lambda t: numpy.maximum(t, 0), lambda t: tinylm.where([True] * 3, t, 0),
                     lambda t: tinylm.stack([t]), lambda t: t.split(2)[0], lambda t: next(iter(t)), lambda t: t.max(0).values):
            self.weight.zero_grad()
            kept = keep(self.result)
            self.assertTrue(kept.requires_grad)
            kept.sum().backward()
            self.assertGreater(sum(map(abs, self.weight.grad.tolist())), 0)
            self.result = self.weight * 2

    def test_values_of_a_graph(self):
        """What gives numbers of Python says by its name that it does."""
        self.assertEqual((self.result.tolist(), float(self.result[0]), self.result[1].item(), f"{self.result[2]:.1f}"),
                         ([2, 4, 6], 2.0, 4.0, "6.0"))
        self.assertTrue(numpy.allclose(self.result, [2, 4, 6]))
        with tinylm.no_grad():
            self.assertEqual(self.result.numpy().tolist(), [2, 4, 6])
            self.assertEqual(Tensor(self.result).tolist(), [2, 4, 6])

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_graphs_of_torch(self):
        theirs = torch.ones(2, requires_grad=True)
        for lose in (lambda: Tensor(theirs * 2), lambda: Tensor([1.0, 2.0]) + theirs, lambda: tinylm.zeros(2).copy_(theirs * 2),
                     lambda: tinylm.zeros(2).__setitem__(0, theirs[0])):
            self.assertRaisesRegex(TypeError, "detach", lose)
        self.assertEqual(Tensor(theirs).tolist(), [1, 1])

    def test_arrays_outlive_writes(self):
        array = self.result.detach().numpy()
        with self.assertRaisesRegex(RuntimeError, "shares its memory"):
            self.result[0] = self.weight[2]
        with tinylm.no_grad():
            array = self.result.numpy()
            view = self.result.memoryview()
        for _ in range(3):
            with self.assertRaisesRegex(RuntimeError, "shares its memory"):
                self.result += 1
        self.assertEqual((array.tolist(), view.tolist()), ([2, 4, 6], [2, 4, 6]))
        del array, view
        self.result += 1
        self.assertEqual(self.result.tolist(), [3, 5, 7])


class ValuesTest(unittest.TestCase):
    def test_what_a_type_does_not_hold(self):
        nothing = numpy.ma.masked_array([1.0, 2.0], [False, False])
        for values, dtype, words in (
                (1e6, "float16", "beyond float16"), ([1e39], None, "beyond float32"), (numpy.array([1e39]), None, "no float32"),
                (numpy.array([1e6], "float32"), "float16", "no float16"), ([2**24 + 1], None, "float32"),
                ([2**31], "int32", "no int32"), ([-1], "uint32", "no uint32"), ([0.5], "int64", "no int64"),
                (numpy.array([2**63], "uint64"), None, "uint64"), (numpy.array([2**63], "uint64"), "int64", "no int64"),
                (numpy.array([1, None], object), None, "object"), (numpy.array([1 + 2j]), None, "complex"),
                (numpy.array(["a"]), None, "str"), (numpy.array(["2026-01-01"], "datetime64[D]"), None, "datetime"),
                (numpy.zeros(2, [("a", "f4")]), None, "void"), (numpy.array([numpy.nan]), "int64", "no int64"),
                (numpy.ma.masked_array([1, 2], [True, False]), None, "masked"), (Frame([1, "a"]), None, "str"),
                (Frame([1, None]), None, "object"), ("12", None, "str"), (b"12", None, "bytes"), (None, None, "NoneType"),
                ({1: 2}, None, "dict"), ({1, 2}, None, "set"), ([[1], [2, 3]], None, "different shapes")):
            with self.subTest(values=values, dtype=dtype):
                self.assertRaisesRegex((TypeError, ValueError), words, Tensor, values, dtype)
        self.assertEqual(Tensor(nothing).tolist(), [1, 2])
        self.assertRaisesRegex(ValueError, "float16", Tensor([1e6]).astype, "float16")
        self.assertEqual(Tensor([-1.5]).astype("int64").tolist(), [-1])  # asked for, as in NumPy
        self.assertRaisesRegex(ValueError, "int64", Tensor([1e20]).astype, "int64")

    def test_unusual_memory(self):
        square = numpy.arange(12).reshape(3, 4)
        for array in (square.astype(">f4"), square.astype(">i8"), square.astype("float32")[::-1, ::-2], square.T.astype(">i4"),
                      numpy.asfortranarray(square, "float32"), square.astype("int16")[:, 1], numpy.broadcast_to(square[0], (2, 4)),
                      square.astype("uint64"), square.astype("longdouble"), square[:0], square.astype("?"),
                      numpy.frombuffer(b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", ">f4", 2, 1)):
            dtype = "int64" if array.dtype == "uint64" else None
            self.assertEqual(Tensor(array, dtype).tolist(), array.tolist())
            self.assertEqual(Tensor(Frame(array), dtype).tolist(), array.tolist())
        self.assertEqual((Tensor([1.0, 2.0, 3.0]) * Frame([1, 2, 3])).tolist(), [1, 4, 9])

    def test_ids(self):
        ids = numpy.arange(6, dtype=">u2")
        for array in (ids, ids[::-1], ids.astype(">i8"), ids.astype(float), Tensor(ids), Frame(ids).values):
            self.assertEqual(tinylm.Dataset(array).read(0, 6), list(map(int, array.tolist())))
        for wrong in (numpy.array([0.5]), numpy.array([-1]), numpy.array([2**32]), numpy.array(["1"]), numpy.array([1, None]),
                      numpy.ma.masked_array([1, 2], [True, False]), Tensor([0.5]), "12", [True], [1.0]):
            self.assertRaises((TypeError, ValueError), tinylm.Dataset, wrong)

    def test_texts(self):
        tokenizer = tinylm.Tokenizer.train("the cat sat. " * 9, vocab_size=262)
        want = [tokenizer.encode("the"), tokenizer.encode("cat sat")]
        for texts in (numpy.array(["the", "cat sat"]), numpy.array(["the", "cat sat"], object), numpy.array([b"the", b"cat sat"]),
                      ("the", bytearray(b"cat sat")), Strings(["the", "cat sat"]), iter(["the", "cat sat"])):
            self.assertEqual(tokenizer.encode_batch(texts), want)
        self.assertEqual(tokenizer.encode(numpy.str_("the")), want[0])
        for texts in (["the", None], ["the", float("nan")], numpy.array([1, 2]), Strings(["the", None]), "the", [["the"]], {1: "a"}):
            self.assertRaisesRegex(TypeError, "texts", tokenizer.encode_batch, texts)


if __name__ == "__main__":
    unittest.main(verbosity=1)
