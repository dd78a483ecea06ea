"""Runs of tinylm train: killed before their first checkpoint and started again, utilization, reports in a browser; and
the memory that tinylm info promises.

Usage: test_tinylm_runs.py DIRECTORY_OF_THE_PROGRAMS
"""

import json
import os
import pathlib
import random
import re
import resource
import shutil
import subprocess
import time
import unittest

from tinylm_case import TINYLM, TRAIN, Case, parse, run

# Ends beyond the first save, so that kills come before it.
SLOW = [*TRAIN, "--steps", "60", "--tokenizer", "tokenizer.json", "--threads", "1"]


def checkpoints(directory):
    return sorted(path.name for path in pathlib.Path(directory).glob("checkpoints/step-*.safetensors"))


def steps(directory):
    """The steps of the rows of its log."""
    return [json.loads(line)["step"] for line in pathlib.Path(directory, "log.jsonl").read_text().splitlines()]


class Runs(Case):
    def kill(self, words, chance, seconds):
        process = subprocess.Popen([TINYLM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(chance.uniform(0, seconds))
        process.kill()
        _, error = process.communicate()
        self.assertIn(process.returncode, (0, -9), error)
        return process.returncode == -9

    def test_killed_before_the_first_checkpoint(self):
        """At random moments, also while the directory and its first files are made, and between them."""
        seed = int(os.environ.get("TINYLM_TEST_SEED", random.randrange(2**32)))
        print(f"TINYLM_TEST_SEED={seed}", flush=True)
        chance = random.Random(seed)
        begin = time.monotonic()
        run(*SLOW, "--output-dir", "whole")
        seconds = time.monotonic() - begin
        final = checkpoints("whole")[-1]
        for resumes in (False, True):
            words = [*SLOW, "--output-dir", "killed", *(["--resume", "killed"] if resumes else [])]
            for _ in range(4):
                shutil.rmtree("killed", ignore_errors=True)
                kills = 0
                for limit in (seconds / 8, seconds / 2, seconds):
                    kills += self.kill(words, chance, limit)
                    if checkpoints("killed"):
                        break
                if checkpoints("killed"):
                    continue
                done = run(*words)
                if kills and pathlib.Path("killed/log.jsonl").exists() and "beginning" in done.out:
                    self.assertRegex(done.out, "without a checkpoint|holds no checkpoint yet")
                for name in (f"checkpoints/{final}", "samples.jsonl"):
                    self.assertEqual(pathlib.Path("killed", name).read_bytes(), pathlib.Path("whole", name).read_bytes())
                self.assertEqual(steps("killed"), steps("whole"))
                self.assertEqual([p for p in pathlib.Path("killed").rglob("*.new")], [])

    def test_states_that_a_kill_leaves(self):
        """Each file or directory that was there last."""
        run(*SLOW, "--output-dir", "full")
        made = ["config.json", "run.json", "log.csv", "log.jsonl", "samples.jsonl", "events.out.tfevents.0.tinylm",
                "report.html"]  # fmt: skip
        for n in range(len(made) + 1):
            for words in ([*SLOW, "--output-dir", "part"], [*SLOW, "--output-dir", "part", "--resume", "part"],
                          ["train", "--resume", "part"]):  # fmt: skip
                if words[1] == "--resume" and n == 0:
                    continue  # nothing says how to train
                shutil.rmtree("part", ignore_errors=True)
                pathlib.Path("part").mkdir()
                for name in made[:n]:
                    data = pathlib.Path("full", name).read_bytes().replace(b'"full"', b'"part"')
                    keep = len(data) if name.endswith("son") else len(data) * 2 // 3  # logs end anywhere
                    pathlib.Path("part", name).write_bytes(data[:keep])
                run(*words)
                self.assertEqual(checkpoints("part"), checkpoints("full"), (n, words))
        run(*SLOW, "--output-dir", "new", "--resume", "new")  # killed before its directory was made
        self.assertEqual(checkpoints("new"), checkpoints("full"))
        error = run(*SLOW, "--output-dir", "new", status=1).err
        self.assertIn("new already holds a run; --resume new continues it", error)
        self.assertIn("no-such: No such file", run(*SLOW, "--resume", "no-such", status=1).err)
        pathlib.Path("bare").mkdir()
        self.assertIn("bare", run(*SLOW, "--resume", "bare", status=1).err)
        for path in pathlib.Path("full/checkpoints").iterdir():  # what is damaged is not taken for nothing
            os.truncate(path, 100)
        self.assertIn("full", run(*SLOW, "--resume", "full", status=1).err)
        self.assertIn("already holds a run", run(*SLOW, "--output-dir", "full", status=1).err)

    def test_resume_alone_goes_on_with_the_options_of_the_run(self):
        run(*TRAIN, "--output-dir", "stopped", "--tokenizer", "tokenizer.json", "--stop-step", 7)
        done = run("train", "--resume", "stopped")
        self.assertIn("resumed after step 7", done.out)
        self.assertEqual(checkpoints("stopped"), ["step-00000007.safetensors", "step-00000020.safetensors"])
        run(*TRAIN, "--output", "once.safetensors", "--tokenizer", "tokenizer.json")
        self.assertEqual(pathlib.Path("stopped/checkpoints/step-00000020.safetensors").read_bytes(),
                         pathlib.Path("once.safetensors").read_bytes())  # fmt: skip
        done = run("train", "--resume", "stopped", "--steps", 25, "--output", "more.safetensors")  # elsewhere
        self.assertEqual(len(checkpoints("stopped")), 2)
        self.assertTrue(pathlib.Path("more.safetensors").exists())

    def test_two_processes_do_not_write_one_run(self):
        process = subprocess.Popen([TINYLM, *SLOW, "--steps", "1000000", "--output-dir", "busy"],
                                   stdout=subprocess.PIPE, text=True)  # fmt: skip
        try:
            for line in process.stdout:
                if "validation loss" in line:
                    break
            self.assertIn("another process is writing", run(*SLOW, "--output-dir", "busy", status=1).err)
        finally:
            process.kill()
            process.communicate()
        run(*SLOW, "--output-dir", "busy")  # the lock went with the process

    def test_utilization_is_at_most_one(self):
        for peak in ("0.001", "0"):
            shutil.rmtree("mfu", ignore_errors=True)
            done = run(*SLOW, "--output-dir", "mfu", "--peak-gflops", peak)
            shares = [int(share) for share in re.findall(r"MFU (?:about )?(\d+)%", done.out)]
            self.assertTrue(shares and max(shares) <= 100, shares)
            rows = map(json.loads, pathlib.Path("mfu/log.jsonl").read_text().splitlines())
            self.assertTrue(all(0 < row["utilization"] <= 1 for row in rows if "utilization" in row))
        self.assertRegex(run(*SLOW, "--peak-gflops", "0.001").out, r"MFU about \d+%")

    # ---- What fits ----

    def test_a_model_that_fits_trains_in_the_memory(self):
        """The shape that info names is trained, and the process stays within what was asked for."""
        limit = 96 << 20
        rows = parse(run("info", "--memory", "96M", "--vocab-size", 400, "--context", 32, "--batch", 4, "--json").out)
        fits = {row["use"]: row for row in rows["fits"]}
        self.assertEqual(rows["memory"], limit)
        self.assertGreaterEqual(fits["train, --checkpointing"]["parameters"], fits["train"]["parameters"])
        self.assertGreater(fits["generate, q8_0"]["parameters"], fits["generate, float32"]["parameters"])
        shape = fits["train"]
        words = [TINYLM, *TRAIN, "--context", 32, "--steps", 3, "--eval-every", 0, "--peak-gflops", 1, "--d-model",
                 shape["d_model"], "--layers", shape["layers"], "--heads", shape["heads"]]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        subprocess.run(list(map(str, words)), check=True, stdout=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        print(f"{shape['parameters']} parameters: {used >> 20} MiB of {limit >> 20}")
        if used > before * 1024:  # else an earlier child took more
            self.assertLessEqual(used, limit)
            self.assertGreater(used, limit // 2)

    # Each option of a shape, with a value that changes what a model has, if any does.
    SHAPE = {"kv-heads": 1, "d-ff": 48, "head-dim": 6, "qk-norm": "heads", "norm": "both", "position": "learned",
             "rope-theta": 500, "ffn": "geglu", "tied": "true", "embedding-norm": "true", "value-embeddings": "true",
             "softcap": 30, "base-width": 8, "output-init": "depth"}  # fmt: skip

    def test_what_a_model_has_is_what_info_counts(self):
        """Of a path as of the options that it was made with."""
        helped = run("help", "info").out.split("\nModel:\n")[1].split("\n\n")[0]
        names = set(re.findall(r"(?m)^  --([a-z-]+)", helped)) - {"model"}
        self.assertEqual(names, {*self.SHAPE, "vocab-size", "context", "d-model", "layers", "heads"})
        small = ["--vocab-size", 400, "--context", 16, "--d-model", 16, "--layers", 2, "--heads", 2]
        for option, value in [("layers", 2), *self.SHAPE.items()]:
            with self.subTest(option=option):
                shape = [*small, f"--{option}={value}"]
                done = run(*TRAIN[:5], *shape, "--steps", 1, "--batch", 1, "--eval-every", 0, "--json", "--output",
                           "one.safetensors")  # fmt: skip
                counted = parse(run("info", "--gflops", 1, "--json", *shape).out)
                of_file = parse(run("info", "--gflops", 1, "--json", "one.safetensors").out)
                self.assertEqual(of_file.pop("weight_bytes")["file"], 4 * counted["parameters"])
                self.assertEqual(of_file, counted)
                self.assertEqual(counted["parameters"], parse(done.out.splitlines()[0])["parameters"])
        self.assertIn("--layers contradicts the model in one.safetensors",
                      run("info", "--layers", 3, "one.safetensors", status=2).err)  # fmt: skip
        run("info", "--gflops", 1, "--layers", 2, "one.safetensors")

    def test_what_no_option_says_of_a_model(self):
        """Biases, as Qwen2 has them, for which there is no option."""
        shutil.copytree("folder", "biased")
        data = pathlib.Path("folder/model.safetensors").read_bytes()
        size = int.from_bytes(data[:8], "little")
        header, end = json.loads(data[8 : 8 + size]), len(data) - 8 - size
        widths = {name: header[f"model.layers.0.self_attn.{name}_proj.weight"]["shape"][0] for name in "qkv"}
        for name, width in widths.items():
            header[f"model.layers.0.self_attn.{name}_proj.bias"] = {
                "dtype": "F32", "shape": [width], "data_offsets": [end, end + 4 * width]}  # fmt: skip
            end += 4 * width
        text = json.dumps(header).encode()
        pathlib.Path("biased/model.safetensors").write_bytes(
            len(text).to_bytes(8, "little") + text + data[8 + size :] + bytes(4 * sum(widths.values())))  # fmt: skip
        config = json.loads(pathlib.Path("folder/config.json").read_text())
        config.update(model_type="qwen2", architectures=["Qwen2ForCausalLM"])
        pathlib.Path("biased/config.json").write_text(json.dumps(config))
        plain, biased = (parse(run("info", "--gflops", 1, "--json", name).out) for name in ("folder", "biased"))
        self.assertEqual(biased["parameters"], plain["parameters"] + sum(widths.values()))
        self.assertGreater(biased["memory"]["weights"], plain["memory"]["weights"])

    def test_a_model_that_is_not_trained(self):
        for words in (["--weights", "q8_0"], ["--weights", "bfloat16"], ["--freeze", "*"]):
            cost = parse(run("info", "--d-model", 256, "--memory", "64M", "--json", *words).out)
            self.assertEqual((cost["trained_parameters"], cost["step_seconds"], cost["is_measured"]), (0, None, False))
            self.assertEqual(cost["memory"]["step_peak"], 0)
            self.assertGreater(cost["memory"]["weights"], 0)
            text = run("info", "--d-model", 256, "--memory", "64M", *words).out
            self.assertNotIn("train step", text)
            self.assertIn(f"Largest batch that generates in 64.0 MiB: {cost['largest_batch']}", text)

    def test_amounts_of_memory(self):
        for text, amount in (("1G", 2**30), ("1GiB", 2**30), ("512M", 2**29), ("0.5", 2**29), ("524288k", 2**29)):
            self.assertEqual(parse(run("info", "--memory", text, "--json", "--context", 64).out)["memory"], amount)
        for text in ("", "G", "8X", "-1G", "8Gb/s", "nan", "inf"):
            self.assertIn("is not an amount of memory", run("info", "--memory", text, status=2).err)
        self.assertEqual({row["parameters"] for row in parse(run("info", "--memory", "1M", "--json").out)["fits"]}, {0})

    # ---- Reports ----

    def test_report_says_what_was_trained_where(self):
        page = pathlib.Path("run/report.html").read_text(encoding="utf-8")
        for text in ("parameters: 1 layers of width 16", "train.npy, ", "valid.npy, ", " tokens", os.uname().nodename,
                     time.strftime("%Y-"), " UTC", "What it writes", "Once upon a time", "After step 20"):  # fmt: skip
            self.assertIn(text, page)
        self.assertIn('name="viewport"', page)

    def test_report_on_a_phone(self):
        browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if browser is None:
            self.skipTest("chromium is not installed")
        # The page in frames of the widths of phones; the outer page measures them.
        run("report", "--output", "two.html", "run", "run")
        page = pathlib.Path("two.html").read_text(encoding="utf-8")
        frames = "".join(f'<iframe width="{width}" height="640" srcdoc="{page.replace("&", "&amp;").replace(chr(34), "&quot;")}"'
                         "></iframe>" for width in (360, 320, 800))  # fmt: skip
        script = """<script>onload = () => { document.title = Array.from({length: frames.length}, (_, i) => frames[i]).map(f => [f.innerWidth,
            f.document.documentElement.scrollWidth, f.document.querySelectorAll('svg').length,
            parseFloat(f.getComputedStyle(f.document.querySelector('svg text')).fontSize) *
            f.document.querySelector('svg').getBoundingClientRect().width / 860,
            f.document.body.innerText.includes('What it writes')]).join(';') }</script>"""
        pathlib.Path("frames.html").write_text(f"<!doctype html><body>{frames}{script}", encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=profile",
                   "--virtual-time-budget=4000", "--dump-dom", pathlib.Path("frames.html").resolve().as_uri()]  # fmt: skip
        shown = subprocess.run(command, capture_output=True, text=True, timeout=240).stdout
        title = re.search(r"<title>(.*?)</title>", shown)
        self.assertIsNotNone(title, shown[-500:])
        measures = [frame.split(",") for frame in title.group(1).split(";")]
        self.assertEqual([int(float(measure[0])) for measure in measures], [360, 320, 800])
        for width, scroll, drawings, letters, samples in measures:
            self.assertLessEqual(float(scroll), float(width), measures)
            self.assertEqual(drawings, "3")
            self.assertGreater(float(letters), 7.5, measures)  # pixels: legible
            self.assertEqual(samples, "true")


unittest.main()
