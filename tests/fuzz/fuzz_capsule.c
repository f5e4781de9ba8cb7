/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host that sends anything to a target, on the simulated reactor.
 *
 *   byte 0: how far the connection has come before, its digests, and whether it is to a volume, to
 *   a subsystem of a vendor's commands, or to the discovery service; byte 1: segment size;
 *   then whatever it sends
 *
 * The target ends in order whatever came: every buffer is back, nothing is in flight.
 */
#include <assert.h>
#include <stdlib.h>

#include "nvme/nqn.h"
#include "unit/nvme/mem_vendor.h"
#include "unit/nvme/target_harness.h"

#define INPUT_STAGE_MASK    0x03
#define INPUT_HEADER_DIGEST 0x04
#define INPUT_DATA_DIGEST   0x08
#define INPUT_SQ_FLOW_OFF   0x10
#define INPUT_VENDOR        0x20
#define INPUT_DISCOVERY     0x40
#define INPUT_BYTES_MAX     ((size_t)64 << 10)

/* How far the connection has come: these and what lies before them. */
enum stage { STAGE_OPEN, STAGE_HANDSHAKE, STAGE_ADMIN, STAGE_IO };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *nqn_of(uint8_t options)
{
    if ((options & INPUT_DISCOVERY) != 0)
        return NQN_DISCOVERY;
    return (options & INPUT_VENDOR) != 0 ? MEM_VENDOR_NQN : TH_NQN;
}

/* The discovery service has no I/O queues. */
static enum stage stage_of(uint8_t options)
{
    const enum stage stage = (enum stage)(options & INPUT_STAGE_MASK);

    return (options & INPUT_DISCOVERY) != 0 && stage == STAGE_IO ? STAGE_ADMIN : stage;
}

/* An association with the subsystem that it is about. */
static struct th_host *open_admin(struct th *th, uint8_t options, uint16_t *out_cntlid)
{
    struct th_host *h = th_host_greeted(th);
    const struct nvme_cqe cqe = th_connect(h, &(struct th_connect) { .nqn = nqn_of(options) });

    if (cqe.status != 0 || th_property_set_cc(h, TH_CC_ENABLED).status != 0)
        abort();
    *out_cntlid = (uint16_t)cqe.result;
    return h;
}

static void prepare(struct th_host *h, uint8_t options, uint16_t cntlid)
{
    const enum stage stage = stage_of(options);
    const struct th_connect connect = { .nqn = nqn_of(options),
                                        .qid = stage == STAGE_IO ? 1 : 0,
                                        .cntlid = cntlid,
                                        .host_id = stage == STAGE_IO ? 0 : 1,
                                        .sq_flow_off = (options & INPUT_SQ_FLOW_OFF) != 0 };

    if (stage == STAGE_OPEN)
        return;
    th_handshake(h, (options & INPUT_HEADER_DIGEST) != 0, (options & INPUT_DATA_DIGEST) != 0);
    if (stage == STAGE_HANDSHAKE)
        return;
    if (th_connect(h, &connect).status != 0)
        abort();
    if (stage == STAGE_ADMIN)
        th_property_set_cc(h, TH_CC_ENABLED);
}

/*
 * Who connects under the name of another host by the same port is that host and ends its
 * association (W3).  By a port of its own, the input cannot.
 */
static void move_to_another_port(struct th *th)
{
    const struct io_addr other = sim_machine_addr(sim_process_machine(th->server), 4421);

    if (!status_ok(nvme_target_listen(th->target, &other, NULL, &th->addr)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct th th;
    uint16_t cntlid;

    if (bytes < 3 || bytes > INPUT_BYTES_MAX)
        return 0;
    th_start(&th, &(struct th_options) { .reactors = 1,
                                         .segment_max = 1 + 16u * data[1],
                                         .pool_bytes = NVME_DATA_BYTES_MAX,
                                         .r2t_pool_bytes = NVME_DATA_BYTES_MAX });
    struct mem_vendor *mem = mem_vendor_add(th.target);
    struct th_host *admin = open_admin(&th, data[0], &cntlid);
    move_to_another_port(&th);
    struct th_host *h = th_host_open(&th);
    prepare(h, data[0], cntlid);
    th_send(h, data + 2, bytes - 2);
    th_run(&th, NS_PER_S);

    /* Nobody else noticed; but a lost queue of a vendor's commands is a lost association. */
    const bool may_end = (data[0] & INPUT_VENDOR) != 0;
    if (!may_end && th_property_get(admin, NVME_PROP_CSTS, false) != NVME_CSTS_RDY)
        abort();
    th_host_close(h);
    th_host_close(admin);
    th_stop(&th);
    mem_vendor_free(mem);
    return 0;
}
