"""The library as a whole: errors, threads, Ctrl-C, the package's documentation."""

import math
import os
import pickle
import pydoc
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import unittest.mock

import tinylm
from binding_cases import TEXT, setUpModule  # noqa: F401


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
        with unittest.mock.patch.dict(os.environ, {"TINYLM_CPU": "avx2,-sve"}):
            tinylm.check_environment()
        with unittest.mock.patch.dict(os.environ, {"TINYLM_CPU": "avx2,-abacus"}):
            with self.assertRaisesRegex(tinylm.InvalidArgumentError, "'-abacus' is none of the words scalar"):
                tinylm.check_environment()
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
