/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever engines of other nodes say, as long as it has the right form: the server answers each
 * command once, and goes on (W1).
 */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/rng.h"
#include "engine_rig.h"

#define COMMANDS 1500
#define IN_TURN  12

static const enum wire_opcode opcodes[] = {
    WIRE_OPEN,  WIRE_READ,  WIRE_WRITE,   WIRE_STATE,         WIRE_ZERO,
    WIRE_FLUSH, WIRE_WRITE, WIRE_CONFIRM, WIRE_CLOSE_REGIONS, WIRE_REGIONS,
    WIRE_WRITE, WIRE_READ,  WIRE_HASH,    WIRE_MERGE_REGIONS, WIRE_SET,
    WIRE_SPOIL, WIRE_OPEN,  WIRE_RELEASE, WIRE_DELETE,
};

static struct rng rng;
static uint64_t newest; /* Epoch of all that were asked for. */

static uint32_t below(uint32_t limit)
{
    return (uint32_t)rng_below(&rng, limit);
}

/* Mostly small, so that something meets something; now and then anything. */
static uint32_t some(uint32_t small, uint32_t limit)
{
    return below(20) == 0 ? below(limit) : below(small);
}

static struct wire_set random_set(uint16_t number)
{
    return (struct wire_set) { .number = number,
                               .in = (uint8_t)(1 + below(7)),
                               .disk = { { { 0xd1, 0 } }, { { 1 } }, { { 2 } } },
                               .incarnation = { below(3), below(3), below(3) } };
}

static uint32_t fill_regions(struct order *o)
{
    struct wire_region r[8];
    const uint32_t count = 1 + below(ARRAY_COUNT(r));

    for (uint32_t i = 0; i < count; i++)
        r[i] = (struct wire_region) {
            .shard = some(3, STORE_SHARDS_MAX),
            .region = some(20, 130000),
            .count = 1 + some(8, 1000),
            .tick = o->command.opcode == WIRE_CLOSE_REGIONS ? below(5) : 0,
            .copyset = o->command.opcode == WIRE_MERGE_REGIONS ? (uint16_t)below(9) : 0,
            .slots = (uint8_t)(1 + below(7)),
        };
    wire_region_items_encode(o->command.opcode, r, count,
                             (struct span) { o->data, wire_data_bytes(&o->command, count) });
    return count;
}

static uint32_t fill_sets(struct order *o)
{
    struct wire_set sets[4];
    const uint32_t count = 1 + below(ARRAY_COUNT(sets));

    for (uint32_t i = 0; i < count; i++)
        sets[i] = random_set((uint16_t)(i * 3 + below(3)));
    wire_set_encode(below(20), sets, count,
                    (struct span) { o->data, wire_data_bytes(&o->command, count) });
    return count;
}

static void fill_blocks(struct order *o)
{
    const uint32_t blocks = o->command.blocks;
    uint32_t crcs[WIRE_BLOCKS_MAX];

    for (uint32_t i = 0; i < blocks; i++) {
        memset(o->data + (size_t)i * 4096, (int)below(256), 4096);
        crcs[i] = crc32c(o->data + (size_t)i * 4096, 4096) ^ (below(50) == 0);
    }
    wire_crcs_encode(crcs, blocks,
                     (struct span) { o->data + (size_t)blocks * 4096, (size_t)blocks * 4 });
}

static struct order *random_open(struct engine *e)
{
    const struct store_volume v = rig_volume((uint8_t)below(2), 1 + below(3));

    /* Now and then a newer one; mostly one that is as good as any. */
    newest += below(4) == 0 ? 1 : 0;
    const uint64_t epoch = newest - (below(4) == 0 ? below(2) : 0);
    return open_order(e, below(RIG_DISKS), &v, epoch, 1 + below(1000));
}

/* A command with fields that may be; sets *items. */
static struct order *random_order(struct engine *e, uint32_t *items)
{
    const enum wire_opcode opcode = opcodes[below(ARRAY_COUNT(opcodes))];
    const bool asks = opcode == WIRE_STATE || opcode == WIRE_REGIONS;

    *items = 0;
    if (opcode == WIRE_OPEN)
        return random_open(e);
    struct order *const o = order_make(e, opcode);
    struct wire_command *const c = &o->command;
    if (below(10) == 0)
        c->handle += below(3);
    do {
        c->shard = asks ? 0 : some(3, STORE_SHARDS_MAX);
        c->first = asks ? 0 : some(600, 1 << 20);
        c->blocks = 1 + some(8, opcode == WIRE_ZERO ? WIRE_ZERO_BLOCKS_MAX : 120);
        c->argument = some(4, 5000);
        c->tick = below(5);
        c->flags = below(16);
        c->copyset = below(9);
        /* What the command does not have goes, until it is one. */
        for (unsigned n = 0; n < 40 && !wire_command_is_valid(c); n++) {
            c->flags &= below(16);
            c->copyset = below(2) == 0 ? 0 : c->copyset;
            c->tick = below(2) == 0 ? 0 : c->tick;
            c->argument = below(4) == 0 ? 0 : c->argument;
            c->shard = below(4) == 0 ? 0 : c->shard;
            c->first = below(4) == 0 ? 0 : c->first;
            c->blocks = below(4) == 0 ? 0 : c->blocks;
        }
        c->handle = c->handle == 0 ? 1 : c->handle;
        c->epoch = c->epoch == 0 ? 1 : c->epoch;
    } while (!wire_command_is_valid(c));
    if (opcode == WIRE_CLOSE_REGIONS || opcode == WIRE_MERGE_REGIONS)
        *items = fill_regions(o);
    else if (opcode == WIRE_SET)
        *items = fill_sets(o);
    else if (opcode == WIRE_WRITE)
        fill_blocks(o);
    return o;
}

static void take(struct engine *e, struct order *o)
{
    order_wait(e, o);
    assert_int_not_equal(o->code, STATUS_LOST);
    if (o->command.opcode == WIRE_OPEN && o->code == STATUS_OK) {
        e->handle = o->answer.incarnation;
        e->epoch = o->command.epoch;
        e->number = o->command.session;
    }
    free(o);
}

static void each_command_is_answered(void **state)
{
    (void)state;
    const char *const wanted = getenv("SEEDS");
    const uint64_t seeds = wanted != NULL ? strtoull(wanted, NULL, 10) : 10;

    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct rig *const rig = rig_create();
        uint64_t counts[STATUS_COUNT];

        rng_init(&rng, seed);
        newest = 2;
        for (unsigned i = 0; i < RIG_ENGINES; i++)
            engine_connect(rig, i);
        for (unsigned n = 0; n < COMMANDS; n += IN_TURN) {
            struct order *orders[IN_TURN];
            for (unsigned i = 0; i < IN_TURN; i++) {
                struct engine *const e = &rig->engines[i % RIG_ENGINES];
                uint32_t items;
                orders[i] = random_order(e, &items);
                order_send(e, below(2), orders[i], items);
            }
            for (unsigned i = 0; i < IN_TURN; i++)
                take(&rig->engines[i % RIG_ENGINES], orders[i]);
            if (below(20) == 0) {
                engine_drop(&rig->engines[1]);
                engine_connect(rig, 1);
            }
        }
        server_count(rig->server, counts);
        assert_true(counts[STATUS_OK] > COMMANDS / 20);
        rig_destroy(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_command_is_answered) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
