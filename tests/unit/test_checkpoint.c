/* SPDX-License-Identifier: Apache-2.0
 *
 * Models as folders: which file is taken, what an index may say, nested parts, other files. Each case is a list of
 * files to make and either the tensors that must come out or the message that must be given. */
#include "unit.h"

#include <base/bytes.h>
#include <ctype.h>
#include <format/checkpoint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDEX "model.safetensors.index.json"
#define FILES_MAX 6

/* A file to make. `tensors` holds one-letter names of one-byte U8 tensors for a .safetensors file, 'A' means "n/a";
 * `text` is what any other file holds; `link` is where a link goes. */
struct made {
    const char *name;
    const char *tensors;
    const char *text;
    const char *link;
};

struct row {
    const char *what;
    struct made files[FILES_MAX];
    const char *tensors; /* names in order, comma-separated; NULL: must fail */
    const char *extras;  /* names in order, comma-separated; or the message of the failure */
};

static char root[64];

static void in_root(const char *name, char path[256]) {
    snprintf(path, 256, "%s/%s", root, name);
}

static void write_text(const char *path, const void *bytes, size_t size) {
    struct fs_output output = {0};
    CU_ASSERT_EQUAL_FATAL(fs_create(path, &output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_write(&output, bytes, size, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
}

static void write_tensors(const char *path, const char *letters) {
    char file[1024] = "        {";
    size_t used = strlen(file);
    for (size_t i = 0; letters[i]; i++) {
        used += (size_t)snprintf(file + used, sizeof file - used,
                                 "%s\"%s%c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", i ? "," : "",
                                 isupper(letters[i]) ? "n/" : "", tolower(letters[i]), i, i + 1);
    }
    used += (size_t)snprintf(file + used, sizeof file - used, "}%s", letters);
    store_le((uint8_t *)file, used - 8 - strlen(letters), 8);
    write_text(path, file, used);
}

static void make_file(const struct made *made) {
    char path[256];
    in_root(made->name, path);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    CU_ASSERT_EQUAL_FATAL(fs_make_folder(path, NULL), TSR_OK);
    *slash = '/';
    if (made->link) {
        CU_ASSERT_EQUAL_FATAL(symlink(made->link, path), 0);
    } else if (made->tensors) {
        write_tensors(path, made->tensors);
    } else {
        write_text(path, made->text, strlen(made->text));
    }
}

static const struct row ROWS[] = {
    {"one file of the usual name",
     {{"model.safetensors", "ab", 0, 0}, {"config.json", 0, "{}", 0}},
     "a,b",
     "config.json"},
    {"the usual name beside others",
     {{"golden.safetensors", "x", 0, 0}, {"model.safetensors", "b", 0, 0}},
     "b",
     "golden.safetensors"},
    {"the only file", {{"weights.safetensors", "a", 0, 0}}, "a", ""},
    {"an index before all",
     {{"model.safetensors", "x", 0, 0},
      {INDEX, 0, "{\"weight_map\":{\"b\":\"s2.safetensors\",\"a\":\"s1.safetensors\"}}", 0},
      {"s2.safetensors", "b", 0, 0},
      {"s1.safetensors", "a", 0, 0}},
     "a,b",
     "model.safetensors,model.safetensors.index.json"},
    {"an index of another name",
     {{"diffusion.safetensors.index.json", 0, "{\"weight_map\":{\"a\":\"q.safetensors\"}}", 0},
      {"q.safetensors", "a", 0, 0}},
     "a",
     "diffusion.safetensors.index.json"},
    {"a nested part",
     {{"model.safetensors", "a", 0, 0}, {"codec/model.safetensors", "a", 0, 0}, {"codec/config.json", 0, "{}", 0}},
     "a,codec/a",
     "codec/config.json"},
    {"a nested part with an index",
     {{"model.safetensors", "a", 0, 0},
      {"n/m/" INDEX, 0, "{\"weight_map\":{\"b\":\"s.safetensors\"}}", 0},
      {"n/m/s.safetensors", "b", 0, 0}},
     "a,n/m/b",
     "n/m/model.safetensors.index.json"},
    {"a subfolder without a part",
     {{"model.safetensors", "a", 0, 0}, {"old/x.safetensors", "z", 0, 0}},
     "a",
     "old/x.safetensors"},
    {"a shard in a subfolder",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"sub/model.safetensors\"}}", 0}, {"sub/model.safetensors", "a", 0, 0}},
     "a",
     INDEX},
    {"hidden folders and files",
     {{"model.safetensors", "a", 0, 0},
      {".git/model.safetensors", "z", 0, 0},
      {".gitattributes", 0, "*", 0},
      {"s/.cache/x", 0, "", 0}},
     "a",
     ".gitattributes"},
    {"links to files", {{"blob/1", "a", 0, 0}, {"model.safetensors", 0, 0, "blob/1"}}, "a", "blob/1"},
    {"an empty weight map", {{INDEX, 0, "{\"weight_map\":{}}", 0}}, "", INDEX},
    {"no tensors at all", {{"config.json", 0, "{}", 0}}, NULL, "has no model.safetensors"},
    {"several files without an index",
     {{"b.safetensors", "b", 0, 0}, {"a.safetensors", "a", 0, 0}},
     NULL,
     "has 2 (a.safetensors, b.safetensors), expected one or model.safetensors"},
    {"two indexes",
     {{"a.safetensors.index.json", 0, "{}", 0}, {"b.safetensors.index.json", 0, "{}", 0}},
     NULL,
     "has 2 (a.safetensors.index.json, b.safetensors.index.json)"},
    {"an index that is no JSON", {{INDEX, 0, "{\n]", 0}}, NULL, INDEX ":2:1: "},
    {"an index with a key twice", {{INDEX, 0, "{\"weight_map\":{\"a\":\"s\",\"a\":\"t\"}}", 0}}, NULL, "duplicate"},
    {"an index without a map", {{INDEX, 0, "{}", 0}}, NULL, "has no object \"weight_map\""},
    {"an index with a list", {{INDEX, 0, "{\"weight_map\":[]}", 0}}, NULL, "has no object \"weight_map\""},
    {"a shard that is a number",
     {{INDEX, 0, "{\"weight_map\":{\"a\":1}}", 0}},
     NULL,
     "tensor \"a\": its shard is not a string"},
    {"a shard above the folder",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"../x\"}}", 0}},
     NULL,
     "shard \"../x\" lies outside"},
    {"a shard elsewhere", {{INDEX, 0, "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", 0}}, NULL, "lies outside"},
    {"an absent shard",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"s.safetensors\"}}", 0}},
     NULL,
     INDEX ": shard \"s.safetensors\" is not there"},
    {"a shard that is a folder",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"sub\"}}", 0}, {"sub/x", 0, "", 0}},
     NULL,
     "sub: is a folder"},
    {"an absent tensor",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"s.safetensors\",\"b\":\"s.safetensors\"}}", 0},
      {"s.safetensors", "a", 0, 0}},
     NULL,
     "tensor \"b\" is not in shard \"s.safetensors\""},
    {"a tensor missing from the index",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"s.safetensors\"}}", 0}, {"s.safetensors", "ab", 0, 0}},
     NULL,
     "tensor \"b\" of shard \"s.safetensors\" is missing"},
    {"a tensor in the wrong shard",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"t.safetensors\",\"b\":\"s.safetensors\",\"c\":\"t.safetensors\"}}", 0},
      {"s.safetensors", "ab", 0, 0},
      {"t.safetensors", "c", 0, 0}},
     NULL,
     "tensor \"a\" is in shard \"s.safetensors\", not in \"t.safetensors\""},
    {"a tensor in two shards",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"t.safetensors\",\"b\":\"s.safetensors\"}}", 0},
      {"s.safetensors", "ab", 0, 0},
      {"t.safetensors", "a", 0, 0}},
     NULL,
     "tensor \"a\" is in two shards, \"s.safetensors\" and \"t.safetensors\""},
    {"a damaged shard",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"s.safetensors\"}}", 0}, {"s.safetensors", 0, "12345678{", 0}},
     NULL,
     "s.safetensors: header length"},
    {"a file of one byte", {{"model.safetensors", 0, "D", 0}}, NULL, "has 1 bytes"},
    {"a name in a part and in the root",
     {{"model.safetensors", "A", 0, 0}, {"n/model.safetensors", "a", 0, 0}},
     NULL,
     "tensor \"n/a\" is in two files, \"model.safetensors\" and \"n/model.safetensors\""},
    {"a link in a circle",
     {{"model.safetensors", "a", 0, 0}, {"loop", 0, 0, "loop"}},
     NULL,
     "loop: is a link that leads nowhere or in a circle"},
    {"a shard that is a link in a circle",
     {{INDEX, 0, "{\"weight_map\":{\"a\":\"s\"}}", 0}, {"s", 0, 0, "s"}},
     NULL,
     "shard \"s\" is not there"},
    {"a link to the folder itself",
     {{"model.safetensors", "a", 0, 0}, {"sub/again", 0, 0, ".."}},
     NULL,
     "again: is a link to a folder"},
    {"a link that leads nowhere", {{"model.safetensors", 0, 0, "absent"}}, NULL, "model.safetensors: cannot open"},
};

static void join_tensors(const struct checkpoint *checkpoint, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (uint64_t i = 0; i < checkpoint->tensor_count && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "," : "", checkpoint->tensors[i].name);
    }
}

static void join_extras(const struct checkpoint *checkpoint, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (uint64_t i = 0; i < checkpoint->extra_count && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "," : "", checkpoint->extras[i].name);
    }
}

static bool opens_as_said(const struct row *row) {
    struct checkpoint checkpoint = {0};
    tsr_error err = {0};
    char tensors[256], extras[256];
    tsr_status st = checkpoint_open(root, &checkpoint, &err);
    join_tensors(&checkpoint, tensors, sizeof tensors);
    join_extras(&checkpoint, extras, sizeof extras);
    bool ok = row->tensors ? st == TSR_OK && !strcmp(tensors, row->tensors) && !strcmp(extras, row->extras)
                           : st == TSR_E_INPUT && strstr(err.message, row->extras);
    if (!ok) printf("  %s: status %d, \"%s\", tensors %s, extras %s\n", row->what, st, err.message, tensors, extras);
    checkpoint_close(&checkpoint);
    return ok;
}

static void make_root(void) {
    strcpy(root, "/tmp/tessera-checkpoint-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
}

static void folders_are_read_or_refused_as_documented(void) {
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        make_root();
        for (int f = 0; f < FILES_MAX && ROWS[i].files[f].name; f++) make_file(&ROWS[i].files[f]);
        CU_ASSERT_TRUE(opens_as_said(&ROWS[i]));
        CU_ASSERT_EQUAL(fs_remove_tree(root, NULL), TSR_OK);
    }
}

static void a_single_file_is_a_model(void) {
    struct checkpoint checkpoint = {0};
    char path[256];
    uint8_t byte = 0;
    make_root();
    in_root("any.name", path);
    write_tensors(path, "xyz");
    CU_ASSERT_EQUAL_FATAL(checkpoint_open(path, &checkpoint, NULL), TSR_OK);
    CU_ASSERT_TRUE(checkpoint.single_file);
    CU_ASSERT_EQUAL(checkpoint.extra_count, 0);
    CU_ASSERT_STRING_EQUAL(checkpoint.files[0].name, "any.name");
    const struct checkpoint_tensor *tensor = checkpoint_find(&checkpoint, "y");
    CU_ASSERT_PTR_NOT_NULL_FATAL(tensor);
    CU_ASSERT_EQUAL(checkpoint_read(&checkpoint, tensor, 0, &byte, 1, NULL), TSR_OK);
    CU_ASSERT_EQUAL(byte, 'y');
    CU_ASSERT_EQUAL(checkpoint_read(&checkpoint, tensor, 1, &byte, 1, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(checkpoint_read(&checkpoint, tensor, UINT64_MAX, &byte, 1, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_PTR_NULL(checkpoint_find(&checkpoint, "w"));
    CU_ASSERT_EQUAL_FATAL(truncate(path, 20), 0);
    CU_ASSERT_EQUAL(checkpoint_read(&checkpoint, tensor, 0, &byte, 1, NULL), TSR_E_INPUT);
    checkpoint_close(&checkpoint);
    CU_ASSERT_EQUAL(fs_remove_tree(root, NULL), TSR_OK);
}

static void what_is_not_there_is_refused(void) {
    struct checkpoint checkpoint = {0};
    tsr_error err = {0};
    CU_ASSERT_EQUAL(checkpoint_open("/tmp/tessera-absent", &checkpoint, &err), TSR_E_INPUT);
    CU_ASSERT_STRING_EQUAL(err.message, "/tmp/tessera-absent: no such file or folder");
    CU_ASSERT_EQUAL(checkpoint_open("/dev/null", &checkpoint, &err), TSR_E_INPUT);
    checkpoint_close(&checkpoint);
}

static const struct unit_test TESTS[] = {
    {"folders_are_read_or_refused_as_documented", folders_are_read_or_refused_as_documented},
    {"a_single_file_is_a_model", a_single_file_is_a_model},
    {"what_is_not_there_is_refused", what_is_not_there_is_refused},
};
UNIT_MAIN(TESTS)
