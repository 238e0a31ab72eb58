/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of .safetensors: one row for each way in which a header can lie and the message that must say so, and the
 * unusual files that must be read. */
#include "unit.h"

#include <base/bytes.h>
#include <format/safetensors.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/tessera-safetensors-XXXXXX";

/* A file of length bytes, header text and `data` bytes. */
static void write_file(uint64_t length, const char *header, uint64_t data) {
    static const uint8_t zeros[64];
    struct fs_output output = {0};
    uint8_t prefix[8];
    store_le(prefix, length, 8);
    if (strchr(path, 'X')) close(mkstemp(path));
    CU_ASSERT_EQUAL_FATAL(fs_create(path, &output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_write(&output, prefix, 8, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_write(&output, header, strlen(header), NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_write(&output, zeros, data, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
}

#define T(dtype, shape, begin, end)                                                                                    \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

struct lie {
    const char *what;
    const char *header;
    uint64_t data;
    const char *message; /* must be in the error */
};

static const struct lie LIES[] = {
    {"empty header", "", 0, "does not begin with"},
    {"a space before the brace", " {}", 0, "does not begin with"},
    {"a list", "[]", 0, "does not begin with"},
    {"cut JSON", "{\"x\":", 0, "header:1:5: "},
    {"text behind the object", "{} x", 0, "header:1:"},
    {"two objects", "{}{}", 0, "end of file expected"},
    {"NaN", "{\"x\":NaN}", 0, "header:1:"},
    {"bad UTF-8 in a name", "{\"\xFF\":" T("U8", "0", "0", "0") "}", 0, "header:1:2: unable to decode byte 0xff"},
    {"NUL in a name", "{\"a\\u0000b\":" T("U8", "0", "0", "0") "}", 0, "header:1:"},
    {"lone surrogate in a name", "{\"\\ud800\":" T("U8", "0", "0", "0") "}", 0, "header:1:"},
    {"one name twice", "{\"x\":" T("U8", "1", "0", "1") ",\n\"x\":" T("U8", "1", "1", "2") "}", 2,
     "header:2:3: duplicate"},
    {"one name twice, once escaped", "{\"x\":" T("U8", "1", "0", "1") ",\"\\u0078\":" T("U8", "1", "1", "2") "}", 2,
     "duplicate"},
    {"one member twice", "{\"x\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "duplicate"},
    {"metadata that is a list", "{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"metadata of a number", "{\"__metadata__\":{\"k\":1}}", 0, "\"k\" is not a string"},
    {"tensor that is a list", "{\"x\":[]}", 0, "tensor \"x\": is not an object"},
    {"no dtype", "{\"x\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor \"x\": has no \"dtype\""},
    {"no shape", "{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor \"x\": has no \"shape\""},
    {"no offsets", "{\"x\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "tensor \"x\": has no \"data_offsets\""},
    {"dtype that is a number", "{\"x\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "\"dtype\" is not a string"},
    {"shape that is a number", "{\"x\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1,
     "\"shape\" is not a list"},
    {"negative extent", "{\"x\":" T("U8", "-1", "0", "1") "}", 1, "\"shape\" holds something"},
    {"fractional extent", "{\"x\":" T("U8", "1.0", "0", "1") "}", 1, "\"shape\" holds something"},
    {"extent that is a string", "{\"x\":" T("U8", "\"1\"", "0", "1") "}", 1, "\"shape\" holds something"},
    {"extent beyond 64 bits", "{\"x\":" T("U8", "18446744073709551616", "0", "1") "}", 1, "header:1:"},
    {"rank above the limit", "{\"x\":" T("U8", "1,1,1,1,1,1,1,1,1", "0", "1") "}", 1, "has rank 9, at most 8"},
    {"one offset", "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "is not a pair"},
    {"three offsets", "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}", 1, "is not a pair"},
    {"negative offset", "{\"x\":" T("U8", "1", "-1", "0") "}", 1, "is not a pair"},
    {"fractional offset", "{\"x\":" T("U8", "1", "0", "1e0") "}", 1, "is not a pair"},
    {"reversed offsets", "{\"x\":" T("U8", "1", "1", "0") "}", 1, "offsets 1 to 0 are reversed"},
    {"offsets outside the file", "{\"x\":" T("U8", "2", "0", "2") "}", 1, "ends at 2, but the file has only 1 bytes"},
    {"size and shape differ", "{\"x\":" T("F32", "4,3", "0", "47") "}", 47,
     "dtype F32 and shape need 48 bytes, data offsets give 47"},
    {"size and dtype differ", "{\"x\":" T("F64", "1", "0", "4") "}", 4, "need 8 bytes, data offsets give 4"},
    {"odd number of F4", "{\"x\":" T("F4", "3", "0", "1") "}", 1, "4-bit elements"},
    {"product of 2^64", "{\"x\":" T("U8", "4294967296,4294967296", "0", "0") "}", 0, "exceeds 64 bits"},
    {"bits of 2^64", "{\"x\":" T("F64", "288230376151711744", "0", "0") "}", 0, "exceeds 64 bits"},
    {"product of 2^64 beside a zero", "{\"x\":" T("U8", "0,4294967296,4294967296", "0", "0") "}", 0, "exceeds 64 bits"},
    {"product of 2^64 of an unknown dtype", "{\"x\":" T("F6", "4294967296,4294967296", "0", "0") "}", 0,
     "exceeds 64 bits"},
    {"overlap", "{\"x\":" T("U8", "2", "0", "2") ",\"y\":" T("U8", "2", "1", "3") "}", 3,
     "tensor \"y\": data begins at 1, overlapping"},
    {"same place", "{\"x\":" T("U8", "2", "0", "2") ",\"y\":" T("U8", "2", "0", "2") "}", 2, "overlapping"},
    {"gap in front", "{\"x\":" T("U8", "1", "1", "2") "}", 2, "tensor \"x\": data begins at 1, leaving a gap behind 0"},
    {"gap between", "{\"x\":" T("U8", "1", "0", "1") ",\"y\":" T("U8", "1", "2", "3") "}", 3,
     "tensor \"y\": data begins at 2, leaving a gap"},
    {"empty tensor in the middle of another", "{\"x\":" T("U8", "2", "0", "2") ",\"y\":" T("U8", "0", "1", "1") "}", 2,
     "overlapping"},
    {"data behind the last tensor", "{\"x\":" T("U8", "1", "0", "1") "}", 3, "2 bytes stand behind the last tensor"},
    {"data without tensors", "{}", 1, "1 bytes stand behind"},
    {"opaque dtype outside the file", "{\"x\":" T("F6", "1", "0", "9") "}", 1, "only 1 bytes"},
};

static void every_lie_is_refused_with_its_reason(void) {
    for (size_t i = 0; i < sizeof LIES / sizeof LIES[0]; i++) {
        struct safetensors st = {0};
        tsr_error err = {0};
        write_file(strlen(LIES[i].header), LIES[i].header, LIES[i].data);
        tsr_status status = safetensors_open(path, &st, &err);
        safetensors_close(&st);
        bool refused = status == TSR_E_INPUT || status == TSR_E_LIMIT;
        if (!refused || !strstr(err.message, LIES[i].message) || strncmp(err.message, path, strlen(path)) != 0) {
            printf("  %s: status %d, \"%s\"\n", LIES[i].what, status, err.message);
            CU_FAIL("a lie was believed, or refused for another reason");
        }
    }
}

static void lengths_that_lie_are_refused(void) {
    static const struct {
        uint64_t length;
        const char *message;
    } rows[] = {
        {3, "header length is 3, but only 2 bytes follow"},
        {100000000, "but only 2 bytes follow"},
        {100000001, "at most 100000000 is allowed"},
        {UINT64_MAX, "at most 100000000 is allowed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct safetensors st = {0};
        tsr_error err = {0};
        write_file(rows[i].length, "{}", 0);
        CU_ASSERT_EQUAL(safetensors_open(path, &st, &err), TSR_E_INPUT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, rows[i].message));
        safetensors_close(&st);
    }
}

static void a_file_cut_anywhere_is_refused(void) {
    const char *header = "{\"x\":" T("U8", "4", "0", "4") "}";
    struct safetensors st = {0};
    write_file(strlen(header), header, 4);
    CU_ASSERT_EQUAL_FATAL(safetensors_open(path, &st, NULL), TSR_OK);
    uint64_t size = st.file.size;
    safetensors_close(&st);
    while (size--) {
        CU_ASSERT_EQUAL_FATAL(truncate(path, (off_t)size), 0);
        CU_ASSERT_EQUAL(safetensors_open(path, &st, NULL), TSR_E_INPUT);
        safetensors_close(&st);
    }
}

static const char *const GOOD =
    "{\"b\":" T("F32", "", "2", "6") ",\"__metadata__\":{\"format\":\"pt\"},\"\xC3\xA9\\n\":" T(
        "BF16", "1", "0",
        "2") ",\"empty\":" T("F32", "0,1000000", "6",
                             "6") ",\"\":{\"new\":[{}],\"dtype\":\"F6_E2M3\",\"shape\":[4,2,1,1,1,1,1,1],"
                                  "\"data_offsets\":[6,12]},\"c\":" T("C64", "1", "12", "20") ",\"f4\":" T(
                                      "F4", "2,2", "20", "22") ",\"bool\":" T("BOOL", "1", "22", "23") "}   ";

static void unusual_files_are_read(void) {
    static const char *const order[] = {"\xC3\xA9\n", "b", "empty", "", "c", "f4", "bool"};
    struct safetensors st = {0};
    tsr_error err = {0};
    write_file(strlen(GOOD), GOOD, 23);
    CU_ASSERT_EQUAL_FATAL(safetensors_open(path, &st, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(st.count, 7);
    CU_ASSERT_EQUAL(st.header_bytes, 8 + strlen(GOOD));
    CU_ASSERT_EQUAL(memcmp(st.header + 8, GOOD, strlen(GOOD)), 0);
    for (int i = 0; i < 7; i++) {
        CU_ASSERT_STRING_EQUAL(st.entries[i].name, order[i]);
        CU_ASSERT_PTR_EQUAL(safetensors_find(&st, order[i]), &st.entries[i]);
    }
    CU_ASSERT_EQUAL(st.entries[1].rank, 0);
    CU_ASSERT_EQUAL(st.entries[1].offset, st.header_bytes + 2);
    CU_ASSERT_EQUAL(st.entries[2].bytes, 0);
    CU_ASSERT_EQUAL(st.entries[3].dtype, TSR_DTYPE_OPAQUE);
    CU_ASSERT_STRING_EQUAL(st.entries[3].dtype_name, "F6_E2M3");
    CU_ASSERT_EQUAL(st.entries[3].bytes, 6);
    CU_ASSERT_STRING_EQUAL(safetensors_metadata(&st, "format"), "pt");
    CU_ASSERT_PTR_NULL(safetensors_metadata(&st, "absent"));
    CU_ASSERT_PTR_NULL(safetensors_find(&st, "absent"));
    safetensors_close(&st);
}

static void a_file_without_tensors_is_read(void) {
    struct safetensors st = {0};
    write_file(2, "{}", 0);
    CU_ASSERT_EQUAL(safetensors_open(path, &st, NULL), TSR_OK);
    CU_ASSERT_EQUAL(st.count, 0);
    CU_ASSERT_PTR_NULL(safetensors_find(&st, "x"));
    CU_ASSERT_PTR_NULL(safetensors_metadata(&st, "x"));
    safetensors_close(&st);
}

static void what_is_no_file_is_refused(void) {
    struct safetensors st = {0};
    CU_ASSERT_EQUAL(safetensors_open("/tmp", &st, NULL), TSR_E_INPUT);
    CU_ASSERT_EQUAL(safetensors_open("/tmp/tessera-no-such-file", &st, NULL), TSR_E_INPUT);
    CU_ASSERT_EQUAL(safetensors_open("/dev/null", &st, NULL), TSR_E_INPUT);
    safetensors_close(&st);
    unlink(path);
}

static const struct unit_test TESTS[] = {
    {"every_lie_is_refused_with_its_reason", every_lie_is_refused_with_its_reason},
    {"lengths_that_lie_are_refused", lengths_that_lie_are_refused},
    {"a_file_cut_anywhere_is_refused", a_file_cut_anywhere_is_refused},
    {"unusual_files_are_read", unusual_files_are_read},
    {"a_file_without_tensors_is_read", a_file_without_tensors_is_read},
    {"what_is_no_file_is_refused", what_is_no_file_is_refused},
};
UNIT_MAIN(TESTS)
