/* SPDX-License-Identifier: Apache-2.0
 *
 * Stop texts, the loop of generation and conversations, with a model that says what the test tells it to. */
#include "unit.h"

#include <base/alloc.h>
#include <math.h>
#include <model/conversation.h>
#include <string.h>

/* Single characters, bytes and four special tokens; 8 ids more in the embedding. */
#define TOKENIZER                                                                                                      \
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},{\"id\":1,\"content\":\"<|u|>\",\"special\":"  \
    "true},"                                                                                                           \
    "{\"id\":2,\"content\":\"<|a|>\",\"special\":true},{\"id\":3,\"content\":\"<|e|>\",\"special\":true}],"            \
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},"              \
    "\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"?\",\"merges\":[],\"vocab\":{\"<s>\":0,\"<|u|" \
    ">\":1,"                                                                                                           \
    "\"<|a|>\":2,\"<|e|>\":3,\"a\":4,\"b\":5,\"c\":6,\"d\":7,\" "                                                      \
    "\":8,\"?\":9,\"<0xC3>\":10,\"<0xA9>\":11,\"<0xE2>\":12}}}"
#define VOCABULARY 21
#define END 3
#define TOKENS_MAX 64

/* ---- the model: says `script`, and writes down what it is given ---- */

static struct {
    uint32_t script[TOKENS_MAX];
    uint64_t said, length, capacity, forwards;
    uint32_t text[TOKENS_MAX]; /* what stands in its sequence */
    uint64_t sequences;
    int64_t cancel_at; /* of the forwards, -1: none */
    bool not_finite;
} fake;

static tsr_status fake_create(void *self, uint64_t capacity, void **sequence, tsr_error *err) {
    (void)self;
    (void)err;
    fake.length = 0;
    fake.capacity = capacity;
    fake.sequences++;
    *sequence = &fake;
    return TSR_OK;
}

static void fake_destroy(void *self, void *sequence) {
    (void)self;
    CU_ASSERT(sequence == &fake);
}

static tsr_status fake_forward(void *self, void *sequence, const uint32_t *tokens, uint64_t count,
                               const tsr_hooks *hooks, float *logits, tsr_error *err) {
    (void)self;
    (void)sequence;
    (void)hooks;
    if (fake.cancel_at >= 0 && fake.forwards++ == (uint64_t)fake.cancel_at) {
        return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    }
    CU_ASSERT_FATAL(fake.length + count <= fake.capacity && fake.length + count <= TOKENS_MAX);
    memcpy(fake.text + fake.length, tokens, count * sizeof *tokens);
    fake.length += count;
    for (uint32_t i = 0; i < VOCABULARY; i++) logits[i] = fake.not_finite ? NAN : -(float)i;
    if (!fake.not_finite) logits[fake.script[fake.said++]] = 10;
    return TSR_OK;
}

static const tsr_model FAKE_PLUGIN = {.struct_size = sizeof FAKE_PLUGIN,
                                      .sequence_create = fake_create,
                                      .sequence_destroy = fake_destroy,
                                      .forward = fake_forward};

struct stage {
    struct open_model model;
    struct tokenizer *tokenizer;
    struct generate_options options;
    struct generator generator;
    struct answer answer;
    struct str heard;
    uint64_t pieces, torn;
    tsr_error err;
};

static const uint32_t ENDS[] = {END};
static char root[] = "test";

static void tell(const char *script) {
    struct token_ids ids = {0};
    struct tokenizer *tokenizer = NULL;
    CU_ASSERT_EQUAL_FATAL(tokenizer_parse(TOKENIZER, strlen(TOKENIZER), "test", &tokenizer, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(tokenizer_encode(tokenizer, script, strlen(script), false, &ids, NULL), TSR_OK);
    CU_ASSERT_FATAL(ids.count < TOKENS_MAX);
    memcpy(fake.script, ids.ids, ids.count * sizeof *ids.ids);
    for (uint64_t i = ids.count; i < TOKENS_MAX; i++) fake.script[i] = 4;
    fake.said = 0;
    token_ids_clear(&ids);
    tokenizer_close(tokenizer);
}

static void open_stage(struct stage *stage, uint64_t capacity, const char *script) {
    memset(&fake, 0, sizeof fake);
    fake.cancel_at = -1;
    tell(script);
    *stage = (struct stage){.model = {.root = root, .plugin = &FAKE_PLUGIN, .info = {.vocabulary = VOCABULARY}},
                            .options = {.max_tokens = 20, .ends = ENDS, .end_count = 1}};
    CU_ASSERT_EQUAL_FATAL(tokenizer_parse(TOKENIZER, strlen(TOKENIZER), "test", &stage->tokenizer, &stage->err),
                          TSR_OK);
    CU_ASSERT_EQUAL_FATAL(
        generator_open(&stage->generator, &stage->model, stage->tokenizer, &stage->options, capacity, &stage->err),
        TSR_OK);
}

static void close_stage(struct stage *stage) {
    answer_clear(&stage->answer);
    str_clear(&stage->heard);
    generator_close(&stage->generator);
    tokenizer_close(stage->tokenizer);
}

static tsr_status hear(void *ctx, const char *text, size_t length, tsr_error *err) {
    struct stage *stage = ctx;
    (void)err;
    str_add(&stage->heard, text, length);
    stage->pieces++;
    stage->torn += !text_is_utf8(text, length);
    return TSR_OK;
}

static tsr_status prompt(struct stage *stage, const char *text) {
    struct token_ids ids = {0};
    CU_ASSERT_EQUAL(tokenizer_encode(stage->tokenizer, text, strlen(text), false, &ids, &stage->err), TSR_OK);
    answer_clear(&stage->answer);
    str_truncate(&stage->heard, 0);
    tsr_status st = generator_answer(&stage->generator, ids.ids, ids.count, hear, stage, &stage->answer, &stage->err);
    token_ids_clear(&ids);
    return st;
}

static const char *text_of(const struct str *str) {
    return str->length ? str->text : "";
}

#define EXPECT_ANSWER(stage, what, how)                                                                                \
    do {                                                                                                               \
        CU_ASSERT_STRING_EQUAL(text_of(&(stage).answer.text), what);                                                   \
        CU_ASSERT_STRING_EQUAL(text_of(&(stage).heard), what);                                                         \
        CU_ASSERT_EQUAL((stage).answer.end, how);                                                                      \
    } while (0)

/* ---- stop texts ---- */

/* Feeds the text in pieces of `step`; what came out in `out`. */
static bool filter(const char *const *stops, uint64_t count, const char *text, size_t step, struct str *out) {
    struct stop_filter filter = {.stops = stops, .stop_count = count};
    size_t length = strlen(text);
    for (size_t at = 0; at < length; at += step) {
        size_t size = length - at < step ? length - at : step;
        CU_ASSERT_EQUAL(stop_filter_add(&filter, text + at, size, out, NULL), TSR_OK);
    }
    CU_ASSERT_EQUAL(stop_filter_end(&filter, out, NULL), TSR_OK);
    str_clear(&filter.held);
    return filter.stopped;
}

static void stop_texts_cut_whatever_the_pieces(void) {
    static const struct {
        const char *stops[3];
        uint64_t count;
        const char *text, *expected;
        bool stopped;
    } cases[] = {
        {{"END"}, 1, "text END more", "text ", true},
        {{"END"}, 1, "text EN", "text EN", false},
        {{"END"}, 1, "EENDND", "E", true},
        {{"aab"}, 1, "aaaab", "aa", true},
        {{"abc", "b"}, 2, "xabc", "xa", true},
        {{"bc", "abd"}, 2, "abc", "a", true},
        {{"\n\n", "User:"}, 2, "one\ntwo\n\nthree", "one\ntwo", true},
        {{"zz"}, 1, "", "", false},
        {{"a"}, 0, "banana", "banana", false},
        {{"b", "abab"}, 2, "xaab", "xaa", true},
        {{"b", "ab"}, 2, "xab", "x", true},
        {{"é"}, 1, "caf\xC3\xA9s", "caf", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t step = 1; step < 8; step++) {
            struct str out = {0};
            bool stopped = filter(cases[i].stops, cases[i].count, cases[i].text, step, &out);
            bool good = !strcmp(text_of(&out), cases[i].expected);
            if (!good) printf("  case %zu, step %zu: \"%s\"\n", i, step, text_of(&out));
            CU_ASSERT(good);
            CU_ASSERT_EQUAL(stopped, cases[i].stopped);
            str_clear(&out);
        }
    }
}

/* Only what may be the beginning of a stop text waits. */
static void text_is_not_held_longer_than_needed(void) {
    const char *const stops[] = {"abcd"};
    struct stop_filter filter = {.stops = stops, .stop_count = 1};
    struct str out = {0};
    CU_ASSERT_EQUAL(stop_filter_add(&filter, "xyab", 4, &out, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(text_of(&out), "xy");
    CU_ASSERT_EQUAL(stop_filter_add(&filter, "cx", 2, &out, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(text_of(&out), "xyabcx");
    str_clear(&filter.held);
    str_clear(&out);
}

/* ---- answers ---- */

static void an_end_token_ends_and_is_no_text(void) {
    struct stage stage;
    open_stage(&stage, 32, "abc<|e|>dd");
    CU_ASSERT_EQUAL(prompt(&stage, "<s>a"), TSR_OK);
    EXPECT_ANSWER(stage, "abc", GENERATE_END_TOKEN);
    CU_ASSERT_EQUAL(stage.answer.tokens.count, 3);
    CU_ASSERT_EQUAL(stage.answer.prompt_tokens, 2);
    close_stage(&stage);
}

static void max_tokens_end_an_answer(void) {
    struct stage stage;
    open_stage(&stage, 32, "abcdabcd");
    stage.options.max_tokens = 5;
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_OK);
    EXPECT_ANSWER(stage, "abcda", GENERATE_LENGTH);
    close_stage(&stage);
    open_stage(&stage, 32, "a");
    stage.options.max_tokens = 0;
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_OK);
    EXPECT_ANSWER(stage, "", GENERATE_LENGTH);
    close_stage(&stage);
}

static void min_tokens_keep_the_end_away(void) {
    struct stage stage;
    open_stage(&stage, 32, "ab<|e|><|e|>c<|e|>d");
    stage.options.min_tokens = 5;
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_OK);
    /* Without the end the fake's next best is id 0, <s>, which has no text. */
    CU_ASSERT_STRING_EQUAL(text_of(&stage.answer.text), "abc");
    CU_ASSERT_EQUAL(stage.answer.tokens.count, 5);
    CU_ASSERT_EQUAL(stage.answer.end, GENERATE_END_TOKEN);
    close_stage(&stage);
}

static void a_stop_text_ends_an_answer(void) {
    const char *const stops[] = {"cd"};
    struct stage stage;
    open_stage(&stage, 32, "abccda");
    stage.options.stops = stops;
    stage.options.stop_count = 1;
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_OK);
    EXPECT_ANSWER(stage, "abc", GENERATE_STOP_TEXT);
    close_stage(&stage);
}

static void the_context_ends_an_answer(void) {
    struct stage stage;
    open_stage(&stage, 5, "abcdabcd");
    CU_ASSERT_EQUAL(prompt(&stage, "aa"), TSR_OK);
    EXPECT_ANSWER(stage, "abcd", GENERATE_CONTEXT);
    CU_ASSERT_EQUAL(fake.length, 5);
    close_stage(&stage);
}

/* é is two tokens: it goes out in one piece, and its first half never does. */
static void characters_go_out_whole(void) {
    struct stage stage;
    open_stage(&stage, 32,
               "a\xC3\xA9"
               "b<|e|>");
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_OK);
    EXPECT_ANSWER(stage,
                  "a\xC3\xA9"
                  "b",
                  GENERATE_END_TOKEN);
    CU_ASSERT_EQUAL(stage.answer.tokens.count, 4);
    CU_ASSERT_EQUAL(stage.torn, 0);
    close_stage(&stage);
    open_stage(&stage, 32, "a\xC3\xA9");
    stage.options.max_tokens = 2;
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_OK);
    EXPECT_ANSWER(stage, "a\xEF\xBF\xBD", GENERATE_LENGTH);
    CU_ASSERT_EQUAL(stage.torn, 0);
    close_stage(&stage);
}

/* The embedding may have rows that the tokenizer has no id for. */
static void tokens_without_text_are_silent(void) {
    struct stage stage;
    open_stage(&stage, 32, "ab<|e|>");
    fake.script[1] = VOCABULARY - 1;
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_OK);
    EXPECT_ANSWER(stage, "a", GENERATE_END_TOKEN);
    CU_ASSERT_EQUAL(stage.answer.tokens.count, 2);
    close_stage(&stage);
}

static void a_prompt_that_does_not_fit_changes_nothing(void) {
    struct stage stage;
    open_stage(&stage, 6, "ab<|e|>");
    CU_ASSERT_EQUAL(prompt(&stage, "aaaaaaa"), TSR_E_LIMIT);
    CU_ASSERT(strstr(stage.err.message, "7 tokens") && strstr(stage.err.message, "6"));
    CU_ASSERT(!generator_used(&stage.generator));
    CU_ASSERT_EQUAL(prompt(&stage, "aaa"), TSR_OK);
    EXPECT_ANSWER(stage, "ab", GENERATE_END_TOKEN);
    CU_ASSERT_EQUAL(prompt(&stage, "aa"), TSR_E_LIMIT);
    CU_ASSERT_EQUAL(prompt(&stage, ""), TSR_E_INPUT);
    close_stage(&stage);
}

static void a_tokenizer_larger_than_the_embedding_is_refused(void) {
    struct stage stage;
    open_stage(&stage, 8, "a");
    generator_close(&stage.generator);
    stage.model.info.vocabulary = 12;
    CU_ASSERT_EQUAL(generator_open(&stage.generator, &stage.model, stage.tokenizer, &stage.options, 8, &stage.err),
                    TSR_E_INPUT);
    CU_ASSERT(strstr(stage.err.message, "12") != NULL);
    close_stage(&stage);
}

static void an_empty_stop_text_is_refused(void) {
    const char *const stops[] = {""};
    struct stage stage;
    open_stage(&stage, 8, "a");
    generator_close(&stage.generator);
    stage.options.stops = stops;
    stage.options.stop_count = 1;
    CU_ASSERT_EQUAL(generator_open(&stage.generator, &stage.model, stage.tokenizer, &stage.options, 8, &stage.err),
                    TSR_E_CONFIG);
    close_stage(&stage);
}

static void an_interrupted_answer_hands_out_what_there_is(void) {
    const char *const stops[] = {"bx"};
    struct stage stage;
    open_stage(&stage, 32, "aabcd");
    stage.options.stops = stops;
    stage.options.stop_count = 1;
    fake.cancel_at = 3;
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_E_CANCELLED);
    CU_ASSERT_STRING_EQUAL(text_of(&stage.heard), "aab");
    CU_ASSERT_STRING_EQUAL(text_of(&stage.answer.text), "aab");
    CU_ASSERT_STRING_EQUAL(stage.err.message, "interrupted");
    close_stage(&stage);
}

static void logits_that_are_no_numbers_end_in_an_error(void) {
    struct stage stage;
    open_stage(&stage, 32, "a");
    fake.not_finite = true;
    CU_ASSERT_EQUAL(prompt(&stage, "a"), TSR_E_INPUT);
    close_stage(&stage);
}

/* ---- the cache between answers ---- */

static void expect_cache(const struct stage *stage, const char *text) {
    struct str found = {0};
    CU_ASSERT_EQUAL(tokenizer_decode(stage->tokenizer, fake.text, fake.length, false, &found, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(text_of(&found), text);
    str_clear(&found);
}

static void the_next_prompt_goes_on_behind_the_answer(void) {
    struct stage stage;
    open_stage(&stage, 32, "ab<|e|>cd<|e|>");
    CU_ASSERT_EQUAL(prompt(&stage, "<s>a"), TSR_OK);
    expect_cache(&stage, "<s>aab");
    CU_ASSERT_EQUAL(prompt(&stage, "<|e|>b"), TSR_OK);
    EXPECT_ANSWER(stage, "cd", GENERATE_END_TOKEN);
    expect_cache(&stage, "<s>aab<|e|>bcd");
    CU_ASSERT_EQUAL(stage.answer.prompt_tokens, 2);
    CU_ASSERT_EQUAL(fake.sequences, 1);
    CU_ASSERT_EQUAL(generator_reset(&stage.generator, &stage.err), TSR_OK);
    CU_ASSERT(!generator_used(&stage.generator));
    CU_ASSERT_EQUAL(prompt(&stage, "b"), TSR_OK);
    close_stage(&stage);
}

/* A cut answer's last token was not run: it goes in front of the next prompt. */
static void a_cut_answer_is_completed_in_the_cache(void) {
    struct stage stage;
    open_stage(&stage, 32, "abcd");
    stage.options.max_tokens = 2;
    CU_ASSERT_EQUAL(prompt(&stage, "<s>"), TSR_OK);
    expect_cache(&stage, "<s>a");
    CU_ASSERT_EQUAL(prompt(&stage, "<|e|>"), TSR_OK);
    expect_cache(&stage, "<s>ab<|e|>c");
    CU_ASSERT_EQUAL(stage.answer.prompt_tokens, 2);
    close_stage(&stage);
}

/* ---- conversations ---- */

static const struct chat_format FORMAT = {.name = "test",
                                          .open = "<s>",
                                          .system = {"", ""},
                                          .user = {"<|u|>", ""},
                                          .assistant = {"<|a|>", "<|e|>"},
                                          .answer = "<|a|>",
                                          .place = CHAT_SYSTEM_LAST_USER};

static tsr_status say(struct stage *stage, struct conversation *conversation, const char *message) {
    answer_clear(&stage->answer);
    str_truncate(&stage->heard, 0);
    tsr_status st = conversation_ask(conversation, message, &stage->err);
    if (st != TSR_OK) return st;
    return conversation_answer(conversation, &stage->generator, hear, stage, &stage->answer, &stage->err);
}

static void open_talk(struct stage *stage, struct conversation *conversation, struct model_chat *chat,
                      const struct chat_format *format, const char *script) {
    open_stage(stage, 60, script);
    *chat = (struct model_chat){.has_template = true, .style = {.format = format}};
    *conversation = (struct conversation){.tokenizer = stage->tokenizer, .chat = chat};
}

static void a_conversation_keeps_its_cache(void) {
    struct stage stage;
    struct conversation conversation;
    struct model_chat chat;
    open_talk(&stage, &conversation, &chat, &FORMAT, "ab<|e|>cd<|e|>d<|e|>");
    CU_ASSERT_EQUAL(say(&stage, &conversation, "a"), TSR_OK);
    EXPECT_ANSWER(stage, "ab", GENERATE_END_TOKEN);
    CU_ASSERT_EQUAL(say(&stage, &conversation, "b"), TSR_OK);
    EXPECT_ANSWER(stage, "cd", GENERATE_END_TOKEN);
    CU_ASSERT_EQUAL(say(&stage, &conversation, "c"), TSR_OK);
    expect_cache(&stage, "<s><|u|>a<|a|>ab<|e|><|u|>b<|a|>cd<|e|><|u|>c<|a|>d");
    CU_ASSERT_EQUAL(fake.sequences, 1);
    CU_ASSERT_EQUAL(stage.answer.prompt_tokens, 4); /* <|e|> <|u|> c <|a|> */
    conversation_reset(&conversation);
    tell("b<|e|>");
    CU_ASSERT_EQUAL(say(&stage, &conversation, "d"), TSR_OK);
    expect_cache(&stage, "<s><|u|>d<|a|>b");
    conversation_close(&conversation);
    close_stage(&stage);
}

/* The system message moves to the newest turn: nothing of the cache can be kept. */
static void a_changed_past_is_read_anew(void) {
    struct stage stage;
    struct conversation conversation;
    struct model_chat chat;
    open_talk(&stage, &conversation, &chat, &FORMAT, "ab<|e|>cd<|e|>");
    conversation.system = "dd";
    CU_ASSERT_EQUAL(say(&stage, &conversation, "a"), TSR_OK);
    expect_cache(&stage, "<s><|u|>dda<|a|>ab");
    CU_ASSERT_EQUAL(say(&stage, &conversation, "b"), TSR_OK);
    expect_cache(&stage, "<s><|u|>a<|a|>ab<|e|><|u|>ddb<|a|>cd");
    CU_ASSERT_EQUAL(fake.sequences, 2);
    conversation_close(&conversation);
    close_stage(&stage);
}

/* The text of an answer that a stop text cut is not that of its tokens. */
static void a_stopped_answer_is_read_anew(void) {
    const char *const stops[] = {"c"};
    struct stage stage;
    struct conversation conversation;
    struct model_chat chat;
    open_talk(&stage, &conversation, &chat, &FORMAT, "abcd<|e|>");
    stage.options.stops = stops;
    stage.options.stop_count = 1;
    CU_ASSERT_EQUAL(say(&stage, &conversation, "a"), TSR_OK);
    EXPECT_ANSWER(stage, "ab", GENERATE_STOP_TEXT);
    CU_ASSERT_EQUAL(say(&stage, &conversation, "b"), TSR_OK);
    expect_cache(&stage, "<s><|u|>a<|a|>ab<|e|><|u|>b<|a|>d");
    conversation_close(&conversation);
    close_stage(&stage);
}

/* A special token among the answer has no text; the template would not write it either. */
static void a_hidden_token_is_read_anew(void) {
    struct stage stage;
    struct conversation conversation;
    struct model_chat chat;
    open_talk(&stage, &conversation, &chat, &FORMAT, "a<|u|>b<|e|>d<|e|>");
    CU_ASSERT_EQUAL(say(&stage, &conversation, "a"), TSR_OK);
    EXPECT_ANSWER(stage, "ab", GENERATE_END_TOKEN);
    CU_ASSERT_EQUAL(say(&stage, &conversation, "b"), TSR_OK);
    expect_cache(&stage, "<s><|u|>a<|a|>ab<|e|><|u|>b<|a|>d");
    conversation_close(&conversation);
    close_stage(&stage);
}

/* Where no special token ends a turn, a token might reach across its end. */
static void turns_without_an_end_token_are_read_anew(void) {
    struct chat_format plain = FORMAT;
    struct stage stage;
    struct conversation conversation;
    struct model_chat chat;
    plain.assistant = (struct chat_wrap){"<|a|>", "d"};
    open_talk(&stage, &conversation, &chat, &plain, "ab<|e|>c<|e|>");
    CU_ASSERT_EQUAL(say(&stage, &conversation, "a"), TSR_OK);
    CU_ASSERT_EQUAL(say(&stage, &conversation, "b"), TSR_OK);
    expect_cache(&stage, "<s><|u|>a<|a|>abd<|u|>b<|a|>c");
    CU_ASSERT_EQUAL(fake.sequences, 2);
    conversation_close(&conversation);
    close_stage(&stage);
}

static void an_interrupted_answer_stays_in_the_conversation(void) {
    struct stage stage;
    struct conversation conversation;
    struct model_chat chat;
    open_talk(&stage, &conversation, &chat, &FORMAT, "abc");
    fake.cancel_at = 2;
    CU_ASSERT_EQUAL(say(&stage, &conversation, "a"), TSR_E_CANCELLED);
    CU_ASSERT_STRING_EQUAL(text_of(&stage.heard), "ab");
    tell("d<|e|>");
    CU_ASSERT_EQUAL(say(&stage, &conversation, "b"), TSR_OK);
    expect_cache(&stage, "<s><|u|>a<|a|>ab<|e|><|u|>b<|a|>d");
    /* Before its first word: the message is forgotten too. */
    fake.forwards = 0;
    fake.cancel_at = 0;
    CU_ASSERT_EQUAL(say(&stage, &conversation, "c"), TSR_E_CANCELLED);
    CU_ASSERT_EQUAL(conversation.turns, 2);
    conversation_close(&conversation);
    close_stage(&stage);
}

static void a_message_that_does_not_fit_is_forgotten(void) {
    struct stage stage;
    struct conversation conversation;
    struct model_chat chat;
    open_talk(&stage, &conversation, &chat, &FORMAT, "ab<|e|>c<|e|>");
    CU_ASSERT_EQUAL(say(&stage, &conversation, "a"), TSR_OK);
    CU_ASSERT_EQUAL(
        say(&stage, &conversation, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
        TSR_E_LIMIT);
    CU_ASSERT_EQUAL(conversation.turns, 1);
    CU_ASSERT_EQUAL(say(&stage, &conversation, "b"), TSR_OK);
    expect_cache(&stage, "<s><|u|>a<|a|>ab<|e|><|u|>b<|a|>c");
    CU_ASSERT_EQUAL(fake.sequences, 1);
    conversation_close(&conversation);
    close_stage(&stage);
}

static const struct unit_test TESTS[] = {
    {"stop_texts_cut_whatever_the_pieces", stop_texts_cut_whatever_the_pieces},
    {"text_is_not_held_longer_than_needed", text_is_not_held_longer_than_needed},
    {"an_end_token_ends_and_is_no_text", an_end_token_ends_and_is_no_text},
    {"max_tokens_end_an_answer", max_tokens_end_an_answer},
    {"min_tokens_keep_the_end_away", min_tokens_keep_the_end_away},
    {"a_stop_text_ends_an_answer", a_stop_text_ends_an_answer},
    {"the_context_ends_an_answer", the_context_ends_an_answer},
    {"characters_go_out_whole", characters_go_out_whole},
    {"tokens_without_text_are_silent", tokens_without_text_are_silent},
    {"a_prompt_that_does_not_fit_changes_nothing", a_prompt_that_does_not_fit_changes_nothing},
    {"a_tokenizer_larger_than_the_embedding_is_refused", a_tokenizer_larger_than_the_embedding_is_refused},
    {"an_empty_stop_text_is_refused", an_empty_stop_text_is_refused},
    {"an_interrupted_answer_hands_out_what_there_is", an_interrupted_answer_hands_out_what_there_is},
    {"logits_that_are_no_numbers_end_in_an_error", logits_that_are_no_numbers_end_in_an_error},
    {"the_next_prompt_goes_on_behind_the_answer", the_next_prompt_goes_on_behind_the_answer},
    {"a_cut_answer_is_completed_in_the_cache", a_cut_answer_is_completed_in_the_cache},
    {"a_conversation_keeps_its_cache", a_conversation_keeps_its_cache},
    {"a_changed_past_is_read_anew", a_changed_past_is_read_anew},
    {"a_stopped_answer_is_read_anew", a_stopped_answer_is_read_anew},
    {"a_hidden_token_is_read_anew", a_hidden_token_is_read_anew},
    {"turns_without_an_end_token_are_read_anew", turns_without_an_end_token_are_read_anew},
    {"an_interrupted_answer_stays_in_the_conversation", an_interrupted_answer_stays_in_the_conversation},
    {"a_message_that_does_not_fit_is_forgotten", a_message_that_does_not_fit_is_forgotten},
};

UNIT_MAIN(TESTS)
