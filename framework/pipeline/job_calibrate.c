/* SPDX-License-Identifier: Apache-2.0
 *
 * calibrate as a command: text and model from disk, the result told as JSON. */
#include "calibrate.h"

#include "work.h"

#include <base/alloc.h>
#include <base/error.h>
#include <measure/gate_text.h>
#include <reading/members.h>

#define TEXT_BYTES_MAX ((uint64_t)1 << 30)

static tsr_status read_tokens(const struct open_model *model, const char *path, struct token_ids *ids,
                              struct digest *digest, tsr_error *err) {
    struct tokenizer *tokenizer = NULL;
    char *text = NULL;
    uint64_t size = 0;
    tsr_status st = fs_read_whole(path, TEXT_BYTES_MAX, &text, &size, err);
    if (st == TSR_OK) st = gate_tokenizer(model, &tokenizer, err);
    if (st == TSR_OK) {
        *digest = digest_of(text, size);
        st = tokenizer_encode(tokenizer, text, (size_t)size, true, ids, err);
        if (st != TSR_OK) st = error_context(err, st, "%s", path);
    }
    if (st == TSR_OK && !size) st = tsr_fail(err, TSR_E_INPUT, "%s: is empty", path);
    tokenizer_close(tokenizer);
    mem_free(text);
    return st;
}

static tsr_status make_result(const struct job_calibrate_options *options, const struct calibrate_result *done,
                              json_t **result, tsr_error *err) {
    struct members whole = members_object();
    members_text(&whole, "model", options->model);
    members_text(&whole, "text", options->text);
    members_text(&whole, "output", options->output);
    members_count(&whole, "tokens", done->tokens);
    members_count(&whole, "windows", done->windows);
    members_count(&whole, "tensors", done->tensors);
    members_count(&whole, "full", done->full);
    members_count(&whole, "passes", done->passes);
    members_count(&whole, "resumed", done->resumed);
    members_count(&whole, "fisher_tokens", done->fisher_tokens);
    members_count(&whole, "fisher_tensors", done->fisher_tensors);
    members_text(&whole, "fisher_missing", done->fisher_missing[0] ? done->fisher_missing : NULL);
    members_count(&whole, "dead_columns", done->dead_columns);
    members_count(&whole, "narrow", done->narrow);
    members_count(&whole, "unreached", done->unreached);
    return members_finish(&whole, result, err);
}

tsr_status job_calibrate(const struct job_calibrate_options *options, const struct registry *registry,
                         const struct job_paths *paths, const struct env *env, json_t **result, tsr_error *err) {
    const struct model_paths model_paths = {.family_folders = paths->family_folders,
                                            .family_folder_count = paths->family_folder_count,
                                            .decoded_bytes = 1}; /* until calibrate knows what it can spare */
    struct calibrate_options wanted = {.window = options->window, .full_max = options->full_max,
                                       .fisher_tokens = options->fisher_tokens, .seed = options->seed};
    struct calibrate_result done = {0};
    struct open_model model = {0};
    struct token_ids ids = {0};
    tsr_status st = TSR_OK;
    enum fs_kind there = fs_kind_of(options->output);
    if (there == FS_FOLDER || (there != FS_ABSENT && !options->force)) {
        return tsr_fail(err, TSR_E_CONFIG, "%s: %s", options->output,
                        there == FS_FOLDER ? "is a folder, statistics are a file" : "is there; --force replaces it");
    }
    st = model_open(options->model, registry, &model_paths, env, &model, err);
    if (st == TSR_OK) model_weights_choose(model.weights, MODEL_PATH_DENSE);
    if (st == TSR_OK) st = read_tokens(&model, options->text, &ids, &wanted.text, err);
    if (st == TSR_OK) {
        const struct token_run run = {ids.ids, ids.count};
        st = calibrate_run(&model, &run, &wanted, options->output, env, &done, err);
    }
    if (st == TSR_OK) st = make_result(options, &done, result, err);
    token_ids_clear(&ids);
    model_close(&model);
    return st;
}
