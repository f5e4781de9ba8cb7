/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A controller that sends anything to the initiator, on the simulated reactor; and Identify data
 * of any content.
 *
 *   byte 0: what follows, and the digests; then the bytes themselves
 *
 * Whatever came, each command ends exactly once, memory around its data is whole, and a success
 * has all its data.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/initiator_identify.h"
#include "unit/nvme/fake_target.h"

#define INPUT_STAGE_MASK 0x03
#define INPUT_DIGESTS    0x04
#define INPUT_BYTES_MAX  ((size_t)64 << 10)
#define CANARY           0x5a
#define READ_BYTES       8192
#define WRITE_BYTES      32768

enum stage { STAGE_ICRESP, STAGE_CONNECT, STAGE_LIVE, STAGE_IDENTIFY };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const struct initiator_ns_info ns = { .nsid = 1, .lba_bytes = 4096, .bytes = 1 << 20 };

struct flight {
    struct initiator_io io;
    unsigned dones;
    uint8_t before[64];
    uint8_t data[WRITE_BYTES];
    uint8_t after[64];
};

static void on_io(struct initiator_io *io)
{
    CONTAINER_OF(io, struct flight, io)->dones++;
}

static struct flight *submit(struct ft *ft, enum initiator_opcode opcode, size_t bytes)
{
    struct flight *f = malloc(sizeof *f);

    assert(f != NULL);
    memset(f, CANARY, sizeof *f);
    f->dones = 0;
    f->io = (struct initiator_io) { .opcode = opcode, .data = { f->data, bytes }, .done = on_io };
    initiator_io_submit(ft->queue, &ns, &f->io);
    return f;
}

static void check(struct flight *f)
{
    assert(f->dones == 1);
    for (size_t i = 0; i < sizeof f->before; i++) {
        assert(f->before[i] == CANARY);
        assert(f->after[i] == CANARY);
    }
    const size_t written = f->io.opcode == INITIATOR_READ ? f->io.data.bytes : 0;
    for (size_t i = written; i < sizeof f->data; i++)
        assert(f->data[i] == CANARY);
    if (status_ok(f->io.status))
        assert(f->io.cmd.moved == f->io.data.bytes);
    free(f);
}

static void fuzz_queue(enum stage stage, bool digests, const uint8_t *data, size_t bytes)
{
    struct ft *ft = ft_create(digests);

    if (stage == STAGE_LIVE)
        ft_handshake(ft);
    /* Connect has CID 400h; in STAGE_LIVE these have 800h, 401h and 402h. */
    struct flight *flights[] = { submit(ft, INITIATOR_READ, READ_BYTES),
                                 submit(ft, INITIATOR_WRITE, WRITE_BYTES),
                                 submit(ft, INITIATOR_WRITE, 4096) };
    if (stage == STAGE_CONNECT) {
        (void)ft_recv(ft);
        ft->format.header_digest = digests;
        ft->format.data_digest = digests;
        const struct pdu_ic ic = ft_icresp(ft);
        ft_send_icresp(ft, &ic);
    }
    sim_world_run(ft->world, NS_PER_MS);
    if (bytes > 0)
        ft_send(ft, data, bytes);
    sim_world_run(ft->world, NS_PER_MS);
    io_shutdown(ft->server, ft->fd);
    ft_wait(ft, &ft->ended);
    for (size_t i = 0; i < ARRAY_COUNT(flights); i++)
        check(flights[i]);
    ft_destroy(ft);
}

static void fuzz_identify(const uint8_t *data, size_t bytes)
{
    uint8_t raw[NVME_IDENTIFY_BYTES] = { 0 };
    struct initiator_ctrl_info info = { 0 };
    struct initiator_ns_info found = { 0 };
    uint32_t nsid;

    memcpy(raw, data, min_u64(bytes, sizeof raw));
    if (status_ok(initiator_parse_ctrl(raw, &info))) {
        assert(info.data_bytes_max > 0 && info.data_bytes_max <= NVME_DATA_BYTES_MAX);
        assert(info.in_capsule_bytes <= NVME_IN_CAPSULE_BYTES_MAX);
        assert(strlen(info.model) <= 40);
    }
    if (status_ok(initiator_parse_ns_list(raw, &nsid)))
        assert(nsid != 0);
    if (status_ok(initiator_parse_ns(raw, &found)))
        assert(found.bytes > 0 && found.bytes % found.lba_bytes == 0);
    initiator_parse_ns_descriptors(raw, &found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0 || bytes > INPUT_BYTES_MAX)
        return 0;
    const enum stage stage = (enum stage)(data[0] & INPUT_STAGE_MASK);
    if (stage == STAGE_IDENTIFY)
        fuzz_identify(data + 1, bytes - 1);
    else
        fuzz_queue(stage, (data[0] & INPUT_DIGESTS) != 0, data + 1, bytes - 1);
    return 0;
}
