/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The discovery log: a header and one record per subsystem that the host may see and port that
 * leads to it; the record of the discovery service itself comes first.
 *
 * NVM Express Base Specification 2.0c, "Discovery Log Page".
 */
#include <assert.h>
#include <stdio.h>

#include "nvme/target_internal.h"

#define RECORD_BYTES sizeof(struct nvme_discovery_record_spec)

/* Walks the records that a host sees: visit() is called for each with its index. */
struct walk {
    const struct nvme_ctrl *ctrl;
    const struct nvme_conn *conn;
    uint64_t offset; /* Of out in the log. */
    struct span out;
    uint64_t count;
};

/* The address that leads back to us through this port, as this host sees it. */
static struct io_addr port_address(const struct nvme_port *port, const struct nvme_conn *conn)
{
    struct io_addr addr = port->has_advertise ? port->advertise : port->bound;

    if (port->has_advertise || !io_addr_is_any(&port->bound))
        return addr;
    addr = conn->local;
    addr.port = port->bound.port;
    return addr;
}

static struct nvme_discovery_record_spec make_record(const struct walk *walk,
                                                     const struct nvme_subsys *subsys,
                                                     const struct nvme_port *port)
{
    const struct io_addr addr = port_address(port, walk->conn);
    const struct io_addr_text ip = io_addr_format_ip(&addr);
    const bool discovery = subsys_is_discovery(subsys);
    struct nvme_discovery_record_spec record = {
        .trtype = NVME_TRTYPE_TCP,
        .adrfam = addr.family == IO_FAMILY_IPV4 ? NVME_ADRFAM_IPV4 : NVME_ADRFAM_IPV6,
        .subtype = discovery ? NVME_SUBTYPE_CURRENT : NVME_SUBTYPE_NVM,
        /* Nothing about a secure channel: told "not required", nvme-cli 2.3 of Debian 12 asks its
         * kernel for TLS, which that does not know. */
        .treq = NVME_TREQ_SQ_FLOW_OFF,
        .portid = le16_make(port->id),
        .cntlid = le16_make(NVME_CNTLID_ANY),
        .asqsz = le16_make(NVME_ADMIN_QUEUE_ENTRIES_MAX),
        .eflags = le16_make(discovery ? NVME_EFLAGS_EPCSD : 0),
    };

    snprintf(record.trsvcid, sizeof record.trsvcid, "%u", addr.port);
    memcpy(record.subnqn, subsys->nqn.s, strlen(subsys->nqn.s));
    memcpy(record.traddr, ip.s, strlen(ip.s));
    return record;
}

/* Copies what of the log's bytes [at, at + bytes) lies inside the part that was asked for. */
static void put(const struct walk *walk, uint64_t at, const void *data, size_t bytes)
{
    const uint64_t begin = max_u64(at, walk->offset);
    const uint64_t end = min_u64(at + bytes, walk->offset + walk->out.bytes);

    if (begin < end)
        memcpy(walk->out.at + (begin - walk->offset), (const uint8_t *)data + (begin - at),
               end - begin);
}

static void walk_subsys(struct walk *walk, const struct nvme_subsys *subsys)
{
    const struct nvme_target *target = subsys->target;

    for (unsigned i = 0; i < target->port_count; i++) {
        const uint64_t at =
            sizeof(struct nvme_discovery_header_spec) + walk->count++ * RECORD_BYTES;

        if (at >= walk->offset + walk->out.bytes || at + RECORD_BYTES <= walk->offset)
            continue;
        const struct nvme_discovery_record_spec record =
            make_record(walk, subsys, &target->ports[i]);
        put(walk, at, &record, sizeof record);
    }
}

/* Hosts have no use for what takes a vendor's commands: who has knows where it is. */
static bool is_listed(const struct nvme_subsys *subsys)
{
    return !subsys_is_vendor(subsys);
}

static void walk_records(struct walk *walk)
{
    const struct nvme_target *target = walk->ctrl->subsys->target;

    walk_subsys(walk, target->discovery);
    LIST_FOR_EACH (node, &target->subsystems) {
        const struct nvme_subsys *subsys = CONTAINER_OF(node, struct nvme_subsys, link);

        if (is_listed(subsys) && !subsys->removing && subsys_allows(subsys, walk->ctrl->host_nqn.s))
            walk_subsys(walk, subsys);
    }
}

uint64_t discovery_log_bytes(const struct nvme_ctrl *ctrl)
{
    struct walk walk = { .ctrl = ctrl };

    walk_records(&walk);
    return sizeof(struct nvme_discovery_header_spec) + walk.count * RECORD_BYTES;
}

void discovery_log_read(const struct nvme_ctrl *ctrl, const struct nvme_conn *conn, uint64_t offset,
                        struct span out)
{
    struct walk walk = { .ctrl = ctrl, .conn = conn, .offset = offset, .out = out };

    walk_records(&walk);
    const struct nvme_discovery_header_spec header = {
        .genctr = le64_make(ctrl->subsys->target->generation),
        .numrec = le64_make(walk.count),
    };
    put(&walk, 0, &header, sizeof header);
}

void discovery_changed(struct nvme_target *target)
{
    target->generation++;
    LIST_FOR_EACH (node, &target->discovery->ctrls)
        ctrl_event(CONTAINER_OF(node, struct nvme_ctrl, link), NVME_AEN_DISCOVERY_CHANGED);
}

void discovery_subsys_changed(const struct nvme_subsys *subsys)
{
    struct nvme_target *target = subsys->target;

    if (!is_listed(subsys))
        return;
    target->generation++;
    LIST_FOR_EACH (node, &target->discovery->ctrls) {
        struct nvme_ctrl *ctrl = CONTAINER_OF(node, struct nvme_ctrl, link);

        if (subsys_allows(subsys, ctrl->host_nqn.s))
            ctrl_event(ctrl, NVME_AEN_DISCOVERY_CHANGED);
    }
}

void discovery_hosts_changed(const struct nvme_subsys *subsys, const struct nqn_text *old_hosts,
                             unsigned old_count)
{
    struct nvme_target *target = subsys->target;

    target->generation++;
    LIST_FOR_EACH (node, &target->discovery->ctrls) {
        struct nvme_ctrl *ctrl = CONTAINER_OF(node, struct nvme_ctrl, link);
        const bool saw = hosts_allow(old_hosts, old_count, ctrl->host_nqn.s);

        if (saw != subsys_allows(subsys, ctrl->host_nqn.s))
            ctrl_event(ctrl, NVME_AEN_DISCOVERY_CHANGED);
    }
}
