/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A controller on a simulated meta store and simulated calls, with a node that is played here:
 * every call returns at once, and time is moved by hand.
 *
 * Threading: the test's.   Memory: one fixture, static.
 */
#ifndef TESTS_CTL_FIXTURE_H
#define TESTS_CTL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ctl/ctl.h"
#include "rpc/arena.h"
#include "rpc/sim.h"
#include "trilith/v1/disk.pb-c.h"
#include "trilith/v1/group.pb-c.h"
#include "trilith/v1/node.pb-c.h"
#include "trilith/v1/status.pb-c.h"
#include "trilith/v1/volume.pb-c.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define MS  UINT64_C(1000000)

enum { CREATE, LIST, GET, DELETE, RESIZE, SET = 8 };
enum { JOIN, WATCH, REPORT, TAKE_EPOCH };
enum { GET_GROUPS, TAKE_GROUP, COMMIT_GROUPS };

#define NODE_DISKS_MAX 8

/* A node as the controller knows it, by what it says. */
struct fake_node {
    struct uuid uuid;
    char name[16];
    const char *zone; /* NULL: none. */
    const char *rack;
    Trilith__V1__NodeRole roles[2];
    unsigned role_count; /* 0: all, without saying so. */
    unsigned disk_count;
    uint64_t disk_bytes;
    uint64_t checksum_bytes;                /* Of each disk; the budget is the double. */
    const char *disk_names[NODE_DISKS_MAX]; /* NULL: by their numbers. */
    const char *disk_paths[NODE_DISKS_MAX]; /* Likewise. */
    bool disk_failed[NODE_DISKS_MAX];
    Trilith__V1__DiskHealth disk_health[NODE_DISKS_MAX];
    uint8_t disk_of[NODE_DISKS_MAX]; /* The number of the node that had it; 0: its own. */
    Trilith__V1__ScrubReport *scrub; /* Of its first disk; NULL: none. */
    Trilith__V1__VolumeReport volumes[8];
    unsigned volume_count;
    uint64_t result_id; /* Of an order that its reports speak of; 0: none. */
    const char *result;
    const char *io_feature; /* NULL: it uses none. */
    struct uuid hears;      /* The node whose engines are connected with it; nil: none. */
    const char *address;    /* NULL: the one that all have. */
    uint64_t revision;      /* Of the part that its reports are about; 0: it does not say. */
    uint64_t instance;      /* Of its process; 0: what it says has no order. */
    uint64_t number;        /* Of what it says next. */
};

struct fixture {
    struct rpc_sim sim;
    struct meta *meta;
    struct log log;
    struct ctl *ctl;
    uint64_t rebuild_after_ns; /* From fixture_restart() on; CTL_REBUILD_NEVER before. */
    struct arena arena;        /* Of the test: requests and what it keeps of replies. */
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

/* The controller is gone and comes back with the same meta store. */
void fixture_restart(struct fixture *f);

/* Starts a call; it may be held.  rpc_sim_call_fini() when it has ended. */
void call_start(struct fixture *f, enum ctl_service service, unsigned method,
                const ProtobufCMessage *request, struct rpc_sim_call *call);

/* A call that ends at once, with this code; its text, or "". */
const char *call_text(struct fixture *f, enum ctl_service service, unsigned method,
                      const ProtobufCMessage *request, enum rpc_code code);

/* A call that succeeds at once; the reply lives until the test ends. */
const void *call_reply(struct fixture *f, enum ctl_service service, unsigned method,
                       const ProtobufCMessage *request);

/* ---- The node ---- */

void node_init(struct fake_node *n, unsigned number, unsigned disk_count, uint64_t disk_bytes);
const Trilith__V1__JoinClusterResponse *node_join(struct fixture *f, const struct fake_node *n);
void node_report(struct fixture *f, struct fake_node *n);
/* Its part as it is now. */
const Trilith__V1__WatchNodeResponse *node_part(struct fixture *f, const struct fake_node *n);
/* From its next report on, it says this of the volume with these 16 bytes. */
Trilith__V1__VolumeReport *node_says(struct fixture *f, struct fake_node *n,
                                     ProtobufCBinaryData volume, int state);

/* ---- Volumes ---- */

void create_start(struct fixture *f, const char *name, uint64_t bytes, struct rpc_sim_call *call);
/* Creates it and lets the node say that it is ready. */
void create_ready(struct fixture *f, struct fake_node *n, const char *name, uint64_t bytes);
const Trilith__V1__Volume *get_volume(struct fixture *f, const char *name);

#endif
