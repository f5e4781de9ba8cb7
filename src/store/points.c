/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flush points: how far disks had made their journals durable, as they said, and whether this one
 * still has what it said (F41, F42).  docs/replication.md, section 3.7.
 */
#include <assert.h>

#include "store/store_internal.h"

/* ---- Its own ---- */

/* The position up to which all is durable now. */
static uint64_t position_now(const struct store *store)
{
    return journal_get_marks(store->journal).flushed + 1;
}

/* A disk that has failed tells of the incarnation that has ended by it: the next one is perhaps not
 * recorded. */
static struct store_point point_now(const struct store *store)
{
    if (store->failed)
        return (struct store_point) { .disk = store->sb.disk,
                                      .incarnation = store->past.earlier[0].incarnation,
                                      .position = store->past.earlier[0].end };
    return (struct store_point) { .disk = store->sb.disk,
                                  .incarnation = store->incarnation,
                                  .position = position_now(store) };
}

/* F41: whether the disk has what it had named. */
static bool has_point(const struct store *store, const struct store_point *point)
{
    if (point->incarnation == store->incarnation)
        return point->position <= position_now(store);
    for (unsigned i = 0; i < SUPERBLOCK_LIVES; i++) {
        if (store->past.earlier[i].incarnation == point->incarnation)
            return point->position <= store->past.earlier[i].end;
    }
    return false;
}

/* F41: whether it is older than all that the disk remembers. */
static bool is_forgotten(const struct store *store, const struct store_point *point)
{
    const uint64_t oldest = store->past.earlier[SUPERBLOCK_LIVES - 1].incarnation;

    return oldest != 0 && point->incarnation >> 32 < oldest >> 32;
}

/* F42: recorded with the next superblock, which is asked for. */
static void note_lie(struct store *store)
{
    if (store->past.lied)
        return;
    store->past.lied = true;
    log_error(
        store->reactor->log,
        "disk '%s' has lost what it had confirmed as durable: its cache does not obey flushes, "
        "or it was put back from an image.  Its replicas are made anew; replace it",
        store->sb.disk_name);
    checkpoint_request(store);
}

/* ---- LIST_POINTS ---- */

static uint32_t points_count(const struct record_points *rec)
{
    uint32_t count = 0;

    while (count < STORE_COPYSET_POINTS && !uuid_is_nil(rec->points[count].disk))
        count++;
    return count;
}

/* The group's next copyset with points from a number on, or NULL. */
static const struct catalog_copyset *points_next(const struct store_session *session, uint64_t from)
{
    const struct catalog_copyset *set =
        from <= STORE_COPYSET_MAX ? copyset_next(session->volume, (uint32_t)from) : NULL;

    while (set != NULL && (points_count(&set->points) == 0 || set->points.group != session->group))
        set = copyset_next(session->volume, set->number + 1);
    return set;
}

/* The cursor is 0, or the number of the next copyset and 1. */
static void list_points(struct store_io *io)
{
    struct store_point *const points = (struct store_point *)(void *)io->data.at;
    const uint32_t room = (uint32_t)(io->data.bytes / sizeof *points);
    const bool first = io->offset == 0;
    const struct catalog_copyset *set = points_next(io->session, first ? 0 : io->offset - 1);
    uint32_t count = 0;

    if (room < (first ? 1 : STORE_COPYSET_POINTS)) {
        command_finish(io, STATUS(INVALID));
        return;
    }
    if (first)
        points[count++] = point_now(io->session->store);
    while (set != NULL && points_count(&set->points) <= room - count) {
        for (uint32_t i = 0; i < points_count(&set->points); i++)
            points[count++] = set->points.points[i];
        set = points_next(io->session, (uint64_t)set->number + 1);
    }
    io->offset = set != NULL ? (uint64_t)set->number + 1 : STORE_CURSOR_END;
    io->bytes = count * sizeof *points;
    command_finish(io, STATUS(OK));
}

/* ---- KEEP_POINTS ---- */

/* How many of the points in front are of one copyset; 0: too many. */
static uint32_t run_length(const struct store_point *points, uint32_t count)
{
    uint32_t run = 1;

    while (run < count && points[run].copyset == points[0].copyset)
        run++;
    return run <= STORE_COPYSET_POINTS ? run : 0;
}

static struct status MUST_CHECK points_check(const struct store_io *io,
                                             const struct store_point *points, uint32_t count)
{
    struct store *const store = io->session->store;
    bool lost = false, lied = false;

    for (uint32_t i = 0; i < count; i++) {
        if (!store_point_is_valid(&points[i]))
            return STATUS(INVALID);
        if (!uuid_equal(points[i].disk, store->sb.disk) || has_point(store, &points[i]))
            continue;
        lost = true;
        lied |= !is_forgotten(store, &points[i]);
    }
    if (!lost || MUTATION(POINTS_IGNORED))
        return STATUS(OK);
    if (lied)
        note_lie(store);
    return STATUS(POINT_LOST);
}

static struct status MUST_CHECK points_put(struct store_io *io, const struct store_point *points,
                                           uint32_t count)
{
    struct store *const store = io->session->store;
    struct catalog_volume *const v = io->session->volume;
    struct record rec = {
        .type = RECORD_POINTS,
        .u.points = { .volume = v->id, .number = points[0].copyset, .group = io->session->group }
    };

    for (uint32_t i = 0; i < count; i++)
        rec.u.points.points[i] = points[i];
    TRY(copyset_put_points(&store->catalog, v, &rec.u.points));
    record_encode(&rec, journal_append(store->journal, record_bytes(RECORD_POINTS, 0), &io->last));
    return STATUS(OK);
}

static struct status MUST_CHECK points_keep(struct store_io *io, const struct store_point *points,
                                            uint32_t count)
{
    TRY(points_check(io, points, count));
    for (uint32_t at = 0, run; at < count; at += run) {
        run = run_length(&points[at], count - at);
        if (run == 0)
            return STATUS(INVALID);
    }
    for (uint32_t at = 0, run; at < count; at += run) {
        run = run_length(&points[at], count - at);
        TRY(points_put(io, &points[at], run));
    }
    return STATUS(OK);
}

static void check_points(struct store_io *io)
{
    command_finish(io, points_check(io, (const struct store_point *)(const void *)io->data.at,
                                    (uint32_t)(io->data.bytes / sizeof(struct store_point))));
}

/* How many copysets there are among them that the disk does not know yet, at most. */
static uint32_t points_fresh(const struct store_io *io, const struct store_point *points,
                             uint32_t count)
{
    uint32_t fresh = 0;

    for (uint32_t i = 0; i < count; i++) {
        const bool begins = i == 0 || points[i].copyset != points[i - 1].copyset;
        const bool known = copyset_is_known(io->session->volume, points[i].copyset);
        fresh += begins && !known ? 1 : 0;
    }
    return fresh;
}

static bool keep_points(struct store_io *io)
{
    struct store *const store = io->session->store;
    const struct store_point *const points = (const struct store_point *)(void *)io->data.at;
    const uint32_t count = (uint32_t)(io->data.bytes / sizeof *points);

    if (copysets_must_wait(&store->catalog, points_fresh(io, points, count)) ||
        !journal_has_room(store->journal, count * record_bytes(RECORD_POINTS, 0), false))
        return false;
    const struct status st = points_keep(io, points, count);
    if (!status_ok(st) || !io->fua) {
        command_finish(io, st);
        return true;
    }
    command_activate(io, NULL);
    command_finish_flushed(io, io->last);
    return true;
}

bool points_admit(struct store_io *io)
{
    const uint32_t count = (uint32_t)(io->data.bytes / sizeof(struct store_point));

    if (count == 0 || count > STORE_POINTS_MAX) {
        command_finish(io, STATUS(INVALID));
        return true;
    }
    if (io->opcode == STORE_OP_KEEP_POINTS)
        return keep_points(io);
    if (io->opcode == STORE_OP_CHECK_POINTS)
        check_points(io);
    else
        list_points(io);
    return true;
}
