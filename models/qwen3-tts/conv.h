/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions over time as products with the host's operators: the window of each output is copied into one row of
 * in * taps values, in the order of the stored weight. Streaming ones keep the rows they still need, so that samples do not
 * depend on how a sound is cut. */
#ifndef QWEN3_TTS_CONV_H
#define QWEN3_TTS_CONV_H

#include "parts.h"

struct conv {
    struct linear linear; /* rows: out; columns: in * taps */
    uint64_t in, out, taps, dilation, stride;
};

/* [out][in][taps], its bias beside it if has_bias. dilation and stride 1 are set; change them as needed. */
tsr_status conv_bind(struct binder *binder, uint64_t out, uint64_t in, uint64_t taps, bool has_bias, struct conv *conv,
                     tsr_error *err);

/* ---- streaming, causal, stride 1 ---- */

/* Input rows: (taps - 1) * dilation old ones, then those of the piece. */
struct conv_input {
    float *rows;
    uint64_t history, capacity, width;
};
/* `piece`: most new rows at a time. The history is silence. */
tsr_status conv_input_init(const struct engine *engine, uint64_t history, uint64_t width, uint64_t piece,
                           struct conv_input *input, tsr_error *err);
void conv_input_clear(const struct engine *engine, struct conv_input *input);
void conv_input_reset(struct conv_input *input);
/* Where the next piece's rows are written. */
float *conv_input_next(const struct conv_input *input);
/* y [rows][out] from the piece; the history moves on. */
tsr_status conv_stream(const struct engine *engine, const struct conv *conv, struct conv_input *input, uint64_t rows,
                       float *y, tsr_error *err);
/* The last `history` rows become the history. */
void conv_input_advance(struct conv_input *input, uint64_t rows);

/* ---- whole sounds ---- */

enum padding { PAD_ZERO, PAD_REFLECT, PAD_EDGE };

/* y [out_rows][out]: output t reads rows t * stride + tap * dilation - left of x [rows][in]. */
struct conv_whole {
    const float *x;
    uint64_t rows, left, out_rows;
    enum padding padding;
};
tsr_status conv_run(const struct engine *engine, const struct conv *conv, const struct conv_whole *whole, float *y,
                    tsr_error *err);

/* ---- transposed, streaming: taps = any, the last taps - stride samples of the whole are not made ---- */

struct up_conv {
    struct linear linear; /* rows: out * taps; columns: in */
    const float *bias;
    uint64_t in, out, taps, stride;
};
/* [in][out][taps] and bias. */
tsr_status up_conv_bind(struct binder *binder, uint64_t in, uint64_t out, uint64_t taps, uint64_t stride,
                        struct up_conv *conv, tsr_error *err);
/* y [rows * stride][out] from x [rows][in]; `products` holds out * taps wide rows, history (taps - 1) / stride. */
tsr_status up_conv_stream(const struct engine *engine, const struct up_conv *conv, const float *x, uint64_t rows,
                          struct conv_input *products, float *y, tsr_error *err);

#endif
