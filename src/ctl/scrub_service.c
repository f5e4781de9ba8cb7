/* SPDX-License-Identifier: Apache-2.0 */
/* StartScrub, ListScrubs and StopScrub, and what disks show of them. */
#include <stdlib.h>
#include <string.h>

#include "ctl/scrub.h"

/* ---- What is known ---- */

static char *volume_name(struct ctl *ctl, struct uuid volume, struct arena *arena)
{
    ProtobufCMessage *found = NULL;
    char *name = arena_uuid(arena, volume);

    if (status_ok(record_get(ctl->meta, key_volume(volume).s, &stored__v1__volume__descriptor,
                             &found, NULL)))
        name = arena_text(arena, ((const Stored__V1__Volume *)(const void *)found)->name);
    record_free(found);
    return name;
}

static Trilith__V1__ScrubFinding *finding_view(struct ctl *ctl, const struct scrub_finding *f,
                                               struct arena *arena)
{
    Trilith__V1__ScrubFinding *const v = arena_alloc(arena, sizeof *v);

    trilith__v1__scrub_finding__init(v);
    v->volume = volume_name(ctl, f->volume, arena);
    v->offset = f->offset;
    v->bytes = f->bytes;
    v->shard = f->shard;
    v->shard_offset = f->shard_offset;
    v->reason = arena_text(arena, f->reason);
    return v;
}

static void state_fill(const struct scrub *s, Trilith__V1__Scrub *v, struct arena *arena)
{
    const struct observed *const o = observed_find(s->ctl, s->node);
    const Trilith__V1__DiskReport *const d = observed_disk(o, s->disk);

    if (s->stopped) {
        v->state = TRILITH__V1__SCRUB_STATE__SCRUB_STATE_STOPPED;
    } else if (scrub_is_over(s)) {
        v->state = TRILITH__V1__SCRUB_STATE__SCRUB_STATE_DONE;
    } else if (!observed_connected(s->ctl, o) || d == NULL) {
        v->state = TRILITH__V1__SCRUB_STATE__SCRUB_STATE_WAITING;
        v->reason = arena_text(arena, d == NULL ? "its node does not have the disk now"
                                                : "its node does not report");
    } else {
        v->state = TRILITH__V1__SCRUB_STATE__SCRUB_STATE_RUNNING;
    }
}

Trilith__V1__Scrub *scrub_view(const struct scrub *s, const char *name, struct arena *arena)
{
    Trilith__V1__Scrub *const v = arena_alloc(arena, sizeof *v);

    trilith__v1__scrub__init(v);
    v->disk = (char *)(uintptr_t)name;
    state_fill(s, v, arena);
    v->begun_unix_ms = s->begun_unix_ms;
    v->ended_unix_ms = s->ended_unix_ms;
    v->done_bytes = s->done_bytes;
    v->all_bytes = s->all_bytes;
    v->bytes_per_s = s->bytes_per_s;
    v->found_blocks = s->found_blocks;
    v->repaired_blocks = s->repaired_blocks;
    v->lost_blocks = s->lost_blocks;
    v->findings = arena_alloc(arena, s->finding_count * sizeof *v->findings);
    for (; v->n_findings < s->finding_count; v->n_findings++)
        v->findings[v->n_findings] = finding_view(s->ctl, &s->findings[v->n_findings], arena);
    return v;
}

static int by_disk(const void *a, const void *b)
{
    const Trilith__V1__Scrub *const *left = a;
    const Trilith__V1__Scrub *const *right = b;
    return strcmp((*left)->disk, (*right)->disk);
}

void on_list_scrubs(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__ListScrubsResponse reply = TRILITH__V1__LIST_SCRUBS_RESPONSE__INIT;
    struct ctl *const ctl = ctx;
    struct records disks;

    (void)message;
    const struct status st = records_read(ctl, KEY_DISKS, &stored__v1__disk__descriptor, &disks);
    if (!status_ok(st)) {
        ctl_fail(call, st, "the disks could not be read");
        return;
    }
    reply.scrubs = arena_alloc(&arena, disks.count * sizeof *reply.scrubs);
    for (size_t i = 0; i < disks.count; i++) {
        const Stored__V1__Disk *const d = (const Stored__V1__Disk *)(const void *)disks.items[i];
        const struct scrub *const s = scrub_find(ctl, field_uuid(d->uuid));
        if (s != NULL)
            reply.scrubs[reply.n_scrubs++] = scrub_view(s, arena_text(&arena, d->name), &arena);
    }
    records_free(&disks);
    qsort(reply.scrubs, reply.n_scrubs, sizeof *reply.scrubs, by_disk);
    rpc_reply(call, &reply.base);
}

/* ---- StartScrub, StopScrub ---- */

/* What is done with each disk that is named, or with all. */
struct errand {
    struct ctl *ctl;
    const char *name; /* Empty: all. */
    uint64_t bytes_per_s;
    uint32_t matched, done;
    struct status (*act)(struct errand *e, const Stored__V1__Disk *disk);
};

static struct status begin_one(struct errand *e, const Stored__V1__Disk *disk)
{
    const struct scrub *const s = scrub_find(e->ctl, field_uuid(disk->uuid));

    if (s != NULL && !scrub_is_over(s))
        return STATUS(OK);
    e->done++;
    return scrub_begin(e->ctl, field_uuid(disk->uuid), field_uuid(disk->node), e->bytes_per_s);
}

static struct status stop_one(struct errand *e, const Stored__V1__Disk *disk)
{
    struct scrub *const s = scrub_find(e->ctl, field_uuid(disk->uuid));

    if (s == NULL || scrub_is_over(s))
        return STATUS(OK);
    e->done++;
    return scrub_stop(s);
}

/* False: the call has failed. */
static bool run(struct errand *e, struct rpc_call *call)
{
    struct records disks;
    struct status st = records_read(e->ctl, KEY_DISKS, &stored__v1__disk__descriptor, &disks);

    for (size_t i = 0; status_ok(st) && i < disks.count; i++) {
        const Stored__V1__Disk *const d = (const Stored__V1__Disk *)(const void *)disks.items[i];
        if (e->name[0] != '\0' && strcmp(d->name, e->name) != 0 &&
            strcmp(uuid_format(field_uuid(d->uuid)).s, e->name) != 0)
            continue;
        e->matched++;
        st = e->act(e, d);
    }
    records_free(&disks);
    if (!status_ok(st))
        ctl_fail(call, st, "scrubs could not be recorded");
    else if (e->matched == 0 && e->name[0] != '\0')
        rpc_fail(call, RPC_NOT_FOUND,
                 "disk '%.100s': there is none of this name; 'trilith disk list' shows all",
                 e->name);
    else
        return true;
    return false;
}

void on_start_scrub(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__StartScrubRequest *const request =
        (const Trilith__V1__StartScrubRequest *)(const void *)message;
    Trilith__V1__StartScrubResponse reply = TRILITH__V1__START_SCRUB_RESPONSE__INIT;
    struct errand e = { ctx, request->disk, request->bytes_per_s, 0, 0, begin_one };

    if (!run(&e, call))
        return;
    reply.begun = e.done;
    rpc_reply(call, &reply.base);
}

void on_stop_scrub(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__StopScrubRequest *const request =
        (const Trilith__V1__StopScrubRequest *)(const void *)message;
    Trilith__V1__StopScrubResponse reply = TRILITH__V1__STOP_SCRUB_RESPONSE__INIT;
    struct errand e = { ctx, request->disk, 0, 0, 0, stop_one };

    if (!run(&e, call))
        return;
    reply.stopped = e.done;
    rpc_reply(call, &reply.base);
}
