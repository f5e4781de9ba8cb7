/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each command does: how it becomes one of the store's, and what comes back of it.
 *
 * Blocks and their CRCs lie in one buffer of the target's, the blocks first, so that they are
 * aligned; the CRCs are turned from and into the wire's byte order where they lie.
 */
#include "peer/server_internal.h"

static void op_on_store(struct store_io *io);

/* ---- Data ---- */

bool op_needs_items(enum wire_opcode opcode)
{
    return opcode == WIRE_SET || opcode == WIRE_CLOSE_REGIONS || opcode == WIRE_REGIONS ||
           opcode == WIRE_MERGE_REGIONS || opcode == WIRE_HASH || opcode == WIRE_POINTS ||
           opcode == WIRE_KEEP_POINTS;
}

static size_t blocks_bytes(const struct server_op *op)
{
    return (size_t)op->command.blocks * STORE_BLOCK_BYTES;
}

static struct span blocks_of(const struct server_op *op)
{
    return span_sub(op->req->data, 0, blocks_bytes(op));
}

/* A whole number of blocks from an aligned start on: aligned, too. */
static struct span crcs_of(const struct server_op *op)
{
    return span_sub(op->req->data, blocks_bytes(op), (size_t)op->command.blocks * WIRE_CRC_BYTES);
}

struct store_set set_from_wire(struct wire_set w, uint64_t sequence)
{
    struct store_set set = {
        .number = w.number,
        .sequence = sequence,
        .set = { .in = w.in, .whole = w.whole },
    };

    memcpy(set.set.disk, w.disk, sizeof set.set.disk);
    memcpy(set.set.incarnation, w.incarnation, sizeof set.set.incarnation);
    return set;
}

static struct wire_set set_to_wire(const struct store_set *set)
{
    struct wire_set w = {
        .number = (uint16_t)set->number,
        .in = set->set.in,
        .whole = set->set.whole,
    };

    memcpy(w.disk, set->set.disk, sizeof w.disk);
    memcpy(w.incarnation, set->set.incarnation, sizeof w.incarnation);
    return w;
}

static struct status MUST_CHECK take_sets(struct server_op *op)
{
    struct wire_items items;
    uint64_t sequence;

    TRY(wire_set_decode(span_const(op->req->data), &sequence, &items));
    for (uint32_t i = 0; i < items.count; i++)
        op->items->u.sets[i] = set_from_wire(wire_set_get(items, i), sequence);
    op->io.data =
        (struct span) { (uint8_t *)op->items->u.sets, items.count * sizeof op->items->u.sets[0] };
    return STATUS(OK);
}

static struct status MUST_CHECK take_regions(struct server_op *op)
{
    struct wire_items items;

    TRY(wire_region_items_decode(op->command.opcode, span_const(op->req->data), &items));
    for (uint32_t i = 0; i < items.count; i++) {
        const struct wire_region w = wire_region_get(items, i);
        op->items->u.regions[i] = (struct store_region) { .shard = w.shard,
                                                          .region = w.region,
                                                          .count = w.count,
                                                          .tick = w.tick,
                                                          .copyset = w.copyset,
                                                          .slots = w.slots };
    }
    op->io.data = (struct span) { (uint8_t *)op->items->u.regions,
                                  items.count * sizeof op->items->u.regions[0] };
    return STATUS(OK);
}

static struct status MUST_CHECK take_points(struct server_op *op)
{
    struct wire_items items;

    TRY(wire_keep_points_decode(span_const(op->req->data), &items));
    for (uint32_t i = 0; i < items.count; i++)
        op->items->u.points[i] = wire_point_get(items, i);
    op->io.data = (struct span) { (uint8_t *)op->items->u.points,
                                  items.count * sizeof op->items->u.points[0] };
    return STATUS(OK);
}

struct status op_check_data(struct server_op *op)
{
    op->io = (struct store_io) { 0 };
    switch (op->command.opcode) {
    case WIRE_WRITE:
        TRY(wire_blocks_check(span_const(blocks_of(op)), span_const(crcs_of(op))));
        op->io.data = blocks_of(op);
        op->io.crcs = (uint32_t *)(void *)crcs_of(op).at;
        wire_crcs_decode(span_const(crcs_of(op)), op->io.crcs);
        return STATUS(OK);
    case WIRE_READ:
        op->io.data = blocks_of(op);
        op->io.crcs = (uint32_t *)(void *)crcs_of(op).at;
        return STATUS(OK);
    case WIRE_SET:
        return take_sets(op);
    case WIRE_CLOSE_REGIONS:
    case WIRE_MERGE_REGIONS:
        return take_regions(op);
    case WIRE_REGIONS:
        op->io.data = (struct span) { (uint8_t *)op->items->u.regions,
                                      op->command.blocks * sizeof op->items->u.regions[0] };
        return STATUS(OK);
    case WIRE_KEEP_POINTS:
        return take_points(op);
    case WIRE_POINTS:
        op->io.data = (struct span) { (uint8_t *)op->items->u.points,
                                      op->command.blocks * sizeof op->items->u.points[0] };
        return STATUS(OK);
    case WIRE_HASH:
        op->io.data = (struct span) { (uint8_t *)op->items->u.hashes,
                                      op->command.blocks * sizeof op->items->u.hashes[0] };
        return STATUS(OK);
    default:
        return STATUS(OK);
    }
}

/* ---- Commands of the store ---- */

static enum store_opcode store_opcode(const struct wire_command *c)
{
    switch (c->opcode) {
    case WIRE_READ:
        return STORE_OP_READ;
    case WIRE_WRITE:
        return STORE_OP_WRITE;
    case WIRE_ZERO:
        return (c->flags & WIRE_DEALLOCATE) != 0 ? STORE_OP_DEALLOCATE : STORE_OP_WRITE_ZEROES;
    case WIRE_FLUSH:
        return STORE_OP_FLUSH;
    case WIRE_CLOSE_REGIONS:
        return STORE_OP_CLOSE_REGIONS;
    case WIRE_REGIONS:
        return STORE_OP_LIST_REGIONS;
    case WIRE_MERGE_REGIONS:
        return STORE_OP_MERGE_REGIONS;
    case WIRE_HASH:
        return STORE_OP_HASH;
    case WIRE_SET:
        return STORE_OP_SET;
    case WIRE_SPOIL:
        return STORE_OP_SPOIL;
    case WIRE_POINTS:
        return STORE_OP_LIST_POINTS;
    case WIRE_KEEP_POINTS:
        return (c->flags & WIRE_CHECK) != 0 ? STORE_OP_CHECK_POINTS : STORE_OP_KEEP_POINTS;
    default:
        assert(c->opcode == WIRE_DELETE);
        return STORE_OP_DELETE_VOLUME;
    }
}

/* FUA has no room for an incarnation: it is that with which the session was opened (2.3). */
static void op_store(struct server_op *op, const struct server_session *s)
{
    const struct wire_command *const c = &op->command;
    struct store_io *const io = &op->io;

    io->opcode = store_opcode(c);
    io->fua = (c->flags & WIRE_FUA) != 0;
    /* What is merged may be of a shard that was never written here. */
    io->create = (c->flags & WIRE_CREATE) != 0 || c->opcode == WIRE_MERGE_REGIONS;
    io->shard = c->shard;
    io->tick = c->tick;
    io->copyset = (uint16_t)c->copyset;
    io->incarnation = c->opcode == WIRE_FLUSH ? c->argument : s->incarnation;
    io->offset = (uint64_t)c->first * STORE_BLOCK_BYTES;
    io->bytes = (uint64_t)c->blocks * STORE_BLOCK_BYTES;
    if (c->opcode == WIRE_REGIONS || c->opcode == WIRE_POINTS)
        io->offset = c->argument;
    else if (c->opcode != WIRE_FLUSH)
        io->generation = c->argument;
    io->done = op_on_store;
    op->submitted = true;
    op->disk->commands++;
    store_submit(s->store, io);
}

static void give_regions(const struct server_op *op)
{
    const uint32_t count = (uint32_t)(op->io.bytes / sizeof(struct store_region));
    struct wire_region regions[STORE_REGIONS_MAX];

    for (uint32_t i = 0; i < count; i++) {
        const struct store_region *const r = &op->items->u.regions[i];
        regions[i] = (struct wire_region) {
            .shard = r->shard, .region = r->region, .count = r->count, .slots = r->slots
        };
    }
    wire_regions_encode(op->io.offset, regions, count, op->req->data);
}

static void give_points(const struct server_op *op)
{
    wire_points_encode(op->io.offset, op->items->u.points,
                       (uint32_t)(op->io.bytes / sizeof(struct store_point)), op->req->data);
}

static void give_hashes(const struct server_op *op)
{
    static_assert((int)WIRE_BLOCK_ABSENT == (int)STORE_BLOCK_ABSENT &&
                      (int)WIRE_BLOCK_ZERO == (int)STORE_BLOCK_ZERO &&
                      (int)WIRE_BLOCK_DATA == (int)STORE_BLOCK_DATA &&
                      (int)WIRE_BLOCK_BAD == (int)STORE_BLOCK_BAD,
                  "the states are the same");
    struct wire_hash hashes[WIRE_REGION_BLOCKS];

    for (uint32_t i = 0; i < op->command.blocks; i++) {
        const struct store_hash *const h = &op->items->u.hashes[i];
        hashes[i].state = (enum wire_block_state)h->state;
        memcpy(hashes[i].hash, h->hash, sizeof hashes[i].hash);
    }
    wire_hashes_encode(hashes, op->command.blocks, op->req->data);
}

/* 11.7: with the volume, everything that was known of it is gone. */
static void after_delete(struct server_op *op)
{
    struct server_session *const s = session_find(op->disk, op->owner, &op->command);

    if (s == NULL)
        return;
    lease_guard_release(&s->group->guard);
    session_end(s);
}

static void op_on_store(struct store_io *io)
{
    struct server_op *const op = CONTAINER_OF(io, struct server_op, io);
    struct server_disk *const d = op->disk;

    assert(reactor_is_current(d->reactor) && d->commands > 0);
    if (status_ok(io->status) && op->command.opcode == WIRE_READ)
        wire_crcs_encode(io->crcs, op->command.blocks, crcs_of(op));
    else if (status_ok(io->status) && op->command.opcode == WIRE_REGIONS)
        give_regions(op);
    else if (status_ok(io->status) && op->command.opcode == WIRE_POINTS)
        give_points(op);
    else if (status_ok(io->status) && op->command.opcode == WIRE_HASH)
        give_hashes(op);
    else if (status_ok(io->status) && op->command.opcode == WIRE_DELETE)
        after_delete(op);
    op_finish(op, io->status);
    d->commands--;
    disk_check_left(d);
}

/* ---- What the store has not as a command ---- */

static struct status MUST_CHECK tell_state(const struct server_op *op,
                                           const struct server_session *s)
{
    struct store_set kept[STORE_COPYSETS_MAX];
    struct wire_set sets[STORE_COPYSETS_MAX];
    struct store_state state;

    TRY(store_session_state(s->store, &state));
    struct wire_state wire = {
        .incarnation = s->incarnation,
        .generation = state.generation,
        .epoch = state.set_epoch,
        .sequence = state.set_sequence,
        .regions = state.regions,
        .set_count = state.set_count,
        .reactor = (uint16_t)op->disk->reactor->index,
        .flags =
            (uint16_t)((state.busy ? WIRE_STATE_BUSY : 0) | (state.loss ? WIRE_STATE_LOSS : 0) |
                       (state.failed ? WIRE_STATE_FAILED : 0)),
    };
    wire.sets.count =
        store_session_sets(s->store, (uint32_t)op->command.argument, kept, op->command.blocks);
    for (uint32_t i = 0; i < wire.sets.count; i++)
        sets[i] = set_to_wire(&kept[i]);
    wire_state_encode(&wire, sets, op->req->data);
    return STATUS(OK);
}

/* 8.5: its holder says that it completes no read by this session any more. */
static struct status MUST_CHECK release(struct server_session *s)
{
    const struct status st = store_session_check(s->store);

    /* Superseded: the lease is another's, or is waited for. */
    if (status_ok(st))
        lease_guard_release(&s->group->guard);
    session_end(s);
    return st;
}

/* 2.4: a lower one may be a late write (S8). */
static bool generation_is_wrong(const struct wire_command *c, const struct server_session *s)
{
    return wire_has_generation(c->opcode) && c->argument > s->generation;
}

void op_execute(struct server_op *op, struct server_session *s)
{
    switch (op->command.opcode) {
    case WIRE_CONFIRM:
        op_finish(op, store_session_check(s->store));
        return;
    case WIRE_STATE:
        op_finish(op, tell_state(op, s));
        return;
    case WIRE_RELEASE:
        op_finish(op, release(s));
        return;
    default:
        if (generation_is_wrong(&op->command, s))
            op_finish(op, STATUS(WRONG_GENERATION));
        else
            op_store(op, s);
    }
}
