/* SPDX-License-Identifier: Apache-2.0
 *
 * A thin layer over jansson. jansson keeps integers as 64-bit signed: counts beyond 2^63 do not occur, since they are
 * bytes of files. */
#include "members.h"

#include <math.h>

struct members members_object(void) {
    json_t *value = json_object();
    return (struct members){value, !value};
}

struct members members_list(void) {
    json_t *value = json_array();
    return (struct members){value, !value};
}

void members_set(struct members *members, const char *key, json_t *value) {
    if (members->failed) {
        json_decref(value);
    } else if (json_object_set_new(members->value, key, value)) {
        members->failed = true;
    }
}

void members_add(struct members *members, json_t *value) {
    if (members->failed) {
        json_decref(value);
    } else if (json_array_append_new(members->value, value)) {
        members->failed = true;
    }
}

static json_t *take(struct members *inner) {
    if (!inner->failed) return inner->value;
    json_decref(inner->value);
    return NULL;
}

void members_nest(struct members *members, const char *key, struct members *inner) {
    members_set(members, key, take(inner));
}

void members_append(struct members *members, struct members *inner) {
    members_add(members, take(inner));
}

void members_text(struct members *members, const char *key, const char *text) {
    members_set(members, key, text ? json_string(text) : json_null());
}

void members_count(struct members *members, const char *key, uint64_t number) {
    members_set(members, key, json_integer((json_int_t)number));
}

void members_real(struct members *members, const char *key, double number) {
    members_set(members, key, isfinite(number) ? json_real(number) : json_null());
}

void members_bool(struct members *members, const char *key, bool value) {
    members_set(members, key, json_boolean(value));
}

void members_digest(struct members *members, const char *key, const struct digest *digest) {
    char hex[DIGEST_HEX];
    members_text(members, key, digest_to_hex(digest, hex));
}

void members_shape(struct members *members, const char *key, const uint64_t *shape, uint64_t rank) {
    struct members list = members_list();
    for (uint64_t i = 0; i < rank; i++) members_add(&list, json_integer((json_int_t)shape[i]));
    members_nest(members, key, &list);
}

tsr_status members_finish(struct members *members, json_t **result, tsr_error *err) {
    *result = take(members);
    return *result ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a result");
}

const char *member_text(const json_t *object, const char *key, bool *bad) {
    const char *text = json_string_value(json_object_get(object, key));
    if (!text) *bad = true;
    return text ? text : "";
}

uint64_t member_count(const json_t *object, const char *key, bool *bad) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        *bad = true;
        return 0;
    }
    return (uint64_t)json_integer_value(value);
}

bool member_bool(const json_t *object, const char *key, bool *bad) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_boolean(value)) *bad = true;
    return json_is_true(value);
}

struct digest member_digest(const json_t *object, const char *key, bool *bad) {
    struct digest digest = {{0}};
    if (!digest_from_hex(member_text(object, key, bad), &digest)) *bad = true;
    return digest;
}

const json_t *member_list(const json_t *object, const char *key, bool *bad) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_array(value)) *bad = true;
    return value;
}

const char *field_text(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

uint64_t field_count(const json_t *object, const char *name) {
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value > 0 ? (uint64_t)value : 0;
}

double field_real(const json_t *object, const char *name) {
    return json_number_value(json_object_get(object, name));
}

bool field_is(const json_t *object, const char *name) {
    return json_is_true(json_object_get(object, name));
}
