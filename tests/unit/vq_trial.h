/* SPDX-License-Identifier: Apache-2.0
 *
 * A matrix with everything that is needed to code it by a vector quantiser, and what both of them are tried for. */
#ifndef TESTS_VQ_TRIAL_H
#define TESTS_VQ_TRIAL_H

#include "../codec_trial.h"

#include <tessera/ext/matvec.h>

/* Tensors without elements never reach a codec. */
static inline tsr_status vq_trial_run(struct trial *trial) {
    harness_payload_clear(&trial->payload);
    return trial->count ? trial_run(trial) : TSR_OK;
}

/* Runs `test` with the dictionary of `train`, which is gone afterwards: a later decode of test gets none. */
static inline tsr_status vq_trial_run_trained(struct trial *train, struct trial *test) {
    tsr_status status = harness_train(&train->job, &train->payload, &train->err);
    test->job.dictionary = train->payload.header;
    test->job.dictionary_bytes = train->payload.header_bytes;
    if (status == TSR_OK) status = vq_trial_run(test);
    harness_payload_clear(&train->payload);
    return status;
}

/* Of the first tile of a trial that has run. */
static inline void vq_check_rows(struct trial *trial) {
    const tsr_rows *rows = trial->job.codec->get_extension(TSR_ROWS_ID);
    const tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    void *self = trial_decoder(trial);
    float *some = mem_alloc_array(tile.rows * tile.columns + 1, sizeof *some);
    for (uint64_t first = 0; first < tile.rows; first += 7) {
        for (uint64_t count = 1; first + count <= tile.rows; count += 5) {
            some[count * tile.columns] = 12345;
            CU_ASSERT_EQUAL(rows->decode(self, &tile, trial->payload.bytes, trial->payload.tile_bytes[0], first, count,
                                         some, &trial->err),
                            TSR_OK);
            CU_ASSERT_EQUAL(memcmp(some, trial->y + first * tile.columns, count * tile.columns * sizeof *some), 0);
            CU_ASSERT_EQUAL(some[count * tile.columns], 12345);
        }
    }
    mem_free(some);
    trial->job.codec->destroy(self);
}

/* One block of the tile through quantise, its values as they are in x. */
static inline void vq_run_block(struct trial *trial, const tsr_block *block, void *self, void *state, uint64_t index,
                                float *y) {
    const tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    uint64_t columns[TSR_BLOCK_WIDTH_MAX], count = block->columns(self, &tile, index, columns);
    float *values = mem_alloc_array(tile.rows * count, sizeof *values);
    float *found = mem_alloc_array(tile.rows * count, sizeof *found);
    for (uint64_t i = 0; i < tile.rows * count; i++)
        values[i] = trial->x[i / count * tile.columns + columns[i % count]];
    CU_ASSERT_EQUAL(block->quantise(self, state, index, values, found, &trial->err), TSR_OK);
    for (uint64_t i = 0; i < tile.rows * count; i++) y[i / count * tile.columns + columns[i % count]] = found[i];
    mem_free(values);
    mem_free(found);
}

/* Blocks one by one give the bytes of encode, and say beforehand what decode will give. */
static inline void vq_check_blocks(struct trial *trial) {
    const tsr_block *block = trial->job.codec->get_extension(TSR_BLOCK_ID);
    const tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    void *self = trial_encoder(trial), *state = NULL;
    const uint64_t width = block->width(self), bound = trial->job.codec->encode_bound(self, &tile);
    float *y = mem_alloc_array(trial->count, sizeof *y);
    uint8_t *bytes = mem_alloc(bound);
    uint64_t written = 0;
    CU_ASSERT_EQUAL(width, (uint64_t)trial->params[0].integer);
    CU_ASSERT_EQUAL_FATAL(block->begin(self, &tile, trial->x, &state, &trial->err), TSR_OK);
    for (uint64_t i = 0; i * width < tile.columns; i++) vq_run_block(trial, block, self, state, i, y);
    CU_ASSERT_EQUAL(block->end(self, state, bytes, bound, &written, &trial->err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(written, trial->payload.tile_bytes[0]);
    CU_ASSERT_EQUAL(memcmp(bytes, trial->payload.bytes, written), 0);
    CU_ASSERT_EQUAL(memcmp(y, trial->y, trial->count * sizeof *y), 0);
    CU_ASSERT_EQUAL_FATAL(block->begin(self, &tile, trial->x, &state, &trial->err), TSR_OK);
    block->abandon(self, state);
    CU_ASSERT_EQUAL_FATAL(block->begin(self, &tile, trial->x, &state, &trial->err), TSR_OK);
    CU_ASSERT_EQUAL(block->end(self, state, bytes, 10, &written, &trial->err), TSR_E_SPACE);
    mem_free(y);
    mem_free(bytes);
    trial->job.codec->destroy(self);
}

/* y = W x from the first tile against the decoded weights. */
static inline void vq_check_products(struct trial *trial, const tsr_matvec *matvec) {
    const tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    void *self = trial_decoder(trial);
    const uint64_t packed_bytes = matvec->packed_bytes(self, &tile);
    uint8_t *packed = mem_alloc_aligned(packed_bytes + 1), *query = mem_alloc_aligned(matvec->query_bytes(self));
    float *x = mem_alloc_array(tile.columns, sizeof *x), *y = mem_alloc_array(tile.rows, sizeof *y);
    CU_ASSERT(packed_bytes > 0 && packed_bytes <= trial->count);
    packed[packed_bytes] = 77;
    trial_fill(x, tile.columns, 99);
    CU_ASSERT_EQUAL(matvec->pack(self, &tile, trial->payload.bytes, trial->payload.tile_bytes[0], packed, &trial->err),
                    TSR_OK);
    CU_ASSERT_EQUAL(packed[packed_bytes], 77);
    CU_ASSERT_EQUAL(matvec->query(self, x, query, &trial->err), TSR_OK);
    CU_ASSERT_EQUAL(matvec->apply(self, &tile, packed, x, query, y, &trial->err), TSR_OK);
    for (uint64_t r = 0; r < tile.rows; r++) {
        double sum = 0, size = 0;
        for (uint64_t c = 0; c < tile.columns; c++) {
            double term = (double)trial->y[r * tile.columns + c] * (double)x[c];
            sum += term;
            size += fabs(term);
        }
        CU_ASSERT(fabs((double)y[r] - sum) <= 1e-5 * size);
    }
    for (uint64_t first = 0; first < tile.rows; first += 37) {
        uint64_t rows = tile.rows - first < 50 ? tile.rows - first : 50;
        float some[50];
        CU_ASSERT_EQUAL(matvec->apply_rows(self, &tile, packed, first, rows, x, query, some, &trial->err), TSR_OK);
        CU_ASSERT_EQUAL(memcmp(some, y + first, rows * sizeof *some), 0);
    }
    mem_free(packed);
    mem_free(query);
    mem_free(x);
    mem_free(y);
    trial->job.codec->destroy(self);
}

/* One tile and a header, cut short everywhere or with one bit wrong: refused, or another value, never a crash. The
 * blocks have their exact sizes, so that a sanitizer sees a read behind them. */
static inline void vq_check_damage(struct trial *trial) {
    uint64_t refused = 0, tried = 0;
    uint8_t **parts[2] = {&trial->payload.header, &trial->payload.bytes};
    uint64_t *sizes[2] = {&trial->payload.header_bytes, &trial->payload.tile_bytes[0]};
    for (int p = 0; p < 2; p++) {
        uint8_t *whole = *parts[p];
        const uint64_t size = *sizes[p];
        for (uint64_t i = 0; i < size; i += i < 64 ? 1 : 13) {
            *parts[p] = (uint8_t *)mem_dup_bytes((const char *)whole, i);
            *sizes[p] = i;
            refused += harness_decode(&trial->job, &trial->payload, trial->y, NULL) == TSR_E_CORRUPT;
            tried++;
            mem_free(*parts[p]);
            *parts[p] = (uint8_t *)mem_dup_bytes((const char *)whole, size);
            *sizes[p] = size;
            (*parts[p])[i] ^= (uint8_t)(1u << (i % 8));
            tsr_status status = harness_decode(&trial->job, &trial->payload, trial->y, NULL);
            CU_ASSERT(status == TSR_OK || status == TSR_E_CORRUPT);
            mem_free(*parts[p]);
        }
        *parts[p] = whole;
        *sizes[p] = size;
    }
    CU_ASSERT_EQUAL(refused, tried);
}

#endif
