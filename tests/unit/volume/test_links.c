/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine whose replicas are stores behind a server on another node: both ends of the store
 * protocol, and all between them, while connections break.
 */
#include <stdlib.h>

#include "base/rng.h"
#include "peer/link.h"
#include "replicas_case.h"
#include "unit/peer/engine_rig.h"

#define SHARD      ((uint64_t)2 << 20)
#define BYTES      (4 * SHARD)
#define BATCH      4
#define WRITE_MAX  ((uint64_t)256 << 10)
#define CUT_WITHIN (3 * NS_PER_MS)
#define OVER       (20 * NS_PER_S) /* Longer than anything takes. */

struct world {
    struct rig *rig;
    struct links *links;
    struct link *link;
    struct log log;
    struct volume_disk disks[RIG_DISKS];
    struct volume_placement placement[4];
    struct buf_pool *scratch;
    struct volume_config config;
    struct meta meta;
    struct volume *volume;
    bool opened, closed, stopped;
    struct status open_status;
    struct rng rng;
    uint8_t *expected;
    uint8_t *memory;
};

struct task {
    struct nvme_ns_req req;
    bool done;
    struct status status;
};

static void no_lines(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    (void)level;
    (void)line;
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static void on_volume(void *ctx, struct status status, struct volume *volume)
{
    struct world *const c = ctx;

    c->open_status = status;
    c->volume = volume;
    c->opened = true;
}

static void make_group(struct world *c)
{
    struct group *const g = &c->meta.record;
    struct group_reason reason;

    g->copyset_count = 1;
    for (unsigned r = 0; r < RIG_DISKS; r++)
        g->copysets[0].slots[r] =
            (struct group_slot) { .state = GROUP_SLOT_IN, .disk = c->disks[r].uuid };
    assert_int_equal(group_take_epoch(g, (struct uuid) { { 99 } }, g, &reason).code, STATUS_OK);
    c->config.group = g;
    c->config.epoch = g->epoch;
}

static void make_config(struct world *c)
{
    for (unsigned r = 0; r < RIG_DISKS; r++)
        c->disks[r] = (struct volume_disk) { .name = r == 0 ? "node/disk-0" : "node/disk-1",
                                             .uuid = { { 0xd1, (uint8_t)r } },
                                             .link = c->link };
    for (unsigned i = 0; i < ARRAY_COUNT(c->placement); i++)
        c->placement[i] = (struct volume_placement) { .disk = { 0, 1 } };
    c->config = (struct volume_config) {
        .volume = { .uuid = { { 0x70 } },
                    .name = "db1",
                    .bytes = BYTES,
                    .shard_bytes = SHARD,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 512 << 10,
                    .stripe_width = 1,
                    .replicas = RIG_DISKS,
                    .min_in_sync = 1 },
        .reactors = &c->rig->th.host,
        .reactor_count = 1,
        .scratch = &c->scratch,
        .disks = c->disks,
        .disk_count = RIG_DISKS,
        .shards = c->placement,
        .shard_count = ARRAY_COUNT(c->placement),
        .meta = &meta_ops,
        .meta_ctx = &c->meta,
        .log = &c->log,
    };
}

static struct world *world_create(uint64_t seed)
{
    struct world *const c = calloc(1, sizeof *c);

    c->rig = rig_create();
    sim_world_net(c->rig->th.world)->segment_max = 16384;
    c->log = (struct log) { .sink = no_lines };
    const struct links_config config = { .reactors = &c->rig->th.host,
                                         .reactor_count = 1,
                                         .cluster = { { 0xc1 } },
                                         .node = { { 0xe7 } },
                                         .log = &c->log };
    assert_true(status_ok(links_create(&config, &c->links)));
    const struct uuid node = { { 0x0a, 1, 2, 3 } };
    assert_true(status_ok(link_get(c->links, node, &c->rig->th.addr, &c->link)));
    assert_true(status_ok(buf_pool_create(c->rig->th.host, VOLUME_SCRATCH_BYTES, &c->scratch)));
    make_config(c);
    c->meta.home = c->rig->th.host;
    make_group(c);
    rng_init(&c->rng, seed);
    c->expected = calloc(1, BYTES);
    c->memory = aligned_alloc(4096, BATCH * WRITE_MAX);
    assert_true(status_ok(volume_open(&c->config, on_volume, c)));
    th_wait(&c->rig->th, &c->opened);
    assert_int_equal(c->open_status.code, STATUS_OK);
    return c;
}

static void world_close(struct world *c)
{
    volume_close(c->volume, set_flag, &c->closed);
    th_wait(&c->rig->th, &c->closed);
    th_run(&c->rig->th, NS_PER_S);
    link_put(c->link);
    links_stop(c->links, set_flag, &c->stopped);
    th_wait(&c->rig->th, &c->stopped);
    links_destroy(c->links);
    buf_pool_destroy(c->scratch);
}

static void world_destroy(struct world *c)
{
    rig_destroy(c->rig);
    free(c->expected);
    free(c->memory);
    free(c);
}

/* ---- Commands ---- */

static void on_task(struct nvme_ns_req *req)
{
    struct task *const t = CONTAINER_OF(req, struct task, req);

    t->status = req->status;
    t->done = true;
}

static uint8_t *memory_of(const struct world *c, unsigned i)
{
    return c->memory + i * WRITE_MAX;
}

static bool has_data(enum nvme_ns_opcode opcode)
{
    return opcode == NVME_NS_READ || opcode == NVME_NS_WRITE;
}

static void begin(struct world *c, struct task *t, unsigned i, enum nvme_ns_opcode opcode,
                  uint64_t offset, uint64_t bytes)
{
    *t = (struct task) { .req = { .opcode = opcode,
                                  .offset = offset,
                                  .bytes = bytes,
                                  .data = { memory_of(c, i), has_data(opcode) ? bytes : 0 },
                                  .reactor = c->rig->th.host,
                                  .done = on_task } };
    list_node_init(&t->req.link);
    volume_ns(c->volume)->ops->submit(volume_ns(c->volume), &t->req);
}

/* Something in the shard that is this one's alone. */
static void begin_random(struct world *c, struct task *t, unsigned i)
{
    static const enum nvme_ns_opcode opcodes[] = { NVME_NS_WRITE, NVME_NS_WRITE,
                                                   NVME_NS_WRITE, NVME_NS_WRITE_ZEROES,
                                                   NVME_NS_READ,  NVME_NS_READ };
    const enum nvme_ns_opcode opcode = opcodes[rng_below(&c->rng, ARRAY_COUNT(opcodes))];
    const uint64_t bytes = (1 + rng_below(&c->rng, WRITE_MAX / 4096)) * 4096;
    const uint64_t offset = i * SHARD + rng_below(&c->rng, (SHARD - bytes) / 4096 + 1) * 4096;

    if (opcode == NVME_NS_WRITE) {
        rng_fill(&c->rng, (struct span) { memory_of(c, i), bytes });
        memcpy(c->expected + offset, memory_of(c, i), bytes);
    } else if (opcode == NVME_NS_WRITE_ZEROES) {
        memset(c->expected + offset, 0, bytes);
    }
    begin(c, t, i, opcode, offset, bytes);
}

static void check_task(const struct world *c, const struct task *t, unsigned i)
{
    if (!t->done)
        fail_msg("command %u is not answered", i);
    assert_int_equal(t->status.code, STATUS_OK);
    if (t->req.opcode == NVME_NS_READ)
        assert_memory_equal(memory_of(c, i), c->expected + t->req.offset, t->req.bytes);
}

/* A few commands at a time, and perhaps a moment at which all connections are cut. */
static void run_batch(struct world *c, bool cut)
{
    struct task tasks[BATCH];
    const uint64_t from = sim_world_now_ns(c->rig->th.world);

    for (unsigned i = 0; i < BATCH; i++)
        begin_random(c, &tasks[i], i);
    if (cut) {
        th_run(&c->rig->th, rng_below(&c->rng, CUT_WITHIN));
        sim_net_cut(sim_process_machine(c->rig->th.server), 1);
    }
    for (unsigned i = 0; i < BATCH; i++) {
        while (!tasks[i].done && sim_world_now_ns(c->rig->th.world) < from + OVER)
            sim_world_step(c->rig->th.world);
        check_task(c, &tasks[i], i);
    }
}

static void flush(struct world *c)
{
    struct task t;

    begin(c, &t, 0, NVME_NS_FLUSH, 0, 0);
    th_run(&c->rig->th, OVER);
    check_task(c, &t, 0);
}

/* ---- What the disks have ---- */

struct disk_read {
    struct store_io io;
    bool done;
};

static void on_disk_read(struct store_io *io)
{
    CONTAINER_OF(io, struct disk_read, io)->done = true;
}

/* Every shard of the disk is as expected; what it does not know was never written. */
static void check_disk(struct world *c, unsigned disk, uint8_t *memory)
{
    assert_int_equal(local_open(c->rig, disk, &c->config.volume, c->config.epoch + 1), STATUS_OK);
    for (uint64_t at = 0; at < BYTES; at += WRITE_MAX) {
        struct disk_read r = { .io = { .opcode = STORE_OP_READ,
                                       .shard = (uint32_t)(at / SHARD),
                                       .generation = c->rig->disks[disk].local.generation,
                                       .offset = at % SHARD,
                                       .bytes = WRITE_MAX,
                                       .data = { memory, WRITE_MAX },
                                       .done = on_disk_read } };
        store_submit(c->rig->disks[disk].local.session, &r.io);
        th_wait(&c->rig->th, &r.done);
        if (status_is(r.io.status, STATUS_UNKNOWN_SHARD))
            memset(memory, 0, WRITE_MAX);
        else
            assert_int_equal(r.io.status.code, STATUS_OK);
        assert_memory_equal(memory, c->expected + at, WRITE_MAX);
    }
}

static void run_world(uint64_t seed, unsigned batches, unsigned cut_one_in)
{
    struct world *const c = world_create(seed);
    unsigned cuts = 0;

    for (unsigned i = 0; i < batches; i++) {
        const bool cut = cut_one_in > 0 && rng_below(&c->rng, cut_one_in) == 0;
        cuts += cut ? 1 : 0;
        run_batch(c, cut);
    }
    flush(c);
    assert_int_equal(c->meta.commits, 1); /* The incarnations, when it was taken over. */
    struct link_stats stats;
    link_get_stats(c->link, &stats);
    assert_in_range(stats.losses, cuts / 2, cuts); /* Some come while there is no link. */
    world_close(c);
    for (unsigned i = 0; i < RIG_DISKS; i++)
        check_disk(c, i, c->memory);
    world_destroy(c);
}

static void all_of_it_works_together(void **state)
{
    (void)state;
    run_world(1, 40, 0);
}

/* 4.3: whatever was on its way when a link was cut, the replicas are equal, and nobody is excluded.
 */
static void cut_links_cost_nothing_but_time(void **state)
{
    (void)state;
    for (uint64_t seed = 2; seed < 6; seed++)
        run_world(seed, 30, 2);
}

/* 7.2, 7.8, R7: who has a newer epoch at one disk has sealed it; nothing is read after its answer.
 */
static void a_newer_engine_ends_this_one(void **state)
{
    (void)state;
    for (unsigned write = 0; write < 2; write++) {
        struct world *const c = world_create(7);
        struct task t;
        const uint64_t from = sim_world_now_ns(c->rig->th.world);

        run_batch(c, false);
        begin(c, &t, 0, NVME_NS_READ, 0, 4096);
        th_run(&c->rig->th, NS_PER_MS);
        check_task(c, &t, 0);
        assert_int_equal(local_open(c->rig, 1, &c->config.volume, c->config.epoch + 1), STATUS_OK);
        assert_true(sim_world_now_ns(c->rig->th.world) - from > LEASE_NS); /* 8.3 */
        begin(c, &t, 0, write > 0 ? NVME_NS_WRITE : NVME_NS_READ, 0, 4096);
        th_run(&c->rig->th, OVER);
        assert_true(t.done);
        assert_int_equal(t.status.code, STATUS_FENCED);
        world_close(c);
        world_destroy(c);
    }
}

static void delete_on(struct world *c, unsigned disk)
{
    struct disk_read r = { .io = { .opcode = STORE_OP_DELETE_VOLUME, .done = on_disk_read } };

    assert_int_equal(local_open(c->rig, disk, &c->config.volume, c->config.epoch + 1), STATUS_OK);
    store_submit(c->rig->disks[disk].local.session, &r.io);
    th_wait(&c->rig->th, &r.done);
    assert_int_equal(r.io.status.code, STATUS_OK);
}

/* 7.2: and if it has deleted the volume, no disk knows its epoch any more. */
static void a_newer_engine_that_has_deleted_it_ends_this_one(void **state)
{
    (void)state;
    struct world *const c = world_create(8);
    struct store_info info;
    struct task t;

    run_batch(c, false);
    for (unsigned i = 0; i < RIG_DISKS; i++)
        delete_on(c, i);
    begin(c, &t, 0, NVME_NS_READ, 0, 4096);
    th_run(&c->rig->th, OVER);
    assert_true(t.done);
    assert_int_equal(t.status.code, STATUS_FENCED);
    assert_int_equal(c->meta.commits, 1); /* When it was taken over. */
    for (unsigned i = 0; i < RIG_DISKS; i++) {
        store_get_info(c->rig->disks[i].store, &info);
        assert_int_equal(info.volumes, 0);
    }
    world_close(c);
    world_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_works_together),
        cmocka_unit_test(cut_links_cost_nothing_but_time),
        cmocka_unit_test(a_newer_engine_ends_this_one),
        cmocka_unit_test(a_newer_engine_that_has_deleted_it_ends_this_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
