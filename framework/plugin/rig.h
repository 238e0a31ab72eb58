/* SPDX-License-Identifier: Apache-2.0
 *
 * The bench on which the conformance suite tries a codec: a host that counts and can refuse memory, buffers between
 * pages that may not be touched, tensors made from a seed. Only the child process of plugin check uses it. */
#ifndef PLUGIN_RIG_H
#define PLUGIN_RIG_H

#include <base/arena.h>
#include <base/rng.h>
#include <base/str.h>
#include <stdatomic.h>

#include "coder.h"
#include "param_bind.h"

struct rig {
    const tsr_codec *codec; /* under test */
    tsr_codec guarded;      /* its table with encode and decode between guard pages */
    struct param_set params;
    const tsr_encode_hints *hints;
    uint64_t seed;
    struct arena arena;
    struct pool *pool;
    struct env env;
    tsr_host host;
    atomic_ullong requests; /* calls of alloc and scratch */
    atomic_llong live;      /* allocations not freed */
    uint64_t refuse;        /* this request gets NULL; 0: none */
    uint64_t worker_shift;  /* added to worker numbers, so that they differ even when one thread does all */
    bool try_short;         /* encode every tile once more with one byte less than it took */
    atomic_uchar garbage;   /* what fresh memory holds; changes all the time */
};

/* Binds the codec's parameters: defaults, one of them given by name (NULL: none), and a boolean `guard` off: it would keep
 * the codec from the suite's small tensors. */
tsr_status rig_bind(struct rig *rig, const char *name, const char *text, tsr_error *err);
/* Parameters as rig_bind leaves them, `workers` workers. Close in any case; zero-initialise. */
tsr_status rig_open(struct rig *rig, const tsr_codec *codec, uint64_t seed, uint64_t workers, tsr_error *err);
void rig_close(struct rig *rig);
tsr_status rig_set_workers(struct rig *rig, uint64_t workers, tsr_error *err);

/* ---- subjects ---- */

enum fill {
    FILL_WEIGHTS, /* bell-shaped, rows of different scale */
    FILL_HALF,    /* weights, zeros from the middle on: shrinks under any codec */
    FILL_ZERO,
    FILL_CONSTANT,
    FILL_NOISE, /* random bits: NaN and Inf too */
    FILL_TINY,  /* denormals */
    FILL_HUGE,  /* the largest finite values */
    FILL_SPIKED /* weights with a few NaN and Inf */
};

struct subject {
    tsr_tensor tensor;
    uint64_t shape[2];
    uint32_t bits;
    uint8_t *bytes;
};
tsr_status subject_make(struct subject *subject, int32_t dtype, uint64_t rows, uint64_t columns, enum fill fill,
                        uint64_t seed, tsr_error *err);
void subject_clear(struct subject *subject);
/* BF16 if the codec takes it, else the first dtype it takes. */
int32_t subject_dtype(const tsr_codec *codec);

/* ---- what was stored ---- */

struct stored_tile {
    uint64_t at, size; /* in bytes */
    bool raw;
};

/* Zero-initialise. */
struct stored {
    struct tile_grid grid;
    struct str header, bytes, tiles; /* tiles: stored_tile[count] */
    uint64_t count;
};
void stored_clear(struct stored *stored);
const struct stored_tile *stored_tile_at(const struct stored *stored, uint64_t index);
bool stored_equal(const struct stored *a, const struct stored *b);

/* ---- trials ---- */

/* The codec's word on the subject before anything is encoded: TSR_E_UNSUPPORTED when can_encode says no. */
tsr_status rig_accepts(struct rig *rig, const struct subject *subject, tsr_error *err);
/* Keeps what coder_encode gives; into a zero-initialised `stored`. */
struct coder_sink rig_sink(struct stored *stored);
/* Both check that all memory was given back (TSR_E_GATE). */
tsr_status rig_encode(struct rig *rig, const struct subject *subject, struct stored *stored, tsr_error *err);
tsr_status rig_decode(struct rig *rig, const struct subject *subject, const struct stored *stored, uint8_t *dst,
                      tsr_error *err);
tsr_status rig_open_decoder(struct rig *rig, const struct subject *subject, const struct stored *stored,
                            struct coder **coder, tsr_error *err);
/* Bytes equal for exact codecs; else finite, and for floats a relative squared error of at most 1. Raw tiles are equal
 * in any case. *error may be NULL. */
tsr_status rig_compare(const struct rig *rig, const struct subject *subject, const struct stored *stored,
                       const uint8_t *decoded, double *error, tsr_error *err);
/* Makes a subject, encodes, decodes, compares. A subject that the codec refuses is fine; *tried counts the others. */
tsr_status rig_round_trip(struct rig *rig, int32_t dtype, uint64_t rows, uint64_t columns, enum fill fill,
                          uint64_t *tried, tsr_error *err);

#endif
