/* SPDX-License-Identifier: Apache-2.0 */
#include "bystander.h"

#include <assert.h>

#include "base/crc32c.h"
#include "base/span.h"

#define BYSTANDER_SHARD_BYTES ((uint64_t)1 << 20)
#define BYSTANDER_BLOCKS      40 /* More than a grain. */

static void bystander_next(struct bystander *b);

void bystander_init(struct bystander *b)
{
    uint8_t *const raw = sim_world_alloc(b->run->world, (size_t)2 * STORE_BLOCK_BYTES);

    b->data = raw + (STORE_BLOCK_BYTES - (uintptr_t)raw % STORE_BLOCK_BYTES);
    b->crc = crc32c(b->data, STORE_BLOCK_BYTES);
}

static void bystander_on_done(struct store_io *io)
{
    struct bystander *const b = CONTAINER_OF(io, struct bystander, io);
    const bool ok = status_ok(io->status);
    const bool unknown = status_is(io->status, STATUS_UNKNOWN_SHARD);

    if (!ok && !unknown && !status_is(io->status, STATUS_NO_SPACE) && !b->errors)
        run_fail(b->run, "command %d of the volume beside: %s", (int)io->opcode,
                 status_text(io->status));
    if (b->counts)
        loss_command_ends(&b->loss, sim_world_now_ns(b->run->world),
                          ok && io->opcode == STORE_OP_WRITE);
    if (io->opcode == STORE_OP_FLUSH && ok)
        loss_flush_ends(&b->loss, b->covered);
    bystander_next(b);
}

static void bystander_submit(struct bystander *b)
{
    struct run *const run = b->run;
    const uint64_t what = rng_below(&run->rng, 10);
    struct store_io *const io = &b->io;

    *io = (struct store_io) { .opcode = what < 6   ? STORE_OP_WRITE
                                        : what < 8 ? STORE_OP_WRITE_ZEROES
                                                   : STORE_OP_FLUSH,
                              .create = true,
                              .incarnation = b->incarnation,
                              .offset = rng_below(&run->rng, BYSTANDER_BLOCKS) * STORE_BLOCK_BYTES,
                              .bytes = STORE_BLOCK_BYTES,
                              .done = bystander_on_done };
    if (io->opcode == STORE_OP_WRITE) {
        io->data = (struct span) { b->data, STORE_BLOCK_BYTES };
        io->crcs = &b->crc;
    }
    io->fua = io->opcode != STORE_OP_FLUSH && run_percent(run, 20);
    b->counts = io->opcode != STORE_OP_FLUSH && !io->fua;
    if (b->counts)
        loss_command_begins(&b->loss, sim_world_now_ns(run->world));
    b->covered = loss_flush_begins(&b->loss);
    store_submit(b->session, io);
}

static void bystander_next(struct bystander *b)
{
    if (b->ops_left == 0) {
        b->ready(b);
        return;
    }
    b->ops_left--;
    bystander_submit(b);
}

static void bystander_on_session(void *ctx, const struct store_session_opened *opened)
{
    struct bystander *const b = ctx;

    if (!status_ok(opened->status)) {
        if (!b->errors)
            run_fail(b->run, "a session of the volume beside: %s", status_text(opened->status));
        b->ready(b);
        return;
    }
    b->described = true;
    const char *const wrong = loss_check(&b->loss, opened->unflushed_loss);
    if (wrong != NULL && !b->lied)
        run_fail(b->run, "the volume beside: %s", wrong);
    b->session = opened->session;
    b->incarnation = opened->incarnation;
    if (opened->unflushed_loss && run_percent(b->run, 70))
        store_session_loss_reported(opened->session);
    b->ops_left = run_percent(b->run, 30) ? run_between(b->run, 1, 5) : 0;
    bystander_next(b);
}

void bystander_start(struct bystander *b, struct store *store)
{
    const struct store_session_config config = {
        .volume = { .uuid = { { 8 } },
                    .name = "beside",
                    .bytes = BYSTANDER_SHARD_BYTES,
                    .shard_bytes = BYSTANDER_SHARD_BYTES,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 256 << 10,
                    .stripe_width = 1,
                    .replicas = 1,
                    .min_in_sync = 1 },
        .epoch = ++b->epoch,
        .known = b->described && !b->lied, /* Else it is refused, and the run fails. */
    };

    b->store = store;
    b->session = NULL;
    loss_recovered(&b->loss);
    const struct status st = store_session_open(store, &config, bystander_on_session, b);
    assert(status_ok(st));
}

void bystander_stop(struct bystander *b)
{
    if (b->session != NULL)
        store_session_close(b->session);
    b->session = NULL;
}
