"""Checks the rules of the public headers that a compiler does not see (docs/abi.md): types that every
language can pass, one order of arguments, one meaning per verb, and for each struct that begins with its
size an INIT macro, a row in lib/base/options.c, its layout in test_layout.c and calls in test_structs.c.

Usage: check_interface.py PROJECT_ROOT. Prints each breach as header: reason and exits with 1 if there is
one.
"""

import pathlib
import re
import sys

# Size of each type that a struct or an argument may have, on machines of 64 bits.
SIZES = {"bool": 1, "uint8_t": 1, "int32_t": 4, "uint32_t": 4, "float": 4, "int64_t": 8, "uint64_t": 8,
         "size_t": 8, "double": 8}
POINTER = 8
# What a pointer may point to beside these, and structs and handles of the library.
POINTEES = {"void", "char", "struct DLManagedTensor"}

# Words that would say what another verb already says: create, free, load, open, save, read, add, set.
SYNONYMS = {"new": "create", "make": "create", "alloc": "create", "destroy": "free", "delete": "free",
            "close": "free", "write": "save", "store": "save", "dump": "save", "fetch": "read",
            "append": "add", "insert": "add", "put": "add", "assign": "set", "get": "no verb"}
# A function tlm_model_options would hide the struct of that name in C++.
KEEP_THEIR_NAME = {"tlm_model_get_options"}
# Memory of the caller that is not written to by the call itself.
NOT_FILLED = {("tlm_tensor_wrap", "data")}


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def split_parameters(text):
    """Parameters between commas that are in no parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [] if text.strip() in ("", "void") else [" ".join(part.split()) for part in parts]


def split_name(declaration):
    """(type, name) of a parameter or field, without array bounds."""
    function = re.fullmatch(r"(\w+ \(\*)(\w+)(\)\(.*\))", declaration.strip())
    if function:
        return function.group(1) + function.group(3), function.group(2)
    match = re.fullmatch(r"(.*?)(\w+)(?:\[\w+\])*", declaration.strip())
    return match.group(1).strip(), match.group(2)


def pointee_is_const(kind):
    """Whether what the outermost pointer points to is const: const X *, X *const *."""
    inner = kind.rstrip()[:-1].rstrip()
    return inner.endswith("const") if "*" in inner else "const" in inner.split()


class Headers:
    def __init__(self, folder):
        self.texts = {path.name: without_comments(path.read_text(encoding="utf-8"))
                      for path in sorted(folder.glob("*.h"))}
        text = "\n".join(self.texts.values())
        self.structs = {name: body for name, body in
                        re.findall(r"typedef struct (tlm_\w+) \{(.*?)\n\} \1_t;", text, re.DOTALL)}
        self.handles = set(re.findall(r"typedef struct (tlm_\w+) \1_t;", text))
        self.callbacks = set(re.findall(r"typedef \w+ \(\*(tlm_\w+)\)", text))
        self.sized = {name for name, body in self.structs.items()
                      if body.split(";")[0].split() == ["size_t", "size"]}

    def fields(self, name):
        return [split_name(field) for field in split_fields(self.structs[name])]

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


def split_fields(body):
    """The declarations of a struct, one field each."""
    return [" ".join(declaration.split()) for declaration in body.split(";") if declaration.strip()]


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
        base = re.sub(r"\bconst\b|\*", "", kind).strip()
        is_object = kind.count("*") == 1 and base.endswith("_t") and base[:-2] in headers.handles
        is_out = (kind.endswith("*") and not pointee_is_const(kind) and not is_object
                  and label != "user" and base != "struct DLManagedTensor" or kind.count("*") == 2
                  and base == "struct DLManagedTensor")
        if is_out and inputs and (name, label) not in NOT_FILLED:
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
            offset += size * array_length(headers, name, label)
    if name in headers.sized and offset % 8:
        yield f"{name}_t ends in a hole, which should be a reserved field"


def array_length(headers, name, label):
    match = re.search(rf"\b{label}\[(\w+)\]", headers.structs[name])
    if not match:
        return 1
    if match.group(1).isdigit():
        return int(match.group(1))
    text = "\n".join(headers.texts.values())
    return int(re.search(rf"#define {match.group(1)} +(\d+)", text).group(1))


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
            base = re.sub(r"\bconst\b|\*", "", split_name(parameter)[0]).strip()
            if base[:-2] in headers.sized and (name, base[:-2]) not in tried:
                yield f"tests/abi/test_structs.c does not try {name} with {base}"


def breaches_of(root):
    headers = Headers(root / "include" / "tinylm")
    functions = {}
    for file, text in headers.texts.items():
        for result, name, parameters in re.findall(
                r"TLM_API ([\w ]+[ *]+?)\b(tlm_\w+)\(((?:[^()]|\([^()]*\))*)\);", " ".join(text.split())):
            functions[name] = split_parameters(parameters)
            for reason in check_function(headers, result, name, functions[name]):
                yield file, reason
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
