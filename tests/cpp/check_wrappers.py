"""Whether the tests call every function of the C++ layer: what the compiler keeps of the headers alone must be in the
objects of the tests, and each template must be named in them.

Usage: check_wrappers.py PROJECT_ROOT NM COMPILER... Prints what no test calls, and exits with 1 if there is any; with 77
where the compiler does not keep inline functions on demand (only GCC does).
"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT, NM, COMPILER = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
HEADERS = ROOT / "include/tinylm/cpp"


def functions(source, place, *options):
    """The functions that an object file defines, without those of the standard library."""
    made = place / (source.stem + ".o")
    command = [*COMPILER, "-std=c++17", "-O0", *options, f"-I{ROOT / 'include'}", "-c", str(source), "-o", str(made)]
    subprocess.run(command, check=True)
    listed = subprocess.run([NM, "-C", "--defined-only", str(made)], check=True, capture_output=True, text=True).stdout
    return {line.split(" ", 2)[2] for line in listed.splitlines() if re.match(r"\S+ [TtWwVu] tinylm::", line)}


def is_asked(name):
    """Not the layer's own helpers, lambdas inside functions, nor moves that the compiler writes and leaves out."""
    return not (name.startswith("tinylm::detail::") or "{lambda" in name or re.search(r"::(\w+)(<.*>)?::\1\(.*&&\)$", name)
                or re.search(r"array<.*>::array\(", name))  # fmt: skip


def templates(text):
    """Names of function templates outside of `detail` and of private parts."""
    text = re.sub(r"namespace detail\s*{.*?} // namespace detail", "", text, flags=re.S)
    text = re.sub(r"\n  private:.*?\n};", "", text, flags=re.S)
    return re.findall(r"template <[^{};]*>\s+(?:inline |static |constexpr |explicit )*[\w:<>&* ]*?\b(\w+)\(", text)


def main():
    probe = subprocess.run([*COMPILER, "--version"], capture_output=True, text=True).stdout
    if "clang" in probe.lower() or "Free Software Foundation" not in probe:
        print("needs GCC, for -fkeep-inline-functions")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        everything = place / "everything.cpp"
        everything.write_text('#include "tinylm/tinylm.hpp"\n')
        wanted = set(filter(is_asked, functions(everything, place, "-fkeep-inline-functions")))
        tests = sorted((ROOT / "tests/cpp").glob("*.cpp"))
        called = set().union(*(functions(test, place) for test in tests))
    code = "".join(test.read_text(encoding="utf-8") for test in [*tests, *(ROOT / "tests/cpp").glob("*.hpp")])
    missing = sorted(wanted - called)
    for header in sorted(HEADERS.glob("*.hpp")):
        for name in templates(header.read_text(encoding="utf-8")):
            if not re.search(rf"\b{name}\b", code):
                missing.append(f"template {name} of {header.name}")
    print(f"{len(wanted)} functions; no test calls {len(missing)}")
    print("\n".join(missing))
    assert len(wanted) > 300, "functions of the layer are not found"
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
