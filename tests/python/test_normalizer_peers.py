"""Compares the normalizers with those of `tokenizers`, and SentencePiece's own with `sentencepiece`, on random
characters of all planes, on the data and on hostile texts. The program normalize_texts also checks that a text
that is cut where it may be becomes the same.

    test_normalizer_peers.py NORMALIZE_TEXTS [SEED]
"""

import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

import peers

tokenizers, sentencepiece = peers.find("tokenizers", "sentencepiece")
PROGRAM = sys.argv[1]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
rng = random.Random(SEED)
failures = 0

HOSTILE = [
    "", " ", "   ", "\u3000 \u2028a b\u00a0\u2009", "\r\n\r\n \t\n", "a\u0301" * 40, "\u0301" * 50,
    "\u0323\u0301" * 30 + "a" + "\u0301\u0323" * 30, "\u1100\u1161\u11a8\u11a7\u1161", "\uac00\u11a7\u11a8\u11c3",
    "\ufb01\u0301\ufb03 \ufdfa\u0301", "\u0130I\u0307\u0131 \u1e9e\u03a3\u03c2 \u01c4", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u0915\u094d\u0937\u093f \u0e33\u0e19\u0e49\u0e33", "e\u0301\0\u0323\x01o\x7f\x80\x9f\xad", "\ufffd\ufeff\u200b\u2581 \u2581a",
    "  two  spaces   \u2581 and \u2581\u2581 more  ", "\u4f60\u597d, world \uf900\U00020000\U0002f800!", "le\u0301 le travail aab",
    "\u00bd \u2460\u3392\uff21\uff9e\uff76\uff9e\u304b\u3099", "x" * 3000 + " " * 3000 + "y", "\u0344\u0958\u2126\u212b\U0001d15f\U0001d1c0",
    "a b c d 1 2 A B C \t\x0b\x0c", "\U000e0041\U000e007f\ue000\U0010ffff\ufdd0", "\u302e\u302a\U0001d165\U0001d16d\u0305\u20dd",
]
INTERESTING = [chr(c) for c in range(0x2000) if not 0xD800 <= c < 0xE000] + [
    chr(c) for first, last in [(0x2000, 0x2FFF), (0x3000, 0x33FF), (0xA640, 0xABFF), (0xF900, 0xFFFF), (0x10A00, 0x12000),
    (0x1D100, 0x1D250), (0x1E000, 0x1E950), (0x1F000, 0x1FBFF)] for c in range(first, last + 1) if not 0xD800 <= c < 0xE000]
MARKS = [chr(c) for c in range(0x20000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c))[0] == "M"]


def random_text():
    kind = rng.randrange(6)
    size = rng.choice([1, 2, 3, 5, 10, 40])
    if kind == 0:
        characters = [chr(rng.randrange(0x110000 - 0x800)) for _ in range(size)]
        characters = [chr(ord(c) + 0x800) if ord(c) >= 0xD800 else c for c in characters]
    elif kind == 1:
        characters = [rng.choice(INTERESTING) for _ in range(size)]
    elif kind == 2:
        characters = [rng.choice(MARKS if rng.random() < 0.6 else INTERESTING) for _ in range(size)]
    elif kind == 3:
        characters = [chr(rng.randrange(0x80)) for _ in range(size)]
    elif kind == 4:
        characters = [rng.choice("ab le1 \u2581x\n\u00e9\u0301 ") for _ in range(size)]
    else:
        characters = [rng.choice("aA1 ") + rng.choice(MARKS) * rng.randrange(3) + rng.choice(INTERESTING)
                      for _ in range(size)]
    return "".join(characters)


def data_texts():
    folder = os.environ.get("TINYLM_TEST_DATA", os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "data"))
    texts = []
    for name in ["wikitext2_valid.txt", "corpus.en", "german.txt", "address.txt", "tinyshakespeare.txt"]:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            print(f"skipped: {name} is not there")
            continue
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read(200000)
        texts += [text[:20000]] + text[20000:].splitlines(keepends=True)[:300]
    return texts


EACH = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXTS = HOSTILE + data_texts() + [random_text() for _ in range(20000)]


def run(arguments, texts):
    data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    done = subprocess.run([PROGRAM, *arguments], input=data, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{arguments}: {done.stderr.decode(errors='replace')[:300]}")
    results, at = [], 0
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, at)
        results.append(done.stdout[at + 4:at + 4 + size])
        at += 4 + size
    assert len(results) == len(texts)
    return results


def compare(arguments, expected, texts):
    """expected: a function from text to text."""
    global failures
    different = []
    for text, result in zip(texts, run(arguments, [t.encode() for t in texts])):
        wanted = expected(text)
        if wanted is not None and wanted.encode() != result:
            different.append((text, wanted, result.decode(errors="replace")))
    print(f"{' '.join(arguments)[:70]!r}: {len(texts)} texts, {len(different)} differ")
    for text, wanted, result in sorted(different, key=lambda d: len(d[0]))[:5]:
        print("   ", ascii(text[:200]), "must be", ascii(wanted[:200]), "is", ascii(result[:200]))
    failures += len(different) > 0


def charsmap_of(model):
    """The field precompiled_charsmap of the field normalizer_spec of a .model file."""
    def fields(data):
        at = 0
        def varint():
            nonlocal at
            value = shift = 0
            while True:
                value |= (data[at] & 0x7F) << shift
                shift += 7
                at += 1
                if data[at - 1] < 0x80:
                    return value
        while at < len(data):
            key = varint()
            if key & 7 == 2:
                size = varint()
                yield key >> 3, data[at:at + size]
                at += size
            elif key & 7 == 0:
                yield key >> 3, varint()
            else:
                at += 4 if key & 7 == 5 else 8
    spec = next(value for field, value in fields(model) if field == 3)
    return next((value for field, value in fields(spec) if field == 2), b"")


def train(**options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat", "a dog and a cat", "what is that"] * 20), model_writer=model,
        vocab_size=60, hard_vocab_limit=False, minloglevel=2, **options)
    return model.getvalue()


def compare_tokenizers(folder):
    n = tokenizers.normalizers
    regex = tokenizers.Regex
    cases = [
        (["nfc"], n.NFC()), (["nfd"], n.NFD()), (["nfkc"], n.NFKC()), (["nfkd"], n.NFKD()),
        (["lowercase"], n.Lowercase()), (["strip_accents"], n.StripAccents()), (["nmt"], n.Nmt()),
        (["byte_level"], n.ByteLevel()),
        (["strip", "1", "1"], n.Strip()), (["strip", "1", "0"], n.Strip(right=False)), (["strip", "0", "1"], n.Strip(left=False)),
        (["prepend", "\u2581"], n.Prepend("\u2581")),
        (["string", " ", "\u2581"], n.Replace(" ", "\u2581")), (["string", "", "-"], n.Replace("", "-")),
        (["string", "a ", "-"], n.Replace("a ", "-")), (["string", "``", '"'], n.Replace("``", '"')),
        (["string", "aa", ""], n.Replace("aa", "")),
    ]
    for pattern in [" {2,}", " +", r"\s+", r"\s{3,}", "x*", "(l)(e)", "^", "$", r"(?<=a)", "[a-z&&[^b]]", "a{1,2}+", r"\p{L}+|\d",
                    r"^\s+|\s+$", r"\G.", r"[\x{00a0}\u3000]", r"\bthe\b", "."]:
        cases.append((["regex", pattern, "<$1>"], n.Replace(regex(pattern), "<$1>")))
    for flags in range(16):
        clean, chinese, strip, lower = [bool(flags >> k & 1) for k in range(4)]
        cases.append((["bert"] + [str(int(f)) for f in (clean, chinese, strip, lower)],
                      n.BertNormalizer(clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower)))
    cases += [
        (["nfd", "strip_accents", "lowercase"], n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase()])),
        (["nfkd", "lowercase", "strip_accents", "nfc"], n.Sequence([n.NFKD(), n.Lowercase(), n.StripAccents(), n.NFC()])),
        (["prepend", "\u2581", "string", " ", "\u2581"], n.Sequence([n.Prepend("\u2581"), n.Replace(" ", "\u2581")])),
        (["strip", "1", "1", "prepend", "_", "regex", " {2,}", " ", "nfkc"],
         n.Sequence([n.Strip(), n.Prepend("_"), n.Replace(regex(" {2,}"), " "), n.NFKC()])),
        (["string", "a", "", "strip", "1", "1", "prepend", "x"], n.Sequence([n.Replace("a", ""), n.Strip(), n.Prepend("x")])),
        ([], n.Sequence([])),
    ]
    for arguments, normalizer in cases:
        texts = EACH + TEXTS
        if arguments == ["regex", r"\p{L}+|\d", "<$1>"]:  # the two Onigurumas have different versions of Unicode
            texts = [t for t in texts if all(unicodedata.category(c) != "Cn" for c in t)]
        compare(arguments, normalizer.normalize_str, texts)
    if sentencepiece is None:
        return
    for name in ["nmt_nfkc", "nfkc", "nmt_nfkc_cf"]:
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(charsmap_of(train(normalization_rule_name=name)))
        with open(path, "rb") as file:
            normalizer = n.Precompiled(file.read())
        compare(["precompiled", path], guarded(normalizer.normalize_str), EACH + TEXTS)
        compare(["precompiled", path, "regex", " {2,}", "\u2581"],
                guarded(n.Sequence([normalizer, n.Replace(regex(" {2,}"), "\u2581")]).normalize_str), TEXTS)


def guarded(normalize):
    """`tokenizers` fails on some texts that a map of characters makes shorter; those are left out."""
    def guard(text):
        try:
            return normalize(text)
        except BaseException:
            return None
    return guard


def compare_sentencepiece(folder):
    path = os.path.join(folder, "charsmap")
    symbols = ["a b", "at", "\u2581\u2581", "cat", "c", "  ", " x", "\u00bd"]
    for name, dummy, remove, suffix, with_symbols in [
            ("nmt_nfkc", 1, 1, 0, 0), ("nmt_nfkc_cf", 1, 1, 0, 1), ("identity", 1, 0, 0, 0), ("identity", 0, 0, 0, 1),
            ("nfkc", 1, 1, 1, 0), ("nfkc", 0, 1, 0, 1), ("identity", 1, 1, 1, 1), ("nmt_nfkc", 1, 0, 0, 1)]:
        used = symbols if with_symbols else []
        model = train(normalization_rule_name=name, add_dummy_prefix=bool(dummy), remove_extra_whitespaces=bool(remove),
                      treat_whitespace_as_suffix=bool(suffix), user_defined_symbols=used)
        blob = charsmap_of(model)
        with open(path, "wb") as file:
            file.write(blob)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        texts = [t for t in TEXTS + EACH if "\0" not in t]
        compare(["sentencepiece", path if blob else "", str(dummy), str(remove), "1", str(suffix), str(len(used)), *used],
                processor.normalize, texts)


with tempfile.TemporaryDirectory() as folder:
    if tokenizers is not None:
        compare_tokenizers(folder)
    if sentencepiece is not None:
        compare_sentencepiece(folder)
if tokenizers is None and sentencepiece is None:
    sys.exit(peers.SKIP)
print(f"{failures} kinds differ (seed {SEED})")
sys.exit(failures > 0)
