/* SPDX-License-Identifier: Apache-2.0 */
/* What each command of the store protocol does, there and back (docs/replication.md, section 2). */
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/crc32c.h"
#include "engine_rig.h"

static struct rig *rig;
static struct engine *e;

/* An engine with a session of a volume of three replicas on the first disk. */
static int setup(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(1, 3);

    rig = rig_create();
    engine_connect(rig, 0);
    e = &rig->engines[0];
    assert_int_equal(engine_open(e, 0, &v, 5, 1), STATUS_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_destroy(rig);
    return 0;
}

static void assert_block(uint32_t block, uint8_t want)
{
    uint8_t fill = 0;

    assert_int_equal(engine_read(e, 0, block, &fill), STATUS_OK);
    assert_int_equal(fill, want);
}

/* ---- Blocks ---- */

static void blocks_go_there_and_back_on_every_queue_and_disk(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(2, 3);
    uint8_t fill = 0;

    for (unsigned disk = 0; disk < RIG_DISKS; disk++) {
        assert_int_equal(engine_open(e, disk, &v, 5, 1), STATUS_OK);
        for (unsigned queue = 0; queue < 2; queue++) {
            const uint8_t want = (uint8_t)(0x10 + disk * 2 + queue);
            assert_int_equal(engine_write(e, queue, 7, want), STATUS_OK);
            assert_int_equal(engine_read(e, 1 - queue, 7, &fill), STATUS_OK);
            assert_int_equal(fill, want);
        }
    }
}

static void the_most_blocks_there_are(void **state)
{
    (void)state;
    struct order *o = write_order(e, 100, 0, WIRE_CREATE);
    uint32_t crcs[WIRE_BLOCKS_MAX];

    o->command.blocks = WIRE_BLOCKS_MAX;
    for (uint32_t i = 0; i < WIRE_BLOCKS_MAX; i++) {
        memset(o->data + (size_t)i * 4096, (int)i + 1, 4096);
        crcs[i] = crc32c(o->data + (size_t)i * 4096, 4096);
    }
    wire_crcs_encode(crcs, WIRE_BLOCKS_MAX,
                     (struct span) { o->data + WIRE_BLOCKS_MAX * 4096, WIRE_BLOCKS_MAX * 4 });
    assert_int_equal(order_run(e, 1, o, 0), STATUS_OK);
    struct order *r = order_make(e, WIRE_READ);
    r->command.first = 100;
    r->command.blocks = WIRE_BLOCKS_MAX;
    order_send(e, 0, r, 0);
    order_wait(e, r);
    assert_int_equal(r->code, STATUS_OK);
    for (uint32_t i = 0; i < WIRE_BLOCKS_MAX; i++)
        assert_int_equal(r->data[(size_t)i * 4096 + 4095], i + 1);
    uint32_t back[WIRE_BLOCKS_MAX];
    wire_crcs_decode((struct const_span) { r->data + WIRE_BLOCKS_MAX * 4096, sizeof back }, back);
    assert_memory_equal(back, crcs, sizeof crcs);
    free(r);
}

/* 2.3: the store checks each CRC before it writes the block. */
static void a_wrong_crc_is_not_written(void **state)
{
    (void)state;
    struct order *o = write_order(e, 3, 0x22, 0);

    assert_int_equal(engine_write(e, 0, 3, 0x11), STATUS_OK);
    o->data[4096] ^= 1;
    assert_int_equal(order_run(e, 0, o, 0), STATUS_BAD_DIGEST);
    assert_block(3, 0x11);
    o = write_order(e, 3, 0x22, 0);
    o->data[100] ^= 1;
    assert_int_equal(order_run(e, 0, o, 0), STATUS_BAD_DIGEST);
    assert_block(3, 0x11);
}

/* S5: never zeros. */
static void an_unknown_shard_is_no_zeros(void **state)
{
    (void)state;
    uint8_t fill;
    struct order *o = write_order(e, 0, 1, 0);

    assert_int_equal(engine_read(e, 0, 0, &fill), STATUS_UNKNOWN_SHARD);
    o->command.flags = 0; /* Nor may this create it. */
    assert_int_equal(order_run(e, 0, o, 0), STATUS_UNKNOWN_SHARD);
    assert_int_equal(engine_write(e, 0, 0, 1), STATUS_OK);
    o = order_make(e, WIRE_READ);
    o->command.first = (1 << 30) / 4096;
    o->command.blocks = 1;
    assert_int_equal(order_run(e, 0, o, 0), STATUS_OUT_OF_RANGE);
}

static void zeros_are_written_and_given_back(void **state)
{
    (void)state;
    static const uint32_t flags[] = { 0, WIRE_DEALLOCATE, WIRE_FUA };

    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        struct order *o = order_make(e, WIRE_ZERO);
        assert_int_equal(engine_write(e, 0, 9, 0x33), STATUS_OK);
        o->command.first = 8;
        o->command.blocks = 100;
        o->command.tick = 1;
        o->command.flags = flags[i];
        assert_int_equal(order_run(e, 1, o, 0), STATUS_OK);
        assert_block(9, 0);
    }
}

/* ---- Flush ---- */

static enum status_code flush(uint64_t incarnation)
{
    struct order *o = order_make(e, WIRE_FLUSH);

    o->command.argument = incarnation;
    return order_run(e, 0, o, 0);
}

/* 5.8, 5.9, 2.3: FLUSH names an incarnation, and FUA means the session's. */
static void promises_are_of_one_incarnation(void **state)
{
    (void)state;
    const uint64_t incarnation = store_incarnation(rig->disks[0].store);
    struct wire_answer answer;

    assert_int_equal(engine_confirm(e, 0, &answer), STATUS_OK);
    assert_int_equal(answer.incarnation, (uint32_t)incarnation);
    assert_int_equal(engine_write(e, 0, 1, 0x11), STATUS_OK);
    assert_int_equal(flush(incarnation), STATUS_OK);
    assert_int_equal(flush(incarnation + 1), STATUS_STALE_INCARNATION);
    assert_int_equal(order_run(e, 0, write_order(e, 1, 0x22, WIRE_FUA), 0), STATUS_OK);
    assert_true(status_ok(
        dev_fault_add(rig->disks[0].dev, &(struct dev_fault) { .action = DEV_FAULT_ERROR,
                                                               .kinds = DEV_FAULT_FLUSHES,
                                                               .status = STATUS(MEDIA_WRITE) })));
    assert_int_equal(flush(incarnation), STATUS_MEDIA_WRITE); /* The disk has failed by it. */
    dev_fault_clear(rig->disks[0].dev);
    assert_int_equal(order_run(e, 0, write_order(e, 1, 0x33, WIRE_FUA), 0),
                     STATUS_STALE_INCARNATION);
    assert_int_equal(flush(incarnation), STATUS_STALE_INCARNATION);
    assert_int_equal(engine_confirm(e, 1, &answer), STATUS_OK);
    assert_int_not_equal(answer.incarnation, (uint32_t)incarnation);
    assert_block(1, 0x22);
}

/* ---- Lists ---- */

static struct order *regions_order(enum wire_opcode opcode, struct wire_region r)
{
    struct order *o = order_make(e, opcode);

    o->command.tick = opcode == WIRE_MERGE_REGIONS ? 2 : 0;
    wire_region_items_encode(opcode, &r, 1,
                             (struct span) { o->data, wire_data_bytes(&o->command, 1) });
    return o;
}

/* The slots that a region of shard 0 lists. */
static uint8_t listed(uint32_t region)
{
    uint64_t cursor = 0;
    uint8_t slots = 0;

    while (cursor != STORE_CURSOR_END) {
        struct order *o = order_make(e, WIRE_REGIONS);
        struct wire_items items;
        o->command.blocks = 2;
        o->command.argument = cursor;
        order_send(e, 0, o, 0);
        order_wait(e, o);
        assert_int_equal(o->code, STATUS_OK);
        assert_true(status_ok(
            wire_regions_decode((struct const_span) { o->data, wire_data_bytes(&o->command, 0) },
                                cursor, &cursor, &items)));
        for (uint32_t i = 0; i < items.count; i++) {
            const struct wire_region r = wire_region_get(items, i);
            if (r.shard == 0 && region - r.region < r.count)
                slots = r.slots;
        }
        free(o);
    }
    return slots;
}

static void regions_are_listed_closed_and_merged(void **state)
{
    (void)state;
    for (uint32_t region = 0; region < 10; region += 2)
        assert_int_equal(engine_write(e, 0, region * 256, 0x11), STATUS_OK);
    assert_int_equal(listed(4), 7);
    assert_int_equal(listed(5), 0);
    const struct wire_region equal = { .region = 4, .count = 1, .tick = 1, .slots = 5 };
    assert_int_equal(order_run(e, 0, regions_order(WIRE_CLOSE_REGIONS, equal), 1), STATUS_OK);
    assert_int_equal(listed(4), 2);
    const struct wire_region missed = { .region = 5, .count = 2, .slots = 4 };
    assert_int_equal(order_run(e, 1, regions_order(WIRE_MERGE_REGIONS, missed), 1), STATUS_OK);
    assert_int_equal(listed(5), 4);
    assert_int_equal(listed(6), 7);
    /* And of a shard that was never written here. */
    struct wire_region other = missed;
    other.shard = 1;
    other.copyset = 9;
    assert_int_equal(order_run(e, 0, regions_order(WIRE_MERGE_REGIONS, other), 1), STATUS_OK);
    other.count = STORE_REGIONS_MAX + 1;
    assert_int_equal(order_run(e, 0, regions_order(WIRE_MERGE_REGIONS, other), 1),
                     STATUS_MALFORMED);
}

/* 3.3: a disk has so many open regions; the engine closes some, and goes on. */
static void a_full_list_is_told(void **state)
{
    (void)state;
    enum status_code code = STATUS_OK;
    uint32_t region = 0;

    for (; region < 1000 && code == STATUS_OK; region++)
        code = engine_write(e, 0, region * 256, 1);
    assert_int_equal(code, STATUS_LIST_FULL);
    const struct wire_region equal = { .count = 20, .tick = 1, .slots = 7 };
    assert_int_equal(order_run(e, 0, regions_order(WIRE_CLOSE_REGIONS, equal), 1), STATUS_OK);
    assert_int_equal(engine_write(e, 0, region * 256, 1), STATUS_OK);
}

/* ---- Sets and state ---- */

static struct wire_set set_of(uint16_t number)
{
    return (struct wire_set) { .number = number,
                               .in = 5,
                               .whole = 2,
                               .disk = { { { 0xd1, 0 } }, { { 1 } }, { { 2 } } },
                               .incarnation = { 11, 0, 13 } };
}

static struct order *set_order(uint64_t sequence, uint16_t number)
{
    struct order *o = order_make(e, WIRE_SET);
    const struct wire_set set = set_of(number);

    wire_set_encode(sequence, &set, 1, (struct span) { o->data, wire_data_bytes(&o->command, 1) });
    return o;
}

static struct wire_state state_of(uint32_t from, struct wire_set *out_sets, uint32_t room)
{
    struct order *o = order_make(e, WIRE_STATE);
    struct wire_state s;

    o->command.argument = from;
    o->command.blocks = room;
    order_send(e, 1, o, 0);
    order_wait(e, o);
    assert_int_equal(o->code, STATUS_OK);
    assert_true(status_ok(
        wire_state_decode((struct const_span) { o->data, wire_data_bytes(&o->command, 0) }, &s)));
    for (uint32_t i = 0; i < s.sets.count; i++)
        out_sets[i] = wire_set_get(s.sets, i);
    free(o);
    return s;
}

/* Field by field: there is a hole between them. */
static void assert_same_set(const struct wire_set *a, const struct wire_set *b)
{
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->in, b->in);
    assert_int_equal(a->whole, b->whole);
    assert_memory_equal(a->disk, b->disk, sizeof a->disk);
    assert_memory_equal(a->incarnation, b->incarnation, sizeof a->incarnation);
}

static void the_state_is_told(void **state)
{
    (void)state;
    struct wire_set sets[4];
    struct wire_state s = state_of(0, sets, 4);

    assert_int_equal(s.incarnation, store_incarnation(rig->disks[0].store));
    assert_int_equal(s.set_count + s.regions + s.generation + s.flags + s.reactor, 0);
    assert_int_equal(engine_write(e, 0, 0, 1), STATUS_OK);
    assert_int_equal(engine_write(e, 0, 512, 1), STATUS_OK);
    for (uint16_t number = 3; number < 9; number++)
        assert_int_equal(order_run(e, 0, set_order(20 + number, number), 1), STATUS_OK);
    s = state_of(4, sets, 4);
    assert_int_equal(s.regions, 2);
    assert_int_equal(s.flags, WIRE_STATE_BUSY);
    assert_int_equal(s.set_count, 6);
    assert_int_equal(s.epoch, 5);
    assert_int_equal(s.sequence, 28);
    assert_int_equal(s.sets.count, 4);
    for (uint16_t i = 0; i < 4; i++) {
        const struct wire_set want = set_of((uint16_t)(4 + i));
        assert_same_set(&sets[i], &want);
    }
    assert_int_equal(state_of(8, sets, 4).sets.count, 1);
    /* 6.5: an older one of the same record never replaces a newer one. */
    assert_int_equal(order_run(e, 0, set_order(5, 3), 1), STATUS_INVALID);
    struct order *o = set_order(99, 3);
    o->data[40] ^= 1;
    assert_int_equal(order_run(e, 0, o, 1), STATUS_BAD_DIGEST);
}

/* OPEN brings the sets with it. */
static void sets_come_with_the_session(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(1, 3);
    const struct wire_set sets[2] = { set_of(1), set_of(2) };
    struct wire_set kept[4];
    struct order *o = open_order(e, 0, &v, 6, 1);
    const struct wire_open open = { .cluster = { { 0xc1 } },
                                    .disk = { { 0xd1, 0 } },
                                    .session = 1,
                                    .sequence = 77,
                                    .volume = v,
                                    .sets = { .count = 2 } };

    wire_open_encode(&open, sets, (struct span) { o->data, wire_data_bytes(&o->command, 2) });
    order_send(e, 0, o, 2);
    order_wait(e, o);
    assert_int_equal(o->code, STATUS_OK);
    e->handle = o->answer.incarnation;
    e->epoch = 6;
    free(o);
    const struct wire_state s = state_of(0, kept, 4);
    assert_int_equal(s.epoch, 6);
    assert_int_equal(s.sequence, 77);
    assert_int_equal(s.set_count, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_same_set(&kept[i], &sets[i]);
}

/* ---- Hashes ---- */

static void hashes_are_told(void **state)
{
    (void)state;
    struct order *o = order_make(e, WIRE_HASH);
    struct wire_items items;
    XXH128_canonical_t canonical;
    uint8_t block[4096];

    assert_int_equal(engine_write(e, 0, 256, 0x44), STATUS_OK);
    o->command.first = 256;
    o->command.blocks = 256;
    order_send(e, 1, o, 0);
    order_wait(e, o);
    assert_int_equal(o->code, STATUS_OK);
    assert_true(status_ok(wire_hashes_decode(
        (struct const_span) { o->data, wire_data_bytes(&o->command, 0) }, 256, &items)));
    memset(block, 0x44, sizeof block);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(block, sizeof block));
    const struct wire_hash h = wire_hash_get(items, 0);
    assert_int_equal(h.state, WIRE_BLOCK_DATA);
    assert_memory_equal(h.hash, &canonical, sizeof canonical);
    assert_int_equal(wire_hash_get(items, 1).state, WIRE_BLOCK_ABSENT);
    free(o);
}

/* 11.3: what nobody has is an error, until it is written. */
static void spoiled_blocks_are_errors(void **state)
{
    (void)state;
    struct order *o = order_make(e, WIRE_SPOIL);
    uint8_t fill;

    assert_int_equal(engine_write(e, 0, 4, 0x11), STATUS_OK);
    o->command.first = 3;
    o->command.blocks = 2;
    o->command.tick = 1;
    assert_int_equal(order_run(e, 1, o, 0), STATUS_OK);
    assert_int_equal(engine_read(e, 0, 3, &fill), STATUS_MEDIA_READ);
    assert_int_equal(engine_read(e, 0, 4, &fill), STATUS_MEDIA_READ);
    assert_int_equal(engine_write(e, 0, 4, 0x22), STATUS_OK);
    assert_block(4, 0x22);
}

/* More than the server has memory for at once: they wait, and come. */
static void more_commands_than_there_is_room_for(void **state)
{
    (void)state;
    enum { COUNT = 120 };
    struct order *orders[COUNT];

    assert_int_equal(engine_write(e, 0, 0, 0x44), STATUS_OK);
    for (unsigned i = 0; i < COUNT; i++) {
        orders[i] = order_make(e, WIRE_HASH);
        orders[i]->command.blocks = 2;
        order_send(e, 0, orders[i], 0);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        order_wait(e, orders[i]);
        assert_int_equal(orders[i]->code, STATUS_OK);
        free(orders[i]);
    }
}

/* ---- What may not be ---- */

static void foreign_disks_and_clusters_are_refused(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(3, 3);

    for (unsigned i = 0; i < 3; i++) {
        struct order *o = open_order(e, 0, &v, 5, 1);
        const struct wire_open open = {
            .cluster = { { i == 0 ? 0xc2 : 0xc1 } },
            .disk = { { 0xd1, i == 1 ? 9 : 0 } },
            .session = 1,
            .volume = v,
        };
        wire_open_encode(&open, NULL, (struct span) { o->data, wire_data_bytes(&o->command, 0) });
        assert_int_equal(order_run(e, 0, o, 0), i < 2 ? STATUS_FOREIGN : STATUS_OK);
    }
}

/* 2.4: one that the volume has nowhere here cannot be; a lower one may be a late write. */
static void a_generation_that_nobody_has_seen_is_refused(void **state)
{
    (void)state;
    static const enum wire_opcode opcodes[] = { WIRE_READ, WIRE_ZERO, WIRE_HASH, WIRE_SPOIL };
    uint64_t counts[STATUS_COUNT];

    assert_int_equal(engine_write(e, 0, 7, 0x11), STATUS_OK);
    for (unsigned i = 0; i < 2 * ARRAY_COUNT(opcodes); i++) {
        struct order *o = order_make(e, opcodes[i / 2]);
        o->command.first = 7;
        o->command.blocks = 1;
        o->command.tick = opcodes[i / 2] == WIRE_ZERO || opcodes[i / 2] == WIRE_SPOIL ? 1 : 0;
        o->command.argument = i % 2 == 0 ? 1 : UINT64_MAX;
        assert_int_equal(order_run(e, 0, o, 0), STATUS_WRONG_GENERATION);
    }
    assert_block(7, 0x11);
    server_count(rig->server, counts);
    assert_int_equal(counts[STATUS_WRONG_GENERATION], 2 * ARRAY_COUNT(opcodes));
}

/* F27: a description that does not extend what the disk knows. */
static void a_volume_that_shrank_is_refused(void **state)
{
    (void)state;
    struct store_volume v = rig_volume(1, 3);

    v.bytes /= 2;
    assert_int_equal(engine_open(e, 0, &v, 9, 1), STATUS_INVALID);
    uint8_t fill;
    assert_int_equal(engine_read(e, 0, 0, &fill), STATUS_UNKNOWN_SHARD); /* Nothing was sealed. */
}

static void what_is_malformed_is_refused(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(1, 3);
    uint64_t counts[STATUS_COUNT];
    struct order *o = open_order(e, 0, &v, 7, 300);

    o->command.session = 301; /* Entry and data name different sessions. */
    assert_int_equal(order_run(e, 0, o, 0), STATUS_MALFORMED);
    server_count(rig->server, counts);
    assert_int_equal(counts[STATUS_MALFORMED], 1);
    assert_true(counts[STATUS_OK] >= 1);
}

static void a_handle_that_was_never_given_is_no_session(void **state)
{
    (void)state;
    static const uint32_t handles[] = { 1,          2,          1000,       70000,
                                        0x00ffffff, 0x01000000, 0x01000001, 0xfffffffe };
    const uint32_t good = e->handle;
    struct wire_answer answer;

    for (size_t i = 0; i < ARRAY_COUNT(handles); i++) {
        e->handle = handles[i];
        assert_int_equal(engine_confirm(e, i % 2, &answer),
                         handles[i] == good ? STATUS_OK : STATUS_STALE_SESSION);
    }
    e->handle = good;
    e->number++;
    assert_int_equal(engine_confirm(e, 0, &answer), STATUS_STALE_SESSION);
    e->number--;
    e->epoch++;
    assert_int_equal(engine_confirm(e, 0, &answer), STATUS_STALE_SESSION);
    e->epoch--;
    assert_int_equal(engine_confirm(e, 0, &answer), STATUS_OK);
    /* Nor is it another link's. */
    engine_connect(rig, 1);
    rig->engines[1].handle = e->handle;
    rig->engines[1].epoch = e->epoch;
    rig->engines[1].number = e->number;
    assert_int_equal(engine_confirm(&rig->engines[1], 0, &answer), STATUS_STALE_SESSION);
}

static void who_does_not_belong_to_the_cluster_is_not_let_in(void **state)
{
    (void)state;
    rig->denied = (struct uuid) { { 0xe1 } };
    engine_connect(rig, 1);
    assert_false(rig->engines[1].ready);
    assert_int_equal(rig->engines[1].why.code, STATUS_DENIED);
}

/* ---- The end ---- */

/* 11.7. */
static void a_deleted_volume_is_gone_with_its_session(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(1, 3);
    struct store_info info;
    struct wire_answer answer;

    assert_int_equal(engine_write(e, 0, 0, 1), STATUS_OK);
    assert_int_equal(order_run(e, 0, order_make(e, WIRE_DELETE), 0), STATUS_OK);
    store_get_info(rig->disks[0].store, &info);
    assert_int_equal(info.volumes + info.shards, 0);
    assert_int_equal(engine_confirm(e, 0, &answer), STATUS_STALE_SESSION);
    assert_int_equal(engine_open(e, 0, &v, 5, 1), STATUS_OK);
}

static void a_removed_disk_ends_its_sessions(void **state)
{
    (void)state;
    const struct store_volume v = rig_volume(1, 3);
    struct wire_answer answer;
    struct order *o = write_order(e, 0, 1, 0);
    struct order *late = open_order(e, 0, &v, 9, 1);

    disk_hold(rig, 0, DEV_FAULT_ALL);
    order_send(e, 0, o, 0);
    th_run(&rig->th, 10 * MS);
    order_send(e, 1, late, 0); /* In the middle of it. */
    th_run(&rig->th, 10 * MS);
    rig->th.flag = false;
    server_remove_disk(rig->server, 0, th_set_flag, &rig->th);
    th_run(&rig->th, NS_PER_S);
    assert_false(rig->th.flag); /* Commands are there yet. */
    disk_release(rig, 0);
    th_wait(&rig->th, &rig->th.flag);
    order_wait(e, o);
    order_wait(e, late);
    assert_int_not_equal(late->code, STATUS_OK);
    free(o);
    free(late);
    assert_int_equal(engine_confirm(e, 0, &answer), STATUS_STALE_SESSION);
    assert_int_equal(engine_open(e, 0, &v, 10, 1), STATUS_FOREIGN);
    server_add_disk(rig->server, 0, (struct uuid) { { 0xd1, 0 } }, rig->disks[0].store);
    assert_int_equal(engine_open(e, 0, &v, 10, 1), STATUS_OK);
}

/* Whoever has a link, and nobody else. */
static void who_is_connected_is_heard(void **state)
{
    (void)state;
    struct uuid heard[2];

    assert_int_equal(server_heard(rig->server, heard, 2), 1);
    assert_true(uuid_equal(heard[0], (struct uuid) { { e->node } }));
    engine_connect(rig, 1);
    assert_int_equal(server_heard(rig->server, heard, 1), 1);
    assert_int_equal(server_heard(rig->server, heard, 2), 2);
    engine_drop(e);
    th_run(&rig->th, MS);
    assert_int_equal(server_heard(rig->server, heard, 2), 1);
    assert_true(uuid_equal(heard[0], (struct uuid) { { rig->engines[1].node } }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        T(blocks_go_there_and_back_on_every_queue_and_disk),
        T(the_most_blocks_there_are),
        T(a_wrong_crc_is_not_written),
        T(an_unknown_shard_is_no_zeros),
        T(zeros_are_written_and_given_back),
        T(promises_are_of_one_incarnation),
        T(regions_are_listed_closed_and_merged),
        T(a_full_list_is_told),
        T(the_state_is_told),
        T(sets_come_with_the_session),
        T(hashes_are_told),
        T(spoiled_blocks_are_errors),
        T(more_commands_than_there_is_room_for),
        T(foreign_disks_and_clusters_are_refused),
        T(a_generation_that_nobody_has_seen_is_refused),
        T(a_volume_that_shrank_is_refused),
        T(what_is_malformed_is_refused),
        T(a_handle_that_was_never_given_is_no_session),
        T(who_does_not_belong_to_the_cluster_is_not_let_in),
        T(a_deleted_volume_is_gone_with_its_session),
        T(a_removed_disk_ends_its_sessions),
        T(who_is_connected_is_heard),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
