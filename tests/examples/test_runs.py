"""Runs of train_lm that are broken off, killed and resumed: logs, event files, reports and configuration files.

Usage: test_runs.py DIRECTORY_OF_THE_PROGRAMS
"""

import array
import csv
import json
import math
import pathlib
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
TIMED = {"tokens_per_second", "utilization", "processor_seconds"}  # differ from run to run
OPTIONS = {"vocab-size": 50, "context": 8, "d-model": 16, "layers": 1, "heads": 2, "batch": 4, "accumulate": 2,
           "steps": 40, "warmup": 5, "schedule": "wsd", "no-decay": "both", "order": "shuffled", "document-end": 7,
           "eval-every": 10, "eval-tokens": 64, "save-every": 10, "log-every": 10, "peak-gflops": 1.0}


# ---- A reader of event files of its own: TFRecord framing and protocol buffers ----


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def check_mask(data, stored):
    crc = crc32c(data)
    assert ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF == stored, "checksum"


def records(data):
    at = 0
    while at < len(data):
        size, crc = struct.unpack_from("<QI", data, at)
        check_mask(data[at : at + 8], crc)
        body = data[at + 12 : at + 12 + size]
        check_mask(body, struct.unpack_from("<I", data, at + 12 + size)[0])
        yield body
        at += size + 16


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """(number, value) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif kind == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
            assert len(value) == size
        else:
            raise ValueError(f"wire type {kind}")
        yield number, value


def read_events(path):
    """[(step, {tag: value})], after the event that says the version."""
    events = []
    for index, record in enumerate(records(path.read_bytes())):
        event = dict(fields(record))
        assert abs(event[1] - time.time()) < 86400
        if index == 0:
            assert event[3] == b"brain.Event:2"
            continue
        values = {}
        for number, value in fields(event[5]):
            assert number == 1
            value = dict(fields(value))
            values[value[1].decode()] = value[2]
        events.append((event[2], values))
    return events


# ---- Running ----


def words(options):
    result = []
    for name, value in options.items():
        result += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return result


def train(options, **arguments):
    command = [PROGRAMS / "train_lm"] + words(options)
    return subprocess.run(command, capture_output=True, text=True, **arguments)


def read_log(directory):
    rows = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def checkpoints(directory):
    return sorted(path.name for path in (directory / "checkpoints").iterdir())


class Runs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.work = pathlib.Path(cls.holder.name)
        draw = random.Random(1)
        for name, n in (("train.u16", 4000), ("valid.u16", 400)):
            ids = array.array("H", (draw.randrange(50) if i % 3 else i // 3 % 50 for i in range(n)))
            if sys.byteorder != "little":
                ids.byteswap()
            (cls.work / name).write_bytes(ids.tobytes())
        cls.options = {**OPTIONS, "train": cls.work / "train.u16", "valid": cls.work / "valid.u16"}
        cls.whole = cls.work / "whole"
        done = train({**cls.options, "output-dir": cls.whole})
        assert done.returncode == 0, done.stderr
        cls.output = done.stdout

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def assert_like_whole(self, directory):
        """The same rows, and the same bytes in the last checkpoint."""
        self.assertEqual(read_log(directory), read_log(self.whole))
        self.assertEqual([step for step, _ in read_events(directory / "events.out.tfevents.0.tinylm")],
                         [row["step"] for row in read_log(self.whole)])
        last = "checkpoints/step-00000040.safetensors"
        self.assertEqual((directory / last).read_bytes(), (self.whole / last).read_bytes())

    def test_logs_hold_each_step_and_agree(self):
        rows = [json.loads(line) for line in (self.whole / "log.jsonl").read_text().splitlines()]
        self.assertEqual([row["step"] for row in rows if "loss" in row], list(range(1, 41)))
        self.assertEqual([row["step"] for row in rows if "validation_loss" in row], [10, 20, 30, 40])
        for row in rows:
            self.assertEqual(row["tokens"], row["step"] * 4 * 2 * 8)
            if "perplexity" in row:
                self.assertAlmostEqual(row["perplexity"], math.exp(row["validation_loss"]), 4)
        with open(self.whole / "log.csv", newline="") as file:
            table = list(csv.DictReader(file))
        self.assertEqual(len(table), len(rows))
        for line, row in zip(table, rows):
            self.assertEqual({key: float(value) for key, value in line.items() if value}, row)

    def test_event_file_holds_the_same(self):
        tags = {"loss/train": "loss", "loss/validation": "validation_loss", "learning_rate": "learning_rate",
                "gradient_norm": "gradient_norm", "perplexity": "perplexity",
                "speed/tokens_per_second": "tokens_per_second", "speed/utilization": "utilization",
                "speed/processor_seconds": "processor_seconds"}
        rows = [json.loads(line) for line in (self.whole / "log.jsonl").read_text().splitlines()]
        events = read_events(self.whole / "events.out.tfevents.0.tinylm")
        self.assertEqual(len(events), len(rows))
        for (step, values), row in zip(events, rows):
            self.assertEqual(step, row["step"])
            self.assertEqual({tags[tag] for tag in values} | {"step", "tokens"}, set(row))
            for tag, value in values.items():
                self.assertAlmostEqual(value, row[tags[tag]], delta=1e-6 * abs(row[tags[tag]]))

    def test_tensorboard_reads_it(self):
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError:
            self.skipTest("tensorboard is not installed")
        events = EventAccumulator(str(self.whole))
        events.Reload()
        self.assertEqual([event.step for event in events.Scalars("loss/train")], list(range(1, 41)))

    def test_the_schedule_is_the_one_asked_for(self):
        rates = [row["learning_rate"] for row in read_log(self.whole) if "loss" in row]
        self.assertEqual(rates[4:32], [6e-3] * 28)
        self.assertAlmostEqual(rates[0], 1.2e-3)
        self.assertAlmostEqual(rates[35], 3.3e-3)
        self.assertAlmostEqual(rates[39], 6e-4)

    def test_console_shows_progress(self):
        self.assertRegex(self.output, r"step +40/40  loss \d.\d{4} +\d+ tokens/s  ETA 0 s  MFU (about )?\d+%")
        self.assertRegex(self.output, r"step +40  validation loss \d.\d{4}  perplexity \d+\.\d\d")

    def test_the_last_checkpoints_and_the_best_are_kept(self):
        directory = self.work / "kept"
        done = train({**self.options, "output-dir": directory, "keep": 1, "rate": 0.3, "schedule": "constant"})
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [row for row in read_log(directory) if "validation_loss" in row]
        best = min(rows, key=lambda row: row["validation_loss"])["step"]
        self.assertEqual(checkpoints(directory), [f"step-{step:08}.safetensors" for step in sorted({best, 40})])

    def test_a_stopped_run_goes_on(self):
        directory = self.work / "stopped"
        for stop in (7, 23):
            resume = {} if stop == 7 else {"resume": directory}
            done = train({**self.options, "output-dir": directory, "stop-step": stop, **resume})
            self.assertEqual(done.returncode, 0, done.stderr)
        done = train({**self.options, "output-dir": directory, "resume": directory})
        self.assertIn("resumed after step 23", done.stdout)
        self.assert_like_whole(directory)

    def test_a_signal_saves_and_ends_the_run(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            directory = self.work / f"signal-{number}"
            options = {**self.options, "output-dir": directory, "steps": 1000000, "save-every": 0}
            process = subprocess.Popen([PROGRAMS / "train_lm"] + words(options), stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
            for line in process.stdout:
                if "validation loss" in line:
                    break
            process.send_signal(number)
            rest, error = process.communicate()
            self.assertEqual(process.returncode, status, error)
            step = int(re.search(r"after step (\d+); continue with --resume", error).group(1))
            self.assertEqual(checkpoints(directory), [f"step-{step:08}.safetensors"])
            self.assertEqual(read_log(directory)[-1]["step"], step)
            self.assertIn("wrote", rest)

    def test_a_killed_run_goes_on(self):
        draw = random.Random(2)
        directory = self.work / "killed"
        for _ in range(20):
            resume = {"resume": directory} if (directory / "checkpoints").exists() and checkpoints(directory) else {}
            if not resume and directory.exists():
                for path in directory.iterdir():
                    path.unlink() if path.is_file() else path.rmdir()
            process = subprocess.Popen([PROGRAMS / "train_lm"] + words(
                {**self.options, "output-dir": directory, "save-every": 3, **resume}), stdout=subprocess.DEVNULL)
            time.sleep(draw.uniform(0.0, 0.15))
            process.kill()
            process.wait()
        resume = {"resume": directory} if (directory / "checkpoints").exists() and checkpoints(directory) else {}
        if not resume:
            self.skipTest("no run lived long enough to save")
        done = train({**self.options, "output-dir": directory, "save-every": 3, **resume})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_like_whole(directory)

    def test_a_run_is_not_written_over(self):
        done = train({**self.options, "output-dir": self.whole})
        self.assertEqual(done.returncode, 1)
        self.assertIn("already holds a run", done.stderr)

    def test_its_configuration_makes_the_run_again(self):
        directory = self.work / "again"
        done = train({"config": self.whole / "config.json", "output-dir": directory})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_like_whole(directory)

    def test_configuration_files(self):
        path = self.work / "config.json"

        def run(text, **flags):
            path.write_text(text)
            return train({**self.options, "steps": 2, "config": path, **flags})

        for text, error in (
            ('{"rates": 1}', "there is no option 'rates'"),
            ('{"batch": "four"}', "'batch' must be a whole number"),
            ('{"batch": 1.5}', "'batch' must be a whole number"),
            ('{"batch": -1}', "'-1' is negative, and must be a whole number"),
            ('{"tied": 1}', "'tied' must be true or false"),
            ('{"norm": true}', "'norm' must be text"),
            ('{"norm": [1]}', "'norm' is a list of something other than texts"),
            ('{"batch": 1, "batch": 2}', "duplicate"),
            ("[1]", "not a JSON object"),
            ("{", "line 1"),
        ):
            done = run(text)
            self.assertIn(done.returncode, (1, 2), text)
            self.assertIn(error, done.stderr, text)
        # Words are joined by - or _; the command line wins.
        done = run('{"min_rate": 0, "rate": 1, "tied": true, "steps": 1}', **{"output-dir": self.work / "config"})
        self.assertEqual(done.returncode, 0, done.stderr)
        config = json.loads((self.work / "config" / "config.json").read_text())
        self.assertEqual((config["min-rate"], config["rate"], config["tied"], config["steps"]), (0.0, 1.0, True, 2))

    def test_recipes_set_what_is_not_given(self):
        directory = self.work / "recipe"
        options = {name: value for name, value in self.options.items() if name not in ("schedule", "warmup", "rate")}
        done = train({**options, "recipe": "fast", "ffn": "gelu", "output-dir": directory, "steps": 4})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("recipe fast, except for options that were given:\n  --norm both", done.stdout)
        config = json.loads((directory / "config.json").read_text())
        self.assertEqual([config[name] for name in ("recipe", "ffn", "optimizer", "value-embeddings", "output-init")],
                         ["fast", "gelu", "muon", True, "zero"])
        # The file of options has them all, so that a recipe beside it changes nothing.
        again = self.work / "recipe-again"
        done = train({"config": directory / "config.json", "recipe": "cs336", "output-dir": again})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(read_log(again), read_log(directory))
        # A checkpoint keeps its shape, whatever the recipe says of it.
        done = train({**options, "recipe": "fast", "ffn": "gelu", "output-dir": directory, "resume": directory,
                      "steps": 6})
        self.assertEqual(done.returncode, 0, done.stderr)
        text = subprocess.run([PROGRAMS / "train_lm", "--help"], capture_output=True, text=True).stdout
        for name in ("cs336", "fast"):
            self.assertRegex(text, f"--recipe {name}: .*\n  --norm (pre|both) ")
        done = train({**options, "recipe": "slow"})
        self.assertEqual(done.returncode, 2)
        self.assertIn("--recipe must be one of cs336, fast, not slow", done.stderr)

    def test_averages_and_groups_of_a_killed_run(self):
        """With all that a recipe may have: the bytes of an uninterrupted run, and averages that are evaluated."""
        options = {**self.options, "recipe": "fast", "value-embeddings": True, "dropout": 0.1, "attention-dropout": 0.1,
                   "embedding-dropout": 0.1, "z-loss": 1e-4, "label-smoothing": 0.1, "ema": 0.9, "accumulate": 2,
                   "group": "lm_head.*, token_embeddings.*: rate=2e-3, decay=0, schedule=linear"}
        results = []
        for name, stops in (("averaged", []), ("averaged-again", [7, 23])):
            directory = self.work / name
            for stop in stops:
                resume = {"resume": directory} if stop != stops[0] else {}
                done = train({**options, "output-dir": directory, "stop-step": stop, "threads": 1, **resume})
                self.assertEqual(done.returncode, 0, done.stderr)
            resume = {"resume": directory} if stops else {}
            done = train({**options, "output-dir": directory, "save-average": directory / "average.safetensors",
                          "threads": 3, **resume})
            self.assertEqual(done.returncode, 0, done.stderr)
            results.append(([(directory / path).read_bytes() for path in (
                "checkpoints/step-00000040.safetensors", "average.safetensors")], read_log(directory),
                re.search("validation loss .* nats/token.*", done.stdout).group()))
        self.assertEqual(results[0], results[1])
        last, average = results[0][0]
        self.assertIn(b"lm_head.weight.average", last)
        self.assertNotIn(b".average", average)
        for text, error in (("lm_head: rate=1", "no trained parameter fits 'lm_head' of rule 0"),
                            ("lm_head.*", "has no colon"), ("lm_head.*: rate", "not of the form"),
                            ("lm_head.*: rates=1", "none of rate, decay, schedule"),
                            ("lm_head.*: rate=x", "not a valid number"),
                            ("lm_head.*: schedule=linear", "a schedule needs a rate")):
            done = train({**self.options, "group": text, "steps": 1})
            self.assertNotEqual(done.returncode, 0, text)
            self.assertIn(error, done.stderr)
        done = train({**self.options, "save-average": "x"})
        self.assertIn("--save-average needs --ema", done.stderr)

    def test_each_optimizer_goes_on(self):
        for optimizer in ("lion", "adafactor"):
            whole, directory = self.work / optimizer, self.work / (optimizer + "-again")
            options = {**self.options, "optimizer": optimizer, "rate": 1e-3}
            for run in ({"output-dir": whole}, {"output-dir": directory, "stop-step": 17},
                        {"output-dir": directory, "resume": directory}):
                done = train({**options, **run})
                self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(read_log(whole), read_log(directory))
            last = "checkpoints/step-00000040.safetensors"
            self.assertEqual((whole / last).read_bytes(), (directory / last).read_bytes())

    def test_flags_are_turned_off(self):
        directory = self.work / "flags"
        command = [PROGRAMS / "train_lm"] + words({**self.options, "recipe": "fast", "output-dir": directory,
                                                   "steps": 2})
        done = subprocess.run(command + ["--value-embeddings=false", "--tied=true"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        config = json.loads((directory / "config.json").read_text())
        self.assertEqual((config["value-embeddings"], config["tied"]), (False, True))
        done = subprocess.run(command + ["--tied=yes"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--tied: 'yes' is neither true nor false", done.stderr)

    def test_nan_stops_the_run_by_name(self):
        done = train({**self.options, "rate": 1e38, "clip": 0, "schedule": "constant", "warmup": 0})
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"train_lm: trainer_step: step \d+: .* is -?(nan|inf)")

    def test_range_test(self):
        directory = self.work / "range"
        options = {**self.options, "steps": 100, "optimizer": "muon", "rate": 0.01, "adamw-rate": 0.005,
                   "range-low": 1e-4, "range-high": 1e4, "output-dir": directory}
        done = train({**options, "range-test": True})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"suggested: --rate \d")
        with open(directory / "range-test.csv", newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        self.assertLess(len(rows), 100)  # a rate of 1e4 is more than any model bears
        self.assertGreaterEqual(len(rows), 10)
        log = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
        for i, row in enumerate(rows):
            rate = 1e-4 * 1e8 ** (i / 99)
            self.assertAlmostEqual(row["learning_rate"] / rate, 1, delta=1e-7)
            self.assertAlmostEqual(log[i]["learning_rate"] / rate, 1, delta=1e-7)
            self.assertEqual(row["loss"], log[i]["loss"])
        self.assertLess(min(row["smooth_loss"] for row in rows), rows[0]["smooth_loss"])
        suggested = float(re.search(r"suggested: --rate ([\d.e+-]+)", done.stdout).group(1))
        lowest = min(rows, key=lambda row: row["smooth_loss"])["learning_rate"]
        self.assertAlmostEqual(suggested / (lowest / 10), 1, delta=0.34)  # one digit
        self.assertIn("<svg", (directory / "range-test.svg").read_text())
        self.assertFalse((directory / "checkpoints").exists())
        for wrong, error in (({"range-low": 0}, "--range-low 0 and --range-high 10000"), ({"range-high": 1e-5}, "below"),
                             ({"steps": 19}, "needs 20"), ({"rate": 0}, "--rate above 0"),
                             ({"output": "x", "output-dir": None}, "--range-test excludes")):
            wrong = {name: value for name, value in {**options, "output-dir": self.work / "range-wrong", **wrong}.items()
                     if value is not None}
            done = train({**wrong, "range-test": True})
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(error, done.stderr)

    def test_report_stands_alone(self):
        page = self.work / "two.html"
        subprocess.run([PROGRAMS / "report", "--output", page, "--x", "tokens", self.whole, self.whole], check=True,
                       stdout=subprocess.DEVNULL)
        for path, runs in ((self.whole / "report.html", 1), (page, 2)):
            text = path.read_text()
            self.assertNotIn("http", text)
            drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
            self.assertEqual(len(drawings), 3)
            for drawing in drawings:
                curves = [path for path in xml.etree.ElementTree.fromstring(drawing).iter("path")
                          if path.get("class") == "curve"]
                self.assertEqual(len(curves), runs)
                for curve in curves:
                    points = [tuple(map(float, pair)) for pair in re.findall("[ML]([^,]*),([^ML]*)", curve.get("d"))]
                    self.assertGreater(len(points), 1)
                    self.assertEqual(points, sorted(points, key=lambda point: point[0]))
                    self.assertTrue(all(0 <= x <= 860 and 0 <= y <= 320 for x, y in points))

    def test_report_draws_without_a_page(self):
        drawing = self.work / "two.svg"
        subprocess.run([PROGRAMS / "report", "--output", drawing, self.whole, self.whole], check=True,
                       stdout=subprocess.DEVNULL)
        svg = "{http://www.w3.org/2000/svg}"
        root = xml.etree.ElementTree.parse(drawing).getroot()
        self.assertEqual(root.tag, svg + "svg")
        self.assertEqual(sum(path.get("class") == "curve" for path in root.iter(svg + "path")), 3 * 2)
        legend = [text.text for text in root.findall(svg + "text")][:2]
        self.assertTrue(all(line.startswith(f"{self.whole.name}: lowest validation loss") for line in legend), legend)

    def test_report_leaves_room_beside_a_diverged_run(self):
        diverged = self.work / "diverged"
        diverged.mkdir()
        losses = [8.0, 6.0, 1e9, 3.0, 1e12]
        (diverged / "log.jsonl").write_text("".join('{"step": %d, "tokens": %d, "loss": %g}\n' % (i + 1, i + 1, loss)
                                                    for i, loss in enumerate(losses)))
        drawing = self.work / "diverged.svg"
        subprocess.run([PROGRAMS / "report", "--output", drawing, diverged, self.whole, self.whole], check=True,
                       stdout=subprocess.DEVNULL)
        training = drawing.read_text().split("Training loss")[1].split("Learning rate")[0]
        curve = re.search('class="curve"[^/]* d="([^"]*)"', training).group(1)
        self.assertEqual(re.sub("[^ML]", "", curve), "MLLMLL")  # in, in, out; back in, out
        self.assertTrue(all(10 <= float(y) <= 276 for y in re.findall(",([0-9.]+)", curve)), curve)

    def test_report_names_what_it_lacks(self):
        done = subprocess.run([PROGRAMS / "report", self.work], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("log.jsonl", done.stderr)
        done = subprocess.run([PROGRAMS / "report"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
