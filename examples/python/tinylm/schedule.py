"""Learning-rate schedules."""

from __future__ import annotations

from ctypes import byref, c_double
from typing import TYPE_CHECKING, Any

from ._abi import _ScheduleOptions
from ._native import _lib
from ._structs import _unsigned
from ._words import _number

if TYPE_CHECKING:
    from typing_extensions import Unpack
    from .options import ScheduleTimes


def cosine_schedule(step: int, max_learning_rate: float, min_learning_rate: float, warmup_steps: int,
                    cycle_steps: int) -> float:
    """The learning rate of a step: linear up over the warm-up, a half cosine wave down to the end of
    the cycle, the minimum after it."""
    rate = c_double()
    _lib.tlm_cosine_schedule(byref(rate), _unsigned("step", step), max_learning_rate, min_learning_rate,
                             _unsigned("warmup_steps", warmup_steps),
                             _unsigned("cycle_steps", cycle_steps))
    return rate.value


def _schedule_options(kind: str, max_learning_rate: float, min_learning_rate: float = 0.0,
                      warmup_steps: int = 0, total_steps: int = 0, decay_steps: int = 0) -> Any:
    return _ScheduleOptions(kind=_number("schedule", kind), max_learning_rate=max_learning_rate,
                            min_learning_rate=min_learning_rate, warmup_steps=warmup_steps,
                            total_steps=total_steps, decay_steps=decay_steps)


def schedule_learning_rate(step: int, kind: str, max_learning_rate: float, **options: Unpack[ScheduleTimes]) -> float:
    """The learning rate of a step. kind: "constant", "cosine", "linear" or "wsd". Options:
    min_learning_rate, warmup_steps, total_steps, decay_steps (of "wsd")."""
    rate = c_double()
    _lib.tlm_schedule_learning_rate(byref(rate), byref(_schedule_options(kind, max_learning_rate, **options)),
                                    _unsigned("step", step))
    return rate.value
