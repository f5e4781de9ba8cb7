/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/volume_replicas.h"

#include <string.h>

#include "ctl/rebuild_plan.h"
#include "ctl/volume_copysets.h"
#include "ctl/volume_spread.h"
#include "meta/groups.h"

/* ---- Disks ---- */

const struct volume_place *volume_places(struct ctl *ctl, const Stored__V1__Volume *r,
                                         struct arena *arena)
{
    struct volume_place *places = arena_alloc(arena, r->n_disks * sizeof *places);

    for (size_t i = 0; i < r->n_disks; i++) {
        const struct uuid uuid = field_uuid(r->disks[i]);
        ProtobufCMessage *found = NULL;
        const struct status st =
            record_get(ctl->meta, key_disk(uuid).s, &stored__v1__disk__descriptor, &found, NULL);
        const Stored__V1__Disk *disk = (const Stored__V1__Disk *)(const void *)found;
        places[i].name = status_ok(st) ? arena_text(arena, disk->name) : arena_uuid(arena, uuid);
        if (status_ok(st))
            places[i].node = field_uuid(disk->node);
        record_free(found);
    }
    return places;
}

/* ---- How close together they are ---- */

/* The nodes of a volume's disks as a cluster, so that domains.h can tell which fail together. */
struct neighbours {
    struct placement_cluster cluster;
    struct placement_node nodes[CTL_NODES_MAX];
    uint8_t *of; /* The node of each of the record's disks. */
    struct domains domains;
};

static void add_neighbour(struct ctl *ctl, struct neighbours *n, struct uuid uuid,
                          struct arena *arena)
{
    struct placement_node *node = &n->nodes[n->cluster.node_count++];
    ProtobufCMessage *found = NULL;

    *node = (struct placement_node) { .uuid = uuid, .zone = "", .rack = "" };
    if (status_ok(
            record_get(ctl->meta, key_node(uuid).s, &stored__v1__node__descriptor, &found, NULL))) {
        const Stored__V1__Node *r = (const Stored__V1__Node *)(const void *)found;
        node->zone = arena_text(arena, r->zone);
        node->rack = arena_text(arena, r->rack);
    }
    record_free(found);
}

/* Disks that nobody knows any more are on one node. */
static struct neighbours *neighbours_of(struct ctl *ctl, const Stored__V1__Volume *r,
                                        const struct volume_place *places, struct arena *arena)
{
    struct neighbours *n = arena_alloc(arena, sizeof *n);

    n->cluster.nodes = n->nodes;
    n->of = arena_alloc(arena, r->n_disks);
    for (size_t i = 0; i < r->n_disks; i++) {
        uint32_t node = 0;
        while (node < n->cluster.node_count && !uuid_equal(n->nodes[node].uuid, places[i].node))
            node++;
        if (node == n->cluster.node_count && node < CTL_NODES_MAX)
            add_neighbour(ctl, n, places[i].node, arena);
        n->of[i] = (uint8_t)min_u64(node, CTL_NODES_MAX - 1);
    }
    const uint64_t all =
        n->cluster.node_count == 64 ? UINT64_MAX : node_bit(n->cluster.node_count) - 1;
    domains_map(&n->cluster, all, &n->domains);
    return n;
}

static bool is_crowded(const struct neighbours *n, const Stored__V1__Volume *r,
                       enum domain_level level)
{
    for (size_t p = 0; p + r->replicas <= r->n_placement; p += r->replicas) {
        uint64_t nodes = 0;
        for (size_t a = p; a < p + r->replicas; a++)
            nodes |= node_bit(n->of[r->placement[a]]);
        if (domains_touched(&n->domains, level, nodes) < r->replicas)
            return true;
    }
    return false;
}

const char *volume_crowded(struct ctl *ctl, const Stored__V1__Volume *r,
                           const struct volume_place *places, struct arena *arena)
{
    if (r->replicas <= 1)
        return NULL;
    const struct neighbours *n = neighbours_of(ctl, r, places, arena);
    if (is_crowded(n, r, DOMAIN_NODE))
        return "replicas of the same data lie on one node";
    if (is_crowded(n, r, volume_apart(r)))
        return arena_printf(arena, "replicas of the same data lie in one %s",
                            domain_level_name(volume_apart(r)));
    return NULL;
}

/* ---- What is viewed ---- */

struct view {
    struct ctl *ctl;
    const Stored__V1__Volume *record;
    const struct volume_place *places;
    const Trilith__V1__VolumeReport *report; /* NULL: none. */
    const struct group *group;
    Trilith__V1__Volume *v;
    struct arena *arena;
};

/* The index of a disk in the record's list; its length if it is not there. */
static size_t disk_index(const struct view *w, struct uuid disk)
{
    size_t i = 0;

    while (i < w->record->n_disks && !uuid_equal(field_uuid(w->record->disks[i]), disk))
        i++;
    return i;
}

static const char *disk_name(const struct view *w, struct uuid disk)
{
    const size_t i = disk_index(w, disk);

    return i < w->record->n_disks ? w->places[i].name : arena_uuid(w->arena, disk);
}

/* Of a disk that the volume may not lie on yet. */
static const char *disk_of_record(const struct view *w, struct uuid disk)
{
    ProtobufCMessage *found = NULL;
    const char *name = arena_uuid(w->arena, disk);

    if (status_ok(record_get(w->ctl->meta, key_disk(disk).s, &stored__v1__disk__descriptor, &found,
                             NULL)))
        name = arena_text(w->arena, ((const Stored__V1__Disk *)(const void *)found)->name);
    record_free(found);
    return name;
}

static char *node_name(const struct view *w, struct uuid disk)
{
    const size_t i = disk_index(w, disk);
    ProtobufCMessage *found = NULL;
    char *name = arena_text(w->arena, "?");

    if (i < w->record->n_disks &&
        status_ok(record_get(w->ctl->meta, key_node(w->places[i].node).s,
                             &stored__v1__node__descriptor, &found, NULL)))
        name = arena_text(w->arena, ((const Stored__V1__Node *)(const void *)found)->name);
    record_free(found);
    return name;
}

static const Trilith__V1__VolumeDiskReport *report_of(const struct view *w, struct uuid disk)
{
    for (size_t i = 0; w->report != NULL && i < w->report->n_disks; i++)
        if (uuid_equal(field_uuid(w->report->disks[i]->uuid), disk))
            return w->report->disks[i];
    return NULL;
}

/* ---- Copysets ---- */

static Trilith__V1__VolumeReplica *replica_view(const struct view *w, const struct group_slot *slot)
{
    Trilith__V1__VolumeReplica *m = arena_alloc(w->arena, sizeof *m);
    const Trilith__V1__VolumeDiskReport *report = report_of(w, slot->disk);

    trilith__v1__volume_replica__init(m);
    m->disk = arena_text(w->arena, disk_name(w, slot->disk));
    m->node = node_name(w, slot->disk);
    m->in_sync = slot->state == GROUP_SLOT_IN;
    m->out_since_unix_ms = slot->since_unix_ms;
    m->whole = slot->whole;
    if (report != NULL) {
        m->problem = arena_text(w->arena, report->problem);
        /* What is copied to it for another slot, which it is to get, is none of a member's. */
        m->resync_bytes = m->in_sync ? 0 : report->resync_bytes;
        m->resynced_bytes = m->in_sync ? 0 : report->resynced_bytes;
    }
    return m;
}

static void copysets_view(const struct view *w)
{
    const struct group *g = w->group;

    w->v->copysets = arena_alloc(w->arena, g->copyset_count * sizeof *w->v->copysets);
    for (uint32_t n = 0; n < g->copyset_count; n++) {
        Trilith__V1__VolumeCopyset *c = arena_alloc(w->arena, sizeof *c);
        trilith__v1__volume_copyset__init(c);
        c->number = n;
        c->replicas = arena_alloc(w->arena, GROUP_SLOTS * sizeof *c->replicas);
        for (unsigned slot = 0; slot < GROUP_SLOTS; slot++)
            if (g->copysets[n].slots[slot].state != GROUP_SLOT_UNUSED)
                c->replicas[c->n_replicas++] = replica_view(w, &g->copysets[n].slots[slot]);
        w->v->copysets[w->v->n_copysets++] = c;
    }
    const uint32_t *const numbers = volume_copysets(w->record, w->arena);
    for (size_t i = 0; i < w->record->n_placement / w->record->replicas; i++)
        if (numbers[i] < g->copyset_count)
            w->v->copysets[numbers[i]]->shards++;
}

/* ---- What it lacks ---- */

static void add_degraded(const struct view *w, char *text)
{
    Trilith__V1__Volume *v = w->v;

    v->degraded = arena_grow(w->arena, v->degraded, v->n_degraded, sizeof(char *));
    v->degraded[v->n_degraded++] = text;
}

static char *since_text(const struct view *w, uint64_t since_ms)
{
    const uint64_t now_ms = rpc_wall_ns(w->ctl->loop) / NS_PER_MS;
    const uint64_t s = now_ms > since_ms ? (now_ms - since_ms) / 1000 : 0;

    if (s < 120)
        return arena_printf(w->arena, "%llu s", (unsigned long long)s);
    if (s < 7200)
        return arena_printf(w->arena, "%llu min", (unsigned long long)(s / 60));
    return arena_printf(w->arena, "%llu h", (unsigned long long)(s / 3600));
}

/* What keeps it out, or how far its resync is. */
static const char *repair_text(const struct view *w, struct uuid disk)
{
    const Trilith__V1__VolumeDiskReport *r = report_of(w, disk);

    if (r == NULL)
        return "";
    if (r->problem[0] != '\0')
        return arena_printf(w->arena, ": %s", r->problem);
    if (r->resync_bytes == 0)
        return "";
    return arena_printf(w->arena, ", and is being resynced: %llu%%",
                        (unsigned long long)(r->resynced_bytes * 100 / r->resync_bytes));
}

/* A disk that is out of sync in some copysets: in how many, and since when at the longest. */
static void disk_out_view(const struct view *w, struct uuid disk)
{
    const struct group *g = w->group;
    uint64_t since_ms = UINT64_MAX;
    uint32_t count = 0;
    unsigned slot;

    for (uint32_t n = 0; n < g->copyset_count; n++) {
        if (!group_find(g, n, disk, &slot) || g->copysets[n].slots[slot].state != GROUP_SLOT_OUT)
            continue;
        count++;
        since_ms = min_u64(since_ms, g->copysets[n].slots[slot].since_unix_ms);
    }
    if (count > 0)
        add_degraded(w, arena_printf(w->arena,
                                     "disk '%s' is out of sync in %u of %u copysets, for %s%s",
                                     disk_name(w, disk), count, g->copyset_count,
                                     since_text(w, since_ms), repair_text(w, disk)));
}

/* How much of what is moved from the disk has been copied, of what is being copied now. */
static const char *moved_text(const struct view *w, struct uuid disk)
{
    uint64_t all = 0, done = 0;

    for (size_t i = 0; i < w->record->n_replacements; i++) {
        const Stored__V1__Replacement *d = w->record->replacements[i];
        const Trilith__V1__VolumeDiskReport *r = report_of(w, field_uuid(d->disk));
        if (!uuid_equal(field_uuid(d->was), disk) || r == NULL)
            continue;
        all += r->resync_bytes;
        done += r->resynced_bytes;
    }
    return all == 0 ? ""
                    : arena_printf(w->arena, ": %llu%%", (unsigned long long)(done * 100 / all));
}

/* A disk whose replicas are to be made anew on others: in how many copysets, and on which disks. */
static void rebuild_view(const struct view *w, struct uuid disk, bool moves)
{
    const char *on = "";
    uint32_t count = 0;

    for (size_t i = 0; i < w->record->n_replacements; i++) {
        const Stored__V1__Replacement *d = w->record->replacements[i];
        if (!uuid_equal(field_uuid(d->was), disk) || d->moves != moves)
            continue;
        const char *const name = disk_of_record(w, field_uuid(d->disk));
        if (strstr(on, arena_printf(w->arena, "'%s'", name)) == NULL)
            on = arena_printf(w->arena, "%s%s'%s'", on, on[0] == '\0' ? "" : ", ", name);
        count++;
    }
    if (count > 0)
        add_degraded(
            w, arena_printf(w->arena,
                            moves ? "disk '%s' is failing: in %u of %u copysets its replica "
                                    "is being moved to %s%s"
                                  : "disk '%s' is to be rebuilt in %u of %u copysets, on %s%s",
                            disk_name(w, disk), count, w->group->copyset_count, on,
                            moves ? moved_text(w, disk) : ""));
}

static void writes_view(const struct view *w)
{
    const unsigned wanted = group_members_min(w->record->min_in_sync);

    for (size_t i = 0; w->report != NULL && i < w->report->n_disks; i++) {
        const Trilith__V1__VolumeDiskReport *d = w->report->disks[i];
        if (d->holds_writes)
            w->v->writes_wait = arena_printf(
                w->arena, "for disk '%s' (%s), without which too few replicas would be left%s",
                disk_name(w, field_uuid(d->uuid)), d->problem,
                wanted > 1 ? "; if it is gone for good, 'trilith volume set --min-in-sync' goes "
                             "on without it"
                           : "");
    }
    for (uint32_t n = 0; n < w->group->copyset_count; n++) {
        const unsigned have = (unsigned)__builtin_popcount(group_members(w->group, n));
        if (have < wanted)
            w->v->writes_wait =
                arena_printf(w->arena, "copyset %u has %u replica%s in sync, and needs %u", n, have,
                             have == 1 ? "" : "s", wanted);
    }
}

/* Of a volume of one replica: disks that are failing, of which nothing can be moved. */
static void only_replica_view(const struct view *w)
{
    for (size_t i = 0; i < w->record->n_disks; i++) {
        const struct uuid disk = field_uuid(w->record->disks[i]);
        uint32_t shards = 0;
        for (size_t k = 0; k < w->record->n_placement; k++)
            shards += w->record->placement[k] == i ? 1 : 0;
        const struct rebuild_disk *const d = rebuild_find_disk(&w->ctl->rebuild, disk);
        if (shards > 0 && d != NULL && d->failing)
            add_degraded(w, arena_printf(w->arena,
                                         "disk '%s' is failing, and has the only replica of %u of "
                                         "%zu shards: copy what is in it to another volume",
                                         disk_name(w, disk), shards, w->record->n_placement));
    }
}

static void view_init(struct view *w, struct ctl *ctl, const Stored__V1__Volume *record,
                      Trilith__V1__Volume *v, struct arena *arena)
{
    const struct observed *o = observed_find(ctl, field_uuid(record->node));
    struct group *group = arena_alloc(arena, sizeof *group);

    *w = (struct view) { .ctl = ctl, .record = record, .group = group, .v = v, .arena = arena };
    if (observed_connected(ctl, o))
        w->report = observed_volume(o, field_uuid(record->uuid));
    /* One that cannot be read is not taken over either: then the node says why. */
    if (record->replicas > 1 &&
        !status_ok(group_record_get(ctl->meta, field_uuid(record->uuid), 0, group, NULL)))
        *group = (struct group) { 0 };
}

void volume_replicas_view(struct ctl *ctl, const Stored__V1__Volume *record,
                          const struct volume_place *places, Trilith__V1__Volume *v,
                          struct arena *arena)
{
    struct view w;

    if (record->deleting)
        return;
    view_init(&w, ctl, record, v, arena);
    w.places = places;
    if (record->replicas <= 1) {
        only_replica_view(&w);
        return;
    }
    copysets_view(&w);
    const char *const crowded = volume_crowded(ctl, record, places, arena);
    if (crowded != NULL)
        add_degraded(&w, arena_text(arena, crowded));
    for (size_t i = 0; i < record->n_disks; i++)
        disk_out_view(&w, field_uuid(record->disks[i]));
    for (size_t i = 0; i < record->n_disks; i++)
        rebuild_view(&w, field_uuid(record->disks[i]), false);
    for (size_t i = 0; i < record->n_disks; i++)
        rebuild_view(&w, field_uuid(record->disks[i]), true);
    const char *const problem =
        rebuild_problem(&ctl->rebuild, REBUILD_REPLICAS, field_uuid(record->uuid));
    if (problem != NULL)
        add_degraded(&w, arena_text(arena, problem));
    writes_view(&w);
}

void volume_places_view(struct ctl *ctl, const Stored__V1__Volume *record, Trilith__V1__Volume *v,
                        struct arena *arena)
{
    const struct volume_place *places = volume_places(ctl, record, arena);
    const size_t replicas = max_u64(record->replicas, 1);
    const uint32_t *const numbers = replicas > 1 ? volume_copysets(record, arena) : NULL;

    v->places = arena_alloc(arena, record->n_placement / replicas * sizeof *v->places);
    for (size_t p = 0; p + replicas <= record->n_placement; p += replicas) {
        Trilith__V1__VolumeShard *s = arena_alloc(arena, sizeof *s);
        trilith__v1__volume_shard__init(s);
        s->shard = (uint32_t)v->n_places;
        s->copyset = replicas > 1 ? numbers[v->n_places] : 0;
        s->disks = arena_alloc(arena, replicas * sizeof *s->disks);
        for (size_t slot = 0; slot < replicas; slot++)
            s->disks[s->n_disks++] = arena_text(arena, places[record->placement[p + slot]].name);
        v->places[v->n_places++] = s;
    }
}
