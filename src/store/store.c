/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a store: making it, its timers, its failure, and closing it. */
#include "store/store.h"

#include <assert.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "store/store_internal.h"

static void store_on_settle_timer(struct io_timer *timer);
static void store_on_idle_timer(struct io_timer *timer);

static void store_on_sums_loaded(void *ctx)
{
    store_kick(ctx);
}

static struct status MUST_CHECK store_make_sums(struct store *s, uint64_t checksum_bytes)
{
    const uint64_t frames = max_u64(checksum_bytes / SUMS_BLOCK_BYTES, SUMS_FRAMES_MIN);

    s->sums_loader.dev = s->dev;
    s->sums_loader.sums = &s->sums;
    s->sums_loader.layout = &s->sb.layout;
    s->sums_loader.tag = s->sb.tag;
    s->sums_loader.progress = store_on_sums_loaded;
    s->sums_loader.ctx = s;
    TRY(sums_init(&s->sums, s->sb.layout.data_grains, s->sb.tag, s->sb.sequence,
                  checksum_bytes == 0 ? 0 : frames));
    return sums_loader_init(&s->sums_loader);
}

void store_take_extension(struct store *store, const struct disk_layout *layout, uint32_t extension)
{
    const struct disk_grains taken = disk_layout_taken(layout, extension);

    for (uint64_t g = taken.first; g < taken.first + taken.count && !MUTATION(S3_TABLE_IS_SPACE);
         g++) {
        const bool free = space_take_place(&store->space, g * SPACE_PLACE_CELLS);
        assert(free); /* F33: they lie apart. */
    }
    store->taken_cells += taken.count * SPACE_PLACE_CELLS;
}

static struct status MUST_CHECK store_make_parts(struct store *s, uint64_t checksum_bytes)
{
    TRY(space_init(&s->space, s->sb.layout.data_grains));
    for (uint32_t i = 0; i < s->sb.layout.extension_count; i++)
        store_take_extension(s, &s->sb.layout, i);
    TRY(store_make_sums(s, checksum_bytes));
    TRY(intents_init(&s->intents));
    TRY(regions_init(&s->regions, s->catalog.limits.open_regions, s->catalog.limits.region_bytes));
    TRY(cell_lists_reserve(&s->catalog.lists, STORE_IO_GRAINS_MAX));
    s->segments = calloc(SEGMENTS_MAX, sizeof *s->segments);
    s->sb_writer.block = aligned_alloc(SUPERBLOCK_BYTES, SUPERBLOCK_BYTES);
    s->checkpoint.buffers = aligned_alloc(DISK_BLOCK_BYTES, CHECKPOINT_BYTES);
    if (s->segments == NULL || s->sb_writer.block == NULL || s->checkpoint.buffers == NULL)
        return STATUS(NO_MEMORY);
    for (unsigned i = 0; i < SETTLERS; i++) {
        s->settlers[i].buffers = aligned_alloc(DISK_BLOCK_BYTES, SETTLE_DEPTH * STORE_GRAIN_BYTES);
        if (s->settlers[i].buffers == NULL)
            return STATUS(NO_MEMORY);
    }
    TRY(hashers_init(s));
    for (unsigned i = 0; i < SEGMENTS_MAX; i++) {
        list_node_init(&s->segments[i].link);
        list_push_back(&s->free_segments, &s->segments[i].link);
    }
    return STATUS(OK);
}

struct status store_create(struct dev *dev, const struct superblock *sb, uint64_t checksum_bytes,
                           struct store **out_store)
{
    static const uint8_t zeros[STORE_BLOCK_BYTES];
    struct store *const s = calloc(1, sizeof *s);

    if (s == NULL)
        return STATUS(NO_MEMORY);
    s->dev = dev;
    s->reactor = dev->reactor;
    s->sb = *sb;
    s->sb_before = *sb;
    s->past = sb->past;
    s->incarnation = sb->incarnation;
    s->zero_crc = crc32c(zeros, sizeof zeros);
    s->next_ticket = 1;
    list_init(&s->active);
    list_init(&s->stalled);
    list_init(&s->segment_waiters);
    list_init(&s->sums_waiters);
    list_init(&s->undos);
    list_init(&s->drops);
    list_init(&s->free_segments);
    sessions_init(s);
    list_init(&s->descriptions);
    io_task_init(&s->kick, store_on_kick);
    io_timer_init(&s->settle_timer, store_on_settle_timer);
    io_timer_init(&s->idle_timer, store_on_idle_timer);
    const struct disk_limits limits = disk_layout_limits(&sb->layout);
    catalog_init(&s->catalog, &limits);
    checkpoint_init(s);
    grow_init(s);
    const struct status st = store_make_parts(s, checksum_bytes);
    if (!status_ok(st)) {
        store_destroy(s);
        return st;
    }
    *out_store = s;
    return STATUS(OK);
}

static void store_on_journal(void *ctx)
{
    store_kick(ctx);
}

struct status store_start_journal(struct store *store, uint64_t life, uint64_t start)
{
    assert(store->journal == NULL);
    store->sb.life = life;
    store->sb.journal_start = start;
    store->sb.journal_flushed = start - 1; /* The life before may have been further (J3). */
    return journal_create(&(struct journal_config) { .dev = store->dev,
                                                     .ring = store->sb.layout.part[LAYOUT_JOURNAL],
                                                     .tag = store->sb.tag,
                                                     .life = life,
                                                     .start = start,
                                                     .progress = store_on_journal,
                                                     .ctx = store },
                          &store->journal);
}

static void store_free_sessions(struct store *store)
{
    LIST_FOR_EACH (n, &store->catalog.volumes) {
        struct catalog_volume *const v = CONTAINER_OF(n, struct catalog_volume, link);
        LIST_FOR_EACH (m, &v->sessions) {
            struct store_session *const s = CONTAINER_OF(m, struct store_session, link);
            assert(s->commands == 0);
            list_remove(m);
            free(s);
        }
    }
}

void store_destroy(struct store *store)
{
    if (store == NULL)
        return;
    assert(store->commands == 0);
    assert(list_empty(&store->session_opens));
    assert(list_empty(&store->descriptions));
    io_timer_disarm(&store->settle_timer);
    io_timer_disarm(&store->idle_timer);
    io_timer_disarm(&store->lease_timer);
    store_free_sessions(store);
    catalog_fini(&store->catalog);
    journal_destroy(store->journal);
    list_remove(&store->kick.link);
    list_remove(&store->grow.task.link);
    space_fini(&store->space);
    sums_loader_fini(&store->sums_loader);
    sums_fini(&store->sums);
    intents_fini(&store->intents);
    regions_fini(&store->regions);
    free(store->segments);
    free(store->sb_writer.block);
    free(store->checkpoint.buffers);
    for (unsigned i = 0; i < SETTLERS; i++)
        free(store->settlers[i].buffers);
    hashers_fini(store);
    free(store);
}

/* ---- Timers ---- */

void store_note_record(struct store *store, uint64_t sequence)
{
    assert(sequence >= store->last_record);
    store->last_record = sequence;
    if (!io_timer_armed(&store->settle_timer) && !store->failed)
        io_timer_arm(&store->settle_timer, store->reactor,
                     reactor_now_ns(store->reactor) + SETTLE_DELAY_NS);
}

static void store_on_settle_timer(struct io_timer *timer)
{
    struct store *const store = CONTAINER_OF(timer, struct store, settle_timer);

    /* The checkpoint that closes the store settles everything: a mark of its own behind that would
     * leave the disk not clean. */
    if (!store->failed && !store->checkpoint.for_close)
        journal_settle(store->journal, store->last_record);
}

void store_watch_idle(struct store *store)
{
    if (!io_timer_armed(&store->idle_timer))
        io_timer_arm(&store->idle_timer, store->reactor,
                     reactor_now_ns(store->reactor) + INTENT_IDLE_NS);
}

/* Whether a checkpoint would close a region that is idle; one that is not settled may stay so. */
static bool store_may_close_idle(const struct store *store)
{
    const uint64_t now = reactor_now_ns(store->reactor);
    const uint64_t start = journal_get_marks(store->journal).settled + 1;

    LIST_FOR_EACH (n, &store->intents.open) {
        const struct intent *const i = CONTAINER_OF(n, const struct intent, link);
        if (intent_may_close(i, start) && now - i->last_ns >= INTENT_IDLE_NS)
            return true;
    }
    return false;
}

static void store_on_idle_timer(struct io_timer *timer)
{
    struct store *const store = CONTAINER_OF(timer, struct store, idle_timer);
    const bool busy = busy_run(store);

    if (store_may_close_idle(store))
        checkpoint_request(store);
    store_kick(store); /* What could not be settled is tried again. */
    if ((busy || store->intents.count > 0) && !store->failed && !store->closing)
        store_watch_idle(store);
}

void store_get_info(const struct store *store, struct store_info *out_info)
{
    *out_info = (struct store_info) {
        .identity = { .cluster = store->sb.cluster, .disk = store->sb.disk },
        .incarnation = store->incarnation,
        .data_bytes = (store->space.cells - store->taken_cells) * CELL_BYTES,
        .free_bytes = store_free_bytes(store),
        .growth_bytes = grow_possible_bytes(store),
        .atomic_bytes = store->sb.atomic_bytes,
        .volumes = store->catalog.volume_count,
        .shards = store->catalog.shard_count,
        .media_errors = store->media_errors,
        .adopted_blocks = store->adopted_blocks,
        .spoiled_blocks = store->catalog.usage.spoiled,
        .suspect_regions = store->intents.suspects,
        .checksum_bytes = sums_resident_bytes(&store->sums),
        .checksum_budget_bytes = sums_budget_bytes(&store->sums),
        .failed = store->failed,
        .lied = store->past.lied,
    };
    memcpy(out_info->identity.cluster_name, store->sb.cluster_name, STORE_NAME_BYTES);
    memcpy(out_info->identity.disk_name, store->sb.disk_name, STORE_NAME_BYTES);
}

void store_set_suspect(struct store *store, bool suspect)
{
    atomic_store_explicit(&store->is_suspect, suspect, memory_order_relaxed);
}

bool store_is_suspect(const struct store *store)
{
    return atomic_load_explicit(&store->is_suspect, memory_order_relaxed);
}

uint64_t store_incarnation(const struct store *store)
{
    return store->incarnation;
}

/* ---- Failure ---- */

uint64_t incarnation_after(struct reactor *reactor, uint64_t incarnation)
{
    uint32_t drawn;

    reactor_random(reactor, (struct span) { (uint8_t *)&drawn, sizeof drawn });
    return ((incarnation >> 32) + 1) << 32 | drawn;
}

static void failure_on_recorded(struct store *store, struct status status)
{
    (void)status; /* If not even this can be written, section 6 says what remains unknown. */
    store_kick(store);
}

/* Records the failure and the new incarnation, once, when nobody else writes the superblock. */
static void store_record_failure(struct store *store)
{
    /*
     * A checkpoint under way ends without a superblock of its own, once the disk has failed.
     * Before it serves, the superblock on the disk still names the journal that recovery needs,
     * and the one in memory does not any more.
     */
    if (!store->serving || store->failure_recorded || store->sb_writer.done != NULL)
        return;
    store->failure_recorded = true;
    store->sb.sequence++;
    /* What is on the disk goes together: of this life, or still of the one before. */
    struct superblock sb = store->sb_is_ours ? store->sb : store->sb_before;
    sb.sequence = store->sb.sequence + 1;
    sb.incarnation = store->incarnation;
    sb.has_points = true;
    sb.failed = true;
    sb.clean = false;
    superblock_write(store, &sb, failure_on_recorded);
}

void store_fail(struct store *store, struct status why)
{
    assert(!status_ok(why));
    if (!store->failed) {
        store->failed = true;
        /* F41: no flush behind this one was confirmed. */
        if (store->journal != NULL)
            superblock_end_incarnation(&store->past, store->incarnation,
                                       journal_get_marks(store->journal).flushed + 1);
        store->incarnation = incarnation_after(store->reactor, store->incarnation);
        log_error(store->reactor->log,
                  "disk '%s': %s: it takes no more writes; what it holds can be read, and starting "
                  "anew tries it again",
                  store->sb.disk_name, status_text(why));
        journal_fail(store->journal, why);
        sums_lift_limit(&store->sums);
        store_kick(store);
    }
    store_record_failure(store);
}

/* ---- Closing ---- */

enum { CLOSE_NOT, CLOSE_DRAIN, CLOSE_CHECKPOINT, CLOSE_END };

static void close_on_checkpoint(struct store *store, struct status status)
{
    assert(store->close_step == CLOSE_CHECKPOINT);
    store->close_outcome = status;
    store->close_step = CLOSE_END;
    store_kick(store);
}

static bool store_is_idle(const struct store *store)
{
    for (unsigned i = 0; i < SETTLERS; i++) {
        if (store->settlers[i].intent != NULL)
            return false;
    }
    return store->commands == 0 && store->scrub == NULL && list_empty(&store->session_opens) &&
           list_empty(&store->descriptions) && !store->opening_busy && !store->listing_busy &&
           store->busy_waits == 0 && !checkpoint_is_busy(store) && !grow_is_busy(store) &&
           store->sb_writer.done == NULL && !journal_is_busy(store->journal) &&
           !sums_loader_is_busy(&store->sums_loader);
}

static void store_close_end(struct store *store)
{
    store_done_fn *const done = store->close_done;
    void *const ctx = store->close_ctx;
    const struct status st = store->close_outcome;

    store_destroy(store);
    done(ctx, st);
}

void store_close_run(struct store *store)
{
    if (store->close_step == CLOSE_NOT || !store_is_idle(store))
        return;
    if (store->close_step == CLOSE_END || store->failed) {
        if (store->failed && status_ok(store->close_outcome))
            store->close_outcome = STATUS(MEDIA_WRITE);
        store_close_end(store);
        return;
    }
    if (store->close_step != CLOSE_DRAIN)
        return;
    store->close_step = CLOSE_CHECKPOINT;
    store->checkpoint.for_close = true;
    store->checkpoint.done = close_on_checkpoint;
    checkpoint_request(store);
}

void store_close(struct store *store, store_done_fn *done, void *ctx)
{
    assert(reactor_is_current(store->reactor));
    assert(!store->closing);

    store->closing = true;
    store->close_step = CLOSE_DRAIN;
    store->close_done = done;
    store->close_ctx = ctx;
    store_kick(store);
}
