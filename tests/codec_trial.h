/* SPDX-License-Identifier: Apache-2.0
 *
 * A matrix with everything that is needed to code it, and the properties that every lossy codec is tested for in the
 * same way: for unit tests of codecs, on top of codec_harness.h and unit.h. */
#ifndef TESTS_CODEC_TRIAL_H
#define TESTS_CODEC_TRIAL_H

#include "codec_harness.h"
#include "unit/unit.h"

#include <base/pool.h>
#include <base/rng.h>
#include <math.h>
#include <tessera/ext/block.h>
#include <tessera/ext/rows.h>

enum { TRIAL_PARAMS_MAX = 8 };

/* `y` is what decoding gives. */
struct trial {
    struct harness_host host;
    struct harness_job job;
    struct harness_payload payload;
    tsr_param_value params[TRIAL_PARAMS_MAX];
    tsr_error err;
    float *x, *y;
    uint64_t count;
};

static inline void trial_begin(struct trial *trial, const tsr_codec *codec, uint64_t rows, uint64_t columns) {
    memset(trial, 0, sizeof *trial);
    harness_init(&trial->host);
    trial->count = rows * columns;
    trial->x = mem_alloc_zero(trial->count + 1, sizeof(float));
    trial->y = mem_alloc_zero(trial->count + 1, sizeof(float));
    trial->job = (struct harness_job){.host = &trial->host,
                                      .codec = codec,
                                      .params = trial->params,
                                      .x = trial->x,
                                      .tensor = harness_tensor(rows, columns, TSR_DTYPE_F32)};
}

/* Encodes and decodes; the last float behind y must stay untouched. */
static inline tsr_status trial_run(struct trial *trial) {
    harness_payload_clear(&trial->payload);
    trial->y[trial->count] = 12345;
    tsr_status status = harness_encode(&trial->job, &trial->payload, &trial->err);
    if (status == TSR_OK) status = harness_decode(&trial->job, &trial->payload, trial->y, &trial->err);
    CU_ASSERT_EQUAL(trial->y[trial->count], 12345);
    return status;
}

static inline void trial_end(struct trial *trial) {
    CU_ASSERT_EQUAL(trial->host.blocks, 0);
    harness_payload_clear(&trial->payload);
    harness_clear(&trial->host);
    mem_free(trial->x);
    mem_free(trial->y);
}

/* Squared error over energy; over 1 where there is none. */
static inline double trial_distortion(const float *x, const float *y, uint64_t count) {
    double error = 0, energy = 0;
    for (uint64_t i = 0; i < count; i++) {
        double difference = (double)x[i] - (double)y[i];
        error += difference * difference;
        energy += (double)x[i] * (double)x[i];
    }
    return energy > 0 ? error / energy : error;
}

static inline double trial_bits(const struct trial *trial) {
    return 8 * (double)trial->payload.total / (double)trial->count;
}

/* dB between the error and that of the Gaussian bound at the bits that were used. */
static inline double trial_gap(const struct trial *trial) {
    return 20 * log10(2) * trial_bits(trial) + 10 * log10(trial_distortion(trial->x, trial->y, trial->count));
}

/* Standard normal weights. */
static inline void trial_fill(float *x, uint64_t count, uint64_t seed) {
    struct rng rng = {seed};
    for (uint64_t i = 0; i < count; i += 2) {
        double radius = sqrt(-2 * log(1 - rng_real(&rng))), angle = 8 * atan(1) * rng_real(&rng);
        x[i] = (float)(radius * cos(angle));
        if (i + 1 < count) x[i + 1] = (float)(radius * sin(angle));
    }
}

static struct pool *trial_pool;

static tsr_status trial_parallel_for(const tsr_host *host, uint64_t count, tsr_task task, void *ctx, tsr_error *err) {
    (void)host;
    return pool_for(trial_pool, count, task, ctx, err);
}

/* The trial's bytes, and those that three workers give. */
static inline void trial_same_from_three_workers(struct trial *trial) {
    struct harness_payload other;
    CU_ASSERT_EQUAL_FATAL(trial_run(trial), TSR_OK);
    trial_pool = pool_create(3);
    CU_ASSERT_PTR_NOT_NULL_FATAL(trial_pool);
    trial->host.host.parallel_for = trial_parallel_for;
    CU_ASSERT_EQUAL(harness_encode(&trial->job, &other, &trial->err), TSR_OK);
    pool_destroy(trial_pool);
    CU_ASSERT_EQUAL_FATAL(other.total, trial->payload.total);
    CU_ASSERT_EQUAL(memcmp(other.header, trial->payload.header, other.header_bytes), 0);
    CU_ASSERT_EQUAL(memcmp(other.bytes, trial->payload.bytes, other.total - other.header_bytes), 0);
    harness_payload_clear(&other);
}

/* One tile and a header, cut short everywhere or with one bit wrong: refused, one flip in `one_in` at
 * least, or another value, never a crash. */
static inline void trial_refuses_damage(struct trial *trial, uint64_t one_in) {
    struct harness_payload *payload = &trial->payload;
    uint64_t refused = 0, tried = 0;
    CU_ASSERT_EQUAL_FATAL(trial_run(trial), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(payload->grid.count, 1);
    uint64_t size = payload->tile_bytes[0], header = payload->header_bytes;
    for (uint64_t cut = 0; cut < size; cut += cut < 100 ? 1 : 97) {
        payload->tile_bytes[0] = cut;
        CU_ASSERT_EQUAL(harness_decode(&trial->job, payload, trial->y, &trial->err), TSR_E_CORRUPT);
    }
    payload->tile_bytes[0] = size;
    for (uint64_t cut = 0; cut < header; cut++) {
        payload->header_bytes = cut;
        CU_ASSERT_EQUAL(harness_decode(&trial->job, payload, trial->y, &trial->err), TSR_E_CORRUPT);
    }
    payload->header_bytes = header;
    for (uint64_t bit = 0; bit < 8 * (header + size); bit += bit < 2400 ? 1 : 371, tried++) {
        uint8_t *byte = bit / 8 < header ? payload->header + bit / 8 : payload->bytes + bit / 8 - header;
        *byte = (uint8_t)(*byte ^ 1 << bit % 8);
        tsr_status status = harness_decode(&trial->job, payload, trial->y, &trial->err);
        CU_ASSERT(status == TSR_OK || status == TSR_E_CORRUPT);
        refused += status == TSR_E_CORRUPT;
        *byte = (uint8_t)(*byte ^ 1 << bit % 8);
    }
    CU_ASSERT(refused > tried / one_in);
    CU_ASSERT_EQUAL(harness_decode(&trial->job, payload, trial->y, &trial->err), TSR_OK);
}

/* An encoder that has prepared the trial's tensor; NULL after a failed assertion. */
static inline void *trial_encoder(struct trial *trial) {
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &trial->host.host,
                                   .tensor = &trial->job.tensor,
                                   .params = trial->params,
                                   .hints = trial->job.hints,
                                   .stride = trial->job.stride ? trial->job.stride : 1,
                                   .role = "unknown"};
    struct harness_payload sink = {0};
    const tsr_writer writer = {sizeof writer, &sink, harness_write};
    const tsr_row_source source = {sizeof source, &trial->job, harness_read};
    void *self = NULL;
    CU_ASSERT_EQUAL(trial->job.codec->create(&setup, &self, &trial->err), TSR_OK);
    if (self) CU_ASSERT_EQUAL(trial->job.codec->prepare(self, &source, &writer, &trial->err), TSR_OK);
    harness_payload_clear(&sink);
    return self;
}

static inline void *trial_decoder(struct trial *trial) {
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &trial->host.host,
                                   .tensor = &trial->job.tensor,
                                   .params = trial->params,
                                   .header = trial->payload.header,
                                   .header_bytes = trial->payload.header_bytes,
                                   .bitstream_version = trial->job.codec->bitstream_version,
                                   .decoding = 1};
    void *self = NULL;
    CU_ASSERT_EQUAL(trial->job.codec->create(&setup, &self, &trial->err), TSR_OK);
    return self;
}

static inline void trial_keeps_to_its_buffer(struct trial *trial) {
    const tsr_codec *codec = trial->job.codec;
    CU_ASSERT_EQUAL_FATAL(trial_run(trial), TSR_OK);
    void *self = trial_encoder(trial);
    tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    uint8_t *bytes = mem_alloc(trial->payload.tile_bytes[0] + 1);
    uint64_t written;
    for (uint64_t capacity = 0; capacity < trial->payload.tile_bytes[0]; capacity += 61) {
        bytes[capacity] = 0x5A;
        tsr_status status = codec->encode(self, &tile, trial->x, bytes, capacity, &written, &trial->err);
        CU_ASSERT_EQUAL(status, TSR_E_SPACE);
        CU_ASSERT_EQUAL(bytes[capacity], 0x5A);
    }
    mem_free(bytes);
    codec->destroy(self);
}

/* ext/rows.h: rows by themselves are those of the whole tile. */
static inline void trial_rows_equal_decode(struct trial *trial) {
    const tsr_codec *codec = trial->job.codec;
    const tsr_rows *rows = codec->get_extension(TSR_ROWS_ID);
    const uint64_t columns = trial->job.tensor.columns;
    CU_ASSERT_PTR_NOT_NULL_FATAL(rows);
    CU_ASSERT_EQUAL_FATAL(trial_run(trial), TSR_OK);
    void *self = trial_decoder(trial);
    tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    float *some = mem_alloc_array(tile.rows * columns, sizeof *some);
    for (uint64_t first = 0; first < tile.rows; first += 3) {
        uint64_t count = tile.rows - first < 2 ? tile.rows - first : 2;
        tsr_status status = rows->decode(self, &tile, trial->payload.bytes, trial->payload.tile_bytes[0], first, count,
                                         some, &trial->err);
        CU_ASSERT_EQUAL(status, TSR_OK);
        CU_ASSERT_EQUAL(memcmp(some, trial->y + first * columns, count * columns * sizeof *some), 0);
    }
    mem_free(some);
    codec->destroy(self);
}

/* Runs ext/block.h over the first tile as a host without feedback does, adding push times the error so far of each row
 * to every value. bytes get what end wrote; z what quantise returned. */
static inline uint64_t trial_block(struct trial *trial, void *self, float push, uint8_t *bytes, uint64_t capacity,
                                   float *z) {
    const tsr_block *block = trial->job.codec->get_extension(TSR_BLOCK_ID);
    tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    uint64_t columns[TSR_BLOCK_WIDTH_MAX], written = 0, width = block->width(self), done = 0;
    float *values = mem_alloc_zero(tile.rows * width, 2 * sizeof *values), *got = values + tile.rows * width;
    float *error = mem_alloc_zero(tile.rows, sizeof *error);
    void *state = NULL;
    CU_ASSERT_EQUAL_FATAL(block->begin(self, &tile, trial->x, &state, &trial->err), TSR_OK);
    for (uint64_t index = 0; done < tile.columns; index++) {
        uint64_t count = block->columns(self, &tile, index, columns);
        CU_ASSERT_FATAL(count > 0 && count <= width);
        for (uint64_t r = 0; r < tile.rows; r++) {
            for (uint64_t i = 0; i < count; i++)
                values[r * count + i] = trial->x[r * tile.columns + columns[i]] + push * error[r];
        }
        CU_ASSERT_EQUAL(block->quantise(self, state, index, values, got, &trial->err), TSR_OK);
        for (uint64_t r = 0; r < tile.rows; r++) {
            for (uint64_t i = 0; i < count; i++) {
                z[r * tile.columns + columns[i]] = got[r * count + i];
                error[r] = values[r * count + i] - got[r * count + i];
            }
        }
        done += count;
    }
    CU_ASSERT_EQUAL(block->end(self, state, bytes, capacity, &written, &trial->err), TSR_OK);
    mem_free(values);
    mem_free(error);
    return written;
}

/* What quantise returned is what decode returns, with and without feedback; without, the error is that of encode, and
 * if asked for the bytes too. */
static inline void trial_block_agrees(struct trial *trial, bool same_bytes) {
    const tsr_codec *codec = trial->job.codec;
    CU_ASSERT_EQUAL_FATAL(trial_run(trial), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(trial->payload.grid.count, 1);
    const double plain = trial_distortion(trial->x, trial->y, trial->count);
    void *self = trial_encoder(trial), *decoder = trial_decoder(trial);
    tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    uint64_t bound = codec->encode_bound(self, &tile);
    uint8_t *bytes = mem_alloc(bound);
    float *z = mem_alloc_array(trial->count, sizeof *z);
    for (int feedback = 0; feedback < 2; feedback++) {
        uint64_t size = trial_block(trial, self, feedback ? 0.5f : 0, bytes, bound, z);
        CU_ASSERT_EQUAL(codec->decode(decoder, &tile, bytes, size, trial->y, &trial->err), TSR_OK);
        CU_ASSERT_EQUAL(memcmp(trial->y, z, trial->count * sizeof *z), 0);
        if (feedback) continue;
        CU_ASSERT(trial_distortion(trial->x, z, trial->count) <= plain * 1.02);
        if (!same_bytes) continue;
        CU_ASSERT_EQUAL_FATAL(size, trial->payload.tile_bytes[0]);
        CU_ASSERT_EQUAL(memcmp(bytes, trial->payload.bytes, size), 0);
    }
    mem_free(z);
    mem_free(bytes);
    codec->destroy(self);
    codec->destroy(decoder);
}

#endif
