/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference gate of speech models: our run against golden values of an independent implementation (docs/gates.md, "The
 * reference gate"). golden.safetensors holds tensors CASE.NAME; golden.json beside it the texts, voices and limits of the
 * cases. Codes, ids and tokens must be equal; every stage and waveform within a share of its largest value. */
#ifndef MEASURE_SPEECH_REFERENCE_H
#define MEASURE_SPEECH_REFERENCE_H

#include <model/speech_model.h>

#define SPEECH_TOLERANCE 1e-4 /* of the largest reference value; of waveforms: absolute */

struct speech_reference_result {
    uint64_t cases;
    uint64_t codes, wrong_codes; /* ids, tokens and codes compared */
    uint64_t stages;             /* tensors of values compared */
    double worst_stage;          /* largest difference / largest reference value */
    double worst_wave;           /* absolute */
    double worst_cosine;         /* 1 - cosine */
    char worst_stage_name[96];
    char first_wrong[160]; /* what failed first, "" when nothing did */
    bool passed;
};

/* Differences are a result, not an error. */
tsr_status gate_speech_reference(struct open_model *model, const char *golden_path, double tolerance,
                                 struct speech_reference_result *result, tsr_error *err);

#endif
