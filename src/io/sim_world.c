/* SPDX-License-Identifier: Apache-2.0 */
/* Time, events, the trace, and machines. */
#include "io/sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "io/sim_internal.h"

#define WALL_START_NS UINT64_C(1800000000000000000) /* In 2027. */

struct sim_alloc {
    struct list_node link;
    _Alignas(16) uint8_t memory[];
};

struct sim_after {
    struct sim_event event;
    struct list_node link;
    struct sim_world *world;
    void (*fn)(void *ctx);
    void *ctx;
};

static const struct sim_net net_default = {
    .latency_min_ns = 5 * NS_PER_US,
    .latency_max_ns = 100 * NS_PER_US,
    .patience_ns = 60 * NS_PER_S,
    .connect_wait_ns = 10 * NS_PER_S,
};

/* ---- The heap of events: a binary heap of pointers, slots counted from 1 ---- */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
    if (a->at_ns != b->at_ns)
        return a->at_ns < b->at_ns;
    return a->order < b->order;
}

static void heap_put(struct sim_world *w, size_t slot, struct sim_event *event)
{
    w->heap[slot] = event;
    event->slot = slot;
}

static void heap_up(struct sim_world *w, size_t slot)
{
    struct sim_event *const event = w->heap[slot];

    while (slot > 1 && event_before(event, w->heap[slot / 2])) {
        heap_put(w, slot, w->heap[slot / 2]);
        slot /= 2;
    }
    heap_put(w, slot, event);
}

static void heap_down(struct sim_world *w, size_t slot)
{
    struct sim_event *const event = w->heap[slot];

    for (;;) {
        size_t child = slot * 2;
        if (child > w->heap_count)
            break;
        if (child < w->heap_count && event_before(w->heap[child + 1], w->heap[child]))
            child++;
        if (!event_before(w->heap[child], event))
            break;
        heap_put(w, slot, w->heap[child]);
        slot = child;
    }
    heap_put(w, slot, event);
}

static void heap_grow(struct sim_world *w)
{
    struct sim_reactor *const before = sim_enter(w, NULL);
    w->heap_capacity = w->heap_capacity == 0 ? 256 : w->heap_capacity * 2;
    w->heap = realloc(w->heap, (w->heap_capacity + 1) * sizeof(struct sim_event *));
    assert(w->heap != NULL);
    sim_enter(w, before);
}

void sim_event_cancel(struct sim_world *w, struct sim_event *event)
{
    const size_t slot = event->slot;

    if (slot == 0)
        return;
    event->slot = 0;
    struct sim_event *const last = w->heap[w->heap_count--];
    if (last == event)
        return;
    heap_put(w, slot, last);
    heap_up(w, slot);
    heap_down(w, last->slot);
}

void sim_event_at(struct sim_world *w, struct sim_event *event, uint64_t at_ns)
{
    sim_event_cancel(w, event);
    if (w->heap_count == w->heap_capacity)
        heap_grow(w);
    event->at_ns = max_u64(at_ns, w->now_ns);
    event->order = rng_u64(&w->rng);
    heap_put(w, ++w->heap_count, event);
    heap_up(w, w->heap_count);
}

bool sim_world_step(struct sim_world *w)
{
    assert(w->current == NULL);
    if (w->heap_count == 0)
        return false;
    struct sim_event *const event = w->heap[1];
    sim_event_cancel(w, event);
    assert(event->at_ns >= w->now_ns);
    w->now_ns = event->at_ns;
    w->events++;
    event->run(event); /* It may be gone. */
    return true;
}

void sim_world_run(struct sim_world *w, uint64_t for_ns)
{
    const uint64_t until_ns = w->now_ns + for_ns;

    while (w->heap_count > 0 && w->heap[1]->at_ns <= until_ns)
        sim_world_step(w);
    w->now_ns = until_ns;
}

/* ---- Randomness and the trace ---- */

uint64_t sim_between(struct sim_world *w, uint64_t low, uint64_t high)
{
    assert(low <= high);
    return low + rng_below(&w->rng, high - low + 1);
}

bool sim_chance(struct sim_world *w, uint64_t one_in)
{
    return one_in > 0 && rng_one_in(&w->rng, one_in);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash ^= value;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

/* "machine/process.reactor" of what runs now. */
static void trace_line(struct sim_world *w, const char *tag, const char *text)
{
    char line[LOG_LINE_BYTES + 160];
    const struct sim_reactor *const r = w->current;

    if (r == NULL)
        snprintf(line, sizeof line, "%13.6f  -  %-12s %s", (double)w->now_ns / 1e9, tag, text);
    else
        snprintf(line, sizeof line, "%13.6f  %s/%s.%u  %-12s %s", (double)w->now_ns / 1e9,
                 r->process->machine->name, r->process->name, r->base.index, tag, text);
    w->config.trace(w->config.trace_ctx, line);
}

static void trace_hash_text(struct sim_world *w, const char *text)
{
    w->hash = mix(w->hash, sim_digest((struct const_span) { (const uint8_t *)text, strlen(text) }));
}

uint64_t sim_digest(struct const_span bytes)
{
    uint64_t digest = bytes.bytes;

    /* Most are a tag, or a segment of a few bytes: a call of the vector code costs far more. */
    if (bytes.bytes > 64)
        return crc32c(bytes.at, bytes.bytes);
    for (size_t i = 0; i < bytes.bytes; i++)
        digest = digest * UINT64_C(0x100000001b3) + bytes.at[i];
    return digest;
}

void sim_trace(struct sim_world *w, const char *tag, uint64_t a, uint64_t b, uint64_t c)
{
    trace_hash_text(w, tag);
    w->hash = mix(mix(mix(mix(w->hash, w->now_ns), a), b), c);
    if (w->config.trace == NULL)
        return;
    char text[80];
    snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " %" PRIx64, a, b, c);
    trace_line(w, tag, text);
}

void sim_trace_text(struct sim_world *w, const char *tag, const char *text)
{
    trace_hash_text(w, tag);
    trace_hash_text(w, text);
    w->hash = mix(w->hash, w->now_ns);
    if (w->config.trace != NULL)
        trace_line(w, tag, text);
}

void sim_bug(struct sim_world *w, const char *what)
{
    fprintf(stderr, "simulation, seed %" PRIu64 ", at %" PRIu64 " ns: contract of io/ broken: %s\n",
            w->config.seed, w->now_ns, what);
    abort();
}

/* ---- The world ---- */

struct sim_reactor *sim_enter(struct sim_world *w, struct sim_reactor *reactor)
{
    struct sim_reactor *const before = w->current;

    w->current = reactor;
    if (w->config.memory != NULL)
        w->config.memory->enter(w->config.memory->ctx,
                                reactor == NULL ? 0 : reactor->process->owner);
    return before;
}

struct sim_world *sim_world_create(const struct sim_config *config)
{
    struct sim_world *const w = calloc(1, sizeof *w);
    assert(w != NULL);
    w->config = *config;
    w->net = net_default;
    w->owner_next = 1;
    rng_init(&w->rng, config->seed);
    list_init(&w->machines);
    list_init(&w->conns);
    list_init(&w->allocs);
    list_init(&w->afters);
    return w;
}

static void machine_destroy(struct sim_machine *m)
{
    sim_machine_power_off(m);
    sim_disk_destroy_all(m);
    LIST_FOR_EACH (n, &m->processes) {
        struct sim_process *const p = CONTAINER_OF(n, struct sim_process, link);
        free(p->fds);
        free(p);
    }
    free(m);
}

void sim_world_destroy(struct sim_world *w)
{
    if (w == NULL)
        return;
    assert(w->current == NULL);
    LIST_FOR_EACH (n, &w->machines)
        machine_destroy(CONTAINER_OF(n, struct sim_machine, link));
    sim_net_fini(w);
    LIST_FOR_EACH (n, &w->afters)
        free(CONTAINER_OF(n, struct sim_after, link));
    LIST_FOR_EACH (n, &w->allocs)
        free(CONTAINER_OF(n, struct sim_alloc, link));
    free(w->heap);
    free(w);
}

uint64_t sim_world_now_ns(const struct sim_world *w)
{
    return w->now_ns;
}

struct rng *sim_world_rng(struct sim_world *w)
{
    return &w->rng;
}

uint64_t sim_world_events(const struct sim_world *w)
{
    return w->events;
}

uint64_t sim_world_trace_hash(const struct sim_world *w)
{
    return w->hash;
}

struct sim_net *sim_world_net(struct sim_world *w)
{
    return &w->net;
}

static void after_run(struct sim_event *event)
{
    struct sim_after *const after = CONTAINER_OF(event, struct sim_after, event);
    void (*const fn)(void *) = after->fn;
    void *const ctx = after->ctx;

    list_remove(&after->link);
    free(after);
    fn(ctx);
}

void sim_world_after(struct sim_world *w, uint64_t delay_ns, void (*fn)(void *ctx), void *ctx)
{
    struct sim_reactor *const before = sim_enter(w, NULL);
    struct sim_after *const after = calloc(1, sizeof *after);
    assert(after != NULL);
    sim_enter(w, before);

    after->event.run = after_run;
    after->world = w;
    after->fn = fn;
    after->ctx = ctx;
    list_node_init(&after->link);
    list_push_back(&w->afters, &after->link);
    sim_event_at(w, &after->event, w->now_ns + delay_ns);
}

void *sim_world_alloc(struct sim_world *w, size_t bytes)
{
    struct sim_reactor *const before = sim_enter(w, NULL);
    struct sim_alloc *const a = calloc(1, sizeof *a + bytes);
    assert(a != NULL);
    sim_enter(w, before);

    list_node_init(&a->link);
    list_push_back(&w->allocs, &a->link);
    return a->memory;
}

/* ---- Machines ---- */

static void machine_boot(struct sim_machine *m)
{
    struct sim_world *const w = m->world;
    uint8_t random[16];

    rng_fill(&w->rng, (struct span) { random, sizeof random });
    m->boot_id = uuid_from_random(random);
    m->boot_at_ns = w->now_ns;
    m->wall_skew_ns = (int64_t)(WALL_START_NS + rng_below(&w->rng, 20 * NS_PER_S));
    m->boots++;
    m->on = true;
}

struct sim_machine *sim_machine_create(struct sim_world *w, const char *name)
{
    assert(w->machine_count < SIM_MACHINES_MAX);
    struct sim_machine *const m = calloc(1, sizeof *m);
    assert(m != NULL);

    m->world = w;
    snprintf(m->name, sizeof m->name, "%s", name);
    m->index = w->machine_count++;
    m->port_next = (uint16_t)(32768 + rng_below(&w->rng, 20000));
    list_init(&m->processes);
    list_init(&m->disks);
    list_init(&m->listeners);
    list_node_init(&m->link);
    list_push_back(&w->machines, &m->link);
    machine_boot(m);
    return m;
}

void sim_machine_move_clock(struct sim_machine *m, int64_t by_ns)
{
    m->wall_skew_ns += by_ns;
}

struct io_addr sim_machine_addr(const struct sim_machine *m, uint16_t port)
{
    return (struct io_addr) { .family = IO_FAMILY_IPV4,
                              .ip = { 10, 0, 0, (uint8_t)(m->index + 1) },
                              .port = port };
}

bool sim_machine_is_on(const struct sim_machine *m)
{
    return m->on;
}

void sim_machine_power_on(struct sim_machine *m)
{
    if (m->on)
        return;
    sim_trace_text(m->world, "power on", m->name);
    machine_boot(m);
}

void sim_net_block(struct sim_machine *from, struct sim_machine *to, bool blocked)
{
    sim_trace(from->world, blocked ? "block" : "unblock", from->index, to->index, 0);
    from->world->blocked[from->index][to->index] = blocked;
}
