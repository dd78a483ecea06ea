"""Every parameter of every public function and method, with values of all wrong types: the answer is a result, or an
error of Python's usual kinds that names the parameter; never ctypes' words, and never a crash."""

import ctypes
import faulthandler
import inspect
import os
import tempfile
import types
import unittest

import tinylm

WRONG = [None, True, -1, 3, 10 ** 30, 2.5, float("nan"), "x y", "", b"x", [], [1], [None], ["a"], {}, {"a": 1}, object(),
         1j]
# What an error may be; AttributeError, KeyError, ctypes.ArgumentError and the like are faults of the package.
ALLOWED = (TypeError, ValueError, IndexError, OSError, tinylm.Error, MemoryError,
           ImportError)  # of packages that are asked for: MPI, matplotlib
# What takes any values, and says what is wrong with an element.
SKIPPED: set = set()


class Good:
    """Arguments that work, by the name of the parameter, and objects to call methods of."""

    def __init__(self, folder):
        self.folder = folder
        text = "the cat sat on the mat. " * 30
        self.file = self.path("text.txt", text)
        self.tokenizer = tinylm.Tokenizer.train(text, vocab_size=270, special_tokens=["<|e|>"])
        self.tokenizer.save_json(self.path("tokenizer.json"))
        self.tokenizer.save(self.path("vocab.json"), self.path("merges.txt"))
        self.model = tinylm.Model.create(280, context_length=16, d_model=16, num_layers=1, num_heads=2)
        self.model.save(self.path("model"), tokenizer=self.tokenizer)
        self.data = tinylm.Dataset([i % 270 for i in range(600)])
        self.template = tinylm.ChatTemplate("chatml")
        self.lines = self.path("chat.jsonl", '{"messages": [{"role": "user", "content": "a"}, '
                               '{"role": "assistant", "content": "b"}]}\n')

    def path(self, name, text=None):
        path = os.path.join(self.folder, name)
        if text is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return path

    def tensor(self, *shape, grad=False):
        made = tinylm.Tensor([0.5] * int(__import__("math").prod(shape)), requires_grad=False).reshape(*shape).detach()
        if grad:
            made.requires_grad = True
        return made

    def owner(self, kind):
        """An object of a class, to call a method of."""
        if kind is tinylm.Tokenizer:
            return self.tokenizer
        if kind is tinylm.Model:
            return tinylm.Model.load(self.path("model"))
        if kind is tinylm.BpeTrainer:
            return tinylm.BpeTrainer(270)
        if kind is tinylm.ChatTemplate:
            return self.template
        if kind is tinylm.Tensor:
            return self.tensor(2, 3, grad=True)
        if kind in (tinylm.AdamW, tinylm.Optimizer):
            return tinylm.AdamW(self.model)
        if kind is tinylm.Dataset:
            return self.data
        if kind is tinylm.Loader:
            return tinylm.Loader(self.data, 2, 8)
        if kind is tinylm.TokenWriter:
            return tinylm.TokenWriter(self.path("tokens.u16"))
        if kind is tinylm.Generator:
            made = tinylm.Generator(self.model)
            made.add([1, 2], max_tokens=2, num_top_log_probs=1, tokenizer=self.tokenizer, keeps_cache=True)
            while made.step():
                pass
            return made
        if kind is tinylm.Trainer:
            return tinylm.Trainer(self.model, tinylm.AdamW(self.model), tinylm.Loader(self.data, 2, 8), steps=2)
        if kind is tinylm.History:
            return tinylm.History()
        raise unittest.SkipTest(f"no object of {kind.__name__}")

    def argument(self, function, name):
        """For a parameter that must be given."""
        x, square = self.tensor(2, 4), self.tensor(4, 4)
        special = {
            ("Tokenizer.open", "path"): self.path("tokenizer.json"), ("Model.load", "path"): self.path("model"),
            ("Model.open", "path"): self.path("model"), ("Model.load_checkpoint", "path"): self.path("model"),
            ("checkpoint_metadata", "path"): self.path("model"), ("checkpoint_tokenizer", "path"): self.path("model"),
            ("BpeTrainer.add_file", "path"): self.file, ("Dataset.open_text", "path"): self.file,
            ("Dataset.open_chat", "path"): self.lines, ("embedding", "ids"): tinylm.Tensor([1, 2], tinylm.UINT32),
            ("where", "condition"): tinylm.Tensor([[True] * 4] * 2, tinylm.BOOL),
            ("rms_norm", "weight"): self.tensor(4), ("cross_entropy", "targets"): tinylm.Tensor([1, 2], tinylm.UINT32),
            ("Dataset.open", "path"): self.path("ids.u16"), ("model_cost", "model"): self.model.options,
            ("Optimizer.add_group", "parameters"): [self.tensor(4, grad=True)],
            ("Optimizer.add_adamw_group", "parameters"): [self.tensor(4, grad=True)],
            ("Optimizer.add_muon_group", "parameters"): [self.tensor(4, 4, grad=True)],
            ("Optimizer.add_model", "model"): tinylm.Model.load(self.path("model")),
            ("Optimizer.set_state", "state"): [0.0] * 280 * 16, ("Optimizer.state", "name"): "m",
            ("Optimizer.set_state", "name"): "m", ("ChatTemplate.__init__", "name"): "chatml",
            ("Model.set_parameter", "name"): "ln_final.weight", ("Model.set_parameter", "values"): [1.0] * 16,
            ("Model.freeze", "patterns"): "ln_final.*", ("Tensor.__init__", "values"): [1.0],
            ("Tensor.copy_", "values"): [[1.0] * 3] * 2, ("clip_norm", "gradients"): [x],
            ("custom_op", "inputs"): [x], ("full", "value"): 2.0, ("schedule_learning_rate", "kind"): "constant", ("init_truncated_normal", "tensor"): square,
        }
        if (function, name) in special:
            return special[function, name]
        usual = {
            "text": "the cat", "texts": ["the cat"], "chunks": ["the ", "cat"], "ids": [1, 2, 3], "rows": [[1, 2], [3, 4]],
            "vocab": {0: b"a", 1: b"b", 2: b"ab"}, "merges": [(b"a", b"b")], "vocab_path": self.path("vocab.json"),
            "merges_path": self.path("merges.txt"), "path": self.path("out"), "input_path": self.file,
            "text_path": self.file, "tokens_path": self.path("out.u16"), "directory": self.path("checkpoints"),
            "vocab_size": 280, "context_length": 16, "d_model": 16, "num_layers": 1, "num_heads": 2, "token": "a",
            "token_id": 1, "tokenizer": self.tokenizer, "dataset": self.data, "model": self.model, "batch": 2, "context": 8,
            "batch_size": 2, "seed": 1, "n": 2, "offset": 0, "level": "scalar", "learning_rate": 0.1, "row_length": 16,
            "optimizer": tinylm.AdamW(self.model), "loader": tinylm.Loader(self.data, 2, 8), "steps": 2, "sequence": 0,
            "position": 0, "prompt": [1, 2], "prompts": [[1, 2]], "source": "{{ messages[0].content }}", "row": 0,
            "messages": [{"role": "user", "content": "a"}], "inputs": [[1, 2]], "targets": [[2, 3]], "index": 0,
            "patterns": "*", "enabled": True, "parameters": [self.tensor(4, 4, grad=True)], "step": 1, "state": [0.0],
            "max_learning_rate": 0.1, "min_learning_rate": 0.01, "warmup_steps": 1, "cycle_steps": 5, "max_norm": 1.0,
            "weight_decay": 0.1, "sigma": 0.1, "a": x, "b": x, "x": x, "weight": square, "gate": x, "up": x,
            "w1": square, "w2": square, "w3": square, "wq": square, "wk": square, "wv": square, "wo": square,
            "query": x, "key": x, "value": x, "logits": x, "tensors": [x, x], "result": x, "dim": 0, "dim0": 0, "dim1": 1,
            "start": 0, "stop": 1, "factor": 2.0, "m": [square], "v": [square], "gradients": [square], "tensor": square,
            "backward": lambda gradient: [gradient], "shape": [2, 3], "low": 0, "high": 3, "rate": 0.5, "group": 0,
            "decay": 0.9, "text_paths": [self.file],
            "products": "float32", "schedule": {"kind": "constant", "max_learning_rate": 0.1}, "array": x, "buffer": bytearray(8), "name": "x"}
        if name not in usual:
            raise unittest.SkipTest(f"{function} takes {name}, of which the test has no value")
        return usual[name]


def public():
    """Names of functions and methods, with the class, the function and how it is bound."""
    for name in tinylm.__all__:
        value = getattr(tinylm, name)
        if isinstance(value, types.FunctionType):
            yield name, None, value
        elif isinstance(value, type) and not issubclass(value, (Exception, tuple)):
            for label, member in vars(value).items():
                if label == "__init__" or not label.startswith("_"):
                    if isinstance(member, (types.FunctionType, classmethod, staticmethod)):
                        yield f"{name}.{label}", value, member


def call_of(good, kind, name, member):
    """What calls a function with a dict of arguments by name."""
    if kind is None:
        return member
    if name.endswith(".__init__"):
        return kind
    if isinstance(member, (classmethod, staticmethod)):
        return getattr(kind, name.partition(".")[2])
    return lambda **arguments: getattr(good.owner(kind), name.partition(".")[2])(**arguments)


class ArgumentsTest(unittest.TestCase):
    def try_one(self, name, call, arguments, label, wrong):
        try:
            result = call(**{**arguments, label: wrong})
            if inspect.isgenerator(result):
                list(result)
        except ALLOWED as error:
            self.assertNotIsInstance(error, ctypes.ArgumentError)
            if isinstance(error, TypeError) and not isinstance(error, tinylm.Error):
                self.assertIn(label, str(error), f"{name}({label}={wrong!r}) says only: {error}")
        except Exception as error:
            raise AssertionError(f"{name}({label}={wrong!r}): {type(error).__name__}: {error}") from error

    def test_every_parameter(self):
        tried = 0
        threads = tinylm.num_threads()
        with tempfile.TemporaryDirectory() as folder:
            good = Good(folder)
            self.addCleanup(os.chdir, os.getcwd())
            os.chdir(folder)  # some wrong values are paths that can be written to
            with tinylm.TokenWriter(good.path("ids.u16")) as writer:
                writer.push(range(200))
            for name, kind, member in public():
                function = getattr(member, "__func__", member)
                parameters = [one for one in inspect.signature(function).parameters.values()
                              if one.name not in ("self", "cls") and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
                if name in SKIPPED:
                    continue
                for parameter in parameters:
                    with self.subTest(function=name, parameter=parameter.name):
                        call = call_of(good, kind, name, member)
                        for wrong in WRONG:
                            arguments = {one.name: good.argument(name, one.name) for one in parameters
                                         if one.default is one.empty}
                            self.try_one(name, call, arguments, parameter.name, wrong)
                            tried += 1
                        tinylm.set_num_threads(threads)
                        tinylm.set_cpu_level("avx2") if tinylm.cpu_level() == "scalar" else None
        self.assertGreater(tried, 4000)


if __name__ == "__main__":
    faulthandler.enable()
    unittest.main(verbosity=2)
