/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/journal.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "disk/disk_format.h"

/* 1 MiB: several turns' records while two writes are in flight, or one command's COPY data. */
#define STAGING_BLOCKS 256
#define STAGING_URGENT 16 /* Of them for urgent records alone. */
#define WINDOW_BLOCKS  4096
#define WRITES_MAX     2 /* More would pack fewer records into each block. */
#define WRITE_BLOCKS   32
#define FLUSH_SOON     512 /* Unflushed blocks at which the journal flushes by itself. */
/* No records of one command are larger: a write of 512 KiB has five. */
#define APPEND_BLOCKS_MAX 40
/* With data: 512 KiB of it, each cell of it in a group of its own, and the records of first
 * touches. */
#define COMMAND_BLOCKS_MAX 200

static_assert(JOURNAL_UNSETTLED_MAX + JOURNAL_RESERVE + STAGING_BLOCKS < WINDOW_BLOCKS, "window");
static_assert(JOURNAL_UNFLUSHED_MAX + JOURNAL_RESERVE + STAGING_BLOCKS < WINDOW_BLOCKS, "window");
static_assert(COMMAND_BLOCKS_MAX + STAGING_URGENT < STAGING_BLOCKS, "a command can be staged");
static_assert(METABLOCK_PAYLOAD_MAX == METABLOCK_PAYLOAD_BYTES, "payload");

/* What is remembered of a block until it is settled. */
struct journal_slot {
    uint64_t settled_mark; /* That the block carries. */
    uint32_t data_pending; /* Data writes under way of its records. */
    uint32_t payload_bytes;
    uint32_t data_crc;
    uint8_t data_blocks; /* That follow. */
    bool is_data;
    bool complete;
};

struct journal_write {
    struct journal *journal;
    struct dev_io io;
    uint64_t first;
    uint64_t count;
    bool busy;
};

struct journal {
    struct journal_config config;
    uint64_t blocks;
    uint64_t tail;
    uint64_t next;
    size_t fill;        /* Payload bytes in block next. */
    uint64_t submitted; /* The first block that is not. */
    uint64_t written;
    uint64_t stable; /* Up to here written, and with its data. */
    uint64_t flushed;
    uint64_t settled;
    uint64_t durably_settled;
    uint64_t settle_target;

    struct journal_write writes[WRITES_MAX];
    struct dev_io flush;
    bool flush_busy;
    uint64_t flush_written; /* The marks when the flush in flight was submitted. */
    uint64_t flush_stable;
    struct list written_waiters; /* In order of sequence. */
    struct list flush_waiters;   /* No flush submitted for them yet. */
    struct list flushing;        /* Wait for the flush in flight. */

    bool held; /* See journal_hold(). */
    struct status failure;
    struct io_task work;
    bool moved;
    uint8_t *staging;
    struct journal_slot slots[WINDOW_BLOCKS];
};

static void journal_work(struct io_task *task);
static void journal_on_write(struct dev_io *io);
static void journal_on_flush(struct dev_io *io);

static struct journal_slot *slot_of(struct journal *j, uint64_t sequence)
{
    return &j->slots[sequence % WINDOW_BLOCKS];
}

static uint8_t *staging_of(const struct journal *j, uint64_t sequence)
{
    return j->staging + sequence % STAGING_BLOCKS * DISK_BLOCK_BYTES;
}

static void journal_kick(struct journal *j)
{
    reactor_defer(j->config.dev->reactor, &j->work);
}

struct status journal_create(const struct journal_config *config, struct journal **out_journal)
{
    struct journal *const j = calloc(1, sizeof *j);
    void *const staging = aligned_alloc(DISK_BLOCK_BYTES, STAGING_BLOCKS * DISK_BLOCK_BYTES);

    assert(config->start > 0);
    assert(config->ring.bytes / DISK_BLOCK_BYTES > (uint64_t)2 * APPEND_BLOCKS_MAX);
    if (j == NULL || staging == NULL) {
        free(j);
        free(staging);
        return STATUS(NO_MEMORY);
    }
    memset(staging, 0, STAGING_BLOCKS * DISK_BLOCK_BYTES);
    j->config = *config;
    j->blocks = config->ring.bytes / DISK_BLOCK_BYTES;
    j->staging = staging;
    j->tail = j->next = j->submitted = config->start;
    j->written = j->stable = j->flushed = config->start - 1;
    j->settled = j->durably_settled = config->start - 1;
    slot_of(j, config->start - 1)->settled_mark = config->start - 1;
    list_init(&j->written_waiters);
    list_init(&j->flush_waiters);
    list_init(&j->flushing);
    io_task_init(&j->work, journal_work);
    for (unsigned i = 0; i < WRITES_MAX; i++)
        j->writes[i].journal = j;
    *out_journal = j;
    return STATUS(OK);
}

void journal_destroy(struct journal *j)
{
    if (j == NULL)
        return;
    assert(!j->flush_busy);
    assert(list_empty(&j->written_waiters) && list_empty(&j->flush_waiters));
    for (unsigned i = 0; i < WRITES_MAX; i++)
        assert(!j->writes[i].busy);
    list_remove(&j->work.link);
    free(j->staging);
    free(j);
}

struct journal_marks journal_get_marks(const struct journal *j)
{
    return (struct journal_marks) { .tail = j->tail,
                                    .next = j->next,
                                    .last = j->fill > 0 ? j->next : j->next - 1,
                                    .written = j->written,
                                    .flushed = j->flushed,
                                    .settled = j->settled,
                                    .durably_settled = j->durably_settled };
}

struct status journal_status(const struct journal *j)
{
    return j->failure;
}

uint64_t journal_used_blocks(const struct journal *j)
{
    return j->next - j->tail;
}

uint64_t journal_ring_blocks(const struct journal *j)
{
    return j->blocks;
}

void journal_fail(struct journal *j, struct status why)
{
    assert(!status_ok(why));

    if (status_ok(j->failure))
        j->failure = why;
    journal_kick(j);
}

/* ---- Appending ---- */

static bool journal_has_blocks(const struct journal *j, uint64_t blocks, bool urgent)
{
    const uint64_t reserve = urgent ? 0 : JOURNAL_RESERVE;
    const uint64_t extra = urgent ? JOURNAL_RESERVE : 0;
    const uint64_t staging = urgent ? STAGING_BLOCKS : STAGING_BLOCKS - STAGING_URGENT;
    const uint64_t end = j->next + blocks;

    return status_ok(j->failure) && (urgent || !j->held) && end - j->tail + reserve < j->blocks &&
           end - j->written < staging && end - j->flushed <= JOURNAL_UNFLUSHED_MAX + extra &&
           end - j->settled <= JOURNAL_UNSETTLED_MAX + extra;
}

bool journal_has_room(const struct journal *j, size_t bytes, bool urgent)
{
    /* Records do not span blocks, so two blocks in a row hold at least one payload. */
    const uint64_t blocks = 1 + 2 * ((bytes + METABLOCK_PAYLOAD_MAX - 1) / METABLOCK_PAYLOAD_MAX);

    assert(blocks <= APPEND_BLOCKS_MAX);
    return journal_has_blocks(j, blocks, urgent);
}

bool journal_has_room_for_data(const struct journal *j, size_t bytes, unsigned data_records,
                               unsigned data_blocks)
{
    const uint64_t records = 1 + 2 * ((bytes + METABLOCK_PAYLOAD_MAX - 1) / METABLOCK_PAYLOAD_MAX);
    const uint64_t blocks = records + data_records + data_blocks;

    assert(data_blocks <= data_records * METABLOCK_DATA_BLOCKS_MAX);
    assert(blocks <= COMMAND_BLOCKS_MAX);
    return journal_has_blocks(j, blocks, false);
}

void journal_hold(struct journal *j, bool held)
{
    j->held = held;
}

bool journal_ring_is_short(const struct journal *j)
{
    return j->next - j->tail + JOURNAL_RESERVE + COMMAND_BLOCKS_MAX > j->blocks;
}

/* The block that is being filled takes no more records. */
static void journal_close_block(struct journal *j)
{
    struct journal_slot *const s = slot_of(j, j->next);

    s->payload_bytes = (uint32_t)j->fill;
    s->complete = false;
    j->next++;
    j->fill = 0;
    assert(j->next - j->written <= STAGING_BLOCKS);
    assert(j->next - j->tail < j->blocks);
    *slot_of(j, j->next) = (struct journal_slot) { 0 };
}

struct span journal_append(struct journal *j, size_t bytes, uint64_t *out_sequence)
{
    assert(bytes > 0 && bytes <= METABLOCK_PAYLOAD_MAX);
    assert(status_ok(j->failure));

    if (j->fill + bytes > METABLOCK_PAYLOAD_MAX)
        journal_close_block(j);
    uint8_t *const at = staging_of(j, j->next) + METABLOCK_HEAD_BYTES + j->fill;
    j->fill += bytes;
    *out_sequence = j->next;
    journal_kick(j);
    return (struct span) { at, bytes };
}

struct span journal_append_with_data(struct journal *j, size_t bytes, struct const_span data,
                                     uint64_t *out_sequence, uint64_t *out_last)
{
    const uint64_t blocks = data.bytes / DISK_BLOCK_BYTES;

    assert(blocks > 0 && blocks <= METABLOCK_DATA_BLOCKS_MAX);
    assert(data.bytes % DISK_BLOCK_BYTES == 0);

    const struct span record = journal_append(j, bytes, out_sequence);
    struct journal_slot *const head = slot_of(j, *out_sequence);
    head->data_blocks = (uint8_t)blocks;
    head->data_crc = crc32c(data.at, data.bytes);
    journal_close_block(j);
    for (uint64_t i = 0; i < blocks; i++) {
        memcpy(staging_of(j, j->next), data.at + i * DISK_BLOCK_BYTES, DISK_BLOCK_BYTES);
        slot_of(j, j->next)->is_data = true;
        journal_close_block(j);
    }
    *out_last = *out_sequence + blocks;
    return record;
}

void journal_data_begin(struct journal *j, uint64_t sequence)
{
    assert(sequence > j->stable);
    assert(sequence <= j->next);
    slot_of(j, sequence)->data_pending++;
}

static void journal_advance_stable(struct journal *j)
{
    while (j->stable < j->written && slot_of(j, j->stable + 1)->data_pending == 0)
        j->stable++;
}

void journal_data_end(struct journal *j, uint64_t sequence)
{
    assert(sequence > j->stable);
    assert(slot_of(j, sequence)->data_pending > 0);
    slot_of(j, sequence)->data_pending--;
    journal_advance_stable(j);
    journal_kick(j);
}

uint64_t journal_first_pending(const struct journal *j, uint32_t *out_count)
{
    *out_count = 0;
    if (j->stable == j->written)
        return 0;
    *out_count = j->slots[(j->stable + 1) % WINDOW_BLOCKS].data_pending;
    return j->stable + 1;
}

/* ---- Writing blocks ---- */

static void journal_seal(struct journal *j, uint64_t sequence)
{
    struct journal_slot *const s = slot_of(j, sequence);

    if (s->is_data) { /* Its head carries the mark, and may have been submitted long before. */
        s->settled_mark = slot_of(j, sequence - 1)->settled_mark;
        return;
    }
    s->settled_mark = j->settled;
    metablock_seal((struct span) { staging_of(j, sequence), DISK_BLOCK_BYTES }, METABLOCK_JOURNAL,
                   &(struct metablock) { .tag = j->config.tag,
                                         .owner = j->config.life,
                                         .sequence = sequence,
                                         .flushed = j->flushed,
                                         .settled = j->settled,
                                         .payload_bytes = s->payload_bytes,
                                         .data_blocks = s->data_blocks,
                                         .data_crc = s->data_crc });
}

static void journal_submit(struct journal *j, struct journal_write *w)
{
    const uint64_t position = j->submitted % j->blocks;
    uint64_t count = min_u64(j->next - j->submitted, WRITE_BLOCKS);

    count = min_u64(count, j->blocks - position);
    count = min_u64(count, STAGING_BLOCKS - j->submitted % STAGING_BLOCKS);
    assert(count > 0);
    assert(!w->busy);

    w->busy = true;
    w->first = j->submitted;
    w->count = count;
    for (uint64_t i = 0; i < count; i++)
        journal_seal(j, w->first + i);
    j->submitted += count;
    dev_write(j->config.dev, &w->io, j->config.ring.offset + position * DISK_BLOCK_BYTES,
              (struct const_span) { staging_of(j, w->first), count * DISK_BLOCK_BYTES }, false,
              journal_on_write);
}

/* Whether the mark must be written for its own sake: no block that carries it is on its way. */
static bool journal_wants_mark(const struct journal *j)
{
    return j->settle_target > j->durably_settled && j->settled >= j->settle_target &&
           j->slots[(j->submitted - 1) % WINDOW_BLOCKS].settled_mark < j->settle_target;
}

static void journal_submit_all(struct journal *j)
{
    for (unsigned i = 0; i < WRITES_MAX; i++) {
        struct journal_write *const w = &j->writes[i];
        if (w->busy)
            continue;
        if (j->submitted == j->next && (j->fill > 0 || journal_wants_mark(j)))
            journal_close_block(j);
        else if (j->submitted < j->next && j->fill > 0 && j->next - j->written < STAGING_BLOCKS)
            journal_close_block(j);
        if (j->submitted < j->next)
            journal_submit(j, w);
    }
}

/* A block counts as written with all before it, and only together with its data blocks. */
static void journal_advance_written(struct journal *j)
{
    for (;;) {
        const uint64_t head = j->written + 1;
        if (head >= j->submitted)
            return;
        const uint64_t last = head + slot_of(j, head)->data_blocks;
        if (last >= j->submitted)
            return;
        for (uint64_t s = head; s <= last; s++) {
            if (!slot_of(j, s)->complete)
                return;
        }
        j->written = last;
        j->moved = true;
    }
}

static void journal_on_write(struct dev_io *io)
{
    struct journal_write *const w = CONTAINER_OF(io, struct journal_write, io);
    struct journal *const j = w->journal;

    assert(w->busy);
    w->busy = false;
    if (!status_ok(io->status)) {
        journal_fail(j, io->status);
        return;
    }
    for (uint64_t i = 0; i < w->count; i++)
        slot_of(j, w->first + i)->complete = true;
    journal_advance_written(j);
    journal_advance_stable(j);
    journal_kick(j);
}

/* ---- Flushes ---- */

static bool journal_settle_wants_flush(const struct journal *j)
{
    if (j->settle_target <= j->durably_settled)
        return false;
    if (j->settled < j->settle_target)
        return j->stable >= j->settle_target;
    return j->slots[j->written % WINDOW_BLOCKS].settled_mark >= j->settle_target &&
           j->flushed < j->written;
}

/* Whether there may be room only when the settled mark has moved, and a flush moves it. */
static bool journal_mark_is_short(const struct journal *j)
{
    return j->stable > j->settled &&
           j->next - j->settled > JOURNAL_UNSETTLED_MAX - COMMAND_BLOCKS_MAX;
}

static bool journal_wants_flush(const struct journal *j)
{
    if (journal_mark_is_short(j) || j->written - j->flushed > FLUSH_SOON ||
        journal_settle_wants_flush(j))
        return true;
    LIST_FOR_EACH (n, &j->flush_waiters) {
        if (CONTAINER_OF(n, struct journal_waiter, link)->sequence <= j->written)
            return true;
    }
    return false;
}

static void journal_flush_start(struct journal *j)
{
    assert(!j->flush_busy);
    assert(list_empty(&j->flushing));

    j->flush_busy = true;
    j->flush_written = j->written;
    j->flush_stable = j->stable;
    LIST_FOR_EACH (n, &j->flush_waiters) {
        if (CONTAINER_OF(n, struct journal_waiter, link)->sequence > j->written)
            continue;
        list_remove(n);
        list_push_back(&j->flushing, n);
    }
    if (j->config.dev->info.has_volatile_cache)
        dev_flush(j->config.dev, &j->flush, journal_on_flush);
}

/* Calls everybody on the list; they may queue themselves again, elsewhere. */
static void journal_wake(struct list *waiters, struct status st)
{
    struct list now;
    struct list_node *n;

    list_init(&now);
    list_splice_back(&now, waiters);
    while ((n = list_pop_front(&now)) != NULL) {
        struct journal_waiter *const w = CONTAINER_OF(n, struct journal_waiter, link);
        w->fn(w, st);
    }
}

static void journal_flush_finish(struct journal *j, struct status st)
{
    assert(j->flush_busy);
    j->flush_busy = false;
    if (!status_ok(st)) {
        journal_fail(j, st); /* Never retried: what the cache lost is lost. */
        journal_wake(&j->flushing, st);
        return;
    }
    assert(j->flush_written >= j->flushed);
    j->flushed = j->flush_written;
    j->settled = j->flush_stable;
    const uint64_t mark = slot_of(j, j->flushed)->settled_mark;
    j->durably_settled = max_u64(j->durably_settled, mark);
    j->moved = true;
    journal_wake(&j->flushing, st);
    journal_kick(j);
}

static void journal_on_flush(struct dev_io *io)
{
    struct journal *const j = CONTAINER_OF(io, struct journal, flush);

    journal_flush_finish(j, io->status);
}

/* ---- Waiting ---- */

void journal_wait_written(struct journal *j, struct journal_waiter *waiter)
{
    assert(waiter->sequence <= j->next);
    list_node_init(&waiter->link);
    list_push_back(&j->written_waiters, &waiter->link);
    journal_kick(j);
}

void journal_wait_flushed(struct journal *j, struct journal_waiter *waiter)
{
    assert(waiter->sequence <= j->next);
    list_node_init(&waiter->link);
    list_push_back(&j->flush_waiters, &waiter->link);
    journal_kick(j);
}

void journal_settle(struct journal *j, uint64_t sequence)
{
    assert(sequence <= j->next);
    if (sequence <= j->settle_target)
        return;
    j->settle_target = sequence;
    journal_kick(j);
}

void journal_advance_tail(struct journal *j, uint64_t sequence)
{
    assert(sequence >= j->tail);
    assert(sequence <= j->settled + 1);
    j->tail = sequence;
    j->moved = true;
    journal_kick(j);
}

static bool journal_write_is_busy(const struct journal *j)
{
    for (unsigned i = 0; i < WRITES_MAX; i++) {
        if (j->writes[i].busy)
            return true;
    }
    return false;
}

bool journal_is_busy(const struct journal *j)
{
    const bool wanted = j->fill > 0 || j->submitted < j->next || !list_empty(&j->written_waiters) ||
                        !list_empty(&j->flush_waiters);

    return j->flush_busy || journal_write_is_busy(j) || (wanted && status_ok(j->failure));
}

static void journal_wake_written(struct journal *j)
{
    struct list ready;
    struct list_node *n;

    list_init(&ready);
    while ((n = list_first(&j->written_waiters)) != NULL) {
        /* F9: with all blocks before it. */
        if (CONTAINER_OF(n, struct journal_waiter, link)->sequence > j->written)
            break;
        list_remove(n);
        list_push_back(&ready, n);
    }
    journal_wake(&ready, STATUS(OK));
}

static void journal_work(struct io_task *task)
{
    struct journal *const j = CONTAINER_OF(task, struct journal, work);

    if (!status_ok(j->failure)) {
        journal_wake(&j->written_waiters, j->failure);
        journal_wake(&j->flush_waiters, j->failure);
        j->config.progress(j->config.ctx);
        return;
    }
    journal_wake_written(j);
    journal_submit_all(j);
    if (!j->flush_busy && journal_wants_flush(j)) {
        journal_flush_start(j);
        if (!j->config.dev->info.has_volatile_cache)
            journal_flush_finish(j, STATUS(OK));
    }
    if (j->moved) {
        j->moved = false;
        j->config.progress(j->config.ctx);
    }
}
