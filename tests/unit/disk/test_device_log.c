/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/device_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static uint8_t bytes[1024];
static struct device_log found;

static int set_up(void **state)
{
    (void)state;
    memset(bytes, 0, sizeof bytes);
    found = (struct device_log) { 0 };
    return 0;
}

static void nvme(void)
{
    device_log_parse_nvme((struct const_span) { bytes, NVME_HEALTH_LOG_BYTES }, &found);
}

/* A device of 42 C with some hours says so, and nothing is wrong. */
static void nvme_is_well(void **state)
{
    (void)state;
    bytes[1] = (273 + 42) & 0xff;
    bytes[2] = (273 + 42) >> 8;
    bytes[3] = 100; /* Spare. */
    bytes[4] = 10;
    bytes[5] = 7; /* Used. */
    bytes[128] = 0x10;
    bytes[129] = 0x27; /* 10,000 h */
    bytes[160] = 3;
    nvme();
    assert_string_equal(found.summary, "NVMe: 42 C, spare 100%, used 7%, 10000 h, 3 media errors");
    assert_string_equal(found.failing, "");
    assert_string_equal(found.suspect, "");
}

/* Each warning of the device is a reason of the right weight. */
static void nvme_warns(void **state)
{
    static const struct {
        uint8_t warning, used;
        const char *failing, *suspect;
    } cases[] = {
        { 0x01, 0, "of its spare space are left", "" },
        { 0x02, 0, "", "too hot" },
        { 0x04, 0, "no longer reliable", "" },
        { 0x08, 0, "only be read", "" },
        { 0x10, 0, "", "no longer safe from power loss" },
        { 0x20, 0, "", "persistent memory" },
        { 0x12, 0, "", "no longer safe from power loss" },
        { 0x03, 0, "spare", "too hot" },
        { 0xc0, 99, "", "" }, /* Bits that mean nothing yet. */
        { 0, 100, "", "used up 100%" },
        { 0, 255, "", "used up 255%" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        bytes[0] = cases[i].warning;
        bytes[5] = cases[i].used;
        nvme();
        assert_non_null(strstr(found.failing, cases[i].failing));
        assert_int_equal(found.failing[0] == '\0', cases[i].failing[0] == '\0');
        assert_non_null(strstr(found.suspect, cases[i].suspect));
        assert_int_equal(found.suspect[0] == '\0', cases[i].suspect[0] == '\0');
    }
}

/* ---- SATA ---- */

static void attribute(unsigned index, uint8_t id, uint64_t raw)
{
    uint8_t *a = bytes + 2 + 12 * index;
    a[0] = id;
    for (unsigned i = 0; i < 6; i++)
        a[5 + i] = (uint8_t)(raw >> (8 * i));
}

static void ata(bool exceeded)
{
    uint8_t sum = 0;
    bytes[511] = 0;
    for (unsigned i = 0; i < 511; i++)
        sum = (uint8_t)(sum + bytes[i]);
    bytes[511] = (uint8_t)-sum;
    device_log_parse_ata((struct const_span) { bytes, ATA_SMART_BYTES }, exceeded, &found);
}

/* A disk's numbers are found whatever place they have; above 32 bits is the maker's own. */
static void ata_is_read(void **state)
{
    (void)state;
    attribute(29, 9, 4321);
    attribute(0, 194, UINT64_C(0x003200140025)); /* 37 C; the lowest and the highest above it. */
    attribute(7, 5, 12);
    ata(false);
    assert_string_equal(found.summary,
                        "SMART: 37 C, 4321 h, 12 sectors replaced, 0 pending, 0 uncorrectable");
    assert_string_equal(found.suspect, "");
    assert_string_equal(found.failing, "");
    attribute(8, 197, 8);
    ata(false);
    assert_non_null(strstr(found.suspect, "8 sectors may not be readable"));
    attribute(8, 198, 2);
    ata(false);
    assert_non_null(strstr(found.suspect, "2 sectors could not be read"));
    attribute(8, 1, 77);
    attribute(7, 5, 100);
    ata(true);
    assert_non_null(strstr(found.suspect, "replaced 100 bad sectors"));
    assert_non_null(strstr(found.failing, "about to fail"));
}

/* Data whose sum is wrong says nothing, but what the disk has said otherwise counts. */
static void ata_is_garbled(void **state)
{
    (void)state;
    attribute(0, 197, 8);
    ata(false);
    bytes[100] ^= 1;
    device_log_parse_ata((struct const_span) { bytes, ATA_SMART_BYTES }, true, &found);
    assert_string_equal(found.summary, "none: the disk gave no valid SMART data");
    assert_string_equal(found.suspect, "");
    assert_non_null(strstr(found.failing, "about to fail"));
}

/* The registers are found in both forms of sense data, and nothing is made of others. */
static void sense_data(void **state)
{
    uint8_t s[22] = { 0x72, 0, 0, 0, 0, 0, 0, 14, 0x09, 12 };
    const struct const_span sense = { s, sizeof s };

    (void)state;
    s[17] = 0x4f;
    s[19] = 0xc2;
    s[13] = 0xff;
    assert_false(device_log_ata_exceeded(sense));
    assert_false(device_log_ata_sleeps(sense));
    s[17] = 0xf4;
    s[19] = 0x2c;
    s[13] = 0;
    assert_true(device_log_ata_exceeded(sense));
    assert_true(device_log_ata_sleeps(sense));
    assert_false(device_log_ata_exceeded((struct const_span) { s, 21 }));
    assert_false(device_log_ata_sleeps((struct const_span) { s, 0 }));
    s[8] = 0x0a;
    assert_false(device_log_ata_exceeded(sense));
    memset(s, 0, sizeof s);
    assert_false(device_log_ata_sleeps(sense)); /* No sense data: it said nothing. */
    s[0] = 0xf0;
    s[2] = 5; /* An illegal request: another kind of disk. */
    assert_false(device_log_ata_sleeps(sense));
    s[2] = 1;
    s[13] = 0x1d;
    s[6] = 1;
    s[10] = 0xf4;
    s[11] = 0x2c;
    assert_true(device_log_ata_exceeded(sense));
    assert_true(device_log_ata_sleeps(sense));
    s[6] = 0x80;
    assert_false(device_log_ata_sleeps(sense));
}

/* ---- Anything ---- */

static void check_texts(void)
{
    const char *const texts[] = { found.summary, found.failing, found.suspect };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        assert_true(memchr(texts[i], '\0', DEVICE_LOG_TEXT_BYTES) != NULL);
        for (const char *c = texts[i]; *c != '\0'; c++)
            assert_in_range(*c, ' ', '~');
    }
    assert_true(found.summary[0] != '\0');
}

/* Any bytes of any length, in memory that ends with them, give texts for people. */
static void hostile_bytes(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    for (unsigned i = 0; i < 20000; i++) {
        const size_t length = rng_one_in(&rng, 2) ? 512 : rng_below(&rng, 1024);
        uint8_t *own = malloc(length + 1);
        rng_fill(&rng, (struct span) { own, length });
        if (rng_one_in(&rng, 4))
            memset(own, rng_one_in(&rng, 2) ? 0xff : 0, length);
        if (length >= 512 && rng_one_in(&rng, 2)) {
            uint8_t sum = 0;
            for (unsigned b = 0; b < 511; b++)
                sum = (uint8_t)(sum + own[b]);
            own[511] = (uint8_t)-sum;
        }
        device_log_parse_nvme((struct const_span) { own, length }, &found);
        check_texts();
        device_log_parse_ata((struct const_span) { own, length }, rng_one_in(&rng, 2), &found);
        check_texts();
        (void)device_log_ata_sleeps((struct const_span) { own, length });
        (void)device_log_ata_exceeded((struct const_span) { own, length });
        free(own);
    }
    device_log_parse_nvme((struct const_span) { NULL, 0 }, &found);
    assert_string_equal(found.summary, "none: the device gave too little");
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nvme_is_well),   TEST(nvme_warns),    TEST(ata_is_read),
        TEST(ata_is_garbled), TEST(hostile_bytes), TEST(sense_data),
    };
    return cmocka_run_group_tests_name("device_log", tests, NULL, NULL);
}
