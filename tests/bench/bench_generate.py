#!/usr/bin/env python3
"""One sequence, a token at a time, of libtinylm beside llama.cpp: the same GGUF file of float32 weights, on as many
threads, always the likeliest token. Each measurement is a process of its own; both in turn, several rounds. The
tokens must agree. llama.cpp's time is that of its decode alone, ours includes the choice of the token.

    python3 -m venv .venv-bench && .venv-bench/bin/pip install cyllama==0.2.18 numpy
    PYTHONPATH=examples/python .venv-bench/bin/python tests/bench/bench_generate.py build/lib/libtinylm.so
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

# vocabulary, context, d_model, layers, heads, d_ff, as bench_generate.c has them
SHAPES = {"small": (1024, 128, 128, 4, 4, 384), "cs336": (10000, 256, 512, 4, 16, 1344),
          "gpt2-small": (50257, 1024, 768, 12, 12, 2048)}
NAMES = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")
FIRST = 65  # the prompt's only token
SKIP = 77  # what meson takes for a skipped test


def make_model(shape, path):
    import tinylm
    tokenizer = tinylm.Tokenizer.train("a b c " * 10, vocab_size=260, special_tokens=["<|endoftext|>"])
    tinylm.Model.create(**dict(zip(NAMES, SHAPES[shape])), seed=1).save_gguf(path, tokenizer)


def run_tinylm(path, threads, tokens):
    import tinylm
    tinylm.set_num_threads(threads)
    model, _ = tinylm.Model.open(path)
    generator = tinylm.Generator(model)
    sequence, seconds = generator.add([FIRST], max_tokens=tokens + 1), []
    for _ in range(tokens):
        begin = time.perf_counter()
        generator.step()
        seconds.append(time.perf_counter() - begin)
    return generator.tokens(sequence), seconds


def run_llama_cpp(path, threads, tokens):
    import numpy
    from cyllama.llama import llama_cpp

    class Model(llama_cpp.LlamaModel):
        n_vocab = property(lambda self: self.get_vocab().n_vocab)  # what get_logits_ith looks for

    llama_cpp.disable_logging()
    model, params = Model(path), llama_cpp.LlamaContextParams()
    params.n_ctx, params.type_k, params.type_v = max(tokens + 8, 32), 0, 0  # caches in float32, as ours
    params.n_threads = params.n_threads_batch = threads
    context, ids, seconds = llama_cpp.LlamaContext(model, params), [FIRST], []
    for position in range(tokens):
        batch = llama_cpp.LlamaBatch(n_tokens=1, embd=0, n_seq_max=1)
        batch.set_batch(ids[-1:], n_past=position, logits_all=False)
        begin = time.perf_counter()
        context.decode(batch)
        context.synchronize()
        seconds.append(time.perf_counter() - begin)
        ids.append(int(numpy.argmax(context.get_logits_ith(0))))
    return ids[1:], seconds


RUNS = {"tinylm": run_tinylm, "llama.cpp": run_llama_cpp}


def measure(name, arguments, threads, path):
    """The ids, and the median of the seconds per token after the first few."""
    command = [sys.executable, __file__, arguments.library, "--only", name, "--model", path,
               "--threads", str(threads), "--tokens", str(arguments.tokens)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    ids, seconds = json.loads(done.stdout.splitlines()[-1])
    return ids, statistics.median(seconds[4:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--shape", choices=SHAPES, default="cs336")
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--only", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["TINYLM_LIBRARY"] = os.path.abspath(arguments.library)
    if arguments.only:
        print(json.dumps(RUNS[arguments.only](arguments.model, arguments.threads[0], arguments.tokens)))
        return
    if importlib.util.find_spec("cyllama") is None:
        print("skipped: cyllama is not installed")
        sys.exit(SKIP)
    print("| threads | tinylm, ms/token | llama.cpp | llama.cpp takes |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "model.gguf")
        make_model(arguments.shape, path)
        for threads in arguments.threads:
            times = {name: [] for name in RUNS}
            for _ in range(arguments.rounds):
                ids = {}
                for name in RUNS:
                    ids[name], seconds = measure(name, arguments, threads, path)
                    times[name].append(seconds)
                if ids["tinylm"] != ids["llama.cpp"]:
                    sys.exit("the tokens differ: %s and %s" % (ids["tinylm"], ids["llama.cpp"]))
            ratios = sorted(b / a for a, b in zip(*times.values()))
            print("| %d | %.3f | %.3f | %.2f times (%.2f to %.2f) |" % (
                threads, *(1e3 * statistics.median(column) for column in times.values()),
                statistics.median(ratios), ratios[0], ratios[-1]), flush=True)


if __name__ == "__main__":
    main()
