/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared pieces of the terminal views. */
#include "view.h"

#include <string.h>

#define NAME_WIDTH 22

tsr_status view_result(struct session *session, const json_t *result,
                       void (*show)(struct output *out, const json_t *result), tsr_error *err) {
    if (session_has(session, OPT_JSON)) return output_json(&session->output, result, err);
    show(&session->output, result);
    return TSR_OK;
}

tsr_status view_summary(struct session *session, const json_t *result,
                        void (*show)(struct output *out, const json_t *result), tsr_error *err) {
    if (session_has(session, OPT_QUIET) && !session_has(session, OPT_JSON)) return TSR_OK;
    return view_result(session, result, show, err);
}

void view_pair(struct output *out, const char *name, const char *value) {
    if (!*value) return;
    str_add_format(&out->text, "%-*s", NAME_WIDTH, name);
    str_add_safe(&out->text, value);
    str_add_text(&out->text, "\n");
}

void view_pair_count(struct output *out, const char *name, uint64_t value) {
    str_add_format(&out->text, "%-*s%llu\n", NAME_WIDTH, name, (unsigned long long)value);
}

void view_pair_bytes(struct output *out, const char *name, uint64_t bytes) {
    char text[32];
    str_add_format(&out->text, "%-*s%s (%llu)\n", NAME_WIDTH, name, text_bytes(bytes, text, sizeof text),
                   (unsigned long long)bytes);
}

void view_pair_ratio(struct output *out, const char *name, double ratio) {
    if (ratio > 0) str_add_format(&out->text, "%-*s%.4f:1\n", NAME_WIDTH, name, ratio);
}

void view_shape(struct table *table, const json_t *tensor) {
    struct str text = {0};
    size_t i;
    json_t *extent;
    str_add_text(&text, "[");
    json_array_foreach(json_object_get(tensor, "shape"), i, extent) {
        str_add_format(&text, i ? ", %lld" : "%lld", (long long)json_integer_value(extent));
    }
    str_add_text(&text, "]");
    table_cell(table, text.text);
    str_clear(&text);
}

void view_error(struct table *table, double error) {
    if (error > 0) {
        table_cell_format(table, "%.2e", error);
    } else {
        table_cell(table, "exact");
    }
}

void view_totals(struct output *out, const json_t *receipt) {
    const json_t *totals = json_object_get(receipt, "totals");
    view_pair_count(out, "tensors", field_count(totals, "tensors"));
    view_pair_bytes(out, "source", field_count(totals, "source_bytes"));
    view_pair_bytes(out, "output", field_count(totals, "output_bytes"));
    view_pair_ratio(out, "ratio", field_real(totals, "ratio"));
    view_pair_ratio(out, "ratio, no duplicates", field_real(totals, "ratio_unique"));
    if (field_real(totals, "bits_per_weight") > 0) {
        str_add_format(&out->text, "%-*s%.3f\n", NAME_WIDTH, "bits per weight", field_real(totals, "bits_per_weight"));
    }
    if (field_is(totals, "exact")) {
        view_pair(out, "error", "none: every tensor is exact");
        return;
    }
    str_add_format(&out->text, "%-*srelative D %.3e, cosine %.6f\n", NAME_WIDTH, "error",
                   field_real(totals, "relative_error"), field_real(totals, "cosine"));
}

static const struct table_column GATE_COLUMNS[] = {{"gate", false}, {"verdict", false}, {"finding", false}};
static const struct table_column ROLE_COLUMNS[] = {{"role alone", false}, {"tensors", true}, {"KLD", true}, {"top-1", true}};

/* What each role costs by itself, where a gate was so kind to find out. */
static void view_roles(struct output *out, const json_t *roles) {
    struct table table = {.columns = ROLE_COLUMNS, .column_count = 4};
    size_t i;
    json_t *role;
    if (!json_array_size(roles)) return;
    json_array_foreach(roles, i, role) {
        table_cell(&table, field_text(role, "role"));
        table_cell_format(&table, "%llu", (unsigned long long)field_count(role, "tensors"));
        table_cell_format(&table, "%.5f", field_real(role, "kld"));
        table_cell_format(&table, "%.4f", field_real(role, "top1"));
    }
    output_table(out, &table);
}

/* The short name stands behind the last dot of an id. */
static const char *short_name(const char *id) {
    const char *dot = strrchr(id, '.');
    return dot ? dot + 1 : id;
}

void view_codecs(struct table *table, const json_t *tensor, const char *instead) {
    struct str names = {0};
    size_t i;
    json_t *stage;
    str_add_text(&names, instead ? instead : short_name(field_text(tensor, "codec")));
    json_array_foreach(json_object_get(tensor, "stages"), i, stage) {
        str_add_format(&names, "+%s", short_name(field_text(stage, "codec")));
    }
    table_cell(table, names.failed ? "" : names.text);
    str_clear(&names);
}

void view_gates(struct output *out, const json_t *gates) {
    struct table table = {.columns = GATE_COLUMNS, .column_count = 3};
    size_t i;
    json_t *gate;
    if (!json_array_size(gates)) return;
    json_array_foreach(gates, i, gate) {
        table_cell(&table, field_text(gate, "gate"));
        table_cell(&table, field_text(gate, "verdict"));
        table_cell(&table, field_text(gate, "reason"));
    }
    output_table(out, &table);
    json_array_foreach(gates, i, gate) view_roles(out, json_object_get(gate, "by_role"));
}
