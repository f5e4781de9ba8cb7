/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/session.h"

#include <assert.h>

#include "peer/limits.h"

/*
 *   CLOSED --> WAITING --> OPENING --> STATING --> UP --> WAITING, OPENING
 *     ^           ^           |           |         |
 *     |           +-(lost)----+-----------+         +--> RELEASING --> ENDED
 *     +-----------(refused)---+-----------+
 *
 * WAITING waits for the link to come up, or for its turn among the disk's OPENs; the others for the
 * command that they are named for.
 */
enum session_state {
    SESSION_CLOSED,
    SESSION_WAITING,
    SESSION_OPENING,
    SESSION_STATING,
    SESSION_UP,
    SESSION_RELEASING,
    SESSION_ENDED,
};

#define TO_END (SM_TO(SESSION_RELEASING) | SM_TO(SESSION_ENDED))

static const struct sm_state session_states[] = {
    [SESSION_CLOSED] = { "closed", SM_TO(SESSION_WAITING) | SM_TO(SESSION_OPENING) | TO_END },
    [SESSION_WAITING] = { "waiting", SM_TO(SESSION_OPENING) | TO_END },
    [SESSION_OPENING] = { "opening", SM_TO(SESSION_STATING) | SM_TO(SESSION_CLOSED) |
                                         SM_TO(SESSION_WAITING) | TO_END },
    [SESSION_STATING] = { "stating", SM_TO(SESSION_UP) | SM_TO(SESSION_CLOSED) |
                                         SM_TO(SESSION_WAITING) | TO_END },
    [SESSION_UP] = { "up", SM_TO(SESSION_CLOSED) | TO_END },
    [SESSION_RELEASING] = { "releasing", SM_TO(SESSION_ENDED) },
    [SESSION_ENDED] = { "ended", 0 },
};

static struct link_end *home_end(const struct peer_session *s)
{
    return link_end_of(s->config.link, 0);
}

/* ---- The end ---- */

static void on_end_task(struct io_task *task)
{
    struct peer_session *const s = CONTAINER_OF(task, struct peer_session, task);

    link_put(s->config.link);
    s->on_closed(s); /* s may be gone. */
}

static void session_end(struct peer_session *s)
{
    sm_move(&s->sm, SESSION_ENDED);
    io_timer_disarm(&s->timer);
    list_remove(&s->turn);
    link_unwatch(&s->user);
    reactor_defer(link_home(s->config.link), &s->task);
}

static void watch_close(struct peer_session *s)
{
    struct reactor *const home = link_home(s->config.link);

    io_timer_arm(&s->timer, home, reactor_now_ns(home) + SESSION_CLOSE_NS);
}

/* ---- Commands of the session itself ---- */

static void on_cmd(struct initiator_cmd *cmd);

/* False: the link is lost, though home has not heard of it. */
static bool send(struct peer_session *s, enum session_state state, enum wire_opcode opcode,
                 uint32_t data_bytes)
{
    struct link_end *const end = home_end(s);
    uint8_t entry[WIRE_ENTRY_BYTES];
    const bool opens = opcode == WIRE_OPEN;
    const struct wire_command command = {
        .opcode = opcode,
        .handle = opens ? 0 : s->handle,
        .epoch = s->config.epoch,
        .session = (uint32_t)s->number,
        .tick = opens ? s->tick : 0,
    };

    assert(data_bytes <= sizeof s->data);
    if (!end->live)
        return false;
    sm_move(&s->sm, (int)state);
    wire_command_encode(&command, entry);
    s->cmd = (struct initiator_cmd) { .done = on_cmd,
                                      .data = { data_bytes > 0 ? s->data : NULL, data_bytes },
                                      .no_deadline = opens,
                                      .budget = opens ? s->disk->budget : 0 };
    initiator_cmd_set_entry(&s->cmd, entry);
    initiator_queue_submit(link_end_queue(end, s->reactor), &s->cmd);
    return true;
}

static void wait_for_link(struct peer_session *s)
{
    sm_move(&s->sm, SESSION_WAITING);
}

static void send_open_now(struct peer_session *s)
{
    const struct wire_command open = { .opcode = WIRE_OPEN };
    const uint32_t bytes = wire_data_bytes(&open, 0);

    s->number++;
    s->link_number = link_number(s->config.link);
    s->sent_ns = reactor_now_ns(link_home(s->config.link));
    const struct wire_open data = {
        .cluster = link_cluster(s->config.link),
        .disk = s->config.disk,
        .session = s->number,
        .group = s->config.group,
        .known = s->known,
        .volume = s->volume,
    };
    wire_open_encode(&data, NULL, (struct span) { s->data, bytes });
    if (send(s, SESSION_OPENING, WIRE_OPEN, bytes))
        s->disk->opens++;
    else if (s->sm.now != SESSION_WAITING)
        wait_for_link(s);
}

/* OPENs may wait for leases: they leave places to the disk's other commands. */
static void send_open(struct peer_session *s)
{
    list_remove(&s->turn);
    if (s->disk->opens < LINK_DISK_OPENS) {
        send_open_now(s);
        return;
    }
    list_push_back(&s->disk->waiting, &s->turn);
    if (s->sm.now != SESSION_WAITING)
        wait_for_link(s);
}

/* The next one's turn.  Where the link is lost, and home has not heard of it, it waits for that. */
static void on_open_ended(struct link_disk *disk)
{
    struct list_node *const next = list_first(&disk->waiting);

    assert(disk->opens > 0);
    disk->opens--;
    if (next != NULL)
        send_open(CONTAINER_OF(next, struct peer_session, turn));
}

static void on_close_timer(struct io_timer *timer)
{
    struct peer_session *const s = CONTAINER_OF(timer, struct peer_session, timer);

    if (!initiator_queue_abandon(s->cmd.queue, &s->cmd)) {
        watch_close(s);
        return;
    }
    if (s->sm.now == SESSION_OPENING)
        on_open_ended(s->disk);
    session_end(s);
}

static void fail(struct peer_session *s, struct status why)
{
    sm_move(&s->sm, SESSION_CLOSED);
    s->config.ops->opened(s, &(struct peer_opened) { .status = why });
}

static void take_state(struct peer_session *s)
{
    const struct wire_command asked = { .opcode = WIRE_STATE };
    struct wire_state state;

    const struct status st =
        wire_state_decode((struct const_span) { s->data, wire_data_bytes(&asked, 0) }, &state);
    if (!status_ok(st)) {
        fail(s, st);
        return;
    }
    s->incarnation = state.incarnation;
    s->reactor = state.reactor;
    sm_move(&s->sm, SESSION_UP);
    s->config.ops->opened(s, &(struct peer_opened) {
                                 .status = STATUS(OK),
                                 .incarnation = state.incarnation,
                                 .generation = state.generation,
                                 .set_epoch = state.epoch,
                                 .set_sequence = state.sequence,
                                 .set_count = state.set_count,
                                 .regions = state.regions,
                                 .reactor = state.reactor,
                                 .busy = (state.flags & WIRE_STATE_BUSY) != 0,
                                 .unflushed_loss = (state.flags & WIRE_STATE_LOSS) != 0,
                                 .list_cut = (state.flags & WIRE_STATE_CUT) != 0,
                                 .disk_failed = (state.flags & WIRE_STATE_FAILED) != 0,
                             });
}

static void send_state(struct peer_session *s)
{
    const struct wire_command asked = { .opcode = WIRE_STATE };

    if (!send(s, SESSION_STATING, WIRE_STATE, wire_data_bytes(&asked, 0)))
        wait_for_link(s);
}

static void send_release(struct peer_session *s)
{
    if (link_number(s->config.link) != s->link_number ||
        !send(s, SESSION_RELEASING, WIRE_RELEASE, 0))
        session_end(s);
}

static void on_opened(struct peer_session *s)
{
    const struct wire_answer answer = wire_answer_decode(s->cmd.result);

    const bool is_handle = answer.incarnation != 0 && answer.incarnation != NVME_NSID_ALL;

    if (!is_handle && s->closing) {
        session_end(s);
        return;
    }
    if (!is_handle) {
        fail(s, STATUS(MALFORMED));
        return;
    }
    s->handle = answer.incarnation;
    s->seals = answer.seals;
    if (s->closing)
        send_release(s);
    else
        send_state(s);
}

/* Whether the store has answered: a lost connection leaves no status. */
static bool is_answered(const struct initiator_cmd *cmd)
{
    return status_ok(cmd->status) || cmd->sc != 0;
}

/* The link was lost before the last answer came, and has told us nothing: it waits for that. */
static bool is_late(const struct peer_session *s)
{
    return s->sm.now == SESSION_STATING && !s->closing && !link_is_up(s->config.link);
}

static void on_cmd(struct initiator_cmd *cmd)
{
    struct peer_session *const s = CONTAINER_OF(cmd, struct peer_session, cmd);
    const struct status st = is_answered(cmd) ? wire_status_decode(cmd->sc) : cmd->status;

    if (!is_answered(cmd))
        link_end_lose(home_end(s), st);
    if (s->sm.now == SESSION_OPENING)
        on_open_ended(s->disk);
    if (s->sm.now == SESSION_RELEASING || (s->closing && !status_ok(st)))
        session_end(s);
    else if (!is_answered(cmd) || is_late(s))
        wait_for_link(s);
    else if (!status_ok(st))
        fail(s, st);
    else if (s->sm.now == SESSION_OPENING)
        on_opened(s);
    else if (s->closing)
        send_release(s);
    else
        take_state(s);
}

/* ---- The link ---- */

static void on_link_up(struct link_user *user)
{
    struct peer_session *const s = CONTAINER_OF(user, struct peer_session, user);

    if (s->sm.now == SESSION_WAITING)
        send_open(s);
}

static void on_link_down(struct link_user *user)
{
    struct peer_session *const s = CONTAINER_OF(user, struct peer_session, user);

    if (s->sm.now != SESSION_UP)
        return; /* Its command ends, and says so. */
    sm_move(&s->sm, SESSION_CLOSED);
    s->config.ops->lost(s, STATUS(LOST));
}

/* ---- Interface ---- */

void peer_session_init(struct peer_session *s, const struct peer_session_config *config)
{
    *s = (struct peer_session) { .config = *config };
    sm_init(&s->sm, session_states, SESSION_CLOSED);
    io_task_init(&s->task, on_end_task);
    io_timer_init(&s->timer, on_close_timer);
    s->disk = link_disk_get(config->link, config->disk);
    list_node_init(&s->turn);
    s->user.up = on_link_up;
    s->user.down = on_link_down;
    link_watch(config->link, &s->user);
}

void peer_session_open(struct peer_session *s, const struct store_volume *volume, uint32_t tick,
                       bool known)
{
    assert(reactor_is_current(link_home(s->config.link)));
    assert(!s->closing);

    if (s->sm.now == SESSION_UP)
        sm_move(&s->sm, SESSION_CLOSED);
    assert(s->sm.now == SESSION_CLOSED);
    s->volume = *volume;
    s->tick = tick;
    s->known = known;
    if (link_is_up(s->config.link))
        send_open(s);
    else
        wait_for_link(s);
}

struct peer_ticket peer_session_ticket(const struct peer_session *s)
{
    assert(s->sm.now == SESSION_UP);
    return (struct peer_ticket) { .link_number = s->link_number,
                                  .epoch = s->config.epoch,
                                  .number = s->number,
                                  .incarnation = s->incarnation,
                                  .handle = s->handle,
                                  .reactor = s->reactor,
                                  .budget = s->disk->budget,
                                  .seals = s->seals,
                                  .sent_ns = s->sent_ns };
}

void peer_session_close(struct peer_session *s, void (*done)(struct peer_session *s))
{
    assert(!s->closing);

    s->closing = true;
    s->on_closed = done;
    if (s->sm.now == SESSION_UP)
        send_release(s);
    else if (s->sm.now == SESSION_CLOSED || s->sm.now == SESSION_WAITING)
        session_end(s);
    if (s->sm.now != SESSION_ENDED)
        watch_close(s); /* The command that is under way ends first. */
}
