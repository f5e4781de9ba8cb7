/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HASH: what each block of a layer is, without the data travelling.  docs/replication.md, sections
 * 7.5 and 9.4.
 *
 *   admit --> runs of blocks with data, in a row --> verified (S3), hashed --> done
 *                  |                                        ^
 *                  +-- a run that cannot be read: block by block, so that one does not condemn all
 *
 * Nothing is read through: what an older layer has is asked for with its generation.
 */
#include "store/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/crc32c.h"
#include "store/store_internal.h"

static_assert(sizeof(XXH128_canonical_t) == STORE_HASH_BYTES, "its canonical bytes");

static struct store_hash *item_of(const struct hasher *h, uint32_t block)
{
    return (struct store_hash *)(void *)h->io->data.at + block;
}

static uint32_t block_count(const struct store_io *io)
{
    return (uint32_t)(io->bytes / STORE_BLOCK_BYTES);
}

/* The grain of a block of the command, in the layer that is asked for. */
static const struct grain *grain_of(const struct hasher *h, uint32_t block, uint32_t *out_in_grain)
{
    const struct layer *const layer = map_layer(&h->io->target->map, h->io->generation);
    const uint64_t at = h->io->offset / STORE_BLOCK_BYTES + block;

    assert(layer != NULL); /* There was one when the command began; layers stay. */
    *out_in_grain = (uint32_t)(at % GRAIN_BLOCKS);
    return &layer->grains[at / GRAIN_BLOCKS];
}

/* Whether the block has data, and where. */
static bool block_place(const struct hasher *h, uint32_t block, uint64_t *out_place)
{
    uint32_t at;
    const struct grain *const g = grain_of(h, block, &at);

    if ((g->data >> at & 1) == 0)
        return false;
    *out_place = map_place(&h->io->target->map, g, at);
    return true;
}

static void tell_without_data(struct hasher *h, uint32_t block)
{
    const struct layer *const layer = map_layer(&h->io->target->map, h->io->generation);
    const uint64_t grain = (h->io->offset / STORE_BLOCK_BYTES + block) / GRAIN_BLOCKS;
    uint32_t at;
    const struct grain *const g = grain_of(h, block, &at);

    if ((layer_spoiled(layer, (uint32_t)grain) >> at & 1) != 0)
        item_of(h, block)->state = STORE_BLOCK_BAD;
    else if ((g->zero >> at & 1) != 0)
        item_of(h, block)->state = STORE_BLOCK_ZERO;
}

/* ---- What is read next ---- */

/* Blocks with data, in a row here and on the disk, in one block of the checksum table. */
static bool choose_run(struct hasher *h)
{
    const uint32_t blocks = block_count(h->io);
    uint64_t place;

    for (; h->next < blocks && !block_place(h, h->next, &h->place); h->next++)
        tell_without_data(h, h->next);
    if (h->next == blocks)
        return false;
    h->first = h->next;
    h->count = 1;
    while (h->first + h->count < blocks && h->count < GRAIN_BLOCKS &&
           sums_run(h->place, h->count + 1) > h->count &&
           block_place(h, h->first + h->count, &place) && place == h->place + h->count)
        h->count++;
    h->next = h->first + h->count;
    return true;
}

/* A block of a run that could not be read. */
static bool choose_again(struct hasher *h)
{
    for (uint32_t i = 0; i < block_count(h->io); i++) {
        uint32_t *const word = &h->again[i / 32];
        if ((*word >> i % 32 & 1) == 0)
            continue;
        *word &= ~(UINT32_C(1) << i % 32);
        h->first = i;
        h->count = 1;
        if (block_place(h, i, &h->place))
            return true;
    }
    return false;
}

/* Whether the checksums of what was chosen are there; they are held from now on. */
static bool hash_hold(struct hasher *h)
{
    struct store *const store = h->store;

    if (!h->held) {
        if (!sums_hold(&store->sums, h->place, false))
            return false;
        h->held = true;
        sums_loader_run(&store->sums_loader);
    }
    return sums_is_loaded(&store->sums, h->place);
}

static bool hash_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct hasher *const h = CONTAINER_OF(sweep, struct hasher, sweep);

    if (!h->chosen && !choose_run(h) && !choose_again(h)) {
        sweep->paused = h->reading > 0; /* That may fail, and be tried again block by block. */
        return false;
    }
    h->chosen = true;
    if (!hash_hold(h)) {
        sweep->paused = true;
        return false;
    }
    h->chosen = h->held = false;
    h->reading++;
    slot->arg[0] = h->place;
    slot->arg[1] = h->first;
    slot->bytes = (size_t)h->count * STORE_BLOCK_BYTES;
    slot->offset = store_data_offset(h->store, h->place);
    return true;
}

/* ---- What was read ---- */

static void hash_block(struct hasher *h, const struct sweep_slot *slot, uint32_t i)
{
    struct store *const store = h->store;
    const uint8_t *const at = slot->buffer + (size_t)i * STORE_BLOCK_BYTES;
    struct store_hash *const item = item_of(h, (uint32_t)slot->arg[1] + i);
    const bool good = status_ok(slot->status) &&
                      crc32c(at, STORE_BLOCK_BYTES) == sums_get(&store->sums, slot->arg[0] + i);

    item->state = good ? STORE_BLOCK_DATA : STORE_BLOCK_BAD;
    if (!good) {
        store->media_errors++;
        return;
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(at, STORE_BLOCK_BYTES));
    memcpy(item->hash, &canonical, sizeof item->hash);
}

static struct status hash_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct hasher *const h = CONTAINER_OF(sweep, struct hasher, sweep);
    const uint32_t first = (uint32_t)slot->arg[1];
    const uint32_t count = (uint32_t)(slot->bytes / STORE_BLOCK_BYTES);
    const bool again = !status_ok(slot->status) && count > 1;

    for (uint32_t i = 0; i < count; i++) {
        if (again)
            h->again[(first + i) / 32] |= UINT32_C(1) << (first + i) % 32;
        else
            hash_block(h, slot, i);
    }
    assert(h->reading > 0);
    h->reading--;
    sums_release(&h->store->sums, slot->arg[0], false);
    return STATUS(OK);
}

static void hash_done(struct sweep *sweep, struct status status)
{
    struct hasher *const h = CONTAINER_OF(sweep, struct hasher, sweep);
    struct store_io *const io = h->io;

    assert(!h->held && h->reading == 0);
    h->io = NULL;
    command_finish(io, status);
}

static const struct sweep_ops hash_ops = {
    .next = hash_next,
    .item = hash_item,
    .done = hash_done,
};

/* ---- Commands ---- */

static struct hasher *idle_hasher(struct store *store)
{
    for (unsigned i = 0; i < HASHERS; i++) {
        if (store->hashers[i].io == NULL)
            return &store->hashers[i];
    }
    return NULL;
}

static void hash_start(struct hasher *h, struct store_io *io)
{
    h->io = io;
    h->next = 0;
    h->reading = 0;
    h->chosen = h->held = false;
    memset(h->again, 0, sizeof h->again);
    h->sweep.ops = &hash_ops;
    h->sweep.dev = h->store->dev;
    h->sweep.depth = HASH_DEPTH;
    h->sweep.buffer_bytes = STORE_GRAIN_BYTES;
    h->sweep.lent = h->buffers;
    sweep_start(&h->sweep);
}

bool hash_admit(struct store_io *io)
{
    struct store *const store = io->session->store;
    struct shard *const shard = catalog_shard_by_index(io->session->volume, io->shard);
    struct hasher *const h = idle_hasher(store);

    if (shard == NULL) {
        command_finish(io, STATUS(UNKNOWN_SHARD));
        return true;
    }
    if (h == NULL || !range_is_settled(store, shard, io->offset, io->bytes))
        return false;
    memset(io->data.at, 0, io->data.bytes); /* All absent. */
    if (map_layer(&shard->map, io->generation) == NULL) {
        command_finish(io, STATUS(OK));
        return true;
    }
    command_activate(io, shard);
    hash_start(h, io);
    return true;
}

void hash_run(struct store *store)
{
    for (unsigned i = 0; i < HASHERS; i++) {
        if (store->hashers[i].io != NULL && store->hashers[i].sweep.paused)
            sweep_resume(&store->hashers[i].sweep);
    }
}

struct status hashers_init(struct store *store)
{
    for (unsigned i = 0; i < HASHERS; i++) {
        struct hasher *const h = &store->hashers[i];
        h->store = store;
        h->buffers = aligned_alloc(DISK_BLOCK_BYTES, HASH_DEPTH * STORE_GRAIN_BYTES);
        if (h->buffers == NULL)
            return STATUS(NO_MEMORY);
    }
    return STATUS(OK);
}

void hashers_fini(struct store *store)
{
    for (unsigned i = 0; i < HASHERS; i++)
        free(store->hashers[i].buffers);
}
