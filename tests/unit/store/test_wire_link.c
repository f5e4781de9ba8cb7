/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of the store protocol on a link: what the codec makes, the transport brings (2.1). */
#include "store/wire.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "unit/nvme/initiator_host.h"

#define NQN "nqn.2026-01.io.trilith:store:4f1c9e0a-4f0e-4a53-9d0e-5c8a3c1d7b11"

/* A store that executes nothing: it checks what comes, and answers READ with what WRITE has brought
 * last. */
struct echo {
    struct nvme_vendor vendor;
    struct nvme_subsys *subsys;
    struct wire_command last;
    uint8_t data[WIRE_BLOCKS_MAX * 4100];
};

static bool echo_allows(struct nvme_vendor *vendor, const char *host_nqn)
{
    (void)vendor;
    return strncmp(host_nqn, "nqn.2026-01.io.trilith:", 23) == 0;
}

static struct status echo_opened(struct nvme_vendor *vendor, const char *host_nqn,
                                 void **out_association)
{
    (void)host_nqn;
    *out_association = vendor;
    return STATUS(OK);
}

static void echo_ends(struct nvme_vendor *vendor, void *association)
{
    assert_ptr_equal(vendor, association);
}

static uint16_t echo_check(struct nvme_vendor *vendor, const struct nvme_vendor_req *req,
                           uint32_t data_bytes)
{
    struct wire_command c;

    (void)vendor;
    return wire_status_encode(wire_command_decode(req->entry, data_bytes, &c));
}

static struct status MUST_CHECK echo_execute(struct echo *echo, const struct nvme_vendor_req *req)
{
    const uint32_t bytes = (uint32_t)req->data.bytes;
    TRY(wire_command_decode(req->entry, bytes, &echo->last));

    const struct const_span data = span_const(req->data);
    const size_t blocks_bytes = (size_t)echo->last.blocks * STORE_BLOCK_BYTES;
    if (echo->last.opcode == WIRE_WRITE) {
        TRY(wire_blocks_check(const_span_sub(data, 0, blocks_bytes),
                              const_span_sub(data, blocks_bytes, bytes - blocks_bytes)));
        memcpy(echo->data, data.at, bytes);
    } else if (echo->last.opcode == WIRE_READ) {
        memcpy(req->data.at, echo->data, bytes);
    } else if (bytes > 0 && (echo->last.opcode & NVME_OPCODE_TO_HOST) != 0) {
        memset(req->data.at, 0, bytes);
    }
    return STATUS(OK);
}

static void echo_on_done(struct io_msg *msg)
{
    struct nvme_vendor_req *req = CONTAINER_OF(msg, struct nvme_vendor_req, msg);

    req->done(req);
}

static void echo_submit(struct nvme_vendor *vendor, struct nvme_vendor_req *req)
{
    struct echo *echo = CONTAINER_OF(vendor, struct echo, vendor);

    req->status = wire_status_encode(echo_execute(echo, req));
    const uint64_t answer =
        wire_answer_encode((struct wire_answer) { .seals = 3, .incarnation = 0x80000001 });
    req->dword0 = (uint32_t)answer;
    req->dword1 = (uint32_t)(answer >> 32);
    req->msg.deliver = echo_on_done;
    reactor_post(req->reactor, &req->msg);
}

static const struct nvme_vendor_ops ops = {
    .allows = echo_allows,
    .opened = echo_opened,
    .closing = echo_ends,
    .closed = echo_ends,
    .check = echo_check,
    .submit = echo_submit,
};

/* ---- The engine's end ---- */

static struct host *h;
static struct echo *echo;

struct order {
    struct initiator_cmd cmd;
    bool done;
};

static void link_open(void)
{
    const struct nvme_subsys_config config = {
        .nqn = NQN, .serial = "STORE", .vendor = &(echo = calloc(1, sizeof *echo))->vendor
    };

    h = host_create(NULL);
    echo->vendor.ops = &ops;
    for (unsigned opcode = NVME_VENDOR_OPCODE_MIN; opcode <= UINT8_MAX; opcode++) {
        if (wire_opcode_is_known((uint8_t)opcode))
            nvme_vendor_add(&echo->vendor, (uint8_t)opcode);
    }
    assert_true(status_ok(nvme_subsys_add(h->th.target, &config, &echo->subsys)));
    snprintf(h->endpoint.subsystem_nqn.s, sizeof h->endpoint.subsystem_nqn.s, NQN);
    h->endpoint.header_digest = true;
    h->no_namespace = true;
    host_connect_ctrl(h);
    th_wait(&h->th, &h->ctrl_ready);
    host_open_queue(h, 32);
    th_wait(&h->th, &h->queue_ready);
    assert_true(initiator_queue_header_digest(h->queue));
}

static void link_close(void)
{
    host_destroy(h);
    free(echo);
}

static void on_order(struct initiator_cmd *cmd)
{
    CONTAINER_OF(cmd, struct order, cmd)->done = true;
}

/* Sends an entry, and returns what its status means. */
static enum status_code run(const uint8_t *entry, struct span data, struct span tail)
{
    struct order o = { .cmd = { .data = data, .tail = tail, .done = on_order } };

    initiator_cmd_set_entry(&o.cmd, entry);
    initiator_queue_submit(h->queue, &o.cmd);
    th_wait(&h->th, &o.done);
    const struct wire_answer answer = wire_answer_decode(o.cmd.result);
    if (status_ok(o.cmd.status)) {
        assert_int_equal(answer.seals, 3);
        assert_int_equal(answer.incarnation, 0x80000001);
    }
    return wire_status_decode(o.cmd.sc).code;
}

static uint8_t blocks[WIRE_BLOCKS_MAX * 4096 + 4], back[WIRE_BLOCKS_MAX * 4096 + 4];
static uint8_t crcs[WIRE_BLOCKS_MAX * 4], back_crcs[WIRE_BLOCKS_MAX * 4];

/* Blocks where they are, and CRCs where they are, there and back. */
static void blocks_travel_with_their_crcs(void **state)
{
    static const uint32_t counts[] = { 1, 2, 127 };

    (void)state;
    link_open();
    for (size_t n = 0; n < ARRAY_COUNT(counts); n++) {
        const size_t bytes = counts[n] * (size_t)4096;
        struct wire_command c = { .opcode = WIRE_WRITE, .handle = 1, .epoch = 2 };
        uint8_t entry[WIRE_ENTRY_BYTES];
        uint32_t host_crcs[WIRE_BLOCKS_MAX];

        for (size_t i = 0; i < bytes; i++)
            blocks[i] = (uint8_t)(i * (n + 3) >> 3);
        for (uint32_t i = 0; i < counts[n]; i++)
            host_crcs[i] = crc32c(blocks + (size_t)i * 4096, 4096);
        const struct span tail = { crcs, counts[n] * 4 };
        wire_crcs_encode(host_crcs, counts[n], tail);
        c.blocks = counts[n];
        wire_command_encode(&c, entry);
        assert_int_equal(run(entry, (struct span) { blocks, bytes }, tail), STATUS_OK);
        assert_int_equal(echo->last.blocks, counts[n]);
        c.opcode = WIRE_READ;
        wire_command_encode(&c, entry);
        assert_int_equal(
            run(entry, (struct span) { back, bytes }, (struct span) { back_crcs, counts[n] * 4 }),
            STATUS_OK);
        assert_memory_equal(back, blocks, bytes);
        assert_memory_equal(back_crcs, crcs, counts[n] * 4);
        crcs[counts[n] * 4 - 1] ^= 1;
        c.opcode = WIRE_WRITE;
        wire_command_encode(&c, entry);
        assert_int_equal(run(entry, (struct span) { blocks, bytes }, tail), STATUS_BAD_DIGEST);
    }
    link_close();
}

/* Every command is taken as the codec has made it; not with a bit of it turned, or other data. */
static void every_command_passes(void **state)
{
    (void)state;
    link_open();
    for (unsigned opcode = 0x80; opcode < 0x100; opcode++) {
        const bool asks = opcode == WIRE_STATE || opcode == WIRE_REGIONS || opcode == WIRE_POINTS;
        const bool has_items = opcode == WIRE_SET || opcode == WIRE_CLOSE_REGIONS ||
                               opcode == WIRE_MERGE_REGIONS || opcode == WIRE_KEEP_POINTS;
        const bool has_blocks = opcode == WIRE_READ || opcode == WIRE_WRITE ||
                                opcode == WIRE_ZERO || opcode == WIRE_HASH || opcode == WIRE_SPOIL;
        const struct wire_command c = { .opcode = (enum wire_opcode)opcode,
                                        .handle = opcode == WIRE_OPEN ? 0 : 7,
                                        .epoch = 5,
                                        .session = 9,
                                        .blocks = asks || has_blocks ? 1 : 0 };
        uint8_t entry[WIRE_ENTRY_BYTES];

        if (!wire_opcode_is_known((uint8_t)opcode) || opcode == WIRE_WRITE)
            continue;
        wire_command_encode(&c, entry);
        const uint32_t bytes = wire_data_bytes(&c, has_items ? 1 : 0);
        const struct span data = { back, bytes }, none = { 0 };
        assert_int_equal(run(entry, data, none), STATUS_OK);
        assert_int_equal(echo->last.opcode, opcode);
        assert_int_equal(echo->last.session, 9);
        if (bytes > 0)
            assert_int_equal(run(entry, (struct span) { back, bytes + 4 }, none), STATUS_MALFORMED);
        entry[56] ^= 1;
        assert_int_equal(run(entry, data, none), STATUS_BAD_DIGEST);
    }
    link_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_travel_with_their_crcs),
        cmocka_unit_test(every_command_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
