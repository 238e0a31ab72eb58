/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as JOBS.yaml. Patterns that would walk the file system are left out. */
#define _GNU_SOURCE
#include <assert.h>
#include <batch/batch_config.h>
#include <string.h>

#include "memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct memory_file file;
    struct batch batch = {0};
    tsr_error err = {0};
    if (memchr(data, '*', size) || memchr(data, '?', size)) return 0;
    memory_file_fill(&file, data, size);
    tsr_status st = batch_load(file.path, &batch, &err);
    /* A refusal says where; jobs of a file that was taken have all that a run needs, and need only what is there. */
    assert(st == TSR_OK || (st == TSR_E_CONFIG && strstr(err.message, file.path) == err.message));
    for (uint64_t i = 0; st == TSR_OK && i < batch.count; i++) {
        const struct batch_job *job = &batch.jobs[i];
        assert(job->name[0] && job->model && job->output && job->threads && job->shards && batch_footprint(job));
        for (uint64_t k = 0; k < job->need_count; k++) assert(job->needs[k] < batch.count && job->needs[k] != i);
    }
    batch_close(&batch);
    return 0;
}
