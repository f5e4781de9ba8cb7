/* SPDX-License-Identifier: Apache-2.0 */
#include "node_fixture.h"

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

/* An operation on the group, on its way back. */
struct answer {
    struct io_msg msg;
    struct group_op *op;
    struct status status;
};

static void answer_deliver(struct io_msg *msg)
{
    struct answer *a = CONTAINER_OF(msg, struct answer, msg);
    a->op->done(a->op, a->status);
    free(a);
}

static void answer(struct fixture *f, struct group_op *op, struct status status)
{
    struct answer *a = calloc(1, sizeof *a);
    *a = (struct answer) { { .deliver = answer_deliver }, op, status };
    *op->record = f->group;
    reactor_post(f->reactors[0], &a->msg);
}

static void on_group_get(void *ctx, struct group_op *op)
{
    struct fixture *f = ctx;
    answer(f, op, f->group_status);
}

static void on_group_take(void *ctx, struct group_op *op, uint64_t known_epoch)
{
    struct fixture *f = ctx;
    assert_int_equal(known_epoch, f->group.epoch);
    f->min_in_sync = op->min_in_sync;
    f->group.epoch++;
    f->group.sequence++;
    if (f->holds_take)
        f->held = op;
    else
        answer(f, op, STATUS(OK));
}

void release_take(struct fixture *f)
{
    assert_non_null(f->held);
    f->holds_take = false;
    answer(f, f->held, STATUS(OK));
    f->held = NULL;
}

static void on_group_commit(void *ctx, struct group_op *op, const struct group *was,
                            const struct group *now)
{
    struct fixture *f = ctx;
    const bool conflict = f->group_conflicts > 0 || !group_equal(was, &f->group);
    f->group_conflicts -= f->group_conflicts > 0 ? 1 : 0;
    f->group_commits += conflict ? 0 : 1;
    if (!conflict)
        f->group = *now;
    answer(f, op, conflict ? STATUS(CONFLICT) : STATUS(OK));
}

static const struct node_ops test_ops = { on_opened,    on_changed,    on_take_epoch,
                                          on_group_get, on_group_take, on_group_commit };

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

static void set_up_machine(struct fixture *f, const char *name)
{
    const struct sim_disk_config disk = {
        .bytes = DISK_BYTES,
        .align_bytes = 4096,
        .atomic_bytes = 4096,
        .reports_atomic = true,
        .volatile_cache = true,
    };

    f->machine = sim_machine_create(f->world, name);
    for (unsigned i = 0; i < DISKS; i++) {
        snprintf(f->paths[i], sizeof f->paths[i], "/disk-%u", i + 1);
        f->disks[i] = sim_disk_create(f->machine, f->paths[i], &disk);
        f->disk_configs[i].open = open_disk;
        f->disk_configs[i].ctx = f->paths[i];
        snprintf(f->disk_configs[i].name, sizeof f->disk_configs[i].name, "%s/disk-%u", name,
                 i + 1);
        snprintf(f->disk_configs[i].path, sizeof f->disk_configs[i].path, "%s", f->paths[i]);
    }
    f->log = (struct log) { .level = LOG_LEVEL_INFO, .sink = log_sink, .ctx = f };
    memset(f->membership.cluster.b, 0xc1, 16);
    snprintf(f->membership.cluster_name, sizeof f->membership.cluster_name, "test");
    f->membership.node_index = 1;
    f->port = 4420;
}

struct fixture *fixture_create(void)
{
    const struct sim_config config = { .seed = 1 };
    struct fixture *f = calloc(1, sizeof *f);

    f->world = sim_world_create(&config);
    f->owns_world = true;
    set_up_machine(f, "node-1");
    return f;
}

struct fixture *fixture_create_beside(const struct fixture *first)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->world = first->world;
    set_up_machine(f, "node-2");
    f->membership.node_index = 2;
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
        .listen = sim_machine_addr(f->machine, f->port),
        .buffer_bytes = 8 * M,
        .commands_max = 32,
        .resync_bytes_per_s = f->resync_bytes_per_s,
        .disks = f->disk_configs,
        .disk_count = DISKS - f->later_disks,
        .stores = f->stores,
        .log = &f->log,
        .ops = &test_ops,
        .ctx = f,
    };
    assert_true(status_ok(node_create(&f->config, &f->node)));
    node_join(f->node, &f->membership);
}

void spawn(struct fixture *f)
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
}

void start(struct fixture *f)
{
    spawn(f);
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    while (!f->is_open && sim_world_now_ns(f->world) < limit)
        assert_true(sim_world_step(f->world));
    assert_true(f->is_open);
}

/* A function on its way to the home reactor. */
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

void at_home(struct fixture *f, void (*fn)(struct fixture *f))
{
    struct errand e = { .msg.deliver = errand_deliver, .f = f, .fn = fn };
    reactor_post(f->reactors[0], &e.msg);
    while (!e.done)
        assert_true(sim_world_step(f->world));
}

void get_report(struct fixture *f)
{
    node_fill_report(f->node, &f->report);
}

void apply(struct fixture *f)
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

void stop(struct fixture *f)
{
    at_home(f, begin_stop);
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    while (!f->is_stopped && sim_world_now_ns(f->world) < limit)
        assert_true(sim_world_step(f->world));
    assert_true(f->is_stopped);
    sim_world_run(f->world, NS_PER_S);
}

void fixture_destroy(struct fixture *f)
{
    if (f->owns_world)
        sim_world_destroy(f->world);
    free(f);
}

void want_volumes(struct fixture *f, uint32_t count)
{
    at_home(f, get_report);
    for (uint32_t i = 0; i < f->report.disk_count; i++)
        f->disk_uuids[i] = f->report.disks[i].uuid;
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        f->placement[i] = i % f->report.disk_count;
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
    f->desired.disk_count = f->report.disk_count;
    f->desired.volumes = f->volumes;
    f->desired.volume_count = count;
}

bool volumes_are(struct fixture *f, uint32_t count, enum node_volume_state state)
{
    at_home(f, get_report);
    if (f->report.volume_count != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (f->report.volumes[i].state != state)
            return false;
    return true;
}

void wait_for_volumes(struct fixture *f, uint32_t count, enum node_volume_state state)
{
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    while (!volumes_are(f, count, state) && sim_world_now_ns(f->world) < limit)
        sim_world_run(f->world, 100 * NS_PER_MS);
    assert_true(volumes_are(f, count, state));
}

struct status busy_open(void *ctx, struct reactor *r, struct dev **out_dev)
{
    struct busy_disk *b = ctx;
    if (b->times > 0) {
        b->times--;
        return STATUS(BUSY);
    }
    return dev_file_open(r, b->path, 0, true, out_dev);
}
