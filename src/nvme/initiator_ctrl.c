/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "base/sm.h"
#include "nvme/initiator.h"
#include "nvme/initiator_identify.h"
#include "nvme/limits.h"

#define ADMIN_ENTRIES      32               /* As Linux has it. */
#define READY_POLL_NS      (10 * NS_PER_MS) /* Between two looks at CSTS. */
#define SHUTDOWN_WAIT_NS   (1 * NS_PER_S)   /* The controller is told, not waited for. */
#define CC_SHN_NORMAL      (UINT32_C(1) << 14)
#define CC_IOSQES          UINT32_C(6) /* 64 bytes. */
#define CC_IOCQES          UINT32_C(4) /* 16 bytes. */
#define FEAT_QUEUES(count) ((uint32_t)((count)-1) | (uint32_t)((count)-1) << 16)

/*
 *  IDLE -> QUEUE -> CAP -> ENABLE -> RDY -> IDENTIFY -> SET_QUEUES -> NS_LIST -> NS -> NS_ID
 *                                    ^ |      | |                                      | |
 *                                    +-+      | +-> SET_EVENTS (if they are wanted) <--+ |
 *                                             |         |                                |
 *                                             +---------+---------> READY <--------------+
 *                                                                     |
 *                               ENDED <- CLOSING <- SHUTDOWN <--------+
 *
 * Where no namespace is looked for, SET_QUEUES leads to where NS_ID does otherwise.
 *
 * From QUEUE on every state but READY awaits one admin command (c->cmd), RDY also the timer
 * between two of them, and CLOSING the end of the queue.  Any failure leads to CLOSING.
 */
enum ctrl_state {
    CTRL_IDLE,
    CTRL_QUEUE,
    CTRL_CAP,
    CTRL_ENABLE,
    CTRL_RDY,
    CTRL_IDENTIFY,
    CTRL_SET_QUEUES,
    CTRL_NS_LIST,
    CTRL_NS,
    CTRL_NS_ID,
    CTRL_SET_EVENTS,
    CTRL_READY,
    CTRL_SHUTDOWN,
    CTRL_CLOSING,
    CTRL_ENDED,
};

#define TO_CLOSING (SM_TO(CTRL_CLOSING) | SM_TO(CTRL_ENDED))

static const struct sm_state ctrl_states[] = {
    [CTRL_IDLE] = { "idle", SM_TO(CTRL_QUEUE) },
    [CTRL_QUEUE] = { "queue", SM_TO(CTRL_CAP) | TO_CLOSING },
    [CTRL_CAP] = { "cap", SM_TO(CTRL_ENABLE) | TO_CLOSING },
    [CTRL_ENABLE] = { "enable", SM_TO(CTRL_RDY) | TO_CLOSING },
    [CTRL_RDY] = { "rdy", SM_TO(CTRL_RDY) | SM_TO(CTRL_IDENTIFY) | TO_CLOSING },
    [CTRL_IDENTIFY] = { "identify", SM_TO(CTRL_SET_QUEUES) | SM_TO(CTRL_SET_EVENTS) |
                                        SM_TO(CTRL_READY) | TO_CLOSING },
    [CTRL_SET_QUEUES] = { "set queues", SM_TO(CTRL_NS_LIST) | SM_TO(CTRL_SET_EVENTS) |
                                            SM_TO(CTRL_READY) | TO_CLOSING },
    [CTRL_NS_LIST] = { "ns list", SM_TO(CTRL_NS) | TO_CLOSING },
    [CTRL_NS] = { "ns", SM_TO(CTRL_NS_ID) | TO_CLOSING },
    [CTRL_NS_ID] = { "ns id", SM_TO(CTRL_SET_EVENTS) | SM_TO(CTRL_READY) | TO_CLOSING },
    [CTRL_SET_EVENTS] = { "set events", SM_TO(CTRL_READY) | TO_CLOSING },
    [CTRL_READY] = { "ready", SM_TO(CTRL_SHUTDOWN) | TO_CLOSING },
    [CTRL_SHUTDOWN] = { "shutdown", TO_CLOSING },
    [CTRL_CLOSING] = { "closing", SM_TO(CTRL_ENDED) },
    [CTRL_ENDED] = { "ended", 0 },
};

struct initiator_ctrl {
    struct initiator_ctrl_config config;
    struct sm sm;
    struct status why; /* The first failure. */
    struct initiator_queue *queue;
    struct initiator_ctrl_info info;
    struct initiator_ns_info ns;

    struct initiator_cmd cmd; /* Of the state; one at a time. */
    struct io_timer timer;    /* RDY: the next look.  SHUTDOWN: the end of patience. */
    uint64_t ready_by_ns;     /* RDY: CAP.TO is over. */

    struct initiator_cmd keep_alive_cmd;
    bool keep_alive_busy;
    uint64_t keep_alive_sent_ns;
    struct io_timer keep_alive_timer;
    struct initiator_cmd event_cmd;

    uint8_t page[NVME_IDENTIFY_BYTES];
};

static void on_cmd(struct initiator_cmd *cmd);

static struct reactor *reactor_of(const struct initiator_ctrl *c)
{
    return c->config.reactor;
}

/* The connection is ended; what is in flight, c->cmd too, ends with it. */
static void ctrl_fail(struct initiator_ctrl *c, struct status why)
{
    if (c->sm.now >= CTRL_CLOSING)
        return;
    if (status_ok(c->why))
        c->why = why;
    sm_move(&c->sm, CTRL_CLOSING);
    io_timer_disarm(&c->timer);
    io_timer_disarm(&c->keep_alive_timer);
    initiator_queue_stop(c->queue);
}

/* ---- One command per state ---- */

static void send(struct initiator_ctrl *c, enum ctrl_state state, struct nvme_sqe sqe,
                 size_t data_bytes)
{
    assert(data_bytes <= sizeof c->page);

    sm_move(&c->sm, (int)state);
    memset(c->page, 0, data_bytes);
    c->cmd = (struct initiator_cmd) {
        .sqe = sqe,
        .data = { data_bytes > 0 ? c->page : NULL, data_bytes },
        .done = on_cmd,
    };
    initiator_queue_submit(c->queue, &c->cmd);
}

static void send_property_get(struct initiator_ctrl *c, enum ctrl_state state,
                              enum nvme_property property, uint32_t size)
{
    send(c, state,
         (struct nvme_sqe) { .opcode = NVME_OPCODE_FABRICS,
                             .nsid = NVME_FCTYPE_PROPERTY_GET,
                             .cdw10 = size,
                             .cdw11 = property },
         0);
}

static void send_cc(struct initiator_ctrl *c, enum ctrl_state state, uint32_t extra)
{
    const uint32_t cc =
        NVME_CC_EN | CC_IOSQES << NVME_CC_IOSQES_SHIFT | CC_IOCQES << NVME_CC_IOCQES_SHIFT | extra;

    send(c, state,
         (struct nvme_sqe) { .opcode = NVME_OPCODE_FABRICS,
                             .nsid = NVME_FCTYPE_PROPERTY_SET,
                             .cdw10 = NVME_PROPERTY_SIZE_4,
                             .cdw11 = NVME_PROP_CC,
                             .cdw12 = cc },
         0);
}

static void send_identify(struct initiator_ctrl *c, enum ctrl_state state, enum nvme_cns cns,
                          uint32_t nsid)
{
    send(c, state, (struct nvme_sqe) { .opcode = NVME_ADMIN_IDENTIFY, .nsid = nsid, .cdw10 = cns },
         NVME_IDENTIFY_BYTES);
}

/* ---- What the answers say ---- */

static struct status MUST_CHECK take_cap(struct initiator_ctrl *c)
{
    const uint64_t cap = c->cmd.result;
    const uint64_t timeout_ns = (cap >> NVME_CAP_TO_SHIFT & 0xff) * 500 * NS_PER_MS;

    if ((cap & NVME_CAP_MQES_MASK) + 1 < NVME_QUEUE_ENTRIES_MIN)
        return STATUS(CORRUPT);
    c->info.queue_entries_max =
        (uint16_t)min_u64((cap & NVME_CAP_MQES_MASK) + 1, NVME_QUEUE_ENTRIES_MAX);
    c->ready_by_ns =
        reactor_now_ns(reactor_of(c)) + min_u64(timeout_ns, c->config.endpoint.connect_timeout_ns);
    return STATUS(OK);
}

static struct status MUST_CHECK take_csts(struct initiator_ctrl *c, bool *out_ready)
{
    const uint64_t csts = c->cmd.result;

    if ((csts & NVME_CSTS_CFS) != 0)
        return STATUS(IO);
    *out_ready = (csts & NVME_CSTS_RDY) != 0;
    if (!*out_ready && reactor_now_ns(reactor_of(c)) >= c->ready_by_ns)
        return STATUS(TIMED_OUT);
    return STATUS(OK);
}

/* "Number of Queues": Dword 0 has what was granted, 0's based, submission and completion. */
static void take_queues(struct initiator_ctrl *c)
{
    const uint64_t granted = 1 + min_u64(c->cmd.result & 0xffff, c->cmd.result >> 16 & 0xffff);
    c->info.io_queues = (uint16_t)min_u64(granted, c->config.io_queues);
}

/* ---- Ready ---- */

static void on_event(struct initiator_cmd *cmd)
{
    struct initiator_ctrl *c = CONTAINER_OF(cmd, struct initiator_ctrl, event_cmd);

    /* A controller without events, or one that has enough requests, is left alone. */
    if (!status_ok(cmd->status) || c->sm.now != CTRL_READY)
        return;
    initiator_queue_submit(c->queue, cmd);
    c->config.ops->event(c, (uint32_t)cmd->result);
}

static void watch_events(struct initiator_ctrl *c)
{
    if (c->config.ops->event == NULL)
        return;
    c->event_cmd = (struct initiator_cmd) {
        .sqe = { .opcode = NVME_ADMIN_ASYNC_EVENT },
        .done = on_event,
        .no_deadline = true,
    };
    initiator_queue_submit(c->queue, &c->event_cmd);
}

static uint64_t keep_alive_ns(const struct initiator_ctrl *c)
{
    return c->config.keep_alive_ms * NS_PER_MS / 2;
}

/* Together with those of other associations. */
static void arm_keep_alive(struct initiator_ctrl *c)
{
    if (c->config.keep_alive_ms > 0)
        io_timer_arm(&c->keep_alive_timer, reactor_of(c),
                     reactor_tick_ns(reactor_of(c), keep_alive_ns(c), keep_alive_ns(c)));
}

static void on_keep_alive(struct initiator_cmd *cmd)
{
    struct initiator_ctrl *c = CONTAINER_OF(cmd, struct initiator_ctrl, keep_alive_cmd);

    c->keep_alive_busy = false;
    if (!status_ok(cmd->status))
        ctrl_fail(c, cmd->status);
}

/* A whole interval without an answer: the controller has given us up, or soon will. */
static void keep_alive_missed(struct initiator_ctrl *c)
{
    const uint64_t end_ns = c->keep_alive_sent_ns + keep_alive_ns(c);

    if (reactor_now_ns(reactor_of(c)) >= end_ns)
        ctrl_fail(c, STATUS(TIMED_OUT));
    else
        io_timer_arm(&c->keep_alive_timer, reactor_of(c), end_ns); /* It was sent late. */
}

static void on_keep_alive_timer(struct io_timer *timer)
{
    struct initiator_ctrl *c = CONTAINER_OF(timer, struct initiator_ctrl, keep_alive_timer);

    if (c->keep_alive_busy) {
        keep_alive_missed(c);
        return;
    }
    c->keep_alive_busy = true;
    c->keep_alive_sent_ns = reactor_now_ns(reactor_of(c));
    c->keep_alive_cmd = (struct initiator_cmd) {
        .sqe = { .opcode = NVME_ADMIN_KEEP_ALIVE },
        .done = on_keep_alive,
    };
    initiator_queue_submit(c->queue, &c->keep_alive_cmd);
    arm_keep_alive(c);
}

static void become_ready(struct initiator_ctrl *c)
{
    sm_move(&c->sm, CTRL_READY);
    arm_keep_alive(c);
    watch_events(c);
    c->config.ops->ready(c);
}

/* Asks for the notices that we know and the controller has; then all is set up. */
static void set_events(struct initiator_ctrl *c)
{
    const uint32_t events = c->info.events & (NVME_AEN_NS_CHANGED | NVME_AEN_DISCOVERY_CHANGED);

    if (c->config.ops->event == NULL || events == 0) {
        become_ready(c);
        return;
    }
    send(c, CTRL_SET_EVENTS,
         (struct nvme_sqe) {
             .opcode = NVME_ADMIN_SET_FEATURES, .cdw10 = NVME_FEAT_ASYNC_EVENT, .cdw11 = events },
         0);
}

/* ---- The machine ---- */

/* How many I/O queues there may be is known: what they lead to is asked next. */
static void step_queues(struct initiator_ctrl *c)
{
    take_queues(c);
    if (c->config.no_namespace)
        set_events(c);
    else
        send_identify(c, CTRL_NS_LIST, NVME_CNS_NS_LIST, 0);
}

static struct status MUST_CHECK step_rdy(struct initiator_ctrl *c)
{
    bool ready;

    TRY(take_csts(c, &ready));
    if (ready)
        send_identify(c, CTRL_IDENTIFY, NVME_CNS_CTRL, 0);
    else
        io_timer_arm(&c->timer, reactor_of(c), reactor_now_ns(reactor_of(c)) + READY_POLL_NS);
    return STATUS(OK);
}

static struct status MUST_CHECK step_identify(struct initiator_ctrl *c)
{
    TRY(initiator_parse_ctrl(c->page, &c->info));
    if (c->info.is_discovery || c->config.io_queues == 0) {
        set_events(c);
        return STATUS(OK);
    }
    send(c, CTRL_SET_QUEUES,
         (struct nvme_sqe) { .opcode = NVME_ADMIN_SET_FEATURES,
                             .cdw10 = NVME_FEAT_QUEUES,
                             .cdw11 = FEAT_QUEUES(c->config.io_queues) },
         0);
    return STATUS(OK);
}

/* The command of the state has succeeded: uses its answer and chooses what to await next. */
static struct status MUST_CHECK ctrl_advance(struct initiator_ctrl *c)
{
    switch ((enum ctrl_state)c->sm.now) {
    case CTRL_CAP:
        TRY(take_cap(c));
        send_cc(c, CTRL_ENABLE, 0);
        return STATUS(OK);
    case CTRL_ENABLE:
        send_property_get(c, CTRL_RDY, NVME_PROP_CSTS, NVME_PROPERTY_SIZE_4);
        return STATUS(OK);
    case CTRL_RDY:
        return step_rdy(c);
    case CTRL_IDENTIFY:
        return step_identify(c);
    case CTRL_SET_QUEUES:
        step_queues(c);
        return STATUS(OK);
    case CTRL_NS_LIST:
        TRY(initiator_parse_ns_list(c->page, &c->ns.nsid));
        send_identify(c, CTRL_NS, NVME_CNS_NS, c->ns.nsid);
        return STATUS(OK);
    case CTRL_NS:
        TRY(initiator_parse_ns(c->page, &c->ns));
        send_identify(c, CTRL_NS_ID, NVME_CNS_NS_DESCRIPTORS, c->ns.nsid);
        return STATUS(OK);
    case CTRL_NS_ID:
        initiator_parse_ns_descriptors(c->page, &c->ns);
        set_events(c);
        return STATUS(OK);
    case CTRL_SET_EVENTS:
        become_ready(c);
        return STATUS(OK);
    case CTRL_SHUTDOWN:
        return STATUS(CANCELED); /* All is said. */
    case CTRL_IDLE:
    case CTRL_QUEUE:
    case CTRL_READY:
    case CTRL_CLOSING:
    case CTRL_ENDED:
        break;
    }
    sm_bug(&c->sm);
}

static void on_cmd(struct initiator_cmd *cmd)
{
    struct initiator_ctrl *c = CONTAINER_OF(cmd, struct initiator_ctrl, cmd);

    if (c->sm.now >= CTRL_CLOSING)
        return;
    /* A lost connection has its own reason, which on_queue_ended() brings. */
    if (initiator_cmd_is_lost(cmd))
        return;
    struct status st = cmd->status;
    if (status_ok(st))
        st = ctrl_advance(c);
    if (!status_ok(st))
        ctrl_fail(c, st);
}

static void on_timer(struct io_timer *timer)
{
    struct initiator_ctrl *c = CONTAINER_OF(timer, struct initiator_ctrl, timer);

    if (c->sm.now == CTRL_RDY)
        send_property_get(c, CTRL_RDY, NVME_PROP_CSTS, NVME_PROPERTY_SIZE_4);
    else
        ctrl_fail(c, STATUS(CANCELED));
}

/* ---- The admin queue ---- */

static void on_queue_ready(struct initiator_queue *q)
{
    struct initiator_ctrl *c = initiator_queue_ctx(q);

    c->info.cntlid = initiator_queue_cntlid(q);
    send_property_get(c, CTRL_CAP, NVME_PROP_CAP, NVME_PROPERTY_SIZE_8);
}

static void on_queue_ended(struct initiator_queue *q, struct status why)
{
    struct initiator_ctrl *c = initiator_queue_ctx(q);

    if (status_ok(c->why))
        c->why = why;
    io_timer_disarm(&c->timer);
    io_timer_disarm(&c->keep_alive_timer);
    sm_move(&c->sm, CTRL_ENDED);
    c->config.ops->ended(c, c->why); /* c may be gone. */
}

static const struct initiator_queue_ops admin_ops = { on_queue_ready, on_queue_ended };

/* ---- Interface ---- */

struct status initiator_ctrl_create(const struct initiator_ctrl_config *config,
                                    struct initiator_ctrl **out_ctrl)
{
    assert(config->ops->ready != NULL && config->ops->ended != NULL);
    assert(config->io_queues <= NVME_IO_QUEUES_MAX);

    struct initiator_ctrl *c = calloc(1, sizeof *c);
    if (c == NULL)
        return STATUS(NO_MEMORY);
    c->config = *config;
    sm_init(&c->sm, ctrl_states, CTRL_IDLE);
    io_timer_init(&c->timer, on_timer);
    io_timer_init(&c->keep_alive_timer, on_keep_alive_timer);

    const struct initiator_queue_config qc = {
        .ops = &admin_ops,
        .ctx = c,
        .reactor = config->reactor,
        .endpoint = config->endpoint,
        .log = config->log,
        .entries = ADMIN_ENTRIES,
        .keep_alive_ms = config->keep_alive_ms,
    };
    const struct status st = initiator_queue_create(&qc, &c->queue);
    if (!status_ok(st)) {
        initiator_ctrl_destroy(c);
        return st;
    }
    *out_ctrl = c;
    return st;
}

void initiator_ctrl_destroy(struct initiator_ctrl *c)
{
    if (c == NULL)
        return;
    assert(c->sm.now == CTRL_IDLE || c->sm.now == CTRL_ENDED);
    initiator_queue_destroy(c->queue);
    free(c);
}

void initiator_ctrl_start(struct initiator_ctrl *c)
{
    sm_move(&c->sm, CTRL_QUEUE);
    initiator_queue_start(c->queue);
}

void initiator_ctrl_stop(struct initiator_ctrl *c)
{
    assert(c->sm.now != CTRL_IDLE);

    if (c->sm.now != CTRL_READY) {
        if (c->sm.now != CTRL_SHUTDOWN)
            ctrl_fail(c, STATUS(CANCELED));
        return;
    }
    c->why = STATUS(CANCELED);
    io_timer_disarm(&c->keep_alive_timer);
    io_timer_arm(&c->timer, reactor_of(c), reactor_now_ns(reactor_of(c)) + SHUTDOWN_WAIT_NS);
    send_cc(c, CTRL_SHUTDOWN, CC_SHN_NORMAL);
}

void initiator_ctrl_drop(struct initiator_ctrl *c)
{
    assert(c->sm.now != CTRL_IDLE);

    ctrl_fail(c, STATUS(CANCELED));
}

void initiator_ctrl_submit(struct initiator_ctrl *c, struct initiator_cmd *cmd)
{
    assert(c->sm.now >= CTRL_READY && c->sm.now != CTRL_ENDED);

    initiator_queue_submit(c->queue, cmd);
}

const struct initiator_ctrl_info *initiator_ctrl_info(const struct initiator_ctrl *c)
{
    return &c->info;
}

const struct initiator_ns_info *initiator_ctrl_ns(const struct initiator_ctrl *c)
{
    return &c->ns;
}

void *initiator_ctrl_ctx(const struct initiator_ctrl *c)
{
    return c->config.ctx;
}

struct initiator_queue_config initiator_ctrl_queue_config(const struct initiator_ctrl *c)
{
    return (struct initiator_queue_config) {
        .endpoint = c->config.endpoint,
        .log = c->config.log,
        .cntlid = c->info.cntlid,
        .in_capsule_bytes = c->info.in_capsule_bytes,
    };
}
