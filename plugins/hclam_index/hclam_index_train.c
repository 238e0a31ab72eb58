/* SPDX-License-Identifier: Apache-2.0
 *
 * k-means on a sample, then k-means below each node; then every row once, for its address and the radii, which are
 * computed in double for the centres as stored and rounded up. Work is cut by shape, so the bytes do not depend on the
 * number of workers. */
#include "hclam_index.h"

#include <math.h>
#include <stdbool.h>

enum {
    SAMPLE_VALUES = 1 << 24, /* at most in memory, 64 MiB */
    SAMPLE_ROWS = 1 << 15,
    ROWS_PER_LEAF = 8,
    BLOCK = 256, /* rows */
    BEAM = 4     /* nodes below which the nearest leaf is looked for */
};

#define RADIUS_SLACK (1 + 0x1p-30)

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

tsr_status hclam_index_plan(const struct hclam_index_settings *settings, uint64_t rows, uint64_t columns,
                            uint64_t *nodes, uint64_t *leaves, tsr_error *err) {
    uint64_t fixed = HCLAM_INDEX_HEADER_FIXED + 2 * HCLAM_INDEX_FAN_MAX;
    uint64_t fit = (TSR_CODEC_HEADER_MAX - fixed) / (HCLAM_INDEX_NODE_BYTES + columns);
    if (fit < 2) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "hclam-index: a tree of rows with %llu columns exceeds %llu bytes",
                        (unsigned long long)columns, (unsigned long long)TSR_CODEC_HEADER_MAX);
    }
    if (rows == 0) rows = 1; /* no rows: any tree will do */
    uint64_t wanted = rows / ROWS_PER_LEAF + 1;
    *nodes = settings->k1 ? settings->k1 : (uint64_t)sqrt((double)wanted);
    *nodes = least(least(*nodes ? *nodes : 1, HCLAM_INDEX_FAN_MAX), least(rows, fit / 2));
    uint64_t below = settings->k2 ? settings->k2 : wanted / *nodes + 1;
    *leaves = least(*nodes * least(below, HCLAM_INDEX_FAN_MAX), fit - *nodes);
    return TSR_OK;
}

struct training {
    const struct hclam_index_training *in;
    uint64_t count;     /* rows of the sample */
    uint64_t nodes, leaves;
    float *sample;      /* [count][columns], over `largest` */
    float *sorted;      /* the same, node by node */
    float *centres;     /* [nodes + leaves][columns], over `largest` */
    uint32_t *assigned; /* [count] */
    double largest;     /* norm of the sample */
    uint8_t *header;
    uint64_t size;
    struct hclam_tree tree;
    uint16_t *addresses; /* [rows] */
    float *near, *far;   /* [rows] distance to leaf and node, rounded up */
};

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "hclam-index: no memory to train");
}

/* ---- sample ---- */

static tsr_status read_sample(struct training *t, tsr_error *err) {
    const struct hclam_index_training *in = t->in;
    for (uint64_t i = 0; i < t->count; i++) {
        uint64_t row = least((uint64_t)(((double)i + 0.5) / (double)t->count * (double)in->rows), in->rows - 1);
        float *x = t->sample + i * in->columns;
        double energy = 0;
        tsr_status st = in->source->read(in->source->ctx, row, 1, 0, in->columns, x, err);
        if (st != TSR_OK) return st;
        for (uint64_t c = 0; c < in->columns; c++) energy += (double)x[c] * (double)x[c];
        t->largest = fmax(t->largest, sqrt(energy));
        if (i % BLOCK == 0 && in->host->cancelled(in->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    }
    double inverse = t->largest > 0 ? 1 / t->largest : 0;
    for (uint64_t i = 0; i < t->count * in->columns; i++) t->sample[i] = (float)((double)t->sample[i] * inverse);
    return TSR_OK;
}

/* ---- tree ---- */

static tsr_status train_words(const struct training *t, const float *vectors, uint64_t count, uint64_t k, float *words,
                              tsr_error *err) {
    const tsr_kmeans_job job = {.struct_size = sizeof job,
                                .vectors = vectors,
                                .count = count,
                                .dim = t->in->columns,
                                .k = k,
                                .iterations = t->in->settings.iterations,
                                .least = 1,
                                .seed = 1};
    return t->in->kmeans->train(t->in->host, &job, words, err);
}

static tsr_status train_nodes(struct training *t, tsr_error *err) {
    const struct hclam_index_training *in = t->in;
    tsr_codebook *book = NULL;
    tsr_status st = train_words(t, t->sample, t->count, t->nodes, t->centres, err);
    if (st == TSR_OK) st = in->kmeans->codebook_create(in->host, t->centres, t->nodes, in->columns, &book, err);
    if (st != TSR_OK) return st;
    in->kmeans->nearest(book, t->sample, NULL, t->count, t->assigned);
    in->kmeans->codebook_destroy(in->host, book);
    return TSR_OK;
}

/* Leaves of each node in proportion to its rows, one at least; then k-means among them. */
static tsr_status train_leaves(struct training *t, uint16_t *below, tsr_error *err) {
    const struct hclam_index_training *in = t->in;
    uint64_t leaves = 0, at = 0;
    tsr_status st = TSR_OK;
    for (uint64_t n = 0; n < t->nodes && st == TSR_OK; n++) {
        float *words = t->centres + (t->nodes + leaves) * in->columns;
        uint64_t begin = at;
        for (uint64_t i = 0; i < t->count; i++) {
            if (t->assigned[i] != n) continue;
            memcpy(t->sorted + at++ * in->columns, t->sample + i * in->columns, in->columns * sizeof *t->sorted);
        }
        uint64_t share = t->leaves * (at - begin) / t->count, rest = t->leaves - leaves - (t->nodes - 1 - n);
        below[n] = (uint16_t)least(least(share ? share : 1, HCLAM_INDEX_FAN_MAX), rest);
        if (at > begin) {
            st = train_words(t, t->sorted + begin * in->columns, at - begin, below[n], words, err);
        } else {
            memcpy(words, t->centres + n * in->columns, in->columns * sizeof *words);
            below[n] = 1;
        }
        leaves += below[n];
    }
    t->leaves = leaves;
    return st;
}

/* Eight bits a number; the largest magnitude is 127. */
static float write_codes(const float *centre, double largest, uint64_t columns, int8_t *codes) {
    float most = 0;
    for (uint64_t c = 0; c < columns; c++) most = fabsf(centre[c]) > most ? fabsf(centre[c]) : most;
    double scale = (double)most * largest / 127, inverse = most > 0 ? 127 / (double)most : 0;
    if (scale > (double)HCLAM_INDEX_SCALE_MAX) scale = (double)HCLAM_INDEX_SCALE_MAX;
    for (uint64_t c = 0; c < columns; c++) {
        double value = (double)centre[c] * inverse;
        codes[c] = (int8_t)(value < 0 ? value - 0.5 : value + 0.5);
    }
    return (float)scale;
}

static tsr_status write_tree(struct training *t, const uint16_t *below, tsr_error *err) {
    const struct hclam_index_training *in = t->in;
    const uint64_t count = t->nodes + t->leaves;
    t->size = hclam_index_header_bytes(in->columns, t->nodes, t->leaves);
    t->header = in->host->alloc(in->host, t->size);
    if (!t->header) return no_memory(err);
    hclam_index_put16(t->header, (uint32_t)t->nodes);
    hclam_index_put16(t->header + 2, 0);
    hclam_index_put32(t->header + 4, (uint32_t)in->columns);
    uint8_t *at = t->header + HCLAM_INDEX_HEADER_FIXED;
    for (uint64_t n = 0; n < t->nodes; n++, at += 2) hclam_index_put16(at, below[n]);
    int8_t *codes = (int8_t *)(at + HCLAM_INDEX_NODE_BYTES * count);
    for (uint64_t i = 0; i < count; i++, at += HCLAM_INDEX_NODE_BYTES) {
        float scale = write_codes(t->centres + i * in->columns, t->largest, in->columns, codes + i * in->columns);
        hclam_index_put_f32(at, scale);
        hclam_index_put_f32(at + 4, 0);
    }
    return hclam_tree_read(in->host, t->header, t->size, in->columns, &t->tree, err);
}

/* ---- every row ---- */

static float round_up(double value) {
    float single = value < 0x1.FFFFFEp127 ? (float)value : HUGE_VALF;
    return (double)single < value ? nextafterf(single, HUGE_VALF) : single;
}

/* Distance of a row to the centre of node `i` as stored, not below. */
static float distance_to(const struct hclam_tree *tree, uint64_t i, const float *x) {
    const int8_t *codes = tree->codes + i * tree->columns;
    double scale = (double)tree->scale[i], energy = 0;
    for (uint64_t c = 0; c < tree->columns; c++) {
        double difference = (double)x[c] - scale * (double)codes[c];
        energy += difference * difference;
    }
    return round_up(sqrt(energy) * RADIUS_SLACK);
}

/* Half of what the squared distance is less the row's own square, over `largest`^2; the smaller, the nearer. */
static double cost_of(const struct training *t, uint64_t i, const float *unit) {
    const struct hclam_tree *tree = &t->tree;
    double inverse = t->largest > 0 ? 1 / t->largest : 0, norm = tree->norm[i] * inverse;
    float dot = t->in->products->dot_codes(tree->codes + i * tree->columns, unit, tree->columns);
    return norm * norm / 2 - (double)dot * (double)tree->scale[i] * inverse;
}

static void place_row(const struct training *t, uint64_t row, const float *x, float *unit) {
    const struct hclam_tree *tree = &t->tree;
    double costs[HCLAM_INDEX_FAN_MAX], best = HUGE_VAL, inverse = t->largest > 0 ? 1 / t->largest : 0;
    uint32_t node = 0, leaf = 0;
    for (uint64_t c = 0; c < tree->columns; c++) unit[c] = (float)((double)x[c] * inverse);
    for (uint32_t n = 0; n < tree->nodes; n++) costs[n] = cost_of(t, n, unit);
    for (uint32_t i = 0; i < BEAM && i < tree->nodes; i++) {
        uint32_t nearest = 0;
        for (uint32_t n = 1; n < tree->nodes; n++) nearest = costs[n] < costs[nearest] ? n : nearest;
        costs[nearest] = HUGE_VAL;
        for (uint32_t j = tree->first[nearest]; j < tree->first[nearest + 1]; j++) {
            double cost = cost_of(t, tree->nodes + j, unit);
            if (!(cost < best)) continue;
            best = cost;
            node = nearest;
            leaf = j;
        }
    }
    t->addresses[row] = (uint16_t)(node | (leaf - tree->first[node]) << 8);
    t->far[row] = distance_to(tree, node, x);
    t->near[row] = distance_to(tree, tree->nodes + leaf, x);
}

static tsr_status place_block(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct training *t = ctx;
    const struct hclam_index_training *in = t->in;
    uint64_t first = index * BLOCK, rows = least(BLOCK, in->rows - first);
    (void)worker;
    float *x = in->host->alloc(in->host, (rows + 1) * in->columns * sizeof *x);
    if (!x) return no_memory(err);
    tsr_status st = in->host->cancelled(in->host) ? tsr_fail(err, TSR_E_CANCELLED, "interrupted")
                                                  : in->source->read(in->source->ctx, first, rows, 0, in->columns, x, err);
    for (uint64_t r = 0; r < rows && st == TSR_OK; r++) {
        place_row(t, first + r, x + r * in->columns, x + rows * in->columns);
    }
    in->host->free(in->host, x);
    return st;
}

static void write_radii(struct training *t) {
    struct hclam_tree *tree = &t->tree;
    uint8_t *nodes = t->header + HCLAM_INDEX_HEADER_FIXED + 2 * (uint64_t)tree->nodes;
    for (uint64_t r = 0; r < t->in->rows; r++) {
        uint32_t node = t->addresses[r] & 255, leaf = tree->nodes + tree->first[node] + (t->addresses[r] >> 8);
        if (t->far[r] > tree->radius[node]) tree->radius[node] = t->far[r];
        if (t->near[r] > tree->radius[leaf]) tree->radius[leaf] = t->near[r];
    }
    for (uint64_t i = 0; i < tree->nodes + tree->leaves; i++) {
        hclam_index_put_f32(nodes + HCLAM_INDEX_NODE_BYTES * i + 4, tree->radius[i]);
    }
}

static tsr_status place_rows(struct training *t, tsr_error *err) {
    const struct hclam_index_training *in = t->in;
    t->addresses = in->host->alloc(in->host, in->rows * sizeof *t->addresses);
    t->near = in->host->alloc(in->host, 2 * in->rows * sizeof *t->near);
    if (!t->addresses || !t->near) return no_memory(err);
    t->far = t->near + in->rows;
    tsr_status st = in->host->parallel_for(in->host, (in->rows - 1) / BLOCK + 1, place_block, t, err);
    if (st == TSR_OK) write_radii(t);
    return st;
}

static tsr_status allocate(struct training *t, tsr_error *err) {
    const struct hclam_index_training *in = t->in;
    const tsr_host *host = in->host;
    uint64_t most = SAMPLE_VALUES / in->columns > BLOCK ? SAMPLE_VALUES / in->columns : BLOCK;
    t->count = least(in->rows, least(most, SAMPLE_ROWS));
    tsr_status st = hclam_index_plan(&in->settings, in->rows, in->columns, &t->nodes, &t->leaves, err);
    if (st != TSR_OK) return st;
    t->nodes = least(t->nodes, t->count);
    t->sample = host->alloc(host, t->count * in->columns * sizeof *t->sample);
    t->sorted = host->alloc(host, t->count * in->columns * sizeof *t->sorted);
    t->centres = host->alloc(host, (t->nodes + t->leaves) * in->columns * sizeof *t->centres);
    t->assigned = host->alloc(host, t->count * sizeof *t->assigned);
    return t->sample && t->sorted && t->centres && t->assigned ? TSR_OK : no_memory(err);
}

tsr_status hclam_index_train(const struct hclam_index_training *in, uint8_t **header, uint64_t *size,
                             uint16_t **addresses, tsr_error *err) {
    const tsr_host *host = in->host;
    struct training t = {.in = in};
    uint16_t below[HCLAM_INDEX_FAN_MAX];
    tsr_status st = allocate(&t, err);
    if (st == TSR_OK) st = read_sample(&t, err);
    if (st == TSR_OK) st = train_nodes(&t, err);
    if (st == TSR_OK) st = train_leaves(&t, below, err);
    if (st == TSR_OK) st = write_tree(&t, below, err);
    if (st == TSR_OK) st = place_rows(&t, err);
    hclam_tree_clear(host, &t.tree);
    host->free(host, t.sample);
    host->free(host, t.sorted);
    host->free(host, t.centres);
    host->free(host, t.assigned);
    host->free(host, t.near);
    if (st != TSR_OK) host->free(host, t.header);
    if (st != TSR_OK) host->free(host, t.addresses);
    *header = st == TSR_OK ? t.header : NULL;
    *addresses = st == TSR_OK ? t.addresses : NULL;
    *size = t.size;
    return st;
}
