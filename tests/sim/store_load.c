/* SPDX-License-Identifier: Apache-2.0 */
#include "store_load.h"

#include <assert.h>
#include <inttypes.h>

#include "base/crc32c.h"

#define REFUSED_OPS       20 /* That a failed disk still gets: reads go on. */
#define LOAD_GRAIN_BLOCKS (STORE_GRAIN_BYTES / STORE_BLOCK_BYTES)
#define LOAD_CELL_BLOCKS  4u

static void slot_on_done(struct store_io *io);

/* ---- Choosing ---- */

static uint64_t blocks_all(const struct store_load *load)
{
    return (uint64_t)load->shards * LOAD_SHARD_BLOCKS;
}

static bool slots_overlap(const struct load_slot *a, const struct load_slot *b)
{
    if (a == b || !b->busy || b->op.count == 0)
        return false;
    return a->op.block < b->op.block + b->op.count && b->op.block < a->op.block + a->op.count;
}

static bool slot_is_alone(const struct load_slot *s)
{
    for (unsigned i = 0; i < s->load->slots_count; i++)
        if (slots_overlap(s, &s->load->slots[i]))
            return false;
    return true;
}

/* A range that was written before, or one inside a shard. */
static void slot_choose_range(struct load_slot *s)
{
    struct store_load *const load = s->load;
    struct run *const run = load->run;

    if (load->recent_count > 0 && run_percent(run, 25)) {
        const uint64_t known = min_u64(load->recent_count, LOAD_RECENT);
        s->op = load->recent[rng_below(&run->rng, known)];
        return;
    }
    const bool hot = run_percent(run, 80);
    const uint64_t first = hot ? load->window_first : 0;
    const uint64_t count = hot ? load->window_blocks : blocks_all(load);

    s->op.block = (first + rng_below(&run->rng, count)) % blocks_all(load);
    const uint64_t left = LOAD_SHARD_BLOCKS - s->op.block % LOAD_SHARD_BLOCKS;
    s->op.count = run_between(run, 1, min_u64(left, run_percent(run, 75) ? 4 : LOAD_BLOCKS_MAX));
    if (run_percent(run, load->grain_percent)) { /* So that places come free when zeroed. */
        s->op.block -= s->op.block % LOAD_GRAIN_BLOCKS;
        s->op.count = LOAD_GRAIN_BLOCKS;
    } else if (run_percent(run, load->cell_percent)) {
        const uint64_t left_in_cell = LOAD_CELL_BLOCKS - s->op.block % LOAD_CELL_BLOCKS;
        s->op.count = run_between(run, 1, left_in_cell);
    }
    s->op.generation = (uint32_t)rng_below(&run->rng, load->generations);
}

static void slot_submit(struct load_slot *s, struct store_session *session)
{
    struct store_load *const load = s->load;
    struct store_io *const io = &s->io;
    const bool transfers = io->opcode == STORE_OP_READ || io->opcode == STORE_OP_WRITE;

    s->counts = io->opcode != STORE_OP_READ && io->opcode != STORE_OP_FLUSH && !io->fua;
    s->covered = loss_flush_begins(&load->loss);
    if (s->counts)
        loss_command_begins(&load->loss, sim_world_now_ns(load->run->world));
    s->busy = true;
    s->mark = blame_mark(&load->blame);
    s->refused = load->refusing;
    load->busy++;
    io->done = slot_on_done;
    io->shard = (uint32_t)(s->op.block / LOAD_SHARD_BLOCKS);
    io->generation = s->op.generation;
    io->offset = s->op.block % LOAD_SHARD_BLOCKS * STORE_BLOCK_BYTES;
    io->bytes = s->op.count * STORE_BLOCK_BYTES;
    io->incarnation = load->incarnation;
    io->data = transfers ? (struct span) { s->data, io->bytes } : (struct span) { 0 };
    io->crcs = transfers ? s->crcs : NULL;
    sim_trace(load->run->world, "store io", io->opcode + 10 * s->op.generation, s->op.block,
              s->op.count << 32 | (uint32_t)s->op.content);
    store_submit(session, io);
}

static void slot_fill(struct load_slot *s)
{
    for (uint64_t i = 0; i < s->op.count; i++) {
        const struct span block = { s->data + i * STORE_BLOCK_BYTES, STORE_BLOCK_BYTES };
        pattern_fill(s->op.block + i, s->op.content, block);
        s->crcs[i] = crc32c(block.at, block.bytes);
    }
}

static void slot_start_read(struct load_slot *s)
{
    s->io.opcode = STORE_OP_READ;
    history_read_start(s->load->history, &s->op);
    slot_submit(s, s->load->session);
}

/* A change through a session that was superseded: no history knows of it. */
static void slot_start_stale(struct load_slot *s)
{
    s->stale = true;
    s->io.opcode = STORE_OP_WRITE;
    s->io.create = true;
    s->op.content = history_content(s->load->history);
    slot_fill(s);
    slot_submit(s, s->load->old_session);
}

/* J2: the power fails while a range is written again that is not durably given back. */
static void slot_crash_soon(const struct load_slot *s)
{
    const struct store_load *const load = s->load;
    const struct history_op *const z = &load->zeroed;
    struct run *const run = load->run;
    const bool again = s->op.generation == z->generation && s->op.block < z->block + z->count &&
                       z->block < s->op.block + s->op.count;

    if (load->may_crash && again && run_percent(run, 50))
        sim_process_crash_after(sim_reactor_process(load->reactor), run_between(run, 0, 40), true);
}

static void slot_start_change(struct load_slot *s, enum store_opcode opcode)
{
    struct store_load *const load = s->load;

    s->io.opcode = opcode;
    s->io.fua = run_percent(load->run, load->fua_percent);
    s->io.create = true;
    s->op.content = opcode == STORE_OP_WRITE ? history_content(load->history) : HISTORY_ZERO;
    if (opcode == STORE_OP_WRITE) {
        slot_fill(s);
        slot_crash_soon(s);
    }
    history_write_start(load->history, &s->op);
    slot_submit(s, load->session);
}

static void slot_start_flush(struct load_slot *s)
{
    s->io.opcode = STORE_OP_FLUSH;
    s->op.count = 0;
    history_flush_start(s->load->history, &s->op);
    slot_submit(s, s->load->session);
}

/* Starts something; false if the range that was chosen is busy. */
static bool slot_start(struct load_slot *s)
{
    struct store_load *const load = s->load;
    const uint64_t what = rng_below(&load->run->rng, 100);

    s->op = (struct history_op) { 0 };
    s->io.fua = false;
    s->stale = false;
    if (run_percent(load->run, load->flush_percent)) {
        slot_start_flush(s);
        return true;
    }
    slot_choose_range(s);
    if (!slot_is_alone(s))
        return false;
    if (what < 3 && load->old_session != NULL)
        slot_start_stale(s);
    else if (what < 30)
        slot_start_read(s);
    else
        slot_start_change(s, what < 95 - load->zero_percent ? STORE_OP_WRITE
                             : what < 95                    ? STORE_OP_WRITE_ZEROES
                                                            : STORE_OP_DEALLOCATE);
    return true;
}

static void slot_start_verify(struct load_slot *s)
{
    struct store_load *const load = s->load;
    const uint64_t all = blocks_all(load);
    const uint64_t block = load->verify_next % all;
    const uint64_t left = LOAD_SHARD_BLOCKS - block % LOAD_SHARD_BLOCKS;

    s->stale = false;
    s->io.fua = false;
    s->op = (struct history_op) { .block = block,
                                  .count = min_u64(left, LOAD_BLOCKS_MAX),
                                  .generation = (uint32_t)(load->verify_next / all) };
    load->verify_next += s->op.count;
    slot_start_read(s);
}

/* ---- Checking ---- */

/* S7 adopts what it finds in an open region: behind a liar, that may be a stranger's bytes. */
static bool may_adopt_anything(const struct store_load *load)
{
    return load->lied && sim_disk_config(load->disk)->atomic_bytes >= STORE_BLOCK_BYTES;
}

static void slot_check_block(struct load_slot *s, uint64_t i, bool zeros)
{
    struct store_load *const load = s->load;
    const uint64_t block = s->op.block + i;
    const struct const_span bytes = { s->data + i * STORE_BLOCK_BYTES, STORE_BLOCK_BYTES };
    const uint64_t content = zeros ? HISTORY_ZERO : pattern_read(block, bytes);
    char allowed[512];

    if (!zeros && s->crcs[i] != crc32c(bytes.at, bytes.bytes))
        run_fail(load->run, "block %" PRIu64 " is returned with a wrong checksum", block);
    if (history_read_block(load->history, &s->op, block, content) || may_adopt_anything(load))
        return;
    history_describe(load->history, &s->op, block, allowed, sizeof allowed);
    run_fail(load->run,
             "block %" PRIu64 " of generation %" PRIu32 " reads as %" PRId64 "; allowed: %s", block,
             s->op.generation, (int64_t)content, allowed);
}

static bool slot_overwrites(const struct load_slot *s)
{
    for (uint64_t b = s->op.block; b < s->op.block + s->op.count; b++)
        if (!history_is_written(s->load->history, s->op.generation, b))
            return false;
    return true;
}

/* Whether such a failure is right, given what the script does to the disk. */
static bool slot_may_fail(const struct load_slot *s, struct status st)
{
    const struct store_load *const load = s->load;
    const bool promises = s->io.opcode == STORE_OP_FLUSH || s->io.fua;

    if (status_is(st, STATUS_UNKNOWN_SHARD))
        return s->io.opcode != STORE_OP_WRITE; /* Never created: zeros. */
    if (status_is(st, STATUS_STALE_EPOCH))
        return load->superseding || load->broken || s->stale;
    if (s->io.opcode == STORE_OP_READ)
        return status_is(st, STATUS_MEDIA_READ) &&
               (load->lied || blame_excuses_read(&load->blame, &s->op, s->mark));
    /* S6: overwrites and deletes work on a full disk; zeros above an older generation take room. */
    if (status_is(st, STATUS_NO_SPACE) && s->io.opcode == STORE_OP_WRITE)
        return load->may_fill && !slot_overwrites(s);
    if (status_is(st, STATUS_NO_SPACE))
        return load->may_fill && s->op.generation > 0;
    if (status_is(st, STATUS_STALE_INCARNATION))
        return promises && blame_disk_failed(&load->blame);
    if (status_is(st, STATUS_MEDIA_WRITE) && s->io.opcode == STORE_OP_WRITE)
        return blame_excuses_write(&load->blame, s->op.content);
    return status_is(st, STATUS_MEDIA_WRITE) && blame_disk_failed(&load->blame);
}

static void slot_take_answer(struct load_slot *s)
{
    struct store_load *const load = s->load;
    const bool ok = status_ok(s->io.status);
    const bool unknown = status_is(s->io.status, STATUS_UNKNOWN_SHARD);

    switch (s->io.opcode) {
    case STORE_OP_READ:
        for (uint64_t i = 0; (ok || unknown) && i < s->op.count; i++)
            slot_check_block(s, i, unknown);
        return;
    case STORE_OP_DEALLOCATE: /* Advice, where it would take room. */
        history_write_done(load->history, &s->op, ok && s->op.generation == 0, s->io.fua);
        return;
    case STORE_OP_WRITE:
    case STORE_OP_WRITE_ZEROES:
        history_write_done(load->history, &s->op, ok, s->io.fua);
        if (ok && s->io.opcode == STORE_OP_WRITE_ZEROES)
            load->zeroed = s->op;
        if (ok)
            load->recent[load->recent_count++ % LOAD_RECENT] = s->op;
        return;
    case STORE_OP_FLUSH:
        history_flush_done(load->history, &s->op, ok);
        load->zeroed.count = 0;
        return;
    case STORE_OP_DELETE_VOLUME:
    case STORE_OP_LIST_REGIONS:
    case STORE_OP_CLOSE_REGIONS:
    case STORE_OP_MERGE_REGIONS:
    case STORE_OP_SET:
    case STORE_OP_HASH:
    case STORE_OP_SPOIL:
    case STORE_OP_LIST_POINTS:
    case STORE_OP_KEEP_POINTS:
    case STORE_OP_CHECK_POINTS:
        break;
    }
    assert(false);
}

/* J1, F15: the process dies soon after a write has failed alone, so that its records are replayed.
 */
static void slot_crash_after_failure(const struct load_slot *s, struct status st)
{
    const struct store_load *const load = s->load;
    struct run *const run = load->run;

    if (s->io.opcode == STORE_OP_WRITE && status_is(st, STATUS_MEDIA_WRITE) && load->may_crash &&
        !blame_disk_failed(&load->blame) && run_percent(run, 90))
        sim_process_crash_after(sim_reactor_process(load->reactor),
                                run_percent(run, 50) ? run_between(run, 5, 150)
                                                     : run_between(run, 150, 1500),
                                run_percent(run, 50));
}

/* A disk that failed stays so: what it lost meanwhile, nobody can tell (S1). */
static void slot_check_refusal(struct load_slot *s, struct status st)
{
    struct store_load *const load = s->load;

    if (s->refused && status_ok(st) && s->io.opcode != STORE_OP_READ)
        run_fail(load->run, "command %d succeeds on a disk that has failed (S1)",
                 (int)s->io.opcode);
    if (load->refusing || !(status_is(st, STATUS_STALE_INCARNATION) ||
                            (status_is(st, STATUS_MEDIA_WRITE) && s->io.opcode == STORE_OP_FLUSH)))
        return;
    load->refusing = true;
    load->ops_left = min_u64(load->ops_left, REFUSED_OPS);
}

static void slot_on_done(struct store_io *io)
{
    struct load_slot *const s = CONTAINER_OF(io, struct load_slot, io);
    struct store_load *const load = s->load;
    const struct status st = io->status;

    s->busy = false;
    load->busy--;
    if (s->counts)
        loss_command_ends(&load->loss, sim_world_now_ns(load->run->world),
                          status_ok(st) && io->opcode == STORE_OP_WRITE);
    if (io->opcode == STORE_OP_FLUSH && status_ok(st))
        loss_flush_ends(&load->loss, s->covered);
    sim_trace(load->run->world, "store done", io->opcode + 10 * s->op.generation, s->op.block,
              st.code);
    if (s->stale && status_ok(st))
        run_fail(load->run, "a command of a superseded session succeeds (S4)");
    if (!s->stale) {
        if (!status_ok(st) && !slot_may_fail(s, st))
            run_fail(load->run, "command %d at block %" PRIu64 ": %s", (int)io->opcode, s->op.block,
                     status_text(st));
        slot_check_refusal(s, st);
        slot_crash_after_failure(s, st);
        slot_take_answer(s);
    }
    if (status_is(st, STATUS_NO_SPACE) && load->no_space != NULL)
        load->no_space(load);
    load_pump(load);
}

/* ---- Going on ---- */

static void load_on_pause(struct io_timer *t)
{
    load_pump(CONTAINER_OF(t, struct store_load, pause));
}

void load_rest(struct store_load *load, uint64_t ns)
{
    if (!io_timer_armed(&load->pause))
        io_timer_arm(&load->pause, load->reactor, reactor_now_ns(load->reactor) + ns);
}

/* Now and then nothing happens for a while: regions close, checkpoints are taken. */
static bool load_pauses(struct store_load *load)
{
    struct run *const run = load->run;

    if (io_timer_armed(&load->pause))
        return true;
    if (!run_percent(run, 2))
        return false;
    const uint64_t long_ns = run_percent(run, 30) ? 40 * NS_PER_S : 50 * NS_PER_MS;
    io_timer_arm(&load->pause, load->reactor,
                 reactor_now_ns(load->reactor) + run_between(run, 0, long_ns));
    return true;
}

void load_pump(struct store_load *load)
{
    const uint64_t verify_end = blocks_all(load) * load->generations;

    for (unsigned i = 0; i < load->slots_count && !load->broken; i++) {
        struct load_slot *const s = &load->slots[i];
        if (s->busy)
            continue;
        if (load->ops_left > 0) {
            if (load_pauses(load))
                return;
            if (slot_start(s))
                load->ops_left--;
        } else if (load->verifying && load->verify_next < verify_end &&
                   (load->verify_next > 0 || load->busy == 0)) {
            slot_start_verify(s); /* Beside no command but other reads. */
        }
    }
    const bool done = load->ops_left == 0 && (!load->verifying || load->verify_next >= verify_end);
    if (load->busy == 0 && (done || load->broken))
        load->idle(load);
}

void load_start(struct store_load *load, struct reactor *r, uint64_t ops, bool verify)
{
    load->reactor = r;
    load->ops_left = ops;
    load->verifying = verify;
    load->verify_next = 0;
    load->broken = false;
    load->refusing = false;
    io_timer_init(&load->pause, load_on_pause);
    load_pump(load);
}

bool load_is_busy_on(const struct store_load *load, const struct store_session *session)
{
    for (unsigned i = 0; i < load->slots_count; i++)
        if (load->slots[i].busy && load->slots[i].io.session == session)
            return true;
    return false;
}

void load_died(struct store_load *load)
{
    for (unsigned i = 0; i < load->slots_count; i++)
        load->slots[i].busy = false;
    load->busy = 0;
    load->session = NULL;
    load->old_session = NULL;
}

void load_init(struct store_load *load)
{
    const size_t bytes = (size_t)LOAD_BLOCKS_MAX * STORE_BLOCK_BYTES;

    assert(load->slots_count <= LOAD_SLOTS_MAX);
    for (unsigned i = 0; i < load->slots_count; i++) {
        uint8_t *const raw = sim_world_alloc(load->run->world, bytes + STORE_BLOCK_BYTES);
        load->slots[i].load = load;
        load->slots[i].data = raw + (STORE_BLOCK_BYTES - (uintptr_t)raw % STORE_BLOCK_BYTES);
    }
}
