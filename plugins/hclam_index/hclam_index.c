/* SPDX-License-Identifier: Apache-2.0
 *
 * hclam-index (hierarchical CLAM, row mode): a signature of two bytes a row, an address in a tree of balls with stored
 * radii; the family of ball trees (Omohundro 1989) two levels deep. It finds rows and reconstructs nothing. This file is
 * the codec's face. */
#include "hclam_index.h"

enum { PARAM_K1, PARAM_K2, PARAM_ITERATIONS, PARAM_COUNT };

enum { TILE_WEIGHTS = 1 << 18 };

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "k1", "nodes of the first level; 0: the square root of the leaves", "0", NULL, 0,
     HCLAM_INDEX_FAN_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "k2", "leaves below each node on average; 0: one for eight rows, as many as fit", "0", NULL, 0,
     HCLAM_INDEX_FAN_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "iterations", "rounds of k-means", "8", NULL, 1, 100, TSR_PARAM_INT, 0},
};

struct hclam_index {
    const tsr_host *host;
    const tsr_tensor *tensor;
    const tsr_kmeans *kmeans;
    struct hclam_index_settings settings;
    uint16_t *addresses; /* of all rows, once prepare has run */
    struct hclam_index_decoder decoder;
};

static tsr_status find_services(const tsr_host *host, const tsr_products **products, const tsr_kmeans **kmeans,
                                tsr_error *err) {
    *products = host->get_extension(host, TSR_PRODUCTS_ID);
    *kmeans = host->get_extension(host, TSR_KMEANS_ID);
    if (*products && TSR_HAS(*products, tsr_products, dot_codes) && *kmeans && TSR_HAS(*kmeans, tsr_kmeans, nearest))
        return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "hclam-index: the host does not lend %s and %s", TSR_PRODUCTS_ID,
                    TSR_KMEANS_ID);
}

static struct hclam_index_settings settings_of(const tsr_param_value *params) {
    return (struct hclam_index_settings){.k1 = (uint32_t)params[PARAM_K1].integer,
                                         .k2 = (uint32_t)params[PARAM_K2].integer,
                                         .iterations = (uint32_t)params[PARAM_ITERATIONS].integer};
}

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    const struct hclam_index_settings settings = settings_of(setup->params);
    const tsr_products *products;
    const tsr_kmeans *kmeans;
    uint64_t nodes, leaves;
    if (setup->tensor->columns > TILE_WEIGHTS) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "hclam-index: rows of %llu columns, expected at most %d",
                        (unsigned long long)setup->tensor->columns, TILE_WEIGHTS);
    }
    tsr_status st = find_services(setup->host, &products, &kmeans, err);
    if (st != TSR_OK) return st;
    return hclam_index_plan(&settings, setup->tensor->rows, setup->tensor->columns, &nodes, &leaves, err);
}

static void destroy(void *self) {
    struct hclam_index *index = self;
    if (!index) return;
    hclam_tree_clear(index->host, &index->decoder.tree);
    index->host->free(index->host, index->addresses);
    index->host->free(index->host, index);
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_products *products;
    const tsr_kmeans *kmeans;
    *self = NULL;
    tsr_status st = find_services(host, &products, &kmeans, err);
    if (st != TSR_OK) return st;
    struct hclam_index *index = host->alloc(host, sizeof *index);
    if (!index) return tsr_fail(err, TSR_E_NOMEM, "hclam-index: no memory for an instance");
    *index = (struct hclam_index){.host = host,
                                  .tensor = setup->tensor,
                                  .kmeans = kmeans,
                                  .settings = settings_of(setup->params),
                                  .decoder = {.host = host, .products = products, .rows = setup->tensor->rows}};
    if (setup->decoding) {
        st = hclam_tree_read(host, setup->header, setup->header_bytes, setup->tensor->columns, &index->decoder.tree, err);
    } else {
        st = can_encode(setup, err);
    }
    if (st == TSR_OK)
        *self = index;
    else
        destroy(index);
    return st;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct hclam_index *index = self;
    const struct hclam_index_training training = {.host = index->host,
                                                  .products = index->decoder.products,
                                                  .kmeans = index->kmeans,
                                                  .settings = index->settings,
                                                  .source = source,
                                                  .rows = index->tensor->rows,
                                                  .columns = index->tensor->columns};
    uint8_t *bytes = NULL;
    uint64_t size = 0;
    tsr_status st = hclam_index_train(&training, &bytes, &size, &index->addresses, err);
    if (st == TSR_OK) st = header->write(header->ctx, bytes, size, err);
    index->host->free(index->host, bytes);
    return st;
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    (void)self;
    return HCLAM_INDEX_ENTRY_BYTES * tile->rows;
}

/* The addresses are there since prepare, which had to know the radii. */
static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    const struct hclam_index *index = self;
    (void)src;
    if (capacity < HCLAM_INDEX_ENTRY_BYTES * tile->rows) {
        return tsr_fail(err, TSR_E_SPACE, "hclam-index: tile needs more than %llu bytes", (unsigned long long)capacity);
    }
    for (uint64_t r = 0; r < tile->rows; r++) {
        hclam_index_put16((uint8_t *)dst + HCLAM_INDEX_ENTRY_BYTES * r, index->addresses[tile->first_row + r]);
    }
    *written = HCLAM_INDEX_ENTRY_BYTES * tile->rows;
    return TSR_OK;
}

/* The centre of each row's leaf: no reconstruction. */
static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct hclam_index *index = self;
    const struct hclam_tree *tree = &index->decoder.tree;
    tsr_status st = hclam_index_check_tile(tree, tile, size, err);
    for (uint64_t r = 0; r < tile->rows && st == TSR_OK; r++) {
        uint32_t leaf = 0;
        st = hclam_index_leaf(tree, (const uint8_t *)src + HCLAM_INDEX_ENTRY_BYTES * r, &leaf, err);
        const int8_t *codes = tree->codes + ((uint64_t)tree->nodes + leaf) * tree->columns;
        for (uint64_t c = 0; c < tree->columns && st == TSR_OK; c++) {
            ((float *)dst)[r * tree->columns + c] = (float)codes[c] * tree->scale[tree->nodes + leaf];
        }
    }
    return st;
}

static tsr_status search_open(void *self, const tsr_signature_source *source, void **search, tsr_error *err) {
    const struct hclam_index *index = self;
    return hclam_index_search_open(&index->decoder, source, search, err);
}

static void search_close(void *self, void *search) {
    const struct hclam_index *index = self;
    hclam_index_search_close(&index->decoder, search);
}

static tsr_status search_rows(void *self, void *search, const tsr_search_request *request, uint64_t *rows,
                              double *score, uint64_t *found, tsr_search_stats *stats, tsr_error *err) {
    const struct hclam_index *index = self;
    return hclam_index_search(&index->decoder, search, request, rows, score, found, stats, err);
}

static uint64_t index_bytes(const tsr_codec_setup *setup) {
    const struct hclam_index_settings settings = settings_of(setup->params);
    const tsr_tensor *tensor = setup->tensor;
    uint64_t nodes, leaves;
    tsr_status st = hclam_index_plan(&settings, tensor->rows, tensor->columns, &nodes, &leaves, NULL);
    if (st != TSR_OK) return 0;
    return hclam_index_header_bytes(tensor->columns, nodes, leaves) + HCLAM_INDEX_ENTRY_BYTES * tensor->rows;
}

static const tsr_signature SIGNATURE = {sizeof(tsr_signature), search_open, search_close, search_rows, index_bytes};

static const void *get_extension(const char *id) {
    return strcmp(id, TSR_SIGNATURE_ID) ? NULL : &SIGNATURE;
}

const tsr_codec hclam_index_codec = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.hclam-index",
    .name = "hclam-index",
    .description = "search index, 2 bytes a row: an address in a tree of balls with stored radii",
    .bitstream_version = HCLAM_INDEX_BITSTREAM_VERSION,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_SIGNATURE | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .tile_weights = TILE_WEIGHTS,
    .input = TSR_INPUT_F32,
    .can_encode = can_encode,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .encode_bound = encode_bound,
    .encode = encode,
    .decode = decode,
    .get_extension = get_extension,
};
