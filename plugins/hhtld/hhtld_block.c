/* SPDX-License-Identifier: Apache-2.0
 *
 * hhtld-block's face, encoder and decoder. The leaf is looked for below the four nodes nearest to the octave. */
#include "hhtld_block.h"

#include <math.h>

enum { PARAM_NODES, PARAM_LEAVES, PARAM_ITERATIONS, PARAM_COUNT };

enum { BEAM = 4 };

/* Octaves whose gain is smaller become zero: their BF16 numbers would round to more than their size. */
#define GAIN_MIN 0x1p-100

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "nodes", "nodes of the first level, at most; fewer for small tensors", "64", NULL, 1,
     HHTLD_BLOCK_NODES_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "leaves", "leaves below each node, at most; fewer for small tensors", "256", NULL, 1, HHTLD_TWIGS_MAX,
     TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "iterations", "rounds of k-means", "6", NULL, 1, 50, TSR_PARAM_INT, 0},
};

struct hhtld_block {
    const tsr_host *host;
    const tsr_tensor *tensor;
    const tsr_products *products;
    const tsr_kmeans *kmeans;
    uint32_t nodes, leaves, iterations;
    uint8_t *header; /* encoder: made by prepare */
    struct hhtld_block_tree tree;
    float directions[HHTLD_BLOCK_NODES_MAX][HHTLD_OCTAVE];
    tsr_codebook *books[HHTLD_BLOCK_NODES_MAX];
};

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "hhtld-block: %s", what);
}

tsr_status hhtld_block_tree_read(const uint8_t *bytes, uint64_t size, struct hhtld_block_tree *tree, tsr_error *err) {
    if (size < HHTLD_BLOCK_HEADER_FIXED || bytes[0] < 1 || bytes[0] > HHTLD_BLOCK_NODES_MAX || bytes[1] ||
        size < HHTLD_BLOCK_HEADER_FIXED + 2 * (uint64_t)bytes[0])
        return corrupt(err, "header: cut short or numbers out of range");
    tree->nodes = bytes[0];
    bytes += HHTLD_BLOCK_HEADER_FIXED;
    for (uint32_t n = 0; n < tree->nodes; n++, bytes += 2) {
        uint32_t leaves = hhtld_get16(bytes);
        if (leaves < 1 || leaves > HHTLD_TWIGS_MAX) return corrupt(err, "header: leaves of a node out of range");
        tree->first[n] = tree->leaves;
        tree->leaves += leaves;
    }
    tree->first[tree->nodes] = tree->leaves;
    if (size != hhtld_block_header_bytes(tree->nodes, tree->leaves)) return corrupt(err, "header: of another size");
    tree->codes = (const int8_t *)bytes;
    for (uint64_t i = 0; i < tree->leaves; i++) {
        int used = 0;
        for (int j = 0; j < HHTLD_OCTAVE; j++) used |= tree->codes[i * HHTLD_OCTAVE + (uint64_t)j];
        if (!used) return corrupt(err, "header: a leaf without a direction");
    }
    return TSR_OK;
}

/* ---- life ---- */

static tsr_status find_services(const tsr_host *host, const tsr_products **products, const tsr_kmeans **kmeans,
                                tsr_error *err) {
    *products = host->get_extension(host, TSR_PRODUCTS_ID);
    *kmeans = host->get_extension(host, TSR_KMEANS_ID);
    if (*products && TSR_HAS(*products, tsr_products, dot_codes) && *kmeans && TSR_HAS(*kmeans, tsr_kmeans, nearest))
        return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "hhtld-block: the host does not lend %s and %s", TSR_PRODUCTS_ID,
                    TSR_KMEANS_ID);
}

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    const tsr_products *products;
    const tsr_kmeans *kmeans;
    return find_services(setup->host, &products, &kmeans, err);
}

static void destroy(void *self) {
    struct hhtld_block *block = self;
    if (!block) return;
    for (int n = 0; n < HHTLD_BLOCK_NODES_MAX; n++) {
        if (block->books[n]) block->kmeans->codebook_destroy(block->host, block->books[n]);
    }
    block->host->free(block->host, block->header);
    block->host->free(block->host, block);
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_products *products;
    const tsr_kmeans *kmeans;
    *self = NULL;
    tsr_status st = find_services(host, &products, &kmeans, err);
    if (st != TSR_OK) return st;
    struct hhtld_block *block = host->alloc(host, sizeof *block);
    if (!block) return tsr_fail(err, TSR_E_NOMEM, "hhtld-block: no memory for an instance");
    *block = (struct hhtld_block){.host = host,
                                  .tensor = setup->tensor,
                                  .products = products,
                                  .kmeans = kmeans,
                                  .nodes = (uint32_t)setup->params[PARAM_NODES].integer,
                                  .leaves = (uint32_t)setup->params[PARAM_LEAVES].integer,
                                  .iterations = (uint32_t)setup->params[PARAM_ITERATIONS].integer};
    if (setup->decoding) st = hhtld_block_tree_read(setup->header, setup->header_bytes, &block->tree, err);
    if (st == TSR_OK)
        *self = block;
    else
        destroy(block);
    return st;
}

static double length_of(const int8_t *codes) {
    int32_t energy = 0;
    for (int j = 0; j < HHTLD_OCTAVE; j++) energy += codes[j] * codes[j];
    return sqrt((double)energy);
}

/* A codebook of each node's leaves at length 1. */
static tsr_status make_books(struct hhtld_block *block, tsr_error *err) {
    float words[HHTLD_TWIGS_MAX * HHTLD_OCTAVE];
    tsr_status st = TSR_OK;
    for (uint32_t n = 0; n < block->tree.nodes && st == TSR_OK; n++) {
        uint32_t count = block->tree.first[n + 1] - block->tree.first[n];
        for (uint32_t i = 0; i < count; i++) {
            const int8_t *codes = block->tree.codes + ((uint64_t)block->tree.first[n] + i) * HHTLD_OCTAVE;
            double length = length_of(codes);
            for (int j = 0; j < HHTLD_OCTAVE; j++) {
                words[i * HHTLD_OCTAVE + (uint32_t)j] = (float)((double)codes[j] / length);
            }
        }
        st = block->kmeans->codebook_create(block->host, words, count, HHTLD_OCTAVE, &block->books[n], err);
    }
    return st;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct hhtld_block *block = self;
    const struct hhtld_block_training training = {.host = block->host,
                                                  .products = block->products,
                                                  .kmeans = block->kmeans,
                                                  .source = source,
                                                  .rows = block->tensor->rows,
                                                  .columns = block->tensor->columns,
                                                  .bytes = block->tensor->bytes,
                                                  .nodes = block->nodes,
                                                  .leaves = block->leaves,
                                                  .iterations = block->iterations};
    uint64_t size = 0;
    tsr_status st = hhtld_block_train(&training, &block->header, &size, block->directions, err);
    if (st == TSR_OK) st = header->write(header->ctx, block->header, size, err);
    if (st == TSR_OK) st = hhtld_block_tree_read(block->header, size, &block->tree, err);
    return st == TSR_OK ? make_books(block, err) : st;
}

/* ---- encode ---- */

struct octave {
    float unit[HHTLD_OCTAVE]; /* of length 1, or 0 */
    double norm;
    uint32_t node, leaf;
    double cosine; /* with the leaf, with its sign */
};

static void octave_begin(struct octave *octave, const float *x, uint64_t count) {
    double energy = 0;
    for (uint64_t i = 0; i < count; i++) energy += (double)x[i] * (double)x[i];
    octave->norm = sqrt(energy);
    double inverse = energy > 0 ? 1 / octave->norm : 0;
    for (uint64_t i = 0; i < HHTLD_OCTAVE; i++) octave->unit[i] = i < count ? (float)((double)x[i] * inverse) : 0;
    octave->node = octave->leaf = 0;
    octave->cosine = 0;
}

static void look_below(const struct hhtld_block *block, struct octave *octave, uint32_t node, float side) {
    float turned[HHTLD_OCTAVE];
    uint32_t word = 0;
    for (int j = 0; j < HHTLD_OCTAVE; j++) turned[j] = side < 0 ? -octave->unit[j] : octave->unit[j];
    block->kmeans->nearest(block->books[node], turned, NULL, 1, &word);
    const int8_t *codes = block->tree.codes + ((uint64_t)block->tree.first[node] + word) * HHTLD_OCTAVE;
    double cosine = (double)block->products->dot_codes(codes, octave->unit, HHTLD_OCTAVE) / length_of(codes);
    if (fabs(cosine) <= fabs(octave->cosine)) return;
    octave->cosine = cosine;
    octave->node = node;
    octave->leaf = word;
}

static void find_leaf(const struct hhtld_block *block, struct octave *octave) {
    float dots[HHTLD_BLOCK_NODES_MAX], sizes[HHTLD_BLOCK_NODES_MAX];
    for (uint32_t n = 0; n < block->tree.nodes; n++) {
        dots[n] = block->products->dot(octave->unit, block->directions[n], HHTLD_OCTAVE);
        sizes[n] = fabsf(dots[n]);
    }
    for (uint32_t i = 0; i < BEAM && i < block->tree.nodes; i++) {
        uint32_t nearest = 0;
        for (uint32_t n = 1; n < block->tree.nodes; n++) nearest = sizes[n] > sizes[nearest] ? n : nearest;
        sizes[nearest] = -1;
        look_below(block, octave, nearest, dots[nearest]);
    }
}

static void write_octave(const struct octave *octave, uint8_t *dst) {
    double gain = octave->norm * fabs(octave->cosine), most = 0x1.FEp127;
    if (!(gain >= GAIN_MIN)) gain = 0;
    uint32_t negative = octave->cosine < 0;
    hhtld_put16(dst, octave->node << 10 | octave->leaf << 2 | negative << 1);
    hhtld_put16(dst + 2, gain < most ? hhtld_bf16_near((float)gain) : 0x7F7F);
}

static uint64_t tile_bytes(const tsr_tile *tile) {
    return tile->rows * hhtld_block_octaves(tile->columns) * HHTLD_BLOCK_ENTRY_BYTES;
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    (void)self;
    return tile_bytes(tile);
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    const struct hhtld_block *block = self;
    const float *x = src;
    uint8_t *to = dst;
    if (capacity < tile_bytes(tile)) {
        return tsr_fail(err, TSR_E_SPACE, "hhtld-block: tile needs more than %llu bytes", (unsigned long long)capacity);
    }
    for (uint64_t r = 0; r < tile->rows; r++) {
        for (uint64_t c = 0; c < tile->columns; c += HHTLD_OCTAVE, to += HHTLD_BLOCK_ENTRY_BYTES) {
            struct octave octave;
            octave_begin(&octave, x + r * tile->columns + c,
                         tile->columns - c < HHTLD_OCTAVE ? tile->columns - c : HHTLD_OCTAVE);
            find_leaf(block, &octave);
            write_octave(&octave, to);
        }
    }
    *written = tile_bytes(tile);
    return TSR_OK;
}

/* ---- decode ---- */

static tsr_status read_octave(const struct hhtld_block_tree *tree, const uint8_t *bytes, uint64_t count, float *dst,
                              tsr_error *err) {
    uint32_t slot = hhtld_get16(bytes), code = hhtld_get16(bytes + 2), node = slot >> 10;
    if (slot & 1 || code >= HHTLD_BF16_INF) return corrupt(err, "entry: numbers out of range");
    if (node >= tree->nodes || tree->first[node] + (slot >> 2 & 255) >= tree->first[node + 1]) {
        return corrupt(err, "entry: an address outside the tree");
    }
    const int8_t *codes = tree->codes + ((uint64_t)tree->first[node] + (slot >> 2 & 255)) * HHTLD_OCTAVE;
    double gain = (double)hhtld_bf16_value(code) / length_of(codes);
    if (slot & 2) gain = -gain;
    for (uint64_t i = 0; i < count; i++) dst[i] = (float)(gain * (double)codes[i]);
    return TSR_OK;
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct hhtld_block *block = self;
    const uint8_t *from = src;
    float *y = dst;
    tsr_status st = TSR_OK;
    if (size != tile_bytes(tile)) {
        return tsr_fail(err, TSR_E_CORRUPT, "hhtld-block: tile has %llu bytes, expected %llu", (unsigned long long)size,
                        (unsigned long long)tile_bytes(tile));
    }
    for (uint64_t r = 0; r < tile->rows && st == TSR_OK; r++) {
        for (uint64_t c = 0; c < tile->columns && st == TSR_OK; c += HHTLD_OCTAVE, from += HHTLD_BLOCK_ENTRY_BYTES) {
            uint64_t count = tile->columns - c < HHTLD_OCTAVE ? tile->columns - c : HHTLD_OCTAVE;
            st = read_octave(&block->tree, from, count, y + r * tile->columns + c, err);
        }
    }
    return st;
}

const tsr_codec hhtld_block_codec = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.hhtld-block",
    .name = "hhtld-block",
    .description = "gain and shape of runs of 17 weights, 32 bits each: 1.88 bits a weight (rvq does better)",
    .bitstream_version = HHTLD_BLOCK_BITSTREAM_VERSION,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .input = TSR_INPUT_F32,
    .can_encode = can_encode,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .encode_bound = encode_bound,
    .encode = encode,
    .decode = decode,
};
