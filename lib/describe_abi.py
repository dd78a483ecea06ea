"""Describes the library's binary interface for languages that cannot read its headers.

Usage: describe_abi.py PROJECT_ROOT json OUTPUT [DEPFILE]   what is installed as share/tinylm/tinylm-abi.json
       describe_abi.py PROJECT_ROOT python OUTPUT           the same, as far as the Python package needs it
       describe_abi.py PROJECT_ROOT check FILE              fails if FILE is not what `python` would write

The headers of include/tinylm are the one source: functions with their parameters and directions, structs with
offsets, sizes and the defaults of their INIT macros, constants, callbacks, handles and statuses. docs/abi.md
describes the file; tests/abi checks it against the compiler. Needs nothing except Python. The checks of the
headers in tests/ use the same parser.
"""

import json
import pathlib
import re
import sys

# Size of each type that a struct or an argument may have, on machines of 64 bits.
SIZES = {"bool": 1, "uint8_t": 1, "int32_t": 4, "uint32_t": 4, "float": 4, "int64_t": 8, "uint64_t": 8,
         "size_t": 8, "double": 8, "tlm_status_t": 4}
POINTER = 8
LIMITS = {"UINT32_MAX": (1 << 32) - 1, "UINT64_MAX": (1 << 64) - 1, "SIZE_MAX": (1 << 64) - 1,
          "INT32_MAX": (1 << 31) - 1, "INT64_MAX": (1 << 63) - 1, "NULL": None, "true": True, "false": False}
# Memory of the caller that is not written to by the call itself.
NOT_FILLED = {("tlm_tensor_wrap", "data"), ("tlm_free", "pointer")}


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def split_parameters(text):
    """Parameters between commas that are in no parentheses or braces."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "({") - (character in ")}")
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


def split_fields(body):
    """The declarations of a struct, one field each."""
    return [" ".join(declaration.split()) for declaration in body.split(";") if declaration.strip()]


def pointee_is_const(kind):
    """Whether what the outermost pointer points to is const: const X *, X *const *."""
    inner = kind.rstrip()[:-1].rstrip()
    return inner.endswith("const") if "*" in inner else "const" in inner.split()


def base_of(kind):
    """uint32_t of "const uint32_t *const *"."""
    return re.sub(r"\bconst\b|\bstruct\b|\*", "", kind).strip()


def comment_text(comment):
    """The words of a doc comment on one line; "" for none."""
    return " ".join(re.sub(r"^\s*\*", "", line).strip() for line in (comment or "").strip("/* \n<").splitlines()).strip()


class Headers:
    """What the public headers declare. The patterns take the one style in which they are written."""

    def __init__(self, folder):
        self.sources = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.h"))}
        self.texts = {name: without_comments(text) for name, text in self.sources.items()}
        text = "\n".join(self.texts.values())
        self.structs = {name: body for name, body in
                        re.findall(r"typedef struct (tlm_\w+) \{(.*?)\n\} \1_t;", text, re.DOTALL)}
        self.handles = set(re.findall(r"typedef struct (tlm_\w+) \1_t;", text))
        self.callbacks = {name: (result, split_parameters(parameters)) for result, name, parameters in re.findall(
            r"typedef (\w+) \(\*(tlm_\w+)\)\((.*?)\);", " ".join(text.split()))}
        self.sized = {name for name, body in self.structs.items()
                      if body.split(";")[0].split() == ["size_t", "size"]}
        self.macros = self._macros()
        self.docs = self._docs()

    def _macros(self):
        """Names and replacements of the macros without arguments, continued lines joined."""
        macros = {}
        for text in self.sources.values():
            text = re.sub(r"\\\n", " ", without_comments(text))
            macros.update((name, " ".join(value.split()))
                          for name, value in re.findall(r"^#define (TLM_\w+)[ \t]+(\S.*)$", text, re.MULTILINE))
        return macros

    def _docs(self):
        """The doc comment above a function, struct, handle, callback or macro, or behind a macro's value."""
        docs = {}
        comment = r"/\*\*((?:(?!\*/).)*)\*/"
        declared = r"(?:TLM_API\s[\w\s*]*?\b(?=\w+\()|typedef struct |typedef \w+ \(\*|#define )(\w+)"
        for text in self.sources.values():
            for doc, name in re.findall(rf"^{comment}\n{declared}", text, re.MULTILINE | re.DOTALL):
                docs[name] = comment_text(doc)
            for name, doc in re.findall(rf"^#define (\w+)[^\n]*?{comment}", text, re.MULTILINE | re.DOTALL):
                docs[name] = comment_text(doc)
        return docs

    def fields(self, name):
        return [split_name(field) for field in split_fields(self.structs[name])]

    def functions(self):
        """header, name, result and parameters of each function."""
        for file, text in self.texts.items():
            for result, name, parameters in re.findall(
                    r"TLM_API ([\w ]+[ *]+?)\b(tlm_\w+)\(((?:[^()]|\([^()]*\))*)\);", " ".join(text.split())):
                yield file, name, " ".join(result.split()), split_parameters(parameters)

    def array_length(self, name, label):
        """The number of elements of a field; 0 if it is no array."""
        match = re.search(rf"\b{label}\[(\w+)\]", self.structs[name])
        return self.value(match.group(1)) if match else 0

    def value(self, expression):
        """The value of a constant's replacement; None for NULL, KeyError for what is no constant."""
        expression = expression.strip()
        number = re.fullmatch(r"\(?(-?(?:0x[0-9A-Fa-f]+|\d+))[uU]?\)?", expression)
        shifted = re.fullmatch(r"\(UINT64_C\((\d+)\) << (\d+)\)", expression)
        if number:
            return int(number.group(1), 0)
        if shifted:
            return int(shifted.group(1)) << int(shifted.group(2))
        if re.fullmatch(r"-?\d[\d.]*(?:e-?\d+)?", expression):
            return float(expression)
        if re.fullmatch(r'(?:(?:"(?:[^"\\]|\\.)*"|\w+)\s*)+', expression) and '"' in expression:
            return "".join(self._text(part) for part in re.findall(r'"(?:[^"\\]|\\.)*"|\w+', expression))
        if expression in LIMITS:
            return LIMITS[expression]
        return self.value(self.macros[expression])

    def _text(self, part):
        """A literal, or a macro that is one; C's simple escapes are those of JSON."""
        return json.loads(part) if part.startswith('"') else self.value(self.macros[part])

    def is_filled(self, name, kind, label):
        """Whether a call writes to what a parameter points to; a handle is an object, not a result."""
        base = re.sub(r"\bconst\b|\*", "", kind).strip()
        is_object = kind.count("*") == 1 and base.endswith("_t") and base[:-2] in self.handles
        if (name, label) in NOT_FILLED or label == "user":
            return False
        is_exchange = base.startswith("struct DLManagedTensor")
        return (kind.endswith("*") and not pointee_is_const(kind) and not is_object and not is_exchange
                or kind.count("*") == 2 and is_exchange)


# ---- The description ------------------------------------------------------------------------------


def since(doc):
    match = re.search(r"@since (\d+\.\d+)", doc)
    return match.group(1) if match else ""


def with_doc(entry, doc):
    """The entry with what a doc comment says of it."""
    words = {"since": since(doc), "doc": re.sub(r" *@since [\d.]+", "", doc)}
    return {**entry, **{key: word for key, word in words.items() if word}}


def described(headers, name, entry):
    return with_doc(entry, headers.docs.get(name, ""))


def describe_parameters(headers, name, parameters):
    result = []
    for parameter in parameters:
        kind, label = split_name(parameter)
        filled = "(*" not in kind and headers.is_filled(name, kind, label)
        result.append({"name": label, "type": kind, "direction": "out" if filled else "in"})
    return result


def field_docs(source, name):
    """Doc comments of a struct's fields by name, from a header with its comments."""
    body = re.search(rf"typedef struct {name} \{{(.*?)\n\}} {name}_t;", source, re.DOTALL).group(1)
    docs = {}
    for comment, declaration in re.findall(r"(?:/\*\*((?:(?!\*/).)*)\*/\s*)?([^;/]+;)", body, re.DOTALL):
        docs[split_name(" ".join(declaration.rstrip(";").split()))[1]] = comment_text(comment)
    return docs


def defaults_of(headers, name):
    """Values of the fields in the INIT macro, in order; None where there is no macro."""
    macro = headers.macros.get(name.upper() + "_INIT")
    if macro is None:
        return None
    if macro.startswith("TLM_SIZED"):
        return []
    return split_parameters(re.sub(r"sizeof\(\w+\)", "0", macro.strip()[1:-1]))


def describe_struct(headers, name, source):
    offset, alignment, fields = 0, 1, []
    docs, defaults = field_docs(source, name), defaults_of(headers, name)
    for i, (kind, label) in enumerate(headers.fields(name)):
        size, count = SIZES.get(kind, POINTER), headers.array_length(name, label)
        offset, alignment = -(-offset // size) * size, max(alignment, size)
        field = {"name": label, "type": kind, "offset": offset, "size": size * max(count, 1)}
        if count:
            field["count"] = count
        if defaults is not None and not count:
            given = headers.value(defaults[i]) if i < len(defaults) else 0
            pointer = kind not in SIZES
            field["default"] = None if pointer else bool(given) if kind == "bool" else given
        fields.append(with_doc(field, docs.get(label, "")))
        offset += field["size"]
    entry = {"size": -(-offset // alignment) * alignment, "alignment": alignment, "fields": fields}
    if name in headers.sized:
        entry["init"] = name.upper() + "_INIT"
        fields[0]["default"] = entry["size"]
    return described(headers, name, entry)


def common_words(names):
    """TLM_NORM of TLM_NORM_PRE and TLM_NORM_POST."""
    words = [name.split("_") for name in names]
    same = 0
    while all(len(word) > same + 1 and word[same] == words[0][same] for word in words):
        same += 1
    return "_".join(words[0][:same])


def enumerations(headers):
    """Constants that are choices, by what their names have in common: those defined one after another with values
    that grow."""
    groups = []
    for file, text in headers.texts.items():
        previous = None
        for name, between in re.findall(r"#define (TLM_\w+)[ \t]+([^\n]*(?:\n(?!#define).*)*)", text):
            try:
                value = headers.value(headers.macros[name])
            except KeyError:
                value = None
            joins = (isinstance(value, int) and previous is not None and value > previous
                     and (common_words([*groups[-1][1], name]) != "TLM" or file == "tensor.h"))
            if joins:
                groups[-1][1].append(name)
            elif isinstance(value, int):
                groups.append((file, [name]))
            previous = value if isinstance(value, int) and not between.partition("\n")[2].strip() else None
    # The element types of tensor.h have short names.
    found = [("TLM_DTYPE" if file == "tensor.h" else common_words(names), names)
             for file, names in groups if len(names) > 1]
    return {beginning: names for beginning, names in found if beginning not in ("TLM", "TLM_VERSION")}


def describe_constants(headers):
    constants = {}
    for name, replacement in headers.macros.items():
        if name != "TLM_API" and not name.endswith("_INIT"):
            constants[name] = described(headers, name, {"value": headers.value(replacement)})
    return constants


def describe(root):
    """Everything, as JSON will hold it."""
    headers = Headers(root / "include" / "tinylm")
    statuses = {name: {"value": int(code), "text": text} for name, code, text in
                re.findall(r'X\((TLM_\w+), (-?\d+), "(.*?)"\)', headers.sources["status.h"])}
    functions = {}
    for file, name, result, parameters in headers.functions():
        functions[name] = described(headers, name, {
            "header": file, "result": result, "parameters": describe_parameters(headers, name, parameters)})
    sources = "\n".join(headers.sources.values())
    return {
        "library": "tinylm", "version": headers.value("TLM_VERSION_STRING"),
        "abi_version": headers.value("TLM_ABI_VERSION"),
        "soname": f"libtinylm.so.{headers.value('TLM_ABI_VERSION')}", "pointer_size": POINTER,
        "statuses": statuses, "constants": describe_constants(headers),
        "enums": enumerations(headers),
        "handles": {name + "_t": described(headers, name, {"free": name + "_free"}) for name in sorted(headers.handles)},
        "callbacks": {name: described(headers, name, {
            "result": result, "parameters": describe_parameters(headers, name, parameters)})
                      for name, (result, parameters) in sorted(headers.callbacks.items())},
        "structs": {name + "_t": describe_struct(headers, name, sources) for name in sorted(headers.structs)},
        "functions": functions}


# ---- Output ---------------------------------------------------------------------------------------


def as_json(abi):
    """One line per entry, so that a change of one is a line."""
    lines = []
    for key, value in abi.items():
        if isinstance(value, dict):
            entries = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}"
                                 for name, entry in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{entries}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def as_python(abi):
    """Dictionaries of strings and numbers, which Python loads from its cache in a fraction of a millisecond."""
    def table(name, entries):
        rows = "".join(f"    {json.dumps(key)}: {entry!r},\n" for key, entry in entries.items())
        return f"{name} = {{\n{rows}}}\n"

    def signature(entry):
        return entry["result"], tuple((one["name"], one["type"]) for one in entry["parameters"])

    return "".join([
        '"""The library\'s interface, made by lib/describe_abi.py from the headers: not to be edited."""\n\n',
        f"VERSION = {abi['version']!r}\nABI_VERSION = {abi['abi_version']}\n",
        table("STATUSES", {name: status["value"] for name, status in abi["statuses"].items()}),
        table("CONSTANTS", {name: entry["value"] for name, entry in abi["constants"].items()
                            if not name.startswith(("TLM_VERSION", "TLM_PATTERN"))}),
        "# Field names with their types, and the length of an array.\n",
        table("STRUCTS", {name: tuple((field["name"], field["type"], field.get("count", 0))
                                      for field in entry["fields"]) for name, entry in abi["structs"].items()}),
        "# Results, and names of parameters with their types.\n",
        table("CALLBACKS", {name: signature(entry) for name, entry in abi["callbacks"].items()}),
        table("FUNCTIONS", {name: signature(entry) for name, entry in sorted(abi["functions"].items())})])


def main(root, form, output, depfile=None):
    folder = pathlib.Path(root) / "include" / "tinylm"
    text = {"json": as_json, "python": as_python, "check": as_python}[form](describe(pathlib.Path(root)))
    if form == "check":
        if pathlib.Path(output).read_text(encoding="utf-8") != text:
            sys.exit(f"{output} is older than the headers: python3 lib/describe_abi.py . python {output}")
        return
    pathlib.Path(output).write_text(text, encoding="utf-8")
    if depfile:
        headers = " ".join(str(path).replace(" ", "\\ ") for path in sorted(folder.glob("*.h")))
        pathlib.Path(depfile).write_text(f"{output}: {headers}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
