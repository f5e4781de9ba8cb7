/* SPDX-License-Identifier: Apache-2.0 */
/* Several replicas: what is acknowledged, and who is excluded before (R1, R2, R4). */
#include "replicas_case.h"
#include "volume/rounds.h"

/* ---- All are well ---- */

/* R1: a write is answered when all three have it. */
static void a_write_waits_for_all(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    fill(f, 0, BLOCK, 0x11);
    submit(f, &r, 0, 1, NVME_NS_WRITE, 0, BLOCK);
    for (unsigned i = 0; i < DISKS; i++) {
        loop_run(&f->loop);
        assert_true(r.busy);
        assert_int_equal(f->stores[i].in_flight_count, 1);
        fake_store_release(&f->stores[i], 0);
    }
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(byte_on(c, i, 0), 0x11);
    assert_int_equal(c->meta.commits, 0);
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = false;
    case_destroy(c);
}

/* All commands leave the replicas alike, whatever part of blocks and shards they touch. */
static void replicas_are_alike(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    f->config.volume.lba_bytes = 512;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    fill(f, 0, 512 * K, 0x31);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, 512 * K).code, STATUS_OK);
    assert_int_equal(run(f, NVME_NS_WRITE, true, 2 * M + 512, 1024).code, STATUS_OK);
    assert_int_equal(run(f, NVME_NS_WRITE_ZEROES, false, 8 * K + 512, 300 * K).code, STATUS_OK);
    assert_int_equal(run(f, NVME_NS_DEALLOCATE, false, 64 * K, 3 * M).code, STATUS_OK);
    struct request r = { .req.source = 512 };
    r.req = (struct nvme_ns_req) { .opcode = NVME_NS_COPY,
                                   .source = 512,
                                   .offset = 5 * M,
                                   .bytes = 40 * K,
                                   .reactor = f->loop.reactors[1],
                                   .done = on_done };
    list_node_init(&r.req.link);
    r.busy = true;
    volume_ns(f->volume)->ops->submit(volume_ns(f->volume), &r.req);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        const uint8_t *const first = f->stores[0].shards[shard];
        for (unsigned i = 1; i < DISKS; i++) {
            const uint8_t *const other = f->stores[i].shards[shard];
            assert_true((first == NULL) == (other == NULL));
            if (first != NULL)
                assert_memory_equal(first, other, SHARD_BYTES);
        }
    }
    case_destroy(c);
}

/* A read asks one member; a block that is bad there is read from another. */
static void a_bad_block_is_read_elsewhere(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    fill(f, 0, BLOCK, 0x44);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    fill(f, 0, BLOCK, 0);
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(f->stores[0].reads + f->stores[1].reads + f->stores[2].reads, 1);
    for (unsigned i = 0; i < DISKS; i++) {
        if (f->stores[i].reads > 0)
            f->stores[i].fail_next = STATUS(MEDIA_READ);
    }
    fill(f, 0, BLOCK, 0);
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(f->memory[0], 0x44);
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].bad_to = BLOCK;
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_MEDIA_READ);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

static unsigned read_of(struct fixture *f, unsigned disk, unsigned count)
{
    const unsigned before = f->stores[disk].reads;

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(run(f, NVME_NS_READ, false, i * BLOCK, BLOCK).code, STATUS_OK);
    return f->stores[disk].reads - before;
}

/* A disk that is suspect is written as the others are, and read only if all of them are, or if
 * what the others have is bad. */
static void a_suspect_disk_is_read_last(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    fill(f, 0, 8 * BLOCK, 0x45);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, 8 * BLOCK).code, STATUS_OK);
    unsigned usual = 0;
    while (read_of(f, usual, 1) == 0)
        usual++;
    store_set_suspect(&f->stores[usual], true);
    assert_int_equal(read_of(f, usual, 8), 0);
    const unsigned writes = f->stores[usual].writes;
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(f->stores[usual].writes, writes + 1);
    for (unsigned i = 0; i < DISKS; i++)
        store_set_suspect(&f->stores[i], true);
    assert_true(read_of(f, usual, 8) > 0);
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].bad_to = i == usual ? 0 : BLOCK;
    store_set_suspect(&f->stores[(usual + 1) % DISKS], false);
    assert_true(read_of(f, usual, 1) > 0); /* Perhaps twice: the others are repaired. */
    case_destroy(c);
}

/* ---- A newer engine ---- */

static bool read_is_fenced(struct case_ *c)
{
    struct request r = { 0 };

    submit(c->f, &r, 0, 0, NVME_NS_READ, 0, BLOCK);
    loop_run(&c->f->loop);
    assert_false(r.busy);
    return status_is(r.req.status, STATUS_FENCED);
}

/* R7, 7.8: where a newer engine has sealed the source, hosts see no error, and nothing that another
 * replica still has. */
static void a_sealed_source_ends_the_engine(void **state)
{
    (void)state;
    struct case_ *c = case_opened(1);
    struct fixture *f = c->f;
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    unsigned usual = 0;
    while (read_of(f, usual, 1) == 0)
        usual++;
    f->stores[usual].session_status = STATUS(STALE_EPOCH);
    assert_true(read_is_fenced(c));
    assert_int_equal(c->meta.fences, 1);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* R7, 8.5: disks of this node give no leases, so those that are not read are asked. */
static void another_replica_that_is_sealed_ends_it_too(void **state)
{
    (void)state;
    for (unsigned sealed = 0; sealed <= DISKS; sealed++) { /* At last all of them. */
        struct case_ *c = case_opened(1);
        assert_int_equal(run(c->f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
        for (unsigned i = 0; i < DISKS; i++)
            if (i == sealed || sealed == DISKS)
                c->f->stores[i].session_status = STATUS(STALE_EPOCH);
        assert_true(read_is_fenced(c));
        assert_int_equal(c->meta.fences, 1);
        case_destroy(c);
    }
}

/* ---- Exclusion ---- */

/* R2, 6.4, 6.5: a write that one has not executed is answered only when it is excluded. */
static void exclusion_is_committed_first(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    c->meta.hold = true;
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    fill(f, 0, BLOCK, 0x11);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    assert_true(r.busy);
    assert_int_equal(c->meta.commits, 1);
    assert_int_equal(f->stores[0].sets + f->stores[2].sets, 0);
    f->stores[0].hold = true; /* What stays has to know it durably first. */
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_true(r.busy);
    assert_int_equal(f->stores[0].in_flight_count, 1);
    f->stores[0].hold = false;
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_false(is_member(c, 1));
    assert_true(is_member(c, 0) && is_member(c, 2));
    for (unsigned i = 0; i < DISKS; i++) {
        if (i == 1)
            continue;
        assert_int_equal(f->stores[i].sets, 3); /* All copysets have the disk. */
        assert_int_equal(f->stores[i].last_set.sequence, c->meta.record.sequence);
    }
    assert_int_equal(f->stores[1].sets, 0);
    case_destroy(c);
}

/* 6.5: who stays and does not keep its set is excluded as well, before anything is acknowledged. */
static void who_does_not_keep_its_set_goes_too(void **state)
{
    (void)state;
    struct case_ *c = case_opened(1);
    struct fixture *f = c->f;
    struct request r = { 0 };
    c->meta.hold = true;
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    fill(f, 0, BLOCK, 0x11);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    f->stores[2].fail_next = STATUS(MEDIA_WRITE); /* Its SET. */
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_true(r.busy);
    assert_int_equal(c->meta.commits, 2);
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_false(is_member(c, 1) || is_member(c, 2));
    assert_int_equal(f->stores[0].last_set.sequence, c->meta.record.sequence);
    case_destroy(c);
}

/* 6.5: who does not keep its set and cannot be excluded either gets it when it is well again. */
static void who_is_needed_gets_its_set_later(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    c->meta.hold = true;
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    f->stores[2].fail_next = STATUS(TIMED_OUT); /* Its SET. */
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    assert_true(is_member(c, 2));
    assert_int_equal(f->stores[2].sets, 3);
    assert_int_equal(f->stores[2].last_set.sequence, c->meta.record.sequence);
    case_destroy(c);
}

/* An excluded replica is neither written nor read, in any copyset (I7). */
static void who_is_out_is_left_alone(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    fill(f, 0, BLOCK, 0x11);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    const unsigned writes = f->stores[1].writes, reads = f->stores[1].reads;
    for (uint64_t at = 0; at < SHARDS * SHARD_BYTES; at += 256 * K) {
        assert_int_equal(run(f, NVME_NS_WRITE, false, at, BLOCK).code, STATUS_OK);
        assert_int_equal(run(f, NVME_NS_READ, false, at, BLOCK).code, STATUS_OK);
    }
    assert_int_equal(f->stores[1].writes, writes);
    assert_int_equal(f->stores[1].reads, reads);
    assert_int_equal(c->meta.commits, 1);
    case_destroy(c);
}

/* 6.6: while the meta store does not answer, writes of the copyset wait, and reads go on. */
static void reads_go_on_meanwhile(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request writes[3] = { 0 };
    c->meta.hold = true;
    f->stores[2].fail_next = STATUS(TIMED_OUT);
    for (unsigned i = 0; i < ARRAY_COUNT(writes); i++) {
        submit(f, &writes[i], i, i % 2, NVME_NS_WRITE, i * BLOCK, BLOCK);
        f->stores[2].fail_next = STATUS(TIMED_OUT);
        loop_run(&f->loop);
        assert_true(writes[i].busy);
    }
    assert_int_equal(run(f, NVME_NS_READ, false, 64 * K, BLOCK).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    f->stores[2].fail_next = STATUS(OK);
    meta_release(&c->meta);
    loop_run(&f->loop);
    for (unsigned i = 0; i < ARRAY_COUNT(writes); i++)
        assert_int_equal(writes[i].req.status.code, STATUS_OK);
    case_destroy(c);
}

/* 6.1: below min_in_sync nobody is excluded: writes wait, and say why once. */
static void the_last_ones_are_kept(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    const unsigned lines = f->log_lines;
    f->stores[2].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    assert_true(r.busy);
    assert_true(is_member(c, 2));
    assert_int_equal(c->meta.commits, 1);
    assert_int_equal(f->log_lines, lines + 1);
    assert_int_equal(run(f, NVME_NS_READ, false, 64 * K, BLOCK).code, STATUS_OK);
    volume_fence(f->volume);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_FENCED);
    case_destroy(c);
}

/* 6.1: who has failed as well does not count among those that remain. */
static void not_all_that_fail_at_once_go(void **state)
{
    (void)state;
    for (unsigned failing = 1; failing <= DISKS; failing++) {
        struct case_ *c = case_opened(1);
        struct fixture *f = c->f;
        struct request r = { 0 };
        for (unsigned i = 0; i < failing; i++)
            f->stores[i].fail_next = STATUS(MEDIA_WRITE);
        submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
        loop_run(&f->loop);
        assert_int_equal(r.busy, failing == DISKS);
        assert_int_equal(c->meta.commits, failing == DISKS ? 0 : failing);
        assert_true(is_member(c, 2));
        volume_fence(f->volume);
        loop_run(&f->loop);
        assert_false(r.busy);
        case_destroy(c);
    }
}

/* 11.1: a write for which nobody has space has changed nothing, and expels nobody. */
static void full_disks_are_kept(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].fail_next = STATUS(NO_SPACE);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_NO_SPACE);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* 6.3, 7.8: who finds another engine's record answers nothing any more. */
static void a_conflict_fences(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request r = { 0 }, flush = { 0 };
    c->meta.conflict = true;
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_FENCED);
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_FENCED);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 5 * M, BLOCK).code, STATUS_FENCED);
    submit(f, &flush, 0, 1, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_false(flush.busy);
    case_destroy(c);
}

/* ---- Flush ---- */

/* 5.10: who does not confirm is excluded before the Flush is acknowledged. */
static void a_flush_excludes_who_does_not_confirm(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    c->meta.hold = true;
    f->stores[2].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &r, 0, 1, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_true(r.busy);
    assert_int_equal(c->meta.commits, 1);
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_false(is_member(c, 2));
    case_destroy(c);
}

/* ---- At random ---- */

/*
 * Writes at random, of which some fail at some disk: whatever is answered is on all members then,
 * and there are enough of them.
 */
static void what_is_answered_is_on_all_members(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 40; seed++) {
        struct case_ *c = case_opened(2);
        struct fixture *f = c->f;
        uint8_t expected[SHARDS] = { 0 };
        unsigned random = seed * 2654435761u + 1;
        for (unsigned step = 0; step < 60; step++) {
            random = random * 1664525u + 1013904223u;
            const unsigned unit =
                random >> 8 & 7; /* The first row: one for each of three shards. */
            const uint32_t shard = unit % 3;
            const unsigned victim = (random >> 16) % DISKS;
            const bool all = is_member(c, 0) && is_member(c, 1) && is_member(c, 2);
            if ((random >> 24) % 20 == 0 && all)
                f->stores[victim].fail_next = STATUS(MEDIA_WRITE);
            fill(f, 0, BLOCK, (uint8_t)(step + 1));
            assert_int_equal(run(f, NVME_NS_WRITE, false, shard * 256 * K, BLOCK).code, STATUS_OK);
            f->stores[victim].fail_next = STATUS(OK);
            expected[shard] = (uint8_t)(step + 1);
            for (uint32_t s = 0; s < 3; s++)
                for (unsigned i = 0; i < DISKS; i++)
                    if (is_member(c, i))
                        assert_int_equal(byte_on(c, i, s), expected[s]);
        }
        case_destroy(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_waits_for_all),
        cmocka_unit_test(replicas_are_alike),
        cmocka_unit_test(a_bad_block_is_read_elsewhere),
        cmocka_unit_test(a_suspect_disk_is_read_last),
        cmocka_unit_test(exclusion_is_committed_first),
        cmocka_unit_test(a_sealed_source_ends_the_engine),
        cmocka_unit_test(another_replica_that_is_sealed_ends_it_too),
        cmocka_unit_test(who_does_not_keep_its_set_goes_too),
        cmocka_unit_test(who_is_needed_gets_its_set_later),
        cmocka_unit_test(who_is_out_is_left_alone),
        cmocka_unit_test(reads_go_on_meanwhile),
        cmocka_unit_test(the_last_ones_are_kept),
        cmocka_unit_test(not_all_that_fail_at_once_go),
        cmocka_unit_test(full_disks_are_kept),
        cmocka_unit_test(a_conflict_fences),
        cmocka_unit_test(a_flush_excludes_who_does_not_confirm),
        cmocka_unit_test(what_is_answered_is_on_all_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
