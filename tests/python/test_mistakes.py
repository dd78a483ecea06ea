"""The table of mistakes in docs/python.md: each row is run, and does what it says."""

import copy
import pathlib
import re
import unittest

import peers

numpy = peers.require("numpy")

import tinylm  # noqa: E402

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"


def rows():
    """Pairs (code, answer) of the table."""
    text = PAGE.read_text(encoding="utf-8").partition("## Mistakes and their answers")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(.*?)` \| (.*) \|$", text, re.MULTILINE)


def names():
    """What the rows are run with."""
    x = tinylm.randn(4, 3, seed=1)
    found = {name: getattr(tinylm, name) for name in tinylm.__all__}
    return {**found, "numpy": numpy, "copy": copy, "x": x, "X": x.numpy(), "ids": tinylm.Tensor([1, 2], "int64"),
            "weight": tinylm.Tensor([1, 2, 3], requires_grad=True),
            "tokenizer": tinylm.Tokenizer.train("the cat sat on the mat. " * 20, vocab_size=270)}


class MistakesTest(unittest.TestCase):
    def test_rows(self):
        self.assertGreaterEqual(len(rows()), 10)
        for code, answer in rows():
            with self.subTest(code=code):
                if answer.startswith("works"):
                    exec(code, names())
                    for more in re.findall("`(.*?)`", answer):
                        exec(more, names())
                    continue
                kind, message = re.fullmatch(r"`(\w+)`: (.*)", answer).groups()
                with self.assertRaises(Exception) as caught:
                    exec(code, names())
                self.assertEqual((type(caught.exception).__name__, str(caught.exception)), (kind, message))


if __name__ == "__main__":
    unittest.main(verbosity=1)
