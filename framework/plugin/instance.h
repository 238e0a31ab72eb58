/* SPDX-License-Identifier: Apache-2.0
 *
 * One created codec, and the judgement on what its operations return. Knows no tiles. */
#ifndef PLUGIN_INSTANCE_H
#define PLUGIN_INSTANCE_H

#include "coder.h"

/* Zero-initialise. The setup is lent to the plugin until destroy, so it stands here. */
struct instance {
    const tsr_codec *codec;
    tsr_codec_setup setup;
    void *self;
    bool created;
};

/* What a decoder knows beyond the job. */
struct instance_stored {
    const void *header;
    uint64_t header_bytes;
    uint64_t bitstream_version;
};

/* `stored` is NULL for an encoder. */
tsr_status instance_create(struct instance *instance, const struct coder_job *job, const struct instance_stored *stored,
                           tsr_error *err);
void instance_destroy(struct instance *instance);

/* Passes a status of the list on, with the codec's name in front of its message; anything else is TSR_E_PLUGIN. err is
 * what the operation was given, zeroed before. */
tsr_status instance_verdict(const tsr_codec *codec, const char *operation, tsr_status status, tsr_error *err);

#endif
