/* SPDX-License-Identifier: Apache-2.0
 *
 * generic-causal-lm: one decoder-only graph for all families that a description file can tell apart. */
#include "graph.h"
#include "layers.h"
#include "reverse.h"

#include <string.h>
#include <tessera/ext/logits.h>
#include <tessera/plugin.h>

static int32_t probe(const tsr_model_setup *setup) {
    return spec_family(setup->config, setup->families) ? 80 : 0;
}

static void destroy(void *self) {
    struct model *model = self;
    if (!model) return;
    const tsr_host *host = model->host;
    weights_clear(&model->weights);
    spec_clear(host, &model->spec);
    host->free(host, model->slopes);
    host->free(host, model);
}

static tsr_status set_rules(struct model *model, tsr_error *err) {
    const struct spec *spec = &model->spec;
    model->kernels = kernels_best();
    model->norm_rule = (struct norm_rule){spec->norm, spec->norm_eps, spec->norm_offset, model->kernels};
    model->qk_rule = (struct norm_rule){spec->qk_norm_type, spec->qk_norm_eps, spec->norm_offset, model->kernels};
    model->latent_rule = (struct norm_rule){NORM_RMS, spec->latent_norm_eps, 0, model->kernels};
    if (spec->alibi == ALIBI_NONE) return TSR_OK;
    model->slopes = model->host->alloc(model->host, spec->heads * sizeof *model->slopes);
    if (!model->slopes) return tsr_fail(err, TSR_E_NOMEM, "out of memory for slopes");
    alibi_slopes(spec->heads, model->slopes);
    return TSR_OK;
}

static tsr_status create(const tsr_model_setup *setup, void **self, tsr_error *err) {
    struct model *model = setup->host->alloc(setup->host, sizeof *model);
    if (!model) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the model");
    memset(model, 0, sizeof *model);
    model->host = setup->host;
    model->weights.host = setup->host;
    tsr_status st = spec_init(setup, &model->spec, err);
    if (st == TSR_OK) st = set_rules(model, err);
    if (st == TSR_OK) st = weights_init(setup, &model->spec, &model->weights, err);
    if (st != TSR_OK) {
        destroy(model);
        return st;
    }
    *self = model;
    return TSR_OK;
}

static void info(void *self, tsr_model_info *facts) {
    const struct spec *spec = &((struct model *)self)->spec;
    facts->layers = spec->layers;
    facts->hidden = spec->hidden;
    facts->vocabulary = spec->vocabulary;
    facts->context = spec->context;
}

static tsr_status sequence_create(void *self, uint64_t capacity, void **handle, tsr_error *err) {
    struct sequence *sequence = NULL;
    tsr_status st = sequence_open(self, capacity, false, &sequence, err);
    *handle = sequence;
    return st;
}

static void sequence_destroy(void *self, void *sequence) {
    sequence_close(self, sequence);
}

static tsr_status forward(void *self, void *sequence, const uint32_t *tokens, uint64_t count, const tsr_hooks *hooks,
                          float *logits, tsr_error *err) {
    return run_forward(self, sequence, tokens, count, hooks, logits, err);
}

static uint64_t tied(void *self, uint64_t index) {
    (void)self;
    return index; /* a tied output matrix has no tensor of its own */
}

static tsr_status head_apply(void *self, const float *states, uint64_t tokens, float *logits, tsr_error *err) {
    return run_head(self, states, tokens, logits, err);
}

static const tsr_logits LOGITS = {.struct_size = sizeof LOGITS, .apply = head_apply};

static tsr_status check_reverse(void *self, tsr_error *err) {
    return reverse_check(self, err);
}

static tsr_status run_reverse(void *self, const uint32_t *tokens, uint64_t count, const tsr_reverse_hooks *hooks,
                              tsr_error *err) {
    return reverse_run(self, tokens, count, hooks, err);
}

static const tsr_reverse REVERSE = {.struct_size = sizeof REVERSE, .check = check_reverse, .run = run_reverse};

static const void *get_extension(const char *id) {
    if (!strcmp(id, TSR_REVERSE_ID)) return &REVERSE;
    if (!strcmp(id, TSR_LAYERS_ID)) return &layers_extension;
    return strcmp(id, TSR_LOGITS_ID) ? NULL : &LOGITS;
}

static const tsr_model MODEL = {
    .struct_size = sizeof(tsr_model),
    .id = "org.tessera.generic-causal-lm",
    .name = "generic-causal-lm",
    .description = "Decoder-only language models described by data",
    .probe = probe,
    .create = create,
    .destroy = destroy,
    .info = info,
    .sequence_create = sequence_create,
    .sequence_destroy = sequence_destroy,
    .forward = forward,
    .tied = tied,
    .get_extension = get_extension,
};

static const tsr_model *const MODELS[] = {&MODEL, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-generic-causal-lm",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .models = MODELS,
};
