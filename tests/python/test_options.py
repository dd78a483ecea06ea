"""Options that are given by name: spelled out everywhere, the same where they are described and where they are taken, and
refused by name where they are not."""

import inspect
import types
import unittest

import tinylm
from tinylm import _encoding, generation, nn, optim, options, schedule

# Where keyword arguments may be anything, and why.
ANYTHING = {
    "Module.forward": "each module takes its own arguments",
    "Module.__call__": "they are passed to forward()",
    "Tensor.__array_ufunc__": "NumPy's protocol",
}


def public_callables():
    """Pairs (name, function) of the package's functions and methods."""
    for module in (tinylm, nn):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, types.FunctionType):
                yield name, value
            for kind in reversed(value.__mro__) if isinstance(value, type) else ():
                if not kind.__module__.startswith("tinylm") or issubclass(kind, tuple):
                    continue
                for member, function in vars(kind).items():
                    function = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
                    if isinstance(function, types.FunctionType) and (not member.startswith("_") or member.startswith("__")):
                        yield f"{kind.__name__}.{member}", function


def parameters(function, *without):
    return set(inspect.signature(function).parameters) - {"self", "cls", *without}


class OptionsTest(unittest.TestCase):
    def test_no_keyword_argument_may_be_anything(self):
        count, found = 0, set()
        for name, function in public_callables():
            count += 1
            for parameter in inspect.signature(function).parameters.values():
                if parameter.kind == parameter.VAR_KEYWORD and (
                        parameter.annotation is parameter.empty or "Any" in str(parameter.annotation)):
                    found.add(name)
        self.assertGreater(count, 300)
        self.assertEqual(found, set(ANYTHING))

    def test_what_is_described_is_what_is_taken(self):
        for kind, taken in [
                (options.EncodeOptions, parameters(_encoding._encode_options)),
                (options.EncodeOptions, parameters(tinylm.Tokenizer.encode_array, "text")),
                (options.CallOptions, parameters(tinylm.Tokenizer.encode, "text")),
                (options.CallOptions, parameters(tinylm.Tokenizer.encode_batch, "texts")),
                (options.GenerateOptions, parameters(generation._generate_options, "callbacks")),
                (options.TextOptions, parameters(generation._generate_options, "callbacks", "tokenizer")),
                (options.ManyOptions, parameters(generation._generate_options, "callbacks", "seed")),
                (options.ScheduleOptions, parameters(schedule._schedule_options)),
                (options.ScheduleTimes, parameters(schedule._schedule_options, "kind", "max_learning_rate")),
                (options.GroupRule, parameters(optim._group_rule, "patterns")),
                (options.LoraOptions, parameters(tinylm.Model.add_lora)),
                (options.ModelOptions, parameters(tinylm.Model.create)),
                *((getattr(options, name + "Options"), parameters(getattr(tinylm, name), "parameters", "no_decay", "rest"))
                  for name in ("AdamW", "Muon", "Lion", "Adafactor"))]:
            self.assertEqual(set(kind.__annotations__), taken, kind.__name__)
        self.assertEqual(options.ScheduleOptions.__required_keys__, {"kind", "max_learning_rate"})
        needed = {name for name, one in inspect.signature(tinylm.Model.create).parameters.items() if one.default is one.empty}
        self.assertEqual(options.ModelOptions.__required_keys__, needed)
        model = tinylm.Model.create(64, context_length=16, d_model=16, num_layers=1, num_heads=2)
        self.assertEqual(set(model.options), set(options.ModelOptions.__annotations__))
        model.add_lora(rank=2)
        self.assertEqual(set(model.lora), set(options.LoraOptions.__annotations__))

    def test_others_are_refused_by_name(self):
        model = tinylm.Model.create(64, context_length=16, d_model=16, num_layers=1, num_heads=2)
        generator, optimizer = tinylm.Generator(model), tinylm.Muon(model)
        template = tinylm.ChatTemplate("chatml")
        for call, words in [
                (lambda: model.generate([1], temprature=1.0), "'temprature' is no option: is it temperature?"),
                (lambda: model.generate([1], zzz=1.0), "'zzz' is no option: there are max_tokens, temperature, top_k"),
                (lambda: model.generate([1], how=1.0), "'how' is no option"),
                (lambda: model.generate([1], temperature="hot"), "temperature takes a number, not 'hot'"),
                (lambda: model.generate([1], max_tokens=2.5), "max_tokens takes a whole number, not 2.5"),
                (lambda: model.generate([1], keeps_cache="no"), "keeps_cache takes True or False, not 'no'"),
                (lambda: model.generate([1], logit_bias=[1, 2]), "logit_bias takes a dict"),
                (lambda: model.generate([1], on_logits=3), "on_logits takes a function"),
                (lambda: model.generate_many([[1]], max_token=3), "'max_token' is no option: is it max_tokens?"),
                (lambda: generator.add([1], topk=3), "'topk' is no option: is it top_k?"),
                (lambda: generator.extend(0, [1], topk=3), "'topk' is no option"),
                (lambda: optimizer.add_adamw_group([], lr=1.0), "'lr' is no option; here it is learning_rate"),
                (lambda: optimizer.add_lion_group([], beta3=1.0), "'beta3' is no option: is it beta"),
                (lambda: optimizer.add_model(model, rules={"*": {"decay": 1}}), "'decay' is no option"),
                (lambda: optimizer.add_model(model, rules={"*": 3}), r"rules\['\*'\] takes a dict, not 3"),
                (lambda: optimizer.set_schedule(0, {"kind": "cosine"}), "schedule lacks 'max_learning_rate'"),
                (lambda: optimizer.set_schedule(0, {"kind": 3, "max_learning_rate": 1}), r"schedule\['kind'\] takes a text"),
                (lambda: tinylm.schedule_learning_rate(1, "cosine", 1.0, warmup=3), "'warmup' is no option: is it warmup_steps?"),
                (lambda: tinylm.model_cost({**model.options, "heads": 2}), "'heads' is no option"),
                (lambda: tinylm.model_cost({}), "model lacks 'context_length', 'd_model'"),
                (lambda: tinylm.Muon(model, rest={"lr": 1}), "'lr' is no option"),
                (lambda: template.render([], tools={1, 2}), "tools takes what JSON holds, not {1, 2} .set.")]:
            with self.assertRaisesRegex(TypeError, words):
                call()


if __name__ == "__main__":
    unittest.main(verbosity=1)
