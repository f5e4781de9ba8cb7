/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on a volume: what they ask of its disks, in which order, and how they fail. */
#include <stdlib.h>

#include "base/rng.h"
#include "fixture.h"

static unsigned total_flushes(const struct fixture *f)
{
    return f->stores[0].flushes + f->stores[1].flushes + f->stores[2].flushes;
}

/* A block that was never written reads as zeros, though no store knows its shard. */
static void unknown_shards_read_as_zeros(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    memset(f->memory, 0xee, 512 * K);
    assert_true(status_ok(run(f, NVME_NS_READ, false, 3 * M, 512 * K)));
    for (size_t i = 0; i < 512 * K; i++)
        assert_int_equal(f->memory[i], 0);
    assert_true(status_ok(run(f, NVME_NS_DEALLOCATE, false, 0, 16 * M)));
    fixture_destroy(f);
}

/*
 * Commands that overlap, from both reactors and at random speed, never meet in a store (it
 * asserts that), and all of them end.
 */
static void concurrent_commands_are_ordered(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    struct request *requests = calloc(REQUESTS, sizeof *requests);
    struct volume_stats stats;
    struct rng rng;
    rng_init(&rng, 2);
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    for (int step = 0; step < 20000; step++) {
        const unsigned slot = (unsigned)rng_below(&rng, REQUESTS);
        struct store *s = &f->stores[rng_below(&rng, DISKS)];
        if (!requests[slot].busy && step < 18000) {
            const enum nvme_ns_opcode opcode = (enum nvme_ns_opcode)rng_below(&rng, 5);
            const uint64_t bytes = opcode == NVME_NS_FLUSH ? 0 : (1 + rng_below(&rng, 128)) * BLOCK;
            submit(f, &requests[slot], slot, (unsigned)rng_below(&rng, 2), opcode,
                   rng_below(&rng, 256) * BLOCK, bytes);
        }
        loop_run(&f->loop);
        if (s->in_flight_count > 0)
            fake_store_release(s, (unsigned)rng_below(&rng, s->in_flight_count));
    }
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = false;
    for (unsigned i = 0; i < DISKS; i++)
        while (f->stores[i].in_flight_count > 0) {
            fake_store_release(&f->stores[i], 0);
            loop_run(&f->loop);
        }
    for (unsigned i = 0; i < REQUESTS; i++)
        assert_false(requests[i].busy);
    volume_get_stats(f->volume, &stats);
    assert_true(stats.order_waited > 1000);
    free(requests);
    fixture_destroy(f);
}

/* More commands than the pool has wait in the engine, and all of them are answered. */
static void an_empty_pool_is_back_pressure(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    const unsigned count = VOLUME_COMMANDS_MAX + 100;
    struct request *requests = calloc(count, sizeof *requests);
    struct volume_stats stats;
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    for (unsigned i = 0; i < count; i++)
        submit(f, &requests[i], i % REQUESTS, 0, NVME_NS_READ, i * BLOCK, BLOCK);
    loop_run(&f->loop);
    volume_get_stats(f->volume, &stats);
    assert_int_equal(stats.commands_waited, 100);
    for (unsigned i = 0; i < DISKS; i++) {
        f->stores[i].hold = false;
        if (f->stores[i].in_flight_count > 0)
            fake_store_release(&f->stores[i], 0);
        reactor_defer(f->stores[i].reactor, &f->stores[i].task);
    }
    loop_run(&f->loop);
    for (unsigned i = 0; i < count; i++) {
        assert_false(requests[i].busy);
        assert_true(status_ok(requests[i].req.status));
    }
    free(requests);
    fixture_destroy(f);
}

/* A command that waits for the pool can be taken back, and never happens; one that has begun can
 * not. */
static void a_waiting_command_can_be_canceled(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct nvme_ns *ns;
    struct request first = { 0 }, second = { 0 };
    f->config.commands_max = 1;
    assert_true(status_ok(fixture_open(f)));
    ns = volume_ns(f->volume);
    f->stores[0].hold = true;
    memset(f->memory, 0x11, 2 * BUF_BYTES_MAX);
    submit(f, &first, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    submit(f, &second, 1, 0, NVME_NS_WRITE, BLOCK, BLOCK);
    assert_false(ns->ops->cancel(ns, &first.req));
    assert_true(ns->ops->cancel(ns, &second.req));
    (void)ns->ops->cancel(ns, &second.req); /* Asked again, it still ends once. */
    assert_true(second.busy);               /* Never before it returns. */
    loop_run(&f->loop);
    assert_false(second.busy);
    assert_int_equal(second.req.status.code, STATUS_CANCELED);
    assert_false(ns->ops->cancel(ns, &second.req));
    assert_int_equal(f->stores[0].in_flight_count, 1);
    f->stores[0].hold = false;
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_false(first.busy);
    assert_int_equal(f->stores[0].writes, 1);
    fixture_destroy(f);
}

/* A Flush asks the disks that took writes since their last one, and no others. */
static void flush_asks_disks_with_unflushed_writes(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    /* What an earlier process wrote may be unflushed: the first one asks all. */
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(total_flushes(f), 3);
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(total_flushes(f), 3);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 256 * K, BLOCK))); /* Shard 1, disk 1. */
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(total_flushes(f), 4);
    assert_int_equal(f->stores[1].flushes, 2);
    assert_true(status_ok(run(f, NVME_NS_WRITE, true, 256 * K, BLOCK))); /* Durable already. */
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(total_flushes(f), 4);
    fixture_destroy(f);
}

/* Two Flushes at a time both wait for the disk: the second does not trust the first one's. */
static void concurrent_flushes_both_wait(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    struct request a = { 0 }, b = { 0 };
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, BLOCK)));
    f->stores[0].hold = true;
    submit(f, &a, 0, 0, NVME_NS_FLUSH, 0, 0);
    submit(f, &b, 1, 1, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_true(a.busy);
    assert_true(b.busy);
    f->stores[0].fail_next = STATUS(IO);
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_int_equal((a.busy ? b : a).req.status.code, STATUS_IO);
    assert_true(a.busy || b.busy);
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_false(a.busy || b.busy);
    f->stores[0].hold = false;
    fixture_destroy(f);
}

/* A disk that is missing fails the commands for its own shards; the others are served. */
static void a_missing_disk_fails_its_shards_only(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->disks[1].store = NULL;
    assert_true(status_ok(fixture_open(f)));
    assert_int_equal(f->log_lines, 1);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, BLOCK)));
    assert_int_equal(run(f, NVME_NS_WRITE, false, 256 * K, BLOCK).code, STATUS_UNAVAILABLE);
    assert_int_equal(run(f, NVME_NS_READ, false, 128 * K, 256 * K).code, STATUS_UNAVAILABLE);
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    fixture_destroy(f);
}

/* A failure of one piece is the command's, and its blocks are free for the next one. */
static void a_failed_piece_fails_its_command(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    f->stores[1].fail_next = STATUS(NO_SPACE);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, 512 * K).code, STATUS_NO_SPACE);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, 512 * K)));
    f->stores[0].fail_next = STATUS(MEDIA_READ);
    assert_int_equal(run(f, NVME_NS_READ, false, 0, 512 * K).code, STATUS_MEDIA_READ);
    fixture_destroy(f);
}

/* A large deallocate goes in bounded pieces, a few at a time. */
static void a_large_deallocate_is_bounded(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    struct request r = { 0 };
    submit(f, &r, 0, 0, NVME_NS_DEALLOCATE, BLOCK, SHARDS * SHARD_BYTES - 2 * BLOCK);
    unsigned rounds = 0;
    while (r.busy) {
        unsigned busy = 0;
        loop_run(&f->loop);
        for (unsigned i = 0; i < DISKS; i++)
            busy += f->stores[i].in_flight_count;
        assert_in_range(busy, 0, VOLUME_PIECES_MAX);
        for (unsigned i = 0; i < DISKS; i++)
            if (f->stores[i].in_flight_count > 0)
                fake_store_release(&f->stores[i], 0);
        loop_run(&f->loop);
        rounds++;
    }
    assert_true(rounds > 1);
    for (unsigned i = 0; i < DISKS; i++) {
        assert_true(f->stores[i].bytes_max <= VOLUME_ZERO_BYTES_MAX);
        f->stores[i].hold = false;
    }
    fixture_destroy(f);
}

/* 7.8: hosts whose volume another node has are sent elsewhere, and see no error. */
static void a_sealed_disk_says_that_another_node_serves(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].session_status = STATUS(STALE_EPOCH);
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_FENCED);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_FENCED);
    fixture_destroy(f);
}

/* A volume opens on the disks that are there, and not at all if a disk knows a newer engine. */
static void opening_fails_for_the_whole_or_not(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->stores[1].open_status = STATUS(STALE_EPOCH);
    assert_int_equal(fixture_open(f).code, STATUS_STALE_EPOCH);
    f->stores[1].open_status = STATUS(INVALID); /* F27: it has grown, says the disk. */
    assert_int_equal(fixture_open(f).code, STATUS_INVALID);
    f->stores[1].open_status = STATUS(OK);
    for (unsigned i = 0; i < DISKS; i++)
        f->disks[i].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_UNAVAILABLE);
    f->config.volume.replicas = 4;
    assert_int_equal(fixture_open(f).code, STATUS_UNSUPPORTED);
    f->config.volume.replicas = 2; /* Whose members nobody has told. */
    assert_int_equal(fixture_open(f).code, STATUS_INVALID);
    f->config.volume.replicas = 1;
    f->config.shard_count--;
    assert_int_equal(fixture_open(f).code, STATUS_INVALID);
    assert_null(f->volume);
    fixture_destroy(f);
}

static void on_deleted(void *ctx, struct status status)
{
    struct fixture *f = ctx;
    f->delete_status = status;
    f->volume = NULL;
}

/* Deleting asks every disk; a failure of one is told, and the volume is closed all the same. */
static void deleting_reaches_every_disk(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    f->stores[0].fail_next = STATUS(IO);
    volume_delete(f->volume, on_deleted, f);
    loop_run(&f->loop);
    assert_null(f->volume);
    assert_int_equal(f->delete_status.code, STATUS_IO);
    assert_int_equal(f->stores[1].deletes + f->stores[2].deletes, 2);
    fixture_destroy(f);
}

/* The namespace says what Identify needs: the sizes, and identities made of the UUID. */
static void the_namespace_describes_itself(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct nvme_ns_info info;
    memset(f->config.volume.uuid.b, 0x5a, 16);
    assert_true(status_ok(fixture_open(f)));
    volume_ns(f->volume)->ops->info(volume_ns(f->volume), &info);
    assert_int_equal(info.bytes, 16 * M);
    assert_int_equal(info.lba_bytes, 4096);
    assert_int_equal(info.optimal_io_bytes, 256 * K);
    assert_memory_equal(info.nguid, f->config.volume.uuid.b, 16);
    fixture_destroy(f);
}

/* A store of a volume of one replica keeps no list that could be full; one may say so all the same.
 */
static void a_full_list_of_one_replica_is_an_error(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].write_status = STATUS(LIST_FULL);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, 4096).code, STATUS_LIST_FULL);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_shards_read_as_zeros),
        cmocka_unit_test(concurrent_commands_are_ordered),
        cmocka_unit_test(an_empty_pool_is_back_pressure),
        cmocka_unit_test(a_waiting_command_can_be_canceled),
        cmocka_unit_test(flush_asks_disks_with_unflushed_writes),
        cmocka_unit_test(concurrent_flushes_both_wait),
        cmocka_unit_test(a_missing_disk_fails_its_shards_only),
        cmocka_unit_test(a_failed_piece_fails_its_command),
        cmocka_unit_test(a_large_deallocate_is_bounded),
        cmocka_unit_test(a_sealed_disk_says_that_another_node_serves),
        cmocka_unit_test(opening_fails_for_the_whole_or_not),
        cmocka_unit_test(deleting_reaches_every_disk),
        cmocka_unit_test(the_namespace_describes_itself),
        cmocka_unit_test(a_full_list_of_one_replica_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
