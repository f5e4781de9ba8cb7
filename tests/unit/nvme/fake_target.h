/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A controller that tests play themselves, byte by byte, towards one queue of the initiator: it
 * answers what the test says, when the test says it.  Both run on simulated machines.
 *
 * Threading: everything runs on the test's thread, in virtual time.
 * Memory:    a fake target comes from the heap; ft_destroy() frees all of it.
 */
#ifndef TESTS_UNIT_NVME_FAKE_TARGET_H
#define TESTS_UNIT_NVME_FAKE_TARGET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>

#include "io/op.h"
#include "io/sim.h"
#include "nvme/initiator.h"
#include "nvme/limits.h"

struct ft {
    struct sim_world *world;
    struct reactor *server;
    struct reactor *client;
    int listen_fd;
    int fd; /* The initiator's connection. */
    struct pdu_rules rules;
    struct pdu_format format;

    /* The initiator's queue. */
    struct initiator_queue *queue;
    struct log log;
    bool ready;
    bool ended;
    struct status why;

    /* The last PDU that the initiator sent, and its data. */
    struct pdu pdu;
    uint8_t data[NVME_DATA_BYTES_MAX];

    /* Private. */
    struct io_op op;
    bool op_done;
    bool closed;
    uint8_t in[PDU_HEADER_BYTES_MAX + 64 + NVME_DATA_BYTES_MAX];
    size_t in_bytes;
};

/* Makes the world, starts a queue (qid 1) and accepts its connection. */
struct ft *ft_create(bool digests);
void ft_destroy(struct ft *ft);

/* Where it listens. */
struct io_addr ft_addr(const struct ft *ft);

/* Ends the queue, and accepts the connection of something else of the initiator's, which has been
 * started at ft->client. */
void ft_accept_instead(struct ft *ft);

/* Lets the world go on until *condition. */
void ft_wait(struct ft *ft, const bool *condition);

void ft_send(struct ft *ft, const void *data, size_t bytes);

/* The next PDU from the initiator; false if it has closed the connection. */
bool ft_recv(struct ft *ft);

/* The next PDU is a command with this opcode. */
void ft_recv_cmd(struct ft *ft, uint8_t opcode);

/* The ICResp that a good controller sends. */
struct pdu_ic ft_icresp(const struct ft *ft);

/* ICReq, ICResp, Connect: the queue is ready. */
void ft_handshake(struct ft *ft);
struct ft *ft_connected(bool digests);

/* PDUs towards the initiator. */
void ft_send_icresp(struct ft *ft, const struct pdu_ic *ic);
void ft_send_resp(struct ft *ft, uint16_t cid, uint16_t status, uint64_t result);
void ft_send_r2t(struct ft *ft, uint16_t cid, uint32_t offset, uint32_t bytes);
/* The data are bytes of value. */
void ft_send_c2h(struct ft *ft, uint16_t cid, uint32_t offset, uint32_t bytes, uint8_t flags,
                 uint8_t value);

/* Expects an H2CTermReq that says so, the end of the connection, and BAD_PDU as the reason. */
void ft_expect_term(struct ft *ft, enum pdu_fes fes);

#endif
