/* SPDX-License-Identifier: Apache-2.0
 *
 * How a model's conversations are written down. The published description is a Jinja template; this program does not
 * run Jinja but knows a set of formats, each with the templates that mean it (docs/chat.md). A template is recognised
 * when its canonical form has a known digest: one that differs in any other way is refused, never guessed. Knows no
 * files and no tokens. */
#ifndef MODEL_CHAT_FORMAT_H
#define MODEL_CHAT_FORMAT_H

#include <base/digest.h>
#include <base/str.h>
#include <stddef.h>
#include <tessera/status.h>

/* What stands around a text. CHAT_BOS and the like stand for what is known only when a conversation is written. */
#define CHAT_BOS "\001"       /* the tokenizer's bos_token */
#define CHAT_EOS "\002"       /* its eos_token */
#define CHAT_DATE "\003"      /* "26 Jul 2024" */
#define CHAT_LONG_DATE "\004" /* "July 26, 2024" */

struct chat_wrap {
    const char *before, *after;
};

enum chat_place {
    CHAT_SYSTEM_TURN,       /* the system message is a turn of its own */
    CHAT_SYSTEM_FIRST_USER, /* it stands in front of the first user message, inside of its turn */
    CHAT_SYSTEM_LAST_USER,  /* in front of the newest one, so that it moves as the conversation grows */
    CHAT_SYSTEM_REFUSED     /* the template has no place for one */
};

enum chat_flag {
    CHAT_TRIM_SYSTEM = 1, /* white space around these texts is dropped */
    CHAT_TRIM_USER = 2,
    CHAT_TRIM_ASSISTANT = 4,
    CHAT_TRIM_JOINED = 8,        /* around a user message with the system message in front of it */
    CHAT_SKIP_EMPTY_SYSTEM = 16, /* an empty system message is none */
    CHAT_DROP_THOUGHTS = 32,     /* of an earlier answer only what stands behind its last </think> */
    CHAT_TRIM_THOUGHT_LINES = 64 /* and of that no line ends at the front */
};

struct chat_format {
    const char *name;
    const char *open; /* in front of everything */
    struct chat_wrap system, user, assistant;
    const char *answer;         /* behind everything: the model goes on from here */
    const char *default_system; /* where the caller gives no system message; NULL: none */
    enum chat_place place;
    unsigned flags;
};

/* A known template: the canonical form is `head` bytes, a default system message of any text, and `tail` bytes, and the
 * digest that of head and tail together. head 0: the whole form, and no such message. */
struct chat_known {
    const char *digest; /* 32 hex digits */
    uint32_t head, tail;
    const struct chat_format *format;
};
extern const struct chat_known CHAT_KNOWN[];
extern const size_t CHAT_KNOWN_COUNT;

/* A recognised template. Zero-initialise; release with chat_style_clear. */
struct chat_style {
    const struct chat_format *format;
    struct str own_system; /* the default system message that the template itself states */
    bool has_own_system;
};
void chat_style_clear(struct chat_style *style);

/* The template with what has no meaning made uniform: white space, quotes and escapes inside of tags, message['role']
 * for message.role. Appends to `out`. [any] */
void chat_canonical(const char *text, size_t length, struct str *out);
/* TSR_E_UNSUPPORTED, with the digest in the message, when the template is none of the known ones. [any] */
tsr_status chat_recognise(const char *text, size_t length, struct chat_style *style, tsr_error *err);

struct chat_turn {
    const char *user;
    const char *assistant; /* NULL: still to be answered, only in the last turn */
};

struct chat_text {
    const char *system; /* NULL: not given */
    const struct chat_turn *turns;
    size_t turn_count;
    const char *bos, *eos;        /* NULL: the tokenizer has none */
    const char *date, *long_date; /* of today */
};

/* Appends the conversation as the template writes it, ready for the next answer. TSR_E_UNSUPPORTED for a system message
 * that the template has no place for, TSR_E_INPUT when it needs an eos_token and there is none. [any] */
tsr_status chat_render(const struct chat_style *style, const struct chat_text *text, struct str *out, tsr_error *err);

#endif
