"""Checks the rules of the public headers that a compiler does not see (docs/abi.md): types that every
language can pass, one order of arguments, one meaning per verb, and for each struct that begins with its
size an INIT macro, a row in lib/base/options.c, its layout in test_layout.c and calls in test_structs.c.

Usage: check_interface.py PROJECT_ROOT. Prints each breach as header: reason and exits with 1 if there is
one.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lib"))
import describe_abi
from describe_abi import POINTER, SIZES, base_of, split_name, split_parameters

# What a pointer may point to beside the types of a fixed width, and structs and handles of the library.
POINTEES = {"void", "char", "struct DLManagedTensor", "struct DLManagedTensorVersioned"}

# Words that would say what another verb already says: create, free, load, open, save, read, add, set.
SYNONYMS = {"new": "create", "make": "create", "alloc": "create", "destroy": "free", "delete": "free",
            "close": "free", "write": "save", "store": "save", "dump": "save", "fetch": "read",
            "append": "add", "insert": "add", "put": "add", "assign": "set", "get": "no verb"}
# A function tlm_model_options would hide the struct of that name in C++.
KEEP_THEIR_NAME = {"tlm_model_get_options"}


class Headers(describe_abi.Headers):
    def is_type(self, kind, by_value=True):
        """Whether every language can pass this: fixed-width numbers, pointers, the library's callbacks."""
        kind = kind.strip()
        if kind.endswith(")") or "(*" in kind:
            return True  # a pointer to a function, whose parameters are checked by themselves
        if kind.endswith("*"):
            return self.is_type(re.sub(r"\bconst$", "", kind[:-1].rstrip()), by_value=False)
        kind = re.sub(r"\bconst\b", "", kind).strip()
        if kind in SIZES or kind == "tlm_status_t":
            return True
        if by_value:
            return kind in self.callbacks
        return (kind in POINTEES or kind[:-2] in self.handles or kind[:-2] in self.structs)


def check_function(headers, result, name, parameters):
    result = " ".join(result.split())
    if result != "void" and not headers.is_type(result):
        yield f"{name} returns {result}"
    inputs = False  # whether a parameter that is not filled came before
    for parameter in parameters:
        if parameter == "...":
            yield f"{name} has a variable number of arguments"
            continue
        if "(*" in parameter:
            yield from check_callback(headers, name, split_parameters(re.search(r"\)\((.*)\)", parameter)[1]))
            continue
        kind, label = split_name(parameter)
        if not headers.is_type(kind):
            yield f"{name}: {parameter} is of a type that not every language can pass"
        is_out = headers.is_filled(name, kind, label)
        if is_out and inputs:
            yield f"{name} fills {label} behind its inputs"
        inputs = inputs or (kind.endswith("*") and not is_out)
    words = name.split("_")[1:]
    for word in words:
        if word in SYNONYMS and name not in KEEP_THEIR_NAME:
            yield f"{name}: {SYNONYMS[word]} is the word for {word}"


def check_callback(headers, name, parameters):
    if not parameters or parameters[0] != "void *user":
        yield f"{name}: a callback takes `void *user` first"
    for parameter in parameters:
        if not headers.is_type(split_name(parameter)[0]):
            yield f"{name}: {parameter} is of a type that not every language can pass"


def check_struct(headers, name):
    offset = 0
    for kind, label in headers.fields(name):
        if not headers.is_type(kind) or "," in kind:
            yield f"{name}_t.{label} is a {kind}"
            continue
        if "(*" in kind:
            yield from check_callback(headers, f"{name}_t.{label}", split_parameters(kind.split(")(")[1][:-1]))
        if name in headers.sized:
            size = SIZES.get(kind, POINTER)
            if offset % size:
                yield f"{name}_t has a hole before {label}, which should be a reserved field"
            offset += size * max(1, headers.array_length(name, label))
    if name in headers.sized and offset % 8:
        yield f"{name}_t ends in a hole, which should be a reserved field"


def check_sized_struct(headers, root, name):
    """What belongs to each struct with a size, besides its declaration."""
    macro = name.upper() + "_INIT"
    if not any(re.search(rf"#define {macro}\b", text) for text in headers.texts.values()):
        yield f"{name}_t has no {macro}"
    rows = (root / "lib" / "base" / "options.c").read_text(encoding="utf-8")
    row = re.search(rf"=\s*STRUCT\(\s*{name}_t,(.*?)\),\n(?=    \[|}};)", rows, re.DOTALL)
    limited = {label: "BOOLEAN" if kind == "bool" else "RESERVED" for kind, label in headers.fields(name)
               if kind == "bool" or label.startswith("reserved")}
    in_row = {label: kind for kind, label in
              re.findall(rf"(BOOLEAN|RESERVED)\( *{name}_t, +(\w+)\)", row.group(1) if row else "")}
    if in_row != limited or not row:
        yield f"lib/base/options.c does not limit the fields {limited} of {name}_t"
    layout = (root / "tests" / "abi" / "test_layout.c").read_text(encoding="utf-8")
    written = re.findall(rf"FIELD\( *{name}_t, +(\w+),", layout)
    if written != [label for _, label in headers.fields(name)] or f"SIZE({name}_t," not in layout:
        yield f"tests/abi/test_layout.c does not have the fields of {name}_t in their order"


def check_walk(headers, root, functions):
    """Each call that takes a struct with a size is in the lists of test_structs.c."""
    test = (root / "tests" / "abi" / "test_structs.c").read_text(encoding="utf-8")
    tried = set(re.findall(r'\{"(tlm_\w+)", \w+, "(tlm_\w+)_t"\}', test))
    for name, parameters in functions.items():
        for parameter in parameters:
            if "(*" in parameter or parameter == "...":
                continue
            base = base_of(split_name(parameter)[0])
            if base[:-2] in headers.sized and (name, base[:-2]) not in tried:
                yield f"tests/abi/test_structs.c does not try {name} with {base}"


def breaches_of(root):
    headers = Headers(root / "include" / "tinylm")
    functions = {}
    for file, name, result, parameters in headers.functions():
        functions[name] = parameters
        for reason in check_function(headers, result, name, parameters):
            yield file, reason
    for file, text in headers.texts.items():
        for name, parameters in re.findall(r"typedef \w+ \(\*(tlm_\w+)\)\((.*?)\);", " ".join(text.split())):
            for reason in check_callback(headers, name, split_parameters(parameters)):
                yield file, reason
        declared = len(re.findall(r"TLM_API\s+\w", text.replace("#define TLM_API", "")))
        known = sum(1 for name in functions if re.search(rf"\b{name}\(", text))
        if declared != known:
            yield file, f"{declared} functions, of which {known} are understood"
        for pattern, what in [(r"\benum\s+\w+", "an enum with a name"), (r"\bunion\b", "a union"),
                              (r"^\s*extern\s+[^\"]", "exported data"), (r":\s*\d+\s*;", "a bit-field"),
                              (r"\bFILE\b", "FILE"), (r"\b(?:long|short|unsigned|int)\b", "a type whose size varies")]:
            if re.search(pattern, text, re.MULTILINE):
                yield file, what
    if len(functions) < 150 or len(headers.sized) < 17:
        yield "include/tinylm", f"only {len(functions)} functions and {len(headers.sized)} structs found"
    for name in headers.structs:
        for reason in check_struct(headers, name):
            yield "include/tinylm", reason
    for name in sorted(headers.sized):
        for reason in check_sized_struct(headers, root, name):
            yield "include/tinylm", reason
    for reason in check_walk(headers, root, functions):
        yield "include/tinylm", reason


def main(root):
    breaches = list(breaches_of(root))
    for file, reason in breaches:
        print(f"{file}: {reason}")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
