"""What steps and evaluations report."""

from __future__ import annotations

import ctypes
import struct
from typing import Any, NamedTuple


class TrainStep(NamedTuple):
    """What a step of training did."""

    step: int  # steps done, this one among them
    tokens: int  # of all these steps
    loss: float  # before the update, in nats per token
    learning_rate: float
    gradient_norm: float  # before clipping
    seconds: float
    tokens_per_second: float
    utilization: float  # share of peak_flops in use; 0: not known


class Evaluation(NamedTuple):
    """How good a model is."""

    step: int  # of a trainer
    tokens: int  # that were predicted
    loss: float  # in nats per token
    perplexity: float
    seconds: float
    is_best: bool  # of a trainer: the lowest loss so far


def _record(kind: Any, struct: ctypes.Structure) -> Any:
    return kind(*[getattr(struct, name) for name in kind._fields])
