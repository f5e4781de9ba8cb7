/* SPDX-License-Identifier: Apache-2.0 */
/* Makes an empty disk: space for all but the data, one checkpoint block, then both superblocks.
 * Before them, of a device that holds something else, the marks of that: labels of RAID, ZFS and
 * partition tables lie at the end, too, and would be taken for valid at the next boot. */
#include <assert.h>
#include <stdlib.h>

#include "store/store_internal.h"

/* Everything before the journal. */
#define FRONT_BYTES ((size_t)64 << 10)

/* Zeroed at either end: the marks that libblkid knows of disks lie within. */
#define WIPE_BYTES ((uint64_t)4 << 20)

/* What each step waits for. */
enum {
    FORMAT_ALLOCATE,
    FORMAT_WIPE,
    FORMAT_CHECKPOINT,
    FORMAT_FLUSH,
    FORMAT_FRONT,
    FORMAT_LAST_FLUSH,
    FORMAT_END
};

struct format {
    struct dev *dev;
    store_done_fn *done;
    void *ctx;
    struct superblock sb;
    struct dev_io io;
    struct io_task task;
    unsigned step;
    uint64_t wipe_bytes; /* What is left to zero, of both ends. */
    struct status outcome;
    uint8_t *buffer;
};

static void format_on_io(struct dev_io *io);

static void format_end(struct io_task *task)
{
    struct format *const f = CONTAINER_OF(task, struct format, task);

    f->done(f->ctx, f->outcome);
    free(f->buffer);
    free(f);
}

static void format_fill_checkpoint(struct format *f)
{
    const struct record rec = { .type = RECORD_HEAD,
                                .u.head = { .next_volume = 1, .next_shard = 1 } };
    const size_t bytes = record_bytes(RECORD_HEAD, 0);

    record_encode(&rec, (struct span) { f->buffer + METABLOCK_HEAD_BYTES, bytes });
    metablock_seal((struct span) { f->buffer, DISK_BLOCK_BYTES }, METABLOCK_CHECKPOINT,
                   &(struct metablock) { .tag = f->sb.tag,
                                         .owner = f->sb.checkpoint_sequence,
                                         .payload_bytes = (uint32_t)bytes });
}

static void format_wipe(struct format *f)
{
    const uint64_t done = 2 * WIPE_BYTES - f->wipe_bytes;
    const uint64_t offset = done < WIPE_BYTES ? done : f->dev->info.bytes - 2 * WIPE_BYTES + done;

    assert(f->dev->info.bytes >= 2 * WIPE_BYTES); /* The layout has seen to it. */
    f->wipe_bytes -= FRONT_BYTES;
    memset(f->buffer, 0, FRONT_BYTES);
    dev_write(f->dev, &f->io, offset, (struct const_span) { f->buffer, FRONT_BYTES }, false,
              format_on_io);
}

static void format_step(struct format *f)
{
    switch (f->step) {
    case FORMAT_ALLOCATE: /* S6: in a file that takes its space as it is written. */
        dev_allocate(f->dev, &f->io, 0, f->sb.layout.part[LAYOUT_DATA].offset, format_on_io);
        return;
    case FORMAT_WIPE:
        format_wipe(f);
        return;
    case FORMAT_CHECKPOINT:
        format_fill_checkpoint(f);
        dev_write(f->dev, &f->io, f->sb.layout.part[LAYOUT_CHECKPOINT_0].offset,
                  (struct const_span) { f->buffer, DISK_BLOCK_BYTES }, false, format_on_io);
        return;
    case FORMAT_FRONT:
        memset(f->buffer, 0, FRONT_BYTES);
        for (unsigned i = 0; i < SUPERBLOCK_SLOTS; i++)
            superblock_encode(&f->sb,
                              (struct span) { f->buffer + superblock_offset(i), SUPERBLOCK_BYTES });
        dev_write(f->dev, &f->io, 0, (struct const_span) { f->buffer, FRONT_BYTES }, false,
                  format_on_io);
        return;
    default:
        dev_flush(f->dev, &f->io, format_on_io);
        return;
    }
}

static void format_on_io(struct dev_io *io)
{
    struct format *const f = CONTAINER_OF(io, struct format, io);

    assert(f->step < FORMAT_END);
    if (f->step != FORMAT_WIPE)
        f->step++;
    if (f->step == FORMAT_WIPE && f->wipe_bytes == 0)
        f->step++;
    if (status_ok(io->status) && f->step < FORMAT_END) {
        format_step(f);
        return;
    }
    f->outcome = io->status;
    format_end(&f->task);
}

static uint32_t format_atomic_bytes(const struct dev *dev, const struct store_format_config *c)
{
    const uint32_t wanted = c->atomic_bytes != 0 ? c->atomic_bytes : dev->info.atomic_bytes;
    uint32_t atomic = 512;

    while (atomic < (1u << 20) && atomic * 2 <= wanted)
        atomic *= 2;
    return atomic;
}

static struct status MUST_CHECK format_make_superblock(struct format *f,
                                                       const struct store_format_config *c)
{
    struct reactor *const r = f->dev->reactor;
    struct superblock *const sb = &f->sb;

    *sb = (struct superblock) {
        .sequence = 1,
        .cluster = c->identity.cluster,
        .disk = c->identity.disk,
        .device_bytes = f->dev->info.bytes,
        .atomic_bytes = format_atomic_bytes(f->dev, c),
        .incarnation = incarnation_after(r, 0),
        .boot_id = reactor_boot_id(r),
        .clean = true,
        .marks_busy = true,
        .grows = true,
        .has_cells = true,
        .has_replicas = true,
        .has_spoils = true,
        .has_points = true,
        .checkpoint_sequence = 1,
        .checkpoint_blocks = 1,
        .journal_start = 1,
        .created_ns = reactor_wall_ns(r),
    };
    memcpy(sb->cluster_name, c->identity.cluster_name, STORE_NAME_BYTES);
    memcpy(sb->disk_name, c->identity.disk_name, STORE_NAME_BYTES);
    reactor_random(r, (struct span) { (uint8_t *)&sb->tag, sizeof sb->tag });
    return disk_layout_make(f->dev->info.bytes, &sb->layout);
}

struct status store_format(struct dev *dev, const struct store_format_config *config,
                           store_done_fn *done, void *ctx)
{
    struct format *const f = calloc(1, sizeof *f);

    assert(done != NULL);
    if (f == NULL)
        return STATUS(NO_MEMORY);
    f->dev = dev;
    f->done = done;
    f->ctx = ctx;
    f->wipe_bytes = config->wipe ? 2 * WIPE_BYTES : 0;
    f->buffer = aligned_alloc(DISK_BLOCK_BYTES, FRONT_BYTES);
    io_task_init(&f->task, format_end);
    f->outcome = f->buffer == NULL ? STATUS(NO_MEMORY) : format_make_superblock(f, config);
    if (status_ok(f->outcome))
        format_step(f);
    else
        reactor_defer(dev->reactor, &f->task);
    return STATUS(OK);
}
