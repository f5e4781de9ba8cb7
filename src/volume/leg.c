/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/leg.h"

#include <assert.h>

#include "base/crc32c.h"
#include "base/mutation.h"
#include "volume/remote.h"

static void leg_deliver(struct io_msg *msg);
static void leg_on_asked(struct io_task *task);
static void leg_on_clean(struct io_task *task);
static void leg_on_gone(struct io_task *task);
static void leg_on_none(struct io_task *task);
static void leg_on_store(struct store_io *store_io);
static void leg_return(struct io_msg *msg);

void leg_init(struct leg *leg, struct store *store, struct reactor *reactor, bool continue_on_loss,
              struct leg_losses *losses)
{
    *leg = (struct leg) {
        .store = store,
        .reactor = reactor,
        .continue_on_loss = continue_on_loss,
        .problem = STATUS(UNAVAILABLE),
        .losses = losses,
    };
    local_init(leg, reactor, 0);
}

void leg_watch(struct leg *leg, struct reactor *home, uint64_t patience_ns,
               const struct leg_ops *ops)
{
    leg->ops = ops;
    local_init(leg, home, patience_ns);
}

static void leg_note_use(struct leg *leg)
{
    if (leg->session == NULL)
        return; /* It was closed meanwhile (replace.h). */
    atomic_store_explicit(&leg->used_bytes, store_session_used_bytes(leg->session),
                          memory_order_relaxed);
}

/* A store of another node cannot be told: the next engine hears of it again, which does no harm. */
static void leg_tell_store(struct leg *leg)
{
    if (leg->remote == NULL)
        store_session_loss_reported(leg->session);
}

void leg_note_loss(struct leg *leg)
{
    assert(reactor_is_current(leg->reactor));
    if (leg->continue_on_loss)
        leg_tell_store(leg);
    else
        leg->loss = atomic_fetch_add(&leg->losses->noted, 1) + 1;
}

struct status leg_init_remote(struct leg *leg, struct link *link, struct uuid disk, uint64_t epoch,
                              uint64_t patience_ns, const struct leg_ops *ops)
{
    leg->ops = ops;
    return remote_create(leg, link, disk, epoch, patience_ns, &leg->remote);
}

void leg_fini(struct leg *leg)
{
    remote_destroy(leg->remote);
    leg->remote = NULL;
}

uint64_t leg_session_number(const struct leg *leg)
{
    return leg->remote != NULL ? leg->remote->session.number : 0;
}

uint32_t leg_open_tick(const struct leg *leg)
{
    return leg->remote != NULL ? atomic_load(&leg->remote->open_tick) : 0;
}

void leg_session_after(struct leg *leg, uint64_t number)
{
    if (leg->remote != NULL)
        leg->remote->session.number = number;
}

/* ---- Opening ---- */

void leg_take_opened(struct leg *leg, uint64_t incarnation, uint64_t generation, bool may_have_lost)
{
    leg->incarnation = incarnation;
    atomic_store(&leg->incarnation_now, incarnation);
    leg->generation = generation;
    /* Writes of an earlier session may still be unflushed: the first Flush asks the disk. */
    leg->written = 1;
    leg->flushed = 0;
    leg->loss = 0;
    leg->may_have_lost = may_have_lost;
    if (may_have_lost && !leg->has_peers)
        leg_note_loss(leg);
}

static void leg_on_opened(void *ctx, const struct store_session_opened *opened)
{
    struct leg *const leg = ctx;
    struct store_state state;

    assert(reactor_is_current(leg->reactor));
    assert(leg->session == NULL);
    leg->problem = opened->status;
    if (status_ok(opened->status)) {
        leg->session = opened->session;
        if (status_ok(store_session_state(leg->session, &state)))
            leg->set_sequence = state.set_sequence;
        leg->list_cut = opened->list_cut;
        leg_note_use(leg);
        leg_take_opened(leg, opened->incarnation, opened->generation, opened->unflushed_loss);
    }
    leg->on_done(leg->done_ctx);
}

void leg_must_know(struct leg *leg, bool known)
{
    leg->known = known;
}

void leg_open(struct leg *leg, const struct store_volume *volume, uint64_t epoch,
              void (*done)(void *ctx), void *ctx)
{
    const struct store_session_config config = {
        .volume = *volume, .group = 0, .epoch = epoch, .known = leg->known
    };

    if (leg->remote != NULL) {
        remote_open(leg->remote, volume, done, ctx);
        return;
    }
    leg->on_done = done;
    leg->done_ctx = ctx;
    const struct status st = store_session_open(leg->store, &config, leg_on_opened, leg);
    if (!status_ok(st))
        leg_on_opened(leg, &(struct store_session_opened) { .status = st });
}

void leg_on_described(struct leg *leg, struct status status)
{
    leg->outcome = status;
    leg->on_done(leg->done_ctx);
}

static void leg_on_remote_described(void *ctx)
{
    struct leg *const leg = ctx;

    leg_on_described(leg, leg->problem);
}

void leg_describe(struct leg *leg, const struct store_volume *volume, void (*done)(void *ctx),
                  void *ctx)
{
    leg->on_done = done;
    leg->done_ctx = ctx;
    if (leg->remote != NULL) {
        remote_open(leg->remote, volume, leg_on_remote_described, leg);
        return;
    }
    local_describe(leg, volume);
}

void leg_set_volume(struct leg *leg, const struct store_volume *volume)
{
    if (leg->remote != NULL)
        remote_set_volume(leg->remote, volume);
}

bool leg_is_there(const struct leg *leg)
{
    return leg->remote != NULL ? atomic_load(&leg->remote->there) : leg->session != NULL;
}

bool leg_is_up(const struct leg *leg)
{
    if (leg->remote != NULL)
        return leg->remote->up && !leg->remote->changed;
    return leg->session != NULL && !atomic_load(&leg->local.away);
}

bool leg_hangs(const struct leg *leg)
{
    return atomic_load_explicit(&leg->local.hangs, memory_order_relaxed);
}

bool leg_takes_description(const struct leg *leg)
{
    return leg->remote != NULL ? leg_is_up(leg) : leg->session != NULL;
}

bool leg_has_changed(const struct leg *leg)
{
    return leg->remote != NULL && leg->remote->up && leg->remote->changed;
}

const char *leg_why(const struct leg *leg, struct status why)
{
    if (status_is(why, STATUS_UNAVAILABLE) && (leg->remote == NULL || leg->remote->link == NULL))
        return "it is not there";
    if (status_is(why, STATUS_UNAVAILABLE))
        return link_is_up(leg->remote->link) ? "its node has not opened it yet"
                                             : "its node cannot be reached";
    if (status_is(why, STATUS_TIMED_OUT))
        return "it does not answer";
    if (status_is(why, STATUS_STALE_INCARNATION))
        return "it may have lost writes, as after a loss of power";
    if (status_is(why, STATUS_POINT_LOST))
        return "it has lost what it had confirmed as durable";
    if (status_is(why, STATUS_FOREIGN))
        return "its node does not have it";
    if (status_is(why, STATUS_UNKNOWN_VOLUME))
        return "it does not know the volume";
    return status_ok(why) ? "" : status_text(why);
}

static void local_keep(struct leg *leg, struct status why)
{
    atomic_store(&leg->parted, false);
    local_tell(leg, why);
}

void leg_keep(struct leg *leg, bool keeps)
{
    if (leg->remote != NULL)
        remote_keep(leg->remote, keeps);
    else
        local_keep(leg, keeps ? STATUS(OK) : STATUS(UNAVAILABLE));
}

void leg_part(struct leg *leg)
{
    if (leg->remote != NULL) {
        remote_part(leg->remote);
        return;
    }
    atomic_store(&leg->parted, true);
    local_tell(leg, STATUS(UNAVAILABLE));
}

bool leg_is_parted(const struct leg *leg)
{
    return atomic_load(&leg->parted) && (leg->remote != NULL || atomic_load(&leg->local.away));
}

void leg_exclude(struct leg *leg)
{
    if (leg->remote != NULL)
        remote_exclude(leg->remote);
    else
        local_keep(leg, STATUS(UNAVAILABLE));
}

void leg_let_go(struct leg *leg, struct status why)
{
    if (leg->remote != NULL)
        remote_let_go(leg->remote, why);
    else
        local_keep(leg, why);
}

bool leg_is_suspect(const struct leg *leg)
{
    return leg->store != NULL && (store_is_suspect(leg->store) || leg_hangs(leg));
}

uint32_t leg_load(const struct leg *leg, const struct reactor *reactor)
{
    const struct remote_lane *const lane = &leg->remote->lanes[reactor->index];

    assert(leg->remote != NULL);
    return lane->peer.up ? lane->flying_count : UINT32_MAX;
}

bool leg_takes(const struct leg *leg, const struct reactor *reactor)
{
    return leg->remote != NULL ? leg_load(leg, reactor) != UINT32_MAX : leg_is_up(leg);
}

struct lease_member leg_lease(const struct leg *leg, const struct reactor *reactor)
{
    assert(leg->remote != NULL);
    return peer_lane_lease(&leg->remote->lanes[reactor->index].peer);
}

void leg_forget_loss(struct leg *leg)
{
    assert(reactor_is_current(leg->reactor));
    assert(leg->has_peers);
    if (leg->may_have_lost && leg_is_there(leg))
        leg_tell_store(leg);
    leg->may_have_lost = false;
}

/* The store forgets the loss only after the host has heard: telling it twice does no harm. */
static void leg_settle_loss(struct leg *leg)
{
    if (leg->loss == 0 || atomic_load(&leg->losses->heard) < leg->loss)
        return;
    leg->loss = 0;
    store_session_loss_reported(leg->session);
}

void leg_close(struct leg *leg, void (*done)(void *ctx), void *ctx)
{
    assert(reactor_is_current(leg->reactor));

    if (leg->remote != NULL) {
        remote_close(leg->remote, done, ctx);
        return;
    }
    if (leg->session == NULL) {
        done(ctx);
        return;
    }
    leg_settle_loss(leg);
    local_close(leg, done, ctx);
}

void leg_submit(struct leg_io *io)
{
    assert(reactor_is_current(io->reactor));

    if (io->leg->remote != NULL) {
        remote_submit(io);
        return;
    }
    if (io->leg->store == NULL) { /* Nor is it on any reactor. */
        io_task_init(&io->task, leg_on_none);
        reactor_defer(io->reactor, &io->task);
        return;
    }
    if (io->leg->reactor == io->reactor) {
        leg_deliver(&io->msg);
        return;
    }
    io->msg.deliver = leg_deliver;
    reactor_send(io->reactor, io->leg->reactor, &io->msg);
}

/* On the store's reactor: the command takes what the leg knows now, and goes to the store. */
static void leg_deliver(struct io_msg *msg)
{
    struct leg_io *io = CONTAINER_OF(msg, struct leg_io, msg);
    struct leg *leg = io->leg;
    const bool clean = leg->written == leg->flushed || MUTATION(S1_FLUSH_CLEAN_LEG);

    if (leg->session == NULL) { /* It was closed on the command's way: replace.h. */
        io_task_init(&io->task, leg_on_gone);
        reactor_defer(leg->reactor, &io->task);
        return;
    }
    if (io->confirm) {
        io_task_init(&io->task, leg_on_asked);
        reactor_defer(leg->reactor, &io->task);
        return;
    }
    leg_settle_loss(leg);
    if (io->store.opcode == STORE_OP_FLUSH && clean) {
        io_task_init(&io->task, leg_on_clean);
        reactor_defer(leg->reactor, &io->task);
        return;
    }
    if (!local_admits(io))
        return;
    io->store.generation = leg->generation;
    io->store.incarnation = leg->incarnation;
    io->store.done = leg_on_store;
    io->written = leg->written;
    store_submit(leg->session, &io->store);
}

void leg_go_on(struct leg_io *io)
{
    leg_deliver(&io->msg);
}

/* Back to the caller's reactor with io->status. */
static void leg_finish(struct leg_io *io)
{
    if (io->leg->reactor == io->reactor) {
        io->done(io);
        return;
    }
    io->msg.deliver = leg_return;
    reactor_send(io->leg->reactor, io->reactor, &io->msg);
}

static void leg_return(struct io_msg *msg)
{
    struct leg_io *io = CONTAINER_OF(msg, struct leg_io, msg);
    io->done(io);
}

static void leg_on_clean(struct io_task *task)
{
    struct leg_io *io = CONTAINER_OF(task, struct leg_io, task);

    io->status = STATUS(OK);
    leg_finish(io);
}

/* 8.5, 6.1: whether the session holds.  It was closed meanwhile: its store may be gone as well. */
static void leg_on_asked(struct io_task *task)
{
    struct leg_io *io = CONTAINER_OF(task, struct leg_io, task);
    const struct leg *const leg = io->leg;

    io->status = leg->session != NULL ? store_session_check(leg->session) : STATUS(UNAVAILABLE);
    io->outdated = leg->session != NULL && store_incarnation(leg->store) != leg->incarnation;
    leg_finish(io);
}

static void leg_on_none(struct io_task *task)
{
    struct leg_io *io = CONTAINER_OF(task, struct leg_io, task);

    io->status = STATUS(UNAVAILABLE);
    io->done(io);
}

static void leg_on_gone(struct io_task *task)
{
    struct leg_io *io = CONTAINER_OF(task, struct leg_io, task);

    io->status = STATUS(UNAVAILABLE);
    leg_finish(io);
}

/*
 * The disk has another incarnation than the command named: what it had completed and not flushed
 * may be gone, and the command's failure tells the host.  True: the volume continues on loss, and
 * the command may name the new one.
 */
static bool leg_on_stale_incarnation(struct leg_io *io)
{
    struct leg *leg = io->leg;
    const uint64_t incarnation = store_incarnation(leg->store);

    if (leg->incarnation != incarnation) { /* The first command that finds it. */
        leg->incarnation = incarnation;
        atomic_store(&leg->incarnation_now, incarnation);
        if (!leg->has_peers) /* Otherwise it is excluded, and nothing is lost. */
            leg_note_loss(leg);
    }
    return leg->continue_on_loss && !leg->has_peers && io->store.incarnation != incarnation;
}

bool leg_io_can_wait(const struct leg_io *io)
{
    return io->confirm || io->store.opcode <= STORE_OP_FLUSH || io->store.opcode == STORE_OP_HASH ||
           io->store.opcode == STORE_OP_CLOSE_REGIONS;
}

static bool is_zeroing(enum store_opcode opcode)
{
    return opcode == STORE_OP_WRITE_ZEROES || opcode == STORE_OP_DEALLOCATE;
}

/* As a store does where nothing was written. */
static void fill_zeros(const struct store_io *s)
{
    memset(s->data.at, 0, s->data.bytes);
    if (s->crcs == NULL)
        return;
    const uint32_t crc = crc32c(s->data.at, STORE_BLOCK_BYTES);
    for (size_t i = 0; i < s->data.bytes / STORE_BLOCK_BYTES; i++)
        s->crcs[i] = crc;
}

struct status leg_unknown_shard(const struct store_io *s)
{
    if (s->opcode == STORE_OP_READ)
        fill_zeros(s);
    if (s->opcode == STORE_OP_HASH)
        memset(s->data.at, 0, s->data.bytes); /* All absent. */
    if (s->opcode == STORE_OP_READ || s->opcode == STORE_OP_HASH || is_zeroing(s->opcode))
        return STATUS(OK);
    return s->status;
}

static struct status leg_outcome(struct leg_io *io)
{
    struct leg *leg = io->leg;
    const struct store_io *s = &io->store;

    if (status_is(s->status, STATUS_UNKNOWN_SHARD))
        return leg_unknown_shard(s);
    if (!status_ok(s->status))
        return s->status;
    if (s->opcode == STORE_OP_FLUSH)
        leg->flushed = max_u64(leg->flushed, io->written);
    else if ((s->opcode == STORE_OP_WRITE || is_zeroing(s->opcode)) && !s->fua)
        leg->written++;
    return STATUS(OK);
}

static void leg_on_store(struct store_io *store_io)
{
    struct leg_io *io = CONTAINER_OF(store_io, struct leg_io, store);

    assert(reactor_is_current(io->leg->reactor));
    local_on_answer(io);
    if (status_is(store_io->status, STATUS_STALE_INCARNATION) && leg_on_stale_incarnation(io)) {
        leg_deliver(&io->msg);
        return;
    }
    io->status = leg_outcome(io);
    leg_note_use(io->leg);
    leg_finish(io);
}
