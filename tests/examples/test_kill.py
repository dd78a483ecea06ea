#!/usr/bin/env python3
"""Kills train_lm at random moments, goes on each time from what is on the disk, and compares the final
checkpoint with that of a run that was let be: they must be the same file, byte for byte.

    test_kill.py TRAIN_LM

TINYLM_TEST_SEED repeats a run's choice of moments, as far as the machine keeps time."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

KILLS = 20  # for each way of saving
FEW_KILLS = 5  # for each other kind of optimizer
STEPS = 40


def write_tokens(path, count, seed):
    """Ids with something to learn: each follows from the one before, with some noise."""
    chance = random.Random(seed)
    ids = [0]
    for _ in range(count):
        ids.append((ids[-1] * 5 + 1 + (chance.random() < 0.2)) % 61)
    path.write_bytes(b"".join(i.to_bytes(2, "little") for i in ids))


class Run:
    """A run of train_lm in a place of its own."""

    KILLS = KILLS
    SWITCHES = []

    def __init__(self, program, place):
        self.place = place
        self.command = [program, "--train", "train.u16", "--valid", "valid.u16", "--vocab-size", "64",
                        "--context", "16", "--d-model", "16", "--layers", "2", "--heads", "2", "--batch", "4",
                        "--steps", str(STEPS), "--warmup", "5", "--save-every", "1", "--eval-every", "7",
                        "--eval-tokens", "128", "--log-every", "10"]  # fmt: skip
        self.starts = 0

    def start(self):
        self.starts += 1
        threads = ["--threads", str(1 + self.starts % 3)]  # which change nothing
        return subprocess.Popen(self.command + threads + self.arguments(), stdout=subprocess.DEVNULL)

    def finish(self):
        if self.start().wait() != 0:
            sys.exit(f"{' '.join(map(str, self.command + self.arguments()))} failed")


class FileRun(Run):
    """Saves to one file over and over."""

    def arguments(self):
        resume = ["--resume", self.place] if self.place.exists() else []
        return ["--output", self.place] + self.SWITCHES + resume

    def final(self):
        return self.place


class LionRun(FileRun):
    """With averages of the weights, a group with a schedule of its own, and dropout."""

    KILLS = FEW_KILLS
    SWITCHES = ["--optimizer", "lion", "--rate", "0.001", "--min-rate", "0", "--ema", "0.9", "--dropout", "0.1",
                "--group", "lm_head.*: rate=0.002, decay=0, schedule=wsd"]  # fmt: skip


class AdafactorRun(FileRun):
    """The same, by batches that grow."""

    KILLS = FEW_KILLS
    SWITCHES = ["--optimizer", "adafactor", "--rate", "0.02", "--ema", "0.8", "--accumulate", "2", "--batch-start", "2",
                "--batch-warmup-tokens", "1000", "--attention-dropout", "0.1"]  # fmt: skip


class DirectoryRun(Run):
    """Saves to a directory with many files, of which the newest is sometimes found cut short. With Muon, with
    switches of the architecture that a checkpoint must hold, and with a batch that grows."""

    SWITCHES = ["--optimizer", "muon", "--adamw-rate", "0.003", "--ffn", "relu2", "--embedding-norm", "--softcap", "15",
                "--output-init", "zero", "--batch-start", "1", "--batch-warmup", "25"]  # fmt: skip

    def checkpoints(self):
        return sorted(self.place.glob("checkpoints/step-*.safetensors"))

    def arguments(self):
        if not self.checkpoints():
            shutil.rmtree(self.place, ignore_errors=True)
        resume = ["--resume", self.place] if self.place.exists() else []
        return ["--output-dir", self.place, "--keep", "3"] + self.SWITCHES + resume

    def final(self):
        return self.checkpoints()[-1]

    def damage(self, chance):
        files = self.checkpoints()
        if len(files) > 1 and chance.random() < 0.3:
            os.truncate(files[-1], chance.randrange(files[-1].stat().st_size))


def run_with_kills(run, seconds, chance):
    """Runs to the end, killed on the way; how often."""
    kills = 0
    while True:
        process = run.start()
        time.sleep(chance.uniform(0, seconds))
        process.kill()
        if process.wait() == 0:
            return kills
        if process.returncode != -signal.SIGKILL:
            sys.exit(f"train_lm ended with {process.returncode} after {kills} kills")
        kills += 1
        if isinstance(run, DirectoryRun):
            run.damage(chance)
        if kills == run.KILLS:
            run.finish()
            return kills


def check(program, kind, chance):
    whole = kind(program, pathlib.Path("whole"))
    begin = time.monotonic()
    whole.finish()
    seconds = time.monotonic() - begin
    kills = rounds = 0
    while kills < kind.KILLS:
        run = kind(program, pathlib.Path(f"killed{rounds}"))
        kills += run_with_kills(run, seconds / 3, chance)
        rounds += 1
        if run.final().read_bytes() != whole.final().read_bytes():
            sys.exit(f"{kind.__name__}: the checkpoint differs after {kills} kills")
    print(f"{kind.__name__}: the same bytes after {kills} kills in {rounds} runs")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    seed = int(os.environ.get("TINYLM_TEST_SEED", random.randrange(2**32)))
    print(f"TINYLM_TEST_SEED={seed}", flush=True)
    chance = random.Random(seed)
    for kind in FileRun, DirectoryRun, LionRun, AdafactorRun:
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            write_tokens(pathlib.Path("train.u16"), 3000, 1)
            write_tokens(pathlib.Path("valid.u16"), 400, 2)
            check(program, kind, chance)
            os.chdir("/")


main()
