/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include <assert.h>

#include "history.h"
#include "store/store_internal.h"

#define EXECUTED_ROOM  (1u << 15)
#define UNDER_WAY_ROOM 1024u

/* A write whose end is awaited. */
struct watch_command {
    struct store_io *io;
    void (*done)(struct store_io *io);
};

void __real_store_submit(struct store_session *session, struct store_io *io);
static bool is_of_host(enum store_opcode opcode)
{
    return opcode <= STORE_OP_DEALLOCATE;
}

void __wrap_store_submit(struct store_session *session, struct store_io *io);

static struct watch *active;

/* ---- What was executed ---- */

static uint64_t hash_of(struct uuid disk, uint64_t block, uint64_t content)
{
    uint64_t h;

    memcpy(&h, disk.b, sizeof h);
    h = (h ^ block) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 29 ^ content) * UINT64_C(0xff51afd7ed558ccd);
    return (h ^ h >> 32) | 1;
}

/* Where the hash is, or would be. */
static uint64_t *slot_of(const struct watch *w, uint64_t hash)
{
    size_t at = (size_t)(hash >> 20) % EXECUTED_ROOM;

    while (w->executed[at] != 0 && w->executed[at] != hash)
        at = (at + 1) % EXECUTED_ROOM;
    return &w->executed[at];
}

/* Whether the disk has executed a write of that content to the block. */
static bool has(const struct watch *w, struct uuid disk, uint64_t block, uint64_t content)
{
    return *slot_of(w, hash_of(disk, block, content)) != 0;
}

static uint64_t *latest_of(const struct watch *w, uint32_t shard, uint64_t offset)
{
    assert(shard < WATCH_SHARDS_MAX && offset / STORE_BLOCK_BYTES < WATCH_BLOCKS_MAX);
    return &w->latest[shard][offset / STORE_BLOCK_BYTES];
}

static void note(struct watch *w, const struct store_io *io)
{
    const struct uuid disk = io->session->store->sb.disk;
    uint64_t block, content;

    for (uint64_t at = 0; at < io->bytes; at += STORE_BLOCK_BYTES) {
        uint64_t *const latest = latest_of(w, io->shard, io->offset + at);
        *latest = 0;
        if (!pattern_name((struct const_span) { io->data.at + at, STORE_BLOCK_BYTES }, &block,
                          &content))
            continue;
        *latest = content;
        const uint64_t hash = hash_of(disk, block, content);
        *slot_of(w, hash) = hash;
    }
}

static void on_written(struct store_io *io)
{
    struct watch *const w = active;

    for (unsigned i = 0; i < w->under_way_count; i++) {
        if (w->under_way[i].io != io)
            continue;
        io->done = w->under_way[i].done;
        w->under_way[i] = w->under_way[--w->under_way_count];
        if (status_ok(io->status))
            note(w, io);
        if (w->wrote != NULL)
            w->wrote(w->ctx, io->session->store->sb.disk);
        io->done(io);
        return;
    }
    assert(false);
}

/* ---- What is read ---- */

unsigned watch_acknowledged(struct watch *w, uint32_t shard, uint64_t offset, uint64_t block,
                            uint64_t content)
{
    const uint32_t copyset = w->copysets[shard];
    const struct group *const g = &w->registry->record;
    unsigned lacking = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++) {
        const struct group_slot *const slot = &g->copysets[copyset].slots[i];
        if (slot->state != GROUP_SLOT_UNUSED && !has(w, slot->disk, block, content))
            lacking |= 1u << i;
    }
    if (*latest_of(w, shard, offset) != content)
        return 0;
    w->lacking[copyset] |= (uint8_t)lacking;
    return lacking & group_members(g, copyset);
}

void watch_changed(struct watch *w, const struct group *was, const struct group *now)
{
    for (uint32_t c = 0; c < now->copyset_count; c++)
        w->lacking[c] &= (uint8_t) ~(group_members(now, c) & ~group_members(was, c));
}

static void check_read(const struct watch *w, const struct store_session *session,
                       const struct store_io *io)
{
    const struct group *const g = &w->registry->taken;
    const uint32_t copyset = w->copysets[io->shard];
    unsigned slot;

    if (io->create || session->epoch != g->epoch ||
        !group_find(g, copyset, session->store->sb.disk, &slot))
        return;
    if ((w->registry->been_in[copyset] >> slot & 1) == 0)
        run_fail(w->run, "slot %u of copyset %u is out, and is read (I7)", slot, copyset);
    if ((w->lacking[copyset] >> slot & 1) != 0)
        run_fail(w->run, "slot %u of copyset %u lacks an acknowledged write, and is read (I7)",
                 slot, copyset);
}

void __wrap_store_submit(struct store_session *session, struct store_io *io)
{
    struct watch *const w = active != NULL && active->ignores ? NULL : active;

    if (w != NULL && io->opcode == STORE_OP_READ && !w->auditing && w->registry != NULL)
        check_read(w, session, io);
    if (w != NULL && io->opcode == STORE_OP_WRITE) {
        assert(w->under_way_count < UNDER_WAY_ROOM);
        w->under_way[w->under_way_count++] = (struct watch_command) { io, io->done };
        io->done = on_written;
    }
    if (w != NULL && (io->opcode == STORE_OP_WRITE_ZEROES || io->opcode == STORE_OP_DEALLOCATE))
        for (uint64_t at = 0; at < io->bytes; at += STORE_BLOCK_BYTES)
            *latest_of(w, io->shard, io->offset + at) = 0;
    if (w != NULL && w->sees != NULL && !w->auditing && !is_of_host(io->opcode))
        w->sees(w->ctx, io->opcode);
    __real_store_submit(session, io);
}

/* ---- The interface ---- */

void watch_begin(struct watch *w, struct run *run)
{
    *w = (struct watch) {
        .run = run,
        .executed = sim_world_alloc(run->world, EXECUTED_ROOM * sizeof *w->executed),
        .latest = sim_world_alloc(run->world, WATCH_SHARDS_MAX * sizeof *w->latest),
        .under_way = sim_world_alloc(run->world, UNDER_WAY_ROOM * sizeof *w->under_way),
    };
    active = w;
}

void watch_end(void)
{
    active = NULL;
}

void watch_forget(struct watch *w)
{
    w->under_way_count = 0;
}
