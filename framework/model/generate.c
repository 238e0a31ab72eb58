/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop of generation. Invariant between answers: `length` tokens are in the cache; the last token of an answer was
 * chosen but not run, so it waits in `pending` and goes in front of the next prompt. An end token is not of the text: whoever
 * goes on writes down how a turn ends. */
#include "generate.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define U64(x) ((unsigned long long)(x))

void answer_clear(struct answer *answer) {
    token_ids_clear(&answer->tokens);
    str_clear(&answer->text);
    *answer = (struct answer){0};
}

static double now_seconds(void) {
    struct timespec time;
    return clock_gettime(CLOCK_MONOTONIC, &time) ? 0 : (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static tsr_status add_token(struct token_ids *ids, uint32_t token, tsr_error *err) {
    if (ids->count == ids->capacity) {
        uint64_t bigger = ids->capacity ? 2 * ids->capacity : 64;
        uint32_t *grown = mem_resize(ids->ids, bigger, sizeof *grown);
        if (!grown) return tsr_fail(err, TSR_E_NOMEM, "out of memory for tokens");
        ids->ids = grown;
        ids->capacity = bigger;
    }
    ids->ids[ids->count++] = token;
    return TSR_OK;
}

/* ---- stop texts ---- */

/* Offset of the stop text that ends first, of several the longest; `length` when there is none. Whoever sees the text
 * piece by piece sees that one first too. */
static size_t find_stop(const struct stop_filter *filter, const char *text, size_t length) {
    size_t found = length, first_end = SIZE_MAX;
    for (uint64_t s = 0; s < filter->stop_count; s++) {
        size_t size = strlen(filter->stops[s]);
        for (size_t at = 0; at + size <= length && at + size <= first_end; at++) {
            if (memcmp(text + at, filter->stops[s], size)) continue;
            if (at + size < first_end || at < found) found = at;
            first_end = at + size;
        }
    }
    return found;
}

/* Longest end of `text` that begins a stop text. */
static size_t count_held(const struct stop_filter *filter, const char *text, size_t length) {
    size_t held = 0;
    for (uint64_t s = 0; s < filter->stop_count; s++) {
        size_t size = strlen(filter->stops[s]);
        for (size_t tail = size && size - 1 < length ? size - 1 : length; tail > held; tail--) {
            if (tail < size && !memcmp(text + length - tail, filter->stops[s], tail)) held = tail;
        }
    }
    return held;
}

tsr_status stop_filter_add(struct stop_filter *filter, const char *text, size_t length, struct str *out, tsr_error *err) {
    if (filter->stopped) return TSR_OK;
    struct str *held = &filter->held;
    str_add(held, text, length);
    if (held->failed) return tsr_fail(err, TSR_E_NOMEM, "out of memory for text");
    size_t final = find_stop(filter, held->text, held->length);
    filter->stopped = final < held->length;
    if (!filter->stopped) final = held->length - count_held(filter, held->text, held->length);
    str_add(out, held->text, final);
    if (out->failed) return tsr_fail(err, TSR_E_NOMEM, "out of memory for text");
    memmove(held->text, held->text + final, held->length - final);
    str_truncate(held, held->length - final);
    return TSR_OK;
}

tsr_status stop_filter_end(struct stop_filter *filter, struct str *out, tsr_error *err) {
    if (!filter->stopped) str_add(out, filter->held.text, filter->held.length);
    str_truncate(&filter->held, 0);
    return out->failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for text") : TSR_OK;
}

/* ---- the generator ---- */

tsr_status generator_open(struct generator *generator, struct open_model *model, const struct tokenizer *tokenizer,
                          const struct generate_options *options, uint64_t capacity, tsr_error *err) {
    uint64_t vocabulary = model->info.vocabulary;
    *generator =
        (struct generator){.model = model, .tokenizer = tokenizer, .options = options, .capacity = capacity};
    if (tokenizer_size(tokenizer) > vocabulary) {
        return tsr_fail(err, TSR_E_INPUT, "%s: the tokenizer has ids up to %u, the embedding %llu rows", model->root,
                        tokenizer_size(tokenizer) - 1, U64(vocabulary));
    }
    for (uint64_t i = 0; i < options->stop_count; i++) {
        if (!*options->stops[i]) return tsr_fail(err, TSR_E_CONFIG, "a stop text is empty");
    }
    generator->logits = mem_alloc_array(vocabulary, sizeof *generator->logits);
    if (!generator->logits) return tsr_fail(err, TSR_E_NOMEM, "out of memory for logits");
    tsr_status st = sampler_init(&generator->sampler, &options->sampling, vocabulary, err);
    if (st == TSR_OK) st = model->plugin->sequence_create(model->self, capacity, &generator->sequence, err);
    return st;
}

void generator_close(struct generator *generator) {
    struct open_model *model = generator->model;
    if (generator->sequence) model->plugin->sequence_destroy(model->self, generator->sequence);
    sampler_clear(&generator->sampler);
    token_ids_clear(&generator->pending);
    mem_free(generator->logits);
    *generator = (struct generator){0};
}

tsr_status generator_reset(struct generator *generator, tsr_error *err) {
    struct open_model *model = generator->model;
    model->plugin->sequence_destroy(model->self, generator->sequence);
    generator->sequence = NULL;
    generator->length = 0;
    generator->pending.count = 0;
    sampler_forget(&generator->sampler);
    return model->plugin->sequence_create(model->self, generator->capacity, &generator->sequence, err);
}

bool generator_used(const struct generator *generator) {
    return generator->length || generator->pending.count;
}

/* Runs what is pending. */
static tsr_status run_pending(struct generator *generator, tsr_error *err) {
    struct token_ids *pending = &generator->pending;
    const tsr_model *plugin = generator->model->plugin;
    tsr_status st = plugin->forward(generator->model->self, generator->sequence, pending->ids, pending->count, NULL,
                                    generator->logits, err);
    generator->length += pending->count;
    pending->count = 0;
    return st;
}

static tsr_status take_prompt(struct generator *generator, const uint32_t *prompt, uint64_t count, struct answer *answer,
                              tsr_error *err) {
    uint64_t total = generator->pending.count + count, room = generator->capacity - generator->length;
    tsr_status st = TSR_OK;
    if (!count) return tsr_fail(err, TSR_E_INPUT, "the prompt is empty and the model has no token that begins a text");
    if (total > room) {
        return tsr_fail(err, TSR_E_LIMIT, "the prompt has %llu tokens, %llu fit the context of %llu%s", U64(count),
                        U64(room - generator->pending.count), U64(generator->capacity),
                        generator->length ? " that is in use" : "");
    }
    double begin = now_seconds();
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        sampler_see(&generator->sampler, prompt[i]);
        st = add_token(&generator->pending, prompt[i], err);
    }
    if (st == TSR_OK) st = run_pending(generator, err);
    answer->prompt_tokens = total;
    answer->prompt_seconds = now_seconds() - begin;
    return st;
}

static bool is_end(const struct generate_options *options, uint32_t token) {
    for (uint64_t i = 0; i < options->end_count; i++) {
        if (options->ends[i] == token) return true;
    }
    return false;
}

/* Text on its way from tokens to the sink. */
struct outlet {
    struct token_stream *stream;
    struct stop_filter filter;
    struct str piece; /* of the token at hand, then what may go out */
    generate_sink sink;
    void *ctx;
    struct answer *answer;
};

/* Sends what the stop filter lets through of `piece`, at the end of the text all of it. */
static tsr_status send(struct outlet *outlet, bool end, tsr_error *err) {
    struct str *text = &outlet->answer->text;
    size_t before = text->length;
    tsr_status st = TSR_OK;
    if (outlet->piece.failed) return tsr_fail(err, TSR_E_NOMEM, "out of memory for text");
    if (outlet->piece.length) {
        st = stop_filter_add(&outlet->filter, outlet->piece.text, outlet->piece.length, text, err);
    }
    if (st == TSR_OK && end) st = stop_filter_end(&outlet->filter, text, err);
    str_truncate(&outlet->piece, 0);
    if (st == TSR_OK && outlet->sink && text->length > before) {
        st = outlet->sink(outlet->ctx, text->text + before, text->length - before, err);
    }
    return st;
}

/* The text is over: what was held goes out. */
static tsr_status end_text(struct outlet *outlet, tsr_error *err) {
    tsr_status st = token_stream_end(outlet->stream, &outlet->piece, err);
    return st == TSR_OK ? send(outlet, true, err) : st;
}

/* Before min_tokens no end token can be chosen. */
static void ban_ends(struct generator *generator, const struct answer *answer) {
    const struct generate_options *options = generator->options;
    for (uint64_t i = 0; answer->tokens.count < options->min_tokens && i < options->end_count; i++) {
        generator->logits[options->ends[i]] = -INFINITY;
    }
}

/* One token: chosen, told, and run if another one may follow. `more` is cleared at the end of the answer. */
static tsr_status step(struct generator *generator, struct outlet *outlet, bool *more, tsr_error *err) {
    struct answer *answer = outlet->answer;
    uint32_t token = 0;
    ban_ends(generator, answer);
    tsr_status st = sampler_next(&generator->sampler, generator->logits, &token, err);
    if (st != TSR_OK) return st;
    *more = false;
    answer->end = GENERATE_END_TOKEN;
    if (is_end(generator->options, token)) return TSR_OK;
    sampler_see(&generator->sampler, token);
    st = add_token(&generator->pending, token, err);
    if (st == TSR_OK) st = add_token(&answer->tokens, token, err);
    /* An embedding may have more rows than the tokenizer has ids: such a token has no text. */
    if (st == TSR_OK && tokenizer_token(generator->tokenizer, token, NULL)) {
        st = token_stream_step(outlet->stream, token, &outlet->piece, err);
    }
    if (st == TSR_OK) st = send(outlet, false, err);
    if (st != TSR_OK) return st;
    answer->end = outlet->filter.stopped ? GENERATE_STOP_TEXT : GENERATE_LENGTH;
    if (outlet->filter.stopped || answer->tokens.count == generator->options->max_tokens) return TSR_OK;
    answer->end = GENERATE_CONTEXT;
    if (generator->length == generator->capacity) return TSR_OK;
    *more = true;
    return run_pending(generator, err);
}

tsr_status generator_answer(struct generator *generator, const uint32_t *prompt, uint64_t count, generate_sink sink,
                            void *ctx, struct answer *answer, tsr_error *err) {
    struct outlet outlet = {.sink = sink, .ctx = ctx, .answer = answer};
    bool more = generator->options->max_tokens > 0;
    outlet.filter = (struct stop_filter){.stops = generator->options->stops, .stop_count = generator->options->stop_count};
    answer->end = GENERATE_LENGTH;
    outlet.stream = token_stream_create(generator->tokenizer, true);
    tsr_status st = outlet.stream ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for text");
    if (st == TSR_OK) st = take_prompt(generator, prompt, count, answer, err);
    double begin = now_seconds();
    while (more && st == TSR_OK) st = step(generator, &outlet, &more, err);
    answer->seconds = now_seconds() - begin;
    if (st == TSR_OK || st == TSR_E_CANCELLED) {
        tsr_status ended = end_text(&outlet, st == TSR_OK ? err : NULL);
        if (st == TSR_OK) st = ended;
    }
    token_stream_destroy(outlet.stream);
    str_clear(&outlet.filter.held);
    str_clear(&outlet.piece);
    return st;
}
