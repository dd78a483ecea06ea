/* Token files, batches and checkpoints. */
#ifndef TINYLM_CPP_DATA_HPP
#define TINYLM_CPP_DATA_HPP

#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "../data.h"
#include "chat.hpp"
#include "optimizer.hpp"

namespace tinylm
{

/** Rows of ids, and the ids that follow each: (batch, context), row-major. */
struct token_batch {
    std::vector<std::uint32_t> inputs, targets;
};

/** How conversations become ids; initialized to the defaults. */
struct chat_data_options : tlm_chat_data_options_t {
    chat_data_options() noexcept : tlm_chat_data_options_t(TLM_CHAT_DATA_OPTIONS_INIT)
    {
    }
};

/** Token ids, mapped or in memory. It never changes, so threads may share it. A range, which is read
 *  in pieces: for (std::uint32_t id : dataset). @since 0.2 */
class dataset : public detail::handle<tlm_dataset_t, tlm_dataset_free>
{
  public:
    using handle::handle;
    static dataset open(const std::string &path, std::int32_t token_type = TLM_TOKENS_AUTO,
                        std::uint32_t vocab_size = 0)
    {
        return dataset(detail::make(tlm_dataset_open, path.c_str(), token_type, vocab_size));
    }
    /** Several token files, one after another. */
    static dataset open(const std::vector<std::string> &paths,
                        std::int32_t token_type = TLM_TOKENS_AUTO, std::uint32_t vocab_size = 0)
    {
        std::vector<const char *> names;
        for (const std::string &path : paths)
            names.push_back(path.c_str());
        return dataset(detail::make(tlm_dataset_open_files, names.data(), names.size(), token_type,
                                    vocab_size));
    }
    /** A text file, encoded into memory. */
    static dataset open_text(const std::string &path, const tokenizer &tokenizer)
    {
        return dataset(detail::make(tlm_dataset_open_text, path.c_str(),
                                    static_cast<const tlm_tokenizer_t *>(tokenizer.get())));
    }
    /** Rows of row_length ids, of which those that count (1, not 0) are targets; none given: all. */
    static dataset from_rows(id_span row_ids, span<const std::uint8_t> counted,
                             std::size_t row_length)
    {
        if (counted.size() != 0 && counted.size() != row_ids.size())
            throw error(TLM_ERR_SHAPE, "dataset::from_rows: " + std::to_string(counted.size()) +
                                           " flags for " + std::to_string(row_ids.size()) + " ids");
        return dataset(detail::make(tlm_dataset_from_rows, row_ids.data(),
                                    counted.size() == 0 ? nullptr : counted.data(), row_ids.size(),
                                    row_length));
    }
    /** Conversations of JSON lines in rows; *found, unless NULL, tells what was read. */
    static dataset open_chat(const std::string &path, const tokenizer &tokenizer,
                             const chat_template &chat_template, const chat_data_options &options,
                             tlm_chat_data_t *found = nullptr)
    {
        tlm_dataset_t *made;
        check(tlm_dataset_open_chat(&made, found, path.c_str(), tokenizer.get(),
                                    chat_template.get(), &options));
        return dataset(made);
    }
    /** A copy of the ids. */
    static dataset from(id_span from)
    {
        return dataset(detail::make(tlm_dataset_from_ids, from.data(), from.size()));
    }
    /** Ids in the caller's memory, which must outlive the data set. */
    template <typename C> static dataset wrap(const C &from)
    {
        using T = std::remove_const_t<detail::element<const C>>;
        static_assert(std::is_same_v<T, std::uint16_t> || std::is_same_v<T, std::uint32_t>,
                      "ids are uint16_t or uint32_t");
        return dataset(detail::make(tlm_dataset_wrap, static_cast<const void *>(from.data()),
                                    from.size(), static_cast<std::int32_t>(sizeof(T))));
    }
    std::uint64_t length() const noexcept
    {
        return tlm_dataset_length(get());
    }
    void read(span<std::uint32_t> to, std::uint64_t offset) const
    {
        check(tlm_dataset_read(to.data(), to.size(), get(), offset));
    }

    /** Reads the ids in order; the data set must outlive it. */
    class iterator
    {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = std::uint32_t;
        using difference_type = std::ptrdiff_t;
        using pointer = const std::uint32_t *;
        using reference = const std::uint32_t &;

        iterator() noexcept = default;
        iterator(const tlm_dataset_t *from, std::uint64_t at) : from_(from), at_(at)
        {
        }
        reference operator*() const
        {
            if (at_ < first_ || at_ - first_ >= piece_.size())
                fill();
            return piece_[static_cast<std::size_t>(at_ - first_)];
        }
        iterator &operator++() noexcept
        {
            ++at_;
            return *this;
        }
        iterator operator++(int)
        {
            iterator before = *this;
            ++at_;
            return before;
        }
        bool operator==(const iterator &other) const noexcept
        {
            return at_ == other.at_;
        }
        bool operator!=(const iterator &other) const noexcept
        {
            return at_ != other.at_;
        }

      private:
        void fill() const
        {
            std::uint64_t left = tlm_dataset_length(from_) - at_;
            piece_.resize(left < 1024 ? static_cast<std::size_t>(left) : 1024);
            check(tlm_dataset_read(piece_.data(), piece_.size(), from_, at_));
            first_ = at_;
        }
        const tlm_dataset_t *from_ = nullptr;
        std::uint64_t at_ = 0;
        mutable std::uint64_t first_ = 0; /* of the piece that was read */
        mutable std::vector<std::uint32_t> piece_;
    };
    iterator begin() const
    {
        return {get(), 0};
    }
    iterator end() const
    {
        return {get(), length()};
    }
    /** Batch `step` of a seeded run, into vectors that keep their memory from step to step. */
    void sample(token_batch &to, std::int64_t batch, std::int64_t context, std::uint64_t seed,
                std::uint64_t step) const
    {
        std::size_t n = batch > 0 && context > 0
                            ? static_cast<std::size_t>(batch) * static_cast<std::size_t>(context)
                            : 1;
        to.inputs.resize(n);
        to.targets.resize(n);
        check(tlm_dataset_sample(to.inputs.data(), to.targets.data(), get(), batch, context, seed,
                                 step));
    }
};

struct loader_options : tlm_loader_options_t {
    loader_options() noexcept : tlm_loader_options_t(TLM_LOADER_OPTIONS_INIT)
    {
    }
};

/** A batch of a loader, borrowed until its next call. */
struct token_batch_view {
    id_span inputs, targets;
};

/** Makes the batches of a run; the data set must outlive it. @since 0.2 */
class loader : public detail::handle<tlm_loader_t, tlm_loader_free>
{
  public:
    using handle::handle;
    loader(const dataset &from, const loader_options &options)
        : handle(detail::make(tlm_loader_create, static_cast<const tlm_dataset_t *>(from.get()),
                              static_cast<const tlm_loader_options_t *>(&options))),
          size_(static_cast<std::size_t>(options.batch_size * options.context_length))
    {
    }
    token_batch_view next()
    {
        const std::uint32_t *inputs, *targets;
        check(tlm_loader_next(&inputs, &targets, get()));
        return {{inputs, size_}, {targets, size_}};
    }
    void seek(std::uint64_t batch)
    {
        check(tlm_loader_seek(get(), batch));
    }
    std::uint64_t position() const noexcept
    {
        return tlm_loader_position(get());
    }
    std::uint64_t windows_per_epoch() const noexcept
    {
        return tlm_loader_windows_per_epoch(get());
    }
    std::uint64_t batches_per_epoch() const noexcept
    {
        return tlm_loader_batches_per_epoch(get());
    }

  private:
    std::size_t size_ = 0; /* ids of a batch */
};

/** Writes a token file. @since 0.2 */
class token_writer : public detail::handle<tlm_token_writer_t, tlm_token_writer_free>
{
  public:
    using handle::handle;
    explicit token_writer(const std::string &path, std::int32_t token_type = TLM_TOKENS_AUTO)
        : handle(detail::make(tlm_token_writer_create, path.c_str(), token_type))
    {
    }
    void push(id_span from)
    {
        check(tlm_token_writer_push(get(), from.data(), from.size()));
    }
    void finish()
    {
        check(tlm_token_writer_finish(get()));
    }
};

/** How text files become a token file. */
struct encode_files_options {
    std::int32_t token_type = TLM_TOKENS_AUTO;
    tlm_communicator_t *communicator = nullptr;      /* whose ranks share the work */
    callback<std::uint64_t, std::uint64_t> progress; /* done, total: bytes of the texts */
};

/** Encodes text files to one token file, on all ranks of a communicator; returns the number of ids. */
inline std::uint64_t encode_files(const tokenizer &by, span<const std::string> text_paths,
                                  const std::string &tokens_path,
                                  const encode_files_options &options = {})
{
    struct context {
        const callback<std::uint64_t, std::uint64_t> &progress;
        detail::guarded guard;
    } now{options.progress, {}};
    tlm_encode_files_options_t c = TLM_ENCODE_FILES_OPTIONS_INIT;
    c.token_type = options.token_type;
    c.communicator = options.communicator;
    c.user = &now;
    if (options.progress)
        c.progress = [](void *user, std::uint64_t done, std::uint64_t total) -> std::int32_t {
            context *self = static_cast<context *>(user);
            return self->guard.call(self->progress, done, total);
        };
    std::vector<const char *> paths;
    for (const std::string &path : text_paths)
        paths.push_back(path.c_str());
    std::uint64_t n = 0;
    now.guard.check(tlm_tokenizer_encode_files(&n, by.get(), paths.data(), paths.size(),
                                               tokens_path.c_str(), &c));
    return n;
}

/** Encodes a text file to a token file; returns the number of ids. */
inline std::uint64_t encode_file(const tokenizer &by, const std::string &text_path,
                                 const std::string &tokens_path,
                                 std::int32_t token_type = TLM_TOKENS_AUTO)
{
    std::uint64_t n = 0;
    check(tlm_tokenizer_encode_file(&n, by.get(), text_path.c_str(), tokens_path.c_str(),
                                    token_type, nullptr, nullptr));
    return n;
}

namespace detail
{

/* The string that call(&text) makes. */
template <typename F> std::string take(F call)
{
    char *text = nullptr;
    check(call(&text));
    std::unique_ptr<char, void (*)(char *)> owner(text, [](char *p) { tlm_free(p); });
    return text;
}

} // namespace detail

inline void save_checkpoint(const model &of, std::uint64_t iteration, const std::string &path)
{
    check(tlm_checkpoint_save(of.get(), nullptr, iteration, path.c_str()));
}
inline void save_checkpoint(const model &of, const optimizer &with, std::uint64_t iteration,
                            const std::string &path)
{
    check(tlm_checkpoint_save(of.get(), with.get(), iteration, path.c_str()));
}
/** Returns the iteration. */
inline std::uint64_t load_checkpoint(const model &to, const std::string &path)
{
    return detail::read(tlm_checkpoint_load, to.get(), static_cast<tlm_optimizer_t *>(nullptr),
                        path.c_str());
}
inline std::uint64_t load_checkpoint(const model &to, const optimizer &with,
                                     const std::string &path)
{
    return detail::read(tlm_checkpoint_load, to.get(), with.get(), path.c_str());
}

/* ---- Directories of checkpoints ---------------------------------------------------------- */

/** What is saved with a model. */
struct checkpoint_options {
    std::string metadata; /* a JSON object; empty: none */
    std::optional<double> validation_loss;
    const tlm_tokenizer_t *tokenizer = nullptr; /* stored in the file */
};

namespace detail
{

inline tlm_checkpoint_options_t of(const checkpoint_options &options)
{
    tlm_checkpoint_options_t c = TLM_CHECKPOINT_OPTIONS_INIT;
    c.metadata = options.metadata.empty() ? nullptr : options.metadata.c_str();
    c.has_validation_loss = options.validation_loss.has_value();
    c.validation_loss = options.validation_loss.value_or(0.0);
    c.tokenizer = options.tokenizer;
    return c;
}

} // namespace detail

inline void save_checkpoint(const model &of, std::uint64_t iteration, const std::string &path,
                            const checkpoint_options &options)
{
    const tlm_checkpoint_options_t c = detail::of(options);
    check(tlm_checkpoint_save_with(of.get(), nullptr, iteration, path.c_str(), &c));
}
inline void save_checkpoint(const model &of, const optimizer &with, std::uint64_t iteration,
                            const std::string &path, const checkpoint_options &options)
{
    const tlm_checkpoint_options_t c = detail::of(options);
    check(tlm_checkpoint_save_with(of.get(), with.get(), iteration, path.c_str(), &c));
}

/** Saves to a directory, where the keep_last latest and the best stay; 0 keeps all. */
inline void save_checkpoint_in(const model &of, const optimizer &with, std::uint64_t iteration,
                               const std::string &directory, std::int32_t keep_last = 0,
                               const checkpoint_options &options = {})
{
    const tlm_checkpoint_options_t c = detail::of(options);
    check(
        tlm_checkpoint_dir_save(of.get(), with.get(), iteration, directory.c_str(), keep_last, &c));
}
/** The path of the latest checkpoint of a directory that is whole. */
inline std::string latest_checkpoint(const std::string &directory)
{
    return detail::take(
        [&](char **path) { return tlm_checkpoint_dir_latest(path, nullptr, directory.c_str()); });
}
/** The path of the checkpoint with the lowest validation loss. */
inline std::string best_checkpoint(const std::string &directory)
{
    return detail::take(
        [&](char **path) { return tlm_checkpoint_dir_best(path, nullptr, directory.c_str()); });
}
/** The tokenizer that a checkpoint was saved with; empty if there is none. */
inline tokenizer checkpoint_tokenizer(const std::string &path)
{
    return tokenizer(detail::make(tlm_checkpoint_tokenizer, path.c_str()));
}
/** The metadata that a checkpoint was saved with, or "{}". */
inline std::string checkpoint_metadata(const std::string &path)
{
    return detail::take(
        [&](char **metadata) { return tlm_checkpoint_metadata(metadata, nullptr, path.c_str()); });
}

} // namespace tinylm

#endif
