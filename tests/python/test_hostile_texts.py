"""Encoding takes time that is linear in the text, whatever the text is: a letter or a space again and again, no
spaces, beginnings of added tokens, characters that normalization lengthens or reorders, malformed bytes.

valgrind counts the instructions of the call at two sizes, with a tokenizer of each kind; skipped without it.

    test_hostile_texts.py build/tests/tokenizer/encode_hostile [TOKENIZER ...]
"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

SKIP = 77
SMALL, LARGE = 4000, 32000
MOST = 1.5 * LARGE / SMALL  # a step, or a logarithm, but no square

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ADDED = ["<ab>", "<abcd>", "<abcde>"]


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(0x100 + i) for i, b in enumerate(others)}}


def doublings(letter, n):
    """The merges of a letter, two letters, four ..."""
    return [[letter * 2 ** i, letter * 2 ** i] for i in range(n)]


def tokenizer_json(model, **parts):
    """A tokenizer.json with three added tokens, of which one is found in normalized text."""
    added = [{"id": len(model["vocab"]) + i, "content": token, "special": False, "normalized": i == 0,
              "lstrip": False, "rstrip": i == 1, "single_word": False} for i, token in enumerate(ADDED)]
    return json.dumps({"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": None,
                       "post_processor": None, "decoder": None, **parts, "model": model}).encode()


def bpe(tokens, merges, **options):
    tokens = tokens + [left + right for left, right in merges]
    return {"type": "BPE", "vocab": {token: id for id, token in enumerate(dict.fromkeys(tokens))},
            "merges": merges, **options}


def byte_level_bpe():
    alphabet = byte_alphabet()
    merges = doublings("a", 6) + doublings(alphabet[32], 6) + [["b", "c"], ["e", "r"], ["t", "h"]]
    return bpe([alphabet[b] for b in range(256)], merges)


def fallback_bpe():
    tokens = ["<unk>"] + ["<0x%02X>" % b for b in range(256)] + list(LETTERS) + ["\u2581", "e\u0301"]
    merges = doublings("a", 6) + doublings("\u2581", 4) + [["\u2581", "a"], ["e", "r"]]
    return bpe(tokens, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)


def word_piece(limit):
    tokens = ["[UNK]"] + list(LETTERS) + ["##" + c for c in LETTERS] + ["##aa", "##aaaa", "##" + "a" * 40]
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": limit, "vocab": {token: id for id, token in enumerate(tokens)}}


def unigram():
    tokens = [["<unk>", 0.0], ["\u2581", -2.0]] + [[c, -3.0] for c in LETTERS]
    tokens += [["a" * n, -3.0 - n / 10] for n in range(2, 20)] + [["\u2581a", -4.0], ["er", -4.0]]
    return {"type": "Unigram", "unk_id": 0, "vocab": tokens, "byte_fallback": False}


def varint(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def sentencepiece(kind):
    """A .model file: kind 1 is Unigram, 2 BPE."""
    pieces = [("<unk>", 0.0, 2)] + [("<0x%02X>" % b, 0.0, 6) for b in range(256)]
    pieces += [("a" * n, -float(20 - n), 1) for n in range(2, 17)] + [("\u2581a", -2.0, 1), ("er", -3.0, 1)]
    pieces += [(c, -30.0, 1) for c in LETTERS + "\u2581"] + [(token, 0.0, 4) for token in ADDED]
    body = b"".join(field(1, field(1, text.encode()) + field(2, score) + field(3, type))
                    for text, score, type in pieces)
    return body + field(2, field(3, kind) + field(35, 1)) + field(3, field(3, 1) + field(4, 0) + field(5, 1))


def tokenizers():
    """Name: the bytes of the file."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    pattern = {"type": "Split", "pattern": {"Regex": r"\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+|[^\s\p{L}\p{N}]+"},
               "behavior": "Isolated", "invert": False}
    plain = {**byte_level, "use_regex": False}
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    unicode = {"type": "Sequence", "normalizers": [
        {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "NFKC"},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        {"type": "Strip", "strip_left": True, "strip_right": True}]}
    llama = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    bert = {"normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"}}
    return {
        "byte-level BPE.json": tokenizer_json(byte_level_bpe(), normalizer={"type": "NFC"},
                                              pre_tokenizer=byte_level),
        "BPE with a regex.json": tokenizer_json(
            byte_level_bpe(), pre_tokenizer={"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": True}, pattern, plain]}),
        "BPE with byte fallback.json": tokenizer_json(fallback_bpe(), normalizer=llama),
        "WordPiece.json": tokenizer_json(word_piece(100), **bert),
        "WordPiece of long words.json": tokenizer_json(word_piece(10 ** 9), **bert),
        "Unigram.json": tokenizer_json(unigram(), normalizer=unicode, pre_tokenizer=metaspace),
        "Unigram on one piece.json": tokenizer_json(unigram(), normalizer={"type": "NFKC"}),
        "BPE of SentencePiece.model": sentencepiece(2),
        "Unigram of SentencePiece.model": sentencepiece(1),
    }


def count(program, tokenizer, folder):
    """Encodes all texts at both sizes: a dictionary of (instructions, ids) by (text, size)."""
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    output = os.path.join(folder, "calls")
    # Meson has malloc fill what it gives, which is not the work to be counted.
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_PERTURB_"}
    run = subprocess.run(["valgrind", "--tool=callgrind", "--zero-before=tlm_tokenizer_encode",
                          "--dump-after=tlm_tokenizer_encode", "--callgrind-out-file=" + output,
                          program, tokenizer, str(SMALL), str(LARGE)],
                         capture_output=True, text=True, env=environment)
    if run.returncode != 0:
        raise RuntimeError("%s: status %d, %s" % (os.path.basename(tokenizer), run.returncode, [
            line for line in run.stderr.splitlines() if not line.startswith("==")]))
    counts = {}
    for i, line in enumerate(run.stdout.splitlines()):
        text, size, ids = line.split("\t")
        with open("%s.%d" % (output, i + 1), encoding="ascii", errors="replace") as file:
            counts[text, int(size)] = int(re.search(r"^totals: (\d+)", file.read(), re.M).group(1)), int(ids)
    return counts


def check(program, tokenizer, folder):
    """Prints a line for each text. Returns how many are not linear."""
    counts, failed = count(program, tokenizer, folder), 0
    for text, _ in filter(lambda key: key[1] == LARGE, counts):
        (small, _), (large, ids) = counts[text, SMALL], counts[text, LARGE]
        is_linear = large <= MOST * small
        failed += not is_linear
        print("%-30s %-18s %6d ids, %5.0f instructions per byte, %5.2f times for %d times the text%s" % (
            os.path.basename(tokenizer), text, ids, large / LARGE, large / small, LARGE // SMALL,
            "" if is_linear else "  NOT LINEAR"), flush=True)
    return failed


def main():
    program, paths = sys.argv[1], sys.argv[2:]
    if shutil.which("valgrind") is None:
        print("valgrind is not installed")
        return SKIP
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as calls:
        for name, data in tokenizers().items() if not paths else ():
            paths.append(os.path.join(folder, name))
            with open(paths[-1], "wb") as file:
                file.write(data)
        return 1 if sum([check(program, path, calls) for path in paths]) > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
