/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a large disk takes to serve again, and how much memory it takes.
 *
 *     bench_start make FILE SIZE clean|crashed     a disk, half full, in a sparse file
 *     bench_start open FILE                        opens it and says what that cost, in JSON
 *
 * The disk is written by the project's own encoders: superblocks, a checkpoint, the checksum table
 * and, for a disk that has crashed, half a ring of journal.  All data are zeros, with the right
 * checksums, so that the file holds metadata only.  It is as slow to load as such a disk can be: no
 * two grains in a row lie in a row, each record of the journal is one block of another grain, and
 * as many regions are open as may be.
 *
 * Threading: one thread.   Memory: static; the store's is what is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/size.h"
#include "disk/disk_format.h"
#include "disk/metablock.h"
#include "disk/superblock.h"
#include "io/uring.h"
#include "store/record.h"
#include "store/store.h"

#define SHARD_BYTES     ((uint64_t)1 << 30)
#define SHARD_GRAINS    ((uint32_t)(SHARD_BYTES / DISK_GRAIN_BYTES))
#define TAG             UINT64_C(0x7461677461677461)
#define LIFE            UINT64_C(0x6c6966656c696665)
#define UNSETTLED       512 /* Blocks at the journal's end: then a store flushes by itself. */
#define BUFFER_BLOCKS   64
#define LOOK_NS         (10 * NS_PER_MS)
#define JOURNALED_PARTS 8 /* Of the shards, one in so many has come since the checkpoint. */

/* A disk in the making. */
struct make {
    int fd;
    struct superblock sb;
    bool crashed;
    uint32_t zero_crc;
    uint32_t shards;       /* All. */
    uint32_t checkpointed; /* Of them, in the checkpoint. */

    /* Metadata blocks in a row, from offset on. */
    enum metablock_kind kind;
    uint64_t offset;
    uint64_t sequence;
    uint8_t blocks[BUFFER_BLOCKS][DISK_BLOCK_BYTES];
    unsigned filled; /* Blocks. */
    size_t payload;  /* Bytes in the next one. */
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_start: %s: %s\n", what, why);
    exit(1);
}

static void check(struct status st, const char *what)
{
    if (!status_ok(st))
        die(what, status_text(st));
}

static void write_at(const struct make *m, uint64_t offset, const void *data, size_t bytes)
{
    if (pwrite(m->fd, data, bytes, (off_t)offset) != (ssize_t)bytes)
        die("writing", strerror(errno));
}

/* ---- Blocks of records ---- */

static void blocks_begin(struct make *m, enum metablock_kind kind, uint64_t offset,
                         uint64_t sequence)
{
    m->kind = kind;
    m->offset = offset;
    m->sequence = sequence;
    m->filled = 0;
    m->payload = 0;
}

static void blocks_write(struct make *m)
{
    const size_t bytes = (size_t)m->filled * DISK_BLOCK_BYTES;

    write_at(m, m->offset, m->blocks, bytes);
    m->offset += bytes;
    m->filled = 0;
}

static void blocks_close_one(struct make *m)
{
    const bool journal = m->kind == METABLOCK_JOURNAL;
    const uint64_t mark = journal && m->sequence > UNSETTLED ? m->sequence - UNSETTLED : 0;
    const struct metablock head = { .tag = TAG,
                                    .owner = journal ? LIFE : m->sb.checkpoint_sequence,
                                    .sequence = m->sequence,
                                    .flushed = mark,
                                    .settled = mark,
                                    .payload_bytes = (uint32_t)m->payload };

    metablock_seal((struct span) { m->blocks[m->filled], DISK_BLOCK_BYTES }, m->kind, &head);
    m->sequence++;
    m->payload = 0;
    if (++m->filled == BUFFER_BLOCKS)
        blocks_write(m);
}

static struct span blocks_take(struct make *m, size_t bytes)
{
    if (m->payload + bytes > METABLOCK_PAYLOAD_MAX)
        blocks_close_one(m);
    uint8_t *const at = m->blocks[m->filled] + METABLOCK_HEAD_BYTES + m->payload;
    m->payload += bytes;
    return (struct span) { at, bytes };
}

static void blocks_end(struct make *m)
{
    if (m->payload > 0)
        blocks_close_one(m);
    blocks_write(m);
}

/* A record without items. */
static void put(struct make *m, const struct record *rec)
{
    record_encode(rec, blocks_take(m, record_bytes(rec->type, 0)));
}

/* ---- What the disk holds ---- */

/* Two grains in a row never lie in a row. */
static uint32_t place_of(uint64_t grain)
{
    return (uint32_t)(grain ^ 1);
}

static void put_volume(struct make *m)
{
    put(m, &(struct record) {
               .type = RECORD_VOLUME,
               .u.volume = { .id = 1,
                             .volume = { .uuid = { { 1 } },
                                         .name = "bench",
                                         .bytes = m->shards * SHARD_BYTES,
                                         .shard_bytes = SHARD_BYTES,
                                         .lba_bytes = 4096,
                                         .stripe_unit_bytes = 256 << 10,
                                         .stripe_width = 1,
                                         .replicas = 1,
                                         .min_in_sync = 1 } },
           });
    put(m, &(struct record) { .type = RECORD_EPOCH, .u.epoch = { .volume = 1, .epoch = 1 } });
}

static void put_shard(struct make *m, uint32_t index)
{
    put(m, &(struct record) {
               .type = RECORD_SHARD,
               .u.shard = { .id = index + 1,
                            .volume = 1,
                            .index = index,
                            .epoch = 1,
                            .bytes = SHARD_BYTES },
           });
}

static void put_grains(struct make *m, uint32_t shard, uint32_t first, uint32_t count)
{
    const struct record rec = { .type = RECORD_GRAINS,
                                .items = count,
                                .u.grains = { .shard = shard + 1 } };
    const struct span out = blocks_take(m, record_bytes(RECORD_GRAINS, count));

    record_encode(&rec, out);
    for (uint32_t i = 0; i < count; i++) {
        const struct record_grains_item item = {
            .grain = first + i,
            .count = 1,
            .place = place_of((uint64_t)shard * SHARD_GRAINS + first + i),
            .data = UINT32_MAX,
        };
        record_put_grains(out, i, &item);
    }
}

static void make_checkpoint(struct make *m)
{
    blocks_begin(m, METABLOCK_CHECKPOINT, m->sb.layout.part[LAYOUT_CHECKPOINT_0].offset, 0);
    put(m, &(struct record) {
               .type = RECORD_HEAD,
               .u.head = { .next_volume = 2, .next_shard = m->checkpointed + 1 },
           });
    put_volume(m);
    for (uint32_t s = 0; s < m->checkpointed; s++) {
        put_shard(m, s);
        for (uint32_t g = 0; g < SHARD_GRAINS; g += RECORD_GRAINS_ITEMS_MAX)
            put_grains(m, s, g, (uint32_t)min_u64(RECORD_GRAINS_ITEMS_MAX, SHARD_GRAINS - g));
    }
    blocks_end(m);
    m->sb.checkpoint_blocks = m->sequence;
}

/* The first touch of one block. */
static void put_write(struct make *m, uint64_t grain, uint32_t block)
{
    const struct record rec = {
        .type = RECORD_WRITE,
        .items = 1,
        .u.write = { .shard = (uint32_t)(grain / SHARD_GRAINS) + 1,
                     .grain = (uint32_t)(grain % SHARD_GRAINS),
                     .place = (uint64_t)place_of(grain) * RECORD_GRAIN_BLOCKS + block,
                     .first = block,
                     .count = 1 }
    };
    const struct span out = blocks_take(m, record_bytes(RECORD_WRITE, 1));

    record_encode(&rec, out);
    record_put_crc(out, 0, m->zero_crc);
}

/* As many open regions as there may be, over all shards. */
static void put_intents(struct make *m)
{
    const uint64_t most = m->checkpointed * SHARD_BYTES / ((uint64_t)1 << 20);
    const uint32_t all = (uint32_t)min_u64(LAYOUT_INTENTS_MAX, most);

    for (uint32_t i = 0; i < all; i += RECORD_INTENT_ITEMS_MAX) {
        const uint32_t count = (uint32_t)min_u64(RECORD_INTENT_ITEMS_MAX, all - i);
        const struct record rec = { .type = RECORD_INTENT, .items = count };
        const struct span out = blocks_take(m, record_bytes(RECORD_INTENT, count));
        record_encode(&rec, out);
        for (uint32_t k = 0; k < count; k++) {
            const struct record_intent_item item = { .shard = (i + k) % m->checkpointed + 1,
                                                     .region = (i + k) / m->checkpointed };
            record_put_intent(out, k, &item);
        }
    }
}

/* Half a ring: then a checkpoint would have begun. */
static void make_journal(struct make *m)
{
    const uint64_t first = (uint64_t)m->checkpointed * SHARD_GRAINS;
    const uint64_t grains = (uint64_t)m->shards * SHARD_GRAINS - first;
    const uint64_t blocks = disk_layout_journal_blocks(&m->sb.layout) / 2;

    blocks_begin(m, METABLOCK_JOURNAL, m->sb.layout.part[LAYOUT_JOURNAL].offset + DISK_BLOCK_BYTES,
                 1);
    put_intents(m);
    for (uint32_t s = m->checkpointed; s < m->shards; s++)
        put_shard(m, s);
    for (uint64_t i = 0; i < grains * 32 && m->sequence < blocks; i++)
        put_write(m, first + i * 8191 % grains, (uint32_t)(i / grains));
    blocks_end(m);
}

/* Both slots of each pair, as they are after two checkpoints. */
static void make_sums(struct make *m)
{
    const uint64_t grains = (uint64_t)m->checkpointed * SHARD_GRAINS;
    uint8_t pair[2][DISK_BLOCK_BYTES];

    for (uint64_t t = 0; t < disk_layout_sums_blocks(grains); t++) {
        for (uint32_t slot = 0; slot < 2; slot++) {
            for (uint32_t i = 0; i < SUMS_CRCS_PER_BLOCK; i++)
                memcpy(pair[slot] + SUMS_CRCS_OFFSET + i * 4, &m->zero_crc, 4);
            memset(pair[slot] + METABLOCK_HEAD_BYTES, 0, SUMS_CRCS_OFFSET - METABLOCK_HEAD_BYTES);
            const struct metablock head = { .tag = TAG,
                                            .owner = t,
                                            .sequence = 2 + slot,
                                            .payload_bytes = METABLOCK_PAYLOAD_BYTES };
            metablock_seal((struct span) { pair[slot], DISK_BLOCK_BYTES }, METABLOCK_SUMS, &head);
        }
        write_at(m, m->sb.layout.part[LAYOUT_SUMS].offset + t * SUMS_PAIR_BYTES, pair, sizeof pair);
    }
}

static void make_superblocks(struct make *m)
{
    uint8_t block[SUPERBLOCK_BYTES];

    superblock_encode(&m->sb, (struct span) { block, sizeof block });
    for (unsigned i = 0; i < SUPERBLOCK_SLOTS; i++)
        write_at(m, superblock_offset(i), block, sizeof block);
}

static int make(const char *path, const char *size, const char *how)
{
    static const uint8_t zeros[DISK_BLOCK_BYTES];
    static struct make m;
    uint64_t bytes;

    check(size_parse(size, &bytes), size);
    m.crashed = strcmp(how, "crashed") == 0;
    m.zero_crc = crc32c(zeros, sizeof zeros);
    m.shards = (uint32_t)(bytes / 2 / SHARD_BYTES);
    m.checkpointed = m.crashed ? m.shards - m.shards / JOURNALED_PARTS : m.shards;
    m.sb = (struct superblock) { .sequence = 9,
                                 .cluster = { { 1 } },
                                 .disk = { { 2 } },
                                 .cluster_name = "bench",
                                 .disk_name = "node-1/disk-1",
                                 .device_bytes = bytes,
                                 .tag = TAG,
                                 .atomic_bytes = 4096,
                                 .incarnation = 1,
                                 .clean = !m.crashed,
                                 .marks_busy = true,
                                 .has_cells = true,
                                 .checkpoint_sequence = 5,
                                 .life = LIFE,
                                 .journal_start = 1 };
    check(disk_layout_make(bytes, &m.sb.layout), size);
    m.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (m.fd < 0 || ftruncate(m.fd, (off_t)bytes) != 0)
        die(path, strerror(errno));
    make_checkpoint(&m);
    make_sums(&m);
    if (m.crashed)
        make_journal(&m);
    make_superblocks(&m);
    return close(m.fd);
}

/* ---- Opening it ---- */

struct run {
    struct io_msg start;
    struct reactor *reactor;
    struct dev *dev;
    struct store_config config;
    uint64_t begin_ns;
    uint64_t begin_resident;
    double seconds;
    struct store *store;
    struct io_task serving;
    struct io_timer look;
    uint64_t read_before; /* By the device, until it served. */
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t resident(void)
{
    unsigned long all = 0, pages = 0;
    FILE *const f = fopen("/proc/self/statm", "re");

    if (f == NULL || fscanf(f, "%lu %lu", &all, &pages) != 2)
        die("/proc/self/statm", "cannot be read");
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void on_closed(void *ctx, struct status status)
{
    struct run *const r = ctx;

    check(status, "closing");
    reactor_stop(r->reactor);
}

/* Until no region is suspect any more. */
static void on_look(struct io_timer *timer)
{
    struct run *const r = CONTAINER_OF(timer, struct run, look);
    struct store_info info;

    store_get_info(r->store, &info);
    if (info.suspect_regions > 0) {
        io_timer_arm(&r->look, r->reactor, reactor_now_ns(r->reactor) + LOOK_NS);
        return;
    }
    printf(", \"settled_seconds\": %.3f, \"settled_bytes\": %" PRIu64 "}\n",
           (double)(now_ns() - r->begin_ns) / (double)NS_PER_S - r->seconds,
           r->dev->stats.read_bytes - r->read_before);
    fflush(stdout);
    store_close(r->store, on_closed, r);
}

/* A turn after it was opened: what only the recovery needed is gone. */
static void on_serving(struct io_task *task)
{
    struct run *const r = CONTAINER_OF(task, struct run, serving);
    const uint64_t grown = resident() - r->begin_resident;
    struct store_info info;

    store_get_info(r->store, &info);
    /* Where each block of the table is, and its sequence. */
    const uint64_t table = info.data_bytes / DISK_GRAIN_BYTES / SUMS_GRAINS_PER_BLOCK * 12;
    /* Without the reserve of a hundredth. */
    const uint64_t mapped = info.data_bytes - info.free_bytes - info.data_bytes / 100;
    printf("{\"seconds\": %.3f, \"resident_bytes\": %" PRIu64 ", \"checksum_bytes\": %" PRIu64
           ", \"mapped_bytes\": %" PRIu64 ", \"suspect_regions\": %" PRIu64,
           r->seconds, grown, info.checksum_bytes + table, mapped, info.suspect_regions);
    r->read_before = r->dev->stats.read_bytes;
    on_look(&r->look);
}

static void on_opened(void *ctx, const struct store_opened *opened)
{
    struct run *const r = ctx;

    r->seconds = (double)(now_ns() - r->begin_ns) / (double)NS_PER_S;
    if (!status_ok(opened->status))
        die("opening", opened->problem);
    r->store = opened->store;
    io_task_init(&r->serving, on_serving);
    io_timer_init(&r->look, on_look);
    reactor_defer(r->reactor, &r->serving);
}

static void on_start(struct io_msg *msg)
{
    struct run *const r = CONTAINER_OF(msg, struct run, start);

    r->begin_resident = resident();
    r->begin_ns = now_ns();
    check(store_open(r->dev, &r->config, on_opened, r), "opening");
}

static void log_to_stderr(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

static int open_disk(const char *path)
{
    static struct run r = { .start.deliver = on_start };
    static struct log log = { .level = LOG_LEVEL_WARNING, .sink = log_to_stderr };
    const struct uring_config config = { .log = &log };

    check(uring_reactor_create(&config, &r.reactor), "the reactor");
    check(dev_file_open(r.reactor, path, 0, true, &r.dev), path);
    reactor_post(r.reactor, &r.start);
    reactor_run(r.reactor);
    dev_close(r.dev);
    reactor_destroy(r.reactor);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "make") == 0)
        return make(argv[2], argv[3], argv[4]);
    if (argc == 3 && strcmp(argv[1], "open") == 0)
        return open_disk(argv[2]);
    die("usage", "make FILE SIZE clean|crashed, or open FILE");
}
