/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of a vendor's: checks them and takes them to their owner (vendor.h). */
#include <assert.h>

#include "nvme/conn.h"
#include "nvme/target_internal.h"

uint16_t vendor_check(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;
    struct nvme_vendor *vendor = conn->subsys->vendor;
    struct nvme_vendor_req *req = &cmd->vendor;

    if (!nvme_vendor_has(vendor, cmd->sqe.opcode))
        return NVME_SC_DNR | NVME_SC_INVALID_OPCODE;
    nvme_sqe_encode(&cmd->sqe, req->entry);
    req->association = conn->association;
    req->reactor = conn->shard->reactor;
    return vendor->ops->check(vendor, req, cmd->sqe.sgl_bytes);
}

/*
 * What the owner answers is between it and the host, who knows what it has asked: it goes the
 * straight way, and not through the error log at home.
 */
static void vendor_on_done(struct nvme_vendor_req *req)
{
    struct nvme_cmd *cmd = CONTAINER_OF(req, struct nvme_cmd, vendor);
    struct nvme_conn *conn = cmd->conn;

    assert(reactor_is_current(conn->shard->reactor));
    conn_end_work(conn);
    cmd->result = (uint64_t)req->dword1 << 32 | req->dword0;
    if (cmd_direction(&cmd->sqe) == NVME_TO_HOST)
        cmd->reply_bytes = cmd->sqe.sgl_bytes;
    cmd_respond(cmd, req->status);
    conn_check_drained(conn);
}

void vendor_execute(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;
    struct nvme_vendor *vendor = conn->subsys->vendor;
    struct nvme_vendor_req *req = &cmd->vendor;

    req->data = cmd->data;
    req->done = vendor_on_done;
    req->status = 0;
    req->dword0 = 0;
    req->dword1 = 0;
    list_node_init(&req->link);
    vendor->ops->submit(vendor, req);
}
