#!/usr/bin/env python3
"""Builds and runs the program of docs/bindings.md in one language, and compares what it prints with what the Python
package generates. Skipped, by name, where the language's tools are not installed.

    test_languages.py LANGUAGE PROJECT_ROOT BUILD_ROOT CC

LANGUAGE is rust, go, luajit or node."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

SKIP = 77
PROMPT = "low lower caf\u00e9"
SOURCES = {"rust": ["continue_text.rs"], "go": ["continue_text.go"], "luajit": ["continue_text.lua"],
           "node": ["continue_text_node.c", "continue_text.js"]}
TOOLS = {"rust": "rustc", "go": "go", "luajit": "luajit", "node": "node"}


def make_model(path):
    """Saves a model with its tokenizer; returns how it continues the prompt."""
    import tinylm

    tokenizer = tinylm.Tokenizer.train("low lower lowest new newer newest caf\u00e9 " * 30, vocab_size=300)
    model = tinylm.Model.create(vocab_size=tokenizer.vocab_size, context_length=64, d_model=32, num_layers=2, num_heads=2,
                                seed=5)
    model.save(path, tokenizer=tokenizer)
    return PROMPT + tokenizer.decode(model.generate(tokenizer.encode(PROMPT), max_tokens=20))


def node_headers():
    """Where node_api.h is; None if it is not."""
    node = pathlib.Path(os.path.realpath(shutil.which("node")))
    places = (pathlib.Path("/usr/include/node"), node.parents[1] / "include" / "node", pathlib.Path("/usr/include/nodejs/src"))
    return next((place for place in places if (place / "node_api.h").exists()), None)


def build(language, build_root, cc):
    """The command that runs the program, which is built in the current folder."""
    library = build_root / "lib"
    if language == "rust":
        subprocess.run(["rustc", "-Dwarnings", "-L", library, "continue_text.rs"], check=True)
        return ["./continue_text"]
    if language == "go":
        subprocess.run(["go", "build", "-o", "continue_text", "continue_text.go"], check=True)
        return ["./continue_text"]
    if language == "node":
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "tinylm"], stdout=subprocess.PIPE, text=True, check=True)
        subprocess.run([*shlex.split(cc), "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{node_headers()}",
                        "continue_text_node.c", *shlex.split(flags.stdout), "-o", "continue_text.node"], check=True)
        return ["node", "continue_text.js"]
    return ["luajit", "continue_text.lua"]


def check_page(root, sources):
    """The page shows the programs as they are."""
    page = (root / "docs" / "bindings.md").read_text(encoding="utf-8")
    for source in sources:
        if (root / "examples" / "bindings" / source).read_text(encoding="utf-8") not in page:
            sys.exit(f"docs/bindings.md shows another {source} than examples/bindings")


def main(language, root, build_root, cc):
    root, build_root = pathlib.Path(root), pathlib.Path(build_root)
    check_page(root, SOURCES[language])
    if shutil.which(TOOLS[language]) is None or (language == "node" and node_headers() is None):
        print(f"skipped: {TOOLS[language]} is not installed" + ("" if language != "node" else ", or lacks node_api.h"))
        sys.exit(SKIP)
    os.environ["LD_LIBRARY_PATH"] = f"{build_root / 'lib'}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    os.environ["PKG_CONFIG_PATH"] = str(build_root / "meson-uninstalled")
    os.environ.update(GO111MODULE="off", GOFLAGS="-mod=mod")
    with tempfile.TemporaryDirectory(prefix="tinylm-bindings-") as name:
        os.environ["GOCACHE"] = os.path.join(name, "go-cache")
        expected = make_model(os.path.join(name, "model.safetensors"))
        for source in SOURCES[language]:
            shutil.copy(root / "examples" / "bindings" / source, name)
        os.chdir(name)
        command = build(language, build_root, cc)
        printed = subprocess.run([*command, "model.safetensors", PROMPT], stdout=subprocess.PIPE, check=True).stdout
        if printed.decode() != expected + "\n":
            sys.exit(f"{language} printed {printed!r}, and not {expected!r}")
        failed = subprocess.run([*command, "missing.safetensors", PROMPT], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, check=False)
        if failed.returncode == 0 or "missing.safetensors" not in failed.stdout:
            sys.exit(f"{language}, without a model: status {failed.returncode}, {failed.stdout}")
        print(f"{language}: {expected!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
