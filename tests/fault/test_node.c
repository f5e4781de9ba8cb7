/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node that starts, is told of a volume, serves it and stops, while the Nth allocation or the
 * Nth operation of its disk fails.  It lives three times: undisturbed, so that disk and volume are
 * there; disturbed; undisturbed again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/no_log.h"
#include "fault.h"
#include "io/sim.h"
#include "node/node.h"

#define M            ((uint64_t)1 << 20)
#define DISK_BYTES   (16 * M)
#define SHARD_BYTES  (4 * M)
#define SHARDS       2
#define SHARDS_GROWN 3
#define LIMIT_NS     (60 * NS_PER_S)

static struct {
    struct sim_world *world;
    struct sim_machine *machine;
    struct reactor *home;
    struct log log;

    struct node *node;
    struct status created;
    struct status opened;
    bool is_open, is_stopped;

    struct node_membership membership;
    struct uuid disk;
    struct node_desired_volume volume;
    struct node_desired desired;
    struct status applied;
    uint64_t epoch;
    struct node_report report;
} f;

/* ---- A device whose operations fail ---- */

static struct {
    struct dev dev;
    struct dev *inner;
} failing;

static void failing_on_timer(struct io_timer *timer)
{
    struct dev_io *const io = CONTAINER_OF(timer, struct dev_io, timer);

    io->status = io->kind == DEV_KIND_READ ? STATUS(MEDIA_READ) : STATUS(MEDIA_WRITE);
    io->done(io);
}

static void failing_start(struct dev *dev, struct dev_io *io)
{
    if (!fault_hits(FAULT_IO)) {
        failing.inner->ops->start(failing.inner, io);
        return;
    }
    io_timer_init(&io->timer, failing_on_timer);
    io_timer_arm(&io->timer, dev->reactor, reactor_now_ns(dev->reactor));
}

static void failing_close(struct dev *dev)
{
    (void)dev;
    dev_close(failing.inner);
}

static const struct dev_ops failing_ops = { failing_start, failing_close };

static struct status open_disk(void *ctx, struct reactor *r, struct dev **out_dev)
{
    TRY(dev_file_open(r, ctx, 0, true, &failing.inner));
    failing.dev = *failing.inner;
    failing.dev.ops = &failing_ops;
    *out_dev = &failing.dev;
    return STATUS(OK);
}

/* ---- The node ---- */

static void on_opened(void *ctx, struct status status, const char *problem)
{
    (void)ctx;
    (void)problem;
    f.opened = status;
    f.is_open = true;
}

static void on_changed(void *ctx)
{
    (void)ctx;
}

static struct {
    struct io_msg msg;
    node_agent_epoch_fn *done;
    void *ctx;
} taking;

static void taking_deliver(struct io_msg *msg)
{
    (void)msg;
    taking.done(taking.ctx, STATUS(OK), ++f.epoch);
}

static struct status on_take_epoch(void *ctx, struct uuid volume, node_agent_epoch_fn *done,
                                   void *done_ctx)
{
    (void)ctx;
    (void)volume;
    taking.done = done;
    taking.ctx = done_ctx;
    taking.msg.deliver = taking_deliver;
    reactor_post(f.home, &taking.msg);
    return STATUS(OK);
}

static const struct node_ops ops = { on_opened, on_changed, on_take_epoch };

static void program_main(struct sim_process *p, void *ctx)
{
    static char path[] = "/disk-1";
    const struct node_disk_config disk = {
        .name = "node-1/disk-1", .path = "/disk-1", .open = open_disk, .ctx = path
    };

    (void)ctx;
    f.home = sim_process_reactor(p, 0);
    const struct node_config config = {
        .reactors = &f.home,
        .reactor_count = 1,
        .listen = sim_machine_addr(f.machine, 4420),
        .buffer_bytes = M,
        .commands_max = 32,
        .disks = &disk,
        .disk_count = 1,
        .log = &f.log,
        .ops = &ops,
    };
    f.created = node_create(&config, &f.node);
    if (status_ok(f.created))
        node_join(f.node, &f.membership);
    else
        reactor_stop(f.home);
}

/* Lets time pass until *condition. */
static void wait_for(const bool *condition)
{
    const uint64_t limit = sim_world_now_ns(f.world) + LIMIT_NS;

    while (!*condition && sim_world_now_ns(f.world) < limit)
        assert_true(sim_world_step(f.world));
    assert_true(*condition);
}

/* False if there is no node, for want of memory. */
static bool start(void)
{
    const struct sim_program program = { .name = "node", .reactors = 1, .main = program_main };

    f.is_open = f.is_stopped = false;
    f.created = STATUS(TIMED_OUT);
    sim_spawn(f.machine, &program);
    while (status_is(f.created, STATUS_TIMED_OUT))
        assert_true(sim_world_step(f.world));
    if (!status_ok(f.created)) {
        assert_int_equal(f.created.code, STATUS_NO_MEMORY);
        sim_world_run(f.world, NS_PER_S);
        return false;
    }
    wait_for(&f.is_open);
    return true;
}

/* Runs fn on the node's reactor. */
static struct {
    struct io_msg msg;
    void (*fn)(void);
    bool done;
} errand;

static void errand_deliver(struct io_msg *msg)
{
    (void)msg;
    errand.fn();
    errand.done = true;
}

static void at_home(void (*fn)(void))
{
    errand.msg.deliver = errand_deliver;
    errand.fn = fn;
    errand.done = false;
    reactor_post(f.home, &errand.msg);
    wait_for(&errand.done);
}

static void get_report(void)
{
    node_fill_report(f.node, &f.report);
}

static void apply(void)
{
    f.desired.revision++;
    f.applied = node_apply(f.node, &f.desired);
}

static void on_stopped(void *ctx)
{
    (void)ctx;
    f.is_stopped = true;
    reactor_stop(f.home);
}

static void begin_stop(void)
{
    node_stop(f.node, on_stopped, NULL);
}

static void stop(void)
{
    at_home(begin_stop);
    wait_for(&f.is_stopped);
    sim_world_run(f.world, NS_PER_S);
}

/* ---- The volume ---- */

static void wish_make(void)
{
    static uint32_t placement[SHARDS_GROWN];
    static struct nqn_text hosts[] = { { "nqn.2026-01.io.trilith:host:h1" } };

    at_home(get_report);
    assert_int_equal(f.report.disk_count, 1);
    f.disk = f.report.disks[0].uuid;
    f.volume = (struct node_desired_volume) {
        .volume = { .uuid = { { 5 } },
                    .name = "db1",
                    .bytes = SHARDS * SHARD_BYTES,
                    .shard_bytes = SHARD_BYTES,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 256 << 10,
                    .stripe_width = 1,
                    .replicas = 1,
                    .min_in_sync = 1 },
        .shard_count = SHARDS,
        .placement = placement,
        .allowed_hosts = hosts,
        .allowed_host_count = 1,
    };
    assert_true(status_ok(nqn_for_volume("db1", &f.volume.nqn)));
    f.desired = (struct node_desired) {
        .disks = &f.disk, .disk_count = 1, .volumes = &f.volume, .volume_count = 1
    };
}

static bool is_ready(void)
{
    at_home(get_report);
    return f.report.volume_count == 1 && f.report.volumes[0].state == NODE_VOLUME_READY;
}

/* Nothing fails any more: the volume's own attempts bring it up. */
static void serve(void)
{
    at_home(apply);
    assert_true(status_ok(f.applied));
    for (unsigned i = 0; i < 100 && !is_ready(); i++)
        sim_world_run(f.world, NS_PER_S);
    assert_true(is_ready());
    assert_true(f.report.revision == f.desired.revision);
}

/* ---- Three lives ---- */

static void world_make(void)
{
    const struct sim_disk_config disk = { .bytes = DISK_BYTES,
                                          .align_bytes = 4096,
                                          .atomic_bytes = 4096,
                                          .reports_atomic = true,
                                          .volatile_cache = true };

    memset(&f, 0, sizeof f);
    f.world = sim_world_create(&(struct sim_config) { .seed = 1 });
    f.machine = sim_machine_create(f.world, "node-1");
    (void)sim_disk_create(f.machine, "/disk-1", &disk);
    f.log = (struct log) { .level = LOG_LEVEL_ERROR, .sink = no_log };
    f.membership = (struct node_membership) { .cluster = { { 0xc1 } },
                                              .cluster_name = "test",
                                              .node_index = 1 };
}

static void want_growth(void)
{
    struct store_volume *const v = &f.volume.volume;

    v->bytes += (SHARDS_GROWN - SHARDS) * SHARD_BYTES;
    v->first_run_shards = SHARDS;
    f.volume.shard_count = SHARDS_GROWN;
    assert_true(store_volume_shards(v) == SHARDS_GROWN);
}

/* The volume is as it was or has grown, and is served all the time; without memory it grows late.
 */
static void disturbed_growth(enum fault_kind kind)
{
    const uint64_t before = f.volume.volume.bytes;

    want_growth();
    fault_begin();
    at_home(apply);
    sim_world_run(f.world, NS_PER_S);
    fault_end();
    assert_true(is_ready());
    const uint64_t bytes = f.report.volumes[0].bytes;
    assert_true(bytes == f.volume.volume.bytes || (bytes == before && fault_happened()));
    if (kind == FAULT_IO)
        return;
    at_home(apply);
    assert_true(status_ok(f.applied));
    sim_world_run(f.world, 20 * NS_PER_S);
    assert_true(is_ready());
    assert_true(f.report.volumes[0].bytes == f.volume.volume.bytes);
}

static void disturbed_life(enum fault_kind kind)
{
    const uint64_t before = f.desired.revision;

    fault_begin();
    if (!start()) {
        fault_end();
        return;
    }
    at_home(get_report);
    const bool whole = status_ok(f.opened) && f.report.disk_count == 1;
    assert_true(whole || fault_happened());
    if (status_ok(f.opened)) {
        /* A disk that could not be used is told, with a reason. */
        assert_int_equal(f.report.disk_count + f.report.problem_count, 1);
        at_home(apply);
        assert_true(status_ok(f.applied) || kind == FAULT_ALLOCATION);
        sim_world_run(f.world, NS_PER_S);
        at_home(get_report);
        assert_true(f.report.revision == (status_ok(f.applied) ? f.desired.revision : before) ||
                    f.report.revision == 0);
        if (!status_ok(f.applied))
            assert_int_equal(f.report.volume_count, 0); /* Not half wanted. */
    }
    fault_end();
    if (whole && (kind == FAULT_ALLOCATION || !fault_happened())) {
        serve();
        fault_begin();
        at_home(apply); /* The same again: what is served stays so. */
        fault_end();
        assert_true(is_ready());
        disturbed_growth(kind);
    }
    stop();
}

static void scenario(enum fault_kind kind)
{
    world_make();
    assert_true(start());
    wish_make();
    serve();
    stop();
    disturbed_life(kind);
    assert_true(start());
    at_home(get_report);
    assert_int_equal(f.report.problem_count, 0);
    serve();
    assert_true(f.report.volumes[0].bytes == f.volume.volume.bytes);
    stop();
    sim_world_destroy(f.world);
}

static void allocation_scenario(void)
{
    scenario(FAULT_ALLOCATION);
}

static void io_scenario(void)
{
    scenario(FAULT_IO);
}

/* A node without memory says so or goes on, serves when there is some, and leaves nothing. */
static void a_node_without_memory(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, allocation_scenario);
}

/* A node whose disk fails tells of it, stops in order, and the disk opens the next time. */
static void a_node_with_a_failing_disk(void **state)
{
    (void)state;
    fault_each(FAULT_IO, io_scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_without_memory),
        cmocka_unit_test(a_node_with_a_failing_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
