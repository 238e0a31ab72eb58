/* SPDX-License-Identifier: Apache-2.0
 *
 * Role files from YAML (docs/roles.md, "The file"), and which file a model gets. A mistake in a role file could quietly turn
 * a router into a matrix to be quantised, so every key and value is checked and nothing is ignored. */
#include "role.h"

#include "role_set.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/fs.h>
#include <base/str.h>
#include <format/yaml.h>
#include <string.h>

#define FORMAT_VERSION 1
#define STRIDE_MAX 65535
#define ROLE_FILE_SUFFIX ".yaml"
#define FALLBACK "generic"

/* What one role file is read with. */
struct role_reader {
    struct role_set *set;
    struct arena *arena;
    tsr_error *err;
};

static tsr_status no_memory(const struct role_reader *reader) {
    return tsr_fail(reader->err, TSR_E_NOMEM, "%s: no memory", reader->set->path);
}

/* ---- values ---- */

static tsr_status read_text(const struct role_reader *reader, const struct yaml_node *node, const char *what,
                            const char **text) {
    tsr_status st = yaml_expect(node, YAML_SCALAR, what, reader->set->path, reader->err);
    if (st) return st;
    if (!*node->text) return yaml_fail(reader->err, reader->set->path, node, "%s: expected a name, found nothing", what);
    *text = node->text;
    return TSR_OK;
}

/* Index of the node's text in names[] (NULL-terminated). */
static tsr_status read_choice(const struct role_reader *reader, const struct yaml_node *node, const char *what,
                              const char *const *names, uint64_t *choice) {
    const char *text = NULL;
    tsr_status st = read_text(reader, node, what, &text);
    if (st) return st;
    for (*choice = 0; names[*choice]; (*choice)++) {
        if (!strcmp(names[*choice], text)) return TSR_OK;
    }
    const char *nearest = text_nearest(text, names);
    if (nearest) {
        return yaml_fail(reader->err, reader->set->path, node, "unknown %s \"%s\"; did you mean \"%s\"?", what, text,
                         nearest);
    }
    return yaml_fail(reader->err, reader->set->path, node, "unknown %s \"%s\"", what, text);
}

/* A list of single values without repeats; empty texts only where `may_be_empty`. */
static tsr_status read_list(const struct role_reader *reader, const struct yaml_node *node, const char *what,
                            bool may_be_empty, const char ***texts) {
    tsr_status st = yaml_expect(node, YAML_LIST, what, reader->set->path, reader->err);
    if (st) return st;
    *texts = arena_alloc(reader->arena, node->count, sizeof **texts);
    if (!*texts) return no_memory(reader);
    for (uint64_t i = 0; i < node->count; i++) {
        const struct yaml_node *item = &node->items[i];
        st = may_be_empty ? yaml_expect(item, YAML_SCALAR, what, reader->set->path, reader->err)
                          : read_text(reader, item, what, &(*texts)[i]);
        if (st) return st;
        (*texts)[i] = item->text;
        for (uint64_t j = 0; j < i; j++) {
            if (strcmp((*texts)[j], item->text)) continue;
            return yaml_fail(reader->err, reader->set->path, item, "%s: \"%s\" twice", what, item->text);
        }
    }
    return TSR_OK;
}

/* ---- rules ---- */

static tsr_status require(const struct role_reader *reader, const struct yaml_node *map, const char *key,
                          const struct yaml_node **value) {
    *value = yaml_get(map, key);
    if (*value) return TSR_OK;
    return yaml_fail(reader->err, reader->set->path, map, "key \"%s\" is missing", key);
}

static tsr_status read_match(const struct role_reader *reader, const struct yaml_node *map, struct role_rule *rule) {
    const struct yaml_node *node = NULL;
    const char *text = NULL;
    tsr_status st = require(reader, map, "match", &node);
    if (st == TSR_OK) st = read_text(reader, node, "match", &text);
    if (st) return st;
    for (const struct role_rule *other = reader->set->rules; other < rule; other++) {
        if (strcmp(pattern_text(other->pattern), text)) continue;
        return yaml_fail(reader->err, reader->set->path, node, "match \"%s\" is already in line %u", text,
                         (unsigned)other->line);
    }
    st = pattern_compile(text, reader->arena, &rule->pattern, reader->err);
    if (st == TSR_OK) return st;
    return error_context(reader->err, st, "%s:%u:%u", reader->set->path, (unsigned)node->line, (unsigned)node->column);
}

static tsr_status read_role(const struct role_reader *reader, const struct yaml_node *map, struct role_rule *rule) {
    const struct yaml_node *node = NULL;
    uint64_t choice = 0;
    tsr_status st = require(reader, map, "role", &node);
    if (st == TSR_OK) st = read_choice(reader, node, "role", role_names(), &choice);
    if (st) return st;
    rule->role = role_info_find(role_names()[choice]);
    if (rule->role) return TSR_OK;
    return yaml_fail(reader->err, reader->set->path, node, "role \"unknown\" is for what no rule matches");
}

static tsr_status read_overrides(const struct role_reader *reader, const struct yaml_node *map, struct role_rule *rule) {
    static const char *const REGIMES[] = {"exact", "index", "argmax", NULL}; /* TSR_REGIME_* in order */
    static const char *const VIEWS[] = {"rows", "last", "transposed", NULL}; /* enum role_view in order */
    const struct yaml_node *regime = yaml_get(map, "regime"), *view = yaml_get(map, "view");
    const struct yaml_node *stride = yaml_get(map, "stride"), *component = yaml_get(map, "component");
    uint64_t choice = 0;
    int64_t number = 0;
    tsr_status st = TSR_OK;
    rule->regime = rule->role->regime;
    rule->component = "";
    if (regime) st = read_choice(reader, regime, "regime", REGIMES, &choice);
    if (st) return st;
    if (regime) rule->regime = (int32_t)choice;
    if (view) st = read_choice(reader, view, "view", VIEWS, &choice);
    if (st) return st;
    if (view) rule->view = (enum role_view)choice;
    if (stride) st = yaml_integer(stride, "stride", 1, STRIDE_MAX, reader->set->path, &number, reader->err);
    if (st) return st;
    rule->stride = (uint32_t)number;
    return component ? read_text(reader, component, "component", &rule->component) : TSR_OK;
}

static tsr_status read_rule(const struct role_reader *reader, const struct yaml_node *map, struct role_rule *rule) {
    static const char *const KEYS[] = {"match", "role", "regime", "stride", "view", "component", NULL};
    tsr_status st = yaml_expect(map, YAML_MAP, "rule", reader->set->path, reader->err);
    if (st == TSR_OK) st = yaml_known_keys(map, KEYS, reader->set->path, reader->err);
    if (st) return st;
    rule->line = map->line;
    st = read_match(reader, map, rule);
    if (st == TSR_OK) st = read_role(reader, map, rule);
    if (st == TSR_OK) st = read_overrides(reader, map, rule);
    return st;
}

static tsr_status read_rules(const struct role_reader *reader, const struct yaml_node *node) {
    struct role_set *set = reader->set;
    tsr_status st = yaml_expect(node, YAML_LIST, "rules", set->path, reader->err);
    if (st) return st;
    if (!node->count) return yaml_fail(reader->err, set->path, node, "rules: expected at least one");
    set->rules = arena_alloc(reader->arena, node->count, sizeof *set->rules);
    if (!set->rules) return no_memory(reader);
    for (uint64_t i = 0; st == TSR_OK && i < node->count; i++) {
        st = read_rule(reader, &node->items[i], &set->rules[i]);
        set->rule_count = i + 1;
    }
    return st;
}

/* ---- the file ---- */

static tsr_status read_head(const struct role_reader *reader, const struct yaml_node *root) {
    static const char *const KEYS[] = {"tessera_roles", "family", "model_types", "prefixes", "rules", NULL};
    struct role_set *set = reader->set;
    const struct yaml_node *version = NULL, *family = NULL, *types = NULL;
    int64_t number = 0;
    tsr_status st = yaml_expect(root, YAML_MAP, "role file", set->path, reader->err);
    if (st == TSR_OK) st = yaml_known_keys(root, KEYS, set->path, reader->err);
    if (st == TSR_OK) st = require(reader, root, "tessera_roles", &version);
    if (st == TSR_OK) {
        st = yaml_integer(version, "tessera_roles", FORMAT_VERSION, FORMAT_VERSION, set->path, &number, reader->err);
    }
    if (st == TSR_OK) st = require(reader, root, "family", &family);
    if (st == TSR_OK) st = read_text(reader, family, "family", &set->family);
    if (st == TSR_OK) st = require(reader, root, "model_types", &types);
    if (st == TSR_OK) st = read_list(reader, types, "model_types", false, &set->model_types);
    if (st == TSR_OK) set->model_type_count = types->count;
    return st;
}

static tsr_status read_prefixes(const struct role_reader *reader, const struct yaml_node *root) {
    static const char *AS_THEY_ARE[] = {""};
    struct role_set *set = reader->set;
    const struct yaml_node *node = yaml_get(root, "prefixes");
    set->prefixes = AS_THEY_ARE;
    set->prefix_count = 1;
    if (!node) return TSR_OK;
    tsr_status st = read_list(reader, node, "prefixes", true, &set->prefixes);
    if (st) return st;
    set->prefix_count = node->count;
    return node->count ? TSR_OK : yaml_fail(reader->err, set->path, node, "prefixes: expected at least one");
}

tsr_status role_parse(const char *text, uint64_t size, const char *path, struct arena *arena, struct role_set **set,
                      tsr_error *err) {
    *set = NULL;
    struct role_set *fresh = arena_alloc(arena, 1, sizeof *fresh);
    if (fresh) fresh->path = arena_dup(arena, path, strlen(path));
    if (!fresh || !fresh->path) return tsr_fail(err, TSR_E_NOMEM, "%s: no memory", path);
    const struct role_reader reader = {fresh, arena, err};
    struct yaml_node root = {0};
    const struct yaml_node *rules = NULL;
    tsr_status st = yaml_parse(text, (size_t)size, path, arena, &root, err);
    if (st == TSR_OK) st = read_head(&reader, &root);
    if (st == TSR_OK) st = read_prefixes(&reader, &root);
    if (st == TSR_OK) st = require(&reader, &root, "rules", &rules);
    if (st == TSR_OK) st = read_rules(&reader, rules);
    if (st == TSR_OK) *set = fresh;
    return st;
}

tsr_status role_load(const char *path, struct arena *arena, struct role_set **set, tsr_error *err) {
    char *text = NULL;
    uint64_t size = 0;
    *set = NULL;
    tsr_status st = fs_read_whole(path, YAML_BYTES_MAX, &text, &size, err);
    if (st == TSR_OK) st = role_parse(text, size, path, arena, set, err);
    mem_free(text);
    return st;
}

/* ---- finding the file ---- */

static bool lists_type(const struct role_set *set, const char *model_type) {
    for (uint64_t i = 0; i < set->model_type_count; i++) {
        if (!strcmp(set->model_types[i], model_type)) return true;
    }
    return false;
}

/* Reads one file of a folder; sets *claimant (owned, mem_free) when it lists the type. */
static tsr_status ask_file(const char *folder, const char *name, const char *model_type, char **claimant,
                           tsr_error *err) {
    if (!text_ends_with(name, ROLE_FILE_SUFFIX)) return TSR_OK;
    struct arena arena = {0};
    struct role_set *set = NULL;
    char *path = fs_join(folder, name);
    tsr_status st = path ? role_load(path, &arena, &set, err) : tsr_fail(err, TSR_E_NOMEM, "%s: no memory", folder);
    if (st || !lists_type(set, model_type)) goto done;
    if (*claimant) {
        st = tsr_fail(err, TSR_E_CONFIG, "%s: model type \"%s\" is already listed by %s", path, model_type,
                      fs_base_name(*claimant));
        goto done;
    }
    *claimant = path;
    path = NULL;
done:
    mem_free(path);
    arena_clear(&arena);
    return st;
}

/* Path of the folder's file that lists the type, in fresh memory, or NULL. */
static tsr_status ask_folder(const char *folder, const char *model_type, char **path, tsr_error *err) {
    struct fs_list list = {0};
    if (fs_kind_of(folder) != FS_FOLDER) return TSR_OK;
    tsr_status st = fs_list(folder, false, &list, err);
    for (uint64_t i = 0; st == TSR_OK && i < list.count; i++) {
        st = ask_file(folder, list.names[i], model_type, path, err);
    }
    fs_list_clear(&list);
    return st;
}

/* Path of the first NAME.yaml in the folders, in fresh memory, or NULL. */
static tsr_status locate_name(const char *name, const char *const *folders, uint64_t count, char **path,
                              tsr_error *err) {
    struct str file = {0};
    str_add_text(&file, name);
    str_add_text(&file, ROLE_FILE_SUFFIX);
    bool failed = file.failed;
    for (uint64_t i = 0; !failed && i < count; i++) {
        *path = fs_join(folders[i], file.text);
        failed = !*path;
        if (!failed && fs_kind_of(*path) == FS_FILE) break;
        mem_free(*path);
        *path = NULL;
    }
    str_clear(&file);
    return failed ? tsr_fail(err, TSR_E_NOMEM, "roles \"%s\": no memory", name) : TSR_OK;
}

/* What to say when there is no such file: the nearest name, or where it was looked for. */
static tsr_status fail_absent(const char *name, const char *const *folders, uint64_t count, tsr_error *err) {
    struct arena arena = {0};
    const char *nearest = NULL;
    for (uint64_t i = 0; i < count && !nearest; i++) {
        struct fs_list list = {0};
        if (fs_kind_of(folders[i]) != FS_FOLDER || fs_list(folders[i], false, &list, NULL) != TSR_OK) continue;
        const char **names = arena_alloc(&arena, list.count + 1, sizeof *names);
        for (uint64_t j = 0, kept = 0; names && j < list.count; j++) {
            if (!text_ends_with(list.names[j], ROLE_FILE_SUFFIX)) continue;
            names[kept++] = arena_dup(&arena, list.names[j], strlen(list.names[j]) - strlen(ROLE_FILE_SUFFIX));
        }
        if (names) nearest = text_nearest(name, names);
        fs_list_clear(&list);
    }
    tsr_status st = nearest ? tsr_fail(err, TSR_E_CONFIG, "roles \"%s\": no such role file; did you mean \"%s\"?", name,
                                       nearest)
                            : tsr_fail(err, TSR_E_CONFIG, "roles \"%s\": no %s" ROLE_FILE_SUFFIX " in %s", name, name,
                                       count ? folders[0] : "any folder");
    arena_clear(&arena);
    return st;
}

static void warn_fallback(const struct env *env, const char *model_type) {
    static const char USED[] = "using " FALLBACK ROLE_FILE_SUFFIX;
    if (model_type) {
        env_log(env, TSR_LOG_WARNING, "roles: no role file lists model type \"%s\"; %s", model_type, USED);
    } else {
        env_log(env, TSR_LOG_WARNING, "roles: no config.json names a model_type; %s", USED);
    }
}

tsr_status role_find(const char *name, const char *model_type, const char *const *folders, uint64_t folder_count,
                     const struct env *env, struct arena *arena, struct role_set **set, tsr_error *err) {
    char *path = NULL;
    tsr_status st = TSR_OK;
    *set = NULL;
    if (text_ends_with(name, ROLE_FILE_SUFFIX)) return role_load(name, arena, set, err);
    if (!strcmp(name, "auto")) {
        for (uint64_t i = 0; model_type && st == TSR_OK && !path && i < folder_count; i++) {
            st = ask_folder(folders[i], model_type, &path, err);
        }
        name = FALLBACK;
        if (st == TSR_OK && !path) warn_fallback(env, model_type);
    }
    if (st == TSR_OK && !path) st = locate_name(name, folders, folder_count, &path, err);
    if (st == TSR_OK && !path) st = fail_absent(name, folders, folder_count, err);
    if (st == TSR_OK) st = role_load(path, arena, set, err);
    mem_free(path);
    return st;
}
