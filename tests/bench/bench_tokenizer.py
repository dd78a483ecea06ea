#!/usr/bin/env python3
"""BPE encoding of libtinylm beside Hugging Face tokenizers and tiktoken.

Every measurement is a process of its own: the text is read first, then the work is timed, and the
peak memory is that of the whole process. Rounds alternate between the libraries; the table gives the
best of each. Before that, the ids of all libraries for the same vocabulary must agree.

    python3 -m venv .venv-bench && .venv-bench/bin/pip install tokenizers tiktoken
    .venv-bench/bin/python tests/bench/bench_tokenizer.py build/lib/libtinylm.so
"""
import argparse
import ctypes
import hashlib
import json
import os
import sys
import tempfile
import time
from ctypes import POINTER, byref, c_size_t, c_uint32, c_void_p

from bench_support import (DATA, GPT2, SKIP, SPECIAL, Bytes, TokenizerOptions, byte_alphabet,
                           installed_versions, load_tinylm, make_text, memory_mib, run_alone,
                           train_tinylm)

# ---- One measurement, in a process of its own: each function returns seconds and a digest ----------


def ids_digest(documents):
    """Of the ids of all documents, in order."""
    digest = hashlib.sha256()
    for ids in documents:
        digest.update((c_uint32 * len(ids))(*ids))
    return digest.hexdigest()


def tinylm_encode(arguments):
    call = load_tinylm(arguments)
    special = Bytes(SPECIAL.encode(), len(SPECIAL))
    options = TokenizerOptions(ctypes.sizeof(TokenizerOptions), ctypes.pointer(special), 1, None)
    tokenizer, ids, n = c_void_p(), POINTER(c_uint32)(), c_size_t()
    call("tokenizer_load", byref(tokenizer), arguments.vocab.encode(), arguments.merges.encode(),
         byref(options))
    with open(arguments.text, "rb") as file:
        text = file.read()
    begin = time.perf_counter()
    call("tokenizer_encode", byref(ids), byref(n), tokenizer, text, c_size_t(len(text)))
    seconds = time.perf_counter() - begin
    if not arguments.digest:
        return seconds, ""
    array = ctypes.cast(ids, POINTER(c_uint32 * n.value)).contents
    return seconds, ids_digest([[i for i in array if i != 0]])


def documents_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [document for document in file.read().split(SPECIAL) if document]


def huggingface_encode(arguments):
    from tokenizers import Tokenizer, models, pre_tokenizers
    tokenizer = Tokenizer(models.BPE.from_file(arguments.vocab, arguments.merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    documents = documents_of(arguments.text)
    begin = time.perf_counter()
    encodings = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
    seconds = time.perf_counter() - begin
    return seconds, ids_digest(e.ids for e in encodings) if arguments.digest else ""


def tiktoken_encode(arguments):
    import tiktoken
    alphabet = byte_alphabet()
    with open(arguments.vocab, encoding="utf-8") as file:
        vocab = json.load(file)
    ranks = {bytes(alphabet[c] for c in token): id for token, id in vocab.items()
             if token != SPECIAL}
    encoding = tiktoken.Encoding("bench", pat_str=GPT2, mergeable_ranks=ranks,
                                 special_tokens={SPECIAL: vocab[SPECIAL]})
    documents = documents_of(arguments.text)
    begin = time.perf_counter()
    ids = encoding.encode_ordinary_batch(documents, num_threads=arguments.threads)
    seconds = time.perf_counter() - begin
    return seconds, ids_digest(ids) if arguments.digest else ""


MEASUREMENTS = {f.__name__: f for f in (tinylm_encode, huggingface_encode, tiktoken_encode)}


# ---- The table -------------------------------------------------------------------------------------


def measure(arguments, name, text, digest=False):
    """Seconds, peak MiB and digest of one measurement; None if its library is not installed."""
    package = {"huggingface": "tokenizers", "tiktoken": "tiktoken"}.get(name.partition("_")[0])
    options = ["--text", text, "--vocab", arguments.vocab, "--merges", arguments.merges]
    return run_alone(__file__, name, package, arguments, options + ["--digest"] * digest)


def print_row(name, threads, megabytes, runs, ours):
    best = min(run["seconds"] for run in runs)
    print("%-24s %7d %9.2f %9.1f %9.0f %8.2f" %
          (name, threads, best, megabytes / best, max(run["peak"] for run in runs), best / ours),
          flush=True)


def compare(arguments, names, text):
    """Rounds of all measurements in turn, then their rows."""
    megabytes = os.path.getsize(text) / 1e6
    runs = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            run = measure(arguments, name, text)
            if run is not None:
                runs[name].append(run)
    ours = min(run["seconds"] for run in runs[names[0]])
    for name in names:
        if runs[name]:
            print_row(name.replace("_", " "), arguments.threads, megabytes, runs[name], ours)
        else:
            print("%-24s not installed" % name.replace("_", " "))


def check_agreement(arguments, folder):
    """The ids of all libraries for the first 5 MB, with the vocabulary that ours learned."""
    sample = os.path.join(folder, "sample.txt")
    make_text(arguments.text, sample, min(5000000, arguments.megabytes * 1000000))
    results = {name: measure(arguments, name, sample, digest=True) for name in MEASUREMENTS}
    digests = {run["digest"] for run in results.values() if run is not None}
    if len(digests) != 1:
        sys.exit("the ids differ: %s" % results)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("library", help="path of libtinylm.so")
    parser.add_argument("--text", default=os.path.join(DATA, "stories_like.txt"),
                        help="UTF-8; documents end with " + SPECIAL)
    parser.add_argument("--megabytes", type=int, default=100, help="size; repeats a shorter text")
    parser.add_argument("--vocab-size", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of learning the vocabulary; encoding is measured with one")
    for hidden in ("--only", "--vocab", "--merges"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--digest", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        seconds, digest = MEASUREMENTS[arguments.only](arguments)
        print(json.dumps({"seconds": seconds, "peak": memory_mib("VmHWM"), "digest": digest}))
        return 0
    if not os.path.exists(arguments.text):
        print("no text to measure with: %s (see --text)" % arguments.text)
        return SKIP

    arguments.installed = installed_versions(["tokenizers", "tiktoken"])
    print("vocabulary of %d, %d MB of %s; peers: %s" % (
        arguments.vocab_size, arguments.megabytes, os.path.basename(arguments.text),
        ", ".join("%s %s" % item for item in arguments.installed.items()) or "none installed"))
    with tempfile.TemporaryDirectory() as folder:
        arguments.vocab = os.path.join(folder, "vocab.json")
        arguments.merges = os.path.join(folder, "merges.txt")
        text = os.path.join(folder, "text.txt")
        make_text(arguments.text, text, arguments.megabytes * 1000000)
        print("%-24s %7s %9s %9s %9s %8s" % ("", "threads", "seconds", "MB/s", "peak MiB", "ratio"))
        call = load_tinylm(arguments)
        call("tokenizer_save", train_tinylm(call, text, arguments.vocab_size),
             arguments.vocab.encode(), arguments.merges.encode())
        arguments.threads = 1
        check_agreement(arguments, folder)
        compare(arguments, ["tinylm_encode", "huggingface_encode", "tiktoken_encode"], text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
