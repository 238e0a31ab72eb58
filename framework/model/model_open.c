/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens checkpoint, config and family descriptions, asks every model plugin how well it fits, and creates the best. */
#include "model_open.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/str.h>
#include <format/document.h>
#include <string.h>

#define CONFIG_BYTES_MAX ((uint64_t)16 << 20)
#define FAMILIES_MAX 512

static tsr_status find_root(struct open_model *model, tsr_error *err) {
    const struct reader *reader = &model->reader;
    model->root = mem_dup_text(reader->compressed ? reader->stored.checkpoint.root : reader->raw.root);
    return model->root ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
}

static tsr_status read_config(struct open_model *model, const char *folder, tsr_node *config, tsr_error *err) {
    char *path = fs_join(folder, "config.json"), *text = NULL;
    uint64_t size = 0;
    tsr_status st = path ? fs_read_whole(path, CONFIG_BYTES_MAX, &text, &size, err)
                         : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    if (st == TSR_OK) st = document_from_json(text, size, path, &model->arena, config, err);
    if (st == TSR_OK && config->kind != TSR_NODE_MAP) st = tsr_fail(err, TSR_E_INPUT, "%s: expected an object", path);
    mem_free(text);
    mem_free(path);
    return st;
}

/* The config of one nested checkpoint, if it has one; `prefix` is its folder with a slash behind. */
static tsr_status read_part(struct open_model *model, const char *prefix, tsr_node *parts, uint64_t *count, tsr_error *err) {
    char *folder = arena_dup(&model->arena, prefix, strlen(prefix) - 1);
    char *path = folder ? fs_join(model->root, folder) : NULL, *config = path ? fs_join(path, "config.json") : NULL;
    tsr_status st = config ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    if (st == TSR_OK && fs_kind_of(config) == FS_FILE) {
        st = read_config(model, path, &parts[*count], err);
        parts[(*count)++].key = folder;
    }
    mem_free(config);
    mem_free(path);
    return st;
}

/* Files are sorted by folder, so each new prefix is a new part. */
static tsr_status read_parts(struct open_model *model, tsr_error *err) {
    const struct reader *reader = &model->reader;
    const struct checkpoint *checkpoint = reader->compressed ? &reader->stored.checkpoint : &reader->raw;
    tsr_node *parts = arena_alloc(&model->arena, checkpoint->file_count + 1, sizeof *parts);
    const char *last = "";
    uint64_t count = 0;
    tsr_status st = parts ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for configs");
    for (uint64_t i = 0; i < checkpoint->file_count && st == TSR_OK; i++) {
        if (!strcmp(checkpoint->files[i].prefix, last)) continue;
        last = checkpoint->files[i].prefix;
        st = read_part(model, last, parts, &count, err);
    }
    model->parts = (tsr_node){.key = "", .text = "", .kind = TSR_NODE_MAP, .children = parts, .count = count};
    return st;
}

static tsr_status read_family(struct open_model *model, const char *folder, const char *name, tsr_node *family,
                              tsr_error *err) {
    char *path = fs_join(folder, name), *text = NULL;
    uint64_t size = 0;
    tsr_status st = path ? fs_read_whole(path, CONFIG_BYTES_MAX, &text, &size, err)
                         : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    if (st == TSR_OK) st = document_from_yaml(text, size, path, &model->arena, family, err);
    mem_free(text);
    mem_free(path);
    return st;
}

static tsr_status read_folder(struct open_model *model, const char *folder, tsr_node *families, uint64_t *count,
                              tsr_error *err) {
    struct fs_list list = {0};
    if (fs_kind_of(folder) != FS_FOLDER) return TSR_OK;
    tsr_status st = fs_list(folder, false, &list, err);
    for (uint64_t i = 0; i < list.count && st == TSR_OK; i++) {
        if (!text_ends_with(list.names[i], ".yaml")) continue;
        if (*count == FAMILIES_MAX) {
            st = tsr_fail(err, TSR_E_LIMIT, "%s: more than %d family descriptions", folder, FAMILIES_MAX);
        } else {
            st = read_family(model, folder, list.names[i], &families[*count], err);
            families[(*count)++].key = "";
        }
    }
    fs_list_clear(&list);
    return st;
}

/* Descriptions of earlier folders stand first, so they win. */
static tsr_status read_families(struct open_model *model, const struct model_paths *paths, tsr_error *err) {
    tsr_node *families = arena_alloc(&model->arena, FAMILIES_MAX, sizeof *families);
    uint64_t count = 0;
    tsr_status st = families ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for family descriptions");
    for (uint64_t i = 0; i < paths->family_folder_count && st == TSR_OK; i++) {
        st = read_folder(model, paths->family_folders[i], families, &count, err);
    }
    model->families =
        (tsr_node){.key = "", .text = "", .kind = TSR_NODE_LIST, .children = families, .count = count};
    return st;
}

static tsr_status create_best(struct open_model *model, const struct registry *registry, tsr_error *err) {
    tsr_model_setup setup = {.struct_size = sizeof setup,
                             .host = &model->services.host,
                             .config = &model->config,
                             .families = &model->families,
                             .weights = model_weights_table(model->weights),
                             .parts = &model->parts};
    int32_t best = 0;
    for (uint64_t i = 0; registry_model_at(registry, i); i++) {
        const tsr_model *candidate = registry_model_at(registry, i);
        int32_t fit = candidate->probe(&setup);
        if (fit > best) {
            best = fit;
            model->plugin = candidate;
        }
    }
    if (!model->plugin) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: no model plugin knows this model_type", model->root);
    }
    tsr_status st = model->plugin->create(&setup, &model->self, err);
    return st == TSR_OK ? TSR_OK : error_context(err, st, "%s", model->root);
}

tsr_status model_open(const char *path, const struct registry *registry, const struct model_paths *paths,
                      const struct env *env, struct open_model *model, tsr_error *err) {
    *model = (struct open_model){0};
    host_services_init(&model->services, env);
    uint64_t budget = paths->decoded_bytes ? paths->decoded_bytes : MODEL_DECODED_BYTES;
    tsr_status st = reader_open(path, registry, env, &model->reader, err);
    if (st == TSR_OK) st = find_root(model, err);
    if (st == TSR_OK) st = read_config(model, model->root, &model->config, err);
    if (st == TSR_OK) st = read_parts(model, err);
    if (st == TSR_OK) st = read_families(model, paths, err);
    if (st == TSR_OK) st = model_weights_create(&model->reader, budget, env, &model->weights, err);
    if (st == TSR_OK) st = create_best(model, registry, err);
    if (st == TSR_OK) {
        model->info.struct_size = sizeof model->info;
        model->plugin->info(model->self, &model->info);
    }
    return st;
}

void model_close(struct open_model *model) {
    if (model->self) model->plugin->destroy(model->self);
    model_weights_destroy(model->weights);
    reader_close(&model->reader);
    mem_free(model->root);
    arena_clear(&model->arena);
    *model = (struct open_model){0};
}

const void *model_extension(const struct open_model *model, const char *id) {
    if (!model->plugin || !TSR_HAS(model->plugin, tsr_model, get_extension)) return NULL;
    return model->plugin->get_extension(id);
}
