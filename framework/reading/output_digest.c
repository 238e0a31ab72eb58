/* SPDX-License-Identifier: Apache-2.0
 *
 * Both ways gather the same lines; files that a reader of tensors does not open are left out, so a receipt may be written
 * after the measurement. */
#include "output_digest.h"

#include "facts.h"
#include "members.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/str.h>
#include <stdlib.h>
#include <string.h>

struct file_line {
    const char *name;
    struct digest digest;
};

static int compare_names(const void *x, const void *y) {
    const struct file_line *a = x, *b = y;
    return strcmp(a->name, b->name);
}

static bool is_counted(const char *name) {
    return text_ends_with(name, ".safetensors");
}

static tsr_status join(struct file_line *lines, uint64_t count, struct digest *digest, tsr_error *err) {
    struct str text = {0};
    char hex[DIGEST_HEX];
    qsort(lines, (size_t)count, sizeof *lines, compare_names);
    for (uint64_t i = 0; i < count; i++) str_add_format(&text, "%s %s\n", digest_to_hex(&lines[i].digest, hex), lines[i].name);
    tsr_status st = text.failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for the digest of an output") : TSR_OK;
    if (st == TSR_OK) *digest = digest_of(text.text ? text.text : "", text.length);
    str_clear(&text);
    return st;
}

static tsr_status read_one(const char *folder, const char *name, struct file_line *line, tsr_error *err) {
    uint64_t bytes;
    char *path = fs_join(folder, name);
    tsr_status st = path ? facts_of_path(path, &bytes, &line->digest, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    line->name = name;
    mem_free(path);
    return st;
}

tsr_status output_digest(const char *path, struct digest *digest, tsr_error *err) {
    struct fs_list list = {0};
    struct file_line *lines = NULL;
    uint64_t count = 0;
    tsr_status st = fs_list(path, true, &list, err);
    if (st == TSR_OK) lines = mem_alloc_zero(list.count + 1, sizeof *lines);
    if (st == TSR_OK && !lines) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of files");
    for (uint64_t i = 0; i < list.count && st == TSR_OK; i++) {
        if (is_counted(list.names[i])) st = read_one(path, list.names[i], &lines[count++], err);
    }
    if (st == TSR_OK) st = join(lines, count, digest, err);
    mem_free(lines);
    fs_list_clear(&list);
    return st;
}

tsr_status output_digest_listed(const json_t *files, struct digest *digest, tsr_error *err) {
    struct file_line *lines = mem_alloc_zero(json_array_size(files) + 1, sizeof *lines);
    uint64_t count = 0;
    bool bad = !json_is_array(files);
    size_t i;
    json_t *file;
    if (!lines) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of files");
    json_array_foreach((json_t *)(uintptr_t)files, i, file) {
        const char *name = member_text(file, "name", &bad);
        if (name && is_counted(name)) lines[count++] = (struct file_line){name, member_digest(file, "digest", &bad)};
    }
    tsr_status st = bad ? tsr_fail(err, TSR_E_INPUT, "tessera.json: no list of files with names and digests") : join(lines, count, digest, err);
    mem_free(lines);
    return st;
}
