/* SPDX-License-Identifier: Apache-2.0
 *
 * Block LDLQ (Tseng et al. 2024, arXiv:2402.04396; with one column a block the same as GPTQ, Frantar et al. 2022,
 * arXiv:2210.17323, as Chee et al. 2023, arXiv:2307.13304, show). With H = L L^T the error is that of E L, and its column
 * j, E_j L_jj + sum over k > j of E_k L_kj, vanishes when column j is quantised with E_k L_kj / L_jj added to it: so
 * columns are put at positions from the last to the first in the order in which they are quantised. What comes from
 * columns further back than a panel is added to all of the panel at once, as a matrix product. */
#include "feedback.h"

#include <base/alloc.h>
#include <base/error.h>
#include <cblas.h>
#include <format/dtype.h>
#include <math.h>
#include <numeric/column_scale.h>
#include <numeric/dense.h>
#include <numeric/factor.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/ext/block.h>

#define PANEL 64 /* positions, at least TSR_BLOCK_WIDTH_MAX */

/* One of the codec's blocks, where it stands. */
struct place {
    uint64_t index; /* as the codec counts */
    uint64_t first, last; /* positions */
    double weight;  /* of its inputs */
};

struct feedback {
    const struct coder_job *job;
    void *self;
    const tsr_block *block;
    uint64_t columns, width;
    uint64_t *column;     /* [columns]: which one is at a position */
    struct place *places; /* [place_count], in the order in which they are quantised */
    uint64_t place_count;
    float *lower; /* [columns][columns], normalised */
    float *up, *down; /* [columns] at positions: factors to the codec's values and back; NULL where there are none */
};

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for error feedback");
}

/* ---- order and factor ---- */

/* Which columns a block has: full blocks, of columns that no other has, but for the last. */
static tsr_status ask_block(struct feedback *feedback, const tsr_tile *tile, uint64_t index, uint8_t *seen,
                            uint64_t *columns, tsr_error *err) {
    const uint64_t at = index * feedback->width, wanted = min_u64(feedback->width, feedback->columns - at);
    bool good = feedback->block->columns(feedback->self, tile, index, columns) == wanted;
    for (uint64_t i = 0; i < wanted && good; i++) good = columns[i] < feedback->columns && !seen[columns[i]]++;
    if (good) return TSR_OK;
    return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: columns of block %llu are not what they should be",
                    feedback->job->codec->name, (unsigned long long)index);
}

static int heavier_first(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* Blocks with the largest inputs first: their errors have the most columns left to be made up for by. */
static tsr_status choose_order(struct feedback *feedback, const tsr_tile *tile, tsr_error *err) {
    const uint64_t n = feedback->columns, width = feedback->width;
    uint64_t got[TSR_BLOCK_WIDTH_MAX], left = n;
    uint8_t *seen = mem_alloc_zero(n, 1);
    tsr_status st = seen ? TSR_OK : no_memory(err);
    for (uint64_t b = 0; b < feedback->place_count && st == TSR_OK; b++) {
        st = ask_block(feedback, tile, b, seen, got, err);
        feedback->places[b].index = b;
        for (uint64_t i = b * width; i < min_u64((b + 1) * width, n) && st == TSR_OK; i++) {
            feedback->places[b].weight += (double)feedback->lower[got[i - b * width] * (n + 1)];
        }
    }
    if (st == TSR_OK) qsort(feedback->places, feedback->place_count, sizeof *feedback->places, heavier_first);
    for (uint64_t b = 0; b < feedback->place_count && st == TSR_OK; b++) {
        struct place *place = &feedback->places[b];
        const uint64_t count = min_u64(feedback->block->columns(feedback->self, tile, place->index, got), left);
        place->last = left;
        place->first = left - count;
        for (uint64_t i = 0; i < count; i++) feedback->column[--left] = got[i];
    }
    mem_free(seen);
    return st;
}

static tsr_status make_factor(struct feedback *feedback, const tsr_tile *tile, tsr_error *err) {
    struct coder_feedback *wanted = feedback->job->feedback;
    const uint64_t n = feedback->columns;
    float *row = mem_alloc_array(n, sizeof *row);
    tsr_status st = row ? wanted->moment(wanted->ctx, feedback->lower, err) : no_memory(err);
    if (st == TSR_OK) st = choose_order(feedback, tile, err);
    if (st == TSR_OK) factor_reorder(feedback->lower, n, feedback->column, row);
    if (st == TSR_OK && !factor_make(feedback->lower, n, &wanted->damping, row)) {
        st = tsr_fail(err, TSR_E_INPUT, "its second moments are not positive definite, whatever is added");
    }
    for (uint64_t b = 0; b < feedback->place_count && st == TSR_OK; b++) {
        factor_normalise(feedback->lower, n, feedback->places[b].first, feedback->places[b].last);
    }
    mem_free(row);
    return st;
}

static tsr_status make_scales(struct feedback *feedback, tsr_error *err) {
    const uint64_t n = feedback->columns;
    int8_t *codes = mem_alloc(n);
    feedback->up = mem_alloc_array(n, sizeof *feedback->up);
    feedback->down = mem_alloc_array(n, sizeof *feedback->down);
    tsr_status st = codes && feedback->up && feedback->down ? TSR_OK : no_memory(err);
    for (uint64_t p = 0; p < n && st == TSR_OK; p++) codes[p] = feedback->job->column_scale[feedback->column[p]];
    if (st == TSR_OK) column_scale_factors(codes, n, true, feedback->up);
    if (st == TSR_OK) column_scale_factors(codes, n, false, feedback->down);
    mem_free(codes);
    return st;
}

static const tsr_block *block_of(const tsr_codec *codec) {
    return codec->input == TSR_INPUT_F32 && codec->get_extension ? codec->get_extension(TSR_BLOCK_ID) : NULL;
}

bool feedback_possible(const struct coder_job *job, void *self, const struct tile_grid *grid) {
    const tsr_block *block = block_of(job->codec);
    return block && grid->columns && grid->tile_columns == grid->columns && block->width(self) > 0;
}

tsr_status feedback_open(const struct coder_job *job, void *self, const struct tile_grid *grid,
                         struct feedback **feedback, tsr_error *err) {
    const tsr_codec *codec = job->codec;
    const tsr_block *block = block_of(codec);
    const uint64_t n = grid->columns, width = feedback_possible(job, self, grid) ? block->width(self) : 0;
    *feedback = NULL;
    if (width == 0) return TSR_OK;
    if (width > TSR_BLOCK_WIDTH_MAX) return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: blocks of %llu columns", codec->name,
                                       (unsigned long long)width);
    struct feedback *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return no_memory(err);
    *made = (struct feedback){.job = job, .self = self, .block = block, .columns = n, .width = width};
    made->place_count = ceil_div(n, width);
    made->column = mem_alloc_array(n, sizeof *made->column);
    made->places = mem_alloc_zero(made->place_count, sizeof *made->places);
    made->lower = mem_alloc_array(n * n, sizeof *made->lower);
    const tsr_tile tile = tile_at(grid, 0, 32);
    dense_setup();
    tsr_status st = made->column && made->places && made->lower ? make_factor(made, &tile, err) : no_memory(err);
    if (st == TSR_OK && job->column_scale) st = make_scales(made, err);
    if (st == TSR_OK)
        *feedback = made;
    else
        feedback_close(made);
    return st;
}

void feedback_close(struct feedback *feedback) {
    if (!feedback) return;
    mem_free(feedback->column);
    mem_free(feedback->places);
    mem_free(feedback->lower);
    mem_free(feedback->up);
    mem_free(feedback->down);
    mem_free(feedback);
}

/* ---- one tile ---- */

/* Positions [low, high) of a tile, column by column. */
struct panel {
    uint64_t rows, low, high;
    float *original, *values, *errors; /* [PANEL][rows] */
    float *given, *got;                /* [rows][width], one block as the codec sees it */
    uint8_t *rounded;                  /* the same in the source dtype */
};

static bool panel_init(struct panel *panel, uint64_t rows, uint64_t width) {
    const uint64_t column = (rows + 15) / 16 * 16;
    float *memory = mem_alloc_array(column * (3 * PANEL + 3 * width), sizeof *memory);
    *panel = (struct panel){.rows = rows, .original = memory};
    if (!memory) return false;
    panel->values = memory + column * PANEL;
    panel->errors = panel->values + column * PANEL;
    panel->given = panel->errors + column * PANEL;
    panel->got = panel->given + column * width;
    panel->rounded = (uint8_t *)(panel->got + column * width);
    return true;
}

/* The tile's columns into the order of positions, and into their own scale. */
static void arrange(const struct feedback *feedback, float *x, uint64_t rows, float *room) {
    const uint64_t n = feedback->columns;
    for (uint64_t r = 0; r < rows; r++) {
        memcpy(room, x + r * n, n * sizeof *x);
        for (uint64_t p = 0; p < n; p++) x[r * n + p] = room[feedback->column[p]];
        for (uint64_t p = 0; feedback->down && p < n; p++) x[r * n + p] *= feedback->down[p];
    }
}

/* Weights, and with them what all positions behind the panel left over: x holds errors there. */
static void load_panel(const struct feedback *feedback, const float *x, struct panel *panel) {
    const uint64_t n = feedback->columns, rows = panel->rows, width = panel->high - panel->low, behind = n - panel->high;
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t c = 0; c < width; c++) panel->original[c * rows + r] = x[r * n + panel->low + c];
    }
    memcpy(panel->values, panel->original, width * rows * sizeof *panel->values);
    if (!behind) return;
    cblas_sgemm(CblasColMajor, CblasTrans, CblasTrans, (int)rows, (int)width, (int)behind, 1, x + panel->high, (int)n,
                feedback->lower + panel->high * n + panel->low, (int)n, 1, panel->values, (int)rows);
}

static void store_errors(const struct feedback *feedback, const struct panel *panel, float *x) {
    const uint64_t n = feedback->columns, rows = panel->rows, width = panel->high - panel->low;
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t c = 0; c < width; c++) x[r * n + panel->low + c] = panel->errors[c * rows + r];
    }
}

/* Adds to position `at` what the panel's positions from `from` on left over. */
static void add_errors(const struct feedback *feedback, struct panel *panel, uint64_t at, uint64_t from) {
    const uint64_t n = feedback->columns, rows = panel->rows;
    if (from == panel->high) return;
    cblas_sgemv(CblasColMajor, CblasNoTrans, (int)rows, (int)(panel->high - from), 1,
                panel->errors + (from - panel->low) * rows, (int)rows, feedback->lower + from * n + at, (int)n, 1,
                panel->values + (at - panel->low) * rows, 1);
}

/* What decoding leaves of the block, rounded as the host rounds it. The codec's first value is the last position. */
static void note_errors(const struct feedback *feedback, struct panel *panel, uint64_t first, uint64_t width) {
    const int32_t dtype = feedback->job->tensor->dtype;
    const uint64_t rows = panel->rows;
    for (uint64_t i = 0; feedback->down && i < width; i++) {
        const float factor = feedback->down[first + width - 1 - i];
        for (uint64_t r = 0; r < rows; r++) panel->got[r * width + i] *= factor;
    }
    if (dtype != TSR_DTYPE_F32) {
        dtype_from_f32(dtype, panel->got, rows * width, panel->rounded);
        dtype_to_f32(dtype, panel->rounded, rows * width, panel->got);
    }
    for (uint64_t i = 0; i < width; i++) {
        const uint64_t at = (first + width - 1 - i - panel->low) * rows;
        for (uint64_t r = 0; r < rows; r++) {
            const float error = panel->original[at + r] - panel->got[r * width + i];
            panel->errors[at + r] = isfinite(error) ? error : 0;
        }
    }
}

static tsr_status quantise_block(const struct feedback *feedback, void *state, const struct place *place,
                                 struct panel *panel, tsr_error *err) {
    const uint64_t rows = panel->rows, width = place->last - place->first;
    for (uint64_t i = 0; i < width; i++) {
        const uint64_t position = place->last - 1 - i;
        add_errors(feedback, panel, position, place->last);
        const float *column = panel->values + (position - panel->low) * rows;
        const float factor = feedback->up ? feedback->up[position] : 1;
        for (uint64_t r = 0; r < rows; r++) panel->given[r * width + i] = column[r] * factor;
    }
    tsr_status st = feedback->block->quantise(feedback->self, state, place->index, panel->given, panel->got, err);
    if (st == TSR_OK) note_errors(feedback, panel, place->first, width);
    return st;
}

/* As many of the places from `at` on as fit into a panel; returns the one behind them. */
static uint64_t cut_panel(const struct feedback *feedback, uint64_t at, struct panel *panel) {
    panel->high = feedback->places[at].last;
    for (; at < feedback->place_count && panel->high - feedback->places[at].first <= PANEL; at++) {
        panel->low = feedback->places[at].first;
    }
    return at;
}

static tsr_status quantise_tile(const struct feedback *feedback, void *state, struct panel *panel, float *x,
                                tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t at = 0; at < feedback->place_count && st == TSR_OK;) {
        const uint64_t behind = cut_panel(feedback, at, panel);
        load_panel(feedback, x, panel);
        for (; at < behind && st == TSR_OK; at++) st = quantise_block(feedback, state, &feedback->places[at], panel, err);
        store_errors(feedback, panel, x);
        if (st == TSR_OK && env_cancelled(feedback->job->env)) st = tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    }
    return st;
}

tsr_status feedback_encode(const struct feedback *feedback, const tsr_tile *tile, float *x, void *dst,
                           uint64_t capacity, uint64_t *written, tsr_error *err) {
    const tsr_codec *codec = feedback->job->codec;
    struct panel panel;
    void *state = NULL;
    tsr_status st = feedback->block->begin(feedback->self, tile, x, &state, err);
    if (st == TSR_E_UNSUPPORTED) return codec->encode(feedback->self, tile, x, dst, capacity, written, err);
    if (st != TSR_OK) return st;
    float *room = mem_alloc_array(feedback->columns, sizeof *room);
    if (!panel_init(&panel, tile->rows, feedback->width) || !room) st = no_memory(err);
    if (st == TSR_OK) {
        arrange(feedback, x, tile->rows, room);
        st = quantise_tile(feedback, state, &panel, x, err);
    }
    mem_free(room);
    mem_free(panel.original);
    if (st == TSR_OK) return feedback->block->end(feedback->self, state, dst, capacity, written, err);
    feedback->block->abandon(feedback->self, state);
    return st;
}
