/* SPDX-License-Identifier: Apache-2.0
 *
 * One table says for each status its name and its exit code, so that the two cannot drift apart. */
#include "error.h"

#include <string.h>

struct status_row {
    const char *name;
    int exit_code;
};

/* Indexed by -status. */
static const struct status_row STATUS_ROWS[] = {
    {"ok", 0},       {"argument", 4},    {"config", 1}, {"input", 2}, {"corrupt", 2}, {"unsupported", 2}, {"limit", 2},
    {"no-memory", 4}, {"io", 4},          {"busy", 4},   {"cancelled", 130}, {"gate", 3},  {"plugin", 4}, {"space", 4},
};

_Static_assert(sizeof STATUS_ROWS / sizeof STATUS_ROWS[0] == 1 - TSR_STATUS_LAST, "a row for each status");

static const struct status_row *status_row(tsr_status status) {
    static const struct status_row unknown = {"unknown", 4};
    if (status > 0 || status < TSR_STATUS_LAST) return &unknown;
    return &STATUS_ROWS[-status];
}

tsr_status error_context(tsr_error *err, tsr_status status, const char *format, ...) {
    if (!err) return status;
    char text[2 * TSR_ERROR_TEXT + 2];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, TSR_ERROR_TEXT, format, arguments);
    va_end(arguments);
    size_t used = strlen(text);
    (void)snprintf(text + used, sizeof text - used, ": %.*s", TSR_ERROR_TEXT - 1, err->message);
    memcpy(err->message, text, TSR_ERROR_TEXT - 1);
    err->message[TSR_ERROR_TEXT - 1] = '\0';
    return status;
}

int error_exit_code(tsr_status status) {
    return status_row(status)->exit_code;
}

const char *error_name(tsr_status status) {
    return status_row(status)->name;
}
