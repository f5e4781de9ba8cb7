/* SPDX-License-Identifier: Apache-2.0 */
/* Lost connections, stops, deadlines and refusals: every command of the initiator ends, once. */
#include "initiator_host.h"

#include <stdlib.h>
#include <string.h>

/* Holds three writes at the target: in a capsule, by R2T, and one that waits for a slot. */
static void hold_writes(struct host *h, struct test_io ios[3])
{
    static uint8_t data[16384];

    h->th.mem.hold = true;
    for (unsigned i = 0; i < 3; i++) {
        ios[i].io = (struct initiator_io) { .opcode = INITIATOR_WRITE,
                                            .data = { data, i == 1 ? 16384 : 4096 } };
        submit(h, &ios[i]);
    }
    th_run(&h->th, NS_PER_S);
    for (unsigned i = 0; i < 3; i++)
        assert_false(ios[i].done);
}

static struct host *host_with_two_slots(void)
{
    struct host *h = host_create(NULL);

    host_connect_ctrl(h);
    th_wait(&h->th, &h->ctrl_ready);
    host_open_queue(h, 3);
    th_wait(&h->th, &h->queue_ready);
    return h;
}

static void a_lost_connection_leaves_sent_commands_unknown(void **state)
{
    (void)state;
    struct host *h = host_with_two_slots();
    struct test_io ios[3] = { 0 };

    hold_writes(h, ios);
    sim_net_cut(sim_process_machine(h->th.server), 1);
    th_wait(&h->th, &h->queue_ended);
    assert_int_equal(ios[0].io.status.code, STATUS_LOST);
    assert_int_equal(ios[1].io.status.code, STATUS_LOST);
    assert_int_equal(ios[2].io.status.code, STATUS_UNAVAILABLE); /* Never sent. */
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ios[i].dones, 1);
    th_wait(&h->th, &h->ctrl_ended);
    mem_ns_release(&h->th.mem);
    host_destroy(h);
}

static void a_stop_ends_every_command(void **state)
{
    (void)state;
    struct host *h = host_with_two_slots();
    struct test_io ios[3] = { 0 };

    hold_writes(h, ios);
    initiator_queue_stop(h->queue);
    assert_false(ios[2].done);
    th_wait(&h->th, &h->queue_ended);
    assert_int_equal(h->queue_why.code, STATUS_CANCELED);
    assert_int_equal(ios[0].io.status.code, STATUS_LOST);
    assert_int_equal(ios[2].io.status.code, STATUS_CANCELED);
    mem_ns_release(&h->th.mem);
    host_destroy(h);
}

static void a_command_that_was_not_sent_can_be_canceled(void **state)
{
    (void)state;
    struct host *h = host_with_two_slots();
    struct test_io ios[3] = { 0 };

    hold_writes(h, ios);
    initiator_queue_cancel(h->queue, &ios[2].io.cmd);
    initiator_queue_cancel(h->queue, &ios[0].io.cmd); /* Too late. */
    assert_false(ios[2].done);
    th_wait(&h->th, &ios[2].done);
    assert_int_equal(ios[2].io.status.code, STATUS_CANCELED);
    assert_false(ios[0].done);
    mem_ns_release(&h->th.mem);
    th_wait(&h->th, &ios[0].done);
    assert_int_equal(ios[0].io.status.code, STATUS_OK);
    th_wait(&h->th, &ios[1].done);
    host_destroy(h);
}

static void a_command_that_takes_too_long_costs_the_connection(void **state)
{
    (void)state;
    struct host *h = host_with_two_slots();
    struct test_io ios[3] = { 0 };

    hold_writes(h, ios);
    th_run(&h->th, HOST_WAIT_NS);
    assert_true(h->queue_ended);
    assert_int_equal(h->queue_why.code, STATUS_TIMED_OUT);
    assert_int_equal(ios[0].io.status.code, STATUS_LOST);
    mem_ns_release(&h->th.mem);
    host_destroy(h);
}

static void what_comes_after_the_end_is_refused(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    uint8_t data[4096];
    struct test_io t = { .io = { .opcode = INITIATOR_READ, .data = { data, sizeof data } } };

    initiator_queue_stop(h->queue);
    submit(h, &t);
    th_wait(&h->th, &h->queue_ended);
    assert_int_equal(t.dones, 1);
    assert_int_equal(t.io.status.code, STATUS_CANCELED);
    host_destroy(h);
}

static void keep_alive_keeps_an_idle_association(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);

    th_run(&h->th, 120 * NS_PER_S);
    assert_false(h->ctrl_ended);
    assert_false(h->queue_ended);
    round_trip(h, 0, 4096);
    host_destroy(h);
}

#define KEEP_ALIVE_NS (2500 * NS_PER_MS) /* Half of what the host asks for. */

/* Of the host's clock. */
static void run_to_tick_and(struct host *h, uint64_t after_ns)
{
    const uint64_t now_ns = reactor_clock_ns(h->th.host);
    th_run(&h->th, KEEP_ALIVE_NS - now_ns % KEEP_ALIVE_NS + after_ns);
}

/* Timers that fire right after a tick, in so many ticks. */
static uint64_t timers_at_ticks(struct host *h, unsigned ticks)
{
    uint64_t count = 0;

    run_to_tick_and(h, KEEP_ALIVE_NS - 10 * NS_PER_MS);
    for (unsigned i = 0; i < ticks; i++) {
        const uint64_t before = h->th.host->stats.timers;
        th_run(&h->th, 20 * NS_PER_MS);
        count += h->th.host->stats.timers - before;
        th_run(&h->th, KEEP_ALIVE_NS - 20 * NS_PER_MS);
    }
    return count;
}

/* Whenever the association began: with those of others, which are woken by it anyway. */
static void keep_alives_come_at_common_ticks(void **state)
{
    (void)state;
    struct host *h = host_create(NULL);

    run_to_tick_and(h, 700 * NS_PER_MS);
    host_connect_ctrl(h);
    th_wait(&h->th, &h->ctrl_ready);
    host_open_queue(h, 32);
    th_wait(&h->th, &h->queue_ready);
    assert_true(timers_at_ticks(h, 10) >= 10);
    host_destroy(h);
}

/* A host that was held up sends late, and the next tick is near. */
static void a_late_keep_alive_has_its_whole_interval(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    struct sim_net *net = sim_world_net(h->th.world);

    run_to_tick_and(h, KEEP_ALIVE_NS - 100 * NS_PER_MS);
    sim_process_pause(sim_reactor_process(h->th.host));
    th_run(&h->th, 1900 * NS_PER_MS);
    net->latency_min_ns = net->latency_max_ns = 450 * NS_PER_MS;
    sim_process_resume(sim_reactor_process(h->th.host));
    th_run(&h->th, 6 * KEEP_ALIVE_NS);
    assert_false(h->ctrl_ended);
    host_destroy(h);
}

static void who_does_not_answer_is_given_up_after_an_interval(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    struct sim_machine *host = sim_process_machine(sim_reactor_process(h->th.host));

    run_to_tick_and(h, NS_PER_S);
    sim_net_block(sim_process_machine(h->th.server), host, true);
    run_to_tick_and(h, KEEP_ALIVE_NS - 100 * NS_PER_MS);
    assert_false(h->ctrl_ended);
    th_run(&h->th, 200 * NS_PER_MS);
    assert_true(h->ctrl_ended);
    assert_int_equal(h->ctrl_why.code, STATUS_TIMED_OUT);
    host_destroy(h);
}

static void an_event_arrives(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);

    nvme_subsys_ns_changed(h->th.subsys);
    th_run(&h->th, NS_PER_S);
    assert_int_equal(h->events, 1);
    host_destroy(h);
}

static struct status connect_code(struct host *h)
{
    host_connect_ctrl(h);
    th_wait(&h->th, &h->ctrl_ended);
    assert_false(h->ctrl_ready);
    return h->ctrl_why;
}

static void what_the_target_refuses_is_told(void **state)
{
    (void)state;
    struct host *h = host_create(&(struct th_options) { .allow = "nqn.2026-01.io.trilith:h2" });

    assert_int_equal(connect_code(h).code, STATUS_DENIED);
    host_destroy(h);

    h = host_create(NULL);
    h->endpoint.subsystem_nqn = (struct nqn_text) { NQN_VOLUME_PREFIX "nobody" };
    assert_int_equal(connect_code(h).code, STATUS_NOT_FOUND);
    host_destroy(h);

    h = host_create(NULL);
    h->endpoint.addr.port = 1;
    assert_int_equal(connect_code(h).code, STATUS_REFUSED);
    host_destroy(h);
}

static void a_stop_while_connecting_ends_it(void **state)
{
    (void)state;

    /* At every moment of the first 200 events of the handshake. */
    for (unsigned steps = 0; steps < 200; steps++) {
        struct host *h = host_create(NULL);
        host_connect_ctrl(h);
        for (unsigned i = 0; i < steps && !h->ctrl_ready; i++)
            (void)sim_world_step(h->th.world);
        initiator_ctrl_stop(h->ctrl);
        th_wait(&h->th, &h->ctrl_ended);
        assert_int_equal(h->ctrl_why.code, STATUS_CANCELED);
        host_destroy(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_connection_leaves_sent_commands_unknown),
        cmocka_unit_test(a_stop_ends_every_command),
        cmocka_unit_test(a_command_that_was_not_sent_can_be_canceled),
        cmocka_unit_test(a_command_that_takes_too_long_costs_the_connection),
        cmocka_unit_test(what_comes_after_the_end_is_refused),
        cmocka_unit_test(keep_alive_keeps_an_idle_association),
        cmocka_unit_test(keep_alives_come_at_common_ticks),
        cmocka_unit_test(a_late_keep_alive_has_its_whole_interval),
        cmocka_unit_test(who_does_not_answer_is_given_up_after_an_interval),
        cmocka_unit_test(an_event_arrives),
        cmocka_unit_test(what_the_target_refuses_is_told),
        cmocka_unit_test(a_stop_while_connecting_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
