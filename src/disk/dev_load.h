/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a device's requests take, and where it could not be read: what docs/health.md judges.
 *
 *     dev_load_begin() at its start, dev_load_end() at its end: dev.c does so for every request
 *
 * All numbers only ever grow: whoever wants those of a time copies the struct before and after it.
 * Latencies are counted in buckets, four for each power of two of microseconds; counters of buckets
 * wrap, and differences of them do not.
 *
 * Threading: the device's reactor; copies are anybody's.   Memory: embedded; about 1 KiB.
 */
#ifndef DISK_DEV_LOAD_H
#define DISK_DEV_LOAD_H

#include <stdbool.h>
#include <stdint.h>

/* Up to 2^30 us, which is 18 minutes; what takes longer counts as that. */
#define DEV_LATENCY_BUCKETS 116u

/* One more I/O in the cost of a request for each of so many bytes. */
#define DEV_COST_BYTES 65536u

/* A request is slow if it takes longer for each one in flight when it began. */
#define DEV_SLOW_NS          UINT64_C(100000000)
#define DEV_SLOW_ROTATING_NS UINT64_C(500000000)

/* Places with medium errors are told apart by so many bytes, and up to so many of them. */
#define DEV_PLACE_BYTES UINT64_C(65536)
#define DEV_PLACES_MAX  256u

struct dev_latency {
    uint32_t buckets[DEV_LATENCY_BUCKETS];
};

struct dev_load {
    struct dev_latency reads, writes;
    uint64_t ops;         /* Reads and writes that have ended; not FUA writes. */
    uint64_t cost_ops;    /* The same, larger ones several times. */
    uint64_t slow_ops;    /* Of ops. */
    uint64_t busy_ns;     /* While one of them was in flight; up to the copy. */
    uint64_t progress_ns; /* When one last ended, or when the first of those in flight began. */
    uint32_t in_flight;
    uint32_t read_errors; /* That are the device's, as the next. */
    uint32_t write_errors;
    uint64_t error_places[DEV_PLACES_MAX / 64]; /* A bit for each place that could not be read;
                                                 * some share one. */

    /* Private to dev_load.c. */
    uint64_t busy_since_ns;
};

/* What a request has to know of its beginning. */
struct dev_load_start {
    uint64_t ns;
    uint32_t in_flight; /* With it; 0: it does not count. */
};

void dev_load_begin(struct dev_load *load, bool counts, uint64_t now_ns,
                    struct dev_load_start *out_start);

struct dev_load_end {
    uint64_t now_ns;
    uint64_t bytes;
    bool is_read;
    bool is_rotational;
};

void dev_load_end(struct dev_load *load, const struct dev_load_start *start,
                  const struct dev_load_end *end);

/* A read (or a write, or a flush) has failed, and not for lack of space. */
void dev_load_error(struct dev_load *load, bool is_read, uint64_t offset);

/* The load as of now, for others. */
void dev_load_copy(const struct dev_load *load, uint64_t now_ns, struct dev_load *out_load);

/* In how many places reads have failed, at least. */
unsigned dev_load_places(const struct dev_load *load);

/*
 * The latency that per_million of a million requests between two copies did not exceed; 0: there
 * were none.  At most a quarter too high.
 */
uint64_t dev_latency_ns(const struct dev_latency *from, const struct dev_latency *to,
                        uint32_t per_million);

#endif
