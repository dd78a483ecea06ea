"""Compares models in Hugging Face's folders with transformers, where it and torch are installed.

What is missing is reported as skipped, by name; then the test is skipped (77).
"""

import json
import os
import tempfile
import unittest

import peers

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
torch, transformers = peers.require("torch", "transformers")

import tinylm  # noqa: E402

END = "<|endoftext|>"
TEXT = "the cat sat on the mat, the rat sat on the cat: caf\u00e9 \u4f60\u597d 1234\n" * 20
GEMMA = {"ffn": "geglu", "scaled_embeddings": True, "tied_embeddings": True}
SHAPES = {
    "plain": {},
    "grouped": {"num_kv_heads": 2, "rope_theta": 500000.0, "norm_eps": 1e-6},
    "tied": {"num_kv_heads": 1, "tied_embeddings": True},
    "wide heads": {"num_kv_heads": 2, "head_dim": 14},
    "qwen3": {"num_kv_heads": 2, "head_dim": 12, "qk_norm": "heads"},
    "biases": {"num_kv_heads": 2, "attention_bias": "all", "ffn_bias": True},
    "linear": {"rope_scaling": "linear", "rope_factor": 3.0},
    "llama3": {"rope_scaling": "llama3", "rope_factor": 4.0, "rope_original_context": 16, "rope_theta": 500.0},
    "yarn": {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_original_context": 20, "rope_theta": 100.0,
             "rope_high_turns": 6.0},
    "mistral": {"num_kv_heads": 2, "sliding_window": 7},
    "qwen2": {"num_kv_heads": 2, "attention_bias": "qkv"},
    "qwen2 with a window": {"num_kv_heads": 2, "attention_bias": "qkv", "sliding_window": 5},
    "olmo2": {"num_kv_heads": 2, "norm": "after", "qk_norm": "width"},
    "smollm3": {"num_kv_heads": 2, "unrotated_period": 2, "num_layers": 3},
    "gemma": {**GEMMA, "num_kv_heads": 1},
    "gemma2": {**GEMMA, "norm": "both", "num_kv_heads": 2, "sliding_window": 6, "window_period": 2,
               "attention_softcap": 5.0, "logit_softcap": 3.0, "query_scalar": 11.0, "num_layers": 3},
    "gemma3": {**GEMMA, "norm": "both", "qk_norm": "heads", "num_kv_heads": 2, "sliding_window": 6,
               "window_period": 3, "window_rope_theta": 100.0, "query_scalar": 11.0, "num_layers": 4,
               "rope_scaling": "linear", "rope_factor": 2.0, "head_dim": 6},
    "gpt2": {"position": "learned", "norm_kind": "layer", "ffn": "gelu", "ffn_bias": True,
             "attention_bias": "all", "tied_embeddings": True},
}


def our_model(vocab_size, **options):
    shape = {"context_length": 32, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "seed": 3}
    return tinylm.Model.create(vocab_size, **{**shape, **options})


def spread_gains(model):
    """Gains that differ: fresh ones are all 1, and would hide a wrong order."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.parameters().items():
        if len(parameter.shape) == 1:
            gains = torch.from_dlpack(parameter.detach())
            gains += 0.3 * torch.rand(gains.shape, generator=generator)


def our_logits(model, ids):
    return torch.from_dlpack(model.forward(ids).detach())


class FolderTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.folder = os.path.join(self.directory.name, "model")

    def config(self):
        with open(os.path.join(self.folder, "config.json"), encoding="utf-8") as file:
            return json.load(file)

    def assert_close(self, ours, theirs, tolerance):
        self.assertEqual(ours.shape, theirs.shape)
        self.assertTrue(torch.isfinite(ours).all() and torch.isfinite(theirs).all())
        self.assertLess((ours - theirs).abs().max().item(), tolerance)


def logits_gap(ours, theirs):
    """The largest difference, in parts of the largest logit."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


class SaveTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=[END])

    def save(self, how=None, vocab_size=304, **shape):
        model = our_model(vocab_size, **shape)
        spread_gains(model)
        model.save_hf(self.folder, self.tokenizer, **(how or {}))
        return model

    def theirs(self, dtype="float32"):
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            self.folder, dtype=getattr(torch, dtype), output_loading_info=True)
        for what, names in report.items():
            self.assertFalse(names, what)
        self.assertEqual([type(model).__name__], self.config()["architectures"])
        return model.eval()

    def their_logits(self, ids):
        with torch.no_grad():
            return self.theirs()(torch.tensor(ids)).logits

    def test_logits(self):
        ids = torch.randint(0, 304, (2, 32), generator=torch.Generator().manual_seed(5)).tolist()
        for name, shape in SHAPES.items():
            with self.subTest(name):
                model = self.save(**shape)
                self.assertLess(logits_gap(our_logits(model, ids), self.their_logits(ids)), 1e-5)

    def test_family(self):
        """What a family's files hold comes out of them again; another family than the first is a choice."""
        model = self.save({"family": "phi3", "end_token": [5, 7, 9]}, num_kv_heads=2, sliding_window=6)
        config = self.config()
        self.assertEqual(config["architectures"], ["Phi3ForCausalLM"])
        self.assertEqual(config["eos_token_id"], [5, 7, 9])
        ids = torch.arange(20).reshape(1, 20).tolist()
        self.assertLess(logits_gap(our_logits(model, ids), self.their_logits(ids)), 1e-5)
        again, _ = tinylm.Model.open(self.folder)
        self.assertEqual((again.family, again.begin_token, again.end_tokens), ("phi3", None, [5, 7, 9]))
        self.assertEqual({**again.options, "seed": 3}, model.options)
        with self.assertRaisesRegex(tinylm.Error, "llama has no 6 .sliding_window"):
            model.save_hf(self.folder, family="llama")

    def test_narrow_weights(self):
        """What transformers reads are our weights, rounded as torch rounds them."""
        for dtype in ("float16", "bfloat16"):
            with self.subTest(dtype):
                model = self.save({"weights": dtype})
                theirs = self.theirs(dtype).state_dict()
                for ours, name in (("lm_head.weight", "lm_head.weight"),
                                   ("ln_final.weight", "model.norm.weight"),
                                   ("layers.1.ffn.w2.weight", "model.layers.1.mlp.down_proj.weight")):
                    wanted = torch.from_dlpack(model.parameters()[ours].detach()).to(getattr(torch, dtype))
                    self.assertEqual(theirs[name].dtype, wanted.dtype)
                    self.assertTrue(torch.equal(theirs[name], wanted), name)

    def test_rows_of_queries_and_keys(self):
        model = self.save()
        ours = torch.from_dlpack(model.parameters()["layers.0.attn.q_proj.weight"].detach())
        theirs = self.theirs().state_dict()["model.layers.0.self_attn.q_proj.weight"]
        pairs = ours.reshape(4, 4, 2, 32)  # heads, pairs, both of a pair
        self.assertTrue(torch.equal(theirs.reshape(4, 2, 4, 32), pairs.transpose(1, 2)))

    def test_ids(self):
        self.save()
        theirs = transformers.AutoTokenizer.from_pretrained(self.folder)
        for text in (TEXT, "a b" + END + "never seen: \U0001f600\x00\n\n  x", ""):
            self.assertEqual(theirs(text)["input_ids"], self.tokenizer.encode(text))
            self.assertEqual(theirs.decode(self.tokenizer.encode(text)), text)
        self.assertEqual(theirs.eos_token, END)
        self.assertEqual(theirs.model_max_length, 32)

    def test_greedy_generation(self):
        for name, shape in SHAPES.items():
            with self.subTest(name):
                model = self.save({"begin_token": 7}, **shape)
                prompt = self.tokenizer.encode("the cat")
                theirs = self.theirs()
                end = self.tokenizer.token_id(END)
                self.assertEqual(theirs.generation_config.eos_token_id, end)
                self.assertEqual(theirs.generation_config.bos_token_id, 7)
                found = theirs.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20,
                                        pad_token_id=end)[0, len(prompt):].tolist()
                self.assertEqual(found, model.generate(prompt, max_tokens=20, end_token=end))

    def test_config(self):
        self.save({"end_token": 5}, **SHAPES["grouped"])
        self.assertEqual(sorted(os.listdir(self.folder)),
                         ["config.json", "generation_config.json", "model.safetensors",
                          "tokenizer.json", "tokenizer_config.json"])
        config = transformers.AutoConfig.from_pretrained(self.folder)
        self.assertEqual(config.eos_token_id, 5)
        self.assertIsNone(config.bos_token_id)
        self.assertEqual(config.max_position_embeddings, 32)
        self.assertEqual(config.rope_parameters["rope_theta"], 500000.0)
        self.assertEqual(self.config()["rms_norm_eps"], 1e-6)
        self.assertEqual(self.config()["architectures"], ["LlamaForCausalLM"])
        self.save(**SHAPES["qwen3"])
        self.assertEqual(self.config()["architectures"], ["Qwen3ForCausalLM"])

    def test_read_back(self):
        """Every weight comes back bit for bit, and the tokenizer with it."""
        for name, shape in SHAPES.items():
            with self.subTest(name):
                model = self.save(**shape)
                again, tokenizer = tinylm.Model.open(self.folder)
                self.assertEqual({**again.options, "seed": 3}, model.options)
                for name, parameter in model.parameters().items():
                    self.assertEqual(again.parameters()[name].tolist(), parameter.tolist())
                self.assertEqual(tokenizer.encode(TEXT), self.tokenizer.encode(TEXT))

    def test_saved_again(self):
        model = self.save()
        self.tokenizer = None
        self.save(num_kv_heads=2)
        self.save()
        ids = [[1, 2, 3]]
        self.assert_close(our_logits(model, ids), self.their_logits(ids), 1e-4)


class OpenTest(FolderTest):
    """Folders that transformers wrote, of models with random weights."""

    IDS = torch.randint(0, 97, (2, 24), generator=torch.Generator().manual_seed(5)).tolist()

    def make(self, dtype="float32", shard="1GB", family="Llama", **changes):
        shape = {} if family == "GPT2" else {
            "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3,
            "num_attention_heads": 6, "max_position_embeddings": 40}
        tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        config = getattr(transformers, family + "Config")(**{
            "vocab_size": 97, **tokens, **shape, **changes, "attn_implementation": "eager"})
        torch.manual_seed(11)
        classes = {"Gemma3Text": "Gemma3ForCausalLM", "GPT2": "GPT2LMHeadModel"}
        model = getattr(transformers, classes.get(family, family + "ForCausalLM"))(config).eval()
        with torch.no_grad():  # weights as they come are so small that all logits are near 0
            for parameter in model.parameters():
                parameter.mul_(1 + torch.rand_like(parameter)).mul_(1 if parameter.dim() == 1 else 5)
                if parameter.dim() == 1:  # biases, and the gains of Gemma, come as 0
                    parameter.add_(0.2 * torch.rand_like(parameter))
        model.to(getattr(torch, dtype)).save_pretrained(self.folder, max_shard_size=shard)

    def change_config(self, **changes):
        path = os.path.join(self.folder, "config.json")
        config = {**self.config(), **changes}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({key: value for key, value in config.items() if value != "gone"}, file)

    def assert_same_logits(self):
        """Both sum in float32, whatever the weights are. Then the gradients, and logits over caches."""
        model = tinylm.Model.open(self.folder)[0]
        ours = our_logits(model, self.IDS)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()
        with torch.no_grad():
            logits = theirs(torch.tensor(self.IDS)).logits
        self.assertGreater(logits.std().item(), 0.1)
        self.assertLess(logits_gap(ours, logits), 2e-5)
        log_probs = torch.log_softmax(logits[0].double(), -1)
        scores = model.score(self.IDS[0])
        for t, score in enumerate(scores):
            self.assertLess(abs(log_probs[t, self.IDS[0][t + 1]].item() - score), 1e-3)
        return model, theirs

    def assert_same_gradients(self, model, theirs):
        """Of the mean loss, by parts that both name: in parts of the largest gradient of each."""
        ids = torch.tensor(self.IDS)
        loss = torch.nn.functional.cross_entropy(theirs(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        ours = model.loss(ids[:, :-1].tolist(), ids[:, 1:].tolist())
        self.assertLess(abs(loss.item() - ours.item()), 2e-5 * abs(loss.item()))
        ours.backward()
        wanted = sum((parameter.grad.double() ** 2).sum() for parameter in theirs.parameters()).sqrt()
        total = sum((torch.from_dlpack(parameter.grad).double() ** 2).sum()
                    for parameter in model.parameters().values()).sqrt()
        self.assertLess(abs(total / wanted - 1).item(), 1e-4)
        names = dict(theirs.named_parameters())
        for name in names:
            own = self.OURS.get(name.split(".")[-2] + "." + name.split(".")[-1])
            layer = [part for part in name.split(".") if part.isdigit()]
            if own is not None:
                key = f"layers.{layer[0]}.{own}" if layer else own
                gradient = torch.from_dlpack(model.parameters()[key].grad)
                gap = (gradient - names[name].grad).abs().max() / names[name].grad.abs().max()
                self.assertLess(gap.item(), 1e-3, name)

    OURS = {"o_proj.weight": "attn.output_proj.weight", "v_proj.weight": "attn.v_proj.weight",
            "v_proj.bias": "attn.v_proj.bias", "down_proj.weight": "ffn.w2.weight",
            "gate_proj.weight": "ffn.w1.weight", "up_proj.weight": "ffn.w3.weight",
            "input_layernorm.weight": "ln1.weight", "norm.weight": "ln_final.weight",
            "embed_tokens.weight": "token_embeddings.weight", "ln_1.bias": "ln1.bias",
            "wpe.weight": "position_embeddings.weight", "wte.weight": "token_embeddings.weight",
            "ln_f.weight": "ln_final.weight"}

    def test_shapes(self):
        for name, changes in {
            "plain": {},
            "grouped": {"num_key_value_heads": 2},
            "one head of keys": {"num_key_value_heads": 1, "rms_norm_eps": 1e-3},
            "tied": {"tie_word_embeddings": True},
            "heads of a width of their own": {"head_dim": 16, "num_key_value_heads": 2},
            "qwen3": {"family": "Qwen3", "head_dim": 10, "num_key_value_heads": 2},
            "theta": {"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}},
        }.items():
            with self.subTest(name):
                self.make(**changes)
                self.assert_same_logits()

    FAMILIES = {
        "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 2}),
        "linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
        "dynamic": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}),
        "llama3": ("Llama", {"rope_parameters": {
            "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 20}}),
        "yarn": ("Llama", {"rope_parameters": {
            "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "beta_fast": 8.0,
            "original_max_position_embeddings": 20}}),
        "yarn of DeepSeek": ("Llama", {"rope_parameters": {
            "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.3,
            "original_max_position_embeddings": 20}}),
        "mistral": ("Mistral", {"num_key_value_heads": 2, "sliding_window": 6, "head_dim": 8}),
        "mistral without a window": ("Mistral", {"num_key_value_heads": 2, "sliding_window": None, "head_dim": 10}),
        "qwen2": ("Qwen2", {"num_key_value_heads": 2}),
        "qwen2 with a window": ("Qwen2", {"num_key_value_heads": 2, "use_sliding_window": True,
                                          "sliding_window": 5, "max_window_layers": 0}),
        "qwen2 whose window is not used": ("Qwen2", {"num_key_value_heads": 2, "sliding_window": 5}),
        "phi3": ("Phi3", {"num_key_value_heads": 2, "sliding_window": 9, "pad_token_id": 0}),
        "olmo2": ("Olmo2", {"num_key_value_heads": 2}),
        "smollm3": ("SmolLM3", {"num_key_value_heads": 2, "num_hidden_layers": 5}),
        "gemma": ("Gemma", {"num_key_value_heads": 1, "head_dim": 8}),
        "gemma2": ("Gemma2", {"num_key_value_heads": 2, "head_dim": 10, "sliding_window": 6,
                              "query_pre_attn_scalar": 16}),
        "gemma3": ("Gemma3Text", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6,
                                  "num_hidden_layers": 7, "query_pre_attn_scalar": 8}),
        "gpt2": ("GPT2", {}),
    }

    def test_families(self):
        for name, (family, changes) in self.FAMILIES.items():
            with self.subTest(name):
                if family == "GPT2":
                    changes = {"n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 40}
                self.make(family=family, **changes)
                model, theirs = self.assert_same_logits()
                self.assert_same_gradients(model, theirs)
                path = os.path.join(self.directory.name, "again")
                model.save_hf(path, family=model.family)
                with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
                    self.assertEqual(json.load(file)["architectures"], self.config()["architectures"])
                again = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
                with torch.no_grad():
                    ids = torch.tensor(self.IDS)
                    self.assertLess(logits_gap(again(ids).logits, theirs(ids).logits), 1e-5)

    def test_long_windows(self):
        """More keys than one block of attention has, and a window that is no multiple of it."""
        self.make(family="Mistral", num_key_value_heads=2, sliding_window=300, head_dim=8,
                  max_position_embeddings=700)
        ids = torch.randint(1, 97, (1, 700), generator=torch.Generator().manual_seed(6)).tolist()
        self.IDS = ids
        model, theirs = self.assert_same_logits()
        self.assert_same_gradients(model, theirs)

    def test_end_tokens(self):
        self.make(family="Qwen2", num_key_value_heads=2)
        self.change_config(eos_token_id=[7, 8], bos_token_id=None)
        with open(os.path.join(self.folder, "generation_config.json"), "w", encoding="utf-8") as file:
            json.dump({"eos_token_id": [9, 7], "bos_token_id": 3}, file)
        model, _ = tinylm.Model.open(self.folder)
        self.assertEqual((model.begin_token, model.end_tokens), (3, [7, 8, 9]))
        tokens = model.generate([1, 2, 3], max_tokens=30)
        for at in (2, 9):
            stop = tokens.index(tokens[at])
            for ends in ([tokens[at]], [96 if 96 not in tokens else 95, tokens[at]]):
                self.assertEqual(model.generate([1, 2, 3], max_tokens=30, end_token=ends), tokens[:stop])

    def test_types(self):
        for dtype in ("float16", "bfloat16"):
            with self.subTest(dtype):
                self.make(dtype)
                self.assert_same_logits()

    def test_shards(self):
        self.make(shard="60KB", num_key_value_heads=3)
        shards = [name for name in os.listdir(self.folder) if name.endswith(".safetensors")]
        self.assertGreater(len(shards), 2)
        self.assert_same_logits()

    def test_old_configurations(self):
        """transformers 4 wrote the base of RoPE as a key of its own, and left keys out."""
        self.make(rope_parameters={"rope_theta": 20000.0, "rope_type": "default"})
        for changes in ({"rope_scaling": None}, {"rope_scaling": {"type": "default"}},
                        {"num_key_value_heads": "gone", "head_dim": None}):
            self.change_config(rope_parameters="gone", rope_theta=20000.0, **changes)
            self.assert_same_logits()

    def test_their_tokenizer(self):
        tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=[END]).save_json(
            os.path.join(self.directory.name, "tokenizer.json"))
        theirs = transformers.PreTrainedTokenizerFast(
            tokenizer_file=os.path.join(self.directory.name, "tokenizer.json"), eos_token=END)
        self.make(vocab_size=300)
        theirs.save_pretrained(self.folder)
        _, ours = tinylm.Model.open(self.folder)
        self.assertEqual(ours.encode(TEXT + END), theirs(TEXT + END)["input_ids"])

    def test_what_differs_is_refused(self):
        self.make()
        for key, value in {
            "hidden_act": "gelu", "sliding_window": 16,
            "model_type": "llama4", "architectures": ["MistralForCausalLM"],
            "rope_scaling": {"rope_type": "longrope", "factor": 8.0},
            "rope_parameters": {"type": "proportional", "rope_theta": 1e4, "factor": 2.0},
            "use_bidirectional_attention": True, "scale_attn_weights": False, "add_cross_attention": True,
            "partial_rotary_factor": 0.5, "quantization_config": {"bits": 4},
        }.items():
            with self.subTest(key):
                before = self.config()
                self.change_config(**{key: value})
                with self.assertRaisesRegex(tinylm.Error, f'"{key}"') as caught:
                    tinylm.Model.open(self.folder)
                self.assertEqual(caught.exception.status, "TLM_ERR_UNSUPPORTED")
                self.change_config(**{key: "gone"})
                self.change_config(**before)
        tinylm.Model.open(self.folder)

    def test_biases_without_a_word_are_refused(self):
        self.make(attention_bias=True)
        self.change_config(attention_bias=False)
        with self.assertRaisesRegex(tinylm.Error, r"_proj.bias' is not one of the model's"):
            tinylm.Model.open(self.folder)


if __name__ == "__main__":
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    unittest.main(verbosity=1)
