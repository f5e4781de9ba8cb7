/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds (docs/replication.md, 3.4) with a store whose session is lost and opened anew (4.3). */
#include "remote_case.h"
#include "volume/rounds.h"

/* Two copysets on the same disks: one has written in more ticks than the other, of shard 1. */
static struct world *world_busy(bool local, unsigned min_in_sync)
{
    struct world *const c = world_create(local, min_in_sync);
    struct group *const g = &c->meta.record;

    g->copysets[1] = g->copysets[0];
    g->copyset_count = 2;
    for (unsigned i = 0; i < 4; i++)
        c->placement[i].copyset = 1 + i % 2;
    assert_int_equal(world_open(c).code, STATUS_OK);
    for (uint8_t i = 0; i < 8; i++) {
        assert_int_equal(write_one(c, 0, 0, 4096, i).code, STATUS_OK);
        pw_run(c->w, 3 * VOLUME_ROUND_NS);
    }
    peer(c, 0)->region.tick = 0;
    return c;
}

/* Until a store holds such a command back. */
static void wait_until_held(struct world *c, unsigned store, uint8_t opcode)
{
    peer(c, store)->hold = true;
    peer(c, store)->hold_opcode = opcode;
    while (peer(c, store)->held_count == 0)
        pw_run(c->w, SOON_NS);
}

/* It is opened anew, and what it held back was of its session before. */
static void open_anew(struct world *c, unsigned store)
{
    pw_cut(c->w, store);
    pw_run(c->w, SOON_NS);
    fake_peer_release(peer(c, store));
}

/* 4.3: OPEN's tick may be that of a busier copyset; what is written in another one is closed too.
 */
static void who_is_opened_anew_closes_its_regions(void **state)
{
    (void)state;
    for (unsigned in_round = 0; in_round < 2; in_round++) {
        struct world *const c = world_busy(true, 2);

        peer(c, 0)->hold = in_round > 0;
        peer(c, 0)->hold_opcode = WIRE_FLUSH;
        if (in_round > 0) {
            assert_int_equal(write_one(c, 0, SHARD, 4096, 1).code, STATUS_OK);
            while (peer(c, 0)->held_count == 0)
                pw_run(c->w, SOON_NS);
        }
        pw_cut(c->w, 0);
        pw_run(c->w, SOON_NS);
        fake_peer_release(peer(c, 0));
        assert_in_range(peer(c, 0)->tick, 8, UINT32_MAX);
        if (in_round == 0)
            assert_int_equal(write_one(c, 0, SHARD, 4096, 1).code, STATUS_OK);
        pw_run(c->w, 6 * VOLUME_ROUND_NS);
        assert_int_equal(peer(c, 0)->region.shard, 1);
        assert_in_range(peer(c, 0)->region.tick, peer(c, 0)->tick, UINT32_MAX);
        world_destroy(c);
    }
}

/* Region 0 of a shard: by a tick in which it was open. */
static void assert_closed(const struct world *c, unsigned store, uint32_t shard)
{
    assert_in_range(peer(c, store)->closed_to[shard][0], peer(c, store)->tick, UINT32_MAX);
}

/* Also when the round has got to what it closes: by the tick that is ended, which is too low. */
static void what_is_opened_anew_and_not_closed_is_closed_next(void **state)
{
    (void)state;
    static const uint8_t opcodes[] = { WIRE_KEEP_POINTS, WIRE_CLOSE_REGIONS };

    for (unsigned i = 0; i < ARRAY_COUNT(opcodes); i++) {
        struct world *const c = world_opened(true, 2);

        assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
        wait_until_held(c, 0, opcodes[i]);
        assert_int_equal(write_one(c, 0, SHARD, 4096, 1).code, STATUS_OK); /* In the next one. */
        open_anew(c, 0);
        pw_run(c->w, 6 * VOLUME_ROUND_NS);
        assert_in_range(peer(c, 0)->tick, 2, UINT32_MAX);
        assert_closed(c, 0, 0);
        assert_closed(c, 0, 1);
        assert_int_equal(peer(c, 0)->count[WIRE_CLOSE_REGIONS], 1 + i); /* In vain: sent before. */
        world_destroy(c);
    }
}

/* Though nobody writes there any more. */
static void what_is_not_closed_is_closed_though_all_is_quiet(void **state)
{
    (void)state;
    struct world *const c = world_busy(true, 3);

    assert_int_equal(write_one(c, 0, SHARD, 4096, 1).code, STATUS_OK);
    wait_until_held(c, 0, WIRE_CLOSE_REGIONS);
    pw_run(c->w, 3 * VOLUME_ROUND_NS); /* There is nothing to be closed, as far as it knows. */
    open_anew(c, 0);
    pw_run(c->w, 6 * VOLUME_ROUND_NS);
    assert_in_range(peer(c, 0)->tick, 8, UINT32_MAX);
    assert_closed(c, 0, 1);
    world_destroy(c);
}

/* Not if the volume is closed: what its slices have armed would be there when they are freed. */
static void what_is_not_closed_does_not_outlive_the_volume(void **state)
{
    (void)state;
    struct world *const c = world_busy(false, 2); /* The other copyset is not home's. */

    assert_int_equal(write_one(c, 0, SHARD, 4096, 1).code, STATUS_OK);
    wait_until_held(c, 0, WIRE_CLOSE_REGIONS);
    pw_cut(c->w, 0);
    pw_run(c->w, SOON_NS);
    assert_in_range(peer(c, 0)->tick, 8, UINT32_MAX);
    pw_run(c->w, VOLUME_ROUND_NS);
    volume_close(c->volume, on_world_closed, c);
    pw_run(c->w, SOON_NS);
    fake_peer_release(peer(c, 0));
    pw_wait(c->w, &c->closed);
    c->volume = NULL;
    world_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_opened_anew_closes_its_regions),
        cmocka_unit_test(what_is_opened_anew_and_not_closed_is_closed_next),
        cmocka_unit_test(what_is_not_closed_is_closed_though_all_is_quiet),
        cmocka_unit_test(what_is_not_closed_does_not_outlive_the_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
