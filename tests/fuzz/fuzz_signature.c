/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoders and searches of the index codecs on any header and tile. Input: which codec, rows, columns, lanes and gain
 * of the parameters, two length bytes, the header, the tile. */
#include "../search_harness.h"

extern const tsr_plugin tsr_plugin_hhtld;
extern const tsr_plugin tsr_plugin_hclam_index;
extern const tsr_plugin tsr_plugin_spiral_index;

enum { PARAMS_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const tsr_codec *codec_named(const tsr_plugin *plugin, const char *name) {
    const tsr_codec *const *at = plugin->codecs;
    while (*at && strcmp((*at)->name, name) != 0) at++;
    if (!*at) __builtin_trap();
    return *at;
}

static const tsr_codec *codec_of(uint8_t choice) {
    if (choice & 2) return codec_named(&tsr_plugin_spiral_index, "spiral-index");
    return choice & 1 ? codec_named(&tsr_plugin_hclam_index, "hclam-index") : codec_named(&tsr_plugin_hhtld, "hhtld");
}

static void search(struct harness_index *index, uint64_t columns) {
    uint64_t rows[4], found = 0;
    double scores[4];
    float *x = mem_alloc_zero(columns + 1, sizeof *x);
    for (uint64_t c = 0; x && c < columns; c++) x[c] = (float)c - 3;
    for (int32_t kind = 0; x && kind < 2; kind++) {
        const tsr_search_request request = {.struct_size = sizeof request, .x = x, .top = 4, .kind = kind};
        harness_kind = kind;
        (void)index->signature->search(index->self, index->search, &request, rows, kind ? scores : NULL, &found, NULL, NULL);
    }
    mem_free(x);
}

static void try_bytes(struct harness_index *index) {
    const struct harness_job *job = index->job;
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &job->host->host,
                                   .tensor = &job->tensor,
                                   .params = job->params,
                                   .header = index->payload.header,
                                   .header_bytes = index->payload.header_bytes,
                                   .bitstream_version = 1,
                                   .decoding = 1};
    const tsr_signature_source source = {sizeof source, index, index->payload.grid.count, harness_tile, harness_rows};
    index->signature = job->codec->get_extension(TSR_SIGNATURE_ID);
    if (job->codec->create(&setup, &index->self, NULL) != TSR_OK) return;
    if (index->signature->search_open(index->self, &source, &index->search, NULL) == TSR_OK) {
        search(index, job->tensor.columns);
        index->signature->search_close(index->self, index->search);
    }
    job->codec->destroy(index->self);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct harness_host host;
    if (size < 5) return 0;
    uint64_t rows = data[1] % 40 + 1, columns = data[2] % 40 + 1, header_bytes = data[3] + 256u * data[4];
    if (header_bytes > size - 5) header_bytes = size - 5;
    uint64_t tile_bytes = size - 5 - header_bytes, tile_at_zero = 0;
    harness_init(&host);
    tsr_param_value params[PARAMS_MAX] = {{0}};
    float *x = mem_alloc_zero(rows * columns, sizeof *x);
    struct harness_job job = {.host = &host,
                              .codec = codec_of(data[0]),
                              .params = params,
                              .x = x,
                              .tensor = harness_tensor(rows, columns, TSR_DTYPE_F32)};
    /* Blocks of their exact sizes, so that a sanitizer sees a read behind the end. */
    struct harness_index index = {.job = &job,
                                  .payload = {.header = mem_alloc(header_bytes),
                                              .header_bytes = header_bytes,
                                              .bytes = mem_alloc(tile_bytes),
                                              .tile_bytes = &tile_bytes},
                                  .tile_at = &tile_at_zero};
    float *y = mem_alloc_array(rows * columns, sizeof *y);
    index.payload.grid = tile_grid_make(rows, columns, TILE_WEIGHTS_MAX);
    if (index.payload.header && index.payload.bytes && x && y && index.payload.grid.count <= 1) {
        memcpy(index.payload.header, data + 5, header_bytes);
        memcpy(index.payload.bytes, data + 5 + header_bytes, tile_bytes);
        (void)harness_decode(&job, &index.payload, y, NULL);
        try_bytes(&index);
    }
    mem_free(x);
    mem_free(y);
    mem_free(index.payload.header);
    mem_free(index.payload.bytes);
    harness_clear(&host);
    if (host.blocks != 0) __builtin_trap();
    return 0;
}
