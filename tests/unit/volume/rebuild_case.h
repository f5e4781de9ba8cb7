/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume of three replicas, and a fourth disk that is to take the place of one of them.
 *
 * Threading: one thread.   Memory: the heap.
 */
#ifndef TESTS_VOLUME_REBUILD_CASE_H
#define TESTS_VOLUME_REBUILD_CASE_H

#include "replicas_case.h"

#define AWAY 1u    /* The disk that is out, */
#define NEW  DISKS /* and the one that takes its place. */

/* A case with one disk more. */
struct rebuild {
    struct case_ *c;
    struct fixture *f;
    struct store spare;
    struct volume_disk disks[DISKS + 1];
    struct volume_replacement items[DISKS];
};

/* The slot of a disk in a copyset. */
static inline unsigned slot_of(unsigned disk, unsigned copyset)
{
    return (disk + DISKS - copyset) % DISKS;
}

static inline struct rebuild *rebuild_create(unsigned min_in_sync)
{
    struct rebuild *r = calloc(1, sizeof *r);

    r->c = case_create(min_in_sync);
    r->f = r->c->f;
    fake_store_init(&r->spare, r->f->loop.reactors[NEW % 2], SHARD_BYTES);
    r->spare.incarnation = 41;
    r->spare.disk = disk_uuid(NEW);
    memcpy(r->disks, r->f->disks, sizeof r->f->disks);
    r->disks[NEW] =
        (struct volume_disk) { "node-1/disk-4", &r->spare, r->spare.reactor, disk_uuid(NEW), NULL };
    r->f->config.disks = r->disks;
    r->f->config.disk_count = DISKS + 1;
    for (unsigned n = 0; n < DISKS; n++)
        r->items[n] = (struct volume_replacement) { n, slot_of(AWAY, n), disk_uuid(AWAY), NEW };
    return r;
}

static inline void rebuild_open(struct rebuild *r)
{
    assert_int_equal(fixture_open(r->f).code, STATUS_OK);
}

/* Disk AWAY is not there when the volume is opened, and out of sync. */
static inline struct rebuild *rebuild_without(unsigned min_in_sync)
{
    struct rebuild *r = rebuild_create(min_in_sync);

    r->disks[AWAY].store = NULL;
    rebuild_open(r);
    assert_false(is_member(r->c, AWAY));
    return r;
}

static inline void rebuild_destroy(struct rebuild *r)
{
    case_destroy(r->c);
    fake_store_fini(&r->spare);
    free(r);
}

static inline struct status replace(struct rebuild *r)
{
    return volume_replace(r->f->volume, &r->f->config, r->items, DISKS);
}

static inline void replace_all(struct rebuild *r)
{
    assert_int_equal(replace(r).code, STATUS_OK);
    loop_run(&r->f->loop);
}

static inline const struct group_slot *slot_at(const struct rebuild *r, unsigned copyset)
{
    return &r->c->meta.record.copysets[copyset].slots[slot_of(AWAY, copyset)];
}

static inline bool names_new(const struct rebuild *r, unsigned copyset)
{
    return uuid_equal(slot_at(r, copyset)->disk, disk_uuid(NEW));
}

static inline void assert_rebuilt(const struct rebuild *r)
{
    for (unsigned n = 0; n < DISKS; n++) {
        assert_true(names_new(r, n));
        assert_int_equal(slot_at(r, n)->state, GROUP_SLOT_IN);
        assert_int_equal(slot_at(r, n)->incarnation, r->spare.incarnation);
    }
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        const uint8_t *const a = r->f->stores[0].shards[shard];
        if (a != NULL)
            assert_memory_equal(a, r->spare.shards[shard], SHARD_BYTES);
    }
}

static inline void write_ok(struct fixture *f, uint64_t at, uint8_t value)
{
    fill(f, 0, BLOCK, value);
    assert_int_equal(run(f, NVME_NS_WRITE, false, at, BLOCK).code, STATUS_OK);
}

static inline void write_everywhere(struct fixture *f, uint8_t value)
{
    for (uint64_t at = 0; at < SHARDS * SHARD_BYTES; at += 256 * K)
        write_ok(f, at, value);
}

#endif
