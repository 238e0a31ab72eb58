/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parity and rollout gates measure on models that speak. Parity is teacher-forced: the raw model speaks the lines of
 * a text, sampling as such models do, and both models decide at every code of that speech: the talker on the first code of
 * a frame, the code predictor on each of the others. Rollout: both speak greedily, each from its own codes. */
#ifndef MEASURE_SPEECH_PARITY_H
#define MEASURE_SPEECH_PARITY_H

#include "rollout.h"

#include <base/digest.h>
#include <model/speech_model.h>
#include <policy/gate.h>

#define SPEECH_LINE_FRAMES 150   /* most that is spoken of a line: 12 s */
#define SPEECH_WINDOW_FRAMES 16  /* frames whose decisions count as correlated */

/* Lines of a UTF-8 file that are not blank. Zero-initialise; clear in any case. */
struct speech_lines {
    char *text;
    const char **lines; /* [count] */
    uint64_t count;
    struct digest digest;
};
/* TSR_E_INPUT for an empty file or one that is not UTF-8. */
tsr_status speech_lines_read(const char *path, struct speech_lines *lines, tsr_error *err);
void speech_lines_clear(struct speech_lines *lines);

/* The line as this model's first voice says it. Clear `made` in any case. */
tsr_status speech_line_prompt(const struct open_model *model, const struct tokenizer *tokenizer, const char *line,
                              struct speech_prompt *made, tsr_error *err);
/* Sampling as the published models do it; the seed is the line's number. */
tsr_speech_rules speech_line_rules(uint64_t line);

struct speech_parity_result {
    uint64_t lines, frames, decisions, groups, windows, capacity;
    struct group *agree, *kld; /* [windows][groups]: top-1 equal; nats */
    uint64_t flips;
};
/* Stops after `decisions` of them (0: all lines). Clear in any case. */
tsr_status speech_parity_run(const struct open_model *reference, const struct open_model *other,
                             const struct tokenizer *tokenizer, const struct speech_lines *lines, uint64_t decisions,
                             const struct env *env, struct speech_parity_result *result, tsr_error *err);
void speech_parity_clear(struct speech_parity_result *result);
/* Sums over the code groups [first, end) of each window, in fresh memory (mem_free); NULL when memory is short. */
struct group *speech_parity_windows(const struct speech_parity_result *result, bool of_kld, uint64_t first, uint64_t end);

/* Positions are codes. */
tsr_status speech_rollout_run(const struct open_model *reference, const struct open_model *other,
                              const struct tokenizer *tokenizer, const struct speech_lines *lines, uint64_t frames,
                              const struct env *env, struct rollout_result *result, tsr_error *err);

#endif
