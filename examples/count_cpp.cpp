// The library from C++: a model learns to count to twelve, in words, and goes on counting.
#include <cstdio>
#include <string>
#include <vector>

#include "tinylm/tinylm.hpp"

namespace
{

tinylm::tokenizer train_tokenizer(const std::string &text)
{
    tinylm::bpe_trainer_options options;
    options.vocab_size = 300;
    tinylm::bpe_trainer trainer(options);
    trainer.add_text(text);
    return trainer.train();
}

// Two hundred steps of AdamW on batches of the text.
void train(tinylm::model &model, const tinylm::dataset &data)
{
    tinylm::loader_options batches;
    batches.batch_size = 8;
    batches.context_length = model.options().context_length;
    tinylm::loader loader(data, batches);
    tinylm::adamw_options options;
    options.learning_rate = 5e-3;
    tinylm::optimizer adamw = tinylm::optimizer::adamw(options);
    adamw.add_model(model, TLM_NO_DECAY_NORMS);
    for (int step = 1; step <= 200; step++) {
        auto [inputs, targets] = loader.next();
        adamw.zero_grad();
        tinylm::tensor loss =
            model.loss(inputs, targets, batches.batch_size, batches.context_length);
        loss.backward();
        tinylm::clip_grad_norm(model.parameters(), 1.0);
        adamw.step();
        if (step % 50 == 0)
            std::printf("step %d: loss %.4f\n", step, static_cast<double>(loss.item()));
    }
}

void count()
{
    std::string text;
    for (int i = 0; i < 40; i++)
        text += "one two three four five six seven eight nine ten eleven twelve, ";
    tinylm::tokenizer tokenizer = train_tokenizer(text);
    tinylm::model_options shape;
    shape.vocab_size = tokenizer.vocab_size();
    shape.context_length = 16;
    shape.d_model = 32;
    shape.num_layers = 1;
    shape.num_heads = 2;
    tinylm::model model(shape);
    train(model, tinylm::dataset::from(tokenizer.encode(text)));

    const std::string prompt = "one two three";
    tinylm::generate_options options;
    options.max_tokens = 12;
    tinylm::ids more = model.generate(tokenizer.encode(prompt), options);
    std::printf("%s ->%s\n", prompt.c_str(), tokenizer.decode(more).c_str());
}

} // namespace

int main()
{
    try {
        count();
        return 0;
    } catch (const tinylm::error &error) {
        std::fprintf(stderr, "count_cpp: %s: %s\n", error.status_name(), error.what());
        return 1;
    }
}
