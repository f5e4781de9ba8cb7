/* SPDX-License-Identifier: Apache-2.0 */
/* Another disk gets a slot that is out, while the volume serves: docs/replication.md, 9.11 on. */
#include "base/rng.h"
#include "rebuild_case.h"

static void release(struct fixture *f, struct store *s)
{
    s->hold = false;
    while (s->in_flight_count > 0)
        fake_store_release(s, 0);
    loop_run(&f->loop);
}

/* ---- What becomes of it ---- */

/* It has everything, is in sync in all copysets, and what is written then is written there. */
static void another_disk_has_everything(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);
    struct volume_disk_state problems[4];
    struct volume_resync progress;

    write_everywhere(r->f, 0x21);
    const unsigned before = r->c->meta.commits;
    replace_all(r);
    assert_rebuilt(r);
    assert_int_equal(r->c->meta.commits - before, 1 + DISKS); /* One for all, and admissions. */
    write_everywhere(r->f, 0x22);
    assert_rebuilt(r);
    assert_int_equal(run(r->f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    assert_false(r->spare.unflushed);
    volume_get_resync(r->f->volume, &progress);
    assert_int_equal(progress.replicas_out + progress.replicas_busy, 0);
    assert_int_equal(volume_get_problems(r->f->volume, problems, 4), 0); /* The old one is none. */
    rebuild_destroy(r);
}

/* 6.5: the members know of it before the slices do, also of a disk that is out. */
static void members_are_told_of_the_new_disk(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);

    r->spare.hold = true; /* Its resync does not end. */
    const uint64_t before = r->c->meta.record.sequence;
    replace_all(r);
    assert_int_equal(r->c->meta.record.sequence, before + 1);
    for (unsigned i = 0; i < DISKS; i++) {
        const struct store_set *set = &r->f->stores[i].last_set;
        if (i == AWAY)
            continue;
        assert_int_equal(set->sequence, before + 1);
        const unsigned slot = slot_of(AWAY, set->number);
        assert_true(uuid_equal(set->set.disk[slot], disk_uuid(NEW)));
        assert_int_equal(set->set.whole, 1u << slot);
        assert_int_equal(set->set.in & 1u << slot, 0);
    }
    release(r->f, &r->spare);
    assert_rebuilt(r);
    rebuild_destroy(r);
}

/* A disk that is there, and was excluded, is not used any more, and its session is closed. */
static void the_old_disk_is_let_go_of(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_create(2);

    rebuild_open(r);
    r->f->stores[AWAY].write_status = STATUS(MEDIA_WRITE);
    write_everywhere(r->f, 0x31);
    assert_false(is_member(r->c, AWAY));
    replace_all(r);
    assert_rebuilt(r);
    assert_false(r->f->stores[AWAY].session_open);
    const unsigned writes = r->f->stores[AWAY].writes, flushes = r->f->stores[AWAY].flushes;
    write_everywhere(r->f, 0x32);
    assert_int_equal(run(r->f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    assert_int_equal(r->f->stores[AWAY].writes, writes);
    assert_int_equal(r->f->stores[AWAY].flushes, flushes);
    assert_int_equal(volume_leg_returned(r->f->volume, &r->disks[AWAY]).code, STATUS_NOT_FOUND);
    rebuild_destroy(r);
}

/* Reads, writes, deallocations and Flushes go on meanwhile, and nothing is lost. */
static void hosts_go_on_meanwhile(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rebuild *r = rebuild_create(1 + (unsigned)(seed % 2));
        struct fixture *f = r->f;
        struct request requests[16] = { 0 };
        struct rng rng;
        bool asked = false;

        rng_init(&rng, seed);
        rebuild_open(r);
        write_everywhere(f, 0x11);
        f->stores[AWAY].write_status = STATUS(MEDIA_WRITE);
        for (unsigned i = 0; i < DISKS; i++)
            f->stores[i].hold = i != AWAY;
        r->spare.hold = true;
        for (unsigned step = 0; step < 3000; step++) {
            struct request *q = &requests[rng_below(&rng, 16)];
            struct store *const s =
                rng_below(&rng, 4) == 0 ? &r->spare : &f->stores[rng_below(&rng, DISKS)];
            const uint64_t at = rng_below(&rng, SHARDS * SHARD_BYTES / (64 * K)) * 64 * K;
            if (!q->busy && step < 2000) {
                const unsigned slot = (unsigned)(q - requests);
                fill(f, slot, BLOCK, (uint8_t)rng_below(&rng, 255));
                submit(f, q, slot, (unsigned)rng_below(&rng, 2),
                       rng_below(&rng, 5) == 0 ? NVME_NS_DEALLOCATE : NVME_NS_WRITE, at, BLOCK);
            }
            if (s->in_flight_count > 0)
                fake_store_release(s, (unsigned)rng_below(&rng, s->in_flight_count));
            if (!is_member(r->c, AWAY) && !asked && rng_below(&rng, 20) == 0)
                asked = status_ok(replace(r));
            loop_run(&f->loop);
        }
        assert_true(asked);
        for (unsigned i = 0; i < 50; i++) {
            for (unsigned k = 0; k < DISKS; k++)
                release(f, &f->stores[k]);
            release(f, &r->spare);
        }
        for (unsigned i = 0; i < 16; i++)
            assert_false(requests[i].busy);
        assert_rebuilt(r);
        rebuild_destroy(r);
    }
}

/* ---- When it is not done (9.12, 9.13) ---- */

/* A slot that is in is not touched, until it is out. */
static void a_member_is_not_replaced(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_create(2);

    rebuild_open(r);
    const unsigned before = r->c->meta.commits;
    replace_all(r);
    assert_int_equal(r->c->meta.commits, before);
    assert_true(is_member(r->c, AWAY));
    r->f->stores[AWAY].write_status = STATUS(MEDIA_WRITE);
    write_everywhere(r->f, 0x41);
    loop_run(&r->f->loop);
    assert_rebuilt(r);
    rebuild_destroy(r);
}

/* A slot that is being resynced has its disk back. */
static void a_disk_that_is_back_is_not_replaced(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);

    write_everywhere(r->f, 0x51);
    r->f->stores[AWAY].hold = true;
    r->disks[AWAY].store = &r->f->stores[AWAY];
    assert_int_equal(volume_leg_returned(r->f->volume, &r->disks[AWAY]).code, STATUS_OK);
    loop_run(&r->f->loop);
    const unsigned before = r->c->meta.commits;
    replace_all(r);
    assert_int_equal(r->c->meta.commits, before);
    release(r->f, &r->f->stores[AWAY]);
    for (unsigned n = 0; n < DISKS; n++) {
        assert_false(names_new(r, n));
        assert_int_equal(slot_at(r, n)->state, GROUP_SLOT_IN);
    }
    rebuild_destroy(r);
}

/* A new disk without a session is not recorded; when it has one, it is, if it is still wanted. */
static void a_new_disk_has_to_be_there(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(1);

    write_everywhere(r->f, 0x61);
    const unsigned before = r->c->meta.commits;
    r->spare.open_status = STATUS(NO_SPACE);
    replace_all(r);
    r->f->stores[2].write_status = STATUS(MEDIA_WRITE); /* Another change, on this occasion. */
    write_everywhere(r->f, 0x62);
    assert_false(is_member(r->c, 2));
    r->disks[NEW].store = NULL;
    replace_all(r);
    assert_int_equal(r->c->meta.commits, before + 1);
    r->disks[NEW].store = &r->spare;
    r->spare.open_status = STATUS(OK);
    replace_all(r);
    for (unsigned i = 0; i < 4; i++) /* Disk 2, which fails again and again, has its turns, too. */
        loop_pass(&r->f->loop, 10 * NS_PER_S);
    assert_rebuilt(r);
    rebuild_destroy(r);
}

/* 9.16: what is taken back in time is not done. */
static void what_is_taken_back_is_not_done(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);

    assert_int_equal(replace(r).code, STATUS_OK); /* Its leg is told to the slices... */
    assert_int_equal(volume_replace(r->f->volume, &r->f->config, NULL, 0).code, STATUS_BUSY);
    r->c->meta.hold = true;
    loop_run(&r->f->loop); /* ... and it is being committed: that is not held up. */
    assert_non_null(r->c->meta.done);
    r->spare.hold = true; /* No Flush waits for it. */
    assert_int_equal(run(r->f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    release(r->f, &r->spare);
    assert_int_equal(volume_replace(r->f->volume, &r->f->config, NULL, 0).code, STATUS_BUSY);
    r->c->meta.hold = false;
    meta_release(&r->c->meta);
    loop_run(&r->f->loop);
    assert_rebuilt(r);
    rebuild_destroy(r);

    r = rebuild_create(2);
    rebuild_open(r);
    replace_all(r);
    assert_int_equal(volume_replace(r->f->volume, &r->f->config, NULL, 0).code, STATUS_OK);
    r->f->stores[AWAY].write_status = STATUS(MEDIA_WRITE);
    write_everywhere(r->f, 0x71);
    assert_false(names_new(r, 0) || names_new(r, 1) || names_new(r, 2));
    rebuild_destroy(r);
}

/* What does not fit the record is left alone: another disk is there, or it has a slot already. */
static void what_does_not_fit_is_left_alone(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);

    const unsigned before = r->c->meta.commits;
    r->items[0].was = disk_uuid(0);
    r->items[1].disk = 0;
    r->items[2].copyset = 9;
    replace_all(r);
    assert_int_equal(r->c->meta.commits, before);
    r->items[2].disk = 99;
    assert_int_equal(replace(r).code, STATUS_INVALID);
    rebuild_destroy(r);
}

/* ---- What the old disk has (9.17) ---- */

static void on_forgotten(void *ctx, struct status status)
{
    *(struct status *)ctx = status;
}

static struct status forget(struct rebuild *r, unsigned disk)
{
    struct status outcome = STATUS(TIMED_OUT);
    const struct status st = volume_forget(r->f->volume, &r->disks[disk], on_forgotten, &outcome);

    loop_run(&r->f->loop);
    return status_ok(st) ? outcome : st;
}

/* It is deleted when the disk is there again, and not while a slot is the disk's. */
static void what_the_old_disk_has_is_deleted(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);
    struct store *const old = &r->f->stores[AWAY];

    r->disks[AWAY].store = old;
    assert_int_equal(forget(r, AWAY).code, STATUS_INVALID);
    assert_int_equal(forget(r, 0).code, STATUS_INVALID);
    replace_all(r);
    r->disks[AWAY].store = NULL;
    assert_int_equal(forget(r, AWAY).code, STATUS_UNAVAILABLE);
    r->disks[AWAY].store = old;
    old->open_status = STATUS(NO_SPACE);
    assert_int_equal(forget(r, AWAY).code, STATUS_NO_SPACE);
    old->open_status = STATUS(OK);
    assert_int_equal(forget(r, AWAY).code, STATUS_OK);
    old->forgotten = true;
    assert_int_equal(forget(r, AWAY).code, STATUS_OK); /* Nor is it made anew for that. */
    assert_true(old->forgotten);
    assert_int_equal(old->deletes, 1);
    assert_false(old->session_open);
    write_everywhere(r->f, 0xc1);
    assert_int_equal(run(r->f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    assert_rebuilt(r);
    assert_int_equal(old->writes + r->spare.deletes, 0);
    for (unsigned n = 0; n < DISKS; n++) { /* And it may be the next one's. */
        r->items[n].was = disk_uuid(NEW);
        r->items[n].disk = AWAY;
    }
    r->spare.write_status = STATUS(MEDIA_WRITE);
    write_everywhere(r->f, 0xc2);
    replace_all(r);
    assert_true(is_member(r->c, AWAY));
    rebuild_destroy(r);
}

/* A close waits for it, whenever it comes. */
static void a_close_waits_for_a_deletion(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 12; steps++) {
        struct rebuild *r = rebuild_without(2);
        struct status outcome = STATUS(TIMED_OUT);
        replace_all(r);
        r->disks[AWAY].store = &r->f->stores[AWAY];
        assert_int_equal(volume_forget(r->f->volume, &r->disks[AWAY], on_forgotten, &outcome).code,
                         STATUS_OK);
        for (unsigned i = 0; i < steps; i++)
            loop_step(&r->f->loop);
        fixture_close(r->f);
        assert_int_equal(outcome.code, STATUS_OK);
        assert_false(r->f->stores[AWAY].session_open);
        rebuild_destroy(r);
    }
}

/* ---- What comes between ---- */

static bool is_late_write(const struct store_io *io)
{
    return io->opcode == STORE_OP_WRITE && io->shard == 0 && io->offset >= M;
}

/* Ends all that a disk was asked for, but that. */
static void release_but_late(struct fixture *f, struct store *s)
{
    struct store_io *next;

    do {
        unsigned index = 0;
        next = NULL;
        LIST_FOR_EACH (n, &s->in_flight) {
            next = CONTAINER_OF(n, struct store_io, link);
            if (!is_late_write(next))
                break;
            next = NULL;
            index++;
        }
        if (next != NULL)
            fake_store_release(s, index);
        loop_run(&f->loop);
    } while (next != NULL);
}

/* 9.14: a write that flowed to the old disk before it was admitted fails there when the slot is
 * another's, to which all is being copied: that is no failure of the new one. */
static void the_old_disk_fails_late(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(1);
    struct fixture *f = r->f;
    struct store *const old = &f->stores[AWAY], *const member = &f->stores[2];
    struct request late = { 0 }, w = { 0 };

    write_ok(f, 0, 0x11);
    old->hold = old->may_close_busy = true;
    r->disks[AWAY].store = old;
    assert_int_equal(volume_leg_returned(f->volume, &r->disks[AWAY]).code, STATUS_OK);
    loop_run(&f->loop);
    while (old->hashes == 0) { /* Until it is copied to. */
        fake_store_release(old, 0);
        loop_run(&f->loop);
    }
    fill(f, 0, BLOCK, 0x22);
    fill(f, 1, BLOCK, 0x33);
    member->hold = true; /* So that the write is not acknowledged without it. */
    submit(f, &late, 0, 0, NVME_NS_WRITE, 3 * M, BLOCK);
    loop_run(&f->loop);
    for (unsigned i = 0; i < 10; i++) {
        release_but_late(f, old);
        release_but_late(f, member);
    }
    assert_int_equal(slot_at(r, 0)->state, GROUP_SLOT_IN);
    assert_int_equal(old->in_flight_count, 1);
    submit(f, &w, 1, 0, NVME_NS_WRITE, 256 * K, BLOCK); /* Of another copyset. */
    loop_run(&f->loop);
    old->fail_next = STATUS(MEDIA_WRITE);
    release_but_late(f, old);
    release_but_late(f, member);
    assert_false(is_member(r->c, AWAY));
    r->spare.hold = true;
    replace_all(r);
    release_but_late(f, member);
    assert_true(names_new(r, 0));
    old->fail_next = STATUS(MEDIA_WRITE);
    release(f, old);
    release(f, member);
    release(f, &r->spare);
    assert_false(late.busy || w.busy);
    assert_rebuilt(r); /* At once. */
    rebuild_destroy(r);
}

/* 9.15: the new disk fails while it is copied to; it stays out, and is replaced in turn. */
static void the_new_disk_fails(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);

    write_everywhere(r->f, 0x81);
    r->spare.write_status = STATUS(MEDIA_WRITE);
    replace_all(r);
    for (unsigned n = 0; n < DISKS; n++) {
        assert_true(names_new(r, n));
        assert_int_equal(slot_at(r, n)->state, GROUP_SLOT_OUT);
    }
    r->disks[AWAY].store = &r->f->stores[AWAY]; /* Empty: here it is the next one. */
    for (unsigned n = 0; n < DISKS; n++) {
        r->items[n].was = disk_uuid(NEW);
        r->items[n].disk = AWAY;
    }
    replace_all(r);
    for (unsigned n = 0; n < DISKS; n++)
        assert_int_equal(slot_at(r, n)->state, GROUP_SLOT_IN);
    assert_true(is_member(r->c, AWAY));
    assert_false(r->spare.session_open);
    rebuild_destroy(r);
}

/* The record is another engine's: nothing is turned, and all ends. */
static void a_conflict_fences(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);

    r->c->meta.conflict = true;
    replace_all(r);
    assert_int_equal(run(r->f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_FENCED);
    assert_int_equal(replace(r).code, STATUS_FENCED);
    rebuild_destroy(r);
}

/* A close at any time waits for what is under way, and nothing is left open. */
static void it_may_be_closed_at_any_time(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 40; steps++) {
        struct rebuild *r = rebuild_without(2);
        write_ok(r->f, 0, 0x91);
        assert_int_equal(replace(r).code, STATUS_OK);
        for (unsigned i = 0; i < steps; i++)
            loop_step(&r->f->loop);
        fixture_close(r->f);
        assert_false(r->spare.session_open);
        rebuild_destroy(r);
    }
}

static void on_grown(void *ctx, struct status status)
{
    *(struct status *)ctx = status;
}

static struct status grow(struct rebuild *r, uint64_t bytes)
{
    struct volume_config *const config = &r->f->config;
    struct status outcome = STATUS(TIMED_OUT);

    config->volume.bytes = bytes;
    config->volume.first_run_shards = SHARDS;
    config->shard_count = (uint32_t)store_volume_shards(&config->volume);
    const struct status st = volume_grow(r->f->volume, config, on_grown, &outcome);
    loop_run(&r->f->loop);
    return status_ok(st) ? outcome : st;
}

/* The next engine is told the placement that goes with the record; and V1: it grows on it. */
static void growth_follows(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_without(2);

    write_everywhere(r->f, 0xa1);
    replace_all(r);
    assert_rebuilt(r);
    for (unsigned i = 0; i < SHARDS_MAX; i++)
        r->f->placement[i].disk[slot_of(AWAY, i % DISKS)] = NEW;
    fixture_close(r->f);
    r->f->config.group = &r->c->meta.record;
    rebuild_open(r);
    write_everywhere(r->f, 0xa2);
    assert_rebuilt(r);
    assert_int_equal(grow(r, SHARDS * SHARD_BYTES + 3 * SHARD_BYTES).code, STATUS_OK);
    write_ok(r->f, SHARDS * SHARD_BYTES, 0xa3);
    rebuild_destroy(r);

    r = rebuild_without(2); /* Or this one, when its node has been told. */
    replace_all(r);
    const uint64_t bytes = SHARDS * SHARD_BYTES + 3 * SHARD_BYTES;
    assert_int_equal(grow(r, bytes).code, STATUS_INVALID);
    for (unsigned i = 0; i < SHARDS_MAX; i++)
        r->f->placement[i].disk[slot_of(AWAY, i % DISKS)] = NEW;
    r->f->config.group = &r->c->meta.record;
    assert_int_equal(grow(r, bytes).code, STATUS_OK);
    write_ok(r->f, SHARDS * SHARD_BYTES, 0xa4);
    rebuild_destroy(r);
}

/* With one copyset more, of which the new disk is one. */
static void plan_copyset(struct rebuild *r)
{
    const struct uuid tuple[1][GROUP_SLOTS] = { { disk_uuid(0), disk_uuid(2), disk_uuid(NEW) } };
    struct volume_config *const config = &r->f->config;
    struct group *const g = &r->c->meta.record;
    struct group_reason reason;

    assert_int_equal(group_extend(g, tuple, 1, g, &reason).code, STATUS_OK);
    config->group = g;
    for (uint32_t i = SHARDS; i < SHARDS_MAX; i++)
        r->f->placement[i] = (struct volume_placement) { .disk = { 0, 2, NEW } };
}

static void growth_adds_copysets(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_create(2);

    rebuild_open(r);
    plan_copyset(r);
    assert_int_equal(grow(r, SHARDS * SHARD_BYTES + 3 * SHARD_BYTES).code, STATUS_OK);
    assert_int_equal(r->c->meta.commits, 1);
    write_ok(r->f, SHARDS * SHARD_BYTES, 0xa5);
    assert_true(r->spare.writes > 0);
    rebuild_destroy(r);
}

/* 7.8: but of an engine that is fenced meanwhile; nothing is committed. */
static void a_fenced_engine_does_not_grow(void **state)
{
    (void)state;
    for (unsigned late = 0; late < 2; late++) {
        struct rebuild *r = rebuild_create(2);
        struct volume_config *const config = &r->f->config;
        struct status outcome = STATUS(TIMED_OUT);

        rebuild_open(r);
        plan_copyset(r);
        if (late == 0)
            volume_fence(r->f->volume);
        r->f->stores[1].hold_describe = true;
        config->volume.bytes += 3 * SHARD_BYTES;
        config->volume.first_run_shards = SHARDS;
        config->shard_count = (uint32_t)store_volume_shards(&config->volume);
        const struct status st = volume_grow(r->f->volume, config, on_grown, &outcome);
        assert_int_equal(st.code, late == 0 ? STATUS_FENCED : STATUS_OK);
        loop_run(&r->f->loop);
        volume_fence(r->f->volume);
        loop_run(&r->f->loop);
        fake_store_described(&r->f->stores[1]);
        loop_run(&r->f->loop);
        assert_int_equal(outcome.code, late == 0 ? STATUS_TIMED_OUT : STATUS_FENCED);
        assert_int_equal(r->c->meta.commits, 0);
        rebuild_destroy(r);
    }
}

/* A disk of a growth that came to nothing is opened by whoever has begun with that. */
static void who_is_being_opened_is_not_made_anew(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 4; steps++) {
        struct rebuild *r = rebuild_without(2);
        const struct group was = r->c->meta.record;

        r->disks[NEW].store = NULL;
        plan_copyset(r);
        assert_int_equal(grow(r, SHARDS * SHARD_BYTES + 3 * SHARD_BYTES).code, STATUS_UNAVAILABLE);
        r->c->meta.record = was; /* As the engine knows it; it will find that there is another. */
        r->c->meta.conflict = true;
        r->disks[NEW].store = &r->spare;
        assert_int_equal(volume_leg_returned(r->f->volume, &r->disks[NEW]).code, STATUS_OK);
        for (unsigned i = 0; i < steps; i++)
            loop_step(&r->f->loop);
        (void)replace(r);
        loop_run(&r->f->loop);
        assert_int_equal(r->spare.opens, 1);
        rebuild_destroy(r);
    }
}

/* And no Flush waits for it: nobody has anything there. */
static void who_did_not_join_is_not_flushed(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_create(2);

    rebuild_open(r);
    plan_copyset(r);
    r->f->stores[0].describe_status = STATUS(NO_SPACE);
    assert_int_equal(grow(r, SHARDS * SHARD_BYTES + 3 * SHARD_BYTES).code, STATUS_NO_SPACE);
    assert_true(r->spare.session_open);
    for (unsigned i = 0; i < 2; i++) {
        write_ok(r->f, 0, (uint8_t)(0xb1 + i));
        assert_int_equal(run(r->f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
        assert_int_equal(r->spare.flushes, 0);
        /* Nothing is to be replaced; but slices hear of all legs. */
        assert_int_equal(volume_replace(r->f->volume, &r->f->config, NULL, 0).code, STATUS_OK);
        loop_run(&r->f->loop);
    }
    rebuild_destroy(r);
}

/* 9.13: two copysets of the same disks are two: each has its own members. */
static void shards_name_their_copyset(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_create(1);
    struct group *g = &r->c->meta.record;
    struct request waits = { 0 };

    g->copyset_count = 2;
    g->copysets[1] = g->copysets[0];
    g->copysets[0].slots[AWAY] = (struct group_slot) { .state = GROUP_SLOT_OUT,
                                                       .disk = disk_uuid(AWAY),
                                                       .since_unix_ms = 1 };
    for (unsigned i = 0; i < SHARDS_MAX; i++) {
        for (unsigned slot = 0; slot < DISKS; slot++)
            r->f->placement[i].disk[slot] = slot;
        r->f->placement[i].copyset = 1 + i % 2;
    }
    r->f->hold_after_open = true;
    rebuild_open(r);
    for (unsigned i = 0; i < DISKS; i++)
        if (i != AWAY)
            release(r->f, &r->f->stores[i]);
    write_ok(r->f, 0, 0xb0); /* Unit 0 lies in shard 0, unit 1 in shard 1. */
    fill(r->f, 1, BLOCK, 0xb1);
    submit(r->f, &waits, 1, 0, NVME_NS_WRITE, 256 * K, BLOCK);
    loop_run(&r->f->loop);
    assert_true(waits.busy);
    release(r->f, &r->f->stores[AWAY]);
    assert_false(waits.busy);
    assert_int_equal(group_members(&r->c->meta.record, 0), ALL_SLOTS);
    assert_int_equal(group_members(&r->c->meta.record, 1), ALL_SLOTS);
    for (unsigned i = 0; i < SHARDS_MAX; i++)
        r->f->placement[i].copyset = 3; /* The record has no such copyset. */
    fixture_close(r->f);
    assert_int_equal(fixture_open(r->f).code, STATUS_INVALID);
    rebuild_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_disk_has_everything),
        cmocka_unit_test(members_are_told_of_the_new_disk),
        cmocka_unit_test(the_old_disk_is_let_go_of),
        cmocka_unit_test(hosts_go_on_meanwhile),
        cmocka_unit_test(a_member_is_not_replaced),
        cmocka_unit_test(a_disk_that_is_back_is_not_replaced),
        cmocka_unit_test(a_new_disk_has_to_be_there),
        cmocka_unit_test(what_is_taken_back_is_not_done),
        cmocka_unit_test(what_does_not_fit_is_left_alone),
        cmocka_unit_test(what_the_old_disk_has_is_deleted),
        cmocka_unit_test(a_close_waits_for_a_deletion),
        cmocka_unit_test(the_old_disk_fails_late),
        cmocka_unit_test(the_new_disk_fails),
        cmocka_unit_test(a_conflict_fences),
        cmocka_unit_test(it_may_be_closed_at_any_time),
        cmocka_unit_test(growth_follows),
        cmocka_unit_test(growth_adds_copysets),
        cmocka_unit_test(a_fenced_engine_does_not_grow),
        cmocka_unit_test(who_is_being_opened_is_not_made_anew),
        cmocka_unit_test(who_did_not_join_is_not_flushed),
        cmocka_unit_test(shards_name_their_copyset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
