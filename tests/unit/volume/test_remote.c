/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replicas on other nodes: what becomes of commands when a session is lost (4.3, 4.4), when a
 * replica is away (6.1), and of reads when a lease has run out (8.2).
 */
#include "remote_case.h"
#include "volume/rounds.h"

/* ---- All is well ---- */

/* R1: all have it, from whatever reactor it came, and however large it is. */
static void writes_reach_all(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    for (unsigned reactor = 0; reactor < 2; reactor++) {
        const uint64_t at = reactor * SHARD;
        assert_int_equal(write_one(c, reactor, at, SLOT_BYTES, 0x11).code, STATUS_OK);
        assert_int_equal(write_one(c, reactor, at + SLOT_BYTES, 4096, 0x22).code, STATUS_OK);
        for (unsigned i = 0; i < STORES; i++) {
            assert_int_equal(byte_at(c, i, at), 0x11);
            assert_int_equal(byte_at(c, i, at + SLOT_BYTES - 1), 0x11); /* In two commands. */
            assert_int_equal(byte_at(c, i, at + SLOT_BYTES), 0x22);
        }
        assert_int_equal(c->store.shards[reactor][0], 0x11);
    }
    assert_int_equal(do_one(c, 1, NVME_NS_WRITE_ZEROES, 0, 8192).code, STATUS_OK);
    assert_int_equal(byte_at(c, 1, 8191), 0);
    assert_int_equal(byte_at(c, 1, 8192), 0x11);
    assert_int_equal(c->meta.commits, 0);
    world_destroy(c);
}

/* 8.1: from the disk that is here. */
static void reads_are_local(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    assert_int_equal(write_one(c, 0, 0, 4096, 0x33).code, STATUS_OK);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(do_one(c, i % 2, NVME_NS_READ, 0, 4096).code, STATUS_OK);
    assert_int_equal(c->store.reads, 10);
    assert_int_equal(peer(c, 0)->count[WIRE_READ] + peer(c, 1)->count[WIRE_READ], 0);
    world_destroy(c);
}

/* Without one, they go where there is least to do; and what was never written is zeros. */
static void reads_go_where_there_is_least_to_do(void **state)
{
    (void)state;
    struct world *const c = world_opened(false, 1);
    struct task tasks[6] = { 0 };

    paint(c, 0, 4096, 0xee);
    assert_int_equal(do_one(c, 0, NVME_NS_READ, 3 * SHARD, 4096).code, STATUS_OK);
    assert_int_equal(c->memory[0], 0);
    assert_int_equal(write_one(c, 0, 0, 65536, 0x44).code, STATUS_OK);
    for (unsigned i = 0; i < STORES; i++) {
        peer(c, i)->hold = true;
        peer(c, i)->hold_opcode = WIRE_READ;
    }
    for (unsigned i = 0; i < 6; i++)
        begin(c, &tasks[i], i, 0, NVME_NS_READ, i * UINT64_C(4096), 4096);
    pw_run(c->w, SOON_NS);
    assert_int_equal(peer(c, 0)->held_count, 3);
    assert_int_equal(peer(c, 1)->held_count, 3);
    for (unsigned i = 0; i < STORES; i++)
        fake_peer_release(peer(c, i));
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(finish(c, &tasks[i], SOON_NS).code, STATUS_OK);
    assert_int_equal(c->memory[5 * SLOT_BYTES], 0x44);
    world_destroy(c);
}

/* S1: a Flush asks who has something to make durable, wherever the writes came from. */
static void a_flush_covers_what_was_answered(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    assert_int_equal(do_one(c, 0, NVME_NS_FLUSH, 0, 0).code, STATUS_OK);
    const unsigned before = peer(c, 0)->count[WIRE_FLUSH];
    assert_int_equal(do_one(c, 1, NVME_NS_FLUSH, 0, 0).code, STATUS_OK);
    assert_int_equal(peer(c, 0)->count[WIRE_FLUSH], before);
    assert_int_equal(write_one(c, 1, 0, 4096, 1).code, STATUS_OK);
    assert_int_equal(do_one(c, 0, NVME_NS_FLUSH, 0, 0).code, STATUS_OK);
    assert_int_equal(peer(c, 0)->count[WIRE_FLUSH], before + 1);
    assert_int_equal(peer(c, 1)->last.argument, 0x500000001);
    world_destroy(c);
}

/* ---- Sessions are lost ---- */

static void on_grown(void *ctx, struct status status)
{
    struct world *const c = ctx;

    c->open_status = status;
    c->opened = true;
}

/* 4.3: what has no answer is sent again in another session, whether it was executed or not. */
static void what_has_no_answer_is_sent_again(void **state)
{
    (void)state;
    for (unsigned executed = 0; executed < 2; executed++) {
        struct world *const c = world_opened(true, 2);
        struct task tasks[4] = { 0 };

        peer(c, 0)->hold = true;
        for (unsigned i = 0; i < 4; i++) {
            paint(c, i, 4096, (uint8_t)(i + 1));
            begin(c, &tasks[i], i, i % 2, NVME_NS_WRITE, i * UINT64_C(4096), 4096);
        }
        pw_run(c->w, NS_PER_MS);
        assert_int_equal(peer(c, 0)->held_count, 4);
        if (executed > 0)
            fake_peer_release(peer(c, 0));
        pw_cut(c->w, 0);
        pw_run(c->w, NS_PER_MS);
        fake_peer_release(peer(c, 0));
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(finish(c, &tasks[i], SOON_NS).code, STATUS_OK);
            assert_int_equal(byte_at(c, 0, i * UINT64_C(4096)), i + 1);
        }
        assert_int_equal(peer(c, 0)->number, 2);
        assert_in_range(peer(c, 0)->count[WIRE_WRITE], 8, 8); /* Each twice. */
        assert_int_equal(c->meta.commits, 0);
        world_destroy(c);
    }
}

/* 4.5: the store's process was restarted, and knows no sessions. */
static void a_store_that_was_restarted_gets_another_session(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    peer(c, 1)->number = 0;
    assert_int_equal(write_one(c, 0, 0, 4096, 2).code, STATUS_OK);
    assert_int_equal(write_one(c, 1, SHARD, 4096, 3).code, STATUS_OK);
    assert_int_equal(byte_at(c, 1, 0), 2);
    assert_int_equal(byte_at(c, 1, SHARD), 3);
    assert_int_equal(c->meta.commits, 0);
    /* What the list has counts as written in the latest tick that this engine has sent. */
    assert_true(peer(c, 1)->tick > 0);
    world_destroy(c);
}

/* 4.4: with another incarnation it counts for nothing any more: excluded first, answered after. */
static void another_incarnation_is_excluded(void **state)
{
    (void)state;
    for (unsigned cut = 0; cut < 2; cut++) {
        struct world *const c = world_opened(true, 2);
        struct task t = { 0 };

        assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
        c->meta.hold = true;
        fake_peer_lose_power(peer(c, 0));
        if (cut > 0) /* Or only the next answer says so. */
            pw_cut(c->w, 0);
        paint(c, 0, 4096, 2);
        begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 4096);
        assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_BUSY);
        assert_int_equal(c->meta.commits, 1);
        meta_release(&c->meta);
        assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_OK);
        assert_false(is_in(c, 1));
        assert_true(is_in(c, 2));
        assert_int_equal(peer(c, 1)->set.in, 5); /* 6.5 */
        c->meta.hold = false;
        assert_int_equal(do_one(c, 0, NVME_NS_FLUSH, 0, 0).code, STATUS_OK);
        assert_int_equal(do_one(c, 1, NVME_NS_READ, 0, 4096).code, STATUS_OK);
        world_destroy(c);
    }
}

/* And where it cannot be excluded, the next engine settles it: this one ends, whatever it does. */
static void another_incarnation_that_is_needed_ends_the_engine(void **state)
{
    (void)state;
    for (unsigned was_away = 0; was_away < 2; was_away++) {
        struct world *const c = world_opened(true, 3);
        struct task t = { 0 }, after = { 0 };

        assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
        pw_block(c->w, 0, was_away > 0); /* It is reported, and waited for. */
        paint(c, 0, 4096, 2);
        if (was_away > 0)
            begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 4096);
        pw_run(c->w, 10 * NS_PER_S);
        assert_int_equal(t.busy, was_away > 0);
        fake_peer_lose_power(peer(c, 0));
        pw_cut(c->w, 0);
        pw_block(c->w, 0, false);
        pw_run(c->w, 3 * NS_PER_S);
        if (was_away > 0)
            assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_FENCED);
        begin(c, &after, 0, 0, NVME_NS_WRITE, 0, 4096);
        assert_int_equal(finish(c, &after, SOON_NS).code, STATUS_FENCED);
        assert_int_equal(c->meta.commits, 0);
        assert_int_equal(c->meta.fences, 1); /* So that the node opens it anew. */
        world_destroy(c);
    }
}

/* While too few are there for another engine, too, this one goes on waiting. */
static void another_engine_would_not_serve_either(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 3);
    struct task t = { 0 };

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    pw_block(c->w, 1, true);
    pw_cut(c->w, 1);
    fake_peer_lose_power(peer(c, 0));
    pw_cut(c->w, 0);
    paint(c, 0, 4096, 2);
    begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 4096);
    pw_run(c->w, 10 * NS_PER_S);
    assert_true(t.busy);
    pw_block(c->w, 1, false);
    assert_int_equal(finish(c, &t, 3 * NS_PER_S).code, STATUS_FENCED);
    world_destroy(c);
}

/* R6: and nothing is read from it, from the moment that it has changed. */
static void another_incarnation_is_not_read(void **state)
{
    (void)state;
    struct world *const c = world_opened(false, 1);

    assert_int_equal(write_one(c, 0, 0, 4096, 0x77).code, STATUS_OK);
    for (unsigned i = 0; i < STORES; i++)
        peer(c, i)->shards[0][0] = (uint8_t)(0x80 + i); /* So that one knows whose it is. */
    fake_peer_lose_power(peer(c, 0));
    pw_run(c->w, LEASE_OVER);
    for (unsigned i = 0; i < 8; i++) {
        paint(c, 0, 4096, 0);
        assert_int_equal(do_one(c, i % 2, NVME_NS_READ, 0, 4096).code, STATUS_OK);
        assert_int_equal(c->memory[0], 0x81);
    }
    assert_false(is_in(c, 0));
    world_destroy(c);
}

/*
 * 6.5: nor is it when its exclusion is committed, but a member has not kept the set, so that the
 * slices have not heard of it; and nothing rests on the exclusion, until that member has.
 */
static void who_was_excluded_untold_is_not_read(void **state)
{
    (void)state;
    struct world *const c = world_opened(false, 1);
    struct task tasks[4] = { 0 }, write = { 0 }, flush = { 0 };
    struct volume_config config = c->config;

    assert_int_equal(write_one(c, 0, 0, 4096, 0x77).code, STATUS_OK);
    for (unsigned i = 0; i < STORES; i++)
        peer(c, i)->shards[0][0] = (uint8_t)(0x80 + i);
    peer(c, 1)->fail_opcode = WIRE_SET;
    peer(c, 1)->fail_sc = NVME_SC_WRITE_FAULT;
    fake_peer_lose_power(peer(c, 0));
    pw_run(c->w, LEASE_OVER);
    begin(c, &write, 5, 0, NVME_NS_WRITE, SHARD, 4096);
    pw_run(c->w, PATIENCE / 2);
    assert_false(is_in(c, 0));
    assert_int_equal(peer(c, 1)->fail_sc, 0);
    for (unsigned i = 0; i < 4; i++)
        begin(c, &tasks[i], i, i % 2, NVME_NS_READ, 0, 4096);
    pw_run(c->w, PATIENCE / 8);
    for (unsigned i = 0; i < 4; i++)
        assert_true(tasks[i].busy || c->memory[i * SLOT_BYTES] == 0x81);
    begin(c, &flush, 4, 0, NVME_NS_FLUSH, 0, 0);
    pw_run(c->w, PATIENCE / 8);
    assert_true(write.busy && flush.busy);
    config.volume.bytes = 6 * SHARD;
    config.volume.first_run_shards = 4;
    config.shard_count = 6;
    assert_int_equal(volume_grow(c->volume, &config, on_grown, c).code, STATUS_BUSY);

    pw_cut(c->w, 1); /* It is asked again in its next session. */
    assert_int_equal(finish(c, &flush, NS_PER_S).code, STATUS_OK);
    assert_int_equal(finish(c, &write, 0).code, STATUS_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(finish(c, &tasks[i], 0).code, STATUS_OK);
        assert_int_equal(c->memory[i * SLOT_BYTES], 0x81);
    }
    assert_int_equal(c->meta.commits, 1);
    assert_int_equal(peer(c, 1)->set.in, 2);
    world_destroy(c);
}

/*
 * 3.4: a round does not close regions for a replica that is being resynced, and has lost its power
 * unseen: what it had executed before may be gone.
 */
static void another_incarnation_while_it_is_resynced(void **state)
{
    (void)state;
    for (unsigned dark = 0; dark < 2; dark++) {
        struct world *const c = world_create(true, 2);

        world_limit_resyncs(c, 1 << 20); /* A region in a second. */
        assert_int_equal(world_open(c).code, STATUS_OK);
        pw_block(c->w, 1, true);
        pw_run(c->w, 2 * PATIENCE);
        for (uint64_t shard = 0; shard < 4; shard++)
            assert_int_equal(write_one(c, 0, shard * SHARD, 4096, 1).code, STATUS_OK);
        assert_false(is_in(c, 2));
        pw_block(c->w, 1, false);
        while (peer(c, 1)->count[WIRE_WRITE] < 1)
            pw_run(c->w, NS_PER_MS);
        pw_run(c->w, SOON_NS); /* Shard 0 is copied. */
        assert_int_equal(write_one(c, 0, 0, 4096, 2).code, STATUS_OK);
        assert_int_equal(byte_at(c, 1, 0), 2);
        if (dark > 0) {
            fake_peer_lose_power(peer(c, 1));
            pw_cut(c->w, 1);
        }
        const unsigned closes = peer(c, 0)->count[WIRE_CLOSE_REGIONS];
        while (peer(c, 0)->count[WIRE_CLOSE_REGIONS] == closes)
            pw_run(c->w, NS_PER_MS);
        assert_false(is_in(c, 2));
        assert_int_equal(c->store.listed[0][0] >> 2 & 1, dark);
        world_destroy(c);
    }
}

/* S3: what does not match its CRC is asked for once more, then read from another member. */
static void a_wrong_crc_is_not_handed_on(void **state)
{
    (void)state;
    struct world *const c = world_opened(false, 1);

    assert_int_equal(write_one(c, 0, 0, 4096, 0x55).code, STATUS_OK);
    for (unsigned wrong = 1; wrong < 4; wrong++) {
        const unsigned before = peer(c, 0)->count[WIRE_READ] + peer(c, 1)->count[WIRE_READ];
        peer(c, 0)->corrupt_count = wrong;
        paint(c, 0, 4096, 0);
        assert_int_equal(do_one(c, 0, NVME_NS_READ, 0, 4096).code, STATUS_OK);
        assert_int_equal(c->memory[4095], 0x55);
        /* And by a repair, which finds nothing to be written. */
        assert_in_range(peer(c, 0)->count[WIRE_READ] + peer(c, 1)->count[WIRE_READ] - before,
                        wrong == 1 ? 2 : 3, wrong == 1 ? 2 : UINT32_MAX);
        pw_run(c->w, SOON_NS);
        peer(c, 0)->corrupt_count = 0;
    }
    for (unsigned i = 0; i < STORES; i++)
        peer(c, i)->corrupt_count = 100;
    assert_int_equal(do_one(c, 0, NVME_NS_READ, 0, 4096).code, STATUS_MEDIA_READ);
    assert_int_equal(c->meta.commits, 0);
    world_destroy(c);
}

/* ---- Being away ---- */

/* 6.1: the others go on without it when it was away for a second, and not before. */
static void who_is_away_is_excluded(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct task t = { 0 };

    pw_block(c->w, 1, true);
    paint(c, 0, 4096, 9);
    begin(c, &t, 0, 1, NVME_NS_WRITE, 0, 4096);
    assert_int_equal(finish(c, &t, 9 * PATIENCE / 10).code, STATUS_BUSY);
    assert_int_equal(c->meta.commits, 0);
    assert_int_equal(finish(c, &t, PATIENCE / 2).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    assert_false(is_in(c, 2));
    assert_int_equal(peer(c, 0)->set.in, 3);
    assert_int_equal(write_one(c, 0, 0, 4096, 8).code, STATUS_OK); /* Nobody waits any more. */
    assert_int_equal(byte_at(c, 0, 0), 8);
    assert_int_equal(do_one(c, 0, NVME_NS_FLUSH, 0, 0).code, STATUS_OK);
    pw_block(c->w, 1, false); /* It comes back, and is no member yet. */
    pw_run(c->w, VOLUME_RESYNC_AWAY_NS / 2);
    assert_int_equal(write_one(c, 0, 0, 4096, 7).code, STATUS_OK);
    assert_in_set(byte_at(c, 1, 0), ((uintmax_t[]) { 0, 9 }), 2); /* 9 was on its way. */
    assert_int_equal(c->meta.commits, 1);
    world_destroy(c);
}

/* Away counts from the loss of the link, and time in which the engine did not run does not. */
static void away_is_counted_in_running_time(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct task t = { 0 };

    begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 4096);
    pw_block(c->w, 0, true);
    pw_cut(c->w, 0);
    pw_run(c->w, DOWN / 2);
    assert_int_equal(c->meta.commits, 0);
    sim_process_pause(c->w->engine);
    pw_run(c->w, 20 * PATIENCE);
    sim_process_resume(c->w->engine);
    pw_run(c->w, DOWN * 3 / 10);
    assert_int_equal(c->meta.commits, 0);
    assert_int_equal(finish(c, &t, DOWN / 2).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    world_destroy(c);
}

/* The same of answers that are late. */
static void a_pause_excludes_nobody(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct task t = { 0 };

    peer(c, 0)->hold = true;
    begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 4096);
    pw_run(c->w, PATIENCE / 2);
    sim_process_pause(c->w->engine);
    fake_peer_release(peer(c, 0));
    pw_run(c->w, 20 * PATIENCE);
    sim_process_resume(c->w->engine);
    pw_run(c->w, PATIENCE / 2);
    assert_int_equal(finish(c, &t, 0).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 0);
    world_destroy(c);
}

/* Where too few would remain, writes wait, and go on when it is back; so do reads (8.2). */
static void where_it_is_needed_all_wait(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 3);
    struct task write = { 0 }, read = { 0 };

    assert_int_equal(write_one(c, 0, 0, 8192, 1).code, STATUS_OK);
    pw_block(c->w, 0, true);
    paint(c, 0, 4096, 2);
    begin(c, &write, 0, 0, NVME_NS_WRITE, 0, 4096);
    begin(c, &read, 1, 1, NVME_NS_READ, 4096, 4096);
    pw_run(c->w, 20 * NS_PER_S);
    assert_true(write.busy);
    assert_int_equal(c->meta.commits, 0);
    pw_block(c->w, 0, false);
    pw_run(c->w, 3 * NS_PER_S);
    assert_int_equal(finish(c, &write, 0).code, STATUS_OK);
    assert_int_equal(finish(c, &read, 0).code, STATUS_OK);
    assert_int_equal(byte_at(c, 0, 0), 2);
    /* And the next one that is away is reported anew. */
    assert_int_equal(c->meta.commits, 0);
    world_destroy(c);
}

/* The same of one whose store has answered with an error: at once where it was opened anew since.
 */
static void where_it_is_needed_it_is_asked_again(void **state)
{
    (void)state;
    static const uint8_t opcodes[] = { WIRE_WRITE, WIRE_FLUSH };

    for (unsigned i = 0; i < 2 * ARRAY_COUNT(opcodes); i++) {
        struct world *const c = world_opened(true, 3);
        struct task t = { 0 };
        const uint8_t opcode = opcodes[i / 2];
        const bool writes = opcode == WIRE_WRITE, returns = i % 2 == 0;

        assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
        peer(c, 0)->fail_opcode = opcode;
        peer(c, 0)->fail_sc = NVME_SC_WRITE_FAULT;
        paint(c, 0, 4096, 2);
        begin(c, &t, 0, 1, writes ? NVME_NS_WRITE : NVME_NS_FLUSH, 0, writes ? 4096 : 0);
        pw_run(c->w, VOLUME_ASK_AGAIN_NS / 2);
        assert_true(t.busy);
        assert_int_equal(peer(c, 0)->fail_sc, 0);
        if (returns)
            pw_cut(c->w, 0);
        assert_int_equal(
            finish(c, &t, returns ? VOLUME_ASK_AGAIN_NS / 3 : VOLUME_ASK_AGAIN_NS).code, STATUS_OK);
        assert_int_equal(byte_at(c, 0, 0), writes ? 2 : 1);
        assert_int_equal(c->meta.commits, 0);
        world_destroy(c);
    }
}

/* 7.4: the volume is served without who does not answer when it is opened. */
static void opening_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct world *const c = world_create(true, 2);

    pw_block(c->w, 1, true);
    assert_int_equal(world_open(c).code, STATUS_OK);
    assert_false(is_in(c, 2));
    assert_int_equal(write_one(c, 0, 0, 4096, 5).code, STATUS_OK);
    pw_block(c->w, 1, false);
    pw_run(c->w, 3 * NS_PER_S);
    assert_int_equal(peer(c, 1)->number,
                     1); /* Its session is there for who brings it up to date. */
    assert_int_equal(do_one(c, 0, NVME_NS_FLUSH, 0, 0).code, STATUS_OK);
    world_destroy(c);
}

/* 7.4: nor for who says that it is not ready; but if it is there before the others, it is a member
 * like them, and commands wait for it when its connections are lost. */
static void who_opens_late_is_a_member(void **state)
{
    (void)state;
    struct world *const c = world_create(false, 1);
    struct task read = { 0 };

    peer(c, 0)->fail_opcode = WIRE_OPEN;
    peer(c, 0)->fail_sc = NVME_SC_NS_NOT_READY;
    pw_block(c->w, 1, true);
    assert_int_equal(world_open(c).code, STATUS_OK);
    assert_int_equal(peer(c, 0)->fail_sc, 0);
    assert_true(is_in(c, 0) && !is_in(c, 1));
    peer(c, 0)->hold = true;
    begin(c, &read, 0, 0, NVME_NS_READ, 0, 4096);
    pw_run(c->w, SOON_NS);
    pw_cut(c->w, 0);
    pw_run(c->w, SOON_NS);
    fake_peer_release(peer(c, 0));
    assert_int_equal(finish(c, &read, 5 * NS_PER_S).code, STATUS_OK);
    world_destroy(c);
}

/*
 * 7.4, 7.5: a member that is lost when the engine has been told its list, and before it serves, may
 * come back as another incarnation, and may be who settling was to copy from.
 */
static void who_is_lost_while_it_opens_ends_that(void **state)
{
    (void)state;
    struct world *const c = world_create(true, 1);

    pw_block(c->w, 1, true); /* It is set out, ... */
    pw_cut(c->w, 1);
    c->meta.hold = true;
    assert_true(status_ok(volume_open(&c->config, on_world_opened, c)));
    while (c->meta.done == NULL)
        pw_run(c->w, SOON_NS);
    assert_false(c->opened);
    pw_block(c->w, 0, true); /* ... and another one is lost before that is known. */
    pw_cut(c->w, 0);
    pw_run(c->w, SOON_NS);
    c->meta.hold = false;
    meta_release(&c->meta);
    pw_wait(c->w, &c->opened);
    assert_int_equal(c->open_status.code, STATUS_UNAVAILABLE);
    assert_null(c->volume);
    world_destroy(c);
}

/* R3: a disk that knows a newer engine is not served by this one. */
static void opening_with_a_stale_epoch_fails(void **state)
{
    (void)state;
    for (unsigned store = 0; store < STORES; store++) {
        struct world *const c = world_create(true, 2);

        peer(c, store)->epoch = 100;
        assert_int_equal(world_open(c).code, STATUS_STALE_EPOCH);
        assert_null(c->volume);
        assert_int_equal(c->meta.commits, 0);
        world_destroy(c);
    }
}

/* A volume that waits for a replica can be closed: what waits ends, as another engine may go on. */
static void what_waits_ends_with_the_volume(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 3);
    struct task t = { 0 };

    pw_block(c->w, 0, true);
    begin(c, &t, 0, 1, NVME_NS_WRITE, 0, 4096);
    pw_run(c->w, 5 * NS_PER_S);
    assert_true(t.busy);
    volume_fence(c->volume);
    assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_FENCED);
    world_destroy(c);
}

/* Also where the fence comes while a replica is being excluded, and a round waits for it (3.4). */
static void a_round_that_waits_ends_with_the_volume(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct task t = { 0 };

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    c->meta.hold = true;
    pw_block(c->w, 0, true);
    pw_run(c->w, VOLUME_ROUND_NS);
    begin(c, &t, 0, 1, NVME_NS_WRITE, 0, 4096);
    pw_run(c->w, 2 * PATIENCE);
    assert_true(t.busy);
    volume_fence(c->volume);
    meta_release(&c->meta);
    assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_FENCED);
    world_destroy(c);
}

/* ---- What else a session is for ---- */

/* 4.1: sessions of one engine at a disk have growing numbers, also when it has let go of it. */
static void a_leg_made_anew_goes_on_counting(void **state)
{
    (void)state;
    struct world *const c = world_create(true, 1);

    c->config.volume.replicas = 2;
    c->config.disk_count = 2;
    c->meta.record = (struct group) { 0 };
    world_group(c);
    assert_int_equal(world_open(c).code, STATUS_OK);
    for (uint64_t number = 1; number < 4; number++) {
        c->opened = false;
        assert_int_equal(volume_forget(c->volume, &c->disks[2], on_grown, c).code, STATUS_OK);
        pw_wait(c->w, &c->opened);
        assert_int_equal(c->open_status.code, STATUS_OK);
        assert_int_equal(peer(c, 1)->open_number, number);
        pw_run(c->w, SOON_NS);
    }
    world_destroy(c);
}

/* A leg whose session is being closed hears nothing of a fence that comes just then. */
static void a_fence_while_a_disk_is_forgotten(void **state)
{
    (void)state;
    static const uint8_t held[] = { WIRE_OPEN, WIRE_DELETE, WIRE_RELEASE };

    for (unsigned i = 0; i < sizeof held; i++) {
        struct world *const c = world_create(true, 1);

        c->config.volume.replicas = 2;
        c->config.disk_count = 2;
        c->meta.record = (struct group) { 0 };
        world_group(c);
        assert_int_equal(world_open(c).code, STATUS_OK);
        c->opened = false;
        peer(c, 1)->hold = true;
        peer(c, 1)->hold_opcode = held[i];
        assert_int_equal(volume_forget(c->volume, &c->disks[2], on_grown, c).code, STATUS_OK);
        while (peer(c, 1)->held_count == 0)
            pw_run(c->w, SOON_NS);
        volume_fence(c->volume);
        pw_run(c->w, SOON_NS);
        fake_peer_release(peer(c, 1));
        pw_wait(c->w, &c->opened);
        world_destroy(c);
    }
}

/* S5: a volume that grows tells its remote disks by another session, under I/O. */
static void growing_describes_it_there(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct volume_config config = c->config;
    struct task t = { 0 };

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_OPEN;
    config.volume.bytes = 6 * SHARD;
    config.volume.first_run_shards = 4;
    config.shard_count = 6;
    c->opened = false;
    assert_int_equal(volume_grow(c->volume, &config, on_grown, c).code, STATUS_OK);
    pw_run(c->w, SOON_NS);
    paint(c, 0, 4096, 2);
    begin(c, &t, 0, 1, NVME_NS_WRITE, 0, 4096);
    pw_run(c->w, SOON_NS);
    assert_false(c->opened);
    fake_peer_release(peer(c, 0));
    pw_wait(c->w, &c->opened);
    assert_int_equal(c->open_status.code, STATUS_OK);
    assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_OK);
    for (unsigned i = 0; i < STORES; i++) {
        assert_int_equal(peer(c, i)->volume.bytes, 6 * SHARD);
        assert_int_equal(peer(c, i)->number, 2);
    }
    assert_int_equal(write_one(c, 0, 5 * SHARD, 4096, 3).code, STATUS_OK);
    assert_int_equal(byte_at(c, 1, 5 * SHARD), 3);
    /* A disk that is away cannot be told, and the volume has the size that it had. */
    config.volume.bytes = 8 * SHARD;
    config.shard_count = 8;
    c->opened = false;
    assert_int_equal(volume_grow(c->volume, &config, on_grown, c).code, STATUS_OK);
    pw_block(c->w, 1, true);
    pw_cut(c->w, 1);
    pw_wait(c->w, &c->opened);
    assert_int_equal(c->open_status.code, STATUS_UNAVAILABLE);
    /* When it is out, it does, and the disk hears of it when it is there again. */
    pw_run(c->w, 3 * PATIENCE);
    assert_false(is_in(c, 2));
    config.volume.bytes = 7 * SHARD;
    config.shard_count = 7;
    c->opened = false;
    assert_int_equal(volume_grow(c->volume, &config, on_grown, c).code, STATUS_OK);
    pw_wait(c->w, &c->opened);
    assert_int_equal(c->open_status.code, STATUS_OK);
    assert_int_equal(write_one(c, 0, 6 * SHARD, 4096, 3).code, STATUS_OK);
    pw_block(c->w, 1, false);
    pw_run(c->w, 3 * NS_PER_S);
    assert_int_equal(peer(c, 1)->volume.bytes, 7 * SHARD);
    assert_true(is_in(c, 2));
    assert_int_equal(byte_at(c, 1, 6 * SHARD), 3);
    world_destroy(c);
}

/* Nor does a volume grow without a member that is away, or hears of it too late. */
static void growing_waits_for_who_is_opened(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct volume_config config = c->config;

    config.volume.bytes = 6 * SHARD;
    config.volume.first_run_shards = 4;
    config.shard_count = 6;
    pw_block(c->w, 0, true);
    pw_cut(c->w, 0);
    pw_run(c->w, NS_PER_MS);
    c->opened = false;
    assert_int_equal(volume_grow(c->volume, &config, on_grown, c).code, STATUS_OK);
    pw_wait(c->w, &c->opened);
    assert_int_equal(c->open_status.code, STATUS_UNAVAILABLE);
    pw_block(c->w, 0, false);
    pw_run(c->w, 3 * NS_PER_S);
    /* Its session is being opened, with the old description. */
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_OPEN;
    pw_cut(c->w, 0);
    pw_run(c->w, 5 * NS_PER_MS);
    c->opened = false;
    assert_int_equal(volume_grow(c->volume, &config, on_grown, c).code, STATUS_OK);
    pw_wait(c->w, &c->opened);
    assert_int_equal(c->open_status.code, STATUS_UNAVAILABLE);
    fake_peer_release(peer(c, 0));
    pw_run(c->w, SOON_NS);
    c->opened = false;
    assert_int_equal(volume_grow(c->volume, &config, on_grown, c).code, STATUS_OK);
    pw_wait(c->w, &c->opened);
    assert_int_equal(c->open_status.code, STATUS_OK);
    assert_int_equal(peer(c, 0)->volume.bytes, 6 * SHARD);
    assert_int_equal(c->meta.commits, 0);
    world_destroy(c);
}

/* S1, with one replica, on another node: what a power loss may have taken is told once. */
static void an_only_replica_tells_of_a_loss(void **state)
{
    (void)state;
    struct world *const c = world_create(false, 1);
    struct task t = { 0 };

    c->config.volume.replicas = 1;
    c->config.group = NULL;
    assert_int_equal(world_open(c).code, STATUS_OK);
    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    peer(c, 0)->hold = true;
    begin(c, &t, 0, 0, NVME_NS_FLUSH, 0, 0);
    pw_run(c->w, NS_PER_MS);
    fake_peer_lose_power(peer(c, 0));
    pw_cut(c->w, 0);
    fake_peer_release(peer(c, 0));
    assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_STALE_INCARNATION);
    assert_true(t.req.loss_told > 0);
    volume_ns(c->volume)->ops->loss_heard(volume_ns(c->volume), t.req.loss_told);
    assert_int_equal(do_one(c, 0, NVME_NS_FLUSH, 0, 0).code, STATUS_OK);
    assert_int_equal(do_one(c, 1, NVME_NS_READ, 0, 4096).code, STATUS_OK);
    /* And it waits for its disk, however long that is away. */
    pw_block(c->w, 0, true);
    begin(c, &t, 0, 0, NVME_NS_READ, 0, 4096);
    pw_run(c->w, 10 * NS_PER_S);
    assert_true(t.busy);
    pw_block(c->w, 0, false);
    assert_int_equal(finish(c, &t, 3 * NS_PER_S).code, STATUS_OK);
    world_destroy(c);
}

/* ---- Fencing and leases ---- */

/* 7.8: a newer engine has sealed one of the disks. */
static void a_stale_epoch_fences(void **state)
{
    (void)state;
    for (unsigned opcode = 0; opcode < 3; opcode++) {
        static const enum nvme_ns_opcode opcodes[] = { NVME_NS_WRITE, NVME_NS_FLUSH, NVME_NS_READ };
        struct world *const c = world_opened(true, 2);
        struct task t = { 0 };

        assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
        pw_run(c->w, LEASE_OVER);
        peer(c, 1)->epoch++;
        begin(c, &t, 0, 0, opcodes[opcode], 0, opcodes[opcode] == NVME_NS_FLUSH ? 0 : 4096);
        assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_FENCED);
        assert_int_equal(c->meta.commits, 0);
        world_destroy(c);
    }
}

static unsigned confirms(const struct world *c)
{
    return peer(c, 0)->count[WIRE_CONFIRM] + peer(c, 1)->count[WIRE_CONFIRM];
}

/* 8.2: a read under leases asks nobody; without, all other members, and waits for them. */
static void a_read_without_a_lease_asks_first(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct task t = { 0 };

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    const unsigned before = confirms(c);
    assert_int_equal(do_one(c, 0, NVME_NS_READ, 0, 4096).code, STATUS_OK);
    assert_int_equal(confirms(c), before);
    pw_run(c->w, LEASE_OVER);
    peer(c, 1)->hold = true;
    begin(c, &t, 0, 0, NVME_NS_READ, 0, 4096);
    assert_int_equal(finish(c, &t, PATIENCE / 2).code, STATUS_BUSY);
    fake_peer_release(peer(c, 1));
    assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_OK);
    assert_int_equal(confirms(c), before + 2);
    assert_int_equal(do_one(c, 0, NVME_NS_READ, 0, 4096).code, STATUS_OK);
    assert_int_equal(confirms(c), before + 4); /* Both have run out meanwhile. */
    assert_int_equal(do_one(c, 0, NVME_NS_READ, 0, 4096).code, STATUS_OK);
    assert_int_equal(confirms(c), before + 4);
    world_destroy(c);
}

/* Where clocks may stand still, every read asks. */
static void without_leases_every_read_asks(void **state)
{
    (void)state;
    struct world *const c = world_create(true, 2);

    c->config.no_leases = true;
    assert_int_equal(world_open(c).code, STATUS_OK);
    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(do_one(c, i % 2, NVME_NS_READ, 0, 4096).code, STATUS_OK);
        assert_int_equal(confirms(c), 2 * i);
    }
    world_destroy(c);
}

/* 8.3: a seal of another group says with the next answer that all are to be asked. */
static void a_new_count_of_seals_asks_again(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    const unsigned before = confirms(c);
    peer(c, 0)->seals++;
    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK); /* It confirms its own. */
    assert_int_equal(do_one(c, 0, NVME_NS_READ, 0, 4096).code, STATUS_OK);
    assert_int_equal(confirms(c), before);
    world_destroy(c);
}

/* 8.4: paused between the answer and the completion, it asks again. */
static void a_pause_costs_the_lease(void **state)
{
    (void)state;
    struct world *const c = world_opened(false, 1);
    struct task t = { 0 };

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    const unsigned before = confirms(c);
    for (unsigned i = 0; i < STORES; i++) {
        peer(c, i)->hold = true;
        peer(c, i)->hold_opcode = WIRE_READ;
    }
    begin(c, &t, 0, 0, NVME_NS_READ, 0, 4096);
    pw_run(c->w, NS_PER_MS);
    for (unsigned i = 0; i < STORES; i++)
        fake_peer_release(peer(c, i));
    sim_process_pause(c->w->engine);
    pw_run(c->w, LEASE_OVER);
    sim_process_resume(c->w->engine);
    assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_OK);
    assert_int_equal(confirms(c), before + 1);
    world_destroy(c);
}

/* A member that cannot be asked is excluded, then the read is completed. */
static void a_read_waits_until_who_is_away_is_excluded(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct task t = { 0 };

    assert_int_equal(write_one(c, 0, 0, 4096, 0x21).code, STATUS_OK);
    pw_run(c->w, LEASE_OVER);
    pw_block(c->w, 0, true);
    begin(c, &t, 0, 1, NVME_NS_READ, 0, 4096);
    assert_int_equal(finish(c, &t, PATIENCE / 2).code, STATUS_BUSY);
    assert_int_equal(finish(c, &t, 2 * PATIENCE).code, STATUS_OK);
    assert_int_equal(c->memory[0], 0x21);
    assert_false(is_in(c, 1));
    world_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_reach_all),
        cmocka_unit_test(reads_are_local),
        cmocka_unit_test(reads_go_where_there_is_least_to_do),
        cmocka_unit_test(a_flush_covers_what_was_answered),
        cmocka_unit_test(what_has_no_answer_is_sent_again),
        cmocka_unit_test(a_store_that_was_restarted_gets_another_session),
        cmocka_unit_test(another_incarnation_is_excluded),
        cmocka_unit_test(another_incarnation_that_is_needed_ends_the_engine),
        cmocka_unit_test(another_engine_would_not_serve_either),
        cmocka_unit_test(another_incarnation_is_not_read),
        cmocka_unit_test(who_was_excluded_untold_is_not_read),
        cmocka_unit_test(another_incarnation_while_it_is_resynced),
        cmocka_unit_test(a_wrong_crc_is_not_handed_on),
        cmocka_unit_test(who_is_away_is_excluded),
        cmocka_unit_test(away_is_counted_in_running_time),
        cmocka_unit_test(a_pause_excludes_nobody),
        cmocka_unit_test(where_it_is_needed_all_wait),
        cmocka_unit_test(where_it_is_needed_it_is_asked_again),
        cmocka_unit_test(opening_does_not_wait_for_ever),
        cmocka_unit_test(who_opens_late_is_a_member),
        cmocka_unit_test(who_is_lost_while_it_opens_ends_that),
        cmocka_unit_test(opening_with_a_stale_epoch_fails),
        cmocka_unit_test(what_waits_ends_with_the_volume),
        cmocka_unit_test(a_round_that_waits_ends_with_the_volume),
        cmocka_unit_test(a_leg_made_anew_goes_on_counting),
        cmocka_unit_test(a_fence_while_a_disk_is_forgotten),
        cmocka_unit_test(growing_describes_it_there),
        cmocka_unit_test(growing_waits_for_who_is_opened),
        cmocka_unit_test(an_only_replica_tells_of_a_loss),
        cmocka_unit_test(a_stale_epoch_fences),
        cmocka_unit_test(a_read_without_a_lease_asks_first),
        cmocka_unit_test(without_leases_every_read_asks),
        cmocka_unit_test(a_new_count_of_seals_asks_again),
        cmocka_unit_test(a_pause_costs_the_lease),
        cmocka_unit_test(a_read_waits_until_who_is_away_is_excluded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
