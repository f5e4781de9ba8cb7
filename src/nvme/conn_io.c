/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVM commands: checks them and takes them to the namespace.
 *
 * NVM Command Set Specification 1.0c, "NVM Command Set Commands".
 */
#include <assert.h>

#include "base/atomic_max.h"
#include "base/mutation.h"
#include "nvme/conn.h"
#include "nvme/target_internal.h"

static void io_on_done(struct nvme_ns_req *req);

static uint64_t io_first_lba(const struct nvme_sqe *sqe)
{
    return (uint64_t)sqe->cdw11 << 32 | sqe->cdw10;
}

static uint64_t io_lba_count(const struct nvme_sqe *sqe)
{
    return (uint64_t)(sqe->cdw12 & NVME_RW_CDW12_NLB_MASK) + 1;
}

static bool io_range_ok(const struct nvme_subsys *subsys, uint64_t first, uint64_t count)
{
    const uint64_t blocks = atomic_load_explicit(&subsys->blocks, memory_order_relaxed);

    return count <= blocks && first <= blocks - count;
}

static uint16_t check_range(const struct nvme_subsys *subsys, const struct nvme_sqe *sqe)
{
    if (!io_range_ok(subsys, io_first_lba(sqe), io_lba_count(sqe)))
        return NVME_SC_DNR | NVME_SC_LBA_RANGE;
    return 0;
}

static uint16_t check_read_write(const struct nvme_subsys *subsys, const struct nvme_sqe *sqe)
{
    const uint64_t bytes = io_lba_count(sqe) << subsys->lba_shift;

    if (bytes > nvme_data_bytes_max(subsys->lba_shift))
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if (sqe->sgl_bytes != bytes)
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
    return check_range(subsys, sqe);
}

/* "If ... exceeds the Verify Size Limit ... Invalid Field in Command". */
static uint16_t check_verify(const struct nvme_subsys *subsys, const struct nvme_sqe *sqe)
{
    if (io_lba_count(sqe) << subsys->lba_shift > NVME_VERIFY_BYTES_MAX)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    return check_range(subsys, sqe);
}

static uint16_t check_dsm(const struct nvme_sqe *sqe)
{
    const uint32_t ranges = (sqe->cdw10 & NVME_DSM_CDW10_NR_MASK) + 1;

    /* Linux always sends the whole table, used or not. */
    if (sqe->sgl_bytes < ranges * sizeof(struct nvme_dsm_range_spec))
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
    return 0;
}

static unsigned copy_ranges(const struct nvme_sqe *sqe)
{
    return (sqe->cdw12 & NVME_COPY_CDW12_NR_MASK) + 1;
}

/* What can be said of a Copy before its ranges are there. */
static uint16_t check_copy(const struct nvme_sqe *sqe)
{
    const uint32_t format =
        sqe->cdw12 >> NVME_COPY_CDW12_FORMAT_SHIFT & NVME_COPY_CDW12_FORMAT_MASK;

    if (format != 0)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if (copy_ranges(sqe) > NVME_COPY_RANGES_MAX)
        return NVME_SC_DNR | NVME_SC_COMMAND_SIZE_LIMIT;
    if (sqe->sgl_bytes < copy_ranges(sqe) * sizeof(struct nvme_copy_range_spec))
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
    return 0;
}

static bool is_supported(uint8_t opcode)
{
    switch (opcode) {
    case NVME_IO_FLUSH:
    case NVME_IO_WRITE:
    case NVME_IO_READ:
    case NVME_IO_COMPARE:
    case NVME_IO_WRITE_ZEROES:
    case NVME_IO_DSM:
    case NVME_IO_VERIFY:
    case NVME_IO_COPY:
        return true;
    default:
        return false;
    }
}

uint16_t io_check(struct nvme_cmd *cmd)
{
    const struct nvme_sqe *sqe = &cmd->sqe;
    const struct nvme_subsys *subsys = cmd->conn->subsys;
    const bool all_namespaces = sqe->opcode == NVME_IO_FLUSH && sqe->nsid == NVME_NSID_ALL;

    if (!is_supported(sqe->opcode))
        return NVME_SC_DNR | NVME_SC_INVALID_OPCODE;
    if (sqe->nsid != NVME_TARGET_NSID && !all_namespaces)
        return NVME_SC_DNR | NVME_SC_INVALID_NS;
    switch (sqe->opcode) {
    case NVME_IO_WRITE:
    case NVME_IO_READ:
    case NVME_IO_COMPARE:
        return check_read_write(subsys, sqe);
    case NVME_IO_WRITE_ZEROES:
        return check_range(subsys, sqe);
    case NVME_IO_VERIFY:
        return check_verify(subsys, sqe);
    case NVME_IO_DSM:
        return check_dsm(sqe);
    case NVME_IO_COPY:
        return check_copy(sqe);
    default:
        return 0;
    }
}

size_t io_data_pad(const struct nvme_cmd *cmd)
{
    const struct nvme_conn *conn = cmd->conn;
    const uint8_t opcode = cmd->sqe.opcode;
    const bool transfers =
        opcode == NVME_IO_READ || opcode == NVME_IO_WRITE || opcode == NVME_IO_COMPARE;

    if (conn->qid == 0 || !transfers)
        return 0;
    return (io_first_lba(&cmd->sqe) << conn->subsys->lba_shift) % NVME_NS_BLOCK_BYTES;
}

/* ---- Counting, for the SMART log ---- */

static void count(_Atomic uint64_t *counter, uint64_t by)
{
    /* One writer: no need for an atomic addition. */
    const uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + by, memory_order_relaxed);
}

/* What a Copy has written when its last range is done. */
static uint64_t copy_done_bytes(const struct nvme_cmd *cmd)
{
    const uint64_t from = io_first_lba(&cmd->sqe) << cmd->conn->subsys->lba_shift;

    return cmd->req.offset + cmd->req.bytes - from;
}

/*
 * "SMART Data Units Read Command: Compare, Read, Verify"; "SMART Host Read Command: Compare, Copy,
 * Read".
 */
static void io_count(struct nvme_conn *conn, const struct nvme_cmd *cmd)
{
    switch (cmd->sqe.opcode) {
    case NVME_IO_READ:
    case NVME_IO_COMPARE:
        count(&conn->counters.reads, 1);
        count(&conn->counters.bytes_read, cmd->sqe.sgl_bytes);
        return;
    case NVME_IO_WRITE:
        count(&conn->counters.writes, 1);
        count(&conn->counters.bytes_written, cmd->sqe.sgl_bytes);
        return;
    case NVME_IO_VERIFY:
        count(&conn->counters.bytes_read, io_lba_count(&cmd->sqe) << conn->subsys->lba_shift);
        return;
    case NVME_IO_COPY:
        count(&conn->counters.reads, 1);
        count(&conn->counters.writes, 1);
        count(&conn->counters.bytes_written, copy_done_bytes(cmd));
        return;
    default:
        return;
    }
}

/* Not one that compared unequal, though its status is of the same kind. */
static bool is_media_error(uint16_t status)
{
    const uint16_t value = status & NVME_SC_VALUE_MASK;

    return value == NVME_SC_READ_ERROR || value == NVME_SC_WRITE_FAULT;
}

/* ---- Execution ---- */

static void io_submit(struct nvme_cmd *cmd, enum nvme_ns_opcode opcode, uint64_t first_lba,
                      uint64_t lba_count)
{
    const struct nvme_subsys *subsys = cmd->conn->subsys;
    struct nvme_ns_req *req = &cmd->req;

    req->opcode = opcode;
    req->fua =
        (opcode == NVME_NS_WRITE || opcode == NVME_NS_WRITE_ZEROES || opcode == NVME_NS_COPY) &&
        (cmd->sqe.cdw12 & NVME_RW_CDW12_FUA) != 0;
    req->no_deallocate =
        opcode == NVME_NS_WRITE_ZEROES && (cmd->sqe.cdw12 & NVME_RW_CDW12_DEAC) == 0;
    req->offset = first_lba << subsys->lba_shift;
    req->bytes = lba_count << subsys->lba_shift;
    req->data = opcode == NVME_NS_READ || opcode == NVME_NS_WRITE || opcode == NVME_NS_COMPARE
                    ? cmd->data
                    : (struct span) { 0 };
    req->pool = cmd->from_r2t ? cmd->conn->shard->r2t_pool : cmd->conn->shard->pool;
    req->loss_told = opcode == NVME_NS_FLUSH || req->fua ? cmd->conn->loss_told : 0;
    req->reactor = cmd->conn->shard->reactor;
    req->done = io_on_done;
    req->status = STATUS(OK);
    subsys->ns->ops->submit(subsys->ns, req);
}

bool io_cancel(struct nvme_cmd *cmd)
{
    struct nvme_ns *ns = cmd->conn->subsys->ns;

    return ns != NULL && ns->ops->cancel != NULL && ns->ops->cancel(ns, &cmd->req);
}

/* ---- Answers that tell of a loss, see ns.h ---- */

void io_note_loss(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;

    if (cmd->tells_loss <= conn->loss_told)
        return;
    conn->loss_told = cmd->tells_loss;
    conn->loss_unproven = true;
    conn->loss_cid = cmd->sqe.cid;
    if (MUTATION(S1_SENT_IS_HEARD))
        conn->subsys->ns->ops->loss_heard(conn->subsys->ns, cmd->tells_loss);
}

void io_cid_seen(struct nvme_conn *conn, uint16_t cid)
{
    struct nvme_ns *ns = conn->subsys->ns;

    if (!conn->loss_unproven || cid != conn->loss_cid)
        return;
    ns->ops->loss_heard(ns, conn->loss_told);
    conn->loss_unproven = false;
}

static void io_complete(struct nvme_cmd *cmd, uint16_t status)
{
    struct nvme_conn *conn = cmd->conn;

    conn_end_work(conn);
    if (status == 0)
        io_count(conn, cmd);
    else if (is_media_error(status))
        count(&conn->counters.media_errors, 1);
    if (cmd->sqe.opcode == NVME_IO_READ)
        cmd->reply_bytes = cmd->sqe.sgl_bytes;
    if (status == 0)
        cmd_respond(cmd, 0);
    else
        cmd_fail(cmd, status);
    conn_check_drained(conn);
}

/* Deallocates the next range that is not empty; false if there is none. */
static bool dsm_next(struct nvme_cmd *cmd, uint16_t *out_status)
{
    const unsigned ranges = (cmd->sqe.cdw10 & NVME_DSM_CDW10_NR_MASK) + 1;

    *out_status = 0;
    while (cmd->range < ranges) {
        struct nvme_dsm_range_spec spec;
        memcpy(&spec, cmd->data.at + cmd->range++ * sizeof spec, sizeof spec);
        const uint64_t first = le64_get(spec.first_lba);
        const uint64_t blocks = le32_get(spec.blocks);

        if (!io_range_ok(cmd->conn->subsys, first, blocks)) {
            *out_status = NVME_SC_DNR | NVME_SC_LBA_RANGE;
            return false;
        }
        if (blocks > 0) {
            io_submit(cmd, NVME_NS_DEALLOCATE, first, blocks);
            return true;
        }
    }
    return false;
}

static struct nvme_copy_range_spec copy_range(const struct nvme_cmd *cmd, unsigned index)
{
    struct nvme_copy_range_spec spec;

    memcpy(&spec, cmd->data.at + index * sizeof spec, sizeof spec);
    return spec;
}

static uint64_t copy_range_lbas(struct nvme_copy_range_spec spec)
{
    return (uint64_t)le16_get(spec.blocks) + 1;
}

/*
 * All ranges, before the first is copied: "Command Size Limit Exceeded" beyond MSSRL and MCL.
 * out_range is the one that is wrong.
 */
static uint16_t copy_check_ranges(const struct nvme_cmd *cmd, unsigned *out_range)
{
    const struct nvme_subsys *subsys = cmd->conn->subsys;
    uint64_t total = 0;

    for (unsigned i = 0; i < copy_ranges(&cmd->sqe); i++) {
        const struct nvme_copy_range_spec spec = copy_range(cmd, i);
        const uint64_t lbas = copy_range_lbas(spec);

        total += lbas;
        *out_range = i;
        if (lbas << subsys->lba_shift > NVME_COPY_RANGE_BYTES_MAX ||
            total << subsys->lba_shift > NVME_COPY_BYTES_MAX)
            return NVME_SC_DNR | NVME_SC_COMMAND_SIZE_LIMIT;
        if (!io_range_ok(subsys, le64_get(spec.first_lba), lbas) ||
            !io_range_ok(subsys, io_first_lba(&cmd->sqe), total))
            return NVME_SC_DNR | NVME_SC_LBA_RANGE;
    }
    return 0;
}

/* Copies the next range behind the last one. */
static void copy_next(struct nvme_cmd *cmd)
{
    const unsigned shift = cmd->conn->subsys->lba_shift;
    const struct nvme_copy_range_spec spec = copy_range(cmd, cmd->range);
    const uint64_t at =
        cmd->range == 0 ? io_first_lba(&cmd->sqe) : (cmd->req.offset + cmd->req.bytes) >> shift;

    cmd->range++;
    cmd->req.source = le64_get(spec.first_lba) << shift;
    io_submit(cmd, NVME_NS_COPY, at, copy_range_lbas(spec));
}

static void copy_execute(struct nvme_cmd *cmd)
{
    unsigned wrong = 0;
    const uint16_t status = copy_check_ranges(cmd, &wrong);

    cmd->range = 0;
    if (status == 0) {
        copy_next(cmd);
        return;
    }
    cmd->result = wrong;
    io_complete(cmd, status);
}

/* What a command that only looks asks of the namespace. */
static enum nvme_ns_opcode looking_opcode(uint8_t opcode)
{
    if (opcode == NVME_IO_READ)
        return NVME_NS_READ;
    return opcode == NVME_IO_COMPARE ? NVME_NS_COMPARE : NVME_NS_VERIFY;
}

/* Whether the namespace's answer leads to another request of the same command. */
static bool io_continue(struct nvme_cmd *cmd, uint16_t *out_status)
{
    const struct nvme_sqe *sqe = &cmd->sqe;

    if (sqe->opcode == NVME_IO_DSM)
        return dsm_next(cmd, out_status);
    if (sqe->opcode == NVME_IO_COPY && cmd->range < copy_ranges(sqe)) {
        copy_next(cmd);
        return true;
    }
    if (cmd->req.opcode == NVME_NS_FLUSH && sqe->opcode != NVME_IO_FLUSH) {
        io_submit(cmd, looking_opcode(sqe->opcode), io_first_lba(sqe), io_lba_count(sqe));
        return true;
    }
    *out_status = 0;
    return false;
}

uint16_t nvme_status_of(struct status st)
{
    if (status_ok(st))
        return 0;
    return (uint16_t)(status_nvme(st) | (status_retryable(st) ? 0 : NVME_SC_DNR));
}

static void io_on_done(struct nvme_ns_req *req)
{
    struct nvme_cmd *cmd = CONTAINER_OF(req, struct nvme_cmd, req);
    uint16_t status = nvme_status_of(req->status);

    assert(reactor_is_current(cmd->conn->shard->reactor));
    /* A connection that is closing waits for what is in flight, and starts nothing new (W3). */
    if (status == 0 && conn_is_open(cmd->conn) && io_continue(cmd, &status))
        return;
    /* Noted when it is in the send queue: on its way there, by home, others may overtake it. */
    if (status != 0)
        cmd->tells_loss = req->loss_told;
    /* "... the lowest numbered Source Range entry that was not successfully copied". */
    if (status != 0 && cmd->sqe.opcode == NVME_IO_COPY)
        cmd->result = cmd->range - 1;
    io_complete(cmd, status);
}

void io_execute(struct nvme_cmd *cmd)
{
    const struct nvme_sqe *sqe = &cmd->sqe;
    const uint64_t first = io_first_lba(sqe);
    const uint64_t blocks = io_lba_count(sqe);
    uint16_t status = 0;

    switch (sqe->opcode) {
    case NVME_IO_READ:
    case NVME_IO_COMPARE:
    case NVME_IO_VERIFY:
        /* "FUA: ... data and metadata ... read from non-volatile media": flush what is cached. */
        if ((sqe->cdw12 & NVME_RW_CDW12_FUA) != 0)
            io_submit(cmd, NVME_NS_FLUSH, 0, 0);
        else
            io_submit(cmd, looking_opcode(sqe->opcode), first, blocks);
        return;
    case NVME_IO_WRITE:
        io_submit(cmd, NVME_NS_WRITE, first, blocks);
        return;
    case NVME_IO_WRITE_ZEROES:
        io_submit(cmd, NVME_NS_WRITE_ZEROES, first, blocks);
        return;
    case NVME_IO_COPY:
        copy_execute(cmd);
        return;
    case NVME_IO_DSM:
        cmd->range = 0;
        /* Hints other than Deallocate change nothing. */
        if ((sqe->cdw11 & NVME_DSM_CDW11_AD) != 0 && dsm_next(cmd, &status))
            return;
        break;
    default:
        io_submit(cmd, NVME_NS_FLUSH, 0, 0);
        return;
    }
    io_complete(cmd, status);
}
