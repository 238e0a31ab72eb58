/* SPDX-License-Identifier: Apache-2.0
 *
 * What tokenizer_files.c and tokenizer_files_added.c share: the parsed files of a folder without tokenizer.json. */
#ifndef TOKENIZER_TOKENIZER_FILES_H
#define TOKENIZER_TOKENIZER_FILES_H

#include <jansson.h>
#include <tessera/status.h>

#include "tokenizer.h"

/* NULL where a file is not there. Owned by tokenizer_files.c. */
struct token_files {
    json_t *config;                    /* config.json */
    json_t *tokenizer_config;          /* tokenizer_config.json */
    json_t *special_map;               /* special_tokens_map.json */
    json_t *added;                     /* added_tokens.json */
    json_t *defaults;                  /* special tokens that the class has built in, by role */
    const struct tokenizer *tokenizer; /* with its vocabulary, without added tokens */
};

/* Appends the added tokens as a tokenizer.json lists them. TSR_E_INPUT names file and member. */
tsr_status files_added_tokens(const struct token_files *files, json_t *list, tsr_error *err);
/* The post-processor that add_bos_token asks for, or NULL in *post. `list` is what files_added_tokens made. */
tsr_status files_begin_token(const struct token_files *files, const json_t *list, json_t **post, tsr_error *err);

#endif
