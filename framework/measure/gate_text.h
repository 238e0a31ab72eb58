/* SPDX-License-Identifier: Apache-2.0
 *
 * Text files as tokens of one model: documents for the parity and chain gates, prompts for the rollout gate. */
#ifndef MEASURE_GATE_TEXT_H
#define MEASURE_GATE_TEXT_H

#include "parity.h"

#include <base/digest.h>
#include <tokenizer/tokenizer.h>

/* Zero-initialise; clear in any case. */
struct gate_text {
    struct token_ids ids;
    struct token_run *runs;
    uint64_t count;
    struct digest digest; /* of the file's bytes */
};

/* Opens the tokenizer of a model's folder. TSR_E_INPUT when it has more tokens than the model's vocabulary. */
tsr_status gate_tokenizer(const struct open_model *model, struct tokenizer **tokenizer, tsr_error *err);

/* Documents of a UTF-8 file: parts between lines that hold "<|endoftext|>" alone, or the whole file. No template tokens
 * are added. TSR_E_INPUT for an empty file or one that is not UTF-8. */
tsr_status gate_text_documents(const char *path, const struct tokenizer *tokenizer, struct gate_text *text, tsr_error *err);
/* One prompt a line that is not blank, with the tokens that the tokenizer's template puts around a text's beginning. */
tsr_status gate_text_prompts(const char *path, const struct tokenizer *tokenizer, struct gate_text *text, tsr_error *err);
void gate_text_clear(struct gate_text *text);

/* Text around position `at` of a run: up to `before` tokens. Appends to `out`; what cannot be decoded is left out. */
void gate_text_context(const struct tokenizer *tokenizer, const struct token_run *run, uint64_t at, uint64_t before,
                       struct str *out);

#endif
