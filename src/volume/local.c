/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk that hangs has of a command cannot be taken away: its store has the command's memory,
 * and the kernel the addresses of its data.  So the command is taken from there instead: the store
 * goes on with the heir, and the data stay where they are, held in their buffer.
 */
#include "volume/local.h"

#include <assert.h>
#include <stdlib.h>

#include "io/buf.h"
#include "volume/leg.h"

#define LATE_TICKS 10
#define HANG_TICKS 5

/* A command that was let go of, and which the store has not answered. */
struct heir {
    struct store_io store;
    struct leg *leg; /* NULL: its session was closed. */
    struct list_node link;
    struct buf_pool *pool; /* In which its data are held; NULL: they are behind. */
    struct buf_hold hold;
    struct io_msg msg;
    _Alignas(max_align_t) uint8_t behind[]; /* Data, or CRCs. */
};

/* A description that the store has not answered: the session is open until then. */
struct description {
    struct list_node link;         /* local.descriptions */
    struct leg *leg;               /* NULL: it hears no more of it. */
    struct store_session *session; /* To be closed; NULL: not by this one. */
    uint32_t flew;
};

static void watch(struct leg *leg);
static void close_go_on(struct leg *leg);
static void on_close_task(struct io_task *task);
static void described(struct leg *leg, struct status status);

static struct leg_io *io_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct leg_io, task.link);
}

static bool is_watched(const struct local *l)
{
    return l->tick_ns != 0;
}

/* ---- How it is ---- */

static uint32_t oldest_ticks(const struct local *l)
{
    struct list_node *const n = list_first(&l->flying);

    return n != NULL ? l->ticks - io_of(n)->flew : 0;
}

static bool is_late(const struct local *l)
{
    return oldest_ticks(l) > LATE_TICKS;
}

static void back_deliver(struct io_msg *msg)
{
    struct leg *const leg = CONTAINER_OF(msg, struct leg, local.back_msg);

    atomic_store(&leg->local.back_posted, false);
    if (atomic_load(&leg->local.away))
        return;
    leg->problem = STATUS(OK);
    leg->ops->back(leg);
}

/* Home hears of it when it is well again: what was not decided for it can be. */
static void note(struct leg *leg)
{
    struct local *const l = &leg->local;
    const bool hangs = oldest_ticks(l) > HANG_TICKS, away = !list_empty(&l->heirs);
    const bool was_well = l->well;

    l->well = !hangs && !away;
    atomic_store(&l->hangs, hangs);
    atomic_store(&l->away, away);
    if (l->well && !was_well && l->closing == NULL && !atomic_exchange(&l->back_posted, true))
        reactor_post(l->home, &l->back_msg);
}

/* ---- The end of commands ---- */

static void end_deliver(struct io_msg *msg)
{
    struct leg_io *const io = CONTAINER_OF(msg, struct leg_io, msg);

    io->done(io);
}

/* Never from in here. */
static void end(struct leg_io *io, struct status status)
{
    io->status = status;
    io->msg.deliver = end_deliver;
    reactor_post(io->reactor, &io->msg);
}

static void end_kept(struct local *l, struct status status)
{
    struct list_node *n;

    while ((n = list_pop_front(&l->kept)) != NULL)
        end(io_of(n), status);
}

/* In order, behind what the heirs have left. */
static void kept_go_on(struct local *l)
{
    struct list kept;
    struct list_node *n;

    list_init(&kept);
    list_splice_back(&kept, &l->kept);
    while ((n = list_pop_front(&kept)) != NULL)
        leg_go_on(io_of(n));
}

/* ---- Heirs ---- */

static void release_deliver(struct io_msg *msg)
{
    struct heir *const h = CONTAINER_OF(msg, struct heir, msg);

    buf_release(h->pool, &h->hold);
    free(h);
}

static void heir_on_store(struct store_io *store_io)
{
    struct heir *const h = CONTAINER_OF(store_io, struct heir, store);
    struct leg *const leg = h->leg;

    list_remove(&h->link);
    if (h->pool == NULL) {
        free(h);
    } else {
        h->msg.deliver = release_deliver;
        reactor_post(buf_pool_reactor(h->pool), &h->msg);
    }
    if (leg == NULL)
        return;
    leg->written++; /* It may have changed something: the next Flush asks the disk. */
    if (list_empty(&leg->local.heirs))
        kept_go_on(&leg->local);
    note(leg);
}

/* The pool's reactor: whoever gives the buffer back, does not give it to others. */
static void hold_deliver(struct io_msg *msg)
{
    struct leg_io *const io = CONTAINER_OF(msg, struct leg_io, msg);

    buf_hold(io->pool, &io->heir->hold, io->store.data);
    io->msg.deliver = end_deliver;
    reactor_post(io->reactor, &io->msg);
}

static bool moves_data(const struct store_io *s)
{
    return s->opcode == STORE_OP_READ || s->opcode == STORE_OP_WRITE;
}

/* Of what moves no data.  Where there are none, the span is a former command's. */
static bool has_items(const struct store_io *s)
{
    return s->opcode != STORE_OP_WRITE_ZEROES && s->opcode != STORE_OP_DEALLOCATE &&
           s->opcode != STORE_OP_FLUSH && s->opcode != STORE_OP_DELETE_VOLUME &&
           s->opcode != STORE_OP_SPOIL;
}

/* NULL: out of memory. */
static struct heir *heir_create(struct leg *leg, const struct leg_io *io)
{
    const struct store_io *const s = &io->store;
    const size_t crcs = s->crcs != NULL ? s->bytes / STORE_BLOCK_BYTES * sizeof(uint32_t) : 0;
    const size_t items = has_items(s) ? s->data.bytes : 0;
    const size_t bytes = moves_data(s) ? crcs : items;
    struct heir *const h = malloc(sizeof *h + bytes);

    if (h == NULL)
        return NULL;
    h->leg = leg;
    list_node_init(&h->link);
    h->pool = moves_data(s) ? io->pool : NULL;
    h->store.done = heir_on_store;
    h->store.data = moves_data(s) ? s->data : (struct span) { h->behind, bytes };
    h->store.crcs = moves_data(s) && crcs > 0 ? (uint32_t *)(void *)h->behind : NULL;
    if (bytes > 0)
        memcpy(h->behind, moves_data(s) ? (uint8_t *)s->crcs : s->data.at, bytes);
    return h;
}

/*
 * Ends a command without its answer.  False: it waits on, for memory, or as nobody can hold its
 * data.
 */
static bool let_go(struct leg *leg, struct leg_io *io, struct status why)
{
    struct local *const l = &leg->local;
    const bool moves = moves_data(&io->store);
    struct heir *const h = moves && io->pool == NULL ? NULL : heir_create(leg, io);

    if (h == NULL)
        return false;
    store_hand_over(&io->store, &h->store);
    list_push_back(&l->heirs, &h->link);
    if (!moves) {
        end(io, why);
        return true;
    }
    io->stranded = io->store.opcode == STORE_OP_READ;
    io->status = why;
    io->heir = h;
    io->msg.deliver = hold_deliver;
    reactor_post(buf_pool_reactor(io->pool), &io->msg);
    return true;
}

static void let_go_of(struct leg *leg, bool (*takes)(const struct leg_io *io), struct status why)
{
    struct list flying;
    struct list_node *n;

    list_init(&flying);
    list_splice_back(&flying, &leg->local.flying);
    while ((n = list_pop_front(&flying)) != NULL) {
        struct leg_io *const io = io_of(n);
        if (!takes(io) || !let_go(leg, io, why))
            list_push_back(&leg->local.flying, n);
    }
}

static bool is_anything(const struct leg_io *io)
{
    (void)io;
    return true;
}

static bool is_late_and_cannot_wait(const struct leg_io *io)
{
    return !leg_io_can_wait(io) && io->leg->local.ticks - io->flew > LATE_TICKS;
}

/* ---- Deadlines ---- */

static void late_deliver(struct io_msg *msg)
{
    struct leg *const leg = CONTAINER_OF(msg, struct leg, local.late_msg);

    atomic_store(&leg->local.late_posted, false);
    leg->problem = STATUS(TIMED_OUT);
    leg->ops->report(leg, leg->problem);
}

static void report(struct local *l)
{
    if (l->closing == NULL && !atomic_exchange(&l->late_posted, true))
        reactor_post(l->home, &l->late_msg);
}

static bool is_description_late(const struct local *l)
{
    return l->describing && l->ticks - l->described > LATE_TICKS;
}

/* 6.1: ticks are counted, not time. */
static void on_timer(struct io_timer *timer)
{
    struct leg *const leg = CONTAINER_OF(timer, struct leg, local.timer);
    struct local *const l = &leg->local;

    l->ticks++;
    if (is_late(l) || (!l->lets_go && !list_empty(&l->heirs)))
        report(l);
    if (is_late(l) && l->lets_go)
        let_go_of(leg, is_anything, l->why);
    else if (is_late(l))
        let_go_of(leg, is_late_and_cannot_wait, STATUS(TIMED_OUT));
    if (is_description_late(l))
        described(leg, STATUS(TIMED_OUT));
    note(leg);
    watch(leg);
    close_go_on(leg);
}

static void watch(struct leg *leg)
{
    struct local *const l = &leg->local;
    const bool waits = !list_empty(&l->flying) || !list_empty(&l->kept) || l->describing;

    if (waits && !io_timer_armed(&l->timer))
        io_timer_arm(&l->timer, leg->reactor, reactor_now_ns(leg->reactor) + l->tick_ns);
}

/* ---- What home tells ---- */

static void tell_deliver(struct io_msg *msg)
{
    struct leg *const leg = CONTAINER_OF(msg, struct leg, local.tell_msg);
    struct local *const l = &leg->local;

    atomic_store(&l->tell_posted, false);
    l->why = (struct status) { .code = (enum status_code)atomic_load(&l->told) };
    l->lets_go = !status_ok(l->why);
    if (!l->lets_go)
        return;
    if (is_late(l) || !list_empty(&l->heirs))
        let_go_of(leg, is_anything, l->why);
    end_kept(l, l->why);
    note(leg);
}

void local_tell(struct leg *leg, struct status why)
{
    struct local *const l = &leg->local;

    if (!is_watched(l) || leg->session == NULL)
        return;
    atomic_store(&l->told, (int)why.code);
    if (!atomic_exchange(&l->tell_posted, true))
        reactor_post(leg->reactor, &l->tell_msg);
}

/* ---- Commands ---- */

/* Behind heirs, which may change what it reads or writes. */
static void wait_for_heirs(struct local *l, struct leg_io *io)
{
    if (l->lets_go || !leg_io_can_wait(io)) {
        end(io, l->lets_go ? l->why : STATUS(TIMED_OUT));
        return;
    }
    list_push_back(&l->kept, &io->task.link);
    watch(io->leg);
}

bool local_admits(struct leg_io *io)
{
    struct local *const l = &io->leg->local;

    if (!is_watched(l))
        return true;
    list_node_init(&io->task.link);
    if (!list_empty(&l->heirs)) {
        wait_for_heirs(l, io);
        return false;
    }
    if (io->store.opcode == STORE_OP_DELETE_VOLUME)
        return true; /* It takes what time it takes, and nobody is excluded for that. */
    io->flew = l->ticks;
    list_push_back(&l->flying, &io->task.link);
    if (!io_timer_armed(&l->timer))
        watch(io->leg);
    return true;
}

void local_on_answer(struct leg_io *io)
{
    struct local *const l = &io->leg->local;

    if (!is_watched(l))
        return;
    list_remove(&io->task.link);
    if (!l->well)
        note(io->leg);
    close_go_on(io->leg);
}

/* ---- Descriptions ---- */

static void described(struct leg *leg, struct status status)
{
    leg->local.describing = false;
    leg_on_described(leg, status);
}

static void on_described(void *ctx, struct status status)
{
    struct description *const d = ctx;
    struct leg *const leg = d->leg;
    const bool waits = leg != NULL && leg->local.describing && leg->local.described == d->flew;

    list_remove(&d->link);
    if (d->session != NULL)
        store_session_close(d->session);
    free(d);
    if (waits)
        described(leg, status);
}

void local_describe(struct leg *leg, const struct store_volume *volume)
{
    struct local *const l = &leg->local;
    struct description *const d = malloc(sizeof *d);
    struct status st = d != NULL ? STATUS(OK) : STATUS(NO_MEMORY);

    if (status_ok(st)) {
        *d = (struct description) { .leg = leg, .flew = ++l->ticks };
        list_node_init(&d->link);
        st = store_session_describe(leg->session, volume, on_described, d);
    }
    if (!status_ok(st)) {
        free(d);
        leg_on_described(leg, st);
        return;
    }
    list_push_back(&l->descriptions, &d->link);
    l->describing = true;
    l->described = d->flew;
    if (is_watched(l))
        watch(leg);
}

/* The last one closes the session; true: there is none. */
static bool descriptions_close(struct local *l)
{
    struct list_node *n;
    bool none = true;

    while ((n = list_pop_front(&l->descriptions)) != NULL) {
        struct description *const d = CONTAINER_OF(n, struct description, link);
        d->leg = NULL;
        d->session = list_empty(&l->descriptions) ? l->closing : NULL;
        none = false;
    }
    return none;
}

/* ---- The beginning and the end ---- */

void local_init(struct leg *leg, struct reactor *home, uint64_t patience_ns)
{
    struct local *const l = &leg->local;

    *l = (struct local) { .home = home, .tick_ns = patience_ns / LATE_TICKS, .well = true };
    list_init(&l->flying);
    list_init(&l->kept);
    list_init(&l->heirs);
    list_init(&l->descriptions);
    io_timer_init(&l->timer, on_timer);
    io_task_init(&l->close_task, on_close_task);
    l->tell_msg.deliver = tell_deliver;
    l->late_msg.deliver = late_deliver;
    l->back_msg.deliver = back_deliver;
}

/* What is still under way is nobody's. */
static void close_end(struct leg *leg)
{
    struct local *const l = &leg->local;
    struct list_node *n;

    while ((n = list_pop_front(&l->heirs)) != NULL)
        CONTAINER_OF(n, struct heir, link)->leg = NULL;
    io_timer_disarm(&l->timer);
    l->tick_ns = 0;
    if (descriptions_close(l))
        store_session_close(l->closing);
    l->closing = NULL;
    l->on_closed(l->close_ctx); /* The leg may be gone. */
}

static void on_close_task(struct io_task *task)
{
    close_end(CONTAINER_OF(task, struct leg, local.close_task));
}

static void close_go_on(struct leg *leg)
{
    struct local *const l = &leg->local;

    if (l->closing != NULL && list_empty(&l->flying))
        reactor_defer(leg->reactor, &l->close_task);
}

/*
 * What is under way to a disk that no slot has any more ends by itself, unless it hangs: somebody
 * waits for it all the same, so it is watched until then.
 */
void local_close(struct leg *leg, void (*done)(void *ctx), void *ctx)
{
    struct local *const l = &leg->local;

    l->on_closed = done;
    l->close_ctx = ctx;
    l->closing = leg->session;
    leg->session = NULL; /* Nothing more is sent. */
    l->describing = false;
    l->why = l->lets_go ? l->why : STATUS(UNAVAILABLE);
    l->lets_go = true;
    if (is_late(l) || !list_empty(&l->heirs))
        let_go_of(leg, is_anything, l->why);
    end_kept(l, l->why);
    if (list_empty(&l->flying))
        close_end(leg);
}
