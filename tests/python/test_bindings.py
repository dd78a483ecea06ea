"""What the Python package makes of the headers: every function is wrapped or listed, structs have the layout that
tinylm-abi.json gives (which tests/abi checks against the compiler), and words stand for the right constants."""

import ast
import ctypes
import os
import pathlib
import sys
import unittest

import tinylm
from tinylm import _abi, _headers, _structs, _words, errors

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "lib"))
import describe_abi  # noqa: E402

PACKAGE = pathlib.Path(tinylm.__file__).parent

# Functions that the package does without; a new one is wrapped there, or named here with the reason.
NOT_WRAPPED = {
    "tlm_dtype_size": "ctypes.sizeof",
    "tlm_cpu_level_name": "the words of cpu_level()",
    "tlm_status_text": "the docstrings of the exceptions",
    "tlm_tokenizer_encode": "tlm_tokenizer_encode_with",
    "tlm_checkpoint_save": "tlm_checkpoint_save_with",
    "tlm_tokenizer_load_json": "tlm_tokenizer_open",
    "tlm_tokenizer_load_tiktoken": "tlm_tokenizer_open",
    "tlm_decoder_create": "tlm_decoder_create_with",
    "tlm_tokenizer_decode": "tlm_tokenizer_decode_with",
    "tlm_tokenizer_decode_text": "tlm_tokenizer_decode_with",
    "tlm_utf8_sanitize": "Python replaces malformed text alike",
    "tlm_optimizer_add_model": "tlm_optimizer_add_model_with",
    "tlm_model_parameters": "tlm_model_parameter",
    "tlm_optimizer_parameter": "Python holds the tensors",
    "tlm_model_evaluate_on_ranks": "programs of several ranks are written in C",
    "tlm_loader_set_share": "trainers of several ranks set it",
    "tlm_tensor_item": "Tensor.item, of any element type",
    **dict.fromkeys(["tlm_communicator_" + name for name in "exchange all_gather gather broadcast all_reduce agree".split()],
                    "mpi4py has them for programs"),
}

# Words of _words._WORDS and the prefix of their constants.
PREFIXES = {"norm": "NORM", "norm_kind": "KIND_OF_NORM", "qk_norm": "QK_NORM", "attention_bias": "ATTENTION_BIAS",
            "rope_scaling": "ROPE_SCALING", "family": "FAMILY", "position": "POSITION", "ffn": "FFN", "side": "SIDE",
            "byte_order": "BYTE_ORDER", "order": "ORDER", "weights": "WEIGHTS", "schedule": "SCHEDULE", "cpu_level": "CPU",
            "state": "GENERATION", "past_context": "PAST_CONTEXT", "phase": "BPE_PHASE", "cost_optimizer": "COST",
            "counting": "COUNT", "part": "PART", "adamw_variant": "ADAMW", "muon_scale": "MUON_SCALE",
            "output_init": "OUTPUT_INIT", "products": "PRODUCTS", "comparison": "COMPARE"}

# Types of C and the ctypes that the package must give parameters of them.
KINDS = {"int32_t": ctypes.c_int32, "uint64_t": ctypes.c_uint64, "double": ctypes.c_double, "bool": ctypes.c_bool,
         "const char *": ctypes.c_char_p, "const void *": ctypes.c_void_p, "tlm_model_t *": ctypes.c_void_p,
         "const uint32_t *": ctypes.POINTER(ctypes.c_uint32), "tlm_tensor_t **": ctypes.POINTER(ctypes.c_void_p),
         "uint32_t **": ctypes.POINTER(ctypes.POINTER(ctypes.c_uint32)), "char **": ctypes.c_void_p,
         "const tlm_pad_options_t *": ctypes.POINTER(_abi._PadOptions), "size_t *": ctypes.POINTER(ctypes.c_size_t),
         "tlm_ids_callback_t": _abi._IdsCallback, "void (*)(void *user)": _abi._Release}


class BindingsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.described = describe_abi.describe(ROOT)
        trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.glob("*.py") if path.name != "_headers.py"]
        # Attributes of the library, and names as _call takes them: comments and docstrings do not count.
        cls.used = {getattr(node, "attr", getattr(node, "value", None)) for tree in trees for node in ast.walk(tree)
                    if isinstance(node, (ast.Attribute, ast.Constant))} & set(_headers.FUNCTIONS)

    def test_every_function_is_wrapped_or_listed(self):
        self.assertGreater(len(_headers.FUNCTIONS), 150)
        self.assertEqual(self.used & set(NOT_WRAPPED), set(), "is wrapped, and listed as not wrapped")
        self.assertEqual(set(NOT_WRAPPED) - set(_headers.FUNCTIONS), set(), "is listed, and does not exist")
        self.assertEqual(set(_headers.FUNCTIONS) - self.used - set(NOT_WRAPPED), set(),
                         "to be wrapped in the package, or listed here")

    def test_every_function_can_be_declared(self):
        for name, (result, parameters) in _headers.FUNCTIONS.items():
            function = getattr(tinylm._native._lib, name).function
            self.assertEqual(len(function.argtypes), len(parameters), name)
            self.assertEqual(hasattr(function, "errcheck") and function.errcheck is tinylm._native._check,
                             result == "tlm_status_t", name)

    def test_types(self):
        for kind, wanted in KINDS.items():
            self.assertIs(_abi._type(kind, "char" in kind), wanted, kind)
        self.assertIs(_abi._TextCallback._argtypes_[1], ctypes.c_void_p)  # a size follows: it need not end in a NUL
        self.assertIs(_abi._SaveCallback._argtypes_[1], ctypes.c_char_p)

    def test_structs(self):
        for name, entry in self.described["structs"].items():
            structure = _abi._struct(name)
            self.assertEqual(ctypes.sizeof(structure), entry["size"], name)
            self.assertEqual([label for label, _ in structure._fields_], [field["name"] for field in entry["fields"]])
            for field in entry["fields"]:
                place = getattr(structure, field["name"])
                self.assertEqual((place.offset, place.size), (field["offset"], field["size"]),
                                 f"{name}.{field['name']}")

    def test_defaults(self):
        for name, entry in self.described["structs"].items():
            if "init" in entry:
                made = _abi._struct(name)()
                for field in entry["fields"]:
                    if field.get("default") is not None and "(" not in field["type"]:
                        self.assertEqual(getattr(made, field["name"]), field["default"], f"{name}.{field['name']}")

    def test_numbers_that_do_not_fit_are_refused(self):
        lib = tinylm._native._lib
        for wrong, kind in [(1 << 31, ValueError), (-(1 << 31) - 1, ValueError), (True, TypeError), (1.0, TypeError),
                            ("1", TypeError), (None, TypeError)]:
            with self.assertRaises(kind) as caught:
                lib.tlm_set_cpu_level(wrong)
            if kind is ValueError:
                self.assertIn("level", str(caught.exception))
        with self.assertRaisesRegex(ValueError, r"vocab_size -1 is not in 0\.\.2\*\*32-1"):
            _abi._BpeTrainerOptions(vocab_size=-1)
        with self.assertRaisesRegex(TypeError, "tied_embeddings takes True or False, not 'no'"):
            _abi._ModelOptions(tied_embeddings="no")

    def named(self, prefix):
        prefix = f"TLM_{prefix}_"
        return {name[len(prefix):].lower(): value for name, value in _headers.CONSTANTS.items()
                if name.startswith(prefix)}

    def test_constants(self):
        self.assertEqual(set(PREFIXES), set(_words._WORDS))
        for kind, prefix in PREFIXES.items():
            self.assertEqual(self.named(prefix), {word: i for i, word in enumerate(_words._WORDS[kind])})
        for dtype, name in _words._NUMPY_NAMES.items():
            self.assertEqual(_headers.CONSTANTS["TLM_" + name.upper()], dtype)
            self.assertEqual(getattr(tinylm, name.upper()), dtype)
        self.assertEqual(self.named("NO_DECAY"), _words._NO_DECAY)
        self.assertEqual(self.named("SPECIAL"), {"all": _words._SPECIAL_ALL, "none": _words._SPECIAL_NONE,
                                                 "list": _words._SPECIAL_LIST})
        self.assertEqual(self.named("TOKENS"),
                         {name or "auto": value for name, value in _words._TOKEN_TYPES.items()})

    def test_statuses(self):
        self.statuses = {name: code for name, code in _headers.STATUSES.items() if code != 0}
        self.assertEqual(set(self.statuses.values()), set(errors._ERRORS))
        self.assertEqual(self.statuses["TLM_ERR_CANCELLED"], errors._CANCELLED)
        for code, kind in errors._ERRORS.items():
            name = next(name for name, value in self.statuses.items() if value == code)
            words = name.replace("TLM_ERR_", "").replace("IO", "FILE").split("_")
            self.assertEqual(kind.__name__, "".join(word.title() for word in words) + "Error")


if __name__ == "__main__":
    unittest.main(verbosity=2)
