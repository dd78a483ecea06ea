"""Tokenizers: training, encoding, chat templates, and beside tiktoken and tokenizers."""

import math
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
import unittest
from random import Random

import peers

numpy, tiktoken, tokenizers = peers.find("numpy", "tiktoken", "tokenizers")

import tinylm  # noqa: E402
from binding_cases import END, PATTERN, TEXT, setUpModule  # noqa: E402, F401


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


if __name__ == "__main__":
    unittest.main()
