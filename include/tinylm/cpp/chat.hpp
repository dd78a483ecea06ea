/* Chat templates. */
#ifndef TINYLM_CPP_CHAT_HPP
#define TINYLM_CPP_CHAT_HPP

#include "../chat.h"
#include "tokenizer.hpp"

namespace tinylm
{

/** One message of a conversation; views its texts. */
struct chat_message {
    const char *role;
    std::string_view content;
};

struct chat_options : tlm_chat_options_t {
    chat_options() noexcept : tlm_chat_options_t(TLM_CHAT_OPTIONS_INIT)
    {
    }
};

/** Ids of a conversation, and 1 in the mask for those of answers. */
struct chat_ids {
    ids values;
    array<std::uint8_t> mask;
};

/** How a model's conversations become text. It never changes, so threads may share it. @since 0.2 */
class chat_template : public detail::handle<tlm_chat_template_t, tlm_chat_template_free>
{
  public:
    using handle::handle;

    static chat_template open(const std::string &path)
    {
        return chat_template(detail::make(tlm_chat_template_open, path.c_str()));
    }
    /** A well-known one, such as "chatml". */
    static chat_template create(const std::string &name)
    {
        return chat_template(detail::make(tlm_chat_template_create, name.c_str()));
    }
    /** From Jinja text. */
    static chat_template parse(std::string_view source, const char *bos_token = nullptr,
                               const char *eos_token = nullptr)
    {
        return chat_template(detail::make(tlm_chat_template_parse, source.data(), source.size(),
                                          bos_token, eos_token));
    }
    /** The Jinja text, borrowed from the template. */
    std::string_view source() const
    {
        const char *text;
        std::size_t size;
        check(tlm_chat_template_source(&text, &size, get()));
        return {text, size};
    }
    std::string render(span<const chat_message> messages, const chat_options &options = {}) const
    {
        std::vector<tlm_chat_message_t> list = to_c(messages);
        char *text;
        std::size_t size;
        check(tlm_chat_template_render(&text, &size, get(), list.data(), list.size(), &options));
        return detail::take_text(text, size);
    }
    chat_ids encode(const tokenizer &with, span<const chat_message> messages,
                    const chat_options &options = {}) const
    {
        std::vector<tlm_chat_message_t> list = to_c(messages);
        std::uint32_t *made;
        std::uint8_t *mask;
        std::size_t n;
        check(tlm_chat_template_encode(&made, &mask, &n, get(), with.get(), list.data(),
                                       list.size(), &options));
        return {ids(made, n), array<std::uint8_t>(mask, n)};
    }
    /** The special token that ends an answer. */
    std::uint32_t end_token(const tokenizer &with) const
    {
        return detail::read(tlm_chat_template_end_token, get(), with.get());
    }

  private:
    static std::vector<tlm_chat_message_t> to_c(span<const chat_message> messages)
    {
        std::vector<tlm_chat_message_t> list;
        for (const chat_message &message : messages)
            list.push_back({message.role, message.content.data(), message.content.size()});
        return list;
    }
};

} // namespace tinylm

#endif
