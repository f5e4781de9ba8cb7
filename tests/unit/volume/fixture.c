/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <stdlib.h>

static void log_sink(struct log *log, enum log_level level, const char *line)
{
    (void)level;
    (void)line;
    *(unsigned *)log->ctx += 1;
}

struct fixture *fixture_create(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    static const char *const names[DISKS] = { "node-1/disk-1", "node-1/disk-2", "node-1/disk-3" };

    f->log = (struct log) { .level = LOG_LEVEL_INFO, .sink = log_sink, .ctx = &f->log_lines };
    loop_init(&f->loop, 2, &f->log);
    for (unsigned i = 0; i < 2; i++)
        assert_true(
            status_ok(buf_pool_create(f->loop.reactors[i], VOLUME_SCRATCH_BYTES, &f->scratch[i])));
    for (unsigned i = 0; i < DISKS; i++) {
        fake_store_init(&f->stores[i], f->loop.reactors[i % 2], SHARD_BYTES);
        f->stores[i].disk = (struct uuid) { { (uint8_t)(i + 1) } };
        f->disks[i] = (struct volume_disk) {
            names[i], &f->stores[i], f->loop.reactors[i % 2], { { (uint8_t)(i + 1) } }
        };
    }
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        f->placement[i].disk[0] = i % DISKS;
    f->config = (struct volume_config) {
        .volume = { .name = "db1",
                    .bytes = SHARDS * SHARD_BYTES,
                    .shard_bytes = SHARD_BYTES,
                    .lba_bytes = (uint32_t)BLOCK,
                    .stripe_unit_bytes = (uint32_t)(256 * K),
                    .stripe_width = 3,
                    .replicas = 1,
                    .min_in_sync = 1 },
        .epoch = 1,
        .reactors = f->loop.reactors,
        .reactor_count = f->loop.count,
        .scratch = f->scratch,
        .disks = f->disks,
        .disk_count = DISKS,
        .shards = f->placement,
        .shard_count = SHARDS,
        .log = &f->log,
    };
    f->expected = calloc(1, SHARDS_MAX * SHARD_BYTES);
    f->memory = aligned_alloc(BLOCK, REQUESTS * BUF_BYTES_MAX);
    return f;
}

void fixture_limit_resyncs(struct fixture *f, uint64_t bytes_per_s)
{
    pace_init(&f->pace, bytes_per_s);
    for (unsigned i = 0; i < 2; i++) {
        f->paces[i] = &f->queues[i];
        pace_queue_init(f->paces[i], f->loop.reactors[i], &f->pace);
    }
    f->config.paces = f->paces;
}

static void on_opened(void *ctx, struct status status, struct volume *volume)
{
    struct fixture *f = ctx;
    f->open_status = status;
    f->volume = volume;
    for (unsigned i = 0; i < DISKS && f->hold_after_open; i++)
        f->stores[i].hold = true;
}

struct status fixture_open(struct fixture *f)
{
    f->open_status = STATUS(TIMED_OUT);
    assert_true(status_ok(volume_open(&f->config, on_opened, f)));
    assert_int_equal(f->open_status.code, STATUS_TIMED_OUT); /* Never before it returns. */
    loop_run(&f->loop);
    return f->open_status;
}

void fixture_on_closed(void *ctx)
{
    struct fixture *f = ctx;
    f->closed = true;
}

void fixture_close(struct fixture *f)
{
    f->closed = false;
    volume_close(f->volume, fixture_on_closed, f);
    loop_run(&f->loop);
    assert_true(f->closed);
    f->volume = NULL;
}

void fixture_destroy(struct fixture *f)
{
    if (f->volume != NULL)
        fixture_close(f);
    for (unsigned i = 0; i < DISKS; i++)
        fake_store_fini(&f->stores[i]);
    for (unsigned i = 0; i < 2; i++)
        buf_pool_destroy(f->scratch[i]); /* Everything has come back to it. */
    free(f->expected);
    free(f->memory);
    free(f);
}

struct fixture *fixture_opened(void)
{
    struct fixture *f = fixture_create();
    assert_true(status_ok(fixture_open(f)));
    return f;
}

void on_done(struct nvme_ns_req *req)
{
    struct request *r = CONTAINER_OF(req, struct request, req);
    assert_true(r->busy);
    r->busy = false;
}

void submit(struct fixture *f, struct request *r, unsigned slot, unsigned reactor,
            enum nvme_ns_opcode opcode, uint64_t offset, uint64_t bytes)
{
    struct nvme_ns *ns = volume_ns(f->volume);
    const bool fua = r->req.fua;
    const uint64_t loss_told = r->req.loss_told;
    const bool data =
        opcode == NVME_NS_READ || opcode == NVME_NS_WRITE || opcode == NVME_NS_COMPARE;

    r->req = (struct nvme_ns_req) {
        .opcode = opcode,
        .fua = fua,
        .loss_told = loss_told,
        .offset = offset,
        .bytes = bytes,
        .data = { f->memory + slot * BUF_BYTES_MAX + offset % BLOCK, data ? bytes : 0 },
        .reactor = f->loop.reactors[reactor],
        .done = on_done,
    };
    list_node_init(&r->req.link);
    r->busy = true;
    ns->ops->submit(ns, &r->req);
    assert_true(r->busy); /* Never before it returns. */
}

struct status run(struct fixture *f, enum nvme_ns_opcode opcode, bool fua, uint64_t offset,
                  uint64_t bytes)
{
    struct request r = { .req.fua = fua };
    submit(f, &r, 0, 0, opcode, offset, bytes);
    loop_run(&f->loop);
    assert_false(r.busy);
    return r.req.status;
}
