-- Continues a prompt, from LuaJIT: luajit continue_text.lua MODEL PROMPT
local ffi = require("ffi")
ffi.cdef [[
typedef struct { size_t size; int64_t max_tokens; double temperature; } generate_options; // a beginning is enough
const char *tlm_error_message(void);
void tlm_free(void *memory);
void tlm_model_free(void *model);
void tlm_tokenizer_free(void *tokenizer);
int32_t tlm_model_open(void **model, void **tokenizer, void *file, const char *path);
int32_t tlm_tokenizer_encode(uint32_t **ids, size_t *n, const void *tokenizer, const void *text, size_t size);
int32_t tlm_tokenizer_decode_text(char **text, size_t *size, const void *tokenizer, const uint32_t *ids, size_t n);
int32_t tlm_model_generate(uint32_t **ids, size_t *n, void *model, const uint32_t *prompt, size_t prompt_size,
                           const generate_options *options, int32_t (*on_token)(void *user, uint32_t id), void *user);
]]
local tlm = ffi.load("tinylm")
local path, prompt = arg[1], arg[2]

local function check(status)
    if status ~= 0 then error(ffi.string(tlm.tlm_error_message()), 0) end
end

local model, tokenizer, text = ffi.new("void *[1]"), ffi.new("void *[1]"), ffi.new("char *[1]")
local ids, more, n, size = ffi.new("uint32_t *[1]"), ffi.new("uint32_t *[1]"), ffi.new("size_t[2]"), ffi.new("size_t[1]")
local options = ffi.new("generate_options", {size = ffi.sizeof("generate_options"), max_tokens = 20})
check(tlm.tlm_model_open(model, tokenizer, nil, path))
check(tlm.tlm_tokenizer_encode(ids, n, tokenizer[0], prompt, #prompt))
check(tlm.tlm_model_generate(more, n + 1, model[0], ids[0], n[0], options, nil, nil))
check(tlm.tlm_tokenizer_decode_text(text, size, tokenizer[0], more[0], n[1]))
print(prompt .. ffi.string(text[0], size[0]))
for _, memory in ipairs {ids[0], more[0], text[0]} do tlm.tlm_free(memory) end
tlm.tlm_tokenizer_free(tokenizer[0])
tlm.tlm_model_free(model[0])
