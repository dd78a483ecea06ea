/* Event files: records of TFRecord's framing, each a protocol buffer `Event`, encoded by hand.
 *
 *   record   uint64 length, uint32 crc(length), data, uint32 crc(data); little-endian, crc masked
 *   Event    1: double wall_time   2: int64 step   3: string file_version   5: Summary
 *   Summary  1: Value, repeated
 *   Value    1: string tag         2: float simple_value
 *
 * A field is a key, number << 3 | wire type, and its value: 0 a varint, 1 eight bytes, 2 a length and
 * as many bytes, 5 four bytes. */
#include "support/event_file.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/cli.h"

enum { MAX_EVENT = 1024, VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* ---- Checksums -------------------------------------------------------------------------- */

/* CRC-32C (Castagnoli), bit by bit: records are short. */
static uint32_t crc32c(const uint8_t *bytes, size_t size)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}

/* TFRecord's mask, for data that holds checksums itself. */
static uint32_t masked_crc(const uint8_t *bytes, size_t size)
{
    uint32_t crc = crc32c(bytes, size);

    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---- Encoding --------------------------------------------------------------------------- */

typedef struct message {
    uint8_t bytes[MAX_EVENT];
    size_t size;
} message_t;

static void put_bytes(message_t *message, const void *bytes, size_t size)
{
    if (size > MAX_EVENT - message->size)
        cli_fail("an event of more than %d bytes", MAX_EVENT);
    memcpy(message->bytes + message->size, bytes, size);
    message->size += size;
}

static void put_little_endian(message_t *message, uint64_t value, size_t size)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    put_bytes(message, bytes, size);
}

static void put_varint(message_t *message, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_little_endian(message, (value & 0x7f) | 0x80, 1);
    put_little_endian(message, value, 1);
}

static void put_key(message_t *message, uint32_t field, uint32_t wire_type)
{
    put_varint(message, field << 3 | wire_type);
}

static void put_field(message_t *message, uint32_t field, const void *bytes, size_t size)
{
    put_key(message, field, BYTES);
    put_varint(message, size);
    put_bytes(message, bytes, size);
}

static void put_value(message_t *summary, const event_scalar_t *scalar)
{
    message_t value = {.size = 0};
    float number = (float)scalar->value;
    uint32_t bits;

    memcpy(&bits, &number, sizeof(bits));
    put_field(&value, 1, scalar->tag, strlen(scalar->tag));
    put_key(&value, 2, FIXED32);
    put_little_endian(&value, bits, 4);
    put_field(summary, 1, value.bytes, value.size);
}

/* The wall time and the step, which begin every event. */
static message_t begin_event(uint64_t step)
{
    message_t event = {.size = 0};
    struct timespec now;
    double seconds;
    uint64_t bits;

    clock_gettime(CLOCK_REALTIME, &now);
    seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    memcpy(&bits, &seconds, sizeof(bits));
    put_key(&event, 1, FIXED64);
    put_little_endian(&event, bits, 8);
    put_key(&event, 2, VARINT);
    put_varint(&event, step);
    return event;
}

static void write_record(FILE *file, const message_t *event)
{
    message_t length = {.size = 0}, checksum = {.size = 0};

    put_little_endian(&length, event->size, 8);
    put_little_endian(&length, masked_crc(length.bytes, 8), 4);
    put_little_endian(&checksum, masked_crc(event->bytes, event->size), 4);
    if (fwrite(length.bytes, 1, length.size, file) != length.size ||
        fwrite(event->bytes, 1, event->size, file) != event->size ||
        fwrite(checksum.bytes, 1, checksum.size, file) != checksum.size || fflush(file) != 0)
        cli_fail("the event file: %s", strerror(errno));
}

void event_file_add(FILE *file, uint64_t step, const event_scalar_t *scalars, size_t n)
{
    message_t event = begin_event(step), summary = {.size = 0};

    for (size_t i = 0; i < n; i++)
        put_value(&summary, &scalars[i]);
    put_field(&event, 5, summary.bytes, summary.size);
    write_record(file, &event);
}

/* ---- Resuming --------------------------------------------------------------------------- */

static uint64_t get_little_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

/* Reads a whole record that this module wrote; false at the end, and for anything else. The step
 * follows the wall time, which takes nine bytes. */
static bool read_record(FILE *file, uint64_t *step)
{
    uint8_t head[12], event[MAX_EVENT], checksum[4];
    size_t size, at = 10;

    if (fread(head, 1, sizeof(head), file) != sizeof(head) ||
        get_little_endian(head + 8, 4) != masked_crc(head, 8))
        return false;
    size = get_little_endian(head, 8) <= MAX_EVENT ? (size_t)get_little_endian(head, 8) : 0;
    if (size < 11 || fread(event, 1, size, file) != size ||
        fread(checksum, 1, sizeof(checksum), file) != sizeof(checksum) ||
        get_little_endian(checksum, 4) != masked_crc(event, size))
        return false;
    *step = 0;
    for (int shift = 0; at < size && shift < 64; shift += 7) {
        *step |= (uint64_t)(event[at] & 0x7f) << shift;
        if ((event[at++] & 0x80) == 0)
            return true;
    }
    return false;
}

FILE *event_file_open(const char *path, uint64_t last)
{
    static const char version[] = "brain.Event:2";
    FILE *file = fopen(path, "r+b");
    uint64_t step;
    long keep = 0;

    if (file == NULL)
        file = fopen(path, "w+b");
    if (file == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    while (read_record(file, &step) && step <= last)
        keep = ftell(file);
    if (fflush(file) != 0 || ftruncate(fileno(file), keep) != 0 || fseek(file, keep, SEEK_SET) != 0)
        cli_fail("%s: %s", path, strerror(errno));
    if (keep == 0) {
        message_t first = begin_event(0);

        put_field(&first, 3, version, sizeof(version) - 1);
        write_record(file, &first);
    }
    return file;
}
