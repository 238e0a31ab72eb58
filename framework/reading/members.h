/* SPDX-License-Identifier: Apache-2.0
 *
 * Building and reading JSON objects without asking after each member: one flag remembers that memory was short, or that
 * a member was absent or of another kind. */
#ifndef READING_MEMBERS_H
#define READING_MEMBERS_H

#include <base/digest.h>
#include <jansson.h>
#include <stdbool.h>
#include <tessera/status.h>

/* An object (or list) being built. `value` is NULL when memory was short from the start. */
struct members {
    json_t *value;
    bool failed;
};

struct members members_object(void);
struct members members_list(void);
/* `value` is taken, also on failure; NULL counts as a failure. */
void members_set(struct members *members, const char *key, json_t *value);
void members_add(struct members *members, json_t *value);
/* A nested one; its failure becomes ours. */
void members_nest(struct members *members, const char *key, struct members *inner);
void members_append(struct members *members, struct members *inner);

void members_text(struct members *members, const char *key, const char *text); /* NULL: null */
void members_count(struct members *members, const char *key, uint64_t number);
void members_real(struct members *members, const char *key, double number); /* not finite: null */
void members_bool(struct members *members, const char *key, bool value);
void members_digest(struct members *members, const char *key, const struct digest *digest);
void members_shape(struct members *members, const char *key, const uint64_t *shape, uint64_t rank);

/* The finished value in *result, or TSR_E_NOMEM. */
tsr_status members_finish(struct members *members, json_t **result, tsr_error *err);

/* Reading: *bad is set when the member is absent or of another kind; the result is then empty. */
const char *member_text(const json_t *object, const char *key, bool *bad);
uint64_t member_count(const json_t *object, const char *key, bool *bad);
bool member_bool(const json_t *object, const char *key, bool *bad);
struct digest member_digest(const json_t *object, const char *key, bool *bad);
const json_t *member_list(const json_t *object, const char *key, bool *bad);

/* Reading results to show them: a member that is absent or of another type reads as "", 0, false. */
const char *field_text(const json_t *object, const char *name);
uint64_t field_count(const json_t *object, const char *name);
double field_real(const json_t *object, const char *name);
bool field_is(const json_t *object, const char *name);

#endif
