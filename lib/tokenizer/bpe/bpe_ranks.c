/* Adds up what the ranks of a communicator have counted. Each pretoken belongs to one rank, by its
 * hash: the ranks send each other what belongs there, add it up, and give the sums to all. So every
 * rank receives about as much as it keeps, whatever the number of ranks.
 *
 * A record is the size of a pretoken, its bytes and its count; numbers are written seven bits at a
 * time, low bits first, with the top bit set in all bytes but the last. */
#include "tokenizer/bpe/bpe_train.h"

#include <inttypes.h>
#include <string.h>

#include "base/communicator.h"
#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/hash.h"

#define FUNCTION   "bpe_trainer_add_text"
#define MAX_NUMBER 10 /* bytes of a number */

typedef struct records {
    uint8_t *bytes;
    size_t size, capacity;
} records_t;

/* What the exchange holds while it runs. */
typedef struct exchange {
    tlm_communicator_t *communicator;
    int32_t rank, num_ranks;
    records_t *parts;            /* (num_ranks): what belongs to each rank */
    size_t *sizes;               /* (num_ranks, num_ranks): bytes from each rank to each */
    records_t received, sums;    /* of this rank's pretokens */
    tlmi_pretoken_counts_t mine; /* the same */
} exchange_t;

static void release(exchange_t *exchange)
{
    for (int32_t r = 0; exchange->parts != NULL && r < exchange->num_ranks; r++)
        tlmi_free(exchange->parts[r].bytes);
    tlmi_free(exchange->parts);
    tlmi_free(exchange->sizes);
    tlmi_free(exchange->received.bytes);
    tlmi_free(exchange->sums.bytes);
    tlmi_pretoken_counts_release(&exchange->mine);
}

/* ---- Records ---- */

static void put_number(records_t *records, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        records->bytes[records->size++] = (uint8_t)(number | 0x80);
    records->bytes[records->size++] = (uint8_t)number;
}

static bool get_number(uint64_t *out, const records_t *records, size_t *at)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && *at < records->size; shift += 7) {
        uint8_t byte = records->bytes[(*at)++];

        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static tlm_status_t put_record(records_t *records, const tlmi_counted_pretoken_t *pretoken)
{
    if (!tlmi_grow(&records->bytes, &records->capacity,
                   records->size + pretoken->bytes.size + 2 * MAX_NUMBER, 1, "counts of ranks"))
        return TLM_ERR_OUT_OF_MEMORY;
    put_number(records, pretoken->bytes.size);
    memcpy(records->bytes + records->size, pretoken->bytes.data, pretoken->bytes.size);
    records->size += pretoken->bytes.size;
    put_number(records, pretoken->count);
    return TLM_OK;
}

static tlm_status_t add_records(tlmi_pretoken_counts_t *counts, const records_t *records)
{
    for (size_t at = 0; at < records->size;) {
        uint64_t size, count;
        const uint8_t *bytes;

        if (!get_number(&size, records, &at) || size == 0 || size > records->size - at)
            return tlmi_fail(TLM_ERR_FORMAT,
                             FUNCTION ": the counts of another rank are damaged at byte %zu", at);
        bytes = records->bytes + at;
        at += size;
        if (!get_number(&count, records, &at) || count == 0)
            return tlmi_fail(TLM_ERR_FORMAT,
                             FUNCTION ": the counts of another rank are damaged at byte %zu", at);
        TLMI_TRY(tlmi_pretoken_counts_add_counted(counts, (tlm_bytes_t){bytes, size}, count));
    }
    return TLM_OK;
}

/* ---- Exchanging ---- */

static tlm_status_t agree(const exchange_t *exchange, tlm_status_t status)
{
    return tlmi_agree(exchange->communicator, FUNCTION, status);
}

static tlm_status_t split(exchange_t *exchange, const tlmi_pretoken_counts_t *counts)
{
    const size_t n = (size_t)exchange->num_ranks;
    tlmi_counted_pretoken_t pretoken = {.slot = 0};

    exchange->parts = tlmi_calloc(n, sizeof(*exchange->parts), "counts of ranks");
    exchange->sizes = tlmi_calloc(n * n, sizeof(*exchange->sizes), "counts of ranks");
    if (exchange->parts == NULL || exchange->sizes == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    while (tlmi_pretoken_counts_next(&pretoken, counts)) {
        uint64_t hash = tlmi_hash_bytes(pretoken.bytes.data, pretoken.bytes.size);

        TLMI_TRY(put_record(&exchange->parts[(hash >> 32) * n >> 32], &pretoken));
    }
    return TLM_OK;
}

static tlm_status_t reserve(records_t *records, size_t size)
{
    return tlmi_grow(&records->bytes, &records->capacity, size, 1, "counts of ranks")
               ? TLM_OK
               : TLM_ERR_OUT_OF_MEMORY;
}

/* Tells all ranks how much each will receive from each, and makes room for the largest. */
static tlm_status_t gather_sizes(exchange_t *exchange)
{
    const size_t n = (size_t)exchange->num_ranks;
    size_t *own = tlmi_alloc(n, sizeof(*own), "counts of ranks"), most = 0;
    tlm_status_t status = agree(exchange, own == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK);

    for (size_t r = 0; r < n && status == TLM_OK; r++)
        own[r] = exchange->parts[r].size;
    if (status == TLM_OK)
        status = tlmi_all_gather_equal(exchange->communicator, FUNCTION, own, exchange->sizes,
                                       n * sizeof(*own));
    tlmi_free(own);
    TLMI_TRY(status);
    for (size_t r = 0; r < n; r++) {
        size_t size = exchange->sizes[r * n + (size_t)exchange->rank];

        most = size > most ? size : most;
    }
    return agree(exchange, reserve(&exchange->received, most));
}

/* Exchanges the parts and adds up those of this rank. */
static tlm_status_t exchange_parts(exchange_t *exchange)
{
    const int32_t n = exchange->num_ranks;
    tlm_status_t status = add_records(&exchange->mine, &exchange->parts[exchange->rank]);

    for (int32_t step = 1; step < n; step++) {
        const int32_t to = (exchange->rank + step) % n, from = (exchange->rank + n - step) % n;
        records_t *part = &exchange->parts[to], *received = &exchange->received;

        received->size = exchange->sizes[(size_t)from * (size_t)n + (size_t)exchange->rank];
        TLMI_TRY(tlm_communicator_exchange(received->bytes, received->size, from,
                                           exchange->communicator, part->bytes, part->size, to));
        tlmi_free(part->bytes);
        *part = (records_t){0};
        if (status == TLM_OK)
            status = add_records(&exchange->mine, received);
    }
    return agree(exchange, status);
}

static tlm_status_t write_sums(exchange_t *exchange)
{
    tlmi_counted_pretoken_t pretoken = {.slot = 0};

    while (tlmi_pretoken_counts_next(&pretoken, &exchange->mine))
        TLMI_TRY(put_record(&exchange->sums, &pretoken));
    tlmi_pretoken_counts_release(&exchange->mine);
    return TLM_OK;
}

/* Gives the sums to all ranks. */
static tlm_status_t gather_sums(tlmi_pretoken_counts_t *out, exchange_t *exchange)
{
    size_t *sizes = exchange->sizes, total = 0;

    TLMI_TRY(agree(exchange, write_sums(exchange)));
    TLMI_TRY(tlmi_all_gather_equal(exchange->communicator, FUNCTION, &exchange->sums.size, sizes,
                                   sizeof(*sizes)));
    for (int32_t r = 0; r < exchange->num_ranks; r++)
        total += sizes[r];
    TLMI_TRY(agree(exchange, reserve(&exchange->received, total)));
    TLMI_TRY(tlm_communicator_all_gather(exchange->received.bytes, exchange->communicator,
                                         exchange->sums.bytes, sizes));
    exchange->received.size = total;
    return agree(exchange, add_records(out, &exchange->received));
}

tlm_status_t tlmi_pretoken_counts_add_ranks(tlmi_pretoken_counts_t *counts,
                                            tlm_communicator_t *communicator)
{
    exchange_t exchange = {.communicator = communicator,
                           .rank = tlm_communicator_rank(communicator),
                           .num_ranks = tlm_communicator_num_ranks(communicator)};
    tlmi_pretoken_counts_t all = {0};

    if (exchange.num_ranks == 1)
        return TLM_OK;
    tlm_status_t status = agree(&exchange, split(&exchange, counts));
    if (status == TLM_OK)
        status = gather_sizes(&exchange);
    if (status == TLM_OK)
        status = exchange_parts(&exchange);
    if (status == TLM_OK)
        status = gather_sums(&all, &exchange);
    release(&exchange);
    if (status == TLM_OK) {
        tlmi_pretoken_counts_release(counts);
        *counts = all;
    } else {
        tlmi_pretoken_counts_release(&all);
    }
    return status;
}
