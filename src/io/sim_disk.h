/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated disk: what reads see, what would survive a power loss now, and the writes between.
 * Only src/io/sim*.c include this.
 *
 *   write completes --> current (reads)     --+
 *                  \--> cache: records, in order --(flush, destage)--> medium
 *                                             \--(power loss: any subset of units)--> medium
 *
 * Without a volatile cache current and medium are the same image.
 *
 * Threading: the world's.   Memory: the world's; data of writes are copied at submission.
 */
#ifndef IO_SIM_DISK_H
#define IO_SIM_DISK_H

#include "io/sim_image.h"
#include "io/sim_internal.h"

struct sim_record {
    struct list_node link;
    uint64_t offset;
    uint64_t sequence;
    bool durable; /* FUA: no power loss takes it. */
    size_t bytes;
    uint8_t data[];
};

struct sim_disk {
    struct sim_machine *machine;
    struct list_node link;
    char path[256];
    struct sim_disk_config config;
    struct sim_disk_faults faults;
    bool lags; /* sim_disk_lag() */
    struct sim_disk_stats stats;
    void (*failed)(void *ctx, const struct sim_disk_failure *failure);
    void *failed_ctx;

    struct sim_image current;
    struct sim_image medium; /* Only with a volatile cache. */
    struct list records;     /* Oldest first. */
    size_t record_bytes;
    uint64_t sequence;      /* Of the newest record. */
    uint64_t durable_bytes; /* F25: its size after a power loss, at least. */

    struct list requests; /* struct sim_request, in flight. */
    struct sim_process *locker;

    uint64_t *bad; /* Blocks with a latent error. */
    size_t bad_count;
};

/* Puts data where reads see them, and, unless durable, into the cache. */
void sim_disk_apply(struct sim_disk *d, uint64_t offset, struct const_span data, bool durable);

/* The same with each aligned piece of unit bytes having one chance in two (all or none of them
 * now and then). */
void sim_disk_apply_some(struct sim_disk *d, uint64_t offset, struct const_span data,
                         uint32_t unit);

/* Everything up to the record of that sequence reaches the medium. */
void sim_disk_commit(struct sim_disk *d, uint64_t sequence);

/* F9: the power is gone. */
void sim_disk_lose_cache(struct sim_disk *d);

/* Whether a read of the range fails with a latent error; and the end of those that it covers. */
bool sim_disk_is_bad(const struct sim_disk *d, uint64_t offset, uint64_t bytes);

#endif
