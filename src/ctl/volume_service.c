/* SPDX-License-Identifier: Apache-2.0 */
/* The VolumeService of api/trilith/v1/volume.proto. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "ctl/ctl_internal.h"
#include "ctl/volume_create.h"
#include "ctl/volume_leftovers.h"
#include "ctl/volume_replicas.h"
#include "ctl/volume_resize.h"
#include "ctl/volume_set.h"
#include "ctl/volume_spread.h"
#include "meta/groups.h"

/* ---- CreateVolume ---- */

static bool same_hosts(const Trilith__V1__VolumeSpec *s, const Stored__V1__Volume *r)
{
    if (s->n_allowed_hosts != r->n_allowed_hosts)
        return false;
    for (size_t i = 0; i < s->n_allowed_hosts; i++)
        if (strcmp(s->allowed_hosts[i], r->allowed_hosts[i]) != 0)
            return false;
    return true;
}

static bool given_differs(uint64_t given, uint64_t kept)
{
    return given != 0 && given != kept;
}

/* What a specification asks for that an existing volume is not; NULL if it is the same. */
static const char *difference(const Trilith__V1__VolumeSpec *s, const Stored__V1__Volume *r)
{
    const bool wants_continue =
        s->on_unflushed_loss == TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_CONTINUE;

    if (s->bytes != r->bytes)
        return "size";
    if (!same_hosts(s, r))
        return "list of allowed hosts";
    if (given_differs(s->lba_bytes, r->lba_bytes))
        return "LBA size";
    if (given_differs(s->shard_bytes, r->shard_bytes))
        return "shard size";
    if (given_differs(s->stripe_width, r->stripe_width) ||
        given_differs(s->stripe_unit_bytes, r->stripe_unit_bytes))
        return "striping";
    if (given_differs(s->replicas, r->replicas))
        return "number of replicas";
    if (given_differs(s->min_in_sync, r->min_in_sync))
        return "number of replicas in sync";
    if (given_differs(s->stride_nodes, r->stride_nodes))
        return "stride";
    if (given_differs(s->apart, volume_apart(r) + 1))
        return "failure domain";
    return wants_continue != r->continue_on_unflushed_loss ? "unflushed-loss policy" : NULL;
}

/* The volume exists, since now or before: wait for it, if it is what was asked for. */
static void create_wait(struct ctl *ctl, struct rpc_call *call,
                        const Trilith__V1__CreateVolumeRequest *request, const char *warning)
{
    Stored__V1__Volume *record = NULL;
    const Trilith__V1__VolumeSpec *spec = request->spec;
    const struct status st = volume_find(ctl, spec->name, &record, NULL);
    if (!status_ok(st)) {
        ctl_fail(call, st, spec->name);
        return;
    }
    const char *other = difference(spec, record);
    if (record->deleting)
        rpc_fail(call, RPC_FAILED_PRECONDITION,
                 "volume '%s': one of this name is being deleted; try again when it is gone",
                 spec->name);
    else if (other != NULL)
        rpc_fail(call, RPC_ALREADY_EXISTS, "volume '%s': it exists with another %s (it has %s)",
                 spec->name, other, size_format(record->bytes).s);
    else
        volume_wait_start(ctl, call, record, VOLUME_WAIT_READY, request->wait_ms, warning);
    record_free(&record->base);
}

static void on_create(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__CreateVolumeRequest *request =
        (const Trilith__V1__CreateVolumeRequest *)(const void *)message;
    char warning[RPC_TEXT_BYTES] = "";
    struct ctl *ctl = ctx;
    struct problem problem;

    struct status st = validate_spec(request->spec, &problem);
    if (status_ok(st))
        st = validate_wait(request->wait_ms, &problem);
    if (status_ok(st)) {
        st = volume_create(ctl, request->spec, warning, &problem);
        if (status_ok(st))
            log_info(ctl->log, "volume '%s': created, %s", request->spec->name,
                     size_format(request->spec->bytes).s);
    }
    if (status_ok(st) || status_is(st, STATUS_EXISTS))
        create_wait(ctl, call, request, warning);
    else
        rpc_fail(call, rpc_code_of(st), "%s", problem.s);
}

/* ---- ListVolumes, GetVolume ---- */

static int by_name(const void *a, const void *b)
{
    const Trilith__V1__Volume *const *left = a;
    const Trilith__V1__Volume *const *right = b;
    return strcmp((*left)->spec->name, (*right)->spec->name);
}

static void on_list(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__ListVolumesResponse reply = TRILITH__V1__LIST_VOLUMES_RESPONSE__INIT;
    struct ctl *ctl = ctx;
    struct records records;

    (void)message;
    const struct status st =
        records_read(ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &records);
    if (!status_ok(st)) {
        ctl_fail(call, st, "the volumes could not be read");
        return;
    }
    reply.n_volumes = records.count;
    reply.volumes = arena_alloc(&arena, records.count * sizeof *reply.volumes);
    for (size_t i = 0; i < records.count; i++) {
        reply.volumes[i] =
            volume_view(ctl, (const Stored__V1__Volume *)(const void *)records.items[i], &arena);
        reply.volumes[i]->n_copysets = 0; /* Of a thousand volumes they would not fit in a reply. */
    }
    qsort(reply.volumes, reply.n_volumes, sizeof *reply.volumes, by_name);
    records_free(&records);
    rpc_reply(call, &reply.base);
}

void volume_fail_find(struct rpc_call *call, struct status st, const char *name)
{
    if (status_is(st, STATUS_NOT_FOUND))
        rpc_fail(call, RPC_NOT_FOUND,
                 "volume '%.100s': there is none of this name; 'trilith volume list' shows all",
                 name);
    else
        rpc_fail(call, rpc_code_of(st), "volume '%.100s': %s", name, status_text(st));
}

static void on_get(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__GetVolumeResponse reply = TRILITH__V1__GET_VOLUME_RESPONSE__INIT;
    const Trilith__V1__GetVolumeRequest *request =
        (const Trilith__V1__GetVolumeRequest *)(const void *)message;
    Stored__V1__Volume *record = NULL;

    const struct status st = volume_find(ctx, request->name, &record, NULL);
    if (!status_ok(st)) {
        volume_fail_find(call, st, request->name);
        return;
    }
    reply.volume = volume_view(ctx, record, &arena);
    if (request->with_places)
        volume_places_view(ctx, record, reply.volume, &arena);
    record_free(&record->base);
    rpc_reply(call, &reply.base);
}

/* ---- ResizeVolume ---- */

static void resize(struct ctl *ctl, struct rpc_call *call,
                   const Trilith__V1__ResizeVolumeRequest *request)
{
    char warning[RPC_TEXT_BYTES] = "";
    Stored__V1__Volume *record = NULL;
    struct problem problem = { "" };

    struct status st = volume_find(ctl, request->name, &record, NULL);
    if (!status_ok(st)) {
        volume_fail_find(call, st, request->name);
        return;
    }
    st = volume_resize(ctl, record, request->bytes, warning, &problem);
    if (status_ok(st))
        volume_wait_start(ctl, call, record, VOLUME_WAIT_GROWN, request->wait_ms, warning);
    else
        rpc_fail(call, status_is(st, STATUS_BUSY) ? RPC_FAILED_PRECONDITION : rpc_code_of(st), "%s",
                 problem.s);
    record_free(&record->base);
}

static void on_resize(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__ResizeVolumeRequest *request =
        (const Trilith__V1__ResizeVolumeRequest *)(const void *)message;
    struct problem problem;

    struct status st = validate_wait(request->wait_ms, &problem);
    if (status_ok(st))
        st = validate_volume_bytes(request->name, request->bytes, &problem);
    if (status_ok(st))
        resize(ctx, call, request);
    else
        rpc_fail(call, rpc_code_of(st), "%s", problem.s);
}

/* ---- SetVolume ---- */

/* It is recorded; another node is waited for. */
static void set_wait(struct ctl *ctl, struct rpc_call *call,
                     const Trilith__V1__SetVolumeRequest *request, struct uuid was)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__SetVolumeResponse reply = TRILITH__V1__SET_VOLUME_RESPONSE__INIT;
    Stored__V1__Volume *record = NULL;

    const struct status st = volume_find(ctl, request->name, &record, NULL);
    if (!status_ok(st)) {
        volume_fail_find(call, st, request->name);
        return;
    }
    if (request->node[0] != '\0') {
        const bool moved = !uuid_equal(was, field_uuid(record->node));
        volume_wait_start(ctl, call, record, VOLUME_WAIT_SERVED, request->wait_ms,
                          moved ? node_name_read(ctl, was, &arena) : "");
    } else {
        reply.volume = volume_view(ctl, record, &arena);
        rpc_reply(call, &reply.base);
    }
    record_free(&record->base);
}

static void set(struct ctl *ctl, struct rpc_call *call,
                const Trilith__V1__SetVolumeRequest *request)
{
    const struct volume_changes changes = { request->min_in_sync, request->node };
    Stored__V1__Volume *record = NULL;
    struct problem problem = { "" };
    struct uuid was;

    struct status st = volume_find(ctl, request->name, &record, NULL);
    if (!status_ok(st)) {
        volume_fail_find(call, st, request->name);
        return;
    }
    st = volume_set(ctl, record, &changes, &was, &problem);
    record_free(&record->base);
    if (status_ok(st))
        set_wait(ctl, call, request, was);
    else
        rpc_fail(call, status_is(st, STATUS_BUSY) ? RPC_FAILED_PRECONDITION : rpc_code_of(st), "%s",
                 problem.s);
}

static void on_set(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__SetVolumeRequest *request =
        (const Trilith__V1__SetVolumeRequest *)(const void *)message;
    struct problem problem;

    if (status_ok(validate_wait(request->wait_ms, &problem)))
        set(ctx, call, request);
    else
        rpc_fail(call, RPC_INVALID_ARGUMENT, "%s", problem.s);
}

/* ---- DeleteVolume ---- */

/* 11.7: from here on nobody takes an epoch of it.  Its node deletes it with the next one. */
static struct status MUST_CHECK remove_group(Stored__V1__Volume *volume, struct meta *m,
                                             struct meta_txn *txn, struct arena *arena)
{
    struct group *g = arena_alloc(arena, sizeof *g);
    uint64_t revision;

    const struct status st = group_record_get(m, field_uuid(volume->uuid), 0, g, &revision);
    if (status_is(st, STATUS_NOT_FOUND) || status_is(st, STATUS_CORRUPT)) {
        volume->delete_epoch = UINT64_MAX; /* What cannot be served can still be deleted. */
        return STATUS(OK);
    }
    TRY(st);
    volume->delete_epoch = g->epoch + 1;
    meta_txn_expect(txn, key_group(field_uuid(volume->uuid), 0).s, revision);
    group_record_remove(txn, field_uuid(volume->uuid), 0);
    return STATUS(OK);
}

/* Nothing is moved any more; what was copied is deleted with the rest. */
static void leave_moves_over(Stored__V1__Volume *volume, struct arena *arena)
{
    for (size_t i = 0; i < volume->n_replacements; i++)
        if (volume->replacements[i]->moves)
            volume_note_leftover(volume, field_uuid(volume->replacements[i]->disk), arena);
    volume->n_replacements = 0;
}

static struct status mark_deleting(void *ctx, struct meta *m, struct meta_txn *txn)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Stored__V1__Volume *record = ctx;
    ProtobufCMessage *found;
    uint64_t revision;
    const struct meta_key key = key_volume(field_uuid(record->uuid));

    TRY(record_get(m, key.s, &stored__v1__volume__descriptor, &found, &revision));
    Stored__V1__Volume copy = *(Stored__V1__Volume *)(void *)found;
    Stored__V1__Volume *const volume = &copy; /* What is new is the arena's. */
    const bool has_group = volume->replicas > 1 && !volume->deleting;
    struct status st = has_group ? remove_group(volume, m, txn, &arena) : STATUS(OK);
    leave_moves_over(volume, &arena);
    volume->deleting = true;
    meta_txn_expect(txn, key.s, revision);
    record_put(txn, key.s, &volume->base);
    if (status_ok(st))
        st = desired_bump(m, txn, field_uuid(volume->node));
    record_free(found);
    return st;
}

/* Whether hosts are connected, and which, for the message. */
static const Trilith__V1__VolumeReport *in_use(struct ctl *ctl, const Stored__V1__Volume *record)
{
    const struct observed *o = observed_find(ctl, field_uuid(record->node));
    const Trilith__V1__VolumeReport *report = observed_volume(o, field_uuid(record->uuid));

    return report != NULL && report->n_connected_hosts > 0 && observed_connected(ctl, o) ? report
                                                                                         : NULL;
}

static void delete_volume(struct ctl *ctl, struct rpc_call *call,
                          const Trilith__V1__DeleteVolumeRequest *request,
                          Stored__V1__Volume *record)
{
    const Trilith__V1__VolumeReport *used = in_use(ctl, record);

    if (used != NULL && !request->force && !record->deleting) {
        rpc_fail(call, RPC_FAILED_PRECONDITION,
                 "volume '%s': %zu host(s) are connected, such as '%.200s'; disconnect them, or "
                 "use --force",
                 record->name, used->n_connected_hosts, used->connected_hosts[0]);
        return;
    }
    if (!record->deleting) {
        const struct status st = meta_transact(ctl->meta, mark_deleting, record, NULL);
        if (!status_ok(st)) {
            volume_fail_find(call, st, record->name);
            return;
        }
        log_info(ctl->log, "volume '%s': being deleted", record->name);
    }
    record->deleting = true;
    volume_wait_start(ctl, call, record, VOLUME_WAIT_GONE, request->wait_ms, "");
}

static void on_delete(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__DeleteVolumeRequest *request =
        (const Trilith__V1__DeleteVolumeRequest *)(const void *)message;
    Stored__V1__Volume *record = NULL;
    struct problem problem;

    if (!status_ok(validate_wait(request->wait_ms, &problem))) {
        rpc_fail(call, RPC_INVALID_ARGUMENT, "%s", problem.s);
        return;
    }
    const struct status st = volume_find(ctx, request->name, &record, NULL);
    if (!status_ok(st)) {
        volume_fail_find(call, st, request->name);
        return;
    }
    delete_volume(ctx, call, request, record);
    record_free(&record->base);
}

/* ---- The end of a volume ---- */

struct removal {
    struct uuid volume;
    struct uuid node; /* That says it has deleted it. */
};

static struct status remove_volume(void *ctx, struct meta *m, struct meta_txn *txn)
{
    const struct removal *r = ctx;
    const struct meta_key key = key_volume(r->volume);
    ProtobufCMessage *found;
    uint64_t revision;

    TRY(record_get(m, key.s, &stored__v1__volume__descriptor, &found, &revision));
    const Stored__V1__Volume *volume = (const Stored__V1__Volume *)(const void *)found;
    struct status st = STATUS(CANCELED); /* Nobody has asked it to. */
    if (volume->deleting && uuid_equal(field_uuid(volume->node), r->node)) {
        meta_txn_expect(txn, key.s, revision);
        meta_txn_remove(txn, key.s);
        meta_txn_remove(txn, key_volume_name(volume->name).s);
        group_record_remove(txn, r->volume, 0);
        st = desired_bump(m, txn, field_uuid(volume->node));
    }
    record_free(found);
    return st;
}

void volumes_finish_deleting(struct ctl *ctl, const struct observed *o)
{
    for (size_t i = 0; i < o->report->n_volumes; i++) {
        const Trilith__V1__VolumeReport *v = o->report->volumes[i];
        struct removal removal = { field_uuid(v->uuid), o->node };
        const struct uuid_text text = uuid_format(removal.volume);
        if (v->state != TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_DELETED)
            continue;
        const struct status st = meta_transact(ctl->meta, remove_volume, &removal, NULL);
        if (status_ok(st))
            log_info(ctl->log, "volume %s: deleted", text.s);
        else if (!status_is(st, STATUS_NOT_FOUND) && !status_is(st, STATUS_CANCELED))
            log_error(ctl->log, "volume %s: its record could not be removed: %s", text.s,
                      status_text(st));
    }
}

const struct rpc_method volume_methods[] = {
    { "CreateVolume", on_create },
    { "ListVolumes", on_list },
    { "GetVolume", on_get },
    { "DeleteVolume", on_delete },
    { "ResizeVolume", on_resize },
    { "StartVerification", on_start_verification },
    { "GetVerification", on_get_verification },
    { "StopVerification", on_stop_verification },
    { "SetVolume", on_set },
};
