/* SPDX-License-Identifier: Apache-2.0
 *
 * report: the receipt, and the facts of the run where they are still there. */
#include "job.h"
#include "layout.h"
#include "seal.h"

#include <base/alloc.h>
#include <reading/members.h>

tsr_status job_report(const char *output, json_t **result, tsr_error *err) {
    struct members whole = members_object();
    json_t *receipt = NULL, *run = NULL;
    char *path = fs_join(output, RECEIPT_NAME), *run_path = fs_join(output, RUN_NAME);
    tsr_status st = path && run_path ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", output);
    if (st == TSR_OK) st = seal_read(path, &receipt, NULL, err);
    if (st == TSR_OK && fs_kind_of(run_path) == FS_FILE) st = seal_read(run_path, &run, NULL, err);
    mem_free(path);
    mem_free(run_path);
    members_set(&whole, "receipt", receipt ? receipt : json_null());
    members_set(&whole, "run", run ? run : json_null());
    tsr_status finished = members_finish(&whole, result, st == TSR_OK ? err : NULL);
    if (st != TSR_OK) {
        json_decref(*result);
        *result = NULL;
        return st;
    }
    return finished;
}
