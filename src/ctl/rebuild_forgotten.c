/* SPDX-License-Identifier: Apache-2.0 */
/* What was deleted on a disk that was replaced: docs/replication.md, 9.17. */
#include "ctl/ctl_internal.h"
#include "ctl/volume_leftovers.h"

struct forgetting {
    struct uuid volume, disk;
    struct uuid node; /* That says so. */
};

/* NOT_FOUND: it is none of them, or the node does not serve the volume. */
static struct status MUST_CHECK drop_leftover(Stored__V1__Volume *r, const struct forgetting *f,
                                              struct arena *arena)
{
    if (!uuid_equal(field_uuid(r->node), f->node) || !volume_drop_leftover(r, f->disk, arena))
        return STATUS(NOT_FOUND);
    return STATUS(OK);
}

static struct status forget_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    const struct forgetting *f = ctx;
    const struct meta_key key = key_volume(f->volume);
    ProtobufCMessage *found;
    uint64_t revision;

    TRY(record_get(m, key.s, &stored__v1__volume__descriptor, &found, &revision));
    Stored__V1__Volume record = *(const Stored__V1__Volume *)(const void *)found;
    struct status st = drop_leftover(&record, f, &arena);
    if (status_ok(st)) {
        meta_txn_expect(txn, key.s, revision);
        record_put(txn, key.s, &record.base);
        st = desired_bump(m, txn, f->node);
    }
    record_free(found);
    return st;
}

static void take_one(struct ctl *ctl, const struct forgetting *forgetting)
{
    struct forgetting f = *forgetting;
    const struct status st = meta_transact(ctl->meta, forget_build, &f, NULL);

    if (status_ok(st))
        log_info(ctl->log, "volume %s: what disk %s had of it is deleted", uuid_format(f.volume).s,
                 uuid_format(f.disk).s);
    else if (!status_is(st, STATUS_NOT_FOUND))
        log_error(ctl->log, "volume %s: that disk %s has nothing of it could not be recorded: %s",
                  uuid_format(f.volume).s, uuid_format(f.disk).s, status_text(st));
}

/*
 * Whether the report is about what the node is to have now.  Otherwise it may be from before a disk
 * became a leftover anew, with what was copied to it in between.
 */
static bool is_current(struct ctl *ctl, const struct observed *o)
{
    struct meta_value value;

    if (o->report->revision == 0) /* It does not say. */
        return true;
    if (!status_ok(meta_get(ctl->meta, key_desired(o->node).s, &value)))
        return false;
    const bool current = value.revision == o->report->revision;
    meta_value_free(&value);
    return current;
}

void rebuild_take_forgotten(struct ctl *ctl, const struct observed *o)
{
    if (!is_current(ctl, o)) /* It will say so again. */
        return;
    for (size_t i = 0; i < o->report->n_volumes; i++) {
        const Trilith__V1__VolumeReport *v = o->report->volumes[i];
        for (size_t k = 0; k < v->n_forgotten; k++)
            take_one(ctl, &(struct forgetting) { field_uuid(v->uuid), field_uuid(v->forgotten[k]),
                                                 o->node });
    }
}
