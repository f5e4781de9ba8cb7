/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload "target": the NVMe/TCP target over a namespace in memory that answers late, the real
 * initiator as its host, and a hostile peer, over connections that break, byte by byte, while
 * the server is killed and stopped.  W1: nobody is hurt by malformed PDUs.  W3: no write of an
 * old association comes after one of the new.
 */
#include <assert.h>
#include <stdlib.h>

#include "host.h"
#include "hostile.h"
#include "io/buf.h"
#include "nvme/target.h"
#include "workloads.h"

#define BLOCKS     24
#define REACTORS   2
#define POOL_BYTES ((size_t)4 << 20)
#define PORT       4420

static const char nqn[] = "nqn.2026-01.io.trilith:volume:sim";

/* The script and what outlives the server. */
struct work {
    struct run *run;
    struct sim_machine *server_machine;
    struct sim_machine *host_machine;
    struct sim_process *server;
    struct host *host;
    struct hostile hostile;
    uint64_t slow_ns; /* How late the namespace may answer. */
    unsigned troubles;
    uint8_t *blocks; /* The namespace's content. */
};

/* ---- A namespace that takes its time ---- */

struct late_ns {
    struct nvme_ns ns;
    struct list waiting[REACTORS]; /* late_req.link */
    struct work *work;
};

struct late_req {
    struct list_node link;
    struct io_timer timer;
    bool begun; /* It cannot be taken back, and so outlives its connection. */
    bool canceled;
    struct late_ns *ns;
    struct nvme_ns_req *req;
};

static void late_execute(struct work *work, struct nvme_ns_req *req)
{
    uint8_t *const at = work->blocks + req->offset;

    req->status = STATUS(OK);
    switch (req->opcode) {
    case NVME_NS_READ:
        memcpy(req->data.at, at, req->bytes);
        return;
    case NVME_NS_WRITE:
        memcpy(at, req->data.at, req->bytes);
        return;
    case NVME_NS_WRITE_ZEROES:
    case NVME_NS_DEALLOCATE:
        memset(at, 0, req->bytes);
        return;
    case NVME_NS_COMPARE:
        if (memcmp(at, req->data.at, req->bytes) != 0)
            req->status = STATUS(MISCOMPARE);
        return;
    case NVME_NS_COPY:
        memmove(at, work->blocks + req->source, req->bytes);
        return;
    case NVME_NS_FLUSH:
    case NVME_NS_VERIFY:
        return;
    }
    assert(false);
}

static void late_on_time(struct io_timer *t)
{
    struct late_req *const late = CONTAINER_OF(t, struct late_req, timer);
    struct nvme_ns_req *const req = late->req;

    list_remove(&late->link);
    if (late->canceled)
        req->status = STATUS(CANCELED);
    else
        late_execute(late->ns->work, req);
    free(late);
    req->done(req);
}

static void late_submit(struct nvme_ns *ns, struct nvme_ns_req *req)
{
    struct late_req *const late = calloc(1, sizeof *late);
    struct work *const work = CONTAINER_OF(ns, struct late_ns, ns)->work;
    const uint64_t delay_ns = run_percent(work->run, 20)
                                  ? run_between(work->run, 0, work->slow_ns)
                                  : run_between(work->run, 0, 50 * NS_PER_US);

    assert(late != NULL);
    late->ns = CONTAINER_OF(ns, struct late_ns, ns);
    late->req = req;
    late->begun = run_percent(work->run, 50);
    list_node_init(&late->link);
    list_push_back(&late->ns->waiting[req->reactor->index], &late->link);
    io_timer_init(&late->timer, late_on_time);
    io_timer_arm(&late->timer, req->reactor, reactor_now_ns(req->reactor) + delay_ns);
}

/* Takes back what has not been begun; it ends when it would have been executed. */
static bool late_cancel(struct nvme_ns *ns, struct nvme_ns_req *req)
{
    struct late_ns *const late_ns = CONTAINER_OF(ns, struct late_ns, ns);

    for (unsigned i = 0; i < REACTORS; i++)
        LIST_FOR_EACH (node, &late_ns->waiting[i]) {
            struct late_req *const late = CONTAINER_OF(node, struct late_req, link);
            if (late->req != req || late->begun)
                continue;
            late->canceled = true;
            return true;
        }
    return false;
}

static void late_info(struct nvme_ns *ns, struct nvme_ns_info *out_info)
{
    (void)ns;
    *out_info = (struct nvme_ns_info) { .uuid = { { 9 } },
                                        .bytes = (uint64_t)BLOCKS * HOST_BLOCK_BYTES,
                                        .lba_bytes = HOST_BLOCK_BYTES,
                                        .atomic_bytes = HOST_BLOCK_BYTES };
}

static const struct nvme_ns_ops late_ops = { .submit = late_submit,
                                             .cancel = late_cancel,
                                             .info = late_info };

/* ---- The server ---- */

static void must(struct status st)
{
    assert(status_ok(st));
}

static void server_main(struct sim_process *p, void *ctx)
{
    struct late_ns *const ns = calloc(1, sizeof *ns);
    struct reactor *reactors[REACTORS];
    struct buf_pool *pools[REACTORS];
    struct nvme_target *target;
    struct nvme_subsys *subsys;
    struct io_addr bound;

    assert(ns != NULL);
    ns->ns.ops = &late_ops;
    ns->work = ctx;
    for (unsigned i = 0; i < REACTORS; i++)
        list_init(&ns->waiting[i]);
    for (unsigned i = 0; i < REACTORS; i++) {
        reactors[i] = sim_process_reactor(p, i);
        must(buf_pool_create(reactors[i], POOL_BYTES, &pools[i]));
    }
    const struct nvme_target_config config = { .reactors = reactors,
                                               .pools = pools,
                                               .reactor_count = REACTORS,
                                               .r2t_pool_bytes = POOL_BYTES };
    const struct nvme_subsys_config volume = { .nqn = nqn, .serial = "SIM", .ns = &ns->ns };
    const struct io_addr any = { .family = IO_FAMILY_IPV4, .port = PORT };
    must(nvme_target_create(&config, &target));
    must(nvme_subsys_add(target, &volume, &subsys));
    must(nvme_target_listen(target, &any, NULL, &bound));
}

static void server_spawn(void *ctx)
{
    struct work *const work = ctx;
    const struct sim_program program = {
        .name = "target", .reactors = REACTORS, .main = server_main, .ctx = work
    };
    if (work->server == NULL || !sim_process_is_alive(work->server))
        work->server = sim_spawn(work->server_machine, &program);
}

/* ---- Troubles ---- */

static void server_resume(void *ctx)
{
    sim_process_resume(((struct work *)ctx)->server);
}

static void links_heal(void *ctx)
{
    struct work *const work = ctx;
    sim_net_block(work->server_machine, work->host_machine, false);
    sim_net_block(work->host_machine, work->server_machine, false);
}

static void trouble(void *ctx)
{
    struct work *const work = ctx;
    struct run *const run = work->run;
    const uint64_t later_ns = run_between(run, 0, 50 * NS_PER_MS);
    const uint64_t what = rng_below(&run->rng, 10);

    if (what == 0) {
        work->hostile.target_deaths++;
        sim_process_kill(work->server);
        sim_world_after(run->world, later_ns, server_spawn, work);
    } else if (what == 1) {
        sim_process_pause(work->server);
        sim_world_after(run->world, later_ns, server_resume, work);
    } else if (what == 2) {
        sim_net_block(work->server_machine, work->host_machine, run_percent(run, 60));
        sim_net_block(work->host_machine, work->server_machine, run_percent(run, 60));
        sim_world_after(run->world, later_ns, links_heal, work);
    } else {
        sim_net_cut(work->host_machine, 2);
    }
    if (--work->troubles > 0)
        sim_world_after(run->world, later_ns + run_between(run, 0, 30 * NS_PER_MS), trouble, work);
}

static void target_act(struct run *run)
{
    struct work work = { .run = run, .troubles = (unsigned)run_between(run, 1, 8) };
    struct history *const history = history_create(BLOCKS, 1);

    work.server_machine = sim_machine_create(run->world, "server");
    work.host_machine = sim_machine_create(run->world, "host");
    work.slow_ns = run_between(run, NS_PER_MS, 40 * NS_PER_MS);
    work.blocks = sim_world_alloc(run->world, (size_t)BLOCKS * HOST_BLOCK_BYTES);
    server_spawn(&work);
    const struct host_config config = {
        .run = run,
        .history = history,
        .machine = work.host_machine,
        .target = sim_machine_addr(work.server_machine, PORT),
        .nqn = nqn,
        .block_bytes = HOST_BLOCK_BYTES,
        .blocks = BLOCKS,
        .group_blocks = BLOCKS,
        .copies = true,
        .aborts_are_exact = true,
        .ops = run_between(run, 20, 200),
        .slots = (unsigned)run_between(run, 1, 12),
        .queues = (unsigned)run_between(run, 1, HOST_QUEUES_MAX),
        .io_blocks_max = run_percent(run, 50) ? 8 : BLOCKS,
    };
    work.host = host_create(&config);
    work.host->verifying = true;
    if (run_percent(run, 50)) {
        work.hostile.run = run;
        work.hostile.attacks_max = run_between(run, 1, 12);
        work.hostile.target = config.target;
        hostile_start(&work.hostile, sim_machine_create(run->world, "hostile"));
    }
    sim_world_after(run->world, run_between(run, 0, 20 * NS_PER_MS), trouble, &work);
    run_until(run, host_is_resting, work.host, 600 * NS_PER_S, "the host");
    run_until(run, hostile_is_resting, &work.hostile, 3600 * NS_PER_S, "the hostile peer");
    history_destroy(history);
}

const struct workload work_target = { .name = "target",
                                      .rules = "W1 W2 W3",
                                      .text = "the target, its host and a hostile peer",
                                      .act = target_act };
