/* What kind of file some bytes are the start of, so that a loader that is given the wrong one can say what
 * it was given. */
#ifndef TLMI_FILE_KIND_H
#define TLMI_FILE_KIND_H

#include "base/json.h"

typedef enum tlmi_file_kind {
    TLMI_FILE_EMPTY,
    TLMI_FILE_SAFETENSORS,
    TLMI_FILE_GGUF,
    TLMI_FILE_NPY,
    TLMI_FILE_ZIP, /* of PyTorch (.pt, .pth, .bin) or NumPy (.npz) among others */
    TLMI_FILE_PICKLE,
    TLMI_FILE_HDF5,
    TLMI_FILE_SENTENCEPIECE,
    TLMI_FILE_GGML,
    TLMI_FILE_GZIP,
    TLMI_FILE_XZ,
    TLMI_FILE_ZSTD,
    TLMI_FILE_BZIP2,
    TLMI_FILE_ELF,
    TLMI_FILE_LFS_POINTER, /* what git leaves of a large file without its extension LFS */
    TLMI_FILE_HTML,
    TLMI_FILE_JSON,
    TLMI_FILE_RANKS,  /* of tiktoken: base64, a space, a number */
    TLMI_FILE_MERGES, /* merges.txt, by its first line */
    TLMI_FILE_TEXT,
    TLMI_FILE_BINARY,
} tlmi_file_kind_t;

/* As many bytes of a file as tlmi_file_kind needs to see; fewer will do. */
#define TLMI_FILE_HEAD_SIZE 4096

tlmi_file_kind_t tlmi_file_kind(const void *head, size_t size);
/* A phrase for messages: "a GGUF file", "an empty file". */
const char *tlmi_file_kind_name(tlmi_file_kind_t kind);
static inline const char *tlmi_file_looks_like(const void *head, size_t size)
{
    return tlmi_file_kind_name(tlmi_file_kind(head, size));
}

/* Tells the kind of the file at `path`. Errors are those of tlmi_map_file. */
tlm_status_t tlmi_file_kind_at(tlmi_file_kind_t *out, const char *path);

/* Reads and parses a whole JSON file; *size gets its size in bytes. Owned: tlmi_json_free. */
tlm_status_t tlmi_json_read_file(tlmi_json_t **out, size_t *size, const char *path);

/* TLM_ERR_FORMAT: "<path>: not <wanted> but <what the bytes look like>". */
tlm_status_t tlmi_fail_kind(const char *path, const char *wanted, const void *head, size_t size)
    __attribute__((cold));

#endif
