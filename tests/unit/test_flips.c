/* SPDX-License-Identifier: Apache-2.0
 *
 * Every single flipped bit of an output is found by verify, and blamed on the file and, inside a payload or blob, on
 * the tensor it is in. 300 random ones; TESSERA_SOAK=1 tries 10000. */
#define _GNU_SOURCE
#include "pipeline_world.h"

#include <fcntl.h>
#include <format/safetensors.h>
#include <unistd.h>

static const struct gen_tensor MODEL[] = {
    {"embed.weight", "BF16", 2, {100, 64}, 1},
    {"layers.0.up", "BF16", 2, {128, 100}, 2},
    {"layers.0.turned", "BF16", 2, {60, 80}, 3},
    {"norm", "F32", 1, {64}, 4},
    {"ints", "I32", 1, {50}, 5},
    {"empty", "F32", 1, {0}, 6},
    {"head.weight", "BF16", 2, {100, 64}, 1},
    {"scalar", "F16", 0, {0}, 7},
};

static const char LOSSY[] = "tessera: 1\nroles: auto\nrules:\n"
                            "  - {regime: argmax, codec: scalar, params: {bits: 4}, optional: true}\n"
                            "  - {codec: passthrough, optional: true}\n";

/* The tensor whose bytes hold `offset`, NULL for the header. */
static const char *tensor_at(const char *path, uint64_t offset, struct safetensors *st) {
    if (!text_ends_with(path, ".safetensors")) return NULL;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(safetensors_open(path, st, &err), TSR_OK);
    for (uint64_t i = 0; i < st->count; i++) {
        if (offset >= st->entries[i].offset && offset < st->entries[i].offset + st->entries[i].bytes) {
            return st->entries[i].name;
        }
    }
    return NULL;
}

static void flip(const char *path, uint64_t offset, int bit) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    unsigned char byte = 0;
    CU_ASSERT_FATAL(fd >= 0 && pread(fd, &byte, 1, (off_t)offset) == 1);
    byte = (unsigned char)(byte ^ (1 << bit));
    CU_ASSERT_FATAL(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    close(fd);
}

/* True when the list of damage has exactly this file and this tensor. */
static bool blamed(const json_t *result, const char *file, const char *tensor) {
    const json_t *damage = json_object_get(result, "damage");
    for (size_t i = 0; i < json_array_size(damage); i++) {
        const json_t *entry = json_array_get(damage, i);
        const char *in = json_string_value(json_object_get(entry, "file"));
        const char *what = json_string_value(json_object_get(entry, "tensor"));
        if (!in || strcmp(in, file) != 0 || !what != !tensor || (what && strcmp(what, tensor) != 0)) return false;
    }
    return json_array_size(damage) == 1;
}

static bool flip_is_found(struct world *world, const struct fs_list *files, const uint64_t *bytes, uint64_t at,
                          int bit) {
    uint64_t file = 0;
    tsr_error err = {0};
    json_t *result = NULL;
    struct safetensors st = {0};
    for (; at >= bytes[file]; file++) at -= bytes[file];
    char *path = fs_join(in_world(world, "out"), files->names[file]);
    const char *tensor = tensor_at(path, at, &st);
    flip(path, at, bit);
    tsr_status status = world_verify(world, "out", &result, &err);
    bool found = status == TSR_E_CORRUPT && blamed(result, files->names[file], tensor);
    if (!found) {
        char *text = json_dumps(result, 0);
        printf("  %s byte %llu bit %d (%s): %d %s\n", files->names[file], (unsigned long long)at, bit,
               tensor ? tensor : "header", status, text ? text : "");
        free(text);
    }
    flip(path, at, bit);
    json_decref(result);
    safetensors_close(&st);
    mem_free(path);
    return found;
}

static void try_flips(const char *config, uint64_t max_shard_bytes, uint64_t flips) {
    struct world world;
    struct fs_list files;
    tsr_error err = {0};
    uint64_t total = 0, bytes[32];
    struct rng rng = {flips};
    world_begin(&world, 1);
    gen_file(in_world(&world, "model/model.safetensors"), MODEL, COUNT(MODEL));
    gen_config(&world, "model");
    write_text(in_world(&world, "model/vocab.txt"), "some words\n", 11);
    write_text(in_world(&world, "lossy.yaml"), LOSSY, sizeof LOSSY - 1);
    EXPECT_OK(world_compress(&world, "model", config, "out", max_shard_bytes, false, NULL, &err));
    EXPECT_OK(fs_list(in_world(&world, "out"), true, &files, &err));
    CU_ASSERT_FATAL(files.count <= COUNT(bytes));
    for (uint64_t i = 0; i < files.count; i++) {
        char *path = fs_join(in_world(&world, "out"), files.names[i]), *text = NULL;
        EXPECT_OK(fs_read_whole(path, 1 << 24, &text, &bytes[i], &err));
        total += bytes[i];
        mem_free(text);
        mem_free(path);
    }
    uint64_t missed = 0;
    for (uint64_t i = 0; i < flips; i++) {
        missed += !flip_is_found(&world, &files, bytes, rng_below(&rng, total), (int)rng_below(&rng, 8));
    }
    CU_ASSERT_EQUAL(missed, 0);
    json_t *result = NULL;
    EXPECT_OK(world_verify(&world, "out", &result, &err));
    json_decref(result);
    fs_list_clear(&files);
    world_end(&world);
}

static uint64_t flip_count(void) {
    return getenv("TESSERA_SOAK") ? 5000 : 150;
}

static void flips_in_a_lossless_output_are_found(void) {
    try_flips(NULL, 0, flip_count());
}

static void flips_in_a_lossy_output_of_shards_are_found(void) {
    try_flips("lossy.yaml", 8000, flip_count());
}

static const struct unit_test TESTS[] = {
    {"flips_in_a_lossless_output_are_found", flips_in_a_lossless_output_are_found},
    {"flips_in_a_lossy_output_of_shards_are_found", flips_in_a_lossy_output_of_shards_are_found},
};
UNIT_MAIN(TESTS)
