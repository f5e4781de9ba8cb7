/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>

#include "history.h"
#include "volume/copy_part.h"
#include "volume/volume_internal.h"
#include "watch_internal.h"

void __real_command_submit(struct nvme_ns *ns, struct nvme_ns_req *req);
void __wrap_command_submit(struct nvme_ns *ns, struct nvme_ns_req *req);
void __real_leg_submit(struct leg_io *io);
void __wrap_leg_submit(struct leg_io *io);
void __real_copy_parts_begin(struct range_copy *c);
void __wrap_copy_parts_begin(struct range_copy *c);
void __real_range_copy_on_parts(struct range_copy *c);
void __wrap_range_copy_on_parts(struct range_copy *c);

static uint64_t process_of(const struct volume *v)
{
    return sim_process_owner(sim_reactor_process(v->home));
}

/* ---- Epochs ---- */

/* NULL: it is too old to be remembered, or the record has never been of it. */
static struct watch_epoch *epoch_of(const struct watch *w, const struct volume *v)
{
    struct watch_epoch *const e = &w->epochs[v->epoch % WATCH_EPOCHS_MAX];

    return e->epoch == v->epoch ? e : NULL;
}

static uint64_t members_of(struct watch *w, const struct group *g, uint32_t copyset)
{
    const unsigned slots = group_members(g, copyset);
    uint64_t disks = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if ((slots >> i & 1) != 0)
            disks |= UINT64_C(1) << watch_disk_index(w, g->copysets[copyset].slots[i].disk);
    return disks;
}

/* Whoever becomes a member lacks nothing any more. */
static void forget_lacks(struct watch *w, uint32_t copyset, uint64_t disks)
{
    for (unsigned d = 0; d < w->disk_count; d++)
        if ((disks >> d & 1) != 0)
            w->disks[d].lacks[copyset] = 0;
}

void watch_changed(struct watch *w, const struct group *was, const struct group *now)
{
    struct watch_epoch *const e = &w->epochs[now->epoch % WATCH_EPOCHS_MAX];

    assert(now->copyset_count <= WATCH_COPYSETS_MAX);
    if (e->epoch != now->epoch)
        *e = (struct watch_epoch) { .epoch = now->epoch };
    for (uint32_t c = 0; c < now->copyset_count; c++) {
        e->members[c] = members_of(w, now, c);
        e->been_in[c] |= e->members[c];
        forget_lacks(w, c, e->members[c] & ~members_of(w, was, c));
    }
}

/* ---- What is acknowledged ---- */

/* R3: with an epoch, one engine: of one opening, in one process. */
static void check_engine(const struct watch *w, struct watch_epoch *e, const struct volume *v)
{
    const struct io_addr addr =
        sim_machine_addr(sim_process_machine(sim_reactor_process(v->home)), 0);

    if (e->process == 0) {
        e->process = process_of(v);
        e->engine = v;
        e->addr = addr;
    } else if (e->process != process_of(v)) {
        run_fail(w->run,
                 "epoch %" PRIu64 " of volume '%s' is that of two engines: commands were "
                 "acknowledged by process %" PRIu64 " (%s), and are by process %" PRIu64
                 " (%s) (R3)",
                 e->epoch, v->desc.name, e->process, io_addr_format_ip(&e->addr).s, process_of(v),
                 io_addr_format_ip(&addr).s);
    } else if (e->engine != v) {
        run_fail(w->run,
                 "epoch %" PRIu64 " of volume '%s' is that of two openings in one process, and "
                 "both acknowledge commands (R3)",
                 e->epoch, v->desc.name);
    }
}

/*
 * R1: the members have executed the write of the block.  The engine may not be the last one any
 * more: then they are those of its last record, as the next engine takes the epoch with that.
 * If the block has been overwritten while the answer was on its way to the front, who has become a
 * member since need not have executed it.
 */
static void check_executed(struct watch *w, const struct watch_epoch *e, uint64_t at,
                           struct const_span data)
{
    const struct layout_extent where =
        layout_first_extent(&w->layout, (struct layout_range) { at, STORE_BLOCK_BYTES });
    const uint32_t copyset = w->copysets[where.shard];
    uint64_t block, content;

    if (!pattern_name(data, &block, &content) ||
        *watch_latest(w, where.shard, where.offset) != content)
        return;
    for (unsigned d = 0; d < w->disk_count; d++) {
        uint64_t *const lacks = &w->disks[d].lacks[copyset];
        if (watch_has(w, d, block, content))
            continue;
        if ((e->members[copyset] >> d & 1) != 0)
            run_fail(w->run,
                     "the write of %" PRIu64 " to block %" PRIu64
                     " is acknowledged in epoch %" PRIu64 ", and disk %s, a member of copyset "
                     "%u, has not executed it (R1)",
                     content, block, e->epoch, uuid_format(w->disks[d].uuid).s, copyset);
        *lacks = *lacks == 0 ? e->epoch : min_u64(*lacks, e->epoch);
    }
}

static void check_acknowledged(struct watch *w, const struct volume *v,
                               const struct nvme_ns_req *req)
{
    struct watch_epoch *const e = epoch_of(w, v);

    if (e == NULL)
        return;
    check_engine(w, e, v);
    for (uint64_t at = 0; req->opcode == NVME_NS_WRITE && at < req->bytes; at += STORE_BLOCK_BYTES)
        check_executed(w, e, req->offset + at,
                       (struct const_span) { req->data.at + at, STORE_BLOCK_BYTES });
}

static const struct volume *volume_of(const struct nvme_ns *ns)
{
    return CONTAINER_OF(ns, struct volume, ns);
}

static void on_host_done(struct nvme_ns_req *req)
{
    struct watch *w = NULL;
    struct watch_call *const call = watch_call_find(req, &w);

    assert(call != NULL);
    const struct volume *const v = call->host.volume;
    req->done = call->host.done;
    watch_call_end(w, call);
    if (status_ok(req->status))
        check_acknowledged(w, v, req);
    req->done(req);
}

void __wrap_command_submit(struct nvme_ns *ns, struct nvme_ns_req *req)
{
    const struct volume *const v = volume_of(ns);
    struct watch *const w = watch_of(v->desc.uuid);

    if (w != NULL) {
        watch_call_begin(w, &(struct watch_call) {
                                .process = process_of(v), .call = req, .host = { req->done, v } });
        req->done = on_host_done;
    }
    __real_command_submit(ns, req);
}

/* ---- What is read ---- */

/* Whether it is a piece's, of a host's command; not what copies or verifies. */
static bool is_of_host(const struct volume *v, const struct leg_io *io)
{
    for (unsigned i = 0; i < v->slice_count; i++) {
        const struct slice *const s = &v->slices[i];
        const size_t count = (size_t)s->commands_max * VOLUME_PIECES_MAX * s->slots;
        if (io >= s->leg_ios && io < s->leg_ios + count)
            return true;
    }
    return false;
}

static void check_read(const struct watch *w, const struct watch_epoch *e, unsigned disk,
                       uint32_t shard)
{
    const uint32_t copyset = w->copysets[shard];
    const struct watch_disk *const d = &w->disks[disk];

    if ((e->been_in[copyset] >> disk & 1) == 0)
        run_fail(w->run,
                 "disk %s, which is out of copyset %u in epoch %" PRIu64 ", is read in that (I7)",
                 uuid_format(d->uuid).s, copyset, e->epoch);
    if (d->lacks[copyset] != 0 && d->lacks[copyset] <= e->epoch)
        run_fail(w->run,
                 "disk %s of copyset %u lacks a write that was acknowledged in epoch %" PRIu64
                 ", and is read in epoch %" PRIu64 " (I7)",
                 uuid_format(d->uuid).s, copyset, d->lacks[copyset], e->epoch);
}

/*
 * Of an engine of the store's own process: when it is executed, too.  What comes by a link may come
 * when the disk has been excluded, and nobody waits for its answer any more (6.5).
 */
void watch_local_read(struct watch *w, const struct store_io *io)
{
    const struct leg_io *const leg_io = CONTAINER_OF(io, struct leg_io, store);
    const struct leg_call *const to = CONTAINER_OF(leg_io->leg, struct leg_call, leg);
    const struct watch_epoch *const e = epoch_of(w, to->volume);

    if (e != NULL && is_of_host(to->volume, leg_io))
        check_read(w, e, watch_disk_index(w, to->uuid), io->shard);
}

/* ---- What is copied ---- */

/* The part of a copy that the command is of; NULL: it is none's. */
static const struct copy_part *part_of(const struct watch *w, const struct leg_io *io,
                                       struct watch_call **out_copy)
{
    for (unsigned i = 0; i < w->calls->count; i++) {
        struct watch_call *const call = &w->calls->items[i];
        if (!call->is_copy)
            continue;
        const struct copy_part *const parts = ((const struct range_copy *)call->call)->parts;
        for (unsigned p = 0; p < PARTS_MAX; p++)
            if (&parts[p].io == io) {
                *out_copy = call;
                return &parts[p];
            }
    }
    return NULL;
}

/*
 * A resync copies nothing that the replica has: as it has told last, or has executed since.  Where
 * some source could not read a block, another one is asked, whose blocks were not compared.
 */
static void check_copied(const struct watch *w, const struct copy_part *p, unsigned disk)
{
    const struct store_io *const io = &p->io.store;

    for (uint64_t at = 0; p->tried == 0 && at < io->bytes; at += STORE_BLOCK_BYTES) {
        const uint64_t name =
            io->opcode == STORE_OP_WRITE_ZEROES ? WATCH_ZERO : watch_name(io->data.at + at);
        if (watch_held(w, disk, io->shard, io->offset + at) == name)
            run_fail(w->run,
                     "a resync copies block %" PRIu64
                     " of shard %u to disk %s, which has the same already",
                     (io->offset + at) / STORE_BLOCK_BYTES, io->shard,
                     uuid_format(w->disks[disk].uuid).s);
    }
}

static void look_at_part(const struct watch *w, const struct copy_part *p, unsigned disk,
                         struct watch_call *copy)
{
    const bool changes =
        p->io.store.opcode == STORE_OP_WRITE || p->io.store.opcode == STORE_OP_WRITE_ZEROES;

    if (!changes || p->state != PART_WRITING)
        return;
    copy->copy.sent += p->io.store.bytes;
    if (p->copy->ops->passes) /* Of a resync: the target is no member. */
        check_copied(w, p, disk);
}

void __wrap_leg_submit(struct leg_io *io)
{
    const struct leg_call *const to = CONTAINER_OF(io->leg, struct leg_call, leg);
    const struct volume *const v = to->volume;
    struct watch *const w = watch_of(v->desc.uuid);
    struct watch_call *copy = NULL;

    if (w != NULL && !io->confirm) {
        const struct watch_epoch *const e = epoch_of(w, v);
        const unsigned disk = watch_disk_index(w, to->uuid);
        const struct copy_part *const part = part_of(w, io, &copy);
        const bool reads = io->store.opcode == STORE_OP_READ && (part != NULL || is_of_host(v, io));
        if (reads && e != NULL)
            check_read(w, e, disk, io->store.shard);
        if (part != NULL)
            look_at_part(w, part, disk, copy);
    }
    __real_leg_submit(io);
}

/* Of a window. */
void __wrap_copy_parts_begin(struct range_copy *c)
{
    const struct volume *const v = c->copyset->slice->volume;
    struct watch *const w = watch_of(v->desc.uuid);

    if (w != NULL)
        watch_call_begin(w, &(struct watch_call) { .process = process_of(v),
                                                   .call = c,
                                                   .is_copy = true,
                                                   .copy = { .counted = c->copied_bytes } });
    __real_copy_parts_begin(c);
}

void __wrap_range_copy_on_parts(struct range_copy *c)
{
    struct watch *w = NULL;
    struct watch_call *const call = watch_call_find(c, &w);

    if (call != NULL) {
        const uint64_t sent = call->copy.sent, counted = c->copied_bytes - call->copy.counted;
        watch_call_end(w, call);
        if (sent != counted)
            run_fail(w->run, "%" PRIu64 " bytes were copied, and %" PRIu64 " are counted", sent,
                     counted);
    }
    __real_range_copy_on_parts(c);
}
