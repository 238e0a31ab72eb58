/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands and options as data. One table says for each option its name, letter, argument and meaning, one for each
 * command which options it takes; parser, --help, man pages and shell completions are all made from them. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <tessera/status.h>

enum option_id {
    OPT_NONE, /* ends a list */
    OPT_CONFIG,
    OPT_OUTPUT,
    OPT_FORCE,
    OPT_LEVEL,
    OPT_CODEC_LEVEL,
    OPT_RESTART,
    OPT_MAX_SHARD_SIZE,
    OPT_SHARD,
    OPT_MERGE,
    OPT_STORE,
    OPT_RECORD,
    OPT_ENGINE,
    OPT_WORKERS,
    OPT_PARTITION,
    OPT_WATCH,
    OPT_PROMPT,
    OPT_RAW,
    OPT_CHAT,
    OPT_SYSTEM,
    OPT_MAX_TOKENS,
    OPT_MIN_TOKENS,
    OPT_CONTEXT,
    OPT_STOP,
    OPT_TEMPERATURE,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_REPETITION_PENALTY,
    OPT_SEED,
    OPT_TEXT,
    OPT_PLAIN_TEXT, /* --text TEXT of tokenize */
    OPT_SAY, /* --text TEXT of run */
    OPT_SOUND, /* --output FILE of run */
    OPT_SPEAKER,
    OPT_LANGUAGE,
    OPT_INSTRUCT,
    OPT_REF_AUDIO,
    OPT_REF_TEXT,
    OPT_CODES_IN,
    OPT_CODES_OUT,
    OPT_SAMPLE_FORMAT,
    OPT_TEXT_LAYOUT,
    OPT_ONE_PIECE,
    OPT_GREEDY,
    OPT_SUB_TEMPERATURE,
    OPT_SUB_TOP_K,
    OPT_SUB_TOP_P,
    OPT_NO_SPECIAL,
    OPT_DECODE,
    OPT_GOLDEN,
    OPT_WINDOW,
    OPT_FULL_MAX,
    OPT_FISHER_TOKENS,
    OPT_STATS,
    OPT_TARGET_KLD,
    OPT_PROBE_TEXT,
    OPT_REFERENCE,
    OPT_FIXTURE,
    OPT_TOLERANCE,
    OPT_MIN_TOP1,
    OPT_MAX_KLD,
    OPT_CONFIDENCE,
    OPT_POSITIONS,
    OPT_SKIP,
    OPT_PROMPTS,
    OPT_MIN_MATCH,
    OPT_MIN_COS,
    OPT_PATH,
    OPT_SPEECH,
    OPT_PICTURE,
    OPT_SOUNDS,
    OPT_PUBLISH_ANYWAY,
    OPT_CONTROLS,
    OPT_REPLAY,
    OPT_QUERY,
    OPT_TOP,
    OPT_NEAREST,
    OPT_THRESHOLD,
    OPT_ROWS_ONLY,
    OPT_DUPLICATES,
    OPT_CONFIG_FILE, /* --output FILE of init */
    OPT_HTML,
    OPT_GATES_FILE, /* --gates FILE of report */
    OPT_PLAN_FILE,  /* --plan FILE of report */
    OPT_POINTS,
    OPT_SOUND_FILE, /* --sound FILE of report */
    OPT_JOBS,
    OPT_MEMORY,
    OPT_PLUGIN_PATH,
    OPT_ROLES_PATH,
    OPT_JSON,
    OPT_QUIET,
    OPT_VERBOSE,
    OPT_HELP,
    OPT_MAN,
    OPT_COMPLETION,
    OPT_COUNT
};

struct option {
    const char *name;     /* without dashes */
    char letter;          /* 0: none */
    const char *argument; /* "SIZE"; NULL: a switch */
    const char *doc;      /* NULL: not shown */
};

extern const struct option OPTIONS[OPT_COUNT];

#define OPTIONS_MAX 48
#define REPEATS_MAX 32
#define OPERANDS_MAX 5
#define EXAMPLES_MAX 6

struct session;

struct command_example {
    const char *command;
    const char *doc;
};

struct command {
    const char *name;
    const char *operands; /* "MODEL", as in the usage line */
    uint64_t operand_min, operand_max;
    const char *summary;                           /* one line */
    const char *doc;                               /* paragraphs, wrapped by whoever shows them; separated by "\n" */
    enum option_id options[OPTIONS_MAX];           /* ends with OPT_NONE */
    enum option_id required[3];                    /* ends with OPT_NONE */
    struct command_example examples[EXAMPLES_MAX]; /* ends with NULL */
    tsr_status (*run)(struct session *session, tsr_error *err);
};

/* All commands, ends with NULL. */
extern const struct command *const COMMANDS[];
const struct command *command_find(const char *name, tsr_error *err); /* on failure names the nearest */

/* What the user said. Strings are argv's. */
struct arguments {
    const struct command *command;
    const char *values[OPT_COUNT]; /* last one given, or NULL */
    uint32_t given[OPT_COUNT];     /* how often */
    const char *repeats[REPEATS_MAX]; /* all values of --stop or --sound, in order */
    uint64_t repeat_count;
    const char *operands[OPERANDS_MAX];
    uint64_t operand_count;
};

/* Parses what stands behind the command's name. TSR_E_CONFIG. With --help nothing is required. */
tsr_status arguments_parse(const struct command *command, char *const *words, struct arguments *arguments,
                           tsr_error *err);
/* "256M", "64Ki"; `what` names it in messages. */
tsr_status arguments_size(const char *text, const char *what, uint64_t *bytes, tsr_error *err);
tsr_status arguments_count(const char *text, const char *what, uint64_t maximum, uint64_t *count, tsr_error *err);
/* From 0. */
tsr_status arguments_number(const char *text, const char *what, uint64_t maximum, uint64_t *number, tsr_error *err);
tsr_status arguments_real(const char *text, const char *what, double minimum, double maximum, double *real,
                          tsr_error *err);

#endif
