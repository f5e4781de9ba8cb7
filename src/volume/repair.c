/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/repair.h"

#include <assert.h>

#include "volume/volume_internal.h"

static void repair_next(struct slice *s);

static void on_task(struct io_task *task)
{
    repair_next(CONTAINER_OF(task, struct slice, repairs.task));
}

void repairs_init(struct repairs *r)
{
    *r = (struct repairs) { 0 };
    list_init(&r->free);
    list_init(&r->queue);
    range_copy_init(&r->copy);
    io_task_init(&r->task, on_task);
    for (unsigned i = 0; i < VOLUME_REPAIRS_MAX; i++) {
        list_node_init(&r->items[i].link);
        list_init(&r->items[i].waiting);
        list_push_back(&r->free, &r->items[i].link);
    }
}

bool repair_is_busy(const struct repairs *r)
{
    return range_copy_is_busy(&r->copy);
}

/* ---- The end ---- */

static void waiting_go_on(struct repair *job)
{
    struct list waiting;
    struct list_node *n;

    list_init(&waiting);
    list_splice_back(&waiting, &job->waiting);
    while ((n = list_pop_front(&waiting)) != NULL) {
        struct piece *const p = CONTAINER_OF(n, struct piece, link);
        p->on_settled(p);
    }
}

static void tell(const struct repair *job, const struct range_copy *c)
{
    struct volume *const v = job->copyset->slice->volume;

    if (c->unreadable > 0) {
        log_error(v->log, "volume '%s': shard %u: no replica can read %u blocks from %llu on",
                  v->desc.name, job->range.shard, c->unreadable,
                  (unsigned long long)c->unreadable_at);
    }
    if (c->copied_bytes == 0)
        return;
    atomic_fetch_add(&v->resync.repaired_bytes, c->copied_bytes);
    log_warning(v->log, "volume '%s': shard %u: %llu bad blocks around %llu were written again",
                v->desc.name, job->range.shard,
                (unsigned long long)(c->copied_bytes / STORE_BLOCK_BYTES),
                (unsigned long long)job->range.offset);
}

static void on_copied(struct range_copy *c, enum range_copy_end end)
{
    struct copyset *const cs = c->copyset;
    struct slice *const s = cs->slice;
    struct repair *const job = s->repairs.current;

    tell(job, c);
    if (end == RANGE_COPY_FAILED && !s->fenced)
        members_report(s->volume, c->leg, c->status);
    s->repairs.current = NULL;
    waiting_go_on(job);
    list_push_back(&s->repairs.free, &job->link);
    if (s->fenced)
        members_slice_quiet(s);
    else
        repair_next(s);
}

/* ---- The copy ---- */

static unsigned sources_of(const struct range_copy *c)
{
    return c->copyset->members;
}

static unsigned targets_of(const struct range_copy *c)
{
    return c->copyset->members & c->copyset->slice->repairs.current->bad;
}

static const struct range_copy_ops repair_ops = {
    .sources = sources_of,
    .targets = targets_of,
    .done = on_copied,
};

static void repair_next(struct slice *s)
{
    struct repairs *const r = &s->repairs;

    if (r->current != NULL || list_empty(&r->queue) || s->fenced)
        return;
    r->current = CONTAINER_OF(list_pop_front(&r->queue), struct repair, link);
    range_copy_start(&r->copy, r->current->copyset, &repair_ops, &r->current->range);
}

void repairs_stop(struct repairs *r)
{
    struct list_node *n;

    while ((n = list_pop_front(&r->queue)) != NULL) {
        struct repair *const job = CONTAINER_OF(n, struct repair, link);
        waiting_go_on(job);
        list_push_back(&r->free, &job->link);
    }
}

/* ---- The beginning ---- */

/* The repair of a piece's blocks that waits for its turn; or NULL. */
static struct repair *find(const struct repairs *r, const struct piece *p)
{
    const struct store_io *const io = &p->legs[0].store;

    LIST_FOR_EACH (n, &r->queue) {
        struct repair *const job = CONTAINER_OF(n, struct repair, link);
        if (job->copyset == p->copyset && job->range.shard == io->shard &&
            job->range.offset == io->offset && job->range.bytes == io->bytes)
            return job;
    }
    return NULL;
}

static struct repair *find_or_add(struct slice *s, const struct piece *p)
{
    const struct store_io *const io = &p->legs[0].store;
    struct repair *job = find(&s->repairs, p);

    if (job != NULL || list_empty(&s->repairs.free))
        return job;
    job = CONTAINER_OF(list_pop_front(&s->repairs.free), struct repair, link);
    job->copyset = p->copyset;
    job->range = (struct range_copy_range) { io->shard, io->offset, io->bytes };
    job->bad = 0;
    list_push_back(&s->repairs.queue, &job->link);
    return job;
}

void repair_note(struct piece *p)
{
    struct slice *const s = p->copyset->slice;
    struct repair *const job = s->fenced ? NULL : find_or_add(s, p);

    if (job == NULL)
        return;
    job->bad |= p->unread;
    reactor_defer(s->reactor, &s->repairs.task); /* The piece has yet to leave the order. */
}

bool repair_wait(struct piece *p)
{
    struct repair *const job = find(&p->copyset->slice->repairs, p);

    if (job == NULL)
        return false;
    list_node_init(&p->link);
    list_push_back(&job->waiting, &p->link);
    return true;
}
