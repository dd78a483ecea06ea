"""Indexing of tensors beside NumPy's arrays, on random shapes and with gradients; assignment; what is refused. NumPy and
PyTorch are needed, and skipped by name without them."""

import math
import random
import unittest

from tensor_cases import Compared, arrays, numpy, shape, torch

import tinylm
from tinylm import Tensor


class IndexTest(Compared):
    def random_index(self, draw, sizes):
        index, at, arrays_left = [], 0, draw.randint(0, 2)
        common = draw.choice([[3], [2, 3], [1]])
        while at < len(sizes):
            n, kind = sizes[at], draw.randrange(9)
            if kind < 3:
                start, stop = (draw.choice([None, draw.randint(-n - 2, n + 2)]) for _ in range(2))
                index.append(slice(start, stop, draw.choice([None, 1, 2, 3])))
            elif kind == 3:
                index.append(draw.randrange(-n, n))
            elif kind == 4 and arrays_left:
                arrays_left -= 1
                own = [size if draw.random() < 0.7 else 1 for size in common]
                index.append(numpy.asarray([draw.randrange(-n, n) for _ in range(math.prod(own))]).reshape(own))
            elif kind == 5:
                index.append(None)
                continue
            elif kind == 6 and not any(item is Ellipsis for item in index):
                index.append(Ellipsis)
                at += draw.randint(0, len(sizes) - at - 1)
                break
            else:
                index.append(slice(None))
            at += 1
        return tuple(index)

    def test_like_numpy(self):
        draw = random.Random(1)
        for round_ in range(600):
            sizes = shape(draw)
            values, mine, _ = arrays(draw, *sizes)
            index = self.random_index(draw, sizes)
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

    def test_assignment(self):
        draw = random.Random(4)
        for _ in range(60):
            values, mine, _ = arrays(draw, 3, 4, 5)
            mine = mine.detach()
            index = tuple(draw.choice([draw.randrange(-3, 3), slice(draw.randint(0, 3), None, draw.choice([1, 2])),
                                       Ellipsis if i == 0 else slice(None)]) for i in range(draw.randint(1, 3)))
            want = values.copy()
            row = numpy.float32([1, 2, 3, 4, 5])[:want[index].shape[-1]] if want[index].ndim else 7.0
            want[index] = row
            mine[index] = row
            self.same(mine, want, 0)
        ids = Tensor([[1, 2], [3, 4]], "int64")
        ids[:, 1] = 9
        self.assertEqual(ids.tolist(), [[1, 9], [3, 9]])
        weight = Tensor([1.0, 2.0], requires_grad=True)
        with self.assertRaisesRegex(RuntimeError, "no_grad"):
            weight[0] = 1
        with tinylm.no_grad():
            weight[0] = 5
        self.assertEqual(weight.tolist(), [5.0, 2.0])
        with self.assertRaisesRegex(RuntimeError, "cut the values off"):
            tinylm.zeros(2)[0] = weight[1]
        with self.assertRaisesRegex(RuntimeError, "result of an op"):
            (weight * 2)[0] = 1
        with self.assertRaisesRegex(NotImplementedError, "where"):
            ids[ids > 1] = 0
        with self.assertRaises(ValueError):
            ids[0] = [1, 2, 3]

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
