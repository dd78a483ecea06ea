/* Says what a file or directory is, by what is in it. */
#ifndef EXAMPLES_FILE_KIND_H
#define EXAMPLES_FILE_KIND_H

#include "support/cli.h"

typedef enum file_kind {
    KIND_MISSING, /* or one that cannot be read: errno says why */
    KIND_SPECIAL, /* a pipe, a device: nothing is known of what it holds */
    KIND_EMPTY,
    /* Directories. */
    KIND_DIRECTORY, /* with none of these */
    KIND_RUN,
    KIND_CHECKPOINTS,
    KIND_HF_MODEL,
    KIND_ADAPTER,
    KIND_TOKENIZER_DIRECTORY,
    /* Text. */
    KIND_TEXT,
    KIND_JSON,
    KIND_JSON_LINES,
    KIND_TOKENIZER_JSON,
    KIND_VOCAB_JSON,
    KIND_MERGES,
    KIND_RANKS,
    KIND_WORDS, /* vocab.txt of BERT */
    KIND_HTML,
    KIND_LFS_POINTER,
    KIND_UTF16,
    /* Bytes. */
    KIND_SENTENCEPIECE,
    KIND_NPY,
    KIND_RAW_TOKENS,
    KIND_CHECKPOINT,
    KIND_SAFETENSORS,
    KIND_PROMPT_CACHE,
    KIND_GGUF,
    KIND_GGML, /* before GGUF */
    KIND_ONNX,
    KIND_GZIP,
    KIND_BZIP2,
    KIND_XZ,
    KIND_ZSTD,
    KIND_ZIP,
    KIND_NPZ,
    KIND_7Z,
    KIND_RAR,
    KIND_LZ4,
    KIND_TAR,
    KIND_PICKLE,
    KIND_PARQUET,
    KIND_ARROW,
    KIND_SQLITE,
    KIND_HDF5,
    KIND_PDF,
    KIND_DOCUMENT,
    KIND_IMAGE,
    KIND_SOUND,
    KIND_ELF,
    KIND_BINARY,
    NUM_KINDS
} file_kind_t;

file_kind_t file_kind_of(const char *path);

/* "a GGUF model" */
const char *file_kind_name(file_kind_t kind);

/* Whether a file of this kind may be what the role asks for. */
bool file_kind_suits(file_kind_t kind, cli_role_t role);

#endif
