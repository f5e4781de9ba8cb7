/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Connect command: its SQE from byte 24 on, and its data.
 *
 *   40 bytes: SGL, CDW10 to CDW15; then up to 1024 bytes of Connect data, the rest zeros
 *
 * Every Connect gets one answer, and a controller only if it named the subsystem.
 */
#include <assert.h>
#include <stdlib.h>

#include "unit/nvme/target_harness.h"

#define INPUT_SQE_BYTES 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The capsule as the input has it. */
static size_t make_capsule(const uint8_t *data, size_t bytes, uint8_t *raw)
{
    const struct nvme_sqe sqe = { .opcode = NVME_OPCODE_FABRICS,
                                  .flags = NVME_SQE_PSDT_SGL,
                                  .cid = 1,
                                  .nsid = NVME_FCTYPE_CONNECT };
    const struct pdu_format plain = { 0 };
    struct nvme_connect_data_spec connect = { 0 };
    const size_t at = pdu_encode_capsule_cmd(&plain, &sqe, sizeof connect, raw);

    memcpy(raw + PDU_COMMON_BYTES + offsetof(struct nvme_sqe_spec, sgl), data, INPUT_SQE_BYTES);
    memcpy(&connect, data + INPUT_SQE_BYTES, min_u64(bytes - INPUT_SQE_BYTES, sizeof connect));
    memcpy(raw + at, &connect, sizeof connect);
    return at + sizeof connect;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t raw[PDU_ENCODED_BYTES_MAX + sizeof(struct nvme_connect_data_spec)];
    struct nvme_subsys_stats stats;
    struct th th;

    if (bytes < INPUT_SQE_BYTES)
        return 0;
    th_start(&th, &(struct th_options) { .reactors = 1,
                                         .pool_bytes = NVME_DATA_BYTES_MAX,
                                         .r2t_pool_bytes = NVME_DATA_BYTES_MAX });
    struct th_host *h = th_host_open(&th);
    th_handshake(h, false, false);
    th_send(h, raw, make_capsule(data, bytes, raw));
    if (!th_recv(h) || h->pdu.type != PDU_CAPSULE_RESP)
        abort();
    nvme_subsys_stats(th.subsys, &stats);
    const bool named = memmem(data, bytes, TH_NQN, strlen(TH_NQN)) != NULL;
    if (stats.controllers > 0 && (h->pdu.resp.status != 0 || !named))
        abort();
    th_host_close(h);
    th_stop(&th);
    return 0;
}
