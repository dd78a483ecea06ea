"""Reads and writes GGUF files beside the gguf package, where it and numpy are installed, and beside llama.cpp
itself, where its package cyllama is.

What is missing is reported as skipped, by name; without gguf or numpy the test is skipped (77).
"""

import os
import tempfile
import unittest

import peers

gguf, numpy = peers.require("gguf", "numpy")
cyllama = peers.find("cyllama")

import tinylm  # noqa: E402

END = "<|endoftext|>"
TEXT = "the cat sat on the mat, the rat sat on the cat: caf\u00e9 \u4f60\u597d 1234\n" * 20
SHAPE = {"context_length": 32, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "seed": 3}
NAMES = {"token_embeddings": "token_embd", "ln_final": "output_norm", "lm_head": "output",
         "attn.q_proj": "attn_q", "attn.k_proj": "attn_k", "attn.v_proj": "attn_v",
         "attn.output_proj": "attn_output", "ln1": "attn_norm", "ln2": "ffn_norm",
         "ffn.w1": "ffn_gate", "ffn.w2": "ffn_down", "ffn.w3": "ffn_up"}


def their_name(name):
    name = name.removesuffix(".weight")
    if name.startswith("layers."):
        _, layer, part = name.split(".", 2)
        return f"blk.{layer}.{NAMES[part]}.weight"
    return NAMES[name] + ".weight"


def weights_of(model):
    return {name: tensor.detach().numpy() for name, tensor in model.parameters().items()}


class GgufTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "model.gguf")

    def assert_same_weights(self, ours, theirs):
        self.assertEqual(ours.keys(), theirs.keys())
        for name in ours:
            self.assertTrue(numpy.array_equal(ours[name], theirs[name]), name)


class SaveTest(GgufTest):
    def setUp(self):
        super().setUp()
        self.tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=["<|pad|>", END])

    def save(self, vocab_size=304, how=None, **shape):
        model = tinylm.Model.create(vocab_size, **{**SHAPE, **shape})
        model.save_gguf(self.path, self.tokenizer, **(how or {}))
        return model, gguf.GGUFReader(self.path)

    def test_fields(self):
        _, reader = self.save(num_kv_heads=2, rope_theta=500000.0, norm_eps=1e-6)
        self.assertEqual(reader.fields["GGUF.version"].contents(), 3)
        self.assertEqual(reader.alignment, 32)
        for key, value in {
            "general.architecture": "llama", "general.file_type": 0, "llama.vocab_size": 304,
            "llama.context_length": 32, "llama.embedding_length": 32, "llama.block_count": 2,
            "llama.feed_forward_length": 48, "llama.attention.head_count": 4,
            "llama.attention.head_count_kv": 2, "llama.rope.dimension_count": 8,
            "llama.rope.freq_base": 500000.0, "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.eos_token_id": self.tokenizer.token_id(END),
            "tokenizer.ggml.add_bos_token": False,
        }.items():
            self.assertEqual(reader.fields[key].contents(), value, key)
        self.assertAlmostEqual(reader.fields["llama.attention.layer_norm_rms_epsilon"].contents(), 1e-6)
        self.assertNotIn("tokenizer.ggml.bos_token_id", reader.fields)

    def test_tokenizer(self):
        _, reader = self.save()
        tokens = reader.fields["tokenizer.ggml.tokens"].contents()
        types = reader.fields["tokenizer.ggml.token_type"].contents()
        self.assertEqual((len(tokens), len(types)), (304, 304))
        self.tokenizer.save(self.path + ".vocab", self.path + ".merges")
        with open(self.path + ".merges", encoding="utf-8") as file:
            merges = file.read().split("\n")[1:-1]
        self.assertEqual(reader.fields["tokenizer.ggml.merges"].contents(), merges)
        special = {self.tokenizer.token_id(text): text for text in ("<|pad|>", END)}
        used = self.tokenizer.vocab_size
        self.assertLess(used, 304)
        for token_id, (token, kind) in enumerate(zip(tokens, types)):
            wanted = (gguf.TokenType.CONTROL if token_id in special
                      else gguf.TokenType.UNUSED if token_id >= used else gguf.TokenType.NORMAL)
            self.assertEqual(kind, wanted)
            if token_id in special:
                self.assertEqual(token, special[token_id])
        self.assertEqual(tokens[used:], [f"[PAD{i}]" for i in range(used, 304)])
        self.assertEqual(tokens[self.tokenizer.token_id(" the")], "\u0120the")

    def test_tensors(self):
        for dtype, kind in (("float32", "F32"), ("float16", "F16"), ("bfloat16", "BF16"),
                            ("q8_0", "Q8_0"), ("q4_0", "Q4_0"), ("q4_1", "Q4_1"), ("q5_0", "Q5_0"),
                            ("q5_1", "Q5_1")):
            with self.subTest(dtype):
                model, reader = self.save(how={"weights": dtype}, num_kv_heads=2)
                self.assertEqual(reader.fields["general.file_type"].contents(),
                                 gguf.LlamaFileType["ALL_F32" if kind == "F32" else "MOSTLY_" + kind])
                ours = {their_name(name): values for name, values in weights_of(model).items()}
                self.assertEqual([tensor.name for tensor in reader.tensors], list(ours))
                for tensor in reader.tensors:
                    values = ours[tensor.name]
                    blocks = values.shape[-1] % 32 == 0 or kind in ("F32", "F16", "BF16")
                    wanted = "F32" if values.ndim == 1 else kind if blocks else "F16"
                    self.assertEqual(tensor.tensor_type, gguf.GGMLQuantizationType[wanted])
                    self.assertEqual(tuple(tensor.shape), values.shape[::-1])
                    self.assertEqual(tensor.data_offset % 32, 0)
                    rounded = gguf.quants.quantize(values, tensor.tensor_type)
                    self.assertEqual(tensor.data.tobytes(), rounded.tobytes(), tensor.name)

    def test_tied(self):
        model, reader = self.save(tied_embeddings=True)
        self.assertNotIn("output.weight", [tensor.name for tensor in reader.tensors])
        self.assert_same_weights(weights_of(tinylm.Model.open(self.path)[0]), weights_of(model))

    def test_read_back(self):
        model, _ = self.save(how={"begin_token": 5}, num_kv_heads=2)
        again, tokenizer = tinylm.Model.open(self.path)
        self.assert_same_weights(weights_of(again), weights_of(model))
        self.assertEqual({**again.options, "seed": 3}, model.options)
        self.assertEqual(tokenizer.encode(TEXT + END), self.tokenizer.encode(TEXT + END))


# Where the float16 numbers of a block are, for formats that the gguf package reads but does not write.
K_HALVES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def random_blocks(shape, kind):
    """Blocks of any bits, except that scales are finite and make values like those of weights."""
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    random = numpy.random.default_rng(len(kind) + shape[0])
    blocks = random.integers(0, 256, (*shape[:-1], shape[-1] // elements, size), dtype=numpy.uint8)
    for at in K_HALVES[kind]:
        halves = random.normal(size=blocks.shape[:-1]) * 0.002
        blocks[..., at:at + 2] = halves.astype(numpy.float16)[..., None].view(numpy.uint8)
    return blocks.reshape(*shape[:-1], -1)


def quantized(values, kind):
    if kind in K_HALVES:
        return random_blocks(values.shape, kind)
    return gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])


class OpenTest(GgufTest):
    """Files that the gguf package wrote."""

    def write(self, kind="F32", gains="F32", **changes):
        width = changes.get("width", 32)
        model = tinylm.Model.create(40, **{**SHAPE, "d_model": width, "d_ff": 2 * width})
        writer = gguf.GGUFWriter(self.path, "llama")
        writer.add_name("a model")
        writer.add_context_length(32)
        writer.add_embedding_length(width)
        writer.add_block_count(2)
        writer.add_feed_forward_length(2 * width)
        writer.add_head_count(changes.get("heads", 4))
        writer.add_head_count_kv(4)
        writer.add_layer_norm_rms_eps(1e-5)
        for key, value in changes.get("keys", {}).items():
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
        writer.add_rope_dimension_count(changes.get("rope", width // 4))
        if "scaling" in changes:
            writer.add_rope_scaling_type(changes["scaling"])
        if "window" in changes:
            writer.add_sliding_window(changes["window"])
        ours = {}
        for name, values in weights_of(model).items():
            own = gguf.GGMLQuantizationType[gains if values.ndim == 1 else kind]
            data = quantized(values, own.name)
            ours[name] = gguf.quants.dequantize(data, own).reshape(values.shape)
            writer.add_tensor(their_name(name), data, raw_dtype=own)
        for name, values in changes.get("tensors", {}).items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return ours

    def test_types(self):
        for kind in ("F32", "F16", "BF16"):
            with self.subTest(kind):
                ours = self.write(kind)
                opened, tokenizer = tinylm.Model.open(self.path)
                self.assertIsNone(tokenizer)
                self.assertEqual(opened.options["norm_eps"], 1e-5)
                self.assert_same_weights(weights_of(opened), ours)

    def test_block_types(self):
        """The values are those of gguf.quants.dequantize, bit for bit."""
        for kind in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", *K_HALVES):
            with self.subTest(kind):
                ours = self.write(kind, width=256 if kind in K_HALVES else 64)
                opened, _ = tinylm.Model.open(self.path)
                self.assert_same_weights(weights_of(opened), ours)

    def test_what_differs_is_refused(self):
        scaled = numpy.ones(4, dtype=numpy.float32)
        for changes, text in (
            ({"kind": "TQ2_0", "width": 256}, r"token_embd.weight' is of type TQ2_0 \(35\)"),
            ({"rope": 4}, "rope.dimension_count"),
            ({"scaling": gguf.RopeScalingType.LONGROPE}, "rope.scaling.type' is longrope"),
            ({"window": 8}, "sliding_window"),
            ({"heads": [4, 4]}, "differs between layers"),
            ({"keys": {"llama.logit_scale": 0.5}}, "'llama.logit_scale' is 0.5; only 0 is supported"),
            ({"keys": {"llama.expert_count": 8}}, "'llama.expert_count' is 8; only 0"),
            ({"keys": {"llama.attention.causal": False}}, "'llama.attention.causal' is false; only 1"),
            ({"keys": {"llama.swiglu_clamp_exp": 7.0}}, r"'llama.swiglu_clamp_exp' is not supported .it is 7."),
            ({"keys": {"llama.rope.dimension_sections": [1, 2]}}, r"not supported .it is an array of 2"),
            ({"keys": {"general.type": "adapter"}}, "'general.type' is adapter, not model"),
            ({"tensors": {"rope_freqs.weight": scaled[:3]}}, "rope_freqs.weight' is not 4 float32"),
            ({"tensors": {"rope_freqs.weight": numpy.array([1, 3, 2, 5], dtype=numpy.float32)}},
             "rope_freqs.weight' are not those of a scaling"),
            ({"tensors": {"blk.0.attn_v.bias": scaled}}, "attn_v.bias"),
        ):
            with self.subTest(text):
                self.write(**changes)
                with self.assertRaisesRegex(tinylm.Error, text) as caught:
                    tinylm.Model.open(self.path)
                self.assertEqual(caught.exception.status, "TLM_ERR_UNSUPPORTED")


    def test_keys_that_change_nothing(self):
        self.write(keys={"llama.logit_scale": 1.0, "llama.expert_count": 0, "llama.attention.causal": True,
                         "llama.rope.scaling.yarn_ext_factor": 1.0, "llama.attention.clamp_kqv": 0.0})
        tinylm.Model.open(self.path)


LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|" + LETTERS
PATTERNS = {"gpt-2": None, "llama-bpe": LLAMA3, "qwen2": LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")}


@unittest.skipIf(cyllama is None, "cyllama is not installed")
class LlamaCppTest(GgufTest):
    """llama.cpp finds the same ids, and the same logits where it too sums in float32."""

    TEXTS = [TEXT, "Hello WORLD, it's 2024! We'll see: 12345 apples\n\n  and   tabs\t\t\r\n end  ",
             "\u03b1\u03b2\u03b3 \u0434\u0430 \u05e9\u05dc \u0645\u0631\u062d \u0928\u094d\u0926 \u3053\u3093"
             " \uac00 \U0001f600 e\u0301 \u00a0\u3000'S 'Ll", "x" + END + "y"]

    def logits(self, path, ids):
        from cyllama.llama import llama_cpp

        class Model(llama_cpp.LlamaModel):
            n_vocab = property(lambda self: self.get_vocab().n_vocab)  # what get_logits_ith looks for

        llama_cpp.disable_logging()
        model, params = Model(path), llama_cpp.LlamaContextParams()
        params.n_ctx, params.type_k, params.type_v, params.flash_attn_type = 32, 0, 0, 0
        context = llama_cpp.LlamaContext(model, params)
        batch = llama_cpp.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1)
        batch.set_batch(ids, n_past=0, logits_all=False)
        context.decode(batch)
        vocab = model.get_vocab()
        texts = [list(vocab.tokenize(text, add_special=False, parse_special=True)) for text in self.TEXTS]
        return numpy.array(context.get_logits_ith(len(ids) - 1)), texts, vocab.token_eos()

    def test_ids_and_logits(self):
        for pre, pattern in PATTERNS.items():
            with self.subTest(pre):
                tokenizer = tinylm.Tokenizer.train("".join(self.TEXTS), vocab_size=400,
                                                   special_tokens=[END], pattern=pattern)
                model = tinylm.Model.create(404, **{**SHAPE, "num_kv_heads": 2})
                model.save_gguf(self.path, tokenizer)
                ids = tokenizer.encode(TEXT)[:20]
                theirs, texts, end = self.logits(self.path, ids)
                ours = model.forward(ids).detach().numpy()[0, -1]
                self.assertLess(numpy.abs(ours - theirs).max(), 1e-5)
                self.assertEqual(texts, [tokenizer.encode(text) for text in self.TEXTS])
                self.assertEqual(end, tokenizer.token_id(END))

    def test_architectures(self):
        tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=[END])
        ids = tokenizer.encode(TEXT)[:20]
        gemma = {"ffn": "geglu", "scaled_embeddings": True, "tied_embeddings": True, "num_heads": 4}
        for family, shape in (
            ("llama", {"head_dim": 16}),
            ("llama", {"head_dim": 8, "attention_bias": "all"}),
            ("llama", {"head_dim": 8, "rope_scaling": "linear", "rope_factor": 3.0}),
            ("llama", {"head_dim": 16, "rope_scaling": "llama3", "rope_factor": 4.0, "rope_original_context": 40,
                       "rope_theta": 500.0}),
            ("llama", {"head_dim": 16, "rope_scaling": "yarn", "rope_factor": 4.0, "rope_original_context": 16,
                       "rope_theta": 100.0}),
            ("llama", {"head_dim": 8, "how": {"family": "mistral"}}),  # the architecture of Mistral's files
            ("qwen2", {"head_dim": 8, "attention_bias": "qkv"}),
            ("qwen3", {"head_dim": 12, "qk_norm": "heads"}),
            ("olmo2", {"head_dim": 8, "norm": "after", "qk_norm": "width"}),
            ("smollm3", {"head_dim": 8, "unrotated_period": 4, "num_layers": 36, "d_ff": 16}),
            ("gemma", {**gemma, "head_dim": 8}),
            ("gemma2", {**gemma, "head_dim": 8, "norm": "both", "sliding_window": 6, "window_period": 2,
                        "attention_softcap": 5.0, "logit_softcap": 3.0, "num_layers": 26, "d_ff": 16}),
            ("gemma3", {**gemma, "head_dim": 8, "norm": "both", "qk_norm": "heads", "sliding_window": 6,
                        "window_period": 6, "window_rope_theta": 10000.0, "rope_theta": 1e6,
                        "num_layers": 26, "d_ff": 16}),
            ("phi3", {"head_dim": 8, "how": {"family": "phi3"}}),
            ("gpt2", {"position": "learned", "norm_kind": "layer", "ffn": "gelu", "ffn_bias": True, "head_dim": 8,
                      "attention_bias": "all", "tied_embeddings": True, "num_kv_heads": 4}),
        ):
            with self.subTest(family, **shape):
                how = shape.get("how", {})
                shape = {key: value for key, value in shape.items() if key != "how"}
                model = tinylm.Model.create(304, **{**SHAPE, "num_kv_heads": 2, **shape})
                for i, (name, values) in enumerate(weights_of(model).items()):
                    if values.ndim == 1:  # fresh gains are all 1, and hide a wrong order
                        model.set_parameter(name, (values + 0.3 * numpy.sin(numpy.arange(len(values)) + i)).astype("float32"))
                model.save_gguf(self.path, tokenizer, **how)
                fields = gguf.GGUFReader(self.path).fields
                self.assertEqual(fields["general.architecture"].contents(), family)
                for key in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
                    if family != "gpt2":
                        self.assertEqual(fields[f"{family}.{key}"].contents(), shape["head_dim"])
                ours = model.forward(ids).detach().numpy()[0, -1]
                gap = numpy.abs(ours - self.logits(self.path, ids)[0]).max() / numpy.abs(ours).max()
                # llama.cpp looks GELU up in a table of float16
                self.assertLess(gap, 1e-3 if "gelu" in shape.get("ffn", "") or "geglu" in shape.get("ffn", "") else 1e-5)
                again = tinylm.Model.open(self.path)[0]
                self.assert_same_weights(weights_of(again), weights_of(model))
                self.assertEqual({**again.options, "seed": 3}, model.options)

    def test_windows_of_mistral(self):
        """llama.cpp has none for the architecture: a window must be wider than the context."""
        model = tinylm.Model.create(304, **{**SHAPE, "sliding_window": 1000})
        model.save_gguf(self.path, family="mistral")
        self.assertEqual(tinylm.Model.open(self.path)[0].options["sliding_window"], 0)
        model = tinylm.Model.create(304, **{**SHAPE, "sliding_window": 6})
        with self.assertRaisesRegex(tinylm.Error, "GGUF has no sliding_window 6 for architecture llama"):
            model.save_gguf(self.path, family="mistral")


@unittest.skipIf(cyllama is None, "cyllama is not installed")
class LlamaCppQuantizeTest(GgufTest):
    """Files of the mixtures beside those of llama.cpp's own quantizer, from the same float32 file: each tensor has
    the same type, and no tensor's values are farther from those of float32."""

    def quantize(self, kind):
        from cyllama.llama import llama_cpp
        llama_cpp.disable_logging()
        params = llama_cpp.LlamaModelQuantizeParams()
        params.ftype, params.nthread = int(gguf.LlamaFileType["MOSTLY_" + kind]), 1
        llama_cpp.model_quantize(self.path, self.path + ".theirs", params)
        return gguf.GGUFReader(self.path + ".theirs").tensors

    def test_mixtures(self):
        wide = {"d_model": 256, "d_ff": 512, "num_layers": 9, "num_heads": 4}
        gpt2 = {"position": "learned", "norm_kind": "layer", "ffn": "gelu", "ffn_bias": True, "attention_bias": "all",
                "tied_embeddings": True}
        for shape, how in (({}, {}), ({"tied_embeddings": True, "num_kv_heads": 2}, {}), ({"d_ff": 96}, {}),
                           ({}, {"family": "phi3"}), (gpt2, {})):
            tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=[END])
            model = tinylm.Model.create(304, **{**SHAPE, **wide, **shape})
            for kind in ("Q4_K_M", "Q5_K_M", "Q6_K"):
                with self.subTest(kind, **shape, **how):
                    model.save_gguf(self.path, tokenizer, **how)
                    exact = {tensor.name: tensor.data for tensor in gguf.GGUFReader(self.path).tensors}
                    theirs = {tensor.name: tensor for tensor in self.quantize(kind)}
                    model.save_gguf(self.path, tokenizer, weights=kind.lower(), **how)
                    ours = gguf.GGUFReader(self.path)
                    self.assertEqual(ours.fields["general.file_type"].contents(), gguf.LlamaFileType["MOSTLY_" + kind])
                    self.assertEqual({tensor.name: tensor.tensor_type.name for tensor in ours.tensors},
                                     {name: tensor.tensor_type.name for name, tensor in theirs.items()})
                    for tensor in ours.tensors:
                        errors = [self.error(one, exact[tensor.name]) for one in (tensor, theirs[tensor.name])]
                        self.assertLessEqual(errors[0], errors[1], tensor.name)

    @staticmethod
    def error(tensor, exact):
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(exact.shape)
        return float(numpy.square(values.astype(numpy.float64) - exact).sum())

    def test_keys_from(self):
        """A file takes over the tokenizer of another one, whether we could write it or not."""
        tokenizer = tinylm.Tokenizer.train(TEXT, vocab_size=300, special_tokens=[END])
        model = tinylm.Model.create(304, **SHAPE)
        model.save_gguf(self.path, tokenizer, begin_token=7)
        before = gguf.GGUFReader(self.path).fields
        model.save_gguf(self.path, weights="q8_0", keys_from=self.path)
        after = gguf.GGUFReader(self.path).fields
        self.assertEqual(set(after) - set(before), {"general.quantization_version"})
        for key in before:
            if key.startswith("tokenizer."):
                self.assertEqual(after[key].contents(), before[key].contents(), key)


if __name__ == "__main__":
    print("numpy", numpy.__version__)
    unittest.main()
