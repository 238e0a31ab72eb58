/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint with the model plugin that fits it, ready to run: config and family descriptions parsed, weights bound. */
#ifndef MODEL_MODEL_OPEN_H
#define MODEL_MODEL_OPEN_H

#include "model_weights.h"

#include <plugin/coder.h>
#include <plugin/registry.h>

#define MODEL_DECODED_BYTES ((uint64_t)4 << 30)

struct model_paths {
    const char *const *family_folders; /* of family descriptions, the first to have a file name wins */
    uint64_t family_folder_count;
    uint64_t decoded_bytes; /* how much of a compressed model may stay decoded; 0: MODEL_DECODED_BYTES */
};

struct open_model {
    struct arena arena;
    char *root; /* folder of the model */
    struct reader reader;
    struct model_weights *weights;
    struct host_services services;
    tsr_node config;
    tsr_node families;
    tsr_node parts; /* config.json of nested checkpoints, by folder */
    const tsr_model *plugin;
    void *self;
    tsr_model_info info;
};

/* TSR_E_UNSUPPORTED when no plugin knows the model. `model` must not move while open; model_close in any case. */
tsr_status model_open(const char *path, const struct registry *registry, const struct model_paths *paths,
                      const struct env *env, struct open_model *model, tsr_error *err);
void model_close(struct open_model *model);
/* An optional group of the model's plugin by its id (tessera/ext/), NULL if it has none. [any] */
const void *model_extension(const struct open_model *model, const char *id);

#endif
