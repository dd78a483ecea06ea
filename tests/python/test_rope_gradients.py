"""The loss and all gradients of models with each scaling of RoPE, and each way in which families differ in it, against
transformers in float64. Skipped where PyTorch or transformers is not installed."""

import os
import tempfile
import unittest

import peers

torch, transformers, safetensors = peers.require("torch", "transformers", "safetensors.torch")

import tinylm  # noqa: E402

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

VOCAB, CONTEXT, TOLERANCE = 50, 64, 2e-5  # of a gradient's largest element
SIZES = dict(vocab_size=VOCAB, context_length=CONTEXT, d_model=32, num_layers=2, num_heads=2, num_kv_heads=1, seed=4)
SCALINGS = {
    "none": {},
    "linear": {"rope_scaling": "linear", "rope_factor": 3.0},
    "dynamic": {"rope_scaling": "dynamic", "rope_factor": 4.0},
    "llama3": {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_context": 16, "rope_theta": 100.0},
    "llama3, other bounds": {"rope_scaling": "llama3", "rope_factor": 2.5, "rope_original_context": 40, "rope_low_turns": 0.3,
                             "rope_high_turns": 5.0, "rope_theta": 50.0},
    "yarn": {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_original_context": 16, "rope_theta": 100.0},
    "yarn, other bounds": {"rope_scaling": "yarn", "rope_factor": 2.0, "rope_original_context": 32, "rope_low_turns": 0.25,
                           "rope_high_turns": 3.0, "rope_theta": 30.0},
    "yarn, magnitude": {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_original_context": 16, "rope_magnitude": 1.5},
}
FAMILIES = {
    "llama": {"norm_eps": 1e-6},
    "qwen2": {"norm_eps": 1e-6, "attention_bias": "qkv"},
    "qwen3": {"norm_eps": 1e-6, "qk_norm": "heads", "head_dim": 20},
}


def ids(salt):
    return torch.randint(0, VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(salt))


class RopeGradientsTest(unittest.TestCase):
    def check(self, scaling, options, checkpointing):
        model = tinylm.Model.create(**SIZES, **options, **SCALINGS[scaling])
        draw = torch.Generator().manual_seed(7)
        for name, p in model.parameters().items():  # scores that differ, so that the rotation matters
            model.set_parameter(name, torch.from_dlpack(p.detach()) + torch.randn(p.shape, generator=draw) * 0.15)
        model.set_checkpointing(checkpointing)
        inputs, targets = ids(1), ids(2)
        loss = model.loss(inputs, targets)
        loss.backward()
        with tempfile.TemporaryDirectory() as folder:
            model.save_hf(folder)
            theirs = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager").double()
            # Gradients are laid out as parameters are: a model of them is saved likewise.
            for name, p in model.parameters().items():
                model.set_parameter(name, p.grad)
            model.save_hf(folder)
            ours = safetensors.load_file(os.path.join(folder, "model.safetensors"))
        theirs.requires_grad_(True)
        logits = theirs(inputs).logits
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        expected.backward()
        self.assertAlmostEqual(loss.item(), expected.item(), delta=1e-5 * expected.item())
        self.assertEqual({name for name, _ in theirs.named_parameters()}, set(ours))
        for name, p in theirs.named_parameters():
            # A shift of all scores of a query changes none of its weights.
            if not name.endswith("k_proj.bias") or scaling == "none":
                most = p.grad.abs().max().item()
                self.assertGreater(most, 0, name)
                self.assertLessEqual((ours[name].double() - p.grad).abs().max().item(), TOLERANCE * most, name)
        return {name: p.grad for name, p in theirs.named_parameters() if "q_proj.weight" in name}

    def test_gradients(self):
        plain = {}
        for scaling in SCALINGS:
            for family, options in FAMILIES.items():
                for checkpointing in False, True:
                    with self.subTest(scaling, family=family, checkpointing=checkpointing):
                        found = self.check(scaling, options, checkpointing)
                        plain.setdefault(family, found)
                        if scaling not in ("none", "dynamic"):  # which does nothing within the context
                            self.assertTrue(any(not torch.allclose(found[name], plain[family][name], rtol=1e-2)
                                                for name in found))


if __name__ == "__main__":
    unittest.main()
