/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"

#define RETRY_NS_MAX (20 * NS_PER_MS)

static void host_connect(struct io_timer *t);
static void host_pump(struct host *h);
static void host_leave(struct host *h);
static void slot_on_done(struct initiator_io *io);

/* ---- Commands ---- */

static uint64_t host_offset(const struct host *h, uint64_t block)
{
    const struct host_config *const c = &h->config;
    return (block / c->group_blocks * c->group_stride + block % c->group_blocks) * c->block_bytes;
}

/* A range inside one group. */
static void slot_choose_range(struct host_slot *s)
{
    const struct host_config *const c = &s->host->config;
    struct run *const run = c->run;

    s->op.block = run_between(run, 0, c->blocks - 1);
    const uint64_t left =
        min_u64(c->group_blocks - s->op.block % c->group_blocks, c->blocks - s->op.block);
    const uint64_t most = min_u64(left, run_percent(run, 70) ? 4 : c->io_blocks_max);
    s->op.count = run_between(run, 1, most);
}

static bool slots_overlap(const struct host_slot *a, const struct host_slot *b)
{
    if (a == b || !b->busy || b->io.opcode == INITIATOR_FLUSH)
        return false;
    return a->op.block < b->op.block + b->op.count && b->op.block < a->op.block + a->op.count;
}

static bool slot_is_alone(const struct host_slot *s)
{
    for (unsigned i = 0; i < s->host->config.slots; i++)
        if (slots_overlap(s, &s->host->slots[i]))
            return false;
    return true;
}

static void slot_fill(struct host_slot *s)
{
    const uint32_t bytes = s->host->config.block_bytes;

    for (uint64_t i = 0; i < s->op.count; i++)
        pattern_fill(s->op.block + i, s->op.content, (struct span) { s->data + i * bytes, bytes });
}

void host_cut(void *ctx)
{
    struct host *const h = ctx;

    sim_net_cut(h->config.machine, 2);
}

static bool status_is_loss(struct status st)
{
    return status_is(st, STATUS_UNAVAILABLE) || status_is(st, STATUS_CANCELED) ||
           status_is(st, STATUS_LOST) || status_is(st, STATUS_TIMED_OUT);
}

/* Whether nothing is known of the command: its way was lost, the node serves no longer, or a disk
 * that was read does not answer. */
static bool slot_is_lost(const struct host_slot *s)
{
    const uint16_t sc = s->io.sc & NVME_SC_VALUE_MASK;

    return status_is_loss(s->io.status) || sc == status_nvme(STATUS(FENCED)) ||
           sc == status_nvme(STATUS(TIMED_OUT));
}

static bool slot_overwrites(const struct host_slot *s)
{
    for (uint64_t b = s->op.block; b < s->op.block + s->op.count; b++)
        if (!history_is_written(s->host->config.history, 0, b))
            return false;
    return true;
}

/* What the disks have done so far is no excuse for what comes. */
static void slot_take_mark(struct host_slot *s)
{
    const struct blame *const blame = s->host->config.blame;

    s->overwrites =
        (s->io.opcode == INITIATOR_WRITE || s->io.opcode == INITIATOR_COPY) && slot_overwrites(s);
    if (blame != NULL)
        s->mark = blame_mark(blame);
}

static void host_on_abort(struct initiator_cmd *cmd)
{
    struct host *const h = CONTAINER_OF(cmd, struct host, abort);

    h->abort_busy = false;
    if (!status_ok(cmd->status) && !status_is_loss(cmd->status))
        run_fail(h->config.run, "Abort: %s (status %#x)", status_text(cmd->status), cmd->sc);
}

/* Aborts what the slot has sent last, or, if it has sent nothing yet, what another one has. */
static void slot_abort(struct host_slot *s, unsigned queue)
{
    struct host *const h = s->host;

    if (h->abort_busy || h->state != HOST_UP)
        return;
    h->abort_busy = true;
    h->abort = (struct initiator_cmd) {
        .sqe = { .opcode = NVME_ADMIN_ABORT, .cdw10 = (queue + 1) | (uint32_t)s->io.cmd.cid << 16 },
        .done = host_on_abort,
    };
    initiator_ctrl_submit(h->ctrl, &h->abort);
}

static void slot_submit(struct host_slot *s)
{
    struct host *const h = s->host;
    struct run *const run = h->config.run;
    struct initiator_io *const io = &s->io;
    const unsigned first = (unsigned)rng_below(&run->rng, h->config.queues);
    struct initiator_queue *q = h->queues[first];

    s->busy = true;
    s->queue = first;
    s->may_tell = h->loss_due[first];
    slot_take_mark(s);
    h->started++;
    io->done = slot_on_done;
    io->offset = io->opcode == INITIATOR_FLUSH ? 0 : host_offset(h, s->op.block);
    io->bytes = s->op.count * h->config.block_bytes;
    io->data = (struct span) { 0 };
    if (io->opcode == INITIATOR_READ || io->opcode == INITIATOR_WRITE ||
        io->opcode == INITIATOR_COMPARE)
        io->data = (struct span) { s->data, io->bytes };
    sim_trace(run->world, "host io", io->opcode, s->op.block,
              s->op.count << 32 | (uint32_t)s->op.content);
    initiator_io_submit(q, initiator_ctrl_ns(h->ctrl), io);
    if (run_percent(run, 5))
        slot_abort(s, first);
    /* The answer that tells of a loss may be lost, too. */
    if (s->may_tell && (io->opcode == INITIATOR_FLUSH || io->fua) && run_percent(run, 60))
        sim_world_after(run->world, run_between(run, 0, 200 * NS_PER_US), host_cut, h);
}

/* READ, VERIFY or COMPARE. */
static void slot_start_look(struct host_slot *s, enum initiator_opcode opcode)
{
    s->io.opcode = opcode;
    history_read_start(s->host->config.history, &s->op);
    slot_submit(s);
}

/* Compares with what the blocks are likely to hold, or with what nobody ever wrote. */
static void slot_start_compare(struct host_slot *s)
{
    struct run *const run = s->host->config.run;
    const uint32_t bytes = s->host->config.block_bytes;

    for (uint64_t i = 0; i < s->op.count; i++)
        pattern_fill(s->op.block + i, history_guess(s->host->config.history, s->op.block + i),
                     (struct span) { s->data + i * bytes, bytes });
    if (run_percent(run, 30))
        s->data[rng_below(&run->rng, s->op.count * bytes)] ^= 0x10;
    slot_start_look(s, INITIATOR_COMPARE);
}

static unsigned fua_percent(const struct host_slot *s)
{
    return s->host->config.lazy ? 2 : 20;
}

static void slot_start_change(struct host_slot *s, enum initiator_opcode opcode)
{
    struct run *const run = s->host->config.run;

    s->io.opcode = opcode;
    s->io.fua = opcode != INITIATOR_DEALLOCATE && run_percent(run, fua_percent(s));
    s->io.deallocate = run_percent(run, 50);
    s->op.content =
        opcode == INITIATOR_WRITE ? history_content(s->host->config.history) : HISTORY_ZERO;
    if (opcode == INITIATOR_WRITE)
        slot_fill(s);
    history_write_start(s->host->config.history, &s->op);
    slot_submit(s);
}

/* From anywhere in a group to where the slot's range is. */
static void slot_start_copy(struct host_slot *s)
{
    const struct host_config *const c = &s->host->config;
    const uint64_t groups = c->blocks / c->group_blocks;
    const uint64_t group = run_percent(c->run, 30) ? s->op.block / c->group_blocks
                                                   : run_between(c->run, 0, groups - 1);

    s->io.opcode = INITIATOR_COPY;
    s->io.fua = run_percent(c->run, fua_percent(s));
    s->op.source = group * c->group_blocks + run_between(c->run, 0, c->group_blocks - s->op.count);
    s->io.source = host_offset(s->host, s->op.source);
    history_copy_start(c->history, &s->op);
    slot_submit(s);
}

static void slot_start_flush(struct host_slot *s)
{
    s->io.opcode = INITIATOR_FLUSH;
    history_flush_start(s->host->config.history, &s->op);
    slot_submit(s);
}

/* Starts something on a free slot; false if what was chosen would overlap. */
static bool slot_start(struct host_slot *s)
{
    struct run *const run = s->host->config.run;
    const uint64_t what = rng_below(&run->rng, 100);

    s->op = (struct history_op) { 0 };
    s->io.fua = false;
    if (what < (s->host->config.lazy ? 2 : 9) && !s->host->config.looks) {
        slot_start_flush(s);
        return true;
    }
    slot_choose_range(s);
    /* Hosts seldom overlap, but they may; the checker knows what is allowed then. */
    if (!slot_is_alone(s) && !run_percent(run, 20))
        return false;
    s->io.fua = what < 46 && !s->host->config.looks && run_percent(run, 10);
    if (what < 38 || s->host->config.looks)
        slot_start_look(s, INITIATOR_READ);
    else if (what < 44)
        slot_start_compare(s);
    else if (what < 46)
        slot_start_look(s, INITIATOR_VERIFY);
    else if (what < 54 && s->host->config.copies)
        slot_start_copy(s);
    else
        slot_start_change(s, what < 90   ? INITIATOR_WRITE
                             : what < 95 ? INITIATOR_WRITE_ZEROES
                                         : INITIATOR_DEALLOCATE);
    return true;
}

/* ---- Answers ---- */

static void slot_check_block(struct host_slot *s, uint64_t i)
{
    const struct host_config *const c = &s->host->config;
    const uint64_t block = s->op.block + i;
    char allowed[512];

    const uint64_t content =
        pattern_read(block, (struct const_span) { s->data + i * c->block_bytes, c->block_bytes });
    if (history_read_block(c->history, &s->op, block, content))
        return;
    history_describe(c->history, &s->op, block, allowed, sizeof allowed);
    run_fail(c->run, "block %" PRIu64 " reads as %" PRId64 "; allowed: %s", block, (int64_t)content,
             allowed);
}

/* Equal is a read of every block; unequal, that one of them may have been something else. */
static void slot_check_compare(struct host_slot *s)
{
    const struct host_config *const c = &s->host->config;
    bool may_differ = false;

    if (status_ok(s->io.status)) {
        for (uint64_t i = 0; i < s->op.count; i++)
            slot_check_block(s, i);
        return;
    }
    for (uint64_t i = 0; i < s->op.count; i++) {
        const uint64_t block = s->op.block + i;
        const struct const_span data = { s->data + i * c->block_bytes, c->block_bytes };
        may_differ |= history_may_differ(c->history, &s->op, block, pattern_read(block, data));
    }
    if (!may_differ)
        run_fail(c->run, "a Compare of blocks %" PRIu64 " to %" PRIu64 " with what they hold fails",
                 s->op.block, s->op.block + s->op.count - 1);
}

static bool only_looks(const struct host_slot *s)
{
    return s->io.opcode == INITIATOR_READ || s->io.opcode == INITIATOR_COMPARE ||
           s->io.opcode == INITIATOR_VERIFY;
}

static bool changes(const struct host_slot *s)
{
    return !only_looks(s) && s->io.opcode != INITIATOR_FLUSH;
}

/* Whether a disk's faults explain it. */
static bool slot_is_excused(const struct host_slot *s, struct status st)
{
    const struct blame *const blame = s->host->config.blame;
    const bool promises = s->io.opcode == INITIATOR_FLUSH || s->io.fua;

    if (blame == NULL)
        return false;
    if (status_is(st, STATUS_MEDIA_READ))
        return only_looks(s) && blame_excuses_read(blame, &s->op, s->mark);
    if (!status_is(st, STATUS_MEDIA_WRITE) || (only_looks(s) && !promises))
        return false;
    if (s->io.opcode == INITIATOR_WRITE && blame_excuses_write(blame, s->op.content))
        return true;
    /* A disk that has failed may have lost what it completed, and says so when it is back (S1). */
    return blame_disk_failed(blame) || (promises && blame->any_failed);
}

/* Whether the host's script expects such a failure. */
static bool slot_may_fail(const struct host_slot *s, struct status st)
{
    const struct host_config *const c = &s->host->config;

    if (slot_is_lost(s) || slot_is_excused(s, st))
        return true;
    if (status_is(st, STATUS_MISCOMPARE)) /* See slot_check_compare(). */
        return s->io.opcode == INITIATOR_COMPARE;
    if (status_is(st, STATUS_NO_SPACE)) /* S6: overwrites and deletes go on. */
        return c->no_space && (s->io.opcode == INITIATOR_WRITE || s->io.opcode == INITIATOR_COPY) &&
               !(s->overwrites && slot_overwrites(s));
    if (status_is(st, STATUS_MEDIA_WRITE)) /* Once on each queue after a loss (S1). */
        return s->may_tell && (s->io.opcode == INITIATOR_FLUSH || s->io.fua);
    return false;
}

static void slot_take_answer(struct host_slot *s)
{
    struct history *const history = s->host->config.history;
    const bool ok = status_ok(s->io.status);
    const bool aborted = (s->io.sc & NVME_SC_VALUE_MASK) == NVME_SC_ABORT_REQUESTED;

    if (aborted && s->host->config.aborts_are_exact && changes(s)) {
        history_write_undone(history, &s->op);
        return;
    }
    if (status_is(s->io.status, STATUS_NO_SPACE) && s->host->config.refused_is_undone) {
        history_write_refused(history, &s->op);
        return;
    }
    /* W3: what was on its way has ended when the host is connected again. */
    s->unanswered = changes(s) && status_is_loss(s->io.status) && s->io.sc == 0;
    if (s->unanswered)
        return;
    switch (s->io.opcode) {
    case INITIATOR_READ:
        for (uint64_t i = 0; ok && i < s->op.count; i++)
            slot_check_block(s, i);
        return;
    case INITIATOR_COMPARE:
        if (ok || status_is(s->io.status, STATUS_MISCOMPARE))
            slot_check_compare(s);
        return;
    case INITIATOR_VERIFY:
        return;
    case INITIATOR_WRITE:
    case INITIATOR_WRITE_ZEROES:
    case INITIATOR_COPY:
        history_write_done(history, &s->op, ok, s->io.fua);
        return;
    case INITIATOR_DEALLOCATE: /* Advice: it may have been followed, or not. */
        history_write_done(history, &s->op, false, false);
        return;
    case INITIATOR_FLUSH:
        s->host->flushed |= ok;
        history_flush_done(history, &s->op, ok);
        return;
    }
}

static bool host_is_idle(const struct host *h)
{
    for (unsigned i = 0; i < h->config.slots; i++)
        if (h->slots[i].busy)
            return false;
    return true;
}

/* Goes on, at its pace. */
static void host_continue(struct host *h)
{
    const uint64_t pause_ns =
        h->config.pace_ns == 0 ? 0 : run_between(h->config.run, 0, h->config.pace_ns);

    if (pause_ns == 0 || h->state != HOST_UP || h->config.ops == 0)
        host_pump(h);
    else if (!io_timer_armed(&h->retry))
        io_timer_arm(&h->retry, h->reactor, reactor_now_ns(h->reactor) + pause_ns);
}

static void slot_on_done(struct initiator_io *io)
{
    struct host_slot *const s = CONTAINER_OF(io, struct host_slot, io);
    struct host *const h = s->host;
    struct run *const run = h->config.run;

    s->busy = false;
    h->answered++;
    sim_trace(run->world, "host done", io->opcode, s->op.block, io->status.code);
    if (!status_ok(io->status) && !slot_may_fail(s, io->status))
        run_fail(run, "command %d at block %" PRIu64 ": %s (status %#x)", (int)io->opcode,
                 s->op.block, status_text(io->status), io->sc);
    if (status_is(io->status, STATUS_MEDIA_WRITE) && (io->opcode == INITIATOR_FLUSH || io->fua)) {
        h->loss_told = true;
        h->loss_due[s->queue] = false; /* What was sent before that answer came may fail too. */
    }
    slot_take_answer(s);
    const bool lost = slot_is_lost(s);
    if (h->verifying && lost)
        h->verify_next = min_u64(h->verify_next, s->op.block); /* Again. */
    if (h->state == HOST_UP && host_is_idle(h) && run_percent(run, 1)) {
        h->orderly = true;
        host_leave(h);
    } else if (!lost)
        host_continue(h);
    else if (h->state == HOST_UP) /* The queue's end follows; or the target asks for patience. */
        io_timer_arm(&h->retry, h->reactor, reactor_now_ns(h->reactor) + RETRY_NS_MAX);
}

/* ---- Going on ---- */

static void slot_start_verify(struct host_slot *s)
{
    struct host *const h = s->host;
    const uint64_t group_left = h->config.group_blocks - h->verify_next % h->config.group_blocks;

    s->op = (struct history_op) { .block = h->verify_next };
    s->op.count =
        min_u64(min_u64(h->config.io_blocks_max, group_left), h->config.blocks - h->verify_next);
    h->verify_next += s->op.count;
    s->io.fua = false;
    slot_start_look(s, INITIATOR_READ);
}

/* Gives the free slots something to do. */
static void host_pump(struct host *h)
{
    if (h->state != HOST_UP)
        return;
    for (unsigned i = 0; i < h->config.slots; i++) {
        struct host_slot *const s = &h->slots[i];
        if (s->busy || s->unanswered)
            continue;
        if (h->config.ops > 0) {
            if (slot_start(s))
                h->config.ops--;
        } else if (h->verifying && h->verify_next < h->config.blocks) {
            slot_start_verify(s);
        }
    }
    if (h->config.ops == 0 && (!h->verifying || h->verify_next >= h->config.blocks))
        h->resting = host_is_idle(h);
}

void host_go_on(struct host *h, uint64_t ops, bool verify)
{
    h->config.ops = ops;
    h->verifying = verify;
    h->verify_next = 0;
    h->resting = false;
    if (h->state == HOST_UP)
        io_timer_arm(&h->retry, h->reactor, 0);
}

bool host_is_resting(void *host)
{
    return ((struct host *)host)->resting;
}

/* ---- The association ---- */

static void host_retry(struct host *h)
{
    h->state = HOST_DOWN;
    h->orderly = false;
    io_timer_arm(&h->retry, h->reactor,
                 reactor_now_ns(h->reactor) + run_between(h->config.run, 0, RETRY_NS_MAX));
}

static void host_on_ctrl_ended(struct initiator_ctrl *c, struct status why)
{
    struct host *const h = initiator_ctrl_ctx(c);

    sim_trace(h->config.run->world, "ctrl ended", why.code, 0, 0);
    initiator_ctrl_destroy(c);
    h->ctrl = NULL;
    host_leave(h);
}

static void host_on_queue_ended(struct initiator_queue *q, struct status why)
{
    struct host *const h = initiator_queue_ctx(q);

    sim_trace(h->config.run->world, "queue ended", why.code, 0, 0);
    for (unsigned i = 0; i < HOST_QUEUES_MAX; i++)
        if (h->queues[i] == q)
            h->queues[i] = NULL;
    initiator_queue_destroy(q);
    host_leave(h);
}

/* Takes the association down, step by step: queues, controller, and then the next attempt. */
static void host_leave(struct host *h)
{
    bool any = false;

    h->state = HOST_LEAVING;
    for (unsigned i = 0; i < HOST_QUEUES_MAX; i++) {
        any |= h->queues[i] != NULL;
        if (h->queues[i] != NULL)
            initiator_queue_stop(h->queues[i]);
    }
    if (any)
        return;
    if (h->ctrl == NULL)
        host_retry(h);
    else if (!h->ctrl_stopping) {
        h->ctrl_stopping = true;
        if (h->orderly)
            initiator_ctrl_stop(h->ctrl);
        else
            initiator_ctrl_drop(h->ctrl);
    }
}

/* Not when the node died: answers that it had sent before still came in. */
static void host_begin_life(struct host *h)
{
    if (h->power_lost) {
        h->loss_told = false;
        h->loss_since_start = true;
        h->flushed = false;
    }
    h->power_lost = false;
    /* The target may not know that an answer has arrived: telling it again does no harm. */
    for (unsigned i = 0; i < HOST_QUEUES_MAX; i++)
        h->loss_due[i] = h->loss_since_start;
    for (unsigned i = 0; i < h->config.slots; i++)
        if (h->slots[i].unanswered) {
            history_write_done(h->config.history, &h->slots[i].op, false, false);
            h->slots[i].unanswered = false;
        }
}

static void host_on_queue_ready(struct initiator_queue *q)
{
    struct host *const h = initiator_queue_ctx(q);

    if (h->state != HOST_CONNECTING || --h->queues_alive > 0)
        return;
    h->state = HOST_UP;
    h->connects++;
    host_begin_life(h);
    host_pump(h);
}

static const struct initiator_queue_ops queue_ops = { .ready = host_on_queue_ready,
                                                      .ended = host_on_queue_ended };

static void host_on_ctrl_ready(struct initiator_ctrl *c)
{
    struct host *const h = initiator_ctrl_ctx(c);
    const struct initiator_ctrl_info *const info = initiator_ctrl_info(c);

    if (info->io_queues < h->config.queues)
        run_fail(h->config.run, "%u I/O queues granted, %u wanted", info->io_queues,
                 h->config.queues);
    h->queues_alive = h->config.queues;
    for (unsigned i = 0; i < h->config.queues; i++) {
        struct initiator_queue_config config = initiator_ctrl_queue_config(c);
        config.ops = &queue_ops;
        config.ctx = h;
        config.reactor = h->reactor;
        config.qid = (uint16_t)(i + 1);
        config.entries = (uint16_t)min_u64(info->queue_entries_max, 8);
        const struct status st = initiator_queue_create(&config, &h->queues[i]);
        assert(status_ok(st));
    }
    for (unsigned i = 0; i < h->config.queues; i++)
        initiator_queue_start(h->queues[i]);
}

static const struct initiator_ctrl_ops ctrl_ops = { .ready = host_on_ctrl_ready,
                                                    .ended = host_on_ctrl_ended };

static void host_connect(struct io_timer *t)
{
    struct host *const h = CONTAINER_OF(t, struct host, retry);
    struct run *const run = h->config.run;

    if (h->state == HOST_UP) { /* host_go_on() */
        host_pump(h);
        return;
    }
    if (h->state != HOST_DOWN)
        return;
    struct initiator_ctrl_config config = {
        .ops = &ctrl_ops,
        .ctx = h,
        .reactor = h->reactor,
        .endpoint = { .addr = h->config.target,
                      .host_id = { { 1, 2, 3, h->config.number } },
                      .header_digest = run_percent(run, 30),
                      .data_digest = run_percent(run, 30),
                      .connect_timeout_ns = 2 * NS_PER_S,
                      .command_timeout_ns = 4 * NS_PER_S },
        .log = h->reactor->log,
        .keep_alive_ms = run_percent(run, 50) ? 2000 : 0,
        .io_queues = (uint16_t)h->config.queues,
    };
    snprintf(config.endpoint.subsystem_nqn.s, sizeof config.endpoint.subsystem_nqn.s, "%s",
             h->config.nqn);
    snprintf(config.endpoint.host_nqn.s, sizeof config.endpoint.host_nqn.s,
             "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000000000%02x",
             h->config.number + 1u);
    h->ctrl_stopping = false;
    h->state = HOST_CONNECTING;
    const struct status st = initiator_ctrl_create(&config, &h->ctrl);
    assert(status_ok(st));
    initiator_ctrl_start(h->ctrl);
}

static void host_main(struct sim_process *p, void *ctx)
{
    struct host *const h = ctx;

    h->reactor = sim_process_reactor(p, 0);
    io_timer_init(&h->retry, host_connect);
    host_connect(&h->retry);
}

struct host *host_create(const struct host_config *config)
{
    struct sim_world *const w = config->run->world;
    struct host *const h = sim_world_alloc(w, sizeof *h);
    const size_t bytes = (size_t)config->io_blocks_max * config->block_bytes;
    const struct sim_program program = {
        .name = "host", .reactors = 1, .main = host_main, .ctx = h
    };

    assert(config->slots <= HOST_SLOTS_MAX);
    assert(config->queues <= HOST_QUEUES_MAX);
    h->config = *config;
    for (unsigned i = 0; i < config->slots; i++) {
        uint8_t *const raw = sim_world_alloc(w, bytes + HOST_BLOCK_BYTES);
        h->slots[i].host = h;
        h->slots[i].data = raw + (HOST_BLOCK_BYTES - (uintptr_t)raw % HOST_BLOCK_BYTES);
    }
    h->process = sim_spawn(config->machine, &program);
    return h;
}
