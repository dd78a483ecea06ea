/* Well-known chat templates by name. They are Jinja like those of files, so that there is one way
 * to evaluate both. Newlines in strings are written as \n of Jinja. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/chat/chat.h"

#define CHATML_TURNS                                                                               \
    "{% for message in messages %}"                                                                \
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"              \
    "{% endfor %}"                                                                                 \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

#define DEFAULT_SYSTEM(text)                                                                       \
    "{% if messages and messages[0].role != 'system' %}"                                           \
    "{{ '<|im_start|>system\\n" text "<|im_end|>\\n' }}{% endif %}"

/* Qwen 3: what the model thought is left out of the turns before the last question. */
#define QWEN3                                                                                      \
    "{% set found = namespace(last = messages | length - 1) %}"                                    \
    "{% for message in messages %}"                                                                \
    "{% if message.role == 'user' and not (message.content.startswith('<tool_response>') and "     \
    "message.content.endswith('</tool_response>')) %}"                                             \
    "{% set found.last = loop.index0 %}{% endif %}{% endfor %}"                                    \
    "{% for message in messages %}"                                                                \
    "{% set thought = '' %}{% set content = message.content %}"                                    \
    "{% if message.role == 'assistant' and '</think>' in content %}"                               \
    "{% set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1]"             \
    ".lstrip('\\n') %}"                                                                            \
    "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"                   \
    "{{ '<|im_start|>' + message.role + '\\n' }}"                                                  \
    "{% if message.role == 'assistant' and loop.index0 > found.last and (loop.last or thought) %}" \
    "{{ '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}"      \
    "{% else %}{{ content }}{% endif %}"                                                           \
    "{{ '<|im_end|>\\n' }}{% endfor %}"                                                            \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"                               \
    "{% if enable_thinking is defined and enable_thinking is false %}"                             \
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"

/* Takes a system message off the list, as `system`, and leaves the others in `turns`. */
#define TAKE_SYSTEM                                                                                \
    "{% if messages and messages[0].role == 'system' %}"                                           \
    "{% set system = messages[0].content %}{% set turns = messages[1:] %}"                         \
    "{% else %}{% set system = none %}{% set turns = messages %}{% endif %}"

#define ALTERNATE                                                                                  \
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) or message.role not in "             \
    "['user', 'assistant'] %}{{ raise_exception('Conversation roles must alternate "               \
    "user/assistant/user/assistant/...') }}{% endif %}"

#define LLAMA2                                                                                     \
    TAKE_SYSTEM "{% for message in turns %}" ALTERNATE                                             \
                "{% if message.role == 'user' %}{% set content = message.content %}"               \
                "{% if loop.first and system is not none %}"                                       \
                "{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + content %}"        \
                "{% endif %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"            \
                "{% else %}{{ ' ' + message.content.strip() + ' ' + eos_token }}{% endif %}"       \
                "{% endfor %}"

#define LLAMA3_TURNS(turns)                                                                        \
    "{% for message in " turns " %}"                                                               \
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + "                       \
    "message.content.strip() + '<|eot_id|>' }}{% endfor %}"                                        \
    "{% if add_generation_prompt %}"                                                               \
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"

#define LLAMA3_DATED(date)                                                                         \
    TAKE_SYSTEM "{% if not date_string is defined %}{% set date_string = " date " %}{% endif %}"   \
                "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"             \
                "{{ 'Cutting Knowledge Date: December 2023\\nToday Date: ' + date_string + "       \
                "'\\n\\n' }}{% if system is not none %}{{ system.strip() }}{% endif %}"            \
                "{{ '<|eot_id|>' }}" LLAMA3_TURNS("turns")

/* Mistral's turns: what stands before and after a question, and before an answer. A system message is
 * put before the question for which `here` holds: the first one, or the last one. */
#define MISTRAL(before, after, answer, content, here)                                              \
    TAKE_SYSTEM "{{ bos_token }}{% for message in turns %}" ALTERNATE                              \
                "{% if message.role == 'user' %}"                                                  \
                "{{ '" before "' + (system + '\\n\\n' if " here " and system is not none "         \
                "else '') + message.content + '" after "' }}"                                      \
                "{% else %}{{ '" answer "' + message.content" content " + eos_token }}{% endif %}" \
                "{% endfor %}"
#define LAST_QUESTION "loop.index0 >= turns | length - 2"

#define MISTRAL7(space)                                                                            \
    "{{ bos_token }}{% for message in messages %}"                                                 \
    "{% if message.role == 'system' %}"                                                            \
    "{{ '[SYSTEM_PROMPT]" space "' + message.content + '[/SYSTEM_PROMPT]' }}"                      \
    "{% elif message.role == 'user' %}"                                                            \
    "{{ '[INST]" space "' + message.content + '[/INST]' }}"                                        \
    "{% elif message.role == 'assistant' %}{{ '" space "' + message.content + eos_token }}"        \
    "{% else %}{{ raise_exception('Only system, user and assistant roles are supported') }}"       \
    "{% endif %}{% endfor %}"

#define GEMMA_TURNS                                                                                \
    "{{ bos_token }}{% for message in turns %}" ALTERNATE                                          \
    "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' }}"       \
    "{% if loop.first and system is not none %}{{ system + '\\n\\n' }}{% endif %}"                 \
    "{{ message.content.strip() + '<end_of_turn>\\n' }}{% endfor %}"                               \
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"

#define GEMMA                                                                                      \
    "{% if messages and messages[0].role == 'system' %}"                                           \
    "{{ raise_exception('System role not supported') }}{% endif %}"                                \
    "{% set system = none %}{% set turns = messages %}" GEMMA_TURNS

#define PHI3                                                                                       \
    "{% for message in messages %}"                                                                \
    "{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}{% endfor %}"             \
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"

#define ZEPHYR                                                                                     \
    "{% for message in messages %}"                                                                \
    "{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}{% endfor %}"        \
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"

static const struct {
    const char *name, *source, *bos_token, *eos_token;
} known[] = {
    {"chatml", CHATML_TURNS, NULL, "<|im_end|>"},
    {"smollm2",
     DEFAULT_SYSTEM("You are a helpful AI assistant named SmolLM, trained by Hugging Face")
         CHATML_TURNS,
     "<|im_start|>", "<|im_end|>"},
    {"qwen2", DEFAULT_SYSTEM("You are a helpful assistant.") CHATML_TURNS, NULL, "<|im_end|>"},
    {"qwen2.5",
     DEFAULT_SYSTEM("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")
         CHATML_TURNS,
     NULL, "<|im_end|>"},
    {"qwen3", QWEN3, NULL, "<|im_end|>"},
    {"llama2", LLAMA2, "<s>", "</s>"},
    {"llama3", "{{ bos_token }}" LLAMA3_TURNS("messages"), "<|begin_of_text|>", "<|eot_id|>"},
    {"llama3.1", LLAMA3_DATED("'26 Jul 2024'"), "<|begin_of_text|>", "<|eot_id|>"},
    {"llama3.2", LLAMA3_DATED("strftime_now('%d %b %Y')"), "<|begin_of_text|>", "<|eot_id|>"},
    {"mistral-v1", MISTRAL(" [INST] ", " [/INST]", " ", ".strip()", "loop.first"), "<s>", "</s>"},
    {"mistral-v3", MISTRAL("[INST] ", "[/INST]", " ", ".strip()", LAST_QUESTION), "<s>", "</s>"},
    {"mistral-v3-tekken", MISTRAL("[INST]", "[/INST]", "", "", LAST_QUESTION), "<s>", "</s>"},
    {"mistral-v7", MISTRAL7(" "), "<s>", "</s>"},
    {"mistral-v7-tekken", MISTRAL7(""), "<s>", "</s>"},
    {"gemma", GEMMA, "<bos>", "<eos>"},
    {"gemma3", TAKE_SYSTEM GEMMA_TURNS, "<bos>", "<eos>"},
    {"phi3", PHI3, "<s>", "<|endoftext|>"},
    {"zephyr", ZEPHYR, "<s>", "</s>"},
};

#define NUM_KNOWN (sizeof(known) / sizeof(known[0]))

const char *tlm_chat_template_name(size_t index)
{
    return index < NUM_KNOWN ? known[index].name : NULL;
}

static tlm_status_t fail_unknown(const char *name)
{
    char names[256] = "";
    size_t size = 0;

    for (size_t i = 0; i < NUM_KNOWN && size < sizeof(names); i++)
        size += (size_t)snprintf(names + size, sizeof(names) - size, "%s%s", i > 0 ? ", " : "",
                                 known[i].name);
    return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                     "chat_template_create: no template is called '%.40s'; there are %s", name,
                     names);
}

tlm_status_t tlm_chat_template_create(tlm_chat_template_t **out, const char *name)
{
    TLMI_REQUIRE("chat_template_create", out);
    TLMI_REQUIRE("chat_template_create", name);
    for (size_t i = 0; i < NUM_KNOWN; i++)
        if (strcmp(name, known[i].name) == 0)
            return tlm_chat_template_parse(out, known[i].source, strlen(known[i].source),
                                           known[i].bos_token, known[i].eos_token);
    return fail_unknown(name);
}
