"""Fine-tuning with LoRA beside PyTorch with peft: peak memory and time of a step for SmolLM2-135M at 1 x 512, or
another model in a folder of transformers or a GGUF file. Each side runs in a process of its own; the two take their
steps in turn, one at a time, so that both see the same machine, and the ratio is the median over the pairs.

    bench_fine_tune.py MODEL [--time 512] [--rank 8] [--pairs 7] [--threads 2]

TINYLM_LIBRARY and PYTHONPATH as for the tests in tests/python; both sides use this Python, which needs torch,
transformers and peft. A GGUF file is dequantized by transformers, and stays as it is in libtinylm.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

from bench_support import memory_mib

warnings.filterwarnings("ignore")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")


def ids_of(options, vocab_size):
    return [(i * i * 31 + i) % vocab_size for i in range(options.time + 1)]


def our_steps(options):
    import tinylm

    tinylm.set_num_threads(options.threads)
    model = tinylm.Model.open(options.model, for_inference=True, tokenizer=False)
    model.add_lora(rank=options.rank, alpha=2.0 * options.rank, targets="all-linear")
    optimizer = tinylm.AdamW(model, learning_rate=1e-4)
    ids = ids_of(options, model.options["vocab_size"])

    def step():
        model.zero_grad()
        loss = model.loss([ids[:-1]], [ids[1:]])
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def their_steps(options):
    import peft
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    folder, name = os.path.split(options.model)
    where = {"gguf_file": name} if name.endswith(".gguf") else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder if where else options.model, dtype=torch.float32,
                                                              **where)
    model = peft.get_peft_model(model, peft.LoraConfig(r=options.rank, lora_alpha=2 * options.rank,
                                                       target_modules="all-linear", task_type="CAUSAL_LM")).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.tensor([ids_of(options, model.config.vocab_size)])

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = model(ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[0, 1:])
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def serve(options):
    """Takes a step for each line of the standard input, and tells its time, its loss and the memory so far."""
    step = our_steps(options) if options.serve == "ours" else their_steps(options)
    for _ in sys.stdin:
        begin, used = time.perf_counter(), time.process_time()
        loss = step()
        print(json.dumps({"seconds": time.perf_counter() - begin, "cpu": time.process_time() - used, "loss": loss,
                          "peak": memory_mib("VmHWM")}), flush=True)


class Side:
    def __init__(self, name, arguments):
        self.process = subprocess.Popen([sys.executable, __file__, *arguments, "--serve", name], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def step(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--time", type=int, default=512)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serve")
    options = parser.parse_args()
    if options.serve:
        return serve(options)
    sides = {name: Side(name, sys.argv[1:]) for name in ("ours", "theirs")}
    first = {name: side.step() for name, side in sides.items()}  # warms up
    print(f"first loss: {first['ours']['loss']:.5f} ours, {first['theirs']['loss']:.5f} theirs", flush=True)
    steps, ratios = {"ours": [], "theirs": []}, {"seconds": [], "cpu": []}
    for pair in range(options.pairs):
        for name in ("ours", "theirs") if pair % 2 == 0 else ("theirs", "ours"):
            steps[name].append(sides[name].step())
        for what, found in ratios.items():
            found.append(steps["theirs"][-1][what] / steps["ours"][-1][what])
        print(f"pair {pair + 1}: {ratios['seconds'][-1]:.2f} times as fast, {ratios['cpu'][-1]:.2f} by CPU time",
              flush=True)
    for side in sides.values():
        side.end()
    for name, own in steps.items():
        print(f"{name:6}: {statistics.median(step['seconds'] for step in own):.3f} s per step, "
              f"{statistics.median(step['cpu'] for step in own):.3f} s of CPU time, "
              f"peak {own[-1]['peak']:.0f} MiB")
    print(f"{statistics.median(ratios['seconds']):.2f} times as fast as PyTorch with peft, "
          f"{statistics.median(ratios['cpu']):.2f} by CPU time; "
          f"{steps['ours'][-1]['peak'] / steps['theirs'][-1]['peak']:.2f} of its memory")


if __name__ == "__main__":
    main()
