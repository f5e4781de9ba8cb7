/* SPDX-License-Identifier: Apache-2.0 */
/* A disk of the engine's own node that does not answer (docs/replication.md, 6.7). */
#include <sys/mman.h>

#include "io/buf.h"
#include "io/pages.h"
#include "resync_case.h"
#include "volume/rounds.h"

#define TICK_NS  (VOLUME_PATIENCE_NS / 10)
#define LATE     12u /* Ticks: the patience, and a little. */
#define BUFS_MAX 1024

static void pass_ticks(struct fixture *f, unsigned ticks)
{
    for (unsigned i = 0; i < ticks; i++)
        loop_pass(&f->loop, TICK_NS);
}

/* As the target does: a buffer of the reactor's pool. */
static struct span submit_buf(struct case_ *c, struct request *r, unsigned reactor,
                              enum nvme_ns_opcode opcode, uint64_t offset, uint8_t value)
{
    struct fixture *const f = c->f;
    const struct span data = buf_get(f->scratch[reactor], BLOCK);

    assert_non_null(data.at);
    memset(data.at, value, BLOCK);
    r->req = (struct nvme_ns_req) { .opcode = opcode,
                                    .offset = offset,
                                    .bytes = BLOCK,
                                    .data = data,
                                    .pool = f->scratch[reactor],
                                    .reactor = f->loop.reactors[reactor],
                                    .done = on_done };
    list_node_init(&r->req.link);
    r->busy = true;
    volume_ns(f->volume)->ops->submit(volume_ns(f->volume), &r->req);
    return data;
}

/* What others use the pool for: all of it, with other data. */
static unsigned take_all(struct buf_pool *pool, struct span bufs[BUFS_MAX])
{
    unsigned count = 0;

    while (count < BUFS_MAX && (bufs[count] = buf_get(pool, BLOCK)).at != NULL)
        memset(bufs[count++].at, 0x77, BLOCK);
    return count;
}

static void put_all(struct buf_pool *pool, const struct span *bufs, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned b = 0; b < BLOCK; b++)
            assert_int_equal(bufs[i].at[b], 0x77);
        buf_put(pool, bufs[i]);
    }
}

/* The disk answers what it has, and everything from now on. */
static void answer(struct fixture *f, unsigned disk)
{
    f->stores[disk].hold = false;
    while (f->stores[disk].in_flight_count > 0)
        fake_store_release(&f->stores[disk], 0);
    loop_run(&f->loop);
}

static void resync(struct case_ *c)
{
    for (unsigned i = 0; i < 5; i++)
        loop_pass(&c->f->loop, VOLUME_RESYNC_AGAIN_NS);
}

static unsigned usual_source(struct fixture *f)
{
    unsigned disk = 0;

    f->stores[0].reads = f->stores[1].reads = f->stores[2].reads = 0;
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
    while (f->stores[disk].reads == 0)
        disk++;
    return disk;
}

/* ---- Writes ---- */

/* A write ends within the patience, and a little; the disk is back when it has answered. */
static void who_hangs_is_excluded(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    f->stores[1].hold = true;
    const struct span data = submit_buf(c, &r, 0, NVME_NS_WRITE, 0, 0x11);
    loop_run(&f->loop);
    pass_ticks(f, 10);
    assert_true(r.busy);
    assert_int_equal(c->meta.commits, 0);
    pass_ticks(f, 1);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    assert_false(is_member(c, 1));
    buf_put(f->scratch[0], data);
    write_ok(f, 0, 0x12);
    assert_int_equal(f->stores[1].in_flight_count, 1);
    resync(c);
    assert_false(is_member(c, 1));
    assert_int_equal(f->stores[1].in_flight_count, 1); /* Nothing is sent there meanwhile. */
    fake_store_release(&f->stores[1], 0);
    assert_int_equal(byte_on(c, 1, 0), 0x11);
    answer(f, 1);
    resync(c);
    assert_true(is_in_all(c, 1));
    assert_int_equal(byte_on(c, 1, 0), 0x12);
    case_destroy(c);
}

/* 11.4: where it is needed, as another one is out, it leaves when that one has been resynced. */
static void who_hangs_and_is_needed_is_replaced(void **state)
{
    (void)state;
    struct case_ *const c = case_without(AWAY, 2);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    write_ok(f, 0, 0x11);
    f->stores[2].hold = true;
    const struct span data = submit_buf(c, &r, 0, NVME_NS_WRITE, 0, 0x12);
    loop_run(&f->loop);
    pass_ticks(f, 5 * LATE);
    assert_true(r.busy);
    assert_true(is_member(c, 2));
    bring_back(c, AWAY);
    for (unsigned i = 0; i < 10; i++) /* The others of its copysets are not to be resynced yet. */
        pass_ticks(f, LATE);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_true(is_in_all(c, AWAY));
    assert_false(is_member(c, 2));
    assert_int_equal(byte_on(c, AWAY, 0), 0x12);
    buf_put(f->scratch[0], data);
    answer(f, 2);
    resync(c);
    assert_true(is_in_all(c, 2));
    assert_int_equal(byte_on(c, 2, 0), 0x12);
    case_destroy(c);
}

/* What it wrote when nobody waited for it is flushed as well. */
static void what_comes_late_is_flushed(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    write_ok(f, 0, 0x11);
    assert_int_equal(run(f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    f->stores[1].hold = true;
    const struct span data = submit_buf(c, &r, 0, NVME_NS_WRITE, 0, 0x12);
    loop_run(&f->loop);
    pass_ticks(f, LATE);
    assert_int_equal(r.req.status.code, STATUS_OK);
    buf_put(f->scratch[0], data);
    const unsigned writes = f->stores[1].writes;
    answer(f, 1);
    resync(c);
    assert_true(is_in_all(c, 1));
    assert_int_equal(f->stores[1].writes, writes + 1); /* Nothing had to be copied. */
    assert_int_equal(run(f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    assert_false(f->stores[1].unflushed);
    case_destroy(c);
}

/* What a write that hangs is to write stays as it is, whoever wants memory. */
static void data_of_a_write_stay(void **state)
{
    (void)state;
    static struct span bufs[BUFS_MAX];
    for (unsigned reactor = 0; reactor < 2; reactor++) {
        struct case_ *const c = case_opened(2);
        struct fixture *const f = c->f;
        struct buf_pool *const pool = f->scratch[reactor];
        struct request r[2] = { 0 };
        struct span data[2];
        f->stores[1].hold = true;
        for (unsigned i = 0; i < 2; i++)
            data[i] = submit_buf(c, &r[i], reactor, NVME_NS_WRITE, i * BLOCK, 0x21);
        loop_run(&f->loop);
        pass_ticks(f, LATE);
        assert_false(r[0].busy || r[1].busy);
        const size_t used = buf_pool_used(pool);
        for (unsigned i = 0; i < 2; i++)
            buf_put(pool, data[i]);
        assert_int_equal(buf_pool_used(pool), used);
        const unsigned count = take_all(pool, bufs);
        fake_store_release(&f->stores[1], 1);
        fake_store_release(&f->stores[1], 0); /* It looks at the CRCs. */
        f->stores[1].hold = false;
        loop_run(&f->loop);
        put_all(pool, bufs, count);
        assert_int_equal(buf_pool_used(pool), used - 2 * BLOCK);
        case_destroy(c);
    }
}

/* Whatever the host sends, its disks being on this reactor or on another. */
static void all_commands_go_on(void **state)
{
    (void)state;
    static const enum nvme_ns_opcode opcodes[] = { NVME_NS_WRITE, NVME_NS_WRITE_ZEROES,
                                                   NVME_NS_DEALLOCATE, NVME_NS_FLUSH };
    for (unsigned disk = 0; disk < DISKS; disk++) {
        for (unsigned i = 0; i < ARRAY_COUNT(opcodes); i++) {
            struct case_ *const c = case_opened(2);
            struct fixture *const f = c->f;
            struct request r = { 0 };
            struct span data = { 0 };
            write_ok(f, 0, 0x31);
            f->stores[disk].hold = true;
            if (opcodes[i] == NVME_NS_WRITE)
                data = submit_buf(c, &r, disk % 2, opcodes[i], 0, 0x32);
            else
                submit(f, &r, 0, disk % 2, opcodes[i], 0, opcodes[i] == NVME_NS_FLUSH ? 0 : BLOCK);
            loop_run(&f->loop);
            assert_true(r.busy);
            pass_ticks(f, LATE);
            assert_false(r.busy);
            assert_int_equal(r.req.status.code, STATUS_OK);
            buf_put(f->scratch[disk % 2], data);
            answer(f, disk);
            resync(c);
            assert_true(is_in_all(c, disk));
            case_destroy(c);
        }
    }
}

/* Nor is anything copied of what a write had, whose place in the engine a Flush has now. */
static void a_flush_takes_no_data_along(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    uint8_t *memory;
    assert_int_equal(pages_map(BLOCK, false, &memory).code, STATUS_OK);
    r.req = (struct nvme_ns_req) { .opcode = NVME_NS_WRITE,
                                   .bytes = BLOCK,
                                   .data = { memory, BLOCK },
                                   .reactor = f->loop.reactors[0],
                                   .done = on_done };
    list_node_init(&r.req.link);
    r.busy = true;
    volume_ns(f->volume)->ops->submit(volume_ns(f->volume), &r.req);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(mprotect(memory, BLOCK, PROT_NONE), 0); /* Nobody may look at it any more. */
    f->stores[0].hold = true; /* Which the Flush asks first, as the write's only piece. */
    submit(f, &r, 0, 0, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    pass_ticks(f, LATE);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_false(is_member(c, 0));
    answer(f, 0);
    pages_unmap(memory, BLOCK);
    case_destroy(c);
}

/* A part of a block, which is read and written in memory of the engine's, and a Copy. */
static void parts_and_copies_go_on(void **state)
{
    (void)state;
    struct case_ *const c = case_create(2);
    struct fixture *const f = c->f;
    struct request r = { .req.fua = true }, copy = { 0 };
    f->config.volume.lba_bytes = 512;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    for (unsigned i = 0; i < 2; i++)
        write_ok(f, i * BLOCK, 0x31);
    const unsigned usual = usual_source(f), hung = (usual + 1) % DISKS;
    f->stores[hung].hold = true;
    fill(f, 0, BLOCK, 0x32);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 512, 512);
    copy.req = (struct nvme_ns_req) { .opcode = NVME_NS_COPY,
                                      .source = BLOCK,
                                      .offset = 4 * BLOCK,
                                      .bytes = BLOCK + 512,
                                      .reactor = f->loop.reactors[1],
                                      .done = on_done };
    list_node_init(&copy.req.link);
    copy.busy = true;
    volume_ns(f->volume)->ops->submit(volume_ns(f->volume), &copy.req);
    loop_run(&f->loop);
    assert_true(r.busy && copy.busy);
    pass_ticks(f, 2 * LATE);
    assert_false(r.busy || copy.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_int_equal(copy.req.status.code, STATUS_OK);
    answer(f, hung);
    resync(c);
    assert_true(is_in_all(c, hung));
    assert_equal_to_first(c, 1);
    assert_equal_to_first(c, 2);
    case_destroy(c);
}

/* 6.1: only time in which the reactor ran counts. */
static void a_pause_excludes_nobody(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    f->stores[1].hold = true;
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    pass_ticks(f, 5);
    loop_pass(&f->loop, 20 * VOLUME_PATIENCE_NS);
    assert_true(r.busy);
    answer(f, 1);
    assert_false(r.busy);
    pass_ticks(f, LATE);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* Commands that follow one another, none of them late, are no reason. */
static void who_is_busy_is_not_late(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct request r[30] = { 0 };
    f->stores[1].hold = true;
    for (unsigned i = 0; i < ARRAY_COUNT(r); i++) {
        submit(f, &r[i], i, i % 2, NVME_NS_WRITE, i * BLOCK, BLOCK);
        loop_run(&f->loop);
        pass_ticks(f, 1);
        if (i >= 3)
            fake_store_release(&f->stores[1], 0);
        loop_run(&f->loop);
    }
    answer(f, 1);
    pass_ticks(f, LATE);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* Where too few would remain, all wait, and go on when it answers. */
static void where_it_is_needed_all_wait(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(3);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    f->stores[1].hold = true;
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    pass_ticks(f, 5 * LATE);
    assert_true(r.busy);
    assert_int_equal(c->meta.commits, 0);
    assert_int_equal(f->stores[1].hand_overs, 0);
    answer(f, 1);
    assert_int_equal(r.req.status.code, STATUS_OK);
    pass_ticks(f, 5 * LATE);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* A volume of one replica has nobody else: its host waits. */
static void alone_it_is_waited_for(void **state)
{
    (void)state;
    struct fixture *const f = fixture_opened();
    struct request r = { 0 };
    f->stores[0].hold = true;
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    pass_ticks(f, 5 * LATE);
    assert_true(r.busy);
    answer(f, 0);
    assert_int_equal(r.req.status.code, STATUS_OK);
    fixture_destroy(f);
}

/* ---- Reads ---- */

/* The host repeats it, and what comes late is nobody's. */
static void a_read_that_hangs_is_repeated(void **state)
{
    (void)state;
    static struct span bufs[BUFS_MAX];
    for (unsigned reactor = 0; reactor < 2; reactor++) {
        struct case_ *const c = case_opened(2);
        struct fixture *const f = c->f;
        struct buf_pool *const pool = f->scratch[reactor];
        struct request r[2] = { 0 };
        write_ok(f, 0, 0x44);
        const unsigned usual = usual_source(f);
        f->stores[usual].hold = true;
        const struct span data = submit_buf(c, &r[0], reactor, NVME_NS_READ, 0, 0);
        loop_run(&f->loop);
        pass_ticks(f, LATE);
        assert_false(r[0].busy);
        assert_int_equal(r[0].req.status.code, STATUS_TIMED_OUT);
        assert_int_equal(status_nvme(r[0].req.status), 0x300);
        assert_true(status_retryable(r[0].req.status));
        assert_false(is_member(c, usual));
        buf_put(pool, data);
        const struct span again = submit_buf(c, &r[1], reactor, NVME_NS_READ, 0, 0);
        assert_ptr_not_equal(again.at, data.at);
        loop_run(&f->loop);
        assert_int_equal(r[1].req.status.code, STATUS_OK);
        assert_int_equal(again.at[0], 0x44);
        buf_put(pool, again);
        const unsigned count = take_all(pool, bufs);
        answer(f, usual);
        put_all(pool, bufs, count);
        resync(c);
        assert_true(is_in_all(c, usual));
        make_bad(c, usual, 0); /* Of later reads others are asked, as before. */
        assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
        case_destroy(c);
    }
}

/* Others are read before it is excluded, once it is known to hang. */
static void who_hangs_is_read_last(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    write_ok(f, 0, 0x44);
    const unsigned usual = usual_source(f);
    f->stores[usual].hold = true;
    submit(f, &r, 1, 0, NVME_NS_WRITE, BLOCK, BLOCK);
    loop_run(&f->loop);
    pass_ticks(f, 7);
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 0);
    answer(f, usual);
    assert_int_equal(usual_source(f), usual);
    case_destroy(c);
}

/* ---- What the engine itself asks and tells ---- */

/* A round whose Flush hangs ends, and the next one closes what is equal. */
static void a_round_goes_on(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    write_ok(f, 0, 0x11);
    f->stores[2].hold = true;
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(f->stores[2].in_flight_count, 1);
    pass_ticks(f, LATE);
    assert_false(is_member(c, 2));
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(f->stores[0].closes, 1);
    assert_int_equal(f->stores[0].listed[0][0], slot_bit(2, 0));
    answer(f, 2);
    resync(c);
    assert_true(is_in_all(c, 2));
    case_destroy(c);
}

/* 6.5: who does not keep its set in time goes as well. */
static void who_hangs_with_its_set_goes_too(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(1);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    c->meta.hold = true;
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    f->stores[2].hold = true; /* Its SET. */
    meta_release(&c->meta);
    loop_run(&f->loop);
    c->meta.hold = false;
    pass_ticks(f, LATE);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_int_equal(c->meta.commits, 2);
    assert_false(is_member(c, 1) || is_member(c, 2));
    answer(f, 2);
    case_destroy(c);
}

/* If it is needed, commands to it wait behind its set, and go on when that is kept. */
static void who_is_needed_gets_its_set_when_it_answers(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct request r[2] = { 0 };
    c->meta.hold = true;
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &r[0], 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    f->stores[2].hold = true;
    meta_release(&c->meta);
    loop_run(&f->loop);
    pass_ticks(f, LATE);
    assert_int_equal(f->stores[2].hand_overs, 1);
    submit(f, &r[1], 1, 1, NVME_NS_WRITE, 4 * M, BLOCK);
    loop_run(&f->loop);
    pass_ticks(f, LATE);
    assert_true(r[0].busy && r[1].busy);
    assert_int_equal(f->stores[2].in_flight_count, 1);
    assert_int_equal(c->meta.commits, 1);
    answer(f, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_false(r[i].busy);
        assert_int_equal(r[i].req.status.code, STATUS_OK);
    }
    assert_true(is_member(c, 2));
    assert_int_equal(f->stores[2].last_set.sequence, c->meta.record.sequence);
    pass_ticks(f, LATE);
    assert_int_equal(c->meta.commits, 1);
    case_destroy(c);
}

/* 6.1: it does not count among those who would remain, before it is late itself; and when it has
 * answered, what was put off is decided. */
static void who_hangs_is_not_alive(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct request r[2] = { 0 };
    f->stores[0].hold = true;
    submit(f, &r[0], 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    pass_ticks(f, 7);
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &r[1], 1, 1, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_int_equal(c->meta.commits, 0);
    pass_ticks(f, 2);
    assert_true(r[0].busy && r[1].busy);
    assert_int_equal(c->meta.commits, 0);
    answer(f, 0);
    assert_false(r[0].busy || r[1].busy);
    assert_int_equal(c->meta.commits, 1);
    assert_true(is_member(c, 0));
    assert_false(is_member(c, 1));
    case_destroy(c);
}

/* One that hangs while it is resynced is given up, and begun again when it has answered. */
static void a_resync_goes_on(void **state)
{
    (void)state;
    struct case_ *const c = case_copying();
    struct fixture *const f = c->f;
    struct request r = { 0 };
    submit(f, &r, 1, 0, NVME_NS_WRITE, 2 * BLOCK, BLOCK);
    loop_run(&f->loop);
    pass_ticks(f, LATE);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    write_ok(f, 0, 0x51);
    resync(c);
    assert_false(is_member(c, AWAY));
    answer(f, AWAY);
    resync(c);
    resync(c);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

static void on_grown(void *ctx, struct status status)
{
    *(struct status *)ctx = status;
}

/* A growth that a disk does not hear of in time fails. */
static void a_growth_does_not_wait(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct status grown = STATUS(BUSY);
    f->stores[1].hold_describe = true;
    f->config.volume.bytes = SHARDS_MAX * SHARD_BYTES;
    f->config.volume.first_run_shards = SHARDS;
    f->config.shard_count = (uint32_t)store_volume_shards(&f->config.volume);
    assert_int_equal(volume_grow(f->volume, &f->config, on_grown, &grown).code, STATUS_OK);
    loop_run(&f->loop);
    pass_ticks(f, 9);
    assert_int_equal(grown.code, STATUS_BUSY);
    pass_ticks(f, LATE - 9);
    assert_int_equal(grown.code, STATUS_TIMED_OUT);
    grown = STATUS(BUSY);
    assert_int_equal(volume_grow(f->volume, &f->config, on_grown, &grown).code, STATUS_OK);
    loop_run(&f->loop);
    fake_store_described(&f->stores[1]);
    loop_run(&f->loop);
    assert_int_equal(grown.code, STATUS_OK);
    case_destroy(c);
}

/* One that is out, and hangs, is told of it all the same, and hears of it when it answers. */
static void who_is_out_and_hangs_is_told_of_a_growth(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct status grown = STATUS(BUSY);
    struct request r = { 0 };
    f->stores[1].hold = true;
    const struct span data = submit_buf(c, &r, 0, NVME_NS_WRITE, 0, 0x11);
    loop_run(&f->loop);
    pass_ticks(f, LATE);
    assert_false(is_member(c, 1));
    buf_put(f->scratch[0], data);
    f->stores[1].hold_describe = true;
    f->config.volume.bytes = SHARDS_MAX * SHARD_BYTES;
    f->config.volume.first_run_shards = SHARDS;
    f->config.shard_count = (uint32_t)store_volume_shards(&f->config.volume);
    assert_int_equal(volume_grow(f->volume, &f->config, on_grown, &grown).code, STATUS_OK);
    pass_ticks(f, LATE);
    assert_int_equal(grown.code, STATUS_OK);
    assert_int_equal(f->stores[1].describes, 1);
    fake_store_described(&f->stores[1]);
    answer(f, 1);
    resync(c);
    assert_true(is_in_all(c, 1));
    case_destroy(c);
}

/* ---- The end ---- */

/* A volume is fenced, and then closed, while a disk hangs: before it was let go of, and after. */
static void a_close_does_not_wait(void **state)
{
    (void)state;
    for (unsigned late = 0; late < 2; late++) {
        struct case_ *const c = case_opened(2);
        struct fixture *const f = c->f;
        struct request r = { 0 };
        f->stores[1].hold = true;
        f->stores[1].may_close_busy = true;
        const struct span data = submit_buf(c, &r, 1, NVME_NS_WRITE, 0, 0x11);
        loop_run(&f->loop);
        pass_ticks(f, late == 0 ? 3 : LATE);
        volume_fence(f->volume);
        pass_ticks(f, late == 0 ? LATE - 3 : 0);
        assert_false(r.busy);
        assert_int_equal(r.req.status.code, late == 0 ? STATUS_FENCED : STATUS_OK);
        fixture_close(f);
        assert_int_equal(f->stores[1].in_flight_count, 1);
        buf_put(f->scratch[1], data);
        answer(f, 1);
        case_destroy(c);
    }
}

/* Nor for memory of its own that the disk has of it. */
static void a_close_leaves_what_the_disk_has(void **state)
{
    (void)state;
    static struct span bufs[BUFS_MAX];
    struct case_ *const c = case_create(2);
    struct fixture *const f = c->f;
    struct request r = { 0 };
    f->config.volume.lba_bytes = 512;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    write_ok(f, 0, 0x31);
    const unsigned count = take_all(f->scratch[0], bufs);
    f->stores[1].may_close_busy = true;
    f->stores[1].hold = true;
    submit(f, &r, 0, 0, NVME_NS_WRITE, 512, 512);
    loop_run(&f->loop);
    pass_ticks(f, LATE);
    assert_false(r.busy);
    fixture_close(f);
    answer(f, 1); /* It looks at the CRC. */
    put_all(f->scratch[0], bufs, count);
    case_destroy(c);
}

/* Nor for a description. */
static void a_close_does_not_wait_for_a_description(void **state)
{
    (void)state;
    struct case_ *const c = case_opened(2);
    struct fixture *const f = c->f;
    struct status grown = STATUS(BUSY);
    f->stores[1].hold_describe = true;
    f->config.volume.bytes = SHARDS_MAX * SHARD_BYTES;
    f->config.volume.first_run_shards = SHARDS;
    f->config.shard_count = (uint32_t)store_volume_shards(&f->config.volume);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(volume_grow(f->volume, &f->config, on_grown, &grown).code, STATUS_OK);
        pass_ticks(f, LATE);
        assert_int_equal(grown.code, STATUS_TIMED_OUT);
    }
    fixture_close(f);
    assert_true(f->stores[1].session_open);
    fake_store_described(&f->stores[1]);
    loop_run(&f->loop);
    assert_false(f->stores[1].session_open);
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_hangs_is_excluded),
        cmocka_unit_test(who_hangs_and_is_needed_is_replaced),
        cmocka_unit_test(what_comes_late_is_flushed),
        cmocka_unit_test(data_of_a_write_stay),
        cmocka_unit_test(all_commands_go_on),
        cmocka_unit_test(a_flush_takes_no_data_along),
        cmocka_unit_test(parts_and_copies_go_on),
        cmocka_unit_test(a_pause_excludes_nobody),
        cmocka_unit_test(who_is_busy_is_not_late),
        cmocka_unit_test(where_it_is_needed_all_wait),
        cmocka_unit_test(alone_it_is_waited_for),
        cmocka_unit_test(a_read_that_hangs_is_repeated),
        cmocka_unit_test(who_hangs_is_read_last),
        cmocka_unit_test(a_round_goes_on),
        cmocka_unit_test(who_hangs_with_its_set_goes_too),
        cmocka_unit_test(who_is_needed_gets_its_set_when_it_answers),
        cmocka_unit_test(who_hangs_is_not_alive),
        cmocka_unit_test(a_resync_goes_on),
        cmocka_unit_test(a_growth_does_not_wait),
        cmocka_unit_test(who_is_out_and_hangs_is_told_of_a_growth),
        cmocka_unit_test(a_close_does_not_wait),
        cmocka_unit_test(a_close_leaves_what_the_disk_has),
        cmocka_unit_test(a_close_does_not_wait_for_a_description),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
