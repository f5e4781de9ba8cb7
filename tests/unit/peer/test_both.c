/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of the store protocol together: an engine's links and sessions, and a node's stores. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "common/no_log.h"
#include "engine_rig.h"
#include "peer/session.h"

#define REACTORS 2

/* An engine's node with a session of a volume of three replicas on the first disk. */
struct both {
    struct rig *rig;
    struct sim_process *process;
    struct reactor *reactors[REACTORS];
    struct log log;
    struct links *links;
    struct peer_session session;
    struct peer_lane lanes[REACTORS];
    struct peer_opened opened;
    bool told, closed, stopped;
    unsigned losses;
    uint8_t *memory;
};

struct ask {
    struct store_io store;
    struct peer_io io;
    bool done;
};

static struct both t;

static void must(struct status st)
{
    if (!status_ok(st))
        fail_msg("%s", status_text(st));
}

static void nothing(struct sim_process *p, void *ctx)
{
    (void)p;
    (void)ctx;
}

static void on_opened(struct peer_session *s, const struct peer_opened *opened)
{
    (void)s;
    t.opened = *opened;
    t.told = true;
}

static void on_lost(struct peer_session *s, struct status why)
{
    (void)s;
    (void)why;
    t.losses++;
}

static const struct peer_session_ops session_ops = { on_opened, on_lost };

static void set_flag(void *flag)
{
    *(bool *)flag = true;
}

static void on_closed(struct peer_session *s)
{
    (void)s;
    t.closed = true;
}

static void open_session(void)
{
    const struct store_volume v = rig_volume(1, 3);

    t.told = false;
    peer_session_open(&t.session, &v, 1, false);
    th_wait(&t.rig->th, &t.told);
    assert_int_equal(t.opened.status.code, STATUS_OK);
    const struct peer_ticket ticket = peer_session_ticket(&t.session);
    for (unsigned i = 0; i < REACTORS; i++)
        peer_lane_attach(&t.lanes[i], &ticket);
}

static int setup(void **state)
{
    (void)state;
    struct link *link;

    t = (struct both) { .rig = rig_create(), .log.sink = no_log };
    t.process =
        sim_spawn(sim_machine_create(t.rig->th.world, "links"),
                  &(struct sim_program) { .name = "links", .reactors = REACTORS, .main = nothing });
    th_run(&t.rig->th, NS_PER_MS);
    for (unsigned i = 0; i < REACTORS; i++)
        t.reactors[i] = sim_process_reactor(t.process, i);
    const struct links_config config = { .reactors = t.reactors,
                                         .reactor_count = REACTORS,
                                         .cluster = { { 0xc1 } },
                                         .node = { { 0xe9 } },
                                         .log = &t.log };
    must(links_create(&config, &t.links));
    must(link_get(t.links, rig_node(), &t.rig->th.addr, &link));
    peer_session_init(&t.session,
                      &(struct peer_session_config) {
                          .ops = &session_ops, .link = link, .disk = { { 0xd1, 0 } }, .epoch = 5 });
    for (unsigned i = 0; i < REACTORS; i++)
        peer_lane_init(&t.lanes[i], link, i);
    t.memory = aligned_alloc(4096, WIRE_BLOCKS_MAX * 4096);
    open_session();
    return 0;
}

static void close_session(void)
{
    for (unsigned i = 0; i < REACTORS; i++)
        peer_lane_detach(&t.lanes[i]);
    peer_session_close(&t.session, on_closed);
    th_wait(&t.rig->th, &t.closed);
}

static int teardown(void **state)
{
    (void)state;
    if (!t.closed)
        close_session();
    links_stop(t.links, set_flag, &t.stopped);
    th_wait(&t.rig->th, &t.stopped);
    links_destroy(t.links);
    rig_destroy(t.rig);
    free(t.memory);
    return 0;
}

static void on_done(struct peer_io *io)
{
    CONTAINER_OF(io, struct ask, io)->done = true;
}

static enum status_code ask(unsigned reactor, struct store_io *store)
{
    struct ask *const a = calloc(1, sizeof *a);

    a->store = *store;
    a->io.store = &a->store;
    a->io.done = on_done;
    peer_submit(&t.lanes[reactor], &a->io);
    th_wait(&t.rig->th, &a->done);
    const enum status_code code = a->io.status.code;
    *store = a->store;
    free(a);
    return code;
}

static enum status_code transfer(unsigned reactor, enum store_opcode opcode, uint32_t blocks,
                                 uint32_t *crcs)
{
    struct store_io io = { .opcode = opcode,
                           .create = opcode == STORE_OP_WRITE,
                           .offset = 7 * 4096,
                           .bytes = blocks * (uint64_t)4096,
                           .data = { t.memory, blocks * (size_t)4096 },
                           .tick = 1,
                           .crcs = crcs };

    return ask(reactor, &io);
}

static void commands_go_there_and_back(void **state)
{
    (void)state;
    static const uint32_t counts[] = { 1, 2, WIRE_BLOCKS_MAX };
    uint32_t crcs[WIRE_BLOCKS_MAX], back[WIRE_BLOCKS_MAX];

    assert_int_equal(t.opened.incarnation, store_incarnation(t.rig->disks[0].store));
    for (size_t n = 0; n < ARRAY_COUNT(counts) * REACTORS; n++) {
        const uint32_t blocks = counts[n / REACTORS];
        for (uint32_t i = 0; i < blocks; i++) {
            memset(t.memory + i * 4096, (int)(n + i), 4096);
            crcs[i] = crc32c(t.memory + i * 4096, 4096);
        }
        assert_int_equal(transfer(n % REACTORS, STORE_OP_WRITE, blocks, crcs), STATUS_OK);
        memset(t.memory, 0xee, blocks * (size_t)4096);
        assert_int_equal(transfer((n + 1) % REACTORS, STORE_OP_READ, blocks, back), STATUS_OK);
        assert_memory_equal(back, crcs, blocks * sizeof crcs[0]);
        for (uint32_t i = 0; i < blocks; i++)
            assert_int_equal(t.memory[i * 4096 + 4095], (uint8_t)(n + i));
    }
    struct store_io flush = { .opcode = STORE_OP_FLUSH, .incarnation = t.opened.incarnation };
    assert_int_equal(ask(1, &flush), STATUS_OK);
    struct store_io zero = {
        .opcode = STORE_OP_DEALLOCATE, .offset = 7 * 4096, .bytes = 4096, .tick = 1
    };
    assert_int_equal(ask(0, &zero), STATUS_OK);
    assert_int_equal(transfer(0, STORE_OP_READ, 1, back), STATUS_OK);
    assert_int_equal(t.memory[0] | t.memory[4095], 0);
}

static void lists_and_sets_too(void **state)
{
    (void)state;
    struct store_region items[4];
    struct store_set set = { .number = 3,
                             .sequence = 9,
                             .set = { .disk = { { { 0xd1, 0 } }, { { 1 } }, { { 2 } } },
                                      .in = 7,
                                      .incarnation = { 1, 2, 3 } } };
    uint32_t crc = crc32c(t.memory, 4096);

    assert_int_equal(transfer(0, STORE_OP_WRITE, 1, &crc), STATUS_OK);
    struct store_io list = { .opcode = STORE_OP_LIST_REGIONS,
                             .data = { (uint8_t *)items, sizeof items } };
    assert_int_equal(ask(1, &list), STATUS_OK);
    assert_int_equal(list.bytes, sizeof items[0]);
    assert_int_equal(items[0].slots, 7);
    assert_int_equal(list.offset, STORE_CURSOR_END);
    items[0] = (struct store_region) { .count = 1, .tick = 1, .slots = 7 };
    struct store_io close = { .opcode = STORE_OP_CLOSE_REGIONS,
                              .data = { (uint8_t *)items, sizeof items[0] } };
    assert_int_equal(ask(0, &close), STATUS_OK);
    list = (struct store_io) { .opcode = STORE_OP_LIST_REGIONS,
                               .data = { (uint8_t *)items, sizeof items } };
    assert_int_equal(ask(0, &list), STATUS_OK);
    assert_int_equal(list.bytes, 0);
    struct store_io keep = { .opcode = STORE_OP_SET, .data = { (uint8_t *)&set, sizeof set } };
    assert_int_equal(ask(1, &keep), STATUS_OK);
    /* The next session hears of it. */
    for (unsigned i = 0; i < REACTORS; i++)
        peer_lane_detach(&t.lanes[i]);
    open_session();
    assert_int_equal(t.opened.set_count, 1);
    assert_int_equal(t.opened.set_sequence, 9);
    assert_int_equal(t.opened.set_epoch, 5);
}

/* 8.2, 8.3: what was answered is a lease, until a newer engine has sealed the group. */
static void a_seal_ends_the_session_and_its_lease(void **state)
{
    (void)state;
    static const struct lease_times times = { LEASE_NS, LEASE_WAIT_NS };
    const struct store_volume v = rig_volume(1, 3);
    uint32_t crc = crc32c(t.memory, 4096);

    assert_int_equal(transfer(0, STORE_OP_WRITE, 1, &crc), STATUS_OK);
    const struct lease_member m = peer_lane_lease(&t.lanes[0]);
    const uint64_t now = reactor_clock_ns(t.reactors[0]);
    assert_int_equal(lease_to_ask(&times, &m, 1, now, now), 0);
    engine_connect(t.rig, 0);
    const uint64_t from = rig_now(t.rig);
    assert_int_equal(engine_open(&t.rig->engines[0], 0, &v, 6, 1), STATUS_OK);
    assert_true(rig_now(t.rig) - from >= LEASE_WAIT_NS);
    const uint64_t later = reactor_clock_ns(t.reactors[0]);
    assert_int_equal(lease_to_ask(&times, &m, 1, later, later), 1);
    assert_int_equal(transfer(0, STORE_OP_WRITE, 1, &crc), STATUS_STALE_EPOCH);
    assert_false(t.lanes[0].up);
}

/* 8.5: closing gives the lease back. */
static void closing_gives_the_lease_back(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(1, 3);

    close_session();
    engine_connect(t.rig, 0);
    const uint64_t from = rig_now(t.rig);
    assert_int_equal(engine_open(&t.rig->engines[0], 0, &v, 6, 1), STATUS_OK);
    assert_true(rig_now(t.rig) - from < LEASE_WAIT_NS / 2);
}

/* A cut link is told; the next session has the next number, and the same epoch. */
static void a_cut_link_comes_back(void **state)
{
    (void)state;
    uint32_t crc = crc32c(t.memory, 4096);

    for (unsigned i = 0; i < 3; i++) {
        const unsigned before = t.losses;
        assert_int_equal(transfer(i % REACTORS, STORE_OP_WRITE, 1, &crc), STATUS_OK);
        sim_net_cut(sim_process_machine(t.process), 1);
        th_run(&t.rig->th, NS_PER_S);
        assert_int_equal(t.losses, before + 1);
        open_session();
    }
    assert_int_equal(transfer(0, STORE_OP_READ, 1, &crc), STATUS_OK);
}

/* A command that a disk never answers costs its link once, for a moment (LINK_COMMAND_NS). */
static void a_hung_disk_does_not_keep_the_link_down(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(1, 3);
    uint32_t crc = crc32c(t.memory, 4096);
    struct ask hung = { .store = { .opcode = STORE_OP_WRITE,
                                   .create = true,
                                   .bytes = 4096,
                                   .data = { t.memory, 4096 },
                                   .tick = 1,
                                   .crcs = &crc },
                        .io = { .store = &hung.store, .done = on_done } };
    struct link_stats stats;

    disk_hold(t.rig, 0, DEV_FAULT_ALL);
    peer_submit(&t.lanes[0], &hung.io);
    th_run(&t.rig->th, 35 * NS_PER_S);
    assert_true(hung.done && hung.io.lost);
    assert_int_equal(t.losses, 1);
    t.told = false;
    peer_session_open(&t.session, &v, 1, false);
    th_run(&t.rig->th, 120 * NS_PER_S);
    link_get_stats(t.session.config.link, &stats);
    assert_true(link_is_up(t.session.config.link));
    assert_int_equal(stats.ups, 2);
    assert_int_equal(stats.losses, 1);
    assert_false(t.told);
    disk_release(t.rig, 0);
    th_wait(&t.rig->th, &t.told);
    assert_int_equal(t.opened.status.code, STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        T(commands_go_there_and_back),
        T(lists_and_sets_too),
        T(a_seal_ends_the_session_and_its_lease),
        T(closing_gives_the_lease_back),
        T(a_cut_link_comes_back),
        T(a_hung_disk_does_not_keep_the_link_down),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
