"""The structs, callbacks and functions of the headers as ctypes takes them, made of what _headers.py says."""

from __future__ import annotations

import ctypes
import re
from ctypes import (CFUNCTYPE, POINTER, c_bool, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8,
                    c_uint32, c_uint64, c_void_p)
from typing import Any

from ._headers import CALLBACKS, FUNCTIONS, STRUCTS
from ._structs import _CText, _Options, _Whole

_SCALARS: dict[str, Any] = {
    "void": None, "bool": c_bool, "float": c_float, "double": c_double, "uint8_t": c_uint8, "int32_t": c_int32,
    "uint32_t": c_uint32, "int64_t": c_int64, "uint64_t": c_uint64, "size_t": c_size_t, "tlm_status_t": c_int32}
_made: dict[str, Any] = {}  # structs and callbacks by their names in C


class _DLManagedTensor(ctypes.Structure):
    """What is behind a DLPack capsule; Python only ever calls the deleter."""


class _DLManagedTensorVersioned(ctypes.Structure):
    """The same of DLPack 1.0, as far as its deleter."""


_Deleter = CFUNCTYPE(None, POINTER(_DLManagedTensor))
_VersionedDeleter = CFUNCTYPE(None, POINTER(_DLManagedTensorVersioned))
_DLManagedTensorVersioned._fields_ = [("version", c_uint32 * 2), ("manager_ctx", c_void_p), ("deleter", _VersionedDeleter)]
_DLManagedTensor._fields_ = [("dl_tensor", c_uint8 * 48), ("manager_ctx", c_void_p), ("deleter", _Deleter)]


def _type(kind: str, is_text: bool = False) -> Any:
    """The type of ctypes for a type of C. is_text: char * is a text that ends in a NUL, and bytes are taken as
    uint8_t *; otherwise these are addresses."""
    if kind in CALLBACKS:
        return _callback(kind)
    if "(*)" in kind:  # a pointer to a function that has no name of its own
        result, parameters = kind[:-1].split(" (*)(")
        return _function_type(result, [(name, one) for one, name in re.findall(r"([^,]*?)(\w+)(?:, |$)", parameters)])
    base, depth = re.sub(r"\bconst\b|\bstruct\b|\*", "", kind).strip(), kind.count("*")
    if depth == 0:
        return _struct(base) if base in STRUCTS else _SCALARS[base]
    if base == "char" or (base == "uint8_t" and (is_text or depth > 1)):
        return c_char_p if is_text and depth == 1 else c_void_p
    if base in STRUCTS or base == "DLManagedTensor":
        pointed = _DLManagedTensor if base == "DLManagedTensor" else _struct(base)
    elif base != "void" and base in _SCALARS:
        pointed = _SCALARS[base]
    else:  # handles and void: addresses, whatever is there
        pointed, depth = c_void_p, depth - 1
    for _ in range(depth):
        pointed = POINTER(pointed)
    return pointed


def _function_type(result: str, parameters: Any) -> Any:
    """The type of a pointer to a function. A char * with a size behind it need not end in a NUL."""
    sized = {parameters[i][0] for i, (name, _) in enumerate(parameters[1:]) if name == "size"}
    return CFUNCTYPE(_type(result), *[_type(kind, "char" in kind and name not in sized) for name, kind in parameters])


def _callback(name: str) -> Any:
    if name not in _made:
        _made[name] = _function_type(*CALLBACKS[name])
    return _made[name]


def _struct(name: str) -> Any:
    """The class of a struct; those with a size begin as their INIT macro says."""
    if name not in _made:
        fields = []
        for label, kind, count in STRUCTS[name]:
            type_ = _type(kind, is_text=True)
            fields.append((label, type_ * count if count else type_))
        base = _Options if fields[0] == ("size", c_size_t) else ctypes.Structure
        _made[name] = type(name, (base,), {"_fields_": fields, "_type": name.encode()})
    return _made[name]


def _declare(function: Any, name: str) -> bool:
    """Gives a function of the library the types of its parameters and result; whether it returns a status."""
    result, parameters = FUNCTIONS[name]
    function.restype = _type(result, is_text=True)
    sized = {parameters[i][0] for i, (label, _) in enumerate(parameters[1:]) if label == "size"}
    function.argtypes = [_Whole.of(label, kind, _SCALARS)
                         or (_CText(label) if kind == "const char *" and label not in sized else None)
                         or _type(kind, "char" in kind) for label, kind in parameters]
    return result == "tlm_status_t"


_OUT = POINTER(c_void_p)  # a handle that the library hands out, or an array of handles
_IDS, _FLOATS, _SIZES = POINTER(c_uint32), POINTER(c_float), POINTER(c_size_t)

_AdamWOptions = _struct("tlm_adamw_options_t")
_Bytes = _struct("tlm_bytes_t")
_BpeTrainerOptions = _struct("tlm_bpe_trainer_options_t")
_ChatData = _struct("tlm_chat_data_t")
_ChatDataOptions = _struct("tlm_chat_data_options_t")
_ChatMessage = _struct("tlm_chat_message_t")
_ChatOptions = _struct("tlm_chat_options_t")
_CheckpointOptions = _struct("tlm_checkpoint_options_t")
_CommunicatorOptions = _struct("tlm_communicator_options_t")
_Cost = _struct("tlm_cost_t")
_CostOptions = _struct("tlm_cost_options_t")
_CustomOpOptions = _struct("tlm_custom_op_options_t")
_DecodeOptions = _struct("tlm_decode_options_t")
_EncodeFilesOptions = _struct("tlm_encode_files_options_t")
_EncodeOptions = _struct("tlm_encode_options_t")
_Evaluation = _struct("tlm_evaluation_t")
_GenerateOptions = _struct("tlm_generate_options_t")
_GroupOptions = _struct("tlm_group_options_t")
_GroupRule = _struct("tlm_group_rule_t")
_Ids = _struct("tlm_ids_t")
_LoaderOptions = _struct("tlm_loader_options_t")
_LogitBias = _struct("tlm_logit_bias_t")
_LoraOptions = _struct("tlm_lora_options_t")
_ModelFileOptions = _struct("tlm_model_file_options_t")
_ModelOptions = _struct("tlm_model_options_t")
_MuonOptions = _struct("tlm_muon_options_t")
_LionOptions = _struct("tlm_lion_options_t")
_AdafactorOptions = _struct("tlm_adafactor_options_t")
_PadOptions = _struct("tlm_pad_options_t")
_ScheduleOptions = _struct("tlm_schedule_options_t")
_TokenizerOptions = _struct("tlm_tokenizer_options_t")
_TrainStep = _struct("tlm_train_step_t")
_TrainerOptions = _struct("tlm_trainer_options_t")

_Backward = _callback("tlm_custom_backward_t")
_BpeProgress = _callback("tlm_bpe_progress_callback_t")
_EvaluationCallback = _callback("tlm_evaluation_callback_t")
_ExchangeCallback = _callback("tlm_exchange_callback_t")
_IdsCallback = _callback("tlm_ids_callback_t")
_Interrupt = _callback("tlm_interrupt_callback_t")
_LogitsCallback = _callback("tlm_logits_callback_t")
_Progress = _callback("tlm_progress_callback_t")
_Release = _type("void (*)(void *user)")
_SaveCallback = _callback("tlm_save_callback_t")
_StepCallback = _callback("tlm_step_callback_t")
_TextCallback = _callback("tlm_text_callback_t")
_TokenCallback = _callback("tlm_token_callback_t")
