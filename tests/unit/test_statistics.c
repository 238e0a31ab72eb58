/* SPDX-License-Identifier: Apache-2.0
 *
 * compress with statistics: a codec gets the weights of columns that they say, the right ones of the right weight, and
 * a part is known by them; statistics of another model, and what is no statistics, are refused before any work. */
#define _GNU_SOURCE
#include "pipeline_world.h"

#include <format/safetensors_write.h>
#include <pipeline/calibrate_read.h>
#include <pipeline/model_digest.h>
#include <pthread.h>

#define ROWS 96
#define COLUMNS 256

static const struct gen_tensor MODEL[] = {
    {"layers.0.up", "BF16", 2, {ROWS, COLUMNS}, 1},
    {"layers.0.turned", "BF16", 2, {COLUMNS, ROWS}, 2}, /* its inputs are rows */
    {"layers.1.up", "BF16", 2, {ROWS, COLUMNS}, 3},
    {"norm", "F32", 1, {64}, 4},
};
static const char CONFIG[] = "tessera: 1\nroles: auto\nrules:\n"
                             "  - {regime: argmax, codec: watched, params: {bits: 4}}\n"
                             "  - {codec: passthrough, optional: true}\n";

/* ---- scalar, with an eye on its hints ---- */

static struct { unsigned encoders, weighted, wrong; } seen;
static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;

/* Moments of column c are 1 for even columns and 3 for odd ones: weights .5 and 1.5. */
static tsr_status watch_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const float *weight = setup->hints ? setup->hints->column_weight : NULL;
    pthread_mutex_lock(&seen_lock);
    if (!setup->decoding) {
        seen.encoders++;
        seen.weighted += weight != NULL;
        for (uint64_t c = 0; weight && c < setup->tensor->columns; c++) seen.wrong += weight[c] != (c % 2 ? 1.5f : .5f);
        seen.wrong += setup->hints && setup->hints->row_weight;
    }
    pthread_mutex_unlock(&seen_lock);
    return tsr_plugin_scalar.codecs[0]->create(setup, self, err);
}

static tsr_codec watched;
static const tsr_codec *const CODECS[] = {&watched, NULL};

static void add_watched(struct world *world) {
    static tsr_plugin plugin;
    tsr_error err = {0};
    watched = *tsr_plugin_scalar.codecs[0];
    watched.id = "org.tessera.test.watched";
    watched.name = "watched";
    watched.create = watch_create;
    plugin = tsr_plugin_scalar;
    plugin.name = "tessera-watched";
    plugin.codecs = CODECS;
    EXPECT_OK(registry_add(world->registry, &plugin, &err));
    memset(&seen, 0, sizeof seen);
}

/* ---- statistics ---- */

static void digest_of_model(struct world *world, char hex[DIGEST_HEX]) {
    struct reader reader = {0};
    struct digest digest;
    tsr_error err = {0};
    EXPECT_OK(reader_open(in_world(world, "model"), world->registry, &world->env, &reader, &err));
    EXPECT_OK(model_digest(&reader, &world->env, &digest, &err));
    reader_close(&reader);
    (void)digest_to_hex(&digest, hex);
}

/* Of two of the three matrices; `columns` inputs each. */
static void write_stats(struct world *world, const char *model, uint64_t columns, float odd) {
    static float moments[COLUMNS + 1];
    static const int64_t tokens = 10;
    char hex[DIGEST_HEX];
    tsr_error err = {0};
    if (!model) digest_of_model(world, hex);
    for (uint64_t c = 0; c < columns; c++) moments[c] = c % 2 ? odd : 1;
    const struct safetensors_part parts[] = {
        {.name = "layers.0.up" STATS_DIAGONAL,
         .dtype = TSR_DTYPE_F32,
         .rank = 1,
         .shape = {columns},
         .memory = moments},
        {.name = "layers.0.up" STATS_TOKENS, .dtype = TSR_DTYPE_I64, .rank = 1, .shape = {1}, .memory = &tokens},
        {.name = "layers.0.turned" STATS_DIAGONAL,
         .dtype = TSR_DTYPE_F32,
         .rank = 1,
         .shape = {columns},
         .memory = moments},
        {.name = "layers.0.turned" STATS_TOKENS, .dtype = TSR_DTYPE_I64, .rank = 1, .shape = {1}, .memory = &tokens}};
    const struct safetensors_pair metadata[] = {{STATS_KEY_VERSION, STATS_VERSION},
                                                {STATS_KEY_MODEL, model ? model : hex},
                                                {STATS_KEY_TEXT, "00112233445566778899aabbccddeeff"},
                                                {STATS_KEY_TOKENS, "10"}};
    EXPECT_OK(safetensors_write(in_world(world, "stats"), parts, COUNT(parts), metadata, COUNT(metadata), &err));
}

static void begin(struct world *world) {
    world_begin(world, 2);
    add_watched(world);
    gen_file(in_world(world, "model/model.safetensors"), MODEL, COUNT(MODEL));
    gen_config(world, "model");
    write_text(in_world(world, "job.yaml"), CONFIG, sizeof CONFIG - 1);
}

static tsr_status compress(struct world *world, const char *stats, const char *output, json_t **receipt,
                           tsr_error *err) {
    struct job_compress_options options = {.model = in_world(world, "model"),
                                           .config = in_world(world, "job.yaml"),
                                           .output = in_world(world, output),
                                           .stats = stats ? in_world(world, stats) : NULL};
    *receipt = NULL;
    return job_compress(&options, world->registry, &world->paths, &world->env, receipt, err);
}

static void codecs_get_the_weights_of_columns(void) {
    struct world world;
    json_t *receipt = NULL;
    tsr_error err = {0};
    begin(&world);
    EXPECT_OK(compress(&world, NULL, "plain", &receipt, &err));
    CU_ASSERT(seen.encoders >= 3 && seen.weighted == 0);
    CU_ASSERT(json_is_null(json_object_get(receipt, "statistics")));
    json_decref(receipt);
    write_stats(&world, NULL, COLUMNS, 3);
    memset(&seen, 0, sizeof seen);
    EXPECT_OK(compress(&world, "stats", "out", &receipt, &err));
    CU_ASSERT(seen.weighted >= 2 && seen.weighted < seen.encoders && seen.wrong == 0);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(receipt, "statistics"), "tensors")), 2);
    json_decref(receipt);
    world_end(&world);
}

/* Work of an interrupted run is taken over only where the weights are the same. */
static void a_part_is_known_by_its_weights(void) {
    struct world world;
    json_t *receipt = NULL, *report = NULL;
    tsr_error err = {0};
    begin(&world);
    write_stats(&world, NULL, COLUMNS, 3);
    world.cancel_after = 4;
    CU_ASSERT_EQUAL(compress(&world, "stats", "out", &receipt, &err), TSR_E_CANCELLED);
    atomic_store(&world.cancel, 0);
    world.cancel_after = 0;
    write_stats(&world, NULL, COLUMNS, 5);
    memset(&seen, 0, sizeof seen);
    EXPECT_OK(compress(&world, "stats", "out", &receipt, &err));
    json_decref(receipt);
    CU_ASSERT(seen.weighted >= 2 && seen.wrong > 0);
    EXPECT_OK(job_report(in_world(&world, "out"), &report, &err));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(report, "run"), "reused_tensors")), 2);
    json_decref(report);
    world_end(&world);
}

static void other_statistics_are_refused_before_any_work(void) {
    struct world world;
    json_t *receipt = NULL;
    tsr_error err = {0};
    begin(&world);
    write_stats(&world, "ffffffffffffffffffffffffffffffff", COLUMNS, 3);
    CU_ASSERT_EQUAL(compress(&world, "stats", "out", &receipt, &err), TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "another model"));
    write_stats(&world, NULL, COLUMNS - 1, 3);
    CU_ASSERT_EQUAL(compress(&world, "stats", "out", &receipt, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "layers.0.up"));
    CU_ASSERT_EQUAL(compress(&world, "model/model.safetensors", "out", &receipt, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "no statistics"));
    CU_ASSERT_EQUAL(compress(&world, "absent", "out", &receipt, &err), TSR_E_INPUT);
    CU_ASSERT_EQUAL(fs_kind_of(in_world(&world, "out.tessera-work")), FS_ABSENT);
    world_end(&world);
}

static const struct unit_test TESTS[] = {
    {"codecs_get_the_weights_of_columns", codecs_get_the_weights_of_columns},
    {"a_part_is_known_by_its_weights", a_part_is_known_by_its_weights},
    {"other_statistics_are_refused_before_any_work", other_statistics_are_refused_before_any_work},
};
UNIT_MAIN(TESTS)
