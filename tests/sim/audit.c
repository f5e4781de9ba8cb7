/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/crc32c.h"

struct audit_disk {
    struct audit *audit;
    unsigned index;
    struct store *store;
    struct reactor *reactor;
    struct store_session *session;
    struct store_io io;
    struct store_region items[STORE_REGIONS_MAX];
    uint64_t block; /* The next one to be read. */
    uint8_t *data;
    struct io_msg msg;
};

struct audit {
    struct serving *serving;
    struct reactor *home;
    void (*done)(void *ctx, const struct audit_report *report);
    void *ctx;
    unsigned pending;
    struct audit_disk disks[SERVING_DISKS_MAX];
    struct io_msg msg;
    struct audit_report report;
};

static void read_next(struct audit_disk *d);

/* ---- A disk has been looked at ---- */

static void audit_return(struct audit *a)
{
    if (--a->pending == 0)
        a->done(a->ctx, &a->report);
}

static void disk_on_home(struct io_msg *msg)
{
    audit_return(CONTAINER_OF(msg, struct audit_disk, msg)->audit);
}

static void disk_end(struct audit_disk *d)
{
    if (d->session != NULL)
        store_session_close(d->session);
    d->msg.deliver = disk_on_home;
    reactor_post(d->audit->home, &d->msg);
}

/* ---- Blocks ---- */

static uint64_t name_of(const uint8_t *data)
{
    uint64_t first;

    memcpy(&first, data, sizeof first);
    return (uint64_t)crc32c(data, STORE_BLOCK_BYTES) << 24 ^ first;
}

static void on_read(struct store_io *io)
{
    struct audit_disk *const d = CONTAINER_OF(io, struct audit_disk, io);
    uint64_t *const name = &d->audit->report.blocks[d->index][d->block];

    if (status_is(io->status, STATUS_UNKNOWN_SHARD))
        memset(d->data, 0, STORE_BLOCK_BYTES);
    else if (!status_ok(io->status) && !status_is(io->status, STATUS_MEDIA_READ))
        run_fail(d->audit->serving->run, "audit: block %" PRIu64 ": %s", d->block,
                 status_text(io->status));
    *name = status_is(io->status, STATUS_MEDIA_READ) ? AUDIT_BAD : name_of(d->data);
    d->block++;
    read_next(d);
}

static bool has_slot(const struct audit_disk *d, uint32_t shard)
{
    const struct serving *const s = d->audit->serving;
    unsigned slot;

    return group_find(&d->audit->report.record, s->watch.copysets[shard], s->disks[d->index].uuid,
                      &slot);
}

static void read_next(struct audit_disk *d)
{
    const struct serving *const s = d->audit->serving;

    while (d->block < s->block_count && !has_slot(d, s->blocks[d->block].shard))
        d->block++;
    if (d->block == s->block_count) {
        disk_end(d);
        return;
    }
    const struct serving_block *const b = &s->blocks[d->block];
    d->io = (struct store_io) { .opcode = STORE_OP_READ,
                                .shard = b->shard,
                                .generation = 1,
                                .offset = b->offset,
                                .bytes = STORE_BLOCK_BYTES,
                                .data = { d->data, STORE_BLOCK_BYTES },
                                .done = on_read };
    store_submit(d->session, &d->io);
}

/* ---- Lists ---- */

static void list_next(struct audit_disk *d, uint64_t cursor);

static void take_item(struct audit_disk *d, const struct store_region *item)
{
    assert(item->shard < SERVING_SHARDS_MAX);
    assert(item->region + item->count <= SERVING_REGIONS_MAX);
    for (uint32_t i = item->region; i < item->region + item->count; i++)
        d->audit->report.listed[d->index][item->shard][i] = item->slots;
}

static void on_listed(struct store_io *io)
{
    struct audit_disk *const d = CONTAINER_OF(io, struct audit_disk, io);

    if (!status_ok(io->status))
        run_fail(d->audit->serving->run, "audit: the region list: %s", status_text(io->status));
    for (size_t i = 0; i < io->bytes / sizeof d->items[0]; i++)
        take_item(d, &d->items[i]);
    if (io->offset != STORE_CURSOR_END)
        list_next(d, io->offset);
    else
        read_next(d);
}

static void list_next(struct audit_disk *d, uint64_t cursor)
{
    d->io = (struct store_io) { .opcode = STORE_OP_LIST_REGIONS,
                                .offset = cursor,
                                .data = { (uint8_t *)d->items, sizeof d->items },
                                .done = on_listed };
    store_submit(d->session, &d->io);
}

/* ---- Sessions ---- */

static void on_session(void *ctx, const struct store_session_opened *opened)
{
    struct audit_disk *const d = ctx;

    const struct serving *const s = d->audit->serving;
    if (!status_ok(opened->status) && !s->disks[d->index].may_fail)
        run_fail(s->run, "audit: the session: %s", status_text(opened->status));
    if (!status_ok(opened->status)) {
        disk_end(d);
        return;
    }
    d->session = opened->session;
    d->audit->report.opened[d->index] = true;
    list_next(d, 0);
}

static void disk_deliver(struct io_msg *msg)
{
    struct audit_disk *const d = CONTAINER_OF(msg, struct audit_disk, msg);
    const struct store_session_config config = { .volume = d->audit->serving->volume,
                                                 .epoch = d->audit->report.record.epoch };
    const struct status st = store_session_open(d->store, &config, on_session, d);

    assert(status_ok(st));
}

static void audit_on_posted(struct io_msg *msg)
{
    audit_return(CONTAINER_OF(msg, struct audit, msg));
}

struct audit *audit_start(struct serving *s, const struct group *record, struct store **stores,
                          struct reactor **reactors, struct reactor *home,
                          void (*done)(void *ctx, const struct audit_report *report), void *ctx)
{
    struct audit *const a = calloc(1, sizeof *a);

    assert(a != NULL);
    a->serving = s;
    a->home = home;
    a->done = done;
    a->ctx = ctx;
    a->pending = 1;
    a->report.record = *record;
    for (unsigned i = 0; i < s->disk_count; i++) {
        struct audit_disk *const d = &a->disks[i];
        d->audit = a;
        d->index = i;
        d->store = stores[i];
        d->reactor = reactors[i];
        d->data = aligned_alloc(STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
        assert(d->data != NULL);
        if (d->store == NULL)
            continue;
        a->pending++;
        d->msg.deliver = disk_deliver;
        reactor_post(d->reactor, &d->msg);
    }
    a->msg.deliver = audit_on_posted;
    reactor_post(home, &a->msg);
    return a;
}

void audit_destroy(struct audit *a)
{
    for (unsigned i = 0; i < SERVING_DISKS_MAX; i++)
        free(a->disks[i].data);
    free(a);
}

/* ---- Comparing ---- */

/* The disk in a slot of the record; -1: it was not there. */
static int disk_at(const struct serving *s, const struct audit_report *r, uint32_t copyset,
                   unsigned slot)
{
    const struct group_slot *const g = &r->record.copysets[copyset].slots[slot];

    for (unsigned i = 0; i < s->disk_count; i++)
        if (g->state != GROUP_SLOT_UNUSED && r->opened[i] && uuid_equal(s->disks[i].uuid, g->disk))
            return (int)i;
    return -1;
}

/* A member and another slot. */
static void check_pair(const struct serving *s, const struct audit_report *r, uint64_t block,
                       unsigned member, unsigned other, bool is_calm)
{
    const struct serving_block *const b = &s->blocks[block];
    const uint32_t copyset = s->watch.copysets[b->shard];
    const uint64_t region = b->offset / STORE_REGION_BYTES;
    const int p = disk_at(s, r, copyset, member), q = disk_at(s, r, copyset, other);

    if (p < 0 || q < 0)
        return;
    const uint8_t of_p = r->listed[p][b->shard][region], of_q = r->listed[q][b->shard][region];
    const bool is_member = (group_members(&r->record, copyset) >> other & 1) != 0;
    if (is_calm && is_member && (of_p >> other & 1) != 0)
        run_fail(s->run,
                 "shard %u, region %" PRIu64 ": member %u lists member %u, and nothing happens",
                 b->shard, region, member, other);
    if (r->blocks[p][block] == r->blocks[q][block] || r->blocks[p][block] == AUDIT_BAD ||
        r->blocks[q][block] == AUDIT_BAD)
        return;
    if (is_calm && is_member)
        run_fail(s->run, "block %" PRIu64 ": members %u and %u differ at rest (I5)", block, member,
                 other);
    if (r->record.copysets[copyset].slots[other].whole)
        return; /* All is to be copied to it, and no list need say so. */
    if ((of_p >> other & 1) == 0 && of_q == 0)
        run_fail(s->run,
                 "block %" PRIu64 ": member %u and slot %u of copyset %u differ, and no list says "
                 "so (I6)",
                 block, member, other, copyset);
}

void audit_check(const struct serving *s, const struct audit_report *r, bool is_calm)
{
    for (uint64_t block = 0; block < s->block_count; block++) {
        const unsigned members =
            group_members(&r->record, s->watch.copysets[s->blocks[block].shard]);
        for (unsigned p = 0; p < GROUP_SLOTS; p++)
            for (unsigned q = 0; q < GROUP_SLOTS; q++)
                if ((members >> p & 1) != 0 && p != q)
                    check_pair(s, r, block, p, q, is_calm);
    }
}
