/* SPDX-License-Identifier: Apache-2.0
 *
 * Divides a budget. An error of a weight costs what its row's importance says (docs/budget.md); a uniform quantiser of
 * step s leaves s^2 / 12 and takes one bit more when s is halved. The least loss at a total rate so has every step
 * proportional to importance^(-1/2), with one factor for the whole model: it is found by bisection, and what a tensor's rows
 * take at it are the bits that its codec is asked for. Codecs keep to their bits, so an error of the law shifts bits between
 * tensors a little and changes no total; what trials say of the total is corrected in a second round. */
#include "plan_solve.h"

#include <math.h>
#include <string.h>

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <base/pool.h>
#include <format/dtype.h>
#include <plugin/param_text.h>

#include "plan_rows.h"
#include "quantiser.h"

#define BITS_GRAIN 64.0         /* bits are multiples of 1 / this: short texts */
#define MEAN_GRAIN 4096.0       /* and so is their mean: what a receipt records gives the same bits again */
#define BITS_TO_BEGIN 4.0       /* where only measuring tells */
#define ROUNDS 4
#define TOTAL_TOLERANCE 0.001   /* of the bytes asked for */
#define CODEC_TOLERANCE 0.01    /* to which codecs promise to keep to their bits */
#define LOG_FACTOR_MOST 400.0
#define ENTRY_OVERHEAD 192      /* bytes of the directories for one tensor, about */
#define BISECTIONS 80

struct free_tensor {
    uint64_t index;
    uint64_t rows, columns;
    double least, most;  /* of the parameter */
    struct row_look look;
    float *unit;         /* [rows]: log2 of RMS times the root of the importance; owned */
    bool known;
    double bits, loss;   /* as solved */
    const char *text;    /* of the bits, as bound */
};

struct solver {
    struct planner *planner;
    struct quantiser_curve curve;
    struct free_tensor *tensors;
    uint64_t count;
    double weights; /* of the tensors here */
    double asked;   /* bytes that the payloads may take; infinite: not limited by bytes */
    double rest;    /* bytes of all others */
    double bits;    /* mean over the weights here */
    double log_factor; /* log2 of step times the root of the importance */
    uint32_t round;
};

/* ---- which tensors ---- */

static bool is_free(const struct plan_entry *entry) {
    return entry->alias_of < 0 && entry->rule && entry->rule->free_bits && plan_is_lossy(entry->codec);
}

static const tsr_param *free_param(const tsr_codec *codec) {
    uint64_t at = 0;
    while (strcmp(param_at(codec, at)->name, CONFIG_FREE_PARAM)) at++;
    return param_at(codec, at);
}

static tsr_status collect(struct solver *solver, tsr_error *err) {
    const struct plan *plan = solver->planner->plan;
    solver->tensors = mem_alloc_zero(max_u64(plan->count, 1), sizeof *solver->tensors);
    if (!solver->tensors) return plan_no_memory(err);
    for (uint64_t i = 0; i < plan->count; i++) {
        const struct plan_entry *entry = &plan->entries[i];
        if (!is_free(entry)) continue;
        const tsr_param *param = free_param(entry->codec);
        solver->tensors[solver->count++] = (struct free_tensor){.index = i,
                                                                .rows = entry->rows,
                                                                .columns = entry->columns,
                                                                .least = param->minimum,
                                                                .most = param->maximum};
        solver->weights += (double)solver->planner->facts[i].weights;
    }
    return TSR_OK;
}

/* ---- what is known of them ---- */

static void set_units(const struct plan_entry *entry, struct free_tensor *tensor) {
    tensor->known = entry->row_weight && entry->importance > 0;
    for (uint64_t r = 0; r < tensor->rows; r++) {
        double counts = tensor->known ? (double)entry->row_weight[r] * entry->importance : 1;
        tensor->unit[r] = tensor->look.log_rms[r] + (float)(0.5 * log2(counts) - tensor->look.deficit);
    }
}

static tsr_status measure(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct solver *solver = ctx;
    struct free_tensor *tensor = &solver->tensors[index];
    const struct plan_entry *entry = &solver->planner->plan->entries[tensor->index];
    (void)worker;
    tensor->unit = mem_alloc_array(max_u64(tensor->rows, 1), sizeof *tensor->unit);
    if (!tensor->unit) return plan_no_memory(err);
    tsr_status st = row_look_take(solver->planner, entry, &tensor->look, err);
    if (st == TSR_OK) set_units(entry, tensor);
    return st;
}

/* Mean of the units, rows of zeros apart. */
static double mean_unit(const struct free_tensor *tensor) {
    double sum = 0;
    uint64_t count = 0;
    for (uint64_t r = 0; r < tensor->rows; r++) {
        if (!isfinite(tensor->unit[r])) continue;
        sum += (double)tensor->unit[r];
        count++;
    }
    return count ? sum / (double)count : 0;
}

/* Tensors of unknown importance get as much of it as makes them take what the others take on average, each row in
 * proportion to its RMS. */
static void fill_unknown(struct solver *solver) {
    double sum = 0, weights = 0;
    for (uint64_t i = 0; i < solver->count; i++) {
        const struct free_tensor *tensor = &solver->tensors[i];
        double own = (double)tensor->rows * (double)tensor->columns;
        if (!tensor->known) continue;
        sum += own * mean_unit(tensor);
        weights += own;
    }
    for (uint64_t i = 0; i < solver->count; i++) {
        struct free_tensor *tensor = &solver->tensors[i];
        for (uint64_t r = 0; !tensor->known && r < tensor->rows; r++) {
            if (isfinite(tensor->unit[r])) tensor->unit[r] = (float)(weights > 0 ? sum / weights : 0);
        }
    }
}

/* ---- the law ---- */

/* At steps of 2^log_factor over the root of the importance. */
static void take_at(const struct solver *solver, struct free_tensor *tensor, double log_factor) {
    double bits = 0, error = 0;
    for (uint64_t r = 0; r < tensor->rows; r++) {
        struct quantiser_point point = quantiser_at(&solver->curve, (double)tensor->unit[r] - log_factor);
        bits += point.bits;
        error += point.error;
    }
    tensor->bits = fmin(fmax(bits / (double)max_u64(tensor->rows, 1), tensor->least), tensor->most);
    tensor->loss = tensor->known ? 0.5 * (double)tensor->columns * exp2(2 * log_factor) * error : 0;
}

static void take_all(struct solver *solver, double log_factor, double *bits, double *loss) {
    *bits = *loss = 0;
    for (uint64_t i = 0; i < solver->count; i++) {
        struct free_tensor *tensor = &solver->tensors[i];
        take_at(solver, tensor, log_factor);
        *bits += tensor->bits * (double)tensor->rows * (double)tensor->columns / solver->weights;
        *loss += tensor->loss;
    }
}

/* The factor at which the mean of the bits is `bits`, or the loss is `loss` where that is above 0. */
static double bisect(struct solver *solver, double bits, double loss) {
    double low = -LOG_FACTOR_MOST, high = LOG_FACTOR_MOST, got_bits, got_loss;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = (low + high) / 2;
        take_all(solver, middle, &got_bits, &got_loss);
        if (loss > 0 ? got_loss > loss : got_bits < bits) {
            high = middle;
        } else {
            low = middle;
        }
    }
    take_all(solver, low, &got_bits, &got_loss);
    solver->log_factor = low;
    return got_bits;
}

static void take_equal(struct solver *solver, double bits) {
    for (uint64_t i = 0; i < solver->count; i++) {
        struct free_tensor *tensor = &solver->tensors[i];
        tensor->bits = fmin(fmax(bits, tensor->least), tensor->most);
        tensor->loss = 0;
    }
}

/* ---- the result, as parameters of codecs ---- */

static tsr_status bind(const struct solver *solver, struct free_tensor *tensor, tsr_error *err) {
    struct planner *planner = solver->planner;
    struct plan_entry *entry = &planner->plan->entries[tensor->index];
    const struct config_rule *rule = entry->rule;
    struct arena *arena = &planner->plan->arena;
    char number[PARAM_REAL_TEXT];
    double bits = fmin(fmax(floor(tensor->bits * BITS_GRAIN + 0.5) / BITS_GRAIN, tensor->least), tensor->most);
    const char *text = arena_format(arena, "%s", param_real_text(bits, number));
    struct param_given *given = arena_alloc(arena, rule->given_count + 1, sizeof *given);
    tsr_error inner = {0};
    if (!text || !given) return plan_no_memory(err);
    tensor->bits = bits;
    if (tensor->text && !strcmp(tensor->text, text)) return TSR_OK;
    tensor->text = text;
    planner->facts[tensor->index].lossy = (struct trial){0};
    if (rule->given_count) memcpy(given, rule->given, rule->given_count * sizeof *given);
    given[rule->given_count] = (struct param_given){CONFIG_FREE_PARAM, text};
    tsr_status st = param_bind(entry->codec, given, rule->given_count + 1, arena, &entry->params, &inner);
    return st ? config_rule_fail(err, planner->config, rule, "tensor \"%s\": %s", entry->source->name, inner.message)
              : TSR_OK;
}

static bool any_known(const struct solver *solver) {
    uint64_t i = 0;
    while (i < solver->count && !solver->tensors[i].known) i++;
    return i < solver->count;
}

static bool all_known(const struct solver *solver) {
    uint64_t i = 0;
    while (i < solver->count && solver->tensors[i].known) i++;
    return i == solver->count;
}

static tsr_status fail_budget(const struct planner *planner, tsr_error *err, const char *format, ...) TSR_PRINTF(3, 4);

static tsr_status fail_budget(const struct planner *planner, tsr_error *err, const char *format, ...) {
    const struct config_budget *budget = &planner->config->budget;
    char what[TSR_ERROR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (!budget->line) return tsr_fail(err, TSR_E_CONFIG, "%s", what);
    return tsr_fail(err, TSR_E_CONFIG, "%s:%u:%u: budget: %s", planner->config->path, (unsigned)budget->line,
                    (unsigned)budget->column, what);
}

/* Nothing but a measurement tells the rate at which a share of decisions or a divergence of unknown importances is kept. */
static tsr_status bits_for_quality(struct solver *solver, double *bits, tsr_error *err) {
    const struct config_budget *budget = &solver->planner->config->budget;
    const struct plan_allocation *allocation = &solver->planner->options->allocation;
    *bits = BITS_TO_BEGIN;
    if (allocation->uniform || !all_known(solver)) {
        if (allocation->will_measure) return TSR_OK;
        return fail_budget(solver->planner, err,
                           "%s: without the importance of every tensor only a text to measure on tells the bits (--stats "
                           "with output_fisher, or a probe text)",
                           config_budget_name(budget->kind));
    }
    /* 1 - top1 is about .54 of the root of the divergence (SmolLM2 under eleven quantisers). */
    double miss = (1 - budget->value) / 0.54;
    *bits = bisect(solver, 0, budget->kind == BUDGET_KLD ? budget->value : miss * miss);
    return TSR_OK;
}

static tsr_status mean_bits(struct solver *solver, double *bits, tsr_error *err) {
    const struct config_budget *budget = &solver->planner->config->budget;
    *bits = solver->planner->options->allocation.bits;
    if (!(*bits > 0) && budget->kind == BUDGET_FREE) *bits = budget->value;
    if (*bits > 0) return TSR_OK;
    if (!isfinite(solver->asked)) return bits_for_quality(solver, bits, err);
    *bits = (solver->asked - solver->rest) * 8 / solver->weights;
    if (*bits > 0) return TSR_OK;
    if (solver->round) *bits = 1 / MEAN_GRAIN; /* all at their least: what that takes is to be told */
    if (solver->round) return TSR_OK;
    return fail_budget(solver->planner, err, "%.0f bytes, tensors without bits: auto alone take %.0f", solver->asked,
                       solver->rest);
}

static tsr_status solve(struct solver *solver, tsr_error *err) {
    tsr_status st = mean_bits(solver, &solver->bits, err);
    if (st) return st;
    solver->bits = fmax(floor(solver->bits * MEAN_GRAIN + 0.5) / MEAN_GRAIN, 1 / MEAN_GRAIN);
    if (solver->planner->options->allocation.uniform || !any_known(solver)) {
        take_equal(solver, solver->bits);
    } else {
        (void)bisect(solver, solver->bits, 0);
    }
    for (uint64_t i = 0; i < solver->count && !st; i++) st = bind(solver, &solver->tensors[i], err);
    return st;
}

/* ---- the steps of planning ---- */

static tsr_status check_rules(const struct planner *planner, const struct solver *solver, tsr_error *err) {
    const struct config *config = planner->config;
    bool asked = config->budget.kind != BUDGET_NONE || planner->options->allocation.bits > 0, optional = false;
    for (uint64_t r = 0; r < config->rule_count; r++) {
        if (!config->rules[r].free_bits) continue;
        if (!asked) return config_rule_fail(err, config, &config->rules[r], "bits: auto needs a budget");
        optional = optional || config->rules[r].optional;
    }
    if (!asked || solver->count || optional) return TSR_OK;
    return fail_budget(planner, err, "no tensor of this model has bits: auto");
}

/* Bytes of the files that hold tensors; infinite for a budget of another kind. */
static double budget_bytes(const struct planner *planner) {
    const struct config_budget *budget = &planner->config->budget;
    double weights = 0;
    for (uint64_t i = 0; i < planner->plan->count; i++) weights += (double)planner->facts[i].weights;
    if (budget->kind == BUDGET_BITS) return budget->value * weights / 8;
    return budget->kind == BUDGET_BYTES ? budget->value : INFINITY;
}

/* What of them payloads may take. */
static double bytes_asked(const struct planner *planner) {
    return budget_bytes(planner) - ENTRY_OVERHEAD * (double)planner->plan->count;
}

/* Uniform plans know nothing of importance, so codecs are not told of it either. */
static void forget_weights(const struct solver *solver) {
    for (uint64_t i = 0; i < solver->count; i++) {
        struct plan_entry *entry = &solver->planner->plan->entries[solver->tensors[i].index];
        entry->row_weight = NULL;
        entry->importance = 0;
    }
}

tsr_status plan_solve_begin(struct planner *planner, tsr_error *err) {
    struct solver *solver = mem_alloc_zero(1, sizeof *solver);
    if (!solver) return plan_no_memory(err);
    *solver = (struct solver){.planner = planner, .asked = INFINITY};
    planner->solver = solver;
    tsr_status st = collect(solver, err);
    if (!st) st = check_rules(planner, solver, err);
    if (st || solver->count == 0) return st;
    quantiser_curve_make(&solver->curve);
    if (planner->options->allocation.uniform) forget_weights(solver);
    st = pool_for(planner->env->pool, solver->count, measure, solver, err);
    if (st) return st;
    fill_unknown(solver);
    if (!any_known(solver) && !planner->options->allocation.uniform) {
        env_log(planner->env, TSR_LOG_INFO, "budget: the same bits for all tensors: there is no importance of outputs (--stats)");
    }
    if (planner->options->allocation.bits > 0 || planner->config->budget.kind == BUDGET_FREE) return solve(solver, err);
    planner->trials = TRIALS_OF_REST;
    st = plan_run_trials(planner, err);
    planner->trials = TRIALS_OF_ALL;
    if (st) return st;
    solver->asked = bytes_asked(planner);
    for (uint64_t i = 0; i < planner->plan->count; i++) {
        const struct plan_facts *facts = &planner->facts[i];
        if (!is_free(&planner->plan->entries[i])) solver->rest += (double)max_u64(facts->lossy.bytes, facts->lossless.bytes);
    }
    return solve(solver, err);
}

bool plan_is_free(const struct plan_entry *entry) {
    return is_free(entry);
}

/* Bytes of the tensors here as trials predict them: whatever is smaller, lossy or not. */
static double bytes_tried(const struct solver *solver) {
    double bytes = 0;
    for (uint64_t i = 0; i < solver->count; i++) {
        const struct plan_facts *facts = &solver->planner->facts[solver->tensors[i].index];
        bool lossy = facts->lossy.ran && facts->lossy.bytes < facts->lossless.bytes;
        bytes += (double)(lossy ? facts->lossy.bytes : facts->lossless.bytes);
    }
    return bytes;
}

/* No tensor can take less. */
static bool are_least(const struct solver *solver) {
    uint64_t i = 0;
    while (i < solver->count && solver->tensors[i].bits <= solver->tensors[i].least) i++;
    return i == solver->count;
}

tsr_status plan_solve_again(struct planner *planner, bool *again, tsr_error *err) {
    struct solver *solver = planner->solver;
    *again = false;
    if (solver->count == 0 || !isfinite(solver->asked)) return TSR_OK;
    double tried = bytes_tried(solver), allowed = bytes_asked(planner) - solver->rest;
    double off = (tried - allowed) / allowed;
    if (fabs(off) <= TOTAL_TOLERANCE) return TSR_OK;
    if (off > 0 && are_least(solver)) {
        return fail_budget(planner, err, "%.0f bytes are not enough, these codecs need about %.0f", budget_bytes(planner),
                           budget_bytes(planner) + tried - allowed);
    }
    if (++solver->round == ROUNDS) {
        if (off > CODEC_TOLERANCE) {
            env_log(planner->env, TSR_LOG_WARNING, "budget: predicted to be missed by %.1f %%: codecs do not keep to their bits",
                    100 * off);
        }
        return TSR_OK;
    }
    solver->asked -= tried - allowed;
    *again = true;
    return solve(solver, err);
}

/* ---- what is told ---- */

/* The law's error brought to what the trial measured. */
static double correct_loss(const struct solver *solver, const struct free_tensor *tensor) {
    const struct trial *trial = &solver->planner->facts[tensor->index].lossy;
    double left = 0, energy = 0, measured = metric_relative_error(&trial->metric);
    for (uint64_t r = 0; r < tensor->rows; r++) {
        double log_ratio = (double)tensor->unit[r] - solver->log_factor, own = exp2(2 * (double)tensor->look.log_rms[r]);
        if (!(own > 0)) continue;
        energy += own;
        left += own * quantiser_at(&solver->curve, log_ratio).error * exp2(-2 * (log_ratio + tensor->look.deficit));
    }
    double predicted = energy > 0 ? left / energy : 0;
    if (!trial->ran || !(predicted > 0) || !(measured > 0)) return tensor->loss;
    return tensor->loss * fmin(fmax(measured / predicted, 0.2), 5);
}

void plan_solve_tell(const struct planner *planner) {
    const struct solver *solver = planner->solver;
    struct plan *plan = planner->plan;
    struct plan_budget *budget = &plan->budget;
    if (solver->count == 0) return;
    *budget = (struct plan_budget){.solved = true,
                                   .uniform = planner->options->allocation.uniform || !any_known(solver),
                                   .known = all_known(solver),
                                   .bits = solver->bits,
                                   .allowed_bytes = budget_bytes(planner),
                                   .weights = (uint64_t)solver->weights,
                                   .tensors = solver->count};
    for (uint64_t i = 0; i < solver->count; i++) {
        const struct free_tensor *tensor = &solver->tensors[i];
        struct plan_entry *entry = &plan->entries[tensor->index];
        entry->free_bits = tensor->bits;
        entry->loss = correct_loss(solver, tensor);
        budget->loss += entry->loss;
        budget->known_tensors += tensor->known;
    }
}

void plan_solve_end(struct planner *planner) {
    struct solver *solver = planner->solver;
    if (!solver) return;
    for (uint64_t i = 0; solver->tensors && i < solver->count; i++) {
        row_look_clear(&solver->tensors[i].look);
        mem_free(solver->tensors[i].unit);
    }
    mem_free(solver->tensors);
    mem_free(solver);
    planner->solver = NULL;
}
