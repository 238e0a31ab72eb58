/* SPDX-License-Identifier: Apache-2.0
 *
 * spiral-index (spiral, signature mode): 17 K columns of each row in BF16, chosen by a golden-step walk that no row
 * chooses for itself, and the length of the rest, which bounds every product (Cauchy, Schwarz). It finds rows and
 * reconstructs nothing. This file is the codec's face. */
#include "spiral_index.h"

#include <math.h>

enum { PARAM_ANCHORS, PARAM_COUNT };

enum { BLOCK_VALUES = 1 << 18 };

/* Lengths are inflated by more than the rounding of their computation. */
#define LENGTH_SLACK (1 + 0x1p-30)

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "anchors", "samples of a row, in seventeens", "8", NULL, SPIRAL_INDEX_ANCHORS_MIN,
     SPIRAL_INDEX_ANCHORS_MAX, TSR_PARAM_INT, 0},
};

struct spiral_index {
    const tsr_tensor *tensor;
    const char *role; /* of an encoder, or NULL */
    struct spiral_address address;
    struct spiral_index_decoder decoder;
};

static tsr_status find_products(const tsr_host *host, const tsr_products **products, tsr_error *err) {
    *products = host->get_extension(host, TSR_PRODUCTS_ID);
    if (*products && TSR_HAS(*products, tsr_products, dot)) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "spiral-index: the host does not lend %s", TSR_PRODUCTS_ID);
}

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    const tsr_products *products;
    if (setup->tensor->columns <= SPIRAL_INDEX_COLUMNS_MAX) return find_products(setup->host, &products, err);
    return tsr_fail(err, TSR_E_UNSUPPORTED, "spiral-index: rows of %llu columns, expected at most %d",
                    (unsigned long long)setup->tensor->columns, SPIRAL_INDEX_COLUMNS_MAX);
}

static void destroy(void *self) {
    struct spiral_index *index = self;
    if (!index) return;
    index->decoder.host->free(index->decoder.host, index->decoder.sampled);
    index->decoder.host->free(index->decoder.host, index);
}

static tsr_status set_encoder(const tsr_codec_setup *setup, struct spiral_index *index, tsr_error *err) {
    tsr_status st = can_encode(setup, err);
    if (st != TSR_OK) return st;
    index->role = setup->role;
    index->address = spiral_index_address(setup->stride, (uint64_t)setup->params[PARAM_ANCHORS].integer,
                                          setup->tensor->columns);
    return TSR_OK;
}

static tsr_status set_walk(struct spiral_index *index, tsr_error *err) {
    struct spiral_index_decoder *decoder = &index->decoder;
    decoder->sampled = decoder->host->alloc(decoder->host, decoder->columns);
    if (!decoder->sampled) return tsr_fail(err, TSR_E_NOMEM, "spiral-index: no memory for a walk");
    memset(decoder->sampled, 0, decoder->columns);
    decoder->samples = spiral_index_samples(index->address.length, decoder->columns);
    spiral_index_walk(&index->address, decoder->columns, decoder->where);
    for (uint64_t i = 0; i < decoder->samples; i++) decoder->sampled[decoder->where[i]] = 1;
    return TSR_OK;
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_tensor *tensor = setup->tensor;
    const tsr_products *products;
    *self = NULL;
    tsr_status st = find_products(host, &products, err);
    if (st != TSR_OK) return st;
    struct spiral_index *index = host->alloc(host, sizeof *index);
    if (!index) return tsr_fail(err, TSR_E_NOMEM, "spiral-index: no memory for an instance");
    *index = (struct spiral_index){.tensor = tensor};
    index->decoder.host = host;
    index->decoder.products = products;
    index->decoder.rows = tensor->rows;
    index->decoder.columns = tensor->columns;
    st = setup->decoding
             ? spiral_index_read_header(setup->header, setup->header_bytes, tensor->columns, &index->address, err)
             : set_encoder(setup, index, err);
    if (st == TSR_OK) st = set_walk(index, err);
    if (st == TSR_OK)
        *self = index;
    else
        destroy(index);
    return st;
}

/* ---- encode ---- */

/* The sum of squares of the tensor, row by row. */
static tsr_status measure(const struct spiral_index *index, const tsr_row_source *source, double *energy, tsr_error *err) {
    const tsr_host *host = index->decoder.host;
    const uint64_t rows = index->tensor->rows, columns = index->tensor->columns;
    const uint64_t block = columns < BLOCK_VALUES ? BLOCK_VALUES / columns : 1;
    tsr_status st = TSR_OK;
    float *x = host->alloc(host, (block < rows ? block : rows) * columns * sizeof *x);
    if (!x) return tsr_fail(err, TSR_E_NOMEM, "spiral-index: no memory for a block of rows");
    *energy = 0;
    for (uint64_t first = 0; first < rows && st == TSR_OK; first += block) {
        uint64_t count = rows - first < block ? rows - first : block;
        st = host->cancelled(host) ? tsr_fail(err, TSR_E_CANCELLED, "interrupted")
                                   : source->read(source->ctx, first, count, 0, columns, x, err);
        for (uint64_t i = 0; i < count * columns && st == TSR_OK; i++) *energy += (double)x[i] * (double)x[i];
    }
    host->free(host, x);
    return st;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    const struct spiral_index *index = self;
    const tsr_tensor *tensor = index->tensor;
    uint8_t bytes[SPIRAL_INDEX_HEADER_BYTES];
    double energy = 0;
    tsr_status st = measure(index, source, &energy, err);
    if (st != TSR_OK) return st;
    double rms = sqrt(energy / ((double)tensor->rows * (double)tensor->columns));
    spiral_index_write_header(&index->address, tensor->columns, index->role, rms, bytes);
    return header->write(header->ctx, bytes, sizeof bytes, err);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    const struct spiral_index *index = self;
    return spiral_index_entry_bytes(index->decoder.samples) * tile->rows;
}

/* The least BF16 not below. */
static uint32_t round_up(double value) {
    float single = value < 0x1.FFFFFEp127 ? (float)value : HUGE_VALF;
    uint32_t bits;
    if ((double)single < value) single = nextafterf(single, HUGE_VALF);
    memcpy(&bits, &single, sizeof bits);
    return (bits + 0xFFFF) >> 16;
}

static void encode_row(const struct spiral_index *index, const float *x, uint8_t *entry) {
    const struct spiral_index_decoder *decoder = &index->decoder;
    double energy = 0;
    for (uint64_t i = 0; i < decoder->samples; i++) {
        uint32_t half = spiral_index_to_bf16(x[decoder->where[i]]);
        double missed = (double)x[decoder->where[i]] - (double)spiral_index_from_bf16(half);
        spiral_index_put16(entry + 2 * i, half);
        energy += missed * missed;
    }
    for (uint64_t c = 0; c < decoder->columns; c++) {
        if (!decoder->sampled[c]) energy += (double)x[c] * (double)x[c];
    }
    spiral_index_put16(entry + 2 * decoder->samples, round_up(sqrt(energy) * LENGTH_SLACK));
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    const struct spiral_index *index = self;
    const uint64_t entry = spiral_index_entry_bytes(index->decoder.samples);
    if (capacity < entry * tile->rows) {
        return tsr_fail(err, TSR_E_SPACE, "spiral-index: tile needs more than %llu bytes", (unsigned long long)capacity);
    }
    for (uint64_t r = 0; r < tile->rows; r++) {
        encode_row(index, (const float *)src + r * tile->columns, (uint8_t *)dst + r * entry);
    }
    *written = entry * tile->rows;
    return TSR_OK;
}

/* The samples where they were, 0 elsewhere: no reconstruction. */
static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct spiral_index *index = self;
    const struct spiral_index_decoder *decoder = &index->decoder;
    const uint64_t entry = spiral_index_entry_bytes(decoder->samples);
    uint16_t half[SPIRAL_INDEX_SAMPLES_MAX + 1];
    tsr_status st = spiral_index_check_tile(decoder, tile, size, err);
    if (st == TSR_OK) memset(dst, 0, tile->rows * tile->columns * sizeof(float));
    for (uint64_t r = 0; r < tile->rows && st == TSR_OK; r++) {
        float *row = (float *)dst + r * tile->columns;
        st = spiral_index_read_entry(decoder, (const uint8_t *)src + r * entry, half, err);
        for (uint64_t i = 0; i < decoder->samples && st == TSR_OK; i++) {
            row[decoder->where[i]] = spiral_index_from_bf16(half[i]);
        }
    }
    return st;
}

/* ---- search ---- */

static tsr_status search_open(void *self, const tsr_signature_source *source, void **search, tsr_error *err) {
    const struct spiral_index *index = self;
    return spiral_index_search_open(&index->decoder, source, search, err);
}

static void search_close(void *self, void *search) {
    const struct spiral_index *index = self;
    spiral_index_search_close(&index->decoder, search);
}

static tsr_status search_rows(void *self, void *search, const tsr_search_request *request, uint64_t *rows,
                              double *score, uint64_t *found, tsr_search_stats *stats, tsr_error *err) {
    const struct spiral_index *index = self;
    return spiral_index_search(&index->decoder, search, request, rows, score, found, stats, err);
}

static uint64_t index_bytes(const tsr_codec_setup *setup) {
    uint64_t samples = spiral_index_samples((uint64_t)setup->params[PARAM_ANCHORS].integer, setup->tensor->columns);
    return SPIRAL_INDEX_HEADER_BYTES + spiral_index_entry_bytes(samples) * setup->tensor->rows;
}

static const tsr_signature SIGNATURE = {sizeof(tsr_signature), search_open, search_close, search_rows, index_bytes};

static const void *get_extension(const char *id) {
    return strcmp(id, TSR_SIGNATURE_ID) ? NULL : &SIGNATURE;
}

const tsr_codec spiral_index_codec = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.spiral-index",
    .name = "spiral-index",
    .description = "search index, 34 bytes an anchor: a walk through some columns of each row, and the length of the rest",
    .bitstream_version = SPIRAL_INDEX_BITSTREAM_VERSION,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_SIGNATURE | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .tile_weights = SPIRAL_INDEX_COLUMNS_MAX,
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
