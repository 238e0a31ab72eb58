/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the two configs of a model folder. Ids are checked against the vocabulary: an end that cannot come is a mistake
 * of the file and would make every answer run to its limit. */
#include "model_text.h"

#include <base/alloc.h>
#include <format/document.h>
#include <string.h>

#define CONFIG_BYTES_MAX ((uint64_t)16 << 20)

static const tsr_node *find(const tsr_node *map, const char *key) {
    for (uint64_t i = 0; map->kind == TSR_NODE_MAP && i < map->count; i++) {
        if (!strcmp(map->children[i].key, key) && map->children[i].kind != TSR_NODE_NULL) return &map->children[i];
    }
    return NULL;
}

static tsr_status take_id(const struct open_model *model, const tsr_node *node, const char *key, uint32_t *id,
                          tsr_error *err) {
    double number = node->kind == TSR_NODE_NUMBER ? node->number : -1;
    if (!(number >= 0 && number < (double)model->info.vocabulary)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: %s is not a token below %llu", model->root, key,
                        (unsigned long long)model->info.vocabulary);
    }
    *id = (uint32_t)number;
    return TSR_OK;
}

static tsr_status take_ends(const struct open_model *model, const tsr_node *node, struct model_text *text,
                            tsr_error *err) {
    bool list = node->kind == TSR_NODE_LIST;
    uint64_t count = list ? node->count : 1;
    tsr_status st = TSR_OK;
    if (count > MODEL_ENDS_MAX) {
        return tsr_fail(err, TSR_E_LIMIT, "%s: more than %d tokens in eos_token_id", model->root, MODEL_ENDS_MAX);
    }
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        st = take_id(model, list ? &node->children[i] : node, "eos_token_id", &text->ends[text->end_count++], err);
    }
    return st;
}

static tsr_status read_generation_config(const struct open_model *model, struct arena *arena, tsr_node *root,
                                         tsr_error *err) {
    char *path = fs_join(model->root, "generation_config.json"), *bytes = NULL;
    uint64_t size = 0;
    tsr_status st = path ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    if (st == TSR_OK && fs_kind_of(path) == FS_FILE) {
        st = fs_read_whole(path, CONFIG_BYTES_MAX, &bytes, &size, err);
        if (st == TSR_OK) st = document_from_json(bytes, size, path, arena, root, err);
    }
    mem_free(bytes);
    mem_free(path);
    return st;
}

tsr_status model_text_read(const struct open_model *model, struct model_text *text, tsr_error *err) {
    struct arena arena = {0};
    tsr_node generation = {0};
    *text = (struct model_text){0};
    tsr_status st = read_generation_config(model, &arena, &generation, err);
    if (st == TSR_OK) {
        const tsr_node *ends = find(&generation, "eos_token_id"), *begin = find(&generation, "bos_token_id");
        if (!ends) ends = find(&model->config, "eos_token_id");
        if (!begin) begin = find(&model->config, "bos_token_id");
        if (ends) st = take_ends(model, ends, text, err);
        if (st == TSR_OK && begin) st = take_id(model, begin, "bos_token_id", &text->begin, err);
        text->has_begin = begin != NULL;
    }
    arena_clear(&arena);
    return st;
}
