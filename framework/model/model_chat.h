/* SPDX-License-Identifier: Apache-2.0
 *
 * How the model of a folder wants conversations written down: its chat template, recognised, and the tokens that the
 * template speaks of. */
#ifndef MODEL_MODEL_CHAT_H
#define MODEL_MODEL_CHAT_H

#include "chat_format.h"

#include <base/arena.h>

/* Zero-initialise; model_chat_clear in any case. */
struct model_chat {
    struct arena arena;
    bool has_template;
    struct chat_style style; /* of the template, when there is one */
    const char *bos, *eos;   /* NULL: not stated */
};

/* The template of chat_template.jinja, else of tokenizer_config.json (the one named "default", if it has several), else
 * of chat_template.json. No template is no failure; TSR_E_UNSUPPORTED, with the file's name, when it is an unknown one.
 */
tsr_status model_chat_read(const char *folder, struct model_chat *chat, tsr_error *err);
void model_chat_clear(struct model_chat *chat);

#endif
