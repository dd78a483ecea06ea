"""What benchmarks share, above all those of the tokenizer: texts, the library through ctypes, measurements that
are a process of their own each."""
import ctypes
import hashlib
import json
import os
import random
import subprocess
import sys
import sysconfig
from ctypes import POINTER, Structure, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

SPECIAL = "<|endoftext|>"
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SKIP = 77  # what meson takes for a skipped test
DATA = os.environ.get("TINYLM_TEST_DATA",
                      os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../shared/data"))


class Bytes(Structure):
    _fields_ = [("data", c_char_p), ("size", c_size_t)]


class TrainerOptions(Structure):
    """As far as version 0.1 had it."""
    _fields_ = [("size", c_size_t), ("vocab_size", c_uint32), ("reserved", c_uint32),
                ("special_tokens", POINTER(Bytes)), ("num_special_tokens", c_size_t),
                ("pattern", c_char_p), ("min_frequency", c_uint64)]


class TokenizerOptions(Structure):
    """As far as version 0.1 had it."""
    _fields_ = [("size", c_size_t), ("special_tokens", POINTER(Bytes)),
                ("num_special_tokens", c_size_t), ("pattern", c_char_p)]


def load_tinylm(arguments):
    """A function that calls the library by name and ends the program if the call fails."""
    lib = ctypes.CDLL(arguments.library)
    lib.tlm_error_message.restype = c_char_p

    def call(name, *values):
        if getattr(lib, "tlm_" + name)(*values) != 0:
            sys.exit("tlm_%s: %s" % (name, lib.tlm_error_message().decode()))

    call("set_num_threads", c_int32(arguments.threads))
    return call


class Ids:
    """An array of the library's."""

    def __init__(self, free, pointer, n):
        self.free, self.pointer, self.n = free, pointer, n

    def __del__(self):
        self.free(self.pointer)

    def __len__(self):
        return self.n

    def tobytes(self):
        return ctypes.string_at(self.pointer, 4 * self.n)


def digest_of(ids):
    if isinstance(ids, int):
        return str(ids)
    if hasattr(ids, "tobytes"):
        data = ids.tobytes()
    elif hasattr(ids, "to_numpy"):
        data = ids.to_numpy().astype("<u4").tobytes()
    else:
        data = (c_uint32 * len(ids))(*ids)
    return hashlib.sha256(data).hexdigest()


def train_tinylm(call, text, vocab_size):
    """A tokenizer of the library from a file."""
    special = Bytes(SPECIAL.encode(), len(SPECIAL))
    options = TrainerOptions(ctypes.sizeof(TrainerOptions), vocab_size, 0, ctypes.pointer(special), 1,
                             None, 0)
    trainer, tokenizer = c_void_p(), c_void_p()
    call("bpe_trainer_create", ctypes.byref(trainer), ctypes.byref(options))
    call("bpe_trainer_add_file", trainer, text.encode())
    call("bpe_trainer_train", ctypes.byref(tokenizer), trainer)
    return tokenizer


def byte_alphabet():
    """From GPT-2's printable characters back to bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(b): b for b in printable}
    alphabet.update((chr(0x100 + i), b)
                    for i, b in enumerate(b for b in range(256) if b not in printable))
    return alphabet


def memory_mib(field):
    """VmRSS or VmHWM of this process: its memory now, and its peak since the process was started;
    getrusage would count the parent's too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":")) / 1024


def run_alone(script, name, package, arguments, options):
    """Has a script measure one thing in a process of its own (--only); what it prints, or None where the
    package is not installed."""
    if package and package not in arguments.installed:
        return None
    environment = dict(os.environ, RAYON_NUM_THREADS=str(arguments.threads),
                       TOKENIZERS_PARALLELISM="true" if arguments.threads > 1 else "false")
    command = [sys.executable, script, arguments.library, "--only", name,
               "--threads", str(arguments.threads), "--vocab-size", str(arguments.vocab_size)]
    run = subprocess.run(command + options, capture_output=True, text=True, env=environment)
    if run.returncode != 0:
        sys.exit("%s: %s" % (name, run.stderr.strip()))
    return json.loads(run.stdout)


def installed_versions(packages):
    from importlib import metadata
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return versions


def make_text(source, path, size):
    """The first `size` bytes of the source, repeated if it is shorter, cut between documents or else
    between characters. Piece by piece, for texts larger than memory."""
    with open(source, "rb") as text, open(path, "wb+") as file:
        while file.tell() < size:
            piece = text.read(min(1 << 24, size - file.tell()))
            if not piece:
                text.seek(0)
            file.write(piece)
        file.seek(max(0, size - (1 << 20)))
        tail = file.read()
        end = tail.rfind(SPECIAL.encode())
        file.truncate(size - len(tail) + (end + len(SPECIAL) if end >= 0 else last_start(tail)))


def last_start(tail):
    """Where the last character of some UTF-8 begins."""
    at = len(tail) - 1
    while at > 0 and tail[at] & 0xC0 == 0x80:
        at -= 1
    return max(at, 0)


def cut(text, size):
    """At most `size` bytes of UTF-8."""
    return text if len(text) <= size else text[:size].decode(errors="ignore").encode()


def code_text(size):
    """Python's own library, in the order of its names."""
    folder, text = sysconfig.get_path("stdlib"), b""
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb") as file:
                text += file.read().decode(errors="ignore").encode()
    return cut(text * (size // len(text) + 1), size)


def mixed_text(size):
    """Words of random letters of many scripts, with a Zipf-like choice among 20000 of them."""
    scripts = [(0x61, 0x7A), (0x3B1, 0x3C9), (0x430, 0x44F), (0x5D0, 0x5EA), (0x627, 0x64A),
               (0x905, 0x939), (0xE01, 0xE2E), (0x3041, 0x3093), (0x4E00, 0x5FFF), (0xAC00, 0xBFFF),
               (0x1F600, 0x1F64F)]
    choice = random.Random(1)
    words = []
    for _ in range(20000):
        low, high = choice.choice(scripts)
        length = choice.randint(1, 2 if low > 0x10000 else 8)
        words.append("".join(chr(choice.randint(low, high)) for _ in range(length)))
    parts, total = [], 0
    while total < size:
        word = words[int(20000 * choice.random() ** 4)] + choice.choice([" ", " ", " ", ", ", ".\n"])
        parts.append(word)
        total += len(word.encode())
    return cut("".join(parts).encode(), size)
