"""libtinylm from Python, through ctypes and nothing else.

    import tinylm
    tokenizer = tinylm.Tokenizer.train("some text", vocab_size=300)
    ids = tokenizer.encode("text")
    assert tokenizer.decode(ids) == "text"

The library is $TINYLM_LIBRARY, or else libtinylm.so in this folder, or else what the system's loader knows
as "tinylm". A call that fails raises a subclass of tinylm.Error, which is also the fitting exception of
Python's (ValueError, FileNotFoundError, MemoryError ...), with the library's message. An exception in a
function that the library calls, Ctrl-C among them, ends the call and comes out of it. Calls release the
interpreter's lock. numpy and PyTorch are only used if a call is given their objects or asks for them.
"""

from . import nn, options
from ._public import check_public as _check_public
from .bpe import BpeTrainer, train_bpe
from .chat import CHAT_TEMPLATES, ChatTemplate
from .checkpoint import checkpoint_metadata, latest_checkpoint, best_checkpoint, checkpoint_tokenizer
from .communicator import Communicator
from .cost import model_cost
from .creation import (arange, eye, full, manual_seed, ones, ones_like, rand, randint, randn, tril, zeros,
                       zeros_like)
from .custom import custom_op
from .data import Dataset, Loader, TokenWriter, encode_file, encode_files
from .dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64, UINT32, DType
from .errors import (Error, InvalidArgumentError, ShapeError, OutOfMemoryError, FileError, FormatError,
                     NotFoundError, UnsupportedError, RangeError, StateError, RegexError, NonFiniteError,
                     CancelledError, SpecialTokenError)
from .functional import (where, concat, linear, embedding, rms_norm, silu_mul, swiglu, rope, softmax,
                         attention, multi_head_attention, cross_entropy, init_truncated_normal,
                         layer_norm, dropout, init_uniform, maximum, minimum, stack)
from .generation import GeneratedText, Generator
from .library import (version, abi_version, set_num_threads, num_threads, cpu_level, set_cpu_level,
                      cpu_features, check_environment, gemm_kernel_name, set_products, products,
                      shutdown, random_bits)
from .models import Model
from .optim import Optimizer, Adafactor, AdamW, Lion, Muon, SGD, clip_grad_norm, clip_norm, adamw_update
from .progress import History
from .results import TrainStep, Evaluation
from .schedule import cosine_schedule, schedule_learning_rate
from .tensors import Tensor, is_grad_enabled, no_grad
from .patterns import PATTERNS
from .tokenizers import Tokenizer, nfc
from .trainer import Trainer

__all__ = [
    "FLOAT32", "INT32", "INT64", "UINT32", "BOOL", "BFLOAT16", "FLOAT16", "DType", "Error", "InvalidArgumentError",
    "ShapeError", "OutOfMemoryError", "FileError", "FormatError", "NotFoundError", "UnsupportedError",
    "RangeError", "StateError", "RegexError", "NonFiniteError", "CancelledError", "SpecialTokenError", "version",
    "abi_version", "set_num_threads", "num_threads", "cpu_level", "set_cpu_level", "cpu_features", "check_environment",
    "gemm_kernel_name", "set_products", "products", "shutdown", "random_bits", "BpeTrainer", "PATTERNS", "Tokenizer", "train_bpe", "nfc",
    "CHAT_TEMPLATES", "ChatTemplate", "Tensor", "no_grad", "is_grad_enabled", "nn", "options", "zeros", "ones", "full", "zeros_like", "ones_like", "arange", "eye", "tril", "rand",
    "randn", "randint", "manual_seed", "maximum", "minimum", "stack", "where", "concat", "linear", "embedding", "rms_norm",
    "silu_mul", "swiglu", "rope", "softmax", "attention", "multi_head_attention", "cross_entropy",
    "init_truncated_normal", "layer_norm", "dropout", "init_uniform", "custom_op", "Optimizer", "Adafactor", "AdamW", "Lion", "Muon", "SGD", "clip_grad_norm", "clip_norm",
    "adamw_update", "cosine_schedule", "schedule_learning_rate", "Dataset", "Loader", "TokenWriter",
    "encode_file", "encode_files", "Communicator", "checkpoint_metadata", "latest_checkpoint", "best_checkpoint", "checkpoint_tokenizer", "Model",
    "model_cost", "GeneratedText", "Generator", "TrainStep", "Evaluation", "History", "Trainer"]

_check_public(globals(), __all__)
_check_public({**globals(), **vars(nn)}, nn.__all__)


def __getattr__(name: str) -> object:
    from ._elsewhere import MODULE, advice
    raise AttributeError(f"module 'tinylm' has no attribute {name!r}{advice(MODULE, name)}")
