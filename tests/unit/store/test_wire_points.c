/* SPDX-License-Identifier: Apache-2.0 */
/* Flush points on the wire, byte by byte: docs/replication.md, section 2.5. */
#include "store/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.h"

static const struct store_point examples[] = {
    { .copyset = 0, .disk = { { 0xa1 } }, .incarnation = 0x0102030405060708, .position = 0x11 },
    { .copyset = 4095, .disk = { { 0xb1 } }, .incarnation = 1, .position = 0x2122232425262728 },
};

/* What a point lies at, and the bytes that are not zero there. */
static void expect_point(const uint8_t *at, uint8_t low, uint8_t high, uint8_t disk,
                         const uint8_t *incarnation, const uint8_t *position)
{
    static const uint8_t zeros[16];

    assert_int_equal(at[0], low);
    assert_int_equal(at[1], high);
    assert_memory_equal(at + 2, zeros, 6);
    assert_int_equal(at[8], disk);
    assert_memory_equal(at + 9, zeros, 15);
    assert_memory_equal(at + 24, incarnation, 8);
    assert_memory_equal(at + 32, position, 8);
}

static void expect_examples(const uint8_t *at)
{
    expect_point(at, 0, 0, 0xa1, (const uint8_t[]) { 8, 7, 6, 5, 4, 3, 2, 1 },
                 (const uint8_t[]) { 0x11, 0, 0, 0, 0, 0, 0, 0 });
    expect_point(at + 40, 0xff, 0x0f, 0xb1, (const uint8_t[]) { 1, 0, 0, 0, 0, 0, 0, 0 },
                 (const uint8_t[]) { 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21 });
}

static void expect_head(const uint8_t *data, size_t bytes, uint8_t opcode, uint8_t items)
{
    const struct le32 crc = le32_make(crc32c(data + 4, bytes - 4));

    assert_memory_equal(data, &crc, 4);
    assert_memory_equal(data + 4,
                        ((const uint8_t[]) { 1, 0, opcode, 0, items, 0, 0, 0, 0, 0, 0, 0 }), 12);
}

static void expect_equal(struct wire_items items)
{
    assert_int_equal(items.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct store_point p = wire_point_get(items, i);
        assert_int_equal(p.copyset, examples[i].copyset);
        assert_true(uuid_equal(p.disk, examples[i].disk));
        assert_int_equal(p.incarnation, examples[i].incarnation);
        assert_int_equal(p.position, examples[i].position);
    }
}

static void what_is_kept_is_as_described(void **state)
{
    (void)state;
    uint8_t data[16 + 2 * 40];
    struct wire_items items;
    wire_keep_points_encode(examples, 2, (struct span) { data, sizeof data });
    expect_head(data, sizeof data, 0xa1, 2);
    expect_examples(data + 16);
    assert_int_equal(
        wire_keep_points_decode((struct const_span) { data, sizeof data }, &items).code, STATUS_OK);
    expect_equal(items);
}

static void what_is_answered_is_as_described(void **state)
{
    (void)state;
    uint8_t data[32 + 3 * 40]; /* There was room for one more. */
    static const uint8_t zeros[40];
    struct wire_items items;
    uint64_t cursor;
    wire_points_encode(0x0304, examples, 2, (struct span) { data, sizeof data });
    expect_head(data, sizeof data, 0x9e, 2);
    assert_memory_equal(data + 16, ((const uint8_t[]) { 4, 3, 0, 0, 0, 0, 0, 0 }), 8);
    assert_memory_equal(data + 24, zeros, 8);
    expect_examples(data + 32);
    assert_memory_equal(data + 112, zeros, 40);
    assert_int_equal(
        wire_points_decode((struct const_span) { data, sizeof data }, 0, &cursor, &items).code,
        STATUS_OK);
    assert_int_equal(cursor, 0x0304);
    expect_equal(items);
}

static struct status decode(uint8_t *data, size_t bytes, bool keeps, uint64_t asked)
{
    const struct le32 crc = le32_make(crc32c(data + 4, bytes - 4));
    const struct const_span span = { data, bytes };
    struct wire_items items;
    uint64_t cursor;

    memcpy(data, &crc, sizeof crc);
    return keeps ? wire_keep_points_decode(span, &items)
                 : wire_points_decode(span, asked, &cursor, &items);
}

/* Each field of each kind of data, with a value that may not be. */
static void what_may_not_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t at;
        uint8_t bytes;
        uint8_t value;
    } wrong[] = {
        { 1, 1, 0x10 }, /* Copyset 4096. */
        { 2, 1, 1 },    /* What is zero, ... */
        { 7, 1, 1 },    /* ... to its end. */
        { 8, 1, 0 },    /* No disk. */
        { 24, 8, 0 },   /* No incarnation. */
        { 32, 8, 0 },   /* No position. */
    };
    for (unsigned keeps = 0; keeps < 2; keeps++) {
        const size_t head = keeps ? 16 : 32;
        uint8_t data[32 + 2 * 40];
        for (size_t i = 0; i <= ARRAY_COUNT(wrong); i++) {
            const struct span out = { data, head + 2 * 40 };
            if (keeps)
                wire_keep_points_encode(examples, 2, out);
            else
                wire_points_encode(5, examples, 2, out);
            if (i < ARRAY_COUNT(wrong))
                memset(data + head + wrong[i].at, wrong[i].value, wrong[i].bytes);
            assert_int_equal(decode(data, out.bytes, keeps, 0).code,
                             i < ARRAY_COUNT(wrong) ? STATUS_MALFORMED : STATUS_OK);
        }
        /* Fewer items than there is data for, or none. */
        data[8] = 1;
        assert_int_equal(decode(data, head + 2 * 40, keeps, 0).code, STATUS_MALFORMED);
        memset(data + head, 0, 2 * 40);
        data[8] = 0;
        assert_int_equal(decode(data, head + 2 * 40, keeps, 0).code, STATUS_MALFORMED);
        data[4] = 2;
        assert_int_equal(decode(data, head + 2 * 40, keeps, 0).code, STATUS_BAD_VERSION);
    }
}

/* Asking for all comes to an end; none may be the rest, but not the first answer. */
static void the_cursor_moves(void **state)
{
    (void)state;
    uint8_t data[32 + 2 * 40];
    const struct span out = { data, sizeof data };
    wire_points_encode(5, examples, 2, out);
    assert_int_equal(decode(data, sizeof data, false, 4).code, STATUS_OK);
    assert_int_equal(decode(data, sizeof data, false, 5).code, STATUS_MALFORMED);
    assert_int_equal(decode(data, sizeof data, false, 6).code, STATUS_MALFORMED);
    wire_points_encode(STORE_CURSOR_END, NULL, 0, out);
    assert_int_equal(decode(data, sizeof data, false, 5).code, STATUS_OK);
    assert_int_equal(decode(data, sizeof data, false, 0).code, STATUS_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_as_described),
        cmocka_unit_test(what_is_answered_is_as_described),
        cmocka_unit_test(what_may_not_be_is_refused),
        cmocka_unit_test(the_cursor_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
