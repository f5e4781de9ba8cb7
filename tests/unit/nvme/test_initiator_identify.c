/* SPDX-License-Identifier: Apache-2.0 */
/* Identify data: what is true is understood, what cannot be true is refused or cut. */
#include "nvme/initiator_identify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nvme/limits.h"

/* A controller like ours. */
static struct nvme_id_ctrl_spec good_ctrl(void)
{
    struct nvme_id_ctrl_spec id = {
        .mdts = NVME_MDTS,
        .cntlid = le16_make(7),
        .cntrltype = NVME_CTRL_TYPE_IO,
        .ioccsz = le32_make(NVME_IOCCSZ),
        .vwc = NVME_CTRL_VWC_PRESENT,
    };
    memcpy(id.sn, "S1                  ", sizeof id.sn);
    memcpy(id.mn, "Trilith\x01\xff", 9);
    return id;
}

static struct status parse(const struct nvme_id_ctrl_spec *id, struct initiator_ctrl_info *info)
{
    *info = (struct initiator_ctrl_info) { .cntlid = 7 };
    return initiator_parse_ctrl((const uint8_t *)id, info);
}

static void a_controller_is_understood(void **state)
{
    (void)state;
    const struct nvme_id_ctrl_spec id = good_ctrl();
    struct initiator_ctrl_info info;

    assert_true(status_ok(parse(&id, &info)));
    assert_int_equal(info.data_bytes_max, NVME_DATA_BYTES_MAX);
    assert_int_equal(info.in_capsule_bytes, NVME_IN_CAPSULE_BYTES_MAX);
    assert_true(info.has_volatile_cache);
    assert_string_equal(info.serial, "S1");
    assert_string_equal(info.model, "Trilith??"); /* Fit for a terminal. */
}

static void limits_are_cut_to_ours(void **state)
{
    (void)state;
    struct nvme_id_ctrl_spec id = good_ctrl();
    struct initiator_ctrl_info info;

    id.mdts = 255;
    id.ioccsz = le32_make(UINT32_MAX);
    assert_true(status_ok(parse(&id, &info)));
    assert_int_equal(info.data_bytes_max, NVME_DATA_BYTES_MAX);
    assert_int_equal(info.in_capsule_bytes, NVME_IN_CAPSULE_BYTES_MAX);
    id.mdts = 1; /* Two pages of 4 KiB. */
    id.icdoff = le16_make(1);
    assert_true(status_ok(parse(&id, &info)));
    assert_int_equal(info.data_bytes_max, 8192);
    assert_int_equal(info.in_capsule_bytes, 0);
    id.mdts = 0; /* No limit. */
    assert_true(status_ok(parse(&id, &info)));
    assert_int_equal(info.data_bytes_max, NVME_DATA_BYTES_MAX);
}

static void a_controller_that_contradicts_itself_is_refused(void **state)
{
    (void)state;
    struct nvme_id_ctrl_spec id = good_ctrl();
    struct initiator_ctrl_info info;

    id.cntlid = le16_make(8);
    assert_int_equal(parse(&id, &info).code, STATUS_CORRUPT);
    id = good_ctrl();
    id.ioccsz = le32_make(3); /* Less than a command. */
    assert_int_equal(parse(&id, &info).code, STATUS_CORRUPT);
}

static enum status_code ns_code(uint8_t flbas, uint8_t lbads, uint16_t metadata, uint64_t nsze,
                                struct initiator_ns_info *ns)
{
    struct nvme_id_ns_spec id = { .flbas = flbas, .nsze = le64_make(nsze) };
    const unsigned format = (flbas & 0xfu) | (flbas >> 5 & 3u) << 4;

    id.lbaf[format] = (struct nvme_lbaf_spec) { .ms = le16_make(metadata), .lbads = lbads };
    return initiator_parse_ns((const uint8_t *)&id, ns).code;
}

static void a_namespaces_size_is_checked(void **state)
{
    (void)state;
    struct initiator_ns_info ns = { 0 };

    assert_int_equal(ns_code(0, 12, 0, 1000, &ns), STATUS_OK);
    assert_int_equal(ns.lba_bytes, 4096);
    assert_int_equal(ns.bytes, 4096000);
    assert_int_equal(ns_code(0x6f, 9, 0, 3, &ns), STATUS_OK); /* Format 63, the last. */
    assert_int_equal(ns.bytes, 1536);

    assert_int_equal(ns_code(0, 8, 0, 1000, &ns), STATUS_UNSUPPORTED);
    assert_int_equal(ns_code(0, 17, 0, 1000, &ns), STATUS_UNSUPPORTED);
    assert_int_equal(ns_code(0, 255, 0, 1000, &ns), STATUS_UNSUPPORTED);
    assert_int_equal(ns_code(0, 12, 8, 1000, &ns), STATUS_UNSUPPORTED);
    assert_int_equal(ns_code(0, 12, 0, 0, &ns), STATUS_CORRUPT);
    assert_int_equal(ns_code(0, 12, 0, UINT64_MAX / 4096 + 1, &ns), STATUS_CORRUPT);
    assert_int_equal(ns.bytes, 1536); /* Written on success only. */
}

static void descriptors_may_lie_about_their_length(void **state)
{
    (void)state;
    uint8_t raw[NVME_IDENTIFY_BYTES];
    struct initiator_ns_info ns = { 0 };

    /* Descriptors of 255 bytes up to the end, where the last one reaches past it. */
    memset(raw, 0, sizeof raw);
    for (size_t at = 0; at + 4 <= sizeof raw; at += 4 + 255)
        raw[at + 1] = 255;
    initiator_parse_ns_descriptors(raw, &ns);
    assert_true(uuid_is_nil(ns.uuid));

    /* An NGUID, then a UUID. */
    memset(raw, 0, sizeof raw);
    raw[0] = NVME_NIDT_NGUID;
    raw[1] = 16;
    raw[20] = NVME_NIDT_UUID;
    raw[21] = 16;
    raw[24] = 0xab;
    initiator_parse_ns_descriptors(raw, &ns);
    assert_int_equal(ns.uuid.b[0], 0xab);
}

static void an_empty_list_has_no_namespace(void **state)
{
    (void)state;
    uint8_t raw[NVME_IDENTIFY_BYTES] = { 0 };
    uint32_t nsid = 77;

    assert_int_equal(initiator_parse_ns_list(raw, &nsid).code, STATUS_NOT_FOUND);
    memset(raw, 0xff, 4);
    assert_int_equal(initiator_parse_ns_list(raw, &nsid).code, STATUS_NOT_FOUND);
    assert_int_equal(nsid, 77);
    memset(raw, 0, 4);
    raw[0] = 5;
    assert_true(status_ok(initiator_parse_ns_list(raw, &nsid)));
    assert_int_equal(nsid, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_controller_is_understood),
        cmocka_unit_test(limits_are_cut_to_ours),
        cmocka_unit_test(a_controller_that_contradicts_itself_is_refused),
        cmocka_unit_test(a_namespaces_size_is_checked),
        cmocka_unit_test(descriptors_may_lie_about_their_length),
        cmocka_unit_test(an_empty_list_has_no_namespace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
