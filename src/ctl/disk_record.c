/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk is, and which node has it, for when that is away; free space and health are not kept.
 *
 * Two nodes may report one disk: it was pulled out of the one, whose process goes on with a store
 * that fails, and put into the other; or one has a copy.  The record stays as it is then, as each
 * change of it has every engine that uses the disk begin anew:
 *
 *   the recorded node   reports it well   reports it failed   does not report it, or is silent
 *   a report, well      stays             moves               moves
 *   a report, failed    stays             stays               stays
 */
#include <string.h>

#include "ctl/ctl_internal.h"

struct keeping {
    struct ctl *ctl;
    const Stored__V1__Disk *now;
    bool failed;        /* So the node says. */
    bool moved;         /* Out: it was not known, or another node's. */
    struct uuid before; /* Out: whose it was. */
};

/* Whether the disk is to be the other node's, that says so now. */
static bool may_move(const struct keeping *k)
{
    const struct observed *const o = observed_find(k->ctl, k->before);
    const Trilith__V1__DiskReport *const d =
        observed_connected(k->ctl, o) ? observed_disk(o, field_uuid(k->now->uuid)) : NULL;

    return !k->failed && (d == NULL || d->failure[0] != '\0');
}

/* FENCED: it counts as another node's. */
static struct status record_check(struct keeping *k, const Stored__V1__Disk *was)
{
    const Stored__V1__Disk *const now = k->now;

    k->before = field_uuid(was->node);
    if (!uuid_equal(k->before, field_uuid(now->node))) {
        k->moved = may_move(k);
        return k->moved ? STATUS(OK) : STATUS(FENCED);
    }
    const bool same = strcmp(was->name, now->name) == 0 && strcmp(was->path, now->path) == 0 &&
                      was->bytes == now->bytes && was->atomic_bytes == now->atomic_bytes;
    return same ? STATUS(EXISTS) : STATUS(OK);
}

static struct status disk_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct keeping *k = ctx;
    const struct meta_key key = key_disk(field_uuid(k->now->uuid));
    ProtobufCMessage *found = NULL;
    uint64_t revision = 0;

    k->before = (struct uuid) { { 0 } };
    k->moved = false;
    struct status st = record_get(m, key.s, &stored__v1__disk__descriptor, &found, &revision);
    if (status_is(st, STATUS_NOT_FOUND)) {
        k->moved = true;
        st = STATUS(OK);
    } else if (status_ok(st)) {
        st = record_check(k, (const Stored__V1__Disk *)(const void *)found);
        record_free(found);
    }
    TRY(st);
    meta_txn_expect(txn, key.s, revision);
    record_put(txn, key.s, &k->now->base);
    return STATUS(OK);
}

static struct status keep_disk(struct keeping *k, const struct observed *o,
                               const Trilith__V1__DiskReport *d)
{
    Stored__V1__Disk record = STORED__V1__DISK__INIT;

    record.uuid = d->uuid;
    record.node = record_bytes(&o->node);
    record.name = d->name;
    record.path = d->path;
    record.backend = d->backend;
    record.model = d->model;
    record.serial = d->serial;
    record.bytes = d->bytes;
    record.atomic_bytes = d->atomic_bytes;
    k->now = &record;
    k->failed = d->failure[0] != '\0';
    const struct status st = meta_transact(k->ctl->meta, disk_build, k, NULL);
    k->now = NULL;
    return st;
}

/* Those that are another node's are not looked at again: they go behind the others. */
static bool take_one(struct ctl *ctl, struct observed *o, const struct observed *before,
                     const Trilith__V1__DiskReport *d)
{
    struct keeping k = { .ctl = ctl };
    const struct uuid disk = field_uuid(d->uuid);
    const struct status st = keep_disk(&k, o, d);

    if (status_is(st, STATUS_FENCED)) {
        if (!observed_has_foreign(before, disk))
            log_warning(ctl->log, "disk '%s': node %s reports it as well; it is still that of %s",
                        d->name, uuid_format(o->node).s, uuid_format(k.before).s);
        observed_disown(o, disk);
        return false;
    }
    if (!status_ok(st) && !status_is(st, STATUS_EXISTS)) {
        log_error(ctl->log, "disk '%s': its record could not be written: %s", d->name,
                  status_text(st));
        if (k.moved)
            nodes_tell_later(ctl);
        return false;
    }
    struct observed *const other = k.moved ? observed_find(ctl, k.before) : NULL;
    if (observed_connected(ctl, other) && observed_disk(other, disk) != NULL) {
        log_warning(ctl->log,
                    "disk '%s': it is that of node %s now; %s still reports it, as failed", d->name,
                    uuid_format(o->node).s, uuid_format(k.before).s);
        observed_disown(other, disk);
    }
    return k.moved;
}

bool disks_take_report(struct ctl *ctl, struct observed *o, const struct observed *before)
{
    bool moved = false;

    for (size_t i = 0; i < o->report->n_disks;) {
        const Trilith__V1__DiskReport *const d = o->report->disks[i];
        moved |= take_one(ctl, o, before, d);
        if (i < o->report->n_disks && o->report->disks[i] == d)
            i++;
    }
    return moved;
}
