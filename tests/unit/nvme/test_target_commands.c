/* SPDX-License-Identifier: Apache-2.0 */
/* The optional NVM commands, as ONCS, the limits in Identify and the effects log announce them. */
#include <string.h>

#include "nvme/log_spec.h"
#include "target_io.h"

static struct nvme_cqe compare(struct th_host *h, uint64_t lba, uint32_t blocks)
{
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_COMPARE, lba, blocks, 4096);

    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    return th_command(h, &sqe, block, blocks * 4096);
}

/* Compare: success where the data are equal, Compare Failure where not, in capsules and by R2T. */
static void test_compare(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    fill(1, 65536);
    memcpy(th.mem.memory + 5 * 4096, block, 65536);
    assert_int_equal(compare(p.io, 5, 2).status, 0);
    block[8191] ^= 1;
    assert_int_equal(compare(p.io, 5, 2).status, NVME_SC_DNR | NVME_SC_COMPARE_FAILURE);
    block[8191] ^= 1;

    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_COMPARE, 5, 16, 4096);
    for (unsigned round = 0; round < 2; round++) {
        sqe.cid = p.io->next_cid++;
        th_send_command(p.io, &sqe, NULL, 0);
        assert_true(th_recv(p.io));
        assert_int_equal(p.io->pdu.type, PDU_R2T);
        assert_int_equal(send_r2t_data(p.io, p.io->pdu.data, 65536).status,
                         round == 0 ? 0 : NVME_SC_DNR | NVME_SC_COMPARE_FAILURE);
        block[65535] ^= 1;
    }
    assert_int_equal(compare(p.io, TH_NS_BYTES / 4096 - 1, 2).status,
                     NVME_SC_DNR | NVME_SC_LBA_RANGE);
    th.mem.fail = STATUS(MEDIA_READ);
    assert_int_equal(compare(p.io, 5, 1).status, NVME_SC_DNR | NVME_SC_READ_ERROR);
    close_pair(p);
}

/* Verify moves no data, tells of media errors, and ends at the Verify Size Limit. */
static void test_verify(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_VERIFY, 0, TH_NS_BYTES / 4096, 4096);

    sqe.sgl_bytes = 0;
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, 0);
    assert_int_equal(p.io->pdu.type, PDU_CAPSULE_RESP);
    sqe.cdw10 = 1;
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_LBA_RANGE);
    sqe.cdw10 = 0;
    sqe.cdw12 = NVME_VERIFY_BYTES_MAX / 4096; /* 0's based: one too many. */
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    sqe.cdw12 = 0;
    th.mem.fail = STATUS(MEDIA_READ);
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_READ_ERROR);
    close_pair(p);
}

/* "FUA: ... from non-volatile media": what is cached is flushed before Compare and Verify look. */
static void test_looking_with_fua(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_COMPARE, 0, 1, 4096);

    memset(block, 0, 4096);
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    sqe.cdw12 |= NVME_RW_CDW12_FUA;
    assert_int_equal(th_command(p.io, &sqe, block, 4096).status, 0);
    assert_int_equal(th.mem.flushes, 1);
    block[17] = 1;
    assert_int_equal(th_command(p.io, &sqe, block, 4096).status,
                     NVME_SC_DNR | NVME_SC_COMPARE_FAILURE);
    sqe = th_sqe_rw(NVME_IO_VERIFY, 0, 1, 4096);
    sqe.sgl_bytes = 0;
    sqe.cdw12 |= NVME_RW_CDW12_FUA;
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, 0);
    assert_int_equal(th.mem.flushes, 3);
    close_pair(p);
}

static struct nvme_sqe copy_to(uint64_t lba, unsigned ranges)
{
    return (struct nvme_sqe) { .opcode = NVME_IO_COPY,
                               .flags = NVME_SQE_PSDT_SGL,
                               .nsid = 1,
                               .sgl_id = NVME_SGL_IN_CAPSULE,
                               .sgl_bytes = ranges * (uint32_t)sizeof(struct nvme_copy_range_spec),
                               .cdw10 = (uint32_t)lba,
                               .cdw12 = ranges - 1 };
}

static struct nvme_copy_range_spec range(uint64_t lba, uint16_t blocks)
{
    return (struct nvme_copy_range_spec) { .first_lba = le64_make(lba),
                                           .blocks = le16_make((uint16_t)(blocks - 1)) };
}

/* Copy: the ranges lie one behind the other, in their order; FUA goes with each. */
static void test_copy(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    const struct nvme_copy_range_spec ranges[] = { range(7, 1), range(3, 2), range(5, 1) };

    fill(5, 10 * 4096);
    memcpy(th.mem.memory, block, 10 * 4096);
    struct nvme_sqe sqe = copy_to(100, 3);
    sqe.cdw12 |= NVME_RW_CDW12_FUA;
    struct nvme_cqe cqe = th_command(p.io, &sqe, ranges, sizeof ranges);
    assert_int_equal(cqe.status, 0);
    assert_int_equal(cqe.result, 0);
    assert_memory_equal(th.mem.memory + 100 * 4096, block + 7 * 4096, 4096);
    assert_memory_equal(th.mem.memory + 101 * 4096, block + 3 * 4096, 8192);
    assert_memory_equal(th.mem.memory + 103 * 4096, block + 5 * 4096, 4096);
    assert_int_equal(th.mem.memory[104 * 4096], 0);
    assert_int_equal(th.mem.fuas, 3);
    close_pair(p);
}

/* What is wrong with a Copy is found before anything is copied; Dword 0 names the range. */
static void test_copy_errors(void **state)
{
    (void)state;
    const uint64_t lbas = TH_NS_BYTES / 4096;
    struct nvme_copy_range_spec ranges[NVME_COPY_RANGES_MAX + 1];
    struct pair p = open_pair(NULL);

    for (size_t i = 0; i < ARRAY_COUNT(ranges); i++)
        ranges[i] = range(0, 1);
    struct nvme_sqe sqe = copy_to(100, ARRAY_COUNT(ranges));
    assert_int_equal(th_command(p.io, &sqe, ranges, sizeof ranges).status,
                     NVME_SC_DNR | NVME_SC_COMMAND_SIZE_LIMIT);
    sqe = copy_to(100, 4);
    sqe.cdw12 |= 1 << NVME_COPY_CDW12_FORMAT_SHIFT;
    assert_int_equal(th_command(p.io, &sqe, ranges, 128).status,
                     NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    sqe = copy_to(100, 4);
    sqe.sgl_bytes = 96;
    assert_int_equal(th_command(p.io, &sqe, ranges, 96).status,
                     NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH);
    sqe = copy_to(100, 4);
    ranges[2] = range(0, NVME_COPY_RANGE_BYTES_MAX / 4096 + 1);
    struct nvme_cqe cqe = th_command(p.io, &sqe, ranges, 128);
    assert_int_equal(cqe.status, NVME_SC_DNR | NVME_SC_COMMAND_SIZE_LIMIT);
    assert_int_equal(cqe.result, 2);
    ranges[2] = range(lbas - 1, 2);
    cqe = th_command(p.io, &sqe, ranges, 128);
    assert_int_equal(cqe.status, NVME_SC_DNR | NVME_SC_LBA_RANGE);
    assert_int_equal(cqe.result, 2);
    ranges[2] = range(0, 1);
    sqe = copy_to(lbas - 3, 4);
    assert_int_equal(th_command(p.io, &sqe, ranges, 128).status, NVME_SC_DNR | NVME_SC_LBA_RANGE);
    assert_int_equal(th.mem.requests, 0);
    th.mem.fail = STATUS(MEDIA_READ);
    sqe = copy_to(100, 4);
    cqe = th_command(p.io, &sqe, ranges, 128);
    assert_int_equal(cqe.status, NVME_SC_DNR | NVME_SC_READ_ERROR);
    assert_int_equal(cqe.result, 0);
    close_pair(p);
}

/* What ONCS, CNS 06h and the effects log say of optional commands is what the queue takes. */
static void test_announced(void **state)
{
    (void)state;
    static const struct {
        uint8_t opcode;
        uint16_t oncs;
    } optional[] = { { NVME_IO_COMPARE, 0x1 }, { 0x04, 0x2 },
                     { NVME_IO_DSM, 0x4 },     { NVME_IO_WRITE_ZEROES, 0x8 },
                     { 0x0d, 0x20 },           { NVME_IO_VERIFY, 0x80 },
                     { 0x19, 0x100 } };
    struct nvme_id_ctrl_spec id;
    struct nvme_id_ctrl_nvm_spec nvm;
    struct nvme_log_effects_spec effects;
    struct pair p = open_pair(NULL);

    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, sizeof id);
    sqe.cdw10 = NVME_CNS_CTRL;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    memcpy(&id, p.admin->data, sizeof id);
    sqe.cdw10 = NVME_CNS_CSI_CTRL;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    memcpy(&nvm, p.admin->data, sizeof nvm);
    assert_int_equal(UINT64_C(4096) << nvm.vsl, NVME_VERIFY_BYTES_MAX);
    assert_int_equal(le16_get(id.fuses), 0);
    sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, sizeof effects);
    sqe.cdw10 = NVME_LOG_EFFECTS | (sizeof effects / 4 - 1) << 16;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    memcpy(&effects, p.admin->data, sizeof effects);

    for (size_t i = 0; i < ARRAY_COUNT(optional); i++) {
        const bool announced = (le16_get(id.oncs) & optional[i].oncs) != 0;
        sqe = th_sqe_rw(optional[i].opcode, 0, 1, 4096);
        sqe.sgl_bytes = 0;
        const uint16_t status = th_command(p.io, &sqe, NULL, 0).status;
        assert_int_equal((status & NVME_SC_VALUE_MASK) != NVME_SC_INVALID_OPCODE, announced);
        assert_int_equal(le32_get(effects.io[optional[i].opcode]) != 0, announced);
    }
    close_pair(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),          cmocka_unit_test(test_verify),
        cmocka_unit_test(test_looking_with_fua), cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_errors),      cmocka_unit_test(test_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
