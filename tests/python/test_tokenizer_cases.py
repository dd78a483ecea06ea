"""The tokenizer files of ../shared/cases, with the ids and texts that tokenizers gives, and tokens beside a tokenizer.

Without that folder the test is skipped (77). TINYLM_TEST_CASES names it; by default it is beside the data.
"""

import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("TINYLM_TEST_DATA", os.path.join(HERE, "../../../shared/data"))
CASES = os.environ.get("TINYLM_TEST_CASES", os.path.join(DATA, "../cases"))
if not os.path.exists(os.path.join(CASES, "tokenizer_json_expected.json")):
    print(f"skipped: there is no folder {CASES}")
    sys.exit(77)

import tinylm  # noqa: E402


class TokenizerJson(unittest.TestCase):
    def compare(self, tokenizer, case):
        text = case["text"]
        self.assertEqual(tokenizer.encode(text), case["ids"], text)
        self.assertEqual(tokenizer.encode(text, add_special_tokens=True), case["ids_with_special"], text)
        self.assertEqual(tokenizer.decode(case["ids"]), case["decoded"], text)

    def test_cases(self):
        with open(os.path.join(CASES, "tokenizer_json_expected.json"), encoding="utf-8") as file:
            expected = json.load(file)
        for name, cases in expected.items():
            path = os.path.join(CASES, "tokenizer_json", name)
            with self.subTest(name):
                if isinstance(cases, dict):  # tokenizers refuses the file
                    with self.assertRaises(tinylm.FormatError):
                        tinylm.Tokenizer.open(path)
                    continue
                tokenizer = tinylm.Tokenizer.open(path)
                for case in cases:
                    self.compare(tokenizer, case)


class Beside(unittest.TestCase):
    def test_added_tokens(self):
        tokenizer = tinylm.Tokenizer.open(os.path.join(CASES, "other", "folder_with_added_tokens"))
        self.assertEqual(tokenizer.encode("A<|en|>B<|startoftranscript|>")[1::2], [601, 600])


if __name__ == "__main__":
    unittest.main()
