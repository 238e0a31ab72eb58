/* SPDX-License-Identifier: Apache-2.0
 *
 * Every message has the whole conversation written anew, because templates may change earlier turns (thoughts are
 * dropped, a system message moves). When the new text goes on where the cached one ends, only the rest is read; else
 * the cache is thrown away. Invariant: `seen` is empty or the text of exactly the tokens in the cache and those
 * pending. */
#include "conversation.h"

#include <base/alloc.h>
#include <string.h>

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for the conversation");
}

static tsr_status add_turn(struct conversation *conversation, const char *message, tsr_error *err) {
    if (conversation->turns == conversation->capacity) {
        uint64_t capacity = conversation->capacity ? 2 * conversation->capacity : 16;
        char **grown = mem_resize(conversation->messages, capacity, 2 * sizeof *grown);
        if (!grown) return no_memory(err);
        conversation->messages = grown;
        conversation->capacity = capacity;
    }
    char **turn = &conversation->messages[2 * conversation->turns];
    turn[0] = mem_dup_text(message);
    turn[1] = NULL;
    if (!turn[0]) return no_memory(err);
    conversation->turns++;
    return TSR_OK;
}

static void drop_turn(struct conversation *conversation) {
    char **turn = &conversation->messages[2 * --conversation->turns];
    mem_free(turn[0]);
    mem_free(turn[1]);
}

static tsr_status write_text(struct conversation *conversation, tsr_error *err) {
    struct chat_turn *turns = mem_alloc_array(conversation->turns, sizeof *turns);
    struct chat_text text = {.system = conversation->system,
                             .turns = turns,
                             .turn_count = conversation->turns,
                             .bos = conversation->chat->bos,
                             .eos = conversation->chat->eos,
                             .date = conversation->date,
                             .long_date = conversation->long_date};
    if (!turns) return no_memory(err);
    for (uint64_t i = 0; i < conversation->turns; i++) {
        turns[i] = (struct chat_turn){conversation->messages[2 * i], conversation->messages[2 * i + 1]};
    }
    str_truncate(&conversation->text, 0);
    tsr_status st = chat_render(&conversation->chat->style, &text, &conversation->text, err);
    mem_free(turns);
    return st;
}

/* Ids of what stands behind `seen`. They are those of the whole text only when a special token stands there: no token
 * reaches across it. */
static tsr_status encode_rest(struct conversation *conversation, bool *usable, tsr_error *err) {
    const struct str *text = &conversation->text, *seen = &conversation->seen;
    *usable = seen->length && text->length > seen->length && !memcmp(text->text, seen->text, seen->length);
    if (!*usable) return TSR_OK;
    tsr_status st = tokenizer_encode(conversation->tokenizer, text->text + seen->length, text->length - seen->length,
                                     false, &conversation->ids, err);
    *usable = st == TSR_OK && conversation->ids.count &&
              tokenizer_is_special(conversation->tokenizer, conversation->ids.ids[0]);
    if (!*usable) conversation->ids.count = 0;
    return st;
}

static tsr_status encode(struct conversation *conversation, tsr_error *err) {
    bool usable = false;
    conversation->ids.count = 0;
    tsr_status st = encode_rest(conversation, &usable, err);
    conversation->anew = !usable;
    if (st != TSR_OK || usable) return st;
    return tokenizer_encode(conversation->tokenizer, conversation->text.text ? conversation->text.text : "",
                            conversation->text.length, false, &conversation->ids, err);
}

tsr_status conversation_ask(struct conversation *conversation, const char *message, tsr_error *err) {
    tsr_status st = add_turn(conversation, message, err);
    if (st != TSR_OK) return st;
    st = write_text(conversation, err);
    if (st == TSR_OK) st = encode(conversation, err);
    if (st != TSR_OK) drop_turn(conversation);
    return st;
}

/* True when the answer's text stands for its tokens: none was cut off with a stop text, none is special. */
static bool is_whole(const struct conversation *conversation, const struct answer *answer) {
    if (answer->end == GENERATE_STOP_TEXT) return false;
    for (uint64_t i = 0; i < answer->tokens.count; i++) {
        if (tokenizer_is_special(conversation->tokenizer, answer->tokens.ids[i])) return false;
    }
    return true;
}

/* Puts the answer into the conversation. */
static tsr_status keep_answer(struct conversation *conversation, const struct answer *answer, bool whole,
                              tsr_error *err) {
    const char *text = answer->text.text ? answer->text.text : "";
    char **turn = &conversation->messages[2 * (conversation->turns - 1)];
    struct str *seen = &conversation->seen;
    turn[1] = mem_dup_bytes(text, answer->text.length);
    str_truncate(seen, 0);
    if (whole) {
        str_add(seen, conversation->text.text, conversation->text.length);
        str_add(seen, text, answer->text.length);
    }
    return turn[1] && !seen->failed ? TSR_OK : no_memory(err);
}

tsr_status conversation_answer(struct conversation *conversation, struct generator *generator, generate_sink sink,
                               void *ctx, struct answer *answer, tsr_error *err) {
    tsr_status st = TSR_OK;
    if (conversation->anew) {
        str_truncate(&conversation->seen, 0);
        if (generator_used(generator)) st = generator_reset(generator, err);
    }
    if (st == TSR_OK) {
        st = generator_answer(generator, conversation->ids.ids, conversation->ids.count, sink, ctx, answer, err);
    }
    if (st == TSR_OK) return keep_answer(conversation, answer, is_whole(conversation, answer), err);
    if (st == TSR_E_CANCELLED && answer->text.length) {
        tsr_status kept = keep_answer(conversation, answer, false, err);
        return kept == TSR_OK ? st : kept;
    }
    drop_turn(conversation);
    if (st != TSR_E_LIMIT) str_truncate(&conversation->seen, 0);
    return st;
}

void conversation_reset(struct conversation *conversation) {
    while (conversation->turns) drop_turn(conversation);
    str_truncate(&conversation->seen, 0);
}

void conversation_close(struct conversation *conversation) {
    conversation_reset(conversation);
    mem_free(conversation->messages);
    str_clear(&conversation->text);
    str_clear(&conversation->seen);
    token_ids_clear(&conversation->ids);
    *conversation = (struct conversation){0};
}
