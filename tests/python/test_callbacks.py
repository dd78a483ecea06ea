"""Functions that long calls of the library call: True ends the call, None or False lets it go on, and anything else is
an error, everywhere alike. C and C++ end a call by the same value (tests/cpp/test_cpp_values.cpp)."""

import os
import tempfile
import unittest

import tinylm

TEXT = "low lower lowest, new newer newest, wide wider widest " * 20


class NumPyBool:
    """What numpy.True_ looks like."""

    def __init__(self, value):
        self.value = value

    def __bool__(self):
        return self.value


NumPyBool.__name__ = "bool_"


class CallbacksTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=280)
        cls.model = tinylm.Model.create(vocab_size=280, context_length=8, d_model=16, num_layers=1, num_heads=2)

    def generate(self, result):
        return len(self.model.generate([1], max_tokens=4, on_token=lambda _id: result)) < 4

    def generate_text(self, result):
        state = self.model.generate_text([1], self.tokenizer, max_tokens=4, on_text=lambda _text: result).state
        return state == "callback"

    def train_bpe(self, result):
        try:
            tinylm.Tokenizer.train(TEXT, vocab_size=280, progress=lambda *_: result)
        except tinylm.CancelledError:
            return True
        return False

    def encode(self, result):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "text")
            with open(path, "w", encoding="utf-8") as file:
                file.write(TEXT)
            try:
                tinylm.encode_file(self.tokenizer, path, path + ".u16", progress=lambda *_: result)
                tinylm.encode_files(self.tokenizer, [path], path + ".u16", progress=lambda *_: result)
            except tinylm.CancelledError:
                return True
        return False

    def train(self, result, **which):
        loader = tinylm.Loader(tinylm.Dataset(self.tokenizer.encode(TEXT)), 1, 8)
        trainer = tinylm.Trainer(self.model, tinylm.AdamW(self.model), loader, 3, on_step=lambda _step: result)
        return not trainer.run()

    def test_results(self):
        for run in (self.generate, self.generate_text, self.train_bpe, self.encode, self.train):
            for result in (None, False, NumPyBool(False)):
                self.assertFalse(run(result), (run.__name__, result))
            for result in (True, NumPyBool(True)):
                self.assertTrue(run(result), (run.__name__, result))
            for result in (1, 0, 12, "", "yes", [], 1.0):
                with self.assertRaisesRegex(TypeError, "a callback returned .*: True ends the call"):
                    run(result)


if __name__ == "__main__":
    unittest.main(verbosity=2)
