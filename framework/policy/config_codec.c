/* SPDX-License-Identifier: Apache-2.0
 *
 * `codec` and `params` of a rule. One codec has its parameters in the map; a stack has a map of maps by codec:
 *
 *   codec: scalar                  codec: [scalar, remainder]
 *   params: {bits: 4}              params: {scalar: {bits: 4}}
 *
 * and `index`, a map of its own with a signature codec and its params. */
#include <string.h>

#include <base/str.h>
#include <tessera/ext/residual.h>

#include "config_read.h"

/* ---- which codec ---- */

static tsr_status find_codec(const struct config_reader *reader, const struct yaml_node *node,
                             struct config_stage *stage, tsr_error *err) {
    tsr_error inner = {0};
    const char *name;
    tsr_status st = config_text(reader, node, "codec", &name, err);
    if (st) return st;
    st = registry_codec(reader->registry, name, &stage->codec, &stage->plugin, &inner);
    if (st && st != TSR_E_CONFIG) {
        if (err) *err = inner;
        return st;
    }
    return st ? yaml_fail(err, reader->path, node, "%s", inner.message) : TSR_OK;
}

static tsr_status refuse_signature(const struct config_reader *reader, const struct yaml_node *node,
                                   const struct config_stage *stage, tsr_error *err) {
    if (!(stage->codec->flags & TSR_CODEC_SIGNATURE)) return TSR_OK;
    return yaml_fail(err, reader->path, node,
                     "codec %s makes signatures: an address is not a reconstruction (checks C4, D1; index: {codec: %s} stores them beside "
                     "the tensor)",
                     stage->codec->name, stage->codec->name);
}

static bool takes_prediction(const tsr_codec *codec) {
    return codec->get_extension && codec->get_extension(TSR_RESIDUAL_ID);
}

/* What is left over must be there, and be something that this codec can be given. */
static tsr_status check_place(const struct config_reader *reader, const struct yaml_node *node,
                              const struct config_stage *stages, uint64_t at, tsr_error *err) {
    const tsr_codec *codec = stages[at].codec;
    if (at && (stages[at - 1].codec->flags & TSR_CODEC_EXACT)) {
        return yaml_fail(err, reader->path, node, "codec %s leaves nothing over for %s", stages[at - 1].codec->name,
                         codec->name);
    }
    for (uint64_t i = 0; i < at; i++) {
        if (stages[i].codec == codec) {
            return yaml_fail(err, reader->path, node, "codec %s stands twice in the stack", codec->name);
        }
    }
    if (at == 0 || takes_prediction(codec)) return TSR_OK;
    if (!(codec->flags & TSR_CODEC_EXACT) && codec->input == TSR_INPUT_F32) return TSR_OK;
    return yaml_fail(err, reader->path, node, "codec %s cannot encode what %s leaves over", codec->name,
                     stages[at - 1].codec->name);
}

/* Bit copies need a stack that ends exactly. */
static tsr_status check_regime(const struct config_reader *reader, const struct yaml_node *node,
                               const struct config_rule *rule, const struct config_stage *last, tsr_error *err) {
    if (rule->regime != TSR_REGIME_EXACT || (last->codec->flags & TSR_CODEC_EXACT)) return TSR_OK;
    return yaml_fail(err, reader->path, node, "codec %s is lossy: the exact regime demands an exact codec",
                     last->codec->name);
}

/* ---- its parameters ---- */

static bool has_param(const tsr_codec *codec, const char *name, int32_t *type) {
    for (uint64_t i = 0; i < codec->param_count; i++) {
        const tsr_param *param = param_at(codec, i);
        if (strcmp(param->name, name)) continue;
        *type = param->type;
        return true;
    }
    return false;
}

/* Text of a parameter as param_bind wants it: a scalar as it stands, a list as "[a, b]". */
static tsr_status param_text_of(const struct config_reader *reader, const struct yaml_node *node, const char *name,
                                const char **text, tsr_error *err) {
    struct str joined = {0};
    tsr_status st = TSR_OK;
    if (node->kind == YAML_MAP) return yaml_fail(err, reader->path, node, "parameter \"%s\": found a map", name);
    if (node->kind == YAML_SCALAR) return config_text(reader, node, name, text, err);
    for (uint64_t i = 0; i < node->count && !st; i++) {
        const char *item;
        st = config_text(reader, &node->items[i], name, &item, err);
        if (!st) str_add_format(&joined, "%s%s", i ? ", " : "", item);
    }
    if (!st) *text = arena_format(reader->arena, "[%s]", joined.length ? joined.text : "");
    if (!st && (joined.failed || !*text)) st = config_no_memory(reader, err);
    str_clear(&joined);
    return st;
}

static tsr_status read_param(const struct config_reader *reader, const struct yaml_node *key,
                             const struct yaml_node *value, const tsr_codec *codec, struct param_given *given,
                             tsr_error *err) {
    int32_t type = 0;
    bool known = has_param(codec, key->text, &type);
    given->name = key->text;
    given->text = "";
    tsr_status st = known ? param_text_of(reader, value, key->text, &given->text, err) : TSR_OK;
    if (st) return st;
    if (known && value->quoted && type != TSR_PARAM_CHOICE) {
        return yaml_fail(err, reader->path, value, "parameter \"%s\": found quoted text \"%s\", expected it unquoted",
                         key->text, value->text);
    }
    tsr_error inner = {0};
    st = param_check_given(codec, given, &inner);
    return st ? yaml_fail(err, reader->path, known ? value : key, "%s", inner.message) : TSR_OK;
}

/* "bits: auto" is no value of the codec: the solver gives it one. What is bound meanwhile is the default. */
static bool is_free(const struct yaml_node *key, const struct yaml_node *value, const tsr_codec *codec) {
    int32_t type = 0;
    return value->kind == YAML_SCALAR && !value->quoted && !strcmp(key->text, CONFIG_FREE_PARAM) &&
           !strcmp(value->text, "auto") && has_param(codec, key->text, &type) && type == TSR_PARAM_REAL;
}

/* `node` is the map of the stage's parameters, or NULL; `rule` is where a mistake is reported then. */
static tsr_status read_params(const struct config_reader *reader, const struct yaml_node *node,
                              const struct yaml_node *rule, struct config_stage *stage, tsr_error *err) {
    struct param_given *given = NULL;
    tsr_status st = node ? yaml_expect(node, YAML_MAP, "params", reader->path, err) : TSR_OK;
    if (!st && node) {
        given = arena_alloc(reader->arena, node->count, sizeof *given);
        if (!given) return config_no_memory(reader, err);
        stage->given = given;
    }
    for (uint64_t i = 0; node && !st && i < node->count; i++) {
        stage->free_bits = stage->free_bits || is_free(&node->keys[i], &node->items[i], stage->codec);
        if (is_free(&node->keys[i], &node->items[i], stage->codec)) continue;
        st = read_param(reader, &node->keys[i], &node->items[i], stage->codec, &given[stage->given_count++], err);
    }
    if (st) return st;
    tsr_error inner = {0};
    st = param_bind(stage->codec, stage->given, stage->given_count, reader->arena, &stage->params, &inner);
    if (st == TSR_E_NOMEM) return config_no_memory(reader, err);
    return st ? yaml_fail(err, reader->path, node ? node : rule, "%s", inner.message) : TSR_OK;
}

/* ---- stacks ---- */

static tsr_status read_stack_params(const struct config_reader *reader, const struct yaml_node *map,
                                    struct config_stage *stages, uint64_t count, tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, "params");
    const char *names[CONFIG_STAGES_MAX + 1] = {0};
    for (uint64_t i = 0; i < count; i++) names[i] = stages[i].codec->name;
    tsr_status st = node ? yaml_expect(node, YAML_MAP, "params of a stack", reader->path, err) : TSR_OK;
    if (!st && node) st = yaml_known_keys(node, names, reader->path, err);
    for (uint64_t i = 0; i < count && !st; i++) {
        st = read_params(reader, node ? yaml_get(node, names[i]) : NULL, map, &stages[i], err);
        if (!st && stages[i].free_bits) st = yaml_fail(err, reader->path, node, "bits: auto has no meaning in a stack");
    }
    return st;
}

static void keep(struct config_rule *rule, const struct config_stage *stages, uint64_t count) {
    rule->codec = stages->codec;
    rule->plugin = stages->plugin;
    rule->given = stages->given;
    rule->given_count = stages->given_count;
    rule->params = stages->params;
    rule->free_bits = stages->free_bits;
    rule->more = stages + 1;
    rule->more_count = count - 1;
}

tsr_status config_read_codecs(const struct config_reader *reader, const struct yaml_node *map, struct config_rule *rule,
                              tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, "codec");
    struct config_items items;
    if (!node) return yaml_fail(err, reader->path, map, "the rule has no codec");
    tsr_status st = config_one_or_more(reader, node, "codec", &items, err);
    if (!st && items.count > CONFIG_STAGES_MAX) {
        st = yaml_fail(err, reader->path, node, "codec: a stack of %llu codecs, at most %d are possible",
                       (unsigned long long)items.count, CONFIG_STAGES_MAX);
    }
    if (st) return st;
    struct config_stage *stages = arena_alloc(reader->arena, items.count, sizeof *stages);
    if (!stages) return config_no_memory(reader, err);
    for (uint64_t i = 0; i < items.count && !st; i++) {
        st = find_codec(reader, &items.nodes[i], &stages[i], err);
        if (!st) st = refuse_signature(reader, &items.nodes[i], &stages[i], err);
        if (!st) st = check_place(reader, &items.nodes[i], stages, i, err);
    }
    if (!st) st = check_regime(reader, node, rule, &stages[items.count - 1], err);
    if (st) return st;
    if (node->kind == YAML_LIST && items.count > 1) {
        st = read_stack_params(reader, map, stages, items.count, err);
    } else {
        st = read_params(reader, yaml_get(map, "params"), map, stages, err);
    }
    if (!st) keep(rule, stages, items.count);
    return st;
}

/* ---- index ---- */

tsr_status config_read_index(const struct config_reader *reader, const struct yaml_node *map, struct config_rule *rule,
                             tsr_error *err) {
    static const char *const keys[] = {"codec", "params", NULL};
    const struct yaml_node *index = yaml_get(map, "index");
    if (!index) return TSR_OK;
    tsr_status st = yaml_expect(index, YAML_MAP, "index", reader->path, err);
    if (!st) st = yaml_known_keys(index, keys, reader->path, err);
    if (st) return st;
    const struct yaml_node *node = yaml_get(index, "codec");
    struct config_stage *stage = arena_alloc(reader->arena, 1, sizeof *stage);
    if (!stage) return config_no_memory(reader, err);
    if (!node) return yaml_fail(err, reader->path, index, "the index has no codec");
    st = find_codec(reader, node, stage, err);
    if (!st && !(stage->codec->flags & TSR_CODEC_SIGNATURE)) {
        st = yaml_fail(err, reader->path, node, "codec %s makes no signatures: it cannot be an index",
                       stage->codec->name);
    }
    if (!st) st = read_params(reader, yaml_get(index, "params"), index, stage, err);
    if (!st && stage->free_bits) st = yaml_fail(err, reader->path, index, "bits: auto has no meaning in an index");
    rule->index = stage;
    return st;
}
