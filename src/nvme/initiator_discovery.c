/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme/initiator_discovery.h"

#include <assert.h>
#include <stdlib.h>

#include "base/sm.h"
#include "nvme/log_spec.h"

#define RECORD_BYTES     sizeof(struct nvme_discovery_record_spec)
#define RECORDS_PER_READ 16u
#define TRIES_MAX        5u

/*
 *  IDLE -> CTRL -> HEADER -> RECORDS -> CHECK -> CLOSING -> ENDED
 *                    ^  |     ^   |       |
 *                    |  |     +---+       |
 *                    |  +---- (none) ---->|
 *                    +---- (changed) -----+
 *
 * HEADER, RECORDS and CHECK await d->cmd, CTRL and CLOSING the controller.  The end of the
 * controller leads from any of them to ENDED.
 */
enum discovery_state {
    DISCOVERY_IDLE,
    DISCOVERY_CTRL,
    DISCOVERY_HEADER,
    DISCOVERY_RECORDS,
    DISCOVERY_CHECK,
    DISCOVERY_CLOSING,
    DISCOVERY_ENDED,
};

#define TO_END (SM_TO(DISCOVERY_CLOSING) | SM_TO(DISCOVERY_ENDED))

static const struct sm_state discovery_states[] = {
    [DISCOVERY_IDLE] = { "idle", SM_TO(DISCOVERY_CTRL) },
    [DISCOVERY_CTRL] = { "ctrl", SM_TO(DISCOVERY_HEADER) | TO_END },
    [DISCOVERY_HEADER] = { "header", SM_TO(DISCOVERY_RECORDS) | SM_TO(DISCOVERY_CHECK) | TO_END },
    [DISCOVERY_RECORDS] = { "records", SM_TO(DISCOVERY_RECORDS) | SM_TO(DISCOVERY_CHECK) | TO_END },
    [DISCOVERY_CHECK] = { "check", SM_TO(DISCOVERY_HEADER) | TO_END },
    [DISCOVERY_CLOSING] = { "closing", SM_TO(DISCOVERY_ENDED) },
    [DISCOVERY_ENDED] = { "ended", 0 },
};

struct initiator_discovery {
    struct initiator_discovery_config config;
    struct sm sm;
    struct status result;
    struct initiator_ctrl *ctrl;
    struct initiator_cmd cmd;
    uint64_t generation;
    unsigned tries;
    unsigned count; /* Records that the log has; read of them are here. */
    unsigned read;
    struct initiator_discovery_record *records;
    uint8_t page[RECORDS_PER_READ * RECORD_BYTES];
};

/* ---- Decoding ---- */

/* A text field: printable ASCII up to the first zero, or nothing. */
static bool take_text(char *to, size_t to_bytes, const char *field, size_t field_bytes)
{
    const size_t bytes = strnlen(field, field_bytes);

    if (bytes >= to_bytes)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (field[i] < ' ' || field[i] > '~')
            return false;
    }
    memcpy(to, field, bytes);
    to[bytes] = '\0';
    return true;
}

static bool take_port(const char *field, size_t field_bytes, uint16_t *out_port)
{
    unsigned port = 0;

    for (size_t i = 0; i < field_bytes && field[i] != '\0' && field[i] != ' '; i++) {
        if (field[i] < '0' || field[i] > '9')
            return false;
        port = port * 10 + (unsigned)(field[i] - '0');
        if (port > UINT16_MAX)
            return false;
    }
    *out_port = (uint16_t)port;
    return port != 0;
}

static bool take_addr(const struct nvme_discovery_record_spec *spec, struct io_addr *out_addr)
{
    char ip[IO_ADDR_TEXT_BYTES];
    uint16_t port;

    if (spec->trtype != NVME_TRTYPE_TCP)
        return false;
    if (spec->adrfam != NVME_ADRFAM_IPV4 && spec->adrfam != NVME_ADRFAM_IPV6)
        return false;
    return take_text(ip, sizeof ip, spec->traddr, sizeof spec->traddr) &&
           take_port(spec->trsvcid, sizeof spec->trsvcid, &port) &&
           status_ok(io_addr_parse(ip, port, out_addr));
}

static struct status MUST_CHECK take_record(const uint8_t *raw,
                                            struct initiator_discovery_record *out_record)
{
    struct nvme_discovery_record_spec spec;
    struct initiator_discovery_record r = { 0 };

    memcpy(&spec, raw, sizeof spec);
    if (!take_text(r.subsystem_nqn.s, sizeof r.subsystem_nqn.s, spec.subnqn, sizeof spec.subnqn) ||
        !nqn_is_valid(r.subsystem_nqn.s))
        return STATUS(CORRUPT);
    r.subtype = spec.subtype;
    r.port_id = le16_get(spec.portid);
    r.cntlid = le16_get(spec.cntlid);
    r.is_tcp = take_addr(&spec, &r.addr);
    *out_record = r;
    return STATUS(OK);
}

/* ---- Reading ---- */

static void on_cmd(struct initiator_cmd *cmd);

static void read_log(struct initiator_discovery *d, enum discovery_state state, uint64_t offset,
                     size_t bytes)
{
    const uint32_t dwords = (uint32_t)(bytes / 4) - 1; /* 0's based. */

    assert(bytes > 0 && bytes <= sizeof d->page);
    sm_move(&d->sm, (int)state);
    d->cmd = (struct initiator_cmd) {
        .sqe = { .opcode = NVME_ADMIN_GET_LOG_PAGE,
                 .cdw10 = NVME_LOG_DISCOVERY | (dwords & 0xffff) << 16,
                 .cdw11 = dwords >> 16,
                 .cdw12 = (uint32_t)offset,
                 .cdw13 = (uint32_t)(offset >> 32) },
        .data = { d->page, bytes },
        .done = on_cmd,
    };
    initiator_ctrl_submit(d->ctrl, &d->cmd);
}

static void read_header(struct initiator_discovery *d, enum discovery_state state)
{
    read_log(d, state, 0, sizeof(struct nvme_discovery_header_spec));
}

/* The next records, or the header again when all are there. */
static void read_more(struct initiator_discovery *d)
{
    const unsigned count = (unsigned)min_u64(d->count - d->read, RECORDS_PER_READ);

    if (count == 0)
        read_header(d, DISCOVERY_CHECK);
    else
        read_log(d, DISCOVERY_RECORDS,
                 sizeof(struct nvme_discovery_header_spec) + d->read * RECORD_BYTES,
                 count * RECORD_BYTES);
}

static struct status MUST_CHECK take_header(struct initiator_discovery *d)
{
    struct nvme_discovery_header_spec h;

    memcpy(&h, d->page, sizeof h);
    if (le64_get(h.numrec) > INITIATOR_DISCOVERY_RECORDS_MAX)
        return STATUS(LIMIT);
    d->generation = le64_get(h.genctr);
    d->count = (unsigned)le64_get(h.numrec);
    d->read = 0;
    free(d->records);
    d->records = calloc(d->count + 1u, sizeof *d->records);
    if (d->records == NULL)
        return STATUS(NO_MEMORY);
    read_more(d);
    return STATUS(OK);
}

static struct status MUST_CHECK take_records(struct initiator_discovery *d)
{
    const unsigned count = (unsigned)(d->cmd.data.bytes / RECORD_BYTES);

    assert(d->read + count <= d->count);
    for (unsigned i = 0; i < count; i++)
        TRY(take_record(d->page + i * RECORD_BYTES, &d->records[d->read + i]));
    d->read += count;
    read_more(d);
    return STATUS(OK);
}

static void close_ctrl(struct initiator_discovery *d, struct status result)
{
    d->result = result;
    sm_move(&d->sm, DISCOVERY_CLOSING);
    initiator_ctrl_stop(d->ctrl);
}

static struct status MUST_CHECK take_check(struct initiator_discovery *d)
{
    struct nvme_discovery_header_spec h;

    memcpy(&h, d->page, sizeof h);
    if (le64_get(h.genctr) == d->generation) {
        close_ctrl(d, STATUS(OK));
        return STATUS(OK);
    }
    if (++d->tries == TRIES_MAX)
        return STATUS(CONFLICT);
    read_header(d, DISCOVERY_HEADER);
    return STATUS(OK);
}

static struct status MUST_CHECK advance(struct initiator_discovery *d)
{
    switch ((enum discovery_state)d->sm.now) {
    case DISCOVERY_HEADER:
        return take_header(d);
    case DISCOVERY_RECORDS:
        return take_records(d);
    case DISCOVERY_CHECK:
        return take_check(d);
    case DISCOVERY_IDLE:
    case DISCOVERY_CTRL:
    case DISCOVERY_CLOSING:
    case DISCOVERY_ENDED:
        break;
    }
    sm_bug(&d->sm);
}

static void on_cmd(struct initiator_cmd *cmd)
{
    struct initiator_discovery *d = CONTAINER_OF(cmd, struct initiator_discovery, cmd);

    /* Of a lost connection on_ended() brings the reason. */
    if (initiator_cmd_is_lost(cmd))
        return;
    struct status st = cmd->status;
    if (status_ok(st))
        st = advance(d);
    if (!status_ok(st))
        close_ctrl(d, st);
}

static void on_ready(struct initiator_ctrl *c)
{
    struct initiator_discovery *d = initiator_ctrl_ctx(c);

    read_header(d, DISCOVERY_HEADER);
}

static void on_ended(struct initiator_ctrl *c, struct status why)
{
    struct initiator_discovery *d = initiator_ctrl_ctx(c);
    const bool planned = d->sm.now == DISCOVERY_CLOSING;
    const struct status st = planned ? d->result : why;

    sm_move(&d->sm, DISCOVERY_ENDED);
    d->config.done(d, st, d->records, status_ok(st) ? d->count : 0); /* d may be gone. */
}

static const struct initiator_ctrl_ops ctrl_ops = { on_ready, NULL, on_ended };

/* ---- Interface ---- */

struct status initiator_discovery_create(const struct initiator_discovery_config *config,
                                         struct initiator_discovery **out_discovery)
{
    struct initiator_discovery *d = calloc(1, sizeof *d);
    if (d == NULL)
        return STATUS(NO_MEMORY);
    d->config = *config;
    sm_init(&d->sm, discovery_states, DISCOVERY_IDLE);

    struct initiator_ctrl_config cc = {
        .ops = &ctrl_ops,
        .ctx = d,
        .reactor = config->reactor,
        .endpoint = config->endpoint,
        .log = config->log,
    };
    cc.endpoint.subsystem_nqn = (struct nqn_text) { NQN_DISCOVERY };
    const struct status st = initiator_ctrl_create(&cc, &d->ctrl);
    if (!status_ok(st)) {
        initiator_discovery_destroy(d);
        return st;
    }
    *out_discovery = d;
    return st;
}

void initiator_discovery_start(struct initiator_discovery *d)
{
    sm_move(&d->sm, DISCOVERY_CTRL);
    initiator_ctrl_start(d->ctrl);
}

void initiator_discovery_destroy(struct initiator_discovery *d)
{
    if (d == NULL)
        return;
    assert(d->sm.now == DISCOVERY_IDLE || d->sm.now == DISCOVERY_ENDED);
    initiator_ctrl_destroy(d->ctrl);
    free(d->records);
    free(d);
}

void *initiator_discovery_ctx(const struct initiator_discovery *d)
{
    return d->config.ctx;
}
