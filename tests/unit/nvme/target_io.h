/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An admin and an I/O queue of one host, and reads and writes as they are on the wire.
 *
 * Threading: as target_harness.h.
 * Memory:    one target, and one pattern of data, for each program.
 */
#ifndef TESTS_UNIT_NVME_TARGET_IO_H
#define TESTS_UNIT_NVME_TARGET_IO_H

#include "target_harness.h"

extern struct th th;
extern uint8_t block[NVME_DATA_BYTES_MAX];

/* An admin queue and one I/O queue. */
struct pair {
    struct th_host *admin;
    struct th_host *io;
    uint16_t cntlid;
};

void fill(uint64_t seed, size_t bytes);

struct pair open_pair(const struct th_options *options);

struct pair open_pair_with(const struct th_options *options, bool header_digest, bool data_digest,
                           bool sq_flow_off);

void close_pair(struct pair p);

struct nvme_cqe write_in_capsule(struct th_host *h, uint64_t lba, uint32_t blocks);

void send_h2c(struct th_host *h, const struct pdu_data *data, uint8_t flags, const uint8_t *bytes);

/* Sends a write whose data go by R2T, and expects the R2T. */
struct pdu_data write_and_r2t(struct th_host *h, uint64_t lba, uint32_t blocks);

/* Answers an R2T in pieces. */
struct nvme_cqe send_r2t_data(struct th_host *h, struct pdu_data r2t, uint32_t piece_bytes);

void assert_reads_back(struct th_host *h, uint64_t lba, uint32_t blocks);

#endif
