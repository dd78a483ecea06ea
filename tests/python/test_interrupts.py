"""Ctrl-C in calls that take long: a child process works for minutes, gets SIGINT while it does, and must come out of
the call with KeyboardInterrupt and go on working."""

import copy
import os
import re
import signal
import subprocess
import sys
import types
import unittest
from unittest import mock

import tinylm
from tinylm._native import _lib, _missed

BEFORE = """
import os, random, shutil, signal, sys, tempfile, threading, time
import tinylm
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
def tokenizer():
    return tinylm.Tokenizer.train("a b c " * 10, vocab_size=258, pattern=r"\\w+(?:x(?!y))?|\\s+|[^\\w\\s]+")
def model(**options):
    return tinylm.Model.create(64, context_length=64, d_model=64, num_layers=4, num_heads=4, **options)
ids = [i * i % 61 for i in range(4000000)]
folder = tempfile.mkdtemp()
def path(name):
    return os.path.join(folder, name)
def forever(call):
    # for what takes less than a second on data of a test
    while True:
        call()
def large():
    return tinylm.Model.create(8000, context_length=64, d_model=256, num_layers=4, num_heads=4)
def trainer(m, **options):
    return tinylm.Trainer(m, tinylm.AdamW(m), tinylm.Loader(tinylm.Dataset(ids), 4, 64), **options)
def ready():
    print("ready", flush=True)
"""
TEXT = """
rng = random.Random(1)
words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(200000)]
text = " ".join(rng.choices(words, k=400000))  # about 2.6 MB
"""
AFTER = """
try:
    work()
except KeyboardInterrupt:
    again()
    print("interrupted", flush=True)
else:
    print("not interrupted", flush=True)
finally:
    shutil.rmtree(folder)
"""
# What is done before "ready", the call, and what must still work after it.
CALLS = {
    "evaluate": ("m, d = model(), tinylm.Dataset(ids)", "m.evaluate(d, 4)", "m.evaluate(d, 4, max_tokens=64)"),
    "score": ("m = model()", "m.score(ids)", "m.score(ids[:20])"),
    "encode": ("t, long = tokenizer(), text * 40", "t.encode(long)", "t.encode('a b')"),
    "encode_batch": ("t, many = tokenizer(), [text] * 40", "t.encode_batch(many)", "t.encode_batch(['a b'])"),
    "count": ("t, long = tokenizer(), text * 40", "t.count(long)", "t.count('a b')"),
    "learning": ("b = tinylm.BpeTrainer(200000)\nb.add_text(text)", "b.train()", "b.stats"),
    "counting": ("b = tinylm.BpeTrainer(400, pattern=r'\\w+(?:x(?!y))?|\\s+|[^\\w\\s]+')\nlong = text * 60",
                 "b.add_text(long)", "b.stats"),
    "generate": ("m = model()", "m.generate([1, 2], max_tokens=10**7)", "m.generate([1, 2], max_tokens=2)"),
    "generate_many": ("m = model()", "m.generate_many([[1, 2], [3]], max_tokens=10**7)",
                      "m.generate([1, 2], max_tokens=2)"),
    "training": ("m = model()\n"
                 "t = tinylm.Trainer(m, tinylm.AdamW(m), tinylm.Loader(tinylm.Dataset(ids), 4, 64), steps=10**6)",
                 "t.run()", "t.step()"),
    "evaluation in a run": (
        "m = model()\nt = tinylm.Trainer(m, tinylm.AdamW(m), tinylm.Loader(tinylm.Dataset(ids), 4, 64), steps=10**6, "
        "valid=tinylm.Dataset(ids), eval_every=1)", "t.run()", "t.step()"),
    "backward": ("x = tinylm.Tensor([[0.5] * 64] * 64, requires_grad=True)\ny = x\n"
                 "for _ in range(60000): y = (y * 1.0001).sigmoid()\ny = y.sum()", "y.backward()", "x.sum().item()"),
    "create": ("", "forever(large)", "model()"),
    "save": ("m = large()", "forever(lambda: m.save(path('m')))", "m.save(path('n')); assert not any('.tmp' in name for name in os.listdir(folder))"),
    "save_in": ("m = large(); i = iter(range(10**9))", "forever(lambda: m.save_in(folder, iteration=next(i), keep_last=1))",
                "tinylm.latest_checkpoint(folder)"),
    "save_hf": ("m = large()", "forever(lambda: m.save_hf(path('m')))", "m.save_hf(path('n')); tinylm.Model.open(path('n'))"),
    "save_gguf": ("m = large()", "forever(lambda: m.save_gguf(path('m'), weights='q4_k_m'))",
                  "m.save_gguf(path('n')); tinylm.Model.open(path('n'))"),
    "load": ("m = large(); m.save(path('m'))", "forever(lambda: tinylm.Model.load(path('m')))", "tinylm.Model.load(path('m'))"),
    "load_checkpoint": ("m = large(); m.save(path('m'), iteration=3)", "forever(lambda: m.load_checkpoint(path('m')))",
                        "assert m.load_checkpoint(path('m')) == 3"),
    "open": ("m = large(); m.save(path('m'))", "forever(lambda: tinylm.Model.open(path('m')))", "tinylm.Model.open(path('m'))"),
    "metadata": ("m = large(); m.save(path('m'))", "forever(lambda: tinylm.checkpoint_metadata(path('m')))",
                 "tinylm.checkpoint_metadata(path('m'))"),
    "latest_checkpoint": ("m = large(); m.save_in(folder, iteration=1)", "forever(lambda: tinylm.latest_checkpoint(folder))",
                          "tinylm.latest_checkpoint(folder)"),
    "Dataset.open": ("with tinylm.TokenWriter(path('ids.u16')) as w: w.push(ids)",
                     "forever(lambda: tinylm.Dataset.open(path('ids.u16'), vocab_size=64))",
                     "assert len(tinylm.Dataset.open(path('ids.u16'), vocab_size=64)) == len(ids)"),
    "encode_file": ("t = tokenizer(); open(path('t'), 'w').write(text * 20)",
                    "tinylm.encode_file(t, path('t'), path('ids.u16'))",
                    "assert 'ids.u16' not in os.listdir(folder); t.encode('a b')"),
    "open_text": ("t = tokenizer(); open(path('t'), 'w').write(text * 20)", "tinylm.Dataset.open_text(path('t'), t)", "t.encode('a b')"),
    "train_bpe": ("open(path('t'), 'w').write(text * 60)", "tinylm.train_bpe(path('t'), 100000)", "tinylm.Tokenizer.train('a b', 258)"),
    "from_files": ("t = tinylm.Tokenizer.train(text, 4000); t.save(path('v'), path('m'))",
                   "forever(lambda: tinylm.Tokenizer.from_files(path('v'), path('m')))",
                   "assert tinylm.Tokenizer.from_files(path('v'), path('m')).encode('a b') == t.encode('a b')"),
    "Trainer.step": ("m = model(); t = trainer(m, steps=10**6)", "forever(t.step)", "n = t.steps; assert len(t.history.steps) == n; t.step()"),
    "Trainer.save": ("m = large(); t = trainer(m, steps=9)", "forever(lambda: t.save(path('m')))", "t.save(path('n')); t.resume(path('n'))"),
    "saves of a run": ("m = large(); t = trainer(m, steps=10**6, save_every=1, checkpoint_path=path('m'), save_on_cancel=True)",
                       "t.run()", "t.resume(); assert t.steps == len(t.history.steps)"),
    "a call in a callback": ("m = model(); d = tinylm.Dataset(ids)\nt = trainer(m, steps=9, on_step=lambda _: m.evaluate(d, 4))",
                             "t.run()", "t.step()"),
    "its own call in a callback": (
        "m = model()\nt = trainer(m, steps=9, valid=tinylm.Dataset(ids), on_step=lambda _: t.evaluate())", "t.run()", "t.step()"),
    "Optimizer.step": ("m = large(); o = tinylm.Muon(m); m.loss([1, 2], [3, 4]).backward()", "forever(o.step)", "o.step()"),
    "clip_grad_norm": ("m = large(); m.loss([1, 2], [3, 4]).backward()",
                       "forever(lambda: tinylm.clip_grad_norm(m.parameters(), 1.0))", "m.zero_grad()"),
    "forward": ("m = large()", "forever(lambda: m.forward([1, 2, 3]))", "m.forward([1])"),
    "matmul": ("x = tinylm.randn(1000, 1000)", "forever(lambda: x @ x)", "x.sum().item()"),
    "Loader": ("l = tinylm.Loader(tinylm.Dataset(ids), 64, 512, as_numpy=False, prefetch=2)", "for _ in l: pass", "next(l)"),
    "decode_batch": ("t = tokenizer(); rows = [ids[:1000]] * 1000", "forever(lambda: t.decode_batch(rows))", "t.decode([1])"),
    "Generator.step": ("m = model(); g = tinylm.Generator(m); g.add([1, 2], max_tokens=10**7)", "forever(g.step)", "g.step()"),
    "pickle": ("import pickle; m = large()", "forever(lambda: pickle.loads(pickle.dumps(m)))", "pickle.dumps(m)"),
    "tensor[index]": ("x = tinylm.randn(200, 200)", "forever(lambda: x.__setitem__(x > 0, 1))", "x[0].sum()"),
}


def small_model():
    return tinylm.Model.create(16, context_length=4, d_model=4, num_layers=1, num_heads=1)


def copies(first, n):
    return [first] + [copy.copy(first) for _ in range(n - 1)]


def interrupted_at(number, objects):
    """Lets go of a list's objects. Raises KeyboardInterrupt at an instruction of what __del__ calls, as the handler of
    SIGINT would. Whether there are as many instructions."""
    seen = 0

    def trace(frame, event, _argument):
        nonlocal seen
        if os.path.dirname(frame.f_code.co_filename) != os.path.dirname(tinylm.__file__):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_code.co_name != "__del__":
            seen += 1
            if seen == number + 1:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        objects.clear()
    finally:
        sys.settrace(None)
    return seen > number


class InterruptTest(unittest.TestCase):
    def test_while_an_argument_is_converted(self):
        class Late:
            def __index__(self):
                raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):  # of which ctypes makes an error of its own
            _lib.tlm_set_num_threads(Late())

    def test_while_objects_go(self):
        """At each instruction of what lets an object go, the object is freed, once, and the next call raises."""
        makes = {"tlm_tensor_free": lambda: [tinylm.zeros(2)], "tlm_model_free": lambda: [small_model()],
                 "shared": lambda: copies(small_model(), 3)}
        for name, make in makes.items():
            free = "tlm_model_free" if name == "shared" else name
            for number in range(1000):
                objects, freed = make(), []
                with mock.patch.object(_lib, free, types.SimpleNamespace(function=freed.append)):
                    raised = interrupted_at(number, objects)
                for handle in freed[:1]:
                    getattr(_lib, free).function(handle)
                self.assertEqual(len(freed), 1, f"{name} at instruction {number}")
                if not raised:
                    break
                with self.assertRaises(KeyboardInterrupt):
                    tinylm.version()
            self.assertGreater(number, 5)

    def test_at_the_end_of_an_op(self):
        """Ctrl-C comes when the op has made its result, which nobody gets to see."""
        exp, made, freed, x = _lib.tlm_exp, [], [], tinylm.zeros(2)

        def interrupted(out, *arguments):
            exp(out, *arguments)
            made.append(out._obj.value)
            raise KeyboardInterrupt

        with mock.patch.object(_lib, "tlm_exp", interrupted), \
                mock.patch.object(_lib, "tlm_tensor_free", types.SimpleNamespace(function=freed.append)):
            with self.assertRaises(KeyboardInterrupt):
                x.exp()
        self.assertEqual([handle.value for handle in freed], made)
        _lib.tlm_tensor_free(freed[0])

    def test_when_an_object_goes_after_one_that_missed(self):
        freed, tensors = [], [tinylm.zeros(2) for _ in range(3)]
        _missed.append(KeyboardInterrupt())
        with mock.patch.object(_lib, "tlm_tensor_free", types.SimpleNamespace(function=freed.append)):
            tensors.clear()
        self.assertEqual(len(freed), 3)
        with self.assertRaises(KeyboardInterrupt):
            tinylm.version()
        for handle in freed:
            _lib.tlm_tensor_free(handle)

    def check(self, name):
        prepare, call, again = CALLS[name]
        source = (BEFORE + (TEXT if "text" in prepare else "") + prepare + f"\ndef work():\n    ready()\n    {call}\ndef again():\n    {again}\n" + AFTER)
        with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env=os.environ) as child:
            try:
                ready = child.stdout.readline()
                self.assertEqual(ready, "ready\n", child.stderr.read() if ready == "" else "")
                try:
                    child.wait(0.3)  # it is in the call by now; if not, the signal comes before, which counts too
                except subprocess.TimeoutExpired:
                    pass
                child.send_signal(signal.SIGINT)
                output, errors = child.communicate(timeout=100)
                self.assertEqual(output, "interrupted\n", errors)
            finally:
                child.kill()


for call_name in CALLS:
    setattr(InterruptTest, "test_" + re.sub(r"\W+", "_", call_name), lambda self, name=call_name: self.check(name))

if __name__ == "__main__":
    unittest.main(verbosity=2)
