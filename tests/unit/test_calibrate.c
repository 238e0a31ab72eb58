/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics of calibrate against sums made here from every input that the model reports; and that their bytes depend
 * on nothing but model, text and options: not on memory, workers, or an end in the middle. */
#include "unit.h"
#include "unit_plugins.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/pool.h>
#include <base/str.h>
#include <math.h>
#include <measure/calibrate_read.h>
#include <measure/fisher.h>
#include <pipeline/calibrate.h>
#include <pipeline/statistics.h>
#include <reading/model_digest.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURES "tests/data/causal-lm/"
#define TOKENS 60
#define WINDOW 24
#define FISHER_TOKENS 30 /* two windows of the three */
#define TENSORS_MAX 512

static struct env env;
static struct registry *registry;
static char folder[] = "/tmp/tessera-calibrate-XXXXXX";
static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};

static bool set_up(void) {
    return mkdtemp(folder) && unit_plugins(&env, &registry);
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

static tsr_status calibrate_with(const char *path, const struct token_run *text, const struct calibrate_options *options,
                                 const struct env *with, const char *output, struct calibrate_result *result,
                                 tsr_error *err) {
    struct open_model model;
    tsr_status st = model_open(path, registry, &PATHS, with, &model, err);
    if (st == TSR_OK) st = calibrate_run(&model, text, options, output, with, result, err);
    if (st != TSR_OK) printf("  %s: %d %s\n", path, st, err->message);
    model_close(&model);
    return st;
}

static tsr_status calibrate(const char *fixture, uint64_t full_max, const struct env *with, const char *output,
                            struct calibrate_result *result, tsr_error *err) {
    const struct token_run text = make_text();
    const struct calibrate_options options = {
        .window = WINDOW, .full_max = full_max, .fisher_tokens = FISHER_TOKENS, .seed = 3};
    char path[256];
    (void)snprintf(path, sizeof path, FIXTURES "%s", fixture);
    return calibrate_with(path, &text, &options, with, output, result, err);
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

/* ---- the way back ---- */

/* Tokens of a golden text; the list is long enough for all fixtures. */
static struct token_run golden_text(const char *fixture) {
    static uint32_t tokens[TENSORS_MAX];
    struct safetensors golden = {0};
    uint8_t bytes[TENSORS_MAX * 8];
    char path[256];
    (void)snprintf(path, sizeof path, FIXTURES "%s/golden.safetensors", fixture);
    CU_ASSERT_EQUAL_FATAL(safetensors_open(path, &golden, NULL), TSR_OK);
    const struct safetensors_entry *ids = safetensors_find(&golden, "input_ids");
    CU_ASSERT_FATAL(ids && ids->bytes <= sizeof bytes);
    CU_ASSERT_EQUAL_FATAL(fs_read_at(&golden.file, ids->offset, bytes, ids->bytes, NULL), TSR_OK);
    for (uint64_t i = 0; i < ids->bytes / 8; i++) tokens[i] = (uint32_t)load_le(bytes + 8 * i, 8);
    struct token_run text = {tokens, ids->bytes / 8};
    safetensors_close(&golden);
    return text;
}

/* Tensors of `golden` that `stats` has too, within 1e-3 of their mean. */
static uint64_t agreeing(const struct safetensors *stats, const struct safetensors *golden) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < golden->count; i++) {
        const struct safetensors_entry *wanted = &golden->entries[i], *found = safetensors_find(stats, wanted->name);
        if (!found || found->bytes != wanted->bytes || found->dtype != TSR_DTYPE_F32) continue;
        uint64_t n = wanted->bytes / 4;
        float *x = mem_alloc_array(n, sizeof *x), *y = mem_alloc_array(n, sizeof *y);
        double mean = 0, worst = 0;
        CU_ASSERT_EQUAL_FATAL(fs_read_at(&golden->file, wanted->offset, x, wanted->bytes, NULL), TSR_OK);
        CU_ASSERT_EQUAL_FATAL(fs_read_at(&stats->file, found->offset, y, found->bytes, NULL), TSR_OK);
        for (uint64_t j = 0; j < n; j++) mean += (double)x[j] / (double)n;
        for (uint64_t j = 0; j < n; j++) worst = fmax(worst, fabs((double)x[j] - (double)y[j]) / mean);
        if (worst > 1e-3) printf("  %s: %g\n", wanted->name, worst);
        count += worst <= 1e-3;
        mem_free(x);
        mem_free(y);
    }
    return count;
}

/* Labels drawn here from our logits, and there from PyTorch's: the same, or nothing agrees. */
static void fisher_values_are_those_of_the_script(void) {
    static const char *const fixtures[] = {"llama-tied", "gpt2-bare", "mixtral", "opt-postnorm"};
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++) {
        struct safetensors stats = {0}, golden = {0};
        struct calibrate_result result;
        const struct token_run text = golden_text(fixtures[i]);
        const struct calibrate_options options = {.window = text.count, .fisher_tokens = text.count, .seed = 7};
        char path[256], golden_path[256];
        tsr_error err = {0};
        (void)snprintf(path, sizeof path, FIXTURES "%s", fixtures[i]);
        (void)snprintf(golden_path, sizeof golden_path, "tests/data/causal-lm-fisher/%s.safetensors", fixtures[i]);
        CU_ASSERT_EQUAL_FATAL(calibrate_with(path, &text, &options, &env, in_folder("fisher"), &result, &err), TSR_OK);
        CU_ASSERT_EQUAL(result.fisher_tokens, text.count);
        CU_ASSERT_EQUAL_FATAL(safetensors_open(in_folder("fisher"), &stats, &err), TSR_OK);
        CU_ASSERT_EQUAL_FATAL(safetensors_open(golden_path, &golden, &err), TSR_OK);
        uint64_t values = 0;
        for (uint64_t j = 0; j < golden.count; j++) values += golden.entries[j].dtype == TSR_DTYPE_F32;
        CU_ASSERT(values > 10);
        CU_ASSERT_EQUAL(agreeing(&stats, &golden), values);
        CU_ASSERT_STRING_EQUAL(safetensors_metadata(&stats, STATS_KEY_FISHER_SEED), "7");
        safetensors_close(&stats);
        safetensors_close(&golden);
    }
}

#define EXPERT "model.layers.1.mlp.experts.3.up_proj.weight"

/* An expert's output counts as often as tokens pass it: the share is in what encoders get. */
static void experts_count_by_their_share_of_tokens(void) {
    struct statistics statistics = {0};
    struct calibrate_result result;
    float plain[256] = {0}, weighed[256] = {0};
    bool found;
    double share;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("qwen2_moe", 0, &env, in_folder("experts"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(statistics_open(in_folder("experts"), &statistics, &err), TSR_OK);
    const struct calibration *stats = &statistics.calibration;
    const struct safetensors_entry *entry = safetensors_find(&stats->st, EXPERT STATS_FISHER);
    CU_ASSERT_FATAL(entry && entry->shape[0] <= 256);
    CU_ASSERT_EQUAL(calibrate_read_fisher(stats, EXPERT, STATS_FISHER, entry->shape[0], plain, &found, &err), TSR_OK);
    CU_ASSERT_EQUAL(calibrate_fisher_share(stats, EXPERT, &share, &err), TSR_OK);
    CU_ASSERT(found && share > 0 && share < 1);
    CU_ASSERT_EQUAL(statistics.operations.fisher(&statistics, EXPERT, entry->shape[0], weighed, &found, &err), TSR_OK);
    for (uint64_t r = 0; r < entry->shape[0]; r++) {
        CU_ASSERT(fabs((double)weighed[r] - share * (double)plain[r]) <= 1e-6 * (double)plain[r]);
    }
    CU_ASSERT_EQUAL(calibrate_fisher_share(&statistics.calibration, "model.embed_tokens.weight", &share, &err), TSR_OK);
    CU_ASSERT(share == 1);
    statistics_close(&statistics);
}

static void labels_follow_the_distribution(void) {
    static const float LOGITS[] = {-INFINITY, 1.0f, 2.0f, -1.0f, 2.0f};
    double weights[5], sum, share[5] = {0};
    for (uint64_t i = 0; i < 20000; i++) share[fisher_label(LOGITS, 5, 11, i, weights, &sum)] += 1 / 20000.0;
    for (int i = 0; i < 5; i++) CU_ASSERT(fabs(share[i] - weights[i] / sum) < 0.01);
    CU_ASSERT(share[0] == 0);
}

static void windows_backwards_are_spread_over_the_text(void) {
    struct fisher_options options = {.window = 10, .tokens = 25};
    CU_ASSERT_EQUAL(fisher_tokens(&options, 100), 30);
    CU_ASSERT_EQUAL(fisher_tokens(&options, 25), 25);
    CU_ASSERT_EQUAL(fisher_tokens(&options, 7), 7);
    options.tokens = 0;
    CU_ASSERT_EQUAL(fisher_tokens(&options, 100), 0);
}

/* A copy of a fixture with another size of the vocabulary. */
static void copy_with_vocabulary(const char *fixture, const char *from, const char *to, const char *target) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    CU_ASSERT_EQUAL_FATAL(fs_make_folder(target, NULL), TSR_OK);
    for (int i = 0; i < 2; i++) {
        char source[256], copy[256], *bytes = NULL;
        uint64_t size = 0;
        (void)snprintf(source, sizeof source, FIXTURES "%s/%s", fixture, files[i]);
        (void)snprintf(copy, sizeof copy, "%s/%s", target, files[i]);
        CU_ASSERT_EQUAL_FATAL(fs_read_whole(source, 1 << 28, &bytes, &size, NULL), TSR_OK);
        char *at = i ? NULL : strstr(bytes, from);
        CU_ASSERT_FATAL(i || (at && strlen(from) == strlen(to)));
        if (at) memcpy(at, to, strlen(to));
        CU_ASSERT_EQUAL_FATAL(fs_replace(copy, bytes, size, NULL), TSR_OK);
        mem_free(bytes);
    }
}

static void without_a_reverse_pass_inputs_are_kept_and_it_says_so(void) {
    const struct token_run text = make_text();
    const struct calibrate_options options = {.window = WINDOW, .fisher_tokens = FISHER_TOKENS};
    struct calibrate_result result;
    struct safetensors stats = {0};
    tsr_error err = {0};
    copy_with_vocabulary("llama-tied", "\"vocab_size\": 384", "\"vocab_size\": 383", in_folder("larger"));
    CU_ASSERT_EQUAL_FATAL(calibrate_with(in_folder("larger"), &text, &options, &env, in_folder("inputs"), &result, &err), TSR_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.fisher_missing, "no reverse pass for an output matrix"));
    CU_ASSERT(result.tensors > 10 && result.fisher_tensors == 0 && result.fisher_tokens == 0);
    CU_ASSERT_EQUAL_FATAL(safetensors_open(in_folder("inputs"), &stats, &err), TSR_OK);
    CU_ASSERT_STRING_EQUAL(safetensors_metadata(&stats, STATS_KEY_FISHER_MISSING), result.fisher_missing);
    CU_ASSERT_STRING_EQUAL(safetensors_metadata(&stats, STATS_KEY_FISHER_TOKENS), "0");
    safetensors_close(&stats);
}

/* The statistics of inputs name the operator behind the one that gave infinities, and so does the way back by itself. */
static void values_that_are_not_finite_name_the_place(void) {
    static const uint8_t HUGE_BF16[] = {0x7F, 0x7F};
    const struct token_run text = make_text();
    const struct calibrate_options options = {.window = WINDOW, .fisher_tokens = FISHER_TOKENS};
    struct calibrate_result result;
    struct safetensors weights = {0};
    struct fs_output file = {0};
    struct fisher fisher = {0};
    struct open_model model;
    char path[256];
    tsr_error err = {0};
    copy_with_vocabulary("llama-tied", "\"vocab_size\": 384", "\"vocab_size\": 384", in_folder("huge"));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", in_folder("huge"));
    CU_ASSERT_EQUAL_FATAL(safetensors_open(path, &weights, &err), TSR_OK);
    const struct safetensors_entry *entry = safetensors_find(&weights, "model.layers.1.mlp.down_proj.weight");
    CU_ASSERT_FATAL(entry && entry->dtype == TSR_DTYPE_BF16);
    CU_ASSERT_EQUAL_FATAL(fs_reopen(path, weights.file.size, &file, &err), TSR_OK);
    for (uint64_t i = 0; i < 64; i += 2) {
        CU_ASSERT_EQUAL_FATAL(fs_write_at(&file, entry->offset + i, HUGE_BF16, 2, &err), TSR_OK);
    }
    CU_ASSERT_EQUAL_FATAL(fs_finish(&file, &err), TSR_OK);
    safetensors_close(&weights);
    CU_ASSERT_EQUAL(calibrate_with(in_folder("huge"), &text, &options, &env, in_folder("none"), &result, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "model.layers.2.self_attn.q_proj.weight\": its input "));
    CU_ASSERT_EQUAL_FATAL(model_open(in_folder("huge"), registry, &PATHS, &env, &model, &err), TSR_OK);
    const struct fisher_options backwards = {WINDOW, WINDOW, 0};
    CU_ASSERT_EQUAL(fisher_gather(&model, &text, &backwards, NULL, &env, &fisher, &err), TSR_E_INPUT);
    CU_ASSERT_STRING_EQUAL(err.message, "token 0 of the text: its logits are not finite");
    fisher_clear(&fisher);
    model_close(&model);
}

static void weights_with_few_tokens_are_counted(void) {
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("llama-tied", 0, &env, in_folder("few"), &result, &err), TSR_OK);
    CU_ASSERT_EQUAL(result.narrow, result.tensors); /* 64 columns and more */
    CU_ASSERT_EQUAL(result.dead_columns, 0);
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

/* The least bound that is accepted, as the refusal of a lower one names it. */
static uint64_t least_memory(const char *fixture, struct pool *pool) {
    struct env low = {.pool = pool, .memory_bytes = 1};
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(calibrate(fixture, 4096, &low, in_folder("refused"), &result, &err), TSR_E_CONFIG);
    const char *takes = strstr(err.message, "it takes ");
    CU_ASSERT_PTR_NOT_NULL_FATAL(takes);
    return strtoull(takes + strlen("it takes "), NULL, 10);
}

static void a_bound_that_cannot_be_kept_is_refused(void) {
    struct env tight = {.pool = env.pool, .memory_bytes = least_memory("qwen3-tied", env.pool) - 1};
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(calibrate("qwen3-tied", 4096, &tight, in_folder("refused"), &result, &err), TSR_E_CONFIG);
    CU_ASSERT_EQUAL(fs_kind_of(in_folder("refused")), FS_ABSENT);
    tight.memory_bytes++;
    CU_ASSERT_EQUAL(calibrate("qwen3-tied", 4096, &tight, in_folder("accepted"), &result, &err), TSR_OK);
}

static void bytes_do_not_depend_on_passes_or_workers(void) {
    static const struct {
        uint64_t workers;
        bool least;
        uint64_t passes_min;
    } WAYS[] = {{1, false, 1}, {3, false, 1}, {1, true, 3}, {2, true, 3}};
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("qwen3-tied", 4096, &env, in_folder("whole"), &result, &err), TSR_OK);
    for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++) {
        struct env other = {.pool = pool_create(WAYS[i].workers)};
        other.memory_bytes = WAYS[i].least ? least_memory("qwen3-tied", other.pool) : 0;
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
    uint64_t after; /* windows */
};

static void stop_in_stage(void *ctx, const struct progress *progress) {
    struct stopping *stopping = ctx;
    if (!strcmp(progress->stage, stopping->stage) && progress->done_items >= stopping->after) atomic_store(&stopping->cancel, 1);
}

static void an_end_in_the_middle_is_continued(void) {
    const uint64_t least = least_memory("qwen3-tied", env.pool);
    struct stopping stopping = {.stage = "calibrate", .after = 3 + 1}; /* in the second layer */
    struct env stops = {
        .pool = env.pool, .memory_bytes = least, .progress = stop_in_stage, .ctx = &stopping, .cancel = &stopping.cancel};
    struct env goes_on = {.pool = env.pool, .memory_bytes = least};
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

/* The pass backwards is the last, and is not begun again for the passes before it. */
static void an_end_on_the_way_back_keeps_the_passes(void) {
    const uint64_t least = least_memory("qwen3-tied", env.pool);
    struct stopping stopping = {.stage = "calibrate, backwards", .after = 5};
    struct env stops = {
        .pool = env.pool, .memory_bytes = least, .progress = stop_in_stage, .ctx = &stopping, .cancel = &stopping.cancel};
    struct env goes_on = {.pool = env.pool};
    struct calibrate_result result;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(calibrate("qwen3-tied", 4096, &env, in_folder("whole"), &result, &err), TSR_OK);
    CU_ASSERT(result.fisher_tensors > 10);
    CU_ASSERT_EQUAL(result.fisher_tokens, 2 * WINDOW);
    CU_ASSERT_EQUAL(calibrate("qwen3-tied", 4096, &stops, in_folder("back"), &result, &err), TSR_E_CANCELLED);
    CU_ASSERT_EQUAL(calibrate("qwen3-tied", 4096, &goes_on, in_folder("back"), &result, &err), TSR_OK);
    CU_ASSERT(result.resumed > result.passes && result.passes >= 3);
    CU_ASSERT(same_bytes(in_folder("whole"), in_folder("back")));
}

static void passes_of_another_job_are_not_taken(void) {
    struct stopping stopping = {.stage = "calibrate", .after = 3 + 1};
    struct env stops = {
        .pool = env.pool, .progress = stop_in_stage, .ctx = &stopping, .cancel = &stopping.cancel};
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
    {"a_bound_that_cannot_be_kept_is_refused", a_bound_that_cannot_be_kept_is_refused},
    {"bytes_do_not_depend_on_passes_or_workers", bytes_do_not_depend_on_passes_or_workers},
    {"only_narrow_inputs_get_a_matrix", only_narrow_inputs_get_a_matrix},
    {"fisher_values_are_those_of_the_script", fisher_values_are_those_of_the_script},
    {"experts_count_by_their_share_of_tokens", experts_count_by_their_share_of_tokens},
    {"labels_follow_the_distribution", labels_follow_the_distribution},
    {"windows_backwards_are_spread_over_the_text", windows_backwards_are_spread_over_the_text},
    {"without_a_reverse_pass_inputs_are_kept_and_it_says_so", without_a_reverse_pass_inputs_are_kept_and_it_says_so},
    {"values_that_are_not_finite_name_the_place", values_that_are_not_finite_name_the_place},
    {"weights_with_few_tokens_are_counted", weights_with_few_tokens_are_counted},
    {"an_end_in_the_middle_is_continued", an_end_in_the_middle_is_continued},
    {"an_end_on_the_way_back_keeps_the_passes", an_end_on_the_way_back_keeps_the_passes},
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
