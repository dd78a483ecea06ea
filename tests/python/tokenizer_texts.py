"""Texts that tokenizers are compared on: real ones, many scripts, code and hostile characters."""

import os
import random

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("TINYLM_TEST_DATA", os.path.join(HERE, "../../../shared/data"))

FIXED = [
    "",
    " ",
    "  ",
    "\n",
    "\u2581",
    " \u2581 x\u2581\u2581y",
    "Hello world",
    " Hello  world ",
    "Hello world, it's 2024! We'll see: 12345 apples\n\n  and   tabs\t\t\r\n end  ",
    "def f(x):\n    return {'a': [1, 2.5e-3], \"b\": x ** 2}  # comment\n\n\n",
    "#include <stdio.h>\nint main(void)\n{\n\tfor (int i = 0; i < 1000000; i++)\n\t\tprintf(\"%d\\n\", i);\n}\n",
    "na\u00efve caf\u00e9 \u4f60\u597d\u4e16\u754c \u3053\u3093\u306b\u3061\u306f \u0645\u0631\u062d\u0628\u0627"
    " \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22 \U0001f600\U0001f469\u200d\U0001f4bb \u00bd\u2167",
    "'S 'Ll I'VE \u017f'\u017f don't 'tis \u00a0\u3000\u2028 \x01\x7f",
    "Cafe\u0301 \u1100\u1161\u11a8 \ufb01 \u2460 \uff21\uff22\uff23 \u0130 \u1e9e \u03a3\u03c2 \u00ad soft",
    "<s>text</s> <unk> <pad> [CLS] [SEP] <|endoftext|> <0x0A> <foo> x<foo>y <bar><foo>",
    "a" * 500 + " " * 300 + "ab" * 200 + "\n" * 50,
    "\ufffd \ufeff \u200b \u0000 \x1b[0m \U0010ffff \ue000",
    "3.14159 1,000,000 0x1F 2\u00b2 \u0661\u0662\u0663 \u0967\u0968\u0969",
]

# Latin, Greek, Cyrillic, Armenian, Hebrew, Arabic, Devanagari, Bengali, Tamil, Thai, Lao, Georgian, Hangul
# jamo, Ethiopic, Khmer, kana, Chinese, Korean, symbols, emoji, mathematical letters, control characters.
SCRIPTS = [(0xC0, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x586), (0x591, 0x5F4), (0x600, 0x6FF),
           (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE01, 0xE5B), (0xE80, 0xEDF), (0x10A0, 0x10FF),
           (0x1100, 0x11FF), (0x1200, 0x137F), (0x1780, 0x17FF), (0x3041, 0x30FF), (0x4E00, 0x9FFF),
           (0xAC00, 0xD7A3), (0x2000, 0x2BFF), (0x1F300, 0x1F64F), (0x1D400, 0x1D7FF), (0x01, 0x9F),
           (0xFE00, 0xFFEF), (0x300, 0x36F)]


def script_texts(seed=1, words=150):
    rng = random.Random(seed)
    texts = []
    for low, high in SCRIPTS:
        row = ["".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 9))) for _ in range(words)]
        texts.append("".join(word + rng.choice([" ", "", ", ", ".\n", "  "]) for word in row))
    return texts


def random_texts(seed=2, n=200):
    rng = random.Random(seed)
    pool = "".join(FIXED) + "".join(script_texts(seed, 5))
    texts = ["".join(rng.choice(pool) for _ in range(rng.randint(1, 60))) for _ in range(n)]
    texts += [rng.randbytes(300).decode(errors=errors) for errors in ("ignore", "replace") for _ in range(10)]
    return texts


def real_texts(size=60000):
    texts = []
    for name in ("tinyshakespeare.txt", "german.txt", "wikitext2_valid.txt", "tinystories_sample.txt"):
        path = os.path.join(DATA, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="ignore") as file:
                texts.append(file.read(size))
    for path in (__file__, os.path.join(HERE, "../../lib/tokenizer/encode_worker.c")):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                texts.append(file.read(size))
    return texts


def all_texts():
    return FIXED + script_texts() + random_texts() + real_texts()


HOSTILE = [b"\xff", b"\xc3", b"a\x80b", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80 x", bytes(range(256)),
           b"\xe2\x96", b"x\xe2\x96\x81\xff\xe2\x96\x81", b"\xf4\x90\x80\x80"]
