/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder of its own for each test of jobs: generated checkpoints, the real codecs, and questions about trees of
 * files. */
#ifndef TESTS_UNIT_PIPELINE_WORLD_H
#define TESTS_UNIT_PIPELINE_WORLD_H

#include "unit.h"

#include <base/alloc.h>
#include <base/arena.h>
#include <base/fs.h>
#include <base/pool.h>
#include <base/rng.h>
#include <base/str.h>
#include <format/checkpoint.h>
#include <format/dtype.h>
#include <pipeline/job.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const tsr_plugin tsr_plugin_passthrough, tsr_plugin_scalar;

struct gen_tensor {
    const char *name;
    const char *dtype;
    uint64_t rank, shape[3];
    uint64_t seed; /* equal seeds give equal bytes */
};

struct world {
    char root[40];
    struct env env;
    struct registry *registry;
    const char *role_folders[1];
    struct job_paths paths;
    struct arena arena;
    atomic_int cancel;
    uint64_t cancel_after; /* items of the encode stage; 0: never */
};

static const char WORLD_ROLES[] = "tessera_roles: 1\n"
                                  "family: tiny\n"
                                  "model_types: [tiny]\n"
                                  "rules:\n"
                                  "  - {match: \"*embed*\", role: embed}\n"
                                  "  - {match: \"*head*\", role: lm_head}\n"
                                  "  - {match: \"*up*\", role: mlp_up}\n"
                                  "  - {match: \"*turned*\", role: mlp_down, view: transposed}\n"
                                  "  - {match: \"*\", role: norm}\n";

static const char GENERIC_ROLES[] = "tessera_roles: 1\nfamily: generic\nmodel_types: []\n"
                                    "rules:\n  - {match: \"*\", role: norm}\n";

static inline const char *in_world(struct world *world, const char *name) {
    return arena_format(&world->arena, "%s/%s", world->root, name);
}

static inline void write_text(const char *path, const char *text, uint64_t size) {
    tsr_error err = {0};
    char *folder = mem_dup_text(path);
    *strrchr(folder, '/') = '\0';
    tsr_status st = fs_make_folder(folder, &err);
    if (st == TSR_OK) st = fs_replace(path, text, size, &err);
    if (st != TSR_OK) printf("  %s\n", err.message);
    CU_ASSERT_EQUAL_FATAL(st, TSR_OK);
    mem_free(folder);
}

static inline void world_progress(void *ctx, const struct progress *progress) {
    struct world *world = ctx;
    if (world->cancel_after && !strcmp(progress->stage, "encode") && progress->done_items >= world->cancel_after) {
        atomic_store(&world->cancel, 1);
    }
}

static inline void world_begin(struct world *world, uint64_t workers) {
    tsr_error err = {0};
    memset(world, 0, sizeof *world);
    /* Syncing to memory is free, and what is tested here does not need a disk. */
    bool in_memory = !access("/dev/shm", W_OK);
    (void)snprintf(world->root, sizeof world->root, "%s/tessera-job-XXXXXX", in_memory ? "/dev/shm" : "/tmp");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(world->root));
    world->env =
        (struct env){.pool = pool_create(workers), .progress = world_progress, .ctx = world, .cancel = &world->cancel};
    CU_ASSERT_EQUAL_FATAL(registry_create(NULL, 0, &world->env, &world->registry, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(registry_add(world->registry, &tsr_plugin_passthrough, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(registry_add(world->registry, &tsr_plugin_scalar, &err), TSR_OK);
    world->role_folders[0] = in_world(world, "roles");
    world->paths = (struct job_paths){.role_folders = world->role_folders, .role_folder_count = 1};
    write_text(in_world(world, "roles/tiny.yaml"), WORLD_ROLES, sizeof WORLD_ROLES - 1);
    write_text(in_world(world, "roles/generic.yaml"), GENERIC_ROLES, sizeof GENERIC_ROLES - 1);
}

static inline void world_end(struct world *world) {
    registry_destroy(world->registry);
    pool_destroy(world->env.pool);
    (void)fs_remove_tree(world->root, NULL);
    arena_clear(&world->arena);
}

/* ---- checkpoints ---- */

static inline uint64_t gen_bytes(const struct gen_tensor *tensor) {
    uint64_t count = 1;
    for (uint64_t i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
    int32_t dtype = dtype_from_name(tensor->dtype);
    return count * (dtype == TSR_DTYPE_OPAQUE ? 8 : dtype_bits(dtype)) / 8;
}

/* Bell-shaped values in float dtypes, random bytes in others. */
static inline void gen_fill(const struct gen_tensor *tensor, uint8_t *dst) {
    struct rng rng = {tensor->seed};
    int32_t dtype = dtype_from_name(tensor->dtype);
    uint64_t bytes = gen_bytes(tensor);
    if (!dtype_is_float(dtype)) {
        for (uint64_t i = 0; i < bytes; i++)
            dst[i] = (uint8_t)(dtype == TSR_DTYPE_BOOL ? rng_next(&rng) & 1 : rng_next(&rng));
        return;
    }
    uint64_t width = dtype_bits(dtype) / 8;
    for (uint64_t i = 0; i < bytes / width; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++) sum += rng_real(&rng);
        float value = (float)(sum * 0.02);
        dtype_from_f32(dtype, &value, 1, dst + i * width);
    }
}

static inline void gen_file(const char *path, const struct gen_tensor *tensors, uint64_t count) {
    struct str header = {0}, data = {0}, file = {0};
    str_add_text(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (uint64_t t = 0; t < count; t++) {
        uint64_t bytes = gen_bytes(&tensors[t]);
        uint8_t *values = mem_alloc(bytes + 1);
        gen_fill(&tensors[t], values);
        str_add_format(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", tensors[t].name, tensors[t].dtype);
        for (uint64_t i = 0; i < tensors[t].rank; i++) {
            str_add_format(&header, "%s%llu", i ? "," : "", (unsigned long long)tensors[t].shape[i]);
        }
        str_add_format(&header, "],\"data_offsets\":[%zu,%zu]}", data.length, data.length + (size_t)bytes);
        str_add(&data, values, bytes);
        mem_free(values);
    }
    str_add_text(&header, "}");
    while (header.length % 8) str_add_text(&header, " ");
    str_add_le(&file, header.length, 8);
    str_add(&file, header.text, header.length);
    if (data.length) str_add(&file, data.text, data.length);
    write_text(path, file.text, file.length);
    str_clear(&header);
    str_clear(&data);
    str_clear(&file);
}

static inline void gen_config(struct world *world, const char *model) {
    static const char text[] = "{\n  \"model_type\": \"tiny\",\n  \"hidden_size\": 64\n}\n";
    write_text(arena_format(&world->arena, "%s/%s/config.json", world->root, model), text, sizeof text - 1);
}

/* Shards with an index; shard k has tensors first[k]..first[k+1]-1. */
static inline void gen_shards(struct world *world, const char *model, const struct gen_tensor *tensors,
                              const uint64_t *first, uint64_t shards) {
    struct str index = {0};
    str_add_text(&index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (uint64_t k = 0; k < shards; k++) {
        const char *name = arena_format(&world->arena, "model-%05d-of-%05d.safetensors", (int)k + 1, (int)shards);
        gen_file(arena_format(&world->arena, "%s/%s/%s", world->root, model, name), tensors + first[k],
                 first[k + 1] - first[k]);
        for (uint64_t t = first[k]; t < first[k + 1]; t++) {
            str_add_format(&index, "%s\"%s\": \"%s\"", t ? ", " : "", tensors[t].name, name);
        }
    }
    str_add_text(&index, "}}\n");
    write_text(arena_format(&world->arena, "%s/%s/model.safetensors.index.json", world->root, model), index.text,
               index.length);
    str_clear(&index);
}

/* ---- jobs ---- */

static inline tsr_status world_compress(struct world *world, const char *model, const char *config, const char *output,
                                        uint64_t max_shard_bytes, bool force, json_t **receipt, tsr_error *err) {
    struct job_compress_options options = {.model = in_world(world, model),
                                           .config = config ? in_world(world, config) : NULL,
                                           .output = in_world(world, output),
                                           .max_shard_bytes = max_shard_bytes,
                                           .force = force};
    json_t *result = NULL;
    tsr_status st = job_compress(&options, world->registry, &world->paths, &world->env, &result, err);
    if (receipt) {
        *receipt = result;
    } else {
        json_decref(result);
    }
    return st;
}

static inline tsr_status world_verify(struct world *world, const char *output, json_t **result, tsr_error *err) {
    return job_verify(in_world(world, output), world->registry, &world->env, result, err);
}

static inline tsr_status world_decompress(struct world *world, const char *output, const char *back, tsr_error *err) {
    json_t *result = NULL;
    struct job_decompress_options options = {.output = in_world(world, output), .destination = in_world(world, back)};
    tsr_status st = job_decompress(&options, world->registry, &world->env, &result, err);
    json_decref(result);
    return st;
}

/* ---- trees ---- */

static inline bool same_file(const char *a, const char *b) {
    char *x = NULL, *y = NULL;
    uint64_t size_x = 0, size_y = 1;
    bool same = !fs_read_whole(a, 1 << 28, &x, &size_x, NULL) && !fs_read_whole(b, 1 << 28, &y, &size_y, NULL) &&
                size_x == size_y && !memcmp(x, y, size_x);
    mem_free(x);
    mem_free(y);
    return same;
}

/* The same names with the same bytes on both sides; tessera.run.json is not looked into. */
static inline bool same_tree(struct world *world, const char *a, const char *b) {
    struct fs_list left, right;
    bool same = true;
    CU_ASSERT_EQUAL_FATAL(fs_list(in_world(world, a), true, &left, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_list(in_world(world, b), true, &right, NULL), TSR_OK);
    same = left.count == right.count;
    for (uint64_t i = 0; same && i < left.count; i++) {
        same = !strcmp(left.names[i], right.names[i]);
        if (!same || !strcmp(left.names[i], "tessera.run.json")) continue;
        char *x = fs_join(in_world(world, a), left.names[i]), *y = fs_join(in_world(world, b), left.names[i]);
        same = same_file(x, y);
        if (!same) printf("  %s and %s differ\n", x, y);
        mem_free(x);
        mem_free(y);
    }
    if (!same)
        printf("  %s: %llu files, %s: %llu\n", a, (unsigned long long)left.count, b, (unsigned long long)right.count);
    fs_list_clear(&left);
    fs_list_clear(&right);
    return same;
}

#define EXPECT_OK(call)                                                                                                \
    do {                                                                                                               \
        tsr_status st_ = (call);                                                                                       \
        if (st_) printf("  %d: %s\n", st_, err.message);                                                               \
        CU_ASSERT_EQUAL_FATAL(st_, TSR_OK);                                                                            \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
