/* SPDX-License-Identifier: Apache-2.0
 *
 * The vector quantisers' decoders on any header and tile. Input: form (codec, level, group, rotation), rows, columns,
 * two length bytes, the header, the tile. */
#include "../codec_harness.h"

extern const tsr_plugin tsr_plugin_rvq, tsr_plugin_hclam;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small codebooks: 12 words in stages of 2 columns, a tree of 4 x 4 words. */
static void set_params(tsr_param_value *params, uint8_t form) {
    static const int64_t SIZES[] = {4, 4, 5};
    params[0].integer = form & 16 ? 4 : 2;
    params[1] = (tsr_param_value){.list = SIZES, .count = form & 1 ? 2 : 3};
    params[2].integer = form & 2 ? 16 : 0;
    params[3].integer = 1;
    params[7].integer = form >> 2 & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct harness_host host;
    if (size < 5) return 0;
    const uint8_t form = data[0];
    uint64_t rows = data[1], columns = (uint64_t)data[2] * 3, header_bytes = data[3] + 256u * data[4];
    if (header_bytes > size - 5) header_bytes = size - 5;
    uint64_t tile_bytes = size - 5 - header_bytes;
    harness_init(&host);
    tsr_param_value params[8] = {{0}};
    set_params(params, form);
    struct harness_job job = {.host = &host,
                              .codec = form & 1 ? tsr_plugin_hclam.codecs[0] : tsr_plugin_rvq.codecs[0],
                              .params = params,
                              .tensor = harness_tensor(rows, columns, TSR_DTYPE_F32),
                              .level = form >> 3 & 1};
    /* Blocks of their exact sizes, so that a sanitizer sees a read behind the end. */
    struct harness_payload payload = {.header = mem_alloc(header_bytes),
                                      .header_bytes = header_bytes,
                                      .bytes = mem_alloc(tile_bytes),
                                      .tile_bytes = &tile_bytes};
    payload.grid = tile_grid_make(rows, columns, TILE_WEIGHTS_MAX);
    float *y = mem_alloc_array(rows * columns, sizeof *y);
    if (payload.header && payload.bytes && y && payload.grid.count == 1) {
        memcpy(payload.header, data + 5, header_bytes);
        memcpy(payload.bytes, data + 5 + header_bytes, tile_bytes);
        (void)harness_decode(&job, &payload, y, NULL);
    }
    mem_free(y);
    mem_free(payload.header);
    mem_free(payload.bytes);
    harness_clear(&host);
    if (host.blocks != 0) __builtin_trap();
    return 0;
}
