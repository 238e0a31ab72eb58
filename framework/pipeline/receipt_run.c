/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera.run.json: when, where and how fast. Never compared, so everything that differs between runs belongs here. */
#define _POSIX_C_SOURCE 200809L
#include "machine.h"
#include "receipt.h"

#include <base/str.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void set_time(struct members *run, int64_t started) {
    char text[32];
    time_t seconds = (time_t)started;
    struct tm parts;
    bool known = gmtime_r(&seconds, &parts) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    members_text(run, "started", known ? text : NULL);
}

tsr_status receipt_run(const struct run_facts *facts, json_t **run, tsr_error *err) {
    struct members whole = members_object(), seconds = members_object();
    char host[256] = "", cpu[MACHINE_CPU];
    if (gethostname(host, sizeof host - 1)) host[0] = '\0';
    machine_cpu(cpu);
    set_time(&whole, facts->started);
    members_text(&whole, "host", text_is_utf8(host, strlen(host)) ? host : NULL);
    members_text(&whole, "cpu", cpu);
    members_count(&whole, "workers", facts->workers);
    members_count(&whole, "resumes", facts->runs ? facts->runs - 1 : 0);
    members_count(&whole, "reused_tensors", facts->reused_parts);
    members_count(&whole, "encoded_bytes", facts->encoded_bytes);
    members_count(&whole, "stored_bytes", facts->stored_bytes);
    members_real(&seconds, "plan", facts->seconds_plan);
    members_real(&seconds, "encode", facts->seconds_encode);
    members_real(&seconds, "assemble", facts->seconds_assemble);
    members_real(&seconds, "verify", facts->seconds_verify);
    members_real(&seconds, "gates", facts->seconds_gate);
    members_nest(&whole, "seconds", &seconds);
    return members_finish(&whole, run, err);
}
