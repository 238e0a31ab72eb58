/* SPDX-License-Identifier: Apache-2.0
 *
 * A codec's decoder on any header and tile, the body of one fuzz target a codec. Input: rows, columns, two length bytes
 * (15 bits), the header, the tile. */
#ifndef TESTS_FUZZ_CODEC_TARGET_H
#define TESTS_FUZZ_CODEC_TARGET_H

#include "../codec_harness.h"

#define CODEC_TARGET_HEAD 4
/* At least as many parameters as any codec declares; all of them zero unless the target sets them. */
#define CODEC_TARGET_PARAMS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* job: codec and what the target chooses; host and tensor are set here. Traps if the decoder kept memory. */
static inline int codec_target(struct harness_job job, const uint8_t *data, size_t size) {
    static const tsr_param_value zeros[CODEC_TARGET_PARAMS];
    struct harness_host host;
    if (size < CODEC_TARGET_HEAD) return 0;
    uint64_t rows = data[0], columns = (uint64_t)data[1] * 3, header_bytes = data[2] + 256u * (data[3] & 127u);
    if (header_bytes > size - CODEC_TARGET_HEAD) header_bytes = size - CODEC_TARGET_HEAD;
    uint64_t tile_bytes = size - CODEC_TARGET_HEAD - header_bytes;
    harness_init(&host);
    job.host = &host;
    job.tensor = harness_tensor(rows, columns, TSR_DTYPE_F32);
    if (!job.params) job.params = zeros;
    /* Blocks of their exact sizes, so that a sanitizer sees a read behind the end. */
    struct harness_payload payload = {.header = mem_alloc(header_bytes),
                                      .header_bytes = header_bytes,
                                      .bytes = mem_alloc(tile_bytes),
                                      .tile_bytes = &tile_bytes};
    payload.grid = tile_grid_make(rows, columns, TILE_WEIGHTS_MAX);
    float *y = mem_alloc_array(rows * columns, sizeof *y);
    if (payload.header && payload.bytes && y && payload.grid.count <= 1) {
        memcpy(payload.header, data + CODEC_TARGET_HEAD, header_bytes);
        memcpy(payload.bytes, data + CODEC_TARGET_HEAD + header_bytes, tile_bytes);
        (void)harness_decode(&job, &payload, y, NULL);
    }
    mem_free(y);
    mem_free(payload.header);
    mem_free(payload.bytes);
    harness_clear(&host);
    if (host.blocks != 0) __builtin_trap();
    return 0;
}

#endif
