"""Indexing of tensors beside NumPy's arrays, on random shapes and with gradients; what is refused. NumPy and
PyTorch are needed, and skipped by name without them."""

import random
import unittest

from tensor_cases import Compared, arrays, numpy, random_index, shape, torch

import tinylm
from tinylm import Tensor


class IndexTest(Compared):
    def test_like_numpy(self):
        draw = random.Random(1)
        for round_ in range(600):
            sizes = shape(draw)
            values, mine, _ = arrays(draw, *sizes)
            index = random_index(draw, sizes)
            with self.subTest(shape=sizes, index=index):
                try:
                    want = values[index]
                except IndexError:
                    self.assertRaises(IndexError, mine.__getitem__, index)
                    continue
                got = mine[index]
                self.same(got, want, 0)
                if got.size:
                    weights, total = numpy.arange(1, got.size + 1, dtype="float32").reshape(got.shape), numpy.zeros(sizes)
                    got.backward(weights)
                    numpy.add.at(total, index, weights)
                    self.same(mine.grad, total, 0)

    def test_negative_steps(self):
        draw = random.Random(2)
        for _ in range(100):
            values, mine, _ = arrays(draw, 4, 5, 3)
            index = tuple(slice(draw.choice([None, draw.randint(-7, 7)]), draw.choice([None, draw.randint(-7, 7)]),
                                draw.choice([-1, -2, -3])) for _ in range(draw.randint(1, 3)))
            self.same(mine[index], values[index], 0)
            mine[index].sum().backward()
            want = numpy.zeros_like(values)
            want[index] = 1
            self.same(mine.grad, want, 0)

    def test_masks(self):
        draw = random.Random(3)
        for _ in range(60):
            values, mine, theirs = arrays(draw, 3, 4, 2)
            mask = values > draw.uniform(-2, 2)
            self.same(mine[mask], values[mask], 0)
            self.same(mine[mine > 0], values[values > 0], 0)
            self.same(mine[mask[:, :, 0]], values[mask[:, :, 0]], 0)
            self.same(mine[:, mask[0, :, 0]], values[:, mask[0, :, 0]], 0)
            got, want = mine[torch.tensor(mask)], theirs[torch.tensor(mask)]
            self.same_gradients(got, want, (mine, theirs))
        self.assertEqual(Tensor([[1, 2], [3, 4]])[[True, False]].tolist(), [[1, 2]])

    def test_every_kind_of_index(self):
        values = numpy.arange(12, dtype="float32").reshape(3, 4)
        mine = Tensor(values)
        for index in (numpy.int64(1), Tensor(1, "int64"), torch.tensor(1), numpy.array(1)):
            self.same(mine[index], values[1], 0)
        for index in ([2, 0], range(2), numpy.array([2, 0], "uint8"), torch.tensor([2, 0]), Tensor([2, 0], "int32"), []):
            want = values[list(index) if isinstance(index, range) else numpy.asarray(index, dtype=int)]
            self.same(mine[index], want, 0)
        rows, columns = [0, 1, 2], Tensor([3, 3, 0], "int64")
        self.same(mine[rows, columns], values[rows, [3, 3, 0]], 0)
        for wrong in ("a", 1.5, True, {1}, object(), b"0"):
            with self.assertRaisesRegex(TypeError, "index"):
                mine[wrong]
        for wrong in (3, -4, (0, 4), (0, 0, 0), [3], (Ellipsis, Ellipsis), numpy.array([0.5]), ([0, 1], [0, 1, 2]),
                      numpy.array([True, False])):
            with self.assertRaises(IndexError):
                mine[wrong]

    def test_length_and_iteration(self):
        mine = Tensor([[1, 2], [3, 4], [5, 6]], requires_grad=True)
        self.assertEqual(len(mine), 3)
        self.assertEqual([row.tolist() for row in mine], [[1, 2], [3, 4], [5, 6]])
        a, b, c = mine
        (a * c).sum().backward()
        self.assertEqual(mine.grad.tolist(), [[5, 6], [0, 0], [1, 2]])
        self.assertTrue(3 in mine and 7 not in mine)
        for fail in (len, list):
            with self.assertRaisesRegex(TypeError, "dimensions"):
                fail(Tensor(1.0))


if __name__ == "__main__":
    unittest.main(verbosity=1)
