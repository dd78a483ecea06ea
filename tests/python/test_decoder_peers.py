"""Compares decoding with Hugging Face's tokenizers on random ids, with every kind of decoder and sequences of them:
whole rows, batches and streams, with special tokens and without them.
TINYLM_ROUNDS sets the number of random decoders per kind of vocabulary (default 60), TINYLM_SEED the seed.
"""

import json
import os
import random
import sys
import tempfile
import unittest

import peers

tokenizers = peers.find("tokenizers")
if tokenizers is None:
    sys.exit(peers.SKIP)

import tinylm  # noqa: E402

ROUNDS = int(os.environ.get("TINYLM_ROUNDS", "60"))
SEED = int(os.environ.get("TINYLM_SEED", "1"))

WORDS = ["▁", "▁a", "▁▁", "x▁y", "##", "##a", "###", "a##b", "</w>", "a</w>", "b</w>c", "w>", "</", " .", "n't", "'s", "' ",
         "do not", "don", "<0xab>", "<0x+1>", "<0xzz>", "<0x6", "<0x611>", "é", "你", "Ġa", "Ã©", "aa", "ab", "aab", "xx",
         "  a  ", "日 本", "😀", "▂▁", "not do", "a", "b", "x", " ", ".", "'", "!", "<", "d"]
FALLBACK = [f"<0x{byte:02X}>" for byte in range(256)]
ADDED = [("<s>", True, False), ("[PAD]", True, False), ("é b", False, False), ("ÉA", False, True), ("Ġ!", False, False),
         ("xé", True, True)]

ONE_STEP = [
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "WordPiece", "prefix": "##", "cleanup": True},
    {"type": "WordPiece", "prefix": "##", "cleanup": False},
    {"type": "WordPiece", "prefix": "", "cleanup": True},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
    {"type": "Metaspace", "replacement": "Ġ", "add_prefix_space": True, "prepend_scheme": "always", "split": True},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    {"type": "Strip", "content": "▁", "start": 2, "stop": 0},
    {"type": "Strip", "content": "a", "start": 0, "stop": 1},
    {"type": "Strip", "content": "a", "start": 1, "stop": 2},
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "Replace", "pattern": {"String": "aab"}, "content": "▁▁"},
    {"type": "Replace", "pattern": {"String": "Ġ"}, "content": ""},
    {"type": "Replace", "pattern": {"String": ""}, "content": "-"},
    {"type": "Replace", "pattern": {"Regex": r"a+|▁"}, "content": "<$0>"},
    {"type": "Replace", "pattern": {"Regex": r"x*|$"}, "content": "-"},
    {"type": "Replace", "pattern": {"Regex": r"(?<=a)a|^\s"}, "content": "é"},
    {"type": "BPEDecoder", "suffix": "</w>"},
    {"type": "BPEDecoder", "suffix": "a"},
    {"type": "BPEDecoder", "suffix": ""},
]
LLAMA = {"type": "Sequence", "decoders": [ONE_STEP[14], ONE_STEP[8], ONE_STEP[9], ONE_STEP[10]]}


def random_decoder(rng, depth=0):
    if depth < 2 and rng.random() < 0.6:
        return {"type": "Sequence", "decoders": [random_decoder(rng, depth + 1) for _ in range(rng.randrange(5))]}
    return rng.choice(ONE_STEP)


def byte_names():
    """The byte alphabet, by byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def make_file(rng, byte_level, decoder):
    """A tokenizer.json whose vocabulary matters only to decoding."""
    names = byte_names()
    tokens = list(names.values()) if byte_level else FALLBACK[:]
    for word in WORDS:
        tokens.append("".join(names[byte] for byte in word.encode()) if byte_level else word)
    vocab = {}
    for token in tokens:
        vocab.setdefault(token, len(vocab))
    first = len(vocab)
    added = [{"id": first + i, "content": content, "special": special, "normalized": normalized, "single_word": False,
              "lstrip": False, "rstrip": False} for i, (content, special, normalized) in enumerate(ADDED)]
    byte_pre_tokenizer = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": rng.choice([None, {"type": "Lowercase"}]),
        "pre_tokenizer": byte_pre_tokenizer if byte_level else {"type": "WhitespaceSplit"},
        "post_processor": None, "decoder": decoder,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": not byte_level,
                  "ignore_merges": False, "vocab": vocab, "merges": []},
    }, first + len(ADDED)


class RandomIds(unittest.TestCase):
    def compare(self, rng, byte_level, decoder):
        file, size = make_file(rng, byte_level, decoder)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tokenizer.json")
            with open(path, "w", encoding="utf-8") as out:
                json.dump(file, out)
            own, peer = tinylm.Tokenizer.open(path), tokenizers.Tokenizer.from_file(path)
        rows = []
        for _ in range(40):
            chosen = rng.sample(range(256, size), rng.randrange(1, 12)) + rng.sample(range(256), 2)
            rows.append([rng.choice(chosen) for _ in range(rng.choice([0, 1, 2, 3, 8, 20]))])
        for skips in (False, True):
            texts = own.decode_batch(rows, skip_special_tokens=skips)
            for row, text in zip(rows, texts):
                where = f"{row} with {json.dumps(decoder, ensure_ascii=False)} and {file['normalizer']}"
                self.assertEqual(own.decode(row, skip_special_tokens=skips), text, where)
                self.assertEqual("".join(own.decode_iterable(row, skip_special_tokens=skips)), text, where)
                try:
                    expected = peer.decode(row, skip_special_tokens=skips)
                except BaseException:  # Strip panics where it strips more than there is
                    continue
                self.assertEqual(text, expected, where)

    def test_every_decoder(self):
        rng = random.Random(SEED)
        for byte_level in (False, True):
            for decoder in [None, LLAMA, {"type": "Sequence", "decoders": []}, *ONE_STEP]:
                self.compare(rng, byte_level, decoder)

    def test_random_sequences(self):
        rng = random.Random(SEED + 1)
        for i in range(2 * ROUNDS):
            self.compare(rng, i % 2 == 1, random_decoder(rng))


if __name__ == "__main__":
    os.environ.setdefault("RUST_BACKTRACE", "0")
    unittest.main()
