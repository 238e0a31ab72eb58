/* SPDX-License-Identifier: Apache-2.0
 *
 * One parity run a role, on the first positions of the text. */
#include "gate_blame.h"

#include "gate_json.h"
#include "parity_kept.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <stdlib.h>
#include <string.h>

#define ROLES_MAX 64

struct role_cost {
    const char *role;
    double kld, top1;
    uint64_t tensors;
};

struct blaming {
    const struct blame *blame;
    const struct env *env;
    struct open_model mixed; /* the raw model, some weights from the compressed one */
    int64_t *from;           /* [tensors of mixed] */
    struct role_cost costs[ROLES_MAX];
    size_t count;
    struct parity_kept kept; /* of the raw model, which reads the same for each role */
};

/* Inexact tensors of the compressed checkpoint by role. */
static void list_roles(struct blaming *b) {
    const struct stored *stored = &b->blame->compressed->reader.stored;
    for (uint64_t i = 0; i < stored->tensor_count; i++) {
        size_t at = 0;
        if (stored->tensors[i].exact) continue;
        while (at < b->count && strcmp(b->costs[at].role, stored->tensors[i].role)) at++;
        if (at == ROLES_MAX) continue;
        if (at == b->count) b->costs[b->count++].role = stored->tensors[i].role;
        b->costs[at].tensors++;
    }
}

static tsr_status select_role(struct blaming *b, const char *role, tsr_error *err) {
    const struct stored *stored = &b->blame->compressed->reader.stored;
    const tsr_weights *table = model_weights_table(b->mixed.weights);
    for (uint64_t i = 0; i < table->count(table->ctx); i++) b->from[i] = -1;
    for (uint64_t i = 0; i < stored->tensor_count; i++) {
        uint64_t index;
        if (stored->tensors[i].exact || strcmp(stored->tensors[i].role, role)) continue;
        tsr_status st = table->find(table->ctx, stored->tensors[i].name, &index, err);
        if (st != TSR_OK) return st;
        b->from[index] = (int64_t)i;
    }
    model_weights_overlay(b->mixed.weights, b->blame->compressed->weights, b->from);
    return TSR_OK;
}

static tsr_status measure_role(struct blaming *b, struct role_cost *cost, tsr_error *err) {
    struct parity_result result = {0};
    struct parity_options options = b->blame->options;
    options.positions = BLAME_POSITIONS;
    options.kept = &b->kept;
    tsr_status st = select_role(b, cost->role, err);
    if (st == TSR_OK) {
        st = parity_run(b->blame->raw, &b->mixed, b->blame->documents, b->blame->document_count, &options, b->env, &result, err);
    }
    if (st == TSR_OK) {
        cost->kld = group_mean(result.kld, result.windows).mean;
        cost->top1 = group_mean(result.agree, result.windows).mean;
    }
    parity_clear(&result);
    return st;
}

static int compare_costs(const void *a, const void *b) {
    double x = ((const struct role_cost *)a)->kld, y = ((const struct role_cost *)b)->kld;
    return (x < y) - (x > y);
}

static void add_costs(struct blaming *b, struct members *members) {
    struct members list = members_list();
    qsort(b->costs, b->count, sizeof b->costs[0], compare_costs);
    for (size_t i = 0; i < b->count; i++) {
        struct members object = members_object();
        members_text(&object, "role", b->costs[i].role);
        gate_json_number(&object, "kld", b->costs[i].kld);
        gate_json_number(&object, "top1", b->costs[i].top1);
        members_count(&object, "tensors", b->costs[i].tensors);
        members_append(&list, &object);
    }
    members_nest(members, "by_role", &list);
}

tsr_status gate_blame(const struct blame *blame, const struct env *env, struct members *members, tsr_error *err) {
    struct blaming b = {.blame = blame, .env = env};
    if (!blame->compressed->reader.compressed) return TSR_OK;
    tsr_status st = model_open(blame->raw_path, blame->registry, blame->paths, env, &b.mixed, err);
    if (st == TSR_OK) {
        const tsr_weights *table = model_weights_table(b.mixed.weights);
        b.from = mem_alloc_array(table->count(table->ctx), sizeof *b.from);
        if (!b.from) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of tensors");
    }
    if (st == TSR_OK) list_roles(&b);
    for (size_t i = 0; i < b.count && st == TSR_OK; i++) st = measure_role(&b, &b.costs[i], err);
    if (st == TSR_OK) add_costs(&b, members);
    parity_kept_clear(&b.kept);
    model_close(&b.mixed);
    mem_free(b.from);
    return st;
}
