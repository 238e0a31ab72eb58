/* SPDX-License-Identifier: Apache-2.0
 *
 * Models x configs. A name is made by a template and names a folder of the state, so it is kept to letters that no shell
 * and no file system minds. */
#include "batch_read.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/fs.h>
#include <base/str.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#define NAME_LENGTH_MAX 200
#define DEFAULT_NAME "{model}-{config}"
#define DEFAULT_NAME_LOSSLESS "{model}"
#define DEFAULT_OUTPUT "{name}.tsr"

const char *batch_path(const struct batch_list *list, const char *path) {
    return arena_format(&list->batch->arena, "%s%s", path[0] == '/' ? "" : list->folder, path);
}

/* ---- templates ---- */

struct fields {
    const char *model, *config, *name; /* NULL: not to be used here */
};

static tsr_status add_field(const struct batch *batch, const struct fields *fields, const struct yaml_node *node,
                            const char *field, size_t length, struct str *text, tsr_error *err) {
    static const char *const names[] = {"model", "config", "name", NULL};
    const char *const values[] = {fields->model, fields->config, fields->name};
    for (unsigned i = 0; names[i]; i++) {
        if (strlen(names[i]) != length || strncmp(names[i], field, length) || !values[i]) continue;
        str_add_text(text, values[i]);
        return TSR_OK;
    }
    char typed[32];
    (void)snprintf(typed, sizeof typed, "%.*s", (int)min_u64(length, 30), field);
    const char *nearest = text_nearest(typed, names);
    return yaml_fail(err, batch->path, node, "unknown field \"{%s}\"%s%s%s", typed, nearest ? "; did you mean \"{" : "",
                     nearest ? nearest : "", nearest ? "}\"?" : "");
}

/* "{model}-{config}" with its fields filled in. Arena memory. */
static tsr_status fill(struct batch *batch, const char *template, const struct yaml_node *node,
                       const struct fields *fields, const char **result, tsr_error *err) {
    struct str text = {0};
    tsr_status st = TSR_OK;
    str_add_text(&text, "");
    while (*template && st == TSR_OK) {
        size_t plain = strcspn(template, "{");
        str_add(&text, template, plain);
        template += plain;
        if (!*template) break;
        size_t length = strcspn(template, "}");
        if (!template[length]) {
            st = yaml_fail(err, batch->path, node, "a \"{\" has no \"}\"");
            break;
        }
        st = add_field(batch, fields, node, template + 1, length - 1, &text, err);
        template += length + 1;
    }
    *result = text.failed || st != TSR_OK ? NULL : arena_dup(&batch->arena, text.text, text.length);
    if (st == TSR_OK && !*result) st = batch_no_memory(batch, err);
    str_clear(&text);
    return st;
}

/* Base name without a known suffix, in letters that a name may have. */
static const char *plain_name(struct batch *batch, const char *path, const char *suffix) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    char *whole = arena_dup(&batch->arena, path, length);
    if (!whole) return NULL;
    const char *base = fs_base_name(whole);
    char *name = arena_dup(&batch->arena, base, strlen(base) - (text_ends_with(base, suffix) ? strlen(suffix) : 0));
    for (char *at = name; at && *at; at++) {
        bool fine = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') ||
                    strchr("._-", *at);
        if (!fine) *at = '_';
    }
    return name;
}

static tsr_status check_name(const struct batch *batch, const struct yaml_node *node, const char *name, tsr_error *err) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(name);
    if (length && length <= NAME_LENGTH_MAX && name[0] != '.' && name[0] != '-' && strspn(name, letters) == length) {
        return TSR_OK;
    }
    return yaml_fail(err, batch->path, node,
                     "name: \"%s\" cannot name a job: letters, digits, \".\", \"_\" and \"-\", at most %d", name,
                     NAME_LENGTH_MAX);
}

/* ---- lists ---- */

static const struct yaml_node *items_of(const struct yaml_node *node, uint64_t *count) {
    *count = node->kind == YAML_LIST ? node->count : 1;
    return node->kind == YAML_LIST ? node->items : node;
}

static tsr_status one_or_more(const struct batch *batch, const struct yaml_node *node, const char *what, tsr_error *err) {
    uint64_t count;
    if (node->kind == YAML_MAP) return yaml_fail(err, batch->path, node, "%s: expected names, found a map", what);
    const struct yaml_node *items = items_of(node, &count);
    if (count == 0) return yaml_fail(err, batch->path, node, "%s: the list is empty", what);
    for (uint64_t i = 0; i < count; i++) {
        tsr_status st = yaml_expect(&items[i], YAML_SCALAR, what, batch->path, err);
        if (st) return st;
        if (!*items[i].text) return yaml_fail(err, batch->path, &items[i], "%s: the value is missing", what);
    }
    return TSR_OK;
}

static bool grow(struct batch_list *list) {
    if (list->batch->count < list->capacity) return true;
    uint64_t capacity = list->capacity ? list->capacity * 2 : 64;
    void *jobs = mem_resize(list->batch->jobs, capacity, sizeof *list->batch->jobs);
    if (jobs) list->batch->jobs = jobs;
    void *needs = mem_resize(list->needs, capacity, sizeof *list->needs);
    if (needs) list->needs = needs;
    void *nodes = mem_resize(list->need_nodes, capacity, sizeof *list->need_nodes);
    if (nodes) list->need_nodes = nodes;
    if (!jobs || !needs || !nodes) return false;
    list->capacity = capacity;
    return true;
}

static tsr_status keep_needs(struct batch_list *list, const struct batch_entry *entry, const struct fields *fields,
                             tsr_error *err) {
    struct batch *batch = list->batch;
    uint64_t count = 0;
    list->needs[batch->count] = NULL;
    list->need_nodes[batch->count] = entry->needs;
    if (!entry->needs || (entry->needs->kind == YAML_LIST && !entry->needs->count)) return TSR_OK;
    tsr_status st = one_or_more(batch, entry->needs, "needs", err);
    if (st) return st;
    const struct yaml_node *items = items_of(entry->needs, &count);
    const char **names = arena_alloc(&batch->arena, count + 1, sizeof *names);
    if (!names) return batch_no_memory(batch, err);
    for (uint64_t i = 0; i < count && !st; i++) st = fill(batch, items[i].text, &items[i], fields, &names[i], err);
    list->needs[batch->count] = names;
    return st;
}

/* ---- jobs ---- */

/* A config beside JOBS.yaml, else the name of a profile. */
static tsr_status find_config(const struct batch_list *list, const struct yaml_node *node, const char **config,
                              tsr_error *err) {
    const char *path = batch_path(list, node->text);
    if (!path) return batch_no_memory(list->batch, err);
    *config = fs_kind_of(path) == FS_FILE || strchr(node->text, '/') || text_ends_with(node->text, ".yaml") ? path : node->text;
    return TSR_OK;
}

static tsr_status add_job(struct batch_list *list, const struct batch_entry *entry, const char *model,
                          const struct yaml_node *config, tsr_error *err) {
    struct batch *batch = list->batch;
    if (batch->count == BATCH_JOBS_MAX) {
        return yaml_fail(err, batch->path, entry->node, "more than %d jobs", BATCH_JOBS_MAX);
    }
    if (!grow(list)) return batch_no_memory(batch, err);
    struct batch_job *job = &batch->jobs[batch->count];
    *job = entry->pattern;
    job->line = entry->node->line;
    job->column = entry->node->column;
    job->model = model;
    struct fields fields = {.model = plain_name(batch, model, ".safetensors"),
                            .config = config ? plain_name(batch, config->text, ".yaml") : "lossless"};
    if (!fields.model || !fields.config) return batch_no_memory(batch, err);
    const char *name = entry->name ? entry->name->text : config ? DEFAULT_NAME : DEFAULT_NAME_LOSSLESS;
    const char *output = entry->output ? entry->output->text : DEFAULT_OUTPUT, *filled = NULL;
    tsr_status st = config ? find_config(list, config, &job->config, err) : TSR_OK;
    if (!st) st = fill(batch, name, entry->name ? entry->name : entry->node, &fields, &job->name, err);
    if (!st) st = check_name(batch, entry->name ? entry->name : entry->node, job->name, err);
    fields.name = job->name;
    if (!st) st = fill(batch, output, entry->output ? entry->output : entry->node, &fields, &filled, err);
    if (!st && !(job->output = batch_path(list, filled))) st = batch_no_memory(batch, err);
    if (!st) st = keep_needs(list, entry, &fields, err);
    if (!st) batch->count++;
    return st;
}

static tsr_status add_model(struct batch_list *list, const struct batch_entry *entry, const char *path, tsr_error *err) {
    uint64_t count = 0;
    const char *model = arena_dup(&list->batch->arena, path, strlen(path));
    if (!model) return batch_no_memory(list->batch, err);
    if (!entry->configs) return add_job(list, entry, model, NULL, err);
    const struct yaml_node *configs = items_of(entry->configs, &count);
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < count && !st; i++) st = add_job(list, entry, model, &configs[i], err);
    return st;
}

/* Names in sorted order; a pattern that matches nothing is a mistake, a plain name may appear later. */
static tsr_status add_models(struct batch_list *list, const struct batch_entry *entry, const struct yaml_node *node,
                             tsr_error *err) {
    struct batch *batch = list->batch;
    const char *path = batch_path(list, node->text);
    if (!path) return batch_no_memory(batch, err);
    if (!strpbrk(node->text, "*?[")) return add_model(list, entry, path, err);
    glob_t found = {0};
    int failure = glob(path, 0, NULL, &found);
    tsr_status st = TSR_OK;
    if (failure == GLOB_NOMATCH) st = yaml_fail(err, batch->path, node, "models: \"%s\" matches nothing", node->text);
    if (failure && failure != GLOB_NOMATCH) st = tsr_fail(err, TSR_E_IO, "%s: cannot be listed", path);
    for (size_t i = 0; !st && i < found.gl_pathc; i++) st = add_model(list, entry, found.gl_pathv[i], err);
    globfree(&found);
    return st;
}

tsr_status batch_expand(struct batch_list *list, const struct batch_entry *entry, tsr_error *err) {
    struct batch *batch = list->batch;
    uint64_t count = 0;
    tsr_status st = one_or_more(batch, entry->models, "models", err);
    if (!st && entry->configs) st = one_or_more(batch, entry->configs, "configs", err);
    if (!st && entry->name) st = yaml_expect(entry->name, YAML_SCALAR, "name", batch->path, err);
    if (!st && entry->output) st = yaml_expect(entry->output, YAML_SCALAR, "output", batch->path, err);
    const struct yaml_node *models = st ? NULL : items_of(entry->models, &count);
    for (uint64_t i = 0; i < count && !st; i++) st = add_models(list, entry, &models[i], err);
    return st;
}

/* ---- the list as a whole ---- */

struct named {
    const char *text;
    uint64_t index;
};

static int by_text(const void *a, const void *b) {
    const struct named *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int text_against(const void *key, const void *element) {
    return strcmp(key, ((const struct named *)element)->text);
}

/* Two jobs with the same name, or that would write the same folder. */
static tsr_status check_unique(const struct batch *batch, const struct named *sorted, const char *what, const char *hint,
                               tsr_error *err) {
    for (uint64_t i = 1; i < batch->count; i++) {
        if (strcmp(sorted[i - 1].text, sorted[i].text)) continue;
        const struct batch_job *first = &batch->jobs[sorted[i - 1].index], *second = &batch->jobs[sorted[i].index];
        return tsr_fail(err, TSR_E_CONFIG, "%s:%u:%u: the %s \"%.80s\" is that of an earlier job too (%s at line %u): %s",
                        batch->path, (unsigned)second->line, (unsigned)second->column, what, sorted[i].text,
                        first->model, (unsigned)first->line, hint);
    }
    return TSR_OK;
}

static const char *nearest_name(const struct batch *batch, const char *name) {
    const char **names = mem_alloc_array(batch->count + 1, sizeof *names);
    const char *nearest = NULL;
    for (uint64_t i = 0; names && i < batch->count; i++) names[i] = batch->jobs[i].name;
    if (names) {
        names[batch->count] = NULL;
        nearest = text_nearest(name, names);
    }
    mem_free(names);
    return nearest;
}

static tsr_status resolve_needs(struct batch_list *list, const struct named *sorted, uint64_t index, tsr_error *err) {
    struct batch *batch = list->batch;
    struct batch_job *job = &batch->jobs[index];
    const char **names = list->needs[index];
    job->needs = NULL;
    job->need_count = 0;
    if (!names) return TSR_OK;
    uint64_t count = 0;
    while (names[count]) count++;
    job->needs = arena_alloc(&batch->arena, count, sizeof *job->needs);
    if (!job->needs) return batch_no_memory(batch, err);
    for (uint64_t i = 0; i < count; i++) {
        const struct named *found = bsearch(names[i], sorted, batch->count, sizeof *sorted, text_against);
        if (!found) {
            const char *near = nearest_name(batch, names[i]);
            return yaml_fail(err, batch->path, list->need_nodes[index], "needs: no job is named \"%s\"%s%s%s", names[i],
                             near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
        }
        job->needs[job->need_count++] = found->index;
    }
    return TSR_OK;
}

/* Jobs are taken away as soon as all they need is gone; what is left goes in circles (Kahn 1962). */
static tsr_status check_circles(const struct batch *batch, tsr_error *err) {
    bool *gone = mem_alloc_zero(batch->count, sizeof *gone);
    if (!gone) return batch_no_memory(batch, err);
    bool moved = true;
    uint64_t left = batch->count, stuck = 0;
    while (moved && left) {
        moved = false;
        for (uint64_t i = 0; i < batch->count; i++) {
            bool free = !gone[i];
            for (uint64_t k = 0; k < batch->jobs[i].need_count && free; k++) free = gone[batch->jobs[i].needs[k]];
            if (!free) continue;
            gone[i] = moved = true;
            left--;
        }
    }
    while (left && gone[stuck]) stuck++;
    mem_free(gone);
    if (!left) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "%s:%u:%u: job \"%s\" needs itself, through its needs", batch->path,
                    (unsigned)batch->jobs[stuck].line, (unsigned)batch->jobs[stuck].column, batch->jobs[stuck].name);
}

tsr_status batch_resolve(struct batch_list *list, tsr_error *err) {
    struct batch *batch = list->batch;
    struct named *sorted = mem_alloc_array(batch->count, sizeof *sorted);
    if (!sorted) return batch_no_memory(batch, err);
    for (uint64_t i = 0; i < batch->count; i++) sorted[i] = (struct named){batch->jobs[i].name, i};
    qsort(sorted, batch->count, sizeof *sorted, by_text);
    tsr_status st = check_unique(batch, sorted, "name", "set \"name\"", err);
    for (uint64_t i = 0; i < batch->count && !st; i++) st = resolve_needs(list, sorted, i, err);
    for (uint64_t i = 0; i < batch->count; i++) sorted[i] = (struct named){batch->jobs[i].output, i};
    qsort(sorted, batch->count, sizeof *sorted, by_text);
    if (!st) st = check_unique(batch, sorted, "output", "set \"output\"", err);
    mem_free(sorted);
    return st ? st : check_circles(batch, err);
}
