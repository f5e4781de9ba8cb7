/* SPDX-License-Identifier: Apache-2.0 */
/* A node's stores for engines of other nodes, on disks that come and go. */
#include "common/no_log.h"
#include "node_fixture.h"
#include "nvme/initiator.h"
#include "peer/names.h"
#include "store/wire.h"

#define LAST (DISKS - 1)

static const struct uuid node = { { 0x0a, 1 } };
static const struct uuid engine = { { 0xe0, 1 } };

/* An engine's node with one queue. */
struct host {
    struct fixture *f;
    struct reactor *reactor;
    struct log log;
    struct initiator_ctrl *ctrl;
    struct initiator_queue *queue;
    bool ready, ended, queue_ready, queue_ended;
    struct status why;
    uint64_t number; /* Of the last session. */
    uint32_t handle;
};

struct order {
    struct initiator_cmd cmd;
    struct wire_command command;
    uint8_t data[8192];
    bool done;
};

static void wait_until(struct fixture *f, const bool *condition)
{
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;

    while (!*condition && sim_world_now_ns(f->world) < limit)
        assert_true(sim_world_step(f->world));
    assert_true(*condition);
}

static void on_ready(struct initiator_ctrl *c)
{
    ((struct host *)initiator_ctrl_ctx(c))->ready = true;
}

static void on_ended(struct initiator_ctrl *c, struct status why)
{
    struct host *h = initiator_ctrl_ctx(c);
    h->ended = true;
    h->why = why;
}

static void on_queue_ready(struct initiator_queue *q)
{
    ((struct host *)initiator_queue_ctx(q))->queue_ready = true;
}

static void on_queue_ended(struct initiator_queue *q, struct status why)
{
    (void)why;
    ((struct host *)initiator_queue_ctx(q))->queue_ended = true;
}

static const struct initiator_ctrl_ops ctrl_ops = { on_ready, NULL, on_ended };
static const struct initiator_queue_ops queue_ops = { on_queue_ready, on_queue_ended };

static void nothing(struct sim_process *p, void *ctx)
{
    (void)p;
    (void)ctx;
}

static void host_start(struct host *h, struct fixture *f)
{
    struct sim_machine *machine = sim_machine_create(f->world, "engine");
    struct sim_process *p = sim_spawn(
        machine, &(struct sim_program) { .name = "engine", .reactors = 1, .main = nothing });

    sim_world_run(f->world, NS_PER_MS);
    *h = (struct host) {
        .f = f,
        .reactor = sim_process_reactor(p, 0),
        .log.sink = no_log,
    };
    const struct initiator_ctrl_config config = {
        .ops = &ctrl_ops,
        .ctx = h,
        .reactor = h->reactor,
        .endpoint = { .addr = sim_machine_addr(f->machine, 4420),
                      .subsystem_nqn = peer_store_nqn(node),
                      .host_nqn = peer_node_nqn(engine),
                      .host_id = engine,
                      .header_digest = true,
                      .connect_timeout_ns = NS_PER_S,
                      .command_timeout_ns = 30 * NS_PER_S },
        .log = &h->log,
        .io_queues = 1,
        .no_namespace = true,
    };
    assert_true(status_ok(initiator_ctrl_create(&config, &h->ctrl)));
    initiator_ctrl_start(h->ctrl);
    while (!h->ready && !h->ended)
        assert_true(sim_world_step(f->world));
}

static void host_open_queue(struct host *h)
{
    struct initiator_queue_config config = initiator_ctrl_queue_config(h->ctrl);

    config.ops = &queue_ops;
    config.ctx = h;
    config.reactor = h->reactor;
    config.qid = 1;
    config.entries = 32;
    assert_true(status_ok(initiator_queue_create(&config, &h->queue)));
    initiator_queue_start(h->queue);
    wait_until(h->f, &h->queue_ready);
}

static void host_end(struct host *h)
{
    if (h->queue != NULL) {
        wait_until(h->f, &h->queue_ended);
        initiator_queue_destroy(h->queue);
    }
    if (!h->ended)
        initiator_ctrl_drop(h->ctrl);
    wait_until(h->f, &h->ended);
    initiator_ctrl_destroy(h->ctrl);
}

static void on_order(struct initiator_cmd *cmd)
{
    CONTAINER_OF(cmd, struct order, cmd)->done = true;
}

static enum status_code run(struct host *h, struct order *o)
{
    uint8_t entry[WIRE_ENTRY_BYTES];

    o->command.epoch = 1;
    o->command.session = (uint32_t)h->number;
    wire_command_encode(&o->command, entry);
    initiator_cmd_set_entry(&o->cmd, entry);
    o->cmd.data = (struct span) { o->data, wire_data_bytes(&o->command, 0) };
    o->cmd.done = on_order;
    initiator_queue_submit(h->queue, &o->cmd);
    wait_until(h->f, &o->done);
    return wire_status_decode(o->cmd.sc).code;
}

/* Opens a session of a volume of two replicas on a disk. */
static enum status_code open_session(struct host *h, struct uuid disk)
{
    struct order o = { .command = { .opcode = WIRE_OPEN, .tick = 1 } };
    struct wire_open open = {
        .cluster = h->f->membership.cluster,
        .disk = disk,
        .session = ++h->number,
        .volume = { .uuid = { { 0x70 } },
                    .name = "v1",
                    .bytes = SHARDS * SHARD_BYTES,
                    .shard_bytes = SHARD_BYTES,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 256 << 10,
                    .stripe_width = 2,
                    .replicas = 2,
                    .min_in_sync = 1 },
    };

    wire_open_encode(&open, NULL, (struct span) { o.data, wire_data_bytes(&o.command, 0) });
    const enum status_code code = run(h, &o);
    h->handle = wire_answer_decode(o.cmd.result).incarnation;
    return code;
}

static enum status_code write_zeros(struct host *h)
{
    struct order o = { .command = { .opcode = WIRE_WRITE,
                                    .handle = h->handle,
                                    .blocks = 1,
                                    .tick = 1,
                                    .flags = WIRE_CREATE } };
    static const uint32_t crc_of_zeros = 0x98f94189;

    wire_crcs_encode(&crc_of_zeros, 1, (struct span) { o.data + 4096, 4 });
    return run(h, &o);
}

/* ---- Tests ---- */

static void on_changed_disk(void *ctx, const char *problem, const char *gone)
{
    struct fixture *f = ctx;
    f->is_changed = true;
    snprintf(f->gone, sizeof f->gone, "%s", gone);
    snprintf(f->problem, sizeof f->problem, "%s", problem);
}

static void begin_add(struct fixture *f)
{
    node_add_disk(f->node, &f->disk_configs[LAST], on_changed_disk, f);
}

static void begin_remove(struct fixture *f)
{
    node_remove_disk(f->node, f->disk_uuids[LAST], f->paths[LAST], on_changed_disk, f);
}

static const char *change(struct fixture *f, void (*begin)(struct fixture *f))
{
    f->is_changed = false;
    at_home(f, begin);
    wait_until(f, &f->is_changed);
    return f->problem;
}

static struct fixture *fixture_with_stores(void)
{
    struct fixture *f = fixture_create();

    f->stores = (struct node_stores_config) {
        .served = true,
        .node = node,
        .leases = { LEASE_NS, LEASE_WAIT_NS },
    };
    start(f);
    f->desired.members = &engine;
    f->desired.member_count = 1;
    at_home(f, apply);
    at_home(f, get_report);
    for (uint32_t i = 0; i < f->report.disk_count; i++)
        f->disk_uuids[i] = f->report.disks[i].uuid;
    return f;
}

/* All disks, with sessions open until the node stops. */
static void engines_of_other_nodes_reach_every_disk(void **state)
{
    (void)state;
    struct fixture *f = fixture_with_stores();
    struct host h;

    host_start(&h, f);
    assert_true(h.ready);
    host_open_queue(&h);
    for (unsigned i = 0; i < DISKS; i++) {
        assert_int_equal(open_session(&h, f->disk_uuids[i]), STATUS_OK);
        assert_int_equal(write_zeros(&h), STATUS_OK);
    }
    stop(f);
    host_end(&h);
    fixture_destroy(f);
}

static void disks_come_and_go_for_them_too(void **state)
{
    (void)state;
    struct fixture *f = fixture_with_stores();
    const struct uuid *last = &f->disk_uuids[LAST];
    struct host h;

    host_start(&h, f);
    host_open_queue(&h);
    assert_int_equal(open_session(&h, *last), STATUS_OK);
    assert_string_equal(change(f, begin_remove), ""); /* It is empty. */
    assert_int_equal(write_zeros(&h), STATUS_STALE_SESSION);
    assert_int_equal(open_session(&h, *last), STATUS_FOREIGN);
    assert_string_equal(change(f, begin_add), "");
    assert_int_equal(open_session(&h, *last), STATUS_OK);
    assert_int_equal(write_zeros(&h), STATUS_OK);
    assert_string_not_equal(change(f, begin_remove), ""); /* It holds a shard, and is kept. */
    assert_int_equal(open_session(&h, *last), STATUS_OK);
    assert_int_equal(write_zeros(&h), STATUS_OK);
    stop(f);
    host_end(&h);
    fixture_destroy(f);
}

/* Nodes that the controller does not name are refused, and dropped when it names them no more. */
static void engines_of_the_cluster_alone(void **state)
{
    (void)state;
    struct fixture *f = fixture_with_stores();
    struct host h;

    host_start(&h, f);
    assert_true(h.ready);
    host_open_queue(&h);
    f->desired.members = &node;
    at_home(f, apply);
    wait_until(f, &h.queue_ended);
    host_end(&h);
    host_start(&h, f);
    assert_false(h.ready);
    host_end(&h);
    stop(f);
    fixture_destroy(f);
}

static void without_being_told_a_node_serves_no_stores(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct host h;

    start(f);
    at_home(f, apply); /* It is told what it serves, and expects no other subsystem. */
    host_start(&h, f);
    assert_false(h.ready);
    host_end(&h);
    stop(f);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engines_of_other_nodes_reach_every_disk),
        cmocka_unit_test(disks_come_and_go_for_them_too),
        cmocka_unit_test(engines_of_the_cluster_alone),
        cmocka_unit_test(without_being_told_a_node_serves_no_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
