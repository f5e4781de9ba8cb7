/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/superblock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk/metablock.h"

static struct superblock example(uint64_t sequence)
{
    struct superblock sb = { .sequence = sequence,
                             .cluster = { { 1 } },
                             .disk = { { 2 } },
                             .cluster_name = "prod",
                             .disk_name = "node-1/disk-1",
                             .device_bytes = (uint64_t)10 << 30,
                             .tag = 77,
                             .atomic_bytes = 4096,
                             .incarnation = 3,
                             .clean = true,
                             .checkpoint_sequence = 4,
                             .checkpoint_blocks = 5,
                             .life = 6,
                             .journal_start = 7,
                             .journal_flushed = 6 };
    assert_true(status_ok(disk_layout_make(sb.device_bytes, &sb.layout)));
    return sb;
}

static void encode(const struct superblock *sb, uint8_t *slots, unsigned slot)
{
    superblock_encode(sb, (struct span) { slots + superblock_offset(slot), SUPERBLOCK_BYTES });
}

/* F2: on every size of device the parts lie inside, apart, and leave nearly all to the data. */
static void layout_fits_every_size(void **state)
{
    (void)state;
    struct disk_layout l;
    assert_int_equal(disk_layout_make(((uint64_t)16 << 20) - 4096, &l).code, STATUS_LIMIT);
    for (uint64_t bytes = (uint64_t)16 << 20; bytes < (uint64_t)1 << 46;
         bytes += bytes / 3 + 4097) {
        assert_true(status_ok(disk_layout_make(bytes, &l)));
        assert_true(status_ok(disk_layout_check(&l, bytes)));
        /* Journal 1/256, table 1/508, checkpoints below 1/400; small disks have a larger part. */
        if (bytes > (uint64_t)1 << 30)
            assert_true(l.part[LAYOUT_DATA].bytes > bytes - bytes / 80);
    }
}

/* Everything that is written into a superblock is read again. */
static void round_trip(void **state)
{
    (void)state;
    uint8_t block[SUPERBLOCK_BYTES];
    const struct superblock sb = example(9);
    struct superblock got;
    encode(&sb, block, 0);
    assert_true(status_ok(superblock_decode((struct const_span) { block, sizeof block }, &got)));
    assert_int_equal(got.sequence, 9);
    assert_string_equal(got.disk_name, "node-1/disk-1");
    assert_int_equal(got.journal_start, 7);
    assert_int_equal(got.layout.data_grains, sb.layout.data_grains);
    assert_true(got.clean && !got.failed);
}

/* Any flipped bit of a superblock is noticed. */
static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    uint8_t block[SUPERBLOCK_BYTES];
    const struct superblock sb = example(9);
    struct superblock got;
    encode(&sb, block, 0);
    for (size_t bit = 0; bit < sizeof block * 8; bit += 7) {
        block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_false(
            status_ok(superblock_decode((struct const_span) { block, sizeof block }, &got)));
        block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

/* F1: the valid superblock with the higher sequence counts. */
static void newest_valid_superblock_counts(void **state)
{
    (void)state;
    uint8_t slots[2 * SUPERBLOCK_BYTES];
    const struct const_span both = { slots, sizeof slots };
    const struct superblock old = example(9), new = example(10);
    struct superblock got;
    unsigned bad = 0;
    encode(&new, slots, 0);
    encode(&old, slots, 1);
    assert_true(status_ok(superblock_choose(both, &got, &bad)));
    assert_int_equal(got.sequence, 10);
    assert_int_equal(bad, 0);
    slots[500] ^= 1;
    assert_true(status_ok(superblock_choose(both, &got, &bad)));
    assert_int_equal(got.sequence, 9);
    assert_int_equal(bad, 1);
    slots[SUPERBLOCK_BYTES + 500] ^= 1;
    assert_int_equal(superblock_choose(both, &got, &bad).code, STATUS_CORRUPT);
    memset(slots, 0, sizeof slots);
    assert_int_equal(superblock_choose(both, &got, &bad).code, STATUS_NOT_FOUND);
}

/* A metadata block is taken only whole, and only for what it is. */
static void metablock_is_taken_only_whole(void **state)
{
    (void)state;
    uint8_t block[4096];
    struct metablock head;
    const struct const_span span = { block, sizeof block };
    memset(block, 0xaa, sizeof block);
    metablock_seal(
        (struct span) { block, sizeof block }, METABLOCK_JOURNAL,
        &(struct metablock) { .tag = 1, .owner = 2, .sequence = 3, .payload_bytes = 99 });
    assert_true(status_ok(metablock_open(span, METABLOCK_JOURNAL, &head)));
    assert_int_equal(head.sequence, 3);
    assert_int_equal(metablock_payload(span, &head).bytes, 99);
    assert_int_equal(block[4095], 0); /* What follows the payload is zeroed. */
    assert_int_equal(metablock_open(span, METABLOCK_SUMS, &head).code, STATUS_NOT_FOUND);
    block[4000] ^= 1;
    assert_int_equal(metablock_open(span, METABLOCK_JOURNAL, &head).code, STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_fits_every_size),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(newest_valid_superblock_counts),
        cmocka_unit_test(metablock_is_taken_only_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
