/* SPDX-License-Identifier: Apache-2.0
 *
 * run: opens model and tokenizer, makes tokens of prompts, and has the generator answer them. */
#include "job_run.h"

#include "members.h"
#include "meter.h"
#include "model_text.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <string.h>

#define CONFIG_BYTES_MAX ((uint64_t)16 << 20)

struct running {
    const struct job_run_options *options;
    const struct env *env;
    const struct job_run_io *io;
    struct open_model model;
    struct tokenizer *tokenizer;
    struct model_text text;
    struct generate_options generate;
    struct generator generator;
    struct answer answer; /* the last one */
    tsr_error *err;
};

/* ---- prompts ---- */

/* The prompt as it stands, behind what the tokenizer puts in front of a text. An empty one is the beginning of a text. */
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
    tsr_status st = generator_answer(&run->generator, ids->ids, ids->count, run->io->text, run->io->ctx, &run->answer,
                                     run->err);
    if (st != TSR_OK) return st;
    env_log(run->env, TSR_LOG_INFO, "prompt: %llu tokens, %.1f tokens/s; answer: %llu tokens, %.1f tokens/s",
            (unsigned long long)run->answer.prompt_tokens, rate(run->answer.prompt_tokens, run->answer.prompt_seconds),
            (unsigned long long)run->answer.tokens.count, rate(run->answer.tokens.count, run->answer.seconds));
    return run->io->answered ? run->io->answered(run->io->ctx, run->err) : TSR_OK;
}

/* Tokens that the cache must hold. */
static tsr_status open_generator(struct running *run, uint64_t tokens) {
    uint64_t context = run->model.info.context, capacity;
    if (!checked_add(tokens, run->options->max_tokens, &capacity)) capacity = UINT64_MAX;
    if (context) capacity = min_u64(capacity, context);
    return generator_open(&run->generator, &run->model, run->tokenizer, &run->generate, capacity, run->err);
}

/* True when the folder says how conversations are written down. */
static bool has_chat_template(const struct open_model *model) {
    char *file = fs_join(model->root, "chat_template.jinja"), *config = fs_join(model->root, "tokenizer_config.json");
    char *text = NULL;
    uint64_t size = 0;
    bool found = file && fs_kind_of(file) == FS_FILE;
    if (!found && config && fs_read_whole(config, CONFIG_BYTES_MAX, &text, &size, NULL) == TSR_OK) {
        found = strstr(text, "\"chat_template\"") != NULL;
    }
    mem_free(text);
    mem_free(config);
    mem_free(file);
    return found;
}

/* A template is rendered or said to be unknown, never guessed; this version renders none. */
static tsr_status check_template(const struct running *run) {
    if (run->options->raw || !has_chat_template(&run->model)) return TSR_OK;
    return tsr_fail(run->err, TSR_E_UNSUPPORTED, "%s: has a chat template, which this version does not render; --raw continues "
                    "the prompt as it stands", run->model.root);
}

static tsr_status run_prompt(struct running *run) {
    struct token_ids ids = {0};
    tsr_status st = check_template(run);
    if (st == TSR_OK) st = encode_raw(run, run->options->prompt, &ids);
    if (st == TSR_OK) st = open_generator(run, ids.count);
    if (st == TSR_OK) st = answer(run, &ids);
    token_ids_clear(&ids);
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
    return members_finish(&whole, result, run->err);
}

static tsr_status open_model_and_tokenizer(struct running *run, const struct registry *registry,
                                           const struct job_paths *paths) {
    const struct model_paths model_paths = {.family_folders = paths->family_folders,
                                            .family_folder_count = paths->family_folder_count,
                                            .decoded_bytes = run->env->memory_bytes};
    tsr_status st = model_open(run->options->model, registry, &model_paths, run->env, &run->model, run->err);
    if (st == TSR_OK) st = tokenizer_open(run->model.root, &run->tokenizer, run->err);
    if (st == TSR_OK) st = model_text_read(&run->model, &run->text, run->err);
    run->generate = (struct generate_options){.sampling = run->options->sampling,
                                              .max_tokens = run->options->max_tokens,
                                              .stops = run->options->stops,
                                              .stop_count = run->options->stop_count,
                                              .ends = run->text.ends,
                                              .end_count = run->text.end_count};
    return st;
}

tsr_status job_run(const struct job_run_options *options, const struct registry *registry, const struct job_paths *paths,
                   const struct env *env, const struct job_run_io *io, json_t **result, tsr_error *err) {
    struct running run = {.options = options, .env = env, .io = io, .err = err};
    tsr_status st = open_model_and_tokenizer(&run, registry, paths);
    if (st == TSR_OK) st = run_prompt(&run);
    if (st == TSR_OK) st = make_result(&run, result);
    answer_clear(&run.answer);
    if (run.generator.model) generator_close(&run.generator);
    tokenizer_close(run.tokenizer);
    model_close(&run.model);
    return st;
}
