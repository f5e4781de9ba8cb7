/* SPDX-License-Identifier: Apache-2.0 */
/* Copy: what comes out, in which order it meets others, and that nobody waits for himself. */
#include <stdlib.h>

#include "base/rng.h"
#include "fixture.h"

#define SLOTS 48

static void start_copy(struct fixture *f, struct request *r, unsigned reactor, uint64_t source,
                       uint64_t at, uint64_t bytes)
{
    struct nvme_ns *ns = volume_ns(f->volume);

    r->req = (struct nvme_ns_req) { .opcode = NVME_NS_COPY,
                                    .fua = r->req.fua,
                                    .source = source,
                                    .offset = at,
                                    .bytes = bytes,
                                    .reactor = f->loop.reactors[reactor],
                                    .done = on_done };
    r->busy = true;
    ns->ops->submit(ns, &r->req);
    assert_true(r->busy); /* Never before it returns. */
}

static struct status copy(struct fixture *f, unsigned reactor, uint64_t source, uint64_t at,
                          uint64_t bytes)
{
    struct request r = { 0 };
    start_copy(f, &r, reactor, source, at, bytes);
    loop_run(&f->loop);
    assert_false(r.busy);
    return r.req.status;
}

static void fill_volume(struct fixture *f, struct rng *rng)
{
    for (uint64_t at = 0; at < 8 * M; at += 512 * K) {
        rng_fill(rng, (struct span) { f->memory, 512 * K });
        memcpy(f->expected + at, f->memory, 512 * K);
        assert_true(status_ok(run(f, NVME_NS_WRITE, false, at, 512 * K)));
    }
}

static void assert_volume_is_expected(struct fixture *f)
{
    for (uint64_t at = 0; at < SHARDS * SHARD_BYTES; at += 512 * K) {
        assert_true(status_ok(run(f, NVME_NS_READ, false, at, 512 * K)));
        assert_memory_equal(f->memory, f->expected + at, 512 * K);
    }
}

/*
 * A Copy moves exactly its bytes, as if through memory: between shards, within one, over units,
 * from parts of blocks to other parts, onto itself in either direction, from blocks that were
 * never written.
 */
static void a_copy_is_a_memmove(void **state)
{
    struct fixture *f = fixture_create();
    const uint64_t sector = *(const uint64_t *)*state;
    struct rng rng;
    rng_init(&rng, 11);
    f->config.volume.lba_bytes = (uint32_t)sector;
    assert_true(status_ok(fixture_open(f)));
    fill_volume(f, &rng);
    for (int step = 0; step < 1500; step++) {
        const uint64_t most = step % 3 == 0 ? M / sector : 5 * BLOCK / sector;
        const uint64_t bytes = (1 + rng_below(&rng, most)) * sector;
        const uint64_t all = SHARDS * SHARD_BYTES - bytes;
        const uint64_t source = rng_below(&rng, all / sector + 1) * sector;
        uint64_t at = rng_below(&rng, all / sector + 1) * sector;
        if (step % 4 == 0) /* Near by, so that they overlap. */
            at = min_u64(source + rng_below(&rng, 2 * bytes / sector) * sector, all);
        if (step % 4 == 1 && source >= 40 * sector)
            at = min_u64(source - rng_below(&rng, 40) * sector, all);
        assert_true(status_ok(copy(f, (unsigned)step % 2, source, at, bytes)));
        memmove(f->expected + at, f->expected + source, bytes);
    }
    assert_volume_is_expected(f);
    fixture_destroy(f);
}

/* R8: a Copy waits for a write at its source and for one at its destination; both wait for it. */
static void a_copy_takes_both_places(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    struct request write = { 0 }, c = { 0 }, late = { 0 }, look = { 0 };
    memset(f->memory, 0x22, BLOCK);
    memset(f->memory + BUF_BYTES_MAX, 0x33, BLOCK);
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    submit(f, &write, 0, 0, NVME_NS_WRITE, 0, BLOCK); /* Shard 0, disk 0. */
    start_copy(f, &c, 1, 0, 256 * K, BLOCK);          /* To shard 1, disk 1. */
    loop_run(&f->loop);
    submit(f, &late, 1, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].in_flight_count, 1); /* The write alone. */
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_false(write.busy);
    submit(f, &look, 2, 0, NVME_NS_READ, 256 * K, BLOCK);
    loop_run(&f->loop);
    assert_int_equal(f->stores[1].in_flight_count, 0); /* It waits for the Copy. */
    assert_int_equal(f->stores[0].reads, 0);
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].reads, 1);
    assert_true(late.busy); /* The source keeps its place until the destination is written. */
    assert_int_equal(f->stores[0].in_flight_count, 0);
    while (f->stores[1].in_flight_count > 0) {
        fake_store_release(&f->stores[1], 0);
        loop_run(&f->loop);
    }
    assert_false(c.busy || look.busy);
    assert_int_equal(f->memory[2 * BUF_BYTES_MAX], 0x22);
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = false;
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_false(late.busy);
    fixture_destroy(f);
}

/* Nobody waits for himself or in a circle: Copies back and forth over all shards, and others. */
static void all_of_a_crowd_end(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct request *requests = calloc(SLOTS, sizeof *requests);
    struct rng rng;
    rng_init(&rng, 12);
    f->config.volume.lba_bytes = 512;
    assert_true(status_ok(fixture_open(f)));
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    for (int step = 0; step < 40000; step++) {
        const unsigned slot = (unsigned)rng_below(&rng, SLOTS);
        struct store *s = &f->stores[rng_below(&rng, DISKS)];
        if (!requests[slot].busy && step < 30000) {
            /* Few places, so that many meet; some in one lane, some around the end of one. */
            const uint64_t a = rng_below(&rng, 8) * 256 * K + rng_below(&rng, 24) * 512;
            const uint64_t b = rng_below(&rng, 8) * 256 * K + rng_below(&rng, 24) * 512;
            const uint64_t bytes = (1 + rng_below(&rng, 40)) * 512;
            if (rng_one_in(&rng, 2))
                start_copy(f, &requests[slot], slot % 2, a, b, bytes);
            else
                submit(f, &requests[slot], slot, slot % 2, (enum nvme_ns_opcode)rng_below(&rng, 5),
                       a, bytes);
        }
        loop_run(&f->loop);
        if (s->in_flight_count > 0)
            fake_store_release(s, (unsigned)rng_below(&rng, s->in_flight_count));
    }
    for (unsigned i = 0; i < DISKS; i++) {
        f->stores[i].hold = false;
        reactor_defer(f->stores[i].reactor, &f->stores[i].task);
    }
    loop_run(&f->loop);
    for (unsigned i = 0; i < SLOTS; i++)
        assert_false(requests[i].busy);
    free(requests);
    fixture_destroy(f);
}

/* More Copies than may be under way wait, and all end, also where they fail at once. */
static void many_copies_wait_in_turn(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct request *requests = calloc(200, sizeof *requests);
    f->disks[1].store = NULL;
    assert_true(status_ok(fixture_open(f)));
    f->stores[0].hold = true;
    f->stores[2].hold = true;
    for (unsigned i = 0; i < 100; i++)
        start_copy(f, &requests[i], 0, i % 32 * BLOCK, 512 * K + i % 32 * BLOCK, BLOCK);
    for (unsigned i = 100; i < 200; i++)
        start_copy(f, &requests[i], 0, 0, 256 * K, BLOCK); /* To the disk that is missing. */
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].in_flight_count, VOLUME_COPIES_MAX);
    f->stores[0].hold = false;
    f->stores[2].hold = false;
    reactor_defer(f->stores[0].reactor, &f->stores[0].task);
    loop_run(&f->loop);
    for (unsigned i = 0; i < 200; i++) {
        assert_false(requests[i].busy);
        assert_int_equal(requests[i].req.status.code, i < 100 ? STATUS_OK : STATUS_UNAVAILABLE);
    }
    free(requests);
    fixture_destroy(f);
}

/* A source that cannot be read changes nothing; a destination that is full is the Copy's error. */
static void a_copy_tells_what_failed(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    memset(f->memory, 0x55, BLOCK);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 256 * K, BLOCK)));
    const unsigned writes = f->stores[1].writes;
    f->stores[0].fail_next = STATUS(MEDIA_READ);
    assert_int_equal(copy(f, 0, 0, 256 * K, BLOCK).code, STATUS_MEDIA_READ);
    assert_int_equal(f->stores[1].writes, writes);
    f->stores[1].fail_next = STATUS(NO_SPACE);
    assert_int_equal(copy(f, 0, 0, 256 * K, BLOCK).code, STATUS_NO_SPACE);
    assert_true(status_ok(run(f, NVME_NS_COMPARE, false, 256 * K, BLOCK)));
    assert_true(status_ok(copy(f, 0, 0, 256 * K, BLOCK)));
    fixture_destroy(f);
}

int main(void)
{
    static uint64_t lba_4096 = 4096, lba_512 = 512;
    const struct CMUnitTest tests[] = {
        { "a_copy_is_a_memmove", a_copy_is_a_memmove, NULL, NULL, &lba_4096 },
        { "a_copy_is_a_memmove, LBAs of 512", a_copy_is_a_memmove, NULL, NULL, &lba_512 },
        cmocka_unit_test(a_copy_takes_both_places),
        cmocka_unit_test(all_of_a_crowd_end),
        cmocka_unit_test(many_copies_wait_in_turn),
        cmocka_unit_test(a_copy_tells_what_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
