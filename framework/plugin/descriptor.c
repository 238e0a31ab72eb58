/* SPDX-License-Identifier: Apache-2.0
 *
 * What "mandatory" means is written here: the smallest struct_size of each table is the offset behind its last
 * mandatory member in ABI 1.0. Later members are optional by nature and asked for with TSR_HAS. */
#include "descriptor.h"

#include <stdbool.h>
#include <string.h>

#include "param_bind.h"
#include "tile.h"

#define PLUGIN_SIZE_MIN offsetof(tsr_plugin, codecs)
#define CODEC_SIZE_MIN offsetof(tsr_codec, get_extension)
#define MODEL_SIZE_MIN offsetof(tsr_model, tied)
#define SIZE_MAX_BYTES 4096 /* a table longer than this is not a table */
#define TEXT_BYTES_MAX 128
#define TABLE_COUNT_MAX 256 /* codecs or models a plugin */

static tsr_status check_size(const char *what, uint64_t size, uint64_t smallest, tsr_error *err) {
    if (size >= smallest && size <= SIZE_MAX_BYTES && size % 8 == 0) return TSR_OK;
    return tsr_fail(err, TSR_E_PLUGIN, "%s has struct_size %llu, expected %llu..%d", what, (unsigned long long)size,
                    (unsigned long long)smallest, SIZE_MAX_BYTES);
}

/* Letters of `set` only, at most TEXT_BYTES_MAX. */
static bool is_word(const char *text, const char *set) {
    size_t length = text ? strnlen(text, TEXT_BYTES_MAX + 1) : 0;
    return length > 0 && length <= TEXT_BYTES_MAX && strspn(text, set) == length;
}

static bool is_id(const char *id) {
    return is_word(id, "abcdefghijklmnopqrstuvwxyz0123456789._-") && strchr(id, '.') && id[0] != '.';
}

static tsr_status check_names(const char *what, const char *id, const char *name, const char *description,
                              tsr_error *err) {
    if (!is_id(id)) {
        return tsr_fail(err, TSR_E_PLUGIN, "%s id \"%.40s\" is not of the form org.example.name", what,
                        id ? id : "(null)");
    }
    if (!is_word(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") || name[0] < 'a') {
        return tsr_fail(err, TSR_E_PLUGIN, "%s %s: name \"%.40s\" is not [a-z][a-z0-9_-]*", what, id,
                        name ? name : "(null)");
    }
    if (!description) return tsr_fail(err, TSR_E_PLUGIN, "%s %s: description is missing", what, id);
    return TSR_OK;
}

static tsr_status check_codec_numbers(const tsr_codec *codec, tsr_error *err) {
    uint64_t purpose = codec->flags & (TSR_CODEC_EXACT | TSR_CODEC_RECONSTRUCT | TSR_CODEC_SIGNATURE);
    uint64_t required = codec->flags & ~TSR_CODEC_FLAGS_KNOWN & ~UINT64_C(0xFFFFFFFF);
    if (required) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s: needs a host that knows flags %#llx", codec->id,
                        (unsigned long long)required);
    }
    if (!purpose || (purpose & (purpose - 1))) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s: flags %#llx, expected one of exact, reconstruct, signature",
                        codec->id, (unsigned long long)codec->flags);
    }
    if (codec->bitstream_oldest == 0 || codec->bitstream_oldest > codec->bitstream_version) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s: reads bitstreams %llu..%llu, expected 1 or more in order",
                        codec->id, (unsigned long long)codec->bitstream_oldest,
                        (unsigned long long)codec->bitstream_version);
    }
    uint64_t takes = codec->input == TSR_INPUT_F32 ? TSR_DTYPES_FLOAT : TSR_DTYPES_ALL;
    bool known_input = codec->input == TSR_INPUT_F32 || codec->input == TSR_INPUT_SOURCE;
    if (!known_input || !(codec->dtypes & takes) || (codec->dtypes & TSR_DTYPES_ALL & ~takes)) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s: dtypes %#llx do not go with input form %d", codec->id,
                        (unsigned long long)codec->dtypes, (int)codec->input);
    }
    if (codec->tile_weights && (codec->tile_weights < TILE_WEIGHTS_MIN || codec->tile_weights > TILE_WEIGHTS_MAX)) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s: tile_weights %llu is outside 2^12..2^22", codec->id,
                        (unsigned long long)codec->tile_weights);
    }
    return TSR_OK;
}

static const char *missing_codec_operation(const tsr_codec *codec) {
    if (!codec->create) return "create";
    if (!codec->destroy) return "destroy";
    if (!codec->encode_bound) return "encode_bound";
    if (!codec->encode) return "encode";
    return codec->decode ? NULL : "decode";
}

static const char *missing_model_operation(const tsr_model *model) {
    if (!model->probe) return "probe";
    if (!model->create) return "create";
    if (!model->destroy) return "destroy";
    if (!model->info) return "info";
    if (!model->sequence_create) return "sequence_create";
    if (!model->sequence_destroy) return "sequence_destroy";
    return model->forward ? NULL : "forward";
}

static tsr_status check_codec(const tsr_codec *codec, tsr_error *err) {
    tsr_status st = check_size("a codec", codec->struct_size, CODEC_SIZE_MIN, err);
    if (st == TSR_OK) st = check_names("codec", codec->id, codec->name, codec->description, err);
    if (st == TSR_OK) st = check_codec_numbers(codec, err);
    if (st != TSR_OK) return st;
    const char *missing = missing_codec_operation(codec);
    if (missing) return tsr_fail(err, TSR_E_PLUGIN, "codec %s: operation %s is missing", codec->id, missing);
    tsr_error own = {0};
    if (param_check_declared(codec, &own) == TSR_OK) return TSR_OK;
    return tsr_fail(err, TSR_E_PLUGIN, "codec %s: %.180s", codec->id, own.message);
}

static tsr_status check_model(const tsr_model *model, tsr_error *err) {
    tsr_status st = check_size("a model", model->struct_size, MODEL_SIZE_MIN, err);
    if (st == TSR_OK) st = check_names("model", model->id, model->name, model->description, err);
    if (st != TSR_OK) return st;
    const char *missing = missing_model_operation(model);
    return missing ? tsr_fail(err, TSR_E_PLUGIN, "model %s: operation %s is missing", model->id, missing) : TSR_OK;
}

static tsr_status check_codecs(const tsr_plugin *plugin, uint64_t *count, tsr_error *err) {
    if (!TSR_HAS(plugin, tsr_plugin, codecs)) return TSR_OK;
    for (uint64_t i = 0; plugin->codecs[i]; i++) {
        if (i == TABLE_COUNT_MAX) return tsr_fail(err, TSR_E_PLUGIN, "more than %d codecs", TABLE_COUNT_MAX);
        tsr_status st = check_codec(plugin->codecs[i], err);
        if (st != TSR_OK) return st;
        for (uint64_t j = 0; j < i; j++) {
            if (strcmp(plugin->codecs[i]->id, plugin->codecs[j]->id)) continue;
            return tsr_fail(err, TSR_E_PLUGIN, "codec %s is there twice", plugin->codecs[i]->id);
        }
        ++*count;
    }
    return TSR_OK;
}

static tsr_status check_models(const tsr_plugin *plugin, uint64_t *count, tsr_error *err) {
    if (!TSR_HAS(plugin, tsr_plugin, models)) return TSR_OK;
    for (uint64_t i = 0; plugin->models[i]; i++) {
        if (i == TABLE_COUNT_MAX) return tsr_fail(err, TSR_E_PLUGIN, "more than %d models", TABLE_COUNT_MAX);
        tsr_status st = check_model(plugin->models[i], err);
        if (st != TSR_OK) return st;
        for (uint64_t j = 0; j < i; j++) {
            if (strcmp(plugin->models[i]->id, plugin->models[j]->id)) continue;
            return tsr_fail(err, TSR_E_PLUGIN, "model %s is there twice", plugin->models[i]->id);
        }
        ++*count;
    }
    return TSR_OK;
}

tsr_status descriptor_check(const tsr_plugin *plugin, tsr_error *err) {
    uint64_t count = 0;
    tsr_status st = check_size("the plugin table", plugin->struct_size, PLUGIN_SIZE_MIN, err);
    if (st != TSR_OK) return st;
    if (!plugin->name || !plugin->version || !plugin->license) {
        return tsr_fail(err, TSR_E_PLUGIN, "the plugin table has no name, version or license");
    }
    st = check_codecs(plugin, &count, err);
    if (st == TSR_OK) st = check_models(plugin, &count, err);
    if (st == TSR_OK && count == 0) st = tsr_fail(err, TSR_E_PLUGIN, "the plugin offers neither codec nor model");
    return st;
}
