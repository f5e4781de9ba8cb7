/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target over a memory namespace on one simulated machine, and raw hosts on another: tests
 * write PDUs byte by byte where they want, and look at each one that comes back.
 *
 * Threading: everything runs on the test's thread, in virtual time.
 * Memory:    the harness is the test's; th_stop() frees what it made.
 */
#ifndef TESTS_UNIT_NVME_TARGET_HARNESS_H
#define TESTS_UNIT_NVME_TARGET_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>

#include "common/mem_ns.h"
#include "io/buf.h"
#include "io/sim.h"
#include "nvme/identify_spec.h"
#include "nvme/limits.h"
#include "nvme/pdu.h"
#include "nvme/target.h"

#define TH_REACTORS_MAX 4
#define TH_NQN          NQN_VOLUME_PREFIX "db1"
#define TH_HOST_NQN     "nqn.2026-01.io.trilith:host:h1"
#define TH_NS_BYTES     ((uint64_t)4 << 20)
#define TH_POOL_BYTES   ((size_t)4 << 20)

struct th {
    struct sim_world *world;
    struct sim_process *server;
    struct reactor *reactors[TH_REACTORS_MAX];
    struct buf_pool *pools[TH_REACTORS_MAX];
    unsigned reactor_count;
    struct reactor *host; /* Of the hosts that are opened next. */
    struct nvme_target *target;
    struct nvme_subsys *subsys;
    struct mem_ns mem;
    struct io_addr addr;
    const char *expected;
    bool stopped;
    bool flag; /* Set by th_set_flag(). */
};

struct th_options {
    uint64_t seed;
    unsigned reactors;        /* 0: 2. */
    uint64_t segment_max;     /* Bytes per TCP segment; 0: the simulator's choice. */
    size_t quota_bytes;       /* 0: the default. */
    size_t r2t_pool_bytes;    /* 0: the default. */
    size_t pool_bytes;        /* 0: TH_POOL_BYTES. */
    unsigned connections_max; /* 0: the default. */
    unsigned commands_max;    /* 0: the default. */
    const char *allow;        /* A host NQN; NULL: any. */
    uint32_t lba_bytes;       /* 0: 4096. */
    const char *expected;     /* A subsystem that is still to come. */
    bool no_target;           /* th_make_target() makes it later. */
    void (*trace)(void *ctx, const char *line); /* Gets the log, too; NULL: nobody does. */
    void *trace_ctx;
};

void th_start(struct th *th, const struct th_options *options);
struct status th_make_target(struct th *th, const struct th_options *options) MUST_CHECK;
void th_stop(struct th *th);

/* Stops the target alone, and waits for it unless the namespace holds requests back. */
void th_stop_target(struct th *th);

/* A done callback for stop and remove: sets th->flag. */
void th_set_flag(void *th);

/* Lets time pass until *condition, for at most 10 virtual minutes; fails the test if not. */
void th_wait(struct th *th, const bool *condition);
void th_run(struct th *th, uint64_t ns);

/* Hosts that are opened from now on are on another machine, with an address of its own. */
void th_move(struct th *th);

/* ---- A host's connection ---- */

struct th_host {
    struct th *th;
    struct reactor *reactor;
    int fd;
    struct pdu_rules rules;
    struct pdu_format format;
    uint16_t next_cid;

    struct pdu pdu;                    /* The last one received, ... */
    uint8_t data[NVME_DATA_BYTES_MAX]; /* ... and its data. */

    /* Private. */
    struct io_op op;
    bool op_done;
    uint8_t in[PDU_HEADER_BYTES_MAX + 8 + NVME_DATA_BYTES_MAX];
    size_t in_bytes;
    bool closed; /* The target has ended the connection. */
};

/* A host is big; it comes from the heap. */
struct th_host *th_host_open(struct th *th);

/* One that begins to connect, and whose connection nobody waits for. */
struct th_host *th_host_knock(struct th *th);
void th_host_close(struct th_host *h);

/* Sends bytes as they are. */
void th_send(struct th_host *h, const void *data, size_t bytes);

/* Receives the next PDU into h->pdu and h->data; false if the target closed instead. */
bool th_recv(struct th_host *h);

/* Whether the target ends the connection without another PDU. */
bool th_closed(struct th_host *h);

/* Expects a C2HTermReq that says so, and the end of the connection. */
void th_expect_term(struct th_host *h, enum pdu_fes fes, uint32_t fei);

/* ICReq and ICResp. */
void th_handshake(struct th_host *h, bool header_digest, bool data_digest);

struct th_connect {
    uint16_t qid;
    uint16_t sqsize; /* 0: 31. */
    uint16_t cntlid; /* Of an I/O queue; ignored on the admin queue. */
    bool sq_flow_off;
    uint32_t kato_ms;
    const char *nqn;      /* NULL: TH_NQN. */
    const char *host_nqn; /* NULL: TH_HOST_NQN. */
    uint8_t host_id;      /* Its first byte. */
    uint8_t junk;         /* In what is reserved, and behind the NQNs. */
};

/* Sends Connect. */
void th_send_connect(struct th_host *h, const struct th_connect *c);

/* Sends Connect and returns its completion. */
struct nvme_cqe th_connect(struct th_host *h, const struct th_connect *c);

/* Sends a command with data in its capsule (none if bytes is 0). */
void th_send_command(struct th_host *h, const struct nvme_sqe *sqe, const void *data,
                     uint32_t bytes);

/* Sends a command and returns its completion; data to the host are in h->data. */
struct nvme_cqe th_command(struct th_host *h, const struct nvme_sqe *sqe, const void *data,
                           uint32_t bytes);

/* A completion that must come next, C2HData before it included. */
struct nvme_cqe th_recv_cqe(struct th_host *h);

/* Shorthands. */
struct th_host *th_host_greeted(struct th *th);                /* Open, and ICReq was answered. */
struct th_host *th_admin(struct th *th, uint16_t *out_cntlid); /* Connected and enabled. */
struct th_host *th_io_queue(struct th *th, uint16_t cntlid, uint16_t qid);
/* Has the namespace hold requests back that it has begun, and sends a write that reaches it. */
void th_hold_write(struct th_host *io);
struct nvme_cqe th_property_set_cc(struct th_host *h, uint32_t cc);
uint64_t th_property_get(struct th_host *h, uint32_t offset, bool eight);
struct nvme_sqe th_sqe_rw(uint8_t opcode, uint64_t lba, uint32_t blocks, uint32_t block_bytes);
struct nvme_sqe th_sqe_in(uint8_t opcode, uint32_t bytes); /* Data to the host. */

#define TH_CC_ENABLED (NVME_CC_EN | 6u << NVME_CC_IOSQES_SHIFT | 4u << NVME_CC_IOCQES_SHIFT)

#endif
