/* SPDX-License-Identifier: Apache-2.0
 *
 * A model taken layer by layer gives its hooks the same bits as forward and reverse of the whole, for every fixture that
 * has them, also when a shorter sequence follows a longer one in the same walk and when the walk there is longer than a
 * chunk. */
#include "unit.h"
#include "unit_plugins.h"

#include <base/alloc.h>
#include <base/digest.h>
#include <base/fs.h>
#include <base/pool.h>
#include <model/model_open.h>
#include <string.h>
#include <tessera/ext/layers.h>

#define FIXTURES "tests/data/causal-lm"
#define LONG 700 /* more than a chunk of the generic plugin */
#define SHORT 9
#define TENSORS_MAX 512

static struct env env;
static struct registry *registry;
static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};
#define MORE 5 /* tokens of what went through a walk before */
static uint32_t TOKENS[LONG + MORE];

/* What hooks were told, as one digest a tensor: chunks come in another order than in a whole run. */
struct told {
    struct digest_state *of[TENSORS_MAX];
    struct digest_state *final, *rows;
    uint64_t calls, layers;
};

static struct told *told_begin(const struct open_model *model) {
    struct told *told = mem_alloc_zero(1, sizeof *told);
    told->layers = model->info.layers;
    told->final = digest_create();
    told->rows = digest_create();
    for (int i = 0; i < TENSORS_MAX; i++) told->of[i] = digest_create();
    return told;
}

static bool same_digest(const struct digest_state *a, const struct digest_state *b) {
    struct digest x = digest_end(a), y = digest_end(b);
    return digest_equal(&x, &y);
}

static bool told_same(const struct told *a, const struct told *b) {
    bool same = a->calls == b->calls && same_digest(a->final, b->final) && same_digest(a->rows, b->rows);
    for (int i = 0; i < TENSORS_MAX; i++) same = same && same_digest(a->of[i], b->of[i]);
    return same;
}

static void told_end(struct told *told) {
    digest_destroy(told->final);
    digest_destroy(told->rows);
    for (int i = 0; i < TENSORS_MAX; i++) digest_destroy(told->of[i]);
    mem_free(told);
}

static tsr_status on_values(void *ctx, uint64_t index, const float *x, uint64_t tokens, uint64_t columns, tsr_error *err) {
    struct told *told = ctx;
    (void)err;
    CU_ASSERT_FATAL(index < TENSORS_MAX);
    told->calls++;
    digest_add(told->of[index], x, tokens * columns * sizeof *x);
    return TSR_OK;
}

static tsr_status on_hidden(void *ctx, uint64_t layer, const float *x, uint64_t tokens, uint64_t hidden, tsr_error *err) {
    struct told *told = ctx;
    (void)err;
    if (layer == told->layers + 1) digest_add(told->final, x, tokens * hidden * sizeof *x);
    return TSR_OK;
}

static tsr_status on_logits(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                            float *gradient, tsr_error *err) {
    (void)ctx, (void)err;
    for (uint64_t t = 0; t < tokens; t++) {
        for (uint64_t i = 0; i < vocabulary; i++) {
            gradient[t * vocabulary + i] = logits[t * vocabulary + i] * 1e-3f - (i == (first + t) % vocabulary);
        }
    }
    return TSR_OK;
}

static tsr_status on_look_up(void *ctx, uint64_t index, const uint64_t *rows, const float *g, uint64_t tokens, uint64_t columns,
                             tsr_error *err) {
    struct told *told = ctx;
    (void)err;
    digest_add(told->rows, &index, sizeof index);
    digest_add(told->rows, rows, tokens * sizeof *rows);
    digest_add(told->rows, g, tokens * columns * sizeof *g);
    return TSR_OK;
}

static tsr_hooks hooks_there(struct told *told) {
    return (tsr_hooks){.struct_size = sizeof(tsr_hooks), .ctx = told, .hidden = on_hidden, .linear_input = on_values};
}

static tsr_reverse_hooks hooks_back(struct told *told) {
    return (tsr_reverse_hooks){sizeof(tsr_reverse_hooks), told, on_logits, on_values, on_look_up};
}

static const tsr_layers *layers_of(const struct open_model *model) {
    const tsr_layers *layers = model->plugin->get_extension(TSR_LAYERS_ID);
    CU_ASSERT_PTR_NOT_NULL_FATAL(layers);
    return layers;
}

static struct told *run_whole(const struct open_model *model, uint64_t count) {
    struct told *told = told_begin(model);
    const tsr_hooks hooks = hooks_there(told);
    void *sequence = NULL;
    CU_ASSERT_EQUAL_FATAL(model->plugin->sequence_create(model->self, count, &sequence, NULL), TSR_OK);
    CU_ASSERT_EQUAL(model->plugin->forward(model->self, sequence, TOKENS, count, &hooks, NULL, NULL), TSR_OK);
    model->plugin->sequence_destroy(model->self, sequence);
    return told;
}

static void walk_there(const struct open_model *model, void *walk, uint64_t count, const tsr_hooks *hooks, float *states) {
    const tsr_layers *layers = layers_of(model);
    uint64_t size = count * model->info.hidden;
    CU_ASSERT_EQUAL(layers->enter(model->self, walk, TOKENS, count, hooks, states, NULL), TSR_OK);
    for (uint64_t i = 0; i < model->info.layers; i++) {
        memcpy(states + (i + 1) * size, states + i * size, size * sizeof *states);
        CU_ASSERT_EQUAL(layers->layer(model->self, walk, i, count, hooks, states + (i + 1) * size, NULL), TSR_OK);
    }
    CU_ASSERT_EQUAL(layers->leave(model->self, walk, states + model->info.layers * size, count, hooks, NULL), TSR_OK);
}

static void walk_back(const struct open_model *model, void *walk, uint64_t count, const tsr_reverse_hooks *hooks, float *states) {
    const tsr_layers *layers = layers_of(model);
    uint64_t size = count * model->info.hidden, last = model->info.layers;
    float *g = mem_alloc_array(size, sizeof *g);
    CU_ASSERT_EQUAL(layers->leave_back(model->self, walk, states + last * size, count, hooks, g, NULL), TSR_OK);
    for (uint64_t i = last; i-- > 0;) {
        CU_ASSERT_EQUAL(layers->layer_back(model->self, walk, i, states + i * size, count, hooks, g, NULL), TSR_OK);
    }
    CU_ASSERT_EQUAL(layers->enter_back(model->self, walk, TOKENS, count, hooks, g, NULL), TSR_OK);
    mem_free(g);
}

/* What a longer sequence left behind in the walk does no harm. */
static void compare_back(const struct open_model *model, uint64_t count) {
    const tsr_reverse *reverse = model->plugin->get_extension(TSR_REVERSE_ID);
    const tsr_layers *layers = layers_of(model);
    float *states = mem_alloc_array((model->info.layers + 1) * (count + MORE) * model->info.hidden, sizeof *states);
    struct told *whole = told_begin(model), *walked = told_begin(model);
    const tsr_reverse_hooks hooks = hooks_back(whole), own = hooks_back(walked);
    void *walk = NULL;
    CU_ASSERT_EQUAL(reverse->run(model->self, TOKENS, count, &hooks, NULL), TSR_OK);
    CU_ASSERT(whole->calls > 3);
    CU_ASSERT_EQUAL_FATAL(layers->open(model->self, count + MORE, 1, &walk, NULL), TSR_OK);
    walk_there(model, walk, count + MORE, NULL, states);
    walk_there(model, walk, count, NULL, states);
    walk_back(model, walk, count, &own, states);
    CU_ASSERT(told_same(whole, walked));
    layers->close(model->self, walk);
    told_end(whole);
    told_end(walked);
    mem_free(states);
}

static void compare_there(const struct open_model *model, uint64_t count) {
    const tsr_layers *layers = layers_of(model);
    float *states = mem_alloc_array((model->info.layers + 1) * count * model->info.hidden, sizeof *states);
    struct told *whole = run_whole(model, count), *walked = told_begin(model);
    const tsr_hooks hooks = hooks_there(walked);
    void *walk = NULL;
    CU_ASSERT(whole->calls > 3);
    CU_ASSERT_EQUAL_FATAL(layers->open(model->self, count, 0, &walk, NULL), TSR_OK);
    walk_there(model, walk, count, &hooks, states);
    CU_ASSERT(told_same(whole, walked));
    layers->close(model->self, walk);
    told_end(whole);
    told_end(walked);
    mem_free(states);
}

static void compare_fixture(const char *name) {
    struct open_model model = {0};
    char path[256];
    (void)snprintf(path, sizeof path, FIXTURES "/%s", name);
    CU_ASSERT_EQUAL_FATAL(model_open(path, registry, &PATHS, &env, &model, NULL), TSR_OK);
    const tsr_reverse *reverse = model.plugin->get_extension(TSR_REVERSE_ID);
    compare_there(&model, SHORT);
    if (reverse->check(model.self, NULL) == TSR_OK) compare_back(&model, SHORT);
    if (CU_get_number_of_failure_records()) printf("  %s\n", name);
    model_close(&model);
}

static void a_walk_tells_what_the_whole_tells(void) {
    struct fs_list list = {0};
    CU_ASSERT_EQUAL_FATAL(fs_list(FIXTURES, false, &list, NULL), TSR_OK);
    for (uint64_t i = 0; i < list.count; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, FIXTURES "/%s", list.names[i]);
        if (fs_kind_of(path) == FS_FOLDER) compare_fixture(list.names[i]);
    }
    CU_ASSERT(list.count > 30);
    fs_list_clear(&list);
}

static void sequences_longer_than_a_chunk_are_one(void) {
    struct open_model model = {0};
    CU_ASSERT_EQUAL_FATAL(model_open(FIXTURES "/qwen2-window-yarn", registry, &PATHS, &env, &model, NULL), TSR_OK);
    compare_there(&model, LONG);
    compare_back(&model, LONG);
    model_close(&model);
}

static void what_does_not_fit_a_walk_is_refused(void) {
    struct open_model model = {0};
    struct told *told;
    float state[4096];
    void *walk = NULL;
    CU_ASSERT_EQUAL_FATAL(model_open(FIXTURES "/llama-tied", registry, &PATHS, &env, &model, NULL), TSR_OK);
    const tsr_layers *layers = layers_of(&model);
    told = told_begin(&model);
    const tsr_reverse_hooks hooks = hooks_back(told);
    CU_ASSERT_EQUAL_FATAL(layers->open(model.self, 4, 0, &walk, NULL), TSR_OK);
    CU_ASSERT_EQUAL(layers->enter(model.self, walk, TOKENS, 5, NULL, state, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(layers->enter(model.self, walk, TOKENS, 0, NULL, state, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(layers->enter_back(model.self, walk, TOKENS, 4, &hooks, state, NULL), TSR_E_ARGUMENT);
    layers->close(model.self, walk);
    told_end(told);
    model_close(&model);
}

static const struct unit_test TESTS[] = {
    {"a_walk_tells_what_the_whole_tells", a_walk_tells_what_the_whole_tells},
    {"sequences_longer_than_a_chunk_are_one", sequences_longer_than_a_chunk_are_one},
    {"what_does_not_fit_a_walk_is_refused", what_does_not_fit_a_walk_is_refused},
};

int main(void) {
    for (uint32_t i = 0; i < LONG + MORE; i++) TOKENS[i] = (i * 37 + 11) % 120;
    if (!unit_plugins(&env, &registry)) return 1;
    int failed = unit_run("layers", TESTS, sizeof TESTS / sizeof TESTS[0]);
    registry_destroy(registry);
    pool_destroy(env.pool);
    return failed;
}
