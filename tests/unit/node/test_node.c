/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/sim.h"

#define M           ((uint64_t)1 << 20)
#define DISKS       3
#define DISK_BYTES  (64 * M)
#define SHARD_BYTES (4 * M)
#define SHARDS      4
#define SHARDS_MAX  6 /* Of a volume that grows. */
#define VOLUMES_MAX 2
#define LIMIT_NS    (60 * NS_PER_S)

/* A simulated machine with a node on two reactors, and the test in the place of a controller. */
struct fixture {
    struct sim_world *world;
    struct sim_machine *machine;
    struct sim_disk *disks[DISKS];
    struct sim_process *process;
    struct reactor *reactors[2];
    struct log log;
    char last_log[LOG_LINE_BYTES];

    struct node *node;
    unsigned later_disks; /* Of DISKS, that it does not begin with. */
    bool is_changed;      /* node_add_disk() or node_remove_disk() has ended. */
    struct node_config config;
    struct node_disk_config disk_configs[DISKS];
    char paths[DISKS][16];
    struct node_membership membership;
    struct status opened;
    char problem[256];
    bool is_open;
    bool is_stopped;

    struct node_desired desired;
    struct node_desired_volume volumes[VOLUMES_MAX];
    struct uuid disk_uuids[DISKS];
    uint32_t placement[SHARDS_MAX];

    struct status epoch_status; /* What TakeEpoch answers. */
    uint64_t epoch;
};

static void on_opened(void *ctx, struct status status, const char *problem)
{
    struct fixture *f = ctx;
    f->opened = status;
    f->is_open = true;
    snprintf(f->problem, sizeof f->problem, "%s", problem);
}

static void on_changed(void *ctx)
{
    (void)ctx;
}

/* An epoch that is being taken. */
struct taking {
    struct io_msg msg;
    struct fixture *f;
    node_agent_epoch_fn *done;
    void *ctx;
};

static void taking_deliver(struct io_msg *msg)
{
    struct taking *t = CONTAINER_OF(msg, struct taking, msg);
    t->done(t->ctx, t->f->epoch_status, ++t->f->epoch);
    free(t);
}

static struct status on_take_epoch(void *ctx, struct uuid volume, node_agent_epoch_fn *done,
                                   void *done_ctx)
{
    struct fixture *f = ctx;
    struct taking *t = calloc(1, sizeof *t);
    (void)volume;
    *t = (struct taking) { { .deliver = taking_deliver }, f, done, done_ctx };
    reactor_post(f->reactors[0], &t->msg);
    return STATUS(OK);
}

static const struct node_ops test_ops = { on_opened, on_changed, on_take_epoch };

static struct status open_disk(void *ctx, struct reactor *r, struct dev **out_dev)
{
    return dev_file_open(r, ctx, 0, true, out_dev);
}

static void log_sink(struct log *log, enum log_level level, const char *line)
{
    struct fixture *f = log->ctx;
    if (level <= LOG_LEVEL_WARNING)
        snprintf(f->last_log, sizeof f->last_log, "%s", line);
}

static void set_up_world(struct fixture *f)
{
    const struct sim_config config = { .seed = 1 };
    const struct sim_disk_config disk = {
        .bytes = DISK_BYTES,
        .align_bytes = 4096,
        .atomic_bytes = 4096,
        .reports_atomic = true,
        .volatile_cache = true,
    };

    f->world = sim_world_create(&config);
    f->machine = sim_machine_create(f->world, "node-1");
    for (unsigned i = 0; i < DISKS; i++) {
        snprintf(f->paths[i], sizeof f->paths[i], "/disk-%u", i + 1);
        f->disks[i] = sim_disk_create(f->machine, f->paths[i], &disk);
        f->disk_configs[i].open = open_disk;
        f->disk_configs[i].ctx = f->paths[i];
        snprintf(f->disk_configs[i].name, sizeof f->disk_configs[i].name, "node-1/disk-%u", i + 1);
        snprintf(f->disk_configs[i].path, sizeof f->disk_configs[i].path, "%s", f->paths[i]);
    }
    f->log = (struct log) { .level = LOG_LEVEL_INFO, .sink = log_sink, .ctx = f };
    memset(f->membership.cluster.b, 0xc1, 16);
    snprintf(f->membership.cluster_name, sizeof f->membership.cluster_name, "test");
    f->membership.node_index = 1;
}

static struct fixture *fixture_create(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    set_up_world(f);
    return f;
}

/* The process: creates the node and lets it join. */
static void program_main(struct sim_process *p, void *ctx)
{
    struct fixture *f = ctx;

    for (unsigned i = 0; i < 2; i++)
        f->reactors[i] = sim_process_reactor(p, i);
    f->config = (struct node_config) {
        .reactors = f->reactors,
        .reactor_count = 2,
        .listen = sim_machine_addr(f->machine, 4420),
        .buffer_bytes = 8 * M,
        .commands_max = 32,
        .disks = f->disk_configs,
        .disk_count = DISKS - f->later_disks,
        .log = &f->log,
        .ops = &test_ops,
        .ctx = f,
    };
    assert_true(status_ok(node_create(&f->config, &f->node)));
    node_join(f->node, &f->membership);
}

static void start(struct fixture *f)
{
    const struct sim_program program = {
        .name = "node",
        .reactors = 2,
        .main = program_main,
        .ctx = f,
    };

    f->is_open = false;
    f->is_stopped = false;
    f->process = sim_spawn(f->machine, &program);
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    while (!f->is_open && sim_world_now_ns(f->world) < limit)
        assert_true(sim_world_step(f->world));
    assert_true(f->is_open);
}

/* Calls fn on the node's home reactor. */
struct errand {
    struct io_msg msg;
    struct fixture *f;
    void (*fn)(struct fixture *f);
    bool done;
};

static void errand_deliver(struct io_msg *msg)
{
    struct errand *e = CONTAINER_OF(msg, struct errand, msg);
    e->fn(e->f);
    e->done = true;
}

static void at_home(struct fixture *f, void (*fn)(struct fixture *f))
{
    struct errand e = { .msg.deliver = errand_deliver, .f = f, .fn = fn };
    reactor_post(f->reactors[0], &e.msg);
    while (!e.done)
        assert_true(sim_world_step(f->world));
}

static struct node_report report; /* Of the last get_report(). */

static void get_report(struct fixture *f)
{
    node_fill_report(f->node, &report);
}

static void apply(struct fixture *f)
{
    f->desired.revision++;
    assert_true(status_ok(node_apply(f->node, &f->desired)));
}

static void on_stopped(void *ctx)
{
    struct fixture *f = ctx;
    f->is_stopped = true;
    for (unsigned i = 0; i < 2; i++)
        reactor_stop(f->reactors[i]);
}

static void begin_stop(struct fixture *f)
{
    node_stop(f->node, on_stopped, f);
}

static void stop(struct fixture *f)
{
    at_home(f, begin_stop);
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    while (!f->is_stopped && sim_world_now_ns(f->world) < limit)
        assert_true(sim_world_step(f->world));
    assert_true(f->is_stopped);
    sim_world_run(f->world, NS_PER_S);
}

static void fixture_destroy(struct fixture *f)
{
    sim_world_destroy(f->world);
    free(f);
}

/* Wants the first count of two volumes that lie on the disks that the node has reported. */
static void want_volumes(struct fixture *f, uint32_t count)
{
    at_home(f, get_report);
    for (uint32_t i = 0; i < report.disk_count; i++)
        f->disk_uuids[i] = report.disks[i].uuid;
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        f->placement[i] = i % report.disk_count;
    for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
        struct node_desired_volume *v = &f->volumes[i];
        *v = (struct node_desired_volume) {
            .volume = { .bytes = SHARDS * SHARD_BYTES,
                        .shard_bytes = SHARD_BYTES,
                        .lba_bytes = 4096,
                        .stripe_unit_bytes = 256 << 10,
                        .stripe_width = 2,
                        .replicas = 1,
                        .min_in_sync = 1 },
            .shard_count = SHARDS,
            .placement = f->placement,
        };
        memset(v->volume.uuid.b, (int)i + 1, 16);
        snprintf(v->volume.name, sizeof v->volume.name, "db%u", i + 1);
        assert_true(status_ok(nqn_for_volume(v->volume.name, &v->nqn)));
    }
    f->desired.disks = f->disk_uuids;
    f->desired.disk_count = report.disk_count;
    f->desired.volumes = f->volumes;
    f->desired.volume_count = count;
}

static bool volumes_are(struct fixture *f, uint32_t count, enum node_volume_state state)
{
    at_home(f, get_report);
    if (report.volume_count != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (report.volumes[i].state != state)
            return false;
    return true;
}

static void wait_for_volumes(struct fixture *f, uint32_t count, enum node_volume_state state)
{
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    while (!volumes_are(f, count, state) && sim_world_now_ns(f->world) < limit)
        sim_world_run(f->world, 100 * NS_PER_MS);
    assert_true(volumes_are(f, count, state));
}

/* Blank disks are formatted once; the next start finds them as they were. */
static void blank_disks_are_formatted_once(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    assert_true(status_ok(f->opened));
    at_home(f, get_report);
    assert_int_equal(report.disk_count, DISKS);
    assert_int_equal(report.problem_count, 0);
    assert_string_equal(report.disks[1].name, "node-1/disk-2");
    const struct uuid first = report.disks[0].uuid;
    stop(f);
    start(f);
    at_home(f, get_report);
    assert_true(uuid_equal(report.disks[0].uuid, first));
    stop(f);
    fixture_destroy(f);
}

/* A disk of another cluster, and one that holds something else, are refused; the rest serves. */
static void strange_disks_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    stop(f);
    uint8_t other[4096];
    memset(other, 0x5a, sizeof other);
    for (uint64_t at = 0; at < M; at += sizeof other)
        sim_disk_poke(f->disks[2], at, (struct const_span) { other, sizeof other });
    f->membership.cluster.b[0] ^= 0xff;
    start(f);
    assert_true(status_ok(f->opened));
    at_home(f, get_report);
    assert_int_equal(report.disk_count, 0);
    assert_int_equal(report.problem_count, DISKS);
    assert_non_null(strstr(report.problems[0].text, "test")); /* The cluster's name. */
    assert_non_null(strstr(report.problems[2].text, "--force"));
    stop(f);
    f->membership.cluster.b[0] ^= 0xff;
    start(f);
    at_home(f, get_report);
    assert_int_equal(report.disk_count, 2);
    assert_int_equal(report.problem_count, 1);
    stop(f);
    f->disk_configs[2].force = true;
    start(f);
    at_home(f, get_report);
    assert_int_equal(report.disk_count, DISKS);
    stop(f);
    fixture_destroy(f);
}

/* What is wanted gets served; what is not wanted any more is closed, and can come back. */
static void volumes_follow_the_desired_state(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 2);
    at_home(f, apply);
    wait_for_volumes(f, 2, NODE_VOLUME_READY);
    assert_int_equal(report.revision, f->desired.revision);
    at_home(f, apply); /* The same again: nothing happens. */
    assert_true(volumes_are(f, 2, NODE_VOLUME_READY));
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_READY);
    f->desired.volume_count = 1;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    stop(f);
    fixture_destroy(f);
}

static bool serves(struct fixture *f, uint64_t bytes)
{
    at_home(f, get_report);
    return report.volumes[0].state == NODE_VOLUME_READY && report.volumes[0].bytes == bytes;
}

static void wait_to_serve(struct fixture *f, uint64_t bytes)
{
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    while (!serves(f, bytes) && sim_world_now_ns(f->world) < limit)
        sim_world_run(f->world, 100 * NS_PER_MS);
    assert_true(serves(f, bytes));
}

static void want_grown(struct fixture *f, uint64_t bytes)
{
    struct node_desired_volume *v = &f->volumes[0];
    v->volume.bytes = bytes;
    v->volume.first_run_shards = SHARDS;
    v->shard_count = (uint32_t)store_volume_shards(&v->volume);
    assert_int_equal(v->shard_count, SHARDS_MAX);
}

/* A volume that is wanted larger grows while it is served, and has its size at the next start. */
static void a_volume_grows(void **state)
{
    (void)state;
    const uint64_t grown = SHARDS * SHARD_BYTES + 5 * M;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_to_serve(f, SHARDS * SHARD_BYTES);
    const uint64_t epoch = report.volumes[0].epoch;
    want_grown(f, grown);
    at_home(f, apply);
    assert_int_equal(report.volumes[0].state, NODE_VOLUME_READY); /* All the time. */
    wait_to_serve(f, grown);
    assert_int_equal(report.volumes[0].epoch, epoch);
    assert_string_equal(report.volumes[0].reason, "");
    stop(f);
    start(f);
    at_home(f, apply);
    wait_to_serve(f, grown);
    /* The disks know better than a controller that has forgotten. */
    stop(f);
    start(f);
    f->volumes[0].volume.bytes = SHARDS * SHARD_BYTES;
    f->volumes[0].volume.first_run_shards = 0;
    f->volumes[0].shard_count = SHARDS;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    stop(f);
    fixture_destroy(f);
}

/* What keeps a volume from growing is reported, and it is served as it was until that is over. */
static void a_volume_that_cannot_grow_is_served(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_to_serve(f, SHARDS * SHARD_BYTES);
    want_grown(f, SHARDS * SHARD_BYTES + 5 * M);
    const uint32_t right = f->placement[0];
    f->placement[0] = right + 1; /* As if a shard were elsewhere. */
    at_home(f, apply);
    sim_world_run(f->world, 3 * NS_PER_S);
    wait_to_serve(f, SHARDS * SHARD_BYTES);
    assert_non_null(strstr(report.volumes[0].reason, "cannot grow from 16M to 21M"));
    f->placement[0] = right;
    at_home(f, apply);
    wait_to_serve(f, SHARDS * SHARD_BYTES + 5 * M);
    assert_string_equal(report.volumes[0].reason, "");
    stop(f);
    fixture_destroy(f);
}

/* A volume that grows may be deleted, or its node stopped, at any step of it. */
static void growth_may_be_overtaken(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 40; steps++) {
        struct fixture *f = fixture_create();
        start(f);
        want_volumes(f, 1);
        at_home(f, apply);
        wait_to_serve(f, SHARDS * SHARD_BYTES);
        want_grown(f, SHARDS * SHARD_BYTES + 5 * M);
        at_home(f, apply);
        for (unsigned i = 0; i < steps; i++)
            (void)sim_world_step(f->world);
        if (steps % 2 == 0) {
            f->volumes[0].deleting = true;
            at_home(f, apply);
            wait_for_volumes(f, 1, NODE_VOLUME_DELETED);
        }
        stop(f);
        fixture_destroy(f);
    }
}

/* A volume that is to be deleted is deleted, stays reported so, and goes when it is forgotten. */
static void deleted_volumes_are_reported_until_forgotten(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    f->volumes[0].deleting = true;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_DELETED);
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_DELETED);
    stop(f);
    fixture_destroy(f);
}

/* Without an epoch a volume is reported failed with the reason, and tried again. */
static void a_volume_without_an_epoch_is_retried(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    f->epoch_status = STATUS(UNAVAILABLE);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    assert_non_null(strstr(report.volumes[0].reason, "epoch"));
    f->epoch_status = STATUS(OK);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    stop(f);
    fixture_destroy(f);
}

/* A volume whose disks are partly missing is served; one whose disks all are is not. */
static void a_volume_needs_a_disk(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    memset(f->disk_uuids[1].b, 0xee, 16);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_non_null(strstr(f->last_log, "eeeeeeee")); /* Named as far as it is known. */
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_READY);
    memset(f->disk_uuids, 0xee, sizeof f->disk_uuids);
    f->desired.volume_count = 1;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    stop(f);
    fixture_destroy(f);
}

/* A disk that is busy so many times. */
struct busy_disk {
    char *path;
    unsigned times;
};

static struct status busy_open(void *ctx, struct reactor *r, struct dev **out_dev)
{
    struct busy_disk *b = ctx;
    if (b->times > 0) {
        b->times--;
        return STATUS(BUSY);
    }
    return dev_file_open(r, b->path, 0, true, out_dev);
}

/* A disk that a dying process still holds is waited for; one that stays busy is refused. */
static void a_busy_disk_is_tried_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct busy_disk soon = { f->paths[0], 5 };
    struct busy_disk never = { f->paths[1], UINT32_MAX };
    f->disk_configs[0].open = busy_open;
    f->disk_configs[0].ctx = &soon;
    f->disk_configs[1].open = busy_open;
    f->disk_configs[1].ctx = &never;
    start(f);
    at_home(f, get_report);
    assert_int_equal(report.disk_count, 2);
    assert_int_equal(report.problem_count, 1);
    assert_non_null(strstr(report.problems[0].text, "another process"));
    stop(f);
    fixture_destroy(f);
}

static void on_changed_disk(void *ctx, const char *problem)
{
    struct fixture *f = ctx;
    f->is_changed = true;
    snprintf(f->problem, sizeof f->problem, "%s", problem);
}

/* The last disk. */
static void begin_add(struct fixture *f)
{
    node_add_disk(f->node, &f->disk_configs[DISKS - 1], on_changed_disk, f);
}

static void begin_remove(struct fixture *f)
{
    node_remove_disk(f->node, f->disk_uuids[DISKS - 1], f->paths[DISKS - 1], on_changed_disk, f);
}

/* What came of the change: "" or a problem. */
static const char *change(struct fixture *f, void (*begin)(struct fixture *f))
{
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    f->is_changed = false;
    at_home(f, begin);
    while (!f->is_changed && sim_world_now_ns(f->world) < limit)
        assert_true(sim_world_step(f->world));
    assert_true(f->is_changed);
    at_home(f, get_report);
    return f->problem;
}

/* A disk is formatted and served while the node runs, is kept while a volume lies there, and goes.
 */
static void disks_come_and_go(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->later_disks = 1;
    start(f);
    at_home(f, get_report);
    assert_int_equal(report.disk_count, DISKS - 1);
    assert_string_equal(change(f, begin_add), "");
    assert_int_equal(report.disk_count, DISKS);
    assert_string_equal(change(f, begin_add), ""); /* It is there. */
    assert_int_equal(report.disk_count, DISKS);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_string_equal(change(f, begin_remove), "volume 'db1' lies there");
    assert_int_equal(report.disk_count, DISKS);
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_READY);
    assert_string_equal(change(f, begin_remove), "");
    assert_int_equal(report.disk_count, DISKS - 1);
    assert_int_equal(report.problem_count, 0);
    assert_string_equal(change(f, begin_remove), ""); /* It is gone. */
    assert_string_equal(change(f, begin_add), "");    /* The same again. */
    assert_true(uuid_equal(report.disks[DISKS - 1].uuid, f->disk_uuids[DISKS - 1]));
    stop(f);
    fixture_destroy(f);
}

/* A disk that cannot be used is told, and leaves no trace; forced, it is formatted. */
static void a_strange_disk_is_not_added(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    uint8_t other[4096];
    memset(other, 0x5a, sizeof other);
    sim_disk_poke(f->disks[DISKS - 1], 64 << 10, (struct const_span) { other, sizeof other });
    f->later_disks = 1;
    start(f);
    assert_non_null(strstr(change(f, begin_add), "is not empty"));
    assert_int_equal(report.disk_count, DISKS - 1);
    assert_int_equal(report.problem_count, 0);
    f->disk_configs[DISKS - 1].force = true;
    assert_string_equal(change(f, begin_add), "");
    assert_int_equal(report.disk_count, DISKS);
    stop(f);
    fixture_destroy(f);
}

/* A disk that was missing is taken up, and a volume that was opened without it has it then. */
static void a_disk_that_returns_is_used(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    stop(f);
    struct busy_disk away = { f->paths[DISKS - 1], UINT32_MAX };
    f->disk_configs[DISKS - 1].open = busy_open;
    f->disk_configs[DISKS - 1].ctx = &away;
    start(f);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(report.disk_count, DISKS - 1);
    const uint64_t epoch = report.volumes[0].epoch;
    away.times = 0;
    assert_string_equal(change(f, begin_add), "");
    assert_int_equal(report.problem_count, 0);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(report.volumes[0].epoch, epoch + 1);
    stop(f);
    fixture_destroy(f);
}

/* A node may be stopped while a disk is being added or removed. */
static void stopping_while_disks_change(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 60; steps += 3) {
        struct fixture *f = fixture_create();
        f->later_disks = 1;
        start(f);
        at_home(f, begin_add);
        for (unsigned i = 0; i < steps; i++)
            (void)sim_world_step(f->world);
        stop(f);
        assert_true(f->is_changed);
        fixture_destroy(f);
    }
}

/* A node may be stopped while it opens its disks. */
static void stopping_while_opening(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    const struct sim_program program = {
        .name = "node",
        .reactors = 2,
        .main = program_main,
        .ctx = f,
    };
    f->process = sim_spawn(f->machine, &program);
    while (f->node == NULL)
        assert_true(sim_world_step(f->world));
    assert_false(f->is_open);
    stop(f);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blank_disks_are_formatted_once),
        cmocka_unit_test(strange_disks_are_refused),
        cmocka_unit_test(volumes_follow_the_desired_state),
        cmocka_unit_test(a_volume_grows),
        cmocka_unit_test(a_volume_that_cannot_grow_is_served),
        cmocka_unit_test(growth_may_be_overtaken),
        cmocka_unit_test(deleted_volumes_are_reported_until_forgotten),
        cmocka_unit_test(a_volume_without_an_epoch_is_retried),
        cmocka_unit_test(a_volume_needs_a_disk),
        cmocka_unit_test(a_busy_disk_is_tried_again),
        cmocka_unit_test(disks_come_and_go),
        cmocka_unit_test(a_strange_disk_is_not_added),
        cmocka_unit_test(a_disk_that_returns_is_used),
        cmocka_unit_test(stopping_while_disks_change),
        cmocka_unit_test(stopping_while_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
