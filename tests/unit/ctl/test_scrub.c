/* SPDX-License-Identifier: Apache-2.0 */
/* Scrubs: what nodes are to read, what they find, and who repairs it; R10. */
#include <string.h>

#include "ctl/limits.h"
#include "ctl_fixture.h"
#include "meta/records.h"

enum { REMOVE = 3, START = 5, SCRUBS, STOP }; /* Of the DiskService. */

#define READY       TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY
#define IS(s, what) assert_int_equal((s)->state, TRILITH__V1__SCRUB_STATE__SCRUB_STATE_##what)

/* One has disks, and the other serves the volume. */
static struct fake_node node;
static Trilith__V1__ScrubReport scrub;
static Trilith__V1__ScrubFindingReport finding;
static struct uuid volume;

static void create(struct fixture *f, const char *name, uint32_t replicas)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    struct rpc_sim_call call;

    spec.name = arena_text(&f->arena, name);
    spec.bytes = GIB;
    spec.replicas = replicas;
    spec.allow_degraded = true;
    request.spec = &spec;
    call_start(f, CTL_SERVICE_VOLUME, CREATE, &request.base, &call);
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    memcpy(volume.b, part->volumes[0]->uuid.data, sizeof volume.b);
    node_says(f, &node, part->volumes[0]->uuid, READY);
    node_report(f, &node);
    assert_true(call.ended);
    assert_int_equal(call.code, RPC_OK);
    rpc_sim_call_fini(&call);
}

static void begin(struct fixture *f, uint32_t replicas)
{
    trilith__v1__scrub_report__init(&scrub);
    trilith__v1__scrub_finding_report__init(&finding);
    node_init(&node, 1, 2, 100 * GIB);
    (void)node_join(f, &node);
    node_report(f, &node);
    create(f, "db", replicas);
}

static uint32_t start(struct fixture *f, const char *disk, uint64_t bytes_per_s)
{
    Trilith__V1__StartScrubRequest request = TRILITH__V1__START_SCRUB_REQUEST__INIT;
    request.disk = arena_text(&f->arena, disk);
    request.bytes_per_s = bytes_per_s;
    const Trilith__V1__StartScrubResponse *r =
        call_reply(f, CTL_SERVICE_DISK, START, &request.base);
    return r->begun;
}

static uint32_t stop(struct fixture *f, const char *disk)
{
    Trilith__V1__StopScrubRequest request = TRILITH__V1__STOP_SCRUB_REQUEST__INIT;
    request.disk = arena_text(&f->arena, disk);
    const Trilith__V1__StopScrubResponse *r = call_reply(f, CTL_SERVICE_DISK, STOP, &request.base);
    return r->stopped;
}

static const Trilith__V1__ListScrubsResponse *list(struct fixture *f)
{
    Trilith__V1__ListScrubsRequest request = TRILITH__V1__LIST_SCRUBS_REQUEST__INIT;
    return call_reply(f, CTL_SERVICE_DISK, SCRUBS, &request.base);
}

/* Of the first disk. */
static const Trilith__V1__Scrub *first(struct fixture *f)
{
    const Trilith__V1__ListScrubsResponse *all = list(f);
    assert_true(all->n_scrubs > 0);
    assert_string_equal(all->scrubs[0]->disk, "node-1/disk-1");
    return all->scrubs[0];
}

static const Trilith__V1__ScrubOrder *only_order(struct fixture *f)
{
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    assert_int_equal(part->n_scrubs, 1);
    return part->scrubs[0];
}

/* The disk's node says how far it is. */
static void say(struct fixture *f)
{
    scrub.id = only_order(f)->id;
    node.scrub = &scrub;
    node_report(f, &node);
}

/* It has found this, and waits. */
static void say_found(struct fixture *f, uint64_t number)
{
    finding.number = number;
    finding.volume_uuid = arena_uuid_bytes(&f->arena, volume);
    finding.shard = 0;
    finding.offset = 8 * 4096;
    finding.bytes = 3 * 4096;
    scrub.finding = &finding;
    say(f);
}

static void say_mended(struct fixture *f, uint64_t id, const char *failure, uint32_t repaired,
                       uint32_t unreadable)
{
    Trilith__V1__MendReport mend = TRILITH__V1__MEND_REPORT__INIT;
    Trilith__V1__MendReport *mends[] = { &mend };
    mend.id = id;
    mend.failure = arena_text(&f->arena, failure);
    mend.address = 123 * 4096;
    mend.repaired_blocks = repaired;
    mend.unreadable_blocks = unreadable;
    node.volumes[0].mends = mends;
    node.volumes[0].n_mends = 1;
    node_report(f, &node);
    node.volumes[0].n_mends = 0;
}

static const Trilith__V1__MendOrder *only_mend(struct fixture *f)
{
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    assert_int_equal(part->n_volumes, 1);
    assert_int_equal(part->volumes[0]->n_mends, 1);
    return part->volumes[0]->mends[0];
}

static void no_mend(struct fixture *f)
{
    assert_int_equal(node_part(f, &node)->volumes[0]->n_mends, 0);
}

/* From the order to the end of the disk. */
static void a_disk_is_read_to_its_end(void **state)
{
    struct fixture *f = *state;

    begin(f, 2);
    assert_int_equal(list(f)->n_scrubs, 0);
    assert_int_equal(start(f, "node-1/disk-1", 777), 1);
    assert_int_equal(start(f, "node-1/disk-1", 0), 0); /* It is under way. */
    assert_int_equal(only_order(f)->bytes_per_s, 777);
    assert_int_equal(only_order(f)->from, 0);
    IS(first(f), RUNNING);
    scrub.position = 55;
    scrub.done_bytes = 1000;
    scrub.all_bytes = 4000;
    say(f);
    assert_int_equal(first(f)->done_bytes, 1000);
    assert_int_equal(only_order(f)->from, 55); /* If it has to begin again. */
    assert_int_equal(only_order(f)->done_bytes, 1000);
    scrub.ended = true;
    say(f);
    IS(first(f), DONE);
    assert_int_equal(node_part(f, &node)->n_scrubs, 0);
    assert_int_equal(start(f, "", 0), 2); /* All of them, and anew. */
    assert_int_equal(node_part(f, &node)->n_scrubs, 2);
    assert_int_equal(node_part(f, &node)->scrubs[0]->bytes_per_s, CTL_SCRUB_BYTES_PER_S_DEF);
    assert_int_equal(stop(f, "node-1/disk-2"), 1);
    assert_int_equal(stop(f, ""), 1);
    assert_int_equal(stop(f, ""), 0);
    IS(first(f), STOPPED);
    Trilith__V1__StartScrubRequest request = TRILITH__V1__START_SCRUB_REQUEST__INIT;
    request.disk = arena_text(&f->arena, "node-1/disk-9");
    (void)call_text(f, CTL_SERVICE_DISK, START, &request.base, RPC_NOT_FOUND);
}

/* The engine is asked once for each finding, and the disk's node goes on when it has answered. */
static void what_is_found_is_repaired_by_the_engine(void **state)
{
    struct fixture *f = *state;

    begin(f, 2);
    (void)start(f, "node-1/disk-1", 0);
    no_mend(f);
    say_found(f, 1);
    const uint64_t id = only_mend(f)->id;
    assert_int_equal(only_mend(f)->offset, 8 * 4096);
    assert_int_equal(only_mend(f)->bytes, 3 * 4096);
    assert_int_equal(only_order(f)->answered, 0);
    say_found(f, 1); /* It says so again and again. */
    assert_int_equal(first(f)->found_blocks, 3);
    assert_true(only_mend(f)->id == id);
    say_mended(f, id + 1, "", 9, 9); /* Of somebody else. */
    assert_int_equal(first(f)->repaired_blocks, 0);
    say_mended(f, id, "", 3, 0);
    no_mend(f);
    assert_int_equal(only_order(f)->answered, 1);
    say_found(f, 1); /* A late report. */
    no_mend(f);
    const Trilith__V1__Scrub *s = first(f);
    assert_int_equal(s->found_blocks, 3);
    assert_int_equal(s->repaired_blocks, 3);
    assert_int_equal(s->lost_blocks, 0);
    say_found(f, 2);
    say_mended(f, only_mend(f)->id, "", 1, 2);
    s = first(f);
    assert_int_equal(s->repaired_blocks, 4);
    assert_int_equal(s->lost_blocks, 2);
    assert_int_equal(s->n_findings, 1);
    assert_string_equal(s->findings[0]->volume, "db");
    assert_int_equal(s->findings[0]->offset, 123 * 4096);
    assert_non_null(strstr(s->findings[0]->reason, "every replica"));
    say_found(f, 3);
    say_mended(f, only_mend(f)->id, "it is out of sync", 0, 0);
    assert_int_equal(first(f)->lost_blocks, 5);
    assert_string_equal(first(f)->findings[1]->reason, "it is out of sync");
    assert_int_equal(only_order(f)->answered, 3);
}

static void lost_because(struct fixture *f, uint64_t number, const char *reason)
{
    const Trilith__V1__Scrub *s = first(f);
    assert_int_equal(only_order(f)->answered, number);
    assert_int_equal(s->lost_blocks, 3 * number);
    if (strstr(s->findings[s->n_findings - 1]->reason, reason) == NULL)
        fail_msg("%s", s->findings[s->n_findings - 1]->reason);
}

/* Nobody gets an engine for it. */
static void what_no_engine_can_repair_is_told(void **state)
{
    struct fixture *f = *state;

    begin(f, 2);
    (void)start(f, "node-1/disk-1", 0);
    node.volumes[0].state = TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_FAILED;
    node_report(f, &node);
    say_found(f, 1);
    lost_because(f, 1, "nobody serves the volume now");
    node.volumes[0].state = READY;
    node_report(f, &node);
    say_found(f, 2);
    (void)only_mend(f);
    rpc_sim_advance(&f->sim, (CTL_MEND_MS + 1) * MS);
    lost_because(f, 2, "did not answer");
    no_mend(f);
    const struct uuid was = volume;
    volume = (struct uuid) { { 77 } };
    say_found(f, 3);
    lost_because(f, 3, "no such volume any more");
    volume = was;
    say_found(f, 4);
    const uint64_t id = only_mend(f)->id;
    (void)stop(f, ""); /* Nobody waits for it. */
    no_mend(f);
    say_mended(f, id, "", 3, 0);
    assert_int_equal(first(f)->repaired_blocks, 0);
}

/* What could not be recorded has not been stopped: it runs on, and the engine is waited for. */
static void a_stop_that_is_not_recorded_changes_nothing(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__StopScrubRequest request = TRILITH__V1__STOP_SCRUB_REQUEST__INIT;

    begin(f, 2);
    (void)start(f, "node-1/disk-1", 0);
    say_found(f, 1);
    const uint64_t id = only_mend(f)->id;
    meta_sim_fault_next(f->meta, META_SIM_FAULT_REFUSE);
    (void)call_text(f, CTL_SERVICE_DISK, STOP, &request.base, RPC_UNAVAILABLE);
    IS(first(f), RUNNING);
    assert_true(first(f)->ended_unix_ms == 0);
    assert_int_equal(node_part(f, &node)->n_scrubs, 1);
    assert_true(only_mend(f)->id == id);
    rpc_sim_advance(&f->sim, (CTL_MEND_MS + 1) * MS); /* Not for ever. */
    lost_because(f, 1, "did not answer");
    assert_int_equal(stop(f, ""), 1);
    IS(first(f), STOPPED);
}

/* A disk that is removed takes what is kept of its scrub along. */
static void a_scrub_goes_with_its_disk(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__RemoveDiskRequest request = TRILITH__V1__REMOVE_DISK_REQUEST__INIT;
    struct rpc_sim_call call;
    struct meta_value value;

    begin(f, 1);
    node.disk_count = 3;
    node_report(f, &node);
    const struct meta_key key = key_scrub((struct uuid) { { 0xd0, 1, 2 } });
    assert_int_equal(start(f, "node-1/disk-3", 0), 1);
    assert_true(status_ok(meta_get(f->meta, key.s, &value)));
    meta_value_free(&value);
    request.name = arena_text(&f->arena, "node-1/disk-3");
    call_start(f, CTL_SERVICE_DISK, REMOVE, &request.base, &call);
    node.disk_count = 2;
    node.result_id = node_part(f, &node)->orders[0]->id;
    node.result = "";
    node_report(f, &node);
    node.result_id = 0;
    assert_true(call.ended);
    assert_string_equal(call.text, "");
    rpc_sim_call_fini(&call);
    assert_true(status_is(meta_get(f->meta, key.s, &value), STATUS_NOT_FOUND));
    assert_int_equal(node_part(f, &node)->n_scrubs, 0);
    /* The same disk again has never been scrubbed. */
    node.disk_count = 3;
    node_report(f, &node);
    assert_int_equal(list(f)->n_scrubs, 0);
}

static void one_replica_has_nobody_to_ask(void **state)
{
    struct fixture *f = *state;

    begin(f, 1);
    (void)start(f, "node-1/disk-1", 0);
    for (uint64_t i = 1; i <= 20; i++) {
        say_found(f, i);
        say_mended(f, only_mend(f)->id, "the volume has no other replica", 0, 0);
    }
    assert_int_equal(first(f)->findings[0]->offset, 123 * 4096); /* The engine knows the address. */
    lost_because(f, 20, "no other replica");
    assert_int_equal(first(f)->n_findings, 16); /* The last ones. */
}

/* With the controller it goes on where it was; with the node, too: it waits. */
static void it_goes_on_after_a_restart(void **state)
{
    struct fixture *f = *state;

    begin(f, 1);
    (void)start(f, "node-1/disk-1", 555);
    scrub.position = 77;
    scrub.done_bytes = 4096;
    scrub.all_bytes = 8192;
    say_found(f, 1);
    say_mended(f, only_mend(f)->id, "the volume has no other replica", 0, 0);
    say_found(f, 2); /* This one is told again, and counted once. */
    assert_int_equal(first(f)->found_blocks, 6);
    const uint64_t id = only_order(f)->id;
    fixture_restart(f);
    (void)node_join(f, &node);
    IS(first(f), WAITING);
    const Trilith__V1__ScrubOrder *o = only_order(f);
    assert_true(o->id == id);
    assert_int_equal(o->from, 77);
    assert_int_equal(o->done_bytes, 4096);
    assert_int_equal(o->bytes_per_s, 555);
    assert_int_equal(o->answered, 1);
    node.scrub = NULL;
    node_report(f, &node);
    const Trilith__V1__Scrub *s = first(f);
    IS(s, RUNNING);
    assert_int_equal(s->found_blocks, 3);
    assert_int_equal(s->lost_blocks, 3);
    assert_int_equal(s->n_findings, 1);
    assert_int_equal(s->done_bytes, 4096);
    rpc_sim_advance(&f->sim, 2 * CTL_SILENT_MS * MS);
    s = first(f);
    IS(s, WAITING);
    assert_non_null(strstr(s->reason, "does not report"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_disk_is_read_to_its_end, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_is_found_is_repaired_by_the_engine, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_no_engine_can_repair_is_told, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_stop_that_is_not_recorded_changes_nothing, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_scrub_goes_with_its_disk, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(one_replica_has_nobody_to_ask, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(it_goes_on_after_a_restart, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
