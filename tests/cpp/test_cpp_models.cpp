// Models, optimizers, data, checkpoints and trainers of tinylm.hpp, on small things.
#include "expect.hpp"
#include "temporary_folder.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

namespace
{

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
        EXPECT(opened.model.num_bytes() == 4 * model.num_elements());
        EXPECT(opened.options.weight_bytes == tinylm::gguf_bytes(model));
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

void test_fine_tuning(const std::string &folder)
{
    const std::vector<std::uint32_t> ids = {1, 2, 3, 4};
    tinylm::model model(small_model());
    const std::vector<float> before = model.forward(ids, 1, 4).to_vector();
    const std::uint64_t all = model.num_trained();

    EXPECT(all == model.num_elements());
    model.set_frozen("token_embeddings.*");
    EXPECT(model.num_trained() == all - 20 * 16);
    model.set_frozen("*", false);
    EXPECT(model.num_trained() == all);
    EXPECT(throws(TLM_ERR_NOT_FOUND, "no_such", [&] { model.set_frozen("no_such.*"); }));

    EXPECT(status_of([&] { (void)model.lora(); }) != TLM_OK);
    tinylm::lora_options low;
    low.rank = 2;
    low.alpha = 4;
    model.add_lora(low);
    EXPECT(model.lora().rank == 2 && model.lora().alpha == 4);
    EXPECT(model.num_trained() < all && model.forward(ids, 1, 4).to_vector() == before);
    tinylm::optimizer adamw = tinylm::optimizer::adamw();
    adamw.add_model(model);
    model.loss(ids, {2, 3, 4, 5}, 1, 4).backward();
    adamw.step();
    const std::vector<float> after = model.forward(ids, 1, 4).to_vector();
    EXPECT(after != before);
    model.save_adapter(folder + "/adapter");

    tinylm::model other(small_model());
    other.load_adapter(folder + "/adapter");
    EXPECT(other.forward(ids, 1, 4).to_vector() == after);
    other.remove_lora();
    EXPECT(other.forward(ids, 1, 4).to_vector() == before);
    EXPECT(throws(TLM_ERR_NOT_FOUND, "", [&] { other.load_adapter(folder + "/none"); }));
    model.merge_lora();
    const std::vector<float> merged = model.forward(ids, 1, 4).to_vector();
    float most = 0;
    for (std::size_t i = 0; i < after.size(); i++)
        most = std::fmax(most, std::fabs(merged[i] - after[i]));
    EXPECT(most < 1e-5f);
}

void test_rows_and_texts(const std::string &folder)
{
    const std::vector<std::uint32_t> rows = {1, 2, 3, 4, 5, 6};
    const std::vector<std::uint8_t> counted = {0, 0, 1, 0, 1, 1};
    EXPECT(tinylm::dataset::from_rows(rows, counted, 3).length() == 6);
    EXPECT(tinylm::dataset::from_rows(rows, {}, 2).length() == 6);
    EXPECT(throws(TLM_ERR_SHAPE, "2 flags for 6 ids", [&] {
        (void)tinylm::dataset::from_rows(rows, std::vector<std::uint8_t>{1, 1}, 3);
    }));

    const tinylm::tokenizer tokenizer = train_tokenizer();
    std::ofstream(folder + "/plain.txt") << text;
    tinylm::dataset read = tinylm::dataset::open_text(folder + "/plain.txt", tokenizer);
    EXPECT(read.length() == tokenizer.count(text));
    tinylm::encode_file(tokenizer, folder + "/plain.txt", folder + "/plain.u16");
    EXPECT(tinylm::dataset::open({folder + "/plain.u16", folder + "/plain.u16"}).length() ==
           2 * read.length());

    std::ofstream(folder + "/chat.jsonl")
        << "{\"messages\": [{\"role\": \"user\", \"content\": \"low\"}, "
           "{\"role\": \"assistant\", \"content\": \"lower\"}]}\n";
    const tinylm::chat_template chat =
        tinylm::chat_template::parse("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}");
    tinylm::chat_data_options options;
    options.row_length = 16;
    tlm_chat_data_t found = TLM_CHAT_DATA_INIT;
    tinylm::dataset talks =
        tinylm::dataset::open_chat(folder + "/chat.jsonl", tokenizer, chat, options, &found);
    EXPECT(talks.length() == 16 && found.conversations == 1);
    EXPECT(throws(TLM_ERR_NOT_FOUND, "", [&] {
        (void)tinylm::dataset::open_chat(folder + "/none", tokenizer, chat, options);
    }));
}

} // namespace

int main()
{
    return report([] {
        const temporary_folder folder;
        test_model();
        test_generated_text();
        test_cost();
        test_optimizers();
        test_data(folder.path());
        test_rows_and_texts(folder.path());
        test_checkpoints(folder.path());
        test_fine_tuning(folder.path());
        test_trainer(folder.path());
    });
}
