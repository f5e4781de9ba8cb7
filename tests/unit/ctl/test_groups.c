/* SPDX-License-Identifier: Apache-2.0 */
/* The GroupService: what engines' nodes read, take and commit, and what they are refused. */
#include <string.h>

#include "ctl_fixture.h"
#include "meta/groups.h"
#include "repl/group_steps.h"
#include "rpc/group_message.h"

#define GROUP         CTL_SERVICE_GROUP
#define OUTCOME(name) TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_##name

static const struct uuid node = { { 0x40, 1 } };
static const struct uuid other = { { 0x40, 2 } };

static struct group was, now, got;
static struct group_reason reason;

static struct uuid volume(unsigned n)
{
    return (struct uuid) { { 0x70, (uint8_t)n } };
}

/* ---- What is there: volumes of three replicas ---- */

static struct group sample(void)
{
    struct group g = { .epoch = 7, .owner = node, .sequence = 30, .copyset_count = 1 };

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        g.copysets[0].slots[i] = (struct group_slot) { .state = GROUP_SLOT_IN,
                                                       .disk = { { 0xd0, (uint8_t)(i + 1) } },
                                                       .incarnation = 100 + i };
    return g;
}

static void put_volume(struct fixture *f, unsigned n, const struct group *g)
{
    Stored__V1__Volume r = STORED__V1__VOLUME__INIT;
    const struct uuid uuid = volume(n);
    struct meta_txn txn;

    r.uuid = record_bytes(&uuid);
    r.name = arena_printf(&f->arena, "db%u", n);
    r.node = record_bytes(&node);
    r.replicas = 3;
    Stored__V1__Name name = STORED__V1__NAME__INIT;
    name.uuid = r.uuid;
    meta_txn_init(&txn);
    record_put(&txn, key_volume(uuid).s, &r.base);
    record_put(&txn, key_volume_name(r.name).s, &name.base);
    group_record_put(&txn, uuid, 0, g, 0);
    assert_true(status_ok(meta_commit(f->meta, &txn, NULL)));
    meta_txn_fini(&txn);
}

/* The record without disk number. */
static struct group without_disk(const struct group *g, uint8_t number)
{
    const struct group_session sessions[] = { { { { 0xd0, 1 } }, 100 },
                                              { { { 0xd0, 2 } }, 101 },
                                              { { { 0xd0, 3 } }, 102 } };
    const struct group_view view = { { sessions, 3 }, 1, 5000 };

    assert_true(
        status_ok(group_exclude(g, &view, (struct uuid) { { 0xd0, number } }, &got, &reason)));
    return got;
}

static void check_record(struct fixture *f, unsigned n, const struct group *expected)
{
    assert_true(status_ok(group_record_get(f->meta, volume(n), 0, &got, NULL)));
    assert_true(group_equal(&got, expected));
}

/* ---- Calls ---- */

static Trilith__V1__GroupName *name_of(struct fixture *f, unsigned n)
{
    Trilith__V1__GroupName *m = arena_alloc(&f->arena, sizeof *m);

    trilith__v1__group_name__init(m);
    m->volume_uuid = arena_uuid_bytes(&f->arena, volume(n));
    return m;
}

static const Trilith__V1__GroupState *get(struct fixture *f, Trilith__V1__GroupName *name)
{
    Trilith__V1__GetGroupsRequest r = TRILITH__V1__GET_GROUPS_REQUEST__INIT;

    r.node_uuid = arena_uuid_bytes(&f->arena, node);
    r.groups = &name;
    r.n_groups = 1;
    const Trilith__V1__GetGroupsResponse *reply = call_reply(f, GROUP, GET_GROUPS, &r.base);
    assert_int_equal(reply->n_groups, 1);
    return reply->groups[0];
}

static void take_request(struct fixture *f, unsigned n, uint64_t known_epoch,
                         Trilith__V1__TakeGroupRequest *r)
{
    trilith__v1__take_group_request__init(r);
    r->node_uuid = arena_uuid_bytes(&f->arena, node);
    r->group = name_of(f, n);
    r->known_epoch = known_epoch;
}

static const Trilith__V1__TakeGroupResponse *take(struct fixture *f, unsigned n,
                                                  uint64_t known_epoch)
{
    Trilith__V1__TakeGroupRequest r;

    take_request(f, n, known_epoch, &r);
    return call_reply(f, GROUP, TAKE_GROUP, &r.base);
}

static Trilith__V1__GroupChange *change_of(struct fixture *f, unsigned n, const struct group *from,
                                           const struct group *to)
{
    Trilith__V1__GroupChange *m = arena_alloc(&f->arena, sizeof *m);

    trilith__v1__group_change__init(m);
    m->group = name_of(f, n);
    m->was = group_to_message(from, &f->arena);
    m->now = group_to_message(to, &f->arena);
    return m;
}

static const Trilith__V1__CommitGroupsResponse *commit(struct fixture *f,
                                                       Trilith__V1__GroupChange **changes,
                                                       size_t count)
{
    Trilith__V1__CommitGroupsRequest r = TRILITH__V1__COMMIT_GROUPS_REQUEST__INIT;

    r.node_uuid = arena_uuid_bytes(&f->arena, node);
    r.changes = changes;
    r.n_changes = count;
    const Trilith__V1__CommitGroupsResponse *reply = call_reply(f, GROUP, COMMIT_GROUPS, &r.base);
    assert_int_equal(reply->n_results, count);
    return reply;
}

static const Trilith__V1__GroupResult *commit_one(struct fixture *f, unsigned n,
                                                  const struct group *from, const struct group *to)
{
    Trilith__V1__GroupChange *change = change_of(f, n, from, to);
    return commit(f, &change, 1)->results[0];
}

static void is_record(const Trilith__V1__GroupRecord *m, const struct group *expected)
{
    assert_true(status_ok(group_from_message(m, &got, &reason)));
    assert_true(group_equal(&got, expected));
}

/* ---- Tests ---- */

/* An engine reads the record, takes the epoch after it, and changes it; who is older is fenced. */
static void an_engines_way(void **state)
{
    struct fixture *f = *state;
    struct group taken;

    was = sample();
    put_volume(f, 1, &was);
    is_record(get(f, name_of(f, 1))->record, &was);
    const Trilith__V1__TakeGroupResponse *t = take(f, 1, 7);
    assert_true(t->taken);
    assert_true(status_ok(group_from_message(t->record, &taken, &reason)));
    assert_int_equal(taken.epoch, 8);
    check_record(f, 1, &taken);

    now = without_disk(&taken, 3);
    assert_int_equal(commit_one(f, 1, &taken, &now)->outcome, OUTCOME(COMMITTED));
    check_record(f, 1, &now);
    taken = without_disk(&was, 2);
    const Trilith__V1__GroupResult *r = commit_one(f, 1, &was, &taken);
    assert_int_equal(r->outcome, OUTCOME(CONFLICT));
    is_record(r->record, &now);
    check_record(f, 1, &now);
}

/* A taking that is repeated takes no second epoch, but says what the record is. */
static void taken_once(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__TakeGroupRequest r;

    was = sample();
    put_volume(f, 1, &was);
    assert_true(take(f, 1, 7)->taken);
    const Trilith__V1__TakeGroupResponse *again = take(f, 1, 7);
    assert_false(again->taken);
    assert_int_equal(again->record->epoch, 8);

    take_request(f, 1, 8, &r);
    r.node_uuid = arena_uuid_bytes(&f->arena, other);
    (void)call_text(f, GROUP, TAKE_GROUP, &r.base, RPC_FAILED_PRECONDITION);
    take_request(f, 2, 8, &r);
    (void)call_text(f, GROUP, TAKE_GROUP, &r.base, RPC_NOT_FOUND);
    r.group->group = 1;
    (void)call_text(f, GROUP, TAKE_GROUP, &r.base, RPC_INVALID_ARGUMENT);
    r.group = NULL;
    (void)call_text(f, GROUP, TAKE_GROUP, &r.base, RPC_INVALID_ARGUMENT);
}

/* Of several changes each has its own outcome; what can never be keeps nothing back. */
static void outcomes(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__GroupChange *changes[6];
    struct group otherwise, foreign, jumping;

    was = sample();
    now = without_disk(&was, 3);
    otherwise = was;
    otherwise.epoch = 9;
    put_volume(f, 1, &was);
    put_volume(f, 2, &otherwise);
    put_volume(f, 3, &was);
    foreign = was;
    foreign.owner = other;
    put_volume(f, 4, &foreign);
    jumping = now;
    jumping.sequence++;
    changes[0] = change_of(f, 1, &was, &now);
    changes[1] = change_of(f, 2, &was, &now);
    changes[2] = change_of(f, 3, &was, &jumping);
    changes[3] = change_of(f, 5, &was, &now); /* There is none. */
    changes[4] = change_of(f, 3, &was, &now);
    otherwise = without_disk(&foreign, 3);
    changes[5] = change_of(f, 4, &foreign, &otherwise);
    const Trilith__V1__CommitGroupsResponse *r = commit(f, changes, 6);
    assert_int_equal(r->results[0]->outcome, OUTCOME(COMMITTED));
    assert_int_equal(r->results[1]->outcome, OUTCOME(CONFLICT));
    assert_int_equal(r->results[1]->record->epoch, 9);
    assert_int_equal(r->results[2]->outcome, OUTCOME(INVALID));
    assert_string_equal(r->results[2]->problem, "its sequence is not the next one");
    assert_int_equal(r->results[3]->outcome, OUTCOME(GONE));
    assert_int_equal(r->results[4]->outcome, OUTCOME(COMMITTED));
    assert_int_equal(r->results[5]->outcome, OUTCOME(INVALID));
    assert_string_equal(r->results[5]->problem, "the node is not its owner");
    check_record(f, 1, &now);
    check_record(f, 3, &now);
    check_record(f, 4, &foreign);
}

/* A meta store that loses its answer is told from a conflict, and the same again finds it done. */
static void unknown(void **state)
{
    struct fixture *f = *state;

    was = sample();
    now = without_disk(&was, 3);
    put_volume(f, 1, &was);
    meta_sim_fault_next(f->meta, META_SIM_FAULT_LOSE);
    assert_int_equal(commit_one(f, 1, &was, &now)->outcome, OUTCOME(UNKNOWN));
    assert_int_equal(commit_one(f, 1, &was, &now)->outcome, OUTCOME(COMMITTED));
    check_record(f, 1, &now);
}

static const Trilith__V1__GroupResult *commit_message(struct fixture *f,
                                                      Trilith__V1__GroupChange *change)
{
    return commit(f, &change, 1)->results[0];
}

/* W1: records that cannot be are refused, with what is wrong. */
static void impossible_records(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__GroupChange *c;

    was = sample();
    now = without_disk(&was, 3);
    put_volume(f, 1, &was);
    c = change_of(f, 1, &was, &now);
    c->now = NULL;
    assert_string_equal(commit_message(f, c)->problem, "there is no record");
    c = change_of(f, 1, &was, &now);
    c->now->copysets[0]->slots[0]->disk_uuid.len = 3;
    assert_string_equal(commit_message(f, c)->problem, "a disk's UUID has not 16 bytes");
    c = change_of(f, 1, &was, &now);
    c->now->copysets[0]->slots[0]->whole = true;
    assert_string_equal(commit_message(f, c)->problem,
                        "copyset 0: a member is said to lack something");
    c = change_of(f, 1, &was, &now);
    c->was->owner_uuid.len = 0;
    assert_int_equal(commit_message(f, c)->outcome, OUTCOME(INVALID));
    c = change_of(f, 1, &was, &now);
    c->group = NULL;
    assert_string_equal(commit_message(f, c)->problem, "it names no volume");
    check_record(f, 1, &was);
}

/* A call names a node and from 1 to 128 groups; a group that is not there is no error. */
static void limits(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__GetGroupsRequest r = TRILITH__V1__GET_GROUPS_REQUEST__INIT;
    Trilith__V1__GroupName *names[GROUPS_CHANGES_MAX + 1];

    for (unsigned i = 0; i <= GROUPS_CHANGES_MAX; i++)
        names[i] = name_of(f, i);
    r.groups = names;
    r.n_groups = GROUPS_CHANGES_MAX;
    (void)call_text(f, GROUP, GET_GROUPS, &r.base, RPC_INVALID_ARGUMENT);
    r.node_uuid = arena_uuid_bytes(&f->arena, node);
    const Trilith__V1__GetGroupsResponse *reply = call_reply(f, GROUP, GET_GROUPS, &r.base);
    assert_null(reply->groups[31]->record);
    assert_string_equal(reply->groups[31]->problem, "");
    r.n_groups++;
    (void)call_text(f, GROUP, GET_GROUPS, &r.base, RPC_INVALID_ARGUMENT);
    r.n_groups = 0;
    (void)call_text(f, GROUP, GET_GROUPS, &r.base, RPC_INVALID_ARGUMENT);
}

/* Nor are there more copysets in the records of one call than its transaction may have. */
static void too_many_copysets(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__CommitGroupsRequest r = TRILITH__V1__COMMIT_GROUPS_REQUEST__INIT;
    Trilith__V1__GroupChange change = TRILITH__V1__GROUP_CHANGE__INIT;
    Trilith__V1__GroupRecord record = TRILITH__V1__GROUP_RECORD__INIT;
    Trilith__V1__GroupCopyset copyset = TRILITH__V1__GROUP_COPYSET__INIT;
    Trilith__V1__GroupCopyset *copysets[GROUP_COPYSETS_MAX];
    Trilith__V1__GroupChange *changes[GROUPS_CHANGES_MAX];
    const size_t most = GROUPS_CHANGED_COPYSETS_MAX / GROUP_COPYSETS_MAX;

    for (unsigned i = 0; i < GROUP_COPYSETS_MAX; i++)
        copysets[i] = &copyset;
    for (unsigned i = 0; i < GROUPS_CHANGES_MAX; i++)
        changes[i] = &change;
    record.copysets = copysets;
    record.n_copysets = GROUP_COPYSETS_MAX;
    change.now = &record;
    r.node_uuid = arena_uuid_bytes(&f->arena, node);
    r.changes = changes;
    r.n_changes = most;
    const Trilith__V1__CommitGroupsResponse *reply = call_reply(f, GROUP, COMMIT_GROUPS, &r.base);
    assert_int_equal(reply->n_results, most);
    r.n_changes++;
    assert_non_null(strstr(call_text(f, GROUP, COMMIT_GROUPS, &r.base, RPC_INVALID_ARGUMENT),
                           "8448 copysets in one call: up to 8192"));
}

/* A volume of one replica has no record until it has had an epoch, and no copysets then. */
static void one_replica(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__TakeEpochRequest r = TRILITH__V1__TAKE_EPOCH_REQUEST__INIT;
    Trilith__V1__GroupName name = TRILITH__V1__GROUP_NAME__INIT;
    struct fake_node n;

    node_init(&n, 1, 1, 100 * GIB);
    (void)node_join(f, &n);
    node_report(f, &n);
    create_ready(f, &n, "db1", GIB);
    name.volume_uuid = node_part(f, &n)->volumes[0]->uuid;
    assert_null(get(f, &name)->record);
    r.node_uuid = arena_uuid_bytes(&f->arena, n.uuid);
    r.volume_uuid = name.volume_uuid;
    (void)call_reply(f, CTL_SERVICE_NODE, TAKE_EPOCH, &r.base);
    const Trilith__V1__GroupState *s = get(f, &name);
    assert_int_equal(s->record->epoch, 1);
    assert_int_equal(s->record->n_copysets, 0);
    assert_memory_equal(s->record->owner_uuid.data, n.uuid.b, sizeof n.uuid.b);
}

/* 11.7: the record of a replicated volume goes when its deletion is asked for. */
static void deleted(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__DeleteVolumeRequest r = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    Trilith__V1__TakeGroupRequest taking;
    struct rpc_sim_call call;

    was = sample();
    now = without_disk(&was, 3);
    put_volume(f, 1, &was);
    r.name = arena_text(&f->arena, "db1");
    call_start(f, CTL_SERVICE_VOLUME, DELETE, &r.base, &call);
    assert_false(call.ended); /* Its node has not deleted the data yet. */
    assert_int_equal(commit_one(f, 1, &was, &now)->outcome, OUTCOME(GONE));
    take_request(f, 1, 7, &taking);
    (void)call_text(f, GROUP, TAKE_GROUP, &taking.base, RPC_NOT_FOUND);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_engines_way),    TEST(taken_once),         TEST(outcomes),
        TEST(unknown),           TEST(impossible_records), TEST(limits),
        TEST(too_many_copysets), TEST(one_replica),        TEST(deleted),
    };
    return cmocka_run_group_tests_name("groups", tests, NULL, NULL);
}
