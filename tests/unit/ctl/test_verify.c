/* SPDX-License-Identifier: Apache-2.0 */
/* Verifications: in the node's part while somebody asks, and what the node has found. */
#include <string.h>

#include "ctl/limits.h"
#include "ctl_fixture.h"

enum { START = 5, ASK, STOP }; /* Of the VolumeService. */

#define READY TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY
#define IS(v, what) \
    assert_int_equal((v)->state, TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_##what)

static struct fake_node node;

static void begin(struct fixture *f)
{
    node_init(&node, 1, 2, 100 * GIB);
    (void)node_join(f, &node);
    node_report(f, &node);
    create_ready(f, &node, "db", GIB);
}

static const Trilith__V1__Verification *start(struct fixture *f, uint64_t bytes_per_s)
{
    Trilith__V1__StartVerificationRequest request = TRILITH__V1__START_VERIFICATION_REQUEST__INIT;
    request.name = arena_text(&f->arena, "db");
    request.bytes_per_s = bytes_per_s;
    const Trilith__V1__StartVerificationResponse *r =
        call_reply(f, CTL_SERVICE_VOLUME, START, &request.base);
    assert_string_equal(r->verification->volume, "db");
    assert_true(r->verification->id != 0);
    return r->verification;
}

static void refused(struct fixture *f, const char *name, enum rpc_code code, const char *words)
{
    Trilith__V1__StartVerificationRequest request = TRILITH__V1__START_VERIFICATION_REQUEST__INIT;
    request.name = arena_text(&f->arena, name);
    const char *text = call_text(f, CTL_SERVICE_VOLUME, START, &request.base, code);
    if (strstr(text, words) == NULL)
        fail_msg("%s", text);
}

static const Trilith__V1__Verification *ask(struct fixture *f, uint64_t id)
{
    Trilith__V1__GetVerificationRequest request = TRILITH__V1__GET_VERIFICATION_REQUEST__INIT;
    request.id = id;
    const Trilith__V1__GetVerificationResponse *r =
        call_reply(f, CTL_SERVICE_VOLUME, ASK, &request.base);
    assert_true(r->verification->id == id);
    return r->verification;
}

static void is_forgotten(struct fixture *f, uint64_t id)
{
    Trilith__V1__GetVerificationRequest request = TRILITH__V1__GET_VERIFICATION_REQUEST__INIT;
    request.id = id;
    (void)call_text(f, CTL_SERVICE_VOLUME, ASK, &request.base, RPC_NOT_FOUND);
}

static void stop(struct fixture *f, uint64_t id)
{
    Trilith__V1__StopVerificationRequest request = TRILITH__V1__STOP_VERIFICATION_REQUEST__INIT;
    request.id = id;
    (void)call_reply(f, CTL_SERVICE_VOLUME, STOP, &request.base);
}

/* What the node is to verify; 0: nothing. */
static uint64_t wanted(struct fixture *f)
{
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    assert_int_equal(part->n_volumes, 1);
    return part->volumes[0]->verification;
}

static void said(struct fixture *f, Trilith__V1__VerificationReport *report)
{
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    node_says(f, &node, part->volumes[0]->uuid, READY)->verification = report;
    node_report(f, &node);
}

/* From its start to what was found. */
static void what_the_node_finds_is_told(void **state)
{
    struct fixture *f = *state;
    uint8_t digest[32];
    Trilith__V1__VerificationReport report = TRILITH__V1__VERIFICATION_REPORT__INIT;
    Trilith__V1__VerifiedReplicaReport one = TRILITH__V1__VERIFIED_REPLICA_REPORT__INIT,
                                       two = TRILITH__V1__VERIFIED_REPLICA_REPORT__INIT;
    Trilith__V1__VerificationFindingReport finding = TRILITH__V1__VERIFICATION_FINDING_REPORT__INIT;
    Trilith__V1__VerifiedReplicaReport *replicas[] = { &one, &two };
    Trilith__V1__VerificationFindingReport *findings[] = { &finding };

    begin(f);
    assert_int_equal(wanted(f), 0);
    const Trilith__V1__Verification *v = start(f, 12345);
    IS(v, WAITING);
    const uint64_t id = v->id;
    assert_true(wanted(f) == id);
    assert_int_equal(node_part(f, &node)->volumes[0]->verification_bytes_per_s, 12345);
    refused(f, "db", RPC_FAILED_PRECONDITION, "being verified already");
    report.id = id + 1; /* Of another one before. */
    said(f, &report);
    IS(ask(f, id), WAITING);
    report.id = id;
    report.bytes = GIB;
    report.done_bytes = 7;
    said(f, &report);
    v = ask(f, id);
    IS(v, RUNNING);
    assert_int_equal(v->done_bytes, 7);
    memset(digest, 0xa5, sizeof digest);
    one.whole = true;
    one.sha256 = (ProtobufCBinaryData) { sizeof digest, digest };
    two.bad_blocks = 3;
    finding.problem = TRILITH__V1__VERIFICATION_PROBLEM__VERIFICATION_PROBLEM_BAD;
    finding.replica = 2;
    finding.offset = 8192;
    finding.bytes = 3 * 4096;
    struct uuid disk;
    memcpy(disk.b, node_part(f, &node)->disk_uuids[0].data, sizeof disk.b);
    finding.disk_uuid = arena_uuid_bytes(&f->arena, disk);
    report.n_replicas = 2;
    report.replicas = replicas;
    report.n_findings = 1;
    report.findings = findings;
    report.ended = true;
    said(f, &report);
    v = ask(f, id);
    IS(v, ENDED);
    assert_false(v->good);
    assert_int_equal(strlen(v->replicas[0]->sha256), 64);
    assert_memory_equal(v->replicas[0]->sha256, "a5a5", 4);
    assert_string_equal(v->replicas[1]->sha256, "");
    assert_int_equal(v->replicas[1]->bad_blocks, 3);
    assert_int_equal(v->replicas[1]->replica, 2);
    assert_int_equal(v->n_findings, 1);
    assert_non_null(strstr(v->findings[0]->disk, "node-1/disk-"));
    report.failure = arena_text(&f->arena, "another node serves it");
    said(f, &report);
    IS(ask(f, id), FAILED);
    stop(f, id);
    assert_int_equal(wanted(f), 0);
    is_forgotten(f, id);
}

/* Another node that serves the volume begins it anew, and what it finds is the result. */
static void another_node_goes_on(void **state)
{
    static struct fake_node pair[2];
    struct fixture *f = *state;
    Trilith__V1__CreateVolumeRequest create = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    Trilith__V1__SetVolumeRequest set = TRILITH__V1__SET_VOLUME_REQUEST__INIT;
    Trilith__V1__DeleteVolumeRequest delete = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    Trilith__V1__VerificationReport old = TRILITH__V1__VERIFICATION_REPORT__INIT,
                                    new = TRILITH__V1__VERIFICATION_REPORT__INIT;
    struct rpc_sim_call call;

    for (unsigned i = 0; i < 2; i++) {
        node_init(&pair[i], i + 1, 1, 100 * GIB);
        (void)node_join(f, &pair[i]);
        node_report(f, &pair[i]);
    }
    spec.name = set.name = delete.name = arena_text(&f->arena, "db");
    spec.bytes = GIB;
    spec.replicas = 2;
    create.spec = &spec;
    call_start(f, CTL_SERVICE_VOLUME, CREATE, &create.base, &call);
    const bool first = node_part(f, &pair[0])->n_volumes == 1;
    struct fake_node *const was = &pair[first ? 0 : 1], *const next = &pair[first ? 1 : 0];
    const ProtobufCBinaryData volume = node_part(f, was)->volumes[0]->uuid;
    (void)node_says(f, was, volume, READY);
    node_report(f, was);
    rpc_sim_call_fini(&call);
    const uint64_t id = start(f, 0)->id;

    set.node = next->name;
    call_start(f, CTL_SERVICE_VOLUME, SET, &set.base, &call);
    assert_true(node_part(f, next)->volumes[0]->verification == id);
    old.id = new.id = id;
    old.ended = true;
    old.failure = arena_text(&f->arena, "another node serves it");
    node_says(f, was, volume, READY)->verification = &old;
    node_report(f, was);
    IS(ask(f, id), WAITING); /* What the one before says counts no more. */
    new.ended = true;
    new.good = true;
    node_says(f, next, volume, READY)->verification = &new;
    node_report(f, next);
    rpc_sim_call_fini(&call);
    const Trilith__V1__Verification *v = ask(f, id);
    IS(v, ENDED);
    assert_true(v->good);
    const uint64_t revision = node_part(f, next)->revision;
    stop(f, id);
    assert_int_equal(node_part(f, next)->volumes[0]->verification, 0);
    assert_true(node_part(f, next)->revision > revision); /* It is told. */

    const uint64_t again = start(f, 0)->id;
    call_start(f, CTL_SERVICE_VOLUME, DELETE, &delete.base, &call);
    (void)node_says(f, next, volume, TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_DELETED);
    node_report(f, next);
    rpc_sim_call_fini(&call);
    v = ask(f, again);
    IS(v, FAILED);
    assert_string_equal(v->reason, "it was deleted meanwhile");
    stop(f, again);
}

/* It ends when nobody asks any more, with the controller, and when its node is silent it waits. */
static void it_lives_while_somebody_asks(void **state)
{
    struct fixture *f = *state;

    begin(f);
    uint64_t id = start(f, 0)->id;
    assert_int_equal(node_part(f, &node)->volumes[0]->verification_bytes_per_s,
                     CTL_VERIFICATION_BYTES_PER_S_DEF);
    for (unsigned i = 0; i < 8; i++) {
        rpc_sim_advance(&f->sim, CTL_VERIFICATION_MS / 2 * MS);
        const Trilith__V1__Verification *v = ask(f, id);
        IS(v, WAITING);
        assert_non_null(strstr(v->reason, "does not report"));
    }
    rpc_sim_advance(&f->sim, (CTL_VERIFICATION_MS + 1) * MS);
    assert_int_equal(wanted(f), 0);
    is_forgotten(f, id);
    refused(f, "db", RPC_FAILED_PRECONDITION, "does not report");
    node_report(f, &node);
    id = start(f, 0)->id;
    fixture_restart(f);
    (void)node_join(f, &node);
    node_report(f, &node);
    assert_int_equal(wanted(f), 0);
    is_forgotten(f, id);
}

static void what_cannot_be_verified(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VerificationReport report = TRILITH__V1__VERIFICATION_REPORT__INIT;

    begin(f);
    refused(f, "nobody", RPC_NOT_FOUND, "there is none of this name");
    node.volumes[0].state = TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_FAILED;
    node_report(f, &node);
    refused(f, "db", RPC_FAILED_PRECONDITION, "not ready");
    node.volumes[0].state = READY;
    node.volumes[0].verification = &report;
    Trilith__V1__VerifiedReplicaReport one = TRILITH__V1__VERIFIED_REPLICA_REPORT__INIT;
    Trilith__V1__VerifiedReplicaReport *replicas[] = { &one };
    one.whole = true; /* And no digest. */
    report.n_replicas = 1;
    report.replicas = replicas;
    Trilith__V1__ReportStatusRequest request = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    Trilith__V1__VolumeReport *volumes[] = { &node.volumes[0] };
    request.node_uuid = arena_uuid_bytes(&f->arena, node.uuid);
    request.volumes = volumes;
    request.n_volumes = 1;
    (void)call_text(f, CTL_SERVICE_NODE, REPORT, &request.base, RPC_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_node_finds_is_told, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(another_node_goes_on, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(it_lives_while_somebody_asks, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_verified, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
