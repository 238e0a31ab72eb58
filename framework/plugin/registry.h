/* SPDX-License-Identifier: Apache-2.0
 *
 * All codecs and models that were found, by id and by name. The first folder to give an id wins; two of one id within
 * one folder are an error naming both paths. A plugin that cannot be used is refused with one line and remembered for
 * `plugin list`; it never takes the host down. */
#ifndef PLUGIN_REGISTRY_H
#define PLUGIN_REGISTRY_H

#include <base/env.h>
#include <tessera/plugin.h>

struct registry;

struct registry_plugin {
    const char *path;         /* "(built in)" for static ones */
    const tsr_plugin *plugin; /* NULL when refused */
    const char *refusal;      /* why, when refused */
    char digest[33];          /* XXH3-128 of the .so, "" when built in */
};

/* Reads every "tessera-codec-*.so" and "tessera-model-*.so" of folders[count], in that order; absent folders are fine.
 * TSR_E_PLUGIN only for a duplicate id inside one folder; refused plugins are logged as warnings. */
tsr_status registry_create(const char *const *folders, uint64_t count, const struct env *env,
                           struct registry **registry, tsr_error *err);
void registry_destroy(struct registry *registry); /* never unloads a .so */
/* Adds a plugin that is linked into the program (fuzz targets and sanitizer tests link the plugins' sources, each under
 * a symbol of its own). TSR_E_PLUGIN when its tables are not in order. Ids that folders gave already keep their owner.
 */
tsr_status registry_add(struct registry *registry, const tsr_plugin *plugin, tsr_error *err);

uint64_t registry_plugin_count(const struct registry *registry);
const struct registry_plugin *registry_plugin_at(const struct registry *registry, uint64_t index);
/* By short name or id; on failure names the nearest (TSR_E_CONFIG), or says why the plugin of that name was refused
 * (TSR_E_PLUGIN). `owner` may be NULL. */
tsr_status registry_codec(const struct registry *registry, const char *name, const tsr_codec **codec,
                          const struct registry_plugin **owner, tsr_error *err);
/* i-th codec / model over all loaded plugins, sorted by name, or NULL behind the last. */
const tsr_codec *registry_codec_at(const struct registry *registry, uint64_t index);
const tsr_model *registry_model_at(const struct registry *registry, uint64_t index);

/* Folders to search: `flag` (may be NULL), TESSERA_PLUGIN_PATH (":"-separated, ignored when setuid), the
 * neighbourhood of the program or of libtessera.so, the installed folder. Writes at most `max` strings, memory the arena's; returns how many. */
struct arena;
uint64_t registry_default_folders(struct arena *arena, const char *flag, const char **folders, uint64_t max);

#endif
