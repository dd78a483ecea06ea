// A C++ program that links the installed library and uses its C++ headers.
#include <tinylm/tinylm.hpp>

#include <cmath>
#include <cstdio>

namespace
{

tinylm::tokenizer train(std::string_view text)
{
    tinylm::bpe_trainer_options options;
    options.vocab_size = 270;
    tinylm::bpe_trainer trainer(options);
    trainer.add_text(text);
    return trainer.train();
}

tinylm::tensor forward(tinylm::id_span ids, std::uint32_t vocab_size)
{
    tinylm::model_options options;
    options.vocab_size = vocab_size;
    options.context_length = 128;
    options.d_model = 16;
    options.num_layers = 1;
    options.num_heads = 4;
    return tinylm::model(options).forward(ids, 1, static_cast<std::int64_t>(ids.size()));
}

bool works()
{
    const std::string text = "low lower lowest, new newer newest, wide wider widest";
    tinylm::tokenizer tokenizer = train(text);
    tinylm::ids ids = tokenizer.encode(text);
    if (ids.size() >= text.size() || tokenizer.decode(ids) != text)
        return false;
    for (float value : forward(ids, tokenizer.vocab_size()).to_vector())
        if (!std::isfinite(value))
            return false;
    try {
        tinylm::model nothing((tinylm::model_options()));
    } catch (const tinylm::error &error) {
        return error.status() == TLM_ERR_INVALID_ARGUMENT;
    }
    return false;
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
