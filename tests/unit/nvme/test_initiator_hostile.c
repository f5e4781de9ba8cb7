/* SPDX-License-Identifier: Apache-2.0 */
/*
 * W1 towards controllers: whatever one sends, the initiator's memory stays whole, no command ends
 * as a success that it was not, and the connection ends as the specification says.
 */
#include "fake_target.h"

#include <stdlib.h>
#include <string.h>

#include "nvme/identify_spec.h"
#include "nvme/initiator_discovery.h"

#define READ_BYTES  8192
#define WRITE_BYTES 65536
#define CANARY      0x5a

static const struct initiator_ns_info ns = { .nsid = 1, .lba_bytes = 4096, .bytes = 1 << 20 };

/* A command in flight, its memory between two canaries. */
struct flight {
    struct initiator_io io;
    unsigned dones;
    bool done;
    uint16_t cid;
    uint8_t before[4096];
    uint8_t data[WRITE_BYTES];
    uint8_t after[4096];
};

static void on_io(struct initiator_io *io)
{
    struct flight *f = CONTAINER_OF(io, struct flight, io);
    f->dones++;
    f->done = true;
}

/* Submits a command and receives its capsule. */
static struct flight *submit(struct ft *ft, enum initiator_opcode opcode, size_t bytes)
{
    struct flight *f = malloc(sizeof *f);

    assert_non_null(f);
    memset(f, CANARY, sizeof *f);
    f->dones = 0;
    f->done = false;
    f->io = (struct initiator_io) { .opcode = opcode, .data = { f->data, bytes }, .done = on_io };
    initiator_io_submit(ft->queue, &ns, &f->io);
    assert_true(ft_recv(ft));
    assert_int_equal(ft->pdu.type, PDU_CAPSULE_CMD);
    f->cid = ft->pdu.cmd.cid;
    return f;
}

static struct flight *submit_read(struct ft *ft)
{
    return submit(ft, INITIATOR_READ, READ_BYTES);
}

static void all_are(const uint8_t *data, size_t bytes, uint8_t value)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(data[i], value);
}

static void check_canaries(const struct flight *f, size_t data_bytes)
{
    all_are(f->before, sizeof f->before, CANARY);
    all_are(f->data + data_bytes, sizeof f->data - data_bytes, CANARY);
    all_are(f->after, sizeof f->after, CANARY);
}

/* The command's end: once, and as LOST. */
static void check_lost(struct flight *f)
{
    assert_int_equal(f->dones, 1);
    assert_int_equal(f->io.status.code, STATUS_LOST);
    check_canaries(f, f->io.opcode == INITIATOR_READ ? READ_BYTES : 0);
    free(f);
}

/* ---- What a good controller does ---- */

static void reads_arrive_in_any_pieces(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(false);
    struct flight *f = submit_read(ft);

    ft_send_c2h(ft, f->cid, 0, 4, 0, 1);
    ft_send_c2h(ft, f->cid, 4, 4092, 0, 1);
    ft_send_c2h(ft, f->cid, 4096, 4096, PDU_FLAG_LAST, 2);
    assert_false(f->done);
    ft_send_resp(ft, f->cid, 0, 0);
    ft_wait(ft, &f->done);
    assert_int_equal(f->io.status.code, STATUS_OK);
    all_are(f->data, 4096, 1);
    all_are(f->data + 4096, 4096, 2);
    check_canaries(f, READ_BYTES);
    free(f);
    ft_destroy(ft);
}

static void data_may_stand_for_the_completion(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(true);
    struct flight *f = submit_read(ft);

    ft_send_c2h(ft, f->cid, 0, READ_BYTES, PDU_FLAG_LAST | PDU_FLAG_SUCCESS, 3);
    ft_wait(ft, &f->done);
    assert_int_equal(f->io.status.code, STATUS_OK);
    all_are(f->data, READ_BYTES, 3);
    free(f);
    ft_destroy(ft);
}

static void writes_go_out_as_the_controller_asks(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(true);
    struct flight *f = submit(ft, INITIATOR_WRITE, WRITE_BYTES);

    assert_int_equal(ft->pdu.data_bytes, 0);
    ft_send_r2t(ft, f->cid, 0, 40960);
    /* MAXH2CDATA is 16384: 40960 = 16384 + 16384 + 8192. */
    for (uint32_t at = 0; at < 40960; at += 16384) {
        assert_true(ft_recv(ft));
        assert_int_equal(ft->pdu.type, PDU_H2C_DATA);
        assert_int_equal(ft->pdu.data.offset, at);
        assert_int_equal(ft->pdu.data.ttag, 99);
        assert_int_equal(ft->pdu.data_bytes, at == 32768 ? 8192 : 16384);
        assert_int_equal(ft->pdu.last, at == 32768);
    }
    ft_send_r2t(ft, f->cid, 40960, 24576);
    for (uint32_t at = 40960; at < WRITE_BYTES; at += 16384) {
        assert_true(ft_recv(ft));
        assert_int_equal(ft->pdu.data.offset, at);
    }
    assert_false(f->done);
    ft_send_resp(ft, f->cid, 0, 0);
    ft_wait(ft, &f->done);
    assert_int_equal(f->io.status.code, STATUS_OK);
    free(f);
    ft_destroy(ft);
}

static void an_early_error_ends_a_write(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(false);
    struct flight *f = submit(ft, INITIATOR_WRITE, WRITE_BYTES);

    ft_send_resp(ft, f->cid, NVME_SC_CAPACITY | NVME_SC_DNR, 0);
    ft_wait(ft, &f->done);
    assert_int_equal(f->io.status.code, STATUS_NO_SPACE);
    assert_int_equal(f->io.sc, NVME_SC_CAPACITY | NVME_SC_DNR);
    free(f);
    ft_destroy(ft);
}

/* ---- What a bad one does ---- */

/* Sends something bad to a queue that has a read and a write in flight. */
typedef void attack_fn(struct ft *ft, struct flight *read, struct flight *write);

static void attack(attack_fn *send_bad, enum pdu_fes fes)
{
    struct ft *ft = ft_connected(false);
    struct flight *read = submit_read(ft);
    struct flight *write = submit(ft, INITIATOR_WRITE, WRITE_BYTES);

    send_bad(ft, read, write);
    ft_expect_term(ft, fes);
    assert_int_equal(ft->why.code, STATUS_BAD_PDU);
    check_lost(read);
    check_lost(write);
    ft_destroy(ft);
}

static void cid_without_a_command(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_resp(ft, (uint16_t)(read->cid + 3), 0, 0);
}

static void cid_far_off(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    (void)write;
    ft_send_resp(ft, 0xffff, 0, 0);
}

static void cid_of_an_earlier_command(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    /* The same slot, used once less. */
    ft_send_resp(ft, (uint16_t)(read->cid - 0x400), NVME_SC_INTERNAL, 0);
}

static void success_without_data(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_resp(ft, read->cid, 0, 0);
}

static void success_with_half_the_data(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_c2h(ft, read->cid, 0, 4096, PDU_FLAG_LAST, 0);
    ft_send_resp(ft, read->cid, 0, 0);
}

static void success_flag_with_half_the_data(struct ft *ft, struct flight *read,
                                            struct flight *write)
{
    (void)write;
    ft_send_c2h(ft, read->cid, 0, 4096, PDU_FLAG_LAST | PDU_FLAG_SUCCESS, 0);
}

static void success_of_a_write_not_asked_for(struct ft *ft, struct flight *read,
                                             struct flight *write)
{
    (void)read;
    ft_send_resp(ft, write->cid, 0, 0);
}

static void data_for_no_command(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    (void)write;
    ft_send_c2h(ft, 0x123, 0, 4096, 0, 0);
}

static void data_for_a_write(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    ft_send_c2h(ft, write->cid, 0, 4096, 0, 0);
}

static void data_past_the_end(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_c2h(ft, read->cid, 0, READ_BYTES + 4, 0, 0);
}

static void data_behind_the_end(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_c2h(ft, read->cid, 0, READ_BYTES, 0, 0);
    ft_send_c2h(ft, read->cid, READ_BYTES, 4, 0, 0);
}

static void data_at_a_huge_offset(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_c2h(ft, read->cid, UINT32_MAX - 3, 8, 0, 0);
}

static void data_out_of_order(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_c2h(ft, read->cid, 4096, 4096, 0, 0);
}

static void data_twice(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_c2h(ft, read->cid, 0, 4096, 0, 0);
    ft_send_c2h(ft, read->cid, 0, 4096, 0, 0);
}

static void r2t_for_a_read(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    ft_send_r2t(ft, read->cid, 0, 4096);
}

static void r2t_for_too_much(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    ft_send_r2t(ft, write->cid, 0, WRITE_BYTES + 4);
}

static void two_r2ts_at_once(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    const struct pdu_data first = { .cccid = write->cid, .offset = 0, .bytes = 4096 };
    const struct pdu_data second = { .cccid = write->cid, .offset = 4096, .bytes = 4096 };
    uint8_t raw[2 * PDU_ENCODED_BYTES_MAX];
    size_t bytes = pdu_encode_r2t(&ft->format, &first, raw);
    bytes += pdu_encode_r2t(&ft->format, &second, raw + bytes);
    ft_send(ft, raw, bytes);
}

static void r2t_for_nothing(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    ft_send_r2t(ft, write->cid, 0, 0);
}

static void r2t_for_the_middle(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    ft_send_r2t(ft, write->cid, 4096, 4096);
}

static void r2t_that_wraps(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    ft_send_r2t(ft, write->cid, 0, UINT32_MAX - 3);
}

static void second_icresp(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    (void)write;
    const struct pdu_ic ic = ft_icresp(ft);
    ft_send_icresp(ft, &ic);
}

static void command_from_a_controller(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    (void)write;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    ft_send(ft, raw, pdu_encode_capsule_cmd(&ft->format, &(struct nvme_sqe) { 0 }, 0, raw));
}

static void nonsense(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)read;
    (void)write;
    uint8_t raw[64];
    memset(raw, 0xee, sizeof raw);
    ft_send(ft, raw, sizeof raw);
}

static void a_pdu_of_4_gib(struct ft *ft, struct flight *read, struct flight *write)
{
    (void)write;
    const struct pdu_data data = { .cccid = read->cid, .bytes = 4096 };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const size_t bytes = pdu_encode_c2h_data(&ft->format, &data, 0, raw);
    memset(raw + 4, 0xff, 4); /* PLEN. */
    ft_send(ft, raw, bytes);
}

static void every_attack_ends_the_connection(void **state)
{
    (void)state;
    static const struct {
        attack_fn *send_bad;
        enum pdu_fes fes;
    } attacks[] = {
        { cid_without_a_command, PDU_FES_HEADER_FIELD },
        { cid_far_off, PDU_FES_HEADER_FIELD },
        { cid_of_an_earlier_command, PDU_FES_HEADER_FIELD },
        { success_without_data, PDU_FES_SEQUENCE },
        { success_with_half_the_data, PDU_FES_SEQUENCE },
        { success_flag_with_half_the_data, PDU_FES_SEQUENCE },
        { success_of_a_write_not_asked_for, PDU_FES_SEQUENCE },
        { data_for_no_command, PDU_FES_HEADER_FIELD },
        { data_for_a_write, PDU_FES_DATA_RANGE },
        { data_past_the_end, PDU_FES_DATA_RANGE },
        { data_behind_the_end, PDU_FES_DATA_RANGE },
        { data_at_a_huge_offset, PDU_FES_DATA_RANGE },
        { data_out_of_order, PDU_FES_DATA_RANGE },
        { data_twice, PDU_FES_DATA_RANGE },
        { r2t_for_a_read, PDU_FES_SEQUENCE },
        { r2t_for_too_much, PDU_FES_DATA_RANGE },
        { two_r2ts_at_once, PDU_FES_LIMIT },
        { r2t_for_nothing, PDU_FES_DATA_RANGE },
        { r2t_for_the_middle, PDU_FES_DATA_RANGE },
        { r2t_that_wraps, PDU_FES_DATA_RANGE },
        { second_icresp, PDU_FES_SEQUENCE },
        { command_from_a_controller, PDU_FES_HEADER_FIELD },
        { nonsense, PDU_FES_HEADER_FIELD },
        { a_pdu_of_4_gib, PDU_FES_HEADER_FIELD },
    };
    for (size_t i = 0; i < ARRAY_COUNT(attacks); i++)
        attack(attacks[i].send_bad, attacks[i].fes);
}

static void a_completion_comes_once(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(false);
    struct flight *f = submit_read(ft);

    ft_send_resp(ft, f->cid, NVME_SC_INTERNAL, 0);
    ft_wait(ft, &f->done);
    assert_int_equal(f->io.status.code, STATUS_IO);
    ft_send_resp(ft, f->cid, 0, 0);
    ft_expect_term(ft, PDU_FES_HEADER_FIELD);
    assert_int_equal(f->dones, 1);
    free(f);
    ft_destroy(ft);
}

static void a_write_in_its_capsule_needs_no_r2t(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(false);
    struct flight *f = submit(ft, INITIATOR_WRITE, 4096);

    assert_int_equal(ft->pdu.data_bytes, 4096);
    ft_send_r2t(ft, f->cid, 0, 4096);
    ft_expect_term(ft, PDU_FES_SEQUENCE);
    check_lost(f);
    ft_destroy(ft);
}

static void rotten_data_fail_their_command_alone(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(true);
    struct flight *f = submit_read(ft);
    const struct pdu_data data = { .cccid = f->cid, .bytes = READ_BYTES };
    static uint8_t raw[PDU_ENCODED_BYTES_MAX + READ_BYTES + PDU_DIGEST_BYTES];
    const size_t at = pdu_encode_c2h_data(&ft->format, &data, PDU_FLAG_LAST, raw);

    ft_send(ft, raw, at + READ_BYTES + PDU_DIGEST_BYTES); /* The digest is 0: wrong. */
    ft_send_resp(ft, f->cid, 0, 0);
    ft_wait(ft, &f->done);
    assert_int_equal(f->io.status.code, STATUS_BAD_DIGEST);
    assert_false(ft->ended);
    free(f);
    ft_destroy(ft);
}

static void a_rotten_header_ends_the_connection(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(true);
    struct flight *f = submit_read(ft);
    const struct nvme_cqe cqe = { .cid = f->cid, .status = NVME_SC_INTERNAL };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const size_t bytes = pdu_encode_capsule_resp(&ft->format, &cqe, raw);

    raw[bytes - 1] ^= 1;
    ft_send(ft, raw, bytes);
    ft_expect_term(ft, PDU_FES_HEADER_DIGEST);
    assert_int_equal(ft->why.code, STATUS_BAD_DIGEST);
    check_lost(f);
    ft_destroy(ft);
}

static void a_termination_ends_the_queue(void **state)
{
    (void)state;
    struct ft *ft = ft_connected(false);
    struct flight *f = submit_read(ft);
    const struct pdu_term term = { PDU_FES_HEADER_FIELD, 8 };
    uint8_t raw[PDU_TERM_BYTES_MAX];

    ft_send(ft, raw, pdu_encode_term(true, &term, (struct const_span) { raw, 8 }, raw));
    ft_wait(ft, &ft->ended);
    assert_int_equal(ft->why.code, STATUS_PEER_CLOSED);
    check_lost(f);
    ft_destroy(ft);
}

static void a_bad_icresp_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct pdu_ic ic;
        enum pdu_fes fes;
    } bad[] = {
        { { .param = 0 }, PDU_FES_HEADER_FIELD },    /* MAXH2CDATA. */
        { { .param = 4092 }, PDU_FES_HEADER_FIELD }, /* Below 4096. */
        { { .param = 4098 }, PDU_FES_HEADER_FIELD },
        { { .param = 4096, .pda = 32 }, PDU_FES_HEADER_FIELD },
        { { .param = 4096, .pfv = 1 }, PDU_FES_PARAMETER },
        { { .param = 4096, .header_digest = true }, PDU_FES_PARAMETER }, /* Not asked for. */
        { { .param = 4096, .data_digest = true }, PDU_FES_PARAMETER },
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct ft *ft = ft_create(false);
        assert_true(ft_recv(ft));
        ft_send_icresp(ft, &bad[i].ic);
        ft_expect_term(ft, bad[i].fes);
        assert_false(ft->ready);
        ft_destroy(ft);
    }
}

static void a_controller_that_says_nothing_is_given_up(void **state)
{
    (void)state;
    struct ft *ft = ft_create(false);

    ft_wait(ft, &ft->ended);
    assert_int_equal(ft->why.code, STATUS_TIMED_OUT);
    ft_destroy(ft);
}

static void a_cut_at_any_byte_loses_the_command(void **state)
{
    (void)state;

    /* A C2HData PDU and the CapsuleResp behind it: 24 + 8192 + 24 bytes. */
    static const size_t cuts[] = { 0, 1, 7, 8, 23, 24, 25, 4120, 8215, 8216, 8217, 8239 };
    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        struct ft *ft = ft_connected(false);
        struct flight *f = submit_read(ft);
        const struct pdu_data data = { .cccid = f->cid, .bytes = READ_BYTES };
        static uint8_t raw[PDU_ENCODED_BYTES_MAX * 2 + READ_BYTES];
        size_t at = pdu_encode_c2h_data(&ft->format, &data, PDU_FLAG_LAST, raw) + READ_BYTES;
        at += pdu_encode_capsule_resp(&ft->format, &(struct nvme_cqe) { .cid = f->cid }, raw + at);
        assert_int_equal(at, 24 + 8192 + 24);

        if (cuts[i] > 0)
            ft_send(ft, raw, cuts[i]);
        io_shutdown(ft->server, ft->fd);
        ft_wait(ft, &ft->ended);
        const bool clean = cuts[i] == 0 || cuts[i] == 24 + 8192;
        assert_int_equal(ft->why.code, clean ? STATUS_PEER_CLOSED : STATUS_TRUNCATED);
        check_lost(f);
        ft_destroy(ft);
    }
}

/* ---- A controller that is not ready ---- */

struct asked {
    struct initiator_discovery *discovery;
    bool done;
    struct status st;
};

static void on_discovery(struct initiator_discovery *d, struct status st,
                         const struct initiator_discovery_record *records, unsigned count)
{
    struct asked *a = initiator_discovery_ctx(d);

    (void)records;
    assert_int_equal(count, 0);
    a->done = true;
    a->st = st;
}

/* Asks for a discovery log, up to the command Identify, which is the last PDU received. */
static struct ft *ask_for_log(struct asked *a)
{
    struct ft *ft = ft_connected(false);
    const struct initiator_discovery_config config = {
        .ctx = a,
        .reactor = ft->client,
        .endpoint = { .addr = ft_addr(ft),
                      .host_nqn = { "nqn.2026-01.io.trilith:host:h1" },
                      .connect_timeout_ns = 10 * NS_PER_S,
                      .command_timeout_ns = 10 * NS_PER_S },
        .log = &ft->log,
        .done = on_discovery,
    };
    static const uint64_t answers[] = { 127, 0, NVME_CSTS_RDY }; /* CAP, to CC, CSTS. */

    *a = (struct asked) { 0 };
    assert_true(status_ok(initiator_discovery_create(&config, &a->discovery)));
    initiator_discovery_start(a->discovery);
    ft_accept_instead(ft);
    ft_handshake(ft);
    for (unsigned i = 0; i < ARRAY_COUNT(answers); i++) {
        ft_recv_cmd(ft, NVME_OPCODE_FABRICS);
        ft_send_resp(ft, ft->pdu.cmd.cid, 0, answers[i]);
    }
    ft_recv_cmd(ft, NVME_ADMIN_IDENTIFY);
    return ft;
}

static void send_identity(struct ft *ft)
{
    const struct nvme_id_ctrl_spec id = { .cntlid = le16_make(7),
                                          .cntrltype = NVME_CTRL_TYPE_DISCOVERY };
    const struct pdu_data data = { .cccid = ft->pdu.cmd.cid, .bytes = sizeof id };
    uint8_t raw[PDU_ENCODED_BYTES_MAX + sizeof id];
    const size_t at =
        pdu_encode_c2h_data(&ft->format, &data, PDU_FLAG_LAST | PDU_FLAG_SUCCESS, raw);

    memcpy(raw + at, &id, sizeof id);
    ft_send(ft, raw, at + sizeof id);
}

/* An answer is no loss of the connection, also if it says the same: who asked is told. */
static void a_controller_that_is_not_ready_is_told_of(void **state)
{
    (void)state;
    struct asked a;
    struct ft *ft = ask_for_log(&a);

    ft_send_resp(ft, ft->pdu.cmd.cid, NVME_SC_NS_NOT_READY, 0);
    ft_wait(ft, &a.done);
    assert_int_equal(a.st.code, STATUS_UNAVAILABLE);
    initiator_discovery_destroy(a.discovery);
    ft_destroy(ft);
}

static void a_log_that_is_not_ready_is_told_of(void **state)
{
    (void)state;
    struct asked a;
    struct ft *ft = ask_for_log(&a);

    send_identity(ft);
    ft_recv_cmd(ft, NVME_ADMIN_GET_LOG_PAGE);
    ft_send_resp(ft, ft->pdu.cmd.cid, NVME_SC_NS_NOT_READY, 0);
    ft_wait(ft, &a.done);
    assert_int_equal(a.st.code, STATUS_UNAVAILABLE);
    initiator_discovery_destroy(a.discovery);
    ft_destroy(ft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_arrive_in_any_pieces),
        cmocka_unit_test(data_may_stand_for_the_completion),
        cmocka_unit_test(writes_go_out_as_the_controller_asks),
        cmocka_unit_test(an_early_error_ends_a_write),
        cmocka_unit_test(every_attack_ends_the_connection),
        cmocka_unit_test(a_completion_comes_once),
        cmocka_unit_test(a_write_in_its_capsule_needs_no_r2t),
        cmocka_unit_test(rotten_data_fail_their_command_alone),
        cmocka_unit_test(a_rotten_header_ends_the_connection),
        cmocka_unit_test(a_termination_ends_the_queue),
        cmocka_unit_test(a_bad_icresp_is_refused),
        cmocka_unit_test(a_controller_that_says_nothing_is_given_up),
        cmocka_unit_test(a_cut_at_any_byte_loses_the_command),
        cmocka_unit_test(a_controller_that_is_not_ready_is_told_of),
        cmocka_unit_test(a_log_that_is_not_ready_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
