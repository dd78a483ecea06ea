"""Optimizers."""

from __future__ import annotations

from ctypes import byref, pointer, c_char_p, c_double, c_size_t, c_void_p
from typing import Any, Iterable, Mapping, Sequence, TYPE_CHECKING

from ._abi import _AdafactorOptions, _AdamWOptions, _FLOATS, _GroupOptions, _GroupRule, _LionOptions, _MuonOptions
from ._convert import _utf8
from ._handle import _Handle
from ._native import _lib
from ._structs import _given, _unsigned
from ._words import _ALL_GROUPS, _NO_DECAY, _number
from .errors import RangeError
from .schedule import _schedule_options
from .tensors import _handles

if TYPE_CHECKING:
    from typing_extensions import Unpack
    from .models import Model
    from .nn import Module
    from .options import AdafactorOptions, AdamWOptions, GroupRule, LionOptions, MuonOptions, ScheduleOptions
    from .tensors import Tensor


def _adamw_options(variant: str | None = None, **options: Any) -> Any:
    number = None if variant is None else _number("adamw_variant", variant)
    return _AdamWOptions(variant=number, **options)


def _group_rule(patterns: str, learning_rate: float | None = None, weight_decay: float | None = None,
                schedule: ScheduleOptions | None = None) -> Any:
    rule = _GroupRule(patterns=_utf8(patterns), learning_rate=learning_rate, weight_decay=weight_decay,
                      has_learning_rate=learning_rate is not None, has_weight_decay=weight_decay is not None)
    if schedule is not None:
        rule.schedule = pointer(_schedule_options(**schedule))
    return rule


def _muon_options(scale: str | None = None, **options: Any) -> Any:
    number = None if scale is None else _number("muon_scale", scale)
    return _MuonOptions(scale=number, **options)


def _tensors(name: str, given: Any) -> list[Tensor]:
    """The tensors of a list, a dict of names or a module: of this, those that require a gradient."""
    from .nn import Module
    from .tensors import Tensor
    if isinstance(given, Module):
        return [tensor for tensor in given.parameters() if tensor.requires_grad]
    if isinstance(given, Tensor) or isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise TypeError(f"{name} takes a list of tensors, a module or a model, not {_given(given)}")
    tensors = list(given.values() if isinstance(given, dict) else given)
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}[{i}] takes a Tensor, not {_given(tensor)}")
    return tensors


def _group_options(learning_rate: float | None, weight_decay: float | None,
                   rate_factor: float | None) -> Any:
    return _GroupOptions(learning_rate=learning_rate, has_learning_rate=learning_rate is not None,
                         weight_decay=weight_decay, has_weight_decay=weight_decay is not None,
                         rate_factor=rate_factor)


class Optimizer(_Handle):
    """What all optimizers share. Parameters are float32 leaves, each in one group."""

    _free = "tlm_optimizer_free"
    _instead = "Model.save(path, optimizer) and load_checkpoint keep its state"

    def _add(self, parameters: Any, no_decay: Iterable[str] = ()) -> None:
        from .models import Model
        if isinstance(parameters, Model):
            self.add_model(parameters, no_decay)
        else:
            self.add_group(parameters)

    def add_group(self, parameters: Module | Iterable[Tensor], learning_rate: float | None = None,
                  weight_decay: float | None = None, rate_factor: float | None = None) -> None:
        """Another group, with the optimizer's options except for what is given. A trainer's schedule sets
        its learning rate to rate_factor (1) times what it gives the others."""
        tensors = _tensors("parameters", parameters)
        _lib.tlm_optimizer_add_group(self._handle, _handles(tensors), len(tensors),
                                     byref(_group_options(learning_rate, weight_decay, rate_factor)))

    def add_adamw_group(self, parameters: Module | Iterable[Tensor], **options: Unpack[AdamWOptions]) -> None:
        """A group that AdamW updates, whatever the optimizer is itself. Options are those of AdamW:
        learning_rate, beta1, beta2, eps, weight_decay, variant."""
        tensors = _tensors("parameters", parameters)
        _lib.tlm_optimizer_add_adamw_group(self._handle, _handles(tensors), len(tensors),
                                           byref(_adamw_options(**options)))

    def add_muon_group(self, parameters: Module | Iterable[Tensor], **options: Unpack[MuonOptions]) -> None:
        """A group of matrices that Muon updates, whatever the optimizer is itself. Options are those of
        Muon: learning_rate, momentum, eps, weight_decay, iterations, nesterov, scale."""
        tensors = _tensors("parameters", parameters)
        _lib.tlm_optimizer_add_muon_group(self._handle, _handles(tensors), len(tensors),
                                          byref(_muon_options(**options)))

    def add_lion_group(self, parameters: Module | Iterable[Tensor], **options: Unpack[LionOptions]) -> None:
        """A group that Lion updates, whatever the optimizer is itself. Options are those of Lion:
        learning_rate, beta1, beta2, weight_decay."""
        tensors = _tensors("parameters", parameters)
        _lib.tlm_optimizer_add_lion_group(self._handle, _handles(tensors), len(tensors),
                                          byref(_LionOptions(**options)))

    def add_adafactor_group(self, parameters: Module | Iterable[Tensor], **options: Unpack[AdafactorOptions]) -> None:
        """A group that Adafactor updates, whatever the optimizer is itself. Options are those of Adafactor:
        learning_rate, power, eps, min_rms, threshold, weight_decay."""
        tensors = _tensors("parameters", parameters)
        _lib.tlm_optimizer_add_adafactor_group(self._handle, _handles(tensors), len(tensors),
                                               byref(_AdafactorOptions(**options)))

    def add_model(self, model: Model, no_decay: Iterable[str] = (), learning_rate: float | None = None,
                  weight_decay: float | None = None, rate_factor: float | None = None,
                  rules: Mapping[str, GroupRule] | None = None) -> None:
        """All parameters of a model: a group, and one without weight decay for those that no_decay
        ("norms", "embeddings") names. With Muon these are the hidden matrices, and groups of AdamW follow.
        rules: how parameters are trained whose names fit patterns ("*.ffn.*", separated by commas), as
        {patterns: {"learning_rate": ..., "weight_decay": ..., "schedule": {...}}}; a schedule is the
        arguments of schedule_learning_rate except the step. NotFoundError for a pattern that none fits, and
        ValueError if two rules fit one parameter."""
        bits = 0
        for name in no_decay:
            if name not in _NO_DECAY:
                raise ValueError(f"no_decay {name!r} is none of {', '.join(_NO_DECAY)}")
            bits |= _NO_DECAY[name]
        made = [_group_rule(patterns, **rule) for patterns, rule in (rules or {}).items()]
        _lib.tlm_optimizer_add_model_with(self._handle, model._handle, bits,
                                          byref(_group_options(learning_rate, weight_decay, rate_factor)),
                                          (_GroupRule * len(made))(*made), len(made))

    def set_schedule(self, group: int, schedule: ScheduleOptions | None) -> None:
        """Has a group follow a schedule of its own, whatever a trainer's says: the arguments of
        schedule_learning_rate except the step. None: no longer."""
        own = None if schedule is None else byref(_schedule_options(**schedule))
        _lib.tlm_optimizer_set_schedule(self._handle, _unsigned("group", group), own)

    def set_average(self, decay: float) -> None:
        """Keeps an exponential moving average of the parameters from the first step on; 0: none."""
        _lib.tlm_optimizer_set_average(self._handle, decay)

    def take_average(self) -> None:
        """Writes the averages over the parameters, which are lost; see Trainer.use_average."""
        _lib.tlm_optimizer_take_average(self._handle)

    @property
    def kind(self) -> str:
        """ "adamw", "muon", "lion", "adafactor" or "sgd"."""
        return str(_lib.tlm_optimizer_kind(self._handle), "ascii")

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return int(_lib.tlm_optimizer_num_groups(self._handle))

    @property
    def num_parameters(self) -> int:
        """Number of parameters over all groups."""
        return int(_lib.tlm_optimizer_num_parameters(self._handle))

    @property
    def steps(self) -> int:
        """Number of steps taken; may be set."""
        return int(_lib.tlm_optimizer_steps(self._handle))

    @steps.setter
    def steps(self, steps: int) -> None:
        _lib.tlm_optimizer_set_steps(self._handle, _unsigned("steps", steps))

    def learning_rate(self, group: int = 0) -> float:
        """The learning rate of a group."""
        rate = c_double()
        _lib.tlm_optimizer_learning_rate(byref(rate), self._handle, _unsigned("group", group))
        return rate.value

    def set_learning_rate(self, learning_rate: float, group: int | None = None) -> None:
        """Sets the learning rate of a group, or of all groups."""
        _lib.tlm_optimizer_set_learning_rate(
            self._handle, _ALL_GROUPS if group is None else _unsigned("group", group), learning_rate)

    def weight_decay(self, group: int = 0) -> float:
        """The weight decay of a group."""
        decay = c_double()
        _lib.tlm_optimizer_weight_decay(byref(decay), self._handle, _unsigned("group", group))
        return decay.value

    def set_weight_decay(self, weight_decay: float, group: int | None = None) -> None:
        """Sets the weight decay of a group, or of all groups."""
        _lib.tlm_optimizer_set_weight_decay(
            self._handle, _ALL_GROUPS if group is None else _unsigned("group", group), weight_decay)

    def state_names(self, index: int) -> list[str]:
        """The names of the buffers that are kept for a parameter: ["m", "v"] with AdamW."""
        if not 0 <= index < self.num_parameters:
            raise IndexError(f"parameter {index} of {self.num_parameters}")
        names: list[str] = []
        name = c_char_p()
        while True:
            try:
                _lib.tlm_optimizer_state_name(byref(name), self._handle, index, len(names))
            except RangeError:
                return names
            names.append((name.value or b"").decode())

    def state(self, index: int, name: str) -> list[float]:
        """A buffer of a parameter, which is counted in order of addition: a copy."""
        values, n = _FLOATS(), c_size_t()
        _lib.tlm_optimizer_state(byref(values), byref(n), self._handle, _unsigned("index", index),
                                 _utf8(name))
        return values[:n.value]

    def set_state(self, index: int, name: str, state: Sequence[float]) -> None:
        """Writes a buffer of a parameter."""
        values, n = _FLOATS(), c_size_t()
        _lib.tlm_optimizer_state(byref(values), byref(n), self._handle, _unsigned("index", index),
                                 _utf8(name))
        if len(state) != n.value:
            raise ValueError(f"{len(state)} values for a state of {n.value}")
        for i, value in enumerate(state):
            values[i] = value

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        _lib.tlm_optimizer_step(self._handle)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        _lib.tlm_optimizer_zero_grad(self._handle)


class AdamW(Optimizer):
    """AdamW over a list of parameters, over a module of tinylm.nn, or over a model, of which no_decay ("norms", "embeddings") names
    what has no weight decay. variant: "cs336_2025", "cs336_2026" or "pytorch"."""

    def __init__(self, parameters: Model | Module | Iterable[Tensor], learning_rate: float | None = None,
                 beta1: float | None = None, beta2: float | None = None, eps: float | None = None,
                 weight_decay: float | None = None, no_decay: Iterable[str] = (),
                 variant: str | None = None) -> None:
        options = _adamw_options(variant, learning_rate=learning_rate, beta1=beta1, beta2=beta2, eps=eps,
                                 weight_decay=weight_decay)
        handle = c_void_p()
        _lib.tlm_optimizer_create_adamw(byref(handle), byref(options))
        self._handle = handle
        self._add(parameters, no_decay)


class Muon(Optimizer):
    """Muon over a list of matrices, or over a model, of which it updates the hidden matrices, and AdamW
    the rest, with the options `rest` (those of AdamW) or else with Muon's learning rate and weight decay.
    scale: "moonlight" or "jordan"."""

    def __init__(self, parameters: Model | Module | Iterable[Tensor], learning_rate: float | None = None,
                 momentum: float | None = None, eps: float | None = None, weight_decay: float | None = None,
                 iterations: int | None = None, nesterov: bool | None = None, scale: str | None = None,
                 rest: AdamWOptions | None = None, no_decay: Iterable[str] = ()) -> None:
        options = _muon_options(scale, learning_rate=learning_rate, momentum=momentum, eps=eps,
                                weight_decay=weight_decay, iterations=iterations, nesterov=nesterov)
        handle = c_void_p()
        _lib.tlm_optimizer_create_muon(byref(handle), byref(options),
                                       None if rest is None else byref(_adamw_options(**rest)))
        self._handle = handle
        self._add(parameters, no_decay)


class Lion(Optimizer):
    """Lion over a list of parameters or over a model: a step by the sign of a moving average."""

    def __init__(self, parameters: Model | Iterable[Tensor], learning_rate: float | None = None,
                 beta1: float | None = None, beta2: float | None = None, weight_decay: float | None = None,
                 no_decay: Iterable[str] = ()) -> None:
        options = _LionOptions(learning_rate=learning_rate, beta1=beta1, beta2=beta2, weight_decay=weight_decay)
        handle = c_void_p()
        _lib.tlm_optimizer_create_lion(byref(handle), byref(options))
        self._handle = handle
        self._add(parameters, no_decay)


class Adafactor(Optimizer):
    """Adafactor over a list of parameters or over a model, as torch.optim.Adafactor: power is its
    -beta2_decay, eps and min_rms are its eps, threshold is its d."""

    def __init__(self, parameters: Model | Iterable[Tensor], learning_rate: float | None = None,
                 power: float | None = None, eps: float | None = None, min_rms: float | None = None,
                 threshold: float | None = None, weight_decay: float | None = None,
                 no_decay: Iterable[str] = ()) -> None:
        options = _AdafactorOptions(learning_rate=learning_rate, power=power, eps=eps, min_rms=min_rms,
                                    threshold=threshold, weight_decay=weight_decay)
        handle = c_void_p()
        _lib.tlm_optimizer_create_adafactor(byref(handle), byref(options))
        self._handle = handle
        self._add(parameters, no_decay)


class SGD(Optimizer):
    """Gradient descent with the rate learning_rate / sqrt(t + 1) in step t = 0, 1, ..."""

    def __init__(self, parameters: Model | Module | Iterable[Tensor], learning_rate: float) -> None:
        handle = c_void_p()
        _lib.tlm_optimizer_create_sgd(byref(handle), learning_rate)
        self._handle = handle
        self._add(parameters)


def clip_grad_norm(parameters: Module | Iterable[Tensor], max_norm: float) -> float:
    """Scales the gradients to a joint norm of at most max_norm; returns the norm before that."""
    tensors, norm = _tensors("parameters", parameters), c_double()
    _lib.tlm_clip_grad_norm(byref(norm), _handles(tensors), len(tensors), max_norm)
    return norm.value


def clip_norm(gradients: Iterable[Tensor], max_norm: float) -> float:
    """The same for tensors that are themselves the gradients."""
    tensors, norm = _tensors("gradients", gradients), c_double()
    _lib.tlm_clip_norm(byref(norm), _handles(tensors), len(tensors), max_norm)
    return norm.value


def adamw_update(parameters: Sequence[Tensor], m: Sequence[Tensor], v: Sequence[Tensor],
                 gradients: Sequence[Tensor], step: int, **options: Unpack[AdamWOptions]) -> None:
    """One update of parameters by AdamW, with moments m and v (zeros at first) and gradients in lists
    of the same order; step counts from 1. Options: learning_rate, beta1, beta2, eps, weight_decay,
    variant."""
    if not len(parameters) == len(m) == len(v) == len(gradients):
        raise ValueError(f"{len(parameters)} parameters, {len(m)} m, {len(v)} v and "
                         f"{len(gradients)} gradients")
    _lib.tlm_adamw_update(_handles(parameters), _handles(m), _handles(v), _handles(gradients),
                          len(parameters), _unsigned("step", step), byref(_adamw_options(**options)))
