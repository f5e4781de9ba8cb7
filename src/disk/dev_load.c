/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/dev_load.h"

#include <assert.h>

#include "base/span.h"

#define US_MAX ((UINT64_C(1) << 30) - 1)

/* ---- Buckets: 0 to 3 us, then four for each power of two ---- */

static unsigned bucket_of(uint64_t ns)
{
    const uint64_t us = min_u64(ns >> 10, US_MAX); /* Of 1,024 ns: nobody minds. */

    if (us < 4)
        return (unsigned)us;
    const unsigned top = 63u - (unsigned)__builtin_clzll(us);
    return (top - 1) * 4 + (unsigned)(us >> (top - 2) & 3);
}

static uint64_t bucket_end_ns(unsigned bucket)
{
    if (bucket < 4)
        return (uint64_t)(bucket + 1) << 10;
    return (uint64_t)(4 + bucket % 4 + 1) << (bucket / 4 - 1) << 10;
}

uint64_t dev_latency_ns(const struct dev_latency *from, const struct dev_latency *to,
                        uint32_t per_million)
{
    uint64_t count = 0;
    uint64_t seen = 0;

    assert(per_million > 0 && per_million <= 1000000);
    for (unsigned i = 0; i < DEV_LATENCY_BUCKETS; i++)
        count += (uint32_t)(to->buckets[i] - from->buckets[i]);
    if (count == 0)
        return 0;
    const uint64_t rank = max_u64((count * per_million + 999999) / 1000000, 1);
    for (unsigned i = 0; i < DEV_LATENCY_BUCKETS; i++) {
        seen += (uint32_t)(to->buckets[i] - from->buckets[i]);
        if (seen >= rank)
            return bucket_end_ns(i);
    }
    return bucket_end_ns(DEV_LATENCY_BUCKETS - 1);
}

/* ---- Requests ---- */

void dev_load_begin(struct dev_load *l, bool counts, uint64_t now_ns,
                    struct dev_load_start *out_start)
{
    out_start->ns = now_ns;
    out_start->in_flight = 0;
    if (!counts)
        return;
    if (l->in_flight++ == 0) {
        l->busy_since_ns = now_ns;
        l->progress_ns = now_ns;
    }
    out_start->in_flight = l->in_flight;
}

void dev_load_end(struct dev_load *l, const struct dev_load_start *start,
                  const struct dev_load_end *end)
{
    const uint64_t took_ns = end->now_ns - start->ns;
    const uint64_t slow_ns = end->is_rotational ? DEV_SLOW_ROTATING_NS : DEV_SLOW_NS;

    if (start->in_flight == 0)
        return;
    assert(l->in_flight > 0);
    assert(end->now_ns >= start->ns);
    l->ops++;
    l->cost_ops += 1 + end->bytes / (DEV_COST_BYTES + 1);
    l->slow_ops += took_ns / start->in_flight > slow_ns;
    (end->is_read ? &l->reads : &l->writes)->buckets[bucket_of(took_ns)]++;
    l->progress_ns = end->now_ns;
    if (--l->in_flight == 0)
        l->busy_ns += end->now_ns - l->busy_since_ns;
}

void dev_load_error(struct dev_load *l, bool is_read, uint64_t offset)
{
    /* A multiplier that spreads neighbours (Fibonacci hashing); its upper bits are the best. */
    const uint64_t hash = (offset / DEV_PLACE_BYTES + 1) * UINT64_C(0x9e3779b97f4a7c15);
    const unsigned place = (unsigned)(hash >> 56) % DEV_PLACES_MAX;

    if (!is_read) {
        l->write_errors++;
        return;
    }
    l->read_errors++;
    l->error_places[place / 64] |= UINT64_C(1) << place % 64;
}

void dev_load_copy(const struct dev_load *l, uint64_t now_ns, struct dev_load *out_load)
{
    *out_load = *l;
    if (l->in_flight > 0)
        out_load->busy_ns += now_ns - l->busy_since_ns;
}

unsigned dev_load_places(const struct dev_load *l)
{
    unsigned places = 0;

    for (unsigned i = 0; i < DEV_PLACES_MAX / 64; i++)
        places += (unsigned)__builtin_popcountll(l->error_places[i]);
    return places;
}
