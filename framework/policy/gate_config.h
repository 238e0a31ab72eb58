/* SPDX-License-Identifier: Apache-2.0
 *
 * Thresholds of the gates, as a config or the command line gives them. Paths are as written: relative ones are looked for
 * beside the config first (gate_text.h). */
#ifndef POLICY_GATE_CONFIG_H
#define POLICY_GATE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

/* `optional`: a verdict of NOT_RUN does not keep the output from being published. */
struct gate_config {
    struct {
        bool wanted, optional;
        double min_ratio; /* source bytes against bytes on disk */
    } storage;
    struct {
        bool wanted, optional;
        const char *text;
        uint64_t positions; /* 0: all of the text */
        uint64_t window, skip;
        double min_top1;    /* 0: none */
        double max_kld;     /* nats; below 0: none */
        double confidence;
    } parity;
    struct {
        bool wanted, optional;
        const char *prompts; /* one a line */
        uint64_t tokens;
        double min_match;
    } rollout;
    struct {
        bool wanted, optional;
        const char *fixture;
        double tolerance; /* below 0: the default of the kind of model */
    } reference;
    struct {
        bool wanted, optional;
        const char *text; /* NULL: parity's */
        uint64_t tokens;
        double min_cos;
    } chain;
    struct {
        bool wanted, optional;
        const char *text;    /* lines to speak; NULL: parity's */
        const char *profile; /* of limits: "default" or NULL */
        const char *picture; /* SVG to write, or NULL */
        const char *sounds;  /* SOUNDS-raw.wav and SOUNDS-tested.wav are written, of the first line; or NULL */
        uint64_t frames;     /* most of a line */
        double max_difference; /* relative, from the raw model: level, zero crossings, envelope */
        double max_mel;        /* mean absolute difference of log10 mel bands */
    } speech;
    struct {
        bool wanted, optional;
        double min_cos;   /* below 0: none */
        double max_error; /* relative squared error of each tensor; below 0: none */
    } width;
};

/* Nothing wanted, every figure at its default. */
void gate_config_init(struct gate_config *gates);
bool gate_config_any(const struct gate_config *gates);

#endif
