/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the vocoder piece by piece. Every stage keeps the rows its next outputs depend on and nothing else, so ten minutes
 * take no more memory than one piece, and no sample depends on where pieces end. */
#include "vocoder.h"

#include <math.h>
#include <string.h>

#define PIECE_FRAMES 16
#define CONVNEXT_EPS 1e-6
#define ROWS_A_TASK 64

struct decoder {
    const struct engine *engine;
    const struct vocoder *vocoder;
    tsr_speech_hooks hooks;
    bool silent; /* frames of the context are not reported */
    uint64_t chunk, context;
    uint64_t in_chunk;   /* frames since the last start */
    uint64_t done;       /* frames in all */
    uint32_t *recent;    /* [context][groups], the last frames; recent_count of them */
    uint64_t recent_count;
    struct conv_input pre, depthwise[STAGES_MAX], first, last;
    struct conv_input products[STAGES_MAX], up_products[STAGES_MAX], unit[STAGES_MAX][UNITS];
    struct stack_state stack;
    float *memory, *a, *b, *wide; /* [piece's largest rows * channels]; wide: ConvNeXt's 4 * latent */
};

/* ---- memory ---- */

static tsr_status init_upsampling(struct decoder *d, uint64_t *rows, tsr_error *err) {
    const struct vocoder_spec *spec = &d->vocoder->spec->vocoder;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < spec->ratio_count && st == TSR_OK; i++) {
        const struct up_conv *up = &d->vocoder->upsample[i].up;
        st = conv_input_init(d->engine, (up->taps - 1) / up->stride, up->linear.rows, *rows, &d->up_products[i], err);
        *rows *= up->stride;
        if (st == TSR_OK) st = conv_input_init(d->engine, 6, spec->latent, *rows, &d->depthwise[i], err);
    }
    return st;
}

static uint64_t history_of(const struct conv *conv) {
    return (conv->taps - 1) * conv->dilation;
}

static tsr_status init_blocks(struct decoder *d, uint64_t *rows, tsr_error *err) {
    const struct vocoder *vocoder = d->vocoder;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < vocoder->spec->vocoder.rate_count && st == TSR_OK; i++) {
        const struct block *block = &vocoder->block[i];
        st = conv_input_init(d->engine, (block->up.taps - 1) / block->up.stride, block->up.linear.rows, *rows, &d->products[i], err);
        *rows *= block->up.stride;
        for (int u = 0; u < UNITS && st == TSR_OK; u++) {
            st = conv_input_init(d->engine, history_of(&block->unit[u].conv1), block->up.out, *rows, &d->unit[i][u], err);
        }
    }
    return st;
}

/* Most floats that a stage's rows of one piece take. */
static uint64_t largest_rows(const struct vocoder_spec *spec, uint64_t *wide) {
    uint64_t rows = PIECE_FRAMES, most = rows * (spec->latent > spec->stack.width ? spec->latent : spec->stack.width);
    if (rows * spec->width > most) most = rows * spec->width;
    for (uint64_t i = 0; i < spec->ratio_count; i++) rows *= spec->ratios[i];
    *wide = rows * 4 * spec->latent > most ? rows * 4 * spec->latent : most;
    if (rows * spec->latent > most) most = rows * spec->latent;
    for (uint64_t i = 0; i <= spec->rate_count; i++) {
        if (rows * (spec->channels >> i) > most) most = rows * (spec->channels >> i);
        if (i < spec->rate_count) rows *= spec->rates[i];
    }
    return most;
}

static tsr_status init_states(struct decoder *d, tsr_error *err) {
    const struct vocoder *vocoder = d->vocoder;
    const struct vocoder_spec *spec = &vocoder->spec->vocoder;
    uint64_t rows = PIECE_FRAMES, wide, most = largest_rows(spec, &wide);
    tsr_status st = take_floats(d->engine, 2 * most + wide, 1, "a vocoder", &d->memory, err);
    if (st != TSR_OK) return st;
    d->a = d->memory;
    d->b = d->a + most;
    d->wide = d->b + most;
    st = conv_input_init(d->engine, history_of(&vocoder->pre_conv), spec->width, rows, &d->pre, err);
    if (st == TSR_OK) st = stack_state_init(d->engine, &vocoder->stack, 0, &d->stack, err);
    if (st == TSR_OK) st = init_upsampling(d, &rows, err);
    if (st == TSR_OK) st = conv_input_init(d->engine, history_of(&vocoder->first), spec->latent, rows, &d->first, err);
    if (st == TSR_OK) st = init_blocks(d, &rows, err);
    if (st == TSR_OK) st = conv_input_init(d->engine, history_of(&vocoder->last), vocoder->last.in, rows, &d->last, err);
    return st;
}

/* All inputs with a history, for clearing and for a new start. */
static void for_inputs(struct decoder *d, void (*act)(const struct engine *engine, struct conv_input *input)) {
    struct conv_input *single[] = {&d->pre, &d->first, &d->last};
    for (int i = 0; i < 3; i++) act(d->engine, single[i]);
    for (int i = 0; i < STAGES_MAX; i++) {
        act(d->engine, &d->depthwise[i]);
        act(d->engine, &d->products[i]);
        act(d->engine, &d->up_products[i]);
        for (int u = 0; u < UNITS; u++) act(d->engine, &d->unit[i][u]);
    }
}

static void reset_input(const struct engine *engine, struct conv_input *input) {
    (void)engine;
    if (input->rows) conv_input_reset(input);
}

void decoder_destroy(struct decoder *d) {
    if (!d) return;
    const tsr_host *host = d->engine->host;
    for_inputs(d, conv_input_clear);
    stack_state_clear(d->engine, &d->stack);
    host->free(host, d->memory);
    host->free(host, d->recent);
    host->free(host, d);
}

tsr_status decoder_create(const struct engine *engine, const struct vocoder *vocoder, uint64_t chunk, uint64_t context,
                          const tsr_speech_hooks *hooks, struct decoder **decoder, tsr_error *err) {
    float *recent = NULL;
    if (context > 65536) return tsr_fail(err, TSR_E_ARGUMENT, "a context of %llu frames", (unsigned long long)context);
    struct decoder *d = engine->host->alloc(engine->host, sizeof *d);
    if (!d) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a vocoder");
    memset(d, 0, sizeof *d);
    d->engine = engine;
    d->vocoder = vocoder;
    d->chunk = chunk;
    d->context = chunk ? context : 0;
    if (hooks) d->hooks = *hooks;
    tsr_status st = take_floats(engine, d->context, vocoder->spec->groups, "a vocoder's context", &recent, err);
    d->recent = (uint32_t *)recent;
    if (st == TSR_OK) st = init_states(d, err);
    if (st == TSR_OK) {
        *decoder = d;
    } else {
        decoder_destroy(d);
    }
    return st;
}

/* ---- steps ---- */

/* `per_frame`: rows a frame has at this stage. */
static tsr_status tell(const struct decoder *d, const char *name, uint64_t per_frame, const float *rows, uint64_t count,
                       uint64_t width, tsr_error *err) {
    return d->silent ? TSR_OK : report(&d->hooks, name, d->done * per_frame, rows, count, width, err);
}

struct snaking {
    const struct kernels *kernels;
    const struct snake *snake;
    const float *x;
    float *y;
    uint64_t rows, width;
};

static tsr_status snake_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct snaking *s = ctx;
    uint64_t end = (index + 1) * ROWS_A_TASK < s->rows ? (index + 1) * ROWS_A_TASK : s->rows;
    (void)worker;
    (void)err;
    for (uint64_t t = index * ROWS_A_TASK; t < end; t++) {
        s->kernels->snake(s->x + t * s->width, s->snake->frequency, s->snake->factor, s->y + t * s->width, s->width);
    }
    return TSR_OK;
}

static tsr_status run_snake(const struct decoder *d, const struct snake *snake, const float *x, float *y, uint64_t rows,
                            uint64_t width, tsr_error *err) {
    struct snaking s = {d->engine->kernels, snake, x, y, rows, width};
    return d->engine->host->parallel_for(d->engine->host, (rows + ROWS_A_TASK - 1) / ROWS_A_TASK, snake_task, &s, err);
}

/* Row `code` of a codebook: the stored sum over how often it was used. Added to `to`. */
static tsr_status add_code(const struct decoder *d, uint64_t group, uint32_t code, float *row, float *to, tsr_error *err) {
    const tsr_weights *table = d->engine->table;
    uint64_t width = d->vocoder->spec->vocoder.code_width;
    tsr_status st = table->read_rows(table->ctx, d->vocoder->codebook[group], code, 1, row, err);
    float usage = fmaxf(d->vocoder->usage[group][code], 1e-5f);
    for (uint64_t i = 0; st == TSR_OK && i < width; i++) to[i] += row[i] / usage;
    return st;
}

/* z [frames][width] into the first convolution's input. */
static tsr_status look_up(struct decoder *d, const uint32_t *codes, uint64_t frames, tsr_error *err) {
    const struct vocoder_spec *spec = &d->vocoder->spec->vocoder;
    uint64_t width = spec->code_width, groups = spec->groups;
    float *first = d->a, *rest = d->b, *row = d->wide, *z = conv_input_next(&d->pre);
    tsr_status st = TSR_OK;
    memset(first, 0, frames * width * sizeof *first);
    memset(rest, 0, frames * width * sizeof *rest);
    for (uint64_t i = 0; i < frames * groups && st == TSR_OK; i++) {
        uint64_t f = i / groups, g = i % groups;
        st = add_code(d, g, codes[i], row, (g ? rest : first) + f * width, err);
    }
    if (st == TSR_OK) st = run_linear(d->engine, &d->vocoder->first_out.linear, first, frames, false, z, err);
    if (st == TSR_OK) st = run_linear(d->engine, &d->vocoder->rest_out.linear, rest, frames, false, d->wide, err);
    for (uint64_t i = 0; st == TSR_OK && i < frames * spec->width; i++) z[i] += d->wide[i];
    return st == TSR_OK ? tell(d, "decoder.rvq", 1, z, frames, spec->width, err) : st;
}

/* a [frames][latent] = the transformer's output. */
static tsr_status run_transformer(struct decoder *d, uint64_t frames, tsr_error *err) {
    const struct vocoder *vocoder = d->vocoder;
    const struct vocoder_spec *spec = &vocoder->spec->vocoder;
    const struct stack_label label = {d->silent || !d->hooks.stage ? NULL : &d->hooks, "decoder.pre_transformer", false};
    tsr_status st = conv_stream(d->engine, &vocoder->pre_conv, &d->pre, frames, d->a, err);
    if (st == TSR_OK) st = tell(d, "decoder.pre_conv", 1, d->a, frames, spec->latent, err);
    if (st == TSR_OK) st = run_linear(d->engine, &vocoder->input, d->a, frames, false, d->b, err);
    if (st == TSR_OK) st = tell(d, "decoder.pre_transformer.input_proj", 1, d->b, frames, spec->stack.width, err);
    if (st == TSR_OK) st = stack_run(d->engine, &vocoder->stack, &d->stack, d->b, frames, false, &label, d->wide, err);
    if (st == TSR_OK) st = tell(d, "decoder.pre_transformer.norm", 1, d->wide, frames, spec->stack.width, err);
    if (st == TSR_OK) st = run_linear(d->engine, &vocoder->output, d->wide, frames, false, d->a, err);
    return st == TSR_OK ? tell(d, "decoder.pre_transformer.output_proj", 1, d->a, frames, spec->latent, err) : st;
}

static void run_depthwise(const struct upsample *up, const struct conv_input *input, uint64_t rows, float *y) {
    uint64_t width = input->width;
    for (uint64_t t = 0; t < rows; t++) {
        float *out = y + t * width;
        memcpy(out, up->depthwise_bias, width * sizeof *out);
        for (uint64_t tap = 0; tap <= input->history; tap++) {
            const float *x = input->rows + (t + tap) * width, *w = up->depthwise + tap * width;
            for (uint64_t c = 0; c < width; c++) out[c] += w[c] * x[c];
        }
    }
}

/* The sound in the depthwise input gets what ConvNeXt adds: into a [rows][latent]. */
static tsr_status run_convnext(struct decoder *d, const struct upsample *up, struct conv_input *input, uint64_t rows,
                               tsr_error *err) {
    uint64_t width = input->width;
    run_depthwise(up, input, rows, d->a);
    run_norm(&up->norm, CONVNEXT_EPS, d->a, d->a, rows, width);
    tsr_status st = run_linear(d->engine, &up->expand, d->a, rows, false, d->wide, err);
    for (uint64_t i = 0; st == TSR_OK && i < rows * up->expand.rows; i++) d->wide[i] = gelu(d->wide[i]);
    if (st == TSR_OK) st = run_linear(d->engine, &up->reduce, d->wide, rows, false, d->a, err);
    const float *x = conv_input_next(input);
    for (uint64_t i = 0; st == TSR_OK && i < rows * width; i++) d->a[i] = x[i] + up->gamma[i % width] * d->a[i];
    conv_input_advance(input, rows);
    return st;
}

static tsr_status run_upsampling(struct decoder *d, uint64_t *rows, uint64_t *per_frame, tsr_error *err) {
    const struct vocoder_spec *spec = &d->vocoder->spec->vocoder;
    tsr_status st = TSR_OK;
    for (unsigned i = 0; i < spec->ratio_count && st == TSR_OK; i++) {
        const struct upsample *up = &d->vocoder->upsample[i];
        float *x = conv_input_next(&d->depthwise[i]);
        char name[48];
        st = up_conv_stream(d->engine, &up->up, d->a, *rows, &d->up_products[i], x, err);
        *rows *= up->up.stride;
        *per_frame *= up->up.stride;
        (void)snprintf(name, sizeof name, "decoder.upsample%u.conv", i);
        if (st == TSR_OK) st = tell(d, name, *per_frame, x, *rows, spec->latent, err);
        if (st == TSR_OK) st = run_convnext(d, up, &d->depthwise[i], *rows, err);
        (void)snprintf(name, sizeof name, "decoder.upsample%u.block", i);
        if (st == TSR_OK) st = tell(d, name, *per_frame, d->a, *rows, spec->latent, err);
    }
    return st;
}

/* a += conv2(snake(conv1(snake(a)))). */
static tsr_status run_unit(struct decoder *d, const struct unit *unit, struct conv_input *input, uint64_t rows, tsr_error *err) {
    uint64_t width = input->width;
    float *inner = conv_input_next(input);
    tsr_status st = run_snake(d, &unit->act1, d->a, inner, rows, width, err);
    if (st == TSR_OK) st = conv_stream(d->engine, &unit->conv1, input, rows, d->b, err);
    if (st == TSR_OK) st = run_snake(d, &unit->act2, d->b, d->b, rows, width, err);
    /* The rows behind the history are free until the next piece. */
    if (st == TSR_OK) st = run_linear(d->engine, &unit->conv2.linear, d->b, rows, false, inner, err);
    for (uint64_t i = 0; st == TSR_OK && i < rows * width; i++) d->a[i] += inner[i];
    return st;
}

static tsr_status run_block(struct decoder *d, unsigned i, uint64_t *rows, uint64_t *per_frame, tsr_error *err) {
    const struct block *block = &d->vocoder->block[i];
    char name[48];
    tsr_status st = run_snake(d, &block->act, d->a, d->b, *rows, block->up.in, err);
    (void)snprintf(name, sizeof name, "decoder.decoder%u.snake", i + 1);
    if (st == TSR_OK) st = tell(d, name, *per_frame, d->b, *rows, block->up.in, err);
    if (st == TSR_OK) st = up_conv_stream(d->engine, &block->up, d->b, *rows, &d->products[i], d->a, err);
    *rows *= block->up.stride;
    *per_frame *= block->up.stride;
    (void)snprintf(name, sizeof name, "decoder.decoder%u.conv", i + 1);
    if (st == TSR_OK) st = tell(d, name, *per_frame, d->a, *rows, block->up.out, err);
    for (unsigned u = 0; u < UNITS && st == TSR_OK; u++) {
        st = run_unit(d, &block->unit[u], &d->unit[i][u], *rows, err);
        (void)snprintf(name, sizeof name, "decoder.decoder%u.unit%u", i + 1, u);
        if (st == TSR_OK) st = tell(d, name, *per_frame, d->a, *rows, block->up.out, err);
    }
    (void)snprintf(name, sizeof name, "decoder.decoder%u", i + 1);
    return st == TSR_OK ? tell(d, name, *per_frame, d->a, *rows, block->up.out, err) : st;
}

/* From a [rows][channels] to samples. */
static tsr_status run_last(struct decoder *d, uint64_t rows, uint64_t per_frame, float *samples, tsr_error *err) {
    const struct vocoder *vocoder = d->vocoder;
    unsigned blocks = (unsigned)vocoder->spec->vocoder.rate_count;
    float *x = conv_input_next(&d->last);
    char name[48];
    tsr_status st = run_snake(d, &vocoder->last_act, d->a, x, rows, vocoder->last.in, err);
    (void)snprintf(name, sizeof name, "decoder.decoder%u", blocks + 1);
    if (st == TSR_OK) st = tell(d, name, per_frame, x, rows, vocoder->last.in, err);
    if (st == TSR_OK) st = conv_stream(d->engine, &vocoder->last, &d->last, rows, samples, err);
    (void)snprintf(name, sizeof name, "decoder.decoder%u", blocks + 2);
    if (st == TSR_OK) st = tell(d, name, per_frame, samples, rows, 1, err);
    for (uint64_t i = 0; st == TSR_OK && i < rows; i++) samples[i] = fminf(fmaxf(samples[i], -1), 1);
    return st;
}

/* At most PIECE_FRAMES frames. */
static tsr_status run_piece(struct decoder *d, const uint32_t *codes, uint64_t frames, float *samples, tsr_error *err) {
    const struct vocoder *vocoder = d->vocoder;
    uint64_t rows = frames, per_frame = 1;
    tsr_status st = look_up(d, codes, frames, err);
    if (st == TSR_OK) st = run_transformer(d, frames, err);
    if (st == TSR_OK) st = run_upsampling(d, &rows, &per_frame, err);
    if (st != TSR_OK) return st;
    memcpy(conv_input_next(&d->first), d->a, rows * vocoder->first.in * sizeof *d->a);
    st = conv_stream(d->engine, &vocoder->first, &d->first, rows, d->a, err);
    if (st == TSR_OK) st = tell(d, "decoder.decoder0", per_frame, d->a, rows, vocoder->first.out, err);
    for (unsigned i = 0; i < vocoder->spec->vocoder.rate_count && st == TSR_OK; i++) st = run_block(d, i, &rows, &per_frame, err);
    return st == TSR_OK ? run_last(d, rows, per_frame, samples, err) : st;
}

/* ---- pieces and chunks ---- */

static void remember(struct decoder *d, const uint32_t *codes, uint64_t frames) {
    uint64_t groups = d->vocoder->spec->groups;
    for (uint64_t f = 0; f < frames && d->context; f++) {
        if (d->recent_count == d->context) {
            memmove(d->recent, d->recent + groups, (d->context - 1) * groups * sizeof *d->recent);
            d->recent_count--;
        }
        memcpy(d->recent + d->recent_count++ * groups, codes + f * groups, groups * sizeof *codes);
    }
}

/* Starts anew behind the last frames, whose samples go nowhere. */
static tsr_status start_chunk(struct decoder *d, tsr_error *err) {
    const struct spec *spec = d->vocoder->spec;
    float *dropped = NULL;
    tsr_status st = take_floats(d->engine, PIECE_FRAMES, spec->samples_per_frame, "a vocoder's context", &dropped, err);
    for_inputs(d, reset_input);
    d->stack.length = 0;
    d->in_chunk = 0;
    d->silent = true;
    for (uint64_t f = 0; f < d->recent_count && st == TSR_OK; f += PIECE_FRAMES) {
        uint64_t count = d->recent_count - f < PIECE_FRAMES ? d->recent_count - f : PIECE_FRAMES;
        st = run_piece(d, d->recent + f * spec->groups, count, dropped, err);
    }
    d->silent = false;
    d->engine->host->free(d->engine->host, dropped);
    return st;
}

tsr_status decoder_push(struct decoder *d, const uint32_t *codes, uint64_t frames, float *samples, tsr_error *err) {
    const struct spec *spec = d->vocoder->spec;
    tsr_status st = TSR_OK;
    while (frames && st == TSR_OK) {
        uint64_t count = frames < PIECE_FRAMES ? frames : PIECE_FRAMES;
        if (d->chunk && d->in_chunk == d->chunk) st = start_chunk(d, err);
        if (d->chunk && count > d->chunk - d->in_chunk) count = d->chunk - d->in_chunk;
        if (st == TSR_OK) st = run_piece(d, codes, count, samples, err);
        remember(d, codes, count);
        d->in_chunk += count;
        d->done += count;
        codes += count * spec->groups;
        samples += count * spec->samples_per_frame;
        frames -= count;
    }
    return st;
}
