"""Sweeps: what they run, what they refuse, what they report, and that they go on after an interruption.

Usage: test_sweep.py DIRECTORY_OF_THE_PROGRAMS
"""

import array
import json
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
OPTIONS = {"vocab-size": 50, "context": 8, "d-model": 16, "layers": 1, "heads": 2, "batch": 4, "eval-tokens": 64,
           "peak-gflops": 1.0}


def rows(report):
    """The rows of each table of a report, as dictionaries."""
    tables, head = [], None
    for line in report.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            head = None
        elif head is None:
            head = cells
            tables.append([])
        elif not set(line) <= set("|-"):
            tables[-1].append(dict(zip(head, cells)))
    return tables


class Sweep(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.work = pathlib.Path(cls.folder.name)
        for name, n in (("train", 4000), ("valid", 400)):
            random.seed(name)
            tokens = array.array("H", (min(49, int(random.expovariate(0.2))) for _ in range(n)))
            (cls.work / f"{name}.u16").write_bytes(tokens.tobytes())

    def command(self, *own, options=None, **more):
        options = {"train": self.work / "train.u16", "valid": self.work / "valid.u16", **OPTIONS, **(options or {}),
                   **more}
        return [PROGRAMS / "sweep", *own, "--"] + [word for name, value in options.items()
                                                   for word in (f"--{name}", str(value))]

    def sweep(self, *own, status=0, **options):
        done = subprocess.run(self.command(*own, options=options), capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def test_grid_with_seeds(self):
        directory = self.work / "grid"
        arguments = ("--output-dir", directory, "--vary", "rate=1e-3,1e-2", "--vary", "seed=1,2,3", "--tokens", "640",
                     "--warmup-share", "0.1", "--evaluations", "4", "--threads", "2", "--jobs", "2")
        self.sweep(*arguments)
        runs, groups = rows((directory / "report.md").read_text())
        self.assertEqual(len(runs), 6)
        losses = [float(run["validation loss"]) for run in runs]
        self.assertEqual(losses, sorted(losses))
        self.assertEqual({run["state"] for run in runs}, {"done"})
        for run in runs:
            path = directory / f"rate-{run['rate']},seed-{run['seed']}"
            result = json.loads((path / "result.json").read_text())
            self.assertEqual(f"{result['validation_loss']:.4f}", run["validation loss"])
            config = json.loads((path / "config.json").read_text())
            self.assertEqual((config["steps"], config["warmup"], config["eval-every"]), (20, 2, 5))
            self.assertEqual(config["rate"], float(run["rate"]))
        self.assertEqual([group["rate"] for group in groups], ["1e-3", "1e-2"])
        for group in groups:
            own = [float(run["validation loss"]) for run in runs if run["rate"] == group["rate"]]
            self.assertEqual(group["seeds"], "3")
            self.assertAlmostEqual(float(group["mean loss"]), statistics.mean(own), delta=2e-4)
            self.assertAlmostEqual(float(group["standard deviation"]), statistics.stdev(own), delta=2e-4)
            self.assertEqual((float(group["lowest"]), float(group["highest"])), (min(own), max(own)))
        page = (directory / "report.html").read_text()
        self.assertEqual(page.count("<svg"), 3)
        self.assertEqual((directory / "curves.svg").read_text().count('class="curve"'), 3 * 6)
        # A second time nothing is left to run, and the list may grow.
        kept = {path: path.stat().st_mtime_ns for path in directory.glob("*/result.json")}
        self.sweep(*arguments)
        self.sweep(*(argument.replace("1e-2", "1e-2,3e-2") if argument == "rate=1e-3,1e-2" else argument
                     for argument in arguments))
        self.assertEqual({path: path.stat().st_mtime_ns for path in kept}, kept)
        self.assertEqual(len(rows((directory / "report.md").read_text())[0]), 9)

    def test_the_same_tokens_in_batches_of_other_sizes(self):
        directory = self.work / "batches"
        self.sweep("--output-dir", directory, "--vary", "batch=2,16,100", "--tokens", "640", "--x", "tokens")
        logs = {size: (directory / f"batch-{size}" / "log.jsonl").read_text().splitlines() for size in (2, 16, 100)}
        self.assertEqual([json.loads(logs[size][-1])["tokens"] for size in (2, 16, 100)], [640, 640, 800])

    def test_cases_flags_and_failures(self):
        directory = self.work / "cases"
        arguments = ["--output-dir", directory, "--case", "base", "--case", "tied tied rate=3e-3", "--case",
                     "diverges rate=1e38 clip=0 schedule=constant warmup=0", "--vary", "embedding_norm=false,true"]
        done = self.sweep(*arguments, steps=6)
        self.assertIn("2 runs failed", done.stdout)
        runs, = rows((directory / "report.md").read_text())
        self.assertEqual(len(runs), 6)
        for run in runs[:4]:
            config = json.loads((directory / f"{run['case']},embedding-norm-{run['embedding-norm']}" / "config.json")
                                .read_text())
            self.assertEqual(config["tied"], run["case"] == "tied")
            self.assertEqual(config["embedding-norm"], run["embedding-norm"] == "true")
        for run in runs[4:]:
            self.assertEqual(run["case"], "diverges")
            self.assertRegex(run["state"], r"train_lm: trainer_step: step \d+: .* is -?(nan|inf)")
        # Failures are repeated only on demand, and end in the same way.
        failure = directory / "diverges,embedding-norm-true" / "failure.txt"
        before = failure.stat().st_mtime_ns
        self.sweep(*arguments, steps=6)
        self.assertEqual(failure.stat().st_mtime_ns, before)
        self.sweep(*arguments, "--retry", steps=6)
        self.assertNotEqual(failure.stat().st_mtime_ns, before)

    def test_refusals_by_name(self):
        directory = self.work / "refused"
        for arguments, options, error in (
            (["--vary", "rates=1,2"], {}, "train_lm has no option --rates"),
            (["--vary", "rate"], {}, "--vary rate: not OPTION=VALUE"),
            (["--vary", "rate=1e-3,,1"], {}, "--rate has an empty value"),
            (["--vary", "rate=1e-3,1e-3"], {}, "rate: 1e-3 is given twice"),
            (["--vary", "rate=1", "--vary", "rate=2"], {}, "--vary rate is given twice"),
            (["--vary", "rate=fast"], {}, "'fast' is not a number"),
            (["--vary", "batch=1,0"], {}, "--batch must be 1.."),
            (["--vary", "norm=pre,bath"], {}, "--norm must be one of"),
            (["--vary", "optimizer=adamw,mion"], {}, "--optimizer must be one of"),
            (["--vary", "tied=yes"], {}, "--tied must be true or false, not yes"),
            (["--vary", "threads=1,2"], {}, "a sweep sets --threads"),
            (["--vary", "output_dir=a,b"], {}, "a sweep sets --output-dir"),
            (["--vary", "heads=2,3"], {}, "d_model 16 is not a multiple of 2 * num_heads = 6"),
            (["--case", "a rates=1"], {}, "train_lm has no option --rates"),
            (["--case", "rate=1"], {}, "does not begin with a name"),
            (["--case", "a rate"], {}, "rate has no value"),
            (["--case", "a", "--case", "a"], {}, "case: a is given twice"),
            (["--case", "../a"], {}, "cannot be the name of a run's directory"),
            (["--tokens", "100"], {"steps": 3}, "--steps contradicts --tokens"),
            (["--tokens", "100"], {"batch_start": 1, "batch_warmup": 2}, "--tokens counts full batches"),
            (["--warmup-share", "1.5"], {}, "--warmup-share must be at most 1"),
            (["--jobs", "3", "--threads", "2"], {}, "--jobs 3 needs as many threads, and there are 2"),
            ([], {"nonsense": 1}, "train_lm has no option --nonsense"),
            ([], {"resume": "x"}, "a sweep sets --resume"),
            (["--case", "a range-test"], {}, "--range-test leaves no losses"),
        ):
            done = self.sweep("--output-dir", directory, *arguments, status=2, **options)
            self.assertIn(error, done.stderr)
        self.assertFalse(directory.exists())

    def test_another_sweep_in_the_same_directory(self):
        directory = self.work / "changed"
        self.sweep("--output-dir", directory, "--vary", "seed=1,2", steps=4)
        done = self.sweep("--output-dir", directory, "--vary", "seed=1,2", status=1, steps=5)
        self.assertIn("was begun with other options: --steps=4, not --steps=5", done.stderr)

    def test_recipes(self):
        directory = self.work / "recipes"
        self.sweep("--output-dir", directory, "--vary", "recipe=cs336,fast", "--vary", "rate=1e-3", steps=4)
        for recipe, optimizer in (("cs336", "adamw"), ("fast", "muon")):
            config = json.loads((directory / f"recipe-{recipe},rate-1e-3" / "config.json").read_text())
            self.assertEqual((config["optimizer"], config["rate"]), (optimizer, 1e-3))
        done = self.sweep("--output-dir", directory, "--vary", "recipe=quick", status=2, steps=4)
        self.assertIn("--recipe must be one of", done.stderr)

    def test_dry_run_lists(self):
        directory = self.work / "dry"
        done = self.sweep("--output-dir", directory, "--dry-run", "--vary", "rate=1e-3,1e-2", steps=4)
        self.assertEqual([line.split(":")[0] for line in done.stdout.splitlines()], ["rate-1e-3", "rate-1e-2"])
        self.assertFalse(directory.exists())

    def interrupted(self, directory, number):
        """Starts a sweep, ends it with a signal once a checkpoint is there, and lets it go on."""
        options = {"steps": 400, "save-every": 20, "eval-every": 100}
        command = self.command("--output-dir", directory, "--vary", "seed=1,2,3", "--jobs", "1", options=options)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            limit = time.monotonic() + 60
            while not list(directory.glob("seed-2/checkpoints/*")) and time.monotonic() < limit:
                time.sleep(0.005)
            process.send_signal(number)
        self.assertTrue((directory / "seed-1" / "result.json").exists())
        if number == signal.SIGINT:
            self.assertEqual(process.returncode, 130)
        for _ in range(200):  # a run that outlives its sweep by a moment
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                break
            time.sleep(0.05)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return [(directory / f"seed-{seed}" / "result.json").read_text() for seed in (1, 2, 3)]

    def test_goes_on_after_an_interruption(self):
        whole = self.work / "whole"
        self.sweep("--output-dir", whole, "--vary", "seed=1,2,3", steps=400, **{"save-every": 20, "eval-every": 100})
        expected = [(whole / f"seed-{seed}" / "result.json").read_text() for seed in (1, 2, 3)]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self.assertEqual(self.interrupted(self.work / f"signal-{int(number)}", number), expected)


if __name__ == "__main__":
    unittest.main()
