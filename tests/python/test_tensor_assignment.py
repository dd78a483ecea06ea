"""tensor[index] = values beside NumPy and PyTorch, with and without a graph; what is refused. Both are needed, and skipped
by name without them."""

import random
import unittest

from tensor_cases import Compared, arrays, numpy, random_index, shape, torch

import tinylm
from tinylm import Tensor


class AssignmentTest(Compared):
    def values_for(self, draw, want):
        """Values that broadcast to the shape of an array: some dimensions of size 1, or less of them."""
        sizes = [n if draw.random() < 0.7 else 1 for n in want.shape][draw.randint(0, want.ndim):]
        return arrays(draw, *sizes)

    def test_memory(self):
        draw = random.Random(1)
        for _ in range(500):
            sizes = shape(draw)
            values, mine, _ = arrays(draw, *sizes)
            mine, index = mine.detach(), random_index(draw, sizes)
            if draw.random() < 0.3 and sizes:
                index = (slice(None, None, -draw.randint(1, 2)), *index[1:])
            elif draw.random() < 0.3:
                index = values > draw.uniform(-2, 2)
            with self.subTest(shape=sizes, index=index):
                try:
                    selected = values[index]
                except IndexError:
                    self.assertRaises(IndexError, mine.__setitem__, index, 0)
                    continue
                new = self.values_for(draw, selected)[0] if not isinstance(index, numpy.ndarray) else numpy.float32(7)
                seen, array = mine.reshape(-1), mine.numpy()
                values[index] = new
                mine[index] = draw.choice([new, Tensor(new), new.tolist() if new.size else new])
                self.same(mine, values, 1e-6)
                self.same(seen, values.reshape(-1), 1e-6)  # a view
                numpy.testing.assert_allclose(array, values, 1e-6)

    def test_graph(self):
        draw = random.Random(2)
        for _ in range(300):
            sizes = shape(draw)
            pairs = [arrays(draw, *sizes)[1:]]
            got, want = pairs[0][0] * 1.5, pairs[0][1] * 1.5
            if draw.random() < 0.3:
                got, want = tinylm.zeros(*sizes) if sizes else Tensor(0.0), torch.zeros(sizes)
            for _ in range(draw.randint(1, 3)):
                index = random_index(draw, sizes)
                if draw.random() < 0.4:
                    index = numpy.asarray(got.detach().numpy() > draw.uniform(-1, 1))
                places = numpy.arange(got.size).reshape(sizes)
                try:
                    selected = places[index]
                except IndexError:
                    continue
                if selected.size == 0 or numpy.unique(selected).size != selected.size:
                    continue  # of places that occur twice, it is not defined in PyTorch which value counts
                theirs = torch.tensor(index) if isinstance(index, numpy.ndarray) else tuple(
                    torch.tensor(part) if isinstance(part, numpy.ndarray) else part for part in index)
                if isinstance(index, numpy.ndarray):
                    values = arrays(draw)
                else:
                    values = self.values_for(draw, selected)
                pairs.append(values[1:])
                got[index] = values[1] * 2
                want[theirs] = values[2] * 2
            self.same(got, want)
            if got.requires_grad:
                self.same_gradients(got, want, *pairs)

    def test_of_equal_places_the_last_counts(self):
        weight, values = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0, 5.0], requires_grad=True)
        twice = weight * 2
        twice[[0, 0, -2]] = values
        self.assertEqual(twice.tolist(), [5, 4])
        twice.sum().backward()
        self.assertEqual((weight.grad.tolist(), values.grad.tolist()), ([0, 2], [0, 0, 1]))

    def test_other_types(self):
        for dtype in ("int32", "int64", "uint32", "bool", "float16", "bfloat16"):
            ids = Tensor([[1, 0], [1, 1]], dtype)
            ids[ids == 0] = 1
            ids[[0], ::-1] = [[1, 0]]
            self.assertEqual(ids.tolist(), [[0, 1], [1, 1]])
        ids = Tensor([1, 2], "int64")
        for wrong, kind in ((1.5, ValueError), (1e300, ValueError), ("a", TypeError), (None, TypeError), ([1, 2, 3], ValueError)):
            self.assertRaises(kind, ids.__setitem__, [0, 1], wrong)
            self.assertRaises(kind, ids.__setitem__, slice(None), wrong)
        self.assertEqual(ids.tolist(), [1, 2])
        weight = Tensor([1.5, 2.0], requires_grad=True)
        with self.assertRaisesRegex(TypeError, "int64 cannot take values with a graph: use values.detach"):
            ids[0] = weight[1]
        self.assertRaisesRegex(ValueError, "not whole numbers", ids.__setitem__, 0, weight.detach())
        self.assertRaisesRegex(ValueError, "not whole numbers", ids.__setitem__, [0], weight.detach()[0])
        ids[0] = weight.detach()[1]
        self.assertEqual(ids.tolist(), [2, 2])

    def test_graph_of_a_loop(self):
        """As an RNN keeps its states: rows one by one, each of the row before."""
        weight, theirs = Tensor([[0.5, -1], [2, 0.25]], requires_grad=True), torch.tensor([[0.5, -1], [2, 0.25]], requires_grad=True)
        states, want = tinylm.ones(5, 2), torch.ones(5, 2)
        for t in range(1, 5):
            states[t] = (states.clone()[t - 1] @ weight).tanh()
            want[t] = (want.clone()[t - 1] @ theirs).tanh()
        self.same(states, want)
        self.same_gradients(states, want, (weight, theirs))

    def test_what_would_be_lost_is_refused(self):
        weight = Tensor([1.0, 2.0], requires_grad=True)
        for write in (lambda: weight.__setitem__(0, 1), lambda: weight.fill_(1), lambda: weight.add_(1),
                      lambda: weight.__setitem__([0], weight[1]), lambda: weight.copy_(weight * 2)):
            self.assertRaisesRegex(RuntimeError, "no_grad", write)
        with tinylm.no_grad():
            weight[[0]] = 5
        self.assertEqual((weight.tolist(), weight.requires_grad), ([5.0, 2.0], True))
        rows = Tensor([[1.0, 2.0]], requires_grad=True) * 1
        shared = Tensor.from_buffer(numpy.zeros(2, "float32"))
        lent = tinylm.zeros(2)
        torch.from_dlpack(lent)
        array = tinylm.zeros(2)
        kept = array.numpy()
        for write in (lambda: rows[0].__setitem__(0, 1), lambda: shared.__setitem__(0, weight[0]),
                      lambda: lent.__setitem__(0, weight[0]), lambda: array.__setitem__([1], weight[0])):
            self.assertRaisesRegex(RuntimeError, "shares its memory.*clone", write)
        self.assertEqual((rows.tolist(), kept.tolist()), ([[1, 2]], [0, 0]))
        del kept
        array[[1]] = weight[0]  # nobody shares it any more
        self.assertEqual(array.tolist(), [0, 5])
        rows[0, 0] = 9
        rows += 1
        self.assertEqual(rows.tolist(), [[10, 3]])
        with tinylm.no_grad():
            rows[0][0] = 4
        self.assertEqual(rows.tolist(), [[4, 3]])


if __name__ == "__main__":
    unittest.main(verbosity=1)
