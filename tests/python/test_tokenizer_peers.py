"""Compares tokenizer files and ids with tiktoken and Hugging Face's tokenizers, where they are installed.

Each peer that is missing is reported as skipped, by name; without both the test is skipped (77).
"""

import base64
import json
import os
import random
import sys
import tempfile
import unicodedata
import unittest

import peers

tiktoken, tokenizers = peers.find("tiktoken", "tokenizers")
if tiktoken is None and tokenizers is None:
    sys.exit(peers.SKIP)

import tinylm  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("TINYLM_TEST_DATA", os.path.join(HERE, "../../../shared/data"))
END = "<|endoftext|>"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
          r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s")
UPPER, LOWER = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]")
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{ENDING}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{ENDING}|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXTS = [
    "Hello world, it's 2024! We'll see: 12345 apples\n\n  and   tabs\t\t\r\n end  ",
    "def f(x):\n    return {'a': [1, 2.5e-3], \"b\": x ** 2}  # comment\n\n\n",
    "na\u00efve caf\u00e9 \u4f60\u597d\u4e16\u754c \u3053\u3093\u306b\u3061\u306f \u0645\u0631\u062d\u0628\u0627"
    " \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22 \U0001f600\U0001f469\u200d\U0001f4bb \u00bd\u2167",
    "'S 'Ll I'VE \u017f'\u017f don't 'tis \u00a0\u3000\u2028 \x00\x01\x7f",
    "numbers 1234567 at the end\n  ",
    "a" * 500 + " " * 300 + "ab" * 200 + "\n" * 50,
    "",
]


def random_texts(seed, n):
    rng = random.Random(seed)
    pieces = "".join(TEXTS)
    return ["".join(rng.choice(pieces) for _ in range(rng.randint(1, 200))) for _ in range(n)]


def data_texts():
    texts = []
    for name in ("tinyshakespeare.txt", "german.txt", "wikitext2_valid.txt"):
        path = os.path.join(DATA, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="ignore") as file:
                texts.append(file.read(100000))
    return texts


# Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai, kana, Chinese, Korean, emoji, control characters.
SCRIPTS = [(0x3B1, 0x3C9), (0x430, 0x44F), (0x5D0, 0x5EA), (0x627, 0x64A), (0x905, 0x939), (0xE01, 0xE2E),
           (0x3041, 0x3093), (0x4E00, 0x5FFF), (0xAC00, 0xBFFF), (0x1F600, 0x1F64F), (0x00, 0x1F)]


def script_texts(seed):
    """Words of one script after the other, and random bytes made valid."""
    rng = random.Random(seed)
    texts = []
    for low, high in SCRIPTS:
        words = ["".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 9))) for _ in range(300)]
        texts.append("".join(word + rng.choice([" ", "", ", ", ".\n", "  "]) for word in words))
    texts += [rng.randbytes(2000).decode(errors=errors) for errors in ("ignore", "replace")]
    return texts


def large_text(size):
    """Long enough for several threads; much of this program's own code."""
    with open(__file__, encoding="utf-8") as file:
        text = (file.read() + "".join(ALL_TEXTS)).replace(END, "end")
    return (text * (size // len(text) + 1))[:size]


ALL_TEXTS = TEXTS + random_texts(1, 200) + script_texts(3) + data_texts()
TRAINING = " ".join(TEXTS) * 3 + " ".join(random_texts(2, 100))


def train(pattern=None, specials=(END,)):
    return tinylm.Tokenizer.train(TRAINING, vocab_size=900, special_tokens=specials, pattern=pattern)


def gpt2_paths():
    paths = [os.path.join(DATA, name) for name in ("gpt2_vocab.json", "gpt2_merges.txt")]
    if not all(map(os.path.exists, paths)):
        raise unittest.SkipTest("GPT-2's vocabulary is not there")
    return paths


class FilesTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "file")

    def assert_same_ids(self, ours, encode, texts=None):
        for text in ALL_TEXTS if texts is None else texts:
            ids = list(encode(text))
            if ours.encode(text) != ids:
                self.fail(f"{text[:60]!r}: {ours.encode(text)[:20]} and {ids[:20]}")


@unittest.skipIf(tiktoken is None, "tiktoken is not installed")
class TiktokenTest(FilesTest):
    def read_ranks(self):
        with open(self.path, "rb") as file:
            return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file)}

    def write_ranks(self, ranks):
        with open(self.path, "wb") as file:
            for token, rank in ranks.items():
                file.write(base64.b64encode(token) + b" %d\n" % rank)

    def encoding(self, pattern, specials=None):
        return tiktoken.Encoding("test", pat_str=pattern, mergeable_ranks=self.read_ranks(),
                                 special_tokens=specials or {})

    def test_trained_vocabularies_go_to_tiktoken(self):
        for pattern in (CL100K, O200K, LLAMA3, QWEN2):
            ours = train(pattern)
            ours.save_tiktoken(self.path)
            theirs = self.encoding(pattern, {END: 0})
            self.assert_same_ids(ours, theirs.encode_ordinary)
            self.assertEqual(ours.encode("a" + END + "b"),
                             theirs.encode("a" + END + "b", allowed_special="all"))

    def test_gpt2_goes_both_ways(self):
        pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
        ours = tinylm.Tokenizer.from_files(*gpt2_paths(), special_tokens=[END])
        ours.save_tiktoken(self.path)
        theirs = self.encoding(pattern, {END: 50256})
        self.assertEqual(theirs.n_vocab, 50257)
        self.assert_same_ids(ours, theirs.encode_ordinary)
        again = tinylm.Tokenizer.open(self.path, special_tokens=[END])
        self.assertEqual(again.token_id(END), 50256)
        self.assert_same_ids(again, theirs.encode_ordinary)
        self.assert_same_ids(ours, theirs.encode_ordinary, [large_text(700000)])

    def test_any_ranks_encode_the_same(self):
        """Ranks in any order, of tokens that nothing may make."""
        pattern = r"[\s\S]{1,60}"
        for seed in range(120):
            rng = random.Random(seed)
            letters = b"abc"[: rng.choice([1, 2, 2, 3])]
            tokens = set()
            for _ in range(rng.randint(1, 60)):
                if tokens and rng.random() < 0.6:
                    parts = [rng.choice(sorted(tokens)),
                             rng.choice(sorted(tokens) + [letters[:1]])]
                    rng.shuffle(parts)
                    token = b"".join(parts)
                else:
                    token = bytes(rng.choice(letters) for _ in range(rng.randint(2, 7)))
                if len(token) <= 24:
                    tokens.add(token)
            tokens = [bytes([i]) for i in range(256)] + sorted(tokens)
            ranks = rng.sample(range(2 * len(tokens)), len(tokens))
            self.write_ranks(dict(zip(tokens, ranks if seed % 2 else sorted(ranks))))
            ours = tinylm.Tokenizer.open(self.path, pattern=pattern)
            theirs = self.encoding(pattern)
            self.assert_same_ids(ours, theirs.encode_ordinary, [
                "".join(chr(rng.choice(letters)) for _ in range(rng.randint(1, 120)))
                for _ in range(40)])


@unittest.skipIf(tokenizers is None, "tokenizers is not installed")
class TokenizersTest(FilesTest):
    def theirs(self):
        tokenizer = tokenizers.Tokenizer.from_file(self.path)
        return lambda text: tokenizer.encode(text, add_special_tokens=False).ids

    def save(self, tokenizer, **model):
        """Saves one of theirs, with some parts of its file replaced."""
        tokenizer.save(self.path)
        with open(self.path, encoding="utf-8") as file:
            content = json.load(file)
        content["model"].update(model)
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(content, file)

    def assert_both_ways(self, texts):
        """The file of theirs gives the same ids here, and so does what is written of it there."""
        ours = tinylm.Tokenizer.open(self.path)
        self.assert_same_ids(ours, self.theirs(), texts)
        ours.save_json(self.path)
        self.assert_same_ids(ours, self.theirs(), texts)

    def test_trained_vocabularies_go_to_tokenizers(self):
        specials = [END, "<|x y|>", "\u65e5\u672c \"\\\n"]
        texts = ALL_TEXTS + ["".join(specials) + "a" + s + " b" + s for s in specials]
        for pattern in (None, CL100K, O200K, LLAMA3, QWEN2, r"\p{L}+|\P{L}"):
            ours = train(pattern, specials)
            ours.save_json(self.path)
            self.assert_same_ids(ours, self.theirs(), texts)
            self.assert_same_ids(tinylm.Tokenizer.open(self.path), self.theirs(), texts)

    def test_transformers_reads_them(self):
        transformers = peers.find("transformers")
        if transformers is None:
            self.skipTest("transformers is not installed")
        ours = train(LLAMA3)
        ours.save_json(self.path)
        theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=self.path)
        self.assert_same_ids(ours, lambda text: theirs(text)["input_ids"] if text else [])

    def test_gpt2_shape(self):
        model = tokenizers.models.BPE.from_file(*gpt2_paths())
        theirs = tokenizers.Tokenizer(model)
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        theirs.decoder = tokenizers.decoders.ByteLevel()
        theirs.add_special_tokens([END])
        theirs.add_tokens(["<tool>", "  "])
        texts = ALL_TEXTS + [END + "<tool>  x" + END]
        self.save(theirs)
        self.assert_both_ways(texts)
        self.save(theirs, merges=[" ".join(pair) for pair in self.merges()])
        self.assert_both_ways(texts)

    def merges(self):
        with open(self.path, encoding="utf-8") as file:
            merges = json.load(file)["model"]["merges"]
        return [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]

    def shape(self, pattern, specials, **model):
        """A trained vocabulary in a file as Llama 3's or Qwen's are built."""
        train(pattern, specials=()).save_json(self.path)
        theirs = tokenizers.Tokenizer.from_file(self.path)
        pre, isolated = tokenizers.pre_tokenizers, tokenizers.Regex(pattern)
        theirs.pre_tokenizer = pre.Sequence([
            pre.Split(isolated, "isolated"), pre.ByteLevel(add_prefix_space=False, use_regex=False)])
        theirs.decoder = tokenizers.decoders.ByteLevel()
        theirs.add_special_tokens(specials)
        theirs.post_processor = tokenizers.processors.TemplateProcessing(
            single=specials[0] + " $A", special_tokens=[(specials[0],
                                                         theirs.token_to_id(specials[0]))])
        self.save(theirs, **model)

    def test_llama3_shape(self):
        specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>"]
        self.shape(LLAMA3, specials, ignore_merges=True)
        self.assert_both_ways(ALL_TEXTS + ["".join(specials) + "x"])

    def test_ignored_merges_matter(self):
        """Tokens that no merge makes any more: only whole pretokens become them."""
        self.shape(LLAMA3, [END])
        theirs = tokenizers.Tokenizer.from_file(self.path)
        kept = [pair for i, pair in enumerate(self.merges()) if i % 3]
        vocab = theirs.get_vocab()
        products = {left + right for left, right in kept} | {c for c in vocab if len(c) == 1}
        kept = [pair for pair in kept if set(pair) <= products]
        for ignore_merges in (True, False):
            self.save(theirs, merges=kept, ignore_merges=ignore_merges)
            self.assert_both_ways(ALL_TEXTS)

    def test_qwen_shape(self):
        """With the normalizer NFC, which works on the text between special tokens."""
        specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        self.shape(QWEN2, specials, byte_fallback=False, unk_token=None)
        theirs = tokenizers.Tokenizer.from_file(self.path)
        theirs.normalizer = tokenizers.normalizers.NFC()
        self.save(theirs)
        texts = ALL_TEXTS + ["<|im_start|>user\nhi<|im_end|>\u0301\n"]
        texts += [unicodedata.normalize("NFD", text) for text in texts]
        self.assert_both_ways(texts)

    def test_ids_that_tokenizers_would_change_are_refused(self):
        train().save_json(self.path)
        with open(self.path, encoding="utf-8") as file:
            content = json.load(file)
        content["added_tokens"].append(dict(content["added_tokens"][0], content="<x>", id=950))
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(content, file)
        theirs = tokenizers.Tokenizer.from_file(self.path).token_to_id("<x>")
        self.assertNotEqual(theirs, 950)
        with self.assertRaisesRegex(tinylm.Error, f"tokenizers library gives it {theirs}"):
            tinylm.Tokenizer.open(self.path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
