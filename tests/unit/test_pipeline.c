/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs from end to end on generated checkpoints: what goes in comes out, whatever its dtypes, files and splits; bytes
 * do not depend on workers or interruptions; nothing half-made is ever seen. */
#define _GNU_SOURCE
#include "pipeline_world.h"

#include <sys/resource.h>

static const struct gen_tensor EVERY_DTYPE[] = {
    {"embed.weight", "BF16", 2, {300, 64}, 1},
    {"layers.0.up", "F32", 2, {64, 96}, 2},
    {"layers.1.up", "F16", 2, {64, 96}, 3},
    {"a.f64", "F64", 2, {8, 8}, 4},
    {"a.e4m3", "F8_E4M3", 2, {64, 64}, 5},
    {"a.e5m2", "F8_E5M2", 2, {64, 64}, 6},
    {"a.e8m0", "F8_E8M0", 1, {77}, 7},
    {"a.f4", "F4", 2, {16, 32}, 8},
    {"a.i64", "I64", 1, {33}, 9},
    {"a.i32", "I32", 2, {3, 5}, 10},
    {"a.i16", "I16", 1, {7}, 11},
    {"a.i8", "I8", 1, {9}, 12},
    {"a.u64", "U64", 1, {3}, 13},
    {"a.u32", "U32", 1, {3}, 14},
    {"a.u16", "U16", 1, {3}, 15},
    {"a.u8", "U8", 3, {2, 3, 4}, 16},
    {"a.bool", "BOOL", 1, {19}, 17},
    {"a.c64", "C64", 1, {4}, 18},
    {"a.future", "F6_E3M2", 1, {40}, 19},
    {"a.scalar", "F32", 0, {0}, 20},
    {"a.empty", "F32", 2, {0, 7}, 21},
    {"a.empty2", "BF16", 1, {0}, 22},
    {"head.weight", "BF16", 2, {300, 64}, 1},
    {"b.twin", "F8_E4M3", 2, {64, 64}, 5},
    {"turned.weight", "BF16", 2, {96, 200}, 23},
    {"turned.experts", "BF16", 3, {3, 40, 50}, 24},
    {"\xc3\xa9\xe4\xb8\xad \\\"q\\\"", "BF16", 1, {5}, 25},
};

static const char LOSSY[] =
    "tessera: 1\nroles: auto\nrules:\n"
    "  - {regime: argmax, dtype: [BF16, F16, F32], codec: scalar, params: {bits: 4}, optional: true}\n"
    "  - {regime: index, dtype: [BF16, F16, F32], codec: scalar, params: {bits: 7}, optional: true}\n"
    "  - {codec: passthrough, optional: true}\n";

/* A model of several megabytes' worth of tiles in a dozen tensors. */
static const struct gen_tensor MODEL[] = {
    {"embed.weight", "BF16", 2, {2000, 64}, 31},
    {"layers.0.up", "BF16", 2, {512, 700}, 32},
    {"layers.0.turned", "BF16", 2, {700, 500}, 33},
    {"layers.1.up", "BF16", 2, {512, 700}, 34},
    {"layers.1.turned", "BF16", 2, {700, 500}, 35},
    {"norm.0", "F32", 1, {64}, 36},
    {"norm.1", "F32", 1, {64}, 37},
    {"head.weight", "BF16", 2, {2000, 64}, 31},
};

static void write_model(struct world *world, const char *model) {
    gen_file(arena_format(&world->arena, "%s/%s/model.safetensors", world->root, model), MODEL, COUNT(MODEL));
    gen_config(world, model);
    write_text(arena_format(&world->arena, "%s/%s/tokenizer/vocab.txt", world->root, model), "a\nb\n", 4);
}

/* ---- round trips ---- */

static void there_and_back(struct world *world, const char *config, uint64_t max_shard_bytes) {
    tsr_error err = {0};
    json_t *result = NULL;
    EXPECT_OK(world_compress(world, "model", config, "out", max_shard_bytes, false, NULL, &err));
    EXPECT_OK(world_verify(world, "out", &result, &err));
    CU_ASSERT(json_is_true(json_object_get(result, "ok")));
    json_decref(result);
    EXPECT_OK(world_decompress(world, "out", "back", &err));
    CU_ASSERT_EQUAL(fs_kind_of(in_world(world, "out.tessera-work")), FS_ABSENT);
    CU_ASSERT_EQUAL(fs_kind_of(in_world(world, "back.tessera-work")), FS_ABSENT);
}

static void every_dtype_comes_back(void) {
    struct world world;
    world_begin(&world, 2);
    gen_file(in_world(&world, "model/model.safetensors"), EVERY_DTYPE, COUNT(EVERY_DTYPE));
    gen_config(&world, "model");
    there_and_back(&world, NULL, 0);
    CU_ASSERT(same_tree(&world, "model", "back"));
    world_end(&world);
}

static void a_single_file_keeps_its_name(void) {
    struct world world;
    tsr_error err = {0};
    world_begin(&world, 1);
    gen_file(in_world(&world, "model/weights.safetensors"), EVERY_DTYPE, COUNT(EVERY_DTYPE));
    EXPECT_OK(world_compress(&world, "model/weights.safetensors", NULL, "out", 0, false, NULL, &err));
    EXPECT_OK(world_decompress(&world, "out", "back", &err));
    CU_ASSERT(same_tree(&world, "model", "back"));
    world_end(&world);
}

static void a_file_without_tensors_comes_back(void) {
    struct world world;
    world_begin(&world, 2);
    gen_file(in_world(&world, "model/model.safetensors"), NULL, 0);
    gen_config(&world, "model");
    there_and_back(&world, NULL, 0);
    CU_ASSERT(same_tree(&world, "model", "back"));
    world_end(&world);
}

static void shards_and_index_come_back(void) {
    static const uint64_t first[] = {0, 9, 22, COUNT(EVERY_DTYPE) - 1};
    struct world world;
    world_begin(&world, 2);
    gen_shards(&world, "model", EVERY_DTYPE, first, 3);
    gen_config(&world, "model");
    there_and_back(&world, NULL, 0);
    CU_ASSERT(same_tree(&world, "model", "back"));
    CU_ASSERT_EQUAL(fs_kind_of(in_world(&world, "out/model-00003-of-00003.safetensors")), FS_FILE);
    world_end(&world);
}

static void nested_checkpoints_come_back(void) {
    struct world world;
    world_begin(&world, 2);
    write_model(&world, "model");
    gen_file(in_world(&world, "model/speech/model.safetensors"), EVERY_DTYPE, COUNT(EVERY_DTYPE));
    gen_config(&world, "model/speech");
    there_and_back(&world, NULL, 0);
    CU_ASSERT(same_tree(&world, "model", "back"));
    world_end(&world);
}

static void split_by_size_keeps_shards_below_the_limit(void) {
    struct world world;
    tsr_error err = {0};
    struct checkpoint checkpoint = {0};
    world_begin(&world, 2);
    write_model(&world, "model");
    there_and_back(&world, NULL, 600000);
    CU_ASSERT(same_tree(&world, "model", "back"));
    EXPECT_OK(checkpoint_open(in_world(&world, "out"), &checkpoint, &err));
    CU_ASSERT(checkpoint.file_count > 2);
    for (uint64_t i = 0; i < checkpoint.file_count; i++) CU_ASSERT(checkpoint.files[i].st.file.size < 620000);
    checkpoint_close(&checkpoint);
    world_end(&world);
}

static void lossy_tensors_come_back_near(void) {
    struct world world;
    tsr_error err = {0};
    json_t *diff = NULL;
    world_begin(&world, 2);
    write_model(&world, "model");
    write_text(in_world(&world, "lossy.yaml"), LOSSY, sizeof LOSSY - 1);
    there_and_back(&world, "lossy.yaml", 0);
    EXPECT_OK(job_diff(in_world(&world, "model"), in_world(&world, "out"), world.registry, &world.env, &diff, &err));
    const json_t *totals = json_object_get(diff, "totals");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(totals, "identical")), 2);
    CU_ASSERT(json_real_value(json_object_get(totals, "relative_error")) < 0.01);
    json_decref(diff);
    EXPECT_OK(job_diff(in_world(&world, "back"), in_world(&world, "out"), world.registry, &world.env, &diff, &err));
    totals = json_object_get(diff, "totals");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(totals, "identical")), (json_int_t)COUNT(MODEL));
    json_decref(diff);
    world_end(&world);
}

/* ---- determinism, resume ---- */

static void bytes_do_not_depend_on_workers(void) {
    static const uint64_t workers[] = {1, 2, 7};
    struct world world;
    tsr_error err = {0};
    for (uint64_t i = 0; i < COUNT(workers); i++) {
        static struct world first;
        struct world *w = i == 0 ? &first : &world;
        world_begin(w, workers[i]);
        write_model(w, "model");
        write_text(in_world(w, "lossy.yaml"), LOSSY, sizeof LOSSY - 1);
        EXPECT_OK(world_compress(w, "model", "lossy.yaml", "out", 0, false, NULL, &err));
        if (i == 0) continue;
        EXPECT_OK(fs_rename(in_world(w, "out"), in_world(&first, "other"), &err));
        CU_ASSERT(same_tree(&first, "out", "other"));
        EXPECT_OK(fs_remove_tree(in_world(&first, "other"), &err));
        world_end(w);
        if (i + 1 == COUNT(workers)) world_end(&first);
    }
}

static void an_interrupted_run_resumes_to_the_same_bytes(void) {
    struct world world;
    tsr_error err = {0};
    world_begin(&world, 2);
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "whole", 0, false, NULL, &err));
    for (uint64_t after = 1; after < 6; after += 2) {
        world.cancel_after = after;
        CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CANCELLED);
        CU_ASSERT_EQUAL(fs_kind_of(in_world(&world, "out")), FS_ABSENT);
        atomic_store(&world.cancel, 0);
        world.cancel_after = 0;
        EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
        CU_ASSERT(same_tree(&world, "whole", "out"));
        json_t *report = NULL;
        EXPECT_OK(job_report(in_world(&world, "out"), &report, &err));
        const json_t *run = json_object_get(report, "run");
        CU_ASSERT_EQUAL(json_integer_value(json_object_get(run, "resumes")), 1);
        CU_ASSERT(json_integer_value(json_object_get(run, "reused_tensors")) >= (json_int_t)after);
        json_decref(report);
        EXPECT_OK(fs_remove_tree(in_world(&world, "out"), &err));
    }
    world_end(&world);
}

/* A part whose bytes changed after the journal recorded it is made again. */
static void a_damaged_part_is_redone(void) {
    struct world world;
    tsr_error err = {0};
    struct fs_list parts;
    world_begin(&world, 1);
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "whole", 0, false, NULL, &err));
    world.cancel_after = 3;
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CANCELLED);
    atomic_store(&world.cancel, 0);
    world.cancel_after = 0;
    EXPECT_OK(fs_list(in_world(&world, "out.tessera-work/parts"), false, &parts, &err));
    CU_ASSERT_FATAL(parts.count >= 3);
    struct fs_output part = {0};
    char *path = fs_join(in_world(&world, "out.tessera-work/parts"), parts.names[0]);
    EXPECT_OK(fs_reopen(path, 100, &part, &err));
    EXPECT_OK(fs_finish(&part, &err));
    mem_free(path);
    fs_list_clear(&parts);
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    CU_ASSERT(same_tree(&world, "whole", "out"));
    world_end(&world);
}

static void a_changed_config_redoes_only_what_changed(void) {
    struct world world;
    tsr_error err = {0};
    json_t *report = NULL;
    world_begin(&world, 1);
    write_model(&world, "model");
    write_text(in_world(&world, "lossy.yaml"), LOSSY, sizeof LOSSY - 1);
    world.cancel_after = 6;
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CANCELLED);
    atomic_store(&world.cancel, 0);
    world.cancel_after = 0;
    world.cancel_after = 2;
    CU_ASSERT_EQUAL(world_compress(&world, "model", "lossy.yaml", "out", 0, false, NULL, &err), TSR_E_CANCELLED);
    struct fs_list parts;
    EXPECT_OK(fs_list(in_world(&world, "out.tessera-work/parts"), false, &parts, &err));
    CU_ASSERT(parts.count >= 3 && parts.count <= 4); /* the old one that fits, two new ones, one begun */
    uint64_t kept = parts.count;
    fs_list_clear(&parts);
    atomic_store(&world.cancel, 0);
    world.cancel_after = 0;
    EXPECT_OK(world_compress(&world, "model", "lossy.yaml", "out", 0, false, NULL, &err));
    EXPECT_OK(world_compress(&world, "model", "lossy.yaml", "whole", 0, false, NULL, &err));
    CU_ASSERT(same_tree(&world, "whole", "out"));
    EXPECT_OK(job_report(in_world(&world, "out"), &report, &err));
    json_int_t reused = json_integer_value(json_object_get(json_object_get(report, "run"), "reused_tensors"));
    CU_ASSERT(reused >= 3 && (uint64_t)reused <= kept);
    json_decref(report);
    world_end(&world);
}

/* A tensor that was written anew between two runs, by other workers: only what it says now is published. */
static void a_changed_source_redoes_only_what_changed(void) {
    struct world world;
    tsr_error err = {0};
    json_t *report = NULL;
    struct gen_tensor changed[COUNT(MODEL)];
    memcpy(changed, MODEL, sizeof MODEL);
    changed[1].seed += 1000;
    world_begin(&world, 1);
    write_model(&world, "model");
    world.cancel_after = 6;
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CANCELLED);
    atomic_store(&world.cancel, 0);
    world.cancel_after = 0;
    gen_file(in_world(&world, "model/model.safetensors"), changed, COUNT(changed));
    pool_destroy(world.env.pool);
    world.env.pool = pool_create(3);
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    EXPECT_OK(job_report(in_world(&world, "out"), &report, &err));
    json_int_t reused = json_integer_value(json_object_get(json_object_get(report, "run"), "reused_tensors"));
    CU_ASSERT(reused >= 4 && reused < (json_int_t)COUNT(MODEL) - 1);
    json_decref(report);
    EXPECT_OK(world_compress(&world, "model", NULL, "whole", 0, false, NULL, &err));
    CU_ASSERT(same_tree(&world, "whole", "out"));
    EXPECT_OK(world_decompress(&world, "out", "back", &err));
    CU_ASSERT(same_tree(&world, "model", "back"));
    world_end(&world);
}

static void an_unfinished_run_of_another_model_is_not_thrown_away(void) {
    struct world world;
    tsr_error err = {0};
    world_begin(&world, 1);
    write_model(&world, "model");
    gen_file(in_world(&world, "other/model.safetensors"), EVERY_DTYPE, COUNT(EVERY_DTYPE));
    gen_config(&world, "other");
    world.cancel_after = 2;
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CANCELLED);
    atomic_store(&world.cancel, 0);
    world.cancel_after = 0;
    CU_ASSERT_EQUAL(world_compress(&world, "other", NULL, "out", 0, false, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "--restart"));
    struct job_compress_options options = {
        .model = in_world(&world, "other"), .output = in_world(&world, "out"), .restart = true};
    json_t *result = NULL;
    EXPECT_OK(job_compress(&options, world.registry, &world.paths, &world.env, &result, &err));
    json_decref(result);
    world_end(&world);
}

/* A folder that fs_remove_tree gives up on: the run ends as if it had died between publication and clearing away. */
static void nest_deep(void *ctx, const struct progress *progress) {
    struct world *world = ctx;
    if (strcmp(progress->stage, "assemble") != 0 || fs_kind_of(in_world(world, "out.tessera-work/parts/d"))) return;
    struct str path = {0};
    str_add_text(&path, in_world(world, "out.tessera-work/parts"));
    for (int i = 0; i < 100; i++) str_add_text(&path, "/d");
    CU_ASSERT_EQUAL(fs_make_folder(path.text, NULL), TSR_OK);
    str_clear(&path);
}

static void remove_nest(struct world *world) {
    struct str path = {0};
    str_add_text(&path, in_world(world, "out.tessera-work/parts"));
    for (int i = 0; i < 50; i++) str_add_text(&path, "/d");
    CU_ASSERT_EQUAL(fs_remove_tree(path.text, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_remove_tree(in_world(world, "out.tessera-work/parts/d"), NULL), TSR_OK);
    str_clear(&path);
}

static void a_run_that_died_after_publication_answers_only_its_own_command(void) {
    struct world world;
    tsr_error err = {0};
    json_t *receipt = NULL;
    world_begin(&world, 1);
    write_model(&world, "model");
    write_text(in_world(&world, "lossy.yaml"), LOSSY, sizeof LOSSY - 1);
    EXPECT_OK(world_compress(&world, "model", NULL, "whole", 0, false, NULL, &err));
    world.env.progress = nest_deep;
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    world.env.progress = world_progress;
    CU_ASSERT_EQUAL_FATAL(fs_kind_of(in_world(&world, "out.tessera-work/journal")), FS_FILE);
    remove_nest(&world);
    CU_ASSERT_EQUAL(world_compress(&world, "model", "lossy.yaml", "out", 0, false, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "--force"));
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 4096, false, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT(same_tree(&world, "whole", "out"));
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, &receipt, &err));
    CU_ASSERT_PTR_NOT_NULL(json_object_get(receipt, "digest"));
    json_decref(receipt);
    CU_ASSERT_EQUAL(fs_kind_of(in_world(&world, "out.tessera-work")), FS_ABSENT);
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CONFIG);
    world_end(&world);
}

/* Where names cannot be swapped, an old output is aside for a moment. */
static void an_output_that_a_crash_left_aside_gets_its_name_back(void) {
    struct world world;
    tsr_error err = {0};
    world_begin(&world, 1);
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "whole", 0, false, NULL, &err));
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    EXPECT_OK(fs_make_folder(in_world(&world, "out.tessera-work"), &err));
    EXPECT_OK(fs_rename(in_world(&world, "out"), in_world(&world, "out.tessera-work/replaced"), &err));
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT(same_tree(&world, "whole", "out"));
    world_end(&world);
}

static void decompress_does_not_throw_away_an_unfinished_compression(void) {
    struct world world;
    tsr_error err = {0};
    json_t *report = NULL;
    world_begin(&world, 1);
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "whole", 0, false, NULL, &err));
    world.cancel_after = 3;
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CANCELLED);
    atomic_store(&world.cancel, 0);
    world.cancel_after = 0;
    CU_ASSERT_EQUAL(world_decompress(&world, "whole", "out", &err), TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "out.tessera-work"));
    CU_ASSERT_EQUAL(fs_kind_of(in_world(&world, "out")), FS_ABSENT);
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    CU_ASSERT(same_tree(&world, "whole", "out"));
    EXPECT_OK(job_report(in_world(&world, "out"), &report, &err));
    const json_t *run = json_object_get(report, "run");
    CU_ASSERT(json_integer_value(json_object_get(run, "reused_tensors")) >= 3);
    json_decref(report);
    world_end(&world);
}

/* ---- refusals ---- */

static void outputs_are_refused_before_any_work(void) {
    struct world world;
    tsr_error err = {0};
    world_begin(&world, 1);
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "model/out", 0, false, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "model", 0, true, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, ".", 0, true, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_EQUAL(world_compress(&world, "out", NULL, "again", 0, false, NULL, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "already compressed"));
    CU_ASSERT_EQUAL(fs_kind_of(in_world(&world, "again.tessera-work")), FS_ABSENT);
    world_end(&world);
}

static void force_replaces_the_output_whole(void) {
    struct world world;
    tsr_error err = {0};
    world_begin(&world, 1);
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "whole", 0, false, NULL, &err));
    write_text(in_world(&world, "out/left over"), "x", 1);
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, true, NULL, &err));
    CU_ASSERT(same_tree(&world, "whole", "out"));
    CU_ASSERT_EQUAL(fs_kind_of(in_world(&world, "out.tessera-work")), FS_ABSENT);
    world_end(&world);
}

static void a_second_run_is_refused_by_the_lock(void) {
    struct world world;
    tsr_error err = {0};
    struct fs_lock lock = {0};
    world_begin(&world, 1);
    write_model(&world, "model");
    EXPECT_OK(fs_make_folder(in_world(&world, "out.tessera-work"), &err));
    EXPECT_OK(fs_lock(in_world(&world, "out.tessera-work/lock"), &lock, &err));
    CU_ASSERT_EQUAL(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err), TSR_E_BUSY);
    fs_unlock(&lock);
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    world_end(&world);
}

/* ---- progress ---- */

static struct progress last_progress;

static void note_progress(void *ctx, const struct progress *progress) {
    (void)ctx;
    last_progress = *progress;
}

static void every_stage_arrives_at_its_total(void) {
    struct world world;
    tsr_error err = {0};
    json_t *result = NULL;
    world_begin(&world, 2);
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    world.env.progress = note_progress;
    EXPECT_OK(world_verify(&world, "out", &result, &err));
    CU_ASSERT_STRING_EQUAL(last_progress.stage, "verify");
    CU_ASSERT(last_progress.total_bytes > 1000 && last_progress.done_bytes == last_progress.total_bytes);
    CU_ASSERT(last_progress.total_items > 5 && last_progress.done_items == last_progress.total_items);
    EXPECT_OK(world_decompress(&world, "out", "back", &err));
    CU_ASSERT_STRING_EQUAL(last_progress.stage, "decompress");
    CU_ASSERT(last_progress.total_bytes > 1000 && last_progress.done_bytes == last_progress.total_bytes);
    CU_ASSERT(last_progress.done_items == last_progress.total_items);
    json_decref(result);
    world_end(&world);
}

/* ---- limits ---- */

/* Stored transposed, read in source order: strip by strip where the whole does not fit. */
static void transposed_tensors_are_compared_within_little_memory(void) {
    struct world world;
    tsr_error err = {0};
    world_begin(&world, 2);
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    for (uint64_t memory = 0; memory <= 1000000; memory += 500000) {
        json_t *result = NULL;
        world.env.memory_bytes = memory;
        EXPECT_OK(job_diff(in_world(&world, "model"), in_world(&world, "out"), world.registry, &world.env, &result, &err));
        const json_t *totals = json_object_get(result, "totals");
        CU_ASSERT_EQUAL(json_integer_value(json_object_get(totals, "identical")), COUNT(MODEL));
        CU_ASSERT_EQUAL(json_integer_value(json_object_get(totals, "differing")), 0);
        json_decref(result);
    }
    world_end(&world);
}

/* Sixteen files to read and sixteen to write, with room for one set. */
static void decompress_does_not_hold_every_file_open(void) {
    enum { FILES = 16 };
    struct world world;
    struct rlimit before, few;
    tsr_error err = {0};
    world_begin(&world, 1);
    for (unsigned i = 0; i < FILES; i++) {
        struct gen_tensor tensor = {"up.0", "BF16", 2, {16, 32}, 50 + i};
        char name[64];
        (void)snprintf(name, sizeof name, "up.%u", i);
        tensor.name = arena_format(&world.arena, "%s", name);
        gen_file(arena_format(&world.arena, "%s/model/part%u/model.safetensors", world.root, i), &tensor, 1);
    }
    write_model(&world, "model");
    EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    close(next);
    few = before;
    few.rlim_cur = (rlim_t)next + FILES + 8;
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &few), 0);
    tsr_status st = world_decompress(&world, "out", "back", &err);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_OK(st);
    CU_ASSERT(same_tree(&world, "model", "back"));
    world_end(&world);
}

/* ---- damage ---- */

static void missing_files_are_damage(void) {
    static const char *const names[] = {"out/tokenizer/vocab.txt", "out/model.safetensors", "out/config.json",
                                        "out/tessera.json"};
    for (uint64_t i = 0; i < COUNT(names); i++) {
        struct world world;
        tsr_error err = {0};
        json_t *result = NULL;
        world_begin(&world, 1);
        write_model(&world, "model");
        EXPECT_OK(world_compress(&world, "model", NULL, "out", 0, false, NULL, &err));
        EXPECT_OK(fs_remove(in_world(&world, names[i]), &err));
        CU_ASSERT_EQUAL(world_verify(&world, "out", &result, &err), TSR_E_CORRUPT);
        const json_t *damage = json_object_get(result, "damage");
        CU_ASSERT(json_array_size(damage) >= 1);
        const char *file = json_string_value(json_object_get(json_array_get(damage, 0), "file"));
        CU_ASSERT_STRING_EQUAL(file ? file : "", names[i] + 4);
        json_decref(result);
        world_end(&world);
    }
}

static void a_folder_that_is_no_output_is_bad_input(void) {
    struct world world;
    tsr_error err = {0};
    json_t *result = NULL;
    world_begin(&world, 1);
    write_model(&world, "model");
    CU_ASSERT_EQUAL(world_verify(&world, "model", &result, &err), TSR_E_INPUT);
    CU_ASSERT_EQUAL(world_verify(&world, "nowhere", &result, &err), TSR_E_INPUT);
    CU_ASSERT_EQUAL(world_decompress(&world, "model", "back", &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NULL(result);
    world_end(&world);
}

static const struct unit_test TESTS[] = {
    {"every_dtype_comes_back", every_dtype_comes_back},
    {"a_single_file_keeps_its_name", a_single_file_keeps_its_name},
    {"a_file_without_tensors_comes_back", a_file_without_tensors_comes_back},
    {"shards_and_index_come_back", shards_and_index_come_back},
    {"nested_checkpoints_come_back", nested_checkpoints_come_back},
    {"split_by_size_keeps_shards_below_the_limit", split_by_size_keeps_shards_below_the_limit},
    {"lossy_tensors_come_back_near", lossy_tensors_come_back_near},
    {"bytes_do_not_depend_on_workers", bytes_do_not_depend_on_workers},
    {"an_interrupted_run_resumes_to_the_same_bytes", an_interrupted_run_resumes_to_the_same_bytes},
    {"a_damaged_part_is_redone", a_damaged_part_is_redone},
    {"a_changed_config_redoes_only_what_changed", a_changed_config_redoes_only_what_changed},
    {"a_changed_source_redoes_only_what_changed", a_changed_source_redoes_only_what_changed},
    {"an_unfinished_run_of_another_model_is_not_thrown_away", an_unfinished_run_of_another_model_is_not_thrown_away},
    {"a_run_that_died_after_publication_answers_only_its_own_command",
     a_run_that_died_after_publication_answers_only_its_own_command},
    {"an_output_that_a_crash_left_aside_gets_its_name_back", an_output_that_a_crash_left_aside_gets_its_name_back},
    {"decompress_does_not_throw_away_an_unfinished_compression",
     decompress_does_not_throw_away_an_unfinished_compression},
    {"outputs_are_refused_before_any_work", outputs_are_refused_before_any_work},
    {"force_replaces_the_output_whole", force_replaces_the_output_whole},
    {"a_second_run_is_refused_by_the_lock", a_second_run_is_refused_by_the_lock},
    {"every_stage_arrives_at_its_total", every_stage_arrives_at_its_total},
    {"transposed_tensors_are_compared_within_little_memory", transposed_tensors_are_compared_within_little_memory},
    {"decompress_does_not_hold_every_file_open", decompress_does_not_hold_every_file_open},
    {"missing_files_are_damage", missing_files_are_damage},
    {"a_folder_that_is_no_output_is_bad_input", a_folder_that_is_no_output_is_bad_input},
};
UNIT_MAIN(TESTS)
