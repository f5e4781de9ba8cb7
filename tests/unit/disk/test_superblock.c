/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/superblock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/le.h"
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

static struct disk_layout grown(const struct disk_layout *from, uint64_t before, uint64_t bytes)
{
    struct disk_layout l;

    assert_int_equal(disk_layout_grow(from, before, bytes, &l).code, STATUS_OK);
    assert_true(status_ok(disk_layout_check(&l, bytes)));
    assert_true(l.data_grains > from->data_grains);
    /* F31: what a checkpoint says of grains that are there still fits, and of all new ones, too. */
    assert_true(disk_layout_limits(&l).map_bytes >= disk_layout_limits(from).map_bytes);
    assert_true(disk_layout_limits(&l).map_bytes >= l.data_grains * 8 * 12);
    /* F35: all pieces are where they were. */
    for (unsigned i = 0; i < LAYOUT_DATA; i++)
        assert_memory_equal(&l.part[i], &from->part[i], sizeof l.part[i]);
    assert_int_equal(l.part[LAYOUT_DATA].offset, from->part[LAYOUT_DATA].offset);
    assert_memory_equal(l.extension, from->extension,
                        from->extension_count * sizeof l.extension[0]);
    return l;
}

/* F33: the grains that all extensions take. */
static uint64_t taken(const struct disk_layout *l)
{
    uint64_t grains = 0;

    for (uint32_t i = 0; i < l->extension_count; i++)
        grains += disk_layout_taken(l, i).count;
    return grains;
}

/* Section 2.6: from the smallest disk to the largest in steps of an eighth, or in one; metadata
 * stays small beside the data. */
static void layout_grows_in_steps_and_leaps(void **state)
{
    (void)state;
    const uint64_t smallest = (uint64_t)16 << 20, largest = (uint64_t)64 << 40;
    struct disk_layout l;
    assert_true(status_ok(disk_layout_make(smallest, &l)));
    (void)grown(&l, smallest, 100 * smallest);
    const struct disk_layout leap = grown(&l, smallest, largest);
    assert_int_equal(leap.extension_count, 1);
    assert_true(taken(&leap) < leap.data_grains / 100);
    uint64_t bytes = smallest;
    for (uint64_t next; bytes < largest; bytes = next) {
        next = min_u64(bytes + max_u64(bytes / 8, LAYOUT_GROWTH_BYTES_MIN), largest);
        if (largest - next < largest / 16)
            next = largest;
        l = grown(&l, bytes, next);
    }
    assert_true(taken(&l) < l.data_grains / 100);
    /* However little it grows by, little of that goes. */
    for (bytes = smallest; bytes < largest; bytes *= 4) {
        assert_true(status_ok(disk_layout_make(bytes, &l)));
        const struct disk_layout next = grown(&l, bytes, bytes + LAYOUT_GROWTH_BYTES_MIN);
        assert_true(taken(&next) <= (next.data_grains - l.data_grains) / 12);
    }
}

/* Each byte of area and table has a place, no two the same one, and all lie in their piece. */
static void pieces_are_counted_through(void **state)
{
    (void)state;
    const uint64_t first = (uint64_t)64 << 20;
    struct disk_layout l;
    assert_true(status_ok(disk_layout_make(first, &l)));
    l = grown(&l, first, 3 * first);
    l = grown(&l, 3 * first, 20 * first);
    assert_int_equal(l.extension_count, 2);
    const struct disk_extension *const e = l.extension;
    for (unsigned area = 0; area < 2; area++) {
        const uint64_t part = l.part[LAYOUT_CHECKPOINT_0 + area].bytes;
        struct disk_extent at = disk_layout_checkpoint_at(&l, area, part - 4096);
        assert_int_equal(at.offset, l.part[LAYOUT_CHECKPOINT_0 + area].offset + part - 4096);
        assert_int_equal(at.bytes, 4096);
        at = disk_layout_checkpoint_at(&l, area, part);
        assert_int_equal(at.offset, e[0].offset + area * e[0].checkpoint_bytes);
        assert_int_equal(at.bytes, e[0].checkpoint_bytes);
        at = disk_layout_checkpoint_at(&l, area, part + e[0].checkpoint_bytes + 8192);
        assert_int_equal(at.offset, e[1].offset + area * e[1].checkpoint_bytes + 8192);
        assert_int_equal(disk_layout_checkpoint_bytes(&l, area),
                         part + e[0].checkpoint_bytes + e[1].checkpoint_bytes);
    }
    const uint64_t table = l.part[LAYOUT_SUMS].bytes;
    assert_int_equal(disk_layout_sums_at(&l, 8192), l.part[LAYOUT_SUMS].offset + 8192);
    assert_int_equal(disk_layout_sums_at(&l, table), e[0].offset + 2 * e[0].checkpoint_bytes);
    assert_int_equal(disk_layout_sums_at(&l, table + e[0].sums_bytes + 4096),
                     e[1].offset + 2 * e[1].checkpoint_bytes + 4096);
    assert_int_equal(disk_layout_taken(&l, 0).first * 131072 + l.part[LAYOUT_DATA].offset,
                     e[0].offset);
}

/* What gains nothing, or goes beyond what a superblock can say, is no growth. */
static void growth_has_limits(void **state)
{
    (void)state;
    const uint64_t first = (uint64_t)64 << 20, step = LAYOUT_GROWTH_BYTES_MIN;
    struct disk_layout l, next;
    assert_true(status_ok(disk_layout_make(first, &l)));
    assert_int_equal(disk_layout_grow(&l, first, first, &next).code, STATUS_OUT_OF_RANGE);
    assert_int_equal(disk_layout_grow(&l, first, first / 2, &next).code, STATUS_OUT_OF_RANGE);
    assert_int_equal(disk_layout_grow(&l, first, first + step - 1, &next).code,
                     STATUS_OUT_OF_RANGE);
    uint64_t bytes = first;
    for (; l.extension_count < LAYOUT_EXTENSIONS_MAX; bytes += step)
        l = grown(&l, bytes, bytes + step);
    struct status st = STATUS(OK);
    for (; status_ok(st); bytes += step) {
        st = disk_layout_grow(&l, bytes, bytes + step, &next);
        l = status_ok(st) ? next : l;
    }
    assert_int_equal(st.code, STATUS_LIMIT);
    /* Beyond 64 TiB there is nothing to be had. */
    assert_true(status_ok(disk_layout_make((uint64_t)70 << 40, &l)));
    assert_int_equal(disk_layout_grow(&l, (uint64_t)70 << 40, (uint64_t)80 << 40, &next).code,
                     STATUS_OUT_OF_RANGE);
}

static void fix_crc(uint8_t *block)
{
    struct le32 crc = le32_make(0);

    memcpy(block + 8, &crc, sizeof crc);
    crc = le32_make(crc32c(block, SUPERBLOCK_BYTES));
    memcpy(block + 8, &crc, sizeof crc);
}

/* F41: the latest of the incarnations that have ended comes first; the oldest is dropped. */
static void earlier_incarnations_are_kept(void **state)
{
    (void)state;
    uint8_t block[SUPERBLOCK_BYTES];
    struct superblock sb = example(9), got;
    sb.has_points = true;
    for (uint64_t i = 1; i <= SUPERBLOCK_LIVES + 1; i++)
        superblock_end_incarnation(&sb.past, i << 32, 10 * i);
    sb.past.lied = true;
    encode(&sb, block, 0);
    assert_true(status_ok(superblock_decode((struct const_span) { block, sizeof block }, &got)));
    assert_true(got.past.lied && got.has_points);
    for (uint64_t i = 0; i < SUPERBLOCK_LIVES; i++) {
        assert_int_equal(got.past.earlier[i].incarnation, (SUPERBLOCK_LIVES + 1 - i) << 32);
        assert_int_equal(got.past.earlier[i].end, 10 * (SUPERBLOCK_LIVES + 1 - i));
    }
}

/* Section 2.1: without the feature there are none; none behind one that is not in use. */
static void earlier_incarnations_are_checked(void **state)
{
    (void)state;
    for (unsigned wrong = 0; wrong < 6; wrong++) {
        uint8_t block[SUPERBLOCK_BYTES];
        struct superblock sb = example(9), got;
        sb.has_points = true;
        superblock_end_incarnation(&sb.past, 1, 2);
        superblock_end_incarnation(&sb.past, 3, 4);
        encode(&sb, block, 0);
        if (wrong == 0)
            block[24] &= (uint8_t)~64; /* The feature. */
        else if (wrong == 1)
            memset(block + 2768, 0, 16); /* The first one. */
        else if (wrong == 2)
            block[2768 + 16 + 8] = 0; /* The end of the second one. */
        else if (wrong == 3)
            block[2768 + 31 * 16] = 1;
        else if (wrong == 4)
            block[3280] = 1;
        else
            block[256] |= 8; /* A flag that there is not. */
        fix_crc(block);
        assert_int_equal(superblock_decode((struct const_span) { block, sizeof block }, &got).code,
                         STATUS_CORRUPT);
    }
}

/* Section 2.1: counts that no disk comes to, and what is never 0, are damage. */
static void counts_are_checked(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint64_t value;
        bool good;
    } cases[] = {
        { 16, UINT64_C(1) << 43, true },
        { 16, (UINT64_C(1) << 43) + 1, false },
        { 16, UINT64_MAX, false },
        { 232, 1, true },
        { 232, 0, false },
        { 232, UINT64_C(1) << 63, true },
        { 232, (UINT64_C(1) << 63) + 1, false },
        { 288, UINT64_C(1) << 62, true },
        { 288, (UINT64_C(1) << 62) + 1, false },
        { 288, 0, false },
        { 296, UINT64_C(1) << 62, true },
        { 296, (UINT64_C(1) << 62) + 1, false },
        { 296, 0, true },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint8_t block[SUPERBLOCK_BYTES];
        const struct superblock sb = example(9);
        const struct le64 value = le64_make(cases[i].value);
        struct superblock got;
        encode(&sb, block, 0);
        memcpy(block + cases[i].at, &value, sizeof value);
        fix_crc(block);
        assert_int_equal(superblock_decode((struct const_span) { block, sizeof block }, &got).code,
                         cases[i].good ? STATUS_OK : STATUS_CORRUPT);
    }
}

/* F2: areas that do not hold as many volumes, shards and regions as the disk may have are damage,
 * whichever of the two it is. */
static void checkpoint_areas_are_checked(void **state)
{
    (void)state;
    const uint64_t sizes[] = { (uint64_t)16 << 20, (uint64_t)10 << 30, (uint64_t)1 << 40 };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        for (unsigned area = 0; area < 2; area++) {
            struct disk_layout l;
            assert_true(status_ok(disk_layout_make(sizes[i], &l)));
            struct disk_extent *const part = &l.part[LAYOUT_CHECKPOINT_0 + area];
            while (status_ok(disk_layout_check(&l, sizes[i])))
                part->bytes -= 4096;
            assert_int_equal(disk_layout_check(&l, sizes[i]).code, STATUS_CORRUPT);
            const struct disk_limits limits = disk_layout_limits(&l);
            assert_true(part->bytes >=
                        limits.volumes * 224 + limits.shards * 96 + limits.region_bytes);
        }
    }
}

/* F33: a superblock whose extensions cannot be is refused, and so is a bit without them. */
static void extensions_are_checked(void **state)
{
    (void)state;
    uint8_t block[SUPERBLOCK_BYTES];
    struct superblock good = example(9), sb, got;
    good.layout = grown(&good.layout, good.device_bytes, 4 * good.device_bytes);
    good.layout = grown(&good.layout, 4 * good.device_bytes, 16 * good.device_bytes);
    good.device_bytes *= 16;
    encode(&good, block, 0);
    assert_true(status_ok(superblock_decode((struct const_span) { block, sizeof block }, &got)));
    assert_memory_equal(&got.layout, &good.layout, sizeof got.layout);
    for (unsigned wrong = 0; wrong < 8; wrong++) {
        sb = good;
        struct disk_extension *const e = sb.layout.extension;
        if (wrong == 0)
            e[1].offset = e[0].offset;
        else if (wrong == 1)
            e[0].offset += 65536;
        else if (wrong == 2)
            e[0].offset = sb.layout.part[LAYOUT_SUMS].offset;
        else if (wrong == 3)
            e[1].offset = sb.device_bytes - 131072;
        else if (wrong == 4)
            e[1].sums_bytes = 65536; /* The table does not suffice. */
        else if (wrong == 5)
            e[1].checkpoint_bytes = UINT64_MAX - 65535;
        else if (wrong == 6)
            e[1].checkpoint_bytes = e[1].sums_bytes = 0;
        else
            sb.layout.extension_count = 1;
        encode(&sb, block, 0);
        assert_int_equal(superblock_decode((struct const_span) { block, sizeof block }, &got).code,
                         STATUS_CORRUPT);
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
    unsigned slot = 9, bad = 0;
    encode(&new, slots, 0);
    encode(&old, slots, 1);
    assert_true(status_ok(superblock_choose(both, &got, &slot, &bad)));
    assert_int_equal(got.sequence, 10);
    assert_int_equal(slot, 0);
    assert_int_equal(bad, 0);
    slots[500] ^= 1;
    assert_true(status_ok(superblock_choose(both, &got, &slot, &bad)));
    assert_int_equal(got.sequence, 9);
    assert_int_equal(slot, 1);
    assert_int_equal(bad, 1);
    slots[SUPERBLOCK_BYTES + 500] ^= 1;
    assert_int_equal(superblock_choose(both, &got, &slot, &bad).code, STATUS_CORRUPT);
    memset(slots, 0, sizeof slots);
    assert_int_equal(superblock_choose(both, &got, &slot, &bad).code, STATUS_NOT_FOUND);
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
        cmocka_unit_test(layout_grows_in_steps_and_leaps),
        cmocka_unit_test(pieces_are_counted_through),
        cmocka_unit_test(growth_has_limits),
        cmocka_unit_test(earlier_incarnations_are_kept),
        cmocka_unit_test(earlier_incarnations_are_checked),
        cmocka_unit_test(counts_are_checked),
        cmocka_unit_test(checkpoint_areas_are_checked),
        cmocka_unit_test(extensions_are_checked),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(newest_valid_superblock_counts),
        cmocka_unit_test(metablock_is_taken_only_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
