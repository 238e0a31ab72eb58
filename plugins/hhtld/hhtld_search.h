/* SPDX-License-Identifier: Apache-2.0
 *
 * Exact search by intervals (ext/signature.h): what an entry says of a row bounds its score from both sides, and only
 * rows whose bound may win are read. */
#ifndef HHTLD_SEARCH_H
#define HHTLD_SEARCH_H

#include "hhtld_decode.h"

#include <tessera/ext/signature.h>

tsr_status hhtld_search_open(const struct hhtld_decoder *decoder, uint64_t rows, const tsr_signature_source *source,
                             void **search, tsr_error *err);
void hhtld_search_close(const struct hhtld_decoder *decoder, void *search);
tsr_status hhtld_search_run(const struct hhtld_decoder *decoder, void *search, const tsr_search_request *request,
                            uint64_t *rows, double *score, uint64_t *found, tsr_search_stats *stats, tsr_error *err);

#endif
