/* SPDX-License-Identifier: Apache-2.0 */
/* A replica that was away gets what it lacks: docs/replication.md, section 9; R6, R10. */
#include "resync_case.h"
#include "volume/rounds.h"

static struct volume_resync progress(const struct fixture *f)
{
    struct volume_resync r;
    volume_get_resync(f->volume, &r);
    return r;
}

/* What is told of the disk; all 0: nothing is. */
static void assert_progress(const struct fixture *f, uint64_t done, uint64_t all)
{
    struct volume_disk_state state = { 0 };

    assert_int_equal(volume_get_problems(f->volume, &state, 1), all > 0 ? 1 : 0);
    assert_int_equal(state.resynced_bytes, done);
    assert_int_equal(state.resync_bytes, all);
    assert_int_equal(state.problem.code, STATUS_OK);
    assert_true(all == 0 || uuid_equal(state.disk, f->disks[AWAY].uuid));
}

/* ---- What is copied (9.3) ---- */

/* It gets what it missed, and is in sync again, known to the record and to all disks. */
static void a_disk_that_was_away_is_in_sync_again(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    for (uint64_t at = 0; at < 6 * M; at += 256 * K)
        write_ok(f, at, (uint8_t)(1 + at / (256 * K)));
    assert_int_equal(progress(f).replicas_out, 3);
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_true(is_in_all(c, AWAY));
    for (unsigned n = 0; n < DISKS; n++)
        assert_int_equal(group_members(&c->meta.record, n), 7);
    assert_equal_to_first(c, AWAY);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(f->stores[i].last_set.sequence, c->meta.record.sequence);
    const struct volume_resync r = progress(f);
    assert_int_equal(r.replicas_out + r.replicas_busy, 0);
    assert_int_equal(r.regions_left, 0);
    assert_int_equal(r.copied_bytes, 24 * BLOCK);
    case_destroy(c);
}

/* What members list for it is compared, and nothing else. */
static void only_what_is_listed_is_compared(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    write_ok(f, 0, 0x11);
    put(c, AWAY, 0, M, 0x77); /* In a region that nobody lists: nobody looks there. */
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_true(is_in_all(c, AWAY));
    assert_int_equal(got(c, AWAY, 0, 0), 0x11);
    assert_int_equal(got(c, AWAY, 0, M), 0x77);
    assert_int_equal(progress(f).compared_bytes, M);
    case_destroy(c);
}

/* What it alone lists is replaced by what the members have: it has that in excess, or lost it. */
static void excess_is_replaced(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i += 2)
        put(c, i, 3, 0, 0x33);
    put(c, AWAY, 3, 0, 0x99);
    put(c, AWAY, 3, BLOCK, 0x99); /* The others have nothing there. */
    f->stores[AWAY].listed[3][0] = slot_bit(0, 3);
    f->disks[AWAY].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* A slot that is out when the volume is opened is resynced without being asked for. */
static void who_is_out_at_the_opening_is_resynced(void **state)
{
    (void)state;
    for (unsigned whole = 0; whole < 2; whole++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        for (unsigned n = 0; n < DISKS; n++) {
            struct group_slot *s = &c->meta.record.copysets[n].slots[(AWAY + DISKS - n) % DISKS];
            *s = (struct group_slot) { .state = GROUP_SLOT_OUT,
                                       .disk = disk_uuid(AWAY),
                                       .since_unix_ms = 1,
                                       .whole = whole != 0 };
        }
        put(c, 0, 5, M, 0x55);
        put(c, 2, 5, M, 0x55); /* Not listed: only "whole" tells. */
        f->stores[AWAY].incarnation = 5;
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        loop_run(&f->loop);
        assert_true(is_in_all(c, AWAY));
        assert_int_equal(got(c, AWAY, 5, M), whole != 0 ? 0x55 : 0);
        assert_int_equal(c->meta.record.copysets[0].slots[AWAY].incarnation, 5);
        case_destroy(c);
    }
}

/* 7.7: what a disk has lost that is out is of no concern to a host, nor when it is in sync again.
 */
static void its_loss_is_not_told(void **state)
{
    (void)state;
    struct case_ *c = case_create(1);
    struct fixture *f = c->f;
    for (unsigned n = 0; n < DISKS; n++) {
        struct group_slot *s = &c->meta.record.copysets[n].slots[(AWAY + DISKS - n) % DISKS];
        *s = (struct group_slot) { .state = GROUP_SLOT_OUT, .disk = disk_uuid(AWAY) };
    }
    f->stores[AWAY].unflushed_loss = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_true(is_in_all(c, AWAY));
    assert_int_equal(run(f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    assert_false(f->stores[AWAY].unflushed_loss);
    case_destroy(c);
}

/* A list that is not whole, at a member or at the disk itself: everything is compared. */
static void with_a_cut_list_all_is_compared(void **state)
{
    (void)state;
    for (unsigned cut = 0; cut < DISKS; cut++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        put(c, 0, 5, M, 0x55);
        put(c, 2, 5, M, 0x55);
        f->stores[cut].list_cut = true;
        f->disks[AWAY].store = NULL;
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        bring_back(c, AWAY);
        loop_run(&f->loop);
        assert_true(is_in_all(c, AWAY));
        assert_equal_to_first(c, AWAY);
        case_destroy(c);
    }
}

/* 9.6: what no member can read is never left as the disk has it: it is spoiled there, too. */
static void what_no_member_can_read_is_spoiled(void **state)
{
    (void)state;
    for (unsigned known = 0; known < 2; known++) { /* Whether the disk knows the shard. */
        struct case_ *c = case_without(AWAY, 2);
        struct fixture *f = c->f;
        write_ok(f, 0, 0x11);
        write_ok(f, BLOCK, 0x12);
        if (known != 0)
            put(c, AWAY, 0, 0, 0x99);
        for (unsigned i = 0; i < DISKS; i += 2)
            f->stores[i].bad_to = BLOCK;
        bring_back(c, AWAY);
        loop_run(&f->loop);
        assert_true(is_in_all(c, AWAY));
        assert_int_equal(f->stores[AWAY].spoils, known != 0 ? 1 : 2);
        assert_int_equal(f->stores[AWAY].bad_to, BLOCK);
        assert_int_equal(f->stores[0].spoils, 0);
        assert_int_equal(got(c, AWAY, 0, BLOCK), 0x12);
        assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_MEDIA_READ);
        write_ok(f, 0, 0x33);
        assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
        case_destroy(c);
    }
}

/* ---- Beside the volume's commands (9.1, 9.2, R10) ---- */

/* New writes flow to it, and are answered without it; but what overlaps waits for its answer. */
static void nobody_waits_for_it_but_the_order(void **state)
{
    (void)state;
    struct case_ *c = case_joined();
    struct fixture *f = c->f;
    struct request again = { 0 }, read = { 0 };
    const unsigned before = f->stores[AWAY].in_flight_count;
    write_ok(f, 64 * K, 0x22);
    assert_int_equal(f->stores[AWAY].in_flight_count, before + 1);
    fill(f, 0, BLOCK, 0xee); /* The host's memory is the host's again. */
    fill(f, 1, BLOCK, 0x33);
    submit(f, &again, 1, 0, NVME_NS_WRITE, 64 * K, BLOCK);
    submit(f, &read, 2, 1, NVME_NS_READ, 64 * K, BLOCK);
    loop_run(&f->loop);
    assert_true(again.busy && read.busy);
    assert_int_equal(byte_on(c, 0, 0), 0x11);
    hold_all(f, false);
    assert_false(again.busy || read.busy);
    assert_int_equal(got(c, AWAY, 0, 64 * K), 0x33);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* Deallocations, parts of blocks and Copies flow to it as well. */
static void all_that_changes_flows_to_it(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    f->config.volume.lba_bytes = 512;
    f->disks[AWAY].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    fill(f, 0, 512 * K, 0x31);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, 512 * K).code, STATUS_OK);
    struct request copy = { .req.source = 0 };
    f->stores[AWAY].hold = true;
    bring_back(c, AWAY);
    loop_run(&f->loop);
    fill(f, 0, 512 * K, 0x41);
    assert_int_equal(run(f, NVME_NS_WRITE, true, 2 * M + 512, 1024).code, STATUS_OK);
    assert_int_equal(run(f, NVME_NS_WRITE_ZEROES, false, 8 * K + 512, 30 * K).code, STATUS_OK);
    assert_int_equal(run(f, NVME_NS_DEALLOCATE, false, 64 * K, 128 * K).code, STATUS_OK);
    copy.req = (struct nvme_ns_req) { .opcode = NVME_NS_COPY,
                                      .source = 256 * K,
                                      .offset = 5 * M,
                                      .bytes = 40 * K,
                                      .reactor = f->loop.reactors[1],
                                      .done = on_done };
    list_node_init(&copy.req.link);
    copy.busy = true;
    volume_ns(f->volume)->ops->submit(volume_ns(f->volume), &copy.req);
    loop_run(&f->loop);
    hold_all(f, false);
    assert_false(copy.busy);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* More than there is memory for is waited for, and not forgotten. */
static void without_memory_it_is_waited_for(void **state)
{
    (void)state;
    struct case_ *c = case_joined();
    struct fixture *f = c->f;
    struct request r[REQUESTS] = { 0 };
    unsigned answered = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        fill(f, i, BLOCK, (uint8_t)(i + 1));
        submit(f, &r[i], i, 0, NVME_NS_WRITE, (1 + i % 32) * BLOCK + i / 32 * 1536 * K, BLOCK);
    }
    loop_run(&f->loop);
    for (unsigned i = 0; i < REQUESTS; i++)
        answered += r[i].busy ? 0 : 1;
    assert_int_equal(answered, VOLUME_TRAILS_MAX);
    hold_all(f, false);
    for (unsigned i = 0; i < REQUESTS; i++)
        assert_false(r[i].busy);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* 9.2: while a write of before is under way, which is not sent to it, no list is read. */
static void lists_are_read_after_the_writes_of_before(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    f->stores[2].hold = true;
    fill(f, 0, BLOCK, 0x22);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK); /* Shard 0, in copyset 0. */
    loop_run(&f->loop);
    const unsigned lists = f->stores[0].lists;
    bring_back(c, AWAY);
    loop_run(&f->loop);
    for (unsigned copyset = 1; copyset < DISKS; copyset++) { /* Disk 2 does not answer these. */
        const unsigned slot = (AWAY + DISKS - copyset) % DISKS;
        assert_int_equal(c->meta.record.copysets[copyset].slots[slot].state, GROUP_SLOT_OUT);
    }
    const unsigned others = f->stores[0].lists - lists; /* Of the two other copysets. */
    fake_store_release(&f->stores[2], 0);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_true(f->stores[0].lists > lists + others);
    hold_all(f, false);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* R10: a write to a region that is being copied is not sent to anybody before that has ended. */
static void a_copy_has_its_place_in_the_order(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    write_ok(f, 0, 0x11);
    f->stores[AWAY].hold = true;
    bring_back(c, AWAY);
    loop_run(&f->loop);
    const unsigned reads = f->stores[0].reads + f->stores[2].reads;
    while (f->stores[0].reads + f->stores[2].reads == reads) { /* Up to the first source. */
        fake_store_release(&f->stores[AWAY], 0);
        loop_run(&f->loop);
    }
    const unsigned writes = f->stores[0].writes;
    fill(f, 0, BLOCK, 0x22);
    submit(f, &r, 0, 1, NVME_NS_WRITE, 128 * K, BLOCK);
    loop_run(&f->loop);
    assert_true(r.busy);
    assert_int_equal(f->stores[0].writes, writes);
    hold_all(f, false);
    assert_false(r.busy);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* 9.8: the only member, which has failed a command, is what another one is made from. */
static void who_is_suspected_and_needed_is_a_source(void **state)
{
    (void)state;
    struct case_ *c = case_create(1);
    struct fixture *f = c->f;

    f->disks[1].store = f->disks[2].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    write_ok(f, 0, 0x11);
    f->stores[0].fail_next = STATUS(MEDIA_WRITE); /* Of the first that the resync asks. */
    bring_back(c, 1);
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].fail_next.code, STATUS_OK);
    assert_false(is_in_all(c, 1));
    for (unsigned i = 0; i < 30; i++)
        loop_pass(&f->loop, NS_PER_S);
    assert_true(is_in_all(c, 1));
    assert_equal_to_first(c, 1);
    case_destroy(c);
}

/* I7: while it is not in sync it is not read for a host. */
static void it_is_not_read_before(void **state)
{
    (void)state;
    struct case_ *c = case_joined();
    struct fixture *f = c->f;
    const unsigned before = f->stores[AWAY].in_flight_count;
    for (uint64_t at = 0; at < SHARDS * SHARD_BYTES; at += 256 * K)
        assert_int_equal(run(f, NVME_NS_READ, false, at, BLOCK).code, STATUS_OK);
    assert_int_equal(f->stores[AWAY].in_flight_count, before);
    hold_all(f, false);
    case_destroy(c);
}

/* No Flush waits for it before its admission. */
static void a_flush_does_not_wait_for_it(void **state)
{
    (void)state;
    struct case_ *c = case_joined();
    struct fixture *f = c->f;
    write_ok(f, 64 * K, 0x22);
    assert_int_equal(run(f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    hold_all(f, false);
    assert_true(is_in_all(c, AWAY));
    case_destroy(c);
}

/* 11.4: a dead member that could not be excluded goes when the disk that returns is admitted. */
static void a_dead_member_is_replaced(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    struct request flush = { 0 };
    write_ok(f, 0, 0x22);
    f->stores[2].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &flush, 0, 0, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_true(flush.busy); /* min_in_sync: nobody can be excluded. */
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_false(flush.busy);
    assert_int_equal(flush.req.status.code, STATUS_OK);
    assert_int_equal(got(c, AWAY, 0, 0), 0x22);
    assert_true(is_in_all(c, AWAY));
    assert_false(is_member(c, 2));
    loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_true(is_in_all(c, 2));
    case_destroy(c);
}

/* ---- Rounds meanwhile (3.4) ---- */

/* What has been copied is closed at all, it too; what has not stays listed for it. */
static void what_is_copied_is_closed(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    fixture_limit_resyncs(f, M / 8); /* A region in eight seconds. */
    f->disks[AWAY].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    write_ok(f, 0, 0x11);     /* Shard 0, its first region, */
    write_ok(f, 3 * M, 0x22); /* and its second one. */
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(f->stores[0].listed[0][0], slot_bit(AWAY, 0));
    assert_int_equal(f->stores[0].listed[0][1], slot_bit(AWAY, 0));
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_int_equal(progress(f).regions_done, 1);
    write_ok(f, BLOCK, 0x12);
    write_ok(f, 3 * M + BLOCK, 0x23);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(f->stores[i].listed[0][0], 0);
    assert_int_equal(f->stores[0].listed[0][1], slot_bit(AWAY, 0));
    assert_int_equal(f->stores[AWAY].listed[0][1], ALL_SLOTS);
    for (unsigned i = 0; i < 4; i++)
        loop_pass(&f->loop, 8 * NS_PER_S);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(f->stores[i].listed[0][1], 0);
    case_destroy(c);
}

/* When it has too many open regions, rounds close some, and it is neither given up nor skipped. */
static void its_full_list_is_waited_for(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    write_ok(f, 0, 0x11);
    f->stores[AWAY].hold = true;
    bring_back(c, AWAY);
    loop_run(&f->loop);
    f->stores[AWAY].write_status = STATUS(LIST_FULL);
    fill(f, 0, BLOCK, 0x22);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 3 * M, BLOCK);
    for (unsigned step = 0; step < 60; step++) {
        if (f->stores[AWAY].in_flight_count > 0)
            fake_store_release(&f->stores[AWAY], 0);
        loop_run(&f->loop);
    }
    assert_false(r.busy); /* Nobody waits for it. */
    assert_false(is_in(c, AWAY, 0));
    f->stores[AWAY].write_status = STATUS(OK);
    hold_all(f, false);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* ---- Failures (9.7) ---- */

/* A failed write to it ends the resync; the host does not notice, and it is tried again, later. */
static void a_failure_is_tried_again_later(void **state)
{
    (void)state;
    struct case_ *c = case_joined();
    struct fixture *f = c->f;
    write_ok(f, 64 * K, 0x22);
    f->stores[AWAY].write_status = STATUS(MEDIA_WRITE);
    hold_all(f, false);
    assert_false(is_member(c, AWAY));
    const unsigned writes = f->stores[AWAY].writes;
    write_ok(f, 64 * K, 0x33);
    write_ok(f, 5 * M, 0x44);
    assert_int_equal(f->stores[AWAY].writes, writes);
    f->stores[AWAY].write_status = STATUS(OK);
    loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS - 1);
    assert_false(is_member(c, AWAY));
    loop_pass(&f->loop, 1);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* A member that was excluded comes back by itself, after a while. */
static void who_was_excluded_comes_back(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    for (unsigned round = 0; round < 3; round++) {
        f->stores[2].fail_next = STATUS(MEDIA_WRITE);
        write_ok(f, 0, (uint8_t)(0x11 + round));
        assert_false(is_member(c, 2));
        write_ok(f, 5 * M, (uint8_t)(0x21 + round));
        for (unsigned i = 0; i < 1u << round; i++) { /* Longer with each failure. */
            assert_false(is_member(c, 2));
            loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
        }
        assert_true(is_in_all(c, 2));
        assert_equal_to_first(c, 2);
        assert_int_equal(run(f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    }
    case_destroy(c);
}

/* The rate limit: a region now, and each of the others when its time has come. */
static void it_is_not_faster_than_allowed(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    fixture_limit_resyncs(f, M);
    f->disks[AWAY].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    for (unsigned i = 0; i < 3; i++)
        write_ok(f, i * 256 * K, 0x11);
    bring_back(c, AWAY);
    loop_run(&f->loop);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(progress(f).regions_done, i);
        assert_int_equal(progress(f).regions_left, 3 - i);
        assert_progress(f, i % 3 * M, i == 3 ? 0 : 3 * M); /* Then it is in sync. */
        loop_pass(&f->loop, NS_PER_S);
    }
    assert_true(is_in_all(c, AWAY));
    case_destroy(c);
}

/* A volume can be closed at any point of a resync. */
static void it_ends_with_the_volume(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 40; steps++) {
        struct case_ *c = case_without(AWAY, 2);
        struct fixture *f = c->f;
        write_ok(f, 0, 0x11);
        f->stores[AWAY].hold = true;
        bring_back(c, AWAY);
        loop_run(&f->loop);
        write_ok(f, 64 * K, 0x22);
        for (unsigned i = 0; i < steps && f->stores[AWAY].in_flight_count > 0; i++) {
            fake_store_release(&f->stores[AWAY], i % f->stores[AWAY].in_flight_count);
            loop_run(&f->loop);
        }
        f->closed = false;
        volume_close(f->volume, fixture_on_closed, f);
        loop_run(&f->loop);
        hold_all(f, false);
        assert_true(f->closed);
        f->volume = NULL;
        case_destroy(c);
    }
}

/* One that asks for a disk that it does not have, or that is not there, is told. */
static void only_a_disk_of_the_volume_returns(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    struct volume_disk other = f->disks[AWAY];
    other.uuid = disk_uuid(40);
    assert_int_equal(volume_leg_returned(f->volume, &other).code, STATUS_NOT_FOUND);
    assert_int_equal(volume_leg_returned(f->volume, &f->disks[AWAY]).code, STATUS_UNAVAILABLE);
    f->stores[AWAY].open_status = STATUS(MEDIA_WRITE);
    bring_back(c, AWAY);
    assert_int_equal(volume_leg_returned(f->volume, &f->disks[AWAY]).code, STATUS_BUSY);
    loop_run(&f->loop);
    assert_false(is_member(c, AWAY));
    f->stores[AWAY].open_status = STATUS(OK);
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_true(is_in_all(c, AWAY));
    case_destroy(c);
}

/* ---- At random ---- */

static unsigned next_random(unsigned *random, unsigned below)
{
    *random = *random * 1664525u + 1013904223u;
    return (*random >> 8) % below;
}

static void set_hold(struct fixture *f)
{
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
}

/* Until nothing is to be done any more: then all are members, and equal. */
static void come_to_rest(struct case_ *c)
{
    hold_all(c->f, false);
    for (unsigned i = 0; i < 10; i++)
        loop_pass(&c->f->loop, VOLUME_RESYNC_AGAIN_MAX_NS);
    for (unsigned i = 0; i < DISKS; i++) {
        assert_true(is_in_all(c, i));
        assert_equal_to_first(c, i);
    }
}

/* A write somewhere, some answers in any order, and perhaps a failure of the victim. */
static void random_step(struct case_ *c, struct request *r, unsigned *random, unsigned victim)
{
    struct fixture *f = c->f;
    const unsigned k = next_random(random, 8), disk = next_random(random, DISKS);
    struct store *const s = &f->stores[disk];

    if (!r[k].busy) {
        fill(f, k, 2 * BLOCK, (uint8_t)(1 + next_random(random, 255)));
        r[k].req.fua = next_random(random, 4) == 0;
        submit(f, &r[k], k, k % 2, NVME_NS_WRITE,
               next_random(random, 24) * 128 * K + next_random(random, 3) * BLOCK, 2 * BLOCK);
    }
    if (disk == victim && s->in_flight_count > 0 && next_random(random, 20) == 0)
        s->fail_next = STATUS(TIMED_OUT);
    for (unsigned n = next_random(random, 4); n > 0 && s->in_flight_count > 0; n--)
        fake_store_release(s, next_random(random, s->in_flight_count));
    s->fail_next = STATUS(OK);
    loop_run(&f->loop);
    if (next_random(random, 50) == 0)
        loop_pass(&f->loop, VOLUME_ROUND_NS);
    if (next_random(random, 60) == 0)
        loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
}

/*
 * Writes while one disk fails and comes back, and then another one, and answers come in any order:
 * everything is answered, and when all is quiet all disks are in sync and equal.
 */
static void members_are_equal_after_anything(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 20; seed++) {
        struct case_ *c = case_opened(1 + seed % 2);
        struct request r[8] = { 0 };
        unsigned random = seed * 2654435761u + 1;
        for (unsigned phase = 0; phase < 4; phase++) {
            const unsigned victim = next_random(&random, DISKS);
            set_hold(c->f);
            for (unsigned step = 0; step < 150; step++)
                random_step(c, r, &random, victim);
            come_to_rest(c);
            for (unsigned i = 0; i < 8; i++)
                assert_false(r[i].busy);
        }
        case_destroy(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_that_was_away_is_in_sync_again),
        cmocka_unit_test(only_what_is_listed_is_compared),
        cmocka_unit_test(excess_is_replaced),
        cmocka_unit_test(who_is_out_at_the_opening_is_resynced),
        cmocka_unit_test(its_loss_is_not_told),
        cmocka_unit_test(with_a_cut_list_all_is_compared),
        cmocka_unit_test(what_no_member_can_read_is_spoiled),
        cmocka_unit_test(nobody_waits_for_it_but_the_order),
        cmocka_unit_test(all_that_changes_flows_to_it),
        cmocka_unit_test(without_memory_it_is_waited_for),
        cmocka_unit_test(lists_are_read_after_the_writes_of_before),
        cmocka_unit_test(a_copy_has_its_place_in_the_order),
        cmocka_unit_test(who_is_suspected_and_needed_is_a_source),
        cmocka_unit_test(it_is_not_read_before),
        cmocka_unit_test(a_flush_does_not_wait_for_it),
        cmocka_unit_test(a_dead_member_is_replaced),
        cmocka_unit_test(what_is_copied_is_closed),
        cmocka_unit_test(its_full_list_is_waited_for),
        cmocka_unit_test(a_failure_is_tried_again_later),
        cmocka_unit_test(who_was_excluded_comes_back),
        cmocka_unit_test(it_is_not_faster_than_allowed),
        cmocka_unit_test(it_ends_with_the_volume),
        cmocka_unit_test(only_a_disk_of_the_volume_returns),
        cmocka_unit_test(members_are_equal_after_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
