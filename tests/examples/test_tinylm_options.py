"""Options of the program tinylm: one of a name is one thing in all commands, defaults of optimizers are those that
help names, and what info and convert say of bytes is what the files have.

Usage: test_tinylm_options.py DIRECTORY_OF_THE_PROGRAMS
"""

import json
import os
import pathlib
import re
import unittest

from tinylm_case import COMMANDS, PROGRAMS, TRAIN, Case, parse, run

TRAIN = [*TRAIN, "--peak-gflops", 1]  # else it is measured, for half a second
TABLE = pathlib.Path(__file__).resolve().parents[2] / "examples/support/option_help.h"
OTHERS = ["make_stories", "sgd_learning_rates"]  # programs that are no commands
# Defaults that differ, and why.
DEFAULTS = {
    "context": "eval has a model, whose context it is; info and train describe one",
    "output": "only report has a usual name for what it writes",
    "special": "bpe makes the token; the others find those of the file",
    "steps": "info prints the time of one step unless more are asked for",
}
WEIGHTS = ["float32", "float16", "bfloat16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k_m", "q5_k_m", "q6_k"]


def options_of(text):
    """What help says: {name: (type of the value, help, default)}."""
    found, name = {}, None
    for line in text.split("\n\n--")[0].split("\nFor example")[0].splitlines():
        match = re.match(r"  --([a-z0-9-]+) (FILE|DIR|TEXT|WORD|N|X|)(?: +(.*))?$", line)
        if match:
            name = match.group(1)
            found[name] = [match.group(2), match.group(3) or ""]
        elif name and line.startswith(" " * 26):
            found[name][1] += " " + line.strip()
        else:
            name = None
    return {name: (kind, re.sub(r" \((default .*|required)\)$", "", text.strip()), (re.search(r"\(default (.*)\)$", text) or "  ")[1])
            for name, (kind, text) in found.items()}  # fmt: skip


def safetensors(path):
    """Its header, and how many bytes follow it."""
    data = pathlib.Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), len(data) - 8 - size


class Options(Case):
    def test_options_of_one_name_are_one_option(self):
        """Of one type, and explained in the words of one table, with what a command adds behind them."""
        words = {name.lower().replace("_", "-"): text.replace('\\"', '"')
                 for name, text in re.findall(r'#define HELP_(\w+) +"(.*)"$', TABLE.read_text(), re.M)}  # fmt: skip
        uses = {}
        for command in COMMANDS:
            for name, option in options_of(run("help", command).out).items():
                uses.setdefault(name, {})[command] = option
        for program in OTHERS:
            for name, option in options_of(run("--help", program=PROGRAMS / program).out).items():
                uses.setdefault(name, {})[program] = option
        for name, by in uses.items():
            if len({text for _, text, _ in by.values()}) > 1:
                self.assertIn(name, words, f"--{name} is explained in several ways: {by}")
            self.assertEqual(len({kind for kind, _, _ in by.values()}), 1, f"--{name} has several types: {by}")
            if len({default for _, _, default in by.values()}) > 1:
                self.assertIn(name, DEFAULTS, f"--{name} has several defaults: {by}")
            for command, (_, text, _) in by.items():
                if name in words:
                    text = text.removeprefix("with --chat: ")
                    self.assertTrue(text.startswith(words[name]), f"--{name} of {command}: {text}")
                    self.assertRegex(text[len(words[name]) :], r"^($|[,;:])", f"--{name} of {command}")
        for name in words:
            self.assertGreater(len(uses.get(name, ())), 1, f"--{name} is in the table, and not in several programs")
        for name in DEFAULTS:
            self.assertGreater(len({default for _, _, default in uses[name].values()}), 1, f"--{name}")
        for name in ("json", "quiet", "config", "version", "threads", "model", "stop"):
            self.assertIn(name, uses)

    def test_names_that_meant_something_else(self):
        for words in (["bpe", "--tokenizer", "o.json", "train.txt"], ["eval", "--model", "run", "--end-token", "x", "valid.txt"],
                      ["convert", "--to", "hf", "--end-token", "x", "run", "o"]):  # fmt: skip
            self.assertIn("unknown option", run(*words, status=2).err)

    def test_variables_of_the_environment(self):
        for name, wrong, right, said in (
            ("TINYLM_CPU", ["abacus", "avx2,-fmaa", "-"], ["scalar", "-avx512f,-neon", "", "avx2,-sve"], "is none of the words scalar, avx2,"),
            ("TINYLM_NUM_THREADS", ["0", "two", "257"], ["1"], "is not a number in 1 .. 256"),
            ("TINYLM_PROGRESS_SECONDS", ["soon", "-1", "nan", ""], ["0", "1.5"], "is not a number of seconds"),
        ):  # fmt: skip
            for words in (["info", "--gflops", 1], ["generate", "--model", "run", "--max-tokens", 1]):
                for value in wrong:
                    done = run(*words, env={name: value}, status=2)
                    self.assertRegex(done.err, rf"^tinylm {words[0]}: {name}: '.*' {said}.*\n$")
                    self.assertEqual(done.out, "")
                for value in right:
                    run(*words, env={name: value})
            run("help", env={name: wrong[0]})
            run("info", "--help", env={name: wrong[0]})
            run("--help", env={name: wrong[0]}, program=PROGRAMS / "train_lm")
            run("--gflops", 1, env={name: wrong[0]}, program=PROGRAMS / "model_info", status=2)

    # ---- Optimizers ----

    # Rate, least rate, and what the group has, where the command line says nothing. AdamW's are those of language
    # models; the others' are those of the library's INIT macros.
    KINDS = {
        "adamw": (6e-3, 6e-4, {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}),
        "sgd": (None, None, {}),
        "muon": (6e-3, 6e-4, {"momentum": 0.95, "eps": 1e-7, "iterations": 5, "weight_decay": 0.1}),
        "lion": (1e-4, 1e-5, {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}),
        "adafactor": (1e-2, 1e-3, {"power": 0.8, "eps": 2.0**-23, "min_rms": 1e-3, "threshold": 1.0, "weight_decay": 0.0}),
    }  # fmt: skip

    def trained(self, *words):
        run(*TRAIN, "--steps", 2, "--eval-every", 0, "--output", "o.safetensors", *words)
        metadata = safetensors("o.safetensors")[0]["__metadata__"]
        return json.loads(metadata["optimizer"]), json.loads(metadata["user"])["run"]

    def test_defaults_of_optimizers(self):
        helped = options_of(run("help", "train").out)
        self.assertEqual(set(helped["optimizer"][1].rsplit(": ", 1)[1].split(", ")), set(self.KINDS))
        self.assertEqual(options_of(run("help", "info").out)["optimizer"], helped["optimizer"])
        for kind, (rate, least, options) in self.KINDS.items():
            with self.subTest(kind=kind):
                words = ["--optimizer", kind, *([] if rate else ["--rate", 0.5])]
                optimizer, of_run = self.trained(*words)
                group = optimizer["groups"][0]
                self.assertEqual(optimizer["kind"], kind)
                self.assertEqual({name: group[name] for name in options}, options)
                self.assertEqual(float(of_run["schedule.max_learning_rate"]), rate or 0.5)
                self.assertEqual(float(of_run["schedule.min_learning_rate"]), least or 0.05)
                # A number of several kinds stands in the help with the kind, as that has no default of its own.
                for name, value in (("rate", rate), ("min-rate", least if kind in ("adamw", "muon") else None),
                                    ("weight-decay", options.get("weight_decay")), ("beta2", options.get("beta2"))):  # fmt: skip
                    if value:
                        self.assertIn(f"{value:g}", helped[name][1])
                    self.assertEqual(helped[name][2], " ")
        self.assertEqual(self.trained("--optimizer", "muon")[0]["groups"][1]["beta2"], 0.95)
        optimizer, of_run = self.trained("--optimizer", "lion", "--rate", 0.002, "--weight-decay", 0.3, "--beta2", 0.5)
        self.assertEqual(float(of_run["schedule.min_learning_rate"]), 0.0002)
        self.assertEqual((optimizer["groups"][0]["weight_decay"], optimizer["groups"][0]["beta2"]), (0.3, 0.5))
        self.assertIn("--optimizer sgd needs --rate", run(*TRAIN, "--optimizer", "sgd", status=2).err)

    def test_options_of_other_optimizers_are_refused(self):
        own = {"weight-decay": "adamw muon lion adafactor", "no-decay": "adamw muon lion adafactor", "beta1": "adamw muon lion",
               "beta2": "adamw muon lion", "eps": "adamw muon", "adamw": "adamw muon", "adamw-rate": "muon", "adamw-decay": "muon",
               "momentum": "muon", "muon-scale": "muon", "muon-iterations": "muon", "muon-eps": "muon", "muon-nesterov": "muon",
               "adafactor-power": "adafactor", "adafactor-eps": "adafactor", "adafactor-min-rms": "adafactor",
               "adafactor-threshold": "adafactor"}  # fmt: skip
        values = {"no-decay": "norms", "adamw": "pytorch", "muon-scale": "jordan", "muon-iterations": 3, "muon-nesterov": "false"}
        section = run("help", "train").out.split("\nOptimizer:\n")[1].split("\n\n")[0]
        shared = {"optimizer", "schedule", "rate", "min-rate", "warmup", "decay-steps", "group", "range-test", "range-low",
                  "range-high", "clip", "ema"}  # fmt: skip
        self.assertEqual(set(re.findall(r"(?m)^  --([a-z0-9-]+)", section)), set(own) | shared)
        for name, kinds in own.items():
            for kind in self.KINDS:
                words = [*TRAIN, "--steps", 0, "--optimizer", kind, "--rate", 0.01, f"--{name}={values.get(name, 0.5)}"]
                if kind not in kinds.split():
                    self.assertIn(f"--{name} means nothing to --optimizer {kind}", run(*words, status=2).err)
        # A recipe is for the optimizer that it names; another one takes of it what it can.
        run(*TRAIN, "--steps", 1, "--recipe", "fast", "--optimizer", "lion")
        run(*TRAIN, "--steps", 1, "--recipe", "cs336", "--optimizer", "sgd")

    # ---- Runs that go on ----

    RUNS = [
        [], ["--optimizer", "muon", "--adamw-rate", 0.0123, "--muon-nesterov=false", "--muon-scale", "jordan", "--muon-iterations", 3,
             "--no-decay", "norms", "--adamw-decay", 0.3, "--momentum", 0.9, "--muon-eps", 1e-6],
        ["--optimizer", "muon", "--rate", 0.003, "--weight-decay", 0, "--adamw-decay", 0, "--beta1", 0.8],
        ["--optimizer", "lion", "--no-decay", "both", "--weight-decay", 0.1, "--schedule", "wsd", "--decay-steps", 5, "--beta2", 0.9],
        ["--optimizer", "adafactor", "--adafactor-power", 0.7, "--ema", 0.9, "--adafactor-min-rms", 0.01, "--adafactor-threshold", 2,
         "--adafactor-eps", 1e-9, "--min-rate", 0.001],
        ["--optimizer", "sgd", "--rate", 0.7, "--schedule", "constant", "--accumulate", 2],
        ["--batch-start", 2, "--batch-warmup", 6, "--order", "shuffled", "--document-end", 0, "--clip", 0.5, "--seed", 7, "--context", 8,
         "--beta1", 0.7, "--eps", 1e-7, "--adamw", "pytorch", "--no-decay", "embeddings", "--dropout", 0.1, "--schedule", "linear"],
        ["--batch-start", 2, "--batch-increment", 2, "--batch-warmup-tokens", 300, "--products", "bfloat16_emulated", "--base-width", 8],
    ]  # fmt: skip

    def test_a_checkpoint_holds_the_options_of_its_run(self):
        data = ["--train", "train.npy", "--valid", "valid.npy", "--eval-every", 0, "--peak-gflops", 1]
        for number, words in enumerate(self.RUNS):
            with self.subTest(words=words):
                words = [*TRAIN, "--eval-every", 0, *words]
                run(*words, "--output", "whole.safetensors")
                run(*words, "--output", "part.safetensors", "--stop-step", 7)
                run("train", *data, "--resume", "part.safetensors", "--output", "part.safetensors")
                self.assertEqual(pathlib.Path("whole.safetensors").read_bytes(), pathlib.Path("part.safetensors").read_bytes())
                # A directory of checkpoints alone is the same.
                run(*words, "--output-dir", f"parts{number}", "--save-every", 3, "--stop-step", 7)
                os.rename(f"parts{number}/checkpoints", f"alone{number}")
                run("train", *data, "--resume", f"alone{number}", "--output", "part.safetensors")
                self.assertEqual(pathlib.Path("whole.safetensors").read_bytes(), pathlib.Path("part.safetensors").read_bytes())

    def test_options_on_the_command_line_change_a_run(self):
        run(*TRAIN, "--output", "part.safetensors", "--stop-step", 7)
        resume = ["train", "--train", "train.npy", "--valid", "valid.npy", "--resume", "part.safetensors", "--output", "o.safetensors",
                  "--peak-gflops", 1]
        run(*resume, "--rate", 0.001, "--steps", 24, "--weight-decay", 0.2)
        metadata = safetensors("o.safetensors")[0]["__metadata__"]
        of_run, group = json.loads(metadata["user"])["run"], json.loads(metadata["optimizer"])["groups"][0]
        self.assertEqual((of_run["steps"], of_run["schedule.max_learning_rate"], of_run["schedule.warmup_steps"]), ("24", "0.001", "5"))
        self.assertEqual((group["weight_decay"], group["beta2"]), (0.2, 0.95))
        self.assertIn("from optimizer adamw, not lion", run(*resume, "--optimizer", "lion", status=1).err)
        # What a checkpoint does not tell is asked for; what is damaged is not guessed at.
        run(*TRAIN, "--recipe", "fast", "--output", "fast.safetensors", "--stop-step", 7)
        resume[6] = "fast.safetensors"
        self.assertIn("a checkpoint does not tell --group", run(*resume, status=1).err)
        run(*resume, "--recipe", "fast")
        data = bytearray(pathlib.Path("part.safetensors").read_bytes())
        for at in (9, 60, 200, len(data) - 3):
            damaged = data.copy()
            damaged[at] ^= 1
            pathlib.Path("damaged.safetensors").write_bytes(damaged)
            resume[6] = "damaged.safetensors"
            self.assertNotIn(run(*resume, status=None).returncode, (0, -6, -11))
        pathlib.Path("damaged.safetensors").write_bytes(data[:300])
        run(*resume, status=1)

    # ---- Bytes ----

    def info(self, *words):
        return parse(run("info", "--gflops", 1, "--json", *words).out)

    def test_bytes_of_weights_are_those_of_the_files(self):
        """In safetensors all that is behind the header; GGUF has padding and keys besides."""
        run(*TRAIN, "--steps", 1, "--eval-every", 0, "--d-model", 256, "--d-ff", 96, "--output", "wide.safetensors")
        whole = self.info("wide.safetensors")
        elements, sizes = whole["parameters"], whole["weight_bytes"]
        self.assertEqual((sizes["file"], sizes["to_generate"], sizes["to_train"]), (4 * elements,) * 3)
        self.assertEqual(set(sizes["converted"]), set(WEIGHTS))
        self.assertEqual(whole["memory"]["generating_weights"], 4 * elements)
        for weights in WEIGHTS:
            with self.subTest(weights=weights):
                run("convert", "--to", "gguf", "--weights", weights, "--no-tokenizer", "wide.safetensors", "w.gguf")
                got = self.info("w.gguf")
                size = sizes["converted"][weights]
                self.assertEqual((got["weight_bytes"]["file"], got["weight_bytes"]["to_generate"]), (size, size))
                self.assertEqual(got["weight_bytes"]["to_train"], 4 * elements)
                self.assertEqual(got["weight_bytes"]["converted"], sizes["converted"])
                self.assertEqual((got["parameters"], got["memory"]["generating_weights"]), (elements, size))
                self.assertTrue(size < os.path.getsize("w.gguf") < size + 5000, (size, os.path.getsize("w.gguf")))
                # Steps train float32; adapters are trained beside what the file has.
                self.assertEqual(got["memory"]["weights"], 4 * elements)
                beside = self.info("w.gguf", "--lora-rank", 2)
                self.assertEqual(beside["memory"]["weights"], size + 4 * beside["trained_parameters"])
                self.assertLess(beside["memory"]["step_live"], beside["memory"]["activations"] * 1.5 + size * 1.3 + 2e6)
                text = re.sub(" +", " ", run("info", "--gflops", 1, "w.gguf").out)
                self.assertIn(f" in the file {size:,} ", text)
                self.assertIn(f" {weights} {size:,} ", text)
        for weights in WEIGHTS[:3]:
            run("convert", "--to", "hf", "--weights", weights, "--no-tokenizer", "wide.safetensors", "wide")
            got = self.info("wide")["weight_bytes"]
            self.assertEqual(got["file"], safetensors("wide/model.safetensors")[1])
            self.assertEqual(got["to_generate"], sizes["converted"][weights])
        asked = self.info("wide", "--weights", "q8_0")
        self.assertEqual(asked["memory"]["weights"], asked["memory"]["generating_weights"])
        self.assertLess(asked["memory"]["weights"], 1.2 * elements)
        # More sequences fit where the weights take less.
        self.assertGreater(self.info("w.gguf", "--freeze", "*", "--memory", "8M")["largest_batch"],
                           self.info("wide.safetensors", "--freeze", "*", "--memory", "8M")["largest_batch"])  # fmt: skip

    def test_a_model_that_gguf_does_not_have(self):
        run(*TRAIN, "--steps", 1, "--eval-every", 0, "--value-embeddings", "--output", "own.safetensors")
        self.assertEqual(self.info("own.safetensors")["weight_bytes"]["converted"], {})
        self.assertNotIn("convert --weights", run("info", "--gflops", 1, "own.safetensors").out)

    def test_convert_knows_how_much_it_writes(self):
        """The last line of progress, at the end of the output."""
        run(*TRAIN, "--steps", 1, "--eval-every", 0, "--d-model", 256, "--output", "big.safetensors")
        run("finetune", *TRAIN[1:5], "--context", 16, "--init", "big.safetensors", "--lora-rank", 8, "--steps", 1, "--eval-every", 0,
            "--save-adapter", "tuned", "--output", "tuned.safetensors")  # fmt: skip
        for source, words in (("big.safetensors", ["checkpoint"]), ("big.safetensors", ["hf"]), ("big.safetensors", ["gguf"]),
                              ("big.safetensors", ["hf", "--weights", "bfloat16"]), ("big.safetensors", ["gguf", "--weights", "q4_k_m"]),
                              ("big.safetensors", ["gguf", "--weights", "float16"]), ("tuned.safetensors", ["adapter"]),
                              ("big.safetensors", ["adapter", "--adapter", "tuned"]), ("tuned.safetensors", ["gguf", "--merge"]),
                              ("run", ["gguf"]), ("model.gguf", ["gguf"])):  # fmt: skip
            with self.subTest(source=source, words=words):
                plain = [] if source in ("run", "model.gguf") else ["--no-tokenizer"]
                shown = run("convert", "--to", *words, *plain, source, "out-" + "-".join(words[:1]),
                            env={"TINYLM_PROGRESS_SECONDS": "0"}).err  # fmt: skip
                share = int(re.findall(r"(?m)^writing: +(\d+)%", shown)[-1])
                self.assertGreaterEqual(share, 98, shown)

    def test_a_special_token_needs_a_tokenizer(self):
        for words in (["convert", "--to", "gguf", "run", "o.gguf"], ["eval", "--model", "run", "valid.txt"]):
            self.assertIn("--special is a token of --tokenizer or --vocab", run(*words, "--special", "x", status=2).err)


unittest.main()
