/* SPDX-License-Identifier: Apache-2.0
 *
 * The text walks through the model stage by stage (measure/walk.h). The first pass of a stage sees its operators, gathers
 * all diagonals and as many matrices as memory holds; further passes gather the rest. What a tensor gets added, and in
 * which order, is the same in whichever pass it is gathered. Each pass becomes one safetensors file in the work folder,
 * sealed by the digest of its data and the stage, and the result is put together from these. States between stages are not
 * kept over an interruption: stages that are done are walked again without gathering. */
#include "calibrate.h"

#include "calibrate_memory.h"
#include "work.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/str.h>
#include <inttypes.h>
#include <math.h>
#include <measure/calibrate_parts.h>
#include <measure/calibrate_read.h>
#include <measure/fisher.h>
#include <numeric/gram.h>
#include <reading/meter.h>
#include <reading/model_digest.h>
#include <string.h>

#define PASSES_MAX 10000
#define PARTS_EACH 6
#define NARROW_NAMED 16

/* Of one tensor of the checkpoint. */
struct moment {
    uint64_t columns; /* 0: no operator reads it */
    uint64_t tokens;
    double *squares; /* [columns]; while the first pass of its stage runs */
    float *full;     /* [columns][columns]; while its pass runs */
    uint64_t stage, pass; /* where its diagonal is */
    bool kept;       /* the matrix is in a finished pass */
    bool seen;       /* by the discovery */
};

struct calibrating {
    struct open_model *model;
    const tsr_weights *table;
    const struct token_run *text;
    const struct calibrate_options *options;
    const struct env *env;
    struct calibrate_result *result;
    struct work work;
    char job[DIGEST_HEX];        /* names everything that the bytes of a pass depend on */
    char fisher_job[DIGEST_HEX]; /* and those of the pass backwards */
    char model_hex[DIGEST_HEX], text_hex[DIGEST_HEX];
    char errors_hex[DIGEST_HEX]; /* of the compressed model that is read; empty: its weights are those of the source */
    struct moment *moments; /* [count] */
    struct gram gram;
    uint64_t count, window, held;
    uint64_t head;   /* tensor that makes the logits; its inputs come by the hidden hook */
    uint64_t widest; /* inputs of the widest matrix that is kept */
    bool repeated;   /* some tensor is read by two operators */
    struct memory_plan memory;
    struct walk walk;
    struct fisher_layers fisher_layers;
    uint64_t stage, stage_passes; /* at hand, and how many passes of it are done */
    struct safetensors *passes, backwards;
    uint64_t pass_count;
    struct fisher_options fisher;
    bool has_fisher;
    tsr_error *err;
};

/* ---- hooks ---- */

static uint64_t full_bytes(uint64_t columns) {
    return columns * columns * sizeof(float);
}

/* Memory for a tensor's matrix, if the budget has room: false when it must wait for another pass. */
static bool take_full(struct calibrating *c, struct moment *moment) {
    if (moment->kept || moment->columns > c->options->full_max) return false;
    uint64_t bytes = full_bytes(moment->columns);
    if (c->held && bytes > c->memory.matrices - min_u64(c->held, c->memory.matrices)) return false;
    moment->full = mem_alloc_zero(moment->columns * moment->columns, sizeof *moment->full);
    if (!moment->full) return false;
    c->held += bytes;
    return true;
}

static tsr_status begin_moment(struct calibrating *c, struct moment *moment, uint64_t columns) {
    moment->columns = columns;
    moment->stage = c->stage;
    moment->squares = mem_alloc_zero(columns, sizeof *moment->squares);
    if (!moment->squares) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for %" PRIu64 " moments", columns);
    if (columns <= c->options->full_max && !take_full(c, moment) && !c->held) {
        return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a matrix of %" PRIu64 " bytes", full_bytes(columns));
    }
    return TSR_OK;
}

/* Operators come in the order of the model, so the first that is told of stands behind what is wrong. */
static tsr_status check_squares(struct calibrating *c, uint64_t index) {
    const struct moment *moment = &c->moments[index];
    for (uint64_t i = 0; i < moment->columns; i++) {
        if (isfinite(moment->squares[i])) continue;
        return tsr_fail(c->err, TSR_E_INPUT, "tensor \"%s\": its input %" PRIu64 " is not finite",
                        c->table->tensor(c->table->ctx, index)->name, i);
    }
    return TSR_OK;
}

static tsr_status add_input(struct calibrating *c, uint64_t index, const float *x, uint64_t tokens, uint64_t columns) {
    struct moment *moment = &c->moments[index];
    tsr_status st = TSR_OK;
    if (c->stage_passes == 0) {
        if (!moment->columns) st = begin_moment(c, moment, columns);
        if (st != TSR_OK) return st;
        if (moment->columns != columns) {
            return tsr_fail(c->err, TSR_E_UNSUPPORTED, "tensor \"%s\": is used with %" PRIu64 " and with %" PRIu64 " inputs",
                            c->table->tensor(c->table->ctx, index)->name, moment->columns, columns);
        }
        moment->tokens += tokens;
        st = gram_squares(moment->squares, columns, x, tokens, c->env, c->err);
        if (st == TSR_OK) st = check_squares(c, index);
        if (st != TSR_OK) return st;
    }
    return moment->full ? gram_add(&c->gram, moment->full, columns, x, tokens, c->env, c->err) : TSR_OK;
}

static tsr_status on_linear(void *ctx, uint64_t index, const float *x, uint64_t tokens, uint64_t columns, tsr_error *err) {
    (void)err;
    return add_input(ctx, index, x, tokens, columns);
}

static tsr_status on_hidden(void *ctx, uint64_t layer, const float *x, uint64_t tokens, uint64_t width, tsr_error *err) {
    struct calibrating *c = ctx;
    (void)err;
    return layer == c->model->info.layers + 1 ? add_input(c, c->head, x, tokens, width) : TSR_OK;
}

static tsr_status on_discovery(void *ctx, uint64_t index, const float *x, uint64_t tokens, uint64_t columns,
                               tsr_error *err) {
    struct calibrating *c = ctx;
    (void)x;
    (void)tokens;
    (void)err;
    c->repeated = c->repeated || c->moments[index].seen;
    c->moments[index].seen = true;
    c->head = index;
    if (columns <= c->options->full_max) c->widest = max_u64(c->widest, columns);
    return TSR_OK;
}

/* ---- passes over the text ---- */

/* One token shows all operators but those of experts that it did not choose, which are as wide as the others. The last one
 * is the output matrix: passes leave it out, since what it gets is known, and it is a large part of a small model's work. */
static tsr_status discover(struct calibrating *c) {
    const tsr_hooks hooks = {.struct_size = sizeof hooks, .ctx = c, .linear_input = on_discovery};
    const tsr_model *plugin = c->model->plugin;
    void *sequence = NULL;
    float *logits = mem_alloc_array(c->model->info.vocabulary, sizeof *logits);
    if (!logits) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for logits");
    tsr_status st = plugin->sequence_create(c->model->self, 1, &sequence, c->err);
    if (st == TSR_OK) st = plugin->forward(c->model->self, sequence, c->text->tokens, 1, &hooks, logits, c->err);
    if (sequence) plugin->sequence_destroy(c->model->self, sequence);
    mem_free(logits);
    return st;
}

static tsr_status run_pass(struct calibrating *c, struct meter *meter) {
    const tsr_hooks hooks = {.struct_size = sizeof hooks, .ctx = c, .hidden = on_hidden, .linear_input = on_linear};
    tsr_status st = walk_pass(&c->walk, &hooks, c->stage_passes == 0, meter, c->err);
    if (st == TSR_OK) st = gram_flush(&c->gram, c->env, c->err);
    return st;
}

static void drop_moment(struct moment *moment) {
    mem_free(moment->squares);
    mem_free(moment->full);
    moment->squares = NULL;
    moment->full = NULL;
}

/* ---- files of passes ---- */

/* The diagonal that the first pass of the stage has written. */
static tsr_status read_diagonal(struct calibrating *c, struct gathered *list, const struct safetensors *pass, const char *name,
                                float *diagonal) {
    const char *full = arena_format(&list->arena, "%s%s", name, STATS_DIAGONAL);
    const struct safetensors_entry *entry = full ? safetensors_find(pass, full) : NULL;
    if (!entry) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a name");
    return fs_read_at(&pass->file, entry->offset, diagonal, entry->bytes, c->err);
}

/* The finished values of one tensor in this pass; arena memory but for the matrix, which is finished in place. */
static tsr_status add_moment(struct calibrating *c, struct gathered *list, uint64_t index) {
    struct moment *moment = &c->moments[index];
    const char *name = c->table->tensor(c->table->ctx, index)->name;
    uint64_t n = moment->columns;
    float *diagonal = arena_alloc(&list->arena, n, sizeof *diagonal);
    uint64_t *tokens = arena_alloc(&list->arena, 1, sizeof *tokens);
    if (!diagonal || !tokens) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for moments");
    tsr_status st = TSR_OK;
    *tokens = moment->tokens;
    for (uint64_t i = 0; moment->squares && i < n; i++) diagonal[i] = (float)(moment->squares[i] / (double)moment->tokens);
    if (moment->full) {
        if (!moment->squares) st = read_diagonal(c, list, &c->passes[moment->pass], name, diagonal);
        gram_finish(moment->full, n, 1 / (double)moment->tokens, diagonal);
        if (st == TSR_OK) st = gathered_add(list, name, STATS_MOMENT, TSR_DTYPE_F32, 2, n, moment->full, c->err);
    }
    if (st != TSR_OK || !moment->squares) return st;
    st = gathered_add(list, name, STATS_DIAGONAL, TSR_DTYPE_F32, 1, n, diagonal, c->err);
    return st == TSR_OK ? gathered_add(list, name, STATS_TOKENS, TSR_DTYPE_I64, 1, 1, tokens, c->err) : st;
}

/* A pass is of one job and one stage. */
static void name_stage(const struct calibrating *c, char name[DIGEST_HEX + 24]) {
    (void)snprintf(name, DIGEST_HEX + 24, "%s-%" PRIu64, c->job, c->stage);
}

static char *pass_path(const struct calibrating *c, uint64_t number) {
    char name[32];
    (void)snprintf(name, sizeof name, "pass-%04" PRIu64 ".safetensors", number);
    return fs_join(c->work.parts, name);
}

/* Writes what this pass gathered and gives its memory back. */
static tsr_status keep_pass(struct calibrating *c) {
    struct gathered list = {0};
    char *path = pass_path(c, c->pass_count), job[DIGEST_HEX + 24];
    name_stage(c, job);
    tsr_status st = path ? TSR_OK : tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a path");
    if (st == TSR_OK) st = gathered_init(&list, PARTS_EACH * c->count, c->err);
    for (uint64_t i = 0; i < c->count && st == TSR_OK; i++) {
        if (c->moments[i].squares || c->moments[i].full) st = add_moment(c, &list, i);
    }
    if (st == TSR_OK) st = gathered_seal(&list, path, job, c->err);
    for (uint64_t i = 0; i < c->count; i++) drop_moment(&c->moments[i]);
    c->held = 0;
    mem_free(path);
    gathered_clear(&list);
    return st;
}

/* What the newest pass holds is done: counts from the first of its stage, matrices from all. */
static tsr_status note_pass(struct calibrating *c, const struct safetensors *st) {
    for (uint64_t i = 0; i < c->count; i++) {
        struct calibration view = {.st = *st};
        struct calibration_input input;
        struct moment *moment = &c->moments[i];
        const tsr_tensor *tensor = c->table->tensor(c->table->ctx, i);
        struct str full = {0};
        bool found = false;
        str_add_format(&full, "%s%s", tensor->name, STATS_MOMENT);
        if (full.failed) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a name");
        if (safetensors_find(st, full.text)) moment->kept = true;
        str_truncate(&full, full.length - strlen(STATS_MOMENT));
        str_add_text(&full, STATS_DIAGONAL);
        const struct safetensors_entry *diagonal = full.failed ? NULL : safetensors_find(st, full.text);
        str_clear(&full);
        if (!diagonal) continue;
        tsr_status status = calibrate_find(&view, tensor->name, diagonal->shape[0], &input, &found, c->err);
        if (status != TSR_OK) return status;
        moment->columns = input.columns;
        moment->tokens = input.tokens;
        moment->stage = c->stage;
        moment->pass = c->pass_count - 1;
    }
    return TSR_OK;
}

/* Opens pass `pass_count` if it is there and good. */
static tsr_status load_pass(struct calibrating *c, bool *found) {
    char *path = pass_path(c, c->pass_count), job[DIGEST_HEX + 24];
    struct safetensors *st = &c->passes[c->pass_count];
    name_stage(c, job);
    if (!path) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a path");
    tsr_status status = gathered_open(path, job, st, found, c->err);
    mem_free(path);
    if (!*found) return status;
    c->pass_count++;
    c->stage_passes++;
    return note_pass(c, st);
}

/* ---- the whole ---- */

static bool is_complete(const struct calibrating *c) {
    for (uint64_t i = 0; i < c->count; i++) {
        const struct moment *moment = &c->moments[i];
        bool ours = moment->columns && moment->stage == c->stage;
        if (ours && moment->columns <= c->options->full_max && !moment->kept) return false;
    }
    return c->stage_passes > 0;
}

/* Takes room for the matrices of a further pass, in the order of the checkpoint. */
static tsr_status choose(struct calibrating *c) {
    for (uint64_t i = 0; i < c->count && c->stage_passes; i++) {
        struct moment *moment = &c->moments[i];
        if (moment->columns && moment->stage == c->stage) (void)take_full(c, moment);
    }
    if (c->stage_passes && !c->held) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for one matrix of moments");
    return TSR_OK;
}

/* What is done of the stage. */
static tsr_status load_stage(struct calibrating *c) {
    bool found = true;
    tsr_status st = TSR_OK;
    while (st == TSR_OK && found && !is_complete(c) && c->pass_count < PASSES_MAX) {
        st = load_pass(c, &found);
        c->result->resumed += st == TSR_OK && found;
    }
    return st;
}

static tsr_status make_pass(struct calibrating *c, struct meter *meter) {
    bool found = false;
    if (c->pass_count == PASSES_MAX) {
        return tsr_fail(c->err, TSR_E_LIMIT, "--memory: more than %d passes would be needed", PASSES_MAX);
    }
    tsr_status st = choose(c);
    if (st == TSR_OK) st = run_pass(c, meter);
    if (st == TSR_OK) st = keep_pass(c);
    if (st == TSR_OK) st = load_pass(c, &found);
    if (st != TSR_OK || found) return st;
    return tsr_fail(c->err, TSR_E_CORRUPT, "%s: a pass just written is damaged", c->work.parts);
}

/* Stages whose passes were all there are walked only when a later one needs what they give. */
static tsr_status run_stage(struct calibrating *c, struct meter *meter) {
    tsr_status st = load_stage(c);
    bool first = c->stage_passes == 0;
    while (st == TSR_OK && !is_complete(c) && c->walk.stage < c->stage) {
        st = walk_pass(&c->walk, NULL, true, NULL, c->err);
        walk_next(&c->walk);
    }
    while (st == TSR_OK && !is_complete(c)) st = make_pass(c, c->stage_passes ? NULL : meter);
    if (st == TSR_OK && first) walk_next(&c->walk);
    c->result->passes = max_u64(c->result->passes, c->stage_passes);
    return st;
}

static tsr_status run_stages(struct calibrating *c) {
    uint64_t stages = walk_stages(&c->walk);
    struct meter meter;
    tsr_status st = TSR_OK;
    meter_begin(&meter, c->env, "calibrate", stages * c->text->count * sizeof *c->text->tokens,
                stages * ceil_div(c->text->count, c->window));
    for (c->stage = 0; c->stage < stages && st == TSR_OK; c->stage++) {
        c->stage_passes = 0;
        st = run_stage(c, &meter);
    }
    meter_end(&meter);
    gram_clear(&c->gram);
    return st;
}

/* ---- the pass backwards ---- */

static tsr_status add_fisher(struct calibrating *c, struct gathered *list, const struct fisher_sums *sums, const char *name) {
    float *values = arena_alloc(&list->arena, sums->rows + 1, sizeof *values);
    float *look_ups = arena_alloc(&list->arena, sums->table_rows + 1, sizeof *look_ups);
    uint64_t *tokens = arena_alloc(&list->arena, 1, sizeof *tokens), all = fisher_tokens(&c->fisher, c->text->count);
    tsr_status st = TSR_OK;
    if (!values || !look_ups || !tokens) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for Fisher values");
    *tokens = sums->tokens;
    for (uint64_t r = 0; sums->squares && r < sums->rows; r++) values[r] = (float)(sums->squares[r] / (double)sums->tokens);
    for (uint64_t r = 0; sums->look_ups && r < sums->table_rows; r++) look_ups[r] = (float)(sums->look_ups[r] / (double)all);
    if (sums->squares) {
        st = gathered_add(list, name, STATS_FISHER, TSR_DTYPE_F32, 1, sums->rows, values, c->err);
        if (st == TSR_OK) st = gathered_add(list, name, STATS_FISHER_TOKENS, TSR_DTYPE_I64, 1, 1, tokens, c->err);
    }
    if (st != TSR_OK || !sums->look_ups) return st;
    return gathered_add(list, name, STATS_LOOKUP, TSR_DTYPE_F32, 1, sums->table_rows, look_ups, c->err);
}

static tsr_status gather_backwards(struct calibrating *c, const char *path) {
    struct fisher fisher = {0};
    struct gathered list = {0};
    struct fisher_layers *layers = c->fisher_layers.model ? &c->fisher_layers : NULL;
    tsr_status st = fisher_gather(c->model, c->text, &c->fisher, layers, c->env, &fisher, c->err);
    if (st == TSR_OK) st = gathered_init(&list, PARTS_EACH * c->count, c->err);
    for (uint64_t i = 0; i < fisher.count && st == TSR_OK; i++) {
        st = add_fisher(c, &list, &fisher.sums[i], c->table->tensor(c->table->ctx, i)->name);
    }
    if (st == TSR_OK) st = gathered_seal(&list, path, c->fisher_job, c->err);
    gathered_clear(&list);
    fisher_clear(&fisher);
    return st;
}

/* Whether there is a way back, and what an interrupted run has of it. A model without a reverse pass keeps its other
 * statistics, and the result says why there are no more. */
static tsr_status begin_backwards(struct calibrating *c, const char *path) {
    tsr_error why = {0};
    if (!c->fisher.tokens) return TSR_OK;
    tsr_status st = fisher_check(c->model, &why);
    if (st == TSR_E_UNSUPPORTED) {
        (void)snprintf(c->result->fisher_missing, sizeof c->result->fisher_missing, "%s", why.message);
        env_log(c->env, TSR_LOG_WARNING, "no Fisher values, inputs only: %s", why.message);
        c->fisher.tokens = 0;
        return TSR_OK;
    }
    if (st != TSR_OK) return tsr_fail(c->err, st, "%s", why.message);
    st = gathered_open(path, c->fisher_job, &c->backwards, &c->has_fisher, c->err);
    c->result->resumed += c->has_fisher;
    return st;
}

static tsr_status run_backwards(struct calibrating *c, const char *path) {
    if (!c->fisher.tokens || c->has_fisher) return TSR_OK;
    tsr_status st = gather_backwards(c, path);
    if (st == TSR_OK) st = gathered_open(path, c->fisher_job, &c->backwards, &c->has_fisher, c->err);
    if (st != TSR_OK || c->has_fisher) return st;
    return tsr_fail(c->err, TSR_E_CORRUPT, "%s: just written and damaged", path);
}

/* ---- the result ---- */

/* Too few tokens for the matrix of a weight to have an inverse. The first are named. */
static void tell_narrow(struct calibrating *c, const char *name, uint64_t tokens, uint64_t columns) {
    if (c->result->narrow++ >= NARROW_NAMED) return;
    env_log(c->env, TSR_LOG_WARNING,
            "tensor \"%s\": saw %" PRIu64 " tokens and has %" PRIu64 " columns: a longer text is needed for its matrix", name, tokens,
            columns);
}

/* Counts what an encoder should know: columns that never had an input, and weights that saw fewer tokens than they have
 * columns. */
static tsr_status judge_moment(struct calibrating *c, uint64_t index) {
    const struct moment *moment = &c->moments[index];
    const char *name = c->table->tensor(c->table->ctx, index)->name;
    struct calibration view = {.st = c->passes[moment->pass]};
    struct calibration_input input;
    bool found = false;
    uint64_t dead = 0;
    float *diagonal = mem_alloc_array(moment->columns, sizeof *diagonal);
    if (!diagonal) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for moments");
    tsr_status st = calibrate_find(&view, name, moment->columns, &input, &found, c->err);
    if (st == TSR_OK && found) st = calibrate_read_diagonal(&view, &input, diagonal, c->err);
    for (uint64_t i = 0; i < moment->columns && st == TSR_OK && found; i++) dead += !(diagonal[i] > 0);
    if (dead && !c->result->dead_columns) {
        env_log(c->env, TSR_LOG_WARNING, "tensor \"%s\": %" PRIu64 " of its columns never had an input", name, dead);
    }
    c->result->dead_columns += dead;
    if (st == TSR_OK && moment->tokens < moment->columns) tell_narrow(c, name, moment->tokens, moment->columns);
    mem_free(diagonal);
    return st;
}

/* The same but for numbers: tensors of one kind in several layers or experts. */
static bool is_like(const char *a, const char *b) {
    while (*a && *b) {
        uint64_t number;
        if (text_take_digits(&a, &number) != text_take_digits(&b, &number)) return false;
        if (*a != *b) return false;
        if (*a) a++, b++;
    }
    return !*a && !*b;
}

/* An expert that no token chose: no operator has told of it, but of others of its kind. */
static void judge_silent(struct calibrating *c, uint64_t index) {
    const tsr_tensor *tensor = c->table->tensor(c->table->ctx, index);
    for (uint64_t i = 0; i < c->count && tensor->rank >= 2; i++) {
        if (!c->moments[i].columns || !is_like(tensor->name, c->table->tensor(c->table->ctx, i)->name)) continue;
        c->result->unreached++;
        tell_narrow(c, tensor->name, 0, c->moments[i].columns);
        return;
    }
}

static void tell_rest(const struct calibrating *c) {
    if (c->result->narrow <= NARROW_NAMED) return;
    env_log(c->env, TSR_LOG_WARNING, "and %" PRIu64 " more weights that saw too few tokens", c->result->narrow - NARROW_NAMED);
}

static tsr_status link_tensor(struct calibrating *c, struct gathered *list, uint64_t index) {
    static const char *const inputs[] = {STATS_MOMENT, STATS_DIAGONAL, STATS_TOKENS};
    static const char *const outputs[] = {STATS_FISHER, STATS_FISHER_TOKENS, STATS_LOOKUP};
    const char *name = c->table->tensor(c->table->ctx, index)->name;
    uint64_t before = list->count;
    tsr_status st = TSR_OK;
    for (int i = 0; i < 3 && st == TSR_OK && c->moments[index].columns; i++) {
        st = gathered_link(list, c->passes, c->pass_count, name, inputs[i], c->err);
    }
    c->result->tensors += list->count > before;
    before = list->count;
    for (int i = 0; i < 3 && st == TSR_OK && c->has_fisher; i++) {
        st = gathered_link(list, &c->backwards, 1, name, outputs[i], c->err);
    }
    c->result->fisher_tensors += list->count > before;
    return st;
}

/* What is empty is left out. */
static tsr_status write_linked(struct calibrating *c, const struct gathered *list, const char *output) {
    char tokens[24], window[24], fisher[24] = "", seed[24] = "";
    const char *missing = c->result->fisher_missing;
    (void)snprintf(tokens, sizeof tokens, "%" PRIu64, c->text->count);
    (void)snprintf(window, sizeof window, "%" PRIu64, c->window);
    if (c->has_fisher || missing[0]) (void)snprintf(fisher, sizeof fisher, "%" PRIu64, c->result->fisher_tokens);
    if (c->has_fisher) (void)snprintf(seed, sizeof seed, "%" PRIu64, c->fisher.seed);
    const struct safetensors_pair all[] = {
        {STATS_KEY_VERSION, STATS_VERSION}, {STATS_KEY_MODEL, c->model_hex},      {STATS_KEY_PROPAGATED, c->errors_hex},
        {STATS_KEY_TEXT, c->text_hex},      {STATS_KEY_TOKENS, tokens},           {STATS_KEY_WINDOW, window},
        {STATS_KEY_NORMALISATION, STATS_NORMALISATION}, {STATS_KEY_FISHER_TOKENS, fisher}, {STATS_KEY_FISHER_SEED, seed},
        {STATS_KEY_FISHER_MISSING, missing}};
    struct safetensors_pair metadata[sizeof all / sizeof all[0]];
    uint64_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].text[0]) metadata[count++] = all[i];
    }
    return safetensors_write(output, list->parts, list->count, metadata, count, c->err);
}

static tsr_status write_result(struct calibrating *c, const char *output) {
    struct gathered list = {0};
    tsr_status st = gathered_init(&list, PARTS_EACH * c->count, c->err);
    if (c->has_fisher) c->result->fisher_tokens = fisher_tokens(&c->fisher, c->text->count);
    for (uint64_t i = 0; i < c->count && st == TSR_OK; i++) {
        c->result->full += c->moments[i].kept;
        st = link_tensor(c, &list, i);
        if (st == TSR_OK && c->moments[i].columns) st = judge_moment(c, i);
        if (!c->moments[i].columns) judge_silent(c, i);
    }
    tell_rest(c);
    if (st == TSR_OK) st = write_linked(c, &list, output);
    gathered_clear(&list);
    return st;
}

static tsr_status name_of(struct calibrating *c, struct str *facts, char hex[DIGEST_HEX]) {
    if (facts->failed) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a digest");
    struct digest digest = digest_of(facts->text, facts->length);
    (void)digest_to_hex(&digest, hex);
    return TSR_OK;
}

/* The jobs' names: model, tokens, window and which matrices are wanted; how many tokens backwards, and the seed. */
static tsr_status name_job(struct calibrating *c) {
    struct digest model, tokens, errors;
    struct str facts = {0};
    bool has_errors = false;
    char hex[DIGEST_HEX];
    tsr_status st = model_digest(&c->model->reader, c->env, &model, c->err);
    if (st == TSR_OK) st = model_errors(&c->model->reader, &has_errors, &errors, c->err);
    if (st != TSR_OK) return st;
    if (has_errors) (void)digest_to_hex(&errors, c->errors_hex);
    tokens = digest_of(c->text->tokens, c->text->count * sizeof *c->text->tokens);
    (void)digest_to_hex(&model, c->model_hex);
    (void)digest_to_hex(&c->options->text, c->text_hex);
    str_add_format(&facts, "%s %s%s %s %" PRIu64 " %" PRIu64, STATS_VERSION, c->model_hex, c->errors_hex,
                   digest_to_hex(&tokens, hex), c->window, c->options->full_max);
    st = name_of(c, &facts, c->job);
    str_add_format(&facts, " %" PRIu64 " %" PRIu64, c->fisher.tokens, c->fisher.seed);
    if (st == TSR_OK) st = name_of(c, &facts, c->fisher_job);
    str_clear(&facts);
    return st;
}

static tsr_status choose_window(struct calibrating *c) {
    uint64_t context = c->model->info.context;
    if (!c->text->count) return tsr_fail(c->err, TSR_E_INPUT, "the text has no token");
    c->window = c->options->window ? c->options->window : CALIBRATE_WINDOW;
    if (context && c->options->window > context) {
        return tsr_fail(c->err, TSR_E_CONFIG, "--window: %" PRIu64 " tokens, the context has %" PRIu64, c->window, context);
    }
    if (context) c->window = min_u64(c->window, context);
    c->fisher = (struct fisher_options){c->window, c->options->fisher_tokens, c->options->seed};
    return TSR_OK;
}

static tsr_status prepare(struct calibrating *c, const char *output) {
    tsr_status st = choose_window(c);
    c->moments = mem_alloc_zero(c->count, sizeof *c->moments);
    c->passes = mem_alloc_zero(PASSES_MAX, sizeof *c->passes);
    if (st != TSR_OK) return st;
    if (!c->moments || !c->passes) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a list of moments");
    st = name_job(c);
    if (st == TSR_OK) st = work_open(output, &c->work, c->err);
    if (st != TSR_OK || !work_has_journal(&c->work)) return st;
    return tsr_fail(c->err, TSR_E_CONFIG, "%s: compress left work for %s there: run it again or remove that folder",
                    c->work.folder, output);
}

/* Outputs of all matrices, and rows of the embedding once more. */
static uint64_t count_fisher_values(const struct calibrating *c) {
    uint64_t values = c->model->info.vocabulary;
    for (uint64_t i = 0; i < c->count; i++) {
        const tsr_tensor *tensor = c->table->tensor(c->table->ctx, i);
        if (tensor->rank >= 2) values += tensor->rows;
    }
    return values;
}

static uint64_t largest_decoded(const struct calibrating *c) {
    uint64_t largest = 0;
    for (uint64_t i = 0; c->model->reader.compressed && i < c->count; i++) {
        largest = max_u64(largest, reader_tensor(&c->model->reader, i).bytes);
    }
    return largest;
}

static tsr_status check_disk(const struct calibrating *c) {
    char wants[32], has[32];
    uint64_t free_bytes = fs_free_bytes(c->work.parts);
    if (c->memory.disk <= free_bytes) return TSR_OK;
    return tsr_fail(c->err, TSR_E_IO, "%s: states between layers take %s on disk, %s are free", c->work.parts,
                    text_bytes(c->memory.disk, wants, sizeof wants), text_bytes(free_bytes, has, sizeof has));
}

/* Learns what the model needs, divides the memory and makes buffers. */
static tsr_status open_walks(struct calibrating *c) {
    const struct walk_text text = {c->text->tokens, c->text->count, min_u64(c->window, c->text->count)};
    tsr_status st = discover(c);
    const tsr_layers *layers = c->repeated ? NULL : walk_layers(c->model);
    const bool backwards = c->fisher.tokens && !c->has_fisher;
    struct memory_need need = {.model = c->model, .text = text, .fisher = c->fisher, .widest = c->widest,
                               .decoded = largest_decoded(c), .fisher_values = count_fisher_values(c), .layers = layers != NULL,
                               .env = c->env};
    if (!backwards) need.fisher.tokens = 0;
    if (st == TSR_OK) {
        st = memory_plan_make(&need, c->env->memory_bytes ? c->env->memory_bytes : CALIBRATE_MEMORY, &c->memory, c->err);
    }
    if (st == TSR_OK && c->memory.decoded) model_weights_limit(c->model->weights, c->memory.decoded);
    if (st == TSR_OK) st = check_disk(c);
    const char *states = c->memory.states_on_disk ? c->work.parts : NULL, *entered = c->memory.fisher_on_disk ? c->work.parts : NULL;
    if (st == TSR_OK) st = walk_open(&c->walk, c->model, &text, layers, states, c->env, c->err);
    if (st != TSR_OK || !backwards || !layers) return st;
    c->walk.tap = fisher_layers_take;
    c->walk.tap_ctx = &c->fisher_layers;
    return fisher_layers_open(&c->fisher_layers, c->model, &text, &c->fisher, entered, c->env, c->err);
}

static void close_all(struct calibrating *c) {
    walk_close(&c->walk);
    fisher_layers_close(&c->fisher_layers);
    for (uint64_t i = 0; c->passes && i < c->pass_count; i++) safetensors_close(&c->passes[i]);
    safetensors_close(&c->backwards);
    for (uint64_t i = 0; c->moments && i < c->count; i++) drop_moment(&c->moments[i]);
    mem_free(c->passes);
    mem_free(c->moments);
}

/* Buffers of one way are given back before the other begins. */
static tsr_status gather(struct calibrating *c) {
    char *path = fs_join(c->work.parts, "backwards.safetensors");
    if (!path) return tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a path");
    tsr_status st = begin_backwards(c, path);
    if (st == TSR_OK) st = open_walks(c);
    if (st == TSR_OK) st = run_stages(c);
    walk_close(&c->walk);
    if (st == TSR_OK) st = run_backwards(c, path);
    fisher_layers_close(&c->fisher_layers);
    mem_free(path);
    return st;
}

tsr_status calibrate_run(struct open_model *model, const struct token_run *text, const struct calibrate_options *options,
                         const char *output, const struct env *env, struct calibrate_result *result, tsr_error *err) {
    const tsr_weights *table = model_weights_table(model->weights);
    struct calibrating c = {.model = model, .table = table, .text = text, .options = options, .env = env,
                            .result = result, .count = table->count(table->ctx), .err = err};
    *result = (struct calibrate_result){.tokens = text->count};
    tsr_status st = prepare(&c, output);
    if (st == TSR_OK) st = gather(&c);
    if (st == TSR_OK) st = write_result(&c, output);
    result->windows = c.window ? ceil_div(text->count, c.window) : 0;
    close_all(&c);
    if (st == TSR_OK) st = work_remove(&c.work, err);
    work_close(&c.work);
    return st;
}
