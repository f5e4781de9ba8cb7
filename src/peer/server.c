/* SPDX-License-Identifier: Apache-2.0 */
/* The server's life, its links, and disks that come and go: home's part. */
#include <stdlib.h>

#include "peer/names.h"
#include "peer/server_internal.h"

static struct server *server_of(struct nvme_vendor *vendor)
{
    return CONTAINER_OF(vendor, struct server, vendor);
}

/* ---- Links ---- */

static struct server_node *find_node(struct server *server, struct uuid uuid)
{
    LIST_FOR_EACH (n, &server->nodes) {
        struct server_node *const node = CONTAINER_OF(n, struct server_node, link);
        if (uuid_equal(node->uuid, uuid))
            return node;
    }
    return NULL;
}

/* Nodes stay: who holds a lease is known for as long as it may be waited for. */
static struct status MUST_CHECK get_node(struct server *server, struct uuid uuid,
                                         struct server_node **out_node)
{
    struct server_node *node = find_node(server, uuid);

    if (node == NULL) {
        if (server->node_count >= SERVER_NODES_MAX)
            return STATUS(LIMIT);
        node = calloc(1, sizeof *node);
        if (node == NULL)
            return STATUS(NO_MEMORY);
        node->uuid = uuid;
        lease_giver_init(&node->giver);
        list_node_init(&node->link);
        list_push_back(&server->nodes, &node->link);
        server->node_count++;
    }
    *out_node = node;
    return STATUS(OK);
}

static bool on_allows(struct nvme_vendor *vendor, const char *host_nqn)
{
    const struct server *const server = server_of(vendor);
    struct uuid node;

    return status_ok(peer_node_parse(host_nqn, &node)) && server->allows(server->ctx, node);
}

static struct status on_opened(struct nvme_vendor *vendor, const char *host_nqn,
                               void **out_association)
{
    struct server *const server = server_of(vendor);
    struct server_node *node;
    struct uuid uuid;

    TRY(peer_node_parse(host_nqn, &uuid));
    TRY(get_node(server, uuid, &node));
    struct server_link *const link =
        calloc(1, sizeof *link + server->reactor_count * sizeof link->sweeps[0]);
    if (link == NULL)
        return STATUS(NO_MEMORY);
    link->server = server;
    link->node = node;
    list_node_init(&link->link);
    list_push_back(&server->links, &link->link);
    *out_association = link;
    return STATUS(OK);
}

static void check_stopped(struct server *server)
{
    if (server->stopped != NULL && server->disk_count == 0 && list_empty(&server->links))
        reactor_defer(server->home, &server->stop_task);
}

static void link_check_gone(struct server_link *link)
{
    struct server *const server = link->server;

    if (!link->closed || link->unswept > 0)
        return;
    list_remove(&link->link);
    free(link);
    check_stopped(server);
}

static void on_swept(struct io_msg *msg)
{
    struct server_link *const link = CONTAINER_OF(msg, struct server_sweep, msg)->link;

    assert(link->unswept > 0);
    link->unswept--;
    link_check_gone(link);
}

/* 2.1: the link's sessions end with it.  8.5: leases do not. */
static void on_sweep(struct io_msg *msg)
{
    struct server_sweep *const sweep = CONTAINER_OF(msg, struct server_sweep, msg);
    struct server *const server = sweep->link->server;

    for (unsigned slot = sweep->reactor; slot < SERVER_DISKS_MAX; slot += server->reactor_count) {
        sessions_end(&server->disks[slot], sweep->link);
        open_abandon(&server->disks[slot], sweep->link);
    }
    msg->deliver = on_swept;
    reactor_post(server->home, msg);
}

/* An OPEN that home has sent to a disk before is there before this. */
static void on_closing(struct nvme_vendor *vendor, void *association)
{
    struct server *const server = server_of(vendor);
    struct server_link *const link = association;

    assert(!link->closing);
    link->closing = true;
    link->unswept = server->reactor_count;
    for (unsigned i = 0; i < server->reactor_count; i++) {
        link->sweeps[i] =
            (struct server_sweep) { .msg = { .deliver = on_sweep }, .link = link, .reactor = i };
        reactor_post(server->shards[i].reactor, &link->sweeps[i].msg);
    }
}

static void on_closed(struct nvme_vendor *vendor, void *association)
{
    struct server_link *const link = association;

    assert(server_of(vendor) == link->server && link->closing);
    link->closed = true;
    link_check_gone(link);
}

/* ---- Commands ---- */

static uint16_t on_check(struct nvme_vendor *vendor, const struct nvme_vendor_req *req,
                         uint32_t data_bytes)
{
    struct server *const server = server_of(vendor);
    struct wire_command command;
    const struct status st = wire_command_decode(req->entry, data_bytes, &command);

    if (!status_ok(st))
        server_note(server_shard_of(server, req->reactor), req, NULL, st);
    return wire_status_encode(st);
}

static void on_submit(struct nvme_vendor *vendor, struct nvme_vendor_req *req)
{
    struct server *const server = server_of(vendor);
    struct wire_command command;
    const struct status st = wire_command_decode(req->entry, (uint32_t)req->data.bytes, &command);

    assert(status_ok(st)); /* on_check() has seen it. */
    if (command.opcode == WIRE_OPEN)
        open_submit(server, req, &command);
    else
        op_submit(server_shard_of(server, req->reactor), req, &command);
}

static const struct nvme_vendor_ops vendor_ops = {
    .allows = on_allows,
    .opened = on_opened,
    .closing = on_closing,
    .closed = on_closed,
    .check = on_check,
    .submit = on_submit,
};

/* ---- Disks ---- */

static void disk_on_added(struct io_msg *msg)
{
    struct server_disk *const d = CONTAINER_OF(msg, struct server_disk, add_msg);

    assert(d->store == NULL && !d->leaving);
    d->store = d->coming;
    d->clock = (struct lease_store) { d->server->times, reactor_clock_ns(d->reactor) };
    leases_init(d);
    store_set_leases(d->store, &d->leases);
}

void server_add_disk(struct server *server, unsigned slot, struct uuid disk, struct store *store)
{
    struct server_disk *const d = &server->disks[slot];

    assert(reactor_is_current(server->home));
    assert(slot < SERVER_DISKS_MAX && !d->present && d->removed == NULL);
    d->present = true;
    d->uuid = disk;
    d->coming = store;
    server->disk_count++;
    d->add_msg.deliver = disk_on_added;
    reactor_post(d->reactor, &d->add_msg);
}

static void disk_on_gone(struct io_msg *msg)
{
    struct server_disk *const d = CONTAINER_OF(msg, struct server_disk, msg);
    void (*const removed)(void *ctx) = d->removed;

    d->removed = NULL;
    d->server->disk_count -= d->present ? 1 : 0;
    d->present = false;
    removed(d->removed_ctx);
}

void disk_check_left(struct server_disk *d)
{
    struct list_node *n;

    if (!d->leaving || d->commands > 0 || !list_empty(&d->opens))
        return;
    while ((n = list_first(&d->groups)) != NULL)
        group_free(CONTAINER_OF(n, struct server_group, link));
    free(d->sessions);
    d->sessions = NULL;
    d->session_room = 0;
    d->session_next = 0;
    d->store = NULL;
    d->leaving = false;
    d->msg.deliver = disk_on_gone;
    reactor_post(d->server->home, &d->msg);
}

static void disk_on_remove(struct io_msg *msg)
{
    struct server_disk *const d = CONTAINER_OF(msg, struct server_disk, msg);

    d->leaving = true;
    if (d->store != NULL)
        store_set_leases(d->store, NULL);
    sessions_end(d, NULL);
    open_abandon(d, NULL);
    disk_check_left(d);
}

void server_remove_disk(struct server *server, unsigned slot, void (*done)(void *ctx), void *ctx)
{
    struct server_disk *const d = &server->disks[slot];

    assert(reactor_is_current(server->home));
    assert(slot < SERVER_DISKS_MAX && d->removed == NULL && done != NULL);
    d->removed = done;
    d->removed_ctx = ctx;
    d->uuid = (struct uuid) { { 0 } }; /* No OPEN finds it any more. */
    d->msg.deliver = disk_on_remove;
    reactor_post(d->reactor, &d->msg);
}

/* ---- Life ---- */

static struct status MUST_CHECK make_parts(struct server *server,
                                           const struct server_config *config)
{
    server->shards = calloc(config->reactor_count, sizeof *server->shards);
    server->disks = calloc(SERVER_DISKS_MAX, sizeof *server->disks);
    if (server->shards == NULL || server->disks == NULL)
        return STATUS(NO_MEMORY);
    for (unsigned i = 0; i < config->reactor_count; i++) {
        struct server_shard *const shard = &server->shards[i];
        shard->ops = calloc(SERVER_OPS_MAX, sizeof *shard->ops);
        shard->items = calloc(SERVER_ITEMS_MAX, sizeof *shard->items);
        if (shard->ops == NULL || shard->items == NULL)
            return STATUS(NO_MEMORY);
        shard->server = server;
        shard->reactor = config->reactors[i];
        op_init_pools(shard);
    }
    for (unsigned i = 0; i < SERVER_DISKS_MAX; i++) {
        struct server_disk *const d = &server->disks[i];
        d->server = server;
        d->slot = i;
        d->reactor = config->reactors[i % config->reactor_count];
        list_init(&d->groups);
        list_init(&d->opens);
    }
    return STATUS(OK);
}

static void on_stopped(struct io_task *task)
{
    struct server *const server = CONTAINER_OF(task, struct server, stop_task);
    void (*const stopped)(void *ctx) = server->stopped;

    server->stopped = NULL;
    stopped(server->stopped_ctx);
}

struct status server_create(const struct server_config *config, struct server **out_server)
{
    struct server *const server = calloc(1, sizeof *server);

    assert(config->reactor_count > 0);
    if (server == NULL)
        return STATUS(NO_MEMORY);
    server->vendor.ops = &vendor_ops;
    for (unsigned opcode = NVME_VENDOR_OPCODE_MIN; opcode <= UINT8_MAX; opcode++) {
        if (wire_opcode_is_known((uint8_t)opcode))
            nvme_vendor_add(&server->vendor, (uint8_t)opcode);
    }
    server->home = config->reactors[0];
    server->reactor_count = config->reactor_count;
    server->cluster = config->cluster;
    server->times = config->leases;
    server->allows = config->allows;
    server->ctx = config->ctx;
    list_init(&server->nodes);
    list_init(&server->links);
    io_task_init(&server->stop_task, on_stopped);
    const struct status st = make_parts(server, config);
    if (!status_ok(st)) {
        server_destroy(server);
        return st;
    }
    *out_server = server;
    return STATUS(OK);
}

struct nvme_vendor *server_vendor(struct server *server)
{
    return &server->vendor;
}

static void on_disk_stopped(void *ctx)
{
    check_stopped(ctx);
}

void server_stop(struct server *server, void (*done)(void *ctx), void *ctx)
{
    assert(reactor_is_current(server->home));
    assert(server->stopped == NULL);
    server->stopped = done;
    server->stopped_ctx = ctx;
    for (unsigned i = 0; i < SERVER_DISKS_MAX; i++) {
        if (server->disks[i].present && server->disks[i].removed == NULL)
            server_remove_disk(server, i, on_disk_stopped, server);
    }
    check_stopped(server);
}

void server_destroy(struct server *server)
{
    struct list_node *n;

    if (server == NULL)
        return;
    assert(server->disk_count == 0 && list_empty(&server->links));
    while ((n = list_pop_front(&server->nodes)) != NULL)
        free(CONTAINER_OF(n, struct server_node, link));
    for (unsigned i = 0; server->shards != NULL && i < server->reactor_count; i++) {
        free(server->shards[i].ops);
        free(server->shards[i].items);
    }
    free(server->shards);
    free(server->disks);
    free(server);
}

unsigned server_heard(const struct server *server, struct uuid *out_nodes, unsigned max)
{
    unsigned count = 0;

    assert(reactor_is_current(server->home));
    LIST_FOR_EACH (n, &server->links) {
        const struct server_link *const link = CONTAINER_OF(n, struct server_link, link);
        if (!link->closing && count < max)
            out_nodes[count++] = link->node->uuid;
    }
    return count;
}

void server_count(const struct server *server, uint64_t out_counts[STATUS_COUNT])
{
    memset(out_counts, 0, STATUS_COUNT * sizeof out_counts[0]);
    for (unsigned i = 0; i < server->reactor_count; i++) {
        for (unsigned code = 0; code < STATUS_COUNT; code++)
            out_counts[code] +=
                atomic_load_explicit(&server->shards[i].counts[code], memory_order_relaxed);
    }
}
