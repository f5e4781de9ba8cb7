/* SPDX-License-Identifier: Apache-2.0 */
#include "io/uring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "io/uring_internal.h"

/* ---- Clocks and identities ---- */

static uint64_t clock_read(clockid_t id)
{
    struct timespec ts;
    const int ret = clock_gettime(id, &ts);
    assert(ret == 0);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t uring_clock_ns(const struct reactor *r)
{
    (void)r;
    return clock_read(CLOCK_BOOTTIME);
}

static uint64_t uring_wall_ns(const struct reactor *r)
{
    (void)r;
    return clock_read(CLOCK_REALTIME);
}

static void uring_random(struct reactor *r, struct span out)
{
    (void)r;
    while (out.bytes > 0) {
        const ssize_t got = getrandom(out.at, out.bytes, 0);
        if (got < 0) {
            assert(errno == EINTR); /* Nothing else can fail with good memory. */
            continue;
        }
        out = span_sub(out, (size_t)got, out.bytes - (size_t)got);
    }
}

static struct uuid uring_boot_id(const struct reactor *r)
{
    return CONTAINER_OF(r, const struct uring, base)->boot_id;
}

static struct status MUST_CHECK boot_id_read(struct uuid *out_id)
{
    char text[UUID_TEXT_BYTES] = "";
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return status_from_errno(errno);
    const ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got == UUID_TEXT_BYTES - 1 ? uuid_parse(text, out_id) : STATUS(IO);
}

/*
 * Before the first run the reactor belongs to the thread that created it, in the loop to the one
 * that runs it; after the loop has ended, to whoever tears it down.
 */
static bool uring_is_current(const struct reactor *r)
{
    const struct uring *const u = CONTAINER_OF(r, const struct uring, base);
    return atomic_load_explicit(&u->ownerless, memory_order_acquire) ||
           pthread_equal(atomic_load_explicit(&u->owner, memory_order_relaxed), pthread_self());
}

/*
 * ---- Messages and sleep ----
 *
 * The inbox is a stack: senders push with a compare-and-swap, and the reactor takes all of it
 * with one exchange and reverses it, so that messages of one thread keep their order.
 *
 * No wake-up is lost.  All four accesses are sequentially consistent, so that they have one order:
 *
 *     reactor:  (1) sleeping = true    (2) look at inbox and stop; sleep only if both are empty
 *     sender:   (3) push (or stop)     (4) if sleeping was true, make it false and write wake_fd
 *
 * If (3) comes before (2), the reactor sees the message and stays awake.  Otherwise (1) (2) (3)
 * (4) is the order, the sender sees sleeping, and writes.  The eventfd keeps its count until the
 * ring reads it, so a write between (2) and the system call ends the sleep at once.  Whoever finds
 * sleeping true clears it: one write for a sleep, however many messages follow in the meantime.
 */
static void wake(struct uring *u)
{
    const uint64_t one = 1;

    if (!atomic_load(&u->sleeping) || !atomic_exchange(&u->sleeping, false))
        return;
    while (write(u->wake_fd, &one, sizeof one) < 0)
        assert(errno == EINTR);
}

static void push(struct uring *u, struct io_msg *msg)
{
    msg->next = atomic_load_explicit(&u->inbox, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&u->inbox, &msg->next, msg))
        continue;
}

static void uring_post(struct reactor *r, struct io_msg *msg)
{
    push(uring_of(r), msg);
    wake(uring_of(r));
}

/* Step (4) is put off to the end of the turn; nothing but the order of the steps matters. */
static void uring_send(struct reactor *from, struct reactor *to, struct io_msg *msg)
{
    struct uring *const u = uring_of(from);
    struct uring *const target = uring_of(to);

    push(target, msg);
    for (unsigned i = 0; i < u->to_wake_count; i++)
        if (u->to_wake[i] == target)
            return;
    if (u->to_wake_count == URING_WAKES_MAX)
        wake(target);
    else
        u->to_wake[u->to_wake_count++] = target;
}

static void wake_others(struct uring *u)
{
    for (unsigned i = 0; i < u->to_wake_count; i++)
        wake(u->to_wake[i]);
    u->to_wake_count = 0;
}

static void uring_stop(struct reactor *r)
{
    struct uring *const u = uring_of(r);

    atomic_store(&u->stop, true);
    wake(u);
}

static bool deliver_messages(struct uring *u)
{
    if (atomic_load_explicit(&u->inbox, memory_order_relaxed) == NULL)
        return false;
    struct io_msg *last_first = atomic_exchange(&u->inbox, NULL);
    struct io_msg *in_order = NULL;
    while (last_first != NULL) {
        struct io_msg *const msg = last_first;
        last_first = msg->next;
        msg->next = in_order;
        in_order = msg;
    }
    while (in_order != NULL) {
        struct io_msg *const msg = in_order;
        in_order = msg->next;
        u->base.stats.messages++;
        msg->deliver(msg); /* msg may be gone. */
    }
    return true;
}

static void arm_wake(struct uring *u)
{
    struct io_uring_sqe *const sqe = u->wake_armed ? NULL : uring_sqe_get(u);
    if (sqe == NULL)
        return;
    io_uring_prep_read(sqe, u->wake_fd, &u->wake_value, sizeof u->wake_value, 0);
    io_uring_sqe_set_data(sqe, &u->wake_value);
    u->wake_armed = true;
}

/* ---- A turn ---- */

/* Moves completions off the ring.  Nothing is called back from here: no recursion. */
static void reap(struct uring *u)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;

    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        void *const data = io_uring_cqe_get_data(cqe);
        count++;
        if (data == &u->wake_value)
            u->wake_armed = false;
        else if (data != NULL)
            uring_op_complete(u, data, cqe->res, cqe->flags);
    }
    io_uring_cq_advance(&u->ring, count);
}

static bool call_back(struct uring *u)
{
    struct list now;
    struct list_node *n;
    bool any = false;

    list_init(&now);
    list_splice_back(&now, &u->ready);
    while ((n = list_pop_front(&now)) != NULL) {
        struct io_op *const op = CONTAINER_OF(n, struct io_op, link);
        op->in_flight = false;
        u->in_flight--;
        u->base.stats.ops++;
        op->done(op); /* op may be gone. */
        any = true;
    }
    return any;
}

/* Fires what is due, but not what was armed meanwhile: that would never end. */
static bool fire_timers(struct uring *u)
{
    const uint64_t armed_before = u->timers.sequence_next;
    struct io_timer *t;
    bool any = false;

    while ((t = timer_heap_peek(&u->timers)) != NULL && t->sequence < armed_before &&
           timer_heap_pop_due(&u->timers, u->base.now_ns) != NULL) {
        u->base.stats.timers++;
        t->fire(t); /* t may be gone. */
        any = true;
    }
    return any;
}

static void uring_defer(struct reactor *r, struct io_task *task)
{
    struct uring *const u = uring_of(r);
    list_push_back(u->running == task ? &u->tasks_next : &u->tasks, &task->link);
}

/* Runs tasks and what they defer, up to a bound, so that two that defer each other end too. */
static bool run_tasks(struct uring *u)
{
    unsigned count = 0;
    struct list_node *n;

    while (count < URING_TASKS_TURN_MAX && (n = list_pop_front(&u->tasks)) != NULL) {
        u->running = CONTAINER_OF(n, struct io_task, link);
        u->running->run(u->running); /* The task may be gone. */
        count++;
    }
    u->running = NULL;
    list_splice_back(&u->tasks, &u->tasks_next);
    return count > 0;
}

static void turn(struct uring *u)
{
    reap(u);
    u->base.now_ns = clock_read(CLOCK_BOOTTIME);

    bool any = call_back(u);
    any |= fire_timers(u);
    any |= deliver_messages(u);
    any |= run_tasks(u);
    u->base.stats.turns += any;

    wake_others(u);
    uring_op_flush_backlog(u);
    arm_wake(u);
}

/* ---- Between two turns: submit, spin, sleep ---- */

/* How long the loop may wait: 0 with work at hand, UINT64_MAX for ever. */
static uint64_t wait_max_ns(const struct uring *u)
{
    if (!list_empty(&u->ready) || !list_empty(&u->tasks) || !list_empty(&u->backlog) ||
        !list_empty(&u->cancels) || !u->wake_armed)
        return 0;
    const struct io_timer *const t = timer_heap_peek(&u->timers);
    if (t == NULL)
        return UINT64_MAX;
    const uint64_t now_ns = clock_read(CLOCK_BOOTTIME);
    return t->deadline_ns > now_ns ? t->deadline_ns - now_ns : 0;
}

bool uring_is_called(const struct uring *u)
{
    return atomic_load(&u->inbox) != NULL || atomic_load(&u->stop);
}

static void sleep_for(struct uring *u, uint64_t timeout_ns)
{
    atomic_store(&u->sleeping, true);
    if (uring_is_called(u)) {
        atomic_store(&u->sleeping, false);
        uring_submit(u);
        return;
    }
    u->base.stats.sleeps++;
    const uint64_t from_ns = uring_spin_learns(u) ? clock_read(CLOCK_BOOTTIME) : 0;
    uring_submit_and_wait(u, timeout_ns);
    atomic_store(&u->sleeping, false);
    if (uring_spin_learns(u))
        uring_spin_slept(u, clock_read(CLOCK_BOOTTIME) - from_ns);
}

/* Everything is submitted and, where possible, waited for in the same system call. */
static void submit_and_wait(struct uring *u)
{
    const uint64_t timeout_ns = wait_max_ns(u);
    const uint64_t spin_ns = min_u64(uring_spin_ns(u), timeout_ns);

    if (timeout_ns == 0 || spin_ns > 0)
        uring_submit(u);
    if (timeout_ns == 0)
        return;
    if (spin_ns > 0 && uring_spin(u, spin_ns)) {
        uring_submit(u); /* Lets the kernel's pending work make the completion. */
        return;
    }
    sleep_for(u, wait_max_ns(u));
}

static void uring_run(struct reactor *r)
{
    struct uring *const u = uring_of(r);

    atomic_store_explicit(&u->owner, pthread_self(), memory_order_relaxed);
    atomic_store_explicit(&u->ownerless, false, memory_order_relaxed);
    uring_ring_enter_thread(u);
    arm_wake(u);
    while (!atomic_load(&u->stop)) {
        turn(u);
        if (!atomic_load(&u->stop))
            submit_and_wait(u);
    }
    atomic_store(&u->stop, false);
    uring_ring_leave_thread(u);
    atomic_store_explicit(&u->ownerless, true, memory_order_release);
}

/* ---- Life ---- */

static void uring_timer_arm(struct reactor *r, struct io_timer *t)
{
    timer_heap_insert(&uring_of(r)->timers, t);
}

static void uring_timer_disarm(struct reactor *r, struct io_timer *t)
{
    timer_heap_remove(&uring_of(r)->timers, t);
}

static void uring_destroy(struct reactor *r)
{
    struct uring *const u = uring_of(r);

    assert(u->in_flight == 0);
    assert(list_empty(&u->tasks));
    assert(timer_heap_peek(&u->timers) == NULL);
    assert(atomic_load(&u->inbox) == NULL);

    uring_ring_destroy(u);
    close(u->wake_fd);
    free(u);
}

static const struct reactor_ops uring_ops = {
    .run = uring_run,
    .stop = uring_stop,
    .destroy = uring_destroy,
    .is_current = uring_is_current,
    .clock_ns = uring_clock_ns,
    .wall_ns = uring_wall_ns,
    .random = uring_random,
    .boot_id = uring_boot_id,
    .defer = uring_defer,
    .timer_arm = uring_timer_arm,
    .timer_disarm = uring_timer_disarm,
    .post = uring_post,
    .send = uring_send,
    .lend_memory = uring_buf_lend,
    .take_back_memory = uring_buf_take_back,
    .start = uring_op_start,
    .cancel = uring_op_cancel,
    .file_open = uring_file_open,
    .file_bytes = uring_file_bytes,
    .listen = uring_listen,
    .peer_addr = uring_peer_addr,
    .local_addr = uring_local_addr,
    .fd_release = uring_fd_release,
    .fd_adopt = uring_fd_adopt,
    .shutdown = uring_fd_shutdown,
    .close = uring_fd_close,
};

static void init_lists(struct uring *u)
{
    list_init(&u->ready);
    list_init(&u->backlog);
    list_init(&u->cancels);
    list_init(&u->tasks);
    list_init(&u->tasks_next);
    timer_heap_init(&u->timers);
}

static struct status MUST_CHECK init_kernel(struct uring *u, const struct uring_config *config)
{
    const unsigned entries = config->entries != 0 ? config->entries : URING_ENTRIES_DEFAULT;

    TRY(boot_id_read(&u->boot_id));
    /* A descriptor that blocks: the ring waits on it, where one that does not would fail. */
    u->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (u->wake_fd < 0)
        return status_from_errno(errno);
    const struct status st =
        uring_ring_create(u, entries, URING_FEATURES_ALL & ~config->features_mask);
    if (!status_ok(st))
        close(u->wake_fd);
    return st;
}

struct status uring_reactor_create(const struct uring_config *config, struct reactor **out_reactor)
{
    struct uring *const u = calloc(1, sizeof *u);
    if (u == NULL)
        return STATUS(NO_MEMORY);

    init_lists(u);
    u->spin_ns = config->spin_ns;
    atomic_init(&u->owner, pthread_self());
    u->base = (struct reactor) {
        .ops = &uring_ops,
        .log = config->log,
        .index = config->index,
        .now_ns = clock_read(CLOCK_BOOTTIME),
    };
    const struct status st = init_kernel(u, config);
    if (!status_ok(st)) {
        free(u);
        return st;
    }
    *out_reactor = &u->base;
    return STATUS(OK);
}

uint64_t uring_reactor_features(const struct reactor *r)
{
    return atomic_load_explicit(&CONTAINER_OF(r, const struct uring, base)->features,
                                memory_order_relaxed);
}
