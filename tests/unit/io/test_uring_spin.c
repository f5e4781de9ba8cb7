/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a loop spins instead of sleeping: uring_spin.c on a clock and a ring that are made up, and
 * at the end on the kernel's.
 */
#include "io/backend.h"
#include "io/uring_internal.h"
#include "uring_harness.h"

#define SHORT_NS   (5 * NS_PER_US) /* A sleep that spinning would have saved; too short to yield. */
#define LONG_NS    NS_PER_MS
#define SPIN_NS    (50 * NS_PER_US) /* docs/io.md: how long --spin auto looks for work. */
#define LEARN_MAX  32               /* So many sleeps are enough to learn from. */
#define FORGET_MAX 3                /* So many spins in vain are borne. */

/* ---- A made-up ring ---- */

static struct uring loop;
static unsigned cq_head, cq_tail, sq_flags;
static uint64_t clock_ns, step_ns; /* Each look at the clock takes a step. */
static uint64_t news_at_ns;        /* Then a completion is there. */
static uint64_t looks;

static uint64_t fake_clock_ns(const struct reactor *r)
{
    (void)r;
    looks++;
    clock_ns += step_ns;
    if (clock_ns >= news_at_ns)
        cq_tail = cq_head + 1;
    return clock_ns;
}

static const struct reactor_ops fake_ops = { .clock_ns = fake_clock_ns };

static int setup(void **state)
{
    (void)state;
    memset(&loop, 0, sizeof loop);
    loop.base.ops = &fake_ops;
    loop.ring.cq.khead = &cq_head;
    loop.ring.cq.ktail = &cq_tail;
    loop.ring.sq.kflags = &sq_flags;
    loop.spin_ns = URING_SPIN_AUTO;
    cq_head = cq_tail = 0;
    step_ns = NS_PER_US;
    return 0;
}

/* One wait of the loop for what comes after so long; true if it had to sleep. */
static bool waits(uint64_t ns)
{
    const uint64_t from_ns = clock_ns;
    const uint64_t spin_ns = uring_spin_ns(&loop);

    news_at_ns = from_ns + ns;
    cq_head = cq_tail;
    if (spin_ns > 0 && uring_spin(&loop, spin_ns))
        return false;
    const uint64_t slept_ns = news_at_ns > clock_ns ? news_at_ns - clock_ns : 0;
    clock_ns += slept_ns;
    uring_spin_slept(&loop, slept_ns);
    return true;
}

/* How many of these waits are sleeps. */
static unsigned sleeps_of(unsigned count, uint64_t ns)
{
    unsigned sleeps = 0;

    for (unsigned i = 0; i < count; i++)
        sleeps += waits(ns) ? 1 : 0;
    return sleeps;
}

/* Time that was spun away in so many waits. */
static uint64_t spun_ns(unsigned count, uint64_t ns)
{
    const uint64_t looks_before = looks;
    (void)sleeps_of(count, ns);
    return (looks - looks_before) * step_ns;
}

/* Work that comes back to back costs no sleep, and no call, once that is learnt. */
static void short_waits_are_spun(void **state)
{
    (void)state;
    assert_int_equal(uring_spin_ns(&loop), 0); /* Nothing is known yet. */
    assert_in_range(sleeps_of(LEARN_MAX, SHORT_NS), 2, LEARN_MAX - 1);
    loop.base.stats.syscalls = 0;
    assert_int_equal(sleeps_of(1000, SHORT_NS), 0);
    assert_int_equal(loop.base.stats.syscalls, 0);
    assert_int_equal(sleeps_of(10, SPIN_NS - 5 * NS_PER_US), 0);
}

/* A completion that is there, the kernel's work that makes one, a message and a stop end a spin. */
static void all_news_end_a_spin(void **state)
{
    struct io_msg msg = { 0 };

    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        news_at_ns = UINT64_MAX;
        cq_head = cq_tail;
        (void)setup(NULL);
        assert_false(uring_spin(&loop, SPIN_NS));
        sq_flags = kind == 0 ? IORING_SQ_TASKRUN : 0;
        atomic_store(&loop.inbox, kind == 1 ? &msg : NULL);
        atomic_store(&loop.stop, kind == 2);
        looks = 0;
        assert_true(uring_spin(&loop, SPIN_NS));
        assert_in_range(looks, 0, 1);
        sq_flags = 0;
    }
}

/* When what comes takes longer, a few spins are lost, of 50 us at most, and then none. */
static void long_waits_are_not(void **state)
{
    (void)state;
    (void)sleeps_of(1000, SHORT_NS);
    assert_int_equal(sleeps_of(1, SHORT_NS), 0);
    assert_in_range(spun_ns(1000, 2 * SPIN_NS), NS_PER_US, FORGET_MAX * (SPIN_NS + 2 * step_ns));
    assert_int_equal(uring_spin_ns(&loop), 0);
    /* One that is short among them is no reason. */
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(waits(SHORT_NS));
        assert_true(waits(LONG_NS));
    }
}

/* One that is long among many that are short does not make it start anew. */
static void most_decide(void **state)
{
    unsigned sleeps = 0;

    (void)state;
    (void)sleeps_of(LEARN_MAX, SHORT_NS);
    for (unsigned i = 0; i < 50; i++) {
        sleeps += sleeps_of(24, SHORT_NS);
        assert_true(waits(LONG_NS));
    }
    assert_in_range(sleeps, 0, 24 * 50 / 4);
}

/* An idle loop looks at nothing: from the start, and after whatever it has done before. */
static void never_when_idle(void **state)
{
    (void)state;
    assert_int_equal(spun_ns(1000, NS_PER_S), 0);
    (void)sleeps_of(10000, SHORT_NS); /* What is learnt does not add up. */
    assert_in_range(spun_ns(FORGET_MAX, NS_PER_S), 0, FORGET_MAX * (SPIN_NS + 2 * step_ns));
    assert_int_equal(spun_ns(1000, NS_PER_S), 0);
    assert_int_equal(sleeps_of(1000, NS_PER_S), 1000);
}

/* The core is offered to others while it spins, though not all the time. */
static void the_core_is_offered(void **state)
{
    (void)state;
    (void)sleeps_of(LEARN_MAX, SHORT_NS);
    loop.base.stats.syscalls = 0;
    assert_true(waits(LONG_NS));
    assert_in_range(loop.base.stats.syscalls, 2, 5);
}

/* Where somebody takes it, the spin ends at once, and there is none for a while. */
static void who_wants_the_core_gets_it(void **state)
{
    (void)state;
    (void)sleeps_of(LEARN_MAX, SHORT_NS);
    step_ns = 20 * NS_PER_US; /* Away for so long between two looks. */
    looks = 0;
    assert_true(waits(LONG_NS));
    assert_in_range(looks, 1, 2);
    step_ns = NS_PER_US;
    assert_int_equal(sleeps_of(1000, SHORT_NS), 1000);
    assert_in_range(sleeps_of(10000, SHORT_NS), 1000, 9999); /* It comes back. */
    assert_int_equal(sleeps_of(1000, SHORT_NS), 0);
}

/* A length that was asked for is kept to, whatever comes of it; off is off. */
static void a_fixed_spin_learns_nothing(void **state)
{
    (void)state;
    loop.spin_ns = 20 * NS_PER_US;
    for (unsigned i = 0; i < 100; i++) {
        const uint64_t spun = spun_ns(1, LONG_NS);
        assert_in_range(spun, 20 * NS_PER_US, 20 * NS_PER_US + 2 * step_ns);
        assert_int_equal(uring_spin_ns(&loop), 20 * NS_PER_US);
    }
    assert_int_equal(loop.base.stats.syscalls, 0);
    assert_false(waits(SHORT_NS));
    loop.spin_ns = URING_SPIN_OFF;
    assert_int_equal(sleeps_of(1000, SHORT_NS), 1000);
    assert_int_equal(uring_spin_ns(&loop), 0);
}

/* ---- The kernel's ring ---- */

#define HITS       1000
#define SLEEPS_MAX 20000

static struct reactor *real;
static struct reactor_ops real_ops; /* As its own, but for the clock of its spins. */
static struct io_msg hit;
static struct io_timer timer;
static unsigned hits, timers;

static int setup_real(void **state)
{
    (void)setup(state);
    real = harness_reactor_with(0, URING_SPIN_AUTO);
    hits = timers = 0;
    looks = 0;
    return 0;
}

static int teardown_real(void **state)
{
    (void)state;
    reactor_destroy(real);
    return 0;
}

/* A message comes while the loop spins, at its third look at the clock. */
static uint64_t hit_the_spinning(const struct reactor *r)
{
    (void)r;
    if (++looks % 3 == 0)
        reactor_post(real, &hit);
    return clock_ns += step_ns;
}

static uint64_t count_looks(const struct reactor *r)
{
    (void)r;
    looks++;
    return clock_ns += step_ns;
}

static void use_clock(uint64_t (*clock)(const struct reactor *r))
{
    real_ops = *real->ops;
    real_ops.clock_ns = clock;
    real->ops = &real_ops;
}

static void on_hit(struct io_msg *msg)
{
    (void)msg;
    if (++hits == HITS)
        reactor_stop(real);
}

static void learn_short_sleeps(void)
{
    for (unsigned i = 0; i < LEARN_MAX; i++)
        uring_spin_slept(uring_of(real), SHORT_NS);
}

/* A loop that has learnt it spins: what comes then costs neither a sleep nor a call. */
static void a_loop_that_spins_makes_no_calls(void **state)
{
    struct harness_watchdog dog;

    (void)state;
    learn_short_sleeps();
    io_timer_init(&dog.timer, harness_bark); /* One that sleeps is hit no more. */
    io_timer_arm(&dog.timer, real, reactor_clock_ns(real) + 10 * NS_PER_S);
    use_clock(hit_the_spinning);
    hit.deliver = on_hit;
    reactor_post(real, &hit);
    const uint64_t calls_before = real->stats.syscalls;
    reactor_run(real);
    io_timer_disarm(&dog.timer);
    assert_int_equal(real->stats.messages, HITS);
    assert_int_equal(real->stats.sleeps, 0);
    assert_in_range(real->stats.syscalls - calls_before, 0, 2); /* The first arms the wake-up. */
    assert_in_range(looks, 3 * (HITS - 1), 3 * HITS);
}

static void on_long_timer(struct io_timer *t)
{
    if (++timers == 8)
        reactor_stop(real);
    else
        io_timer_arm(t, real, reactor_now_ns(real) + 2 * NS_PER_MS);
}

/* Sleeps that are long teach it not to. */
static void a_loop_stops_when_it_is_idle(void **state)
{
    (void)state;
    learn_short_sleeps();
    io_timer_init(&timer, on_long_timer);
    io_timer_arm(&timer, real, reactor_clock_ns(real) + 2 * NS_PER_MS);
    use_clock(count_looks);
    reactor_run(real);
    assert_in_range(looks, 1, FORGET_MAX * (SPIN_NS / step_ns + 2));
    assert_int_equal(uring_spin_ns(uring_of(real)), 0);
    assert_in_range(real->stats.sleeps, 4, 8); /* More than once a spin was no use. */
}

static void on_short_timer(struct io_timer *t)
{
    if (uring_spin_ns(uring_of(real)) > 0 || real->stats.sleeps > SLEEPS_MAX)
        reactor_stop(real);
    else
        io_timer_arm(t, real, reactor_clock_ns(real) + 5 * NS_PER_US);
}

/* Sleeps that are short teach it to spin. */
static void a_loop_learns_to_spin(void **state)
{
    (void)state;
    io_timer_init(&timer, on_short_timer);
    io_timer_arm(&timer, real, reactor_clock_ns(real) + 5 * NS_PER_US);
    harness_run(real);
    assert_in_range(real->stats.sleeps, 2, SLEEPS_MAX);
    assert_in_range(uring_spin_ns(uring_of(real)), 1, SPIN_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(short_waits_are_spun, setup),
        cmocka_unit_test_setup(all_news_end_a_spin, setup),
        cmocka_unit_test_setup(long_waits_are_not, setup),
        cmocka_unit_test_setup(most_decide, setup),
        cmocka_unit_test_setup(never_when_idle, setup),
        cmocka_unit_test_setup(the_core_is_offered, setup),
        cmocka_unit_test_setup(who_wants_the_core_gets_it, setup),
        cmocka_unit_test_setup(a_fixed_spin_learns_nothing, setup),
        cmocka_unit_test_setup_teardown(a_loop_that_spins_makes_no_calls, setup_real,
                                        teardown_real),
        cmocka_unit_test_setup_teardown(a_loop_stops_when_it_is_idle, setup_real, teardown_real),
        cmocka_unit_test_setup_teardown(a_loop_learns_to_spin, setup_real, teardown_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
