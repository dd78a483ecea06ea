"""Modules: layers beside PyTorch's with the same values, what a module holds, saving and loading, and the example."""

import copy
import os
import pickle
import random
import subprocess
import sys
import unittest

import peers

numpy = peers.require("numpy")
torch = peers.require("torch")

import tinylm  # noqa: E402
from tinylm import Tensor, nn  # noqa: E402

EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "examples", "python")


class Net(nn.Module):
    def __init__(self):
        self.layers = [nn.Linear(3, 4), nn.LayerNorm(4), nn.Dropout(0.5)]
        self.heads = {"a": nn.Linear(4, 2, bias=False)}
        self.shift = nn.Parameter([0.0, 1.0])
        self.scale = tinylm.ones(2)
        self._cache = tinylm.zeros(9)
        self.alias = self.layers[0]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.heads["a"](x) * self.scale + self.shift


NAMES = ["shift", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "heads.a.weight"]


class ModuleTest(unittest.TestCase):
    def test_layers_are_pytorchs(self):
        pairs = [(nn.Linear(5, 3), torch.nn.Linear(5, 3)), (nn.Linear(5, 3, bias=False), torch.nn.Linear(5, 3, bias=False)),
                 (nn.LayerNorm(5), torch.nn.LayerNorm(5)), (nn.RMSNorm(5), torch.nn.RMSNorm(5, eps=1e-5)),
                 (nn.ReLU(), torch.nn.ReLU()), (nn.GELU(), torch.nn.GELU()), (nn.SiLU(), torch.nn.SiLU()),
                 (nn.Tanh(), torch.nn.Tanh()), (nn.Flatten(), torch.nn.Flatten()),
                 (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)),
                  torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)))]
        draw = random.Random(1)
        for mine, theirs in pairs:
            with self.subTest(layer=type(mine).__name__):
                state = theirs.state_dict()
                self.assertEqual({name: value.shape for name, value in mine.state_dict().items()},
                                 {name: tuple(value.shape) for name, value in state.items()})
                mine.load_state_dict({name: value + draw.random() for name, value in state.items()} if state else state)
                theirs.load_state_dict({name: torch.tensor(value.numpy()) for name, value in mine.state_dict().items()})
                x = numpy.float32([[draw.uniform(-2, 2) for _ in range(5)] for _ in range(4)])
                inputs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
                got, want = mine(inputs[0]), theirs(inputs[1])
                numpy.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-5, atol=1e-5)
                (got * got).sum().backward()
                (want * want).sum().backward()
                numpy.testing.assert_allclose(inputs[0].grad.numpy(), inputs[1].grad.numpy(), rtol=1e-4, atol=1e-4)
                for name, parameter in theirs.named_parameters():
                    own = dict(mine.named_parameters())[name]
                    numpy.testing.assert_allclose(own.grad.numpy(), parameter.grad.numpy(), rtol=1e-4, atol=1e-4)
        table = nn.Embedding(6, 3)
        self.assertEqual(table([[1, 5]]).tolist(), [[table.weight[1].tolist(), table.weight[5].tolist()]])

    def test_what_is_inside(self):
        net = Net()
        self.assertEqual([name for name, _ in net.named_parameters()], NAMES)
        self.assertEqual(len(list(net.parameters())), 6)
        self.assertEqual(net.num_elements, 12 + 4 + 4 + 4 + 8 + 2)
        self.assertEqual(set(net.state_dict()), {*NAMES, "scale", "alias.weight", "alias.bias"})
        self.assertEqual([name for name, _ in net.named_modules()], ["", "layers.0", "layers.1", "layers.2", "heads.a"])
        text = repr(net)
        for part in ("Net: 34 elements", "layers.0.weight", "(4, 3)", "trained", "kept"):
            self.assertIn(part, text)

    def test_states(self):
        net, other = Net(), Net()
        x = tinylm.randn(5, 3, seed=1)
        other.load_state_dict(net.state_dict())
        self.assertEqual(other.eval()(x).tolist(), net.eval()(x).tolist())
        for how in (lambda: pickle.loads(pickle.dumps(net)), lambda: copy.deepcopy(net)):
            made = how()
            self.assertEqual(made(x).tolist(), net(x).tolist())
            self.assertIs(made.alias, made.layers[0])
            with tinylm.no_grad():
                made.shift[0] = 9
            self.assertEqual(net.shift.tolist(), [0, 1])
        state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
        before = other.shift.tolist()
        for change, words in (({"shift": None}, "shift is missing"), ({"more": numpy.zeros(2)}, "more is not in"),
                              ({"shift": numpy.zeros(3)}, r"shift has shape \(3,\), not \(2,\)")):
            wrong = {**state, "scale": numpy.zeros(2), **change}
            wrong = {name: value for name, value in wrong.items() if value is not None}
            with self.assertRaisesRegex(ValueError, words):
                other.load_state_dict(wrong)
            self.assertEqual((other.shift.tolist(), other.scale.tolist()), (before, [1, 1]))
        other.load_state_dict({"shift": [5, 6], "more": [1]}, strict=False)
        self.assertEqual(other.shift.tolist(), [5, 6])
        with self.assertRaisesRegex(TypeError, "^state takes"):
            other.load_state_dict("text")

    def test_dropout_and_modes(self):
        net, x = Net(), tinylm.randn(50, 3, seed=1)
        self.assertNotEqual(net(x).tolist(), net(x).tolist())
        tinylm.manual_seed(3)
        first = net(x).tolist()
        tinylm.manual_seed(3)
        self.assertEqual(net(x).tolist(), first)
        self.assertIs(net.eval(), net)
        self.assertFalse(net.training or net.layers[2].training)
        self.assertEqual(net(x).tolist(), net(x).tolist())
        self.assertTrue(net.train().layers[2].training)
        for wrong in (lambda: nn.Dropout(1.0), lambda: nn.Linear(0, 2), lambda: nn.Linear("a", 2), lambda: nn.Sequential(3),
                      lambda: net.train("no"), lambda: nn.Module()(1), lambda: nn.Linear(2, 2)("text"),
                      lambda: nn.Linear(2, 3)(tinylm.zeros(4))):
            self.assertRaises((TypeError, ValueError, NotImplementedError), wrong)

    def test_training_and_freezing(self):
        net = Net()
        net.layers[0].requires_grad_(False)
        self.assertNotIn("frozen", repr(nn.Linear(1, 1)))
        self.assertIn("frozen", repr(net))
        optimizer = tinylm.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
        before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
        net(tinylm.randn(8, 3, seed=2)).sum().backward()
        optimizer.step()
        changed = {name for name, value in net.state_dict().items() if (value.numpy() != before[name]).any()}
        self.assertEqual(changed, {"layers.1.bias", "layers.1.weight", "heads.a.weight", "shift"})
        net.zero_grad()
        self.assertIsNone(net.shift.grad)
        whole = nn.Linear(2, 2)
        self.assertEqual(tinylm.AdamW(whole).num_parameters, 2)
        with self.assertRaisesRegex(TypeError, "parameters"):
            tinylm.AdamW(3)

    def test_example(self):
        run = subprocess.run([sys.executable, os.path.join(EXAMPLES, "classifier.py")], stdout=subprocess.PIPE, check=True,
                             text=True)
        self.assertRegex(run.stdout, r"step 400: loss 0\.\d+\n\d+ parameters, (9[89]\.\d|100\.0)% right\n")


if __name__ == "__main__":
    unittest.main(verbosity=1)
