/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come, grow and go while the node serves. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "node/node_internal.h"

/* ---- The end of a change ---- */

static void change_end(struct node *n)
{
    struct node_change change = n->change;

    n->change.done = NULL;
    n->change.disk = NULL;
    node_changed(n);
    node_on_disk_changed(n);
    change.done(change.ctx, change.problem, change.gone);
}

static void change_on_task(struct io_task *task)
{
    change_end(CONTAINER_OF(task, struct node, change.task));
}

static void change_begin(struct node *n, node_disk_done_fn *done, void *ctx)
{
    assert(reactor_is_current(n->home));
    assert(n->change.done == NULL);

    n->change = (struct node_change) { .done = done, .ctx = ctx };
    io_task_init(&n->change.task, change_on_task);
}

/* There is nothing to wait for. */
static void change_end_soon(struct node *n, const char *problem)
{
    snprintf(n->change.problem, sizeof n->change.problem, "%s", problem);
    reactor_defer(n->home, &n->change.task);
}

/* The slot may be used again. */
static void slot_free(struct node *n, struct node_disk *d)
{
    *d = (struct node_disk) { 0 };
    node_init_disk(n, d);
}

/* The node does not have the disk any more. */
static void slot_give_up(struct node *n, struct node_disk *d)
{
    snprintf(n->change.gone, sizeof n->change.gone, "%s", d->config.path);
    slot_free(n, d);
}

static struct node_disk *find_by_path(struct node *n, const char *path)
{
    for (unsigned i = 0; i < n->disk_count; i++)
        if (strcmp(n->disks[i].config.path, path) == 0)
            return &n->disks[i];
    return NULL;
}

/* ---- Adding ---- */

static struct node_disk *slot_take(struct node *n)
{
    struct node_disk *d = find_by_path(n, "");

    if (d != NULL)
        return d;
    return n->disk_count < NODE_DISKS_MAX ? &n->disks[n->disk_count++] : NULL;
}

static void add_on_disk(struct node_disk *d)
{
    struct node *n = d->node;

    node_log_disk(n, d);
    snprintf(n->change.problem, sizeof n->change.problem, "%s", d->problem);
    if (d->store != NULL) {
        node_stores_add(n, d);
        LIST_FOR_EACH (link, &n->volumes)
            node_volume_disk_came(CONTAINER_OF(link, struct node_volume, link),
                                  d->info.identity.disk);
    } else if (n->change.is_new) {
        slot_free(n, d);
    }
    change_end(n);
}

void node_add_disk(struct node *n, const struct node_disk_config *config, node_disk_done_fn *done,
                   void *ctx)
{
    struct node_disk *d = find_by_path(n, config->path);

    change_begin(n, done, ctx);
    if (n->stopping) {
        change_end_soon(n, "the node is stopping");
        return;
    }
    if (d != NULL && d->store != NULL) {
        change_end_soon(n, "");
        return;
    }
    n->change.is_new = d == NULL;
    if (d == NULL)
        d = slot_take(n);
    if (d == NULL) {
        change_end_soon(n, "the node has as many disks as it can");
        return;
    }
    n->change.disk = d;
    d->config = *config;
    node_init_disk(n, d);
    d->done = add_on_disk;
    node_disk_open(d);
}

/* ---- Growing ---- */

static void grow_on_disk(struct node_disk *d)
{
    struct node *n = d->node;

    snprintf(n->change.problem, sizeof n->change.problem, "%s", d->problem);
    if (d->problem[0] == '\0')
        log_info(n->log, "disk '%s' (%s): has grown to %s", d->info.identity.disk_name,
                 d->config.path, size_format(d->info.data_bytes).s);
    d->problem[0] = '\0'; /* The disk as such has none. */
    change_end(n);
}

void node_grow_disk(struct node *n, struct uuid disk, node_disk_done_fn *done, void *ctx)
{
    struct node_disk *d = node_find_disk(n, disk);

    change_begin(n, done, ctx);
    if (n->stopping || d == NULL) {
        change_end_soon(n, n->stopping ? "the node is stopping" : "its node does not have it");
        return;
    }
    n->change.disk = d;
    d->done = grow_on_disk;
    node_disk_grow(d);
}

/* ---- Removing ---- */

static void remove_on_disk(struct node_disk *d)
{
    struct node *n = d->node;

    snprintf(n->change.problem, sizeof n->change.problem, "%s", d->problem);
    if (d->store == NULL) {
        log_info(n->log, "disk '%s' (%s): removed", d->info.identity.disk_name, d->config.path);
        slot_give_up(n, d);
    } else {
        node_stores_add(n, d);
    }
    d->problem[0] = '\0'; /* The disk as such has none. */
    change_end(n);
}

/* No engine has a session there any more. */
static void remove_on_left(void *ctx)
{
    node_disk_close_empty(ctx);
}

/* A volume that lies on the disk; NULL if there is none. */
static const struct node_volume *volume_on(const struct node *n, struct uuid disk)
{
    LIST_FOR_EACH (link, &n->volumes) {
        const struct node_volume *v = CONTAINER_OF(link, struct node_volume, link);
        if (node_volume_needs(v, disk))
            return v;
    }
    return NULL;
}

/* What could not be used at this path, and may be this disk; NULL if there is nothing. */
static struct node_disk *find_broken(struct node *n, struct uuid disk, const char *path)
{
    struct node_disk *d = path[0] != '\0' ? find_by_path(n, path) : NULL;

    if (d == NULL || d->store != NULL)
        return NULL;
    const struct uuid found = d->info.identity.disk;
    return uuid_is_nil(found) || uuid_equal(found, disk) ? d : NULL;
}

void node_remove_disk(struct node *n, struct uuid disk, const char *path, node_disk_done_fn *done,
                      void *ctx)
{
    struct node_disk *d = node_find_disk(n, disk);
    const struct node_volume *user = volume_on(n, disk);
    char problem[NODE_REASON_BYTES] = "";

    change_begin(n, done, ctx);
    if (user != NULL)
        snprintf(problem, sizeof problem, "volume '%s' lies there", user->desc.name);
    if (n->stopping)
        snprintf(problem, sizeof problem, "the node is stopping");
    if (problem[0] != '\0') {
        change_end_soon(n, problem);
        return;
    }
    if (d == NULL) {
        struct node_disk *broken = find_broken(n, disk, path);
        if (broken != NULL)
            slot_give_up(n, broken);
        change_end_soon(n, "");
        return;
    }
    n->change.disk = d;
    d->done = remove_on_disk;
    node_stores_remove(n, d, remove_on_left, d);
}
