/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns over tensor names, as role files and configs write them (docs/roles.md, "Patterns"). A glob: "*" is any run of
 * bytes, dots included; "{layer}" is one whole run of decimal digits, and so is any other name in braces; everything else
 * stands for itself. Or "re:" and a PCRE2 expression. Both cover the whole name. No pattern can take long: globs match in
 * O(pattern * name), expressions give up at a fixed number of steps. */
#ifndef POLICY_PATTERN_H
#define POLICY_PATTERN_H

#include <base/arena.h>
#include <stdbool.h>
#include <tessera/status.h>

struct pattern;

/* Compiles once. All memory is the arena's. TSR_E_CONFIG quotes the pattern and says what is wrong with it. */
tsr_status pattern_compile(const char *text, struct arena *arena, struct pattern **pattern, tsr_error *err);
/* `layer` gets the number that {layer}, or an expression's group (?<layer>...), stood for, else -1; it may be NULL.
 * TSR_E_CONFIG when an expression gives up on this name. [any] */
tsr_status pattern_apply(const struct pattern *pattern, const char *name, bool *matches, int64_t *layer,
                         tsr_error *err);
/* The pattern as it was written. [any] */
const char *pattern_text(const struct pattern *pattern);

/* Both at once, for a pattern that is used once. [any] */
tsr_status pattern_match(const char *pattern, const char *name, bool *matches, int64_t *layer, tsr_error *err);

#endif
