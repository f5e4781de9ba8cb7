/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire of the store protocol: what an engine says to stores of other nodes, and what these
 * answer.  docs/replication.md, section 2, has the bytes.
 *
 *   engine   wire_command --encode--> 64 bytes --> store   decode: every field checked (W1)
 *            OPEN, SET, ...  -------> data     -->         decode
 *            READ, WRITE     -------> blocks, then one CRC32C for each
 *                                     data     <-- STATE, REGIONS, POINTS, HASH
 *            status, two dwords    <----------
 *
 * Whatever decodes is inside the limits below, and has one form only: encoded again, it is the same
 * bytes.  Whether a handle, an epoch, a shard is the right one is not looked at here.
 *
 * Threading: pure.   Memory: caller's; items stay in the bytes that were decoded.
 */
#ifndef STORE_WIRE_H
#define STORE_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/uuid.h"
#include "io/buf.h"
#include "nvme/limits.h"
#include "store/store.h"

/* ---- Limits ---- */

#define WIRE_ENTRY_BYTES NVME_SQE_BYTES
#define WIRE_CRC_BYTES   4u
/* With their CRCs they fit one buffer: 127 * 4100 = 520,700 bytes of 524,288; 128 would not. */
#define WIRE_BLOCKS_MAX 127u
/* Of a command without data: as many as its field can say, 256 MiB less one block. */
#define WIRE_ZERO_BLOCKS_MAX 65535u
/* Of HASH and SPOIL: those of one region. */
#define WIRE_REGION_BLOCKS (STORE_REGION_BYTES / STORE_BLOCK_BYTES)
#define WIRE_HASH_BYTES    STORE_HASH_BYTES

static_assert(WIRE_BLOCKS_MAX * (STORE_BLOCK_BYTES + WIRE_CRC_BYTES) <= NVME_DATA_BYTES_MAX,
              "blocks and CRCs fit a buffer");
static_assert((WIRE_BLOCKS_MAX + 1) * (STORE_BLOCK_BYTES + WIRE_CRC_BYTES) > NVME_DATA_BYTES_MAX,
              "and no more do");
static_assert(STORE_BLOCK_BYTES + WIRE_CRC_BYTES <= NVME_IN_CAPSULE_BYTES_MAX,
              "a block and its CRC travel in the capsule");

/* ---- Commands ---- */

/* Bits 1:0 are the direction of the data, as NVMe wants. */
enum wire_opcode {
    WIRE_OPEN = 0x81,
    WIRE_READ = 0x82,
    WIRE_WRITE = 0x85,
    WIRE_STATE = 0x86,
    WIRE_ZERO = 0x88,
    WIRE_FLUSH = 0x8c,
    WIRE_CONFIRM = 0x90,
    WIRE_CLOSE_REGIONS = 0x91,
    WIRE_REGIONS = 0x92,
    WIRE_MERGE_REGIONS = 0x95,
    WIRE_HASH = 0x96,
    WIRE_SET = 0x99,
    WIRE_SPOIL = 0x9c,
    WIRE_POINTS = 0x9e,
    WIRE_RELEASE = 0xa0,
    WIRE_KEEP_POINTS = 0xa1,
    WIRE_DELETE = 0xa4,
};

#define WIRE_FUA        1u
#define WIRE_DEALLOCATE 2u
#define WIRE_CHECK      2u /* KEEP_POINTS: keeps nothing. */
#define WIRE_CREATE     4u /* The shard may be created. */
#define WIRE_COPY       8u /* Not the host's: not counted as such. */

/* Fields that a command does not use are zero. */
struct wire_command {
    enum wire_opcode opcode;
    uint32_t handle; /* Of the session; 0 in OPEN. */
    uint32_t shard;  /* Index in the volume. */
    uint32_t tick;
    uint64_t epoch;  /* Never 0. */
    uint32_t first;  /* Block of the shard. */
    uint32_t blocks; /* STATE: sets, REGIONS, POINTS: items that the answer has room for. */
    uint32_t flags;
    uint32_t copyset; /* Number of the shard's, with WIRE_CREATE. */
    /* Generation; FLUSH: incarnation; REGIONS, POINTS: cursor; STATE: first set. */
    uint64_t argument;
    uint32_t session; /* Low 32 bits of its number. */
};

/* Whether there is a command with that opcode. */
bool wire_opcode_is_known(uint8_t opcode);

/* Whether the argument of such a command, a valid one, is a generation. */
bool wire_has_generation(enum wire_opcode opcode);

/* "OPEN" and so on; "?" for none of them. */
const char *wire_opcode_name(uint8_t opcode);

/* Whether all of its fields are as they may be. */
bool wire_command_is_valid(const struct wire_command *c);

/* Bytes of data of a valid command with so many items; of commands without items, 0 of them. */
uint32_t wire_data_bytes(const struct wire_command *c, uint32_t items);

/*
 * Encodes a valid command.  Flags, CID and SGL are the initiator's, and zero here; the CRC does not
 * cover them.
 */
void wire_command_encode(const struct wire_command *c, uint8_t out[WIRE_ENTRY_BYTES]);

/*
 * Decodes an entry with so many bytes of data, by its SGL.  UNSUPPORTED for an opcode that there is
 * not, BAD_DIGEST if the CRC is wrong, MALFORMED for anything else that may not be.
 */
struct status wire_command_decode(const uint8_t entry[WIRE_ENTRY_BYTES], uint32_t data_bytes,
                                  struct wire_command *out_command) MUST_CHECK;

/* ---- Answers ---- */

/* What every completion says, whatever its status. */
struct wire_answer {
    uint32_t seals;       /* Of the node: 8.3. */
    uint32_t incarnation; /* Low 32 bits of the disk's; OPEN: the session's handle. */
};

uint64_t wire_answer_encode(struct wire_answer answer);
struct wire_answer wire_answer_decode(uint64_t result);

/* SCT << 8 | SC for a status, and the status for these; what has no code of its own is IO. */
uint16_t wire_status_encode(struct status st);
struct status wire_status_decode(uint16_t sc);

/* ---- Blocks and their CRCs ---- */

/* Writes the CRCs behind blocks as they travel, and reads them. */
void wire_crcs_encode(const uint32_t *crcs, uint32_t blocks, struct span out);
void wire_crcs_decode(struct const_span raw, uint32_t *out_crcs);

/* BAD_DIGEST if one of the blocks does not match its CRC. */
struct status wire_blocks_check(struct const_span blocks, struct const_span crcs) MUST_CHECK;

/* ---- Data of the other commands ---- */

/* What is known of a copyset: the disk of each slot, and its part in it.  Bits are by slot. */
struct wire_set {
    uint16_t number;
    uint8_t in;                               /* Members.  At least one. */
    uint8_t whole;                            /* Out, and the list of what they missed is gone. */
    struct uuid disk[STORE_REPLICAS_MAX];     /* Nil: no such slot, neither in nor whole. */
    uint64_t incarnation[STORE_REPLICAS_MAX]; /* The recorded one; 0 where there is no disk. */
};

/* Regions of a shard in a row. */
struct wire_region {
    uint32_t shard;
    uint32_t region;
    uint32_t count;   /* 1 and more. */
    uint32_t tick;    /* CLOSE_REGIONS; 0 in others. */
    uint16_t copyset; /* MERGE_REGIONS: of a shard that is created; 0 in others. */
    uint8_t slots;    /* CLOSE: equal.  Others: not known to be.  At least one. */
};

enum wire_block_state {
    WIRE_BLOCK_ABSENT,
    WIRE_BLOCK_ZERO,
    WIRE_BLOCK_DATA,
    WIRE_BLOCK_BAD, /* Data that cannot be read. */
};

struct wire_hash {
    enum wire_block_state state;
    uint8_t hash[WIRE_HASH_BYTES]; /* XXH3, 128 bits, canonical; zeros unless DATA. */
};

/* Items that were decoded: get them one by one below. */
struct wire_items {
    const uint8_t *at;
    uint32_t count;
};

struct wire_open {
    struct uuid cluster;
    struct uuid disk;  /* In one slot of each set. */
    uint64_t session;  /* All of its number. */
    uint64_t sequence; /* Of the sets. */
    uint32_t group;
    bool known; /* store_session_config has it. */
    struct store_volume volume;
    struct wire_items sets; /* Up to STORE_COPYSETS_MAX. */
};

#define WIRE_STATE_BUSY   1u /* The volume has unflushed writes here. */
#define WIRE_STATE_LOSS   2u /* Such may be gone. */
#define WIRE_STATE_CUT    4u /* The region list is not whole. */
#define WIRE_STATE_FAILED 8u /* The disk takes no writes any more. */

struct wire_state {
    uint64_t incarnation; /* As of the session's OPEN. */
    uint64_t generation;  /* Highest of the volume on this disk. */
    uint64_t epoch;       /* Of the newest set kept, ... */
    uint64_t sequence;    /* ... and its sequence. */
    uint32_t regions;     /* Items of the region list. */
    uint32_t set_count;   /* All that are kept. */
    uint16_t reactor;     /* Of the disk, from 0: where its commands need no message. */
    uint16_t flags;
    struct wire_items sets; /* Those from the number that was asked for on. */
};

/*
 * Encoders: out has wire_data_bytes() for the command; what of it the items do not fill is zero.
 * All values are valid.  The items of wire_open and wire_state are counted there, and come apart.
 */
void wire_open_encode(const struct wire_open *open, const struct wire_set *sets, struct span out);
void wire_set_encode(uint64_t sequence, const struct wire_set *sets, uint32_t count,
                     struct span out);
void wire_state_encode(const struct wire_state *state, const struct wire_set *sets,
                       struct span out);
void wire_region_items_encode(enum wire_opcode opcode, const struct wire_region *regions,
                              uint32_t count, struct span out); /* CLOSE_, MERGE_REGIONS. */
void wire_regions_encode(uint64_t cursor, const struct wire_region *regions, uint32_t count,
                         struct span out); /* cursor: where the next one goes on. */
void wire_keep_points_encode(const struct store_point *points, uint32_t count, struct span out);
void wire_points_encode(uint64_t cursor, const struct store_point *points, uint32_t count,
                        struct span out); /* As wire_regions_encode(). */
void wire_hashes_encode(const struct wire_hash *hashes, uint32_t count, struct span out);

/*
 * Decoders, of data as long as wire_data_bytes() of a valid command can be.  BAD_DIGEST if the CRC
 * is wrong, BAD_VERSION for another version, MALFORMED for anything else that may not be.
 */
struct status wire_open_decode(struct const_span data, struct wire_open *out) MUST_CHECK;
struct status wire_set_decode(struct const_span data, uint64_t *out_sequence,
                              struct wire_items *out_sets) MUST_CHECK;
struct status wire_state_decode(struct const_span data, struct wire_state *out) MUST_CHECK;
struct status wire_region_items_decode(enum wire_opcode opcode, struct const_span data,
                                       struct wire_items *out_regions) MUST_CHECK;
/* asked: the command's cursor.  The next one is higher: asking for all comes to an end. */
struct status wire_regions_decode(struct const_span data, uint64_t asked, uint64_t *out_cursor,
                                  struct wire_items *out_regions) MUST_CHECK;
struct status wire_keep_points_decode(struct const_span data,
                                      struct wire_items *out_points) MUST_CHECK;
/* As wire_regions_decode(); asked for from 0 on, there is one at least. */
struct status wire_points_decode(struct const_span data, uint64_t asked, uint64_t *out_cursor,
                                 struct wire_items *out_points) MUST_CHECK;
/* blocks: the command's. */
struct status wire_hashes_decode(struct const_span data, uint32_t blocks,
                                 struct wire_items *out_hashes) MUST_CHECK;

/* Item i of those that were decoded. */
struct wire_set wire_set_get(struct wire_items sets, uint32_t i);
struct wire_region wire_region_get(struct wire_items regions, uint32_t i);
struct wire_hash wire_hash_get(struct wire_items hashes, uint32_t i);
struct store_point wire_point_get(struct wire_items points, uint32_t i);

#endif
