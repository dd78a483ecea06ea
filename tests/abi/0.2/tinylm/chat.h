/* Chat templates: how a model's file turns a conversation into one text. The template, which is
 * Jinja, is read from the file and evaluated, so any role names, spacing and default system message
 * are the model's own. docs/chat.md lists what of Jinja is understood; anything else is refused by
 * name. */
#ifndef TINYLM_CHAT_H
#define TINYLM_CHAT_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A chat template. Immutable: share it freely between threads. @since 0.2 */
typedef struct tlm_chat_template tlm_chat_template_t;

/** One message of a conversation. @since 0.2 */
typedef struct tlm_chat_message {
    /** "system", "user", "assistant" or another role of the template: letters, digits, '_' and
     *  '-'; ends with a NUL. */
    const char *role;
    /** The text, of `size` bytes. May be NULL if size is 0. */
    const char *content;
    /** Bytes in content. */
    size_t size;
} tlm_chat_message_t;

/** How a conversation becomes text. @since 0.2 */
typedef struct tlm_chat_options {
    /** sizeof(tlm_chat_options_t). */
    size_t size;
    /** Ends the text with what comes before the next answer. */
    bool add_generation_prompt;
    uint8_t reserved[7];
    /** A JSON object with further variables of the template, such as {"enable_thinking": false} or
     *  {"date_string": "26 Jul 2024"}; NULL: none. transformers takes them as keyword arguments. */
    const char *variables;
    /** Seconds since 1970 for templates that write the date, in the local time zone; 0: now. */
    int64_t now;
} tlm_chat_options_t;

#define TLM_CHAT_OPTIONS_INIT TLM_SIZED(tlm_chat_options_t)

/** Reads the template of a model or tokenizer: of a folder, from chat_template.jinja,
 *  chat_template.json or tokenizer_config.json; of a GGUF file, its tokenizer.chat_template; or of
 *  one such JSON or Jinja file. Of several named templates, the one called "default". Owned by the
 *  caller. TLM_ERR_NOT_FOUND if there is none; TLM_ERR_UNSUPPORTED, with the line and the first
 *  words of the template, for a part of Jinja that is not understood; TLM_ERR_FORMAT for what is
 *  not Jinja or not such a file; TLM_ERR_IO. @since 0.2 */
TLM_API tlm_status_t tlm_chat_template_open(tlm_chat_template_t **out, const char *path);

/** Makes a well-known template by its name: see tlm_chat_template_name. Owned by the caller.
 *  TLM_ERR_INVALID_ARGUMENT, listing the names, for another one. @since 0.2 */
TLM_API tlm_status_t tlm_chat_template_create(tlm_chat_template_t **out, const char *name);

/** Makes a template from `size` bytes of Jinja, which are copied, and the texts of the variables
 *  bos_token and eos_token (NULL: not defined). See tlm_chat_template_open for ownership and
 *  errors. @since 0.2 */
TLM_API tlm_status_t tlm_chat_template_parse(tlm_chat_template_t **out, const char *source,
                                             size_t size, const char *bos_token,
                                             const char *eos_token);

/** Frees the template. NULL is fine. @since 0.2 */
TLM_API void tlm_chat_template_free(tlm_chat_template_t *chat_template);

/** Returns name `index` (0, 1, ...) of a well-known template, such as "chatml" or "llama3"; NULL
 *  after the last one. Static. @since 0.2 */
TLM_API const char *tlm_chat_template_name(size_t index);

/** The Jinja text of the template, borrowed until it is freed; a NUL follows its *size bytes.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_chat_template_source(const char **source, size_t *size,
                                              const tlm_chat_template_t *chat_template);

/** Turns a conversation into text, as transformers' apply_chat_template does. *text is owned by the
 *  caller (tlm_free); a NUL follows its *size bytes. Options may be NULL.
 *  TLM_ERR_INVALID_ARGUMENT, naming message and role, for what the template refuses (such as a
 *  system message, or two user messages in a row), for a role with other characters, and for
 *  variables that are not a JSON object; TLM_ERR_FORMAT or TLM_ERR_UNSUPPORTED, with the line, if
 *  the template cannot be evaluated. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_chat_template_render(char **text, size_t *size,
                                              const tlm_chat_template_t *chat_template,
                                              const tlm_chat_message_t *messages,
                                              size_t num_messages,
                                              const tlm_chat_options_t *options);

/** Turns a conversation into ids: those of the whole text, where special tokens are found only in
 *  what the template itself writes. One that stands in a message is plain text. *mask (may be NULL)
 *  has 1 for each id of an assistant's answer, from what follows the generation prompt to the token
 *  that ends the turn, or those of {% generation %} blocks if the template has them; else 0. Both
 *  arrays are owned by the caller (tlm_free), and NULL if *n is 0. See tlm_chat_template_render and
 *  tlm_tokenizer_encode for errors. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_chat_template_encode(uint32_t **ids, uint8_t **mask, size_t *n,
                                              const tlm_chat_template_t *chat_template,
                                              const tlm_tokenizer_t *tokenizer,
                                              const tlm_chat_message_t *messages,
                                              size_t num_messages,
                                              const tlm_chat_options_t *options);

/** The special token with which the template ends an assistant's answer. TLM_ERR_NOT_FOUND if it
 *  writes none that the tokenizer has. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_chat_template_end_token(uint32_t *id,
                                                 const tlm_chat_template_t *chat_template,
                                                 const tlm_tokenizer_t *tokenizer);

#ifdef __cplusplus
}
#endif
#endif
