/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_store.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/crc32c.h"

static void fake_on_task(struct io_task *task);

void fake_store_init(struct store *s, struct reactor *r, uint64_t shard_bytes)
{
    *s = (struct store) { .reactor = r, .shard_bytes = shard_bytes, .incarnation = 1 };
    list_init(&s->in_flight);
    list_init(&s->describing);
    io_task_init(&s->task, fake_on_task);
}

void fake_store_fini(struct store *s)
{
    assert(!s->session_open);
    assert(list_empty(&s->in_flight));
    for (unsigned i = 0; i < FAKE_SHARDS_MAX; i++)
        free(s->shards[i]);
}

void store_set_suspect(struct store *s, bool suspect)
{
    s->suspect = suspect;
}

bool store_is_suspect(const struct store *s)
{
    return s->suspect;
}

uint64_t store_incarnation(const struct store *s)
{
    return s->incarnation;
}

struct fake_open {
    struct io_msg msg;
    struct store *store;
    bool known;
    void (*done)(void *ctx, const struct store_session_opened *opened);
    void *ctx;
};

static void fake_on_open(struct io_msg *msg)
{
    struct fake_open *open = CONTAINER_OF(msg, struct fake_open, msg);
    struct store *s = open->store;
    const struct status status =
        open->known && s->forgotten ? STATUS(UNKNOWN_VOLUME) : s->open_status;
    const bool ok = status_ok(status);
    const struct store_session_opened opened = {
        .status = status,
        .session = ok ? &s->session : NULL,
        .incarnation = s->incarnation,
        .generation = 1,
        .unflushed_loss = s->unflushed_loss,
        .list_cut = s->list_cut,
    };

    s->session.store = s;
    s->session_open = ok;
    s->forgotten = s->forgotten && !ok;
    open->done(open->ctx, &opened);
    free(open);
}

struct status store_session_open(struct store *s, const struct store_session_config *config,
                                 void (*done)(void *ctx, const struct store_session_opened *opened),
                                 void *ctx)
{
    struct fake_open *open = calloc(1, sizeof *open);

    assert(config->epoch > 0);
    assert(!s->session_open);
    s->opens++;
    s->described = config->volume;
    *open = (struct fake_open) {
        .msg.deliver = fake_on_open, .store = s, .known = config->known, .done = done, .ctx = ctx
    };
    reactor_post(s->reactor, &open->msg);
    return STATUS(OK);
}

struct fake_describe {
    struct io_msg msg;
    struct list_node link;
    struct store *store;
    store_done_fn *done;
    void *ctx;
};

static void fake_on_describe(struct io_msg *msg)
{
    struct fake_describe *d = CONTAINER_OF(msg, struct fake_describe, msg);

    d->done(d->ctx, d->store->describe_status);
    free(d);
}

struct status store_session_describe(struct store_session *session,
                                     const struct store_volume *volume, store_done_fn *done,
                                     void *ctx)
{
    struct fake_describe *d = calloc(1, sizeof *d);

    assert(session->store->session_open);
    session->store->describes++;
    session->store->described = *volume;
    *d = (struct fake_describe) {
        .msg.deliver = fake_on_describe, .store = session->store, .done = done, .ctx = ctx
    };
    list_node_init(&d->link);
    list_push_back(&session->store->describing, &d->link);
    if (!session->store->hold_describe)
        fake_store_described(session->store);
    return STATUS(OK);
}

void fake_store_described(struct store *s)
{
    struct list_node *n;

    while ((n = list_pop_front(&s->describing)) != NULL)
        reactor_post(s->reactor, &CONTAINER_OF(n, struct fake_describe, link)->msg);
}

void store_session_close(struct store_session *session)
{
    assert(session->store->session_open);
    assert(session->store->may_close_busy || list_empty(&session->store->in_flight));
    session->store->session_open = false;
}

struct status store_session_check(const struct store_session *session)
{
    return session->store->session_status;
}

struct status store_session_state(const struct store_session *session,
                                  struct store_state *out_state)
{
    *out_state = (struct store_state) { .set_sequence = session->store->set_sequence };
    return STATUS(OK);
}

uint64_t store_session_used_bytes(const struct store_session *session)
{
    (void)session;
    return 0;
}

void store_session_loss_reported(struct store_session *session)
{
    session->store->losses_reported++;
    session->store->unflushed_loss = false;
}

static bool touches_data(const struct store_io *io)
{
    return io->opcode <= STORE_OP_DEALLOCATE || io->opcode == STORE_OP_SPOIL;
}

static bool conflict(const struct store_io *a, const struct store_io *b)
{
    if (!touches_data(a) || !touches_data(b) || a->shard != b->shard)
        return false;
    if (a->opcode == STORE_OP_READ && b->opcode == STORE_OP_READ)
        return false;
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

void store_submit(struct store_session *session, struct store_io *io)
{
    struct store *s = session->store;

    assert(s->session_open);
    LIST_FOR_EACH (n, &s->in_flight) {
        /* R8: the engine sends no two commands that fight over a block. */
        assert(!conflict(CONTAINER_OF(n, struct store_io, link), io));
    }
    if (io->opcode == STORE_OP_READ || io->opcode == STORE_OP_WRITE)
        assert(io->bytes <= STORE_IO_BYTES_MAX && io->data.bytes == io->bytes &&
               (uintptr_t)io->data.at % STORE_BLOCK_BYTES == 0);
    io->session = session;
    list_node_init(&io->link);
    list_push_back(&s->in_flight, &io->link);
    s->in_flight_count++;
    s->in_flight_max = (unsigned)max_u64(s->in_flight_max, s->in_flight_count);
    s->bytes_max = max_u64(s->bytes_max, io->bytes);
    reactor_defer(s->reactor, &s->task);
}

void store_hand_over(struct store_io *io, struct store_io *heir)
{
    struct store_io own = *heir;

    assert(list_node_linked(&io->link));
    *heir = *io;
    heir->data = own.data;
    heir->crcs = own.crcs;
    heir->done = own.done;
    list_replace(&io->link, &heir->link);
    io->session->store->hand_overs++;
}

static struct status fake_write(struct store *s, const struct store_io *io)
{
    uint8_t **shard = &s->shards[io->shard];

    for (uint64_t at = 0; at < io->bytes; at += STORE_BLOCK_BYTES)
        assert(io->crcs[at / STORE_BLOCK_BYTES] == crc32c(io->data.at + at, STORE_BLOCK_BYTES));
    if (*shard == NULL && !io->create)
        return STATUS(UNKNOWN_SHARD);
    if (*shard == NULL)
        *shard = calloc(1, s->shard_bytes);
    memcpy(*shard + io->offset, io->data.at, io->bytes);
    if (io->offset <= s->bad_from && io->offset + io->bytes >= s->bad_to)
        s->bad_to = 0;
    return STATUS(OK);
}

static void fake_set(struct store *s, const struct store_io *io)
{
    const size_t count = io->data.bytes / sizeof s->last_set;
    const struct store_set *const sets = (const struct store_set *)(void *)io->data.at;

    assert(count > 0 && count <= STORE_COPYSETS_MAX);
    s->sets += (unsigned)count;
    s->last_set = sets[count - 1];
}

static void fake_open_regions(struct store *s, const struct store_io *io)
{
    for (uint64_t r = io->offset / STORE_REGION_BYTES;
         r <= (io->offset + io->bytes - 1) / STORE_REGION_BYTES; r++) {
        assert((io->tick > 0) == (s->described.replicas > 1));
        /* 3.4 (2): what is closed has ended before. */
        assert(io->tick == 0 || io->tick > s->closed[io->shard][r]);
        s->listed[io->shard][r] = 7;
        s->ticks[io->shard][r] = (uint32_t)max_u64(s->ticks[io->shard][r], io->tick);
    }
}

/* As of the real one: zeros where it has nothing change nothing, and are not listed. */
static bool is_void(const struct store *s, const struct store_io *io)
{
    const uint8_t *const shard = s->shards[io->shard];
    bool any = false;

    if (io->opcode != STORE_OP_WRITE_ZEROES && io->opcode != STORE_OP_DEALLOCATE)
        return false;
    for (uint64_t i = 0; shard != NULL && i < io->bytes; i++)
        any |= shard[io->offset + i] != 0;
    return !any;
}

static void fake_close_regions(struct store *s, const struct store_io *io)
{
    const size_t count = io->data.bytes / sizeof(struct store_region);
    const struct store_region *const items = (const struct store_region *)(void *)io->data.at;

    assert(count > 0 && count <= STORE_REGIONS_MAX);
    s->closes++;
    for (size_t i = 0; i < count; i++) {
        const struct store_region *const r = &items[i];
        assert(r->count == 1);
        s->closed[r->shard][r->region] = r->tick;
        if (r->tick >= s->ticks[r->shard][r->region])
            s->listed[r->shard][r->region] &= (uint8_t)~r->slots;
    }
}

static void fake_merge_regions(struct store *s, const struct store_io *io)
{
    const size_t count = io->data.bytes / sizeof(struct store_region);
    const struct store_region *const items = (const struct store_region *)(void *)io->data.at;
    uint32_t regions = 0;

    assert(count > 0 && count <= STORE_REGIONS_MAX);
    assert(io->create);
    s->merges++;
    for (size_t i = 0; i < count; i++) {
        regions += items[i].count;
        for (uint32_t r = items[i].region; r < items[i].region + items[i].count; r++) {
            assert(items[i].shard < FAKE_SHARDS_MAX && r < FAKE_REGIONS);
            s->listed[items[i].shard][r] |= items[i].slots;
            s->ticks[items[i].shard][r] = (uint32_t)max_u64(s->ticks[items[i].shard][r], io->tick);
        }
    }
    assert(regions <= STORE_REGIONS_MAX);
}

/* A few items at a time, however much room there is. */
static void fake_list_regions(const struct store *s, struct store_io *io)
{
    struct store_region *const items = (struct store_region *)(void *)io->data.at;
    uint64_t at = io->offset;
    size_t count = 0;

    for (; at < FAKE_SHARDS_MAX * FAKE_REGIONS && count < 3; at++) {
        const uint8_t slots = s->listed[at / FAKE_REGIONS][at % FAKE_REGIONS];
        if (slots != 0)
            items[count++] = (struct store_region) { .shard = (uint32_t)(at / FAKE_REGIONS),
                                                     .region = (uint32_t)(at % FAKE_REGIONS),
                                                     .count = 1,
                                                     .slots = slots };
    }
    io->offset = at < FAKE_SHARDS_MAX * FAKE_REGIONS ? at : STORE_CURSOR_END;
    io->bytes = count * sizeof *items;
}

/* Those of what is read, if somebody wants them. */
static void fake_crcs(const struct store *s, const struct store_io *io)
{
    for (uint64_t at = 0; at < io->bytes && io->crcs != NULL; at += STORE_BLOCK_BYTES)
        io->crcs[at / STORE_BLOCK_BYTES] =
            crc32c(io->data.at + at, STORE_BLOCK_BYTES) + (s->wrong_crcs ? 1 : 0);
}

/* It knows no absent blocks but those of a shard that it does not have. */
static void fake_hash(const struct store *s, const struct store_io *io)
{
    struct store_hash *const hashes = (struct store_hash *)(void *)io->data.at;

    memset(io->data.at, 0, io->data.bytes);
    for (uint64_t i = 0; i < io->bytes / STORE_BLOCK_BYTES; i++) {
        const uint64_t at = io->offset + i * STORE_BLOCK_BYTES;
        const uint8_t *const block = s->shards[io->shard] + at;
        XXH128_canonical_t canonical;
        if (!s->damaged && at < s->bad_to && at + STORE_BLOCK_BYTES > s->bad_from) {
            hashes[i].state = STORE_BLOCK_BAD;
        } else if (block[0] == 0 && memcmp(block, block + 1, STORE_BLOCK_BYTES - 1) == 0) {
            hashes[i].state = STORE_BLOCK_ZERO;
        } else {
            hashes[i].state = STORE_BLOCK_DATA;
            XXH128_canonicalFromHash(&canonical, XXH3_128bits(block, STORE_BLOCK_BYTES));
            memcpy(hashes[i].hash, &canonical, sizeof canonical);
        }
    }
}

/* Its own comes first, from cursor 0; cursor n + 1 begins with copyset n. */
static void fake_list_points(const struct store *s, struct store_io *io)
{
    struct store_point *const points = (struct store_point *)(void *)io->data.at;
    const size_t room = io->data.bytes / sizeof *points;
    uint64_t at = io->offset == 0 ? 0 : io->offset - 1;
    size_t count = 0;

    if (io->offset == 0)
        points[count++] = (struct store_point) { .disk = s->disk,
                                                 .incarnation = s->incarnation,
                                                 .position = s->position + 1 };
    for (; at < FAKE_COPYSETS && count + STORE_COPYSET_POINTS <= room; at++) {
        for (unsigned i = 0; i < STORE_COPYSET_POINTS; i++)
            if (s->kept[at][i].position != 0)
                points[count++] = s->kept[at][i];
    }
    io->offset = at < FAKE_COPYSETS ? at + 1 : STORE_CURSOR_END;
    io->bytes = count * sizeof *points;
}

static bool fake_has_lost(const struct store *s, const struct store_point *p)
{
    return uuid_equal(p->disk, s->disk) &&
           (p->position <= s->lost_to || (s->reverted && p->position > s->position + 1));
}

static struct status fake_keep_points(struct store *s, const struct store_io *io)
{
    const struct store_point *const points = (const struct store_point *)(void *)io->data.at;
    const size_t count = io->data.bytes / sizeof *points;

    for (size_t i = 0; i < count; i++) {
        assert(points[i].copyset < FAKE_COPYSETS && points[i].position != 0);
        if (fake_has_lost(s, &points[i]))
            return STATUS(POINT_LOST);
    }
    for (size_t i = 0, n = 0; i < count && io->opcode == STORE_OP_KEEP_POINTS; i++, n++) {
        if (i == 0 || points[i].copyset != points[i - 1].copyset) {
            memset(s->kept[points[i].copyset], 0, sizeof s->kept[0]);
            n = 0;
        }
        assert(n < STORE_COPYSET_POINTS);
        s->kept[points[i].copyset][n] = points[i];
    }
    return STATUS(OK);
}

/* What is no I/O of anybody's. */
static struct status fake_tell(struct store *s, struct store_io *io)
{
    switch (io->opcode) {
    case STORE_OP_SET:
        if (status_ok(s->set_status))
            fake_set(s, io);
        return s->set_status;
    case STORE_OP_CLOSE_REGIONS:
        fake_close_regions(s, io);
        return STATUS(OK);
    case STORE_OP_LIST_REGIONS:
        s->lists++;
        fake_list_regions(s, io);
        return STATUS(OK);
    case STORE_OP_MERGE_REGIONS:
        fake_merge_regions(s, io);
        return STATUS(OK);
    case STORE_OP_LIST_POINTS:
        fake_list_points(s, io);
        return STATUS(OK);
    case STORE_OP_KEEP_POINTS:
        s->keeps++;
        s->durable_keeps += io->fua ? 1 : 0;
        return fake_keep_points(s, io);
    case STORE_OP_CHECK_POINTS:
        s->checks++;
        return fake_keep_points(s, io);
    default:
        abort();
    }
}

static struct status fake_execute(struct store *s, struct store_io *io)
{
    const bool stale = io->incarnation != s->incarnation;

    if ((io->opcode == STORE_OP_FLUSH || io->fua) && stale)
        return STATUS(STALE_INCARNATION);
    if (touches_data(io))
        assert(io->shard < FAKE_SHARDS_MAX && io->offset + io->bytes <= s->shard_bytes);
    if (touches_data(io) && io->opcode != STORE_OP_READ && !is_void(s, io)) {
        fake_open_regions(s, io);
        s->unflushed = true;
    }
    switch (io->opcode) {
    case STORE_OP_READ:
        s->reads++;
        if (io->offset < s->bad_to && io->offset + io->bytes > s->bad_from)
            return STATUS(MEDIA_READ);
        if (s->shards[io->shard] == NULL)
            return STATUS(UNKNOWN_SHARD);
        memcpy(io->data.at, s->shards[io->shard] + io->offset, io->bytes);
        fake_crcs(s, io);
        return STATUS(OK);
    case STORE_OP_WRITE:
        s->writes++;
        if (!status_ok(s->write_status))
            return s->write_status;
        return fake_write(s, io);
    case STORE_OP_WRITE_ZEROES:
    case STORE_OP_DEALLOCATE:
        s->zeroes++;
        if (s->shards[io->shard] == NULL)
            return STATUS(UNKNOWN_SHARD);
        memset(s->shards[io->shard] + io->offset, 0, io->bytes);
        return STATUS(OK);
    case STORE_OP_FLUSH:
        s->flushes++;
        s->position++;
        s->unflushed = false;
        return STATUS(OK);
    case STORE_OP_DELETE_VOLUME:
        s->deletes++;
        return STATUS(OK);
    case STORE_OP_SPOIL:
        s->spoils++;
        if (s->shards[io->shard] == NULL)
            return STATUS(UNKNOWN_SHARD);
        s->damaged = false;
        s->bad_from = io->offset; /* The fake has one such range. */
        s->bad_to = io->offset + io->bytes;
        return STATUS(OK);
    case STORE_OP_HASH:
        s->hashes++;
        if (s->shards[io->shard] == NULL)
            return STATUS(UNKNOWN_SHARD);
        fake_hash(s, io);
        return STATUS(OK);
    default:
        return fake_tell(s, io);
    }
}

void fake_store_release(struct store *s, unsigned index)
{
    struct store_io *io = NULL;

    LIST_FOR_EACH (n, &s->in_flight) {
        if (index-- == 0)
            io = CONTAINER_OF(n, struct store_io, link);
    }
    assert(io != NULL);
    list_remove(&io->link);
    s->in_flight_count--;
    io->status = s->fail_next;
    s->fail_next = STATUS(OK);
    if (status_ok(io->status))
        io->status = s->session_status;
    if (status_ok(io->status))
        io->status = fake_execute(s, io);
    io->done(io);
}

static void fake_on_task(struct io_task *task)
{
    struct store *s = CONTAINER_OF(task, struct store, task);

    if (s->hold)
        return;
    while (!list_empty(&s->in_flight))
        fake_store_release(s, 0);
}
