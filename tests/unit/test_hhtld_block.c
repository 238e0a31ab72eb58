/* SPDX-License-Identifier: Apache-2.0
 *
 * hhtld-block: its error on Gaussian weights, four bytes for 17 of them, odd shapes, damaged bytes. */
#include "unit.h"

#include "../../plugins/hhtld/hhtld_block.h"
#include "../codec_harness.h"

#include <base/rng.h>
#include <math.h>


enum { NODES, LEAVES, ITERATIONS, PARAM_COUNT };

struct trial {
    struct harness_host host;
    struct harness_job job;
    struct harness_payload payload;
    tsr_param_value params[PARAM_COUNT];
    tsr_error err;
    float *x, *y;
    uint64_t count;
};

static void trial_begin(struct trial *trial, uint64_t rows, uint64_t columns, int64_t nodes, int64_t leaves) {
    struct rng rng = {rows + columns};
    memset(trial, 0, sizeof *trial);
    harness_init(&trial->host);
    trial->params[NODES].integer = nodes;
    trial->params[LEAVES].integer = leaves;
    trial->params[ITERATIONS].integer = 4;
    trial->count = rows * columns;
    trial->x = mem_alloc_zero(trial->count + 1, sizeof(float));
    trial->y = mem_alloc_zero(trial->count + 1, sizeof(float));
    for (uint64_t i = 0; i < trial->count; i++) {
        double sum = -6;
        for (int j = 0; j < 12; j++) sum += rng_real(&rng);
        trial->x[i] = (float)sum;
    }
    trial->job = (struct harness_job){.host = &trial->host,
                                      .codec = &hhtld_block_codec,
                                      .params = trial->params,
                                      .x = trial->x,
                                      .tensor = harness_tensor(rows, columns, TSR_DTYPE_F32)};
}

static void trial_end(struct trial *trial) {
    CU_ASSERT_EQUAL(trial->host.blocks, 0);
    harness_payload_clear(&trial->payload);
    harness_clear(&trial->host);
    mem_free(trial->x);
    mem_free(trial->y);
}

/* Relative squared error. */
static double trial_run(struct trial *trial) {
    double error = 0, energy = 0;
    harness_payload_clear(&trial->payload);
    trial->y[trial->count] = 12345;
    CU_ASSERT_EQUAL_FATAL(harness_encode(&trial->job, &trial->payload, &trial->err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(harness_decode(&trial->job, &trial->payload, trial->y, &trial->err), TSR_OK);
    CU_ASSERT_EQUAL(trial->y[trial->count], 12345);
    for (uint64_t i = 0; i < trial->count; i++) {
        double difference = (double)trial->x[i] - (double)trial->y[i];
        error += difference * difference;
        energy += (double)trial->x[i] * (double)trial->x[i];
    }
    return error / energy;
}

/* Gaussian octaves: D is .54 with 2^8 directions and a sign, .366 with 2^14; 2^11 lie between. */
static void the_error_falls_with_the_tree(void) {
    struct trial trial;
    trial_begin(&trial, 500, 17 * 70, 32, 64);
    double large = trial_run(&trial);
    CU_ASSERT(large < 0.475);
    CU_ASSERT_EQUAL(trial.payload.total - trial.payload.header_bytes, 500 * 70 * 4);
    trial.params[NODES].integer = 4;
    trial.params[LEAVES].integer = 16;
    CU_ASSERT(trial_run(&trial) > 1.2 * large);
    trial_end(&trial);
}

static void odd_shapes_come_back(void) {
    static const uint64_t COLUMNS[] = {1, 16, 17, 18, 34, 35, 1000, 1536, 3072}, ROWS[] = {1, 2, 256, 257};
    for (unsigned c = 0; c < sizeof COLUMNS / sizeof *COLUMNS; c++) {
        for (unsigned r = 0; r < sizeof ROWS / sizeof *ROWS; r++) {
            struct trial trial;
            trial_begin(&trial, ROWS[r], COLUMNS[c], 4, 8);
            trial.params[ITERATIONS].integer = 1;
            CU_ASSERT(trial_run(&trial) <= 1);
            CU_ASSERT_EQUAL(trial.payload.total - trial.payload.header_bytes, ROWS[r] * ((COLUMNS[c] + 16) / 17) * 4);
            trial_end(&trial);
        }
    }
}

/* Small tensors get small trees: no leaf for fewer than 16 octaves, no header above a tenth. */
static void nothing_is_memorised(void) {
    struct trial trial;
    struct hhtld_block_tree tree = {0};
    trial_begin(&trial, 100, 170, 64, 256);
    CU_ASSERT(trial_run(&trial) > 0.4);
    CU_ASSERT_EQUAL(hhtld_block_tree_read(trial.payload.header, trial.payload.header_bytes, &tree, NULL), TSR_OK);
    CU_ASSERT(tree.leaves <= 1000 / 16);
    CU_ASSERT(trial.payload.header_bytes < trial.job.tensor.bytes / 9);
    trial_end(&trial);
}

static void damaged_entries_are_refused(void) {
    struct trial trial;
    trial_begin(&trial, 64, 170, 4, 8);
    (void)trial_run(&trial);
    static const uint8_t WRONG[][2] = {{0, 0xFC} /* no such node */, {0xFC, 3} /* no such leaf */, {1, 0} /* bit 0 */};
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *entry = trial.payload.bytes + 40, kept[2] = {entry[0], entry[1]};
        memcpy(entry, WRONG[i], 2);
        CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.payload, trial.y, &trial.err), TSR_E_CORRUPT);
        memcpy(entry, kept, 2);
    }
    hhtld_put16(trial.payload.bytes + 42, HHTLD_BF16_INF);
    CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.payload, trial.y, &trial.err), TSR_E_CORRUPT);
    trial_end(&trial);
}

static const struct unit_test TESTS[] = {
    {"the_error_falls_with_the_tree", the_error_falls_with_the_tree},
    {"odd_shapes_come_back", odd_shapes_come_back},
    {"nothing_is_memorised", nothing_is_memorised},
    {"damaged_entries_are_refused", damaged_entries_are_refused},
};
UNIT_MAIN(TESTS)
