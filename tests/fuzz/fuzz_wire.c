/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of engines to stores, and their data.
 *
 *   byte 0: which data follow (0: none of them, a command alone); bit 7: CRCs are made right
 *   a command: its entry (64), length of its data (4)
 *   data: themselves, or for those of HASH their number of blocks (2) first
 *
 * What is accepted has one form: encoded again, it is the same bytes; and all of its items can be
 * read.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "store/wire.h"

#define INPUT_KIND_MASK 0x0f
#define INPUT_RIGHT_CRC 0x80
#define INPUT_BYTES_MAX ((size_t)64 << 10)

enum kind {
    KIND_COMMAND,
    KIND_OPEN,
    KIND_SET,
    KIND_STATE,
    KIND_CLOSE,
    KIND_MERGE,
    KIND_REGIONS,
    KIND_HASH,
    KIND_POINTS,
    KIND_KEEP_POINTS,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- Commands ---- */

/* docs/replication.md, section 2.3: bytes 0, 4 to 23 and 40 to 59. */
static void make_entry_right(uint8_t *entry)
{
    uint8_t covered[41];

    covered[0] = entry[0];
    memcpy(covered + 1, entry + 4, 20);
    memcpy(covered + 21, entry + 40, 20);
    const struct le32 crc = le32_make(crc32c(covered, sizeof covered));
    memcpy(entry + 60, &crc, sizeof crc);
}

static void fuzz_command(const uint8_t *data, size_t bytes, bool right_crc)
{
    uint8_t entry[WIRE_ENTRY_BYTES], again[WIRE_ENTRY_BYTES];
    struct wire_command c;
    struct le32 data_bytes;

    if (bytes != sizeof entry + sizeof data_bytes)
        return;
    memcpy(entry, data, sizeof entry);
    memcpy(&data_bytes, data + sizeof entry, sizeof data_bytes);
    if (right_crc)
        make_entry_right(entry);
    if (!status_ok(wire_command_decode(entry, le32_get(data_bytes), &c)))
        return;
    assert(le32_get(data_bytes) <= NVME_DATA_BYTES_MAX);
    assert(wire_command_is_valid(&c));
    wire_command_encode(&c, again);
    /* But for what the transport fills in. */
    assert(entry[0] == again[0]);
    assert(memcmp(entry + 4, again + 4, 20) == 0);
    assert(memcmp(entry + 40, again + 40, 24) == 0);
}

/* ---- Data ---- */

static struct wire_set *copy_sets(struct wire_items items)
{
    struct wire_set *sets = calloc(items.count + 1, sizeof *sets);

    assert(sets != NULL);
    for (uint32_t i = 0; i < items.count; i++)
        sets[i] = wire_set_get(items, i);
    return sets;
}

static struct wire_region *copy_regions(struct wire_items items)
{
    struct wire_region *regions = calloc(items.count + 1, sizeof *regions);

    assert(regions != NULL);
    for (uint32_t i = 0; i < items.count; i++)
        regions[i] = wire_region_get(items, i);
    return regions;
}

static bool again_open(struct const_span data, struct span out)
{
    struct wire_open open;

    if (!status_ok(wire_open_decode(data, &open)))
        return false;
    assert(store_volume_is_valid(&open.volume));
    struct wire_set *sets = copy_sets(open.sets);
    wire_open_encode(&open, sets, out);
    free(sets);
    return true;
}

static bool again_set(struct const_span data, struct span out)
{
    struct wire_items items;
    uint64_t sequence;

    if (!status_ok(wire_set_decode(data, &sequence, &items)))
        return false;
    struct wire_set *sets = copy_sets(items);
    wire_set_encode(sequence, sets, items.count, out);
    free(sets);
    return true;
}

static bool again_state(struct const_span data, struct span out)
{
    struct wire_state state;

    if (!status_ok(wire_state_decode(data, &state)))
        return false;
    struct wire_set *sets = copy_sets(state.sets);
    wire_state_encode(&state, sets, out);
    free(sets);
    return true;
}

static bool again_items(enum wire_opcode opcode, struct const_span data, struct span out)
{
    struct wire_items items;

    if (!status_ok(wire_region_items_decode(opcode, data, &items)))
        return false;
    struct wire_region *regions = copy_regions(items);
    wire_region_items_encode(opcode, regions, items.count, out);
    free(regions);
    return true;
}

static bool again_regions(struct const_span data, struct span out)
{
    struct wire_items items;
    uint64_t cursor;

    if (!status_ok(wire_regions_decode(data, 0, &cursor, &items)))
        return false;
    assert(cursor > 0);
    struct wire_region *regions = copy_regions(items);
    wire_regions_encode(cursor, regions, items.count, out);
    free(regions);
    return true;
}

static struct store_point *copy_points(struct wire_items items)
{
    struct store_point *points = calloc(items.count + 1, sizeof *points);

    assert(points != NULL && items.count <= STORE_POINTS_MAX);
    for (uint32_t i = 0; i < items.count; i++)
        points[i] = wire_point_get(items, i);
    return points;
}

static bool again_points(struct const_span data, struct span out)
{
    struct wire_items items;
    uint64_t cursor;

    if (!status_ok(wire_points_decode(data, 0, &cursor, &items)))
        return false;
    assert(cursor > 0 && items.count > 0);
    struct store_point *points = copy_points(items);
    wire_points_encode(cursor, points, items.count, out);
    free(points);
    return true;
}

static bool again_keep_points(struct const_span data, struct span out)
{
    struct wire_items items;

    if (!status_ok(wire_keep_points_decode(data, &items)))
        return false;
    struct store_point *points = copy_points(items);
    wire_keep_points_encode(points, items.count, out);
    free(points);
    return true;
}

static bool again_hashes(uint32_t blocks, struct const_span data, struct span out)
{
    struct wire_items items;
    struct wire_hash hashes[WIRE_REGION_BLOCKS];

    if (blocks == 0 || blocks > WIRE_REGION_BLOCKS ||
        !status_ok(wire_hashes_decode(data, blocks, &items)))
        return false;
    assert(items.count == blocks);
    for (uint32_t i = 0; i < blocks; i++)
        hashes[i] = wire_hash_get(items, i);
    wire_hashes_encode(hashes, blocks, out);
    return true;
}

/* Decodes data, and encodes what they were into out; false if they were refused. */
static bool encode_again(enum kind kind, uint32_t blocks, struct const_span data, struct span out)
{
    switch (kind) {
    case KIND_OPEN:
        return again_open(data, out);
    case KIND_SET:
        return again_set(data, out);
    case KIND_STATE:
        return again_state(data, out);
    case KIND_CLOSE:
        return again_items(WIRE_CLOSE_REGIONS, data, out);
    case KIND_MERGE:
        return again_items(WIRE_MERGE_REGIONS, data, out);
    case KIND_REGIONS:
        return again_regions(data, out);
    case KIND_HASH:
        return again_hashes(blocks, data, out);
    case KIND_POINTS:
        return again_points(data, out);
    case KIND_KEEP_POINTS:
        return again_keep_points(data, out);
    case KIND_COMMAND:
        break;
    }
    return false;
}

/* Each in memory of its own, so that the sanitizers see a byte too far. */
static void fuzz_data(enum kind kind, const uint8_t *data, size_t bytes, bool right_crc)
{
    struct le16 blocks = { { 0 } };

    if (kind == KIND_HASH) {
        if (bytes < sizeof blocks)
            return;
        memcpy(&blocks, data, sizeof blocks);
        data += sizeof blocks;
        bytes -= sizeof blocks;
    }
    uint8_t *in = malloc(bytes > 0 ? bytes : 1), *out = malloc(bytes > 0 ? bytes : 1);
    assert(in != NULL && out != NULL);
    memcpy(in, data, bytes);
    if (right_crc && bytes > 4) {
        const struct le32 crc = le32_make(crc32c(in + 4, bytes - 4));
        memcpy(in, &crc, sizeof crc);
    }
    if (encode_again(kind, le16_get(blocks), (struct const_span) { in, bytes },
                     (struct span) { out, bytes }))
        assert(memcmp(in, out, bytes) == 0);
    free(out);
    free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0 || bytes > INPUT_BYTES_MAX)
        return 0;
    const enum kind kind = (enum kind)(data[0] & INPUT_KIND_MASK);
    const bool right_crc = (data[0] & INPUT_RIGHT_CRC) != 0;

    if (kind == KIND_COMMAND)
        fuzz_command(data + 1, bytes - 1, right_crc);
    else
        fuzz_data(kind, data + 1, bytes - 1, right_crc);
    return 0;
}
