/* SPDX-License-Identifier: Apache-2.0 */
/* What volumes take that nobody uses, however often they were opened before. */
#include <stdio.h>
#include <unistd.h>

#include "replicas_case.h"

#define VOLUMES  4u
#define IDLE_MAX (256 * K) /* Of an open volume of three copysets and two slices. */

static uint64_t resident(void)
{
    unsigned long mapped, pages;
    FILE *const f = fopen("/proc/self/statm", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &mapped, &pages), 2);
    fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void reopen(struct case_ *c)
{
    fixture_close(c->f);
    c->f->config.epoch = ++c->meta.record.epoch;
    assert_int_equal(fixture_open(c->f).code, STATUS_OK);
}

/* The heap has holes by then, which are as large as what is asked for. */
static void an_idle_volume_takes_little(void **state)
{
    (void)state;
    struct case_ *cases[VOLUMES];
    for (unsigned i = 0; i < VOLUMES; i++)
        cases[i] = case_create(2);
    const uint64_t before = resident();
    for (unsigned i = 0; i < VOLUMES; i++)
        assert_int_equal(fixture_open(cases[i]->f).code, STATUS_OK);
    for (unsigned i = 0; i < 8 * VOLUMES; i++)
        reopen(cases[i * 3 % VOLUMES]);
    assert_in_range(resident(), 0, before + VOLUMES * IDLE_MAX);
    for (unsigned i = 0; i < VOLUMES; i++)
        case_destroy(cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(an_idle_volume_takes_little) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
