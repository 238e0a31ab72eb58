/* SPDX-License-Identifier: Apache-2.0
 *
 * What plugins declare, turned into JSON. jansson's pack and append fail as a whole: any NULL is out of memory. */
#include "plugin_view.h"

#include <format/dtype.h>

static json_t *codec_names(const tsr_plugin *plugin) {
    json_t *names = json_array();
    for (uint64_t i = 0; plugin && plugin->codecs && plugin->codecs[i]; i++) {
        json_array_append_new(names, json_string(plugin->codecs[i]->name));
    }
    return names;
}

static json_t *model_names(const tsr_plugin *plugin) {
    json_t *names = json_array();
    for (uint64_t i = 0; plugin && plugin->models && plugin->models[i]; i++) {
        json_array_append_new(names, json_string(plugin->models[i]->name));
    }
    return names;
}

static json_t *plugin_json(const struct registry_plugin *entry) {
    const tsr_plugin *plugin = entry->plugin;
    return json_pack("{s:s, s:s?, s:s?, s:s?, s:I, s:s, s:s?, s:o, s:o}", "path", entry->path, "name",
                     plugin ? plugin->name : NULL, "version", plugin ? plugin->version : NULL, "license",
                     plugin ? plugin->license : NULL, "abi_minor", plugin ? (json_int_t)plugin->abi_minor : 0, "digest",
                     entry->digest, "refused", entry->refusal, "codecs", codec_names(plugin), "models",
                     model_names(plugin));
}

json_t *plugin_list_json(const struct registry *registry) {
    json_t *plugins = json_array();
    for (uint64_t i = 0; i < registry_plugin_count(registry); i++) {
        if (json_array_append_new(plugins, plugin_json(registry_plugin_at(registry, i)))) {
            json_decref(plugins);
            return NULL;
        }
    }
    return json_pack("{s:o}", "plugins", plugins);
}

static json_t *param_json(const tsr_param *param) {
    static const char *const types[] = {"?", "integer", "real", "boolean", "choice", "integers"};
    bool known = param->type >= TSR_PARAM_INT && param->type <= TSR_PARAM_INTS;
    bool ranged = param->type == TSR_PARAM_INT || param->type == TSR_PARAM_REAL || param->type == TSR_PARAM_INTS;
    json_t *choices = param->type == TSR_PARAM_CHOICE ? json_array() : json_null();
    for (uint64_t i = 0; param->type == TSR_PARAM_CHOICE && param->choices[i]; i++) {
        json_array_append_new(choices, json_string(param->choices[i]));
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:s, s:o, s:s}", "name", param->name, "type", types[known ? param->type : 0],
                     "minimum", ranged ? json_real(param->minimum) : json_null(), "maximum",
                     ranged ? json_real(param->maximum) : json_null(), "default", param->default_text, "choices",
                     choices, "doc", param->doc);
}

static json_t *flags_json(uint64_t flags) {
    static const char *const names[] = {"exact",       "reconstruct",     "correction",       "signature",
                                        "progressive", "encode_portable", "decode_untrusted", "experimental"};
    json_t *list = json_array();
    for (unsigned bit = 0; bit < sizeof names / sizeof names[0]; bit++) {
        if (flags >> bit & 1) json_array_append_new(list, json_string(names[bit]));
    }
    return list;
}

static json_t *dtypes_json(uint64_t dtypes) {
    json_t *list = json_array();
    for (int32_t dtype = 0; dtype < TSR_DTYPE_COUNT; dtype++) {
        if (dtypes & TSR_DTYPE_BIT(dtype)) json_array_append_new(list, json_string(dtype_name(dtype)));
    }
    return list;
}

json_t *plugin_codec_json(const tsr_codec *codec, const struct registry_plugin *owner) {
    json_t *params = json_array();
    for (uint64_t i = 0; i < codec->param_count; i++) json_array_append_new(params, param_json(&codec->params[i]));
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o}", "id", codec->id, "name", codec->name,
                     "description", codec->description, "path", owner->path, "bitstream_version",
                     (json_int_t)codec->bitstream_version, "bitstream_oldest", (json_int_t)codec->bitstream_oldest,
                     "flags", flags_json(codec->flags), "dtypes", dtypes_json(codec->dtypes), "params", params);
}
