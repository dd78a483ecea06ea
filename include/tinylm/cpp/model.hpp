/* The model and generation. */
#ifndef TINYLM_CPP_MODEL_HPP
#define TINYLM_CPP_MODEL_HPP

#include <optional>

#include "../checkpoint.h"
#include "../generate.h"
#include "../model_files.h"
#include "../model_info.h"
#include "../train.h"
#include "tensor.hpp"
#include "tokenizer.hpp"

namespace tinylm
{

/* ---- Options ----------------------------------------------------------------------------- */

/* Options without pointers are the C structs, initialized to their defaults. */
#define TINYLM_DETAIL_OPTIONS(name, type, INIT)                                                    \
    struct name : type {                                                                           \
        name() noexcept : type(INIT)                                                               \
        {                                                                                          \
        }                                                                                          \
    };
TINYLM_DETAIL_OPTIONS(model_options, tlm_model_options_t, TLM_MODEL_OPTIONS_INIT)
TINYLM_DETAIL_OPTIONS(lora_options, tlm_lora_options_t, TLM_LORA_OPTIONS_INIT)
TINYLM_DETAIL_OPTIONS(cost_options, tlm_cost_options_t, TLM_COST_OPTIONS_INIT)
TINYLM_DETAIL_OPTIONS(cost, tlm_cost_t, TLM_COST_INIT)
TINYLM_DETAIL_OPTIONS(model_file_options, tlm_model_file_options_t, TLM_MODEL_FILE_OPTIONS_INIT)

struct generate_options {
    std::int64_t max_tokens = 256;
    double temperature = 0.0;
    double top_p = 0.0;
    std::uint32_t top_k = 0;
    double min_p = 0.0;
    double repetition_penalty = 0.0;
    std::optional<std::uint32_t> end_token;
    std::vector<std::uint32_t> more_end_tokens; /**< At most TLM_MORE_END_TOKENS. */
    std::vector<std::vector<std::uint32_t>> stop_sequences;
    std::uint32_t num_top_log_probs = 0;
    std::uint64_t seed = 0;
    /** For text; must outlive the generator. */
    const tlm_tokenizer_t *tokenizer = nullptr;
    std::vector<std::string> stop_strings;
    bool skip_special_tokens = false;
    std::vector<tlm_logit_bias_t> logit_bias;
    tlm_logits_callback_t on_logits = nullptr; /**< Must not throw. */
    void *logits_user = nullptr;
    std::int32_t past_context = TLM_PAST_CONTEXT_DEFAULT;
    std::int64_t kept_tokens = 0; /**< 0: 4; -1: none. */
    std::int32_t cache_type = TLM_FLOAT32;
    bool keeps_cache = false;
};

/** A text and the TLM_GENERATION_... that says why it ended. */
struct generated_text {
    std::string text;
    std::int32_t state = TLM_GENERATION_RUNNING;
};

namespace detail
{

struct c_generate_options {
    explicit c_generate_options(const generate_options &from)
    {
        for (const std::vector<std::uint32_t> &stop : from.stop_sequences)
            stops.push_back({stop.data(), stop.size()});
        for (const std::string &stop : from.stop_strings)
            strings.push_back({reinterpret_cast<const std::uint8_t *>(stop.data()), stop.size()});
        options.max_tokens = from.max_tokens;
        options.temperature = from.temperature;
        options.top_p = from.top_p;
        options.top_k = from.top_k;
        options.min_p = from.min_p;
        options.repetition_penalty = from.repetition_penalty;
        options.has_end_token = from.end_token.has_value();
        options.end_token = from.end_token.value_or(0);
        options.num_more_end_tokens = static_cast<std::uint32_t>(from.more_end_tokens.size());
        for (std::size_t i = 0; i < from.more_end_tokens.size() && i < TLM_MORE_END_TOKENS; i++)
            options.more_end_tokens[i] = from.more_end_tokens[i];
        options.stop_sequences = stops.data();
        options.num_stop_sequences = stops.size();
        options.num_top_log_probs = from.num_top_log_probs;
        options.seed = from.seed;
        options.tokenizer = from.tokenizer;
        options.stop_strings = strings.data();
        options.num_stop_strings = strings.size();
        options.skip_special_tokens = from.skip_special_tokens;
        options.logit_bias = from.logit_bias.data();
        options.num_logit_biases = from.logit_bias.size();
        options.on_logits = from.on_logits;
        options.logits_user = from.logits_user;
        options.past_context = from.past_context;
        options.kept_tokens = from.kept_tokens;
        options.cache_type = from.cache_type;
        options.keeps_cache = from.keeps_cache;
    }
    std::vector<tlm_ids_t> stops;
    std::vector<tlm_bytes_t> strings;
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
};

} // namespace detail

/* ---- Model ------------------------------------------------------------------------------- */

/** The transformer. @since 0.2 */
class model : public detail::handle<tlm_model_t, tlm_model_free>
{
  public:
    using handle::handle;
    explicit model(const model_options &options) : handle(detail::make(tlm_model_create, &options))
    {
    }
    /** Loads the model of a checkpoint. */
    static model load(const std::string &path)
    {
        return model(detail::make(tlm_model_load, path.c_str()));
    }

    /** The options in effect, with defaults resolved. */
    model_options options() const
    {
        model_options found;
        check(tlm_model_get_options(&found, get()));
        return found;
    }
    std::uint64_t num_elements() const noexcept
    {
        return tlm_model_num_elements(get());
    }
    /** Bytes of these elements in memory. */
    std::uint64_t num_bytes() const noexcept
    {
        return tlm_model_num_bytes(get());
    }
    /** All parameters, in the library's order; borrowed until the model is destroyed. */
    span<tlm_tensor_t *const> parameters() const
    {
        tlm_tensor_t *const *tensors;
        std::size_t n;
        check(tlm_model_parameters(&tensors, &n, get()));
        return {tensors, n};
    }
    const char *parameter_name(std::size_t index) const
    {
        const char *name;
        check(tlm_model_parameter_name(&name, get(), index));
        return name;
    }
    tensor parameter(const std::string &name) const
    {
        return tensor::share(detail::make(tlm_model_parameter,
                                          static_cast<const tlm_model_t *>(get()), name.c_str()));
    }
    void set_parameter(const std::string &name, span<const float> values, shape_span shape)
    {
        std::size_t n = 1;
        for (std::int64_t size : shape)
            n *= static_cast<std::size_t>(size);
        if (n != values.size())
            throw error(TLM_ERR_SHAPE, "model::set_parameter: " + std::to_string(values.size()) +
                                           " values for a shape of " + std::to_string(n));
        check(tlm_model_set_parameter(get(), name.c_str(), values.data(), shape.data(),
                                      static_cast<std::int32_t>(shape.size())));
    }
    void zero_grad() noexcept
    {
        tlm_model_zero_grad(get());
    }
    void set_checkpointing(bool enabled)
    {
        check(tlm_model_set_checkpointing(get(), enabled));
    }
    /** Takes over those of the options that count only in training. */
    void set_training(const tlm_model_options_t &options)
    {
        check(tlm_model_set_training(get(), &options));
    }
    /** Freezes the parameters that the patterns fit, or trains them again. */
    void set_frozen(const std::string &patterns, bool frozen = true)
    {
        check(tlm_model_set_frozen(get(), patterns.c_str(), frozen));
    }
    std::uint64_t num_trained() const noexcept
    {
        return tlm_model_num_trained(get());
    }
    /** Freezes the model and adds low-rank adapters; the arrays of parameters() become others. */
    void add_lora(const lora_options &options = {})
    {
        check(tlm_model_add_lora(get(), &options));
    }
    lora_options lora() const
    {
        lora_options found;
        check(tlm_model_lora(&found, get()));
        return found;
    }
    void merge_lora()
    {
        check(tlm_model_merge_lora(get()));
    }
    void remove_lora() noexcept
    {
        tlm_model_remove_lora(get());
    }
    /** A folder of PEFT with the adapters, and the reverse. */
    void save_adapter(const std::string &directory) const
    {
        check(tlm_model_save_adapter(get(), directory.c_str()));
    }
    void load_adapter(const std::string &directory)
    {
        check(tlm_model_load_adapter(get(), directory.c_str()));
    }
    void set_dropout_row(std::uint64_t row)
    {
        check(tlm_model_set_dropout_row(get(), row));
    }
    void check_finite() const
    {
        check(tlm_model_check_finite(get()));
    }

    /** Logits (batch, time, vocab_size) of batch * time ids. */
    tensor forward(id_span from, std::int64_t batch, std::int64_t time)
    {
        expect("forward", from, batch, time);
        return tensor(detail::make(tlm_model_forward, get(), from.data(), batch, time));
    }
    /** Mean cross-entropy of batch * time targets. */
    tensor loss(id_span inputs, id_span targets, std::int64_t batch, std::int64_t time)
    {
        expect("loss", inputs, batch, time);
        expect("loss", targets, batch, time);
        return tensor(
            detail::make(tlm_model_loss, get(), inputs.data(), targets.data(), batch, time));
    }
    /** The new tokens after a prompt. */
    ids generate(id_span prompt, const generate_options &options = {})
    {
        return generate(prompt, options, [](std::uint32_t) {});
    }
    /** on_token(id) sees each new token; if it returns true, the generation ends after it. */
    template <typename F> ids generate(id_span prompt, const generate_options &options, F on_token)
    {
        struct context {
            F &on_token;
            detail::guarded guard;
        } now{on_token, {}};
        auto call = [](void *user, std::uint32_t id) -> std::int32_t {
            context *self = static_cast<context *>(user);
            return self->guard.call(self->on_token, id);
        };
        detail::c_generate_options c(options);
        std::uint32_t *made = nullptr;
        std::size_t n = 0;
        tlm_status_t status = tlm_model_generate(&made, &n, get(), prompt.data(), prompt.size(),
                                                 &c.options, call, &now);
        ids owner(made, n);
        now.guard.check(status);
        return owner;
    }
    /** The text after a prompt; options.tokenizer is needed. */
    generated_text generate_text(id_span prompt, const generate_options &options)
    {
        return generate_text(prompt, options, [](std::string_view) {});
    }
    /** on_text(std::string_view) sees each piece of text; if it returns true, the generation ends. */
    template <typename F>
    generated_text generate_text(id_span prompt, const generate_options &options, F on_text)
    {
        struct context {
            F &on_text;
            detail::guarded guard;
        } now{on_text, {}};
        auto call = [](void *user, const char *text, std::size_t size) -> std::int32_t {
            context *self = static_cast<context *>(user);
            return self->guard.call(self->on_text, std::string_view(text, size));
        };
        detail::c_generate_options c(options);
        generated_text result;
        char *made = nullptr;
        std::size_t size = 0;
        tlm_status_t status =
            tlm_model_generate_text(&made, &size, &result.state, get(), prompt.data(),
                                    prompt.size(), &c.options, call, &now);
        array<char> owner(made, size);
        now.guard.check(status);
        result.text.assign(owner.data(), owner.size());
        return result;
    }
    /** Log-probability of each id after the first, in nats. */
    std::vector<float> score(id_span from, std::int64_t stride = 0)
    {
        std::vector<float> log_probs(from.empty() ? 0 : from.size() - 1);
        check(tlm_model_score(nullptr, log_probs.data(), get(), from.data(), from.size(), stride));
        return log_probs;
    }

  private:
    static void expect(const char *function, id_span from, std::int64_t batch, std::int64_t time)
    {
        if (batch > 0 && time > 0 &&
            from.size() / static_cast<std::size_t>(time) == static_cast<std::size_t>(batch) &&
            from.size() % static_cast<std::size_t>(time) == 0)
            return;
        throw error(TLM_ERR_SHAPE, std::string("model::") + function + ": " +
                                       std::to_string(from.size()) + " ids for a batch of (" +
                                       std::to_string(batch) + ", " + std::to_string(time) + ")");
    }
};

/** What a model costs, from its options. */
inline cost model_cost(const model_options &model, const cost_options &options = {})
{
    cost cost;
    check(tlm_model_cost(&cost, &model, &options));
    return cost;
}

/** Sequences that a model continues at once; the model must outlive it. @since 0.2 */
class generator : public detail::handle<tlm_generator_t, tlm_generator_free>
{
  public:
    using handle::handle;
    explicit generator(const model &over) : handle(detail::make(tlm_generator_create, over.get()))
    {
    }
    /** The number of the new sequence. */
    std::size_t add(id_span prompt, const generate_options &options = {})
    {
        detail::c_generate_options c(options);
        return detail::read(tlm_generator_add, get(), prompt.data(), prompt.size(), &c.options);
    }
    /** Continues a sequence that has ended: its first `keep` tokens, then the ids. */
    void extend(std::size_t sequence, id_span from, const generate_options &options = {},
                std::size_t keep = SIZE_MAX)
    {
        detail::c_generate_options c(options);
        check(tlm_generator_extend(get(), sequence, keep, from.data(), from.size(), &c.options));
    }
    /** A sequence in a file, for load. */
    void save(std::size_t sequence, const std::string &path) const
    {
        check(tlm_generator_save(get(), sequence, path.c_str()));
    }
    /** The number of the sequence of a file. */
    std::size_t load(const std::string &path, const generate_options &options = {})
    {
        detail::c_generate_options c(options);
        return detail::read(tlm_generator_load, get(), path.c_str(), &c.options);
    }
    /** Gives each sequence one more token; returns how many still run. */
    std::size_t step()
    {
        return detail::read(tlm_generator_step, get());
    }
    /** The new tokens; borrowed until the generator changes. */
    id_span tokens(std::size_t sequence) const
    {
        return look(sequence).first;
    }
    /** Their log-probabilities; borrowed until the generator changes. */
    span<const float> log_probs(std::size_t sequence) const
    {
        return look(sequence).second;
    }
    /** Their text, as far as it is certain; borrowed until the generator changes. */
    std::string_view text(std::size_t sequence) const
    {
        const char *found;
        std::size_t size;
        check(tlm_generator_text(&found, &size, get(), sequence));
        return {found, size};
    }
    /** The tokens of the prompt and the new ones; borrowed until the generator changes. */
    id_span context(std::size_t sequence) const
    {
        const std::uint32_t *found;
        std::size_t n;
        check(tlm_generator_context(&found, &n, get(), sequence));
        return {found, n};
    }
    /** The likeliest ids in the place of a new token, and their log-probabilities. */
    std::pair<id_span, span<const float>> top_log_probs(std::size_t sequence,
                                                        std::size_t position) const
    {
        const std::uint32_t *found;
        const float *log_probs;
        std::size_t n;
        check(tlm_generator_top_log_probs(&found, &log_probs, &n, get(), sequence, position));
        return {{found, n}, {log_probs, n}};
    }
    /** TLM_GENERATION_... */
    std::int32_t state(std::size_t sequence) const
    {
        return detail::read(tlm_generator_state, static_cast<const tlm_generator_t *>(get()),
                            sequence);
    }
    void stop(std::size_t sequence)
    {
        check(tlm_generator_stop(get(), sequence));
    }

  private:
    std::pair<id_span, span<const float>> look(std::size_t sequence) const
    {
        const std::uint32_t *found;
        const float *log_probs;
        std::size_t n;
        check(tlm_generator_tokens(&found, &log_probs, &n, get(), sequence));
        return {{found, n}, {log_probs, n}};
    }
};

/** A folder that Hugging Face's transformers loads; the tokenizer may be empty. */
inline void save_hf(const model &of, const tokenizer &with, const std::string &directory,
                    const model_file_options &options = {})
{
    check(tlm_model_save_hf(of.get(), with.get(), directory.c_str(), &options));
}

/** A GGUF file; the tokenizer may be empty. */
inline void save_gguf(const model &of, const tokenizer &with, const std::string &path,
                      const model_file_options &options = {})
{
    check(tlm_model_save_gguf(of.get(), with.get(), path.c_str(), &options));
}

/** Bytes of the weights in the file that save_gguf writes. */
inline std::uint64_t gguf_bytes(const model &of, const model_file_options &options = {})
{
    std::uint64_t bytes;
    check(tlm_model_gguf_bytes(&bytes, of.get(), &options));
    return bytes;
}

/** What a file or a folder holds; the tokenizer is empty if there is none in it. */
struct opened_model {
    tinylm::model model;
    tinylm::tokenizer tokenizer;
    model_file_options options;
};

/** A checkpoint or a directory of them, a folder of Hugging Face's transformers, or a GGUF file;
 *  for_inference: tlm_model_open_for_inference; without with_tokenizer, none is read. */
inline opened_model open_model(const std::string &path, bool for_inference = false,
                               bool with_tokenizer = true)
{
    tlm_model_t *made = nullptr;
    tlm_tokenizer_t *with = nullptr;
    model_file_options options;
    check((for_inference ? tlm_model_open_for_inference : tlm_model_open)(
        &made, with_tokenizer ? &with : nullptr, &options, path.c_str()));
    return {model(made), tokenizer(with), options};
}

} // namespace tinylm

#endif
