// Every class and function of tinylm.hpp, on small things: values, ownership, errors, and exceptions that
// pass through the C library from callbacks.
#include "tinylm/tinylm.hpp"

#include "temporary_folder.hpp"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>

namespace
{

int failures;

void expect(bool holds, const char *what, int line)
{
    if (!holds) {
        std::printf("line %d: %s\n", line, what);
        failures++;
    }
}
#define EXPECT(condition) expect(condition, #condition, __LINE__)

/* True if `run` throws a tinylm::error of that status whose message holds `text`. */
template <typename F> bool throws(tlm_status_t status, const std::string &text, F run)
{
    try {
        run();
    } catch (const tinylm::error &failure) {
        return failure.status() == status &&
               std::string(failure.what()).find(text) != std::string::npos &&
               failure.status_name() == std::string(tlm_status_name(status));
    }
    return false;
}

struct odd {
};

template <typename F> bool throws_odd(F run)
{
    try {
        run();
    } catch (const odd &) {
        return true;
    }
    return false;
}

const std::string text = "low lower lowest, new newer newest, wide wider widest <|end|>";

template <typename T> constexpr bool move_only()
{
    return !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> &&
           std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>;
}
static_assert(move_only<tinylm::tokenizer>() && move_only<tinylm::bpe_trainer>());
static_assert(move_only<tinylm::encoder>() && move_only<tinylm::decoder>());
static_assert(move_only<tinylm::model>());
static_assert(move_only<tinylm::generator>() && move_only<tinylm::optimizer>());
static_assert(move_only<tinylm::dataset>() && move_only<tinylm::loader>());
static_assert(move_only<tinylm::trainer>());
static_assert(move_only<tinylm::token_writer>() && move_only<tinylm::ids>());
/* A handle is its pointer. */
static_assert(sizeof(tinylm::tensor) == sizeof(void *) && sizeof(tinylm::model) == sizeof(void *));

tinylm::tokenizer train_tokenizer(std::uint32_t vocab_size = 280)
{
    tinylm::bpe_trainer_options options;
    options.vocab_size = vocab_size;
    options.special_tokens = {"<|end|>"};
    tinylm::bpe_trainer trainer(options);
    trainer.add_text(text);
    return trainer.train();
}

void test_errors()
{
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "vocab_size", [] { train_tokenizer(3); }));
    EXPECT(throws(TLM_ERR_NOT_FOUND, "", [] { tinylm::tokenizer::open("no/such/file"); }));
    tinylm::check(TLM_OK);
    EXPECT(std::string(tinylm::version()) == TLM_VERSION_STRING);
    tinylm::set_num_threads(2);
    EXPECT(tinylm::num_threads() == 2);
}

void test_views()
{
    std::vector<float> vector = {1, 2, 3};
    float array[] = {4, 5};
    tinylm::span<const float> a = vector, b = array;
    tinylm::span<float> writable = vector;
    writable[1] = 7;
    EXPECT(a.size() == 3 && a[1] == 7 && b.size() == 2 && b[1] == 5 && !a.empty());
    EXPECT(tinylm::span<float>().empty());
    EXPECT((a.to_vector() == std::vector<float>{1, 7, 3}));
}

void test_training_a_tokenizer()
{
    tinylm::bpe_trainer_options options;
    std::uint64_t told = 0;
    options.vocab_size = 270;
    options.progress = [&](std::int32_t, std::uint64_t done, std::uint64_t) {
        told = done;
        return false;
    };
    tinylm::bpe_trainer trainer(options);
    trainer.push(text.substr(0, 10));
    trainer.push(text.substr(10));
    trainer.end_text();
    tinylm::bpe_trainer moved = std::move(trainer); /* callbacks follow */
    tinylm::tokenizer tokenizer = moved.train();
    EXPECT(told > 0 && tokenizer.vocab_size() == 270 && tokenizer.num_merges() == 14);
    EXPECT(moved.stats().first == text.size() && moved.stats().second > 5);
    EXPECT(moved.dropped().first == 0 && moved.get() != nullptr);

    options.progress = [](std::int32_t, std::uint64_t, std::uint64_t) -> bool { throw odd(); };
    tinylm::bpe_trainer throwing(options);
    EXPECT(throws_odd([&] { throwing.add_text(text); }));
    options.progress = [](std::int32_t, std::uint64_t, std::uint64_t) { return true; };
    tinylm::bpe_trainer cancelling(options);
    EXPECT(throws(TLM_ERR_CANCELLED, "", [&] { cancelling.add_text(text); }));
}

void test_tokenizer()
{
    tinylm::tokenizer tokenizer = train_tokenizer();
    tinylm::ids ids = tokenizer.encode(text);
    EXPECT(ids.size() < text.size() && tokenizer.decode(ids) == text);
    EXPECT(tokenizer.count(text) == ids.size());
    tokenizer.trim();
    EXPECT(tokenizer.count(text) == ids.size());
    EXPECT((ids.to_vector() == std::vector<std::uint32_t>(ids.begin(), ids.end())));
    tinylm::array<std::uint8_t> bytes = tokenizer.decode_bytes(ids);
    EXPECT(std::string(bytes.begin(), bytes.end()) == text);
    EXPECT(tokenizer.find("<|end|>") == 0u && !tokenizer.find("no such token"));
    EXPECT(tokenizer.token(0) == "<|end|>" &&
           tokenizer.special_tokens() == std::vector<std::uint32_t>{0});
    auto [left, right] = tokenizer.merge(0);
    std::string joined = std::string(tokenizer.token(left)) + std::string(tokenizer.token(right));
    EXPECT(tokenizer.find(joined) == 257u);
    EXPECT(tokenizer.longest_tokens(3).size() == 3);
    EXPECT(throws(TLM_ERR_RANGE, "", [&] { (void)tokenizer.decode({5, 1000}); }));
    EXPECT(throws(TLM_ERR_RANGE, "", [&] { (void)tokenizer.token(1000); }));

    tinylm::encode_options plain;
    plain.allowed_special = TLM_SPECIAL_NONE;
    plain.disallowed_special = TLM_SPECIAL_NONE;
    EXPECT(tokenizer.decode(tokenizer.encode(text, plain)) == text);
    EXPECT(tokenizer.encode(text, plain).size() > ids.size());
    plain.disallowed_special = TLM_SPECIAL_LIST;
    plain.disallowed = {"<|end|>"};
    EXPECT(throws(TLM_ERR_SPECIAL_TOKEN, "<|end|>", [&] { (void)tokenizer.encode(text, plain); }));

    std::vector<std::size_t> offsets = tokenizer.offsets(ids);
    EXPECT(offsets.size() == ids.size() + 1 && offsets.back() == text.size());
    EXPECT(tokenizer.character_spans(ids).back().second == text.size());

    std::vector<std::string_view> texts = {text, "", "new"};
    tinylm::rows<std::uint32_t> rows = tokenizer.encode_batch(texts);
    EXPECT(rows.size() == 3 && rows[0].to_vector() == ids.to_vector() && rows[1].empty());
    EXPECT(rows.values().size() == rows[0].size() + rows[2].size());
    std::vector<tinylm::id_span> lists = {rows[0], rows[1], rows[2]};
    tinylm::rows<std::uint8_t> back = tokenizer.decode_batch(lists);
    EXPECT(back.size() == 3 && std::string(back[2].begin(), back[2].end()) == "new");
    EXPECT(tokenizer.decode({0, *tokenizer.find("n"), 0}, true) == "n");
    tinylm::encode_options around;
    around.add_special_tokens = true; /* a trained tokenizer has no template */
    EXPECT(tokenizer.encode(text, around).to_vector() == ids.to_vector());
    tinylm::pad_options pad;
    pad.pad_id = 99;
    tinylm::padded_ids padded = tokenizer.encode_padded(texts, pad);
    EXPECT(padded.length == ids.size() && padded.values[padded.length] == 99);
    EXPECT(padded.mask[0] == 1 && padded.mask[padded.length] == 0 && padded.lengths[1] == 0);

    std::vector<std::string> vocab;
    for (int i = 0; i < 256; i++)
        vocab.push_back(std::string(1, static_cast<char>(i)));
    vocab.push_back("ab");
    std::vector<std::pair<std::string, std::string>> merges = {{"a", "b"}};
    tinylm::tokenizer made = tinylm::tokenizer::create(vocab, merges);
    EXPECT(made.encode("ab").to_vector() == std::vector<std::uint32_t>{256});
    tinylm::tokenizer_options options;
    options.special_tokens = {"<s>"};
    options.special_token_ids = {7, 8};
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "2 ids for 1",
                  [&] { (void)tinylm::tokenizer::create(vocab, merges, options); }));

    EXPECT(tinylm::utf8_sanitize("a\xff") == "a\xef\xbf\xbd");
    EXPECT(tinylm::utf8_nfc("e\xcc\x81") == "\xc3\xa9");
}

void test_tokenizer_files(const std::string &folder)
{
    tinylm::tokenizer tokenizer = train_tokenizer();
    std::vector<std::uint32_t> ids = tokenizer.encode("lowest").to_vector();
    tokenizer.save(folder + "/vocab.json", folder + "/merges.txt");
    EXPECT(tinylm::tokenizer::load(folder + "/vocab.json", folder + "/merges.txt")
               .encode("lowest")
               .to_vector() == ids);
    tokenizer.save_json(folder + "/tokenizer.json");
    EXPECT(tinylm::tokenizer::load_json(folder + "/tokenizer.json").encode("lowest").to_vector() ==
           ids);
    tokenizer.save_tiktoken(folder + "/ranks");
    tinylm::tokenizer_options options;
    options.special_tokens = {"<|end|>"};
    options.special_token_ids = {0};
    options.pattern = TLM_PATTERN_GPT2;
    EXPECT(tinylm::tokenizer::load_tiktoken(folder + "/ranks", options).encode(text).to_vector() ==
           tokenizer.encode(text).to_vector());
    EXPECT(tinylm::tokenizer::open(folder).encode(text).size() > 0);
    EXPECT(tinylm::pattern("qwen3.5") == TLM_PATTERN_QWEN35);
    EXPECT(throws(TLM_ERR_NOT_FOUND, "qwen", [] { (void)tinylm::pattern("qwen"); }));
}

void test_streams()
{
    tinylm::tokenizer tokenizer = train_tokenizer();
    std::vector<std::uint32_t> got;
    tinylm::encoder encoder(
        tokenizer, [&](tinylm::id_span ids) { got.insert(got.end(), ids.begin(), ids.end()); });
    tinylm::encoder moved = std::move(encoder);
    for (char c : text)
        moved.push(std::string_view(&c, 1));
    moved.finish();
    EXPECT(got == tokenizer.encode(text).to_vector() && moved.get() != nullptr);

    tinylm::encoder throwing(tokenizer, [](tinylm::id_span) { throw odd(); });
    EXPECT(throws_odd([&] {
        throwing.push(text);
        throwing.finish();
    }));
    tinylm::encoder cancelling(tokenizer, [](tinylm::id_span) { return true; });
    EXPECT(throws(TLM_ERR_CANCELLED, "", [&] {
        cancelling.push(text);
        cancelling.finish();
    }));

    tinylm::decoder decoder(tokenizer);
    std::string back;
    for (std::uint32_t id : got)
        back += decoder.push(id);
    back += decoder.finish();
    EXPECT(back == text);
}

void test_tensors()
{
    tinylm::tensor a = tinylm::tensor::from({2, 3}, {1, 2, 3, 4, 5, 6});
    tinylm::tensor b = tinylm::tensor::from({3}, std::vector<float>{1, 10, 100});
    a.set_requires_grad();
    tinylm::tensor product = a * b;
    EXPECT((product.to_vector() == std::vector<float>{1, 20, 300, 4, 50, 600}));
    tinylm::sum(product).backward();
    EXPECT((a.grad().to_vector() == std::vector<float>{1, 10, 100, 1, 10, 100}));
    EXPECT(!b.grad() && a.requires_grad() && !b.requires_grad());
    a.zero_grad();
    EXPECT(!a.grad());
    (2.0f * a).backward(tinylm::tensor::from({2, 3}, {1, 0, 0, 0, 0, 1}));
    EXPECT((a.grad().to_vector() == std::vector<float>{2, 0, 0, 0, 0, 2}));
    EXPECT(throws(TLM_ERR_SHAPE, "", [&] { (void)(a + tinylm::tensor::zeros({4})); }));
    EXPECT(throws(TLM_ERR_SHAPE, "2 values for a shape of 3", [] {
        (void)tinylm::tensor::from({3}, {1, 2});
    }));
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "", [] {
        std::vector<std::int64_t> dims(TLM_MAX_DIMS + 3, 1);
        (void)tinylm::tensor::zeros(dims);
    }));

    EXPECT(a.shape().size() == 2 && a.shape()[1] == 3 && a.strides()[0] == 3 && a.numel() == 6);
    EXPECT(a.dtype() == TLM_FLOAT32 && a.data()[5] == 6);
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "", [&] { (void)a.data<std::int64_t>(); }));
    std::vector<float> mine = {1, 2};
    tinylm::tensor wrapped = tinylm::tensor::wrap({2}, mine.data());
    mine[0] = 9;
    EXPECT(wrapped.data()[0] == 9);
    wrapped.copy_from(tinylm::span<const float>(std::vector<float>{3, 4}));
    EXPECT(mine[1] == 4);
    tinylm::tensor shared = wrapped;
    wrapped = tinylm::tensor();
    EXPECT(!wrapped && shared.data()[1] == 4 && a.detach().data().data() == a.data().data());

    {
        tinylm::no_grad guard;
        EXPECT(!tlm_grad_enabled() && !(a + a).requires_grad());
    }
    EXPECT(tlm_grad_enabled());
    EXPECT(tinylm::mean(b).item() == 37.0f);
}

void test_ops()
{
    using tinylm::tensor;
    tensor x = tensor::from({2, 2}, {1, 2, 3, 4}), y = tensor::from({2, 2}, {4, 3, 2, 1});
    tensor gain = tensor::from({2}, {1, 1});
    tensor ids = tensor::from({2}, std::vector<std::int64_t>{1, 0});
    auto near = [](const tensor &t, float value) { return std::fabs(t.data()[0] - value) < 1e-5f; };

    EXPECT(near(x - y, -3) && near(x / y, 0.25f) && near(tinylm::matmul(x, y), 8));
    EXPECT(near(tinylm::linear(x, y), 10) && near(tinylm::embedding(x, ids), 3));
    EXPECT(near(tinylm::silu(x), 0.731059f) && near(tinylm::silu_mul(x, y), 2.924234f));
    EXPECT(near(tinylm::cross_entropy(x, ids), 0.813262f));
    EXPECT(near(tinylm::exp(x), 2.718282f) && near(tinylm::log(x), 0) && near(tinylm::sqrt(y), 2));
    EXPECT(near(tinylm::tanh(x), 0.761594f) && near(tinylm::sigmoid(x), 0.731059f));
    EXPECT(near(tinylm::relu(x), 1) && near(tinylm::gelu(x), 0.841345f));
    EXPECT(near(tinylm::contiguous(tinylm::transpose(x, 0, 1)), 1) && near(tinylm::scale(x, 3), 3));
    EXPECT(near(tinylm::sum(x, 0), 4) && near(tinylm::mean(x, -1, true), 1.5f));
    auto [largest, places] = tinylm::max(x, 1);
    EXPECT(near(largest, 2) && places.data<std::int64_t>()[0] == 1);
    bool chosen[] = {true, false, true, false};
    EXPECT(near(tinylm::where(tensor::from({2, 2}, tinylm::span<bool>(chosen)), x, y), 1));
    EXPECT(tinylm::reshape(x, {4}).shape().size() == 1 && near(tinylm::slice(x, 0, 1, 2), 3));
    EXPECT(near(tinylm::rms_norm(x, gain), 0.632454f) && near(tinylm::softmax(x, -1), 0.268941f));
    EXPECT(near(
        tinylm::swiglu(x, x, x, x),
        tinylm::linear(tinylm::silu_mul(tinylm::linear(x, x), tinylm::linear(x, x)), x).data()[0]));
    EXPECT(near(tinylm::rope(x, tensor()), 1));
    tensor q = tinylm::reshape(x, {1, 2, 2});
    EXPECT(near(tinylm::attention(q, q, q, tensor(), true), 1));
    EXPECT(tinylm::multi_head_attention(q, x, x, x, x, 1, 10000.0, tensor()).numel() == 4);
    tensor fresh = tensor::zeros({100});
    tinylm::init_truncated_normal(fresh, 1.0, 3.0, 1, 2);
    EXPECT(fresh.data()[0] != fresh.data()[1]);
    EXPECT(tinylm::concat({x, y}, 0).shape()[0] == 4);
}

void test_custom_op()
{
    auto alive = std::make_shared<int>(1);
    std::weak_ptr<int> watch = alive;
    std::vector<tinylm::tensor> inputs;
    inputs.push_back(tinylm::tensor::from({2}, {3, 4}));
    inputs[0].set_requires_grad();
    auto cube = [&](auto backward) {
        std::vector<float> values = inputs[0].to_vector();
        for (float &value : values)
            value = value * value * value;
        return tinylm::custom_op("cube", tinylm::tensor::from({2}, values), inputs, backward);
    };
    {
        tinylm::tensor y = cube([alive = std::move(alive)](const tinylm::tensor &gradient,
                                                           tinylm::span<const tinylm::tensor> in) {
            std::vector<tinylm::tensor> made;
            made.push_back(gradient * (3.0f * (in[0] * in[0])));
            return made;
        });
        tinylm::sum(y).backward();
    }
    EXPECT((inputs[0].grad().to_vector() == std::vector<float>{27, 48}) && watch.expired());
    EXPECT(throws(TLM_ERR_CANCELLED, "", [&] {
        tinylm::sum(cube([](const tinylm::tensor &,
                            tinylm::span<const tinylm::tensor>) -> std::vector<tinylm::tensor> {
            throw odd();
        })).backward();
    }));
}

tinylm::model_options small_model()
{
    tinylm::model_options options;
    options.vocab_size = 20;
    options.context_length = 8;
    options.d_model = 16;
    options.num_layers = 1;
    options.num_heads = 2;
    options.seed = 3;
    return options;
}

void test_model()
{
    tinylm::model model(small_model());
    std::vector<std::uint32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    tinylm::id_span inputs(ids.data(), 8), targets(ids.data() + 1, 8);

    EXPECT(model.options().d_ff == 64 && model.options().num_kv_heads == 2);
    EXPECT(model.parameters().size() == 12 &&
           std::string(model.parameter_name(11)) == "lm_head.weight");
    EXPECT(model.parameter("lm_head.weight").shape()[0] == 20);
    EXPECT(throws(TLM_ERR_NOT_FOUND, "head", [&] { (void)model.parameter("head"); }));
    std::vector<float> gains(16, 0.5f);
    model.set_parameter("ln_final.weight", gains, {16});
    EXPECT(model.parameter("ln_final.weight").to_vector() == gains);
    EXPECT(throws(TLM_ERR_SHAPE, "16 values",
                  [&] { model.set_parameter("ln_final.weight", gains, {17}); }));
    EXPECT(model.forward(inputs, 2, 4).shape()[2] == 20);
    EXPECT(throws(TLM_ERR_SHAPE, "8 ids for a batch of (3, 4)",
                  [&] { (void)model.forward(inputs, 3, 4); }));

    model.set_checkpointing(true);
    tlm_model_options_t training = TLM_MODEL_OPTIONS_INIT;
    training.label_smoothing = 2.0;
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "label_smoothing 2",
                  [&] { model.set_training(training); }));
    tinylm::optimizer adamw = tinylm::optimizer::adamw();
    adamw.add_model(model, TLM_NO_DECAY_NORMS);
    EXPECT(adamw.num_groups() == 2 && adamw.num_parameters() == 12 &&
           std::string(adamw.kind()) == "adamw");
    adamw.set_learning_rate(0.02);
    EXPECT(adamw.learning_rate() == 0.02);
    float first = 0, last = 0;
    for (int step = 0; step < 60; step++) {
        adamw.zero_grad();
        tinylm::tensor loss = model.loss(inputs, targets, 1, 8);
        last = loss.item();
        first = step == 0 ? last : first;
        loss.backward();
        EXPECT(tinylm::clip_grad_norm(model.parameters(), 1.0) >= 0);
        adamw.step();
    }
    EXPECT(last < 0.5f * first && adamw.steps() == 60 && adamw.state(0, "m").size() == 320);
    model.check_finite();
    model.zero_grad();

    tinylm::generate_options options;
    options.max_tokens = 5;
    tinylm::ids made = model.generate({1, 2}, options);
    EXPECT((made.to_vector() == std::vector<std::uint32_t>{3, 4, 5, 6, 7}));
    std::size_t seen = 0;
    EXPECT(model.generate({1, 2}, options, [&](std::uint32_t) { return ++seen == 3; }).size() == 3);
    EXPECT(throws_odd([&] {
        (void)model.generate({1, 2}, options, [](std::uint32_t) { throw odd(); });
    }));
    options.stop_sequences = {{5, 6}};
    EXPECT(model.generate({1, 2}, options).size() == 2);
    options.stop_sequences.clear();
    options.end_token = 5;
    EXPECT(model.generate({1, 2}, options).size() == 2);
    std::vector<float> scores = model.score(ids);
    EXPECT(scores.size() == 8 && std::accumulate(scores.begin(), scores.end(), 0.0f) < 0);

    tinylm::generator generator(model);
    options = {};
    options.max_tokens = 3;
    options.num_top_log_probs = 2;
    std::size_t one = generator.add({1}, options), two = generator.add({4, 5}, options);
    EXPECT(generator.step() == 2);
    generator.stop(two);
    while (generator.step() > 0)
        ;
    EXPECT(generator.tokens(one).size() == 3 && generator.log_probs(one).size() == 3);
    EXPECT(generator.top_log_probs(one, 0).first[0] == generator.tokens(one)[0]);
    EXPECT(generator.state(one) == TLM_GENERATION_LENGTH &&
           generator.state(two) == TLM_GENERATION_STOPPED);
}

void test_generated_text()
{
    tinylm::model model(small_model());
    tinylm::tokenizer tokenizer = train_tokenizer();
    tinylm::generate_options options;
    options.max_tokens = 6;
    options.tokenizer = tokenizer.get();
    options.logit_bias = {{5, 1e9f}}; /* always the same token */
    tinylm::generated_text all = model.generate_text({1}, options);
    const std::string piece = tokenizer.decode({5});
    EXPECT(all.state == TLM_GENERATION_LENGTH && all.text.size() == 6 * piece.size());
    std::string seen;
    model.generate_text({1}, options, [&](std::string_view text) { seen += text; });
    EXPECT(seen == all.text);
    EXPECT(throws_odd(
        [&] { (void)model.generate_text({1}, options, [](std::string_view) { throw odd(); }); }));
    options.stop_strings = {piece + piece + piece};
    EXPECT(model.generate_text({1}, options).state == TLM_GENERATION_STOP);
    EXPECT(model.generate_text({1}, options).text.empty());
    options.stop_strings.clear();
    options.keeps_cache = true;

    tinylm::generator generator(model);
    std::size_t chat = generator.add({1}, options);
    const temporary_folder folder;
    const std::string path = folder.path() + "/sequence";
    generator.step();
    generator.save(chat, path);
    std::size_t copy = generator.load(path, options);
    while (generator.step() > 0)
        ;
    EXPECT(generator.text(chat) == all.text && generator.text(copy) == all.text);
    EXPECT(generator.context(copy).size() == 7);
    generator.extend(chat, {2, 3}, options, 4);
    EXPECT(generator.context(chat).size() == 6 && generator.text(chat).empty());
    EXPECT(generator.state(chat) == TLM_GENERATION_RUNNING);
}

void test_cost()
{
    tinylm::model model(small_model());
    tinylm::cost cost = tinylm::model_cost(small_model());
    EXPECT(cost.parameters == model.num_elements() && cost.step_flops > 0);
}

void test_optimizers()
{
    std::vector<tinylm::tensor> leaves;
    leaves.push_back(tinylm::tensor::from({1}, {1}));
    leaves[0].set_requires_grad();
    tinylm::optimizer sgd = tinylm::optimizer::sgd(0.5);
    sgd.add_group(leaves);
    tinylm::sum(leaves[0]).backward();
    sgd.step();
    EXPECT(leaves[0].data()[0] == 0.5f && std::string(sgd.kind()) == "sgd");
    sgd.set_steps(9);
    EXPECT(sgd.steps() == 9);
    tinylm::adamw_options options;
    options.learning_rate = -1;
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "learning_rate",
                  [&] { (void)tinylm::optimizer::adamw(options); }));
    tinylm::optimizer adamw = tinylm::optimizer::adamw();
    options.learning_rate = 0.25;
    std::vector<tlm_tensor_t *> raw = {leaves[0].get()};
    adamw.add_adamw_group(raw, options);
    EXPECT(adamw.learning_rate(0) == 0.25 && adamw.weight_decay(0) == 0.01);
    tinylm::group_options group;
    group.has_weight_decay = true;
    adamw.add_group(tinylm::span<tlm_tensor_t *const>(), group);
    EXPECT(adamw.weight_decay(1) == 0.0 && std::string(adamw.state_name(0, 1)) == "v");
    adamw.set_weight_decay(0.5);
    EXPECT(adamw.weight_decay(1) == 0.5);
    tinylm::optimizer muon = tinylm::optimizer::muon({}, &options);
    EXPECT(std::string(muon.kind()) == "muon");
    EXPECT(throws(TLM_ERR_UNSUPPORTED, "shape (1)", [&] { muon.add_muon_group(raw); }));
    muon.add_adamw_group(raw, options);
    tinylm::schedule_options schedule;
    schedule.kind = TLM_SCHEDULE_LINEAR;
    schedule.max_learning_rate = 1.0;
    schedule.total_steps = 10;
    EXPECT(std::fabs(tinylm::schedule_learning_rate(schedule, 5) - 0.5) < 1e-12);
}

void test_data(const std::string &folder)
{
    std::vector<std::uint32_t> ids(50);
    std::iota(ids.begin(), ids.end(), 0u);
    tinylm::token_writer writer(folder + "/ids.npy", TLM_TOKENS_UINT16);
    writer.push(ids);
    writer.finish();
    tinylm::dataset dataset = tinylm::dataset::open(folder + "/ids.npy");
    EXPECT(dataset.length() == 50);
    std::vector<std::uint32_t> some(3);
    dataset.read(some, 7);
    EXPECT((some == std::vector<std::uint32_t>{7, 8, 9}));
    EXPECT(throws(TLM_ERR_RANGE, "", [&] { dataset.read(some, 49); }));
    tinylm::token_batch batch;
    dataset.sample(batch, 2, 4, 1, 0);
    EXPECT(batch.inputs.size() == 8 && batch.targets[0] == batch.inputs[0] + 1);
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "", [&] { dataset.sample(batch, -1, 4, 1, 0); }));
    EXPECT(tinylm::dataset::from({1, 2, 3}).length() == 3);
    std::vector<std::uint16_t> narrow = {5, 6};
    EXPECT(tinylm::dataset::wrap(tinylm::span<const std::uint16_t>(narrow)).length() == 2);

    tinylm::loader_options options;
    options.batch_size = 2;
    options.context_length = 4;
    options.order = TLM_ORDER_SEQUENTIAL;
    tinylm::loader loader(dataset, options);
    tinylm::token_batch_view view = loader.next();
    EXPECT(view.inputs.size() == 8 && view.inputs[7] == 7 && view.targets[7] == 8);
    EXPECT(loader.position() == 1 && loader.windows_per_epoch() == 12 &&
           loader.batches_per_epoch() == 6);
    loader.seek(0);
    EXPECT(loader.next().inputs[0] == 0);

    tinylm::tokenizer tokenizer = train_tokenizer();
    std::ofstream(folder + "/text.txt") << text;
    EXPECT(tinylm::encode_file(tokenizer, folder + "/text.txt", folder + "/text.u16") ==
           tokenizer.count(text));
}

void test_checkpoints(const std::string &folder)
{
    tinylm::model model(small_model());
    tinylm::optimizer adamw = tinylm::optimizer::adamw();
    adamw.add_model(model);
    tinylm::save_checkpoint(model, 3, folder + "/weights");
    tinylm::save_checkpoint(model, adamw, 4, folder + "/all");
    tinylm::model loaded = tinylm::model::load(folder + "/weights");
    EXPECT(loaded.parameter("lm_head.weight").to_vector() ==
           model.parameter("lm_head.weight").to_vector());
    EXPECT(tinylm::load_checkpoint(model, adamw, folder + "/all") == 4);
    EXPECT(tinylm::load_checkpoint(model, folder + "/weights") == 3);
    EXPECT(throws(TLM_ERR_NOT_FOUND, "", [&] { (void)tinylm::model::load(folder + "/none"); }));
    tinylm::save_hf(model, tinylm::tokenizer(), folder + "/hf");
    EXPECT(std::filesystem::exists(folder + "/hf/config.json"));
    tinylm::save_gguf(model, tinylm::tokenizer(), folder + "/model.gguf");
    for (const char *name : {"/weights", "/hf", "/model.gguf"}) {
        tinylm::opened_model opened = tinylm::open_model(folder + name);
        EXPECT(opened.model.num_elements() == model.num_elements() && !opened.tokenizer);
    }
    EXPECT(throws(TLM_ERR_NOT_FOUND, "", [&] { (void)tinylm::open_model(folder + "/none"); }));

    tinylm::checkpoint_options told;
    tinylm::tokenizer tokenizer = train_tokenizer();
    tinylm::model_options wide = small_model();
    wide.vocab_size = tokenizer.vocab_size();
    told.tokenizer = tokenizer.get();
    tinylm::save_checkpoint(tinylm::model(wide), 1, folder + "/told", told);
    EXPECT(tinylm::checkpoint_tokenizer(folder + "/told").vocab_size() == tokenizer.vocab_size());
    EXPECT(!!tinylm::open_model(folder + "/told").tokenizer);
    EXPECT(!tinylm::open_model(folder + "/told", false, false).tokenizer);
    EXPECT(!tinylm::checkpoint_tokenizer(folder + "/weights"));

    tinylm::save_checkpoint_in(model, adamw, 1, folder + "/kept", 0, {"{\"a\":1}", 2.5});
    tinylm::save_checkpoint_in(model, adamw, 2, folder + "/kept", 1, {"", 3.5});
    EXPECT(tinylm::load_checkpoint(model, adamw, tinylm::latest_checkpoint(folder + "/kept")) == 2);
    EXPECT(tinylm::checkpoint_metadata(tinylm::best_checkpoint(folder + "/kept")) == "{\"a\":1}");
    EXPECT(throws(TLM_ERR_NOT_FOUND, "", [&] { (void)tinylm::latest_checkpoint(folder); }));
}

void test_trainer(const std::string &folder)
{
    std::vector<std::uint32_t> ids(100);
    for (std::size_t i = 0; i < ids.size(); i++)
        ids[i] = static_cast<std::uint32_t>(i % 20);
    tinylm::dataset data = tinylm::dataset::from(ids);
    tinylm::model model(small_model());
    tinylm::optimizer adamw = tinylm::optimizer::adamw();
    adamw.add_model(model);
    tinylm::loader_options batches;
    batches.batch_size = 2;
    batches.context_length = 8;
    tinylm::loader loader(data, batches);
    tinylm::trainer_options options;
    std::uint64_t told = 0, evaluated = 0, saved = 0;
    options.steps = 6;
    options.schedule.emplace();
    options.schedule->max_learning_rate = 0.01;
    options.valid = data.get();
    options.eval_every = 2;
    options.checkpoint_path = folder + "/run";
    options.on_step = [&](const tlm_train_step_t &step) { told = step.step; };
    options.on_evaluation = [&](const tlm_evaluation_t &) { evaluated++; };
    options.on_save = [&](const char *, std::uint64_t) { return ++saved == 0; };
    tinylm::trainer trainer(model, adamw, loader, options);
    EXPECT(trainer.step().step == 1 && trainer.steps() == 1 && told == 0);
    tinylm::trainer moved = std::move(trainer);
    moved.run(4);
    EXPECT(told == 4 && moved.steps() == 4 && evaluated == 2 && saved == 1);
    EXPECT(moved.evaluate().loss == tinylm::evaluate(model, data, 2, 8).loss);
    moved.save(folder + "/four");
    moved.run();
    EXPECT(moved.steps() == 6);
    EXPECT(throws(TLM_ERR_STATE, "", [&] { (void)moved.step(); }));
    moved.resume(folder + "/four");
    EXPECT(moved.steps() == 4);
    options.on_step = [](const tlm_train_step_t &) -> bool { throw odd(); };
    tinylm::trainer throwing(model, adamw, loader, options);
    EXPECT(throws_odd([&] { throwing.run(); }));
    options.on_step = [](const tlm_train_step_t &) { return true; };
    tinylm::trainer cancelling(model, adamw, loader, options);
    EXPECT(throws(TLM_ERR_CANCELLED, "", [&] { cancelling.run(); }));
}

void test_chat()
{
    tinylm::chat_template chat = tinylm::chat_template::create("chatml");
    tinylm::chat_options options;
    options.add_generation_prompt = true;
    std::string text = chat.render({{"user", "the"}}, options);
    EXPECT(text == "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n");
    tinylm::chat_template own =
        tinylm::chat_template::parse("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}");
    EXPECT(own.source().substr(0, 6) == "{% for");
    tinylm::tokenizer tokenizer = train_tokenizer();
    tinylm::chat_ids said = own.encode(tokenizer, {{"user", "a"}, {"assistant", "b"}});
    EXPECT(said.values.size() == 4 && said.mask.size() == 4 && said.values.data()[1] == 0);
    EXPECT(said.mask.data()[0] == 0 && said.mask.data()[2] == 1 && said.mask.data()[3] == 1);
    EXPECT(own.end_token(tokenizer) == said.values.data()[3]);
    EXPECT(throws(TLM_ERR_NOT_FOUND, "", [] { tinylm::chat_template::open("no/such/file"); }));
    EXPECT(throws(TLM_ERR_INVALID_ARGUMENT, "message 0 (system)", [] {
        (void)tinylm::chat_template::create("gemma").render({{"system", "a"}});
    }));
}

} // namespace

int main()
{
    try {
        const temporary_folder folder;
        test_errors();
        test_views();
        test_training_a_tokenizer();
        test_tokenizer();
        test_tokenizer_files(folder.path());
        test_streams();
        test_chat();
        test_tensors();
        test_ops();
        test_custom_op();
        test_model();
        test_generated_text();
        test_cost();
        test_optimizers();
        test_data(folder.path());
        test_checkpoints(folder.path());
        test_trainer(folder.path());
    } catch (const std::exception &thrown) {
        std::printf("thrown: %s\n", thrown.what());
        failures++;
    }
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
