/* SPDX-License-Identifier: Apache-2.0
 *
 * spiral: vector quantisation of pairs of weights to the points of a golden-angle spiral (Vogel 1979), without a
 * codebook: decoders evaluate the curve. Uniform density and entropy coding, or Gaussian-companded with a fixed number
 * of points. This file is the plugin's face: parameters, instances, the tables. README.md has formulas, bytes and
 * measurements. */
#include "spiral_block.h"
#include "spiral_decode.h"

#include <tessera/ext/block.h>
#include <tessera/ext/matvec.h>
#include <tessera/ext/rows.h>
#include <tessera/plugin.h>

enum { PARAM_BITS, PARAM_POINTS, PARAM_HADAMARD, PARAM_COUNT };

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "bits", "bits a weight to aim at, everything included, within 1 %; unused when points is set",
     "4", NULL, 0.1, 7, TSR_PARAM_REAL, 0},
    {sizeof(tsr_param), "points", "points of the Gaussian-companded curve, 4 or more; 0: uniform curve, entropy-coded",
     "0", NULL, 0, SPIRAL_SYMBOLS_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "hadamard", "rotate rows first: better with points, worse without", "false", NULL, 0, 0,
     TSR_PARAM_BOOL, 0},
};

/* One of the two is in use. */
struct spiral {
    const tsr_host *host;
    int32_t decoding;
    int32_t reserved;
    struct spiral_encoder encoder;
    struct spiral_decoder decoder;
};

static tsr_status find_services(const tsr_host *host, const tsr_entropy **entropy, const tsr_hadamard **hadamard,
                                tsr_error *err) {
    *entropy = host->get_extension(host, TSR_ENTROPY_ID);
    *hadamard = host->get_extension(host, TSR_HADAMARD_ID);
    if (!*entropy || !TSR_HAS(*entropy, tsr_entropy, split_decode))
        return tsr_fail(err, TSR_E_UNSUPPORTED, "spiral: the host does not lend %s", TSR_ENTROPY_ID);
    if (!*hadamard) return tsr_fail(err, TSR_E_UNSUPPORTED, "spiral: the host does not lend %s", TSR_HADAMARD_ID);
    return TSR_OK;
}

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    const tsr_entropy *entropy;
    const tsr_hadamard *hadamard;
    int64_t points = setup->params[PARAM_POINTS].integer;
    if (points > 0 && points < SPIRAL_POINTS_LEAST) {
        return tsr_fail(err, TSR_E_CONFIG, "spiral: points is %lld, expected 0 or at least %d", (long long)points,
                        SPIRAL_POINTS_LEAST);
    }
    return find_services(setup->host, &entropy, &hadamard, err);
}

static void encoder_init(struct spiral_encoder *encoder, const tsr_codec_setup *setup) {
    const tsr_param_value *params = setup->params;
    encoder->host = setup->host;
    encoder->tensor = setup->tensor;
    encoder->search = spiral_search_get();
    encoder->row_weight = setup->hints ? setup->hints->row_weight : NULL;
    encoder->stride = setup->stride <= UINT32_MAX ? setup->stride : 1;
    encoder->settings = (struct spiral_settings){.bits = params[PARAM_BITS].real,
                                                 .points = (uint32_t)params[PARAM_POINTS].integer,
                                                 .rotate = params[PARAM_HADAMARD].integer != 0};
    if (encoder->settings.rotate) encoder->seed = encoder->hadamard->seed(setup->tensor->name);
}

static void destroy(void *self) {
    struct spiral *spiral = self;
    if (!spiral) return;
    if (spiral->decoding)
        spiral_decoder_clear(&spiral->decoder);
    else
        spiral_encoder_clear(&spiral->encoder);
    spiral->host->free(spiral->host, spiral);
}

static tsr_status create_decoder(struct spiral *spiral, const tsr_codec_setup *setup, tsr_error *err) {
    struct spiral_decoder *decoder = &spiral->decoder;
    decoder->host = setup->host;
    decoder->tensor = setup->tensor;
    tsr_status status = find_services(setup->host, &decoder->entropy, &decoder->hadamard, err);
    return status == TSR_OK ? spiral_decoder_init(decoder, setup->header, setup->header_bytes, err) : status;
}

static tsr_status create_encoder(struct spiral *spiral, const tsr_codec_setup *setup, tsr_error *err) {
    struct spiral_encoder *encoder = &spiral->encoder;
    tsr_status status = can_encode(setup, err);
    if (status == TSR_OK) status = find_services(setup->host, &encoder->entropy, &encoder->hadamard, err);
    if (status == TSR_OK) encoder_init(encoder, setup);
    return status;
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    *self = NULL;
    struct spiral *spiral = host->alloc(host, sizeof *spiral);
    if (!spiral) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for an instance");
    memset(spiral, 0, sizeof *spiral);
    spiral->host = host;
    spiral->decoding = setup->decoding;
    tsr_status status = setup->decoding ? create_decoder(spiral, setup, err) : create_encoder(spiral, setup, err);
    if (status == TSR_OK)
        *self = spiral;
    else
        destroy(spiral);
    return status;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct spiral *spiral = self;
    return spiral_prepare(&spiral->encoder, source, header, err);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    const struct spiral *spiral = self;
    return spiral_encode_bound(&spiral->encoder, tile);
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    const struct spiral *spiral = self;
    return spiral_encode_tile(&spiral->encoder, tile, src, dst, capacity, written, err);
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct spiral *spiral = self;
    return spiral_decode_tile(&spiral->decoder, tile, src, size, dst, err);
}

/* ---- rows ---- */

static tsr_status rows_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, uint64_t first_row,
                              uint64_t rows, void *dst, tsr_error *err) {
    const struct spiral *spiral = self;
    return spiral_decode_rows(&spiral->decoder, tile, src, size, first_row, rows, dst, err);
}

static const tsr_rows ROWS = {sizeof(tsr_rows), rows_decode};

/* ---- matvec ---- */

static uint64_t packed_bytes(void *self, const tsr_tile *tile) {
    const struct spiral *spiral = self;
    return spiral_packed_bytes(&spiral->decoder, tile);
}

static tsr_status pack(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct spiral *spiral = self;
    return spiral_pack(&spiral->decoder, tile, src, size, dst, err);
}

static uint64_t query_bytes(void *self) {
    const struct spiral *spiral = self;
    return spiral_query_bytes(&spiral->decoder);
}

static tsr_status query(void *self, const float *x, void *walk, tsr_error *err) {
    const struct spiral *spiral = self;
    return spiral_query(&spiral->decoder, x, walk, err);
}

static tsr_status apply(void *self, const tsr_tile *tile, const void *packed, const float *x, const void *walk,
                        float *y, tsr_error *err) {
    const struct spiral *spiral = self;
    (void)x;
    return spiral_apply(&spiral->decoder, tile, packed, walk, y, err);
}

static const tsr_matvec MATVEC = {sizeof(tsr_matvec), packed_bytes, pack, query_bytes, query, apply, NULL};

/* ---- block ---- */

static uint64_t block_width(void *self) {
    const struct spiral *spiral = self;
    return spiral_block_width(&spiral->encoder);
}

static uint64_t block_columns(void *self, const tsr_tile *tile, uint64_t index, uint64_t *columns) {
    const struct spiral *spiral = self;
    return spiral_block_columns(&spiral->encoder, tile, index, columns);
}

static tsr_status block_begin(void *self, const tsr_tile *tile, const float *src, void **state, tsr_error *err) {
    const struct spiral *spiral = self;
    return spiral_block_begin(&spiral->encoder, tile, src, state, err);
}

static tsr_status block_quantise(void *self, void *state, uint64_t index, const float *values, float *reconstruction,
                                 tsr_error *err) {
    const struct spiral *spiral = self;
    return spiral_block_quantise(&spiral->encoder, state, index, values, reconstruction, err);
}

static tsr_status block_end(void *self, void *state, void *dst, uint64_t capacity, uint64_t *written, tsr_error *err) {
    const struct spiral *spiral = self;
    return spiral_block_end(&spiral->encoder, state, dst, capacity, written, err);
}

static void block_abandon(void *self, void *state) {
    const struct spiral *spiral = self;
    spiral_block_abandon(&spiral->encoder, state);
}

static const tsr_block BLOCK = {sizeof(tsr_block), block_width, block_columns, block_begin,
                                block_quantise,    block_end,   block_abandon};

static const void *get_extension(const char *id) {
    if (!strcmp(id, TSR_ROWS_ID)) return &ROWS;
    if (!strcmp(id, TSR_MATVEC_ID)) return &MATVEC;
    if (!strcmp(id, TSR_BLOCK_ID)) return &BLOCK;
    return NULL;
}

static const tsr_codec SPIRAL = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.spiral",
    .name = "spiral",
    .description = "pairs of weights on a golden spiral, no codebook: any rate from 0.1 to 7 bits, or 4 to 4096 points",
    .bitstream_version = SPIRAL_BITSTREAM_VERSION,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .tile_weights = UINT64_C(1) << 18,
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

static const tsr_codec *const CODECS[] = {&SPIRAL, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-spiral",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
