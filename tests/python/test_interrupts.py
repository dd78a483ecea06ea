"""Ctrl-C in calls that take long: a child process works for minutes, gets SIGINT while it does, and must come out of
the call with KeyboardInterrupt and go on working."""

import os
import signal
import subprocess
import sys
import unittest

BEFORE = """
import random, signal, sys, threading, time
import tinylm
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
rng = random.Random(1)
words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(200000)]
text = " ".join(rng.choices(words, k=400000))  # about 2.6 MB
def tokenizer():
    return tinylm.Tokenizer.train("a b c " * 10, vocab_size=258, pattern=r"\\\\w+(?:x(?!y))?|\\\\s+|[^\\\\w\\\\s]+")
def model(**options):
    return tinylm.Model.create(64, context_length=64, d_model=64, num_layers=4, num_heads=4, **options)
ids = [i * i % 61 for i in range(4000000)]
def ready():
    print("ready", flush=True)
"""
AFTER = """
try:
    work()
except KeyboardInterrupt:
    again()
    print("interrupted", flush=True)
else:
    print("not interrupted", flush=True)
"""
# What is done before "ready", the call, and what must still work after it.
CALLS = {
    "evaluate": ("m, d = model(), tinylm.Dataset(ids)", "m.evaluate(d, 4)", "m.evaluate(d, 4, max_tokens=64)"),
    "score": ("m = model()", "m.score(ids)", "m.score(ids[:20])"),
    "encode": ("t, long = tokenizer(), text * 40", "t.encode(long)", "t.encode('a b')"),
    "encode_batch": ("t, many = tokenizer(), [text] * 40", "t.encode_batch(many)", "t.encode_batch(['a b'])"),
    "count": ("t, long = tokenizer(), text * 40", "t.count(long)", "t.count('a b')"),
    "learning": ("b = tinylm.BpeTrainer(200000)\nb.add_text(text)", "b.train()", "b.stats"),
    "counting": ("b = tinylm.BpeTrainer(400, pattern=r'\\\\w+(?:x(?!y))?|\\\\s+|[^\\\\w\\\\s]+')\nlong = text * 60",
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
}


class InterruptTest(unittest.TestCase):
    def check(self, name):
        prepare, call, again = CALLS[name]
        source = (BEFORE + prepare + f"\ndef work():\n    ready()\n    {call}\ndef again():\n    {again}\n" + AFTER)
        with subprocess.Popen([sys.executable, "-c", source.replace("\\\\\\\\", "\\\\")], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env=os.environ) as child:
            try:
                self.assertEqual(child.stdout.readline(), "ready\n", child.stderr.read() if child.poll() else "")
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
    setattr(InterruptTest, "test_" + call_name.replace(" ", "_"), lambda self, name=call_name: self.check(name))

if __name__ == "__main__":
    unittest.main(verbosity=2)
