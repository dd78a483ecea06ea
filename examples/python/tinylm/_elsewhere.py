"""What other libraries call things: a name that is missing here is answered with the one that there is.

The names are PyTorch's and those of Hugging Face's libraries, each with what does the same here.
"""

from __future__ import annotations

MODULE = {
    "tensor": "tinylm.Tensor(values)", "as_tensor": "tinylm.Tensor(values)", "from_numpy": "tinylm.Tensor.from_dlpack(array)",
    "cat": "tinylm.concat", "concatenate": "tinylm.concat", "linspace": "tinylm.arange", "empty": "tinylm.zeros",
    "save": "module.state_dict() with pickle, or Model.save", "load": "module.load_state_dict() with pickle, or Model.load",
    "DataLoader": "tinylm.Loader", "get_num_threads": "tinylm.num_threads()", "set_grad_enabled": "tinylm.no_grad()",
    "inference_mode": "tinylm.no_grad()", "autograd": "tinylm.custom_op", "cuda": "nothing: tinylm computes on CPUs",
    "device": "nothing: tinylm computes on CPUs", "compile": "nothing: there is nothing to compile",
    "float": "tinylm.FLOAT32", "float64": "tinylm.FLOAT32: there is no float64", "double": "tinylm.FLOAT32: there is no float64",
    "half": "tinylm.FLOAT16", "long": "tinylm.INT64", "int": "tinylm.INT32", "uint8": "tinylm.INT32",
    "AutoTokenizer": "tinylm.Tokenizer.open(path)", "AutoModelForCausalLM": "tinylm.Model.open(path)",
    "get_encoding": "tinylm.Tokenizer.open(path)", "einsum": "tensor.matmul and transpose", "bmm": "tensor @ tensor",
    "is_tensor": "isinstance(x, tinylm.Tensor)", "equal": "(a == b).all()", "allclose": "numpy.allclose(a, b)",
    "randperm": "Loader(order=\"shuffled\") for data", "Adam": "tinylm.AdamW(weight_decay=0)", "Module": "tinylm.nn.Module",
    **{name: f"tensor.{name}()" for name in (
        "sum", "mean", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "silu", "abs", "var", "std", "max", "min",
        "argmax", "argmin", "transpose", "permute", "reshape", "squeeze", "unsqueeze", "flatten", "split", "clamp", "clip",
        "pow", "isnan", "matmul", "square", "take")},
    **{name: f"tinylm.{name.upper()}" for name in ("float32", "float16", "bfloat16", "int32", "int64", "bool", "uint32")}}
NN = {
    "ModuleList": "a list: modules in lists and dicts are found", "ModuleDict": "a dict: modules in lists and dicts are found",
    "ParameterList": "a list: parameters in lists and dicts are found", "Sigmoid": "tensor.sigmoid, which Sequential takes as it is",
    "Softmax": "tinylm.softmax, which Sequential takes as it is", "Identity": "lambda x: x, which Sequential takes",
    "CrossEntropyLoss": "tinylm.cross_entropy", "NLLLoss": "tinylm.cross_entropy", "MSELoss": "((a - b) ** 2).mean()",
    "L1Loss": "(a - b).abs().mean()", "init": "tinylm.init_truncated_normal and init_uniform",
    "utils": "tinylm.clip_grad_norm",
    "MultiheadAttention": "tinylm.multi_head_attention", "Transformer": "tinylm.Model.create", "Swish": "nn.SiLU"}
TENSOR = {
    "dim": "ndim", "t": "T", "float": "astype(\"float32\")", "double": "astype(\"float32\"): there is no float64",
    "long": "astype(\"int64\")", "int": "astype(\"int32\")", "half": "astype(\"float16\")", "bool": "astype(\"bool\")",
    "type": "astype or dtype", "type_as": "astype(other.dtype)", "cpu": "the tensor itself: it is on the CPU", "cuda": "nothing: tinylm computes on CPUs",
    "device": "nothing: tinylm computes on CPUs", "grad_fn": "not is_leaf", "nelement": "size", "masked_fill": "tinylm.where(mask, value, tensor)",
    "masked_fill_": "tensor[mask] = value", "chunk": "split(size)", "repeat": "tinylm.concat([tensor] * n)", "flip": "tensor[::-1]",
    "norm": "square().sum().sqrt()", "eq": "a == b", "ne": "a != b", "gt": "a > b", "lt": "a < b", "ge": "a >= b", "le": "a <= b",
    "add": "a + b", "sub": "a - b", "mul": "a * b", "div": "a / b", "neg": "-a", "mm": "a @ b", "bmm": "a @ b", "dot": "a @ b",
    "where": "tinylm.where(mask, a, b)", "index_select": "take(indices, dim)", "select": "tensor[:, i]", "narrow": "slice(dim, start, stop)",
    "normal_": "tinylm.init_truncated_normal(tensor, sigma)", "uniform_": "tinylm.init_uniform(tensor, low, high)",
    "log_softmax": "softmax(dim).log(), or tinylm.cross_entropy", "gather": "tensor[rows, columns]", "retain_grad": "the gradient of a leaf",
    "nonzero": "NumPy's, of tensor.detach().numpy()", "sort": "NumPy's, of tensor.detach().numpy()", "topk": "NumPy's, of tensor.detach().numpy()", "cumsum": "NumPy's, of tensor.detach().numpy()",
    "round": "NumPy's, of tensor.detach().numpy()", "floor": "NumPy's, of tensor.detach().numpy()", "sin": "tinylm.custom_op", "cos": "tinylm.custom_op", "new_zeros": "tinylm.zeros",
    "view_as": "reshape(other.shape)", "reshape_as": "reshape(other.shape)", "expand_as": "broadcast_to(other.shape)",
    "swapaxes": "transpose(a, b)", "copy": "clone()", "register_hook": "tinylm.custom_op", "stride": "strides"}
MODEL = {
    "from_pretrained": "Model.open(path)", "save_pretrained": "save_hf(directory)", "named_parameters": "parameters(), a dict",
    "state_dict": "parameters(), a dict, or save(path)", "load_state_dict": "set_parameter(name, values), or load_checkpoint(path)",
    "train": "nothing: dropout is on in a Trainer alone", "eval": "nothing: dropout is on in a Trainer alone", "to": "nothing: tinylm computes on CPUs",
    "num_parameters": "num_elements", "push_to_hub": "save_hf(directory)", "compile": "nothing: there is nothing to compile",
    "config": "options", "gradient_checkpointing_enable": "set_checkpointing(True)",
    "merge_and_unload": "merge_lora()", "fit": "tinylm.Trainer"}
TOKENIZER = {
    "from_pretrained": "Tokenizer.open(path)", "from_file": "Tokenizer.open(path)", "save_pretrained": "save_json(path)",
    "get_vocab": "vocab, tokens by id", "get_vocab_size": "vocab_size", "n_vocab": "vocab_size", "tokenize": "encode(text) and token(id)",
    "convert_ids_to_tokens": "token(id)", "convert_tokens_to_ids": "token_id(token)", "token_to_id": "token_id(token)",
    "id_to_token": "token(id)", "batch_encode_plus": "encode_batch(texts)", "encode_plus": "encode(text)",
    "batch_decode": "decode_batch(rows)", "eos_token_id": "special_tokens, a dict of ids", "bos_token_id": "special_tokens, a dict of ids",
    "pad_token_id": "encode_padded(texts, pad_id=...)", "eos_token": "special_tokens, a dict of ids",
    "pad_token": "encode_padded(texts, pad_id=...)", "pad": "encode_padded(texts)", "all_special_tokens": "special_tokens",
    "all_special_ids": "special_tokens", "eot_token": "special_tokens, a dict of ids", "apply_chat_template": "ChatTemplate.open(path)",
    "train_from_iterator": "Tokenizer.train(texts)", "train_new_from_iterator": "Tokenizer.train(texts)",
    "encode_with_unstable": "encode(text)", "add_special_tokens": "Tokenizer.train(special_tokens=...)"}
OPTIMIZER = {
    "param_groups": "set_learning_rate(rate, group), learning_rate(group)", "state_dict": "Model.save(path, optimizer), or state(index, name)",
    "load_state_dict": "Model.load_checkpoint(path, optimizer), or set_state(index, name, values)",
    "add_param_group": "add_group(parameters)", "defaults": "learning_rate(), weight_decay()"}
DATA = {"shuffle": "Loader(order=\"shuffled\")", "map": "encode_file or Dataset.from_rows", "batch": "tinylm.Loader", "tolist": "read(offset, n)"}
MODULES = {
    "to": "nothing: tinylm computes on CPUs", "cpu": "nothing: tinylm computes on CPUs", "cuda": "nothing: tinylm computes on CPUs",
    "register_buffer": "self.name = tensor", "register_parameter": "self.name = nn.Parameter(values)", "add_module": "self.name = module",
    "apply": "for module in self.modules()", "children": "modules()", "named_children": "named_modules()", "half": "nothing: parameters are float32"}
OBJECTS = {"Tensor": TENSOR, "Parameter": TENSOR, "Model": MODEL, "Tokenizer": TOKENIZER, "Dataset": DATA, "Loader": DATA,
           **{name: OPTIMIZER for name in ("Optimizer", "AdamW", "SGD", "Muon", "Lion", "Adafactor")}}
ARGUMENTS = {
    "lr": "learning_rate", "betas": "beta1 and beta2", "in_features": "d_in", "out_features": "d_out", "num_embeddings": "vocab_size",
    "embedding_dim": "d", "normalized_shape": "d", "p": "rate", "params": "parameters", "device": "nothing: tinylm computes on CPUs",
    "max_new_tokens": "max_tokens", "max_length": "max_tokens, which counts the new ones", "do_sample": "temperature, 0 for none",
    "eos_token_id": "end_token", "pad_token_id": "nothing: rows are not padded", "num_return_sequences": "generate_many",
    "num_beams": "nothing: there is no beam search", "return_tensors": "as_numpy", "padding": "encode_padded", "truncation": "encode_padded(max_length=...)",
    "set_to_none": "nothing: it is so", "retain_graph": "nothing: a graph is used once; add the losses up first",
    "create_graph": "nothing: there are no gradients of gradients", "inplace": "nothing", "num_workers": "prefetch",
    "shuffle": "order=\"shuffled\"", "momentum": "tinylm.Muon or AdamW", "fused": "nothing", "amsgrad": "nothing", "add_bos": "add_special_tokens",
    **dict.fromkeys(["hidden_size", "n_embd"], "d_model"), **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers"], "num_layers"),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads"], "num_heads"), "num_key_value_heads": "num_kv_heads",
    "intermediate_size": "d_ff", "tie_word_embeddings": "tied_embeddings", "rms_norm_eps": "norm_eps",
    **dict.fromkeys(["max_position_embeddings", "n_positions", "block_size", "seq_len", "max_seq_len"], "context_length"),
    **dict.fromkeys(["epochs", "num_epochs", "num_train_epochs"], "steps, of one batch each"), "max_steps": "steps",
    "gradient_accumulation_steps": "accumulation", "max_grad_norm": "clip_norm", "eval_steps": "eval_every", "save_steps": "save_every",
    "warmup_steps": "schedule={\"kind\": \"cosine\", \"warmup_steps\": ...}"}


def advice(words: dict[str, str], name: str) -> str:
    """What to add to the message on a missing name."""
    found = words.get(name)
    if found is None:
        return ""
    return f": {found[9:]}" if found.startswith("nothing: ") else "; it is not needed" if found == "nothing" else f"; here it is {found}"
