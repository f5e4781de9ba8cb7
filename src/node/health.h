/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be thought of a disk: healthy, suspect, failing or failed, and why, from what was
 * measured of it and of its peers.  docs/health.md has the rules and their reasons.
 *
 *     every window, for all disks of a node:
 *         health_window() with the load of each --> health_judge() over all of them
 *
 * Threading: pure.   Memory: the caller's; a struct health is about 2 KiB.
 */
#ifndef NODE_HEALTH_H
#define NODE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/dev_load.h"
#include "disk/device_log.h"
#include "io/reactor.h"

#define HEALTH_WINDOW_NS     (10 * NS_PER_S)
#define HEALTH_TICK_NS       NS_PER_S
#define HEALTH_LATE_NS       (250 * NS_PER_MS) /* A tick that comes later was kept from it. */
#define HEALTH_WINDOW_NS_MAX (20 * NS_PER_S)   /* One that took longer was a pause. */
#define HEALTH_LOG_WINDOWS   60u               /* Between two readings of a device's log. */
#define HEALTH_OPS_MIN       64u               /* Fewer have no cost. */

/* A window is slow above these, and above so many times what is compared. */
#define HEALTH_COST_NS           (5 * NS_PER_MS)
#define HEALTH_COST_ROTATING_NS  (40 * NS_PER_MS)
#define HEALTH_TIMES_PEERS       4u
#define HEALTH_TIMES_PEERS_ALONE 8u /* Two peers at least, whatever its own average is. */
#define HEALTH_TIMES_OWN         8u
#define HEALTH_TIMES_OWN_ALONE   20u /* Without peers. */
#define HEALTH_OWN_WINDOWS       30u /* Until its own average is known. */
#define HEALTH_SLOW_OPS          3u

/* Slow windows of the last ones that make a disk suspect, and good ones in a row that end it. */
#define HEALTH_SLOW_WINDOWS           3u
#define HEALTH_LAST_WINDOWS           6u
#define HEALTH_GOOD_WINDOWS           30u
#define HEALTH_STILL_WINDOWS_ROTATING 3u /* Others: one. */

#define HEALTH_ERRORS_NS              (24 * 3600 * NS_PER_S)
#define HEALTH_PLACES_FAILING         16u

#define HEALTH_REASON_BYTES           256

enum health_state { /* The numbers are those of enum DiskHealth. */
                    HEALTH_HEALTHY = 1,
                    HEALTH_SUSPECT = 2,
                    HEALTH_FAILING = 3,
                    HEALTH_FAILED = 4,
};

const char *health_state_name(enum health_state state);

/* What I/O was like between two copies of the load. */
struct health_window {
    bool is_valid; /* Nothing was paused, and there was one before. */
    uint64_t ops;
    uint64_t cost_ns; /* 0: too few. */
    uint64_t slow_ops;
    bool stands_still;   /* In flight all along, and nothing has ended. */
    uint64_t read_ns[2]; /* Latencies: the median, and what 99 of 100 do not exceed; 0: none. */
    uint64_t write_ns[2];
};

/* What else is known of a disk; borrowed for the call. */
struct health_facts {
    const char *kind;             /* Disks of equal texts and ... */
    bool is_rotational;           /* ... of equal kinds are peers. */
    const char *failure;          /* Its store has given up; "": it has not. */
    const char *failing;          /* It had better not be used; "": not for such a reason. */
    uint64_t media_errors;        /* Blocks that failed their checksum since it was opened. */
    const struct device_log *log; /* NULL: not read yet. */
};

struct health {
    enum health_state state;
    char reason[HEALTH_REASON_BYTES]; /* Empty if healthy. */
    struct health_window window;      /* The last one. */

    /* Private to health.c. */
    struct dev_load load; /* As of taken_ns. */
    uint64_t taken_ns;    /* 0: never. */
    uint64_t own_cost_ns; /* Its average. */
    unsigned own_windows; /* That are in it. */
    unsigned still_windows;
    uint8_t recent; /* A bit for each of the last windows: it was slow. */
    unsigned good_windows;
    bool slow;
    char slow_reason[HEALTH_REASON_BYTES];
    uint64_t media_errors;
    uint64_t error_ns; /* When one was last seen, and ... */
    bool has_errors;   /* ... whether one was. */
};

void health_init(struct health *h);

/* Ends a window of the disk, and begins the next.  paused: the process did not run all the time. */
void health_window(struct health *h, const struct dev_load *load, uint64_t now_ns, bool paused);

struct health_subject {
    struct health *health;
    struct health_facts facts;
};

/* Judges all disks of a node, whose windows have ended now. */
void health_judge(const struct health_subject *disks, unsigned count, uint64_t now_ns);

#endif
