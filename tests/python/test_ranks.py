"""Ranks from Python: training, BPE training and encoding leave what one process leaves, to the bit. Ranks are threads of
this process; with "mpi LAUNCHER..." the test runs itself under mpirun too, over mpi4py, if that is installed.

    test_ranks.py [mpi MPIRUN_SH LAUNCHER]"""

import ctypes
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import peers  # noqa: E402

import tinylm  # noqa: E402


def make_text(seed, size=30000):
    chance = random.Random(seed)
    pieces = ["the ", "model ", "reads", " text\n", "é中", "<|end|>", "<|en", "  \n", "12345"]
    return "".join(chance.choice(pieces) for _ in range(size // 4))


def train_model(communicator, folder, name, steps=4):
    """A checkpoint's bytes and the losses of a short run."""
    ids = [(i * i + i // 3) % 61 for i in range(2000)]
    model = tinylm.Model.create(vocab_size=64, context_length=8, d_model=16, num_layers=1, num_heads=2, seed=1)
    optimizer = tinylm.AdamW(model)
    loader = tinylm.Loader(tinylm.Dataset(ids), 2, 8, seed=3)
    losses, path = [], os.path.join(folder, name)
    trainer = tinylm.Trainer(model, optimizer, loader, steps, accumulation=4, communicator=communicator,
                             on_step=lambda step: losses.append(step.loss))
    trainer.run()
    rank = 0 if communicator is None else tinylm.communicator._communicator(communicator).rank
    trainer.save(path)
    return losses, pathlib.Path(path).read_bytes() if rank == 0 else None


def train_tokenizer(communicator, folder):
    return tinylm.Tokenizer.train(files=[os.path.join(folder, "a.txt"), os.path.join(folder, "b.txt")], vocab_size=300,
                                  special_tokens=["<|end|>"], communicator=communicator)


def write_texts(folder):
    for name, seed in (("a.txt", 1), ("b.txt", 2)):
        pathlib.Path(folder, name).write_text(make_text(seed), encoding="utf-8")


def encode(tokenizer, communicator, folder, name):
    paths = [os.path.join(folder, text) for text in ("a.txt", "b.txt")]
    return tinylm.encode_files(tokenizer, paths, os.path.join(folder, name), communicator=communicator)


class LocalRanksTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory()) if hasattr(self, "enterContext") else None
        if self.folder is None:
            place = tempfile.TemporaryDirectory()
            self.addCleanup(place.cleanup)
            self.folder = place.name
        write_texts(self.folder)

    def run_ranks(self, n, work):
        """What work(communicator) gives on each of n ranks; exceptions too."""
        results = [None] * n

        def run(i, communicator):
            try:
                results[i] = work(communicator)
            except Exception as error:  # noqa: BLE001
                results[i] = error

        threads = [threading.Thread(target=run, args=pair) for pair in enumerate(tinylm.Communicator.local(n))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def test_ranks(self):
        ranks = tinylm.Communicator.local(3)
        self.assertEqual([(c.rank, c.num_ranks) for c in ranks], [(0, 3), (1, 3), (2, 3)])
        self.assertEqual(repr(ranks[1]), "Communicator(rank 1 of 3)")
        self.assertEqual(self.run_ranks(4, lambda c: (c.barrier(), c.seconds >= 0)), [(None, True)] * 4)
        with self.assertRaises(tinylm.InvalidArgumentError):
            tinylm.Communicator.local(0)

    def test_training(self):
        alone = train_model(None, self.folder, "alone.safetensors")
        for n in (1, 2, 4):
            results = self.run_ranks(n, lambda c: train_model(c, self.folder, f"ranks.{n}.safetensors"))
            for result in results:
                self.assertEqual(result[0], alone[0])
            self.assertEqual(results[0][1], alone[1])
        for error in self.run_ranks(3, lambda c: train_model(c, self.folder, "three.safetensors")):
            self.assertIsInstance(error, tinylm.InvalidArgumentError)
            self.assertIn("3 ranks cannot share the 4 batches", str(error))

    def test_tokenizing(self):
        alone = train_tokenizer(None, self.folder)
        n = encode(alone, None, self.folder, "alone.npy")
        expected = pathlib.Path(self.folder, "alone.npy").read_bytes()
        texts = [pathlib.Path(self.folder, name).read_text(encoding="utf-8") for name in ("a.txt", "b.txt")]
        self.assertEqual(n, sum(len(alone.encode(text)) for text in texts))

        def work(communicator):
            together = train_tokenizer(communicator, self.folder)
            return together.merges == alone.merges, encode(together, communicator, self.folder, "ranks.npy")

        for ranks in (1, 2, 3):
            self.assertEqual(self.run_ranks(ranks, work), [(True, n)] * ranks)
            self.assertEqual(pathlib.Path(self.folder, "ranks.npy").read_bytes(), expected)

    def test_failures(self):
        tokenizer = train_tokenizer(None, self.folder)

        def stop(communicator):
            progress = (lambda *_: True) if communicator.rank == 1 else None
            return tinylm.encode_files(tokenizer, [os.path.join(self.folder, "a.txt")],
                                       os.path.join(self.folder, "never.npy"), communicator=communicator, progress=progress)

        for rank, error in enumerate(self.run_ranks(2, stop)):
            self.assertIsInstance(error, tinylm.CancelledError)
            self.assertIn("cancelled by its callback" if rank == 1 else "rank 1: ", str(error))
        self.assertFalse(os.path.exists(os.path.join(self.folder, "never.npy")))

    def test_wrong_arguments(self):
        tokenizer = train_tokenizer(None, self.folder)
        for wrong in (4, "world", [1]):
            with self.assertRaisesRegex(TypeError, "communicator takes a tinylm.Communicator or a communicator of mpi4py"):
                encode(tokenizer, wrong, self.folder, "never.npy")
        with self.assertRaisesRegex(TypeError, "text_paths takes a list"):
            tinylm.encode_files(tokenizer, "a.txt", "never.npy")
        if peers.importlib.util.find_spec("mpi4py") is None:
            with self.assertRaisesRegex(ImportError, "need mpi4py"):
                tinylm.Communicator()


def run_mpi_rank(folder):
    """One rank under mpirun: compares with what one process does, and prints a line on rank 0."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    alone = train_tokenizer(None, folder)
    together = train_tokenizer(world, folder)
    assert together.merges == alone.merges
    ranks = tinylm.Communicator(world)
    n = encode(alone, None, folder, f"alone-{ranks.rank}.npy")
    assert encode(together, ranks, folder, "ranks.npy") == n
    ranks.barrier()
    assert pathlib.Path(folder, "ranks.npy").read_bytes() == pathlib.Path(folder, f"alone-{ranks.rank}.npy").read_bytes()
    losses, checkpoint = train_model(None, folder, f"alone-{ranks.rank}.safetensors")
    shared = train_model(ranks, folder, "ranks.safetensors")
    assert shared[0] == losses and shared[1] in (None, checkpoint), (shared[0], losses)
    try:
        encode(together if ranks.rank else alone, ranks, folder, "missing/folder.npy")
    except tinylm.NotFoundError as error:
        assert "missing" in str(error), error
    else:
        raise AssertionError("a file in no folder was written")
    lonely = tinylm.Communicator(world, timeout=0.2)  # the others do not come
    if ranks.rank == 0 and ranks.num_ranks > 1:
        try:
            lonely.barrier()
        except tinylm.FileError as error:
            assert "within 0.2 seconds" in str(error), error
        else:
            raise AssertionError("a wait that should end")
    ranks.barrier()
    if ranks.rank == 0:
        print(f"{ranks.num_ranks} ranks: {n} tokens, losses {losses[0]:.3f} to {losses[-1]:.3f}")


def path_of_library(name):
    """Where the loader finds a library; None if it does not."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return None
    maps = pathlib.Path("/proc/self/maps").read_text(encoding="utf-8").split()
    return next((path for path in maps if os.path.basename(path).startswith(name)), None)


def run_under_mpi(mpirun, launcher):
    """mpi4py's wheels load the MPI that MPI4PY_MPIABI names, MPICH as libmpi.so.12, which Debian names libmpich.so.12."""
    peers.require("mpi4py")
    is_mpich = "openmpi" not in launcher
    mpich = path_of_library("libmpich.so.12") if is_mpich else None
    with tempfile.TemporaryDirectory() as folder:
        if mpich:
            os.symlink(mpich, os.path.join(folder, "libmpi.so.12"))
        environment = {**os.environ, "MPI4PY_MPIABI": "mpich" if is_mpich else "openmpi",
                       "LD_LIBRARY_PATH": folder + ":" + os.environ.get("LD_LIBRARY_PATH", "")}
        check = subprocess.run([mpirun, launcher, "1", sys.executable, "-c", "from mpi4py import MPI; print(MPI.get_vendor())"],
                               env=environment, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check.returncode != 0 or ("MPICH" if is_mpich else "Open MPI") not in check.stdout:
            print(f"skipped: mpi4py does not work with {launcher}: {check.stdout}")
            sys.exit(peers.SKIP)
        write_texts(folder)
        for ranks in (1, 2, 4):
            command = [mpirun, launcher, str(ranks), sys.executable, "-m", "mpi4py", __file__, "rank", folder]
            result = subprocess.run(command, env=environment, timeout=300, check=False)
            if result.returncode != 0:
                sys.exit(f"{' '.join(command)}: status {result.returncode}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        run_mpi_rank(sys.argv[2])
    elif sys.argv[1:2] == ["mpi"]:
        run_under_mpi(*sys.argv[2:])
    else:
        unittest.main(verbosity=2)
