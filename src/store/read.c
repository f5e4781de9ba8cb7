/* SPDX-License-Identifier: Apache-2.0 */
/* Reads: through the layers, verified (S3). */
#include <assert.h>

#include "base/crc32c.h"
#include "store/store_internal.h"

static void read_on_segment(struct dev_io *dev_io);

/* All parts have ended. */
static void read_check_end(struct store_io *io)
{
    if (io->pending == 0)
        command_finish(io, io->outcome);
}

static void read_zeros(struct store_io *io, const struct map_run *run)
{
    const struct store *const store = io->session->store;

    memset(io->data.at + (size_t)io->cursor * STORE_BLOCK_BYTES, 0,
           (size_t)run->count * STORE_BLOCK_BYTES);
    for (uint32_t i = 0; io->crcs != NULL && i < run->count; i++)
        io->crcs[io->cursor + i] = store->zero_crc;
}

static void read_submit(struct store_io *io, struct segment *s, const struct map_run *run)
{
    struct store *const store = io->session->store;

    s->first = io->cursor;
    s->count = run->count;
    sums_prefetch(&store->sums, run->place);
    dev_read(store->dev, &s->io, store_data_offset(store, run->place),
             span_sub(io->data, (size_t)io->cursor * STORE_BLOCK_BYTES,
                      (size_t)run->count * STORE_BLOCK_BYTES),
             read_on_segment);
}

/* F40: as what does not match its checksum. */
static void read_spoiled(struct store_io *io)
{
    if (status_ok(io->outcome))
        io->outcome = STATUS(MEDIA_READ);
}

void read_advance(struct store_io *io)
{
    struct store *const store = io->session->store;
    const uint32_t blocks = (uint32_t)(io->bytes / STORE_BLOCK_BYTES);
    const uint64_t first = io->offset / STORE_BLOCK_BYTES;

    io->pending++; /* Held until all parts are on their way. */
    while (io->cursor < blocks) {
        struct map_run run =
            map_lookup(&io->target->map, io->generation, first + io->cursor, blocks - io->cursor);
        if (run.data) {
            struct segment *const s = segment_get(store, io, run.place);
            if (s == NULL)
                break; /* segment_put() resumes. */
            run.count = sums_run(run.place, run.count);
            read_submit(io, s, &run);
        } else if (run.spoiled) {
            read_spoiled(io);
        } else {
            read_zeros(io, &run);
        }
        io->cursor += run.count;
    }
    io->pending--;
    if (io->cursor == blocks)
        read_check_end(io);
}

/* S3: compares each block with its checksum. */
static struct status MUST_CHECK read_verify(const struct segment *s)
{
    const struct store_io *const io = s->owner;
    struct store *const store = io->session->store;
    const uint32_t *const sums = sums_at(&store->sums, s->place);
    struct status st = STATUS(OK);

    for (uint32_t i = 0; i < s->count; i++) {
        const uint8_t *const at = io->data.at + ((size_t)s->first + i) * STORE_BLOCK_BYTES;
        const uint32_t crc = crc32c(at, STORE_BLOCK_BYTES);
        if (crc != sums[i] && !MUTATION(S3_UNVERIFIED_READ)) {
            store->media_errors++;
            st = STATUS(MEDIA_READ);
        }
        if (io->crcs != NULL)
            io->crcs[s->first + i] = sums[i]; /* Never a fresh one. */
    }
    return st;
}

/* The data and their checksums are there, or will never be. */
static void read_end_segment(struct segment *s)
{
    struct store_io *const io = s->owner;
    struct store *const store = io->session->store;

    assert(io->pending > 0);
    assert(io->opcode == STORE_OP_READ);
    const struct status st = status_ok(s->io.status) ? read_verify(s) : STATUS(MEDIA_READ);
    if (!status_ok(s->io.status))
        store->media_errors += s->count;
    if (status_ok(io->outcome))
        io->outcome = st;
    segment_put(store, s);
    if (io->cursor == io->bytes / STORE_BLOCK_BYTES)
        read_check_end(io);
}

static void read_on_segment(struct dev_io *dev_io)
{
    struct segment *const s = CONTAINER_OF(dev_io, struct segment, io);
    struct store *const store = s->owner->session->store;

    if (sums_is_loaded(&store->sums, s->place))
        read_end_segment(s);
    else
        list_push_back(&store->sums_waiters, &s->link); /* The loader's progress comes back. */
}

void read_resume_loaded(struct store *store)
{
    struct list waiters;
    struct list_node *n;

    if (list_empty(&store->sums_waiters))
        return;
    list_init(&waiters);
    list_splice_back(&waiters, &store->sums_waiters);
    while ((n = list_pop_front(&waiters)) != NULL)
        read_on_segment(&CONTAINER_OF(n, struct segment, link)->io);
}

bool read_admit(struct store_io *io)
{
    struct store *const store = io->session->store;
    struct shard *const shard = catalog_shard_by_index(io->session->volume, io->shard);

    if (shard == NULL) {
        command_finish(io, STATUS(UNKNOWN_SHARD));
        return true;
    }
    if (!range_is_settled(store, shard, io->offset, io->bytes))
        return false;
    command_activate(io, shard);
    read_advance(io);
    return true;
}
