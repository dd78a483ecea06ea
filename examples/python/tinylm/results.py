"""What steps and evaluations report."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, TypeVar


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
    communication_seconds: float  # in which this rank only waited for others; 0 without a communicator
    compute_seconds: float  # of forward and backward
    reduce_scatter_seconds: float  # until the gradients were summed over the ranks
    update_seconds: float  # of the norm, clipping and the optimizer
    gather_seconds: float  # until this rank had all parameters
    overlap_seconds: float  # of exchanges while backward ran
    step_tokens: int  # of this step alone


class Evaluation(NamedTuple):
    """How good a model is."""

    step: int  # of a trainer
    tokens: int  # that were predicted
    loss: float  # in nats per token
    perplexity: float
    seconds: float
    is_best: bool  # of a trainer: the lowest loss so far


_Record = TypeVar("_Record", TrainStep, Evaluation)


def _record(kind: type[_Record], struct: ctypes.Structure) -> _Record:
    return kind(*[getattr(struct, name) for name in kind._fields])
