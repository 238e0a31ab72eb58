/* SPDX-License-Identifier: Apache-2.0
 *
 * Products from tickets: a packed tile has a step for each row and two bytes for each pair, one a weight. What a vector
 * is multiplied with is its walk (rotated first: the rotation is orthogonal), so rows need no walk of their own. */
#include "spiral_decode.h"

/* Packed: f32 step[rows] (0 for a row of zeros), u8 class[rows], to a multiple of 64 bytes; u16 tickets[rows][pairs];
 * to a multiple of 8 bytes, points of escapes: ticket count + i of a row marked MARKED has the i-th of them. */
enum { MARKED = 128, PAIRS_AN_ESCAPE = 512, ESCAPES_LEAST = 16 };

static uint64_t head_bytes(const tsr_tile *tile) {
    return (5 * tile->rows + 63) / 64 * 64;
}

static uint64_t ticket_bytes(const tsr_tile *tile) {
    return (2 * tile->rows * spiral_pairs(tile->columns) + 7) / 8 * 8;
}

static uint64_t escapes_most(const struct spiral_decoder *decoder, const tsr_tile *tile) {
    uint64_t most = tile->rows * spiral_pairs(tile->columns) / PAIRS_AN_ESCAPE + ESCAPES_LEAST;
    uint64_t free_tickets = SPIRAL_TICKETS_MAX + 1 - decoder->count;
    return most < free_tickets ? most : free_tickets;
}

uint64_t spiral_packed_bytes(const struct spiral_decoder *decoder, const tsr_tile *tile) {
    if (tile->columns != decoder->tensor->columns || tile->columns == 0) return 0;
    return head_bytes(tile) + ticket_bytes(tile) + escapes_most(decoder, tile) * sizeof(struct spiral_point);
}

/* Where the parts of a packed tile are, and how many escapes it has so far. */
struct packing {
    const struct spiral_decoder *decoder;
    float *steps;
    uint8_t *classes;
    uint16_t *tickets;
    struct spiral_point *escapes;
    uint64_t count, most;
};

static struct packing packing_of(const struct spiral_decoder *decoder, const tsr_tile *tile, void *memory) {
    struct packing packing = {.decoder = decoder, .steps = memory, .most = escapes_most(decoder, tile)};
    packing.classes = (uint8_t *)(packing.steps + tile->rows);
    packing.tickets = (uint16_t *)(void *)((uint8_t *)memory + head_bytes(tile));
    packing.escapes = (struct spiral_point *)(void *)((uint8_t *)packing.tickets + ticket_bytes(tile));
    return packing;
}

/* False when there is no more room for escapes. */
static bool pack_row(struct packing *packing, uint64_t r, const uint16_t *tickets, uint64_t pairs,
                     struct spiral_rest *rest) {
    const uint32_t count = packing->decoder->count;
    uint16_t *dst = packing->tickets + r * pairs;
    for (uint64_t i = 0; i < pairs; i++) {
        dst[i] = tickets[i];
        if (tickets[i] < count) continue;
        if (packing->count == packing->most) return false;
        float x = (float)spiral_take_multiple(rest), y = (float)spiral_take_multiple(rest);
        packing->classes[r] |= MARKED;
        packing->escapes[packing->count] = (struct spiral_point){x * SPIRAL_ESCAPE_UNIT, y * SPIRAL_ESCAPE_UNIT};
        dst[i] = (uint16_t)(count + packing->count++);
    }
    return true;
}

tsr_status spiral_pack(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *src, uint64_t size,
                       void *dst, tsr_error *err) {
    const uint64_t pairs = spiral_pairs(tile->columns);
    struct spiral_parsed parsed;
    struct packing packing = packing_of(decoder, tile, dst);
    tsr_status status = spiral_parse(decoder, tile, src, size, &parsed, err);
    if (status != TSR_OK) return status;
    struct spiral_rest rest = {parsed.rest, parsed.rest_bytes, false};
    const uint16_t *tickets = parsed.tickets;
    for (uint64_t r = 0; r < tile->rows; r++) {
        const uint16_t code = parsed.codes[r];
        packing.classes[r] = parsed.classes[r];
        packing.steps[r] = code > STEP_CODE_RAW ? step_code_value(code, decoder->mantissa_bits) : 0;
        if (code == STEP_CODE_ZERO) memset(packing.tickets + r * pairs, 0, (size_t)pairs * sizeof *tickets);
        if (code == STEP_CODE_RAW || (code != STEP_CODE_ZERO && !pack_row(&packing, r, tickets, pairs, &rest)))
            return tsr_fail(err, TSR_E_UNSUPPORTED, "spiral: tile: too many values without a ticket");
        if (code > STEP_CODE_RAW) tickets += pairs;
    }
    if (rest.damaged || rest.size) return tsr_fail(err, TSR_E_CORRUPT, "spiral: tile: damaged escapes");
    return TSR_OK;
}

uint64_t spiral_query_bytes(const struct spiral_decoder *decoder) {
    return (spiral_pairs(decoder->tensor->columns) * 2 + decoder->tensor->columns + 1) * sizeof(float);
}

tsr_status spiral_query(const struct spiral_decoder *decoder, const float *x, void *query, tsr_error *err) {
    const uint64_t columns = decoder->tensor->columns, hop = spiral_hop(decoder->stride, columns);
    float *walk = query, *rotated = walk + 2 * spiral_pairs(columns);
    uint64_t column = 0;
    (void)err;
    if (decoder->rotated) {
        memcpy(rotated, x, (size_t)columns * sizeof *x);
        decoder->hadamard->forward(rotated, 1, columns, decoder->seed);
        x = rotated;
    }
    for (uint64_t i = 0; i < columns; i++) {
        walk[i] = x[column];
        column = spiral_next(column, hop, columns);
    }
    if (columns % 2) walk[columns] = 0;
    return TSR_OK;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Four pairs a turn: x and y of a point are eight bytes, as one gathered double. */
__attribute__((target("avx2,fma"))) static float
product_avx2(const struct spiral_point *points, const uint16_t *tickets, const float *walk, uint64_t pairs) {
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    const double *table = (const double *)(const void *)points;
    uint64_t i = 0;
    for (; i + 8 <= pairs; i += 8) {
        __m256i index = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(tickets + i)));
        __m256d low = _mm256_i32gather_pd(table, _mm256_castsi256_si128(index), 8);
        __m256d high = _mm256_i32gather_pd(table, _mm256_extracti128_si256(index, 1), 8);
        sums[0] = _mm256_fmadd_ps(_mm256_castpd_ps(low), _mm256_loadu_ps(walk + 2 * i), sums[0]);
        sums[1] = _mm256_fmadd_ps(_mm256_castpd_ps(high), _mm256_loadu_ps(walk + 2 * i + 8), sums[1]);
    }
    float lanes[8], sum = 0;
    _mm256_storeu_ps(lanes, _mm256_add_ps(sums[0], sums[1]));
    for (int j = 0; j < 8; j++) sum += lanes[j];
    for (; i < pairs; i++) sum += points[tickets[i]].x * walk[2 * i] + points[tickets[i]].y * walk[2 * i + 1];
    return sum;
}
#endif

static float product(const struct spiral_point *points, const uint16_t *tickets, const float *walk, uint64_t pairs) {
    float sums[4] = {0};
    for (uint64_t i = 0; i < pairs; i++) {
        sums[i % 4] += points[tickets[i]].x * walk[2 * i] + points[tickets[i]].y * walk[2 * i + 1];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* A row with escapes. */
static float product_marked(const struct packing *packing, const struct spiral_point *points, const uint16_t *tickets,
                            const float *walk, uint64_t pairs) {
    const uint32_t count = packing->decoder->count;
    float sums[4] = {0};
    for (uint64_t i = 0; i < pairs; i++) {
        struct spiral_point point = tickets[i] < count ? points[tickets[i]] : packing->escapes[tickets[i] - count];
        sums[i % 4] += point.x * walk[2 * i] + point.y * walk[2 * i + 1];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

tsr_status spiral_apply(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *packed,
                        const void *query, float *y, tsr_error *err) {
    const uint64_t pairs = spiral_pairs(tile->columns);
    const struct packing packing = packing_of(decoder, tile, (void *)(uintptr_t)packed);
    float (*use)(const struct spiral_point *, const uint16_t *, const float *, uint64_t) = product;
    (void)err;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) use = product_avx2;
#endif
    for (uint64_t r = 0; r < tile->rows; r++) {
        const uint32_t class = packing.classes[r] & ~(uint32_t)MARKED;
        const struct spiral_point *points = decoder->points + (uint64_t) class * decoder->count;
        const uint16_t *tickets = packing.tickets + r * pairs;
        y[r] = 0;
        if (packing.steps[r] == 0) continue;
        y[r] = packing.steps[r] * (packing.classes[r] & MARKED ? product_marked(&packing, points, tickets, query, pairs)
                                                               : use(points, tickets, query, pairs));
    }
    return TSR_OK;
}
