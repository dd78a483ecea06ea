"""What a user of PyTorch and transformers writes in the first hour: it works, or the answer says what to write."""

import copy
import pickle
import re
import unittest

import tinylm
from tinylm import Tensor, _elsewhere, nn

# Code, and what its error says, or None for code that works.
ROWS = [
    ("tinylm.tensor([1.0, 2.0])", "here it is tinylm.Tensor"),
    ("x.size(), x.size(0), x.size(-1), x.shape[-1], x.size == 6, len(x)", None),
    ("x.size(5)", "dim 5 is not a dimension"),
    ("x.view(-1, 6), x.unsqueeze(0).squeeze(0), x.T, x.numel(), x.ndim, x.detach(), x.clone(), x.contiguous()", None),
    ("x.to('cpu'), x.to('float32'), x.to(tinylm.INT64)", None),
    ("x.to('cuda')", "computes on CPUs"),
    ("x.dim()", "here it is ndim"),
    ("x.float()", "astype"),
    ("x.cuda()", "computes on CPUs"),
    ("x.masked_fill(x > 0, 0)", "tinylm.where"),
    ("x.topk(2)", "NumPy's"),
    ("tinylm.cat([x, x])", "tinylm.concat"),
    ("tinylm.concat([x, x], dim=1), tinylm.stack([x, x])", None),
    ("tinylm.matmul(x, x.T)", "tensor.matmul"),
    ("tinylm.float32", "tinylm.FLOAT32"),
    ("tinylm.DataLoader(d)", "tinylm.Loader"),
    ("tinylm.cuda.is_available()", "computes on CPUs"),
    ("tinylm.no_such_name", "no attribute 'no_such_name'$"),
    ("x.no_such_name", "no attribute 'no_such_name'$"),
    ("Tensor(2, 3)", "zeros\\(2, 3\\)"),
    ("tinylm.zeros(2, 3), tinylm.zeros((2, 3)), tinylm.ones(2, dtype='int64'), tinylm.arange(0, 10, 2)", None),
    ("tinylm.arange(3) + 1", "use astype"),
    ("x ** 2 / 3 - 1, 1 / x, -x, abs(x), x @ x.T, 2 ** x, x.sum(0), x.mean(dim=1, keepdim=True), x.max(dim=1).values", None),
    ("x + tinylm.randn(4)", "do not broadcast"),
    ("x.item()", "one element"),
    ("x.backward()", "does not require a gradient"),
    ("w.sum().backward(retain_graph=True)", "a graph is used once"),
    ("w.grad_fn", "is_leaf"),
    ("w.grad = None", None),
    ("w.data.zero_()", None),
    ("w += 1", "no_grad"),
    ("w.data.normal_(0, 0.02)", "init_truncated_normal"),
    ("with tinylm.set_grad_enabled(False): pass", "no_grad"),
    ("tinylm.AdamW([w], lr=1e-3)", "here it is learning_rate"),
    ("tinylm.AdamW([w], betas=(0.9, 0.95))", "beta1 and beta2"),
    ("tinylm.AdamW([w], learning_rat=1)", "is it learning_rate"),
    ("tinylm.AdamW([w]).zero_grad(set_to_none=True)", "it is so"),
    ("tinylm.AdamW([w]).param_groups", "set_learning_rate"),
    ("tinylm.AdamW([w]).state_dict()", "Model.save"),
    ("tinylm.Adam([w])", "AdamW"),
    ("nn.Linear(in_features=3, out_features=4)", "here it is d_in"),
    ("nn.Linear('3', 4)", "d_in takes a whole number"),
    ("nn.LayerNorm(3)(x), nn.RMSNorm(3)(x), nn.Embedding(9, 4)([1, 2]), nn.GELU()(x), nn.Dropout(0.1)(x)", None),
    ("nn.Dropout(p=0.1)", "here it is rate"),
    ("nn.ModuleList([nn.Linear(3, 3)])", "a list"),
    ("nn.CrossEntropyLoss()", "tinylm.cross_entropy"),
    ("nn.init.normal_(w)", "init_truncated_normal"),
    ("nn.utils.clip_grad_norm_([w], 1.0)", "tinylm.clip_grad_norm"),
    ("net.to('cuda')", "computes on CPUs"),
    ("net.register_buffer('mask', x)", "self.name = tensor"),
    ("net.no_such_name", "'Linear' object has no attribute 'no_such_name'$"),
    ("net.load_state_dict(net.state_dict()), net.train().eval(), list(net.parameters()), dict(net.named_parameters())", None),
    ("net.load_state_dict({'weight': x})", "bias is missing"),
    ("copy.deepcopy(net), pickle.loads(pickle.dumps(net)), pickle.loads(pickle.dumps(net.state_dict()))", None),
    ("tinylm.save(net, 'x')", "state_dict"),
    ("t.encode('the cat'), t('the'), t(['the', 'cat']), t.decode(t.encode('the')), t.vocab_size, len(t), 'the' in t", None),
    ("tinylm.Tokenizer.from_pretrained('gpt2')", "Tokenizer.open"),
    ("tinylm.Tokenizer.no_such_name", "type object 'Tokenizer' has no attribute 'no_such_name'$"),
    ("t.get_vocab()", "here it is vocab"),
    ("t.tokenize('the')", "encode"),
    ("t.convert_ids_to_tokens([1])", "token\\(id\\)"),
    ("t.batch_decode([[97]])", "decode_batch"),
    ("t.eos_token_id", "special_tokens"),
    ("t.save_pretrained('x')", "save_json"),
    ("t('the', return_tensors='pt')", "as_numpy"),
    ("t(['the', 'cat'], padding=True)", "encode_padded"),
    ("tinylm.Model.from_pretrained('gpt2')", "Model.open"),
    ("tinylm.AutoTokenizer", "Tokenizer.open"),
    ("m([1, 2, 3]), m.forward([1]), m.loss([1], [2]), m.num_elements", None),
    ("m.eval()", "dropout"),
    ("m.named_parameters()", "parameters\\(\\), a dict"),
    ("m.generate([1], max_new_tokens=3)", "here it is max_tokens"),
    ("m.generate([1], do_sample=True)", "temperature"),
    ("m.state_dict()", "save\\(path\\)"),
    ("d[0], d[-1], d[1:3], d[::-2], list(d)", None),
    ("d[100]", "index 100 of"),
    ("d.map(len)", "encode_file"),
    ("tinylm.Loader(d, 2, 8, shuffle=True)", "order"),
    ("next(tinylm.Loader(d, 2, 8))", None)]


def names():
    return {"tinylm": tinylm, "nn": nn, "Tensor": Tensor, "copy": copy, "pickle": pickle, "x": tinylm.randn(2, 3, seed=1),
            "w": tinylm.randn(3, seed=1, requires_grad=True), "net": nn.Linear(3, 4),
            "t": tinylm.Tokenizer.train("the cat " * 20, 262), "m": tinylm.Model.create(50, 8, 16, 1, 2),
            "d": tinylm.Dataset(range(50))}


class FirstHourTest(unittest.TestCase):
    def test_rows(self):
        for code, answer in ROWS:
            with self.subTest(code=code):
                if answer is None:
                    exec(code, names())
                else:
                    self.assertRaisesRegex((AttributeError, TypeError, ValueError, RuntimeError, IndexError), answer,
                                           exec, code, names())

    def test_names_elsewhere_are_not_here(self):
        """Advice is for what is missing, and names what there is."""
        objects = names()
        for table, here in ((_elsewhere.MODULE, tinylm), (_elsewhere.NN, nn), (_elsewhere.TENSOR, objects["x"]),
                            (_elsewhere.MODEL, objects["m"]), (_elsewhere.TOKENIZER, objects["t"]), (_elsewhere.DATA, objects["d"]),
                            (_elsewhere.OPTIMIZER, tinylm.SGD([objects["w"]], 0.1)), (_elsewhere.MODULES, objects["net"])):
            for name, advice in table.items():
                self.assertFalse(hasattr(here, name), name)
                for found in re.findall(r"tinylm\.([A-Za-z_]\w*)", advice):
                    self.assertTrue(hasattr(tinylm, found), f"{name}: {advice}")
                for kind, found in re.findall(r"\b(Tensor|Model|Tokenizer|Loader|ChatTemplate|Dataset)\.([a-z_]\w*)", advice):
                    self.assertTrue(hasattr(getattr(tinylm, kind), found), f"{name}: {advice}")

    def test_pickles(self):
        """Data sets and templates go to other processes; the rest says what to do instead."""
        rows = tinylm.Dataset.from_rows([[1, 2, 3], [4, 5, 6]], [[0, 1, 1], [0, 0, 1]])
        whole = tinylm.Dataset([i % 50 for i in range(99)])
        for made in (rows, whole):
            for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), copy.copy(made)):
                self.assertEqual(other[:], made[:])
        losses = [names()["m"].evaluate(data, 1, 2).loss for data in (rows, pickle.loads(pickle.dumps(rows)))]
        self.assertEqual(losses[0], losses[1])
        messages = [{"role": "user", "content": "a"}]
        for template in (tinylm.ChatTemplate("chatml"), tinylm.ChatTemplate.parse("{{ messages[0].content }}{{ eos_token }}", None, "<e>")):
            self.assertEqual(pickle.loads(pickle.dumps(template)).render(messages), template.render(messages))
        model = names()["m"]
        optimizer, loader = tinylm.AdamW(model), tinylm.Loader(whole, 1, 8)
        for refused, words in ((optimizer, "Model.save"), (loader, "Dataset"), (tinylm.Generator(model), "Model"),
                               (tinylm.Trainer(model, optimizer, loader, steps=1), "resume"), (tinylm.BpeTrainer(300), "Tokenizer")):
            for lose in (pickle.dumps, copy.deepcopy):
                self.assertRaisesRegex(TypeError, f"cannot be pickled.*{words}", lose, refused)


if __name__ == "__main__":
    unittest.main(verbosity=1)
