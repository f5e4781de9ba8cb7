/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/layout.h"

#include <assert.h>

#include "base/mutation.h"
#include "base/span.h"
#include "store/store.h"
#include "volume/limits.h"

/* A group of shards that are striped together. */
struct group {
    uint64_t at;    /* Address of its first byte. */
    uint64_t bytes; /* That the volume uses of it. */
    uint32_t first; /* Shard. */
    uint32_t width;
};

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static struct status MUST_CHECK check_shape(const struct layout_shape *s)
{
    if (!is_power_of_two(s->unit_bytes) || s->unit_bytes < VOLUME_STRIPE_UNIT_BYTES_MIN ||
        s->unit_bytes > VOLUME_STRIPE_UNIT_BYTES_MAX)
        return STATUS(INVALID);
    if (s->shard_bytes == 0 || s->shard_bytes % s->unit_bytes != 0 || s->stripe_width == 0)
        return STATUS(INVALID);
    if (s->bytes == 0 || s->bytes % STORE_BLOCK_BYTES != 0)
        return STATUS(INVALID);
    if (s->shard_bytes > UINT64_MAX / s->stripe_width)
        return STATUS(OUT_OF_RANGE);
    return STATUS(OK);
}

/* Takes the runs over; OUT_OF_RANGE for too many shards. */
static struct status MUST_CHECK make_runs(struct layout *l, uint64_t first_shards)
{
    const uint64_t first_bytes = min_u64(l->bytes, first_shards * l->shard_bytes);
    const uint64_t rest = l->bytes - first_bytes;
    const uint64_t groups = rest == 0 ? 0 : (rest - 1) / l->group_bytes + 1;

    if (groups > UINT32_MAX / l->stripe_width ||
        first_shards > UINT32_MAX - groups * l->stripe_width)
        return STATUS(OUT_OF_RANGE);
    const uint32_t second_shards = (uint32_t)groups * l->stripe_width;
    l->shard_count = (uint32_t)first_shards + second_shards;
    l->runs[0] = (struct layout_run) { 0, first_bytes, 0, (uint32_t)first_shards };
    l->runs[1] = (struct layout_run) { first_bytes, rest, (uint32_t)first_shards, second_shards };
    l->run_count = rest > 0 ? 2 : 1;
    if (MUTATION(V1_GROWTH_WIDENS)) {
        l->runs[0] = (struct layout_run) { 0, l->bytes, 0, l->shard_count };
        l->run_count = 1;
    }
    return STATUS(OK);
}

struct status layout_init(struct layout *l, const struct layout_shape *shape)
{
    TRY(check_shape(shape));
    const uint64_t all = (shape->bytes - 1) / shape->shard_bytes + 1;
    const uint64_t first = shape->first_run_shards != 0 ? shape->first_run_shards : all;

    /* A second run begins where the first one is full, and is not empty. */
    if (shape->first_run_shards != 0 && first >= all)
        return STATUS(INVALID);
    if (all > UINT32_MAX)
        return STATUS(OUT_OF_RANGE);
    struct layout made = {
        .bytes = shape->bytes,
        .shard_bytes = shape->shard_bytes,
        .unit_bytes = shape->unit_bytes,
        .stripe_width = shape->stripe_width,
        .unit_shift = (unsigned)__builtin_ctz(shape->unit_bytes),
        .group_bytes = shape->shard_bytes * shape->stripe_width,
    };
    TRY(make_runs(&made, first));
    *l = made;
    return STATUS(OK);
}

bool layout_extends(const struct layout *l, const struct layout *old)
{
    const bool same_first = l->runs[0].count == old->runs[0].count;
    const bool may_grow = old->run_count == 1 || l->run_count == 2;

    return l->shard_bytes == old->shard_bytes && l->unit_bytes == old->unit_bytes &&
           l->stripe_width == old->stripe_width && l->bytes >= old->bytes &&
           ((same_first && may_grow) || MUTATION(V1_GROWTH_WIDENS));
}

/* The group with this number in its run. */
static struct group group_in_run(const struct layout *l, const struct layout_run *run,
                                 uint64_t number)
{
    const uint64_t at = number * l->group_bytes;
    const uint32_t before = (uint32_t)(number * l->stripe_width);

    assert(before < run->count);
    return (struct group) {
        .at = run->at + at,
        .bytes = min_u64(l->group_bytes, run->bytes - at),
        .first = run->first + before,
        .width = (uint32_t)min_u64(l->stripe_width, run->count - before),
    };
}

static struct group group_of_address(const struct layout *l, uint64_t address)
{
    assert(address < l->bytes);
    const struct layout_run *const run = &l->runs[address < l->runs[0].bytes ? 0 : 1];

    return group_in_run(l, run, (address - run->at) / l->group_bytes);
}

static struct group group_of_shard(const struct layout *l, uint32_t shard)
{
    assert(shard < l->shard_count);
    const struct layout_run *const run = &l->runs[shard < l->runs[0].count ? 0 : 1];

    return group_in_run(l, run, (shard - run->first) / l->stripe_width);
}

/* How many of the group's first in_group bytes lie in its given column. */
static uint64_t column_bytes(const struct layout *l, const struct group *g, uint32_t column,
                             uint64_t in_group)
{
    const uint64_t row_bytes = (uint64_t)l->unit_bytes * g->width;
    const uint64_t row = in_group / row_bytes;
    const uint64_t in_row = in_group % row_bytes;
    const uint64_t before = (uint64_t)column << l->unit_shift;
    const uint64_t last = in_row > before ? min_u64(in_row - before, l->unit_bytes) : 0;

    return (row << l->unit_shift) + last;
}

struct layout_extent layout_first_extent(const struct layout *l, struct layout_range range)
{
    assert(range.bytes > 0);
    assert(range.at < l->bytes);
    assert(range.bytes <= l->bytes - range.at);

    const struct group g = group_of_address(l, range.at);
    const uint64_t in_group = range.at - g.at;
    const uint64_t unit = in_group >> l->unit_shift;
    const uint64_t in_unit = in_group & (l->unit_bytes - 1);
    const uint64_t row = unit / g.width;
    const uint32_t column = (uint32_t)(unit % g.width);
    const struct layout_extent e = {
        .shard = g.first + column,
        .offset = (row << l->unit_shift) + in_unit,
        .bytes = min_u64(range.bytes, l->unit_bytes - in_unit),
    };

    assert(e.offset + e.bytes <= l->shard_bytes);
    return e;
}

uint64_t layout_address(const struct layout *l, uint32_t shard, uint64_t offset)
{
    const struct group g = group_of_shard(l, shard);
    const uint64_t row = offset >> l->unit_shift;
    const uint64_t in_unit = offset & (l->unit_bytes - 1);
    const uint64_t unit = row * g.width + (shard - g.first);
    const uint64_t address = g.at + (unit << l->unit_shift) + in_unit;

    assert(address < l->bytes);
    return address;
}

uint64_t layout_shard_used(const struct layout *l, uint32_t shard)
{
    const struct group g = group_of_shard(l, shard);

    return column_bytes(l, &g, shard - g.first, g.bytes);
}

void layout_walk_init(struct layout_walk *w, struct layout_range range, uint64_t piece_bytes_max)
{
    assert(piece_bytes_max >= STORE_BLOCK_BYTES);
    *w = (struct layout_walk) { .rest = range, .piece_bytes_max = piece_bytes_max };
}

/* The part of the walk's rest that lies in the walk's column of group g. */
static struct layout_extent walk_run(const struct layout_walk *w, const struct layout *l,
                                     const struct group *g)
{
    const uint64_t from = w->rest.at - g->at;
    const uint64_t to = min_u64(from + w->rest.bytes, g->bytes);
    const uint64_t offset = column_bytes(l, g, w->column, from);

    return (struct layout_extent) {
        .shard = g->first + w->column,
        .offset = offset,
        .bytes = column_bytes(l, g, w->column, to) - offset,
    };
}

bool layout_walk_next(struct layout_walk *w, const struct layout *l,
                      struct layout_extent *out_extent)
{
    while (w->rest.bytes > 0) {
        const struct group g = group_of_address(l, w->rest.at);
        while (w->column < g.width) {
            const struct layout_extent run = walk_run(w, l, &g);
            if (w->done_bytes < run.bytes) {
                *out_extent = (struct layout_extent) {
                    .shard = run.shard,
                    .offset = run.offset + w->done_bytes,
                    .bytes = min_u64(run.bytes - w->done_bytes, w->piece_bytes_max),
                };
                w->done_bytes += out_extent->bytes;
                return true;
            }
            w->column++;
            w->done_bytes = 0;
        }
        const uint64_t group_end = g.at + g.bytes;
        const uint64_t walked = min_u64(w->rest.bytes, group_end - w->rest.at);
        w->rest.at += walked;
        w->rest.bytes -= walked;
        w->column = 0;
    }
    return false;
}
