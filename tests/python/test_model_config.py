"""Changes every key of config.json that transformers knows for an architecture, and keys of others: each model
either opens and has transformers' logits, or is refused with the key or the tensor in the message.

What is missing is reported as skipped, by name; then the test is skipped (77).
"""

import json
import os
import tempfile
import unittest

import peers

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
torch, transformers = peers.require("torch", "transformers")

import safetensors.torch  # noqa: E402  comes with transformers
import tinylm  # noqa: E402

torch.set_num_threads(1)
IDS = torch.randint(0, 97, (1, 24), generator=torch.Generator().manual_seed(5))
CLASSES = {"Gemma3Text": "Gemma3ForCausalLM", "GPT2": "GPT2LMHeadModel"}
SHAPES = {
    "Llama": {"num_key_value_heads": 2},
    "Mistral": {"num_key_value_heads": 2, "sliding_window": 6, "head_dim": 8},
    "Qwen2": {"num_key_value_heads": 2},
    "Qwen3": {"num_key_value_heads": 2, "head_dim": 10},
    "Phi3": {"num_key_value_heads": 2, "sliding_window": 9},
    "Olmo2": {"num_key_value_heads": 2},
    "SmolLM3": {"num_key_value_heads": 2, "num_hidden_layers": 5},
    "Gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "Gemma2": {"num_key_value_heads": 2, "head_dim": 10, "sliding_window": 6, "query_pre_attn_scalar": 16},
    "Gemma3Text": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6, "num_hidden_layers": 7,
                   "query_pre_attn_scalar": 8},
    "GPT2": {"n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 40},
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 20}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 20}
ROPES = [
    {}, {"type": "linear", "factor": 2.0}, {"rope_type": "linear", "factor": 2.0}, {"rope_type": "linear"},
    {"rope_type": "linear", "factor": 0.5}, {"rope_type": "linear", "factor": 1},
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}, {"factor": 2.0},
    {"type": "linear", "rope_type": "default", "factor": 2.0}, {"type": "dynamic", "factor": 2.0},
    {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 10}, LLAMA3,
    {**LLAMA3, "low_freq_factor": 4.0}, {**LLAMA3, "original_max_position_embeddings": None},
    {"rope_type": "yarn", "factor": 4.0}, YARN, {**YARN, "attention_factor": 1.5}, {**YARN, "mscale": 0.7},
    {**YARN, "mscale": 0.7, "mscale_all_dim": 1.3}, {**YARN, "mscale": 1.0, "mscale_all_dim": 0},
    {**YARN, "beta_fast": 8, "beta_slow": 0.5}, {**YARN, "truncate": False}, {**YARN, "factor": 1.0},
    {**YARN, "attention_factor": None, "beta_fast": None}, {"rope_type": "default", "factor": 3.0},
    {"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4},
    {"rope_type": "mrope", "mrope_section": [1, 1, 2]}, {"rope_type": "linear", "factor": 2.0,
                                                        "partial_rotary_factor": 0.5},
]
# Values of keys that some architecture has, or has had; each is tried with all.
OTHERS = {
    "rope_theta": [100.0, 1000], "partial_rotary_factor": [1.0, 0.5], "head_dim": [None, 8, 16, 7],
    "sliding_window": [None, 4, 100], "use_sliding_window": [True, False], "attention_bias": [True],
    "mlp_bias": [True], "layer_types": [None, ["full_attention"] * 3, ["sliding_attention"] * 3],
    "attn_logit_softcapping": [5.0, None], "final_logit_softcapping": [5.0, None],
    "query_pre_attn_scalar": [4], "hidden_act": ["gelu", "relu", "swish", "silu"],
    "hidden_activation": ["gelu", "silu", None], "activation_function": ["gelu", "silu"],
    "torch_dtype": ["float16", "auto"], "tie_word_embeddings": [True, False], "clip_qkv": [8.0],
    "no_rope_layers": [[0, 0, 0], None], "no_rope_layer_interval": [2, 1], "max_window_layers": [0, 1, 3],
    "sliding_window_pattern": [2, 3], "rope_local_base_freq": [100.0],
    "use_bidirectional_attention": [True, False], "pretraining_tp": [2], "n_inner": [None, 192, 100],
    "num_key_value_heads": [None, 1, 6], "num_attention_heads": [3, 12], "vocab_size": [96, 98],
    "num_local_experts": [8], "logits_scaling": [2.0], "scale_attn_by_inverse_layer_idx": [True],
    "eos_token_id": [7, [7, 8], None, "7", 97], "quantization_config": [{"quant_method": "gptq", "bits": 4}],
    "num_hidden_layers": [2, 4], "intermediate_size": [40], "hidden_size": [96], "rope_scaling": ROPES,
}
# They say nothing about what a model computes, and transformers fails for some values.
WORDS = {"transformers_version", "_name_or_path", "id2label", "label2id", "return_dict", "architectures",
         "output_hidden_states", "output_attentions", "problem_type", "is_encoder_decoder", "dtype", "model_type"}


def make(folder, family, **changes):
    shape = {} if family == "GPT2" else {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3,
                                         "num_attention_heads": 6, "max_position_embeddings": 40}
    config = getattr(transformers, family + "Config")(**{
        "vocab_size": 97, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **shape, **SHAPES[family],
        **changes, "attn_implementation": "eager"})
    torch.manual_seed(11)
    model = getattr(transformers, CLASSES.get(family, family + "ForCausalLM"))(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + torch.rand_like(parameter)).mul_(1 if parameter.dim() == 1 else 5)
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.rand_like(parameter))
    model.save_pretrained(folder)
    return model


def others(key, value):
    """Other values than the one that transformers wrote."""
    if key in WORDS:
        return ["gone"]
    found = ["gone", None]
    if isinstance(value, bool):
        found += [not value]
    elif isinstance(value, int):
        found += [value + 1, 1, 0, str(value)]
    elif isinstance(value, float):
        found += [value * 10 + 0.25]
    elif value is None:
        found += [1, 0.5, True]
    elif isinstance(value, list):
        found += [value[::-1], value[:-1], ["chunked_attention"] * len(value), [0] * len(value)]
    elif isinstance(value, dict) and "rope_theta" in value:
        found += [{**value, **rope} for rope in ROPES] + [{"rope_theta": 50.0}]
    elif isinstance(value, dict):
        plain = {"rope_type": "default", "rope_theta": 100.0}
        found += [plain, {"sliding_attention": plain, "full_attention": plain}, {"full_attention": plain},
                  {"sliding_attention": {**plain, "rope_type": "linear", "factor": 2.0}, "full_attention": plain},
                  {"sliding_attention": plain, "full_attention": {**plain, "rope_type": "linear", "factor": 2.0}}]
    return found


def changed(config, key, value):
    config = dict(config)
    if key in ("rope_scaling", "rope_theta"):  # the old form, which the new one would hide
        config.pop("rope_parameters", None)
    if value == "gone":
        config.pop(key, None)
    else:
        config[key] = value
    return config


class ConfigTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.folder = os.path.join(self.directory.name, "model")

    def write(self, config):
        with open(os.path.join(self.folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)

    def config(self):
        with open(os.path.join(self.folder, "config.json"), encoding="utf-8") as file:
            return json.load(file)

    def ours(self):
        model = tinylm.Model.open(self.folder, tokenizer=False)
        if model.options["context_length"] < IDS.shape[1]:
            return None
        return torch.from_dlpack(model.forward(IDS.tolist()).detach())

    def theirs(self, family):
        """None if transformers does not take the configuration, or not with the same tensors."""
        try:
            config = getattr(transformers, family + "Config").from_dict(self.config())
            config._attn_implementation = "eager"
            model = getattr(transformers, CLASSES.get(family, family + "ForCausalLM"))(config)
            model.load_state_dict(self.state, strict=True)
            with torch.no_grad():
                return model.eval()(IDS).logits
        except Exception:  # of many kinds
            return None

    def check(self, family, key, value):
        try:
            ours = self.ours()
        except tinylm.Error as error:
            message = str(error)
            self.assertIn(error.status, ("TLM_ERR_UNSUPPORTED", "TLM_ERR_FORMAT", "TLM_ERR_SHAPE",
                                         "TLM_ERR_INVALID_ARGUMENT"))
            named = [f'"{key}"', "tensor '", "head_dim", "num_heads", "num_kv_heads", "vocab_size"]
            if isinstance(value, dict):
                named += [f'"{name}"' for name in (*value, "factor", "full_attention", "sliding_attention")]
            if key == "num_hidden_layers":
                named += ['"layer_types"', '"no_rope_layers"']
            self.assertTrue(any(name in message for name in named), message)
            return
        theirs = self.theirs(family)
        if ours is not None and theirs is not None:
            gap = ((ours - theirs).abs().max() / theirs.abs().max()).item()
            self.assertLess(gap, 1e-4)
            self.compared += 1

    def test_keys(self):
        for family in SHAPES:
            self.state = make(self.folder, family).state_dict()
            base = self.config()
            self.compared = 0
            keys = {**{key: others(key, value) for key, value in base.items()}}
            for key, values in OTHERS.items():
                keys[key] = keys.get(key, []) + values
            for key, values in keys.items():
                for value in values:
                    with self.subTest(family, key=key, value=value):
                        self.write(changed(base, key, value))
                        self.check(family, key, value)
            self.assertGreater(self.compared, 20, family)


class NamesTest(ConfigTest):
    """What folders hold besides, and instead of, the names of a model with its output projection."""

    def tensors(self):
        return safetensors.torch.load_file(os.path.join(self.folder, "model.safetensors"))

    def store(self, tensors):
        tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        safetensors.torch.save_file(tensors, os.path.join(self.folder, "model.safetensors"), {"format": "pt"})

    def test_keys(self):
        self.skipTest("ConfigTest runs it")

    def assert_opens(self, model):
        with torch.no_grad():
            wanted = model(IDS).logits
        self.assertLess(((self.ours() - wanted).abs().max() / wanted.abs().max()).item(), 1e-5)

    def test_base_models(self):
        """AutoModel saves names without a prefix; GPT-2's own files have them, and masks."""
        for family in ("GPT2", "Gemma", "Llama"):
            model = make(self.folder, family, tie_word_embeddings=True)
            config = self.config()
            prefix = "transformer." if family == "GPT2" else "model."
            bare = {name.removeprefix(prefix): tensor for name, tensor in self.tensors().items()}
            for extra, architectures in (({}, [family + "Model"]), ({}, None), ({}, [])):
                with self.subTest(family, architectures=architectures):
                    self.store({**bare, **extra})
                    self.write({**config, "architectures": architectures})
                    self.assert_opens(model)
            self.store({**bare, "score.weight": torch.zeros(2, 48)})
            with self.assertRaisesRegex(tinylm.Error, "score.weight' is not one of the model's"):
                self.ours()
            self.write({**config, "architectures": [family + "ForSequenceClassification"]})
            with self.assertRaisesRegex(tinylm.Error, '"architectures" has .*ForSequenceClassification'):
                self.ours()

    def test_masks_of_gpt2(self):
        model = make(self.folder, "GPT2")
        bare = {name.removeprefix("transformer."): tensor for name, tensor in self.tensors().items()}
        for layer in range(3):
            bare[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(40, 40)).reshape(1, 1, 40, 40)
            bare[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        self.store(bare)
        self.assert_opens(model)

    def test_tables_of_rope(self):
        model = make(self.folder, "Llama")
        tensors = self.tensors()
        for layer in range(3):
            tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        self.store(tensors)
        self.assert_opens(model)

    def test_output_projection(self):
        make(self.folder, "Llama")
        tensors, config = self.tensors(), self.config()
        output = tensors.pop("lm_head.weight")
        self.store(tensors)
        with self.assertRaisesRegex(tinylm.Error, "has no tensor 'lm_head.weight'"):
            self.ours()
        self.write({**config, "tie_word_embeddings": True})
        self.assertEqual(self.ours().shape, (1, 24, 97))
        self.store({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]})
        self.assertEqual(self.ours().shape, (1, 24, 97))
        self.store({**tensors, "lm_head.weight": output})
        with self.assertRaisesRegex(tinylm.Error, '"tie_word_embeddings" is true'):
            self.ours()

    def test_other_kinds_of_models(self):
        make(self.folder, "Qwen2")
        config = self.config()
        for changes, named in (
                ({"model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"]}, "qwen2_moe"),
                ({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"],
                  "text_config": {}}, "gemma3"),
                ({"architectures": ["Qwen2ForSequenceClassification"]}, "Qwen2ForSequenceClassification"),
                ({"architectures": ["Qwen2ForCausalLM", "LlamaForCausalLM"]}, "LlamaForCausalLM"),
                ({"model_type": None, "architectures": None}, "model_type")):
            with self.subTest(named), self.assertRaisesRegex(tinylm.Error, named):
                self.write({**config, **changes})
                self.ours()


if __name__ == "__main__":
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    unittest.main(verbosity=1)
