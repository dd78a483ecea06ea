"""Options by name: what the keyword arguments of some calls, and the dicts that others take, may hold.

    how: tinylm.options.GenerateOptions = {"temperature": 0.8, "top_p": 0.95, "max_tokens": 50}
    model.generate(ids, **how)

These are TypedDicts: dicts like any other when a program runs, and known to mypy, pyright and editors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, Literal, Mapping, Sequence, TypedDict, Union

if TYPE_CHECKING:
    from ._convert import Ids, Text
    from .tokenizers import Tokenizer

# What JSON can hold.
Json = Union[None, bool, int, float, str, Sequence["Json"], Mapping[str, "Json"]]
# A set of special tokens: "all", or the texts of some.
SpecialTokens = Union[Literal["all"], Iterable["Text"]]


class EncodeOptions(TypedDict, total=False):
    """Of Tokenizer.encode, which explains them."""

    allowed_special: SpecialTokens
    disallowed_special: SpecialTokens
    dropout: float
    seed: int
    add_special_tokens: bool
    whole_texts: bool


class CallOptions(EncodeOptions, total=False):
    """Of a call of a tokenizer, tokenizer(text): those of encode."""

    as_numpy: bool


class SamplingOptions(TypedDict, total=False):
    """How a sequence is continued, except for the seed and the tokenizer."""

    max_tokens: int  # new ids at most: 256
    temperature: float  # 0: the likeliest id
    top_k: int  # choose among so many; 0: all
    top_p: float  # choose among the likeliest with this probability together; 0: all
    min_p: float  # choose among those with this share of the likeliest one's probability
    repetition_penalty: float
    end_token: int | Iterable[int] | None  # ids that end the sequence
    stop_sequences: Iterable[Ids]  # ids that end it
    num_top_log_probs: int  # for Generator.top_log_probs
    stop_strings: Text | Iterable[Text]  # texts that end it; they need a tokenizer
    skip_special_tokens: bool  # in text
    logit_bias: Mapping[int, float] | None  # added to the logits of ids
    # on_logits(sequence, ids, logits) sees the new ids and may change the logits, a writable memoryview of floats; it
    # returns None, an id that it chooses, or True to end.
    on_logits: Callable[[int, list[int], Any], Any] | None
    past_context: str  # "default", "slide", "stop" or "recompute"
    kept_tokens: int | None  # of the prompt, where the context slides
    cache_type: int  # FLOAT32 or FLOAT16
    keeps_cache: bool  # for extend and save


class TextOptions(SamplingOptions, total=False):
    """The same with the seed of the random numbers: of Model.generate_text."""

    seed: int


class ManyOptions(SamplingOptions, total=False):
    """The same with the tokenizer of stop_strings: of Model.generate_many."""

    tokenizer: Tokenizer | None


class GenerateOptions(TextOptions, ManyOptions, total=False):
    """All of them: of Generator.add and Model.generate."""


class _Schedule(TypedDict):
    kind: str  # "constant", "cosine", "linear" or "wsd"
    max_learning_rate: float


class ScheduleTimes(TypedDict, total=False):
    """What schedule_learning_rate takes besides the kind and the highest rate."""

    min_learning_rate: float
    warmup_steps: int
    total_steps: int
    decay_steps: int  # of "wsd"


class ScheduleOptions(_Schedule, ScheduleTimes):
    """A schedule of learning rates: the arguments of schedule_learning_rate except the step."""


class AdamWOptions(TypedDict, total=False):
    """Of AdamW."""

    learning_rate: float | None
    beta1: float | None
    beta2: float | None
    eps: float | None
    weight_decay: float | None
    variant: str | None  # "cs336_2025", "cs336_2026" or "pytorch"


class MuonOptions(TypedDict, total=False):
    """Of Muon."""

    learning_rate: float | None
    momentum: float | None
    eps: float | None
    weight_decay: float | None
    iterations: int | None
    nesterov: bool | None
    scale: str | None  # "moonlight" or "jordan"


class LionOptions(TypedDict, total=False):
    """Of Lion."""

    learning_rate: float | None
    beta1: float | None
    beta2: float | None
    weight_decay: float | None


class AdafactorOptions(TypedDict, total=False):
    """Of Adafactor."""

    learning_rate: float | None
    power: float | None
    eps: float | None
    min_rms: float | None
    threshold: float | None
    weight_decay: float | None


class GroupRule(TypedDict, total=False):
    """How Optimizer.add_model trains the parameters whose names fit some patterns."""

    learning_rate: float | None
    weight_decay: float | None
    schedule: ScheduleOptions | None


class LoraOptions(TypedDict, total=False):
    """Of Model.add_lora."""

    rank: int
    alpha: float
    dropout: float
    targets: str | Iterable[str]
    seed: int
    rank_stabilized: bool
    family: str


class ModelSizes(TypedDict):
    """What every model has."""

    vocab_size: int
    context_length: int
    d_model: int
    num_layers: int
    num_heads: int


class ModelOptions(ModelSizes, total=False):
    """Of Model.create, which explains them."""

    d_ff: int
    rope_theta: float
    seed: int
    num_kv_heads: int
    norm_eps: float
    norm: str
    position: str
    ffn: str
    tied_embeddings: bool
    head_dim: int
    qk_norm: str
    attention_bias: str
    ffn_bias: bool
    sliding_window: int
    window_period: int
    window_rope_theta: float
    unrotated_period: int
    rope_scaling: str
    rope_factor: float
    rope_low_turns: float
    rope_high_turns: float
    rope_original_context: int
    rope_magnitude: float
    scaled_embeddings: bool
    norm_kind: str
    query_scalar: float
    attention_softcap: float
    logit_softcap: float
    embedding_norm: bool
    output_init: str
    base_width: int
    value_embeddings: bool
    z_loss: float
    label_smoothing: float
    dropout: float
    attention_dropout: float
    embedding_dropout: float
