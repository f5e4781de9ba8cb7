/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/verify_reader.h"

#include <assert.h>

#include "base/crc32c.h"

/* ---- The end ---- */

static void on_home(struct io_msg *msg)
{
    struct verify_reader *const r = CONTAINER_OF(msg, struct verify_reader, msg);

    r->busy = false;
    r->done(r);
}

/* Nothing of it is under way on the slice any more. */
static void leave(struct verify_reader *r)
{
    r->msg.deliver = on_home;
    reactor_post(r->copyset->slice->volume->home, &r->msg);
}

static void pending_end(struct verify_reader *r)
{
    assert(r->pending > 0);
    if (--r->pending > 0)
        return;
    order_leave(r->copyset->slice->order, &r->piece.order);
    leave(r);
}

/* ---- Reading ---- */

static void on_leg(struct leg_io *io);

static unsigned block_count(const struct verify_reader *r)
{
    return (unsigned)(r->bytes / STORE_BLOCK_BYTES);
}

/* The chunk, or the block whose turn it is. */
static void send(struct verify_slot *slot)
{
    struct verify_reader *const r = slot->reader;
    struct slice *const s = r->copyset->slice;
    struct leg_io *const io = &slot->io;
    const bool fine = slot->fine < VERIFY_CHUNK_BLOCKS;
    const uint64_t skip = fine ? slot->fine * STORE_BLOCK_BYTES : 0;
    const uint64_t bytes = fine ? STORE_BLOCK_BYTES : r->bytes;

    io->owner = slot;
    io->slot = (unsigned)(slot - r->slots);
    io->leg = s->map->legs[r->copyset->leg[io->slot]];
    io->reactor = s->reactor;
    io->done = on_leg;
    io->remote = &slot->remote;
    io->store = (struct store_io) {
        .opcode = STORE_OP_READ,
        .shard = r->piece.order.shard,
        .offset = r->piece.order.offset + skip,
        .bytes = bytes,
        .data = span_sub(slot->memory, skip, bytes),
        .copyset = (uint16_t)r->copyset->number,
        .crcs = slot->crcs,
    };
    leg_submit(io);
}

/* What was read is in memory: once more against the CRCs that the disk has of it. */
static void check(struct verify_slot *slot, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *const block = slot->memory.at + (first + i) * STORE_BLOCK_BYTES;
        if (crc32c(block, STORE_BLOCK_BYTES) != slot->crcs[i])
            slot->bad |= UINT32_C(1) << (first + i);
    }
}

/* The disk has failed otherwise than at a block: who serves hosts hears of it, too. */
static void slot_fail(struct verify_slot *slot, struct status status)
{
    struct slice *const s = slot->reader->copyset->slice;

    slot->status = status;
    if (s->replicas > 1 && !s->fenced)
        members_report(s->volume, slot->io.leg, status);
    pending_end(slot->reader);
}

static void fine_next(struct verify_slot *slot)
{
    slot->fine++;
    if (slot->fine < block_count(slot->reader))
        send(slot);
    else
        pending_end(slot->reader);
}

static void on_block(struct verify_slot *slot, struct status status)
{
    if (status_is(status, STATUS_MEDIA_READ))
        slot->bad |= UINT32_C(1) << slot->fine;
    else if (!slot->absent)
        check(slot, slot->fine, 1);
    fine_next(slot);
}

static void on_leg(struct leg_io *io)
{
    struct verify_slot *const slot = io->owner;
    const bool fine = slot->fine < VERIFY_CHUNK_BLOCKS;

    slot->absent = status_is(io->store.status, STATUS_UNKNOWN_SHARD);
    if (!status_ok(io->status) && !status_is(io->status, STATUS_MEDIA_READ)) {
        slot_fail(slot, io->status);
    } else if (fine) {
        on_block(slot, io->status);
    } else if (!status_ok(io->status)) {
        slot->fine = 0;
        send(slot);
    } else {
        if (!slot->absent)
            check(slot, 0, block_count(slot->reader));
        pending_end(slot->reader);
    }
}

static void slot_start(struct verify_reader *r, unsigned number)
{
    struct verify_slot *const slot = &r->slots[number];
    struct copyset *const cs = r->copyset;

    slot->reader = r;
    slot->bad = 0;
    slot->absent = false;
    slot->status = STATUS(OK);
    slot->fine = VERIFY_CHUNK_BLOCKS;
    slot->out = (cs->members >> number & 1) == 0;
    if (slot->out)
        return;
    if (!leg_is_there(cs->slice->map->legs[cs->leg[number]])) {
        slot->status = STATUS(UNAVAILABLE);
        return;
    }
    r->pending++;
    send(slot);
}

/* ---- The beginning ---- */

static void on_placed(struct order_entry *entry)
{
    struct verify_reader *const r = CONTAINER_OF(entry, struct verify_reader, piece.order);
    struct slice *const s = r->copyset->slice;

    r->pending = 1;
    for (unsigned i = 0; i < s->replicas && !s->fenced; i++)
        slot_start(r, i);
    pending_end(r);
}

static void enter(struct piece *p)
{
    struct verify_reader *const r = CONTAINER_OF(p, struct verify_reader, piece);
    struct copyset *const cs = r->copyset;

    if (!settling_admits(cs, p))
        return;
    if (cs->slice->fenced) {
        leave(r);
        return;
    }
    p->order.granted = on_placed;
    if (order_enter(cs->slice->order, &p->order))
        on_placed(&p->order);
}

static void on_slice(struct io_msg *msg)
{
    enter(&CONTAINER_OF(msg, struct verify_reader, msg)->piece);
}

void verify_reader_start(struct verify_reader *r, struct copyset *cs,
                         const struct layout_extent *extent, void (*done)(struct verify_reader *r))
{
    assert(!r->busy);
    assert(extent->bytes > 0 && extent->bytes <= VERIFY_CHUNK_BYTES);
    r->busy = true;
    r->copyset = cs;
    r->bytes = extent->bytes;
    r->done = done;
    r->piece.order = (struct order_entry) {
        .shard = extent->shard,
        .offset = extent->offset,
        .bytes = extent->bytes,
    };
    r->piece.on_settled = enter;
    r->msg.deliver = on_slice;
    reactor_post(cs->slice->reactor, &r->msg);
}
