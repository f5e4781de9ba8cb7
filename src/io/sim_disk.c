/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on simulated disks: F5, F12, F13, F15, F16. */
#include "io/sim_disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Blocks that one discard changes at most: what it leaves alone is as good. */
#define DISCARD_BLOCKS_MAX 256

/*
 * An operation at the disk.  It takes effect in one or two events between its submission and its
 * completion.
 */
struct sim_request {
    struct sim_event event;
    struct list_node link;
    struct sim_disk *disk;
    struct sim_reactor *reactor;
    struct io_op *op;
    uint64_t flush_to;      /* FSYNC: the newest record at its submission ... */
    uint64_t flushed_bytes; /* ... and the disk's size. */
    int error;              /* Decided at submission; 0. */
    bool part_done;
    bool effect_done;
    size_t bytes;
    uint8_t data[]; /* WRITE: what to write. */
};

/* ---- Disks ---- */

struct sim_disk_config sim_disk_config_random(struct sim_world *w, uint64_t bytes)
{
    static const uint32_t atomics[] = { 512, 4096, 4096, 4096, 16384 };
    struct sim_disk_config c = { .bytes = bytes, .is_block_device = true };

    c.align_bytes = sim_chance(w, 3) ? 512 : 4096;
    c.atomic_bytes = atomics[rng_below(&w->rng, ARRAY_COUNT(atomics))];
    if (c.atomic_bytes < c.align_bytes)
        c.atomic_bytes = c.align_bytes; /* No disk tears its logical blocks. */
    c.reports_atomic = sim_chance(w, 2);
    c.volatile_cache = !sim_chance(w, 4);
    c.cannot_discard = sim_chance(w, 4);
    return c;
}

struct sim_disk *sim_disk_create(struct sim_machine *m, const char *path,
                                 const struct sim_disk_config *config)
{
    struct sim_reactor *const before = sim_enter(m->world, NULL);
    struct sim_disk *const d = calloc(1, sizeof *d);

    assert(d != NULL);
    assert(config->align_bytes >= 512);
    assert(config->atomic_bytes >= config->align_bytes);
    assert(sim_disk_find(m, path) == NULL);
    d->machine = m;
    d->config = *config;
    d->durable_bytes = config->bytes;
    snprintf(d->path, sizeof d->path, "%s", path);
    sim_image_init(&d->current, config->bytes);
    if (config->volatile_cache)
        sim_image_init(&d->medium, config->bytes);
    list_init(&d->records);
    list_init(&d->requests);
    list_node_init(&d->link);
    list_push_back(&m->disks, &d->link);
    sim_enter(m->world, before);
    return d;
}

struct sim_disk *sim_disk_find(struct sim_machine *m, const char *path)
{
    LIST_FOR_EACH (n, &m->disks) {
        struct sim_disk *const d = CONTAINER_OF(n, struct sim_disk, link);
        if (strcmp(d->path, path) == 0)
            return d;
    }
    return NULL;
}

void sim_disk_destroy_all(struct sim_machine *m)
{
    LIST_FOR_EACH (n, &m->disks) {
        struct sim_disk *const d = CONTAINER_OF(n, struct sim_disk, link);
        assert(list_empty(&d->requests));
        LIST_FOR_EACH (rec, &d->records)
            free(CONTAINER_OF(rec, struct sim_record, link));
        sim_image_fini(&d->current);
        if (d->config.volatile_cache)
            sim_image_fini(&d->medium);
        free(d->bad);
        free(d);
    }
}

void sim_disk_grow(struct sim_disk *d, uint64_t bytes)
{
    struct sim_world *const w = d->machine->world;
    struct sim_reactor *const before = sim_enter(w, NULL);

    assert(bytes >= d->config.bytes);
    sim_trace(w, "grow", d->config.bytes, bytes, 0);
    d->config.bytes = bytes;
    sim_image_resize(&d->current, bytes);
    if (d->config.volatile_cache)
        sim_image_resize(&d->medium, bytes);
    if (!d->config.volatile_cache || d->config.is_block_device)
        d->durable_bytes = bytes;
    sim_enter(w, before);
}

struct sim_disk_faults *sim_disk_faults(struct sim_disk *d)
{
    return &d->faults;
}

const struct sim_disk_config *sim_disk_config(const struct sim_disk *d)
{
    return &d->config;
}

struct sim_disk_stats sim_disk_stats(const struct sim_disk *d)
{
    return d->stats;
}

void sim_disk_watch(struct sim_disk *d,
                    void (*failed)(void *ctx, const struct sim_disk_failure *failure), void *ctx)
{
    d->failed = failed;
    d->failed_ctx = ctx;
}

/* ---- Opening ---- */

static struct sim_disk *disk_create_file(struct sim_machine *m, const char *path, uint64_t bytes)
{
    struct sim_disk_config config = sim_disk_config_random(m->world, bytes);

    config.is_block_device = false;
    return sim_disk_create(m, path, &config);
}

static void disk_info(const struct sim_disk *d, struct io_file_info *out_info)
{
    const struct sim_disk_config *const c = &d->config;

    *out_info = (struct io_file_info) {
        .bytes = c->bytes,
        .align_bytes = c->align_bytes,
        .physical_bytes = c->reports_atomic && c->atomic_bytes >= 4096 ? 4096 : c->align_bytes,
        .atomic_bytes = c->reports_atomic ? c->atomic_bytes : 0,
        .is_block_device = c->is_block_device,
        .has_volatile_cache = c->volatile_cache,
    };
}

struct status sim_disk_open(struct sim_reactor *r, const char *path, unsigned flags,
                            uint64_t create_bytes, int *out_fd, struct io_file_info *out_info)
{
    struct sim_process *const p = r->process;
    struct sim_disk *d = sim_disk_find(p->machine, path);

    if (d == NULL && (flags & IO_OPEN_CREATE) == 0)
        return STATUS(NOT_FOUND);
    if (d != NULL && (flags & IO_OPEN_CREATE) != 0 && (flags & IO_OPEN_EXCLUSIVE) != 0)
        return STATUS(EXISTS);
    if (d == NULL)
        d = disk_create_file(p->machine, path, create_bytes);
    if ((flags & IO_OPEN_LOCK) != 0) {
        if (d->locker != NULL)
            return STATUS(BUSY);
        d->locker = p;
    }
    *out_fd = sim_fd_alloc(p, SIM_FD_FILE, r, d);
    p->fds[*out_fd].flags = flags;
    if (out_info != NULL)
        disk_info(d, out_info);
    return STATUS(OK);
}

void sim_disk_close(struct sim_process *p, struct sim_fd *fd)
{
    struct sim_disk *const d = fd->object;

    if ((fd->flags & IO_OPEN_LOCK) != 0 && d->locker == p)
        d->locker = NULL;
}

/* ---- Effects ---- */

static struct const_span request_data(const struct sim_request *q)
{
    return (struct const_span) { q->data, q->bytes };
}

/* Each block becomes zeros, stays, or becomes anything (F13). */
static void discard_apply(struct sim_disk *d, uint64_t offset, uint64_t bytes)
{
    struct sim_world *const w = d->machine->world;
    uint8_t block[SIM_BLOCK_BYTES];
    const uint64_t end = offset + bytes;
    unsigned changed = 0;

    for (uint64_t at = offset; at < end && changed < DISCARD_BLOCKS_MAX; changed++) {
        const size_t piece = min_u64(end - at, SIM_BLOCK_BYTES - at % SIM_BLOCK_BYTES);
        const uint64_t choice = rng_below(&w->rng, 3);
        if (choice == 0)
            memset(block, 0, sizeof block);
        else
            rng_fill(&w->rng, (struct span) { block, sizeof block });
        if (choice != 2)
            sim_disk_apply(d, at, (struct const_span) { block, piece }, false);
        at += piece;
    }
}

static void write_effect(struct sim_request *q)
{
    struct sim_disk *const d = q->disk;
    const bool lies = d->config.liar || d->lags;
    const bool dsync = (q->op->flags & IO_WRITE_DSYNC) != 0 && !lies;

    sim_disk_apply(d, q->op->offset, request_data(q), dsync);
}

static void flush_effect(struct sim_request *q)
{
    if (q->disk->config.liar || q->disk->lags)
        return;
    sim_disk_commit(q->disk, q->flush_to);
    q->disk->durable_bytes = max_u64(q->disk->durable_bytes, q->flushed_bytes);
}

static void tell_failure(struct sim_request *q)
{
    const struct io_op *const op = q->op;
    const struct sim_disk_failure failure = {
        .kind = op->kind, .offset = op->offset, .bytes = op->bytes, .data = request_data(q)
    };

    if (q->disk->failed != NULL)
        q->disk->failed(q->disk->failed_ctx, &failure);
}

static void read_effect(struct sim_request *q)
{
    const struct io_op *const op = q->op;
    if (!sim_disk_is_bad(q->disk, op->offset, op->bytes)) {
        sim_image_read(&q->disk->current, op->offset, (struct span) { op->data, op->bytes });
        return;
    }
    q->error = EIO;
    tell_failure(q);
}

/* What an operation that fails does all the same. */
static void failed_effect(struct sim_request *q)
{
    struct sim_disk *const d = q->disk;

    d->stats.errors++;
    tell_failure(q);
    const uint32_t unit = d->faults.write_errors_whole
                              ? (uint32_t)max_u64(d->config.atomic_bytes, SIM_BLOCK_BYTES)
                              : d->config.atomic_bytes;
    if (q->op->kind == IO_KIND_WRITE)
        sim_disk_apply_some(d, q->op->offset, request_data(q), unit);
    /* A failed flush persists nothing for certain; the power loss decides about each unit. */
}

static void request_effect(struct sim_request *q)
{
    if (q->error != 0) {
        failed_effect(q);
        return;
    }
    switch (q->op->kind) {
    case IO_KIND_READ:
        read_effect(q);
        return;
    case IO_KIND_WRITE:
        write_effect(q);
        return;
    case IO_KIND_FSYNC:
        flush_effect(q);
        return;
    case IO_KIND_DISCARD:
        discard_apply(q->disk, q->op->offset, q->op->bytes);
        return;
    case IO_KIND_ALLOCATE: /* A disk has all of its space. */
        return;
    case IO_KIND_ACCEPT:
    case IO_KIND_CONNECT:
    case IO_KIND_RECV:
    case IO_KIND_SEND:
        break;
    }
    sim_bug(q->disk->machine->world, "a disk operation of no kind");
}

/* ---- Requests ---- */

static void request_free(struct sim_request *q)
{
    sim_event_cancel(q->disk->machine->world, &q->event);
    list_remove(&q->link);
    free(q);
}

static void request_complete(struct sim_request *q)
{
    struct io_op *const op = q->op;
    const int64_t result = q->error != 0 ? -q->error : (int64_t)op->bytes;

    if (op->kind == IO_KIND_WRITE && memcmp(op->data, q->data, q->bytes) != 0)
        sim_bug(q->disk->machine->world, "data changed while a write of them was in flight");
    request_free(q);
    const bool counts = op->kind == IO_KIND_READ || op->kind == IO_KIND_WRITE;
    sim_op_complete(op, result > 0 && !counts ? 0 : result);
}

/* F16: how long a step takes. */
static uint64_t step_delay_ns(struct sim_disk *d, enum io_kind kind)
{
    struct sim_world *const w = d->machine->world;

    if (sim_chance(w, d->faults.slow_one_in))
        return sim_between(w, 0, d->faults.slow_ns);
    if (kind == IO_KIND_FSYNC)
        return sim_between(w, 10 * NS_PER_US, 500 * NS_PER_US);
    return sim_chance(w, 50) ? sim_between(w, 0, 5 * NS_PER_MS)
                             : sim_between(w, 2 * NS_PER_US, 60 * NS_PER_US);
}

static void request_step(struct sim_event *event)
{
    struct sim_request *const q = CONTAINER_OF(event, struct sim_request, event);
    struct sim_world *const w = q->disk->machine->world;

    if (q->effect_done) {
        request_complete(q);
        return;
    }
    if (q->op->kind == IO_KIND_WRITE && q->error == 0 && !q->part_done && sim_chance(w, 10)) {
        /* F12: some of its blocks first. */
        q->part_done = true;
        const uint32_t unit = (uint32_t)max_u64(q->disk->config.atomic_bytes, SIM_BLOCK_BYTES);
        sim_disk_apply_some(q->disk, q->op->offset, request_data(q), unit);
    } else {
        request_effect(q);
        q->effect_done = true;
    }
    sim_event_at(w, &q->event, w->now_ns + step_delay_ns(q->disk, q->op->kind) / 2);
}

static int request_decide_error(struct sim_disk *d, const struct sim_fd *f, const struct io_op *op)
{
    struct sim_world *const w = d->machine->world;
    const struct sim_disk_faults *const faults = &d->faults;
    const bool writes = op->kind != IO_KIND_READ;

    if (writes && (f->flags & IO_OPEN_WRITE) == 0)
        return EBADF;
    if (op->offset > d->config.bytes || op->bytes > d->config.bytes - op->offset)
        return op->kind == IO_KIND_READ ? EIO : ENOSPC;
    if (faults->gone)
        return EIO;
    if (op->kind == IO_KIND_DISCARD && d->config.cannot_discard)
        return EOPNOTSUPP;
    if ((op->kind == IO_KIND_WRITE || op->kind == IO_KIND_ALLOCATE) && faults->full)
        return ENOSPC;
    if (op->kind == IO_KIND_READ)
        return sim_chance(w, faults->read_error_one_in) ? EIO : 0;
    if (op->kind == IO_KIND_FSYNC)
        return sim_chance(w, faults->flush_error_one_in) ? EIO : 0;
    const bool may_fail = op->offset >= faults->write_errors_from;
    return may_fail && sim_chance(w, faults->write_error_one_in) ? EIO : 0;
}

static void request_check_alignment(struct sim_disk *d, const struct sim_fd *f,
                                    const struct io_op *op)
{
    const uint32_t align = d->config.align_bytes;

    if ((f->flags & IO_OPEN_DIRECT) == 0 || op->kind == IO_KIND_FSYNC)
        return;
    if (op->offset % align != 0 || op->bytes % align != 0 || (uintptr_t)op->data % align != 0)
        sim_bug(d->machine->world, "direct I/O that is not aligned");
}

static void disk_count(struct sim_disk *d, enum io_kind kind)
{
    d->stats.reads += kind == IO_KIND_READ;
    d->stats.writes += kind == IO_KIND_WRITE;
    d->stats.flushes += kind == IO_KIND_FSYNC;
    d->stats.discards += kind == IO_KIND_DISCARD;
}

void sim_disk_submit(struct sim_reactor *r, struct io_op *op)
{
    const struct sim_fd *const f = sim_fd_get(r, op->fd);
    struct sim_world *const w = sim_process_world(r->process);

    if (f->kind != SIM_FD_FILE)
        sim_bug(w, "a disk operation on a descriptor that is no file");
    struct sim_disk *const d = f->object;
    request_check_alignment(d, f, op);
    const size_t bytes = op->kind == IO_KIND_WRITE ? op->bytes : 0;
    struct sim_reactor *const before = sim_enter(w, NULL);
    struct sim_request *const q = calloc(1, sizeof *q + bytes);
    assert(q != NULL);
    sim_enter(w, before);

    q->event.run = request_step;
    q->disk = d;
    q->reactor = r;
    q->op = op;
    q->bytes = bytes;
    q->flush_to = d->sequence;
    q->flushed_bytes = d->config.bytes;
    if (bytes > 0)
        memcpy(q->data, op->data, bytes);
    q->error = request_decide_error(d, f, op);
    /* An error of the arguments leaves the disk alone. */
    q->effect_done = q->error != 0 && q->error != EIO && q->error != ENOSPC;
    if (op->offset > d->config.bytes || op->bytes > d->config.bytes - op->offset)
        q->effect_done = true;
    disk_count(d, op->kind);
    list_node_init(&q->link);
    list_push_back(&d->requests, &q->link);
    sim_trace(w, "submit", op->kind, op->offset, op->bytes);
    sim_event_at(w, &q->event, w->now_ns + step_delay_ns(d, op->kind));
}

/* ---- Deaths ---- */

/* What becomes of a request whose process is gone; unit: how finely it may be cut. */
static void request_settle(struct sim_request *q, uint64_t offset, uint32_t unit)
{
    if (q->bytes > 0 && !q->effect_done)
        sim_disk_apply_some(q->disk, offset, request_data(q), unit);
}

void sim_disk_process_died(struct sim_process *p)
{
    LIST_FOR_EACH (dn, &p->machine->disks) {
        struct sim_disk *const d = CONTAINER_OF(dn, struct sim_disk, link);
        const uint32_t unit = (uint32_t)max_u64(d->config.atomic_bytes, SIM_BLOCK_BYTES);
        LIST_FOR_EACH (n, &d->requests) {
            struct sim_request *const q = CONTAINER_OF(n, struct sim_request, link);
            if (q->reactor->process != p)
                continue;
            request_settle(q, q->op->offset, unit);
            request_free(q);
        }
    }
}

void sim_disk_machine_lost_power(struct sim_machine *m)
{
    LIST_FOR_EACH (dn, &m->disks) {
        struct sim_disk *const d = CONTAINER_OF(dn, struct sim_disk, link);
        LIST_FOR_EACH (n, &d->requests) {
            struct sim_request *const q = CONTAINER_OF(n, struct sim_request, link);
            request_settle(q, q->op->offset, d->config.atomic_bytes);
            request_free(q);
        }
        sim_disk_lose_cache(d);
    }
}
