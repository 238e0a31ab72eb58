/* SPDX-License-Identifier: Apache-2.0
 *
 * remainder: the exact end of a stack of codecs. Behind any lossy codec it stores what is missing to the source, so that one
 * file holds a small lossy model and the bit-exact original. Alone it codes against a prediction of zeros. */
#include "remainder.h"

#include <string.h>
#include <tessera/ext/residual.h>
#include <tessera/plugin.h>

static void destroy(void *self) {
    struct remainder *remainder = self;
    if (!remainder) return;
    if (remainder->zeros) remainder->entropy->model_destroy(remainder->host, remainder->zeros);
    if (remainder->differences) remainder->entropy->model_destroy(remainder->host, remainder->differences);
    remainder->host->free(remainder->host, remainder);
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_entropy *entropy = host->get_extension(host, TSR_ENTROPY_ID);
    if (!entropy) return tsr_fail(err, TSR_E_UNSUPPORTED, "remainder: this host lends no entropy coder");
    struct remainder *remainder = host->alloc(host, sizeof *remainder);
    if (!remainder) return tsr_fail(err, TSR_E_NOMEM, "remainder: out of memory");
    *remainder = (struct remainder){.host = host,
                                    .entropy = entropy,
                                    .tensor = setup->tensor,
                                    .form = remainder_form_of(setup->tensor->dtype),
                                    .contexts = {0, 0, 0, 1}};
    tsr_status st =
        setup->decoding ? remainder_read_header(remainder, setup->header, setup->header_bytes, err) : TSR_OK;
    if (st != TSR_OK) {
        destroy(remainder);
        return st;
    }
    *self = remainder;
    return TSR_OK;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    return remainder_prepare(self, source, NULL, header, err);
}

static tsr_status prepare_given(void *self, const tsr_row_source *source, const tsr_row_source *prediction,
                                const tsr_writer *header, tsr_error *err) {
    return remainder_prepare(self, source, prediction, header, err);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    return remainder_encode_bound(self, tile->rows * tile->columns);
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    return remainder_encode(self, tile, src, NULL, dst, capacity, written, err);
}

static tsr_status encode_given(void *self, const tsr_tile *tile, const void *src, const void *prediction, void *dst,
                               uint64_t capacity, uint64_t *written, tsr_error *err) {
    return remainder_encode(self, tile, src, prediction, dst, capacity, written, err);
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    return remainder_decode(self, tile, src, size, NULL, dst, err);
}

static tsr_status decode_given(void *self, const tsr_tile *tile, const void *src, uint64_t size, const void *prediction,
                               void *dst, tsr_error *err) {
    return remainder_decode(self, tile, src, size, prediction, dst, err);
}

static const void *get_extension(const char *id) {
    static const tsr_residual RESIDUAL = {sizeof(tsr_residual), prepare_given, encode_given, decode_given};
    return strcmp(id, TSR_RESIDUAL_ID) ? NULL : &RESIDUAL;
}

static const tsr_codec CODEC = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.remainder",
    .name = "remainder",
    .description = "bit-exact: what a lossy codec left over, conditional entropy coding",
    .bitstream_version = REMAINDER_VERSION,
    .bitstream_oldest = REMAINDER_VERSION,
    .flags = TSR_CODEC_EXACT | TSR_CODEC_CORRECTION | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .input = TSR_INPUT_SOURCE,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .encode_bound = encode_bound,
    .encode = encode,
    .decode = decode,
    .get_extension = get_extension,
};

static const tsr_codec *const CODECS[] = {&CODEC, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-remainder",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
