/* SPDX-License-Identifier: Apache-2.0
 *
 * An append-only text file that survives any kind of end: each line carries a digest that covers the line before it, so one
 * that was torn, damaged, moved or taken from another file does not fit and ends the trust. Knows nothing of what the
 * lines say. */
#ifndef PIPELINE_LEDGER_H
#define PIPELINE_LEDGER_H

#include <base/digest.h>
#include <base/fs.h>

/* Zero-initialise. */
struct ledger {
    struct fs_output output;
    struct digest last; /* of the newest line */
};

/* Takes what a line says, without its digest. False when it is not understood: the trust ends there. A shortage of memory
 * is told through *memory. */
typedef bool (*ledger_take)(void *ctx, const char *text, bool *memory);

/* Opens or creates; `start` is what the first line says. Every line that can be trusted goes to `take`, the rest is cut
 * off. Close in any case. */
tsr_status ledger_open(const char *path, const char *start, ledger_take take, void *ctx, struct ledger *ledger,
                       tsr_error *err);
/* The same for a look from outside: nothing is cut or created. An absent file has no lines. */
tsr_status ledger_read(const char *path, const char *start, ledger_take take, void *ctx, tsr_error *err);
void ledger_close(struct ledger *ledger);

/* Appends a line (`text` without line ends). With `sync` it is on the disk when this returns. [instance] */
tsr_status ledger_append(struct ledger *ledger, const char *text, bool sync, tsr_error *err);

#endif
