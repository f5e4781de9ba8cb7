/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/scrub.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 4096u

static void on_timer(struct rpc_timer *timer);
static void keep_or_log(struct scrub *s, bool tells_node, bool tells_engine);

/* ---- The list ---- */

struct scrub *scrub_find(struct ctl *ctl, struct uuid disk)
{
    LIST_FOR_EACH (n, &ctl->scrubs) {
        struct scrub *const s = CONTAINER_OF(n, struct scrub, link);
        if (uuid_equal(s->disk, disk))
            return s;
    }
    return NULL;
}

static struct scrub *add(struct ctl *ctl, struct uuid disk)
{
    struct scrub *const s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->ctl = ctl;
    s->disk = disk;
    rpc_timer_init(&s->timer, on_timer);
    list_node_init(&s->link);
    list_push_back(&ctl->scrubs, &s->link);
    return s;
}

static void forget(struct scrub *s)
{
    list_remove(&s->link);
    rpc_timer_disarm(&s->timer);
    free(s);
}

void scrubs_stop(struct ctl *ctl)
{
    LIST_FOR_EACH (n, &ctl->scrubs) {
        struct scrub *const s = CONTAINER_OF(n, struct scrub, link);
        if (!scrub_is_over(s))
            keep_or_log(s, false, false);
    }
    scrubs_end(ctl);
}

void scrubs_end(struct ctl *ctl)
{
    LIST_FOR_EACH (n, &ctl->scrubs)
        forget(CONTAINER_OF(n, struct scrub, link));
}

/* ---- In the meta store ---- */

struct keeping {
    struct scrub *scrub;
    bool tells[2]; /* The disk's node, and the engine's, have another part now. */
};

static void fill_findings(const struct scrub *s, Stored__V1__Scrub *record,
                          Stored__V1__ScrubFinding *findings, Stored__V1__ScrubFinding **items)
{
    for (uint32_t i = 0; i < s->finding_count; i++) {
        const struct scrub_finding *const f = &s->findings[i];
        stored__v1__scrub_finding__init(&findings[i]);
        findings[i].volume = record_bytes(&f->volume);
        findings[i].offset = f->offset;
        findings[i].bytes = f->bytes;
        findings[i].shard = f->shard;
        findings[i].shard_offset = f->shard_offset;
        findings[i].reason = (char *)(uintptr_t)f->reason;
        items[i] = &findings[i];
    }
    record->n_findings = s->finding_count;
    record->findings = items;
}

static struct status keep_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    const struct keeping *const k = ctx;
    const struct scrub *const s = k->scrub;
    Stored__V1__Scrub record = STORED__V1__SCRUB__INIT;
    Stored__V1__ScrubFinding findings[SCRUB_FINDINGS_MAX], *items[SCRUB_FINDINGS_MAX];

    record.disk = record_bytes(&s->disk);
    record.id = s->id;
    record.begun_unix_ms = s->begun_unix_ms;
    record.ended_unix_ms = s->ended_unix_ms;
    record.stopped = s->stopped;
    record.bytes_per_s = s->bytes_per_s;
    record.position = s->position;
    record.done_bytes = s->done_bytes;
    record.all_bytes = s->all_bytes;
    /* What waits for an engine is told again after a restart. */
    record.found_blocks = s->found_blocks - (s->mend_id != 0 ? s->pending.bytes / BLOCK_BYTES : 0);
    record.repaired_blocks = s->repaired_blocks;
    record.lost_blocks = s->lost_blocks;
    record.answered = s->answered;
    fill_findings(s, &record, findings, items);
    record_put(txn, key_scrub(s->disk).s, &record.base);
    if (k->tells[0])
        TRY(desired_bump(m, txn, s->node));
    if (k->tells[1] && !(k->tells[0] && uuid_equal(s->node, s->engine)))
        TRY(desired_bump(m, txn, s->engine));
    return STATUS(OK);
}

static struct status MUST_CHECK keep(struct scrub *s, bool tells_node, bool tells_engine)
{
    struct keeping k = { s, { tells_node, tells_engine } };

    s->kept_ns = rpc_now_ns(s->ctl->loop);
    return meta_transact(s->ctl->meta, keep_build, &k, NULL);
}

/* What cannot be recorded now is recorded with the next report that changes it. */
static void keep_or_log(struct scrub *s, bool tells_node, bool tells_engine)
{
    const struct status st = keep(s, tells_node, tells_engine);

    if (!status_ok(st))
        log_error(s->ctl->log, "disk %s: its scrub could not be recorded: %s",
                  uuid_format(s->disk).s, status_text(st));
}

static void load_findings(struct scrub *s, const Stored__V1__Scrub *r)
{
    for (size_t i = 0; i < r->n_findings && s->finding_count < SCRUB_FINDINGS_MAX; i++) {
        struct scrub_finding *const f = &s->findings[s->finding_count++];
        f->volume = field_uuid(r->findings[i]->volume);
        f->offset = r->findings[i]->offset;
        f->bytes = r->findings[i]->bytes;
        f->shard = r->findings[i]->shard;
        f->shard_offset = r->findings[i]->shard_offset;
        snprintf(f->reason, sizeof f->reason, "%s", r->findings[i]->reason);
    }
}

/* The node of a disk, by its record; nil if there is none. */
static struct uuid node_of(struct ctl *ctl, struct uuid disk)
{
    ProtobufCMessage *found = NULL;
    struct uuid node = { { 0 } };

    if (status_ok(
            record_get(ctl->meta, key_disk(disk).s, &stored__v1__disk__descriptor, &found, NULL)))
        node = field_uuid(((const Stored__V1__Disk *)(const void *)found)->node);
    record_free(found);
    return node;
}

static struct status load(struct ctl *ctl, const Stored__V1__Scrub *r)
{
    struct scrub *const s = add(ctl, field_uuid(r->disk));

    if (s == NULL)
        return STATUS(NO_MEMORY);
    s->node = node_of(ctl, s->disk);
    s->id = r->id;
    s->begun_unix_ms = r->begun_unix_ms;
    s->ended_unix_ms = r->ended_unix_ms;
    s->stopped = r->stopped;
    s->bytes_per_s = r->bytes_per_s;
    s->position = r->position;
    s->done_bytes = r->done_bytes;
    s->all_bytes = r->all_bytes;
    s->found_blocks = r->found_blocks;
    s->repaired_blocks = r->repaired_blocks;
    s->lost_blocks = r->lost_blocks;
    s->answered = r->answered;
    load_findings(s, r);
    return STATUS(OK);
}

struct status scrubs_load(struct ctl *ctl)
{
    struct records records;

    TRY(records_read(ctl, KEY_SCRUBS, &stored__v1__scrub__descriptor, &records));
    struct status st = STATUS(OK);
    for (size_t i = 0; i < records.count && status_ok(st); i++)
        st = load(ctl, (const Stored__V1__Scrub *)(const void *)records.items[i]);
    records_free(&records);
    return st;
}

/* ---- Beginning and ending ---- */

static uint64_t wall_ms(struct ctl *ctl)
{
    return rpc_wall_ns(ctl->loop) / NS_PER_MS;
}

static uint64_t draw_id(struct ctl *ctl)
{
    uint64_t id = 0;

    while (id == 0)
        rpc_random(ctl->loop, (struct span) { (uint8_t *)&id, sizeof id });
    return id;
}

struct status scrub_begin(struct ctl *ctl, struct uuid disk, struct uuid node, uint64_t bytes_per_s)
{
    struct scrub *const old = scrub_find(ctl, disk);
    struct scrub *const s = add(ctl, disk);

    assert(old == NULL || scrub_is_over(old));
    if (s == NULL)
        return STATUS(NO_MEMORY);
    s->node = node;
    s->id = draw_id(ctl);
    s->begun_unix_ms = wall_ms(ctl);
    s->bytes_per_s = bytes_per_s != 0 ? bytes_per_s : CTL_SCRUB_BYTES_PER_S_DEF;
    const struct status st = keep(s, true, false);
    if (status_ok(st) && old != NULL)
        forget(old);
    else if (!status_ok(st))
        forget(s);
    return st;
}

/* Nobody waits for an engine any more; whether one was told. */
static bool forget_mend(struct scrub *s)
{
    const bool was = s->mend_id != 0;

    s->mend_id = 0;
    rpc_timer_disarm(&s->timer);
    return was;
}

struct status scrub_stop(struct scrub *s)
{
    const uint64_t mend_id = s->mend_id;

    assert(!scrub_is_over(s));
    s->mend_id = 0;
    s->ended_unix_ms = wall_ms(s->ctl);
    s->stopped = true;
    const struct status st = keep(s, true, mend_id != 0);
    if (status_ok(st)) {
        rpc_timer_disarm(&s->timer);
    } else {
        s->mend_id = mend_id;
        s->ended_unix_ms = 0;
        s->stopped = false;
    }
    return st;
}

void scrub_disk_removed(struct ctl *ctl, struct uuid disk)
{
    struct scrub *const s = scrub_find(ctl, disk);

    if (s != NULL)
        forget(s);
}

/* ---- Findings ---- */

static void note_loss(struct scrub *s, const struct scrub_finding *f, uint64_t blocks,
                      const char *reason)
{
    s->lost_blocks += blocks;
    if (s->finding_count == SCRUB_FINDINGS_MAX) {
        memmove(&s->findings[0], &s->findings[1], (SCRUB_FINDINGS_MAX - 1) * sizeof *f);
        s->finding_count--;
    }
    s->findings[s->finding_count] = *f;
    snprintf(s->findings[s->finding_count].reason, SCRUB_REASON_BYTES, "%s", reason);
    s->finding_count++;
}

/* It is dealt with: the disk's node goes on. */
static void answer(struct scrub *s)
{
    const bool tells_engine = forget_mend(s);

    s->answered = s->number;
    keep_or_log(s, true, tells_engine);
}

static void lose(struct scrub *s, const char *reason)
{
    note_loss(s, &s->pending, s->pending.bytes / BLOCK_BYTES, reason);
    answer(s);
}

static void on_timer(struct rpc_timer *timer)
{
    lose(CONTAINER_OF(timer, struct scrub, timer), "the engine of its volume did not answer");
}

/* Why no engine can be asked; NULL: *out_node has it. */
static const char *find_engine(struct scrub *s, struct uuid *out_node)
{
    ProtobufCMessage *found = NULL;
    const char *why = NULL;

    if (!status_ok(record_get(s->ctl->meta, key_volume(s->pending.volume).s,
                              &stored__v1__volume__descriptor, &found, NULL)))
        return "there is no such volume any more";
    const Stored__V1__Volume *const v = (const Stored__V1__Volume *)(const void *)found;
    const struct observed *const o = observed_find(s->ctl, field_uuid(v->node));
    const Trilith__V1__VolumeReport *const report = observed_volume(o, s->pending.volume);
    if (!observed_connected(s->ctl, o) || report == NULL || v->deleting ||
        report->state != TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY)
        why = "nobody serves the volume now; scrub again when it is served";
    *out_node = field_uuid(v->node);
    record_free(found);
    return why;
}

static void take_finding(struct scrub *s, const Trilith__V1__ScrubFindingReport *f)
{
    if (f->number <= s->answered || (s->mend_id != 0 && f->number == s->number))
        return;
    s->number = f->number;
    s->pending = (struct scrub_finding) {
        .volume = field_uuid(f->volume_uuid),
        .offset = UINT64_MAX,
        .bytes = f->bytes,
        .shard = f->shard,
        .shard_offset = f->offset,
    };
    s->found_blocks += f->bytes / BLOCK_BYTES;
    const char *const why = find_engine(s, &s->engine);
    if (why != NULL) {
        lose(s, why);
        return;
    }
    s->mend_id = draw_id(s->ctl);
    rpc_timer_arm(s->ctl->loop, &s->timer, rpc_now_ns(s->ctl->loop) + CTL_MEND_MS * NS_PER_MS);
    keep_or_log(s, false, true);
}

/* ---- Reports ---- */

static void take_scrub(struct scrub *s, const Trilith__V1__ScrubReport *r)
{
    s->position = r->position;
    s->done_bytes = r->done_bytes;
    s->all_bytes = r->all_bytes;
    if (r->ended) {
        s->ended_unix_ms = wall_ms(s->ctl);
        log_info(s->ctl->log,
                 "disk %s: scrubbed: %llu bad blocks, %llu repaired, %llu could not be",
                 uuid_format(s->disk).s, (unsigned long long)s->found_blocks,
                 (unsigned long long)s->repaired_blocks, (unsigned long long)s->lost_blocks);
        keep_or_log(s, true, false);
    } else if (r->finding != NULL) {
        take_finding(s, r->finding);
    } else if (rpc_now_ns(s->ctl->loop) - s->kept_ns > CTL_SCRUB_KEEP_MS * NS_PER_MS) {
        keep_or_log(s, false, false);
    }
}

static void take_mend(struct ctl *ctl, const Trilith__V1__MendReport *r)
{
    LIST_FOR_EACH (n, &ctl->scrubs) {
        struct scrub *const s = CONTAINER_OF(n, struct scrub, link);
        if (s->mend_id == 0 || s->mend_id != r->id)
            continue;
        s->pending.offset = r->address;
        s->repaired_blocks += r->repaired_blocks;
        if (r->failure[0] != '\0')
            lose(s, r->failure);
        else if (r->unreadable_blocks > 0)
            note_loss(s, &s->pending, r->unreadable_blocks, "it is bad at every replica in sync");
        if (s->mend_id != 0)
            answer(s);
    }
}

void scrubs_take_report(struct ctl *ctl, const struct observed *o)
{
    for (size_t i = 0; i < o->report->n_disks; i++) {
        const Trilith__V1__DiskReport *const d = o->report->disks[i];
        struct scrub *const s = scrub_find(ctl, field_uuid(d->uuid));
        if (s == NULL || scrub_is_over(s))
            continue;
        if (!uuid_equal(s->node, o->node)) { /* The disk has moved. */
            s->node = o->node;
            keep_or_log(s, true, false);
        }
        if (d->scrub != NULL && d->scrub->id == s->id)
            take_scrub(s, d->scrub);
    }
    for (size_t i = 0; i < o->report->n_volumes; i++)
        for (size_t k = 0; k < o->report->volumes[i]->n_mends; k++)
            take_mend(ctl, o->report->volumes[i]->mends[k]);
}

/* ---- The nodes' parts ---- */

static Trilith__V1__ScrubOrder *order_of(const struct scrub *s, struct arena *arena)
{
    Trilith__V1__ScrubOrder *const o = arena_alloc(arena, sizeof *o);

    trilith__v1__scrub_order__init(o);
    o->id = s->id;
    o->disk_uuid = arena_uuid_bytes(arena, s->disk);
    o->from = s->position;
    o->bytes_per_s = s->bytes_per_s;
    o->answered = s->answered;
    o->done_bytes = s->done_bytes;
    return o;
}

static void add_mend(const struct scrub *s, Trilith__V1__WatchNodeResponse *part,
                     struct arena *arena)
{
    for (size_t i = 0; i < part->n_volumes; i++) {
        Trilith__V1__DesiredVolume *const v = part->volumes[i];
        if (!uuid_equal(field_uuid(v->uuid), s->pending.volume))
            continue;
        Trilith__V1__MendOrder *const m = arena_alloc(arena, sizeof *m);
        trilith__v1__mend_order__init(m);
        m->id = s->mend_id;
        m->disk_uuid = arena_uuid_bytes(arena, s->disk);
        m->shard = s->pending.shard;
        m->offset = s->pending.shard_offset;
        m->bytes = s->pending.bytes;
        v->mends = arena_grow(arena, v->mends, v->n_mends, sizeof *v->mends);
        v->mends[v->n_mends++] = m;
    }
}

void scrubs_fill(struct ctl *ctl, struct uuid node, Trilith__V1__WatchNodeResponse *part,
                 struct arena *arena)
{
    LIST_FOR_EACH (n, &ctl->scrubs) {
        const struct scrub *const s = CONTAINER_OF(n, struct scrub, link);
        if (s->mend_id != 0)
            add_mend(s, part, arena);
        if (scrub_is_over(s) || !uuid_equal(s->node, node))
            continue;
        part->scrubs = arena_grow(arena, part->scrubs, part->n_scrubs, sizeof *part->scrubs);
        part->scrubs[part->n_scrubs++] = order_of(s, arena);
    }
}
