/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands beside a model's weights about its texts: the tokens that end and begin one. */
#ifndef MODEL_MODEL_TEXT_H
#define MODEL_MODEL_TEXT_H

#include "model_open.h"

#define MODEL_ENDS_MAX 64

struct model_text {
    uint32_t ends[MODEL_ENDS_MAX]; /* tokens that end a text */
    uint64_t end_count;
    uint32_t begin; /* token that begins one */
    bool has_begin;
};

/* eos_token_id (a number or a list) and bos_token_id of generation_config.json, where it says nothing of config.json. */
tsr_status model_text_read(const struct open_model *model, struct model_text *text, tsr_error *err);

#endif
