/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SET: what the disk knows of the copysets of its volumes (S5, F39), so that the record of the meta
 * store can be made again from the disks.  docs/replication.md, sections 6.5 and 11.6.
 */
#include <assert.h>

#include "store/store_internal.h"

static struct record_copyset set_record(const struct store_io *io, const struct store_set *set)
{
    return (struct record_copyset) { .volume = io->session->volume->id,
                                     .number = set->number,
                                     .group = io->session->group,
                                     .epoch = io->session->epoch,
                                     .sequence = set->sequence,
                                     .set = set->set };
}

/* Whether a set may be kept: it is none that the disk has overtaken. */
static struct status MUST_CHECK set_check(const struct store_io *io, const struct store_set *set)
{
    const struct catalog_copyset *const old = copyset_next(io->session->volume, set->number);

    if (set->number > STORE_COPYSET_MAX || !store_copyset_is_valid(&set->set))
        return STATUS(INVALID);
    if (old == NULL || old->number != set->number || !old->has_set)
        return STATUS(OK);
    const bool older = old->rec.epoch > io->session->epoch ||
                       (old->rec.epoch == io->session->epoch && old->rec.sequence > set->sequence);
    return older || old->rec.group != io->session->group ? STATUS(INVALID) : STATUS(OK);
}

static struct status MUST_CHECK set_keep(struct store_io *io, const struct store_set *sets,
                                         uint32_t count)
{
    struct store *const store = io->session->store;

    for (uint32_t i = 0; i < count; i++)
        TRY(set_check(io, &sets[i]));
    for (uint32_t i = 0; i < count; i++) {
        const struct record rec = { .type = RECORD_COPYSET, .u.copyset = set_record(io, &sets[i]) };
        TRY(copyset_put(&store->catalog, io->session->volume, &rec.u.copyset));
        record_encode(&rec,
                      journal_append(store->journal, record_bytes(RECORD_COPYSET, 0), &io->last));
    }
    return STATUS(OK);
}

/* How many of them the disk does not know yet, at most. */
static uint32_t sets_fresh(const struct store_io *io, const struct store_set *sets, uint32_t count)
{
    uint32_t fresh = 0;

    for (uint32_t i = 0; i < count; i++)
        fresh += copyset_is_known(io->session->volume, sets[i].number) ? 0 : 1;
    return fresh;
}

bool set_admit(struct store_io *io)
{
    struct store *const store = io->session->store;
    const struct store_set *const sets = (const struct store_set *)(void *)io->data.at;
    const uint32_t count = (uint32_t)(io->data.bytes / sizeof *sets);

    if (count == 0 || count > STORE_COPYSETS_MAX) {
        command_finish(io, STATUS(INVALID));
        return true;
    }
    if (copysets_must_wait(&store->catalog, sets_fresh(io, sets, count)) ||
        !journal_has_room(store->journal, count * record_bytes(RECORD_COPYSET, 0), false))
        return false;
    const struct status st = set_keep(io, sets, count);
    if (!status_ok(st)) {
        command_finish(io, st);
        return true;
    }
    command_activate(io, NULL);
    command_finish_flushed(io, io->last);
    return true;
}

/* The group's next one from a number on, or NULL. */
static const struct catalog_copyset *group_next(const struct store_session *session, uint32_t from)
{
    const struct catalog_copyset *set = copyset_next(session->volume, from);

    while (set != NULL && (!set->has_set || set->rec.group != session->group))
        set = copyset_next(session->volume, set->number + 1);
    return set;
}

void sets_describe(const struct store_session *session, struct store_state *state)
{
    const struct catalog_copyset *set = group_next(session, 0);

    for (; set != NULL; set = group_next(session, set->rec.number + 1)) {
        state->set_count++;
        if (set->rec.epoch < state->set_epoch ||
            (set->rec.epoch == state->set_epoch && set->rec.sequence < state->set_sequence))
            continue;
        state->set_epoch = set->rec.epoch;
        state->set_sequence = set->rec.sequence;
    }
}

uint32_t store_session_sets(const struct store_session *session, uint32_t from,
                            struct store_set *out_sets, uint32_t max)
{
    const struct catalog_copyset *set = group_next(session, from);
    uint32_t count = 0;

    assert(status_ok(store_session_check(session)));
    for (; set != NULL && count < max; set = group_next(session, set->rec.number + 1))
        out_sets[count++] = (struct store_set) { .number = set->rec.number,
                                                 .sequence = set->rec.sequence,
                                                 .set = set->rec.set };
    return count;
}
