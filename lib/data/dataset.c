/* Token data sets: ids in a mapped file or in memory, read at any offset and sampled in batches. */
#include "tinylm/data.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/dtype.h"
#include "formats/npy.h"
#include "data/data_core.h"

struct tlm_dataset {
    const uint8_t *items; /* little-endian ids, not aligned; borrowed if wrapped */
    uint64_t length;
    int32_t item_size;      /* 2, 4 or 8 */
    tlmi_mapping_t mapping; /* if read from a file */
    uint8_t *owned;         /* if copied to memory */
    tlm_dataset_t **files;  /* (num_files), if it is several one after another; owned */
    uint64_t *ends;         /* (num_files), where each ends */
    size_t num_files;
    uint8_t *counted;    /* (length): whether an id counts as a target; NULL: all do */
    uint64_t row_length; /* 0: a sequence without rows */
};

bool tlmi_path_ends_with(const char *path, const char *suffix)
{
    size_t path_size = strlen(path), suffix_size = strlen(suffix);

    return path_size >= suffix_size && strcmp(path + path_size - suffix_size, suffix) == 0;
}

tlm_status_t tlmi_token_item_size(int32_t *item_size, const char *function, const char *path,
                                  int32_t token_type)
{
    switch (token_type) {
    case TLM_TOKENS_UINT16:
    case TLM_TOKENS_UINT32:
    case TLM_TOKENS_INT64:
        *item_size = token_type;
        return TLM_OK;
    case TLM_TOKENS_AUTO:
        *item_size = tlmi_path_ends_with(path, ".u16")   ? 2
                     : tlmi_path_ends_with(path, ".u32") ? 4
                                                         : 0;
        return TLM_OK;
    default:
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: token_type %d; it is 0 (auto), 2 (uint16), 4 (uint32) or 8 (int64)",
                         function, token_type);
    }
}

/* Copies ids offset .. offset+n-1, which must exist. */
static void dataset_copy(uint32_t *ids, size_t n, const tlm_dataset_t *dataset, uint64_t offset)
{
    const uint8_t *items = dataset->items + offset * (uint64_t)dataset->item_size;

    if (dataset->item_size == 2)
        for (size_t i = 0; i < n; i++)
            ids[i] = tlmi_load_le16(items + 2 * i);
    else if (dataset->item_size == 4)
        for (size_t i = 0; i < n; i++)
            ids[i] = tlmi_load_le32(items + 4 * i);
    else /* the upper halves have been checked to be 0 */
        for (size_t i = 0; i < n; i++)
            ids[i] = tlmi_load_le32(items + 8 * i);
}

/* Finds where the ids of a mapped file begin and how many there are. */
static tlm_status_t dataset_locate(tlm_dataset_t *dataset, const char *path, int32_t token_type)
{
    const tlmi_mapping_t *mapping = &dataset->mapping;
    bool is_npy = tlmi_path_ends_with(path, ".npy");
    tlmi_npy_header_t header = {0, 0, 0};

    TLMI_TRY(tlmi_token_item_size(&dataset->item_size, "dataset_open", path, token_type));
    if (is_npy) {
        TLMI_TRY(tlmi_npy_parse(&header, mapping->data, mapping->size, path));
        if (dataset->item_size != 0 && dataset->item_size != header.item_size)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: the .npy header says ids of %d bytes, token_type says %d", path,
                             header.item_size, dataset->item_size);
        dataset->item_size = header.item_size;
    } else if (dataset->item_size == 0) {
        return tlmi_fail(
            TLM_ERR_INVALID_ARGUMENT,
            "%s: the name (.npy, .u16, .u32) does not tell the type of the ids; set token_type",
            path);
    }
    if ((mapping->size - header.data_offset) % (size_t)dataset->item_size != 0)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the size of %zu bytes is not a multiple of the %d bytes of an id",
                         path, mapping->size, dataset->item_size);
    dataset->length = (mapping->size - header.data_offset) / (size_t)dataset->item_size;
    dataset->items = mapping->size == 0 ? NULL : mapping->data + header.data_offset;
    return TLM_OK;
}

/* Rejects ids in an int64 file that do not fit in 32 bits, including negative ones. */
static tlm_status_t dataset_check_width(const tlm_dataset_t *dataset, const char *path)
{
    for (uint64_t i = 0; dataset->item_size == 8 && i < dataset->length; i++) {
        uint64_t value = tlmi_load_le64(dataset->items + 8 * i);

        if (i % 4096 == 0)
            TLMI_TRY(tlmi_check_interrupt("dataset_open"));
        if (value > UINT32_MAX)
            return tlmi_fail(TLM_ERR_RANGE,
                             "%s: id %" PRId64 " at position %" PRIu64 " is not in 0 to %" PRIu32,
                             path, (int64_t)value, i, UINT32_MAX);
    }
    return TLM_OK;
}

static tlm_status_t dataset_check_vocabulary(const tlm_dataset_t *dataset, uint32_t vocab_size,
                                             const char *path)
{
    uint32_t ids[4096];

    for (uint64_t offset = 0; offset < dataset->length;) {
        uint64_t left = dataset->length - offset;
        size_t n = left < 4096 ? (size_t)left : 4096;
        uint32_t largest = 0;

        TLMI_TRY(tlmi_check_interrupt("dataset_open"));
        dataset_copy(ids, n, dataset, offset);
        for (size_t i = 0; i < n; i++)
            largest = ids[i] > largest ? ids[i] : largest;
        for (size_t i = 0; largest >= vocab_size && i < n; i++)
            if (ids[i] >= vocab_size)
                return tlmi_fail(TLM_ERR_RANGE,
                                 "%s: id %" PRIu32 " at position %" PRIu64
                                 " is outside the vocabulary of %" PRIu32,
                                 path, ids[i], offset + i, vocab_size);
        offset += n;
    }
    return TLM_OK;
}

tlm_status_t tlm_dataset_open(tlm_dataset_t **out, const char *path, int32_t token_type,
                              uint32_t vocab_size)
{
    TLMI_REQUIRE("dataset_open", out);
    TLMI_REQUIRE("dataset_open", path);
    tlm_dataset_t *dataset = tlmi_calloc(1, sizeof(*dataset), "a data set");
    if (dataset == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status;
    TLMI_TRY_OR(fail, tlmi_map_file(&dataset->mapping, path));
    TLMI_TRY_OR(fail, dataset_locate(dataset, path, token_type));
    TLMI_TRY_OR(fail, dataset_check_width(dataset, path));
    if (vocab_size > 0)
        TLMI_TRY_OR(fail, dataset_check_vocabulary(dataset, vocab_size, path));
    *out = dataset;
    return TLM_OK;
fail:
    tlm_dataset_free(dataset);
    return status;
}

/* ---- Several files ---------------------------------------------------------------------- */

static tlm_status_t open_files(tlm_dataset_t *dataset, const char *const *paths, size_t n,
                               int32_t token_type, uint32_t vocab_size)
{
    dataset->files = tlmi_calloc(n, sizeof(*dataset->files), "the files of a data set");
    dataset->ends = tlmi_calloc(n, sizeof(*dataset->ends), "the files of a data set");
    if (dataset->files == NULL || dataset->ends == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        TLMI_TRY(tlm_dataset_open(&dataset->files[i], paths[i], token_type, vocab_size));
        dataset->num_files = i + 1;
        dataset->length += dataset->files[i]->length; /* of files that are mapped: no overflow */
        dataset->ends[i] = dataset->length;
    }
    return TLM_OK;
}

tlm_status_t tlm_dataset_open_files(tlm_dataset_t **out, const char *const *paths, size_t n,
                                    int32_t token_type, uint32_t vocab_size)
{
    TLMI_REQUIRE("dataset_open_files", out);
    TLMI_REQUIRE("dataset_open_files", paths);
    if (n == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "dataset_open_files: n is 0");
    for (size_t i = 0; i < n; i++)
        if (paths[i] == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "dataset_open_files: path %zu is NULL", i);
    tlm_dataset_t *dataset = tlmi_calloc(1, sizeof(*dataset), "a data set");
    if (dataset == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = open_files(dataset, paths, n, token_type, vocab_size);
    if (status == TLM_OK)
        *out = dataset;
    else
        tlm_dataset_free(dataset);
    return status;
}

/* Reads ids that exist, from as many files as they lie in. */
static tlm_status_t read_files(uint32_t *ids, size_t n, const tlm_dataset_t *dataset,
                               uint64_t offset)
{
    size_t low = 0, high = dataset->num_files - 1;

    while (low < high) { /* the first file that ends after the offset */
        size_t middle = (low + high) / 2;

        if (dataset->ends[middle] > offset)
            high = middle;
        else
            low = middle + 1;
    }
    for (size_t i = low; n > 0; i++) {
        const uint64_t first = i == 0 ? 0 : dataset->ends[i - 1];
        const uint64_t left = dataset->ends[i] - offset;
        const size_t taken = left < n ? (size_t)left : n;

        TLMI_TRY(tlm_dataset_read(ids, taken, dataset->files[i], offset - first));
        ids += taken;
        n -= taken;
        offset += taken;
    }
    return TLM_OK;
}

tlm_status_t tlmi_dataset_adopt(tlm_dataset_t **out, uint32_t *ids, size_t n)
{
    tlm_dataset_t *dataset = tlmi_calloc(1, sizeof(*dataset), "a data set");

    if (dataset == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    dataset->owned = (uint8_t *)ids;
    for (size_t i = 0; i < n; i++) { /* as they would be in a file */
        const uint32_t id = ids[i];

        tlmi_store_le32(dataset->owned + 4 * i, id);
    }
    dataset->items = dataset->owned;
    dataset->length = n;
    dataset->item_size = 4;
    *out = dataset;
    return TLM_OK;
}

tlm_status_t tlm_dataset_from_ids(tlm_dataset_t **out, const uint32_t *ids, size_t n)
{
    TLMI_REQUIRE("dataset_from_ids", out);
    if (n > 0)
        TLMI_REQUIRE("dataset_from_ids", ids);
    uint32_t *copy = tlmi_alloc(n, sizeof(*copy), "the ids of a data set");
    if (copy == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (n > 0)
        memcpy(copy, ids, n * sizeof(*ids));
    tlm_status_t status = tlmi_dataset_adopt(out, copy, n);
    if (status != TLM_OK)
        tlmi_free(copy);
    return status;
}

tlm_status_t tlm_dataset_wrap(tlm_dataset_t **out, const void *ids, size_t n, int32_t token_type)
{
    TLMI_REQUIRE("dataset_wrap", out);
    if (n > 0)
        TLMI_REQUIRE("dataset_wrap", ids);
    if (token_type != TLM_TOKENS_UINT16 && token_type != TLM_TOKENS_UINT32)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "dataset_wrap: token_type %d; it is 2 (uint16) or 4 (uint32)", token_type);
    size_t bytes;
    if (!tlmi_mul_size(&bytes, n, (size_t)token_type))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "dataset_wrap: %zu ids of %d bytes are too many",
                         n, token_type);
    tlm_dataset_t *dataset = tlmi_calloc(1, sizeof(*dataset), "a data set");
    if (dataset == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    dataset->items = ids;
    dataset->length = n;
    dataset->item_size = token_type;
    *out = dataset;
    return TLM_OK;
}

void tlm_dataset_free(tlm_dataset_t *dataset)
{
    if (dataset == NULL)
        return;
    for (size_t i = 0; i < dataset->num_files; i++)
        tlm_dataset_free(dataset->files[i]);
    tlmi_free(dataset->files);
    tlmi_free(dataset->ends);
    tlmi_unmap_file(&dataset->mapping);
    tlmi_free(dataset->owned);
    tlmi_free(dataset->counted);
    tlmi_free(dataset);
}

uint64_t tlm_dataset_length(const tlm_dataset_t *dataset)
{
    return dataset == NULL ? 0 : dataset->length;
}

tlm_status_t tlm_dataset_read(uint32_t *ids, size_t n, const tlm_dataset_t *dataset,
                              uint64_t offset)
{
    TLMI_REQUIRE("dataset_read", dataset);
    if (offset > dataset->length || n > dataset->length - offset)
        return tlmi_fail(TLM_ERR_RANGE,
                         "dataset_read: %zu ids at position %" PRIu64
                         " end past the length of %" PRIu64,
                         n, offset, dataset->length);
    if (n == 0)
        return TLM_OK;
    TLMI_REQUIRE("dataset_read", ids);
    if (dataset->num_files > 0)
        return read_files(ids, n, dataset, offset);
    TLMI_TRY(tlmi_mapping_check(&dataset->mapping, "dataset_read"));
    dataset_copy(ids, n, dataset, offset);
    return TLM_OK;
}

tlm_status_t tlm_dataset_sample(uint32_t *inputs, uint32_t *targets, const tlm_dataset_t *dataset,
                                int64_t batch, int64_t context, uint64_t seed, uint64_t step)
{
    size_t row_size = (size_t)context;

    TLMI_REQUIRE("dataset_sample", inputs);
    TLMI_REQUIRE("dataset_sample", targets);
    TLMI_REQUIRE("dataset_sample", dataset);
    if (batch <= 0 || context <= 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "dataset_sample: batch %" PRId64 " and context %" PRId64
                         " must be positive",
                         batch, context);
    if (dataset->length <= (uint64_t)context)
        return tlmi_fail(TLM_ERR_RANGE,
                         "dataset_sample: %" PRIu64 " ids are too few for a context of %" PRId64
                         "; at least %" PRIu64 " are needed",
                         dataset->length, context, (uint64_t)context + 1);
    size_t batch_bytes;
    if (!tlmi_mul_size(&batch_bytes, (size_t)batch, row_size) ||
        !tlmi_mul_size(&batch_bytes, batch_bytes, sizeof(uint32_t)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "dataset_sample: a batch of (%" PRId64 ", %" PRId64 ") is too large",
                         batch, context);
    for (uint64_t row = 0; row < (uint64_t)batch; row++) {
        uint64_t start = tlmi_random_below(seed, TLMI_STREAM_BATCH, step * (uint64_t)batch + row,
                                           dataset->length - (uint64_t)context);
        TLMI_TRY(tlm_dataset_read(inputs + row * row_size, row_size, dataset, start));
        TLMI_TRY(tlm_dataset_read(targets + row * row_size, row_size, dataset, start + 1));
    }
    return TLM_OK;
}

/* ---- Rows and targets that do not count ------------------------------------------------------- */

tlm_status_t tlm_dataset_from_rows(tlm_dataset_t **out, const uint32_t *ids, const uint8_t *counted,
                                   size_t n, size_t row_length)
{
    TLMI_REQUIRE("dataset_from_rows", out);
    if (row_length == 1 || (row_length > 0 && n % row_length != 0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "dataset_from_rows: %zu ids are no rows of %zu, which is at least 2", n,
                         row_length);
    for (size_t i = 0; counted != NULL && i < n; i++)
        if (counted[i] > 1)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "dataset_from_rows: counted[%zu] is %d, not 0 or 1", i, counted[i]);
    uint8_t *copy = NULL;
    if (counted != NULL && n > 0) {
        copy = tlmi_memdup(counted, n, "the mask of a data set");
        if (copy == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
    }
    tlm_dataset_t *dataset;
    tlm_status_t status = tlm_dataset_from_ids(&dataset, ids, n);
    if (status != TLM_OK) {
        tlmi_free(copy);
        return status;
    }
    dataset->counted = copy;
    dataset->row_length = row_length;
    *out = dataset;
    return TLM_OK;
}

uint64_t tlmi_dataset_row_length(const tlm_dataset_t *dataset)
{
    return dataset->row_length;
}

bool tlmi_dataset_is_masked(const tlm_dataset_t *dataset)
{
    return dataset->counted != NULL;
}

tlm_status_t tlmi_dataset_read_targets(uint32_t *ids, size_t n, const tlm_dataset_t *dataset,
                                       uint64_t offset)
{
    TLMI_TRY(tlm_dataset_read(ids, n, dataset, offset));
    for (size_t i = 0; i < n && dataset->counted != NULL; i++)
        if (dataset->counted[offset + i] == 0)
            ids[i] = TLM_IGNORED_TARGET;
    return TLM_OK;
}

uint64_t tlmi_dataset_counted(const tlm_dataset_t *dataset, uint64_t offset, uint64_t n)
{
    uint64_t counted = 0;

    if (dataset->counted == NULL)
        return n;
    for (uint64_t i = 0; i < n; i++)
        counted += dataset->counted[offset + i];
    return counted;
}
