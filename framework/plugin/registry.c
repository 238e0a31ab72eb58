/* SPDX-License-Identifier: Apache-2.0
 *
 * Folders are read in order, files in order of their names, so that what is found does not depend on the file system.
 * Each codec and model goes into one list with the plugin and the folder it came from; the list is sorted by name at
 * the end. Plugins are never unloaded: destroying a registry forgets them. */
#include "registry.h"

#include <base/alloc.h>
#include <base/arena.h>
#include <base/digest.h>
#include <base/error.h>
#include <base/fs.h>
#include <base/str.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor.h"
#include "loader.h"

#define BUILT_IN "(built in)"
#define PLUGIN_BYTES_MAX (UINT64_C(1) << 30)

/* A codec or a model: one of the pointers is set. */
struct offer {
    const tsr_codec *codec;
    const tsr_model *model;
    uint64_t plugin; /* index in plugins */
    uint64_t folder; /* 0: built in */
};

struct offers {
    struct offer *list;
    uint64_t count, capacity;
};

struct registry {
    struct arena arena;
    const struct env *env;
    struct registry_plugin **plugins;
    uint64_t plugin_count, plugin_capacity;
    struct offers codecs, models;
};

static const char *id_of(const struct offer *offer) {
    return offer->codec ? offer->codec->id : offer->model->id;
}

static const char *name_of(const struct offer *offer) {
    return offer->codec ? offer->codec->name : offer->model->name;
}

static tsr_status out_of_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for the list of plugins");
}

/* ---- building ---- */

static bool grow(void **list, uint64_t count, uint64_t *capacity, uint64_t size) {
    if (count < *capacity) return true;
    uint64_t wanted = *capacity ? 2 * *capacity : 16;
    void *grown = mem_resize(*list, wanted, size);
    if (!grown) return false;
    *list = grown;
    *capacity = wanted;
    return true;
}

static struct registry_plugin *add_plugin(struct registry *registry, const char *path) {
    struct registry_plugin *plugin = arena_alloc(&registry->arena, 1, sizeof *plugin);
    const char *copy = arena_dup(&registry->arena, path, strlen(path));
    void *list = registry->plugins;
    bool grown = grow(&list, registry->plugin_count, &registry->plugin_capacity, sizeof *registry->plugins);
    registry->plugins = list;
    if (!plugin || !copy || !grown) return NULL;
    plugin->path = copy;
    registry->plugins[registry->plugin_count++] = plugin;
    return plugin;
}

/* Puts an offer into its list unless an earlier folder gave its id. */
static tsr_status add_offer(struct registry *registry, struct offers *offers, struct offer offer, tsr_error *err) {
    const char *path = registry->plugins[offer.plugin]->path;
    for (uint64_t i = 0; i < offers->count; i++) {
        const struct offer *other = &offers->list[i];
        const char *other_path = registry->plugins[other->plugin]->path;
        if (!strcmp(id_of(other), id_of(&offer))) {
            if (other->folder == offer.folder) {
                return tsr_fail(err, TSR_E_PLUGIN, "%s is in two plugins: %s and %s", id_of(&offer), other_path, path);
            }
            env_log(registry->env, TSR_LOG_DEBUG, "%s: %s is taken from %s", path, id_of(&offer), other_path);
            return TSR_OK;
        }
        if (!strcmp(name_of(other), name_of(&offer))) {
            env_log(registry->env, TSR_LOG_WARNING, "the name %s means %s of %s; say %s for that of %s", name_of(other),
                    id_of(other), other_path, id_of(&offer), path);
        }
    }
    void *list = offers->list;
    bool grown = grow(&list, offers->count, &offers->capacity, sizeof *offers->list);
    offers->list = list;
    if (!grown) return out_of_memory(err);
    offers->list[offers->count++] = offer;
    return TSR_OK;
}

static tsr_status add_offers(struct registry *registry, uint64_t index, uint64_t folder, tsr_error *err) {
    const tsr_plugin *plugin = registry->plugins[index]->plugin;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; st == TSR_OK && TSR_HAS(plugin, tsr_plugin, codecs) && plugin->codecs[i]; i++) {
        st = add_offer(registry, &registry->codecs, (struct offer){plugin->codecs[i], NULL, index, folder}, err);
    }
    for (uint64_t i = 0; st == TSR_OK && TSR_HAS(plugin, tsr_plugin, models) && plugin->models[i]; i++) {
        st = add_offer(registry, &registry->models, (struct offer){NULL, plugin->models[i], index, folder}, err);
    }
    return st;
}

static tsr_status digest_file(const char *path, char hex[DIGEST_HEX], tsr_error *err) {
    char *bytes = NULL;
    uint64_t size;
    tsr_status st = fs_read_whole(path, PLUGIN_BYTES_MAX, &bytes, &size, err);
    if (st != TSR_OK) return st;
    struct digest digest = digest_of(bytes, size);
    digest_to_hex(&digest, hex);
    mem_free(bytes);
    return TSR_OK;
}

/* One file: loaded and listed, or refused and remembered. */
static tsr_status add_file(struct registry *registry, const char *path, uint64_t folder, tsr_error *err) {
    tsr_error refusal = {0};
    struct registry_plugin *plugin = add_plugin(registry, path);
    if (!plugin) return out_of_memory(err);
    tsr_status st = digest_file(path, plugin->digest, &refusal);
    if (st == TSR_OK) st = loader_open(path, &plugin->plugin, &refusal);
    if (st == TSR_OK) return add_offers(registry, registry->plugin_count - 1, folder, err);
    plugin->plugin = NULL;
    plugin->refusal = arena_dup(&registry->arena, refusal.message, strlen(refusal.message));
    if (!plugin->refusal || st == TSR_E_NOMEM) return out_of_memory(err);
    env_log(registry->env, TSR_LOG_WARNING, "plugin %s: %s", path, refusal.message);
    return TSR_OK;
}

static bool is_plugin_name(const char *name) {
    return (text_starts_with(name, "tessera-codec-") || text_starts_with(name, "tessera-model-")) &&
           text_ends_with(name, ".so");
}

static tsr_status add_folder(struct registry *registry, const char *folder, uint64_t number, tsr_error *err) {
    struct fs_list list = {0};
    tsr_status st = fs_list(folder, false, &list, err);
    for (uint64_t i = 0; st == TSR_OK && i < list.count; i++) {
        if (!is_plugin_name(list.names[i])) continue;
        char *path = fs_join(folder, list.names[i]);
        st = path ? add_file(registry, path, number, err) : out_of_memory(err);
        mem_free(path);
    }
    fs_list_clear(&list);
    return st;
}

static int by_name(const void *a, const void *b) {
    const struct offer *x = a, *y = b;
    int order = strcmp(name_of(x), name_of(y));
    /* Of equal names the one found first stays first: it is what the name means. */
    return order ? order : x->plugin < y->plugin ? -1 : x->plugin > y->plugin;
}

static void sort(struct offers *offers) {
    if (offers->count) qsort(offers->list, offers->count, sizeof *offers->list, by_name);
}

/* True when one of the folders before `index` is the same one under another name. */
static bool is_repeated(char *const *real, uint64_t index) {
    for (uint64_t i = 0; i < index; i++) {
        if (real[i] && !strcmp(real[i], real[index])) return true;
    }
    return false;
}

static tsr_status add_folders(struct registry *registry, const char *const *folders, uint64_t count, tsr_error *err) {
    tsr_status st = TSR_OK;
    char **real = mem_alloc_zero(count, sizeof *real);
    if (!real) return out_of_memory(err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        if (fs_kind_of(folders[i]) != FS_FOLDER) continue;
        real[i] = fs_real_path(folders[i]);
        if (!real[i]) {
            st = out_of_memory(err);
        } else if (!is_repeated(real, i)) {
            st = add_folder(registry, real[i], i + 1, err);
        }
    }
    for (uint64_t i = 0; i < count; i++) mem_free(real[i]);
    mem_free(real);
    return st;
}

tsr_status registry_create(const char *const *folders, uint64_t count, const struct env *env,
                           struct registry **registry, tsr_error *err) {
    struct registry *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return out_of_memory(err);
    made->env = env;
    tsr_status st = add_folders(made, folders, count, err);
    if (st != TSR_OK) {
        registry_destroy(made);
        return st;
    }
    sort(&made->codecs);
    sort(&made->models);
    *registry = made;
    return TSR_OK;
}

tsr_status registry_add(struct registry *registry, const tsr_plugin *plugin, tsr_error *err) {
    tsr_status st = descriptor_check(plugin, err);
    if (st != TSR_OK) return st;
    struct registry_plugin *entry = add_plugin(registry, BUILT_IN);
    if (!entry) return out_of_memory(err);
    entry->plugin = plugin;
    st = add_offers(registry, registry->plugin_count - 1, 0, err);
    sort(&registry->codecs);
    sort(&registry->models);
    return st;
}

void registry_destroy(struct registry *registry) {
    if (!registry) return;
    mem_free(registry->plugins);
    mem_free(registry->codecs.list);
    mem_free(registry->models.list);
    arena_clear(&registry->arena);
    mem_free(registry);
}

/* ---- asking ---- */

uint64_t registry_plugin_count(const struct registry *registry) {
    return registry->plugin_count;
}

const struct registry_plugin *registry_plugin_at(const struct registry *registry, uint64_t index) {
    return index < registry->plugin_count ? registry->plugins[index] : NULL;
}

/* The refused plugin file that should have had the codec of this name or id, or NULL. */
static const struct registry_plugin *refused_for(const struct registry *registry, const char *name) {
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (uint64_t i = 0; i < registry->plugin_count; i++) {
        const struct registry_plugin *plugin = registry->plugins[i];
        const char *file = fs_base_name(plugin->path), *found = strstr(file, last);
        if (plugin->plugin || !found || found == file || found[-1] != '-') continue;
        if (!strcmp(found + strlen(last), ".so")) return plugin;
    }
    return NULL;
}

static tsr_status unknown_codec(const struct registry *registry, const char *name, tsr_error *err) {
    const struct registry_plugin *refused = refused_for(registry, name);
    if (refused)
        return tsr_fail(err, TSR_E_PLUGIN, "codec \"%.60s\": its plugin was refused: %s", name, refused->refusal);
    const char **names = mem_alloc_zero(registry->codecs.count + 1, sizeof *names);
    for (uint64_t i = 0; names && i < registry->codecs.count; i++) names[i] = registry->codecs.list[i].codec->name;
    const char *near = names ? text_nearest(name, names) : NULL;
    mem_free(names);
    if (near) return tsr_fail(err, TSR_E_CONFIG, "unknown codec \"%.60s\"; did you mean \"%s\"?", name, near);
    if (!registry->codecs.count) {
        return tsr_fail(err, TSR_E_CONFIG, "unknown codec \"%.60s\": no codec plugin was found", name);
    }
    return tsr_fail(err, TSR_E_CONFIG, "unknown codec \"%.60s\"", name);
}

tsr_status registry_codec(const struct registry *registry, const char *name, const tsr_codec **codec,
                          const struct registry_plugin **owner, tsr_error *err) {
    for (uint64_t i = 0; i < registry->codecs.count; i++) {
        const struct offer *offer = &registry->codecs.list[i];
        if (strcmp(offer->codec->name, name) && strcmp(offer->codec->id, name)) continue;
        *codec = offer->codec;
        if (owner) *owner = registry->plugins[offer->plugin];
        return TSR_OK;
    }
    return unknown_codec(registry, name, err);
}

const tsr_codec *registry_codec_at(const struct registry *registry, uint64_t index) {
    return index < registry->codecs.count ? registry->codecs.list[index].codec : NULL;
}

const tsr_model *registry_model_at(const struct registry *registry, uint64_t index) {
    return index < registry->models.count ? registry->models.list[index].model : NULL;
}
