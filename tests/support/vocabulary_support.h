/* Files of vocabularies, made in memory: SentencePiece's .model, GGUF, Tekken. */
#ifndef TEST_VOCABULARY_SUPPORT_H
#define TEST_VOCABULARY_SUPPORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Large enough for all files of these tests. */
typedef struct file_bytes {
    uint8_t data[32768];
    size_t size;
} file_bytes_t;

static inline void add_bytes(file_bytes_t *file, const void *bytes, size_t size)
{
    if (file->size + size > sizeof(file->data))
        abort();
    memcpy(file->data + file->size, bytes, size);
    file->size += size;
}

/* ---- SentencePiece ---- */

static inline void add_varint(file_bytes_t *file, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));

        add_bytes(file, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static inline void add_number_field(file_bytes_t *file, unsigned number, uint64_t value)
{
    add_varint(file, number << 3);
    add_varint(file, value);
}

static inline void add_bytes_field(file_bytes_t *file, unsigned number, const void *bytes,
                                   size_t size)
{
    add_varint(file, number << 3 | 2);
    add_varint(file, size);
    add_bytes(file, bytes, size);
}

/* Types: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
static inline void add_piece(file_bytes_t *file, const char *text, float score, int type)
{
    static file_bytes_t piece;

    piece.size = 0;
    add_bytes_field(&piece, 1, text, strlen(text));
    add_varint(&piece, 2 << 3 | 5);
    add_bytes(&piece, &score, sizeof(score)); /* little-endian, as the machines that run this */
    if (type != 1)
        add_number_field(&piece, 3, (uint64_t)type);
    add_bytes_field(file, 1, piece.data, piece.size);
}

/* trainer_spec and normalizer_spec. Types of models: 1 Unigram, 2 BPE, 3 words, 4 characters. */
static inline void add_specs(file_bytes_t *file, int model_type, int byte_fallback,
                             int remove_extra_whitespaces)
{
    static file_bytes_t spec;

    spec.size = 0;
    add_number_field(&spec, 3, (uint64_t)model_type);
    add_number_field(&spec, 35, (uint64_t)byte_fallback);
    add_bytes_field(file, 2, spec.data, spec.size);
    spec.size = 0;
    add_bytes_field(&spec, 1, "identity", 8);
    add_number_field(&spec, 4, (uint64_t)remove_extra_whitespaces);
    add_bytes_field(file, 3, spec.data, spec.size);
}

/* "▁" is U+2581. Ids: <unk> 0, <s> 1, </s> 2, <sym> 3, ▁ 4, a 5, b 6, ab 7, ▁ab 8, <0x00> 9, ... */
static inline void make_sentencepiece(file_bytes_t *file, int model_type, int byte_fallback)
{
    file->size = 0;
    add_piece(file, "<unk>", 0, 2);
    add_piece(file, "<s>", 0, 3);
    add_piece(file, "</s>", 0, 3);
    add_piece(file, "<sym>", 0, 4);
    add_piece(file, "\xE2\x96\x81", -3, 1);
    add_piece(file, "a", -4, 1);
    add_piece(file, "b", -5, 1);
    add_piece(file, "ab", -1, 1);
    add_piece(file,
              "\xE2\x96\x81"
              "ab",
              -2, 1);
    for (int byte = 0; byte_fallback && byte < 256; byte++) {
        char name[8];

        snprintf(name, sizeof(name), "<0x%02X>", (unsigned)byte);
        add_piece(file, name, 0, 6);
    }
    add_specs(file, model_type, byte_fallback, 1);
}

/* ---- GGUF ---- */

enum { GGUF_INT32 = 5, GGUF_FLOAT32 = 6, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9 };

static inline void add_u32(file_bytes_t *file, uint32_t value)
{
    add_bytes(file, &value, sizeof(value));
}

static inline void add_u64(file_bytes_t *file, uint64_t value)
{
    add_bytes(file, &value, sizeof(value));
}

static inline void add_string(file_bytes_t *file, const char *text)
{
    add_u64(file, strlen(text));
    add_bytes(file, text, strlen(text));
}

/* A file without tensors. */
static inline void begin_gguf(file_bytes_t *file, uint64_t num_values)
{
    file->size = 0;
    add_bytes(file, "GGUF", 4);
    add_u32(file, 3);
    add_u64(file, 0);
    add_u64(file, num_values);
}

static inline void add_gguf_string(file_bytes_t *file, const char *key, const char *value)
{
    add_string(file, key);
    add_u32(file, GGUF_STRING);
    add_string(file, value);
}

static inline void add_gguf_bool(file_bytes_t *file, const char *key, uint8_t value)
{
    add_string(file, key);
    add_u32(file, GGUF_BOOL);
    add_bytes(file, &value, 1);
}

static inline void add_gguf_strings(file_bytes_t *file, const char *key, const char *const *values,
                                    size_t n)
{
    add_string(file, key);
    add_u32(file, GGUF_ARRAY);
    add_u32(file, GGUF_STRING);
    add_u64(file, n);
    for (size_t i = 0; i < n; i++)
        add_string(file, values[i]);
}

/* An array of int32 or float32. */
static inline void add_gguf_numbers(file_bytes_t *file, const char *key, uint32_t type,
                                    const void *values, size_t n)
{
    add_string(file, key);
    add_u32(file, GGUF_ARRAY);
    add_u32(file, type);
    add_u64(file, n);
    add_bytes(file, values, n * 4);
}

/* ---- Tekken ---- */

/* Ids: <unk> 0, <s> 1, </s> 2, then the 256 bytes, then "ab". */
static inline void make_tekken(file_bytes_t *file)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char head[] =
        "{\"config\":{\"pattern\":\"[a-z]+|[^a-z]\",\"num_vocab_tokens\":257,"
        "\"default_vocab_size\":260,\"default_num_special_tokens\":3,\"version\":\"v3\"},"
        "\"vocab\":[";
    static const char tail[] = "{\"rank\":256,\"token_bytes\":\"YWI=\",\"token_str\":\"ab\"}]}";
    char item[64];

    file->size = 0;
    add_bytes(file, head, sizeof(head) - 1);
    for (unsigned byte = 0; byte < 256; byte++) {
        int size = snprintf(item, sizeof(item), "{\"rank\":%u,\"token_bytes\":\"%c%c==\"},", byte,
                            digits[byte >> 2], digits[(byte & 3) << 4]);

        add_bytes(file, item, (size_t)size);
    }
    add_bytes(file, tail, sizeof(tail) - 1);
}

#endif
