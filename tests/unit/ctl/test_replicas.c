/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes of several replicas: what is recorded of them, what the node is told, and what cannot be.
 */
#include <string.h>

#include "ctl/limits.h"
#include "ctl_fixture.h"
#include "meta/groups.h"
#include "repl/group_steps.h"

#define READY    TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY
#define V_PREFIX "volume 'db1': "

static struct fake_node nodes[5];
static struct group group;

static void join(struct fixture *f, unsigned count, unsigned disks)
{
    for (unsigned i = 0; i < count; i++) {
        node_init(&nodes[i], i + 1, disks, 100 * GIB);
        (void)node_join(f, &nodes[i]);
        node_report(f, &nodes[i]);
    }
}

static Trilith__V1__VolumeSpec spec_of(uint32_t replicas)
{
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;

    spec.name = (char *)(uintptr_t) "db1";
    spec.bytes = 10 * GIB;
    spec.replicas = replicas;
    return spec;
}

static void create(struct fixture *f, Trilith__V1__VolumeSpec *spec, struct rpc_sim_call *call)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;

    request.spec = spec;
    call_start(f, CTL_SERVICE_VOLUME, CREATE, &request.base, call);
}

/* A creation that is recorded, and waits for the node. */
static void create_held(struct fixture *f, Trilith__V1__VolumeSpec *spec)
{
    struct rpc_sim_call call;

    create(f, spec, &call);
    assert_string_equal(call.ended ? call.text : "", "");
    assert_false(call.ended);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
}

static void refused(struct fixture *f, Trilith__V1__VolumeSpec *spec, enum rpc_code code,
                    const char *text)
{
    struct rpc_sim_call call;

    create(f, spec, &call);
    assert_true(call.ended);
    assert_int_equal(call.code, code);
    assert_string_equal(call.text, text);
    rpc_sim_call_fini(&call);
}

/* The volume in the part of the node that serves it; which that is in *out_node. */
static const Trilith__V1__DesiredVolume *part_of(struct fixture *f, unsigned count,
                                                 const Trilith__V1__WatchNodeResponse **out_part)
{
    const Trilith__V1__DesiredVolume *found = NULL;

    *out_part = NULL;
    for (unsigned i = 0; i < count; i++) {
        const Trilith__V1__WatchNodeResponse *part = node_part(f, &nodes[i]);
        if (part->n_volumes == 0)
            continue;
        assert_null(found); /* One node serves it. */
        assert_int_equal(part->n_volumes, 1);
        found = part->volumes[0];
        *out_part = part;
    }
    return found;
}

static void read_group(struct fixture *f, ProtobufCBinaryData volume)
{
    struct uuid uuid;

    memcpy(uuid.b, volume.data, sizeof uuid.b);
    assert_true(status_ok(group_record_get(f->meta, uuid, 0, &group, NULL)));
}

/* The disks of a shard as the node is told. */
static const uint8_t *disk_at(const Trilith__V1__WatchNodeResponse *part,
                              const Trilith__V1__DesiredVolume *v, size_t shard, uint32_t slot)
{
    assert_true(v->placement[shard] < v->n_tuples / v->replicas);
    return part->disk_uuids[v->tuples[v->placement[shard] * v->replicas + slot]].data;
}

/* Whether a copyset of the group's record has these disks in these slots. */
static bool group_has(const Trilith__V1__WatchNodeResponse *part,
                      const Trilith__V1__DesiredVolume *v, size_t shard)
{
    for (uint32_t n = 0; n < group.copyset_count; n++) {
        bool same = true;
        for (uint32_t slot = 0; slot < v->replicas; slot++)
            same &= memcmp(group.copysets[n].slots[slot].disk.b, disk_at(part, v, shard, slot),
                           16) == 0;
        if (same)
            return true;
    }
    return false;
}

/* Disks of the fixture have their node's number in byte 1, and their own in byte 2. */
static void check_tuples(struct fixture *f, const Trilith__V1__WatchNodeResponse *part,
                         const Trilith__V1__DesiredVolume *v, unsigned byte)
{
    read_group(f, v->uuid);
    for (size_t i = 0; i < v->n_placement; i++) {
        assert_true(group_has(part, v, i));
        for (uint32_t a = 0; a < v->replicas; a++)
            for (uint32_t b = a + 1; b < v->replicas; b++)
                assert_int_not_equal(disk_at(part, v, i, a)[byte], disk_at(part, v, i, b)[byte]);
    }
}

/* Replicas lie on different nodes; the group's record is there with the volume, and nothing is
 * promised yet; one node serves it. */
static void replicas_lie_on_different_nodes(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(3);
    const Trilith__V1__WatchNodeResponse *part;

    join(f, 4, 2);
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 4, &part);
    assert_non_null(v);
    assert_int_equal(v->replicas, 3);
    assert_int_equal(v->min_in_sync, 2);
    assert_int_equal(v->n_placement, 10);
    check_tuples(f, part, v, 1);
    assert_int_equal(group.sequence, 1);
    assert_int_equal(group.epoch, 0);
    for (uint32_t n = 0; n < group.copyset_count; n++) {
        assert_int_equal(group_members(&group, n), 7);
        assert_true(group_is_fresh(&group, n));
    }
    /* What is planned counts for every replica. */
    Trilith__V1__GetStatusRequest request = TRILITH__V1__GET_STATUS_REQUEST__INIT;
    const Trilith__V1__GetStatusResponse *status =
        call_reply(f, CTL_SERVICE_STATUS, 0, &request.base);
    assert_int_equal(status->planned_bytes, 30 * GIB);
}

/* A node is told where the disks of its volumes are, and told again when one has moved. */
static void places_of_disks(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);
    Trilith__V1__JoinClusterRequest request = TRILITH__V1__JOIN_CLUSTER_REQUEST__INIT;
    const Trilith__V1__WatchNodeResponse *part;

    join(f, 2, 1);
    create_held(f, &spec);
    (void)part_of(f, 2, &part);
    assert_int_equal(part->n_places, 2);
    assert_int_equal(part->n_nodes, 2);
    for (size_t i = 0; i < 2; i++) {
        const uint8_t node = part->disk_uuids[i].data[1];
        assert_string_equal(part->places[i]->name, arena_printf(&f->arena, "node-%u/disk-1", node));
        assert_int_equal(part->nodes[part->places[i]->node]->uuid.data[1], node);
        assert_string_equal(part->nodes[i]->address, "192.0.2.1");
        assert_string_equal(part->nodes[i]->name,
                            arena_printf(&f->arena, "node-%u", part->nodes[i]->uuid.data[1]));
        assert_int_equal(part->nodes[i]->port, 4420);
    }
    for (unsigned i = 0; i < 2; i++) { /* Whichever serves it hears of the other. */
        const uint64_t revision = part->revision;
        request.node_uuid = arena_uuid_bytes(&f->arena, nodes[i].uuid);
        request.name = nodes[i].name;
        request.address = arena_text(&f->arena, "192.0.2.9");
        request.port = 4420;
        (void)call_reply(f, CTL_SERVICE_NODE, JOIN, &request.base);
        (void)part_of(f, 2, &part);
        if (part->revision == revision)
            continue;
        (void)call_reply(f, CTL_SERVICE_NODE, JOIN, &request.base);
        const uint64_t told = part->revision;
        (void)part_of(f, 2, &part);
        assert_int_equal(part->revision, told); /* It is where it was. */
        return;
    }
    fail();
}

/* Two nodes are too few for three replicas: that is said, and what would do. */
static void too_few_nodes(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(3);

    refused(f, &spec, RPC_UNAVAILABLE,
            V_PREFIX "3 replicas need 3 nodes with a working disk, and there are 0");
    join(f, 3, 2);
    nodes[2].disk_failed[0] = nodes[2].disk_failed[1] = true;
    node_report(f, &nodes[2]);
    refused(f, &spec, RPC_UNAVAILABLE,
            V_PREFIX "3 replicas need 3 nodes with a working disk, and there are 2 of 3; "
                     "--allow-degraded makes it all the same, with several replicas on one node");
    const Trilith__V1__WatchNodeResponse *part;
    assert_null(part_of(f, 3, &part));
}

/* Asked for all the same, they lie on different disks, over as many nodes as there are. */
static void degraded_on_the_disks_of_a_node(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(3);
    const Trilith__V1__WatchNodeResponse *part;
    struct rpc_sim_call call;

    join(f, 1, 3);
    spec.allow_degraded = true;
    create(f, &spec, &call);
    const Trilith__V1__DesiredVolume *v = part_of(f, 1, &part);
    assert_non_null(v);
    check_tuples(f, part, v, 2);
    assert_int_equal(group.copyset_count, 3); /* Each disk is first in one of them. */
    (void)node_says(f, &nodes[0], v->uuid, READY);
    node_report(f, &nodes[0]);
    assert_true(call.ended);
    const Trilith__V1__CreateVolumeResponse *r =
        (const Trilith__V1__CreateVolumeResponse *)(const void *)call.reply;
    assert_int_equal(r->n_warnings, 1);
    assert_non_null(strstr(r->warnings[0], "replicas of the same data lie on one node"));
    rpc_sim_call_fini(&call);
}

static void degraded_uses_all_nodes(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(3);
    const Trilith__V1__WatchNodeResponse *part;

    join(f, 2, 8);
    spec.allow_degraded = true;
    spec.bytes = 60 * GIB;
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 2, &part);
    for (size_t i = 0; i < v->n_placement; i++) {
        bool has[3] = { false };
        for (uint32_t slot = 0; slot < 3; slot++)
            has[disk_at(part, v, i, slot)[1]] = true;
        assert_true(has[1] && has[2]);
    }
}

/* Never on one disk. */
static void too_few_disks(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(3);

    join(f, 1, 2);
    spec.allow_degraded = true;
    refused(f, &spec, RPC_UNAVAILABLE,
            V_PREFIX "3 replicas need 3 working disks, also where several are of one node, and "
                     "there are 2");
}

/* A volume may lie on all nodes that a cluster can have. */
static void the_widest_stride(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(3);
    struct fake_node many;

    for (unsigned i = 1; i <= CTL_NODES_MAX; i++) {
        node_init(&many, i, 1, 100 * GIB);
        (void)node_join(f, &many);
        node_report(f, &many);
    }
    spec.stride_nodes = CTL_NODES_MAX;
    spec.bytes = 1000 * GIB;
    create_held(f, &spec);
    assert_true(get_volume(f, "db1")->n_disks > CTL_NODES_MAX / 2);
}

/* Volume and group are there together, or neither is. */
static void one_transaction(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);
    const Trilith__V1__WatchNodeResponse *part;

    join(f, 2, 1);
    meta_sim_fault_next(f->meta, META_SIM_FAULT_REFUSE);
    refused(f, &spec, RPC_UNAVAILABLE, V_PREFIX "unavailable");
    assert_null(part_of(f, 2, &part));
    meta_sim_fault_next(f->meta, META_SIM_FAULT_LOSE);
    refused(f, &spec, RPC_UNAVAILABLE, V_PREFIX "unavailable");
    const Trilith__V1__DesiredVolume *v = part_of(f, 2, &part);
    assert_int_equal(v->min_in_sync, 1);
    check_tuples(f, part, v, 1);
    create_held(f, &spec); /* The same again finds it. */
}

/* What cannot be is refused with what would be right. */
static void wrong_numbers(void **state)
{
    static const struct {
        uint32_t replicas, min_in_sync, stride;
        const char *text;
    } bad[] = {
        { 4, 0, 0, "it cannot have 4 replicas, but 1, 2 or 3" },
        { 2, 3, 0, "of 2 replicas 3 can never be in sync; --min-in-sync is at most 2" },
        { 0, 2, 0, "of 1 replica 2 can never be in sync; --min-in-sync is at most 1" },
        { 1, 0, 2, "one replica lies on one node; --stride is for 2 or 3 replicas" },
        { 3, 0, 2, "a stride of 2 nodes has no room for 3 replicas; it has at least 3" },
        { 2, 0, 65, "a stride of 65 nodes is more than a cluster has, 64" },
    };
    struct fixture *f = *state;

    join(f, 4, 1);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        Trilith__V1__VolumeSpec spec = spec_of(bad[i].replicas);
        spec.min_in_sync = bad[i].min_in_sync;
        spec.stride_nodes = bad[i].stride;
        refused(f, &spec, RPC_INVALID_ARGUMENT,
                arena_printf(&f->arena, V_PREFIX "%s", bad[i].text));
    }
}

/* The stride bounds the nodes, also of what is added. */
static void growth_adds_copysets_within_the_stride(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);
    Trilith__V1__ResizeVolumeRequest request = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    const Trilith__V1__WatchNodeResponse *before, *after;
    struct rpc_sim_call call;

    join(f, 5, 6);
    spec.stride_nodes = 2;
    spec.stripe_width = 2;
    spec.bytes = 2 * GIB;
    spec.shard_bytes = GIB;
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 5, &before);
    read_group(f, v->uuid);
    const struct group was = group;
    assert_int_equal(was.copyset_count, 2);

    request.name = spec.name;
    request.bytes = 12 * GIB;
    call_start(f, CTL_SERVICE_VOLUME, RESIZE, &request.base, &call);
    assert_false(call.ended);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    const Trilith__V1__DesiredVolume *grown = part_of(f, 5, &after);
    assert_int_equal(grown->n_placement, 12);
    assert_int_equal(grown->first_run_shards, 2);
    check_tuples(f, after, grown, 1);
    assert_int_equal(group.sequence, was.sequence + 1);
    assert_true(group.copyset_count > 2);
    assert_memory_equal(group.copysets, was.copysets, 2 * sizeof was.copysets[0]);
    bool nodes_used[6] = { false };
    for (size_t i = 0; i < 12; i++)
        for (uint32_t slot = 0; slot < 2; slot++) {
            nodes_used[disk_at(after, grown, i, slot)[1]] = true;
            if (i < 2) /* V1 */
                assert_memory_equal(disk_at(after, grown, i, slot), disk_at(before, v, i, slot),
                                    16);
        }
    unsigned count = 0;
    for (unsigned i = 1; i < 6; i++)
        count += nodes_used[i];
    assert_int_equal(count, 2);
}

/* 11.7: the group's record goes first, so that nobody takes an epoch any more; the node is told
 * the next one. */
static void deletion_takes_the_group_first(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);
    Trilith__V1__DeleteVolumeRequest request = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    Trilith__V1__TakeEpochRequest take = TRILITH__V1__TAKE_EPOCH_REQUEST__INIT;
    const Trilith__V1__WatchNodeResponse *part;
    struct rpc_sim_call call;

    join(f, 1, 2);
    spec.allow_degraded = true;
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 1, &part);
    take.node_uuid = arena_uuid_bytes(&f->arena, nodes[0].uuid);
    take.volume_uuid = v->uuid;
    const Trilith__V1__TakeEpochResponse *taken =
        call_reply(f, CTL_SERVICE_NODE, TAKE_EPOCH, &take.base);
    assert_int_equal(taken->epoch, 1);

    request.name = spec.name;
    call_start(f, CTL_SERVICE_VOLUME, DELETE, &request.base, &call);
    assert_false(call.ended);
    struct uuid uuid;
    memcpy(uuid.b, v->uuid.data, 16);
    assert_true(status_is(group_record_get(f->meta, uuid, 0, &group, NULL), STATUS_NOT_FOUND));
    (void)call_text(f, CTL_SERVICE_NODE, TAKE_EPOCH, &take.base, RPC_NOT_FOUND);
    v = part_of(f, 1, &part);
    assert_true(v->deleting);
    assert_int_equal(v->delete_epoch, 2);
    assert_int_equal(v->n_tuples, 4); /* Where its data are to be deleted. */
    (void)node_says(f, &nodes[0], v->uuid,
                    TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_DELETED);
    node_report(f, &nodes[0]);
    assert_true(call.ended);
    rpc_sim_call_fini(&call);
    assert_null(part_of(f, 1, &part));
}

/* ---- SetVolume ---- */

static const Trilith__V1__Volume *set(struct fixture *f, uint32_t min_in_sync)
{
    Trilith__V1__SetVolumeRequest request = TRILITH__V1__SET_VOLUME_REQUEST__INIT;

    request.name = arena_text(&f->arena, "db1");
    request.min_in_sync = min_in_sync;
    const Trilith__V1__SetVolumeResponse *r = call_reply(f, CTL_SERVICE_VOLUME, SET, &request.base);
    return r->volume;
}

static const char *set_refused(struct fixture *f, uint32_t min_in_sync, enum rpc_code code)
{
    Trilith__V1__SetVolumeRequest request = TRILITH__V1__SET_VOLUME_REQUEST__INIT;

    request.name = arena_text(&f->arena, "db1");
    request.min_in_sync = min_in_sync;
    return call_text(f, CTL_SERVICE_VOLUME, SET, &request.base, code);
}

/* Another node is to serve it; the call may be held. */
static void move_start(struct fixture *f, const char *node, struct rpc_sim_call *call)
{
    Trilith__V1__SetVolumeRequest request = TRILITH__V1__SET_VOLUME_REQUEST__INIT;

    request.name = arena_text(&f->arena, "db1");
    request.node = arena_text(&f->arena, node);
    request.wait_ms = 3000;
    call_start(f, CTL_SERVICE_VOLUME, SET, &request.base, call);
}

/* The move has ended so; rpc_sim_call_fini(). */
static void moved(struct rpc_sim_call *call, const char *node, const char *before,
                  Trilith__V1__VolumeState state)
{
    assert_true(call->ended);
    assert_string_equal(call->text, "");
    const Trilith__V1__SetVolumeResponse *r =
        (const Trilith__V1__SetVolumeResponse *)(const void *)call->reply;
    assert_string_equal(r->volume->targets[0]->node, node);
    assert_string_equal(r->node_before, before);
    assert_int_equal(r->volume->state, state);
    rpc_sim_call_fini(call);
}

static const char *move_refused(struct fixture *f, const char *node, enum rpc_code code)
{
    Trilith__V1__SetVolumeRequest request = TRILITH__V1__SET_VOLUME_REQUEST__INIT;

    request.name = arena_text(&f->arena, "db1");
    request.node = arena_text(&f->arena, node);
    return call_text(f, CTL_SERVICE_VOLUME, SET, &request.base, code);
}

/* ---- What is shown ---- */

static void exclude(struct fixture *f, struct uuid volume, struct uuid disk)
{
    struct group_session sessions[GROUP_SLOTS];
    struct group_view view = { { sessions, 0 }, 1, rpc_wall_ns(&f->sim.loop) / MS - 90000 };
    struct group_reason reason;
    struct meta_txn txn;
    uint64_t revision;

    assert_true(status_ok(group_record_get(f->meta, volume, 0, &group, &revision)));
    for (unsigned slot = 0; slot < GROUP_SLOTS; slot++)
        if (group.copysets[0].slots[slot].state == GROUP_SLOT_IN)
            sessions[view.sessions.count++] =
                (struct group_session) { group.copysets[0].slots[slot].disk, 100 + slot };
    assert_true(status_ok(group_take_over(&group, &view, false, &group, &reason)));
    assert_true(status_ok(group_exclude(&group, &view, disk, &group, &reason)));
    meta_txn_init(&txn);
    group_record_put(&txn, volume, 0, &group, revision);
    assert_true(status_ok(meta_commit(f->meta, &txn, NULL)));
    meta_txn_fini(&txn);
}

static const char *all_problems(struct fixture *f)
{
    Trilith__V1__GetStatusRequest request = TRILITH__V1__GET_STATUS_REQUEST__INIT;
    const Trilith__V1__GetStatusResponse *status =
        call_reply(f, CTL_SERVICE_STATUS, 0, &request.base);
    const char *all = "";

    for (size_t i = 0; i < status->n_problems; i++)
        all = arena_printf(&f->arena, "%s%s\n", all, status->problems[i]);
    return all;
}

/* A disk that is out of sync is shown with since when, and makes the volume degraded; so is what
 * its engine says, and where shards lie if that is asked for. */
static void replicas_are_shown(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(3);
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    const Trilith__V1__WatchNodeResponse *part;
    struct uuid volume, disk;

    join(f, 3, 1);
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 3, &part);
    memcpy(volume.b, v->uuid.data, 16);
    const Trilith__V1__Volume *shown = get_volume(f, "db1");
    assert_int_equal(shown->spec->min_in_sync, 2);
    assert_int_equal(shown->n_copysets, 3); /* Of one set of disks, each first in one. */
    assert_int_equal(shown->n_degraded, 0);
    assert_int_equal(shown->n_places, 0);
    uint32_t shards = 0;
    for (size_t i = 0; i < shown->n_copysets; i++) {
        shards += shown->copysets[i]->shards;
        assert_int_equal(shown->copysets[i]->n_replicas, 3);
        assert_true(shown->copysets[i]->replicas[0]->in_sync);
    }
    assert_int_equal(shards, shown->shards);

    memcpy(disk.b, disk_at(part, v, 0, 1), 16);
    const char *name = arena_printf(&f->arena, "node-%u/disk-1", disk.b[1]);
    exclude(f, volume, disk);
    shown = get_volume(f, "db1");
    assert_int_equal(shown->n_degraded, 1);
    assert_string_equal(shown->degraded[0],
                        arena_printf(&f->arena,
                                     "disk '%s' is out of sync in 3 of 3 copysets, for "
                                     "90 s",
                                     name));
    unsigned out = 0;
    for (size_t i = 0; i < 9; i++) {
        const Trilith__V1__VolumeReplica *m = shown->copysets[i / 3]->replicas[i % 3];
        out += m->in_sync ? 0 : 1;
        assert_int_equal(m->in_sync, strcmp(m->disk, name) != 0);
        assert_int_equal(m->in_sync, m->out_since_unix_ms == 0);
        assert_memory_equal(m->node, m->disk, strlen(m->node));
    }
    assert_int_equal(out, 3);
    assert_non_null(strstr(all_problems(f), "volume 'db1': degraded: disk '"));

    request.name = spec.name;
    request.with_places = true;
    const Trilith__V1__GetVolumeResponse *r = call_reply(f, CTL_SERVICE_VOLUME, GET, &request.base);
    assert_int_equal(r->volume->n_places, 10);
    assert_string_equal(r->volume->places[0]->disks[1], name);
    assert_int_equal(r->volume->places[9]->shard, 9);
}

/* Why writes wait is what the volume's node says. */
static void why_writes_wait(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);
    Trilith__V1__VolumeDiskReport problem = TRILITH__V1__VOLUME_DISK_REPORT__INIT;
    Trilith__V1__VolumeDiskReport *problems[1] = { &problem };
    const Trilith__V1__WatchNodeResponse *part;

    join(f, 1, 2);
    spec.allow_degraded = true;
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 1, &part);
    Trilith__V1__VolumeReport *said = node_says(f, &nodes[0], v->uuid, READY);
    problem.uuid = part->disk_uuids[1];
    problem.problem = arena_text(&f->arena, "I/O error");
    problem.holds_writes = true;
    said->disks = problems;
    said->n_disks = 1;
    node_report(f, &nodes[0]);
    const Trilith__V1__Volume *shown = get_volume(f, "db1");
    const char *wait = arena_printf(&f->arena,
                                    "for disk 'node-1/disk-%u' (I/O error), without which too few "
                                    "replicas would be left",
                                    part->disk_uuids[1].data[2] + 1u);
    assert_string_equal(shown->writes_wait, wait); /* One must be: there is no way without it. */
    assert_string_equal(shown->degraded[0], "replicas of the same data lie on one node");
    const char *all = all_problems(f);
    assert_non_null(strstr(all, "volume 'db1': writes wait: for disk"));
    assert_non_null(strstr(all, "volume 'db1': degraded: replicas of the same data"));
    assert_int_equal(set(f, 2)->spec->min_in_sync, 2);
    assert_non_null(strstr(get_volume(f, "db1")->writes_wait,
                           "left; if it is gone for good, 'trilith volume set --min-in-sync' goes "
                           "on without it"));
    problem.holds_writes = false;
    node_report(f, &nodes[0]);
    assert_string_equal(get_volume(f, "db1")->writes_wait, "");
}

/* What keeps a disk out, or how far its resync is, is shown with it. */
static void how_far_a_resync_is(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);
    Trilith__V1__VolumeDiskReport report = TRILITH__V1__VOLUME_DISK_REPORT__INIT;
    Trilith__V1__VolumeDiskReport *reports[1] = { &report };
    const Trilith__V1__WatchNodeResponse *part;
    struct uuid volume, disk;

    join(f, 1, 2);
    spec.allow_degraded = true;
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 1, &part);
    memcpy(volume.b, v->uuid.data, 16);
    memcpy(disk.b, part->disk_uuids[1].data, 16);
    Trilith__V1__VolumeReport *said = node_says(f, &nodes[0], v->uuid, READY);
    exclude(f, volume, disk);
    report.uuid = part->disk_uuids[1];
    report.problem = arena_text(&f->arena, "its node cannot be reached");
    said->disks = reports;
    said->n_disks = 1;
    node_report(f, &nodes[0]);
    assert_non_null(strstr(all_problems(f), " copysets, for 90 s: its node cannot be reached\n"));
    report.problem = arena_text(&f->arena, "");
    report.resync_bytes = 30 << 20;
    report.resynced_bytes = 10 << 20;
    node_report(f, &nodes[0]);
    assert_non_null(strstr(all_problems(f), " for 90 s, and is being resynced: 33%\n"));
    const Trilith__V1__Volume *shown = get_volume(f, "db1");
    for (size_t i = 0; i < 2; i++)
        if (!shown->copysets[0]->replicas[i]->in_sync)
            assert_int_equal(shown->copysets[0]->replicas[i]->resynced_bytes, 10 << 20);
}

/* The same again is the same volume; other numbers are another one. */
static void what_differs_is_named(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);

    join(f, 4, 1);
    create_held(f, &spec);
    create_held(f, &spec);
    spec.replicas = 3;
    refused(f, &spec, RPC_ALREADY_EXISTS,
            V_PREFIX "it exists with another number of replicas (it has 10G)");
    spec.replicas = 2;
    spec.min_in_sync = 2;
    refused(f, &spec, RPC_ALREADY_EXISTS,
            V_PREFIX "it exists with another number of replicas in sync (it has 10G)");
    spec.min_in_sync = 0;
    spec.stride_nodes = 3;
    refused(f, &spec, RPC_ALREADY_EXISTS, V_PREFIX "it exists with another stride (it has 10G)");
}

/* 11.10: with an epoch that is nobody's, and not more than every copyset has. */
static void another_min_in_sync(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);
    const Trilith__V1__WatchNodeResponse *part;
    struct uuid volume, disk;

    join(f, 1, 2);
    spec.allow_degraded = true;
    spec.min_in_sync = 2;
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 1, &part);
    memcpy(volume.b, v->uuid.data, 16);
    memcpy(disk.b, part->disk_uuids[1].data, 16);
    const uint64_t revision = part->revision;
    (void)node_says(f, &nodes[0], v->uuid, READY);
    node_report(f, &nodes[0]);
    assert_int_equal(set(f, 2)->spec->min_in_sync, 2); /* It is so. */
    assert_int_equal(set(f, 0)->spec->min_in_sync, 2); /* As it is. */
    assert_int_equal(part_of(f, 1, &part)->min_in_sync, 2);
    assert_int_equal(part->revision, revision);
    read_group(f, part->volumes[0]->uuid);
    const uint64_t epoch = group.epoch;
    assert_string_equal(set_refused(f, 3, RPC_INVALID_ARGUMENT),
                        V_PREFIX "of 2 replicas 3 can never be in sync; --min-in-sync is at most "
                                 "2");

    assert_int_equal(set(f, 1)->spec->min_in_sync, 1);
    assert_int_equal(part_of(f, 1, &part)->min_in_sync, 1);
    assert_true(part->revision > revision);
    read_group(f, part->volumes[0]->uuid);
    assert_int_equal(group.epoch, epoch + 1);
    assert_int_equal(set(f, 2)->spec->min_in_sync, 2);
    read_group(f, part->volumes[0]->uuid);
    assert_int_equal(group.epoch, epoch + 2);

    assert_int_equal(set(f, 1)->spec->min_in_sync, 1);
    exclude(f, volume, disk);
    const char *all = arena_printf(&f->arena,
                                   V_PREFIX "in %u of %u copysets fewer than 2 replicas are in "
                                            "sync now; 'trilith volume wait db1' waits until all "
                                            "are",
                                   group.copyset_count, group.copyset_count);
    assert_string_equal(set_refused(f, 2, RPC_FAILED_PRECONDITION), all);
    assert_int_equal(part_of(f, 1, &part)->min_in_sync, 1);
    read_group(f, part->volumes[0]->uuid);
    assert_int_equal(group.epoch, epoch + 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#define FAILED     TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_FAILED
#define DELETED    TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_DELETED
#define STATE(s)   TRILITH__V1__VOLUME_STATE__VOLUME_STATE_##s

/* A volume of two replicas on three nodes: the node that serves it, and the next one. */
static const Trilith__V1__DesiredVolume *create_on_three(struct fixture *f,
                                                         struct fake_node **out_server,
                                                         struct fake_node **out_next)
{
    Trilith__V1__VolumeSpec spec = spec_of(2);
    const Trilith__V1__WatchNodeResponse *part;
    unsigned server = 0;

    join(f, 3, 1);
    create_held(f, &spec);
    const Trilith__V1__DesiredVolume *v = part_of(f, 3, &part);
    while (node_part(f, &nodes[server])->n_volumes == 0)
        server++;
    *out_server = &nodes[server];
    *out_next = &nodes[(server + 1) % 3];
    return v;
}

/* Another node serves it from then on, whether the one before reports or not; nobody else may. */
static void another_node(void **state)
{
    struct fixture *f = *state;
    struct fake_node *server, *next;
    struct rpc_sim_call call;

    const Trilith__V1__DesiredVolume *v = create_on_three(f, &server, &next);
    struct uuid volume;
    memcpy(volume.b, v->uuid.data, 16);
    read_group(f, v->uuid);
    const uint64_t epoch = group.epoch;

    assert_string_equal(move_refused(f, "node-9", RPC_NOT_FOUND),
                        V_PREFIX "there is no node 'node-9'; 'trilith node list' shows all");
    move_start(f, next->name, &call);
    assert_false(call.ended);
    assert_int_equal(node_part(f, server)->n_volumes, 0);
    const Trilith__V1__WatchNodeResponse *part = node_part(f, next);
    const uint64_t revision = part->revision;
    assert_memory_equal(part->volumes[0]->uuid.data, volume.b, 16);
    read_group(f, part->volumes[0]->uuid);
    assert_int_equal(group.epoch, epoch); /* It takes the next one itself. */
    (void)node_says(f, next, part->volumes[0]->uuid, READY);
    node_report(f, next);
    moved(&call, next->name, server->name, STATE(READY));
    move_start(f, next->name, &call); /* It is so. */
    moved(&call, next->name, "", STATE(READY));
    assert_int_equal(node_part(f, next)->revision, revision);

    rpc_sim_advance(&f->sim, 12000 * MS);
    move_start(f, next->name, &call); /* Likewise, and that it is silent is no news. */
    moved(&call, next->name, "", STATE(OFFLINE));
    node_report(f, next);
    assert_string_equal(
        move_refused(f, server->name, RPC_FAILED_PRECONDITION),
        arena_printf(&f->arena,
                     V_PREFIX "node '%s' does not report; 'trilith node list' shows which do",
                     server->name));
    server->roles[0] = TRILITH__V1__NODE_ROLE__NODE_ROLE_STORE;
    server->role_count = 1;
    (void)node_join(f, server);
    node_report(f, server);
    assert_string_equal(
        move_refused(f, server->name, RPC_FAILED_PRECONDITION),
        arena_printf(&f->arena,
                     V_PREFIX
                     "node '%s' has not the role 'target'; run it with --roles store,target",
                     server->name));
}

/* A node that cannot open it is waited for, for as long as was asked; why it cannot is said. */
static void a_node_that_cannot_serve(void **state)
{
    struct fixture *f = *state;
    struct fake_node *server, *next;
    struct rpc_sim_call call;

    const Trilith__V1__DesiredVolume *v = create_on_three(f, &server, &next);
    move_start(f, next->name, &call);
    Trilith__V1__VolumeReport *said = node_says(f, next, v->uuid, FAILED);
    said->reason = arena_text(&f->arena, "of 2 replicas in sync 0 can be reached");
    node_report(f, next);
    assert_false(call.ended);
    rpc_sim_advance(&f->sim, 2000 * MS);
    assert_false(call.ended);
    rpc_sim_advance(&f->sim, 1001 * MS);
    assert_string_equal(
        ((const Trilith__V1__SetVolumeResponse *)(const void *)call.reply)->volume->reason,
        "of 2 replicas in sync 0 can be reached");
    moved(&call, next->name, server->name, STATE(FAILED));

    Trilith__V1__SetVolumeRequest request = TRILITH__V1__SET_VOLUME_REQUEST__INIT;
    request.name = arena_text(&f->arena, "db1");
    request.node = arena_text(&f->arena, server->name);
    request.wait_ms = CTL_WAIT_MS_MAX + 1;
    (void)call_text(f, CTL_SERVICE_VOLUME, SET, &request.base, RPC_INVALID_ARGUMENT);
}

/* Of two changes none is made if one is refused; else both are, with one epoch. */
static void both_or_nothing(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__SetVolumeRequest request = TRILITH__V1__SET_VOLUME_REQUEST__INIT;
    const Trilith__V1__WatchNodeResponse *part;
    struct fake_node *server, *next;
    struct rpc_sim_call call;

    const Trilith__V1__DesiredVolume *v = create_on_three(f, &server, &next);
    read_group(f, v->uuid);
    const uint64_t epoch = group.epoch;
    request.name = arena_text(&f->arena, "db1");
    request.min_in_sync = 2;
    request.node = arena_text(&f->arena, "node-9");
    (void)call_text(f, CTL_SERVICE_VOLUME, SET, &request.base, RPC_NOT_FOUND);
    assert_int_equal(part_of(f, 3, &part)->min_in_sync, 1);
    read_group(f, v->uuid);
    assert_int_equal(group.epoch, epoch);
    request.min_in_sync = 3;
    request.node = arena_text(&f->arena, next->name);
    (void)call_text(f, CTL_SERVICE_VOLUME, SET, &request.base, RPC_INVALID_ARGUMENT);
    assert_int_equal(node_part(f, server)->n_volumes, 1);

    request.min_in_sync = 2;
    call_start(f, CTL_SERVICE_VOLUME, SET, &request.base, &call);
    assert_false(call.ended);
    part = node_part(f, next);
    assert_int_equal(part->volumes[0]->min_in_sync, 2);
    assert_int_equal(node_part(f, server)->n_volumes, 0);
    read_group(f, v->uuid);
    assert_int_equal(group.epoch, epoch + 1);
    (void)node_says(f, next, v->uuid, READY);
    node_report(f, next);
    moved(&call, next->name, server->name, STATE(READY));
}

/* 11.11: another node deletes it, with an epoch of its own; what the one before says of it counts
 * no more. */
static void another_node_deletes(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__DeleteVolumeRequest request = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    struct fake_node *server, *next;
    struct rpc_sim_call deletion, call;

    const Trilith__V1__DesiredVolume *v = create_on_three(f, &server, &next);
    request.name = arena_text(&f->arena, "db1");
    call_start(f, CTL_SERVICE_VOLUME, DELETE, &request.base, &deletion);
    const uint64_t epoch = node_part(f, server)->volumes[0]->delete_epoch;
    assert_string_equal(set_refused(f, 2, RPC_FAILED_PRECONDITION), V_PREFIX "it is being deleted");
    rpc_sim_advance(&f->sim, 12000 * MS);
    node_report(f, next);
    assert_string_equal(get_volume(f, "db1")->reason,
                        arena_printf(&f->arena,
                                     "waiting for node '%s', which does not report; 'trilith "
                                     "volume set --node' lets another one delete it",
                                     server->name));

    move_start(f, next->name, &call);
    moved(&call, next->name, server->name, STATE(DELETING));
    assert_int_equal(node_part(f, server)->n_volumes, 0);
    assert_true(node_part(f, next)->volumes[0]->deleting);
    assert_int_equal(node_part(f, next)->volumes[0]->delete_epoch, epoch + 1);
    (void)node_says(f, server, v->uuid, DELETED);
    node_report(f, server);
    assert_false(deletion.ended);
    (void)node_says(f, next, v->uuid, DELETED);
    node_report(f, next);
    assert_true(deletion.ended);
    rpc_sim_call_fini(&deletion);
}

/* What could not be read is told while its node reports, and what cannot be is refused. */
static void unreadable_ranges(void **state)
{
    static const struct {
        uint64_t offset, bytes;
    } wrong[] = { { 0, 0 },
                  { 512, 4096 },
                  { 0, 512 },
                  { UINT64_MAX - 4095, 4096 },
                  { 4096, UINT64_C(1) << 53 } };
    struct fixture *f = *state;
    Trilith__V1__VolumeRangeReport range = TRILITH__V1__VOLUME_RANGE_REPORT__INIT;
    Trilith__V1__VolumeRangeReport *ranges[CTL_UNREADABLE_MAX + 1];
    Trilith__V1__ReportStatusRequest request = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    struct fake_node *server, *next;

    const Trilith__V1__DesiredVolume *v = create_on_three(f, &server, &next);
    Trilith__V1__VolumeReport *said = node_says(f, server, v->uuid, READY);
    for (unsigned i = 0; i < CTL_UNREADABLE_MAX + 1; i++)
        ranges[i] = &range;
    said->unreadable = ranges;
    said->n_unreadable = CTL_UNREADABLE_MAX;
    range.offset = CTL_VOLUME_BYTES_MAX - 4096;
    range.bytes = 4096;
    node_report(f, server);
    assert_int_equal(get_volume(f, "db1")->n_unreadable, CTL_UNREADABLE_MAX);
    assert_int_equal(get_volume(f, "db1")->unreadable[0]->offset, range.offset);
    rpc_sim_advance(&f->sim, 12000 * MS);
    assert_int_equal(get_volume(f, "db1")->n_unreadable, 0);

    request.node_uuid = arena_uuid_bytes(&f->arena, server->uuid);
    request.volumes = &said;
    request.n_volumes = 1;
    for (unsigned i = 0; i < ARRAY_COUNT(wrong); i++) {
        range.offset = wrong[i].offset;
        range.bytes = wrong[i].bytes;
        (void)call_text(f, CTL_SERVICE_NODE, REPORT, &request.base, RPC_INVALID_ARGUMENT);
    }
    range.offset = 0;
    range.bytes = 4096;
    said->n_unreadable = CTL_UNREADABLE_MAX + 1;
    (void)call_text(f, CTL_SERVICE_NODE, REPORT, &request.base, RPC_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replicas_lie_on_different_nodes),
        TEST(places_of_disks),
        TEST(too_few_nodes),
        TEST(degraded_on_the_disks_of_a_node),
        TEST(degraded_uses_all_nodes),
        TEST(too_few_disks),
        TEST(the_widest_stride),
        TEST(one_transaction),
        TEST(wrong_numbers),
        TEST(growth_adds_copysets_within_the_stride),
        TEST(deletion_takes_the_group_first),
        TEST(replicas_are_shown),
        TEST(why_writes_wait),
        TEST(how_far_a_resync_is),
        TEST(what_differs_is_named),
        TEST(another_min_in_sync),
        TEST(another_node),
        TEST(a_node_that_cannot_serve),
        TEST(both_or_nothing),
        TEST(another_node_deletes),
        TEST(unreadable_ranges),
    };
    return cmocka_run_group_tests_name("replicas", tests, NULL, NULL);
}
