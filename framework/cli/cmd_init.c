/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera init: a config to start from. */
#include "commands.h"
#include "session.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <pipeline/job_init.h>
#include <string.h>

static tsr_status write_file(struct session *session, const char *text, const char *path, tsr_error *err) {
    if (fs_kind_of(path) != FS_ABSENT && !session_has(session, OPT_FORCE)) {
        return tsr_fail(err, TSR_E_CONFIG, "%s: is there already (--force replaces it)", path);
    }
    return fs_replace(path, text, strlen(text), err);
}

static tsr_status init_run(struct session *session, tsr_error *err) {
    char *text = NULL;
    const char *path = session_value(session, OPT_CONFIG_FILE);
    tsr_status status = session_open(session, err);
    if (!status) status = session_plugins(session, err);
    if (!status) status = job_init(session->arguments.operands[0], session->registry, &session->paths, &session->env, &text, err);
    if (!status && path) status = write_file(session, text, path, err);
    if (!status && !path) str_add_text(&session->output.text, text);
    mem_free(text);
    return status;
}

const struct command COMMAND_INIT = {
    .name = "init",
    .operands = "MODEL",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "write a config to start from",
    .doc = "Looks at the tensors of MODEL and writes a commented config for it: a rule for each role that is there and may be lossy, how "
           "much there is of it, what has no role, and gates to switch on. Printed, or written to a file with -o.",
    .options = {OPT_CONFIG_FILE, OPT_FORCE, OPT_ROLES_PATH, OPT_PLUGIN_PATH, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera init ./my-model -o job.yaml", "then edit it, and `tessera plan ./my-model -c job.yaml`"}},
    .run = init_run,
};
