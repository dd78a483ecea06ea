"""Annotations: the package and programs that use it pass mypy --strict and pyright. A checker that is not installed is
skipped by name; checks of the package itself need numpy, whose types it uses."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import peers

peers.find("mypy")  # starts the Python that has it, if this one does not

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "python"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if "import tinylm" in path.read_text(encoding="utf-8"))

# What a program of a user does with types.
PROGRAM = '''
from __future__ import annotations

import tinylm
from tinylm import Tensor, nn


class Net(nn.Module):
    def __init__(self, d: int) -> None:
        self.first = nn.Linear(d, 2 * d)
        self.scale = nn.Parameter([1.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).relu() * self.scale


def accuracy(net: Net, x: Tensor, y: Tensor) -> float:
    values, places = net(x).max(1)
    largest: Tensor = net(x).max()
    shape: tuple[int, ...] = values.shape
    return float((places == y).mean()) + 0.0 * float(largest) + 0.0 * len(shape)


def main() -> None:
    x, y = tinylm.randn(4, 3, seed=1), tinylm.zeros(4, dtype="int64")
    net = Net(3)
    optimizer = tinylm.AdamW(net.parameters(), learning_rate=1e-3)
    loss: Tensor = tinylm.cross_entropy(net(x), y)
    loss.backward()
    norm: float = tinylm.clip_grad_norm(net.parameters(), 1.0)
    optimizer.step()
    with tinylm.no_grad():
        print(f"{loss:.3f}", norm, accuracy(net, x[1:, ::2], y[[0, 1]]), (2.0 * x - x ** 2) @ x.T)
    tokenizer = tinylm.Tokenizer.train("some text", vocab_size=260)
    ids: list[int] = tokenizer.encode("text")
    text: str = tokenizer.decode(ids)
    model = tinylm.Model.create(260, context_length=8, d_model=8, num_layers=1, num_heads=1)
    how: tinylm.options.GenerateOptions = {"max_tokens": 2, "temperature": 0.5}
    print(text, model.generate(ids, **how), model.loss([ids], [ids]).item(), tokenizer("text", as_numpy=True))


main()
'''


# What such a program does wrong, a line each, and what mypy and pyright find.
WRONG = '''
import tinylm
model = tinylm.Model.create(260, context_length=8, d_model=8, num_layers=1, num_heads=1)
model.generate([1], temprature=0.5)
model.generate([1], temperature="high")
tinylm.schedule_learning_rate(1, "cosine", 0.1, warmup=3)
tinylm.Tokenizer.train("text")("text", as_array=True)
tinylm.AdamW(model).add_adamw_group([], lr=0.1)
tinylm.ChatTemplate("chatml").render([], enable_thinking=object())
'''


class TypesTest(unittest.TestCase):
    def run_checker(self, *command):
        return subprocess.run([sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, "PYTHONPATH": str(EXAMPLES)}, cwd=self.folder, check=False)

    def check(self, *command):
        run = self.run_checker(*command)
        self.assertEqual(run.returncode, 0, run.stdout)

    def check_wrong(self, *command):
        """A checker finds something in each line of WRONG from the third on."""
        path = self.folder / "wrong.py"
        path.write_text(WRONG.lstrip(), encoding="utf-8")
        found = set(map(int, re.findall(r"wrong\.py:(\d+)", self.run_checker(*command, str(path)).stdout)))
        self.assertEqual(found, set(range(3, WRONG.count("\n"))))

    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = pathlib.Path(place.name)
        self.program = self.folder / "program.py"
        self.program.write_text(PROGRAM, encoding="utf-8")

    @unittest.skipIf(importlib.util.find_spec("mypy") is None, "mypy is not installed")
    def test_mypy(self):
        mypy = ["mypy", "--strict", "--cache-dir", str(self.folder / "cache")]
        self.check(*mypy, *map(str, PROGRAMS), str(self.program))
        self.check_wrong(*mypy)
        if importlib.util.find_spec("numpy") is None:
            self.skipTest("numpy is not installed")
        self.check(*mypy, "-p", "tinylm")

    @unittest.skipIf(importlib.util.find_spec("pyright") is None, "pyright is not installed")
    def test_pyright(self):
        version = subprocess.run([sys.executable, "-m", "pyright", "--version"], stdout=subprocess.PIPE, check=False)
        if version.returncode != 0:
            self.skipTest("pyright has no node to run with")
        pyright = ["pyright", "--pythonpath", sys.executable]
        self.check(*pyright, *map(str, PROGRAMS), str(self.program))
        self.check_wrong(*pyright)
        if importlib.util.find_spec("numpy") is None:
            self.skipTest("numpy is not installed")
        self.check(*pyright, str(EXAMPLES / "tinylm"))


if __name__ == "__main__":
    unittest.main(verbosity=1)
