/* SPDX-License-Identifier: Apache-2.0 */
/* Flush points: docs/replication.md, sections 2.5 and 3.7. */
#include <assert.h>

#include "store/wire_internal.h"

static const struct wire_layout keep_layout = { WIRE_KEEP_POINTS, sizeof(struct wire_head_format),
                                                sizeof(struct wire_point_item_format) };
static const struct wire_layout points_layout = { WIRE_POINTS, sizeof(struct wire_regions_format),
                                                  sizeof(struct wire_point_item_format) };

bool store_point_is_valid(const struct store_point *p)
{
    return p->copyset <= STORE_COPYSET_MAX && !uuid_is_nil(p->disk) && p->incarnation != 0 &&
           p->position != 0;
}

struct store_point wire_point_get(struct wire_items points, uint32_t i)
{
    struct wire_point_item_format f;
    struct store_point point;

    assert(i < points.count);
    memcpy(&f, points.at + i * sizeof f, sizeof f);
    point = (struct store_point) { .copyset = le16_get(f.copyset),
                                   .incarnation = le64_get(f.incarnation),
                                   .position = le64_get(f.position) };
    memcpy(point.disk.b, f.disk, sizeof f.disk);
    return point;
}

static bool points_are_valid(struct wire_items points)
{
    struct wire_point_item_format f;

    if (points.count > STORE_POINTS_MAX)
        return false;
    for (uint32_t i = 0; i < points.count; i++) {
        const struct store_point p = wire_point_get(points, i);
        memcpy(&f, points.at + i * sizeof f, sizeof f);
        if (!store_point_is_valid(&p) || !wire_zeros(f.zero_2, sizeof f.zero_2))
            return false;
    }
    return true;
}

static size_t put_points(const struct store_point *points, uint32_t count, struct span out,
                         size_t at)
{
    assert(count <= STORE_POINTS_MAX);

    for (uint32_t i = 0; i < count; i++) {
        const struct store_point *const p = &points[i];
        struct wire_point_item_format f = { .copyset = le16_make((uint16_t)p->copyset),
                                            .incarnation = le64_make(p->incarnation),
                                            .position = le64_make(p->position) };
        assert(store_point_is_valid(p));
        memcpy(f.disk, p->disk.b, sizeof f.disk);
        memcpy(span_sub(out, at, sizeof f).at, &f, sizeof f);
        at += sizeof f;
    }
    return at;
}

void wire_keep_points_encode(const struct store_point *points, uint32_t count, struct span out)
{
    const struct wire_head_format f = wire_head_make(WIRE_KEEP_POINTS, count);

    memcpy(out.at, &f, sizeof f);
    wire_finish(out, put_points(points, count, out, sizeof f));
}

struct status wire_keep_points_decode(struct const_span data, struct wire_items *out_points)
{
    struct wire_items points;

    TRY(wire_open_data(data, &keep_layout, &points));
    if (!wire_is_full(data, &keep_layout, points) || points.count == 0 || !points_are_valid(points))
        return STATUS(MALFORMED);
    *out_points = points;
    return STATUS(OK);
}

void wire_points_encode(uint64_t cursor, const struct store_point *points, uint32_t count,
                        struct span out)
{
    const struct wire_regions_format f = { .head = wire_head_make(WIRE_POINTS, count),
                                           .cursor = le64_make(cursor) };

    memcpy(out.at, &f, sizeof f);
    wire_finish(out, put_points(points, count, out, sizeof f));
}

struct status wire_points_decode(struct const_span data, uint64_t asked, uint64_t *out_cursor,
                                 struct wire_items *out_points)
{
    struct wire_regions_format f;
    struct wire_items points;

    TRY(wire_open_data(data, &points_layout, &points));
    memcpy(&f, data.at, sizeof f);
    const uint64_t cursor = le64_get(f.cursor);
    /* Of the first answer, the disk's own is a part. */
    if (le64_get(f.zero_24) != 0 || cursor <= asked || !points_are_valid(points) ||
        (asked == 0 && points.count == 0))
        return STATUS(MALFORMED);
    *out_cursor = cursor;
    *out_points = points;
    return STATUS(OK);
}
