/* SPDX-License-Identifier: Apache-2.0
 *
 * Moved layers cost no new weights: each tensor comes from the one whose name has the next layer's number, the last layer's from
 * the first. */
#include "gate_controls.h"

#include "gate_json.h"

#include <base/alloc.h>
#include <base/str.h>
#include <string.h>

/* ---- layers moved on ---- */

/* The tensor that is called as `name` is, with `layer` for its first number; -1 when there is none. */
static int64_t find_layer(const tsr_weights *table, const char *name, unsigned long layer) {
    size_t front = strcspn(name, "0123456789");
    struct str text = {0};
    uint64_t index = 0;
    if (!name[front]) return -1;
    str_add(&text, name, front);
    str_add_format(&text, "%lu%s", layer, name + front + strspn(name + front, "0123456789"));
    bool found = !text.failed && table->find(table->ctx, text.text, &index, NULL) == TSR_OK;
    str_clear(&text);
    return found ? (int64_t)index : -1;
}

static unsigned long layer_of(const char *name) {
    uint64_t layer = 0;
    const char *at = name + strcspn(name, "0123456789");
    return *at && text_take_digits(&at, &layer) && layer < 100000 ? (unsigned long)layer : 0;
}

static bool is_alike(const tsr_tensor *a, const tsr_tensor *b) {
    return a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]);
}

/* How many tensors now come from another. */
static uint64_t move_layers(const tsr_weights *table, int64_t *from) {
    uint64_t moved = 0;
    for (uint64_t i = 0; i < table->count(table->ctx); i++) {
        const tsr_tensor *tensor = table->tensor(table->ctx, i);
        int64_t next = find_layer(table, tensor->name, layer_of(tensor->name) + 1);
        if (next < 0) next = find_layer(table, tensor->name, 0);
        from[i] = next >= 0 && (uint64_t)next != i && is_alike(tensor, table->tensor(table->ctx, (uint64_t)next)) ? next : -1;
        moved += from[i] >= 0;
    }
    return moved;
}

/* ---- the two controls ---- */

struct finding {
    const char *control, *expected, *found;
    double top1, kld;
    bool ok;
};

static void add_finding(struct members *list, const struct finding *finding, const char **wrong) {
    if (!finding->ok && !*wrong) *wrong = finding->control;
    struct members object = members_object();
    members_text(&object, "control", finding->control);
    members_text(&object, "expected", finding->expected);
    members_text(&object, "found", finding->found);
    gate_json_number(&object, "top1", finding->top1);
    gate_json_number(&object, "kld", finding->kld);
    members_bool(&object, "ok", finding->ok);
    members_append(list, &object);
}

static tsr_status run(const struct controls *c, struct open_model *other, const struct env *env, struct parity_result *result,
                      struct finding *finding, tsr_error *err) {
    struct parity_options options = c->options;
    options.positions = CONTROL_POSITIONS;
    tsr_status st = parity_run(c->raw, other, c->documents, c->document_count, &options, env, result, err);
    if (st != TSR_OK) return st;
    finding->kld = group_mean(result->kld, result->windows).mean;
    finding->top1 = group_mean(result->agree, result->windows).mean;
    return TSR_OK;
}

static tsr_status run_identity(const struct controls *c, const struct env *env, struct members *list, const char **wrong, tsr_error *err) {
    struct finding finding = {.control = "the source against itself", .expected = "no divergence anywhere"};
    struct parity_result result = {0};
    tsr_status st = run(c, c->raw, env, &result, &finding, err);
    finding.ok = result.kld_zero == result.positions && !result.flip_count;
    finding.found = finding.ok ? "none" : "divergence";
    if (st == TSR_OK) add_finding(list, &finding, wrong);
    parity_clear(&result);
    return st;
}

/* By estimates: the control has to be far away, not on the edge. */
static bool is_refused(const struct controls *c, const struct finding *finding) {
    bool asked = c->min_top1 > 0 || c->max_kld >= 0;
    if (!asked) return finding->kld > c->output_kld;
    return (c->min_top1 > 0 && finding->top1 < c->min_top1) || (c->max_kld >= 0 && finding->kld > c->max_kld);
}

static tsr_status run_moved(const struct controls *c, struct open_model *mixed, int64_t *from, const struct env *env, struct members *list,
                            const char **wrong, tsr_error *err) {
    struct finding finding = {.control = "layers moved on by one", .expected = "refused"};
    struct parity_result result = {0};
    if (!move_layers(model_weights_table(mixed->weights), from)) return TSR_OK;
    model_weights_overlay(mixed->weights, c->raw->weights, from);
    tsr_status st = run(c, mixed, env, &result, &finding, err);
    finding.ok = is_refused(c, &finding);
    finding.found = finding.ok ? "refused" : "accepted";
    if (st == TSR_OK) add_finding(list, &finding, wrong);
    parity_clear(&result);
    return st;
}

tsr_status gate_controls(const struct controls *controls, const struct env *env, struct members *members, const char **wrong,
                         tsr_error *err) {
    struct open_model mixed = {0};
    struct members list = members_list();
    int64_t *from = NULL;
    *wrong = NULL;
    tsr_status st = run_identity(controls, env, &list, wrong, err);
    if (st == TSR_OK) st = model_open(controls->raw_path, controls->registry, controls->paths, env, &mixed, err);
    if (st == TSR_OK) {
        const tsr_weights *table = model_weights_table(mixed.weights);
        from = mem_alloc_array(table->count(table->ctx), sizeof *from);
        st = from ? run_moved(controls, &mixed, from, env, &list, wrong, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of tensors");
    }
    members_nest(members, "controls", &list);
    model_close(&mixed);
    mem_free(from);
    return st;
}
