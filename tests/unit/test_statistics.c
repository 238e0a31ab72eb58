/* SPDX-License-Identifier: Apache-2.0
 *
 * compress with statistics: a codec gets the weights of columns and rows that they say, the right ones of the right
 * weight, errors are fed back, and a part is known by all of it; statistics of another model, and what is no statistics,
 * are refused before any work. */
#define _GNU_SOURCE
#include "pipeline_world.h"

#include <format/safetensors_write.h>
#include <math.h>
#include <measure/calibrate_read.h>
#include <pthread.h>
#include <reading/model_digest.h>

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

static struct { unsigned encoders, weighted, rows, wrong; } seen;
static float row_weights[2] = {.5f, 1.5f}; /* expected, of even and odd rows */
static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;

/* Moments of column c are 1 for even columns and 3 for odd ones: weights .5 and 1.5. */
static tsr_status watch_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const float *weight = setup->hints ? setup->hints->column_weight : NULL;
    pthread_mutex_lock(&seen_lock);
    if (!setup->decoding) {
        seen.encoders++;
        seen.weighted += weight != NULL;
        for (uint64_t c = 0; weight && c < setup->tensor->columns; c++) seen.wrong += weight[c] != (c % 2 ? 1.5f : .5f);
        const float *rows = setup->hints ? setup->hints->row_weight : NULL;
        seen.rows += rows != NULL;
        for (uint64_t r = 0; rows && r < setup->tensor->rows; r++) seen.wrong += fabsf(rows[r] - row_weights[r % 2]) > 1e-6f;
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

/* What is written of "layers.0.up" beside weights of columns. */
struct more {
    float alike; /* what neighbouring inputs have in common; 0: no whole matrix */
    float fisher[ROWS];
    uint64_t rows; /* of these; 0: none */
    const float *lookup; /* [ROWS] or NULL */
};

static void fill_moment(float *moment, float odd, float alike) {
    for (uint64_t i = 0; i < (uint64_t)COLUMNS * COLUMNS; i++) {
        uint64_t a = i / COLUMNS, b = i % COLUMNS, distance = a > b ? a - b : b - a;
        moment[i] = powf(alike, (float)distance) * sqrtf((a % 2 ? odd : 1) * (b % 2 ? odd : 1));
    }
}

/* Of two of the three matrices; `columns` inputs each. */
static void write_more(struct world *world, const char *model, uint64_t columns, float odd, const struct more *more) {
    static float moments[COLUMNS + 1], moment[COLUMNS * COLUMNS];
    static const int64_t tokens = 10;
    struct safetensors_part parts[7];
    uint64_t count = 0;
    char hex[DIGEST_HEX];
    tsr_error err = {0};
    if (!model) digest_of_model(world, hex);
    for (uint64_t c = 0; c < columns; c++) moments[c] = c % 2 ? odd : 1;
    static const char *const DIAGONALS[] = {"layers.0.up" STATS_DIAGONAL, "layers.0.turned" STATS_DIAGONAL};
    static const char *const COUNTS[] = {"layers.0.up" STATS_TOKENS, "layers.0.turned" STATS_TOKENS};
    for (int i = 0; i < 2; i++) {
        parts[count++] = (struct safetensors_part){
            .name = DIAGONALS[i], .dtype = TSR_DTYPE_F32, .rank = 1, .shape = {columns}, .memory = moments};
        parts[count++] = (struct safetensors_part){
            .name = COUNTS[i], .dtype = TSR_DTYPE_I64, .rank = 1, .shape = {1}, .memory = &tokens};
    }
    if (more && more->alike != 0) {
        fill_moment(moment, odd, more->alike);
        parts[count++] = (struct safetensors_part){.name = "layers.0.up" STATS_MOMENT,
                                                   .dtype = TSR_DTYPE_F32,
                                                   .rank = 2,
                                                   .shape = {COLUMNS, COLUMNS},
                                                   .memory = moment};
    }
    if (more && more->rows) {
        parts[count++] = (struct safetensors_part){.name = "layers.0.up" STATS_FISHER,
                                                   .dtype = TSR_DTYPE_F32,
                                                   .rank = 1,
                                                   .shape = {more->rows},
                                                   .memory = more->fisher};
    }
    if (more && more->lookup) {
        parts[count++] = (struct safetensors_part){.name = "layers.0.up" STATS_LOOKUP,
                                                   .dtype = TSR_DTYPE_F32,
                                                   .rank = 1,
                                                   .shape = {ROWS},
                                                   .memory = more->lookup};
    }
    const struct safetensors_pair metadata[] = {{STATS_KEY_VERSION, STATS_VERSION},
                                                {STATS_KEY_MODEL, model ? model : hex},
                                                {STATS_KEY_TEXT, "00112233445566778899aabbccddeeff"},
                                                {STATS_KEY_TOKENS, "10"}};
    EXPECT_OK(safetensors_write(in_world(world, "stats"), parts, count, metadata, COUNT(metadata), &err));
}

static void write_stats(struct world *world, const char *model, uint64_t columns, float odd) {
    write_more(world, model, columns, odd, NULL);
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

static int64_t count_of(const json_t *receipt, const char *member) {
    return json_integer_value(json_object_get(json_object_get(receipt, "statistics"), member));
}

static struct more some_more(void) {
    struct more more = {.alike = 0.9f, .rows = ROWS};
    for (int r = 0; r < ROWS; r++) more.fisher[r] = r % 2 ? 0.75f : 0.25f;
    return more;
}

static void weights_of_rows_reach_the_codec(void) {
    struct world world;
    json_t *receipt = NULL;
    tsr_error err = {0};
    struct more more = some_more();
    begin(&world);
    more.alike = 0;
    write_more(&world, NULL, COLUMNS, 3, &more);
    EXPECT_OK(compress(&world, "stats", "out", &receipt, &err));
    CU_ASSERT(seen.rows >= 1 && seen.rows < seen.weighted && seen.wrong == 0);
    CU_ASSERT_EQUAL(count_of(receipt, "row_weights"), 1);
    CU_ASSERT_EQUAL(count_of(receipt, "feedback"), 0);
    json_decref(receipt);
    world_end(&world);
}

/* What a row's look-ups count for, with half a mean one more and the sum kept, of 96 rows and 10 tokens. */
static double smoothed(double lookup, double mean) {
    return (lookup + 0.5 * 96 / 10 * mean) * 10 / (10 + 0.5 * 96);
}

/* One run where even and odd rows have these Fisher values of look-ups. Without feedback an output costs its Fisher value
 * times the mean of the inputs' moments, here 2; look-ups are added. */
static void try_lookups(struct world *world, struct more *more, const char *output, float even, float odd) {
    const double mean = ((double)even + (double)odd) / 2, fisher = more->rows ? 2 : 0;
    const double a = fisher * 0.25 + smoothed((double)even, mean), b = fisher * 0.75 + smoothed((double)odd, mean);
    float lookup[ROWS];
    json_t *receipt = NULL;
    tsr_error err = {0};
    for (int r = 0; r < ROWS; r++) lookup[r] = r % 2 ? odd : even;
    more->lookup = lookup;
    memset(&seen, 0, sizeof seen);
    row_weights[0] = (float)(2 * a / (a + b));
    row_weights[1] = (float)(2 * b / (a + b));
    write_more(world, NULL, COLUMNS, 3, more);
    EXPECT_OK(compress(world, "stats", output, &receipt, &err));
    CU_ASSERT(seen.rows >= 1 && seen.wrong == 0);
    json_decref(receipt);
    row_weights[0] = .5f;
    row_weights[1] = 1.5f;
}

static void look_ups_are_added_to_outputs(void) {
    struct world world;
    struct more more = some_more();
    begin(&world);
    more.alike = 0;
    try_lookups(&world, &more, "both", 0.125f, 0.375f);
    try_lookups(&world, &more, "against", 1, 0);
    more.rows = 0;
    try_lookups(&world, &more, "table", 1, 3);
    world_end(&world);
}

static void write_config(struct world *world, const char *more) {
    char text[512];
    int size = snprintf(text, sizeof text,
                        "tessera: 1\nroles: auto\nrules:\n"
                        "  - {regime: argmax, codec: watched, params: {bits: 4}%s}\n"
                        "  - {codec: passthrough, optional: true}\n",
                        more);
    write_text(in_world(world, "job.yaml"), text, (uint64_t)size);
}

static const json_t *tensor_of(const json_t *receipt, const char *name) {
    size_t i;
    json_t *tensor, *tensors = json_object_get(receipt, "tensors");
    json_array_foreach(tensors, i, tensor) {
        if (!strcmp(json_string_value(json_object_get(tensor, "name")), name)) return tensor;
    }
    return NULL;
}

static double error_of(const json_t *receipt, const char *name) {
    return json_real_value(json_object_get(tensor_of(receipt, name), "relative_error"));
}

/* Feedback changes the error of the weights, and makes that of products smaller (test_feedback.c). */
static void errors_are_fed_back_unless_the_rule_says_no(void) {
    struct world world;
    json_t *with = NULL, *without = NULL;
    tsr_error err = {0};
    const struct more more = some_more();
    begin(&world);
    write_more(&world, NULL, COLUMNS, 3, &more);
    EXPECT_OK(compress(&world, "stats", "with", &with, &err));
    CU_ASSERT_EQUAL(count_of(with, "feedback"), 1);
    CU_ASSERT_PTR_NOT_NULL(json_string_value(json_object_get(json_object_get(with, "statistics"), "blas")));
    write_config(&world, ", feedback: false");
    EXPECT_OK(compress(&world, "stats", "without", &without, &err));
    CU_ASSERT_EQUAL(count_of(without, "feedback"), 0);
    CU_ASSERT(fabs(error_of(with, "layers.0.up") / error_of(without, "layers.0.up") - 1) > 0.1);
    CU_ASSERT_EQUAL(error_of(with, "layers.1.up"), error_of(without, "layers.1.up"));
    json_decref(with);
    json_decref(without);
    world_end(&world);
}

/* Interrupted and resumed, the output is that of one go; with another damping or other moments the part is made again. */
static void a_part_is_known_by_its_feedback(void) {
    static const char *const RULES[] = {"", ", damping: 0.1", ""};
    struct world world;
    json_t *receipt = NULL, *report = NULL;
    tsr_error err = {0};
    struct more more = some_more();
    for (int i = 0; i < 3; i++) {
        begin(&world);
        write_more(&world, NULL, COLUMNS, 3, &more);
        world.cancel_after = 4;
        CU_ASSERT_EQUAL(compress(&world, "stats", "out", &receipt, &err), TSR_E_CANCELLED);
        atomic_store(&world.cancel, 0);
        world.cancel_after = 0;
        write_config(&world, RULES[i]);
        if (i == 2) more.alike = 0.8f;
        write_more(&world, NULL, COLUMNS, 3, &more);
        EXPECT_OK(compress(&world, "stats", "out", &receipt, &err));
        json_decref(receipt);
        EXPECT_OK(job_report(in_world(&world, "out"), &report, &err));
        CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(report, "run"), "reused_tensors")),
                        i == 0 ? 4 : 3);
        json_decref(report);
        EXPECT_OK(compress(&world, "stats", "whole", &receipt, &err));
        json_decref(receipt);
        CU_ASSERT(same_tree(&world, "out", "whole"));
        world_end(&world);
    }
}

static void fisher_values_that_are_none_are_refused(void) {
    struct world world;
    json_t *receipt = NULL;
    tsr_error err = {0};
    struct more more = some_more();
    begin(&world);
    more.rows = ROWS - 1;
    write_more(&world, NULL, COLUMNS, 3, &more);
    CU_ASSERT_EQUAL(compress(&world, "stats", "out", &receipt, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "layers.0.up.output_fisher"));
    more.rows = ROWS;
    more.fisher[5] = -1;
    write_more(&world, NULL, COLUMNS, 3, &more);
    CU_ASSERT_EQUAL(compress(&world, "stats", "out", &receipt, &err), TSR_E_INPUT);
    more.fisher[5] = NAN;
    write_more(&world, NULL, COLUMNS, 3, &more);
    CU_ASSERT_EQUAL(compress(&world, "stats", "out", &receipt, &err), TSR_E_INPUT);
    world_end(&world);
}

static const struct unit_test TESTS[] = {
    {"codecs_get_the_weights_of_columns", codecs_get_the_weights_of_columns},
    {"a_part_is_known_by_its_weights", a_part_is_known_by_its_weights},
    {"other_statistics_are_refused_before_any_work", other_statistics_are_refused_before_any_work},
    {"weights_of_rows_reach_the_codec", weights_of_rows_reach_the_codec},
    {"look_ups_are_added_to_outputs", look_ups_are_added_to_outputs},
    {"errors_are_fed_back_unless_the_rule_says_no", errors_are_fed_back_unless_the_rule_says_no},
    {"a_part_is_known_by_its_feedback", a_part_is_known_by_its_feedback},
    {"fisher_values_that_are_none_are_refused", fisher_values_that_are_none_are_refused},
};
UNIT_MAIN(TESTS)
