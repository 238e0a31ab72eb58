/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the two configs. Values that the official classes give by default are given here too; all others must be there. */
#include "spec.h"

#include <math.h>
#include <string.h>

#define WIDTH_MAX (UINT64_C(1) << 20)
#define LAYERS_MAX 4096
#define SUPPRESSED 1024 /* ids at the end of the codec vocabulary that are no codes */

const tsr_node *node_get(const tsr_node *map, const char *key) {
    if (!map || map->kind != TSR_NODE_MAP) return NULL;
    for (uint64_t i = 0; i < map->count; i++) {
        if (!strcmp(map->children[i].key, key)) return &map->children[i];
    }
    return NULL;
}

/* One map of a config being read. The first failure stays; what follows reads nothing. */
struct reader {
    const tsr_node *map;
    const char *where; /* "config.json: talker_config" */
    tsr_status status;
    tsr_error *err;
};

static const tsr_node *wanted(struct reader *reader, const char *key, bool is_needed) {
    const tsr_node *node = node_get(reader->map, key);
    if (node && node->kind == TSR_NODE_NULL) node = NULL;
    if (!node && is_needed && reader->status == TSR_OK) {
        reader->status = tsr_fail(reader->err, TSR_E_INPUT, "%s: %s is missing", reader->where, key);
    }
    return reader->status == TSR_OK ? node : NULL;
}

static bool is_count(const tsr_node *node, uint64_t least, uint64_t most) {
    return node->kind == TSR_NODE_NUMBER && node->number == floor(node->number) && node->number >= (double)least &&
           node->number <= (double)most;
}

static uint64_t count_of(struct reader *reader, const tsr_node *node, const char *key, uint64_t least, uint64_t most) {
    if (is_count(node, least, most)) return (uint64_t)node->number;
    reader->status = tsr_fail(reader->err, TSR_E_INPUT, "%s: %s: expected a number from %llu to %llu, found \"%.40s\"",
                              reader->where, key, (unsigned long long)least, (unsigned long long)most, node->text);
    return least;
}

/* A number from 1 to `most`; `standard` when it may be absent, 0 when it must be there. */
static uint64_t read_count(struct reader *reader, const char *key, uint64_t most, uint64_t standard) {
    const tsr_node *node = wanted(reader, key, standard == 0);
    return node ? count_of(reader, node, key, 1, most) : standard ? standard : 1;
}

static double read_real(struct reader *reader, const char *key, double standard) {
    const tsr_node *node = wanted(reader, key, standard <= 0);
    if (!node) return standard > 0 ? standard : 1;
    if (node->kind == TSR_NODE_NUMBER && node->number > 0 && isfinite(node->number)) return node->number;
    reader->status = tsr_fail(reader->err, TSR_E_INPUT, "%s: %s: expected a positive number, found \"%.40s\"", reader->where,
                              key, node->text);
    return 1;
}

static uint32_t read_id(struct reader *reader, const char *key, uint64_t vocabulary) {
    const tsr_node *node = wanted(reader, key, true);
    return node ? (uint32_t)count_of(reader, node, key, 0, vocabulary - 1) : 0;
}

/* A list of 1..most counts; NULL `standard`: must be there. */
static uint64_t read_counts(struct reader *reader, const char *key, uint64_t most, uint64_t *values, const uint64_t *standard) {
    const tsr_node *node = wanted(reader, key, standard == NULL);
    if (!node) {
        for (uint64_t i = 0; standard && i < most; i++) values[i] = standard[i];
        return standard ? most : 0;
    }
    if (node->kind != TSR_NODE_LIST || node->count == 0 || node->count > most) {
        reader->status = tsr_fail(reader->err, TSR_E_INPUT, "%s: %s: expected a list of 1 to %llu numbers", reader->where, key,
                                  (unsigned long long)most);
        return 0;
    }
    for (uint64_t i = 0; i < node->count && reader->status == TSR_OK; i++) {
        values[i] = count_of(reader, &node->children[i], key, 1, WIDTH_MAX);
    }
    return node->count;
}

static void expect_text(struct reader *reader, const char *key, const char *expected) {
    const tsr_node *node = wanted(reader, key, true);
    if (!node || (node->kind == TSR_NODE_TEXT && !strcmp(node->text, expected))) return;
    reader->status = tsr_fail(reader->err, TSR_E_UNSUPPORTED, "%s: %s: \"%.40s\" is not supported (%s is)", reader->where, key,
                              node->text, expected);
}

static struct reader enter(struct reader *outer, const char *key, const char *where) {
    struct reader inner = {wanted(outer, key, true), where, outer->status, outer->err};
    if (inner.status == TSR_OK && inner.map->kind != TSR_NODE_MAP) {
        inner.status = tsr_fail(outer->err, TSR_E_INPUT, "%s: %s: expected an object", outer->where, key);
    }
    return inner;
}

/* ---- stacks ---- */

static void read_stack(struct reader *reader, struct stack_spec *stack) {
    stack->layers = read_count(reader, "num_hidden_layers", LAYERS_MAX, 0);
    stack->width = read_count(reader, "hidden_size", WIDTH_MAX, 0);
    stack->inner = read_count(reader, "intermediate_size", WIDTH_MAX, 0);
    stack->heads = read_count(reader, "num_attention_heads", WIDTH_MAX, 0);
    stack->kv_heads = read_count(reader, "num_key_value_heads", WIDTH_MAX, stack->heads);
    stack->head_dim = read_count(reader, "head_dim", WIDTH_MAX, stack->width / stack->heads ? stack->width / stack->heads : 1);
    stack->theta = read_real(reader, "rope_theta", 10000);
    if (reader->status != TSR_OK || (stack->heads % stack->kv_heads == 0 && stack->head_dim % 2 == 0)) return;
    reader->status = tsr_fail(reader->err, TSR_E_INPUT, "%s: %llu heads of %llu over %llu key heads: expected an even size and "
                              "a whole share", reader->where, (unsigned long long)stack->heads,
                              (unsigned long long)stack->head_dim, (unsigned long long)stack->kv_heads);
}

static void refuse_true(struct reader *reader, const char *key) {
    const tsr_node *node = node_get(reader->map, key);
    if (reader->status != TSR_OK || !node || node->kind != TSR_NODE_BOOL || node->number == 0) return;
    reader->status = tsr_fail(reader->err, TSR_E_UNSUPPORTED, "%s: %s: true is not supported", reader->where, key);
}

static void read_language_stack(struct reader *reader, struct stack_spec *stack) {
    read_stack(reader, stack);
    stack->eps = read_real(reader, "rms_norm_eps", 1e-6);
    stack->qk_norm = stack->gated = stack->final_norm = true;
    expect_text(reader, "hidden_act", "silu");
    refuse_true(reader, "attention_bias");
    refuse_true(reader, "use_sliding_window");
}

/* ---- names ---- */

static uint64_t read_names(struct reader *reader, const char *key, uint64_t vocabulary, struct named_id *names) {
    const tsr_node *map = wanted(reader, key, false);
    uint64_t count = 0;
    if (!map || map->kind != TSR_NODE_MAP) return 0;
    for (uint64_t i = 0; i < map->count && reader->status == TSR_OK; i++) {
        if (count == NAMES_MAX - 1) {
            reader->status = tsr_fail(reader->err, TSR_E_LIMIT, "%s: %s: more than %d names", reader->where, key, NAMES_MAX - 1);
            break;
        }
        names[count].name = map->children[i].key;
        names[count++].id = (uint32_t)count_of(reader, &map->children[i], key, 0, vocabulary - 1);
    }
    return count;
}

/* spk_is_dialect mixes false and a language's name. */
static void read_dialects(struct reader *reader, struct spec *spec) {
    const tsr_node *map = wanted(reader, "spk_is_dialect", false);
    for (uint64_t i = 0; i < spec->speaker_count; i++) {
        const tsr_node *node = node_get(map, spec->speakers[i].name);
        if (node && node->kind == TSR_NODE_TEXT) spec->speakers[i].dialect = node->text;
    }
}

/* ---- config.json ---- */

static void read_control_ids(struct reader *top, struct reader *talker, struct spec *spec) {
    struct ids *ids = &spec->ids;
    ids->text_pad = read_id(top, "tts_pad_token_id", spec->text_vocabulary);
    ids->text_bos = read_id(top, "tts_bos_token_id", spec->text_vocabulary);
    ids->text_eos = read_id(top, "tts_eos_token_id", spec->text_vocabulary);
    ids->pad = read_id(talker, "codec_pad_id", spec->vocabulary);
    ids->bos = read_id(talker, "codec_bos_id", spec->vocabulary);
    ids->eos = read_id(talker, "codec_eos_token_id", spec->vocabulary);
    ids->think = read_id(talker, "codec_think_id", spec->vocabulary);
    ids->nothink = read_id(talker, "codec_nothink_id", spec->vocabulary);
    ids->think_bos = read_id(talker, "codec_think_bos_id", spec->vocabulary);
    ids->think_eos = read_id(talker, "codec_think_eos_id", spec->vocabulary);
}

static void read_predictor(struct reader *talker, struct spec *spec, uint64_t *codebook) {
    struct reader reader = enter(talker, "code_predictor_config", "config.json: code_predictor_config");
    if (reader.status == TSR_OK) {
        read_language_stack(&reader, &spec->predictor);
        *codebook = read_count(&reader, "vocab_size", WIDTH_MAX, 0);
        if (reader.status == TSR_OK && read_count(&reader, "num_code_groups", GROUPS_MAX, 0) != spec->groups) {
            reader.status = tsr_fail(reader.err, TSR_E_INPUT, "%s: num_code_groups differs from the talker's %llu", reader.where,
                                     (unsigned long long)spec->groups);
        }
    }
    talker->status = reader.status;
}

static void read_talker(struct reader *top, struct spec *spec, uint64_t *codebook) {
    struct reader reader = enter(top, "talker_config", "config.json: talker_config");
    if (reader.status == TSR_OK) {
        read_language_stack(&reader, &spec->talker);
        spec->text_vocabulary = read_count(&reader, "text_vocab_size", UINT32_MAX, 0);
        spec->text_width = read_count(&reader, "text_hidden_size", WIDTH_MAX, 2048);
        spec->vocabulary = read_count(&reader, "vocab_size", WIDTH_MAX, 0);
        spec->groups = read_count(&reader, "num_code_groups", GROUPS_MAX, 0);
        spec->context = read_count(&reader, "max_position_embeddings", UINT32_MAX, 32768);
        spec->speaker_count = read_names(&reader, "spk_id", spec->vocabulary, spec->speakers);
        spec->language_count = read_names(&reader, "codec_language_id", spec->vocabulary, spec->languages);
        read_dialects(&reader, spec);
        read_control_ids(top, &reader, spec);
        read_predictor(&reader, spec, codebook);
    }
    if (top->status == TSR_OK) top->status = reader.status;
}

static void read_speaker_encoder(struct reader *top, struct spec *spec) {
    static const uint64_t channels[] = {512, 512, 512, 512, 1536}, kernels[] = {5, 3, 3, 3, 1}, dilations[] = {1, 2, 3, 4, 1};
    struct speaker_spec *speaker = &spec->speaker;
    struct reader reader = {node_get(top->map, "speaker_encoder_config"), "config.json: speaker_encoder_config", top->status,
                            top->err};
    speaker->present = spec->base && reader.map != NULL;
    if (!speaker->present) return;
    speaker->width = read_count(&reader, "enc_dim", WIDTH_MAX, 1024);
    uint64_t a = read_counts(&reader, "enc_channels", SPEAKER_BLOCKS, speaker->channels, channels);
    uint64_t b = read_counts(&reader, "enc_kernel_sizes", SPEAKER_BLOCKS, speaker->kernels, kernels);
    uint64_t c = read_counts(&reader, "enc_dilations", SPEAKER_BLOCKS, speaker->dilations, dilations);
    speaker->attention = read_count(&reader, "enc_attention_channels", WIDTH_MAX, 128);
    speaker->scale = read_count(&reader, "enc_res2net_scale", 256, 8);
    speaker->squeeze = read_count(&reader, "enc_se_channels", WIDTH_MAX, 128);
    const uint64_t *ch = speaker->channels;
    bool whole = a == SPEAKER_BLOCKS && b == SPEAKER_BLOCKS && c == SPEAKER_BLOCKS;
    if (reader.status == TSR_OK && (!whole || speaker->width != spec->talker.width || ch[4] != ch[1] + ch[2] + ch[3] ||
                                    ch[0] != ch[1] || ch[1] != ch[2] || ch[2] != ch[3] || ch[1] % speaker->scale)) {
        reader.status = tsr_fail(top->err, TSR_E_UNSUPPORTED, "%s: channels, kernels or enc_dim do not fit together", reader.where);
    }
    top->status = reader.status;
}

/* ---- speech_tokenizer/config.json ---- */

static void read_vocoder(struct reader *top, struct vocoder_spec *vocoder) {
    struct reader reader = enter(top, "decoder_config", "speech_tokenizer/config.json: decoder_config");
    if (reader.status == TSR_OK) {
        vocoder->codebook = read_count(&reader, "codebook_size", WIDTH_MAX, 0);
        vocoder->groups = read_count(&reader, "num_quantizers", GROUPS_MAX, 0);
        vocoder->width = read_count(&reader, "codebook_dim", WIDTH_MAX, 0);
        vocoder->code_width = vocoder->width / 2;
        vocoder->latent = read_count(&reader, "latent_dim", WIDTH_MAX, 0);
        vocoder->channels = read_count(&reader, "decoder_dim", WIDTH_MAX, 0);
        vocoder->rate_count = read_counts(&reader, "upsample_rates", STAGES_MAX, vocoder->rates, NULL);
        vocoder->ratio_count = read_counts(&reader, "upsampling_ratios", STAGES_MAX, vocoder->ratios, NULL);
        read_stack(&reader, &vocoder->stack);
        vocoder->stack.eps = read_real(&reader, "rms_norm_eps", 1e-5);
        vocoder->stack.window = read_count(&reader, "sliding_window", WIDTH_MAX, 0);
        vocoder->stack.gated = vocoder->stack.layer_scale = vocoder->stack.final_norm = true;
        expect_text(&reader, "hidden_act", "silu");
        if (reader.status == TSR_OK && (vocoder->groups < 2 || vocoder->channels % (UINT64_C(1) << vocoder->rate_count) ||
                                        vocoder->width % 2)) {
            reader.status = tsr_fail(top->err, TSR_E_INPUT, "%s: needs two quantizers, an even codebook_dim, and a decoder_dim "
                                     "that can be halved %llu times", reader.where, (unsigned long long)vocoder->rate_count);
        }
    }
    top->status = reader.status;
}

static void read_encoder(struct reader *top, struct encoder_spec *encoder) {
    uint64_t ratios[STAGES_MAX];
    struct reader reader = {node_get(top->map, "encoder_config"), "speech_tokenizer/config.json: encoder_config", top->status,
                            top->err};
    encoder->present = reader.map && reader.map->kind == TSR_NODE_MAP;
    if (!encoder->present) return;
    encoder->filters = read_count(&reader, "num_filters", WIDTH_MAX, 64);
    encoder->kernel = read_count(&reader, "kernel_size", 64, 7);
    encoder->residual_kernel = read_count(&reader, "residual_kernel_size", 64, 3);
    encoder->last_kernel = read_count(&reader, "last_kernel_size", 64, 3);
    encoder->compress = read_count(&reader, "compress", 64, 2);
    encoder->ratio_count = read_counts(&reader, "upsampling_ratios", STAGES_MAX, ratios, NULL);
    for (uint64_t i = 0; i < encoder->ratio_count; i++) encoder->ratios[i] = ratios[encoder->ratio_count - 1 - i];
    encoder->codebook = read_count(&reader, "codebook_size", WIDTH_MAX, 2048);
    encoder->code_width = read_count(&reader, "codebook_dim", WIDTH_MAX, 256);
    read_stack(&reader, &encoder->stack);
    encoder->stack.eps = read_real(&reader, "norm_eps", 1e-5);
    encoder->stack.layer_norm = encoder->stack.layer_scale = true;
    expect_text(&reader, "hidden_act", "gelu");
    if (reader.status == TSR_OK && read_count(&reader, "num_residual_layers", 64, 1) != 1) {
        reader.status = tsr_fail(top->err, TSR_E_UNSUPPORTED, "%s: num_residual_layers: 1 is supported", reader.where);
    }
    refuse_true(&reader, "use_conv_shortcut");
    top->status = reader.status;
}

/* The product of the stages must be what the config says of the whole. */
static void check_rates(struct reader *top, struct spec *spec) {
    uint64_t up = 1, down = 1;
    uint64_t said = read_count(top, "encode_downsample_rate", UINT32_MAX, spec->samples_per_frame);
    for (uint64_t i = 0; i < spec->vocoder.rate_count; i++) up *= spec->vocoder.rates[i];
    for (uint64_t i = 0; i < spec->vocoder.ratio_count && up < UINT32_MAX; i++) up *= spec->vocoder.ratios[i];
    for (uint64_t i = 0; i < spec->encoder.ratio_count && down < UINT32_MAX; i++) down *= spec->encoder.ratios[i];
    if (top->status != TSR_OK) return;
    spec->encoder.stride = said / down;
    if (up != spec->samples_per_frame || (spec->encoder.present && (said % down || said != up))) {
        top->status = tsr_fail(top->err, TSR_E_INPUT, "%s: stages of %llu and %llu samples do not make frames of %llu", top->where,
                               (unsigned long long)up, (unsigned long long)down, (unsigned long long)spec->samples_per_frame);
    }
}

static tsr_status read_tokenizer(const tsr_node *parts, struct spec *spec, uint64_t codebook, tsr_error *err) {
    struct reader top = {node_get(parts, "speech_tokenizer"), "speech_tokenizer/config.json", TSR_OK, err};
    if (!top.map) {
        return tsr_fail(err, TSR_E_INPUT, "the folder speech_tokenizer with model.safetensors and config.json is missing");
    }
    spec->sample_rate = read_count(&top, "output_sample_rate", 1000000, 24000);
    spec->samples_per_frame = read_count(&top, "decode_upsample_rate", WIDTH_MAX, 0);
    if (top.status == TSR_OK) read_vocoder(&top, &spec->vocoder);
    if (top.status == TSR_OK) read_encoder(&top, &spec->encoder);
    if (top.status == TSR_OK) check_rates(&top, spec);
    if (top.status == TSR_OK && (spec->vocoder.groups != spec->groups || spec->vocoder.codebook != codebook)) {
        top.status = tsr_fail(err, TSR_E_INPUT, "%s: %llu quantizers of %llu codes, config.json has %llu of %llu", top.where,
                              (unsigned long long)spec->vocoder.groups, (unsigned long long)spec->vocoder.codebook,
                              (unsigned long long)spec->groups, (unsigned long long)codebook);
    }
    return top.status;
}

static bool text_is(const tsr_node *node, const char *text) {
    return node && node->kind == TSR_NODE_TEXT && !strcmp(node->text, text);
}

/* The official wrapper drops instructions for models whose size contains "0b6", and Base has none. */
static void read_variant(struct reader *top, struct spec *spec) {
    const tsr_node *size = node_get(top->map, "tts_model_size"), *type = node_get(top->map, "tts_model_type");
    bool small = size && size->kind == TSR_NODE_TEXT && strstr("0b6", size->text) != NULL;
    spec->base = text_is(type, "base");
    spec->takes_instruct = !spec->base && !(small && text_is(type, "custom_voice"));
    if (!type || spec->base || text_is(type, "custom_voice") || text_is(type, "voice_design")) return;
    top->status = tsr_fail(top->err, TSR_E_UNSUPPORTED, "config.json: tts_model_type: \"%.40s\" is not supported (base, "
                           "custom_voice and voice_design are)", type->text);
}

tsr_status spec_read(const tsr_node *config, const tsr_node *parts, struct spec *spec, tsr_error *err) {
    struct reader top = {config, "config.json", TSR_OK, err};
    uint64_t codebook = 0;
    memset(spec, 0, sizeof *spec);
    read_variant(&top, spec);
    if (top.status == TSR_OK) read_talker(&top, spec, &codebook);
    if (top.status == TSR_OK) read_speaker_encoder(&top, spec);
    if (top.status == TSR_OK && (spec->groups < 2 || spec->vocabulary != codebook + SUPPRESSED)) {
        top.status = tsr_fail(err, TSR_E_INPUT, "config.json: %llu codec ids for %llu codes: expected %d more, and two code groups",
                              (unsigned long long)spec->vocabulary, (unsigned long long)codebook, SUPPRESSED);
    }
    return top.status == TSR_OK ? read_tokenizer(parts, spec, codebook, err) : top.status;
}
