"""How far a long call is: a bar in terminals and notebooks, of tqdm where that is installed, lines of text otherwise;
and what a training run has reported so far."""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any, Callable

from ._structs import _given
from .results import Evaluation, TrainStep

_SECONDS_APART = 2.0  # between two lines of text
_MOST_STEPS = 100_000  # in a history; then every second one is dropped


def _is_watched() -> bool:
    """Whether somebody sees a bar: a terminal, or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


class _Lines:
    """What a bar is without tqdm: a line now and then, and one at the end."""

    def __init__(self, total: int, name: str, done: int) -> None:
        self.total, self.name, self.n, self.first = total, name, done, done
        self.begun = self.last = time.monotonic()
        self.words = ""

    def set_postfix_str(self, words: str, refresh: bool = False) -> None:
        self.words = words

    def update(self, n: int) -> None:
        self.n += n
        now = time.monotonic()
        if now - self.last >= _SECONDS_APART:
            self.last = now
            self.show(now)

    def show(self, now: float) -> None:
        share = (now - self.begun) / max(self.n - self.first, 1)
        left = "" if self.n >= self.total else f", {_clock(share * (self.total - self.n))} left"
        words = f", {self.words}" if self.words else ""
        print(f"{self.name} {self.n:,} of {self.total:,}{words}{left}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self.show(time.monotonic())


def _bar(total: int, name: str, unit: str, done: int = 0) -> Any:
    """A bar, of tqdm's kind for terminals or notebooks."""
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return _Lines(total, name, done)
    return tqdm(total=total, desc=name, unit=unit, unit_scale=unit != "step", initial=done)


class _Phases:
    """A progress function that shows a bar for each phase: progress(phase, done, total) or progress(done, total)."""

    def __init__(self, name: str, unit: str) -> None:
        self.name, self.unit, self.phase, self.done = name, unit, "", 0
        self.bar: Any = None

    def __call__(self, *arguments: Any) -> None:
        phase, done, total = arguments if len(arguments) == 3 else (self.name, *arguments)
        if self.bar is None and (phase, done) == (self.phase, self.done) and done == total:
            return  # the end is told twice
        if self.bar is None or phase != self.phase or done < self.done:
            self.close()
            self.phase, self.done = phase, 0
            self.bar = _bar(total, phase, "merge" if phase == "learning" else self.unit)
        self.bar.update(done - self.done)
        self.done = done
        if done == total:
            self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _progress(given: Callable[..., Any] | bool | None, name: str) -> Callable[..., Any] | None:
    """A progress function: what is given, or for True a bar."""
    if isinstance(given, bool):
        return _Phases(name, "B") if given else None
    return given


class History:
    """What a trainer has reported: lists of TrainStep and Evaluation. Of very long runs every second step is kept, or
    every fourth, and so on."""

    def __init__(self) -> None:
        self.steps: list[TrainStep] = []
        self.evaluations: list[Evaluation] = []

    def _add_step(self, step: TrainStep) -> None:
        self.steps.append(step)
        if len(self.steps) > _MOST_STEPS:
            del self.steps[-2::-2]

    def __repr__(self) -> str:
        return f"<History: {len(self.steps)} steps, {len(self.evaluations)} evaluations>"

    def plot(self, path: Any = None) -> Any:
        """A figure of matplotlib with the losses and the learning rate over the steps. It is saved to `path`, which may
        be a file that is open for writing, if there is one."""
        if path is not None and not isinstance(path, (str, bytes, os.PathLike)) and not hasattr(path, "write"):
            raise TypeError(f"path takes a path or a file to write to, not {_given(path)}")
        try:
            Figure = importlib.import_module("matplotlib.figure").Figure
        except ImportError:
            raise ModuleNotFoundError("History.plot needs matplotlib: pip install matplotlib") from None
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        losses = figure.add_subplot()
        losses.plot([step.step for step in self.steps], [step.loss for step in self.steps], label="training")
        if self.evaluations:
            losses.plot([one.step for one in self.evaluations], [one.loss for one in self.evaluations], "o-",
                        label="evaluation")
        losses.set_xlabel("step")
        losses.set_ylabel("loss in nats per token")
        rates = losses.twinx()
        rates.plot([step.step for step in self.steps], [step.learning_rate for step in self.steps], color="gray",
                   linewidth=0.8)
        rates.set_ylabel("learning rate")
        losses.legend()
        if path is not None:
            figure.savefig(path if hasattr(path, "write") else os.fsdecode(path))
        return figure
