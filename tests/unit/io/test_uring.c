/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "uring_harness.h"

static struct reactor *r;

static int setup(void **state)
{
    (void)state;
    r = harness_reactor();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    reactor_destroy(r);
    return 0;
}

/* The features in use are those that the mask leaves. */
static void features(void **state)
{
    (void)state;
    assert_int_equal(uring_reactor_features(r) & harness_mask, 0);
    if ((harness_mask & URING_FEATURE_FILES) == 0)
        assert_true((uring_reactor_features(r) & URING_FEATURE_FILES) != 0);
}

struct steps {
    struct io_task task;
    struct io_task second;
    struct io_timer timer;
    struct io_msg msg;
    unsigned runs;
    char order[16];
    unsigned count;
    uint64_t fired_at_ns;
    uint64_t turns[4];
};

static void note(struct steps *s, char what)
{
    assert_true(s->count < sizeof s->order - 1);
    s->order[s->count++] = what;
}

static void on_timer_stop(struct io_timer *t)
{
    struct steps *const s = CONTAINER_OF(t, struct steps, timer);
    s->fired_at_ns = reactor_clock_ns(r);
    note(s, 't');
    reactor_stop(r);
}

/* A timer wakes the sleeping loop, not before its deadline and not long after it. */
static void timer_wakes(void **state)
{
    (void)state;
    struct steps s = { 0 };
    io_timer_init(&s.timer, on_timer_stop);
    const uint64_t deadline_ns = reactor_clock_ns(r) + 20 * NS_PER_MS;
    io_timer_arm(&s.timer, r, deadline_ns);
    harness_run(r);
    assert_true(s.fired_at_ns >= deadline_ns);
    assert_true(s.fired_at_ns < deadline_ns + NS_PER_S);
    assert_true(r->stats.sleeps <= 3); /* It slept; it did not poll. */
}

static void second_run(struct io_task *task)
{
    note(CONTAINER_OF(task, struct steps, second), '2');
}

static void first_run(struct io_task *task)
{
    struct steps *const s = CONTAINER_OF(task, struct steps, task);
    note(s, '1');
    s->turns[s->runs] = r->stats.turns;
    if (++s->runs == 3) {
        reactor_stop(r);
        return;
    }
    reactor_defer(r, &s->task);   /* For the next turn. */
    reactor_defer(r, &s->second); /* For this turn. */
    reactor_defer(r, &s->second); /* Once only. */
}

static void on_msg(struct io_msg *msg)
{
    struct steps *const s = CONTAINER_OF(msg, struct steps, msg);
    reactor_defer(r, &s->task);
    note(s, 'm');
}

/* A task runs after the callback that deferred it; others in the same turn, itself in the next. */
static void defer_order(void **state)
{
    (void)state;
    struct steps s = { .msg.deliver = on_msg };
    io_task_init(&s.task, first_run);
    io_task_init(&s.second, second_run);
    reactor_post(r, &s.msg);
    harness_run(r);
    assert_string_equal(s.order, "m12121");
    assert_true(s.turns[1] > s.turns[0]);
    assert_true(s.turns[2] > s.turns[1]);
}

static void on_timer_again(struct io_timer *t)
{
    struct steps *const s = CONTAINER_OF(t, struct steps, timer);
    s->turns[s->runs] = r->stats.turns;
    if (++s->runs == 3)
        reactor_stop(r);
    else
        io_timer_arm(t, r, 0); /* Overdue at once. */
}

/* A timer that arms itself for the past fires once in a turn, so that others get theirs. */
static void timer_of_the_past(void **state)
{
    (void)state;
    struct steps s = { 0 };
    io_timer_init(&s.timer, on_timer_again);
    io_timer_arm(&s.timer, r, 0);
    harness_run(r);
    assert_true(s.turns[0] < s.turns[1]);
    assert_true(s.turns[1] < s.turns[2]);
}

/* A stop before the run ends it at once; the reactor can run again afterwards. */
static void stop_before_run(void **state)
{
    (void)state;
    struct steps s = { 0 };
    reactor_stop(r);
    reactor_run(r);
    io_timer_init(&s.timer, on_timer_stop);
    io_timer_arm(&s.timer, r, reactor_clock_ns(r));
    harness_run(r);
    assert_int_equal(s.count, 1);
}

static void *stop_later(void *arg)
{
    (void)arg;
    const struct timespec a_while = { .tv_nsec = 20 * 1000 * 1000 };
    nanosleep(&a_while, NULL);
    assert_false(reactor_is_current(r));
    reactor_stop(r);
    return NULL;
}

/* Another thread's stop ends a sleeping loop. */
static void stop_from_another_thread(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_later, NULL), 0);
    harness_run(r);
    pthread_join(thread, NULL);
    assert_true(r->stats.sleeps >= 1);
}

/* ---- Messages between reactors ---- */

#define BALLS  64
#define ROUNDS 2000

struct ball {
    struct io_msg msg;
    struct reactor *sides[2];
    unsigned hits;
    atomic_uint *landed;
};

static void on_ball(struct io_msg *msg)
{
    struct ball *const b = CONTAINER_OF(msg, struct ball, msg);
    assert_true(reactor_is_current(b->sides[b->hits % 2]));
    if (++b->hits < ROUNDS) {
        struct reactor *const to = b->sides[b->hits % 2];
        if (b->hits % 3 == 0)
            reactor_post(to, &b->msg);
        else
            reactor_send(b->sides[(b->hits + 1) % 2], to, &b->msg);
        return;
    }
    if (atomic_fetch_add(b->landed, 1) + 1 == BALLS) {
        reactor_stop(b->sides[0]);
        reactor_stop(b->sides[1]);
    }
}

static void *run_thread(void *arg)
{
    reactor_run(arg);
    return NULL;
}

static void play(unsigned balls, uint64_t spin_ns)
{
    static struct ball all[BALLS];
    struct reactor *const a = harness_reactor_with(0, spin_ns);
    struct reactor *const b = harness_reactor_with(0, spin_ns);
    atomic_uint landed = BALLS - balls;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, run_thread, b), 0);
    for (unsigned i = 0; i < balls; i++) {
        all[i] = (struct ball) { .msg.deliver = on_ball, .sides = { a, b }, .landed = &landed };
        reactor_post(a, &all[i].msg);
    }
    harness_run(a);
    pthread_join(thread, NULL);
    assert_int_equal(a->stats.messages + b->stats.messages, (uint64_t)balls * ROUNDS);
    reactor_destroy(a);
    reactor_destroy(b);
}

/* No message and no wake-up is lost between two reactors, under load and one at a time. */
static void messages_under_load(void **state)
{
    (void)state;
    play(BALLS, URING_SPIN_OFF);
}

static void messages_one_at_a_time(void **state)
{
    (void)state;
    play(1, URING_SPIN_OFF);
}

static void messages_while_spinning(void **state)
{
    (void)state;
    play(1, 20 * NS_PER_US);
    play(1, URING_SPIN_AUTO);
}

#define BURST 8

struct burst {
    struct io_timer timer;
    struct io_msg msgs[BURST];
    struct io_msg end;
    struct reactor *from;
    struct reactor *to;
    uint64_t sleeps[BURST]; /* Of the receiver, when each came. */
    unsigned count;
};

static struct burst burst;

static void on_burst(struct io_msg *msg)
{
    (void)msg;
    burst.sleeps[burst.count++] = burst.to->stats.sleeps;
    if (burst.count == BURST)
        reactor_post(burst.from, &burst.end);
}

static void on_burst_end(struct io_msg *msg)
{
    (void)msg;
    reactor_stop(burst.from);
}

/* One turn of the sender that takes its time. */
static void send_burst(struct io_timer *t)
{
    const struct timespec pause = { .tv_nsec = 2000000 };
    (void)t;
    for (unsigned i = 0; i < BURST; i++) {
        burst.msgs[i].deliver = on_burst;
        reactor_send(burst.from, burst.to, &burst.msgs[i]);
        nanosleep(&pause, NULL);
    }
}

/* What a turn sends wakes a sleeping reactor once, when all of it is there. */
static void burst_wakes_once(void **state)
{
    (void)state;
    bool once = false;
    pthread_t thread;

    burst = (struct burst) { .from = r, .to = harness_reactor(), .end.deliver = on_burst_end };
    io_timer_init(&burst.timer, send_burst);
    assert_int_equal(pthread_create(&thread, NULL, run_thread, burst.to), 0);
    /* The receiver may still be awake on a busy machine: another attempt, then. */
    for (unsigned i = 0; i < 20 && !once; i++) {
        burst.count = 0;
        io_timer_arm(&burst.timer, r, reactor_clock_ns(r) + 10 * NS_PER_MS);
        harness_run(r);
        assert_int_equal(burst.count, BURST);
        once = burst.sleeps[0] == burst.sleeps[BURST - 1];
    }
    assert_true(once);
    reactor_stop(burst.to);
    pthread_join(thread, NULL);
    reactor_destroy(burst.to);
}

#define SENDERS      3
#define SENDER_COUNT 5000

struct numbered {
    struct io_msg msg;
    unsigned sender;
    unsigned number;
};

static struct numbered numbered[SENDERS][SENDER_COUNT];
static unsigned next_number[SENDERS];
static unsigned numbered_left;

static void on_numbered(struct io_msg *msg)
{
    const struct numbered *const n = CONTAINER_OF(msg, struct numbered, msg);
    assert_int_equal(n->number, next_number[n->sender]);
    next_number[n->sender]++;
    if (--numbered_left == 0)
        reactor_stop(r);
}

static void *send_numbered(void *arg)
{
    struct numbered *const mine = arg;
    for (unsigned i = 0; i < SENDER_COUNT; i++) {
        reactor_post(r, &mine[i].msg);
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

/* Messages of one thread arrive in the order they were posted, whoever else posts. */
static void messages_in_order(void **state)
{
    (void)state;
    pthread_t threads[SENDERS];
    numbered_left = SENDERS * SENDER_COUNT;
    for (unsigned s = 0; s < SENDERS; s++) {
        next_number[s] = 0;
        for (unsigned i = 0; i < SENDER_COUNT; i++)
            numbered[s][i] =
                (struct numbered) { .msg.deliver = on_numbered, .sender = s, .number = i };
        assert_int_equal(pthread_create(&threads[s], NULL, send_numbered, numbered[s]), 0);
    }
    harness_run(r);
    for (unsigned s = 0; s < SENDERS; s++)
        pthread_join(threads[s], NULL);
}

/* ---- Spinning ---- */

static uint64_t thread_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t idle_cpu_ns(uint64_t spin_ns)
{
    struct reactor *const idle = harness_reactor_with(0, spin_ns);
    struct steps s = { 0 };
    struct reactor *const saved = r;
    r = idle;
    io_timer_init(&s.timer, on_timer_stop);
    io_timer_arm(&s.timer, idle, reactor_clock_ns(idle) + 200 * NS_PER_MS);
    const uint64_t before_ns = thread_cpu_ns();
    harness_run(idle);
    const uint64_t used_ns = thread_cpu_ns() - before_ns;
    r = saved;
    reactor_destroy(idle);
    return used_ns;
}

/* An idle loop costs nothing: neither with spinning off nor with automatic spinning. */
static void idle_costs_nothing(void **state)
{
    (void)state;
    assert_true(idle_cpu_ns(URING_SPIN_OFF) < 10 * NS_PER_MS);
    assert_true(idle_cpu_ns(URING_SPIN_AUTO) < 10 * NS_PER_MS);
    /* The measure can tell: spins as long as the waits use their share of a busy machine. */
    uint64_t spun_ns = 0;
    for (unsigned i = 0; i < 20 && spun_ns <= 20 * NS_PER_MS; i++)
        spun_ns += idle_cpu_ns(NS_PER_S);
    assert_true(spun_ns > 20 * NS_PER_MS);
}

/* Random bytes differ, and the boot's identity does not. */
static void identities(void **state)
{
    (void)state;
    uint8_t a[16] = { 0 };
    uint8_t b[16] = { 0 };
    reactor_random(r, (struct span) { a, sizeof a });
    reactor_random(r, (struct span) { b, sizeof b });
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(uuid_equal(reactor_boot_id(r), reactor_boot_id(r)));
    assert_false(uuid_is_nil(reactor_boot_id(r)));
    assert_true(reactor_wall_ns(r) > UINT64_C(1700000000) * NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(features, setup, teardown),
        cmocka_unit_test_setup_teardown(timer_wakes, setup, teardown),
        cmocka_unit_test_setup_teardown(defer_order, setup, teardown),
        cmocka_unit_test_setup_teardown(timer_of_the_past, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_before_run, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_from_another_thread, setup, teardown),
        cmocka_unit_test(messages_under_load),
        cmocka_unit_test(messages_one_at_a_time),
        cmocka_unit_test(messages_while_spinning),
        cmocka_unit_test_setup_teardown(burst_wakes_once, setup, teardown),
        cmocka_unit_test_setup_teardown(messages_in_order, setup, teardown),
        cmocka_unit_test(idle_costs_nothing),
        cmocka_unit_test_setup_teardown(identities, setup, teardown),
    };
    return HARNESS_RUN_ALL(tests);
}
