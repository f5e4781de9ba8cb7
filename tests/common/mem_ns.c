/* SPDX-License-Identifier: Apache-2.0 */
#include "common/mem_ns.h"

#include <assert.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define MEM_NS_BYTES_MAX (UINT64_C(1) << 40)

static bool mem_tells_loss(const struct mem_ns *mem, struct nvme_ns_req *req)
{
    const uint64_t loss = mem->loss;

    if (req->opcode != NVME_NS_FLUSH && !req->fua)
        return false;
    if (loss <= req->loss_told || loss <= mem->loss_heard)
        return false;
    req->loss_told = loss;
    return true;
}

static void mem_loss_heard(struct nvme_ns *ns, uint64_t loss)
{
    struct mem_ns *mem = CONTAINER_OF(ns, struct mem_ns, ns);

    mem->loss_heard = loss;
}

static void mem_execute(struct mem_ns *mem, struct nvme_ns_req *req)
{
    uint8_t *at = mem->memory + req->offset;

    req->status = mem_tells_loss(mem, req) ? STATUS(MEDIA_WRITE) : mem->fail;
    if (!status_ok(req->status))
        return;
    pthread_mutex_lock(&mem->lock);
    switch (req->opcode) {
    case NVME_NS_READ:
        memcpy(req->data.at, at, req->bytes);
        break;
    case NVME_NS_WRITE:
        memcpy(at, req->data.at, req->bytes);
        break;
    case NVME_NS_FLUSH:
        mem->flushes++;
        break;
    case NVME_NS_WRITE_ZEROES:
    case NVME_NS_DEALLOCATE:
        memset(at, 0, req->bytes);
        break;
    case NVME_NS_COMPARE:
        if (memcmp(at, req->data.at, req->bytes) != 0)
            req->status = STATUS(MISCOMPARE);
        break;
    case NVME_NS_VERIFY:
        break;
    case NVME_NS_COPY:
        memmove(at, mem->memory + req->source, req->bytes);
        break;
    }
    pthread_mutex_unlock(&mem->lock);
    if (req->fua)
        mem->fuas++;
}

static void mem_on_turn(struct io_msg *msg)
{
    struct nvme_ns_req *req = CONTAINER_OF(msg, struct nvme_ns_req, msg);
    struct mem_ns *mem;

    memcpy(&mem, &req->scratch[0], sizeof mem);
    mem_execute(mem, req);
    req->done(req);
}

static void mem_on_canceled(struct io_msg *msg)
{
    struct nvme_ns_req *req = CONTAINER_OF(msg, struct nvme_ns_req, msg);

    req->status = STATUS(CANCELED);
    req->done(req);
}

static void mem_start(struct nvme_ns_req *req)
{
    req->msg.deliver = mem_on_turn;
    reactor_post(req->reactor, &req->msg);
}

static void mem_submit(struct nvme_ns *ns, struct nvme_ns_req *req)
{
    struct mem_ns *mem = CONTAINER_OF(ns, struct mem_ns, ns);

    assert(req->data.at == NULL ||
           ((uintptr_t)req->data.at - req->offset) % NVME_NS_BLOCK_BYTES == 0);
    memcpy(&req->scratch[0], &mem, sizeof mem);
    mem->requests++;
    if (mem->hold) {
        list_node_init(&req->link);
        list_push_back(&mem->held, &req->link);
        return;
    }
    mem_start(req);
}

static bool mem_cancel(struct nvme_ns *ns, struct nvme_ns_req *req)
{
    struct mem_ns *mem = CONTAINER_OF(ns, struct mem_ns, ns);

    if (mem->begun || !list_node_linked(&req->link))
        return false;
    list_remove(&req->link);
    req->msg.deliver = mem_on_canceled;
    reactor_post(req->reactor, &req->msg);
    return true;
}

static void mem_info(struct nvme_ns *ns, struct nvme_ns_info *out_info)
{
    *out_info = CONTAINER_OF(ns, struct mem_ns, ns)->info;
}

static const struct nvme_ns_ops mem_ops = {
    .submit = mem_submit, .cancel = mem_cancel, .loss_heard = mem_loss_heard, .info = mem_info
};

struct status mem_ns_init(struct mem_ns *mem, uint64_t bytes, uint32_t lba_bytes)
{
    if (bytes == 0 || bytes > MEM_NS_BYTES_MAX || bytes % lba_bytes != 0)
        return STATUS(INVALID);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return STATUS(NO_MEMORY);

    memset(mem, 0, sizeof *mem);
    mem->ns.ops = &mem_ops;
    pthread_mutex_init(&mem->lock, NULL);
    mem->memory = memory;
    mem->info = (struct nvme_ns_info) {
        .uuid = { "mem_ns test uuid" },
        .nguid = "mem_ns  a nguid",
        .bytes = bytes,
        .used_bytes = bytes,
        .lba_bytes = lba_bytes,
        .optimal_io_bytes = 256 << 10,
        .atomic_bytes = 4096,
    };
    list_init(&mem->held);
    return STATUS(OK);
}

void mem_ns_fini(struct mem_ns *mem)
{
    pthread_mutex_destroy(&mem->lock);
    munmap(mem->memory, mem->info.bytes);
}

void mem_ns_release(struct mem_ns *mem)
{
    struct list_node *node;

    mem->hold = false;
    while ((node = list_pop_front(&mem->held)) != NULL)
        mem_start(CONTAINER_OF(node, struct nvme_ns_req, link));
}
