/* SPDX-License-Identifier: Apache-2.0 */
/* Another node for a volume whose own is gone: docs/replication.md, 9.23. */
#include <string.h>

#include "ctl/rebuild_server.h"
#include "meta/groups.h"
#include "rebuild_fixture.h"

enum { SCRUB_START = 5, SCRUBS }; /* Of the DiskService. */

/* ---- The choice, as a function ---- */

static struct cluster_view view;
static struct server_disks disks;

static struct uuid disk_of(uint8_t node)
{
    return (struct uuid) { { 0xd0, (uint8_t)(node + 1), 0 } };
}

/* So many nodes, of one disk each, that report, are targets, and serve nothing. */
static void choice_init(uint32_t count)
{
    view = (struct cluster_view) { .placement = { .node_count = count } };
    disks = (struct server_disks) { .count = count };
    group = (struct group) { .epoch = 1 };
    for (uint8_t i = 0; i < count; i++) {
        disks.uuids[i] = disk_of(i);
        disks.nodes[i] = i;
        view.targets |= node_bit(i);
    }
}

/* One more copyset, of these nodes' disks: all are in sync. */
static struct group_copyset *add_copyset(uint8_t a, uint8_t b, uint8_t c)
{
    struct group_copyset *const s = &group.copysets[group.copyset_count++];
    const uint8_t of[] = { a, b, c };

    for (unsigned slot = 0; slot < 3; slot++)
        s->slots[slot] = (struct group_slot) { GROUP_SLOT_IN, disk_of(of[slot]), 50, 0, false };
    return s;
}

static struct status choose(unsigned min_in_sync, uint32_t *out_node, struct problem *problem)
{
    const struct server_need need = { &group, min_in_sync };

    return server_choose(&view, &disks, &need, out_node, problem);
}

static void check_chosen(unsigned min_in_sync, uint32_t node)
{
    struct problem problem = { "" };
    uint32_t chosen;

    assert_true(status_ok(choose(min_in_sync, &chosen, &problem)));
    assert_int_equal(chosen, node);
}

static void check_refused(unsigned min_in_sync, const char *why)
{
    struct problem problem = { "" };
    uint32_t chosen;

    assert_int_equal(choose(min_in_sync, &chosen, &problem).code, STATUS_UNAVAILABLE);
    assert_string_equal(problem.s, why);
}

/* A disk that nobody reports, or that has failed. */
static void lose_disk(uint8_t node)
{
    for (uint32_t i = 0; i < disks.count; i++)
        if (uuid_equal(disks.uuids[i], disk_of(node))) {
            disks.count--;
            disks.uuids[i] = disks.uuids[disks.count];
            disks.nodes[i] = disks.nodes[disks.count];
        }
}

static void lose_node(uint8_t node)
{
    view.targets &= ~node_bit(node);
    lose_disk(node);
}

/* Who has members of most copysets; of equals who serves least; of these the first. */
static void who_has_most_of_it_serves_it(void **state)
{
    (void)state;
    choice_init(6);
    add_copyset(0, 1, 2);
    add_copyset(0, 2, 3);
    add_copyset(0, 3, 4);
    lose_node(0);
    check_chosen(2, 2);
    view.serves[2] = 9; /* 3 has as many: 2 of 3. */
    check_chosen(2, 3);
    view.serves[3] = 9;
    check_chosen(2, 2); /* However few the others serve, which have less of it. */
    view.targets &= ~(node_bit(2) | node_bit(3));
    check_chosen(2, 1); /* As 4, of which it is the first. */
    view.targets = node_bit(5);
    check_chosen(2, 5); /* It has nothing: it serves what others have. */
    view.targets = 0;
    check_refused(2, "no node with the role 'target' reports");
}

/* A replica that is out of sync is no reason to serve there. */
static void who_is_out_counts_for_nothing(void **state)
{
    (void)state;
    choice_init(4);
    add_copyset(0, 1, 2)->slots[1].state = GROUP_SLOT_OUT;
    lose_node(0);
    view.serves[2] = 9;
    check_chosen(1, 2);
}

/* 7.4: with too few members no engine could begin, wherever it ran. */
static void with_too_few_members_nobody_does(void **state)
{
    (void)state;
    choice_init(5);
    add_copyset(1, 2, 3);
    add_copyset(0, 1, 2);
    lose_node(0);
    lose_disk(1);
    check_chosen(1, 2);
    check_refused(2, "of the 3 replicas of copyset 1 that are in sync, 1 is on disks that work of "
                     "nodes that report, and 2 must be");
    lose_disk(2);
    check_refused(1, "of the 3 replicas of copyset 1 that are in sync, 0 are on disks that work of "
                     "nodes that report, and 1 must be");
    choice_init(5);
    add_copyset(0, 1, 2)->slots[1].state = GROUP_SLOT_OUT;
    add_copyset(1, 2, 3);
    lose_node(0);
    lose_disk(2);
    check_refused(1, "of the 2 replicas of copyset 0 that are in sync, 0 are on disks that work of "
                     "nodes that report, and 1 must be");
}

/* 7.4: a member that has lost the volume counts only beside one that has it. */
static void who_has_nothing_does_not_suffice(void **state)
{
    (void)state;
    choice_init(4);
    add_copyset(0, 1, 2)->slots[1].incarnation = GROUP_INCARNATION_NONE;
    lose_node(0);
    view.serves[1] = 9;
    check_chosen(2, 2);
    lose_disk(2);
    check_refused(1, "of the 3 replicas of copyset 0 that are in sync, 0 are on disks that work of "
                     "nodes that report, and 1 must be");
}

/* 11.4: one of two members, beside a replica to which it can be copied. */
static void one_of_two_may_begin(void **state)
{
    (void)state;
    for (unsigned with_out = 0; with_out < 2; with_out++) {
        choice_init(3);
        add_copyset(0, 1, 2)->slots[1].state = GROUP_SLOT_OUT;
        lose_node(0);
        if (with_out == 0)
            lose_disk(1);
        if (with_out > 0)
            check_chosen(2, 2);
        else
            check_refused(2, "of the 2 replicas of copyset 0 that are in sync, 1 is on disks that "
                             "work of nodes that report, and 2 must be");
    }
}

/* ---- The planner ---- */

static struct fake_node *node_named(struct uuid uuid)
{
    unsigned i = 0;

    while (!uuid_equal(nodes[i].uuid, uuid))
        i++;
    return &nodes[i];
}

/* The node that served the volume does not report from now on. */
static unsigned lose_server(void)
{
    const unsigned i = (unsigned)(node_named(server) - nodes);

    away[i] = true;
    return i;
}

/* Who serves it now, by what nodes are told: one, always. */
static unsigned served_by(struct fixture *f)
{
    const Trilith__V1__WatchNodeResponse *part;
    size_t count = 0;

    for (unsigned i = 0; i < node_count; i++)
        count += node_part(f, &nodes[i])->n_volumes;
    assert_int_equal(count, 1);
    (void)part_of(f, &part);
    return (unsigned)(node_named(server) - nodes);
}

static void begin(struct fixture *f, unsigned count, uint32_t replicas, uint64_t after_ns)
{
    cluster(f, count, 1, after_ns);
    create(f, replicas, false);
}

/* After its time, and not before: then its engine sets out who is gone, and that is rebuilt. */
static void a_volume_gets_another_node(void **state)
{
    struct fixture *f = *state;

    begin(f, 4, 3, AFTER_NS);
    const unsigned gone = lose_server();
    const struct group before = group;
    pass(f, 20);
    assert_non_null(strstr(get_volume(f, "db1")->reason, "another one serves it in 5"));
    pass(f, 45);
    assert_int_equal(served_by(f), gone);
    pass(f, 10); /* It was noticed after ten seconds of silence. */
    const unsigned next = served_by(f);
    assert_int_not_equal(next, gone);
    unsigned slot;
    assert_true(group_find(&group, 0, disk_of((uint8_t)next), &slot)); /* It has a replica. */
    read_group(f);
    assert_true(group_equal(&group, &before)); /* The epoch is for its engine to take. */
    assert_null(strstr(get_volume(f, "db1")->reason, "serves it in"));
    assert_string_equal(get_volume(f, "db1")->targets[0]->node, nodes[next].name);

    take(f);
    assert_int_equal(group.epoch, before.epoch + 1);
    (void)node_says(f, &nodes[next], arena_uuid_bytes(&f->arena, volume), READY);
    set_out(f, disk_of((uint8_t)gone));
    pass(f, 2);
    assert_true(check_decisions(f, false) > 0);
    record_decisions(f);
    check_placement(f);
    for (uint32_t n = 0; n < group.copyset_count; n++)
        assert_false(group_find(&group, n, disk_of((uint8_t)gone), &slot));
    away[gone] = false; /* It is late. */
    pass(f, 70);
    assert_int_equal(served_by(f), next);
}

/* Its time begins anew when it was heard, and when the controller was started. */
static void silence_must_last(void **state)
{
    struct fixture *f = *state;

    begin(f, 3, 3, AFTER_NS);
    const unsigned gone = lose_server();
    pass(f, 65);
    away[gone] = false;
    pass(f, 2);
    away[gone] = true;
    pass(f, 65);
    assert_int_equal(served_by(f), gone);
    fixture_restart(f);
    pass(f, 66);
    assert_int_equal(served_by(f), gone);
    pass(f, 9);
    assert_int_not_equal(served_by(f), gone);
}

/* A controller that stood still has heard of nobody meanwhile: that is nobody's silence. */
static void time_of_the_controller_alone_does_not_count(void **state)
{
    struct fixture *f = *state;

    begin(f, 3, 3, AFTER_NS);
    const unsigned was = (unsigned)(node_named(server) - nodes);
    f->sim.now_ns += 1000 * NS_PER_S;
    for (unsigned i = 0; i < node_count; i++)
        if (i != was)
            node_report(f, &nodes[i]);
    rpc_sim_advance(&f->sim, NS_PER_S);
    pass(f, 5);
    assert_int_equal(served_by(f), was);
}

/* The others' stores are connected with its engine, or are not. */
static void hear(unsigned node, bool heard)
{
    for (unsigned i = 0; i < node_count; i++)
        nodes[i].hears = heard && i != node ? nodes[node].uuid : (struct uuid) { 0 };
}

/* Only the controller does not hear it: it is left to serve, for as long as others hear it. */
static void who_is_heard_by_others_goes_on(void **state)
{
    struct fixture *f = *state;

    begin(f, 4, 3, AFTER_NS);
    const unsigned gone = lose_server();
    hear(gone, true);
    pass(f, 200);
    assert_int_equal(served_by(f), gone);
    assert_non_null(
        strstr(get_volume(f, "db1")->reason,
               arena_printf(&f->arena, "node '%s' does not report, but node '", nodes[gone].name)));
    assert_non_null(strstr(get_volume(f, "db1")->reason,
                           "' has heard it lately: only the way to the controller is broken, and "
                           "it is left to serve"));
    hear(gone, false); /* As if they had been restarted: that is too short. */
    pass(f, 50);
    hear(gone, true);
    pass(f, 50);
    hear(gone, false);
    pass(f, 55);
    assert_int_equal(served_by(f), gone);
    pass(f, 10);
    assert_int_not_equal(served_by(f), gone);
}

/*
 * A volume on four nodes, of which one replica suffices.  Its own node is heard by all others, but
 * not by the controller; others are the nodes of the other replicas of copyset 0.
 */
static unsigned lose_heard_server(struct fixture *f, unsigned others[2])
{
    Trilith__V1__SetVolumeRequest set = TRILITH__V1__SET_VOLUME_REQUEST__INIT;
    struct rpc_sim_call call;
    unsigned count = 0;

    begin(f, 4, 3, AFTER_NS);
    set.name = arena_text(&f->arena, "db1");
    set.min_in_sync = 1;
    call_start(f, CTL_SERVICE_VOLUME, SET, &set.base, &call);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    const unsigned gone = lose_server();
    for (unsigned slot = 0; slot < 3; slot++)
        if (node_of(disk_in(0, slot)) != gone && count < 2)
            others[count++] = node_of(disk_in(0, slot));
    assert_int_equal(count, 2);
    hear(gone, true);
    pass(f, 200);
    assert_int_equal(served_by(f), gone);
    return gone;
}

/* One cut alone, between it and a node with a member and the controller: writes wait for that. */
static void who_reaches_a_member_no_more_is_replaced(void **state)
{
    struct fixture *f = *state;
    unsigned others[2];
    const unsigned gone = lose_heard_server(f, others);

    nodes[others[1]].hears = (struct uuid) { 0 };
    pass(f, 55);
    assert_int_equal(served_by(f), gone);
    pass(f, 15);
    assert_int_not_equal(served_by(f), gone);
}

/* The disk of a member is gone, and its node is there. */
static void who_waits_for_a_disk_is_replaced(void **state)
{
    struct fixture *f = *state;
    unsigned others[2];
    const unsigned gone = lose_heard_server(f, others);

    nodes[others[1]].disk_count = 0;
    pass(f, 55);
    assert_int_equal(served_by(f), gone);
    pass(f, 15);
    assert_int_not_equal(served_by(f), gone);
}

/* It is heard, but can exclude nobody: where a member is away as well, writes wait. */
static void who_is_heard_and_waits_is_replaced(void **state)
{
    struct fixture *f = *state;
    unsigned others[2];
    const unsigned gone = lose_heard_server(f, others);

    away[others[1]] = true;
    for (unsigned i = 0; i < 100; i++) { /* The controller alone does not hear it, either. */
        nodes[others[0]].hears = nodes[i % 2 == 0 ? others[1] : gone].uuid;
        pass(f, 2);
    }
    assert_int_equal(served_by(f), gone);
    nodes[others[0]].hears = nodes[gone].uuid;
    pass(f, 55);
    assert_int_equal(served_by(f), gone);
    pass(f, 15);
    assert_int_equal(served_by(f), others[0]);
}

/* Noticed before the controller stood still, it is given its time when that goes on. */
static void silence_does_not_grow_while_nobody_listens(void **state)
{
    struct fixture *f = *state;

    begin(f, 3, 3, AFTER_NS);
    const unsigned gone = lose_server();
    pass(f, 20);
    assert_int_equal(served_by(f), gone);
    f->sim.now_ns += 1000 * NS_PER_S;
    pass(f, 40);
    assert_int_equal(served_by(f), gone);
    pass(f, 30);
    assert_int_not_equal(served_by(f), gone);
}

static void off_is_never(void **state)
{
    struct fixture *f = *state;

    begin(f, 4, 3, CTL_REBUILD_NEVER);
    const unsigned gone = lose_server();
    pass(f, 1000);
    assert_int_equal(served_by(f), gone);
    assert_non_null(strstr(get_volume(f, "db1")->reason, "lets another one serve it"));
}

/* What only the node has is served by it, when it is back. */
static void one_replica_stays_where_it_is(void **state)
{
    struct fixture *f = *state;
    const Trilith__V1__WatchNodeResponse *part;

    cluster(f, 3, 1, AFTER_NS);
    create_named(f, "db1", 1, false);
    (void)part_of(f, &part);
    const unsigned gone = lose_server();
    pass(f, 200);
    assert_int_equal(served_by(f), gone);
    assert_string_equal(get_volume(f, "db1")->reason,
                        arena_printf(&f->arena, "node '%s' does not report", nodes[gone].name));
}

/* Too few of it are left: that is said, and when one of these nodes is back, it goes on. */
static void what_is_missing_is_said(void **state)
{
    struct fixture *f = *state;

    begin(f, 4, 3, 0);
    const unsigned gone = lose_server();
    unsigned second = node_of(disk_in(0, 0));
    if (second == gone)
        second = node_of(disk_in(0, 1));
    away[second] = true;
    pass(f, 100);
    assert_int_equal(served_by(f), gone);
    assert_string_equal(
        get_volume(f, "db1")->reason,
        arena_printf(&f->arena,
                     "node '%s' is gone, and no other one can serve it: of the 3 replicas of "
                     "copyset 0 that are in sync, 1 is on disks that work of nodes that report, "
                     "and 2 must be",
                     nodes[gone].name));
    away[second] = false;
    pass(f, 3);
    assert_int_not_equal(served_by(f), gone);
    assert_null(rebuild_problem(&f->ctl->rebuild, REBUILD_SERVER, volume));

    /* It is not said any more of one whose own node is back. */
    for (unsigned i = 0; i < node_count; i++)
        away[i] = true;
    pass(f, 20);
    assert_non_null(rebuild_problem(&f->ctl->rebuild, REBUILD_SERVER, volume));
    const unsigned own = served_by(f);
    away[own] = false;
    pass(f, 2);
    assert_null(rebuild_problem(&f->ctl->rebuild, REBUILD_SERVER, volume));
    assert_int_equal(served_by(f), own);
}

/* Nodes that hosts do not connect to serve nothing. */
static void who_is_no_target_does_not_serve(void **state)
{
    struct fixture *f = *state;

    cluster(f, 3, 1, 0);
    node_count = 4;
    away[3] = false;
    node_init(&nodes[3], 4, 0, DISK_BYTES);
    for (unsigned i = 0; i < 4; i++) {
        nodes[i].roles[0] = i < 3 ? TRILITH__V1__NODE_ROLE__NODE_ROLE_STORE
                                  : TRILITH__V1__NODE_ROLE__NODE_ROLE_TARGET;
        nodes[i].role_count = 1;
        (void)node_join(f, &nodes[i]);
    }
    report_all(f);
    create(f, 3, false);
    assert_int_equal(lose_server(), 3);
    pass(f, 100);
    assert_int_equal(served_by(f), 3);
    assert_non_null(strstr(get_volume(f, "db1")->reason, "no node with the role 'target' reports"));
}

/* A few with each look, and to those that serve least. */
static void many_volumes_move_in_turns(void **state)
{
    struct fixture *f = *state;
    size_t counts[4] = { 0 };

    cluster(f, 3, 1, 0);
    for (unsigned i = 0; i < 60; i++)
        create_named(f, arena_printf(&f->arena, "v%u", i), 3, false);
    assert_int_equal(node_part(f, &nodes[0])->n_volumes, 20);
    away[0] = true;
    pass(f, 10);
    assert_int_equal(node_part(f, &nodes[0])->n_volumes, 20);
    for (unsigned i = 0; i < 4; i++) {
        pass(f, 1);
        counts[i] = node_part(f, &nodes[0])->n_volumes;
    }
    unsigned first = 0;
    while (counts[first] == 20)
        first++;
    assert_in_range(first, 0, 2);
    assert_int_equal(counts[first], 20 - CTL_REBUILD_SERVERS_MAX);
    assert_int_equal(counts[first + 1], 0);
    assert_int_equal(node_part(f, &nodes[1])->n_volumes, 30);
    assert_int_equal(node_part(f, &nodes[2])->n_volumes, 30);
}

/* A commit that fails is tried again; one whose answer is lost was done. */
static void a_commit_may_fail(void **state)
{
    struct fixture *f = *state;
    const enum meta_sim_fault faults[] = { META_SIM_FAULT_REFUSE, META_SIM_FAULT_LOSE };

    for (unsigned i = 0; i < 2; i++) {
        begin(f, 4, 3, 0);
        const unsigned gone = lose_server();
        pass(f, 10);
        meta_sim_fault_next(f->meta, faults[i]);
        pass(f, 5);
        assert_int_not_equal(served_by(f), gone);
        assert_null(rebuild_problem(&f->ctl->rebuild, REBUILD_SERVER, volume));
        away[gone] = false;
        fixture_teardown(state);
        fixture_setup(state);
        f = *state;
    }
}

/* The transaction is of the record as it is: what an operator has done meanwhile stays. */
static void an_operator_may_be_quicker(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__SetVolumeRequest set = TRILITH__V1__SET_VOLUME_REQUEST__INIT;
    Trilith__V1__DeleteVolumeRequest delete = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    struct rebuild_scope scope = { .view = NULL };
    struct rpc_sim_call call;

    begin(f, 4, 3, AFTER_NS);
    Stored__V1__Volume *const stale = stored(f);
    const unsigned gone = lose_server();
    pass(f, 12);
    const unsigned wanted = gone == 3 ? 2 : 3;
    set.name = delete.name = arena_text(&f->arena, "db1");
    set.node = arena_text(&f->arena, nodes[wanted].name);
    call_start(f, CTL_SERVICE_VOLUME, SET, &set.base, &call);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    assert_false(rebuild_serve_elsewhere(&f->ctl->rebuild, &scope, stale));
    assert_int_equal(served_by(f), wanted);
    record_free(&stale->base);

    Stored__V1__Volume *const before = stored(f);
    call_start(f, CTL_SERVICE_VOLUME, DELETE, &delete.base, &call);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    assert_false(rebuild_serve_elsewhere(&f->ctl->rebuild, &scope, before));
    away[wanted] = true;
    pass(f, 200); /* Nor later: what it would wait for is gone with the node. */
    assert_int_equal(served_by(f), wanted);
    assert_null(rebuild_problem(&f->ctl->rebuild, REBUILD_SERVER, volume));
    record_free(&before->base);
    arena_free(&scope.arena);
}

/* ---- What a scrub finds meanwhile (11.9) ---- */

static Trilith__V1__ScrubReport scrub;

static const Trilith__V1__Scrub *scrub_begin_on(struct fixture *f, struct fake_node *n)
{
    Trilith__V1__StartScrubRequest start = TRILITH__V1__START_SCRUB_REQUEST__INIT;
    Trilith__V1__ListScrubsRequest list = TRILITH__V1__LIST_SCRUBS_REQUEST__INIT;
    static Trilith__V1__ScrubFindingReport finding;

    start.disk = arena_printf(&f->arena, "%s/disk-1", n->name);
    (void)call_reply(f, CTL_SERVICE_DISK, SCRUB_START, &start.base);
    trilith__v1__scrub_report__init(&scrub);
    trilith__v1__scrub_finding_report__init(&finding);
    finding.number = 1;
    finding.volume_uuid = arena_uuid_bytes(&f->arena, volume);
    finding.bytes = 2 * 4096;
    scrub.id = node_part(f, n)->scrubs[0]->id;
    scrub.finding = &finding;
    n->scrub = &scrub;
    node_report(f, n);
    scrub.finding = NULL;
    scrub.ended = true;
    const Trilith__V1__ListScrubsResponse *r = call_reply(f, CTL_SERVICE_DISK, SCRUBS, &list.base);
    assert_int_equal(r->n_scrubs, 1);
    return r->scrubs[0];
}

/* What was found while nobody served the volume is repaired when it is found again. */
static void the_next_scrub_is_answered_by_the_next_engine(void **state)
{
    struct fixture *f = *state;

    begin(f, 3, 3, AFTER_NS);
    const unsigned gone = lose_server();
    struct fake_node *const other = &nodes[gone == 0 ? 1 : 0];
    pass(f, 12);
    const Trilith__V1__Scrub *s = scrub_begin_on(f, other);
    assert_int_equal(s->lost_blocks, 2);
    assert_string_equal(s->findings[0]->reason,
                        "nobody serves the volume now; scrub again when it is served");
    pass(f, 70);
    const unsigned next = served_by(f);
    assert_int_not_equal(next, gone);
    (void)node_says(f, &nodes[next], arena_uuid_bytes(&f->arena, volume), READY);
    report_all(f);

    s = scrub_begin_on(f, other);
    assert_int_equal(s->lost_blocks, 0);
    const Trilith__V1__DesiredVolume *v = node_part(f, &nodes[next])->volumes[0];
    assert_int_equal(v->n_mends, 1);
    Trilith__V1__MendReport mend = TRILITH__V1__MEND_REPORT__INIT;
    Trilith__V1__MendReport *mends[] = { &mend };
    mend.id = v->mends[0]->id;
    mend.repaired_blocks = 2;
    nodes[next].volumes[0].mends = mends;
    nodes[next].volumes[0].n_mends = 1;
    node_report(f, &nodes[next]);
    nodes[next].volumes[0].n_mends = 0;
    Trilith__V1__ListScrubsRequest list = TRILITH__V1__LIST_SCRUBS_REQUEST__INIT;
    const Trilith__V1__ListScrubsResponse *r = call_reply(f, CTL_SERVICE_DISK, SCRUBS, &list.base);
    assert_int_equal(r->scrubs[0]->repaired_blocks, 2);
}

/* What an engine was to repair when its node died is for the next one, if that comes in time. */
static void what_is_to_be_mended_goes_with_the_volume(void **state)
{
    struct fixture *f = *state;

    begin(f, 3, 3, 0);
    const unsigned gone = lose_server();
    const Trilith__V1__Scrub *s = scrub_begin_on(f, &nodes[gone == 0 ? 1 : 0]);
    assert_int_equal(s->lost_blocks, 0);
    const uint64_t id = node_part(f, &nodes[gone])->volumes[0]->mends[0]->id;
    pass(f, 15);
    const unsigned next = served_by(f);
    assert_int_not_equal(next, gone);
    assert_true(node_part(f, &nodes[next])->volumes[0]->mends[0]->id == id);
    pass(f, 20); /* It did not come in time. */
    assert_int_equal(node_part(f, &nodes[next])->volumes[0]->n_mends, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_most_of_it_serves_it),
        cmocka_unit_test(who_is_out_counts_for_nothing),
        cmocka_unit_test(with_too_few_members_nobody_does),
        cmocka_unit_test(who_has_nothing_does_not_suffice),
        cmocka_unit_test(one_of_two_may_begin),
        TEST(a_volume_gets_another_node),
        TEST(silence_must_last),
        TEST(time_of_the_controller_alone_does_not_count),
        TEST(who_is_heard_by_others_goes_on),
        TEST(who_reaches_a_member_no_more_is_replaced),
        TEST(who_waits_for_a_disk_is_replaced),
        TEST(who_is_heard_and_waits_is_replaced),
        TEST(silence_does_not_grow_while_nobody_listens),
        TEST(off_is_never),
        TEST(one_replica_stays_where_it_is),
        TEST(what_is_missing_is_said),
        TEST(who_is_no_target_does_not_serve),
        TEST(many_volumes_move_in_turns),
        TEST(a_commit_may_fail),
        TEST(an_operator_may_be_quicker),
        TEST(the_next_scrub_is_answered_by_the_next_engine),
        TEST(what_is_to_be_mended_goes_with_the_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
