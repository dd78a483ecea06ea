"""AdamW beside torch.optim.AdamW, over runs whose steps, decay and epsilon tell the variants apart, Muon and Adafactor
beside torch.optim's, and Lion beside its paper's formula. Skipped without torch."""

import unittest

import peers

torch = peers.require("torch")
import torch.overrides  # noqa: E402

import tinylm  # noqa: E402

STEPS = 40
CASES = [  # learning rate, betas, eps, weight decay
    (1e-2, (0.9, 0.999), 1e-8, 0.01), (0.1, (0.9, 0.95), 1e-8, 0.1), (0.1, (0.5, 0.9), 0.1, 0.5),
    (1e-2, (0.0, 0.0), 1e-3, 0.0), (1e-3, (0.9, 0.9999999), 1e-8, 0.3)]


def gradients(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class AdamWTest(unittest.TestCase):
    def theirs(self, dtype, rate, betas, eps, decay):
        p = torch.nn.Parameter(gradients((37, 5), 99).to(dtype))
        optimizer = torch.optim.AdamW([p], lr=rate, betas=betas, eps=eps, weight_decay=decay)
        for step in range(STEPS):
            p.grad = gradients((37, 5), step).to(dtype)
            optimizer.step()
        return p.detach().double()

    def ours(self, variant, rate, betas, eps, decay):
        p, m, v = (tinylm.Tensor(values.tolist()) for values in
                   (gradients((37, 5), 99), torch.zeros(37, 5), torch.zeros(37, 5)))
        for step in range(STEPS):
            tinylm.adamw_update([p], [m], [v], [tinylm.Tensor(gradients((37, 5), step).tolist())], step + 1,
                                learning_rate=rate, beta1=betas[0], beta2=betas[1], eps=eps,
                                weight_decay=decay, variant=variant)
        return torch.tensor(p.tolist(), dtype=torch.float64)

    def test_pytorchs_variant_is_theirs(self):
        for case in CASES:
            with self.subTest(case):
                exact = self.theirs(torch.float64, *case)
                largest = exact.abs().max()
                ours = (self.ours("pytorch", *case) - exact).abs().max() / largest
                # As near to the exact run as PyTorch's own of float32, within a factor and a few roundings.
                theirs = (self.theirs(torch.float32, *case) - exact).abs().max() / largest
                self.assertLess(ours, 3 * theirs + 3e-6)

    def test_the_others_are_not(self):
        case = CASES[2]
        exact = self.theirs(torch.float64, *case)
        for variant in ("cs336_2025", "cs336_2026"):
            self.assertGreater((self.ours(variant, *case) - exact).abs().max() / exact.abs().max(), 1e-2)


class InFloat64(torch.overrides.TorchFunctionMode):
    """torch.optim.Muon computes its iteration in bfloat16, whatever the matrix is: here in float64."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.bfloat16:
            return args[0].double().clone()  # theirs is divided in place
        return function(*args, **(kwargs or {}))


SHAPES = [(64, 64), (96, 40), (40, 96), (1, 30), (30, 1), (128, 50)]
SETTINGS = [  # learning rate, weight decay, momentum, nesterov, steps of the iteration, scale
    (0.02, 0.1, 0.95, True, 5, "jordan"), (0.02, 0.1, 0.95, True, 5, "moonlight"),
    (0.05, 0.0, 0.5, False, 3, "jordan"), (0.001, 0.5, 0.9, False, 7, "moonlight"),
    (0.1, 0.3, 0.0, True, 1, "jordan")]


@unittest.skipUnless(hasattr(torch.optim, "Muon"), "this torch has no Muon")
class MuonTest(unittest.TestCase):
    def theirs(self, shape, rate, decay, momentum, nesterov, iterations, scale):
        p = torch.nn.Parameter(gradients(shape, 99).double())
        adjust = {"jordan": "original", "moonlight": "match_rms_adamw"}[scale]
        optimizer = torch.optim.Muon([p], lr=rate, weight_decay=decay, momentum=momentum, nesterov=nesterov,
                                     ns_steps=iterations, adjust_lr_fn=adjust)
        for step in range(8):
            p.grad = gradients(shape, step).double()
            with InFloat64():
                optimizer.step()
        return p.detach()

    def ours(self, shape, rate, decay, momentum, nesterov, iterations, scale):
        p = tinylm.Tensor(gradients(shape, 99).tolist())
        p.requires_grad = True
        optimizer = tinylm.Muon([p], learning_rate=rate, weight_decay=decay, momentum=momentum,
                                nesterov=nesterov, iterations=iterations, scale=scale)
        for step in range(8):
            optimizer.zero_grad()
            (p * tinylm.Tensor(gradients(shape, step).tolist())).sum().backward()
            optimizer.step()
        return torch.tensor(p.tolist(), dtype=torch.float64)

    def test_updates_are_theirs(self):
        for shape in SHAPES:
            for setting in SETTINGS:
                with self.subTest((shape, setting)):
                    exact = self.theirs(shape, *setting)
                    error = (self.ours(shape, *setting) - exact).abs().max() / exact.abs().max()
                    self.assertLess(error, 2e-6)


def run(optimizer, p, shape, steps=15):
    """Our parameter after some steps."""
    for step in range(steps):
        optimizer.zero_grad()
        (p * tinylm.Tensor(gradients(shape, step).tolist())).sum().backward()
        optimizer.step()
    return torch.tensor(p.tolist(), dtype=torch.float64)


def parameter(shape):
    p = tinylm.Tensor(gradients(shape, 99).tolist())
    p.requires_grad = True
    return p


@unittest.skipUnless(hasattr(torch.optim, "Adafactor"), "this torch has no Adafactor")
class AdafactorTest(unittest.TestCase):
    SETTINGS = [  # learning rate, power, (eps, min_rms), threshold, weight decay
        (0.01, 0.8, (1.1920928955078125e-07, 1e-3), 1.0, 0.0), (0.5, 0.8, (1e-4, 1e-3), 1.0, 0.1),
        (0.05, 0.5, (1e-3, 5.0), 1.5, 0.5)]

    def test_updates_are_theirs(self):
        for shape in [*SHAPES, (50,), (5000,), (3, 20, 7)]:
            for rate, power, eps, threshold, decay in self.SETTINGS:
                with self.subTest((shape, rate)):
                    q = torch.nn.Parameter(gradients(shape, 99).double())
                    theirs = torch.optim.Adafactor([q], lr=rate, beta2_decay=-power, eps=eps, d=threshold,
                                                   weight_decay=decay)
                    for step in range(15):
                        q.grad = gradients(shape, step).double()
                        theirs.step()
                    p = parameter(shape)
                    ours = tinylm.Adafactor([p], learning_rate=rate, power=power, eps=eps[0], min_rms=eps[1],
                                            threshold=threshold, weight_decay=decay)
                    error = (run(ours, p, shape) - q.detach()).abs().max() / q.detach().abs().max()
                    self.assertLess(error, 1e-5)


class LionTest(unittest.TestCase):
    def test_updates_are_the_papers(self):
        for shape in [(37, 5), (301,)]:
            for rate, beta1, beta2, decay in [(1e-2, 0.9, 0.99, 0.1), (0.1, 0.5, 0.0, 0.0)]:
                with self.subTest((shape, rate)):
                    q, m = gradients(shape, 99).double(), torch.zeros(shape, dtype=torch.float64)
                    for step in range(15):
                        g = gradients(shape, step).double()
                        q = q - rate * ((beta1 * m + (1 - beta1) * g).sign() + decay * q)
                        m = beta2 * m + (1 - beta2) * g
                    p = parameter(shape)
                    ours = tinylm.Lion([p], learning_rate=rate, beta1=beta1, beta2=beta2, weight_decay=decay)
                    error = (run(ours, p, shape) - q).abs().max() / q.abs().max()
                    self.assertLess(error, 1e-5)


if __name__ == "__main__":
    unittest.main()
