/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics of calibrate against sums made here from every input that the model reports; and that their bytes depend
 * on nothing but model, text and options: not on memory, workers, or an end in the middle. */
#include "unit.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <base/str.h>
#include <math.h>
#include <pipeline/calibrate.h>
#include <pipeline/calibrate_read.h>
#include <pipeline/model_digest.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURES "tests/data/causal-lm/"
#define TOKENS 60
#define WINDOW 24
#define TENSORS_MAX 512

static struct env env;
static struct registry *registry;
static char folder[] = "/tmp/tessera-calibrate-XXXXXX";
static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};

static bool set_up(void) {
    const char *build = getenv("TESSERA_BUILD");
    char plugins[512];
    (void)snprintf(plugins, sizeof plugins, "%s/lib/tessera", build ? build : "build");
    const char *folders[] = {plugins};
    env.pool = pool_create(2);
    return env.pool && mkdtemp(folder) && registry_create(folders, 1, &env, &registry, NULL) == TSR_OK;
}

static const char *in_folder(const char *name) {
    static char path[4][128];
    static unsigned turn;
    char *text = path[turn++ % 4];
    (void)snprintf(text, sizeof path[0], "%s/%s", folder, name);
    return text;
}

static struct token_run make_text(void) {
    static uint32_t tokens[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++) tokens[i] = (i * 37 + 11) % 300;
    return (struct token_run){tokens, TOKENS};
}

static tsr_status calibrate(const char *fixture, uint64_t full_max, const struct env *with, const char *output,
                            struct calibrate_result *result, tsr_error *err) {
    const struct token_run text = make_text();
    const struct calibrate_options options = {.window = WINDOW, .full_max = full_max};
    struct open_model model;
    char path[256];
    (void)snprintf(path, sizeof path, FIXTURES "%s", fixture);
    tsr_status st = model_open(path, registry, &PATHS, with, &model, err);
    if (st == TSR_OK) st = calibrate_run(&model, &text, &options, output, with, result, err);
    if (st != TSR_OK) printf("  %s: %d %s\n", fixture, st, err->message);
    model_close(&model);
    return st;
}

/* ---- against plain sums ---- */

struct sums {
    double *products[TENSORS_MAX]; /* [columns][columns] */
    uint64_t columns[TENSORS_MAX], tokens[TENSORS_MAX];
};

static tsr_status add_rows(void *ctx, uint64_t index, const float *x, uint64_t tokens, uint64_t columns,
                           tsr_error *err) {
    struct sums *sums = ctx;
    (void)err;
    CU_ASSERT_FATAL(index < TENSORS_MAX);
    if (!sums->products[index]) sums->products[index] = mem_alloc_zero(columns * columns, sizeof(double));
    sums->columns[index] = columns;
    sums->tokens[index] += tokens;
    for (uint64_t t = 0; t < tokens; t++) {
        const float *row = x + t * columns;
        for (uint64_t i = 0; i < columns; i++) {
            for (uint64_t j = 0; j < columns; j++) {
                sums->products[index][i * columns + j] += (double)row[i] * (double)row[j];
            }
        }
    }
    return TSR_OK;
}

static tsr_status drop_logits(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                              tsr_error *err) {
    (void)ctx, (void)first, (void)logits, (void)tokens, (void)vocabulary, (void)err;
    return TSR_OK;
}

static void sum_inputs(const struct open_model *model, struct sums *sums) {
    const tsr_hooks hooks = {.struct_size = sizeof hooks, .ctx = sums, .linear_input = add_rows, .logits = drop_logits};
    const struct token_run text = make_text();
    for (uint64_t at = 0; at < text.count; at += WINDOW) {
        uint64_t count = text.count - at < WINDOW ? text.count - at : WINDOW;
        void *sequence = NULL;
        CU_ASSERT_EQUAL_FATAL(model->plugin->sequence_create(model->self, count, &sequence, NULL), TSR_OK);
        CU_ASSERT_EQUAL_FATAL(
            model->plugin->forward(model->self, sequence, text.tokens + at, count, &hooks, NULL, NULL), TSR_OK);
        model->plugin->sequence_destroy(model->self, sequence);
    }
}

/* Largest difference between a tensor's statistics and its sums, in units of the RMS of row and column. */
static double worst_difference(const struct calibration *stats, const struct calibration_input *input,
                               const double *products) {
    uint64_t n = input->columns;
    double worst = 0, tokens = (double)input->tokens;
    float *moment = mem_alloc_array(n * n, sizeof *moment), *diagonal = mem_alloc_array(n, sizeof *diagonal);
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate_read_moment(stats, input, moment, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(calibrate_read_diagonal(stats, input, diagonal, &err), TSR_OK);
    for (uint64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs(diagonal[i] / (products[i * n + i] / tokens) - 1));
        CU_ASSERT(moment[i * n + i] == diagonal[i]);
        for (uint64_t j = 0; j < n; j++) {
            double unit = sqrt(products[i * n + i] * products[j * n + j]) / tokens;
            worst = fmax(worst, fabs((double)moment[i * n + j] - products[i * n + j] / tokens) / unit);
            CU_ASSERT(moment[i * n + j] == moment[j * n + i]);
        }
    }
    mem_free(moment);
    mem_free(diagonal);
    return worst;
}

static void check_values(const char *fixture, bool experts) {
    struct sums *sums = mem_alloc_zero(1, sizeof *sums);
    struct calibrate_result result;
    struct calibration stats = {0};
    struct open_model model;
    struct digest digest;
    char path[256];
    tsr_error err = {0};
    uint64_t checked = 0, fewer = 0;
    (void)snprintf(path, sizeof path, FIXTURES "%s", fixture);
    CU_ASSERT_EQUAL_FATAL(calibrate(fixture, 4096, &env, in_folder("values"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(model_open(path, registry, &PATHS, &env, &model, &err), TSR_OK);
    sum_inputs(&model, sums);
    CU_ASSERT_EQUAL_FATAL(model_digest(&model.reader, &env, &digest, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(calibrate_open(in_folder("values"), &digest, &stats, &err), TSR_OK);
    CU_ASSERT_EQUAL(stats.tokens, TOKENS);
    const tsr_weights *table = model_weights_table(model.weights);
    for (uint64_t i = 0; i < table->count(table->ctx); i++) {
        struct calibration_input input;
        bool found = false;
        const char *name = table->tensor(table->ctx, i)->name;
        CU_ASSERT_EQUAL(calibrate_find(&stats, name, sums->columns[i], &input, &found, &err), TSR_OK);
        CU_ASSERT_EQUAL(found, sums->tokens[i] > 0);
        if (!found) continue;
        double worst = worst_difference(&stats, &input, sums->products[i]);
        if (worst > 1e-5) printf("  %s: %s: %g\n", fixture, name, worst);
        CU_ASSERT(worst < 1e-5);
        CU_ASSERT_EQUAL(input.tokens, sums->tokens[i]);
        fewer += input.tokens < TOKENS;
        checked++;
        mem_free(sums->products[i]);
    }
    CU_ASSERT(checked > 10 && checked == result.tensors && checked == result.full);
    CU_ASSERT_EQUAL(fewer > 0, experts);
    calibrate_close(&stats);
    model_close(&model);
    mem_free(sums);
}

static void moments_are_the_means_of_products(void) {
    check_values("llama-tied", false);
    check_values("gpt2-bare", false);
    check_values("qwen2_moe", true);
}

/* ---- one result ---- */

static bool same_bytes(const char *a, const char *b) {
    char *x = NULL, *y = NULL;
    uint64_t size_x = 0, size_y = 1;
    bool same = fs_read_whole(a, 1 << 28, &x, &size_x, NULL) == TSR_OK &&
                fs_read_whole(b, 1 << 28, &y, &size_y, NULL) == TSR_OK && size_x == size_y && !memcmp(x, y, size_x);
    mem_free(x);
    mem_free(y);
    return same;
}

static void bytes_do_not_depend_on_passes_or_workers(void) {
    static const struct {
        uint64_t workers, memory, passes_min;
    } WAYS[] = {{1, 0, 1}, {3, 0, 1}, {1, 40000, 3}, {2, 1, 10}};
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("qwen3-tied", 4096, &env, in_folder("whole"), &result, &err), TSR_OK);
    for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++) {
        struct env other = {.pool = pool_create(WAYS[i].workers), .memory_bytes = WAYS[i].memory};
        CU_ASSERT_EQUAL(calibrate("qwen3-tied", 4096, &other, in_folder("other"), &result, &err), TSR_OK);
        CU_ASSERT(result.passes >= WAYS[i].passes_min);
        CU_ASSERT(same_bytes(in_folder("whole"), in_folder("other")));
        CU_ASSERT_EQUAL(fs_kind_of(in_folder("other.tessera-work")), FS_ABSENT);
        pool_destroy(other.pool);
    }
}

static void only_narrow_inputs_get_a_matrix(void) {
    struct calibrate_result result;
    struct calibration stats = {0};
    struct calibration_input narrow, wide;
    bool found;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("llama-tied", 64, &env, in_folder("narrow"), &result, &err), TSR_OK);
    CU_ASSERT(result.full > 0 && result.full < result.tensors);
    CU_ASSERT_EQUAL_FATAL(calibrate_open(in_folder("narrow"), NULL, &stats, &err), TSR_OK);
    const struct safetensors_entry *down =
        safetensors_find(&stats.st, "model.layers.0.mlp.down_proj.weight" STATS_DIAGONAL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(down);
    CU_ASSERT(down->shape[0] > 64);
    CU_ASSERT_EQUAL(calibrate_find(&stats, "model.layers.0.mlp.down_proj.weight", down->shape[0], &wide, &found, &err),
                    TSR_OK);
    CU_ASSERT(found && !wide.moment);
    CU_ASSERT_EQUAL(calibrate_find(&stats, "model.layers.0.mlp.up_proj.weight", 64, &narrow, &found, &err), TSR_OK);
    CU_ASSERT(found && narrow.moment);
    /* Asked for with another number of inputs, they are not those of that weight. */
    CU_ASSERT_EQUAL(calibrate_find(&stats, "model.layers.0.mlp.up_proj.weight", 63, &narrow, &found, &err),
                    TSR_E_INPUT);
    calibrate_close(&stats);
    CU_ASSERT_EQUAL_FATAL(calibrate("llama-tied", 0, &env, in_folder("diagonal"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL(result.full, 0);
    CU_ASSERT_EQUAL(result.passes, 1);
}

/* ---- ends in the middle ---- */

struct stopping {
    atomic_int cancel;
    const char *stage;
};

static void stop_in_stage(void *ctx, const struct progress *progress) {
    struct stopping *stopping = ctx;
    if (!strcmp(progress->stage, stopping->stage)) atomic_store(&stopping->cancel, 1);
}

static void an_end_in_the_middle_is_continued(void) {
    struct stopping stopping = {.stage = "calibrate, pass 4"};
    struct env stops = {
        .pool = env.pool, .memory_bytes = 1, .progress = stop_in_stage, .ctx = &stopping, .cancel = &stopping.cancel};
    struct env goes_on = {.pool = env.pool, .memory_bytes = 1};
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("qwen3-tied", 4096, &env, in_folder("whole"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL(calibrate("qwen3-tied", 4096, &stops, in_folder("out"), &result, &err), TSR_E_CANCELLED);
    CU_ASSERT_EQUAL(fs_kind_of(in_folder("out")), FS_ABSENT);
    /* The third pass was torn as well: it does not count. */
    struct fs_output torn = {0};
    CU_ASSERT_EQUAL_FATAL(fs_reopen(in_folder("out.tessera-work/parts/pass-0002.safetensors"), 300, &torn, &err),
                          TSR_OK);
    CU_ASSERT_EQUAL(fs_finish(&torn, &err), TSR_OK);
    CU_ASSERT_EQUAL(calibrate("qwen3-tied", 4096, &goes_on, in_folder("out"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL(result.resumed, 2);
    CU_ASSERT(same_bytes(in_folder("whole"), in_folder("out")));
    CU_ASSERT_EQUAL(fs_kind_of(in_folder("out.tessera-work")), FS_ABSENT);
}

static void passes_of_another_job_are_not_taken(void) {
    struct stopping stopping = {.stage = "calibrate, pass 3"};
    struct env stops = {
        .pool = env.pool, .memory_bytes = 1, .progress = stop_in_stage, .ctx = &stopping, .cancel = &stopping.cancel};
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("llama-tied", 4096, &env, in_folder("whole"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL(calibrate("qwen3-tied", 4096, &stops, in_folder("mixed"), &result, &err), TSR_E_CANCELLED);
    CU_ASSERT_EQUAL(calibrate("llama-tied", 4096, &env, in_folder("mixed"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL(result.resumed, 0);
    CU_ASSERT(same_bytes(in_folder("whole"), in_folder("mixed")));
}

static void the_work_of_a_compression_is_left_alone(void) {
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(fs_make_folder(in_folder("busy.tessera-work"), &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_replace(in_folder("busy.tessera-work/journal"), "x", 1, &err), TSR_OK);
    CU_ASSERT_EQUAL(calibrate("llama-tied", 0, &env, in_folder("busy"), &result, &err), TSR_E_CONFIG);
    CU_ASSERT_EQUAL(fs_kind_of(in_folder("busy.tessera-work/journal")), FS_FILE);
}

/* ---- foreign statistics ---- */

static void statistics_of_another_model_are_refused(void) {
    struct calibrate_result result;
    struct calibration stats = {0};
    struct digest other = digest_of("another", 7);
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("llama-tied", 0, &env, in_folder("mine"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL(calibrate_open(in_folder("mine"), &other, &stats, &err), TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "another model"));
    calibrate_close(&stats);
    CU_ASSERT_EQUAL(calibrate_open(FIXTURES "llama-tied/model.safetensors", NULL, &stats, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "no statistics"));
    calibrate_close(&stats);
}

static void values_that_are_no_moments_are_refused(void) {
    static const float BAD[] = {-1.0f, NAN, INFINITY};
    static const char NAME[] = "model.layers.0.mlp.up_proj.weight";
    struct calibrate_result result;
    struct calibration_input input;
    bool found;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("llama-tied", 4096, &env, in_folder("bad"), &result, &err), TSR_OK);
    for (int i = 0; i < 3; i++) {
        struct calibration stats = {0};
        struct fs_output file = {0};
        float values[64], *moment = mem_alloc_array(64 * 64, sizeof *moment);
        CU_ASSERT_EQUAL_FATAL(calibrate_open(in_folder("bad"), NULL, &stats, &err), TSR_OK);
        CU_ASSERT_EQUAL_FATAL(calibrate_find(&stats, NAME, 64, &input, &found, &err), TSR_OK);
        CU_ASSERT_EQUAL(fs_reopen(in_folder("bad"), stats.st.file.size, &file, &err), TSR_OK);
        CU_ASSERT_EQUAL(fs_write_at(&file, input.diagonal->offset + 20, &BAD[i], 4, &err), TSR_OK);
        CU_ASSERT_EQUAL(fs_write_at(&file, input.moment->offset + 20, &BAD[i], 4, &err), TSR_OK);
        CU_ASSERT_EQUAL(fs_finish(&file, &err), TSR_OK);
        CU_ASSERT_EQUAL(calibrate_read_diagonal(&stats, &input, values, &err), TSR_E_INPUT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, NAME));
        CU_ASSERT_EQUAL(calibrate_read_moment(&stats, &input, moment, &err), i ? TSR_E_INPUT : TSR_OK);
        mem_free(moment);
        calibrate_close(&stats);
    }
}

static const struct unit_test TESTS[] = {
    {"moments_are_the_means_of_products", moments_are_the_means_of_products},
    {"bytes_do_not_depend_on_passes_or_workers", bytes_do_not_depend_on_passes_or_workers},
    {"only_narrow_inputs_get_a_matrix", only_narrow_inputs_get_a_matrix},
    {"an_end_in_the_middle_is_continued", an_end_in_the_middle_is_continued},
    {"passes_of_another_job_are_not_taken", passes_of_another_job_are_not_taken},
    {"the_work_of_a_compression_is_left_alone", the_work_of_a_compression_is_left_alone},
    {"statistics_of_another_model_are_refused", statistics_of_another_model_are_refused},
    {"values_that_are_no_moments_are_refused", values_that_are_no_moments_are_refused},
};

int main(void) {
    int result = set_up() ? unit_run(__FILE__, TESTS, sizeof TESTS / sizeof TESTS[0]) : 1;
    registry_destroy(registry);
    pool_destroy(env.pool);
    (void)fs_remove_tree(folder, NULL);
    return result;
}
