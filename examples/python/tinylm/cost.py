"""What a model costs."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import TYPE_CHECKING, Any

from ._abi import _Cost, _CostOptions
from ._convert import _utf8
from ._native import _lib
from ._options import _lora_options, _model_options
from ._words import FLOAT32, _WORDS, _number

if TYPE_CHECKING:
    from .options import LoraOptions, ModelOptions


def model_cost(model: ModelOptions, batch: int = 1, time: int = 0, optimizer: str = "adamw",
               counting: str = "executed", checkpointing: bool = False, weights: int = FLOAT32,
               frozen: str | None = None, lora: LoraOptions | None = None, average: bool = False) -> dict[str, Any]:
    """What a model of these options (arguments of Model.create, or Model.options) costs: parameters,
    bytes, and operations of a train step of `batch` sequences of `time` tokens (0: its context) and of
    one generated token. weights: the type of a model that is opened for inference; frozen: patterns of
    parameters; lora: arguments of Model.add_lora; average: with moving averages of the weights. No model is created. docs/resources.md explains each
    number."""
    options = _CostOptions(batch=batch, time=time, optimizer=_number("cost_optimizer", optimizer),
                           counting=_number("counting", counting), checkpointing=checkpointing,
                           weights=weights, average=average, frozen=None if frozen is None else _utf8(frozen))
    if lora is not None:
        options.lora = ctypes.pointer(_lora_options(**lora))
    cost = _Cost(size=ctypes.sizeof(_Cost))
    _lib.tlm_model_cost(byref(cost), byref(_model_options(**model)), byref(options))
    values = {name: getattr(cost, name) for name, _ in cost._fields_[1:]}
    return {name: dict(zip(_WORDS["part"], value)) if isinstance(value, ctypes.Array) else value
            for name, value in values.items()}
