"""Bars, histories and plots."""

import contextlib
import io
import os
import sys
import tempfile
import types
import unittest
from unittest import mock

import tinylm
from tinylm import progress


def make_trainer(steps=20, **options):
    data = tinylm.Dataset([i * i % 23 for i in range(600)])
    model = tinylm.Model.create(23, context_length=8, d_model=8, num_layers=1, num_heads=1)
    return tinylm.Trainer(model, tinylm.AdamW(model), tinylm.Loader(data, 2, 8), steps=steps, valid=data, **options)


class Bar:
    """A stand-in for tqdm's."""

    made: list = []

    def __init__(self, total, desc, unit, unit_scale, initial):
        self.total, self.desc, self.n, self.words, self.closed = total, desc, initial, "", False
        Bar.made.append(self)

    def set_postfix_str(self, words, refresh):
        self.words = words

    def update(self, n):
        self.n += n

    def close(self):
        self.closed = True


class ProgressTest(unittest.TestCase):
    def setUp(self):
        Bar.made = []

    def with_tqdm(self):
        modules = {"tqdm": types.ModuleType("tqdm"), "tqdm.auto": types.ModuleType("tqdm.auto")}
        modules["tqdm.auto"].tqdm = Bar
        return mock.patch.dict(sys.modules, modules)

    def test_a_bar_of_tqdm(self):
        trainer = make_trainer()
        with self.with_tqdm():
            self.assertTrue(trainer.run(8, progress=True))
            self.assertTrue(trainer.run(progress=True))
        first, second = Bar.made
        self.assertEqual((first.total, first.n, first.closed), (8, 8, True))
        self.assertEqual((second.total, second.n, second.closed), (20, 20, True))
        self.assertRegex(second.words, r"^loss \d+\.\d{3}, [\d,]+ tokens/s$")

    def test_lines_without_tqdm(self):
        trainer, told = make_trainer(), io.StringIO()
        with mock.patch.dict(sys.modules, {"tqdm": None, "tqdm.auto": None}), contextlib.redirect_stderr(told):
            with mock.patch.object(progress, "_SECONDS_APART", 0.0):
                trainer.run(progress=True)
        lines = told.getvalue().splitlines()
        self.assertGreaterEqual(len(lines), 20)
        self.assertRegex(lines[0], r"^training 1 of 20, loss \d+\.\d+, [\d,]+ tokens/s, \d+:\d\d:\d\d left$")
        self.assertRegex(lines[-1], r"^training 20 of 20, loss \d+\.\d+, [\d,]+ tokens/s$")

    def test_when_there_is_one(self):
        with self.with_tqdm(), mock.patch.object(progress, "_is_watched", lambda: True), \
                mock.patch("tinylm.trainer._is_watched", lambda: True):
            make_trainer().run()
            self.assertEqual(len(Bar.made), 1)
            make_trainer().run(progress=False)
            make_trainer(on_step=lambda step: None).run()
            self.assertEqual(len(Bar.made), 1)
        with self.with_tqdm(), mock.patch("tinylm.trainer._is_watched", lambda: False):
            make_trainer().run()
        self.assertEqual(len(Bar.made), 1)

    def test_a_bar_ends_with_an_exception(self):
        def fail(step):
            raise RuntimeError("no")

        with self.with_tqdm(), self.assertRaises(RuntimeError):
            make_trainer(on_step=fail).run(progress=True)
        self.assertTrue(Bar.made[0].closed)

    def test_vocabularies_and_files(self):
        with self.with_tqdm(), tempfile.TemporaryDirectory() as folder:
            tokenizer = tinylm.Tokenizer.train("the cat sat " * 200, vocab_size=270, progress=True)
            path = os.path.join(folder, "text.txt")
            with open(path, "w", encoding="utf-8") as file:
                file.write("the cat " * 100)
            tinylm.encode_file(tokenizer, path, os.path.join(folder, "text.u16"), progress=True)
        self.assertEqual([bar.desc for bar in Bar.made], ["counting", "learning", "encoding"])
        self.assertTrue(all(bar.closed for bar in Bar.made))

    def test_history(self):
        trainer = make_trainer(eval_every=5)
        trainer.step()
        trainer.run()
        trainer.evaluate()
        self.assertEqual([step.step for step in trainer.history.steps], list(range(1, 21)))
        self.assertEqual([one.step for one in trainer.history.evaluations], [5, 10, 15, 20, 20])
        self.assertEqual(repr(trainer.history), "<History: 20 steps, 5 evaluations>")

    def test_long_histories_are_thinned(self):
        history = tinylm.History()
        with mock.patch.object(progress, "_MOST_STEPS", 100):
            for step in range(1, 1001):
                history._add_step(step)
        self.assertLessEqual(len(history.steps), 101)
        self.assertEqual(history.steps[-1], 1000)
        self.assertEqual(history.steps, sorted(history.steps))

    def test_plot(self):
        trainer = make_trainer(eval_every=5)
        trainer.run(progress=False)
        with mock.patch.dict(sys.modules, {"matplotlib": None, "matplotlib.figure": None}):
            with self.assertRaisesRegex(ModuleNotFoundError, "matplotlib"):
                trainer.plot()
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            self.skipTest("matplotlib is not installed")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "losses.png")
            figure = trainer.plot(path)
            self.assertGreater(os.path.getsize(path), 1000)
            self.assertEqual(len(figure.axes[0].lines[0].get_xdata()), 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
