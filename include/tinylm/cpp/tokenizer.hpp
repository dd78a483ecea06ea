/* The tokenizer, its training and its streams. */
#ifndef TINYLM_CPP_TOKENIZER_HPP
#define TINYLM_CPP_TOKENIZER_HPP

#include <optional>

#include "../bpe_trainer.h"
#include "../encode.h"
#include "../tokenizer_files.h"
#include "communicator.hpp"

namespace tinylm
{

/* ---- Options ----------------------------------------------------------------------------- */

struct tokenizer_options {
    std::vector<std::string> special_tokens;
    std::vector<std::uint32_t> special_token_ids; /* empty: any */
    std::string pattern;                          /* empty: the default */
    bool ignore_merges = false;
    bool nfc = false;
};

struct bpe_trainer_options {
    std::uint32_t vocab_size = 0;
    std::vector<std::string> special_tokens;
    std::string pattern; /* empty: the default */
    std::uint64_t min_frequency = 0;
    std::uint32_t max_token_length = 0;
    std::int32_t byte_order = TLM_BYTE_ORDER_VALUE;
    std::uint64_t max_distinct_pretokens = 0;
    const tlm_tokenizer_t *base = nullptr;                         /* borrowed by the trainer */
    callback<std::int32_t, std::uint64_t, std::uint64_t> progress; /* phase, done, total */
    tlm_communicator_t *communicator = nullptr; /* whose ranks share the texts; borrowed too */
};

struct encode_options {
    std::int32_t allowed_special = TLM_SPECIAL_ALL;
    std::int32_t disallowed_special = TLM_SPECIAL_ALL;
    std::vector<std::string> allowed, disallowed; /* for TLM_SPECIAL_LIST */
    double dropout = 0.0;
    std::uint64_t seed = 0;
    bool add_special_tokens = false; /* around the text, as the tokenizer's file asks */
    bool whole_texts = false;        /* without the truncation and padding of a tokenizer.json */
};

struct decode_options : tlm_decode_options_t {
    decode_options() noexcept : tlm_decode_options_t(TLM_DECODE_OPTIONS_INIT)
    {
    }
};

struct pad_options : tlm_pad_options_t {
    pad_options() noexcept : tlm_pad_options_t(TLM_PAD_OPTIONS_INIT)
    {
    }
};

namespace detail
{

inline tlm_bytes_t bytes(std::string_view text) noexcept
{
    return {reinterpret_cast<const std::uint8_t *>(text.data()), text.size()};
}

inline std::string_view view(tlm_bytes_t bytes) noexcept
{
    return {reinterpret_cast<const char *>(bytes.data), bytes.size};
}

/* Byte strings for an options struct, which views them. */
inline std::vector<tlm_bytes_t> byte_list(const std::vector<std::string> &texts)
{
    std::vector<tlm_bytes_t> list;
    list.reserve(texts.size());
    for (const std::string &text : texts)
        list.push_back(bytes(text));
    return list;
}

inline const char *or_null(const std::string &text) noexcept
{
    return text.empty() ? nullptr : text.c_str();
}

/* C structs of options with pointers, and what the pointers point at. */
struct c_tokenizer_options {
    explicit c_tokenizer_options(const tokenizer_options &from)
        : special(byte_list(from.special_tokens))
    {
        if (!from.special_token_ids.empty() && from.special_token_ids.size() != special.size())
            throw error(TLM_ERR_INVALID_ARGUMENT,
                        "tokenizer_options: " + std::to_string(from.special_token_ids.size()) +
                            " ids for " + std::to_string(special.size()) + " special tokens");
        options.special_tokens = special.data();
        options.num_special_tokens = special.size();
        options.pattern = or_null(from.pattern);
        options.ignore_merges = from.ignore_merges;
        options.nfc = from.nfc;
        if (!from.special_token_ids.empty())
            options.special_token_ids = from.special_token_ids.data();
    }
    std::vector<tlm_bytes_t> special;
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
};

struct c_encode_options {
    explicit c_encode_options(const encode_options &from)
        : allowed(byte_list(from.allowed)), disallowed(byte_list(from.disallowed))
    {
        options.allowed_special = from.allowed_special;
        options.disallowed_special = from.disallowed_special;
        options.allowed = allowed.data();
        options.num_allowed = allowed.size();
        options.disallowed = disallowed.data();
        options.num_disallowed = disallowed.size();
        options.dropout = from.dropout;
        options.seed = from.seed;
        options.add_special_tokens = from.add_special_tokens;
        options.whole_texts = from.whole_texts;
    }
    std::vector<tlm_bytes_t> allowed, disallowed;
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
};

} // namespace detail

/* ---- Tokenizer --------------------------------------------------------------------------- */

/** Rows of one array: row i is operator[](i). */
template <typename T> class rows
{
  public:
    rows() noexcept = default;
    rows(T *values, std::size_t *offsets, std::size_t n) noexcept
        : offsets_(offsets, n + 1), values_(values, offsets_[n])
    {
    }
    std::size_t size() const noexcept
    {
        return offsets_.empty() ? 0 : offsets_.size() - 1;
    }
    span<const T> operator[](std::size_t i) const noexcept
    {
        return {values_.data() + offsets_[i], offsets_[i + 1] - offsets_[i]};
    }
    /** All rows, one after another. */
    const array<T> &values() const noexcept
    {
        return values_;
    }

  private:
    array<std::size_t> offsets_;
    array<T> values_;
};

/** Rows of equal length: ids and mask (lengths.size(), length), row-major. */
struct padded_ids {
    ids values;
    array<std::uint8_t> mask;
    array<std::size_t> lengths;
    std::size_t length = 0;
};

/** Byte-level BPE. It never changes, so threads may share it. @since 0.2 */
class tokenizer : public detail::handle<tlm_tokenizer_t, tlm_tokenizer_free>
{
  public:
    using handle::handle;

    /** vocab[i] is the token with id i; merges in order, two sides each. */
    static tokenizer create(span<const std::string> vocab,
                            span<const std::pair<std::string, std::string>> merges,
                            const tokenizer_options &options = {})
    {
        std::vector<tlm_bytes_t> tokens, sides;
        for (const std::string &token : vocab)
            tokens.push_back(detail::bytes(token));
        for (const auto &[left, right] : merges) {
            sides.push_back(detail::bytes(left));
            sides.push_back(detail::bytes(right));
        }
        detail::c_tokenizer_options c(options);
        return tokenizer(detail::make(tlm_tokenizer_create, tokens.data(), tokens.size(),
                                      sides.data(), merges.size(), &c.options));
    }
    /** Opens what is at the path: tokenizer.json, a rank file, or a directory of files. */
    static tokenizer open(const std::string &path, const tokenizer_options &options = {})
    {
        return from_path(tlm_tokenizer_open, path, options);
    }
    static tokenizer load(const std::string &vocab_path, const std::string &merges_path,
                          const tokenizer_options &options = {})
    {
        detail::c_tokenizer_options c(options);
        return tokenizer(
            detail::make(tlm_tokenizer_load, vocab_path.c_str(), merges_path.c_str(), &c.options));
    }
    static tokenizer load_json(const std::string &path, const tokenizer_options &options = {})
    {
        return from_path(tlm_tokenizer_load_json, path, options);
    }
    static tokenizer load_tiktoken(const std::string &path, const tokenizer_options &options = {})
    {
        return from_path(tlm_tokenizer_load_tiktoken, path, options);
    }
    void save(const std::string &vocab_path, const std::string &merges_path) const
    {
        check(tlm_tokenizer_save(get(), vocab_path.c_str(), merges_path.c_str()));
    }
    void save_json(const std::string &path) const
    {
        check(tlm_tokenizer_save_json(get(), path.c_str()));
    }
    void save_tiktoken(const std::string &path) const
    {
        check(tlm_tokenizer_save_tiktoken(get(), path.c_str()));
    }

    std::uint32_t vocab_size() const noexcept
    {
        return tlm_tokenizer_vocab_size(get());
    }
    std::uint32_t num_merges() const noexcept
    {
        return tlm_tokenizer_num_merges(get());
    }
    /** The bytes of a token, borrowed from the tokenizer. */
    std::string_view token(std::uint32_t id) const
    {
        return detail::view(detail::read(tlm_tokenizer_token, get(), id));
    }
    /** The id of the token with these bytes, if there is one. */
    std::optional<std::uint32_t> find(std::string_view bytes) const
    {
        std::uint32_t id;
        tlm_status_t status = tlm_tokenizer_token_id(&id, get(), bytes.data(), bytes.size());
        if (status == TLM_ERR_NOT_FOUND)
            return std::nullopt;
        check(status);
        return id;
    }
    /** The sides of a merge, as ids. */
    std::pair<std::uint32_t, std::uint32_t> merge(std::uint32_t index) const
    {
        std::pair<std::uint32_t, std::uint32_t> sides;
        check(tlm_tokenizer_merge(&sides.first, &sides.second, get(), index));
        return sides;
    }
    std::vector<std::uint32_t> special_tokens() const
    {
        std::vector<std::uint32_t> found(tlm_tokenizer_num_special_tokens(get()));
        for (std::uint32_t i = 0; i < found.size(); i++)
            check(tlm_tokenizer_special_token(&found[i], get(), i));
        return found;
    }
    /** Ids of the longest tokens, at most `most`. */
    std::vector<std::uint32_t> longest_tokens(std::size_t most) const
    {
        std::vector<std::uint32_t> found(most);
        std::size_t n;
        check(tlm_tokenizer_longest_tokens(found.data(), &n, get(), most));
        found.resize(n);
        return found;
    }

    ids encode(std::string_view text) const
    {
        std::uint32_t *made;
        std::size_t n;
        check(tlm_tokenizer_encode(&made, &n, get(), text.data(), text.size()));
        return ids(made, n);
    }
    ids encode(std::string_view text, const encode_options &options) const
    {
        detail::c_encode_options c(options);
        std::uint32_t *made;
        std::size_t n;
        check(tlm_tokenizer_encode_with(&made, &n, get(), text.data(), text.size(), &c.options));
        return ids(made, n);
    }
    std::uint64_t count(std::string_view text) const
    {
        return detail::read(tlm_tokenizer_count, get(), text.data(), text.size());
    }
    /** Frees the caches that the tokenizer keeps idle between calls. */
    void trim() const
    {
        tlm_tokenizer_trim(get());
    }
    rows<std::uint32_t> encode_batch(span<const std::string_view> texts,
                                     const encode_options &options = {}) const
    {
        std::vector<tlm_bytes_t> list = views(texts);
        detail::c_encode_options c(options);
        std::uint32_t *made;
        std::size_t *offsets;
        check(tlm_tokenizer_encode_batch(&made, &offsets, get(), list.data(), list.size(),
                                         &c.options));
        return {made, offsets, list.size()};
    }
    padded_ids encode_padded(span<const std::string_view> texts, const pad_options &pad = {},
                             const encode_options &options = {}) const
    {
        std::vector<tlm_bytes_t> list = views(texts);
        detail::c_encode_options c(options);
        std::uint32_t *made;
        std::uint8_t *mask;
        std::size_t *lengths, length;
        check(tlm_tokenizer_encode_padded(&made, &mask, &lengths, &length, get(), list.data(),
                                          list.size(), &c.options, &pad));
        return {ids(made, list.size() * length), array<std::uint8_t>(mask, list.size() * length),
                array<std::size_t>(lengths, list.size()), length};
    }
    /** Where ids stand in their text, in bytes: n + 1 offsets. */
    std::vector<std::size_t> offsets(id_span from) const
    {
        std::vector<std::size_t> found(from.size() + 1);
        check(tlm_tokenizer_offsets(found.data(), get(), from.data(), from.size()));
        return found;
    }
    /** The characters [first, second) that each id has a part of. */
    std::vector<std::pair<std::size_t, std::size_t>> character_spans(id_span from) const
    {
        std::vector<std::size_t> found(2 * from.size());
        std::vector<std::pair<std::size_t, std::size_t>> spans;
        check(tlm_tokenizer_character_spans(found.data(), get(), from.data(), from.size()));
        for (std::size_t i = 0; i < found.size(); i += 2)
            spans.emplace_back(found[i], found[i + 1]);
        return spans;
    }

    /** Valid UTF-8: malformed parts become U+FFFD. */
    std::string decode(id_span from) const
    {
        char *text;
        std::size_t size;
        check(tlm_tokenizer_decode_text(&text, &size, get(), from.data(), from.size()));
        return detail::take_text(text, size);
    }
    /** The bytes as they are. */
    array<std::uint8_t> decode_bytes(id_span from) const
    {
        std::uint8_t *bytes;
        std::size_t size;
        check(tlm_tokenizer_decode(&bytes, &size, get(), from.data(), from.size()));
        return {bytes, size};
    }
    /** With options: bytes, or valid UTF-8 if as_text is set. */
    array<std::uint8_t> decode_bytes(id_span from, const decode_options &options) const
    {
        std::uint8_t *bytes;
        std::size_t size;
        check(tlm_tokenizer_decode_with(&bytes, &size, get(), from.data(), from.size(), &options));
        return {bytes, size};
    }
    /** Text, without special tokens if asked. */
    std::string decode(id_span from, bool skip_special_tokens) const
    {
        decode_options options;
        options.skip_special_tokens = skip_special_tokens;
        options.as_text = true;
        array<std::uint8_t> bytes = decode_bytes(from, options);
        return std::string(bytes.begin(), bytes.end());
    }
    rows<std::uint8_t> decode_batch(span<const id_span> from,
                                    const decode_options &options = {}) const
    {
        std::vector<tlm_ids_t> list;
        std::uint8_t *bytes;
        std::size_t *offsets;
        for (id_span row : from)
            list.push_back({row.data(), row.size()});
        check(tlm_tokenizer_decode_batch(&bytes, &offsets, get(), list.data(), list.size(),
                                         &options));
        return {bytes, offsets, list.size()};
    }

  private:
    static tokenizer from_path(tlm_status_t (*function)(tlm_tokenizer_t **, const char *,
                                                        const tlm_tokenizer_options_t *),
                               const std::string &path, const tokenizer_options &options)
    {
        detail::c_tokenizer_options c(options);
        return tokenizer(detail::make(function, path.c_str(), &c.options));
    }
    static std::vector<tlm_bytes_t> views(span<const std::string_view> texts)
    {
        std::vector<tlm_bytes_t> list;
        for (std::string_view text : texts)
            list.push_back(detail::bytes(text));
        return list;
    }
};

/** Trains a vocabulary. @since 0.2 */
class bpe_trainer
{
  public:
    explicit bpe_trainer(const bpe_trainer_options &from) : state_(new state{from.progress, {}})
    {
        std::vector<tlm_bytes_t> special = detail::byte_list(from.special_tokens);
        tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
        options.vocab_size = from.vocab_size;
        options.special_tokens = special.data();
        options.num_special_tokens = special.size();
        options.pattern = detail::or_null(from.pattern);
        options.min_frequency = from.min_frequency;
        options.max_token_length = from.max_token_length;
        options.byte_order = from.byte_order;
        options.max_distinct_pretokens = from.max_distinct_pretokens;
        options.base = from.base;
        options.communicator = from.communicator;
        if (from.progress) {
            options.progress = on_progress;
            options.progress_user = state_.get();
        }
        handle_ = owner(detail::make(tlm_bpe_trainer_create, &options));
    }
    tlm_bpe_trainer_t *get() const noexcept
    {
        return handle_.get();
    }
    void add_text(std::string_view text)
    {
        state_->guard.check(tlm_bpe_trainer_add_text(get(), text.data(), text.size()));
    }
    void add_file(const std::string &path)
    {
        state_->guard.check(tlm_bpe_trainer_add_file(get(), path.c_str()));
    }
    /** A piece of one long text, cut anywhere. */
    void push(std::string_view chunk)
    {
        state_->guard.check(tlm_bpe_trainer_push(get(), chunk.data(), chunk.size()));
    }
    void end_text()
    {
        state_->guard.check(tlm_bpe_trainer_end_text(get()));
    }
    tokenizer train()
    {
        tlm_tokenizer_t *made = nullptr;
        state_->guard.check(tlm_bpe_trainer_train(&made, get()));
        return tokenizer(made);
    }
    /** Bytes of text counted, and distinct pretokens. */
    std::pair<std::uint64_t, std::uint64_t> stats() const
    {
        std::pair<std::uint64_t, std::uint64_t> found;
        check(tlm_bpe_trainer_stats(&found.first, &found.second, get()));
        return found;
    }
    /** Pretokens dropped for max_distinct_pretokens, and their occurrences. */
    std::pair<std::uint64_t, std::uint64_t> dropped() const
    {
        std::pair<std::uint64_t, std::uint64_t> found;
        check(tlm_bpe_trainer_dropped(&found.first, &found.second, get()));
        return found;
    }

  private:
    using owner = detail::handle<tlm_bpe_trainer_t, tlm_bpe_trainer_free>;
    struct state { /* at an address that stays, for the callback */
        callback<std::int32_t, std::uint64_t, std::uint64_t> progress;
        detail::guarded guard;
    };
    static std::int32_t on_progress(void *user, std::int32_t phase, std::uint64_t done,
                                    std::uint64_t total)
    {
        state *self = static_cast<state *>(user);
        return self->guard.call(self->progress, phase, done, total);
    }
    std::unique_ptr<state> state_;
    owner handle_;
};

/** Encodes a stream cut anywhere; the tokenizer must outlive it. @since 0.2 */
class encoder
{
  public:
    /** on_ids(id_span) gets the ids, borrowed. */
    encoder(const tokenizer &from, callback<id_span> on_ids)
        : state_(new state{std::move(on_ids), {}})
    {
        handle_ = owner(detail::make(tlm_encoder_create, from.get(), on_chunk,
                                     static_cast<void *>(state_.get())));
    }
    tlm_encoder_t *get() const noexcept
    {
        return handle_.get();
    }
    void push(std::string_view chunk)
    {
        state_->guard.check(tlm_encoder_push(get(), chunk.data(), chunk.size()));
    }
    void finish()
    {
        state_->guard.check(tlm_encoder_finish(get()));
    }

  private:
    using owner = detail::handle<tlm_encoder_t, tlm_encoder_free>;
    struct state {
        callback<id_span> on_ids;
        detail::guarded guard;
    };
    static std::int32_t on_chunk(void *user, const std::uint32_t *from, std::size_t n)
    {
        state *self = static_cast<state *>(user);
        return self->guard.call(self->on_ids, id_span(from, n));
    }
    std::unique_ptr<state> state_;
    owner handle_;
};

/** Decodes ids one at a time to whole characters; the tokenizer must outlive it. @since 0.2 */
class decoder : public detail::handle<tlm_decoder_t, tlm_decoder_free>
{
  public:
    using handle::handle;
    explicit decoder(const tokenizer &from) : handle(detail::make(tlm_decoder_create, from.get()))
    {
    }
    decoder(const tokenizer &from, const decode_options &options)
        : handle(detail::make(tlm_decoder_create_with, from.get(), &options))
    {
    }
    /** The characters that are complete; borrowed until the next call. */
    std::string_view push(std::uint32_t id)
    {
        const char *text;
        std::size_t size;
        check(tlm_decoder_push(&text, &size, get(), id));
        return {text, size};
    }
    std::string_view finish()
    {
        const char *text;
        std::size_t size;
        check(tlm_decoder_finish(&text, &size, get()));
        return {text, size};
    }
};

/** A pre-tokenization pattern by its name, such as "qwen3.5"; throws if there is none. */
inline std::string pattern(const std::string &name)
{
    const char *found = tlm_pattern_by_name(name.c_str());
    if (found == nullptr)
        throw error(TLM_ERR_NOT_FOUND, "pattern: no pattern is called \"" + name + "\"");
    return found;
}

/* ---- UTF-8 ------------------------------------------------------------------------------- */

/** Valid UTF-8: malformed parts become U+FFFD. */
inline std::string utf8_sanitize(std::string_view bytes)
{
    char *text;
    std::size_t size;
    check(tlm_utf8_sanitize(&text, &size, bytes.data(), bytes.size()));
    return detail::take_text(text, size);
}

/** Unicode's Normalization Form C. */
inline std::string utf8_nfc(std::string_view bytes)
{
    char *text;
    std::size_t size;
    check(tlm_utf8_nfc(&text, &size, bytes.data(), bytes.size()));
    return detail::take_text(text, size);
}

} // namespace tinylm

#endif
