/* SPDX-License-Identifier: Apache-2.0
 *
 * Plans of tiny checkpoints that the test writes: who shares storage, which rule takes what, what falls back and what is
 * refused, and that the plan does not depend on the number of workers. */
#define _GNU_SOURCE
#include "unit.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <base/pool.h>
#include <base/rng.h>
#include <base/str.h>
#include <format/dtype.h>
#include <policy/bound.h>
#include <policy/plan.h>
#include <stdlib.h>

#include "fake_codecs.h"

/* ---- a checkpoint in a folder of its own ---- */

static const char ROLES[] = "tessera_roles: 1\n"
                            "family: tiny\n"
                            "model_types: [tiny]\n"
                            "rules:\n"
                            "  - {match: \"embed\", role: embed}\n"
                            "  - {match: \"head\", role: lm_head}\n"
                            "  - {match: \"up*\", role: mlp_up}\n"
                            "  - {match: \"conv1d*\", role: mlp_down, view: transposed}\n"
                            "  - {match: \"norm*\", role: norm}\n";

struct tensor {
    const char *name;
    const char *dtype;
    uint64_t rank, shape[3];
    uint64_t seed; /* 0: all zero; equal seeds give equal values */
};

struct world {
    char folder[64];
    struct env env;
    struct registry *registry;
    struct arena arena;
    struct checkpoint checkpoint;
    struct config config;
    struct plan plan;
    struct str log;
    const char *roles; /* NULL: auto */
};

static void note_log(void *ctx, int32_t level, const char *text) {
    (void)level;
    str_add_format(ctx, "%s\n", text);
}

static uint64_t count_of(const struct tensor *tensor) {
    uint64_t count = 1;
    for (uint64_t i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
    return count;
}

/* Bell-shaped values around zero, rows of different scale. */
static void fill(const struct tensor *tensor, int32_t dtype, void *dst) {
    struct rng rng = {tensor->seed};
    uint64_t count = count_of(tensor), columns = tensor->rank ? tensor->shape[tensor->rank - 1] : 1;
    float *values = mem_alloc_zero(count ? count : 1, sizeof *values);
    for (uint64_t i = 0; i < count && tensor->seed; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++) sum += rng_real(&rng);
        values[i] = (float)(sum * 0.02 * (1 + (double)(i / columns % 5) / 4));
    }
    dtype_from_f32(dtype, values, count, dst);
    mem_free(values);
}

static void write_checkpoint(struct world *world, const struct tensor *tensors, uint64_t count) {
    struct str header = {0}, data = {0}, file = {0};
    tsr_error err = {0};
    for (uint64_t t = 0; t < count; t++) {
        int32_t dtype = dtype_from_name(tensors[t].dtype);
        uint64_t bytes = count_of(&tensors[t]) * dtype_bits(dtype) / 8;
        uint8_t *values = mem_alloc_zero(bytes + 1, 1);
        if (dtype_is_float(dtype)) fill(&tensors[t], dtype, values);
        str_add_format(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", t ? "," : "{", tensors[t].name, tensors[t].dtype);
        for (uint64_t i = 0; i < tensors[t].rank; i++) {
            str_add_format(&header, "%s%llu", i ? "," : "", (unsigned long long)tensors[t].shape[i]);
        }
        str_add_format(&header, "],\"data_offsets\":[%zu,%zu]}", data.length, data.length + (size_t)bytes);
        str_add(&data, values, bytes);
        mem_free(values);
    }
    str_add_text(&header, "}");
    str_add_le(&file, header.length, 8);
    str_add(&file, header.text, header.length);
    if (data.length) str_add(&file, data.text, data.length);
    char *path = fs_join(world->folder, "model.safetensors"), *model = fs_join(world->folder, "config.json");
    char *roles = fs_join(world->folder, "tiny.yaml");
    CU_ASSERT_EQUAL_FATAL(fs_replace(path, file.text, file.length, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_replace(model, "{\"model_type\": \"tiny\"}", 22, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_replace(roles, ROLES, sizeof ROLES - 1, &err), TSR_OK);
    mem_free(path);
    mem_free(model);
    mem_free(roles);
    str_clear(&header);
    str_clear(&data);
    str_clear(&file);
}

static void world_begin(struct world *world, uint64_t workers, const struct tensor *tensors, uint64_t count) {
    tsr_error err = {0};
    *world = (struct world){.folder = "/tmp/tessera-plan-XXXXXX"};
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(world->folder));
    world->env = (struct env){.pool = pool_create(workers), .log = note_log, .ctx = &world->log};
    world->registry = fake_registry(&world->env);
    CU_ASSERT_PTR_NOT_NULL_FATAL(world->registry);
    write_checkpoint(world, tensors, count);
    tsr_status st = checkpoint_open(world->folder, &world->checkpoint, &err);
    if (st) printf("  %s\n", err.message);
    CU_ASSERT_EQUAL_FATAL(st, TSR_OK);
}

static void world_end(struct world *world) {
    plan_close(&world->plan);
    checkpoint_close(&world->checkpoint);
    registry_destroy(world->registry);
    pool_destroy(world->env.pool);
    arena_clear(&world->arena);
    str_clear(&world->log);
    (void)fs_remove_tree(world->folder, NULL);
}

static tsr_status world_plan(struct world *world, const char *rules, bool predict, tsr_error *err) {
    const char *folders[] = {world->folder};
    struct plan_options options = {.role_folders = folders, .role_folder_count = 1, .predict = predict};
    struct str text = {0};
    str_add_format(&text, "tessera: 1\nroles: %s\nrules:\n%s", world->roles ? world->roles : "auto", rules);
    tsr_status st = config_parse(text.text, text.length, "c.yaml", world->registry, &world->arena, &world->config, err);
    str_clear(&text);
    plan_close(&world->plan);
    if (st) return st;
    return plan_make(&world->checkpoint, &world->config, world->registry, &options, &world->env, &world->plan, err);
}

static const struct plan_entry *entry_of(const struct world *world, const char *name) {
    for (uint64_t i = 0; i < world->plan.count; i++) {
        if (!strcmp(world->plan.entries[i].source->name, name)) return &world->plan.entries[i];
    }
    CU_FAIL_FATAL("no such entry");
    return NULL;
}

static void expect_error(struct world *world, const char *rules, const char *message) {
    tsr_error err = {0};
    tsr_status st = world_plan(world, rules, true, &err);
    if (st != TSR_E_CONFIG || !strstr(err.message, message)) printf("  status %d \"%s\"\n", (int)st, err.message);
    CU_ASSERT_EQUAL(st, TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, message));
}

static void expect_plan(struct world *world, const char *rules) {
    tsr_error err = {0};
    tsr_status st = world_plan(world, rules, true, &err);
    if (st) printf("  status %d \"%s\"\n", (int)st, err.message);
    CU_ASSERT_EQUAL_FATAL(st, TSR_OK);
}

static const struct tensor MODEL[] = {
    {"head", "BF16", 2, {64, 96}, 7},        {"embed", "BF16", 2, {64, 96}, 7}, {"up0", "BF16", 2, {96, 64}, 3},
    {"up1", "F32", 2, {40, 33}, 4},          {"conv1d", "BF16", 2, {48, 80}, 5}, {"norm", "F32", 1, {96}, 6},
    {"norm_scalar", "F32", 0, {0}, 8},       {"up_empty", "BF16", 2, {0, 64}, 0}, {"mystery", "BF16", 2, {8, 8}, 9},
    {"norm_int", "I64", 1, {5}, 0},          {"conv1d_experts", "F16", 3, {3, 10, 20}, 10},
    {"norm_empty", "BF16", 2, {0, 64}, 0},
};
#define MODEL_COUNT (sizeof MODEL / sizeof MODEL[0])
#define REST "  - {codec: passthrough}\n"

static void duplicates_share_storage_and_the_strictest_regime(void) {
    struct world world;
    world_begin(&world, 2, MODEL, MODEL_COUNT);
    expect_plan(&world, "  - {role: embed, codec: quant}\n"
                        "  - {role: lm_head, codec: quant, params: {bits: 3}}\n" REST);
    const struct plan_entry *embed = entry_of(&world, "embed"), *head = entry_of(&world, "head");
    const struct plan_entry *owner = embed->alias_of < 0 ? embed : head, *alias = owner == embed ? head : embed;
    CU_ASSERT_EQUAL(owner->alias_of, -1);
    CU_ASSERT_PTR_EQUAL(&world.plan.entries[alias->alias_of], owner);
    CU_ASSERT_EQUAL(head->regime, TSR_REGIME_INDEX);
    CU_ASSERT_EQUAL(embed->regime, TSR_REGIME_INDEX);
    /* The rule of the strictest counts for both. */
    CU_ASSERT_EQUAL(head->rule->line, 4);
    CU_ASSERT_EQUAL(embed->rule->line, 4);
    CU_ASSERT_STRING_EQUAL(head->params.canonical, "bits=8 row_error_max=0.03 centroids=true ladder=[256]");
    CU_ASSERT_EQUAL(alias->predicted_bytes, 0);
    CU_ASSERT_EQUAL(world.plan.source_bytes - world.plan.unique_bytes, 64 * 96 * 2);
    CU_ASSERT_EQUAL(entry_of(&world, "up_empty")->alias_of, -1);
    CU_ASSERT_EQUAL(entry_of(&world, "norm_empty")->alias_of, -1);
    world_end(&world);
}

static void matrix_views_and_predictions_of_small_tensors_are_exact(void) {
    struct world world;
    world_begin(&world, 2, MODEL, MODEL_COUNT);
    expect_plan(&world, "  - {regime: argmax, codec: quant, params: {bits: 4}}\n" REST);
    const struct plan_entry *conv1d = entry_of(&world, "conv1d"), *experts = entry_of(&world, "conv1d_experts");
    CU_ASSERT_EQUAL(conv1d->rows, 80);
    CU_ASSERT_EQUAL(conv1d->columns, 48);
    CU_ASSERT_TRUE(conv1d->transposed);
    CU_ASSERT_EQUAL(experts->rows, 60);
    CU_ASSERT_EQUAL(experts->columns, 10);
    CU_ASSERT_EQUAL(entry_of(&world, "norm_scalar")->rows, 1);
    CU_ASSERT_EQUAL(entry_of(&world, "norm_scalar")->columns, 1);
    CU_ASSERT_TRUE(conv1d->trial_is_whole);
    CU_ASSERT_TRUE(conv1d->predicted_error > 0);
    CU_ASSERT_TRUE(conv1d->bound_error > 0 && conv1d->bound_error < conv1d->predicted_error);
    CU_ASSERT_EQUAL(entry_of(&world, "norm")->predicted_error, 0);
    CU_ASSERT_EQUAL(entry_of(&world, "norm")->predicted_cosine, 1);
    /* head, fixed part, id, params, 2 shape extents, one directory entry, digest, 4 + n/2 tile bytes */
    uint64_t tile = 4 + 80 * 48 / 2;
    CU_ASSERT_TRUE(conv1d->predicted_bytes > tile && conv1d->predicted_bytes < tile + 256);
    world_end(&world);
}

static void an_unknown_tensor_stays_exact_and_is_named(void) {
    struct world world;
    world_begin(&world, 1, MODEL, MODEL_COUNT);
    expect_plan(&world, "  - {role: [embed, lm_head, mlp_up, mlp_down, norm], codec: passthrough}\n");
    const struct plan_entry *mystery = entry_of(&world, "mystery");
    CU_ASSERT_PTR_NULL(mystery->rule);
    CU_ASSERT_PTR_EQUAL(mystery->codec, &FAKE_COPY);
    CU_ASSERT_EQUAL(mystery->regime, TSR_REGIME_EXACT);
    CU_ASSERT_EQUAL(world.plan.unknown_count, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(world.log.text, "\"mystery\""));
    world_end(&world);
}

static void rules_that_take_nothing_are_named_with_their_place(void) {
    struct world world;
    world_begin(&world, 1, MODEL, MODEL_COUNT);
    expect_error(&world, REST "  - {role: norm, codec: passthrough}\n",
                 "c.yaml:5:5: this rule takes no tensor: the rule in line 4 takes \"norm");
    expect_error(&world, "  - {role: router, codec: passthrough}\n" REST, "c.yaml:4:5: no tensor of this model matches");
    expect_error(&world, "  - {match: up00, codec: passthrough}\n" REST, "did you mean \"up0\"?");
    expect_error(&world, "  - {dtype: F64, codec: passthrough}\n" REST, "c.yaml:4:5: no tensor");
    expect_error(&world, "  - {regime: index, dtype: I64, codec: passthrough}\n" REST, "c.yaml:4:5: no tensor");
    expect_plan(&world, "  - {role: router, codec: passthrough, optional: true}\n" REST
                        "  - {role: norm, codec: passthrough, optional: true}\n");
    world_end(&world);
}

static void roles_that_are_not_there_are_named_with_their_place(void) {
    struct world world;
    world_begin(&world, 1, MODEL, MODEL_COUNT);
    world.roles = "tinny";
    expect_error(&world, REST, "c.yaml:2:8: ");
    expect_error(&world, REST, "did you mean \"tiny\"?");
    world.roles = "tiny";
    expect_plan(&world, REST);
    world_end(&world);
}

static void tensors_that_no_rule_takes_are_named(void) {
    struct world world;
    world_begin(&world, 1, MODEL, MODEL_COUNT);
    expect_error(&world, "  - {role: [embed, lm_head, mlp_up, norm], codec: passthrough}\n",
                 "c.yaml:4:5: no rule takes tensor \"conv1d");
    world_end(&world);
}

static void codecs_must_suit_their_tensors(void) {
    struct world world;
    world_begin(&world, 1, MODEL, MODEL_COUNT);
    expect_error(&world, "  - {role: norm, codec: quant}\n" REST, "is of the exact regime");
    expect_error(&world, "  - {codec: quant}\n", "is of the exact regime");
    expect_error(&world, "  - {match: up0, codec: quant, stride: 64}\n" REST, "tensor \"up0\": stride 64: no bijection");
    expect_plan(&world, "  - {match: up0, codec: quant, stride: 63}\n" REST);
    CU_ASSERT_EQUAL(entry_of(&world, "up0")->role.stride, 63);
    world_end(&world);
}

static void rows_of_the_index_regime_have_a_bound(void) {
    struct world world;
    world_begin(&world, 1, MODEL, MODEL_COUNT);
    expect_plan(&world, "  - {regime: index, codec: quant}\n" REST);
    CU_ASSERT_EQUAL(entry_of(&world, "embed")->row_error_max, 0.03);
    expect_plan(&world, "  - {regime: index, codec: quant, row_error_max: 0.2, params: {bits: 5}}\n" REST);
    CU_ASSERT_EQUAL(entry_of(&world, "embed")->row_error_max, 0.2);
    CU_ASSERT_STRING_EQUAL(entry_of(&world, "embed")->params.canonical,
                           "bits=5 row_error_max=0.2 centroids=true ladder=[256]");
    expect_plan(&world, "  - {regime: index, codec: quant, params: {bits: 3, row_error_max: 0}}\n" REST);
    CU_ASSERT_EQUAL(entry_of(&world, "embed")->row_error_max, 0);
    expect_plan(&world, "  - {regime: argmax, codec: quant}\n" REST);
    CU_ASSERT_STRING_EQUAL(entry_of(&world, "up0")->params.canonical,
                           "bits=8 row_error_max=0 centroids=true ladder=[256]");
    expect_error(&world, "  - {regime: index, codec: quant, params: {bits: 3}}\n" REST, "row_error_max is 0.03");
    world_end(&world);
}

static void a_codec_that_does_not_shrink_falls_back(void) {
    struct world world;
    world_begin(&world, 1, MODEL, MODEL_COUNT);
    for (int predict = 0; predict < 2; predict++) {
        tsr_error err = {0};
        CU_ASSERT_EQUAL(world_plan(&world, "  - {match: up0, codec: bloat}\n" REST, predict, &err), TSR_OK);
        const struct plan_entry *up0 = entry_of(&world, "up0");
        CU_ASSERT_PTR_EQUAL(up0->codec, &FAKE_COPY);
        CU_ASSERT_STRING_EQUAL(up0->params.canonical, "level=default");
        CU_ASSERT_PTR_NOT_NULL_FATAL(up0->note);
        CU_ASSERT_STRING_EQUAL(up0->note, "falls back to passthrough: bloat is not smaller than lossless");
        CU_ASSERT_EQUAL(up0->predicted_bytes > 0, predict);
    }
    world_end(&world);
}

static void a_codec_that_refuses_a_tensor_gives_way(void) {
    struct world world;
    world_begin(&world, 2, MODEL, MODEL_COUNT);
    for (int predict = 0; predict < 2; predict++) {
        tsr_error err = {0};
        CU_ASSERT_EQUAL(world_plan(&world, "  - {role: mlp_up, codec: picky}\n" REST, predict, &err), TSR_OK);
        CU_ASSERT_PTR_EQUAL(entry_of(&world, "up0")->codec, &FAKE_PICKY);
        CU_ASSERT_PTR_NULL(entry_of(&world, "up0")->note);
        CU_ASSERT_PTR_EQUAL(entry_of(&world, "up1")->codec, &FAKE_COPY);
        CU_ASSERT_PTR_NOT_NULL_FATAL(entry_of(&world, "up1")->note);
        CU_ASSERT_PTR_NOT_NULL(strstr(entry_of(&world, "up1")->note, "33 columns are odd"));
    }
    world_end(&world);
}

static void requests_beyond_the_information_bound_are_refused_by_name(void) {
    struct world world;
    world_begin(&world, 1, MODEL, MODEL_COUNT);
    expect_error(&world, "  - {match: up0, codec: quant, min_ratio: 343, min_cos: 0.95}\n" REST,
                 "c.yaml:4:5: tensor \"up0\": cosine 0.95 at 0.0466 bits a weight (343:1) is beyond the information bound");
    expect_error(&world, "  - {match: up0, codec: quant, max_bits: 2, max_error: 0.01}\n" REST, "information bound");
    /* Possible in theory, but not for this codec. */
    expect_error(&world, "  - {match: up0, codec: quant, params: {bits: 4}, max_bits: 5, min_cos: 0.999}\n" REST,
                 "less than the rule asks");
    expect_error(&world, "  - {match: up0, codec: quant, params: {bits: 6}, max_bits: 5}\n" REST,
                 "the rule allows 5");
    expect_error(&world, "  - {match: up0, codec: passthrough, max_bits: 5}\n" REST, "the rule allows 5");
    expect_plan(&world, "  - {match: up0, codec: quant, params: {bits: 4}, max_bits: 5, min_cos: 0.98}\n" REST);
    CU_ASSERT_PTR_EQUAL(entry_of(&world, "up0")->codec, &FAKE_QUANT);
    /* Lossless meets what the codec does not. */
    expect_plan(&world, "  - {match: up0, codec: quant, params: {bits: 2}, max_bits: 17, max_error: 1e-9}\n" REST);
    CU_ASSERT_PTR_EQUAL(entry_of(&world, "up0")->codec, &FAKE_COPY);
    world_end(&world);
}

static void reserved_names_are_refused(void) {
    static const struct tensor tensors[] = {{"tessera.manifest", "U8", 1, {4}, 0}};
    struct world world;
    tsr_error err = {0};
    world_begin(&world, 1, tensors, 1);
    CU_ASSERT_EQUAL(world_plan(&world, REST, true, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "\"tessera.manifest\""));
    world_end(&world);
}

static bool same_plan(const struct plan *a, const struct plan *b) {
    bool same = a->count == b->count && a->predicted_bytes == b->predicted_bytes && a->unique_bytes == b->unique_bytes;
    for (uint64_t i = 0; i < a->count && same; i++) {
        const struct plan_entry *x = &a->entries[i], *y = &b->entries[i];
        same = x->alias_of == y->alias_of && x->codec == y->codec && x->predicted_bytes == y->predicted_bytes &&
               x->predicted_error == y->predicted_error && x->bound_error == y->bound_error &&
               x->predicted_cosine == y->predicted_cosine && digest_equal(&x->digest, &y->digest) &&
               !strcmp(x->params.canonical, y->params.canonical) && !strcmp(x->source->name, y->source->name);
    }
    return same;
}

static void the_plan_does_not_depend_on_workers(void) {
    static const char rules[] = "  - {regime: argmax, codec: quant, params: {bits: 4}}\n" REST;
    struct world one, four;
    world_begin(&one, 1, MODEL, MODEL_COUNT);
    world_begin(&four, 4, MODEL, MODEL_COUNT);
    expect_plan(&one, rules);
    expect_plan(&four, rules);
    CU_ASSERT_TRUE(same_plan(&one.plan, &four.plan));
    world_end(&one);
    world_end(&four);
}

/* The sampled prediction against what the fake codec writes by its own arithmetic. */
static void a_sample_of_a_large_tensor_predicts_its_bytes(void) {
    static const struct tensor tensors[] = {{"up_large", "BF16", 2, {3000, 1000}, 11},
                                            {"conv1d_large", "BF16", 2, {1000, 3000}, 12},
                                            {"up_wide", "F16", 2, {2, 1500000}, 13}};
    struct world world;
    world_begin(&world, 2, tensors, 3);
    expect_plan(&world, "  - {codec: quant, params: {bits: 4}}\n");
    for (uint64_t i = 0; i < 3; i++) {
        const struct plan_entry *entry = &world.plan.entries[i];
        CU_ASSERT_FALSE(entry->trial_is_whole);
        CU_ASSERT_DOUBLE_EQUAL((double)entry->predicted_bytes / 1500000, 1, 0.002);
        CU_ASSERT_TRUE(entry->predicted_error > entry->bound_error);
    }
    world_end(&world);
}

static const struct unit_test TESTS[] = {
    {"duplicates_share_storage_and_the_strictest_regime", duplicates_share_storage_and_the_strictest_regime},
    {"matrix_views_and_predictions_of_small_tensors_are_exact",
     matrix_views_and_predictions_of_small_tensors_are_exact},
    {"an_unknown_tensor_stays_exact_and_is_named", an_unknown_tensor_stays_exact_and_is_named},
    {"rules_that_take_nothing_are_named_with_their_place", rules_that_take_nothing_are_named_with_their_place},
    {"roles_that_are_not_there_are_named_with_their_place", roles_that_are_not_there_are_named_with_their_place},
    {"tensors_that_no_rule_takes_are_named", tensors_that_no_rule_takes_are_named},
    {"codecs_must_suit_their_tensors", codecs_must_suit_their_tensors},
    {"rows_of_the_index_regime_have_a_bound", rows_of_the_index_regime_have_a_bound},
    {"a_codec_that_does_not_shrink_falls_back", a_codec_that_does_not_shrink_falls_back},
    {"a_codec_that_refuses_a_tensor_gives_way", a_codec_that_refuses_a_tensor_gives_way},
    {"requests_beyond_the_information_bound_are_refused_by_name",
     requests_beyond_the_information_bound_are_refused_by_name},
    {"reserved_names_are_refused", reserved_names_are_refused},
    {"the_plan_does_not_depend_on_workers", the_plan_does_not_depend_on_workers},
    {"a_sample_of_a_large_tensor_predicts_its_bytes", a_sample_of_a_large_tensor_predicts_its_bytes},
};
UNIT_MAIN(TESTS)
