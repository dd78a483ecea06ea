// A C++ program that links the library: handles in unique_ptr, errors as exceptions.
#include <tinylm/tinylm.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{
template <auto function> struct Free {
    template <typename T> void operator()(T *handle) const
    {
        function(handle);
    }
};

using Trainer = std::unique_ptr<bpe_trainer_t, Free<tlm_bpe_trainer_free>>;
using Tokenizer = std::unique_ptr<tokenizer_t, Free<tlm_tokenizer_free>>;
using Model = std::unique_ptr<model_t, Free<tlm_model_free>>;
using Tensor = std::unique_ptr<tensor_t, Free<tlm_tensor_free>>;

void check(tlm_status_t status)
{
    if (status != TLM_OK)
        throw std::runtime_error(std::string(tlm_status_name(status)) + ": " + tlm_error_message());
}

Tokenizer train(const std::string &text)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    options.vocab_size = 270;
    bpe_trainer_t *trainer;
    check(tlm_bpe_trainer_create(&trainer, &options));
    Trainer owner(trainer);
    check(tlm_bpe_trainer_add_text(trainer, text.data(), text.size()));
    tokenizer_t *tokenizer;
    check(tlm_bpe_trainer_train(&tokenizer, trainer));
    return Tokenizer(tokenizer);
}

std::vector<std::uint32_t> encode(const tokenizer_t *tokenizer, const std::string &text)
{
    std::uint32_t *ids;
    std::size_t n;
    check(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data(), text.size()));
    std::vector<std::uint32_t> result(ids, ids + n);
    tlm_free(ids);
    return result;
}

std::string decode(const tokenizer_t *tokenizer, const std::vector<std::uint32_t> &ids)
{
    char *text;
    std::size_t size;
    check(tlm_tokenizer_decode_text(&text, &size, tokenizer, ids.data(), ids.size()));
    std::string result(text, size);
    tlm_free(text);
    return result;
}

Tensor forward(const std::vector<std::uint32_t> &ids, std::uint32_t vocab_size)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    options.vocab_size = vocab_size;
    options.context_length = 128;
    options.d_model = 16;
    options.num_layers = 1;
    options.num_heads = 4;
    model_t *model;
    check(tlm_model_create(&model, &options));
    Model owner(model);
    tensor_t *logits;
    check(tlm_model_forward(&logits, model, ids.data(), 1, static_cast<std::int64_t>(ids.size())));
    return Tensor(logits);
}

bool works()
{
    const std::string text = "low lower lowest, new newer newest, wide wider widest";
    Tokenizer tokenizer = train(text);
    const auto ids = encode(tokenizer.get(), text);
    if (ids.size() >= text.size() || decode(tokenizer.get(), ids) != text)
        return false;
    Tensor logits = forward(ids, tlm_tokenizer_vocab_size(tokenizer.get()));
    const auto *values = static_cast<const float *>(tlm_tensor_data(logits.get()));
    for (std::int64_t i = 0; i < tlm_tensor_numel(logits.get()); i++)
        if (!std::isfinite(values[i]))
            return false;
    return tlm_model_create(nullptr, nullptr) == TLM_ERR_INVALID_ARGUMENT;
}
} // namespace

int main()
{
    try {
        return works() ? 0 : 1;
    } catch (const std::exception &error) {
        std::printf("%s\n", error.what());
        return 1;
    }
}
