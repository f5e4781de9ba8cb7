/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume whose replicas are on other nodes, which are fake peers over real links, and one here if
 * wanted; with a meta store of one record.
 *
 * Threading: one thread.   Memory: the heap.
 */
#ifndef TESTS_VOLUME_REMOTE_CASE_H
#define TESTS_VOLUME_REMOTE_CASE_H

#include "replicas_case.h"
#include "unit/peer/peer_world.h"

#define STORES     2 /* Disks 1 and 2; disk 0 is here. */
#define REPLICAS   3
#define SLOT_BYTES BUF_BYTES_MAX
#define SHARD      ((uint64_t)2 << 20)
#define SOON_NS    (50 * NS_PER_MS)
#define LEASE_OVER (300 * NS_PER_MS)
#define PATIENCE   (1 * NS_PER_S)
#define DOWN       (PATIENCE / 20) /* Without any link. */

struct world {
    struct peer_world *w;
    struct store store; /* Of disk 0. */
    struct link *links[STORES];
    struct volume_disk disks[REPLICAS];
    struct volume_placement placement[8];
    struct buf_pool *scratch[PW_ENGINE_REACTORS];
    struct pace pace;
    struct pace_queue queues[PW_ENGINE_REACTORS], *paces[PW_ENGINE_REACTORS];
    struct volume_config config;
    struct meta meta;
    struct volume *volume;
    struct status open_status;
    bool opened, closed;
    uint8_t *memory;
};

struct task {
    struct nvme_ns_req req;
    bool busy;
    struct status status;
};

/* ---- The volume ---- */

static inline struct fake_peer *peer(const struct world *c, unsigned store)
{
    return c->w->stores[store].peer;
}

static inline void world_group(struct world *c)
{
    struct group *const g = &c->meta.record;
    struct group_reason reason;

    g->copyset_count = 1;
    for (unsigned r = 0; r < c->config.volume.replicas; r++)
        g->copysets[0].slots[r] =
            (struct group_slot) { .state = GROUP_SLOT_IN,
                                  .disk = c->disks[r].uuid,
                                  .incarnation = c->disks[r].link == NULL ? 1 : 0x500000001 };
    assert_int_equal(group_take_epoch(g, (struct uuid) { { 99 } }, g, &reason).code, STATUS_OK);
    c->config.group = g;
    c->config.epoch = g->epoch;
}

/* Replicas here and on two other nodes; without a local one, on these alone. */
static inline struct world *world_create(bool local, unsigned min_in_sync)
{
    static const char *const names[] = { "node-1/disk-1", "node-2/disk-1", "node-3/disk-1" };
    struct world *const c = calloc(1, sizeof *c);
    const unsigned first = local ? 0 : 1;

    c->w = peer_world_start(STORES, 2, min_in_sync);
    fake_store_init(&c->store, c->w->reactors[0], SHARD);
    c->store.disk = (struct uuid) { { 0xd0 } };
    for (unsigned i = 0; i < STORES; i++)
        c->links[i] = pw_link(c->w, i);
    for (unsigned i = 0; i + first < REPLICAS; i++)
        c->disks[i] =
            (struct volume_disk) { .name = names[i + first],
                                   .uuid = { { (uint8_t)(0xd0 + i + first) } },
                                   .store = i + first == 0 ? &c->store : NULL,
                                   .reactor = c->w->reactors[0],
                                   .link = i + first == 0 ? NULL : c->links[i + first - 1] };
    for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++)
        assert_true(
            status_ok(buf_pool_create(c->w->reactors[i], VOLUME_SCRATCH_BYTES, &c->scratch[i])));
    for (unsigned i = 0; i < ARRAY_COUNT(c->placement); i++)
        for (unsigned r = 0; r < REPLICAS - first; r++)
            c->placement[i].disk[r] = r;
    c->config = (struct volume_config) {
        .volume = { .uuid = { { 0x70 } },
                    .name = "db1",
                    .bytes = 4 * SHARD,
                    .shard_bytes = SHARD,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 512 << 10,
                    .stripe_width = 1,
                    .replicas = REPLICAS - first,
                    .min_in_sync = min_in_sync },
        .reactors = c->w->reactors,
        .reactor_count = PW_ENGINE_REACTORS,
        .scratch = c->scratch,
        .disks = c->disks,
        .disk_count = REPLICAS - first,
        .shards = c->placement,
        .shard_count = 4,
        .meta = &meta_ops,
        .meta_ctx = &c->meta,
        .log = &c->w->log,
    };
    c->meta.home = c->w->reactors[0];
    c->memory = aligned_alloc(4096, 8 * SLOT_BYTES);
    memset(c->memory, 0x5a, 8 * SLOT_BYTES); /* Not zeros: a write of them changes nothing. */
    world_group(c);
    return c;
}

/* Before it is open. */
static inline void world_limit_resyncs(struct world *c, uint64_t bytes_per_s)
{
    pace_init(&c->pace, bytes_per_s);
    for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++) {
        c->paces[i] = &c->queues[i];
        pace_queue_init(c->paces[i], c->w->reactors[i], &c->pace);
    }
    c->config.paces = c->paces;
}

static inline void on_world_opened(void *ctx, struct status status, struct volume *volume)
{
    struct world *const c = ctx;

    c->open_status = status;
    c->volume = volume;
    c->opened = true;
}

static inline struct status world_open(struct world *c)
{
    c->opened = false;
    assert_true(status_ok(volume_open(&c->config, on_world_opened, c)));
    pw_wait(c->w, &c->opened);
    return c->open_status;
}

static inline struct world *world_opened(bool local, unsigned min_in_sync)
{
    struct world *const c = world_create(local, min_in_sync);

    assert_int_equal(world_open(c).code, STATUS_OK);
    return c;
}

static inline void on_world_closed(void *ctx)
{
    ((struct world *)ctx)->closed = true;
}

static inline void world_destroy(struct world *c)
{
    if (c->volume != NULL) {
        volume_close(c->volume, on_world_closed, c);
        pw_wait(c->w, &c->closed);
    }
    for (unsigned i = 0; i < STORES; i++) {
        fake_peer_release(peer(c, i));
        pw_block(c->w, i, false);
        pw_put(c->w, c->links[i]);
    }
    pw_run(c->w, NS_PER_S);
    fake_store_fini(&c->store);
    for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++)
        buf_pool_destroy(c->scratch[i]);
    peer_world_stop(c->w);
    free(c->memory);
    free(c);
}

/* ---- Commands ---- */

static inline void on_task_done(struct nvme_ns_req *req)
{
    struct task *const t = CONTAINER_OF(req, struct task, req);

    assert_true(t->busy);
    t->busy = false;
    t->status = req->status;
}

static inline void begin(struct world *c, struct task *t, unsigned slot, unsigned reactor,
                         enum nvme_ns_opcode opcode, uint64_t offset, uint64_t bytes)
{
    const bool data = opcode == NVME_NS_READ || opcode == NVME_NS_WRITE;
    const bool fua = t->req.fua;

    t->req = (struct nvme_ns_req) { .opcode = opcode,
                                    .fua = fua,
                                    .offset = offset,
                                    .bytes = bytes,
                                    .data = { c->memory + slot * SLOT_BYTES, data ? bytes : 0 },
                                    .reactor = c->w->reactors[reactor],
                                    .done = on_task_done };
    list_node_init(&t->req.link);
    t->busy = true;
    volume_ns(c->volume)->ops->submit(volume_ns(c->volume), &t->req);
}

static inline struct status finish(struct world *c, struct task *t, uint64_t within_ns)
{
    pw_run(c->w, within_ns);
    return t->busy ? STATUS(BUSY) : t->status;
}

static inline struct status do_one(struct world *c, unsigned reactor, enum nvme_ns_opcode opcode,
                                   uint64_t offset, uint64_t bytes)
{
    struct task t = { 0 };

    begin(c, &t, 0, reactor, opcode, offset, bytes);
    return finish(c, &t, SOON_NS);
}

static inline void paint(struct world *c, unsigned slot, uint64_t bytes, uint8_t value)
{
    memset(c->memory + slot * SLOT_BYTES, value, bytes);
}

static inline struct status write_one(struct world *c, unsigned reactor, uint64_t offset,
                                      uint64_t bytes, uint8_t value)
{
    paint(c, 0, bytes, value);
    return do_one(c, reactor, NVME_NS_WRITE, offset, bytes);
}

/* What a remote disk has at an offset of the volume. */
static inline uint8_t byte_at(const struct world *c, unsigned store, uint64_t offset)
{
    const uint8_t *const shard = peer(c, store)->shards[offset / SHARD];

    return shard == NULL ? 0 : shard[offset % SHARD];
}

static inline bool is_in(const struct world *c, unsigned replica)
{
    return group_has_member(&c->meta.record, c->disks[replica].uuid);
}

#endif
