/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "ctl_fixture.h"
#include "meta/meta.h"

#define READY TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY

/* Each node has an index of its own, the same whenever it comes back. */
static void indexes(void **state)
{
    struct fixture *f = *state;
    struct fake_node one, two;

    node_init(&one, 1, 0, 0);
    node_init(&two, 2, 0, 0);
    assert_int_equal(node_join(f, &one)->node_index, 1);
    assert_int_equal(node_join(f, &two)->node_index, 2);
    fixture_restart(f);
    assert_int_equal(node_join(f, &one)->node_index, 1);
    const Trilith__V1__JoinClusterResponse *r = node_join(f, &two);
    assert_int_equal(r->node_index, 2);
    assert_string_equal(r->cluster_name, "test");
    const struct uuid cluster = ctl_cluster_uuid(f->ctl);
    assert_memory_equal(r->cluster_uuid.data, cluster.b, sizeof cluster.b);
}

static void join_request(struct fixture *f, Trilith__V1__JoinClusterRequest *request,
                         const char *name, uint8_t number)
{
    const struct uuid uuid = { { 0x40, number } };
    trilith__v1__join_cluster_request__init(request);
    request->node_uuid = arena_uuid_bytes(&f->arena, uuid);
    request->name = arena_text(&f->arena, name);
    request->address = arena_text(&f->arena, "192.0.2.1");
}

/* A node with another's name, of another cluster, or without an identity is refused by name. */
static void strangers(void **state)
{
    struct fixture *f = *state;
    const struct uuid other = { { 7 } };
    Trilith__V1__JoinClusterRequest request;
    struct fake_node one;

    node_init(&one, 1, 0, 0);
    (void)node_join(f, &one);
    join_request(f, &request, "node-1", 2);
    const char *text = call_text(f, CTL_SERVICE_NODE, JOIN, &request.base, RPC_ALREADY_EXISTS);
    assert_non_null(strstr(text, "another node has this name"));

    join_request(f, &request, "node-3", 3);
    request.cluster_uuid = arena_uuid_bytes(&f->arena, other);
    text = call_text(f, CTL_SERVICE_NODE, JOIN, &request.base, RPC_FAILED_PRECONDITION);
    assert_non_null(strstr(text, "its disks belong to cluster 07000000"));

    join_request(f, &request, "node-3", 3);
    request.node_uuid.len = 15;
    (void)call_text(f, CTL_SERVICE_NODE, JOIN, &request.base, RPC_INVALID_ARGUMENT);
}

/* Nodes parse each other's address: one that none of them can is refused, not told. */
static void addresses(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = { "storage-1", "192.0.2.1:4420", "192.0.2.1:0", "192.0.2",
                                       "[::1]",     "[::1]:9",        "::1%" };
    static const char *const good[] = { "192.0.2.1", "::1", "2001:DB8:0::1", "fe80::1%2" };
    Trilith__V1__JoinClusterRequest request;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        join_request(f, &request, "node-3", 3);
        request.address = arena_text(&f->arena, bad[i]);
        const char *text =
            call_text(f, CTL_SERVICE_NODE, JOIN, &request.base, RPC_INVALID_ARGUMENT);
        assert_string_equal(text, arena_printf(&f->arena,
                                               "node 'node-3': its address '%s' is not an IP "
                                               "address",
                                               bad[i]));
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        join_request(f, &request, "node-3", 3);
        request.address = arena_text(&f->arena, good[i]);
        (void)call_reply(f, CTL_SERVICE_NODE, JOIN, &request.base);
    }
}

static void watch_start(struct fixture *f, const struct fake_node *n, uint64_t revision,
                        struct rpc_sim_call *call)
{
    Trilith__V1__WatchNodeRequest request = TRILITH__V1__WATCH_NODE_REQUEST__INIT;
    request.node_uuid = arena_uuid_bytes(&f->arena, n->uuid);
    request.known_revision = revision;
    request.wait_ms = 60000;
    call_start(f, CTL_SERVICE_NODE, WATCH, &request.base, call);
}

static const Trilith__V1__WatchNodeResponse *watched(const struct rpc_sim_call *call)
{
    assert_true(call->ended);
    assert_string_equal(call->text, "");
    return (const Trilith__V1__WatchNodeResponse *)(const void *)call->reply;
}

/* A watch is held while nothing changes, and answered with the whole part when it does. */
static void watch(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call, create;
    struct fake_node n;

    node_init(&n, 1, 2, 100 * GIB);
    (void)node_join(f, &n);
    node_report(f, &n);
    const uint64_t revision = node_part(f, &n)->revision;
    watch_start(f, &n, revision, &call);
    rpc_sim_advance(&f->sim, 5000 * MS);
    node_report(f, &n); /* Status makes no new revision. */
    assert_false(call.ended);
    create_start(f, "db1", GIB, &create);
    assert_true(watched(&call)->revision > revision);
    assert_int_equal(watched(&call)->n_volumes, 1);
    rpc_sim_call_fini(&call);
    rpc_sim_cancel(&f->sim, &create);
    rpc_sim_call_fini(&create);
}

/* A node is told which nodes there are, and told again when one joins. */
static void members(void **state)
{
    struct fixture *f = *state;
    struct fake_node one, two;
    struct rpc_sim_call call;

    node_init(&one, 1, 0, 0);
    node_init(&two, 2, 0, 0);
    (void)node_join(f, &one);
    watch_start(f, &one, 0, &call);
    const Trilith__V1__WatchNodeResponse *part = watched(&call);
    assert_int_equal(part->n_members, 1);
    const uint64_t revision = part->revision;
    rpc_sim_call_fini(&call);
    watch_start(f, &one, revision, &call);
    assert_false(call.ended);
    (void)node_join(f, &two);
    part = watched(&call);
    assert_int_equal(part->n_members, 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(part->members[i].data[1] == one.uuid.b[1] ||
                    part->members[i].data[1] == two.uuid.b[1]);
    const uint64_t told = part->revision;
    rpc_sim_call_fini(&call);
    watch_start(f, &one, told, &call);
    (void)node_join(f, &two); /* It is where it was. */
    assert_false(call.ended);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
}

/* A watch that nothing happens to ends with the known revision; a newer one ends an older. */
static void watch_ends(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call first, second;
    struct fake_node n;

    node_init(&n, 1, 0, 0);
    (void)node_join(f, &n);
    const uint64_t revision = node_part(f, &n)->revision;
    watch_start(f, &n, revision, &first);
    watch_start(f, &n, revision, &second);
    assert_int_equal(first.code, RPC_ABORTED);
    rpc_sim_call_fini(&first);
    rpc_sim_advance(&f->sim, 60001 * MS);
    assert_int_equal(watched(&second)->revision, revision);
    rpc_sim_call_fini(&second);
}

/* A node that never joined must do so before it watches or reports. */
static void unknown_node(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;
    struct fake_node n;
    Trilith__V1__ReportStatusRequest report = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;

    node_init(&n, 1, 0, 0);
    watch_start(f, &n, 0, &call);
    assert_int_equal(call.code, RPC_NOT_FOUND);
    rpc_sim_call_fini(&call);
    report.node_uuid = arena_uuid_bytes(&f->arena, n.uuid);
    (void)call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_NOT_FOUND);
}

/* Each taking of an epoch is one higher, also after a restart, and only for the volume's node. */
static void epochs(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__TakeEpochRequest request = TRILITH__V1__TAKE_EPOCH_REQUEST__INIT;
    struct fake_node n, other;
    struct uuid nobody = { { 1 } };

    node_init(&n, 1, 1, 100 * GIB);
    node_init(&other, 2, 0, 0);
    (void)node_join(f, &n);
    (void)node_join(f, &other);
    node_report(f, &n);
    create_ready(f, &n, "db1", GIB);
    request.node_uuid = arena_uuid_bytes(&f->arena, n.uuid);
    request.volume_uuid = node_part(f, &n)->volumes[0]->uuid;
    for (uint64_t epoch = 1; epoch <= 5; epoch++) {
        const Trilith__V1__TakeEpochResponse *r =
            call_reply(f, CTL_SERVICE_NODE, TAKE_EPOCH, &request.base);
        assert_int_equal(r->epoch, epoch);
        if (epoch == 3)
            fixture_restart(f);
    }
    request.node_uuid = arena_uuid_bytes(&f->arena, other.uuid);
    (void)call_text(f, CTL_SERVICE_NODE, TAKE_EPOCH, &request.base, RPC_FAILED_PRECONDITION);
    request.volume_uuid = arena_uuid_bytes(&f->arena, nobody);
    (void)call_text(f, CTL_SERVICE_NODE, TAKE_EPOCH, &request.base, RPC_NOT_FOUND);
    request.group = 1;
    (void)call_text(f, CTL_SERVICE_NODE, TAKE_EPOCH, &request.base, RPC_INVALID_ARGUMENT);
}

static const Trilith__V1__GetStatusResponse *status(struct fixture *f)
{
    Trilith__V1__GetStatusRequest request = TRILITH__V1__GET_STATUS_REQUEST__INIT;
    return call_reply(f, CTL_SERVICE_STATUS, 0, &request.base);
}

static void expect_problem(struct fixture *f, const char *text)
{
    const Trilith__V1__GetStatusResponse *s = status(f);
    for (size_t i = 0; i < s->n_problems; i++)
        if (strcmp(s->problems[i], text) == 0)
            return;
    fail_msg("'%s' is not among %zu problems, such as '%s'", text, s->n_problems,
             s->n_problems > 0 ? s->problems[0] : "");
}

/* The status counts what is there, and names what is wrong, in words. */
static void status_in_words(void **state)
{
    struct fixture *f = *state;
    struct fake_node n;

    expect_problem(f, "no node has joined yet");
    node_init(&n, 1, 2, 100 * GIB);
    (void)node_join(f, &n);
    expect_problem(f, "node 'node-1' has not reported since the controller started");
    node_report(f, &n);
    create_ready(f, &n, "db1", GIB);
    const Trilith__V1__GetStatusResponse *s = status(f);
    assert_int_equal(s->n_problems, 0);
    assert_int_equal(s->n_nodes, 1);
    assert_int_equal(s->disks_ready, 2);
    assert_int_equal(s->volumes_ready, 1);
    assert_int_equal(s->bytes, 200 * GIB);
    assert_int_equal(s->planned_bytes, GIB);
    assert_string_equal(s->controllers[0], "127.0.0.1:7420");

    n.disk_failed[1] = true;
    node_report(f, &n);
    expect_problem(f, "disk 'node-1/disk-2': it smokes");
    n.disk_count = 1;
    node_report(f, &n);
    expect_problem(f, "disk 'node-1/disk-2': its node does not have it");
    rpc_sim_advance(&f->sim, 12000 * MS);
    expect_problem(f, "node 'node-1' has not reported for 12 s");
    expect_problem(f, "volume 'db1': node 'node-1' does not report");
}

/* What a node uses of its kernel is told as long as it reports; what cannot be names is refused. */
static void io_features(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__ReportStatusRequest report = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    char *many[65]; /* One too many. */
    struct fake_node n;

    node_init(&n, 1, 0, 0);
    (void)node_join(f, &n);
    n.io_feature = "teleport"; /* The controller need not know it. */
    node_report(f, &n);
    const Trilith__V1__GetStatusResponse *s = status(f);
    assert_int_equal(s->nodes[0]->n_io_features, 1);
    assert_string_equal(s->nodes[0]->io_features[0], "teleport");
    rpc_sim_advance(&f->sim, 12000 * MS);
    assert_int_equal(status(f)->nodes[0]->n_io_features, 0);

    for (unsigned i = 0; i < 65; i++)
        many[i] = arena_text(&f->arena, "teleport");
    report.node_uuid = arena_uuid_bytes(&f->arena, n.uuid);
    report.io_features = many;
    report.n_io_features = 65;
    const char *text = call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_INVALID_ARGUMENT);
    assert_string_equal(text, "more than 64 io_features");
    many[0] = arena_printf(&f->arena, "%064d", 0); /* 63 bytes are allowed. */
    report.n_io_features = 1;
    text = call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_INVALID_ARGUMENT);
    assert_string_equal(text, "io_features is longer than 63 bytes");
}

/* What a node has refused is told as long as it reports. */
static void refusals(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__ReportStatusRequest report = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    Trilith__V1__RefusalCount one = TRILITH__V1__REFUSAL_COUNT__INIT;
    Trilith__V1__RefusalCount *many[257]; /* One too many. */
    struct fake_node n;

    node_init(&n, 1, 0, 0);
    (void)node_join(f, &n);
    for (unsigned i = 0; i < 257; i++)
        many[i] = &one;
    one.status = arena_text(&f->arena, "STALE_EPOCH");
    one.count = 3;
    report.node_uuid = arena_uuid_bytes(&f->arena, n.uuid);
    report.refusals = many;
    report.n_refusals = 1;
    (void)call_reply(f, CTL_SERVICE_NODE, REPORT, &report.base);
    const Trilith__V1__GetStatusResponse *s = status(f);
    assert_int_equal(s->nodes[0]->n_refusals, 1);
    assert_string_equal(s->nodes[0]->refusals[0]->status, "STALE_EPOCH");
    assert_int_equal(s->nodes[0]->refusals[0]->count, 3);
    report.n_refusals = 257;
    const char *text = call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_INVALID_ARGUMENT);
    assert_string_equal(text, "more than 256 refusals");
    one.status = arena_printf(&f->arena, "%064d", 0);
    report.n_refusals = 1;
    text = call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_INVALID_ARGUMENT);
    assert_string_equal(text, "refusals.status is longer than 63 bytes");
}

/* Disks are listed by name with what is planned on them, and found by name or UUID. */
static void disks(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__ListDisksRequest list = TRILITH__V1__LIST_DISKS_REQUEST__INIT;
    Trilith__V1__GetDiskRequest get = TRILITH__V1__GET_DISK_REQUEST__INIT;
    struct fake_node n;

    node_init(&n, 1, 3, 100 * GIB);
    (void)node_join(f, &n);
    node_report(f, &n);
    create_ready(f, &n, "db1", 6 * GIB);
    const Trilith__V1__ListDisksResponse *r = call_reply(f, CTL_SERVICE_DISK, 0, &list.base);
    assert_int_equal(r->n_disks, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(r->disks[i]->shards, 2);
        assert_int_equal(r->disks[i]->planned_bytes, 2 * GIB);
        assert_int_equal(r->disks[i]->state, TRILITH__V1__DISK_STATE__DISK_STATE_READY);
    }
    get.name = r->disks[1]->uuid;
    const Trilith__V1__GetDiskResponse *one = call_reply(f, CTL_SERVICE_DISK, 1, &get.base);
    assert_string_equal(one->disk->name, "node-1/disk-2");
    get.name = arena_text(&f->arena, "disk-9");
    (void)call_text(f, CTL_SERVICE_DISK, 1, &get.base, RPC_NOT_FOUND);
}

/* The memory that a disk's checksums take is told as long as its node reports. */
static void checksum_memory(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__GetDiskRequest get = TRILITH__V1__GET_DISK_REQUEST__INIT;
    Trilith__V1__ReportStatusRequest report = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    Trilith__V1__DiskReport disk = TRILITH__V1__DISK_REPORT__INIT;
    Trilith__V1__DiskReport *reported[1] = { &disk };
    struct fake_node n;

    node_init(&n, 1, 1, 100 * GIB);
    (void)node_join(f, &n);
    n.checksum_bytes = 3 * MIB;
    node_report(f, &n);
    get.name = arena_text(&f->arena, "node-1/disk-1");
    const Trilith__V1__GetDiskResponse *r = call_reply(f, CTL_SERVICE_DISK, 1, &get.base);
    assert_int_equal(r->disk->checksum_bytes, 3 * MIB);
    assert_int_equal(r->disk->checksum_budget_bytes, 6 * MIB);
    rpc_sim_advance(&f->sim, 12000 * MS);
    r = call_reply(f, CTL_SERVICE_DISK, 1, &get.base);
    assert_int_equal(r->disk->checksum_bytes, 0);
    assert_int_equal(r->disk->checksum_budget_bytes, 0);

    report.node_uuid = arena_uuid_bytes(&f->arena, n.uuid);
    report.disks = reported;
    report.n_disks = 1;
    disk.uuid = report.node_uuid;
    disk.checksum_budget_bytes = UINT64_C(1) << 53;
    const char *text = call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_INVALID_ARGUMENT);
    assert_non_null(strstr(text, "of memory for checksums"));
}

/* ---- A disk that two nodes report ---- */

static bool has_problem(struct fixture *f, const char *part)
{
    const Trilith__V1__GetStatusResponse *s = status(f);

    for (size_t i = 0; i < s->n_problems; i++)
        if (strstr(s->problems[i], part) != NULL)
            return true;
    return false;
}

/* The node that the first disk of node 1 is recorded as that of. */
static const char *disk_node(struct fixture *f)
{
    Trilith__V1__GetDiskRequest get = TRILITH__V1__GET_DISK_REQUEST__INIT;

    get.name = arena_text(&f->arena, "node-1/disk-1");
    const Trilith__V1__GetDiskResponse *r = call_reply(f, CTL_SERVICE_DISK, 1, &get.base);
    return r->disk->node;
}

/* Node 1 with a disk, node 2 that is to get it, and node 3, which uses it. */
static void three_nodes(struct fixture *f, struct fake_node n[3])
{
    for (unsigned i = 0; i < 3; i++) {
        node_init(&n[i], i + 1, i == 0 ? 1 : 0, 100 * GIB);
        (void)node_join(f, &n[i]);
        node_report(f, &n[i]);
    }
    n[1].disk_of[0] = 1;
}

/* A disk was pulled out of node 1, whose process goes on, and put into node 2: it is that of node
 * 2, and the others hear of it once, however often both report it. */
static void a_disk_of_two_nodes(void **state)
{
    struct fixture *f = *state;
    struct fake_node n[3];

    three_nodes(f, n);
    uint64_t revision = node_part(f, &n[2])->revision;
    n[0].disk_failed[0] = true;
    node_report(f, &n[0]);
    n[1].disk_count = 1;
    node_report(f, &n[1]);
    assert_string_equal(disk_node(f), "node-2");
    assert_true(has_problem(f, "both report it"));
    assert_true(node_part(f, &n[2])->revision > revision);
    revision = node_part(f, &n[2])->revision;
    for (unsigned i = 0; i < 10; i++) {
        node_report(f, &n[0]);
        assert_string_equal(disk_node(f), "node-2");
        assert_true(has_problem(f, "disk 'node-1/disk-1': nodes 'node-2' and 'node-1' both report "
                                   "it; it counts as that of 'node-2': restart the one"));
        node_report(f, &n[1]);
        assert_string_equal(disk_node(f), "node-2");
    }
    assert_int_equal(node_part(f, &n[2])->revision, revision);

    n[1].disk_failed[0] = true; /* One that fails at both stays where it is. */
    node_report(f, &n[1]);
    node_report(f, &n[0]);
    assert_string_equal(disk_node(f), "node-2");
    assert_int_equal(node_part(f, &n[2])->revision, revision);
    n[0].disk_count = 0;
    node_report(f, &n[0]);
    assert_false(has_problem(f, "both report it"));
    n[0].disk_count = 1; /* Back where it was. */
    n[0].disk_failed[0] = false;
    node_report(f, &n[0]);
    assert_string_equal(disk_node(f), "node-1");
    assert_true(node_part(f, &n[2])->revision > revision);
}

/* Both have it, and say that it is well: one has a copy, which counts for nothing. */
static void a_copy_of_a_disk(void **state)
{
    struct fixture *f = *state;
    struct fake_node n[3];

    three_nodes(f, n);
    const uint64_t revision = node_part(f, &n[2])->revision;
    n[1].disk_count = 1;
    for (unsigned i = 0; i < 10; i++) {
        node_report(f, &n[1]);
        node_report(f, &n[0]);
        assert_string_equal(disk_node(f), "node-1");
    }
    assert_int_equal(node_part(f, &n[2])->revision, revision);
    assert_true(has_problem(f, "nodes 'node-1' and 'node-2' both report it"));
    assert_int_equal(status(f)->disks, 1);
    rpc_sim_advance(&f->sim, 10001 * MS); /* Node 1 is silent. */
    node_report(f, &n[1]);
    assert_string_equal(disk_node(f), "node-2");
    assert_false(has_problem(f, "both report it"));
}

/* A disk that its node reports no more, and another one does, is that one's at once. */
static void a_disk_moves(void **state)
{
    struct fixture *f = *state;
    struct fake_node n[3];

    three_nodes(f, n);
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t revision = node_part(f, &n[2])->revision;
        n[i % 2].disk_count = 0;
        node_report(f, &n[i % 2]);
        n[1 - i % 2].disk_count = 1;
        node_report(f, &n[1 - i % 2]);
        assert_string_equal(disk_node(f), n[1 - i % 2].name);
        assert_true(node_part(f, &n[2])->revision > revision);
    }
    const uint64_t revision = node_part(f, &n[2])->revision;
    for (unsigned i = 0; i < 4; i++)
        node_report(f, &n[0]);
    assert_int_equal(node_part(f, &n[2])->revision, revision);
}

/* ---- Nodes that could not be told ---- */

static bool knows(struct fixture *f, const struct fake_node *n, uint64_t *revision,
                  const struct fake_node *other)
{
    struct rpc_sim_call call;
    bool known = false;

    watch_start(f, n, *revision, &call);
    for (size_t i = 0; call.ended && i < watched(&call)->n_members; i++)
        known |= memcmp(watched(&call)->members[i].data, other->uuid.b, 16) == 0;
    if (call.ended)
        *revision = watched(&call)->revision;
    else
        rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    return known;
}

/* A node joins, and the others cannot be told, or it is not known whether it has joined: they are
 * told when that can be. */
static void those_not_told_are_told_later(void **state)
{
    struct fixture *f = *state;
    struct fake_node one, two;
    uint64_t revision = 0;

    node_init(&one, 1, 0, 0);
    (void)node_join(f, &one);
    assert_true(knows(f, &one, &revision, &one));
    for (unsigned i = 0; i < 2; i++) {
        node_init(&two, 2 + i, 0, 0);
        if (i == 0) {
            meta_sim_fault_after(f->meta, 1, META_SIM_FAULT_REFUSE);
            (void)node_join(f, &two);
        } else {
            Trilith__V1__JoinClusterRequest request;
            join_request(f, &request, two.name, 3);
            meta_sim_fault_next(f->meta, META_SIM_FAULT_LOSE);
            (void)call_text(f, CTL_SERVICE_NODE, JOIN, &request.base, RPC_UNAVAILABLE);
            (void)call_reply(f, CTL_SERVICE_NODE, JOIN, &request.base);
        }
        assert_false(knows(f, &one, &revision, &two));
        rpc_sim_advance(&f->sim, 1001 * MS);
        assert_true(knows(f, &one, &revision, &two));
        rpc_sim_advance(&f->sim, 5000 * MS);
        assert_false(knows(f, &one, &revision, &two)); /* Once. */
    }
}

/* The controller dies before it has told them: the next one does when it starts. */
static void a_new_controller_tells_all(void **state)
{
    struct fixture *f = *state;
    struct fake_node one, two;
    uint64_t revision = 0;

    node_init(&one, 1, 0, 0);
    node_init(&two, 2, 0, 0);
    (void)node_join(f, &one);
    assert_true(knows(f, &one, &revision, &one));
    meta_sim_fault_after(f->meta, 1, META_SIM_FAULT_REFUSE);
    (void)node_join(f, &two);
    fixture_restart(f);
    assert_true(knows(f, &one, &revision, &two));
}

/* A disk that is recorded anew, as after it was removed, is told of: it may have leftovers. */
static void a_new_disk_is_told_of(void **state)
{
    struct fixture *f = *state;
    struct fake_node one, two;

    node_init(&one, 1, 0, 0);
    node_init(&two, 2, 2, 100 * GIB);
    (void)node_join(f, &one);
    (void)node_join(f, &two);
    const uint64_t revision = node_part(f, &one)->revision;
    node_report(f, &two);
    const uint64_t told = node_part(f, &one)->revision;
    assert_true(told > revision);
    node_report(f, &two);
    assert_int_equal(node_part(f, &one)->revision, told);
}

/* ---- The order of what a node says ---- */

static const char *node_address(struct fixture *f)
{
    return status(f)->nodes[0]->address;
}

/* What comes after something newer of the same process changes nothing, and is answered. */
static void what_comes_late_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct fake_node now, late;

    node_init(&now, 1, 1, 100 * GIB);
    now.instance = 77;
    now.number = 1;
    late = now; /* Sent first, before the port was known, say. */
    late.address = "192.0.2.66";
    late.disk_failed[0] = true;
    now.number = 2;
    (void)node_join(f, &now);
    assert_int_equal(node_join(f, &late)->node_index, 1);
    assert_string_equal(node_address(f), "192.0.2.1");
    now.number = 5;
    node_report(f, &now);
    for (late.number = 3; late.number <= 5; late.number++) {
        node_report(f, &late);
        (void)node_join(f, &late);
    }
    assert_int_equal(status(f)->n_problems, 0);
    assert_string_equal(node_address(f), "192.0.2.1");
    rpc_sim_advance(&f->sim, 9000 * MS);
    late.number = 4;
    node_report(f, &late);
    rpc_sim_advance(&f->sim, 2000 * MS);
    assert_true(has_problem(f, "node 'node-1' has not reported for 11 s"));
    now.number = 6;
    node_report(f, &now);
    assert_int_equal(status(f)->n_problems, 0);
}

/* A process that is not the one that has joined last must join again, whichever is the older. */
static void another_process_joins_again(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__ReportStatusRequest report = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    struct fake_node old, new;

    node_init(&old, 1, 0, 0);
    old.instance = 77;
    old.number = 9;
    old.address = "192.0.2.66";
    new = old;
    new.instance = 5;
    new.number = 1;
    new.address = "192.0.2.1";
    (void)node_join(f, &old);
    (void)node_join(f, &new);
    assert_string_equal(node_address(f), "192.0.2.1");
    report.node_uuid = arena_uuid_bytes(&f->arena, old.uuid);
    report.instance = 77;
    report.number = 10;
    const char *text = call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_NOT_FOUND);
    assert_non_null(strstr(text, "another process has joined as it since"));
    (void)node_join(f, &old); /* It was late: the one that runs puts it right. */
    report.instance = 5;
    report.number = 2;
    (void)call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_NOT_FOUND);
    new.number = 3;
    (void)node_join(f, &new);
    new.number = 4;
    node_report(f, &new);
    assert_string_equal(node_address(f), "192.0.2.1");
    fixture_restart(f); /* It knows no process: the next one that reports is it. */
    new.number = 5;
    node_report(f, &new);
    report.instance = 77;
    report.number = 11;
    (void)call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(indexes),
        TEST(strangers),
        TEST(watch),
        TEST(members),
        TEST(watch_ends),
        TEST(unknown_node),
        TEST(epochs),
        TEST(status_in_words),
        TEST(disks),
        TEST(io_features),
        TEST(checksum_memory),
        TEST(refusals),
        TEST(addresses),
        TEST(a_disk_of_two_nodes),
        TEST(a_copy_of_a_disk),
        TEST(a_disk_moves),
        TEST(those_not_told_are_told_later),
        TEST(a_new_controller_tells_all),
        TEST(a_new_disk_is_told_of),
        TEST(what_comes_late_changes_nothing),
        TEST(another_process_joins_again),
    };
    return cmocka_run_group_tests_name("nodes", tests, NULL, NULL);
}
