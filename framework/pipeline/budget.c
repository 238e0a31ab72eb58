/* SPDX-License-Identifier: Apache-2.0
 *
 * A probe is the job itself, without gates, under another name, and a parity gate on what it made. A divergence falls about
 * fourfold with each bit a weight, the share of changed decisions twofold: that is what takes the search from one probe to the next,
 * and what compares two outputs whose bytes are not quite the same. */
#include "budget.h"

#include "job_gate.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/fs.h>
#include <base/str.h>
#include <math.h>
#include <string.h>

#define PROBES_MAX 10
#define BYTES_OVER 1.001   /* what may be too many */
#define BYTES_UNDER 0.996  /* what is worth another probe */
#define BITS_MOST 8.0
#define BITS_LEAST 0.5
#define BITS_GRAIN 64.0
#define FEWEST_STEP 0.05   /* bits between the last that fails and the first that passes */
#define NEAR 0.04          /* a bound within this share of the limit is near enough */

struct probe {
    struct plan_allocation allocation;
    uint64_t bytes; /* of the files that hold tensors */
    double kld, kld_bound, top1, top1_bound;
};

struct searching {
    const struct budget_search *in;
    struct probe probes[PROBES_MAX];
    uint64_t count;
    struct parity_kept kept; /* of the model, on the text of the probes */
};

/* ---- one probe ---- */

static tsr_status make_output(const struct searching *s, const struct plan_allocation *allocation, const char *output,
                              uint64_t *bytes, tsr_error *err) {
    struct job_compress_options options = *s->in->options;
    json_t *receipt = NULL;
    options.output = output;
    options.allocation = allocation;
    options.probe = true;
    options.force = options.restart = true;
    options.store = s->in->store;
    options.record = NULL;
    options.max_shard_bytes = 0;
    tsr_status st = job_compress(&options, s->in->registry, s->in->paths, s->in->env, &receipt, err);
    if (st == TSR_OK) {
        *bytes = (uint64_t)json_integer_value(json_object_get(json_object_get(receipt, "totals"), "output_bytes"));
    }
    json_decref(receipt);
    return st;
}

static double member_of(const json_t *gate, const char *figure, const char *key) {
    return json_number_value(json_object_get(json_object_get(gate, figure), key));
}

static tsr_status compare(struct searching *s, const char *output, struct probe *probe, tsr_error *err) {
    const struct config_budget *budget = &s->in->config->budget;
    struct job_gate_options options = {.output = output, .reference = s->in->options->model, .weights_differ = true, .kept = &s->kept};
    json_t *result = NULL;
    gate_config_init(&options.gates);
    options.gates.parity.wanted = true;
    options.gates.parity.text = s->in->text;
    options.gates.parity.positions = budget->positions;
    options.gates.parity.window = budget->window;
    options.gates.parity.confidence = budget->confidence;
    tsr_status st = job_gate(&options, s->in->registry, s->in->paths, s->in->env, &result, err);
    const json_t *gate = json_array_get(json_object_get(result, "gates"), 0);
    probe->kld = member_of(gate, "kld", "estimate");
    probe->kld_bound = member_of(gate, "kld", "bound");
    probe->top1 = member_of(gate, "top1", "estimate");
    probe->top1_bound = member_of(gate, "top1", "bound");
    if (st == TSR_OK && !json_object_get(gate, "kld")) {
        st = tsr_fail(err, TSR_E_UNSUPPORTED, "the budget cannot be measured: no distributions of this model to compare");
    }
    json_decref(result);
    return st;
}

static const char *allocation_name(const struct plan_allocation *allocation) {
    return allocation->uniform ? "uniform" : "importance";
}

static tsr_status take_probe(struct searching *s, bool uniform, double bits, struct probe **taken, tsr_error *err) {
    struct probe *probe = &s->probes[s->count];
    char *output = fs_join(s->in->folder, "probe");
    tsr_status st = output ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    bits = floor(fmin(fmax(bits, BITS_LEAST), BITS_MOST) * BITS_GRAIN + 0.5) / BITS_GRAIN;
    *probe = (struct probe){.allocation = {.bits = bits, .uniform = uniform}};
    if (st == TSR_OK) st = make_output(s, &probe->allocation, output, &probe->bytes, err);
    if (st == TSR_OK) st = compare(s, output, probe, err);
    if (output) (void)fs_remove_tree(output, NULL);
    mem_free(output);
    if (st != TSR_OK) return error_context(err, st, "probe of %s bits, %.4g a weight", allocation_name(&probe->allocation), bits);
    env_log(s->in->env, TSR_LOG_INFO, "probe: %s, %.4g bits a weight, %llu bytes, KLD %.5g (at most %.5g), top-1 %.4f",
            allocation_name(&probe->allocation), bits, (unsigned long long)probe->bytes, probe->kld, probe->kld_bound, probe->top1);
    s->count++;
    *taken = probe;
    return TSR_OK;
}

/* ---- size is limited ---- */

/* The best output of this kind whose bytes fit. Bits are moved by what the bytes are off, and down by a grain at least where these
 * are too many: less would be rounded away. */
static tsr_status fit(struct searching *s, bool uniform, double bits, double allowed, struct probe **best,
                      tsr_error *err) {
    const struct plan_budget *told = &s->in->plan->budget;
    *best = NULL;
    for (int i = 0; i < 3; i++) {
        struct probe *probe = NULL;
        tsr_status st = take_probe(s, uniform, bits, &probe, err);
        if (st != TSR_OK) return st;
        bool fits = (double)probe->bytes <= allowed * BYTES_OVER;
        if (fits && (!*best || probe->bytes > (*best)->bytes)) *best = probe;
        if (fits && (isinf(allowed) || (double)probe->bytes >= allowed * BYTES_UNDER)) return TSR_OK;
        bits = probe->allocation.bits + (allowed * 0.9995 - (double)probe->bytes) * 8 / (double)told->weights;
        if (!fits) bits = fmin(bits, probe->allocation.bits - 1 / BITS_GRAIN);
    }
    if (*best) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "budget: %.0f bytes, the smallest output that was made has %llu", allowed,
                    (unsigned long long)s->probes[s->count - 1].bytes);
}

/* The divergence that the output would have at `bytes`. */
static double kld_at(const struct searching *s, const struct probe *probe, uint64_t bytes) {
    double bits = ((double)bytes - (double)probe->bytes) * 8 / (double)s->in->plan->budget.weights;
    return probe->kld * exp2(-2 * bits);
}

static bool is_better(const struct searching *s, const struct probe *a, const struct probe *b) {
    return kld_at(s, a, b->bytes) < b->kld;
}

static tsr_status search_size(struct searching *s, struct probe **best, tsr_error *err) {
    const struct plan_budget *told = &s->in->plan->budget;
    struct probe *other = NULL;
    bool importance = told->known_tensors > 0;
    tsr_status st = fit(s, !importance, told->bits, told->allowed_bytes, best, err);
    if (st != TSR_OK || !importance) return st;
    st = fit(s, true, (*best)->allocation.bits, (double)(*best)->bytes, &other, err);
    if (st == TSR_OK && is_better(s, other, *best)) *best = other;
    return st;
}

/* ---- quality is limited ---- */

/* log2 of how far the bound is above what is allowed, in bits a weight. */
static double bits_missing(const struct searching *s, const struct probe *probe) {
    const struct config_budget *budget = &s->in->config->budget;
    double missing = budget->kind == BUDGET_KLD ? 0.5 * log2(probe->kld_bound / budget->value)
                                                : log2((1 - probe->top1_bound) / (1 - budget->value));
    return isnan(missing) ? -BITS_MOST : fmin(fmax(missing, -BITS_MOST), BITS_MOST);
}

struct bracket {
    double fails;          /* most bits that were too few */
    struct probe *passes;  /* the fewest bytes that keep to the budget */
};

static void narrow(const struct searching *s, struct bracket *bracket, struct probe *probe) {
    if (bits_missing(s, probe) > 0) {
        bracket->fails = fmax(bracket->fails, probe->allocation.bits);
    } else if (!bracket->passes || probe->bytes < bracket->passes->bytes) {
        bracket->passes = probe;
    }
}

static bool is_near(const struct searching *s, const struct bracket *bracket) {
    if (!bracket->passes) return bracket->fails >= BITS_MOST;
    double slack = -bits_missing(s, bracket->passes);
    return slack <= NEAR || bracket->passes->allocation.bits - bracket->fails <= FEWEST_STEP ||
           bracket->passes->allocation.bits <= BITS_LEAST;
}

/* A step by the law, kept inside the bracket. */
static double next_bits(const struct searching *s, const struct bracket *bracket, const struct probe *last) {
    double bits = last->allocation.bits + bits_missing(s, last) + NEAR / 2;
    double most = bracket->passes ? bracket->passes->allocation.bits : BITS_MOST;
    if (bits <= bracket->fails) bits = (bracket->fails + most) / 2;
    if (bracket->passes && bits >= most) bits = (fmax(bracket->fails, BITS_LEAST) + most) / 2;
    return fmin(bits, BITS_MOST);
}

static tsr_status search_quality(struct searching *s, struct probe **best, tsr_error *err) {
    const struct plan_budget *told = &s->in->plan->budget;
    struct bracket bracket = {0};
    struct probe *probe = NULL, *other = NULL;
    bool uniform = told->known_tensors == 0;
    tsr_status st = take_probe(s, uniform, told->bits, &probe, err);
    if (st == TSR_OK && !uniform) st = take_probe(s, true, told->bits, &other, err);
    if (st == TSR_OK && other && is_better(s, other, probe)) {
        probe = other;
        uniform = true;
    }
    while (st == TSR_OK) {
        narrow(s, &bracket, probe);
        if (is_near(s, &bracket) || s->count == PROBES_MAX) break;
        st = take_probe(s, uniform, next_bits(s, &bracket, probe), &probe, err);
    }
    *best = bracket.passes;
    if (st != TSR_OK || *best) return st;
    const struct config_budget *budget = &s->in->config->budget;
    return tsr_fail(err, TSR_E_GATE, "budget: %s %.5g is not reached within %.3g bits a weight: KLD at most %.5g, top-1 at least %.4f",
                    config_budget_name(budget->kind), budget->value, probe->allocation.bits, probe->kld_bound, probe->top1_bound);
}

/* ---- results ---- */

static tsr_status list_probes(const struct searching *s, json_t **list, tsr_error *err) {
    struct members all = members_list();
    for (uint64_t i = 0; i < s->count; i++) {
        const struct probe *probe = &s->probes[i];
        struct members one = members_object();
        members_text(&one, "allocation", allocation_name(&probe->allocation));
        members_real(&one, "bits", probe->allocation.bits);
        members_count(&one, "bytes", probe->bytes);
        members_real(&one, "kld", probe->kld);
        members_real(&one, "kld_bound", probe->kld_bound);
        members_real(&one, "top1", probe->top1);
        members_real(&one, "top1_bound", probe->top1_bound);
        members_append(&all, &one);
    }
    return members_finish(&all, list, err);
}

tsr_status budget_search(const struct budget_search *search, struct plan_allocation *found, json_t **probes,
                         tsr_error *err) {
    struct searching s = {.in = search};
    struct probe *best = NULL;
    enum config_budget_kind kind = search->config->budget.kind;
    bool quality = kind == BUDGET_KLD || kind == BUDGET_TOP1;
    tsr_status st = quality ? search_quality(&s, &best, err) : search_size(&s, &best, err);
    parity_kept_clear(&s.kept);
    if (st == TSR_OK) *found = best->allocation;
    return st == TSR_OK ? list_probes(&s, probes, err) : st;
}

void budget_tell(struct members *members, const struct config *config, const struct plan *plan, const json_t *probes) {
    const struct plan_budget *budget = &plan->budget;
    struct members told = members_object();
    if (!budget->solved) {
        members_set(members, "budget", json_null());
        json_decref(told.value);
        return;
    }
    members_text(&told, "asked", config_budget_name(config->budget.kind));
    members_real(&told, "value", config->budget.value);
    members_text(&told, "allocation", budget->uniform ? "uniform" : "importance");
    members_real(&told, "bits", budget->bits);
    members_count(&told, "tensors", budget->tensors);
    members_count(&told, "tensors_with_importance", budget->known_tensors);
    members_real(&told, "predicted_kld", budget->known ? budget->loss : INFINITY);
    members_set(&told, "probes", probes ? json_deep_copy(probes) : json_array());
    members_nest(members, "budget", &told);
}

tsr_status budget_read(const json_t *member, struct plan_allocation *allocation, tsr_error *err) {
    const char *name = json_string_value(json_object_get(member, "allocation"));
    double bits = json_number_value(json_object_get(member, "bits"));
    if (!name || !(bits > 0 && bits <= 64)) return tsr_fail(err, TSR_E_INPUT, "the receipt records no budget that can be followed");
    *allocation = (struct plan_allocation){.bits = bits, .uniform = !strcmp(name, "uniform")};
    return TSR_OK;
}
