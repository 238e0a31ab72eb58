/* SPDX-License-Identifier: Apache-2.0
 *
 * Gradients of the reverse pass, twice: against differences of a loss when one output of one operator is moved in a real
 * forward (the families that must have a reverse), and against what PyTorch computes through the official classes (all
 * fixtures, tests/data/causal-lm-fisher). */
#include "unit.h"
#include "unit_plugins.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/pool.h>
#include <base/str.h>
#include <math.h>
#include <model/model_open.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/ext/reverse.h>

#define FIXTURES "tests/data/causal-lm"
#define VARIANTS "tests/data/causal-lm-variants"
#define FISHER "tests/data/causal-lm-fisher" /* made by make_fisher.py there */
#define TOKENS_MAX 64
#define TENSORS_MAX 512
#define OPERATORS_MAX 1024
/* Of the mean of a tensor's values. F32 gradients of 48 tokens; what is misread shows at 1e-2 and more. */
#define TOLERANCE 1e-3

static struct env env;
static struct registry *registry;
static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};

/* ---- a loss, and what the model says of it ---- */

struct text {
    uint32_t tokens[TOKENS_MAX], labels[TOKENS_MAX];
    uint64_t count;
};

struct gathered {
    const struct text *text;
    double loss;
    /* by tensor; one window */
    float *gradient[TENSORS_MAX]; /* [tokens][rows] */
    uint64_t tokens[TENSORS_MAX], rows[TENSORS_MAX];
    double *looked_up[TENSORS_MAX]; /* [rows of the table]: sums of mean squares */
    const tsr_weights *table;
};

/* Negative log likelihood of the labels, and softmax minus one at the label. */
static double loss_of(const struct text *text, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                      float *gradient) {
    double loss = 0;
    for (uint64_t t = 0; t < tokens; t++, logits += vocabulary) {
        double largest = -INFINITY, sum = 0;
        uint32_t label = text->labels[first + t];
        for (uint64_t i = 0; i < vocabulary; i++) largest = fmax(largest, (double)logits[i]);
        for (uint64_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i] - largest);
        loss += log(sum) + largest - (double)logits[label];
        for (uint64_t i = 0; i < vocabulary && gradient; i++) {
            gradient[t * vocabulary + i] = (float)(exp((double)logits[i] - largest) / sum - (i == label));
        }
    }
    return loss;
}

static tsr_status make_gradient(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                                float *gradient, tsr_error *err) {
    struct gathered *gathered = ctx;
    (void)err;
    gathered->loss += loss_of(gathered->text, first, logits, tokens, vocabulary, gradient);
    return TSR_OK;
}

static tsr_status keep_gradient(void *ctx, uint64_t index, const float *gradient, uint64_t tokens, uint64_t rows,
                                tsr_error *err) {
    struct gathered *gathered = ctx;
    uint64_t before = gathered->tokens[index];
    (void)err;
    CU_ASSERT_FATAL(index < TENSORS_MAX && (before == 0 || gathered->rows[index] == rows));
    gathered->gradient[index] = mem_resize(gathered->gradient[index], (before + tokens) * rows, sizeof *gradient);
    memcpy(gathered->gradient[index] + before * rows, gradient, tokens * rows * sizeof *gradient);
    gathered->tokens[index] += tokens;
    gathered->rows[index] = rows;
    return TSR_OK;
}

static tsr_status keep_look_up(void *ctx, uint64_t index, const uint64_t *rows, const float *gradient, uint64_t tokens,
                               uint64_t columns, tsr_error *err) {
    struct gathered *gathered = ctx;
    uint64_t count = gathered->table->tensor(gathered->table->ctx, index)->rows;
    (void)err;
    if (!gathered->looked_up[index]) gathered->looked_up[index] = mem_alloc_zero(count, sizeof(double));
    for (uint64_t t = 0; t < tokens; t++) {
        CU_ASSERT_FATAL(rows[t] < count);
        for (uint64_t c = 0; c < columns; c++) {
            double g = (double)gradient[t * columns + c];
            gathered->looked_up[index][rows[t]] += g * g / (double)columns;
        }
    }
    return TSR_OK;
}

static void gathered_clear(struct gathered *gathered) {
    for (int i = 0; i < TENSORS_MAX; i++) {
        mem_free(gathered->gradient[i]);
        mem_free(gathered->looked_up[i]);
    }
    *gathered = (struct gathered){0};
}

static tsr_status run_back(const struct open_model *model, const struct text *text, struct gathered *gathered, tsr_error *err) {
    const tsr_reverse *reverse = model->plugin->get_extension(TSR_REVERSE_ID);
    const tsr_reverse_hooks hooks = {sizeof hooks, gathered, make_gradient, keep_gradient, keep_look_up};
    CU_ASSERT_PTR_NOT_NULL_FATAL(reverse);
    *gathered = (struct gathered){.text = text, .table = model_weights_table(model->weights)};
    tsr_status st = reverse->check(model->self, err);
    return st == TSR_OK ? reverse->run(model->self, text->tokens, text->count, &hooks, err) : st;
}

/* ---- against PyTorch ---- */

static bool read_longs(const struct safetensors *st, const char *name, uint32_t *values, uint64_t *count) {
    const struct safetensors_entry *entry = safetensors_find(st, name);
    uint8_t bytes[TOKENS_MAX * 8];
    if (!entry || entry->dtype != TSR_DTYPE_I64 || entry->bytes > sizeof bytes) return false;
    if (fs_read_at(&st->file, entry->offset, bytes, entry->bytes, NULL) != TSR_OK) return false;
    *count = entry->bytes / 8;
    for (uint64_t i = 0; i < *count; i++) values[i] = (uint32_t)load_le(bytes + 8 * i, 8);
    return true;
}

static float *read_floats(const struct safetensors *st, const char *name, const char *suffix, uint64_t *count) {
    char full[256];
    (void)snprintf(full, sizeof full, "%s%s", name, suffix);
    const struct safetensors_entry *entry = safetensors_find(st, full);
    if (!entry) return NULL;
    float *values = mem_alloc(entry->bytes);
    *count = entry->bytes / sizeof *values;
    CU_ASSERT_EQUAL_FATAL(fs_read_at(&st->file, entry->offset, values, entry->bytes, NULL), TSR_OK);
    return values;
}

static double worst_of(const float *expected, const double *found, uint64_t count) {
    double mean = 0, worst = 0;
    for (uint64_t i = 0; i < count; i++) mean += (double)expected[i] / (double)count;
    for (uint64_t i = 0; i < count; i++) worst = fmax(worst, fabs(found[i] - (double)expected[i]));
    return mean > 0 ? worst / mean : worst;
}

/* Fisher values of one tensor against the golden ones; -1 when one side has none and the other has. */
static double compare_outputs(const struct gathered *gathered, uint64_t index, const struct safetensors *golden,
                              const char *name) {
    uint64_t count = 0, rows = gathered->rows[index], tokens = gathered->tokens[index];
    float *expected = read_floats(golden, name, ".output_fisher", &count);
    double worst = -1, *found = mem_alloc_zero(rows + 1, sizeof *found);
    if (!expected && !tokens) worst = 0;
    if (expected && tokens && count == rows) {
        for (uint64_t i = 0; i < tokens * rows; i++) {
            double g = (double)gathered->gradient[index][i];
            found[i % rows] += g * g / (double)tokens;
        }
        worst = worst_of(expected, found, rows);
    }
    mem_free(expected);
    mem_free(found);
    return worst;
}

static double compare_look_ups(const struct gathered *gathered, uint64_t index, const struct safetensors *golden,
                               const char *name) {
    uint64_t count = 0;
    float *expected = read_floats(golden, name, ".lookup_fisher", &count);
    double worst = -1;
    if (!expected && !gathered->looked_up[index]) worst = 0;
    if (expected && gathered->looked_up[index]) {
        for (uint64_t i = 0; i < count; i++) gathered->looked_up[index][i] /= (double)gathered->text->count;
        worst = worst_of(expected, gathered->looked_up[index], count);
    }
    mem_free(expected);
    return worst;
}

static bool compare_fixture(const char *folder, const char *name, double *worst, tsr_error *err) {
    struct safetensors golden = {0}, fisher = {0};
    struct open_model model = {0};
    struct gathered *gathered = mem_alloc_zero(1, sizeof *gathered);
    struct text text = {0};
    char path[512], golden_path[600], fisher_path[600];
    uint64_t labels = 0, compared = 0;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)snprintf(golden_path, sizeof golden_path, "%s/golden.safetensors", path);
    (void)snprintf(fisher_path, sizeof fisher_path, FISHER "/%s.safetensors", name);
    bool good = safetensors_open(golden_path, &golden, err) == TSR_OK && safetensors_open(fisher_path, &fisher, err) == TSR_OK &&
                read_longs(&golden, "input_ids", text.tokens, &text.count) &&
                read_longs(&fisher, "labels", text.labels, &labels) && labels == text.count && model_open(path, registry, &PATHS, &env, &model, err) == TSR_OK &&
                run_back(&model, &text, gathered, err) == TSR_OK;
    for (uint64_t i = 0; good && i < gathered->table->count(gathered->table->ctx); i++) {
        const char *tensor = gathered->table->tensor(gathered->table->ctx, i)->name;
        double outputs = compare_outputs(gathered, i, &fisher, tensor), rows = compare_look_ups(gathered, i, &fisher, tensor);
        if (outputs < 0 || rows < 0 || outputs > TOLERANCE || rows > TOLERANCE) {
            printf("  %s: %s: outputs %g, look-ups %g\n", name, tensor, outputs, rows);
            good = false;
        }
        *worst = fmax(*worst, fmax(outputs, rows));
        compared += gathered->tokens[i] > 0;
    }
    gathered_clear(gathered);
    mem_free(gathered);
    model_close(&model);
    safetensors_close(&golden);
    safetensors_close(&fisher);
    return good && compared > 4;
}

/* One line of its own for each fixture, so that a failing family is named. */
static unsigned compare_folder(const char *folder) {
    struct fs_list list;
    unsigned count = 0;
    CU_ASSERT_EQUAL_FATAL(fs_list(folder, false, &list, NULL), TSR_OK);
    for (uint64_t i = 0; i < list.count; i++) {
        char path[512];
        double worst = 0;
        tsr_error err = {0};
        (void)snprintf(path, sizeof path, "%s/%s", folder, list.names[i]);
        if (fs_kind_of(path) != FS_FOLDER) continue;
        bool good = compare_fixture(folder, list.names[i], &worst, &err);
        printf("%s - fisher of %s (worst %.1e) %s\n", good ? "ok" : "not ok", list.names[i], worst, good ? "" : err.message);
        CU_ASSERT_TRUE(good);
        count++;
    }
    fs_list_clear(&list);
    return count;
}

static void fisher_values_match_pytorch(void) {
    CU_ASSERT_TRUE(compare_folder(FIXTURES) >= 33);
}

static void fisher_values_of_variants_match_pytorch(void) {
    CU_ASSERT_TRUE(compare_folder(VARIANTS) >= 30);
}

/* ---- against differences ---- */

/* A weights table that adds something to one output of one operator at one of the tokens that pass it. */
struct moving {
    tsr_weights table;
    const tsr_weights *real;
    const tsr_linear *operators[OPERATORS_MAX];
    uint64_t tensors[OPERATORS_MAX], rows[OPERATORS_MAX], operator_count;
    uint64_t tensor, token, row, passed; /* `passed`: tokens so far */
    float by;
};

static uint64_t count_of(void *ctx) {
    const struct moving *moving = ctx;
    return moving->real->count(moving->real->ctx);
}

static const tsr_tensor *tensor_of(void *ctx, uint64_t index) {
    const struct moving *moving = ctx;
    return moving->real->tensor(moving->real->ctx, index);
}

static tsr_status find_of(void *ctx, const char *name, uint64_t *index, tsr_error *err) {
    const struct moving *moving = ctx;
    return moving->real->find(moving->real->ctx, name, index, err);
}

static tsr_status read_of(void *ctx, uint64_t index, uint64_t first, uint64_t rows, float *dst, tsr_error *err) {
    const struct moving *moving = ctx;
    return moving->real->read_rows(moving->real->ctx, index, first, rows, dst, err);
}

static tsr_status linear_of(void *ctx, uint64_t index, uint64_t first, uint64_t rows, int32_t transposed, tsr_linear **made,
                            tsr_error *err) {
    struct moving *moving = ctx;
    tsr_status st = moving->real->linear(moving->real->ctx, index, first, rows, transposed, made, err);
    CU_ASSERT_FATAL(moving->operator_count < OPERATORS_MAX);
    moving->operators[moving->operator_count] = *made;
    moving->tensors[moving->operator_count] = index;
    moving->rows[moving->operator_count++] = rows;
    return st;
}

static tsr_status apply_of(void *ctx, tsr_linear *linear, const float *x, uint64_t tokens, float *y, tsr_error *err) {
    struct moving *moving = ctx;
    uint64_t i = 0;
    tsr_status st = moving->real->apply(moving->real->ctx, linear, x, tokens, y, err);
    while (moving->operators[i] != linear) i++;
    if (moving->tensors[i] != moving->tensor) return st;
    if (moving->token >= moving->passed && moving->token < moving->passed + tokens) {
        y[(moving->token - moving->passed) * moving->rows[i] + moving->row] += moving->by;
    }
    moving->passed += tokens;
    return st;
}

struct losing {
    const struct text *text;
    double loss;
};

static tsr_status add_loss(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                           tsr_error *err) {
    struct losing *losing = ctx;
    (void)err;
    losing->loss += loss_of(losing->text, first, logits, tokens, vocabulary, NULL);
    return TSR_OK;
}

/* The loss of a plain forward with one output moved. */
static double moved_loss(const tsr_model *plugin, void *self, struct moving *moving, const struct text *text, float by) {
    struct losing losing = {text, 0};
    const tsr_hooks hooks = {.struct_size = sizeof hooks, .ctx = &losing, .logits = add_loss};
    void *sequence = NULL;
    moving->by = by;
    moving->passed = 0;
    CU_ASSERT_EQUAL_FATAL(plugin->sequence_create(self, text->count, &sequence, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(plugin->forward(self, sequence, text->tokens, text->count, &hooks, NULL, NULL), TSR_OK);
    plugin->sequence_destroy(self, sequence);
    return losing.loss;
}

/* Moves the output with the largest gradient at the token in the middle of those that pass each operator. */
static double worst_difference(const struct open_model *model, void *self, struct moving *moving, const struct text *text,
                               const struct gathered *gathered) {
    const float step = 0.01f;
    double worst = 0;
    for (uint64_t i = 0; i < count_of(moving); i++) {
        if (!gathered->tokens[i]) continue;
        moving->tensor = i;
        moving->token = gathered->tokens[i] / 2;
        moving->row = 0;
        const float *g = gathered->gradient[i] + moving->token * gathered->rows[i];
        for (uint64_t r = 0; r < gathered->rows[i]; r++) {
            if (fabsf(g[r]) > fabsf(g[moving->row])) moving->row = r;
        }
        double above = moved_loss(model->plugin, self, moving, text, step);
        double below = moved_loss(model->plugin, self, moving, text, -step);
        double slope = (above - below) / (2 * (double)step), expected = (double)g[moving->row];
        double difference = fabs(slope - expected) / (fabs(expected) + 1e-2);
        if (difference > 2e-2) printf("  %s: %g, by differences %g\n", tensor_of(moving, i)->name, expected, slope);
        worst = fmax(worst, difference);
    }
    return worst;
}

static void compare_with_differences(const char *fixture) {
    struct open_model model = {0};
    struct gathered *gathered = mem_alloc_zero(1, sizeof *gathered);
    struct moving *moving = mem_alloc_zero(1, sizeof *moving);
    struct text text = {.count = 40};
    void *self = NULL;
    char path[256];
    tsr_error err = {0};
    for (uint32_t i = 0; i < text.count; i++) {
        text.tokens[i] = (i * 37 + 11) % 300;
        text.labels[i] = (i * 101 + 7) % 300;
    }
    (void)snprintf(path, sizeof path, FIXTURES "/%s", fixture);
    CU_ASSERT_EQUAL_FATAL(model_open(path, registry, &PATHS, &env, &model, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(run_back(&model, &text, gathered, &err), TSR_OK);
    moving->real = gathered->table;
    moving->table = (tsr_weights){.struct_size = offsetof(tsr_weights, linear_view), .ctx = moving, .count = count_of,
                                  .tensor = tensor_of, .find = find_of, .read_rows = read_of, .linear = linear_of,
                                  .apply = apply_of};
    const tsr_model_setup setup = {sizeof setup,    &model.services.host, &model.config,
                                   &model.families, &moving->table,       &model.parts};
    CU_ASSERT_EQUAL_FATAL(model.plugin->create(&setup, &self, &err), TSR_OK);
    double worst = worst_difference(&model, self, moving, &text, gathered);
    printf("%s - gradients of %s are differences (worst %.1e)\n", worst < 2e-2 ? "ok" : "not ok", fixture, worst);
    CU_ASSERT(worst < 2e-2);
    model.plugin->destroy(self);
    gathered_clear(gathered);
    mem_free(gathered);
    mem_free(moving);
    model_close(&model);
}

static void gradients_are_differences_of_the_loss(void) {
    static const char *const families[] = {"llama-tied", "qwen2-tied", "qwen3-tied", "gemma3_text",
                                           "phi3",       "gpt2-bare",  "mixtral"};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) compare_with_differences(families[i]);
}

/* ---- one result ---- */

static void gather_with(const char *fixture, struct env *with, const struct text *text, struct gathered *gathered) {
    struct open_model model = {0};
    char path[256];
    (void)snprintf(path, sizeof path, FIXTURES "/%s", fixture);
    CU_ASSERT_EQUAL_FATAL(model_open(path, registry, &PATHS, with, &model, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(run_back(&model, text, gathered, NULL), TSR_OK);
    model_close(&model);
}

static void gradients_do_not_depend_on_workers(void) {
    static const char *const fixtures[] = {"llama-tied", "qwen2_moe", "deepseek_v3", "gemma3_text"};
    struct env single = {.pool = pool_create(1)};
    struct text text = {.count = TOKENS_MAX};
    struct gathered *a = mem_alloc_zero(1, sizeof *a), *b = mem_alloc_zero(1, sizeof *b);
    for (uint32_t i = 0; i < text.count; i++) text.tokens[i] = text.labels[i] = (i * 37 + 11) % 300;
    for (size_t f = 0; f < sizeof fixtures / sizeof fixtures[0]; f++) {
        gather_with(fixtures[f], &env, &text, a);
        gather_with(fixtures[f], &single, &text, b);
        CU_ASSERT(a->loss == b->loss);
        for (int i = 0; i < TENSORS_MAX; i++) {
            CU_ASSERT_FATAL(a->tokens[i] == b->tokens[i] && a->rows[i] == b->rows[i]);
            if (!a->tokens[i]) continue;
            CU_ASSERT(!memcmp(a->gradient[i], b->gradient[i], a->tokens[i] * a->rows[i] * sizeof(float)));
        }
        gathered_clear(a);
        gathered_clear(b);
    }
    mem_free(a);
    mem_free(b);
    pool_destroy(single.pool);
}

static tsr_status refuse_second(void *ctx, uint64_t index, const float *gradient, uint64_t tokens, uint64_t rows,
                                tsr_error *err) {
    struct gathered *gathered = ctx;
    (void)index, (void)gradient, (void)tokens, (void)rows;
    return ++gathered->tokens[0] == 2 ? tsr_fail(err, TSR_E_LIMIT, "that is enough") : TSR_OK;
}

static void an_error_of_a_hook_ends_the_run(void) {
    struct open_model model = {0};
    struct text text = {.count = 5};
    struct gathered *gathered = mem_alloc_zero(1, sizeof *gathered);
    const tsr_reverse_hooks hooks = {sizeof hooks, gathered, make_gradient, refuse_second, NULL};
    tsr_error err = {0};
    gathered->text = &text;
    CU_ASSERT_EQUAL_FATAL(model_open(FIXTURES "/llama-tied", registry, &PATHS, &env, &model, &err), TSR_OK);
    const tsr_reverse *reverse = model.plugin->get_extension(TSR_REVERSE_ID);
    CU_ASSERT_EQUAL(reverse->run(model.self, text.tokens, text.count, &hooks, &err), TSR_E_LIMIT);
    CU_ASSERT_STRING_EQUAL(err.message, "that is enough");
    CU_ASSERT_EQUAL(gathered->tokens[0], 2);
    model_close(&model);
    mem_free(gathered);
}

/* The last window of a text may be as short as that. */
static void a_single_token_has_gradients(void) {
    static const char *const fixtures[] = {"llama-tied", "gpt2-bare", "mixtral", "deepseek_v3", "bloom"};
    const struct text text = {.tokens = {5}, .labels = {9}, .count = 1};
    struct gathered *gathered = mem_alloc_zero(1, sizeof *gathered);
    for (size_t f = 0; f < sizeof fixtures / sizeof fixtures[0]; f++) {
        double looked_up = 0;
        gather_with(fixtures[f], &env, &text, gathered);
        for (int i = 0; i < TENSORS_MAX; i++) {
            for (uint64_t j = 0; j < gathered->tokens[i] * gathered->rows[i]; j++) CU_ASSERT(isfinite(gathered->gradient[i][j]));
            if (gathered->looked_up[i]) looked_up += gathered->looked_up[i][5];
        }
        CU_ASSERT(looked_up > 0);
        gathered_clear(gathered);
    }
    mem_free(gathered);
}

static const struct unit_test TESTS[] = {
    {"a_single_token_has_gradients", a_single_token_has_gradients},
    {"gradients_do_not_depend_on_workers", gradients_do_not_depend_on_workers},
    {"an_error_of_a_hook_ends_the_run", an_error_of_a_hook_ends_the_run},
    {"gradients_are_differences_of_the_loss", gradients_are_differences_of_the_loss},
    {"fisher_values_match_pytorch", fisher_values_match_pytorch},
    {"fisher_values_of_variants_match_pytorch", fisher_values_of_variants_match_pytorch},
};

int main(void) {
    int result = unit_plugins(&env, &registry) ? unit_run(__FILE__, TESTS, sizeof TESTS / sizeof TESTS[0]) : 1;
    registry_destroy(registry);
    pool_destroy(env.pool);
    return result;
}
