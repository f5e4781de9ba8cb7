/* SPDX-License-Identifier: Apache-2.0 */
/* HASH: what each block of a layer is (docs/replication.md, 7.5 and 9.4). */
#include "store/store.h"

#include <xxhash.h>

#include "rig_case.h"

#define K4     ((uint64_t)4096)
#define ALL    STORE_HASHES_MAX
#define AT     ((uint64_t)1 << 20) /* The second region of the shard. */
#define LAYERS 3

static struct rig rig;

static int setup(void **state)
{
    (void)state;
    rig_init(&rig, NULL, 1);
    rig_begin(&rig);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    return 0;
}

/* A command, and what it tells. */
struct hashing {
    struct rig_io io;
    struct store_hash at[ALL + 1];
};

/* Nothing is looked at before the next turn: fields are set after the submission. */
static void start(struct hashing *h, uint64_t generation, uint64_t first, uint32_t blocks)
{
    memset(h->at, 0xee, sizeof h->at);
    rig_submit(&rig, &h->io, STORE_OP_HASH, AT + first * K4, blocks * K4, 0);
    h->io.io.generation = generation;
    h->io.io.data = (struct span) { (uint8_t *)h->at, blocks * sizeof h->at[0] };
}

static struct status hash(struct hashing *h, uint64_t generation, uint64_t first, uint32_t blocks)
{
    start(h, generation, first, blocks);
    rig_io_wait(&rig, &h->io);
    return h->io.io.status;
}

static void change(enum store_opcode opcode, uint64_t generation, uint64_t first, uint32_t blocks,
                   uint8_t fill)
{
    struct rig_io io;

    rig_submit(&rig, &io, opcode, AT + first * K4, blocks * K4, fill);
    io.io.generation = generation;
    rig_io_wait(&rig, &io);
    free(io.data);
    assert_status(io.io.status, STATUS_OK);
}

static void assert_data(const struct store_hash *h, uint8_t fill)
{
    uint8_t block[4096];
    XXH128_canonical_t canonical;

    memset(block, fill, sizeof block);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(block, sizeof block));
    assert_int_equal(h->state, STORE_BLOCK_DATA);
    assert_memory_equal(h->hash, &canonical, sizeof h->hash);
}

static void assert_state(const struct store_hash *h, enum store_block_state want)
{
    static const uint8_t none[STORE_HASH_BYTES];

    assert_int_equal(h->state, want);
    assert_memory_equal(h->hash, none, sizeof none);
}

static void each_block_of_a_region_is_told(void **state)
{
    (void)state;
    static struct hashing h;

    change(STORE_OP_WRITE, 1, 0, 100, 0x11);
    change(STORE_OP_WRITE, 1, 100, 1, 0x22);
    change(STORE_OP_WRITE, 1, 255, 1, 0x33);
    change(STORE_OP_WRITE, 1, 256, 1, 0x44); /* In the next region. */
    change(STORE_OP_WRITE_ZEROES, 1, 7, 2, 0);
    assert_status(hash(&h, 1, 0, ALL), STATUS_OK);
    for (uint32_t i = 0; i < 100; i++) {
        if (i == 7 || i == 8)
            assert_state(&h.at[i], STORE_BLOCK_ZERO);
        else
            assert_data(&h.at[i], 0x11);
    }
    assert_data(&h.at[100], 0x22);
    for (uint32_t i = 101; i < 255; i++)
        assert_state(&h.at[i], STORE_BLOCK_ABSENT);
    assert_data(&h.at[255], 0x33);
    /* And any piece of it, or of two. */
    assert_status(hash(&h, 1, 8, 2), STATUS_OK);
    assert_state(&h.at[0], STORE_BLOCK_ZERO);
    assert_data(&h.at[1], 0x11);
    assert_status(hash(&h, 1, 255, 2), STATUS_OK);
    assert_data(&h.at[0], 0x33);
    assert_data(&h.at[1], 0x44);
}

/* Nothing is read through. */
static void each_layer_has_its_own(void **state)
{
    (void)state;
    static struct hashing h;

    change(STORE_OP_WRITE, 1, 0, 2, 0x11);
    change(STORE_OP_WRITE, 3, 1, 2, 0x33);
    for (uint64_t generation = 0; generation <= LAYERS; generation++) {
        assert_status(hash(&h, generation, 0, 3), STATUS_OK);
        for (uint32_t i = 0; i < 3; i++) {
            if (generation == 1 && i < 2)
                assert_data(&h.at[i], 0x11);
            else if (generation == 3 && i > 0)
                assert_data(&h.at[i], 0x33);
            else
                assert_state(&h.at[i], STORE_BLOCK_ABSENT);
        }
    }
}

/* Finds the only block of the disk that is full of a byte. */
static uint64_t place_of(uint8_t fill)
{
    uint64_t at = 0;

    while (rig.content[at] != fill || memcmp(&rig.content[at], &rig.content[at + 1], 4095) != 0)
        at += 4096;
    return at;
}

/* S3: and its neighbours, which are read together with it, are none the worse for it. */
static void what_is_damaged_is_bad(void **state)
{
    (void)state;
    static struct hashing h;
    struct store_info info;

    for (uint8_t i = 0; i < 32; i++)
        change(STORE_OP_WRITE, 1, i, 1, (uint8_t)(0x40 + i));
    rig.content[place_of(0x45) + 4000] ^= 1;
    rig.unread_from = place_of(0x49);
    rig.unread_to = rig.unread_from + 4096;
    assert_status(hash(&h, 1, 0, 32), STATUS_OK);
    for (uint8_t i = 0; i < 32; i++) {
        if (i == 5 || i == 9)
            assert_state(&h.at[i], STORE_BLOCK_BAD);
        else
            assert_data(&h.at[i], (uint8_t)(0x40 + i));
    }
    store_get_info(rig.store, &info);
    assert_int_equal(info.media_errors, 2);
    rig.unread_to = 0;
}

static void what_may_not_be_is_refused(void **state)
{
    (void)state;
    static struct hashing h;

    assert_status(hash(&h, 1, 0, 1), STATUS_UNKNOWN_SHARD);
    change(STORE_OP_WRITE, 1, 0, 1, 0x11);
    assert_status(hash(&h, 1, 0, ALL + 1), STATUS_OUT_OF_RANGE);
    assert_status(hash(&h, 1, 3 * ALL - 1, 2), STATUS_OUT_OF_RANGE);
    start(&h, 1, 0, 2);
    h.io.io.data.bytes--;
    rig_io_wait(&rig, &h.io);
    assert_status(h.io.io.status, STATUS_OUT_OF_RANGE);
}

/* More than there are hashers, with hardly any memory for checksums: each has its turn. */
static void many_at_once_wait_for_each_other(void **state)
{
    (void)state;
    static struct hashing h[20];

    for (uint32_t i = 0; i < ALL; i += 64)
        change(STORE_OP_WRITE, 1, i, 64, (uint8_t)(i + 1));
    rig.checksum_bytes = 2 * 4096;
    rig_reopen(&rig);
    for (size_t i = 0; i < 20; i++)
        start(&h[i], 1, 0, ALL);
    for (size_t i = 0; i < 20; i++) {
        rig_io_wait(&rig, &h[i].io);
        assert_status(h[i].io.io.status, STATUS_OK);
        for (uint32_t b = 0; b < ALL; b++)
            assert_data(&h[i].at[b], (uint8_t)(b / 64 * 64 + 1));
    }
}

/* S7: what a killed process was overwriting is settled before it is looked at. */
static void a_suspect_region_is_settled_first(void **state)
{
    (void)state;
    static struct hashing h;
    struct store_info info;

    change(STORE_OP_WRITE, 1, 0, 8, 0x11);
    change(STORE_OP_WRITE, 1, 0, 1, 0x22); /* Opens the region. */
    uint8_t *image = malloc(RIG_DEVICE_BYTES);
    memcpy(image, rig.content, RIG_DEVICE_BYTES);
    const uint64_t at = place_of(0x22);
    memset(image + at, 0x55, 4096); /* An overwrite whose checksum never came. */
    for (uint64_t seed = 0; seed < 20; seed++) {
        uint8_t *content = malloc(RIG_DEVICE_BYTES);

        memcpy(content, image, RIG_DEVICE_BYTES);
        rig_abandon(&rig);
        rig_init(&rig, content, seed);
        assert_status(rig_open(&rig), STATUS_OK);
        rig.holds_reads = true; /* Those of the settling, which the command overtakes if it may. */
        assert_status(rig_session(&rig, 1), STATUS_OK);
        start(&h, 1, 0, 8);
        while (rig_turn(&rig))
            ;
        rig.holds_reads = false;
        rig_io_wait(&rig, &h.io);
        assert_data(&h.at[0], 0x55);
        assert_data(&h.at[1], 0x11);
        store_get_info(rig.store, &info);
        assert_int_equal(info.adopted_blocks, 1);
        rig.borrowed = false; /* The copy goes with the rig. */
    }
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_block_of_a_region_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(each_layer_has_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_damaged_is_bad, setup, teardown),
        cmocka_unit_test_setup_teardown(what_may_not_be_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once_wait_for_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_suspect_region_is_settled_first, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
