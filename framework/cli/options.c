/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of options and the parser over it: GNU habits (--name=value, --name value, -nvalue, -qv, "--"), no
 * abbreviations, because a script that relies on one breaks when an option is added. */
#include "options.h"

#include <base/number.h>
#include <base/str.h>
#include <stdlib.h>
#include <string.h>

const struct option OPTIONS[OPT_COUNT] = {
    [OPT_CONFIG] = {"config", 'c', "CONFIG",
                    "YAML file or name of an installed profile; without it everything is lossless"},
    [OPT_OUTPUT] = {"output", 'o', "PATH", "folder to write"},
    [OPT_FORCE] = {"force", 'f', NULL, "replace an output that exists"},
    [OPT_LEVEL] = {"level", 0, "LEVEL",
                   "of tensors that a stack of codecs stored: base (the first codec alone), exact (all, and nothing lost), "
                   "or how many codecs of each stack"},
    [OPT_CODEC_LEVEL] = {"codec-level", 0, "N", "progressive codecs decode with their first N stages only"},
    [OPT_RESTART] = {"restart", 0, NULL, "throw an unfinished run away instead of resuming it"},
    [OPT_MAX_SHARD_SIZE] = {"max-shard-size", 0, "SIZE",
                            "split the output into files of at most SIZE (default: split as the source)"},
    [OPT_SHARD] = {"shard", 0, "I/N", "encode the I-th of N shares, into PATH.shard-I-of-N; --merge N puts them together"},
    [OPT_MERGE] = {"merge", 0, "N", "take the tensors from N shards beside PATH, which are then removed"},
    [OPT_STORE] = {"store", 0, "FOLDER", "keep encoded tensors there, and take those that are there already"},
    [OPT_RECORD] = {"record", 0, "FILE", "keep there how the run ended: the same command then knows that it is done"},
    [OPT_ENGINE] = {"engine", 0, "NAME", "local (processes of this machine, the default) or slurm (job arrays)"},
    [OPT_WORKERS] = {"workers", 0, "N", "jobs that run at once (default: as the file says, else one a processor)"},
    [OPT_PARTITION] = {"partition", 0, "NAME", "partition of Slurm that takes the jobs"},
    [OPT_WATCH] = {"watch", 0, NULL, "show it again every second until nothing runs"},
    [OPT_PROMPT] = {"prompt", 'p', "TEXT", "text to answer or to continue"},
    [OPT_RAW] = {"raw", 0, NULL, "the prompt as it stands, whatever chat template the model has"},
    [OPT_CHAT] = {"chat", 0, NULL, "a conversation: a message a line, until /exit or the end of the input"},
    [OPT_SYSTEM] = {"system", 0, "TEXT", "system message (default: that of the chat template)"},
    [OPT_MAX_TOKENS] = {"max-tokens", 0, "N", "longest answer (default 256)"},
    [OPT_MIN_TOKENS] = {"min-tokens", 0, "N", "no answer ends by itself before N tokens (default 0)"},
    [OPT_CONTEXT] = {"context", 0, "N", "tokens that prompt and answers may fill (--chat: 4096), at most the model's"},
    [OPT_STOP] = {"stop", 0, "TEXT", "end the answer in front of TEXT; may be repeated"},
    [OPT_TEMPERATURE] = {"temperature", 0, "T", "choose at random, the flatter the larger T is (default 0: greedy)"},
    [OPT_TOP_K] = {"top-k", 0, "K", "choose among the K most probable tokens"},
    [OPT_TOP_P] = {"top-p", 0, "P", "choose among the fewest tokens whose probabilities reach P"},
    [OPT_MIN_P] = {"min-p", 0, "P", "choose among tokens of at least P times the best one's probability"},
    [OPT_REPETITION_PENALTY] = {"repetition-penalty", 0, "R", "make tokens that were seen less probable (1.1 or so)"},
    [OPT_SEED] = {"seed", 0, "N", "of the random choices (default 0): the same seed gives the same result"},
    [OPT_TEXT] = {"text", 0, "FILE", "text in UTF-8 that the model reads"},
    [OPT_PLAIN_TEXT] = {"text", 0, "TEXT", "the text itself, instead of standard input"},
    [OPT_SAY] = {"text", 0, "TEXT", "text to speak, for a model that speaks"},
    [OPT_SOUND] = {"output", 'o', "FILE", "sound to write, .wav or .flac; - for raw 16-bit samples on standard output"},
    [OPT_SPEAKER] = {"speaker", 0, "NAME", "voice of the model"},
    [OPT_LANGUAGE] = {"language", 0, "NAME", "language of the text (default auto)"},
    [OPT_INSTRUCT] = {"instruct", 0, "TEXT", "how to speak, in words"},
    [OPT_REF_AUDIO] = {"ref-audio", 0, "FILE", "speech whose voice is taken over (Base models)"},
    [OPT_REF_TEXT] = {"ref-text", 0, "TEXT", "what is said there: the answer continues it"},
    [OPT_CODES_IN] = {"codes-in", 0, "FILE", "codes to make a sound of, instead of --text"},
    [OPT_CODES_OUT] = {"codes-out", 0, "FILE", "write the codes too (safetensors)"},
    [OPT_SAMPLE_FORMAT] = {"sample-format", 0, "FORMAT", "of the sound file: 16 (default), 24 or float"},
    [OPT_TEXT_LAYOUT] = {"text-layout", 0, "LAYOUT", "streaming (text along with the speech) or whole (all text first)"},
    [OPT_ONE_PIECE] = {"one-piece", 0, NULL, "decode long speech in one piece, not in the official chunks of 24 s"},
    [OPT_GREEDY] = {"greedy", 0, NULL, "take the most probable code each time"},
    [OPT_SUB_TEMPERATURE] = {"subtalker-temperature", 0, "T", "--temperature of all codes of a frame but the first"},
    [OPT_SUB_TOP_K] = {"subtalker-top-k", 0, "K", "--top-k of these"},
    [OPT_SUB_TOP_P] = {"subtalker-top-p", 0, "P", "--top-p of these"},
    [OPT_NO_SPECIAL] = {"no-special", 0, NULL,
                        "no tokens that the template puts around a text; with --decode: leave special tokens out"},
    [OPT_DECODE] = {"decode", 0, NULL, "read ids, print the text"},
    [OPT_GOLDEN] = {"golden", 0, "FILE", "compare with encodings of another implementation, one JSON object a line"},
    [OPT_WINDOW] = {"window", 0, "N", "tokens that are read in one piece (default 512, at most the context)"},
    [OPT_FULL_MAX] = {"full-max", 0, "N", "widest input whose whole matrix is kept (default 4096); wider: its diagonal"},
    [OPT_FISHER_TOKENS] = {"fisher-tokens", 0, "N", "tokens that are read backwards too, for what an error in each row costs (default "
                                                  "8192; 0: none)"},
    [OPT_STATS] = {"stats", 0, "FILE", "what tessera calibrate gathered: weights of columns for codecs that heed them"},
    [OPT_TARGET_KLD] = {"target-kld", 0, "NATS", "the smallest output whose mean divergence from the model is at most that"},
    [OPT_PROBE_TEXT] = {"probe-text", 0, "FILE", "text on which outputs are compared while a budget is settled"},
    [OPT_REFERENCE] = {"reference", 0, "MODEL", "the raw model that OUT was made from"},
    [OPT_FIXTURE] = {"fixture", 0, "FILE", "golden values of an independent implementation (safetensors)"},
    [OPT_TOLERANCE] = {"tolerance", 0, "T", "largest error against the fixture, in standard deviations (default 2e-4)"},
    [OPT_MIN_TOP1] = {"min-top1", 0, "P", "share of positions whose most probable token must stay the same"},
    [OPT_MAX_KLD] = {"max-kld", 0, "NATS", "largest mean divergence from the reference"},
    [OPT_CONFIDENCE] = {"confidence", 0, "P", "of the bounds that must meet the thresholds (default 0.95)"},
    [OPT_POSITIONS] = {"positions", 0, "N", "score so many positions (default: the whole text)"},
    [OPT_SKIP] = {"skip", 0, "N", "positions at the front of each window that are not scored (default 0)"},
    [OPT_PROMPTS] = {"prompts", 0, "FILE", "prompts, one a line, that both models continue greedily"},
    [OPT_MIN_MATCH] = {"min-match", 0, "P", "share of continued tokens that must be equal (default 1)"},
    [OPT_PATH] = {"path", 0, "HOW",
                  "auto: one token straight from the payload where the codec can, many decoded; dense: always decoded; codec: "
                  "many tokens from the payload too (default auto)"},
    [OPT_MIN_COS] = {"min-cos", 0, "C", "smallest mean cosine of the hidden state behind any layer"},
    [OPT_SPEECH] = {"speech", 0, "FILE", "lines that a model that speaks says: each must sound like speech"},
    [OPT_PICTURE] = {"picture", 0, "FILE", "waveforms and spectrograms of --speech, an SVG file"},
    [OPT_SOUNDS] = {"sounds", 0, "NAME", "keep the first line of --speech in NAME-raw.wav and NAME-tested.wav, for report --sound"},
    [OPT_CONTROLS] = {"controls", 0, NULL, "parity also runs inputs that it must accept and refuse: is the gate itself right"},
    [OPT_REPLAY] = {"replay", 0, NULL, "do the job again from --reference and compare every figure of the receipt"},
    [OPT_QUERY] = {"query", 0, "FILE[:TENSOR]", "query vectors, a safetensors file (and the tensor in it)"},
    [OPT_TOP] = {"top", 0, "K", "rows to find for each query (default 1)"},
    [OPT_NEAREST] = {"nearest", 0, NULL, "rows at the smallest distance, not with the largest product"},
    [OPT_THRESHOLD] = {"threshold", 0, "T", "take bounds as this share narrower, 0..1: faster, may miss rows (default 0)"},
    [OPT_ROWS_ONLY] = {"rows-only", 0, NULL, "no scores: rows that bounds alone decide are not read"},
    [OPT_DUPLICATES] = {"duplicates", 0, "COS", "list pairs of rows with at least this cosine"},
    [OPT_PUBLISH_ANYWAY] = {"publish-anyway", 0, NULL, "publish although a gate failed; the receipt says so"},
    [OPT_CONFIG_FILE] = {"output", 'o', "FILE", "file to write (default: standard output)"},
    [OPT_HTML] = {"html", 0, "FILE", "write a page that needs no network: figures, charts, every tensor"},
    [OPT_GATES_FILE] = {"gates", 0, "FILE", "show what `tessera gate --json` printed there, not the receipt's gates"},
    [OPT_PLAN_FILE] = {"plan", 0, "FILE", "show what `tessera plan --json` printed there beside what came of it"},
    [OPT_POINTS] = {"points", 0, "FILE", "sizes and divergences of other programs, to draw beside (docs/report.md)"},
    [OPT_SOUND_FILE] = {"sound", 0, "FILE[=TITLE]", "put a sound on the page, with its waveform and spectrogram; may be repeated"},
    [OPT_JOBS] = {"jobs", 'j', "N", "worker threads (default: one a processor); results do not depend on it"},
    [OPT_MEMORY] = {"memory", 0, "SIZE", "cap on working memory, such as 256M or 1Gi"},
    [OPT_PLUGIN_PATH] = {"plugin-path", 0, "PATH", "folder of plugins that is searched first"},
    [OPT_ROLES_PATH] = {"roles-path", 0, "PATH", "folder of role files that is searched first"},
    [OPT_JSON] = {"json", 0, NULL, "print one JSON object on standard output"},
    [OPT_QUIET] = {"quiet", 'q', NULL, "no progress, no warnings, no summary"},
    [OPT_VERBOSE] = {"verbose", 'v', NULL, "say more; twice: say all"},
    [OPT_HELP] = {"help", 'h', NULL, "show this help"},
    [OPT_MAN] = {"man", 0, "COMMAND", NULL},
    [OPT_COMPLETION] = {"completion", 0, "SHELL", NULL},
};

static bool command_takes(const struct command *command, enum option_id id) {
    for (const enum option_id *at = command->options; *at != OPT_NONE; at++) {
        if (*at == id) return true;
    }
    return false;
}

const struct command *command_find(const char *name, tsr_error *err) {
    const char *names[32] = {0};
    for (unsigned i = 0; COMMANDS[i] && i < 31; i++) {
        if (!strcmp(COMMANDS[i]->name, name)) return COMMANDS[i];
        names[i] = COMMANDS[i]->name;
    }
    const char *nearest = text_nearest(name, names);
    if (nearest) {
        (void)tsr_fail(err, TSR_E_CONFIG, "unknown command \"%.60s\"; did you mean \"%s\"?", name, nearest);
    } else {
        (void)tsr_fail(err, TSR_E_CONFIG, "unknown command \"%.60s\"", name);
    }
    return NULL;
}

static tsr_status unknown_option(const struct command *command, const char *name, size_t length, tsr_error *err) {
    const char *names[OPT_COUNT] = {0};
    unsigned count = 0;
    for (const enum option_id *at = command->options; *at != OPT_NONE; at++) names[count++] = OPTIONS[*at].name;
    char typed[64];
    (void)snprintf(typed, sizeof typed, "%.*s", (int)(length < 60 ? length : 60), name);
    const char *nearest = text_nearest(typed, names);
    if (nearest) {
        return tsr_fail(err, TSR_E_CONFIG, "unknown option \"--%s\"; did you mean \"--%s\"?", typed, nearest);
    }
    return tsr_fail(err, TSR_E_CONFIG, "%s: unknown option \"--%s\"", command->name, typed);
}

static tsr_status take(struct arguments *arguments, enum option_id id, const char *value, tsr_error *err) {
    arguments->values[id] = value;
    arguments->given[id]++;
    if (id != OPT_STOP && id != OPT_SOUND_FILE) return TSR_OK;
    if (arguments->repeat_count == REPEATS_MAX) {
        return tsr_fail(err, TSR_E_CONFIG, "--%s: is given more than %d times", OPTIONS[id].name, REPEATS_MAX);
    }
    arguments->repeats[arguments->repeat_count++] = value;
    return TSR_OK;
}

/* `**word` is "--name" or "--name=value"; moves *word when the value is the next one. */
static tsr_status parse_long(struct arguments *arguments, char *const **word, tsr_error *err) {
    const char *name = **word + 2;
    const char *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const enum option_id *at = arguments->command->options;
    while (*at != OPT_NONE && (strlen(OPTIONS[*at].name) != length || strncmp(OPTIONS[*at].name, name, length))) at++;
    if (*at == OPT_NONE) return unknown_option(arguments->command, name, length, err);
    enum option_id id = *at;
    const char *value = equals ? equals + 1 : NULL;
    if (!OPTIONS[id].argument) {
        if (value) return tsr_fail(err, TSR_E_CONFIG, "--%s takes no value", OPTIONS[id].name);
    } else if (!value) {
        value = *++*word;
        if (!value) return tsr_fail(err, TSR_E_CONFIG, "--%s needs %s", OPTIONS[id].name, OPTIONS[id].argument);
    }
    return take(arguments, id, value, err);
}

/* `**word` is "-q", "-qv", "-j4"; a value may be the next word. */
static tsr_status parse_letters(struct arguments *arguments, char *const **word, tsr_error *err) {
    for (const char *letter = **word + 1; *letter; letter++) {
        enum option_id id = OPT_NONE + 1;
        while (id < OPT_COUNT && (OPTIONS[id].letter != *letter || !command_takes(arguments->command, id))) id++;
        if (id == OPT_COUNT) {
            return tsr_fail(err, TSR_E_CONFIG, "%s: unknown option \"-%c\"", arguments->command->name, *letter);
        }
        if (!OPTIONS[id].argument) {
            tsr_status status = take(arguments, id, NULL, err);
            if (status) return status;
            continue;
        }
        const char *value = letter[1] ? letter + 1 : *++*word;
        if (!value) return tsr_fail(err, TSR_E_CONFIG, "-%c needs %s", *letter, OPTIONS[id].argument);
        return take(arguments, id, value, err);
    }
    return TSR_OK;
}

static tsr_status check_complete(const struct arguments *arguments, tsr_error *err) {
    const struct command *command = arguments->command;
    if (arguments->given[OPT_HELP]) return TSR_OK;
    if (arguments->operand_count < command->operand_min) {
        return tsr_fail(err, TSR_E_CONFIG, "%s needs %s", command->name, command->operands);
    }
    for (const enum option_id *at = command->required; *at != OPT_NONE; at++) {
        if (!arguments->given[*at]) {
            return tsr_fail(err, TSR_E_CONFIG, "%s needs --%s %s", command->name, OPTIONS[*at].name,
                            OPTIONS[*at].argument);
        }
    }
    return TSR_OK;
}

tsr_status arguments_parse(const struct command *command, char *const *words, struct arguments *arguments,
                           tsr_error *err) {
    *arguments = (struct arguments){.command = command};
    bool options_end = false;
    for (char *const *word = words; *word; word++) {
        bool dash = !options_end && (*word)[0] == '-' && (*word)[1];
        tsr_status status = TSR_OK;
        if (dash && !strcmp(*word, "--")) {
            options_end = true;
        } else if (dash) {
            status = (*word)[1] == '-' ? parse_long(arguments, &word, err) : parse_letters(arguments, &word, err);
        } else if (arguments->operand_count == command->operand_max) {
            status = tsr_fail(err, TSR_E_CONFIG, "%s: \"%.60s\" is one operand too many", command->name, *word);
        } else {
            arguments->operands[arguments->operand_count++] = *word;
        }
        if (status) return status;
    }
    return check_complete(arguments, err);
}

tsr_status arguments_count(const char *text, const char *what, uint64_t maximum, uint64_t *count, tsr_error *err) {
    const char *at = text;
    if (text_take_digits(&at, count) && !*at && *count >= 1 && *count <= maximum) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "%s: \"%.40s\" is not a number from 1 to %llu", what, text,
                    (unsigned long long)maximum);
}

tsr_status arguments_number(const char *text, const char *what, uint64_t maximum, uint64_t *number, tsr_error *err) {
    const char *at = text;
    if (text_take_digits(&at, number) && !*at && *number <= maximum) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "%s: \"%.40s\" is not a number from 0 to %llu", what, text,
                    (unsigned long long)maximum);
}

tsr_status arguments_real(const char *text, const char *what, double minimum, double maximum, double *real,
                          tsr_error *err) {
    char *end = NULL;
    *real = number_read(text, &end);
    if (*text && !*end && *real >= minimum && *real <= maximum) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "%s: \"%.40s\" is not a number from %g to %g", what, text, minimum, maximum);
}

tsr_status arguments_size(const char *text, const char *what, uint64_t *bytes, tsr_error *err) {
    if (text_to_bytes(text, bytes)) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "%s: \"%.40s\" is not a size such as 4096, 256M or 1Gi", what, text);
}
