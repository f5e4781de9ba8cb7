/* SPDX-License-Identifier: Apache-2.0 */
#include "passer.h"

#include <assert.h>
#include <inttypes.h>

#include "base/crc32c.h"
#include "base/span.h"

#define PASSER_SHARDS      4
#define PASSER_SHARD_BYTES ((uint64_t)1 << 20)
#define PASSER_BYTES       ((size_t)2 * STORE_BLOCK_BYTES)
#define FOREIGN_BYTE       0xa7 /* No pattern: whoever reads it has somebody else's bytes. */

static void passer_open(struct passer *p);
static void passer_next(struct passer *p);

void passer_init(struct passer *p)
{
    uint8_t *const raw = sim_world_alloc(p->run->world, PASSER_BYTES);

    p->data = raw + (STORE_BLOCK_BYTES - (uintptr_t)raw % STORE_BLOCK_BYTES);
    memset(p->data, FOREIGN_BYTE, STORE_BLOCK_BYTES);
    p->crc = crc32c(p->data, STORE_BLOCK_BYTES);
}

static void passer_leave(struct passer *p)
{
    store_session_close(p->session);
    p->session = NULL;
}

static void passer_on_done(struct store_io *io)
{
    struct passer *const p = CONTAINER_OF(io, struct passer, io);
    const bool deleted = io->opcode == STORE_OP_DELETE_VOLUME && status_ok(io->status);

    if (!status_ok(io->status) && !status_is(io->status, STATUS_NO_SPACE) &&
        !status_is(io->status, STATUS_UNKNOWN_SHARD) && !p->errors)
        run_fail(p->run, "command %d of volume %u beside: %s", (int)io->opcode, p->number,
                 status_text(io->status));
    if (p->stopping)
        return; /* passer_stop() has closed the session. */
    if (!deleted) {
        passer_next(p);
        return;
    }
    passer_leave(p);
    p->number++;
    if (run_percent(p->run, 50))
        passer_open(p);
}

static void passer_submit(struct passer *p, enum store_opcode opcode)
{
    struct run *const run = p->run;
    struct store_io *const io = &p->io;

    *io = (struct store_io) {
        .opcode = opcode, .create = true, .incarnation = p->incarnation, .done = passer_on_done
    };
    if (opcode == STORE_OP_WRITE || opcode == STORE_OP_WRITE_ZEROES) {
        io->shard = (uint32_t)rng_below(&run->rng, PASSER_SHARDS);
        io->offset =
            rng_below(&run->rng, PASSER_SHARD_BYTES / STORE_BLOCK_BYTES) * STORE_BLOCK_BYTES;
        io->bytes = STORE_BLOCK_BYTES;
        io->fua = run_percent(run, 20);
    }
    if (opcode == STORE_OP_WRITE) {
        io->data = (struct span) { p->data, STORE_BLOCK_BYTES };
        io->crcs = &p->crc;
    }
    store_submit(p->session, io);
}

static void passer_next(struct passer *p)
{
    const uint64_t what = rng_below(&p->run->rng, 10);

    if (p->ops_left > 0) {
        p->ops_left--;
        passer_submit(p, what < 8   ? STORE_OP_WRITE
                         : what < 9 ? STORE_OP_WRITE_ZEROES
                                    : STORE_OP_FLUSH);
    } else if (run_percent(p->run, 70)) {
        passer_submit(p, STORE_OP_DELETE_VOLUME);
    } /* Otherwise it stays, for a later life. */
}

static void passer_on_session(void *ctx, const struct store_session_opened *opened)
{
    struct passer *const p = ctx;

    if (!status_ok(opened->status)) {
        if (!p->errors && !p->stopping && !status_is(opened->status, STATUS_NO_SPACE))
            run_fail(p->run, "a session of volume %u beside: %s", p->number,
                     status_text(opened->status));
        return;
    }
    p->session = opened->session;
    p->incarnation = opened->incarnation;
    if (p->stopping) {
        passer_leave(p);
        return;
    }
    if (opened->unflushed_loss)
        store_session_loss_reported(opened->session);
    p->ops_left = run_between(p->run, 0, 20);
    passer_next(p);
}

static void passer_open(struct passer *p)
{
    struct store_session_config config = {
        .volume = { .uuid = { { 6 } },
                    .name = "passer",
                    .bytes = PASSER_SHARDS * PASSER_SHARD_BYTES,
                    .shard_bytes = PASSER_SHARD_BYTES,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 256 << 10,
                    .stripe_width = 1,
                    .replicas = 1,
                    .min_in_sync = 1 },
        .epoch = ++p->epoch,
    };

    memcpy(&config.volume.uuid.b[4], &p->number, sizeof p->number);
    const struct status st = store_session_open(p->store, &config, passer_on_session, p);
    assert(status_ok(st));
}

/* The tested volume, the one beside it, and the one that is there now. */
static void passer_check_deleted(struct passer *p)
{
    struct store_info info;

    store_get_info(p->store, &info);
    if (info.volumes > 3 && !p->lied)
        run_fail(p->run, "%" PRIu64 " volumes: one that was deleted is back", info.volumes);
}

void passer_start(struct passer *p, struct store *store)
{
    p->store = store;
    p->session = NULL;
    p->stopping = false;
    passer_check_deleted(p);
    if (run_percent(p->run, 50))
        passer_open(p);
}

void passer_stop(struct passer *p)
{
    p->stopping = true;
    if (p->session != NULL)
        passer_leave(p);
}
