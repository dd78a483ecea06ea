/* Identifies file kinds by their first bytes, never by their names. */
#include "formats/file_kind.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/dtype.h"

static const char *const names[] = {
    [TLMI_FILE_EMPTY] = "an empty file",
    [TLMI_FILE_SAFETENSORS] = "a safetensors file",
    [TLMI_FILE_GGUF] = "a GGUF file",
    [TLMI_FILE_NPY] = "a .npy file",
    [TLMI_FILE_ZIP] = "a zip file, as PyTorch's .pt and .bin are",
    [TLMI_FILE_PICKLE] = "a Python pickle, as PyTorch's old files are",
    [TLMI_FILE_HDF5] = "an HDF5 file",
    [TLMI_FILE_SENTENCEPIECE] = "a SentencePiece model",
    [TLMI_FILE_GGML] = "a file of GGML from before GGUF",
    [TLMI_FILE_GZIP] = "a gzip file",
    [TLMI_FILE_XZ] = "an xz file",
    [TLMI_FILE_ZSTD] = "a Zstandard file",
    [TLMI_FILE_BZIP2] = "a bzip2 file",
    [TLMI_FILE_ELF] = "an ELF program or library",
    [TLMI_FILE_LFS_POINTER] = "a pointer of Git LFS, not the file itself",
    [TLMI_FILE_HTML] = "an HTML page",
    [TLMI_FILE_JSON] = "a JSON file",
    [TLMI_FILE_RANKS] = "a rank file of tiktoken",
    [TLMI_FILE_MERGES] = "a file of merges",
    [TLMI_FILE_TEXT] = "a text file",
    [TLMI_FILE_BINARY] = "an unknown binary file",
};

static const struct {
    const char *bytes;
    uint8_t size;
    tlmi_file_kind_t kind;
} signatures[] = {
    {"GGUF", 4, TLMI_FILE_GGUF},
    {"\x93NUMPY", 6, TLMI_FILE_NPY},
    {"PK\x03\x04", 4, TLMI_FILE_ZIP},
    {"PK\x05\x06", 4, TLMI_FILE_ZIP},
    {"\x80\x02", 2, TLMI_FILE_PICKLE},
    {"\x80\x03", 2, TLMI_FILE_PICKLE},
    {"\x80\x04\x95", 3, TLMI_FILE_PICKLE},
    {"\x80\x05\x95", 3, TLMI_FILE_PICKLE},
    {"\x89HDF\r\n\x1a\n", 8, TLMI_FILE_HDF5},
    {"lmgg", 4, TLMI_FILE_GGML},
    {"fmgg", 4, TLMI_FILE_GGML},
    {"tjgg", 4, TLMI_FILE_GGML},
    {"\x1f\x8b", 2, TLMI_FILE_GZIP},
    {"\xfd"
     "7zXZ\0",
     6, TLMI_FILE_XZ},
    {"\x28\xb5\x2f\xfd", 4, TLMI_FILE_ZSTD},
    {"BZh", 3, TLMI_FILE_BZIP2},
    {"\x7f"
     "ELF",
     4, TLMI_FILE_ELF},
    {"version https://git-lfs.github.com/spec/", 40, TLMI_FILE_LFS_POINTER},
    {"#version: 0.", 12, TLMI_FILE_MERGES},
    {"<!DOCTYPE html", 14, TLMI_FILE_HTML},
    {"<!doctype html", 14, TLMI_FILE_HTML},
    {"<html", 5, TLMI_FILE_HTML},
};

/* A safetensors file begins with the header's length in 8 bytes, then its opening brace. No
 * header has 2^32 bytes. */
static bool is_safetensors(const uint8_t *head, size_t size)
{
    return size > 8 && head[8] == '{' && tlmi_load_le32(head + 4) == 0 && tlmi_load_le32(head) > 1;
}

/* The first field of a ModelProto has number 1 and is a length-prefixed piece, whose first field
 * is its text. */
static bool is_sentencepiece(const uint8_t *head, size_t size)
{
    return size > 4 && head[0] == 0x0A && head[1] >= 4 && head[1] < 0x80 && head[2] == 0x0A &&
           head[3] < head[1];
}

static size_t skip_spaces(const uint8_t *head, size_t size, size_t at)
{
    while (at < size && memchr(" \t\r\n", head[at], 4) != NULL)
        at++;
    return at;
}

/* "[PAD]" begins a vocab.txt of BERT, no array. */
static bool is_json(const uint8_t *head, size_t size)
{
    size_t at = skip_spaces(head, size, 0);

    if (at == size || head[at] != '[')
        return at < size && head[at] == '{';
    at = skip_spaces(head, size, at + 1);
    return at == size || memchr("[]{\"-0123456789", head[at], 15) != NULL ||
           (size - at >= 4 &&
            (memcmp(head + at, "true", 4) == 0 || memcmp(head + at, "null", 4) == 0)) ||
           (size - at >= 5 && memcmp(head + at, "false", 5) == 0);
}

static bool is_base64(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || byte == '+' || byte == '/' || byte == '=';
}

static bool is_ranks(const uint8_t *head, size_t size)
{
    size_t at = 0;
    while (at < size && is_base64(head[at]))
        at++;
    if (at == 0 || at % 4 != 0 || at == size || head[at] != ' ')
        return false;
    size_t digits;
    for (digits = ++at; at < size && head[at] >= '0' && head[at] <= '9'; at++)
        ;
    return at > digits && (at == size || head[at] == '\n' || head[at] == '\r');
}

/* Rejects bytes that do not occur in text. The encoding does not matter here. */
static bool is_text(const uint8_t *head, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((head[i] < 0x20 && memchr("\t\n\v\f\r\x1b", head[i], 6) == NULL) || head[i] == 0x7F)
            return false;
    return true;
}

tlmi_file_kind_t tlmi_file_kind(const void *bytes, size_t size)
{
    const uint8_t *head = bytes;
    if (size == 0)
        return TLMI_FILE_EMPTY;
    if (size > TLMI_FILE_HEAD_SIZE)
        size = TLMI_FILE_HEAD_SIZE;
    for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++)
        if (size >= signatures[i].size &&
            memcmp(head, signatures[i].bytes, signatures[i].size) == 0)
            return signatures[i].kind;
    return is_safetensors(head, size)     ? TLMI_FILE_SAFETENSORS
           : is_sentencepiece(head, size) ? TLMI_FILE_SENTENCEPIECE
           : is_json(head, size)          ? TLMI_FILE_JSON
           : is_ranks(head, size)         ? TLMI_FILE_RANKS
           : is_text(head, size)          ? TLMI_FILE_TEXT
                                          : TLMI_FILE_BINARY;
}

const char *tlmi_file_kind_name(tlmi_file_kind_t kind)
{
    return names[kind];
}

tlm_status_t tlmi_file_kind_at(tlmi_file_kind_t *out, const char *path)
{
    uint8_t head[TLMI_FILE_HEAD_SIZE];
    size_t size;
    TLMI_TRY(tlmi_read_head(&size, head, sizeof(head), path));
    *out = tlmi_file_kind(head, size);
    return TLM_OK;
}

tlm_status_t tlmi_json_read_file(tlmi_json_t **out, size_t *size, const char *path)
{
    tlmi_mapping_t file;
    TLMI_TRY(tlmi_read_file(&file, path));
    tlm_status_t status = tlmi_json_parse(out, file.data, file.size, path);
    if (status == TLM_OK) {
        *size = file.size;
    } else if (status == TLM_ERR_FORMAT) {
        /* A malformed JSON file keeps the parser's message, which says where the error is. */
        tlmi_file_kind_t kind = tlmi_file_kind(file.data, file.size);
        if (kind != TLMI_FILE_JSON && kind != TLMI_FILE_TEXT)
            status = tlmi_fail_kind(path, "a JSON file", file.data, file.size);
    }
    tlmi_unmap_file(&file);
    return status;
}

tlm_status_t tlmi_fail_kind(const char *path, const char *wanted, const void *head, size_t size)
{
    return tlmi_fail(TLM_ERR_FORMAT, "%s: not %s but %s", path, wanted,
                     tlmi_file_looks_like(head, size));
}
