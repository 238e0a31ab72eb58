/* SPDX-License-Identifier: Apache-2.0
 *
 * Creation and judgement. A plugin's word is not taken for it: statuses, the message's end and the rule that a failed
 * create leaves nothing are all checked. */
#include "instance.h"

#include <base/error.h>
#include <format/dtype.h>

tsr_status instance_verdict(const tsr_codec *codec, const char *operation, tsr_status status, tsr_error *err) {
    if (status > 0 || status < TSR_STATUS_LAST) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: %s returned %d, which is no status", codec->name,
                        operation, (int)status);
    }
    if (status == TSR_OK || !err) return status;
    err->message[TSR_ERROR_TEXT - 1] = '\0';
    if (!err->message[0]) return tsr_fail(err, status, "codec %s: %s failed without a message", codec->name, operation);
    err->code = status;
    error_context(err, status, "codec %s", codec->name);
    return status;
}

static void fill_setup(struct instance *instance, const struct coder_job *job, const struct instance_stored *stored) {
    instance->codec = job->codec;
    instance->setup = (tsr_codec_setup){
        .struct_size = sizeof instance->setup,
        .host = job->host,
        .tensor = job->tensor,
        .params = job->params,
        .hints = stored ? NULL : job->hints,
        .header = stored && stored->header_bytes ? stored->header : NULL,
        .header_bytes = stored ? stored->header_bytes : 0,
        .bitstream_version = stored ? stored->bitstream_version : 0,
        .decoding = stored != NULL,
        .dictionary = job->dictionary_bytes ? job->dictionary : NULL,
        .dictionary_bytes = job->dictionary_bytes,
        .level = stored ? job->level : 0,
        .stride = stored ? 0 : max_u64(job->stride, 1),
        .role = stored ? NULL : job->role ? job->role : "unknown",
    };
}

static tsr_status check_dtype(const struct coder_job *job, tsr_error *err) {
    const tsr_codec *codec = job->codec;
    int32_t dtype = job->tensor->dtype;
    bool known = dtype >= 0 && dtype < TSR_DTYPE_COUNT;
    bool takes = known && (codec->dtypes & TSR_DTYPE_BIT(dtype));
    if (takes && (codec->input != TSR_INPUT_F32 || dtype_is_float(dtype))) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "codec %s does not take dtype %s", codec->name,
                    known ? dtype_name(dtype) : "?");
}

tsr_status instance_create(struct instance *instance, const struct coder_job *job, const struct instance_stored *stored,
                           tsr_error *err) {
    const tsr_codec *codec = job->codec;
    tsr_error own = {0};
    tsr_status st = check_dtype(job, err);
    if (st != TSR_OK) return st;
    fill_setup(instance, job, stored);
    st = instance_verdict(codec, "create", codec->create(&instance->setup, &instance->self, &own), &own);
    if (st != TSR_OK && st != TSR_E_PLUGIN && instance->self) {
        st = tsr_fail(&own, TSR_E_PLUGIN, "codec %s misbehaves: create failed and left something behind", codec->name);
    }
    instance->created = st == TSR_OK;
    if (st != TSR_OK && err) *err = own;
    return st;
}

void instance_destroy(struct instance *instance) {
    if (instance->created) instance->codec->destroy(instance->self);
    *instance = (struct instance){0};
}

tsr_status coder_accepts(const struct coder_job *job, tsr_error *err) {
    struct instance instance = {0};
    tsr_error own = {0};
    tsr_status st = check_dtype(job, err);
    if (st != TSR_OK || !job->codec->can_encode) return st;
    fill_setup(&instance, job, NULL);
    st = instance_verdict(job->codec, "can_encode", job->codec->can_encode(&instance.setup, &own), &own);
    if (st != TSR_OK && err) *err = own;
    return st;
}
