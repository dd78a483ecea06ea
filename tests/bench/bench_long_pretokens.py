"""Encoding of single pretokens of many megabytes, a letter again and again or random letters: seconds of
processor time, and memory beyond the text, with GPT-2's vocabulary.

    TINYLM_LIBRARY=build/lib/libtinylm.so PYTHONPATH=examples/python python3 tests/bench/bench_long_pretokens.py
"""
import ctypes
import os
import random
import time

from tinylm import _native
import tinylm
from bench_support import DATA


def peak():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def measure(name, text):
    tokenizer = tinylm.Tokenizer.from_files(os.path.join(DATA, "gpt2_vocab.json"),
                                            os.path.join(DATA, "gpt2_merges.txt"))
    ids, n = ctypes.POINTER(ctypes.c_uint32)(), ctypes.c_size_t()
    before, start = peak(), time.process_time()
    _native._lib.tlm_tokenizer_encode(ctypes.byref(ids), ctypes.byref(n), tokenizer._handle, text,
                                      len(text))
    seconds = time.process_time() - start
    print("%-24s %8d ids %6.2f s %5.1f MB/s %5.1f bytes a byte" % (
        "%d MB of %s" % (len(text) // 1000000, name), n.value, seconds, 1e-6 * len(text) / seconds,
        (peak() - before) / len(text)), flush=True)


def main():
    for megabytes in (10, 50):
        size = 1000000 * megabytes
        letters = bytes(97 + i % 26 for i in range(256))
        for name, text in [("one letter", b"a" * size),
                           ("random letters", random.Random(1).randbytes(size).translate(letters))]:
            child = os.fork()  # a process each, for the peak of memory
            if child == 0:
                measure(name, text)
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
