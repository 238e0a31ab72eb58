/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of the scalar codec: what quantise returns is what is decoded, over rows that are zero, raw, far apart and with
 * outliers; no blocks where every row has a bound. */
#include "../codec_trial.h"

extern const tsr_plugin tsr_plugin_scalar;

enum { BITS, STEP, DEAD_ZONE, CENTROIDS, GROUP, ROW_ERROR_MAX };
enum { ROWS = 60, COLUMNS = 200 };

static void begin(struct trial *trial, double dead_zone, int64_t group) {
    trial_begin(trial, tsr_plugin_scalar.codecs[0], ROWS, COLUMNS);
    trial->params[BITS].real = 3;
    trial->params[DEAD_ZONE].real = dead_zone;
    trial->params[CENTROIDS].integer = 1;
    trial->params[GROUP].integer = group;
    trial_fill(trial->x, trial->count, 21);
    for (uint64_t i = 0; i < trial->count; i++) trial->x[i] *= (float)(1 + i / COLUMNS % 7);
    for (uint64_t c = 0; c < COLUMNS; c++) {
        trial->x[7 * COLUMNS + c] = 0;
        trial->x[8 * COLUMNS + c] *= 0x1p-120f; /* stored raw */
        trial->x[9 * COLUMNS + c] = c ? 0.001f : 3000;
    }
}

static void blocks_are_what_is_decoded(void) {
    struct trial trial;
    begin(&trial, 0, 0);
    trial_block_agrees(&trial, true);
    trial_end(&trial);
}

static void dead_zones_groups_and_weights_change_nothing_about_it(void) {
    struct trial trial;
    float weights[ROWS];
    for (int r = 0; r < ROWS; r++) weights[r] = (float)(1 + r * r);
    const tsr_encode_hints hints = {sizeof hints, weights, NULL};
    begin(&trial, 0.2, 64);
    trial.job.hints = &hints;
    trial_block_agrees(&trial, true);
    trial_end(&trial);
}

static void a_bound_on_rows_leaves_no_blocks(void) {
    struct trial trial;
    begin(&trial, 0, 0);
    trial.params[ROW_ERROR_MAX].real = 0.1;
    void *self = trial_encoder(&trial), *state = &trial;
    const tsr_block *block = trial.job.codec->get_extension(TSR_BLOCK_ID);
    tsr_tile tile = {sizeof tile, 0, 0, ROWS, 0, COLUMNS, sizeof(float) * ROWS * COLUMNS, 0};
    CU_ASSERT_EQUAL(block->width(self), 0);
    CU_ASSERT_EQUAL(block->begin(self, &tile, trial.x, &state, &trial.err), TSR_E_UNSUPPORTED);
    CU_ASSERT_PTR_NULL(state);
    trial.job.codec->destroy(self);
    trial_end(&trial);
}

static const struct unit_test TESTS[] = {
    {"blocks_are_what_is_decoded", blocks_are_what_is_decoded},
    {"dead_zones_groups_and_weights_change_nothing_about_it", dead_zones_groups_and_weights_change_nothing_about_it},
    {"a_bound_on_rows_leaves_no_blocks", a_bound_on_rows_leaves_no_blocks},
};
UNIT_MAIN(TESTS)
