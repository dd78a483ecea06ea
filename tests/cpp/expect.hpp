/* What the tests of the C++ layer share: expectations, and small things to try it on. */
#pragma once

#include "tinylm/tinylm.hpp"

#include <cstdio>
#include <string>

namespace
{

int failures;

void expect(bool holds, const char *what, int line)
{
    if (!holds) {
        std::printf("line %d: %s (%s)\n", line, what, tlm_error_message());
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

template <typename F> tlm_status_t status_of(F run)
{
    try {
        run();
    } catch (const tinylm::error &failure) {
        return failure.status();
    }
    return TLM_OK;
}

const std::string text = "low lower lowest, new newer newest, wide wider widest <|end|>";

[[maybe_unused]] tinylm::tokenizer train_tokenizer(std::uint32_t vocab_size = 280,
                                                   tlm_communicator_t *communicator = nullptr)
{
    tinylm::bpe_trainer_options options;
    options.vocab_size = vocab_size;
    options.special_tokens = {"<|end|>"};
    options.communicator = communicator;
    tinylm::bpe_trainer trainer(options);
    trainer.add_text(text);
    return trainer.train();
}

[[maybe_unused]] tinylm::model_options small_model()
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

/* Runs a test program's functions; the exit status. */
template <typename F> int report(F run)
{
    try {
        run();
    } catch (const std::exception &thrown) {
        std::printf("thrown: %s\n", thrown.what());
        failures++;
    }
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}

} // namespace
