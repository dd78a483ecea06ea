"""Compares tokenizers of all file formats except tokenizer.json with the programs that the formats come from.

    TINYLM_LIBRARY=build/lib/libtinylm.so PYTHONPATH=examples/python python3 tests/python/test_tokenizer_formats.py

Each package that is missing is reported as skipped, by name; without all of them the test is skipped (77).
The GGUF vocabularies are those in the source package of llama-cpp-python (vendor/llama.cpp/models):
TINYLM_LLAMA_CPP_MODELS names that folder.
"""

import glob
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest

import peers

sentencepiece, mistral_common, transformers, gguf, cyllama = peers.find("sentencepiece", "mistral_common",
                                                                        "transformers", "gguf", "cyllama")
MODELS = os.environ.get("TINYLM_LLAMA_CPP_MODELS", "")
if not os.path.isdir(MODELS):
    print("skipped: TINYLM_LLAMA_CPP_MODELS does not name a folder of GGUF vocabularies")
    MODELS = ""
if sentencepiece is None and mistral_common is None and transformers is None and not MODELS:
    sys.exit(peers.SKIP)

import tinylm  # noqa: E402
import tokenizer_texts  # noqa: E402

TEXTS = tokenizer_texts.all_texts()


def first_difference(a, b):
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return f"at {at}: {a[max(0, at - 3):at + 5]} != {b[max(0, at - 3):at + 5]}"


LLAMA_CPP = """
import json, sys
import cyllama.llama.llama_cpp as llama
params = llama.LlamaModelParams()
params.n_gpu_layers = 0
model = llama.LlamaModel(sys.argv[1], params, verbose=False)
vocab = model.get_vocab()
for text in json.load(sys.stdin):
    print("ids", json.dumps(vocab.tokenize(text, False, False) if text else []), flush=True)
"""


def write_model(path, vocabulary, splitting):
    """Writes a model of one layer with the tokenizer of another file: llama.cpp's Python package loads no
    vocabulary alone."""
    def value(field):
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            if field.types[1] == gguf.GGUFValueType.STRING:
                return [bytes(field.parts[i]) for i in field.data]
            return [field.parts[i][0].item() for i in field.data]
        is_text = field.types[0] == gguf.GGUFValueType.STRING
        return bytes(field.parts[-1]).decode() if is_text else field.parts[-1][0].item()

    def tensor(name, *shape):
        writer.add_tensor(name, numpy.zeros(shape, numpy.float16 if len(shape) > 1 else numpy.float32))

    import numpy
    writer, width = gguf.GGUFWriter(path, "llama"), 32
    for add, number in ((writer.add_context_length, 64), (writer.add_embedding_length, width),
                        (writer.add_block_count, 1), (writer.add_feed_forward_length, width),
                        (writer.add_head_count, 1), (writer.add_layer_norm_rms_eps, 1e-5)):
        add(number)
    for key, field in gguf.GGUFReader(vocabulary).fields.items():
        if key.startswith("tokenizer.ggml.") and not (splitting and key == "tokenizer.ggml.pre"):
            writer.add_key_value(key, value(field), field.types[0], *field.types[1:2])
        if key == "tokenizer.ggml.tokens":
            tensor("token_embd.weight", len(field.data), width)
    if splitting:
        writer.add_tokenizer_pre(splitting)
    tensor("output_norm.weight", width)
    for name in ("attn_norm", "ffn_norm"):
        tensor(f"blk.0.{name}.weight", width)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        tensor(f"blk.0.{name}.weight", width, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Case(unittest.TestCase):
    def same(self, ours, theirs, what):
        if list(ours) != list(theirs):
            self.fail(f"{what}: {first_difference(list(ours), list(theirs))}")

    def survives(self, tokenizer):
        for text in tokenizer_texts.HOSTILE:
            ids = tokenizer.encode_ordinary(text)
            tokenizer.decode_bytes(ids)
            tokenizer.decode(ids)


@unittest.skipIf(sentencepiece is None, "sentencepiece is not installed")
class SentencePiece(Case):
    def compare(self, path, what):
        peer = sentencepiece.SentencePieceProcessor(model_file=path)
        tokenizer = tinylm.Tokenizer.open(path)
        self.assertEqual(tokenizer.vocab_size, peer.vocab_size())
        for i, text in enumerate(TEXTS):
            theirs = peer.encode(text, out_type=int)
            self.same(tokenizer.encode_ordinary(text), theirs, f"{what}, text {i} {text[:40]!r}")
            self.assertEqual(tokenizer.decode(theirs), peer.decode(theirs), f"{what}, text {i} {text[:40]!r}")
        for start in range(0, min(peer.vocab_size(), 2000), 7):
            ids = [(start * k) % peer.vocab_size() for k in range(1, 9)]
            self.assertEqual(tokenizer.decode(ids), peer.decode(ids), f"{what}, {ids}")
            self.assertEqual("".join(tokenizer.decode_iterable(ids)), peer.decode(ids), f"{what}, {ids}")
        self.survives(tokenizer)

    def train(self, texts, **options):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=model,
                                                 character_coverage=0.98, hard_vocab_limit=options["model_type"] == "bpe", minloglevel=2, num_threads=1,
                                                 **options)
        return model.getvalue()

    def test_trained(self):
        lines = [line for text in tokenizer_texts.real_texts(40000) + tokenizer_texts.script_texts(9, 60)
                 for line in text.replace("\0", "").split("\n")]
        symbols = ["<foo>", "<bar>", "foo", "\u2581the"]
        variants = [
            dict(), dict(byte_fallback=True), dict(byte_fallback=True, user_defined_symbols=symbols),
            dict(user_defined_symbols=symbols, control_symbols=["<ctl>", "[CLS]"]),
            dict(normalization_rule_name="identity", byte_fallback=True),
            dict(normalization_rule_name="nmt_nfkc_cf", user_defined_symbols=["Foo", "<foo>"]),
            dict(normalization_rule_name="nfkc", remove_extra_whitespaces=False),
            dict(normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
                 byte_fallback=True, user_defined_symbols=["  ", "\u2581\u2581\u2581", "<foo>"]),
            dict(add_dummy_prefix=False), dict(treat_whitespace_as_suffix=True),
            dict(treat_whitespace_as_suffix=True, remove_extra_whitespaces=False, byte_fallback=True),
            dict(split_digits=True, allow_whitespace_only_pieces=True, remove_extra_whitespaces=False),
            dict(split_by_whitespace=False, split_by_unicode_script=False),
            dict(pad_id=0, unk_id=3, bos_id=-1, eos_id=1, unk_surface=" ?? "),
        ]
        for kind in ("bpe", "unigram"):
            for options in variants:
                with self.subTest(kind=kind, **options), tempfile.TemporaryDirectory() as folder:
                    path = os.path.join(folder, "tokenizer.model")
                    size = 3000
                    with open(path, "wb") as file:
                        file.write(self.train(lines, model_type=kind, vocab_size=size, **options))
                    self.compare(path, f"{kind} {options}")

    def test_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tokenizer.model")
            for kind in ("word", "char"):
                with open(path, "wb") as file:
                    file.write(self.train(["some words"] * 10, model_type=kind, vocab_size=13))
                with self.assertRaisesRegex(tinylm.UnsupportedError, kind.upper()):
                    tinylm.Tokenizer.open(path)

    @unittest.skipIf(mistral_common is None, "mistral_common is not installed")
    def test_mistral(self):
        paths = glob.glob(os.path.join(os.path.dirname(mistral_common.__file__), "data", "*.model*"))
        self.assertTrue(paths)
        for path in paths:
            with self.subTest(path=os.path.basename(path)):
                self.compare(path, os.path.basename(path))


# Not those whose patterns llama.cpp approximates: \\s is not every white space there, for example.
SPLITTINGS = """llama-bpe qwen35 gpt-4o smollm deepseek-coder falcon default viking kimi-k2 youtu"""


@unittest.skipIf(not MODELS, "there are no GGUF vocabularies")
class Gguf(Case):
    def paths(self):
        return sorted(glob.glob(os.path.join(MODELS, "ggml-vocab-*.gguf")))

    def test_listed_ids(self):
        num_files = 0
        for path in self.paths():
            if not os.path.exists(path + ".inp"):
                continue
            num_files += 1
            tokenizer = tinylm.Tokenizer.open(path)
            with open(path + ".inp", encoding="utf-8", newline="") as file:
                texts = file.read().split("\n__ggml_vocab_test__\n")
            with open(path + ".out", encoding="utf-8") as file:
                rows = [[int(word) for word in line.split()] for line in file]
            for text, ids in zip(texts, rows):
                self.same(tokenizer.encode_ordinary(text), ids, f"{path}, {text!r}")
        self.assertGreater(num_files, 14)

    @unittest.skipIf(gguf is None or cyllama is None, "gguf or cyllama is not installed")
    def test_llama_cpp(self):
        """All ids that llama.cpp gives, with vocabularies of all kinds and splittings of all shapes."""
        texts = [text[:500] for text in tokenizer_texts.FIXED + TEXTS[len(tokenizer_texts.FIXED)::5]
                 if "\0" not in text]
        names = ["gpt-2", "llama-spm", "baichuan", "nomic-bert-moe",
                 *[f"gpt-2:{name}" for name in SPLITTINGS.split()]]
        for name in names:
            with self.subTest(name=name), tempfile.TemporaryDirectory() as folder:
                vocabulary, _, splitting = name.partition(":")
                path = os.path.join(folder, "model.gguf")
                write_model(path, os.path.join(MODELS, f"ggml-vocab-{vocabulary}.gguf"), splitting)
                run = subprocess.run([sys.executable, "-c", LLAMA_CPP, path], input=json.dumps(texts),
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                     timeout=60)
                rows = [json.loads(line[4:]) for line in run.stdout.split("\n") if line.startswith("ids ")]
                self.assertEqual(len(rows), len(texts), "llama.cpp fails")
                tokenizer = tinylm.Tokenizer.open(path)
                for text, theirs in zip(texts, rows):
                    self.same(tokenizer.encode_ordinary(text), theirs, f"{name}, {text[:40]!r}")


@unittest.skipIf(mistral_common is None, "mistral_common is not installed")
class Tekken(Case):
    def test_files(self):
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer
        paths = glob.glob(os.path.join(os.path.dirname(mistral_common.__file__), "data", "tekken*.json"))
        self.assertTrue(paths)
        for path in paths:
            with self.subTest(path=os.path.basename(path)):
                peer, tokenizer = Tekkenizer.from_file(path), tinylm.Tokenizer.open(path)
                self.assertEqual(tokenizer.vocab_size, peer.n_words)
                for i, text in enumerate(TEXTS):
                    theirs = peer.encode(text, bos=False, eos=False)
                    self.same(tokenizer.encode_ordinary(text), theirs, f"text {i} {text[:40]!r}")
                    self.assertEqual(tokenizer.decode(theirs), text)
                for start in range(0, 3000, 7):
                    ids = [(start * k) % peer.n_words for k in range(1, 9)]
                    self.assertEqual(tokenizer.decode(ids), peer.decode(ids, SpecialTokenPolicy.KEEP))
                self.survives(tokenizer)


@unittest.skipIf(transformers is None, "transformers is not installed")
class VocabTxt(Case):
    def words(self, lower):
        """A vocabulary of the texts: all characters, and parts of words."""
        words = {}
        for text in TEXTS:
            for word in text.split():
                word = word.lower() if lower else word
                for size in (1, 2, 3, 5, 8):
                    words[word[:size]] = None
                    words["##" + word[size:size + 3]] = None
        words.pop("##", None)
        return ["[PAD]", *[f"[unused{i}]" for i in range(9)], "[UNK]", "[CLS]", "[SEP]", "[MASK]",
                *[word for word in list(words)[::3] if word[0] != "["]]

    def test_bert(self):
        for lower in (True, False):
            with self.subTest(lower=lower), tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "vocab.txt")
                with open(path, "w", encoding="utf-8") as file:
                    file.write("".join(word + "\n" for word in self.words(lower) if word.isprintable()))
                peer = transformers.BertTokenizer(vocab=path, do_lower_case=lower)
                for place in (path, folder):
                    tokenizer = tinylm.Tokenizer.open(place)
                    for i, text in enumerate(TEXTS):
                        theirs = peer.encode(text, add_special_tokens=False)
                        self.same(tokenizer.encode(text), theirs, f"text {i} {text[:40]!r}")
                        self.assertEqual(tokenizer.decode(theirs), peer.decode(theirs))
                self.survives(tokenizer)


if __name__ == "__main__":
    unittest.main()
