/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload "replicas": a node that serves a volume of two or three replicas on its own disks, its
 * meta store, and a host, while the node dies, disks fail, hang and are away, and the meta store
 * cannot be reached.
 *
 *   host --(connections that break)--> target --> engine --> stores --> disks
 *                                                    |
 *                                                 registry
 *
 * One disk at a time is hurt, and only as far as the others can do without it: so a read never
 * fails, and a Flush only where every member has lost what was not flushed (7.4, 7.7, S1).  A disk
 * that is out of sync everywhere may be replaced by an empty one.  In some worlds all disks are
 * full, or almost, each to another degree in each life: what is refused then has no effect (11.1).
 *
 * Several nodes are the workload "cluster".
 */
#include <assert.h>
#include <stdio.h>

#include "audit.h"
#include "host.h"
#include "promise.h"
#include "volume/layout.h"
#include "workloads.h"

#define SHARD_BYTES     ((uint64_t)2 << 20)
#define SHARDS          6u
#define DISK_BYTES      ((uint64_t)24 << 20)
#define GROUP_BLOCKS    4u
#define TROUBLES        12u
#define SEEN_LOSSES_MAX 24u
/* Regions of a store close 30 s after their last write, those of the engine's lists much sooner. */
#define CALM_NS   (40 * NS_PER_S)
#define ROUNDS_NS (10 * NS_PER_S)

static const char volume_name[] = "sim";

struct work {
    struct run *run;
    struct sim_machine *host_machine;
    struct serving serving;
    struct history *history;
    struct host *host;
    struct promise promise;
    struct layout layout;
    uint64_t blocks;
    unsigned replicas;
    unsigned copysets;
    unsigned troubles;
    uint64_t favourite;    /* Trouble, that comes more often than others. */
    unsigned away_percent; /* Of the disks that are hurt, so many are away. */
    uint64_t trouble_ns;   /* Most between two of them. */
    bool calm;             /* No more troubles. */
    bool last;             /* No more lives, but those that the script starts. */
    bool audited;          /* The last audit has ended. */
    int hurt;              /* The disk that is; -1: none. */
    bool leaves;           /* It is away when the process has died, just after it has written. */
    bool leaves_first;     /* The first trouble is that a disk leaves: most is a first touch. */
    bool full;             /* The disks are, or almost. */
    bool sleepy;           /* Most regions are closed when they are written. */
    bool goes_dark;        /* The power fails when a disk has just written. */
    unsigned power_losses; /* So far. */
    unsigned disks_ever;
    uint64_t connects_at_loss;
};

static struct work *work_of(struct serving *s)
{
    return CONTAINER_OF(s, struct work, serving);
}

/* ---- What is checked ---- */

/* Each copyset begins at another disk. */
static uint32_t disk_of(const struct work *work, uint32_t copyset, unsigned slot)
{
    return (copyset + slot) % work->serving.disk_count;
}

/* Copysets whose members have all lost what was not flushed. */
struct lost {
    const struct serving *serving;
    unsigned copysets;
};

static bool is_lost(void *ctx, uint64_t block)
{
    const struct lost *const lost = ctx;
    const uint32_t shard = lost->serving->blocks[block].shard;

    return (lost->copysets >> lost->serving->watch.copysets[shard] & 1) != 0;
}

static void on_opened(struct serving *s, bool waited)
{
    struct work *const work = work_of(s);
    struct lost lost = { s, promise_opened(&work->promise, s, waited) };

    sim_trace(work->run->world, "promise", lost.copysets, waited, 0);
    if (lost.copysets == 0)
        return;
    history_power_lost_in(work->history, is_lost, &lost);
    work->host->power_lost = true;
    work->connects_at_loss = work->host->connects;
}

static void heal(void *ctx);

/* A slot that has become a member; -1: none has. */
static int admitted(const struct group *was, const struct group *now, uint32_t *out_copyset)
{
    for (uint32_t c = 0; c < now->copyset_count; c++) {
        const unsigned slots = group_members(now, c) & ~group_members(was, c);
        *out_copyset = c;
        if (slots != 0)
            return __builtin_ctz(slots);
    }
    return -1;
}

/* It takes long for what the engine, that has no answer yet, does not have to wait for (9.8). */
static void falls_behind(struct work *work, unsigned disk)
{
    struct run *const run = work->run;
    struct sim_disk_faults *const f = sim_disk_faults(work->serving.disks[disk].disk);

    work->hurt = (int)disk;
    f->slow_one_in = 1;
    f->slow_ns = run_between(run, 20, 300) * NS_PER_MS;
    sim_world_after(run->world, run_between(run, 50, 1000) * NS_PER_MS, heal, work);
}

/* When a replica has just been admitted, known or not (9.10), it is slow, or all dies. */
static void on_changed(void *ctx, const struct group *was, const struct group *now)
{
    struct work *const work = ctx;
    uint32_t copyset;

    promise_changed(&work->promise, was, now);
    watch_changed(&work->serving.watch, was, now);
    const int slot = admitted(was, now, &copyset);
    if (slot < 0 || work->calm || !sim_process_is_alive(work->serving.process))
        return;
    if (run_percent(work->run, 20))
        sim_process_crash_after(work->serving.process, run_between(work->run, 0, 1000),
                                run_percent(work->run, 80));
    else if (work->hurt < 0 && run_percent(work->run, 25))
        falls_behind(work, disk_of(work, copyset, (unsigned)slot));
}

static void on_audited(struct serving *s, const struct audit_report *report)
{
    struct work *const work = work_of(s);

    audit_check(s, report, work->last);
    work->audited = work->last;
}

/* S1: what was lost must have been told before a Flush of the new life succeeds. */
static void check_loss(const struct work *work)
{
    const struct host *const h = work->host;

    if (history_loss_seen(work->history) && h->flushed && !h->loss_told &&
        h->connects > work->connects_at_loss)
        run_fail(work->run, "completed writes were lost, and a Flush succeeds (S1)");
}

/* ---- The volume ---- */

static void on_known(struct serving *s)
{
    struct work *const work = work_of(s);
    struct uuid tuples[PROMISE_COPYSETS_MAX][GROUP_SLOTS] = { 0 };

    for (uint32_t c = 0; c < work->copysets; c++)
        for (unsigned i = 0; i < work->replicas; i++)
            tuples[c][i] = s->disks[disk_of(work, c, i)].uuid;
    registry_init(&s->registry, work->run, &s->volume, (struct uuid) { { 0x6e } }, tuples,
                  work->copysets);
    s->registry.late_ns =
        run_between(work->run, 1, run_percent(work->run, 50) ? 40 : 400) * NS_PER_MS;
    s->registry.lost_percent = run_percent(work->run, 50) ? 0 : 20;
    s->registry.changed = on_changed;
    s->registry.ctx = work;
}

static void place_blocks(struct work *work)
{
    struct serving *const s = &work->serving;
    const uint64_t stride = SHARDS * SHARD_BYTES / (work->blocks / GROUP_BLOCKS);

    s->block_count = work->blocks;
    for (uint64_t b = 0; b < work->blocks; b++) {
        const uint64_t at = b / GROUP_BLOCKS * stride + b % GROUP_BLOCKS * STORE_BLOCK_BYTES;
        const struct layout_extent e =
            layout_first_extent(&work->layout, (struct layout_range) { at, STORE_BLOCK_BYTES });
        s->blocks[b] = (struct serving_block) { e.shard, e.offset };
    }
}

static void volume_make(struct work *work)
{
    struct serving *const s = &work->serving;
    struct store_volume *const v = &s->volume;

    *v = (struct store_volume) { .uuid = { { 5 } },
                                 .bytes = SHARDS * SHARD_BYTES,
                                 .shard_bytes = SHARD_BYTES,
                                 .lba_bytes = STORE_BLOCK_BYTES,
                                 .stripe_unit_bytes = 64 << 10,
                                 .stripe_width = 2,
                                 .replicas = work->replicas,
                                 .min_in_sync = (uint32_t)run_between(work->run, 1, 2) };
    /* Full disks that are needed and have lost something are waited for, until there is space. */
    if (work->full)
        v->min_in_sync = 1;
    snprintf(v->name, sizeof v->name, "%s", volume_name);
    const struct layout_shape shape = { v->bytes, v->shard_bytes, v->stripe_unit_bytes,
                                        v->stripe_width, 0 };
    const struct status st = layout_init(&work->layout, &shape);
    assert(status_ok(st));
    s->watch.volume = v->uuid;
    s->watch.layout = work->layout;
    s->shard_count = SHARDS;
    for (uint32_t i = 0; i < SHARDS; i++) {
        s->watch.copysets[i] = i % work->copysets;
        for (unsigned k = 0; k < work->replicas; k++)
            s->shards[i].disk[k] = disk_of(work, i % work->copysets, k);
    }
    place_blocks(work);
}

static bool can_do_without(const struct work *work, unsigned disk);

/* A write that fails tears no block that nobody else has: it would be lost (disk-format.md, 6). */
static void on_failure(void *ctx, const struct sim_disk_failure *failure)
{
    struct serving_disk *const d = ctx;
    const struct work *const work = CONTAINER_OF(d->serving, struct work, serving);

    (void)failure;
    sim_disk_faults(d->disk)->write_errors_whole =
        !can_do_without(work, (unsigned)(d - work->serving.disks));
}

static void disk_make(struct work *work, struct serving_disk *d)
{
    struct sim_disk_config config = sim_disk_config_random(work->run->world, DISK_BYTES);

    config.reports_atomic = true;
    config.volatile_cache |= run_percent(work->run, 70);
    snprintf(d->path, sizeof d->path, "/dev/sim%u", ++work->disks_ever);
    d->disk = sim_disk_create(work->serving.machine, d->path, &config);
    sim_disk_watch(d->disk, on_failure, d);
    ballast_forget(&d->ballast);
}

static void disks_make(struct work *work)
{
    struct serving *const s = &work->serving;

    for (unsigned i = 0; i < s->disk_count; i++) {
        struct serving_disk *const d = &s->disks[i];
        d->serving = s;
        ballast_init(&d->ballast, work->run);
        disk_make(work, d);
    }
}

/* ---- Lives ---- */

static void hurt(struct work *work);
static void disk_left(struct work *work);
static void replace_some(struct work *work);

/* What the host's blocks need is a cell for each group, or less. */
static void fill_disks(struct work *work)
{
    struct serving *const s = &work->serving;
    const uint64_t most = work->blocks / GROUP_BLOCKS + 2;

    for (unsigned i = 0; i < s->disk_count && work->full; i++)
        s->disks[i].ballast.left_cells =
            work->calm ? BALLAST_NONE : (uint32_t)rng_below(&work->run->rng, most);
}

static void life_begin(void *ctx)
{
    struct work *const work = ctx;

    fill_disks(work);
    work->serving.audits = work->serving.known && run_percent(work->run, 30);
    serving_spawn(&work->serving);
}

static void on_ended(struct serving *s, enum sim_exit how)
{
    struct work *const work = work_of(s);

    work->power_losses += how == SIM_EXIT_POWER ? 1 : 0;
    s->closes = 0;
    work->goes_dark = false;
    if (work->leaves)
        disk_left(work);
    if (!work->calm && s->known && run_percent(work->run, 20))
        hurt(work);
    if (!work->last && s->known && run_percent(work->run, 20))
        replace_some(work);
    if (!work->last)
        sim_world_after(work->run->world, run_between(work->run, 0, 100 * NS_PER_MS), life_begin,
                        work);
}

static const struct serving_ops serving_ops = { on_known, on_opened, on_audited, on_ended };

static void kill_now(struct work *work)
{
    if (sim_process_is_alive(work->serving.process))
        sim_process_kill(work->serving.process);
}

/* ---- A disk that is hurt ---- */

/* Whether every copyset can do without the disk: another member has everything. */
static bool can_do_without(const struct work *work, unsigned disk)
{
    const struct serving *const s = &work->serving;
    const struct group *const g = &s->registry.record;

    for (uint32_t c = 0; c < g->copyset_count; c++) {
        bool other = false;
        for (unsigned i = 0; i < work->replicas; i++) {
            const unsigned d = disk_of(work, c, i);
            const struct group_slot *const slot = &g->copysets[c].slots[i];
            other |= d != disk && slot->state == GROUP_SLOT_IN &&
                     slot->incarnation == s->disks[d].incarnation;
        }
        if (!other)
            return false;
    }
    return true;
}

/* The others have not executed what one has, when that one leaves. */
static void others_are_slow(struct work *work, unsigned disk)
{
    struct run *const run = work->run;
    struct serving *const s = &work->serving;

    for (unsigned i = 0; i < s->disk_count; i++) {
        if (i == disk)
            continue;
        sim_disk_faults(s->disks[i].disk)->slow_one_in = 1;
        sim_disk_faults(s->disks[i].disk)->slow_ns = run_between(run, 20, 300) * NS_PER_MS;
    }
}

/* It is away when it has written something, which perhaps no other one has. */
static void leave(struct work *work, unsigned disk)
{
    work->hurt = (int)disk;
    work->leaves = true;
    if (run_percent(work->run, 60))
        others_are_slow(work, disk);
}

static void others_are_well(struct work *work)
{
    struct serving *const s = &work->serving;

    for (unsigned i = 0; i < s->disk_count; i++)
        if ((int)i != work->hurt)
            *sim_disk_faults(s->disks[i].disk) = (struct sim_disk_faults) { 0 };
}

/* What was away may be slow while it is resynced. */
static void disk_is_slow(struct work *work, unsigned disk)
{
    struct run *const run = work->run;
    struct sim_disk_faults *const f = sim_disk_faults(work->serving.disks[disk].disk);

    if (run_percent(run, 40))
        return;
    work->hurt = (int)disk;
    f->slow_one_in = run_between(run, 1, 3);
    f->slow_ns = run_between(run, 1, 50) * NS_PER_MS;
    sim_world_after(run->world, run_between(run, 100, 3000) * NS_PER_MS, heal, work);
}

/* It is well again; a store that has failed takes commands only when it is opened anew.  One that
 * was away may come back while the volume is served. */
static void heal(void *ctx)
{
    struct work *const work = ctx;

    if (work->hurt < 0)
        return;
    struct serving_disk *const d = &work->serving.disks[work->hurt];
    const unsigned disk = (unsigned)work->hurt;
    const bool returns = d->absent && !work->calm && run_percent(work->run, 60);
    const bool fails = d->absent || d->may_fail;
    *sim_disk_faults(d->disk) = (struct sim_disk_faults) { 0 };
    d->absent = d->may_fail = false;
    if (work->leaves)
        others_are_well(work);
    work->leaves = false;
    work->hurt = -1;
    if (returns && serving_return(&work->serving, disk))
        disk_is_slow(work, disk);
    else if (fails || run_percent(work->run, 50))
        kill_now(work);
}

static void disk_fails(struct work *work, struct serving_disk *d, bool reads)
{
    struct run *const run = work->run;
    struct sim_disk_faults *const f = sim_disk_faults(d->disk);

    d->may_fail = true;
    f->read_error_one_in = reads && run_percent(run, 30) ? run_between(run, 2, 50) : 0;
    f->write_error_one_in = run_percent(run, 60) ? run_between(run, 2, 50) : 0;
    f->flush_error_one_in = run_percent(run, 40) ? run_between(run, 1, 10) : 0;
}

/* One disk fails, hangs, or is away, for a while. */
static void hurt(struct work *work)
{
    struct run *const run = work->run;
    struct serving *const s = &work->serving;
    const unsigned disk = (unsigned)rng_below(&run->rng, s->disk_count);
    struct serving_disk *const d = &s->disks[disk];

    if (work->hurt >= 0)
        return;
    work->hurt = (int)disk;
    switch (run_percent(run, work->away_percent) ? 1 : rng_below(&run->rng, 3)) {
    case 0:
        sim_disk_faults(d->disk)->slow_one_in = run_between(run, 1, 5);
        sim_disk_faults(d->disk)->slow_ns = run_between(run, 1, 2000) * NS_PER_MS;
        break;
    case 1:
        if (s->serves && run_percent(run, 50)) {
            leave(work, disk);
            break;
        }
        d->absent = true;
        kill_now(work);
        break;
    default:
        disk_fails(work, d, s->serves && can_do_without(work, disk));
        break;
    }
    const uint64_t most = work->leaves ? 20000 : run_percent(run, 30) ? 6000 : 800;
    sim_world_after(run->world, run_between(run, 10, most) * NS_PER_MS, heal, work);
}

/* It dies when the disk that leaves has just written what others may not have. */
static void on_wrote(void *ctx, struct uuid disk)
{
    struct work *const work = ctx;
    const struct serving *const s = &work->serving;

    if (work->goes_dark)
        sim_process_crash_after(s->process, run_between(work->run, 0, 40), true);
    else if (work->leaves && uuid_equal(s->disks[work->hurt].uuid, disk))
        sim_process_crash_after(s->process, run_between(work->run, 0, 20),
                                run_percent(work->run, 20));
    work->goes_dark = false;
}

/* Sometimes it is back before much else is written. */
static void disk_left(struct work *work)
{
    struct run *const run = work->run;

    work->leaves = false;
    others_are_well(work);
    work->serving.disks[work->hurt].absent = true;
    if (run_percent(run, 70))
        sim_world_after(run->world, run_between(run, 0, 300) * NS_PER_MS, heal, work);
}

/* A disk that is out everywhere is given up, and an empty one takes its place. */
static void replace_some(struct work *work)
{
    struct serving *const s = &work->serving;
    const unsigned disk = (unsigned)rng_below(&work->run->rng, s->disk_count);
    struct serving_disk *const d = &s->disks[disk];

    if (d->is_new || work->hurt == (int)disk || s->registry.under_way > 0 ||
        group_has_member(&s->registry.record, d->uuid))
        return;
    d->is_new = true;
    disk_make(work, d);
}

/* ---- Troubles ---- */

static void resume(void *ctx)
{
    sim_process_resume(((struct work *)ctx)->serving.process);
}

static void registry_back(void *ctx)
{
    ((struct work *)ctx)->serving.registry.away = false;
}

/*
 * It dies while a new engine looks around, members change, or regions are closed: but with its
 * power only so often that a disk remembers how far it reached when a point of it was kept (3.7).
 */
static void on_seen(void *ctx, enum store_opcode opcode)
{
    const struct work *const work = ctx;
    struct run *const run = work->run;

    if (!work->calm && run_percent(run, opcode == STORE_OP_FLUSH ? 8 : 3))
        sim_process_crash_after(work->serving.process,
                                run_between(run, 0, run_percent(run, 50) ? 100 : 2000),
                                run_percent(run, 50) && work->power_losses < SEEN_LOSSES_MAX);
}

/* An orderly end, in which the node may yet die. */
static void stop(struct work *work)
{
    struct run *const run = work->run;

    if (!serving_stop(&work->serving))
        return;
    if (run_percent(run, 60))
        work->serving.closes = (unsigned)run_between(run, 1, work->serving.disk_count - 1);
    else if (run_percent(run, 50))
        sim_process_crash_after(work->serving.process, run_between(run, 0, 400),
                                run_percent(run, 80));
}

/* A disk leaves when it has written something, for long. */
static void leave_soon(struct work *work)
{
    struct run *const run = work->run;

    if (work->hurt >= 0 || !work->serving.serves)
        return;
    leave(work, (unsigned)rng_below(&run->rng, work->serving.disk_count));
    sim_world_after(run->world, run_between(run, 10, 20000) * NS_PER_MS, heal, work);
}

static uint64_t choose_trouble(struct work *work)
{
    struct run *const run = work->run;

    if (work->leaves_first && work->serving.serves) {
        work->leaves_first = false;
        return TROUBLES;
    }
    return run_percent(run, 50) ? work->favourite : rng_below(&run->rng, TROUBLES);
}

static void trouble(void *ctx);

static void trouble_later(struct work *work, uint64_t after_ns)
{
    if (--work->troubles > 0)
        sim_world_after(work->run->world, after_ns + run_between(work->run, 0, work->trouble_ns),
                        trouble, work);
}

static void trouble(void *ctx)
{
    struct work *const work = ctx;
    struct run *const run = work->run;
    const uint64_t later_ns = run_between(run, 0, 100 * NS_PER_MS);

    if (work->calm)
        return;
    if (!work->serving.known || (!work->serving.serves && run_percent(run, 80))) {
        sim_world_after(run->world, 20 * NS_PER_MS, trouble, work);
        return;
    }
    switch (choose_trouble(work)) {
    case 0: /* on_ended() starts it again. */
        sim_process_crash_after(work->serving.process, run_between(run, 0, 2000), false);
        break;
    case 1:
    case 2:
        work->goes_dark = true;
        break;
    case 3:
        sim_process_crash_after(work->serving.process, run_between(run, 0, 2000), true);
        break;
    case 4:
        sim_process_pause(work->serving.process);
        sim_world_after(run->world, later_ns, resume, work);
        break;
    case 5:
        work->serving.registry.away = true;
        sim_world_after(run->world, run_between(run, 0, 500 * NS_PER_MS), registry_back, work);
        break;
    case 6:
    case 7:
        stop(work);
        break;
    case 8:
    case 9:
    case 10:
        hurt(work);
        break;
    case 11:
        host_cut(work->host);
        break;
    default:
        leave_soon(work);
        break;
    }
    trouble_later(work, later_ns);
}

/* ---- The course ---- */

static void calm_down(struct work *work)
{
    work->calm = true;
    work->goes_dark = false;
    heal(work);
    work->host->config.no_space = false;
    work->serving.registry.away = false;
    work->serving.registry.lost_percent = 0;
    kill_now(work); /* And with it a crash that it was to have. */
    sim_world_run(work->run->world, CALM_NS);
}

static void host_works(struct work *work, uint64_t ops)
{
    host_go_on(work->host, ops, true);
    run_until(work->run, host_is_resting, work->host, 900 * NS_PER_S, "the host");
}

static bool serves(void *ctx)
{
    return ((const struct work *)ctx)->serving.serves;
}

/* A disk leaves when all regions are closed, and little is written after that. */
static void leave_last(struct work *work)
{
    struct run *const run = work->run;

    sim_world_run(run->world, ROUNDS_NS);
    leave_soon(work);
    host_works(work, run_between(run, 1, 4));
    check_loss(work);
}

static bool has_ended(void *ctx)
{
    return !sim_process_is_alive(((const struct work *)ctx)->serving.process);
}

static bool is_audited(void *ctx)
{
    return ((const struct work *)ctx)->audited;
}

/* Blocks of one disk rot that others have: whatever is read is right (S3). */
static void disk_rots(struct work *work)
{
    struct run *const run = work->run;
    const unsigned disk = (unsigned)rng_below(&run->rng, work->serving.disk_count);
    struct sim_disk *const d = work->serving.disks[disk].disk;
    uint8_t bytes[SIM_BLOCK_BYTES];
    uint64_t offset, block, content;

    if (!can_do_without(work, disk))
        return;
    for (uint64_t i = run_between(run, 1, 20); i > 0; i--) {
        if (!sim_disk_pick_written(d, &offset))
            return;
        sim_disk_peek(d, offset, (struct span) { bytes, sizeof bytes });
        if (!pattern_name((struct const_span) { bytes, sizeof bytes }, &block, &content))
            continue;
        if (run_percent(run, 30))
            sim_disk_latent_error(d, offset);
        else
            sim_disk_rot(d, offset);
    }
}

/* At rest members are equal, and no list says otherwise. */
static void last_audit(struct work *work)
{
    struct serving *const s = &work->serving;

    sim_world_run(work->run->world, ROUNDS_NS);
    run_until(work->run, serves, work, 60 * NS_PER_S, "the volume");
    work->last = true;
    (void)serving_stop(s);
    run_until(work->run, has_ended, work, 60 * NS_PER_S, "an orderly end");
    s->audits = s->audits_alone = true;
    serving_spawn(s);
    run_until(work->run, is_audited, work, 60 * NS_PER_S, "the audit");
}

static void host_make(struct work *work)
{
    static const uint64_t paces[] = { 0, 30 * NS_PER_MS, 30 * NS_PER_MS, 300 * NS_PER_MS,
                                      3000 * NS_PER_MS };
    struct run *const run = work->run;
    const struct host_config config = {
        .run = run,
        .history = work->history,
        .machine = work->host_machine,
        .target = sim_machine_addr(work->serving.machine, SERVING_PORT),
        .nqn = work->serving.nqn,
        .copies = true,
        .block_bytes = STORE_BLOCK_BYTES,
        .blocks = work->blocks,
        .group_blocks = GROUP_BLOCKS,
        .group_stride = SHARDS * SHARD_BYTES / STORE_BLOCK_BYTES / (work->blocks / GROUP_BLOCKS),
        .ops = run_between(run, 20, 250),
        .slots = (unsigned)run_between(run, 1, 12),
        .queues = (unsigned)run_between(run, 1, HOST_QUEUES_MAX),
        .io_blocks_max = GROUP_BLOCKS,
        .lazy = run_percent(run, 60),
        .pace_ns = work->sleepy ? 6 * NS_PER_S : paces[rng_below(&run->rng, ARRAY_COUNT(paces))],
        .no_space = work->full,
        .refused_is_undone = true,
    };

    work->host = host_create(&config);
    work->host->verifying = true;
}

static void world_make(struct work *work, struct run *run)
{
    static const uint64_t blocks[] = { 8, 24, 24, 96 };
    struct serving *const s = &work->serving;

    work->run = run;
    work->hurt = -1;
    /* With few blocks most writes go to regions that are open, and nothing is flushed for them. */
    work->blocks = blocks[rng_below(&run->rng, ARRAY_COUNT(blocks))];
    work->history = history_create(work->blocks, 1);
    s->run = run;
    s->ops = &serving_ops;
    s->machine = sim_machine_create(run->world, "node");
    work->host_machine = sim_machine_create(run->world, "host");
    work->replicas = (unsigned)run_between(run, 2, 3);
    s->disk_count = (unsigned)run_between(run, work->replicas, SERVING_DISKS_MAX);
    s->reactor_count = (unsigned)run_between(run, 1, SERVING_REACTORS_MAX);
    s->wait_ns = run_between(run, 0, 2000) * NS_PER_MS;
    s->replica_timeout_ns = run_percent(run, 40) ? run_between(run, 50, 500) * NS_PER_MS : 0;
    s->resync_bytes_per_s = run_percent(run, 50) ? run_between(run, 4, 64) << 20 : 0;
    work->copysets = (unsigned)run_between(run, 1, s->disk_count);
    work->troubles = (unsigned)run_between(run, 1, 10);
    work->favourite = run_percent(run, 25) ? 8 : rng_below(&run->rng, TROUBLES);
    work->away_percent = run_percent(run, 40) ? 90 : 0;
    work->leaves_first = run_percent(run, 30);
    work->sleepy = run_percent(run, 20);
    work->full = !work->sleepy && run_percent(run, 25);
    if (work->sleepy)
        work->favourite = run_percent(run, 60) ? 1 : 8;
    work->trouble_ns = (work->sleepy ? 20000 : run_percent(run, 40) ? 100 : 2000) * NS_PER_MS;
    watch_begin(&s->watch, run);
    s->watch.sees = run_percent(run, 50) ? on_seen : NULL;
    s->watch.wrote = on_wrote;
    s->watch.ctx = work;
    disks_make(work);
    volume_make(work);
}

static void replicas_act(struct run *run)
{
    struct work *const work = sim_world_alloc(run->world, sizeof *work);
    struct nqn_text nqn;
    const struct status st = nqn_for_volume(volume_name, &nqn);

    assert(status_ok(st));
    world_make(work, run);
    work->serving.nqn = nqn.s;
    host_make(work);
    fill_disks(work);
    serving_spawn(&work->serving);
    sim_world_after(run->world, run_between(run, 0, 40 * NS_PER_MS), trouble, work);
    run_until(run, host_is_resting, work->host, 900 * NS_PER_S, "the host");
    check_loss(work);
    if (run_percent(run, 25))
        leave_last(work);
    calm_down(work);
    if (run_percent(run, 40))
        disk_rots(work);
    host_works(work, run_between(run, 0, 100));
    check_loss(work);
    last_audit(work);
    watch_end();
    registry_fini(&work->serving.registry);
    history_destroy(work->history);
}

const struct workload work_replicas = { .name = "replicas",
                                        .rules = "R1 R2 R4 R6 R9",
                                        .text = "a volume of several replicas",
                                        .act = replicas_act };
