/* Kinds of files, what they suit, and what is said of those that do not. */
#include "support/file_kind.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_SIZE = 1 << 16, LEAST_TEXT = 64 };

/* ---- Signatures --------------------------------------------------------------------------- */

static const struct {
    const char *bytes;
    uint8_t size;
    file_kind_t kind;
} signatures[] = {
    {"GGUF", 4, KIND_GGUF},
    {"\x93NUMPY", 6, KIND_NPY},
    {"\x1f\x8b", 2, KIND_GZIP},
    {"BZh", 3, KIND_BZIP2},
    {"\xfd"
     "7zXZ\0",
     6, KIND_XZ},
    {"\x28\xb5\x2f\xfd", 4, KIND_ZSTD},
    {"PK\x03\x04", 4, KIND_ZIP},
    {"PK\x05\x06", 4, KIND_ZIP},
    {"\x80\x02", 2, KIND_PICKLE},
    {"\x80\x03", 2, KIND_PICKLE},
    {"\x80\x04\x95", 3, KIND_PICKLE},
    {"\x80\x05\x95", 3, KIND_PICKLE},
    {"PAR1", 4, KIND_PARQUET},
    {"ARROW1", 6, KIND_ARROW},
    {"\x89HDF\r\n\x1a\n", 8, KIND_HDF5},
    {"%PDF-", 5, KIND_PDF},
    {"{\\rtf", 5, KIND_DOCUMENT},
    {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8, KIND_DOCUMENT},
    {"SQLite format 3", 16, KIND_SQLITE},
    {"7z\xbc\xaf\x27\x1c", 6, KIND_7Z},
    {"Rar!\x1a\x07", 6, KIND_RAR},
    {"\x04\x22\x4d\x18", 4, KIND_LZ4},
    {"\x89PNG\r\n\x1a\n", 8, KIND_IMAGE},
    {"\xff\xd8\xff", 3, KIND_IMAGE},
    {"GIF87a", 6, KIND_IMAGE},
    {"GIF89a", 6, KIND_IMAGE},
    {"II*\0", 4, KIND_IMAGE},
    {"MM\0*", 4, KIND_IMAGE},
    {"ID3", 3, KIND_SOUND},
    {"OggS", 4, KIND_SOUND},
    {"fLaC", 4, KIND_SOUND},
    {"lmgg", 4, KIND_GGML},
    {"fmgg", 4, KIND_GGML},
    {"tjgg", 4, KIND_GGML},
    {"algg", 4, KIND_GGML},
    {"\x7f"
     "ELF",
     4, KIND_ELF},
    {"\xcf\xfa\xed\xfe", 4, KIND_ELF},
    {"\xca\xfe\xba\xbe", 4, KIND_ELF},
    {"version https://git-lfs.github.com/spec/", 40, KIND_LFS_POINTER},
    {"#version: 0.", 12, KIND_MERGES},
    {"<!DOCTYPE html", 14, KIND_HTML},
    {"<!doctype html", 14, KIND_HTML},
    {"<html", 5, KIND_HTML},
    {"\xff\xfe", 2, KIND_UTF16},
    {"\xfe\xff", 2, KIND_UTF16},
};

/* The beginning of a file. */
typedef struct head {
    const char *path;
    size_t size;
    char bytes[HEAD_SIZE + 1]; /* and a NUL */
} head_t;

static bool contains(const head_t *head, const char *text)
{
    return memmem(head->bytes, head->size, text, strlen(text)) != NULL;
}

/* A safetensors file begins with the size of its header in 8 bytes, then the header. */
static bool is_safetensors(const head_t *head)
{
    return head->size > 9 && head->bytes[8] == '{' && memcmp(head->bytes + 4, "\0\0\0\0", 4) == 0;
}

static file_kind_t safetensors_kind(const head_t *head)
{
    if (contains(head, "\"tinylm-checkpoint\""))
        return KIND_CHECKPOINT;
    return contains(head, "\"tinylm-prompt-cache\"") ? KIND_PROMPT_CACHE : KIND_SAFETENSORS;
}

/* A ModelProto begins with a piece, whose first field is its text. */
static bool is_sentencepiece(const head_t *head)
{
    const uint8_t *bytes = (const uint8_t *)head->bytes;

    return head->size > 4 && bytes[0] == 0x0A && bytes[1] >= 4 && bytes[1] < 0x80 &&
           bytes[2] == 0x0A && bytes[3] < bytes[1];
}

/* A ModelProto of ONNX begins with its version and the name of the program that wrote it. */
static bool is_onnx(const head_t *head)
{
    const uint8_t *bytes = (const uint8_t *)head->bytes;

    return head->size > 4 && bytes[0] == 0x08 && bytes[1] < 0x20 && bytes[2] == 0x12 &&
           bytes[3] >= 4 && bytes[3] < 0x40;
}

/* RIFF holds images, sounds and films. */
static file_kind_t riff_kind(const head_t *head)
{
    return memcmp(head->bytes + 8, "WEBP", 4) == 0 ? KIND_IMAGE : KIND_SOUND;
}

/* Archives that are known by what they hold first: the file's name is at byte 30. */
static file_kind_t zip_kind(const head_t *head)
{
    const size_t length = head->size > 30 ? (uint8_t)head->bytes[26] : 0;
    char name[256];

    snprintf(name, sizeof(name), "%.*s", (int)length, head->bytes + (length > 0 ? 30 : 0));
    if (cli_ends_with(name, ".npy"))
        return KIND_NPZ;
    return strcmp(name, "[Content_Types].xml") == 0 || strcmp(name, "mimetype") == 0 ? KIND_DOCUMENT
                                                                                     : KIND_ZIP;
}

static bool is_named_tokens(const char *path)
{
    return cli_ends_with(path, ".u16") || cli_ends_with(path, ".u32");
}

/* ---- Text --------------------------------------------------------------------------------- */

/* Text has no control characters except white space and escapes; whether it is UTF-8 does not matter. */
static bool is_text(const head_t *head)
{
    for (size_t i = 0; i < head->size; i++) {
        unsigned char c = (unsigned char)head->bytes[i];

        if (c < 0x20 && (c < '\t' || c > '\r') && c != 0x1B)
            return false;
    }
    return true;
}

/* Lines of base64, a blank and a number. */
static bool is_ranks(const head_t *head)
{
    size_t n = strspn(head->bytes, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789+/=");
    const char *digits = head->bytes + n + 1;
    size_t num_digits;

    if (n == 0 || n % 4 != 0 || head->bytes[n] != ' ')
        return false;
    num_digits = strspn(digits, "0123456789");
    return num_digits > 0 && (digits[num_digits] == '\n' || digits[num_digits] == '\r');
}

/* Skips a text in quotation marks; NULL if there is none. */
static const char *skip_quoted(const char *at)
{
    if (*at++ != '"')
        return NULL;
    while (*at != '"' && *at != '\0')
        at += *at == '\\' && at[1] != '\0' ? 2 : 1;
    return *at == '"' ? at + 1 : NULL;
}

/* Whether an object begins with texts that each have a whole number. */
static bool is_vocabulary(const char *at)
{
    enum { SOME = 16 };

    at += strspn(at, " \t\r\n") + 1;
    for (int i = 0; i < SOME; i++) {
        at = skip_quoted(at + strspn(at, " \t\r\n"));
        if (at == NULL || at[strspn(at, " ")] != ':')
            return false;
        at += strspn(at, " :");
        if (strspn(at, "0123456789") == 0)
            return false;
        at += strspn(at, "0123456789");
        at += strspn(at, " \t\r\n");
        if (*at++ != ',')
            return false;
    }
    return true;
}

static file_kind_t json_kind(const head_t *head)
{
    const char *end = strchr(head->bytes, '\n');
    const bool more = end != NULL && strspn(end, " \t\r\n") < strlen(end);

    if (contains(head, "\"added_tokens\": [") || contains(head, "\"added_tokens\":[") ||
        contains(head, "\"pre_tokenizer\": {") || contains(head, "\"pre_tokenizer\":{") ||
        contains(head, "\"default_vocab_size\""))
        return KIND_TOKENIZER_JSON;
    if (head->bytes[0] == '{' && more && end[-1] == '}' && end[1] == '{')
        return KIND_JSON_LINES;
    if (is_vocabulary(head->bytes))
        return KIND_VOCAB_JSON;
    return KIND_JSON;
}

/* Whether the text is in brackets, with a value of JSON behind the first. */
static bool is_list(const head_t *head, size_t at)
{
    size_t end = head->size;

    while (end > at && strchr(" \t\r\n", head->bytes[end - 1]) != NULL)
        end--;
    if (end < at + 2 || head->bytes[at] != '[' || head->bytes[end - 1] != ']')
        return false;
    at += 1 + strspn(head->bytes + at + 1, " \t\r\n");
    return strchr("[{\"-0123456789", head->bytes[at]) != NULL;
}

static file_kind_t text_kind(const head_t *head)
{
    const size_t blank = strspn(head->bytes, " \t\r\n");

    if (is_list(head, blank))
        return KIND_JSON;

    if (head->bytes[blank] == '{' && blank < head->size) {
        const file_kind_t kind = json_kind(head);

        return kind == KIND_JSON && cli_ends_with(head->path, ".jsonl") ? KIND_JSON_LINES : kind;
    }
    if (is_ranks(head))
        return KIND_RANKS;
    if (contains(head, "[UNK]\n") || contains(head, "[UNK]\r\n"))
        return KIND_WORDS;
    return KIND_TEXT;
}

/* ---- Files and directories ---------------------------------------------------------------- */

/* A text in UTF-16 has zeros, and its surrogates are in pairs. The mark alone may begin any bytes. */
static bool is_utf16(const head_t *head)
{
    const size_t high = head->bytes[0] == '\xff' ? 1 : 0;
    bool is_open = false;

    for (size_t i = 2; i + 1 < head->size; i += 2) {
        const int surrogate = head->bytes[i + high] & 0xfc;

        if ((surrogate == 0xdc) != is_open)
            return false;
        is_open = surrogate == 0xd8;
    }
    return head->size % 2 == 0 && memchr(head->bytes, '\0', head->size) != NULL;
}

/* Whether a text, or any bytes, would begin with a signature by chance: with letters, or with two bytes. */
static bool is_chance(const head_t *head, file_kind_t kind)
{
    switch (kind) {
    case KIND_GGUF:
    case KIND_BZIP2:
    case KIND_PARQUET:
    case KIND_ARROW:
    case KIND_IMAGE:
    case KIND_SOUND:
    case KIND_GGML:
        return is_text(head);
    case KIND_UTF16:
        return !is_utf16(head);
    default:
        return false;
    }
}

/* By the signature; KIND_MISSING if there is none. */
static file_kind_t signed_kind(const head_t *head)
{
    for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++)
        if (head->size >= signatures[i].size &&
            memcmp(head->bytes, signatures[i].bytes, signatures[i].size) == 0 &&
            !is_chance(head, signatures[i].kind))
            return is_named_tokens(head->path) && signatures[i].size < 6 ? KIND_RAW_TOKENS
                   : signatures[i].kind == KIND_ZIP                      ? zip_kind(head)
                                                                         : signatures[i].kind;
    if (head->size > 12 && memcmp(head->bytes, "RIFF", 4) == 0 && !is_text(head))
        return riff_kind(head);
    if (head->size > 12 && memcmp(head->bytes + 4, "ftyp", 4) == 0 && !is_text(head))
        return KIND_SOUND;
    return KIND_MISSING;
}

static file_kind_t head_kind(const head_t *head)
{
    const file_kind_t kind = signed_kind(head);

    if (kind != KIND_MISSING)
        return kind;
    if (is_safetensors(head))
        return safetensors_kind(head);
    /* A few ids may look like text by chance. */
    if (is_named_tokens(head->path) && (head->size < LEAST_TEXT || !is_text(head)))
        return KIND_RAW_TOKENS;
    if (is_sentencepiece(head))
        return KIND_SENTENCEPIECE;
    if (is_onnx(head))
        return KIND_ONNX;
    if (head->size > 262 && memcmp(head->bytes + 257, "ustar", 5) == 0)
        return KIND_TAR;
    return is_text(head) ? text_kind(head) : KIND_BINARY;
}

static bool holds(const char *directory, const char *name)
{
    char path[4096];

    return snprintf(path, sizeof(path), "%s/%s", directory, name) < (int)sizeof(path) &&
           access(path, F_OK) == 0;
}

/* Whether a file of the directory has such an end, and such a beginning. */
static bool holds_file(const char *directory, const char *begin, const char *end)
{
    DIR *entries = opendir(directory);
    bool found = false;

    for (struct dirent *entry; !found && entries != NULL && (entry = readdir(entries)) != NULL;)
        found =
            strncmp(entry->d_name, begin, strlen(begin)) == 0 && cli_ends_with(entry->d_name, end);
    if (entries != NULL)
        closedir(entries);
    return found;
}

/* The first file of a run's directory: its options. */
static bool holds_run_options(const char *directory)
{
    char path[4096], text[HEAD_SIZE];
    FILE *file;
    size_t size;

    snprintf(path, sizeof(path), "%s/config.json", directory);
    file = fopen(path, "rb");
    if (file == NULL)
        return false;
    size = fread(text, 1, sizeof(text), file);
    fclose(file);
    return memmem(text, size, "\"output-dir\"", 12) != NULL;
}

static file_kind_t directory_kind(const char *path)
{
    static const char *const tokenizers[] = {
        "tokenizer.json",          "tekken.json", "tokenizer.model", "spiece.model",
        "sentencepiece.bpe.model", "vocab.json",  "vocab.txt"};

    if (holds(path, "config.json") &&
        (holds_file(path, "", ".safetensors") || holds_file(path, "", ".safetensors.index.json")))
        return KIND_HF_MODEL;
    if (holds(path, "adapter_config.json"))
        return KIND_ADAPTER;
    if (holds(path, "log.jsonl") || holds(path, "checkpoints") || holds_run_options(path))
        return KIND_RUN;
    if (holds_file(path, "step-", ".safetensors"))
        return KIND_CHECKPOINTS;
    for (size_t i = 0; i < sizeof(tokenizers) / sizeof(tokenizers[0]); i++)
        if (holds(path, tokenizers[i]))
            return KIND_TOKENIZER_DIRECTORY;
    return holds_file(path, "", ".tiktoken") || holds_file(path, "", ".gguf")
               ? KIND_TOKENIZER_DIRECTORY
               : KIND_DIRECTORY;
}

file_kind_t file_kind_of(const char *path)
{
    struct stat info;
    file_kind_t kind;
    FILE *file;

    if (stat(path, &info) != 0)
        return KIND_MISSING;
    if (S_ISDIR(info.st_mode))
        return directory_kind(path);
    if (!S_ISREG(info.st_mode))
        return KIND_SPECIAL;
    file = fopen(path, "rb");
    if (file == NULL)
        return KIND_MISSING;
    head_t *head = cli_realloc(NULL, sizeof(*head));
    head->path = path;
    head->size = fread(head->bytes, 1, HEAD_SIZE, file);
    head->bytes[head->size] = '\0';
    const int error = ferror(file) ? errno : 0;
    fclose(file);
    kind = error != 0 ? KIND_MISSING : head->size == 0 ? KIND_EMPTY : head_kind(head);
    free(head);
    errno = error;
    return kind;
}

/* ---- What they suit ----------------------------------------------------------------------- */

#define BIT(role) (1u << (role))
#define ANY_TEXT  (BIT(ROLE_TEXT) | BIT(ROLE_QUESTIONS))
#define ANY_JSON  (ANY_TEXT | BIT(ROLE_CONFIG))
#define A_MODEL   (BIT(ROLE_MODEL) | BIT(ROLE_RESUMED))

#define FOR_MODELS "tinylm generate, chat, eval, convert, info and train --init take it"
#define FOR_TEXTS  "tinylm bpe, tokenize and eval take it"

static const struct {
    const char *name;
    uint32_t roles; /* that it suits */
    const char *remedy;
} kinds[NUM_KINDS] = {
    [KIND_MISSING] = {"nothing", 0, NULL},
    [KIND_SPECIAL] = {"a device or a pipe", ANY_JSON, "tinylm tokenize and eval take it as a text"},
    [KIND_EMPTY] = {"an empty file", BIT(ROLE_TEXT), "there is nothing in it to read"},
    [KIND_DIRECTORY] = {"a directory, without a model, a tokenizer or a run in it",
                        BIT(ROLE_RESUMED), /* where there may be a checkpoint later */
                        "name a file in it"},
    [KIND_RUN] = {"the directory of a run", A_MODEL | BIT(ROLE_RUN),
                  "tinylm report, generate, chat, eval, convert, info and train --resume take it"},
    [KIND_CHECKPOINTS] = {"a directory of checkpoints", A_MODEL,
                          "tinylm generate, chat, eval, convert, info and train --resume take it"},
    [KIND_HF_MODEL] = {"a folder of transformers with a model",
                       BIT(ROLE_MODEL) | BIT(ROLE_TOKENIZER) | BIT(ROLE_ADAPTER), FOR_MODELS},
    [KIND_ADAPTER] = {"a folder of PEFT with adapters", BIT(ROLE_ADAPTER) | BIT(ROLE_TOKENIZER),
                      "tinylm generate, chat and convert take it as --adapter"},
    [KIND_TOKENIZER_DIRECTORY] = {"a directory with a tokenizer", BIT(ROLE_TOKENIZER),
                                  "tinylm tokenize and generate take it as --tokenizer"},
    [KIND_TEXT] = {"a text file", ANY_TEXT | BIT(ROLE_MERGES), FOR_TEXTS},
    [KIND_UTF16] = {"a text in UTF-16", 0,
                    "write it in UTF-8 first, with iconv -f UTF-16 -t UTF-8"},
    [KIND_JSON] = {"a JSON file", ANY_JSON | BIT(ROLE_VOCAB) | BIT(ROLE_TOKENIZER),
                   FOR_TEXTS " as a text"},
    [KIND_JSON_LINES] = {"a file of JSON lines", ANY_TEXT,
                         "tinylm bpe and tokenize take it as a text, finetune --train as "
                         "conversations, eval --choices as questions"},
    [KIND_TOKENIZER_JSON] = {"a tokenizer.json", ANY_TEXT | BIT(ROLE_TOKENIZER),
                             "tinylm tokenize, train, generate and eval take it as --tokenizer"},
    [KIND_VOCAB_JSON] = {"a vocab.json", ANY_JSON | BIT(ROLE_VOCAB) | BIT(ROLE_TOKENIZER),
                         "tinylm tokenize, train, generate and eval take it as --vocab"},
    [KIND_MERGES] = {"a merges.txt", ANY_TEXT | BIT(ROLE_MERGES),
                     "tinylm tokenize, train, generate and eval take it as --merges"},
    [KIND_RANKS] = {"a rank file of tiktoken", ANY_TEXT | BIT(ROLE_TOKENIZER),
                    "tinylm tokenize, train, generate and eval take it as --tokenizer"},
    [KIND_WORDS] = {"a vocab.txt of BERT", ANY_TEXT | BIT(ROLE_TOKENIZER) | BIT(ROLE_MERGES),
                    "tinylm tokenize takes it as --tokenizer"},
    [KIND_HTML] = {"an HTML page", ANY_TEXT, FOR_TEXTS " as a text"},
    [KIND_LFS_POINTER] = {"a pointer of Git LFS, not the file itself", 0,
                          "git lfs pull fetches the file"},
    [KIND_SENTENCEPIECE] = {"a SentencePiece model", BIT(ROLE_TOKENIZER),
                            "tinylm tokenize, train, generate and eval take it as --tokenizer"},
    [KIND_NPY] = {"a .npy file of NumPy", BIT(ROLE_TOKENS),
                  "tinylm train and tokenize --decode take it, if it holds ids"},
    [KIND_RAW_TOKENS] = {"a token file", BIT(ROLE_TOKENS),
                         "tinylm train and tokenize --decode take it"},
    [KIND_CHECKPOINT] = {"a checkpoint", A_MODEL,
                         "tinylm generate, chat, eval, convert, info and train --resume take it"},
    [KIND_SAFETENSORS] = {"a safetensors file without a description of its model", A_MODEL,
                          "name the folder that holds it and its config.json"},
    [KIND_PROMPT_CACHE] = {"a prompt cache", 0,
                           "tinylm chat and generate take it as --prompt-cache"},
    [KIND_GGUF] = {"a GGUF model", BIT(ROLE_MODEL) | BIT(ROLE_TOKENIZER), FOR_MODELS},
    [KIND_GGML] = {"a model in a format before GGUF", 0, "only GGUF is read"},
    [KIND_ONNX] = {"an ONNX model", 0, "weights are read from safetensors or GGUF only"},
    [KIND_GZIP] = {"a gzip file", 0, "unpack it first, with gunzip"},
    [KIND_BZIP2] = {"a bzip2 file", 0, "unpack it first, with bunzip2"},
    [KIND_XZ] = {"an xz file", 0, "unpack it first, with unxz"},
    [KIND_ZSTD] = {"a Zstandard file", 0, "unpack it first, with unzstd"},
    [KIND_ZIP] = {"a zip file, as PyTorch's .pt and .bin are", 0,
                  "unpack it first; weights are read from safetensors or GGUF only"},
    [KIND_NPZ] = {"an .npz file of NumPy", 0, "save its array alone, as .npy"},
    [KIND_7Z] = {"a 7z archive", 0, "unpack it first, with 7z"},
    [KIND_RAR] = {"a RAR archive", 0, "unpack it first, with unrar"},
    [KIND_LZ4] = {"an LZ4 file", 0, "unpack it first, with unlz4"},
    [KIND_TAR] = {"a tar archive", 0, "unpack it first, with tar"},
    [KIND_PICKLE] = {"a Python pickle, as PyTorch's old files are", 0,
                     "weights are read from safetensors or GGUF only"},
    [KIND_PARQUET] = {"a Parquet file", 0, "write its texts to a plain file first"},
    [KIND_ARROW] = {"an Arrow file", 0, "write its texts to a plain file first"},
    [KIND_SQLITE] = {"an SQLite database", 0, "write its texts to a plain file first"},
    [KIND_HDF5] = {"an HDF5 file", 0, "write what is in it to another format first"},
    [KIND_PDF] = {"a PDF file", 0, "write its text to a plain file first, with pdftotext"},
    [KIND_DOCUMENT] = {"a document of an office program", 0, "save it as plain text first"},
    [KIND_IMAGE] = {"an image", 0, "only text is read"},
    [KIND_SOUND] = {"a sound or a film", 0, "only text is read"},
    [KIND_ELF] = {"a program or library", 0, "it holds neither text nor weights"},
    [KIND_BINARY] = {"a binary file of no known kind", BIT(ROLE_TEXT),
                     "tinylm bpe, tokenize and eval take its bytes as a text"},
};

static const char *const role_names[NUM_ROLES] = {
    [ROLE_TEXT] = "a text file",
    [ROLE_TOKENS] = "a token file (.npy, .u16, .u32)",
    [ROLE_QUESTIONS] = "a file of JSON lines",
    [ROLE_MODEL] = "a model: a checkpoint, a folder of transformers or a GGUF file",
    [ROLE_RESUMED] = "a checkpoint, or the directory of a run",
    [ROLE_TOKENIZER] = "a tokenizer: tokenizer.json, a rank file, a SentencePiece model, a GGUF "
                       "file or a directory with one",
    [ROLE_VOCAB] = "a vocab.json",
    [ROLE_MERGES] = "a merges.txt",
    [ROLE_ADAPTER] = "a folder of PEFT with adapters",
    [ROLE_RUN] = "the directory of a run",
    [ROLE_CONFIG] = "a JSON file of options by name",
};

const char *file_kind_name(file_kind_t kind)
{
    return kinds[kind].name;
}

bool file_kind_suits(file_kind_t kind, cli_role_t role)
{
    return role_names[role] == NULL || (kinds[kind].roles & BIT(role)) != 0;
}

static const char *remedy_of(file_kind_t kind, cli_role_t role)
{
    if (role == ROLE_TOKENS && (kinds[kind].roles & BIT(ROLE_TEXT)) != 0 && kind != KIND_BINARY)
        return "tinylm tokenize makes a token file of a text";
    if (role == ROLE_TOKENS && kind == KIND_BINARY)
        return "raw ids are known by names that end in .u16 or .u32";
    if (role == ROLE_RUN && kind == KIND_DIRECTORY)
        return "it holds no log.jsonl";
    return kinds[kind].remedy;
}

/* Says why a file cannot be read; if there is none, which one beside it is called nearly so. */
static _Noreturn void refuse_missing(const char *path, int error)
{
    enum { MOST = 1024 };
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const int length = slash != NULL ? (int)(name - path) : 0;
    char directory[4096], *names[MOST];
    size_t n = 0;

    snprintf(directory, sizeof(directory), "%.*s", length > 0 ? length : 1,
             length > 0 ? path : ".");
    DIR *entries = error == ENOENT ? opendir(directory) : NULL;
    for (struct dirent *entry; entries != NULL && n < MOST && (entry = readdir(entries)) != NULL;)
        if (entry->d_name[0] != '.' && (names[n] = strdup(entry->d_name)) != NULL)
            n++;
    if (entries != NULL)
        closedir(entries);
    const char *similar = cli_find_similar(name, (const char *const *)names, n);
    if (similar != NULL)
        cli_fail("%s: %s; did you mean %.*s%s?", path, strerror(error), length, path, similar);
    cli_fail("%s: %s", path, strerror(error));
}

void cli_expect(const char *path, cli_role_t role, const char *name)
{
    if (role_names[role] == NULL)
        return;
    const file_kind_t kind = file_kind_of(path);
    if (kind == KIND_MISSING)
        refuse_missing(path, errno);
    if (file_kind_suits(kind, role))
        return;
    cli_fail("%s: this is %s, but %s%s takes %s; %s", path, kinds[kind].name,
             name[0] != '\0' ? "--" : "", name[0] != '\0' ? name : "this command", role_names[role],
             remedy_of(kind, role));
}
