/* SPDX-License-Identifier: Apache-2.0
 *
 * trellis: entropy-coded trellis-coded quantisation with a step per row (Marcellin and Fischer 1990, Fischer and Wang
 * 1992; in the form of dependent quantisation, Schwarz et al. 2019). This file is the plugin's face: parameters,
 * instances, the tables. README.md has formulas, bytes and measurements. */
#include "trellis_block.h"
#include "trellis_decode.h"

#include <tessera/ext/block.h>
#include <tessera/ext/rows.h>
#include <tessera/plugin.h>

enum { PARAM_BITS, PARAM_STATES, PARAM_COUNT };

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "bits", "bits a weight to aim at, everything included, within 1 % from 1.5 bits on", "4", NULL,
     0.1, 8, TSR_PARAM_REAL, 0},
    {sizeof(tsr_param), "states", "states of the trellis, a power of two: more gain, slower encoding", "8", NULL, 4,
     TRELLIS_STATES_MAX, TSR_PARAM_INT, 0},
};

/* One of the two is in use. */
struct trellis {
    const tsr_host *host;
    int32_t decoding;
    int32_t reserved;
    struct trellis_encoder encoder;
    struct trellis_decoder decoder;
};

static const tsr_entropy *find_entropy(const tsr_host *host, tsr_error *err) {
    const tsr_entropy *entropy = host->get_extension(host, TSR_ENTROPY_ID);
    if (!entropy || !TSR_HAS(entropy, tsr_entropy, stream_end)) {
        (void)tsr_fail(err, TSR_E_UNSUPPORTED, "trellis: the host does not lend %s with streams", TSR_ENTROPY_ID);
        return NULL;
    }
    return entropy;
}

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    const int64_t states = setup->params[PARAM_STATES].integer;
    if ((states & (states - 1)) != 0) {
        return tsr_fail(err, TSR_E_CONFIG, "trellis: states is %lld, expected a power of two", (long long)states);
    }
    return find_entropy(setup->host, err) ? TSR_OK : TSR_E_UNSUPPORTED;
}

static void destroy(void *self) {
    struct trellis *trellis = self;
    if (!trellis) return;
    if (trellis->decoding)
        trellis_decoder_clear(&trellis->decoder);
    else
        trellis_encoder_clear(&trellis->encoder);
    trellis->host->free(trellis->host, trellis);
}

static tsr_status create_encoder(struct trellis_encoder *encoder, const tsr_codec_setup *setup, tsr_error *err) {
    tsr_status status = can_encode(setup, err);
    if (status != TSR_OK) return status;
    encoder->host = setup->host;
    encoder->entropy = find_entropy(setup->host, err);
    encoder->tensor = setup->tensor;
    encoder->find = trellis_find_get();
    encoder->row_weight = setup->hints ? setup->hints->row_weight : NULL;
    encoder->settings.bits = setup->params[PARAM_BITS].real;
    encoder->settings.states = (uint32_t)setup->params[PARAM_STATES].integer;
    (void)trellis_code_init(&encoder->code, encoder->settings.states);
    return TSR_OK;
}

static tsr_status create_decoder(struct trellis_decoder *decoder, const tsr_codec_setup *setup, tsr_error *err) {
    decoder->host = setup->host;
    decoder->entropy = find_entropy(setup->host, err);
    if (!decoder->entropy) return TSR_E_UNSUPPORTED;
    decoder->version = (uint32_t)setup->bitstream_version;
    return trellis_decoder_init(decoder, setup->tensor, setup->header, setup->header_bytes, err);
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    *self = NULL;
    struct trellis *trellis = host->alloc(host, sizeof *trellis);
    if (!trellis) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for an instance");
    memset(trellis, 0, sizeof *trellis);
    trellis->host = host;
    trellis->decoding = setup->decoding;
    tsr_status status =
        setup->decoding ? create_decoder(&trellis->decoder, setup, err) : create_encoder(&trellis->encoder, setup, err);
    if (status == TSR_OK)
        *self = trellis;
    else
        destroy(trellis);
    return status;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct trellis *trellis = self;
    return trellis_prepare(&trellis->encoder, source, header, err);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    const struct trellis *trellis = self;
    return trellis_encode_bound(&trellis->encoder, tile);
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    const struct trellis *trellis = self;
    return trellis_encode_tile(&trellis->encoder, tile, src, dst, capacity, written, err);
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct trellis *trellis = self;
    return trellis_decode_tile(&trellis->decoder, tile, src, size, dst, err);
}

static tsr_status rows_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, uint64_t first_row,
                              uint64_t rows, void *dst, tsr_error *err) {
    const struct trellis *trellis = self;
    return trellis_decode_rows(&trellis->decoder, tile, src, size, first_row, rows, dst, err);
}

static const tsr_rows ROWS = {sizeof(tsr_rows), rows_decode};

/* ---- block ---- */

static uint64_t block_width(void *self) {
    (void)self;
    return 1;
}

static uint64_t block_columns(void *self, const tsr_tile *tile, uint64_t index, uint64_t *columns) {
    (void)self;
    columns[0] = index;
    return index < tile->columns;
}

static tsr_status block_begin(void *self, const tsr_tile *tile, const float *src, void **state, tsr_error *err) {
    const struct trellis *trellis = self;
    return trellis_block_begin(&trellis->encoder, tile, src, state, err);
}

static tsr_status block_quantise(void *self, void *state, uint64_t index, const float *values, float *reconstruction,
                                 tsr_error *err) {
    const struct trellis *trellis = self;
    return trellis_block_quantise(&trellis->encoder, state, index, values, reconstruction, err);
}

static tsr_status block_end(void *self, void *state, void *dst, uint64_t capacity, uint64_t *written, tsr_error *err) {
    const struct trellis *trellis = self;
    return trellis_block_end(&trellis->encoder, state, dst, capacity, written, err);
}

static void block_abandon(void *self, void *state) {
    const struct trellis *trellis = self;
    trellis_block_abandon(&trellis->encoder, state);
}

static const tsr_block BLOCK = {sizeof(tsr_block), block_width, block_columns, block_begin,
                                block_quantise,    block_end,   block_abandon};

static const void *get_extension(const char *id) {
    if (!strcmp(id, TSR_ROWS_ID)) return &ROWS;
    if (!strcmp(id, TSR_BLOCK_ID)) return &BLOCK;
    return NULL;
}

static const tsr_codec TRELLIS = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.trellis",
    .name = "trellis",
    .description = "trellis-coded quantiser, a step per row, entropy-coded: "
                   "any rate from 0.1 to 8 bits",
    .bitstream_version = TRELLIS_BITSTREAM_VERSION,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .tile_weights = UINT64_C(1) << 22,
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

static const tsr_codec *const CODECS[] = {&TRELLIS, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-trellis",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
