/* SPDX-License-Identifier: Apache-2.0 */
/* A volume on stores in memory, and commands to it: what the engine's tests have in common. */
#ifndef TESTS_VOLUME_FIXTURE_H
#define TESTS_VOLUME_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_store.h"
#include "loop.h"
#include "volume/limits.h"
#include "volume/pace.h"
#include "volume/volume.h"

#define K           UINT64_C(1024)
#define M           (K * K)
#define BLOCK       (4 * K)

#define DISKS       3
#define SHARDS      8
#define SHARDS_MAX  14 /* Of a volume that grows. */
#define SHARD_BYTES (2 * M)
#define REQUESTS    64

/* Eight shards of 2 MiB, striped over three, on three disks and two reactors. */
struct fixture {
    struct log log;
    struct loop loop;
    struct store stores[DISKS];
    struct volume_disk disks[DISKS];
    struct buf_pool *scratch[2];
    struct pace pace;
    struct pace_queue queues[2], *paces[2];
    struct volume_placement placement[SHARDS_MAX];
    struct volume_config config;
    struct volume *volume;
    struct status open_status;
    struct status delete_status;
    bool closed;
    bool hold_after_open; /* The stores hold what comes when the volume is open. */
    unsigned log_lines;
    uint8_t *expected; /* What the volume should hold. */
    uint8_t *memory;   /* Data of the requests. */
};

struct request {
    struct nvme_ns_req req;
    bool busy;
};

/* A fixture whose volume is not open yet: the test may change its configuration. */
struct fixture *fixture_create(void);

/* One whose volume is. */
struct fixture *fixture_opened(void);

/* Before it is open. */
void fixture_limit_resyncs(struct fixture *f, uint64_t bytes_per_s);

struct status fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);

/* The done callback of a close: sets f->closed. */
void fixture_on_closed(void *ctx);
void fixture_destroy(struct fixture *f);

/* The done callback of a request. */
void on_done(struct nvme_ns_req *req);

/* Submits a command from one of the two reactors.  Data are in f->memory, one slot for each of
 * REQUESTS commands, as far into a block as the command's range; r->req.fua and .loss_told are
 * the caller's. */
void submit(struct fixture *f, struct request *r, unsigned slot, unsigned reactor,
            enum nvme_ns_opcode opcode, uint64_t offset, uint64_t bytes);

/* One command, to its end. */
struct status run(struct fixture *f, enum nvme_ns_opcode opcode, bool fua, uint64_t offset,
                  uint64_t bytes);

#endif
