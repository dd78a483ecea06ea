"""Tensors: making them, memory shared through buffers and DLPack, ops, custom ops."""

import array
import gc
import math
import sys
import unittest

import peers

numpy, torch = peers.find("numpy", "torch")

import tinylm  # noqa: E402
from tinylm import _memory, _words, custom  # noqa: E402
from binding_cases import setUpModule  # noqa: E402, F401


class TensorTest(unittest.TestCase):
    def test_lists(self):
        for values in [2.5, [1.0, 2.0], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [], [[], []],
                       [[[1.0], [2.0]], [[3.0], [4.0]]]]:
            with self.subTest(values=values):
                self.assertEqual(tinylm.Tensor(values).tolist(), values)
        self.assertEqual(tinylm.Tensor([[1, 2], [3, 4]], tinylm.INT64).tolist(), [[1, 2], [3, 4]])
        self.assertEqual(tinylm.Tensor([[1.0], [2.0]]).shape, (2, 1))
        with self.assertRaises(ValueError):
            tinylm.Tensor([[1.0], [2.0, 3.0]])

    def test_operations(self):
        a = tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]])
        b = tinylm.Tensor([[0.0, 1.0], [1.0, 0.0]])
        self.assertEqual((a @ b).tolist(), [[2.0, 1.0], [4.0, 3.0]])
        self.assertEqual((a + b).tolist(), [[1.0, 3.0], [4.0, 4.0]])
        self.assertEqual((a * b).sum().tolist(), 5.0)
        self.assertEqual((b - a).relu().tolist(), [[0.0, 0.0], [0.0, 0.0]])
        self.assertEqual((b / a).tolist()[0], [0.0, 0.5])
        self.assertEqual(a.sqrt().transpose(0, 1).reshape(-1).tolist()[3], 2.0)
        for name in ("exp", "log", "tanh"):
            self.assertAlmostEqual(getattr(a, name)().tolist()[0][1], getattr(math, name)(2.0), 6)
        with self.assertRaises(tinylm.Error) as caught:
            a @ tinylm.Tensor([[1.0, 2.0, 3.0]])
        self.assertEqual(caught.exception.status, "TLM_ERR_SHAPE")

    def test_gradient(self):
        x = tinylm.Tensor([1.0, -2.0, 4.0, 0.0], requires_grad=True)
        self.assertIsNone(x.grad)
        (x * x).mean().backward()
        self.assertEqual(x.grad.tolist(), [0.5, -1.0, 2.0, 0.0])

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_numpy(self):
        array = numpy.arange(24, dtype=numpy.float64).reshape(2, 3, 4)
        for values in [array, array.transpose(2, 0, 1), array[:, ::2], numpy.zeros((0, 3))]:
            numpy.testing.assert_array_equal(tinylm.Tensor(values).numpy(), values)
        self.assertEqual(tinylm.Tensor(array).numpy().dtype, numpy.float32)
        ids = numpy.array([[1, 2], [3, 4]])
        self.assertEqual(tinylm.Tensor(ids, tinylm.UINT32).tolist(), ids.tolist())


    def test_more_operations(self):
        a = tinylm.Tensor([[1.0, 5.0, 3.0], [6.0, 2.0, 4.0]])
        self.assertEqual((2 * a - 1).tolist(), [[1.0, 9.0, 5.0], [11.0, 3.0, 7.0]])
        self.assertEqual((1 - a).tolist(), (-(a - 1)).tolist())
        self.assertEqual((1 / a).tolist(), (tinylm.Tensor(1.0) / a).tolist())
        self.assertEqual((1 + a).tolist(), (a + 1.0).tolist())
        self.assertEqual(a.sum(0).tolist(), [7.0, 7.0, 7.0])
        self.assertEqual(a.mean(1, keep_dim=True).tolist(), [[3.0], [4.0]])
        values, places = a.max(1)
        self.assertEqual((values.tolist(), places.tolist()), ([5.0, 6.0], [1, 0]))
        self.assertEqual(a.slice(1, 1, 3).contiguous().tolist(), [[5.0, 3.0], [2.0, 4.0]])
        self.assertEqual(a.slice(1, 1, 3).strides, (3, 1))
        self.assertEqual(tinylm.concat([a, a], 1).shape, (2, 6))
        where = tinylm.where(tinylm.Tensor([[True, False, True]], tinylm.BOOL), a, tinylm.Tensor(0.0))
        self.assertEqual(where.tolist(), [[1.0, 0.0, 3.0], [6.0, 0.0, 4.0]])
        self.assertEqual(a.sum().item(), 21.0)
        with self.assertRaises(ValueError):
            a.item()
        a.copy_([[0.0] * 3] * 2)
        self.assertEqual(a.sum().item(), 0.0)
        with self.assertRaises(ValueError):
            a.copy_([0.0] * 6)
        tinylm.init_truncated_normal(a, 0.1, seed=3)
        self.assertTrue(0 < max(max(abs(x) for x in row) for row in a.tolist()) <= 0.3 + 1e-6)

    def test_recording(self):
        a = tinylm.Tensor([1.0, 2.0], requires_grad=True)
        with tinylm.no_grad():
            self.assertFalse((a * a).requires_grad)
        b = a * a
        self.assertTrue(b.requires_grad)
        self.assertFalse(b.detach().requires_grad)
        b.sum().backward()
        self.assertEqual(a.grad.tolist(), [2.0, 4.0])
        a.zero_grad()
        self.assertIsNone(a.grad)
        a.requires_grad = False
        self.assertFalse(a.requires_grad)

    def test_layers(self):
        """Names and arguments; test_torch_ops.py has the values."""
        x, w = tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]]), tinylm.Tensor([[1.0, 0.0], [0.0, 2.0]])
        self.assertEqual(tinylm.linear(x, w).tolist(), [[1.0, 4.0], [3.0, 8.0]])
        self.assertEqual(tinylm.embedding(x, tinylm.Tensor([1, 0], tinylm.INT32)).tolist(), x.tolist()[::-1])
        self.assertEqual(tinylm.rms_norm(x, tinylm.Tensor([1.0, 1.0])).shape, (2, 2))
        self.assertEqual(tinylm.silu_mul(x, x).tolist(), (x.silu() * x).tolist())
        self.assertEqual(tinylm.swiglu(x, w, w, w).shape, (2, 2))
        self.assertEqual(tinylm.rope(x).tolist()[0], [1.0, 2.0])
        moved = tinylm.rope(x, tinylm.Tensor([0, 0], tinylm.INT64), theta=100.0)
        self.assertEqual(moved.tolist(), x.tolist())
        self.assertAlmostEqual(sum(tinylm.softmax(x).tolist()[1]), 1.0, places=6)
        self.assertEqual(tinylm.attention(x, x, x, causal=True).tolist()[0], [1.0, 2.0])
        mask = tinylm.Tensor([[False, True], [True, False]], tinylm.BOOL)
        self.assertEqual(tinylm.attention(x, x, x, mask).tolist(), x.tolist()[::-1])
        self.assertEqual(tinylm.multi_head_attention(x, w, w, w, w, 1, rope_theta=100.0).shape, (2, 2))
        loss = tinylm.cross_entropy(x, tinylm.Tensor([1, 0], tinylm.INT64)).item()
        self.assertAlmostEqual(loss, (math.log(1 + math.e) + math.log(1 + 1 / math.e)) / 2, places=6)


class BufferTest(unittest.TestCase):
    """Memory shared through Python's buffers."""

    def test_from_buffer(self):
        numbers = array.array("f", [1.0, 2.0, 3.0, 4.0])
        tensor = tinylm.Tensor.from_buffer(memoryview(numbers).cast("B").cast("f", [2, 2]))
        numbers[3] = 5.0
        self.assertEqual(tensor.tolist(), [[1.0, 2.0], [3.0, 5.0]])
        with self.assertRaises(BufferError):  # it is in use
            numbers.append(1.0)
        view = tensor.transpose(0, 1)
        del tensor
        gc.collect()
        self.assertEqual(view.tolist(), [[1.0, 3.0], [2.0, 5.0]])
        del view
        gc.collect()
        numbers.append(1.0)
        self.assertEqual(_memory._buffers, {})
        for code, dtype in [("i", tinylm.INT32), ("q", tinylm.INT64), ("I", tinylm.UINT32)]:
            tensor = tinylm.Tensor.from_buffer(array.array(code, [1, 2]))
            self.assertEqual((tensor.dtype, tensor.tolist()), (dtype, [1, 2]))
        self.assertEqual(tinylm.Tensor.from_buffer(array.array("f")).shape, (0,))

    def test_refusals(self):
        for buffer in (array.array("d", [1.0]), bytearray(4), "text"):
            with self.assertRaises(TypeError):
                tinylm.Tensor.from_buffer(buffer)
        for buffer in (memoryview(array.array("f", [1.0] * 4))[::2],
                       memoryview(array.array("f", [1.0])).toreadonly()):
            with self.assertRaises(BufferError):
                tinylm.Tensor.from_buffer(buffer)
        self.assertEqual(_memory._buffers, {})

    def test_memoryview(self):
        tensor = tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]])
        view = tensor.memoryview()
        self.assertEqual((view.tolist(), view.format), ([[1.0, 2.0], [3.0, 4.0]], "f"))
        view[1, 1] = 9.0
        self.assertEqual(tensor.tolist()[1][1], 9.0)
        with self.assertRaises(BufferError):
            tensor.transpose(0, 1).memoryview()
        del tensor
        gc.collect()
        self.assertEqual(view[0, 1], 2.0)
        self.assertEqual(tinylm.Tensor([]).memoryview().tolist(), [])
        self.assertEqual(tinylm.Tensor([1, 2], tinylm.INT64).memoryview().tolist(), [1, 2])

    def test_16_bits(self):
        values = [1.0, -2.5, 0.15625, float("inf")]
        for dtype in (tinylm.BFLOAT16, tinylm.FLOAT16):
            tensor = tinylm.Tensor(values, dtype)
            self.assertEqual((tensor.tolist(), tensor.dtype), (values, dtype))
            self.assertEqual(((tensor + tensor).dtype, (tensor + tensor).tolist()), ("float32", [2 * x for x in values]))
        self.assertEqual(tinylm.Tensor([1.00390625, 1.01171875], tinylm.BFLOAT16).tolist(), [1.0, 1.015625])

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_numpy(self):
        for dtype, name in _words._NUMPY_NAMES.items():
            tensor = tinylm.Tensor([[1, 0, 1], [0, 0, 1]], dtype)
            for shared in (tensor, tensor.transpose(0, 1)):
                got = numpy.asarray(shared)
                self.assertEqual((got.dtype.name, got.tolist()), (name, shared.tolist()))
            got[2, 0] = 0
            self.assertEqual(tensor.tolist()[0][2], 0)
        del tensor, shared
        gc.collect()
        self.assertEqual(got[2, 1], 1)
        values = numpy.arange(6, dtype="float32").reshape(2, 3)
        tensor = tinylm.Tensor.from_buffer(values)
        values[1, 2] = 7
        self.assertEqual(tensor.tolist(), values.tolist())


class CustomOpTest(unittest.TestCase):
    def square(self, x, backward=None, name="square"):
        result = tinylm.Tensor([v * v for v in x.tolist()])
        return tinylm.custom_op(result, [x], backward or (lambda dy: [(x * dy).scale(2.0)]), name)

    def test_gradient(self):
        x = tinylm.Tensor([1.0, -2.0, 4.0], requires_grad=True)
        y = self.square(x)
        self.assertEqual(y.tolist(), [1.0, 4.0, 16.0])
        (y * x).sum().backward()  # x^3
        self.assertEqual(x.grad.tolist(), [3.0, 12.0, 48.0])
        self.assertEqual(custom._backwards, {})

    def test_two_inputs(self):
        a = tinylm.Tensor([1.0, 2.0], requires_grad=True)
        b = tinylm.Tensor([3.0, 5.0])
        tinylm.custom_op(a - b, [a, b], lambda dy: [dy, None]).sum().backward()
        self.assertEqual(a.grad.tolist(), [1.0, 1.0])
        self.assertIsNone(b.grad)

    def test_graph_never_walked(self):
        x = tinylm.Tensor([1.0], requires_grad=True)
        y = self.square(x)
        self.assertEqual(len(custom._backwards), 1)
        del y
        self.assertEqual(custom._backwards, {})
        self.square(tinylm.Tensor([1.0]))  # nothing is recorded
        self.assertEqual(custom._backwards, {})

    def test_errors(self):
        x = tinylm.Tensor([1.0, 2.0], requires_grad=True)
        with self.assertRaises(ZeroDivisionError):
            self.square(x, lambda dy: 1 / 0).sum().backward()
        with self.assertRaisesRegex(ValueError, "2 gradients for 1 inputs"):
            self.square(x, lambda dy: [dy, dy]).sum().backward()
        with self.assertRaisesRegex(tinylm.Error, r"square: gradient \(\) for input 0 of shape \(2\)"):
            self.square(x, lambda dy: [dy.sum()]).sum().backward()
        with self.assertRaisesRegex(tinylm.Error, "result has type int32"):
            tinylm.custom_op(tinylm.Tensor([1], tinylm.INT32), [x], lambda gradient: [None])
        self.assertIsNone(x.grad)
        self.assertEqual(custom._backwards, {})

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_with_numpy(self):
        """The sines of numpy, in the middle of a graph."""
        x = tinylm.Tensor([0.5, 1.0, 2.0], requires_grad=True)
        angles = numpy.from_dlpack(x.detach())
        sines = tinylm.Tensor.from_dlpack(numpy.sin(angles))
        y = tinylm.custom_op(sines, [x], lambda dy: [
            tinylm.Tensor.from_dlpack(numpy.from_dlpack(dy) * numpy.cos(angles))], name="sin")
        (y * y).sum().backward()
        numpy.testing.assert_allclose(x.grad.numpy(), numpy.sin(2 * angles), rtol=1e-6)


class DLPackTest(unittest.TestCase):
    """One memory on both sides: what is written through one is read through the other."""

    def test_round_trip(self):
        tensor = tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]])
        again = tinylm.Tensor.from_dlpack(tensor)
        del tensor
        gc.collect()
        self.assertEqual(again.tolist(), [[1.0, 2.0], [3.0, 4.0]])
        self.assertEqual(again.__dlpack_device__(), (1, 0))
        capsule = again.__dlpack__()
        self.assertIn('"dltensor"', repr(capsule))
        del capsule  # unused: its destructor calls the deleter
        for arguments in [{"stream": 1}, {"dl_device": (2, 0)}]:
            with self.assertRaises(BufferError):
                again.__dlpack__(**arguments)

    def test_one_capsule_serves_once(self):
        class Once:
            def __init__(self, capsule):
                self.capsule = capsule

            def __dlpack__(self):
                return self.capsule

        once = Once(tinylm.Tensor([1.0]).__dlpack__())
        self.assertEqual(tinylm.Tensor.from_dlpack(once).tolist(), [1.0])
        with self.assertRaises(ValueError):
            tinylm.Tensor.from_dlpack(once)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_from_numpy(self):
        array = numpy.arange(24, dtype=numpy.float32).reshape(2, 3, 4)
        for values in [array, array.transpose(2, 0, 1), array[:, ::2], array[1:, 1:, 2:],
                       numpy.zeros((0, 3), dtype=numpy.float32), array[0, 0, 0:1].reshape(())]:
            with self.subTest(shape=values.shape, strides=values.strides):
                tensor = tinylm.Tensor.from_dlpack(values)
                numpy.testing.assert_array_equal(tensor.numpy(), values)
                values += 1
                numpy.testing.assert_array_equal(tensor.numpy(), values)
        for name in ("int32", "int64", "uint32"):
            ids = numpy.array([[1, 2], [3, 4]], dtype=name)
            self.assertEqual(_words._NUMPY_NAMES[tinylm.Tensor.from_dlpack(ids).dtype], name)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_from_numpy_refusals(self):
        array = numpy.arange(6, dtype=numpy.float32)
        with self.assertRaisesRegex(BufferError, "stride -1 of dimension 0 is negative: Tensor.array. copies it"):
            tinylm.Tensor.from_dlpack(array[::-1])
        with self.assertRaisesRegex(tinylm.Error, "type code 2 of 64 bits"):
            tinylm.Tensor.from_dlpack(array.astype(numpy.float64))
        array.flags.writeable = False
        with self.assertRaises(BufferError):  # numpy's own: DLPack could not say so
            tinylm.Tensor.from_dlpack(array)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_numpy_memory_lives_as_long_as_the_tensor(self):
        array = numpy.full(1000, 7.0, dtype=numpy.float32)
        before = sys.getrefcount(array)
        tensor = tinylm.Tensor.from_dlpack(array)
        self.assertEqual(sys.getrefcount(array), before + 1)
        product = tensor * tensor
        del tensor
        gc.collect()
        self.assertEqual(sys.getrefcount(array), before)
        self.assertEqual(product.sum().tolist(), 49000.0)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_to_numpy(self):
        for dtype in (tinylm.FLOAT32, tinylm.INT32, tinylm.INT64, tinylm.UINT32):
            tensor = tinylm.Tensor([[1, 2], [3, 4]], dtype)
            view = numpy.from_dlpack(tensor)
            self.assertEqual(view.dtype.name, _words._NUMPY_NAMES[dtype])
            mutable = tinylm.Tensor.from_dlpack(tensor)
            self.assertEqual(view.tolist(), tensor.tolist())
            del tensor
            gc.collect()
            self.assertEqual(view.tolist(), mutable.tolist())
        self.assertEqual(numpy.from_dlpack(tinylm.Tensor([[], []])).shape, (2, 0))

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_torch(self):
        for dtype, name in [(tinylm.FLOAT32, torch.float32), (tinylm.INT32, torch.int32),
                            (tinylm.INT64, torch.int64), (tinylm.BOOL, torch.bool)]:
            with self.subTest(dtype=name):
                tensor = tinylm.Tensor([[1, 0], [1, 1]], dtype)
                view = torch.from_dlpack(tensor)
                self.assertEqual(view.dtype, name)
                view[0, 1] = 1
                self.assertEqual(tensor.tolist(), [[1, 1], [1, 1]])
                copy = torch.from_dlpack(tensor, copy=True)
                copy[0, 0] = 0
                self.assertEqual(tensor.tolist(), [[1, 1], [1, 1]])
                del tensor
                gc.collect()
                self.assertEqual(view.tolist(), [[1, 1], [1, 1]])
        source = torch.arange(12, dtype=torch.float32).reshape(3, 4).t()[1:]
        tensor = tinylm.Tensor.from_dlpack(source)
        source[0, 0] = -1
        self.assertEqual(tensor.tolist(), source.tolist())
        self.assertEqual(tinylm.Tensor.from_dlpack(torch.tensor([True, False])).tolist(),
                         [True, False])
        with self.assertRaisesRegex(tinylm.Error, "type code 5 of 64 bits"):
            tinylm.Tensor.from_dlpack(torch.zeros(2, dtype=torch.complex64))

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_torch_writes_to_parameters(self):
        model = tinylm.Model.create(vocab_size=50, context_length=16, d_model=16, num_layers=1,
                                    num_heads=2)
        parameters = model.parameters()
        before = model.forward([1, 2]).tolist()
        torch.from_dlpack(parameters["lm_head.weight"].detach()).mul_(2.0)
        after = model.forward([1, 2]).tolist()
        self.assertEqual([x * 2 for x in before[0][1]], after[0][1])


if __name__ == "__main__":
    unittest.main()
