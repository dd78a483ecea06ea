"""Objects of the library as objects of Python: copies, pickles, processes, equality, close, repr."""

import copy
import gc
import multiprocessing
import os
import pickle
import tempfile
import unittest

import tinylm

TEXT = "the cat sat on the mat, and the cat sat on the hat. <|endoftext|> " * 40


def make_tokenizer(**options):
    return tinylm.Tokenizer.train(TEXT, vocab_size=280, special_tokens=["<|endoftext|>"], **options)


def make_model(**options):
    return tinylm.Model.create(280, context_length=16, d_model=16, num_layers=2, num_heads=2, **options)


def values(model):
    return {name: tensor.tolist() for name, tensor in model.parameters().items()}


def encode_in_child(tokenizer, text):
    return tokenizer.encode(text)


def loss_in_child(model, ids):
    return model.loss(ids[:-1], ids[1:]).item()


class TokenizerTest(unittest.TestCase):
    def setUp(self):
        self.tokenizer = make_tokenizer()

    def test_copies_are_the_same(self):
        for other in (copy.copy(self.tokenizer), copy.deepcopy(self.tokenizer),
                      pickle.loads(pickle.dumps(self.tokenizer))):
            self.assertEqual(other, self.tokenizer)
            self.assertEqual(hash(other), hash(self.tokenizer))
            self.assertEqual(other.encode(TEXT), self.tokenizer.encode(TEXT))
            self.assertEqual(other.special_tokens, self.tokenizer.special_tokens)

    def test_pickles_keep_what_a_tokenizer_has(self):
        for options in ({"pattern": "cl100k"}, {"pattern": r"\w+|\s+|[^\w\s]+"}, {"byte_order": "gpt2"}):
            tokenizer = make_tokenizer(**options)
            other = pickle.loads(pickle.dumps(tokenizer))
            self.assertEqual(other.encode(TEXT), tokenizer.encode(TEXT))
            self.assertEqual(other.vocab, tokenizer.vocab)
            self.assertEqual(other.merges, tokenizer.merges)
        special = tinylm.Tokenizer(dict(self.tokenizer.vocab), self.tokenizer.merges, {"<|a|>": 900, "<|b|>": 901},
                                   nfc=True, ignore_merges=True)
        other = pickle.loads(pickle.dumps(special))
        self.assertEqual(other.special_tokens, special.special_tokens)
        self.assertEqual(other.encode("e\u0301<|b|>"), special.encode("e\u0301<|b|>"))

    def test_different_ones_differ(self):
        self.assertNotEqual(self.tokenizer, tinylm.Tokenizer.train(TEXT, vocab_size=270))
        self.assertNotEqual(self.tokenizer, make_tokenizer(pattern="cl100k"))
        self.assertNotEqual(self.tokenizer, "a tokenizer")

    def test_copies_survive_the_first(self):
        copies = [copy.copy(self.tokenizer) for _ in range(3)]
        expected = self.tokenizer.encode("the cat")
        self.tokenizer.close()
        del copies[1]
        gc.collect()
        for one in copies:
            self.assertEqual(one.encode("the cat"), expected)

    def test_processes(self):
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            texts = ["the cat", "sat", "on the mat <|endoftext|>"]
            self.assertEqual(pool.starmap(encode_in_child, [(self.tokenizer, text) for text in texts]),
                             [self.tokenizer.encode(text) for text in texts])
            model, ids = make_model(seed=3), self.tokenizer.encode("the cat sat on")
            self.assertEqual(pool.apply(loss_in_child, (model, ids)), loss_in_child(model, ids))

    def test_as_a_container(self):
        self.assertEqual(len(self.tokenizer), self.tokenizer.vocab_size)
        self.assertIn("cat", self.tokenizer) if "cat" in self.tokenizer else None
        self.assertIn("<|endoftext|>", self.tokenizer)
        self.assertIn(0, self.tokenizer)
        for absent in ("no such token", len(self.tokenizer), -1):
            self.assertNotIn(absent, self.tokenizer)
        self.assertIs(self.tokenizer.vocab, self.tokenizer.vocab)
        with self.assertRaises(TypeError):
            self.tokenizer.vocab[0] = b"x"

    def test_calls(self):
        self.assertEqual(self.tokenizer("the cat"), self.tokenizer.encode("the cat"))
        self.assertEqual(self.tokenizer(["the", "cat"]), self.tokenizer.encode_batch(["the", "cat"]))

    def test_numpy(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        for text in ("", "the cat", TEXT * 40):
            ids = self.tokenizer.encode(text, as_numpy=True)
            self.assertEqual((ids.dtype, ids.tolist()), (numpy.uint32, self.tokenizer.encode(text)))
            self.assertEqual([row.tolist() for row in self.tokenizer.encode_batch([text, "a"], as_numpy=True)],
                             self.tokenizer.encode_batch([text, "a"]))
            self.assertEqual(self.tokenizer.decode(ids), text)

    def test_repr(self):
        self.assertRegex(repr(self.tokenizer), r"^<Tokenizer: 2\d\d tokens, \d+ merges, 1 special token>$")


class ModelTest(unittest.TestCase):
    def test_deep_copies_are_independent(self):
        model = make_model(seed=5, tied_embeddings=True)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            self.assertEqual(other.options, model.options)
            self.assertEqual(values(other), values(model))
            other.set_parameter("ln_final.weight", [2.0] * 16)
            self.assertNotEqual(values(other), values(model))

    def test_a_copy_shares_the_weights(self):
        model = make_model()
        other = copy.copy(model)
        other.set_parameter("ln_final.weight", [2.0] * 16)
        self.assertEqual(values(other), values(model))
        model.close()
        self.assertEqual(values(other)["ln_final.weight"], [2.0] * 16)

    def test_pickles_keep_attributes_frozen_parameters_and_adapters(self):
        model = make_model()
        model.end_tokens, model.family = [3, 4], "llama"
        model.freeze("layers.0.*")
        other = copy.deepcopy(model)
        self.assertEqual((other.end_tokens, other.family, other.num_trained), ([3, 4], "llama", model.num_trained))
        model = make_model()
        model.add_lora(rank=2)
        other = copy.deepcopy(model)
        self.assertEqual((other.lora, other.num_trained), (model.lora, model.num_trained))
        self.assertEqual(values(other), values(model))

    def test_repr_is_a_table(self):
        text = repr(make_model())
        self.assertIn("layers.0-1.attn.q_proj.weight", text)
        self.assertIn("(280, 16)", text)
        self.assertIn(f"{make_model().num_elements:,}", text)

    def test_from_file_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model")
            make_model().save(path)
            self.assertIsInstance(tinylm.Model.open(path, tokenizer=False), tinylm.Model)
            self.assertEqual(len(tinylm.Model.open(path)), 2)
        with self.assertRaisesRegex(TypeError, "Model.create"):
            tinylm.Model()


class CloseTest(unittest.TestCase):
    def objects(self):
        model = make_model()
        data = tinylm.Dataset([i % 280 for i in range(500)])
        loader = tinylm.Loader(data, 2, 8)
        optimizer = tinylm.AdamW(model)
        return [make_tokenizer(), model, data, loader, optimizer, tinylm.Trainer(model, optimizer, loader, steps=3),
                tinylm.Generator(model), tinylm.BpeTrainer(300), tinylm.ChatTemplate("chatml"), tinylm.Tensor([1.0])]

    def test_close(self):
        uses = [lambda t: t.encode("a"), lambda m: m.options, len, next, lambda o: o.steps, lambda t: t.run(),
                lambda g: g.step(), lambda b: b.stats, lambda c: c.source, lambda x: x.tolist()]
        for made, use in zip(self.objects(), uses):
            name = type(made).__name__
            with self.subTest(name):
                self.assertNotIn("closed", repr(made))
                with made as same:
                    self.assertIs(same, made)
                self.assertEqual(repr(made), f"<{name}, closed>")
                with self.assertRaisesRegex(ValueError, f"{name} is closed"):
                    use(made)
                made.close()  # again: nothing happens
                with self.assertRaisesRegex(ValueError, f"{name} is closed"):
                    copy.copy(made)

    def test_what_borrows_goes_on(self):
        _tokenizer, model, data, loader, optimizer, trainer, generator, *_rest = self.objects()
        generator.add([1, 2, 3], max_tokens=3)
        for one in (model, data, loader, optimizer):
            one.close()
        self.assertTrue(trainer.run())
        self.assertEqual(generator.step(), 1)

    def test_closed_arguments_are_named(self):
        model = make_model()
        model.close()
        with self.assertRaisesRegex(ValueError, "Model is closed"):
            tinylm.Generator(model)

    def test_what_cannot_be_pickled_says_so(self):
        for one in self.objects()[3:8]:
            for copies in (pickle.dumps, copy.deepcopy):
                with self.assertRaisesRegex(TypeError, f"a {type(one).__name__} cannot be pickled"):
                    copies(one)

    def test_every_object_has_a_repr(self):
        for one in self.objects():
            self.assertNotIn("object at 0x", repr(one))


if __name__ == "__main__":
    unittest.main(verbosity=2)
