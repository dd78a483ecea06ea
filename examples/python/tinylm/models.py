"""Transformer language models."""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import tempfile
from ctypes import byref, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint64, c_void_p
from typing import Any, Callable, Iterable, Literal, Mapping, Sequence, TYPE_CHECKING, overload

from ._abi import (_CheckpointOptions, _Evaluation, _IDS, _LoraOptions, _ModelFileOptions, _ModelOptions,
                   _TextCallback, _TokenCallback)
from ._convert import Ids, Path, Text, _batch, _dims, _ids_array, _take_bytes, _take_ids, _utf8
from ._handle import _Callbacks, _Handle, _handle_of
from ._native import _lib
from ._options import _end_tokens, _lora_options, _model_options
from ._structs import _unsigned
from ._words import FLOAT32, _NUMPY_NAMES, _WORDS, _number
from .errors import NotFoundError
from .generation import GeneratedText, Generator, _generate_options
from .results import Evaluation, _record
from .tensors import Tensor, _call
from .tokenizers import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack
    from .chat import ChatTemplate
    from .data import Dataset
    from .optim import Optimizer
    from .options import GenerateOptions, Json, LoraOptions, ManyOptions, ModelOptions, TextOptions


class Model(_Handle):
    """A transformer language model."""

    _free = "tlm_model_free"

    def __call__(self, ids: Any) -> Tensor:
        return self.forward(ids)
    family: str = "auto"
    begin_token: int | None = None
    end_tokens: Sequence[int] = ()

    def __init__(self) -> None:
        raise TypeError("Model.create(...) makes a model, Model.open(path) and Model.load(path) read one")

    @classmethod
    def create(cls, vocab_size: int, context_length: int, d_model: int, num_layers: int, num_heads: int,
               d_ff: int = 0, rope_theta: float = 0.0, seed: int = 0, num_kv_heads: int = 0,
               norm_eps: float = 0.0, norm: str = "pre", position: str = "rope", ffn: str = "swiglu",
               tied_embeddings: bool = False, head_dim: int = 0, qk_norm: str = "none",
               attention_bias: str = "none", ffn_bias: bool = False, sliding_window: int = 0,
               window_period: int = 0, window_rope_theta: float = 0.0, unrotated_period: int = 0,
               rope_scaling: str = "none", rope_factor: float = 0.0, rope_low_turns: float = 0.0,
               rope_high_turns: float = 0.0, rope_original_context: int = 0,
               rope_magnitude: float = 0.0, scaled_embeddings: bool = False, norm_kind: str = "rms",
               query_scalar: float = 0.0, attention_softcap: float = 0.0,
               logit_softcap: float = 0.0, embedding_norm: bool = False,
               output_init: str = "linear", base_width: int = 0, value_embeddings: bool = False,
               z_loss: float = 0.0, label_smoothing: float = 0.0, dropout: float = 0.0,
               attention_dropout: float = 0.0, embedding_dropout: float = 0.0) -> Model:
        """With fresh parameters. norm: "pre", "post", "none", "after" or "both"; position: "rope",
        "none" or "learned"; ffn: "swiglu", "silu", "geglu", "gelu" or "relu2"; qk_norm: "none", "heads" or
        "width"; attention_bias: "none", "qkv" or "all"; rope_scaling: "none", "linear", "dynamic",
        "llama3" or "yarn"; norm_kind: "rms" or "layer"; output_init: "linear", "zero" or "depth"; for the rest 0 is the library's default.
        z_loss, label_smoothing and the dropouts count only in training: see set_training."""
        options = _model_options(
            vocab_size=vocab_size, context_length=context_length, d_model=d_model, num_layers=num_layers,
            num_heads=num_heads, d_ff=d_ff, rope_theta=rope_theta, seed=seed, num_kv_heads=num_kv_heads,
            norm_eps=norm_eps, norm=norm, position=position, ffn=ffn, tied_embeddings=tied_embeddings,
            head_dim=head_dim, qk_norm=qk_norm, attention_bias=attention_bias, ffn_bias=ffn_bias,
            sliding_window=sliding_window, window_period=window_period,
            window_rope_theta=window_rope_theta, unrotated_period=unrotated_period,
            rope_scaling=rope_scaling, rope_factor=rope_factor, rope_low_turns=rope_low_turns,
            rope_high_turns=rope_high_turns, rope_original_context=rope_original_context,
            rope_magnitude=rope_magnitude, scaled_embeddings=scaled_embeddings, norm_kind=norm_kind,
            query_scalar=query_scalar, attention_softcap=attention_softcap,
            logit_softcap=logit_softcap, embedding_norm=embedding_norm, output_init=output_init,
            base_width=base_width, value_embeddings=value_embeddings, z_loss=z_loss,
            label_smoothing=label_smoothing, dropout=dropout, attention_dropout=attention_dropout,
            embedding_dropout=embedding_dropout)
        handle = c_void_p()
        with _Callbacks():
            _lib.tlm_model_create(byref(handle), byref(options))
        return cls._wrap(handle)

    @classmethod
    def load(cls, path: Path) -> Model:
        """The model of a checkpoint."""
        handle = c_void_p()
        with _Callbacks():
            _lib.tlm_model_load(byref(handle), os.fsencode(path))
        return cls._wrap(handle)

    @overload
    @classmethod
    def open(cls, path: Path, for_inference: bool = False,
             tokenizer: Literal[True] = True) -> tuple[Model, Tokenizer | None]: ...

    @overload
    @classmethod
    def open(cls, path: Path, for_inference: bool = False, *, tokenizer: Literal[False]) -> Model: ...

    @classmethod
    def open(cls, path: Path, for_inference: bool = False, tokenizer: bool = True) -> Any:
        """The model at a path, a checkpoint or a directory of them, a folder of transformers or a GGUF
        file, and the tokenizer that is with it, or None; tokenizer=False: the model alone. for_inference:
        weights stay as they are in the file, in few bytes, and the model can generate, score and train
        adapters. The model gets the attributes family, begin_token and
        end_tokens, which generate and save_... take."""
        handle, with_it = c_void_p(), c_void_p()
        file = _ModelFileOptions()
        function = _lib.tlm_model_open_for_inference if for_inference else _lib.tlm_model_open
        with _Callbacks():
            function(byref(handle), byref(with_it) if tokenizer else None, byref(file), os.fsencode(path))
        model = cls._wrap(handle)
        model.family = _WORDS["family"][file.family]
        model.begin_token = file.begin_token if file.has_begin_token else None
        model.end_tokens = ([file.end_token] if file.has_end_token else []) + \
            list(file.more_end_tokens[:file.num_more_end_tokens])
        if not tokenizer:
            return model
        return model, Tokenizer._wrap(with_it) if with_it else None

    def save(self, path: Path, optimizer: Optimizer | None = None, iteration: int = 0,
             tokenizer: Tokenizer | None = None) -> None:
        """Saves a checkpoint with the weights, the state of an optimizer, the number of iterations done
        and a tokenizer."""
        options = _CheckpointOptions(tokenizer=_handle_of(tokenizer))
        with _Callbacks():
            _lib.tlm_checkpoint_save_with(self._handle, _handle_of(optimizer),
                                          _unsigned("iteration", iteration), os.fsencode(path), byref(options))

    def load_checkpoint(self, path: Path, optimizer: Optimizer | None = None) -> int:
        """Reads a checkpoint of this configuration, and into an optimizer of the same kind over the
        same parameters; returns the number of iterations."""
        iteration = c_uint64()
        with _Callbacks():
            _lib.tlm_checkpoint_load(byref(iteration), self._handle, _handle_of(optimizer),
                                     os.fsencode(path))
        return iteration.value

    @staticmethod
    def _file_options(weights: str, begin_token: int | None, end_token: int | Iterable[int] | None, family: str,
                      chat_template: ChatTemplate | None) -> Any:
        return _ModelFileOptions(
            weights=_number("weights", weights), has_begin_token=begin_token is not None,
            begin_token=begin_token, family=_number("family", family),
            chat_template=_handle_of(chat_template), **_end_tokens(end_token))

    def save_hf(self, directory: Path, tokenizer: Tokenizer | None = None, weights: str = "float32",
                begin_token: int | None = None, end_token: int | Iterable[int] | None = None,
                family: str = "auto", chat_template: ChatTemplate | None = None) -> None:
        """A folder that transformers loads as a LlamaForCausalLM, or the class of the family.
        weights: "float32", "float16" or "bfloat16"; begin_token: an id; end_token: one or several;
        family: "auto", or as Model.open says."""
        options = self._file_options(weights, begin_token, end_token, family, chat_template)
        with _Callbacks():
            _lib.tlm_model_save_hf(self._handle, _handle_of(tokenizer), os.fsencode(directory),
                                   byref(options))

    def save_gguf(self, path: Path, tokenizer: Tokenizer | None = None, weights: str = "float32",
                  begin_token: int | None = None, end_token: int | Iterable[int] | None = None,
                  family: str = "auto", keys_from: Path | None = None,
                  chat_template: ChatTemplate | None = None) -> None:
        """Saves a GGUF file for llama.cpp and programs based on it. weights: also "q8_0", "q4_0", "q4_1",
        "q5_0", "q5_1", "q4_k_m", "q5_k_m" or "q6_k"; keys_from: another GGUF file, whose tokenizer and
        description are taken instead of `tokenizer`. See save_hf for the other arguments."""
        options = self._file_options(weights, begin_token, end_token, family, chat_template)
        if keys_from is not None:
            options.keys_from = os.fsencode(keys_from)
        with _Callbacks():
            _lib.tlm_model_save_gguf(self._handle, _handle_of(tokenizer), os.fsencode(path),
                                     byref(options))

    def gguf_bytes(self, weights: str = "float32", family: str = "auto") -> int:
        """Bytes of the weights in a file that save_gguf writes, and in memory once that is opened for
        inference."""
        options = self._file_options(weights, None, None, family, None)
        found = c_uint64()
        _lib.tlm_model_gguf_bytes(byref(found), self._handle, byref(options))
        return found.value

    @property
    def options(self) -> ModelOptions:
        """The arguments of `create`, defaults resolved."""
        options = _ModelOptions()
        _lib.tlm_model_get_options(byref(options), self._handle)
        values = {name: getattr(options, name) for name, _ in options._fields_[1:]
                  if not name.startswith("reserved")}
        words: Any = {name: _WORDS[name][value] if name in _WORDS else value for name, value in values.items()}
        resolved: ModelOptions = words
        return resolved

    def parameters(self) -> dict[str, Tensor]:
        """The parameters by name. They are the model's own, not copies."""
        result: dict[str, Tensor] = {}
        name, borrowed = c_char_p(), c_void_p()
        for i in range(_lib.tlm_model_num_parameters(self._handle)):
            _lib.tlm_model_parameter_name(byref(name), self._handle, i)
            _lib.tlm_model_parameter(byref(borrowed), self._handle, name)
            handle = c_void_p(_lib.tlm_tensor_retain(borrowed))
            result[(name.value or b"").decode()] = Tensor._wrap(handle)
        return result

    def save_in(self, directory: Path, optimizer: Optimizer | None = None, iteration: int = 0,
                keep_last: int = 0, metadata: Mapping[str, Json] | None = None,
                validation_loss: float | None = None, tokenizer: Tokenizer | None = None) -> None:
        """A checkpoint in a file of its own in a directory, of which the keep_last latest (0: all) and
        the one of the lowest validation loss stay. metadata: what JSON can hold."""
        options = _CheckpointOptions(metadata=None if metadata is None else json.dumps(metadata).encode(),
                                     validation_loss=validation_loss,
                                     has_validation_loss=validation_loss is not None,
                                     tokenizer=_handle_of(tokenizer))
        with _Callbacks():
            _lib.tlm_checkpoint_dir_save(self._handle, _handle_of(optimizer),
                                         _unsigned("iteration", iteration), os.fsencode(directory), keep_last,
                                         byref(options))

    @property
    def num_elements(self) -> int:
        """The elements of all parameters."""
        return int(_lib.tlm_model_num_elements(self._handle))

    @property
    def num_bytes(self) -> int:
        """Bytes of all elements in memory: less than 4 for each in a model opened for inference."""
        return int(_lib.tlm_model_num_bytes(self._handle))

    def set_parameter(self, name: str, values: Any) -> None:
        """Copies values (a numpy array, a Tensor or nested lists) into a parameter."""
        tensor = values if isinstance(values, Tensor) else Tensor(values)
        if tensor.dtype != FLOAT32:
            raise TypeError(f"values: a parameter is float32, not {_NUMPY_NAMES[tensor.dtype]}")
        _lib.tlm_model_set_parameter(self._handle, _utf8(name), tensor._copy_out(), _dims(tensor.shape),
                                     len(tensor.shape))

    def set_checkpointing(self, enabled: bool) -> None:
        """Activation checkpointing: less memory, a third more time, the same bits."""
        _lib.tlm_model_set_checkpointing(self._handle, enabled)

    def set_training(self, z_loss: float = 0.0, label_smoothing: float = 0.0, dropout: float = 0.0,
                     attention_dropout: float = 0.0, embedding_dropout: float = 0.0,
                     seed: int | None = None) -> None:
        """How the model is trained from now on. z_loss: weight of the squared logsumexp of the logits in the
        loss; label_smoothing: share of the target that is spread over all tokens; dropout: share of what blocks
        add to the residual stream that is dropped; attention_dropout, embedding_dropout: the same for weights
        of attention and for embeddings; seed, of dropout: None leaves it as it is. Nothing of this counts
        under no_grad(), nor in evaluations; dropout is on between set_dropout_row(n) and
        set_dropout_row(None), as trainers call them."""
        options = _model_options(
            z_loss=z_loss, label_smoothing=label_smoothing, dropout=dropout, attention_dropout=attention_dropout,
            embedding_dropout=embedding_dropout, seed=self.options.get("seed") if seed is None else seed)
        _lib.tlm_model_set_training(self._handle, byref(options))

    def freeze(self, patterns: str) -> None:
        """Parameters whose names fit one of the patterns ("layers.0.*", separated by commas) get no
        gradients, and optimizers leave them out. NotFoundError for a pattern that none fits."""
        _lib.tlm_model_set_frozen(self._handle, _utf8(patterns), True)

    def unfreeze(self, patterns: str) -> None:
        """Such parameters are trained again."""
        _lib.tlm_model_set_frozen(self._handle, _utf8(patterns), False)

    @property
    def num_trained(self) -> int:
        """Number of elements in the parameters that are not frozen."""
        return int(_lib.tlm_model_num_trained(self._handle))

    def add_lora(self, rank: int = 8, alpha: float = 8.0, dropout: float = 0.0,
                 targets: str | Iterable[str] = "all-linear", seed: int = 0,
                 rank_stabilized: bool = False, family: str = "auto") -> None:
        """Freezes the model and adds low-rank adapters to the layers that `targets` names: "q_proj",
        patterns, or "all-linear". docs/fine-tuning.md shows it in use."""
        options = _lora_options(rank=rank, alpha=alpha, dropout=dropout, targets=targets, seed=seed,
                                rank_stabilized=rank_stabilized, family=family)
        _lib.tlm_model_add_lora(self._handle, byref(options))

    @property
    def lora(self) -> LoraOptions | None:
        """The arguments of add_lora that the model's adapters have, or None."""
        options = _LoraOptions()
        try:
            _lib.tlm_model_lora(byref(options), self._handle)
        except NotFoundError:
            return None
        found: Any = {name: getattr(options, name) for name, _ in options._fields_ if name not in ("size", "reserved")}
        found["targets"] = options.targets.decode()
        found["family"] = _WORDS["family"][options.family]
        adapters: LoraOptions = found
        return adapters

    def merge_lora(self) -> None:
        """Adds the adapters to the weights, which become float32, and removes them."""
        _lib.tlm_model_merge_lora(self._handle)

    def remove_lora(self) -> None:
        """Removes the adapters without their changes."""
        _lib.tlm_model_remove_lora(self._handle)

    def save_adapter(self, directory: Path) -> None:
        """Saves the adapters as a folder that PEFT loads."""
        with _Callbacks():
            _lib.tlm_model_save_adapter(self._handle, os.fsencode(directory))

    def load_adapter(self, directory: Path) -> None:
        """Freezes the model and adds the adapters in a folder of PEFT."""
        with _Callbacks():
            _lib.tlm_model_load_adapter(self._handle, os.fsencode(directory))

    def set_dropout_row(self, row: int | None) -> None:
        """Turns dropout on for batches that begin with this row of the data, or off with None, as it is
        at first. Trainers call this."""
        _lib.tlm_model_set_dropout_row(self._handle, (1 << 64) - 1 if row is None else _unsigned("row", row))

    def check_finite(self) -> None:
        """NonFiniteError, naming the place, if a parameter or a gradient holds NaN or infinity."""
        _lib.tlm_model_check_finite(self._handle)

    def forward(self, ids: Any) -> Tensor:
        """Logits (batch, time, vocab_size) of ids, (time) or (batch, time)."""
        array, batch, time = _batch(ids)
        with _Callbacks():
            return _call("tlm_model_forward", self, array, batch, time)

    def loss(self, inputs: Any, targets: Any) -> Tensor:
        """Mean cross-entropy in nats per token; its backward() fills the parameters' gradients."""
        inputs, batch, time = _batch(inputs, "inputs")
        targets, target_batch, target_time = _batch(targets, "targets")
        if (batch, time) != (target_batch, target_time):
            raise ValueError(f"inputs are {(batch, time)}, targets {(target_batch, target_time)}")
        with _Callbacks():
            return _call("tlm_model_loss", self, inputs, targets, batch, time)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        _lib.tlm_model_zero_grad(self._handle)

    def evaluate(self, dataset: Dataset, batch: int, context: int = 0, max_tokens: int = 0) -> Evaluation:
        """The mean loss over windows of `context` ids (0: the model's) spread evenly over a data set, of
        about max_tokens in all (0: all of it), `batch` windows at a time."""
        result = _Evaluation(size=ctypes.sizeof(_Evaluation))
        with _Callbacks():
            _lib.tlm_model_evaluate(byref(result), self._handle, dataset._handle, batch, context, max_tokens)
        return _record(Evaluation, result)

    def score(self, ids: Ids, stride: int = 0) -> list[float]:
        """The log-probability of each id except the first, given the ids before it."""
        array = _ids_array(ids)
        log_probs = (c_float * max(len(array) - 1, 1))()
        with _Callbacks():
            _lib.tlm_model_score(None, log_probs, self._handle, array, len(array), stride)
        return list(log_probs)

    def perplexity(self, ids: Ids, stride: int = 0) -> float:
        """How many tokens the model hesitates between, on average: exp of the mean loss. See score."""
        array, total = _ids_array(ids), c_double()
        with _Callbacks():
            _lib.tlm_model_score(byref(total), None, self._handle, array, len(array), stride)
        return math.exp(-total.value / (len(array) - 1))

    def generate(self, prompt: Ids, on_token: Callable[[int], Any] | None = None,
                 **how: Unpack[GenerateOptions]) -> list[int]:
        """New ids after those of the prompt; Generator.add says what `how` may hold. on_token(id) is
        called with each; True stops."""
        def call(_user: Any, token_id: int) -> Any:
            return None if on_token is None else on_token(token_id)

        array, ids, n = _ids_array(prompt, "prompt"), _IDS(), c_size_t()
        with _Callbacks() as callbacks:
            options = _generate_options(lambda: callbacks, **how)
            _lib.tlm_model_generate(byref(ids), byref(n), self._handle, array, len(array), byref(options),
                                    callbacks.wrap(_TokenCallback, call), None)
            result = _take_ids(ids, n)
        return result

    def generate_text(self, prompt: Text | Ids, tokenizer: Tokenizer,
                      on_text: Callable[[str], Any] | None = None, **how: Unpack[TextOptions]) -> GeneratedText:
        """The text after a prompt, a text or ids, and the state that says why it ended (Generator.STATES).
        Generator.add says what `how` may hold; stop_strings are cut exactly. on_text(piece) is called with
        each piece of text, which is never a part of a stop string; True stops."""
        def call(_user: Any, data: int, size: int) -> Any:
            return None if on_text is None else on_text(ctypes.string_at(data, size).decode())

        ids = tokenizer.encode(prompt) if isinstance(prompt, (str, bytes)) else prompt
        array, text, size, state = _ids_array(ids, "prompt"), c_void_p(), c_size_t(), c_int32()
        with _Callbacks() as callbacks:
            options = _generate_options(lambda: callbacks, tokenizer=tokenizer, **how)
            _lib.tlm_model_generate_text(byref(text), byref(size), byref(state), self._handle, array, len(array),
                                         byref(options), callbacks.wrap(_TextCallback, call), None)
            result = _take_bytes(text, size.value).decode()
        return GeneratedText(result, Generator.STATES[state.value])

    def generate_many(self, prompts: Iterable[Ids], seed: int | Iterable[int] = 0,
                      **how: Unpack[ManyOptions]) -> list[list[int]]:
        """New ids for each of many prompts, generated together; prompt i has the seed `seed` + i, or the
        i-th of several seeds."""
        generator = Generator(self)
        begun = [list(_ids_array(prompt, f"prompts[{i}]")) for i, prompt in enumerate(prompts)]
        seeds = list(seed) if isinstance(seed, Iterable) else [seed + i for i in range(len(begun))]
        if len(seeds) != len(begun):
            raise ValueError(f"{len(seeds)} seeds for {len(begun)} prompts")
        for prompt, own in zip(begun, seeds):
            generator.add(prompt, seed=own, **how)
        while generator.step() > 0:
            pass
        return [generator.tokens(i) for i in range(generator.size)]

    # -- As other objects of Python --

    def _state(self) -> tuple[bytes | None, dict[str, Any]]:
        """A checkpoint of the model, and what it does not hold. With adapters a checkpoint holds these alone, so
        that the parameters are listed."""
        kept = {name: value for name, value in self.__dict__.items() if name not in ("_handle", "_keeper")}
        parameters = self.parameters()
        kept["_frozen"] = {name for name, tensor in parameters.items() if not tensor.requires_grad}
        kept["_lora"] = self.lora
        if kept["_lora"] is not None:
            if any(tensor.dtype != FLOAT32 for tensor in parameters.values()):
                raise TypeError("a Model with adapters over weights that are not float32 cannot be copied")
            kept["_options"] = self.options
            kept["_parameters"] = {name: (tensor.shape, bytes(tensor._copy_out())) for name, tensor in parameters.items()}
            return None, kept
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            self.save(path)
            with open(path, "rb") as file:
                return file.read(), kept

    def __deepcopy__(self, _memo: Any) -> Model:
        return _from_state(*self._state())

    def __reduce__(self) -> Any:
        return _from_state, self._state()

    def _described(self) -> str:
        options = self.options
        shown = {name: options[name] for name in ("vocab_size", "context_length", "d_model", "num_layers", "num_heads")}
        words = ", ".join(f"{name}={value}" for name, value in shown.items())
        rows = _rows_of_layers((name, tensor.shape) for name, tensor in self.parameters().items())
        width = max((len(row[0]) for row in rows), default=0)
        lines = [f"  {name:<{width}}  {str(shape):<16} {times * math.prod(shape):>14,}" for name, shape, times in rows]
        total = f"  {'parameters':<{width}}  {'':<16} {self.num_elements:>14,}"
        trained = "" if self.num_trained == self.num_elements else f", of which {self.num_trained:,} are trained"
        return "\n".join([words, *lines, total + trained])


def _rows_of_layers(parameters: Iterable[tuple[str, tuple[int, ...]]]) -> list[tuple[str, tuple[int, ...], int]]:
    """Name, shape and number of the parameters; those of the same shape in all layers in one row, layers.0-11."""
    found: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, shape in parameters:
        layer = re.match(r"layers\.(\d+)\.", name)
        key = name if layer is None else "layers.*." + name[layer.end():]
        found.setdefault((key, shape), []).append("" if layer is None else layer.group(1))
    return [(key.replace("*", layers[0] if len(layers) == 1 else f"{layers[0]}-{layers[-1]}"), shape, len(layers))
            for (key, shape), layers in found.items()]


def _from_parameters(options: dict[str, Any], lora: dict[str, Any], parameters: dict[str, Any]) -> Model:
    model = Model.create(**options)
    model.add_lora(**lora)
    for name, (shape, values) in parameters.items():
        floats = (c_float * (len(values) // 4)).from_buffer_copy(values)
        _lib.tlm_model_set_parameter(model._handle, name.encode(), floats, _dims(shape), len(shape))
    return model


def _from_state(checkpoint: bytes | None, kept: dict[str, Any]) -> Model:
    """A model from what Model._state made of it."""
    frozen, lora = kept.pop("_frozen"), kept.pop("_lora")
    if checkpoint is None:
        model = _from_parameters(kept.pop("_options"), lora, kept.pop("_parameters"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            with open(path, "wb") as file:
                file.write(checkpoint)
            model = Model.load(path)
    model.__dict__.update(kept)
    for name, tensor in model.parameters().items():
        if tensor.requires_grad and name in frozen:
            model.freeze(name)
        elif not tensor.requires_grad and name not in frozen:
            model.unfreeze(name)
    return model
