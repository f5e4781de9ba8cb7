/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a controller remembers of its commands: the SMART / Health Information log, whose counters
 * are the subsystem's since the node serves it, and the Error Information log, which is the
 * controller's own.
 *
 * NVM Express Base Specification 2.0c, "SMART / Health Information", "Error Information"; NVM
 * Command Set Specification 1.0c, the same.
 */
#include <assert.h>

#include "nvme/log_spec.h"
#include "nvme/target_internal.h"

#define TEMPERATURE_K      298 /* No sensor; Linux wants a plausible one. */
#define NS_PER_MINUTE      (60 * NS_PER_S)
#define NS_PER_HOUR        (60 * NS_PER_MINUTE)
#define LOCATION_NONE      0xffff /* "... not specific to a particular parameter". */
#define TRANSPORT_TYPE_TCP 3

/* ---- Counters ---- */

static uint64_t counter_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void totals_add(struct nvme_totals *totals, const struct nvme_conn_counters *c)
{
    totals->reads += counter_get(&c->reads);
    totals->writes += counter_get(&c->writes);
    totals->bytes_read += counter_get(&c->bytes_read);
    totals->bytes_written += counter_get(&c->bytes_written);
    totals->media_errors += counter_get(&c->media_errors);
    totals->busy_ns += counter_get(&c->busy_ns);
}

void ctrl_keep_counters(const struct nvme_conn *conn)
{
    totals_add(&conn->ctrl->subsys->totals, &conn->counters);
}

/* Of queues that have gone and of those there are. */
static struct nvme_totals subsys_totals(const struct nvme_subsys *subsys)
{
    struct nvme_totals totals = subsys->totals;

    LIST_FOR_EACH (ctrl_node, &subsys->ctrls) {
        const struct nvme_ctrl *ctrl = CONTAINER_OF(ctrl_node, struct nvme_ctrl, link);
        LIST_FOR_EACH (node, &ctrl->queues)
            totals_add(&totals, &CONTAINER_OF(node, struct nvme_conn, ctrl_link)->counters);
    }
    return totals;
}

/* "... thousands of 512 byte data units", rounded up. */
static struct le64 data_units(uint64_t bytes)
{
    return le64_make((bytes + 511999) / 512000);
}

/*
 * What is not set here is 0, the critical warning too: the target knows how commands ended, but
 * not how the disks are.  docs/nvme.md says of each constant why.
 */
size_t ctrl_write_smart(const struct nvme_ctrl *ctrl, uint8_t *out)
{
    const struct nvme_subsys *subsys = ctrl->subsys;
    const struct nvme_totals totals = subsys_totals(subsys);
    const uint64_t age_ns = reactor_now_ns(subsys->target->home) - subsys->since_ns;
    const struct nvme_log_smart_spec log = {
        .temperature_k = le16_make(TEMPERATURE_K),
        .spare_percent = 100,
        .spare_threshold_percent = 10,
        .data_units_read.low = data_units(totals.bytes_read),
        .data_units_written.low = data_units(totals.bytes_written),
        .host_reads.low = le64_make(totals.reads),
        .host_writes.low = le64_make(totals.writes),
        /* Queues count each for itself: together they may have been busy longer than there was. */
        .busy_minutes.low = le64_make(min_u64(totals.busy_ns, age_ns) / NS_PER_MINUTE),
        .power_cycles.low = le64_make(1),
        .power_on_hours.low = le64_make(age_ns / NS_PER_HOUR),
        .media_errors.low = le64_make(totals.media_errors),
        .error_entries.low = le64_make(ctrl->error_count),
    };

    memcpy(out, &log, sizeof log);
    return sizeof log;
}

/* ---- Errors ---- */

/* Whether CDW10 and 11 are the first LBA of a command on an I/O queue. */
static bool has_lba(uint8_t opcode)
{
    return opcode == NVME_IO_READ || opcode == NVME_IO_WRITE || opcode == NVME_IO_COMPARE ||
           opcode == NVME_IO_VERIFY || opcode == NVME_IO_WRITE_ZEROES || opcode == NVME_IO_COPY;
}

void ctrl_note_error(struct nvme_ctrl *ctrl, const struct nvme_cmd *cmd, uint16_t status)
{
    const struct nvme_sqe *sqe = &cmd->sqe;
    const uint16_t qid = cmd->conn->home_qid;
    const bool is_fabrics = sqe->opcode == NVME_OPCODE_FABRICS;

    ctrl->errors[ctrl->error_count % NVME_ERROR_ENTRIES] = (struct nvme_error) {
        .sqid = qid,
        .cid = sqe->cid,
        .status = status,
        .nsid = is_fabrics ? 0 : sqe->nsid, /* Theirs is the command's type. */
        .lba = qid != 0 && has_lba(sqe->opcode) ? (uint64_t)sqe->cdw11 << 32 | sqe->cdw10 : 0,
        .result = cmd->result,
    };
    ctrl->error_count++;
}

/* "... ordered from the newest to the oldest". */
size_t ctrl_write_errors(const struct nvme_ctrl *ctrl, uint8_t *out)
{
    const uint64_t kept = min_u64(ctrl->error_count, NVME_ERROR_ENTRIES);

    for (uint64_t i = 0; i < kept; i++) {
        const uint64_t count = ctrl->error_count - i;
        const struct nvme_error *e = &ctrl->errors[(count - 1) % NVME_ERROR_ENTRIES];
        const struct nvme_log_error_spec entry = {
            .count = le64_make(count),
            .sqid = le16_make(e->sqid),
            .cid = le16_make(e->cid),
            .status = le16_make((uint16_t)(e->status << 1)),
            .location = le16_make(LOCATION_NONE),
            .lba = le64_make(e->lba),
            .nsid = le32_make(e->nsid),
            .trtype = TRANSPORT_TYPE_TCP,
            .command_specific = le64_make(e->result),
        };
        memcpy(out + i * sizeof entry, &entry, sizeof entry);
    }
    return NVME_ERROR_ENTRIES * sizeof(struct nvme_log_error_spec);
}
