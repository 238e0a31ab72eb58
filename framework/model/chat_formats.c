/* SPDX-License-Identifier: Apache-2.0
 *
 * The known formats, and the templates that mean them: data. tests/data/chat holds each template's text and what Jinja
 * made of it; tests/unit/test_chat.c compares. */
#include "chat_format.h"

#define CHATML_TURNS                                                                                                   \
    .system = {"<|im_start|>system\n", "<|im_end|>\n"}, .user = {"<|im_start|>user\n", "<|im_end|>\n"},                \
    .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"}, .answer = "<|im_start|>assistant\n"

static const struct chat_format CHATML = {.name = "chatml", .open = "", CHATML_TURNS};
static const struct chat_format CHATML_BOS = {.name = "chatml", .open = CHAT_BOS, CHATML_TURNS};
static const struct chat_format QWEN2_5 = {
    .name = "chatml",
    .open = "",
    CHATML_TURNS,
    .default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
};
static const struct chat_format QWEN3 = {
    .name = "chatml",
    .open = "",
    CHATML_TURNS,
    .flags = CHAT_DROP_THOUGHTS | CHAT_TRIM_THOUGHT_LINES,
};

static const struct chat_format LLAMA2 = {
    .name = "llama-2",
    .open = "",
    .system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
    .user = {CHAT_BOS "[INST] ", " [/INST]"},
    .assistant = {" ", " " CHAT_EOS},
    .answer = "",
    .place = CHAT_SYSTEM_FIRST_USER,
    .flags = CHAT_TRIM_JOINED | CHAT_TRIM_ASSISTANT,
};

#define LLAMA3_ROLE(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define LLAMA3_TURNS                                                                                                   \
    .user = {LLAMA3_ROLE("user"), "<|eot_id|>"}, .assistant = {LLAMA3_ROLE("assistant"), "<|eot_id|>"},                \
    .answer = LLAMA3_ROLE("assistant"), .flags = CHAT_TRIM_SYSTEM | CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT

static const struct chat_format LLAMA3 = {
    .name = "llama-3",
    .open = CHAT_BOS,
    .system = {LLAMA3_ROLE("system"), "<|eot_id|>"},
    LLAMA3_TURNS,
};
/* These two state dates in front of any system message. */
static const struct chat_format LLAMA3_1 = {
    .name = "llama-3",
    .open = CHAT_BOS,
    .system = {LLAMA3_ROLE("system") "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
               "<|eot_id|>"},
    LLAMA3_TURNS,
    .default_system = "",
};
static const struct chat_format LLAMA3_2 = {
    .name = "llama-3",
    .open = CHAT_BOS,
    .system = {LLAMA3_ROLE("system") "Cutting Knowledge Date: December 2023\nToday Date: " CHAT_DATE "\n\n",
               "<|eot_id|>"},
    LLAMA3_TURNS,
    .default_system = "",
};

#define GEMMA_TURNS                                                                                                    \
    .user = {"<start_of_turn>user\n", "<end_of_turn>\n"}, .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},  \
    .answer = "<start_of_turn>model\n", .flags = CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT

static const struct chat_format GEMMA = {
    .name = "gemma", .open = CHAT_BOS, GEMMA_TURNS, .system = {"", ""}, .place = CHAT_SYSTEM_REFUSED};
static const struct chat_format GEMMA_PLAIN = {
    .name = "gemma", .open = "", GEMMA_TURNS, .system = {"", ""}, .place = CHAT_SYSTEM_REFUSED};
static const struct chat_format GEMMA3 = {
    .name = "gemma", .open = CHAT_BOS, GEMMA_TURNS, .system = {"", "\n\n"}, .place = CHAT_SYSTEM_FIRST_USER};

/* The first templates of Phi-3 leave a system message out without a word; here it is refused. */
#define PHI3_TURNS                                                                                                     \
    .system = {"<|system|>\n", "<|end|>\n"}, .user = {"<|user|>\n", "<|end|>\n"},                                      \
    .assistant = {"<|assistant|>\n", "<|end|>\n"}, .answer = "<|assistant|>\n"

static const struct chat_format PHI3 = {.name = "phi-3", .open = "", PHI3_TURNS, .flags = CHAT_SKIP_EMPTY_SYSTEM};
static const struct chat_format PHI3_SMALL = {.name = "phi-3", .open = CHAT_BOS, PHI3_TURNS};
static const struct chat_format PHI3_MINI = {
    .name = "phi-3", .open = CHAT_BOS, PHI3_TURNS, .place = CHAT_SYSTEM_REFUSED};
static const struct chat_format PHI3_MEDIUM = {.name = "phi-3", .open = "", PHI3_TURNS, .place = CHAT_SYSTEM_REFUSED};
static const struct chat_format PHI4 = {
    .name = "phi-4",
    .open = "",
    .system = {"<|im_start|>system<|im_sep|>", "<|im_end|>"},
    .user = {"<|im_start|>user<|im_sep|>", "<|im_end|>"},
    .assistant = {"<|im_start|>assistant<|im_sep|>", "<|im_end|>"},
    .answer = "<|im_start|>assistant<|im_sep|>",
};
static const struct chat_format PHI4_MINI = {
    .name = "phi-4-mini",
    .open = "",
    .system = {"<|system|>", "<|end|>"},
    .user = {"<|user|>", "<|end|>"},
    .assistant = {"<|assistant|>", "<|end|>"},
    .answer = "<|assistant|>",
};

static const struct chat_format MISTRAL = {
    .name = "mistral",
    .open = CHAT_BOS,
    .system = {"", ""},
    .user = {"[INST] ", " [/INST]"},
    .assistant = {"", CHAT_EOS},
    .answer = "",
    .place = CHAT_SYSTEM_REFUSED,
};
static const struct chat_format MISTRAL_SPACED = {
    .name = "mistral",
    .open = CHAT_BOS,
    .system = {"", ""},
    .user = {"[INST] ", " [/INST]"},
    .assistant = {"", CHAT_EOS " "},
    .answer = "",
    .place = CHAT_SYSTEM_REFUSED,
};
static const struct chat_format MISTRAL_V1 = {
    .name = "mistral",
    .open = CHAT_BOS,
    .system = {"", "\n\n"},
    .user = {" [INST] ", " [/INST]"},
    .assistant = {" ", CHAT_EOS},
    .answer = "",
    .place = CHAT_SYSTEM_FIRST_USER,
};
static const struct chat_format MISTRAL_V3 = {
    .name = "mistral",
    .open = CHAT_BOS,
    .system = {"", "\n\n"},
    .user = {"[INST] ", "[/INST]"},
    .assistant = {" ", CHAT_EOS},
    .answer = "",
    .place = CHAT_SYSTEM_LAST_USER,
    .flags = CHAT_TRIM_ASSISTANT,
};
static const struct chat_format MISTRAL_NEMO = {
    .name = "mistral",
    .open = CHAT_BOS,
    .system = {"", "\n\n"},
    .user = {"[INST]", "[/INST]"},
    .assistant = {"", CHAT_EOS},
    .answer = "",
    .place = CHAT_SYSTEM_LAST_USER,
};
static const struct chat_format MISTRAL_V7 = {
    .name = "mistral",
    .open = CHAT_BOS,
    .system = {"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"},
    .user = {"[INST] ", "[/INST]"},
    .assistant = {" ", CHAT_EOS},
    .answer = "",
};

static const struct chat_format ZEPHYR = {
    .name = "zephyr",
    .open = "",
    .system = {"<|system|>\n", CHAT_EOS "\n"},
    .user = {"<|user|>\n", CHAT_EOS "\n"},
    .assistant = {"<|assistant|>\n", CHAT_EOS "\n"},
    .answer = "<|assistant|>\n",
};
static const struct chat_format ZEPHYR_PLAIN = {
    .name = "zephyr",
    .open = "",
    .system = {"", ""},
    .user = {"<|user|>\n", "\n"},
    .assistant = {"<|assistant|>\n", CHAT_EOS "\n"},
    .answer = "<|assistant|>\n",
    .place = CHAT_SYSTEM_REFUSED,
};

#define TULU_TURNS                                                                                                     \
    .system = {"<|system|>\n", "\n"}, .user = {"<|user|>\n", "\n"}, .assistant = {"<|assistant|>\n", CHAT_EOS "\n"},   \
    .answer = "<|assistant|>\n"

static const struct chat_format TULU = {.name = "tulu", .open = "", TULU_TURNS};
static const struct chat_format TULU_BOS = {.name = "tulu", .open = CHAT_BOS, TULU_TURNS};

#define GRANITE_ROLE(role) "<|start_of_role|>" role "<|end_of_role|>"
#define GRANITE_TURNS                                                                                                  \
    .system = {GRANITE_ROLE("system"), "<|end_of_text|>\n"}, .user = {GRANITE_ROLE("user"), "<|end_of_text|>\n"},      \
    .assistant = {GRANITE_ROLE("assistant"), "<|end_of_text|>\n"}, .answer = GRANITE_ROLE("assistant")

static const struct chat_format GRANITE = {.name = "granite", .open = "", GRANITE_TURNS};
static const struct chat_format GRANITE3_3 = {
    .name = "granite",
    .open = "",
    GRANITE_TURNS,
    .default_system = "Knowledge Cutoff Date: April 2024. Today's Date: " CHAT_LONG_DATE
                      ". You are Granite, developed by IBM. You are a helpful AI assistant.",
};

#define COMMAND_ROLE(role) "<|START_OF_TURN_TOKEN|><|" role "_TOKEN|>"
static const struct chat_format COMMAND_R = {
    .name = "command-r",
    .open = CHAT_BOS,
    .system = {COMMAND_ROLE("SYSTEM"), "<|END_OF_TURN_TOKEN|>"},
    .user = {COMMAND_ROLE("USER"), "<|END_OF_TURN_TOKEN|>"},
    .assistant = {COMMAND_ROLE("CHATBOT"), "<|END_OF_TURN_TOKEN|>"},
    .answer = COMMAND_ROLE("CHATBOT"),
    .flags = CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT,
};

static const struct chat_format DEEPSEEK2 = {
    .name = "deepseek-2",
    .open = CHAT_BOS,
    .system = {"", "\n\n"},
    .user = {"User: ", "\n\n"},
    .assistant = {"Assistant: ", CHAT_EOS},
    .answer = "Assistant:",
};
static const struct chat_format DEEPSEEK_R1 = {
    .name = "deepseek-r1",
    .open = CHAT_BOS,
    .system = {"", ""},
    .user = {"<｜User｜>", ""},
    .assistant = {"<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
    .answer = "<｜Assistant｜><think>\n",
    .flags = CHAT_DROP_THOUGHTS,
};

static const struct chat_format OPENCHAT = {
    .name = "openchat",
    .open = CHAT_BOS,
    .system = {"GPT4 Correct System: ", "<|end_of_turn|>"},
    .user = {"GPT4 Correct User: ", "<|end_of_turn|>"},
    .assistant = {"GPT4 Correct Assistant: ", "<|end_of_turn|>"},
    .answer = "GPT4 Correct Assistant:",
};
static const struct chat_format SOLAR = {
    .name = "solar",
    .open = "",
    .system = {"### System:\n", "\n\n"},
    .user = {"### User:\n", "\n\n"},
    .assistant = {"### Assistant:\n", ""},
    .answer = "### Assistant:\n",
    .flags = CHAT_SKIP_EMPTY_SYSTEM,
};

const struct chat_known CHAT_KNOWN[] = {
    {"1d1c8ba4a1e7769dddd503e5fb7811d3", 0, 0, &CHATML},         /* OpenHermes, SmolLM, StableLM 2 Chat, OLMo 3 */
    {"0043aed37bd10e437c91b1199e0181e2", 0, 0, &CHATML},         /* Yi, Hermes */
    {"590e06415f93987d8172bc73398a00f0", 98, 170, &CHATML},      /* SmolLM2 */
    {"98198548c86e411a6ab5244774e283d8", 169, 363, &CHATML},     /* with a default system message set first */
    {"03d45a00c1ef56a1172823f9dea9a389", 0, 0, &QWEN2_5},        /* Qwen2.5 */
    {"224a087a90b766d3f7fe29f3661475a0", 0, 0, &QWEN3},          /* Qwen3 */
    {"1b1013e1c6d0c397664096eb6e8a8cce", 0, 0, &CHATML_BOS},     /* with a beginning token */
    {"60e0c160a93cccb305b3b930f7eec875", 0, 0, &CHATML_BOS},     /* with a beginning token */
    {"333eade8da41191b8d8c2177aa687aaa", 0, 0, &CHATML_BOS},     /* with a beginning token */
    {"3d3131b8b88fe2e59a00382be9f651b9", 0, 0, &LLAMA2},         /* Llama 2, Code Llama */
    {"64f2d57842e88d7d03ad17eb08957f00", 0, 0, &LLAMA2},         /* Llama 2 */
    {"8437b612ec2c795c6221b82f25c96458", 0, 0, &LLAMA3},         /* Llama 3 */
    {"e5ef56ea2c69739ab3e840b10f4235d8", 0, 0, &LLAMA3},         /* Llama 3 */
    {"d108be1137deeca78ff277faf05fcb20", 0, 0, &LLAMA3_1},       /* Llama 3.1, 3.3 */
    {"2cf8129dcd04e4536efd39e664661a91", 0, 0, &LLAMA3_2},       /* Llama 3.2 */
    {"46011936100ff32444e665cd1f8d8e2d", 0, 0, &GEMMA},          /* Gemma, Gemma 2 */
    {"4dff829acb980b800a666e2f5764f7fa", 0, 0, &GEMMA_PLAIN},    /* Gemma */
    {"fdb19509d80809eebd408e65d6d356f2", 0, 0, &GEMMA3},         /* Gemma 3 */
    {"5e63bbce9cfaa1797fee1010b886a966", 0, 0, &PHI3_MINI},      /* Phi-3 mini */
    {"51d93083e0b8f1111b71f0c55fd0cf27", 0, 0, &PHI3_MEDIUM},    /* Phi-3 medium */
    {"750006e46308d31a09dcee0d56347f27", 0, 0, &PHI3_SMALL},     /* Phi-3 small */
    {"1d68a1b08bbeb58cc5afeebb66c1eadf", 0, 0, &PHI3},           /* Phi-3.5 mini, Phi-3 mini */
    {"1f39b48b40fbcb9e22afc19f0728de16", 0, 0, &PHI4},           /* Phi-4 */
    {"f69b9f5790c7a6ef79b0d832acd6bde7", 0, 0, &PHI4},           /* Phi-4 */
    {"b8a535ff3c5d858a1c7c094d0482d51b", 0, 0, &PHI4_MINI},      /* Phi-4-mini */
    {"864ae527547c50a11171c3e707e9403b", 0, 0, &MISTRAL},        /* Mistral 7B v0.1, v0.2, Mixtral */
    {"9b043f82cbe3773a80fa0a3979e68b60", 0, 0, &MISTRAL_SPACED}, /* Mistral 7B v0.1 */
    {"0547db7ee3bc9b8f7a60e60f5d5e4a1e", 0, 0, &MISTRAL_V1},     /* Mistral 7B v0.2, Mixtral 8x7B */
    {"369c1682c7bfe942da67603667f5f5c3", 0, 0, &MISTRAL_V3},     /* Mistral 7B v0.3, Mistral Large 2407 */
    {"d07f5b3a65f0cf0fda452b4ed62da278", 0, 0, &MISTRAL_NEMO},   /* Mistral Nemo 2407 */
    {"fc70e3cbc820e5a52e4b37a22903dd27", 0, 0, &MISTRAL_V7},     /* Mistral Large 2411 */
    {"2f30e310365ac5716bbf05eb734e0105", 0, 0, &ZEPHYR},         /* Zephyr, TinyLlama Chat */
    {"9621130b572d089549dbaacdfccbdd3a", 0, 0, &ZEPHYR_PLAIN},   /* StableLM Zephyr */
    {"68ea71430e7f6e46e4c000db59ff18de", 0, 0, &TULU_BOS},       /* OLMo 2, OLMo, OLMoE */
    {"86d2fbe21a4b1fbceb059997238b4f14", 0, 0, &TULU},           /* Tulu 3, Falcon 3 */
    {"9e4e9640c23fd65de4612d0aad414217", 0, 0, &GRANITE},        /* Granite 3.0 */
    {"3fcfd4a5902538bf4fe002b98d0a0545", 0, 0, &GRANITE3_3},     /* Granite 3.3 */
    {"846bf0bfb7fe547feaa2f2920d09fc81", 0, 0, &COMMAND_R},      /* Command R */
    {"4b55edc2afb9b9a743446cb819701671", 0, 0, &DEEPSEEK2},      /* DeepSeek-V2 */
    {"22a9f0141a26818021ce6627cadab4d1", 0, 0, &DEEPSEEK_R1},    /* DeepSeek-R1 distillations */
    {"2b72d7f2ef7a0b07fd1f63d1acf63528", 0, 0, &OPENCHAT},       /* OpenChat 3.5 */
    {"0d55baa2072a3800305bd92dfd6a5a0d", 0, 0, &SOLAR},          /* SOLAR */
};
const size_t CHAT_KNOWN_COUNT = sizeof CHAT_KNOWN / sizeof CHAT_KNOWN[0];
