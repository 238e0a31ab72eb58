/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder of remainder on any header, prediction and tile. Input: rows, columns, dtype, two length bytes, the header, the
 * prediction (as much as there is, then zeros), the tile. */
#include "../codec_harness.h"

#include <tessera/ext/residual.h>

extern const tsr_plugin tsr_plugin_remainder;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A block of its exact size, so that a sanitizer sees a read behind the end. */
static uint8_t *take(const uint8_t **data, size_t *left, uint64_t size) {
    uint64_t there = size < *left ? size : *left;
    uint8_t *block = mem_alloc(size);
    if (!block) return NULL;
    memset(block, 0, (size_t)size);
    memcpy(block, *data, (size_t)there);
    *data += there;
    *left -= there;
    return block;
}

static void decode(const tsr_codec_setup *setup, const tsr_tile *tile, const uint8_t *src, uint64_t size,
                   const uint8_t *prediction) {
    const tsr_codec *codec = tsr_plugin_remainder.codecs[0];
    const tsr_residual *residual = codec->get_extension(TSR_RESIDUAL_ID);
    void *self = NULL;
    if (codec->create(setup, &self, NULL) != TSR_OK) return;
    uint8_t *dst = mem_alloc(tile->bytes);
    if (dst) (void)residual->decode(self, tile, src, size, prediction, dst, NULL);
    mem_free(dst);
    codec->destroy(self);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int32_t DTYPES[] = {TSR_DTYPE_BF16, TSR_DTYPE_F16, TSR_DTYPE_F32};
    struct harness_host host;
    if (size < 5 || !data[0] || !data[1]) return 0;
    tsr_tensor tensor = harness_tensor(data[0], data[1], DTYPES[data[2] % 3]);
    uint64_t header_bytes = data[3] + 256u * data[4];
    tensor.bytes = tensor.rows * tensor.columns * (tensor.dtype == TSR_DTYPE_F32 ? 4 : 2);
    data += 5;
    size -= 5;
    harness_init(&host);
    uint64_t taken = header_bytes < size ? header_bytes : size;
    uint8_t *header = take(&data, &size, taken);
    uint8_t *prediction = take(&data, &size, tensor.bytes);
    uint64_t tile_bytes = size;
    uint8_t *src = take(&data, &size, tile_bytes);
    tsr_tile tile = {.struct_size = sizeof tile, .rows = tensor.rows, .columns = tensor.columns, .bytes = tensor.bytes};
    tsr_codec_setup setup = {.struct_size = sizeof setup,
                             .host = &host.host,
                             .tensor = &tensor,
                             .header = header,
                             .header_bytes = taken,
                             .bitstream_version = 1,
                             .decoding = 1};
    if (header && prediction && src) decode(&setup, &tile, src, tile_bytes, prediction);
    mem_free(header);
    mem_free(prediction);
    mem_free(src);
    harness_clear(&host);
    if (host.blocks != 0) __builtin_trap();
    return 0;
}
