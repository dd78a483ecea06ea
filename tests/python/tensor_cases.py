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
