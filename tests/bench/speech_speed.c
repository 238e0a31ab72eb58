/* SPDX-License-Identifier: Apache-2.0
 *
 * Speed of a model that speaks: loading, codes against the bytes of the weights that a frame reads at the bandwidth with which
 * all workers can read, the vocoder against real time. Rounds measure each in turn; values are medians.
 * usage: speech_speed MODEL [WORKERS [ROUNDS [FRAMES]]] - prints rows of a Markdown table */
#include <base/alloc.h>
#include <base/pool.h>
#include <base/str.h>
#include <model/speech_model.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define READ_BYTES ((uint64_t)1 << 30) /* far beyond any cache */
#define READ_PARTS 256
enum { ROUNDS_MAX = 99 };

struct bench {
    struct env env;
    struct registry *registry;
    struct open_model model;
    const tsr_speech *table;
    tsr_speech_info info;
    uint64_t rounds, frames, frame_bytes;
    uint8_t *memory; /* [READ_BYTES] */
    uint32_t *codes; /* [frames][groups] */
    float *samples;
    atomic_uint_least64_t sink;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Of all workers: what a busy machine does not lengthen. */
static double cpu(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void must(tsr_status status, const tsr_error *err) {
    if (status == TSR_OK) return;
    fprintf(stderr, "speech_speed: %s\n", err->message);
    exit(1);
}

static int compare_reals(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint64_t count) {
    qsort(values, count, sizeof *values, compare_reals);
    return values[count / 2];
}

static void open_it(struct bench *bench, const char *path) {
    static const struct model_paths paths = {NULL, 0, 0};
    tsr_error err = {0};
    must(model_open(path, bench->registry, &paths, &bench->env, &bench->model, &err), &err);
    bench->table = speech_table(&bench->model);
    if (!bench->table) exit(1);
    bench->info = speech_facts(&bench->model);
}

/* Matrices of the talker once, of the code predictor's layers once for each of its positions, every head once. */
static uint64_t bytes_of_a_frame(struct bench *bench) {
    const tsr_weights *table = model_weights_table(bench->model.weights);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < table->count(table->ctx); i++) {
        const tsr_tensor *tensor = table->tensor(table->ctx, i);
        if (tensor->rank != 2) continue;
        if (text_starts_with(tensor->name, "talker.code_predictor.model.layers.") ||
            text_starts_with(tensor->name, "talker.code_predictor.small_to")) {
            bytes += bench->info.groups * tensor->bytes;
        } else if (text_starts_with(tensor->name, "talker.model.layers.") || text_starts_with(tensor->name, "talker.codec_head") ||
                   text_starts_with(tensor->name, "talker.code_predictor.lm_head.")) {
            bytes += tensor->bytes;
        }
    }
    return bytes;
}

/* One load a cache line: more arithmetic would measure the core. */
static tsr_status read_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct bench *bench = ctx;
    const uint64_t part = READ_BYTES / READ_PARTS;
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
    must(pool_for(bench->env.pool, READ_PARTS, read_task, bench, NULL), NULL);
    return now() - start;
}

static double time_codes(struct bench *bench, void *utterance) {
    uint32_t codes[64];
    int32_t end;
    tsr_error err = {0};
    double start = now();
    for (uint64_t f = 0; f < bench->frames; f++) {
        must(bench->table->utterance_next(bench->model.self, utterance, bench->codes + f * bench->info.groups, codes, &end, &err), &err);
    }
    return now() - start;
}

static double time_sound(struct bench *bench, void *decoder) {
    tsr_error err = {0};
    double start = now();
    must(bench->table->decoder_push(bench->model.self, decoder, bench->codes, bench->frames, bench->samples, &err), &err);
    return now() - start;
}

static void *begin(struct bench *bench) {
    const tsr_speech_rules rules = speech_rules_greedy();
    uint32_t ids[64];
    void *utterance = NULL;
    tsr_error err = {0};
    for (uint32_t i = 0; i < 64; i++) ids[i] = 10 + i;
    const tsr_speech_prompt prompt = {.struct_size = sizeof prompt, .target = ids, .target_count = 64};
    must(bench->table->utterance_create(bench->model.self, &prompt, (bench->rounds + 1) * bench->frames, &rules, NULL, &utterance,
                                        &err), &err);
    return utterance;
}

static void measure(struct bench *bench) {
    double read[ROUNDS_MAX], codes[ROUNDS_MAX], sound[ROUNDS_MAX], share[ROUNDS_MAX], work[ROUNDS_MAX];
    void *utterance = begin(bench), *decoder = NULL;
    tsr_error err = {0};
    must(bench->table->decoder_create(bench->model.self, 0, 0, NULL, &decoder, &err), &err);
    (void)time_codes(bench, utterance);
    (void)time_sound(bench, decoder);
    for (uint64_t r = 0; r < bench->rounds; r++) {
        double before = time_read(bench);
        codes[r] = time_codes(bench, utterance);
        double after = time_read(bench);
        read[r] = before < after ? before : after;
        share[r] = (double)(bench->frames * bench->frame_bytes) / codes[r] / ((double)READ_BYTES / read[r]);
        double start = cpu();
        sound[r] = time_sound(bench, decoder);
        work[r] = cpu() - start;
    }
    bench->table->utterance_destroy(bench->model.self, utterance);
    bench->table->decoder_destroy(bench->model.self, decoder);
    double bandwidth = (double)READ_BYTES / median(read, bench->rounds);
    double rate = (double)bench->frames / median(codes, bench->rounds);
    double length = (double)(bench->frames * bench->info.samples_per_frame) / (double)bench->info.sample_rate;
    printf("| weights a frame reads | %.2f GB |\n", (double)bench->frame_bytes * 1e-9);
    printf("| reading with all workers | %.1f GB/s |\n", bandwidth * 1e-9);
    printf("| bound | %.2f frames/s |\n", bandwidth / (double)bench->frame_bytes);
    printf("| codes | %.2f frames/s |\n", rate);
    printf("| share of the bound (at least 0.6) | %.2f |\n", median(share, bench->rounds));
    printf("| vocoder, real-time factor | %.3f |\n", median(sound, bench->rounds) / length);
    printf("| vocoder, processor seconds a second of speech | %.3f |\n", median(work, bench->rounds) / length);
    printf("| codes and vocoder, real-time factor | %.2f |\n", (median(sound, bench->rounds) + median(codes, bench->rounds)) / length);
}

int main(int argc, char **argv) {
    struct bench bench = {.rounds = argc > 3 ? strtoull(argv[3], NULL, 10) : 5, .frames = argc > 4 ? strtoull(argv[4], NULL, 10) : 8};
    const char *build = getenv("TESSERA_BUILD");
    char folder[512];
    (void)snprintf(folder, sizeof folder, "%s/lib/tessera", build ? build : "build");
    const char *folders[] = {folder};
    if (argc < 2 || bench.rounds < 1 || bench.rounds > ROUNDS_MAX) return 1;
    bench.env.pool = pool_create(argc > 2 ? strtoull(argv[2], NULL, 10) : 2);
    if (!bench.env.pool || registry_create(folders, 1, &bench.env, &bench.registry, NULL) != TSR_OK) return 1;
    open_it(&bench, argv[1]); /* the first one warms the files */
    model_close(&bench.model);
    double start = now();
    open_it(&bench, argv[1]);
    printf("| loading, warm (below 2 s) | %.2f s |\n", now() - start);
    bench.frame_bytes = bytes_of_a_frame(&bench);
    bench.memory = mem_alloc(READ_BYTES);
    bench.codes = mem_alloc_array(bench.frames, bench.info.groups * sizeof *bench.codes);
    bench.samples = mem_alloc_array(bench.frames, bench.info.samples_per_frame * sizeof *bench.samples);
    if (!bench.memory || !bench.codes || !bench.samples) return 1;
    memset(bench.memory, 1, READ_BYTES);
    for (uint64_t i = 0; i < bench.frames * bench.info.groups; i++) bench.codes[i] = (uint32_t)((i * 37 + 11) % bench.info.codebook);
    measure(&bench);
    model_close(&bench.model);
    registry_destroy(bench.registry);
    pool_destroy(bench.env.pool);
    return 0;
}
