/* SPDX-License-Identifier: Apache-2.0 */
/* Commands, their answers, and blocks with their CRCs. */
#include "store/wire.h"

#include <assert.h>

#include "base/crc32c.h"
#include "store/wire_format.h"

#define SHARD_BLOCKS_MAX ((uint32_t)(STORE_SHARD_BYTES_MAX / STORE_BLOCK_BYTES))

/* ---- What each command has ---- */

/* Fields that a command uses, besides epoch and session. */
enum field {
    FIELD_HANDLE = 1,
    FIELD_SHARD = 2,
    FIELD_TICK = 4,
    FIELD_FIRST = 8,
    FIELD_BLOCKS = 16,
    FIELD_ARGUMENT = 32,
};
#define FIELDS_RANGE (FIELD_HANDLE | FIELD_SHARD | FIELD_FIRST | FIELD_BLOCKS | FIELD_ARGUMENT)
#define FIELDS_ASK   (FIELD_HANDLE | FIELD_BLOCKS | FIELD_ARGUMENT)

/* How many bytes of data it has. */
enum data_kind {
    DATA_NONE,
    DATA_BLOCKS, /* Blocks and CRCs. */
    DATA_ITEMS,  /* A head, and as many items as there are. */
    DATA_ROOM,   /* A head, and room for as many items as the field blocks says. */
    DATA_HASHES,
};

struct shape {
    const char *name;
    uint8_t fields;
    uint8_t flags;
    enum data_kind data;
    uint16_t head_bytes;
    uint16_t item_bytes;
    uint16_t min; /* Of items, or of blocks. */
    uint16_t max;
};

#define SET_BYTES    sizeof(struct wire_set_item_format)
#define REGION_BYTES sizeof(struct wire_region_item_format)
#define POINT_BYTES  sizeof(struct wire_point_item_format)

static const struct shape shapes[] = {
    [WIRE_OPEN] = { "OPEN", FIELD_TICK, 0, DATA_ITEMS, sizeof(struct wire_open_format), SET_BYTES,
                    0, STORE_COPYSETS_MAX },
    [WIRE_READ] = { "READ", FIELDS_RANGE, 0, DATA_BLOCKS, 0, 0, 1, WIRE_BLOCKS_MAX },
    [WIRE_WRITE] = { "WRITE", FIELDS_RANGE | FIELD_TICK, WIRE_FUA | WIRE_CREATE | WIRE_COPY,
                     DATA_BLOCKS, 0, 0, 1, WIRE_BLOCKS_MAX },
    [WIRE_STATE] = { "STATE", FIELDS_ASK, 0, DATA_ROOM, sizeof(struct wire_state_format), SET_BYTES,
                     0, STORE_COPYSETS_MAX },
    [WIRE_ZERO] = { "ZERO", FIELDS_RANGE | FIELD_TICK, WIRE_FUA | WIRE_DEALLOCATE | WIRE_COPY,
                    DATA_NONE, 0, 0, 1, WIRE_ZERO_BLOCKS_MAX },
    [WIRE_FLUSH] = { "FLUSH", FIELD_HANDLE | FIELD_ARGUMENT, 0, DATA_NONE, 0, 0, 0, 0 },
    [WIRE_CONFIRM] = { "CONFIRM", FIELD_HANDLE, 0, DATA_NONE, 0, 0, 0, 0 },
    [WIRE_CLOSE_REGIONS] = { "CLOSE_REGIONS", FIELD_HANDLE, 0, DATA_ITEMS,
                             sizeof(struct wire_head_format), REGION_BYTES, 1, STORE_REGIONS_MAX },
    [WIRE_REGIONS] = { "REGIONS", FIELDS_ASK, 0, DATA_ROOM, sizeof(struct wire_regions_format),
                       REGION_BYTES, 1, STORE_REGIONS_MAX },
    [WIRE_MERGE_REGIONS] = { "MERGE_REGIONS", FIELD_HANDLE | FIELD_TICK, 0, DATA_ITEMS,
                             sizeof(struct wire_head_format), REGION_BYTES, 1, STORE_REGIONS_MAX },
    [WIRE_HASH] = { "HASH", FIELDS_RANGE, 0, DATA_HASHES, sizeof(struct wire_head_format),
                    WIRE_HASH_BYTES, 1, WIRE_REGION_BLOCKS },
    [WIRE_SET] = { "SET", FIELD_HANDLE, 0, DATA_ITEMS, sizeof(struct wire_set_format), SET_BYTES, 1,
                   STORE_COPYSETS_MAX },
    [WIRE_SPOIL] = { "SPOIL", FIELDS_RANGE | FIELD_TICK, 0, DATA_NONE, 0, 0, 1,
                     WIRE_REGION_BLOCKS },
    [WIRE_POINTS] = { "POINTS", FIELDS_ASK, 0, DATA_ROOM, sizeof(struct wire_regions_format),
                      POINT_BYTES, 1, STORE_POINTS_MAX },
    [WIRE_KEEP_POINTS] = { "KEEP_POINTS", FIELD_HANDLE, WIRE_FUA | WIRE_CHECK, DATA_ITEMS,
                           sizeof(struct wire_head_format), POINT_BYTES, 1, STORE_POINTS_MAX },
    [WIRE_RELEASE] = { "RELEASE", FIELD_HANDLE, 0, DATA_NONE, 0, 0, 0, 0 },
    [WIRE_DELETE] = { "DELETE", FIELD_HANDLE, 0, DATA_NONE, 0, 0, 0, 0 },
};

static_assert(sizeof(struct wire_open_format) + STORE_COPYSETS_MAX * SET_BYTES <=
                  NVME_IN_CAPSULE_BYTES_MAX,
              "OPEN travels in its capsule");
static_assert(sizeof(struct wire_head_format) + STORE_REGIONS_MAX * REGION_BYTES <=
                  NVME_IN_CAPSULE_BYTES_MAX,
              "regions travel in the capsule");
static_assert(sizeof(struct wire_regions_format) + STORE_POINTS_MAX * POINT_BYTES <=
                  NVME_IN_CAPSULE_BYTES_MAX,
              "points travel in the capsule");

bool wire_opcode_is_known(uint8_t opcode)
{
    return opcode < ARRAY_COUNT(shapes) && shapes[opcode].name != NULL;
}

const char *wire_opcode_name(uint8_t opcode)
{
    return wire_opcode_is_known(opcode) ? shapes[opcode].name : "?";
}

/* ---- Commands ---- */

static bool has(const struct shape *s, enum field field)
{
    return (s->fields & field) != 0;
}

bool wire_has_generation(enum wire_opcode opcode)
{
    return has(&shapes[opcode], FIELD_FIRST);
}

/* Blocks of a shard, or how many items there is room for. */
static bool blocks_are_valid(const struct shape *s, const struct wire_command *c)
{
    if (!has(s, FIELD_BLOCKS))
        return c->blocks == 0 && c->first == 0;
    if (c->blocks < s->min || c->blocks > s->max)
        return false;
    return has(s, FIELD_FIRST)
               ? c->first < SHARD_BLOCKS_MAX && c->blocks <= SHARD_BLOCKS_MAX - c->first
               : c->first == 0;
}

static bool argument_is_valid(const struct shape *s, const struct wire_command *c)
{
    if (c->opcode == WIRE_STATE)
        return c->argument <= STORE_COPYSET_MAX;
    if (c->opcode == WIRE_REGIONS || c->opcode == WIRE_POINTS)
        return c->argument != STORE_CURSOR_END;
    return has(s, FIELD_ARGUMENT) || c->argument == 0;
}

static bool handle_is_valid(const struct shape *s, const struct wire_command *c)
{
    if (!has(s, FIELD_HANDLE))
        return c->handle == 0;
    return c->handle != 0 && c->handle != NVME_NSID_ALL;
}

bool wire_command_is_valid(const struct wire_command *c)
{
    if (c->opcode > UINT8_MAX || !wire_opcode_is_known((uint8_t)c->opcode))
        return false;
    const struct shape *s = &shapes[c->opcode];

    return handle_is_valid(s, c) && c->epoch != 0 && blocks_are_valid(s, c) &&
           argument_is_valid(s, c) && c->shard < (has(s, FIELD_SHARD) ? STORE_SHARDS_MAX : 1) &&
           (has(s, FIELD_TICK) || c->tick == 0) && (c->flags & ~(uint32_t)s->flags) == 0 &&
           c->copyset <= ((c->flags & WIRE_CREATE) != 0 ? STORE_COPYSET_MAX : 0);
}

uint32_t wire_data_bytes(const struct wire_command *c, uint32_t items)
{
    const struct shape *s = &shapes[c->opcode];

    switch (s->data) {
    case DATA_NONE:
        break;
    case DATA_BLOCKS:
        return c->blocks * (STORE_BLOCK_BYTES + WIRE_CRC_BYTES);
    case DATA_ITEMS:
        return s->head_bytes + items * s->item_bytes;
    case DATA_ROOM:
        return s->head_bytes + c->blocks * s->item_bytes;
    case DATA_HASHES:
        return s->head_bytes + c->blocks * s->item_bytes + (uint32_t)round_up_u64(c->blocks, 8);
    }
    return 0;
}

/* Whether a valid command may have so many bytes of data. */
static bool data_bytes_are_valid(const struct wire_command *c, uint32_t bytes)
{
    const struct shape *s = &shapes[c->opcode];

    if (s->data != DATA_ITEMS)
        return bytes == wire_data_bytes(c, 0);
    if (bytes < s->head_bytes || (bytes - s->head_bytes) % s->item_bytes != 0)
        return false;
    const uint32_t items = (bytes - s->head_bytes) / s->item_bytes;
    return items >= s->min && items <= s->max;
}

/* Of the entry but for what the transport fills in, and itself. */
static uint32_t entry_crc(const struct wire_entry_format *f)
{
    const uint8_t *at = (const uint8_t *)f;
    const size_t handle = offsetof(struct wire_entry_format, handle);
    const size_t sgl = offsetof(struct wire_entry_format, sgl);
    const size_t first = offsetof(struct wire_entry_format, first);
    const uint32_t opcode = crc32c(at, 1);
    const uint32_t front = crc32c_extend(opcode, at + handle, sgl - handle);

    return crc32c_extend(front, at + first, offsetof(struct wire_entry_format, crc) - first);
}

void wire_command_encode(const struct wire_command *c, uint8_t out[WIRE_ENTRY_BYTES])
{
    assert(wire_command_is_valid(c));

    struct wire_entry_format f = {
        .opcode = (uint8_t)c->opcode,
        .handle = le32_make(c->handle),
        .shard = le32_make(c->shard),
        .tick = le32_make(c->tick),
        .epoch = le64_make(c->epoch),
        .first = le32_make(c->first),
        .blocks = le16_make((uint16_t)c->blocks),
        .options = le16_make((uint16_t)(c->flags | c->copyset << WIRE_ENTRY_COPYSET_SHIFT)),
        .argument = le64_make(c->argument),
        .session = le32_make(c->session),
    };
    f.crc = le32_make(entry_crc(&f));
    memcpy(out, &f, sizeof f);
}

struct status wire_command_decode(const uint8_t entry[WIRE_ENTRY_BYTES], uint32_t data_bytes,
                                  struct wire_command *out_command)
{
    struct wire_entry_format f;

    memcpy(&f, entry, sizeof f);
    if (entry_crc(&f) != le32_get(f.crc))
        return STATUS(BAD_DIGEST);
    if (!wire_opcode_is_known(f.opcode))
        return STATUS(UNSUPPORTED);
    const struct wire_command c = {
        .opcode = (enum wire_opcode)f.opcode,
        .handle = le32_get(f.handle),
        .shard = le32_get(f.shard),
        .tick = le32_get(f.tick),
        .epoch = le64_get(f.epoch),
        .first = le32_get(f.first),
        .blocks = le16_get(f.blocks),
        .flags = le16_get(f.options) & WIRE_ENTRY_FLAGS_MASK,
        .copyset = (uint32_t)le16_get(f.options) >> WIRE_ENTRY_COPYSET_SHIFT,
        .argument = le64_get(f.argument),
        .session = le32_get(f.session),
    };
    if (!wire_command_is_valid(&c) || !data_bytes_are_valid(&c, data_bytes))
        return STATUS(MALFORMED);
    *out_command = c;
    return STATUS(OK);
}

/* ---- Answers ---- */

uint64_t wire_answer_encode(struct wire_answer answer)
{
    return (uint64_t)answer.incarnation << 32 | answer.seals;
}

struct wire_answer wire_answer_decode(uint64_t result)
{
    return (struct wire_answer) { .seals = (uint32_t)result,
                                  .incarnation = (uint32_t)(result >> 32) };
}

/* ---- Blocks and their CRCs ---- */

static uint32_t crc_at(struct const_span crcs, uint32_t i)
{
    struct le32 crc;

    memcpy(&crc, crcs.at + (size_t)i * sizeof crc, sizeof crc);
    return le32_get(crc);
}

void wire_crcs_encode(const uint32_t *crcs, uint32_t blocks, struct span out)
{
    assert(out.bytes == (size_t)blocks * WIRE_CRC_BYTES);

    for (uint32_t i = 0; i < blocks; i++) {
        const struct le32 crc = le32_make(crcs[i]);
        memcpy(out.at + (size_t)i * sizeof crc, &crc, sizeof crc);
    }
}

void wire_crcs_decode(struct const_span raw, uint32_t *out_crcs)
{
    assert(raw.bytes % WIRE_CRC_BYTES == 0);

    for (uint32_t i = 0; i < raw.bytes / WIRE_CRC_BYTES; i++)
        out_crcs[i] = crc_at(raw, i);
}

struct status wire_blocks_check(struct const_span blocks, struct const_span crcs)
{
    assert(blocks.bytes % STORE_BLOCK_BYTES == 0);
    assert(crcs.bytes == blocks.bytes / STORE_BLOCK_BYTES * WIRE_CRC_BYTES);

    for (uint32_t i = 0; i < blocks.bytes / STORE_BLOCK_BYTES; i++) {
        const uint8_t *block = blocks.at + (size_t)i * STORE_BLOCK_BYTES;
        if (crc32c(block, STORE_BLOCK_BYTES) != crc_at(crcs, i))
            return STATUS(BAD_DIGEST);
    }
    return STATUS(OK);
}
