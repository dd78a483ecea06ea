/* Identifies a file's kind from its first bytes, so that a loader given the wrong file can say
 * what it got. */
#ifndef TLMI_FILE_KIND_H
#define TLMI_FILE_KIND_H

#include "base/json.h"

typedef enum tlmi_file_kind {
    TLMI_FILE_EMPTY,
    TLMI_FILE_SAFETENSORS,
    TLMI_FILE_GGUF,
    TLMI_FILE_NPY,
    TLMI_FILE_ZIP, /* from PyTorch (.pt, .pth, .bin) or NumPy (.npz), among others */
    TLMI_FILE_PICKLE,
    TLMI_FILE_HDF5,
    TLMI_FILE_SENTENCEPIECE,
    TLMI_FILE_GGML,
    TLMI_FILE_GZIP,
    TLMI_FILE_XZ,
    TLMI_FILE_ZSTD,
    TLMI_FILE_BZIP2,
    TLMI_FILE_ELF,
    TLMI_FILE_LFS_POINTER, /* what git checks out for a large file when LFS is not installed */
    TLMI_FILE_HTML,
    TLMI_FILE_JSON,
    TLMI_FILE_RANKS,  /* tiktoken's ranks: base64, a space, a number */
    TLMI_FILE_MERGES, /* merges.txt, identified by its first line */
    TLMI_FILE_TEXT,
    TLMI_FILE_BINARY,
} tlmi_file_kind_t;

/* The number of bytes that tlmi_file_kind looks at; fewer are fine. */
#define TLMI_FILE_HEAD_SIZE 4096

tlmi_file_kind_t tlmi_file_kind(const void *head, size_t size);
/* Returns a phrase for messages: "a GGUF file", "an empty file". */
const char *tlmi_file_kind_name(tlmi_file_kind_t kind);
static inline const char *tlmi_file_looks_like(const void *head, size_t size)
{
    return tlmi_file_kind_name(tlmi_file_kind(head, size));
}

/* Determines the kind of the file at `path`. See tlmi_map_file for errors. */
tlm_status_t tlmi_file_kind_at(tlmi_file_kind_t *out, const char *path);

/* Reads and parses a JSON file; *size receives its size in bytes. Owned: free with
 * tlmi_json_free. */
tlm_status_t tlmi_json_read_file(tlmi_json_t **out, size_t *size, const char *path);

/* Fails with TLM_ERR_FORMAT and "<path>: not <wanted> but <what the bytes look like>". */
tlm_status_t tlmi_fail_kind(const char *path, const char *wanted, const void *head, size_t size)
    __attribute__((cold));

#endif
