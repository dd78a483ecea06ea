"""Tests of examples/python/tinylm: the library as a Python program sees it."""

import array
import ctypes
import gc
import math
import os
import pickle
import pydoc
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import unicodedata
import unittest
from random import Random

import peers

numpy, torch, tiktoken, tokenizers = peers.find("numpy", "torch", "tiktoken", "tokenizers")

import tinylm  # noqa: E402
from tinylm import _memory, _words, custom  # noqa: E402

TEXT = "the cat sat on the mat, the rat sat on the cat: caf\u00e9 \u4f60\u597d\n" * 20
END = "<|endoftext|>"
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def setUpModule():
    """Ctrl-C raises KeyboardInterrupt also where the tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class TokenizerTest(unittest.TestCase):
    def setUp(self):
        self.tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=[END])

    def test_patterns_by_name(self):
        self.assertGreater(len(tinylm.PATTERNS), 10)
        self.assertEqual(tinylm.PATTERNS["qwen3"], tinylm.PATTERNS["qwen2"])
        tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=300, pattern=tinylm.PATTERNS["llama3"])
        self.assertEqual(len(tokenizer.encode("1234")), 4)

    def test_training_goes_on_from_a_base(self):
        text = "low lower lowest newer newest " * 20
        base = tinylm.Tokenizer.train(text, vocab_size=260)
        longer = tinylm.Tokenizer.train(text, vocab_size=270, base=base)
        self.assertEqual(longer.encode(text), tinylm.Tokenizer.train(text, vocab_size=270).encode(text))
        short = tinylm.Tokenizer.train(text, vocab_size=270, max_token_length=2)
        self.assertEqual(max(len(short.token(id)) for id in range(short.vocab_size)), 2)

    def test_round_trip(self):
        for text in ["", "the cat", TEXT, "never seen: \U0001f600", "a\0b", END + "x" + END]:
            with self.subTest(text=text[:20]):
                ids = self.tokenizer.encode(text)
                self.assertEqual(self.tokenizer.decode(ids), text)
        self.assertEqual(self.tokenizer.decode_bytes(self.tokenizer.encode(b"\xff\0\xc3")),
                         b"\xff\0\xc3")

    def test_merges_make_it_shorter(self):
        self.assertLess(len(self.tokenizer.encode(TEXT)), len(TEXT.encode()) / 2)

    def test_tokens(self):
        self.assertLessEqual(self.tokenizer.vocab_size, 300)
        self.assertEqual(self.tokenizer.token(0), END.encode())
        self.assertEqual(self.tokenizer.token(1), b"\0")
        self.assertEqual(self.tokenizer.encode(END), [0])
        self.assertEqual(self.tokenizer.token_id(" cat"), self.tokenizer.encode(" cat")[0])

    def test_malformed_text_is_replaced(self):
        ids = self.tokenizer.encode(b"\xe4\xbda")
        self.assertEqual(self.tokenizer.decode(ids), b"\xe4\xbda".decode(errors="replace"))

    def test_save_and_load(self):
        with tempfile.TemporaryDirectory() as directory:
            paths = [os.path.join(directory, name) for name in ("vocab.json", "merges.txt")]
            self.tokenizer.save(*paths)
            again = tinylm.Tokenizer.from_files(*paths, special_tokens=[END])
        self.assertEqual(again.encode(TEXT + END), self.tokenizer.encode(TEXT + END))

    def test_nfc(self):
        """Random texts of what composes, beside Python's own; and of a tokenizer that uses it."""
        pieces = "e a\n\u0301\u0323\u0310\u0345\u00e9\u1100\u1161\u11a7\u11a8\uac00\u09c7\u09be" \
                 "\u212b\u0958\u0f73\u0344\u1f00\u0313\u304b\u3099\U00011131\U00011127\u65e5"
        rng = random.Random(1)
        with tempfile.TemporaryDirectory() as directory:
            paths = [os.path.join(directory, name) for name in ("vocab.json", "merges.txt")]
            self.tokenizer.save(*paths)
            tokenizer = tinylm.Tokenizer.from_files(*paths, special_tokens=[END], nfc=True)
        for size in [3, 10, 40] * 300:
            text = "".join(rng.choices(pieces, k=size))
            composed = unicodedata.normalize("NFC", text)
            self.assertEqual(tinylm.nfc(text), composed.encode())
            ids = self.tokenizer.encode(composed)
            self.assertEqual(tokenizer.encode(text), ids)
            self.assertEqual(tokenizer.encode(text, allowed_special=()), ids)
            self.assertEqual(list(tokenizer.encode_iterable(text)), ids)
            self.assertEqual(tokenizer.encode(text + END + "\u0301"),
                             ids + self.tokenizer.encode(END + "\u0301"))

    def test_train_on_files(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(TEXT.encode())
            file.flush()
            from_file = tinylm.Tokenizer.train(files=[file.name], vocab_size=300,
                                               special_tokens=[END])
        self.assertEqual(from_file.encode(TEXT), self.tokenizer.encode(TEXT))

    def test_errors(self):
        with self.assertRaisesRegex(tinylm.Error, "1000000") as caught:
            self.tokenizer.decode([1000000])
        self.assertEqual(caught.exception.status, "TLM_ERR_RANGE")
        with self.assertRaises(ValueError):
            self.tokenizer.decode([-1])
        with self.assertRaises(tinylm.Error) as caught:
            self.tokenizer.token_id("no such token")
        self.assertEqual(caught.exception.status, "TLM_ERR_NOT_FOUND")
        with self.assertRaises(tinylm.Error) as caught:
            tinylm.Tokenizer.train(TEXT, vocab_size=10)
        self.assertEqual(caught.exception.status, "TLM_ERR_INVALID_ARGUMENT")
        with self.assertRaisesRegex(tinylm.Error, "no-such-file") as caught:
            tinylm.Tokenizer.from_files("no-such-file", "no-such-file")
        self.assertEqual(caught.exception.status, "TLM_ERR_NOT_FOUND")


    def test_made_from_vocab_and_merges(self):
        again = tinylm.Tokenizer(self.tokenizer.vocab, self.tokenizer.merges, [END, "<new>"])
        self.assertEqual(again.encode(TEXT + END), self.tokenizer.encode(TEXT + END))
        self.assertEqual(again.encode("<new>"), [self.tokenizer.vocab_size])
        self.assertEqual(again.special_tokens, {END.encode(): 0, b"<new>": self.tokenizer.vocab_size})
        holes = {token_id + 5: token for token_id, token in self.tokenizer.vocab.items()}
        self.assertEqual(tinylm.Tokenizer(holes, self.tokenizer.merges, [END]).encode("cat" + END),
                         [token_id + 5 for token_id in self.tokenizer.encode("cat" + END)])
        for vocab, merges in [({}, []), ({-1: b"a"}, []), (self.tokenizer.vocab, [(b"a",)])]:
            with self.assertRaises(ValueError):
                tinylm.Tokenizer(vocab, merges)

    def test_train_bpe(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(TEXT.encode())
            file.flush()
            vocab, merges = tinylm.train_bpe(file.name, 300, [END])
        self.assertEqual((vocab, merges), (self.tokenizer.vocab, self.tokenizer.merges))
        with self.assertRaises(FileNotFoundError):
            tinylm.train_bpe("no-such-file", 300, [END])

    def test_trainer(self):
        seen = []
        trainer = tinylm.BpeTrainer(300, [END], progress=lambda *what: seen.append(what))
        trainer.add_iterable([TEXT[:33].encode()[:-1], TEXT[:33].encode()[-1:], TEXT[33:]])
        self.assertEqual(trainer.stats[0], len(TEXT.encode()))
        self.assertEqual(trainer.dropped, (0, 0))
        self.assertEqual(trainer.train().merges, self.tokenizer.merges)
        trainer.add_text(TEXT)
        self.assertEqual({phase for phase, _, _ in seen}, {"counting", "learning"})
        seen.clear()
        with self.assertRaises(tinylm.CancelledError):
            tinylm.BpeTrainer(300, progress=lambda *_: True).add_text(TEXT)
        with self.assertRaises(ZeroDivisionError):
            tinylm.BpeTrainer(300, progress=lambda *_: 1 / 0).add_text(TEXT)
        self.assertEqual(tinylm.Tokenizer.train(TEXT, 300, byte_order="gpt2").token(0), b"!")


class EncodeTest(unittest.TestCase):
    """Encoding with options, batches, streams and reports."""

    def setUp(self):
        self.tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=[END, "<pad>"])

    def test_sets_of_special_tokens(self):
        text = "cat" + END
        with self.assertRaisesRegex(tinylm.Error, "'<.endoftext.>' at byte 3") as caught:
            self.tokenizer.encode(text, allowed_special=set())
        self.assertEqual(caught.exception.status, "TLM_ERR_SPECIAL_TOKEN")
        self.assertEqual(self.tokenizer.encode(text, allowed_special={END})[-1], 0)
        ordinary = self.tokenizer.encode_ordinary(text)
        self.assertNotIn(0, ordinary)
        self.assertEqual(self.tokenizer.decode(ordinary), text)
        with self.assertRaises(ValueError):
            self.tokenizer.encode(text, allowed_special=END)

    def test_dropout(self):
        self.assertEqual(len(self.tokenizer.encode(TEXT, dropout=1.0)), len(TEXT.encode()))
        ids = self.tokenizer.encode(TEXT, dropout=0.2, seed=1)
        self.assertEqual(self.tokenizer.decode(ids), TEXT)
        self.assertGreater(len(ids), len(self.tokenizer.encode(TEXT)))
        self.assertEqual(ids, self.tokenizer.encode(TEXT, dropout=0.2, seed=1))
        self.assertNotEqual(ids, self.tokenizer.encode(TEXT, dropout=0.2, seed=2))
        with self.assertRaisesRegex(tinylm.Error, r"not in \[0, 1\]"):
            self.tokenizer.encode(TEXT, dropout=math.nan)

    def test_places_in_the_text(self):
        text = "the cat: caf\u00e9 \u4f60\u597d \U0001f600"
        ids = self.tokenizer.encode(text)
        offsets = self.tokenizer.offsets(ids)
        for token_id, start, end in zip(ids, offsets, offsets[1:]):
            self.assertEqual(self.tokenizer.token(token_id), text.encode()[start:end])
        self.assertEqual(offsets[-1], len(text.encode()))
        for token_id, (start, end) in zip(ids, self.tokenizer.character_spans(ids)):
            self.assertIn(self.tokenizer.token(token_id), text[start:end].encode())
        self.assertEqual(self.tokenizer.offsets([]), [0])

    def test_batches(self):
        texts = ["the cat", "", TEXT, "caf\u00e9", b"\xff"]
        rows = self.tokenizer.encode_batch(texts)
        self.assertEqual(rows, [self.tokenizer.encode(text) for text in texts])
        self.assertEqual(self.tokenizer.decode_batch(rows), texts[:4] + ["\ufffd"])
        self.assertEqual(self.tokenizer.encode_batch([]), [])
        self.assertEqual(self.tokenizer.decode_batch([]), [])
        with self.assertRaisesRegex(tinylm.Error, "text 1 holds"):
            self.tokenizer.encode_batch(["", END], allowed_special=())

    def test_rows_of_one_length(self):
        texts = ["the cat sat", "mat", ""]
        alone = self.tokenizer.encode_batch(texts)
        ids, mask, lengths = self.tokenizer.encode_padded(texts, pad_id=1)
        longest = len(alone[0])
        self.assertEqual(ids, [row + [1] * (longest - len(row)) for row in alone])
        self.assertEqual(mask, [[1] * len(row) + [0] * (longest - len(row)) for row in alone])
        self.assertEqual(lengths, [len(row) for row in alone])
        ids, mask, lengths = self.tokenizer.encode_padded(
            texts, max_length=2, pad_length=4, pad_side="left", cut_side="left")
        self.assertEqual(ids[0], [0, 0] + alone[0][-2:])
        self.assertEqual(mask[2], [0, 0, 0, 0])
        with self.assertRaisesRegex(tinylm.Error, "pad_length 1"):
            self.tokenizer.encode_padded(texts, pad_length=1)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_rows_as_arrays(self):
        ids, mask, _ = self.tokenizer.encode_padded(["the cat", "on"], as_numpy=True)
        self.assertEqual((ids.dtype, mask.dtype), (numpy.uint32, numpy.uint8))
        self.assertEqual(ids.shape, mask.shape)
        self.assertEqual(ids.tolist(), self.tokenizer.encode_padded(["the cat", "on"])[0])
        self.assertEqual(self.tokenizer.encode_padded([], as_numpy=True)[0].shape, (0, 0))

    def test_count(self):
        self.assertEqual(self.tokenizer.count(TEXT + END), len(self.tokenizer.encode(TEXT + END)))
        self.tokenizer.trim()
        self.assertEqual(self.tokenizer.count(TEXT + END), len(self.tokenizer.encode(TEXT + END)))

    def test_encode_array(self):
        for text in ("", "the cat", TEXT + END, b"\xff" * 5000, "\u00e9" * 4000, bytearray(b"the")):
            ids = self.tokenizer.encode_array(text)
            self.assertEqual((ids.typecode, ids.itemsize), ("I", 4))
            self.assertEqual(ids.tolist(), self.tokenizer.encode_batch([text])[0])
            self.assertEqual(self.tokenizer.encode(text), ids.tolist())
        self.assertEqual(self.tokenizer.encode_array("a" + END, allowed_special=(), disallowed_special=()).tolist(),
                         self.tokenizer.encode_ordinary("a" + END))
        with self.assertRaises(TypeError):
            self.tokenizer.encode_array(7)

    def test_decoding_as_ids_come(self):
        ids = [i for b in TEXT[:60].encode() + b"\xf0" for i in self.tokenizer.encode(bytes([b]))]
        pieces = list(self.tokenizer.decode_iterable(ids))
        self.assertEqual("".join(pieces), TEXT[:60] + "\ufffd")
        self.assertIn("\u4f60", pieces)

    def test_longest_tokens(self):
        ids = self.tokenizer.longest_tokens(1000)
        self.assertEqual(len(ids), self.tokenizer.vocab_size - 2)
        self.assertEqual(ids, sorted(ids, key=lambda i: (-len(self.tokenizer.token(i)), i)))
        self.assertEqual(self.tokenizer.longest_tokens(3), ids[:3])

    def test_streams(self):
        text = (TEXT + END).encode()
        expected = self.tokenizer.encode(text)
        for size in (1, 7, 100, 100000):
            chunks = (text[i:i + size] for i in range(0, len(text), size))
            self.assertEqual(list(self.tokenizer.encode_iterable(chunks)), expected)
        self.assertEqual(list(self.tokenizer.encode_iterable([])), [])
        first = next(self.tokenizer.encode_iterable([TEXT * 100]))  # the rest is dropped
        self.assertEqual(first, expected[0])

        def broken():
            yield TEXT
            raise KeyError

        with self.assertRaises(KeyError):
            list(self.tokenizer.encode_iterable(broken()))

    @unittest.skipIf("asan" in os.environ.get("LD_PRELOAD", ""), "the sanitizers take memory")
    def test_a_stream_takes_a_megabyte_at_most(self):
        """5 MB of text, line by line and in pieces, in a process that may have 1 MB more."""
        program = """
import os, resource, sys, tinylm
tokenizer = tinylm.Tokenizer.from_files(sys.argv[1], sys.argv[2], special_tokens=[sys.argv[3]])

def ids_of(chunks):
    total = count = 0
    for token_id in tokenizer.encode_iterable(chunks):
        total = (total * 1000003 + token_id) % (1 << 61)
        count += 1
    return count, total

def pieces(file, size):
    while chunk := file.read(size):
        yield chunk

with open(sys.argv[4], "rb") as file:
    with open("/proc/self/statm") as statm:
        space = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (space + 1000000, -1))
    lines = ids_of(file)
    file.seek(0)
    print(*lines, *ids_of(pieces(file, 1009)))
"""
        text = TEXT * (5 * 10**6 // len(TEXT.encode()) // 2)
        text = (text + END).encode() * 2
        with tempfile.TemporaryDirectory() as directory:
            paths = [os.path.join(directory, name) for name in ("vocab.json", "merges.txt", "text")]
            self.tokenizer.save(*paths[:2])
            with open(paths[2], "wb") as file:
                file.write(text)
            run = subprocess.run([sys.executable, "-c", program, *paths[:2], END, paths[2]],
                                 capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        expected, total = self.tokenizer.encode(text), 0
        for token_id in expected:
            total = (total * 1000003 + token_id) % (1 << 61)
        self.assertEqual(run.stdout.split(), [str(len(expected)), str(total)] * 2)


class ChatTest(unittest.TestCase):
    MESSAGES = [{"role": "user", "content": "the <|im_end|>"}, {"role": "assistant", "content": "cat"}]

    def setUp(self):
        self.tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=280, special_tokens=["<|im_start|>", "<|im_end|>"])
        self.chat = tinylm.ChatTemplate("chatml")

    def test_render(self):
        self.assertIn("chatml", tinylm.CHAT_TEMPLATES)
        self.assertEqual(self.chat.render(self.MESSAGES[1:], add_generation_prompt=True),
                         "<|im_start|>assistant\ncat<|im_end|>\n<|im_start|>assistant\n")
        qwen = tinylm.ChatTemplate("qwen3")
        self.assertTrue(qwen.render([], True, enable_thinking=False).endswith("<think>\n\n</think>\n\n"))
        dated = tinylm.ChatTemplate.parse("{{ strftime_now('%Y') }}{{ bos_token }}", "<s>")
        self.assertEqual(dated.render([], now=86400 * 200), "1970<s>")
        self.assertTrue(self.chat.source.startswith("{% for message in messages %}"))

    def test_encode(self):
        ids, mask = self.chat.encode(self.tokenizer, self.MESSAGES)
        self.assertEqual(self.tokenizer.decode(ids), self.chat.render(self.MESSAGES))
        self.assertEqual([ids.count(0), ids.count(1)], [2, 2])  # not the one in the message
        answer = [token for token, answers in zip(ids, mask) if answers]
        self.assertEqual(self.tokenizer.decode(answer), "cat<|im_end|>")
        self.assertEqual(self.chat.end_token(self.tokenizer), 1)

    def test_errors(self):
        with self.assertRaisesRegex(ValueError, r"message 1 \(user\): Conversation roles"):
            tinylm.ChatTemplate("gemma").render([{"role": "user", "content": ""}] * 2)
        with self.assertRaisesRegex(NotImplementedError, "include"):
            tinylm.ChatTemplate.parse("{% include 'x' %}")
        with self.assertRaises(FileNotFoundError):
            tinylm.ChatTemplate.open("no-such-file")
        with self.assertRaisesRegex(ValueError, "there are chatml"):
            tinylm.ChatTemplate("no-such-name")

    def test_saved_with_a_model(self):
        model = tinylm.Model.create(vocab_size=280, context_length=16, d_model=16, num_layers=1, num_heads=2)
        with tempfile.TemporaryDirectory() as directory:
            for save, name in [(model.save_hf, "folder"), (model.save_gguf, "model.gguf")]:
                path = os.path.join(directory, name)
                save(path, self.tokenizer, chat_template=self.chat)
                self.assertEqual(tinylm.ChatTemplate.open(path).source, self.chat.source)


@unittest.skipIf(tiktoken is None, "tiktoken is not installed")
class TiktokenTest(unittest.TestCase):
    """The same ids and the same refusals as tiktoken, from the same vocabulary."""

    def test_sets_of_special_tokens(self):
        specials = [END, "<a>", "<b>"]
        ours = tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=specials)
        ranks = {ours.token(i): i for i in range(3, ours.vocab_size)}
        theirs = tiktoken.Encoding("test", pat_str=PATTERN, mergeable_ranks=ranks,
                                   special_tokens={token: i for i, token in enumerate(specials)})
        random = Random(1)
        pieces = specials + ["the", " cat", " ", "caf\u00e9", "\n", "<a", "b>", "<|end", "<nothing>"]
        refusals = 0
        for _ in range(2000):
            text = "".join(random.choices(pieces, k=random.randrange(12)))
            options = {name: random.choice(["all", set(), set(random.sample(
                specials + ["<nothing>", "the"], random.randrange(4)))])
                for name in ("allowed_special", "disallowed_special")}
            try:
                expected = theirs.encode(text, **options)
            except ValueError:
                expected = None
            try:
                result = ours.encode(text, **options)
            except tinylm.Error as error:
                self.assertEqual(error.status, "TLM_ERR_SPECIAL_TOKEN")
                result = None
            self.assertEqual(result, expected, (text, options))
            refusals += expected is None
            self.assertEqual(ours.encode_ordinary(text), theirs.encode_ordinary(text))
        self.assertTrue(200 < refusals < 1800, refusals)

    def test_starts_in_characters(self):
        ours = tinylm.Tokenizer.train(TEXT, vocab_size=300)
        ranks = {ours.token(i): i for i in range(ours.vocab_size)}
        theirs = tiktoken.Encoding("test", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
        ids = ours.encode(TEXT + "\U0001f600 \u0928\u092e\u0938\u094d\u0924\u0947")
        self.assertEqual([start for start, _ in ours.character_spans(ids)],
                         theirs.decode_with_offsets(ids)[1])


@unittest.skipIf(tokenizers is None, "tokenizers is not installed")
class TokenizersTest(unittest.TestCase):
    """The same places in the text as Hugging Face's tokenizers."""

    def test_spans(self):
        ours = tinylm.Tokenizer.train(TEXT, vocab_size=300)
        with tempfile.TemporaryDirectory() as directory:
            paths = [os.path.join(directory, name) for name in ("vocab.json", "merges.txt")]
            ours.save(*paths)
            theirs = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*paths))
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        text = TEXT + "never seen: \U0001f600 \u0928\u092e\u0938\u094d\u0924\u0947\n\n\n"
        encoding = theirs.encode(text)
        ids = ours.encode(text)
        self.assertEqual(ids, encoding.ids)
        self.assertEqual(ours.character_spans(ids), encoding.offsets)


class TensorTest(unittest.TestCase):
    def test_lists(self):
        for values in [2.5, [1.0, 2.0], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [], [[], []],
                       [[[1.0], [2.0]], [[3.0], [4.0]]]]:
            with self.subTest(values=values):
                self.assertEqual(tinylm.Tensor(values).tolist(), values)
        self.assertEqual(tinylm.Tensor([[1, 2], [3, 4]], tinylm.INT64).tolist(), [[1, 2], [3, 4]])
        self.assertEqual(tinylm.Tensor([[1.0], [2.0]]).shape, (2, 1))
        with self.assertRaises(ValueError):
            tinylm.Tensor([[1.0], [2.0, 3.0]])

    def test_operations(self):
        a = tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]])
        b = tinylm.Tensor([[0.0, 1.0], [1.0, 0.0]])
        self.assertEqual((a @ b).tolist(), [[2.0, 1.0], [4.0, 3.0]])
        self.assertEqual((a + b).tolist(), [[1.0, 3.0], [4.0, 4.0]])
        self.assertEqual((a * b).sum().tolist(), 5.0)
        self.assertEqual((b - a).relu().tolist(), [[0.0, 0.0], [0.0, 0.0]])
        self.assertEqual((b / a).tolist()[0], [0.0, 0.5])
        self.assertEqual(a.sqrt().transpose(0, 1).reshape(-1).tolist()[3], 2.0)
        for name in ("exp", "log", "tanh"):
            self.assertAlmostEqual(getattr(a, name)().tolist()[0][1], getattr(math, name)(2.0), 6)
        with self.assertRaises(tinylm.Error) as caught:
            a @ tinylm.Tensor([[1.0, 2.0, 3.0]])
        self.assertEqual(caught.exception.status, "TLM_ERR_SHAPE")

    def test_gradient(self):
        x = tinylm.Tensor([1.0, -2.0, 4.0, 0.0], requires_grad=True)
        self.assertIsNone(x.grad)
        (x * x).mean().backward()
        self.assertEqual(x.grad.tolist(), [0.5, -1.0, 2.0, 0.0])

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_numpy(self):
        array = numpy.arange(24, dtype=numpy.float64).reshape(2, 3, 4)
        for values in [array, array.transpose(2, 0, 1), array[:, ::2], numpy.zeros((0, 3))]:
            numpy.testing.assert_array_equal(tinylm.Tensor(values).numpy(), values)
        self.assertEqual(tinylm.Tensor(array).numpy().dtype, numpy.float32)
        ids = numpy.array([[1, 2], [3, 4]])
        self.assertEqual(tinylm.Tensor(ids, tinylm.UINT32).tolist(), ids.tolist())


    def test_more_operations(self):
        a = tinylm.Tensor([[1.0, 5.0, 3.0], [6.0, 2.0, 4.0]])
        self.assertEqual((2 * a - 1).tolist(), [[1.0, 9.0, 5.0], [11.0, 3.0, 7.0]])
        self.assertEqual((1 - a).tolist(), (-(a - 1)).tolist())
        self.assertEqual((1 / a).tolist(), (tinylm.Tensor(1.0) / a).tolist())
        self.assertEqual((1 + a).tolist(), (a + 1.0).tolist())
        self.assertEqual(a.sum(0).tolist(), [7.0, 7.0, 7.0])
        self.assertEqual(a.mean(1, keep_dim=True).tolist(), [[3.0], [4.0]])
        values, places = a.max(1)
        self.assertEqual((values.tolist(), places.tolist()), ([5.0, 6.0], [1, 0]))
        self.assertEqual(a.slice(1, 1, 3).contiguous().tolist(), [[5.0, 3.0], [2.0, 4.0]])
        self.assertEqual(a.slice(1, 1, 3).strides, (3, 1))
        self.assertEqual(tinylm.concat([a, a], 1).shape, (2, 6))
        where = tinylm.where(tinylm.Tensor([[True, False, True]], tinylm.BOOL), a, tinylm.Tensor(0.0))
        self.assertEqual(where.tolist(), [[1.0, 0.0, 3.0], [6.0, 0.0, 4.0]])
        self.assertEqual(a.sum().item(), 21.0)
        with self.assertRaises(ValueError):
            a.item()
        a.copy_([[0.0] * 3] * 2)
        self.assertEqual(a.sum().item(), 0.0)
        with self.assertRaises(ValueError):
            a.copy_([0.0] * 6)
        tinylm.init_truncated_normal(a, 0.1, seed=3)
        self.assertTrue(0 < max(max(abs(x) for x in row) for row in a.tolist()) <= 0.3 + 1e-6)

    def test_recording(self):
        a = tinylm.Tensor([1.0, 2.0], requires_grad=True)
        with tinylm.no_grad():
            self.assertFalse((a * a).requires_grad)
        b = a * a
        self.assertTrue(b.requires_grad)
        self.assertFalse(b.detach().requires_grad)
        b.sum().backward()
        self.assertEqual(a.grad.tolist(), [2.0, 4.0])
        a.zero_grad()
        self.assertIsNone(a.grad)
        a.requires_grad = False
        self.assertFalse(a.requires_grad)

    def test_layers(self):
        """Names and arguments; test_torch_ops.py has the values."""
        x, w = tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]]), tinylm.Tensor([[1.0, 0.0], [0.0, 2.0]])
        self.assertEqual(tinylm.linear(x, w).tolist(), [[1.0, 4.0], [3.0, 8.0]])
        self.assertEqual(tinylm.embedding(x, tinylm.Tensor([1, 0], tinylm.INT32)).tolist(), x.tolist()[::-1])
        self.assertEqual(tinylm.rms_norm(x, tinylm.Tensor([1.0, 1.0])).shape, (2, 2))
        self.assertEqual(tinylm.silu_mul(x, x).tolist(), (x.silu() * x).tolist())
        self.assertEqual(tinylm.swiglu(x, w, w, w).shape, (2, 2))
        self.assertEqual(tinylm.rope(x).tolist()[0], [1.0, 2.0])
        moved = tinylm.rope(x, tinylm.Tensor([0, 0], tinylm.INT64), theta=100.0)
        self.assertEqual(moved.tolist(), x.tolist())
        self.assertAlmostEqual(sum(tinylm.softmax(x).tolist()[1]), 1.0, places=6)
        self.assertEqual(tinylm.attention(x, x, x, causal=True).tolist()[0], [1.0, 2.0])
        mask = tinylm.Tensor([[False, True], [True, False]], tinylm.BOOL)
        self.assertEqual(tinylm.attention(x, x, x, mask).tolist(), x.tolist()[::-1])
        self.assertEqual(tinylm.multi_head_attention(x, w, w, w, w, 1, rope_theta=100.0).shape, (2, 2))
        loss = tinylm.cross_entropy(x, tinylm.Tensor([1, 0], tinylm.INT64)).item()
        self.assertAlmostEqual(loss, (math.log(1 + math.e) + math.log(1 + 1 / math.e)) / 2, places=6)


class BufferTest(unittest.TestCase):
    """Memory shared through Python's buffers."""

    def test_from_buffer(self):
        numbers = array.array("f", [1.0, 2.0, 3.0, 4.0])
        tensor = tinylm.Tensor.from_buffer(memoryview(numbers).cast("B").cast("f", [2, 2]))
        numbers[3] = 5.0
        self.assertEqual(tensor.tolist(), [[1.0, 2.0], [3.0, 5.0]])
        with self.assertRaises(BufferError):  # it is in use
            numbers.append(1.0)
        view = tensor.transpose(0, 1)
        del tensor
        gc.collect()
        self.assertEqual(view.tolist(), [[1.0, 3.0], [2.0, 5.0]])
        del view
        gc.collect()
        numbers.append(1.0)
        self.assertEqual(_memory._buffers, {})
        for code, dtype in [("i", tinylm.INT32), ("q", tinylm.INT64), ("I", tinylm.UINT32)]:
            tensor = tinylm.Tensor.from_buffer(array.array(code, [1, 2]))
            self.assertEqual((tensor.dtype, tensor.tolist()), (dtype, [1, 2]))
        self.assertEqual(tinylm.Tensor.from_buffer(array.array("f")).shape, (0,))

    def test_refusals(self):
        for buffer in (array.array("d", [1.0]), bytearray(4), "text"):
            with self.assertRaises(TypeError):
                tinylm.Tensor.from_buffer(buffer)
        for buffer in (memoryview(array.array("f", [1.0] * 4))[::2],
                       memoryview(array.array("f", [1.0])).toreadonly()):
            with self.assertRaises(BufferError):
                tinylm.Tensor.from_buffer(buffer)
        self.assertEqual(_memory._buffers, {})

    def test_memoryview(self):
        tensor = tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]])
        view = tensor.memoryview()
        self.assertEqual((view.tolist(), view.format), ([[1.0, 2.0], [3.0, 4.0]], "f"))
        view[1, 1] = 9.0
        self.assertEqual(tensor.tolist()[1][1], 9.0)
        with self.assertRaises(BufferError):
            tensor.transpose(0, 1).memoryview()
        del tensor
        gc.collect()
        self.assertEqual(view[0, 1], 2.0)
        self.assertEqual(tinylm.Tensor([]).memoryview().tolist(), [])
        self.assertEqual(tinylm.Tensor([1, 2], tinylm.INT64).memoryview().tolist(), [1, 2])

    def test_16_bits(self):
        values = [1.0, -2.5, 0.15625, float("inf")]
        for dtype in (tinylm.BFLOAT16, tinylm.FLOAT16):
            tensor = tinylm.Tensor(values, dtype)
            self.assertEqual((tensor.tolist(), tensor.dtype), (values, dtype))
            with self.assertRaisesRegex(tinylm.InvalidArgumentError, "float16"):
                tensor + tensor
        self.assertEqual(tinylm.Tensor([1.00390625, 1.01171875], tinylm.BFLOAT16).tolist(), [1.0, 1.015625])

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_numpy(self):
        for dtype, name in _words._NUMPY_NAMES.items():
            tensor = tinylm.Tensor([[1, 0, 1], [0, 0, 1]], dtype)
            for shared in (tensor, tensor.transpose(0, 1)):
                got = numpy.asarray(shared)
                self.assertEqual((got.dtype.name, got.tolist()), (name, shared.tolist()))
            got[2, 0] = 0
            self.assertEqual(tensor.tolist()[0][2], 0)
        del tensor, shared
        gc.collect()
        self.assertEqual(got[2, 1], 1)
        values = numpy.arange(6, dtype="float32").reshape(2, 3)
        tensor = tinylm.Tensor.from_buffer(values)
        values[1, 2] = 7
        self.assertEqual(tensor.tolist(), values.tolist())


class CustomOpTest(unittest.TestCase):
    def square(self, x, backward=None, name="square"):
        result = tinylm.Tensor([v * v for v in x.tolist()])
        return tinylm.custom_op(result, [x], backward or (lambda dy: [(x * dy).scale(2.0)]), name)

    def test_gradient(self):
        x = tinylm.Tensor([1.0, -2.0, 4.0], requires_grad=True)
        y = self.square(x)
        self.assertEqual(y.tolist(), [1.0, 4.0, 16.0])
        (y * x).sum().backward()  # x^3
        self.assertEqual(x.grad.tolist(), [3.0, 12.0, 48.0])
        self.assertEqual(custom._backwards, {})

    def test_two_inputs(self):
        a = tinylm.Tensor([1.0, 2.0], requires_grad=True)
        b = tinylm.Tensor([3.0, 5.0])
        tinylm.custom_op(a - b, [a, b], lambda dy: [dy, None]).sum().backward()
        self.assertEqual(a.grad.tolist(), [1.0, 1.0])
        self.assertIsNone(b.grad)

    def test_graph_never_walked(self):
        x = tinylm.Tensor([1.0], requires_grad=True)
        y = self.square(x)
        self.assertEqual(len(custom._backwards), 1)
        del y
        self.assertEqual(custom._backwards, {})
        self.square(tinylm.Tensor([1.0]))  # nothing is recorded
        self.assertEqual(custom._backwards, {})

    def test_errors(self):
        x = tinylm.Tensor([1.0, 2.0], requires_grad=True)
        with self.assertRaises(ZeroDivisionError):
            self.square(x, lambda dy: 1 / 0).sum().backward()
        with self.assertRaisesRegex(ValueError, "2 gradients for 1 inputs"):
            self.square(x, lambda dy: [dy, dy]).sum().backward()
        with self.assertRaisesRegex(tinylm.Error, r"square: gradient \(\) for input 0 of shape \(2\)"):
            self.square(x, lambda dy: [dy.sum()]).sum().backward()
        with self.assertRaisesRegex(tinylm.Error, "result has type int32"):
            tinylm.custom_op(tinylm.Tensor([1], tinylm.INT32), [x], lambda gradient: [None])
        self.assertIsNone(x.grad)
        self.assertEqual(custom._backwards, {})

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_with_numpy(self):
        """The sines of numpy, in the middle of a graph."""
        x = tinylm.Tensor([0.5, 1.0, 2.0], requires_grad=True)
        angles = numpy.from_dlpack(x.detach())
        sines = tinylm.Tensor.from_dlpack(numpy.sin(angles))
        y = tinylm.custom_op(sines, [x], lambda dy: [
            tinylm.Tensor.from_dlpack(numpy.from_dlpack(dy) * numpy.cos(angles))], name="sin")
        (y * y).sum().backward()
        numpy.testing.assert_allclose(x.grad.numpy(), numpy.sin(2 * angles), rtol=1e-6)


class DLPackTest(unittest.TestCase):
    """One memory on both sides: what is written through one is read through the other."""

    def test_round_trip(self):
        tensor = tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]])
        again = tinylm.Tensor.from_dlpack(tensor)
        del tensor
        gc.collect()
        self.assertEqual(again.tolist(), [[1.0, 2.0], [3.0, 4.0]])
        self.assertEqual(again.__dlpack_device__(), (1, 0))
        capsule = again.__dlpack__()
        self.assertIn('"dltensor"', repr(capsule))
        del capsule  # unused: its destructor calls the deleter
        for arguments in [{"stream": 1}, {"dl_device": (2, 0)}]:
            with self.assertRaises(BufferError):
                again.__dlpack__(**arguments)

    def test_one_capsule_serves_once(self):
        class Once:
            def __init__(self, capsule):
                self.capsule = capsule

            def __dlpack__(self):
                return self.capsule

        once = Once(tinylm.Tensor([1.0]).__dlpack__())
        self.assertEqual(tinylm.Tensor.from_dlpack(once).tolist(), [1.0])
        with self.assertRaises(ValueError):
            tinylm.Tensor.from_dlpack(once)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_from_numpy(self):
        array = numpy.arange(24, dtype=numpy.float32).reshape(2, 3, 4)
        for values in [array, array.transpose(2, 0, 1), array[:, ::2], array[1:, 1:, 2:],
                       numpy.zeros((0, 3), dtype=numpy.float32), array[0, 0, 0:1].reshape(())]:
            with self.subTest(shape=values.shape, strides=values.strides):
                tensor = tinylm.Tensor.from_dlpack(values)
                numpy.testing.assert_array_equal(tensor.numpy(), values)
                values += 1
                numpy.testing.assert_array_equal(tensor.numpy(), values)
        for name in ("int32", "int64", "uint32"):
            ids = numpy.array([[1, 2], [3, 4]], dtype=name)
            self.assertEqual(_words._NUMPY_NAMES[tinylm.Tensor.from_dlpack(ids).dtype], name)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_from_numpy_refusals(self):
        array = numpy.arange(6, dtype=numpy.float32)
        with self.assertRaisesRegex(tinylm.Error, "stride -1 of dimension 0 is negative"):
            tinylm.Tensor.from_dlpack(array[::-1])
        with self.assertRaisesRegex(tinylm.Error, "type code 2 of 64 bits"):
            tinylm.Tensor.from_dlpack(array.astype(numpy.float64))
        array.flags.writeable = False
        with self.assertRaises(BufferError):  # numpy's own: DLPack could not say so
            tinylm.Tensor.from_dlpack(array)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_numpy_memory_lives_as_long_as_the_tensor(self):
        array = numpy.full(1000, 7.0, dtype=numpy.float32)
        before = sys.getrefcount(array)
        tensor = tinylm.Tensor.from_dlpack(array)
        self.assertEqual(sys.getrefcount(array), before + 1)
        product = tensor * tensor
        del tensor
        gc.collect()
        self.assertEqual(sys.getrefcount(array), before)
        self.assertEqual(product.sum().tolist(), 49000.0)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_to_numpy(self):
        for dtype in (tinylm.FLOAT32, tinylm.INT32, tinylm.INT64, tinylm.UINT32):
            tensor = tinylm.Tensor([[1, 2], [3, 4]], dtype)
            view = numpy.from_dlpack(tensor)
            self.assertEqual(view.dtype.name, _words._NUMPY_NAMES[dtype])
            mutable = tinylm.Tensor.from_dlpack(tensor)
            self.assertEqual(view.tolist(), tensor.tolist())
            del tensor
            gc.collect()
            self.assertEqual(view.tolist(), mutable.tolist())
        self.assertEqual(numpy.from_dlpack(tinylm.Tensor([[], []])).shape, (2, 0))

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_torch(self):
        for dtype, name in [(tinylm.FLOAT32, torch.float32), (tinylm.INT32, torch.int32),
                            (tinylm.INT64, torch.int64), (tinylm.BOOL, torch.bool)]:
            with self.subTest(dtype=name):
                tensor = tinylm.Tensor([[1, 0], [1, 1]], dtype)
                view = torch.from_dlpack(tensor)
                self.assertEqual(view.dtype, name)
                view[0, 1] = 1
                self.assertEqual(tensor.tolist(), [[1, 1], [1, 1]])
                copy = torch.from_dlpack(tensor, copy=True)
                copy[0, 0] = 0
                self.assertEqual(tensor.tolist(), [[1, 1], [1, 1]])
                del tensor
                gc.collect()
                self.assertEqual(view.tolist(), [[1, 1], [1, 1]])
        source = torch.arange(12, dtype=torch.float32).reshape(3, 4).t()[1:]
        tensor = tinylm.Tensor.from_dlpack(source)
        source[0, 0] = -1
        self.assertEqual(tensor.tolist(), source.tolist())
        self.assertEqual(tinylm.Tensor.from_dlpack(torch.tensor([True, False])).tolist(),
                         [True, False])
        with self.assertRaisesRegex(tinylm.Error, "type code 5 of 64 bits"):
            tinylm.Tensor.from_dlpack(torch.zeros(2, dtype=torch.complex64))

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_torch_writes_to_parameters(self):
        model = tinylm.Model.create(vocab_size=50, context_length=16, d_model=16, num_layers=1,
                                    num_heads=2)
        parameters = model.parameters()
        before = model.forward([1, 2]).tolist()
        torch.from_dlpack(parameters["lm_head.weight"].detach()).mul_(2.0)
        after = model.forward([1, 2]).tolist()
        self.assertEqual([x * 2 for x in before[0][1]], after[0][1])


class ModelTest(unittest.TestCase):
    def setUp(self):
        self.model = tinylm.Model.create(vocab_size=50, context_length=16, d_model=16, num_layers=2,
                                         num_heads=2, seed=1)

    def test_options(self):
        options = self.model.options
        self.assertEqual((options["vocab_size"], options["num_layers"]), (50, 2))
        self.assertEqual((options["d_ff"], options["rope_theta"]), (64, 10000.0))
        self.assertEqual((options["num_kv_heads"], options["norm"]), (2, "pre"))

    def test_switches(self):
        switches = {"num_kv_heads": 1, "norm_eps": 1e-6, "norm": "post", "position": "none",
                    "ffn": "silu", "tied_embeddings": True}
        model = tinylm.Model.create(vocab_size=50, context_length=16, d_model=16, num_layers=2,
                                    num_heads=2, **switches)
        self.assertEqual({**model.options, **switches}, model.options)
        names = model.parameters()
        self.assertEqual(names["layers.0.attn.k_proj.weight"].shape, (8, 16))
        self.assertEqual([n for n in names if "w3" in n or "lm_head" in n or "final" in n], [])
        again = tinylm.Model.create(**model.options)
        self.assertEqual(again.forward([1, 2]).tolist(), model.forward([1, 2]).tolist())
        with self.assertRaises(ValueError):
            tinylm.Model.create(vocab_size=50, context_length=16, d_model=16, num_layers=2,
                                num_heads=2, norm="past")

    def test_cost(self):
        cost = tinylm.model_cost(self.model.options, batch=2)
        self.assertEqual(cost["parameters"], self.model.num_elements)
        self.assertEqual(sum(cost["part_parameters"].values()), cost["parameters"])
        self.assertEqual(cost["weight_bytes"], 4 * cost["parameters"])
        self.assertLess(tinylm.model_cost(self.model.options, 2, optimizer="sgd")["optimizer_bytes"],
                        cost["optimizer_bytes"])
        self.assertGreater(cost["token_flops"], 0)
        with self.assertRaises(ValueError):
            tinylm.model_cost(self.model.options, counting="guessed")

    def test_forward_and_loss(self):
        logits = self.model.forward([[1, 2, 3], [4, 5, 6]])
        self.assertEqual(logits.shape, (2, 3, 50))
        expected = 0.0
        for rows, targets in zip(logits.tolist(), [[2, 3, 4], [5, 6, 7]]):
            for row, target in zip(rows, targets):
                expected += (math.log(sum(math.exp(x) for x in row)) - row[target]) / 6
        loss = self.model.loss([[1, 2, 3], [4, 5, 6]], [[2, 3, 4], [5, 6, 7]])
        self.assertAlmostEqual(loss.tolist(), expected, places=4)

    def test_gradients_reach_the_parameters(self):
        self.model.loss([1, 2, 3], [2, 3, 4]).backward()
        parameters = self.model.parameters()
        self.assertIn("layers.1.attn.q_proj.weight", parameters)
        self.assertEqual(parameters["lm_head.weight"].shape, (50, 16))
        self.assertEqual([n for n, p in parameters.items() if p.grad is None], [])
        self.model.zero_grad()
        self.assertEqual([n for n, p in parameters.items() if p.grad is not None], [])

    def test_training(self):
        parameters = list(self.model.parameters().values())
        optimizer = tinylm.AdamW(parameters, learning_rate=1e-2)
        losses = []
        for step in range(20):
            optimizer.zero_grad()
            loss = self.model.loss([1, 2, 3, 4], [2, 3, 4, 5])
            loss.backward()
            norm = tinylm.clip_grad_norm(parameters, 1.0)
            self.assertGreater(norm, 0.0)
            if step == 10:
                optimizer.set_learning_rate(1e-3)
            optimizer.step()
            losses.append(loss.tolist())
        self.assertLess(losses[-1], 0.5 * losses[0])

    def test_generate(self):
        seen = []
        ids = self.model.generate([1, 2, 3], max_tokens=20, temperature=0.9, seed=5,
                                  on_token=seen.append)
        self.assertEqual(len(ids), 20)
        self.assertEqual(seen, ids)
        again = self.model.generate([1, 2, 3], max_tokens=20, temperature=0.9, seed=5)
        self.assertEqual(again, ids)
        greedy = self.model.generate([7], max_tokens=1)[0]
        row = self.model.forward([7]).tolist()[0][0]
        self.assertEqual(greedy, row.index(max(row)))
        self.assertEqual(self.model.generate([7], max_tokens=5, end_token=greedy), [])

    def test_generate_many(self):
        prompts, how = [[1, 2, 3], [4], [5, 6]], {"max_tokens": 9, "temperature": 1.1, "min_p": 0.02,
                                                  "repetition_penalty": 1.1}
        many = self.model.generate_many(prompts, seed=3, **how)
        alone = [self.model.generate(p, seed=3 + i, **how) for i, p in enumerate(prompts)]
        self.assertEqual(many, alone)

    def test_generator(self):
        every = self.model.generate([1, 2], max_tokens=8, temperature=2.0)
        generator = tinylm.Generator(self.model)
        first = generator.add([1, 2], max_tokens=8, temperature=2.0, num_top_log_probs=3,
                              stop_sequences=[every[4:7], [49, 49, 49]])
        second = generator.add([9], max_tokens=3)
        self.assertEqual((first, second, generator.state(0)), (0, 1, "running"))
        while generator.step() > 0:
            pass
        self.assertEqual((generator.state(0), generator.state(1)), ("stop", "length"))
        self.assertEqual(generator.tokens(0), every[:4])
        scores = self.model.score([1, 2] + every[:4])[1:]
        for ours, theirs in zip(generator.log_probs(0), scores):
            self.assertAlmostEqual(ours, theirs, places=4)
        top = generator.top_log_probs(1, 0)
        self.assertEqual(top, [])
        top = generator.top_log_probs(0, 2)
        self.assertEqual([value for _, value in top], sorted([v for _, v in top], reverse=True))
        third = generator.add([3], max_tokens=3)
        generator.stop(third)
        self.assertEqual(generator.state(third), "stopped")
        with self.assertRaises(tinylm.Error):
            generator.tokens(3)

    def test_score(self):
        loss = self.model.loss([1, 2, 3], [2, 3, 4]).tolist()
        self.assertAlmostEqual(-sum(self.model.score([1, 2, 3, 4])) / 3, loss, places=4)
        self.assertAlmostEqual(self.model.perplexity([1, 2, 3, 4]), math.exp(loss), places=3)
        with self.assertRaises(tinylm.Error):
            self.model.score([1])

    def test_callback_stops_and_raises(self):
        stopped = self.model.generate([1], max_tokens=9, on_token=lambda token_id: True)
        self.assertLessEqual(len(stopped), 1)
        with self.assertRaises(KeyError):
            self.model.generate([1], max_tokens=9, on_token={}.__getitem__)

    def test_save_and_load(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "model.safetensors")
            self.model.save(path)
            again = tinylm.Model.load(path)
        self.assertEqual(again.forward([3, 1]).tolist(), self.model.forward([3, 1]).tolist())

    def test_tensors_outlive_the_model(self):
        head = self.model.parameters()["lm_head.weight"]
        values = head.tolist()
        del self.model
        gc.collect()
        self.assertEqual(head.tolist(), values)

    def test_errors(self):
        with self.assertRaisesRegex(tinylm.Error, "50") as caught:
            self.model.forward([50])
        self.assertEqual(caught.exception.status, "TLM_ERR_RANGE")
        with self.assertRaises(tinylm.Error):
            self.model.generate([], max_tokens=1)
        with self.assertRaises(ValueError):
            self.model.loss([1, 2], [1])
        with self.assertRaises(tinylm.Error):
            tinylm.Model.create(vocab_size=50, context_length=16, d_model=15, num_layers=1,
                                num_heads=2)


class OptimizerTest(unittest.TestCase):
    def setUp(self):
        self.model = tinylm.Model.create(vocab_size=11, context_length=8, d_model=8, num_layers=1, num_heads=2)

    def step(self, optimizer):
        optimizer.zero_grad()
        self.model.loss([[1, 2, 3]], [[2, 3, 4]]).backward()
        optimizer.step()

    def test_muon_divides_a_model(self):
        optimizer = tinylm.Muon(self.model, learning_rate=0.02, rest={"learning_rate": 0.01},
                                no_decay=["norms"])
        self.assertEqual((optimizer.kind, optimizer.num_groups), ("muon", 3))
        self.assertEqual([optimizer.learning_rate(group) for group in range(3)], [0.02, 0.01, 0.01])
        self.step(optimizer)
        self.assertEqual(optimizer.state_names(0), ["m"])
        vector = tinylm.Tensor([1.0], requires_grad=True)
        with self.assertRaisesRegex(tinylm.UnsupportedError, "shape \\(1\\)"):
            optimizer.add_muon_group([vector], momentum=0.5)
        with self.assertRaisesRegex(ValueError, "iterations 0"):
            tinylm.Muon([], iterations=0)
        with self.assertRaisesRegex(ValueError, "keller"):
            tinylm.Muon([], scale="keller")

    def test_groups_and_state(self):
        optimizer = tinylm.AdamW(self.model, learning_rate=0.1, no_decay=["norms", "embeddings"])
        self.assertEqual((optimizer.kind, optimizer.num_groups, optimizer.steps), ("adamw", 2, 0))
        optimizer.set_learning_rate(0.3)
        optimizer.set_learning_rate(0.2, group=1)
        self.assertEqual((optimizer.learning_rate(), optimizer.learning_rate(1)), (0.3, 0.2))
        self.step(optimizer)
        self.assertEqual(optimizer.steps, 1)
        m = optimizer.state(0, "m")
        self.assertNotEqual(m, [0.0] * len(m))
        optimizer.set_state(0, "m", [0.5] * len(m))
        self.assertEqual(optimizer.state(0, "m"), [0.5] * len(m))
        optimizer.steps = 7
        self.assertEqual(optimizer.steps, 7)
        with self.assertRaises(LookupError):
            optimizer.state(0, "w")
        with self.assertRaises(ValueError):
            tinylm.AdamW(self.model, no_decay=["all"])
        with self.assertRaises(tinylm.StateError):
            optimizer.add_group(self.model.parameters().values(), learning_rate=1.0)
        extra = tinylm.Tensor([1.0], requires_grad=True)
        optimizer.add_group([extra], learning_rate=1.0, weight_decay=0.0)
        self.assertEqual((optimizer.learning_rate(2), optimizer.weight_decay(2)), (1.0, 0.0))
        optimizer.set_weight_decay(0.25, group=2)
        self.assertEqual((optimizer.weight_decay(0), optimizer.weight_decay(2)), (0.01, 0.25))
        self.assertEqual(optimizer.state_names(0), ["m", "v"])
        with self.assertRaises(IndexError):
            optimizer.state_names(optimizer.num_parameters)

    def test_groups_of_another_kind(self):
        a, b = (tinylm.Tensor([1.0], requires_grad=True) for _ in range(2))
        optimizer = tinylm.SGD([a], learning_rate=0.5)
        optimizer.add_adamw_group([b], learning_rate=0.25, weight_decay=0.0, variant="pytorch")
        (a * b).sum().backward()
        optimizer.step()
        self.assertEqual(a.tolist(), [0.5])
        self.assertAlmostEqual(b.tolist()[0], 0.75, places=6)
        self.assertEqual((optimizer.state_names(0), optimizer.state_names(1)), ([], ["m", "v"]))
        with self.assertRaises(tinylm.UnsupportedError):
            optimizer.set_weight_decay(0.1)
        with self.assertRaises(ValueError):
            optimizer.add_adamw_group([], variant="cs336")

    def test_sgd(self):
        w = tinylm.Tensor([1.0, 2.0], requires_grad=True)
        optimizer = tinylm.SGD([w], learning_rate=0.5)
        (w * w).sum().backward()
        optimizer.step()
        self.assertEqual((optimizer.kind, w.tolist()), ("sgd", [0.0, 0.0]))

    def test_checkpoints(self):
        optimizer = tinylm.AdamW(self.model, learning_rate=0.1)
        self.step(optimizer)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint")
            self.model.save(path, optimizer, iteration=1)
            self.step(optimizer)
            expected = [p.tolist() for p in self.model.parameters().values()]
            self.assertEqual(self.model.load_checkpoint(path, optimizer), 1)
            self.assertEqual(optimizer.steps, 1)
            self.step(optimizer)
        self.assertEqual([p.tolist() for p in self.model.parameters().values()], expected)
        self.model.check_finite()
        self.model.set_checkpointing(True)
        self.step(optimizer)
        name, parameter = next(iter(self.model.parameters().items()))
        bad = parameter.tolist()
        bad[0][0] = math.nan
        self.model.set_parameter(name, bad)
        with self.assertRaisesRegex(tinylm.NonFiniteError, "token_embeddings"):
            self.model.check_finite()
        self.assertEqual(self.model.num_elements, sum(math.prod(p.shape) for p in
                                                      self.model.parameters().values()))

    def test_tokenizers_in_checkpoints(self):
        tokenizer = tinylm.Tokenizer.train("the cat sat on the mat", vocab_size=260, special_tokens=["<end>"])
        model = tinylm.Model.create(260, 8, 4, 1, 1, d_ff=4)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint")
            model.save(path, tokenizer=tokenizer)
            model.save_in(os.path.join(folder, "run"), iteration=3, tokenizer=tokenizer)
            for at in (path, os.path.join(folder, "run")):
                with_it = tinylm.Model.open(at)[1]
                self.assertEqual(with_it.encode("the mat<end>"), tokenizer.encode("the mat<end>"))
                self.assertIsInstance(tinylm.Model.open(at, tokenizer=False), tinylm.Model)
            self.assertEqual(tinylm.checkpoint_tokenizer(path).vocab_size, 260)
            model.save(path)
            self.assertIsNone(tinylm.checkpoint_tokenizer(path))

    def test_checkpoints_in_a_directory(self):
        with tempfile.TemporaryDirectory() as folder:
            directory = os.path.join(folder, "run")
            for iteration, loss in [(1, 3.0), (2, 1.0), (3, 2.0), (4, None)]:
                self.model.save_in(directory, iteration=iteration, keep_last=1, validation_loss=loss,
                                   metadata={"name": "\u00e9", "n": iteration})
            self.assertEqual(len(os.listdir(directory)), 2)
            latest, best = tinylm.latest_checkpoint(directory), tinylm.best_checkpoint(directory)
            self.assertEqual(tinylm.checkpoint_metadata(latest), ({"name": "\u00e9", "n": 4}, 4))
            self.assertEqual(tinylm.checkpoint_metadata(best), ({"name": "\u00e9", "n": 2}, 2))
            self.assertEqual(self.model.load_checkpoint(best), 2)
            self.model.save(best)
            self.assertEqual(tinylm.checkpoint_metadata(best), ({}, 0))
            with self.assertRaises(FileNotFoundError):
                tinylm.latest_checkpoint(os.path.join(folder, "none"))

    def test_memory_of_ones_own(self):
        theta, m, v, g = (tinylm.Tensor([value] * 3) for value in (1.0, 0.0, 0.0, 3.0))
        self.assertAlmostEqual(tinylm.clip_norm([g], 1.0), math.sqrt(27), places=5)
        tinylm.adamw_update([theta], [m], [v], [g], 1, learning_rate=0.1, weight_decay=0.0)
        for value in theta.tolist():
            self.assertAlmostEqual(value, 0.9, places=5)
        with self.assertRaises(ValueError):
            tinylm.adamw_update([theta], [m], [v], [], 1)

    def test_schedules(self):
        options = {"min_learning_rate": 0.1, "warmup_steps": 4, "total_steps": 10}
        for step in range(12):
            self.assertEqual(tinylm.schedule_learning_rate(step, "cosine", 1.0, **options),
                             tinylm.cosine_schedule(step, 1.0, 0.1, 4, 10))
        self.assertEqual(tinylm.schedule_learning_rate(9, "wsd", 1.0, decay_steps=2, **options), 0.55)
        self.assertEqual(tinylm.schedule_learning_rate(99, "constant", 1.0), 1.0)
        with self.assertRaises(ValueError):
            tinylm.schedule_learning_rate(1, "square", 1.0)


class DataTest(unittest.TestCase):
    def test_files(self):
        tokenizer = tinylm.Tokenizer.train(TEXT, 300)
        ids = tokenizer.encode(TEXT)
        with tempfile.TemporaryDirectory() as folder:
            path, text_path = os.path.join(folder, "ids.npy"), os.path.join(folder, "text")
            with tinylm.TokenWriter(path, "uint16") as writer:
                writer.push(ids[:7])
                writer.push(ids[7:])
            dataset = tinylm.Dataset.open(path, vocab_size=300)
            self.assertEqual((len(dataset), dataset.read(0, len(dataset))), (len(ids), ids))
            with self.assertRaises(ZeroDivisionError):
                with tinylm.TokenWriter(os.path.join(folder, "other.u16")) as writer:
                    writer.push([1 // 0])
            self.assertEqual(os.listdir(folder), ["ids.npy"])
            with open(text_path, "w", encoding="utf-8") as file:
                file.write(TEXT)
            seen = []
            n = tinylm.encode_file(tokenizer, text_path, path, "uint32", lambda *p: seen.append(p))
            self.assertEqual((n, tinylm.Dataset.open(path).read(0, n)), (len(ids), ids))
            self.assertEqual(tinylm.Dataset.open([path, path]).read(n - 2, 4), ids[-2:] + ids[:2])
            self.assertEqual(seen[-1], (len(TEXT.encode()),) * 2)
            with self.assertRaises(ZeroDivisionError):
                tinylm.encode_file(tokenizer, text_path, path, progress=lambda *_: 1 / 0)
        with self.assertRaises(FileNotFoundError):
            tinylm.Dataset.open("no-such-file.npy")
        with self.assertRaises(ValueError):
            tinylm.Dataset.open([])
        with self.assertRaises(ValueError):
            tinylm.Dataset.open("ids", "uint8")

    def test_batches(self):
        dataset = tinylm.Dataset(range(100, 200))
        for inputs, targets in [dataset.sample(3, 5, seed=1), next(tinylm.Loader(dataset, 3, 5, seed=1))]:
            self.assertEqual([[i + 1 for i in row] for row in inputs], targets)
            self.assertEqual([len(row) for row in inputs], [5, 5, 5])
        loader = tinylm.Loader(dataset, 4, 9, order="sequential", prefetch=2)
        self.assertEqual(next(loader)[0][1], list(range(109, 118)))
        self.assertEqual((loader.position, loader.windows_per_epoch, loader.batches_per_epoch), (1, 11, 3))
        second = next(loader)
        loader.position = 1
        self.assertEqual(next(loader), second)
        shuffled = tinylm.Loader(dataset, 11, 9, seed=5, order="shuffled")
        self.assertEqual(sorted(row[0] for row in next(shuffled)[0]), list(range(100, 199, 9)))
        with self.assertRaises(tinylm.RangeError):
            tinylm.Loader(dataset, 1, 100)
        documents = tinylm.Dataset([0, 1, 2, 9, 3, 4, 9, 5, 6, 7, 8, 9] * 3)
        rows = next(tinylm.Loader(documents, 3, 4, order="sequential", document_end=9))[0]
        self.assertEqual([row[0] for row in rows], [0, 3, 5])

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_arrays(self):
        ids = numpy.arange(50, dtype="uint16")
        dataset = tinylm.Dataset(ids)
        ids[3] = 77  # the same memory
        self.assertEqual(dataset.read(2, 2), [2, 77])
        for dtype in ("uint32", "int64", "int32", ">u2"):
            self.assertEqual(tinylm.Dataset(ids.astype(dtype)).read(0, 50), ids.tolist())
        self.assertEqual(tinylm.Dataset(ids[::2]).read(0, 2), [0, 2])
        inputs, targets = dataset.sample(2, 4, seed=0, as_numpy=True)
        self.assertEqual((inputs.shape, inputs.dtype.name), ((2, 4), "uint32"))
        inputs, targets = next(tinylm.Loader(dataset, 2, 4, as_numpy=True))
        self.assertEqual(targets.shape, (2, 4))
        for bad in (numpy.array([0.5]), numpy.array([-1]), numpy.zeros((2, 2), "uint16")):
            with self.assertRaises(ValueError):
                tinylm.Dataset(bad)


class TrainerTest(unittest.TestCase):
    def make(self, **options):
        data = tinylm.Dataset([(7 * i + i // 5) % 11 for i in range(300)])
        model = tinylm.Model.create(vocab_size=11, context_length=8, d_model=8, num_layers=1, num_heads=2)
        optimizer = tinylm.AdamW(model, learning_rate=1e-2)
        loader = tinylm.Loader(data, batch_size=2, context_length=8)
        return model, data, tinylm.Trainer(model, optimizer, loader, steps=12, clip_norm=1.0, **options)

    def weights(self, model):
        return [parameter.tolist() for parameter in model.parameters().values()]

    def test_run(self):
        seen = {"step": [], "evaluation": [], "save": []}
        schedule = {"kind": "linear", "max_learning_rate": 0.1, "warmup_steps": 4, "total_steps": 12}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "run.safetensors")
            valid = tinylm.Dataset([i % 11 for i in range(60)])
            model, _, trainer = self.make(
                schedule=schedule, valid=valid, eval_every=6, checkpoint_path=path, save_every=4,
                on_step=seen["step"].append, on_evaluation=seen["evaluation"].append,
                on_save=lambda path, step: seen["save"].append((path, step)))
            self.assertTrue(trainer.run())
            self.assertEqual(trainer.steps, 12)
            self.assertEqual([step.step for step in seen["step"]], list(range(1, 13)))
            self.assertEqual(seen["step"][-1].tokens, 12 * 16)
            self.assertLess(seen["step"][-1].loss, seen["step"][0].loss)
            for step in seen["step"]:
                self.assertAlmostEqual(step.learning_rate, tinylm.schedule_learning_rate(step.step, **schedule))
            self.assertEqual([result.step for result in seen["evaluation"]], [6, 12])
            self.assertEqual(seen["save"], [(path, 4), (path, 8), (path, 12)])
            result = trainer.evaluate()
            self.assertAlmostEqual(result.perplexity, math.exp(result.loss))
            self.assertEqual(model.evaluate(valid, 2).loss, result.loss)
            with self.assertRaises(tinylm.StateError):
                trainer.step()

    def test_a_resumed_run_has_the_same_bits(self):
        model, _, trainer = self.make()
        trainer.run()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "half")
            _, _, first = self.make(on_step=lambda step: step.step == 5)
            self.assertFalse(first.run())
            first.save(path)
            other, _, second = self.make()
            second.resume(path)
            self.assertEqual(second.steps, 5)
            self.assertEqual(second.step().step, 6)
            second.run(until=9)
            self.assertEqual(second.steps, 9)
            second.run()
        self.assertEqual(self.weights(other), self.weights(model))

    def test_a_directory_of_checkpoints(self):
        with tempfile.TemporaryDirectory() as folder:
            options = {"checkpoint_dir": os.path.join(folder, "run"), "keep_last": 2, "save_every": 3}
            model, _, trainer = self.make(**options)
            trainer.run()
            self.assertEqual(sorted(os.listdir(options["checkpoint_dir"])),
                             ["step-00000009.safetensors", "step-00000012.safetensors"])
            other, _, again = self.make(**options)
            again.resume()
            self.assertEqual(again.steps, 12)
            self.assertEqual(self.weights(other), self.weights(model))

    def test_ctrl_c(self):
        model, _, whole = self.make()
        whole.run()
        other, _, trainer = self.make(
            on_step=lambda step: signal.raise_signal(signal.SIGINT) if step.step in (3, 7) else None)
        for steps in (3, 7):
            with self.assertRaises(KeyboardInterrupt):
                trainer.run()
            self.assertEqual(trainer.steps, steps)
        self.assertTrue(trainer.run())
        self.assertEqual(self.weights(other), self.weights(model))
        with self.assertRaises(ZeroDivisionError):
            self.make(on_step=lambda _: 1 / 0)[2].run()
        program = """
import os, signal, threading, tinylm
signal.signal(signal.SIGINT, signal.default_int_handler)
model = tinylm.Model.create(vocab_size=5, context_length=8, d_model=8, num_layers=1, num_heads=1)
loader = tinylm.Loader(tinylm.Dataset([1, 2, 3] * 30), 1, 8)
trainer = tinylm.Trainer(model, tinylm.AdamW(model), loader, steps=1 << 40)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
trainer.run()
"""
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertIn("KeyboardInterrupt", run.stderr)

    def test_refusals(self):
        with self.assertRaises(ValueError):
            self.make(accumulation=-1)
        with self.assertRaises(tinylm.StateError):
            self.make()[2].evaluate()
        with self.assertRaises(tinylm.StateError):
            self.make()[2].save()


class LibraryTest(unittest.TestCase):
    def test_version(self):
        self.assertRegex(tinylm.version(), r"^\d+\.\d+\.\d+$")

    def test_missing_library(self):
        environment = dict(os.environ, TINYLM_LIBRARY="/no/such/libtinylm.so")
        run = subprocess.run([sys.executable, "-c", "import tinylm"], env=environment,
                             capture_output=True, text=True)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("/no/such/libtinylm.so", run.stderr)

    def test_settings(self):
        tinylm.set_num_threads(2)
        self.assertEqual(tinylm.num_threads(), 2)
        tinylm.set_num_threads(0)
        level = tinylm.cpu_level()
        tinylm.set_cpu_level("scalar")
        self.assertEqual(tinylm.cpu_level(), "scalar")
        self.assertEqual(tinylm.cpu_features(), set())
        tinylm.set_cpu_level(level)
        self.assertEqual(level in ("avx2", "avx512"), "fma" in tinylm.cpu_features())
        self.assertNotIn("unknown", tinylm.cpu_features())
        tinylm.shutdown()
        with self.assertRaisesRegex(ValueError, "'sse' is none of scalar"):
            tinylm.set_cpu_level("sse")
        self.assertIsInstance(tinylm.abi_version(), int)
        self.assertNotEqual(tinylm.gemm_kernel_name(), "")
        self.assertEqual(tinylm.random_bits(3, seed=1)[1:], tinylm.random_bits(2, seed=1, offset=1))

    def test_errors_are_pythons_too(self):
        tensor = tinylm.Tensor([[1.0, 2.0]])
        model = tinylm.Model.create(vocab_size=5, context_length=4, d_model=4, num_layers=1, num_heads=1)
        with tempfile.TemporaryDirectory() as folder:
            garbage = os.path.join(folder, "garbage")
            with open(garbage, "wb") as file:
                file.write(b"garbage" * 100)
            for call, kind, python in [
                    (lambda: tensor @ tensor, tinylm.ShapeError, ValueError),
                    (lambda: tinylm.Model.load("no-such-file"), tinylm.NotFoundError, FileNotFoundError),
                    (lambda: tinylm.Tokenizer.train("a", 257).token_id("zz"), tinylm.NotFoundError, LookupError),
                    (lambda: tinylm.Model.load(garbage), tinylm.FormatError, ValueError),
                    (lambda: tinylm.Model.load(folder), tinylm.FileError, OSError),
                    (lambda: model.forward([7]), tinylm.RangeError, IndexError),
                    (lambda: tensor.backward(), tinylm.StateError, RuntimeError),
                    (lambda: tinylm.Tokenizer.train("a", 257, pattern="("), tinylm.RegexError, ValueError),
                    (lambda: tinylm.set_num_threads(-1), tinylm.InvalidArgumentError, ValueError),
                    (lambda: tinylm.clip_norm([tinylm.Tensor([math.nan])], 1.0), tinylm.NonFiniteError,
                     ArithmeticError),
                    (lambda: tinylm.clip_norm([tinylm.Tensor([[1.0, 2.0], [3.0, 4.0]]).transpose(0, 1)], 1.0),
                     tinylm.UnsupportedError, NotImplementedError)]:
                with self.assertRaises(python) as caught:
                    call()
                self.assertIs(type(caught.exception), kind)
                self.assertIsInstance(caught.exception, tinylm.Error)
                self.assertNotEqual(str(caught.exception), "")
                again = pickle.loads(pickle.dumps(caught.exception))
                self.assertEqual((type(again), str(again), again.status),
                                 (kind, str(caught.exception), caught.exception.status))
        with self.assertRaises(MemoryError):
            raise tinylm.OutOfMemoryError("TLM_ERR_OUT_OF_MEMORY", "no memory")

    def test_numbers_do_not_wrap_around(self):
        for call in [lambda: tinylm.Tokenizer.train("a", vocab_size=-1), lambda: tinylm.random_bits(1, -1),
                     lambda: tinylm.Model.create(5, 4, 4, 1, 1, seed=1 << 64),
                     lambda: tinylm.Dataset([1, 2, 3]).read(-1, 1), lambda: tinylm.Dataset([-1])]:
            with self.assertRaisesRegex(ValueError, "not in 0..2"):
                call()

    def test_calls_release_the_lock(self):
        """Another thread runs while this one is in the library. Threads change over only where one gives
        the lock back, as a call of the library does."""
        count, stop, interval = [0], threading.Event(), sys.getswitchinterval()

        def run():
            while not stop.is_set():
                count[0] += 1
                time.sleep(0)

        a = tinylm.Tensor([[0.5] * 512] * 512)
        thread = threading.Thread(target=run)
        sys.setswitchinterval(1000)
        try:
            thread.start()
            for _ in range(1000):
                before = count[0]
                a @ a
                if count[0] > before:
                    break
            else:
                self.fail("no call let the other thread run")
        finally:
            stop.set()
            sys.setswitchinterval(interval)
            thread.join()

    def test_ctrl_c_ends_a_call(self):
        """A signal that comes while the library is at work is seen at its next callback."""
        def interrupt(*_):
            signal.raise_signal(signal.SIGINT)

        x = tinylm.Tensor([1.0], requires_grad=True)
        with self.assertRaises(KeyboardInterrupt):
            tinylm.custom_op(tinylm.Tensor([1.0]), [x], interrupt).backward()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

        trainer = tinylm.BpeTrainer(300, progress=interrupt)
        with self.assertRaises(KeyboardInterrupt):
            trainer.add_text(TEXT)
        self.assertEqual(trainer.stats, (0, 0))

        program = """
import os, signal, threading, tinylm
signal.signal(signal.SIGINT, signal.default_int_handler)
model = tinylm.Model.create(vocab_size=5, context_length=512, d_model=16, num_layers=1, num_heads=1)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
model.generate([1], max_tokens=1 << 40)
"""
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertIn("KeyboardInterrupt", run.stderr)

    def test_documentation(self):
        """Everything public has a docstring, and pydoc can show it."""
        text = pydoc.plain(pydoc.render_doc(tinylm))
        own = {name for name, value in vars(tinylm).items()
               if not name.startswith("_") and isinstance(value, (type, types.FunctionType))}
        self.assertEqual(own, set(tinylm.__all__) - {"FLOAT32", "INT32", "INT64", "UINT32", "BOOL",
                                                    "BFLOAT16", "FLOAT16", "nn", "options", "PATTERNS", "CHAT_TEMPLATES"})
        for name in own:
            value = getattr(tinylm, name)
            self.assertTrue(value.__doc__, name)
            self.assertTrue(name in text, name)
            for member, function in vars(value).items() if isinstance(value, type) else ():
                if not member.startswith("_") and (callable(function) or isinstance(
                        function, (property, classmethod, staticmethod))):
                    self.assertTrue(getattr(value, member).__doc__, f"{name}.{member}")


if __name__ == "__main__":
    unittest.main()
