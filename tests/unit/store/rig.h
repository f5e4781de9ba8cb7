/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store on a device that remembers everything: what was submitted, completed and flushed, in
 * which order, so that a test can make the disk as it is after a crash at any of these events.
 *
 *     rig --> fake reactor (tasks, timers)
 *         --> device: content as the process sees it, and the log of events
 *
 * rig_image() makes a crash image: writes completed before a flush that succeeded are there, all
 * others block by block as a seed decides; after a killed process all completed ones are there.
 *
 * Threading: one thread.   Memory: the heap; rig_fini() frees it.
 */
#ifndef TESTS_UNIT_STORE_RIG_H
#define TESTS_UNIT_STORE_RIG_H

#include <stdlib.h>
#include <string.h>

#include "../io/fake_reactor.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "store/store.h"

#define RIG_DEVICE_BYTES ((uint64_t)16 << 20)
/* Memory for its content: a test whose device becomes larger says how large, before this. */
#ifndef RIG_CONTENT_BYTES
#define RIG_CONTENT_BYTES RIG_DEVICE_BYTES
#endif

enum rig_event_kind { RIG_SUBMIT, RIG_COMPLETE, RIG_FLUSH_SUBMIT, RIG_FLUSH_COMPLETE };

struct rig_event {
    enum rig_event_kind kind;
    uint64_t number; /* Of the write or flush. */
};

struct rig_write {
    uint64_t offset;
    uint64_t bytes;
    uint8_t *data;
    size_t submitted; /* Event index. */
    size_t completed; /* SIZE_MAX: never. */
    bool fua;
};

struct rig_flush {
    size_t submitted;
    size_t completed;
};

struct rig {
    struct fake_reactor reactor;
    struct log log;
    struct dev dev;
    uint64_t bytes; /* That the device tells when it is asked. */
    uint8_t *content;
    bool borrowed;
    uint8_t *initial;
    bool initial_borrowed; /* Set by the test, with initial, before rig_record(). */
    struct list pending;
    struct rng rng;
    struct uuid boot;

    struct rig_event *events;
    size_t event_count, event_room;
    struct rig_write *writes;
    size_t write_count, write_room;
    struct rig_flush *flushes;
    size_t flush_count, flush_room;

    /* Faults: the number-th coming operation of the kind fails; 0: none. */
    unsigned fail_write, fail_flush;
    uint64_t fail_write_from, fail_write_to; /* Only writes that start in here. */
    bool (*fails)(const struct dev_io *io);  /* Asked for each operation; NULL: none. */
    bool fails_no_space;                     /* A file on a full file system. */
    bool fails_whole;                        /* A write that fails leaves nothing. */
    uint32_t shard;                          /* That rig_submit() names. */
    uint64_t checksum_bytes;                 /* Memory for checksums; 0: for all. */
    uint64_t unread_from, unread_to;         /* Reads that touch this fail. */
    uint64_t hold_from;                      /* Writes from here on do not end; 0: all do. */
    uint64_t hold_below;                     /* Nor do those that begin before this ... */
    uint64_t hold_at;                        /* ... and those that begin here; 0: none. */
    bool holds_reads;                        /* Reads do not end. */
    bool holds_allocations;
    uint64_t volume_bytes; /* 0: as rig_session_config() says. */

    struct store *store;
    struct store_opened opened;
    struct store_session_opened session;
    struct status status;
    bool done;
    struct store_grown grown;
    bool grown_done;
};

static inline struct rig *rig_of(const struct reactor *r)
{
    return CONTAINER_OF(CONTAINER_OF((struct reactor *)(uintptr_t)r, struct fake_reactor, base),
                        struct rig, reactor);
}

static inline void rig_random(struct reactor *r, struct span out)
{
    rng_fill(&rig_of(r)->rng, out);
}

static inline struct uuid rig_boot_id(const struct reactor *r)
{
    return rig_of(r)->boot;
}

static inline uint64_t rig_wall_ns(const struct reactor *r)
{
    (void)r;
    return 1;
}

static const struct reactor_ops rig_reactor_ops = {
    .is_current = fake_is_current,
    .defer = fake_defer,
    .timer_arm = fake_timer_arm,
    .timer_disarm = fake_timer_disarm,
    .random = rig_random,
    .boot_id = rig_boot_id,
    .wall_ns = rig_wall_ns,
};

/* Appends a zeroed element to a growing array and returns it. */
static inline void *rig_push(void **array, size_t *count, size_t *room, size_t bytes)
{
    if (*count == *room) {
        *room = *room == 0 ? 256 : *room * 2;
        *array = realloc(*array, *room * bytes);
        assert(*array != NULL);
    }
    void *const at = (uint8_t *)*array + (*count)++ * bytes;
    memset(at, 0, bytes);
    return at;
}

static inline size_t rig_event(struct rig *rig, enum rig_event_kind kind, uint64_t number)
{
    struct rig_event *const e =
        rig_push((void **)&rig->events, &rig->event_count, &rig->event_room, sizeof *e);
    *e = (struct rig_event) { kind, number };
    return rig->event_count - 1;
}

static inline void rig_start(struct dev *dev, struct dev_io *io)
{
    struct rig *const rig = CONTAINER_OF(dev, struct rig, dev);

    if (io->kind == DEV_KIND_WRITE) {
        struct rig_write *const w =
            rig_push((void **)&rig->writes, &rig->write_count, &rig->write_room, sizeof *w);
        *w = (struct rig_write) { io->offset, io->data.bytes, malloc(io->data.bytes),
                                  0,          SIZE_MAX,       io->fua };
        memcpy(w->data, io->data.at, io->data.bytes);
        io->bytes = rig->write_count - 1;
        w->submitted = rig_event(rig, RIG_SUBMIT, io->bytes);
    }
    if (io->kind == DEV_KIND_FLUSH) {
        struct rig_flush *const f =
            rig_push((void **)&rig->flushes, &rig->flush_count, &rig->flush_room, sizeof *f);
        f->completed = SIZE_MAX;
        io->bytes = rig->flush_count - 1;
        f->submitted = rig_event(rig, RIG_FLUSH_SUBMIT, io->bytes);
    }
    list_push_back(&rig->pending, &io->link);
}

static inline struct status rig_bytes(struct dev *dev, uint64_t *out_bytes)
{
    *out_bytes = CONTAINER_OF(dev, struct rig, dev)->bytes;
    return STATUS(OK);
}

static inline void rig_close(struct dev *dev)
{
    (void)dev;
}

static const struct dev_ops rig_dev_ops = {
    .start = rig_start,
    .bytes = rig_bytes,
    .close = rig_close,
};

static inline bool rig_fails(unsigned *counter)
{
    return *counter > 0 && --*counter == 0;
}

/* A write that fails leaves any subset of its blocks written, which a flush covers, or nothing. */
static inline struct status rig_fail(struct rig *rig, const struct dev_io *io)
{
    const uint64_t unit = 4096;

    if (io->kind != DEV_KIND_WRITE)
        return STATUS(MEDIA_READ);
    struct rig_write *const w = &rig->writes[io->bytes];
    for (uint64_t at = 0; at < w->bytes; at += unit) {
        uint8_t *const block = rig->content + w->offset + at;
        const uint64_t bytes = min_u64(unit, w->bytes - at);
        if (!rig->fails_whole && rng_one_in(&rig->rng, 2))
            memcpy(block, w->data + at, bytes);
        else
            memcpy(w->data + at, block, bytes);
    }
    w->completed = rig_event(rig, RIG_COMPLETE, io->bytes);
    return rig->fails_no_space && io->kind == DEV_KIND_WRITE ? STATUS(NO_SPACE)
                                                             : STATUS(MEDIA_WRITE);
}

static inline struct status rig_transfer(struct rig *rig, struct dev_io *io)
{
    if (rig->fails != NULL && rig->fails(io))
        return rig_fail(rig, io);
    switch (io->kind) {
    case DEV_KIND_READ:
        if (io->offset < rig->unread_to && io->offset + io->data.bytes > rig->unread_from)
            return STATUS(MEDIA_READ);
        memcpy(io->data.at, rig->content + io->offset, io->data.bytes);
        break;
    case DEV_KIND_WRITE:
        if (io->offset >= rig->fail_write_from && io->offset < rig->fail_write_to &&
            rig_fails(&rig->fail_write))
            return STATUS(IO);
        memcpy(rig->content + io->offset, io->data.at, io->data.bytes);
        rig->writes[io->bytes].completed = rig_event(rig, RIG_COMPLETE, io->bytes);
        break;
    case DEV_KIND_FLUSH:
        if (rig_fails(&rig->fail_flush))
            return STATUS(IO);
        rig->flushes[io->bytes].completed = rig_event(rig, RIG_FLUSH_COMPLETE, io->bytes);
        break;
    case DEV_KIND_DISCARD:
    case DEV_KIND_ALLOCATE:
        break;
    }
    return STATUS(OK);
}

static inline bool rig_holds(const struct rig *rig, const struct list_node *n)
{
    const struct dev_io *const io = CONTAINER_OF(n, struct dev_io, link);

    if (io->kind == DEV_KIND_READ)
        return rig->holds_reads;
    if (io->kind == DEV_KIND_ALLOCATE)
        return rig->holds_allocations;
    if (io->kind != DEV_KIND_WRITE)
        return false;
    return (rig->hold_from > 0 && io->offset >= rig->hold_from) || io->offset < rig->hold_below ||
           (rig->hold_at > 0 && io->offset == rig->hold_at);
}

/* Runs tasks, then completes one pending request, picked at random.  False if all is quiet. */
static inline bool rig_turn(struct rig *rig)
{
    bool ran = false;
    size_t count = 0;

    while (!list_empty(&rig->reactor.tasks)) {
        fake_reactor_run_tasks(&rig->reactor);
        ran = true;
    }
    LIST_FOR_EACH (n, &rig->pending)
        count += rig_holds(rig, n) ? 0 : 1;
    if (count == 0)
        return ran;
    uint64_t pick = rng_below(&rig->rng, count);
    LIST_FOR_EACH (n, &rig->pending) {
        if (rig_holds(rig, n) || pick-- > 0)
            continue;
        struct dev_io *const io = CONTAINER_OF(n, struct dev_io, link);
        list_remove(n);
        io->status = rig_transfer(rig, io);
        io->done(io);
        break;
    }
    return true;
}

static inline void rig_run(struct rig *rig)
{
    while (rig_turn(rig)) {
    }
}

/* Runs until rig->done; everything must end by itself, but for timers, which fire on the way. */
static inline void rig_wait(struct rig *rig)
{
    for (unsigned idle = 0; !rig->done && idle < 100;) {
        if (rig_turn(rig))
            continue;
        idle++;
        fake_reactor_run_timers(&rig->reactor, rig->reactor.base.now_ns + 10 * NS_PER_MS);
    }
    assert(rig->done);
}

/* Lets time pass, with everything that happens in it. */
static inline void rig_pass(struct rig *rig, uint64_t ns)
{
    rig_run(rig);
    fake_reactor_run_timers(&rig->reactor, rig->reactor.base.now_ns + ns);
    rig_run(rig);
}

static inline void rig_on_log(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    (void)level;
    (void)line;
}

/* A rig over a device with this content, which it changes, or with zeros. */
static inline void rig_init(struct rig *rig, uint8_t *content, uint64_t seed)
{
    memset(rig, 0, sizeof *rig);
    fake_reactor_init(&rig->reactor);
    rig->reactor.base.ops = &rig_reactor_ops;
    rig->log = (struct log) { .level = LOG_LEVEL_INFO, .sink = rig_on_log };
    rig->reactor.base.log = &rig->log;
    list_init(&rig->pending);
    rng_init(&rig->rng, seed);
    rig->boot.b[0] = 1;
    rig->fail_write_to = UINT64_MAX;
    rig->borrowed = content != NULL;
    rig->content = content != NULL ? content : calloc(1, RIG_CONTENT_BYTES);
    rig->bytes = RIG_DEVICE_BYTES;
    rig->dev = (struct dev) {
        .ops = &rig_dev_ops,
        .reactor = &rig->reactor.base,
        .info = { .bytes = RIG_DEVICE_BYTES,
                  .align_bytes = 512,
                  .physical_bytes = 4096,
                  .atomic_bytes = 4096,
                  .has_volatile_cache = true },
    };
}

/* The device has this size when it is opened the next time. */
static inline void rig_set_bytes(struct rig *rig, uint64_t bytes)
{
    assert(bytes <= RIG_CONTENT_BYTES);
    rig->bytes = rig->dev.info.bytes = bytes;
}

/* From here on the log counts; the content so far is what a crash starts from. */
static inline void rig_record(struct rig *rig)
{
    for (size_t i = 0; i < rig->write_count; i++)
        free(rig->writes[i].data);
    rig->event_count = rig->write_count = rig->flush_count = 0;
    if (!rig->initial_borrowed) {
        free(rig->initial);
        rig->initial = calloc(1, RIG_CONTENT_BYTES);
    }
    memcpy(rig->initial, rig->content, rig->bytes);
}

static inline void rig_fini(struct rig *rig)
{
    for (size_t i = 0; i < rig->write_count; i++)
        free(rig->writes[i].data);
    free(rig->writes);
    free(rig->events);
    free(rig->flushes);
    if (!rig->borrowed)
        free(rig->content);
    if (!rig->initial_borrowed)
        free(rig->initial);
}

/* Whether a write was durable when the events before index had happened. */
static inline bool rig_is_durable(const struct rig *rig, const struct rig_write *w, size_t index)
{
    if (w->completed >= index)
        return false;
    if (w->fua)
        return true;
    for (size_t i = 0; i < rig->flush_count; i++) {
        const struct rig_flush *const f = &rig->flushes[i];
        if (f->submitted > w->completed && f->completed < index)
            return true;
    }
    return false;
}

/*
 * The disk after a crash before event index, into image.  power: completed but unflushed writes may
 * be gone. mode 0: everything that may be lost is; 1: nothing is; others: each block as the seed
 * decides.
 */
static inline void rig_image(const struct rig *rig, size_t index, bool power, uint64_t mode,
                             uint8_t *image)
{
    struct rng rng;

    memcpy(image, rig->initial, rig->bytes);
    rng_init(&rng, mode);
    for (size_t i = 0; i < rig->write_count; i++) {
        const struct rig_write *const w = &rig->writes[i];
        if (w->submitted >= index)
            continue;
        const bool safe = power ? rig_is_durable(rig, w, index) : w->completed < index;
        const uint64_t unit = rig->dev.info.atomic_bytes; /* Torn below nothing else. */
        for (uint64_t at = 0; at < w->bytes; at += unit) {
            const bool keep = safe || mode == 1 || (mode > 1 && rng_one_in(&rng, 2));
            if (keep)
                memcpy(image + w->offset + at, w->data + at, min_u64(unit, w->bytes - at));
        }
    }
}

/* ---- The store's calls, waited for ---- */

static inline void rig_on_status(void *ctx, struct status status)
{
    struct rig *const rig = ctx;
    rig->status = status;
    rig->done = true;
}

static inline void rig_on_opened(void *ctx, const struct store_opened *opened)
{
    struct rig *const rig = ctx;
    rig->opened = *opened;
    rig->store = opened->store;
    rig->done = true;
}

static inline void rig_on_session(void *ctx, const struct store_session_opened *opened)
{
    struct rig *const rig = ctx;
    rig->session = *opened;
    rig->done = true;
}

static inline void rig_on_io(struct store_io *io)
{
    (void)io;
}

static inline struct status rig_format(struct rig *rig)
{
    const struct store_format_config config = {
        .identity = { .cluster = { { 7 } },
                      .disk = { { 8 } },
                      .cluster_name = "prod",
                      .disk_name = "node-1/disk-1" },
    };
    rig->done = false;
    TRY(store_format(&rig->dev, &config, rig_on_status, rig));
    rig_wait(rig);
    return rig->status;
}

static inline struct status rig_open(struct rig *rig)
{
    const struct store_config config = { .cluster = { { 7 } },
                                         .checksum_bytes = rig->checksum_bytes };
    rig->done = false;
    TRY(store_open(&rig->dev, &config, rig_on_opened, rig));
    rig_wait(rig);
    return rig->opened.status;
}

static inline struct status rig_close_store(struct rig *rig)
{
    rig->done = false;
    store_close(rig->store, rig_on_status, rig);
    rig_wait(rig);
    rig->store = NULL;
    return rig->status;
}

static inline void rig_on_grown(void *ctx, const struct store_grown *grown)
{
    struct rig *const rig = ctx;
    rig->grown = *grown;
    rig->grown_done = true;
}

/* Starts to grow the store on a device that has become so large. */
static inline void rig_grow_start(struct rig *rig, uint64_t bytes)
{
    rig->bytes = bytes;
    rig->grown_done = false;
    store_grow(rig->store, rig_on_grown, rig);
}

static inline struct status rig_grow(struct rig *rig, uint64_t bytes)
{
    rig_grow_start(rig, bytes);
    for (unsigned idle = 0; !rig->grown_done && idle < 100;) {
        if (rig_turn(rig))
            continue;
        idle++;
        fake_reactor_run_timers(&rig->reactor, rig->reactor.base.now_ns + 10 * NS_PER_MS);
    }
    assert(rig->grown_done);
    return rig->grown.status;
}

static inline struct store_session_config rig_session_config(uint64_t epoch)
{
    return (struct store_session_config) {
        .volume = { .uuid = { { 9 } },
                    .name = "db1",
                    .bytes = (uint64_t)64 << 20,
                    .shard_bytes = (uint64_t)4 << 20,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 256 << 10,
                    .stripe_width = 1,
                    .replicas = 1,
                    .min_in_sync = 1 },
        .epoch = epoch,
    };
}

static inline struct status rig_session(struct rig *rig, uint64_t epoch)
{
    struct store_session_config config = rig_session_config(epoch);
    if (rig->volume_bytes != 0)
        config.volume.bytes = rig->volume_bytes;
    rig->done = false;
    TRY(store_session_open(rig->store, &config, rig_on_session, rig));
    rig_wait(rig);
    return rig->session.status;
}

/* A command with its memory. */
struct rig_io {
    struct store_io io;
    bool done;
    size_t started; /* Event indexes. */
    size_t ended;
    struct rig *rig;
    uint8_t *data;
    uint32_t crcs[128];
};

static inline void rig_io_done(struct store_io *io)
{
    struct rig_io *const r = CONTAINER_OF(io, struct rig_io, io);
    r->done = true;
    r->ended = r->rig->event_count;
}

/* Starts a command; fill is the byte that all data consists of. */
static inline void rig_submit(struct rig *rig, struct rig_io *r, enum store_opcode opcode,
                              uint64_t offset, uint64_t bytes, uint8_t fill)
{
    const bool transfers = opcode == STORE_OP_READ || opcode == STORE_OP_WRITE;

    memset(r, 0, sizeof *r);
    r->rig = rig;
    r->started = rig->event_count;
    r->ended = SIZE_MAX;
    if (transfers) {
        r->data = aligned_alloc(4096, bytes);
        memset(r->data, fill, bytes);
    }
    for (uint64_t i = 0; opcode == STORE_OP_WRITE && i < bytes / 4096; i++)
        r->crcs[i] = crc32c(r->data + i * 4096, 4096);
    r->io = (struct store_io) { .opcode = opcode,
                                .create = true,
                                .shard = rig->shard,
                                .generation = 1,
                                .incarnation = rig->session.incarnation,
                                .offset = offset,
                                .bytes = bytes,
                                .data = { r->data, transfers ? bytes : 0 },
                                .crcs = r->crcs,
                                .done = rig_io_done };
    store_submit(rig->session.session, &r->io);
}

static inline void rig_io_wait(struct rig *rig, struct rig_io *r)
{
    for (unsigned idle = 0; !r->done && idle < 100;) {
        if (rig_turn(rig))
            continue;
        idle++;
        fake_reactor_run_timers(&rig->reactor, rig->reactor.base.now_ns + 10 * NS_PER_MS);
    }
    assert(r->done);
}

static inline struct status rig_do(struct rig *rig, enum store_opcode opcode, uint64_t offset,
                                   uint64_t bytes, uint8_t fill)
{
    struct rig_io r;
    rig_submit(rig, &r, opcode, offset, bytes, fill);
    rig_io_wait(rig, &r);
    free(r.data);
    return r.io.status;
}

/* Reads one block and returns its fill byte; *out_status is the read's. */
static inline uint8_t rig_read_block(struct rig *rig, uint64_t block, struct status *out_status)
{
    struct rig_io r;
    rig_submit(rig, &r, STORE_OP_READ, block * 4096, 4096, 0xee);
    rig_io_wait(rig, &r);
    const uint8_t fill = r.data[0];
    for (size_t i = 0; status_ok(r.io.status) && i < 4096; i++)
        assert(r.data[i] == fill); /* S2: never a mix. */
    if (status_is(r.io.status, STATUS_UNKNOWN_SHARD)) {
        /* Never written. */
        *out_status = STATUS(OK);
        free(r.data);
        return 0;
    }
    *out_status = r.io.status;
    free(r.data);
    return fill;
}

/* What store_check() says of the device, whose store is closed. */
struct rig_check {
    struct store_check_report report;
    char first[256]; /* The first problem. */
};

static inline void rig_on_problem(void *ctx, const char *text)
{
    struct rig_check *const c = ctx;
    if (c->first[0] == 0)
        strncpy(c->first, text, sizeof c->first - 1);
}

static inline struct status rig_check(struct rig *rig, struct rig_check *c)
{
    const uint64_t writes = rig->dev.stats.writes;
    memset(c, 0, sizeof *c);
    c->report.problem = rig_on_problem;
    c->report.ctx = c;
    rig->done = false;
    TRY(store_check(&rig->dev, &c->report, rig_on_status, rig));
    rig_wait(rig);
    assert(rig->dev.stats.writes == writes);
    return rig->status;
}

/* Ends a rig whose store is open, as a killed process does: nothing is written any more. */
static inline void rig_abandon(struct rig *rig)
{
    rig->dev.info.has_volatile_cache = true;
    if (rig->store != NULL) {
        if (rig->session.session != NULL)
            store_session_close(rig->session.session);
        const struct status st = rig_close_store(rig);
        (void)st;
    }
    rig_fini(rig);
}

#endif
