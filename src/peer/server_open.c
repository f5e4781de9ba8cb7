/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OPEN: 7.2, 7.3, 4.1 to 4.3.
 *
 *   queue's reactor    home                disk's reactor
 *   open_submit  --->  open_on_home  --->  open_on_disk
 *                      which disk?         store_session_open: sealed, durable, drained, leases out
 *                                          SET, if it has sets
 *   open_return  <-----------------------  open_finish
 */
#include <stdlib.h>

#include "peer/server_internal.h"

static void open_on_home(struct io_msg *msg);
static void open_on_disk(struct io_msg *msg);
static void open_on_session(void *ctx, const struct store_session_opened *opened);
static void open_return(struct io_msg *msg);

/* Back to the queue's reactor. */
static void open_post(struct server_open *o, struct status status)
{
    o->status = status;
    o->msg.deliver = open_return;
    reactor_post(o->req->reactor, &o->msg);
}

static void open_return(struct io_msg *msg)
{
    struct server_open *const o = CONTAINER_OF(msg, struct server_open, msg);
    const struct wire_answer answer = { .seals = o->seals, .incarnation = o->handle };

    server_answer(server_shard_of(o->server, o->req->reactor), o->req, &o->command, o->status,
                  answer);
    free(o);
}

/* ---- On the queue's reactor ---- */

static void refused(struct io_msg *msg)
{
    struct nvme_vendor_req *const req = CONTAINER_OF(msg, struct nvme_vendor_req, msg);

    req->done(req);
}

static struct status MUST_CHECK decode(const struct nvme_vendor_req *req,
                                       const struct wire_command *command, struct wire_open *out)
{
    TRY(wire_open_decode(span_const(req->data), out));
    return (uint32_t)out->session == command->session ? STATUS(OK) : STATUS(MALFORMED);
}

void open_submit(struct server *server, struct nvme_vendor_req *req,
                 const struct wire_command *command)
{
    struct wire_open wire = { .session = 0 };
    const struct status st = decode(req, command, &wire);
    const uint32_t sets = status_ok(st) ? wire.sets.count : 0;
    struct server_open *const o = calloc(1, sizeof *o + sets * sizeof o->sets[0]);

    if (o == NULL) {
        req->status = wire_status_encode(STATUS(UNAVAILABLE));
        req->msg.deliver = refused;
        reactor_post(req->reactor, &req->msg);
        return;
    }
    o->server = server;
    o->req = req;
    o->owner = req->association;
    o->command = *command;
    o->wire = wire;
    list_node_init(&o->link);
    if (!status_ok(st)) {
        open_post(o, st);
        return;
    }
    o->msg.deliver = open_on_home;
    reactor_post(server->home, &o->msg);
}

/* ---- On home ---- */

static struct server_disk *find_disk(struct server *server, struct uuid uuid)
{
    for (unsigned i = 0; i < SERVER_DISKS_MAX; i++) {
        if (server->disks[i].present && uuid_equal(server->disks[i].uuid, uuid))
            return &server->disks[i];
    }
    return NULL;
}

static void open_on_home(struct io_msg *msg)
{
    struct server_open *const o = CONTAINER_OF(msg, struct server_open, msg);

    if (o->owner->closing) {
        open_post(o, STATUS(UNAVAILABLE)); /* Nobody hears it. */
        return;
    }
    o->disk = find_disk(o->server, o->wire.disk);
    if (o->disk == NULL || uuid_is_nil(o->wire.disk) ||
        !uuid_equal(o->wire.cluster, o->server->cluster)) {
        open_post(o, STATUS(FOREIGN));
        return;
    }
    o->msg.deliver = open_on_disk;
    reactor_post(o->disk->reactor, &o->msg);
}

/* ---- On the disk's reactor ---- */

static void open_finish(struct server_open *o, struct status status)
{
    struct server_disk *const d = o->disk;

    list_remove(&o->link);
    d->open_count--;
    if (o->group != NULL)
        o->group->opens--;
    if (o->owner == NULL) {
        free(o); /* It was answered. */
    } else {
        o->seals = lease_count(&o->owner->node->giver);
        open_post(o, status);
    }
    disk_check_left(d);
}

static void open_on_disk(struct io_msg *msg)
{
    struct server_open *const o = CONTAINER_OF(msg, struct server_open, msg);
    struct server_disk *const d = o->disk;

    list_push_back(&d->opens, &o->link);
    d->open_count++;
    if (d->store == NULL || d->leaving || d->open_count > SERVER_OPENS_MAX) {
        open_finish(o, STATUS(UNAVAILABLE));
        return;
    }
    o->group = group_get(d, o->wire.volume.uuid, o->wire.group);
    if (o->group == NULL) {
        open_finish(o, STATUS(NO_MEMORY));
        return;
    }
    o->group->opens++;
    const struct store_session_config config = {
        .volume = o->wire.volume,
        .group = o->wire.group,
        .epoch = o->command.epoch,
        .number = o->wire.session,
        .tick = o->command.tick,
        .known = o->wire.known,
    };
    const struct status st = store_session_open(d->store, &config, open_on_session, o);
    if (!status_ok(st))
        open_finish(o, st);
}

/* 7.3  From here on the engine's node may hold a lease by it. */
static void open_conclude(struct server_open *o)
{
    const struct wire_command named = { .handle = o->handle,
                                        .epoch = o->command.epoch,
                                        .session = o->command.session };
    struct server_session *const s = session_find(o->disk, o->owner, &named);

    if (s == NULL || !status_ok(store_session_check(s->store))) {
        /* Its link is lost, or a newer one came while the sets were written. */
        if (s != NULL)
            session_end(s);
        o->handle = 0;
        open_finish(o, STATUS(OVERTAKEN));
        return;
    }
    sessions_end_older(s);
    if (o->wire.volume.replicas > 1) {
        lease_guard_open(&o->group->guard);
        o->group->holder = o->owner->node;
    }
    open_finish(o, STATUS(OK));
}

static void open_on_set(struct store_io *io)
{
    struct server_open *const o = CONTAINER_OF(io, struct server_open, io);
    const struct wire_command named = { .handle = o->handle,
                                        .epoch = o->command.epoch,
                                        .session = o->command.session };
    struct server_session *const s = session_find(o->disk, o->owner, &named);

    o->disk->commands--;
    if (status_ok(io->status) || s == NULL) {
        open_conclude(o);
        return;
    }
    session_end(s);
    o->handle = 0;
    open_finish(o, status_is(io->status, STATUS_STALE_EPOCH) ? STATUS(OVERTAKEN) : io->status);
}

static void open_keep_sets(struct server_open *o, struct store_session *session)
{
    const uint32_t count = o->wire.sets.count;

    for (uint32_t i = 0; i < count; i++)
        o->sets[i] = set_from_wire(wire_set_get(o->wire.sets, i), o->wire.sequence);
    o->io = (struct store_io) { .opcode = STORE_OP_SET,
                                .data = { (uint8_t *)o->sets, count * sizeof o->sets[0] },
                                .done = open_on_set };
    o->disk->commands++;
    store_submit(session, &o->io);
}

static void open_on_session(void *ctx, const struct store_session_opened *opened)
{
    struct server_open *const o = ctx;
    struct server_session *session;
    struct status st = opened->status;

    o->opened = *opened;
    if (!status_ok(st)) {
        /* A volume that is being deleted, or was while this waited. */
        open_finish(o, status_is(st, STATUS_NOT_FOUND) ? STATUS(UNAVAILABLE) : st);
        return;
    }
    if (o->owner == NULL)
        st = STATUS(UNAVAILABLE);
    else
        st = session_make(o, &session);
    if (!status_ok(st)) {
        store_session_close(opened->session);
        open_finish(o, st);
        return;
    }
    o->handle = session->handle;
    if (o->wire.sets.count > 0)
        open_keep_sets(o, opened->session);
    else
        open_conclude(o);
}

/* The disk may take long to end it, or for ever, and the link is not to stay for that. */
static void answer_abandoned(struct server_open *o)
{
    o->req->status = wire_status_encode(STATUS(UNAVAILABLE));
    o->req->msg.deliver = refused;
    reactor_post(o->req->reactor, &o->req->msg);
    o->req = NULL;
    o->owner = NULL;
}

void open_abandon(struct server_disk *d, const struct server_link *link)
{
    LIST_FOR_EACH (n, &d->opens) {
        struct server_open *const o = CONTAINER_OF(n, struct server_open, link);
        if (o->owner != NULL && (link == NULL || o->owner == link))
            answer_abandoned(o);
    }
}
