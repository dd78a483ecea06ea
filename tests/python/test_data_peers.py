"""Tensors, texts and ids to and from pandas, PyArrow, datasets, IPython and the data loaders of PyTorch. What a package is
missing for is skipped, by name."""

import multiprocessing
import pickle
import rlcompleter
import unittest

import peers

numpy, torch, pandas, pyarrow, datasets, ipython = peers.find("numpy", "torch", "pandas", "pyarrow", "datasets", "IPython")

import tinylm  # noqa: E402
from tinylm import Tensor  # noqa: E402

TEXTS = ["the cat sat", "on the mat"]


def tokenizer():
    return tinylm.Tokenizer.train("the cat sat on the mat. " * 50, vocab_size=270)


def needs(*modules):
    return unittest.skipIf(None in modules, "a package is missing")


class Encoded:
    """A data set of PyTorch, whose workers are processes."""

    def __init__(self, tokenizer):
        self.tokenizer, self.template = tokenizer, tinylm.ChatTemplate("chatml")

    def __len__(self):
        return 8

    def __getitem__(self, i):
        text = self.template.render([{"role": "user", "content": TEXTS[i % 2]}])
        return torch.tensor(self.tokenizer.encode(text)[:4])


class DataPeersTest(unittest.TestCase):
    @needs(numpy, pandas)
    def test_pandas_tensors(self):
        x = tinylm.arange(12, dtype="float32").reshape(3, 4)
        self.assertEqual(pandas.DataFrame(x).to_numpy().tolist(), x.tolist())
        for kind in ("float32", "float16", "int64", "int32", "bool"):
            ours = Tensor([1, 0, 1], kind)
            series = pandas.Series(ours)
            self.assertEqual((str(series.dtype), Tensor(series).tolist(), Tensor(series).dtype), (kind, ours.tolist(), kind))
            self.assertEqual(numpy.dtype(ours.dtype), series.dtype)
        self.assertEqual((pandas.Series([1.0, 2, 3, 4]) + x[0]).tolist(), [1, 3, 5, 7])
        self.assertEqual((x + pandas.Series([1.0, 2, 3, 4])).tolist()[0], [1, 3, 5, 7])
        self.assertEqual(x[pandas.Series([True, False, True])].tolist(), x[[0, 2]].tolist())
        self.assertEqual(Tensor(pandas.DataFrame({"a": [1, 2], "b": [3.5, 4]})).tolist(), [[1, 3.5], [2, 4]])
        for wrong in (pandas.Series(["a"]), pandas.Series(["a"], dtype="category"), pandas.DataFrame({"a": [1], "b": ["x"]}),
                      pandas.Series(pandas.to_datetime(["2020-01-01"]))):
            with self.assertRaisesRegex(TypeError, "^values is an array of"):
                Tensor(wrong)
        for kept in (tinylm.ones(2, requires_grad=True), Tensor([1.0], "bfloat16")):
            with self.assertRaisesRegex(TypeError, "detach|ml_dtypes"):
                pandas.Series(kept)

    @needs(pandas, pyarrow)
    def test_columns_of_texts_and_ids(self):
        tokens = tokenizer()
        rows = tokens.encode_batch(TEXTS)
        for texts in (pandas.Series(TEXTS), pandas.Index(TEXTS), pyarrow.array(TEXTS), pyarrow.chunked_array([TEXTS[:1], TEXTS[1:]])):
            self.assertEqual(tokens.encode_batch(texts), rows)
            self.assertEqual(tinylm.Tokenizer.train(texts, vocab_size=260).merges, tinylm.Tokenizer.train(TEXTS, vocab_size=260).merges)
        self.assertEqual(tokens.encode(pyarrow.scalar(TEXTS[0])), rows[0])
        for ids in (pandas.Series(rows[0]), pyarrow.array(rows[0]), pyarrow.array(rows[0], pyarrow.uint32()),
                    pyarrow.chunked_array([rows[0][:1], rows[0][1:]]), Tensor(rows[0], "int64"), pandas.Series(rows[0], dtype="Int64")):
            self.assertEqual(tokens.decode(ids), TEXTS[0])
            self.assertEqual(len(tinylm.Dataset(ids)), len(rows[0]))
        for several in (pandas.Series(rows), pyarrow.array(rows)):
            self.assertEqual(tokens.decode_batch(several), TEXTS)
        for wrong, call in ((pandas.Series(["a", None]), tokens.encode_batch), (pyarrow.array(["a", None]), tokens.encode_batch),
                            (pandas.DataFrame({"a": TEXTS}), tokens.encode_batch), (pyarrow.array([1, None]), tokens.decode),
                            (pandas.Series([1.5]), tokens.decode), (pandas.Series(TEXTS), tokens.decode)):
            with self.assertRaisesRegex(TypeError, r"^(texts|ids)(\[[01]\])? (takes|is)") as caught:
                call(wrong)
            self.assertNotIn("\n", str(caught.exception))

    @needs(numpy, pyarrow)
    def test_arrow_tensors(self):
        for kind in ("float32", "float16", "int64", "int32", "uint32", "bool"):
            ours = Tensor([[1, 0], [1, 1], [0, 0]], kind)
            flat = pyarrow.array(ours.reshape(-1))
            rows = pyarrow.array(ours)
            self.assertEqual((flat.to_pylist(), rows.to_pylist()), (ours.reshape(-1).tolist(), ours.tolist()))
            self.assertEqual((Tensor(flat).tolist(), Tensor(flat).dtype), (ours.reshape(-1).tolist(), kind))
            self.assertEqual(pyarrow.table({"a": ours[:, 0], "b": ours}).num_columns, 2)
        self.assertEqual(str(pyarrow.array(tinylm.ones(2), pyarrow.float64()).type), "double")
        self.assertEqual(pyarrow.array(tinylm.zeros(0, 3)).to_pylist(), [])
        with self.assertRaisesRegex(TypeError, r"reshape\(-1\)"):
            pyarrow.array(tinylm.zeros(1, 1, 1))
        with self.assertRaisesRegex(BufferError, "copies it"):
            Tensor.from_dlpack(pyarrow.array([1.0, 2.0], pyarrow.float32()))
        self.assertTrue(Tensor(pyarrow.array([1.0, None]))[1].isnan().item())

    @needs(datasets)
    def test_datasets(self):
        datasets.disable_progress_bars()
        from datasets.fingerprint import Hasher
        tokens, rows = tokenizer(), datasets.Dataset.from_dict({"text": TEXTS * 4})
        expected = tokens.encode_batch(TEXTS) * 4
        single = rows.map(lambda row: {"ids": tokens.encode(row["text"])})
        for encoded in (single, rows.map(lambda some: {"ids": tokens.encode_batch(some["text"])}, batched=True),
                        rows.map(lambda row: {"ids": Tensor(tokens.encode(row["text"]), "int64")}),
                        rows.map(lambda row: {"ids": tokens.encode(row["text"])}, num_proc=2)):
            self.assertEqual(list(encoded["ids"]), expected)
        self.assertEqual(tokens.encode_batch(rows["text"]), expected)
        self.assertEqual(tokens.decode_batch(single["ids"]), TEXTS * 4)
        self.assertEqual(tinylm.Tokenizer.train(rows["text"], vocab_size=260).vocab_size, 260)
        for thing in (tokens, tinylm.ChatTemplate("chatml"), tokens.encode):  # what map finds its cache by
            self.assertEqual(Hasher.hash(thing), Hasher.hash(thing))
        before = Hasher.hash(tokens)
        tokens.encode("words that it has not seen " * 100)
        self.assertEqual({Hasher.hash(tokens), Hasher.hash(pickle.loads(pickle.dumps(tokens)))}, {before})
        other = tinylm.Tokenizer.train("another text " * 50, vocab_size=270)
        self.assertNotEqual(Hasher.hash(other), before)

    @needs(torch)
    def test_workers_of_a_data_loader(self):
        from torch.utils.data import DataLoader
        data = Encoded(tokenizer())
        expected = [row.tolist() for row in DataLoader(data, batch_size=3)]
        for method in ("fork", "spawn"):
            if method in multiprocessing.get_all_start_methods():
                loader = DataLoader(data, batch_size=3, num_workers=2, multiprocessing_context=method)
                self.assertEqual([row.tolist() for row in loader], expected, method)

    @needs(ipython)
    def test_ipython(self):
        from IPython.lib.pretty import pretty
        model = tinylm.Model.create(16, context_length=4, d_model=4, num_layers=1, num_heads=1)
        data, closed = tinylm.Dataset([1, 2, 3] * 9), tinylm.Dataset([1, 2])
        closed.close()
        objects = dict(tokens=tokenizer(), model=model, x=tinylm.randn(3, 4), p=tinylm.ones(2, requires_grad=True), data=data,
                       closed=closed, loader=tinylm.Loader(data, 2, 4), optimizer=tinylm.AdamW(model), layer=tinylm.nn.Linear(2, 3),
                       generator=tinylm.Generator(model), kind=tinylm.FLOAT32, template=tinylm.ChatTemplate("chatml"),
                       trainer=tinylm.Trainer(model, tinylm.AdamW(model), tinylm.Loader(data, 2, 4), steps=1))
        for name, thing in objects.items():
            self.assertEqual(pretty(thing), repr(thing), name)
            for method in ("_repr_html_", "_ipython_display_", "_repr_mimebundle_"):
                self.assertFalse(hasattr(thing, method) and not callable(getattr(thing, method)), name)
        completer = rlcompleter.Completer({"tinylm": tinylm, **objects})
        for text, wanted in {"tokens.encode_b": "encode_batch", "model.save_h": "save_hf", "x.su": "sum", "closed.cl": "close",
                             "tinylm.Tok": "Tokenizer", "tinylm.Tokenizer.from_f": "from_files", "p.requires_g": "requires_grad",
                             "trainer.ru": "run", "layer.par": "parameters"}.items():
            found = [one.rpartition(".")[2].rstrip("()") for one in completer.attr_matches(text)]
            self.assertIn(wanted, found)


if __name__ == "__main__":
    unittest.main()
