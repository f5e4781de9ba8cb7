/* SPDX-License-Identifier: Apache-2.0 */
#include "rebuild_fixture.h"

#include <string.h>

#include "meta/groups.h"
#include "repl/group_steps.h"
#include "rpc/group_message.h"

struct fake_node nodes[NODES_MAX];
unsigned node_count;
struct uuid volume, server;
struct group group;
bool away[NODES_MAX];

/* ---- The cluster ---- */

unsigned node_of(struct uuid disk)
{
    return disk.b[1] - 1u;
}

void report_all(struct fixture *f)
{
    for (unsigned i = 0; i < node_count; i++)
        if (!away[i])
            node_report(f, &nodes[i]);
}

void pass(struct fixture *f, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        report_all(f);
        rpc_sim_advance(&f->sim, NS_PER_S);
    }
}

void cluster(struct fixture *f, unsigned count, unsigned disks, uint64_t after_ns)
{
    f->rebuild_after_ns = after_ns;
    fixture_restart(f);
    node_count = count;
    for (unsigned i = 0; i < count; i++) {
        away[i] = false;
        node_init(&nodes[i], i + 1, disks, DISK_BYTES);
        (void)node_join(f, &nodes[i]);
        node_report(f, &nodes[i]);
    }
}

const Trilith__V1__DesiredVolume *part_of(struct fixture *f,
                                          const Trilith__V1__WatchNodeResponse **out_part)
{
    for (unsigned i = 0; i < node_count; i++) {
        *out_part = node_part(f, &nodes[i]);
        if ((*out_part)->n_volumes > 0) {
            server = nodes[i].uuid;
            return (*out_part)->volumes[0];
        }
    }
    fail_msg("nobody serves the volume");
    return NULL;
}

/* ---- The group ---- */

void read_group(struct fixture *f)
{
    assert_true(status_ok(group_record_get(f->meta, volume, 0, &group, NULL)));
}

static Trilith__V1__GroupName *name_of(struct fixture *f)
{
    Trilith__V1__GroupName *m = arena_alloc(&f->arena, sizeof *m);

    trilith__v1__group_name__init(m);
    m->volume_uuid = arena_uuid_bytes(&f->arena, volume);
    return m;
}

const Trilith__V1__GroupResult *commit_result(struct fixture *f, const struct group *was,
                                              const struct group *now)
{
    Trilith__V1__CommitGroupsRequest r = TRILITH__V1__COMMIT_GROUPS_REQUEST__INIT;
    Trilith__V1__GroupChange change = TRILITH__V1__GROUP_CHANGE__INIT;
    Trilith__V1__GroupChange *changes[] = { &change };

    change.group = name_of(f);
    change.was = group_to_message(was, &f->arena);
    change.now = group_to_message(now, &f->arena);
    r.node_uuid = arena_uuid_bytes(&f->arena, server);
    r.changes = changes;
    r.n_changes = 1;
    const Trilith__V1__CommitGroupsResponse *reply =
        call_reply(f, CTL_SERVICE_GROUP, COMMIT_GROUPS, &r.base);
    return reply->results[0];
}

void commit(struct fixture *f, const struct group *now)
{
    assert_int_equal(commit_result(f, &group, now)->outcome, COMMITTED);
    read_group(f);
    assert_true(group_equal(&group, now));
}

void take(struct fixture *f)
{
    Trilith__V1__TakeGroupRequest r = TRILITH__V1__TAKE_GROUP_REQUEST__INIT;

    read_group(f);
    r.node_uuid = arena_uuid_bytes(&f->arena, server);
    r.group = name_of(f);
    r.known_epoch = group.epoch;
    (void)call_reply(f, CTL_SERVICE_GROUP, TAKE_GROUP, &r.base);
    read_group(f);
}

void set_out(struct fixture *f, struct uuid disk)
{
    static struct group now;

    now = group;
    now.sequence++;
    for (uint32_t n = 0; n < now.copyset_count; n++)
        for (unsigned slot = 0; slot < GROUP_SLOTS; slot++) {
            struct group_slot *s = &now.copysets[n].slots[slot];
            if (s->state == GROUP_SLOT_IN && uuid_equal(s->disk, disk))
                *s = (struct group_slot) { .state = GROUP_SLOT_OUT,
                                           .disk = disk,
                                           .since_unix_ms = 5 };
        }
    commit(f, &now);
}

void create_named(struct fixture *f, const char *name, uint32_t replicas, bool crowded)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    struct rpc_sim_call call;

    spec.name = (char *)(uintptr_t)name;
    spec.bytes = 10 * GIB;
    spec.replicas = replicas;
    spec.allow_degraded = crowded;
    request.spec = &spec;
    call_start(f, CTL_SERVICE_VOLUME, CREATE, &request.base, &call);
    assert_string_equal(call.ended ? call.text : "", "");
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
}

void create(struct fixture *f, uint32_t replicas, bool crowded)
{
    const Trilith__V1__WatchNodeResponse *part;

    create_named(f, "db1", replicas, crowded);
    memcpy(volume.b, part_of(f, &part)->uuid.data, 16);
    take(f);
    for (unsigned i = 0; i < node_count; i++)
        if (uuid_equal(nodes[i].uuid, server))
            (void)node_says(f, &nodes[i], arena_uuid_bytes(&f->arena, volume), READY);
    report_all(f);
}

/* ---- What is asked ---- */

size_t check_decisions(struct fixture *f, bool crowded)
{
    const Trilith__V1__WatchNodeResponse *part;
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);
    bool seen[GROUP_COPYSETS_MAX] = { false };
    unsigned other;

    for (size_t i = 0; i < v->n_replacements; i++) {
        const Trilith__V1__DesiredReplacement *r = v->replacements[i];
        struct uuid was, disk;
        memcpy(was.b, part->disk_uuids[r->was].data, 16);
        memcpy(disk.b, part->disk_uuids[r->disk].data, 16);
        const struct group_copyset *c = &group.copysets[r->copyset];
        assert_false(seen[r->copyset]); /* One slot of a copyset at a time. */
        seen[r->copyset] = true;
        assert_int_equal(c->slots[r->slot].state, r->moves ? GROUP_SLOT_IN : GROUP_SLOT_OUT);
        assert_true(uuid_equal(c->slots[r->slot].disk, was));
        assert_false(group_find(&group, r->copyset, disk, &other));
        for (unsigned slot = 0; slot < v->replicas && !crowded; slot++)
            if (slot != r->slot)
                assert_int_not_equal(node_of(c->slots[slot].disk), node_of(disk));
    }
    return v->n_replacements;
}

void record_decisions(struct fixture *f)
{
    const Trilith__V1__WatchNodeResponse *part;
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);
    struct group_replacement items[GROUP_COPYSETS_MAX];
    static struct group now;
    struct group_reason reason;

    for (size_t i = 0; i < v->n_replacements; i++) {
        items[i] = (struct group_replacement) { v->replacements[i]->copyset,
                                                v->replacements[i]->slot,
                                                { { 0 } } };
        memcpy(items[i].disk.b, part->disk_uuids[v->replacements[i]->disk].data, 16);
    }
    assert_int_equal(
        group_replace(&group, items, (uint32_t)v->n_replacements, 7, &now, &reason).code,
        STATUS_OK);
    commit(f, &now);
}

void make_move(struct fixture *f, struct group *out_now, struct uuid *out_disk)
{
    const Trilith__V1__WatchNodeResponse *part;
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);
    struct group_session sessions[GROUP_SLOTS + 1] = { { .incarnation = 99 } };
    const struct group_view view = { .sessions = { sessions, GROUP_SLOTS + 1 } };
    struct group_reason reason;

    assert_true(v->n_replacements > 0 && v->replacements[0]->moves);
    struct group_replacement m = { v->replacements[0]->copyset,
                                   v->replacements[0]->slot,
                                   { { 0 } } };
    memcpy(m.disk.b, part->disk_uuids[v->replacements[0]->disk].data, 16);
    *out_disk = sessions[0].disk = m.disk;
    for (unsigned slot = 0; slot < GROUP_SLOTS; slot++)
        sessions[slot + 1] =
            (struct group_session) { group.copysets[m.copyset].slots[slot].disk,
                                     group.copysets[m.copyset].slots[slot].incarnation, false };
    assert_int_equal(group_move(&group, &view, &m, 99, out_now, &reason).code, STATUS_OK);
}

void check_placement(struct fixture *f)
{
    const Trilith__V1__WatchNodeResponse *part;
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);

    read_group(f);
    assert_int_equal(v->n_tuples, (size_t)group.copyset_count * v->replicas);
    for (size_t i = 0; i < v->n_placement; i++)
        for (uint32_t slot = 0; slot < v->replicas; slot++) {
            const uint32_t n = v->placement[i];
            const uint32_t disk = v->tuples[n * v->replicas + slot];
            assert_memory_equal(part->disk_uuids[disk].data, group.copysets[n].slots[slot].disk.b,
                                16);
        }
}

Stored__V1__Volume *stored(struct fixture *f)
{
    ProtobufCMessage *found;

    assert_true(status_ok(
        record_get(f->meta, key_volume(volume).s, &stored__v1__volume__descriptor, &found, NULL)));
    return (Stored__V1__Volume *)(void *)found;
}

bool is_left_over(struct fixture *f, struct uuid disk)
{
    Stored__V1__Volume *r = stored(f);
    bool found = false;

    for (size_t i = 0; i < r->n_leftovers; i++)
        found |= memcmp(r->leftovers[i].data, disk.b, 16) == 0;
    record_free(&r->base);
    return found;
}

bool says(struct fixture *f, const char *text)
{
    const Trilith__V1__Volume *v = get_volume(f, "db1");

    for (size_t i = 0; i < v->n_degraded; i++)
        if (strstr(v->degraded[i], text) != NULL)
            return true;
    return false;
}

struct uuid disk_in(uint32_t copyset, unsigned slot)
{
    return group.copysets[copyset].slots[slot].disk;
}
