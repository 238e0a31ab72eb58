/* SPDX-License-Identifier: Apache-2.0
 *
 * A conversation with a chat model: messages and answers, written down as the template says, with as much of the
 * key/value cache kept as the template allows. Knows no terminal. */
#ifndef MODEL_CONVERSATION_H
#define MODEL_CONVERSATION_H

#include "generate.h"
#include "model_chat.h"

/* Zero-initialise all but the first members; close in any case. What they point to must outlive it. [instance] */
struct conversation {
    const struct tokenizer *tokenizer;
    const struct model_chat *chat;
    const char *system; /* NULL: that of the template */
    const char *date, *long_date;

    char **messages; /* [2 * turns]: message and answer, the last answer NULL until it is there */
    uint64_t turns, capacity;
    struct str text;      /* the whole conversation, up to the answer that is due */
    struct str seen;      /* what stands in the generator's cache, as text */
    struct token_ids ids; /* what it must read before it answers */
    bool anew;            /* `ids` is the whole conversation, not what comes behind `seen` */
};

/* Takes a message and makes ids of what the model must read to answer it. */
tsr_status conversation_ask(struct conversation *conversation, const char *message, tsr_error *err);
/* Has it answered. After TSR_E_CANCELLED what there is of the answer stands in the conversation; after any other
 * failure the message is forgotten. */
tsr_status conversation_answer(struct conversation *conversation, struct generator *generator, generate_sink sink,
                               void *ctx, struct answer *answer, tsr_error *err);
/* Forgets all messages. */
void conversation_reset(struct conversation *conversation);
void conversation_close(struct conversation *conversation);

#endif
