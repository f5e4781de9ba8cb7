/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/journal_scan.h"

#include <stdlib.h>

#include "base/bitmap.h"
#include "base/crc32c.h"
#include "base/mutation.h"
#include "disk/disk_format.h"
#include "disk/journal.h"

#define CHUNK_BLOCKS  128
#define BUFFER_BLOCKS (CHUNK_BLOCKS + METABLOCK_DATA_BLOCKS_MAX)

/* So often a block is tried that cannot be read: what says that it cannot may not last. */
#define READS_MAX 4

/* So far behind a gap may blocks lie (F11), with those in flight. */
#define TAIL_BLOCKS (JOURNAL_UNFLUSHED_MAX + JOURNAL_RESERVE + 2 * CHUNK_BLOCKS)

struct journal_scan {
    struct journal_scan_config config;
    struct journal_scan_result result;
    uint64_t blocks;
    uint64_t at;   /* The next block to look at. */
    uint64_t stop; /* Where to stop. */
    bool in_gap;
    uint64_t chunk_first; /* What the buffer holds. */
    uint64_t chunk_count;
    uint64_t reading;     /* Of the chunk, the first block that is being read ... */
    uint64_t reading_end; /* ... and the end. */
    bool by_block;        /* They could not be read at once. */
    unsigned tries;       /* Of one block. */
    uint64_t unread[BITMAP_WORDS(BUFFER_BLOCKS)]; /* Blocks of the chunk that cannot be read ... */
    struct status why;                            /* ... because of this, the last of them. */
    uint8_t *buffer;
    struct dev_io io;
    struct io_task task;
    struct status outcome;
};

static void scan_on_read(struct dev_io *io);

struct status journal_block_check(struct const_span blocks, uint64_t tag, uint64_t life,
                                  uint64_t sequence, struct metablock *out_head)
{
    struct metablock head;

    if (blocks.bytes < DISK_BLOCK_BYTES)
        return STATUS(TRUNCATED);
    TRY(metablock_open(const_span_sub(blocks, 0, DISK_BLOCK_BYTES), METABLOCK_JOURNAL, &head));
    if (head.tag != tag || head.owner != life || head.sequence != sequence)
        return STATUS(NOT_FOUND);
    /* Nothing can be known flushed or settled before it was written. */
    if (head.flushed >= sequence || head.settled > head.flushed)
        return STATUS(CORRUPT);
    const size_t data_bytes = (size_t)head.data_blocks * DISK_BLOCK_BYTES;
    if (blocks.bytes - DISK_BLOCK_BYTES < data_bytes)
        return STATUS(TRUNCATED);
    if (head.data_blocks > 0 && crc32c(blocks.at + DISK_BLOCK_BYTES, data_bytes) != head.data_crc)
        return STATUS(CORRUPT);
    *out_head = head;
    return STATUS(OK);
}

struct journal_scan_result journal_scan_get_result(const struct journal_scan *scan)
{
    return scan->result;
}

static uint64_t scan_offset(const struct journal_scan *s, uint64_t sequence)
{
    return s->config.ring.offset + sequence % s->blocks * DISK_BLOCK_BYTES;
}

/* Judges what was found and calls back; the scan is gone afterwards. */
static void scan_finish(struct io_task *task)
{
    struct journal_scan *const s = CONTAINER_OF(task, struct journal_scan, task);
    const bool was_longer = s->config.block != NULL && s->in_gap;

    s->result.bad_offset = scan_offset(s, s->result.end);
    /* J3: a hole in what was promised durable is damage; behind it the log may end anywhere. */
    if (status_ok(s->outcome) && (s->result.end <= s->result.flushed || was_longer ||
                                  (s->in_gap && MUTATION(J3_TAIL_IS_DAMAGE))))
        s->outcome = STATUS(CORRUPT);
    s->config.done(s->config.ctx, s->outcome);
    free(s->buffer);
    free(s);
}

static void scan_end(struct journal_scan *s, struct status st)
{
    s->outcome = st;
    reactor_defer(s->config.dev->reactor, &s->task);
}

static struct bitmap scan_unread(struct journal_scan *s)
{
    return (struct bitmap) { s->unread, BUFFER_BLOCKS };
}

static void scan_submit(struct journal_scan *s)
{
    const uint64_t count = s->by_block ? 1 : s->reading_end - s->reading;

    dev_read(s->config.dev, &s->io, scan_offset(s, s->chunk_first + s->reading),
             (struct span) { s->buffer + s->reading * DISK_BLOCK_BYTES, count * DISK_BLOCK_BYTES },
             scan_on_read);
}

/*
 * Fetches the blocks from s->at on, as far as the ring goes without wrapping, and past the stop
 * if need be: a group is cut only by the end of the ring.
 */
static void scan_read(struct journal_scan *s)
{
    const uint64_t position = s->at % s->blocks;
    const uint64_t count = min_u64(CHUNK_BLOCKS, s->blocks - position);

    assert(count > 0);
    memset(s->unread, 0, sizeof s->unread);
    s->chunk_first = s->at;
    s->chunk_count = count;
    s->reading = 0;
    s->reading_end = count;
    scan_submit(s);
}

/* The second half of a group that goes round the end of the ring. */
static void scan_read_wrapped(struct journal_scan *s)
{
    const uint64_t have = s->blocks - s->at % s->blocks;
    const uint64_t done = s->at - s->chunk_first;
    struct bitmap unread = scan_unread(s);

    memmove(s->buffer, s->buffer + done * DISK_BLOCK_BYTES, have * DISK_BLOCK_BYTES);
    for (uint64_t i = 0; i < BUFFER_BLOCKS; i++) {
        const bool is = i < have && bitmap_get(&unread, done + i);
        (is ? bitmap_set : bitmap_clear)(&unread, i);
    }
    s->chunk_first = s->at;
    s->chunk_count = have + METABLOCK_DATA_BLOCKS_MAX;
    s->reading = have;
    s->reading_end = s->chunk_count;
    scan_submit(s);
}

static struct status MUST_CHECK scan_take(struct journal_scan *s, struct const_span rest,
                                          const struct metablock *head)
{
    s->result.flushed = max_u64(s->result.flushed, head->flushed);
    s->at += 1 + head->data_blocks;
    if (s->in_gap)
        return STATUS(OK);
    /* Behind a gap no mark was ever durable: nobody has relied on it (F14). */
    s->result.settled = max_u64(s->result.settled, head->settled);
    s->result.end = s->at;
    if (s->config.block == NULL)
        return STATUS(OK);
    const struct const_span block = const_span_sub(rest, 0, DISK_BLOCK_BYTES);
    return s->config.block(
        s->config.ctx, head, metablock_payload(block, head),
        const_span_sub(rest, DISK_BLOCK_BYTES, (size_t)head->data_blocks * DISK_BLOCK_BYTES));
}

/* Whether the block, or the group, may be there, and cannot be read. */
static bool scan_is_unread(struct journal_scan *s, struct const_span rest)
{
    const struct bitmap unread = scan_unread(s);
    const uint64_t index = s->at - s->chunk_first;
    struct metablock head;

    if (bitmap_get(&unread, index))
        return true;
    const struct const_span block = const_span_sub(rest, 0, DISK_BLOCK_BYTES);
    return status_ok(metablock_open(block, METABLOCK_JOURNAL, &head)) &&
           head.tag == s->config.tag && head.owner == s->config.life && head.sequence == s->at &&
           bitmap_next_set(&unread, index) <= index + head.data_blocks;
}

/* The log ends here, or has a gap; a failure: that is not known. */
static struct status MUST_CHECK scan_miss(struct journal_scan *s, struct const_span rest)
{
    if (!s->in_gap) {
        s->in_gap = true;
        s->result.end = s->at;
        s->stop = min_u64(s->stop, s->at + TAIL_BLOCKS);
        if (scan_is_unread(s, rest))
            return s->why;
    }
    s->at++;
    return STATUS(OK);
}

/* Goes through what was read; *out_more says that the buffer ends inside a group. */
static struct status MUST_CHECK scan_chunk(struct journal_scan *s, bool *out_more)
{
    const uint64_t end = s->chunk_first + s->chunk_count;

    while (s->at < end && s->at < s->stop) {
        const struct const_span rest = {
            s->buffer + (s->at - s->chunk_first) * DISK_BLOCK_BYTES,
            (end - s->at) * DISK_BLOCK_BYTES,
        };
        struct metablock head;
        const struct status st =
            journal_block_check(rest, s->config.tag, s->config.life, s->at, &head);
        if (status_is(st, STATUS_TRUNCATED)) {
            *out_more = true;
            return STATUS(OK);
        }
        if (status_ok(st))
            TRY(scan_take(s, rest, &head));
        else
            TRY(scan_miss(s, rest));
    }
    return STATUS(OK);
}

/* Goes on with what is in the buffer. */
static void scan_go_on(struct journal_scan *s)
{
    bool more = false;
    const struct status st = scan_chunk(s, &more);

    if (!status_ok(st) || s->at >= s->stop) {
        scan_end(s, st);
        return;
    }
    /* If it ends with the ring, everything up to there is here already. */
    if (more && (s->chunk_first + s->chunk_count) % s->blocks == 0)
        scan_read_wrapped(s);
    else
        scan_read(s);
}

/* F10: one that cannot be read, behind the end of the log, is not there. */
static void scan_on_unread(struct journal_scan *s, struct status why)
{
    struct bitmap unread = scan_unread(s);

    s->why = why;
    bitmap_set(&unread, s->reading);
    memset(s->buffer + s->reading * DISK_BLOCK_BYTES, 0, DISK_BLOCK_BYTES);
}

/* One of the blocks that are read one by one. */
static void scan_on_block(struct journal_scan *s, struct status status)
{
    if (!status_ok(status) && ++s->tries < READS_MAX) {
        scan_submit(s);
        return;
    }
    if (!status_ok(status))
        scan_on_unread(s, status);
    s->tries = 0;
    if (++s->reading < s->reading_end) {
        scan_submit(s);
        return;
    }
    s->by_block = false;
    scan_go_on(s);
}

static void scan_on_read(struct dev_io *io)
{
    struct journal_scan *const s = CONTAINER_OF(io, struct journal_scan, io);

    if (s->by_block) {
        scan_on_block(s, io->status);
    } else if (!status_ok(io->status)) {
        s->by_block = true;
        scan_submit(s);
    } else {
        scan_go_on(s);
    }
}

struct status journal_scan_start(const struct journal_scan_config *config,
                                 const struct journal_scan_result *known,
                                 struct journal_scan **out_scan)
{
    struct journal_scan *const s = calloc(1, sizeof *s);
    uint8_t *const buffer = aligned_alloc(DISK_BLOCK_BYTES, BUFFER_BLOCKS * DISK_BLOCK_BYTES);

    assert(config->done != NULL);
    assert((config->block != NULL) == (known != NULL));
    if (s == NULL || buffer == NULL) {
        free(s);
        free(buffer);
        return STATUS(NO_MEMORY);
    }
    s->config = *config;
    s->buffer = buffer;
    s->blocks = config->ring.bytes / DISK_BLOCK_BYTES;
    s->at = s->result.end = config->start;
    s->stop = known != NULL ? known->end : config->start + s->blocks;
    s->result.flushed = config->flushed;
    s->result.settled = config->start - 1;
    io_task_init(&s->task, scan_finish);
    if (s->at >= s->stop)
        scan_end(s, STATUS(OK));
    else
        scan_read(s);
    *out_scan = s;
    return STATUS(OK);
}
