/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_orders.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void orders_next(struct up_orders *o);

static void give_to_main(struct up_orders *o, enum up_orders_turn turn)
{
    atomic_store(&o->turn, (int)turn);
    o->wake(o->ctx);
}

/* ---- On home: before and after ---- */

static bool is_named(const struct node_desired *desired, uint64_t id)
{
    for (uint32_t i = 0; i < desired->order_count; i++)
        if (desired->orders[i].id == id)
            return true;
    return false;
}

/* Whether an order is under way, or over and not taken off the list yet. */
static bool is_known(const struct up_orders *o, uint64_t id)
{
    for (uint32_t i = 0; i < o->queued; i++)
        if (o->queue[i].id == id)
            return true;
    for (uint32_t i = 0; i < o->result_count; i++)
        if (o->results[i].id == id)
            return true;
    return atomic_load(&o->turn) != UP_ORDERS_IDLE && o->now.id == id;
}

void up_orders_take(struct up_orders *o, const struct node_desired *desired)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < o->result_count; i++)
        if (is_named(desired, o->results[i].id))
            o->results[kept++] = o->results[i];
    o->result_count = kept;
    kept = 0;
    for (uint32_t i = 0; i < o->queued; i++) /* Those that were not withdrawn. */
        if (is_named(desired, o->queue[i].id))
            o->queue[kept++] = o->queue[i];
    o->queued = kept;
    for (uint32_t i = 0; i < desired->order_count && o->queued < UP_ORDERS_MAX; i++)
        if (!is_known(o, desired->orders[i].id))
            o->queue[o->queued++] = desired->orders[i];
    orders_next(o);
}

void up_orders_report(struct up_orders *o, struct node_report *report)
{
    report->results = o->results;
    report->result_count = o->result_count;
}

static void orders_next(struct up_orders *o)
{
    if (o->queued == 0 || atomic_load(&o->turn) != UP_ORDERS_IDLE || o->node == NULL)
        return;
    o->now = o->queue[0];
    o->queued--;
    memmove(o->queue, o->queue + 1, o->queued * sizeof o->queue[0]);
    o->problem[0] = '\0';
    o->gone[0] = '\0';
    o->disk = NULL;
    o->is_fresh = false;
    give_to_main(o, UP_ORDERS_LOOK);
}

static void order_end(struct up_orders *o)
{
    /* Results that find no room are worked out again: orders may be repeated. */
    if (o->result_count < UP_ORDERS_MAX) {
        struct node_order_result *r = &o->results[o->result_count++];
        r->id = o->now.id;
        snprintf(r->problem, sizeof r->problem, "%s", o->problem);
    }
    atomic_store(&o->turn, UP_ORDERS_IDLE);
    o->changed(o->ctx);
    orders_next(o);
}

static void home_end(struct io_msg *msg)
{
    order_end(CONTAINER_OF(msg, struct up_orders, msg));
}

static void home_on_changed(void *ctx, const char *problem, const char *gone)
{
    struct up_orders *o = ctx;

    snprintf(o->gone, sizeof o->gone, "%s", gone);
    snprintf(o->problem, sizeof o->problem, "%s", problem);
    give_to_main(o, UP_ORDERS_REMEMBER);
}

static void home_change(struct io_msg *msg)
{
    struct up_orders *o = CONTAINER_OF(msg, struct up_orders, msg);

    if (o->node == NULL) {
        snprintf(o->problem, sizeof o->problem, "the node is stopping");
        order_end(o);
    } else if (o->now.kind == NODE_ORDER_REMOVE) {
        node_remove_disk(o->node, o->now.disk, o->now.path, home_on_changed, o);
    } else if (o->now.kind == NODE_ORDER_GROW) {
        node_grow_disk(o->node, o->now.disk, home_on_changed, o);
    } else {
        node_add_disk(o->node, &o->disks->config[o->disk - o->disks->disk], home_on_changed, o);
    }
}

void up_orders_stop(struct up_orders *o)
{
    o->node = NULL;
}

/* ---- On the main thread ---- */

static void give_to_home(struct up_orders *o, void (*deliver)(struct io_msg *msg))
{
    atomic_store(&o->turn, UP_ORDERS_CHANGE);
    o->msg.deliver = deliver;
    reactor_post(o->home, &o->msg);
}

/* A disk that is the same file or device by another path; NULL if there is none. */
static const struct up_disk *find_alias(const struct up_disks *disks, const char *path)
{
    struct stat st, other;

    if (stat(path, &st) != 0)
        return NULL;
    for (unsigned i = 0; i < disks->count; i++) {
        const struct up_disk *d = &disks->disk[i];
        if (d->path[0] == '\0' || strcmp(d->path, path) == 0 || stat(d->path, &other) != 0)
            continue;
        const bool same_file = st.st_dev == other.st_dev && st.st_ino == other.st_ino;
        const bool same_device =
            S_ISBLK(st.st_mode) && S_ISBLK(other.st_mode) && st.st_rdev == other.st_rdev;
        if (same_file || same_device)
            return d;
    }
    return NULL;
}

static void look_at_new(struct up_orders *o)
{
    const char *const path = o->now.path;
    const struct up_disk *const alias = find_alias(o->disks, path);
    struct up_disk fresh = { 0 };

    if (alias != NULL) {
        snprintf(o->problem, sizeof o->problem, "it is the same as '%.180s', which the node has",
                 alias->path);
        return;
    }
    const struct status st = up_disk_look(path, o->now.force, &fresh, o->problem);
    if (!status_ok(st)) {
        if (o->problem[0] == '\0')
            snprintf(o->problem, sizeof o->problem, "%s", status_text(st));
        return;
    }
    o->disk = up_disks_find(o->disks, path);
    if (o->disk == NULL)
        o->disk = up_disks_slot(o->disks);
    if (o->disk == NULL) {
        snprintf(o->problem, sizeof o->problem, "the node has as many disks as it can");
        return;
    }
    o->is_fresh = o->disk->path[0] == '\0';
    if (o->is_fresh) {
        *o->disk = fresh;
        (void)up_disks_configure(o->disks, o->disk, o->now.name, path, o->now.force);
    } else {
        o->disks->config[o->disk - o->disks->disk].force = o->now.force;
    }
}

static void look(struct up_orders *o)
{
    if (o->now.kind == NODE_ORDER_ADD)
        look_at_new(o);
    give_to_home(o, o->problem[0] == '\0' ? home_change : home_end);
}

static struct status remember_added(struct up_orders *o)
{
    if (up_known_has(&o->disks->known, o->disk->line))
        return STATUS(OK);
    up_known_add(&o->disks->known, o->disk->line);
    return up_known_write(o->dir, &o->disks->known);
}

/* Of the disk that the node has given up: at the path that the order names may be another one. */
static struct status forget_removed(struct up_orders *o)
{
    struct up_disk *d = o->gone[0] != '\0' ? up_disks_find(o->disks, o->gone) : NULL;

    return d != NULL ? up_disks_forget(o->disks, o->dir, d) : STATUS(OK);
}

static void remember(struct up_orders *o)
{
    struct status st = STATUS(OK);
    const bool is_done = o->problem[0] == '\0';

    if (is_done && o->now.kind == NODE_ORDER_REMOVE)
        st = forget_removed(o);
    else if (is_done && o->now.kind == NODE_ORDER_ADD)
        st = remember_added(o);
    else if (!is_done && o->now.kind == NODE_ORDER_ADD && o->is_fresh)
        *o->disk = (struct up_disk) { 0 }; /* The node does not have it either. */
    if (!status_ok(st))
        snprintf(o->problem, sizeof o->problem,
                 "done, but '%.120s/%.30s/disks' cannot be written, and it will be forgotten: %s",
                 o->dir->path, o->dir->node, status_text(st));
    give_to_home(o, home_end);
}

void up_orders_run(struct up_orders *o)
{
    switch ((enum up_orders_turn)atomic_load(&o->turn)) {
    case UP_ORDERS_LOOK:
        look(o);
        return;
    case UP_ORDERS_REMEMBER:
        remember(o);
        return;
    case UP_ORDERS_IDLE:
    case UP_ORDERS_CHANGE:
        return;
    }
}
