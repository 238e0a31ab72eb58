/* SPDX-License-Identifier: Apache-2.0
 *
 * scalar: uniform scalar quantisation with a step per row, entropy-coded (the family of Gish and Pierce 1968). This
 * file is the plugin's face: parameters, instances, the table. README.md has formulas, bytes and measurements. */
#include "scalar_block.h"
#include "scalar_decode.h"
#include "scalar_encode.h"
#include "scalar_matvec.h"

#include <tessera/ext/block.h>
#include <tessera/ext/matvec.h>
#include <tessera/plugin.h>

enum { PARAM_BITS, PARAM_STEP, PARAM_DEAD_ZONE, PARAM_CENTROIDS, PARAM_GROUP, PARAM_ROW_ERROR_MAX, PARAM_COUNT };

enum { GROUP_UNIT = 32, GROUP_MAX = 65536 };

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "bits", "bits a weight to aim at, everything included, within 1 %; unused when step is set",
     "4", NULL, 0.05, 12, TSR_PARAM_REAL, 0},
    {sizeof(tsr_param), "step", "quantiser step relative to the row's RMS; 0: chosen to meet bits", "0", NULL, 0, 64,
     TSR_PARAM_REAL, 0},
    {sizeof(tsr_param), "dead_zone", "raises the rounding threshold from 1/2 step by this much: fewer bits, more error",
     "0", NULL, 0, 0.45, TSR_PARAM_REAL, 0},
    {sizeof(tsr_param), "centroids", "reconstruct at the mean of what was rounded, instead of the middle", "true", NULL,
     0, 0, TSR_PARAM_BOOL, 0},
    {sizeof(tsr_param), "group", "columns that share a step, a multiple of 32; 0: the whole row", "0", NULL, 0,
     GROUP_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "row_error_max", "bound on the relative RMS error of every row, before bits and step; 0: none",
     "0", NULL, 0, 1, TSR_PARAM_REAL, 0},
};

/* One of the two is in use. */
struct scalar {
    const tsr_host *host;
    int32_t decoding;
    int32_t reserved;
    struct scalar_encoder encoder;
    struct scalar_decoder decoder;
};

static const tsr_entropy *find_entropy(const tsr_host *host, tsr_error *err) {
    const tsr_entropy *entropy = host->get_extension(host, TSR_ENTROPY_ID);
    if (!entropy || !TSR_HAS(entropy, tsr_entropy, split_decode)) {
        (void)tsr_fail(err, TSR_E_UNSUPPORTED, "scalar: the host does not lend %s", TSR_ENTROPY_ID);
        return NULL;
    }
    return entropy;
}

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    int64_t group = setup->params[PARAM_GROUP].integer;
    if (group % GROUP_UNIT != 0) {
        return tsr_fail(err, TSR_E_CONFIG, "scalar: group is %lld, expected a multiple of %d", (long long)group,
                        GROUP_UNIT);
    }
    return find_entropy(setup->host, err) ? TSR_OK : TSR_E_UNSUPPORTED;
}

static void encoder_init(struct scalar_encoder *encoder, const tsr_codec_setup *setup, const tsr_entropy *entropy) {
    const tsr_param_value *params = setup->params;
    encoder->host = setup->host;
    encoder->entropy = entropy;
    encoder->tensor = setup->tensor;
    encoder->kernels = scalar_kernels_get();
    encoder->row_weight = setup->hints ? setup->hints->row_weight : NULL;
    encoder->settings = (struct scalar_settings){.bits = params[PARAM_BITS].real,
                                                 .step = params[PARAM_STEP].real,
                                                 .dead_zone = params[PARAM_DEAD_ZONE].real,
                                                 .error_bound = params[PARAM_ROW_ERROR_MAX].real,
                                                 .group = (uint64_t)params[PARAM_GROUP].integer,
                                                 .centroids = params[PARAM_CENTROIDS].integer != 0};
}

static void destroy(void *self) {
    struct scalar *scalar = self;
    if (!scalar) return;
    if (scalar->decoding)
        scalar_decoder_clear(&scalar->decoder);
    else
        scalar_encoder_clear(&scalar->encoder);
    scalar->host->free(scalar->host, scalar);
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_entropy *entropy = find_entropy(host, err);
    tsr_status status = TSR_OK;
    *self = NULL;
    if (!entropy) return TSR_E_UNSUPPORTED;
    struct scalar *scalar = host->alloc(host, sizeof *scalar);
    if (!scalar) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for an instance");
    memset(scalar, 0, sizeof *scalar);
    scalar->host = host;
    scalar->decoding = setup->decoding;
    if (setup->decoding) {
        scalar->decoder = (struct scalar_decoder){.host = host,
                                                   .dtype = setup->tensor->dtype,
                                                   .version = (uint32_t)setup->bitstream_version,
                                                   .entropy = entropy,
                                                   .kernels = scalar_kernels_get(),
                                                   .products = scalar_products_get()};
        status = scalar_decoder_init(&scalar->decoder, setup->tensor, setup->header, setup->header_bytes, err);
    } else {
        status = can_encode(setup, err);
        if (status == TSR_OK) encoder_init(&scalar->encoder, setup, entropy);
    }
    if (status == TSR_OK)
        *self = scalar;
    else
        destroy(scalar);
    return status;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct scalar *scalar = self;
    return scalar_prepare(&scalar->encoder, source, header, err);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    const struct scalar *scalar = self;
    return scalar_encode_bound(&scalar->encoder, tile);
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    const struct scalar *scalar = self;
    return scalar_encode_tile(&scalar->encoder, tile, src, dst, capacity, written, err);
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct scalar *scalar = self;
    return scalar_decode_tile(&scalar->decoder, tile, src, size, dst, err);
}

/* ---- matvec ---- */

static uint64_t packed_bytes(void *self, const tsr_tile *tile) {
    const struct scalar *scalar = self;
    return scalar_packed_bytes(&scalar->decoder, tile);
}

static tsr_status pack(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct scalar *scalar = self;
    return scalar_pack_tile(&scalar->decoder, tile, src, size, dst, err);
}

static tsr_status apply_rows(void *self, const tsr_tile *tile, const void *packed, uint64_t first_row, uint64_t rows,
                             const float *x, const void *query, float *y, tsr_error *err) {
    const struct scalar *scalar = self;
    (void)query;
    (void)err;
    scalar_apply_rows(&scalar->decoder, tile, packed, first_row, rows, x + tile->first_column, y);
    return TSR_OK;
}

static tsr_status apply(void *self, const tsr_tile *tile, const void *packed, const float *x, const void *query, float *y,
                        tsr_error *err) {
    return apply_rows(self, tile, packed, 0, tile->rows, x, query, y, err);
}

static const tsr_matvec MATVEC = {.struct_size = sizeof MATVEC,
                                  .packed_bytes = packed_bytes,
                                  .pack = pack,
                                  .apply = apply,
                                  .apply_rows = apply_rows};

/* ---- block ---- */

static uint64_t block_width(void *self) {
    const struct scalar *scalar = self;
    return scalar_block_width(&scalar->encoder);
}

static uint64_t block_columns(void *self, const tsr_tile *tile, uint64_t index, uint64_t *columns) {
    (void)self;
    columns[0] = index;
    return index < tile->columns;
}

static tsr_status block_begin(void *self, const tsr_tile *tile, const float *src, void **state, tsr_error *err) {
    const struct scalar *scalar = self;
    return scalar_block_begin(&scalar->encoder, tile, src, state, err);
}

static tsr_status block_quantise(void *self, void *state, uint64_t index, const float *values, float *reconstruction,
                                 tsr_error *err) {
    const struct scalar *scalar = self;
    (void)err;
    scalar_block_quantise(&scalar->encoder, state, index, values, reconstruction);
    return TSR_OK;
}

static tsr_status block_end(void *self, void *state, void *dst, uint64_t capacity, uint64_t *written, tsr_error *err) {
    const struct scalar *scalar = self;
    return scalar_block_end(&scalar->encoder, state, dst, capacity, written, err);
}

static void block_abandon(void *self, void *state) {
    const struct scalar *scalar = self;
    scalar_block_abandon(&scalar->encoder, state);
}

static const tsr_block BLOCK = {sizeof(tsr_block), block_width, block_columns, block_begin,
                                block_quantise,    block_end,   block_abandon};

static const void *get_extension(const char *id) {
    if (!strcmp(id, TSR_MATVEC_ID)) return &MATVEC;
    return strcmp(id, TSR_BLOCK_ID) ? NULL : &BLOCK;
}

static const tsr_codec SCALAR = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.scalar",
    .name = "scalar",
    .description = "uniform scalar quantiser, a step per row, entropy-coded: any rate from 0.05 to 12 bits",
    .bitstream_version = SCALAR_BITSTREAM_VERSION,
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

static const tsr_codec *const CODECS[] = {&SCALAR, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-scalar",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
