/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster of nodes that are played, one volume on it, and what its engine would do: for tests of
 * the planner of rebuilds.
 *
 * Threading: the test's.   Memory: static, and the fixture's.
 */
#ifndef TESTS_CTL_REBUILD_FIXTURE_H
#define TESTS_CTL_REBUILD_FIXTURE_H

#include "ctl/ctl_internal.h"
#include "ctl_fixture.h"
#include "repl/group.h"

#define READY      TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY
#define COMMITTED  TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_COMMITTED
#define NODES_MAX  6
#define NS_PER_S   (1000 * MS)
#define AFTER_NS   (60 * NS_PER_S)
#define DISK_BYTES (100 * GIB)

extern struct fake_node nodes[NODES_MAX];
extern unsigned node_count;
extern struct uuid volume, server;
extern struct group group;
extern bool away[NODES_MAX]; /* Nodes that do not report. */

/* ---- The cluster ---- */

/* Disks of the fixture have their node's number in byte 1, and their own in byte 2. */
unsigned node_of(struct uuid disk);
void report_all(struct fixture *f);
/* Time passes while the nodes report. */
void pass(struct fixture *f, unsigned seconds);
void cluster(struct fixture *f, unsigned count, unsigned disks, uint64_t after_ns);
const Trilith__V1__DesiredVolume *part_of(struct fixture *f,
                                          const Trilith__V1__WatchNodeResponse **out_part);

/* ---- The group ---- */

void read_group(struct fixture *f);
const Trilith__V1__GroupResult *commit_result(struct fixture *f, const struct group *was,
                                              const struct group *now);
void commit(struct fixture *f, const struct group *now);
/* The server's engine takes an epoch. */
void take(struct fixture *f);
/* What the engine would do: who is not to be in is set out, everywhere. */
void set_out(struct fixture *f, struct uuid disk);
void create_named(struct fixture *f, const char *name, uint32_t replicas, bool crowded);
/* A volume that its first engine serves. */
void create(struct fixture *f, uint32_t replicas, bool crowded);

/* ---- What is asked ---- */

/* Every decision makes sense: a slot that is out, or is to be moved, and a disk that the copyset
 * does not have. */
size_t check_decisions(struct fixture *f, bool crowded);
/* The engine records all that is decided, in one change. */
void record_decisions(struct fixture *f);
/* 9.20: of what is decided the engine has copied one, and moves it; *out_disk is where. */
void make_move(struct fixture *f, struct group *out_now, struct uuid *out_disk);
/* 9.13: the placement is the record's, shard by shard. */
void check_placement(struct fixture *f);
Stored__V1__Volume *stored(struct fixture *f);
bool is_left_over(struct fixture *f, struct uuid disk);
bool says(struct fixture *f, const char *text);
struct uuid disk_in(uint32_t copyset, unsigned slot);

#endif
