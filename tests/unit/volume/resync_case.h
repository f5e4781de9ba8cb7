/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume of three replicas of which one is away, up to some step of its resync.
 *
 * Threading: one thread.   Memory: the heap.
 */
#ifndef TESTS_VOLUME_RESYNC_CASE_H
#define TESTS_VOLUME_RESYNC_CASE_H

#include "replicas_case.h"

#define AWAY 1u /* The disk that is out. */

/* The slot of a disk in the copyset of a shard. */
static inline uint8_t slot_bit(unsigned disk, uint32_t shard)
{
    return (uint8_t)(1u << (disk + DISKS - shard % DISKS) % DISKS);
}

/* Whether the disk is in sync in the copyset of a shard, and everywhere, as the meta store says. */
static inline bool is_in(const struct case_ *c, unsigned disk, uint32_t shard)
{
    return (group_members(&c->meta.record, shard % DISKS) & slot_bit(disk, shard)) != 0;
}

static inline bool is_in_all(const struct case_ *c, unsigned disk)
{
    return is_in(c, disk, 0) && is_in(c, disk, 1) && is_in(c, disk, 2);
}

/* A volume that was opened while a disk was away: it is out of sync, and has no session. */
static inline struct case_ *case_without(unsigned disk, unsigned min_in_sync)
{
    struct case_ *c = case_create(min_in_sync);
    c->f->disks[disk].store = NULL;
    assert_int_equal(fixture_open(c->f).code, STATUS_OK);
    assert_false(is_member(c, disk));
    return c;
}

static inline void bring_back(struct case_ *c, unsigned disk)
{
    c->f->disks[disk].store = &c->f->stores[disk];
    assert_int_equal(volume_leg_returned(c->f->volume, &c->f->disks[disk]).code, STATUS_OK);
}

static inline bool is_zero(const uint8_t *shard)
{
    return shard == NULL || (shard[0] == 0 && memcmp(shard, shard + 1, SHARD_BYTES - 1) == 0);
}

/* I5: the disk has what disk 0 has, everywhere. */
static inline void assert_equal_to_first(const struct case_ *c, unsigned disk)
{
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        const uint8_t *const a = c->f->stores[0].shards[shard];
        const uint8_t *const b = c->f->stores[disk].shards[shard];
        const bool equal =
            a != NULL && b != NULL ? memcmp(a, b, SHARD_BYTES) == 0 : is_zero(a) && is_zero(b);
        if (!equal)
            fail_msg("disk %u, shard %u", disk, shard);
    }
}

static inline void write_ok(struct fixture *f, uint64_t at, uint8_t value)
{
    fill(f, 0, BLOCK, value);
    assert_int_equal(run(f, NVME_NS_WRITE, false, at, BLOCK).code, STATUS_OK);
}

/* Gets the resync of all copysets to where disk AWAY does not answer any more. */
static inline struct case_ *case_joined(void)
{
    struct case_ *c = case_without(AWAY, 2);
    write_ok(c->f, 0, 0x11);
    c->f->stores[AWAY].hold = true;
    bring_back(c, AWAY);
    loop_run(&c->f->loop);
    assert_true(c->f->stores[AWAY].in_flight_count > 0); /* Its lists are asked for. */
    return c;
}

/* Its lists have been read, and a region of shard 0 is being copied to it. */
static inline struct case_ *case_copying(void)
{
    struct case_ *c = case_joined();
    struct store *const s = &c->f->stores[AWAY];
    bool copying = false;

    while (!copying) {
        fake_store_release(s, 0);
        loop_run(&c->f->loop);
        LIST_FOR_EACH (n, &s->in_flight) {
            const struct store_io *const io = CONTAINER_OF(n, struct store_io, link);
            copying |= io->opcode == STORE_OP_HASH && io->shard == 0;
        }
    }
    return c;
}

/* Up to the first commit of an admission, which is kept back. */
static inline struct case_ *case_admitting(unsigned min_in_sync)
{
    struct case_ *c = case_without(AWAY, min_in_sync);
    write_ok(c->f, 0, 0x11);
    c->meta.hold = true;
    bring_back(c, AWAY);
    loop_run(&c->f->loop);
    assert_non_null(c->meta.done);
    return c;
}

/* The copyset whose admission waits for its commit. */
static inline uint32_t admitting(const struct case_ *c)
{
    for (uint32_t n = 0; n < DISKS; n++)
        if (group_members(&c->meta.next, n) != group_members(&c->meta.record, n))
            return n;
    fail();
    return 0;
}

#endif
