/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What slow commands and bad blocks leave for the next start: docs/disk-format.md, sections 4
 * and 5.
 */
#include "store/store_internal.h"

#include "disk/disk_format.h"
#include "kill_case.h"

/* ---- What a slow command holds up ---- */

/* F18: a checkpoint that starts before the record of an open region does not close it: the replay
 * would have more regions than the store. */
static void a_region_is_open_until_its_record_is_behind(void **state)
{
    (void)state;
    struct rig_io slow;

    start_on(4096);
    must_write(0, 1, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    rig.hold_from = last_write_in(LAYOUT_DATA)->offset + GRAIN;
    rig_submit(&rig, &slow, STORE_OP_WRITE, 512 * 4 * K, 4 * K, 0x22);
    rig_pass(&rig, 100 * NS_PER_MS);
    for (uint8_t ended = 0; ended < 2; ended++) {
        must_write(0, 1, 0x33); /* Opens the region, behind the record of the slow one. */
        rig_pass(&rig, 31 * NS_PER_S);
        rig_pass(&rig, 31 * NS_PER_S);
        const struct rig_write *const before = last_write_in(LAYOUT_JOURNAL);
        must_write(0, 1, 0x44);
        assert_int_equal(last_write_in(LAYOUT_JOURNAL) == before, ended == 0);
        rig.hold_from = 0;
        rig_io_wait(&rig, &slow);
        rig_pass(&rig, 100 * NS_PER_MS);
    }
    free(slow.data);
    rig_abandon(&rig);
}

static unsigned intents_in(const struct list *list)
{
    unsigned count = 0;

    LIST_FOR_EACH (n, list)
        count++;
    return count;
}

/* ... nor are the entries of a deleted shard used again before a checkpoint that has it has ended:
 * its replay opens their regions once more, before it comes to the deletion. */
static void entries_of_a_deleted_shard_wait_for_the_checkpoint(void **state)
{
    (void)state;
    struct rig_io gone;

    start_on(4096);
    must_write(0, 1, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    must_write(0, 1, 0x22);
    const unsigned free = intents_in(&rig.store->intents.free);
    rig.hold_below = (uint64_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES; /* It does not end. */
    checkpoint_request(rig.store);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_true(checkpoint_is_busy(rig.store));
    rig_submit(&rig, &gone, STORE_OP_DELETE_VOLUME, 0, 0, 0);
    rig_io_wait(&rig, &gone);
    assert_int_equal(intents_in(&rig.store->intents.free), free);
    rig.hold_below = 0;
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_int_equal(intents_in(&rig.store->intents.free), LAYOUT_INTENTS_MAX);
    rig_abandon(&rig);
}

static void start_set(struct rig_io *r, uint32_t number, struct store_set *set)
{
    *set = (struct store_set) { .number = number,
                                .sequence = 1,
                                .set = { .disk = { { { 1 } }, { { 2 } }, { { 3 } } }, .in = 7 } };
    rig_submit(&rig, r, STORE_OP_SET, 0, 0, 0);
    r->io.data = (struct span) { (uint8_t *)set, sizeof *set };
}

static struct status set_copyset(uint32_t number)
{
    struct store_set set;
    struct rig_io r;

    start_set(&r, number, &set);
    rig_io_wait(&rig, &r);
    return r.io.status;
}

static void another_volume(void)
{
    struct store_session_config config = rig_session_config(1);

    config.volume.uuid.b[0] = 77;
    rig.done = false;
    assert_true(status_ok(store_session_open(rig.store, &config, rig_on_session, &rig)));
    rig_wait(&rig);
    assert_status(rig.session.status, STATUS_OK);
}

static void delete_volume(struct store_session *session)
{
    struct rig_io gone;

    rig.session.session = session;
    rig_submit(&rig, &gone, STORE_OP_DELETE_VOLUME, 0, 0, 0);
    rig_io_wait(&rig, &gone);
    assert_status(gone.io.status, STATUS_OK);
}

/* F22: a checkpoint has copysets that went after it had them, and others that came afterwards:
 * together more than there may be.  The replay of the journal takes the former away. */
static void copysets_of_several_moments(void **state)
{
    (void)state;
    struct store_session *const first = (start_on(4096), rig.session.session);
    const uint32_t limit = rig.store->catalog.limits.copysets;

    for (uint32_t i = 0; i < limit; i++)
        assert_status(set_copyset(i), STATUS_OK);
    another_volume();
    struct store_session *const second = rig.session.session;
    assert_status(set_copyset(0), STATUS_NO_SPACE);
    rig.store->catalog.limits.copysets += 3; /* As if the first one had been deleted by now. */
    for (uint32_t i = 0; i < 3; i++)
        assert_status(set_copyset(i), STATUS_OK);
    checkpoint_request(rig.store);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_false(checkpoint_is_busy(rig.store));
    delete_volume(first);
    rig_kill(1);
    assert_status(rig_open(&after), STATUS_OK);
    assert_int_equal(after.store->catalog.copyset_count, 3);
    rig_abandon(&after);
    store_session_close(first);
    rig.session.session = second;
    rig_abandon(&rig);
}

/* Until then the checkpoint under way has room for no others. */
static void copysets_that_go_make_room_later(void **state)
{
    (void)state;
    struct store_session *const first = (start_on(4096), rig.session.session);
    const uint32_t limit = rig.store->catalog.limits.copysets;
    struct store_set set;
    struct rig_io r;

    for (uint32_t i = 0; i < limit - 1; i++)
        assert_status(set_copyset(i), STATUS_OK);
    another_volume();
    struct store_session *const second = rig.session.session;
    rig.hold_below = (uint64_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES; /* It does not end. */
    checkpoint_request(rig.store);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_true(checkpoint_is_busy(rig.store));
    delete_volume(first);
    rig.session.session = second;
    assert_status(set_copyset(0), STATUS_OK); /* The last one there is room for. */
    assert_status(set_copyset(0), STATUS_OK);
    start_set(&r, 1, &set);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_false(r.done);
    rig.hold_below = 0;
    rig_io_wait(&rig, &r);
    assert_status(r.io.status, STATUS_OK);
    store_session_close(first);
    rig_abandon(&rig);
}

/* F22: a volume that was made and deleted while a checkpoint's start stood still is passed over,
 * whoever has its UUID now. */
static void a_deleted_volume_is_passed_over(void **state)
{
    (void)state;
    struct store_session_config config = rig_session_config(1);
    struct store_session *const first = (start_on(4096), rig.session.session);
    struct rig_io slow, gone;

    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    rig_submit(&rig, &slow, STORE_OP_WRITE, 0, 4 * K, 0x22);
    rig_pass(&rig, 100 * NS_PER_MS);
    config.volume.uuid.b[0] = 77;
    for (unsigned i = 0; i < 3; i++) {
        rig.done = false;
        assert_true(status_ok(store_session_open(rig.store, &config, rig_on_session, &rig)));
        rig_wait(&rig);
        assert_status(rig.session.status, STATUS_OK);
        if (i == 2)
            break; /* The last one stays. */
        rig_submit(&rig, &gone, STORE_OP_DELETE_VOLUME, 0, 0, 0);
        rig_io_wait(&rig, &gone);
        assert_status(gone.io.status, STATUS_OK);
        store_session_close(rig.session.session);
        config.volume.shard_bytes *= 2; /* Another one. */
    }
    rig_pass(&rig, 31 * NS_PER_S);
    const uint64_t writes = rig.dev.stats.writes;
    checkpoint_request(rig.store);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_true(rig.dev.stats.writes > writes);
    rig_kill(1);
    rig_serve(&after);
    struct store_info info;
    store_get_info(after.store, &info);
    assert_int_equal(info.volumes, 2);
    rig_abandon(&after);
    rig.hold_from = 0;
    rig_io_wait(&rig, &slow);
    free(slow.data);
    store_session_close(first);
    rig_abandon(&rig);
}

/* F20: zeros somewhere else in a shard do not hold up a region that a command waits for. */
static void zeros_elsewhere_do_not_hold_up_a_region(void **state)
{
    (void)state;
    const uint64_t regions = 60, shard_regions = 4, region_blocks = 256;
    struct rig_io zeros, wanted;

    start_on(4096);
    for (uint8_t fill = 1; fill <= 2; fill++) {
        for (uint64_t i = 0; i < regions; i++) {
            if (fill == 2 && i == regions - shard_regions)
                continue; /* Not suspect: there the zeros go. */
            rig.shard = (uint32_t)(i / shard_regions);
            must_write(i % shard_regions * region_blocks, 1, fill);
        }
        rig_pass(&rig, 100 * NS_PER_MS);
    }
    rig_kill(1);
    assert_status(rig_open(&after), STATUS_OK);
    after.holds_reads = true; /* The first regions are being settled. */
    assert_status(rig_session(&after, 1), STATUS_OK);
    after.shard = (uint32_t)(regions / shard_regions) - 1;
    /* The volume is marked as busy (F25): what follows need not wait for that. */
    assert_status(rig_do(&after, STORE_OP_WRITE, 32 * 4 * K, 4 * K, 0x33), STATUS_OK);
    after.hold_below = layout.part[LAYOUT_DATA].offset;
    rig_submit(&after, &zeros, STORE_OP_WRITE_ZEROES, 0, 4 * K, 0);
    rig_run(&after);
    rig_submit(&after, &wanted, STORE_OP_READ, (shard_regions - 1) * region_blocks * 4 * K, 4 * K,
               0);
    rig_run(&after);
    after.holds_reads = false;
    rig_run(&after);
    assert_true(wanted.done && !zeros.done);
    assert_status(wanted.io.status, STATUS_OK);
    after.hold_below = 0;
    rig_io_wait(&after, &zeros);
    free(wanted.data);
    rig_abandon(&after);
    rig_abandon(&rig);
}

/* Kills a process that has overwritten a block; returns where the block lies. */
static uint64_t kill_with_open_region(void)
{
    start_on(4096);
    must_write(0, 1, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    must_write(0, 1, 0x22); /* Opens its region and the next one. */
    const uint64_t place = last_write_in(LAYOUT_DATA)->offset;
    rig_kill(1);
    return place;
}

/* F18: regions that were open when the process died close when they have been idle, though nothing
 * is written any more: what rots in them later is not adopted. */
static void regions_of_before_close(void **state)
{
    (void)state;

    (void)kill_with_open_region();
    rig_serve(&after);
    rig_run(&after);
    assert_int_equal(after.store->intents.suspects, 0);
    assert_int_equal(after.store->intents.count, 2);
    for (unsigned i = 0; i < 2; i++)
        rig_pass(&after, 31 * NS_PER_S);
    assert_int_equal(after.store->intents.count, 0);
    rig_abandon(&after);
    rig_abandon(&rig);
}

/* F17, F18: a region that cannot be settled is tried again, costs no checkpoints meanwhile, and
 * keeps no other one from closing. */
static void what_cannot_be_settled_costs_no_checkpoints(void **state)
{
    (void)state;
    const uint64_t place = kill_with_open_region();

    after.unread_from = place;
    after.unread_to = place + 4 * K;
    rig_serve(&after);
    for (unsigned i = 0; i < 2; i++)
        rig_pass(&after, 31 * NS_PER_S);
    assert_int_equal(after.store->intents.count, 1);
    assert_int_equal(after.store->intents.suspects, 1);
    const uint64_t checkpoint = after.store->sb.checkpoint_sequence;
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t errors = after.store->media_errors;
        rig_pass(&after, 31 * NS_PER_S);
        assert_int_equal(after.store->sb.checkpoint_sequence, checkpoint);
        assert_true(after.store->media_errors > errors);
    }
    after.unread_to = 0;
    for (unsigned i = 0; i < 3; i++)
        rig_pass(&after, 31 * NS_PER_S);
    assert_int_equal(after.store->intents.count, 0);
    assert_int_equal(after.store->sb.checkpoint_sequence, checkpoint + 1);
    assert_int_equal(must_read(&after, 0), 0x22);
    rig_abandon(&after);
    rig_abandon(&rig);
}

/* ---- Superblocks ---- */

static uint64_t bad_slot;

static uint64_t first_superblock_written(struct rig *of)
{
    for (size_t i = 0; i < of->write_count; i++)
        if (of->writes[i].offset < (uint64_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES)
            return of->writes[i].offset;
    return UINT64_MAX;
}

static void refused_with(size_t field, uint64_t value)
{
    const struct le64 new = le64_make(value);

    start_on(4096);
    must_write(0, 1, 0x11);
    rig_kill(1);
    for (unsigned slot = 0; slot < SUPERBLOCK_SLOTS; slot++) {
        struct superblock_format *const sb = (void *)(image + superblock_offset(slot));
        memcpy((uint8_t *)sb + field, &new, sizeof new);
        sb->crc = le32_make(0);
        sb->crc = le32_make(crc32c(sb, sizeof *sb));
    }
    after.boot.b[0] = 2;
    assert_status(rig_open(&after), STATUS_CORRUPT);
    rig_abandon(&after);
    rig_abandon(&rig);
}

/* Section 2.1: superblocks that are damaged, but for their CRC, are told and refused. */
static void superblocks_that_cannot_be_are_refused(void **state)
{
    (void)state;
    refused_with(offsetof(struct superblock_format, incarnation), 0);
    refused_with(offsetof(struct superblock_format, sequence), UINT64_MAX);
    refused_with(offsetof(struct superblock_format, journal_start), UINT64_MAX);
    refused_with(offsetof(struct superblock_format, journal_flushed), UINT64_MAX);
    for (unsigned area = LAYOUT_CHECKPOINT_0; area <= LAYOUT_CHECKPOINT_1; area++)
        refused_with(offsetof(struct superblock_format, parts) +
                         area * sizeof(struct superblock_part_format) +
                         offsetof(struct superblock_part_format, bytes),
                     4 * K);
}

/* F1: the slot that is older, or damaged, is written first: the other one is good whatever comes.
 */
static void the_older_superblock_is_written_first(void **state)
{
    (void)state;
    uint8_t old[SUPERBLOCK_BYTES];

    for (unsigned older = 0; older < 2; older++) {
        for (unsigned damaged = 0; damaged < 2; damaged++) {
            start_on(4096);
            memcpy(old, rig.content, sizeof old);
            must_write(0, 1, 0x11);
            rig_reopen(&rig);
            rig_kill(1);
            old[500] ^= (uint8_t)damaged;
            memcpy(image + superblock_offset(older), old, sizeof old);
            rig_serve(&after);
            assert_int_equal(first_superblock_written(&after), superblock_offset(older));
            assert_int_equal(must_read(&after, 0), 0x11);
            rig_abandon(&after);
            rig_abandon(&rig);
        }
    }
}

/* ... and so is one of which a write has failed, when that is recorded. */
static void a_superblock_that_failed_is_written_first(void **state)
{
    (void)state;
    for (unsigned good = 0; good < 2; good++) {
        uint64_t at[8];
        unsigned count = 0;
        start_on(4096);
        rig.fail_write_from = 0;
        rig.fail_write_to = (uint64_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES;
        rig.fail_write = good + 1;
        checkpoint_request(rig.store);
        rig_pass(&rig, 100 * NS_PER_MS);
        for (size_t i = 0; i < rig.write_count && count < ARRAY_COUNT(at); i++)
            if (rig.writes[i].offset < rig.fail_write_to)
                at[count++] = rig.writes[i].offset;
        assert_int_equal(count, good + 3);
        assert_int_equal(at[good], at[good + 1]);
        assert_int_not_equal(at[good + 1], at[good + 2]);
        rig_abandon(&rig);
    }
}

static bool slot_fails(const struct dev_io *io)
{
    return io->kind == DEV_KIND_WRITE && io->offset == bad_slot;
}

/* S1: that a disk has failed is recorded in one slot where the other cannot be written. */
static void a_failure_is_recorded_in_either_slot(void **state)
{
    (void)state;
    for (unsigned slot = 0; slot < SUPERBLOCK_SLOTS; slot++) {
        start_on(4096);
        bad_slot = superblock_offset(slot);
        rig.fails = slot_fails;
        rig.fails_whole = true;
        checkpoint_request(rig.store);
        rig_pass(&rig, 100 * NS_PER_MS);
        rig_kill(1);
        assert_status(rig_open(&after), STATUS_OK);
        struct store_info info;
        store_get_info(after.store, &info);
        assert_int_not_equal(info.incarnation, rig.session.incarnation);
        rig_abandon(&after);
        rig_abandon(&rig);
    }
}

/* The flush that recovery begins with fails: what the older slot says may be all there is. */
static void the_slot_that_counts_may_be_the_lost_one(void **state)
{
    (void)state;
    uint8_t old[SUPERBLOCK_BYTES];

    for (unsigned older = 0; older < SUPERBLOCK_SLOTS; older++) {
        start_on(4096);
        memcpy(old, rig.content, sizeof old);
        must_write(0, 1, 0x11);
        checkpoint_request(rig.store);
        rig_pass(&rig, 100 * NS_PER_MS);
        rig_kill(1);
        memcpy(image + superblock_offset(older), old, sizeof old);
        after.fail_flush = 1;
        assert_status(rig_open(&after), STATUS_IO);
        assert_int_equal(first_superblock_written(&after), superblock_offset(older ^ 1));
        rig_abandon(&after);
        rig_abandon(&rig);
    }
}

/* ---- Bad blocks at the next start ---- */

/* Opens the disk while the fourth of eight blocks, which begin at, cannot be read; the others have
 * fill. */
static void assert_others_are_read(uint64_t at, uint8_t fill)
{
    after.unread_from = at + 3 * 4 * K;
    after.unread_to = after.unread_from + 4 * K;
    rig_serve(&after);
    for (uint64_t b = 0; b < 8; b++) {
        struct status st;
        assert_int_equal(rig_read_block(&after, b, &st), b == 3 ? 0xee : fill);
        assert_status(st, b == 3 ? STATUS_MEDIA_READ : STATUS_OK);
    }
    rig_abandon(&after);
}

/* J1: a block that cannot be read does not keep the others of its row from being judged. */
static void unreadable_blocks_do_not_hide_others(void **state)
{
    (void)state;
    struct rig_io r;

    start_on(4096);
    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    rig_submit(&rig, &r, STORE_OP_WRITE, 0, 8 * 4 * K, 0x22);
    rig_run(&rig);
    rig_kill(1); /* All of its records are there, and none of its data. */
    assert_others_are_read(last_write_in(LAYOUT_DATA)->offset, 0);
    rig.hold_from = 0;
    rig_io_wait(&rig, &r);
    free(r.data);
    rig_abandon(&rig);
}

/* Eight first touches are under way where a stranger's bytes lie, in a region that is open, and the
 * process is killed.  Where they lie. */
static uint64_t kill_over_strangers(struct rig_io *r, uint32_t atomic_bytes)
{
    start_on(atomic_bytes);
    must_write(16, 1, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    must_write(16, 1, 0x12);
    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    rig_submit(&rig, r, STORE_OP_WRITE, 0, 8 * 4 * K, 0x22);
    rig_run(&rig);
    rig_kill(1);
    const uint64_t at = last_write_in(LAYOUT_DATA)->offset;
    memset(image + at, 0x99, 8 * 4 * K);
    return at;
}

static void end_strangers(struct rig_io *r)
{
    rig_abandon(&after);
    rig.hold_from = 0;
    rig_io_wait(&rig, r);
    free(r->data);
    rig_abandon(&rig);
}

static void must_not_have(uint64_t block)
{
    struct status st;

    (void)rig_read_block(&after, block, &st);
    assert_status(st, STATUS_MEDIA_READ);
}

/* S2: what could not be judged is never adopted, also when it can be read again, and not after
 * another crash; until it is written it is an error. */
static void what_was_not_judged_is_not_adopted(void **state)
{
    (void)state;
    struct store_info info;
    struct rig_io r;

    for (unsigned atomic = 512; atomic <= 4096; atomic *= 8) {
        const uint64_t at = kill_over_strangers(&r, atomic);
        after.unread_from = at + 3 * 4 * K;
        after.unread_to = after.unread_from + 4 * K;
        rig_serve(&after);
        after.unread_to = 0;
        rig_pass(&after, 2 * NS_PER_S);
        for (uint64_t b = 0; b < 8; b++) {
            if (b == 3)
                must_not_have(b);
            else
                assert_int_equal(must_read(&after, b), 0);
        }
        must_not_have(3);
        store_get_info(after.store, &info);
        assert_int_equal(info.spoiled_blocks, atomic == 4096 ? 1 : 0);
        uint8_t *const again = malloc(sizeof image);
        memcpy(again, image, sizeof image);
        rig_abandon(&after);
        memcpy(image, again, sizeof image); /* A kill. */
        free(again);
        rig_init(&after, image, 2);
        after.dev.info.atomic_bytes = atomic;
        after.boot = rig.boot;
        rig_serve(&after);
        rig_pass(&after, 2 * NS_PER_S);
        must_not_have(3);
        assert_status(rig_do(&after, STORE_OP_WRITE, 3 * 4 * K, 4 * K, 0x33), STATUS_OK);
        assert_int_equal(must_read(&after, 3), 0x33);
        assert_int_equal(must_read(&after, 16), 0x12);
        end_strangers(&r);
    }
}

static unsigned bad_reads;
static uint64_t bad_place;

static bool some_reads_fail(const struct dev_io *io)
{
    const bool hits = io->kind == DEV_KIND_READ && io->offset <= bad_place &&
                      io->offset + io->data.bytes > bad_place;

    return hits && bad_reads > 0 && bad_reads-- > 0;
}

/* It is read four times with its row, and four times alone. */
static void a_first_touch_is_tried_again(void **state)
{
    (void)state;
    struct rig_io r;

    for (unsigned k = 0; k < 18; k++) {
        const unsigned reads = 1 + k / 2;
        const bool written = k % 2 > 0;
        const uint64_t at = kill_over_strangers(&r, 4096);
        if (written)
            memset(image + at, 0x22, 8 * 4 * K);
        after.fails = some_reads_fail;
        bad_place = at + 3 * 4 * K;
        bad_reads = reads;
        rig_serve(&after);
        rig_pass(&after, 2 * NS_PER_S);
        for (uint64_t b = 0; b < 8; b++) {
            if (b == 3 && reads > 7)
                must_not_have(b);
            else
                assert_int_equal(must_read(&after, b), written ? 0x22 : 0);
        }
        end_strangers(&r);
    }
}

/* F17: nor others of its extent, which were overwritten in place: they are never media errors. */
static void unreadable_blocks_are_alone_in_their_extent(void **state)
{
    (void)state;

    start_on(4096);
    must_write(0, 8, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    must_write(0, 8, 0x22);
    rig_kill(1);
    assert_others_are_read(last_write_in(LAYOUT_DATA)->offset, 0x22);
    rig_abandon(&rig);
}

/*
 * F10: behind the log a block that cannot be read is not there.  Where the log may have gone on,
 * the disk is refused; a block that can be read at the fourth attempt is there.
 */
static void unreadable_blocks_of_the_journal(void **state)
{
    (void)state;
    for (unsigned from_flushed = 0; from_flushed < 40; from_flushed++) {
        start_on(4096);
        must_write(0, 1, 0x11);
        assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
        const uint64_t flushed = last_write_in(LAYOUT_JOURNAL)->offset;
        must_write(1, 1, 0x22);
        const uint64_t last = last_write_in(LAYOUT_JOURNAL)->offset;
        assert_true(last > flushed);
        rig_kill(1);
        after.unread_from = flushed + from_flushed * 4 * K;
        after.unread_to = after.unread_from + 4 * K;
        if (after.unread_from <= last + 4 * K) { /* The first that is not there, too. */
            assert_status(rig_open(&after), STATUS_MEDIA_READ);
        } else {
            rig_serve(&after);
            assert_int_equal(after.session.incarnation, rig.session.incarnation);
            assert_int_equal(must_read(&after, 0), 0x11);
            assert_int_equal(must_read(&after, 1), 0x22);
        }
        rig_abandon(&after);
        rig_abandon(&rig);
    }
}

static void a_journal_block_is_tried_again(void **state)
{
    (void)state;
    for (unsigned reads = 1; reads < 6; reads++) {
        start_on(4096);
        must_write(0, 1, 0x11);
        rig_kill(1);
        after.fails = some_reads_fail;
        bad_place = last_write_in(LAYOUT_JOURNAL)->offset;
        bad_reads = reads;
        const struct status st = rig_open(&after);
        assert_status(st, reads < 5 ? STATUS_OK : STATUS_MEDIA_READ); /* With others, four times. */
        if (status_ok(st)) {
            assert_status(rig_session(&after, 1), STATUS_OK);
            assert_int_equal(must_read(&after, 0), 0x11);
        }
        rig_abandon(&after);
        rig_abandon(&rig);
    }
}

static uint64_t bad_home;

static bool one_block_fails(const struct dev_io *io)
{
    return io->kind == DEV_KIND_WRITE && io->offset <= bad_home &&
           io->offset + io->data.bytes > bad_home;
}

/* F21: a block that a copy cannot be brought home to is a media error, and nothing else is. */
static void an_unwritable_home_is_a_media_error(void **state)
{
    (void)state;
    struct rig_io r;

    start_on(512);
    must_write(0, 8, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    const uint64_t home = last_write_in(LAYOUT_DATA)->offset;
    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    rig_submit(&rig, &r, STORE_OP_WRITE, 0, 8 * 4 * K, 0x22);
    rig_pass(&rig, 100 * NS_PER_MS); /* The copy is durable, and nothing home. */
    for (unsigned full = 0; full < 2; full++) {
        rig_kill(1);
        bad_home = home + 5 * 4 * K;
        after.fails = one_block_fails;
        after.fails_whole = true;
        after.fails_no_space = full > 0;
        if (full > 0) { /* That may have space later. */
            assert_status(rig_open(&after), STATUS_NO_SPACE);
            rig_abandon(&after);
            continue;
        }
        rig_serve(&after);
        for (uint64_t b = 0; b < 8; b++) {
            struct status st;
            const uint8_t fill = rig_read_block(&after, b, &st);
            assert_status(st, b == 5 ? STATUS_MEDIA_READ : STATUS_OK);
            assert_true(b == 5 || fill == 0x22);
        }
        rig_abandon(&after);
    }
    rig.hold_from = 0;
    rig_io_wait(&rig, &r);
    free(r.data);
    rig_abandon(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_is_open_until_its_record_is_behind),
        cmocka_unit_test(entries_of_a_deleted_shard_wait_for_the_checkpoint),
        cmocka_unit_test(copysets_of_several_moments),
        cmocka_unit_test(copysets_that_go_make_room_later),
        cmocka_unit_test(a_deleted_volume_is_passed_over),
        cmocka_unit_test(zeros_elsewhere_do_not_hold_up_a_region),
        cmocka_unit_test(regions_of_before_close),
        cmocka_unit_test(what_cannot_be_settled_costs_no_checkpoints),
        cmocka_unit_test(superblocks_that_cannot_be_are_refused),
        cmocka_unit_test(the_older_superblock_is_written_first),
        cmocka_unit_test(a_superblock_that_failed_is_written_first),
        cmocka_unit_test(a_failure_is_recorded_in_either_slot),
        cmocka_unit_test(the_slot_that_counts_may_be_the_lost_one),
        cmocka_unit_test(unreadable_blocks_do_not_hide_others),
        cmocka_unit_test(what_was_not_judged_is_not_adopted),
        cmocka_unit_test(a_first_touch_is_tried_again),
        cmocka_unit_test(unreadable_blocks_are_alone_in_their_extent),
        cmocka_unit_test(unreadable_blocks_of_the_journal),
        cmocka_unit_test(a_journal_block_is_tried_again),
        cmocka_unit_test(an_unwritable_home_is_a_media_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
