"""Models and optimizers."""

import gc
import math
import os
import tempfile
import unittest

import tinylm
from binding_cases import setUpModule  # noqa: F401


class ModelTest(unittest.TestCase):
    def setUp(self):
        self.model = tinylm.Model.create(vocab_size=50, context_length=16, d_model=16, num_layers=2,
                                         num_heads=2, seed=1)

    def test_options(self):
        options = self.model.options
        self.assertEqual((options["vocab_size"], options["num_layers"]), (50, 2))
        self.assertEqual((options["d_ff"], options["rope_theta"]), (64, 10000.0))
        self.assertEqual((options["num_kv_heads"], options["norm"]), (2, "pre"))

    def test_switches(self):
        switches = {"num_kv_heads": 1, "norm_eps": 1e-6, "norm": "post", "position": "none",
                    "ffn": "silu", "tied_embeddings": True}
        model = tinylm.Model.create(vocab_size=50, context_length=16, d_model=16, num_layers=2,
                                    num_heads=2, **switches)
        self.assertEqual({**model.options, **switches}, model.options)
        names = model.parameters()
        self.assertEqual(names["layers.0.attn.k_proj.weight"].shape, (8, 16))
        self.assertEqual([n for n in names if "w3" in n or "lm_head" in n or "final" in n], [])
        again = tinylm.Model.create(**model.options)
        self.assertEqual(again.forward([1, 2]).tolist(), model.forward([1, 2]).tolist())
        with self.assertRaises(ValueError):
            tinylm.Model.create(vocab_size=50, context_length=16, d_model=16, num_layers=2,
                                num_heads=2, norm="past")

    def test_cost(self):
        cost = tinylm.model_cost(self.model.options, batch=2)
        self.assertEqual(cost["parameters"], self.model.num_elements)
        self.assertEqual(sum(cost["part_parameters"].values()), cost["parameters"])
        self.assertEqual(cost["weight_bytes"], 4 * cost["parameters"])
        self.assertLess(tinylm.model_cost(self.model.options, 2, optimizer="sgd")["optimizer_bytes"],
                        cost["optimizer_bytes"])
        self.assertGreater(cost["token_flops"], 0)
        with self.assertRaises(ValueError):
            tinylm.model_cost(self.model.options, counting="guessed")

    def test_forward_and_loss(self):
        logits = self.model.forward([[1, 2, 3], [4, 5, 6]])
        self.assertEqual(logits.shape, (2, 3, 50))
        expected = 0.0
        for rows, targets in zip(logits.tolist(), [[2, 3, 4], [5, 6, 7]]):
            for row, target in zip(rows, targets):
                expected += (math.log(sum(math.exp(x) for x in row)) - row[target]) / 6
        loss = self.model.loss([[1, 2, 3], [4, 5, 6]], [[2, 3, 4], [5, 6, 7]])
        self.assertAlmostEqual(loss.tolist(), expected, places=4)

    def test_gradients_reach_the_parameters(self):
        self.model.loss([1, 2, 3], [2, 3, 4]).backward()
        parameters = self.model.parameters()
        self.assertIn("layers.1.attn.q_proj.weight", parameters)
        self.assertEqual(parameters["lm_head.weight"].shape, (50, 16))
        self.assertEqual([n for n, p in parameters.items() if p.grad is None], [])
        self.model.zero_grad()
        self.assertEqual([n for n, p in parameters.items() if p.grad is not None], [])

    def test_training(self):
        parameters = list(self.model.parameters().values())
        optimizer = tinylm.AdamW(parameters, learning_rate=1e-2)
        losses = []
        for step in range(20):
            optimizer.zero_grad()
            loss = self.model.loss([1, 2, 3, 4], [2, 3, 4, 5])
            loss.backward()
            norm = tinylm.clip_grad_norm(parameters, 1.0)
            self.assertGreater(norm, 0.0)
            if step == 10:
                optimizer.set_learning_rate(1e-3)
            optimizer.step()
            losses.append(loss.tolist())
        self.assertLess(losses[-1], 0.5 * losses[0])

    def test_generate(self):
        seen = []
        ids = self.model.generate([1, 2, 3], max_tokens=20, temperature=0.9, seed=5,
                                  on_token=seen.append)
        self.assertEqual(len(ids), 20)
        self.assertEqual(seen, ids)
        again = self.model.generate([1, 2, 3], max_tokens=20, temperature=0.9, seed=5)
        self.assertEqual(again, ids)
        greedy = self.model.generate([7], max_tokens=1)[0]
        row = self.model.forward([7]).tolist()[0][0]
        self.assertEqual(greedy, row.index(max(row)))
        self.assertEqual(self.model.generate([7], max_tokens=5, end_token=greedy), [])

    def test_generate_many(self):
        prompts, how = [[1, 2, 3], [4], [5, 6]], {"max_tokens": 9, "temperature": 1.1, "min_p": 0.02,
                                                  "repetition_penalty": 1.1}
        many = self.model.generate_many(prompts, seed=3, **how)
        alone = [self.model.generate(p, seed=3 + i, **how) for i, p in enumerate(prompts)]
        self.assertEqual(many, alone)

    def test_generator(self):
        every = self.model.generate([1, 2], max_tokens=8, temperature=2.0)
        generator = tinylm.Generator(self.model)
        first = generator.add([1, 2], max_tokens=8, temperature=2.0, num_top_log_probs=3,
                              stop_sequences=[every[4:7], [49, 49, 49]])
        second = generator.add([9], max_tokens=3)
        self.assertEqual((first, second, generator.state(0)), (0, 1, "running"))
        while generator.step() > 0:
            pass
        self.assertEqual((generator.state(0), generator.state(1)), ("stop", "length"))
        self.assertEqual(generator.tokens(0), every[:4])
        scores = self.model.score([1, 2] + every[:4])[1:]
        for ours, theirs in zip(generator.log_probs(0), scores):
            self.assertAlmostEqual(ours, theirs, places=4)
        top = generator.top_log_probs(1, 0)
        self.assertEqual(top, [])
        top = generator.top_log_probs(0, 2)
        self.assertEqual([value for _, value in top], sorted([v for _, v in top], reverse=True))
        third = generator.add([3], max_tokens=3)
        generator.stop(third)
        self.assertEqual(generator.state(third), "stopped")
        with self.assertRaises(tinylm.Error):
            generator.tokens(3)

    def test_score(self):
        loss = self.model.loss([1, 2, 3], [2, 3, 4]).tolist()
        self.assertAlmostEqual(-sum(self.model.score([1, 2, 3, 4])) / 3, loss, places=4)
        self.assertAlmostEqual(self.model.perplexity([1, 2, 3, 4]), math.exp(loss), places=3)
        with self.assertRaises(tinylm.Error):
            self.model.score([1])

    def test_callback_stops_and_raises(self):
        stopped = self.model.generate([1], max_tokens=9, on_token=lambda token_id: True)
        self.assertLessEqual(len(stopped), 1)
        with self.assertRaises(KeyError):
            self.model.generate([1], max_tokens=9, on_token={}.__getitem__)

    def test_save_and_load(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "model.safetensors")
            self.model.save(path)
            again = tinylm.Model.load(path)
        self.assertEqual(again.forward([3, 1]).tolist(), self.model.forward([3, 1]).tolist())

    def test_tensors_outlive_the_model(self):
        head = self.model.parameters()["lm_head.weight"]
        values = head.tolist()
        del self.model
        gc.collect()
        self.assertEqual(head.tolist(), values)

    def test_errors(self):
        with self.assertRaisesRegex(tinylm.Error, "50") as caught:
            self.model.forward([50])
        self.assertEqual(caught.exception.status, "TLM_ERR_RANGE")
        with self.assertRaises(tinylm.Error):
            self.model.generate([], max_tokens=1)
        with self.assertRaises(ValueError):
            self.model.loss([1, 2], [1])
        with self.assertRaises(tinylm.Error):
            tinylm.Model.create(vocab_size=50, context_length=16, d_model=15, num_layers=1,
                                num_heads=2)


class OptimizerTest(unittest.TestCase):
    def setUp(self):
        self.model = tinylm.Model.create(vocab_size=11, context_length=8, d_model=8, num_layers=1, num_heads=2)

    def step(self, optimizer):
        optimizer.zero_grad()
        self.model.loss([[1, 2, 3]], [[2, 3, 4]]).backward()
        optimizer.step()

    def test_muon_divides_a_model(self):
        optimizer = tinylm.Muon(self.model, learning_rate=0.02, rest={"learning_rate": 0.01},
                                no_decay=["norms"])
        self.assertEqual((optimizer.kind, optimizer.num_groups), ("muon", 3))
        self.assertEqual([optimizer.learning_rate(group) for group in range(3)], [0.02, 0.01, 0.01])
        self.step(optimizer)
        self.assertEqual(optimizer.state_names(0), ["m"])
        vector = tinylm.Tensor([1.0], requires_grad=True)
        with self.assertRaisesRegex(tinylm.UnsupportedError, "shape \\(1\\)"):
            optimizer.add_muon_group([vector], momentum=0.5)
        with self.assertRaisesRegex(ValueError, "iterations 0"):
            tinylm.Muon([], iterations=0)
        with self.assertRaisesRegex(ValueError, "keller"):
            tinylm.Muon([], scale="keller")

    def test_groups_and_state(self):
        optimizer = tinylm.AdamW(self.model, learning_rate=0.1, no_decay=["norms", "embeddings"])
        self.assertEqual((optimizer.kind, optimizer.num_groups, optimizer.steps), ("adamw", 2, 0))
        optimizer.set_learning_rate(0.3)
        optimizer.set_learning_rate(0.2, group=1)
        self.assertEqual((optimizer.learning_rate(), optimizer.learning_rate(1)), (0.3, 0.2))
        self.step(optimizer)
        self.assertEqual(optimizer.steps, 1)
        m = optimizer.state(0, "m")
        self.assertNotEqual(m, [0.0] * len(m))
        optimizer.set_state(0, "m", [0.5] * len(m))
        self.assertEqual(optimizer.state(0, "m"), [0.5] * len(m))
        optimizer.steps = 7
        self.assertEqual(optimizer.steps, 7)
        with self.assertRaises(LookupError):
            optimizer.state(0, "w")
        with self.assertRaises(ValueError):
            tinylm.AdamW(self.model, no_decay=["all"])
        with self.assertRaises(tinylm.StateError):
            optimizer.add_group(self.model.parameters().values(), learning_rate=1.0)
        extra = tinylm.Tensor([1.0], requires_grad=True)
        optimizer.add_group([extra], learning_rate=1.0, weight_decay=0.0)
        self.assertEqual((optimizer.learning_rate(2), optimizer.weight_decay(2)), (1.0, 0.0))
        optimizer.set_weight_decay(0.25, group=2)
        self.assertEqual((optimizer.weight_decay(0), optimizer.weight_decay(2)), (0.01, 0.25))
        self.assertEqual(optimizer.state_names(0), ["m", "v"])
        with self.assertRaises(IndexError):
            optimizer.state_names(optimizer.num_parameters)

    def test_groups_of_another_kind(self):
        a, b = (tinylm.Tensor([1.0], requires_grad=True) for _ in range(2))
        optimizer = tinylm.SGD([a], learning_rate=0.5)
        optimizer.add_adamw_group([b], learning_rate=0.25, weight_decay=0.0, variant="pytorch")
        (a * b).sum().backward()
        optimizer.step()
        self.assertEqual(a.tolist(), [0.5])
        self.assertAlmostEqual(b.tolist()[0], 0.75, places=6)
        self.assertEqual((optimizer.state_names(0), optimizer.state_names(1)), ([], ["m", "v"]))
        with self.assertRaises(tinylm.UnsupportedError):
            optimizer.set_weight_decay(0.1)
        with self.assertRaises(ValueError):
            optimizer.add_adamw_group([], variant="cs336")

    def test_sgd(self):
        w = tinylm.Tensor([1.0, 2.0], requires_grad=True)
        optimizer = tinylm.SGD([w], learning_rate=0.5)
        (w * w).sum().backward()
        optimizer.step()
        self.assertEqual((optimizer.kind, w.tolist()), ("sgd", [0.0, 0.0]))

    def test_checkpoints(self):
        optimizer = tinylm.AdamW(self.model, learning_rate=0.1)
        self.step(optimizer)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint")
            self.model.save(path, optimizer, iteration=1)
            self.step(optimizer)
            expected = [p.tolist() for p in self.model.parameters().values()]
            self.assertEqual(self.model.load_checkpoint(path, optimizer), 1)
            self.assertEqual(optimizer.steps, 1)
            self.step(optimizer)
        self.assertEqual([p.tolist() for p in self.model.parameters().values()], expected)
        self.model.check_finite()
        self.model.set_checkpointing(True)
        self.step(optimizer)
        name, parameter = next(iter(self.model.parameters().items()))
        bad = parameter.tolist()
        bad[0][0] = math.nan
        self.model.set_parameter(name, bad)
        with self.assertRaisesRegex(tinylm.NonFiniteError, "token_embeddings"):
            self.model.check_finite()
        self.assertEqual(self.model.num_elements, sum(math.prod(p.shape) for p in
                                                      self.model.parameters().values()))

    def test_bytes(self):
        """In memory, and as a file that is not written yet has them."""
        model = tinylm.Model.create(64, 8, 64, 1, 2, d_ff=32)
        self.assertEqual(model.num_bytes, 4 * model.num_elements)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.gguf")
            for weights in ("float32", "bfloat16", "q8_0", "q4_k_m"):
                model.save_gguf(path, weights=weights)
                with self.subTest(weights=weights):
                    kept = tinylm.Model.open(path, tokenizer=False, for_inference=True)
                    self.assertEqual(kept.num_bytes, model.gguf_bytes(weights))
                    self.assertEqual(kept.num_elements, model.num_elements)
        with self.assertRaisesRegex(ValueError, "weights 'q9' is none of|'q9' is none of"):
            model.gguf_bytes("q9")

    def test_tokenizers_in_checkpoints(self):
        tokenizer = tinylm.Tokenizer.train("the cat sat on the mat", vocab_size=260, special_tokens=["<end>"])
        model = tinylm.Model.create(260, 8, 4, 1, 1, d_ff=4)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint")
            model.save(path, tokenizer=tokenizer)
            model.save_in(os.path.join(folder, "run"), iteration=3, tokenizer=tokenizer)
            for at in (path, os.path.join(folder, "run")):
                with_it = tinylm.Model.open(at)[1]
                self.assertEqual(with_it.encode("the mat<end>"), tokenizer.encode("the mat<end>"))
                self.assertIsInstance(tinylm.Model.open(at, tokenizer=False), tinylm.Model)
            self.assertEqual(tinylm.checkpoint_tokenizer(path).vocab_size, 260)
            model.save(path)
            self.assertIsNone(tinylm.checkpoint_tokenizer(path))

    def test_checkpoints_in_a_directory(self):
        with tempfile.TemporaryDirectory() as folder:
            directory = os.path.join(folder, "run")
            for iteration, loss in [(1, 3.0), (2, 1.0), (3, 2.0), (4, None)]:
                self.model.save_in(directory, iteration=iteration, keep_last=1, validation_loss=loss,
                                   metadata={"name": "\u00e9", "n": iteration})
            self.assertEqual(len(os.listdir(directory)), 2)
            latest, best = tinylm.latest_checkpoint(directory), tinylm.best_checkpoint(directory)
            self.assertEqual(tinylm.checkpoint_metadata(latest), ({"name": "\u00e9", "n": 4}, 4))
            self.assertEqual(tinylm.checkpoint_metadata(best), ({"name": "\u00e9", "n": 2}, 2))
            self.assertEqual(self.model.load_checkpoint(best), 2)
            self.model.save(best)
            self.assertEqual(tinylm.checkpoint_metadata(best), ({}, 0))
            with self.assertRaises(FileNotFoundError):
                tinylm.latest_checkpoint(os.path.join(folder, "none"))

    def test_memory_of_ones_own(self):
        theta, m, v, g = (tinylm.Tensor([value] * 3) for value in (1.0, 0.0, 0.0, 3.0))
        self.assertAlmostEqual(tinylm.clip_norm([g], 1.0), math.sqrt(27), places=5)
        tinylm.adamw_update([theta], [m], [v], [g], 1, learning_rate=0.1, weight_decay=0.0)
        for value in theta.tolist():
            self.assertAlmostEqual(value, 0.9, places=5)
        with self.assertRaises(ValueError):
            tinylm.adamw_update([theta], [m], [v], [], 1)

    def test_schedules(self):
        options = {"min_learning_rate": 0.1, "warmup_steps": 4, "total_steps": 10}
        for step in range(12):
            self.assertEqual(tinylm.schedule_learning_rate(step, "cosine", 1.0, **options),
                             tinylm.cosine_schedule(step, 1.0, 0.1, 4, 10))
        self.assertEqual(tinylm.schedule_learning_rate(9, "wsd", 1.0, decay_steps=2, **options), 0.55)
        self.assertEqual(tinylm.schedule_learning_rate(99, "constant", 1.0), 1.0)
        with self.assertRaises(ValueError):
            tinylm.schedule_learning_rate(1, "square", 1.0)


if __name__ == "__main__":
    unittest.main()
