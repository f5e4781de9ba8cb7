/* SPDX-License-Identifier: Apache-2.0 */
/* A member that is much slower than its peers is excluded: docs/replication.md, 6.1. */
#include "rebuild_case.h"

#define SLOW_NS (30 * NS_PER_MS)

/* A write that takes 30 ms on these disks. */
static void write_slowly(struct fixture *f, struct store *const slow[], unsigned count)
{
    struct request r = { 0 };

    for (unsigned i = 0; i < count; i++)
        slow[i]->hold = true;
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    loop_pass(&f->loop, SLOW_NS);
    for (unsigned i = 0; i < count; i++) {
        slow[i]->hold = false;
        while (slow[i]->in_flight_count > 0)
            fake_store_release(slow[i], 0);
    }
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
}

/* Writes for so long; those of these disks take 30 ms. */
static void writes_for(struct case_ *c, uint64_t ns, unsigned slow)
{
    struct store *stores[DISKS] = { 0 };
    unsigned count = 0;

    for (unsigned i = 0; i < DISKS; i++)
        if ((slow >> i & 1) != 0)
            stores[count++] = &c->f->stores[i];
    for (uint64_t at = 0; at < ns; at += SLOW_NS)
        write_slowly(c->f, stores, count);
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

/* What the old disk was is not held against the one that its replica was moved to. */
static void another_disk_begins_anew(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_create(1);
    struct store *const late[] = { &r->spare };
    rebuild_open(r);
    r->items[0].moves = true;
    writes_for(r->c, 28 * NS_PER_S, 1u << AWAY);
    assert_int_equal(volume_replace(r->f->volume, &r->f->config, r->items, 1).code, STATUS_OK);
    loop_run(&r->f->loop);
    assert_true(names_new(r, 0));
    for (uint64_t at = 0; at < 18 * NS_PER_S; at += SLOW_NS) {
        write_slowly(r->f, late, 1);
        assert_true(is_member(r->c, NEW));
    }
    rebuild_destroy(r);
}

/* Nor what a disk was before it was resynced. */
static void who_was_out_begins_anew(void **state)
{
    (void)state;
    struct case_ *c = case_opened(1);
    writes_for(c, 28 * NS_PER_S, 4);
    c->f->stores[2].fail_next = STATUS(MEDIA_WRITE);
    writes_for(c, SLOW_NS, 0);
    assert_false(is_member(c, 2));
    for (unsigned i = 0; i < 2; i++)
        loop_pass(&c->f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_int_equal(members(c), DISKS);
    for (unsigned i = 0; i < 18; i++) {
        writes_for(c, NS_PER_S, 4);
        assert_int_equal(members(c), DISKS);
    }
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_slowest_goes),         cmocka_unit_test(others_stay),
        cmocka_unit_test(what_passes_is_no_reason), cmocka_unit_test(little_is_no_measure),
        cmocka_unit_test(another_disk_begins_anew), cmocka_unit_test(who_was_out_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
