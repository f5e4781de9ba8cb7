/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wrapper puts itself between the owner and the inner device
 * by keeping the owner's done and dev in the request and giving them back at the end.
 */
#include "disk/dev_fault.h"

#include <assert.h>
#include <stdlib.h>

#include "disk/dev_internal.h"

#define ROT_MASK 0x55u /* Every byte of rot differs from what was written. */

struct dev_fault_dev {
    struct dev base;
    struct dev *inner;
    struct dev_fault faults[DEV_FAULTS_MAX];
    unsigned fault_count;
    uint64_t hits;
    struct list held;
    struct list answers; /* Requests that end without the inner device. */
    struct io_task answer;
};

static struct dev_fault_dev *fault_of(struct dev *dev)
{
    return CONTAINER_OF(dev, struct dev_fault_dev, base);
}

static uint64_t io_bytes(const struct dev_io *io)
{
    const bool without_data = io->kind == DEV_KIND_DISCARD || io->kind == DEV_KIND_ALLOCATE;

    return without_data ? io->bytes : io->data.bytes;
}

static uint64_t fault_end(const struct dev_fault *f)
{
    return f->bytes == 0 ? UINT64_MAX : f->offset + f->bytes;
}

static bool touches(const struct dev_fault *f, const struct dev_io *io)
{
    if (io->kind == DEV_KIND_FLUSH)
        return true;
    return io->offset < fault_end(f) && f->offset < io->offset + io_bytes(io);
}

static void fault_drop(struct dev_fault_dev *d, unsigned index)
{
    d->fault_count--;
    for (unsigned i = index; i < d->fault_count; i++)
        d->faults[i] = d->faults[i + 1];
}

/* The first fault that hits the request, by value; false if it is left alone. */
static bool fault_take(struct dev_fault_dev *d, const struct dev_io *io, struct dev_fault *out)
{
    for (unsigned i = 0; i < d->fault_count; i++) {
        struct dev_fault *const f = &d->faults[i];
        if (f->action == DEV_FAULT_ROT || (f->kinds & (1u << io->kind)) == 0 || !touches(f, io))
            continue;
        if (f->skip > 0) {
            f->skip--;
            continue;
        }
        *out = *f;
        d->hits++;
        if (f->count > 0 && --f->count == 0)
            fault_drop(d, i);
        return true;
    }
    return false;
}

/* ---- Rot ---- */

static bool rot_apply(const struct dev_fault *f, struct dev_io *io)
{
    if (!touches(f, io))
        return false;
    const uint64_t from = max_u64(f->offset, io->offset);
    const uint64_t to = min_u64(fault_end(f), io->offset + io->data.bytes);
    for (uint64_t at = from; at < to; at++)
        io->data.at[at - io->offset] ^= ROT_MASK;
    return true;
}

/* Cuts what a write has renewed out of a rotten range; what lies behind it becomes its own. */
static void rot_renew(struct dev_fault_dev *d, unsigned index, uint64_t from, uint64_t to)
{
    struct dev_fault *const f = &d->faults[index];
    const uint64_t end = fault_end(f);

    if (from > f->offset) {
        /* Without room for one more, the part behind is healed too. */
        if (to < end && d->fault_count < DEV_FAULTS_MAX) {
            struct dev_fault *const behind = &d->faults[d->fault_count++];
            *behind = *f;
            behind->offset = to;
            behind->bytes = end == UINT64_MAX ? 0 : end - to;
        }
        f->bytes = from - f->offset;
        return;
    }
    if (to >= end) {
        fault_drop(d, index);
        return;
    }
    f->bytes = end == UINT64_MAX ? 0 : end - to;
    f->offset = to;
}

static void rot_after(struct dev_fault_dev *d, struct dev_io *io)
{
    for (unsigned i = d->fault_count; i-- > 0;) {
        struct dev_fault *const f = &d->faults[i];
        if (f->action != DEV_FAULT_ROT || !touches(f, io))
            continue;
        if (io->kind == DEV_KIND_READ)
            d->hits += rot_apply(f, io);
        if (io->kind == DEV_KIND_WRITE)
            rot_renew(d, i, io->offset, io->offset + io->data.bytes);
    }
}

/* ---- Requests ---- */

/* Gives the request back to its owner. */
static void fault_end_io(struct dev_io *io, struct status st)
{
    io->dev = io->outer_dev;
    io->done = io->outer_done;
    dev_io_finish(io, st);
}

static void fault_on_inner(struct dev_io *io)
{
    if (status_ok(io->status))
        rot_after(fault_of(io->outer_dev), io);
    fault_end_io(io, io->status);
}

static void fault_forward(struct dev_fault_dev *d, struct dev_io *io)
{
    io->dev = d->inner;
    io->done = fault_on_inner;
    d->inner->ops->start(d->inner, io);
}

static void fault_on_delay(struct io_timer *t)
{
    struct dev_io *const io = CONTAINER_OF(t, struct dev_io, timer);
    fault_forward(fault_of(io->outer_dev), io);
}

static void fault_answer(struct io_task *task)
{
    struct dev_fault_dev *const d = CONTAINER_OF(task, struct dev_fault_dev, answer);
    struct list now;
    struct list_node *n;

    list_init(&now);
    list_splice_back(&now, &d->answers);
    while ((n = list_pop_front(&now)) != NULL) {
        struct dev_io *const io = CONTAINER_OF(n, struct dev_io, link);
        fault_end_io(io, io->status);
    }
}

static void fault_answer_later(struct dev_fault_dev *d, struct dev_io *io, struct status st)
{
    io->status = st;
    list_push_back(&d->answers, &io->link);
    reactor_defer(d->base.reactor, &d->answer);
}

static void fault_act(struct dev_fault_dev *d, struct dev_io *io, const struct dev_fault *f)
{
    switch (f->action) {
    case DEV_FAULT_ERROR:
        fault_answer_later(d, io, f->status);
        break;
    case DEV_FAULT_DELAY:
        io_timer_init(&io->timer, fault_on_delay);
        io_timer_arm(&io->timer, d->base.reactor, reactor_clock_ns(d->base.reactor) + f->delay_ns);
        break;
    case DEV_FAULT_LOSE:
        fault_answer_later(d, io, STATUS(OK));
        break;
    case DEV_FAULT_HOLD:
        list_push_back(&d->held, &io->link);
        break;
    case DEV_FAULT_ROT:
        break; /* Acts on the way back. */
    }
}

static void fault_start(struct dev *dev, struct dev_io *io)
{
    struct dev_fault_dev *const d = fault_of(dev);
    struct dev_fault f;

    io->outer_dev = dev;
    io->outer_done = io->done;
    if (fault_take(d, io, &f))
        fault_act(d, io, &f);
    else
        fault_forward(d, io);
}

static struct status fault_bytes(struct dev *dev, uint64_t *out_bytes)
{
    struct dev *const inner = fault_of(dev)->inner;

    TRY(dev_refresh(inner));
    *out_bytes = inner->info.bytes;
    return STATUS(OK);
}

static void fault_close(struct dev *dev)
{
    struct dev_fault_dev *const d = fault_of(dev);

    assert(list_empty(&d->held));
    assert(list_empty(&d->answers));
    list_remove(&d->answer.link);
    dev_close(d->inner);
    free(d);
}

static const struct dev_ops fault_ops = {
    .start = fault_start,
    .bytes = fault_bytes,
    .close = fault_close,
};

struct status dev_fault_open(struct dev *inner, struct dev **out_dev)
{
    struct dev_fault_dev *const d = calloc(1, sizeof *d);
    if (d == NULL)
        return STATUS(NO_MEMORY);

    d->base.ops = &fault_ops;
    d->base.reactor = inner->reactor;
    d->base.info = inner->info;
    d->base.info.backend = "fault";
    d->inner = inner;
    list_init(&d->held);
    list_init(&d->answers);
    io_task_init(&d->answer, fault_answer);
    *out_dev = &d->base;
    return STATUS(OK);
}

struct status dev_fault_add(struct dev *dev, const struct dev_fault *fault)
{
    struct dev_fault_dev *const d = fault_of(dev);

    assert(dev->ops == &fault_ops);
    if (d->fault_count == DEV_FAULTS_MAX)
        return STATUS(LIMIT);
    d->faults[d->fault_count++] = *fault;
    return STATUS(OK);
}

void dev_fault_clear(struct dev *dev)
{
    struct dev_fault_dev *const d = fault_of(dev);
    struct list held;
    struct list_node *n;

    assert(dev->ops == &fault_ops);
    d->fault_count = 0;
    list_init(&held);
    list_splice_back(&held, &d->held);
    while ((n = list_pop_front(&held)) != NULL)
        fault_forward(d, CONTAINER_OF(n, struct dev_io, link));
}

uint64_t dev_fault_hits(const struct dev *dev)
{
    assert(dev->ops == &fault_ops);
    return CONTAINER_OF(dev, const struct dev_fault_dev, base)->hits;
}
