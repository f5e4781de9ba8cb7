/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target on the kernel: two reactors in their threads, hosts with plain sockets in theirs.
 * What the commands do is tested elsewhere, on the simulated reactor; this is about threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem_ns.h"
#include "common/no_log.h"
#include "io/buf.h"
#include "io/uring.h"
#include "nvme/limits.h"
#include "nvme/pdu.h"
#include "nvme/target.h"

#define REACTORS 2
#define QUEUES   4
#define TURNS    40
#define COMINGS  4000
#define WARM_UP  200
#define NQN      NQN_VOLUME_PREFIX "db1"
#define LINK_NQN "nqn.2026-01.io.trilith:store:4f1c9e0a-4f0e-4a53-9d0e-5c8a3c1d7b11"
#define WHERE    0x84 /* On which reactor is the queue? */

/* A vendor's command: its answer is the reactor that it came to. */
struct where {
    struct nvme_vendor vendor;
    struct nvme_subsys *subsys;
    unsigned opened, closed; /* Home's. */
};

static struct log quiet = { .level = LOG_LEVEL_INFO, .sink = no_log };

struct server {
    struct reactor *reactors[REACTORS];
    struct buf_pool *pools[REACTORS];
    pthread_t threads[REACTORS];
    struct nvme_target *target;
    struct nvme_subsys *subsys;
    struct where where;
    struct mem_ns mem;
    struct io_addr addr;
    struct io_msg stop;
};

static struct server server;
static uint64_t features_mask; /* What the group's reactors do without. */

static bool where_allows(struct nvme_vendor *vendor, const char *host_nqn)
{
    (void)vendor;
    return host_nqn[0] != '\0';
}

static struct status where_opened(struct nvme_vendor *vendor, const char *host_nqn,
                                  void **out_association)
{
    struct where *where = CONTAINER_OF(vendor, struct where, vendor);

    (void)host_nqn;
    where->opened++;
    *out_association = where;
    return STATUS(OK);
}

static void where_closing(struct nvme_vendor *vendor, void *association)
{
    (void)vendor;
    (void)association;
}

static void where_closed(struct nvme_vendor *vendor, void *association)
{
    (void)association;
    CONTAINER_OF(vendor, struct where, vendor)->closed++;
}

static uint16_t where_check(struct nvme_vendor *vendor, const struct nvme_vendor_req *req,
                            uint32_t data_bytes)
{
    (void)vendor;
    return req->entry[0] == WHERE && data_bytes == 0 ? 0 : NVME_SC_INVALID_FIELD;
}

static void where_on_done(struct io_msg *msg)
{
    struct nvme_vendor_req *req = CONTAINER_OF(msg, struct nvme_vendor_req, msg);

    req->done(req);
}

static void where_submit(struct nvme_vendor *vendor, struct nvme_vendor_req *req)
{
    (void)vendor;
    req->dword0 = req->reactor == server.reactors[1];
    req->msg.deliver = where_on_done;
    reactor_post(req->reactor, &req->msg);
}

static const struct nvme_vendor_ops where_ops = {
    .allows = where_allows,
    .opened = where_opened,
    .closing = where_closing,
    .closed = where_closed,
    .check = where_check,
    .submit = where_submit,
};

static struct status MUST_CHECK where_add(void)
{
    const struct nvme_subsys_config config = { .nqn = LINK_NQN,
                                               .serial = "WHERE001",
                                               .vendor = &server.where.vendor };

    server.where = (struct where) { .vendor = { .ops = &where_ops } };
    nvme_vendor_add(&server.where.vendor, WHERE);
    return nvme_subsys_add(server.target, &config, &server.where.subsys);
}

static void *run_reactor(void *arg)
{
    reactor_run(arg);
    return NULL;
}

static void server_start(void)
{
    const struct io_addr loopback = { .family = IO_FAMILY_IPV4, .ip = { 127, 0, 0, 1 } };

    for (unsigned i = 0; i < REACTORS; i++) {
        const struct uring_config config = { .index = i,
                                             .features_mask = features_mask,
                                             .log = &quiet };
        assert_true(status_ok(uring_reactor_create(&config, &server.reactors[i])));
        assert_true(status_ok(buf_pool_create(server.reactors[i], 16u << 20, &server.pools[i])));
    }
    const struct nvme_target_config config = { .reactors = server.reactors,
                                               .pools = server.pools,
                                               .reactor_count = REACTORS,
                                               .r2t_pool_bytes = 16u << 20 };
    assert_true(status_ok(mem_ns_init(&server.mem, 16u << 20, 4096)));
    const struct nvme_subsys_config subsys = { .nqn = NQN,
                                               .serial = "TEST0001",
                                               .ns = &server.mem.ns };
    assert_true(status_ok(nvme_target_create(&config, &server.target)));
    assert_true(status_ok(nvme_subsys_add(server.target, &subsys, &server.subsys)));
    assert_true(status_ok(where_add()));
    assert_true(status_ok(nvme_target_listen(server.target, &loopback, NULL, &server.addr)));
    for (unsigned i = 0; i < REACTORS; i++)
        assert_int_equal(pthread_create(&server.threads[i], NULL, run_reactor, server.reactors[i]),
                         0);
}

static void server_on_stopped(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < REACTORS; i++)
        reactor_stop(server.reactors[i]);
}

static void server_on_stop(struct io_msg *msg)
{
    (void)msg;
    nvme_target_stop(server.target, server_on_stopped, NULL);
}

static void server_stop(void)
{
    server.stop.deliver = server_on_stop;
    reactor_post(server.reactors[0], &server.stop);
    for (unsigned i = 0; i < REACTORS; i++)
        assert_int_equal(pthread_join(server.threads[i], NULL), 0);
    nvme_target_destroy(server.target);
    for (unsigned i = 0; i < REACTORS; i++) {
        assert_int_equal(buf_pool_used(server.pools[i]), 0);
        buf_pool_destroy(server.pools[i]);
        reactor_destroy(server.reactors[i]);
    }
    mem_ns_fini(&server.mem);
}

/* ---- Hosts.  They run in threads, where cmocka's asserts do not work: false is failure. ---- */

static bool send_all(int fd, const void *data, size_t bytes)
{
    const uint8_t *at = data;

    while (bytes > 0) {
        const ssize_t sent = send(fd, at, bytes, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        bytes -= (size_t)sent;
    }
    return true;
}

static bool recv_all(int fd, void *data, size_t bytes)
{
    return recv(fd, data, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

/* Receives a PDU without digests; its data, if any, to data. */
static bool recv_pdu(int fd, struct pdu *out_pdu, uint8_t *data)
{
    const struct pdu_rules rules = { 0 };
    uint8_t raw[PDU_HEADER_BYTES_MAX];
    struct pdu_error error;

    return recv_all(fd, raw, PDU_COMMON_BYTES) &&
           status_ok(pdu_decode_common(&rules, raw, out_pdu, &error)) &&
           recv_all(fd, raw + PDU_COMMON_BYTES, out_pdu->head_bytes - PDU_COMMON_BYTES) &&
           status_ok(pdu_decode_header(&rules, raw, out_pdu, &error)) &&
           (out_pdu->data_bytes == 0 || recv_all(fd, data, out_pdu->data_bytes));
}

static bool send_command(int fd, const struct nvme_sqe *sqe, const void *data, uint32_t bytes)
{
    const struct pdu_format plain = { 0 };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];

    return send_all(fd, raw, pdu_encode_capsule_cmd(&plain, sqe, bytes, raw)) &&
           (bytes == 0 || send_all(fd, data, bytes));
}

/* Sends a command and takes its response; R2Ts are answered out of data. */
static bool execute(int fd, const struct nvme_sqe *sqe, uint8_t *data, uint32_t capsule_bytes,
                    struct nvme_cqe *out_cqe)
{
    const struct pdu_format plain = { 0 };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    struct pdu pdu;

    if (!send_command(fd, sqe, data, capsule_bytes))
        return false;
    while (recv_pdu(fd, &pdu, data)) {
        if (pdu.type == PDU_CAPSULE_RESP) {
            *out_cqe = pdu.resp;
            return true;
        }
        if (pdu.type == PDU_R2T &&
            !(send_all(fd, raw, pdu_encode_h2c_data(&plain, &pdu.data, PDU_FLAG_LAST, raw)) &&
              send_all(fd, data, pdu.data.bytes)))
            return false;
    }
    return false;
}

static int open_connection(void)
{
    const struct pdu_ic icreq = { 0 };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    struct pdu pdu;
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(server.addr.port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);

    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        send_all(fd, raw, pdu_encode_icreq(&icreq, raw)) && recv_pdu(fd, &pdu, NULL))
        return fd;
    close(fd);
    return -1;
}

static struct nvme_sqe connect_sqe(uint16_t qid)
{
    return (struct nvme_sqe) { .opcode = NVME_OPCODE_FABRICS,
                               .flags = NVME_SQE_PSDT_SGL,
                               .nsid = NVME_FCTYPE_CONNECT,
                               .sgl_id = NVME_SGL_IN_CAPSULE,
                               .sgl_bytes = 1024,
                               .cdw10 = (uint32_t)qid << 16,
                               .cdw11 = 31 };
}

static struct nvme_connect_data_spec connect_data(const char *nqn, uint16_t qid, uint8_t host_id,
                                                  uint16_t cntlid)
{
    struct nvme_connect_data_spec data = {
        .host_id = { host_id },
        .cntlid = le16_make(qid == 0 ? NVME_CNTLID_ANY : cntlid),
        .host_nqn = "nqn.2026-01.io.trilith:host:h1",
    };

    memcpy(data.subsys_nqn, nqn, strlen(nqn));
    return data;
}

/* Connects a queue; -1 if that fails.  cntlid is out for the admin queue, in for others. */
static int open_queue_of(const char *nqn, uint16_t qid, uint8_t host_id, uint16_t *cntlid)
{
    const struct nvme_sqe sqe = connect_sqe(qid);
    struct nvme_connect_data_spec data = connect_data(nqn, qid, host_id, *cntlid);
    const int fd = open_connection();
    struct nvme_cqe cqe;

    if (fd >= 0 && execute(fd, &sqe, (uint8_t *)&data, sizeof data, &cqe) && cqe.status == 0) {
        *cntlid = (uint16_t)cqe.result;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static int open_queue(uint16_t qid, uint8_t host_id, uint16_t *cntlid)
{
    return open_queue_of(NQN, qid, host_id, cntlid);
}

static bool set_cc(int fd, uint32_t cc)
{
    const struct nvme_sqe sqe = { .opcode = NVME_OPCODE_FABRICS,
                                  .flags = NVME_SQE_PSDT_SGL,
                                  .nsid = NVME_FCTYPE_PROPERTY_SET,
                                  .sgl_id = NVME_SGL_TRANSPORT,
                                  .cdw11 = NVME_PROP_CC,
                                  .cdw12 = cc };
    struct nvme_cqe cqe;

    return execute(fd, &sqe, NULL, 0, &cqe) && cqe.status == 0;
}

#define CC_ENABLED (NVME_CC_EN | 6u << NVME_CC_IOSQES_SHIFT | 4u << NVME_CC_IOCQES_SHIFT)

static bool enable(int fd)
{
    return set_cc(fd, CC_ENABLED);
}

struct worker {
    pthread_t thread;
    uint16_t qid;
    uint16_t cntlid;
    bool ok;
};

static bool rw(int fd, uint8_t opcode, uint64_t lba, uint32_t blocks, uint8_t *data)
{
    const bool in_capsule = opcode == NVME_IO_WRITE && blocks <= 2;
    const struct nvme_sqe sqe = { .opcode = opcode,
                                  .flags = NVME_SQE_PSDT_SGL,
                                  .nsid = 1,
                                  .sgl_id = in_capsule ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT,
                                  .sgl_bytes = blocks * 4096,
                                  .cdw10 = (uint32_t)lba,
                                  .cdw12 = blocks - 1 };
    struct nvme_cqe cqe;

    return execute(fd, &sqe, data, in_capsule ? blocks * 4096 : 0, &cqe) && cqe.status == 0;
}

/* Writes and reads back, small and large, in blocks of its own. */
static bool work(int fd, const struct worker *w)
{
    static const uint32_t sizes[] = { 1, 2, 16, 128 };
    uint8_t *data = malloc(NVME_DATA_BYTES_MAX);
    bool ok = data != NULL;

    for (unsigned turn = 0; ok && turn < TURNS; turn++) {
        const uint32_t blocks = sizes[turn % ARRAY_COUNT(sizes)];
        const uint64_t lba = w->qid * 512u + turn;
        const int byte = (int)(w->qid * TURNS + turn) & 0xff;

        memset(data, byte, blocks * 4096);
        ok = rw(fd, NVME_IO_WRITE, lba, blocks, data);
        memset(data, 0, blocks * 4096);
        ok = ok && rw(fd, NVME_IO_READ, lba, blocks, data);
        for (uint32_t i = 0; ok && i < blocks * 4096; i++)
            ok = data[i] == byte;
    }
    free(data);
    return ok;
}

static void *worker_run(void *arg)
{
    struct worker *w = arg;
    const int fd = open_queue(w->qid, 1, &w->cntlid);

    w->ok = fd >= 0 && work(fd, w);
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* Queues on both reactors read back what they wrote, with the admin queue on either. */
static void test_queues_on_all_reactors(void **state)
{
    (void)state;
    struct worker workers[QUEUES];
    uint16_t cntlid = 0;

    server_start();
    const int admin = open_queue(0, 1, &cntlid);
    assert_true(admin >= 0 && enable(admin));
    for (unsigned i = 0; i < QUEUES; i++) {
        workers[i] = (struct worker) { .qid = (uint16_t)(i + 1), .cntlid = cntlid };
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_true(workers[i].ok);
    }
    close(admin);
    server_stop();
}

/* A host that keeps connecting anew, in the middle of its own I/O, always comes through (W3). */
static void test_reconnect_storm(void **state)
{
    (void)state;
    int fds[2 * TURNS];
    uint8_t *data = calloc(1, NVME_DATA_BYTES_MAX);

    server_start();
    for (unsigned i = 0; i < TURNS; i++) {
        const struct nvme_sqe sqe = { .opcode = NVME_IO_READ,
                                      .flags = NVME_SQE_PSDT_SGL,
                                      .nsid = 1,
                                      .sgl_id = NVME_SGL_TRANSPORT,
                                      .sgl_bytes = 65536,
                                      .cdw12 = 15 };
        uint16_t cntlid = 0;

        fds[2 * i] = open_queue(0, 1, &cntlid);
        assert_true(fds[2 * i] >= 0 && enable(fds[2 * i]));
        fds[2 * i + 1] = open_queue(1, 1, &cntlid);
        assert_true(fds[2 * i + 1] >= 0);
        for (unsigned n = 0; n < 8; n++)
            assert_true(send_command(fds[2 * i + 1], &sqe, NULL, 0));
    }
    /* Only the last association lives. */
    struct nvme_cqe cqe;
    const struct nvme_sqe keep_alive = { .opcode = NVME_ADMIN_KEEP_ALIVE,
                                         .flags = NVME_SQE_PSDT_SGL };
    assert_false(execute(fds[2 * TURNS - 4], &keep_alive, data, 0, &cqe));
    assert_true(execute(fds[2 * TURNS - 2], &keep_alive, data, 0, &cqe));
    for (unsigned i = 0; i < 2 * TURNS; i++)
        close(fds[i]);
    free(data);
    server_stop();
}

/* ---- Queues whose id says where they belong ---- */

static bool ask_where(int fd, uint32_t *out_reactor)
{
    const struct nvme_sqe sqe = { .opcode = WHERE, .flags = NVME_SQE_PSDT_SGL };
    struct nvme_cqe cqe;

    if (!execute(fd, &sqe, NULL, 0, &cqe) || cqe.status != 0)
        return false;
    *out_reactor = (uint32_t)cqe.result;
    return true;
}

static void test_queues_go_where_they_belong(void **state)
{
    (void)state;
    int fds[QUEUES];
    uint16_t cntlid = 0;

    server_start();
    for (unsigned turn = 0; turn < TURNS; turn++) {
        const int admin = open_queue_of(LINK_NQN, 0, (uint8_t)turn, &cntlid);
        assert_true(admin >= 0 && enable(admin));
        for (unsigned i = 0; i < QUEUES; i++) {
            uint32_t reactor = REACTORS;
            fds[i] = open_queue_of(LINK_NQN, (uint16_t)(i + 1), (uint8_t)turn, &cntlid);
            assert_true(fds[i] >= 0 && ask_where(fds[i], &reactor));
            assert_int_equal(reactor, i % REACTORS);
        }
        for (unsigned i = 0; i < QUEUES; i++)
            close(fds[i]);
        close(admin);
    }
    server_stop();
    assert_int_equal(server.where.opened, TURNS);
    assert_int_equal(server.where.closed, TURNS);
}

#define KEPT 8 /* Associations whose end of the connections is open yet. */

/* A host that connects anew kills its queues, some of them on their way to another reactor. */
static void test_queues_are_killed_on_their_way(void **state)
{
    (void)state;
    int fds[KEPT][QUEUES + 1];

    server_start();
    for (unsigned turn = 0; turn < 5 * TURNS; turn++) {
        uint16_t cntlid = 0;
        const int admin = open_queue_of(LINK_NQN, 0, 1, &cntlid);

        assert_true(admin >= 0 && enable(admin));
        for (unsigned i = 0; turn >= KEPT && i <= QUEUES; i++)
            close(fds[turn % KEPT][i]);
        fds[turn % KEPT][0] = admin;
        for (uint16_t qid = 1; qid <= QUEUES; qid++) {
            const struct nvme_sqe sqe = connect_sqe(qid);
            const struct nvme_connect_data_spec data = connect_data(LINK_NQN, qid, 1, cntlid);
            const int fd = open_connection();
            assert_true(fd >= 0 && send_command(fd, &sqe, &data, sizeof data));
            fds[turn % KEPT][qid] = fd; /* Nobody waits for the answer. */
        }
        usleep(turn % 7 * 20);
    }
    for (unsigned i = 0; i < KEPT * (QUEUES + 1); i++)
        close(fds[i / (QUEUES + 1)][i % (QUEUES + 1)]);
    server_stop();
    assert_int_equal(server.where.opened, 5 * TURNS);
    assert_int_equal(server.where.closed, 5 * TURNS);
}

/* ---- What a process has ---- */

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* Bytes of address space: what is mapped shows here, where the heap's counters do not have it. */
static uint64_t mapped_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Waits until the target has let go of all connections. */
static void wait_for_fds(unsigned count)
{
    for (unsigned i = 0; i < 20000 && count_fds() != count; i++)
        usleep(1000);
    assert_int_equal(count_fds(), count);
}

/* A host comes, and goes in one of several ways. */
static void come_and_go(unsigned turn)
{
    const struct nvme_sqe read = { .opcode = NVME_IO_READ,
                                   .flags = NVME_SQE_PSDT_SGL,
                                   .nsid = 1,
                                   .sgl_id = NVME_SGL_TRANSPORT,
                                   .sgl_bytes = 65536,
                                   .cdw12 = 15 };
    const uint8_t host = (uint8_t)(turn % 7);
    uint16_t cntlid = 0;

    if (turn % 5 == 4) { /* Without a word. */
        const int fd = open_connection();
        assert_true(fd >= 0);
        close(fd);
        return;
    }
    const int admin = open_queue(0, host, &cntlid);
    assert_true(admin >= 0 && enable(admin));
    const int io = open_queue(1, host, &cntlid);
    assert_true(io >= 0);
    for (unsigned n = 0; n < turn % 4; n++) /* Nobody waits for the answers. */
        assert_true(send_command(io, &read, NULL, 0));
    if (turn % 5 == 0)
        assert_true(set_cc(admin, CC_ENABLED | 1u << 14)); /* A shutdown; or just away. */
    if (turn % 5 == 1)
        assert_true(set_cc(admin, 0));
    close(turn % 2 == 0 ? admin : io);
    close(turn % 2 == 0 ? io : admin);
}

/* Controllers come and go by the thousand, and leave nothing behind: no descriptor, no memory. */
static void test_thousands_come_and_go(void **state)
{
    (void)state;
    server_start();
    const unsigned fds = count_fds();
    for (unsigned i = 0; i < WARM_UP; i++)
        come_and_go(i);
    wait_for_fds(fds);
    const uint64_t mapped = mapped_bytes();
    const size_t heap = mallinfo2().uordblks;
    for (unsigned i = 0; i < COMINGS; i++)
        come_and_go(i);
    wait_for_fds(fds);
#ifndef __SANITIZE_ADDRESS__ /* It keeps what was freed for a while, and counts otherwise. */
    /* A command of each, or a page of its buffers, would be many times as much. */
    assert_true(mallinfo2().uordblks <= heap + COMINGS * 32);
    assert_true(mapped_bytes() <= mapped + (8u << 20));
#endif
    (void)heap;
    (void)mapped;
    server_stop();
}

static int group_5_14(void **state)
{
    (void)state;
    uint64_t features = 0;

    if (!status_ok(uring_features_parse("5.14", &features)))
        return -1;
    features_mask = URING_FEATURES_ALL & ~features;
    return 0;
}

/* With everything that this kernel has, and with what Linux 5.14 has. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queues_on_all_reactors),
        cmocka_unit_test(test_reconnect_storm),
        cmocka_unit_test(test_queues_go_where_they_belong),
        cmocka_unit_test(test_queues_are_killed_on_their_way),
        cmocka_unit_test(test_thousands_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) +
           cmocka_run_group_tests_name("5.14", tests, group_5_14, NULL);
}
