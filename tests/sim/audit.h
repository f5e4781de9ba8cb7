/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at what replicas hold, through their stores, when no engine has them: the blocks that the
 * host uses, and the region lists (I5, I6 of docs/replication.md).
 *
 *   epoch --> a session at each disk --> its list --> the blocks of its shards --> compared
 *
 * Threading: the process's home, and each disk's reactor.   Memory: the process's.
 */
#ifndef TESTS_SIM_AUDIT_H
#define TESTS_SIM_AUDIT_H

#include "serving.h"

struct audit_report {
    struct group record;
    bool opened[SERVING_DISKS_MAX];
    uint8_t listed[SERVING_DISKS_MAX][SERVING_SHARDS_MAX][SERVING_REGIONS_MAX];
    /* Names of contents: equal for equal blocks. */
    uint64_t blocks[SERVING_DISKS_MAX][SERVING_BLOCKS_MAX];
};

#define AUDIT_BAD UINT64_MAX /* A block that cannot be read. */

struct audit;

/* done follows, on home; then audit_destroy().  stores: NULL where a disk is not there. */
struct audit *audit_start(struct serving *s, const struct group *record, struct store **stores,
                          struct reactor **reactors, struct reactor *home,
                          void (*done)(void *ctx, const struct audit_report *report), void *ctx);
void audit_destroy(struct audit *a);

/*
 * I6: where two replicas differ, and one of them is a member, a list says so.  is_calm: the engine
 * was closed when it had nothing to do for a while; then members do not differ (I5, R4), and none
 * of them lists another.
 */
void audit_check(const struct serving *s, const struct audit_report *report, bool is_calm);

#endif
