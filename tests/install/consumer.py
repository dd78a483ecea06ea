"""Uses the library from Python through ctypes alone. Usage: consumer.py LIBRARY"""

import ctypes as c
import math
import sys

TEXT = "she sells sea shells by the sea shore; the shells she sells are sea shells: \u8c9d".encode()


class TrainerOptions(c.Structure):
    _fields_ = [
        ("size", c.c_size_t),
        ("vocab_size", c.c_uint32),
        ("reserved", c.c_uint32),
        ("special_tokens", c.c_void_p),
        ("num_special_tokens", c.c_size_t),
        ("pattern", c.c_char_p),
        ("min_frequency", c.c_uint64),
    ]


class ModelOptions(c.Structure):
    _fields_ = [
        ("size", c.c_size_t),
        ("vocab_size", c.c_int64),
        ("context_length", c.c_int64),
        ("d_model", c.c_int64),
        ("num_layers", c.c_int64),
        ("num_heads", c.c_int64),
        ("d_ff", c.c_int64),
        ("rope_theta", c.c_double),
        ("seed", c.c_uint64),
    ]


def main(path):
    library = c.CDLL(path)
    library.tlm_error_message.restype = c.c_char_p
    library.tlm_tensor_numel.restype = c.c_int64
    library.tlm_tensor_data.restype = c.c_void_p

    def check(status):
        if status != 0:
            raise RuntimeError(library.tlm_error_message().decode())

    def init(options, name):
        check(library.tlm_options_init(c.byref(options), c.c_size_t(c.sizeof(options)), name))

    options = TrainerOptions()
    init(options, b"tlm_bpe_trainer_options_t")
    assert options.size == c.sizeof(TrainerOptions)
    options.vocab_size = 280
    trainer, tokenizer = c.c_void_p(), c.c_void_p()
    check(library.tlm_bpe_trainer_create(c.byref(trainer), c.byref(options)))
    check(library.tlm_bpe_trainer_add_text(trainer, TEXT, c.c_size_t(len(TEXT))))
    check(library.tlm_bpe_trainer_train(c.byref(tokenizer), trainer))
    library.tlm_bpe_trainer_free(trainer)

    ids, n = c.POINTER(c.c_uint32)(), c.c_size_t()
    check(library.tlm_tokenizer_encode(c.byref(ids), c.byref(n), tokenizer, TEXT, c.c_size_t(len(TEXT))))
    assert 0 < n.value < len(TEXT)
    text, size = c.c_void_p(), c.c_size_t()
    check(library.tlm_tokenizer_decode(c.byref(text), c.byref(size), tokenizer, ids, n))
    assert c.string_at(text.value, size.value) == TEXT
    library.tlm_free(text)

    model_options = ModelOptions()
    init(model_options, b"tlm_model_options_t")
    assert model_options.size == c.sizeof(ModelOptions)
    model_options.vocab_size = library.tlm_tokenizer_vocab_size(tokenizer)
    model_options.context_length = 128
    model_options.d_model = 8
    model_options.num_layers = model_options.num_heads = 2
    model, logits = c.c_void_p(), c.c_void_p()
    check(library.tlm_model_create(c.byref(model), c.byref(model_options)))
    check(library.tlm_model_forward(c.byref(logits), model, ids, c.c_int64(1), c.c_int64(n.value)))
    count = library.tlm_tensor_numel(logits)
    assert count == n.value * model_options.vocab_size
    values = c.cast(library.tlm_tensor_data(logits), c.POINTER(c.c_float))
    assert all(math.isfinite(values[i]) for i in range(count))

    library.tlm_tensor_free(logits)
    library.tlm_model_free(model)
    library.tlm_free(ids)
    library.tlm_tokenizer_free(tokenizer)


if __name__ == "__main__":
    main(sys.argv[1])
