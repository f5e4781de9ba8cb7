/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_volume.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "node/node_internal.h"
#include "node/node_replace.h"

/*
 *                        +----------- FAILED <-----------------+-------------+
 *                        v              ^                      |             |
 *   IDLE --> LINKS --> EPOCH --> OPENING --> READY --> DRAINING --> DELETING --> DELETED
 *    ^         |         |            |                      |                      |
 *    |         v         v            +---> DELETING         v                      v
 *    +---------+---------+---------------------------- CLOSING                    (IDLE)
 *
 *   LINKS     for a timer, or all links     DRAINING  for the hosts to be dropped
 *   EPOCH     for the controller            CLOSING, DELETING  for the engine
 *   OPENING   for the engine                READY, DELETED     for news
 *   FAILED    for a timer, or news
 *
 * Without links to other nodes that are not up LINKS is passed by.
 *
 * READY <--> GROWING, which waits for the engine, while hosts go on; after a failure READY waits
 * for a timer, too, and tries again.
 *
 * A volume of several replicas goes to OPENING without EPOCH if it is to be deleted: there is no
 * epoch to be had any more.
 *
 * node_volume_step() acts on a state at rest (IDLE, READY, FAILED, DELETED) by what is wanted; the
 * others are left by their callbacks.  In IDLE, a volume that nobody wants is freed.
 */
enum vol_state {
    VOL_IDLE,
    VOL_LINKS,
    VOL_EPOCH,
    VOL_OPENING,
    VOL_READY,
    VOL_GROWING,
    VOL_DRAINING,
    VOL_CLOSING,
    VOL_DELETING,
    VOL_DELETED,
    VOL_FAILED,
};

static const struct sm_state vol_states[] = {
    [VOL_IDLE] = { "idle", SM_TO(VOL_LINKS) | SM_TO(VOL_EPOCH) | SM_TO(VOL_OPENING) },
    [VOL_LINKS] = { "links", SM_TO(VOL_IDLE) | SM_TO(VOL_EPOCH) | SM_TO(VOL_OPENING) },
    [VOL_EPOCH] = { "epoch", SM_TO(VOL_IDLE) | SM_TO(VOL_OPENING) | SM_TO(VOL_FAILED) },
    [VOL_OPENING] = { "opening", SM_TO(VOL_READY) | SM_TO(VOL_CLOSING) | SM_TO(VOL_DELETING) |
                                     SM_TO(VOL_FAILED) },
    [VOL_READY] = { "ready", SM_TO(VOL_GROWING) | SM_TO(VOL_DRAINING) },
    [VOL_GROWING] = { "growing", SM_TO(VOL_READY) },
    [VOL_DRAINING] = { "draining", SM_TO(VOL_CLOSING) | SM_TO(VOL_DELETING) },
    [VOL_CLOSING] = { "closing", SM_TO(VOL_IDLE) | SM_TO(VOL_FAILED) },
    [VOL_DELETING] = { "deleting", SM_TO(VOL_DELETED) | SM_TO(VOL_FAILED) },
    [VOL_DELETED] = { "deleted", SM_TO(VOL_IDLE) },
    [VOL_FAILED] = { "failed", SM_TO(VOL_IDLE) },
};

static void volume_on_retry(struct io_timer *timer);
static void volume_on_link(void *ctx);
static void volume_on_tell(struct io_timer *timer);

static void volume_move(struct node_volume *v, enum vol_state to)
{
    sm_move(&v->sm, (int)to);
    log_debug(v->node->log, "volume '%s': %s", v->desc.name, sm_name(&v->sm));
    node_changed(v->node);
}

/* ---- Life ---- */

struct node_volume *node_volume_create(struct node *node, struct uuid uuid)
{
    struct node_volume *v = calloc(1, sizeof *v);

    if (v == NULL)
        return NULL;
    v->node = node;
    v->desc.uuid = uuid;
    v->retry_ns = NODE_VOLUME_RETRY_MIN_NS;
    list_node_init(&v->link);
    node_mends_init(&v->mends);
    list_push_back(&node->volumes, &v->link);
    node->volume_count++;
    sm_init(&v->sm, vol_states, VOL_IDLE);
    io_timer_init(&v->retry, volume_on_retry);
    io_timer_init(&v->tell, volume_on_tell);
    volume_links_init(&v->links, volume_on_link, v);
    node_replace_init(v);
    return v;
}

static void volume_free_wish(struct node_volume *v)
{
    free(v->hosts);
    free(v->disks);
    free(v->places);
    free(v->placement);
    free(v->replacements);
    free(v->leftovers);
    v->hosts = NULL;
    v->disks = NULL;
    v->places = NULL;
    v->placement = NULL;
    v->replacements = NULL;
    v->leftovers = NULL;
}

static void volume_free(struct node_volume *v)
{
    struct node *node = v->node;

    assert(v->volume == NULL);
    assert(v->subsys == NULL);
    list_remove(&v->link);
    node->volume_count--;
    io_timer_disarm(&v->tell);
    volume_free_wish(v);
    volume_links_fini(&v->links);
    node_verify_fini(&v->verify);
    node_mends_fini(&v->mends);
    volume_group_destroy(v->group);
    free(v);
    node_on_volume_gone(node);
}

/* ---- Failure ---- */

static void volume_fail(struct node_volume *v, const char *reason)
{
    const bool news = strcmp(v->reason, reason) != 0;

    snprintf(v->reason, sizeof v->reason, "%s", reason);
    if (news)
        log_warning(v->node->log, "volume '%s': %s", v->desc.name, reason);
    volume_move(v, VOL_FAILED);
    io_timer_arm(&v->retry, v->node->home, reactor_now_ns(v->node->home) + v->retry_ns);
    v->retry_ns = min_u64(v->retry_ns * 2, NODE_VOLUME_RETRY_MAX_NS);
    if (!v->wanted)
        node_volume_step(v);
}

static void volume_begin_open(struct node_volume *v);

static void volume_on_retry(struct io_timer *timer)
{
    struct node_volume *v = CONTAINER_OF(timer, struct node_volume, retry);

    if (v->sm.now == VOL_LINKS) {
        volume_begin_open(v);
        return;
    }
    if (v->sm.now == VOL_FAILED)
        volume_move(v, VOL_IDLE);
    node_volume_step(v);
}

/* Who waits for it, or has failed without it, goes on, from the loop.  An engine knows by itself.
 */
static void volume_on_link(void *ctx)
{
    struct node_volume *v = ctx;
    const bool waits = v->sm.now == VOL_LINKS && volume_links_are_up(&v->links);

    if (waits || (v->sm.now == VOL_FAILED && v->wanted))
        io_timer_arm(&v->retry, v->node->home, reactor_now_ns(v->node->home));
}

/* ---- Deleting and closing ---- */

/* A disk of another node that cannot be reached; v->disk_count if there is none. */
static uint32_t volume_find_unreached(const struct node_volume *v)
{
    uint32_t i = 0;

    while (i < v->disk_count && (v->links.of_disk[i] == NULL || node_volume_reaches(v, i)))
        i++;
    return i;
}

static void volume_on_deleted(void *ctx, struct status status)
{
    struct node_volume *v = ctx;

    v->volume = NULL;
    if (!status_ok(status)) {
        const uint32_t unreached = volume_find_unreached(v);
        char reason[NODE_REASON_BYTES];
        snprintf(reason, sizeof reason, "cannot be deleted: %s", status_text(status));
        if (unreached < v->disk_count)
            snprintf(reason, sizeof reason,
                     "disk '%s' has a part of it, and its node cannot be reached: it is deleted "
                     "there when that is back",
                     node_volume_disk_name(v, v->disks[unreached]).s);
        volume_fail(v, reason);
        return;
    }
    v->reason[0] = '\0'; /* Of a failure to open it before. */
    volume_move(v, VOL_DELETED);
    node_volume_step(v);
}

static void volume_on_closed(void *ctx)
{
    struct node_volume *v = ctx;

    v->volume = NULL;
    if (v->reason[0] != '\0' && v->wanted) {
        char reason[NODE_REASON_BYTES];
        snprintf(reason, sizeof reason, "%s", v->reason);
        volume_fail(v, reason);
        return;
    }
    volume_move(v, VOL_IDLE);
    node_volume_step(v);
}

/* The volume is open and has no hosts: what now? */
static void volume_end_open(struct node_volume *v)
{
    /* With leftovers it is opened anew: the engine that serves has no legs to them. */
    if (v->wanted && v->deleting && (v->desc.replicas == 1 || v->leftover_count == 0)) {
        volume_move(v, VOL_DELETING);
        volume_delete(v->volume, volume_on_deleted, v);
        return;
    }
    volume_move(v, VOL_CLOSING);
    volume_close(v->volume, volume_on_closed, v);
}

static void volume_on_drained(void *ctx)
{
    struct node_volume *v = ctx;

    v->subsys = NULL;
    volume_end_open(v);
}

static void volume_drain(struct node_volume *v)
{
    io_timer_disarm(&v->retry);
    io_timer_disarm(&v->tell);
    io_timer_disarm(&v->replace_timer);
    volume_move(v, VOL_DRAINING);
    nvme_subsys_remove(v->subsys, volume_on_drained, v);
    /* What waits for replicas would never end.  The hosts' connections end first, so that no host
     * sees it fail. */
    if (v->desc.replicas > 1)
        volume_fence(v->volume);
}

/* ---- Opening ---- */

static void volume_on_hosts_changed(void *ctx)
{
    const struct node_volume *v = ctx;

    node_changed(v->node);
}

static struct status volume_serve(struct node_volume *v)
{
    const char *hosts[NVME_ALLOWED_HOSTS_MAX];
    char serial[21];
    const struct uuid_text uuid = uuid_format(v->desc.uuid);
    const struct nvme_subsys_config config = {
        .nqn = v->nqn.s,
        .serial = serial,
        .ns = volume_ns(v->volume),
        .hosts = hosts,
        .host_count = v->host_count,
        .hosts_changed = volume_on_hosts_changed,
        .ctx = v,
    };

    /* The first and the last part of the UUID: 8 + 12 digits. */
    snprintf(serial, sizeof serial, "%.8s%.12s", uuid.s, uuid.s + 24);
    for (uint32_t i = 0; i < v->host_count; i++)
        hosts[i] = v->hosts[i].s;
    return nvme_subsys_add(v->node->target, &config, &v->subsys);
}

static void volume_on_opened(void *ctx, struct status status, struct volume *volume)
{
    struct node_volume *v = ctx;
    char reason[NODE_REASON_BYTES];

    if (v->group != NULL)
        volume_group_on_opened(v->group, status);
    if (!status_ok(status)) {
        const bool waits = v->desc.replicas > 1 && status_is(status, STATUS_BUSY);
        snprintf(reason, sizeof reason, "cannot be opened: %s",
                 waits ? "too few replicas are here that are known to have everything; the others "
                         "are waited for"
                       : status_text(status));
        volume_fail(v, reason);
        return;
    }
    v->volume = volume;
    if (!v->wanted || v->deleting) {
        volume_end_open(v);
        return;
    }
    status = volume_serve(v);
    if (!status_ok(status)) {
        snprintf(v->reason, sizeof v->reason, "cannot be served: %s", status_text(status));
        volume_end_open(v); /* volume_on_closed() fails it with the reason. */
        return;
    }
    v->reason[0] = '\0';
    v->retry_ns = NODE_VOLUME_RETRY_MIN_NS;
    v->replace_news = true;
    v->replace_asked = false;
    volume_move(v, VOL_READY);
    log_info(v->node->log, "volume '%s': serving %s, epoch %llu", v->desc.name, v->nqn.s,
             (unsigned long long)v->epoch);
    node_volume_step(v); /* It may be wanted larger by now. */
}

/* What the engine is told of the node: disks that nobody has named have their UUID for a name. */
struct parts {
    struct node_disk_name *names;
    struct volume_disk *disks;
    struct buf_pool *scratch[NODE_REACTORS_MAX];
    struct pace_queue *paces[NODE_REACTORS_MAX];
};

static void parts_free(struct parts *parts)
{
    free(parts->names);
    free(parts->disks);
}

struct volume_disk node_volume_disk(const struct node_volume *v, uint32_t disk, const char *name)
{
    const struct node_disk *d = node_find_disk(v->node, v->disks[disk]);

    return (struct volume_disk) {
        .name = name,
        .store = d == NULL ? NULL : d->store,
        .reactor = d == NULL ? NULL : d->reactor,
        .uuid = v->disks[disk],
        .link = d == NULL ? v->links.of_disk[disk] : NULL,
    };
}

static struct status MUST_CHECK parts_make(const struct node_volume *v, struct parts *out_parts)
{
    struct node_disk_name *names = calloc((size_t)v->disk_count + 1, sizeof *names);
    struct volume_disk *disks = calloc((size_t)v->disk_count + 1, sizeof *disks);

    if (names == NULL || disks == NULL) {
        free(names);
        free(disks);
        return STATUS(NO_MEMORY);
    }
    for (uint32_t i = 0; i < v->disk_count; i++) {
        names[i] = node_volume_disk_name(v, v->disks[i]);
        disks[i] = node_volume_disk(v, i, names[i].s);
    }
    *out_parts = (struct parts) { .names = names, .disks = disks };
    for (unsigned i = 0; i < v->node->reactor_count; i++) {
        out_parts->scratch[i] = v->node->pools[i].scratch;
        out_parts->paces[i] = &v->node->pools[i].pace;
    }
    return STATUS(OK);
}

/* What the engine is to serve. */
static struct volume_config volume_wish(const struct node_volume *v, const struct parts *parts)
{
    const bool has_group = v->desc.replicas > 1;

    return (struct volume_config) {
        .volume = v->desc,
        .group = has_group ? &v->group->record : NULL,
        .meta = has_group ? &volume_group_meta_ops : NULL,
        .meta_ctx = has_group ? v->group : NULL,
        .waited = has_group && volume_group_waited(v->group),
        .deleting = has_group && v->deleting,
        .leftovers = v->leftovers,
        .leftover_count = v->leftover_count,
        .epoch = v->epoch,
        .reactors = v->node->reactors,
        .reactor_count = v->node->reactor_count,
        .scratch = parts->scratch,
        .paces = v->node->has_pace ? parts->paces : NULL,
        .disks = parts->disks,
        .disk_count = v->disk_count,
        .shards = v->placement,
        .shard_count = v->shard_count,
        .commands_max = v->node->commands_max,
        .replica_timeout_ns = v->node->replica_timeout_ns,
        .log = v->node->log,
    };
}

static struct status MUST_CHECK volume_try_open(struct node_volume *v)
{
    struct parts parts;

    TRY(parts_make(v, &parts));
    const struct volume_config config = volume_wish(v, &parts);
    v->served_bytes = v->desc.bytes;
    v->reopen = false;
    const struct status st = volume_open(&config, volume_on_opened, v);
    parts_free(&parts);
    return st;
}

static void volume_start_open(struct node_volume *v)
{
    const struct status st = volume_try_open(v);

    if (!status_ok(st))
        volume_on_opened(v, st, NULL);
}

/* ---- Growing ---- */

static void volume_grow_later(struct node_volume *v, struct status why)
{
    char reason[NODE_REASON_BYTES];

    snprintf(reason, sizeof reason, "cannot grow from %s to %s: %s; it is tried again",
             size_format(v->served_bytes).s, size_format(v->desc.bytes).s, status_text(why));
    if (strcmp(v->reason, reason) != 0)
        log_warning(v->node->log, "volume '%s': %s", v->desc.name, reason);
    snprintf(v->reason, sizeof v->reason, "%s", reason);
    io_timer_arm(&v->retry, v->node->home, reactor_now_ns(v->node->home) + v->retry_ns);
    v->retry_ns = min_u64(v->retry_ns * 2, NODE_VOLUME_RETRY_MAX_NS);
    volume_move(v, VOL_READY);
}

static void volume_on_grown(void *ctx, struct status status)
{
    struct node_volume *v = ctx;

    if (status_ok(status)) {
        log_info(v->node->log, "volume '%s': grown from %s to %s", v->desc.name,
                 size_format(v->served_bytes).s, size_format(v->growing_bytes).s);
        v->served_bytes = v->growing_bytes;
        v->reason[0] = '\0';
        v->retry_ns = NODE_VOLUME_RETRY_MIN_NS;
        nvme_subsys_ns_changed(v->subsys);
        volume_move(v, VOL_READY);
    } else {
        volume_grow_later(v, status);
    }
    node_volume_step(v); /* Or there is news that has waited for this. */
}

static struct status MUST_CHECK volume_try_grow(struct node_volume *v)
{
    struct parts parts;

    TRY(parts_make(v, &parts));
    const struct volume_config config = volume_wish(v, &parts);
    v->growing_bytes = v->desc.bytes;
    const struct status st = volume_grow(v->volume, &config, volume_on_grown, v);
    parts_free(&parts);
    return st;
}

static void volume_grow_now(struct node_volume *v)
{
    const struct status st = volume_try_grow(v);

    if (!status_ok(st))
        volume_grow_later(v, st);
}

/* Its group's record is known anew: it should have the copysets of the new shards. */
static void volume_on_group_read(struct node_volume *v, struct status status, const char *why)
{
    (void)why;
    if (!v->wanted || v->deleting) {
        volume_move(v, VOL_READY);
    } else if (!status_ok(status)) {
        volume_grow_later(v, status);
    } else if (v->group->record.epoch != v->epoch) {
        v->reopen = true; /* 7.8 */
        volume_move(v, VOL_READY);
    } else if (!volume_group_fits(v->group)) {
        volume_grow_later(v, STATUS(CONFLICT)); /* The controller has told less, or more, so far. */
    } else {
        volume_grow_now(v);
    }
    node_volume_step(v);
}

static void volume_start_grow(struct node_volume *v)
{
    io_timer_disarm(&v->retry);
    volume_move(v, VOL_GROWING);
    if (v->desc.replicas > 1 && !volume_group_fits(v->group))
        volume_group_read(v->group, volume_on_group_read);
    else
        volume_grow_now(v);
}

struct status node_volume_try_replace(const struct node_volume *v)
{
    struct parts parts;

    TRY(parts_make(v, &parts));
    const struct volume_config config = volume_wish(v, &parts);
    const struct status st =
        volume_replace(v->volume, &config, v->replacements, v->replacement_count);
    parts_free(&parts);
    return st;
}

/* ---- Epochs ---- */

static void volume_on_epoch(void *ctx, struct status status, uint64_t epoch)
{
    struct node_volume *v = ctx;

    if (!v->wanted) {
        volume_move(v, VOL_IDLE);
        node_volume_step(v);
        return;
    }
    if (!status_ok(status)) {
        char reason[NODE_REASON_BYTES];
        snprintf(reason, sizeof reason, "no epoch from the controller: %s", status_text(status));
        volume_fail(v, reason);
        return;
    }
    v->epoch = epoch;
    volume_move(v, VOL_OPENING);
    volume_start_open(v);
}

static void volume_take_epoch(struct node_volume *v)
{
    volume_move(v, VOL_EPOCH);
    const struct status st =
        v->node->ops->take_epoch(v->node->ctx, v->desc.uuid, volume_on_epoch, v);
    if (!status_ok(st))
        volume_on_epoch(v, st, 0);
}

/* Opens it to be deleted: nobody takes an epoch of it any more. */
static void volume_open_to_delete(struct node_volume *v)
{
    volume_move(v, VOL_OPENING);
    v->epoch = v->delete_epoch;
    const struct status st = volume_group_for_deletion(v->group);
    if (status_ok(st))
        volume_start_open(v);
    else
        volume_on_opened(v, st, NULL);
}

static void volume_on_group(struct node_volume *v, struct status status, const char *why)
{
    if (!v->wanted || v->deleting) {
        volume_move(v, VOL_IDLE);
        node_volume_step(v);
        return;
    }
    if (!status_ok(status)) {
        volume_fail(v, why);
        return;
    }
    v->epoch = v->group->record.epoch;
    volume_move(v, VOL_OPENING);
    volume_start_open(v);
}

static void volume_take_group(struct node_volume *v)
{
    if (v->group == NULL)
        v->group = volume_group_create(v);
    if (v->group != NULL && v->deleting) {
        volume_open_to_delete(v);
        return;
    }
    volume_move(v, VOL_EPOCH);
    if (v->group == NULL)
        volume_on_group(v, STATUS(NO_MEMORY), status_text(STATUS(NO_MEMORY)));
    else if (v->node->ops->group_get == NULL)
        volume_on_group(v, STATUS(UNSUPPORTED), "this node serves volumes of one replica alone");
    else
        volume_group_take(v->group, volume_on_group);
}

/* All links are up, or were waited for. */
static void volume_begin_open(struct node_volume *v)
{
    if (v->desc.replicas > 1)
        volume_take_group(v);
    else
        volume_take_epoch(v);
}

static void volume_wait_for_links(struct node_volume *v)
{
    if (volume_links_are_up(&v->links)) {
        volume_begin_open(v);
        return;
    }
    volume_move(v, VOL_LINKS);
    io_timer_arm(&v->retry, v->node->home, reactor_now_ns(v->node->home) + NODE_VOLUME_LINKS_NS);
}

void node_volume_on_fenced(struct node_volume *v)
{
    v->reopen = true;
    node_volume_step(v);
}

/* ---- What is wanted ---- */

/* Acts on a state that waits for news.  The volume may be gone afterwards. */
void node_volume_step(struct node_volume *v)
{
    switch ((enum vol_state)v->sm.now) {
    case VOL_IDLE:
        if (!v->wanted) {
            volume_free(v);
            return;
        }
        volume_wait_for_links(v);
        return;
    case VOL_LINKS:
        if (v->wanted)
            return;
        io_timer_disarm(&v->retry);
        volume_move(v, VOL_IDLE);
        volume_free(v);
        return;
    case VOL_READY:
        if (!v->wanted || v->deleting || v->reopen)
            volume_drain(v);
        else if (v->desc.bytes != v->served_bytes && !io_timer_armed(&v->retry))
            volume_start_grow(v);
        if (v->sm.now == VOL_READY && v->replace_news)
            node_replace_run(v);
        if (node_volume_is_served(v)) {
            node_verify_run(v);
            node_mends_run(v);
        }
        return;
    case VOL_DELETED:
    case VOL_FAILED:
        if (v->wanted)
            return;
        io_timer_disarm(&v->retry);
        volume_move(v, VOL_IDLE);
        volume_free(v);
        return;
    case VOL_EPOCH:
    case VOL_OPENING:
    case VOL_GROWING:
    case VOL_DRAINING:
    case VOL_CLOSING:
    case VOL_DELETING:
        return;
    }
    sm_bug(&v->sm);
}

static void fill_placement(struct volume_placement *placement,
                           const struct node_desired_volume *wanted)
{
    const uint32_t replicas = wanted->volume.replicas;

    for (uint32_t i = 0; i < wanted->shard_count; i++)
        for (uint32_t r = 0; r < replicas && r < ARRAY_COUNT(placement[i].disk); r++)
            placement[i].disk[r] = wanted->placement[i * replicas + r];
    for (uint32_t i = 0; i < wanted->shard_count && wanted->copysets != NULL; i++)
        placement[i].copyset = wanted->copysets[i] + 1;
}

static void fill_replacements(struct volume_replacement *replacements,
                              const struct node_desired *desired,
                              const struct node_desired_volume *wanted)
{
    for (uint32_t i = 0; i < wanted->replacement_count; i++) {
        const struct node_desired_replacement *r = &wanted->replacements[i];
        replacements[i] = (struct volume_replacement) { r->copyset, r->slot, desired->disks[r->was],
                                                        r->disk, r->moves };
    }
}

static struct status MUST_CHECK volume_take_links(struct node_volume *v,
                                                  const struct node_desired_place *places,
                                                  const struct volume_placement *placement,
                                                  uint32_t disk_count,
                                                  const struct node_desired_volume *wanted)
{
    bool *const used = calloc((size_t)disk_count + 1, sizeof *used);

    if (used == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = 0; i < wanted->shard_count; i++)
        for (uint32_t r = 0; r < wanted->volume.replicas; r++)
            if (placement[i].disk[r] < disk_count)
                used[placement[i].disk[r]] = true;
    for (uint32_t i = 0; i < wanted->replacement_count; i++)
        used[wanted->replacements[i].disk] = true;
    for (uint32_t i = 0; i < wanted->leftover_count; i++)
        used[wanted->leftovers[i]] = true;
    const struct status st = volume_links_take(&v->links, v->node->links, v->node->stores.node,
                                               places, used, disk_count);
    free(used);
    return st;
}

/* 11.10: whether its engine was told of another one. */
static bool volume_wants_other_min(const struct node_volume *v,
                                   const struct node_desired_volume *wanted)
{
    return v->desc.min_in_sync != wanted->volume.min_in_sync;
}

/* Whether a disk of it is on another node than its engine was told. */
static bool volume_has_moved(const struct node_volume *v, const struct node_desired *desired)
{
    for (uint32_t i = 0; i < desired->disk_count && desired->places != NULL; i++) {
        const struct node_desired_place *const now = &desired->places[i];
        if (!node_volume_uses(v, desired->disks[i]))
            continue;
        for (uint32_t k = 0; k < v->disk_count; k++) {
            const struct node_desired_place *const was = &v->places[k];
            if (uuid_equal(v->disks[k], desired->disks[i]) &&
                (!uuid_equal(was->node, now->node) || (was->addr.port == 0 && now->addr.port != 0)))
                return true;
        }
    }
    return false;
}

/* Takes the lists over, or leaves the old ones as they are. */
static struct status MUST_CHECK volume_take_lists(struct node_volume *v,
                                                  const struct node_desired *desired,
                                                  const struct node_desired_volume *wanted)
{
    /* The API has the same limit; whoever came behind it would be refused, not let in. */
    const uint32_t host_count =
        (uint32_t)min_u64(wanted->allowed_host_count, NVME_ALLOWED_HOSTS_MAX);
    struct nqn_text *hosts = calloc(host_count + 1, sizeof *hosts);
    struct uuid *disks = calloc((size_t)desired->disk_count + 1, sizeof *disks);
    struct node_desired_place *places = calloc((size_t)desired->disk_count + 1, sizeof *places);
    struct volume_placement *placement = calloc((size_t)wanted->shard_count + 1, sizeof *placement);
    struct volume_replacement *replacements =
        calloc((size_t)wanted->replacement_count + 1, sizeof *replacements);
    uint32_t *leftovers = calloc((size_t)wanted->leftover_count + 1, sizeof *leftovers);

    if (hosts == NULL || disks == NULL || places == NULL || placement == NULL ||
        replacements == NULL || leftovers == NULL) {
        free(hosts);
        free(disks);
        free(places);
        free(placement);
        free(replacements);
        free(leftovers);
        return STATUS(NO_MEMORY);
    }
    for (uint32_t i = 0; i < host_count; i++)
        hosts[i] = wanted->allowed_hosts[i];
    for (uint32_t i = 0; i < desired->disk_count; i++) {
        disks[i] = desired->disks[i];
        if (desired->places != NULL)
            places[i] = desired->places[i];
    }
    fill_placement(placement, wanted);
    const struct status st = volume_take_links(v, places, placement, desired->disk_count, wanted);
    if (!status_ok(st)) {
        free(hosts);
        free(disks);
        free(places);
        free(placement);
        free(replacements);
        free(leftovers);
        return st;
    }
    v->reopen |= v->sm.now != VOL_IDLE &&
                 (volume_has_moved(v, desired) || volume_wants_other_min(v, wanted));
    fill_replacements(replacements, desired, wanted);
    volume_free_wish(v);
    v->hosts = hosts;
    v->host_count = host_count;
    v->disks = disks;
    v->places = places;
    v->disk_count = desired->disk_count;
    v->placement = placement;
    v->shard_count = wanted->shard_count;
    v->replacements = replacements;
    v->replacement_count = wanted->replacement_count;
    for (uint32_t i = 0; i < wanted->leftover_count; i++)
        leftovers[i] = wanted->leftovers[i];
    v->leftovers = leftovers;
    v->leftover_count = wanted->leftover_count;
    node_replace_drop_forgotten(v);
    v->replace_news = true;
    return STATUS(OK);
}

bool node_volume_is_served(const struct node_volume *v)
{
    return v->sm.now == VOL_READY || v->sm.now == VOL_GROWING;
}

static void volume_update_hosts(struct node_volume *v)
{
    const char *hosts[NVME_ALLOWED_HOSTS_MAX];

    for (uint32_t i = 0; i < v->host_count; i++)
        hosts[i] = v->hosts[i].s;
    const struct status st = nvme_subsys_set_hosts(v->subsys, hosts, v->host_count);
    if (!status_ok(st))
        log_warning(v->node->log, "volume '%s': list of hosts: %s", v->desc.name, status_text(st));
}

struct status node_volume_want(struct node_volume *v, const struct node_desired *desired,
                               const struct node_desired_volume *wanted)
{
    const struct status st = volume_take_lists(v, desired, wanted);

    if (status_ok(st)) {
        v->wanted = true;
        v->deleting = wanted->deleting;
        v->delete_epoch = wanted->delete_epoch;
        v->desc = wanted->volume;
        v->nqn = wanted->nqn;
        node_verify_want(v, wanted->verification, wanted->verification_bytes_per_s);
        node_mends_want(v, wanted->mends, wanted->mend_count);
        if (node_volume_is_served(v) && !v->deleting)
            volume_update_hosts(v);
    }
    node_volume_step(v);
    return st;
}

void node_volume_fence(struct node_volume *v)
{
    v->wanted = false;
    if (v->desc.replicas > 1 && node_volume_is_served(v))
        volume_fence(v->volume);
}

void node_volume_drop(struct node_volume *v)
{
    v->wanted = false;
    node_volume_step(v);
}

bool node_volume_uses(const struct node_volume *v, struct uuid disk)
{
    for (uint32_t i = 0; i < v->shard_count; i++)
        for (uint32_t r = 0; r < v->desc.replicas; r++)
            if (uuid_equal(v->disks[v->placement[i].disk[r]], disk))
                return true;
    return false;
}

bool node_volume_needs(const struct node_volume *v, struct uuid disk)
{
    for (uint32_t i = 0; i < v->replacement_count; i++)
        if (uuid_equal(v->disks[v->replacements[i].disk], disk))
            return true;
    return node_volume_uses(v, disk) || (v->forgetting && uuid_equal(v->forget_disk, disk));
}

struct node_disk_name node_volume_disk_name(const struct node_volume *v, struct uuid disk)
{
    const struct node_disk *d = node_find_disk(v->node, disk);
    const struct uuid_text uuid = uuid_format(disk);
    struct node_disk_name name;

    snprintf(name.s, sizeof name.s, "%s", d != NULL ? d->info.identity.disk_name : uuid.s);
    for (uint32_t i = 0; i < v->disk_count && d == NULL; i++)
        if (uuid_equal(v->disks[i], disk) && v->places[i].name[0] != '\0')
            snprintf(name.s, sizeof name.s, "%s", v->places[i].name);
    return name;
}

bool node_volume_reaches(const struct node_volume *v, uint32_t disk)
{
    const struct link *const link = v->links.of_disk[disk];

    return node_find_disk(v->node, v->disks[disk]) != NULL || (link != NULL && link_is_up(link));
}

/* ---- Disks that come ---- */

/* Tells the engine; one that is busy is told of all its disks later. */
static void volume_tell(struct node_volume *v, uint32_t disk)
{
    const struct node_disk_name name = node_volume_disk_name(v, v->disks[disk]);
    const struct volume_disk d = node_volume_disk(v, disk, name.s);

    if (d.store == NULL)
        return;
    const struct status st = volume_leg_returned(v->volume, &d);
    if (status_is(st, STATUS_BUSY))
        io_timer_arm(&v->tell, v->node->home, reactor_now_ns(v->node->home) + NODE_VOLUME_TELL_NS);
}

static void volume_on_tell(struct io_timer *timer)
{
    struct node_volume *v = CONTAINER_OF(timer, struct node_volume, tell);

    for (uint32_t i = 0; i < v->disk_count && node_volume_is_served(v); i++)
        volume_tell(v, i);
}

void node_volume_disk_came(struct node_volume *v, struct uuid disk)
{
    if (v->sm.now == VOL_IDLE || v->sm.now == VOL_LINKS || v->sm.now == VOL_EPOCH ||
        !node_volume_uses(v, disk))
        return;
    if (v->desc.replicas == 1 || !node_volume_is_served(v)) {
        v->reopen = true;
        node_volume_step(v);
        return;
    }
    for (uint32_t i = 0; i < v->disk_count; i++)
        if (uuid_equal(v->disks[i], disk))
            volume_tell(v, i);
}

void node_volume_report(struct node_volume *v, struct node_volume_report *out_report)
{
    *out_report = (struct node_volume_report) {
        .uuid = v->desc.uuid,
        .state = NODE_VOLUME_OPENING,
        .epoch = v->epoch,
    };
    if (node_volume_is_served(v))
        node_volume_fill_served(v, out_report);
    out_report->verification = node_verify_report(v);
    out_report->mend_count = node_mends_report(v, &out_report->mends);
    if (v->sm.now == VOL_DELETED)
        out_report->state = NODE_VOLUME_DELETED;
    if (v->sm.now == VOL_FAILED || (v->reason[0] != '\0' && !node_volume_is_served(v))) {
        out_report->state = NODE_VOLUME_FAILED;
        snprintf(out_report->reason, sizeof out_report->reason, "%s", v->reason);
    }
}
