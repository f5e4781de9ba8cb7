/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "common/no_log.h"

static const struct uuid cluster = { { 0xc1 } };
static const struct uuid node = { { 0x0a, 1, 2, 3 } };

static void must(struct status st)
{
    if (!status_ok(st))
        fail_msg("%s", status_text(st));
}

struct uuid rig_node(void)
{
    return node;
}

uint64_t rig_now(const struct rig *rig)
{
    return sim_world_now_ns(rig->th.world);
}

/* ---- Disks ---- */

static void on_status(void *ctx, struct status status)
{
    struct rig_disk *d = ctx;
    d->status = status;
    d->done = true;
}

static void on_store(void *ctx, const struct store_opened *opened)
{
    struct rig_disk *d = ctx;
    d->store = opened->store;
    on_status(d, opened->status);
}

static struct uuid disk_uuid(unsigned i)
{
    return (struct uuid) { { 0xd1, (uint8_t)i } };
}

static void disk_create(struct rig *rig, unsigned i)
{
    struct rig_disk *d = &rig->disks[i];
    struct store_format_config format = { .identity = { .cluster = cluster },
                                          .atomic_bytes = 4096 };
    const struct store_config config = { .cluster = cluster };
    struct dev *inner;

    format.identity.disk = disk_uuid(i);
    snprintf(format.identity.disk_name, sizeof format.identity.disk_name, "node/disk-%u", i);
    must(dev_mem_open(rig->th.reactors[i], RIG_DISK_BYTES, NULL, &inner));
    must(dev_fault_open(inner, &d->dev));
    d->dev->info.has_volatile_cache = true; /* So that a flush means something. */
    must(store_format(d->dev, &format, on_status, d));
    th_wait(&rig->th, &d->done);
    must(d->status);
    d->done = false;
    must(store_open(d->dev, &config, on_store, d));
    th_wait(&rig->th, &d->done);
    must(d->status);
    server_add_disk(rig->server, i, disk_uuid(i), d->store);
}

static void disk_destroy(struct rig *rig, struct rig_disk *d)
{
    if (d->local.session != NULL)
        store_session_close(d->local.session);
    d->done = false;
    store_close(d->store, on_status, d);
    th_wait(&rig->th, &d->done);
    dev_close(d->dev);
}

void disk_hold(struct rig *rig, unsigned disk, unsigned kinds)
{
    must(dev_fault_add(rig->disks[disk].dev,
                       &(struct dev_fault) { .action = DEV_FAULT_HOLD, .kinds = kinds }));
}

void disk_release(struct rig *rig, unsigned disk)
{
    dev_fault_clear(rig->disks[disk].dev);
}

static void on_local(void *ctx, const struct store_session_opened *opened)
{
    struct rig_disk *d = ctx;
    if (status_ok(opened->status) && d->local.session != NULL)
        store_session_close(d->local.session);
    if (status_ok(opened->status))
        d->local = *opened;
    on_status(d, opened->status);
}

enum status_code local_open(struct rig *rig, unsigned disk, const struct store_volume *volume,
                            uint64_t epoch)
{
    struct rig_disk *d = &rig->disks[disk];
    const struct store_session_config config = { .volume = *volume, .epoch = epoch };

    d->done = false;
    must(store_session_open(d->store, &config, on_local, d));
    th_wait(&rig->th, &d->done);
    return d->status.code;
}

/* ---- The rig ---- */

static bool on_allows(void *ctx, struct uuid engine)
{
    const struct rig *rig = ctx;
    return !uuid_equal(engine, rig->denied);
}

static void set_flag(void *ctx)
{
    ((struct rig *)ctx)->flag = true;
}

struct rig *rig_create(void)
{
    struct rig *rig = calloc(1, sizeof *rig);

    assert_non_null(rig);
    th_start(&rig->th, NULL);
    const struct server_config config = {
        .reactors = rig->th.reactors,
        .reactor_count = rig->th.reactor_count,
        .cluster = cluster,
        .leases = { LEASE_NS, LEASE_WAIT_NS },
        .allows = on_allows,
        .ctx = rig,
    };
    must(server_create(&config, &rig->server));
    const struct nqn_text nqn = peer_store_nqn(node);
    const struct nvme_subsys_config subsys = { .nqn = nqn.s,
                                               .serial = "STORE",
                                               .vendor = server_vendor(rig->server) };
    must(nvme_subsys_add(rig->th.target, &subsys, &rig->subsys));
    for (unsigned i = 0; i < RIG_DISKS; i++)
        disk_create(rig, i);
    th_run(&rig->th, NS_PER_S); /* Past the leases of the process before. */
    return rig;
}

void rig_destroy(struct rig *rig)
{
    for (unsigned i = 0; i < RIG_ENGINES; i++)
        engine_drop(&rig->engines[i]);
    th_run(&rig->th, NS_PER_S);
    th_stop_target(&rig->th);
    server_stop(rig->server, set_flag, rig);
    th_wait(&rig->th, &rig->flag);
    server_destroy(rig->server);
    for (unsigned i = 0; i < RIG_DISKS; i++)
        disk_destroy(rig, &rig->disks[i]);
    th_stop(&rig->th);
    free(rig);
}

/* ---- Engines ---- */

static void on_ready(struct initiator_ctrl *c)
{
    ((struct engine *)initiator_ctrl_ctx(c))->ready = true;
}

static void on_ended(struct initiator_ctrl *c, struct status why)
{
    struct engine *e = initiator_ctrl_ctx(c);
    e->ended = true;
    e->why = why;
}

static void on_queue_ready(struct initiator_queue *q)
{
    ((struct engine *)initiator_queue_ctx(q))->queue_ready = true;
}

static void on_queue_ended(struct initiator_queue *q, struct status why)
{
    struct engine *e = initiator_queue_ctx(q);
    (void)why;
    e->queue_ended[q == e->queues[1]] = true;
}

static const struct initiator_ctrl_ops ctrl_ops = { on_ready, NULL, on_ended };
static const struct initiator_queue_ops queue_ops = { on_queue_ready, on_queue_ended };

static void engine_open_queue(struct engine *e, unsigned i)
{
    struct initiator_queue_config config = initiator_ctrl_queue_config(e->ctrl);

    config.ops = &queue_ops;
    config.ctx = e;
    config.reactor = e->reactor;
    config.qid = (uint16_t)(i + 1);
    config.entries = NVME_QUEUE_ENTRIES_MAX;
    e->queue_ready = false;
    must(initiator_queue_create(&config, &e->queues[i]));
    initiator_queue_start(e->queues[i]);
    th_wait(&e->rig->th, &e->queue_ready);
}

void engine_connect(struct rig *rig, unsigned engine)
{
    struct engine *e = &rig->engines[engine];

    if (e->reactor == NULL)
        th_move(&rig->th);
    *e = (struct engine) { .rig = rig,
                           .reactor = e->reactor != NULL ? e->reactor : rig->th.host,
                           .log = { .sink = no_log },
                           .node = (uint8_t)(0xe0 + engine) };
    const struct initiator_ctrl_config config = {
        .ops = &ctrl_ops,
        .ctx = e,
        .reactor = e->reactor,
        .endpoint = { .addr = rig->th.addr,
                      .subsystem_nqn = peer_store_nqn(node),
                      .host_nqn = peer_node_nqn((struct uuid) { { e->node } }),
                      .host_id = { { e->node } },
                      .header_digest = true,
                      .connect_timeout_ns = 30 * NS_PER_S,
                      .command_timeout_ns = 30 * NS_PER_S },
        .log = &e->log,
        .keep_alive_ms = 5000,
        .io_queues = 2,
        .no_namespace = true,
    };
    must(initiator_ctrl_create(&config, &e->ctrl));
    initiator_ctrl_start(e->ctrl);
    while (!e->ready && !e->ended)
        assert_true(sim_world_step(rig->th.world));
    for (unsigned i = 0; i < 2 && e->ready; i++)
        engine_open_queue(e, i);
}

void engine_drop(struct engine *e)
{
    if (e->ctrl == NULL)
        return;
    for (unsigned i = 0; i < 2; i++) {
        if (e->queues[i] == NULL)
            continue;
        initiator_queue_stop(e->queues[i]);
        th_wait(&e->rig->th, &e->queue_ended[i]);
        initiator_queue_destroy(e->queues[i]);
        e->queues[i] = NULL;
    }
    if (!e->ended)
        initiator_ctrl_drop(e->ctrl);
    th_wait(&e->rig->th, &e->ended);
    initiator_ctrl_destroy(e->ctrl);
    e->ctrl = NULL;
}

/* ---- Commands ---- */

static void on_order(struct initiator_cmd *cmd)
{
    struct order *o = CONTAINER_OF(cmd, struct order, cmd);
    o->done = true;
    o->code = wire_status_decode(cmd->sc).code;
    if (status_is(cmd->status, STATUS_LOST))
        o->code = STATUS_LOST;
    o->answer = wire_answer_decode(cmd->result);
}

struct order *order_make(const struct engine *e, enum wire_opcode opcode)
{
    struct order *o = calloc(1, sizeof *o);

    assert_non_null(o);
    o->command = (struct wire_command) {
        .opcode = opcode, .handle = e->handle, .epoch = e->epoch, .session = (uint32_t)e->number
    };
    return o;
}

void order_send(struct engine *e, unsigned queue, struct order *o, uint32_t items)
{
    uint8_t entry[WIRE_ENTRY_BYTES];

    wire_command_encode(&o->command, entry);
    initiator_cmd_set_entry(&o->cmd, entry);
    o->cmd.data = (struct span) { o->data, wire_data_bytes(&o->command, items) };
    o->cmd.done = on_order;
    initiator_queue_submit(e->queues[queue], &o->cmd);
}

void order_wait(struct engine *e, struct order *o)
{
    th_wait(&e->rig->th, &o->done);
}

enum status_code order_run(struct engine *e, unsigned queue, struct order *o, uint32_t items)
{
    order_send(e, queue, o, items);
    order_wait(e, o);
    const enum status_code code = o->code;
    free(o);
    return code;
}

struct store_volume rig_volume(uint8_t number, uint32_t replicas)
{
    struct store_volume v = {
        .uuid = { { 0x70, number } },
        .bytes = (uint64_t)2 << 30,
        .shard_bytes = (uint64_t)1 << 30,
        .lba_bytes = 4096,
        .stripe_unit_bytes = 256 << 10,
        .stripe_width = 1,
        .replicas = replicas,
        .min_in_sync = 1,
    };

    snprintf(v.name, sizeof v.name, "v%u", number);
    return v;
}

struct order *open_order(struct engine *e, unsigned disk, const struct store_volume *volume,
                         uint64_t epoch, uint64_t number)
{
    struct order *o = order_make(e, WIRE_OPEN);
    const struct wire_open open = {
        .cluster = cluster, .disk = disk_uuid(disk), .session = number, .volume = *volume
    };

    o->command.handle = 0;
    o->command.epoch = epoch;
    o->command.session = (uint32_t)number;
    o->command.tick = 1;
    wire_open_encode(&open, NULL, (struct span) { o->data, wire_data_bytes(&o->command, 0) });
    return o;
}

enum status_code engine_open(struct engine *e, unsigned disk, const struct store_volume *volume,
                             uint64_t epoch, uint64_t number)
{
    struct order *o = open_order(e, disk, volume, epoch, number);

    order_send(e, 0, o, 0);
    order_wait(e, o);
    const enum status_code code = o->code;
    if (code == STATUS_OK) {
        e->handle = o->answer.incarnation;
        e->epoch = epoch;
        e->number = number;
    }
    free(o);
    return code;
}

struct order *write_order(const struct engine *e, uint32_t block, uint8_t fill, uint32_t flags)
{
    struct order *o = order_make(e, WIRE_WRITE);

    o->command.first = block;
    o->command.blocks = 1;
    o->command.tick = 1;
    o->command.flags = flags | WIRE_CREATE;
    memset(o->data, fill, 4096);
    const uint32_t crc = crc32c(o->data, 4096);
    wire_crcs_encode(&crc, 1, (struct span) { o->data + 4096, 4 });
    return o;
}

enum status_code engine_write(struct engine *e, unsigned queue, uint32_t block, uint8_t fill)
{
    return order_run(e, queue, write_order(e, block, fill, 0), 0);
}

enum status_code engine_read(struct engine *e, unsigned queue, uint32_t block, uint8_t *out_fill)
{
    struct order *o = order_make(e, WIRE_READ);

    o->command.first = block;
    o->command.blocks = 1;
    order_send(e, queue, o, 0);
    order_wait(e, o);
    const enum status_code code = o->code;
    if (code == STATUS_OK) {
        assert_true(status_ok(wire_blocks_check((struct const_span) { o->data, 4096 },
                                                (struct const_span) { o->data + 4096, 4 })));
        *out_fill = o->data[0];
    }
    free(o);
    return code;
}

enum status_code engine_confirm(struct engine *e, unsigned queue, struct wire_answer *out_answer)
{
    struct order *o = order_make(e, WIRE_CONFIRM);

    order_send(e, queue, o, 0);
    order_wait(e, o);
    const enum status_code code = o->code;
    *out_answer = o->answer;
    free(o);
    return code;
}
