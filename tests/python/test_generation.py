"""Generated text, callbacks on logits and sequences that go on, in Python."""

import json
import os
import random
import tempfile
import unittest

import tinylm

VOCAB = 256 + 20
PIECES = [b"ab", b"ba", b"aab", b"\n\n", b"\xe2\x82", b"\xe2\x82\xac", b"END", b"EN", b"<|", b"a\n"]


class Odd(Exception):
    pass


def llama_tokenizer():
    """A tokenizer of the kind that SentencePiece's files become, and the size of its vocabulary."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "▁b", "END", "▁EN", "D"]
    space = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    fields = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "pre_tokenizer": None,
              "post_processor": None,
              "normalizer": {"type": "Sequence", "normalizers": [
                  {"type": "Prepend", "prepend": "▁"},
                  {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
              "decoder": {"type": "Sequence", "decoders": [
                  space, {"type": "ByteFallback"}, {"type": "Fuse"},
                  {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
              "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                        "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                        "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": []}}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(fields, file)
        return tinylm.Tokenizer.open(path), len(pieces)


class GenerationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        vocab = [bytes([i]) for i in range(256)] + PIECES
        cls.tokens = vocab
        cls.tokenizer = tinylm.Tokenizer(dict(enumerate(vocab)), [])
        cls.model = tinylm.Model.create(vocab_size=VOCAB, context_length=32, d_model=16, num_layers=2, num_heads=2,
                                        seed=1)

    def play(self, script):
        return lambda _sequence, ids, _logits: script[len(ids)]

    def test_stop_strings(self):
        dice = random.Random(3)
        for _ in range(200):
            script = [dice.choice([*range(256, 256 + len(PIECES)), ord("a"), ord("b"), 0xE2])
                      for _ in range(dice.randint(1, 25))]
            whole = b"".join(self.tokens[i] for i in script)
            stops = [dice.choice([whole[i:i + dice.randint(1, 6)] or b"a" for i in range(len(whole))])
                     + dice.choice([b"", b"", b"a"]) for _ in range(dice.randint(1, 4))]
            found = [at for at in map(whole.find, stops) if at >= 0]
            cut = min(found, default=len(whole))
            seen = []
            result = self.model.generate_text(b"x", self.tokenizer, max_tokens=len(script), stop_strings=stops,
                                              on_logits=self.play(script), on_text=seen.append,
                                              past_context="slide")
            self.assertEqual(result.text, whole[:cut].decode(errors="replace"))
            self.assertEqual("".join(seen), result.text)
            self.assertEqual(result.state, "stop" if found else "length")

    def test_text_that_a_decoder_holds_back(self):
        """Byte tokens and spaces of Llama's tokenizers: the text is what the prompt and the new ids have together."""
        tokenizer, size = llama_tokenizer()
        model = tinylm.Model.create(vocab_size=size, context_length=64, d_model=8, num_layers=1, num_heads=1, seed=1)
        dice = random.Random(5)
        for _ in range(300):
            pick = lambda: dice.choice([1 + 0x0A, 1 + 0xE2, 1 + 0x82, 1 + 0xAC, *range(257, size)])  # noqa: E731
            prompt, script = ([pick() for _ in range(dice.randint(1, 12))] for _ in range(2))
            before = len(tokenizer.decode_bytes(prompt))
            texts = [tokenizer.decode_bytes(prompt + script[:n])[before:] for n in range(len(script) + 1)]
            whole = texts[-1]
            stops = [stop for stop in (whole[i:i + dice.randint(1, 4)] for i in
                                       dice.choices(range(len(whole) + 1), k=dice.randint(0, 3))) if stop]
            cut = min((at for at in map(whole.find, stops) if at >= 0), default=None)
            generator = tinylm.Generator(model)
            generator.add(prompt, tokenizer=tokenizer, stop_strings=stops, max_tokens=len(script),
                          on_logits=self.play(script))
            told = ""
            while generator.step() > 0:
                self.assertTrue(generator.text(0).startswith(told))
                told = generator.text(0)
            self.assertEqual(generator.text(0), whole[:cut].decode(errors="replace"))
            self.assertTrue(generator.text(0).startswith(told))
            kept = len(script) if cut is None else max(n for n, text in enumerate(texts) if len(text) <= cut)
            self.assertEqual(generator.tokens(0), script[:kept])

    def test_on_logits(self):
        def evens(_sequence, _ids, logits):
            for i in range(1, VOCAB, 2):
                logits[i] = float("-inf")

        ids = self.model.generate([1], max_tokens=10, temperature=1.0, on_logits=evens)
        self.assertTrue(all(i % 2 == 0 for i in ids))
        generator = tinylm.Generator(self.model)
        generator.add([1], max_tokens=5)
        generator.add([1], max_tokens=5, on_logits=lambda sequence, ids, _: True if len(ids) == 2 else sequence)
        while generator.step() > 0:
            pass
        self.assertEqual((generator.state(0), generator.state(1)), ("length", "callback"))
        self.assertEqual(generator.tokens(1), [1, 1])

    def test_exceptions_come_through(self):
        def fail(*_arguments):
            raise Odd()

        with self.assertRaises(Odd):
            self.model.generate([1], on_logits=fail)
        with self.assertRaises(Odd):
            self.model.generate_text([1], self.tokenizer, on_text=fail)
        with self.assertRaises(ValueError):
            self.model.generate([1], on_logits=lambda *_arguments: -1)
        generator = tinylm.Generator(self.model)
        generator.add([1], on_logits=fail)
        with self.assertRaises(Odd):
            generator.step()
        self.assertEqual(generator.state(0), "callback")
        with self.assertRaisesRegex(tinylm.NonFiniteError, "no token is left"):
            self.model.generate([1], logit_bias={i: float("-inf") for i in range(VOCAB)})
        with self.assertRaisesRegex(tinylm.InvalidArgumentError, "stop string 0 is empty"):
            self.model.generate_text([1], self.tokenizer, stop_strings="")

    def test_seeds_of_a_batch(self):
        seeds = [7, 3, 7]
        many = self.model.generate_many([[1]] * 3, seed=seeds, max_tokens=8, temperature=2.0)
        alone = [self.model.generate([1], seed=seed, max_tokens=8, temperature=2.0) for seed in seeds]
        self.assertEqual(many, alone)
        self.assertNotEqual(many[0], many[1])
        with self.assertRaises(ValueError):
            self.model.generate_many([[1]] * 3, seed=[1])

    def test_context(self):
        generator = tinylm.Generator(self.model)
        generator.add([1], max_tokens=100, past_context="stop")
        generator.add([1], max_tokens=100, past_context="slide", kept_tokens=0)
        while generator.step() > 0:
            pass
        self.assertEqual((generator.state(0), len(generator.tokens(0))), ("context", 32))
        self.assertEqual((generator.state(1), len(generator.tokens(1))), ("length", 100))

    def test_turns_and_files(self):
        how = {"max_tokens": 6, "temperature": 1.0, "keeps_cache": True, "tokenizer": self.tokenizer,
               "cache_type": tinylm.FLOAT16}
        generator, other = tinylm.Generator(self.model), tinylm.Generator(self.model)
        chat = generator.add([1, 2], **how)
        generator.step()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "sequence")
            generator.save(chat, path)
            copy = other.load(path, **how)
            with self.assertRaises(tinylm.ShapeError):
                other.load(path)
        for _ in range(3):
            for each in (generator, other):
                while each.step() > 0:
                    pass
            self.assertEqual(generator.context(chat), other.context(copy))
            self.assertEqual(generator.text(chat), other.text(copy))
            self.assertEqual(generator.text(chat),
                             self.tokenizer.decode([i for i in generator.tokens(chat) if i < 256 + len(PIECES)]))
            generator.extend(chat, [5, 6], **how)
            other.extend(copy, [5, 6], **how)
        generator.stop(chat)
        generator.extend(chat, keep=3, **how)
        self.assertEqual(len(generator.context(chat)), 3)


if __name__ == "__main__":
    unittest.main()
