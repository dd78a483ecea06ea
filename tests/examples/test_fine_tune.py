"""Fine-tuning with train_lm: from a folder, a GGUF file and a checkpoint, with frozen parameters and with
adapters, over whole and over quantized weights; killed and resumed; and what the other programs do with
the result.

Usage: test_fine_tune.py DIRECTORY_OF_THE_PROGRAMS
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import tinylm

PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
TEXT = "the cat sat on the mat. the dog sat on the log. the cow and the cat ran to the dog.\n"
LORA = ["--lora-rank", "4", "--lora-alpha", "8", "--lora-dropout", "0.2"]


def text_of(seed, lines):
    chance = random.Random(seed)
    words = TEXT.split()
    return "".join(" ".join(chance.sample(words, 8)) + "\n" for _ in range(lines))


class FineTuneTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.root = pathlib.Path(directory.name)
        tokenizer = tinylm.Tokenizer.train(TEXT * 20, vocab_size=300, special_tokens=["<|endoftext|>"])
        model = tinylm.Model.create(320, 64, 32, 2, 4, d_ff=64, num_kv_heads=2, seed=5, tied_embeddings=True)
        model.save_hf(cls.root / "base", tokenizer)
        model.save_gguf(cls.root / "base.gguf", tokenizer, weights="q8_0")
        model.save(cls.root / "base.safetensors")
        (cls.root / "train.txt").write_text(text_of(1, 60))
        (cls.root / "valid.txt").write_text(text_of(2, 20))
        cls.train_ids = tokenizer.encode(text_of(1, 60))

    def command(self, *arguments):
        return [PROGRAMS / "train_lm", "--train", "train.txt", "--valid", "valid.txt", "--context", "16", "--batch",
                "2", "--steps", "12", "--warmup", "2", "--rate", "0.01", "--log-every", "6", "--eval-tokens", "64",
                "--peak-gflops", "1", *map(str, arguments)]

    def run_in(self, command, status=0):
        result = subprocess.run(command, cwd=self.root, capture_output=True, text=True)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout + result.stderr

    def train(self, *arguments, status=0):
        return self.run_in(self.command(*arguments), status)

    def test_all_formats_and_text(self):
        for init in ("base", "base.gguf", "base.safetensors"):
            with self.subTest(init=init):
                extra = ["--tokenizer", "base"] if init == "base.safetensors" else []
                output = self.train("--init", init, "--output", "full.safetensors", *extra)
                self.assertRegex(output, rf"{len(self.train_ids)} tokens to train on")
                losses = [float(line.split("loss")[1].split()[0]) for line in output.splitlines()
                          if line.startswith("step")]
                self.assertLess(losses[-1], losses[0])

    def test_options_that_contradict_the_model_are_named(self):
        for option, value in {"heads": 2, "layers": 3, "d-model": 48, "vocab-size": 100, "ffn": "silu",
                              "norm": "post", "rope-theta": 500, "kv-heads": 4, "d-ff": 100}.items():
            with self.subTest(option=option):
                output = self.train("--init", "base", f"--{option}", value, status=2)
                self.assertIn(f"--{option} contradicts the model in base", output)
        self.train("--init", "base", "--heads", 4, "--layers", 2, "--kv-heads", 2, "--steps", 1)
        self.assertIn("longer than", self.train("--init", "base", "--context", 65, status=1))
        self.assertIn("no parameter of the model fits 'nothing.*'",
                      self.train("--init", "base", "--freeze", "nothing.*", status=1))
        self.assertIn("needs --init", self.train("--lora-rank", 4, status=2))

    def test_frozen_parameters_stay_and_resume(self):
        freeze = ["--init", "base", "--freeze", "token_embeddings.*,layers.0.*"]
        whole = self.train(*freeze, "--output", "whole.safetensors", "--seed", 3)
        self.assertRegex(whole, r"parameters, \d+ of them trained")
        self.train(*freeze, "--output", "half.safetensors", "--seed", 3, "--stop-step", 5)
        self.train("--init", "base", "--resume", "half.safetensors", "--output", "half.safetensors", "--seed", 3)
        self.assertEqual((self.root / "half.safetensors").read_bytes(), (self.root / "whole.safetensors").read_bytes())
        before, _ = tinylm.Model.open(self.root / "base")
        after = tinylm.Model.load(self.root / "whole.safetensors")
        for name, tensor in before.parameters().items():
            self.assertEqual(tensor.tolist() == after.parameters()[name].tolist(),
                             name.startswith(("token_embeddings", "layers.0.")), name)

    def test_adapters_of_whole_and_quantized_weights_resume(self):
        for init in ("base", "base.gguf"):
            with self.subTest(init=init):
                whole = ["--init", init, *LORA, "--seed", 3, "--threads", 1, "--checkpointing"]
                self.train(*whole, "--output", "a.safetensors", "--save-adapter", "adapter")
                self.assertLess((self.root / "a.safetensors").stat().st_size, 400_000)
                self.train(*whole[:-3], "--output", "b.safetensors", "--stop-step", 5, "--threads", 2)
                self.train("--resume", "b.safetensors", "--output", "b.safetensors", "--seed", 3)
                self.assertEqual((self.root / "b.safetensors").read_bytes(), (self.root / "a.safetensors").read_bytes())
                self.use_adapter(init)

    def use_adapter(self, init):
        """What generate and convert do with the adapters just trained."""
        generate = [PROGRAMS / "generate", "--prompt", "the cat", "--temperature", "0", "--max-tokens", "8"]
        texts = [self.run_in([*generate, *model]).rpartition(" tokens, ")[0]
                 for model in (["--model", "a.safetensors"], ["--model", init, "--adapter", "adapter"])]
        self.assertEqual(texts[0], texts[1])
        self.run_in([PROGRAMS / "convert", "--to", "hf", "--adapter", "adapter", init, "merged"])
        self.run_in([PROGRAMS / "convert", "--to", "gguf", "--merge", "a.safetensors", "merged.gguf"])
        self.run_in([PROGRAMS / "convert", "--to", "adapter", "a.safetensors", "again"])
        self.assertEqual((self.root / "again/adapter_model.safetensors").read_bytes(),
                         (self.root / "adapter/adapter_model.safetensors").read_bytes())
        self.assertIn("has adapters", self.run_in([PROGRAMS / "convert", "--to", "hf", "a.safetensors", "x"], 1))
        ids = [[3, 1, 4, 1, 5]]
        adapted, _ = tinylm.Model.open(self.root / "a.safetensors")
        merged, _ = tinylm.Model.open(self.root / "merged")
        wanted, found = adapted.forward(ids).tolist(), merged.forward(ids).tolist()
        for a, b in zip(wanted[0], found[0]):
            self.assertLess(max(abs(x - y) for x, y in zip(a, b)), 1e-4 * max(map(abs, a)))

    def test_conversations(self):
        lines = []
        for i in range(30):
            ask, answer = TEXT.split(". ")[i % 3], "the cat" if i % 2 else "the dog"
            lines.append({"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]}
                         if i % 3 else {"prompt": ask, "completion": answer})
        for name, part in (("chat.jsonl", lines[:20]), ("chat_valid.jsonl", lines[20:])):
            (self.root / name).write_text("".join(json.dumps(line) + "\n" for line in part))
        command = [*self.command("--init", "base", "--chat-template", "chatml", *LORA, "--accumulate", "2")]
        command[2], command[4] = "chat.jsonl", "chat_valid.jsonl"
        command[command.index("--context") + 1] = "63"
        output = self.run_in([*command, "--output", "chat.safetensors"])
        self.assertRegex(output, r"chat.jsonl: 20 conversations in \d+ rows; \d+ cut off, \d+ left out; "
                                 r"\d+ of \d+ tokens count")
        self.assertIn("20 conversations", self.run_in([*command, "--pack"]))
        self.run_in([*command, "--output", "half.safetensors", "--stop-step", "5"])
        self.run_in([*command, "--output", "half.safetensors", "--resume", "half.safetensors"])
        self.assertEqual((self.root / "half.safetensors").read_bytes(), (self.root / "chat.safetensors").read_bytes())

    def test_another_base_is_refused(self):
        self.train("--init", "base", *LORA, "--output", "c.safetensors", "--stop-step", 3)
        other = tinylm.Model.create(320, 64, 32, 2, 4, d_ff=64, num_kv_heads=2, seed=6, tied_embeddings=True)
        _, tokenizer = tinylm.Model.open(self.root / "base")
        other.save_hf(self.root / "other", tokenizer)
        output = self.train("--init", "other", *LORA, "--resume", "c.safetensors", status=1)
        self.assertIn("are not those that the adapters were trained with", output)
        output = self.train("--init", "base", "--lora-rank", 5, "--resume", "c.safetensors", status=1)
        self.assertIn("rank 4", output)
        model, _ = tinylm.Model.open(self.root / "base")
        with self.assertRaisesRegex(tinylm.ShapeError, "holds adapters, but the model has none"):
            model.load_checkpoint(self.root / "c.safetensors")
        with self.assertRaisesRegex(tinylm.UnsupportedError, "holds only adapters"):
            tinylm.Model.load(self.root / "c.safetensors")

    def test_killed_runs_of_adapters_go_on_with_the_same_bits(self):
        options = ["--init", "base.gguf", *LORA, "--seed", "7", "--save-every", "1", "--threads", "2"]
        self.train(*options, "--output-dir", "run_whole")
        chance = random.Random(int(os.environ.get("TINYLM_TEST_SEED", "1")))
        directory = self.root / "run_killed"
        for _ in range(8):
            resume = ["--resume", "run_killed"] if list(directory.glob("checkpoints/step-*[0-9].safetensors")) else []
            if directory.exists() and not resume:
                subprocess.run(["rm", "-r", directory], check=True)
            process = subprocess.Popen(self.command(*options, "--output-dir", "run_killed", *resume), cwd=self.root,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.02, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait()
        resume = ["--resume", "run_killed"] if list(directory.glob("checkpoints/step-*[0-9].safetensors")) else []
        if directory.exists() and not resume:
            subprocess.run(["rm", "-r", directory], check=True)
        self.train(*options, "--output-dir", "run_killed", *resume)
        name = "checkpoints/step-00000012.safetensors"
        self.assertEqual((directory / name).read_bytes(), (self.root / "run_whole" / name).read_bytes())

    def test_configurations_repeat_a_run(self):
        self.train("--init", "base", *LORA, "--output-dir", "configured")
        config = json.loads((self.root / "configured/config.json").read_text())
        self.assertEqual(config["lora-rank"], 4)
        self.run_in([PROGRAMS / "train_lm", "--config", "configured/config.json", "--output-dir", "repeated"])
        name = "checkpoints/step-00000012.safetensors"
        self.assertEqual((self.root / "configured" / name).read_bytes(), (self.root / "repeated" / name).read_bytes())


if __name__ == "__main__":
    unittest.main()
