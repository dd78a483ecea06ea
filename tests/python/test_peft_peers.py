"""Adapters against PEFT, both ways: folders that either wrote, merged weights, gradients of training.

What is missing is reported as skipped, by name; then the test is skipped (77).
"""

import json
import os
import tempfile
import unittest
import warnings

import peers

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
warnings.filterwarnings("ignore")
torch, transformers, peft = peers.require("torch", "transformers", "peft")

import tinylm  # noqa: E402

IDS = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], [8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2]]
COMMON = {"vocab_size": 41, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
          "num_attention_heads": 4, "max_position_embeddings": 32}
PAD = {"pad_token_id": None}
MODELS = {
    "llama": ("Llama", {**COMMON, "num_key_value_heads": 2}),
    "mistral": ("Mistral", {**COMMON, "num_key_value_heads": 2, "sliding_window": 7}),
    "qwen2": ("Qwen2", {**COMMON, "num_key_value_heads": 2}),
    "qwen3": ("Qwen3", {**COMMON, "num_key_value_heads": 2, "head_dim": 12}),
    "phi3": ("Phi3", {**COMMON, **PAD, "num_key_value_heads": 2, "sliding_window": 9}),
    "olmo2": ("Olmo2", {**COMMON, **PAD, "num_key_value_heads": 2}),
    "smollm3": ("SmolLM3", {**COMMON, **PAD, "num_key_value_heads": 2}),
    "gemma2": ("Gemma2", {**COMMON, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6}),
    "gemma3": ("Gemma3", {**COMMON, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6}),
    "gpt2": ("GPT2", {"vocab_size": 41, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32,
                      "activation_function": "gelu_new", "resid_pdrop": 0.0, "embd_pdrop": 0.0,
                      "attn_pdrop": 0.0}),
}
TARGETS = {"phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
           "gpt2": ["c_attn", "attn.c_proj", "c_fc"]}


def make_base(name, folder):
    family, shape = MODELS[name]
    config = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else family + "Config")(**shape)
    torch.manual_seed(3)
    kind = {"GPT2": "GPT2LMHeadModel"}.get(family, family + "ForCausalLM")
    model = getattr(transformers, kind)(config).float().eval()
    model.save_pretrained(folder)
    return model


def fill_adapters(model):
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.2 * torch.randn_like(parameter)


class PeftTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.base = os.path.join(directory.name, "base")
        self.folder = os.path.join(directory.name, "adapter")
        self.merged = os.path.join(directory.name, "merged")

    def their_adapter(self, name, **how):
        options = {"r": 3, "lora_alpha": 5, "target_modules": TARGETS.get(name, ["q_proj", "v_proj", "down_proj"]),
                   "task_type": "CAUSAL_LM", **how}
        model = peft.get_peft_model(make_base(name, self.base), peft.LoraConfig(**options))
        fill_adapters(model)
        model.save_pretrained(self.folder)
        return model.eval()

    def our_logits(self, model):
        return torch.from_dlpack(model.forward(IDS).detach()).clone()

    def assert_close(self, ours, theirs, tolerance=1e-4):
        self.assertEqual(ours.shape, theirs.shape)
        self.assertTrue(torch.isfinite(ours).all() and torch.isfinite(theirs).all())
        difference, largest = (ours - theirs).abs().max().item(), theirs.abs().max().item()
        self.assertLess(difference, tolerance * max(largest, 1e-3))

    def test_folders_of_peft_are_read_and_merged(self):
        for name in MODELS:
            with self.subTest(model=name):
                theirs = self.their_adapter(name)
                with torch.no_grad():
                    plain = theirs.get_base_model()
                    wanted = theirs(torch.tensor(IDS)).logits
                    with theirs.disable_adapter():
                        self.assertGreater((wanted - theirs(torch.tensor(IDS)).logits).abs().max().item(), 1e-3)
                self.assertIsNotNone(plain)
                for for_inference in (False, True):
                    model, _ = tinylm.Model.open(self.base, for_inference=for_inference)
                    model.load_adapter(self.folder)
                    self.assertEqual(model.lora["rank"], 3)
                    self.assert_close(self.our_logits(model), wanted)
                    generated = model.generate(IDS[0], max_tokens=1, temperature=0.0)
                    with torch.no_grad():
                        first = theirs(torch.tensor(IDS[:1])).logits[0, -1].argmax().item()
                    self.assertEqual(generated[0], first)
                    model.merge_lora()
                    self.assertIsNone(model.lora)
                    self.assert_close(self.our_logits(model), wanted)
                model.save_hf(self.merged, family=name)
                with torch.no_grad():
                    again = transformers.AutoModelForCausalLM.from_pretrained(self.merged).eval()
                    self.assert_close(again(torch.tensor(IDS)).logits, wanted)

    def test_folders_that_peft_reads(self):
        for name in MODELS:
            for targets in ("all-linear", TARGETS.get(name, ["v_proj", "gate_proj", "o_proj"])):
                with self.subTest(model=name, targets=targets):
                    base = make_base(name, self.base)
                    model, _ = tinylm.Model.open(self.base)
                    model.add_lora(rank=4, alpha=6.0, targets=targets, rank_stabilized=name == "qwen3")
                    torch.manual_seed(11)
                    for parameter, tensor in model.parameters().items():
                        if "lora_B" in parameter:
                            values = torch.from_dlpack(tensor.detach())
                            values += 0.2 * torch.randn(values.shape)
                    model.save_adapter(self.folder)
                    with warnings.catch_warnings():
                        warnings.simplefilter("error")  # missing or unexpected keys
                        warnings.filterwarnings("ignore", category=FutureWarning)
                        warnings.filterwarnings("ignore", category=DeprecationWarning)
                        theirs = peft.PeftModel.from_pretrained(base, self.folder).eval()
                    with torch.no_grad():
                        self.assert_close(self.our_logits(model), theirs(torch.tensor(IDS)).logits)
                    again, _ = tinylm.Model.open(self.base)
                    again.load_adapter(self.folder)
                    self.assert_close(self.our_logits(again), self.our_logits(model), 1e-6)

    def test_ranks_and_scales_by_layer(self):
        theirs = self.their_adapter("llama", target_modules="all-linear", rank_pattern={"q_proj": 2},
                                    alpha_pattern={"model.layers.1.self_attn.v_proj": 11, "o_proj": 4})
        model, _ = tinylm.Model.open(self.base)
        model.load_adapter(self.folder)
        with torch.no_grad():
            wanted = theirs(torch.tensor(IDS)).logits
        self.assert_close(self.our_logits(model), wanted)
        model.save_adapter(self.merged)
        base = transformers.AutoModelForCausalLM.from_pretrained(self.base)
        with torch.no_grad():
            again = peft.PeftModel.from_pretrained(base, self.merged).eval()
            self.assert_close(again(torch.tensor(IDS)).logits, wanted)

    def test_gradients_are_those_of_peft(self):
        for name in MODELS:
            with self.subTest(model=name):
                theirs = self.their_adapter(name).train()
                model, _ = tinylm.Model.open(self.base)
                model.load_adapter(self.folder)
                ids = torch.tensor(IDS)
                logits = theirs(ids[:, :-1]).logits
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
                loss.backward()
                ours = model.loss([row[:-1] for row in IDS], [row[1:] for row in IDS])
                self.assertAlmostEqual(ours.item(), loss.item(), places=5)
                ours.backward()
                mine = [torch.from_dlpack(t.grad).norm().item() ** 2 for n, t in model.parameters().items()
                        if "lora_" in n]
                wanted = sum(p.grad.norm().item() ** 2 for n, p in theirs.named_parameters()
                             if "lora_" in n and p.requires_grad)
                self.assertAlmostEqual(sum(mine) / wanted, 1.0, places=4)

    def test_what_is_not_supported_is_named(self):
        self.their_adapter("llama")
        path = os.path.join(self.folder, "adapter_config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        cases = {"use_dora": True, "bias": "lora_only", "modules_to_save": ["lm_head"], "peft_type": "IA3",
                 "task_type": "SEQ_CLS", "init_lora_weights": "pissa", "lora_bias": True,
                 "layer_replication": [[0, 2]], "target_parameters": ["x"], "use_qalora": True,
                 "trainable_token_indices": [1], "some_new_key": 3, "rank_pattern": {".*q_proj": 2}}
        for key, value in [*cases.items(), ("peft_type", True), ("bias", True)]:
            with self.subTest(key=key):
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({**config, key: value}, file)
                model, _ = tinylm.Model.open(self.base)
                with self.assertRaisesRegex(tinylm.UnsupportedError, key):
                    model.load_adapter(self.folder)
                self.assertIsNone(model.lora)
                self.assertEqual(model.num_trained, model.num_elements)
        for key, value in {"r": 4, "lora_alpha": -1, "lora_dropout": 1.0, "rank_pattern": {"q_proj": 9}}.items():
            with self.subTest(key=key):
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({**config, key: value}, file)
                model, _ = tinylm.Model.open(self.base)
                with self.assertRaises(tinylm.FormatError):
                    model.load_adapter(self.folder)


if __name__ == "__main__":
    unittest.main()
