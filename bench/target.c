/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target over a namespace in memory: what the protocol costs, without a store below it.
 * Compare with echo, which has the reactor alone, and with node, which has a store below.
 *
 * Threading: one reactor.   Memory: 256 MiB for the namespace.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/buf.h"
#include "nvme/target.h"
#include "serve.h"

#define NAMESPACE_BYTES ((uint64_t)256 << 20)
#define POOL_BYTES      ((size_t)64 << 20)
#define NQN             "nqn.2026-01.io.trilith:volume:bench"

/* Requests of a turn complete together at its end, with one copy each. */
struct bench_ns {
    struct nvme_ns ns;
    struct serve serve;
    uint8_t *memory;
    struct list pending;
    struct io_task complete;
};

static struct bench_ns bench;

static void bench_transfer(struct nvme_ns_req *req)
{
    if (req->opcode == NVME_NS_READ)
        memcpy(req->data.at, bench.memory + req->offset, req->bytes);
    if (req->opcode == NVME_NS_WRITE)
        memcpy(bench.memory + req->offset, req->data.at, req->bytes);
}

static void bench_complete(struct io_task *task)
{
    struct list now;
    struct list_node *n;

    (void)task;
    list_init(&now);
    list_splice_back(&now, &bench.pending);
    while ((n = list_pop_front(&now)) != NULL) {
        struct nvme_ns_req *const req = CONTAINER_OF(n, struct nvme_ns_req, link);
        bench_transfer(req);
        req->status = STATUS(OK);
        req->done(req);
    }
}

static void bench_submit(struct nvme_ns *ns, struct nvme_ns_req *req)
{
    (void)ns;
    list_node_init(&req->link);
    list_push_back(&bench.pending, &req->link);
    reactor_defer(bench.serve.reactor, &bench.complete);
}

static void bench_info(struct nvme_ns *ns, struct nvme_ns_info *out_info)
{
    (void)ns;
    *out_info = (struct nvme_ns_info) {
        .uuid = { { 1 } },
        .nguid = { 1 },
        .bytes = NAMESPACE_BYTES,
        .lba_bytes = 4096,
        .atomic_bytes = 4096,
    };
}

static const struct nvme_ns_ops bench_ops = { .submit = bench_submit, .info = bench_info };

int main(int argc, char **argv)
{
    struct buf_pool *pool;
    struct nvme_target *target;
    struct nvme_subsys *subsys;
    struct io_addr bound;

    serve_init(&bench.serve, argc, argv);
    bench.ns.ops = &bench_ops;
    list_init(&bench.pending);
    io_task_init(&bench.complete, bench_complete);
    bench.memory = malloc(NAMESPACE_BYTES);
    serve_check(bench.memory != NULL ? STATUS(OK) : STATUS(NO_MEMORY), "the namespace");
    memset(bench.memory, 1, NAMESPACE_BYTES); /* Now, so that no page is new while it counts. */
    serve_check(buf_pool_create(bench.serve.reactor, POOL_BYTES, &pool), "the buffers");
    const struct nvme_target_config config = { .reactors = &bench.serve.reactor,
                                               .pools = &pool,
                                               .reactor_count = 1 };
    serve_check(nvme_target_create(&config, &target), "the target");
    const struct nvme_subsys_config subsys_config = { .nqn = NQN,
                                                      .serial = "bench",
                                                      .ns = &bench.ns };
    serve_check(nvme_subsys_add(target, &subsys_config, &subsys), "the subsystem");
    serve_check(nvme_target_listen(target, &bench.serve.listen, NULL, &bound), "listen");
    serve_listening(&bound);
    serve_run(&bench.serve);
    return 0;
}
