/* SPDX-License-Identifier: Apache-2.0 */
/* The wire of the store protocol: docs/replication.md, section 2. */
#include "store/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "wire_bytes.h"

#define UUID(x)                                            \
    {                                                      \
        {                                                  \
            x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x \
        }                                                  \
    }

static const uint8_t opcodes[] = {
    WIRE_OPEN,    WIRE_READ,          WIRE_WRITE,   WIRE_STATE,         WIRE_ZERO,       WIRE_FLUSH,
    WIRE_CONFIRM, WIRE_CLOSE_REGIONS, WIRE_REGIONS, WIRE_MERGE_REGIONS, WIRE_HASH,       WIRE_SET,
    WIRE_SPOIL,   WIRE_RELEASE,       WIRE_DELETE,  WIRE_POINTS,        WIRE_KEEP_POINTS
};

/* ---- Entries ---- */

static const struct wire_command write_command = {
    .opcode = WIRE_WRITE,
    .handle = 0x01020304,
    .shard = 0x0a0b0c,
    .tick = 0x11121314,
    .epoch = UINT64_C(0x2122232425262728),
    .first = 0x01313233,
    .blocks = 127,
    .flags = WIRE_FUA | WIRE_CREATE | WIRE_COPY,
    .copyset = 0xabc,
    .argument = UINT64_C(0x4142434445464748),
    .session = 0x51525354,
};

/* The CRC over bytes 0, 4 to 23 and 40 to 59, at 60. */
static void fix_entry(uint8_t *entry)
{
    uint8_t covered[41];

    covered[0] = entry[0];
    memcpy(covered + 1, entry + 4, 20);
    memcpy(covered + 21, entry + 40, 20);
    const struct le32 crc = le32_make(crc32c(covered, sizeof covered));
    memcpy(entry + 60, &crc, sizeof crc);
}

/* The smallest command of an opcode, with no field but those that it must have. */
static struct wire_command smallest(enum wire_opcode opcode)
{
    struct wire_command c = { .opcode = opcode, .handle = 1, .epoch = 1, .blocks = 1 };

    switch (opcode) {
    case WIRE_OPEN:
        c.handle = 0;
        c.blocks = 0;
        break;
    case WIRE_STATE:
    case WIRE_FLUSH:
    case WIRE_CONFIRM:
    case WIRE_CLOSE_REGIONS:
    case WIRE_MERGE_REGIONS:
    case WIRE_SET:
    case WIRE_KEEP_POINTS:
    case WIRE_RELEASE:
    case WIRE_DELETE:
        c.blocks = 0;
        break;
    default:
        break;
    }
    return c;
}

/* Items of the shortest data. */
static uint32_t least_items(enum wire_opcode opcode)
{
    return opcode == WIRE_CLOSE_REGIONS || opcode == WIRE_MERGE_REGIONS || opcode == WIRE_SET ||
           opcode == WIRE_KEEP_POINTS;
}

static struct status decode(const uint8_t *entry, const struct wire_command *c)
{
    struct wire_command got;
    return wire_command_decode(entry, wire_data_bytes(c, least_items(c->opcode)), &got);
}

static void assert_commands_equal(const struct wire_command *a, const struct wire_command *b)
{
    assert_int_equal(a->opcode, b->opcode);
    assert_int_equal(a->handle, b->handle);
    assert_int_equal(a->shard, b->shard);
    assert_int_equal(a->tick, b->tick);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->blocks, b->blocks);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->copyset, b->copyset);
    assert_int_equal(a->argument, b->argument);
    assert_int_equal(a->session, b->session);
}

static void an_entry_is_byte_by_byte_as_described(void **state)
{
    (void)state;
    uint8_t entry[WIRE_ENTRY_BYTES];
    struct wire_command got;

    wire_command_encode(&write_command, entry);
    assert_memory_equal(entry, write_entry, sizeof entry);
    assert_int_equal(wire_command_decode(write_entry, 127 * 4100, &got).code, STATUS_OK);
    assert_commands_equal(&got, &write_command);
}

/* Each command comes out as it went in, and its opcode says which way its data go. */
static void every_command_goes_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof opcodes; i++) {
        const struct wire_command c = smallest((enum wire_opcode)opcodes[i]);
        uint8_t entry[WIRE_ENTRY_BYTES];
        struct wire_command got;

        wire_command_encode(&c, entry);
        const uint32_t bytes = wire_data_bytes(&c, least_items(c.opcode));
        assert_int_equal(wire_command_decode(entry, bytes, &got).code, STATUS_OK);
        assert_commands_equal(&got, &c);
        assert_int_equal((opcodes[i] & 3) != 0, bytes > 0);
        assert_true((opcodes[i] & 3) != 3);
        /* Any other length is refused. */
        assert_int_equal(wire_command_decode(entry, bytes + 1, &got).code, STATUS_MALFORMED);
        if (bytes > 0)
            assert_int_equal(wire_command_decode(entry, bytes - 1, &got).code, STATUS_MALFORMED);
        assert_int_equal(wire_command_decode(entry, UINT32_MAX, &got).code, STATUS_MALFORMED);
    }
}

/* Where the number of items follows from the length, that has its limits. */
static void items_have_limits(void **state)
{
    static const struct {
        enum wire_opcode opcode;
        uint32_t min, max;
    } limits[] = {
        { WIRE_OPEN, 0, STORE_COPYSETS_MAX },         { WIRE_SET, 1, STORE_COPYSETS_MAX },
        { WIRE_CLOSE_REGIONS, 1, STORE_REGIONS_MAX }, { WIRE_MERGE_REGIONS, 1, STORE_REGIONS_MAX },
        { WIRE_KEEP_POINTS, 1, STORE_POINTS_MAX },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(limits); i++) {
        const struct wire_command c = smallest(limits[i].opcode);
        uint8_t entry[WIRE_ENTRY_BYTES];
        struct wire_command got;

        wire_command_encode(&c, entry);
        for (uint32_t items = 0; items < 300; items++)
            assert_int_equal(wire_command_decode(entry, wire_data_bytes(&c, items), &got).code,
                             items >= limits[i].min && items <= limits[i].max ? STATUS_OK
                                                                              : STATUS_MALFORMED);
    }
}

static void an_unknown_opcode_is_not_supported(void **state)
{
    (void)state;
    unsigned known = 0;

    for (unsigned opcode = 0; opcode < 256; opcode++) {
        uint8_t entry[WIRE_ENTRY_BYTES];
        struct wire_command got;

        memcpy(entry, write_entry, sizeof entry);
        entry[0] = (uint8_t)opcode;
        fix_entry(entry);
        known += wire_opcode_is_known((uint8_t)opcode) ? 1 : 0;
        if (!wire_opcode_is_known((uint8_t)opcode))
            assert_int_equal(wire_command_decode(entry, 127 * 4100, &got).code, STATUS_UNSUPPORTED);
    }
    assert_int_equal(known, sizeof opcodes);
}

/* Of a flipped bit the CRC tells, unless it is the transport's: flags, CID, SGL. */
static void the_crc_covers_what_is_not_the_transports(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 8 * WIRE_ENTRY_BYTES; bit++) {
        const unsigned at = bit / 8;
        const bool transports = (at >= 1 && at < 4) || (at >= 24 && at < 40);
        uint8_t entry[WIRE_ENTRY_BYTES];

        memcpy(entry, write_entry, sizeof entry);
        entry[at] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(decode(entry, &write_command).code,
                         transports ? STATUS_OK : STATUS_BAD_DIGEST);
    }
}

/* Which fields a command uses besides epoch and session: of handle, shard, tick, first, blocks,
 * argument, and the flags. */
struct use {
    uint8_t opcode;
    const char *fields;
    uint8_t flags;
};

static const struct use uses[] = {
    { WIRE_OPEN, "t", 0 },           { WIRE_READ, "hsfba", 0 },      { WIRE_WRITE, "hstfba", 0xd },
    { WIRE_STATE, "hba", 0 },        { WIRE_ZERO, "hstfba", 0xb },   { WIRE_FLUSH, "ha", 0 },
    { WIRE_CONFIRM, "h", 0 },        { WIRE_CLOSE_REGIONS, "h", 0 }, { WIRE_REGIONS, "hba", 0 },
    { WIRE_MERGE_REGIONS, "ht", 0 }, { WIRE_HASH, "hsfba", 0 },      { WIRE_SET, "h", 0 },
    { WIRE_SPOIL, "hstfba", 0 },     { WIRE_RELEASE, "h", 0 },       { WIRE_DELETE, "h", 0 },
    { WIRE_POINTS, "hba", 0 },       { WIRE_KEEP_POINTS, "h", 0x3 },
};

static bool may_be_2(const struct use *use, unsigned at)
{
    static const char fields[] = {
        [4] = 'h', [8] = 's', [12] = 't', [40] = 'f', [44] = 'b', [48] = 'a'
    };

    if (at == 16 || at == 56) /* Epoch, session. */
        return true;
    return at < sizeof fields && fields[at] != 0 && strchr(use->fields, fields[at]) != NULL;
}

static void what_a_command_does_not_use_is_zero(void **state)
{
    static const unsigned places[] = { 4, 8, 12, 16, 40, 44, 48, 56 };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(uses); i++) {
        const struct use *use = &uses[i];
        struct wire_command c = smallest((enum wire_opcode)use->opcode);
        uint8_t entry[WIRE_ENTRY_BYTES];

        for (size_t j = 0; j < ARRAY_COUNT(places); j++) {
            wire_command_encode(&c, entry);
            entry[places[j]] = 2;
            fix_entry(entry);
            struct wire_command with = c;
            with.blocks = places[j] == 44 ? 2 : c.blocks;
            assert_int_equal(decode(entry, &with).code,
                             may_be_2(use, places[j]) ? STATUS_OK : STATUS_MALFORMED);
        }
        for (unsigned flags = 0; flags < 16; flags++) {
            wire_command_encode(&c, entry);
            entry[46] = (uint8_t)flags;
            fix_entry(entry);
            assert_int_equal(decode(entry, &c).code,
                             (flags & ~use->flags) == 0 ? STATUS_OK : STATUS_MALFORMED);
        }
    }
}

/* A copyset is named where the shard may be created, and nowhere else. */
static void a_copyset_needs_create(void **state)
{
    (void)state;
    struct wire_command c = write_command;

    c.flags = WIRE_FUA;
    assert_false(wire_command_is_valid(&c));
    c.copyset = 0;
    assert_true(wire_command_is_valid(&c));
    c.flags = WIRE_CREATE;
    assert_true(wire_command_is_valid(&c));
    c.copyset = STORE_COPYSET_MAX;
    assert_true(wire_command_is_valid(&c));
    c.copyset++;
    assert_false(wire_command_is_valid(&c));
}

static bool is_valid(enum wire_opcode opcode, uint32_t first, uint32_t blocks)
{
    struct wire_command c = smallest(opcode);

    c.first = first;
    c.blocks = blocks;
    return wire_command_is_valid(&c);
}

static void ranges_have_limits(void **state)
{
    (void)state;
    const uint32_t end = (uint32_t)(STORE_SHARD_BYTES_MAX / 4096);

    assert_false(is_valid(WIRE_WRITE, 0, 0));
    assert_true(is_valid(WIRE_WRITE, 0, 127));
    assert_false(is_valid(WIRE_WRITE, 0, 128));
    assert_false(is_valid(WIRE_READ, 0, 128));
    assert_true(is_valid(WIRE_READ, end - 1, 1));
    assert_false(is_valid(WIRE_READ, end - 1, 2));
    assert_false(is_valid(WIRE_READ, end, 1));
    assert_false(is_valid(WIRE_READ, UINT32_MAX, 2));
    assert_true(is_valid(WIRE_ZERO, 0, 65535));
    assert_false(is_valid(WIRE_ZERO, 0, 65536));
    assert_false(is_valid(WIRE_ZERO, end - 65534, 65535));
    assert_true(is_valid(WIRE_HASH, 0, 256));
    assert_false(is_valid(WIRE_HASH, 0, 257));
    assert_true(is_valid(WIRE_SPOIL, 0, 256));
    assert_false(is_valid(WIRE_SPOIL, 0, 257));
    assert_true(is_valid(WIRE_STATE, 0, 32));
    assert_false(is_valid(WIRE_STATE, 0, 33));
    assert_true(is_valid(WIRE_REGIONS, 0, 250));
    assert_false(is_valid(WIRE_REGIONS, 0, 251));
    assert_false(is_valid(WIRE_REGIONS, 0, 0));
    assert_true(is_valid(WIRE_POINTS, 0, 128));
    assert_false(is_valid(WIRE_POINTS, 0, 129));
    assert_false(is_valid(WIRE_POINTS, 0, 0));
}

static void names_have_limits(void **state)
{
    (void)state;
    struct wire_command c = smallest(WIRE_READ);

    c.shard = STORE_SHARDS_MAX - 1;
    assert_true(wire_command_is_valid(&c));
    c.shard++;
    assert_false(wire_command_is_valid(&c));
    c.shard = 0;
    c.handle = 0;
    assert_false(wire_command_is_valid(&c));
    c.handle = NVME_NSID_ALL;
    assert_false(wire_command_is_valid(&c));
    c.handle = NVME_NSID_ALL - 1;
    assert_true(wire_command_is_valid(&c));
    c.epoch = 0;
    assert_false(wire_command_is_valid(&c));
    c = smallest(WIRE_REGIONS);
    c.argument = STORE_CURSOR_END;
    assert_false(wire_command_is_valid(&c));
    c = smallest(WIRE_POINTS);
    c.argument = STORE_CURSOR_END;
    assert_false(wire_command_is_valid(&c));
    c = smallest(WIRE_STATE);
    c.argument = STORE_COPYSET_MAX + 1;
    assert_false(wire_command_is_valid(&c));
}

/* ---- Data ---- */

static const struct wire_set open_sets[] = {
    { .number = 5,
      .in = 3,
      .whole = 4,
      .disk = { UUID(2), UUID(7), UUID(8) },
      .incarnation = { 0x10, 0x20, 0x30 } },
    { .number = 6,
      .in = 2,
      .disk = { UUID(9), UUID(2), UUID(0) },
      .incarnation = { 0x40, 0x50, 0 } },
};

static const struct wire_open open_command = {
    .cluster = UUID(1),
    .disk = UUID(2),
    .session = UINT64_C(0x1122334455667788),
    .sequence = 9,
    .volume = { .uuid = UUID(3),
                .name = "db1",
                .bytes = UINT64_C(1) << 40,
                .shard_bytes = UINT64_C(1) << 30,
                .lba_bytes = 4096,
                .stripe_unit_bytes = 262144,
                .stripe_width = 4,
                .replicas = 3,
                .min_in_sync = 2,
                .continue_on_unflushed_loss = true },
    .sets = { .count = 2 },
};

static const struct wire_set one_set = {
    .number = 5, .in = 1, .disk = { UUID(2), UUID(7), UUID(8) }, .incarnation = { 1, 2, 3 }
};

static const struct wire_set state_set = { .number = 5,
                                           .in = 3,
                                           .whole = 4,
                                           .disk = { UUID(2), UUID(7), UUID(8) },
                                           .incarnation = { 1, 2, 3 } };

static const struct wire_region closed[] = {
    { .shard = 1, .region = 2, .count = 3, .tick = 4, .slots = 5 },
    { .shard = 6, .region = 131071, .count = 1, .tick = UINT32_MAX, .slots = 7 },
};

static const struct wire_region merged = {
    .shard = 0xfffff, .count = 131072, .copyset = 4095, .slots = 1
};

static const struct wire_region listed = { .shard = 1, .region = 2, .count = 3, .slots = 6 };

static const struct wire_hash hashes[] = {
    { WIRE_BLOCK_DATA, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } },
    { WIRE_BLOCK_ZERO, { 0 } },
    { WIRE_BLOCK_BAD, { 0 } },
};

static uint8_t data[8192];

static struct span out(size_t bytes)
{
    memset(data, 0xee, sizeof data);
    return (struct span) { data, bytes };
}

#define EXPECT_BYTES(expected)                                 \
    do {                                                       \
        assert_memory_equal(data, expected, sizeof(expected)); \
        assert_int_equal(data[sizeof(expected)], 0xee);        \
    } while (0)

static void data_are_byte_by_byte_as_described(void **state)
{
    (void)state;
    const struct wire_state answer = { .incarnation = UINT64_C(0x100000002),
                                       .generation = 7,
                                       .epoch = 3,
                                       .sequence = 9,
                                       .regions = 17,
                                       .set_count = 4,
                                       .reactor = 1,
                                       .flags = WIRE_STATE_LOSS | WIRE_STATE_CUT,
                                       .sets = { .count = 1 } };

    wire_open_encode(&open_command, open_sets, out(sizeof open_data));
    EXPECT_BYTES(open_data);
    wire_set_encode(10, &one_set, 1, out(sizeof set_data));
    EXPECT_BYTES(set_data);
    wire_state_encode(&answer, &state_set, out(sizeof state_data));
    EXPECT_BYTES(state_data);
    wire_region_items_encode(WIRE_CLOSE_REGIONS, closed, 2, out(sizeof close_data));
    EXPECT_BYTES(close_data);
    wire_region_items_encode(WIRE_MERGE_REGIONS, &merged, 1, out(sizeof merge_data));
    EXPECT_BYTES(merge_data);
    wire_regions_encode(UINT64_C(0x700000008), &listed, 1, out(sizeof regions_data));
    EXPECT_BYTES(regions_data);
    wire_hashes_encode(hashes, 3, out(sizeof hash_data));
    EXPECT_BYTES(hash_data);
}

#define SPAN(array) ((struct const_span) { array, sizeof(array) })

static void open_and_set_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct wire_open open;
    struct wire_items sets;
    uint64_t sequence;

    assert_int_equal(wire_open_decode(SPAN(open_data), &open).code, STATUS_OK);
    assert_true(uuid_equal(open.cluster, open_command.cluster));
    assert_true(uuid_equal(open.disk, open_command.disk));
    assert_int_equal(open.session, open_command.session);
    assert_int_equal(open.sequence, 9);
    assert_int_equal(open.group, 0);
    assert_false(open.known);
    assert_string_equal(open.volume.name, "db1");
    assert_int_equal(open.volume.bytes, open_command.volume.bytes);
    assert_int_equal(open.volume.replicas, 3);
    assert_true(open.volume.continue_on_unflushed_loss);
    assert_int_equal(open.sets.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct wire_set s = wire_set_get(open.sets, i);
        assert_int_equal(s.number, open_sets[i].number);
        assert_int_equal(s.in, open_sets[i].in);
        assert_int_equal(s.whole, open_sets[i].whole);
        assert_memory_equal(s.disk, open_sets[i].disk, sizeof s.disk);
        assert_memory_equal(s.incarnation, open_sets[i].incarnation, sizeof s.incarnation);
    }
    struct wire_open known = open_command;
    known.known = true;
    wire_open_encode(&known, open_sets, out(sizeof open_data));
    assert_int_equal(wire_open_decode((struct const_span) { data, sizeof open_data }, &open).code,
                     STATUS_OK);
    assert_true(open.known);
    assert_int_equal(wire_set_decode(SPAN(set_data), &sequence, &sets).code, STATUS_OK);
    assert_int_equal(sequence, 10);
    assert_int_equal(sets.count, 1);
    assert_int_equal(wire_set_get(sets, 0).in, 1);
}

static void answers_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct wire_state answer;
    struct wire_items items;
    uint64_t cursor;

    assert_int_equal(wire_state_decode(SPAN(state_data), &answer).code, STATUS_OK);
    assert_int_equal(answer.incarnation, UINT64_C(0x100000002));
    assert_int_equal(answer.generation, 7);
    assert_int_equal(answer.epoch, 3);
    assert_int_equal(answer.sequence, 9);
    assert_int_equal(answer.regions, 17);
    assert_int_equal(answer.set_count, 4);
    assert_int_equal(answer.reactor, 1);
    assert_int_equal(answer.flags, WIRE_STATE_LOSS | WIRE_STATE_CUT);
    assert_int_equal(wire_set_get(answer.sets, 0).whole, 4);
    assert_int_equal(wire_regions_decode(SPAN(regions_data), 8, &cursor, &items).code, STATUS_OK);
    assert_int_equal(cursor, UINT64_C(0x700000008));
    assert_int_equal(items.count, 1);
    assert_int_equal(wire_region_get(items, 0).slots, 6);
    assert_int_equal(wire_region_items_decode(WIRE_CLOSE_REGIONS, SPAN(close_data), &items).code,
                     STATUS_OK);
    assert_int_equal(items.count, 2);
    const struct wire_region last = wire_region_get(items, 1);
    assert_int_equal(last.shard, 6);
    assert_int_equal(last.region, 131071);
    assert_int_equal(last.count, 1);
    assert_int_equal(last.tick, UINT32_MAX);
    assert_int_equal(last.slots, 7);
    assert_int_equal(wire_region_items_decode(WIRE_MERGE_REGIONS, SPAN(merge_data), &items).code,
                     STATUS_OK);
    assert_int_equal(wire_region_get(items, 0).copyset, 4095);
    assert_int_equal(wire_hashes_decode(SPAN(hash_data), 3, &items).code, STATUS_OK);
    for (uint32_t i = 0; i < 3; i++) {
        const struct wire_hash h = wire_hash_get(items, i);
        assert_int_equal(h.state, hashes[i].state);
        assert_memory_equal(h.hash, hashes[i].hash, sizeof h.hash);
    }
}

/* One decoder for all, so that each test can go through them. */
enum kind { KIND_OPEN, KIND_SET, KIND_STATE, KIND_CLOSE, KIND_MERGE, KIND_REGIONS, KIND_HASH };

static const struct const_span samples[] = {
    [KIND_OPEN] = { open_data, sizeof open_data },
    [KIND_SET] = { set_data, sizeof set_data },
    [KIND_STATE] = { state_data, sizeof state_data },
    [KIND_CLOSE] = { close_data, sizeof close_data },
    [KIND_MERGE] = { merge_data, sizeof merge_data },
    [KIND_REGIONS] = { regions_data, sizeof regions_data },
    [KIND_HASH] = { hash_data, sizeof hash_data },
};

static enum status_code decode_kind(enum kind kind, struct const_span d)
{
    struct wire_open open;
    struct wire_state answer;
    struct wire_items items;
    uint64_t n;

    switch (kind) {
    case KIND_OPEN:
        return wire_open_decode(d, &open).code;
    case KIND_SET:
        return wire_set_decode(d, &n, &items).code;
    case KIND_STATE:
        return wire_state_decode(d, &answer).code;
    case KIND_CLOSE:
        return wire_region_items_decode(WIRE_CLOSE_REGIONS, d, &items).code;
    case KIND_MERGE:
        return wire_region_items_decode(WIRE_MERGE_REGIONS, d, &items).code;
    case KIND_REGIONS:
        return wire_regions_decode(d, 0, &n, &items).code;
    case KIND_HASH:
        return wire_hashes_decode(d, 3, &items).code;
    }
    return STATUS_COUNT;
}

static void fix_data(uint8_t *at, size_t bytes)
{
    const struct le32 crc = le32_make(crc32c(at + 4, bytes - 4));
    memcpy(at, &crc, sizeof crc);
}

/* Puts a byte into a sample, makes its CRC right, and decodes it. */
static enum status_code decode_with(enum kind kind, size_t at, uint8_t value)
{
    const struct const_span s = samples[kind];

    memcpy(data, s.at, s.bytes);
    data[at] = value;
    fix_data(data, s.bytes);
    return decode_kind(kind, (struct const_span) { data, s.bytes });
}

static void a_flipped_bit_is_noticed(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < ARRAY_COUNT(samples); kind++) {
        const struct const_span s = samples[kind];
        for (size_t bit = 0; bit < 8 * s.bytes; bit++) {
            memcpy(data, s.at, s.bytes);
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(decode_kind((enum kind)kind, (struct const_span) { data, s.bytes }),
                             STATUS_BAD_DIGEST);
        }
    }
}

/* Cut anywhere, with a CRC that is right, none is taken; each in memory of its own. */
static void data_that_are_cut_are_refused(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < ARRAY_COUNT(samples); kind++) {
        for (size_t bytes = 0; bytes < samples[kind].bytes; bytes++) {
            uint8_t *cut = malloc(bytes > 0 ? bytes : 1);
            assert_non_null(cut);
            memcpy(cut, samples[kind].at, bytes);
            if (bytes > 4)
                fix_data(cut, bytes);
            const enum status_code code =
                decode_kind((enum kind)kind, (struct const_span) { cut, bytes });
            /* Behind the items of an answer there may be room, and more or less of it. */
            const bool is_room = kind == KIND_REGIONS && bytes >= 52;
            const bool is_pad = kind == KIND_HASH && bytes >= 16 + 3 * 17;
            if (is_room || is_pad)
                assert_int_equal(code, STATUS_OK);
            else
                assert_int_equal(code, STATUS_MALFORMED);
            free(cut);
        }
    }
}

/* Data to the store have no room behind their items. */
static void data_are_as_long_as_their_items(void **state)
{
    static const enum kind kinds[] = { KIND_OPEN, KIND_SET, KIND_CLOSE, KIND_MERGE };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        const struct const_span s = samples[kinds[i]];
        memset(data, 0, sizeof data);
        memcpy(data, s.at, s.bytes);
        fix_data(data, s.bytes + 80);
        assert_int_equal(decode_kind(kinds[i], (struct const_span) { data, s.bytes + 80 }),
                         STATUS_MALFORMED);
    }
}

static void another_version_is_told_from_nonsense(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < ARRAY_COUNT(samples); kind++) {
        assert_int_equal(decode_with((enum kind)kind, 4, 2), STATUS_BAD_VERSION);
        assert_int_equal(decode_with((enum kind)kind, 5, 1), STATUS_BAD_VERSION);
    }
}

/* Bytes that are zero in the document, of heads and of items. */
static void reserved_bytes_are_zero(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < ARRAY_COUNT(samples); kind++) {
        static const uint8_t head[] = { 7, 12, 13, 14, 15 };
        for (size_t i = 0; i < sizeof head; i++)
            assert_int_equal(decode_with((enum kind)kind, head[i], 1), STATUS_MALFORMED);
        /* Another command's data; more items than there are; so many that it overflows. */
        assert_int_equal(decode_with((enum kind)kind, 6, 0x80), STATUS_MALFORMED);
        assert_int_equal(decode_with((enum kind)kind, 8, 9), STATUS_MALFORMED);
        assert_int_equal(decode_with((enum kind)kind, 11, 0x80), STATUS_MALFORMED);
    }
    assert_int_equal(decode_with(KIND_OPEN, 68, 1), STATUS_OK);        /* Flags. */
    assert_int_equal(decode_with(KIND_OPEN, 68, 2), STATUS_MALFORMED); /* Likewise. */
    for (size_t at = 69; at < 72; at++)
        assert_int_equal(decode_with(KIND_OPEN, at, 1), STATUS_MALFORMED);
    for (size_t at = 72 + 116; at < 200; at++)
        assert_int_equal(decode_with(KIND_OPEN, at, 1), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_OPEN, 72 + 110, 3), STATUS_MALFORMED); /* Volume flags. */
    assert_int_equal(decode_with(KIND_OPEN, 72 + 16 + 4, 'x'), STATUS_MALFORMED); /* Behind NUL. */
    for (size_t at = 204; at < 208; at++)
        assert_int_equal(decode_with(KIND_OPEN, at, 1), STATUS_MALFORMED);
    for (size_t at = 24; at < 32; at++) {
        assert_int_equal(decode_with(KIND_SET, at, 1), STATUS_MALFORMED);
        assert_int_equal(decode_with(KIND_REGIONS, at, 1), STATUS_MALFORMED);
    }
    for (size_t at = 60; at < 64; at++)
        assert_int_equal(decode_with(KIND_STATE, at, 1), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_STATE, 58, 16), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_CLOSE, 16 + 19, 1), STATUS_MALFORMED);
    for (size_t at = 52; at < 72; at++)
        assert_int_equal(decode_with(KIND_REGIONS, at, 1), STATUS_MALFORMED);
    for (size_t at = 16 + 3 * 17; at < sizeof hash_data; at++)
        assert_int_equal(decode_with(KIND_HASH, at, 1), STATUS_MALFORMED);
}

static void an_open_is_complete(void **state)
{
    (void)state;
    /* Another disk than that of the sets; a group there cannot be; a volume that is none. */
    assert_int_equal(decode_with(KIND_OPEN, 32, 3), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_OPEN, 64, STORE_GROUPS_MAX), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_OPEN, 64, STORE_GROUPS_MAX - 1), STATUS_OK);
    assert_int_equal(decode_with(KIND_OPEN, 72 + 108, 4), STATUS_MALFORMED); /* Replicas. */
    assert_int_equal(decode_with(KIND_OPEN, 72 + 109, 0), STATUS_MALFORMED); /* Min in sync. */
    assert_int_equal(decode_with(KIND_OPEN, 72 + 97, 1), STATUS_MALFORMED);  /* LBA bytes. */
    /* A session without a number. */
    memcpy(data, open_data, sizeof open_data);
    memset(data + 48, 0, 8);
    fix_data(data, sizeof open_data);
    assert_int_equal(decode_kind(KIND_OPEN, (struct const_span) { data, sizeof open_data }),
                     STATUS_MALFORMED);
    /* None of its sets has to be there. */
    data[48] = 1;
    memset(data + 8, 0, 4);
    fix_data(data, 200);
    assert_int_equal(decode_kind(KIND_OPEN, (struct const_span) { data, 200 }), STATUS_OK);
}

static void a_set_makes_sense(void **state)
{
    (void)state;
    const size_t in = 200 + 2, whole = 200 + 3, disk = 200 + 8, number = 200;

    assert_int_equal(decode_with(KIND_OPEN, in, 0), STATUS_MALFORMED);    /* Nobody is in. */
    assert_int_equal(decode_with(KIND_OPEN, in, 7), STATUS_MALFORMED);    /* In and whole. */
    assert_int_equal(decode_with(KIND_OPEN, in, 11), STATUS_MALFORMED);   /* A fourth slot. */
    assert_int_equal(decode_with(KIND_OPEN, whole, 8), STATUS_MALFORMED); /* Likewise. */
    assert_int_equal(decode_with(KIND_OPEN, whole, 0), STATUS_OK);
    assert_int_equal(decode_with(KIND_OPEN, number + 1, 16), STATUS_MALFORMED); /* Above 4095. */
    assert_int_equal(decode_with(KIND_OPEN, number, 6), STATUS_MALFORMED);      /* Twice. */
    assert_int_equal(decode_with(KIND_OPEN, number, 7), STATUS_MALFORMED);      /* Out of order. */
    /* In the second one: a member without a disk; an incarnation without one. */
    assert_int_equal(decode_with(KIND_OPEN, in + 80, 6), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_OPEN, 280 + 56 + 16, 1), STATUS_MALFORMED);
    /* One disk in two slots. */
    memcpy(data, open_data, sizeof open_data);
    memset(data + disk + 16, 2, 16);
    fix_data(data, sizeof open_data);
    assert_int_equal(decode_kind(KIND_OPEN, (struct const_span) { data, sizeof open_data }),
                     STATUS_MALFORMED);
    /* SET without any; STATE with more than it says there are. */
    memcpy(data, set_data, 32);
    data[8] = 0;
    fix_data(data, 32);
    assert_int_equal(decode_kind(KIND_SET, (struct const_span) { data, 32 }), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_STATE, 52, 0), STATUS_MALFORMED);
}

static void regions_have_limits(void **state)
{
    (void)state;
    const size_t shard = 16, region = 20, count = 24, tick = 28, copyset = 32, slots = 34;

    assert_int_equal(decode_with(KIND_CLOSE, shard + 2, 0x10), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_CLOSE, region + 2, 2), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_CLOSE, region + 3, 0xff), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_CLOSE, count, 0), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_CLOSE, count + 3, 0xff), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_CLOSE, slots, 0), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_CLOSE, slots, 8), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_CLOSE, copyset, 1), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_MERGE, tick, 1), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_MERGE, copyset + 1, 0x10), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_MERGE, region, 1), STATUS_MALFORMED); /* Beyond the end. */
    assert_int_equal(decode_with(KIND_REGIONS, tick + 16, 1), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_REGIONS, copyset + 16, 1), STATUS_MALFORMED);
}

/* Who asks on and on comes to the end. */
static void a_cursor_goes_forward(void **state)
{
    (void)state;
    struct wire_items items;
    uint64_t cursor = 1;

    assert_int_equal(
        wire_regions_decode(SPAN(regions_data), UINT64_C(0x700000007), &cursor, &items).code,
        STATUS_OK);
    cursor = 1;
    assert_int_equal(
        wire_regions_decode(SPAN(regions_data), UINT64_C(0x700000008), &cursor, &items).code,
        STATUS_MALFORMED);
    assert_int_equal(cursor, 1);
}

static void hashes_are_of_blocks_with_data(void **state)
{
    (void)state;
    struct wire_items items;

    assert_int_equal(wire_hashes_decode(SPAN(hash_data), 2, &items).code, STATUS_MALFORMED);
    assert_int_equal(wire_hashes_decode(SPAN(hash_data), 4, &items).code, STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_HASH, 16 + 16, 1), STATUS_MALFORMED); /* Of a zero. */
    assert_int_equal(decode_with(KIND_HASH, 64, 4), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_HASH, 64, WIRE_BLOCK_ABSENT), STATUS_MALFORMED);
    assert_int_equal(decode_with(KIND_HASH, 65, WIRE_BLOCK_DATA), STATUS_OK);
}

/* What is largest fits where it is said to. */
static void everything_fits(void **state)
{
    (void)state;
    struct wire_command c = smallest(WIRE_WRITE);

    assert_int_equal(wire_data_bytes(&c, 0), 4100);
    assert_true(wire_data_bytes(&c, 0) <= NVME_IN_CAPSULE_BYTES_MAX);
    c.blocks = 127;
    assert_int_equal(wire_data_bytes(&c, 0), 520700);
    assert_true(wire_data_bytes(&c, 0) <= NVME_DATA_BYTES_MAX);
    c = smallest(WIRE_OPEN);
    assert_int_equal(wire_data_bytes(&c, STORE_COPYSETS_MAX), 2760);
    c = smallest(WIRE_SET);
    assert_int_equal(wire_data_bytes(&c, STORE_COPYSETS_MAX), 2592);
    c = smallest(WIRE_CLOSE_REGIONS);
    assert_int_equal(wire_data_bytes(&c, STORE_REGIONS_MAX), 5016);
    c = smallest(WIRE_REGIONS);
    c.blocks = 250;
    assert_int_equal(wire_data_bytes(&c, 0), 5032);
    c = smallest(WIRE_HASH);
    assert_int_equal(wire_data_bytes(&c, 0), 40);
    c.blocks = 256;
    assert_int_equal(wire_data_bytes(&c, 0), 4368);
    c = smallest(WIRE_STATE);
    assert_int_equal(wire_data_bytes(&c, 0), 64);
    c.blocks = 32;
    assert_int_equal(wire_data_bytes(&c, 0), 2624);
}

/* ---- Blocks, answers, statuses ---- */

static void blocks_are_checked_against_their_crcs(void **state)
{
    (void)state;
    static uint8_t blocks[3 * 4096];
    uint32_t crcs[3], got[3];
    uint8_t raw[12];

    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = (uint8_t)(i * 31 >> 4);
    for (unsigned i = 0; i < 3; i++)
        crcs[i] = crc32c(blocks + i * 4096, 4096);
    wire_crcs_encode(crcs, 3, (struct span) { raw, sizeof raw });
    assert_int_equal(raw[4], crcs[1] & 0xff);
    wire_crcs_decode(SPAN(raw), got);
    assert_memory_equal(got, crcs, sizeof got);
    assert_int_equal(wire_blocks_check(SPAN(blocks), SPAN(raw)).code, STATUS_OK);
    for (size_t at = 0; at < sizeof blocks; at += 1365) {
        blocks[at] ^= 1;
        assert_int_equal(wire_blocks_check(SPAN(blocks), SPAN(raw)).code, STATUS_BAD_DIGEST);
        blocks[at] ^= 1;
    }
    raw[11] ^= 0x80;
    assert_int_equal(wire_blocks_check(SPAN(blocks), SPAN(raw)).code, STATUS_BAD_DIGEST);
}

static void an_answer_has_two_dwords(void **state)
{
    (void)state;
    const struct wire_answer a = { .seals = 0x01020304, .incarnation = 0x05060708 };
    const uint64_t result = wire_answer_encode(a);

    assert_int_equal(result, UINT64_C(0x0506070801020304));
    assert_int_equal(wire_answer_decode(result).seals, a.seals);
    assert_int_equal(wire_answer_decode(result).incarnation, a.incarnation);
}

static void statuses_have_their_codes(void **state)
{
    static const struct {
        enum status_code status;
        uint16_t sc;
    } codes[] = {
        { STATUS_OK, 0 },
        { STATUS_STALE_EPOCH, 0x701 },
        { STATUS_STALE_SESSION, 0x702 },
        { STATUS_STALE_INCARNATION, 0x703 },
        { STATUS_WRONG_GENERATION, 0x704 },
        { STATUS_UNKNOWN_SHARD, 0x705 },
        { STATUS_BAD_DIGEST, 0x706 },
        { STATUS_FOREIGN, 0x707 },
        { STATUS_OVERTAKEN, 0x708 },
        { STATUS_LIST_FULL, 0x709 },
        { STATUS_MALFORMED, 0x70a },
        { STATUS_BAD_VERSION, 0x70b },
        { STATUS_POINT_LOST, 0x70c },
        { STATUS_UNKNOWN_VOLUME, 0x70d },
        { STATUS_NO_SPACE, 0x081 },
        { STATUS_MEDIA_READ, 0x281 },
        { STATUS_MEDIA_WRITE, 0x280 },
        { STATUS_OUT_OF_RANGE, 0x080 },
        { STATUS_INVALID, 0x002 },
        { STATUS_UNSUPPORTED, 0x001 },
        { STATUS_CANCELED, 0x007 },
        { STATUS_UNAVAILABLE, 0x082 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        const struct status st = { .code = codes[i].status };
        assert_int_equal(wire_status_encode(st), codes[i].sc);
        assert_int_equal(wire_status_decode(codes[i].sc).code, codes[i].status);
        assert_int_equal(wire_status_decode(codes[i].sc | NVME_SC_DNR).code, codes[i].status);
    }
    /* Every status says that it is none, and all codes mean something. */
    for (int code = 1; code < STATUS_COUNT; code++)
        assert_int_not_equal(wire_status_encode((struct status) { (enum status_code)code }), 0);
    for (uint16_t sc = 1; sc <= NVME_SC_VALUE_MASK; sc++)
        assert_false(status_ok(wire_status_decode(sc)));
    assert_int_equal(wire_status_decode(0x7ff).code, STATUS_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_is_byte_by_byte_as_described),
        cmocka_unit_test(every_command_goes_both_ways),
        cmocka_unit_test(items_have_limits),
        cmocka_unit_test(an_unknown_opcode_is_not_supported),
        cmocka_unit_test(the_crc_covers_what_is_not_the_transports),
        cmocka_unit_test(what_a_command_does_not_use_is_zero),
        cmocka_unit_test(a_copyset_needs_create),
        cmocka_unit_test(ranges_have_limits),
        cmocka_unit_test(names_have_limits),
        cmocka_unit_test(data_are_byte_by_byte_as_described),
        cmocka_unit_test(open_and_set_come_out_as_they_went_in),
        cmocka_unit_test(answers_come_out_as_they_went_in),
        cmocka_unit_test(a_flipped_bit_is_noticed),
        cmocka_unit_test(data_that_are_cut_are_refused),
        cmocka_unit_test(data_are_as_long_as_their_items),
        cmocka_unit_test(another_version_is_told_from_nonsense),
        cmocka_unit_test(reserved_bytes_are_zero),
        cmocka_unit_test(an_open_is_complete),
        cmocka_unit_test(a_set_makes_sense),
        cmocka_unit_test(regions_have_limits),
        cmocka_unit_test(a_cursor_goes_forward),
        cmocka_unit_test(hashes_are_of_blocks_with_data),
        cmocka_unit_test(everything_fits),
        cmocka_unit_test(blocks_are_checked_against_their_crcs),
        cmocka_unit_test(an_answer_has_two_dwords),
        cmocka_unit_test(statuses_have_their_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
