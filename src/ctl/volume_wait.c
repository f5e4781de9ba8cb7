/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that end when a volume is ready, or gone. */
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
    char *warnings[1] = { w->warning };

    reply.volume = view;
    reply.warnings = warnings;
    reply.n_warnings = w->warning[0] != '\0' ? 1 : 0;
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
    const bool settled =
        view != NULL && (view->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY ||
                         view->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_FAILED);
    record_free(record);
    if (w->deleting && (view == NULL || time_is_up))
        reply_deleted(w, view);
    else if (!w->deleting && view == NULL)
        rpc_fail(w->call, RPC_ABORTED, "volume '%s': it was deleted meanwhile", w->name);
    else if (!w->deleting && (settled || time_is_up))
        reply_created(w, view);
    else
        return;
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
                       uint32_t wait_ms, const char *warning)
{
    struct volume_wait *w = calloc(1, sizeof *w);

    if (w == NULL) {
        ctl_fail(call, STATUS(NO_MEMORY), record->name);
        return;
    }
    w->call = call;
    w->ctl = ctl;
    w->volume = field_uuid(record->uuid);
    w->deleting = record->deleting;
    snprintf(w->name, sizeof w->name, "%s", record->name);
    snprintf(w->warning, sizeof w->warning, "%s", warning);
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
