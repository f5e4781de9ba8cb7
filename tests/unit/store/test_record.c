/* SPDX-License-Identifier: Apache-2.0 */
/* Records that name cells: docs/disk-format.md, section 2.3. */
#include "store/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CELL_AT   26 /* Of WRITE: the byte that says whether and where the blocks lie elsewhere. */
#define ITEM_AT   16 /* Of CELLS: the first item. */
#define ITEM_CELL 8  /* Of an item. */
#define ITEM_DATA 9
#define ITEM_ZERO 10

static uint8_t bytes[RECORD_BYTES_MAX];

static struct status decode(size_t count, struct record *out)
{
    struct const_span payload = { bytes, count };
    return record_decode(&payload, out);
}

/* Encodes a WRITE and takes it apart again. */
static struct record_write round_trip(uint64_t place, uint32_t first, uint32_t count)
{
    const struct record rec = {
        .type = RECORD_WRITE,
        .items = count,
        .u.write = { .shard = 1,
                     .generation = 2,
                     .grain = 3,
                     .place = place,
                     .first = first,
                     .count = count },
    };
    struct record got;
    memset(bytes, 0, sizeof bytes);
    record_encode(&rec, (struct span) { bytes, record_bytes(RECORD_WRITE, count) });
    assert_true(status_ok(decode(record_bytes(RECORD_WRITE, count), &got)));
    assert_int_equal(got.items, count);
    return got.u.write;
}

/* A WRITE says where its blocks lie, whichever cell that is; what lies naturally is said as ever.
 */
static void writes_name_any_cell(void **state)
{
    (void)state;
    for (uint32_t first = 0; first < 32; first++) {
        for (uint64_t cell = 0; cell < 24; cell++) {
            const uint64_t place = (70000 * (uint64_t)8 + cell) * 4 + first % 4;
            const struct record_write w = round_trip(place, first, 32 - first);
            assert_true(w.place == place && w.first == first && w.count == 32 - first);
            assert_int_equal(bytes[CELL_AT] == 0, cell % 8 == first / 4);
        }
    }
}

/* A place beyond all disks, a ninth cell, or a second way to say the same is refused. */
static void writes_are_said_in_one_way(void **state)
{
    (void)state;
    struct record got;
    const size_t count = record_bytes(RECORD_WRITE, 1);
    (void)round_trip(7 * 32 + 5, 5, 1);
    for (unsigned cell = 0; cell < 256; cell++) {
        bytes[CELL_AT] = (uint8_t)cell;
        assert_int_equal(status_ok(decode(count, &got)), cell <= 8 && cell != 5 / 4 + 1);
    }
    bytes[CELL_AT] = 0;
    bytes[CELL_AT + 1] = 1;
    assert_int_equal(decode(count, &got).code, STATUS_CORRUPT);
    (void)round_trip((LAYOUT_GRAINS_MAX - 1) * 32 + 5, 5, 1);
    memset(bytes + 20, 0xff, 4); /* The place. */
    assert_int_equal(decode(count, &got).code, STATUS_CORRUPT);
}

/* An item of CELLS is one cell of one grain with data, or the record is refused. */
static void cells_are_checked(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        bool good;
    } edits[] = {
        { ITEM_CELL, 7, true },      { ITEM_CELL, 8, false },  { ITEM_DATA, 15, true },
        { ITEM_DATA, 0, false },     { ITEM_DATA, 16, false }, { ITEM_ZERO, 1, false },
        { ITEM_ZERO + 1, 1, false }, { 3, 0xff, false }, /* The grain's highest byte. */
    };
    const struct record rec = { .type = RECORD_CELLS,
                                .items = 1,
                                .u.grains = { .shard = 1, .generation = 2 } };
    const struct record_cells_item item = { .grain = 9, .address = 77, .cell = 3, .data = 5 };
    const size_t count = record_bytes(RECORD_CELLS, 1);
    struct record got;
    for (size_t i = 0; i < ARRAY_COUNT(edits); i++) {
        memset(bytes, 0, sizeof bytes);
        record_encode(&rec, (struct span) { bytes, count });
        record_put_cell((struct span) { bytes, count }, 0, &item);
        assert_true(status_ok(decode(count, &got)));
        const struct record_cells_item back = record_get_cell(&got, 0);
        assert_true(back.grain == 9 && back.address == 77 && back.cell == 3 && back.data == 5);
        bytes[ITEM_AT + edits[i].at] = edits[i].value;
        assert_int_equal(status_ok(decode(count, &got)), edits[i].good);
    }
}

static void a_spoiled_block_names_its_grain(void **state)
{
    (void)state;
    const struct record_spoil_item item = { .grain = 77, .blocks = 0x80000001 };
    const struct record rec = { .type = RECORD_SPOIL,
                                .items = 1,
                                .u.grains = { .shard = 5, .generation = 3 } };
    const size_t count = record_bytes(RECORD_SPOIL, 1);
    struct record got;

    record_encode(&rec, (struct span) { bytes, count });
    record_put_spoil((struct span) { bytes, count }, 0, &item);
    assert_true(status_ok(decode(count, &got)));
    assert_int_equal(got.u.grains.shard, 5);
    assert_int_equal(got.u.grains.generation, 3);
    assert_int_equal(record_get_spoil(&got, 0).grain, 77);
    assert_int_equal(record_get_spoil(&got, 0).blocks, 0x80000001);
    memset(bytes + count - 4, 0, 4); /* No block. */
    assert_int_equal(decode(count, &got).code, STATUS_CORRUPT);
    bytes[count - 1] = 1;
    bytes[count - 5] = 0xff; /* A grain behind the largest shard. */
    assert_int_equal(decode(count, &got).code, STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_name_any_cell),
        cmocka_unit_test(writes_are_said_in_one_way),
        cmocka_unit_test(cells_are_checked),
        cmocka_unit_test(a_spoiled_block_names_its_grain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
