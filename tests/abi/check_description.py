"""Checks tinylm-abi.json (lib/describe_abi.py) against the compiler: types of functions and callbacks, sizes and
offsets of structs, defaults of the INIT macros, constants and statuses; and against lib/tinylm.map, that no
function is missing.

Usage: check_description.py PROJECT_ROOT DESCRIPTION COMPILER [OPTIONS...]
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile


def parameters_of(entry):
    """The parameters as C, without names."""
    return ", ".join(one["type"] for one in entry["parameters"]) or "void"


def declarations(abi):
    """C that compiles only if the headers' functions and callbacks have the described types."""
    for name, entry in abi["functions"].items():
        yield f"{entry['result']} (*p_{name})({parameters_of(entry)}) = {name};"
    for name, entry in abi["callbacks"].items():
        yield f"{entry['result']} f_{name}({parameters_of(entry)});"
        yield f"void g_{name}(void);\nvoid g_{name}(void) {{ {name} p = f_{name}; (void)p; }}"


def number(expression, value):
    """C that prints a value so that equal numbers are equal text."""
    if isinstance(value, float):
        return f'printf("%.17g\\n", (double)({expression}));', f"{value:.17g}"
    return f'printf("%llu\\n", (unsigned long long)({expression}));', str(int(value) % (1 << 64))


def facts(abi):
    """Pairs of a C statement that prints a line and the line that is described."""
    for name, entry in {**abi["statuses"], **abi["constants"]}.items():
        if isinstance(entry["value"], str):
            yield f"puts({name});", entry["value"]
        else:
            yield number(name, entry["value"])
    for name, entry in abi["structs"].items():
        yield number(f"sizeof({name})", entry["size"])
        yield number(f"_Alignof({name})", entry["alignment"])
        for field in entry["fields"]:
            place = f"{name}, {field['name']}"
            yield number(f"offsetof({place})", field["offset"])
            yield number(f"sizeof((({name} *)0)->{field['name']})", field["size"])
            if "count" in field:
                yield number(f"sizeof((({name} *)0)->{field['name']}) / sizeof((({name} *)0)->{field['name']}[0])",
                             field["count"])
        if "init" in entry:
            yield f"{{ {name} x = {entry['init']};", None
            for field in entry["fields"]:
                if field.get("default", 0) is None:
                    yield number(f"x.{field['name']} == NULL", 1)
                elif "default" in field:
                    yield number(f"x.{field['name']}", field["default"])
            yield "}", None


def run(compiler, root, abi):
    """What the program that states all facts prints, and what it should."""
    pairs = list(facts(abi))
    source = ("#include <stdio.h>\n#include <tinylm/tinylm.h>\n" + "\n".join(declarations(abi)) +
              "\nint main(void)\n{\n" + "\n".join(code for code, _ in pairs) + "\nreturn 0;\n}\n")
    with tempfile.TemporaryDirectory() as folder:
        object_file = str(pathlib.Path(folder) / "facts.o")
        program = str(pathlib.Path(folder) / "facts")
        options = [f"-I{root / 'include'}", "-Werror", "-O0", "-xc", "-"]
        # The pointers to functions need no library: they are checked by compiling alone.
        subprocess.run([*compiler, "-c", "-o", object_file, *options], input=source, check=True, text=True)
        bare = re.sub(r"^.*\(\*p_tlm.*$|^.*[fg]_tlm.*$", "", source, flags=re.MULTILINE)
        subprocess.run([*compiler, "-o", program, *options], input=bare, check=True, text=True)
        output = subprocess.run([program], check=True, text=True, stdout=subprocess.PIPE).stdout
    return output.splitlines(), [(code, text) for code, text in pairs if text is not None]


def main(root, description, *compiler):
    root = pathlib.Path(root)
    abi = json.loads(pathlib.Path(description).read_text(encoding="utf-8"))
    printed, expected = run(compiler, root, abi)
    faults = [f"{code} prints {line}, not {text}" for line, (code, text) in zip(printed, expected) if line != text]
    if len(printed) != len(expected):
        faults.append(f"{len(printed)} lines, not {len(expected)}")
    map_text = (root / "lib" / "tinylm.map").read_text(encoding="utf-8")
    exported = set(re.findall(r"(tlm_\w+);", map_text))
    faults += [f"{name} is not described" for name in sorted(exported - set(abi["functions"]))]
    faults += [f"{name} is described, and not exported" for name in sorted(set(abi["functions"]) - exported)]
    headers = "\n".join(path.read_text(encoding="utf-8") for path in (root / "include" / "tinylm").glob("*.h"))
    types = set(re.findall(r"^typedef struct (tlm_\w+)", headers, re.MULTILINE))
    known = {name[:-2] for name in [*abi["structs"], *abi["handles"]]}
    faults += [f"struct {name} is not described" for name in sorted(types - known)]
    for name, entry in abi["handles"].items():
        if entry["free"] not in abi["functions"]:
            faults.append(f"{name}: there is no {entry['free']}")
    print("\n".join(faults) or f"{len(expected)} facts and {len(abi['functions'])} functions as described")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
