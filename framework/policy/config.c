/* SPDX-License-Identifier: Apache-2.0
 *
 * The document as a whole; rules are read by config_rule.c, the budget by config_budget.c. */
#include "config.h"

#include <string.h>

#include <base/alloc.h>
#include <base/fs.h>
#include <base/str.h>

#include "config_read.h"

tsr_status config_no_memory(const struct config_reader *reader, tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", reader->path);
}

tsr_status config_text(const struct config_reader *reader, const struct yaml_node *node, const char *what,
                       const char **text, tsr_error *err) {
    tsr_status st = yaml_expect(node, YAML_SCALAR, what, reader->path, err);
    if (st) return st;
    if (!*node->text) return yaml_fail(err, reader->path, node, "%s: the value is missing", what);
    *text = node->text;
    return TSR_OK;
}

tsr_status config_one_or_more(const struct config_reader *reader, const struct yaml_node *node, const char *what,
                              struct config_items *items, tsr_error *err) {
    const char *text;
    if (node->kind == YAML_MAP) return yaml_fail(err, reader->path, node, "%s: expected names, found a map", what);
    *items = node->kind == YAML_LIST ? (struct config_items){node->items, node->count} : (struct config_items){node, 1};
    if (items->count == 0) return yaml_fail(err, reader->path, node, "%s: the list is empty", what);
    for (uint64_t i = 0; i < items->count; i++) {
        tsr_status st = config_text(reader, &items->nodes[i], what, &text, err);
        if (st) return st;
    }
    return TSR_OK;
}

tsr_status config_rule_fail(tsr_error *err, const struct config *config, const struct config_rule *rule,
                            const char *format, ...) {
    char what[TSR_ERROR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return tsr_fail(err, TSR_E_CONFIG, "%s:%u:%u: %s", config->path, (unsigned)rule->line, (unsigned)rule->column,
                    what);
}

static tsr_status check_version(const struct config_reader *reader, const struct yaml_node *root, tsr_error *err) {
    const struct yaml_node *version = yaml_get(root, "tessera");
    if (!version) return yaml_fail(err, reader->path, root, "the key \"tessera\" is missing, expected tessera: 1");
    if (version->kind == YAML_SCALAR && !version->quoted && !strcmp(version->text, "1")) return TSR_OK;
    if (version->kind != YAML_SCALAR) return yaml_expect(version, YAML_SCALAR, "tessera", reader->path, err);
    return yaml_fail(err, reader->path, version, "tessera: version \"%s\" is not known here, expected 1",
                     version->text);
}

/* A name that is found in the role folders, or a path that ends in .yaml (docs/roles.md). */
static tsr_status read_roles(const struct config_reader *reader, const struct yaml_node *root, struct config *config,
                             tsr_error *err) {
    const struct yaml_node *roles = yaml_get(root, "roles");
    config->roles = "auto";
    if (!roles) return TSR_OK;
    tsr_status st = config_text(reader, roles, "roles", &config->roles, err);
    if (st) return st;
    config->roles_line = roles->line;
    config->roles_column = roles->column;
    if (!strchr(config->roles, '/') || text_ends_with(config->roles, ".yaml")) return TSR_OK;
    return yaml_fail(err, reader->path, roles, "roles: \"%s\", expected auto, a name, or a path that ends in .yaml",
                     config->roles);
}

static tsr_status read_rules(const struct config_reader *reader, const struct yaml_node *root, struct config *config,
                             tsr_error *err) {
    const struct yaml_node *rules = yaml_get(root, "rules");
    if (!rules) return yaml_fail(err, reader->path, root, "the key \"rules\" is missing");
    tsr_status st = yaml_expect(rules, YAML_LIST, "rules", reader->path, err);
    if (st) return st;
    if (rules->count == 0) return yaml_fail(err, reader->path, rules, "rules: the list is empty");
    config->rules = arena_alloc(reader->arena, rules->count, sizeof *config->rules);
    if (!config->rules) return config_no_memory(reader, err);
    config->rule_count = rules->count;
    for (uint64_t i = 0; i < rules->count && !st; i++) {
        st = config_read_rule(reader, &rules->items[i], &config->rules[i], err);
    }
    return st;
}

static tsr_status read_document(const struct config_reader *reader, const struct yaml_node *root, struct config *config,
                                tsr_error *err) {
    static const char *const keys[] = {"tessera", "roles", "rules", "budget", "gates", NULL};
    tsr_status st = yaml_expect(root, YAML_MAP, "a config", reader->path, err);
    if (!st) st = yaml_known_keys(root, keys, reader->path, err);
    if (!st) st = check_version(reader, root, err);
    if (!st) st = read_roles(reader, root, config, err);
    if (!st) st = read_rules(reader, root, config, err);
    if (!st) st = config_read_gates(reader, root, &config->gates, err);
    if (!st) st = config_read_budget(reader, root, &config->budget, err);
    return st;
}

tsr_status config_parse(const char *text, size_t size, const char *path, const struct registry *registry,
                        struct arena *arena, struct config *config, tsr_error *err) {
    struct config_reader reader = {path, registry, arena};
    struct yaml_node root;
    *config = (struct config){.path = arena_dup(arena, path, strlen(path)), .digest = digest_of(text, size)};
    if (!config->path) return config_no_memory(&reader, err);
    tsr_status st = yaml_parse(text, size, path, arena, &root, err);
    return st ? st : read_document(&reader, &root, config, err);
}

tsr_status config_default(const struct registry *registry, struct arena *arena, struct config *config, tsr_error *err) {
    static const char text[] = "{tessera: 1, roles: auto, rules: [{codec: passthrough, optional: true}]}";
    return config_parse(text, sizeof text - 1, "(built in)", registry, arena, config, err);
}

tsr_status config_load(const char *path, const struct registry *registry, struct arena *arena, struct config *config,
                       tsr_error *err) {
    char *text = NULL;
    uint64_t size = 0;
    tsr_status st = fs_read_whole(path, YAML_BYTES_MAX, &text, &size, err);
    if (!st) st = config_parse(text, size, path, registry, arena, config, err);
    mem_free(text);
    return st;
}

const char *config_locate(const char *name, const char *const *folders, uint64_t folder_count, struct arena *arena) {
    if (fs_kind_of(name) == FS_FILE) return arena_dup(arena, name, strlen(name));
    if (strchr(name, '/')) return NULL;
    for (uint64_t i = 0; i < folder_count; i++) {
        const char *path = arena_format(arena, "%s/%s.yaml", folders[i], name);
        if (path && fs_kind_of(path) == FS_FILE) return path;
    }
    return NULL;
}
