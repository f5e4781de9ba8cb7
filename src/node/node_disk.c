/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_disk.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/node_internal.h"

/*
 *   CLOSED --> BUSY --> STORE ---------------------------------> OPEN --> CLOSING --> CLOSED
 *     ^         |       |  ^ \ (no superblock)                    ^
 *     |         |       |  |  +--> CHECK --> FORMAT --+           |
 *     |         |       |  |         |          |     |           |
 *     |         |       |  +---------|----------|-----+ (second STORE)
 *     |         v       v            v          v
 *     +-------- the device is closed: refused
 *
 * BUSY waits for a timer, STORE for store_open(), CHECK for a read, FORMAT for store_format(),
 * CLOSING for store_close(); all on the disk's reactor.
 */
enum disk_state {
    DISK_CLOSED,
    DISK_BUSY,
    DISK_STORE,
    DISK_CHECK,
    DISK_FORMAT,
    DISK_OPEN,
    DISK_CLOSING,
};

static const struct sm_state disk_states[] = {
    [DISK_CLOSED] = { "closed", SM_TO(DISK_BUSY) | SM_TO(DISK_STORE) },
    [DISK_BUSY] = { "busy", SM_TO(DISK_BUSY) | SM_TO(DISK_STORE) | SM_TO(DISK_CLOSED) },
    [DISK_STORE] = { "opening", SM_TO(DISK_CHECK) | SM_TO(DISK_FORMAT) | SM_TO(DISK_OPEN) |
                                    SM_TO(DISK_CLOSED) },
    [DISK_CHECK] = { "checking", SM_TO(DISK_FORMAT) | SM_TO(DISK_CLOSED) },
    [DISK_FORMAT] = { "formatting", SM_TO(DISK_STORE) | SM_TO(DISK_CLOSED) },
    [DISK_OPEN] = { "open", SM_TO(DISK_CLOSING) },
    [DISK_CLOSING] = { "closing", SM_TO(DISK_CLOSED) },
};

static void disk_open_store(struct node_disk *d);

/* ---- Back to home ---- */

static void disk_on_home(struct io_msg *msg)
{
    struct node_disk *d = CONTAINER_OF(msg, struct node_disk, msg);

    d->store = d->opened_store;
    d->info = d->fresh_info;
    if (d->dev != NULL)
        d->dev_info = d->dev->info;
    if (d->found[0] != '\0')
        snprintf(d->problem, sizeof d->problem, "%s", d->found);
    d->done(d);
}

static void disk_return(struct node_disk *d)
{
    free(d->check);
    d->check = NULL;
    d->msg.deliver = disk_on_home;
    reactor_post(d->home, &d->msg);
}

/* Ends with a problem: the device is let go, so that somebody else can look at it. */
static void disk_refuse(struct node_disk *d, const char *what, const char *why)
{
    snprintf(d->found, sizeof d->found, "%s%s%s", what, what[0] == '\0' ? "" : ": ", why);
    dev_close(d->dev);
    d->dev = NULL;
    if (d->sm.now != DISK_CLOSED)
        sm_move(&d->sm, DISK_CLOSED);
    disk_return(d);
}

/* ---- A disk without a superblock ---- */

static void disk_on_formatted(void *ctx, struct status status)
{
    struct node_disk *d = ctx;

    if (!status_ok(status)) {
        disk_refuse(d, "cannot be formatted", status_text(status));
        return;
    }
    d->formatted = true;
    disk_open_store(d);
}

static void disk_format(struct node_disk *d)
{
    struct store_format_config config = { .atomic_bytes = d->config.atomic_bytes,
                                          .wipe = d->config.force };
    uint8_t random[sizeof config.identity.disk.b];

    reactor_random(d->reactor, (struct span) { random, sizeof random });
    config.identity.disk = uuid_from_random(random);
    config.identity.cluster = d->cluster;
    snprintf(config.identity.cluster_name, sizeof config.identity.cluster_name, "%s",
             d->cluster_name);
    snprintf(config.identity.disk_name, sizeof config.identity.disk_name, "%s", d->config.name);
    sm_move(&d->sm, DISK_FORMAT);
    const struct status st = store_format(d->dev, &config, disk_on_formatted, d);
    if (!status_ok(st))
        disk_refuse(d, "cannot be formatted", status_text(st));
}

static bool is_zero(struct const_span s)
{
    for (size_t i = 0; i < s.bytes; i++)
        if (s.at[i] != 0)
            return false;
    return true;
}

static void disk_check_next(struct node_disk *d);

static void disk_on_checked(struct dev_io *io)
{
    struct node_disk *d = CONTAINER_OF(io, struct node_disk, io);

    if (!status_ok(io->status)) {
        disk_refuse(d, "cannot be read", status_text(io->status));
        return;
    }
    if (!is_zero((struct const_span) { d->check, NODE_DISK_CHECK_BYTES })) {
        disk_refuse(d, "",
                    "has no Trilith superblock and is not empty; --force formats it, and what "
                    "it holds is lost");
        return;
    }
    d->checked_bytes += NODE_DISK_CHECK_BYTES;
    disk_check_next(d);
}

static void disk_check_next(struct node_disk *d)
{
    const uint64_t all =
        min_u64(NODE_DISK_BLANK_BYTES, round_down_u64(d->dev->info.bytes, NODE_DISK_CHECK_BYTES));

    if (d->checked_bytes >= all) {
        disk_format(d);
        return;
    }
    dev_read(d->dev, &d->io, d->checked_bytes, (struct span) { d->check, NODE_DISK_CHECK_BYTES },
             disk_on_checked);
}

static void disk_check(struct node_disk *d)
{
    d->check = aligned_alloc(4096, NODE_DISK_CHECK_BYTES);
    if (d->check == NULL) {
        disk_refuse(d, "cannot be checked", status_text(STATUS(NO_MEMORY)));
        return;
    }
    sm_move(&d->sm, DISK_CHECK);
    disk_check_next(d);
}

/* ---- Opening ---- */

static void disk_on_store(void *ctx, const struct store_opened *opened)
{
    struct node_disk *d = ctx;

    if (status_ok(opened->status)) {
        d->opened_store = opened->store;
        store_get_info(d->opened_store, &d->fresh_info);
        sm_move(&d->sm, DISK_OPEN);
        disk_return(d);
        return;
    }
    if (!status_is(opened->status, STATUS_NOT_FOUND) || d->formatted) {
        d->fresh_info.identity.disk = opened->disk;
        const bool detail = opened->problem[0] != '\0';
        disk_refuse(d, "", detail ? opened->problem : status_text(opened->status));
        return;
    }
    if (d->config.force)
        disk_format(d);
    else if (d->config.known)
        disk_refuse(d, "",
                    "has been served before, and both its superblocks are gone, or another disk "
                    "is in its place: 'trilith up --force' formats it, and what it held is lost");
    else
        disk_check(d);
}

static void disk_open_store(struct node_disk *d)
{
    const struct store_config config = {
        .cluster = d->cluster,
        .checksum_bytes = d->config.checksum_bytes,
    };

    sm_move(&d->sm, DISK_STORE);
    const struct status st = store_open(d->dev, &config, disk_on_store, d);
    if (!status_ok(st))
        disk_refuse(d, "cannot be opened", status_text(st));
}

static bool disk_may_retry(struct node_disk *d)
{
    const uint64_t now_ns = reactor_now_ns(d->reactor);

    if (d->busy_until_ns == 0)
        d->busy_until_ns = now_ns + NODE_DISK_BUSY_NS;
    return now_ns < d->busy_until_ns;
}

static void disk_open_device(struct node_disk *d)
{
    const struct status st = d->config.open(d->config.ctx, d->reactor, &d->dev);

    if (status_ok(st)) {
        disk_open_store(d);
    } else if (status_is(st, STATUS_BUSY) && disk_may_retry(d)) {
        sm_move(&d->sm, DISK_BUSY);
        io_timer_arm(&d->retry, d->reactor, reactor_now_ns(d->reactor) + NODE_DISK_RETRY_NS);
    } else {
        disk_refuse(d, "cannot be opened",
                    status_is(st, STATUS_BUSY) ? "another process has it open" : status_text(st));
    }
}

static void disk_on_retry(struct io_timer *timer)
{
    disk_open_device(CONTAINER_OF(timer, struct node_disk, retry));
}

static void disk_open_deliver(struct io_msg *msg)
{
    disk_open_device(CONTAINER_OF(msg, struct node_disk, msg));
}

void node_disk_open(struct node_disk *d)
{
    assert(reactor_is_current(d->home));

    sm_init(&d->sm, disk_states, DISK_CLOSED);
    io_timer_init(&d->retry, disk_on_retry);
    health_init(&d->health);
    d->health_told = d->health.state;
    d->load_ns = 0;
    d->last_window = (struct health_window) { 0 };
    d->health_since_ns = reactor_wall_ns(d->home);
    d->log_read = false;
    d->log_asked = false;
    d->log_window = 0;
    d->busy_until_ns = 0;
    d->checked_bytes = 0;
    d->formatted = false;
    d->only_empty = false;
    d->fresh_info = (struct store_info) { 0 };
    d->found[0] = '\0';
    d->problem[0] = '\0';
    d->msg.deliver = disk_open_deliver;
    reactor_post(d->reactor, &d->msg);
}

/* ---- Refreshing ---- */

static void refresh_on_home(struct io_msg *msg)
{
    struct node_disk *d = CONTAINER_OF(msg, struct node_disk, refresh_msg);

    d->info = d->fresh_info;
    d->load = d->fresh_load;
    d->load_ns = d->fresh_load_ns;
    node_scrub_on_fresh(d);
    d->refreshing = false;
    node_health_on_refreshed(d);
}

static void refresh_deliver(struct io_msg *msg)
{
    struct node_disk *d = CONTAINER_OF(msg, struct node_disk, refresh_msg);

    /* Closing was posted later than this, so the store is still there. */
    store_get_info(d->opened_store, &d->fresh_info);
    d->fresh_load_ns = reactor_now_ns(d->reactor);
    dev_load_copy(&d->dev->load, d->fresh_load_ns, &d->fresh_load);
    node_scrub_refresh(d);
    d->refresh_msg.deliver = refresh_on_home;
    reactor_post(d->home, &d->refresh_msg);
}

void node_disk_refresh(struct node_disk *d)
{
    assert(reactor_is_current(d->home));

    if (d->store == NULL || d->refreshing)
        return;
    d->refreshing = true;
    d->refresh_msg.deliver = refresh_deliver;
    reactor_post(d->reactor, &d->refresh_msg);
}

/* ---- Growing ---- */

static void grow_on_home(struct io_msg *msg)
{
    struct node_disk *d = CONTAINER_OF(msg, struct node_disk, msg);

    d->info = d->grown_info;
    snprintf(d->problem, sizeof d->problem, "%s", d->found);
    d->done(d);
}

static void disk_on_grown(void *ctx, const struct store_grown *grown)
{
    struct node_disk *d = ctx;

    snprintf(d->found, sizeof d->found, "%s", grown->problem);
    store_get_info(d->opened_store, &d->grown_info);
    d->msg.deliver = grow_on_home;
    reactor_post(d->home, &d->msg);
}

static void disk_grow_deliver(struct io_msg *msg)
{
    struct node_disk *d = CONTAINER_OF(msg, struct node_disk, msg);

    store_grow(d->opened_store, disk_on_grown, d);
}

void node_disk_grow(struct node_disk *d)
{
    assert(reactor_is_current(d->home));
    assert(d->store != NULL);

    d->msg.deliver = disk_grow_deliver;
    reactor_post(d->reactor, &d->msg);
}

/* ---- Closing ---- */

static void disk_on_closed(void *ctx, struct status status)
{
    struct node_disk *d = ctx;

    if (!status_ok(status))
        log_warning(d->log, "disk '%s' (%s): not closed cleanly: %s", d->config.name,
                    d->config.path, status_text(status));
    dev_close(d->dev);
    d->dev = NULL;
    sm_move(&d->sm, DISK_CLOSED);
    disk_return(d);
}

static void disk_close_deliver(struct io_msg *msg)
{
    struct node_disk *d = CONTAINER_OF(msg, struct node_disk, msg);
    struct store *store = d->opened_store;

    if (store == NULL) {
        disk_return(d);
        return;
    }
    store_get_info(store, &d->fresh_info);
    if (d->only_empty && d->fresh_info.shards > 0) {
        snprintf(d->found, sizeof d->found,
                 "it holds %llu shards that no volume knows: these were deleted while it was "
                 "away; to give it up, end 'trilith up' and take its line out of node-1/disks",
                 (unsigned long long)d->fresh_info.shards);
        disk_return(d);
        return;
    }
    d->opened_store = NULL;
    sm_move(&d->sm, DISK_CLOSING);
    store_close(store, disk_on_closed, d);
}

static void disk_close(struct node_disk *d, bool only_empty)
{
    assert(reactor_is_current(d->home));

    d->only_empty = only_empty;
    d->found[0] = '\0';
    d->store = NULL;
    d->msg.deliver = disk_close_deliver;
    reactor_post(d->reactor, &d->msg);
}

void node_disk_close(struct node_disk *d)
{
    disk_close(d, false);
}

void node_disk_close_empty(struct node_disk *d)
{
    disk_close(d, true);
}
