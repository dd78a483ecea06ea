"""What the Python package says of the C interface, beside what the compiler says of the headers: constants, structs,
and the types of each function and callback. Skipped without a C compiler."""

import ctypes
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

import tinylm
from tinylm import _abi, _structs, _words, errors

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMPILER = [*shlex.split(os.environ.get("CC", "cc")), "-I" + os.path.join(ROOT, "include")]

# Functions that the package does without; a new one is wrapped there, or named here with the reason.
NOT_WRAPPED = {
    "tlm_dtype_size": "ctypes.sizeof",
    "tlm_cpu_level_name": "the words of cpu_level()",
    "tlm_status_text": "the docstrings of the exceptions",
    "tlm_grad_enabled": "no_grad() is all that is needed",
    "tlm_tensor_create": "Tensor copies values",
    "tlm_tokenizer_encode": "tlm_tokenizer_encode_with",
    "tlm_checkpoint_save": "tlm_checkpoint_save_with",
    "tlm_tokenizer_load_json": "tlm_tokenizer_open",
    "tlm_tokenizer_load_tiktoken": "tlm_tokenizer_open",
    "tlm_decoder_create": "tlm_decoder_create_with",
    "tlm_tokenizer_decode": "tlm_tokenizer_decode_with",
    "tlm_tokenizer_decode_text": "tlm_tokenizer_decode_with",
    "tlm_utf8_sanitize": "Python replaces malformed text alike",
    "tlm_model_parameters": "tlm_model_parameter",
    "tlm_optimizer_parameter": "Python holds the tensors",
    "tlm_model_evaluate_on_ranks": "programs of several ranks are written in C",
    "tlm_loader_set_share": "trainers of several ranks set it",
    "tlm_set_error": "callbacks raise exceptions",
    **dict.fromkeys(["tlm_communicator_" + name for name in (
        "create create_local free rank num_ranks seconds exchange all_gather gather broadcast all_reduce barrier "
        "agree").split()], "programs of several ranks are written in C"),
}

# Words of _words._WORDS and the prefix of their constants.
PREFIXES = {"norm": "NORM", "norm_kind": "KIND_OF_NORM", "qk_norm": "QK_NORM", "attention_bias": "ATTENTION_BIAS",
            "rope_scaling": "ROPE_SCALING", "family": "FAMILY", "position": "POSITION", "ffn": "FFN", "side": "SIDE",
            "byte_order": "BYTE_ORDER", "order": "ORDER", "weights": "WEIGHTS", "schedule": "SCHEDULE", "cpu_level": "CPU",
            "state": "GENERATION", "past_context": "PAST_CONTEXT", "phase": "BPE_PHASE", "cost_optimizer": "COST",
            "counting": "COUNT", "part": "PART", "adamw_variant": "ADAMW", "muon_scale": "MUON_SCALE",
            "output_init": "OUTPUT_INIT"}

SCALARS = {"bool": ctypes.c_bool, "_Bool": ctypes.c_bool, "float": ctypes.c_float, "double": ctypes.c_double,
           "uint8_t": ctypes.c_uint8, "int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32,
           "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64, "size_t": ctypes.c_size_t,
           "tlm_status_t": ctypes.c_int32}


def compile_source(source, *options):
    return subprocess.run([*COMPILER, *options, "-xc", "-"], input=source, stdout=subprocess.PIPE,
                          check=True, text=True).stdout


def c_name(structure):
    """tlm_pad_options_t of _PadOptions."""
    if structure is _abi._DLManagedTensor:
        return "DLManagedTensor"
    words = re.findall(r"AdamW|[A-Z][a-z]*", structure.__name__.lstrip("_"))
    return "tlm_" + "_".join(words).lower() + "_t"


# All but that of DLPack, of which Python has a part only.
STRUCTURES = [value for value in vars(_abi).values()
              if isinstance(value, type) and issubclass(value, ctypes.Structure)
              and value not in (_structs._Options, _abi._DLManagedTensor)]


def split_parameters(text):
    """Parameters between commas that are in no parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [] if text.strip() in ("", "void") else [part.strip() for part in parts]


def base_and_depth(declaration):
    """uint32_t, 2 of "const uint32_t **ids"; a trailing name is dropped."""
    depth = declaration.count("*")
    words = [word for word in re.findall(r"\w+", declaration) if word not in ("const", "struct")]
    return words[0], depth


class Headers:
    """Prototypes of tlm_ functions, and of pointers to functions, by name: (result, parameters)."""

    def __init__(self):
        text = compile_source("#include <tinylm/tinylm.h>\n", "-E", "-P")
        text = " ".join(re.sub(r"__attribute__\s*\(\(.*?\)\)\)?", " ", text).split())
        inside = r"((?:[^()]|\([^()]*\))*)"
        self.functions = {name: (result, split_parameters(parameters)) for result, name, parameters in
                          re.findall(rf"([\w ]+[ *]+)\b(tlm_\w+) ?\({inside}\) ?;", text)}
        self.callbacks = {name: (result, split_parameters(parameters)) for result, name, parameters in
                          re.findall(rf"typedef ([\w ]+[ *]*)\( ?\* ?(tlm_\w+)\) ?\({inside}\) ?;", text)}
        macros = compile_source("#include <tinylm/tinylm.h>\n", "-dM", "-E")
        self.constants = {name: int(value) for name, value in
                          re.findall(r"^#define TLM_(\w+) (\d+)u?$", macros, re.MULTILINE)}
        self.statuses = {name: int(code) for name, code in
                         re.findall(r"\b(TLM_ERR_\w+) = (-\d+)", text)}


class BindingsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.headers = Headers()

    def fits(self, kind, declaration):
        """Whether a type of ctypes is that of a C parameter or result."""
        if "(" in declaration:  # a pointer to a function
            result, parameters = re.fullmatch(r"(.*?)\( ?\*.*?\) ?\((.*)\)", declaration).groups()
            return self.is_function(kind, result, split_parameters(parameters))
        base, depth = base_and_depth(declaration)
        if base in self.headers.callbacks and depth == 0:
            return self.is_function(kind, *self.headers.callbacks[base])
        return self.is_type(kind, base, depth)

    def is_function(self, kind, result, parameters):
        return (self.is_type(kind._restype_, *base_and_depth(result)) and len(kind._argtypes_) == len(parameters)
                and all(self.fits(*pair) for pair in zip(kind._argtypes_, parameters)))

    def is_type(self, kind, base, depth):
        if depth == 0:
            return kind is None if base == "void" else (
                kind is SCALARS.get(base) or issubclass(kind, ctypes.Structure) and c_name(kind) == base)
        if kind is ctypes.c_char_p:
            return depth == 1 and base in ("char", "void", "uint8_t")
        if kind is ctypes.c_void_p:  # a handle or bytes; scalars have pointers of their type
            return base not in SCALARS or (base == "uint8_t" and depth == 1)
        return issubclass(kind, ctypes._Pointer) and self.is_type(kind._type_, base, depth - 1)

    def test_every_function_is_wrapped_or_listed(self):
        bound = {*_abi._STATUS_FUNCTIONS, *_abi._OTHER_FUNCTIONS}
        self.assertGreater(len(self.headers.functions), 150)
        self.assertEqual(bound & set(NOT_WRAPPED), set())
        self.assertEqual((bound | set(NOT_WRAPPED)) - set(self.headers.functions), set())
        unknown = set(self.headers.functions) - bound - set(NOT_WRAPPED)
        self.assertEqual(unknown, set(), "to be wrapped in examples/python/tinylm, or listed here")

    def test_every_function_bound_is_used(self):
        folder = pathlib.Path(tinylm.__file__).parent
        code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py") if path.name != "_abi.py")
        for name in [*_abi._STATUS_FUNCTIONS, *_abi._OTHER_FUNCTIONS]:
            self.assertTrue(name in code or name in ("tlm_options_init", "tlm_status_name", "tlm_error_message"), name)

    def test_types_of_functions(self):
        declared = {**{name: (ctypes.c_int32, arguments)
                       for name, arguments in _abi._STATUS_FUNCTIONS.items()}, **_abi._OTHER_FUNCTIONS}
        for name, (result, arguments) in declared.items():
            with self.subTest(function=name):
                c_result, parameters = self.headers.functions[name]
                self.assertEqual(name in _abi._STATUS_FUNCTIONS, base_and_depth(c_result)[0] == "tlm_status_t")
                self.assertTrue(self.fits(result, c_result), c_result)
                self.assertEqual(len(arguments), len(parameters), parameters)
                for kind, parameter in zip(arguments, parameters):
                    self.assertTrue(self.fits(kind, parameter), f"{kind} for {parameter}")

    def test_the_check_sees_wrong_types(self):
        for kind, declaration in [(ctypes.c_int64, "int32_t n"), (ctypes.c_uint32, "int32_t n"),
                                  (ctypes.c_float, "double x"), (ctypes.c_void_p, "size_t n"),
                                  (ctypes.c_void_p, "uint32_t *ids"), (ctypes.c_char_p, "uint32_t *ids"),
                                  (ctypes.POINTER(ctypes.c_int32), "uint32_t *ids"),
                                  (ctypes.POINTER(_abi._PadOptions), "const tlm_encode_options_t *o"),
                                  (_abi._TokenCallback, "tlm_ids_callback_t callback")]:
            self.assertFalse(self.fits(kind, declaration), declaration)

    def test_structs(self):
        lines = []
        for structure in STRUCTURES:
            name = c_name(structure)
            self.assertEqual(getattr(structure, "_type", name.encode()), name.encode())
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            lines += [f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), '
                      f'sizeof((({name} *)0)->{field}));' for field, _ in structure._fields_]
        source = ("#include <stddef.h>\n#include <stdio.h>\n#include <tinylm/tinylm.h>\n"
                  "int main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n")
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "layout")
            compile_source(source, "-o", program)
            output = subprocess.run([program], stdout=subprocess.PIPE, check=True, text=True).stdout
        expected = []
        for structure in STRUCTURES:
            name = c_name(structure)
            expected.append(f"{name} {ctypes.sizeof(structure)}")
            for field, _ in structure._fields_:
                place = getattr(structure, field)
                expected.append(f"{name}.{field} {place.offset} {place.size}")
        self.assertEqual(output.splitlines(), expected)

    def named(self, prefix):
        return {name[len(prefix) + 1:].lower(): value for name, value in self.headers.constants.items()
                if name.startswith(prefix + "_")}

    def test_constants(self):
        self.assertEqual(set(PREFIXES), set(_words._WORDS))
        for kind, prefix in PREFIXES.items():
            self.assertEqual(self.named(prefix), {word: i for i, word in enumerate(_words._WORDS[kind])})
        for dtype, name in _words._NUMPY_NAMES.items():
            self.assertEqual(self.headers.constants[name.upper()], dtype)
            self.assertEqual(getattr(tinylm, name.upper()), dtype)
        self.assertEqual(self.named("NO_DECAY"), _words._NO_DECAY)
        self.assertEqual(self.named("SPECIAL"), {"all": _words._SPECIAL_ALL, "none": _words._SPECIAL_NONE,
                                                 "list": _words._SPECIAL_LIST})
        self.assertEqual(self.named("TOKENS"),
                         {name or "auto": value for name, value in _words._TOKEN_TYPES.items()})

    def test_statuses(self):
        self.assertEqual(set(self.headers.statuses.values()), set(errors._ERRORS))
        self.assertEqual(self.headers.statuses["TLM_ERR_CANCELLED"], errors._CANCELLED)
        for code, kind in errors._ERRORS.items():
            name = next(name for name, value in self.headers.statuses.items() if value == code)
            words = name.replace("TLM_ERR_", "").replace("IO", "FILE").split("_")
            self.assertEqual(kind.__name__, "".join(word.title() for word in words) + "Error")


if __name__ == "__main__":
    try:
        subprocess.run([*COMPILER, "--version"], stdout=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        print(f"skipped: no C compiler ({COMPILER[0]})")
        sys.exit(77)
    unittest.main(verbosity=2)
