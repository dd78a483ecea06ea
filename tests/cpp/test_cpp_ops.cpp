// Ops that the other tests of the C++ layer do not need, optimizers of every kind, and what else
// check_wrappers.py finds to be called by none of them.
#include "expect.hpp"
#include "temporary_folder.hpp"

#include <cmath>
#include <cstdlib>
#include <fstream>

namespace
{

using values = std::vector<float>;

void test_ops()
{
    tinylm::tensor a = tinylm::tensor::from({2, 2}, {1, -2, 3, -4});
    tinylm::tensor two = tinylm::tensor::from({1}, {2});
    EXPECT((tinylm::abs(a).to_vector() == values{1, 2, 3, 4}));
    EXPECT((tinylm::pow(a, two).to_vector() == values{1, 4, 9, 16}));
    EXPECT((tinylm::slice_step(a, 1, 0, 2, 1).to_vector() == values{1, 3}));
    tinylm::tensor indices = tinylm::convert(tinylm::tensor::from({3}, {1, 0, 1}), TLM_INT64);
    EXPECT(indices.dtype() == TLM_INT64);
    EXPECT((tinylm::take(a, 0, indices).to_vector() == values{3, -4, 1, -2, 3, -4}));
    tinylm::tensor smaller = tinylm::compare(a, two, TLM_COMPARE_LESS);
    EXPECT(smaller.dtype() == TLM_BOOL);
    EXPECT((tinylm::convert(smaller, TLM_FLOAT32).to_vector() == values{1, 1, 0, 1}));
    EXPECT(
        throws(TLM_ERR_INVALID_ARGUMENT, "comparison", [&] { (void)tinylm::compare(a, two, -1); }));
}

void test_layers()
{
    tinylm::tensor x = tinylm::tensor::from({1, 2}, {1, 3});
    tinylm::tensor weight = tinylm::tensor::from({2, 2}, {1, 0, 1, 1});
    tinylm::tensor bias = tinylm::tensor::from({2}, {10, 20});
    EXPECT((tinylm::linear(x, weight, bias).to_vector() == values{11, 24}));
    tinylm::tensor gain = tinylm::tensor::from({2}, {2, 2});
    const values normed = tinylm::layer_norm(x, gain, bias).to_vector();
    EXPECT(std::fabs(normed[0] - 8.0f) < 1e-4f && std::fabs(normed[1] - 22.0f) < 1e-4f);
    EXPECT((tinylm::dropout(x, 0.0, 1, 2).to_vector() == values{1, 3}));
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "rate", [&] { (void)tinylm::dropout(x, 1.0, 1, 2); }));
    tinylm::tensor leaf = tinylm::tensor::from({100}, values(100));
    tinylm::init_uniform(leaf, 2.0, 3.0, 1, 0);
    for (float value : leaf.to_vector())
        EXPECT(value >= 2.0f && value < 3.0f);
}

tinylm::tensor leaf_with_gradient()
{
    tinylm::tensor leaf = tinylm::tensor::from({2, 2}, {1, 2, 3, 4});
    leaf.set_requires_grad();
    tinylm::sum(leaf).backward();
    return leaf;
}

/* A group by handles and one by tensors, in an optimizer of its own kind and of another. */
void test_groups_of_other_kinds()
{
    tinylm::lion_options lion;
    tinylm::adafactor_options adafactor;
    lion.learning_rate = 0.25;
    adafactor.learning_rate = 0.125;
    tinylm::optimizer own = tinylm::optimizer::lion(lion);
    tinylm::optimizer other = tinylm::optimizer::adafactor(adafactor);
    EXPECT(std::string(own.kind()) == "lion" && std::string(other.kind()) == "adafactor");
    std::vector<tinylm::tensor> leaves;
    for (int i = 0; i < 8; i++)
        leaves.push_back(leaf_with_gradient());
    for (tinylm::optimizer *each : {&own, &other}) {
        const std::size_t first = each == &own ? 0 : 4;
        const std::vector<tlm_tensor_t *> raw = {leaves[first].get()},
                                          more = {leaves[first + 1].get()};
        each->add_lion_group(raw, lion);
        each->add_adafactor_group(more, adafactor);
        each->add_lion_group({leaves[first + 2]}, lion);
        each->add_adafactor_group({leaves[first + 3]}, adafactor);
        EXPECT(each->num_groups() == 4 && each->num_parameters() == 4);
        EXPECT(each->learning_rate(0) == 0.25 && each->learning_rate(3) == 0.125);
        each->step();
        EXPECT(leaves[first].data()[0] == 0.75f && leaves[first + 2].data()[0] == 0.75f);
        EXPECT(leaves[first + 1].data()[0] < 1.0f &&
               leaves[first + 1].to_vector() == leaves[first + 3].to_vector());
    }
}

void test_training(const std::string &folder)
{
    tinylm::model model(small_model());
    model.set_dropout_row(7);
    tinylm::optimizer adamw = tinylm::optimizer::adamw();
    adamw.add_model(model);
    tinylm::checkpoint_options told;
    told.metadata = "{\"note\": 1}";
    tinylm::save_checkpoint(model, adamw, 4, folder + "/told", told);
    EXPECT(tinylm::load_checkpoint(model, adamw, folder + "/told") == 4);

    std::vector<std::uint32_t> ids(64);
    for (std::size_t i = 0; i < ids.size(); i++)
        ids[i] = static_cast<std::uint32_t>(i * i % 20);
    tinylm::dataset data = tinylm::dataset::wrap(tinylm::span<const std::uint32_t>(ids));
    tinylm::loader_options loading;
    loading.batch_size = 2;
    loading.context_length = 8;
    tinylm::loader loader(data, loading);
    tinylm::trainer_options running;
    running.steps = 2;
    running.average_decay = 0.5;
    tinylm::trainer trainer(model, adamw, loader, running);
    trainer.run();
    const values plain = model.parameter("lm_head.weight").to_vector();
    trainer.use_average();
    EXPECT(model.parameter("lm_head.weight").to_vector() != plain);
    trainer.use_average(false);
    EXPECT(model.parameter("lm_head.weight").to_vector() == plain);
}

void test_texts(const std::string &folder)
{
    std::ofstream(folder + "/text.txt") << text;
    tinylm::bpe_trainer_options options;
    options.vocab_size = 280;
    options.special_tokens = {"<|end|>"};
    tinylm::bpe_trainer trainer(options);
    trainer.add_file(folder + "/text.txt");
    tinylm::tokenizer tokenizer = trainer.train();
    EXPECT(tokenizer.count(text) == train_tokenizer().count(text));
    tinylm::decode_options decoding;
    decoding.skip_special_tokens = true;
    tinylm::decoder decoder(tokenizer, decoding);
    std::string decoded;
    for (std::uint32_t id : tokenizer.encode(text))
        decoded += decoder.push(id);
    decoded += decoder.finish();
    EXPECT(decoded == text.substr(0, text.size() - 7));

    tinylm::dataset data = tinylm::dataset::from({4, 5, 6});
    tinylm::dataset::iterator at = data.begin();
    EXPECT(*at++ == 4 && *at == 5 && at == ++data.begin());
}

void test_process()
{
    tinylm::check_environment();
    setenv("TINYLM_CPU", "abacus", 1);
    EXPECT(
        throws(TLM_ERR_INVALID_ARGUMENT, "'abacus' is none", [] { tinylm::check_environment(); }));
    unsetenv("TINYLM_CPU");
    tinylm::shutdown();
    EXPECT(tinylm::num_threads() >= 1);
}

} // namespace

int main()
{
    return report([] {
        const temporary_folder folder;
        test_ops();
        test_layers();
        test_groups_of_other_kinds();
        test_training(folder.path());
        test_texts(folder.path());
        test_process();
    });
}
