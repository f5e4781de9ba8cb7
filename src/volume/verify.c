/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Home's part of a verification.
 *
 *   begin chunks --> (their readers) --> on_read --> the task: hash the oldest, if it is there --+
 *        ^                                                                                       |
 *        +---------- one at a time, so that hosts are served in between -------------------------+
 *
 * It ends from the task alone, when no reader is under way.
 */
#include "volume/verify.h"

#include <assert.h>
#include <stdlib.h>

#include "volume/verify_reader.h"

#define VERIFY_DEPTH 4u /* Chunks under way. */

/* How far the rate may be run ahead of, so that timers and disks need not be exact. */
#define VERIFY_AHEAD_NS (10 * NS_PER_MS)

struct verify {
    struct volume *volume;
    struct volume_verify_config config;
    struct volume_verify result;
    struct sha256 *hashes[VOLUME_REPLICAS_MAX];
    uint8_t *memory;
    struct verify_reader readers[VERIFY_DEPTH]; /* Chunk i has readers[i % VERIFY_DEPTH]. */
    uint64_t begun, hashed;                     /* Chunks. */
    uint64_t next;                              /* Address of the first byte that no chunk has. */
    uint64_t due_ns;                            /* When the rate allows the next one. */
    struct io_timer timer;
    struct io_task task;
    bool stopping;
    struct status why;
    void (*stopped)(struct volume *v); /* Of the volume, which waits for the end; or NULL. */
};

static void on_timer(struct io_timer *timer);
static void on_task(struct io_task *task);

/* ---- Findings ---- */

static bool is_sum(enum volume_verify_kind kind)
{
    return kind == VOLUME_VERIFY_OUT_OF_SYNC || kind == VOLUME_VERIFY_UNREAD;
}

/* One that this belongs to; or NULL. */
static struct volume_verify_finding *find(struct volume_verify *result,
                                          const struct volume_verify_finding *f)
{
    for (uint32_t i = result->finding_count; i-- > 0;) {
        struct volume_verify_finding *const old = &result->findings[i];
        if (old->kind == f->kind && old->replica == f->replica && uuid_equal(old->disk, f->disk) &&
            old->why.code == f->why.code && (is_sum(f->kind) || old->at + old->bytes == f->at))
            return old;
    }
    return NULL;
}

/* What is not read may take half of the room: bad blocks are what one looks for. */
static void add_finding(struct verify *vf, const struct volume_verify_finding *f)
{
    struct volume_verify *const result = &vf->result;
    const uint32_t room =
        is_sum(f->kind) ? VOLUME_VERIFY_FINDINGS_MAX / 2 : VOLUME_VERIFY_FINDINGS_MAX;
    struct volume_verify_finding *const old = find(result, f);

    if (old != NULL)
        old->bytes += f->bytes;
    else if (result->finding_count < room)
        result->findings[result->finding_count++] = *f;
    else
        result->findings_left++;
}

static struct volume_verify_finding finding_of(const struct verify *vf,
                                               const struct verify_reader *r, unsigned replica,
                                               enum volume_verify_kind kind)
{
    return (struct volume_verify_finding) {
        .kind = kind,
        .replica = replica,
        .disk = vf->volume->calls[r->copyset->home_leg[replica]]->uuid,
        .at = r->at,
        .bytes = r->bytes,
    };
}

/* Some blocks of a chunk. */
static void add_blocks(struct verify *vf, const struct verify_reader *r, unsigned replica,
                       enum volume_verify_kind kind, uint32_t blocks)
{
    struct volume_verify_finding f = finding_of(vf, r, replica, kind);

    for (unsigned i = 0; blocks >> i != 0; i++) {
        if ((blocks >> i & 1) == 0)
            continue;
        f.at = r->at + i * STORE_BLOCK_BYTES;
        f.bytes = STORE_BLOCK_BYTES;
        add_finding(vf, &f);
    }
}

/* ---- What was read ---- */

static bool is_read(const struct verify_slot *slot)
{
    return !slot->out && status_ok(slot->status);
}

/* The blocks of the slot that are not as the first one has them that can read them. */
static uint32_t differing(const struct verify_reader *r, unsigned replica)
{
    const struct verify_slot *const slot = &r->slots[replica];
    uint32_t compared = slot->bad, differ = 0;

    for (unsigned k = 0; k < replica; k++) {
        const struct verify_slot *const other = &r->slots[k];
        for (unsigned i = 0; i < r->bytes / STORE_BLOCK_BYTES && is_read(other); i++) {
            const uint32_t bit = UINT32_C(1) << i;
            const size_t at = i * STORE_BLOCK_BYTES;
            if ((compared & bit) != 0 || (other->bad & bit) != 0)
                continue;
            compared |= bit;
            if (memcmp(slot->memory.at + at, other->memory.at + at, STORE_BLOCK_BYTES) != 0)
                differ |= bit;
        }
    }
    return differ;
}

static void take_unread(struct verify *vf, const struct verify_reader *r, unsigned replica)
{
    const struct verify_slot *const slot = &r->slots[replica];
    struct volume_verify_finding f =
        finding_of(vf, r, replica, slot->out ? VOLUME_VERIFY_OUT_OF_SYNC : VOLUME_VERIFY_UNREAD);

    f.why = slot->status;
    add_finding(vf, &f);
    vf->result.replicas[replica].unread_bytes += r->bytes;
}

static void take_slot(struct verify *vf, const struct verify_reader *r, unsigned replica)
{
    const struct verify_slot *const slot = &r->slots[replica];
    struct volume_verify_replica *const result = &vf->result.replicas[replica];

    if (!is_read(slot)) {
        take_unread(vf, r, replica);
    } else {
        const uint32_t differ = differing(r, replica);
        result->bad_blocks += (unsigned)__builtin_popcount(slot->bad);
        result->differing_blocks += (unsigned)__builtin_popcount(differ);
        add_blocks(vf, r, replica, VOLUME_VERIFY_BAD, slot->bad);
        add_blocks(vf, r, replica, VOLUME_VERIFY_DIFFERS, differ);
    }
    if (result->bad_blocks == 0 && result->unread_bytes == 0)
        sha256_update(vf->hashes[replica], span_const(span_sub(slot->memory, 0, (size_t)r->bytes)));
}

/* The oldest chunk. */
static void take_chunk(struct verify *vf)
{
    const struct verify_reader *const r = &vf->readers[vf->hashed % VERIFY_DEPTH];

    for (unsigned i = 0; i < vf->result.replica_count; i++)
        take_slot(vf, r, i);
    vf->result.done_bytes += r->bytes;
    vf->hashed++;
}

static bool chunk_is_there(const struct verify *vf)
{
    return vf->hashed < vf->begun && !vf->readers[vf->hashed % VERIFY_DEPTH].busy;
}

/* ---- The end ---- */

static void verify_free(struct verify *vf)
{
    for (unsigned i = 0; i < VOLUME_REPLICAS_MAX; i++)
        sha256_destroy(vf->hashes[i]);
    free(vf->memory);
    free(vf);
}

static void take_digests(struct verify *vf)
{
    for (unsigned i = 0; i < vf->result.replica_count; i++) {
        struct volume_verify_replica *const replica = &vf->result.replicas[i];
        replica->whole = replica->bad_blocks == 0 && replica->unread_bytes == 0;
        if (replica->whole)
            sha256_finish(vf->hashes[i], replica->sha256);
    }
}

static void verify_end(struct verify *vf)
{
    struct volume *const v = vf->volume;
    void (*const stopped)(struct volume * v) = vf->stopped;

    assert(!io_timer_armed(&vf->timer));
    v->verify = NULL;
    if (status_ok(vf->why))
        take_digests(vf);
    vf->config.done(vf->config.ctx, vf->why, &vf->result);
    verify_free(vf);
    if (stopped != NULL)
        stopped(v);
}

static bool is_reading(const struct verify *vf)
{
    for (unsigned i = 0; i < VERIFY_DEPTH; i++)
        if (vf->readers[i].busy)
            return true;
    return false;
}

static void stop(struct verify *vf, struct status why)
{
    if (!vf->stopping) {
        vf->stopping = true;
        vf->why = why;
    }
    io_timer_disarm(&vf->timer);
    reactor_defer(vf->volume->home, &vf->task);
}

/* ---- Chunks ---- */

static uint64_t cost_ns(const struct verify *vf, uint64_t bytes)
{
    return vf->config.bytes_per_s == 0 ? 0 : bytes * NS_PER_S / vf->config.bytes_per_s;
}

/* What no disk was asked for costs nothing. */
static void give_back(struct verify *vf, const struct verify_reader *r)
{
    bool asked = false;

    for (unsigned i = 0; i < vf->result.replica_count; i++)
        asked |= !r->slots[i].out && !r->slots[i].absent;
    if (!asked)
        vf->due_ns -= cost_ns(vf, r->bytes);
}

static void on_read(struct verify_reader *r)
{
    struct verify *const vf = r->copyset->slice->volume->verify;

    give_back(vf, r);
    reactor_defer(vf->volume->home, &vf->task);
}

static void begin_chunk(struct verify *vf)
{
    const struct volume_map *const map = vf->volume->map;
    const struct layout_range rest = {
        .at = vf->next,
        .bytes = min_u64(VERIFY_CHUNK_BYTES, vf->result.bytes - vf->next),
    };
    const struct layout_extent extent = layout_first_extent(&map->layout, rest);
    struct verify_reader *const r = &vf->readers[vf->begun % VERIFY_DEPTH];

    r->at = vf->next;
    vf->next += extent.bytes;
    vf->begun++;
    vf->due_ns = max_u64(vf->due_ns, reactor_now_ns(vf->volume->home));
    vf->due_ns += cost_ns(vf, extent.bytes);
    verify_reader_start(r, map_copyset(map, extent.shard), &extent, on_read);
}

/* As many as there is room for, and the rate allows. */
static void begin_chunks(struct verify *vf)
{
    struct reactor *const home = vf->volume->home;

    while (vf->next < vf->result.bytes && vf->begun - vf->hashed < VERIFY_DEPTH) {
        if (vf->due_ns > reactor_now_ns(home) + VERIFY_AHEAD_NS) {
            io_timer_arm(&vf->timer, home, vf->due_ns - VERIFY_AHEAD_NS);
            return;
        }
        begin_chunk(vf);
    }
}

static void on_timer(struct io_timer *timer)
{
    begin_chunks(CONTAINER_OF(timer, struct verify, timer));
}

static void on_task(struct io_task *task)
{
    struct verify *const vf = CONTAINER_OF(task, struct verify, task);

    /* Slices may know it before verify_fence(), and read nothing any more. */
    if (vf->volume->members.fenced && !vf->stopping) {
        stop(vf, STATUS(FENCED)); /* Which ends in a turn of its own. */
        return;
    }
    if (vf->stopping) {
        if (!is_reading(vf))
            verify_end(vf);
        return;
    }
    if (chunk_is_there(vf))
        take_chunk(vf);
    if (chunk_is_there(vf))
        reactor_defer(vf->volume->home, &vf->task);
    if (vf->result.done_bytes == vf->result.bytes)
        stop(vf, STATUS(OK));
    else
        begin_chunks(vf);
}

/* ---- The interface ---- */

/* Memory for each replica of each chunk. */
static struct status MUST_CHECK verify_alloc(struct verify *vf)
{
    const unsigned replicas = vf->result.replica_count;

    vf->memory =
        aligned_alloc(STORE_BLOCK_BYTES, (size_t)(VERIFY_DEPTH * replicas * VERIFY_CHUNK_BYTES));
    if (vf->memory == NULL)
        return STATUS(NO_MEMORY);
    for (unsigned k = 0; k < replicas; k++) {
        TRY(sha256_create(&vf->hashes[k]));
        for (unsigned i = 0; i < VERIFY_DEPTH; i++)
            vf->readers[i].slots[k].memory =
                (struct span) { vf->memory + (i * replicas + k) * VERIFY_CHUNK_BYTES,
                                VERIFY_CHUNK_BYTES };
    }
    return STATUS(OK);
}

struct status volume_verify_start(struct volume *v, const struct volume_verify_config *config)
{
    assert(reactor_is_current(v->home));
    if (v->verify != NULL)
        return STATUS(BUSY);
    if (v->members.fenced)
        return STATUS(FENCED);
    if (v->sm.now == VOL_DELETING || v->sm.now == VOL_CLOSING || v->deleting)
        return STATUS(UNAVAILABLE);
    struct verify *const vf = calloc(1, sizeof *vf);
    if (vf == NULL)
        return STATUS(NO_MEMORY);
    vf->volume = v;
    vf->config = *config;
    vf->result.bytes = v->desc.bytes;
    vf->result.replica_count = v->desc.replicas;
    io_timer_init(&vf->timer, on_timer);
    io_task_init(&vf->task, on_task);
    const struct status st = verify_alloc(vf);
    if (!status_ok(st)) {
        verify_free(vf);
        return st;
    }
    v->verify = vf;
    reactor_defer(v->home, &vf->task);
    return STATUS(OK);
}

void volume_verify_stop(struct volume *v)
{
    assert(reactor_is_current(v->home));
    if (v->verify != NULL)
        stop(v->verify, STATUS(CANCELED));
}

void verify_fence(struct volume *v)
{
    if (v->verify != NULL)
        stop(v->verify, STATUS(FENCED));
}

void verify_close(struct volume *v, void (*then)(struct volume *v))
{
    if (v->verify == NULL) {
        then(v);
        return;
    }
    v->verify->stopped = then;
    stop(v->verify, STATUS(FENCED));
}

const struct volume_verify *volume_verify_progress(const struct volume *v)
{
    return v->verify != NULL ? &v->verify->result : NULL;
}

bool volume_verify_is_good(const struct volume_verify *result)
{
    for (unsigned i = 0; i < result->replica_count; i++) {
        const struct volume_verify_replica *const replica = &result->replicas[i];
        if (!replica->whole ||
            memcmp(replica->sha256, result->replicas[0].sha256, SHA256_BYTES) != 0)
            return false;
    }
    return true;
}
