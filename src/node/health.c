/* SPDX-License-Identifier: Apache-2.0 */
#include "node/health.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEERS_MAX 256u /* More do not move a median. */

static_assert(HEALTH_LAST_WINDOWS <= 8, "struct health.recent has a bit for each");

const char *health_state_name(enum health_state state)
{
    static const char *const names[] = { [HEALTH_HEALTHY] = "healthy",
                                         [HEALTH_SUSPECT] = "suspect",
                                         [HEALTH_FAILING] = "failing",
                                         [HEALTH_FAILED] = "failed" };
    assert(state >= HEALTH_HEALTHY && state <= HEALTH_FAILED);
    return names[state];
}

void health_init(struct health *h)
{
    *h = (struct health) { .state = HEALTH_HEALTHY };
}

/* ---- Windows ---- */

static void latencies(const struct dev_latency *from, const struct dev_latency *to,
                      uint64_t out_ns[2])
{
    out_ns[0] = dev_latency_ns(from, to, 500000);
    out_ns[1] = dev_latency_ns(from, to, 990000);
}

static void note_errors(struct health *h, const struct dev_load *load, uint64_t now_ns)
{
    if (load->read_errors == h->load.read_errors && load->write_errors == h->load.write_errors)
        return;
    h->has_errors = true;
    h->error_ns = now_ns;
}

void health_window(struct health *h, const struct dev_load *load, uint64_t now_ns, bool paused)
{
    const bool was_taken = h->taken_ns != 0;
    const uint64_t cost_ops = load->cost_ops - h->load.cost_ops;
    struct health_window w = { .ops = load->ops - h->load.ops };

    if (was_taken) {
        w.is_valid = !paused && now_ns - h->taken_ns <= HEALTH_WINDOW_NS_MAX;
        w.slow_ops = load->slow_ops - h->load.slow_ops;
        w.stands_still = load->in_flight > 0 && h->load.in_flight > 0 &&
                         load->progress_ns == h->load.progress_ns;
        if (w.ops >= HEALTH_OPS_MIN)
            w.cost_ns = (load->busy_ns - h->load.busy_ns) / cost_ops;
    }
    latencies(&h->load.reads, &load->reads, w.read_ns);
    latencies(&h->load.writes, &load->writes, w.write_ns);
    note_errors(h, load, now_ns);
    h->still_windows = w.is_valid && w.stands_still ? h->still_windows + 1 : 0;
    h->window = w;
    h->load = *load;
    h->taken_ns = now_ns;
}

/* ---- Peers ---- */

struct peers {
    unsigned count;     /* With a cost. */
    uint64_t median_ns; /* Of their costs. */
    unsigned active;    /* With any I/O. */
    unsigned with_slow; /* Of these, with slow I/Os. */
    unsigned moving;    /* Of these, not standing still. */
};

static bool are_peers(const struct health_facts *a, const struct health_facts *b)
{
    return a->is_rotational == b->is_rotational && strcmp(a->kind, b->kind) == 0;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static struct peers peers_of(const struct health_subject *disks, unsigned count, unsigned index)
{
    uint64_t costs[PEERS_MAX];
    struct peers p = { 0 };

    for (unsigned i = 0; i < count; i++) {
        const struct health_window *w = &disks[i].health->window;
        if (i == index || !w->is_valid || !are_peers(&disks[i].facts, &disks[index].facts))
            continue;
        if (w->cost_ns > 0 && p.count < PEERS_MAX)
            costs[p.count++] = w->cost_ns;
        p.active += w->ops > 0 || w->stands_still;
        p.with_slow += w->slow_ops > 0;
        p.moving += w->ops > 0;
    }
    if (p.count > 0) {
        qsort(costs, p.count, sizeof costs[0], by_size);
        p.median_ns = costs[(p.count - 1) / 2];
    }
    return p;
}

/* ---- Slow ---- */

static bool cost_is_high(const struct health *h, const struct peers *p, bool is_rotational)
{
    const uint64_t cost_ns = h->window.cost_ns;
    const uint64_t own_times = p->count > 0 ? HEALTH_TIMES_OWN : HEALTH_TIMES_OWN_ALONE;
    const bool own_is_known = h->own_windows >= HEALTH_OWN_WINDOWS;

    if (cost_ns <= (is_rotational ? HEALTH_COST_ROTATING_NS : HEALTH_COST_NS))
        return false;
    if (p->count > 0 && cost_ns <= HEALTH_TIMES_PEERS * p->median_ns)
        return false;
    return (own_is_known && cost_ns > own_times * h->own_cost_ns) ||
           (p->count >= 2 && cost_ns > HEALTH_TIMES_PEERS_ALONE * p->median_ns);
}

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

/* Whether the window was slow, and why. */
static bool window_is_slow(const struct health *h, const struct peers *p, bool is_rotational,
                           char reason[HEALTH_REASON_BYTES])
{
    const struct health_window *w = &h->window;

    if (cost_is_high(h, p, is_rotational)) {
        if (p->count > 0)
            snprintf(reason, HEALTH_REASON_BYTES,
                     "an I/O takes %.1f ms of its time, and %.1f ms of that of disks like it",
                     ms(w->cost_ns), ms(p->median_ns));
        else
            snprintf(reason, HEALTH_REASON_BYTES,
                     "an I/O takes %.1f ms of its time, and took %.1f ms before", ms(w->cost_ns),
                     ms(h->own_cost_ns));
        return true;
    }
    if (w->slow_ops < HEALTH_SLOW_OPS || 2 * p->with_slow > p->active)
        return false;
    snprintf(reason, HEALTH_REASON_BYTES,
             "%llu of %llu I/Os within 10 s took longer than %.0f ms for each that was under way",
             (unsigned long long)w->slow_ops, (unsigned long long)w->ops,
             ms(is_rotational ? DEV_SLOW_ROTATING_NS : DEV_SLOW_NS));
    return true;
}

static void average(struct health *h)
{
    const uint64_t cost_ns = h->window.cost_ns;

    if (h->own_windows < 64)
        h->own_windows++;
    if (cost_ns >= h->own_cost_ns)
        h->own_cost_ns += (cost_ns - h->own_cost_ns) / h->own_windows;
    else
        h->own_cost_ns -= (h->own_cost_ns - cost_ns) / h->own_windows;
}

static bool stands_still(const struct health *h, const struct peers *p, bool is_rotational)
{
    const unsigned windows = is_rotational ? HEALTH_STILL_WINDOWS_ROTATING : 1;

    return h->still_windows >= windows && (p->active == 0 || p->moving > 0);
}

/* The window into the last ones; slow is as they say then. */
static void take_window(struct health *h, const struct peers *p, bool is_rotational)
{
    const unsigned mask = (1u << HEALTH_LAST_WINDOWS) - 1;
    char reason[HEALTH_REASON_BYTES] = "";

    if (stands_still(h, p, is_rotational)) {
        h->slow = true;
        h->good_windows = 0;
        snprintf(h->slow_reason, sizeof h->slow_reason, "no I/O has ended for %u s",
                 (unsigned)(h->still_windows * (HEALTH_WINDOW_NS / NS_PER_S)));
        return;
    }
    const bool is_slow = window_is_slow(h, p, is_rotational, reason);
    h->recent = (uint8_t)(((unsigned)h->recent << 1 | (is_slow ? 1u : 0u)) & mask);
    if (is_slow) {
        memcpy(h->slow_reason, reason, sizeof reason);
        h->good_windows = 0;
    } else if (h->window.cost_ns > 0) { /* Others say nothing. */
        average(h);
        h->good_windows++;
    }
    if ((unsigned)__builtin_popcount(h->recent) >= HEALTH_SLOW_WINDOWS)
        h->slow = true;
    else if (h->good_windows >= HEALTH_GOOD_WINDOWS)
        h->slow = false;
}

/* ---- The state ---- */

static void decide(struct health *h, enum health_state state, const char *reason)
{
    h->state = state;
    snprintf(h->reason, sizeof h->reason, "%s", reason);
}

static void decide_errors(struct health *h)
{
    const unsigned places = dev_load_places(&h->load);
    char reason[HEALTH_REASON_BYTES];

    if (h->load.read_errors > 0)
        snprintf(reason, sizeof reason, "reads have failed in %u place%s of its medium", places,
                 places == 1 ? "" : "s");
    else
        snprintf(reason, sizeof reason, "%llu block%s failed %s checksum",
                 (unsigned long long)h->media_errors, h->media_errors == 1 ? "" : "s",
                 h->media_errors == 1 ? "its" : "their");
    decide(h, places >= HEALTH_PLACES_FAILING ? HEALTH_FAILING : HEALTH_SUSPECT, reason);
}

/* The worst of what is known, and the first of those that are equal. */
static void decide_all(struct health *h, const struct health_facts *f, uint64_t now_ns)
{
    const bool recent_errors = h->has_errors && now_ns - h->error_ns < HEALTH_ERRORS_NS;
    const bool many_places = dev_load_places(&h->load) >= HEALTH_PLACES_FAILING;

    if (f->failure[0] != '\0')
        decide(h, HEALTH_FAILED, f->failure);
    else if (f->failing[0] != '\0')
        decide(h, HEALTH_FAILING, f->failing);
    else if (f->log != NULL && f->log->failing[0] != '\0')
        decide(h, HEALTH_FAILING, f->log->failing);
    else if (many_places || recent_errors)
        decide_errors(h);
    else if (f->log != NULL && f->log->suspect[0] != '\0')
        decide(h, HEALTH_SUSPECT, f->log->suspect);
    else if (h->slow)
        decide(h, HEALTH_SUSPECT, h->slow_reason);
    else
        decide(h, HEALTH_HEALTHY, "");
}

void health_judge(const struct health_subject *disks, unsigned count, uint64_t now_ns)
{
    for (unsigned i = 0; i < count; i++) {
        struct health *h = disks[i].health;
        const struct health_facts *f = &disks[i].facts;
        const struct peers p = peers_of(disks, count, i);
        if (f->media_errors != h->media_errors) {
            h->media_errors = f->media_errors;
            h->error_ns = now_ns;
            h->has_errors = true;
        }
        if (h->window.is_valid)
            take_window(h, &p, f->is_rotational);
        decide_all(h, f, now_ns);
    }
}
