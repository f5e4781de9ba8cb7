/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AddDisk, RemoveDisk and GrowDisk: orders to nodes, in the node's desired record until it has
 * reported what became of them.
 *
 *   call --> order in desired/NODE --> node's part --> node --> its report --> order gone, answer
 *
 * A disk that is to be removed takes no shards from the order on: whoever places some compares the
 * same record.  If the caller or the controller goes meanwhile, the order is carried out all the
 * same; a node that restarts is told it again, and finds that it is done.  (Of a growth that is
 * done it then reports that there is nothing to gain.)
 *
 * Not so an order to format whatever a disk holds: it lasts as long as somebody waits for it, and
 * no node is told of it later.  A node that has it by then carries it out.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/disk_view.h"
#include "ctl/scrub.h"

enum order_kind { ORDER_ADD, ORDER_REMOVE, ORDER_GROW };

struct order_wait {
    struct rpc_call *call;
    struct list_node link; /* In ctl.order_waits. */
    struct rpc_timer timer;
    struct ctl *ctl;
    struct uuid node;
    uint64_t id;
    enum order_kind kind;
    bool force;
    char path[CTL_PATH_BYTES_MAX + 1];
    char name[CTL_NAME_BYTES_MAX + 1]; /* Of a disk that there is. */
};

/* ---- Waiting ---- */

static void wait_free(struct order_wait *w)
{
    list_remove(&w->link);
    rpc_timer_disarm(&w->timer);
    free(w);
}

static bool is_awaited(const struct ctl *ctl, struct uuid node, uint64_t id)
{
    LIST_FOR_EACH (n, &ctl->order_waits) {
        const struct order_wait *w = CONTAINER_OF(n, struct order_wait, link);
        if (w->id == id && uuid_equal(w->node, node))
            return true;
    }
    return false;
}

bool order_is_void(const struct ctl *ctl, struct uuid node, const Stored__V1__DiskOrder *order)
{
    return order->force && !is_awaited(ctl, node, order->id);
}

static void order_withdraw(struct ctl *ctl, struct uuid node, uint64_t id);

/* Frees a wait that ends without the node's answer. */
static void wait_give_up(struct order_wait *w)
{
    const struct order_wait was = *w;

    wait_free(w);
    if (was.force && !is_awaited(was.ctl, was.node, was.id))
        order_withdraw(was.ctl, was.node, was.id);
}

static void wait_on_timer(struct rpc_timer *timer)
{
    static const char *const done[] = {
        [ORDER_ADD] = "be added", [ORDER_REMOVE] = "be removed", [ORDER_GROW] = "grow"
    };
    struct order_wait *w = CONTAINER_OF(timer, struct order_wait, timer);

    if (w->force)
        rpc_fail(w->call, RPC_DEADLINE_EXCEEDED,
                 "disk '%s': its node has not answered yet; the order to format it was withdrawn, "
                 "and unless the node has begun, nothing happens there: 'trilith disk list'",
                 w->path);
    else
        rpc_fail(w->call, RPC_DEADLINE_EXCEEDED,
                 "disk '%s': its node has not answered yet; it will %s as soon as that can",
                 w->path, done[w->kind]);
    wait_give_up(w);
}

static void wait_on_canceled(struct rpc_call *call)
{
    wait_give_up(call->ctx);
    rpc_fail(call, RPC_CANCELLED, "the caller has gone");
}

static void wait_start(struct ctl *ctl, struct rpc_call *call, const struct order_wait *what,
                       uint32_t wait_ms)
{
    struct order_wait *w = calloc(1, sizeof *w);

    if (w == NULL) {
        ctl_fail(call, STATUS(NO_MEMORY), what->path);
        return;
    }
    *w = *what;
    w->ctl = ctl;
    w->call = call;
    call->canceled = wait_on_canceled;
    call->ctx = w;
    list_node_init(&w->link);
    list_push_back(&ctl->order_waits, &w->link);
    rpc_timer_init(&w->timer, wait_on_timer);
    const uint64_t ms = wait_ms != 0 ? wait_ms : CTL_WAIT_MS_DEF;
    rpc_timer_arm(ctl->loop, &w->timer, rpc_now_ns(ctl->loop) + ms * NS_PER_MS);
}

void order_waits_end(struct ctl *ctl)
{
    LIST_FOR_EACH (n, &ctl->order_waits) {
        struct order_wait *w = CONTAINER_OF(n, struct order_wait, link);
        rpc_fail(w->call, RPC_UNAVAILABLE, "disk '%s': the controller is stopping", w->path);
        wait_give_up(w);
    }
}

/* ---- Answers ---- */

static const Trilith__V1__DiskReport *disk_at(const struct observed *o, const char *path)
{
    for (size_t i = 0; o != NULL && o->report != NULL && i < o->report->n_disks; i++)
        if (strcmp(o->report->disks[i]->path, path) == 0)
            return o->report->disks[i];
    return NULL;
}

/* The disk that the node has at the path, as the API shows it; NULL if it does not report it. */
static Trilith__V1__Disk *find_view(struct ctl *ctl, struct uuid node, const char *path,
                                    struct arena *arena)
{
    const Trilith__V1__DiskReport *const there = disk_at(observed_find(ctl, node), path);
    struct disk_list list = { 0 };

    if (there == NULL)
        return NULL;
    const char *const text = arena_uuid(arena, field_uuid(there->uuid));
    const struct status st = disks_view(ctl, arena, &list);
    for (size_t i = 0; status_ok(st) && i < list.count; i++)
        if (strcmp(list.disks[i]->uuid, text) == 0)
            return list.disks[i];
    return NULL;
}

static void reply_added(struct ctl *ctl, struct rpc_call *call, struct uuid node, const char *path)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__AddDiskResponse reply = TRILITH__V1__ADD_DISK_RESPONSE__INIT;

    reply.disk = find_view(ctl, node, path, &arena);
    if (reply.disk != NULL)
        rpc_reply(call, &reply.base);
    else
        rpc_fail(call, RPC_UNAVAILABLE,
                 "disk '%s': it was added, but its node does not report it; 'trilith disk list'",
                 path);
}

static void reply_grown(const struct order_wait *w)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__GrowDiskResponse reply = TRILITH__V1__GROW_DISK_RESPONSE__INIT;

    reply.disk = find_view(w->ctl, w->node, w->path, &arena);
    if (reply.disk != NULL)
        rpc_reply(w->call, &reply.base);
    else
        rpc_fail(w->call, RPC_UNAVAILABLE,
                 "disk '%s': it has grown, but its node does not report it; 'trilith disk list'",
                 w->name);
}

static void wait_answer(struct order_wait *w, const char *problem)
{
    Trilith__V1__RemoveDiskResponse removed = TRILITH__V1__REMOVE_DISK_RESPONSE__INIT;

    if (problem[0] != '\0')
        rpc_fail(w->call, RPC_FAILED_PRECONDITION, "disk '%s': %s",
                 w->kind == ORDER_ADD ? w->path : w->name, problem);
    else if (w->kind == ORDER_REMOVE)
        rpc_reply(w->call, &removed.base);
    else if (w->kind == ORDER_GROW)
        reply_grown(w);
    else
        reply_added(w->ctl, w->call, w->node, w->path);
    wait_free(w);
}

static void waits_answer(struct ctl *ctl, struct uuid node, uint64_t id, const char *problem)
{
    LIST_FOR_EACH (n, &ctl->order_waits) {
        struct order_wait *w = CONTAINER_OF(n, struct order_wait, link);
        if (w->id == id && uuid_equal(w->node, node))
            wait_answer(w, problem);
    }
}

/* ---- Orders that are over ---- */

struct ending {
    struct uuid node;
    uint64_t id;
    bool done; /* Otherwise nothing has changed. */
    struct uuid removed;
    struct arena arena;
};

static struct status drop_order(void *ctx, Stored__V1__Desired *desired)
{
    struct ending *e = ctx;
    Stored__V1__DiskOrder **rest = arena_alloc(&e->arena, desired->n_orders * sizeof *rest);
    size_t count = 0;

    for (size_t i = 0; i < desired->n_orders; i++) {
        if (desired->orders[i]->id != e->id)
            rest[count++] = desired->orders[i];
        else if (desired->orders[i]->remove && e->done)
            e->removed = field_uuid(desired->orders[i]->disk);
    }
    if (count == desired->n_orders)
        return STATUS(NOT_FOUND); /* It was over already. */
    desired->orders = rest;
    desired->n_orders = count;
    return STATUS(OK);
}

static struct status ending_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct ending *e = ctx;

    e->removed = (struct uuid) { { 0 } };
    TRY(desired_change(m, txn, e->node, drop_order, e));
    if (uuid_is_nil(e->removed))
        return STATUS(OK);
    meta_txn_remove(txn, key_disk(e->removed).s);
    meta_txn_remove(txn, key_scrub(e->removed).s);
    return STATUS(OK);
}

static void order_withdraw(struct ctl *ctl, struct uuid node, uint64_t id)
{
    struct ending e = { .node = node, .id = id };
    const struct status st = meta_transact(ctl->meta, ending_build, &e, NULL);

    arena_free(&e.arena);
    if (!status_ok(st) && !status_is(st, STATUS_NOT_FOUND))
        log_warning(ctl->log, "order %llu: it is void, and could not be removed: %s",
                    (unsigned long long)id, status_text(st));
}

void orders_take_results(struct ctl *ctl, const struct observed *o)
{
    for (size_t i = 0; i < o->report->n_orders; i++) {
        const Trilith__V1__OrderResult *r = o->report->orders[i];
        struct ending e = { .node = o->node, .id = r->id, .done = r->problem[0] == '\0' };
        const struct status st = meta_transact(ctl->meta, ending_build, &e, NULL);
        arena_free(&e.arena);
        if (!status_ok(st) && !status_is(st, STATUS_NOT_FOUND)) {
            log_error(ctl->log, "order %llu: its end could not be recorded: %s",
                      (unsigned long long)r->id, status_text(st));
            continue; /* The node reports it again. */
        }
        if (status_ok(st) && !uuid_is_nil(e.removed))
            scrub_disk_removed(ctl, e.removed);
        waits_answer(ctl, o->node, r->id, r->problem);
    }
}

/* ---- New orders ---- */

struct ordering {
    struct ctl *ctl;
    struct uuid node;
    Stored__V1__DiskOrder order; /* Borrows; name is filled in for a new disk. */
    char name[CTL_NAME_BYTES_MAX + 1];
    char in_use[128]; /* Volumes that keep a disk from being removed. */
    struct arena arena;
};

static bool same_order(const Stored__V1__DiskOrder *a, const Stored__V1__DiskOrder *b)
{
    return a->remove == b->remove && a->grow == b->grow && a->force == b->force &&
           strcmp(a->path, b->path) == 0 && uuid_equal(field_uuid(a->disk), field_uuid(b->disk));
}

static struct status append_order(void *ctx, Stored__V1__Desired *desired)
{
    struct ordering *o = ctx;
    Stored__V1__DiskOrder **all = arena_alloc(&o->arena, (desired->n_orders + 1) * sizeof *all);
    size_t count = 0;

    for (size_t i = 0; i < desired->n_orders; i++) {
        if (order_is_void(o->ctl, o->node, desired->orders[i]))
            continue; /* Of a controller that was killed. */
        all[count++] = desired->orders[i];
        if (!same_order(desired->orders[i], &o->order))
            continue;
        o->order.id = desired->orders[i]->id;
        return STATUS(EXISTS);
    }
    if (count >= CTL_ORDERS_MAX)
        return STATUS(LIMIT);
    o->order.id = ++desired->orders_ever;
    all[count++] = &o->order;
    desired->orders = all;
    desired->n_orders = count;
    return STATUS(OK);
}

static const char *node_name(const struct records *nodes, struct uuid node)
{
    for (size_t i = 0; i < nodes->count; i++) {
        const Stored__V1__Node *r = (const Stored__V1__Node *)(const void *)nodes->items[i];
        if (uuid_equal(field_uuid(r->uuid), node))
            return r->name;
    }
    return "node";
}

static bool name_is_taken(const struct records *disks, const char *name)
{
    for (size_t i = 0; i < disks->count; i++)
        if (strcmp(((const Stored__V1__Disk *)(const void *)disks->items[i])->name, name) == 0)
            return true;
    return false;
}

/* NODE/disk-N, which no disk has or is about to get. */
static struct status MUST_CHECK choose_name(struct ordering *o)
{
    struct records disks;
    struct records nodes = { 0 };
    Stored__V1__Desired *desired = NULL;

    TRY(records_read(o->ctl, KEY_DISKS, &stored__v1__disk__descriptor, &disks));
    struct status st = records_read(o->ctl, KEY_NODES, &stored__v1__node__descriptor, &nodes);
    if (status_ok(st))
        st = desired_read(o->ctl, o->node, &desired);
    for (unsigned n = 1; status_ok(st); n++) {
        snprintf(o->name, sizeof o->name, "%.40s/disk-%u", node_name(&nodes, o->node), n);
        bool taken = name_is_taken(&disks, o->name);
        for (size_t i = 0; desired != NULL && i < desired->n_orders; i++)
            taken |= strcmp(desired->orders[i]->name, o->name) == 0;
        if (!taken)
            break;
    }
    if (desired != NULL)
        record_free(&desired->base);
    records_free(&nodes);
    records_free(&disks);
    return st;
}

/* Whether shards lie on the disk: BUSY, and in_use names some of their volumes. */
static struct status MUST_CHECK check_unused(struct ordering *o, struct uuid disk)
{
    struct records volumes;
    unsigned count = 0;

    TRY(records_read(o->ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes));
    for (size_t i = 0; i < volumes.count; i++) {
        const Stored__V1__Volume *v = (const Stored__V1__Volume *)(const void *)volumes.items[i];
        bool uses = false;
        for (size_t p = 0; p < v->n_placement && !uses; p++)
            uses = uuid_equal(field_uuid(v->disks[v->placement[p]]), disk);
        for (size_t p = 0; p < v->n_replacements && !uses; p++)
            uses = uuid_equal(field_uuid(v->replacements[p]->disk), disk);
        for (size_t p = 0; p < v->n_leftovers && !uses; p++)
            uses = uuid_equal(field_uuid(v->leftovers[p]), disk);
        if (!uses || ++count > 3)
            continue;
        const size_t at = strlen(o->in_use);
        snprintf(o->in_use + at, sizeof o->in_use - at, "%s'%.30s'", at > 0 ? ", " : "", v->name);
    }
    records_free(&volumes);
    const size_t at = strlen(o->in_use);
    if (count > 3)
        snprintf(o->in_use + at, sizeof o->in_use - at, " and %u more", count - 3);
    return count == 0 ? STATUS(OK) : STATUS(BUSY);
}

static struct status ordering_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct ordering *o = ctx;

    o->in_use[0] = '\0';
    if (o->order.remove)
        TRY(check_unused(o, field_uuid(o->order.disk)));
    else if (!o->order.grow)
        TRY(choose_name(o));
    return desired_change(m, txn, o->node, append_order, o);
}

static struct status MUST_CHECK order_record(struct ordering *o)
{
    o->order.name = o->name;
    const struct status st = meta_transact(o->ctl->meta, ordering_build, o, NULL);
    arena_free(&o->arena);
    return status_is(st, STATUS_EXISTS) ? STATUS(OK) : st; /* The same is under way. */
}

/* ---- AddDisk ---- */

/* The node of this name, or the only one there is. */
static struct status MUST_CHECK find_node(struct ctl *ctl, const char *name, struct uuid *out_node)
{
    struct records nodes;
    struct status st = STATUS(NOT_FOUND);

    TRY(records_read(ctl, KEY_NODES, &stored__v1__node__descriptor, &nodes));
    for (size_t i = 0; i < nodes.count; i++) {
        const Stored__V1__Node *r = (const Stored__V1__Node *)(const void *)nodes.items[i];
        if (name[0] == '\0' ? nodes.count > 1 : strcmp(r->name, name) != 0)
            continue;
        *out_node = field_uuid(r->uuid);
        st = STATUS(OK);
    }
    records_free(&nodes);
    return st;
}

/* What cannot be read now is the order's to say. */
static bool node_stores(struct ctl *ctl, struct uuid node)
{
    uint32_t roles;

    return !status_ok(node_roles_read(ctl, node, &roles)) || (roles & ROLE_STORE) != 0;
}

/* The answer about a disk that its node has already. */
static void answer_there(struct ctl *ctl, struct rpc_call *call,
                         const Trilith__V1__DiskReport *there, struct uuid node)
{
    struct leaving leaving;

    if (there->failure[0] != '\0') {
        rpc_fail(call, RPC_FAILED_PRECONDITION,
                 "disk '%s': its node has it, and it has failed: %s; the node takes what is there "
                 "now when it is started again",
                 there->path, there->failure);
        return;
    }
    const struct status st = leaving_read(ctl, node, &leaving);
    if (!status_ok(st))
        ctl_fail(call, st, there->path);
    else if (leaving_has(&leaving, field_uuid(there->uuid)))
        rpc_fail(call, RPC_FAILED_PRECONDITION,
                 "disk '%s': it is being removed; add it again when 'trilith disk list' does not "
                 "show it any more",
                 there->path);
    else
        reply_added(ctl, call, node, there->path);
    leaving_free(&leaving);
}

static void add_disk(struct ctl *ctl, struct rpc_call *call,
                     const Trilith__V1__AddDiskRequest *request, struct uuid node)
{
    struct ordering o = { .ctl = ctl, .node = node };
    struct order_wait wait = { .node = node };
    const Trilith__V1__DiskReport *const there = disk_at(observed_find(ctl, node), request->path);

    if (there != NULL) {
        answer_there(ctl, call, there, node);
        return;
    }
    stored__v1__disk_order__init(&o.order);
    o.order.path = request->path;
    o.order.force = request->force;
    const struct status st = order_record(&o);
    if (!status_ok(st)) {
        ctl_fail(call, st, request->path);
        return;
    }
    log_info(ctl->log, "disk '%s': is to be added", request->path);
    wait.id = o.order.id;
    wait.force = request->force;
    snprintf(wait.path, sizeof wait.path, "%s", request->path);
    wait_start(ctl, call, &wait, request->wait_ms);
}

void on_add_disk(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__AddDiskRequest *request =
        (const Trilith__V1__AddDiskRequest *)(const void *)message;
    struct ctl *ctl = ctx;
    struct problem problem;
    struct uuid node = { { 0 } };

    struct status st = validate_wait(request->wait_ms, &problem);
    if (status_ok(st))
        st = validate_disk_path(request->path, &problem);
    if (!status_ok(st)) {
        rpc_fail(call, rpc_code_of(st), "%s", problem.s);
        return;
    }
    st = find_node(ctl, request->node, &node);
    if (!status_ok(st))
        rpc_fail(call, rpc_code_of(st), "disk '%s': %s", request->path,
                 request->node[0] == '\0' ? "there is not just one node: name one with --node"
                                          : "there is no node of this name");
    else if (!observed_connected(ctl, observed_find(ctl, node)))
        rpc_fail(call, RPC_UNAVAILABLE, "disk '%s': its node does not report", request->path);
    else if (!node_stores(ctl, node))
        rpc_fail(call, RPC_FAILED_PRECONDITION,
                 "disk '%s': its node has not the role 'store'; run it with --roles store,target",
                 request->path);
    else
        add_disk(ctl, call, request, node);
}

/* ---- RemoveDisk ---- */

struct found_disk {
    struct records disks;
    const Stored__V1__Disk *disk; /* The first that matches, and ... */
    unsigned count;               /* ... how many do. */
    char uuids[3 * UUID_TEXT_BYTES + 8];
};

/* By UUID or name.  Two have the same name where one was formatted anew in the other's place. */
static struct status MUST_CHECK find_disk(struct ctl *ctl, const char *name,
                                          struct found_disk *out_found)
{
    *out_found = (struct found_disk) { 0 };
    TRY(records_read(ctl, KEY_DISKS, &stored__v1__disk__descriptor, &out_found->disks));
    for (size_t i = 0; i < out_found->disks.count; i++) {
        const Stored__V1__Disk *d =
            (const Stored__V1__Disk *)(const void *)out_found->disks.items[i];
        const struct uuid_text uuid = uuid_format(field_uuid(d->uuid));
        if (strcmp(d->name, name) != 0 && strcmp(uuid.s, name) != 0)
            continue;
        const size_t at = strlen(out_found->uuids);
        if (out_found->count++ == 0)
            out_found->disk = d;
        if (out_found->count <= 3)
            snprintf(out_found->uuids + at, sizeof out_found->uuids - at, "%s%s",
                     at > 0 ? ", " : "", uuid.s);
    }
    return out_found->count > 0 ? STATUS(OK) : STATUS(NOT_FOUND);
}

/* Whether the node has, or had, another disk at the same path: what is there is not this one for
 * sure. */
static bool shares_path(const struct found_disk *found)
{
    for (size_t i = 0; i < found->disks.count; i++) {
        const Stored__V1__Disk *d = (const Stored__V1__Disk *)(const void *)found->disks.items[i];
        if (d != found->disk && strcmp(d->path, found->disk->path) == 0 &&
            uuid_equal(field_uuid(d->node), field_uuid(found->disk->node)))
            return true;
    }
    return false;
}

static void remove_disk(struct ctl *ctl, struct rpc_call *call, const struct found_disk *found,
                        uint32_t wait_ms)
{
    const Stored__V1__Disk *const disk = found->disk;
    struct ordering o = { .ctl = ctl, .node = field_uuid(disk->node) };
    struct order_wait wait = { .node = o.node, .kind = ORDER_REMOVE };

    stored__v1__disk_order__init(&o.order);
    o.order.remove = true;
    o.order.path = shares_path(found) ? "" : disk->path;
    o.order.disk = disk->uuid;
    const struct status st = order_record(&o);
    if (status_is(st, STATUS_BUSY)) {
        rpc_fail(call, RPC_FAILED_PRECONDITION,
                 "disk '%s': shards of %s lie on it; delete these volumes first, or keep it",
                 disk->name, o.in_use);
        return;
    }
    if (!status_ok(st)) {
        ctl_fail(call, st, disk->name);
        return;
    }
    log_info(ctl->log, "disk '%s': is to be removed", disk->name);
    wait.id = o.order.id;
    snprintf(wait.path, sizeof wait.path, "%s", disk->path);
    snprintf(wait.name, sizeof wait.name, "%s", disk->name);
    wait_start(ctl, call, &wait, wait_ms);
}

/* What is asked of a disk that there is. */
typedef void disk_order_fn(struct ctl *ctl, struct rpc_call *call, const struct found_disk *found,
                           uint32_t wait_ms);

static void order_by_name(struct ctl *ctl, struct rpc_call *call, const char *name,
                          uint32_t wait_ms, disk_order_fn *order)
{
    struct found_disk found;
    struct problem problem;

    struct status st = validate_wait(wait_ms, &problem);
    if (!status_ok(st)) {
        rpc_fail(call, rpc_code_of(st), "%s", problem.s);
        return;
    }
    st = find_disk(ctl, name, &found);
    if (status_is(st, STATUS_NOT_FOUND))
        rpc_fail(call, RPC_NOT_FOUND,
                 "disk '%.100s': there is none of this name; 'trilith disk list' shows all", name);
    else if (!status_ok(st))
        ctl_fail(call, st, "the disks could not be read");
    else if (found.count > 1)
        rpc_fail(call, RPC_FAILED_PRECONDITION,
                 "disk '%.100s': %u disks have this name; say which by its UUID: %s", name,
                 found.count, found.uuids);
    else
        order(ctl, call, &found, wait_ms);
    records_free(&found.disks);
}

void on_remove_disk(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__RemoveDiskRequest *request =
        (const Trilith__V1__RemoveDiskRequest *)(const void *)message;

    order_by_name(ctx, call, request->name, request->wait_ms, remove_disk);
}

/* ---- GrowDisk ---- */

static void grow_disk(struct ctl *ctl, struct rpc_call *call, const struct found_disk *found,
                      uint32_t wait_ms)
{
    const Stored__V1__Disk *const disk = found->disk;
    struct ordering o = { .ctl = ctl, .node = field_uuid(disk->node) };
    struct order_wait wait = { .node = o.node, .kind = ORDER_GROW };

    if (!observed_connected(ctl, observed_find(ctl, o.node))) {
        rpc_fail(call, RPC_UNAVAILABLE, "disk '%s': its node does not report", disk->name);
        return;
    }
    stored__v1__disk_order__init(&o.order);
    o.order.grow = true;
    o.order.path = disk->path;
    o.order.disk = disk->uuid;
    const struct status st = order_record(&o);
    if (!status_ok(st)) {
        ctl_fail(call, st, disk->name);
        return;
    }
    log_info(ctl->log, "disk '%s': is to grow", disk->name);
    wait.id = o.order.id;
    snprintf(wait.path, sizeof wait.path, "%s", disk->path);
    snprintf(wait.name, sizeof wait.name, "%s", disk->name);
    wait_start(ctl, call, &wait, wait_ms);
}

void on_grow_disk(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__GrowDiskRequest *request =
        (const Trilith__V1__GrowDiskRequest *)(const void *)message;

    order_by_name(ctx, call, request->name, request->wait_ms, grow_disk);
}

/* ---- Disks that leave ---- */

struct status leaving_read(struct ctl *ctl, struct uuid node, struct leaving *out_leaving)
{
    out_leaving->desired = NULL;
    return desired_read(ctl, node, &out_leaving->desired);
}

bool leaving_has(const struct leaving *leaving, struct uuid disk)
{
    const Stored__V1__Desired *d = leaving->desired;

    for (size_t i = 0; d != NULL && i < d->n_orders; i++)
        if (d->orders[i]->remove && uuid_equal(field_uuid(d->orders[i]->disk), disk))
            return true;
    return false;
}

void leaving_free(struct leaving *leaving)
{
    if (leaving->desired != NULL)
        record_free(&leaving->desired->base);
    leaving->desired = NULL;
}
