/* SPDX-License-Identifier: Apache-2.0 */
#include "serving.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "audit.h"
#include "io/buf.h"
#include "memory.h"
#include "node/node_disk.h"
#include "nvme/target.h"
#include "volume/limits.h"
#include "volume/pace.h"

#define POOL_BYTES   ((size_t)8 << 20)
#define RETRY_NS_MAX (100 * NS_PER_MS)

struct closing_disk {
    struct io_timer timer;
    struct node_disk *disk;
};

/* One process's. */
struct serving_life {
    struct serving *serving;
    struct reactor *reactors[SERVING_REACTORS_MAX];
    unsigned reactor_count;
    struct reactor *home;
    struct node_disk disks[SERVING_DISKS_MAX];
    struct closing_disk closing[SERVING_DISKS_MAX];
    unsigned pending; /* Disks. */
    struct buf_pool *pools[SERVING_REACTORS_MAX];
    struct buf_pool *scratch[SERVING_REACTORS_MAX];
    struct pace pace;
    struct pace_queue queues[SERVING_REACTORS_MAX], *paces[SERVING_REACTORS_MAX];
    struct nvme_target *target;
    struct nvme_subsys *subsys;
    struct volume *volume;
    struct registry_client client;
    struct group record;
    struct audit *audit;
    struct io_timer retry;
    bool fenced; /* The engine has fenced itself: the volume is to be opened anew (7.8). */
    struct io_timer reopen_timer;
    uint64_t busy_since_ns; /* 7.4: 0: nobody is waited for. */
    bool waited;
    struct io_msg stop_msg;
    struct io_timer end_timer;
    struct serving_disk *returning; /* It is there again; or NULL. */
    struct io_msg return_msg;
    struct io_timer return_timer;
};

static void life_take_epoch(struct serving_life *l);

static void must(struct serving_life *l, struct status st, const char *what)
{
    if (!status_ok(st))
        run_fail(l->serving->run, "%s: %s", what, status_text(st));
}

/* ---- The end ---- */

static void life_free(struct io_timer *timer)
{
    struct serving_life *const l = CONTAINER_OF(timer, struct serving_life, end_timer);
    struct serving *const s = l->serving;
    struct reactor *reactors[SERVING_REACTORS_MAX];
    const unsigned count = l->reactor_count;

    nvme_target_destroy(l->target);
    for (unsigned i = 0; i < count; i++) {
        buf_pool_destroy(l->pools[i]);
        buf_pool_destroy(l->scratch[i]);
        reactors[i] = l->reactors[i];
    }
    free(l);
    s->life = NULL;
    const uint64_t held = memory_held(sim_process_owner(s->process));
    if (held != 0)
        run_fail(s->run, "%" PRIu64 " allocations are left after an orderly end", held);
    for (unsigned i = 0; i < count; i++)
        reactor_stop(reactors[i]);
}

/* What the disks had of the pools' memory is on its way there. */
static void life_end(struct serving_life *l)
{
    io_timer_init(&l->end_timer, life_free);
    io_timer_arm(&l->end_timer, l->home, reactor_now_ns(l->home) + NS_PER_MS);
}

static void disk_on_closed(struct node_disk *d)
{
    struct serving *const s = ((const struct serving_disk *)d->config.ctx)->serving;
    struct serving_life *const l = s->life;

    if (s->closes > 0 && --s->closes == 0)
        sim_process_crash_after(s->process, run_between(s->run, 0, 40), true);
    if (--l->pending == 0)
        life_end(l);
}

static void disk_close_now(struct io_timer *timer)
{
    node_disk_close(CONTAINER_OF(timer, struct closing_disk, timer)->disk);
}

/* One after the other, so that a death may come in between. */
static void life_close_disks(struct serving_life *l)
{
    const struct serving *const s = l->serving;

    l->pending = 1;
    for (unsigned i = 0; i < s->disk_count; i++) {
        struct closing_disk *const c = &l->closing[i];
        if (l->disks[i].store == NULL)
            continue;
        l->pending++;
        l->disks[i].done = disk_on_closed;
        c->disk = &l->disks[i];
        io_timer_init(&c->timer, disk_close_now);
        io_timer_arm(&c->timer, l->home,
                     reactor_now_ns(l->home) + run_between(s->run, 0, 200 * NS_PER_MS));
    }
    if (--l->pending == 0)
        life_end(l);
}

static void life_on_target_stopped(void *ctx)
{
    life_close_disks(ctx);
}

static void life_on_closed(void *ctx)
{
    struct serving_life *const l = ctx;

    nvme_target_stop(l->target, life_on_target_stopped, l);
}

static void life_on_removed(void *ctx)
{
    struct serving_life *const l = ctx;

    volume_close(l->volume, life_on_closed, l);
}

static void stop_deliver(struct io_msg *msg)
{
    struct serving_life *const l = CONTAINER_OF(msg, struct serving_life, stop_msg);

    volume_fence(l->volume);
    nvme_subsys_remove(l->subsys, life_on_removed, l);
}

bool serving_stop(struct serving *s)
{
    if (s->life == NULL || !s->serves || s->life->returning != NULL)
        return false;
    s->serves = false;
    s->life->stop_msg.deliver = stop_deliver;
    reactor_post(s->life->home, &s->life->stop_msg);
    return true;
}

/* ---- The engine ---- */

static void life_on_retry(struct io_timer *timer)
{
    life_take_epoch(CONTAINER_OF(timer, struct serving_life, retry));
}

static void life_on_fenced_closed(void *ctx)
{
    struct serving_life *const l = ctx;

    l->volume = NULL;
    life_take_epoch(l);
}

static void life_on_fenced_removed(void *ctx)
{
    struct serving_life *const l = ctx;

    volume_close(l->volume, life_on_fenced_closed, l);
}

static void life_reopen(struct io_timer *timer)
{
    struct serving_life *const l = CONTAINER_OF(timer, struct serving_life, reopen_timer);

    nvme_subsys_remove(l->subsys, life_on_fenced_removed, l);
}

/* What serves no more, or not yet, is not opened anew for it. */
static void life_on_fenced(void *ctx)
{
    struct serving_life *const l = CONTAINER_OF(ctx, struct serving_life, client);

    l->fenced = true;
    if (!l->serving->serves)
        return;
    l->serving->serves = false;
    io_timer_arm(&l->reopen_timer, l->home, reactor_now_ns(l->home));
}

static const struct volume_meta_ops meta_ops = { registry_change, life_on_fenced };

/* 7.4: with another epoch, and after a while without those who may have everything. */
static void life_try_again(struct serving_life *l, struct status why)
{
    const uint64_t now_ns = reactor_now_ns(l->home);

    if (!status_is(why, STATUS_UNAVAILABLE) && !status_is(why, STATUS_BUSY) &&
        !status_is(why, STATUS_STALE_EPOCH) && !status_is(why, STATUS_CONFLICT) &&
        !status_is(why, STATUS_MEDIA_WRITE))
        run_fail(l->serving->run, "the volume does not open: %s", status_text(why));
    if (status_is(why, STATUS_BUSY) && l->busy_since_ns == 0)
        l->busy_since_ns = now_ns;
    l->waited = l->busy_since_ns != 0 && now_ns - l->busy_since_ns >= l->serving->wait_ns;
    io_timer_arm(&l->retry, l->home, now_ns + run_between(l->serving->run, 0, RETRY_NS_MAX));
}

static void life_on_opened(void *ctx, struct status status, struct volume *volume)
{
    struct serving_life *const l = ctx;
    struct serving *const s = l->serving;

    sim_trace(s->run->world, "volume opened", status.code, l->record.epoch, 0);
    if (!status_ok(status)) {
        life_try_again(l, status);
        return;
    }
    l->volume = volume;
    s->ops->opened(s, l->waited);
    const struct nvme_subsys_config config = { .nqn = s->nqn,
                                               .serial = "SIM",
                                               .ns = volume_ns(volume) };
    must(l, nvme_subsys_add(l->target, &config, &l->subsys), "the subsystem");
    s->serves = true;
    if (l->fenced)
        life_on_fenced(&l->client);
}

static void life_on_epoch(void *ctx, const struct group *record)
{
    struct serving_life *const l = ctx;
    struct serving *const s = l->serving;
    struct volume_disk disks[SERVING_DISKS_MAX];

    l->record = *record;
    l->client.known_epoch = record->epoch;
    for (unsigned i = 0; i < s->disk_count; i++)
        disks[i] = (struct volume_disk) { .name = s->disks[i].path,
                                          .store = l->disks[i].store,
                                          .reactor = l->disks[i].reactor,
                                          .uuid = s->disks[i].uuid };
    const struct volume_config config = {
        .volume = s->volume,
        .replica_timeout_ns = s->replica_timeout_ns,
        .group = &l->record,
        .meta = &meta_ops,
        .meta_ctx = &l->client,
        .waited = l->waited,
        .epoch = record->epoch,
        .reactors = l->reactors,
        .reactor_count = l->reactor_count,
        .scratch = l->scratch,
        .paces = s->resync_bytes_per_s > 0 ? l->paces : NULL,
        .disks = disks,
        .disk_count = s->disk_count,
        .shards = s->shards,
        .shard_count = s->shard_count,
        .commands_max = 32,
        .log = l->home->log,
    };
    must(l, volume_open(&config, life_on_opened, l), "volume_open()");
}

static void life_take_epoch(struct serving_life *l)
{
    l->fenced = false;
    registry_take_epoch(&l->client, life_on_epoch, l);
}

/* ---- The audit ---- */

static void life_on_audited(void *ctx, const struct audit_report *report)
{
    struct serving_life *const l = ctx;
    struct serving *const s = l->serving;

    s->watch.auditing = false;
    s->ops->audited(s, report);
    audit_destroy(l->audit);
    l->audit = NULL;
    if (!s->audits_alone)
        life_take_epoch(l);
}

static void life_on_audit_epoch(void *ctx, const struct group *record)
{
    struct serving_life *const l = ctx;
    struct serving *const s = l->serving;
    struct store *stores[SERVING_DISKS_MAX];
    struct reactor *reactors[SERVING_DISKS_MAX];

    l->client.known_epoch = record->epoch;
    s->watch.auditing = true;
    for (unsigned i = 0; i < s->disk_count; i++) {
        stores[i] = l->disks[i].store;
        reactors[i] = l->disks[i].reactor;
    }
    l->audit = audit_start(s, record, stores, reactors, l->home, life_on_audited, l);
}

/* ---- The beginning ---- */

static bool expects_all(void *ctx, const char *nqn)
{
    (void)ctx;
    (void)nqn;
    return true;
}

static void life_start_target(struct serving_life *l)
{
    const struct io_addr listen = sim_machine_addr(l->serving->machine, SERVING_PORT);
    const struct nvme_target_config config = { .reactors = l->reactors,
                                               .pools = l->pools,
                                               .reactor_count = l->reactor_count,
                                               .expects = expects_all };
    struct io_addr bound;

    for (unsigned i = 0; i < l->reactor_count; i++) {
        must(l, buf_pool_create(l->reactors[i], POOL_BYTES, &l->pools[i]), "a pool");
        must(l, buf_pool_create(l->reactors[i], VOLUME_SCRATCH_BYTES, &l->scratch[i]), "a pool");
        l->paces[i] = &l->queues[i];
        pace_queue_init(l->paces[i], l->reactors[i], &l->pace);
    }
    if (l->serving->resync_bytes_per_s > 0)
        pace_init(&l->pace, l->serving->resync_bytes_per_s);
    must(l, nvme_target_create(&config, &l->target), "the target");
    must(l, nvme_target_listen(l->target, &listen, NULL, &bound), "its port");
}

static void life_on_filled(void *ctx)
{
    struct serving_life *const l = ctx;
    struct serving *const s = l->serving;

    if (--l->pending > 0)
        return;
    if (s->audits)
        registry_take_epoch(&l->client, life_on_audit_epoch, l);
    else
        life_take_epoch(l);
}

static void life_fill_disks(struct serving_life *l)
{
    struct serving *const s = l->serving;

    l->pending = 1;
    for (unsigned i = 0; i < s->disk_count; i++) {
        struct ballast *const b = &s->disks[i].ballast;
        if (l->disks[i].store == NULL || !ballast_is_due(b))
            continue;
        l->pending++;
        ballast_start(b, l->disks[i].store, l->disks[i].reactor, l->home, life_on_filled, l);
    }
    life_on_filled(l);
}

static void disk_replaces(struct serving_disk *d, struct uuid uuid)
{
    registry_replace(&d->serving->registry, d->uuid, uuid);
    d->uuid = uuid;
    d->is_new = false;
}

static void life_on_disks(struct serving_life *l)
{
    struct serving *const s = l->serving;

    for (unsigned i = 0; i < s->disk_count; i++) {
        struct serving_disk *const d = &s->disks[i];
        d->incarnation = l->disks[i].store == NULL ? 0 : l->disks[i].info.incarnation;
        if (!s->known)
            d->uuid = l->disks[i].info.identity.disk;
        else if (d->is_new && l->disks[i].store != NULL)
            disk_replaces(d, l->disks[i].info.identity.disk);
    }
    if (!s->known)
        s->ops->known(s);
    s->known = true;
    l->client = (struct registry_client) {
        .registry = &s->registry, .process = s->process, .home = l->home, .node = s->registry.node
    };
    life_start_target(l);
    life_fill_disks(l);
}

static void disk_on_opened(struct node_disk *d)
{
    const struct serving_disk *const disk = d->config.ctx;
    struct serving_life *const l = disk->serving->life;

    if (d->store == NULL && !disk->may_fail)
        run_fail(disk->serving->run, "disk %s does not open: %s", disk->path, d->problem);
    if (--l->pending == 0)
        life_on_disks(l);
}

static struct status open_disk(void *ctx, struct reactor *r, struct dev **out_dev)
{
    return dev_file_open(r, ((const struct serving_disk *)ctx)->path, 0, true, out_dev);
}

static void life_open_disk(struct serving_life *l, unsigned i, void (*done)(struct node_disk *d))
{
    struct serving_disk *const disk = &l->serving->disks[i];
    struct node_disk *const d = &l->disks[i];

    d->home = l->home;
    d->reactor = l->reactors[i % l->reactor_count];
    d->cluster = (struct uuid) { { 1 } };
    snprintf(d->cluster_name, sizeof d->cluster_name, "sim");
    snprintf(d->config.name, sizeof d->config.name, "node-1/disk-%u", i + 1);
    snprintf(d->config.path, sizeof d->config.path, "%s", disk->path);
    d->config.open = open_disk;
    d->config.ctx = disk;
    d->log = l->home->log;
    d->done = done;
    node_disk_open(d);
}

/* ---- A disk that is there again ---- */

static unsigned index_of(const struct serving_disk *disk)
{
    return (unsigned)(disk - disk->serving->disks);
}

static void return_tell(struct serving_life *l)
{
    struct serving_disk *const disk = l->returning;
    const struct node_disk *const d = &l->disks[index_of(disk)];
    const struct volume_disk known = {
        .name = disk->path, .store = d->store, .reactor = d->reactor, .uuid = disk->uuid
    };
    const struct status st =
        l->volume == NULL ? STATUS(BUSY) : volume_leg_returned(l->volume, &known);

    if (status_is(st, STATUS_BUSY)) {
        io_timer_arm(&l->return_timer, l->home, reactor_now_ns(l->home) + NS_PER_MS);
        return;
    }
    /* Not every disk is the volume's. */
    if (!status_ok(st) && !status_is(st, STATUS_FENCED) && !status_is(st, STATUS_NOT_FOUND))
        run_fail(l->serving->run, "disk %s is there again: %s", disk->path, status_text(st));
    l->returning = NULL;
}

static void return_on_timer(struct io_timer *timer)
{
    return_tell(CONTAINER_OF(timer, struct serving_life, return_timer));
}

static void disk_on_returned(struct node_disk *d)
{
    struct serving_disk *const disk = d->config.ctx;

    if (d->store == NULL)
        run_fail(disk->serving->run, "disk %s does not open: %s", disk->path, d->problem);
    disk->incarnation = d->info.incarnation;
    return_tell(disk->serving->life);
}

static void return_deliver(struct io_msg *msg)
{
    struct serving_life *const l = CONTAINER_OF(msg, struct serving_life, return_msg);

    life_open_disk(l, index_of(l->returning), disk_on_returned);
}

bool serving_return(struct serving *s, unsigned disk)
{
    struct serving_life *const l = s->life;

    if (l == NULL || !s->serves || l->returning != NULL || l->disks[disk].store != NULL ||
        s->disks[disk].is_new)
        return false;
    l->returning = &s->disks[disk];
    l->return_msg.deliver = return_deliver;
    reactor_post(l->home, &l->return_msg);
    return true;
}

static void life_main(struct sim_process *p, void *ctx)
{
    struct serving *const s = ctx;
    struct serving_life *const l = calloc(1, sizeof *l);

    assert(l != NULL);
    s->life = l;
    l->serving = s;
    l->reactor_count = s->reactor_count;
    for (unsigned i = 0; i < l->reactor_count; i++)
        l->reactors[i] = sim_process_reactor(p, i);
    l->home = l->reactors[0];
    io_timer_init(&l->retry, life_on_retry);
    io_timer_init(&l->reopen_timer, life_reopen);
    io_timer_init(&l->return_timer, return_on_timer);
    for (unsigned i = 0; i < s->disk_count; i++)
        if (!s->disks[i].absent) {
            l->pending++;
            life_open_disk(l, i, disk_on_opened);
        }
}

static void life_ended(struct sim_process *p, enum sim_exit how, void *ctx)
{
    struct serving *const s = ctx;

    s->life = NULL;
    s->serves = false;
    s->watch.auditing = false;
    watch_forget(&s->watch, p);
    s->ops->ended(s, how);
}

void serving_spawn(struct serving *s)
{
    const struct sim_program program = { .name = "node",
                                         .reactors = s->reactor_count,
                                         .main = life_main,
                                         .ended = life_ended,
                                         .ctx = s };

    if (s->process != NULL && sim_process_is_alive(s->process))
        return;
    sim_machine_power_on(s->machine);
    s->life = NULL;
    s->serves = false;
    s->process = sim_spawn(s->machine, &program);
}
