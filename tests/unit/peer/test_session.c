/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions at stores of other nodes, and their commands (docs/replication.md, sections 2 and 4). */
#include "peer_world.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "nvme/cmd_spec.h"
#include "peer/limits.h"
#include "peer/session.h"

#define SOON_NS (50 * NS_PER_MS)
#define BLOCK   STORE_BLOCK_BYTES
#define BIG     ((size_t)WIRE_BLOCKS_MAX * BLOCK)

/* A session with a lane on each reactor, and what it has told. */
struct engine {
    struct peer_world *w;
    struct peer_session session;
    struct peer_lane lanes[PW_ENGINE_REACTORS];
    struct peer_opened opened;
    bool told; /* opened() was called. */
    unsigned opens, losses;
    bool closed;
    uint8_t *memory, *back;
};

struct order {
    struct store_io store;
    struct peer_io io;
    bool done;
};

static const struct store_volume volume = { .uuid = { { 0x70 } },
                                            .name = "db1",
                                            .bytes = 16 << 20,
                                            .shard_bytes = 2 << 20,
                                            .lba_bytes = 4096,
                                            .stripe_unit_bytes = 256 << 10,
                                            .stripe_width = 3,
                                            .replicas = 2,
                                            .min_in_sync = 1 };

static void on_opened(struct peer_session *s, const struct peer_opened *opened)
{
    struct engine *const e = CONTAINER_OF(s, struct engine, session);

    assert_false(e->told);
    e->opened = *opened;
    e->told = true;
    e->opens++;
}

static void on_lost(struct peer_session *s, struct status why)
{
    struct engine *const e = CONTAINER_OF(s, struct engine, session);

    assert_int_equal(why.code, STATUS_LOST);
    e->losses++;
}

static const struct peer_session_ops ops = { on_opened, on_lost };

static void open_again(struct engine *e)
{
    e->told = false;
    peer_session_open(&e->session, &volume, 17, false);
    assert_false(e->told); /* Never before it returns. */
}

static void attach(struct engine *e)
{
    pw_wait(e->w, &e->told);
    assert_int_equal(e->opened.status.code, STATUS_OK);
    const struct peer_ticket ticket = peer_session_ticket(&e->session);
    for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++)
        peer_lane_attach(&e->lanes[i], &ticket);
}

static struct fake_peer *peer_of(const struct engine *e)
{
    return e->w->stores[0].peer;
}

static struct engine *engine_create(unsigned reactors, uint64_t epoch)
{
    struct engine *const e = calloc(1, sizeof *e);

    e->w = peer_world_start(1, reactors, epoch);
    struct link *const link = pw_link(e->w, 0);
    peer_session_init(&e->session,
                      &(struct peer_session_config) {
                          .ops = &ops, .link = link, .disk = { { 0xd1 } }, .epoch = epoch });
    for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++)
        peer_lane_init(&e->lanes[i], link, i);
    e->memory = aligned_alloc(BLOCK, BIG);
    e->back = aligned_alloc(BLOCK, BIG);
    return e;
}

static struct engine *engine_opened(void)
{
    struct engine *const e = engine_create(3, 5);

    open_again(e);
    attach(e);
    return e;
}

static void on_closed(struct peer_session *s)
{
    CONTAINER_OF(s, struct engine, session)->closed = true;
}

static void engine_close(struct engine *e)
{
    for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++)
        peer_lane_detach(&e->lanes[i]);
    peer_session_close(&e->session, on_closed);
    assert_false(e->closed);
    pw_wait(e->w, &e->closed);
}

static void engine_destroy(struct engine *e)
{
    if (!e->closed)
        engine_close(e);
    peer_world_stop(e->w);
    free(e->memory);
    free(e->back);
    free(e);
}

static void on_done(struct peer_io *io)
{
    CONTAINER_OF(io, struct order, io)->done = true;
}

static void submit(struct engine *e, struct order *o, unsigned reactor)
{
    o->done = false;
    o->io.store = &o->store;
    o->io.done = on_done;
    peer_submit(&e->lanes[reactor], &o->io);
    assert_false(o->done); /* Never before it returns. */
}

static struct status run(struct engine *e, struct order *o, unsigned reactor)
{
    submit(e, o, reactor);
    pw_wait(e->w, &o->done);
    assert_int_equal(o->io.status.code, o->store.status.code);
    return o->io.status;
}

static struct order order_of(struct engine *e, enum store_opcode opcode, uint32_t blocks)
{
    const uint64_t bytes = (uint64_t)blocks * BLOCK;
    uint8_t *const at = opcode == STORE_OP_READ ? e->back : e->memory;

    return (struct order) { .store = { .opcode = opcode,
                                       .shard = 3,
                                       .generation = 1,
                                       .offset = 2 * BLOCK,
                                       .bytes = bytes,
                                       .data = { at, bytes } } };
}

/* Writes blocks and reads them back, from one reactor. */
static void there_and_back(struct engine *e, unsigned reactor, uint32_t blocks)
{
    uint32_t crcs[WIRE_BLOCKS_MAX], back_crcs[WIRE_BLOCKS_MAX];
    struct order write = order_of(e, STORE_OP_WRITE, blocks);
    struct order read = order_of(e, STORE_OP_READ, blocks);

    for (size_t i = 0; i < (size_t)blocks * BLOCK; i++)
        e->memory[i] = (uint8_t)(i * (blocks + 3) >> 4);
    for (uint32_t i = 0; i < blocks; i++)
        crcs[i] = crc32c(e->memory + (size_t)i * BLOCK, BLOCK);
    write.store.create = true;
    write.store.crcs = crcs;
    read.store.crcs = back_crcs;
    assert_int_equal(run(e, &write, reactor).code, STATUS_OK);
    assert_int_equal(run(e, &read, reactor).code, STATUS_OK);
    assert_memory_equal(e->back, e->memory, (size_t)blocks * BLOCK);
    assert_memory_equal(back_crcs, crcs, blocks * sizeof *crcs);
}

/* ---- Opening ---- */

static void opening_brings_what_the_store_says(void **state)
{
    (void)state;
    struct engine *const e = engine_create(3, 5);

    peer_of(e)->reactor = 2;
    peer_of(e)->loss = true;
    open_again(e);
    attach(e);
    assert_int_equal(e->opened.incarnation, 0x500000001);
    assert_int_equal(e->opened.generation, 1);
    assert_int_equal(e->opened.reactor, 2);
    assert_true(e->opened.unflushed_loss);
    assert_false(e->opened.list_cut);
    assert_int_equal(peer_of(e)->epoch, 5);
    assert_int_equal(peer_of(e)->number, 1);
    assert_int_equal(peer_of(e)->tick, 17);
    assert_string_equal(peer_of(e)->volume.name, "db1");
    engine_close(e);
    assert_int_equal(peer_of(e)->count[WIRE_RELEASE], 1); /* 8.5 */
    engine_destroy(e);
}

static void an_older_epoch_is_refused(void **state)
{
    (void)state;
    struct engine *const e = engine_create(1, 5);

    peer_of(e)->epoch = 6;
    open_again(e);
    pw_wait(e->w, &e->told);
    assert_int_equal(e->opened.status.code, STATUS_STALE_EPOCH);
    peer_of(e)->epoch = 4; /* And may be opened again. */
    open_again(e);
    attach(e);
    assert_int_equal(peer_of(e)->number, 2);
    engine_destroy(e);
}

/* Whatever the session waits for, it can be closed. */
static void a_session_may_be_closed_at_any_moment(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 60; turn++) {
        struct engine *const e = engine_create(2, turn + 1);

        open_again(e);
        pw_run(e->w, turn * UINT64_C(40000));
        engine_destroy(e);
    }
}

/* Also where the disk hangs, so that the command under way has no answer. */
static void closing_does_not_wait_for_who_hangs(void **state)
{
    static const uint8_t hung[] = { WIRE_OPEN, WIRE_STATE, WIRE_RELEASE };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(hung); i++) {
        struct engine *const e = engine_create(2, 5);

        peer_of(e)->hold = true;
        peer_of(e)->hold_opcode = hung[i];
        open_again(e);
        if (hung[i] == WIRE_RELEASE)
            attach(e);
        pw_run(e->w, SOON_NS);
        for (unsigned n = 0; n < PW_ENGINE_REACTORS; n++)
            peer_lane_detach(&e->lanes[n]);
        peer_session_close(&e->session, on_closed);
        pw_run(e->w, 2 * SESSION_CLOSE_NS);
        assert_true(e->closed);
        fake_peer_release(peer_of(e));
        engine_destroy(e);
    }
}

/* Nor for an answer that is none. */
static void closing_does_not_mind_a_bad_answer(void **state)
{
    (void)state;
    struct engine *const e = engine_create(2, 5);

    peer_of(e)->hold = true;
    peer_of(e)->handle = UINT32_MAX - 1; /* The next one is nobody's. */
    open_again(e);
    pw_run(e->w, SOON_NS);
    peer_session_close(&e->session, on_closed);
    fake_peer_release(peer_of(e));
    pw_run(e->w, SOON_NS);
    assert_true(e->closed);
    engine_destroy(e);
}

/* ---- Commands ---- */

/* 2.1: from each reactor straight to that of the disk. */
static void commands_go_to_the_disks_reactor(void **state)
{
    (void)state;
    for (uint16_t there = 0; there < 3; there++) {
        struct engine *const e = engine_create(3, 5);
        peer_of(e)->reactor = there;
        open_again(e);
        attach(e);
        for (unsigned here = 0; here < PW_ENGINE_REACTORS; here++) {
            there_and_back(e, here, 1);
            assert_ptr_equal(peer_of(e)->last_reactor, e->w->stores[0].reactors[there]);
        }
        engine_destroy(e);
    }
}

static void blocks_travel_with_their_crcs(void **state)
{
    static const uint32_t counts[] = { 1, 2, 32, 126, 127 };

    (void)state;
    struct engine *const e = engine_opened();
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
        there_and_back(e, i % 2, counts[i]);
    engine_destroy(e);
}

/* All fields of all commands arrive. */
static void fields_arrive(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    struct order o = order_of(e, STORE_OP_WRITE_ZEROES, 300);
    const struct wire_command *const last = &peer_of(e)->last;

    there_and_back(e, 0, 1);
    o.store.generation = 9;
    o.store.tick = 33;
    o.store.fua = true;
    assert_int_equal(run(e, &o, 0).code, STATUS_OK);
    assert_int_equal(last->opcode, WIRE_ZERO);
    assert_int_equal(last->shard, 3);
    assert_int_equal(last->first, 2);
    assert_int_equal(last->blocks, 300);
    assert_int_equal(last->argument, 9);
    assert_int_equal(last->tick, 33);
    assert_int_equal(last->flags, WIRE_FUA);
    o.store.opcode = STORE_OP_DEALLOCATE;
    o.store.fua = false;
    assert_int_equal(run(e, &o, 1).code, STATUS_OK);
    assert_int_equal(last->flags, WIRE_DEALLOCATE);
    o = order_of(e, STORE_OP_SPOIL, 7);
    o.store.tick = 34;
    assert_int_equal(run(e, &o, 1).code, STATUS_OK);
    assert_int_equal(last->opcode, WIRE_SPOIL);
    assert_int_equal(last->blocks, 7);
    assert_int_equal(last->tick, 34);
    o = order_of(e, STORE_OP_FLUSH, 0);
    o.store.incarnation = 0x500000001;
    assert_int_equal(run(e, &o, 1).code, STATUS_OK);
    assert_int_equal(last->argument, 0x500000001);
    o = order_of(e, STORE_OP_DELETE_VOLUME, 0);
    assert_int_equal(run(e, &o, 1).code, STATUS_OK);
    assert_int_equal(last->opcode, WIRE_DELETE);
    engine_destroy(e);
}

/* W2: a disk that does not answer takes neither places nor memory from the others of its node. */
static void a_disk_that_hangs_leaves_room_for_others(void **state)
{
    static const struct {
        enum store_opcode opcode;
        uint32_t blocks;
        uint32_t held;
    } cases[] = { { STORE_OP_READ, 1, LINK_DISK_COMMANDS },
                  { STORE_OP_READ, WIRE_BLOCKS_MAX, 4 },
                  { STORE_OP_WRITE, WIRE_BLOCKS_MAX, 4 } };
    static uint32_t crcs[WIRE_BLOCKS_MAX];
    enum { COUNT = 2 * LINK_QUEUE_ENTRIES };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct engine *const e = engine_opened();
        struct order *const hung = calloc(COUNT, sizeof *hung);
        struct order other = order_of(e, cases[i].opcode, WIRE_BLOCKS_MAX);
        struct peer_lane *const lane = &e->lanes[0];

        there_and_back(e, 0, WIRE_BLOCKS_MAX);
        for (uint32_t n = 0; n < WIRE_BLOCKS_MAX; n++)
            crcs[n] = crc32c(e->memory + (size_t)n * BLOCK, BLOCK);
        peer_of(e)->hold = true;
        for (unsigned n = 0; n < COUNT; n++) {
            hung[n] = order_of(e, cases[i].opcode, cases[i].blocks);
            hung[n].store.crcs = crcs;
            submit(e, &hung[n], 0);
        }
        pw_run(e->w, SOON_NS);
        assert_int_equal(peer_of(e)->held_count, cases[i].held);
        peer_of(e)->hold = false;
        lane->budget++; /* Another disk's. */
        other.store.crcs = crcs;
        assert_int_equal(run(e, &other, 0).code, STATUS_OK);
        lane->budget--;
        fake_peer_release(peer_of(e));
        for (unsigned n = 0; n < COUNT; n++)
            pw_wait(e->w, &hung[n].done);
        free(hung);
        engine_destroy(e);
    }
}

/* ---- Many of them ---- */

/* So many sessions of one disk, beside the engine's. */
static struct engine *crowd_create(const struct engine *e, unsigned count)
{
    struct engine *const crowd = calloc(count, sizeof *crowd);
    struct link *const link = e->session.config.link;

    for (unsigned i = 0; i < count; i++) {
        crowd[i].w = e->w;
        link_ref(link);
        peer_session_init(
            &crowd[i].session,
            &(struct peer_session_config) {
                .ops = &ops, .link = link, .disk = { { 0xd2 } }, .group = i, .epoch = 5 });
        open_again(&crowd[i]);
    }
    return crowd;
}

static void crowd_free(struct engine *crowd, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!crowd[i].closed)
            peer_session_close(&crowd[i].session, on_closed);
        pw_wait(crowd[i].w, &crowd[i].closed);
    }
    free(crowd);
}

/* W2: OPENs have no deadline, and one disk does not have all places for them. */
static void a_disk_that_hangs_leaves_places_to_open_others(void **state)
{
    enum { COUNT = 2 * LINK_QUEUE_ENTRIES };

    (void)state;
    struct engine *const e = engine_create(3, 5);
    pw_run(e->w, NS_PER_S);
    peer_of(e)->hold = true;
    struct engine *const crowd = crowd_create(e, COUNT);
    pw_run(e->w, SOON_NS);
    assert_int_equal(peer_of(e)->held_count, LINK_DISK_OPENS);
    /* Those that wait may go. */
    peer_session_close(&crowd[COUNT - 1].session, on_closed);
    pw_wait(e->w, &crowd[COUNT - 1].closed);
    peer_of(e)->hold = false;
    open_again(e);
    attach(e);
    there_and_back(e, 0, 1);
    /* And with the next link they come one after another as well. */
    peer_of(e)->hold = true;
    pw_cut(e->w, 0);
    pw_run(e->w, NS_PER_S);
    assert_true(link_is_up(e->session.config.link));
    assert_int_equal(peer_of(e)->held_count, 2 * LINK_DISK_OPENS);
    fake_peer_release(peer_of(e));
    for (unsigned i = 0; i < COUNT - 1; i++) {
        pw_wait(e->w, &crowd[i].told);
        assert_int_equal(crowd[i].opens, 1);
    }
    crowd_free(crowd, COUNT);
    engine_destroy(e);
}

/* Nor with those that nobody waits for any more: they are the disk's until it answers. */
static void opens_that_were_let_go_of_count(void **state)
{
    enum { COUNT = LINK_QUEUE_ENTRIES };

    (void)state;
    struct engine *const e = engine_create(3, 5);
    pw_run(e->w, NS_PER_S);
    for (unsigned round = 0; round < 2; round++) {
        peer_of(e)->hold = true;
        for (unsigned i = 0; i < 2; i++)
            crowd_free(crowd_create(e, COUNT), COUNT);
        assert_int_equal(peer_of(e)->held_count, LINK_DISK_COMMANDS);
        peer_of(e)->hold = false;
        if (round == 0) {
            open_again(e);
            attach(e);
        }
        there_and_back(e, 0, 1);
        fake_peer_release(peer_of(e));
        pw_run(e->w, SOON_NS);
    }
    engine_destroy(e);
}

static void regions_and_sets_arrive(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    struct store_region regions[STORE_REGIONS_MAX] = {
        [0] = { .shard = 4, .region = 1, .count = 1, .tick = 9, .slots = 5 }
    };
    struct store_set set = { .number = 7,
                             .sequence = 40,
                             .set = { .disk = { { { 0xd1 } }, { { 0xd2 } } },
                                      .in = 1,
                                      .whole = 2,
                                      .incarnation = { 11, 12 } } };
    struct order o = { .store = { .opcode = STORE_OP_CLOSE_REGIONS,
                                  .data = { (uint8_t *)regions, sizeof regions[0] } } };

    assert_int_equal(run(e, &o, 1).code, STATUS_OK);
    assert_int_equal(peer_of(e)->region.shard, 4);
    assert_int_equal(peer_of(e)->region.tick, 9);
    assert_int_equal(peer_of(e)->region.slots, 5);
    peer_of(e)->region.tick = 0; /* What a list says. */
    memset(regions, 0, sizeof regions);
    o.store = (struct store_io) { .opcode = STORE_OP_LIST_REGIONS,
                                  .data = { (uint8_t *)regions, sizeof regions } };
    assert_int_equal(run(e, &o, 0).code, STATUS_OK);
    assert_int_equal(o.store.bytes, sizeof regions[0]);
    assert_true(o.store.offset == STORE_CURSOR_END);
    assert_int_equal(regions[0].shard, 4);
    assert_int_equal(regions[0].slots, 5);
    o.store = (struct store_io) { .opcode = STORE_OP_SET, .data = { (uint8_t *)&set, sizeof set } };
    assert_int_equal(run(e, &o, 0).code, STATUS_OK);
    assert_int_equal(peer_of(e)->set.number, 7);
    assert_int_equal(peer_of(e)->set.whole, 2);
    assert_int_equal(peer_of(e)->set.incarnation[1], 12);
    engine_destroy(e);
}

static void hashes_come_back(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    static struct store_hash hashes[WIRE_REGION_BLOCKS];
    struct order o = order_of(e, STORE_OP_HASH, WIRE_REGION_BLOCKS);

    there_and_back(e, 0, 2);
    o.store.data = (struct span) { (uint8_t *)hashes, sizeof hashes };
    assert_int_equal(run(e, &o, 1).code, STATUS_OK);
    assert_int_equal(peer_of(e)->last.blocks, WIRE_REGION_BLOCKS);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(hashes[i].state, STORE_BLOCK_DATA);
        assert_memory_equal(hashes[i].hash, e->memory + (size_t)i * BLOCK, sizeof hashes[i].hash);
    }
    engine_destroy(e);
}

static void statuses_come_back(void **state)
{
    static const enum status_code codes[] = { STATUS_UNKNOWN_SHARD, STATUS_NO_SPACE,
                                              STATUS_MEDIA_READ, STATUS_LIST_FULL,
                                              STATUS_BAD_DIGEST };

    (void)state;
    struct engine *const e = engine_opened();
    there_and_back(e, 0, 1);
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        struct order o = order_of(e, STORE_OP_READ, 1);
        peer_of(e)->fail_opcode = WIRE_READ;
        peer_of(e)->fail_sc = wire_status_encode((struct status) { codes[i] });
        assert_int_equal(run(e, &o, 0).code, codes[i]);
        assert_false(o.io.lost);
        assert_true(e->lanes[0].up);
    }
    engine_destroy(e);
}

/* S3: what does not match its CRC is handed to nobody as a success. */
static void a_wrong_bit_is_noticed(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    struct order o = order_of(e, STORE_OP_READ, 8);

    there_and_back(e, 0, 8);
    peer_of(e)->corrupt_count = 1;
    assert_int_equal(run(e, &o, 0).code, STATUS_BAD_DIGEST);
    assert_int_equal(run(e, &o, 0).code, STATUS_OK);
    engine_destroy(e);
}

/* W2 at the engine's end: more commands with items than there is memory for wait for it. */
static void items_wait_for_memory(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    enum { COUNT = 200 };
    struct order *const orders = calloc(COUNT, sizeof *orders);
    struct store_region region = { .shard = 1, .count = 1, .tick = 1, .slots = 3 };

    peer_of(e)->hold = true;
    for (unsigned i = 0; i < COUNT; i++) {
        orders[i].store = (struct store_io) { .opcode = STORE_OP_CLOSE_REGIONS,
                                              .data = { (uint8_t *)&region, sizeof region } };
        submit(e, &orders[i], 0);
    }
    pw_run(e->w, NS_PER_S);
    assert_int_equal(peer_of(e)->held_count, 64);
    fake_peer_release(peer_of(e));
    for (unsigned i = 0; i < COUNT; i++) {
        pw_wait(e->w, &orders[i].done);
        assert_int_equal(orders[i].io.status.code, STATUS_OK);
    }
    /* And those whose link is lost while they wait end as well. */
    peer_of(e)->hold = true;
    for (unsigned i = 0; i < COUNT; i++)
        submit(e, &orders[i], 0);
    pw_run(e->w, NS_PER_S);
    pw_cut(e->w, 0);
    pw_run(e->w, SOON_NS);
    for (unsigned i = 0; i < COUNT; i++)
        assert_true(orders[i].done && orders[i].io.lost);
    fake_peer_release(peer_of(e));
    free(orders);
    engine_destroy(e);
}

/* ---- Losing it ---- */

/* 4.1, 4.3: the lost session is told once; the next one has a higher number. */
static void a_lost_session_is_opened_anew(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    struct order held = order_of(e, STORE_OP_FLUSH, 0), other = held;

    peer_of(e)->hold = true;
    submit(e, &held, 0);
    submit(e, &other, 1);
    pw_run(e->w, SOON_NS);
    pw_cut(e->w, 0);
    pw_run(e->w, NS_PER_MS);
    assert_int_equal(e->losses, 1);
    for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++)
        assert_false(e->lanes[i].up);
    assert_true(held.done && held.io.lost);
    assert_true(other.done && other.io.lost);
    open_again(e);
    pw_run(e->w, NS_PER_S);
    assert_true(link_is_up(e->session.config.link)); /* Whatever is still executed there, ... */
    assert_false(e->told);                           /* ... which OPEN waits for. */
    fake_peer_release(peer_of(e));
    attach(e);
    assert_int_equal(peer_of(e)->number, 2);
    assert_int_equal(e->losses, 1);
    there_and_back(e, 1, 3);
    engine_destroy(e);
}

/* The last answer of an opening and the loss of the link meet, in either order: it is opened with
 * the next link, or is told to be lost. */
static void an_opening_that_is_lost_goes_on(void **state)
{
    (void)state;
    for (uint64_t delay_ns = 0; delay_ns < 200000; delay_ns += 1000) {
        struct engine *const e = engine_create(3, 5);

        peer_of(e)->hold = true;
        peer_of(e)->hold_opcode = WIRE_STATE;
        open_again(e);
        pw_run(e->w, SOON_NS);
        fake_peer_release(peer_of(e));
        pw_run(e->w, delay_ns);
        link_end_lose(link_end_of(e->session.config.link, 1), STATUS(TIMED_OUT));
        pw_run(e->w, 2 * NS_PER_S);
        if (e->losses > 0)
            open_again(e);
        attach(e);
        for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++)
            assert_true(e->lanes[i].up);
        there_and_back(e, 1, 3);
        engine_destroy(e);
    }
}

/* 4.2: a session that the store does not know takes the lane down, and the link stays. */
static void a_stale_session_is_opened_anew(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    struct order o = order_of(e, STORE_OP_FLUSH, 0);

    there_and_back(e, 0, 1);
    peer_of(e)->number = 0;
    assert_int_equal(run(e, &o, 0).code, STATUS_STALE_SESSION);
    assert_false(o.io.lost);
    assert_false(e->lanes[0].up);
    assert_true(e->lanes[1].up); /* It does not know yet. */
    open_again(e);
    attach(e);
    assert_int_equal(e->losses, 0);
    assert_int_equal(peer_of(e)->opened, 1);
    there_and_back(e, 0, 1);
    there_and_back(e, 1, 1);
    engine_destroy(e);
}

/* R6: an answer of another incarnation counts for nothing, whatever it says. */
static void another_incarnation_is_noticed(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    struct order o = order_of(e, STORE_OP_READ, 1);

    there_and_back(e, 1, 1);
    peer_of(e)->incarnation++;
    assert_int_equal(run(e, &o, 1).code, STATUS_STALE_INCARNATION);
    assert_false(e->lanes[1].up);
    open_again(e);
    attach(e);
    assert_int_equal(e->opened.incarnation, 0x500000002);
    engine_destroy(e);
}

/* ---- Leases ---- */

static unsigned to_ask(struct engine *e, unsigned reactor, uint64_t received_ns)
{
    const struct lease_times times = { LEASE_NS, LEASE_WAIT_NS };
    const struct lease_member member = peer_lane_lease(&e->lanes[reactor]);

    return lease_to_ask(&times, &member, 1, received_ns, reactor_clock_ns(e->w->reactors[reactor]));
}

static unsigned to_ask_now(struct engine *e, unsigned reactor)
{
    return to_ask(e, reactor, reactor_clock_ns(e->w->reactors[reactor]));
}

static struct status confirm(struct engine *e, unsigned reactor)
{
    struct order o = { .io = { .done = on_done } };

    peer_submit(&e->lanes[reactor], &o.io);
    pw_wait(e->w, &o.done);
    return o.io.status;
}

/* 8.2, 8.3: answers renew the lease of the reactor where they come, failures and refusals do not.
 */
static void answers_renew_the_lease(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    struct order o = order_of(e, STORE_OP_FLUSH, 0);

    assert_int_equal(to_ask_now(e, 0), 0); /* OPEN's. */
    assert_int_equal(to_ask_now(e, 1), 1);
    assert_int_equal(confirm(e, 1).code, STATUS_OK);
    assert_int_equal(peer_of(e)->count[WIRE_CONFIRM], 1);
    assert_int_equal(to_ask_now(e, 1), 0);
    pw_run(e->w, LEASE_NS);
    assert_int_equal(to_ask_now(e, 0), 1);
    peer_of(e)->fail_opcode = WIRE_FLUSH;
    peer_of(e)->fail_sc = NVME_SC_NS_NOT_READY;
    assert_int_equal(run(e, &o, 0).code, STATUS_UNAVAILABLE);
    assert_int_equal(to_ask_now(e, 0), 1);
    there_and_back(e, 0, 1);
    assert_int_equal(to_ask_now(e, 0), 0);
    peer_of(e)->epoch++;
    assert_int_equal(confirm(e, 0).code, STATUS_STALE_EPOCH);
    assert_int_equal(to_ask_now(e, 0), 1);
    engine_destroy(e);
}

/* An answer is enough, however late it comes: what was read was right when the store answered. */
static void a_late_answer_is_enough(void **state)
{
    (void)state;
    struct engine *const e = engine_opened();
    struct order o = { .io = { .done = on_done } };
    const uint64_t received_ns = reactor_clock_ns(e->w->reactors[0]);

    pw_run(e->w, LEASE_NS);
    peer_of(e)->hold = true;
    peer_submit(&e->lanes[0], &o.io);
    pw_run(e->w, NS_PER_S);
    assert_int_equal(to_ask(e, 0, received_ns), 1);
    fake_peer_release(peer_of(e));
    pw_wait(e->w, &o.done);
    pw_run(e->w, NS_PER_S);
    assert_int_equal(to_ask(e, 0, received_ns), 0);
    engine_destroy(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_brings_what_the_store_says),
        cmocka_unit_test(an_older_epoch_is_refused),
        cmocka_unit_test(a_session_may_be_closed_at_any_moment),
        cmocka_unit_test(closing_does_not_wait_for_who_hangs),
        cmocka_unit_test(closing_does_not_mind_a_bad_answer),
        cmocka_unit_test(commands_go_to_the_disks_reactor),
        cmocka_unit_test(blocks_travel_with_their_crcs),
        cmocka_unit_test(fields_arrive),
        cmocka_unit_test(a_disk_that_hangs_leaves_room_for_others),
        cmocka_unit_test(a_disk_that_hangs_leaves_places_to_open_others),
        cmocka_unit_test(opens_that_were_let_go_of_count),
        cmocka_unit_test(regions_and_sets_arrive),
        cmocka_unit_test(hashes_come_back),
        cmocka_unit_test(statuses_come_back),
        cmocka_unit_test(a_wrong_bit_is_noticed),
        cmocka_unit_test(items_wait_for_memory),
        cmocka_unit_test(a_lost_session_is_opened_anew),
        cmocka_unit_test(an_opening_that_is_lost_goes_on),
        cmocka_unit_test(a_stale_session_is_opened_anew),
        cmocka_unit_test(another_incarnation_is_noticed),
        cmocka_unit_test(answers_renew_the_lease),
        cmocka_unit_test(a_late_answer_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
