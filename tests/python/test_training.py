"""Data sets, loaders, token files and trainers."""

import math
import os
import signal
import subprocess
import sys
import tempfile
import unittest

import peers

numpy = peers.find("numpy")

import tinylm  # noqa: E402
from binding_cases import TEXT, setUpModule  # noqa: E402, F401


class DataTest(unittest.TestCase):
    def test_files(self):
        tokenizer = tinylm.Tokenizer.train(TEXT, 300)
        ids = tokenizer.encode(TEXT)
        with tempfile.TemporaryDirectory() as folder:
            path, text_path = os.path.join(folder, "ids.npy"), os.path.join(folder, "text")
            with tinylm.TokenWriter(path, "uint16") as writer:
                writer.push(ids[:7])
                writer.push(ids[7:])
            dataset = tinylm.Dataset.open(path, vocab_size=300)
            self.assertEqual((len(dataset), dataset.read(0, len(dataset))), (len(ids), ids))
            with self.assertRaises(ZeroDivisionError):
                with tinylm.TokenWriter(os.path.join(folder, "other.u16")) as writer:
                    writer.push([1 // 0])
            self.assertEqual(os.listdir(folder), ["ids.npy"])
            with open(text_path, "w", encoding="utf-8") as file:
                file.write(TEXT)
            seen = []
            n = tinylm.encode_file(tokenizer, text_path, path, "uint32", lambda *p: seen.append(p))
            self.assertEqual((n, tinylm.Dataset.open(path).read(0, n)), (len(ids), ids))
            self.assertEqual(tinylm.Dataset.open([path, path]).read(n - 2, 4), ids[-2:] + ids[:2])
            self.assertEqual(seen[-1], (len(TEXT.encode()),) * 2)
            with self.assertRaises(ZeroDivisionError):
                tinylm.encode_file(tokenizer, text_path, path, progress=lambda *_: 1 / 0)
        with self.assertRaises(FileNotFoundError):
            tinylm.Dataset.open("no-such-file.npy")
        with self.assertRaises(ValueError):
            tinylm.Dataset.open([])
        with self.assertRaises(ValueError):
            tinylm.Dataset.open("ids", "uint8")

    def test_batches(self):
        dataset = tinylm.Dataset(range(100, 200))
        for inputs, targets in [dataset.sample(3, 5, seed=1), next(tinylm.Loader(dataset, 3, 5, seed=1))]:
            self.assertEqual([[i + 1 for i in row] for row in inputs], targets)
            self.assertEqual([len(row) for row in inputs], [5, 5, 5])
        loader = tinylm.Loader(dataset, 4, 9, order="sequential", prefetch=2)
        self.assertEqual(next(loader)[0][1], list(range(109, 118)))
        self.assertEqual((loader.position, loader.windows_per_epoch, loader.batches_per_epoch), (1, 11, 3))
        second = next(loader)
        loader.position = 1
        self.assertEqual(next(loader), second)
        shuffled = tinylm.Loader(dataset, 11, 9, seed=5, order="shuffled")
        self.assertEqual(sorted(row[0] for row in next(shuffled)[0]), list(range(100, 199, 9)))
        with self.assertRaises(tinylm.RangeError):
            tinylm.Loader(dataset, 1, 100)
        documents = tinylm.Dataset([0, 1, 2, 9, 3, 4, 9, 5, 6, 7, 8, 9] * 3)
        rows = next(tinylm.Loader(documents, 3, 4, order="sequential", document_end=9))[0]
        self.assertEqual([row[0] for row in rows], [0, 3, 5])

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_arrays(self):
        ids = numpy.arange(50, dtype="uint16")
        dataset = tinylm.Dataset(ids)
        ids[3] = 77  # the same memory
        self.assertEqual(dataset.read(2, 2), [2, 77])
        for dtype in ("uint32", "int64", "int32", ">u2"):
            self.assertEqual(tinylm.Dataset(ids.astype(dtype)).read(0, 50), ids.tolist())
        self.assertEqual(tinylm.Dataset(ids[::2]).read(0, 2), [0, 2])
        inputs, targets = dataset.sample(2, 4, seed=0, as_numpy=True)
        self.assertEqual((inputs.shape, inputs.dtype.name), ((2, 4), "uint32"))
        inputs, targets = next(tinylm.Loader(dataset, 2, 4, as_numpy=True))
        self.assertEqual(targets.shape, (2, 4))
        for bad in (numpy.array([0.5]), numpy.array([-1]), numpy.zeros((2, 2), "uint16")):
            with self.assertRaises(ValueError):
                tinylm.Dataset(bad)


class TrainerTest(unittest.TestCase):
    def make(self, **options):
        data = tinylm.Dataset([(7 * i + i // 5) % 11 for i in range(300)])
        model = tinylm.Model.create(vocab_size=11, context_length=8, d_model=8, num_layers=1, num_heads=2)
        optimizer = tinylm.AdamW(model, learning_rate=1e-2)
        loader = tinylm.Loader(data, batch_size=2, context_length=8)
        return model, data, tinylm.Trainer(model, optimizer, loader, steps=12, clip_norm=1.0, **options)

    def weights(self, model):
        return [parameter.tolist() for parameter in model.parameters().values()]

    def test_run(self):
        seen = {"step": [], "evaluation": [], "save": []}
        schedule = {"kind": "linear", "max_learning_rate": 0.1, "warmup_steps": 4, "total_steps": 12}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "run.safetensors")
            valid = tinylm.Dataset([i % 11 for i in range(60)])
            model, _, trainer = self.make(
                schedule=schedule, valid=valid, eval_every=6, checkpoint_path=path, save_every=4,
                on_step=seen["step"].append, on_evaluation=seen["evaluation"].append,
                on_save=lambda path, step: seen["save"].append((path, step)))
            self.assertTrue(trainer.run())
            self.assertEqual(trainer.steps, 12)
            self.assertEqual([step.step for step in seen["step"]], list(range(1, 13)))
            self.assertEqual(seen["step"][-1].tokens, 12 * 16)
            self.assertLess(seen["step"][-1].loss, seen["step"][0].loss)
            for step in seen["step"]:
                self.assertAlmostEqual(step.learning_rate, tinylm.schedule_learning_rate(step.step, **schedule))
            self.assertEqual([result.step for result in seen["evaluation"]], [6, 12])
            self.assertEqual(seen["save"], [(path, 4), (path, 8), (path, 12)])
            result = trainer.evaluate()
            self.assertAlmostEqual(result.perplexity, math.exp(result.loss))
            self.assertEqual(model.evaluate(valid, 2).loss, result.loss)
            with self.assertRaises(tinylm.StateError):
                trainer.step()

    def test_a_resumed_run_has_the_same_bits(self):
        model, _, trainer = self.make()
        trainer.run()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "half")
            _, _, first = self.make(on_step=lambda step: step.step == 5)
            self.assertFalse(first.run())
            first.save(path)
            other, _, second = self.make()
            second.resume(path)
            self.assertEqual(second.steps, 5)
            self.assertEqual(second.step().step, 6)
            second.run(until=9)
            self.assertEqual(second.steps, 9)
            second.run()
        self.assertEqual(self.weights(other), self.weights(model))

    def test_a_batch_that_grows(self):
        _, _, trainer = self.make(batch_start=1, batch_warmup_steps=6)
        trainer.run()
        self.assertEqual([step.step_tokens for step in trainer.history.steps], [8] * 6 + [16] * 6)
        self.assertEqual(trainer.history.steps[-1].tokens, 6 * 8 + 6 * 16)
        with self.assertRaisesRegex(tinylm.Error, "batch_start 3 is more than the loader's batch_size 2"):
            self.make(batch_start=3, batch_warmup_tokens=6)

    def test_resuming_changes_nothing_in_silence(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "run.safetensors")
            schedule = {"kind": "linear", "max_learning_rate": 0.1, "warmup_steps": 4, "total_steps": 12}
            _, _, trainer = self.make(schedule=schedule)
            trainer.run(3)
            trainer.save(path)
            self.make(schedule=schedule)[2].resume(path)
            with self.assertRaisesRegex(tinylm.Error, "schedule.max_learning_rate is 0.1 in the checkpoint, but 0.2 here"):
                self.make(schedule={**schedule, "max_learning_rate": 0.2})[2].resume(path)
            _, _, other = self.make(schedule={**schedule, "max_learning_rate": 0.2}, resume_changes="schedule.max_*")
            other.resume(path)
            self.assertAlmostEqual(other.step().learning_rate, 0.2)

    def test_a_directory_of_checkpoints(self):
        with tempfile.TemporaryDirectory() as folder:
            options = {"checkpoint_dir": os.path.join(folder, "run"), "keep_last": 2, "save_every": 3}
            model, _, trainer = self.make(**options)
            trainer.run()
            self.assertEqual(sorted(os.listdir(options["checkpoint_dir"])),
                             ["step-00000009.safetensors", "step-00000012.safetensors"])
            other, _, again = self.make(**options)
            again.resume()
            self.assertEqual(again.steps, 12)
            self.assertEqual(self.weights(other), self.weights(model))

    def test_ctrl_c(self):
        model, _, whole = self.make()
        whole.run()
        other, _, trainer = self.make(
            on_step=lambda step: signal.raise_signal(signal.SIGINT) if step.step in (3, 7) else None)
        for steps in (3, 7):
            with self.assertRaises(KeyboardInterrupt):
                trainer.run()
            self.assertEqual(trainer.steps, steps)
        self.assertTrue(trainer.run())
        self.assertEqual(self.weights(other), self.weights(model))
        with self.assertRaises(ZeroDivisionError):
            self.make(on_step=lambda _: 1 / 0)[2].run()
        program = """
import os, signal, threading, tinylm
signal.signal(signal.SIGINT, signal.default_int_handler)
model = tinylm.Model.create(vocab_size=5, context_length=8, d_model=8, num_layers=1, num_heads=1)
loader = tinylm.Loader(tinylm.Dataset([1, 2, 3] * 30), 1, 8)
trainer = tinylm.Trainer(model, tinylm.AdamW(model), loader, steps=1 << 40)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
trainer.run()
"""
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertIn("KeyboardInterrupt", run.stderr)

    def test_refusals(self):
        with self.assertRaises(ValueError):
            self.make(accumulation=-1)
        with self.assertRaises(tinylm.StateError):
            self.make()[2].evaluate()
        with self.assertRaises(tinylm.StateError):
            self.make()[2].save()


if __name__ == "__main__":
    unittest.main()
