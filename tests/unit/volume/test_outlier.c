/* SPDX-License-Identifier: Apache-2.0 */
/* A member that is much slower than its peers is excluded: docs/replication.md, 6.1. */
#include "replicas_case.h"

#define SLOW_NS (30 * NS_PER_MS)

/* Writes for so long; those of these disks take 30 ms. */
static void writes_for(struct case_ *c, uint64_t ns, unsigned slow)
{
    struct fixture *const f = c->f;

    for (uint64_t at = 0; at < ns; at += SLOW_NS) {
        struct request r = { 0 };
        for (unsigned i = 0; i < DISKS; i++)
            f->stores[i].hold = (slow >> i & 1) != 0;
        submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
        loop_run(&f->loop);
        loop_pass(&f->loop, SLOW_NS);
        for (unsigned i = 0; i < DISKS; i++) {
            f->stores[i].hold = false;
            while (f->stores[i].in_flight_count > 0)
                fake_store_release(&f->stores[i], 0);
        }
        loop_run(&f->loop);
        assert_false(r.busy);
        assert_int_equal(r.req.status.code, STATUS_OK);
    }
}

static unsigned members(const struct case_ *c)
{
    unsigned count = 0;

    for (unsigned i = 0; i < DISKS; i++)
        count += is_member(c, i) ? 1 : 0;
    return count;
}

/* In three of six windows of ten seconds, and not sooner; and the second one has to stay. */
static void the_slowest_goes(void **state)
{
    (void)state;
    for (unsigned slow = 0; slow < DISKS; slow++) {
        struct case_ *c = case_opened(1);
        writes_for(c, 28 * NS_PER_S, 1u << slow);
        assert_int_equal(members(c), DISKS);
        writes_for(c, 4 * NS_PER_S, 1u << slow);
        assert_false(is_member(c, slow));
        assert_int_equal(members(c), DISKS - 1);
        case_destroy(c);
    }
}

/* Two that are slow are no outliers; nor is one of two, as one copy would be left. */
static void others_stay(void **state)
{
    (void)state;
    struct case_ *c = case_opened(1);
    writes_for(c, 90 * NS_PER_S, 6);
    writes_for(c, 90 * NS_PER_S, 7);
    assert_int_equal(members(c), DISKS);
    case_destroy(c);
    c = case_opened(3); /* Nobody can be spared. */
    writes_for(c, 90 * NS_PER_S, 1);
    assert_int_equal(members(c), DISKS);
    case_destroy(c);
}

/* A bad spell is forgotten. */
static void what_passes_is_no_reason(void **state)
{
    (void)state;
    struct case_ *c = case_opened(1);
    for (unsigned i = 0; i < 5; i++) {
        writes_for(c, 18 * NS_PER_S, 4);
        writes_for(c, 60 * NS_PER_S, 0);
    }
    assert_int_equal(members(c), DISKS);
    case_destroy(c);
}

/* A few writes say nothing. */
static void little_is_no_measure(void **state)
{
    (void)state;
    struct case_ *c = case_opened(1);
    for (unsigned i = 0; i < 40; i++) {
        writes_for(c, 20 * SLOW_NS, 4);
        loop_pass(&c->f->loop, 5 * NS_PER_S);
    }
    assert_int_equal(members(c), DISKS);
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_slowest_goes),
        cmocka_unit_test(others_stay),
        cmocka_unit_test(what_passes_is_no_reason),
        cmocka_unit_test(little_is_no_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
