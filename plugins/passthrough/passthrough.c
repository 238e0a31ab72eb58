/* SPDX-License-Identifier: Apache-2.0
 *
 * passthrough: tensors come back byte for byte. Mode raw copies; mode lossless codes the predictable part of each
 * element (for floats exponent and leading mantissa bits) with static rANS and keeps the rest as raw bits. Family:
 * lossless entropy coding of floats, as in ZipNN (Hershcovitch et al. 2024) and DFloat11 (Zhang et al. 2025), with a
 * joint symbol instead of byte planes. This file is the descriptor; README.md has formulas and bytes. */
#include "passthrough_bitstream.h"

#include <tessera/plugin.h>

static const char *const MODES[] = {"raw", "lossless", NULL};
static const char *const LEVELS[] = {"fast", "default", "max", NULL};

static const tsr_param PARAMS[] = {
    {.struct_size = sizeof(tsr_param),
     .name = "mode",
     .doc = "raw: copy the bytes; lossless: entropy-code them",
     .default_text = "lossless",
     .choices = MODES,
     .type = TSR_PARAM_CHOICE},
    {.struct_size = sizeof(tsr_param),
     .name = "level",
     .doc = "fast: statistics from a sample; default: from everything; max: contexts from row and column scales",
     .default_text = "default",
     .choices = LEVELS,
     .type = TSR_PARAM_CHOICE},
};

/* An encoder or a decoder behind one pointer. */
struct instance {
    const tsr_host *host;
    void *side;
    int32_t decoding;
    int32_t reserved;
};

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    *self = NULL;
    struct instance *instance = setup->host->alloc(setup->host, sizeof *instance);
    if (!instance) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for an instance");
    *instance = (struct instance){setup->host, NULL, setup->decoding, 0};
    tsr_status status = setup->decoding ? passthrough_decoder_create(setup, &instance->side, err)
                                        : passthrough_encoder_create(setup, &instance->side, err);
    if (status == TSR_OK) *self = instance;
    else setup->host->free(setup->host, instance);
    return status;
}

static void destroy(void *self) {
    struct instance *instance = self;
    if (!instance) return;
    if (instance->decoding) passthrough_decoder_destroy(instance->side);
    else passthrough_encoder_destroy(instance->side);
    instance->host->free(instance->host, instance);
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    return passthrough_prepare(((struct instance *)self)->side, source, header, err);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    return passthrough_encode_bound(((struct instance *)self)->side, tile);
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    return passthrough_encode(((struct instance *)self)->side, tile, src, dst, capacity, written, err);
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    return passthrough_decode(((struct instance *)self)->side, tile, src, size, dst, err);
}

static const tsr_codec CODEC = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.passthrough",
    .name = "passthrough",
    .description = "bit-exact: a copy, or lossless entropy coding",
    .bitstream_version = PASSTHROUGH_VERSION,
    .bitstream_oldest = PASSTHROUGH_VERSION,
    .flags = TSR_CODEC_EXACT | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_ALL,
    .params = PARAMS,
    .param_count = sizeof PARAMS / sizeof *PARAMS,
    .tile_weights = UINT64_C(1) << 20,
    .input = TSR_INPUT_SOURCE,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .encode_bound = encode_bound,
    .encode = encode,
    .decode = decode,
};

static const tsr_codec *const CODECS[] = {&CODEC, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-passthrough",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
