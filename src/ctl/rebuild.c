/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/rebuild_plan.h"
#include "ctl/rebuild_server.h"

/* ---- Disks that are not as they should be ---- */

struct rebuild_disk *rebuild_find_disk(struct rebuild *r, struct uuid disk)
{
    for (uint32_t i = 0; i < r->disk_count; i++)
        if (uuid_equal(r->disks[i].disk, disk))
            return &r->disks[i];
    return NULL;
}

/* A node that has not reported yet is given the time that one may be silent. */
static uint64_t noticed_ns(const struct rebuild *r, const struct observed *o)
{
    const uint64_t now_ns = rpc_now_ns(r->ctl->loop);

    if (o != NULL && o->report != NULL)
        return now_ns;
    return max_u64(now_ns, r->began_ns + CTL_SILENT_MS * NS_PER_MS);
}

/* One that was seen just now is as that says. */
static struct rebuild_disk *note_disk(struct rebuild *r, struct uuid disk, uint64_t since_ns)
{
    struct rebuild_disk *d = rebuild_find_disk(r, disk);

    if (d == NULL && r->disk_count == CTL_DISKS_MAX)
        return NULL;
    if (d == NULL) {
        d = &r->disks[r->disk_count++];
        *d = (struct rebuild_disk) { .disk = disk, .since_ns = since_ns };
    }
    if (!d->seen)
        d->dead = d->failing = false;
    d->seen = true;
    return d;
}

/* 9.11: what nodes say of a disk. */
static void look_at_disk(struct rebuild *r, const Stored__V1__Disk *record)
{
    struct ctl *ctl = r->ctl;
    const struct uuid disk = field_uuid(record->uuid);
    const struct observed *o = observed_find(ctl, field_uuid(record->node));
    const Trilith__V1__DiskReport *report =
        observed_connected(ctl, o) ? observed_disk(o, disk) : NULL;

    const bool dead = report != NULL && report->failure[0] != '\0';
    const bool failing =
        report != NULL && report->health == TRILITH__V1__DISK_HEALTH__DISK_HEALTH_FAILING;

    if (report != NULL && !dead && !failing)
        return;
    struct rebuild_disk *const d =
        note_disk(r, disk, report == NULL ? noticed_ns(r, o) : rpc_now_ns(ctl->loop));
    if (d == NULL)
        return;
    d->dead = dead;
    d->failing = failing && !dead;
}

/* What engines say: they have no session with it, or it fails their commands. */
static void look_at_volumes(struct rebuild *r, const struct observed *o)
{
    if (!observed_connected(r->ctl, o))
        return;
    for (size_t i = 0; i < o->report->n_volumes; i++) {
        const Trilith__V1__VolumeReport *v = o->report->volumes[i];
        for (size_t k = 0; k < v->n_disks; k++) {
            if (v->disks[k]->unusable)
                (void)note_disk(r, field_uuid(v->disks[k]->uuid), rpc_now_ns(r->ctl->loop));
        }
    }
}

static void forget_fine_disks(struct rebuild *r)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < r->disk_count; i++)
        if (r->disks[i].seen)
            r->disks[count++] = r->disks[i];
    r->disk_count = count;
}

static struct status MUST_CHECK look_at_disks(struct rebuild *r)
{
    struct records disks;

    for (uint32_t i = 0; i < r->disk_count; i++)
        r->disks[i].seen = false;
    TRY(records_read(r->ctl, KEY_DISKS, &stored__v1__disk__descriptor, &disks));
    for (size_t i = 0; i < disks.count; i++)
        look_at_disk(r, (const Stored__V1__Disk *)(const void *)disks.items[i]);
    records_free(&disks);
    LIST_FOR_EACH (n, &r->ctl->observed) {
        look_at_volumes(r, CONTAINER_OF(n, struct observed, link));
    }
    forget_fine_disks(r);
    return STATUS(OK);
}

bool rebuild_is_failing(struct rebuild *r, struct uuid disk)
{
    const struct rebuild_disk *d = rebuild_find_disk(r, disk);

    return d != NULL && d->failing && r->after_ns != CTL_REBUILD_NEVER;
}

bool rebuild_is_gone(struct rebuild *r, struct uuid disk)
{
    const struct rebuild_disk *d = rebuild_find_disk(r, disk);

    if (d == NULL || r->after_ns == CTL_REBUILD_NEVER)
        return false;
    const uint64_t now_ns = rpc_now_ns(r->ctl->loop);
    return d->dead || d->failing || (now_ns >= d->since_ns && now_ns - d->since_ns >= r->after_ns);
}

/* ---- Nodes that do not report ---- */

/* node_count if it is none of them. */
static uint32_t find_node(const struct rebuild *r, struct uuid node)
{
    uint32_t i = 0;

    while (i < r->node_count && !uuid_equal(r->nodes[i].node, node))
        i++;
    return i;
}

static bool hears(const struct observed *o, struct uuid node)
{
    for (size_t i = 0; i < o->report->n_heard_node_uuids; i++)
        if (uuid_equal(field_uuid(o->report->heard_node_uuids[i]), node))
            return true;
    return false;
}

static void note_hearer(struct rebuild_node *node, struct uuid by, uint64_t now_ns)
{
    uint32_t i = 0;

    while (i < node->hearer_count && !uuid_equal(node->hearers[i].node, by))
        i++;
    if (i == CTL_NODES_MAX)
        return;
    if (i == node->hearer_count)
        node->hearer_count++;
    node->hearers[i] = (struct rebuild_hearer) { by, now_ns };
}

static void look_who_hears(struct rebuild *r, struct rebuild_node *node)
{
    LIST_FOR_EACH (n, &r->ctl->observed) {
        const struct observed *const o = CONTAINER_OF(n, struct observed, link);
        if (observed_connected(r->ctl, o) && hears(o, node->node))
            note_hearer(node, o->node, rpc_now_ns(r->ctl->loop));
    }
}

/* Links come back, and nodes that were restarted tell a little later who is connected. */
static bool is_long_ago(const struct rebuild *r, uint64_t then_ns)
{
    const uint64_t now_ns = rpc_now_ns(r->ctl->loop);

    return now_ns >= then_ns && now_ns - then_ns >= max_u64(r->after_ns, CTL_SILENT_MS * NS_PER_MS);
}

const struct uuid *rebuild_heard_by(const struct rebuild *r, struct uuid node)
{
    const uint32_t i = find_node(r, node);

    for (uint32_t k = 0; i < r->node_count && k < r->nodes[i].hearer_count; k++)
        if (!is_long_ago(r, r->nodes[i].hearers[k].heard_ns))
            return &r->nodes[i].hearers[k].node;
    return NULL;
}

bool rebuild_is_deaf(const struct rebuild *r, struct uuid hearer, struct uuid node)
{
    const uint32_t i = find_node(r, node);

    if (i == r->node_count || !is_long_ago(r, r->nodes[i].since_ns))
        return false;
    for (uint32_t k = 0; k < r->nodes[i].hearer_count; k++)
        if (uuid_equal(r->nodes[i].hearers[k].node, hearer))
            return is_long_ago(r, r->nodes[i].hearers[k].heard_ns);
    return true;
}

static void look_at_node(struct rebuild *r, struct uuid node)
{
    const struct observed *o = observed_find(r->ctl, node);
    const uint32_t i = find_node(r, node);

    if (observed_connected(r->ctl, o) || i == CTL_NODES_MAX)
        return;
    if (i == r->node_count)
        r->nodes[r->node_count++] =
            (struct rebuild_node) { .node = node, .since_ns = noticed_ns(r, o) };
    r->nodes[i].seen = true;
    look_who_hears(r, &r->nodes[i]);
}

static void forget_connected_nodes(struct rebuild *r)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < r->node_count; i++)
        if (r->nodes[i].seen)
            r->nodes[count++] = r->nodes[i];
    r->node_count = count;
}

static struct status MUST_CHECK look_at_nodes(struct rebuild *r)
{
    struct records nodes;

    for (uint32_t i = 0; i < r->node_count; i++)
        r->nodes[i].seen = false;
    TRY(records_read(r->ctl, KEY_NODES, &stored__v1__node__descriptor, &nodes));
    for (size_t i = 0; i < nodes.count; i++)
        look_at_node(r, field_uuid(((const Stored__V1__Node *)(const void *)nodes.items[i])->uuid));
    records_free(&nodes);
    forget_connected_nodes(r);
    return STATUS(OK);
}

uint64_t rebuild_server_left_ns(const struct rebuild *r, struct uuid node)
{
    const uint64_t now_ns = rpc_now_ns(r->ctl->loop);
    const uint32_t i = find_node(r, node);

    if (r->after_ns == CTL_REBUILD_NEVER)
        return UINT64_MAX;
    if (i == r->node_count) /* The next look notices it. */
        return r->after_ns;
    const uint64_t since_ns = r->nodes[i].since_ns;
    if (now_ns < since_ns)
        return r->after_ns + (since_ns - now_ns);
    return now_ns - since_ns >= r->after_ns ? 0 : r->after_ns - (now_ns - since_ns);
}

static bool node_is_gone(const struct rebuild *r, struct uuid node)
{
    return find_node(r, node) < r->node_count && rebuild_server_left_ns(r, node) == 0;
}

static bool any_node_is_gone(const struct rebuild *r)
{
    for (uint32_t i = 0; i < r->node_count; i++)
        if (node_is_gone(r, r->nodes[i].node))
            return true;
    return false;
}

/* Whether the volume is to get another node. */
static bool server_is_gone(const struct rebuild *r, const Stored__V1__Volume *v)
{
    return v->replicas > 1 && !v->deleting && node_is_gone(r, field_uuid(v->node));
}

/* ---- What cannot be done ---- */

static struct rebuild_problem *find_problem(const struct rebuild *r, enum rebuild_part part,
                                            struct uuid volume)
{
    LIST_FOR_EACH (n, &r->problems) {
        struct rebuild_problem *p = CONTAINER_OF(n, struct rebuild_problem, link);
        if (p->part == part && uuid_equal(p->volume, volume))
            return p;
    }
    return NULL;
}

const char *rebuild_problem(const struct rebuild *r, enum rebuild_part part, struct uuid volume)
{
    const struct rebuild_problem *p = find_problem(r, part, volume);

    return p != NULL ? p->text : NULL;
}

/* Logged when it is new; an empty text is none. */
void rebuild_say_problem(struct rebuild *r, enum rebuild_part part, const Stored__V1__Volume *v,
                         const char *text)
{
    struct rebuild_problem *p = find_problem(r, part, field_uuid(v->uuid));

    if (p != NULL && text[0] == '\0') {
        list_remove(&p->link);
        free(p);
    }
    if (text[0] == '\0' || (p != NULL && strcmp(p->text, text) == 0))
        return;
    if (p == NULL) {
        p = calloc(1, sizeof *p);
        if (p == NULL)
            return;
        p->volume = field_uuid(v->uuid);
        p->part = part;
        list_node_init(&p->link);
        list_push_back(&r->problems, &p->link);
    }
    snprintf(p->text, sizeof p->text, "%s", text);
    log_warning(r->ctl->log, "volume '%s': %s", v->name, text);
}

static void forget_problems(struct rebuild *r)
{
    struct list_node *n;

    while ((n = list_pop_front(&r->problems)) != NULL)
        free(CONTAINER_OF(n, struct rebuild_problem, link));
}

/* ---- The timer ---- */

static bool has_shard_on(const Stored__V1__Volume *v, size_t disk)
{
    for (size_t i = 0; i < v->n_placement; i++)
        if (v->placement[i] == disk)
            return true;
    return false;
}

/* Whether it has anything to do with what is missing; without reading its group. */
static bool concerns(struct rebuild *r, const Stored__V1__Volume *v)
{
    if (v->replicas <= 1 || v->deleting)
        return false;
    if (v->n_replacements > 0)
        return true;
    for (size_t i = 0; i < v->n_disks; i++)
        if (rebuild_is_gone(r, field_uuid(v->disks[i])) && has_shard_on(v, i))
            return true;
    return false;
}

static bool still_is(struct rebuild *r, const struct records *volumes,
                     const struct rebuild_problem *p)
{
    for (size_t i = 0; i < volumes->count; i++) {
        const Stored__V1__Volume *v = (const Stored__V1__Volume *)(const void *)volumes->items[i];
        if (uuid_equal(field_uuid(v->uuid), p->volume))
            return p->part == REBUILD_SERVER ? server_is_gone(r, v) : concerns(r, v);
    }
    return false;
}

/* Of volumes that are gone, and of those that miss nothing any more. */
static void forget_old_problems(struct rebuild *r, const struct records *volumes)
{
    LIST_FOR_EACH (n, &r->problems) {
        struct rebuild_problem *p = CONTAINER_OF(n, struct rebuild_problem, link);
        if (still_is(r, volumes, p))
            continue;
        list_remove(&p->link);
        free(p);
    }
}

/* Some volumes at a time, from where the look before has stopped. */
static void plan_servers(struct rebuild *r, struct rebuild_scope *scope,
                         const struct records *volumes)
{
    const size_t first = r->turn;
    unsigned moved = 0, tried = 0;

    for (size_t k = 0; k < volumes->count; k++) {
        const size_t i = (first + k) % volumes->count;
        const Stored__V1__Volume *v = (const Stored__V1__Volume *)(const void *)volumes->items[i];
        if (!server_is_gone(r, v))
            continue;
        r->pending = true;
        if (moved == CTL_REBUILD_SERVERS_MAX || tried == CTL_REBUILD_TRIES_MAX)
            return;
        moved += rebuild_serve_elsewhere(r, scope, v) ? 1 : 0;
        tried++;
        r->turn = i + 1;
    }
}

static struct status MUST_CHECK plan_all(struct rebuild *r)
{
    struct rebuild_scope scope = { .view = NULL };
    struct records volumes;

    TRY(records_read(r->ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes));
    r->pending = false;
    for (size_t i = 0; i < volumes.count; i++) {
        const Stored__V1__Volume *v = (const Stored__V1__Volume *)(const void *)volumes.items[i];
        if (!concerns(r, v))
            continue;
        r->pending = true;
        rebuild_plan_volume(r, &scope, v);
    }
    plan_servers(r, &scope, &volumes);
    forget_old_problems(r, &volumes);
    arena_free(&scope.arena);
    records_free(&volumes);
    return STATUS(OK);
}

static bool any_is_gone(struct rebuild *r)
{
    for (uint32_t i = 0; i < r->disk_count; i++)
        if (rebuild_is_gone(r, r->disks[i].disk))
            return true;
    return false;
}

/* Time in which we stood still is nobody's silence. */
static void leave_out_pause(struct rebuild *r)
{
    const uint64_t now_ns = rpc_now_ns(r->ctl->loop), since_ns = now_ns - r->looked_ns;

    r->looked_ns = now_ns;
    if (since_ns < CTL_SILENT_MS * NS_PER_MS)
        return;
    const uint64_t gap_ns = since_ns - CTL_REBUILD_MS * NS_PER_MS;
    for (uint32_t i = 0; i < r->disk_count; i++)
        r->disks[i].since_ns += gap_ns;
    for (uint32_t i = 0; i < r->node_count; i++) {
        r->nodes[i].since_ns += gap_ns;
        for (uint32_t k = 0; k < r->nodes[i].hearer_count; k++)
            r->nodes[i].hearers[k].heard_ns += gap_ns;
    }
}

static void on_timer(struct rpc_timer *timer)
{
    struct rebuild *r = CONTAINER_OF(timer, struct rebuild, timer);
    struct status st;

    leave_out_pause(r);
    st = look_at_disks(r);
    nodes_tell_again(r->ctl);
    if (status_ok(st))
        st = look_at_nodes(r);
    if (status_ok(st) && (r->pending || any_is_gone(r) || any_node_is_gone(r)))
        st = plan_all(r);
    if (status_ok(st) && !r->pending)
        forget_problems(r);
    if (!status_ok(st))
        log_error(r->ctl->log, "rebuilds cannot be planned now: %s", status_text(st));
    rpc_timer_arm(r->ctl->loop, timer, rpc_now_ns(r->ctl->loop) + CTL_REBUILD_MS * NS_PER_MS);
}

void rebuild_init(struct rebuild *r, struct ctl *ctl, uint64_t after_ns)
{
    *r = (struct rebuild) { .ctl = ctl, .after_ns = after_ns, .pending = true };
    r->began_ns = r->looked_ns = rpc_now_ns(ctl->loop);
    list_init(&r->problems);
    rpc_timer_init(&r->timer, on_timer);
    rpc_timer_arm(ctl->loop, &r->timer, r->began_ns + CTL_REBUILD_MS * NS_PER_MS);
}

void rebuild_fini(struct rebuild *r)
{
    rpc_timer_disarm(&r->timer);
    forget_problems(r);
}
