/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/sweep.h"

#include <assert.h>
#include <stdlib.h>

#define BUFFER_ALIGN 4096

static void sweep_on_io(struct dev_io *io);

static void sweep_end(struct sweep *s, struct status st)
{
    s->ended = true;
    if (status_ok(s->outcome))
        s->outcome = st;
}

static void slot_submit(struct sweep *s, struct sweep_slot *slot)
{
    assert(slot->bytes > 0 && slot->bytes <= s->buffer_bytes);
    slot->reads += slot->write ? 0 : 1;
    if (slot->write)
        dev_write(s->dev, &slot->io, slot->offset,
                  (struct const_span) { slot->buffer, slot->bytes }, false, sweep_on_io);
    else
        dev_read(s->dev, &slot->io, slot->offset, (struct span) { slot->buffer, slot->bytes },
                 sweep_on_io);
}

/* Fills idle slots once per turn, so that other work comes in between. */
static void sweep_run(struct io_task *task)
{
    struct sweep *const s = CONTAINER_OF(task, struct sweep, task);

    for (unsigned i = 0; i < s->depth && !s->ended; i++) {
        if (s->slots[i].busy)
            continue;
        s->paused = false;
        if (!s->ops->next(s, &s->slots[i])) {
            if (!s->paused)
                sweep_end(s, STATUS(OK));
            break;
        }
        s->slots[i].busy = true;
        s->slots[i].reads = 0;
        s->busy++;
        slot_submit(s, &s->slots[i]);
    }
    if (!s->ended || s->busy > 0)
        return;
    if (s->lent == NULL)
        free(s->buffers);
    s->buffers = NULL;
    s->ops->done(s, s->outcome);
}

static void sweep_on_io(struct dev_io *io)
{
    struct sweep_slot *const slot = CONTAINER_OF(io, struct sweep_slot, io);
    struct sweep *const s = slot->sweep;

    assert(slot->busy);
    assert(s->busy > 0);
    if (!status_ok(io->status) && !slot->write && slot->reads < SWEEP_READS_MAX) {
        slot_submit(s, slot);
        return;
    }
    slot->busy = false;
    s->busy--;
    slot->status = io->status;
    const struct status st = s->ops->item != NULL ? s->ops->item(s, slot) : io->status;
    if (!status_ok(st))
        sweep_end(s, st);
    reactor_defer(s->dev->reactor, &s->task);
}

void sweep_start(struct sweep *s)
{
    assert(s->depth > 0 && s->depth <= SWEEP_DEPTH_MAX);
    assert(s->buffer_bytes > 0 && s->buffer_bytes % BUFFER_ALIGN == 0);

    s->busy = 0;
    s->ended = false;
    s->paused = false;
    s->outcome = STATUS(OK);
    io_task_init(&s->task, sweep_run);
    s->buffers =
        s->lent != NULL ? s->lent : aligned_alloc(BUFFER_ALIGN, s->depth * s->buffer_bytes);
    if (s->buffers == NULL)
        sweep_end(s, STATUS(NO_MEMORY));
    for (unsigned i = 0; i < s->depth; i++) {
        s->slots[i] = (struct sweep_slot) { .sweep = s };
        if (s->buffers != NULL)
            s->slots[i].buffer = s->buffers + i * s->buffer_bytes;
    }
    reactor_defer(s->dev->reactor, &s->task);
}

void sweep_resume(struct sweep *s)
{
    assert(s->paused);
    reactor_defer(s->dev->reactor, &s->task);
}
