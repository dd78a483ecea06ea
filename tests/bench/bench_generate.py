#!/usr/bin/env python3
"""Generation beside llama.cpp on the same GGUF file: one sequence, a token at a time, and prompts.

    python3 -m venv .venv-bench && .venv-bench/bin/pip install cyllama==0.2.18 numpy
    PYTHONPATH=examples/python .venv-bench/bin/python tests/bench/bench_generate.py build/lib/libtinylm.so [FILE ...]

Without a file, a model of random float32 weights is made (--shape). Both programs run in one process and take turns
of a few tokens, so that they meet the same machine; of each pair of turns the ratio counts, and its median is
printed. With one thread the seconds are those of the processor (of the thread), which other programs do not change;
with more, those of the clock. Both take the likeliest token. llama.cpp's time is that of its decode alone, ours
includes the choice of the token. Memory is the most that a process of its own had in memory, files included.
"""
import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from bench_support import SKIP, memory_mib

# vocabulary, context, d_model, layers, heads, d_ff, as bench_generate.c has them
SHAPES = {"small": (1024, 128, 128, 4, 4, 384), "cs336": (10000, 256, 512, 4, 16, 1344),
          "gpt2-small": (50257, 1024, 768, 12, 12, 2048)}
NAMES = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")
FIRST = 65  # the token that both begin with
TURN = 4  # tokens


def make_model(shape, path):
    import tinylm
    tokenizer = tinylm.Tokenizer.train("a b c " * 10, vocab_size=260, special_tokens=["<|endoftext|>"])
    tinylm.Model.create(**dict(zip(NAMES, SHAPES[shape])), seed=1).save_gguf(path, tokenizer)


class Tinylm:
    def __init__(self, path, threads, tokens):
        import tinylm
        tinylm.set_num_threads(threads)
        self.model, _ = tinylm.Model.open(path, for_inference=True)
        self.generator = tinylm.Generator(self.model)
        self.sequence = self.generator.add([FIRST], max_tokens=tokens + 1)

    def token(self):
        self.generator.step()

    def ids(self):
        return list(self.generator.tokens(self.sequence))

    def prompt(self, ids):
        import tinylm
        if not hasattr(self, "prompts"):
            self.prompts = tinylm.Generator(self.model)
        self.prompts.add(ids, max_tokens=1)
        self.prompts.step()


class LlamaCpp:
    def __init__(self, path, threads, tokens):
        from cyllama.llama import llama_cpp

        class Model(llama_cpp.LlamaModel):
            n_vocab = property(lambda self: self.get_vocab().n_vocab)  # what get_logits_ith looks for

        llama_cpp.disable_logging()
        self.llama_cpp, self.model, self.threads = llama_cpp, Model(path), threads
        self.context, self.out = self.make_context(max(tokens + 8, 32)), [FIRST]

    def make_context(self, length):
        params = self.llama_cpp.LlamaContextParams()
        params.n_ctx, params.type_k, params.type_v = length, 0, 0  # caches in float32, as ours
        params.n_threads = params.n_threads_batch = self.threads
        params.n_batch = params.n_ubatch = 512
        return self.llama_cpp.LlamaContext(self.model, params)

    def decode(self, context, ids, n_past):
        batch = self.llama_cpp.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1)
        batch.set_batch(ids, n_past=n_past, logits_all=False)
        context.decode(batch)
        context.synchronize()

    def token(self):
        self.decode(self.context, self.out[-1:], len(self.out) - 1)

    def choose(self):
        import numpy
        self.out.append(int(numpy.argmax(self.context.get_logits_ith(0))))

    def ids(self):
        return self.out[1:]

    def prompt(self, ids):
        if not hasattr(self, "prompts"):
            self.prompts = self.make_context(len(ids) + 8)
        self.prompts.kv_cache_clear(True)
        self.decode(self.prompts, ids, 0)


RUNS = {"tinylm": Tinylm, "llama.cpp": LlamaCpp}


def take_turns(actions, rounds, threads, after=lambda name: None):
    """The seconds of each action, by program, in turns; each turn begins with one that is not counted."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    seconds = {name: [] for name in actions}
    for _ in range(rounds):
        for name, (action, count) in actions.items():
            total = 0.0
            for i in range(count + 1):
                begin = clock()
                action()
                total += clock() - begin if i > 0 else 0.0
                after(name)
            seconds[name].append(total / count)
    return seconds


def ratio_text(seconds):
    ours, theirs = seconds.values()
    ratios = sorted(b / a for a, b in zip(ours, theirs))
    quarter = len(ratios) // 4
    return "%.3f | %.3f | %.2f (%.2f to %.2f)" % (
        1e3 * statistics.median(ours), 1e3 * statistics.median(theirs), statistics.median(ratios),
        ratios[quarter], ratios[-1 - quarter])


def compare(path, threads, rounds, prompt_length):
    """Lines of the table for one file."""
    tokens = rounds * (TURN + 1)
    programs = {name: kind(path, threads, tokens) for name, kind in RUNS.items()}
    theirs = programs["llama.cpp"]
    seconds = take_turns({name: (program.token, TURN) for name, program in programs.items()}, rounds, threads,
                         lambda name: theirs.choose() if name == "llama.cpp" else None)
    pairs = list(zip(*(program.ids() for program in programs.values())))
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    yield "a token", ratio_text(seconds), "%d of %d" % (same, len(pairs))
    ids = [FIRST + i * 7 % 150 for i in range(prompt_length)]
    seconds = take_turns({name: (lambda program=program: program.prompt(ids), 1) for name, program in
                          programs.items()}, max(rounds // 5, 3), threads)
    yield "a prompt of %d" % prompt_length, ratio_text(seconds), ""


def memory(library, name, path, tokens):
    """Megabytes at most, of a process that opens the file and generates."""
    command = [sys.executable, __file__, library, path, "--only", name, "--rounds", str(tokens)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_only(name, path, tokens):
    import numpy  # noqa: F401, for both
    from cyllama.llama import llama_cpp  # noqa: F401
    program = RUNS[name](path, 1, tokens)
    for _ in range(tokens):
        program.token()
        if name == "llama.cpp":
            program.choose()
    print(memory_mib("VmHWM"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--shape", choices=SHAPES, default="cs336")
    parser.add_argument("--rounds", type=int, default=20, help="turns of %d tokens" % TURN)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--only", choices=RUNS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["TINYLM_LIBRARY"] = os.path.abspath(arguments.library)
    if importlib.util.find_spec("cyllama") is None:
        print("skipped: cyllama is not installed")
        sys.exit(SKIP)
    if arguments.only:
        run_only(arguments.only, arguments.files[0], arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as directory:
        files = arguments.files
        if not files:
            files = [os.path.join(directory, arguments.shape + ".gguf")]
            make_model(arguments.shape, files[0])
        print("| file | threads | of | tinylm, ms | llama.cpp, ms | llama.cpp takes, times | same tokens |")
        print("|---|---|---|---|---|---|---|")
        for path in files:
            name = os.path.basename(path)
            for threads in arguments.threads:
                for of, ratio, same in compare(path, threads, arguments.rounds, arguments.prompt):
                    print("| %s | %d | %s | %s | %s |" % (name, threads, of, ratio, same), flush=True)
                    if not arguments.files and same and len(set(same.split(" of "))) > 1:
                        sys.exit("the tokens differ from number %s on" % same.split(" of ", maxsplit=1)[0])
            sizes = [memory(arguments.library, one, path, arguments.rounds) for one in RUNS]
            print("| %s | | memory, MiB | %.0f | %.0f | %.2f | |" % (name, *sizes, sizes[1] / sizes[0]), flush=True)


if __name__ == "__main__":
    main()
