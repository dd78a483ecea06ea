"""Compares the program score with transformers on a small random model: perplexity in windows with a stride, and
multiple choice. Its argument is the folder of the programs.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

import peers

torch, transformers = peers.require("torch", "transformers")

import tinylm  # noqa: E402

torch.set_num_threads(1)
PROGRAM = os.path.join(sys.argv.pop(1), "score")
TEXT = "".join(f"The {a} sat on the {b}, and {c} é looked.\n" for a in ("cat", "dog") for b in ("mat", "hat")
               for c in ("Tom", "Lily", "nobody"))
CONTEXT = 48
QUESTIONS = [{"question": "The cat sat", "choices": ["on the mat", "under", "looked. é"], "answer": 1},
             {"question": "Tom ", "choices": ["and Lily", "é", "nobody looked at the hat"], "answer": "B"},
             {"context": TEXT, "choices": ["a", "The dog sat"], "answer": 0}]


def make_folder(folder):
    """A model with its tokenizer, as transformers and the library read it."""
    tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=330)
    model = tinylm.Model.create(vocab_size=330, context_length=CONTEXT, d_model=32, num_layers=2, num_heads=4, d_ff=64, seed=3)
    model.save_hf(folder, tokenizer)
    return tokenizer, transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def log_probs(model, ids):
    """Of each id but the first."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].double()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


def strided(model, ids, window, stride):
    """The sum over windows of `window` tokens, each counted where it is first predicted."""
    total, before = 0.0, 1
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        if end > before:
            total += sum(log_probs(model, ids[begin:end])[before - end:])
        before = max(before, end)
        if end == len(ids):
            return total


class ScoreTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory()
        cls.folder = os.path.join(cls.place.name, "model")
        cls.tokenizer, cls.theirs = make_folder(cls.folder)
        cls.text = cls.path("text.txt", TEXT)

    @classmethod
    def tearDownClass(cls):
        cls.place.cleanup()

    @classmethod
    def path(cls, name, text):
        path = os.path.join(cls.place.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def score(self, *arguments):
        printed = subprocess.run([PROGRAM, "--model", self.folder, "--json", *arguments], check=True,
                                 stdout=subprocess.PIPE, encoding="utf-8").stdout
        return json.loads(printed.splitlines()[-1])

    def test_perplexity(self):
        ids = self.tokenizer.encode(TEXT)
        for context, stride in [(CONTEXT, CONTEXT), (CONTEXT, 20), (31, 7)]:
            with self.subTest(context=context, stride=stride):
                wanted = strided(self.theirs, ids, context + 1, stride)  # it predicts one token more than it sees
                got = self.score("--context", str(context), "--stride", str(stride), self.text)
                self.assertEqual(got["tokens"], len(ids) - 1)
                self.assertLess(abs(got["log_likelihood"] - wanted), 1e-5 * abs(wanted))
                for key, n in [("token", len(ids) - 1), ("byte", len(TEXT.encode())), ("character", len(TEXT)),
                               ("word", len(TEXT.split()))]:
                    self.assertLess(abs(math.log(got[f"{key}_perplexity"]) + wanted / n), 1e-5)
        model, _ = tinylm.Model.open(self.folder)
        self.assertLess(abs(math.log(model.perplexity(ids)) + strided(self.theirs, ids, CONTEXT + 1, CONTEXT // 2) /
                            (len(ids) - 1)), 1e-5)

    def test_choices(self):
        right = right_by_length = 0
        for question in QUESTIONS:
            scores, by_length = [], []
            context = question.get("question", question.get("context"))
            for choice in question["choices"]:
                ids = self.tokenizer.encode(context + " " + choice)
                n = len(ids) - len(self.tokenizer.encode(context.rstrip()))
                scores.append(sum(log_probs(self.theirs, ids[-CONTEXT - 1:])[-n:]))
                by_length.append(scores[-1] / len(choice))
            answer = question["answer"] if question["answer"] != "B" else 1
            right += max(range(len(scores)), key=scores.__getitem__) == answer
            right_by_length += max(range(len(scores)), key=by_length.__getitem__) == answer
        got = self.score("--choices", self.path("questions", "\n".join(map(json.dumps, QUESTIONS))))
        self.assertEqual(got["questions"], 3)
        self.assertAlmostEqual(got["accuracy"], right / 3, 8)
        self.assertAlmostEqual(got["accuracy_by_length"], right_by_length / 3, 8)


if __name__ == "__main__":
    unittest.main()
