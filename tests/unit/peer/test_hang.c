/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that answers no request takes nothing from the others of its node (W2). */
#include <stdlib.h>

#include "engine_rig.h"
#include "peer/server_internal.h"

#define SOON (50 * MS)

static struct rig *rig;
static struct engine *e;
static struct store_volume here, there; /* On the disk that hangs, and on the other one. */

/* An engine with a session on the first disk, which has unflushed writes. */
static int setup(void **state)
{
    (void)state;
    here = rig_volume(1, 3);
    there = rig_volume(2, 3);
    rig = rig_create();
    engine_connect(rig, 0);
    e = &rig->engines[0];
    assert_int_equal(engine_open(e, 0, &here, 5, 1), STATUS_OK);
    for (unsigned i = 0; i < 2; i++) /* The second one is in place: its list is durable. */
        assert_int_equal(engine_write(e, 0, 0, 0x11), STATUS_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    disk_release(rig, 0);
    rig_destroy(rig);
    return 0;
}

static void assert_works(unsigned queue, uint32_t block, uint8_t fill)
{
    uint8_t back = 0;

    assert_int_equal(engine_write(e, queue, block, fill), STATUS_OK);
    assert_int_equal(engine_read(e, queue, block, &back), STATUS_OK);
    assert_int_equal(back, fill);
}

/* The engine goes on with what an OPEN of its epoch has brought. */
static void take_session(const struct order *open, uint64_t number)
{
    e->handle = open->answer.incarnation;
    e->epoch = 5;
    e->number = number;
}

static unsigned controllers(void)
{
    struct nvme_subsys_stats stats;

    nvme_subsys_stats(rig->subsys, &stats);
    return stats.controllers;
}

/* ---- Links ---- */

/* 2.1, 4.3: the next link comes up at once; a session of it waits for what is executed yet. */
static void the_next_link_does_not_wait(void **state)
{
    (void)state;
    struct order *write = write_order(e, 0, 0x22, 0);
    uint8_t fill = 0;

    disk_hold(rig, 0, DEV_FAULT_ALL);
    order_send(e, 1, write, 0);
    th_run(&rig->th, SOON);
    engine_drop(e);
    assert_int_equal(write->code, STATUS_LOST);
    free(write);
    engine_connect(rig, 0);
    assert_true(e->ready);
    struct order *open = open_order(e, 0, &here, 5, 2);
    order_send(e, 0, open, 0);
    assert_int_equal(engine_open(e, 1, &there, 5, 1), STATUS_OK);
    assert_works(0, 3, 0x33);
    assert_works(1, 4, 0x44);
    assert_false(open->done);
    assert_int_equal(controllers(), 2);
    disk_release(rig, 0);
    order_wait(e, open);
    assert_int_equal(open->code, STATUS_OK);
    take_session(open, 2);
    free(open);
    assert_int_equal(engine_read(e, 0, 0, &fill), STATUS_OK);
    assert_int_equal(fill, 0x22); /* It had ended before. */
    th_run(&rig->th, SOON);
    assert_int_equal(controllers(), 1);
}

/* I2: a session of the next link waits for what the last one's has let through, ... */
static void what_was_let_through_is_waited_for(void **state)
{
    (void)state;
    struct order *read = order_make(e, WIRE_READ);

    read->command.blocks = 1;
    disk_hold(rig, 0, DEV_FAULT_READS);
    order_send(e, 0, read, 0);
    th_run(&rig->th, SOON);
    engine_drop(e);
    free(read);
    engine_connect(rig, 0);
    struct order *open = open_order(e, 0, &here, 5, 2);
    order_send(e, 0, open, 0);
    th_run(&rig->th, NS_PER_S);
    assert_false(open->done);
    disk_release(rig, 0);
    order_wait(e, open);
    assert_int_equal(open->code, STATUS_OK);
    free(open);
}

/* The OPENs of links that are gone keep none of these. */
static void an_open_does_not_keep_its_link(void **state)
{
    (void)state;
    disk_hold(rig, 0, DEV_FAULT_ALL);
    for (uint64_t number = 2; number < 10; number++) {
        struct order *open = open_order(e, 0, &here, 5, number);
        order_send(e, 0, open, 0);
        th_run(&rig->th, SOON);
        assert_false(open->done);
        engine_drop(e);
        free(open);
        engine_connect(rig, 0);
        assert_true(e->ready);
        th_run(&rig->th, SOON);
        assert_int_equal(controllers(), 1);
    }
    disk_release(rig, 0);
    assert_int_equal(engine_open(e, 0, &here, 5, 10), STATUS_OK);
    assert_works(0, 0, 0x22);
}

/* ---- Many commands ---- */

/* Without the room for data that an order has. */
struct small {
    struct initiator_cmd cmd;
    uint8_t data[512];
    bool done;
    struct status status;
};

static void on_small(struct initiator_cmd *cmd)
{
    struct small *const s = CONTAINER_OF(cmd, struct small, cmd);

    s->done = true;
    s->status = cmd->sc == 0 ? cmd->status : wire_status_decode(cmd->sc);
}

static void small_send(struct engine *to, struct small *s, const struct wire_command *c,
                       uint32_t items)
{
    uint8_t entry[WIRE_ENTRY_BYTES];

    wire_command_encode(c, entry);
    initiator_cmd_set_entry(&s->cmd, entry);
    s->cmd.data = (struct span) { s->data, wire_data_bytes(c, items) };
    assert_true(s->cmd.data.bytes <= sizeof s->data);
    s->cmd.done = on_small;
    initiator_queue_submit(to->queues[0], &s->cmd);
}

static unsigned count_done(const struct small *all, unsigned count)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++)
        n += all[i].done ? 1 : 0;
    return n;
}

/* OPENs of so many numbers from this one on. */
static void send_opens(struct small *all, unsigned count, uint64_t number)
{
    for (unsigned i = 0; i < count; i++) {
        struct order *const o = open_order(e, 0, &here, 5, number + i);
        memcpy(all[i].data, o->data, sizeof all[i].data);
        small_send(e, &all[i], &o->command, 0);
        free(o);
    }
}

/* Those of links that are gone have no place in a queue any more, but memory. */
static void there_are_only_so_many_opens(void **state)
{
    (void)state;
    enum { EACH = 200, FULL = SERVER_OPENS_MAX / EACH, COUNT = (FULL + 1) * EACH };
    struct small *const all = calloc(COUNT, sizeof *all);
    struct small *const last = all + FULL * EACH;

    disk_hold(rig, 0, DEV_FAULT_ALL);
    for (unsigned i = 0; i < FULL; i++) {
        send_opens(all + i * EACH, EACH, 2 + i * EACH);
        th_run(&rig->th, NS_PER_S);
        assert_int_equal(count_done(all + i * EACH, EACH), 0);
        engine_drop(e);
        engine_connect(rig, 0);
    }
    send_opens(last, EACH, 2 + FULL * EACH);
    th_run(&rig->th, NS_PER_S);
    assert_int_equal(count_done(last, EACH), COUNT - SERVER_OPENS_MAX);
    assert_int_equal(last[EACH - 1].status.code, STATUS_UNAVAILABLE);
    disk_release(rig, 0);
    th_run(&rig->th, NS_PER_S);
    assert_int_equal(count_done(all, COUNT), COUNT);
    assert_int_equal(engine_open(e, 0, &here, 5, COUNT + 2), STATUS_OK);
    assert_works(0, 0, 0x22);
    free(all);
}

/* So many commands of an engine's session that wait for the first disk. */
static void send_flushes(struct engine *to, struct small *all, unsigned count)
{
    const struct wire_command flush = { .opcode = WIRE_FLUSH,
                                        .handle = to->handle,
                                        .epoch = to->epoch,
                                        .session = (uint32_t)to->number,
                                        .argument = store_incarnation(rig->disks[0].store) };

    for (unsigned i = 0; i < count; i++)
        small_send(to, &all[i], &flush, 0);
}

static void a_hung_disk_leaves_room_for_commands(void **state)
{
    (void)state;
    enum { EACH = 900 };
    struct small *const all = calloc((size_t)2 * EACH, sizeof *all);
    const struct store_volume third = rig_volume(3, 3);
    struct wire_answer answer;

    static_assert(2 * EACH > SERVER_OPS_MAX, "more than there is room for");
    engine_connect(rig, 1);
    assert_int_equal(engine_open(&rig->engines[1], 0, &third, 5, 1), STATUS_OK);
    const struct engine first = *e;
    disk_hold(rig, 0, DEV_FAULT_ALL);
    send_flushes(e, all, EACH);
    send_flushes(&rig->engines[1], all + EACH, EACH);
    th_run(&rig->th, SOON);
    assert_int_equal(engine_open(e, 1, &there, 5, 1), STATUS_OK);
    for (unsigned queue = 0; queue < 2; queue++) {
        assert_int_equal(engine_confirm(e, queue, &answer), STATUS_OK);
        assert_works(queue, 3, (uint8_t)(0x33 + queue));
    }
    /* What needs nothing of the disk does not wait for it, either. */
    e->handle = first.handle;
    assert_int_equal(engine_confirm(e, 0, &answer), STATUS_OK);
    assert_int_equal(order_run(e, 0, order_make(e, WIRE_STATE), 0), STATUS_OK);
    assert_int_equal(order_run(e, 0, order_make(e, WIRE_RELEASE), 0), STATUS_OK);
    assert_int_equal(count_done(all, 2 * EACH), 0);
    disk_release(rig, 0);
    th_run(&rig->th, NS_PER_S);
    assert_int_equal(count_done(all, 2 * EACH), 2 * EACH);
    free(all);
}

static void set_fill(struct small *s, const struct wire_command *c, uint64_t sequence)
{
    const struct wire_set set = {
        .number = 3, .in = 1, .whole = 2, .disk = { { { 0xd1, 0 } }, { { 1 } } }
    };

    wire_set_encode(sequence, &set, 1, (struct span) { s->data, wire_data_bytes(c, 1) });
}

static void a_hung_disk_leaves_room_for_items(void **state)
{
    (void)state;
    enum { COUNT = 2 * SERVER_ITEMS_MAX };
    struct small *const all = calloc(COUNT, sizeof *all);
    struct small other = { .done = false };
    struct wire_command set = {
        .opcode = WIRE_SET, .handle = e->handle, .epoch = 5, .session = (uint32_t)e->number
    };

    disk_hold(rig, 0, DEV_FAULT_ALL);
    for (unsigned i = 0; i < COUNT; i++) {
        set_fill(&all[i], &set, 10 + i);
        small_send(e, &all[i], &set, 1);
    }
    th_run(&rig->th, SOON);
    assert_int_equal(engine_open(e, 1, &there, 5, 1), STATUS_OK);
    set.handle = e->handle;
    set_fill(&other, &set, 10);
    small_send(e, &other, &set, 1);
    th_wait(&rig->th, &other.done);
    assert_int_equal(other.status.code, STATUS_OK);
    assert_int_equal(count_done(all, COUNT), 0);
    disk_release(rig, 0);
    th_run(&rig->th, NS_PER_S);
    assert_int_equal(count_done(all, COUNT), COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(all[i].status.code, STATUS_OK);
    free(all);
}

static uint32_t sets_kept(void)
{
    struct order *o = order_make(e, WIRE_STATE);
    struct wire_state s;

    order_send(e, 0, o, 0);
    order_wait(e, o);
    assert_int_equal(o->code, STATUS_OK);
    assert_true(status_ok(
        wire_state_decode((struct const_span) { o->data, wire_data_bytes(&o->command, 0) }, &s)));
    free(o);
    return s.set_count;
}

/* ... and what was not let through, as it waited for items here, is not when its turn comes. */
static void what_waits_for_a_hung_disk_ends_with_its_link(void **state)
{
    (void)state;
    struct order *hashes[SERVER_ITEMS_MAX];
    struct small late = { .done = false };
    const struct wire_command set = {
        .opcode = WIRE_SET, .handle = e->handle, .epoch = 5, .session = (uint32_t)e->number
    };

    disk_hold(rig, 0, DEV_FAULT_READS);
    for (unsigned i = 0; i < ARRAY_COUNT(hashes); i++) {
        hashes[i] = order_make(e, WIRE_HASH);
        hashes[i]->command.blocks = 1;
        order_send(e, 0, hashes[i], 0);
    }
    set_fill(&late, &set, 10);
    small_send(e, &late, &set, 1);
    th_run(&rig->th, SOON);
    engine_drop(e);
    for (unsigned i = 0; i < ARRAY_COUNT(hashes); i++) {
        assert_int_equal(hashes[i]->code, STATUS_LOST);
        free(hashes[i]);
    }
    engine_connect(rig, 0);
    struct order *open = open_order(e, 0, &here, 5, 2);
    order_send(e, 0, open, 0);
    th_run(&rig->th, SOON);
    disk_release(rig, 0);
    order_wait(e, open);
    assert_int_equal(open->code, STATUS_OK);
    take_session(open, 2);
    free(open);
    th_run(&rig->th, NS_PER_S);
    assert_int_equal(sets_kept(), 0);
    assert_int_equal(controllers(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        T(the_next_link_does_not_wait),
        T(what_was_let_through_is_waited_for),
        T(an_open_does_not_keep_its_link),
        T(there_are_only_so_many_opens),
        T(a_hung_disk_leaves_room_for_commands),
        T(a_hung_disk_leaves_room_for_items),
        T(what_waits_for_a_hung_disk_ends_with_its_link),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
