/* SPDX-License-Identifier: Apache-2.0 */
/*
 * StartVerification, GetVerification and StopVerification: what nodes read of volumes, and report.
 *
 *   start --> in the part of the volume's node --> node reads --> its reports <-- get, get, ...
 *                                                                                      |
 *   stop, or nobody asks any more --> out of the part --> the node forgets it <--------+
 *
 * They are kept in memory alone: a caller that sees the controller start anew begins anew.  Their
 * ids are random, so that no node takes one for another of before.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/ctl_internal.h"

struct verification {
    struct list_node link; /* In ctl.verifications. */
    struct ctl *ctl;
    uint64_t id;
    uint64_t bytes_per_s;
    struct uuid volume;
    char name[CTL_NAME_BYTES_MAX + 1];
    struct rpc_timer timer; /* Nobody has asked for too long. */
};

/* ---- The node's part ---- */

static struct status bump_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    const struct uuid *node = ctx;

    return desired_bump(m, txn, *node);
}

/* Who serves the volume now: another node may, since the verification has begun.  NOT_FOUND: the
 * volume is gone. */
static struct status MUST_CHECK read_node(const struct verification *w, struct uuid *out_node)
{
    ProtobufCMessage *found;

    TRY(record_get(w->ctl->meta, key_volume(w->volume).s, &stored__v1__volume__descriptor, &found,
                   NULL));
    *out_node = field_uuid(((const Stored__V1__Volume *)(const void *)found)->node);
    record_free(found);
    return STATUS(OK);
}

/* Its node is told, now that the list has changed. */
static struct status MUST_CHECK tell_node(struct ctl *ctl, struct uuid node)
{
    return meta_transact(ctl->meta, bump_build, &node, NULL);
}

void verifications_fill(struct ctl *ctl, Trilith__V1__WatchNodeResponse *part)
{
    LIST_FOR_EACH (n, &ctl->verifications) {
        const struct verification *const w = CONTAINER_OF(n, struct verification, link);
        for (size_t i = 0; i < part->n_volumes; i++) {
            Trilith__V1__DesiredVolume *const v = part->volumes[i];
            if (!uuid_equal(field_uuid(v->uuid), w->volume))
                continue;
            v->verification = w->id;
            v->verification_bytes_per_s = w->bytes_per_s;
        }
    }
}

/* ---- The list ---- */

static struct verification *find(struct ctl *ctl, uint64_t id)
{
    LIST_FOR_EACH (n, &ctl->verifications) {
        struct verification *const w = CONTAINER_OF(n, struct verification, link);
        if (w->id == id)
            return w;
    }
    return NULL;
}

/* How many there are, or, of a volume, whether there is one. */
static unsigned count(struct ctl *ctl, const struct uuid *volume)
{
    unsigned found = 0;

    LIST_FOR_EACH (n, &ctl->verifications) {
        const struct verification *const w = CONTAINER_OF(n, struct verification, link);
        found += volume == NULL || uuid_equal(w->volume, *volume) ? 1 : 0;
    }
    return found;
}

static void forget(struct verification *w)
{
    list_remove(&w->link);
    rpc_timer_disarm(&w->timer);
    free(w);
}

static void end(struct verification *w)
{
    struct ctl *const ctl = w->ctl;
    char name[sizeof w->name];
    struct uuid node;

    snprintf(name, sizeof name, "%s", w->name);
    struct status st = read_node(w, &node);
    forget(w);
    if (status_ok(st))
        st = tell_node(ctl, node);
    /* It reads on, to no purpose, until its part changes. */
    if (!status_ok(st) && !status_is(st, STATUS_NOT_FOUND))
        log_error(ctl->log,
                  "volume '%s': its node could not be told that a verification is over: %s", name,
                  status_text(st));
}

static void on_timer(struct rpc_timer *timer)
{
    end(CONTAINER_OF(timer, struct verification, timer));
}

static void keep(struct verification *w)
{
    rpc_timer_arm(w->ctl->loop, &w->timer,
                  rpc_now_ns(w->ctl->loop) + CTL_VERIFICATION_MS * NS_PER_MS);
}

void verifications_end(struct ctl *ctl)
{
    LIST_FOR_EACH (n, &ctl->verifications)
        forget(CONTAINER_OF(n, struct verification, link));
}

/* ---- What is known ---- */

static char *hex(ProtobufCBinaryData bytes, struct arena *arena)
{
    char *const text = arena_alloc(arena, 2 * bytes.len + 1);

    for (size_t i = 0; i < bytes.len; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes.data[i]);
    return text;
}

static Trilith__V1__VerifiedReplica *replica_view(const Trilith__V1__VerifiedReplicaReport *r,
                                                  uint32_t number, struct arena *arena)
{
    Trilith__V1__VerifiedReplica *const v = arena_alloc(arena, sizeof *v);

    trilith__v1__verified_replica__init(v);
    v->replica = number;
    v->whole = r->whole;
    v->bad_blocks = r->bad_blocks;
    v->differing_blocks = r->differing_blocks;
    v->unread_bytes = r->unread_bytes;
    if (r->whole)
        v->sha256 = hex(r->sha256, arena);
    return v;
}

/* Its UUID if there is no record of it. */
static char *disk_name(struct ctl *ctl, struct uuid disk, struct arena *arena)
{
    ProtobufCMessage *found = NULL;
    char *name = arena_uuid(arena, disk);

    if (status_ok(
            record_get(ctl->meta, key_disk(disk).s, &stored__v1__disk__descriptor, &found, NULL)))
        name = arena_text(arena, ((const Stored__V1__Disk *)(const void *)found)->name);
    record_free(found);
    return name;
}

static Trilith__V1__VerificationFinding *finding_view(
    struct ctl *ctl, const Trilith__V1__VerificationFindingReport *f, struct arena *arena)
{
    Trilith__V1__VerificationFinding *const v = arena_alloc(arena, sizeof *v);

    trilith__v1__verification_finding__init(v);
    v->problem = (Trilith__V1__VerificationProblem)f->problem;
    v->replica = f->replica;
    v->disk = disk_name(ctl, field_uuid(f->disk_uuid), arena);
    v->offset = f->offset;
    v->bytes = f->bytes;
    v->reason = arena_text(arena, f->reason);
    return v;
}

static void take_report(struct ctl *ctl, const Trilith__V1__VerificationReport *r,
                        Trilith__V1__Verification *v, struct arena *arena)
{
    v->state = !r->ended               ? TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_RUNNING
               : r->failure[0] != '\0' ? TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_FAILED
                                       : TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_ENDED;
    v->reason = arena_text(arena, r->failure);
    v->bytes = r->bytes;
    v->done_bytes = r->done_bytes;
    v->good = r->good;
    v->replicas = arena_alloc(arena, r->n_replicas * sizeof *v->replicas);
    for (; v->n_replicas < r->n_replicas; v->n_replicas++)
        v->replicas[v->n_replicas] =
            replica_view(r->replicas[v->n_replicas], (uint32_t)v->n_replicas + 1, arena);
    v->findings = arena_alloc(arena, r->n_findings * sizeof *v->findings);
    for (; v->n_findings < r->n_findings; v->n_findings++)
        v->findings[v->n_findings] = finding_view(ctl, r->findings[v->n_findings], arena);
    v->findings_left = r->findings_left;
}

/* What the node that serves the volume now says of it. */
static void node_view(const struct verification *w, struct uuid node, Trilith__V1__Verification *v,
                      struct arena *arena)
{
    const struct observed *const o = observed_find(w->ctl, node);
    const Trilith__V1__VolumeReport *const report = observed_volume(o, w->volume);

    v->state = TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_WAITING;
    v->reason = arena_text(arena, "its node has not begun yet");
    if (report != NULL && report->verification != NULL && report->verification->id == w->id)
        take_report(w->ctl, report->verification, v, arena);
    else if (report != NULL && report->reason[0] != '\0')
        v->reason = arena_text(arena, report->reason);
    if (!observed_connected(w->ctl, o) &&
        v->state != TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_ENDED) {
        v->state = TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_WAITING;
        v->reason = arena_text(arena, "its node does not report");
    }
}

static Trilith__V1__Verification *view(const struct verification *w, struct arena *arena)
{
    Trilith__V1__Verification *const v = arena_alloc(arena, sizeof *v);
    struct uuid node;

    trilith__v1__verification__init(v);
    v->id = w->id;
    v->volume = arena_text(arena, w->name);
    const struct status st = read_node(w, &node);
    if (status_ok(st)) {
        node_view(w, node, v, arena);
    } else {
        const bool is_gone = status_is(st, STATUS_NOT_FOUND);
        v->state = is_gone ? TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_FAILED
                           : TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_WAITING;
        v->reason = arena_text(arena, is_gone ? "it was deleted meanwhile" : status_text(st));
    }
    return v;
}

/* ---- StartVerification ---- */

/* Why it cannot be begun; NULL: it can. */
static const char *refusal(struct ctl *ctl, const Stored__V1__Volume *record)
{
    const struct uuid uuid = field_uuid(record->uuid);
    const struct observed *const o = observed_find(ctl, field_uuid(record->node));
    const Trilith__V1__VolumeReport *const report = observed_volume(o, uuid);

    if (count(ctl, &uuid) > 0)
        return "it is being verified already";
    if (count(ctl, NULL) >= CTL_VERIFICATIONS_MAX)
        return "too many volumes are being verified; try again when one of them is done";
    if (!observed_connected(ctl, o))
        return "its node does not report";
    if (record->deleting || report == NULL ||
        report->state != TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY)
        return "it is not ready; 'trilith volume show' says why";
    return NULL;
}

static struct status MUST_CHECK add(struct ctl *ctl, const Stored__V1__Volume *record,
                                    uint64_t bytes_per_s, struct verification **out_new)
{
    struct verification *const w = calloc(1, sizeof *w);

    if (w == NULL)
        return STATUS(NO_MEMORY);
    w->ctl = ctl;
    w->bytes_per_s = bytes_per_s != 0 ? bytes_per_s : CTL_VERIFICATION_BYTES_PER_S_DEF;
    w->volume = field_uuid(record->uuid);
    snprintf(w->name, sizeof w->name, "%s", record->name);
    while (w->id == 0 || find(ctl, w->id) != NULL) {
        rpc_random(ctl->loop, (struct span) { (uint8_t *)&w->id, sizeof w->id });
        w->id >>= 11; /* JavaScript's numbers have 53 bits. */
    }
    rpc_timer_init(&w->timer, on_timer);
    list_node_init(&w->link);
    list_push_back(&ctl->verifications, &w->link);
    const struct status st = tell_node(ctl, field_uuid(record->node));
    if (!status_ok(st)) {
        forget(w);
        return st;
    }
    keep(w);
    *out_new = w;
    return STATUS(OK);
}

static void start(struct ctl *ctl, struct rpc_call *call, const Stored__V1__Volume *record,
                  uint64_t bytes_per_s)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__StartVerificationResponse reply = TRILITH__V1__START_VERIFICATION_RESPONSE__INIT;
    const char *const why = refusal(ctl, record);
    struct verification *w = NULL;

    if (why != NULL) {
        rpc_fail(call, RPC_FAILED_PRECONDITION, "volume '%s': %s", record->name, why);
        return;
    }
    const struct status st = add(ctl, record, bytes_per_s, &w);
    if (!status_ok(st)) {
        ctl_fail(call, st, record->name);
        return;
    }
    log_info(ctl->log, "volume '%s': is to be verified", record->name);
    reply.verification = view(w, &arena);
    rpc_reply(call, &reply.base);
}

void on_start_verification(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__StartVerificationRequest *request =
        (const Trilith__V1__StartVerificationRequest *)(const void *)message;
    Stored__V1__Volume *record = NULL;

    const struct status st = volume_find(ctx, request->name, &record, NULL);
    if (!status_ok(st)) {
        volume_fail_find(call, st, request->name);
        return;
    }
    start(ctx, call, record, request->bytes_per_s);
    record_free(&record->base);
}

/* ---- GetVerification, StopVerification ---- */

static struct verification *find_or_fail(struct ctl *ctl, struct rpc_call *call, uint64_t id)
{
    struct verification *const w = find(ctl, id);

    if (w == NULL)
        rpc_fail(call, RPC_NOT_FOUND,
                 "there is no such verification any more: it was stopped, or the controller was "
                 "started anew");
    return w;
}

void on_get_verification(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    const Trilith__V1__GetVerificationRequest *request =
        (const Trilith__V1__GetVerificationRequest *)(const void *)message;
    Trilith__V1__GetVerificationResponse reply = TRILITH__V1__GET_VERIFICATION_RESPONSE__INIT;
    struct verification *const w = find_or_fail(ctx, call, request->id);

    if (w == NULL)
        return;
    keep(w);
    reply.verification = view(w, &arena);
    rpc_reply(call, &reply.base);
}

void on_stop_verification(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__StopVerificationRequest *request =
        (const Trilith__V1__StopVerificationRequest *)(const void *)message;
    Trilith__V1__StopVerificationResponse reply = TRILITH__V1__STOP_VERIFICATION_RESPONSE__INIT;
    struct verification *const w = find_or_fail(ctx, call, request->id);

    if (w == NULL)
        return;
    end(w);
    rpc_reply(call, &reply.base);
}
