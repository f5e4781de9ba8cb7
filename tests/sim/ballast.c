/* SPDX-License-Identifier: Apache-2.0 */
#include "ballast.h"

#include <assert.h>
#include <string.h>

#include "base/crc32c.h"
#include "disk/disk_format.h"
#include "store/store_internal.h"

#define CELL_BLOCKS_ (DISK_CELL_BYTES / STORE_BLOCK_BYTES)
#define SHARD_BYTES  ((uint64_t)BALLAST_CELLS_MAX * DISK_CELL_BYTES)

static void fill_next(struct ballast *b);
static void free_next(struct ballast *b);

void ballast_init(struct ballast *b, struct run *run)
{
    uint8_t *const raw = sim_world_alloc(run->world, (size_t)DISK_CELL_BYTES + STORE_BLOCK_BYTES);

    *b = (struct ballast) { .run = run, .left_cells = BALLAST_NONE };
    b->data = raw + (STORE_BLOCK_BYTES - (uintptr_t)raw % STORE_BLOCK_BYTES);
    memset(b->data, 0xba, DISK_CELL_BYTES);
    static_assert(ARRAY_COUNT(b->crcs) == CELL_BLOCKS_, "one for each block");
    for (unsigned i = 0; i < CELL_BLOCKS_; i++)
        b->crcs[i] = crc32c(b->data, STORE_BLOCK_BYTES);
}

void ballast_forget(struct ballast *b)
{
    memset(b->held, 0, sizeof b->held);
    b->held_count = 0;
}

bool ballast_is_due(const struct ballast *b)
{
    return b->left_cells != BALLAST_NONE || b->held_count > 0;
}

/* ---- The end ---- */

static void end_deliver(struct io_msg *msg)
{
    struct ballast *const b = CONTAINER_OF(msg, struct ballast, msg);

    b->done(b->ctx);
}

static void end(struct ballast *b)
{
    if (b->session != NULL)
        store_session_close(b->session);
    b->session = NULL;
    b->msg.deliver = end_deliver;
    reactor_post(b->home, &b->msg);
}

/* ---- Cells ---- */

static void submit(struct ballast *b, enum store_opcode opcode, void (*done)(struct store_io *io))
{
    b->io = (struct store_io) { .opcode = opcode,
                                .create = opcode == STORE_OP_WRITE,
                                .offset = (uint64_t)b->at * DISK_CELL_BYTES,
                                .bytes = DISK_CELL_BYTES,
                                .done = done };
    if (opcode == STORE_OP_WRITE) {
        b->io.data = (struct span) { b->data, DISK_CELL_BYTES };
        b->io.crcs = b->crcs;
    }
    store_submit(b->session, &b->io);
}

static bool has_taken_enough(const struct ballast *b)
{
    return store_free_bytes(b->store) <= (uint64_t)b->left_cells * DISK_CELL_BYTES;
}

static void begin_to_free(struct ballast *b)
{
    const uint64_t free = store_free_bytes(b->store) / DISK_CELL_BYTES;

    b->to_free = b->left_cells == BALLAST_NONE ? b->held_count
                 : free < b->left_cells        ? b->left_cells - (uint32_t)free
                                               : 0;
    free_next(b);
}

static void on_filled(struct store_io *io)
{
    struct ballast *const b = CONTAINER_OF(io, struct ballast, io);

    if (status_ok(io->status)) {
        b->held_count += b->held[b->at] ? 0 : 1;
        b->held[b->at] = true;
        fill_next(b);
    } else if (status_is(io->status, STATUS_NO_SPACE)) {
        begin_to_free(b);
    } else {
        end(b); /* The disk fails. */
    }
}

/* Everything first, so that what is left lies here and there. */
static void fill_next(struct ballast *b)
{
    if (b->left_cells == BALLAST_NONE || (b->epoch > 1 && has_taken_enough(b))) {
        begin_to_free(b);
        return;
    }
    for (uint32_t i = 0; i < BALLAST_CELLS_MAX; i++) {
        b->at = (b->at + 1) % BALLAST_CELLS_MAX;
        if (!b->held[b->at]) {
            submit(b, STORE_OP_WRITE, on_filled);
            return;
        }
    }
    begin_to_free(b);
}

static void on_freed(struct store_io *io)
{
    struct ballast *const b = CONTAINER_OF(io, struct ballast, io);

    if (!status_ok(io->status) && !status_is(io->status, STATUS_UNKNOWN_SHARD)) {
        end(b);
        return;
    }
    b->held[b->at] = false;
    b->held_count--;
    b->to_free--;
    free_next(b);
}

static void free_next(struct ballast *b)
{
    if (b->to_free == 0 || b->held_count == 0) {
        end(b);
        return;
    }
    b->at = (uint32_t)rng_below(&b->run->rng, BALLAST_CELLS_MAX);
    while (!b->held[b->at])
        b->at = (b->at + 1) % BALLAST_CELLS_MAX;
    submit(b, STORE_OP_DEALLOCATE, on_freed);
}

/* ---- The beginning ---- */

static void on_session(void *ctx, const struct store_session_opened *opened)
{
    struct ballast *const b = ctx;

    if (!status_ok(opened->status)) {
        end(b);
        return;
    }
    b->session = opened->session;
    if (opened->unflushed_loss)
        store_session_loss_reported(opened->session);
    fill_next(b);
}

static void start_deliver(struct io_msg *msg)
{
    struct ballast *const b = CONTAINER_OF(msg, struct ballast, msg);
    const struct store_session_config config = {
        .volume = { .uuid = { { 9 } },
                    .name = "ballast",
                    .bytes = SHARD_BYTES,
                    .shard_bytes = SHARD_BYTES,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 256 << 10,
                    .stripe_width = 1,
                    .replicas = 1,
                    .min_in_sync = 1 },
        .epoch = ++b->epoch,
    };

    const struct status st = store_session_open(b->store, &config, on_session, b);
    assert(status_ok(st));
}

void ballast_start(struct ballast *b, struct store *store, struct reactor *reactor,
                   struct reactor *home, void (*done)(void *ctx), void *ctx)
{
    b->store = store;
    b->reactor = reactor;
    b->home = home;
    b->done = done;
    b->ctx = ctx;
    b->session = NULL;
    b->msg.deliver = start_deliver;
    reactor_post(reactor, &b->msg);
}
