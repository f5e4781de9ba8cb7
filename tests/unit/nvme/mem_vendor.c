/* SPDX-License-Identifier: Apache-2.0 */
#include "mem_vendor.h"

#include <stdlib.h>

static struct mem_vendor *of(struct nvme_vendor *vendor)
{
    return CONTAINER_OF(vendor, struct mem_vendor, vendor);
}

static bool on_allows(struct nvme_vendor *vendor, const char *host_nqn)
{
    const struct mem_vendor *mem = of(vendor);

    return mem->denied == NULL || strcmp(mem->denied, host_nqn) != 0;
}

/* An association is known by its number, from 1. */
static struct status on_opened(struct nvme_vendor *vendor, const char *host_nqn,
                               void **out_association)
{
    struct mem_vendor *mem = of(vendor);

    assert(host_nqn[0] != '\0');
    TRY(mem->refused);
    *out_association = (void *)(uintptr_t)++mem->opened;
    return STATUS(OK);
}

static void on_closing(struct nvme_vendor *vendor, void *association)
{
    struct mem_vendor *mem = of(vendor);

    assert(association != NULL && mem->closing < mem->opened);
    mem->closing++;
}

static void on_closed(struct nvme_vendor *vendor, void *association)
{
    struct mem_vendor *mem = of(vendor);

    assert(association != NULL && mem->closed < mem->closing);
    mem->closed++;
}

static uint16_t on_check(struct nvme_vendor *vendor, const struct nvme_vendor_req *req,
                         uint32_t data_bytes)
{
    const struct nvme_sqe sqe = nvme_sqe_decode(req->entry);

    (void)vendor;
    if (sqe.cdw3 == MEM_VENDOR_BAD)
        return MEM_VENDOR_REFUSE;
    if (sqe.cdw10 > MEM_VENDOR_BYTES - NVME_DATA_BYTES_MAX || data_bytes != sqe.sgl_bytes)
        return NVME_SC_LBA_RANGE;
    return 0;
}

static void execute(struct mem_vendor *mem, struct nvme_vendor_req *req)
{
    const struct nvme_sqe sqe = nvme_sqe_decode(req->entry);

    mem->requests++;
    memcpy(mem->entry, req->entry, sizeof mem->entry);
    mem->association = req->association;
    mem->reactor = req->reactor;
    req->status = mem->status;
    req->dword0 = 0x11223344;
    req->dword1 = sqe.cdw2;
    if (req->data.bytes == 0)
        return;
    if (req->status == 0 && sqe.opcode == MEM_VENDOR_PUT)
        memcpy(mem->memory + sqe.cdw10, req->data.at, req->data.bytes);
    else if (req->status == 0 && sqe.opcode == MEM_VENDOR_GET)
        memcpy(req->data.at, mem->memory + sqe.cdw10, req->data.bytes);
}

static void on_done(struct io_msg *msg)
{
    struct nvme_vendor_req *req = CONTAINER_OF(msg, struct nvme_vendor_req, msg);

    req->done(req);
}

static void complete(struct mem_vendor *mem, struct nvme_vendor_req *req)
{
    execute(mem, req);
    req->msg.deliver = on_done;
    reactor_post(req->reactor, &req->msg);
}

static void on_submit(struct nvme_vendor *vendor, struct nvme_vendor_req *req)
{
    struct mem_vendor *mem = of(vendor);

    assert(reactor_is_current(req->reactor));
    assert((uintptr_t)req->data.at % 4096 == 0);
    if (mem->hold)
        list_push_front(&mem->held, &req->link);
    else
        complete(mem, req);
}

void mem_vendor_release(struct mem_vendor *mem)
{
    struct list_node *node;

    mem->hold = false;
    while ((node = list_pop_front(&mem->held)) != NULL)
        complete(mem, CONTAINER_OF(node, struct nvme_vendor_req, link));
}

static const struct nvme_vendor_ops ops = {
    .allows = on_allows,
    .opened = on_opened,
    .closing = on_closing,
    .closed = on_closed,
    .check = on_check,
    .submit = on_submit,
};

struct mem_vendor *mem_vendor_add(struct nvme_target *target)
{
    struct mem_vendor *mem = calloc(1, sizeof *mem);
    const struct nvme_subsys_config config = {
        .nqn = MEM_VENDOR_NQN,
        .serial = "VENDOR01",
        .vendor = &mem->vendor,
    };

    assert(mem != NULL);
    list_init(&mem->held);
    mem->vendor.ops = &ops;
    nvme_vendor_add(&mem->vendor, MEM_VENDOR_PUT);
    nvme_vendor_add(&mem->vendor, MEM_VENDOR_GET);
    nvme_vendor_add(&mem->vendor, MEM_VENDOR_DO);
    if (!status_ok(nvme_subsys_add(target, &config, &mem->subsys)))
        abort();
    return mem;
}

void mem_vendor_free(struct mem_vendor *mem)
{
    assert(mem->closed == mem->opened);
    free(mem);
}
