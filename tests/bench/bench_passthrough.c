/* SPDX-License-Identifier: Apache-2.0
 *
 * passthrough in memory on one thread: ratio (payload heads, directories and codec headers counted) and processor time
 * of every level, without files or checksums. bench_lossless_core.py adds the peers in the same run.
 * usage: bench_passthrough [FILE.safetensors ...]      without files: Gaussian weights in BF16 */
#include "../codec_harness.h"

#include <base/rng.h>
#include <format/dtype.h>
#include <format/safetensors.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

extern const tsr_plugin tsr_plugin_passthrough;

#define REPEATS 3
#define PAYLOAD_HEAD 130 /* fixed part, id, parameters, and the entry of the safetensors header */
#define PAYLOAD_ENTRY 20

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Without the harness's filling, which would be measured. */
static void *plain_alloc(const tsr_host *host, uint64_t size) {
    struct harness_host *self = host->ctx;
    void *memory = size ? mem_alloc_aligned(size) : NULL;
    self->blocks += memory != NULL;
    return memory;
}

static void stop(const char *what) {
    fprintf(stderr, "bench_passthrough: %s\n", what);
    exit(1);
}

static void check(tsr_status status, const tsr_error *err) {
    if (status != TSR_OK) stop(err->message);
}

struct tensor {
    tsr_tensor view;
    const uint8_t *bytes;
    uint64_t element;
};

static tsr_status read_block(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                             void *dst, tsr_error *err) {
    const struct tensor *tensor = ctx;
    (void)err;
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t from = ((first_row + r) * tensor->view.columns + first_column) * tensor->element;
        memcpy((uint8_t *)dst + r * columns * tensor->element, tensor->bytes + from, columns * tensor->element);
    }
    return TSR_OK;
}

struct output {
    uint8_t *bytes;
    uint64_t size, capacity;
};

static tsr_status write_header(void *ctx, const void *bytes, uint64_t size, tsr_error *err) {
    struct output *output = ctx;
    if (size > output->capacity - output->size) return tsr_fail(err, TSR_E_LIMIT, "codec header too large");
    memcpy(output->bytes + output->size, bytes, size);
    output->size += size;
    return TSR_OK;
}

struct totals {
    uint64_t source, coded;
    double encode, decode;
};

/* Encodes into `output`: header, then tiles; sizes[tile] gets the stored size, raw tiles their source size. */
static void encode_tensor(const tsr_codec *codec, tsr_codec_setup *setup, struct tensor *tensor,
                          const struct tile_grid *grid, struct output *output, uint64_t *sizes, tsr_error *err) {
    void *self = NULL;
    tsr_row_source source = {sizeof source, tensor, read_block};
    tsr_writer writer = {sizeof writer, output, write_header};
    setup->decoding = 0;
    check(codec->create(setup, &self, err), err);
    check(codec->prepare(self, &source, &writer, err), err);
    setup->header_bytes = output->size;
    const uint8_t *src = tensor->bytes;
    for (uint64_t t = 0; t < grid->count; t++) {
        tsr_tile tile = tile_at(grid, t, (uint32_t)tensor->element * 8);
        uint8_t *dst = output->bytes + output->size;
        check(codec->encode(self, &tile, src, dst, output->capacity - output->size, &sizes[t], err), err);
        if (sizes[t] >= tile.bytes) {
            memcpy(dst, src, tile.bytes);
            sizes[t] = tile.bytes;
        }
        output->size += sizes[t];
        src += tile.bytes;
    }
    codec->destroy(self);
}

static void decode_tensor(const tsr_codec *codec, tsr_codec_setup *setup, const struct tensor *tensor,
                          const struct tile_grid *grid, const struct output *output, const uint64_t *sizes,
                          uint8_t *back, tsr_error *err) {
    void *self = NULL;
    const uint8_t *src = output->bytes + setup->header_bytes;
    setup->decoding = 1;
    setup->header = output->bytes;
    check(codec->create(setup, &self, err), err);
    for (uint64_t t = 0; t < grid->count; t++) {
        tsr_tile tile = tile_at(grid, t, (uint32_t)tensor->element * 8);
        if (sizes[t] == tile.bytes) memcpy(back, src, tile.bytes);
        else check(codec->decode(self, &tile, src, sizes[t], back, err), err);
        src += sizes[t];
        back += tile.bytes;
    }
    codec->destroy(self);
}

static void run_tensor(const tsr_host *host, const tsr_param_value *params, struct tensor *tensor,
                       struct totals *totals) {
    const tsr_codec *codec = tsr_plugin_passthrough.codecs[0];
    struct tile_grid grid = tile_grid_make(tensor->view.rows, tensor->view.columns, codec->tile_weights);
    struct output output = {.capacity = 3 * tensor->view.bytes + 65536 + 1024 * grid.count};
    uint64_t *sizes = mem_alloc_zero(grid.count + 1, sizeof *sizes);
    uint8_t *back = mem_alloc_aligned(tensor->view.bytes + 1);
    tsr_error err = {0};
    tsr_codec_setup setup = {.struct_size = sizeof setup,
                             .host = host,
                             .tensor = &tensor->view,
                             .params = params,
                             .bitstream_version = codec->bitstream_version};
    output.bytes = mem_alloc_aligned(output.capacity);
    if (!output.bytes || !sizes || !back) stop("no memory");
    memset(output.bytes, 1, output.capacity); /* page faults are not the codec's */
    memset(back, 1, tensor->view.bytes);
    double start = now();
    encode_tensor(codec, &setup, tensor, &grid, &output, sizes, &err);
    double middle = now();
    decode_tensor(codec, &setup, tensor, &grid, &output, sizes, back, &err);
    double end = now();
    if (memcmp(back, tensor->bytes, tensor->view.bytes)) stop("a tensor came back changed");
    totals->source += tensor->view.bytes;
    totals->coded += output.size + PAYLOAD_HEAD + PAYLOAD_ENTRY * grid.count;
    totals->encode += middle - start;
    totals->decode += end - middle;
    mem_free(output.bytes);
    mem_free(sizes);
    mem_free(back);
}

static void bench(const tsr_host *host, const char *name, const char *dtype, struct tensor *tensors, uint64_t count) {
    static const char *const LEVELS[] = {"fast", "default", "max"};
    for (int level = 0; level < 3; level++) {
        const tsr_param_value params[2] = {{.integer = 1}, {.integer = level}};
        struct totals best = {0};
        for (int r = 0; r < REPEATS; r++) {
            struct totals totals = {0};
            for (uint64_t t = 0; t < count; t++) run_tensor(host, params, &tensors[t], &totals);
            if (r == 0) best = totals;
            if (totals.encode < best.encode) best.encode = totals.encode;
            if (totals.decode < best.decode) best.decode = totals.decode;
        }
        printf("| %s | %s | passthrough %s | %.4f | %.0f | %.0f |\n", name, dtype, LEVELS[level],
               (double)best.source / (double)best.coded, (double)best.source / best.encode / 1e6,
               (double)best.source / best.decode / 1e6);
    }
}

/* Every tensor whose last extent is the columns; F4 and unknown dtypes are left out, as no model here has them. */
static void bench_file(const tsr_host *host, const char *path) {
    struct safetensors file = {0};
    tsr_error err = {0};
    check(safetensors_open(path, &file, &err), &err);
    check(fs_map(&file.file, &err), &err);
    struct tensor *tensors = mem_alloc_zero(file.count + 1, sizeof *tensors);
    if (!tensors) stop("no memory");
    uint64_t count = 0, largest = 0;
    for (uint64_t i = 0; i < file.count; i++) {
        const struct safetensors_entry *entry = &file.entries[i];
        uint64_t element = dtype_bits(entry->dtype) / 8, columns = entry->rank ? entry->shape[entry->rank - 1] : 1;
        if (element == 0 || entry->bytes == 0) continue;
        if (entry->bytes > file.entries[largest].bytes) largest = i;
        tsr_tensor view = harness_tensor(entry->bytes / element / columns, columns, entry->dtype);
        view.bytes = entry->bytes;
        tensors[count++] = (struct tensor){view, file.file.map + entry->offset, element};
    }
    const char *name = strrchr(path, '/');
    if (count) bench(host, name ? name + 1 : path, file.entries[largest].dtype_name, tensors, count);
    mem_free(tensors);
    safetensors_close(&file);
}

static void bench_gaussian(const tsr_host *host) {
    struct tensor tensor = {.view = harness_tensor(4096, 4096, TSR_DTYPE_BF16), .element = 2};
    uint64_t count = tensor.view.rows * tensor.view.columns;
    struct rng rng = {1};
    float *x = mem_alloc_aligned(count * sizeof *x);
    uint16_t *weights = mem_alloc_aligned(count * sizeof *weights);
    if (!x || !weights) stop("no memory");
    for (uint64_t i = 0; i < count; i++) {
        x[i] = (float)(0.02 * sqrt(-2 * log(1 - rng_real(&rng))) * cos(6.283185307179586 * rng_real(&rng)));
    }
    dtype_from_f32(TSR_DTYPE_BF16, x, count, weights);
    tensor.bytes = (const uint8_t *)weights;
    tensor.view.bytes = count * 2;
    bench(host, "Gaussian 4096 x 4096", "BF16", &tensor, 1);
    mem_free(x);
    mem_free(weights);
}

int main(int argc, char **argv) {
    struct harness_host host;
    harness_init(&host);
    host.host.alloc = plain_alloc;
    if (argc < 2) printf("| weights | dtype | coder | ratio | encode MB/s | decode MB/s |\n|---|---|---|---|---|---|\n");
    if (argc < 2) bench_gaussian(&host.host);
    for (int i = 1; i < argc; i++) bench_file(&host.host, argv[i]);
    harness_clear(&host);
    return 0;
}
