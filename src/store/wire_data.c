/* SPDX-License-Identifier: Apache-2.0 */
/* The head of data, region lists and hashes: docs/replication.md, section 2.5. */
#include <assert.h>

#include "base/crc32c.h"
#include "store/wire_internal.h"

#define REGIONS_OF_SHARD_MAX ((uint32_t)(STORE_SHARD_BYTES_MAX / STORE_REGION_BYTES))
#define CRC_BYTES            sizeof(struct le32)

/* ---- The head ---- */

bool wire_zeros(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != 0)
            return false;
    }
    return true;
}

struct wire_head_format wire_head_make(enum wire_opcode opcode, uint32_t items)
{
    return (struct wire_head_format) { .version = le16_make(WIRE_VERSION),
                                       .opcode = (uint8_t)opcode,
                                       .items = le32_make(items) };
}

void wire_finish(struct span out, size_t used)
{
    assert(used <= out.bytes);
    memset(out.at + used, 0, out.bytes - used);
    const struct le32 crc = le32_make(crc32c(out.at + CRC_BYTES, out.bytes - CRC_BYTES));
    memcpy(out.at, &crc, sizeof crc);
}

struct status MUST_CHECK wire_open_data(struct const_span data, const struct wire_layout *l,
                                        struct wire_items *out_items)
{
    struct wire_head_format head;

    if (data.bytes < l->head_bytes)
        return STATUS(MALFORMED);
    memcpy(&head, data.at, sizeof head);
    if (crc32c(data.at + CRC_BYTES, data.bytes - CRC_BYTES) != le32_get(head.crc))
        return STATUS(BAD_DIGEST);
    if (le16_get(head.version) != WIRE_VERSION)
        return STATUS(BAD_VERSION);
    const uint32_t items = le32_get(head.items);
    const size_t room = data.bytes - l->head_bytes;
    if (head.opcode != l->opcode || head.zero_7 != 0 || le32_get(head.zero_12) != 0 ||
        items > room / l->item_bytes)
        return STATUS(MALFORMED);
    const size_t used = l->head_bytes + items * l->item_bytes;
    if (!wire_zeros(data.at + used, data.bytes - used))
        return STATUS(MALFORMED);
    *out_items = (struct wire_items) { data.at + l->head_bytes, items };
    return STATUS(OK);
}

bool wire_is_full(struct const_span data, const struct wire_layout *l, struct wire_items items)
{
    return data.bytes == l->head_bytes + items.count * l->item_bytes;
}

/* ---- Regions ---- */

static bool region_is_valid(enum wire_opcode opcode, const struct wire_region *r)
{
    return r->shard < STORE_SHARDS_MAX && r->region < REGIONS_OF_SHARD_MAX && r->count > 0 &&
           r->count <= REGIONS_OF_SHARD_MAX - r->region && r->slots != 0 &&
           r->slots <= WIRE_SLOTS_MASK && (opcode == WIRE_CLOSE_REGIONS || r->tick == 0) &&
           r->copyset <= (opcode == WIRE_MERGE_REGIONS ? STORE_COPYSET_MAX : 0);
}

struct wire_region wire_region_get(struct wire_items regions, uint32_t i)
{
    struct wire_region_item_format f;

    assert(i < regions.count);
    memcpy(&f, regions.at + i * sizeof f, sizeof f);
    return (struct wire_region) { .shard = le32_get(f.shard),
                                  .region = le32_get(f.region),
                                  .count = le32_get(f.count),
                                  .tick = le32_get(f.tick),
                                  .copyset = le16_get(f.copyset),
                                  .slots = f.slots };
}

static bool regions_are_valid(enum wire_opcode opcode, struct wire_items regions)
{
    struct wire_region_item_format f;

    if (regions.count > STORE_REGIONS_MAX)
        return false;
    for (uint32_t i = 0; i < regions.count; i++) {
        const struct wire_region r = wire_region_get(regions, i);
        memcpy(&f, regions.at + i * sizeof f, sizeof f);
        if (!region_is_valid(opcode, &r) || f.zero_19 != 0)
            return false;
    }
    return true;
}

static size_t put_regions(enum wire_opcode opcode, const struct wire_region *regions,
                          uint32_t count, struct span out, size_t at)
{
    assert(count <= STORE_REGIONS_MAX);

    for (uint32_t i = 0; i < count; i++) {
        const struct wire_region *r = &regions[i];
        const struct wire_region_item_format f = { .shard = le32_make(r->shard),
                                                   .region = le32_make(r->region),
                                                   .count = le32_make(r->count),
                                                   .tick = le32_make(r->tick),
                                                   .copyset = le16_make(r->copyset),
                                                   .slots = r->slots };
        assert(region_is_valid(opcode, r));
        memcpy(span_sub(out, at, sizeof f).at, &f, sizeof f);
        at += sizeof f;
    }
    return at;
}

void wire_region_items_encode(enum wire_opcode opcode, const struct wire_region *regions,
                              uint32_t count, struct span out)
{
    const struct wire_head_format f = wire_head_make(opcode, count);

    assert(opcode == WIRE_CLOSE_REGIONS || opcode == WIRE_MERGE_REGIONS);
    memcpy(out.at, &f, sizeof f);
    wire_finish(out, put_regions(opcode, regions, count, out, sizeof f));
}

struct status wire_region_items_decode(enum wire_opcode opcode, struct const_span data,
                                       struct wire_items *out_regions)
{
    const struct wire_layout layout = { opcode, sizeof(struct wire_head_format),
                                        sizeof(struct wire_region_item_format) };
    struct wire_items regions;

    assert(opcode == WIRE_CLOSE_REGIONS || opcode == WIRE_MERGE_REGIONS);
    TRY(wire_open_data(data, &layout, &regions));
    if (!wire_is_full(data, &layout, regions) || regions.count == 0 ||
        !regions_are_valid(opcode, regions))
        return STATUS(MALFORMED);
    *out_regions = regions;
    return STATUS(OK);
}

static const struct wire_layout regions_layout = { WIRE_REGIONS, sizeof(struct wire_regions_format),
                                                   sizeof(struct wire_region_item_format) };

void wire_regions_encode(uint64_t cursor, const struct wire_region *regions, uint32_t count,
                         struct span out)
{
    const struct wire_regions_format f = { .head = wire_head_make(WIRE_REGIONS, count),
                                           .cursor = le64_make(cursor) };

    memcpy(out.at, &f, sizeof f);
    wire_finish(out, put_regions(WIRE_REGIONS, regions, count, out, sizeof f));
}

struct status wire_regions_decode(struct const_span data, uint64_t asked, uint64_t *out_cursor,
                                  struct wire_items *out_regions)
{
    struct wire_regions_format f;
    struct wire_items regions;

    TRY(wire_open_data(data, &regions_layout, &regions));
    memcpy(&f, data.at, sizeof f);
    const uint64_t cursor = le64_get(f.cursor);
    if (le64_get(f.zero_24) != 0 || cursor <= asked || !regions_are_valid(WIRE_REGIONS, regions))
        return STATUS(MALFORMED);
    *out_cursor = cursor;
    *out_regions = regions;
    return STATUS(OK);
}

/* ---- HASH ---- */

static const uint8_t no_hash[WIRE_HASH_BYTES];

/* The states lie behind all hashes, one byte each. */
struct wire_hash wire_hash_get(struct wire_items hashes, uint32_t i)
{
    const uint8_t *states = hashes.at + (size_t)hashes.count * WIRE_HASH_BYTES;
    struct wire_hash h;

    assert(i < hashes.count);
    h.state = (enum wire_block_state)states[i];
    memcpy(h.hash, hashes.at + (size_t)i * WIRE_HASH_BYTES, sizeof h.hash);
    return h;
}

static bool hash_is_valid(const struct wire_hash *h)
{
    if (h->state == WIRE_BLOCK_DATA)
        return true;
    return h->state <= WIRE_BLOCK_BAD && memcmp(h->hash, no_hash, sizeof no_hash) == 0;
}

void wire_hashes_encode(const struct wire_hash *hashes, uint32_t count, struct span out)
{
    const struct wire_head_format f = wire_head_make(WIRE_HASH, count);
    uint8_t *const states = out.at + sizeof f + (size_t)count * WIRE_HASH_BYTES;

    assert(count > 0 && count <= WIRE_REGION_BLOCKS);
    assert(out.bytes >= sizeof f + count * (WIRE_HASH_BYTES + 1));
    memcpy(out.at, &f, sizeof f);
    for (uint32_t i = 0; i < count; i++) {
        assert(hash_is_valid(&hashes[i]));
        memcpy(out.at + sizeof f + (size_t)i * WIRE_HASH_BYTES, hashes[i].hash, WIRE_HASH_BYTES);
        states[i] = (uint8_t)hashes[i].state;
    }
    wire_finish(out, sizeof f + count * (WIRE_HASH_BYTES + 1));
}

struct status wire_hashes_decode(struct const_span data, uint32_t blocks,
                                 struct wire_items *out_hashes)
{
    /* With its state an item has one byte more, though they do not lie together. */
    const struct wire_layout layout = { WIRE_HASH, sizeof(struct wire_head_format),
                                        WIRE_HASH_BYTES + 1 };
    struct wire_items hashes;

    TRY(wire_open_data(data, &layout, &hashes));
    if (hashes.count != blocks)
        return STATUS(MALFORMED);
    for (uint32_t i = 0; i < blocks; i++) {
        const struct wire_hash h = wire_hash_get(hashes, i);
        if (!hash_is_valid(&h))
            return STATUS(MALFORMED);
    }
    *out_hashes = hashes;
    return STATUS(OK);
}
