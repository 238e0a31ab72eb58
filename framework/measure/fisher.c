/* SPDX-License-Identifier: Apache-2.0
 *
 * One window after another; sums are in F64, over tokens in order. Where the model ends in infinities the sum shows it. */
#include "fisher.h"

#include "fisher_layers.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <base/rng.h>
#include <inttypes.h>
#include <math.h>
#include <reading/meter.h>
#include <tessera/ext/reverse.h>

#define ROWS_A_TASK 256

struct gathering {
    const struct fisher_options *options;
    const struct env *env;
    const tsr_weights *table;
    struct fisher *fisher;
    uint64_t first; /* position of the window in the text */
};

/* ---- the loss ---- */

/* A race (Gumbel-max): token v arrives after a time that is exponential of rate p(v), so the first is v with probability p(v).
 * Unlike a point in the running sum of all probabilities, who comes first hardly depends on the last bits of logits.
 * -log(u) >= 1 - u tells of nearly all that they come too late. */
uint64_t fisher_label(const float *logits, uint64_t vocabulary, uint64_t seed, uint64_t position, double *weights, double *sum) {
    struct rng rng = {seed + position * vocabulary * UINT64_C(0x9E3779B97F4A7C15)}; /* skips to the position's own numbers */
    double largest = -INFINITY, earliest = INFINITY;
    uint64_t label = 0;
    for (uint64_t i = 0; i < vocabulary; i++) largest = fmax(largest, (double)logits[i]);
    *sum = 0;
    for (uint64_t i = 0; i < vocabulary; i++) {
        const double u = rng_real(&rng) + 0x1p-54, weight = weights[i] = exp((double)logits[i] - largest);
        *sum += weight;
        if (!(weight > 0) || 1 - u >= earliest * weight) continue;
        const double time = -log(u) / weight;
        if (!(time < earliest)) continue;
        earliest = time;
        label = i;
    }
    return label;
}

struct loss {
    const struct gathering *gathering;
    uint64_t first, vocabulary;
    const float *logits;
    float *gradient;
};

/* Of -log p(label): p - 1 at the label, p elsewhere. */
static tsr_status loss_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct loss *loss = ctx;
    const struct gathering *gathering = loss->gathering;
    uint64_t n = loss->vocabulary, position = gathering->first + loss->first + index;
    const float *logits = loss->logits + index * n;
    float *gradient = loss->gradient + index * n;
    double sum, *weights = pool_scratch(gathering->env->pool, worker, n * sizeof *weights);
    if (!weights) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a distribution of %" PRIu64 " tokens", n);
    const uint64_t label = fisher_label(logits, n, gathering->options->seed, position, weights, &sum);
    if (!isfinite(sum)) return tsr_fail(err, TSR_E_INPUT, "token %" PRIu64 " of the text: its logits are not finite", position);
    for (uint64_t i = 0; i < n; i++) gradient[i] = (float)(weights[i] / sum);
    gradient[label] = (float)(weights[label] / sum - 1);
    return TSR_OK;
}

static tsr_status on_logits(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                            float *gradient, tsr_error *err) {
    const struct gathering *gathering = ctx;
    struct loss loss = {gathering, first, vocabulary, logits, gradient};
    return pool_for(gathering->env->pool, tokens, loss_task, &loss, err);
}

/* ---- sums ---- */

static tsr_status fail_value(const struct gathering *gathering, uint64_t index, tsr_error *err) {
    return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": a gradient behind it is not finite",
                    gathering->table->tensor(gathering->table->ctx, index)->name);
}

struct adding {
    const struct gathering *gathering;
    uint64_t index, tokens, rows;
    const float *gradient;
};

static tsr_status add_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct adding *adding = ctx;
    double *squares = adding->gathering->fisher->sums[adding->index].squares;
    uint64_t first = index * ROWS_A_TASK, end = min_u64(first + ROWS_A_TASK, adding->rows);
    (void)worker;
    for (uint64_t t = 0; t < adding->tokens; t++) {
        const float *row = adding->gradient + t * adding->rows;
        for (uint64_t r = first; r < end; r++) squares[r] += (double)row[r] * (double)row[r];
    }
    for (uint64_t r = first; r < end; r++) {
        if (!isfinite(squares[r])) return fail_value(adding->gathering, adding->index, err);
    }
    return TSR_OK;
}

static tsr_status on_output(void *ctx, uint64_t index, const float *gradient, uint64_t tokens, uint64_t rows, tsr_error *err) {
    struct gathering *gathering = ctx;
    struct fisher_sums *sums = &gathering->fisher->sums[index];
    struct adding adding = {gathering, index, tokens, rows, gradient};
    if (!sums->squares) {
        sums->squares = mem_alloc_zero(rows, sizeof *sums->squares);
        sums->rows = rows;
    }
    if (!sums->squares) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %" PRIu64 " Fisher values", rows);
    if (sums->rows != rows) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "tensor \"%s\": is used with %" PRIu64 " and with %" PRIu64 " outputs",
                        gathering->table->tensor(gathering->table->ctx, index)->name, sums->rows, rows);
    }
    sums->tokens += tokens;
    return pool_for(gathering->env->pool, ceil_div(rows, ROWS_A_TASK), add_task, &adding, err);
}

static tsr_status on_look_up(void *ctx, uint64_t index, const uint64_t *looked_up, const float *gradient, uint64_t tokens,
                             uint64_t columns, tsr_error *err) {
    struct gathering *gathering = ctx;
    struct fisher_sums *sums = &gathering->fisher->sums[index];
    if (!sums->look_ups) {
        sums->table_rows = gathering->table->tensor(gathering->table->ctx, index)->rows;
        sums->look_ups = mem_alloc_zero(sums->table_rows, sizeof *sums->look_ups);
    }
    if (!sums->look_ups) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %" PRIu64 " Fisher values", sums->table_rows);
    for (uint64_t t = 0; t < tokens; t++) {
        double square = 0;
        for (uint64_t c = 0; c < columns; c++) square += (double)gradient[t * columns + c] * (double)gradient[t * columns + c];
        if (!isfinite(square) || looked_up[t] >= sums->table_rows) return fail_value(gathering, index, err);
        sums->look_ups[looked_up[t]] += square / (double)columns;
    }
    return TSR_OK;
}

/* ---- windows ---- */

uint64_t fisher_windows(const struct fisher_options *options, uint64_t text_tokens) {
    return min_u64(ceil_div(options->tokens, options->window), ceil_div(text_tokens, options->window));
}

uint64_t fisher_window(const struct fisher_options *options, uint64_t text_tokens, uint64_t i, uint64_t *count) {
    uint64_t all = ceil_div(text_tokens, options->window), first = i * all / fisher_windows(options, text_tokens) * options->window;
    *count = min_u64(options->window, text_tokens - first);
    return first;
}

uint64_t fisher_tokens(const struct fisher_options *options, uint64_t text_tokens) {
    uint64_t total = 0, count;
    for (uint64_t i = 0; i < fisher_windows(options, text_tokens); i++) {
        (void)fisher_window(options, text_tokens, i, &count);
        total += count;
    }
    return total;
}

static const tsr_reverse *find_reverse(const struct open_model *model) {
    return model_extension(model, TSR_REVERSE_ID);
}

tsr_status fisher_check(const struct open_model *model, tsr_error *err) {
    const tsr_reverse *reverse = find_reverse(model);
    if (reverse) return reverse->check(model->self, err);
    return tsr_fail(err, TSR_E_UNSUPPORTED, "no reverse pass in the model plugin %s", model->plugin->name);
}

static tsr_status run_windows(struct open_model *model, const struct token_run *text, struct gathering *gathering,
                              const tsr_reverse_hooks *hooks, tsr_error *err) {
    const tsr_reverse *reverse = find_reverse(model);
    uint64_t windows = fisher_windows(gathering->options, text->count);
    struct meter meter;
    tsr_status st = TSR_OK;
    meter_begin(&meter, gathering->env, "calibrate, backwards",
                fisher_tokens(gathering->options, text->count) * sizeof *text->tokens, windows);
    for (uint64_t i = 0; i < windows && st == TSR_OK; i++) {
        uint64_t count;
        gathering->first = fisher_window(gathering->options, text->count, i, &count);
        st = meter_check_cancel(gathering->env, err);
        if (st == TSR_OK) st = reverse->run(model->self, text->tokens + gathering->first, count, hooks, err);
        if (st == TSR_OK) meter_add(&meter, "window", count * sizeof *text->tokens);
    }
    meter_end(&meter);
    return st;
}

tsr_status fisher_gather(struct open_model *model, const struct token_run *text, const struct fisher_options *options,
                         struct fisher_layers *layers, const struct env *env, struct fisher *fisher, tsr_error *err) {
    const tsr_weights *table = model_weights_table(model->weights);
    struct gathering gathering = {.options = options, .env = env, .table = table, .fisher = fisher};
    const tsr_reverse_hooks hooks = {.struct_size = sizeof hooks, .ctx = &gathering, .gradient = on_logits,
                                     .linear_output = on_output, .look_up = on_look_up};
    tsr_status st = fisher_check(model, err);
    if (st != TSR_OK) return st;
    fisher->count = table->count(table->ctx);
    fisher->sums = mem_alloc_zero(fisher->count, sizeof *fisher->sums);
    if (!fisher->sums) return tsr_fail(err, TSR_E_NOMEM, "out of memory for Fisher values");
    if (layers) return fisher_layers_run(layers, &hooks, &gathering.first, err);
    return run_windows(model, text, &gathering, &hooks, err);
}

void fisher_clear(struct fisher *fisher) {
    for (uint64_t i = 0; fisher->sums && i < fisher->count; i++) {
        mem_free(fisher->sums[i].squares);
        mem_free(fisher->sums[i].look_ups);
    }
    mem_free(fisher->sums);
    *fisher = (struct fisher){0};
}
