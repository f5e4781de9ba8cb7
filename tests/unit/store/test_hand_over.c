/* SPDX-License-Identifier: Apache-2.0 */
/* store_hand_over(): at every step of a command its memory may become another. */
#include "store/store.h"

#include "rig_case.h"

#define K4    ((uint64_t)4096)
#define GRAIN ((uint64_t)STORE_GRAIN_BYTES)
#define TURNS 100 /* More than all of them take. */

/* A command that somebody else gets. */
struct heir {
    struct store_io io;
    bool done;
    uint32_t crcs[128];
    struct store_hash hashes[8];
};

struct command {
    enum store_opcode opcode;
    bool fua;
    uint64_t offset, bytes;
    uint8_t fill;
};

/* Each has blocks of its own: first touches and overwrites, in several parts, and what is none. */
static const struct command commands[] = {
    { STORE_OP_WRITE, false, 0, 3 * GRAIN, 0x21 },
    { STORE_OP_WRITE, true, 4 * GRAIN, 2 * K4, 0x22 },
    { STORE_OP_WRITE, false, 12 * GRAIN, GRAIN, 0x23 },
    { STORE_OP_READ, false, 6 * GRAIN, 2 * GRAIN, 0xee },
    { STORE_OP_WRITE_ZEROES, false, 9 * GRAIN, 2 * K4, 0 },
    { STORE_OP_HASH, false, 8 * GRAIN, 8 * K4, 0 },
    { STORE_OP_SPOIL, false, 10 * GRAIN, K4, 0 },
    { STORE_OP_FLUSH, false, 0, 0, 0 },
};

static struct rig rig;

static void on_heir(struct store_io *io)
{
    CONTAINER_OF(io, struct heir, io)->done = true;
}

/* The heir has what the command had but for the data of READ and WRITE; the command's memory is
 * used for something else. */
static void hand_over(struct rig_io *r, struct store_hash *hashes, struct heir *h)
{
    const bool transfers = r->io.opcode == STORE_OP_READ || r->io.opcode == STORE_OP_WRITE;

    memcpy(h->crcs, r->crcs, sizeof h->crcs);
    memcpy(h->hashes, hashes, sizeof h->hashes);
    h->io = (struct store_io) { .data = r->io.data, .crcs = h->crcs, .done = on_heir };
    if (!transfers)
        h->io.data.at = (uint8_t *)h->hashes;
    store_hand_over(&r->io, &h->io);
    memset(&r->io, 0xa5, sizeof r->io);
    memset(r->crcs, 0xa5, sizeof r->crcs);
    memset(hashes, 0xa5, sizeof h->hashes);
}

static void wait_for(struct heir *h)
{
    for (unsigned idle = 0; !h->done && idle < 100;) {
        if (rig_turn(&rig))
            continue;
        idle++;
        fake_reactor_run_timers(&rig.reactor, rig.reactor.base.now_ns + 10 * NS_PER_MS);
    }
    assert_true(h->done);
    assert_status(h->io.status, STATUS_OK);
}

static void assert_data(const struct command *c, const struct rig_io *r, const struct heir *h)
{
    const struct store_hash *const hashes = h->hashes;
    struct status st;

    if (c->opcode == STORE_OP_READ)
        for (uint64_t i = 0; i < c->bytes; i++)
            assert_int_equal(r->data[i], 0x11);
    if (c->opcode == STORE_OP_READ)
        assert_int_equal(h->crcs[0], crc32c(r->data, K4));
    for (unsigned i = 0; c->opcode == STORE_OP_HASH && i < 8; i++)
        assert_int_equal(hashes[i].state, STORE_BLOCK_DATA);
    for (uint64_t at = 0; c->opcode == STORE_OP_WRITE && at < c->bytes; at += K4)
        assert_int_equal(rig_read_block(&rig, (c->offset + at) / K4, &st), c->fill);
    if (c->opcode == STORE_OP_WRITE_ZEROES)
        assert_int_equal(rig_read_block(&rig, c->offset / K4, &st), 0);
    if (c->opcode == STORE_OP_SPOIL) {
        (void)rig_read_block(&rig, c->offset / K4, &st);
        assert_status(st, STATUS_MEDIA_READ);
    }
}

/* After so many turns; false: all had ended by then. */
static bool hand_over_after(unsigned turns, uint32_t atomic_bytes)
{
    static struct rig_io r[ARRAY_COUNT(commands)];
    static struct heir heirs[ARRAY_COUNT(commands)];
    static struct store_hash hashes[ARRAY_COUNT(commands)][8];
    bool any = false, handed[ARRAY_COUNT(commands)] = { false };

    rig_init(&rig, NULL, turns + 1);
    rig.dev.info.atomic_bytes = atomic_bytes;
    rig_begin(&rig);
    for (uint64_t at = 0; at < 11 * GRAIN; at += GRAIN)
        assert_status(rig_do(&rig, STORE_OP_WRITE, at, GRAIN, 0x11), STATUS_OK);
    memset(heirs, 0, sizeof heirs);
    for (unsigned i = 0; i < ARRAY_COUNT(commands); i++) {
        rig_submit(&rig, &r[i], commands[i].opcode, commands[i].offset, commands[i].bytes,
                   commands[i].fill);
        r[i].io.fua = commands[i].fua;
        if (commands[i].opcode == STORE_OP_HASH)
            r[i].io.data = (struct span) { (uint8_t *)hashes[i], sizeof hashes[i] };
    }
    for (unsigned t = 0; t < turns; t++)
        (void)rig_turn(&rig);
    for (unsigned i = 0; i < ARRAY_COUNT(commands); i++) {
        handed[i] = !r[i].done;
        any |= handed[i];
        if (handed[i])
            hand_over(&r[i], hashes[i], &heirs[i]);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(commands); i++) {
        if (!handed[i]) {
            assert_status(r[i].io.status, STATUS_OK);
            continue;
        }
        wait_for(&heirs[i]);
        assert_data(&commands[i], &r[i], &heirs[i]);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(commands); i++)
        free(r[i].data);
    rig_abandon(&rig);
    return any;
}

static void at_every_step(void **state)
{
    (void)state;
    static const uint32_t atomic_bytes[] = { 4096, 512 }; /* 512: overwrites are copied first. */

    for (unsigned i = 0; i < ARRAY_COUNT(atomic_bytes); i++) {
        unsigned turns = 0;
        while (turns < TURNS && hand_over_after(turns, atomic_bytes[i]))
            turns++;
        assert_in_range(turns, 8, TURNS - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_every_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
