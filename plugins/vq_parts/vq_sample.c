/* SPDX-License-Identifier: Apache-2.0
 *
 * Vectors to train on: one at random from each of equal strata of all vectors of all members, scaled as encode does. So
 * the sample depends on shapes alone, represents every member by its size, and does not beat with any period. */
#include "vq.h"

#define READ_WEIGHTS (UINT64_C(1) << 18) /* at once; rows that are longer are read, and scaled, in pieces */

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t index) {
    uint64_t z = (index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

__extension__ typedef unsigned __int128 wide;

/* One sampling run. */
struct taking {
    const struct vq *vq;
    struct vq_sample *sample;
    uint64_t total, wanted; /* vectors of all members, vectors of the sample */
    uint64_t taken;         /* strata so far */
    uint64_t next;          /* vector that the next stratum gives */
    uint64_t at;            /* vectors passed so far */
    uint64_t dim;
    float *row; /* [READ_WEIGHTS at least] */
    float *scaled;
    uint16_t *codes;
};

static void choose_next(struct taking *taking) {
    const uint64_t i = taking->taken;
    if (i >= taking->wanted) {
        taking->next = UINT64_MAX;
        return;
    }
    uint64_t first = (uint64_t)((wide)taking->total * i / taking->wanted);
    uint64_t end = (uint64_t)((wide)taking->total * (i + 1) / taking->wanted);
    taking->next = first + (uint64_t)((wide)mix(i) * (end - first) >> 64);
}

/* Rows whose weight counts as much as it does in the sum over the tensor: the codebook sees vectors over their scale.
 */
static float row_factor(const struct vq *encoder, uint64_t row, float scale) {
    if (!encoder->row_weight || !(encoder->row_weight[row] >= 0)) return 1;
    double factor = (double)encoder->row_weight[row] * (double)scale * (double)scale;
    return factor < 1e30 ? (float)factor : 1e30f;
}

/* Where a piece of a row lies, and whose hints it has. */
struct piece {
    const struct vq *hints;
    struct vq_grid grid;
    uint32_t mantissa_bits;
    uint64_t row, first_column;
};

static void take_vector(struct taking *taking, const struct piece *piece, uint64_t vector) {
    struct vq_sample *sample = taking->sample;
    const uint64_t dim = taking->dim;
    const uint16_t code = taking->codes[vector * dim / piece->grid.group];
    if (code <= STEP_CODE_RAW) return;
    float *to = sample->vectors + sample->count * dim;
    memcpy(to, taking->scaled + vector * dim, (size_t)dim * sizeof *to);
    if (sample->weights) {
        const float factor = row_factor(piece->hints, piece->row, step_code_value(code, piece->mantissa_bits));
        const float *columns = piece->hints->column_weight;
        for (uint64_t i = 0; i < dim; i++) {
            float weight = columns ? columns[piece->first_column + vector * dim + i] : 1;
            sample->weights[sample->count * dim + i] = weight * factor;
        }
    }
    sample->count++;
}

/* A piece of a row, `x`, out of which vectors are taken as long as the next one lies in it. */
static void take_piece(struct taking *taking, const struct piece *piece, float *x) {
    const struct vq_grid *grid = &piece->grid;
    const uint64_t end = taking->at + grid->row_vectors;
    if (taking->next < end) {
        if (piece->hints->hadamard && !vq_row_is_raw(x, grid->columns)) {
            piece->hints->hadamard->forward(x, 1, grid->columns, piece->hints->seed);
        }
        vq_choose_codes(piece->hints, grid, x, piece->mantissa_bits, taking->codes);
        vq_scale_row(grid, x, taking->codes, piece->mantissa_bits, taking->scaled);
    }
    while (taking->next < end) {
        take_vector(taking, piece, taking->next - taking->at);
        taking->taken++;
        choose_next(taking);
    }
    taking->at = end;
}

/* Rows first .. first + rows - 1, columns at .. at + columns - 1 of a member. */
static tsr_status take_block(struct taking *taking, const struct vq *hints, const tsr_row_source *source,
                             const uint64_t rows[2], const uint64_t columns[2], tsr_error *err) {
    const struct vq_grid grid = vq_grid_make(1, columns[1], taking->dim, taking->vq->settings.group);
    const uint64_t vectors = rows[1] * grid.row_vectors;
    if (taking->next >= taking->at + vectors) {
        taking->at += vectors;
        return TSR_OK;
    }
    if (taking->vq->host->cancelled(taking->vq->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    tsr_status status = source->read(source->ctx, rows[0], rows[1], columns[0], columns[1], taking->row, err);
    for (uint64_t r = 0; r < rows[1] && status == TSR_OK; r++) {
        const struct piece piece = {hints, grid, vq_mantissa_bits(grid.group), rows[0] + r, columns[0]};
        take_piece(taking, &piece, taking->row + r * columns[1]);
    }
    return status;
}

static tsr_status take_member(struct taking *taking, const struct vq *hints, const tsr_row_source *source,
                              tsr_error *err) {
    const tsr_tensor *tensor = hints->tensor;
    const uint64_t width =
        tensor->columns < READ_WEIGHTS || taking->vq->settings.shape.dim == 0 ? tensor->columns : READ_WEIGHTS;
    const uint64_t block = width < READ_WEIGHTS ? READ_WEIGHTS / width : 1;
    tsr_status status = TSR_OK;
    for (uint64_t r = 0; r < tensor->rows && status == TSR_OK; r += block) {
        const uint64_t rows[2] = {r, tensor->rows - r < block ? tensor->rows - r : block};
        for (uint64_t c = 0; c < tensor->columns && status == TSR_OK; c += width) {
            const uint64_t columns[2] = {c, tensor->columns - c < width ? tensor->columns - c : width};
            status = take_block(taking, hints, source, rows, columns, err);
        }
    }
    return status;
}

static tsr_status taking_init(struct taking *taking, bool weighted, tsr_error *err) {
    const tsr_host *host = taking->vq->host;
    const uint64_t bytes = taking->wanted * taking->dim * sizeof(float);
    taking->sample->vectors = host->alloc(host, bytes);
    taking->sample->weights = weighted ? host->alloc(host, bytes) : NULL;
    taking->row = host->alloc(host, READ_WEIGHTS * sizeof(float));
    taking->scaled = host->alloc(host, (READ_WEIGHTS + 16) * sizeof(float));
    taking->codes = host->alloc(host, READ_WEIGHTS * sizeof(uint16_t));
    bool got = taking->sample->vectors && taking->row && taking->scaled && taking->codes;
    return got && (!weighted || taking->sample->weights) ? TSR_OK : vq_no_memory(taking->vq, err);
}

tsr_status vq_sample_take(const struct vq *vq, const tsr_dictionary_member *members, uint64_t count, uint64_t most,
                          struct vq_sample *sample, tsr_error *err) {
    struct taking taking = {.vq = vq, .sample = sample, .dim = vq_dim(&vq->settings, vq->tensor)};
    bool weighted = false;
    for (uint64_t m = 0; m < count; m++) {
        taking.total += vq_sum(&vq->settings, members[m].setup->tensor).vectors;
        weighted |=
            members[m].setup->hints && (members[m].setup->hints->row_weight || members[m].setup->hints->column_weight);
    }
    taking.wanted = taking.total < most ? taking.total : most;
    *sample = (struct vq_sample){0};
    tsr_status status = taking_init(&taking, weighted, err);
    choose_next(&taking);
    for (uint64_t m = 0; m < count && status == TSR_OK; m++) {
        struct vq hints = {.kind = vq->kind,
                           .host = vq->host,
                           .tensor = members[m].setup->tensor,
                           .settings = vq->settings,
                           .hadamard = vq->hadamard};
        if (vq->hadamard) hints.seed = vq->hadamard->seed(hints.tensor->name);
        status = vq_take_hints(&hints, members[m].setup->hints, err);
        if (status == TSR_OK) status = take_member(&taking, &hints, members[m].rows, err);
        vq->host->free(vq->host, hints.column_weight);
    }
    vq->host->free(vq->host, taking.row);
    vq->host->free(vq->host, taking.scaled);
    vq->host->free(vq->host, taking.codes);
    return status;
}

void vq_sample_clear(const struct vq *vq, struct vq_sample *sample) {
    vq->host->free(vq->host, sample->vectors);
    vq->host->free(vq->host, sample->weights);
    *sample = (struct vq_sample){0};
}
