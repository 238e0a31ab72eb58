/* SPDX-License-Identifier: Apache-2.0
 *
 * Greedy continuation of prompts by two models. */
#include "rollout.h"

#include <base/alloc.h>
#include <model/sample.h>

static tsr_status check_length(const struct open_model *model, const struct token_run *prompt, uint64_t tokens,
                               tsr_error *err) {
    uint64_t context = model->info.context;
    if (!prompt->count) return tsr_fail(err, TSR_E_INPUT, "a prompt is empty");
    if (context && prompt->count + tokens > context) {
        return tsr_fail(err, TSR_E_LIMIT, "a prompt of %llu tokens and %llu more exceed the context of %llu",
                        (unsigned long long)prompt->count, (unsigned long long)tokens, (unsigned long long)context);
    }
    return TSR_OK;
}

tsr_status rollout_continue(struct open_model *model, const struct token_run *prompt, uint64_t tokens, uint32_t *out,
                            tsr_error *err) {
    const tsr_model *plugin = model->plugin;
    void *sequence = NULL;
    float *logits = NULL;
    tsr_status st = check_length(model, prompt, tokens, err);
    if (st != TSR_OK) return st;
    logits = mem_alloc_array(model->info.vocabulary, sizeof *logits);
    if (!logits) return tsr_fail(err, TSR_E_NOMEM, "out of memory for logits");
    st = plugin->sequence_create(model->self, prompt->count + tokens, &sequence, err);
    if (st == TSR_OK) st = plugin->forward(model->self, sequence, prompt->tokens, prompt->count, NULL, logits, err);
    for (uint64_t i = 0; i < tokens && st == TSR_OK; i++) {
        uint64_t best = sample_best(logits, model->info.vocabulary);
        if (best == model->info.vocabulary) st = tsr_fail(err, TSR_E_INPUT, "the model's logits are not numbers");
        out[i] = (uint32_t)best;
        if (st == TSR_OK && i + 1 < tokens) st = plugin->forward(model->self, sequence, &out[i], 1, NULL, logits, err);
    }
    if (sequence) plugin->sequence_destroy(model->self, sequence);
    mem_free(logits);
    return st;
}

static void compare(struct rollout_result *result, uint64_t prompt, const uint32_t *reference, const uint32_t *other,
                    uint64_t tokens) {
    uint64_t same = 0;
    while (same < tokens && reference[same] == other[same]) same++;
    result->tokens += tokens;
    result->matched += same;
    result->equal_prompts += same == tokens;
    if (same == tokens || result->first_prompt != result->prompts) return;
    result->first_prompt = prompt;
    result->first_position = same;
    result->reference_token = reference[same];
    result->other_token = other[same];
}

tsr_status rollout_run(struct open_model *reference, struct open_model *other, const struct token_run *prompts,
                       uint64_t prompt_count, uint64_t tokens, struct rollout_result *result, tsr_error *err) {
    *result = (struct rollout_result){.prompts = prompt_count, .first_prompt = prompt_count};
    uint32_t *generated = mem_alloc_array(2 * tokens, sizeof *generated);
    tsr_status st = generated ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for tokens");
    for (uint64_t i = 0; i < prompt_count && st == TSR_OK; i++) {
        st = rollout_continue(reference, &prompts[i], tokens, generated, err);
        if (st == TSR_OK) st = rollout_continue(other, &prompts[i], tokens, generated + tokens, err);
        if (st == TSR_OK) compare(result, i, generated, generated + tokens, tokens);
    }
    mem_free(generated);
    return st;
}
