#!/usr/bin/env python3
"""Encoding of each family of tokenizers beside the libraries that have it, one table per family and text.

Real files come from Python packages where these are installed; models of which no package has one are trained on
the texts. What is missing is named and left out. Each row is a process of its own in which calls of tinylm and of
one peer alternate: "tinylm / peer" is the median of the ratios of neighboring calls, with the quartiles, of
processor time on one thread and of wall time on two. "cold" is the first call of a tokenizer that was just made,
"warm" a later one; "adds" the memory that a tokenizer, and encoding the text once, add to that of Python; "100
bytes" one short call. Ids are compared before anything is timed.

    python3 -m venv .venv-bench
    .venv-bench/bin/pip install numpy tokenizers tiktoken gigatoken sentencepiece litellm dashscope mistral-common
    .venv-bench/bin/python tests/bench/bench_tokenizer_families.py build/lib/libtinylm.so

Set PYTHONPATH to examples/python, and TINYLM_TEST_DATA to a folder with the texts and GPT-2's files.
"""
import argparse
import base64
import ctypes
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from bench_support import (DATA, GPT2, SKIP, Ids, byte_alphabet, code_text, cut, digest_of, installed_versions,
                           load_tinylm, memory_mib, mixed_text)

LITELLM = "litellm/litellm_core_utils/tokenizers/"
# Family: file, pattern of tiktoken's libraries, gigatoken's name of it, peers. A file is a path inside a package, or
# what make_files makes.
FAMILIES = {
    "GPT-2": ("gpt2.json", "gpt2", None, ["gigatoken", "tiktoken", "tokenizers"]),
    "cl100k": (LITELLM + "9b5ad71b2ce5302211f9c61530b329a4922fc6a4", "cl100k_base", "cl100k",
               ["gigatoken", "tiktoken"]),
    "o200k": (LITELLM + "fb374d419588a4632f3f557e76b4b70aebbca790", "o200k_base", "o200k",
              ["gigatoken", "tiktoken"]),
    "Qwen": ("dashscope/resources/qwen.tiktoken", "qwen3", "qwen2", ["gigatoken", "tiktoken"]),
    "WordPiece": ("wordpiece.json", None, None, ["gigatoken", "tokenizers"]),
    "Unigram": ("unigram.json", None, None, ["gigatoken", "tokenizers"]),
    "SentencePiece BPE": ("mistral_common/data/tokenizer.model.v1", None, None, ["gigatoken", "sentencepiece"]),
    "SentencePiece Unigram": ("unigram.model", None, None, ["sentencepiece"]),
}
# Kilobytes of text that a peer is given at most, so that its row takes seconds.
MOST = {"tiktoken": 1000, "tokenizers": 100, "sentencepiece": 500}

# ---- Programs: each makes a tokenizer from a file; a tokenizer is a function from bytes to ids ------


def tinylm_maker(arguments):
    call, library = load_tinylm(arguments), ctypes.CDLL(arguments.library)
    library.tlm_free.argtypes = [ctypes.c_void_p]
    library.tlm_tokenizer_free.argtypes = [ctypes.c_void_p]
    run = library.tlm_tokenizer_encode
    run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_char_p, ctypes.c_size_t]

    class Tokenizer:
        def __init__(self):
            self.handle, self.pointer, self.n = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
            call("tokenizer_open", ctypes.byref(self.handle), arguments.file.encode(), None)

        def __del__(self):
            library.tlm_tokenizer_free(self.handle)

        def __call__(self, text):
            if run(ctypes.byref(self.pointer), ctypes.byref(self.n), self.handle, text, len(text)) != 0:
                sys.exit("tlm_tokenizer_encode")
            return Ids(library.tlm_free, self.pointer.value, self.n.value)

    return Tokenizer


def tinylm_array(arguments):
    """For short calls, as a program in Python makes them."""
    import tinylm
    return tinylm.Tokenizer.open(arguments.file).encode_array


def ranks_of(arguments):
    if not arguments.file.endswith(".json"):
        with open(arguments.file, "rb") as file:
            return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file)}
    alphabet = byte_alphabet()
    with open(arguments.file, encoding="utf-8") as file:
        vocab = json.load(file)["model"]["vocab"]
    return {bytes(alphabet[c] for c in token): id for token, id in vocab.items() if token != "<|endoftext|>"}


def gigatoken_maker(arguments):
    from gigatoken import Tokenizer
    scheme = FAMILIES[arguments.family][2]

    def make():
        if scheme:
            tokenizer = Tokenizer.from_tiktoken(arguments.file, scheme)
        elif arguments.file.endswith(".json"):
            tokenizer = Tokenizer(arguments.file)
        else:
            tokenizer = Tokenizer.from_sentencepiece(arguments.file)
        if arguments.threads > 1:
            return lambda text: tokenizer.encode_batch([text], parallel=True)[0]
        return tokenizer.encode
    return make


def tiktoken_maker(arguments):
    import tiktoken
    import tinylm
    name, ranks = FAMILIES[arguments.family][1], ranks_of(arguments)
    pattern = GPT2 if name == "gpt2" else tinylm.PATTERNS[name]

    def make():
        encoding = tiktoken.Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        return lambda text: encoding.encode_ordinary(text.decode())
    return make


def tokenizers_maker(arguments):
    from tokenizers import Tokenizer

    def make():
        tokenizer = Tokenizer.from_file(arguments.file)
        return lambda text: tokenizer.encode(text.decode(), add_special_tokens=False).ids
    return make


def sentencepiece_maker(arguments):
    from sentencepiece import SentencePieceProcessor

    def make():
        processor = SentencePieceProcessor(model_file=arguments.file)
        return lambda text: processor.encode(text.decode())
    return make


MAKERS = {"tinylm": tinylm_maker, "gigatoken": gigatoken_maker, "tiktoken": tiktoken_maker,
          "tokenizers": tokenizers_maker, "sentencepiece": sentencepiece_maker}

# ---- One row, in a process of its own ---------------------------------------------------------------


def timed(function, value, clock):
    begin = clock()
    result = function(value)
    seconds = clock() - begin
    del result
    return seconds


def alternate(seconds, most, ours, theirs):
    """Times of two measurements that alternate for some seconds, at least three times."""
    pairs, begin = [], time.perf_counter()
    while len(pairs) < 3 or (time.perf_counter() - begin < seconds and len(pairs) < most):
        if len(pairs) % 2 == 0:
            pairs.append((ours(), theirs()))
        else:
            pairs.append((theirs(), ours())[::-1])
    ratios = sorted(b / a for a, b in pairs)
    n = len(ratios)
    return {"ours": statistics.median(a for a, _ in pairs), "theirs": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(ratios), "low": ratios[n // 4], "high": ratios[n - 1 - n // 4], "pairs": n}


def measure_pair(arguments, text):
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    makers = [MAKERS[name](arguments) for name in ("tinylm", arguments.only)]
    warm = [make() for make in makers]
    result = {"same": digest_of(warm[0](text)) == digest_of(warm[1](text)), "size": len(text)}
    result["warm"] = alternate(arguments.seconds, 200, *(lambda w=w: timed(w, text, clock) for w in warm))
    result["cold"] = alternate(2 * arguments.seconds, 30, *(lambda m=m: timed(m(), text, clock) for m in makers))
    return result


def measure_alone(arguments, text):
    """Memory, and short calls."""
    before = memory_mib("VmHWM")
    encode = MAKERS[arguments.only](arguments)()
    encode(text)
    result = {"added": memory_mib("VmHWM") - before}
    if arguments.only == "tinylm":
        encode = tinylm_array(arguments)
    short = [text[i * 100:i * 100 + 100].decode(errors="ignore").encode() for i in range(16)]
    calls, times = 2000 if arguments.only in ("tinylm", "gigatoken") else 200, []
    for _ in range(9):
        begin = time.perf_counter()
        for i in range(calls):
            encode(short[i % 16])
        times.append((time.perf_counter() - begin) / calls * 1e6)
    return {**result, "short": statistics.median(times)}


def measure(arguments):
    with open(arguments.text, "rb") as file:
        text = file.read()
    if arguments.alone:
        return measure_alone(arguments, text)
    return measure_pair(arguments, cut(text, 1000 * MOST.get(arguments.only, 10 ** 6)))


# ---- Files ------------------------------------------------------------------------------------------


def find_file(path, folder):
    """The path of a family's file, or None."""
    package, _, inside = path.partition("/")
    if not inside:
        made = os.path.join(folder, path)
        return made if os.path.exists(made) else None
    spec = importlib.util.find_spec(package)
    found = spec and os.path.join(os.path.dirname(spec.origin), inside)
    return found if found and os.path.exists(found) else None


def make_files(folder, texts, wanted, installed):
    """GPT-2's tokenizer.json, and models trained on the texts, of which no package has a real one; of these files,
    those that are wanted."""
    import tinylm
    vocab, merges = (os.path.join(DATA, "gpt2_" + name) for name in ("vocab.json", "merges.txt"))
    if "gpt2.json" in wanted and os.path.exists(vocab):
        tinylm.Tokenizer.from_files(vocab, merges).save_json(os.path.join(folder, "gpt2.json"))
    lines = [" ".join(word for word in line.split() if len(word) < 30)[:1000] for text in texts.values()
             for line in text[:500000].decode(errors="ignore").replace("<|endoftext|>", "\n").split("\n")]
    if "tokenizers" in installed and "wordpiece.json" in wanted:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        tokenizer.train_from_iterator(lines, trainers.WordPieceTrainer(
            vocab_size=16000, special_tokens=["[UNK]"], show_progress=False))
        tokenizer.save(os.path.join(folder, "wordpiece.json"))
    if "sentencepiece" in installed and ("unigram.model" in wanted or "unigram.json" in wanted):
        train_unigram(folder, lines, "tokenizers" in installed)


def train_unigram(folder, lines, has_tokenizers):
    """A model of SentencePiece, and a tokenizer.json with its pieces."""
    import io
    import sentencepiece
    model, path = io.BytesIO(), os.path.join(folder, "unigram.model")
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(filter(None, lines)), model_writer=model,
                                             vocab_size=16000, hard_vocab_limit=False, minloglevel=2)
    with open(path, "wb") as file:
        file.write(model.getvalue())
    if has_tokenizers:
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
        trained = sentencepiece.SentencePieceProcessor(model_file=path)
        pieces = [(trained.id_to_piece(i), trained.get_score(i)) for i in range(trained.get_piece_size())]
        tokenizer = Tokenizer(models.Unigram(pieces, trained.unk_id(), False))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        tokenizer.save(os.path.join(folder, "unigram.json"))


def texts_of(arguments):
    size = int(arguments.megabytes * 1000000)
    texts = {}
    for name, path in (("stories", "stories_like.txt"), ("WikiText", "wikitext2_valid.txt")):
        path = os.path.join(DATA, path)
        if os.path.exists(path):
            with open(path, "rb") as file:
                # Special tokens of some models, which are plain text to their own programs.
                text = cut(file.read(size + 4), size)
                texts[name] = text.replace(b"<unk>", b"<UNK>").replace(b"<|endoftext|>", b"<|ENDOFTEXT|>")
        else:
            print("skipped: %s is not there (TINYLM_TEST_DATA)" % path)
    return {**texts, "code": code_text(size), "many scripts": mixed_text(size)}


# ---- Tables -----------------------------------------------------------------------------------------


def run_row(arguments, name, threads, alone=False):
    command = [sys.executable, __file__, arguments.library, "--only", name, "--threads", str(threads), "--text",
               arguments.text, "--file", arguments.file, "--family", arguments.family, "--seconds",
               str(arguments.seconds)] + ["--alone"] * alone
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false",
                       TINYLM_LIBRARY=os.path.abspath(arguments.library))
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    return json.loads(run.stdout) if run.returncode == 0 else run.stderr.strip().split("\n")[-1][:100]


def print_row(name, what, size, row):
    print("  %-14s %-15s %8.1f %8.1f   %6.2f [%.2f .. %.2f], %d pairs" % (
        name, what, size / row["ours"] / 1e6, size / row["theirs"] / 1e6, row["ratio"], row["low"], row["high"],
        row["pairs"]), flush=True)


def print_table(arguments, peers):
    print("  %-14s %-15s %8s %8s   %s" % ("beside", "", "tinylm", "peer", "tinylm / peer, MB/s"))
    for name in peers:
        for threads in (1, 2) if name == "gigatoken" else (1,):
            result = run_row(arguments, name, threads)
            if isinstance(result, str):
                print("  %-14s fails: %s" % (name, result))
                break
            if not result["same"]:
                print("  %-14s IDS DIFFER" % name)
            for what in ("warm", "cold"):
                print_row(name, what + ("" if threads == 1 else ", 2 threads"), result["size"], result[what])


def print_memory(arguments, peers):
    for name in ["tinylm", *peers]:
        result = run_row(arguments, name, 1, alone=True)
        if isinstance(result, str):
            continue
        print("  %-14s adds %4.0f MiB; 100 bytes %6.2f us" % (name, result["added"], result["short"]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("library", help="path of libtinylm.so")
    parser.add_argument("--families", nargs="*", choices=sorted(FAMILIES), help="only these")
    parser.add_argument("--megabytes", type=float, default=1, help="of each text")
    parser.add_argument("--seconds", type=float, default=1, help="for each measurement")
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    for hidden in ("--only", "--text", "--file", "--family"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("TINYLM_LIBRARY", os.path.abspath(arguments.library))
    if arguments.only:
        print(json.dumps(measure(arguments)))
        return 0
    if importlib.util.find_spec("tinylm") is None:
        print("set PYTHONPATH to examples/python")
        return SKIP
    installed = installed_versions(name for name in MAKERS if name != "tinylm")
    print("peers: " + (", ".join("%s %s" % item for item in sorted(installed.items())) or "none"))
    texts = texts_of(arguments)
    with tempfile.TemporaryDirectory() as folder:
        families = arguments.families or FAMILIES
        make_files(folder, texts, [FAMILIES[name][0] for name in families], installed)
        arguments.text = os.path.join(folder, "text")
        for arguments.family in families:
            path, _, _, peers = FAMILIES[arguments.family]
            arguments.file = find_file(path, folder)
            missing = [name for name in peers if name not in installed]
            print("\n%s%s" % (arguments.family, "".join("; %s is not installed" % name for name in missing)))
            if arguments.file is None:
                print("  skipped: %s is not there" % path)
                continue
            peers = [name for name in peers if name in installed]
            for name, text in texts.items():
                with open(arguments.text, "wb") as file:
                    file.write(text)
                print(" %s, %.1f MB" % (name, len(text) / 1e6))
                print_table(arguments, peers)
            print_memory(arguments, peers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
