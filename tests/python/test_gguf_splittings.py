"""The names of tokenizer.ggml.pre: for each, a GGUF file with a vocabulary whose tokens reach across words, digits
and spaces, so that ids tell where texts are split, and the ids of llama.cpp on real texts, many scripts and hostile
characters. Names that the installed llama.cpp does not know are reported as skipped.
"""

import os
import re
import sys
import tempfile
import unicodedata
import unittest

import peers

gguf, cyllama, numpy, tokenizers = peers.find("gguf", "cyllama", "numpy", "tokenizers")
if None in (gguf, cyllama, numpy, tokenizers):
    sys.exit(peers.SKIP)

import tinylm  # noqa: E402
from cyllama.llama import llama_cpp  # noqa: E402
from test_tokenizer_peers import data_texts, random_texts  # noqa: E402
from test_tokenizer_peers import script_texts as words_of_scripts  # noqa: E402
from tokenizer_texts import FIXED, HERE, script_texts  # noqa: E402

# Where llama.cpp knowingly differs from the models, whose patterns are those here. Its regular expressions have no
# classes of letters by case: it takes a cased letter outside ASCII, or a mark, for both cases.
CASED = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2", "tekken", "kimi-k2", "youtu", "tiny_aya", "cohere2moe",
         "granite-embed-multi-97m"}
# It leaves the first digits of a number with what precedes them, which a text shows where that is no letter. For the
# last two it also takes other numbers for digits.
GLUED = {"afmoe", "tiny_aya", "cohere2moe"}
WIDTH = 32


def names():
    with open(os.path.join(HERE, "../../lib/tokenizer/formats/gguf_splitting.c"), encoding="utf-8") as file:
        source = file.read()
    found = []
    for entry in re.finditer(r'\.name = "([^"]+)"(?:,\s*\.others = ((?:"[^"]*"\s*)+))?', source):
        found.append([entry.group(1), *re.sub(r'"\s*"|"', "", entry.group(2) or "").split()])
    return found


def texts():
    some = [*FIXED, *data_texts(), *script_texts(), *random_texts(5, 300), *words_of_scripts(3)]
    # NUL ends a text there, and names of special tokens are not the matter here.
    return [text for text in some if "\0" not in text and "<" not in text]


def without(text, categories):
    """Without the characters outside ASCII of some categories; Python's Unicode may be older than the library's."""
    return "".join(c for c in text if c < "\x80" or unicodedata.category(c) not in categories)


def after_letters(text):
    """With a letter before each number."""
    out, before = "", " "
    for c in text:
        is_number = unicodedata.category(c)[0] == "N"
        out += "a" * (is_number and unicodedata.category(before)[0] not in "LN") + c
        before = c
    return out


def adapted(text, name):
    if name in CASED:
        text = without(text, ("Lu", "Ll", "Lt", "Mn", "Mc", "Me", "Cn"))
    if name in GLUED:
        text = after_letters(without(text, ("No", "Nl")))
    return text


def vocabulary():
    """Tokens and merges that reach across everything, in the byte alphabet."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = [piece for text in texts() for piece in re.findall(r"(?s).{1,60}", text)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(pieces, trainers.BpeTrainer(
        vocab_size=3000, initial_alphabet=alphabet, show_progress=False, max_token_length=20))
    with tempfile.TemporaryDirectory() as folder:
        vocab, merges = tokenizer.model.save(folder)
        with open(merges, encoding="utf-8") as file:
            return sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id), file.read().split("\n")[1:-1]


TOKENS, MERGES = vocabulary()


def write(path, name):
    """A llama of one small layer, which llama.cpp wants to see, with the tokenizer."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in (("context_length", 8), ("embedding_length", WIDTH), ("block_count", 1),
                       ("feed_forward_length", WIDTH), ("head_count", 1), ("vocab_size", len(TOKENS))):
        getattr(writer, "add_" + key)(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * len(TOKENS))
    writer.add_token_merges(MERGES)
    vectors, square = ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"], (WIDTH, WIDTH)
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output": (len(TOKENS), WIDTH), **{v: (WIDTH,) for v in vectors},
              **{"blk.0." + n: square for n in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up",
                                                "ffn_down")}}
    for tensor, shape in shapes.items():
        writer.add_tensor(tensor + ".weight", numpy.zeros(shape, "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class SplittingsTest(unittest.TestCase):
    def compare(self, path, name, samples):
        write(path, name)
        try:
            model = llama_cpp.LlamaModel(path, llama_cpp.LlamaModelParams())
        except ValueError as error:
            if "could not load" not in str(error):
                raise
            print("skipped: this llama.cpp does not know " + name)
            return
        theirs, ours = model.get_vocab(), tinylm.Tokenizer.open(path)
        for text in samples:
            text = adapted(text, name)
            expected = list(theirs.tokenize(text, add_special=False, parse_special=False))
            self.assertEqual(ours.encode(text), expected, "%s: %r" % (name, text[:80]))

    def test_ids(self):
        llama_cpp.disable_logging()
        samples = texts()
        with tempfile.TemporaryDirectory() as folder:
            for first, *others in names():
                for name in [first, *others]:
                    with self.subTest(name):
                        self.compare(os.path.join(folder, "vocabulary.gguf"), name,
                                     samples if name == first else samples[::10])


if __name__ == "__main__":
    unittest.main()
