#!/usr/bin/env python3
"""BPE training of libtinylm beside Hugging Face tokenizers and other trainers.

Every measurement is a process of its own; rounds alternate between the libraries, and the table gives
the best of each. "peak" is that of the whole process, Python with it; "added" is how far it lies above
the memory before training. Those that read no files (rustbpe, bpeasy) get the text as an iterator of
documents, cut where no pretoken is. "ratio" is of our time.

Behind the table stands how many tokens each trainer shares with ours. Hugging Face, gigabpe, rustbpe
and bpeasy break ties in ways of their own, so these may differ by a few. ffbpe has our rule; the first
token that differs is named. On C code ffbpe counts a pair of white space too low (docs/performance.md).

    python3 -m venv .venv-bench
    .venv-bench/bin/pip install tokenizers gigabpe ffbpe rustbpe bpeasy
    .venv-bench/bin/python tests/bench/bench_tokenizer_train.py build/lib/libtinylm.so
"""
import argparse
import json
import os
import re
import sys
import tempfile
import time

from bench_support import (DATA, GPT2, SKIP, SPECIAL, byte_alphabet, installed_versions, load_tinylm,
                           make_text, memory_mib, run_alone, train_tinylm)

# ---- One trainer each: seconds, and a function that gives the tokens it has learned, in order ---------


def decode_tokens(vocab):
    """Tokens in the byte alphabet, by id, as bytes."""
    alphabet = byte_alphabet()
    return [bytes(alphabet[c] for c in token) for token in sorted(vocab, key=vocab.get)
            if token != SPECIAL]


def tinylm(arguments):
    call = load_tinylm(arguments)
    begin = time.perf_counter()
    tokenizer = train_tinylm(call, arguments.text, arguments.vocab_size)
    seconds = time.perf_counter() - begin

    def tokens():
        vocab = os.path.join(arguments.folder, "vocab.json")
        call("tokenizer_save", tokenizer, vocab.encode(),
             os.path.join(arguments.folder, "merges.txt").encode())
        with open(vocab, encoding="utf-8") as file:
            return decode_tokens(json.load(file))

    return seconds, tokens


def huggingface(arguments):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=arguments.vocab_size, special_tokens=[SPECIAL],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    begin = time.perf_counter()
    tokenizer.train([arguments.text], trainer)
    seconds = time.perf_counter() - begin
    return seconds, lambda: decode_tokens(tokenizer.get_vocab())


def gigabpe(arguments):
    import gigabpe
    begin = time.perf_counter()
    vocab, _ = gigabpe.train_bpe([arguments.text], vocab_size=arguments.vocab_size,
                                 special_tokens=[SPECIAL], pretokenizer="bytelevel",
                                 threads=arguments.threads)
    seconds = time.perf_counter() - begin
    return seconds, lambda: decode_tokens(vocab)


def ffbpe(arguments):
    import ffbpe
    begin = time.perf_counter()
    words = ffbpe.PreTokenizer([SPECIAL], SPECIAL, GPT2).get_words_from_file(arguments.text)
    trainer = ffbpe.BpeTrainer([SPECIAL], tie_break="largest_content")
    trainer.add_words(words)
    trainer.train(arguments.vocab_size)
    seconds = time.perf_counter() - begin
    return seconds, lambda: [t for t in sorted(trainer.vocab, key=trainer.vocab.get)
                             if t != SPECIAL.encode()]


def documents(path):
    """The text, a megabyte or so at a time, cut at special tokens and between lines that end in a
    printable character."""
    rest = b""
    with open(path, "rb") as file:
        while True:
            piece = file.read(1 << 20)
            text = rest + piece
            cuts = [m.end() - 1 for m in re.finditer(rb"[!-~]\n", text[-4096:])] if piece else []
            cut = len(text) - len(text[-4096:]) + cuts[-1] if cuts else (0 if piece else len(text))
            rest = text[cut:]
            yield from (d for d in text[:cut].decode().split(SPECIAL) if d)
            if not piece:
                return


def rustbpe(arguments):
    import rustbpe
    tokenizer = rustbpe.Tokenizer()
    begin = time.perf_counter()
    tokenizer.train_from_iterator(documents(arguments.text), vocab_size=arguments.vocab_size - 1,
                                  pattern=GPT2)
    seconds = time.perf_counter() - begin
    return seconds, lambda: [bytes(token) for token, _ in tokenizer.get_mergeable_ranks()]


def bpeasy(arguments):
    import bpeasy
    begin = time.perf_counter()
    vocab = bpeasy.train_bpe(documents(arguments.text), GPT2, 1 << 30, arguments.vocab_size - 1, 64)
    seconds = time.perf_counter() - begin
    return seconds, lambda: sorted(vocab, key=vocab.get)


PACKAGES = {"tinylm": None, "huggingface": "tokenizers", "gigabpe": "gigabpe", "ffbpe": "ffbpe",
            "rustbpe": "rustbpe", "bpeasy": "bpeasy"}
TRAINERS = {f.__name__: f for f in (tinylm, huggingface, gigabpe, ffbpe, rustbpe, bpeasy)}
SAME_TIES = {"ffbpe"}


def measure_here(arguments):
    """In the process of one measurement."""
    module = PACKAGES[arguments.only]
    if module:
        __import__(module)
    before = memory_mib("VmRSS")
    seconds, tokens = TRAINERS[arguments.only](arguments)
    peak = memory_mib("VmHWM")
    with open(os.path.join(arguments.folder, arguments.only), "w") as file:
        file.writelines(token.hex() + "\n" for token in tokens())
    print(json.dumps({"seconds": seconds, "peak": peak, "added": peak - before}))


# ---- The table -------------------------------------------------------------------------------------


def compare(arguments, text):
    names = [name for name in TRAINERS if name == "tinylm" or name in arguments.peers.split(",")]
    options = ["--text", text, "--folder", arguments.folder]
    runs = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            run = run_alone(__file__, name, PACKAGES[name], arguments, options)
            if run is not None:
                runs[name].append(run)
    megabytes = os.path.getsize(text) / 1e6
    ours = min(run["seconds"] for run in runs["tinylm"])
    print("%-12s %9s %8s %9s %10s %8s" % ("", "seconds", "MB/s", "peak MiB", "added MiB", "ratio"))
    for name in names:
        if not runs[name]:
            print("%-12s not installed" % name)
            continue
        best = min(run["seconds"] for run in runs[name])
        print("%-12s %9.2f %8.1f %9.0f %10.0f %8.2f" %
              (name, best, megabytes / best, max(run["peak"] for run in runs[name]),
               max(run["added"] for run in runs[name]), best / ours), flush=True)
    return [name for name in names if runs[name]]


def print_agreement(arguments, names):
    """How many tokens each trainer shares with ours, and where those with our ties first differ."""
    def tokens(name):
        with open(os.path.join(arguments.folder, name)) as file:
            return file.read().split()

    ours = tokens("tinylm")
    for name in names[1:]:
        theirs = tokens(name)
        order = ""
        if ours == theirs:
            order = ", in the same order"
        elif name in SAME_TIES:
            order = "; the first that differs is number %d" % [
                a == b for a, b in zip(ours, theirs + [None])].index(False)
        print("%s: %d of %d tokens are in both%s" %
              (name, len(set(ours) & set(theirs)), len(ours), order))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("library", help="path of libtinylm.so")
    parser.add_argument("--text", default=os.path.join(DATA, "stories_like.txt"), help="UTF-8")
    parser.add_argument("--megabytes", type=int, default=100,
                        help="size; repeats a shorter text; 0: the text as it is")
    parser.add_argument("--vocab-size", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", default="huggingface,gigabpe,ffbpe",
                        help="of %s" % ", ".join(list(TRAINERS)[1:]))
    for hidden in ("--only", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        measure_here(arguments)
        return 0
    if not os.path.exists(arguments.text):
        print("no text to measure with: %s (see --text)" % arguments.text)
        return SKIP
    arguments.installed = installed_versions(filter(None, PACKAGES.values()))
    with tempfile.TemporaryDirectory() as arguments.folder:
        text = arguments.text
        if arguments.megabytes > 0:
            text = os.path.join(arguments.folder, "text.txt")
            make_text(arguments.text, text, arguments.megabytes * 1000000)
        print("vocabulary of %d, %.0f MB of %s, %d threads; peers: %s" % (
            arguments.vocab_size, os.path.getsize(text) / 1e6, os.path.basename(arguments.text),
            arguments.threads,
            ", ".join("%s %s" % item for item in arguments.installed.items()) or "none installed"))
        print_agreement(arguments, compare(arguments, text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
