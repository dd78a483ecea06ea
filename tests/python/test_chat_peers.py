"""Compares chat templates with transformers: the rendered text, ids and masks of random conversations, for the
well-known templates, pieces of Jinja from the fuzz corpus and, where trl is installed, all templates in it.
TINYLM_ROUNDS sets the number of conversations per template (default 25), TINYLM_SEED the seed.
"""

import glob
import importlib.util
import os
import random
import sys
import tempfile
import unittest

import peers

tokenizers, transformers, _ = peers.require("tokenizers", "transformers", "jinja2")

import tinylm  # noqa: E402
from transformers.utils.chat_template_utils import render_jinja_template  # noqa: E402

ROUNDS = int(os.environ.get("TINYLM_ROUNDS", "25"))
SEED = int(os.environ.get("TINYLM_SEED", "1"))
CORPUS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fuzz", "corpus", "chat")

WORDS = ["hi", " ", "\n", "\n\n", "<think>", "</think>", "é", "你好", "x", '"q"', "\\", "{{", "\t", "world", "  ",
         "\u3000", "/no_think", "<tool_response>", "</tool_response>", "A.", "12", "don't"]
CONTROL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "<|im_end", "|>"]
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
           "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "[INST]", "[/INST]"]
VARIABLES = [{}, {}, {"enable_thinking": False}, {"enable_thinking": True, "extra": {"a": [1, None, "é"]}}]
TEXT = "The cat sat on the mat, didn't it? [INST] user\nassistant\n\nsystem model 12 345 é 你好 hi world " * 20


def random_text(rng, words):
    return "".join(rng.choice(words) for _ in range(rng.choice([0, 1, 2, 3, 5, 9])))


def random_conversation(rng, words, orderly=False):
    messages = []
    if rng.random() < 0.4:
        messages.append({"role": "system", "content": random_text(rng, words)})
    role = "user"
    for _ in range(rng.choice([1, 1, 2, 3, 4, 5])):
        if not orderly and rng.random() < 0.05:
            role = rng.choice(["system", "user", "assistant", "tool"])
        messages.append({"role": role, "content": random_text(rng, words)})
        role = "assistant" if role == "user" else "user"
    return messages


def templates():
    """Names and Jinja texts."""
    for name in tinylm.CHAT_TEMPLATES:
        yield name, tinylm.ChatTemplate(name).source
    for path in sorted(glob.glob(os.path.join(CORPUS, "snippets_*"))):
        with open(path, "rb") as file:
            yield os.path.basename(path), file.read().partition(b"\0")[0].decode()
    found = importlib.util.find_spec("trl")
    if found is None:
        print("skipped: trl is not installed, which has templates of many models")
        return
    for path in sorted(glob.glob(os.path.join(os.path.dirname(found.origin), "chat_templates", "*.jinja"))):
        with open(path, encoding="utf-8", newline="") as file:
            yield os.path.basename(path), file.read()


def outcome(call):
    """The result of a call, or that it raised."""
    try:
        return call(), None
    except Exception as error:  # what Jinja raises may be anything
        return None, error


def byte_level(path):
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False,
                                             initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator([TEXT], trainer)
    made.add_tokens([tokenizers.AddedToken("<think>", normalized=False)])
    made.save(path)


def sentencepiece_like(path, scheme):
    """As Llama's: spaces are visible, and one is put before the text."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if scheme is None:
        made.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.Prepend("▁"),
                                                           tokenizers.normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", *SPECIAL, *bytes_],
                                             show_progress=False)
    made.train_from_iterator([TEXT[i:i + 40] for i in range(0, len(TEXT), 40)], trainer)
    made.save(path)


class ChatTest(unittest.TestCase):
    def test_rendered_text(self):
        rng, compared, raised = random.Random(SEED), 0, 0
        for name, source in templates():
            chat = tinylm.ChatTemplate.parse(source, "<s>", "</s>")
            for _ in range(ROUNDS):
                messages = random_conversation(rng, WORDS + CONTROL)
                prompt, variables = rng.random() < 0.5, rng.choice(VARIABLES)
                wanted, refused = outcome(lambda: render_jinja_template(
                    [[dict(message) for message in messages]], chat_template=source, bos_token="<s>",
                    eos_token="</s>", add_generation_prompt=prompt, **variables)[0][0])
                got, error = outcome(lambda: chat.render(messages, prompt, **variables))
                if isinstance(error, tinylm.UnsupportedError) and "ASCII" in str(error):
                    continue  # lower() of other letters
                with self.subTest(template=name, messages=messages, prompt=prompt, variables=variables):
                    self.assertEqual(refused is None, error is None, refused or error)
                    self.assertEqual(got, wanted)
                compared, raised = compared + 1, raised + (error is not None)
        self.assertGreater(compared, 500)
        self.assertGreater(raised, 10)
        print(f"{compared} conversations, {raised} refused by both")

    def compare_ids(self, path, names):
        """Ids of messages without tokens that the templates write."""
        rng = random.Random(SEED)
        ours = tinylm.Tokenizer.open(path)
        for name in names:
            chat = tinylm.ChatTemplate(name)
            theirs = transformers.PreTrainedTokenizerFast(
                tokenizer_file=path, bos_token="<s>", eos_token="</s>",
                additional_special_tokens=[token for token in SPECIAL if token not in ("<s>", "</s>")])
            template = tinylm.ChatTemplate.parse(chat.source, "<s>", "</s>")
            for _ in range(ROUNDS):
                messages = random_conversation(rng, [word for word in WORDS if "think>" not in word], orderly=True)
                prompt = rng.random() < 0.5
                wanted, refused = outcome(lambda: theirs.apply_chat_template(
                    messages, chat_template=chat.source, add_generation_prompt=prompt, return_dict=False))
                got, error = outcome(lambda: template.encode(ours, messages, prompt)[0])
                with self.subTest(template=name, messages=messages, prompt=prompt):
                    self.assertEqual(refused is None, error is None, refused or error)
                    self.assertEqual(got, wanted)

    def test_ids_of_bytes(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tokenizer.json")
            byte_level(path)
            self.compare_ids(path, tinylm.CHAT_TEMPLATES)

    def test_ids_of_sentencepiece(self):
        for scheme in ["first", "always", "never", None]:
            with tempfile.TemporaryDirectory() as folder, self.subTest(scheme=scheme):
                path = os.path.join(folder, "tokenizer.json")
                sentencepiece_like(path, scheme)
                self.compare_ids(path, ["llama2", "mistral-v1", "mistral-v3", "mistral-v3-tekken", "gemma", "zephyr",
                                        "chatml", "phi3"])

    def test_special_tokens_in_messages(self):
        """The text decodes to what transformers renders, and no message has a special token."""
        rng = random.Random(SEED)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tokenizer.json")
            byte_level(path)
            tokenizer = tinylm.Tokenizer.open(path)
            special = {tokenizer.token_id(token) for token in SPECIAL}
            for name in tinylm.CHAT_TEMPLATES:
                chat = tinylm.ChatTemplate(name)
                for _ in range(ROUNDS):
                    messages = random_conversation(rng, WORDS + 3 * CONTROL, orderly=True)
                    blank = [{**message, "content": "x"} for message in messages]
                    try:
                        ids, mask = chat.encode(tokenizer, messages)
                        plain, _ = chat.encode(tokenizer, blank)
                    except tinylm.InvalidArgumentError:
                        continue
                    with self.subTest(template=name, messages=messages):
                        self.assertEqual(tokenizer.decode(ids), chat.render(messages))
                        self.assertEqual([i for i in ids if i in special], [i for i in plain if i in special])
                        self.assertEqual(any(mask), any(message["role"] == "assistant" for message in messages))

    def test_masks(self):
        """{% generation %} gives transformers' mask."""
        rng = random.Random(SEED)
        source = ("{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}[/INST]"
                  "{% generation %} {{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}"
                  "[INST] {{ m.content }}{% endif %}{% endfor %}")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tokenizer.json")
            byte_level(path)
            ours, chat = tinylm.Tokenizer.open(path), tinylm.ChatTemplate.parse(source, "<s>", "</s>")
            theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=path, bos_token="<s>", eos_token="</s>")
            for _ in range(4 * ROUNDS):
                messages = random_conversation(rng, ["hi", " a", "b.", "12"])
                wanted = theirs.apply_chat_template(messages, chat_template=source, return_dict=True,
                                                    return_assistant_tokens_mask=True)
                ids, mask = chat.encode(ours, messages)
                with self.subTest(messages=messages):
                    self.assertEqual(ids, wanted["input_ids"])
                    self.assertEqual(mask, wanted["assistant_masks"])


if __name__ == "__main__":
    unittest.main()
