/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that end when a volume is ready, is served, has grown, or is gone. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/ctl_internal.h"

static void wait_free(struct volume_wait *w)
{
    list_remove(&w->link);
    rpc_timer_disarm(&w->timer);
    free(w);
}

static void reply_created(struct volume_wait *w, Trilith__V1__Volume *view)
{
    Trilith__V1__CreateVolumeResponse reply = TRILITH__V1__CREATE_VOLUME_RESPONSE__INIT;
    char *warnings[1] = { w->note };

    reply.volume = view;
    reply.warnings = warnings;
    reply.n_warnings = w->note[0] != '\0' ? 1 : 0;
    rpc_reply(w->call, &reply.base);
}

static void reply_served(struct volume_wait *w, Trilith__V1__Volume *view)
{
    Trilith__V1__SetVolumeResponse reply = TRILITH__V1__SET_VOLUME_RESPONSE__INIT;

    reply.volume = view;
    reply.node_before = w->note;
    rpc_reply(w->call, &reply.base);
}

static void reply_grown(struct volume_wait *w, Trilith__V1__Volume *view)
{
    Trilith__V1__ResizeVolumeResponse reply = TRILITH__V1__RESIZE_VOLUME_RESPONSE__INIT;
    char *warnings[1] = { w->note };

    reply.volume = view;
    reply.warnings = warnings;
    reply.n_warnings = w->note[0] != '\0' ? 1 : 0;
    rpc_reply(w->call, &reply.base);
}

static void reply_deleted(struct volume_wait *w, const Trilith__V1__Volume *view)
{
    Trilith__V1__DeleteVolumeResponse reply = TRILITH__V1__DELETE_VOLUME_RESPONSE__INIT;

    reply.gone = view == NULL;
    if (view != NULL)
        reply.reason = view->reason;
    rpc_reply(w->call, &reply.base);
}

/* A node that cannot open it tries again; one that is silent, or deletes, serves nothing. */
static bool is_served_or_never(const Trilith__V1__Volume *view)
{
    return view->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY ||
           view->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_OFFLINE ||
           view->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_DELETING;
}

/* Whether it has come to something; view is NULL where there is no volume any more. */
static bool is_over(const struct volume_wait *w, const Trilith__V1__Volume *view)
{
    if (view == NULL || w->what == VOLUME_WAIT_GONE)
        return view == NULL;
    if (w->what == VOLUME_WAIT_SERVED)
        return is_served_or_never(view);
    if (view->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_FAILED)
        return true;
    return view->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY &&
           (w->what != VOLUME_WAIT_GROWN || view->served_bytes >= view->spec->bytes);
}

/* Looks at the volume, and ends the call if it has come to something or time is up. */
static void wait_check(struct volume_wait *w, bool time_is_up)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    ProtobufCMessage *record = NULL;
    const struct status st = record_get(w->ctl->meta, key_volume(w->volume).s,
                                        &stored__v1__volume__descriptor, &record, NULL);

    if (!status_ok(st) && !status_is(st, STATUS_NOT_FOUND)) {
        ctl_fail(w->call, st, w->name);
        wait_free(w);
        return;
    }
    Trilith__V1__Volume *view =
        record != NULL ? volume_view(w->ctl, (const Stored__V1__Volume *)(void *)record, &arena)
                       : NULL;
    record_free(record);
    if (w->what != VOLUME_WAIT_GONE && view == NULL)
        rpc_fail(w->call, RPC_ABORTED, "volume '%s': it was deleted meanwhile", w->name);
    else if (!time_is_up && !is_over(w, view))
        return;
    else if (w->what == VOLUME_WAIT_GONE)
        reply_deleted(w, view);
    else if (w->what == VOLUME_WAIT_GROWN)
        reply_grown(w, view);
    else if (w->what == VOLUME_WAIT_SERVED)
        reply_served(w, view);
    else
        reply_created(w, view);
    wait_free(w);
}

static void on_time_is_up(struct rpc_timer *timer)
{
    wait_check(CONTAINER_OF(timer, struct volume_wait, timer), true);
}

static void on_canceled(struct rpc_call *call)
{
    struct volume_wait *w = call->ctx;
    wait_free(w);
    rpc_fail(call, RPC_CANCELLED, "the caller has gone");
}

void volume_wait_start(struct ctl *ctl, struct rpc_call *call, const Stored__V1__Volume *record,
                       enum volume_wait_for what, uint32_t wait_ms, const char *note)
{
    struct volume_wait *w = calloc(1, sizeof *w);

    if (w == NULL) {
        ctl_fail(call, STATUS(NO_MEMORY), record->name);
        return;
    }
    w->call = call;
    w->ctl = ctl;
    w->volume = field_uuid(record->uuid);
    w->what = what;
    snprintf(w->name, sizeof w->name, "%s", record->name);
    snprintf(w->note, sizeof w->note, "%s", note);
    call->canceled = on_canceled;
    call->ctx = w;
    list_node_init(&w->link);
    list_push_back(&ctl->waits, &w->link);
    rpc_timer_init(&w->timer, on_time_is_up);
    const uint64_t ms = wait_ms != 0 ? wait_ms : CTL_WAIT_MS_DEF;
    rpc_timer_arm(ctl->loop, &w->timer, rpc_now_ns(ctl->loop) + ms * NS_PER_MS);
    wait_check(w, false);
}

void volume_waits_check(struct ctl *ctl)
{
    LIST_FOR_EACH (n, &ctl->waits) {
        wait_check(CONTAINER_OF(n, struct volume_wait, link), false);
    }
}

void volume_waits_end(struct ctl *ctl)
{
    LIST_FOR_EACH (n, &ctl->waits) {
        struct volume_wait *w = CONTAINER_OF(n, struct volume_wait, link);
        rpc_fail(w->call, RPC_UNAVAILABLE, "volume '%s': the controller is stopping", w->name);
        wait_free(w);
    }
}
