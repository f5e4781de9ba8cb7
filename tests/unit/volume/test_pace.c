/* SPDX-License-Identifier: Apache-2.0 */
/* How fast resyncs are, of all volumes of a node together: docs/replication.md, section 9. */
#include "resync_case.h"

#define REGIONS (SHARDS * SHARD_BYTES / STORE_REGION_BYTES)

/* A volume beside that of a case, on disks of its own. */
struct beside {
    struct fixture *f;
    struct store stores[DISKS];
    struct volume_disk disks[DISKS];
    struct meta meta;
    struct volume *volume;
    bool closed;
};

static void beside_on_opened(void *ctx, struct status status, struct volume *volume)
{
    assert_int_equal(status.code, STATUS_OK);
    ((struct beside *)ctx)->volume = volume;
}

static void beside_open(struct beside *b, struct case_ *c)
{
    struct volume_config config = c->f->config;

    *b = (struct beside) { .f = c->f, .meta = c->meta };
    for (unsigned i = 0; i < DISKS; i++) {
        b->disks[i] = c->f->disks[i];
        fake_store_init(&b->stores[i], b->disks[i].reactor, SHARD_BYTES);
        b->stores[i].disk = b->disks[i].uuid;
        b->disks[i].store = &b->stores[i];
    }
    config.disks = b->disks;
    config.group = &b->meta.record;
    config.meta_ctx = &b->meta;
    assert_true(status_ok(volume_open(&config, beside_on_opened, b)));
}

static void beside_on_closed(void *ctx)
{
    ((struct beside *)ctx)->closed = true;
}

static void beside_close(struct beside *b)
{
    volume_close(b->volume, beside_on_closed, b);
    loop_run(&b->f->loop);
    assert_true(b->closed);
    for (unsigned i = 0; i < DISKS; i++)
        fake_store_fini(&b->stores[i]);
}

/* Disk AWAY is there again, and all is to be compared. */
static struct case_ *case_with_all_to_do(void)
{
    struct case_ *c = case_create(2);

    for (unsigned n = 0; n < DISKS; n++)
        c->meta.record.copysets[n].slots[(AWAY + DISKS - n) % DISKS] = (struct group_slot) {
            .state = GROUP_SLOT_OUT, .disk = disk_uuid(AWAY), .since_unix_ms = 1, .whole = true
        };
    return c;
}

static uint64_t done(const struct volume *v)
{
    struct volume_resync r;
    volume_get_resync(v, &r);
    return r.regions_done;
}

/* Lets time pass, and how many regions of a volume were done in that. */
static uint64_t done_in(struct fixture *f, uint64_t ns)
{
    const uint64_t before = done(f->volume);

    loop_pass(&f->loop, ns);
    return done(f->volume) - before;
}

/* Volumes share the rate, and each gets its part of it. */
static void volumes_share_the_rate(void **state)
{
    (void)state;
    struct case_ *c = case_with_all_to_do();
    struct fixture *f = c->f;
    struct beside b;
    fixture_limit_resyncs(f, M);
    beside_open(&b, c);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    for (uint64_t s = 1; s <= 2 * REGIONS; s++) {
        const uint64_t first = done(f->volume), second = done(b.volume);
        assert_int_equal(first + second, s);
        assert_true(s < 4 || (first >= s / 4 && second >= s / 4) || s > REGIONS);
        loop_pass(&f->loop, NS_PER_S);
    }
    assert_true(is_in_all(c, AWAY));
    beside_close(&b);
    case_destroy(c);
}

/* One that is closed keeps nothing of it. */
static void who_is_closed_leaves_no_hole(void **state)
{
    (void)state;
    struct case_ *c = case_with_all_to_do();
    struct fixture *f = c->f;
    struct beside b;
    fixture_limit_resyncs(f, M / 8);
    beside_open(&b, c);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    for (unsigned i = 0; i < 6; i++)
        loop_pass(&f->loop, 8 * NS_PER_S);
    assert_true(done(b.volume) > 0);
    beside_close(&b);
    while (done(f->volume) < REGIONS)
        assert_int_equal(done_in(f, 8 * NS_PER_S), 1);
    assert_true(is_in_all(c, AWAY));
    case_destroy(c);
}

/* ---- A queue ---- */

struct turn {
    struct pace_waiter waiter;
    unsigned *count;
    unsigned at;
};

static void on_turn(struct pace_waiter *waiter)
{
    struct turn *const t = CONTAINER_OF(waiter, struct turn, waiter);

    t->at = ++*t->count;
}

/* Who was there before comes first, and who leaves has none. */
static void turns_are_taken_in_order(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct turn t[6];
    unsigned count = 0;
    fixture_limit_resyncs(f, M);
    for (unsigned i = 0; i < 6; i++) {
        t[i] = (struct turn) { .count = &count };
        pace_waiter_init(&t[i].waiter, on_turn);
        assert_int_equal(pace_admits(f->paces[i == 5 ? 1 : 0], &t[i].waiter), i == 0);
    }
    pace_leave(&t[1].waiter);
    pace_leave(&t[3].waiter);
    pace_leave(&t[3].waiter);
    for (unsigned i = 1; i <= 3; i++) {
        loop_pass(&f->loop, NS_PER_S - 1);
        assert_int_equal(count, i - 1);
        loop_pass(&f->loop, 1);
        assert_int_equal(count, i);
    }
    assert_true(t[2].at == 1 && t[5].at == 2 && t[4].at == 3); /* Reactors take turns. */
    loop_pass(&f->loop, 10 * NS_PER_S);
    assert_true(pace_admits(f->paces[0], &t[1].waiter)); /* What nobody wanted is not saved up. */
    assert_false(pace_admits(f->paces[0], &t[3].waiter));
    pace_leave(&t[3].waiter);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volumes_share_the_rate),
        cmocka_unit_test(who_is_closed_leaves_no_hole),
        cmocka_unit_test(turns_are_taken_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
