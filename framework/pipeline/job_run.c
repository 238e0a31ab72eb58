/* SPDX-License-Identifier: Apache-2.0
 *
 * run: opens model and tokenizer, makes tokens of prompts, and has the generator answer them. */
#include "job_run.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <model/conversation.h>
#include <model/model_text.h>
#include <reading/members.h>
#include <string.h>
#include <time.h>

#define CHAT_CONTEXT 4096

struct running {
    const struct job_run_options *options;
    const struct env *env;
    const struct job_run_io *io;
    struct open_model model;
    struct tokenizer *tokenizer;
    struct model_text text;
    struct model_chat chat;
    struct generate_options generate;
    struct generator generator;
    struct conversation conversation;
    struct answer answer; /* the last one */
    char date[32], long_date[64];
    tsr_error *err;
};

/* ---- prompts ---- */

/* The prompt as it stands, behind what the tokenizer puts in front of a text. An empty one is the beginning of a text.
 */
static tsr_status encode_raw(struct running *run, const char *prompt, struct token_ids *ids) {
    tsr_status st = tokenizer_encode(run->tokenizer, prompt, strlen(prompt), true, ids, run->err);
    if (st != TSR_OK || ids->count || !run->text.has_begin) return st;
    ids->ids = mem_alloc(sizeof *ids->ids);
    if (!ids->ids) return tsr_fail(run->err, TSR_E_NOMEM, "out of memory for tokens");
    ids->ids[0] = run->text.begin;
    ids->count = ids->capacity = 1;
    return TSR_OK;
}

/* ---- answers ---- */

static double rate(uint64_t count, double seconds) {
    return seconds > 0 ? (double)count / seconds : 0;
}

static tsr_status answer(struct running *run, const struct token_ids *ids) {
    answer_clear(&run->answer);
    return generator_answer(&run->generator, ids->ids, ids->count, run->io->text, run->io->ctx, &run->answer, run->err);
}

/* Tells of an answer that ended with `st`; one that was interrupted ends like any other for who reads it. */
static tsr_status answered(struct running *run, tsr_status st) {
    if (st == TSR_E_CANCELLED && run->io->answered) (void)run->io->answered(run->io->ctx, NULL);
    if (st != TSR_OK) return st;
    env_log(run->env, TSR_LOG_INFO, "prompt: %llu tokens, %.1f tokens/s; answer: %llu tokens, %.1f tokens/s",
            (unsigned long long)run->answer.prompt_tokens, rate(run->answer.prompt_tokens, run->answer.prompt_seconds),
            (unsigned long long)run->answer.tokens.count, rate(run->answer.tokens.count, run->answer.seconds));
    return run->io->answered ? run->io->answered(run->io->ctx, run->err) : TSR_OK;
}

/* With a prompt of `tokens`: what the cache must hold. */
static tsr_status open_generator(struct running *run, uint64_t tokens) {
    uint64_t context = run->model.info.context, capacity;
    if (!checked_add(tokens, run->options->max_tokens, &capacity)) capacity = UINT64_MAX;
    if (run->options->chat) capacity = CHAT_CONTEXT;
    if (run->options->context) capacity = run->options->context;
    if (context) capacity = min_u64(capacity, context);
    return generator_open(&run->generator, &run->model, run->tokenizer, &run->generate, capacity, run->err);
}

static tsr_status run_raw(struct running *run) {
    struct token_ids ids = {0};
    tsr_status st = encode_raw(run, run->options->prompt, &ids);
    if (st == TSR_OK) st = open_generator(run, ids.count);
    if (st == TSR_OK) st = answered(run, answer(run, &ids));
    token_ids_clear(&ids);
    return st;
}

/* ---- conversations ---- */

static void tell_date(struct running *run) {
    time_t now = time(NULL);
    struct tm today;
    if (!localtime_r(&now, &today)) return;
    (void)strftime(run->date, sizeof run->date, "%d %b %Y", &today);
    (void)strftime(run->long_date, sizeof run->long_date, "%B %d, %Y", &today);
}

static tsr_status say(struct running *run, const char *message) {
    struct conversation *conversation = &run->conversation;
    tsr_status st = conversation_ask(conversation, message, run->err);
    if (st != TSR_OK) return st;
    if (!run->generator.model) st = open_generator(run, conversation->ids.count);
    if (st != TSR_OK) return st;
    answer_clear(&run->answer);
    st = conversation_answer(conversation, &run->generator, run->io->text, run->io->ctx, &run->answer, run->err);
    return answered(run, st);
}

/* Message after message. What cannot be answered ends it, unless the one who asks goes on. */
static tsr_status chat(struct running *run) {
    struct str message = {0};
    enum job_run_wish wish = JOB_RUN_MESSAGE;
    tsr_status st = TSR_OK;
    if (run->options->prompt) str_add_text(&message, run->options->prompt);
    while (st == TSR_OK) {
        if (!message.length) st = run->io->ask(run->io->ctx, &message, &wish, run->err);
        if (st == TSR_OK && message.failed) st = tsr_fail(run->err, TSR_E_NOMEM, "out of memory for a message");
        if (st != TSR_OK || wish == JOB_RUN_END) break;
        if (wish == JOB_RUN_RESET) {
            conversation_reset(&run->conversation);
        } else if (message.length) {
            st = say(run, message.text);
            if (st != TSR_OK && run->io->failed(run->io->ctx, st, run->err)) st = TSR_OK;
        }
        str_truncate(&message, 0);
    }
    str_clear(&message);
    return st;
}

static tsr_status run_conversation(struct running *run) {
    const struct job_run_options *options = run->options;
    tell_date(run);
    run->conversation = (struct conversation){.tokenizer = run->tokenizer,
                                              .chat = &run->chat,
                                              .system = options->system,
                                              .date = run->date,
                                              .long_date = run->long_date};
    if (options->chat) {
        /* Before the first message: what fails here ends the chat, whoever asks. */
        tsr_status st = open_generator(run, 0);
        return st == TSR_OK ? chat(run) : st;
    }
    if (!*options->prompt) return tsr_fail(run->err, TSR_E_INPUT, "the prompt is empty, expected a message");
    return say(run, options->prompt);
}

/* The token that ends a turn ends an answer, whatever the model's configs say. */
static void add_turn_end(struct running *run) {
    const char *after = run->chat.style.format->assistant.after;
    const char *text = *after == CHAT_EOS[0] ? run->chat.eos : after;
    size_t length = text ? strcspn(text, "\n ") : 0;
    uint32_t id = 0;
    if (!length || run->text.end_count == MODEL_ENDS_MAX) return;
    if (!tokenizer_find(run->tokenizer, text, length, &id) || id >= run->model.info.vocabulary) return;
    if (tokenizer_is_special(run->tokenizer, id)) run->text.ends[run->text.end_count++] = id;
}

/* A template is rendered or said to be unknown, never guessed. */
static tsr_status read_chat(struct running *run) {
    const struct job_run_options *options = run->options;
    if (options->raw) return TSR_OK;
    tsr_status st = model_chat_read(run->model.root, &run->chat, run->err);
    if (st == TSR_E_UNSUPPORTED && !options->chat && run->err) {
        tsr_error found = *run->err;
        return tsr_fail(run->err, st, "%s; --raw continues the prompt as it stands", found.message);
    }
    if (st == TSR_OK && !run->chat.has_template && (options->chat || options->system)) {
        return tsr_fail(run->err, TSR_E_UNSUPPORTED, "%s: has no chat template, which %s needs", run->model.root,
                        options->chat ? "--chat" : "--system");
    }
    if (st == TSR_OK && run->chat.has_template) add_turn_end(run);
    return st;
}

/* ---- result ---- */

static tsr_status make_result(struct running *run, json_t **result) {
    static const char *const ends[] = {"length", "end", "stop", "context"};
    const struct answer *last = &run->answer;
    struct members whole = members_object(), tokens = members_list();
    for (uint64_t i = 0; i < last->tokens.count; i++) members_add(&tokens, json_integer(last->tokens.ids[i]));
    members_text(&whole, "model", run->options->model);
    members_count(&whole, "prompt_tokens", last->prompt_tokens);
    members_nest(&whole, "tokens", &tokens);
    members_text(&whole, "text", last->text.text ? last->text.text : "");
    members_text(&whole, "end", ends[last->end]);
    members_real(&whole, "prompt_tokens_per_second", rate(last->prompt_tokens, last->prompt_seconds));
    members_real(&whole, "tokens_per_second", rate(last->tokens.count, last->seconds));
    members_count(&whole, "peak_decoded_bytes", model_weights_peak(run->model.weights));
    members_count(&whole, "packed_bytes", model_weights_packed(run->model.weights));
    members_text(&whole, "path", model_weights_path(run->model.weights));
    return members_finish(&whole, result, run->err);
}

static tsr_status open_model_and_tokenizer(struct running *run, const struct registry *registry,
                                           const struct job_paths *paths) {
    const struct model_paths model_paths = {.family_folders = paths->family_folders,
                                            .family_folder_count = paths->family_folder_count,
                                            .decoded_bytes = run->env->memory_bytes};
    tsr_status st = model_open(run->options->model, registry, &model_paths, run->env, &run->model, run->err);
    if (st == TSR_OK) model_weights_choose(run->model.weights, run->options->path);
    if (st == TSR_OK) st = tokenizer_open(run->model.root, &run->tokenizer, run->err);
    if (st == TSR_OK) st = model_text_read(&run->model, &run->text, run->err);
    if (st == TSR_OK) st = read_chat(run);
    run->generate = (struct generate_options){.sampling = run->options->sampling,
                                              .max_tokens = run->options->max_tokens,
                                              .min_tokens = run->options->min_tokens,
                                              .stops = run->options->stops,
                                              .stop_count = run->options->stop_count,
                                              .ends = run->text.ends,
                                              .end_count = run->text.end_count};
    return st;
}

tsr_status job_run(const struct job_run_options *options, const struct registry *registry,
                   const struct job_paths *paths, const struct env *env, const struct job_run_io *io, json_t **result,
                   tsr_error *err) {
    struct running run = {.options = options, .env = env, .io = io, .err = err};
    tsr_status st = open_model_and_tokenizer(&run, registry, paths);
    if (st == TSR_OK) st = run.chat.has_template ? run_conversation(&run) : run_raw(&run);
    if (st == TSR_OK) st = make_result(&run, result);
    answer_clear(&run.answer);
    conversation_close(&run.conversation);
    model_chat_clear(&run.chat);
    if (run.generator.model) generator_close(&run.generator);
    tokenizer_close(run.tokenizer);
    model_close(&run.model);
    return st;
}
