/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload "store": a store on one simulated disk, through several lives of its process.
 *
 *   spawn -> open device -> (format) -> open store -> session -> commands, checked
 *     ^                                                             |
 *     +---- power on <-- killed, power lost, or closed cleanly <----+
 *
 * Deaths come after any number of callbacks, so also during formatting, recovery and closing.
 */
#include <assert.h>
#include <inttypes.h>

#include "bystander.h"
#include "disk/layout.h"
#include "grower.h"
#include "memory.h"
#include "passer.h"
#include "store_load.h"
#include "workloads.h"

#define LIVES_MAX 6
#define DISK_PATH "/dev/sim"

/* What kind of trouble this seed makes, besides deaths. */
enum mode { MODE_PLAIN, MODE_FULL, MODE_ROT, MODE_ERRORS, MODE_LIAR };

/* Full disks have most to go wrong: places are used again. */
static const enum mode modes[] = { MODE_PLAIN, MODE_FULL,   MODE_FULL,   MODE_FULL,
                                   MODE_ROT,   MODE_ERRORS, MODE_ERRORS, MODE_LIAR };

struct work {
    struct run *run;
    enum mode mode;
    struct sim_machine *machine;
    struct sim_disk *disk;
    struct store_load load;
    struct bystander beside;
    struct passer passer;
    struct grower grower;
    unsigned lives_left; /* After the current one. */
    bool formatted;
    bool finished;
    bool loss_reported; /* By the store, since the last power loss. */
    bool clean;         /* The last life ended with a close. */
    bool spoiled;       /* By rot in what it cannot do without: the store may refuse the disk. */
    uint64_t epoch;
    bool described;          /* A session was confirmed: the disk knows the volume (S5). */
    uint64_t checksum_bytes; /* Memory for checksums; 0: for all. */

    /* Of the current life. */
    struct sim_process *process;
    struct reactor *reactor;
    struct dev *dev;
    struct store *store;
    bool ending;
};

static void life_open_store(struct work *work);

/* ---- The end of a life ---- */

static void life_on_closed(void *ctx, struct status status)
{
    struct work *const work = ctx;

    if (!status_ok(status) && !blame_any(&work->load.blame))
        run_fail(work->run, "closing the store: %s", status_text(status));
    work->clean = status_ok(status);
    dev_close(work->dev);
    const uint64_t held = memory_held(sim_process_owner(work->process));
    if (held != 0)
        run_fail(work->run, "%" PRIu64 " allocations are left after the store was closed", held);
    reactor_stop(work->reactor);
}

/* All commands of this life are answered: end it in one of three ways. */
static void life_end(struct work *work)
{
    if (work->load.old_session != NULL)
        store_session_close(work->load.old_session);
    if (work->load.session != NULL)
        store_session_close(work->load.session);
    work->load.old_session = NULL;
    work->load.session = NULL;
    bystander_stop(&work->beside);
    passer_stop(&work->passer);
    grower_stop(&work->grower);
    /* Closing makes everything durable; when it dies on the way, nobody knows how far it came. */
    loss_flush_ends(&work->load.loss, loss_flush_begins(&work->load.loss));
    loss_flush_ends(&work->beside.loss, loss_flush_begins(&work->beside.loss));
    if (run_percent(work->run, 40) && work->lives_left > 0 && work->mode != MODE_ROT)
        sim_process_crash_after(work->process, run_between(work->run, 0, 30),
                                run_percent(work->run, 50));
    store_close(work->store, life_on_closed, work);
}

/* ---- Sessions ---- */

static struct store_session_config session_config(struct work *work)
{
    return (struct store_session_config) {
        .volume = work->load.volume,
        .epoch = ++work->epoch,
        .known = work->described && !work->load.lied, /* Else it is refused, and the run fails. */
    };
}

/* S1: what the first session of a life is told of a loss. */
static void life_check_loss(struct work *work, const struct store_session_opened *opened)
{
    const char *const wrong = loss_check(&work->load.loss, opened->unflushed_loss);

    /* A liar may have lost what the store knew of its volumes, too. */
    if (wrong != NULL && !work->load.lied)
        run_fail(work->run, "%s", wrong);
}

static void life_on_session(void *ctx, const struct store_session_opened *opened)
{
    struct work *const work = ctx;
    struct store_load *const load = &work->load;

    work->load.superseding = false;
    if (!status_ok(opened->status)) {
        if (!blame_any(&load->blame))
            run_fail(work->run, "opening a session: %s", status_text(opened->status));
        load->broken = true;
        load_pump(load);
        return;
    }
    if (load->session != NULL && load_is_busy_on(load, load->session))
        run_fail(work->run, "a session is confirmed while commands of an older one run (S4)");
    work->described = true;
    if (load->session == NULL)
        life_check_loss(work, opened);
    work->loss_reported |= opened->unflushed_loss;
    if (opened->unflushed_loss && run_percent(work->run, 50))
        store_session_loss_reported(opened->session);
    if (load->old_session != NULL)
        store_session_close(load->old_session);
    load->old_session = load->session;
    load->session = opened->session;
    load->incarnation = opened->incarnation;
    if (load->old_session == NULL)
        load_start(load, work->reactor,
                   run_between(work->run, 0, work->mode == MODE_FULL ? 600 : 150),
                   work->lives_left == 0 || run_percent(work->run, 40));
    else
        load_pump(load);
}

/* Another session for the same volume, while commands are in flight (S4). */
static void life_reopen_session(struct io_timer *t);

struct reopen {
    struct io_timer timer;
    struct work *work;
};

static void life_reopen_session(struct io_timer *t)
{
    struct work *const work = CONTAINER_OF(t, struct reopen, timer)->work;
    const struct store_session_config config = session_config(work);

    if (work->ending || work->load.session == NULL || work->load.ops_left == 0)
        return;
    work->load.superseding = true;
    const struct status st = store_session_open(work->store, &config, life_on_session, work);
    assert(status_ok(st));
}

static void life_on_no_space(struct store_load *load)
{
    struct grower *const g = &CONTAINER_OF(load, struct work, load)->grower;

    grower_full(g);
    /* Not all commands of the life are to find that there is no space yet. */
    if (g->growing)
        load_rest(load, run_between(load->run, 0, 400 * NS_PER_US));
}

static void life_on_idle(struct store_load *load)
{
    struct work *const work = CONTAINER_OF(load, struct work, load);

    if (load->superseding || work->ending)
        return; /* life_on_session() comes back. */
    work->ending = true;
    if (history_loss_seen(load->history) && !work->loss_reported && !load->lied)
        run_fail(work->run, "completed writes were lost, and no session was told (S1)");
    if (work->lives_left == 0 && !load->broken)
        work->finished = true;
    life_end(work);
}

/* ---- Opening ---- */

static void life_give_up(struct work *work, const char *what, struct status st)
{
    if (!work->spoiled && (work->mode != MODE_ERRORS || !blame_any(&work->load.blame)))
        run_fail(work->run, "%s: %s", what, status_text(st));
    if (work->spoiled || work->lives_left == 0)
        work->finished = true; /* A spoiled disk may be refused; there is nothing more to see. */
    dev_close(work->dev);
    reactor_stop(work->reactor);
}

/* The volume beside has had its turn. */
static void life_on_beside(struct bystander *beside)
{
    struct work *const work = CONTAINER_OF(beside, struct work, beside);
    const struct store_session_config config = session_config(work);

    passer_start(&work->passer, work->store);
    const struct status st = store_session_open(work->store, &config, life_on_session, work);
    assert(status_ok(st));
}

static void life_on_opened(void *ctx, const struct store_opened *opened)
{
    struct work *const work = ctx;

    if (!status_ok(opened->status)) {
        if (opened->problem[0] == '\0')
            run_fail(work->run, "the store does not open and does not say why");
        sim_trace(work->run->world, opened->problem, 0, 0, 0);
        life_give_up(work, opened->problem, opened->status);
        return;
    }
    blame_opened(&work->load.blame);
    work->store = opened->store;
    loss_recovered(&work->load.loss);
    grower_start(&work->grower, work->store, work->reactor);
    bystander_start(&work->beside, work->store);
}

static void life_open_store(struct work *work)
{
    const struct store_config config = { .checksum_bytes = work->checksum_bytes };

    const struct status st = store_open(work->dev, &config, life_on_opened, work);
    assert(status_ok(st));
}

static void life_on_formatted(void *ctx, struct status status)
{
    struct work *const work = ctx;

    if (!status_ok(status)) {
        life_give_up(work, "formatting", status);
        return;
    }
    work->formatted = true;
    life_open_store(work);
}

static void life_main(struct sim_process *p, void *ctx)
{
    struct work *const work = ctx;
    const struct store_format_config format = {
        .identity = { .cluster = { { 1 } },
                      .disk = { { 2 } },
                      .cluster_name = "c",
                      .disk_name = "n/d" },
        .atomic_bytes = sim_disk_config(work->disk)->atomic_bytes,
    };

    work->reactor = sim_process_reactor(p, 0);
    work->load.superseding = false;
    work->ending = false;
    struct status st = dev_file_open(work->reactor, DISK_PATH, 0, true, &work->dev);
    assert(status_ok(st));
    struct reopen *const reopen = sim_world_alloc(work->run->world, sizeof *reopen);
    reopen->work = work;
    io_timer_init(&reopen->timer, life_reopen_session);
    if (run_percent(work->run, 40))
        io_timer_arm(&reopen->timer, work->reactor,
                     reactor_now_ns(work->reactor) + run_between(work->run, 0, 20 * NS_PER_MS));
    if (work->formatted) {
        life_open_store(work);
        return;
    }
    st = store_format(work->dev, &format, life_on_formatted, work);
    assert(status_ok(st));
}

/* ---- From life to life ---- */

static void life_begin(void *ctx);

static void life_ended(struct sim_process *p, enum sim_exit how, void *ctx)
{
    struct work *const work = ctx;
    const uint64_t now_ns = sim_world_now_ns(work->run->world);
    const bool power = how == SIM_EXIT_POWER && sim_disk_config(work->disk)->volatile_cache;

    (void)p;
    loss_life_ends(&work->load.loss, now_ns, power, work->beside.errors);
    loss_life_ends(&work->beside.loss, now_ns, power, work->beside.errors);
    if (how == SIM_EXIT_POWER) {
        history_power_lost(work->load.history);
        work->load.lied |= work->mode == MODE_LIAR;
        work->beside.lied = work->passer.lied = work->grower.lied = work->load.lied;
        work->spoiled |= work->load.lied;
        work->loss_reported = false;
    } else {
        history_process_died(work->load.history);
    }
    if (how != SIM_EXIT_STOPPED)
        work->clean = false;
    history_store_reopened(work->load.history);
    load_died(&work->load);
    if (work->finished)
        return;
    if (work->lives_left > 0)
        work->lives_left--;
    sim_world_after(work->run->world, run_between(work->run, 0, NS_PER_S), life_begin, work);
}

/* Rot only where nothing is suspect: there, what has rotted cannot be told from a late write. */
static void disk_spoil(struct work *work)
{
    for (uint64_t i = run_between(work->run, 1, 12); i > 0; i--)
        work->spoiled |= blame_spoil(&work->load.blame, 0, run_percent(work->run, 30));
}

static uint64_t data_offset(const struct work *work)
{
    struct disk_layout layout;
    const struct status st = disk_layout_make(sim_disk_config(work->disk)->bytes, &layout);

    assert(status_ok(st));
    return layout.part[LAYOUT_DATA].offset;
}

static void faults_set(struct work *work)
{
    struct sim_disk_faults *const f = sim_disk_faults(work->disk);
    struct run *const run = work->run;

    *f = (struct sim_disk_faults) { 0 };
    if (run_percent(run, 30)) {
        f->slow_one_in = 20;
        f->slow_ns = run_between(run, NS_PER_MS, NS_PER_S);
    }
    work->beside.errors = work->mode == MODE_ERRORS && work->lives_left > 0;
    work->passer.errors = work->beside.errors;
    if (!work->beside.errors)
        return;
    f->read_error_one_in = run_percent(run, 30) ? run_between(run, 10, 300) : 0;
    f->write_error_one_in = run_percent(run, 75) ? run_between(run, 5, 100) : 0;
    /* Mostly bad blocks among the data: a store survives them, and a Flush after them. */
    if (run_percent(run, 60)) {
        f->write_errors_from = data_offset(work);
        work->load.flush_percent = 25;
    }
    f->flush_error_one_in = run_percent(run, 25) ? run_between(run, 2, 50) : 0;
}

static void life_begin(void *ctx)
{
    struct work *const work = ctx;
    struct run *const run = work->run;
    const struct sim_program program = {
        .name = "store", .reactors = 1, .main = life_main, .ended = life_ended, .ctx = work
    };

    sim_machine_power_on(work->machine);
    if (work->mode == MODE_ROT && work->lives_left == 0 && work->clean)
        disk_spoil(work);
    faults_set(work);
    blame_begin_life(&work->load.blame);
    work->load.may_crash = work->lives_left > 0 && work->mode != MODE_ROT;
    work->grower.may_crash = work->load.may_crash;
    grower_begin_life(&work->grower);
    work->process = sim_spawn(work->machine, &program);
    /* Who waits for a full disk kills when it grows. */
    if (work->lives_left == 0 || run_percent(run, work->grower.only_full ? 75 : 30))
        return;
    if (work->mode == MODE_ROT && work->lives_left == 1)
        return; /* So that it ends cleanly. */
    /* Mostly in the middle of commands, sometimes in the first steps. */
    const uint64_t most = run_percent(run, 20) ? 40 : run_percent(run, 50) ? 500 : 4000;
    sim_process_crash_after(work->process, rng_below(&run->rng, most),
                            run_percent(run, work->mode == MODE_FULL ? 70 : 50));
}

static bool work_finished(void *ctx)
{
    const struct work *const work = ctx;
    return work->finished && !sim_process_is_alive(work->process);
}

static void disk_make(struct work *work)
{
    struct run *const run = work->run;
    struct rng own;
    const uint64_t most = work->mode == MODE_FULL ? 16 : run_percent(run, 30) ? 80 : 24;
    struct sim_disk_config config =
        sim_disk_config_random(run->world, run_between(run, 16, most) << 20);

    config.liar = work->mode == MODE_LIAR;
    if (config.liar) { /* Mostly one on which nothing is adopted: there, more can be said. */
        config.volatile_cache = true;
        config.align_bytes = run_percent(run, 70) ? 512 : config.align_bytes;
        config.atomic_bytes = config.align_bytes;
    }
    /* By chances of their own: the other runs are what they would be without. */
    rng_init(&own, run->seed ^ UINT64_C(0x6b726f77));
    const bool grows = rng_below(&own, 100) < (work->mode == MODE_FULL ? 50 : 15);
    if (grows)
        config.is_block_device = rng_below(&own, 2) == 0;
    work->disk = sim_disk_create(work->machine, DISK_PATH, &config);
    work->grower = (struct grower) {
        .run = run,
        .disk = work->disk,
        .blame = &work->load.blame,
        .active = grows,
        .only_full = grows && work->mode == MODE_FULL && rng_below(&own, 100) < 80,
    };
}

/* F28: the disk fills up with first touches of cells, over more grains than it has places. */
static void load_scatter(struct work *work)
{
    struct store_load *const load = &work->load;

    load->shards = (uint32_t)run_between(work->run, 20, 30);
    load->window_blocks = load->shards * LOAD_SHARD_BLOCKS;
    load->window_first = 0;
    load->zero_percent = (unsigned)run_between(work->run, 2, 20);
    load->grain_percent = (unsigned)run_between(work->run, 10, 40);
    load->cell_percent = 80;
}

/* F34: the disk is soon full, and what it has no space for comes to lie in what it grows by. */
static void load_overflow(struct work *work)
{
    struct store_load *const load = &work->load;

    load->shards = (uint32_t)run_between(work->run, 18, 28);
    load->window_blocks = load->shards * LOAD_SHARD_BLOCKS;
    load->window_first = 0;
    load->zero_percent = (unsigned)run_between(work->run, 0, 5);
    load->grain_percent = 95;
}

static void load_make(struct work *work)
{
    struct run *const run = work->run;
    struct store_load *const load = &work->load;

    load->run = run;
    load->disk = work->disk;
    load->generations = run_percent(run, 40) ? (uint32_t)run_between(run, 2, 3) : 1;
    load->shards =
        (uint32_t)(work->mode == MODE_FULL ? run_between(run, 12, 20) : run_between(run, 1, 3));
    load->slots_count = (unsigned)run_between(run, 1, LOAD_SLOTS_MAX);
    load->window_blocks = run_between(run, 1, 200);
    load->window_first = rng_below(&run->rng, load->shards * LOAD_SHARD_BLOCKS);
    load->may_fill = work->mode == MODE_FULL;
    /* Few of them leave much to be lost, and places that are free but not durably so. */
    load->flush_percent = run_percent(run, 50) ? 7 : 0;
    load->fua_percent = run_percent(run, 50) ? 10 : 0;
    load->zero_percent = work->mode == MODE_FULL ? 25 : 10;
    load->grain_percent = work->mode == MODE_FULL ? 70 : 10;
    if (work->mode == MODE_FULL)
        load->window_blocks = load->shards * LOAD_SHARD_BLOCKS;
    if (work->mode == MODE_FULL && work->grower.active)
        load_overflow(work);
    else if (work->mode == MODE_FULL && run_percent(run, 50))
        load_scatter(work);
    load->idle = life_on_idle;
    load->no_space = life_on_no_space;
    load->volume = (struct store_volume) {
        .uuid = { { 7 } },
        .name = "v",
        .bytes = (uint64_t)load->shards * LOAD_SHARD_BLOCKS * STORE_BLOCK_BYTES,
        .shard_bytes = LOAD_SHARD_BLOCKS * STORE_BLOCK_BYTES,
        .lba_bytes = 4096,
        .stripe_unit_bytes = 256 << 10,
        .stripe_width = 1,
        .replicas = 1,
        .min_in_sync = 1,
    };
    load->history = history_create(load->shards * LOAD_SHARD_BLOCKS, load->generations);
    if (work->mode == MODE_LIAR)
        history_set_liar(load->history);
    blame_init(&load->blame, run->world, load->history, load->shards * LOAD_SHARD_BLOCKS);
    blame_add_disk(&load->blame, work->disk);
    load_init(load);
}

static void store_act(struct run *run)
{
    struct work *const work = sim_world_alloc(run->world, sizeof *work);

    work->run = run;
    work->mode = modes[rng_below(&run->rng, ARRAY_COUNT(modes))];
    work->lives_left = (unsigned)run_between(run, work->mode == MODE_ROT, LIVES_MAX - 1);
    /* A table block has the checksums of 31 grains; the disk has four to twenty of them. */
    const bool is_short = work->mode == MODE_FULL ? work->lives_left == 1 : run_percent(run, 40);
    work->checksum_bytes = is_short ? run_between(run, 2, 6) * 4096 : 0;
    work->machine = sim_machine_create(run->world, "m");
    disk_make(work);
    load_make(work);
    work->beside.run = run;
    work->beside.ready = life_on_beside;
    bystander_init(&work->beside);
    work->passer.run = run;
    passer_init(&work->passer);
    sim_trace(run->world, "mode", work->mode, work->lives_left, work->load.generations);
    life_begin(work);
    run_until(run, work_finished, work, 4000 * NS_PER_S, "the store");
    history_destroy(work->load.history);
}

const struct workload work_store = { .name = "store",
                                     .rules = "S1 S2 S3 S4 S5 S6 S7 S8 J1 J2 J3",
                                     .text = "a store through crashes and power losses",
                                     .act = store_act };
