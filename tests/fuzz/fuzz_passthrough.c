/* SPDX-License-Identifier: Apache-2.0
 *
 * The passthrough decoder on any header and tile. Input: dtype, rows, columns, two length bytes, header, tile. */
#include "../codec_harness.h"

extern const tsr_plugin tsr_plugin_passthrough;

#define HEAD 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes an element, 1 for F4 and unknown dtypes, whose tensors are bytes to a codec. */
static uint64_t element_of(int32_t dtype) {
    static const uint8_t bytes[TSR_DTYPE_COUNT] = {1, 8, 4, 2, 2, 1, 1, 1, 1, 8, 4, 2, 1, 8, 4, 2, 1, 1, 8};
    return bytes[dtype];
}

static void decode(const tsr_codec_setup *setup, const uint8_t *src, uint64_t size, uint8_t *dst) {
    const tsr_codec *codec = tsr_plugin_passthrough.codecs[0];
    const tsr_tensor *tensor = setup->tensor;
    void *self = NULL;
    if (codec->create(setup, &self, NULL) != TSR_OK) return;
    struct tile_grid grid = tile_grid_make(tensor->rows, tensor->columns, 0);
    tsr_tile tile = tile_at(&grid, 0, (uint32_t)element_of(tensor->dtype) * 8);
    (void)codec->decode(self, &tile, src, size, dst, NULL);
    codec->destroy(self);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct harness_host host;
    const tsr_param_value params[2] = {{0}};
    if (size < HEAD) return 0;
    harness_init(&host);
    tsr_tensor tensor = harness_tensor(data[1] + 1u, 7 * data[2] + 1u, data[0] % TSR_DTYPE_COUNT);
    tensor.bytes = tensor.rows * tensor.columns * element_of(tensor.dtype);
    uint64_t header_bytes = data[3] + 256u * data[4], left = size - HEAD;
    if (header_bytes > left) header_bytes = left;
    left -= header_bytes;
    /* Blocks of their exact sizes, so that a sanitizer sees a read behind the end. */
    uint8_t *header = mem_alloc(header_bytes), *src = mem_alloc(left), *dst = mem_alloc(tensor.bytes);
    if (header && src && dst) {
        memcpy(header, data + HEAD, header_bytes);
        memcpy(src, data + HEAD + header_bytes, left);
        const tsr_codec_setup setup = {.struct_size = sizeof setup, .host = &host.host, .tensor = &tensor,
                                       .params = params, .header = header, .header_bytes = header_bytes,
                                       .bitstream_version = 1, .decoding = 1};
        decode(&setup, src, left, dst);
    }
    mem_free(header);
    mem_free(src);
    mem_free(dst);
    harness_clear(&host);
    if (host.blocks != 0) __builtin_trap();
    return 0;
}
