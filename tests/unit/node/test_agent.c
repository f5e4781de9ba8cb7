/* SPDX-License-Identifier: Apache-2.0 */
/* The agent on a real reactor against a real controller, with a node that is played here. */
#include "node/agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/no_log.h"
#include "ctl/controller.h"
#include "ctl/ctl.h"
#include "io/uring.h"
#include "rpc/client.h"
#include "trilith/v1/volume.pb-c.h"

#define MIB (UINT64_C(1) << 20)

enum { CREATE, LIST, GET, DELETE };

/* What has happened, in order, one word each. */
static char story[512];

static char dir[64];
static char address[64];
static struct log test_log;
static struct reactor *reactor;
static struct controller *controller;
static struct node_agent *agent;
static struct rpc_client *client;
static struct rpc_request request;
static struct io_msg request_msg;
static struct io_timer timer;

static struct node_membership membership;
static struct node_disk_report disk;
static struct node_volume_report volume;
static uint32_t volume_count;
static uint64_t revision;
static bool put_off; /* What is wanted, once. */

static void tell(const char *what)
{
    const size_t at = strlen(story);
    snprintf(story + at, sizeof story - at, "%s ", what);
}

/* ---- Requests of a user, whose answers come to the reactor ---- */

static void (*answered)(void);

static void on_answer(struct io_msg *msg)
{
    (void)msg;
    answered();
}

static void on_request_done(struct rpc_request *r)
{
    (void)r;
    reactor_post(reactor, &request_msg);
}

static void ask(unsigned method, const ProtobufCMessage *message, void (*then)(void))
{
    answered = then;
    request = (struct rpc_request) { .done = on_request_done };
    request_msg = (struct io_msg) { .deliver = on_answer };
    rpc_client_start(client, &trilith__v1__volume_service__descriptor, method, message, 20000,
                     &request);
}

/* ---- The chain of events, in the order in which they happen ---- */

static void on_stopped(void *ctx)
{
    (void)ctx;
    tell("stopped");
    reactor_stop(reactor);
}

/* The user's call and the node's watch end in any order. */
static void on_one_ended(void)
{
    if (strstr(story, "gone ") != NULL && strstr(story, "empty ") != NULL)
        node_agent_stop(agent, on_stopped, NULL);
}

static void on_deleted(void)
{
    assert_int_equal(request.error.code, RPC_OK);
    const Trilith__V1__DeleteVolumeResponse *r =
        (const Trilith__V1__DeleteVolumeResponse *)(const void *)request.reply;
    tell(r->gone ? "gone" : "there");
    rpc_message_free(request.reply);
    on_one_ended();
}

static void on_created(void)
{
    char name[] = "db1";
    assert_string_equal(request.error.text, "");
    const Trilith__V1__CreateVolumeResponse *r =
        (const Trilith__V1__CreateVolumeResponse *)(const void *)request.reply;
    tell(r->volume->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY ? "ready" : "unready");
    assert_string_equal(r->volume->targets[0]->address, "192.0.2.1");
    assert_int_equal(r->volume->targets[0]->port, 4421);
    rpc_message_free(request.reply);
    Trilith__V1__DeleteVolumeRequest message = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    message.name = name;
    ask(DELETE, &message.base, on_deleted);
}

static void create_volume(struct io_timer *t)
{
    char name[] = "db1";
    (void)t;
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    Trilith__V1__CreateVolumeRequest message = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    spec.name = name;
    spec.bytes = 300 * MIB;
    message.spec = &spec;
    ask(CREATE, &message.base, on_created);
}

static void on_epoch(void *ctx, struct status status, uint64_t epoch)
{
    (void)ctx;
    assert_true(status_ok(status));
    assert_int_equal(epoch, 1);
    tell("epoch");
    volume.state = NODE_VOLUME_READY;
    volume.epoch = epoch;
    node_agent_changed(agent);
}

static struct status on_desired(void *ctx, const struct node_desired *desired)
{
    (void)ctx;
    assert_true(desired->revision > revision);
    if (desired->volume_count > 0 && !put_off) {
        put_off = true; /* The agent asks again. */
        return STATUS(NO_MEMORY);
    }
    revision = desired->revision;
    if (desired->volume_count == 0) {
        tell(volume_count > 0 ? "empty" : "first");
        if (volume_count > 0)
            on_one_ended();
        return STATUS(OK);
    }
    const struct node_desired_volume *v = &desired->volumes[0];
    if (v->deleting) {
        tell("deleting");
        volume.state = NODE_VOLUME_DELETED;
        return STATUS(OK);
    }
    tell("desired");
    /* 300 MiB on one disk: the smallest shard above it that leaves at least one is 256 MiB. */
    assert_int_equal(v->volume.shard_bytes, 256 * MIB);
    assert_int_equal(v->shard_count, 2);
    assert_int_equal(v->placement[0], 0);
    assert_true(uuid_equal(desired->disks[0], disk.uuid));
    assert_string_equal(v->volume.name, "db1");
    assert_string_equal(v->nqn.s, "nqn.2026-01.io.trilith:volume:db1");
    assert_int_equal(v->allowed_host_count, 0);
    volume.uuid = v->volume.uuid;
    volume.state = NODE_VOLUME_OPENING;
    volume_count = 1;
    assert_true(status_ok(node_agent_take_epoch(agent, v->volume.uuid, on_epoch, NULL)));
    return STATUS(OK);
}

static void fill_report(void *ctx, struct node_report *out_report)
{
    (void)ctx;
    *out_report = (struct node_report) { .revision = revision,
                                         .disks = &disk,
                                         .disk_count = 1,
                                         .volumes = &volume,
                                         .volume_count = volume_count };
}

static void on_joined(void *ctx, const struct node_membership *m)
{
    const struct io_addr hosts = { IO_FAMILY_IPV4, { 192, 0, 2, 1 }, 0, 4421 };
    (void)ctx;
    tell("joined");
    membership = *m;
    node_agent_advertise(agent, &hosts);
    node_agent_disks_opened(agent);
    io_timer_arm(&timer, reactor, reactor_now_ns(reactor) + 300 * NS_PER_MS);
}

static const struct node_agent_ops ops = { on_joined, on_desired, fill_report };

/* ---- Set-up ---- */

static void start_controller(const char *listen)
{
    char path[80];
    char problem[CONTROLLER_PROBLEM_BYTES];
    snprintf(path, sizeof path, "%s/meta.db", dir);
    const struct controller_config config = { path,      listen, "test",           "0",
                                              &test_log, NULL,   CTL_REBUILD_NEVER };
    assert_true(status_ok(controller_start(&config, problem, &controller)));
    snprintf(address, sizeof address, "127.0.0.1:%u", controller_port(controller));
}

static int setup(void **state)
{
    (void)state;
    const struct uring_config uring = { .log = &test_log };
    test_log = (struct log) { .level = LOG_LEVEL_ERROR, .sink = no_log };
    story[0] = '\0';
    revision = 0;
    put_off = false;
    volume_count = 0;
    rpc_library_init();
    snprintf(dir, sizeof dir, "/tmp/trilith-agent.XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_true(status_ok(uring_reactor_create(&uring, &reactor)));
    disk = (struct node_disk_report) { .uuid = { { 1 } },
                                       .name = "node-1/disk-1",
                                       .path = "/bad\xff\x01path",
                                       .bytes = 1000 * MIB,
                                       .free_bytes = 900 * MIB,
                                       .atomic_bytes = 4096 };
    volume = (struct node_volume_report) { .state = NODE_VOLUME_OPENING };
    return 0;
}

static int teardown(void **state)
{
    char path[96];
    static const char *const names[] = { "meta.db", "meta.db-wal" };
    (void)state;
    controller_stop(controller);
    reactor_destroy(reactor);
    rpc_library_fini();
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static void start_agent(const char *name)
{
    const struct node_agent_config config = { .reactor = reactor,
                                              .log = &test_log,
                                              .controller = address,
                                              .node = { { 9 } },
                                              .name = name,
                                              .version = "0.1-test",
                                              .advertise = { .family = IO_FAMILY_IPV4 },
                                              .ops = &ops };
    assert_true(status_ok(node_agent_start(&config, &agent)));
}

/* ---- Tests ---- */

/*
 * A node joins, reports its disk, is given a volume, takes an epoch, reports it ready, deletes it
 * when that is wanted, and the users' calls end when it has said so.
 */
static void life_of_a_volume(void **state)
{
    (void)state;
    start_controller("127.0.0.1:0");
    assert_true(status_ok(rpc_client_open(address, &client)));
    io_timer_init(&timer, create_volume);
    start_agent("node-1");
    reactor_run(reactor);
    rpc_client_close(client);
    assert_non_null(strstr(story, "joined first desired epoch ready deleting "));
    assert_non_null(strstr(story, "gone "));
    assert_non_null(strstr(story, "empty "));
    assert_non_null(strstr(story, "stopped "));
    assert_int_equal(membership.node_index, 1);
    assert_string_equal(membership.cluster_name, "test");
}

static void start_late(struct io_timer *t)
{
    (void)t;
    tell("start");
    start_controller(address);
}

static void on_joined_late(void *ctx, const struct node_membership *m)
{
    (void)ctx;
    (void)m;
    tell("joined");
    node_agent_stop(agent, on_stopped, NULL);
}

static const struct node_agent_ops late_ops = { on_joined_late, on_desired, fill_report };

/* An agent whose controller is not there tries on until it is. */
static void controller_comes_late(void **state)
{
    (void)state;
    start_controller("127.0.0.1:0");
    controller_stop(controller);
    controller = NULL;
    const struct node_agent_config config = { .reactor = reactor,
                                              .log = &test_log,
                                              .controller = address,
                                              .node = { { 9 } },
                                              .name = "node-1",
                                              .version = "0.1-test",
                                              .advertise = { .family = IO_FAMILY_IPV4 },
                                              .ops = &late_ops };
    assert_true(status_ok(node_agent_start(&config, &agent)));
    io_timer_init(&timer, start_late);
    io_timer_arm(&timer, reactor, reactor_clock_ns(reactor) + 300 * NS_PER_MS);
    reactor_run(reactor);
    assert_string_equal(story, "start joined stopped ");
}

/* ---- A report that is too large ---- */

#define RESULTS 70000u /* More than fit into a request. */

static struct node_order_result *results;
static unsigned reports, errors;

static void count_errors(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    if (level == LOG_LEVEL_ERROR && strstr(line, "refuses its report") != NULL)
        errors++;
}

/* Three that are, one that is not, and again some that are. */
static void fill_large_report(void *ctx, struct node_report *out_report)
{
    (void)ctx;
    reports++;
    *out_report = (struct node_report) {
        .results = results,
        .result_count = reports == 4 ? 0 : RESULTS,
    };
    if (reports == 4)
        assert_int_equal(errors, 1);
}

static void ask_for_report(struct io_timer *t)
{
    if (reports == 8) {
        node_agent_stop(agent, on_stopped, NULL);
        return;
    }
    node_agent_changed(agent);
    io_timer_arm(t, reactor, reactor_now_ns(reactor) + 10 * NS_PER_MS);
}

static void on_joined_large(void *ctx, const struct node_membership *m)
{
    (void)ctx;
    (void)m;
    node_agent_disks_opened(agent);
    io_timer_arm(&timer, reactor, reactor_now_ns(reactor) + 10 * NS_PER_MS);
}

static struct status on_desired_large(void *ctx, const struct node_desired *desired)
{
    (void)ctx;
    (void)desired;
    return STATUS(OK);
}

static const struct node_agent_ops large_ops = { on_joined_large, on_desired_large,
                                                 fill_large_report };

/* It is said in the log, once until one is taken again. */
static void a_report_that_is_refused_is_logged_once(void **state)
{
    (void)state;
    start_controller("127.0.0.1:0");
    struct log log = { .level = LOG_LEVEL_ERROR, .sink = count_errors };
    const struct node_agent_config config = { .reactor = reactor,
                                              .log = &log,
                                              .controller = address,
                                              .node = { { 9 } },
                                              .name = "node-1",
                                              .version = "0.1-test",
                                              .advertise = { .family = IO_FAMILY_IPV4 },
                                              .ops = &large_ops };
    results = calloc(RESULTS, sizeof *results);
    for (unsigned i = 0; i < RESULTS; i++)
        memset(results[i].problem, 'x', sizeof results[i].problem - 1);
    io_timer_init(&timer, ask_for_report);
    assert_true(status_ok(node_agent_start(&config, &agent)));
    reactor_run(reactor);
    free(results);
    assert_string_equal(story, "stopped ");
    assert_int_equal(errors, 2);
}

/* Names and addresses that cannot be are refused at once. */
static void refusals(void **state)
{
    struct node_agent_config config = { .reactor = reactor,
                                        .log = &test_log,
                                        .controller = "127.0.0.1:1",
                                        .node = { { 9 } },
                                        .name = "node 1",
                                        .version = "0.1-test",
                                        .ops = &ops };
    (void)state;
    controller = NULL;
    assert_true(status_is(node_agent_start(&config, &agent), STATUS_INVALID));
    config.name = "node-1";
    config.controller = "nowhere";
    assert_true(status_is(node_agent_start(&config, &agent), STATUS_INVALID));
    config.controller = "127.0.0.1:1";
    config.node = (struct uuid) { { 0 } };
    assert_true(status_is(node_agent_start(&config, &agent), STATUS_INVALID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(life_of_a_volume, setup, teardown),
        cmocka_unit_test_setup_teardown(controller_comes_late, setup, teardown),
        cmocka_unit_test_setup_teardown(a_report_that_is_refused_is_logged_once, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
    };
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
