"""Manual pages and shell completion against the tables of options, and conversations on a terminal.

Usage: test_tinylm_shells.py DIRECTORY_OF_THE_PROGRAMS
"""

import fcntl
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import termios
import time
import unittest

from tinylm_case import COMMANDS, PROGRAMS, TINYLM, Case, run


def options_of(command):
    """The names of a command's options, as its help lists them."""
    return re.findall(r"(?m)^  --([a-z0-9-]+)", run("help", command).out.split("\n\n--")[0])


class Manuals(Case):
    def test_pages_have_the_options_of_the_tables(self):
        for command in COMMANDS:
            page = (PROGRAMS / f"tinylm-{command}.1").read_text(encoding="utf-8")
            listed = re.findall(r"(?m)^\.TP\n\\fB\\-\\-([a-z0-9\\-]+)\\fR", page)
            self.assertEqual([name.replace("\\-", "-") for name in listed], options_of(command), command)
            self.assertIn(f"tinylm\\-{command} \\- ", page)
        page = (PROGRAMS / "tinylm.1").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"(?m)^\.TP\n\\fB(\w+)\\fR", page), [*COMMANDS, "help", "version"])

    def test_pages_are_clean(self):
        pages = sorted(PROGRAMS.glob("tinylm*.1"))
        self.assertGreaterEqual(len(pages), len(COMMANDS) + 1)
        tools = [(["mandoc", "-T", "lint", "-W", "warning"], "mandoc"),
                 (["groff", "-man", "-Tutf8", "-ww", "-z"], "groff")]  # fmt: skip
        tools = [tool for tool, name in tools if shutil.which(name)]
        if not tools:
            self.skipTest("neither mandoc nor groff is installed")
        for tool in tools:
            done = subprocess.run([*tool, *pages], capture_output=True, text=True, timeout=60)
            said = [line for line in (done.stdout + done.stderr).splitlines() if "outdated mandoc.db" not in line]
            self.assertEqual(said, [], tool)

    def test_a_reader_shows_them(self):
        if not shutil.which("man"):
            self.skipTest("man is not installed")
        shown = subprocess.run(["man", "-l", PROGRAMS / "tinylm-train.1"], capture_output=True, text=True,
                               env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}, timeout=60)  # fmt: skip
        text = re.sub(r".\x08", "", shown.stdout)
        if "minimized" in text:
            self.skipTest("this system's man shows no pages")
        self.assertIn("--vocab-size N", text)
        self.assertNotIn("\\", text.replace("\\n", ""))


class Completion(Case):
    def complete(self, *words):
        """What bash offers for the last word."""
        script = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }
            _tinylm; printf '%s\\n' "${COMPREPLY[@]}" """
        done = subprocess.run(["bash", "-c", script, "bash", PROGRAMS / "tinylm.bash", "tinylm", *words],
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        self.assertEqual(done.stderr, "", words)
        return done.stdout.split()

    @unittest.skipUnless(shutil.which("bash"), "bash is not installed")
    def test_bash(self):
        self.assertEqual(self.complete(""), [*COMMANDS, "help", "version", "--help", "--version"])
        self.assertEqual(self.complete("t"), ["tokenize", "train"])
        self.assertEqual(self.complete("help", "g"), ["generate"])
        for command in COMMANDS:
            self.assertEqual([name[2:] for name in self.complete(command, "--")], options_of(command), command)
        self.assertEqual(self.complete("train", "--norm", ""), ["pre", "post", "none", "after", "both"])
        self.assertEqual(self.complete("train", "--recipe", "f"), ["fast"])
        self.assertEqual(self.complete("convert", "--to", "g"), ["gguf"])
        self.assertEqual(self.complete("train", "--steps", ""), [])
        self.assertEqual(self.complete("generate", "--model", "model."), ["model.gguf", "model.safetensors"])
        self.assertEqual(self.complete("train", "--output-dir", "r"), ["run"])
        self.assertEqual(sorted(self.complete("bpe", "train.t")), ["train.txt"])

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh(self):
        self.assertEqual(subprocess.run(["zsh", "-n", PROGRAMS / "_tinylm"], timeout=60).returncode, 0)
        main, side = pty.openpty()
        shell = subprocess.Popen(["zsh", "-f", "-i"], stdin=side, stdout=side, stderr=side, start_new_session=True,
                                 env={**os.environ, "TERM": "dumb", "PS1": "$ "})  # fmt: skip
        os.close(side)
        terminal = Terminal(main)
        try:
            terminal.type(f"fpath=({PROGRAMS} $fpath); autoload -Uz compinit; compinit -u -d dump; echo rea'dy'\n")
            terminal.read_until("ready")
            terminal.type("tinylm tok\t")
            terminal.read_until("tokenize ")
            terminal.type("--tokeni\t")
            terminal.read_until("--tokenizer")
            terminal.type("\x15tinylm train --sched\t")
            terminal.read_until("--schedule")
            terminal.type(" cos\t")
            terminal.read_until("cosine")
        finally:
            shell.kill()
            shell.wait()
            os.close(main)

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish(self):
        script = f"source {PROGRAMS}/tinylm.fish; complete -C $argv[1]"

        def complete(line):
            done = subprocess.run(["fish", "-N", "-c", script, line], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.stderr, "")
            return [row.split("\t")[0] for row in done.stdout.splitlines()]

        self.assertEqual(complete("tinylm t"), ["tokenize", "train"])
        self.assertEqual(complete("tinylm train --schedule w"), ["wsd"])
        for command in COMMANDS:
            self.assertEqual(sorted(complete(f"tinylm {command} --")), sorted(f"--{n}" for n in options_of(command)))


class Terminal:
    """The other end of a terminal."""

    def __init__(self, main):
        self.main, self.seen = main, ""

    def type(self, text):
        os.write(self.main, text.encode())

    def read_until(self, text, seconds=60):
        """What was shown up to a text, which is then forgotten."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            if not select.select([self.main], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"no {text!r} in {self.seen!r}")
            try:
                piece = os.read(self.main, 65536)
            except OSError:
                piece = b""
            if not piece:
                raise AssertionError(f"no {text!r} before the end of {self.seen!r}")
            self.seen += piece.decode(errors="replace")
        before, self.seen = self.seen.split(text, 1)
        return before


class Chat(Case):
    TALK = ["chat", "--model", "folder", "--chat-template", "own.jinja", "--end-token", "", "--max-tokens"]

    def setUp(self):
        pathlib.Path("own.jinja").write_text("{% for m in messages %}{{ m.content }}.{% endfor %}")

    def talk(self, *words):
        main, side = pty.openpty()

        def take_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        process = subprocess.Popen([TINYLM, *map(str, words)], stdin=side, stdout=side, stderr=side,
                                   preexec_fn=take_terminal)  # fmt: skip
        os.close(side)
        self.addCleanup(os.close, main)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, Terminal(main)

    def test_answers_until_ctrl_d(self):
        process, terminal = self.talk(*self.TALK, 4)
        for question in ("One day", "the cat"):
            terminal.read_until("> ")
            terminal.type(question + "\n")
            self.assertIn("4 new", terminal.read_until("tokens/s)"))
        terminal.read_until("> ")
        terminal.type("\x04")
        self.assertEqual(process.wait(60), 0)

    def test_ctrl_c_stops_the_answer_only(self):
        process, terminal = self.talk(*self.TALK, 2000000000, "--past-context", "slide")
        terminal.read_until("> ")
        for _ in range(2):
            terminal.type("\x03")  # at the prompt: the line begins anew
            terminal.read_until("(Ctrl-D ends the conversation)")
            terminal.read_until("> ")
            terminal.type("One day\n")
            terminal.read_until("One day")
            time.sleep(0.5)
            terminal.type("\x03")
            self.assertIn("new", terminal.read_until(", stopped)"))
            terminal.read_until("> ")
        terminal.type("\x04")
        self.assertEqual(process.wait(60), 0)

    def test_stops_at_a_text(self):
        whole = run(*self.TALK, 12, input=b"One day\n").out.rstrip("\n")
        stop = whole[4:6]
        cut = run(*self.TALK, 12, "--stop", stop, input=b"One day\n").out.rstrip("\n")
        self.assertEqual(cut, whole[: whole.index(stop)])

    def test_the_prompt_cache_is_used_again(self):
        system = ["--system", "a cat", "--prompt-cache", "cache"]
        first = run(*self.TALK, 2, *system, input=b"One day\n")
        self.assertIn(" 0 of them in the cache", first.err)
        again = run(*self.TALK, 2, *system, input=b"One day\n")
        self.assertEqual(again.out, first.out)
        self.assertRegex(again.err, r"tokens, [1-9]\d* of them in the cache")
        words = ["generate", "--model", "folder", "--prompt", "One day a cat", "--max-tokens", 3]
        bare = run(*words).out
        for use in range(2):
            done = run(*words, "--prompt-cache", "other")
            self.assertEqual(done.out, bare)
            self.assertEqual("were in the cache" in done.err, use == 1)
        error = run(*words, "--prompt-cache", "valid.txt", status=1).err
        self.assertIn("valid.txt", error)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    unittest.main()
