/* SPDX-License-Identifier: Apache-2.0
 *
 * Codes of speech in a .safetensors file: one tensor "codes" [frames, groups], I32 (or I64 when read). */
#ifndef MODEL_CODES_FILE_H
#define MODEL_CODES_FILE_H

#include "speech_model.h"

/* Fresh memory (mem_free). TSR_E_INPUT for another number of groups than the model has, or codes out of range. */
tsr_status codes_file_read(const char *path, const tsr_speech_info *info, uint32_t **codes, uint64_t *frames, tsr_error *err);
tsr_status codes_file_write(const char *path, const tsr_speech_info *info, const uint32_t *codes, uint64_t frames,
                            tsr_error *err);

#endif
