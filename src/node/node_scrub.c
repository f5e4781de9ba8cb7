/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_scrub.h"

#include <assert.h>

#include "node/node_internal.h"

static struct node_disk *disk_of(struct node_scrub *s)
{
    return CONTAINER_OF(s, struct node_disk, scrub);
}

static bool is_wanted(const struct node_scrub *s)
{
    return s->running != 0 && s->running == s->order.id;
}

/* ---- On the disk's reactor ---- */

static void start_deliver(struct io_msg *msg)
{
    struct node_scrub *const s = CONTAINER_OF(msg, struct node_scrub, start_msg);
    struct node_disk *const d = disk_of(s);

    s->outcome = STATUS(UNAVAILABLE);
    if (d->opened_store != NULL)
        s->outcome = store_scrub_start(d->opened_store, &s->config);
    if (!status_ok(s->outcome))
        reactor_post(d->home, &s->done_msg);
}

static void stop_deliver(struct io_msg *msg)
{
    struct node_disk *const d = disk_of(CONTAINER_OF(msg, struct node_scrub, stop_msg));

    if (d->opened_store != NULL)
        store_scrub_stop(d->opened_store);
}

static void go_deliver(struct io_msg *msg)
{
    struct node_disk *const d = disk_of(CONTAINER_OF(msg, struct node_scrub, go_msg));

    if (d->opened_store != NULL)
        store_scrub_go_on(d->opened_store);
}

static void on_found(void *ctx, const struct store_scrub_found *found)
{
    struct node_disk *const d = ctx;

    d->scrub.found = *found;
    reactor_post(d->home, &d->scrub.found_msg);
}

static void on_done(void *ctx, struct status status, const struct store_scrub_progress *progress)
{
    struct node_disk *const d = ctx;

    d->scrub.outcome = status;
    d->scrub.last = *progress;
    reactor_post(d->home, &d->scrub.done_msg);
}

void node_scrub_refresh(struct node_disk *d)
{
    d->scrub.has_fresh = store_scrub_progress(d->opened_store, &d->scrub.fresh);
}

/* ---- On home ---- */

void node_scrub_on_fresh(struct node_disk *d)
{
    struct node_scrub *const s = &d->scrub;

    if (!s->has_fresh || !is_wanted(s))
        return;
    s->report.position = s->fresh.position;
    s->report.done_bytes = s->base_bytes + s->fresh.done_bytes;
    s->report.all_bytes = s->fresh.all_bytes;
}

static void go_on(struct node_disk *d)
{
    d->scrub.report.finding = 0;
    d->scrub.go_msg.deliver = go_deliver;
    reactor_post(d->reactor, &d->scrub.go_msg);
}

static void found_deliver(struct io_msg *msg)
{
    struct node_scrub *const s = CONTAINER_OF(msg, struct node_scrub, found_msg);
    struct node_disk *const d = disk_of(s);

    if (!is_wanted(s))
        return; /* It is being stopped, and does not wait. */
    s->report.finding = s->order.answered + 1;
    s->report.volume = s->found.volume;
    s->report.shard = s->found.shard;
    s->report.offset = s->found.offset;
    s->report.bytes = s->found.bytes;
    log_warning(
        d->log, "disk '%s': %llu bad blocks at %llu of shard %u of volume %s",
        d->info.identity.disk_name, (unsigned long long)(s->found.bytes / STORE_BLOCK_BYTES),
        (unsigned long long)s->found.offset, s->found.shard, uuid_format(s->found.volume).s);
    node_disk_refresh(d); /* With the position. */
    node_changed(d->node);
}

static void done_deliver(struct io_msg *msg)
{
    struct node_scrub *const s = CONTAINER_OF(msg, struct node_scrub, done_msg);
    struct node_disk *const d = disk_of(s);

    if (is_wanted(s) && status_ok(s->outcome)) {
        s->report.ended = true;
        s->report.all_bytes = s->last.all_bytes;
        s->report.done_bytes = s->last.all_bytes; /* It may have changed meanwhile. */
        log_info(d->log, "disk '%s': scrubbed to its end", d->info.identity.disk_name);
        node_changed(d->node);
    }
    s->running = 0;
    s->stopping = false;
}

static void run(struct node_disk *d)
{
    struct node_scrub *const s = &d->scrub;

    if (s->order.id == 0 || s->running != 0 || s->report.ended)
        return;
    if (s->report.id != s->order.id)
        log_info(d->log, "disk '%s': is scrubbed", d->info.identity.disk_name);
    s->running = s->order.id;
    s->base_bytes = s->order.done_bytes;
    s->report = (struct node_scrub_report) { .id = s->order.id,
                                             .position = s->order.from,
                                             .done_bytes = s->order.done_bytes };
    s->config = (struct store_scrub_config) {
        .from = s->order.from,
        .bytes_per_s = s->order.bytes_per_s,
        .found = on_found,
        .done = on_done,
        .ctx = d,
    };
    s->start_msg.deliver = start_deliver;
    s->found_msg.deliver = found_deliver;
    s->done_msg.deliver = done_deliver;
    reactor_post(d->reactor, &s->start_msg);
}

static void stop(struct node_disk *d)
{
    struct node_scrub *const s = &d->scrub;

    if (s->running == 0 || s->stopping)
        return;
    s->stopping = true;
    s->stop_msg.deliver = stop_deliver;
    reactor_post(d->reactor, &s->stop_msg);
}

void node_scrub_want(struct node_disk *d, const struct node_scrub_order *order)
{
    static const struct node_scrub_order none = { 0 };
    struct node_scrub *const s = &d->scrub;
    const bool same = s->order.id == (order == NULL ? 0 : order->id);

    assert(d->store != NULL);
    s->order = order == NULL ? none : *order;
    if (!same) {
        s->report = (struct node_scrub_report) { 0 };
        stop(d);
    } else if (s->report.finding != 0 && s->order.answered >= s->report.finding) {
        go_on(d);
    }
    run(d);
}
