/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "nvme/initiator.h"

static void on_done(struct initiator_cmd *cmd)
{
    struct initiator_io *io = CONTAINER_OF(cmd, struct initiator_io, cmd);

    io->status = cmd->status;
    io->sc = cmd->sc;
    io->done(io); /* io may be gone. */
}

/* CDW10 to 12 of the commands that name a range of LBAs. */
static void fill_range(struct nvme_sqe *sqe, const struct initiator_ns_info *ns, uint64_t offset,
                       uint64_t bytes)
{
    const unsigned shift = (unsigned)__builtin_ctz(ns->lba_bytes);
    const uint64_t lba = offset >> shift;
    const uint64_t count = bytes >> shift;

    assert((offset & (ns->lba_bytes - 1)) == 0);
    assert((bytes & (ns->lba_bytes - 1)) == 0);
    assert(count >= 1 && count <= NVME_RW_CDW12_NLB_MASK + UINT64_C(1));
    sqe->cdw10 = (uint32_t)lba;
    sqe->cdw11 = (uint32_t)(lba >> 32);
    sqe->cdw12 = (uint32_t)(count - 1);
}

/* One range, in the data of the command. */
static void fill_deallocate(struct initiator_io *io, const struct initiator_ns_info *ns)
{
    const uint64_t count = io->bytes / ns->lba_bytes;

    assert(count >= 1 && count <= UINT32_MAX);
    io->range = (struct nvme_dsm_range_spec) {
        .blocks = le32_make((uint32_t)count),
        .first_lba = le64_make(io->offset / ns->lba_bytes),
    };
    io->cmd.sqe.cdw10 = 0; /* One range, 0's based. */
    io->cmd.sqe.cdw11 = NVME_DSM_CDW11_AD;
    io->cmd.data = (struct span) { (uint8_t *)&io->range, sizeof io->range };
}

/* One source range, in the data of the command. */
static void fill_copy(struct initiator_io *io, const struct initiator_ns_info *ns)
{
    fill_range(&io->cmd.sqe, ns, io->offset, io->bytes);
    io->copy = (struct nvme_copy_range_spec) {
        .first_lba = le64_make(io->source / ns->lba_bytes),
        .blocks = le16_make((uint16_t)io->cmd.sqe.cdw12),
    };
    io->cmd.sqe.cdw12 = 0; /* One range, 0's based, of format 0h. */
    io->cmd.data = (struct span) { (uint8_t *)&io->copy, sizeof io->copy };
}

static uint8_t data_opcode(enum initiator_opcode opcode)
{
    if (opcode == INITIATOR_READ)
        return NVME_IO_READ;
    return opcode == INITIATOR_WRITE ? NVME_IO_WRITE : NVME_IO_COMPARE;
}

void initiator_io_submit(struct initiator_queue *q, const struct initiator_ns_info *ns,
                         struct initiator_io *io)
{
    struct initiator_cmd *cmd = &io->cmd;
    struct nvme_sqe *sqe = &cmd->sqe;

    *sqe = (struct nvme_sqe) { .nsid = ns->nsid };
    cmd->data = (struct span) { 0 };
    cmd->tail = (struct span) { 0 };
    cmd->done = on_done;
    cmd->no_deadline = false;

    switch (io->opcode) {
    case INITIATOR_READ:
    case INITIATOR_WRITE:
    case INITIATOR_COMPARE:
        sqe->opcode = data_opcode(io->opcode);
        fill_range(sqe, ns, io->offset, io->data.bytes);
        cmd->data = io->data;
        break;
    case INITIATOR_VERIFY:
        sqe->opcode = NVME_IO_VERIFY;
        fill_range(sqe, ns, io->offset, io->bytes);
        break;
    case INITIATOR_FLUSH:
        sqe->opcode = NVME_IO_FLUSH;
        break;
    case INITIATOR_WRITE_ZEROES:
        sqe->opcode = NVME_IO_WRITE_ZEROES;
        fill_range(sqe, ns, io->offset, io->bytes);
        if (io->deallocate)
            sqe->cdw12 |= NVME_RW_CDW12_DEAC;
        break;
    case INITIATOR_DEALLOCATE:
        sqe->opcode = NVME_IO_DSM;
        fill_deallocate(io, ns);
        break;
    case INITIATOR_COPY:
        sqe->opcode = NVME_IO_COPY;
        fill_copy(io, ns);
        break;
    }
    if (io->fua && io->opcode != INITIATOR_FLUSH && io->opcode != INITIATOR_DEALLOCATE)
        sqe->cdw12 |= NVME_RW_CDW12_FUA;
    initiator_queue_submit(q, cmd);
}
