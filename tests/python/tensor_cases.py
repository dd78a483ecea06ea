"""What the tests of tensors share: the same numbers here, in NumPy and in PyTorch, and comparisons of the three."""

import math
import unittest

import peers

numpy = peers.require("numpy")
torch = peers.require("torch")

from tinylm import Tensor  # noqa: E402


def arrays(draw, *shape):
    """The same numbers as an array, a Tensor and a torch.Tensor, both with gradients."""
    values = numpy.asarray([draw.uniform(-2, 2) for _ in range(math.prod(shape))], "float32").reshape(shape)
    return values, Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)


def shape(draw, most=4):
    return [draw.choice([1, 2, 3, 5]) for _ in range(draw.randint(0, most))]


def random_index(draw, sizes):
    """Whole numbers, slices, None, ... and up to two arrays of whole numbers."""
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


class Compared(unittest.TestCase):
    def same(self, got, want, tolerance=1e-5):
        want = want.detach().numpy() if isinstance(want, torch.Tensor) else numpy.asarray(want)
        self.assertIsInstance(got, Tensor)
        self.assertEqual(got.shape, want.shape)
        numpy.testing.assert_allclose(got.detach().numpy(), want, rtol=tolerance, atol=tolerance)

    def same_gradients(self, got, want, *pairs):
        """Back from weights of 1, 2, 3 ..., so that places count."""
        if got.size == 0:
            return
        weights = numpy.arange(1, got.size + 1, dtype="float32").reshape(got.shape)
        got.backward(weights)
        want.backward(torch.tensor(weights))
        for mine, theirs in pairs:
            if theirs.grad is not None:
                self.same(mine.grad, theirs.grad, 1e-4)
