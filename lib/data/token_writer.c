/* Writes token files, raw or .npy, under a temporary name and then renames them. The .npy header
 * comes first in the file but holds the length, which is known last, so a fixed size is reserved
 * for it. Several processes can write a file together, each its own ids: see tlmi_writer_join. */
#include "tinylm/data.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/dtype.h"
#include "formats/npy.h"
#include "data/data_core.h"

struct tlm_token_writer {
    tlmi_writer_t *file; /* NULL once finished or failed */
    bool finished;
    bool is_npy;
    bool joined; /* another process writes the header and renames the file */
    int32_t item_size;
    uint64_t length; /* the position of the next id */
};

tlm_status_t tlmi_token_writer_join(tlm_token_writer_t **out, const char *path, int32_t token_type,
                                    const char *aside_name)
{
    int32_t item_size;
    TLMI_TRY(tlmi_token_item_size(&item_size, "token_writer_create", path, token_type));
    if (item_size == 0)
        return tlmi_fail(
            TLM_ERR_INVALID_ARGUMENT,
            "%s: the name (.u16, .u32) does not tell the type of the ids; set token_type", path);
    if (item_size == 8)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: token_type 8 (int64) can be read but not written; use uint32", path);
    tlm_token_writer_t *writer = tlmi_calloc(1, sizeof(*writer), "a token writer");
    if (writer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    writer->item_size = item_size;
    writer->is_npy = tlmi_path_ends_with(path, ".npy");
    writer->joined = aside_name != NULL;
    tlm_status_t status;
    TLMI_TRY_OR(fail, writer->joined ? tlmi_writer_join(&writer->file, path, aside_name)
                                     : tlmi_writer_open(&writer->file, path));
    uint8_t header[TLMI_NPY_HEADER_SIZE];
    if (writer->is_npy && !writer->joined) {
        tlmi_npy_format(header, item_size, 0);
        TLMI_TRY_OR(fail, tlmi_writer_write(writer->file, header, sizeof(header)));
    }
    *out = writer;
    return TLM_OK;
fail:
    tlm_token_writer_free(writer);
    return status;
}

tlm_status_t tlm_token_writer_create(tlm_token_writer_t **out, const char *path, int32_t token_type)
{
    TLMI_REQUIRE("token_writer_create", out);
    TLMI_REQUIRE("token_writer_create", path);
    return tlmi_token_writer_join(out, path, token_type, NULL);
}

const char *tlmi_token_writer_aside_name(const tlm_token_writer_t *writer)
{
    return tlmi_writer_aside_name(writer->file);
}

/* Discards the file after a failed write, because its state on disk is unknown and nothing more may
 * be written to it. */
static tlm_status_t writer_drop(tlm_token_writer_t *writer, tlm_status_t status)
{
    tlmi_writer_abort(writer->file);
    writer->file = NULL;
    return status;
}

static tlm_status_t writer_require_open(const char *function, const tlm_token_writer_t *writer)
{
    TLMI_REQUIRE(function, writer);
    if (writer->file == NULL)
        return tlmi_fail(TLM_ERR_STATE, "%s: the writer %s", function,
                         writer->finished ? "has already been finished" : "failed earlier");
    return TLM_OK;
}

tlm_status_t tlm_token_writer_push(tlm_token_writer_t *writer, const uint32_t *ids, size_t n)
{
    TLMI_TRY(writer_require_open("token_writer_push", writer));
    if (n == 0)
        return TLM_OK;
    TLMI_REQUIRE("token_writer_push", ids);
    for (size_t i = 0; writer->item_size == 2 && i < n; i++)
        if (ids[i] > UINT16_MAX)
            return tlmi_fail(TLM_ERR_RANGE,
                             "token_writer_push: id %" PRIu32 " at position %" PRIu64
                             " does not fit uint16",
                             ids[i], writer->length + i);
    uint8_t bytes[4 * 4096];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < 4096 ? n - done : 4096;

        for (size_t i = 0; i < count; i++)
            if (writer->item_size == 2)
                tlmi_store_le16(bytes + 2 * i, ids[done + i]);
            else
                tlmi_store_le32(bytes + 4 * i, ids[done + i]);
        tlm_status_t status =
            tlmi_writer_write(writer->file, bytes, count * (size_t)writer->item_size);
        if (status != TLM_OK)
            return writer_drop(writer, status);
        done += count;
    }
    writer->length += n;
    return TLM_OK;
}

tlm_status_t tlmi_token_writer_seek(tlm_token_writer_t *writer, uint64_t position)
{
    TLMI_TRY(writer_require_open("token_writer_push", writer));
    uint64_t header = writer->is_npy ? TLMI_NPY_HEADER_SIZE : 0;
    tlm_status_t status =
        tlmi_writer_seek(writer->file, header + position * (uint64_t)writer->item_size);
    if (status != TLM_OK)
        return writer_drop(writer, status);
    writer->length = position;
    return TLM_OK;
}

tlm_status_t tlm_token_writer_finish(tlm_token_writer_t *writer)
{
    TLMI_TRY(writer_require_open("token_writer_finish", writer));
    uint8_t header[TLMI_NPY_HEADER_SIZE];
    tlm_status_t status;
    if (writer->is_npy && !writer->joined) {
        tlmi_npy_format(header, writer->item_size, writer->length);
        status = tlmi_writer_patch(writer->file, 0, header, sizeof(header));
        if (status != TLM_OK)
            return writer_drop(writer, status);
    }
    status = tlmi_writer_commit(writer->file);
    writer->file = NULL;
    writer->finished = status == TLM_OK;
    return status;
}

void tlm_token_writer_free(tlm_token_writer_t *writer)
{
    if (writer == NULL)
        return;
    tlmi_writer_abort(writer->file);
    tlmi_free(writer);
}
