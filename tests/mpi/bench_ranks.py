#!/usr/bin/env python3
"""Compares one process with 2 threads and 2 ranks with 1 thread each on the CS336 model, 8 batches a step: tokens/s
in runs that take turns, processor time of the whole runs, share of communication.

    bench_ranks.py MPIRUN_SH LAUNCHER TRAIN_LM_OF_MPI TRAIN_LM [ROUNDS [BATCH]]

Other work on the machine disturbs both alike if the rounds are many; the medians and their ratio are printed."""

import json
import os
import pathlib
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile

STEPS = 3  # of which the first is not counted


def run(command, home):
    """Tokens/s of the steps after the first, communication's share of all in percent, processor seconds."""
    log = home / "run/log.jsonl"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["rm", "-rf", home / "run"], check=True)
    done = subprocess.run([*map(str, command), "--output-dir", str(home / "run")], check=True, text=True,
                          stdout=subprocess.PIPE, cwd=home)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    steps = [json.loads(line) for line in log.read_text().splitlines() if "tokens_per_second" in line]
    speeds = [step["tokens_per_second"] for step in steps[1:]]
    shares = re.findall(r"communication (\d+)%", done.stdout) or ["0"]
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return statistics.mean(speeds), int(shares[-1]), used


def main(mpirun, launcher, shared, plain, rounds="5", batch="1"):
    mpirun, shared, plain = (pathlib.Path(path).resolve() for path in (mpirun, shared, plain))
    options = ["--train", "train.u16", "--valid", "valid.u16", "--vocab-size", 10000, "--context", 256, "--d-model",
               512, "--layers", 4, "--heads", 16, "--d-ff", 1344, "--batch", batch, "--accumulate", 8, "--steps",
               STEPS, "--eval-every", 0, "--log-every", 1, "--peak-gflops", 1, "--eval-tokens", 256]
    with tempfile.TemporaryDirectory(prefix="tinylm-bench-") as name:
        home = pathlib.Path(name)
        chance = random.Random(1)
        for file, count in (("train.u16", 20000), ("valid.u16", 300)):
            (home / file).write_bytes(b"".join(chance.randrange(10000).to_bytes(2, "little") for _ in range(count)))
        ratios, cpu = [], []
        for i in range(int(rounds)):
            alone = run([plain, *options, "--threads", 2], home)
            ranks = run([mpirun, launcher, 2, shared, "--mpi", *options, "--threads", 1], home)
            ratios.append(ranks[0] / alone[0])
            cpu.append(ranks[2] / alone[2])
            print(f"round {i}: 1 x 2 threads {alone[0]:.0f} tokens/s, {alone[2]:.1f} s of processor; "
                  f"2 x 1 thread {ranks[0]:.0f} tokens/s, {ranks[2]:.1f} s, communication {ranks[1]}%",
                  flush=True)
        print(f"medians: tokens/s {statistics.median(ratios):.3f}, processor time {statistics.median(cpu):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
