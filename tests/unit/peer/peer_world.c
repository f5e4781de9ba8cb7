/* SPDX-License-Identifier: Apache-2.0 */
#include "peer_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_NS_MAX (600 * NS_PER_S)
#define POOL_BYTES  ((size_t)32 << 20)

static void must(struct status st)
{
    if (!status_ok(st))
        fail_msg("%s", status_text(st));
}

static void nothing(struct sim_process *p, void *ctx)
{
    (void)p;
    (void)ctx;
}

static void count_line(struct log *log, enum log_level level, const char *line)
{
    struct peer_world *const w = log->ctx;

    w->warnings += level <= LOG_LEVEL_WARNING ? 1 : 0;
    if (getenv("PW_LOG") != NULL)
        fprintf(stderr, "%12" PRIu64 " %s\n", sim_world_now_ns(w->world), line);
}

static void trace(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

static void start_store(struct peer_world *w, unsigned index, unsigned reactors)
{
    struct pw_store *const s = &w->stores[index];
    char name[16];

    snprintf(name, sizeof name, "store-%u", index);
    s->node = (struct uuid) { { 0xa0, (uint8_t)index, 1 } };
    s->reactor_count = reactors;
    s->process =
        sim_spawn(sim_machine_create(w->world, name),
                  &(struct sim_program) { .name = name, .reactors = reactors, .main = nothing });
    for (unsigned i = 0; i < reactors; i++) {
        s->reactors[i] = sim_process_reactor(s->process, i);
        must(buf_pool_create(s->reactors[i], POOL_BYTES, &s->pools[i]));
    }
    const struct nvme_target_config config = { .reactors = s->reactors,
                                               .pools = s->pools,
                                               .reactor_count = reactors,
                                               .node_index = index,
                                               .r2t_pool_bytes = POOL_BYTES };
    const struct io_addr any = sim_machine_addr(sim_process_machine(s->process), 4420);
    must(nvme_target_create(&config, &s->target));
    s->peer = fake_peer_add(s->target, s->node);
    must(nvme_target_listen(s->target, &any, NULL, &s->addr));
}

struct peer_world *peer_world_start(unsigned stores, unsigned reactors, uint64_t seed)
{
    struct peer_world *const w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->log = (struct log) { .level = LOG_LEVEL_INFO, .sink = count_line, .ctx = w };
    w->world = sim_world_create(&(struct sim_config) {
        .seed = seed + 1,
        .trace = getenv("PW_TRACE") != NULL ? trace : NULL,
        .log_level = LOG_LEVEL_DEBUG,
    });
    *sim_world_net(w->world) = (struct sim_net) {
        .latency_min_ns = 1000,
        .latency_max_ns = 50000,
        .segment_max = 16384,
        .patience_ns = WAIT_NS_MAX,
        .connect_wait_ns = NS_PER_S,
    };
    w->engine = sim_spawn(sim_machine_create(w->world, "engine"),
                          &(struct sim_program) {
                              .name = "engine", .reactors = PW_ENGINE_REACTORS, .main = nothing });
    w->store_count = stores;
    for (unsigned i = 0; i < stores; i++)
        start_store(w, i, reactors != 0 ? reactors : PW_REACTORS_MAX);
    for (unsigned i = 0; i < PW_ENGINE_REACTORS; i++)
        w->reactors[i] = sim_process_reactor(w->engine, i);
    const struct links_config config = { .reactors = w->reactors,
                                         .reactor_count = PW_ENGINE_REACTORS,
                                         .cluster = { { 0xc1 } },
                                         .node = { { 0xe1 } },
                                         .log = &w->log };
    must(links_create(&config, &w->links));
    return w;
}

static void stop_store(struct peer_world *w, struct pw_store *s)
{
    w->flag = false;
    nvme_target_stop(s->target, pw_set_flag, w);
    pw_wait(w, &w->flag);
    nvme_target_destroy(s->target);
    assert_int_equal(s->peer->closed, s->peer->opened);
    fake_peer_free(s->peer);
    for (unsigned i = 0; i < s->reactor_count; i++) {
        assert_int_equal(buf_pool_used(s->pools[i]), 0);
        buf_pool_destroy(s->pools[i]);
    }
}

void peer_world_stop(struct peer_world *w)
{
    w->flag = false;
    links_stop(w->links, pw_set_flag, w);
    pw_wait(w, &w->flag);
    links_destroy(w->links);
    pw_run(w, NS_PER_S);
    for (unsigned i = 0; i < w->store_count; i++)
        stop_store(w, &w->stores[i]);
    sim_world_destroy(w->world);
    free(w);
}

void pw_wait(struct peer_world *w, const bool *condition)
{
    const uint64_t end = sim_world_now_ns(w->world) + WAIT_NS_MAX;

    while (!*condition) {
        if (!sim_world_step(w->world) || sim_world_now_ns(w->world) > end)
            fail_msg("waited in vain");
    }
}

void pw_run(struct peer_world *w, uint64_t ns)
{
    sim_world_run(w->world, ns);
}

static struct sim_machine *machine_of(const struct peer_world *w, unsigned store)
{
    return sim_process_machine(w->stores[store].process);
}

void pw_block(struct peer_world *w, unsigned store, bool blocked)
{
    sim_net_block(sim_process_machine(w->engine), machine_of(w, store), blocked);
    sim_net_block(machine_of(w, store), sim_process_machine(w->engine), blocked);
}

void pw_cut(struct peer_world *w, unsigned store)
{
    sim_net_cut(machine_of(w, store), 1);
}

void pw_set_flag(void *w)
{
    ((struct peer_world *)w)->flag = true;
}

struct link *pw_link(struct peer_world *w, unsigned store)
{
    struct link *link = NULL;

    must(link_get(w->links, w->stores[store].node, &w->stores[store].addr, &link));
    return link;
}

struct put {
    struct io_msg msg;
    struct link *link;
    bool done;
};

static void on_put(struct io_msg *msg)
{
    struct put *const put = CONTAINER_OF(msg, struct put, msg);

    link_put(put->link);
    put->done = true;
}

void pw_put(struct peer_world *w, struct link *link)
{
    struct put put = { .msg = { .deliver = on_put }, .link = link };

    reactor_post(w->reactors[0], &put.msg);
    pw_wait(w, &put.done);
}
