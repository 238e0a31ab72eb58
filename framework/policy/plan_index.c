/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tensors get a search index, by whose rule. Duplicates share a storage, so one index serves all of them: that of the
 * first one whose rule asks for it. */
#include "plan_parts.h"

#include <base/error.h>
#include <plugin/coder.h>
#include <tessera/ext/signature.h>

static tsr_status ask_codec(const struct planner *planner, struct plan_entry *entry, const struct coder_job *job,
                            tsr_error *err) {
    const tsr_signature *signature = job->codec->get_extension ? job->codec->get_extension(TSR_SIGNATURE_ID) : NULL;
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = job->host,
                                   .tensor = job->tensor,
                                   .params = job->params,
                                   .stride = 1,
                                   .role = job->role};
    if (!signature) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: a signature without %s", job->codec->name,
                        TSR_SIGNATURE_ID);
    }
    tsr_status st = coder_accepts(job, err);
    if (st == TSR_OK && planner->options->predict && TSR_HAS(signature, tsr_signature, index_bytes)) {
        entry->index_bytes = signature->index_bytes(&setup);
    }
    return st;
}

static tsr_status apply_index(const struct planner *planner, struct plan_entry *entry, const struct config_rule *rule,
                              tsr_error *err) {
    const struct safetensors_entry *source = entry->source->entry;
    struct plan_stage *stage = arena_alloc(&planner->plan->arena, 1, sizeof *stage);
    struct host_services services;
    tsr_error reason = {0};
    host_services_init(&services, planner->env);
    if (!stage) return plan_no_memory(err);
    *stage = (struct plan_stage){rule->index->codec, rule->index->plugin, rule->index->params};
    const tsr_tensor tensor = {.struct_size = sizeof tensor,
                               .name = source->name,
                               .shape = source->shape,
                               .rank = source->rank,
                               .rows = entry->rows,
                               .columns = entry->columns,
                               .bytes = source->bytes,
                               .dtype = source->dtype,
                               .regime = entry->regime};
    const struct coder_job job = {.env = planner->env,
                                  .host = &services.host,
                                  .codec = stage->codec,
                                  .params = stage->params.values,
                                  .role = entry->role.role,
                                  .tensor = &tensor};
    tsr_status st = ask_codec(planner, entry, &job, &reason);
    entry->index = stage;
    if (st == TSR_E_CONFIG || st == TSR_E_UNSUPPORTED) {
        return config_rule_fail(err, planner->config, rule, "tensor \"%s\" cannot be indexed: %s", entry->source->name,
                                reason.message);
    }
    if (st != TSR_OK && err) *err = reason;
    return st;
}

tsr_status plan_apply_indexes(struct planner *planner, tsr_error *err) {
    struct plan *plan = planner->plan;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) {
        const struct config_rule *rule = planner->facts[i].own_rule;
        struct plan_entry *owner = &plan->entries[planner->facts[i].owner];
        if (rule && rule->index && !owner->index) st = apply_index(planner, owner, rule, err);
    }
    return st;
}
