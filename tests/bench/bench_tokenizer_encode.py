#!/usr/bin/env python3
"""BPE encoding of libtinylm beside other tokenizers: GPT-2's vocabulary, and cl100k_base for those that
bring only their own.

Every row is a process of its own: "first MB" is its first call, with all caches cold; "MB/s" the best of
several calls with the whole text after that; "100 bytes" the time of one short call; "added" what all of
it adds to the memory of Python and the text. The ids of each row must be those of the first. Peers that
are not installed are named and left out.

    python3 -m venv .venv-bench
    .venv-bench/bin/pip install numpy tiktoken tokenizers gigatoken tokie toktok-rs bpe-openai
    .venv-bench/bin/python tests/bench/bench_tokenizer_encode.py build/lib/libtinylm.so
"""
import argparse
import base64
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from ctypes import POINTER, byref, c_char_p, c_size_t, c_uint64, c_void_p

from bench_support import (DATA, GPT2, SKIP, Ids, TokenizerOptions, byte_alphabet, code_text, cut, digest_of,
                           installed_versions, load_tinylm, memory_mib, mixed_text)

CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"
          r" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s")
TIKTOKEN_GPT2 = (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s")

# ---- Encoders: each takes the arguments and gives a function from bytes to ids, and perhaps one back


def tinylm(arguments):
    call = load_tinylm(arguments)
    library = ctypes.CDLL(arguments.library)
    library.tlm_free.argtypes = [c_void_p]
    tokenizer = c_void_p()
    if arguments.vocabulary == "gpt2":
        call("tokenizer_load_json", byref(tokenizer), arguments.json.encode(), None)
    else:
        options = TokenizerOptions(ctypes.sizeof(TokenizerOptions), None, 0, CL100K.encode())
        call("tokenizer_load_tiktoken", byref(tokenizer), arguments.ranks.encode(), byref(options))
    run = library.tlm_tokenizer_encode
    run.argtypes = [c_void_p, c_void_p, c_void_p, c_char_p, c_size_t]
    pointer, n = c_void_p(), c_size_t()
    to_pointer, to_n = byref(pointer), byref(n)

    def encode(text):
        if run(to_pointer, to_n, tokenizer, text, len(text)) != 0:
            sys.exit("tlm_tokenizer_encode")
        return Ids(library.tlm_free, pointer.value, n.value)

    def decode(ids):
        bytes_pointer, size = c_void_p(), c_size_t()
        call("tokenizer_decode", byref(bytes_pointer), byref(size), tokenizer, c_void_p(ids.pointer),
             c_size_t(ids.n))
        library.tlm_free(bytes_pointer)
    return encode, decode


def tinylm_count(arguments):
    call = load_tinylm(arguments)
    tokenizer, n = c_void_p(), c_uint64()
    options = TokenizerOptions(ctypes.sizeof(TokenizerOptions), None, 0, CL100K.encode())
    if arguments.vocabulary == "gpt2":
        call("tokenizer_load_json", byref(tokenizer), arguments.json.encode(), None)
    else:
        call("tokenizer_load_tiktoken", byref(tokenizer), arguments.ranks.encode(), byref(options))

    def count(text):
        call("tokenizer_count", byref(n), tokenizer, text, c_size_t(len(text)))
        return n.value
    return count, None


def gigatoken(arguments):
    import gigatoken
    tokenizer = gigatoken.Tokenizer(arguments.json)
    if arguments.threads > 1:
        return lambda text: tokenizer.encode_batch([text], parallel=True)[0], None
    return tokenizer.encode, tokenizer.decode


def tiktoken(arguments):
    import tiktoken
    with open(arguments.ranks, "rb") as file:
        lines = [line.split() for line in file]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    pattern = TIKTOKEN_GPT2 if arguments.vocabulary == "gpt2" else CL100K
    encoding = tiktoken.Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: encoding.encode_ordinary(text.decode()), encoding.decode_bytes


def huggingface(arguments):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(arguments.json)

    def encode(text):
        """In pieces, since the library is far slower on one long text; no pretoken crosses from a full stop
        to a space."""
        pieces, text = [], text.decode()
        while text:
            end = 10000
            while end < len(text) and not (text[end - 1] == "." and text[end] == " "):
                end += 1
            pieces.append(text[:end])
            text = text[end:]
        ids = []
        for encoding in tokenizer.encode_batch_fast(pieces, add_special_tokens=False):
            ids += encoding.ids
        return ids
    return encode, None


def tokie(arguments):
    import tokie
    tokenizer = tokie.Tokenizer.from_json(arguments.json)
    return lambda text: tokenizer.encode(text.decode(), add_special_tokens=False).ids, None


def toktok(arguments):
    import toktok
    encoding = toktok._encoding("cl100k_base")
    return lambda text: encoding.encode_to_numpy(text.decode(), disallowed_special=()), None


def toktok_count(arguments):
    import toktok
    threads = arguments.threads
    return lambda text: toktok.batch_count([text.decode()], "cl100k_base", threads=threads)[0], None


def bpe_openai(arguments):
    from bpe_openai._bindings import tokenizer_for_encoding
    tokenizer = tokenizer_for_encoding("cl100k_base")
    return lambda text: tokenizer.encode(text.decode()), None


# Name: encoder, package, threads, and the megabytes of text that it is given at most.
ROWS = {
    "gpt2": [("tinylm", tinylm, None, 1, 100), ("tinylm 2 threads", tinylm, None, 2, 100),
             ("tinylm count", tinylm_count, None, 1, 100),
             ("gigatoken", gigatoken, "gigatoken", 1, 100),
             ("gigatoken 2 threads", gigatoken, "gigatoken", 2, 100),
             ("tokie", tokie, "tokie", 1, 5), ("tiktoken", tiktoken, "tiktoken", 1, 10),
             ("tokenizers", huggingface, "tokenizers", 1, 2)],
    "cl100k": [("tinylm", tinylm, None, 1, 100), ("tinylm count", tinylm_count, None, 1, 100),
               ("toktok-rs", toktok, "toktok-rs", 1, 100),
               ("toktok-rs count", toktok_count, "toktok-rs", 1, 100),
               ("bpe-openai", bpe_openai, "bpe-openai", 1, 5),
               ("tiktoken", tiktoken, "tiktoken", 1, 10)],
}

# ---- One measurement, in a process of its own ------------------------------------------------------


def timed(function, *values):
    begin = time.perf_counter()
    result = function(*values)
    return time.perf_counter() - begin, result


def best_of(function, value, seconds=3.0):
    """Best time of at least two calls, and more while there is time."""
    times, begin = [], time.perf_counter()
    while len(times) < 2 or (time.perf_counter() - begin < seconds and len(times) < 20):
        times.append(timed(function, value)[0])
    return min(times)


def measure_one(arguments):
    with open(arguments.text, "rb") as file:
        text = file.read()
    sample = cut(text, 1000000)
    row = next(row for row in ROWS[arguments.vocabulary] if row[0] == arguments.only)
    before = memory_mib("VmHWM")
    encode, decode = row[1](arguments)
    first, ids = timed(encode, sample)
    result = {"first": len(sample) / first / 1e6, "digest": digest_of(ids),
              "n": ids if isinstance(ids, int) else len(ids)}
    del ids
    part = cut(text, row[4] * 1000000)
    result["speed"] = len(part) / best_of(encode, part) / 1e6
    result["added"] = memory_mib("VmHWM") - before
    short = [text[i * 100:i * 100 + 100].decode(errors="ignore").encode() for i in range(16)]
    calls = 20000 if result["speed"] > 50 else 2000
    begin = time.perf_counter()
    for i in range(calls):
        encode(short[i % 16])
    result["latency"] = (time.perf_counter() - begin) / calls * 1e6
    if decode is not None:
        ids = encode(part)
        result["decode"] = len(part) / best_of(decode, ids, 1.0) / 1e6
    return result


# ---- Texts -----------------------------------------------------------------------------------------


def texts_of(arguments):
    """(name, bytes) of what is measured: the files given, or English, code and many scripts."""
    size = arguments.megabytes * 1000000
    for path in arguments.text_files:
        with open(path, "rb") as file:
            yield os.path.basename(path), cut(file.read(size).decode(errors="ignore").encode(), size)
    if arguments.text_files:
        return
    for name in ("stories_like.txt", "wikitext2_valid.txt"):
        path = os.path.join(DATA, name)
        if os.path.exists(path):
            with open(path, "rb") as file:
                yield name, cut(file.read(size + 4), size)
    yield "Python's library", code_text(size)
    yield "many scripts", mixed_text(size)


# ---- The table -------------------------------------------------------------------------------------


def save_gpt2(arguments):
    """GPT-2 as tokenizer.json and as ranks, without its special token, which is plain text here."""
    call = load_tinylm(arguments)
    tokenizer = c_void_p()
    call("tokenizer_load", byref(tokenizer), os.path.join(DATA, "gpt2_vocab.json").encode(),
         os.path.join(DATA, "gpt2_merges.txt").encode(), None)
    call("tokenizer_save_json", tokenizer, arguments.json.encode())
    alphabet = byte_alphabet()
    with open(os.path.join(DATA, "gpt2_vocab.json"), encoding="utf-8") as file:
        vocab = json.load(file)
    with open(arguments.ranks, "w") as file:
        for token, id in sorted(vocab.items(), key=lambda item: item[1]):
            if token != "<|endoftext|>":
                token = base64.b64encode(bytes(alphabet[c] for c in token)).decode()
                file.write("%s %d\n" % (token, id))


def save_cl100k(arguments):
    """The ranks that toktok-rs brings."""
    import toktok
    with open(arguments.ranks, "w") as file:
        for rank, token in enumerate(toktok._encoding("cl100k_base").token_byte_values()):
            file.write("%s %d\n" % (base64.b64encode(token).decode(), rank))


def run_row(arguments, name, threads):
    command = [sys.executable, __file__, arguments.library, "--only", name, "--threads", str(threads),
               "--vocabulary", arguments.vocabulary, "--text", arguments.text, "--json", arguments.json,
               "--ranks", arguments.ranks]
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false")
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    return json.loads(run.stdout) if run.returncode == 0 else run.stderr.strip().split("\n")[-1]


def print_table(arguments, rows):
    print("%-20s %7s %9s %7s %9s %9s %9s  ids" % (arguments.vocabulary, "MB/s", "first MB", "times",
                                                  "100 bytes", "decode", "added"))
    ours = None
    for name, _, package, threads, _ in rows:
        if package is not None and package not in arguments.installed:
            print("%-20s not installed" % name)
            continue
        result = run_row(arguments, name, threads)
        if isinstance(result, str):
            print("%-20s fails: %s" % (name, result))
            continue
        ours = ours or result
        same = result["digest"] == ours["digest"] or result["digest"] == str(ours["n"])
        print("%-20s %7.1f %9.1f %7.2f %6.2f us %9s %5.0f MiB  %s" % (
            name, result["speed"], result["first"], ours["speed"] / result["speed"], result["latency"],
            "%.0f" % result["decode"] if "decode" in result else "", result["added"],
            "same" if same else "DIFFER"), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("library", help="path of libtinylm.so")
    parser.add_argument("--text-files", nargs="*", default=[], metavar="FILE", help="UTF-8 to measure with")
    parser.add_argument("--megabytes", type=int, default=20, help="of each text, at most")
    parser.add_argument("--vocabulary", choices=sorted(ROWS), help="only this one")
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    for hidden in ("--only", "--text", "--json", "--ranks"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure_one(arguments)))
        return 0
    if not os.path.exists(os.path.join(DATA, "gpt2_vocab.json")):
        print("no gpt2_vocab.json in %s (TINYLM_TEST_DATA)" % DATA)
        return SKIP
    arguments.installed = installed_versions(
        [row[2] for rows in ROWS.values() for row in rows if row[2] is not None])
    print("peers: " + ", ".join("%s %s" % item for item in sorted(arguments.installed.items())))
    with tempfile.TemporaryDirectory() as folder:
        arguments.text, arguments.json = (os.path.join(folder, name) for name in ("text", "gpt2.json"))
        wanted = [arguments.vocabulary] if arguments.vocabulary else ["gpt2", "cl100k"]
        if "toktok-rs" not in arguments.installed and "cl100k" in wanted:
            print("cl100k_base is left out: its ranks come from toktok-rs, which is not installed")
            wanted.remove("cl100k")
        for name, text in texts_of(arguments):
            with open(arguments.text, "wb") as file:
                file.write(text)
            print("\n%s, %.1f MB" % (name, len(text) / 1e6))
            for arguments.vocabulary in wanted:
                arguments.ranks = os.path.join(folder, arguments.vocabulary + ".ranks")
                (save_gpt2 if arguments.vocabulary == "gpt2" else save_cl100k)(arguments)
                print_table(arguments, ROWS[arguments.vocabulary])
    return 0


if __name__ == "__main__":
    sys.exit(main())
