/* SPDX-License-Identifier: Apache-2.0
 *
 * Chat formats against what Jinja made of published templates (tests/data/chat: every file a template and, for each
 * conversation of conversations.json, its text, or null where the template refuses or loses the system message), and
 * the refusal of everything else. */
#include "unit.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <format/json.h>
#include <model/chat_format.h>
#include <string.h>

#define DATA "tests/data/chat/"
#define TURNS_MAX 4

static json_t *read_json(const char *name) {
    char path[200], *text = NULL;
    uint64_t size = 0;
    json_t *value = NULL;
    tsr_error err = {0};
    (void)snprintf(path, sizeof path, DATA "%s", name);
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(path, 1 << 20, &text, &size, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(json_parse(text, size, path, &value, &err), TSR_OK);
    mem_free(text);
    return value;
}

/* Calls for every template of the folder; returns how many there are. */
static uint64_t for_each_template(void (*visit)(const char *name, const json_t *fixture, const char *text)) {
    struct fs_list list = {0};
    tsr_error err = {0};
    uint64_t count = 0;
    CU_ASSERT_EQUAL_FATAL(fs_list(DATA, false, &list, &err), TSR_OK);
    for (uint64_t i = 0; i < list.count; i++) {
        if (!strcmp(list.names[i], "conversations.json") || !strstr(list.names[i], ".json")) continue;
        json_t *fixture = read_json(list.names[i]);
        visit(list.names[i], fixture, json_string_value(json_object_get(fixture, "template")));
        json_decref(fixture);
        count++;
    }
    fs_list_clear(&list);
    return count;
}

static tsr_status recognise(const char *text, struct chat_style *style) {
    tsr_error err = {0};
    tsr_status st = chat_recognise(text, strlen(text), style, &err);
    if (st != TSR_OK) CU_ASSERT(!style->format);
    return st;
}

/* ---- texts are those of Jinja ---- */

static json_t *conversations;

static tsr_status render(const struct chat_style *style, const json_t *conversation, struct str *out) {
    struct chat_turn turns[TURNS_MAX];
    struct chat_text text = {.system = json_string_value(json_object_get(conversation, "system")),
                             .turns = turns,
                             .bos = "<s>",
                             .eos = "</s>",
                             .date = "07 Mar 2026",
                             .long_date = "March 07, 2026"};
    const json_t *list = json_object_get(conversation, "turns");
    tsr_error err = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *turn = json_array_get(list, i);
        turns[text.turn_count++] =
            (struct chat_turn){json_string_value(json_array_get(turn, 0)), json_string_value(json_array_get(turn, 1))};
    }
    return chat_render(style, &text, out, &err);
}

static void compare(const char *name, const json_t *fixture, const char *text) {
    struct chat_style style = {0};
    const json_t *texts = json_object_get(fixture, "texts");
    CU_ASSERT_EQUAL(json_array_size(texts), json_array_size(conversations));
    if (recognise(text, &style) != TSR_OK) {
        printf("  %s: is not recognised\n", name);
        CU_FAIL("a known template is not recognised");
        return;
    }
    for (size_t i = 0; i < json_array_size(texts); i++) {
        struct str out = {0};
        const char *expected = json_string_value(json_array_get(texts, i));
        tsr_status st = render(&style, json_array_get(conversations, i), &out);
        bool same = expected ? st == TSR_OK && out.text && !strcmp(out.text, expected) : st == TSR_E_UNSUPPORTED;
        if (!same) printf("  %s, conversation %zu\n  %s\n  %s\n", name, i, expected, out.text ? out.text : "");
        CU_ASSERT(same);
        str_clear(&out);
    }
    chat_style_clear(&style);
}

static void conversations_are_written_as_jinja_writes_them(void) {
    conversations = read_json("conversations.json");
    CU_ASSERT(json_array_size(conversations) == 5);
    CU_ASSERT(for_each_template(compare) >= 43);
    json_decref(conversations);
}

/* ---- nothing is guessed ---- */

/* One byte changed, at many places: refused, or the byte stands in the default system message. */
static void change_bytes(const char *name, const json_t *fixture, const char *text) {
    size_t length = strlen(text), step = length < 600 ? 1 : 7;
    char *changed = mem_alloc_array(length + 1, 1);
    (void)fixture;
    CU_ASSERT_PTR_NOT_NULL_FATAL(changed);
    for (size_t i = 0; i < length; i += step) {
        struct chat_style style = {0};
        if ((unsigned char)text[i] >= 0x80) continue;
        memcpy(changed, text, length + 1);
        changed[i] = text[i] == '~' ? '!' : '~';
        bool known = recognise(changed, &style) == TSR_OK;
        bool system = style.has_own_system && style.own_system.text && strchr(style.own_system.text, '~');
        if (known && !system) printf("  %s, byte %zu\n", name, i);
        CU_ASSERT(!known || system);
        chat_style_clear(&style);
    }
    mem_free(changed);
}

static void a_changed_byte_is_not_recognised(void) {
    CU_ASSERT(for_each_template(change_bytes) >= 43);
}

static bool is_known(const char *text) {
    struct chat_style style = {0};
    bool known = recognise(text, &style) == TSR_OK;
    chat_style_clear(&style);
    return known;
}

#define LOOP "{% for message in messages %}"
#define TURN "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
#define ANSWER "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

static void near_templates_are_not_recognised(void) {
    CU_ASSERT(is_known(LOOP TURN ANSWER));
    CU_ASSERT(!is_known(""));
    CU_ASSERT(!is_known("\n"));
    CU_ASSERT(!is_known("{{ messages }}"));
    CU_ASSERT(!is_known(LOOP TURN));
    CU_ASSERT(!is_known(LOOP TURN ANSWER ANSWER));
    CU_ASSERT(!is_known(" " LOOP TURN ANSWER));
    CU_ASSERT(!is_known(LOOP TURN ANSWER " "));
    CU_ASSERT(!is_known(LOOP TURN ANSWER "\n\n"));
    CU_ASSERT(!is_known(LOOP "{% if message['role'] != 'system' %}" TURN ANSWER));
    CU_ASSERT(!is_known("{%- for message in messages %}" TURN ANSWER));
    CU_ASSERT(!is_known(LOOP TURN "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"));
    CU_ASSERT(!is_known(
        LOOP
        "{{'<|im_start|>' + message['name'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}" ANSWER));
    CU_ASSERT(!is_known("{# a comment #}" LOOP TURN ANSWER));
    CU_ASSERT(!is_known("{% raw %}" LOOP TURN ANSWER "{% endraw %}"));
}

/* What Jinja reads as the same is the same. */
static void ways_of_writing_are_one(void) {
    CU_ASSERT(is_known(LOOP TURN ANSWER "\n"));
    CU_ASSERT(is_known(LOOP TURN ANSWER "\r\n"));
    CU_ASSERT(is_known("{%for  message in\n messages%}" TURN ANSWER));
    CU_ASSERT(is_known(LOOP
                       "{{ \"<|im_start|>\" + message.role + '\\n' + message[\"content\"] + '<|im_end|>' + \"\\n\" }}"
                       "{% endfor %}" ANSWER));
}

static void canonical_form_keeps_what_differs(void) {
    static const char *const pairs[][2] = {
        {"{{ x in ['role'] }}", "{{ x in.role }}"},
        {"{{ a } }", "{{ a }}"},
        {"{{- a }}", "{{ - a }}"},     {"{{ a b }}", "{{ ab }}"},
        {"{{ 'a b' }}", "{{ 'ab' }}"}, {"{{ '\\\\n' }}", "{{ '\\n' }}"},
        {"{{ 'a' }}", "{{ a }}"},      {"a  b", "a b"},
        {"{# a #}", "{# b #}"},        {"{{ x['items'] }}", "{{ x.items }}"},
        {"{{ a }}", "{% a %}"},        {"{{ a }}\n", "{{ a }}\n\n"},
        {"{{ '\"' }}", "{{ \"'\" }}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct str a = {0}, b = {0};
        chat_canonical(pairs[i][0], strlen(pairs[i][0]), &a);
        chat_canonical(pairs[i][1], strlen(pairs[i][1]), &b);
        bool differ = a.length != b.length || memcmp(a.text, b.text, a.length);
        if (!differ) printf("  %s and %s\n", pairs[i][0], pairs[i][1]);
        CU_ASSERT(differ);
        str_clear(&a);
        str_clear(&b);
    }
}

/* ---- the system message of a template ---- */

#define DEFAULTS(system)                                                                                               \
    LOOP "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" system "<|im_end|>\n' }}"   \
         "{% endif %}" TURN ANSWER

static void expect_system(const char *text, const char *system, const char *expected) {
    struct chat_style style = {0};
    struct chat_turn turn = {"Hi", NULL};
    struct chat_text conversation = {.system = system, .turns = &turn, .turn_count = 1};
    struct str out = {0};
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(recognise(text, &style), TSR_OK);
    CU_ASSERT_EQUAL(chat_render(&style, &conversation, &out, &err), TSR_OK);
    CU_ASSERT_STRING_EQUAL(out.text, expected);
    str_clear(&out);
    chat_style_clear(&style);
}

#define USER "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"

static void default_system_message_is_the_templates(void) {
    expect_system(DEFAULTS("Be brief.\nBe kind."), NULL, "<|im_start|>system\nBe brief.\nBe kind.<|im_end|>\n" USER);
    expect_system(DEFAULTS("Be brief."), "Rhyme.", "<|im_start|>system\nRhyme.<|im_end|>\n" USER);
    expect_system(DEFAULTS("Be brief."), "", "<|im_start|>system\n<|im_end|>\n" USER);
    expect_system(DEFAULTS(""), NULL, "<|im_start|>system\n<|im_end|>\n" USER);
    expect_system(LOOP TURN ANSWER, NULL, USER);
}

static void default_system_message_is_text_only(void) {
    CU_ASSERT(!is_known(DEFAULTS("a' + bos_token + '")));
    CU_ASSERT(!is_known(DEFAULTS("a' }}{{ 'b")));
    CU_ASSERT(!is_known(DEFAULTS("a\\x41")));
}

static void missing_eos_token_is_an_error(void) {
    json_t *fixture = read_json("zephyr.json");
    struct chat_style style = {0};
    struct chat_turn turn = {"Hi", NULL};
    struct chat_text conversation = {.turns = &turn, .turn_count = 1};
    struct str out = {0};
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(recognise(json_string_value(json_object_get(fixture, "template")), &style), TSR_OK);
    CU_ASSERT_EQUAL(chat_render(&style, &conversation, &out, &err), TSR_E_INPUT);
    conversation.eos = "</s>";
    CU_ASSERT_EQUAL(chat_render(&style, &conversation, &out, &err), TSR_OK);
    str_clear(&out);
    chat_style_clear(&style);
    json_decref(fixture);
}

static const struct unit_test TESTS[] = {
    {"conversations_are_written_as_jinja_writes_them", conversations_are_written_as_jinja_writes_them},
    {"a_changed_byte_is_not_recognised", a_changed_byte_is_not_recognised},
    {"near_templates_are_not_recognised", near_templates_are_not_recognised},
    {"ways_of_writing_are_one", ways_of_writing_are_one},
    {"canonical_form_keeps_what_differs", canonical_form_keeps_what_differs},
    {"default_system_message_is_the_templates", default_system_message_is_the_templates},
    {"default_system_message_is_text_only", default_system_message_is_text_only},
    {"missing_eos_token_is_an_error", missing_eos_token_is_an_error},
};

UNIT_MAIN(TESTS)
