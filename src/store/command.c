/* SPDX-License-Identifier: Apache-2.0 */
/* Commands: entry, waiting, completion. */
#include <assert.h>

#include "store/store_internal.h"

static void read_or_write_resume(struct store_io *io);

void store_kick(struct store *store)
{
    reactor_defer(store->reactor, &store->kick);
}

void store_submit(struct store_session *session, struct store_io *io)
{
    struct store *const store = session->store;

    assert(reactor_is_current(store->reactor));
    assert(!session->closed);
    assert(io->done != NULL);

    io->session = session;
    io->outcome = STATUS(OK);
    io->target = NULL;
    io->sequence = 0;
    io->promised = 0;
    io->pending = 0;
    io->cursor = 0;
    list_node_init(&io->link);
    list_node_init(&io->shard_link);
    list_node_init(&io->segment_link);
    list_node_init(&io->waiter.link);
    session->commands++;
    store->commands++;
    list_push_back(&store->stalled, &io->link);
    store_kick(store);
}

/* Whoever knows a command by its address: besides lists, its parts, and who works on it. */
static void rename_command(struct store *store, const struct store_io *io, struct store_io *heir)
{
    struct catalog_volume *const volume = heir->session->volume;

    for (unsigned i = 0; i < SEGMENTS_MAX; i++) {
        if (store->segments[i].owner == io)
            store->segments[i].owner = heir;
    }
    for (unsigned i = 0; i < HASHERS; i++) {
        if (store->hashers[i].io == io)
            store->hashers[i].io = heir;
    }
    if (volume != NULL && volume->deleter == io)
        volume->deleter = heir;
}

void store_hand_over(struct store_io *io, struct store_io *heir)
{
    const struct store_io own = *heir;

    assert(reactor_is_current(io->session->store->reactor));
    *heir = *io;
    heir->data = own.data;
    heir->crcs = own.crcs;
    heir->done = own.done;
    list_replace(&io->link, &heir->link);
    list_replace(&io->shard_link, &heir->shard_link);
    list_replace(&io->segment_link, &heir->segment_link);
    list_replace(&io->waiter.link, &heir->waiter.link);
    rename_command(io->session->store, io, heir);
}

void command_activate(struct store_io *io, struct shard *shard)
{
    struct store *const store = io->session->store;

    assert(!list_node_linked(&io->link));
    io->ticket = store->next_ticket++;
    io->target = shard;
    list_push_back(&store->active, &io->link);
    if (io->opcode == STORE_OP_READ || io->opcode == STORE_OP_HASH || shard == NULL)
        return;
    list_push_back(&shard->active, &io->shard_link);
    shard->zeroing += io->opcode == STORE_OP_WRITE ? 0 : 1;
    if (command_may_be_lost(io))
        busy_enter(shard->volume);
}

void command_finish(struct store_io *io, struct status status)
{
    struct store_session *const session = io->session;
    struct store *const store = session->store;

    assert(io->pending == 0);
    assert(!list_node_linked(&io->segment_link));
    assert(store->commands > 0);
    list_remove(&io->link);
    if (list_node_linked(&io->shard_link)) {
        list_remove(&io->shard_link);
        io->target->zeroing -= io->opcode == STORE_OP_WRITE ? 0 : 1;
        if (command_may_be_lost(io))
            busy_leave(store, io->target->volume);
    }
    if (session->volume != NULL && session->volume->deleter == io)
        session->volume->deleter = NULL;
    store->commands--;
    assert(store->catalog.usage.promised >= io->promised);
    store->catalog.usage.promised -= io->promised;
    io->status = status;
    session_put(session);
    store_kick(store);
    io->done(io);
}

static void command_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct store_io *const io = CONTAINER_OF(waiter, struct store_io, waiter);

    command_finish(io, status_ok(status) ? status : STATUS(MEDIA_WRITE));
}

void command_finish_flushed(struct store_io *io, uint64_t sequence)
{
    io->waiter = (struct journal_waiter) { .sequence = sequence, .fn = command_on_flushed };
    journal_wait_flushed(io->session->store->journal, &io->waiter);
}

/* ---- Segments ---- */

struct segment *segment_get(struct store *store, struct store_io *io, uint64_t place)
{
    if (list_empty(&store->free_segments) ||
        !sums_hold(&store->sums, place, io->opcode == STORE_OP_WRITE)) {
        assert(!list_node_linked(&io->segment_link));
        list_push_back(&store->segment_waiters, &io->segment_link);
        return NULL;
    }
    struct segment *const s =
        CONTAINER_OF(list_pop_front(&store->free_segments), struct segment, link);
    s->owner = io;
    s->place = place;
    io->pending++;
    return s;
}

void segment_put(struct store *store, struct segment *segment)
{
    assert(segment->owner->pending > 0);
    assert(!list_node_linked(&segment->link));
    sums_release(&store->sums, segment->place, segment->owner->opcode == STORE_OP_WRITE);
    segment->owner->pending--;
    segment->owner = NULL;
    /* In front: the one that was used last is still in the cache. */
    list_push_front(&store->free_segments, &segment->link);
    if (!list_empty(&store->segment_waiters))
        store_kick(store);
}

static void resume_waiters(struct store *store)
{
    struct list waiters;
    struct list_node *n;

    list_init(&waiters);
    list_splice_back(&waiters, &store->segment_waiters);
    while ((n = list_pop_front(&waiters)) != NULL)
        read_or_write_resume(CONTAINER_OF(n, struct store_io, segment_link));
}

static void read_or_write_resume(struct store_io *io)
{
    if (io->opcode == STORE_OP_READ)
        read_advance(io);
    else if (io->session->store->failed)
        write_abandon(io);
    else
        write_advance(io);
}

/* ---- Letting commands through ---- */

bool command_conflicts(const struct shard *shard, const struct store_io *io, bool zeroing)
{
    const uint64_t first = io->offset / STORE_GRAIN_BYTES;
    const uint64_t last = (io->offset + io->bytes - 1) / STORE_GRAIN_BYTES;

    if (zeroing && shard->zeroing == 0)
        return false;
    LIST_FOR_EACH (n, &shard->active) {
        const struct store_io *const other = CONTAINER_OF(n, struct store_io, shard_link);
        if (zeroing && other->opcode == STORE_OP_WRITE)
            continue;
        if (other->offset / STORE_GRAIN_BYTES <= last &&
            (other->offset + other->bytes - 1) / STORE_GRAIN_BYTES >= first)
            return true;
    }
    return false;
}

/* Whether a command names blocks of a shard. */
static bool has_range(enum store_opcode opcode)
{
    return opcode == STORE_OP_READ || opcode == STORE_OP_WRITE || opcode == STORE_OP_WRITE_ZEROES ||
           opcode == STORE_OP_DEALLOCATE || opcode == STORE_OP_HASH || opcode == STORE_OP_SPOIL;
}

static bool range_is_valid(const struct store_io *io)
{
    const uint64_t limit = io->session->volume->desc.shard_bytes;
    const bool transfers = io->opcode == STORE_OP_READ || io->opcode == STORE_OP_WRITE;

    if (io->bytes == 0 || io->bytes % STORE_BLOCK_BYTES != 0 ||
        io->offset % STORE_BLOCK_BYTES != 0 || io->offset > limit || io->bytes > limit - io->offset)
        return false;
    if (io->opcode == STORE_OP_SPOIL)
        return io->bytes / STORE_BLOCK_BYTES <= STORE_HASHES_MAX;
    if (io->opcode == STORE_OP_HASH)
        return io->bytes / STORE_BLOCK_BYTES <= STORE_HASHES_MAX &&
               io->data.bytes == io->bytes / STORE_BLOCK_BYTES * sizeof(struct store_hash);
    return !transfers || (io->bytes <= STORE_IO_BYTES_MAX && io->data.bytes == io->bytes);
}

/* What can be said of a command before its shard is looked at. */
static struct status MUST_CHECK command_check(const struct store_io *io)
{
    const struct store_session *const session = io->session;
    const struct store *const store = session->store;
    const bool reads = io->opcode == STORE_OP_READ || io->opcode == STORE_OP_LIST_REGIONS ||
                       io->opcode == STORE_OP_HASH || io->opcode == STORE_OP_LIST_POINTS ||
                       io->opcode == STORE_OP_CHECK_POINTS;
    const bool promises = io->opcode == STORE_OP_FLUSH || (io->fua && !reads);

    TRY(store_session_check(session));
    if (promises && io->incarnation != store->incarnation)
        return STATUS(STALE_INCARNATION);
    if (store->failed && !reads && !MUTATION(S1_FAILED_GOES_ON))
        return STATUS(MEDIA_WRITE);
    if (!has_range(io->opcode))
        return STATUS(OK);
    return range_is_valid(io) ? STATUS(OK) : STATUS(OUT_OF_RANGE);
}

/* S1: whatever completed before has completed its records too; one flush covers both. */
static bool flush_admit(struct store_io *io)
{
    command_activate(io, NULL);
    if (MUTATION(S1_FLUSH_EARLY)) {
        command_finish(io, STATUS(OK));
        return true;
    }
    command_finish_flushed(io, 0);
    return true;
}

/* Lets one command through, or ends it; false: it must wait. */
static bool command_admit(struct store_io *io)
{
    const struct status st = command_check(io);

    if (!status_ok(st)) {
        command_finish(io, st);
        return true;
    }
    switch (io->opcode) {
    case STORE_OP_READ:
        return read_admit(io);
    case STORE_OP_WRITE:
        return write_admit(io);
    case STORE_OP_WRITE_ZEROES:
    case STORE_OP_DEALLOCATE:
        return zero_admit(io);
    case STORE_OP_FLUSH:
        return flush_admit(io);
    case STORE_OP_DELETE_VOLUME:
        return delete_admit(io);
    case STORE_OP_LIST_REGIONS:
    case STORE_OP_CLOSE_REGIONS:
    case STORE_OP_MERGE_REGIONS:
        return listing_admit(io);
    case STORE_OP_SET:
        return set_admit(io);
    case STORE_OP_LIST_POINTS:
    case STORE_OP_KEEP_POINTS:
    case STORE_OP_CHECK_POINTS:
        return points_admit(io);
    case STORE_OP_HASH:
        return hash_admit(io);
    case STORE_OP_SPOIL:
        return spoil_admit(io);
    }
    command_finish(io, STATUS(INVALID));
    return true;
}

/* In order.  A large write that waits for nothing but the journal holds it, so that small ones
 * behind do not take what room there is, again and again. */
static void admit_stalled(struct store *store)
{
    struct list now;
    struct list_node *n;

    list_init(&now);
    list_splice_back(&now, &store->stalled);
    while ((n = list_pop_front(&now)) != NULL) {
        struct store_io *const io = CONTAINER_OF(n, struct store_io, link);
        if (!command_admit(io))
            list_push_back(&store->stalled, &io->link);
    }
    journal_hold(store->journal, false);
}

/* J2, F20: freed cells come back when their records are durable and old commands have ended. */
static void release_cells(struct store *store)
{
    const uint64_t flushed = journal_get_marks(store->journal).flushed;
    const struct list_node *const oldest = list_first(&store->active);

    if (store->space.waiting > 0) {
        const bool quiet = oldest == NULL || CONTAINER_OF(oldest, struct store_io, link)->ticket >=
                                                 store->batch_ticket;
        const bool durable = store->batch_sequence <= flushed || MUTATION(J2_REUSE_EARLY);
        if (quiet && durable)
            space_release(&store->space);
    }
    if (store->space.waiting == 0 && store->space.gathering > 0) {
        space_batch(&store->space);
        store->batch_sequence = store->gathered_sequence;
        store->batch_ticket = store->next_ticket;
        store_kick(store);
    }
}

void store_on_kick(struct io_task *task)
{
    struct store *const store = CONTAINER_OF(task, struct store, kick);

    if (!status_ok(journal_status(store->journal)))
        store_fail(store, journal_status(store->journal));
    release_cells(store);
    read_resume_loaded(store);
    resume_waiters(store);
    writes_take_back(store);
    admit_stalled(store);
    openings_submit(store);
    listing_run(store);
    settle_run(store);
    hash_run(store);
    scrub_run(store);
    sums_loader_run(&store->sums_loader);
    drops_run(store);
    sessions_run(store);
    descriptions_run(store);
    grow_run(store);
    checkpoint_run(store);
    store_close_run(store); /* store may be gone. */
}
