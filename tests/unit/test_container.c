/* SPDX-License-Identifier: Apache-2.0
 *
 * Container files: what was written is read back; every single flipped bit is found and the damaged thing named; every
 * number in a payload's head that cannot be true is refused, even under a valid checksum. */
#include "unit.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/rng.h>
#include <format/container_read.h>
#include <format/container_write.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

/* A path in a folder of this run, valid for the next three calls. */
static const char *in_folder(const char *name) {
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    if (!folder[0]) {
        strcpy(folder, "/tmp/tessera-container-XXXXXX");
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    }
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* A BF16 tensor of 5 x 6 in tiles of 2 rows; the middle tile is raw. */
static const struct payload_head MATRIX = {.dtype = TSR_DTYPE_BF16,
                                           .rank = 2,
                                           .shape = {5, 6},
                                           .rows = 5,
                                           .columns = 6,
                                           .tile_rows = 2,
                                           .tile_columns = 6,
                                           .tile_count = 3,
                                           .codec_id = "org.tessera.test",
                                           .bitstream_version = 7,
                                           .params = "level=default",
                                           .codec_header = "HEADER",
                                           .codec_header_bytes = 6};
static const uint64_t MATRIX_TILE_BYTES[] = {11, 24, 0};

static void write_matrix(const char *path) {
    struct fs_output output = {0};
    struct payload_writer writer = {0};
    uint8_t bytes[24];
    for (unsigned i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37);
    CU_ASSERT_EQUAL_FATAL(fs_create(path, &output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(payload_begin(&writer, &output, &MATRIX, NULL), TSR_OK);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(payload_add_tile(&writer, bytes, MATRIX_TILE_BYTES[i], i == 1, NULL), TSR_OK);
    }
    CU_ASSERT_EQUAL(payload_end(&writer, NULL), TSR_OK);
    payload_abandon(&writer);
    CU_ASSERT_EQUAL(output.size, payload_prefix_bytes(&MATRIX) + 35);
    CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
}

/* One payload and one blob; returns the size of the file. */
static uint64_t write_container(const char *path) {
    void *blob;
    uint64_t blob_bytes, header_bytes, file_bytes;
    struct digest digest;
    write_matrix(in_folder("part"));
    CU_ASSERT_EQUAL_FATAL(blob_make("{\"format\":\"0.1\"}", 16, &blob, &blob_bytes, NULL), TSR_OK);
    const struct container_part parts[] = {
        {.name = "w\xC3\xA9ight\n", .bytes = payload_prefix_bytes(&MATRIX) + 35, .part_path = in_folder("part")},
        {.name = CONTAINER_MANIFEST, .bytes = blob_bytes, .memory = blob},
    };
    CU_ASSERT_EQUAL(container_size(parts, 2, &header_bytes, &file_bytes, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(container_write(path, parts, 2, &digest, NULL), TSR_OK);
    mem_free(blob);
    return file_bytes;
}

/* Everything that can be checked without a codec, as `tessera verify` does it. */
static tsr_status check_all(const char *path, tsr_error *err) {
    struct safetensors st = {0};
    uint8_t tile[64];
    tsr_status status = safetensors_open(path, &st, err);
    if (status == TSR_OK) status = container_is(&st) ? container_check(&st, err) : TSR_E_ARGUMENT;
    for (uint64_t i = 0; i < st.count && status == TSR_OK; i++) {
        struct payload payload = {0};
        char *bytes;
        uint64_t size;
        if (!strcmp(st.entries[i].name, CONTAINER_MANIFEST)) {
            status = blob_read(&st, &st.entries[i], 1000, &bytes, &size, err);
            mem_free(bytes);
            continue;
        }
        status = payload_open(&st, &st.entries[i], &payload, err);
        for (uint64_t t = 0; status == TSR_OK && t < payload.head.tile_count; t++) {
            CU_ASSERT_TRUE_FATAL(payload.tiles[t].bytes <= sizeof tile);
            status = payload_read_tile(&payload, t, tile, err);
        }
        payload_close(&payload);
    }
    safetensors_close(&st);
    return status;
}

static void what_was_written_is_read(void) {
    struct safetensors st = {0};
    struct payload payload = {0};
    tsr_error err = {0};
    uint64_t file_bytes = write_container(in_folder("read")), size = 0;
    char *text = NULL;
    CU_ASSERT_EQUAL_FATAL(safetensors_open(in_folder("read"), &st, &err), TSR_OK);
    CU_ASSERT_EQUAL(st.file.size, file_bytes);
    CU_ASSERT_EQUAL(st.header_bytes % 8, 0);
    CU_ASSERT_TRUE(container_is(&st));
    CU_ASSERT_EQUAL(container_check(&st, &err), TSR_OK);
    const struct safetensors_entry *entry = safetensors_find(&st, "w\xC3\xA9ight\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
    CU_ASSERT_EQUAL_FATAL(payload_open(&st, entry, &payload, &err), TSR_OK);
    CU_ASSERT_EQUAL(payload.head.dtype, TSR_DTYPE_BF16);
    CU_ASSERT_EQUAL(payload.head.rank, 2);
    CU_ASSERT_EQUAL(payload.head.shape[1], 6);
    CU_ASSERT_EQUAL(payload.head.bytes, 60);
    CU_ASSERT_STRING_EQUAL(payload.head.codec_id, "org.tessera.test");
    CU_ASSERT_STRING_EQUAL(payload.head.params, "level=default");
    CU_ASSERT_STRING_EQUAL(payload.head.dtype_name, "BF16");
    CU_ASSERT_EQUAL(payload.head.bitstream_version, 7);
    CU_ASSERT_EQUAL(payload.head.codec_header_bytes, 6);
    CU_ASSERT_EQUAL(memcmp(payload.head.codec_header, "HEADER", 6), 0);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(payload.tiles[i].bytes, MATRIX_TILE_BYTES[i]);
        CU_ASSERT_EQUAL(payload.tiles[i].raw, i == 1);
    }
    payload_close(&payload);
    CU_ASSERT_EQUAL(blob_read(&st, safetensors_find(&st, CONTAINER_MANIFEST), 16, &text, &size, &err), TSR_OK);
    CU_ASSERT_EQUAL(size, 16);
    CU_ASSERT_STRING_EQUAL(text, "{\"format\":\"0.1\"}");
    mem_free(text);
    CU_ASSERT_EQUAL(blob_read(&st, safetensors_find(&st, CONTAINER_MANIFEST), 15, &text, &size, &err), TSR_E_LIMIT);
    safetensors_close(&st);
}

static void every_flipped_bit_is_found_and_its_place_named(void) {
    char *bytes;
    uint64_t size;
    struct safetensors st = {0};
    write_container(in_folder("flip"));
    CU_ASSERT_EQUAL_FATAL(safetensors_open(in_folder("flip"), &st, NULL), TSR_OK);
    uint64_t header_bytes = st.header_bytes, blob_at = st.entries[1].offset;
    safetensors_close(&st);
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(in_folder("flip"), 10000, &bytes, &size, NULL), TSR_OK);
    for (uint64_t bit = 0; bit < 8 * size; bit++) {
        struct fs_output output = {0};
        tsr_error err = {0};
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        CU_ASSERT_EQUAL(fs_create(in_folder("flipped"), &output, NULL), TSR_OK);
        CU_ASSERT_EQUAL(fs_write(&output, bytes, size, NULL), TSR_OK);
        CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        tsr_status st_flipped = check_all(in_folder("flipped"), &err);
        const char *where = bit / 8 < header_bytes ? "" : bit / 8 < blob_at ? "w\xC3\xA9ight" : CONTAINER_MANIFEST;
        bool named = strstr(err.message, where) != NULL;
        if (st_flipped == TSR_OK || st_flipped == TSR_E_ARGUMENT || !named) {
            printf("  bit %llu of %s: status %d, \"%s\"\n", (unsigned long long)bit, where, st_flipped, err.message);
            CU_FAIL("a flipped bit was not found or not named");
        }
    }
    mem_free(bytes);
}

/* One lie in the fixed part of a payload: `size` bytes at `at` become `value`, and the checksum is made right again. */
struct lie {
    const char *what;
    unsigned at, size;
    uint64_t value;
    const char *message;
};

static const struct lie LIES[] = {
    {"magic", 0, 4, 0x51525354, "TSRP"},
    {"version", 4, 2, 3, "version"},
    {"dtype beyond the list", 6, 1, 19, "dtype"},
    {"dtype of another width", 6, 1, TSR_DTYPE_F32, "a raw tile has a wrong size"},
    {"opaque without a name", 6, 1, TSR_DTYPE_OPAQUE, "bad dtype name"},
    {"F4 that is no row", 6, 1, TSR_DTYPE_F4, "not one row"},
    {"rank", 7, 1, 9, "directory"},
    {"unknown flag", 8, 1, 8, "unknown flag"},
    {"scales of columns that are none", 8, 1, 4, "scale out of range"},
    {"reserved byte", 11, 1, 1, "unknown flag"},
    {"dtype name of a known dtype", 9, 1, 3, "bad dtype name"},
    {"params longer than the payload", 12, 4, 0xFFFFFFFF, "directory does not fit"},
    {"codec header longer than the payload", 16, 4, 0xFFFFFFFF, "directory does not fit"},
    {"rows", 24, 8, 4, "differ in size"},
    {"rows that overflow", 24, 8, UINT64_C(1) << 63, "64 bits"},
    {"columns", 32, 8, 7, "differ in size"},
    {"tile_rows of zero", 40, 4, 0, "impossible shape"},
    {"tile_rows beyond rows", 40, 4, 6, "impossible shape"},
    {"tile_rows that give other tiles", 40, 4, 1, "number of tiles"},
    {"tile_columns of a part of several rows", 44, 4, 3, "impossible shape"},
    {"tile_columns of zero", 44, 4, 0, "impossible shape"},
    {"fewer tiles", 48, 4, 2, "number of tiles"},
    {"more tiles", 48, 4, 4, "number of tiles"},
    {"tiles beyond the payload", 48, 4, 0xFFFFFFFF, "directory does not fit"},
    {"extent", 52, 8, 6, "differ in size"},
    {"extents that overflow", 52, 8, UINT64_MAX, "64 bits"},
    {"codec id that is not UTF-8", 68, 1, 0xFF, "UTF-8"},
    {"codec id with a NUL", 70, 1, 0, "UTF-8"},
    {"first tile shorter", 103, 4, 10, "bytes stand behind"},
    {"first tile longer", 103, 4, 12, "reach beyond"},
    {"first tile raw", 103, 4, 11 | UINT64_C(0x80000000), "wrong size"},
};

/* Makes a container of the (changed) payload and opens it. */
static tsr_status open_payload(const uint8_t *bytes, uint64_t size, tsr_error *err) {
    const struct container_part part = {.name = "x", .bytes = size, .memory = bytes};
    struct digest digest;
    struct safetensors st = {0};
    struct payload payload = {0};
    CU_ASSERT_EQUAL_FATAL(container_write(in_folder("lie"), &part, 1, &digest, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(safetensors_open(in_folder("lie"), &st, NULL), TSR_OK);
    tsr_status status = payload_open(&st, &st.entries[0], &payload, err);
    payload_close(&payload);
    safetensors_close(&st);
    return status;
}

/* The checksum stands where the (possibly lying) lengths say. */
static void seal(uint8_t *bytes, uint64_t size) {
    uint64_t prefix = PAYLOAD_FIXED_BYTES + 8 * load_le(bytes + 7, 1) + load_le(bytes + 9, 1) + load_le(bytes + 10, 1) +
                      load_le(bytes + 12, 4) + load_le(bytes + 16, 4) + PAYLOAD_ENTRY_BYTES * load_le(bytes + 48, 4);
    if (bytes[8] & PAYLOAD_FLAG_COLUMNS) prefix += load_le(bytes + 32, 8);
    if (prefix + DIGEST_BYTES > size) return;
    struct digest digest = digest_of(bytes, prefix);
    memcpy(bytes + prefix, digest.bytes, DIGEST_BYTES);
}

static void every_lie_under_a_valid_checksum_is_refused(void) {
    char *bytes;
    uint64_t size;
    write_matrix(in_folder("part"));
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(in_folder("part"), 10000, &bytes, &size, NULL), TSR_OK);
    for (size_t i = 0; i < sizeof LIES / sizeof LIES[0]; i++) {
        tsr_error err = {0};
        uint8_t changed[512];
        memcpy(changed, bytes, size);
        store_le(changed + LIES[i].at, LIES[i].value, LIES[i].size);
        seal(changed, size);
        tsr_status st = open_payload(changed, size, &err);
        if (st != TSR_E_CORRUPT || !strstr(err.message, LIES[i].message) || !strstr(err.message, "\"x\"")) {
            printf("  %s: status %d, \"%s\"\n", LIES[i].what, st, err.message);
            CU_FAIL("a lie was believed, or refused for another reason");
        }
    }
    seal((uint8_t *)bytes, size);
    CU_ASSERT_EQUAL(open_payload((uint8_t *)bytes, size, NULL), TSR_OK);
    for (uint64_t cut = 0; cut < size; cut++) CU_ASSERT_EQUAL(open_payload((uint8_t *)bytes, cut, NULL), TSR_E_CORRUPT);
    mem_free(bytes);
}

static const int8_t SCALES[3] = {-64, 0, 64};
static const struct payload_head SCALED = {.dtype = TSR_DTYPE_F32,
                                           .rank = 2,
                                           .shape = {2, 3},
                                           .rows = 2,
                                           .columns = 3,
                                           .bytes = 24,
                                           .tile_rows = 1,
                                           .tile_columns = 3,
                                           .tile_count = 2,
                                           .codec_id = "c",
                                           .params = "",
                                           .column_scale = SCALES};

/* A payload with scales of columns as bytes, and where they stand. */
static uint64_t scaled_payload(uint8_t *bytes, uint64_t *at) {
    struct fs_output output = {0};
    struct payload_writer writer = {0};
    char *read = NULL;
    uint64_t size = 0;
    CU_ASSERT_EQUAL_FATAL(fs_create(in_folder("scaled"), &output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(payload_begin(&writer, &output, &SCALED, NULL), TSR_OK);
    for (int i = 0; i < 2; i++) CU_ASSERT_EQUAL(payload_add_tile(&writer, "tile", 4, false, NULL), TSR_OK);
    CU_ASSERT_EQUAL(payload_end(&writer, NULL), TSR_OK);
    payload_abandon(&writer);
    CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(in_folder("scaled"), 512, &read, &size, NULL), TSR_OK);
    memcpy(bytes, read, size);
    mem_free(read);
    *at = payload_prefix_bytes(&SCALED) - DIGEST_BYTES - 2 * PAYLOAD_ENTRY_BYTES - sizeof SCALES;
    return size;
}

static void scales_of_columns_are_read_and_checked(void) {
    const struct container_part part = {.name = "x", .part_path = in_folder("scaled")};
    struct container_part parts[1] = {part};
    uint8_t bytes[512];
    uint64_t at, size = scaled_payload(bytes, &at);
    struct safetensors st = {0};
    struct payload payload = {0};
    struct digest digest;
    tsr_error err = {0};
    parts[0].bytes = size;
    CU_ASSERT_EQUAL_FATAL(container_write(in_folder("one"), parts, 1, &digest, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(safetensors_open(in_folder("one"), &st, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(payload_open(&st, &st.entries[0], &payload, NULL), TSR_OK);
    CU_ASSERT_EQUAL(memcmp(payload.head.column_scale, SCALES, sizeof SCALES), 0);
    payload_close(&payload);
    safetensors_close(&st);
    CU_ASSERT_EQUAL(memcmp(bytes + at, SCALES, sizeof SCALES), 0);
    bytes[at + 1] = 65;
    seal(bytes, size);
    CU_ASSERT_EQUAL(open_payload(bytes, size, &err), TSR_E_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "scale out of range"));
    bytes[at + 1] = 1;
    bytes[6] = TSR_DTYPE_U32;
    seal(bytes, size);
    CU_ASSERT_EQUAL(open_payload(bytes, size, &err), TSR_E_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "scales of columns that it cannot have"));
    bytes[6] = TSR_DTYPE_F32;
    store_le(bytes + 32, UINT64_MAX, 8); /* columns */
    CU_ASSERT_EQUAL(open_payload(bytes, size, &err), TSR_E_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "too many columns"));
}

struct shape_case {
    struct payload_head head;
    uint64_t bytes;
};

/* Shapes at the edge, all with raw tiles or none. */
static const struct shape_case SHAPES[] = {
    {{.dtype = TSR_DTYPE_F32, .rank = 0, .rows = 1, .columns = 1, .tile_rows = 1, .tile_columns = 1, .tile_count = 1},
     4},
    {{.dtype = TSR_DTYPE_F32, .rank = 2, .shape = {0, 7}, .rows = 0, .columns = 7}, 0},
    {{.dtype = TSR_DTYPE_U8,
      .rank = 8,
      .shape = {1, 1, 3, 1, 1, 1, 1, 2},
      .rows = 3,
      .columns = 2,
      .tile_rows = 3,
      .tile_columns = 2,
      .tile_count = 1},
     6},
    {{.dtype = TSR_DTYPE_F4,
      .rank = 2,
      .shape = {3, 2},
      .rows = 1,
      .columns = 3,
      .tile_rows = 1,
      .tile_columns = 3,
      .tile_count = 1},
     3},
    {{.dtype = TSR_DTYPE_OPAQUE,
      .dtype_name = "F6_E2M3",
      .rank = 1,
      .shape = {4},
      .rows = 1,
      .columns = 3,
      .tile_rows = 1,
      .tile_columns = 3,
      .tile_count = 1},
     3},
    {{.dtype = TSR_DTYPE_C64,
      .rank = 1,
      .shape = {2},
      .rows = 1,
      .columns = 2,
      .tile_rows = 1,
      .tile_columns = 2,
      .tile_count = 1},
     16},
    {{.dtype = TSR_DTYPE_OPAQUE, .dtype_name = "X", .rank = 1, .shape = {4}, .rows = 1, .columns = 0}, 0},
};

static void shapes_at_the_edge_are_read(void) {
    static const uint8_t data[16] = {1, 2, 3};
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        struct payload_head head = SHAPES[i].head;
        struct fs_output output = {0};
        struct payload_writer writer = {0};
        tsr_error err = {0};
        char *bytes;
        uint64_t size;
        head.codec_id = "a.b";
        CU_ASSERT_EQUAL_FATAL(fs_create(in_folder("edge"), &output, NULL), TSR_OK);
        CU_ASSERT_EQUAL(payload_begin(&writer, &output, &head, NULL), TSR_OK);
        if (head.tile_count) CU_ASSERT_EQUAL(payload_add_tile(&writer, data, SHAPES[i].bytes, true, NULL), TSR_OK);
        CU_ASSERT_EQUAL(payload_add_tile(&writer, data, 1, true, NULL), TSR_E_ARGUMENT);
        CU_ASSERT_EQUAL(payload_end(&writer, NULL), TSR_OK);
        payload_abandon(&writer);
        CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
        CU_ASSERT_EQUAL_FATAL(fs_read_whole(in_folder("edge"), 1000, &bytes, &size, NULL), TSR_OK);
        CU_ASSERT_EQUAL(open_payload((uint8_t *)bytes, size, &err), TSR_OK);
        if (err.message[0]) printf("  shape %u: %s\n", (unsigned)i, err.message);
        mem_free(bytes);
    }
}

static void a_writer_that_is_short_of_tiles_is_refused(void) {
    struct fs_output output = {0};
    struct payload_writer writer = {0};
    CU_ASSERT_EQUAL_FATAL(fs_create(in_folder("short"), &output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(payload_begin(&writer, &output, &MATRIX, NULL), TSR_OK);
    CU_ASSERT_EQUAL(payload_end(&writer, NULL), TSR_E_ARGUMENT);
    payload_abandon(&writer);
    fs_abandon(&output);
}

static void parts_that_lie_about_themselves_are_refused(void) {
    struct digest digest;
    uint64_t header_bytes, file_bytes;
    write_matrix(in_folder("part"));
    const struct container_part wrong_size = {.name = "x", .bytes = 5, .part_path = in_folder("part")};
    CU_ASSERT_EQUAL(container_write(in_folder("out"), &wrong_size, 1, &digest, NULL), TSR_E_CORRUPT);
    CU_ASSERT_EQUAL(fs_kind_of(in_folder("out")), FS_ABSENT);
    const struct container_part twice[] = {{.name = "x", .bytes = 1, .memory = "a"},
                                           {.name = "x", .bytes = 1, .memory = "b"}};
    CU_ASSERT_EQUAL(container_write(in_folder("out"), twice, 2, &digest, NULL), TSR_E_ARGUMENT);
    const struct container_part huge[] = {{.name = "x", .bytes = INT64_MAX, .memory = "a"},
                                          {.name = "y", .bytes = 1, .memory = "b"}};
    CU_ASSERT_EQUAL(container_size(huge, 2, &header_bytes, &file_bytes, NULL), TSR_E_LIMIT);
}

/* What container_check says of a whole file that calls its format `version`, a text as long as ours. */
static tsr_status check_version(const char *version, tsr_error *err) {
    char *bytes, hex[DIGEST_HEX];
    uint64_t size;
    struct safetensors st = {0};
    struct fs_output output = {0};
    write_container(in_folder("version"));
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(in_folder("version"), 10000, &bytes, &size, NULL), TSR_OK);
    char *digits = bytes + 8 + strlen(CONTAINER_HEADER_START);
    memcpy(strstr(bytes + 8, "\"" CONTAINER_VERSION_TEXT "\"") + 1, version, strlen(CONTAINER_VERSION_TEXT));
    memset(digits, '0', 32);
    struct digest digest = digest_of(bytes, 8 + load_le((uint8_t *)bytes, 8));
    memcpy(digits, digest_to_hex(&digest, hex), 32);
    CU_ASSERT_EQUAL(fs_create(in_folder("version"), &output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_write(&output, bytes, size, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(safetensors_open(in_folder("version"), &st, NULL), TSR_OK);
    tsr_status status = container_check(&st, err);
    safetensors_close(&st);
    mem_free(bytes);
    return status;
}

static void every_minor_of_this_major_is_read(void) {
    static const char *const OTHERS[] = {"0.3", "2.0", "1.x", "1. ", "1-0", "10."};
    tsr_error err = {0};
    CU_ASSERT_EQUAL(check_version("1.0", &err), TSR_OK);
    CU_ASSERT_EQUAL(check_version("1.7", &err), TSR_OK);
    CU_ASSERT_EQUAL(check_version("0.2", &err), TSR_OK);
    for (unsigned i = 0; i < sizeof OTHERS / sizeof OTHERS[0]; i++) {
        CU_ASSERT_EQUAL(check_version(OTHERS[i], &err), TSR_E_UNSUPPORTED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, ", this program reads 1.x, 0.2 and 0.1"));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, OTHERS[i]));
    }
}

static void temporary_files_are_gone(void) {
    CU_ASSERT_EQUAL(fs_remove_tree(folder, NULL), TSR_OK);
}

static const struct unit_test TESTS[] = {
    {"what_was_written_is_read", what_was_written_is_read},
    {"every_flipped_bit_is_found_and_its_place_named", every_flipped_bit_is_found_and_its_place_named},
    {"every_lie_under_a_valid_checksum_is_refused", every_lie_under_a_valid_checksum_is_refused},
    {"scales_of_columns_are_read_and_checked", scales_of_columns_are_read_and_checked},
    {"shapes_at_the_edge_are_read", shapes_at_the_edge_are_read},
    {"a_writer_that_is_short_of_tiles_is_refused", a_writer_that_is_short_of_tiles_is_refused},
    {"parts_that_lie_about_themselves_are_refused", parts_that_lie_about_themselves_are_refused},
    {"every_minor_of_this_major_is_read", every_minor_of_this_major_is_read},
    {"temporary_files_are_gone", temporary_files_are_gone},
};
UNIT_MAIN(TESTS)
