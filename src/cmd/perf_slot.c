/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cmd/perf_run_internal.h"

#define BUSY_TRIES 16 /* Other places to write to, before a slot waits. */

static uint64_t now_ns(const struct perf_run *run)
{
    return reactor_now_ns(run->config.reactor);
}

/* The blocks of an I/O, counted from the first of the verify state. */
static struct perf_extent extent_of(const struct perf_run *run, const struct perf_op *op)
{
    return (struct perf_extent) {
        .index = (op->offset - run->load.first) / PERF_BLOCK_BYTES,
        .count = op->bytes / PERF_BLOCK_BYTES,
    };
}

/* Whether a lost connection, not the controller, ended the I/O; or a disk that does not answer, and
 * it is to be repeated. */
static bool is_loss(struct status st)
{
    return status_is(st, STATUS_LOST) || status_is(st, STATUS_UNAVAILABLE) ||
           status_is(st, STATUS_CANCELED) || status_is(st, STATUS_TIMED_OUT);
}

/* ---- Flush ---- */

static void on_flush(struct initiator_io *io)
{
    struct perf_run *run = CONTAINER_OF(io, struct perf_run, flush_io);
    const bool completed = status_ok(io->status);

    run->flush_busy = false;
    run->in_flight--;
    run->end_ns = now_ns(run);
    if (run->verify != NULL)
        perf_verify_flush_end(run->verify, completed);
    if (completed) {
        hist_add(&run->stats.flushes.latency_ns, run->end_ns - run->flush_start_ns);
    } else if (!is_loss(io->status)) {
        run->stats.errors++;
        perf_run_message(run, "flush: %s (NVMe status %03xh)", status_text(io->status), io->sc);
    }
    perf_run_on_idle(run);
}

/*
 * Whether the connection takes commands.  It may be ending while its session still counts as up:
 * then it fails what is submitted at once, and a slot that tried again would try for ever.
 */
static bool can_submit(const struct perf_run *run, unsigned connection)
{
    return perf_session_is_up(run->session) &&
           initiator_queue_is_ready(perf_session_queue(run->session, connection));
}

/* Flushes if enough was written, on the connection that has just written. */
static void flush_if_due(struct perf_run *run, unsigned connection)
{
    if (run->config.flush_every == 0 || run->flush_busy ||
        run->writes_since_flush < run->config.flush_every || !can_submit(run, connection))
        return;
    if (run->verify != NULL && !perf_verify_flush_begin(run->verify))
        return;
    run->writes_since_flush = 0;
    run->flush_busy = true;
    run->in_flight++;
    run->flush_start_ns = now_ns(run);
    run->flush_io.opcode = INITIATOR_FLUSH;
    run->flush_io.done = on_flush;
    initiator_io_submit(perf_session_queue(run->session, connection), &run->ns, &run->flush_io);
}

/* ---- Reads and writes ---- */

static void park(struct perf_slot *slot)
{
    list_push_back(&slot->run->parked, &slot->link);
}

static void on_read_ok(struct perf_slot *slot)
{
    struct perf_run *run = slot->run;

    run->stats.reads.bytes += slot->op.bytes;
    hist_add(&run->stats.reads.latency_ns, run->end_ns - slot->start_ns);
    if (run->verify == NULL)
        return;
    (void)perf_verify_read_end(run->verify, extent_of(run, &slot->op), slot->floors,
                               (struct const_span) { slot->data.at, slot->op.bytes });
}

static void on_write_ok(struct perf_slot *slot)
{
    struct perf_run *run = slot->run;

    run->stats.writes.bytes += slot->op.bytes;
    run->writes_since_flush++;
    hist_add(&run->stats.writes.latency_ns, run->end_ns - slot->start_ns);
}

static void on_failure(struct perf_slot *slot)
{
    struct perf_run *run = slot->run;
    const struct initiator_io *io = &slot->io;

    /* After a loss a read is made good later.  A write may have happened or not: it is history. */
    if (is_loss(io->status)) {
        run->stats.lost += status_is(io->status, STATUS_LOST);
        slot->again = slot->op.is_read;
        return;
    }
    run->stats.errors++;
    perf_run_message(run, "%s at %" PRIu64 ": %s (NVMe status %03xh)",
                     slot->op.is_read ? "read" : "write", slot->op.offset, status_text(io->status),
                     io->sc);
    if (run->stats.errors == PERF_ERRORS_MAX) {
        perf_run_message(run, "giving up after %u errors", PERF_ERRORS_MAX);
        run->failed = true;
        perf_run_drain(run);
    }
}

static bool slot_start(struct perf_slot *slot);

static void on_io(struct initiator_io *io)
{
    struct perf_slot *slot = CONTAINER_OF(io, struct perf_slot, io);
    struct perf_run *run = slot->run;
    const bool ok = status_ok(io->status);

    run->in_flight--;
    run->end_ns = now_ns(run);
    slot->again = false;
    if (!slot->op.is_read && run->verify != NULL)
        perf_verify_write_end(run->verify, extent_of(run, &slot->op),
                              ok ? PERF_OUTCOME_ACKNOWLEDGED : PERF_OUTCOME_UNKNOWN,
                              run->config.fua);
    if (!ok)
        on_failure(slot);
    else if (slot->op.is_read)
        on_read_ok(slot);
    else
        on_write_ok(slot);

    flush_if_due(run, slot->connection);
    if (!slot_start(slot))
        park(slot);
    if (run->sm.now != PERF_RUN_RUNNING)
        perf_run_on_idle(run);
    else if (!list_empty(&run->parked) && can_submit(run, slot->connection))
        perf_slots_start(run); /* Those that wait for a place to write to have a chance now. */
}

/* Chooses what to write where no other write is in flight. */
static struct status MUST_CHECK choose_verified_write(struct perf_slot *slot)
{
    struct perf_run *run = slot->run;
    struct status st = STATUS(BUSY);

    for (unsigned i = 0; i < BUSY_TRIES && status_is(st, STATUS_BUSY); i++) {
        if (i > 0) {
            /* A read in between, of a mixed load, is as good. */
            slot->op = perf_load_next(&run->load);
            if (slot->op.is_read)
                return STATUS(OK);
        }
        st = perf_verify_write_begin(run->verify, extent_of(run, &slot->op),
                                     span_sub(slot->data, 0, slot->op.bytes));
    }
    return st;
}

/* Decides on the slot's next I/O; BUSY if it has to wait, LIMIT if the run cannot go on. */
static struct status MUST_CHECK choose(struct perf_slot *slot)
{
    struct perf_run *run = slot->run;

    if (!slot->again) {
        slot->op = perf_load_next(&run->load);
        if (!slot->op.is_read && run->verify != NULL)
            TRY(choose_verified_write(slot));
    }
    if (slot->op.is_read && run->verify != NULL)
        perf_verify_read_begin(run->verify, extent_of(run, &slot->op), slot->floors);
    return STATUS(OK);
}

/* Whether anything may be submitted. */
static bool may_submit(struct perf_run *run, const struct perf_slot *slot)
{
    if (!can_submit(run, slot->connection))
        return false;
    /* What a run of so many bytes has begun it finishes. */
    if (slot->again && run->sm.now == PERF_RUN_DRAINING)
        return perf_run_must_finish(run);
    if (run->sm.now != PERF_RUN_RUNNING)
        return false;
    if ((run->bytes_left == 0 && !slot->again) || now_ns(run) >= run->deadline_ns) {
        perf_run_drain(run);
        return false;
    }
    return true;
}

/* Starts the slot's next I/O, unless there is none, or it has to wait. */
static bool slot_start(struct perf_slot *slot)
{
    struct perf_run *run = slot->run;
    const bool counted = slot->again;

    if (!may_submit(run, slot))
        return false;
    const struct status st = choose(slot);
    if (status_is(st, STATUS_LIMIT)) {
        perf_run_message(run, "a block was written 2^32-1 times: its sequence numbers are used up");
        run->failed = true;
        perf_run_drain(run);
    }
    if (!status_ok(st))
        return false;
    if (!counted && run->bytes_left != UINT64_MAX)
        run->bytes_left -= min_u64(run->bytes_left, slot->op.bytes);

    slot->start_ns = now_ns(run);
    slot->io.opcode = slot->op.is_read ? INITIATOR_READ : INITIATOR_WRITE;
    slot->io.offset = slot->op.offset;
    slot->io.data = (struct span) { slot->data.at, slot->op.bytes };
    slot->io.fua = run->config.fua && !slot->op.is_read;
    run->in_flight++;
    initiator_io_submit(perf_session_queue(run->session, slot->connection), &run->ns, &slot->io);
    return true;
}

void perf_slots_start(struct perf_run *run)
{
    struct list trying;
    struct list_node *node;

    list_init(&trying);
    list_splice_back(&trying, &run->parked);
    while ((node = list_pop_front(&trying)) != NULL) {
        struct perf_slot *slot = CONTAINER_OF(node, struct perf_slot, link);
        if (!slot_start(slot))
            park(slot);
    }
}

/* ---- Memory ---- */

static struct status MUST_CHECK allocate(struct perf_run *run)
{
    const struct perf_run_config *c = &run->config;
    const size_t blocks = (size_t)(c->io_bytes / PERF_BLOCK_BYTES);

    run->slot_count = c->connections * c->depth;
    run->slots = calloc(run->slot_count, sizeof *run->slots);
    run->floors = calloc(run->slot_count * (blocks + 1), sizeof *run->floors);
    if (run->slots == NULL || run->floors == NULL)
        return STATUS(NO_MEMORY);

    run->memory.bytes = (size_t)run->slot_count * round_up_u64(c->io_bytes, PERF_BLOCK_BYTES);
    void *at =
        mmap(NULL, run->memory.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return STATUS(NO_MEMORY);
    run->memory.at = at;
    return STATUS(OK);
}

struct status perf_slots_create(struct perf_run *run)
{
    const size_t bytes = (size_t)round_up_u64(run->config.io_bytes, PERF_BLOCK_BYTES);
    const size_t blocks = (size_t)(run->config.io_bytes / PERF_BLOCK_BYTES);
    struct rng rng;

    TRY(allocate(run));
    /* What is written without --verify: random, so that nothing on the way can compress it. */
    rng_init(&rng, run->config.seed);
    if (perf_rw_writes(run->config.rw) && !run->config.verify)
        rng_fill(&rng, run->memory);
    for (unsigned i = 0; i < run->slot_count; i++) {
        struct perf_slot *slot = &run->slots[i];
        slot->run = run;
        slot->connection = i % run->config.connections;
        slot->data = span_sub(run->memory, i * bytes, bytes);
        slot->floors = run->floors + i * (blocks + 1);
        slot->io.done = on_io;
        list_node_init(&slot->link);
        park(slot);
    }
    return STATUS(OK);
}

void perf_slots_destroy(struct perf_run *run)
{
    if (run->memory.at != NULL)
        (void)munmap(run->memory.at, run->memory.bytes);
    free(run->floors);
    free(run->slots);
}
