/* SPDX-License-Identifier: Apache-2.0
 *
 * One table of members and defaults. A member that is absent or null is not said. */
#include "speak_rules.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <format/json.h>

#define CONFIG_BYTES_MAX ((uint64_t)16 << 20)
#define TOKENS_MAX 1000000

struct file_rules {
    const json_t *root;
    tsr_status status;
    tsr_error *err;
};

/* `asked` if it is not below 0, else the file's number in low..high, else `standard`. */
static double pick(struct file_rules *file, double asked, const char *key, double low, double high, double standard) {
    const json_t *value = json_object_get(file->root, key);
    if (asked >= 0) return asked;
    if (!value || json_is_null(value)) return standard;
    double number = json_number_value(value);
    if (json_is_number(value) && number >= low && number <= high) return number;
    if (file->status == TSR_OK) {
        file->status = tsr_fail(file->err, TSR_E_INPUT, "generation_config.json: %s: expected a number from %g to %g", key, low,
                                high);
    }
    return standard;
}

static bool samples(const struct file_rules *file, const char *key) {
    return !json_is_false(json_object_get(file->root, key));
}

static tsr_status read_file(const char *root, json_t **value, tsr_error *err) {
    char *path = fs_join(root, "generation_config.json"), *text = NULL;
    uint64_t size = 0;
    tsr_status st = path ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    if (st == TSR_OK && fs_kind_of(path) == FS_FILE) {
        st = fs_read_whole(path, CONFIG_BYTES_MAX, &text, &size, err);
        if (st == TSR_OK) st = json_parse(text, size, path, value, err);
    }
    mem_free(text);
    mem_free(path);
    return st;
}

tsr_status speak_rules_read(const char *root, const struct speak_rules *asked, tsr_speech_rules *rules, uint64_t *frames,
                            tsr_error *err) {
    json_t *value = NULL;
    tsr_status st = read_file(root, &value, err);
    struct file_rules file = {value, st, err};
    double temperature = pick(&file, asked->temperature, "temperature", 0, 1000, 0.9);
    double rest_temperature = pick(&file, asked->rest_temperature, "subtalker_temperature", 0, 1000, 0.9);
    if (asked->greedy || (asked->temperature < 0 && !samples(&file, "do_sample"))) temperature = 0;
    if (asked->greedy || (asked->rest_temperature < 0 && !samples(&file, "subtalker_dosample"))) rest_temperature = 0;
    *rules = (tsr_speech_rules){
        .struct_size = sizeof *rules,
        .temperature = temperature,
        .top_p = pick(&file, asked->top_p, "top_p", 1e-9, 1, 1),
        .top_k = (uint64_t)pick(&file, (double)asked->top_k, "top_k", 0, 1e9, 50),
        .rest_temperature = rest_temperature,
        .rest_top_p = pick(&file, asked->rest_top_p, "subtalker_top_p", 1e-9, 1, 1),
        .rest_top_k = (uint64_t)pick(&file, (double)asked->rest_top_k, "subtalker_top_k", 0, 1e9, 50),
        .repetition_penalty = pick(&file, asked->repetition_penalty, "repetition_penalty", 1e-9, 1000, 1.05),
        .seed = asked->seed,
    };
    /* The last token that may be sampled is never made a frame. */
    *frames = (uint64_t)pick(&file, (double)asked->max_tokens, "max_new_tokens", 1, TOKENS_MAX, 2048) - 1;
    json_decref(value);
    return file.status;
}
