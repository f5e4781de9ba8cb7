/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spinning instead of sleeping.  It saves the wake-up, and is worth it only while the next event
 * comes within about the time that a wake-up takes, and while nobody else wants the core:
 *
 *   short sleeps earn credit --> enough credit: spin --> something came: more credit
 *                                     |  |
 *                nothing came: half of it  the core was wanted: none, and a pause
 *
 * An idle loop has no credit left after a few sleeps, and spins no more.
 */
#include <sched.h>

#include "io/uring_internal.h"

#define SPIN_CHECKS_PER_CLOCK 32               /* A look costs a nanosecond, a clock thirty. */
#define SPIN_AUTO_NS          (50 * NS_PER_US) /* Some times what a wake-up costs. */
#define SPIN_YIELD_NS         (10 * NS_PER_US) /* Between two offers of the core to others. */
#define SPIN_STOLEN_NS        (10 * NS_PER_US) /* Away for so long: another thread has run. */
#define SPIN_CREDIT_NEEDED    8
#define SPIN_CREDIT_MAX       16
#define SPIN_PAUSE_SLEEPS     4096 /* A tenth of a second, or more, of a busy loop. */

uint64_t uring_spin_ns(const struct uring *u)
{
    if (!uring_spin_learns(u))
        return u->spin_ns;
    return u->spin_credit >= SPIN_CREDIT_NEEDED ? SPIN_AUTO_NS : 0;
}

static void learn(struct uring *u, bool would_have_paid)
{
    if (u->spin_pause > 0)
        u->spin_pause--;
    else if (would_have_paid)
        u->spin_credit += u->spin_credit < SPIN_CREDIT_MAX;
    else
        u->spin_credit /= 2;
}

void uring_spin_slept(struct uring *u, uint64_t slept_ns)
{
    learn(u, slept_ns < SPIN_AUTO_NS);
}

/* Whether a turn has something to do: a completion, work of the kernel that makes one, a call. */
static bool has_news(const struct uring *u)
{
    return io_uring_cq_ready(&u->ring) > 0 || uring_wants_enter(u) || uring_is_called(u);
}

static void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool look_for_news(const struct uring *u)
{
    for (unsigned i = 0; i < SPIN_CHECKS_PER_CLOCK; i++) {
        if (has_news(u))
            return true;
        cpu_pause();
    }
    return false;
}

/* A spin of a length that was asked for: nobody but the operator has a say in it. */
static bool spin_fixed(const struct uring *u, uint64_t spin_ns)
{
    const uint64_t end_ns = reactor_clock_ns(&u->base) + spin_ns;

    do {
        if (look_for_news(u))
            return true;
    } while (reactor_clock_ns(&u->base) < end_ns);
    return false;
}

/*
 * Offers the core now and then.  Where another thread takes it, or has taken it without being
 * offered, spinning costs more than it saves: that thread may be the one that is waited for.
 */
static bool spin_politely(struct uring *u, uint64_t spin_ns)
{
    uint64_t now_ns = reactor_clock_ns(&u->base);
    const uint64_t end_ns = now_ns + spin_ns;
    uint64_t yield_ns = now_ns + SPIN_YIELD_NS;

    while (now_ns < end_ns) {
        if (look_for_news(u))
            return true;
        if (now_ns >= yield_ns) {
            sched_yield();
            u->base.stats.syscalls++;
            yield_ns = now_ns + SPIN_YIELD_NS;
        }
        const uint64_t then_ns = now_ns;
        now_ns = reactor_clock_ns(&u->base);
        if (now_ns - then_ns > SPIN_STOLEN_NS) {
            u->spin_credit = 0;
            u->spin_pause = SPIN_PAUSE_SLEEPS;
            return has_news(u);
        }
    }
    return false;
}

bool uring_spin(struct uring *u, uint64_t spin_ns)
{
    if (!uring_spin_learns(u))
        return spin_fixed(u, spin_ns);

    const bool paid = spin_politely(u, spin_ns);
    learn(u, paid);
    return paid;
}
