/* SPDX-License-Identifier: Apache-2.0 */
/* An update of the superblock: the older slot, flush, the other, flush (docs/disk-format.md, 2.1).
 */
#include <assert.h>

#include "store/store_internal.h"

/* What each step waits for. */
enum { STEP_FIRST, STEP_FLUSH_FIRST, STEP_SECOND, STEP_FLUSH_SECOND, STEP_END };

static void writer_on_io(struct dev_io *io);

static void writer_step(struct superblock_writer *w)
{
    struct dev *const dev = w->store->dev;

    assert(w->step < STEP_END);
    if (w->step == STEP_FIRST || w->step == STEP_SECOND) {
        dev_write(dev, &w->io, superblock_offset(w->older),
                  (struct const_span) { w->block, SUPERBLOCK_BYTES }, false, writer_on_io);
        return;
    }
    dev_flush(dev, &w->io, writer_on_io);
}

/*
 * That the disk has failed is recorded, if not in the one, in the other slot, which a write that
 * fails as well leaves as it was: but on disks that tear blocks, where none would be left.
 */
static bool writer_tries_other(const struct superblock_writer *w)
{
    return w->says_failed && w->step == STEP_FIRST && w->store->sb.atomic_bytes >= SUPERBLOCK_BYTES;
}

static void writer_on_io(struct dev_io *io)
{
    struct superblock_writer *const w = CONTAINER_OF(io, struct superblock_writer, io);
    const bool tries_other = !status_ok(io->status) && writer_tries_other(w);
    const bool flushed = w->step == STEP_FLUSH_FIRST || w->step == STEP_FLUSH_SECOND;

    assert(w->done != NULL);
    if (tries_other || (status_ok(io->status) && flushed))
        w->older ^= 1;
    w->step = tries_other ? STEP_SECOND : w->step + 1;
    if ((status_ok(io->status) || tries_other) && w->step < STEP_END) {
        writer_step(w);
        return;
    }
    void (*const done)(struct store *, struct status) = w->done;
    w->done = NULL;
    done(w->store, io->status);
}

void superblock_write(struct store *store, const struct superblock *sb,
                      void (*done)(struct store *store, struct status status))
{
    struct superblock_writer *const w = &store->sb_writer;

    assert(w->done == NULL);
    assert(sb->sequence > store->sb.sequence);
    struct superblock next = *sb;
    next.past = store->past;
    superblock_encode(&next, (struct span) { w->block, SUPERBLOCK_BYTES });
    w->store = store;
    w->done = done;
    w->says_failed = sb->failed;
    w->step = STEP_FIRST;
    writer_step(w);
}
