/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_peer.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "nvme/cmd_spec.h"
#include "peer/names.h"

static struct fake_peer *of(struct nvme_vendor *vendor)
{
    return CONTAINER_OF(vendor, struct fake_peer, vendor);
}

/* ---- Associations ---- */

static bool on_allows(struct nvme_vendor *vendor, const char *host_nqn)
{
    struct uuid node;

    (void)vendor;
    return status_ok(peer_node_parse(host_nqn, &node));
}

static struct status on_opened(struct nvme_vendor *vendor, const char *host_nqn,
                               void **out_association)
{
    (void)host_nqn;
    of(vendor)->opened++;
    *out_association = vendor;
    return STATUS(OK);
}

static void on_closing(struct nvme_vendor *vendor, void *association)
{
    (void)association;
    of(vendor)->closing++;
}

static void on_closed(struct nvme_vendor *vendor, void *association)
{
    (void)association;
    of(vendor)->closed++;
}

static uint16_t on_check(struct nvme_vendor *vendor, const struct nvme_vendor_req *req,
                         uint32_t data_bytes)
{
    struct wire_command c;

    (void)vendor;
    return wire_status_encode(wire_command_decode(req->entry, data_bytes, &c));
}

/* ---- Commands ---- */

static struct status MUST_CHECK open_session(struct fake_peer *p, const struct wire_command *c,
                                             struct span data)
{
    struct wire_open open;

    TRY(wire_open_decode(span_const(data), &open));
    if (p->forgotten && open.known)
        return STATUS(UNKNOWN_VOLUME);
    p->forgotten = false;
    if (c->epoch < p->epoch)
        return STATUS(STALE_EPOCH);
    if (c->epoch == p->epoch && open.session <= p->number)
        return STATUS(STALE_SESSION);
    p->epoch = c->epoch;
    p->number = p->open_number = open.session;
    p->handle++;
    p->tick = c->tick;
    p->volume = open.volume;
    p->disk = open.disk;
    return STATUS(OK);
}

static void state(const struct fake_peer *p, struct span data)
{
    const struct wire_state s = { .incarnation = p->incarnation,
                                  .generation = 1,
                                  .reactor = p->reactor,
                                  .flags = p->loss ? WIRE_STATE_LOSS : 0 };

    wire_state_encode(&s, NULL, data);
}

static uint8_t *place(const struct fake_peer *p, const struct wire_command *c)
{
    uint8_t *const shard = p->shards[c->shard];

    return shard == NULL ? NULL : shard + (size_t)c->first * STORE_BLOCK_BYTES;
}

static struct status MUST_CHECK read_blocks(struct fake_peer *p, const struct wire_command *c,
                                            struct span data)
{
    const size_t bytes = (size_t)c->blocks * STORE_BLOCK_BYTES;
    uint32_t crcs[WIRE_BLOCKS_MAX];

    if (place(p, c) == NULL)
        return STATUS(UNKNOWN_SHARD);
    memcpy(data.at, place(p, c), bytes);
    for (uint32_t i = 0; i < c->blocks; i++)
        crcs[i] = crc32c(data.at + (size_t)i * STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
    wire_crcs_encode(crcs, c->blocks, span_sub(data, bytes, data.bytes - bytes));
    if (p->corrupt_count > 0) {
        p->corrupt_count--;
        data.at[bytes - 1] ^= 0x10;
    }
    return STATUS(OK);
}

static struct status MUST_CHECK write_blocks(struct fake_peer *p, const struct wire_command *c,
                                             struct span data)
{
    const size_t bytes = (size_t)c->blocks * STORE_BLOCK_BYTES;

    TRY(wire_blocks_check(span_const(span_sub(data, 0, bytes)),
                          span_const(span_sub(data, bytes, data.bytes - bytes))));
    if (p->shards[c->shard] == NULL && (c->flags & WIRE_CREATE) == 0)
        return STATUS(UNKNOWN_SHARD);
    if (p->shards[c->shard] == NULL)
        p->shards[c->shard] = calloc(1, FAKE_PEER_SHARD_BYTES);
    memcpy(place(p, c), data.at, bytes);
    return STATUS(OK);
}

static struct status MUST_CHECK zero_blocks(struct fake_peer *p, const struct wire_command *c)
{
    if (place(p, c) == NULL)
        return STATUS(UNKNOWN_SHARD);
    memset(place(p, c), 0, (size_t)c->blocks * STORE_BLOCK_BYTES);
    return STATUS(OK);
}

static void list(const struct fake_peer *p, const struct wire_command *c, struct span data)
{
    const bool first = c->argument == 0 && p->region.count > 0;
    struct wire_region region = p->region;

    region.tick = 0; /* Of what it was told. */
    region.copyset = 0;
    wire_regions_encode(STORE_CURSOR_END, &region, first ? 1 : 0, data);
}

static struct status MUST_CHECK take_regions(struct fake_peer *p, const struct wire_command *c,
                                             struct span data)
{
    struct wire_items items;

    TRY(wire_region_items_decode(c->opcode, span_const(data), &items));
    for (uint32_t i = 0; i < items.count; i++) {
        p->region = wire_region_get(items, i);
        if (c->opcode == WIRE_CLOSE_REGIONS)
            p->closed_to[p->region.shard][p->region.region] = p->region.tick;
        for (uint32_t r = 0; r < p->region.count && c->opcode == WIRE_MERGE_REGIONS; r++)
            p->merged[p->region.shard][p->region.region + r] |= p->region.slots;
    }
    return STATUS(OK);
}

static struct status MUST_CHECK take_sets(struct fake_peer *p, struct span data)
{
    struct wire_items items;
    uint64_t sequence;

    TRY(wire_set_decode(span_const(data), &sequence, &items));
    p->set = wire_set_get(items, items.count - 1);
    return STATUS(OK);
}

/* Its own, and nothing that it keeps. */
static void points(const struct fake_peer *p, struct span data)
{
    const struct store_point own = { .disk = p->disk,
                                     .incarnation = p->incarnation,
                                     .position = p->position + 1 };

    wire_points_encode(STORE_CURSOR_END, &own, 1, data);
}

static struct status MUST_CHECK take_points(struct fake_peer *p, struct span data)
{
    struct wire_items items;

    TRY(wire_keep_points_decode(span_const(data), &items));
    p->point = wire_point_get(items, items.count - 1);
    return STATUS(OK);
}

/* As if a block were its own hash. */
static void hashes(const struct fake_peer *p, const struct wire_command *c, struct span data)
{
    struct wire_hash h[WIRE_REGION_BLOCKS] = { 0 };

    for (uint32_t i = 0; i < c->blocks && place(p, c) != NULL; i++) {
        h[i].state = WIRE_BLOCK_DATA;
        memcpy(h[i].hash, place(p, c) + (size_t)i * STORE_BLOCK_BYTES, sizeof h[i].hash);
    }
    wire_hashes_encode(h, c->blocks, data);
}

static struct status MUST_CHECK run(struct fake_peer *p, const struct wire_command *c,
                                    struct span data)
{
    switch (c->opcode) {
    case WIRE_OPEN:
        return open_session(p, c, data);
    case WIRE_STATE:
        state(p, data);
        return STATUS(OK);
    case WIRE_READ:
        return read_blocks(p, c, data);
    case WIRE_WRITE:
        return write_blocks(p, c, data);
    case WIRE_ZERO:
        return zero_blocks(p, c);
    case WIRE_FLUSH:
        p->position++;
        return c->argument == p->incarnation ? STATUS(OK) : STATUS(STALE_INCARNATION);
    case WIRE_REGIONS:
        list(p, c, data);
        return STATUS(OK);
    case WIRE_HASH:
        hashes(p, c, data);
        return STATUS(OK);
    case WIRE_CLOSE_REGIONS:
    case WIRE_MERGE_REGIONS:
        return take_regions(p, c, data);
    case WIRE_SET:
        return take_sets(p, data);
    case WIRE_POINTS:
        points(p, data);
        return STATUS(OK);
    case WIRE_KEEP_POINTS:
        return take_points(p, data);
    case WIRE_RELEASE:
        p->number = 0;
        return STATUS(OK);
    default:
        return STATUS(OK);
    }
}

static struct status MUST_CHECK check_session(const struct fake_peer *p,
                                              const struct wire_command *c)
{
    if (c->opcode == WIRE_OPEN)
        return STATUS(OK);
    if (c->epoch < p->epoch)
        return STATUS(STALE_EPOCH);
    if (p->number == 0 || c->session != (uint32_t)p->number || c->handle != p->handle)
        return STATUS(STALE_SESSION);
    return STATUS(OK);
}

static uint16_t execute(struct fake_peer *p, const struct nvme_vendor_req *req)
{
    struct wire_command c;
    struct status st = wire_command_decode(req->entry, (uint32_t)req->data.bytes, &c);

    if (status_ok(st))
        st = check_session(p, &c);
    if (status_ok(st) && p->fail_sc != 0 && p->fail_opcode == c.opcode) {
        const uint16_t sc = p->fail_sc;
        p->fail_sc = 0;
        return sc;
    }
    if (!status_ok(st))
        return wire_status_encode(st);
    p->count[c.opcode]++;
    p->last = c;
    p->last_reactor = req->reactor;
    return wire_status_encode(run(p, &c, req->data));
}

static void on_done(struct io_msg *msg)
{
    struct nvme_vendor_req *const req = CONTAINER_OF(msg, struct nvme_vendor_req, msg);

    req->done(req);
}

static void complete(struct fake_peer *p, struct nvme_vendor_req *req)
{
    req->status = execute(p, req);
    req->dword0 = p->seals;
    req->dword1 = req->entry[0] == WIRE_OPEN ? p->handle : (uint32_t)p->incarnation;
    req->msg.deliver = on_done;
    reactor_post(req->reactor, &req->msg);
}

static void on_submit(struct nvme_vendor *vendor, struct nvme_vendor_req *req)
{
    struct fake_peer *const p = of(vendor);
    const bool held = p->hold && (p->hold_opcode == 0 || p->hold_opcode == req->entry[0]);

    if (!held) {
        complete(p, req);
        return;
    }
    list_push_back(&p->held, &req->link);
    p->held_count++;
}

void fake_peer_release(struct fake_peer *p)
{
    struct list_node *n;

    p->hold = false;
    p->held_count = 0;
    while ((n = list_pop_front(&p->held)) != NULL)
        complete(p, CONTAINER_OF(n, struct nvme_vendor_req, link));
}

void fake_peer_lose_power(struct fake_peer *p)
{
    p->incarnation += 7;
    p->number = 0;
}

static const struct nvme_vendor_ops ops = {
    .allows = on_allows,
    .opened = on_opened,
    .closing = on_closing,
    .closed = on_closed,
    .check = on_check,
    .submit = on_submit,
};

struct fake_peer *fake_peer_add(struct nvme_target *target, struct uuid node)
{
    struct fake_peer *const p = calloc(1, sizeof *p);
    const struct nqn_text nqn = peer_store_nqn(node);
    const struct nvme_subsys_config config = { .nqn = nqn.s,
                                               .serial = "STORE01",
                                               .vendor = &p->vendor };

    p->incarnation = 0x500000001;
    p->seals = 3;
    p->handle = 100;
    list_init(&p->held);
    p->vendor.ops = &ops;
    for (unsigned opcode = NVME_VENDOR_OPCODE_MIN; opcode <= UINT8_MAX; opcode++) {
        if (wire_opcode_is_known((uint8_t)opcode))
            nvme_vendor_add(&p->vendor, (uint8_t)opcode);
    }
    if (!status_ok(nvme_subsys_add(target, &config, &p->subsys)))
        abort();
    return p;
}

void fake_peer_free(struct fake_peer *p)
{
    for (unsigned i = 0; i < FAKE_PEER_SHARDS; i++)
        free(p->shards[i]);
    free(p);
}
