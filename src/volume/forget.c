/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk still has of the volume, of which no slot is its any more, is deleted
 * (docs/replication.md, 9.17).
 *
 *   home                     the leg's reactor
 *   volume_forget ---------> its session is opened --> DELETE_VOLUME
 *   it is retired <-----------------------------------
 *                 ---------> its session is closed
 *   done          <---------
 *
 * The leg is none of the map's, or was let go of (replace.h): no slice knows it meanwhile.  Home
 * retires it before it is closed: a fence, or a growth, tells it nothing more.
 */
#include <assert.h>

#include "volume/volume_internal.h"

static void forget_on_home(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, open_msg);
    struct volume *const v = call->volume;
    void (*const done)(void *ctx, struct status status) = call->on_forgotten;

    call->opening = false;
    call->on_forgotten = NULL;
    v->openings--;
    atomic_store(&call->leg.used_bytes, 0);
    done(call->forget_ctx, call->outcome);
    if (v->members.fenced)
        members_fence(v); /* The close waits for it. */
}

static void forget_on_closed(void *ctx)
{
    struct leg_call *const call = ctx;

    call->open_msg.deliver = forget_on_home;
    reactor_post(call->volume->home, &call->open_msg);
}

static void forget_close(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, open_msg);

    leg_close(&call->leg, forget_on_closed, call);
}

static void forget_retire(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, open_msg);

    call->retired = true;
    msg->deliver = forget_close;
    reactor_post(call->leg.reactor, msg);
}

static void forget_end(struct leg_call *call)
{
    call->open_msg.deliver = forget_retire;
    reactor_post(call->volume->home, &call->open_msg);
}

/* A disk that does not know the volume has nothing to be deleted. */
static void forget_on_deleted(struct leg_io *io)
{
    struct leg_call *const call = CONTAINER_OF(io, struct leg_call, io);
    const bool unknown =
        status_is(io->status, STATUS_UNKNOWN_SHARD) || status_is(io->status, STATUS_NOT_FOUND);

    call->outcome = unknown ? STATUS(OK) : io->status;
    forget_end(call);
}

static void forget_on_session(void *ctx)
{
    struct leg_call *const call = ctx;

    call->outcome = call->leg.problem;
    if (!leg_is_there(&call->leg)) {
        if (status_is(call->outcome, STATUS_UNKNOWN_VOLUME))
            call->outcome = STATUS(OK);
        forget_end(call);
        return;
    }
    leg_forget_loss(&call->leg); /* The members have everything. */
    leg_keep(&call->leg, false);
    call->io.leg = &call->leg;
    call->io.remote = &call->remote_io;
    call->io.reactor = call->leg.reactor;
    call->io.done = forget_on_deleted;
    call->io.store.opcode = STORE_OP_DELETE_VOLUME;
    leg_submit(&call->io);
}

static void forget_deliver(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, open_msg);

    leg_open(&call->leg, &call->volume->desc, call->volume->epoch, forget_on_session, call);
}

/* The leg, which has no session; BUSY: it has one, or is about to. */
static struct status MUST_CHECK take_leg(struct volume *v, const struct volume_disk *disk,
                                         struct leg_call **out_call)
{
    uint32_t leg;

    TRY(volume_map_leg(v, disk, &leg));
    struct leg_call *const call = v->calls[leg];
    if (call->opening || (call->opened && !call->retired))
        return STATUS(BUSY);
    *out_call = call;
    call->is_new = false; /* No growth is to open it. */
    TRY(volume_map_renew(call, disk));
    leg_must_know(&call->leg, true); /* Or there is nothing to be deleted. */
    return STATUS(OK);
}

struct status volume_forget(struct volume *v, const struct volume_disk *disk,
                            void (*done)(void *ctx, struct status status), void *ctx)
{
    struct leg_call *call;
    unsigned slot;

    assert(reactor_is_current(v->home));
    if (v->desc.replicas == 1)
        return STATUS(UNSUPPORTED);
    if (v->members.fenced || v->members.group == NULL)
        return STATUS(FENCED);
    if (v->sm.now != VOL_READY || v->members.state != MEMBERS_IDLE || v->members.behind)
        return STATUS(BUSY);
    for (uint32_t n = 0; n < v->members.group->copyset_count; n++)
        if (group_find(v->members.group, n, disk->uuid, &slot))
            return STATUS(INVALID);
    TRY(take_leg(v, disk, &call));
    if (replace_needs(v, call) || !leg_has_store(&call->leg))
        return STATUS(UNAVAILABLE);
    atomic_store(&call->members.spared, true);
    call->on_forgotten = done;
    call->forget_ctx = ctx;
    call->opened = true;
    call->opening = true;
    v->openings++;
    call->open_msg.deliver = forget_deliver;
    reactor_post(call->leg.reactor, &call->open_msg);
    return STATUS(OK);
}
