/* SPDX-License-Identifier: Apache-2.0 */
#include "node/agent_convert.h"

#include <stdio.h>
#include <string.h>

#include "disk/device_log.h"
#include "io/uring_features.h"
#include "node/node_volume.h"
#include "rpc/decode.h"
#include "rpc/limits.h"

#define REPLICAS_MAX 3u
/* As ctl/limits.h; only so much as to keep the sums below from overflowing. */
#define SHARDS_MAX 16384u

/* ---- Desired ---- */

static bool take_uuid(ProtobufCBinaryData field, struct uuid *out_uuid)
{
    if (field.len != sizeof out_uuid->b)
        return false;
    memcpy(out_uuid->b, field.data, field.len);
    return !uuid_is_nil(*out_uuid);
}

/* Whether the text fits with its zero. */
static bool take_text(const char *text, char *out_text, size_t bytes)
{
    const size_t length = strlen(text);
    if (length == 0 || length >= bytes)
        return false;
    memcpy(out_text, text, length + 1);
    return true;
}

static bool take_sizes(const Trilith__V1__DesiredVolume *v, struct store_volume *out_volume)
{
    out_volume->bytes = v->bytes;
    out_volume->shard_bytes = v->shard_bytes;
    out_volume->lba_bytes = v->lba_bytes;
    out_volume->stripe_unit_bytes = v->stripe_unit_bytes;
    out_volume->stripe_width = v->stripe_width;
    out_volume->replicas = v->replicas;
    out_volume->min_in_sync = v->min_in_sync;
    out_volume->continue_on_unflushed_loss = v->continue_on_unflushed_loss;
    out_volume->first_run_shards = v->first_run_shards;
    return store_volume_is_valid(out_volume) && v->replicas <= REPLICAS_MAX;
}

/* Each shard's tuple written out. */
static bool take_tuples(const Trilith__V1__DesiredVolume *v, uint32_t disk_count,
                        struct arena *arena, struct node_desired_volume *out_volume)
{
    const uint32_t replicas = v->replicas;
    uint32_t *placement = arena_alloc(arena, v->n_placement * replicas * sizeof *placement);

    if (v->n_tuples % replicas != 0)
        return false;
    for (size_t i = 0; i < v->n_tuples; i++)
        if (v->tuples[i] >= disk_count)
            return false;
    for (size_t i = 0; i < v->n_placement; i++) {
        if (v->placement[i] >= v->n_tuples / replicas)
            return false;
        memcpy(&placement[i * replicas], &v->tuples[(size_t)v->placement[i] * replicas],
               replicas * sizeof *placement);
    }
    out_volume->placement = placement;
    out_volume->copysets = v->placement;
    return true;
}

static bool take_replacements(const Trilith__V1__DesiredVolume *v, uint32_t disk_count,
                              struct arena *arena, struct node_desired_volume *out_volume)
{
    struct node_desired_replacement *all = arena_alloc(arena, v->n_replacements * sizeof *all);

    for (size_t i = 0; i < v->n_replacements; i++) {
        const Trilith__V1__DesiredReplacement *r = v->replacements[i];
        if (r->slot >= v->replicas || r->was >= disk_count || r->disk >= disk_count)
            return false;
        all[i] =
            (struct node_desired_replacement) { r->copyset, r->slot, r->was, r->disk, r->moves };
    }
    for (size_t i = 0; i < v->n_leftovers; i++)
        if (v->leftovers[i] >= disk_count)
            return false;
    out_volume->leftovers = v->leftovers;
    out_volume->leftover_count = (uint32_t)v->n_leftovers;
    out_volume->replacements = all;
    out_volume->replacement_count = (uint32_t)v->n_replacements;
    return true;
}

static bool take_placement(const Trilith__V1__DesiredVolume *v, uint32_t disk_count,
                           struct arena *arena, struct node_desired_volume *out_volume)
{
    const uint64_t shards = store_volume_shards(&out_volume->volume);

    if (shards > SHARDS_MAX || v->n_placement != shards)
        return false;
    out_volume->shard_count = (uint32_t)shards;
    if (v->replicas > 1)
        return take_tuples(v, disk_count, arena, out_volume);
    for (size_t i = 0; i < v->n_placement; i++)
        if (v->placement[i] >= disk_count)
            return false;
    out_volume->placement = v->placement;
    return true;
}

static bool take_hosts(const Trilith__V1__DesiredVolume *v, struct arena *arena,
                       struct node_desired_volume *out_volume)
{
    struct nqn_text *hosts = arena_alloc(arena, v->n_allowed_hosts * sizeof *hosts);

    for (size_t i = 0; i < v->n_allowed_hosts; i++)
        if (!take_text(v->allowed_hosts[i], hosts[i].s, sizeof hosts[i].s))
            return false;
    out_volume->allowed_hosts = hosts;
    out_volume->allowed_host_count = (uint32_t)v->n_allowed_hosts;
    return true;
}

static bool take_mends(const Trilith__V1__DesiredVolume *v, struct arena *arena,
                       struct node_desired_volume *out_volume)
{
    struct node_mend_order *mends = arena_alloc(arena, v->n_mends * sizeof *mends);

    for (size_t i = 0; i < v->n_mends; i++) {
        const Trilith__V1__MendOrder *m = v->mends[i];
        mends[i] = (struct node_mend_order) {
            .id = m->id, .shard = m->shard, .offset = m->offset, .bytes = m->bytes
        };
        if (m->id == 0 || !take_uuid(m->disk_uuid, &mends[i].disk) ||
            m->offset % STORE_BLOCK_BYTES != 0 || m->bytes % STORE_BLOCK_BYTES != 0)
            return false;
    }
    out_volume->mends = mends;
    out_volume->mend_count = (uint32_t)v->n_mends;
    return true;
}

static bool take_scrub(const Trilith__V1__ScrubOrder *s, struct node_scrub_order *out_scrub)
{
    *out_scrub = (struct node_scrub_order) {
        .id = s->id,
        .from = s->from,
        .bytes_per_s = s->bytes_per_s,
        .answered = s->answered,
        .done_bytes = s->done_bytes,
    };
    return s->id != 0 && take_uuid(s->disk_uuid, &out_scrub->disk);
}

static bool take_volume(const Trilith__V1__DesiredVolume *v, uint32_t disk_count,
                        struct arena *arena, struct node_desired_volume *out_volume)
{
    out_volume->deleting = v->deleting;
    out_volume->delete_epoch = v->delete_epoch;
    out_volume->verification = v->verification;
    out_volume->verification_bytes_per_s = v->verification_bytes_per_s;
    return take_uuid(v->uuid, &out_volume->volume.uuid) &&
           take_text(v->name, out_volume->volume.name, sizeof out_volume->volume.name) &&
           take_text(v->nqn, out_volume->nqn.s, sizeof out_volume->nqn.s) &&
           take_sizes(v, &out_volume->volume) && take_placement(v, disk_count, arena, out_volume) &&
           take_hosts(v, arena, out_volume) &&
           take_replacements(v, disk_count, arena, out_volume) && take_mends(v, arena, out_volume);
}

static bool take_order(const Trilith__V1__DiskOrder *o, struct node_order *out_order)
{
    out_order->id = o->id;
    out_order->kind = o->remove ? NODE_ORDER_REMOVE : o->grow ? NODE_ORDER_GROW : NODE_ORDER_ADD;
    out_order->force = o->force;
    if (o->id == 0 || (o->remove && o->grow))
        return false;
    const bool has_path = o->path[0] != '\0' || out_order->kind != NODE_ORDER_REMOVE;
    if (has_path && !take_text(o->path, out_order->path, sizeof out_order->path))
        return false;
    return out_order->kind == NODE_ORDER_ADD
               ? take_text(o->name, out_order->name, sizeof out_order->name)
               : take_uuid(o->disk_uuid, &out_order->disk);
}

/* Who serves a disk; false if that cannot be.  What is not known stays so. */
static bool take_place(const Trilith__V1__WatchNodeResponse *r, const Trilith__V1__DiskPlace *p,
                       struct node_desired_place *out_place)
{
    if (p->node >= r->n_nodes || strlen(p->name) >= sizeof out_place->name)
        return false;
    const Trilith__V1__NodePlace *n = r->nodes[p->node];
    *out_place = (struct node_desired_place) { 0 };
    snprintf(out_place->name, sizeof out_place->name, "%s", p->name);
    snprintf(out_place->node_name, sizeof out_place->node_name, "%s", n->name);
    if (n->uuid.len != 0 && !take_uuid(n->uuid, &out_place->node))
        return false;
    if (n->address[0] == '\0' || n->port == 0)
        return true;
    return n->port <= UINT16_MAX &&
           status_ok(io_addr_parse(n->address, (uint16_t)n->port, &out_place->addr));
}

static bool take_places(const Trilith__V1__WatchNodeResponse *r, struct arena *arena,
                        const struct node_desired_place **out_places)
{
    struct node_desired_place *places = arena_alloc(arena, r->n_places * sizeof *places);

    *out_places = NULL;
    if (r->n_places == 0)
        return true; /* A controller of before. */
    if (r->n_places != r->n_disk_uuids)
        return false;
    for (size_t i = 0; i < r->n_places; i++)
        if (!take_place(r, r->places[i], &places[i]))
            return false;
    *out_places = places;
    return true;
}

static bool take_members(const Trilith__V1__WatchNodeResponse *r, struct arena *arena,
                         const struct uuid **out_members)
{
    struct uuid *members = arena_alloc(arena, r->n_members * sizeof *members);

    for (size_t i = 0; i < r->n_members; i++)
        if (!take_uuid(r->members[i], &members[i]))
            return false;
    *out_members = members;
    return true;
}

struct status agent_desired(const Trilith__V1__WatchNodeResponse *response, struct arena *arena,
                            struct node_desired *out_desired, char problem[NODE_REASON_BYTES])
{
    struct uuid *disks = arena_alloc(arena, response->n_disk_uuids * sizeof *disks);
    struct node_desired_volume *volumes = arena_alloc(arena, response->n_volumes * sizeof *volumes);
    struct node_order *orders = arena_alloc(arena, response->n_orders * sizeof *orders);
    const struct node_desired_place *places;
    const struct uuid *members;

    for (size_t i = 0; i < response->n_disk_uuids; i++) {
        if (take_uuid(response->disk_uuids[i], &disks[i]))
            continue;
        snprintf(problem, NODE_REASON_BYTES, "disk %zu has no UUID", i);
        return STATUS(CORRUPT);
    }
    if (!take_places(response, arena, &places)) {
        snprintf(problem, NODE_REASON_BYTES, "the places of its disks cannot be");
        return STATUS(CORRUPT);
    }
    if (!take_members(response, arena, &members)) {
        snprintf(problem, NODE_REASON_BYTES, "a node of the cluster has no UUID");
        return STATUS(CORRUPT);
    }
    for (size_t i = 0; i < response->n_volumes; i++) {
        const Trilith__V1__DesiredVolume *v = response->volumes[i];
        if (take_volume(v, (uint32_t)response->n_disk_uuids, arena, &volumes[i]))
            continue;
        snprintf(problem, NODE_REASON_BYTES, "volume '%.63s' has fields that cannot be", v->name);
        return STATUS(CORRUPT);
    }
    for (size_t i = 0; i < response->n_orders; i++) {
        if (take_order(response->orders[i], &orders[i]))
            continue;
        snprintf(problem, NODE_REASON_BYTES, "order %zu has fields that cannot be", i);
        return STATUS(CORRUPT);
    }
    struct node_scrub_order *scrubs = arena_alloc(arena, response->n_scrubs * sizeof *scrubs);
    for (size_t i = 0; i < response->n_scrubs; i++) {
        if (take_scrub(response->scrubs[i], &scrubs[i]))
            continue;
        snprintf(problem, NODE_REASON_BYTES, "scrub %zu has fields that cannot be", i);
        return STATUS(CORRUPT);
    }
    *out_desired = (struct node_desired) { .revision = response->revision,
                                           .disks = disks,
                                           .places = places,
                                           .disk_count = (uint32_t)response->n_disk_uuids,
                                           .volumes = volumes,
                                           .volume_count = (uint32_t)response->n_volumes,
                                           .orders = orders,
                                           .order_count = (uint32_t)response->n_orders,
                                           .scrubs = scrubs,
                                           .scrub_count = (uint32_t)response->n_scrubs,
                                           .members = members,
                                           .member_count = (uint32_t)response->n_members };
    return STATUS(OK);
}

/* ---- Report ---- */

/* Paths and serial numbers may have any bytes; what no message can carry becomes '?'. */
static char *text_message(const char *text, struct arena *arena)
{
    char *copy = arena_text(arena, text);
    if (rpc_text_is_valid(copy))
        return copy;
    for (char *c = copy; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return copy;
}

static void health_message(const struct node_disk_report *d, Trilith__V1__DiskReport *m,
                           struct arena *arena)
{
    m->health = (Trilith__V1__DiskHealth)d->health;
    m->health_reason = text_message(d->health_reason, arena);
    m->health_since_unix_ms = d->health_since_unix_ms;
    m->device_log = text_message(d->device_log, arena);
    m->latency = arena_alloc(arena, sizeof *m->latency);
    trilith__v1__disk_latency__init(m->latency);
    m->latency->read_median_ns = d->read_ns[0];
    m->latency->read_99_ns = d->read_ns[1];
    m->latency->write_median_ns = d->write_ns[0];
    m->latency->write_99_ns = d->write_ns[1];
}

static Trilith__V1__ScrubReport *scrub_message(const struct node_scrub_report *s,
                                               struct arena *arena)
{
    Trilith__V1__ScrubReport *m = arena_alloc(arena, sizeof *m);
    Trilith__V1__ScrubFindingReport *f = arena_alloc(arena, sizeof *f);

    trilith__v1__scrub_report__init(m);
    trilith__v1__scrub_finding_report__init(f);
    m->id = s->id;
    m->position = s->position;
    m->done_bytes = s->done_bytes;
    m->all_bytes = s->all_bytes;
    m->ended = s->ended;
    if (s->finding == 0)
        return m;
    f->number = s->finding;
    f->volume_uuid = arena_uuid_bytes(arena, s->volume);
    f->shard = s->shard;
    f->offset = s->offset;
    f->bytes = s->bytes;
    m->finding = f;
    return m;
}

static const char *mend_failure(struct status status)
{
    if (status_is(status, STATUS_UNAVAILABLE))
        return "the replica there is out of sync, and is to be resynced";
    if (status_is(status, STATUS_UNSUPPORTED))
        return "the volume has no other replica";
    return status_text(status);
}

static Trilith__V1__MendReport *mend_message(const struct node_mend_result *r, struct arena *arena)
{
    Trilith__V1__MendReport *m = arena_alloc(arena, sizeof *m);

    trilith__v1__mend_report__init(m);
    m->id = r->id;
    m->address = r->address;
    m->repaired_blocks = r->repaired_blocks;
    m->unreadable_blocks = r->unreadable_blocks;
    if (!status_ok(r->status))
        m->failure = arena_text(arena, mend_failure(r->status));
    return m;
}

static Trilith__V1__DiskReport *disk_message(const struct node_disk_report *d, struct arena *arena)
{
    Trilith__V1__DiskReport *m = arena_alloc(arena, sizeof *m);

    trilith__v1__disk_report__init(m);
    m->uuid = arena_uuid_bytes(arena, d->uuid);
    m->name = text_message(d->name, arena);
    m->path = text_message(d->path, arena);
    m->backend = text_message(d->backend, arena);
    m->model = text_message(d->model, arena);
    m->serial = text_message(d->serial, arena);
    m->bytes = d->bytes;
    m->free_bytes = d->free_bytes;
    m->atomic_bytes = d->atomic_bytes;
    m->media_errors = d->media_errors;
    m->checksum_bytes = d->checksum_bytes;
    m->checksum_budget_bytes = d->checksum_budget_bytes;
    m->failure = text_message(d->failure, arena);
    health_message(d, m, arena);
    if (d->scrub.id != 0)
        m->scrub = scrub_message(&d->scrub, arena);
    return m;
}

static Trilith__V1__DiskProblem *problem_message(const struct node_disk_problem *p,
                                                 struct arena *arena)
{
    Trilith__V1__DiskProblem *m = arena_alloc(arena, sizeof *m);

    trilith__v1__disk_problem__init(m);
    m->path = text_message(p->path, arena);
    m->text = text_message(p->text, arena);
    return m;
}

static Trilith__V1__VolumeDiskReport *volume_disk_message(const struct node_volume_disk *d,
                                                          struct arena *arena)
{
    Trilith__V1__VolumeDiskReport *m = arena_alloc(arena, sizeof *m);

    trilith__v1__volume_disk_report__init(m);
    m->uuid = arena_uuid_bytes(arena, d->uuid);
    m->problem = text_message(d->problem, arena);
    m->unusable = d->unusable;
    m->holds_writes = d->holds_writes;
    m->resync_bytes = d->resync_bytes;
    m->resynced_bytes = d->resynced_bytes;
    return m;
}

static Trilith__V1__VerifiedReplicaReport *verified_message(const struct volume_verify_replica *r,
                                                            struct arena *arena)
{
    Trilith__V1__VerifiedReplicaReport *m = arena_alloc(arena, sizeof *m);

    trilith__v1__verified_replica_report__init(m);
    m->whole = r->whole;
    m->bad_blocks = r->bad_blocks;
    m->differing_blocks = r->differing_blocks;
    m->unread_bytes = r->unread_bytes;
    if (r->whole) {
        m->sha256.len = sizeof r->sha256;
        m->sha256.data = arena_alloc(arena, sizeof r->sha256);
        memcpy(m->sha256.data, r->sha256, sizeof r->sha256);
    }
    return m;
}

static Trilith__V1__VerificationFindingReport *finding_message(
    const struct volume_verify_finding *f, struct arena *arena)
{
    Trilith__V1__VerificationFindingReport *m = arena_alloc(arena, sizeof *m);

    trilith__v1__verification_finding_report__init(m);
    m->problem = (uint32_t)f->kind;
    m->replica = f->replica + 1;
    m->disk_uuid = arena_uuid_bytes(arena, f->disk);
    m->offset = f->at;
    m->bytes = f->bytes;
    if (f->kind == VOLUME_VERIFY_UNREAD)
        m->reason = arena_text(arena, status_text(f->why));
    return m;
}

static Trilith__V1__VerificationReport *verification_message(const struct node_verification *v,
                                                             struct arena *arena)
{
    Trilith__V1__VerificationReport *m = arena_alloc(arena, sizeof *m);
    const struct volume_verify *const r = &v->result;

    trilith__v1__verification_report__init(m);
    m->id = v->id;
    m->ended = v->ended;
    if (v->ended && !status_ok(v->status))
        m->failure = arena_text(arena, status_text(v->status));
    m->bytes = r->bytes;
    m->done_bytes = r->done_bytes;
    m->good = v->ended && status_ok(v->status) && volume_verify_is_good(r);
    m->n_replicas = r->replica_count;
    m->replicas = arena_alloc(arena, m->n_replicas * sizeof *m->replicas);
    for (size_t i = 0; i < m->n_replicas; i++)
        m->replicas[i] = verified_message(&r->replicas[i], arena);
    m->n_findings = r->finding_count;
    m->findings = arena_alloc(arena, m->n_findings * sizeof *m->findings);
    for (size_t i = 0; i < m->n_findings; i++)
        m->findings[i] = finding_message(&r->findings[i], arena);
    m->findings_left = r->findings_left;
    return m;
}

static Trilith__V1__VolumeRangeReport *range_message(const struct volume_range *r,
                                                     struct arena *arena)
{
    Trilith__V1__VolumeRangeReport *m = arena_alloc(arena, sizeof *m);

    trilith__v1__volume_range_report__init(m);
    m->offset = r->offset;
    m->bytes = r->bytes;
    return m;
}

static Trilith__V1__VolumeReport *volume_message(const struct node_volume_report *v,
                                                 struct arena *arena)
{
    Trilith__V1__VolumeReport *m = arena_alloc(arena, sizeof *m);

    trilith__v1__volume_report__init(m);
    m->uuid = arena_uuid_bytes(arena, v->uuid);
    m->state = (Trilith__V1__VolumeReportState)v->state;
    m->reason = text_message(v->reason, arena);
    m->epoch = v->epoch;
    m->used_bytes = v->used_bytes;
    m->bytes = v->bytes;
    m->resync_compared_bytes = v->resync_compared_bytes;
    m->resync_copied_bytes = v->resync_copied_bytes;
    m->n_unreadable = v->unreadable_count;
    m->unreadable = arena_alloc(arena, m->n_unreadable * sizeof *m->unreadable);
    for (size_t i = 0; i < m->n_unreadable; i++)
        m->unreadable[i] = range_message(&v->unreadable[i], arena);
    m->unreadable_more = v->unreadable_more;
    m->n_connected_hosts = v->connected_host_count;
    m->connected_hosts = arena_alloc(arena, m->n_connected_hosts * sizeof *m->connected_hosts);
    for (size_t i = 0; i < m->n_connected_hosts; i++)
        m->connected_hosts[i] = text_message(v->connected_hosts[i].s, arena);
    m->n_disks = v->disk_count;
    m->disks = arena_alloc(arena, m->n_disks * sizeof *m->disks);
    for (size_t i = 0; i < m->n_disks; i++)
        m->disks[i] = volume_disk_message(&v->disks[i], arena);
    m->n_forgotten = v->forgotten_count;
    m->forgotten = arena_alloc(arena, m->n_forgotten * sizeof *m->forgotten);
    for (size_t i = 0; i < m->n_forgotten; i++)
        m->forgotten[i] = arena_uuid_bytes(arena, v->forgotten[i]);
    if (v->verification != NULL)
        m->verification = verification_message(v->verification, arena);
    m->n_mends = v->mend_count;
    m->mends = arena_alloc(arena, m->n_mends * sizeof *m->mends);
    for (size_t i = 0; i < m->n_mends; i++)
        m->mends[i] = mend_message(&v->mends[i], arena);
    return m;
}

static Trilith__V1__OrderResult *result_message(const struct node_order_result *r,
                                                struct arena *arena)
{
    Trilith__V1__OrderResult *m = arena_alloc(arena, sizeof *m);

    trilith__v1__order_result__init(m);
    m->id = r->id;
    m->problem = text_message(r->problem, arena);
    return m;
}

static void add_io_features(Trilith__V1__ReportStatusRequest *m, uint64_t features,
                            struct arena *arena)
{
    const char *names[URING_FEATURES_COUNT];

    m->n_io_features = uring_features_names(features, names);
    m->io_features = arena_alloc(arena, m->n_io_features * sizeof *m->io_features);
    for (size_t i = 0; i < m->n_io_features; i++)
        m->io_features[i] = arena_text(arena, names[i]);
}

static void add_refusals(Trilith__V1__ReportStatusRequest *m, const uint64_t counts[STATUS_COUNT],
                         struct arena *arena)
{
    m->refusals = arena_alloc(arena, STATUS_COUNT * sizeof *m->refusals);
    for (unsigned i = 0; i < STATUS_COUNT; i++) {
        if (counts[i] == 0)
            continue;
        Trilith__V1__RefusalCount *const r = arena_alloc(arena, sizeof *r);
        trilith__v1__refusal_count__init(r);
        r->status = arena_text(arena, status_name((struct status) { (enum status_code)i }));
        r->count = counts[i];
        m->refusals[m->n_refusals++] = r;
    }
}

/*
 * How large a report becomes.  A number takes up to 10 bytes, a text's or a message's length up to
 * 3, and a tag up to 2.
 */
#define NUMBER_BYTES      12u
#define UUID_BYTES        (16u + 3u)
#define TEXT_BYTES(bytes) ((bytes) + 5u)
#define REASON_BYTES      TEXT_BYTES(NODE_REASON_BYTES)
#define DISK_BYTES                                                                               \
    (UUID_BYTES + TEXT_BYTES(STORE_NAME_BYTES) + TEXT_BYTES(NODE_PATH_BYTES) +                   \
     3u * TEXT_BYTES(48u) + 2u * REASON_BYTES + TEXT_BYTES(DEVICE_LOG_TEXT_BYTES) + UUID_BYTES + \
     32u * NUMBER_BYTES)
#define DISK_PROBLEM_BYTES   (TEXT_BYTES(NODE_PATH_BYTES) + REASON_BYTES + 5u)
#define VOLUME_PROBLEM_BYTES (UUID_BYTES + REASON_BYTES + 5u * NUMBER_BYTES)
#define VOLUME_BYTES                                                                            \
    (UUID_BYTES + REASON_BYTES + NODE_VOLUME_HOSTS_MAX * TEXT_BYTES(NQN_BYTES_MAX) +            \
     NODE_VOLUME_PROBLEMS_MAX * VOLUME_PROBLEM_BYTES + NODE_VOLUME_FORGOTTEN_MAX * UUID_BYTES + \
     VOLUME_UNREADABLE_MAX * 3u * NUMBER_BYTES + 16u * NUMBER_BYTES)
/* Verifications and repairs are under way of few volumes at a time: 8, and one of each of the
 * cluster's 1,024 disks (ctl/limits.h). */
#define UNDER_WAY_BYTES (1u << 20)
/* Results of orders, refusals, and what is used of the kernel. */
#define OTHER_BYTES (64u << 10)
static_assert(NODE_DISKS_MAX * (DISK_BYTES + DISK_PROBLEM_BYTES) + NODE_VOLUMES_MAX * VOLUME_BYTES +
                      UNDER_WAY_BYTES + OTHER_BYTES <
                  RPC_REQUEST_BYTES_MAX,
              "the largest report fits in one request");

Trilith__V1__ReportStatusRequest *agent_report(const struct node_report *report, struct uuid node,
                                               struct arena *arena)
{
    Trilith__V1__ReportStatusRequest *m = arena_alloc(arena, sizeof *m);

    trilith__v1__report_status_request__init(m);
    m->node_uuid = arena_uuid_bytes(arena, node);
    m->revision = report->revision;
    m->n_disks = report->disk_count;
    m->disks = arena_alloc(arena, m->n_disks * sizeof *m->disks);
    for (size_t i = 0; i < m->n_disks; i++)
        m->disks[i] = disk_message(&report->disks[i], arena);
    m->n_disk_problems = report->problem_count;
    m->disk_problems = arena_alloc(arena, m->n_disk_problems * sizeof *m->disk_problems);
    for (size_t i = 0; i < m->n_disk_problems; i++)
        m->disk_problems[i] = problem_message(&report->problems[i], arena);
    m->n_volumes = report->volume_count;
    m->volumes = arena_alloc(arena, m->n_volumes * sizeof *m->volumes);
    for (size_t i = 0; i < m->n_volumes; i++)
        m->volumes[i] = volume_message(&report->volumes[i], arena);
    m->n_orders = report->result_count;
    m->orders = arena_alloc(arena, m->n_orders * sizeof *m->orders);
    for (size_t i = 0; i < m->n_orders; i++)
        m->orders[i] = result_message(&report->results[i], arena);
    add_io_features(m, report->io_features, arena);
    add_refusals(m, report->refusals, arena);
    m->n_heard_node_uuids = report->heard_count;
    m->heard_node_uuids = arena_alloc(arena, m->n_heard_node_uuids * sizeof *m->heard_node_uuids);
    for (size_t i = 0; i < m->n_heard_node_uuids; i++)
        m->heard_node_uuids[i] = arena_uuid_bytes(arena, report->heard[i]);
    return m;
}
