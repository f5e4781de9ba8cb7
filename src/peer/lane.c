/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of a session, on one reactor.
 *
 *   store_io --> entry, data --> queue of the pair --> answer --> CRCs, incarnation, lease --> done
 */
#include <assert.h>
#include <stdlib.h>

#include "peer/limits.h"
#include "peer/session.h"

#define ITEMS_BYTES NVME_IN_CAPSULE_BYTES_MAX /* Room for the data of commands that have items. */

static void on_cmd(struct initiator_cmd *cmd);
static void on_memory(struct buf_waiter *waiter);

/* ---- Lanes ---- */

void peer_lane_init(struct peer_lane *lane, struct link *link, unsigned reactor)
{
    *lane = (struct peer_lane) { .end = link_end_of(link, reactor) };
    list_node_init(&lane->node);
}

static void take_down(struct peer_lane *lane)
{
    lane->up = false;
    lease_on_stale(&lane->lease);
    list_remove(&lane->node);
}

void peer_lane_attach(struct peer_lane *lane, const struct peer_ticket *ticket)
{
    struct link_end *const end = lane->end;

    assert(reactor_is_current(end->reactor));
    take_down(lane);
    if (!end->live || end->number != ticket->link_number)
        return;
    lane->queue = link_end_queue(end, ticket->reactor);
    lane->epoch = ticket->epoch;
    lane->incarnation = ticket->incarnation;
    lane->handle = ticket->handle;
    lane->budget = ticket->budget;
    lane->number = (uint32_t)ticket->number;
    lane->up = true;
    list_push_back(&end->lanes, &lane->node);
    /* OPEN's answer confirms the session where it came. */
    if (end->reactor == link_home(end->link))
        lease_on_answer(&end->lease, &lane->lease, ticket->seals, ticket->sent_ns);
}

void peer_lane_detach(struct peer_lane *lane)
{
    assert(reactor_is_current(lane->end->reactor));
    take_down(lane);
}

struct lease_member peer_lane_lease(const struct peer_lane *lane)
{
    if (!lane->up)
        return (struct lease_member) { 0 };
    return (struct lease_member) { .link = &lane->end->lease, .session = &lane->lease };
}

/* ---- Sending ---- */

static enum wire_opcode opcode_of(const struct store_io *s)
{
    switch (s->opcode) {
    case STORE_OP_READ:
        return WIRE_READ;
    case STORE_OP_WRITE:
        return WIRE_WRITE;
    case STORE_OP_WRITE_ZEROES:
    case STORE_OP_DEALLOCATE:
        return WIRE_ZERO;
    case STORE_OP_FLUSH:
        return WIRE_FLUSH;
    case STORE_OP_DELETE_VOLUME:
        return WIRE_DELETE;
    case STORE_OP_LIST_REGIONS:
        return WIRE_REGIONS;
    case STORE_OP_CLOSE_REGIONS:
        return WIRE_CLOSE_REGIONS;
    case STORE_OP_MERGE_REGIONS:
        return WIRE_MERGE_REGIONS;
    case STORE_OP_SET:
        return WIRE_SET;
    case STORE_OP_HASH:
        return WIRE_HASH;
    case STORE_OP_SPOIL:
        return WIRE_SPOIL;
    case STORE_OP_LIST_POINTS:
        return WIRE_POINTS;
    case STORE_OP_KEEP_POINTS:
    case STORE_OP_CHECK_POINTS:
        return WIRE_KEEP_POINTS;
    }
    abort();
}

static bool has_items(enum wire_opcode opcode)
{
    return opcode == WIRE_REGIONS || opcode == WIRE_CLOSE_REGIONS || opcode == WIRE_MERGE_REGIONS ||
           opcode == WIRE_SET || opcode == WIRE_HASH || opcode == WIRE_POINTS ||
           opcode == WIRE_KEEP_POINTS;
}

static uint32_t region_count(const struct store_io *s)
{
    return (uint32_t)min_u64(s->data.bytes / sizeof(struct store_region), STORE_REGIONS_MAX);
}

static uint32_t point_count(const struct store_io *s)
{
    return (uint32_t)min_u64(s->data.bytes / sizeof(struct store_point), STORE_POINTS_MAX);
}

static void fill_range(const struct store_io *s, struct wire_command *c)
{
    c->shard = s->shard;
    c->first = (uint32_t)(s->offset / STORE_BLOCK_BYTES);
    c->blocks = (uint32_t)(s->bytes / STORE_BLOCK_BYTES);
    c->argument = s->generation;
}

static uint32_t change_flags(const struct store_io *s)
{
    return (s->fua ? WIRE_FUA : 0) | (s->opcode == STORE_OP_DEALLOCATE ? WIRE_DEALLOCATE : 0);
}

static void fill_change(const struct store_io *s, struct wire_command *c)
{
    c->tick = s->tick;
    if (c->opcode == WIRE_SPOIL)
        return;
    c->flags = change_flags(s);
    if (c->opcode == WIRE_WRITE && s->create) {
        c->flags |= WIRE_CREATE;
        c->copyset = s->copyset;
    }
}

/* The fields of the command that the store's has; those that it does not use are zero. */
static void fill(const struct store_io *s, struct wire_command *c)
{
    switch (c->opcode) {
    case WIRE_WRITE:
    case WIRE_ZERO:
    case WIRE_SPOIL:
        fill_change(s, c);
        fill_range(s, c);
        return;
    case WIRE_READ:
    case WIRE_HASH:
        fill_range(s, c);
        return;
    case WIRE_FLUSH:
        c->argument = s->incarnation;
        return;
    case WIRE_REGIONS:
        c->argument = s->offset;
        c->blocks = region_count(s);
        return;
    case WIRE_MERGE_REGIONS:
        c->tick = s->tick;
        return;
    case WIRE_POINTS:
        c->argument = s->offset;
        c->blocks = point_count(s);
        return;
    case WIRE_KEEP_POINTS:
        c->flags = s->opcode == STORE_OP_CHECK_POINTS ? WIRE_CHECK : s->fua ? WIRE_FUA : 0;
        return;
    default:
        return;
    }
}

/* Blocks travel from and to where they are; their CRCs beside them. */
static void place_blocks(struct peer_io *io)
{
    const struct store_io *const s = io->store;
    const uint32_t blocks = (uint32_t)(s->bytes / STORE_BLOCK_BYTES);

    assert(blocks <= WIRE_BLOCKS_MAX && s->data.bytes == s->bytes);
    io->cmd.data = s->data;
    io->cmd.tail = (struct span) { io->crcs, (size_t)blocks * WIRE_CRC_BYTES };
    if (s->opcode == STORE_OP_WRITE)
        wire_crcs_encode(s->crcs, blocks, io->cmd.tail);
}

static struct wire_region wire_of(const struct store_region *r, enum wire_opcode opcode)
{
    const bool merges = opcode == WIRE_MERGE_REGIONS;

    return (struct wire_region) { .shard = r->shard,
                                  .region = r->region,
                                  .count = r->count,
                                  .tick = merges ? 0 : r->tick,
                                  .copyset = merges ? r->copyset : 0,
                                  .slots = r->slots };
}

static void encode_regions(const struct store_io *s, const struct wire_command *c, struct span out)
{
    const struct store_region *const from = (const struct store_region *)(void *)s->data.at;
    struct wire_region regions[STORE_REGIONS_MAX];
    const uint32_t count = region_count(s);

    for (uint32_t i = 0; i < count; i++)
        regions[i] = wire_of(&from[i], c->opcode);
    wire_region_items_encode(c->opcode, regions, count, out);
}

static struct wire_set wire_set_of(const struct store_set *from)
{
    struct wire_set set = { .number = (uint16_t)from->number,
                            .in = from->set.in,
                            .whole = from->set.whole };

    memcpy(set.disk, from->set.disk, sizeof set.disk);
    memcpy(set.incarnation, from->set.incarnation, sizeof set.incarnation);
    return set;
}

static void encode_sets(const struct store_io *s, struct span out)
{
    const struct store_set *const from = (const struct store_set *)(void *)s->data.at;
    const uint32_t count = (uint32_t)(s->data.bytes / sizeof *from);
    struct wire_set sets[STORE_COPYSETS_MAX];

    assert(count > 0 && count <= STORE_COPYSETS_MAX);
    for (uint32_t i = 0; i < count; i++)
        sets[i] = wire_set_of(&from[i]);
    wire_set_encode(from[0].sequence, sets, count, out);
}

static uint32_t item_count(const struct store_io *s, enum wire_opcode opcode)
{
    if (opcode == WIRE_SET)
        return (uint32_t)(s->data.bytes / sizeof(struct store_set));
    return opcode == WIRE_KEEP_POINTS ? point_count(s) : region_count(s);
}

/* The items of a command are brought into the wire's form, or will be brought back from it. */
static void place_items(struct peer_io *io, const struct wire_command *c)
{
    const struct store_io *const s = io->store;

    io->cmd.data = span_sub(io->memory, 0, wire_data_bytes(c, item_count(s, c->opcode)));
    if (c->opcode == WIRE_SET)
        encode_sets(s, io->cmd.data);
    else if (c->opcode == WIRE_CLOSE_REGIONS || c->opcode == WIRE_MERGE_REGIONS)
        encode_regions(s, c, io->cmd.data);
    else if (c->opcode == WIRE_KEEP_POINTS)
        wire_keep_points_encode((const struct store_point *)(void *)s->data.at, point_count(s),
                                io->cmd.data);
}

static void send(struct peer_io *io, enum wire_opcode opcode)
{
    const struct peer_lane *const lane = io->lane;
    struct wire_command c = {
        .opcode = opcode, .handle = lane->handle, .epoch = lane->epoch, .session = lane->number
    };
    uint8_t entry[WIRE_ENTRY_BYTES];

    if (io->store != NULL)
        fill(io->store, &c);
    wire_command_encode(&c, entry);
    initiator_cmd_set_entry(&io->cmd, entry);
    io->cmd.done = on_cmd;
    io->cmd.no_deadline = false;
    io->cmd.budget = io->store != NULL ? lane->budget : 0;
    io->cmd.data = (struct span) { 0 };
    io->cmd.tail = (struct span) { 0 };
    if (opcode == WIRE_READ || opcode == WIRE_WRITE)
        place_blocks(io);
    else if (has_items(opcode))
        place_items(io, &c);
    io->number = lane->number;
    /* Not before the host's command came, which may be in this turn: 8.2. */
    io->sent_ns =
        io->store == NULL ? reactor_clock_ns(io->end->reactor) : reactor_now_ns(io->end->reactor);
    io->queue = lane->queue;
    initiator_queue_submit(lane->queue, &io->cmd);
}

static void finish(struct peer_io *io, struct status status, bool lost)
{
    buf_put(io->end->pool, io->memory);
    io->memory = (struct span) { 0 };
    io->status = status;
    io->lost = lost;
    if (io->store != NULL)
        io->store->status = status;
    io->done(io);
}

/* The lane may have gone down while there was no memory: the command was not sent. */
static void start(struct peer_io *io)
{
    const enum wire_opcode opcode = io->store != NULL ? opcode_of(io->store) : WIRE_CONFIRM;

    if (has_items(opcode)) {
        io->memory = buf_get(io->end->pool, ITEMS_BYTES);
        if (io->memory.at == NULL) {
            io->waiter.retry = on_memory;
            buf_wait(io->end->pool, &io->waiter);
            return;
        }
    }
    send(io, opcode);
}

static void on_memory(struct buf_waiter *waiter)
{
    struct peer_io *const io = CONTAINER_OF(waiter, struct peer_io, waiter);

    if (io->lane->up)
        start(io);
    else
        finish(io, STATUS(UNAVAILABLE), true);
}

void peer_submit(struct peer_lane *lane, struct peer_io *io)
{
    assert(lane->up);
    assert(reactor_is_current(lane->end->reactor));

    io->lane = lane;
    io->end = lane->end;
    io->memory = (struct span) { 0 };
    io->queue = NULL;
    start(io);
}

bool peer_abandon(struct peer_io *io)
{
    if (io->queue == NULL) {
        buf_wait_cancel(io->end->pool, &io->waiter);
        return true;
    }
    if (!initiator_queue_abandon(io->queue, &io->cmd))
        return false;
    buf_put(io->end->pool, io->memory);
    io->memory = (struct span) { 0 };
    return true;
}

/* ---- Answers ---- */

/* S3: blocks are looked at before anybody sees them, and their CRCs stay with them. */
static struct status MUST_CHECK take_blocks(struct peer_io *io)
{
    const struct const_span crcs = span_const(io->cmd.tail);

    TRY(wire_blocks_check(span_const(io->cmd.data), crcs));
    if (io->store->crcs != NULL)
        wire_crcs_decode(crcs, io->store->crcs);
    return STATUS(OK);
}

static struct status MUST_CHECK take_regions(struct peer_io *io)
{
    struct store_io *const s = io->store;
    struct store_region *const to = (struct store_region *)(void *)s->data.at;
    struct wire_items items;
    uint64_t cursor;

    TRY(wire_regions_decode(span_const(io->cmd.data), s->offset, &cursor, &items));
    for (uint32_t i = 0; i < items.count; i++) {
        const struct wire_region r = wire_region_get(items, i);
        to[i] = (struct store_region) { .shard = r.shard,
                                        .region = r.region,
                                        .count = r.count,
                                        .copyset = r.copyset,
                                        .slots = r.slots };
    }
    s->offset = cursor;
    s->bytes = items.count * sizeof *to;
    return STATUS(OK);
}

static struct status MUST_CHECK take_points(struct peer_io *io)
{
    struct store_io *const s = io->store;
    struct store_point *const to = (struct store_point *)(void *)s->data.at;
    struct wire_items items;
    uint64_t cursor;

    TRY(wire_points_decode(span_const(io->cmd.data), s->offset, &cursor, &items));
    for (uint32_t i = 0; i < items.count; i++)
        to[i] = wire_point_get(items, i);
    s->offset = cursor;
    s->bytes = items.count * sizeof *to;
    return STATUS(OK);
}

static struct status MUST_CHECK take_hashes(struct peer_io *io)
{
    const struct store_io *const s = io->store;
    struct store_hash *const to = (struct store_hash *)(void *)s->data.at;
    const uint32_t blocks = (uint32_t)(s->bytes / STORE_BLOCK_BYTES);
    struct wire_items items;

    TRY(wire_hashes_decode(span_const(io->cmd.data), blocks, &items));
    for (uint32_t i = 0; i < blocks; i++) {
        const struct wire_hash h = wire_hash_get(items, i);
        to[i].state = (enum store_block_state)h.state;
        memcpy(to[i].hash, h.hash, sizeof to[i].hash);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK take_data(struct peer_io *io)
{
    if (io->store != NULL && io->store->opcode == STORE_OP_READ)
        return take_blocks(io);
    if (io->store != NULL && io->store->opcode == STORE_OP_LIST_REGIONS)
        return take_regions(io);
    if (io->store != NULL && io->store->opcode == STORE_OP_LIST_POINTS)
        return take_points(io);
    if (io->store != NULL && io->store->opcode == STORE_OP_HASH)
        return take_hashes(io);
    return STATUS(OK);
}

static bool ends_session(struct status st)
{
    return status_is(st, STATUS_STALE_EPOCH) || status_is(st, STATUS_STALE_SESSION) ||
           status_is(st, STATUS_STALE_INCARNATION);
}

/*
 * A success confirms the session at its count (8.3).  A failure may come from the transport, which
 * has looked at no session and knows no count.
 */
static struct status take_success(struct peer_io *io)
{
    struct peer_lane *const lane = io->lane;
    const struct wire_answer answer = wire_answer_decode(io->cmd.result);

    if (lane->up && io->number == lane->number) {
        /* 4.4: what it had answered before may be gone. */
        if (answer.incarnation != (uint32_t)lane->incarnation)
            return STATUS(STALE_INCARNATION);
        lease_on_answer(&io->end->lease, &lane->lease, answer.seals, io->sent_ns);
    }
    return take_data(io);
}

/* There is one writer. */
static void count(_Atomic uint64_t *counter)
{
    const uint64_t was = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, was + 1, memory_order_relaxed);
}

static void on_cmd(struct initiator_cmd *cmd)
{
    struct peer_io *const io = CONTAINER_OF(cmd, struct peer_io, cmd);
    struct peer_lane *const lane = io->lane;

    /* A lost connection leaves no status. */
    if (!status_ok(cmd->status) && cmd->sc == 0) {
        count(&io->end->commands_lost);
        link_end_lose(io->end, cmd->status);
        finish(io, cmd->status, true);
        return;
    }
    count(&io->end->commands);
    const struct status st = cmd->sc == 0 ? take_success(io) : wire_status_decode(cmd->sc);
    if (ends_session(st) && io->number == lane->number)
        take_down(lane);
    finish(io, st, false);
}
