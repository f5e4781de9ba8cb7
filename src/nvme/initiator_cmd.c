/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "nvme/initiator_internal.h"

/* ---- Budgets ---- */

static struct initiator_budget *budget_of(const struct initiator_queue *q, uint16_t budget)
{
    assert(budget <= q->config.budgets);
    return budget == 0 ? NULL : &q->budgets[budget - 1];
}

static bool has_room(const struct initiator_queue *q, const struct initiator_budget *b,
                     const struct initiator_cmd *cmd)
{
    return b->commands == 0 || (b->commands < q->config.budget_commands &&
                                b->bytes + initiator_cmd_bytes(cmd) <= q->config.budget_bytes);
}

static void charge(struct initiator_queue *q, struct initiator_budget *b, struct initiator_cmd *cmd)
{
    b->commands++;
    b->bytes += initiator_cmd_bytes(cmd);
    cmd->charged = true;
    list_push_back(&q->waiting, &cmd->link);
}

/* In their order, so that a large one is not overtaken for ever. */
static void charge_waiting(struct initiator_queue *q, struct initiator_budget *b)
{
    struct list_node *first;

    while ((first = list_first(&b->waiting)) != NULL) {
        struct initiator_cmd *const cmd = CONTAINER_OF(first, struct initiator_cmd, link);
        if (!has_room(q, b, cmd))
            return;
        list_remove(first);
        charge(q, b, cmd);
    }
}

static void discharge(struct initiator_queue *q, uint16_t budget, uint32_t bytes)
{
    struct initiator_budget *const b = budget_of(q, budget);

    if (b == NULL)
        return;
    assert(b->commands > 0 && b->bytes >= bytes);
    b->commands--;
    b->bytes -= bytes;
    charge_waiting(q, b);
}

/* It waits for its budget, or for a slot. */
static void begin_waiting(struct initiator_queue *q, struct initiator_cmd *cmd)
{
    struct initiator_budget *const b = budget_of(q, cmd->budget);

    cmd->charged = false;
    if (b == NULL)
        list_push_back(&q->waiting, &cmd->link);
    else if (list_empty(&b->waiting) && has_room(q, b, cmd))
        charge(q, b, cmd);
    else
        list_push_back(&b->waiting, &cmd->link);
}

static void stop_waiting(struct initiator_queue *q, struct initiator_cmd *cmd)
{
    list_remove(&cmd->link);
    if (cmd->charged)
        discharge(q, cmd->budget, initiator_cmd_bytes(cmd));
    else if (cmd->budget != 0)
        charge_waiting(q, budget_of(q, cmd->budget)); /* It may have been the first. */
    cmd->charged = false;
    initiator_cmd_activate_waiting(q);
}

/* ---- Slots ---- */

static void free_slot(struct initiator_queue *q, struct initiator_slot *slot)
{
    slot->cmd = NULL;
    slot->abandoned = false;
    q->free_slots[q->free_count++] = (uint16_t)(slot - q->slots);
    discharge(q, slot->budget, slot->bytes);
}

/* ---- Submission ---- */

/* "Fabrics Command Set": bits 1:0 of FCTYPE are the direction, as they are of other opcodes. */
static bool data_go_to_controller(const struct nvme_sqe *sqe)
{
    const uint32_t code = sqe->opcode == NVME_OPCODE_FABRICS ? sqe->nsid & 0xff : sqe->opcode;
    return (code & NVME_OPCODE_TO_CONTROLLER) != 0;
}

/* What becomes of a command that the controller never saw. */
static struct status unsent_status(const struct initiator_queue *q)
{
    return status_is(q->why, STATUS_CANCELED) ? q->why : STATUS(UNAVAILABLE);
}

/* Ends the command from the task, so that done does not come from inside the caller's call. */
static void refuse(struct initiator_queue *q, struct initiator_cmd *cmd, struct status why)
{
    cmd->status = why;
    list_push_back(&q->refused, &cmd->link);
    if (!q->ending) /* Then the task is running, and takes this one along. */
        reactor_defer(q->config.reactor, &q->task);
}

void initiator_cmd_set_entry(struct initiator_cmd *cmd, const uint8_t entry[NVME_SQE_BYTES])
{
    cmd->sqe = nvme_sqe_decode(entry);
}

void initiator_queue_submit(struct initiator_queue *q, struct initiator_cmd *cmd)
{
    assert(reactor_is_current(q->config.reactor));
    assert(q->sm.now != INITIATOR_QUEUE_IDLE && q->sm.now != INITIATOR_QUEUE_ENDED);
    assert(cmd->data.bytes + cmd->tail.bytes <= NVME_DATA_BYTES_MAX);
    assert(cmd->tail.bytes == 0 || cmd->data.bytes > 0);

    list_node_init(&cmd->link);
    cmd->queue = q;
    cmd->sent = false;
    cmd->in_tx = false;
    q->outstanding++;
    if (q->sm.now > INITIATOR_QUEUE_LIVE) {
        refuse(q, cmd, unsent_status(q));
        return;
    }
    begin_waiting(q, cmd);
    initiator_cmd_activate_waiting(q);
}

static void fill_sgl(struct initiator_cmd *cmd)
{
    struct nvme_sqe *sqe = &cmd->sqe;

    sqe->flags = NVME_SQE_PSDT_SGL;
    sqe->sgl_address = 0;
    sqe->sgl_bytes = initiator_cmd_bytes(cmd);
    sqe->sgl_id = cmd->in_capsule ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT;
}

/* What a capsule of this queue takes: Connect and admin commands always what we implement. */
static uint32_t in_capsule_limit(const struct initiator_queue *q)
{
    return q->config.qid == 0 || q->sm.now == INITIATOR_QUEUE_CONNECT ? NVME_IN_CAPSULE_BYTES_MAX
                                                                      : q->config.in_capsule_bytes;
}

static void queue_tx(struct initiator_cmd *cmd)
{
    cmd->in_tx = true;
    pdu_tx_queue(&cmd->queue->tx, &cmd->tx);
}

static void watch_deadlines(struct initiator_queue *q)
{
    if (q->sm.now == INITIATOR_QUEUE_LIVE && !io_timer_armed(&q->timer))
        io_timer_arm(&q->timer, q->config.reactor,
                     reactor_now_ns(q->config.reactor) + q->config.endpoint.command_timeout_ns);
}

void initiator_cmd_activate(struct initiator_queue *q, struct initiator_cmd *cmd)
{
    assert(q->free_count > 0);
    assert(!list_node_linked(&cmd->link));

    const uint16_t index = q->free_slots[--q->free_count];
    struct initiator_slot *slot = &q->slots[index];
    slot->cmd = cmd;
    slot->use++;
    slot->budget = cmd->budget;
    slot->bytes = initiator_cmd_bytes(cmd);

    cmd->cid = (uint16_t)(index | slot->use << INITIATOR_CID_INDEX_BITS);
    cmd->sqe.cid = cmd->cid;
    cmd->start_ns = reactor_now_ns(q->config.reactor);
    cmd->moved = 0;
    cmd->granted = 0;
    cmd->in_pdu = 0;
    cmd->responded = false;
    cmd->bad_digest = false;
    cmd->to_controller = data_go_to_controller(&cmd->sqe);
    cmd->in_capsule = cmd->to_controller && cmd->data.bytes > 0 &&
                      initiator_cmd_bytes(cmd) <= in_capsule_limit(q);
    fill_sgl(cmd);
    pdu_tx_entry_init(&cmd->tx);
    queue_tx(cmd);
    watch_deadlines(q);
}

void initiator_cmd_activate_waiting(struct initiator_queue *q)
{
    while (q->sm.now == INITIATOR_QUEUE_LIVE && q->free_count > 0) {
        struct list_node *node = list_pop_front(&q->waiting);
        if (node == NULL)
            return;
        initiator_cmd_activate(q, CONTAINER_OF(node, struct initiator_cmd, link));
    }
}

struct initiator_cmd *initiator_cmd_find(const struct initiator_queue *q, uint16_t cid)
{
    const unsigned index = cid & ((1u << INITIATOR_CID_INDEX_BITS) - 1);

    if (index >= q->slot_count)
        return NULL;
    struct initiator_cmd *cmd = q->slots[index].cmd;
    /* What was not sent cannot be answered; what is answered cannot be answered again. */
    if (cmd == NULL || cmd->cid != cid || !cmd->sent || cmd->responded)
        return NULL;
    return cmd;
}

/* ---- Sending ---- */

void initiator_cmd_place(const struct initiator_cmd *cmd, uint32_t offset, uint32_t bytes,
                         struct span *out_first, struct span *out_rest)
{
    const uint32_t head = (uint32_t)cmd->data.bytes;

    *out_rest = (struct span) { 0 };
    if (offset >= head) {
        *out_first = span_sub(cmd->tail, offset - head, bytes);
        return;
    }
    *out_first = span_sub(cmd->data, offset, min_u64(bytes, head - offset));
    if (bytes > out_first->bytes)
        *out_rest = span_sub(cmd->tail, 0, bytes - out_first->bytes);
}

/* Sends so many bytes of the data from where the last ones ended. */
static void encode_data(struct initiator_cmd *cmd, uint32_t bytes, struct pdu_tx_writer *w)
{
    struct span first, rest;

    initiator_cmd_place(cmd, cmd->moved, bytes, &first, &rest);
    pdu_tx_split_with_digest(w, &cmd->queue->format, span_const(first), span_const(rest));
    cmd->moved += bytes;
}

static void encode_capsule(struct initiator_cmd *cmd, struct pdu_tx_writer *w)
{
    const struct pdu_format *format = &cmd->queue->format;
    const uint32_t data_bytes = cmd->in_capsule ? initiator_cmd_bytes(cmd) : 0;

    pdu_tx_head_advance(w, pdu_encode_capsule_cmd(format, &cmd->sqe, data_bytes, pdu_tx_head(w)));
    cmd->sent = true;
    if (data_bytes > 0)
        encode_data(cmd, data_bytes, w);
}

static void encode_h2c_data(struct initiator_cmd *cmd, struct pdu_tx_writer *w)
{
    const struct initiator_queue *q = cmd->queue;
    const struct pdu_data data = {
        .cccid = cmd->cid,
        .ttag = cmd->ttag,
        .offset = cmd->moved,
        .bytes = (uint32_t)min_u64(cmd->granted - cmd->moved, q->h2c_bytes_max),
    };
    const bool last = cmd->moved + data.bytes == cmd->granted;

    pdu_tx_head_advance(
        w, pdu_encode_h2c_data(&q->format, &data, last ? PDU_FLAG_LAST : 0, pdu_tx_head(w)));
    encode_data(cmd, data.bytes, w);
}

void initiator_cmd_encode(struct initiator_cmd *cmd, struct pdu_tx_writer *w)
{
    if (cmd->sent)
        encode_h2c_data(cmd, w);
    else
        encode_capsule(cmd, w);
}

void initiator_cmd_grant(struct initiator_cmd *cmd, const struct pdu_data *r2t)
{
    assert(r2t->offset == cmd->granted);
    assert(r2t->bytes <= initiator_cmd_bytes(cmd) - cmd->granted);

    cmd->ttag = r2t->ttag;
    cmd->granted += r2t->bytes;
    /* An R2T may overtake the end of the send that carried the command. */
    if (!cmd->in_tx)
        queue_tx(cmd);
}

/* ---- Completion ---- */

static void release_slot(struct initiator_queue *q, const struct initiator_cmd *cmd)
{
    const unsigned index = cmd->cid & ((1u << INITIATOR_CID_INDEX_BITS) - 1);

    assert(q->slots[index].cmd == cmd);
    free_slot(q, &q->slots[index]);
}

static void finish(struct initiator_cmd *cmd)
{
    struct initiator_queue *q = cmd->queue;

    assert(!cmd->in_tx);
    release_slot(q, cmd);
    q->outstanding--;
    if (!list_empty(&q->waiting))
        initiator_cmd_activate_waiting(q);
    cmd->done(cmd); /* cmd may be gone. */
}

void initiator_cmd_respond(struct initiator_cmd *cmd, const struct nvme_cqe *cqe)
{
    assert(cmd->sent);
    assert(!cmd->responded);

    cmd->responded = true;
    cmd->sc = cqe->status & (NVME_SC_VALUE_MASK | NVME_SC_DNR);
    cmd->result = cqe->result;
    cmd->status = initiator_status_from_nvme(cqe->status);
    if (status_ok(cmd->status) && cmd->bad_digest)
        cmd->status = STATUS(BAD_DIGEST);
    if (!cmd->in_tx)
        finish(cmd);
}

void initiator_cmd_on_sent(struct initiator_cmd *cmd)
{
    cmd->in_tx = false;
    if (!initiator_queue_sends(cmd->queue))
        return; /* initiator_cmd_end_all() ends it. */
    if (cmd->responded)
        finish(cmd);
    else if (cmd->moved < cmd->granted)
        queue_tx(cmd);
}

/* ---- The end ---- */

static void end_unsent(struct initiator_queue *q, struct initiator_cmd *cmd, struct status why)
{
    assert(!cmd->sent);
    assert(q->outstanding > 0);

    cmd->status = why;
    cmd->sc = 0;
    cmd->result = 0;
    q->outstanding--;
    cmd->done(cmd); /* cmd may be gone. */
}

static void end_active(struct initiator_queue *q, struct initiator_cmd *cmd)
{
    release_slot(q, cmd);
    if (!cmd->sent) {
        end_unsent(q, cmd, unsent_status(q));
        return;
    }
    q->outstanding--;
    /* A completion that has come is true, whatever became of the connection. */
    if (!cmd->responded) {
        cmd->status = STATUS(LOST);
        cmd->sc = 0;
        cmd->result = 0;
    }
    cmd->done(cmd); /* cmd may be gone. */
}

bool initiator_cmd_is_lost(const struct initiator_cmd *cmd)
{
    return cmd->sc == 0 &&
           (status_is(cmd->status, STATUS_LOST) || status_is(cmd->status, STATUS_UNAVAILABLE));
}

void initiator_cmd_end_refused(struct initiator_queue *q)
{
    struct list_node *node;

    while ((node = list_pop_front(&q->refused)) != NULL) {
        struct initiator_cmd *cmd = CONTAINER_OF(node, struct initiator_cmd, link);
        end_unsent(q, cmd, cmd->status);
    }
}

void initiator_cmd_end_all(struct initiator_queue *q)
{
    struct list_node *node;

    for (unsigned i = 0; i < q->slot_count; i++) {
        if (q->slots[i].cmd != NULL)
            end_active(q, q->slots[i].cmd);
    }
    for (unsigned i = 0; i < q->config.budgets; i++)
        list_splice_back(&q->waiting, &q->budgets[i].waiting);
    while ((node = list_pop_front(&q->waiting)) != NULL)
        end_unsent(q, CONTAINER_OF(node, struct initiator_cmd, link), unsent_status(q));
    initiator_cmd_end_refused(q);
}

void initiator_queue_cancel(struct initiator_queue *q, struct initiator_cmd *cmd)
{
    assert(reactor_is_current(q->config.reactor));
    assert(cmd->queue == q);

    /* Only commands that wait are linked here; the refused end by themselves. */
    if (!list_node_linked(&cmd->link) || q->sm.now > INITIATOR_QUEUE_LIVE)
        return;
    stop_waiting(q, cmd);
    refuse(q, cmd, STATUS(CANCELED));
}

/* ---- Letting go ---- */

/* What it would receive may be dropped, but not what it is receiving. */
static bool nothing_is_on_its_way(const struct initiator_cmd *cmd)
{
    return cmd->sent && !cmd->in_tx && !cmd->responded && cmd->queue->rx_cmd != cmd &&
           (!cmd->to_controller || cmd->moved == initiator_cmd_bytes(cmd));
}

bool initiator_queue_abandon(struct initiator_queue *q, struct initiator_cmd *cmd)
{
    struct initiator_slot *const slot =
        &q->slots[cmd->cid & ((1u << INITIATOR_CID_INDEX_BITS) - 1)];

    assert(reactor_is_current(q->config.reactor));
    assert(cmd->queue == q);
    if (q->sm.now > INITIATOR_QUEUE_LIVE)
        return false;
    if (list_node_linked(&cmd->link)) {
        stop_waiting(q, cmd);
        q->outstanding--;
        return true;
    }
    if (slot->cmd != cmd || !nothing_is_on_its_way(cmd))
        return false;
    slot->cmd = NULL;
    slot->abandoned = true;
    slot->cid = cmd->cid;
    q->outstanding--;
    return true;
}

struct initiator_slot *initiator_cmd_find_abandoned(const struct initiator_queue *q, uint16_t cid)
{
    const unsigned index = cid & ((1u << INITIATOR_CID_INDEX_BITS) - 1);

    if (index >= q->slot_count || !q->slots[index].abandoned || q->slots[index].cid != cid)
        return NULL;
    return &q->slots[index];
}

void initiator_cmd_forget(struct initiator_queue *q, struct initiator_slot *slot)
{
    free_slot(q, slot);
    initiator_cmd_activate_waiting(q);
}

uint64_t initiator_cmd_oldest_start_ns(const struct initiator_queue *q)
{
    uint64_t oldest = UINT64_MAX;

    for (unsigned i = 0; i < q->slot_count; i++) {
        const struct initiator_cmd *cmd = q->slots[i].cmd;
        if (cmd != NULL && !cmd->no_deadline)
            oldest = min_u64(oldest, cmd->start_ns);
    }
    return oldest;
}

struct status initiator_status_from_nvme(uint16_t sc)
{
    switch (sc & NVME_SC_VALUE_MASK) {
    case NVME_SC_SUCCESS:
        return STATUS(OK);
    case NVME_SC_INVALID_OPCODE:
        return STATUS(UNSUPPORTED);
    case NVME_SC_INVALID_FIELD:
    case NVME_SC_CONNECT_FORMAT:
        return STATUS(INVALID);
    case NVME_SC_INVALID_NS:
    case NVME_SC_CONNECT_INVALID_PARAM:
        return STATUS(NOT_FOUND);
    case NVME_SC_CONNECT_BUSY:
        return STATUS(BUSY);
    case NVME_SC_CONNECT_INVALID_HOST:
        return STATUS(DENIED);
    case NVME_SC_ABORT_REQUESTED:
    case NVME_SC_ABORT_SQ_DELETION:
        return STATUS(CANCELED);
    case NVME_SC_TRANSIENT_TRANSPORT:
        return STATUS(BAD_DIGEST);
    case NVME_SC_LBA_RANGE:
        return STATUS(OUT_OF_RANGE);
    case NVME_SC_CAPACITY:
        return STATUS(NO_SPACE);
    case NVME_SC_NS_NOT_READY:
        return STATUS(UNAVAILABLE);
    case NVME_SC_WRITE_FAULT:
        return STATUS(MEDIA_WRITE);
    case NVME_SC_READ_ERROR:
        return STATUS(MEDIA_READ);
    case NVME_SC_COMPARE_FAILURE:
        return STATUS(MISCOMPARE);
    case NVME_SC_INTERNAL_PATH:
        return STATUS(TIMED_OUT);
    default:
        return STATUS(IO);
    }
}
