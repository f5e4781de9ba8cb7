/* SPDX-License-Identifier: Apache-2.0 */
/* The node's part as it comes from the controller: what is taken of it, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent_convert.h"

#define SHARDS 4
#define DISKS  3

/* A volume of two replicas on three disks of two nodes. */
struct part {
    Trilith__V1__WatchNodeResponse response;
    Trilith__V1__DesiredVolume volume, *volumes[1];
    Trilith__V1__DiskPlace place[DISKS], *places[DISKS];
    Trilith__V1__NodePlace node[2], *nodes[2];
    ProtobufCBinaryData disks[DISKS];
    uint32_t placement[SHARDS];
    uint32_t tuples[4];
    struct arena arena;
};

static void places_init(struct part *p)
{
    static const char *const names[DISKS] = { "node-1/disk-1", "node-2/disk-1", "" };

    for (uint32_t i = 0; i < 2; i++) {
        trilith__v1__node_place__init(&p->node[i]);
        p->node[i].uuid = arena_uuid_bytes(&p->arena, (struct uuid) { { 0x40, (uint8_t)i } });
        p->nodes[i] = &p->node[i];
    }
    p->node[1].address = arena_text(&p->arena, "192.0.2.7");
    p->node[1].name = arena_text(&p->arena, "node-2");
    p->node[1].port = 4420;
    for (uint32_t i = 0; i < DISKS; i++) {
        trilith__v1__disk_place__init(&p->place[i]);
        p->place[i].name = arena_text(&p->arena, names[i]);
        p->place[i].node = i % 2;
        p->places[i] = &p->place[i];
        p->disks[i] = arena_uuid_bytes(&p->arena, (struct uuid) { { 0xd0, (uint8_t)i } });
    }
    p->response.n_places = DISKS;
    p->response.places = p->places;
    p->response.n_nodes = 2;
    p->response.nodes = p->nodes;
    p->response.n_disk_uuids = DISKS;
    p->response.disk_uuids = p->disks;
}

static void part_init(struct part *p)
{
    *p = (struct part) { .tuples = { 0, 1, 2, 0 }, .placement = { 0, 1, 1, 0 } };
    trilith__v1__watch_node_response__init(&p->response);
    trilith__v1__desired_volume__init(&p->volume);
    places_init(p);
    p->volume.uuid = arena_uuid_bytes(&p->arena, (struct uuid) { { 0x70 } });
    p->volume.name = arena_text(&p->arena, "db1");
    p->volume.nqn = arena_text(&p->arena, "nqn.2026-01.io.trilith:volume:db1");
    p->volume.shard_bytes = 64 << 20;
    p->volume.bytes = SHARDS * p->volume.shard_bytes;
    p->volume.lba_bytes = 4096;
    p->volume.stripe_width = 2;
    p->volume.stripe_unit_bytes = 4096;
    p->volume.replicas = 2;
    p->volume.min_in_sync = 1;
    p->volume.placement = p->placement;
    p->volume.n_placement = SHARDS;
    p->volume.tuples = p->tuples;
    p->volume.n_tuples = 4;
    p->volumes[0] = &p->volume;
    p->response.volumes = p->volumes;
    p->response.n_volumes = 1;
}

/* Tuples are written out for each shard; what is known of the disks' places is taken. */
static void tuples_and_places(void **state)
{
    static const uint32_t expected[SHARDS * 2] = { 0, 1, 2, 0, 2, 0, 0, 1 };
    char problem[NODE_REASON_BYTES] = "";
    struct node_desired d;
    struct part p;

    (void)state;
    part_init(&p);
    p.volume.deleting = true;
    p.volume.delete_epoch = 9;
    p.volume.continue_on_unflushed_loss = true;
    assert_true(status_ok(agent_desired(&p.response, &p.arena, &d, problem)));
    assert_int_equal(d.volumes[0].shard_count, SHARDS);
    assert_memory_equal(d.volumes[0].placement, expected, sizeof expected);
    assert_int_equal(d.volumes[0].delete_epoch, 9);
    assert_true(d.volumes[0].volume.continue_on_unflushed_loss);
    assert_string_equal(d.places[1].name, "node-2/disk-1");
    assert_int_equal(d.places[1].node.b[1], 1);
    assert_string_equal(d.places[1].node_name, "node-2");
    assert_int_equal(d.places[1].addr.port, 4420);
    assert_string_equal(d.places[2].name, "");
    assert_int_equal(d.places[0].addr.port, 0);
    p.response.n_places = 0; /* An older controller does not say. */
    assert_true(status_ok(agent_desired(&p.response, &p.arena, &d, problem)));
    assert_null(d.places);
    arena_free(&p.arena);
}

static void shard_outside(struct part *p)
{
    p->placement[3] = 2;
}

static void disk_outside(struct part *p)
{
    p->tuples[3] = DISKS;
}

static void half_a_tuple(struct part *p)
{
    p->volume.n_tuples = 3;
}

static void no_tuples(struct part *p)
{
    p->volume.n_tuples = 0;
}

static void too_few_shards(struct part *p)
{
    p->volume.n_placement = SHARDS - 1;
}

static void four_replicas(struct part *p)
{
    p->volume.replicas = 4;
}

static void too_few_places(struct part *p)
{
    p->response.n_places = DISKS - 1;
}

static void place_outside(struct part *p)
{
    p->place[2].node = 2;
}

static void long_name(struct part *p)
{
    p->place[0].name = arena_printf(&p->arena, "%080d", 1);
}

static void no_address(struct part *p)
{
    p->node[1].address = arena_text(&p->arena, "nowhere");
}

static void no_port(struct part *p)
{
    p->node[1].port = 1 << 16;
}

static Trilith__V1__MendOrder mend, *mends[] = { &mend };
static Trilith__V1__ScrubOrder scrub, *scrubs[] = { &scrub };

static void mend_init(struct part *p)
{
    trilith__v1__mend_order__init(&mend);
    mend.id = 1;
    mend.bytes = 4096;
    mend.disk_uuid = p->disks[0];
    p->volume.mends = mends;
    p->volume.n_mends = 1;
}

static void scrub_init(struct part *p)
{
    trilith__v1__scrub_order__init(&scrub);
    scrub.id = 2;
    scrub.from = 77;
    scrub.answered = 5;
    scrub.disk_uuid = p->disks[1];
    p->response.scrubs = scrubs;
    p->response.n_scrubs = 1;
}

static void mend_without_id(struct part *p)
{
    mend_init(p);
    mend.id = 0;
}

static void mend_of_half_a_block(struct part *p)
{
    mend_init(p);
    mend.offset = 2048;
}

static void mend_of_no_disk(struct part *p)
{
    mend_init(p);
    mend.disk_uuid.len = 0;
}

static void scrub_without_id(struct part *p)
{
    scrub_init(p);
    scrub.id = 0;
}

static void scrub_of_no_disk(struct part *p)
{
    scrub_init(p);
    scrub.disk_uuid.len = 15;
}

/* Only a disk that is to be removed needs no path. */
static void orders_without_a_path(void **state)
{
    char problem[NODE_REASON_BYTES] = "";
    Trilith__V1__DiskOrder order = TRILITH__V1__DISK_ORDER__INIT;
    Trilith__V1__DiskOrder *orders[] = { &order };
    struct node_desired d;
    struct part p;

    (void)state;
    part_init(&p);
    p.response.orders = orders;
    p.response.n_orders = 1;
    order.id = 1;
    order.name = arena_text(&p.arena, "node-1/disk-3");
    order.disk_uuid = arena_uuid_bytes(&p.arena, (struct uuid) { { 7 } });
    assert_false(status_ok(agent_desired(&p.response, &p.arena, &d, problem)));
    order.grow = true;
    assert_false(status_ok(agent_desired(&p.response, &p.arena, &d, problem)));
    order.grow = false;
    order.remove = true;
    assert_true(status_ok(agent_desired(&p.response, &p.arena, &d, problem)));
    assert_int_equal(d.order_count, 1);
    assert_int_equal(d.orders[0].kind, NODE_ORDER_REMOVE);
    assert_string_equal(d.orders[0].path, "");
    arena_free(&p.arena);
}

/* What is to be read, and what is to be repaired. */
static void scrubs_and_mends(void **state)
{
    char problem[NODE_REASON_BYTES] = "";
    struct node_desired d;
    struct part p;

    (void)state;
    part_init(&p);
    mend_init(&p);
    scrub_init(&p);
    assert_true(status_ok(agent_desired(&p.response, &p.arena, &d, problem)));
    assert_int_equal(d.scrub_count, 1);
    assert_int_equal(d.scrubs[0].from, 77);
    assert_int_equal(d.scrubs[0].answered, 5);
    assert_int_equal(d.scrubs[0].disk.b[1], 1);
    assert_int_equal(d.volumes[0].mend_count, 1);
    assert_int_equal(d.volumes[0].mends[0].bytes, 4096);
    assert_int_equal(d.volumes[0].mends[0].disk.b[0], 0xd0);
    arena_free(&p.arena);
}

/* W1: what cannot be is refused as a whole. */
static void what_cannot_be(void **state)
{
    static void (*const breaks[])(struct part * p) = {
        shard_outside,    disk_outside,    half_a_tuple,         no_tuples,       too_few_shards,
        four_replicas,    too_few_places,  place_outside,        long_name,       no_address,
        no_port,          mend_without_id, mend_of_half_a_block, mend_of_no_disk, scrub_without_id,
        scrub_of_no_disk,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(breaks); i++) {
        char problem[NODE_REASON_BYTES] = "";
        struct node_desired d;
        struct part p;
        part_init(&p);
        breaks[i](&p);
        if (!status_is(agent_desired(&p.response, &p.arena, &d, problem), STATUS_CORRUPT))
            fail_msg("number %zu is taken", i);
        assert_string_not_equal(problem, "");
        arena_free(&p.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tuples_and_places),
        cmocka_unit_test(scrubs_and_mends),
        cmocka_unit_test(orders_without_a_path),
        cmocka_unit_test(what_cannot_be),
    };
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
