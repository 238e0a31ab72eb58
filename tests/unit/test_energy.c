/* SPDX-License-Identifier: Apache-2.0
 *
 * Energy from a folder made like Linux's: which zones count, how a counter goes on behind its range, and what is said of
 * one that cannot be read. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "unit.h"

#include <batch/energy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/tessera-test-energy-XXXXXX";

/* In place, as counters change: a meter holds them open. */
static void set(const char *zone, const char *member, const char *text) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s/%s", folder, zone, member);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fprintf(file, "%s\n", text);
    fclose(file);
}

static void make_zone(const char *zone, const char *name, const char *value) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, zone);
    (void)mkdir(path, 0700);
    set(zone, "name", name);
    set(zone, "energy_uj", value);
    set(zone, "max_energy_range_uj", "1000000000");
}

static void make_machine(void) {
    make_zone("intel-rapl:0", "package-0", "100000000");
    make_zone("intel-rapl:0:0", "core", "100000000");
    make_zone("intel-rapl:0:1", "dram", "100000000");
    make_zone("intel-rapl:1", "psys", "100000000");
    make_zone("intel-rapl-mmio:0", "package-0", "100000000");
}

static void packages_and_memory_count_once(void) {
    struct energy energy = {0};
    make_machine();
    energy_open(folder, &energy);
    CU_ASSERT_STRING_EQUAL(energy.missing, "");
    CU_ASSERT_EQUAL(energy.count, 2);
    CU_ASSERT_EQUAL(energy_read(&energy), 0);
    set("intel-rapl:0", "energy_uj", "130000000");
    set("intel-rapl:0:0", "energy_uj", "900000000");
    set("intel-rapl:0:1", "energy_uj", "102500000");
    set("intel-rapl:1", "energy_uj", "900000000");
    set("intel-rapl-mmio:0", "energy_uj", "900000000");
    CU_ASSERT_DOUBLE_EQUAL(energy_read(&energy), 32.5, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(energy_read(&energy), 32.5, 1e-9);
    energy_close(&energy);
}

static void a_counter_goes_on_behind_its_range(void) {
    struct energy energy = {0};
    make_machine();
    set("intel-rapl:0", "energy_uj", "990000000");
    energy_open(folder, &energy);
    set("intel-rapl:0", "energy_uj", "5000000");
    CU_ASSERT_DOUBLE_EQUAL(energy_read(&energy), 15, 1e-9);
    set("intel-rapl:0", "energy_uj", "4000000");
    CU_ASSERT_DOUBLE_EQUAL(energy_read(&energy), 15 + 999, 1e-9);
    energy_close(&energy);
}

static void expect_missing(const char *where, const char *why) {
    struct energy energy = {0};
    energy_open(where, &energy);
    CU_ASSERT_EQUAL(energy_read(&energy), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(energy.missing, why));
    energy_close(&energy);
}

static void what_cannot_be_read_is_said(void) {
    make_machine();
    expect_missing("/nowhere/at-all", "no RAPL counters in /nowhere/at-all");
    expect_missing("/nowhere/\xff", "no RAPL counters");
    set("intel-rapl:0", "energy_uj", "much");
    expect_missing(folder, "intel-rapl:0/energy_uj: not a counter");
    set("intel-rapl:0", "energy_uj", "1000000001");
    expect_missing(folder, "intel-rapl:0/energy_uj: not a counter");
    set("intel-rapl:0", "energy_uj", "99999999999999999999");
    expect_missing(folder, "intel-rapl:0/energy_uj: not a counter");
}

static void a_counter_that_ceases_ends_the_figure(void) {
    struct energy energy = {0};
    make_machine();
    energy_open(folder, &energy);
    set("intel-rapl:0:1", "energy_uj", "");
    CU_ASSERT_EQUAL(energy_read(&energy), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(energy.missing, "ceased"));
    set("intel-rapl:0:1", "energy_uj", "100000001");
    CU_ASSERT_EQUAL(energy_read(&energy), -1);
    energy_close(&energy);
}

static const struct unit_test TESTS[] = {
    {"packages_and_memory_count_once", packages_and_memory_count_once},
    {"a_counter_goes_on_behind_its_range", a_counter_goes_on_behind_its_range},
    {"what_cannot_be_read_is_said", what_cannot_be_read_is_said},
    {"a_counter_that_ceases_ends_the_figure", a_counter_that_ceases_ends_the_figure},
};

int main(void) {
    if (!mkdtemp(folder)) return 1;
    int failed = unit_run(__FILE__, TESTS, (unsigned)(sizeof TESTS / sizeof TESTS[0]));
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) ? 1 : failed;
}
