"""The program tinylm: its commands, their options, what they say of wrong input, JSON and progress.

Usage: test_tinylm.py DIRECTORY_OF_THE_PROGRAMS
"""

import bz2
import gzip
import json
import lzma
import os
import pathlib
import pty
import re
import subprocess
import tarfile
import threading
import unittest
import zipfile

from tinylm_case import COMMANDS, NAMES, PROGRAMS, TINYLM, TRAIN, Case, parse, run

# An option that asks for it and a few words to go with it, for each command that takes files of a role.
ROLES = {
    "text": [["bpe", "--output", "o.json", "FILE"],
             ["tokenize", "--tokenizer", "tokenizer.json", "--output", "o.npy", "FILE"],
             ["eval", "--model", "folder", "FILE"], ["convert", "--to", "gguf", "--text", "FILE", "folder", "o.gguf"]],
    "tokens": [[*TRAIN[:2], "FILE", *TRAIN[3:]], ["tokenize", "--tokenizer", "tokenizer.json", "--decode", "FILE"]],
    "model": [["generate", "--max-tokens", "1", "--model", "FILE", "--tokenizer", "tokenizer.json"],
              ["eval", "--model", "FILE", "--tokenizer", "tokenizer.json", "valid.txt"],
              ["convert", "--to", "hf", "FILE", "o"], ["info", "--gflops", "1", "FILE"],
              ["chat", "--model", "FILE", "--tokenizer", "tokenizer.json", "--chat-template", "chatml"],
              ["finetune", *TRAIN[1:5], "--steps", "1", "--init", "FILE"]],
    "resumed": [[*TRAIN, "--steps", "20", "--resume", "FILE"]],
    "tokenizer": [["tokenize", "--output", "o.npy", "--tokenizer", "FILE", "valid.txt"],
                  ["generate", "--max-tokens", "1", "--model", "folder", "--tokenizer", "FILE"],
                  [*TRAIN, "--steps", "1", "--tokenizer", "FILE"]],
    "vocab": [["tokenize", "--output", "o.npy", "--vocab", "FILE", "--merges", "merges.txt", "valid.txt"]],
    "merges": [["tokenize", "--output", "o.npy", "--vocab", "vocab.json", "--merges", "FILE", "valid.txt"]],
    "adapter": [["generate", "--max-tokens", "1", "--model", "folder", "--adapter", "FILE"],
                ["convert", "--to", "hf", "--adapter", "FILE", "folder", "o"]],
    "run": [["report", "--output", "o.html", "FILE"]],
    "questions": [["eval", "--model", "folder", "--choices", "FILE"]],
    "config": [["info", "--config", "FILE"]],
}  # fmt: skip
TEXT = ["text", "questions"]
MODEL = ["model", "resumed"]


def make_kinds():
    """A file of each kind: its path, how it is called, and the roles that it may have."""
    text = pathlib.Path("valid.txt").read_bytes()
    tail = bytes(64)
    files = {
        "image.png": b"\x89PNG\r\n\x1a\n" + tail, "image.jpg": b"\xff\xd8\xff\xe0" + tail, "image.webp": b"RIFF\0\0\0\0WEBP" + tail,
        "sound.wav": b"RIFF\0\0\0\0WAVE" + tail, "film.mp4": b"\0\0\0\x20ftypisom" + tail, "base.db": b"SQLite format 3\0" + tail,
        "old.bin": b"lmgg" + tail, "net.onnx": b"\x08\x07\x12\x07pytorch" + tail, "table.arrow": b"ARROW1\0\0" + tail,
        "text.7z": b"7z\xbc\xaf\x27\x1c" + tail, "text.rar": b"Rar!\x1a\x07" + tail, "text.lz4": b"\x04\x22\x4d\x18" + tail,
        "text.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + tail, "text.rtf": b"{\\rtf1 text}", "wide.txt": "text".encode("utf-16"),
        "empty": b"", "binary": bytes(range(256)) * 9, "lines.jsonl": b'{"a": 1}\n{"a": 2}\n', "data.json": b'{"a": [1]}', "list.json": b' [ {"a": 1}]\n',
        "ranks.tiktoken": b"IQ== 0\nIg== 1\n", "page.html": b"<!DOCTYPE html><p>", "doc.pdf": b"%PDF-1.7\n\x00",
        "pickle.pt": b"\x80\x04\x95\x00\x00", "table.parquet": b"PAR1\x15\x04", "lib.so": b"\x7fELF\x02\x01",
        "weights.h5": b"\x89HDF\r\n\x1a\n\x00", "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "data.zst": b"\x28\xb5\x2f\xfd\x04\x00", "bare.safetensors": (2).to_bytes(8, "little") + b"{}",
        "sp.model": b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02",
    }  # fmt: skip
    for name, data in files.items():
        pathlib.Path(name).write_bytes(data)
    for name, module in (("text.gz", gzip), ("text.bz2", bz2), ("text.xz", lzma)):
        with module.open(name, "wb") as file:
            file.write(text)
    with zipfile.ZipFile("text.zip", "w") as archive:
        archive.write("valid.txt")
    for name, first in (("text.docx", "[Content_Types].xml"), ("text.odt", "mimetype"), ("ids.npz", "arr_0.npy")):
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr(first, "x")
    with tarfile.open("text.tar", "w") as archive:
        archive.add("valid.txt")
    if not os.path.exists("pipe"):
        os.mkfifo("pipe")
    pathlib.Path("nothing").mkdir(exist_ok=True)
    run("finetune", *TRAIN[1:5], "--init", "folder", "--lora-rank", 2, "--steps", 1, "--save-adapter", "adapter",
        "--output", "lora.safetensors")  # fmt: skip
    return [
        ("empty", "an empty file", ["text"]), ("nothing", "a directory, without a model", ["resumed"]),
        ("run", "the directory of a run", [*MODEL, "run"]), ("run/checkpoints", "a directory of checkpoints", MODEL),
        ("folder", "a folder of transformers", ["model", "tokenizer", "adapter"]),
        ("adapter", "a folder of PEFT", ["adapter", "tokenizer"]), ("valid.txt", "a text file", [*TEXT, "merges"]),
        ("data.json", "a JSON file", [*TEXT, "vocab", "tokenizer", "config"]), ("lines.jsonl", "a file of JSON lines", TEXT),
        ("list.json", "a JSON file", [*TEXT, "vocab", "tokenizer", "config"]),
        ("tokenizer.json", "a tokenizer.json", [*TEXT, "tokenizer"]),
        ("vocab.json", "a vocab.json", [*TEXT, "vocab", "tokenizer", "config"]), ("merges.txt", "a merges.txt", [*TEXT, "merges"]),
        ("ranks.tiktoken", "a rank file", [*TEXT, "tokenizer"]), ("page.html", "an HTML page", TEXT),
        ("pointer", "a pointer of Git LFS", []), ("sp.model", "a SentencePiece model", ["tokenizer"]),
        ("train.npy", "a .npy file", ["tokens"]), ("train.u16", "a token file", ["tokens"]),
        ("model.safetensors", "a checkpoint", MODEL), ("bare.safetensors", "a safetensors file without", MODEL),
        ("model.gguf", "a GGUF model", ["model", "tokenizer"]), ("text.gz", "a gzip file", []),
        ("text.bz2", "a bzip2 file", []), ("text.xz", "an xz file", []), ("data.zst", "a Zstandard file", []),
        ("text.zip", "a zip file", []), ("text.tar", "a tar archive", []), ("pickle.pt", "a Python pickle", []),
        ("table.parquet", "a Parquet file", []), ("weights.h5", "an HDF5 file", []), ("doc.pdf", "a PDF file", []),
        ("lib.so", "a program or library", []), ("binary", "a binary file of no known kind", ["text"]),
        ("image.png", "an image", []), ("image.jpg", "an image", []), ("image.webp", "an image", []),
        ("sound.wav", "a sound or a film", []), ("film.mp4", "a sound or a film", []), ("base.db", "an SQLite database", []),
        ("old.bin", "a model in a format before GGUF", []), ("net.onnx", "an ONNX model", []), ("table.arrow", "an Arrow file", []),
        ("text.7z", "a 7z archive", []), ("text.rar", "a RAR archive", []), ("text.lz4", "an LZ4 file", []),
        ("text.doc", "a document of an office program", []), ("text.rtf", "a document of an office program", []),
        ("text.docx", "a document of an office program", []), ("text.odt", "a document of an office program", []),
        ("ids.npz", "an .npz file of NumPy", []), ("wide.txt", "a text in UTF-16", []),
        ("pipe", "a device or a pipe", [*TEXT, "config"]),
    ]  # fmt: skip


class Commands(Case):
    def test_help_and_version(self):
        listed = run("help").out
        self.assertEqual(run("--help").out, listed)
        for command in COMMANDS:
            self.assertRegex(listed, rf"(?m)^  {command} +\w")
            text = run("help", command).out
            self.assertEqual(run(command, "--help").out, text)
            self.assertTrue(text.startswith(f"Usage: tinylm {command} [OPTION]..."), text)
            self.assertLessEqual(max(map(len, text.split("For example")[0].splitlines())), 100, text)
            name = NAMES.get(command, command)
            if name != "finetune":
                program = run("--help", program=PROGRAMS / name).out
                self.assertEqual(program, text.replace(f"tinylm {command}", name))
        version = run("--version").out
        self.assertRegex(version, r"^tinylm \(libtinylm\) \d+\.\d+\.\d+$")
        for words in (["version"], ["bpe", "--version"]):
            self.assertEqual(run(*words).out.split()[-1], version.split()[-1])
        self.assertEqual(run(status=2).err, "tinylm: a command is missing\nTry 'tinylm --help'.\n")

    def test_nearly_right_words_are_answered_with_the_right_ones(self):
        for words, meant in (
            (["trian"], "train"), (["tokenise"], "tokenize"), (["train_lm"], "train"), (["score"], "eval"),
            (["help", "genrate"], "generate"), (["generate", "--promt", "x"], "--prompt"),
            (["bpe", "--vocabsize=9"], "--vocab-size"), (["train", "--learning-rte", "1"], None),
            (["tokenize", "--qiuet"], "--quiet"),
        ):  # fmt: skip
            error = run(*words, status=2).err
            self.assertIn("unknown", error, words)
            if meant is not None:
                self.assertIn(f"did you mean {meant}?", error, words)
        self.assertNotIn("did you mean", run("generate", "--zzzzzzzz", status=2).err)
        self.assertIn("--output: its value is missing", run("bpe", "--output", status=2).err)
        self.assertIn("model.gguf: unexpected argument; did you mean --model model.gguf?",
                      run("generate", "model.gguf", status=2).err)
        self.assertIn("x: unexpected argument\n", run("generate", "--model", "run", "x", status=2).err)
        self.assertIn("--vocab-size gives its size", run(*TRAIN, "--vocab-size", 300, status=1).err)
        self.assertIn("begin with two dashes", run("bpe", "-o", "x", status=2).err)

    def test_words_of_options_are_checked_and_listed(self):
        error = run("info", "--norm", "past", status=2).err
        listed = re.search(r"one of (.*), not past", error).group(1)
        for command in ("info", "train"):
            self.assertIn(f": {listed} (default pre)", re.sub(r"\s+", " ", run("help", command).out))

    # ---- Wrong input ----

    def test_every_kind_of_file_in_every_place(self):
        for path, name, roles in make_kinds():
            for role, commands in ROLES.items():
                for words in commands:
                    words = [path if word == "FILE" else word for word in words]
                    if role in roles:
                        continue
                    with self.subTest(path=path, words=words):
                        error = run(*words, status=1, stdin=-3).err
                        self.assertIn(f"{path}: this is {name}", error)
                        self.assertRegex(error, r"takes [^;]*; .")
                        self.assertEqual(error.count("\n"), 1)

    def test_commands_that_are_named_take_the_file(self):
        """What an error recommends is not refused for the same reason."""
        for path, name, roles in make_kinds():
            wrong = next(role for role in ROLES if role not in roles)
            words = [path if word == "FILE" else word for word in ROLES[wrong][0]]
            advice = run(*words, status=1, stdin=-3).err.rsplit("; ", 1)[1]
            for command in re.findall(r"\b(" + "|".join(COMMANDS) + r")\b", advice.split(" as --")[0]):
                role = next((role for role in roles for words in ROLES[role] if words[0] == command), None)
                option = re.search(r" as --([a-z-]+)", advice)
                role = option.group(1) if option and option.group(1) in ROLES else role
                if role is None or (command == "train" and "train --" in advice):
                    role = "resumed" if "--resume" in advice else "model"
                with self.subTest(path=path, command=command, advice=advice):
                    self.assertIn(role, roles)

    def test_texts_that_begin_like_other_files(self):
        for begin in (b"GGUF", b"BZh", b"PAR1", b"ARROW1", b"GIF89a", b"ID3", b"OggS", b"fLaC", b"lmgg", b"\xff\xfe",
                      b"\xfe\xff", b"\xff\xfe\x00\xdc\x00\x00", b"\xff\xfe\x00"):
            with self.subTest(begin=begin):
                pathlib.Path("begin.txt").write_bytes(begin + b" is how this text begins")
                run("tokenize", "--tokenizer", "tokenizer.json", "--output", "begin.u16", "begin.txt")

    def test_missing_files_and_pipes(self):
        self.assertIn("no-such: No such file", run("bpe", "--output", "o.json", "no-such", status=1).err)
        piped = run("tokenize", "--tokenizer", "tokenizer.json", "--output", "o.npy", "/dev/stdin",
                    input=gzip.compress(b"text"))  # fmt: skip
        self.assertIn("tokens", piped.out)  # bytes that are meant

        self.assertIn("--check reads each file again",
                      run("tokenize", "--tokenizer", "tokenizer.json", "--output", "o.npy", "--check", "/dev/stdin",
                          input=b"text", status=1).err)  # fmt: skip

    def test_names_with_a_slip(self):
        for wrong, right in (("model.guf", "model.gguf"), ("run/checkpoint", "run/checkpoints"), ("folde", "folder"),
                             (os.path.abspath("modl.gguf"), os.path.abspath("model.gguf"))):  # fmt: skip
            error = run("info", wrong, status=1).err
            self.assertEqual(error, f"tinylm info: {wrong}: No such file or directory; did you mean {right}?\n")
        for wrong in ("something-else", "nosuch/", "valid.txt/x", "no/such/place"):
            self.assertNotIn("did you mean", run("info", wrong, status=1).err)

    def test_files_that_cannot_be_read(self):
        """What the kernel refuses at the first byte is no empty file."""
        for words in (["info"], ["bpe", "--output", "o.json"], ["train", "--config"]):
            # The second is what musl calls it.
            self.assertRegex(run(*words, "/proc/self/mem", status=1).err, "/proc/self/mem: (Input/output|I/O) error")
        os.chmod(".", 0o755)
        pathlib.Path("secret.gguf").write_bytes(b"GGUF")
        os.chmod("secret.gguf", 0)
        words = ["info", "secret.gguf"]
        if os.geteuid() == 0:
            found = subprocess.run(["setpriv", "--reuid=65534", TINYLM, "--version"], capture_output=True)
            if found.returncode != 0:
                self.skipTest("no other user can be tried")
            words = ["--reuid=65534", TINYLM, *words]
        error = run(*words, program="setpriv" if os.geteuid() == 0 else None, status=1).err
        self.assertEqual(error, "tinylm info: secret.gguf: Permission denied\n")

    def test_numbers(self):
        count, real = ["bpe", "--vocab-size"], ["generate", "--model", "run", "--temperature"]
        for words, text, answer in (
            (count, "1e6", "is not written in digits; did you mean 1000000?"),
            (count, "10k", "is not written in digits; did you mean 10000?"), (count, "1.5M", "did you mean 1500000?"),
            (count, "-5", "is negative"), (count, "-1e3", "is negative"), (count, "nan", "is not a finite number"),
            (count, "inf", "is not a finite number"), (count, "", "its value is empty"), (count, " ", "is not a number"),
            (count, "1.5", "is not a whole number"), (count, "0x10", "is not a whole number"),
            (count, " 5", "is not a whole number"), (count, "5 ", "is not a number"), (count, "abc", "is not a number"),
            (count, "99999999999999999999", "is too large"), (count, "1e30", "is too large"), (count, "1,000", "is not a number"),
            (real, "nan", "is not a finite number"), (real, "-inf", "is not a finite number"), (real, "", "its value is empty"),
            (real, "1e400", "is not a finite number"), (real, "1e-400", "is too close to 0"), (real, "0,5", "is not a number"),
            (real, "10k", "did you mean 10000.0?"), (real, "half", "is not a number"), (real, "1..2", "is not a number"),
        ):  # fmt: skip
            with self.subTest(words=words, text=text):
                error = run(*words, text, status=2).err
                self.assertIn(f"{words[-1]}: ", error)
                self.assertIn(answer, error)

    def test_standard_output_that_is_full(self):
        for words in (["help"], ["--version"], ["help", "train"], ["bpe", "--help"], ["info", "--gflops", 1],
                      ["info", "--gflops", 1, "--json"], ["eval", "--model", "run", "valid.txt"],
                      ["tokenize", "--tokenizer", "tokenizer.json", "--stats", "valid.txt"],
                      ["tokenize", "--tokenizer", "tokenizer.json", "--decode", "valid.npy"],
                      ["generate", "--model", "run", "--max-tokens", 2], ["report", "--output", "o.html", "run"],
                      ["bpe", "--vocab-size", 300, "--output", "o.json", "valid.txt"], TRAIN):  # fmt: skip
            with open("/dev/full", "wb") as full:
                done = subprocess.run([TINYLM, *map(str, words)], stdout=full, stderr=subprocess.PIPE, timeout=300)
            self.assertEqual(done.returncode, 1, words)
            self.assertRegex(done.stderr.decode(), r"(?m)^tinylm.*: standard output: ")

    # ---- JSON ----

    def test_failures_are_json_too(self):
        for words, status in ((["info", "nosuch"], 1), (["bpe"], 2), (["train", "--steps", "x"], 2), (["info", "--zork"], 2),
                              (["eval", "--model", "train.txt", "valid.txt"], 1), (["report", "folder"], 1),
                              (["generate", "--model", "run", "--temperature", "-1"], 1), (["convert", "run"], 2)):  # fmt: skip
            for place in (1, len(words)):
                done = run(*words[:place], "--json", *words[place:], status=status)
                error = parse(done.out.splitlines()[-1])
                self.assertEqual((error["event"], error["status"]), ("error", status))
                self.assertEqual(done.err.splitlines()[0], f"tinylm {words[0]}: {error['error']}")
            self.assertEqual(run(*words, status=status).out, "", words)

    def results(self, *words):
        done = run(words[0], "--json", *words[1:], env={"TINYLM_PROGRESS_SECONDS": "0"})
        self.assertEqual(done.err, "", words)
        return [parse(line) for line in done.out.splitlines()]

    def test_json_of_each_command(self):
        tokenizer = ["--tokenizer", "tokenizer.json"]
        (bpe,) = self.results("bpe", "--vocab-size", 300, "--output", "o.json", "train.txt")
        self.assertEqual((bpe["tokens"], bpe["merges"], bpe["output"], bpe["vocab"]), (300, 43, "o.json", None))
        (encoded,) = self.results("tokenize", *tokenizer, "--output", "o.npy", "--check", "train.txt", "valid.txt")
        size = os.path.getsize("train.txt") + os.path.getsize("valid.txt")
        self.assertEqual((encoded["bytes"], encoded["round_trip_bytes"]), (size, size))
        (stats,) = self.results("tokenize", *tokenizer, "--stats", "train.txt", "valid.txt")
        self.assertEqual([row["file"] for row in stats["files"]], ["train.txt", "valid.txt", "all"])
        self.assertEqual(len(stats["longest_tokens"]), 5)
        (decoded,) = self.results("tokenize", *tokenizer, "--decode", "--output", "o.txt", "valid.npy")
        self.assertEqual(decoded["bytes"], os.path.getsize("valid.txt"))
        events = self.results(*TRAIN, *tokenizer, "--output", "o.safetensors")
        self.assertEqual([e["event"] for e in events].count("evaluation"), 2)
        self.assertEqual([e["step"] for e in events if e["event"] == "step"], [5, 10, 15, 20])
        self.assertEqual((events[0]["event"], events[-1]["event"], events[-1]["step"]), ("start", "end", 20))
        (made,) = self.results("generate", "--model", "run", "--max-tokens", 5, "--samples", 2, "--temperature", 1)
        self.assertEqual([len(sample["ids"]) for sample in made["samples"]], [5, 5])
        self.assertTrue(all(p <= 0 for sample in made["samples"] for p in sample["log_probs"]))
        (scored,) = self.results("generate", "--model", "run", "--score", "One day a cat sat.")
        self.assertGreater(scored["perplexity"], 1)
        rows = self.results("eval", "--model", "run", "valid.txt", "train.txt")
        self.assertEqual([row["file"] for row in rows], ["valid.txt", "train.txt", "total"])
        (converted,) = self.results("convert", "--to", "gguf", "--text", "valid.txt", "run", "o.gguf")
        self.assertAlmostEqual(converted["perplexity_before"], converted["perplexity_after"], places=2)
        (info,) = self.results("info", "--gflops", 10, "--memory", "1G", "run")
        self.assertEqual(info["parameters"], converted["parameters"])
        self.assertEqual(info["shape"]["d_model"], 16)
        self.assertGreater(info["largest_batch"], 100)
        (report,) = self.results("report", "--output", "o.html", "run")
        self.assertEqual((report["runs"][0]["steps"], report["runs"][0]["directory"]), (20, "run"))
        swept = self.results("sweep", "--output-dir", "swept", "--vary", "rate=1e-3,1e-2", "--", *TRAIN[1:])
        self.assertEqual(sorted(row["run"] for row in swept), ["rate-1e-2", "rate-1e-3"])
        self.assertEqual({row["state"] for row in swept}, {"done"})

    def test_json_has_no_bare_infinity(self):
        pathlib.Path("word.txt").write_text("x" * 20000)
        (row,) = self.results("eval", "--model", "run", "word.txt")
        self.assertIsNone(row["word_perplexity"])
        self.assertGreater(row["token_perplexity"], 1)
        pathlib.Path("odd.txt").write_bytes(b'"\\\x00\xff\xc3(\n')
        (row,) = self.results("tokenize", "--tokenizer", "tokenizer.json", "--output", 'o"\\.npy', "odd.txt")
        self.assertEqual(row["output"], 'o"\\.npy')

    # ---- Progress ----

    LONG = [["bpe", "--vocab-size", "400", "--output", "o.json", "train.txt"],
            ["tokenize", "--tokenizer", "tokenizer.json", "--output", "o.npy", "--check", "train.txt", "valid.txt"],
            ["tokenize", "--tokenizer", "tokenizer.json", "--stats", "train.txt"],
            ["tokenize", "--tokenizer", "tokenizer.json", "--decode", "--output", "o.txt", "train.npy"],
            ["eval", "--model", "run", "valid.txt"],
            ["convert", "--to", "gguf", "--text", "valid.txt", "run", "o.gguf"],
            ["info", "--memory", "64M"]]  # fmt: skip

    def test_progress_is_lines_without_a_terminal(self):
        for words in self.LONG:
            shown = run(*words, env={"TINYLM_PROGRESS_SECONDS": "0"}).err
            self.assertRegex(shown, r"(?m)^.+: +\d+%", words)
            self.assertNotIn("\r", shown)
            self.assertEqual(run(*words).err, "", words)  # too fast for the usual ten seconds
            for option in ("--quiet", "--json"):
                self.assertEqual(run(*words, option, env={"TINYLM_PROGRESS_SECONDS": "0"}).err, "", words)
        shown = run(*TRAIN, env={"TINYLM_PROGRESS_SECONDS": "0"})
        self.assertRegex(shown.out, r"(?m)^step +5/20 ")
        self.assertNotRegex(run(*TRAIN, "--quiet").out, r"(?m)^step +5/20 ")

    def test_progress_is_a_bar_on_a_terminal(self):
        for words in [*self.LONG, TRAIN]:
            main, side = pty.openpty()
            shown = self.on_terminal(main, side, words)
            self.assertRegex(shown, r"\r.+\[[#.]+\] +\d+% ", words)
            self.assertTrue(shown.endswith("\r\x1b[K"), (words, shown[-80:]))  # it is removed
            self.assertTrue(all(len(line) < 80 for line in re.split(r"\r|\x1b\[K", shown)), words)

    def on_terminal(self, main, side, words):
        pieces = []

        def read():
            try:
                while piece := os.read(main, 65536):
                    pieces.append(piece)
            except OSError:
                pass

        reader = threading.Thread(target=read)
        reader.start()
        environment = {**os.environ, "TINYLM_PROGRESS_SECONDS": "0"}
        subprocess.run([PROGRAMS / "tinylm", *words], check=True, stdout=-3, stderr=side, env=environment, timeout=300)
        os.close(side)
        reader.join()
        os.close(main)
        return b"".join(pieces).decode()

    def test_configuration_files_take_all_options(self):
        pathlib.Path("config.json").write_text(json.dumps({"vocab_size": 270, "output": "o.json", "json": True}))
        self.assertEqual(parse(run("bpe", "--config", "config.json", "train.txt").out)["tokens"], 270)


unittest.main()
