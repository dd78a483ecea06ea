// Tokenizers, chat templates and tensors of tinylm.hpp, on small things: values, ownership, errors, and
// exceptions that pass through the C library from callbacks.
#include "expect.hpp"
#include "temporary_folder.hpp"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>

namespace
{

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
    return report([] {
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
    });
}
