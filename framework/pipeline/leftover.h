/* SPDX-License-Identifier: Apache-2.0
 *
 * What a codec of a stack is given: the tensor in matrix order, what the stages before it made of it (decoded from the
 * bytes they just wrote), and the difference of both. Memory is a window of a few tiles. */
#ifndef PIPELINE_LEFTOVER_H
#define PIPELINE_LEFTOVER_H

#include <plugin/matrix.h>
#include <pthread.h>
#include <reading/decoder.h>

/* Zero-initialise. */
struct leftover {
    const struct env *env;
    struct fs_file file; /* the part that is being written */
    struct safetensors st;
    struct safetensors_entry entries[DECODER_STAGES_MAX];
    struct decoder decoder;
    struct matrix matrix; /* the source */
    int32_t dtype;        /* of the source */
    uint64_t width;       /* bytes of an element of it */
    /* Decoded tiles [first_tile, end_tile), which hold elements [first, end) of the matrix; under `lock`. */
    pthread_mutex_t lock;
    bool has_lock;
    uint8_t *window;
    uint64_t window_tiles, first_tile, end_tile, first, end;
    /* In matrix order; offsets count bytes of the source's dtype, or of F32 for the difference. */
    struct coder_source source, prediction, difference;
};

/* `path` holds the payloads of the `count` stages before, ends[i] being the end of stage i in it. `job` describes the
 * tensor as the first codec saw it, `source` reads it in source order; both, and the dictionaries, must live on. Close in
 * any case. */
tsr_status leftover_open(const char *path, const uint64_t *ends, uint64_t count, const struct coder_job *job,
                         const struct coder_source *source, const struct registry *registry,
                         const struct dictionaries *dictionaries, struct leftover *leftover, tsr_error *err);
void leftover_close(struct leftover *leftover);

#endif
