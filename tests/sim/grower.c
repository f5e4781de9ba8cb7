/* SPDX-License-Identifier: Apache-2.0 */
#include "grower.h"

#include <inttypes.h>

#include "disk/layout.h"

#define DEVICE_BYTES_MAX ((uint64_t)128 << 20)

/* By anything from too little on. */
static void device_grow(struct grower *g)
{
    const uint64_t bytes = sim_disk_config(g->disk)->bytes;
    const uint64_t more = run_between(g->run, run_percent(g->run, 10) ? 1 : 16, 40) << 20;

    if (bytes + more <= DEVICE_BYTES_MAX)
        sim_disk_grow(g->disk, bytes + more);
}

static void on_grown(void *ctx, const struct store_grown *grown)
{
    struct grower *const g = ctx;
    struct store_info info;

    g->growing = false;
    if (g->store == NULL && status_is(grown->status, STATUS_OK))
        return; /* It is being closed, and may be gone. */
    if (!status_ok(grown->status) && grown->problem[0] == '\0')
        run_fail(g->run, "the store does not grow and does not say why");
    if (g->store == NULL || (!status_ok(grown->status) && blame_any(g->blame)))
        return;
    store_get_info(g->store, &info);
    if (status_is(grown->status, STATUS_OUT_OF_RANGE) && info.growth_bytes == 0)
        return;
    if (!status_ok(grown->status))
        run_fail(g->run, "growing: %s", grown->problem);
    if (info.data_bytes != grown->data_bytes || info.data_bytes <= g->data_bytes)
        run_fail(g->run, "the store has grown from %" PRIu64 " to %" PRIu64, g->data_bytes,
                 info.data_bytes);
    g->data_bytes = info.data_bytes;
}

static void grow(struct grower *g)
{
    if (g->store == NULL || g->growing)
        return;
    if (run_percent(g->run, 90))
        device_grow(g);
    if (run_percent(g->run, 10))
        return; /* Later, or in another life. */
    g->growing = true;
    if (g->may_crash && run_percent(g->run, 60))
        sim_process_crash_after(sim_reactor_process(g->reactor), run_between(g->run, 0, 40),
                                run_percent(g->run, 70));
    store_grow(g->store, on_grown, g);
}

static void on_timer(struct io_timer *timer)
{
    grow(CONTAINER_OF(timer, struct grower, timer));
}

void grower_begin_life(struct grower *g)
{
    g->store = NULL;
    g->growing = false;
    if (g->active && !g->only_full && run_percent(g->run, 20))
        device_grow(g);
}

void grower_start(struct grower *g, struct store *store, struct reactor *r)
{
    struct store_info info;

    store_get_info(store, &info);
    if (info.data_bytes < g->data_bytes && !g->lied)
        run_fail(g->run, "the store had %" PRIu64 " bytes, and has %" PRIu64 " (F34)",
                 g->data_bytes, info.data_bytes);
    g->data_bytes = info.data_bytes;
    g->store = store;
    g->reactor = r;
    io_timer_init(&g->timer, on_timer);
    if (g->active && !g->only_full && run_percent(g->run, 50))
        io_timer_arm(&g->timer, r, reactor_now_ns(r) + run_between(g->run, 0, 30 * NS_PER_MS));
}

void grower_full(struct grower *g)
{
    if (g->active && run_percent(g->run, 50))
        grow(g);
}

void grower_stop(struct grower *g)
{
    io_timer_disarm(&g->timer);
    g->store = NULL;
}
