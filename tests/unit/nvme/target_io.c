/* SPDX-License-Identifier: Apache-2.0 */
#include "target_io.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

struct th th;
uint8_t block[NVME_DATA_BYTES_MAX];

void fill(uint64_t seed, size_t bytes)
{
    struct rng rng;

    rng_init(&rng, seed);
    rng_fill(&rng, (struct span) { block, bytes });
}

struct pair open_pair(const struct th_options *options)
{
    struct pair p;

    th_start(&th, options);
    p.admin = th_admin(&th, &p.cntlid);
    p.io = th_io_queue(&th, p.cntlid, 1);
    return p;
}

struct pair open_pair_with(const struct th_options *options, bool header_digest, bool data_digest,
                           bool sq_flow_off)
{
    struct pair p;

    th_start(&th, options);
    p.admin = th_admin(&th, &p.cntlid);
    p.io = th_host_open(&th);
    th_handshake(p.io, header_digest, data_digest);
    const struct th_connect c = { .qid = 1, .cntlid = p.cntlid, .sq_flow_off = sq_flow_off };
    assert_int_equal(th_connect(p.io, &c).status, 0);
    return p;
}

void close_pair(struct pair p)
{
    th_host_close(p.io);
    th_host_close(p.admin);
    th_stop(&th);
}

struct nvme_cqe write_in_capsule(struct th_host *h, uint64_t lba, uint32_t blocks)
{
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, lba, blocks, 4096);

    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    return th_command(h, &sqe, block, blocks * 4096);
}

void send_h2c(struct th_host *h, const struct pdu_data *data, uint8_t flags, const uint8_t *bytes)
{
    static uint8_t raw[PDU_ENCODED_BYTES_MAX + NVME_DATA_BYTES_MAX + PDU_DIGEST_BYTES];
    size_t at = pdu_encode_h2c_data(&h->format, data, flags, raw);

    memcpy(raw + at, bytes, data->bytes);
    at += data->bytes;
    if (h->format.data_digest) {
        const struct le32 digest = pdu_data_digest(bytes, data->bytes);
        memcpy(raw + at, &digest, sizeof digest);
        at += sizeof digest;
    }
    th_send(h, raw, at);
}

struct pdu_data write_and_r2t(struct th_host *h, uint64_t lba, uint32_t blocks)
{
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, lba, blocks, 4096);

    sqe.cid = h->next_cid++;
    th_send_command(h, &sqe, NULL, 0);
    assert_true(th_recv(h));
    assert_int_equal(h->pdu.type, PDU_R2T);
    assert_int_equal(h->pdu.data.cccid, sqe.cid);
    assert_int_equal(h->pdu.data.offset, 0);
    assert_int_equal(h->pdu.data.bytes, blocks * 4096);
    return h->pdu.data;
}

struct nvme_cqe send_r2t_data(struct th_host *h, struct pdu_data r2t, uint32_t piece_bytes)
{
    for (uint32_t at = 0; at < r2t.bytes; at += piece_bytes) {
        const uint32_t bytes = (uint32_t)min_u64(piece_bytes, r2t.bytes - at);
        const struct pdu_data data = {
            .cccid = r2t.cccid, .ttag = r2t.ttag, .offset = at, .bytes = bytes
        };

        send_h2c(h, &data, at + bytes == r2t.bytes ? PDU_FLAG_LAST : 0, block + at);
    }
    return th_recv_cqe(h);
}

void assert_reads_back(struct th_host *h, uint64_t lba, uint32_t blocks)
{
    const struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, lba, blocks, 4096);

    memset(h->data, 0xee, sizeof h->data);
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, 0);
    assert_memory_equal(h->data, block, blocks * 4096);
}
