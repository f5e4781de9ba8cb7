/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include <assert.h>
#include <xxhash.h>

#include "history.h"
#include "store/store_internal.h"
#include "watch_internal.h"

#define EXECUTED_ROOM (1u << 15)

void __real_store_submit(struct store_session *session, struct store_io *io);
void __wrap_store_submit(struct store_session *session, struct store_io *io);
void __real_store_hand_over(struct store_io *io, struct store_io *heir);
void __wrap_store_hand_over(struct store_io *io, struct store_io *heir);

static struct watch *watches;

struct watch *watch_of(struct uuid volume)
{
    struct watch *w = watches;

    while (w != NULL && !uuid_equal(w->volume, volume))
        w = w->next;
    return w;
}

/* ---- Disks ---- */

unsigned watch_disk_index(struct watch *w, struct uuid disk)
{
    unsigned i = 0;

    while (i < w->disk_count && !uuid_equal(w->disks[i].uuid, disk))
        i++;
    if (i < w->disk_count)
        return i;
    assert(w->disk_count < WATCH_DISKS_MAX);
    w->disks[w->disk_count++].uuid = disk;
    return i;
}

static uint64_t process_of(const struct store_io *io)
{
    return sim_process_owner(sim_reactor_process(io->session->store->reactor));
}

static void forget_disk(struct watch_disk *d)
{
    if (d->held != NULL)
        memset(d->held, 0, WATCH_SHARDS_MAX * sizeof *d->held);
}

/* The command's disk.  A store that was opened anew may not have what the one before had. */
static unsigned disk_of(struct watch *w, const struct store_io *io)
{
    const unsigned disk = watch_disk_index(w, io->session->store->sb.disk);
    struct watch_disk *const d = &w->disks[disk];

    if (d->held == NULL)
        d->held = sim_world_alloc(w->run->world, WATCH_SHARDS_MAX * sizeof *d->held);
    if (d->process != process_of(io))
        forget_disk(d);
    d->process = process_of(io);
    return disk;
}

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

bool watch_has(const struct watch *w, unsigned disk, uint64_t block, uint64_t content)
{
    return *slot_of(w, hash_of(w->disks[disk].uuid, block, content)) != 0;
}

uint64_t *watch_latest(const struct watch *w, uint32_t shard, uint64_t offset)
{
    assert(shard < WATCH_SHARDS_MAX && offset / STORE_BLOCK_BYTES < WATCH_BLOCKS_MAX);
    return &w->latest[shard][offset / STORE_BLOCK_BYTES];
}

static void note(struct watch *w, const struct store_io *io, struct uuid disk)
{
    uint64_t block, content;

    for (uint64_t at = 0; at < io->bytes; at += STORE_BLOCK_BYTES) {
        uint64_t *const latest = watch_latest(w, io->shard, io->offset + at);
        *latest = 0;
        if (!pattern_name((struct const_span) { io->data.at + at, STORE_BLOCK_BYTES }, &block,
                          &content))
            continue;
        *latest = content;
        const uint64_t hash = hash_of(disk, block, content);
        *slot_of(w, hash) = hash;
    }
}

/* ---- What disks have ---- */

static uint64_t name_of_hash(const uint8_t *hash)
{
    uint64_t name;

    memcpy(&name, hash, sizeof name);
    return name <= WATCH_ZERO ? name + 2 : name;
}

uint64_t watch_name(const uint8_t *block)
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(block, STORE_BLOCK_BYTES));
    return name_of_hash(canonical.digest);
}

uint64_t watch_held(const struct watch *w, unsigned disk, uint32_t shard, uint64_t offset)
{
    const struct watch_disk *const d = &w->disks[disk];

    assert(shard < WATCH_SHARDS_MAX && offset / STORE_BLOCK_BYTES < WATCH_BLOCKS_MAX);
    return d->held == NULL ? WATCH_UNKNOWN : d->held[shard][offset / STORE_BLOCK_BYTES];
}

/* What a block is after a command that has succeeded. */
static uint64_t held_after(const struct store_io *io, uint64_t block)
{
    const struct store_hash *const h = (const struct store_hash *)(void *)io->data.at;

    switch (io->opcode) {
    case STORE_OP_WRITE:
        return watch_name(io->data.at + block * STORE_BLOCK_BYTES);
    case STORE_OP_WRITE_ZEROES:
    case STORE_OP_DEALLOCATE:
        return WATCH_ZERO;
    case STORE_OP_HASH:
        if (h[block].state == STORE_BLOCK_DATA)
            return name_of_hash(h[block].hash);
        return h[block].state == STORE_BLOCK_BAD ? WATCH_UNKNOWN : WATCH_ZERO;
    default:
        return WATCH_UNKNOWN;
    }
}

/* After a failure as well: who does not know the shard has nothing of it. */
static uint64_t held_now(const struct store_io *io, uint64_t block)
{
    if (io->opcode == STORE_OP_HASH && status_is(io->status, STATUS_UNKNOWN_SHARD))
        return WATCH_ZERO;
    return status_ok(io->status) ? held_after(io, block) : WATCH_UNKNOWN;
}

static void learn(const struct watch_disk *d, const struct store_io *io)
{
    const uint64_t first = io->offset / STORE_BLOCK_BYTES;

    assert(io->shard < WATCH_SHARDS_MAX);
    for (uint64_t i = 0; i < io->bytes / STORE_BLOCK_BYTES; i++) {
        assert(first + i < WATCH_BLOCKS_MAX);
        d->held[io->shard][first + i] = held_now(io, i);
    }
}

/* ---- Calls ---- */

void watch_call_begin(struct watch *w, const struct watch_call *call)
{
    assert(w->calls->count < WATCH_CALLS_MAX);
    w->calls->items[w->calls->count++] = *call;
}

static struct watch_call *find(const struct watch *w, const void *call)
{
    for (unsigned i = 0; i < w->calls->count; i++)
        if (w->calls->items[i].call == call)
            return &w->calls->items[i];
    return NULL;
}

struct watch_call *watch_call_find(const void *call, struct watch **out_w)
{
    for (struct watch *w = watches; w != NULL; w = w->next) {
        struct watch_call *const found = find(w, call);
        *out_w = w;
        if (found != NULL)
            return found;
    }
    return NULL;
}

void watch_call_end(struct watch *w, struct watch_call *call)
{
    *call = w->calls->items[--w->calls->count];
}

void watch_forget(struct watch *w, const struct sim_process *process)
{
    const uint64_t owner = sim_process_owner(process);

    for (unsigned i = w->calls->count; i > 0; i--)
        if (w->calls->items[i - 1].process == owner)
            watch_call_end(w, &w->calls->items[i - 1]);
}

/* ---- Stores ---- */

static bool is_of_host(enum store_opcode opcode)
{
    return opcode <= STORE_OP_DEALLOCATE;
}

static bool has_blocks(enum store_opcode opcode)
{
    return opcode == STORE_OP_WRITE || opcode == STORE_OP_WRITE_ZEROES ||
           opcode == STORE_OP_DEALLOCATE || opcode == STORE_OP_HASH || opcode == STORE_OP_SPOIL;
}

static void on_ended(struct store_io *io)
{
    struct watch *w = NULL;
    struct watch_call *const call = watch_call_find(io, &w);

    assert(call != NULL);
    const struct watch_disk *const d = &w->disks[call->store.disk];
    io->done = call->store.done;
    watch_call_end(w, call);
    if (io->opcode == STORE_OP_WRITE && status_ok(io->status))
        note(w, io, d->uuid);
    learn(d, io);
    if (io->opcode == STORE_OP_WRITE && w->wrote != NULL)
        w->wrote(w->ctx, d->uuid);
    io->done(io);
}

static void look(struct watch *w, struct store_io *io)
{
    const bool zeroes = io->opcode == STORE_OP_WRITE_ZEROES || io->opcode == STORE_OP_DEALLOCATE;

    if (has_blocks(io->opcode)) {
        watch_call_begin(w, &(struct watch_call) { .process = process_of(io),
                                                   .call = io,
                                                   .store = { io->done, disk_of(w, io) } });
        io->done = on_ended;
    }
    if (io->opcode == STORE_OP_READ && io->session->number == 0 && !w->auditing)
        watch_local_read(w, io);
    if (io->opcode == STORE_OP_DELETE_VOLUME)
        forget_disk(&w->disks[disk_of(w, io)]);
    for (uint64_t at = 0; zeroes && at < io->bytes; at += STORE_BLOCK_BYTES)
        *watch_latest(w, io->shard, io->offset + at) = 0;
    if (w->sees != NULL && !w->auditing && !is_of_host(io->opcode))
        w->sees(w->ctx, io->opcode);
}

void __wrap_store_submit(struct store_session *session, struct store_io *io)
{
    struct watch *const w = session->volume != NULL ? watch_of(session->volume->desc.uuid) : NULL;

    io->session = session; /* So the store does. */
    if (w != NULL)
        look(w, io);
    __real_store_submit(session, io);
}

/* What was let go of is executed all the same, as the heir. */
void __wrap_store_hand_over(struct store_io *io, struct store_io *heir)
{
    struct watch *w = NULL;
    struct watch_call *const call = watch_call_find(io, &w);

    if (call != NULL) {
        call->call = heir;
        call->store.done = heir->done;
        heir->done = on_ended;
    }
    __real_store_hand_over(io, heir);
}

/* ---- The interface ---- */

void watch_begin(struct watch *w, struct run *run)
{
    struct sim_world *const world = run->world;

    *w = (struct watch) {
        .run = run,
        .next = watches,
        .epochs = sim_world_alloc(world, WATCH_EPOCHS_MAX * sizeof *w->epochs),
        .disks = sim_world_alloc(world, WATCH_DISKS_MAX * sizeof *w->disks),
        .executed = sim_world_alloc(world, EXECUTED_ROOM * sizeof *w->executed),
        .latest = sim_world_alloc(world, WATCH_SHARDS_MAX * sizeof *w->latest),
        .calls = sim_world_alloc(world, sizeof *w->calls),
    };
    watches = w;
}

void watch_end(void)
{
    watches = NULL;
}
