/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/perf_session.h"

#include <assert.h>
#include <stdlib.h>

#include "base/sm.h"
#include "nvme/limits.h"

#define RETRY_NS      (200 * NS_PER_MS)
#define KEEP_ALIVE_MS 15000

/*
 *  IDLE    CTRL -> QUEUES -> UP
 *   |       ^ |      |       |
 *   |       | +------+---+---+ (anything was lost, or stop)
 *   |       |            v
 *   |       |      CLOSE_QUEUES -> CLOSE_CTRL -> ENDED
 *   |       |                            |         ^
 *   |       +---------- PAUSE <----------+         |
 *   +-------------------^ +------------------------+
 *
 * CTRL awaits the controller's ready(), QUEUES that of all queues, UP a loss.  CLOSE_QUEUES
 * awaits ended() of all queues, CLOSE_CTRL that of the controller, PAUSE the timer.
 */
enum session_state {
    SESSION_IDLE,
    SESSION_CTRL,
    SESSION_QUEUES,
    SESSION_UP,
    SESSION_CLOSE_QUEUES,
    SESSION_CLOSE_CTRL,
    SESSION_PAUSE,
    SESSION_ENDED,
};

static const struct sm_state session_states[] = {
    [SESSION_IDLE] = { "idle", SM_TO(SESSION_PAUSE) },
    [SESSION_CTRL] = { "ctrl", SM_TO(SESSION_QUEUES) | SM_TO(SESSION_CLOSE_QUEUES) },
    [SESSION_QUEUES] = { "queues", SM_TO(SESSION_UP) | SM_TO(SESSION_CLOSE_QUEUES) },
    [SESSION_UP] = { "up", SM_TO(SESSION_CLOSE_QUEUES) },
    [SESSION_CLOSE_QUEUES] = { "close queues", SM_TO(SESSION_CLOSE_CTRL) },
    [SESSION_CLOSE_CTRL] = { "close ctrl", SM_TO(SESSION_PAUSE) | SM_TO(SESSION_ENDED) },
    [SESSION_PAUSE] = { "pause", SM_TO(SESSION_CTRL) | SM_TO(SESSION_ENDED) },
    [SESSION_ENDED] = { "ended", 0 },
};

struct perf_session {
    struct perf_session_config config;
    struct sm sm;
    struct status why; /* The first failure since it was last up. */
    bool stopping;
    bool was_up; /* Ever: a first connection is not retried. */
    uint64_t give_up_ns;
    struct io_timer timer;
    struct io_task task; /* Makes the next attempt, or ends, outside of the controller's calls. */
    struct initiator_ctrl *ctrl;
    bool ctrl_open; /* Started, and not ended. */
    struct initiator_queue *queues[PERF_CONNECTIONS_MAX];
    unsigned queues_open; /* Started, and not ended. */
    unsigned queues_ready;
};

static void advance_close(struct perf_session *s);

/* Something is lost, or all is to end: takes down what is up. */
static void session_fail(struct perf_session *s, struct status why)
{
    const bool was_up = s->sm.now == SESSION_UP;

    if (s->sm.now >= SESSION_CLOSE_QUEUES)
        return;
    if (status_ok(s->why))
        s->why = why;
    if (was_up)
        s->give_up_ns = reactor_now_ns(s->config.reactor) + s->config.reconnect_ns;
    sm_move(&s->sm, SESSION_CLOSE_QUEUES);
    for (unsigned i = 0; i < s->config.connections; i++) {
        if (s->queues[i] != NULL)
            initiator_queue_stop(s->queues[i]);
    }
    if (was_up)
        s->config.ops->down(s, why);
    advance_close(s);
}

/* ---- Connecting ---- */

static void on_queue_ready(struct initiator_queue *q)
{
    struct perf_session *s = initiator_queue_ctx(q);

    s->queues_ready++;
    if (s->sm.now != SESSION_QUEUES || s->queues_ready < s->config.connections)
        return;
    sm_move(&s->sm, SESSION_UP);
    s->was_up = true;
    s->why = STATUS(OK);
    s->config.ops->up(s);
}

static void on_queue_ended(struct initiator_queue *q, struct status why)
{
    struct perf_session *s = initiator_queue_ctx(q);

    assert(s->queues_open > 0);
    s->queues_open--;
    for (unsigned i = 0; i < s->config.connections; i++) {
        if (s->queues[i] == q)
            s->queues[i] = NULL;
    }
    initiator_queue_destroy(q);
    session_fail(s, why);
    advance_close(s);
}

static const struct initiator_queue_ops queue_ops = { on_queue_ready, on_queue_ended };

static struct status MUST_CHECK open_queue(struct perf_session *s, unsigned index)
{
    struct initiator_queue_config qc = initiator_ctrl_queue_config(s->ctrl);

    qc.ops = &queue_ops;
    qc.ctx = s;
    qc.reactor = s->config.reactor;
    qc.qid = (uint16_t)(index + 1);
    qc.entries = (uint16_t)(s->config.depth + 1);
    TRY(initiator_queue_create(&qc, &s->queues[index]));
    s->queues_open++;
    initiator_queue_start(s->queues[index]);
    return STATUS(OK);
}

static struct status MUST_CHECK open_queues(struct perf_session *s)
{
    const struct initiator_ctrl_info *info = initiator_ctrl_info(s->ctrl);

    if (info->is_discovery)
        return STATUS(UNSUPPORTED);
    /* The caller has been told the limits; a controller that has less is told here. */
    if (info->io_queues < s->config.connections || info->queue_entries_max < s->config.depth + 1)
        return STATUS(LIMIT);
    for (unsigned i = 0; i < s->config.connections; i++)
        TRY(open_queue(s, i));
    return STATUS(OK);
}

static void on_ctrl_ready(struct initiator_ctrl *c)
{
    struct perf_session *s = initiator_ctrl_ctx(c);

    if (s->sm.now != SESSION_CTRL)
        return;
    sm_move(&s->sm, SESSION_QUEUES);
    s->queues_ready = 0;
    const struct status st = open_queues(s);
    if (!status_ok(st))
        session_fail(s, st);
}

static void on_ctrl_ended(struct initiator_ctrl *c, struct status why)
{
    struct perf_session *s = initiator_ctrl_ctx(c);

    s->ctrl_open = false;
    session_fail(s, why);
    advance_close(s);
}

static const struct initiator_ctrl_ops ctrl_ops = { on_ctrl_ready, NULL, on_ctrl_ended };

static struct status MUST_CHECK connect_ctrl(struct perf_session *s)
{
    const struct initiator_ctrl_config cc = {
        .ops = &ctrl_ops,
        .ctx = s,
        .reactor = s->config.reactor,
        .endpoint = s->config.endpoint,
        .log = s->config.log,
        .keep_alive_ms = KEEP_ALIVE_MS,
        .io_queues = (uint16_t)s->config.connections,
    };

    TRY(initiator_ctrl_create(&cc, &s->ctrl));
    s->ctrl_open = true;
    sm_move(&s->sm, SESSION_CTRL);
    initiator_ctrl_start(s->ctrl);
    return STATUS(OK);
}

/* ---- Closing, and once more ---- */

static void session_end(struct perf_session *s)
{
    sm_move(&s->sm, SESSION_ENDED);
    s->config.ops->ended(s, s->stopping ? STATUS(OK) : s->why); /* s may be gone. */
}

/* Goes on as far as nothing has to be awaited. */
static void advance_close(struct perf_session *s)
{
    if (s->sm.now == SESSION_CLOSE_QUEUES && s->queues_open == 0) {
        sm_move(&s->sm, SESSION_CLOSE_CTRL);
        if (s->ctrl_open && s->stopping && status_is(s->why, STATUS_CANCELED))
            initiator_ctrl_stop(s->ctrl);
        else if (s->ctrl_open)
            initiator_ctrl_drop(s->ctrl);
    }
    if (s->sm.now == SESSION_CLOSE_CTRL && !s->ctrl_open)
        reactor_defer(s->config.reactor, &s->task);
}

static bool may_retry(const struct perf_session *s)
{
    return !s->stopping && s->was_up &&
           reactor_now_ns(s->config.reactor) + RETRY_NS < s->give_up_ns;
}

static void on_task(struct io_task *task)
{
    struct perf_session *s = CONTAINER_OF(task, struct perf_session, task);

    assert(s->sm.now == SESSION_CLOSE_CTRL);
    initiator_ctrl_destroy(s->ctrl);
    s->ctrl = NULL;
    if (!may_retry(s)) {
        session_end(s);
        return;
    }
    sm_move(&s->sm, SESSION_PAUSE);
    io_timer_arm(&s->timer, s->config.reactor, reactor_now_ns(s->config.reactor) + RETRY_NS);
}

static void on_timer(struct io_timer *timer)
{
    struct perf_session *s = CONTAINER_OF(timer, struct perf_session, timer);
    const struct status st = connect_ctrl(s);

    if (status_ok(st))
        return;
    s->why = st;
    session_end(s);
}

/* ---- Interface ---- */

struct status perf_session_create(const struct perf_session_config *config,
                                  struct perf_session **out_session)
{
    assert(config->connections >= 1 && config->connections <= PERF_CONNECTIONS_MAX);
    assert(config->depth >= 1 && config->depth < NVME_QUEUE_ENTRIES_MAX);

    struct perf_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return STATUS(NO_MEMORY);
    s->config = *config;
    sm_init(&s->sm, session_states, SESSION_IDLE);
    io_timer_init(&s->timer, on_timer);
    io_task_init(&s->task, on_task);
    *out_session = s;
    return STATUS(OK);
}

void perf_session_start(struct perf_session *s)
{
    /* From the timer, so that a failure does not come from in here. */
    sm_move(&s->sm, SESSION_PAUSE);
    io_timer_arm(&s->timer, s->config.reactor, reactor_now_ns(s->config.reactor));
}

void perf_session_stop(struct perf_session *s)
{
    if (s->stopping || s->sm.now == SESSION_ENDED)
        return;
    s->stopping = true;
    if (s->sm.now == SESSION_PAUSE) {
        io_timer_disarm(&s->timer);
        session_end(s);
        return;
    }
    session_fail(s, STATUS(CANCELED));
}

void perf_session_destroy(struct perf_session *s)
{
    if (s == NULL)
        return;
    assert(s->sm.now == SESSION_IDLE || s->sm.now == SESSION_ENDED);
    free(s);
}

void *perf_session_ctx(const struct perf_session *s)
{
    return s->config.ctx;
}

bool perf_session_is_up(const struct perf_session *s)
{
    return s->sm.now == SESSION_UP;
}

struct initiator_queue *perf_session_queue(const struct perf_session *s, unsigned index)
{
    assert(index < s->config.connections);
    return s->queues[index];
}

const struct initiator_ctrl_info *perf_session_info(const struct perf_session *s)
{
    return initiator_ctrl_info(s->ctrl);
}

const struct initiator_ns_info *perf_session_ns(const struct perf_session *s)
{
    return initiator_ctrl_ns(s->ctrl);
}
