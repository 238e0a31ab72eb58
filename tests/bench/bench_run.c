/* SPDX-License-Identifier: Apache-2.0
 *
 * Speed of inference against its bounds and its peer, measured in turn in the same run, so that all see the same machine.
 * Prefill: against the products of the model's matrices by OpenBLAS and by our own kernels on F32, whichever is faster for
 * each shape. One token: against a plain read of the same mapped bytes by the same workers. Parity gate, raw model against
 * its scalar-coded twin: against one prefill of the same text that computes logits at every position. One token of the
 * twin, straight from its payload: against the raw model. Figures are medians over rounds (smallest-largest).
 * usage: bench_run [MODEL [WORKERS [POSITIONS [ROUNDS]]]]
 * LLAMA_BENCH: the peer's program; LLAMA_GGUF and LLAMA_GGUF_4: the model for it in BF16 and in Q4_0 */
#include <base/alloc.h>
#include <base/fs.h>
#include <base/pool.h>
#include <base/rng.h>
#include <cblas.h>
#include <format/dtype.h>
#include <measure/parity.h>
#include <numeric/dense.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PREFILL = 512, DECODE = 64, WINDOW = 512, GROUP = 2048, ROUNDS_MAX = 99, SHAPES_MAX = 64, READ_TASKS = 64, AHEAD = 4096 };
#define GATE_DECODED_BYTES ((uint64_t)112 << 20) /* as job_gate.c */

static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};

struct shape {
    uint64_t rows, columns, count;
};

struct bench {
    struct env env;
    struct open_model model, twin; /* raw; compressed by `scalar` */
    const uint8_t *weights;        /* mapped */
    uint64_t weights_bytes;
    uint32_t *tokens;
    uint64_t positions, token_bytes; /* weights that one token reads */
    struct shape shapes[SHAPES_MAX];
    uint64_t shape_count;
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

/* OpenBLAS takes a processor that it does not know for an old one, which would make an easy bound: then this program
 * starts again with the kernels for the vectors that are there. */
static void choose_blas(char **argv) {
#if defined(__x86_64__)
    static const char *const wide[] = {"SkylakeX", "Cooperlake", "Sapphirerapids"};
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    const char *name = openblas_get_corename(), *want = avx512 ? wide[0] : __builtin_cpu_supports("avx2") ? "Haswell" : name;
    for (int i = 0; i < 3 && avx512; i++) {
        if (!strcmp(name, wide[i])) return;
    }
    if (getenv("OPENBLAS_CORETYPE") || !strcmp(name, want) || (!avx512 && strcmp(name, "Prescott"))) return;
    (void)setenv("OPENBLAS_CORETYPE", want, 1);
    (void)execv("/proc/self/exe", argv);
#else
    (void)argv;
#endif
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

struct gemm {
    float *x, *w, *y;
};

static double time_openblas(const struct bench *bench, const struct shape *shape, const struct gemm *gemm) {
    openblas_set_num_threads((int)pool_workers(bench->env.pool));
    double start = now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, PREFILL, (int)shape->rows, (int)shape->columns, 1, gemm->x,
                (int)shape->columns, gemm->w, (int)shape->columns, 0, gemm->y, (int)shape->rows);
    double seconds = now() - start;
    openblas_set_num_threads(1);
    return seconds;
}

static double time_own(const struct bench *bench, const struct shape *shape, const struct gemm *gemm) {
    struct dense matrix = {gemm->w, TSR_DTYPE_F32, shape->rows, shape->columns, false};
    tsr_error err = {0};
    double start = now();
    must(dense_apply(&matrix, gemm->x, PREFILL, gemm->y, &bench->env, &err), &err);
    return now() - start;
}

/* Seconds of all products of a prefill, each shape by the faster of the two. */
static double time_gemm(const struct bench *bench) {
    double sum = 0;
    for (uint64_t i = 0; i < bench->shape_count; i++) {
        const struct shape *shape = &bench->shapes[i];
        double best[2] = {1e9, 1e9};
        struct gemm gemm = {mem_alloc_zero(PREFILL * shape->columns, sizeof(float)),
                            mem_alloc_zero(shape->rows * shape->columns, sizeof(float)),
                            mem_alloc_zero(PREFILL * shape->rows, sizeof(float))};
        for (int run = 0; run < 4; run++) { /* the first warms up */
            double blas = time_openblas(bench, shape, &gemm), own = time_own(bench, shape, &gemm);
            if (run && blas < best[0]) best[0] = blas;
            if (run && own < best[1]) best[1] = own;
        }
        sum += (best[0] < best[1] ? best[0] : best[1]) * (double)shape->count;
        mem_free(gemm.x);
        mem_free(gemm.w);
        mem_free(gemm.y);
    }
    return sum;
}

/* One load a cache line, a page fetched ahead: more arithmetic would measure the core. */
static tsr_status read_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct bench *bench = ctx;
    const uint64_t part = bench->weights_bytes / READ_TASKS;
    const uint8_t *from = bench->weights + index * part;
    uint64_t sum = 0, word;
    (void)worker;
    (void)err;
    for (uint64_t at = 0; at + sizeof word <= part; at += 64) {
        __builtin_prefetch(from + at + AHEAD);
        memcpy(&word, from + at, sizeof word);
        sum += word;
    }
    atomic_fetch_add(&bench->sink, sum);
    return TSR_OK;
}

/* Seconds of a read of the bytes that one token needs. */
static double time_read(struct bench *bench) {
    double start = now();
    must(pool_for(bench->env.pool, READ_TASKS, read_task, bench, NULL), NULL);
    return (now() - start) * (double)bench->token_bytes / (double)bench->weights_bytes;
}

/* ---- the engine ---- */

static double time_prefill(struct bench *bench) {
    const tsr_model *plugin = bench->model.plugin;
    float *logits = mem_alloc_zero(bench->model.info.vocabulary, sizeof *logits);
    void *sequence;
    tsr_error err = {0};
    must(plugin->sequence_create(bench->model.self, PREFILL, &sequence, &err), &err);
    double start = now();
    must(plugin->forward(bench->model.self, sequence, bench->tokens, PREFILL, NULL, logits, &err), &err);
    double seconds = now() - start;
    plugin->sequence_destroy(bench->model.self, sequence);
    mem_free(logits);
    return seconds;
}

/* DECODE tokens, one by one; with `read`, a plain read in front of each, whose seconds it gets. */
static double time_decode(struct bench *bench, struct open_model *model, double *read) {
    float *logits = mem_alloc_zero(model->info.vocabulary, sizeof *logits);
    void *sequence;
    tsr_error err = {0};
    double seconds = 0;
    must(model->plugin->sequence_create(model->self, DECODE, &sequence, &err), &err);
    for (uint64_t i = 0; i < DECODE; i++) {
        if (read) *read += time_read(bench);
        double start = now();
        must(model->plugin->forward(model->self, sequence, bench->tokens + i, 1, NULL, logits, &err), &err);
        seconds += now() - start;
    }
    model->plugin->sequence_destroy(model->self, sequence);
    mem_free(logits);
    return seconds;
}

static tsr_status drop_logits(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                              tsr_error *err) {
    (void)ctx, (void)first, (void)logits, (void)tokens, (void)vocabulary, (void)err;
    return TSR_OK;
}

/* A prefill of some windows that computes logits everywhere. */
static double time_windows(struct bench *bench, uint64_t first, uint64_t count) {
    const tsr_model *plugin = bench->model.plugin;
    tsr_hooks hooks = {.struct_size = sizeof hooks, .logits = drop_logits};
    void *sequence;
    tsr_error err = {0};
    double start = now();
    for (uint64_t at = 0; at < count; at += WINDOW) {
        uint64_t tokens = count - at < WINDOW ? count - at : WINDOW;
        must(plugin->sequence_create(bench->model.self, tokens, &sequence, &err), &err);
        must(plugin->forward(bench->model.self, sequence, bench->tokens + first + at, tokens, &hooks, NULL, &err), &err);
        plugin->sequence_destroy(bench->model.self, sequence);
    }
    return now() - start;
}

/* Some windows at a time, first the plain prefill, then the gate. */
static void time_gate(struct bench *bench, double *plain, double *gate) {
    const struct parity_options options = {.window = WINDOW};
    *plain = *gate = 0;
    model_weights_limit(bench->twin.weights, GATE_DECODED_BYTES);
    for (uint64_t at = 0; at < bench->positions; at += GROUP) {
        uint64_t count = bench->positions - at < GROUP ? bench->positions - at : GROUP;
        struct token_run document = {bench->tokens + at, count};
        struct parity_result result;
        tsr_error err = {0};
        *plain += time_windows(bench, at, count);
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
static double peer(const struct bench *bench, const char *variable, const char *test) {
    const char *program = getenv("LLAMA_BENCH"), *model = getenv(variable);
    char command[2048], line[512];
    double speed = 0;
    if (!program || !model) return 0;
    (void)snprintf(command, sizeof command, "'%s' -m '%s' %s -t %llu -r 3 -o json 2>/dev/null", program, model, test,
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
       PEER_DECODE_RATIO, PLAIN_DECODED, CODEC_DECODED, CODEC_RATIO, PEER_CODEC, PEER_CODEC_RATIO, COLUMNS };

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
    double read = 0, gemm = time_gemm(bench), prefill = time_prefill(bench);
    prefill = (prefill + time_prefill(bench)) / 2;
    gemm = (gemm + time_gemm(bench)) / 2;
    double decode = time_decode(bench, &bench->model, &read);
    values[GEMM] = PREFILL / gemm;
    values[PREFILLED] = PREFILL / prefill;
    values[READ] = DECODE / read;
    values[DECODED] = DECODE / decode;
    values[PEER_PREFILL] = peer(bench, "LLAMA_GGUF", "-p 512 -n 0");
    values[PEER_DECODE] = peer(bench, "LLAMA_GGUF", "-p 0 -n 64");
    values[PREFILL_RATIO] = values[PREFILLED] / values[GEMM];
    values[DECODE_RATIO] = values[DECODED] / values[READ];
    values[PEER_PREFILL_RATIO] = values[PEER_PREFILL] > 0 ? values[PREFILLED] / values[PEER_PREFILL] : 0;
    values[PEER_DECODE_RATIO] = values[PEER_DECODE] > 0 ? values[DECODED] / values[PEER_DECODE] : 0;
}

/* What is in use stays in the caches: both models by themselves, like the peer. */
static void measure_codec(struct bench *bench, double values[COLUMNS]) {
    values[PLAIN_DECODED] = DECODE / time_decode(bench, &bench->model, NULL);
    values[CODEC_DECODED] = DECODE / time_decode(bench, &bench->twin, NULL);
    values[CODEC_RATIO] = values[CODEC_DECODED] / values[PLAIN_DECODED];
    values[PEER_CODEC] = peer(bench, "LLAMA_GGUF_4", "-p 0 -n 64");
    values[PEER_CODEC_RATIO] = values[PEER_CODEC] > 0 ? values[CODEC_DECODED] / values[PEER_CODEC] : 0;
}

/* "median (smallest-largest)" of one column, or "-" where there was no peer. */
static const char *spread(double *values, int rounds, int digits) {
    static char texts[8][64];
    static int next;
    char *text = texts[next++ % 8];
    double middle = median(values, rounds);
    (void)snprintf(text, sizeof texts[0], "%.*f (%.*f-%.*f)", digits, middle, digits, values[0], digits, values[rounds - 1]);
    return middle > 0 ? text : "-";
}

static void print_speeds(struct bench *bench, int rounds) {
    static double values[COLUMNS][ROUNDS_MAX];
    double row[COLUMNS];
    for (int round = 0; round < rounds; round++) {
        measure(bench, row);
        measure_codec(bench, row);
        for (int i = 0; i < COLUMNS; i++) values[i][round] = row[i];
    }
    printf("| figure | tokens/s | bound | of the bound | llama.cpp BF16 | of llama.cpp |\n|---|---|---|---|---|---|\n");
    printf("| prefill of %d | %s | %s (products) | %s | %s | %s |\n", PREFILL, spread(values[PREFILLED], rounds, 0),
           spread(values[GEMM], rounds, 0), spread(values[PREFILL_RATIO], rounds, 2), spread(values[PEER_PREFILL], rounds, 0),
           spread(values[PEER_PREFILL_RATIO], rounds, 2));
    printf("| one token, %d times | %s | %s (read) | %s | %s | %s |\n\n", DECODE, spread(values[DECODED], rounds, 1),
           spread(values[READ], rounds, 1), spread(values[DECODE_RATIO], rounds, 2), spread(values[PEER_DECODE], rounds, 1),
           spread(values[PEER_DECODE_RATIO], rounds, 2));
    printf("| figure | tokens/s | BF16 | of BF16 | llama.cpp Q4_0 | of llama.cpp |\n|---|---|---|---|---|---|\n");
    printf("| one token from the 4-bit payload | %s | %s | %s | %s | %s |\n\n", spread(values[CODEC_DECODED], rounds, 1),
           spread(values[PLAIN_DECODED], rounds, 1), spread(values[CODEC_RATIO], rounds, 2), spread(values[PEER_CODEC], rounds, 1),
           spread(values[PEER_CODEC_RATIO], rounds, 2));
    printf("Path of the twin: %s; packed tiles %.1f MB for %.1f MB of BF16.\n", model_weights_path(bench->twin.weights),
           (double)model_weights_packed(bench->twin.weights) * 1e-6, (double)bench->token_bytes * 1e-6);
}

static void print_gate(struct bench *bench) {
    double plain, gate;
    time_gate(bench, &plain, &gate);
    printf("Parity gate, %llu positions, raw against scalar at 4 bits: %.2f s; one prefill with all logits: %.2f s; ratio %.2f.\n",
           (unsigned long long)bench->positions, gate, plain, gate / plain);
    printf("Peak memory: %.0f MiB, of which mapped files %.0f MiB, all else %.0f MiB.\n\n", status_mib("VmHWM"),
           status_mib("RssFile"), status_mib("VmHWM") - status_mib("RssFile"));
}

/* MODEL by `scalar` at 4 bits, what it does not take by passthrough. */
static void make_twin(const char *path, const char *build, const char *twin) {
    static const char config[] = "tessera: 1\nroles: auto\nrules:\n"
                                 "  - {regime: argmax, dtype: [BF16, F16, F32], codec: scalar, params: {bits: 4}, optional: true}\n"
                                 "  - {regime: index, dtype: [BF16, F16, F32], codec: scalar, params: {bits: 4, row_error_max: 0}, "
                                 "optional: true}\n"
                                 "  - {codec: passthrough, optional: true}\n";
    char file[600], command[2048];
    tsr_error err = {0};
    (void)snprintf(file, sizeof file, "%s/bench/scalar4.yaml", build);
    must(fs_replace(file, config, sizeof config - 1, &err), &err);
    (void)snprintf(command, sizeof command, "'%s/bin/tessera' compress '%s' -c '%s' -o '%s' --force >/dev/null 2>&1", build, path,
                   file, twin);
    must(system(command) ? tsr_fail(&err, TSR_E_IO, "cannot compress %s", path) : TSR_OK, &err);
}

static void open_models(struct bench *bench, const char *path, uint64_t workers) {
    const char *build = getenv("TESSERA_BUILD") ? getenv("TESSERA_BUILD") : "build";
    char folder[512], twin[512];
    struct registry *registry;
    tsr_error err = {0};
    struct rng rng = {1};
    (void)snprintf(folder, sizeof folder, "%s/lib/tessera", build);
    (void)snprintf(twin, sizeof twin, "%s/bench/scalar4", build);
    const char *folders[] = {folder};
    make_twin(path, build, twin);
    bench->env.pool = pool_create(workers);
    must(bench->env.pool ? TSR_OK : tsr_fail(&err, TSR_E_ARGUMENT, "workers"), &err);
    must(registry_create(folders, 1, &bench->env, &registry, &err), &err);
    must(model_open(path, registry, &PATHS, &bench->env, &bench->model, &err), &err);
    must(model_open(twin, registry, &PATHS, &bench->env, &bench->twin, &err), &err);
    bench->weights = bench->model.reader.raw.files[0].st.file.map;
    bench->weights_bytes = bench->model.reader.raw.files[0].st.file.size;
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
    choose_blas(argv);
    mem_setup();
    if (!path) path = "demo/stories-1m";
    bench.positions = argc > 3 ? strtoull(argv[3], NULL, 10) : 10000;
    open_models(&bench, path, workers);
    count_shapes(&bench);
    printf("%s, %llu workers, weights as stored: %.1f MB a token, OpenBLAS as %s; medians of %d rounds (smallest-largest).\n\n",
           fs_base_name(path), (unsigned long long)workers, (double)bench.token_bytes * 1e-6, openblas_get_corename(), rounds);
    printf("The model is TESSERA_RUN_MODEL, the peer LLAMA_BENCH with LLAMA_GGUF (BF16) and LLAMA_GGUF_4 (Q4_0); at the highest priority, since\n"
           "other work goes on.\n\n");
    if (bench.positions) print_gate(&bench);
    model_weights_limit(bench.twin.weights, MODEL_DECODED_BYTES);
    (void)model_weights_path(bench.twin.weights);
    (void)time_decode(&bench, &bench.twin, NULL); /* packs */
    print_speeds(&bench, rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds);
    return 0;
}
