/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera.h as a foreign program sees it: rows of a compressed checkpoint are those of the raw one in every dtype, cut and
 * form; bad requests are refused before anything is written; two libraries work at once, also in a locale with a decimal
 * comma; progress and cancel stop a call and leave the library usable. */
#define _XOPEN_SOURCE 700
#include "comma.h"
#include "pipeline_world.h"

#include <pthread.h>
#include <tessera/tessera.h>

static const struct gen_tensor TENSORS[] = {
    {"layer.up.weight", "BF16", 2, {1100, 512}, 1}, /* three tiles */
    {"layer.turned.weight", "F16", 2, {64, 96}, 2}, /* a codec sees it transposed */
    {"layer.turned.experts", "BF16", 3, {3, 40, 24}, 3},
    {"norm.weight", "F32", 1, {64}, 4},
    {"ids", "I64", 2, {5, 3}, 5},
    {"mask", "BOOL", 1, {7}, 6},
    {"empty", "F32", 2, {0, 4}, 7},
    {"scale", "F32", 0, {0}, 8},
    {"layer.up.copy", "BF16", 2, {1100, 512}, 1}, /* an alias of the first */
};

static const char CONFIG[] = "tessera: 1\nroles: auto\nrules:\n"
                             "  - {match: \"*up*\", codec: scalar, params: {step: 0.25, dead_zone: 0.05}}\n"
                             "  - {codec: passthrough}\n";

static struct world world;
static tsr_error err;
static const char *model, *roles, *lossy; /* paths; threads may not make their own in the world's arena */

static tsr_library *create(uint64_t workers) {
    tsr_library_options options = {.struct_size = sizeof options, .workers = workers, .roles_path = roles};
    tsr_library *library = NULL;
    EXPECT_OK(tsr_library_create(&options, &library, &err));
    return library;
}

static tsr_status compress(tsr_library *library, const char *config, const char *output, tsr_error *why) {
    tsr_compress_options options = {.struct_size = sizeof options, .model = model, .output = output,
                                    .config = config};
    return tsr_compress(library, &options, NULL, why);
}

static tsr_checkpoint *open_in_world(tsr_library *library, const char *name) {
    tsr_checkpoint *checkpoint = NULL;
    EXPECT_OK(tsr_checkpoint_open(library, in_world(&world, name), &checkpoint, &err));
    return checkpoint;
}

static tsr_tensor_info info_of(const tsr_checkpoint *checkpoint, const char *name) {
    tsr_tensor_info info = {.struct_size = sizeof info};
    uint64_t index = 0;
    EXPECT_OK(tsr_checkpoint_find(checkpoint, name, &index, &err));
    EXPECT_OK(tsr_checkpoint_tensor(checkpoint, index, &info, &err));
    return info;
}

static tsr_read read_of(const tsr_checkpoint *checkpoint, const char *name, void *dst, uint64_t bytes) {
    tsr_read read = {.struct_size = sizeof read, .row_count = TSR_ALL_ROWS, .dst = dst, .dst_bytes = bytes};
    EXPECT_OK(tsr_checkpoint_find(checkpoint, name, &read.tensor, &err));
    return read;
}

/* ---- rows ---- */

/* Rows first..first+count-1 in both forms against the whole tensor `all` of the other checkpoint. */
static void expect_rows(tsr_checkpoint *checkpoint, const tsr_tensor_info *info, const uint8_t *all, uint64_t first,
                        uint64_t count) {
    uint64_t bytes = count * info->row_bytes, elements = info->f32_bytes ? count * (info->f32_bytes / info->rows / 4) : 0;
    uint8_t *got = mem_alloc(bytes + 1);
    float *wide = mem_alloc((elements + 1) * sizeof *wide), *expected = mem_alloc((elements + 1) * sizeof *wide);
    got[bytes] = 0xA5;
    wide[elements] = 123;
    tsr_read reads[2] = {read_of(checkpoint, info->name, got, bytes), read_of(checkpoint, info->name, wide, elements * 4)};
    for (int i = 0; i < 2; i++) reads[i].first_row = first, reads[i].row_count = count;
    reads[1].form = TSR_FORM_F32;
    EXPECT_OK(tsr_checkpoint_read(checkpoint, reads, info->f32_bytes ? 2 : 1, &err));
    if (bytes) CU_ASSERT_EQUAL(memcmp(got, all + first * info->row_bytes, bytes), 0);
    if (elements) dtype_to_f32(info->dtype, all + first * info->row_bytes, elements, expected);
    CU_ASSERT_EQUAL(memcmp(wide, expected, elements * sizeof *wide), 0);
    CU_ASSERT(got[bytes] == 0xA5 && wide[elements] == 123); /* nothing behind them */
    mem_free(got);
    mem_free(wide);
    mem_free(expected);
}

static void expect_equal_rows(tsr_checkpoint *raw, tsr_checkpoint *stored) {
    for (size_t t = 0; t < COUNT(TENSORS); t++) {
        tsr_tensor_info info = info_of(raw, TENSORS[t].name), other = info_of(stored, TENSORS[t].name);
        uint8_t *all = mem_alloc(info.bytes + 1);
        tsr_read read = read_of(raw, TENSORS[t].name, all, info.bytes);
        EXPECT_OK(tsr_checkpoint_read(raw, &read, 1, &err));
        CU_ASSERT(info.bytes == gen_bytes(&TENSORS[t]) && other.bytes == info.bytes && other.rows == info.rows);
        CU_ASSERT_STRING_EQUAL(info.dtype_name, other.dtype_name);
        uint64_t cuts[][2] = {{0, info.rows}, {0, 1}, {info.rows / 2, 1}, {info.rows - 1, 1}, {info.rows / 3, info.rows / 3}, {511, 3}};
        for (size_t c = 0; c < COUNT(cuts); c++) {
            if (cuts[c][0] > info.rows || cuts[c][1] > info.rows - cuts[c][0]) continue;
            expect_rows(raw, &info, all, cuts[c][0], cuts[c][1]);
            expect_rows(stored, &other, all, cuts[c][0], cuts[c][1]);
        }
        mem_free(all);
    }
}

/* What all tests work on. */
static void make_world(void) {
    world_begin(&world, 1);
    gen_config(&world, "model");
    gen_file(in_world(&world, "model/model.safetensors"), TENSORS, COUNT(TENSORS));
    model = in_world(&world, "model");
    roles = in_world(&world, "roles");
    lossy = in_world(&world, "lossy.yaml");
    write_text(lossy, CONFIG, sizeof CONFIG - 1);
}

static void rows_of_a_compressed_checkpoint_are_those_of_the_raw_one(void) {
    make_world();
    tsr_library *library = create(2);
    EXPECT_OK(compress(library, NULL, in_world(&world, "lossless"), &err));
    tsr_checkpoint *raw = open_in_world(library, "model"), *stored = open_in_world(library, "lossless");
    CU_ASSERT(!tsr_checkpoint_is_compressed(raw) && tsr_checkpoint_is_compressed(stored));
    CU_ASSERT_EQUAL(tsr_checkpoint_count(stored), COUNT(TENSORS));
    expect_equal_rows(raw, stored);
    tsr_tensor_info copy = info_of(stored, "layer.up.copy");
    CU_ASSERT_STRING_EQUAL(copy.alias_of, "layer.up.weight");
    CU_ASSERT(copy.exact == 1 && copy.stored_bytes == 0);
    CU_ASSERT_STRING_EQUAL(copy.role, "mlp_up");
    tsr_checkpoint_close(raw);
    tsr_checkpoint_close(stored);
    tsr_library_destroy(library);
}

static void rows_of_lossy_tensors_are_those_of_their_decompression(void) {
    tsr_library *library = create(2);
    EXPECT_OK(compress(library, lossy, in_world(&world, "lossy"), &err));
    tsr_decompress_options back = {.struct_size = sizeof back, .path = in_world(&world, "lossy"), .destination = in_world(&world, "back")};
    EXPECT_OK(tsr_decompress(library, &back, NULL, &err));
    tsr_checkpoint *raw = open_in_world(library, "back"), *stored = open_in_world(library, "lossy");
    expect_equal_rows(raw, stored);
    CU_ASSERT_EQUAL(info_of(stored, "layer.up.weight").exact, 0);
    back.exact = 1;
    back.force = 1;
    CU_ASSERT_EQUAL(tsr_decompress(library, &back, NULL, &err), TSR_E_CONFIG);
    tsr_checkpoint_close(raw);
    tsr_checkpoint_close(stored);
    tsr_library_destroy(library);
}

/* ---- refusals ---- */

static void bad_requests_are_refused_before_anything_is_written(void) {
    static const char *const names[] = {"model", "lossless"};
    tsr_library *library = create(1);
    for (size_t i = 0; i < COUNT(names); i++) {
        tsr_checkpoint *checkpoint = open_in_world(library, names[i]);
        float good[64], bad[64];
        memset(good, 0x77, sizeof good);
        tsr_read reads[2] = {read_of(checkpoint, "norm.weight", good, sizeof good), read_of(checkpoint, "norm.weight", bad, sizeof bad)};
        const tsr_read fine = reads[1];
        reads[1].dst_bytes = sizeof bad - 1;
        CU_ASSERT_EQUAL(tsr_checkpoint_read(checkpoint, reads, 2, &err), TSR_E_SPACE);
        reads[1] = fine;
        reads[1].first_row = 60;
        reads[1].row_count = 5;
        CU_ASSERT_EQUAL(tsr_checkpoint_read(checkpoint, reads, 2, &err), TSR_E_ARGUMENT);
        reads[1].first_row = UINT64_MAX;
        CU_ASSERT_EQUAL(tsr_checkpoint_read(checkpoint, reads, 2, &err), TSR_E_ARGUMENT);
        reads[1] = fine;
        reads[1].tensor = COUNT(TENSORS);
        CU_ASSERT_EQUAL(tsr_checkpoint_read(checkpoint, reads, 2, &err), TSR_E_ARGUMENT);
        reads[1] = fine;
        reads[1].form = 2;
        CU_ASSERT_EQUAL(tsr_checkpoint_read(checkpoint, reads, 2, &err), TSR_E_ARGUMENT);
        reads[1] = read_of(checkpoint, "ids", bad, sizeof bad);
        reads[1].form = TSR_FORM_F32;
        CU_ASSERT_EQUAL(tsr_checkpoint_read(checkpoint, reads, 2, &err), TSR_E_UNSUPPORTED);
        reads[0].struct_size = 4;
        CU_ASSERT_EQUAL(tsr_checkpoint_read(checkpoint, reads, 2, &err), TSR_E_ARGUMENT);
        CU_ASSERT_EQUAL(tsr_checkpoint_read(checkpoint, NULL, 1, &err), TSR_E_ARGUMENT);
        for (size_t k = 0; k < sizeof good; k++) CU_ASSERT_EQUAL_FATAL(((uint8_t *)good)[k], 0x77);
        uint64_t index = 77;
        CU_ASSERT_EQUAL(tsr_checkpoint_find(checkpoint, "norm.weights", &index, &err), TSR_E_INPUT);
        CU_ASSERT_EQUAL(index, 77);
        tsr_checkpoint_close(checkpoint);
    }
    tsr_library_destroy(library);
}

static void structs_of_older_programs_are_filled_as_far_as_they_go(void) {
    tsr_library *library = create(1);
    tsr_checkpoint *checkpoint = open_in_world(library, "model");
    tsr_tensor_info info;
    memset(&info, 0x55, sizeof info);
    info.struct_size = offsetof(tsr_tensor_info, role);
    EXPECT_OK(tsr_checkpoint_tensor(checkpoint, 0, &info, &err));
    CU_ASSERT_STRING_EQUAL(info.dtype_name, "BF16");
    CU_ASSERT_EQUAL(info.rank, UINT64_C(0x5555555555555555));
    info.struct_size = 0;
    CU_ASSERT_EQUAL(tsr_checkpoint_tensor(checkpoint, 0, &info, &err), TSR_E_ARGUMENT);
    info.struct_size = sizeof info;
    CU_ASSERT_EQUAL(tsr_checkpoint_tensor(checkpoint, COUNT(TENSORS), &info, &err), TSR_E_ARGUMENT);
    tsr_checkpoint_close(checkpoint);
    tsr_compress_options none = {.struct_size = sizeof none};
    CU_ASSERT_EQUAL(tsr_compress(library, &none, NULL, &err), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(tsr_compress(library, NULL, NULL, &err), TSR_E_ARGUMENT);
    none = (tsr_compress_options){.struct_size = sizeof none, .model = "m", .output = "o", .shard = 3, .shard_count = 2};
    CU_ASSERT_EQUAL(tsr_compress(library, &none, NULL, &err), TSR_E_ARGUMENT);
    tsr_library_options many = {.struct_size = sizeof many, .workers = 1 << 20};
    tsr_library *other = NULL;
    CU_ASSERT_EQUAL(tsr_library_create(&many, &other, &err), TSR_E_ARGUMENT);
    CU_ASSERT_PTR_NULL(other);
    tsr_library_destroy(library);
}

static void damage_is_found_and_listed(void) {
    char *bytes = NULL, *json = NULL;
    uint64_t size = 0, index = 0;
    const char *path = in_world(&world, "lossless/model.safetensors");
    tsr_library *library = create(2);
    EXPECT_OK(tsr_verify(library, in_world(&world, "lossless"), &json, &err));
    CU_ASSERT_PTR_NOT_NULL(strstr(json, "\"ok\":true"));
    tsr_text_free(json);
    EXPECT_OK(fs_read_whole(path, 1 << 28, &bytes, &size, &err));
    bytes[size / 2] ^= 1;
    EXPECT_OK(fs_replace(path, bytes, size, &err));
    CU_ASSERT_EQUAL(tsr_verify(library, in_world(&world, "lossless"), &json, &err), TSR_E_CORRUPT);
    CU_ASSERT(json && strstr(json, "\"ok\":false") && strstr(json, "layer."));
    tsr_text_free(json);
    tsr_checkpoint *checkpoint = open_in_world(library, "lossless");
    unsigned failures = 0;
    for (; index < tsr_checkpoint_count(checkpoint); index++) {
        tsr_tensor_info info = {.struct_size = sizeof info};
        EXPECT_OK(tsr_checkpoint_tensor(checkpoint, index, &info, &err));
        void *dst = mem_alloc(info.bytes);
        tsr_read read = read_of(checkpoint, info.name, dst, info.bytes);
        failures += tsr_checkpoint_read(checkpoint, &read, 1, &err) == TSR_E_CORRUPT;
        mem_free(dst);
    }
    CU_ASSERT(failures == 1 || failures == 2); /* with its alias */
    bytes[size / 2] ^= 1;
    EXPECT_OK(fs_replace(path, bytes, size, &err));
    mem_free(bytes);
    tsr_checkpoint_close(checkpoint);
    tsr_library_destroy(library);
}

/* ---- stopping ---- */

struct listener {
    unsigned heard, stop_at;
    bool done; /* the last report had all bytes */
};

static int32_t listen(void *ctx, const tsr_progress *progress) {
    struct listener *listener = ctx;
    CU_ASSERT(progress->done_bytes <= progress->total_bytes && progress->done_items <= progress->total_items);
    listener->done = progress->done_items == progress->total_items;
    return ++listener->heard == listener->stop_at;
}

static void a_listener_can_stop_one_call(void) {
    struct listener listener = {0};
    tsr_library_options options = {.struct_size = sizeof options, .workers = 2, .ctx = &listener, .progress = listen};
    tsr_library *library = NULL;
    EXPECT_OK(tsr_library_create(&options, &library, &err));
    EXPECT_OK(tsr_verify(library, in_world(&world, "lossless"), NULL, &err));
    CU_ASSERT(listener.heard > 3 && listener.done);
    listener = (struct listener){.stop_at = 2};
    CU_ASSERT_EQUAL(tsr_verify(library, in_world(&world, "lossless"), NULL, &err), TSR_E_CANCELLED);
    EXPECT_OK(tsr_verify(library, in_world(&world, "lossless"), NULL, &err));
    tsr_library_destroy(library);
}

static void cancel_stays_until_it_is_taken_back(void) {
    tsr_library *library = create(2);
    tsr_library_cancel(library, 1);
    CU_ASSERT_EQUAL(tsr_verify(library, in_world(&world, "lossless"), NULL, &err), TSR_E_CANCELLED);
    CU_ASSERT_EQUAL(tsr_verify(library, in_world(&world, "lossless"), NULL, &err), TSR_E_CANCELLED);
    tsr_library_cancel(library, 0);
    EXPECT_OK(tsr_verify(library, in_world(&world, "lossless"), NULL, &err));
    tsr_library_destroy(library);
}

/* ---- at once ---- */

struct guest {
    tsr_library *library; /* shared, or NULL: one of its own */
    const char *output;
    tsr_status status;
    tsr_error error;
};

static void *work_as_guest(void *ctx) {
    struct guest *guest = ctx;
    tsr_library *library = guest->library;
    tsr_library_options options = {.struct_size = sizeof options, .workers = 2, .roles_path = roles};
    if (!library) guest->status = tsr_library_create(&options, &library, &guest->error);
    if (!guest->status) guest->status = compress(library, lossy, guest->output, &guest->error);
    for (int i = 0; i < 4 && !guest->status; i++) guest->status = tsr_verify(library, guest->output, NULL, &guest->error);
    if (!guest->library) tsr_library_destroy(library);
    return NULL;
}

static void run_two_guests(tsr_library *library, const char *a, const char *b) {
    struct guest guests[2] = {{.library = library, .output = in_world(&world, a)}, {.library = library, .output = in_world(&world, b)}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, work_as_guest, &guests[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        if (guests[i].status) printf("  %s\n", guests[i].error.message);
        CU_ASSERT_EQUAL(guests[i].status, TSR_OK);
    }
    CU_ASSERT(same_tree(&world, a, "lossy") && same_tree(&world, b, "lossy"));
}

static void two_libraries_work_at_once(void) {
    run_two_guests(NULL, "own-a", "own-b");
}

static void two_threads_take_turns_on_one_library(void) {
    tsr_library *library = create(2);
    run_two_guests(library, "shared-a", "shared-b");
    tsr_library_destroy(library);
}

static void a_locale_with_a_comma_changes_nothing(void) {
    char text[16];
    CU_ASSERT_PTR_NOT_NULL_FATAL(setlocale(LC_NUMERIC, "comma"));
    run_two_guests(NULL, "comma-a", "comma-b");
    (void)snprintf(text, sizeof text, "%.1f", 0.5);
    CU_ASSERT_STRING_EQUAL(text, "0,5"); /* ours is as it was */
    (void)setlocale(LC_NUMERIC, "C");
}

static const struct unit_test TESTS[] = {
    {"rows_of_a_compressed_checkpoint_are_those_of_the_raw_one", rows_of_a_compressed_checkpoint_are_those_of_the_raw_one},
    {"rows_of_lossy_tensors_are_those_of_their_decompression", rows_of_lossy_tensors_are_those_of_their_decompression},
    {"bad_requests_are_refused_before_anything_is_written", bad_requests_are_refused_before_anything_is_written},
    {"structs_of_older_programs_are_filled_as_far_as_they_go", structs_of_older_programs_are_filled_as_far_as_they_go},
    {"damage_is_found_and_listed", damage_is_found_and_listed},
    {"a_listener_can_stop_one_call", a_listener_can_stop_one_call},
    {"cancel_stays_until_it_is_taken_back", cancel_stays_until_it_is_taken_back},
    {"two_libraries_work_at_once", two_libraries_work_at_once},
    {"two_threads_take_turns_on_one_library", two_threads_take_turns_on_one_library},
    {"a_locale_with_a_comma_changes_nothing", a_locale_with_a_comma_changes_nothing},
};

int main(void) {
    bool comma = comma_begin();
    (void)setlocale(LC_NUMERIC, "C");
    int failed = unit_run(__FILE__, TESTS, COUNT(TESTS) - !comma); /* the last one needs it */
    if (!comma) printf("skip - a_locale_with_a_comma_changes_nothing: no such locale could be made (localedef)\n");
    world_end(&world);
    comma_end();
    return failed;
}
