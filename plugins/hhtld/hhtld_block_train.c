/* SPDX-License-Identifier: Apache-2.0
 *
 * Directions of runs of 17 weights: spherical k-means for the nodes, then, below each node, k-means on the unit vectors
 * turned to the node's side, whose means are scaled back to length 1. */
#include "hhtld_block.h"
#include "hhtld_cluster.h"

#include <math.h>

enum {
    OCTAVES_PER_LEAF = 16, /* fewer would be memorising */
    HEADER_SHARE = 10,     /* the header is at most one part of so many of the tensor */
    SAMPLE_MAX = 1 << 18,
    CODE_MAX = 127
};

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

struct training {
    const struct hhtld_block_training *in;
    uint64_t count;      /* octaves in the sample */
    float *x;            /* [count][OCTAVE] of length 1, or 0 */
    uint32_t *rows, *assigned; /* [count] */
    float *sorted;       /* [count][OCTAVE], node by node */
    float *centres;      /* [nodes][OCTAVE] */
    float *words;        /* [256][OCTAVE] */
    uint32_t nodes, leaves;
};

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "hhtld-block: no memory to train");
}

static void take_octave(float *to, const float *x, uint64_t count) {
    double energy = 0;
    for (uint64_t i = 0; i < count; i++) energy += (double)x[i] * (double)x[i];
    double inverse = energy > 0 ? 1 / sqrt(energy) : 0;
    for (uint64_t i = 0; i < HHTLD_OCTAVE; i++) to[i] = i < count ? (float)((double)x[i] * inverse) : 0;
}

/* Whole rows at equal distances, until the sample is full. */
static tsr_status read_sample(struct training *t, tsr_error *err) {
    const struct hhtld_block_training *in = t->in;
    uint64_t octaves = hhtld_block_octaves(in->columns), rows = least(in->rows, SAMPLE_MAX / octaves + 1);
    float *row = in->host->alloc(in->host, in->columns * sizeof *row);
    tsr_status st = row ? TSR_OK : no_memory(err);
    for (uint64_t i = 0; i < rows && st == TSR_OK; i++) {
        uint64_t at = least((uint64_t)(((double)i + 0.5) / (double)rows * (double)in->rows), in->rows - 1);
        st = in->source->read(in->source->ctx, at, 1, 0, in->columns, row, err);
        for (uint64_t o = 0; o < octaves && t->count < SAMPLE_MAX && st == TSR_OK; o++, t->count++) {
            take_octave(t->x + t->count * HHTLD_OCTAVE, row + o * HHTLD_OCTAVE,
                        least(in->columns - o * HHTLD_OCTAVE, HHTLD_OCTAVE));
        }
        if (st == TSR_OK && in->host->cancelled(in->host)) st = tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    }
    in->host->free(in->host, row);
    return st;
}

static tsr_status allocate(struct training *t, tsr_error *err) {
    const struct hhtld_block_training *in = t->in;
    const tsr_host *host = in->host;
    uint64_t octaves = in->rows * hhtld_block_octaves(in->columns), most = least(octaves, SAMPLE_MAX);
    uint64_t leaves = least(octaves / OCTAVES_PER_LEAF, in->bytes / HEADER_SHARE / HHTLD_OCTAVE);
    leaves = least(leaves ? leaves : 1, (uint64_t)in->nodes * in->leaves);
    t->nodes = (uint32_t)least(in->nodes, (uint64_t)sqrt((double)leaves));
    t->leaves = (uint32_t)least(leaves / t->nodes, in->leaves);
    t->x = host->alloc(host, most * HHTLD_OCTAVE * sizeof *t->x);
    t->sorted = host->alloc(host, most * HHTLD_OCTAVE * sizeof *t->sorted);
    t->rows = host->alloc(host, most * sizeof *t->rows);
    t->assigned = host->alloc(host, most * sizeof *t->assigned);
    t->centres = host->alloc(host, t->nodes * HHTLD_OCTAVE * sizeof *t->centres);
    t->words = host->alloc(host, HHTLD_TWIGS_MAX * HHTLD_OCTAVE * sizeof *t->words);
    return t->x && t->sorted && t->rows && t->assigned && t->centres && t->words ? TSR_OK : no_memory(err);
}

static tsr_status find_nodes(struct training *t, tsr_error *err) {
    for (uint64_t i = 0; i < t->count; i++) t->rows[i] = (uint32_t)i;
    const struct hhtld_cluster cluster = {.host = t->in->host,
                                          .products = t->in->products,
                                          .x = t->x,
                                          .rows = t->rows,
                                          .count = t->count,
                                          .columns = HHTLD_OCTAVE,
                                          .wanted = t->nodes,
                                          .iterations = t->in->iterations,
                                          .centres = t->centres,
                                          .assigned = t->assigned};
    return hhtld_cluster_run(&cluster, err);
}

/* The node's octaves, turned to its side; returns how many. */
static uint64_t gather(struct training *t, uint32_t node) {
    const float *centre = t->centres + node * HHTLD_OCTAVE;
    uint64_t count = 0;
    for (uint64_t i = 0; i < t->count; i++) {
        if (t->assigned[i] != node) continue;
        const float *x = t->x + i * HHTLD_OCTAVE;
        float sign = t->in->products->dot(x, centre, HHTLD_OCTAVE) < 0 ? -1 : 1;
        float *to = t->sorted + count++ * HHTLD_OCTAVE;
        for (int j = 0; j < HHTLD_OCTAVE; j++) to[j] = sign * x[j];
    }
    return count;
}

/* Eight bits a number; a word without a direction becomes the first axis. */
static void write_codes(const float *word, int8_t *codes) {
    float most = 0;
    for (int j = 0; j < HHTLD_OCTAVE; j++) most = fabsf(word[j]) > most ? fabsf(word[j]) : most;
    for (int j = 0; j < HHTLD_OCTAVE; j++) {
        double value = most > 0 ? (double)word[j] / (double)most * CODE_MAX : j == 0 ? CODE_MAX : 0;
        codes[j] = (int8_t)(value < 0 ? value - 0.5 : value + 0.5);
    }
}

static tsr_status write_node(struct training *t, uint32_t node, uint32_t leaves, int8_t *codes, tsr_error *err) {
    uint64_t count = gather(t, node);
    const tsr_kmeans_job job = {.struct_size = sizeof job,
                                .vectors = t->sorted,
                                .count = count,
                                .dim = HHTLD_OCTAVE,
                                .k = leaves,
                                .iterations = 2 * t->in->iterations,
                                .least = 1,
                                .seed = node};
    tsr_status st = t->in->kmeans->train(t->in->host, &job, t->words, err);
    for (uint32_t i = 0; i < leaves && st == TSR_OK; i++) {
        write_codes(t->words + i * HHTLD_OCTAVE, codes + i * HHTLD_OCTAVE);
    }
    return st;
}

static tsr_status write_header(struct training *t, uint8_t **header, uint64_t *size, tsr_error *err) {
    const tsr_host *host = t->in->host;
    tsr_status st = TSR_OK;
    *size = hhtld_block_header_bytes(t->nodes, (uint64_t)t->nodes * t->leaves);
    *header = host->alloc(host, *size);
    if (!*header) return no_memory(err);
    uint8_t *at = *header;
    at[0] = (uint8_t)t->nodes;
    at[1] = 0;
    at += HHTLD_BLOCK_HEADER_FIXED;
    for (uint32_t n = 0; n < t->nodes; n++, at += 2) hhtld_put16(at, t->leaves);
    for (uint32_t n = 0; n < t->nodes && st == TSR_OK; n++, at += (uint64_t)t->leaves * HHTLD_OCTAVE) {
        st = write_node(t, n, t->leaves, (int8_t *)at, err);
    }
    if (st != TSR_OK) host->free(host, *header);
    if (st != TSR_OK) *header = NULL;
    return st;
}

tsr_status hhtld_block_train(const struct hhtld_block_training *in, uint8_t **header, uint64_t *size,
                             float directions[HHTLD_BLOCK_NODES_MAX][HHTLD_OCTAVE], tsr_error *err) {
    const tsr_host *host = in->host;
    struct training t = {.in = in};
    *header = NULL;
    tsr_status st = allocate(&t, err);
    if (st == TSR_OK) st = read_sample(&t, err);
    if (st == TSR_OK) st = find_nodes(&t, err);
    if (st == TSR_OK) memcpy(directions, t.centres, t.nodes * HHTLD_OCTAVE * sizeof *t.centres);
    if (st == TSR_OK) st = write_header(&t, header, size, err);
    host->free(host, t.x);
    host->free(host, t.sorted);
    host->free(host, t.rows);
    host->free(host, t.assigned);
    host->free(host, t.centres);
    host->free(host, t.words);
    return st;
}
