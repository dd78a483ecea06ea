"""Generation held to grammars by llguidance, through the callback on logits: an untrained model, at any
temperature and with any cuts, writes what the grammar allows."""

import json
import random
import re
import unittest

import peers

llguidance = peers.require("llguidance")

import tinylm  # noqa: E402

PIECES = ['{"', '": ', '":', ', "', "true", "false", "name", "age", "12", "ab", "ca", "-1"]
END = "<|end|>"


class Tokens:
    """What llguidance wants to know of a tokenizer."""

    def __init__(self, tokens, end):
        self.tokens, self.special_token_ids = tokens, [end]
        self.bos_token_id, self.eos_token_id = None, end

    def __call__(self, text):
        return list(text.encode() if isinstance(text, str) else text)


class GrammarTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        tokens = [bytes([i]) for i in range(256)] + [piece.encode() for piece in PIECES]
        cls.tokenizer = tinylm.Tokenizer(dict(enumerate(tokens)), [], special_tokens=[END])
        cls.end = cls.tokenizer.token_id(END)
        cls.grammar_tokens = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(Tokens(tokens + [b"\xff[" + str(cls.end).encode() + b"]"], cls.end)))
        cls.model = tinylm.Model.create(vocab_size=len(tokens) + 1, context_length=64, d_model=16, num_layers=2,
                                        num_heads=2, seed=4)

    def write(self, grammar, **how):
        matcher = llguidance.LLMatcher(self.grammar_tokens, grammar)
        self.assertFalse(matcher.is_error(), matcher.get_error())

        def mask(_sequence, ids, logits):
            if ids:
                self.assertTrue(matcher.consume_token(ids[-1]))
            if matcher.is_stopped():
                return True
            for i, bias in enumerate(matcher.compute_logit_bias()):
                if bias == 0:
                    logits[i] = float("-inf")
            return None

        return self.model.generate_text([1], self.tokenizer, on_logits=mask, end_token=self.end, max_tokens=300, **how)

    def test_expressions(self):
        dice = random.Random(1)
        for pattern in (r"[a-c]{3}-[0-9]{2,5};", r"(true|false)(, (true|false)){3}", r"(ab|ca)+\."):
            for seed in range(8):
                how = {"temperature": dice.choice([0.0, 0.7, 3.0]), "top_k": dice.choice([0, 5]),
                       "top_p": dice.choice([0.0, 0.9]), "repetition_penalty": dice.choice([0.0, 1.3])}
                result = self.write(llguidance.LLMatcher.grammar_from_regex(pattern), seed=seed, **how)
                if result.state == "length":  # a star may go on
                    continue
                self.assertRegex(result.text, "^(" + pattern + ")$")

    def test_json(self):
        schema = {"type": "object", "additionalProperties": False, "required": ["name", "age"],
                  "properties": {"name": {"type": "string", "maxLength": 8, "pattern": "^[a-z]*$"},
                                 "age": {"type": "integer", "minimum": 0, "maximum": 150}}}
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            schema, overrides={"whitespace_pattern": ""})
        for seed in range(10):
            result = self.write(grammar, seed=seed, temperature=1.5)
            self.assertIn(result.state, ("end", "callback"), result)
            value = json.loads(result.text)
            self.assertTrue(re.fullmatch("[a-z]{0,8}", value["name"]) and 0 <= value["age"] <= 150, value)


if __name__ == "__main__":
    unittest.main()
