/* SPDX-License-Identifier: Apache-2.0
 *
 * A sound little codec (exact: a run of one byte, or all bytes behind a mark) in which FAULT plants one mistake of the
 * kind that the conformance suite promises to find. FAULT 0 is the sound one. */
#include <string.h>
#include <tessera/plugin.h>

#ifndef FAULT
#define FAULT 0
#endif
enum {
    SOUND,
    READS_BEHIND,
    WRITES_BEHIND,
    WRITES_IN_FRONT,
    DECODE_WRITES_BEHIND,
    LEAKS,
    DIES_OF_MEMORY,
    KEEPS_QUIET_OF_MEMORY,
    TRUSTS_HEADER,
    HANGS,
    UNINITIALISED,
    WRONG_VALUE,
    IGNORES_CAPACITY,
    ABORTS_ON_ONE,
    SHARED_STATE,
    WRITES_SOURCE,
    LIES_OF_BOUND,
    STRANGE_STATUS,
    ODD_WORKERS,
    REFUSES_LATE
};

struct codec {
    const tsr_host *host;
    uint8_t *note;
};

static uint8_t shared;

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    struct codec *made = setup->host->alloc(setup->host, sizeof *made);
    if (!made && FAULT == KEEPS_QUIET_OF_MEMORY) return tsr_fail(err, TSR_E_IO, "something");
    if (!made && FAULT != DIES_OF_MEMORY) return tsr_fail(err, TSR_E_NOMEM, "no memory");
    made->host = setup->host;
    made->note = setup->host->alloc(setup->host, 16);
    if (!made->note) {
        if (FAULT != LEAKS) setup->host->free(setup->host, made);
        return tsr_fail(err, TSR_E_NOMEM, "no memory");
    }
    memset(made->note, 0, FAULT == UNINITIALISED ? 0 : 16);
    *self = made;
    return TSR_OK;
}

static void destroy(void *self) {
    struct codec *codec = self;
    codec->host->free(codec->host, codec->note);
    codec->host->free(codec->host, codec);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    (void)self;
    return FAULT == LIES_OF_BOUND ? tile->bytes / 2 + 4 : tile->bytes + 4;
}

/* Payload: 0, two bytes, the byte that all are; or 1, the length without zeros at the end (2 bytes), a note, and so
 * many bytes. */
static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    const struct codec *codec = self;
    const uint8_t *from = src;
    uint8_t *to = dst;
    uint64_t same = 1, length = tile->bytes;
    while (same < tile->bytes && from[same] == from[0]) same++;
    while (length > 0 && from[length - 1] == 0) length--;
    uint64_t needed = same == tile->bytes ? 4 : 4 + length;
    if (FAULT == REFUSES_LATE) return tsr_fail(err, TSR_E_UNSUPPORTED, "not today");
    if (FAULT == STRANGE_STATUS && tile->bytes == 2) return 42;
    if (FAULT == ABORTS_ON_ONE && tile->bytes <= 2) *(volatile int *)0 = 1;
    if (needed > capacity && FAULT != IGNORES_CAPACITY && FAULT != LIES_OF_BOUND) {
        return tsr_fail(err, TSR_E_SPACE, "too small");
    }
    to[0] = same != tile->bytes;
    to[1] = (uint8_t)length;
    to[2] = (uint8_t)(length >> 8);
    to[3] = same == tile->bytes ? from[0] : codec->note[3];
    if (FAULT == SHARED_STATE && same != tile->bytes) to[3] = shared++;
    if (FAULT == ODD_WORKERS && same != tile->bytes) to[3] = (uint8_t)(tile->worker * 3);
    if (needed > 4) memcpy(to + 4, from, length);
    if (FAULT == WRITES_BEHIND) to[capacity] = 1;
    if (FAULT == WRITES_IN_FRONT) to[-1] = 1;
    if (FAULT == READS_BEHIND && ((const volatile uint8_t *)from)[tile->bytes] == 1) to[3] ^= 0;
    if (FAULT == WRITES_SOURCE) ((volatile uint8_t *)(uintptr_t)src)[0] = from[0];
    *written = needed;
    return TSR_OK;
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const uint8_t *from = src;
    uint8_t *to = dst;
    (void)self;
    if (size < 4) return tsr_fail(err, TSR_E_CORRUPT, "too short");
    if (from[0] == 0) {
        memset(to, from[3], tile->bytes);
        if (FAULT == DECODE_WRITES_BEHIND) to[tile->bytes] = 0;
        return TSR_OK;
    }
    uint64_t length = from[1] | (uint64_t)from[2] << 8;
    while (FAULT == HANGS && length > tile->bytes) length |= 1;
    if (FAULT != TRUSTS_HEADER && (length != size - 4 || length > tile->bytes))
        return tsr_fail(err, TSR_E_CORRUPT, "length");
    memcpy(to, from + 4, length);
    memset(to + length, 0, tile->bytes - length);
    if (FAULT == WRONG_VALUE && tile->bytes > 1) to[tile->bytes - 1] ^= 1;
    return TSR_OK;
}

static const tsr_codec CODEC = {
    .struct_size = sizeof CODEC,
    .id = "org.example.faulty",
    .name = "faulty",
    .description = "one mistake",
    .bitstream_version = 1,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_EXACT | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_ALL,
    .tile_weights = 1 << 12,
    .create = create,
    .destroy = destroy,
    .encode_bound = encode_bound,
    .encode = encode,
    .decode = decode,
};
static const tsr_codec *const CODECS[] = {&CODEC, NULL};
TSR_PLUGIN = {sizeof(tsr_plugin), "faulty", "1.0", "Apache-2.0", TSR_ABI_MINOR, CODECS, NULL};
