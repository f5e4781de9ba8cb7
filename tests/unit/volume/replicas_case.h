/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume of three replicas on the fixture's three disks, with a meta store of one record.
 *
 * Threading: one thread.   Memory: the heap.
 */
#ifndef TESTS_VOLUME_REPLICAS_CASE_H
#define TESTS_VOLUME_REPLICAS_CASE_H

#include <stdlib.h>

#include "fixture.h"
#include "repl/group_steps.h"

#define ALL_SLOTS 7 /* Of a region that is open. */

/* The meta store: one record, and commits that wait for the test. */
struct meta {
    struct group record;
    struct group next;
    unsigned commits;
    unsigned fences; /* That the engine has told. */
    bool hold;
    bool conflict;
    void (*done)(void *ctx, struct status status);
    void *ctx;
    struct io_msg msg;
    struct reactor *home;
};

struct case_ {
    struct fixture *f;
    struct meta meta;
};

static inline struct uuid disk_uuid(unsigned i)
{
    return (struct uuid) { { (uint8_t)(i + 1) } };
}

static inline void meta_deliver(struct io_msg *msg)
{
    struct meta *m = CONTAINER_OF(msg, struct meta, msg);
    void (*done)(void *ctx, struct status status) = m->done;

    m->done = NULL;
    if (!m->conflict)
        m->record = m->next;
    done(m->ctx, m->conflict ? STATUS(CONFLICT) : STATUS(OK));
}

static inline void meta_release(struct meta *m)
{
    assert_non_null(m->done);
    m->msg.deliver = meta_deliver;
    reactor_post(m->home, &m->msg);
}

static inline void meta_commit(void *ctx, const struct group *was, const struct group *now,
                               void (*done)(void *done_ctx, struct status status), void *done_ctx)
{
    struct meta *m = ctx;
    struct group_reason reason;

    assert_null(m->done); /* 6.2: one at a time. */
    assert_true(group_equal(was, &m->record));
    assert_int_equal(group_check_next(was, now, &reason).code, STATUS_OK);
    m->next = *now;
    m->done = done;
    m->ctx = done_ctx;
    m->commits++;
    if (!m->hold)
        meta_release(m);
}

static inline void meta_fenced(void *ctx)
{
    ((struct meta *)ctx)->fences++;
}

static const struct volume_meta_ops meta_ops = { meta_commit, meta_fenced };

/* Three copysets: each disk is slot 0 of one of them. */
static inline struct case_ *case_create(unsigned min_in_sync)
{
    struct case_ *c = calloc(1, sizeof *c);
    struct fixture *f = fixture_create();
    struct group_reason reason;

    c->f = f;
    c->meta.home = f->loop.reactors[0];
    for (unsigned i = 0; i < SHARDS_MAX; i++)
        for (unsigned r = 0; r < 3; r++)
            f->placement[i].disk[r] = (i + r) % DISKS;
    struct group *g = &c->meta.record;
    g->copyset_count = DISKS;
    for (unsigned i = 0; i < DISKS; i++)
        for (unsigned r = 0; r < 3; r++)
            g->copysets[i].slots[r] = (struct group_slot) { .state = GROUP_SLOT_IN,
                                                            .disk = disk_uuid((i + r) % DISKS),
                                                            .incarnation = 1 };
    assert_int_equal(group_take_epoch(g, (struct uuid) { { 99 } }, g, &reason).code, STATUS_OK);
    f->config.volume.replicas = 3;
    f->config.volume.min_in_sync = min_in_sync;
    f->config.group = g;
    f->config.meta = &meta_ops;
    f->config.meta_ctx = &c->meta;
    f->config.epoch = g->epoch;
    return c;
}

static inline struct case_ *case_opened(unsigned min_in_sync)
{
    struct case_ *c = case_create(min_in_sync);
    assert_int_equal(fixture_open(c->f).code, STATUS_OK);
    return c;
}

static inline void case_destroy(struct case_ *c)
{
    fixture_destroy(c->f);
    free(c);
}

/* Whether the disk is a member, as the meta store says. */
static inline bool is_member(const struct case_ *c, unsigned disk)
{
    return group_has_member(&c->meta.record, disk_uuid(disk));
}

static inline void fill(struct fixture *f, unsigned slot, uint64_t bytes, uint8_t value)
{
    memset(f->memory + slot * BUF_BYTES_MAX, value, bytes);
}

/* The first byte of a shard on a disk; its whole block is alike. */
static inline uint8_t byte_on(const struct case_ *c, unsigned disk, uint32_t shard)
{
    const uint8_t *const at = c->f->stores[disk].shards[shard];
    return at == NULL ? 0 : at[0];
}

/* Blocks of a shard on a disk, behind the engine's back. */
/* The bytes of a block are alike. */
static inline uint8_t got(const struct case_ *c, unsigned disk, uint32_t shard, uint64_t offset)
{
    const uint8_t *const s = c->f->stores[disk].shards[shard];
    if (s == NULL)
        return 0;
    for (uint64_t i = 1; i < BLOCK; i++)
        assert_int_equal(s[offset + i], s[offset]);
    return s[offset];
}

static inline void put(struct case_ *c, unsigned disk, uint32_t shard, uint64_t offset,
                       uint8_t value)
{
    struct store *s = &c->f->stores[disk];
    if (s->shards[shard] == NULL)
        s->shards[shard] = calloc(1, SHARD_BYTES);
    memset(s->shards[shard] + offset, value, BLOCK);
}

/* 32 blocks with their numbers. */
static inline struct case_ *case_numbered(void)
{
    struct case_ *c = case_opened(2);
    for (unsigned k = 0; k < 32; k++)
        memset(c->f->memory + k * BLOCK, (int)(0x40 + k), BLOCK);
    assert_int_equal(run(c->f, NVME_NS_WRITE, false, 0, 32 * BLOCK).code, STATUS_OK);
    for (unsigned i = 0; i < DISKS; i++)
        c->f->stores[i].writes = 0;
    return c;
}

static inline void make_bad(struct case_ *c, unsigned disk, unsigned block)
{
    c->f->stores[disk].bad_from = block * BLOCK;
    c->f->stores[disk].bad_to = (block + 1) * BLOCK;
}

/* Whether all disks keep what they are asked for; if not, it ends. */
static inline void hold_all(struct fixture *f, bool hold)
{
    for (unsigned i = 0; i < DISKS; i++) {
        f->stores[i].hold = hold;
        while (!hold && f->stores[i].in_flight_count > 0)
            fake_store_release(&f->stores[i], 0);
    }
    loop_run(&f->loop);
}

static inline unsigned writes(const struct case_ *c)
{
    return c->f->stores[0].writes + c->f->stores[1].writes + c->f->stores[2].writes;
}

#endif
