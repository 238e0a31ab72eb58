/* SPDX-License-Identifier: Apache-2.0
 *
 * replay: the job is done again from the source, beside the output, and every member of both receipts is compared. What a
 * receipt claims is either found again, bytes, errors and gates, or named as different. */
#include "budget.h"
#include "job.h"
#include "layout.h"
#include "seal.h"

#include <base/alloc.h>
#include <base/str.h>
#include <reading/members.h>
#include <string.h>

#define DIFFERENCES_MAX 50

struct replay {
    struct members differences; /* list of {"member", "receipt", "replay"} */
    uint64_t count;
};

static void note(struct replay *replay, const char *path, const json_t *was, const json_t *is) {
    struct members object = members_object();
    if (replay->count++ >= DIFFERENCES_MAX) {
        json_decref(object.value);
        return;
    }
    members_text(&object, "member", path);
    members_set(&object, "receipt", was ? json_incref((json_t *)(uintptr_t)was) : json_null());
    members_set(&object, "replay", is ? json_incref((json_t *)(uintptr_t)is) : json_null());
    members_append(&replay->differences, &object);
}

static void compare_values(struct replay *replay, struct str *path, const json_t *was, const json_t *is);

static void compare_member(struct replay *replay, struct str *path, const char *key, const json_t *was, const json_t *is) {
    size_t length = path->length;
    str_add_format(path, "%s%s", length ? "." : "", key);
    compare_values(replay, path, was, is);
    str_truncate(path, length);
}

static void compare_objects(struct replay *replay, struct str *path, const json_t *was, const json_t *is) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)was, key, value) {
        compare_member(replay, path, key, value, json_object_get(is, key));
    }
    json_object_foreach((json_t *)(uintptr_t)is, key, value) {
        if (!json_object_get(was, key)) compare_member(replay, path, key, NULL, value);
    }
}

static void compare_lists(struct replay *replay, struct str *path, const json_t *was, const json_t *is) {
    size_t count = json_array_size(was) > json_array_size(is) ? json_array_size(was) : json_array_size(is);
    for (size_t i = 0; i < count; i++) {
        size_t length = path->length;
        str_add_format(path, "[%zu]", i);
        compare_values(replay, path, json_array_get(was, i), json_array_get(is, i));
        str_truncate(path, length);
    }
}

/* Receipts are ours and shallow; the parser bounds their depth. */
static void compare_values(struct replay *replay, struct str *path, const json_t *was, const json_t *is) {
    if (json_is_object(was) && json_is_object(is)) {
        compare_objects(replay, path, was, is);
    } else if (json_is_array(was) && json_is_array(is)) {
        compare_lists(replay, path, was, is);
    } else if (!json_equal(was, is)) {
        note(replay, path->text ? path->text : "", was, is);
    }
}

static tsr_status read_receipt(const char *folder, json_t **receipt, tsr_error *err) {
    char *path = fs_join(folder, RECEIPT_NAME);
    tsr_status st = path ? seal_read(path, receipt, NULL, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", folder);
    mem_free(path);
    return st;
}

static tsr_status finish(struct replay *replay, const char *output, const char *model, json_t **result, tsr_error *err) {
    struct members whole = members_object();
    members_text(&whole, "output", output);
    members_text(&whole, "source", model);
    members_bool(&whole, "ok", replay->count == 0);
    members_count(&whole, "different", replay->count);
    members_nest(&whole, "differences", &replay->differences);
    tsr_status st = members_finish(&whole, result, err);
    if (st != TSR_OK || replay->count == 0) return st;
    return tsr_fail(err, TSR_E_GATE, "%s: the replay differs from the receipt in %llu members", output,
                    (unsigned long long)replay->count);
}

/* A budget is followed as it was solved, not measured again. */
static tsr_status follow_budget(const json_t *receipt, struct job_compress_options *options,
                                struct plan_allocation *allocation, tsr_error *err) {
    const json_t *budget = json_object_get(receipt, "budget");
    const char *asked = json_string_value(json_object_get(budget, "asked"));
    if (!json_is_object(budget)) return TSR_OK;
    options->allocation = allocation;
    options->probes = json_object_get(budget, "probes");
    if (asked && !strcmp(asked, "kld")) options->target_kld = json_number_value(json_object_get(budget, "value"));
    return budget_read(budget, allocation, err);
}

tsr_status job_replay(const struct job_compress_options *options, const struct registry *registry,
                      const struct job_paths *paths, const struct env *env, json_t **result, tsr_error *err) {
    struct replay replay = {.differences = members_list()};
    struct job_compress_options again = *options;
    struct plan_allocation allocation;
    struct str beside = {0}, path = {0};
    json_t *was = NULL, *is = NULL;
    str_add_format(&beside, "%s.tessera-replay", options->output);
    tsr_status st = beside.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", options->output) : TSR_OK;
    if (st == TSR_OK) st = read_receipt(options->output, &was, err);
    again.output = beside.text;
    if (st == TSR_OK) st = follow_budget(was, &again, &allocation, err);
    again.publish_anyway = true; /* a failed gate is a figure to be found again */
    if (st == TSR_OK) st = job_compress(&again, registry, paths, env, &is, err);
    json_decref(is); /* figures are compared as they stand on disk */
    is = NULL;
    if (st == TSR_OK) st = read_receipt(beside.text, &is, err);
    if (st == TSR_OK) {
        (void)json_object_del(is, "digest");
        (void)json_object_del(was, "digest");
        compare_values(&replay, &path, was, is);
        st = path.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", options->output)
                         : finish(&replay, options->output, options->model, result, err);
    } else {
        json_decref(replay.differences.value);
    }
    if (beside.text && fs_kind_of(beside.text) == FS_FOLDER) (void)fs_remove_tree(beside.text, NULL);
    json_decref(was);
    json_decref(is);
    str_clear(&path);
    str_clear(&beside);
    return st;
}
