// What makes the C++ interface convenient, compiled as C++17 and as C++20: copies of tensors, scalars,
// lists in braces, ranges, std::span, callbacks that end a call as in C, and ranks.
#include "expect.hpp"
#include "temporary_folder.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

namespace
{

static_assert(std::is_nothrow_copy_constructible_v<tinylm::tensor> &&
              std::is_nothrow_copy_assignable_v<tinylm::tensor> &&
              std::is_nothrow_move_constructible_v<tinylm::tensor> &&
              std::is_nothrow_move_assignable_v<tinylm::tensor>);
static_assert(!std::is_copy_constructible_v<tinylm::model> &&
              !std::is_copy_constructible_v<tinylm::communicator>);
static_assert(sizeof(tinylm::tensor) == sizeof(void *));

tinylm::model make_model()
{
    tinylm::model_options shape;
    shape.vocab_size = 50;
    shape.context_length = 8;
    shape.d_model = 16;
    shape.num_layers = 1;
    shape.num_heads = 2;
    return tinylm::model(shape);
}

void test_copies()
{
    tinylm::tensor a = tinylm::tensor::from({2}, {1, 2}), b = a, none;
    EXPECT(a.get() == b.get() && b.data().data() == a.data().data());
    b.data()[0] = 7; /* the same elements */
    EXPECT(a.data()[0] == 7);
    a = tinylm::tensor();
    EXPECT(!a && b.data()[1] == 2); /* kept by the copy */
    tinylm::tensor &alias = b;
    b = alias; /* itself */
    EXPECT(b && b.data()[1] == 2);
    tinylm::tensor empty = none;
    EXPECT(!empty);
    std::vector<tinylm::tensor> kept(3, b);
    b = none;
    EXPECT(!b && kept[2].data()[1] == 2 && kept[0].get() == kept[2].get());
    tinylm::tensor moved = std::move(kept[0]);
    EXPECT(!kept[0] && moved.get() == kept[1].get());

    /* Copies share the graph and the gradient. */
    tinylm::tensor x = tinylm::tensor::from({2}, {3, 4});
    x.set_requires_grad();
    tinylm::tensor y = x, z = y * y;
    tinylm::sum(z).backward();
    EXPECT((x.grad().to_vector() == std::vector<float>{6, 8}));
}

void test_scalars()
{
    tinylm::tensor t = tinylm::tensor::from({2}, {1, -2});
    t.set_requires_grad();
    EXPECT(((t * 2.0f).to_vector() == std::vector<float>{2, -4}));
    EXPECT(((2.0f * t).to_vector() == std::vector<float>{2, -4}));
    EXPECT(((t * 2).to_vector() == (2.0 * t).to_vector()));
    EXPECT(((-t).to_vector() == std::vector<float>{-1, 2}));
    tinylm::sum(t * 3.0f).backward();
    EXPECT((t.grad().to_vector() == std::vector<float>{3, 3}));
}

void test_lists()
{
    tinylm::model model = make_model();
    tinylm::tensor a = tinylm::tensor::from({1}, {1}), b = tinylm::tensor::from({1}, {2}),
                   c = tinylm::tensor::from({1}, {3});
    for (tinylm::tensor *each : {&a, &b, &c})
        each->set_requires_grad();
    tinylm::group_options decay, slow;
    decay.has_weight_decay = true;
    decay.weight_decay = 0.25;
    slow.has_learning_rate = true;
    slow.learning_rate = 1e-5;

    tinylm::optimizer both = tinylm::optimizer::adamw();
    both.add_groups({{{a, b}, decay}, {{c}, slow}});
    EXPECT(both.num_groups() == 2 && both.num_parameters() == 3 && both.weight_decay(0) == 0.25 &&
           both.learning_rate(1) == 1e-5);
    (tinylm::sum(a) + tinylm::sum(b)).backward();
    EXPECT(tinylm::clip_grad_norm({a, b}, 10.0) > 1.41);
    tinylm::optimizer adamw = tinylm::optimizer::adamw();
    adamw.add_group({a}, decay);
    adamw.add_group({b, c});
    EXPECT(adamw.num_groups() == 2 && adamw.num_parameters() == 3);
    tinylm::optimizer mixed = tinylm::optimizer::sgd(0.5);
    mixed.add_adamw_group({a, c});
    mixed.add_muon_group({model.parameter("layers.0.ffn.w1.weight")});
    EXPECT(mixed.num_groups() == 2);
    EXPECT(tinylm::concat({a, b, c}, 0).numel() == 3);
    EXPECT(status_of([&] { both.add_group({a}); }) != TLM_OK); /* it is in a group already */
}

void test_ranges(const std::string &folder)
{
    tinylm::tokenizer tokenizer = train_tokenizer();
    std::vector<std::uint32_t> seen;
    for (std::uint32_t id : tokenizer.encode(text)) /* of a temporary */
        seen.push_back(id);
    tinylm::ids ids = tokenizer.encode(text);
    EXPECT(seen == ids.to_vector() && std::equal(ids.begin(), ids.end(), seen.begin()));
    EXPECT(ids.front() == seen.front() && ids.back() == 0);
    std::string joined;
    for (tinylm::ids::value_type id : ids)
        joined += tokenizer.token(id);
    EXPECT(joined == text);
    std::sort(ids.begin(), ids.end());
    EXPECT(ids[0] == 0 && ids.size() == seen.size());
    for (std::uint32_t &id : ids)
        id = 1;
    EXPECT(std::accumulate(ids.begin(), ids.end(), std::uint32_t{0}) == ids.size());
    for (std::uint32_t id : tinylm::ids())
        EXPECT(id == 12345);

    std::vector<std::uint32_t> many(5000);
    std::iota(many.begin(), many.end(), 7u);
    tinylm::dataset data = tinylm::dataset::from(many);
    std::vector<std::uint32_t> read(data.begin(), data.end());
    EXPECT(read == many);
    std::uint64_t sum = 0;
    for (std::uint32_t id : data)
        sum += id;
    EXPECT(sum == std::accumulate(many.begin(), many.end(), std::uint64_t{0}));
    EXPECT(std::find(data.begin(), data.end(), 7u + 4000u) != data.end());
    tinylm::token_writer writer(folder + "/none.u16");
    writer.finish();
    for (std::uint32_t id : tinylm::dataset::open(folder + "/none.u16"))
        EXPECT(id == 12345);
}

/* The same value ends a call in C, in C++ and in Python: true, or any number but 0. */
void test_callbacks(const std::string &folder)
{
    tinylm::callback<int> none, null = nullptr;
    EXPECT(!none && !null);
    int calls = 0;
    tinylm::callback<int> counts = [&](int n) { calls += n; };
    EXPECT(counts && !counts(2) && !counts(3) && calls == 5);
    tinylm::callback<int> at_three = [n = 0](int) mutable { return ++n == 3; };
    EXPECT(!at_three(0) && !at_three(0) && at_three(0));
    tinylm::callback<int> as_in_c = [](int n) { return n; };
    EXPECT(!as_in_c(0) && as_in_c(-1) && as_in_c(256));

    tinylm::model model = make_model();
    tinylm::generate_options options;
    options.max_tokens = 6;
    EXPECT(model.generate({1, 2}, options, [](std::uint32_t) {}).size() == 6);
    EXPECT(model.generate({1, 2}, options, [](std::uint32_t) { return false; }).size() == 6);
    EXPECT(model.generate({1, 2}, options, [](std::uint32_t) { return 0; }).size() == 6);
    EXPECT(model.generate({1, 2}, options, [](std::uint32_t) { return true; }).size() == 1);
    EXPECT(model.generate({1, 2}, options, [](std::uint32_t) { return 1; }).size() == 1);

    std::vector<std::uint32_t> some(200);
    for (std::size_t i = 0; i < some.size(); i++)
        some[i] = static_cast<std::uint32_t>(i % 50);
    tinylm::dataset data = tinylm::dataset::from(some);
    tinylm::loader_options batches;
    batches.batch_size = 2;
    batches.context_length = 8;
    tinylm::loader loader(data, batches);
    tinylm::optimizer adamw = tinylm::optimizer::adamw();
    adamw.add_model(model);
    tinylm::trainer_options run;
    run.steps = 5;
    run.checkpoint_dir = folder + "/run";
    run.keep_last = 1;
    run.on_step = [](const tlm_train_step_t &step) { return step.step == 2; };
    tinylm::trainer trainer(model, adamw, loader, run);
    EXPECT(status_of([&] { trainer.run(); }) == TLM_ERR_CANCELLED && trainer.steps() == 2);
    EXPECT(status_of([&] { trainer.run(); }) == TLM_OK && trainer.steps() == 5);
    EXPECT(tinylm::latest_checkpoint(folder + "/run").find("step-") != std::string::npos);
}

void test_ranks(const std::string &folder)
{
    std::ofstream(folder + "/a.txt") << text << text;
    std::ofstream(folder + "/b.txt") << text;
    tinylm::tokenizer alone = train_tokenizer();
    std::vector<std::string> paths = {folder + "/a.txt", folder + "/b.txt"};
    std::uint64_t told = 0;
    tinylm::encode_files_options options;
    options.progress = [&](std::uint64_t done, std::uint64_t) { told = done; };
    std::uint64_t n = tinylm::encode_files(alone, paths, folder + "/alone.u16", options);
    EXPECT(n == alone.count(text + text) + alone.count(text) && told == 3 * text.size());
    options.progress = [](std::uint64_t, std::uint64_t) { return true; };
    EXPECT(status_of([&] { tinylm::encode_files(alone, paths, folder + "/never.u16", options); }) ==
           TLM_ERR_CANCELLED);
    EXPECT(!std::filesystem::exists(folder + "/never.u16"));

    std::vector<tinylm::communicator> ranks = tinylm::communicator::local(3);
    std::vector<std::thread> threads;
    std::array<bool, 3> right{};
    for (std::size_t r = 0; r < ranks.size(); r++)
        threads.emplace_back([&, r] {
            tinylm::communicator own = std::move(ranks[r]);
            const std::int32_t rank = static_cast<std::int32_t>(r);
            std::array<std::int32_t, 1> sent = {rank}, got = {-1};
            own.exchange(got, (rank + 2) % 3, sent, (rank + 1) % 3);
            std::array<float, 2> sums = {1, static_cast<float>(rank)};
            own.all_reduce(sums);
            std::array<std::int32_t, 1> root = {rank};
            own.broadcast(root, 2);
            own.barrier();
            own.agree();
            tinylm::encode_files_options shared;
            shared.communicator = own.get();
            tinylm::tokenizer together = train_tokenizer(280, own.get());
            std::uint64_t written =
                tinylm::encode_files(together, paths, folder + "/together.u16", shared);
            right[r] = own.rank() == rank && own.num_ranks() == 3 && own.seconds() >= 0 &&
                       got[0] == (rank + 2) % 3 && sums[0] == 3 && sums[1] == 3 && root[0] == 2 &&
                       own.all_gather(sent) == std::vector<std::int32_t>{0, 1, 2} && written == n &&
                       together.num_merges() == alone.num_merges();
        });
    for (std::thread &thread : threads)
        thread.join();
    EXPECT(right[0] && right[1] && right[2]);
    tinylm::dataset a = tinylm::dataset::open(folder + "/alone.u16"),
                    b = tinylm::dataset::open(folder + "/together.u16");
    EXPECT(std::equal(a.begin(), a.end(), b.begin()) && a.length() == n && b.length() == n);
    EXPECT(status_of([] { (void)tinylm::communicator::local(0); }) == TLM_ERR_INVALID_ARGUMENT);
    EXPECT(status_of([] {
               tlm_communicator_options_t two = TLM_COMMUNICATOR_OPTIONS_INIT;
               two.num_ranks = 2;
               (void)tinylm::communicator(two);
           }) == TLM_ERR_INVALID_ARGUMENT);
}

#if __cplusplus >= 202002L
static_assert(std::ranges::contiguous_range<tinylm::ids> && std::ranges::sized_range<tinylm::ids>);
static_assert(std::ranges::contiguous_range<tinylm::id_span> && std::ranges::view<tinylm::id_span>);
static_assert(std::ranges::borrowed_range<tinylm::id_span>);
static_assert(std::ranges::input_range<tinylm::dataset>);

void test_std_span()
{
    tinylm::tokenizer tokenizer = train_tokenizer();
    tinylm::ids ids = tokenizer.encode(text);
    std::span<const std::uint32_t> view = ids;
    std::span<std::uint32_t> writable = ids;
    const std::array<std::uint32_t, 2> two = {ids[0], ids[1]};
    std::span<const std::uint32_t, 2> fixed(two);
    EXPECT(tokenizer.decode(view) == text && tokenizer.decode(writable) == text);
    EXPECT(tokenizer.decode(view.first(2)) == tokenizer.decode(fixed));
    tinylm::id_span ours = view;
    std::span<const std::uint32_t> back = ours;
    EXPECT(back.data() == ids.data() && back.size() == ids.size());
    std::vector<float> values = {1, 2, 3, 4};
    const std::array<std::int64_t, 2> shape = {2, 2};
    tinylm::tensor t = tinylm::tensor::from(std::span(shape), std::span<const float>(values));
    EXPECT(t.shape()[1] == 2 && t.data()[3] == 4);
    t.copy_from(std::span<const float>(values));
    std::span<float> elements = t.data();
    elements[0] = 9;
    EXPECT(t.data()[0] == 9);
    std::span<const std::int64_t> dims = t.shape();
    EXPECT(dims.size() == 2);
    std::vector<std::string_view> texts = {text, "new"};
    EXPECT(tokenizer.encode_batch(std::span(texts)).size() == 2);
    tinylm::dataset data = tinylm::dataset::from(view);
    EXPECT(std::ranges::equal(data.begin(), data.end(), ids.begin(), ids.end()));
    std::size_t frequent = 0;
    for (std::uint32_t id : ids | std::views::filter([](std::uint32_t i) { return i < 257; }))
        frequent += id < 257;
    EXPECT(frequent > 0 && frequent < ids.size());
    tinylm::model model = make_model();
    const std::vector<std::uint32_t> prompt = {1, 2};
    EXPECT(model.forward(std::span(prompt), 1, 2).numel() == 100);
    tinylm::dataset wrapped = tinylm::dataset::wrap(view);
    EXPECT(wrapped.length() == ids.size());
}
#endif

} // namespace

int main()
{
    return report([] {
        const temporary_folder folder;
        test_copies();
        test_scalars();
        test_lists();
        test_ranges(folder.path());
        test_callbacks(folder.path());
        test_ranks(folder.path());
#if __cplusplus >= 202002L
        test_std_span();
#endif
    });
}
