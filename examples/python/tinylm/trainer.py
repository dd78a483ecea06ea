"""Training runs."""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_void_p
from typing import Any, Callable, TYPE_CHECKING

from ._abi import _Evaluation, _EvaluationCallback, _SaveCallback, _StepCallback, _TrainStep, _TrainerOptions
from ._convert import Path
from ._handle import _Callbacks, _Handle, _handle_of
from ._native import _lib
from ._structs import _unsigned
from ._words import _number
from .communicator import _communicator
from .errors import CancelledError
from .progress import History, _bar, _is_watched
from .results import Evaluation, TrainStep, _record
from .schedule import _schedule_options

if TYPE_CHECKING:
    from .data import Dataset, Loader
    from .models import Model
    from .optim import Optimizer
    from .options import ScheduleOptions
    from .tokenizers import Tokenizer


class Trainer(_Handle):
    """A run of `steps` training steps over a model, an optimizer that has its parameters, and a loader.
    schedule: arguments of schedule_learning_rate except the step, as a dict; clip_norm: of the gradient, 0:
    none; accumulation: batches per step; valid: data to evaluate on, every eval_every steps, on about
    eval_tokens tokens; checkpoint_path: a file that each save replaces, every save_every steps and at
    the end, or checkpoint_dir: a directory of checkpoints, of which keep_last and the best are kept, 0:
    all; tokenizer: stored in the checkpoints; average_decay: of the moving average of the parameters,
    which evaluations then use, 0: none; products: how linear layers take their factors (set_products).
    on_step(TrainStep), on_evaluation(Evaluation) and on_save(path, step) end the run by True; with
    save_on_cancel a checkpoint is saved then. communicator: the ranks that take each step together
    (Communicator); irreproducible: any number of them, which then add in another order. batch_start: rows
    of each batch in the first step, which grow by batch_increment (0: 1) to the loader's over
    batch_warmup_steps steps or batch_warmup_tokens tokens. resume_changes: names of options that `resume` may find
    changed, or patterns of them, separated by commas ("steps, schedule.*")."""

    _free = "tlm_trainer_free"
    _instead = "save(path) and resume(path) keep the run"

    def __init__(self, model: Model, optimizer: Optimizer, loader: Loader, steps: int,
                 schedule: ScheduleOptions | None = None, clip_norm: float = 0.0, accumulation: int = 1,
                 valid: Dataset | None = None, eval_every: int = 0, eval_tokens: int = 0,
                 checkpoint_path: Path | None = None, save_every: int = 0, peak_flops: float = 0.0,
                 activation_checkpointing: bool = False, save_on_cancel: bool = False,
                 checkpoint_dir: Path | None = None, keep_last: int = 0,
                 on_step: Callable[[TrainStep], Any] | None = None,
                 on_evaluation: Callable[[Evaluation], Any] | None = None,
                 on_save: Callable[[str, int], Any] | None = None,
                 tokenizer: Tokenizer | None = None, average_decay: float = 0.0,
                 products: str = "float32", communicator: Any = None, irreproducible: bool = False,
                 batch_start: int = 0, batch_increment: int = 0, batch_warmup_steps: int = 0,
                 batch_warmup_tokens: int = 0, resume_changes: str | None = None) -> None:
        history = self.history = History()
        seen: dict[str, Any] = {}  # what a bar is told, while there is one
        self._seen = seen

        def step(_user: Any, struct: Any) -> Any:
            record = _record(TrainStep, struct.contents)
            history._add_step(record)
            if "bar" in seen:
                seen["bar"].set_postfix_str(f"loss {record.loss:.3f}, {record.tokens_per_second:,.0f} tokens/s", False)
                seen["bar"].update(1)
            return None if on_step is None else on_step(record)

        def evaluation(_user: Any, struct: Any) -> Any:
            record = _record(Evaluation, struct.contents)
            history.evaluations.append(record)
            return None if on_evaluation is None else on_evaluation(record)

        def save(_user: Any, path: bytes, number: int) -> Any:
            return None if on_save is None else on_save(os.fsdecode(path), number)

        self._callbacks, handle = _Callbacks(), c_void_p()
        self._total, self._reports = steps, on_step is not None
        options = _TrainerOptions(
            steps=steps, clip_norm=clip_norm, accumulation=accumulation, valid=_handle_of(valid),
            eval_every=eval_every, eval_tokens=eval_tokens, save_every=save_every, peak_flops=peak_flops,
            checkpoint_path=None if checkpoint_path is None else os.fsencode(checkpoint_path),
            checkpoint_dir=None if checkpoint_dir is None else os.fsencode(checkpoint_dir),
            batch_start=batch_start, batch_increment=batch_increment,
            batch_warmup_steps=_unsigned("batch_warmup_steps", batch_warmup_steps),
            batch_warmup_tokens=_unsigned("batch_warmup_tokens", batch_warmup_tokens),
            resume_changes=None if resume_changes is None else resume_changes.encode(),
            keep_last=keep_last, average_decay=average_decay, activation_checkpointing=activation_checkpointing,
            save_on_cancel=save_on_cancel, tokenizer=_handle_of(tokenizer),
            products=_number("products", products),
            on_step=self._callbacks.wrap(_StepCallback, step),
            on_evaluation=self._callbacks.wrap(_EvaluationCallback, evaluation),
            on_save=self._callbacks.wrap(_SaveCallback, save), irreproducible=irreproducible)
        ranks = _communicator(communicator)
        options.communicator = ranks and ranks._handle
        if schedule is not None:
            options.schedule = ctypes.pointer(_schedule_options(**schedule))
        # What the library borrows; callbacks are in the options.
        self._borrowed = [None if owner is None else owner._share()
                          for owner in (model, optimizer, loader, valid, tokenizer)], options, ranks
        _lib.tlm_trainer_create(byref(handle), model._handle, optimizer._handle, loader._handle,
                                byref(options))
        self._handle = handle

    @property
    def steps(self) -> int:
        """The number of steps done, including those before a resumed checkpoint."""
        return int(_lib.tlm_trainer_steps(self._handle))

    def step(self) -> TrainStep:
        """Takes one step without calling any callback. Ctrl-C is heard after it, when the history has it."""
        result = _TrainStep(size=ctypes.sizeof(_TrainStep))
        with _Callbacks():
            _lib.tlm_trainer_step(byref(result), self._handle)
            record = _record(TrainStep, result)
            self.history._add_step(record)
        return record

    def run(self, until: int = 0, progress: bool | None = None) -> bool:
        """Steps until `until` of them (0: all) are done, with evaluations and saves. False if a function
        ended the run, which may be continued later. Ctrl-C ends it after a step. progress: a bar with loss,
        tokens per second and the time that is left; None: in terminals and notebooks, if there is no on_step."""
        last = min(until or self._total, self._total)
        if progress or (progress is None and not self._reports and _is_watched() and self.steps < last):
            self._seen["bar"] = _bar(last, "training", "step", self.steps)
        try:
            with self._callbacks:
                try:
                    _lib.tlm_trainer_run(self._handle, _unsigned("until", until))
                except CancelledError:
                    return False
            return True
        finally:
            if "bar" in self._seen:
                self._seen.pop("bar").close()

    def plot(self, path: Path | None = None) -> Any:
        """A figure of the losses and the learning rate so far (History.plot); with a path it is saved."""
        return self.history.plot(None if path is None else os.fsdecode(path))

    def evaluate(self) -> Evaluation:
        """Evaluates the model on `valid`."""
        result = _Evaluation(size=ctypes.sizeof(_Evaluation))
        with self._callbacks:
            _lib.tlm_trainer_evaluate(byref(result), self._handle)
        record = _record(Evaluation, result)
        self.history.evaluations.append(record)
        return record

    def use_average(self, enabled: bool = True) -> None:
        """Puts the averages of the parameters in their place, to generate with them or to save the model, or
        the parameters back. Until then no step is taken and no checkpoint saved."""
        _lib.tlm_trainer_use_average(self._handle, enabled)

    def save(self, path: Path | None = None) -> None:
        """Saves a checkpoint of the steps done; None: to checkpoint_path or checkpoint_dir."""
        with _Callbacks():
            _lib.tlm_trainer_save(self._handle, None if path is None else os.fsencode(path))

    def resume(self, path: Path | None = None) -> None:
        """Loads a checkpoint into model and optimizer and continues after its steps, with the same bits as
        a run that was never interrupted. Options that differ from the checkpoint's, as its trainer and its
        optimizer had them, are refused by name unless resume_changes names them."""
        with _Callbacks():
            _lib.tlm_trainer_resume(self._handle, None if path is None else os.fsencode(path))
