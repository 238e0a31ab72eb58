/* SPDX-License-Identifier: Apache-2.0
 *
 * Speed of inference against its bounds, measured in the same run: prefill against OpenBLAS on the shapes of the model's
 * matrices, decoding against the bytes of the weights at the bandwidth with which all workers can read, the parity gate
 * against one prefill that computes logits at every position. Values are medians over rounds that measure each in turn.
 * usage: bench_run [MODEL [WORKERS [POSITIONS [ROUNDS]]]]      LLAMA_BENCH and LLAMA_GGUF: the peer's program and model */
#include <base/alloc.h>
#include <base/pool.h>
#include <base/rng.h>
#include <cblas.h>
#include <format/dtype.h>
#include <pipeline/parity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PREFILL = 512, DECODE = 64, WINDOW = 512, ROUNDS_MAX = 99, SHAPES_MAX = 64 };
#define READ_BYTES ((uint64_t)256 << 20)

static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};

struct shape {
    uint64_t rows, columns, count;
};

struct bench {
    struct env env;
    struct open_model model, twin;
    uint32_t *tokens;
    uint64_t positions, token_bytes; /* weights that one token reads */
    struct shape shapes[SHAPES_MAX];
    uint64_t shape_count;
    uint8_t *memory; /* [READ_BYTES] */
    atomic_uint_least64_t sink;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void must(tsr_status status, const tsr_error *err) {
    if (status == TSR_OK) return;
    fprintf(stderr, "bench_run: %s\n", err->message);
    exit(1);
}

/* ---- bounds ---- */

static void count_shapes(struct bench *bench) {
    const tsr_weights *table = model_weights_table(bench->model.weights);
    for (uint64_t i = 0; i < table->count(table->ctx); i++) {
        const tsr_tensor *tensor = table->tensor(table->ctx, i);
        uint64_t at = 0;
        if (tensor->rank != 2) continue;
        bench->token_bytes += tensor->bytes;
        if (tensor->rows == bench->model.info.vocabulary) continue; /* a prefill needs it for one token only */
        while (at < bench->shape_count &&
               (bench->shapes[at].rows != tensor->rows || bench->shapes[at].columns != tensor->columns)) {
            at++;
        }
        if (at == SHAPES_MAX) continue;
        bench->shapes[at] = (struct shape){tensor->rows, tensor->columns, bench->shapes[at].count + 1};
        if (at == bench->shape_count) bench->shape_count++;
    }
}

/* Seconds of all products of a prefill by OpenBLAS with as many threads as the pool has. */
static double time_gemm(const struct bench *bench) {
    double sum = 0;
    openblas_set_num_threads((int)pool_workers(bench->env.pool));
    for (uint64_t i = 0; i < bench->shape_count; i++) {
        const struct shape *shape = &bench->shapes[i];
        float *x = mem_alloc_zero(PREFILL * shape->columns, sizeof *x), *y = mem_alloc_zero(PREFILL * shape->rows, sizeof *y);
        float *w = mem_alloc_zero(shape->rows * shape->columns, sizeof *w);
        for (int run = 0; run < 4; run++) { /* the first warms up */
            double start = now();
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, PREFILL, (int)shape->rows, (int)shape->columns, 1, x,
                        (int)shape->columns, w, (int)shape->columns, 0, y, (int)shape->rows);
            if (run) sum += (now() - start) / 3 * (double)shape->count;
        }
        mem_free(x);
        mem_free(y);
        mem_free(w);
    }
    openblas_set_num_threads(1);
    return sum;
}

/* One load a cache line: more arithmetic would measure the core. */
static tsr_status read_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct bench *bench = ctx;
    const uint64_t part = READ_BYTES / 64;
    uint64_t sum = 0, word;
    (void)worker;
    (void)err;
    for (uint64_t at = 0; at < part; at += 64) {
        memcpy(&word, bench->memory + index * part + at, sizeof word);
        sum += word;
    }
    atomic_fetch_add(&bench->sink, sum);
    return TSR_OK;
}

static double time_read(struct bench *bench) {
    double start = now();
    must(pool_for(bench->env.pool, 64, read_task, bench, NULL), NULL);
    return now() - start;
}

/* ---- the engine ---- */

static double time_forward(struct bench *bench, uint64_t calls, uint64_t tokens_a_call) {
    const tsr_model *plugin = bench->model.plugin;
    float *logits = mem_alloc_zero(bench->model.info.vocabulary, sizeof *logits);
    void *sequence;
    tsr_error err = {0};
    must(plugin->sequence_create(bench->model.self, calls * tokens_a_call, &sequence, &err), &err);
    double start = now();
    for (uint64_t i = 0; i < calls; i++) {
        must(plugin->forward(bench->model.self, sequence, bench->tokens + i * tokens_a_call, tokens_a_call, NULL, logits, &err),
             &err);
    }
    double seconds = now() - start;
    plugin->sequence_destroy(bench->model.self, sequence);
    mem_free(logits);
    return seconds;
}

static tsr_status drop_logits(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                              tsr_error *err) {
    (void)ctx, (void)first, (void)logits, (void)tokens, (void)vocabulary, (void)err;
    return TSR_OK;
}

/* A prefill of one window that computes logits everywhere. */
static double time_window(struct bench *bench, uint64_t first, uint64_t count) {
    const tsr_model *plugin = bench->model.plugin;
    tsr_hooks hooks = {.struct_size = sizeof hooks, .logits = drop_logits};
    void *sequence;
    tsr_error err = {0};
    double start = now();
    must(plugin->sequence_create(bench->model.self, count, &sequence, &err), &err);
    must(plugin->forward(bench->model.self, sequence, bench->tokens + first, count, &hooks, NULL, &err), &err);
    plugin->sequence_destroy(bench->model.self, sequence);
    return now() - start;
}

/* Window by window, first the plain prefill, then the gate, so that both see the same machine. */
static void time_gate(struct bench *bench, double *plain, double *gate) {
    const struct parity_options options = {.window = WINDOW};
    *plain = *gate = 0;
    for (uint64_t at = 0; at < bench->positions; at += WINDOW) {
        uint64_t count = bench->positions - at < WINDOW ? bench->positions - at : WINDOW;
        struct token_run document = {bench->tokens + at, count};
        struct parity_result result;
        tsr_error err = {0};
        *plain += time_window(bench, at, count);
        double start = now();
        must(parity_run(&bench->model, &bench->twin, &document, 1, &options, &bench->env, &result, &err), &err);
        *gate += now() - start;
        parity_clear(&result);
    }
}

/* MiB of a line of /proc/self/status. */
static double status_mib(const char *name) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (!strncmp(line, name, strlen(name))) kib = strtod(line + strlen(name) + 1, NULL);
    }
    if (file) (void)fclose(file);
    return kib / 1024;
}

/* ---- peer ---- */

/* Tokens/s of llama-bench in one of its two tests; 0 where there is no peer. */
static double peer(const struct bench *bench, const char *test) {
    const char *program = getenv("LLAMA_BENCH"), *model = getenv("LLAMA_GGUF");
    char command[2048], line[512];
    double speed = 0;
    if (!program || !model) return 0;
    (void)snprintf(command, sizeof command, "'%s' -m '%s' %s -t %llu -r 1 -o json 2>/dev/null", program, model, test,
                   (unsigned long long)pool_workers(bench->env.pool));
    FILE *pipe = popen(command, "r");
    while (pipe && fgets(line, sizeof line, pipe)) {
        const char *at = strstr(line, "\"avg_ts\":");
        if (at) speed = strtod(at + strlen("\"avg_ts\":"), NULL);
    }
    if (pipe) (void)pclose(pipe);
    return speed;
}

/* ---- the table ---- */

enum { GEMM, READ, PREFILLED, DECODED, PEER_PREFILL, PEER_DECODE, PREFILL_RATIO, DECODE_RATIO, PEER_PREFILL_RATIO,
       PEER_DECODE_RATIO, COLUMNS };

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* One round; everything as tokens/s. */
static void measure(struct bench *bench, double values[COLUMNS]) {
    values[GEMM] = PREFILL / time_gemm(bench);
    values[PREFILLED] = PREFILL / time_forward(bench, 1, PREFILL);
    values[READ] = (double)READ_BYTES / time_read(bench) / (double)bench->token_bytes;
    values[DECODED] = DECODE / time_forward(bench, DECODE, 1);
    values[PEER_PREFILL] = peer(bench, "-p 512 -n 0");
    values[PEER_DECODE] = peer(bench, "-p 0 -n 64");
    values[PREFILL_RATIO] = values[PREFILLED] / values[GEMM];
    values[DECODE_RATIO] = values[DECODED] / values[READ];
    values[PEER_PREFILL_RATIO] = values[PEER_PREFILL] > 0 ? values[PREFILLED] / values[PEER_PREFILL] : 0;
    values[PEER_DECODE_RATIO] = values[PEER_DECODE] > 0 ? values[DECODED] / values[PEER_DECODE] : 0;
}

static void print_speeds(struct bench *bench, int rounds) {
    static double values[COLUMNS][ROUNDS_MAX];
    double row[COLUMNS], m[COLUMNS];
    for (int round = 0; round < rounds; round++) {
        measure(bench, row);
        for (int i = 0; i < COLUMNS; i++) values[i][round] = row[i];
    }
    for (int i = 0; i < COLUMNS; i++) m[i] = median(values[i], rounds);
    printf("| figure | tokens/s | bound | of the bound | llama.cpp | of llama.cpp |\n|---|---|---|---|---|---|\n");
    printf("| prefill %d | %.0f | %.0f (sgemm) | %.2f | %.0f | %.2f |\n", PREFILL, m[PREFILLED], m[GEMM], m[PREFILL_RATIO],
           m[PEER_PREFILL], m[PEER_PREFILL_RATIO]);
    printf("| decode %d | %.1f | %.1f (read %.1f GB/s) | %.2f | %.1f | %.2f |\n\n", DECODE, m[DECODED], m[READ],
           m[READ] * (double)bench->token_bytes * 1e-9, m[DECODE_RATIO], m[PEER_DECODE], m[PEER_DECODE_RATIO]);
}

static void print_gate(struct bench *bench) {
    double plain, gate;
    time_gate(bench, &plain, &gate);
    printf("Parity gate, %llu positions, both models: %.2f s; one prefill with all logits: %.2f s; ratio %.2f.\n",
           (unsigned long long)bench->positions, gate, plain, gate / plain);
    printf("Peak memory: %.0f MiB, of which mapped files %.0f MiB, all else %.0f MiB.\n\n", status_mib("VmHWM"),
           status_mib("RssFile"), status_mib("VmHWM") - status_mib("RssFile"));
}

static void open_models(struct bench *bench, const char *path, uint64_t workers) {
    const char *build = getenv("TESSERA_BUILD");
    char folder[512];
    struct registry *registry;
    tsr_error err = {0};
    struct rng rng = {1};
    (void)snprintf(folder, sizeof folder, "%s/lib/tessera", build ? build : "build");
    const char *folders[] = {folder};
    bench->env.pool = pool_create(workers);
    must(bench->env.pool ? TSR_OK : tsr_fail(&err, TSR_E_ARGUMENT, "workers"), &err);
    must(registry_create(folders, 1, &bench->env, &registry, &err), &err);
    must(model_open(path, registry, &PATHS, &bench->env, &bench->model, &err), &err);
    must(model_open(path, registry, &PATHS, &bench->env, &bench->twin, &err), &err);
    bench->tokens = mem_alloc_zero(bench->positions + PREFILL, sizeof *bench->tokens);
    for (uint64_t i = 0; i < bench->positions + PREFILL; i++) {
        bench->tokens[i] = (uint32_t)rng_below(&rng, bench->model.info.vocabulary);
    }
}

int main(int argc, char **argv) {
    static struct bench bench;
    const char *path = argc > 1 ? argv[1] : getenv("TESSERA_RUN_MODEL");
    uint64_t workers = argc > 2 ? strtoull(argv[2], NULL, 10) : 2;
    int rounds = argc > 4 ? atoi(argv[4]) : 5;
    if (!path) path = "demo/stories-1m";
    bench.positions = argc > 3 ? strtoull(argv[3], NULL, 10) : 10000;
    open_models(&bench, path, workers);
    count_shapes(&bench);
    printf("%s, %llu workers, weights as stored: %.1f MB a token; medians of %d rounds.\n\n", path,
           (unsigned long long)workers, (double)bench.token_bytes * 1e-6, rounds);
    if (bench.positions) print_gate(&bench);
    bench.memory = mem_alloc_zero(READ_BYTES, 1);
    must(bench.memory ? TSR_OK : TSR_E_NOMEM, &(tsr_error){.message = "out of memory"});
    memset(bench.memory, 1, READ_BYTES);
    print_speeds(&bench, rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds);
    return 0;
}
