/* SPDX-License-Identifier: Apache-2.0
 *
 * No ABI struct has tail padding: a later 4-byte member would hide in it without changing sizeof, and TSR_HAS would say
 * yes to an old plugin. headers.sh compiles this and checks that no struct is missing here. */
#include <tessera/ext/block.h>
#include <tessera/ext/dictionary.h>
#include <tessera/ext/entropy.h>
#include <tessera/ext/hadamard.h>
#include <tessera/ext/kmeans.h>
#include <tessera/ext/layers.h>
#include <tessera/ext/logits.h>
#include <tessera/ext/kmeans.h>
#include <tessera/ext/matvec.h>
#include <tessera/ext/products.h>
#include <tessera/ext/residual.h>
#include <tessera/ext/reverse.h>
#include <tessera/ext/rows.h>
#include <tessera/ext/signature.h>
#include <tessera/ext/speech.h>
#include <tessera/plugin.h>
#include <tessera/tessera.h>

#define LAST_MEMBER(type, member)                                                                                      \
    _Static_assert(sizeof(type) == offsetof(type, member) + sizeof(((type *)0)->member), #type " has tail padding")

LAST_MEMBER(tsr_error, message);
LAST_MEMBER(tsr_tensor, regime);
LAST_MEMBER(tsr_writer, write);
LAST_MEMBER(tsr_row_source, read);
LAST_MEMBER(tsr_param, reserved);
LAST_MEMBER(tsr_param_value, count);
LAST_MEMBER(tsr_node, line);
LAST_MEMBER(struct tsr_host, get_extension);
LAST_MEMBER(tsr_tile, worker);
LAST_MEMBER(tsr_encode_hints, column_weight);
LAST_MEMBER(tsr_codec_setup, role);
LAST_MEMBER(tsr_codec, get_extension);
LAST_MEMBER(tsr_weights, apply_ones);
LAST_MEMBER(tsr_hooks, logits);
LAST_MEMBER(tsr_model_setup, parts);
LAST_MEMBER(tsr_model_info, context);
LAST_MEMBER(tsr_model, get_extension);
LAST_MEMBER(tsr_plugin, models);
LAST_MEMBER(tsr_entropy_shape, reserved);
LAST_MEMBER(tsr_entropy_split, symbol_bits);
LAST_MEMBER(tsr_entropy_stream, states);
LAST_MEMBER(tsr_entropy, stream_end);
LAST_MEMBER(tsr_hadamard, inverse);
LAST_MEMBER(tsr_products, dot_codes);
LAST_MEMBER(tsr_kmeans_job, seed);
LAST_MEMBER(tsr_candidate, word);
LAST_MEMBER(tsr_kmeans, best);
LAST_MEMBER(tsr_dictionary_member, rows);
LAST_MEMBER(tsr_dictionary, train);
LAST_MEMBER(tsr_rows, decode);
LAST_MEMBER(tsr_reverse_hooks, look_up);
LAST_MEMBER(tsr_reverse, run);
LAST_MEMBER(tsr_layers, enter_back);
LAST_MEMBER(tsr_residual, decode);
LAST_MEMBER(tsr_matvec, apply_rows);
LAST_MEMBER(tsr_logits, apply);
LAST_MEMBER(tsr_block, abandon);
LAST_MEMBER(tsr_signature_source, score);
LAST_MEMBER(tsr_search_request, reserved);
LAST_MEMBER(tsr_search_stats, escalated);
LAST_MEMBER(tsr_signature, index_bytes);
LAST_MEMBER(tsr_speech_info, streams_text);
LAST_MEMBER(tsr_speech_prompt, reserved);
LAST_MEMBER(tsr_speech_rules, seed);
LAST_MEMBER(tsr_speech_hooks, stage);
LAST_MEMBER(tsr_speech, encode_speech);
LAST_MEMBER(tsr_progress, total_items);
LAST_MEMBER(tsr_library_options, progress);
LAST_MEMBER(tsr_tensor_info, exact);
LAST_MEMBER(tsr_read, reserved);
LAST_MEMBER(tsr_compress_options, target_kld);
LAST_MEMBER(tsr_decompress_options, exact);
