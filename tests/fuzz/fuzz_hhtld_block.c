/* SPDX-License-Identifier: Apache-2.0
 *
 * The hhtld-block decoder on any header and tile. Input: rows, columns, two length bytes, the header, the tile. */
#include "../codec_harness.h"

extern const tsr_plugin tsr_plugin_hhtld;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct harness_host host;
    if (size < 4) return 0;
    uint64_t rows = data[0], columns = (uint64_t)data[1] * 3, header_bytes = data[2] + 256u * data[3];
    if (header_bytes > size - 4) header_bytes = size - 4;
    uint64_t tile_bytes = size - 4 - header_bytes;
    harness_init(&host);
    tsr_param_value params[3] = {{0}};
    struct harness_job job = {.host = &host,
                              .codec = tsr_plugin_hhtld.codecs[1],
                              .params = params,
                              .tensor = harness_tensor(rows, columns, TSR_DTYPE_F32)};
    /* Blocks of their exact sizes, so that a sanitizer sees a read behind the end. */
    struct harness_payload payload = {.header = mem_alloc(header_bytes),
                                      .header_bytes = header_bytes,
                                      .bytes = mem_alloc(tile_bytes),
                                      .tile_bytes = &tile_bytes};
    payload.grid = tile_grid_make(rows, columns, TILE_WEIGHTS_MAX);
    float *y = mem_alloc_array(rows * columns, sizeof *y);
    if (payload.header && payload.bytes && y && payload.grid.count <= 1) {
        memcpy(payload.header, data + 4, header_bytes);
        memcpy(payload.bytes, data + 4 + header_bytes, tile_bytes);
        (void)harness_decode(&job, &payload, y, NULL);
    }
    mem_free(y);
    mem_free(payload.header);
    mem_free(payload.bytes);
    harness_clear(&host);
    if (host.blocks != 0) __builtin_trap();
    return 0;
}
