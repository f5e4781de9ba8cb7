/* SPDX-License-Identifier: Apache-2.0 */
/* What engines ask about their groups, on a real reactor, of a real server over a simulated store.
 */
#include "node/group_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/no_log.h"
#include "ctl/ctl.h"
#include "io/uring.h"
#include "meta/groups.h"
#include "repl/group_steps.h"
#include "rpc/group_message.h"
#include "rpc/server.h"

#define VOLUMES 140 /* More than one call carries. */

static const struct uuid node = { { 0x40, 1 } };

static struct log test_log;
static struct meta *meta;
static struct rpc_server *server;
static struct ctl *ctl;
static char address[64];
static struct reactor *reactor;
static struct group_client *client;
static struct io_timer timer;

static struct group was, now;
static struct group_reason reason;
static struct group records[VOLUMES];
static struct group_op ops[VOLUMES];
static struct status results[VOLUMES];
static unsigned place[VOLUMES]; /* How many had ended before. */
static unsigned ended;
static unsigned wanted;
static bool stopped;

static struct uuid volume(unsigned n)
{
    return (struct uuid) { { 0x70, (uint8_t)n } };
}

/* ---- The controller ---- */

static void put_volume(unsigned n)
{
    Stored__V1__Volume r = STORED__V1__VOLUME__INIT;
    const struct uuid uuid = volume(n);
    struct meta_txn txn;

    r.uuid = record_bytes(&uuid);
    r.node = record_bytes(&node);
    r.replicas = 3;
    r.min_in_sync = 1;
    meta_txn_init(&txn);
    record_put(&txn, key_volume(uuid).s, &r.base);
    group_record_put(&txn, uuid, 0, &was, 0);
    assert_true(status_ok(meta_commit(meta, &txn, NULL)));
    meta_txn_fini(&txn);
}

static void serve(const char *listen)
{
    uint16_t port;

    assert_true(status_ok(rpc_server_create(&server)));
    const struct ctl_config config = { meta, rpc_server_loop(server), &test_log, "test",
                                       "0",  CTL_REBUILD_NEVER };
    assert_true(status_ok(ctl_create(&config, &ctl)));
    for (unsigned i = 0; i < CTL_SERVICE_COUNT; i++)
        rpc_server_add(server, ctl_service(ctl, (enum ctl_service)i));
    assert_true(status_ok(rpc_server_listen(server, listen, &port)));
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
}

static void on_stopping(void *ctx)
{
    (void)ctx;
    ctl_stop(ctl);
}

static void unserve(void)
{
    if (server == NULL)
        return;
    rpc_server_stop(server, on_stopping, NULL, 5000);
    ctl_destroy(ctl);
    rpc_server_destroy(server);
    server = NULL;
}

/* ---- The reactor ---- */

static void on_client_stopped(void *ctx)
{
    (void)ctx;
    stopped = true;
    reactor_stop(reactor);
}

static void on_done(struct group_op *op, struct status st)
{
    results[op - ops] = st;
    place[op - ops] = ended;
    if (++ended == wanted)
        group_client_stop(client, on_client_stopped, NULL);
}

static void op_init(unsigned n)
{
    ops[n] = (struct group_op) { .volume = volume(n), .record = &records[n], .done = on_done };
}

/* Runs the loop until wanted operations have ended, and the client has stopped. */
static void run(void (*begin)(struct io_timer *t), unsigned count)
{
    const struct group_client_config config = { reactor, &test_log, address, node };

    wanted = count;
    ended = 0;
    stopped = false;
    assert_true(status_ok(group_client_start(&config, &client)));
    io_timer_init(&timer, begin);
    io_timer_arm(&timer, reactor, 0);
    reactor_run(reactor);
    assert_int_equal(ended, count);
    assert_true(stopped);
}

static int setup(void **state)
{
    const struct uring_config uring = { .log = &test_log };
    const struct group_session sessions[] = { { { { 0xd0, 1 } }, 101 }, { { { 0xd0, 2 } }, 102 } };
    const struct group_view view = { { sessions, 2 }, 1, 5000 };

    (void)state;
    test_log = (struct log) { .level = LOG_LEVEL_ERROR, .sink = no_log };
    rpc_library_init();
    assert_true(status_ok(uring_reactor_create(&uring, &reactor)));
    assert_true(status_ok(meta_sim_open(&meta)));
    was = (struct group) { .epoch = 7, .owner = node, .sequence = 30, .copyset_count = 1 };
    for (unsigned i = 0; i < 2; i++)
        was.copysets[0].slots[i] = (struct group_slot) { .state = GROUP_SLOT_IN,
                                                         .disk = sessions[i].disk,
                                                         .incarnation = sessions[i].incarnation };
    assert_true(status_ok(group_exclude(&was, &view, sessions[1].disk, &now, &reason)));
    for (unsigned i = 0; i < VOLUMES; i++) {
        put_volume(i);
        op_init(i);
    }
    serve("127.0.0.1:0");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unserve();
    meta_close(meta);
    reactor_destroy(reactor);
    rpc_library_fini();
    return 0;
}

static void is(unsigned n, enum status_code code)
{
    assert_string_equal(status_name(results[n]), status_name((struct status) { code }));
}

static void check_record(unsigned n, const struct group *expected)
{
    static struct group got;

    assert_true(status_ok(group_record_get(meta, volume(n), 0, &got, NULL)));
    assert_true(group_equal(&got, expected));
}

/* ---- Tests ---- */

static void commit_all(struct io_timer *t)
{
    (void)t;
    for (unsigned i = 0; i < wanted; i++)
        group_client_commit(client, &ops[i], &was, &now);
}

/* What waits while a call is under way shares the next one: all are committed, in few calls. */
static void many_share_a_transaction(void **state)
{
    (void)state;
    assert_true(status_ok(rpc_server_start(server)));
    run(commit_all, VOLUMES);
    unserve();
    for (unsigned i = 0; i < VOLUMES; i++) {
        is(i, STATUS_OK);
        check_record(i, &now);
    }
    /* The volumes, the cluster's record, then: the first alone, 128, and the rest. */
    assert_int_equal(meta_revision(meta), VOLUMES + 1 + 3);
}

static void commit_other_disks(struct io_timer *t)
{
    static struct group other;

    (void)t;
    other = now;
    other.copysets[0].slots[1].disk = (struct uuid) { { 0xd0, 3 } };
    for (unsigned i = 0; i + 1 < wanted; i++)
        group_client_commit(client, &ops[i], &was, &other);
    group_client_commit(client, &ops[wanted - 1], &was, &now);
}

/* Changes of disks are a transaction each: an exclusion does not wait for all of them. */
static void an_exclusion_overtakes_replacements(void **state)
{
    (void)state;
    assert_true(status_ok(rpc_server_start(server)));
    run(commit_other_disks, 60);
    unserve();
    is(59, STATUS_OK);
    assert_true(place[59] <= 1 + 16);
}

/* 6.3: an outcome that is not known is asked for until it is: applied... */
static void lost_answer(void **state)
{
    (void)state;
    meta_sim_fault_next(meta, META_SIM_FAULT_LOSE);
    assert_true(status_ok(rpc_server_start(server)));
    run(commit_all, 1);
    unserve();
    is(0, STATUS_OK);
    check_record(0, &now);
}

/* ... or not applied, and then it is now. */
static void refused_commit(void **state)
{
    (void)state;
    meta_sim_fault_next(meta, META_SIM_FAULT_REFUSE);
    assert_true(status_ok(rpc_server_start(server)));
    run(commit_all, 1);
    unserve();
    is(0, STATUS_OK);
    check_record(0, &now);
}

/* A conflict brings the record as it is; a group that is gone, and what can never be, are told. */
static void begin_conflicts(struct io_timer *t)
{
    static struct group before, after, jumping;

    (void)t;
    before = after = was;
    before.sequence = 3;
    after.sequence = 4;
    group_client_commit(client, &ops[0], &before, &after);
    ops[1].volume = volume(200);
    group_client_commit(client, &ops[1], &was, &now);
    jumping = now;
    jumping.sequence++;
    group_client_commit(client, &ops[2], &was, &jumping);
    group_client_commit(client, &ops[3], &was, &now);
}

static void conflicts(void **state)
{
    (void)state;
    assert_true(status_ok(rpc_server_start(server)));
    run(begin_conflicts, 4);
    unserve();
    is(0, STATUS_CONFLICT);
    assert_true(group_equal(&records[0], &was));
    is(1, STATUS_NOT_FOUND);
    is(2, STATUS_INVALID);
    is(3, STATUS_OK);
    check_record(0, &was);
    check_record(2, &was);
}

static void begin_takes(struct io_timer *t)
{
    (void)t;
    group_client_get(client, &ops[0]);
    ops[1].volume = volume(200);
    group_client_get(client, &ops[1]);
    group_client_take(client, &ops[2], 7);
    group_client_take(client, &ops[3], 6);
    ops[4].volume = volume(200);
    group_client_take(client, &ops[4], 0);
    ops[5].min_in_sync = 2;
    group_client_take(client, &ops[5], 7);
}

/* Records are read, and epochs taken, but for one that is not the known one any more. */
static void gets_and_takes(void **state)
{
    (void)state;
    assert_true(status_ok(rpc_server_start(server)));
    run(begin_takes, 6);
    unserve();
    is(0, STATUS_OK);
    assert_true(group_equal(&records[0], &was));
    is(1, STATUS_NOT_FOUND);
    is(2, STATUS_OK);
    assert_int_equal(records[2].epoch, 8);
    is(3, STATUS_CONFLICT);
    assert_int_equal(records[3].epoch, 7);
    is(4, STATUS_NOT_FOUND);
    is(5, STATUS_FOREIGN); /* 11.10 */
}

static void on_got_take(struct group_op *op, struct status st)
{
    assert_true(status_ok(st));
    op->done = on_done;
    group_client_take(client, op, op->record->epoch);
}

static void begin_chain(struct io_timer *t)
{
    (void)t;
    for (unsigned i = 0; i < 2; i++) {
        ops[i].done = on_got_take;
        group_client_get(client, &ops[i]);
    }
}

/* What an operation's end begins is sent once, behind the others of its call. */
static void begun_at_the_end_of_another(void **state)
{
    (void)state;
    assert_true(status_ok(rpc_server_start(server)));
    run(begin_chain, 2);
    unserve();
    for (unsigned i = 0; i < 2; i++) {
        is(i, STATUS_OK);
        assert_int_equal(records[i].epoch, 8);
        check_record(i, &records[i]);
    }
}

static void take_first(struct io_timer *t)
{
    (void)t;
    group_client_take(client, &ops[0], 7);
}

/* 7.1: an epoch whose taking was not answered is nobody's, although it was taken. */
static void lost_epoch(void **state)
{
    (void)state;
    meta_sim_fault_next(meta, META_SIM_FAULT_LOSE);
    assert_true(status_ok(rpc_server_start(server)));
    run(take_first, 1);
    unserve();
    is(0, STATUS_CONFLICT);
    assert_int_equal(records[0].epoch, 8);
}

static void start_server(struct io_timer *t)
{
    (void)t;
    assert_true(status_ok(rpc_server_start(server)));
}

static void commit_before_the_server(struct io_timer *t)
{
    group_client_commit(client, &ops[0], &was, &now);
    io_timer_init(t, start_server);
    io_timer_arm(t, reactor, reactor_now_ns(reactor) + 150 * NS_PER_MS);
}

/* A controller that is not there is waited for. */
static void server_comes_late(void **state)
{
    char listen[64];

    (void)state;
    memcpy(listen, address, sizeof listen);
    assert_true(status_ok(rpc_server_start(server)));
    unserve();
    serve(listen);
    run(commit_before_the_server, 1);
    unserve();
    is(0, STATUS_OK);
    check_record(0, &now);
}

/* ---- A controller that answers what it should not ---- */

static unsigned calls;

static struct rpc_service strange_service;

static void strange_get(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    Trilith__V1__GetGroupsResponse reply = TRILITH__V1__GET_GROUPS_RESPONSE__INIT;
    Trilith__V1__GroupState state = TRILITH__V1__GROUP_STATE__INIT;
    Trilith__V1__GroupState *states[] = { &state };

    (void)ctx;
    (void)message;
    if (++calls == 1) {
        rpc_fail(call, RPC_NOT_FOUND, "no such thing"); /* Of which group? */
        return;
    }
    reply.groups = states;
    reply.n_groups = calls > 2 ? 1 : 0;
    rpc_reply(call, &reply.base);
}

/* Another epoch than the next, of another node; then the right one. */
static void strange_take(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__TakeGroupResponse reply = TRILITH__V1__TAKE_GROUP_RESPONSE__INIT;
    struct group *g = arena_alloc(&arena, sizeof *g);

    (void)ctx;
    (void)message;
    *g = was;
    g->epoch = ++calls == 1 ? 9 : 8;
    if (calls == 2)
        g->owner.b[1]++;
    reply.taken = true;
    reply.record = calls == 3 ? NULL : group_to_message(g, &arena);
    rpc_reply(call, &reply.base);
}

static void strange_commit(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    Trilith__V1__CommitGroupsResponse reply = TRILITH__V1__COMMIT_GROUPS_RESPONSE__INIT;
    Trilith__V1__GroupResult result = TRILITH__V1__GROUP_RESULT__INIT;
    Trilith__V1__GroupResult *results_sent[] = { &result };

    (void)ctx;
    (void)message;
    if (++calls == 1) {
        rpc_fail(call, RPC_DEADLINE_EXCEEDED, "too late");
        return;
    }
    reply.results = results_sent;
    reply.n_results = calls == 2 ? 0 : 1;
    result.outcome = calls == 3 ? TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_CONFLICT
                                : TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_COMMITTED;
    rpc_reply(call, &reply.base);
}

static const struct rpc_method strange_methods[] = { { "GetGroups", strange_get },
                                                     { "TakeGroup", strange_take },
                                                     { "CommitGroups", strange_commit } };

static void strange_run(void (*begin)(struct io_timer *t))
{
    uint16_t port;

    strange_service =
        (struct rpc_service) { &trilith__v1__group_service__descriptor, strange_methods, NULL };
    if (server != NULL) { /* That of the setup. */
        assert_true(status_ok(rpc_server_start(server)));
        unserve();
    }
    calls = 0;
    assert_true(status_ok(rpc_server_create(&server)));
    rpc_server_add(server, &strange_service);
    assert_true(status_ok(rpc_server_listen(server, "127.0.0.1:0", &port)));
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_true(status_ok(rpc_server_start(server)));
    run(begin, 1);
    rpc_server_stop(server, NULL, NULL, 5000);
    rpc_server_destroy(server);
    server = NULL;
}

static void get_first(struct io_timer *t)
{
    (void)t;
    group_client_get(client, &ops[0]);
}

/* W1: an answer that says nothing of what was asked, or cannot be, is none: it is asked again. */
static void strange_answers(void **state)
{
    (void)state;
    strange_run(commit_all);
    is(0, STATUS_OK);
    assert_int_equal(calls, 4);
    strange_run(take_first);
    is(0, STATUS_OK);
    assert_int_equal(calls, 4);
    assert_int_equal(records[0].epoch, 8);
    strange_run(get_first);
    is(0, STATUS_NOT_FOUND);
    assert_int_equal(calls, 3);
}

static void stop_at_once(struct io_timer *t)
{
    (void)t;
    for (unsigned i = 0; i < wanted; i++)
        group_client_commit(client, &ops[i], &was, &now);
    wanted = 0; /* The operations do not stop it. */
    group_client_stop(client, on_client_stopped, NULL);
}

/* A client that is stopped ends everything, before it says that it has. */
static void stop_with_operations(void **state)
{
    const struct group_client_config config = { reactor, &test_log, address, node };

    (void)state;
    wanted = VOLUMES;
    ended = 0;
    assert_true(status_ok(group_client_start(&config, &client)));
    io_timer_init(&timer, stop_at_once);
    io_timer_arm(&timer, reactor, 0);
    assert_true(status_ok(rpc_server_start(server)));
    reactor_run(reactor);
    assert_int_equal(ended, VOLUMES);
    for (unsigned i = 0; i < VOLUMES; i++)
        is(i, STATUS_CANCELED);
}

/* An address that cannot be is refused at once. */
static void bad_address(void **state)
{
    const struct group_client_config config = { reactor, &test_log, "nowhere", node };

    (void)state;
    assert_true(status_is(group_client_start(&config, &client), STATUS_INVALID));
    assert_true(status_ok(rpc_server_start(server)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_share_a_transaction),
        TEST(an_exclusion_overtakes_replacements),
        TEST(lost_answer),
        TEST(refused_commit),
        TEST(conflicts),
        TEST(gets_and_takes),
        TEST(lost_epoch),
        TEST(server_comes_late),
        TEST(strange_answers),
        TEST(stop_with_operations),
        TEST(bad_address),
        TEST(begun_at_the_end_of_another),
    };
    return cmocka_run_group_tests_name("group_client", tests, NULL, NULL);
}
