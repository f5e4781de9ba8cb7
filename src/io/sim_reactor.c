/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated reactor.  A turn is one event of the world:
 *
 *   completions, messages, timers (any order, F1) -> callbacks -> deferred tasks -> submission
 *
 * What callbacks start is submitted at the end of the turn, as with a real ring: a process that
 * dies within the turn has submitted nothing of it (F4).
 */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/mutation.h"
#include "io/sim_internal.h"

#define TASKS_TURN_MAX 4096 /* Deferred tasks of a turn; the rest waits for the next. */

/* Where an operation is; kept in io_op.backend[0]. */
enum op_place { OP_STARTED, OP_SUBMITTED, OP_READY };

/* ---- Waking ---- */

static bool reactor_has_work(const struct sim_reactor *r)
{
    for (size_t i = 0; i < ARRAY_COUNT(r->inbox); i++)
        if (r->inbox[i].first != NULL)
            return true;
    return !list_empty(&r->ready) || !list_empty(&r->tasks) || !list_empty(&r->started);
}

/* F2: mostly microseconds, sometimes milliseconds. */
static uint64_t turn_delay_ns(struct sim_world *w)
{
    if (MUTATION(T1_REAL_CLOCK)) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_nsec % NS_PER_US;
    }
    return sim_chance(w, 500) ? sim_between(w, 0, 2 * NS_PER_MS) : sim_between(w, 0, 2000);
}

void sim_reactor_wake(struct sim_reactor *r)
{
    struct sim_process *const p = r->process;
    struct sim_world *const w = sim_process_world(p);
    uint64_t at_ns = w->now_ns;

    if (!p->alive || p->paused || r->in_turn || (r->stopped && p->program.main != NULL))
        return;
    if (!reactor_has_work(r)) {
        const struct io_timer *const t = timer_heap_peek(&r->timers);
        if (t == NULL)
            return;
        if (t->deadline_ns >= UINT64_MAX - p->machine->boot_at_ns)
            return;
        at_ns = t->deadline_ns + p->machine->boot_at_ns;
        at_ns = at_ns > SIM_BOOT_NS ? at_ns - SIM_BOOT_NS : 0;
    }
    at_ns = max_u64(max_u64(at_ns, w->now_ns), r->busy_until_ns);
    if (r->turn.slot != 0 && r->turn.at_ns <= at_ns)
        return;
    sim_event_at(w, &r->turn, at_ns + turn_delay_ns(w));
}

/* ---- One turn ---- */

struct turn_batch {
    struct list ops;
    struct io_msg *msgs[SIM_REACTORS_MAX + 1];
    uint64_t timer_sequence; /* Timers armed in this turn wait for the next. */
};

static void batch_collect(struct sim_reactor *r, struct turn_batch *batch)
{
    struct sim_world *const w = sim_process_world(r->process);
    struct list_node *n;

    list_init(&batch->ops);
    while ((n = list_pop_front(&r->ready)) != NULL) {
        if (rng_one_in(&w->rng, 2))
            list_push_back(&batch->ops, n);
        else
            list_push_front(&batch->ops, n);
    }
    for (size_t i = 0; i < ARRAY_COUNT(r->inbox); i++) {
        batch->msgs[i] = r->inbox[i].first;
        r->inbox[i].first = NULL;
        r->inbox[i].last = &r->inbox[i].first;
    }
    batch->timer_sequence = r->timers.sequence_next;
}

static bool batch_call_op(struct sim_reactor *r, struct turn_batch *batch)
{
    struct list_node *const n = list_pop_front(&batch->ops);
    if (n == NULL)
        return false;
    struct io_op *const op = CONTAINER_OF(n, struct io_op, link);
    if (op->fd >= 0)
        r->process->fds[op->fd].in_flight--;
    op->in_flight = false;
    r->base.stats.ops++;
    op->done(op);
    return true;
}

static bool batch_call_msg(struct sim_reactor *r, struct turn_batch *batch)
{
    const size_t count = ARRAY_COUNT(batch->msgs);
    const size_t first = rng_below(&sim_process_world(r->process)->rng, count);

    for (size_t i = 0; i < count; i++) {
        struct io_msg **const head = &batch->msgs[(first + i) % count];
        struct io_msg *const msg = *head;
        if (msg == NULL)
            continue;
        *head = msg->next;
        r->base.stats.messages++;
        msg->deliver(msg);
        return true;
    }
    return false;
}

static bool batch_call_timer(struct sim_reactor *r, struct turn_batch *batch)
{
    const struct io_timer *const first = timer_heap_peek(&r->timers);
    if (first == NULL || first->sequence >= batch->timer_sequence)
        return false;
    struct io_timer *const t = timer_heap_pop_due(&r->timers, r->base.now_ns);
    if (t == NULL)
        return false;
    r->base.stats.timers++;
    t->fire(t);
    return true;
}

/* Calls one of what the batch holds; false if it is empty. */
static bool batch_call(struct sim_reactor *r, struct turn_batch *batch)
{
    static bool (*const kinds[])(struct sim_reactor *, struct turn_batch *) = { batch_call_op,
                                                                                batch_call_msg,
                                                                                batch_call_timer };
    const size_t first = rng_below(&sim_process_world(r->process)->rng, ARRAY_COUNT(kinds));

    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        if (kinds[(first + i) % ARRAY_COUNT(kinds)](r, batch))
            return true;
    return false;
}

/* Runs tasks and what they defer, but for those that defer themselves, up to a bound. */
static bool turn_run_tasks(struct sim_reactor *r)
{
    struct list_node *n;

    for (unsigned i = 0; i < TASKS_TURN_MAX && (n = list_pop_front(&r->tasks)) != NULL; i++) {
        r->running = CONTAINER_OF(n, struct io_task, link);
        r->running->run(r->running); /* The task may be gone. */
        r->running = NULL;
        if (!sim_process_survives(r->process))
            return false;
    }
    list_splice_back(&r->tasks, &r->tasks_next);
    return true;
}

static void op_submit(struct sim_reactor *r, struct io_op *op)
{
    op->backend[0] = OP_SUBMITTED;
    if (op->canceled) {
        sim_op_complete(op, -ECANCELED);
        return;
    }
    switch (op->kind) {
    case IO_KIND_ACCEPT:
    case IO_KIND_CONNECT:
    case IO_KIND_RECV:
    case IO_KIND_SEND:
        sim_net_submit(r, op);
        return;
    case IO_KIND_READ:
    case IO_KIND_WRITE:
    case IO_KIND_FSYNC:
    case IO_KIND_DISCARD:
    case IO_KIND_ALLOCATE:
        sim_disk_submit(r, op);
        return;
    }
    sim_bug(sim_process_world(r->process), "an operation of no kind");
}

static void turn_submit(struct sim_reactor *r)
{
    struct list_node *n;
    while ((n = list_pop_front(&r->started)) != NULL)
        op_submit(r, CONTAINER_OF(n, struct io_op, link));
}

/* The part of a turn that the process sees; false if it died. */
static bool turn_call(struct sim_reactor *r)
{
    struct turn_batch batch;

    batch_collect(r, &batch);
    while (batch_call(r, &batch))
        if (!sim_process_survives(r->process))
            return false;
    if (!turn_run_tasks(r))
        return false;
    turn_submit(r);
    return true;
}

static bool process_all_stopped(const struct sim_process *p)
{
    for (unsigned i = 0; i < p->program.reactors; i++)
        if (!p->reactors[i].stopped)
            return false;
    return true;
}

static void reactor_turn(struct sim_event *event)
{
    struct sim_reactor *const r = CONTAINER_OF(event, struct sim_reactor, turn);
    struct sim_process *const p = r->process;
    struct sim_world *const w = sim_process_world(p);

    if (!p->alive || p->paused)
        return;
    sim_enter(w, r);
    r->in_turn = true;
    r->base.now_ns = sim_machine_clock_ns(p->machine);
    r->base.stats.turns++;
    const bool alive = turn_call(r);
    r->in_turn = false;
    sim_enter(w, NULL);
    if (!alive)
        return;
    r->busy_until_ns = w->now_ns + sim_between(w, 500, 5000);
    if (p->program.main != NULL && process_all_stopped(p))
        sim_process_end(p, SIM_EXIT_STOPPED);
    else
        sim_reactor_wake(r);
}

/* ---- reactor_ops ---- */

static void sim_run(struct reactor *base)
{
    struct sim_reactor *const r = sim_of(base);
    struct sim_world *const w = sim_process_world(r->process);

    if (r->process->program.main != NULL || w->current != NULL)
        sim_bug(w, "reactor_run() of a reactor that the world runs");
    while (!r->stopped)
        if (!sim_world_step(w))
            sim_bug(w, "reactor_run() with nothing that could ever happen");
    r->stopped = false;
}

static void sim_stop(struct reactor *base)
{
    struct sim_reactor *const r = sim_of(base);
    struct sim_world *const w = sim_process_world(r->process);

    r->stopped = true;
    /* The reactor of a process may be idle: its last turn takes note. */
    if (r->process->program.main != NULL && r->turn.slot == 0 && !r->in_turn)
        sim_event_at(w, &r->turn, w->now_ns + turn_delay_ns(w));
}

static void sim_destroy(struct reactor *base)
{
    struct sim_reactor *const r = sim_of(base);

    if (reactor_has_work(r) || timer_heap_peek(&r->timers) != NULL)
        sim_bug(sim_process_world(r->process), "reactor_destroy() with something in flight");
    r->destroyed = true;
}

static bool sim_is_current(const struct reactor *base)
{
    const struct sim_reactor *const current = sim_process_world(sim_of(base)->process)->current;
    /* The world's own code may stand in for any reactor, between its turns. */
    return current == NULL || current == sim_of(base);
}

static uint64_t sim_clock_ns(const struct reactor *base)
{
    return sim_machine_clock_ns(sim_of(base)->process->machine);
}

static uint64_t sim_wall_ns(const struct reactor *base)
{
    const struct sim_machine *const m = sim_of(base)->process->machine;
    return m->world->now_ns + (uint64_t)m->wall_skew_ns;
}

static void sim_random(struct reactor *base, struct span out)
{
    rng_fill(&sim_reactor_world(base)->rng, out);
}

static struct uuid sim_boot_id(const struct reactor *base)
{
    return sim_of(base)->process->machine->boot_id;
}

static void sim_defer(struct reactor *base, struct io_task *task)
{
    struct sim_reactor *const r = sim_of(base);
    list_push_back(r->running == task ? &r->tasks_next : &r->tasks, &task->link);
    sim_reactor_wake(r);
}

static void sim_timer_arm(struct reactor *base, struct io_timer *t)
{
    struct sim_reactor *const r = sim_of(base);
    timer_heap_insert(&r->timers, t);
    sim_reactor_wake(r);
}

static void sim_timer_disarm(struct reactor *base, struct io_timer *t)
{
    timer_heap_remove(&sim_of(base)->timers, t);
}

static void sim_post(struct reactor *base, struct io_msg *msg)
{
    struct sim_reactor *const r = sim_of(base);
    const struct sim_reactor *const from = sim_process_world(r->process)->current;
    size_t sender = 0;

    if (from != NULL && from->process != r->process)
        sim_bug(sim_process_world(r->process), "a message to another process");
    if (!r->process->alive)
        return;
    if (from != NULL)
        sender = (size_t)(from - r->process->reactors) + 1;
    msg->next = NULL;
    *r->inbox[sender].last = msg;
    r->inbox[sender].last = &msg->next;
    sim_reactor_wake(r);
}

static void sim_start(struct reactor *base, struct io_op *op)
{
    struct sim_reactor *const r = sim_of(base);

    if (op->fd >= 0)
        sim_fd_get(r, op->fd)->in_flight++;
    else if (op->kind != IO_KIND_CONNECT)
        sim_bug(sim_process_world(r->process), "an operation on descriptor -1");
    op->backend[0] = OP_STARTED;
    list_push_back(&r->started, &op->link);
    sim_reactor_wake(r);
}

static void sim_cancel(struct reactor *base, struct io_op *op)
{
    if (op->backend[0] != OP_SUBMITTED)
        return; /* Not there yet: submission sees the flag.  Or over already. */
    if (op->kind <= IO_KIND_SEND)
        sim_net_cancel(sim_of(base), op);
    /* A device goes on with what it was told: the true result follows. */
}

void sim_op_complete(struct io_op *op, int64_t result)
{
    struct sim_reactor *const r = sim_of(op->reactor);

    assert(op->in_flight);
    op->result = result;
    op->backend[0] = OP_READY;
    sim_trace(sim_process_world(r->process), "complete", op->kind, (uint64_t)op->fd,
              (uint64_t)result);
    list_push_back(&r->ready, &op->link);
    sim_reactor_wake(r);
}

static struct status sim_file_open(struct reactor *r, const char *path, unsigned flags,
                                   uint64_t create_bytes, int *out_fd,
                                   struct io_file_info *out_info)
{
    return sim_disk_open(sim_of(r), path, flags, create_bytes, out_fd, out_info);
}

static struct status sim_file_bytes(struct reactor *r, int fd, uint64_t *out_bytes)
{
    const struct sim_fd *const f = sim_fd_get(sim_of(r), fd);

    *out_bytes = sim_disk_config(f->object)->bytes;
    return STATUS(OK);
}

static struct status sim_listen(struct reactor *r, const struct io_addr *on, int *out_fd,
                                struct io_addr *out_bound)
{
    return sim_net_listen(sim_of(r), on, out_fd, out_bound);
}

static struct status sim_peer_addr(struct reactor *r, int fd, struct io_addr *out_addr)
{
    return sim_net_addr(sim_of(r), fd, true, out_addr);
}

static struct status sim_local_addr(struct reactor *r, int fd, struct io_addr *out_addr)
{
    return sim_net_addr(sim_of(r), fd, false, out_addr);
}

static void sim_fd_release(struct reactor *base, int fd)
{
    struct sim_fd *const f = sim_fd_get(sim_of(base), fd);

    if (f->in_flight > 0)
        sim_bug(sim_reactor_world(base), "io_fd_release() with operations in flight");
    f->reactor = NULL;
}

static struct status sim_fd_adopt(struct reactor *base, int fd)
{
    struct sim_process *const p = sim_of(base)->process;

    if (fd < 0 || (size_t)fd >= p->fd_count || p->fds[fd].kind == SIM_FD_FREE ||
        p->fds[fd].reactor != NULL)
        sim_bug(sim_process_world(p), "io_fd_adopt() of a descriptor that was not released");
    p->fds[fd].reactor = sim_of(base);
    return STATUS(OK);
}

static void sim_shutdown(struct reactor *base, int fd)
{
    sim_net_shutdown(sim_of(base), fd);
}

static void sim_close(struct reactor *base, int fd)
{
    struct sim_reactor *const r = sim_of(base);
    struct sim_fd *const f = sim_fd_get(r, fd);

    if (f->in_flight > 0)
        sim_bug(sim_reactor_world(base), "close() of a descriptor with operations in flight");
    if (f->kind == SIM_FD_FILE)
        sim_disk_close(r->process, f);
    else
        sim_net_close(r->process, f, false);
    f->kind = SIM_FD_FREE;
}

static const struct reactor_ops sim_ops = {
    .run = sim_run,
    .stop = sim_stop,
    .destroy = sim_destroy,
    .is_current = sim_is_current,
    .clock_ns = sim_clock_ns,
    .wall_ns = sim_wall_ns,
    .random = sim_random,
    .boot_id = sim_boot_id,
    .defer = sim_defer,
    .timer_arm = sim_timer_arm,
    .timer_disarm = sim_timer_disarm,
    .post = sim_post,
    .start = sim_start,
    .cancel = sim_cancel,
    .file_open = sim_file_open,
    .file_bytes = sim_file_bytes,
    .listen = sim_listen,
    .peer_addr = sim_peer_addr,
    .local_addr = sim_local_addr,
    .fd_release = sim_fd_release,
    .fd_adopt = sim_fd_adopt,
    .shutdown = sim_shutdown,
    .close = sim_close,
};

void sim_reactor_init(struct sim_reactor *r, struct sim_process *p, unsigned index)
{
    r->base.ops = &sim_ops;
    r->base.log = &r->log;
    r->base.index = index;
    r->base.now_ns = sim_machine_clock_ns(p->machine);
    r->process = p;
    r->turn.run = reactor_turn;
    list_init(&r->ready);
    list_init(&r->started);
    list_init(&r->tasks);
    list_init(&r->tasks_next);
    timer_heap_init(&r->timers);
    for (size_t i = 0; i < ARRAY_COUNT(r->inbox); i++)
        r->inbox[i].last = &r->inbox[i].first;
}

void sim_reactor_drop(struct sim_reactor *r)
{
    sim_event_cancel(sim_process_world(r->process), &r->turn);
    sim_net_drop(r);
    /* The links lead into memory that is about to go. */
    list_init(&r->ready);
    list_init(&r->started);
    list_init(&r->tasks);
    list_init(&r->tasks_next);
    timer_heap_init(&r->timers);
    for (size_t i = 0; i < ARRAY_COUNT(r->inbox); i++)
        r->inbox[i].first = NULL;
}
