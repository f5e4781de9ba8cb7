/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/perf_block.h"

#include <stddef.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "base/rng.h"

#define MAGIC UINT64_C(0x314b4c4246524550) /* "PERFBLK1" as bytes. */

struct header_format {
    struct le64 magic;
    uint8_t volume[16];
    struct le64 run;
    struct le64 block;
    struct le64 sequence;
    struct le64 seed;
    struct le32 crc;
};
_Static_assert(sizeof(struct header_format) == PERF_BLOCK_HEADER_BYTES, "no padding");
_Static_assert(offsetof(struct header_format, crc) == 56, "the CRC lies where perf_block.h says");

void perf_pattern_init(struct perf_pattern *p, uint64_t seed)
{
    struct rng rng;

    p->seed = seed;
    rng_init(&rng, seed);
    rng_fill(&rng, (struct span) { p->bytes, sizeof p->bytes });
}

/* The CRC32C of the block as if its CRC field were zero. */
static uint32_t block_crc(const uint8_t *data)
{
    const size_t crc_at = offsetof(struct header_format, crc);
    static const struct le32 zero;

    uint32_t crc = crc32c(data, crc_at);
    crc = crc32c_extend(crc, &zero, sizeof zero);
    return crc32c_extend(crc, data + PERF_BLOCK_HEADER_BYTES,
                         PERF_BLOCK_BYTES - PERF_BLOCK_HEADER_BYTES);
}

/* Where in the pattern a write's data start: neighbours in block and sequence lie far apart. */
static size_t pattern_start(uint64_t block, uint64_t sequence)
{
    const uint64_t mixed = (block * 31 + sequence) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 48) % PERF_PATTERN_BYTES;
}

void perf_block_fill(uint8_t *data, const struct perf_pattern *p, const struct perf_block_id *id,
                     uint64_t block, uint64_t sequence)
{
    struct header_format h = {
        .magic = le64_make(MAGIC),
        .run = le64_make(id->run),
        .block = le64_make(block),
        .sequence = le64_make(sequence),
        .seed = le64_make(p->seed),
    };

    memcpy(h.volume, id->volume.b, sizeof h.volume);
    memcpy(data, &h, sizeof h);
    memcpy(data + sizeof h, p->bytes + pattern_start(block, sequence), PERF_BLOCK_BYTES - sizeof h);
    h.crc = le32_make(block_crc(data));
    memcpy(data + offsetof(struct header_format, crc), &h.crc, sizeof h.crc);
}

static bool is_all_zeros(const uint8_t *data)
{
    return data[0] == 0 && memcmp(data, data + 1, PERF_BLOCK_BYTES - 1) == 0;
}

struct perf_finding perf_block_inspect(const uint8_t *data, const struct perf_block_id *id,
                                       uint64_t block)
{
    struct header_format h;

    memcpy(&h, data, sizeof h);
    if (le64_get(h.magic) != MAGIC) {
        const bool zeros = is_all_zeros(data);
        return (struct perf_finding) { zeros ? PERF_FOUND_ZEROS : PERF_FOUND_GARBAGE, 0, 0 };
    }

    struct perf_finding f = { PERF_FOUND_BLOCK, le64_get(h.block), le64_get(h.sequence) };
    const bool same_volume = memcmp(h.volume, id->volume.b, sizeof h.volume) == 0;
    if (le32_get(h.crc) != block_crc(data))
        f.found = PERF_FOUND_DAMAGED;
    else if (f.block != block || !same_volume)
        f.found = PERF_FOUND_MISPLACED;
    else if (le64_get(h.run) != id->run)
        f.found = PERF_FOUND_ANOTHER_RUN;
    return f;
}
