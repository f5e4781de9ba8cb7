/* SPDX-License-Identifier: Apache-2.0 */
/* Zones, racks and roles of nodes: what they may be, where replicas lie by them, who serves, and
 * what would be lost. */
#include <string.h>

#include "base/rng.h"
#include "ctl_fixture.h"

#define STORE    TRILITH__V1__NODE_ROLE__NODE_ROLE_STORE
#define TARGET   TRILITH__V1__NODE_ROLE__NODE_ROLE_TARGET
#define V_PREFIX "volume 'db1': "

enum { GET_STATUS, GET_LOSS };
enum { ADD_DISK = 2 };

#define NODES_MAX 12

static struct fake_node nodes[NODES_MAX];
static unsigned node_count;

static void add(struct fixture *f, const char *zone, const char *rack, unsigned disks)
{
    struct fake_node *n = &nodes[node_count++];

    node_init(n, node_count, disks, 100 * GIB);
    n->zone = zone;
    n->rack = rack;
    (void)node_join(f, n);
    node_report(f, n);
}

/* Nodes without labels. */
static void add_plain(struct fixture *f, unsigned count)
{
    node_count = 0;
    for (unsigned i = 0; i < count; i++)
        add(f, NULL, NULL, 2);
}

static void set_roles(struct fixture *f, struct fake_node *n, bool store, bool target)
{
    n->role_count = 0;
    if (store)
        n->roles[n->role_count++] = STORE;
    if (target)
        n->roles[n->role_count++] = TARGET;
    (void)node_join(f, n);
    node_report(f, n);
}

static void fail_disks(struct fixture *f, struct fake_node *n)
{
    for (unsigned i = 0; i < n->disk_count; i++)
        n->disk_failed[i] = true;
    node_report(f, n);
}

static Trilith__V1__VolumeSpec spec_of(uint32_t replicas)
{
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;

    spec.name = (char *)(uintptr_t) "db1";
    spec.bytes = 10 * GIB;
    spec.replicas = replicas;
    return spec;
}

/* NULL: it is recorded, and waits for its node; else why not. */
static const char *create(struct fixture *f, Trilith__V1__VolumeSpec *spec)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    const char *text = NULL;
    struct rpc_sim_call call;

    request.spec = spec;
    call_start(f, CTL_SERVICE_VOLUME, CREATE, &request.base, &call);
    if (call.ended)
        text = arena_text(&f->arena, call.text);
    else
        rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    return text;
}

static const Trilith__V1__Volume *with_places(struct fixture *f)
{
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;

    request.name = (char *)(uintptr_t) "db1";
    request.with_places = true;
    const Trilith__V1__GetVolumeResponse *r = call_reply(f, CTL_SERVICE_VOLUME, GET, &request.base);
    return r->volume;
}

static const Trilith__V1__GetStatusResponse *status(struct fixture *f)
{
    Trilith__V1__GetStatusRequest request = TRILITH__V1__GET_STATUS_REQUEST__INIT;

    return call_reply(f, CTL_SERVICE_STATUS, GET_STATUS, &request.base);
}

/* "node-3/disk-1" is on nodes[2]. */
static const struct fake_node *node_of(const char *disk)
{
    const unsigned long number = strtoul(disk + strlen("node-"), NULL, 10);

    assert_in_range(number, 1, node_count);
    return &nodes[number - 1];
}

/* ---- What differs, from the labels alone ---- */

static const char *or_none(const char *label)
{
    return label != NULL ? label : "";
}

/* FailureDomain's numbers. */
static bool differ(const struct fake_node *a, const struct fake_node *b, int level)
{
    const bool zone = strcmp(or_none(a->zone), or_none(b->zone)) != 0;

    switch (level) {
    case TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_ZONE:
        return zone;
    case TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_RACK:
        return zone || strcmp(or_none(a->rack), or_none(b->rack)) != 0;
    default:
        return a != b;
    }
}

static bool stores(const struct fake_node *n)
{
    return n->role_count != 1 || n->roles[0] == STORE;
}

static bool serves(const struct fake_node *n)
{
    return n->role_count != 1 || n->roles[0] == TARGET;
}

/* Domains of the nodes that store, and of those alone that can now. */
static unsigned count_domains(int level, bool usable)
{
    unsigned count = 0;

    for (unsigned i = 0; i < node_count; i++) {
        bool counts =
            stores(&nodes[i]) && nodes[i].disk_count > 0 && !(usable && nodes[i].disk_failed[0]);
        for (unsigned j = 0; j < i && counts; j++)
            counts = !stores(&nodes[j]) || nodes[j].disk_count == 0 ||
                     (usable && nodes[j].disk_failed[0]) || differ(&nodes[i], &nodes[j], level);
        count += counts;
    }
    return count;
}

/* ---- Labels ---- */

static void refuse_join(struct fixture *f, const char *zone, const char *rack, int role,
                        const char *text)
{
    Trilith__V1__JoinClusterRequest request = TRILITH__V1__JOIN_CLUSTER_REQUEST__INIT;
    Trilith__V1__NodeRole roles[1] = { (Trilith__V1__NodeRole)role };
    const struct uuid uuid = { { 0x40, 1 } };

    request.node_uuid = arena_uuid_bytes(&f->arena, uuid);
    request.name = arena_text(&f->arena, "node-1");
    request.address = arena_text(&f->arena, "192.0.2.1");
    request.zone = arena_text(&f->arena, zone);
    request.rack = arena_text(&f->arena, rack);
    request.roles = roles;
    request.n_roles = 1;
    const char *said = call_text(f, CTL_SERVICE_NODE, JOIN, &request.base, RPC_INVALID_ARGUMENT);
    if (strstr(said, text) == NULL)
        fail_msg("%s", said);
}

/* Labels and roles are shown as the node said last; what cannot be one is refused. */
static void what_a_node_says(void **state)
{
    struct fixture *f = *state;

    refuse_join(f, "a b", "", STORE, "node 'node-1': zone 'a b': a label has 1 to 63 characters");
    refuse_join(f, "a", "R1", STORE, "node 'node-1': rack 'R1': a label has");
    refuse_join(f, "a", "r1", 3, "neither store nor target");
    node_count = 0;
    add(f, "a", "r1", 1);
    add(f, NULL, NULL, 1);
    set_roles(f, &nodes[0], true, false);
    const Trilith__V1__GetStatusResponse *s = status(f);
    assert_string_equal(s->nodes[0]->zone, "a");
    assert_string_equal(s->nodes[0]->rack, "r1");
    assert_int_equal(s->nodes[0]->n_roles, 1);
    assert_int_equal(s->nodes[0]->roles[0], STORE);
    assert_string_equal(s->nodes[1]->zone, "");
    assert_int_equal(s->nodes[1]->n_roles, 2);
    nodes[0].zone = "b";
    set_roles(f, &nodes[0], false, true);
    fixture_restart(f);
    s = status(f);
    assert_string_equal(s->nodes[0]->zone, "b");
    assert_int_equal(s->nodes[0]->roles[0], TARGET);
}

/* ---- Domains ---- */

/* Where there are three zones three replicas lie in them, and if one is away that is said. */
static void a_zone_that_is_away(void **state)
{
    static const char *const zones[] = { "a", "b", "c" };
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(3);

    node_count = 0;
    for (unsigned i = 0; i < 6; i++)
        add(f, zones[i % 3], NULL, 1);
    fail_disks(f, &nodes[2]);
    fail_disks(f, &nodes[5]);
    assert_string_equal(
        create(f, &spec),
        V_PREFIX "3 replicas in different zones need 3 zones with a working disk, and there are 2: "
                 "'a', 'b'; --allow-degraded makes it all the same, with several replicas in one "
                 "zone");
    spec.allow_degraded = true;
    spec.stride_nodes = 3;
    assert_null(create(f, &spec));
    const Trilith__V1__Volume *v = with_places(f);
    assert_int_equal(v->n_disks, 3); /* Its stride is kept to. */
    assert_int_equal(v->spec->apart, TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_ZONE);
    assert_int_equal(v->n_degraded, 1);
    assert_string_equal(v->degraded[0], "replicas of the same data lie in one zone");
    const Trilith__V1__GetStatusResponse *s = status(f);
    assert_string_equal(s->problems[s->n_problems - 1],
                        V_PREFIX "degraded: replicas of the same data lie in one zone");
}

/* It can be asked for less, and for more than there is. */
static void asked_apart(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);

    node_count = 0;
    add(f, "a", "r1", 1);
    add(f, "a", "r1", 1);
    add(f, "a", "r2", 1);
    spec.apart = TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_ZONE;
    assert_string_equal(
        create(f, &spec),
        V_PREFIX "2 replicas in different zones need 2 zones with a working disk, and there is 1: "
                 "'a'; --allow-degraded makes it all the same, with several replicas in one zone");
    fail_disks(f, &nodes[2]);
    spec.apart = TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_UNSPECIFIED;
    assert_non_null(strstr(create(f, &spec), "2 replicas in different racks need 2 racks"));
    spec.apart = TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_NODE;
    assert_null(create(f, &spec));
    assert_int_equal(with_places(f)->n_degraded, 0);
    spec.apart = TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_RACK;
    assert_string_equal(create(f, &spec),
                        V_PREFIX "it exists with another failure domain (it has 10G)");
    spec.replicas = 1;
    assert_non_null(strstr(create(f, &spec), "--apart is for 2 or 3 replicas"));
    spec.replicas = 2;
    spec.apart = 4;
    assert_string_equal(create(f, &spec), V_PREFIX "apart has no such value");
}

/* A label that changes moves nothing, but what it makes of the volumes is said. */
static void a_node_that_moves(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);

    node_count = 0;
    add(f, "a", NULL, 1);
    add(f, "b", NULL, 1);
    assert_null(create(f, &spec));
    assert_int_equal(with_places(f)->n_degraded, 0);
    nodes[1].zone = "a";
    (void)node_join(f, &nodes[1]);
    assert_string_equal(with_places(f)->degraded[0], "replicas of the same data lie in one zone");
}

/* ---- Roles ---- */

/* Replicas lie on nodes that store, and one that is a target serves. */
static void roles_decide(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);

    add_plain(f, 4);
    set_roles(f, &nodes[0], false, true);
    set_roles(f, &nodes[1], true, false);
    set_roles(f, &nodes[2], true, false);
    set_roles(f, &nodes[3], true, false);
    assert_null(create(f, &spec));
    const Trilith__V1__Volume *v = with_places(f);
    for (size_t i = 0; i < v->n_disks; i++)
        assert_ptr_not_equal(node_of(v->disks[i]), &nodes[0]);
    assert_string_equal(v->targets[0]->node, "node-1");
    assert_int_equal(node_part(f, &nodes[0])->n_volumes, 1);

    spec.name = (char *)(uintptr_t) "db2";
    spec.replicas = 1;
    assert_string_equal(create(f, &spec),
                        "volume 'db2': one replica needs a node with a working disk and the roles "
                        "'store' and 'target', and none is connected; 'trilith status' says why");
    set_roles(f, &nodes[3], true, true);
    assert_null(create(f, &spec));
    assert_int_equal(node_part(f, &nodes[3])->n_volumes, 1);

    spec.name = (char *)(uintptr_t) "db3";
    set_roles(f, &nodes[3], true, false);
    set_roles(f, &nodes[0], true, false);
    spec.replicas = 2;
    assert_string_equal(create(f, &spec),
                        "volume 'db3': no node with the role 'target', which could serve it, is "
                        "connected; 'trilith node list' shows all");
}

/* A node that lost a role still has what it had, and that is said; it gets no disks to store on. */
static void roles_that_are_lost(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__AddDiskRequest add_disk = TRILITH__V1__ADD_DISK_REQUEST__INIT;
    Trilith__V1__VolumeSpec spec = spec_of(1);

    add_plain(f, 1);
    assert_null(create(f, &spec));
    (void)node_says(f, &nodes[0], node_part(f, &nodes[0])->volumes[0]->uuid,
                    TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY);
    set_roles(f, &nodes[0], true, false);
    const Trilith__V1__GetStatusResponse *s = status(f);
    assert_int_equal(s->n_problems, 1);
    assert_string_equal(
        s->problems[0],
        "node 'node-1' serves 1 volumes from before it lost the role 'target'; run "
        "it with the role until they are deleted, or let another one serve those of "
        "several replicas ('trilith volume set --node')");
    assert_int_equal(node_part(f, &nodes[0])->n_volumes, 1);
    set_roles(f, &nodes[0], false, true);
    add_disk.path = arena_text(&f->arena, "/dev/disk-9");
    const char *text =
        call_text(f, CTL_SERVICE_DISK, ADD_DISK, &add_disk.base, RPC_FAILED_PRECONDITION);
    assert_non_null(strstr(text, "its node has not the role 'store'"));
}

/* ---- Drawn clusters ---- */

static void draw(struct fixture *f, struct rng *rng)
{
    static const char *const labels[] = { NULL, "a", "b", "c", "d" };
    const unsigned count = 1 + (unsigned)rng_below(rng, NODES_MAX);
    const unsigned zones = 1 + (unsigned)rng_below(rng, 5);
    const unsigned racks = 1 + (unsigned)rng_below(rng, 4);

    node_count = 0;
    while (node_count < count) {
        struct fake_node *n = &nodes[node_count++];
        node_init(n, node_count, (unsigned)rng_below(rng, 4), (64 + rng_below(rng, 512)) * GIB);
        n->zone = labels[rng_below(rng, zones)];
        n->rack = labels[rng_below(rng, racks)];
        (void)node_join(f, n);
        node_report(f, n); /* Its disks are known from now on. */
        if (rng_one_in(rng, 8))
            fail_disks(f, n);
        if (rng_one_in(rng, 4))
            set_roles(f, n, rng_one_in(rng, 2), true);
        else if (rng_one_in(rng, 4))
            set_roles(f, n, true, false);
    }
}

/* The widest level at which there are as many domains as replicas. */
static int level_of(unsigned replicas)
{
    int level = TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_ZONE;

    while (level > TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_NODE &&
           count_domains(level, false) < replicas)
        level--;
    return level;
}

/* Checks each shard; returns whether replicas of one lie in one domain of the level. */
static bool check_places(const Trilith__V1__Volume *v, int level)
{
    bool crowded = false;

    for (size_t i = 0; i < v->n_places; i++) {
        const Trilith__V1__VolumeShard *s = v->places[i];
        assert_int_equal(s->n_disks, v->spec->replicas);
        for (size_t a = 0; a < s->n_disks; a++) {
            const struct fake_node *n = node_of(s->disks[a]);
            assert_true(stores(n));
            assert_false(n->disk_failed[0]);
            for (size_t b = a + 1; b < s->n_disks; b++) {
                assert_string_not_equal(s->disks[a], s->disks[b]);
                for (int l = TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_NODE; l <= level; l++)
                    crowded |= !differ(n, node_of(s->disks[b]), l);
            }
        }
    }
    return crowded;
}

static unsigned count_targets(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < node_count; i++)
        count += serves(&nodes[i]);
    return count;
}

static unsigned count_disks(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < node_count; i++)
        count += stores(&nodes[i]) && !nodes[i].disk_failed[0] ? nodes[i].disk_count : 0;
    return count;
}

struct tally {
    unsigned created, refused, degraded;
};

static void one_cluster(struct fixture *f, struct rng *rng, struct tally *tally)
{
    const unsigned replicas = 2 + (unsigned)rng_below(rng, 2);
    Trilith__V1__VolumeSpec spec = spec_of(replicas);

    draw(f, rng);
    spec.bytes = (1 + rng_below(rng, 40)) * GIB;
    spec.allow_degraded = rng_one_in(rng, 2);
    const int level = level_of(replicas);
    const bool suffices = count_domains(level, true) >= replicas;
    const bool possible =
        count_targets() > 0 && (suffices || (spec.allow_degraded && count_disks() >= replicas));
    const char *why = create(f, &spec);
    if ((why == NULL) != possible)
        fail_msg("it should %sbe possible: %s", possible ? "" : "not ", why != NULL ? why : "done");
    if (why != NULL) {
        assert_true(strstr(why, " need ") != NULL || strstr(why, "'target'") != NULL);
        tally->refused++;
        return;
    }
    const Trilith__V1__Volume *v = with_places(f);
    assert_int_equal(v->spec->apart, level);
    const bool crowded = check_places(v, level);
    assert_int_equal(crowded, !suffices);
    assert_int_equal(v->n_degraded, crowded);
    assert_true(serves(node_of(v->targets[0]->node)));
    tally->created += !crowded;
    tally->degraded += crowded;
}

/*
 * No two replicas lie in one failure domain while there are enough of them; otherwise the volume is
 * refused, or made degraded if that was asked for, and shown so.  Disks of nodes that do not store
 * get none, and a target serves.
 */
static void drawn_clusters(void **state)
{
    struct tally tally = { 0 };
    struct rng rng;

    (void)state;
    rng_init(&rng, 23);
    for (unsigned round = 0; round < 400; round++) {
        void *fixture = NULL;
        assert_int_equal(fixture_setup(&fixture), 0);
        one_cluster(fixture, &rng, &tally);
        assert_int_equal(fixture_teardown(&fixture), 0);
    }
    assert_true(tally.created > 50);
    assert_true(tally.refused > 50);
    assert_true(tally.degraded > 20);
}

/* ---- What would be lost ---- */

static const Trilith__V1__GetLossResponse *loss(struct fixture *f, uint32_t failures,
                                                const char *volume)
{
    Trilith__V1__GetLossRequest request = TRILITH__V1__GET_LOSS_REQUEST__INIT;

    request.failures = failures;
    request.volume = arena_text(&f->arena, volume);
    return call_reply(f, CTL_SERVICE_STATUS, GET_LOSS, &request.base);
}

/* What nodes would lose is counted from where shards lie: of six nodes and two replicas, three
 * nodes used, those of the 15 pairs that are used. */
static void losses(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeSpec spec = spec_of(2);
    Trilith__V1__GetLossRequest request = TRILITH__V1__GET_LOSS_REQUEST__INIT;

    add_plain(f, 6);
    const Trilith__V1__GetLossResponse *r = loss(f, 2, "");
    assert_int_equal(r->nodes, 6);
    assert_int_equal(r->shards, 0);
    assert_true(r->placed->probability == 0);
    spec.stride_nodes = 2;
    assert_null(create(f, &spec));
    r = loss(f, 1, "");
    assert_int_equal(r->shards, 10);
    assert_int_equal(r->copysets, 1);
    assert_true(r->placed->probability == 0);
    r = loss(f, 2, "");
    assert_true(r->exact);
    assert_true(r->placed->probability == 1. / 15); /* One pair of nodes has it all. */
    assert_true(r->placed->shards == 10);
    assert_true(r->random->probability > 0.45 && r->random->probability < 0.55);
    assert_true(r->at_least == r->placed->probability);

    /* The same with its replicas on one node, and with a node that has stopped storing. */
    spec.name = (char *)(uintptr_t) "db2";
    spec.replicas = 1;
    spec.stride_nodes = 0;
    assert_null(create(f, &spec));
    r = loss(f, 1, "db2");
    assert_true(r->placed->probability == 1. / 6);
    assert_true(loss(f, 1, "db1")->placed->probability == 0);
    set_roles(f, &nodes[0], false, true);
    assert_int_equal(loss(f, 2, "")->nodes, 6);
    assert_int_equal(loss(f, 2, "")->shards, 20);

    request.failures = 9;
    (void)call_text(f, CTL_SERVICE_STATUS, GET_LOSS, &request.base, RPC_INVALID_ARGUMENT);
    request.failures = 0;
    (void)call_text(f, CTL_SERVICE_STATUS, GET_LOSS, &request.base, RPC_INVALID_ARGUMENT);
    request.failures = 7;
    assert_string_equal(
        call_text(f, CTL_SERVICE_STATUS, GET_LOSS, &request.base, RPC_FAILED_PRECONDITION),
        "7 nodes cannot fail: 6 have disks");
    request.volume = arena_text(&f->arena, "db9");
    (void)call_text(f, CTL_SERVICE_STATUS, GET_LOSS, &request.base, RPC_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_node_says), TEST(a_zone_that_is_away),
        TEST(asked_apart),      TEST(a_node_that_moves),
        TEST(roles_decide),     TEST(roles_that_are_lost),
        TEST(losses),           cmocka_unit_test(drawn_clusters),
    };
    return cmocka_run_group_tests_name("labels", tests, NULL, NULL);
}
