/* SPDX-License-Identifier: Apache-2.0
 *
 * Damaged bytes end in TSR_OK (wrong values) or TSR_E_CORRUPT, within 10 seconds, and never outside the buffers; the
 * guard pages of the rig see to that. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <base/alloc.h>
#include <string.h>
#include <time.h>

#include "conformance_list.h"

#define DECODE_SECONDS 10

/* One encoded tensor, opened for decoding, and room for a changed tile. */
struct victim {
    struct rig *rig;
    struct subject subject;
    struct stored stored;
    struct coder *coder;
    uint8_t *decoded;
    struct rng rng;
    uint64_t tried;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static tsr_status open_victim(struct victim *victim, struct rig *rig, enum fill fill, tsr_error *err) {
    *victim = (struct victim){.rig = rig, .rng = {rig->seed}};
    tsr_status st = subject_make(&victim->subject, subject_dtype(rig->codec), 37, 256, fill, rig->seed, err);
    if (st == TSR_OK) st = rig_accepts(rig, &victim->subject, err);
    if (st == TSR_OK) st = rig_encode(rig, &victim->subject, &victim->stored, err);
    if (st == TSR_OK) st = rig_open_decoder(rig, &victim->subject, &victim->stored, &victim->coder, err);
    if (st != TSR_OK) return st;
    victim->decoded = mem_alloc_aligned(victim->subject.tensor.bytes);
    return victim->decoded ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
}

static void close_victim(struct victim *victim) {
    coder_close(victim->coder);
    stored_clear(&victim->stored);
    subject_clear(&victim->subject);
    mem_free(victim->decoded);
}

/* TSR_OK when the status is one that damage may end in. */
static tsr_status judge(tsr_status status, double seconds, const char *damage, uint64_t at, const tsr_error *seen,
                        tsr_error *err) {
    if (seconds > DECODE_SECONDS) {
        return tsr_fail(err, TSR_E_GATE, "%s %llu: decode took %.0f s, expected at most %d", damage,
                        (unsigned long long)at, seconds, DECODE_SECONDS);
    }
    if (status == TSR_OK || status == TSR_E_CORRUPT) return TSR_OK;
    return tsr_fail(err, TSR_E_GATE, "%s %llu: status %d (%.120s), expected TSR_E_CORRUPT", damage,
                    (unsigned long long)at, (int)status, seen->message);
}

/* Decodes `bytes` as tile `index`; `at` says in a message which damage it was. */
static tsr_status decode_damaged(struct victim *victim, uint64_t index, const uint8_t *bytes, uint64_t size,
                                 const char *damage, uint64_t at, tsr_error *err) {
    tsr_error seen = {0};
    double start = now();
    tsr_status st = coder_decode_tile(victim->coder, index, bytes, size, false, victim->decoded, 0, &seen);
    return judge(st, now() - start, damage, at, &seen, err);
}

static tsr_status truncate_tile(struct victim *victim, uint64_t index, const uint8_t *bytes, uint64_t size,
                                tsr_error *err) {
    uint64_t step = size > 400 ? size / 300 : 1;
    for (uint64_t length = 0; length < size; length += length < 64 || size - length < 64 ? 1 : step) {
        tsr_status st = decode_damaged(victim, index, bytes, length, "payload cut to bytes", length, err);
        if (st != TSR_OK) return st;
    }
    return TSR_OK;
}

static tsr_status flip_bits(struct victim *victim, uint64_t index, const uint8_t *bytes, uint64_t size,
                            tsr_error *err) {
    uint8_t *copy = mem_alloc(size);
    tsr_status st = copy ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    for (uint64_t i = 0; i < 600 && st == TSR_OK; i++) {
        /* The first bytes hold sizes and tables: every bit of them, then random places, then several at once. */
        uint64_t flips = i < 400 ? 1 : 1 + rng_below(&victim->rng, 20);
        memcpy(copy, bytes, size);
        for (uint64_t j = 0; j < flips; j++) {
            uint64_t bit = i < 256 && i < size * 8 ? i : rng_below(&victim->rng, size * 8);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        st = decode_damaged(victim, index, copy, size, "bit flip", i, err);
    }
    mem_free(copy);
    return st;
}

static tsr_status invent_bytes(struct victim *victim, uint64_t index, const uint8_t *bytes, uint64_t size,
                               tsr_error *err) {
    (void)bytes;
    uint64_t longest = 2 * size + 64;
    uint8_t *copy = mem_alloc(longest);
    tsr_status st = copy ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    for (uint64_t i = 0; i < 300 && st == TSR_OK; i++) {
        uint64_t length = i % 3 ? rng_below(&victim->rng, longest + 1) : size;
        uint8_t mask = i % 4 ? 0xFF : i % 8 ? 0x03 : 0x00;
        for (uint64_t j = 0; j < length; j++) copy[j] = (uint8_t)(rng_next(&victim->rng) >> 56) & mask;
        st = decode_damaged(victim, index, copy, length, "random payload", i, err);
    }
    mem_free(copy);
    return st;
}

/* Longer than it was, and the bytes of one tile given for another. */
static tsr_status wrong_size(struct victim *victim, uint64_t index, const uint8_t *bytes, uint64_t size,
                             tsr_error *err) {
    uint8_t *copy = mem_alloc(size + 1024);
    if (!copy) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    memcpy(copy, bytes, size);
    memset(copy + size, 0x5A, 1024);
    tsr_status st = decode_damaged(victim, index, copy, size + 1, "bytes too many:", 1, err);
    if (st == TSR_OK) st = decode_damaged(victim, index, copy, size + 1024, "bytes too many:", 1024, err);
    for (uint64_t i = 0; i < victim->stored.count && st == TSR_OK; i++) {
        st = decode_damaged(victim, i, bytes, size, "payload of another tile for tile", i, err);
    }
    mem_free(copy);
    return st;
}

typedef tsr_status (*damage_tile)(struct victim *victim, uint64_t index, const uint8_t *bytes, uint64_t size,
                                  tsr_error *err);

static tsr_status damage_all(struct victim *victim, damage_tile damage, tsr_error *err) {
    for (uint64_t i = 0; i < victim->stored.count; i++) {
        const struct stored_tile *tile = stored_tile_at(&victim->stored, i);
        if (tile->raw || tile->size == 0) continue;
        victim->tried++;
        const uint8_t *bytes = (const uint8_t *)victim->stored.bytes.text + tile->at;
        tsr_status st = damage(victim, i, bytes, tile->size, err);
        if (st != TSR_OK) return st;
    }
    return TSR_OK;
}

static tsr_status with_fills(struct rig *rig, damage_tile damage, tsr_error *err) {
    static const enum fill FILLS[] = {FILL_WEIGHTS, FILL_HALF, FILL_CONSTANT, FILL_HUGE};
    uint64_t tried = 0;
    for (int i = 0; i < 4; i++) {
        struct victim victim;
        tsr_status st = open_victim(&victim, rig, FILLS[i], err);
        if (st == TSR_OK) st = damage_all(&victim, damage, err);
        tried += victim.tried;
        close_victim(&victim);
        if (st != TSR_OK) return st;
    }
    return conformance_tried(tried, "all tiles were stored raw: nothing to damage", err);
}

static tsr_status truncated_payloads(struct rig *rig, tsr_error *err) {
    return with_fills(rig, truncate_tile, err);
}

static tsr_status flipped_bits(struct rig *rig, tsr_error *err) {
    return with_fills(rig, flip_bits, err);
}

static tsr_status invented_payloads(struct rig *rig, tsr_error *err) {
    return with_fills(rig, invent_bytes, err);
}

static tsr_status wrong_sizes(struct rig *rig, tsr_error *err) {
    return with_fills(rig, wrong_size, err);
}

/* Opens and decodes everything with the header as it is now. */
static tsr_status decode_with_header(struct victim *victim, uint64_t at, tsr_error *err) {
    tsr_error seen = {0};
    double start = now();
    tsr_status st = rig_decode(victim->rig, &victim->subject, &victim->stored, victim->decoded, &seen);
    return judge(st, now() - start, "damaged header", at, &seen, err);
}

static tsr_status damage_header(struct victim *victim, tsr_error *err) {
    struct str *header = &victim->stored.header;
    tsr_status st = TSR_OK;
    size_t whole = header->length, step = whole > 200 ? whole / 100 : 1;
    if (whole == 0) return TSR_OK;
    victim->tried++;
    for (uint64_t i = 0; i < 300 && st == TSR_OK; i++) {
        uint64_t bit = i < 128 && i < whole * 8 ? i : rng_below(&victim->rng, whole * 8);
        header->text[bit / 8] ^= (char)(1 << bit % 8);
        st = decode_with_header(victim, i, err);
        header->text[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t length = 0; length < whole && st == TSR_OK; length += step) {
        header->length = length;
        st = decode_with_header(victim, length, err);
    }
    header->length = whole;
    return st;
}

static tsr_status damaged_headers(struct rig *rig, tsr_error *err) {
    struct victim victim;
    tsr_status st = open_victim(&victim, rig, FILL_WEIGHTS, err);
    if (st == TSR_OK) st = damage_header(&victim, err);
    uint64_t tried = victim.tried;
    close_victim(&victim);
    return st == TSR_OK ? conformance_tried(tried, "the codec writes no header", err) : st;
}

static tsr_status short_buffers(struct rig *rig, tsr_error *err) {
    uint64_t tried = 0;
    rig->try_short = true;
    int32_t dtype = subject_dtype(rig->codec);
    tsr_status st = rig_round_trip(rig, dtype, 37, 256, FILL_WEIGHTS, &tried, err);
    if (st == TSR_OK) st = rig_round_trip(rig, dtype, 37, 256, FILL_NOISE, &tried, err);
    if (st == TSR_OK) st = rig_round_trip(rig, dtype, 37, 256, FILL_HALF, &tried, err);
    if (st == TSR_OK) st = rig_round_trip(rig, dtype, 37, 256, FILL_ZERO, &tried, err);
    if (st == TSR_OK) st = rig_round_trip(rig, dtype, 1, 1, FILL_WEIGHTS, &tried, err);
    return st == TSR_OK ? conformance_tried(tried, "the codec refuses the tensor", err) : st;
}

const struct conformance_property CONFORMANCE_DAMAGE[] = {
    {"short_buffers", "encode with one byte too little gives TSR_E_SPACE and writes nothing behind it", short_buffers},
    {"wrong_sizes", "payloads too long, or of another tile, are refused or decode within their buffers", wrong_sizes},
    {"truncated_payloads", "payloads cut at any length are refused or decode within their buffers", truncated_payloads},
    {"flipped_bits", "payloads with flipped bits are refused or decode within their buffers", flipped_bits},
    {"invented_payloads", "random payloads are refused or decode within their buffers", invented_payloads},
    {"damaged_headers", "damaged codec headers are refused or decode within their buffers", damaged_headers},
    {NULL, NULL, NULL},
};
