/* SPDX-License-Identifier: Apache-2.0
 *
 * A parsed document (config.json, a family description) as a plugin sees it: the host parses, a plugin only walks. Trees
 * are immutable, belong to the host and live as long as what they were lent to. */
#ifndef TESSERA_NODE_H
#define TESSERA_NODE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TSR_NODE_NULL = 0,
    TSR_NODE_BOOL = 1,   /* number 0 or 1 */
    TSR_NODE_NUMBER = 2, /* number; text as written */
    TSR_NODE_TEXT = 3,   /* text */
    TSR_NODE_LIST = 4,   /* children */
    TSR_NODE_MAP = 5     /* children, each with its key; keys are unique */
};

/* Frozen: an array of nodes has this stride. */
typedef struct tsr_node tsr_node;
struct tsr_node {
    const char *key;  /* in a map; "" elsewhere */
    const char *text; /* never NULL; "" where it has no meaning */
    double number;
    const tsr_node *children; /* [count] */
    uint64_t count;
    int32_t kind;
    int32_t line; /* 0 when unknown */
};

#ifdef __cplusplus
}
#endif
#endif
