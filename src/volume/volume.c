/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "volume/volume_internal.h"

static const struct sm_state volume_states[] = {
    [VOL_OPENING] = { "opening", SM_TO(VOL_READY) | SM_TO(VOL_LISTING) | SM_TO(VOL_CLOSING) },
    [VOL_LISTING] = { "listing", SM_TO(VOL_TELLING) },
    [VOL_TELLING] = { "telling", SM_TO(VOL_DECIDING) },
    [VOL_DECIDING] = { "deciding", SM_TO(VOL_READY) | SM_TO(VOL_CLOSING) },
    [VOL_READY] = { "ready", SM_TO(VOL_SPREADING) | SM_TO(VOL_DESCRIBING) | SM_TO(VOL_DELETING) |
                                 SM_TO(VOL_CLOSING) },
    [VOL_DESCRIBING] = { "describing",
                         SM_TO(VOL_RECORDING) | SM_TO(VOL_SPREADING) | SM_TO(VOL_READY) },
    [VOL_RECORDING] = { "recording", SM_TO(VOL_SPREADING) | SM_TO(VOL_READY) },
    [VOL_SPREADING] = { "spreading", SM_TO(VOL_READY) },
    [VOL_DELETING] = { "deleting", SM_TO(VOL_CLOSING) },
    [VOL_CLOSING] = { "closing", SM_TO(VOL_ENDED) },
    [VOL_ENDED] = { "ended", 0 },
};

static void round_on_end(struct volume *v);

/* ---- A round of calls ---- */

void volume_round_return(struct volume *v)
{
    assert(reactor_is_current(v->home));
    assert(v->calls_pending > 0);
    if (--v->calls_pending == 0)
        round_on_end(v);
}

static void round_on_return(struct io_msg *msg)
{
    volume_round_return(CONTAINER_OF(msg, struct leg_call, msg)->volume);
}

static void round_on_posted(struct io_msg *msg)
{
    volume_round_return(CONTAINER_OF(msg, struct volume, round_msg));
}

void volume_round_begin(struct volume *v, uint32_t calls)
{
    assert(v->calls_pending == 0);
    /* One more than the calls, so that an empty round ends from the loop like any other. */
    v->calls_pending = calls + 1;
    v->round_msg.deliver = round_on_posted;
    reactor_post(v->home, &v->round_msg);
}

void volume_round_legs(struct volume *v, bool (*takes)(const struct leg_call *call),
                       void (*start)(struct io_msg *msg))
{
    volume_round_begin(v, 0);
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *call = v->calls[i];
        if (!takes(call))
            continue;
        v->calls_pending++;
        call->msg.deliver = start;
        reactor_post(call->leg.reactor, &call->msg);
    }
}

void leg_call_return(struct leg_call *call)
{
    call->msg.deliver = round_on_return;
    reactor_post(call->volume->home, &call->msg);
}

static bool has_store(const struct leg_call *call)
{
    return !call->retired && leg_has_store(&call->leg);
}

static bool is_there(const struct leg_call *call)
{
    return !call->retired && leg_is_there(&call->leg);
}

/* ---- Opening ---- */

static struct status check_failed(char *problem, size_t problem_bytes, struct status st,
                                  const char *why)
{
    snprintf(problem, problem_bytes, "%s", why);
    return st;
}

struct status volume_check(const struct store_volume *desc, char *problem, size_t problem_bytes)
{
    const struct layout_shape shape = { desc->bytes, desc->shard_bytes, desc->stripe_unit_bytes,
                                        desc->stripe_width, desc->first_run_shards };
    struct layout layout;

    if (desc->lba_bytes != STORE_BLOCK_BYTES && desc->lba_bytes != 512)
        return check_failed(problem, problem_bytes, STATUS(UNSUPPORTED),
                            "the logical block size must be 512 or 4096");
    if (desc->replicas < 1 || desc->replicas > VOLUME_REPLICAS_MAX)
        return check_failed(problem, problem_bytes, STATUS(UNSUPPORTED),
                            "the number of replicas must be 1, 2 or 3");
    if (!status_ok(layout_init(&layout, &shape)))
        return check_failed(problem, problem_bytes, STATUS(INVALID),
                            "its sizes do not fit each other: the size must be in blocks of "
                            "4096, the stripe unit a power of two from 4K to 512K, the shard "
                            "size a multiple of it, and the stripe width at least 1");
    return STATUS(OK);
}

static struct status volume_alloc_slices(struct volume *v, const struct volume_config *config)
{
    const uint32_t commands_max =
        config->commands_max > 0 ? config->commands_max : VOLUME_COMMANDS_MAX;

    v->slices = calloc(config->reactor_count, sizeof *v->slices);
    if (v->slices == NULL)
        return STATUS(NO_MEMORY);
    for (unsigned i = 0; i < config->reactor_count; i++) {
        assert(config->reactors[i]->index == i);
        v->slice_count++;
        v->slices[i].pace = config->paces != NULL ? config->paces[i] : NULL;
        TRY(slice_init(&v->slices[i], v, config->reactors[i], config->scratch[i], commands_max));
    }
    return STATUS(OK);
}

static struct status volume_alloc(struct volume *v, const struct volume_config *config)
{
    const struct store_volume *d = &config->volume;
    char problem[256];

    TRY(members_init(&v->members, config->group, config->meta, config->meta_ctx));
    TRY(volume_check(d, problem, sizeof problem));
    if ((d->replicas > 1) != (config->group != NULL))
        return STATUS(INVALID);
    if (config->disk_count > VOLUME_STORES_MAX || config->reactor_count > VOLUME_SLICES_MAX)
        return STATUS(LIMIT);
    TRY(volume_alloc_slices(v, config));
    TRY(volume_map_create(v, config, &v->map));
    for (uint32_t i = 0; i < v->call_count; i++) {
        v->calls[i]->is_new = false;
        v->calls[i]->opened = leg_has_store(&v->calls[i]->leg);
    }
    for (unsigned i = 0; i < v->slice_count; i++)
        v->slices[i].map = v->map;
    return STATUS(OK);
}

static void copyset_free(struct copyset *cs)
{
    settling_fini(&cs->settling);
    resync_fini(&cs->resync);
    round_copyset_fini(&cs->round);
    free(cs);
}

static void volume_free(struct volume *v)
{
    for (unsigned i = 0; i < v->slice_count; i++)
        slice_fini(&v->slices[i]);
    free(v->slices);
    for (uint32_t i = 0; i < v->call_count; i++) {
        leg_fini(&v->calls[i]->leg);
        free(v->calls[i]);
    }
    free(v->calls);
    volume_map_destroy(v->map);
    for (uint32_t i = 0; i < v->copyset_count; i++)
        copyset_free(v->copysets[i]);
    free(v->copysets);
    members_fini(&v->members);
    free(v->next_group);
    free(v);
}

void volume_leg_must_know(const struct volume *v, struct leg_call *call)
{
    const struct group *const g = v->members.group;

    leg_must_know(&call->leg, v->deleting || (g != NULL && group_must_know(g, call->uuid)));
}

/* It is not made anew only to be deleted. */
static bool has_nothing_to_delete(const struct volume *v, const struct leg_call *call)
{
    return v->deleting && !leg_is_there(&call->leg) &&
           status_is(call->leg.problem, STATUS_UNKNOWN_VOLUME);
}

static void on_leg_done(void *ctx)
{
    leg_call_return(ctx);
}

static void open_deliver(struct io_msg *msg)
{
    struct leg_call *call = CONTAINER_OF(msg, struct leg_call, msg);

    leg_open(&call->leg, &call->volume->desc, call->volume->epoch, on_leg_done, call);
}

/* Takes in one leg, reporting what a person should know. */
static void open_take_leg(struct volume *v, const struct leg_call *call)
{
    if (!leg_is_there(&call->leg)) {
        log_warning(v->log, "volume '%s': disk '%s': %s: its shards answer errors", v->desc.name,
                    call->disk, status_text(call->leg.problem));
        return;
    }
    if (call->leg.loss == 0) /* Of several replicas the record says it. */
        return;
    log_warning(v->log,
                "volume '%s': disk '%s': completed writes that were not flushed may be lost: the "
                "next flush of its host fails once to say so",
                v->desc.name, call->disk);
}

/*
 * 7.1: a set is told of when its change is committed, and each engine's epoch is one more: so
 * nobody has kept one of the record with which this engine begins, or of a later one.
 */
static bool knows_later_record(const struct volume *v, const struct leg_call *call)
{
    const struct group *const g = v->members.group;

    return g != NULL && g->epoch != 0 && leg_is_there(&call->leg) &&
           call->leg.set_sequence >= g->sequence;
}

static struct status open_outcome(struct volume *v)
{
    uint32_t answers = 0;
    struct status problem = STATUS(UNAVAILABLE);

    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *call = v->calls[i];
        if (status_is(call->leg.problem, STATUS_STALE_EPOCH))
            return call->leg.problem; /* Another engine has the volume (R3). */
        if (status_is(call->leg.problem, STATUS_INVALID)) { /* F27: whoever asks knows less. */
            log_error(v->log,
                      "volume '%s': disk '%s' describes it otherwise, larger or with another "
                      "layout: is the controller's state an old one?",
                      v->desc.name, call->disk);
            return call->leg.problem;
        }
        if (knows_later_record(v, call)) {
            log_error(v->log,
                      "volume '%s': disk '%s' knows change %llu of its record, the controller knew "
                      "only what was before %llu: its state is an old one, which names as in sync "
                      "what has missed writes; put back its last state",
                      v->desc.name, call->disk, (unsigned long long)call->leg.set_sequence,
                      (unsigned long long)v->members.group->sequence);
            return STATUS(STALE_EPOCH);
        }
        if (has_nothing_to_delete(v, call)) {
            answers++;
            continue;
        }
        open_take_leg(v, call);
        if (leg_is_there(&call->leg))
            answers++;
        else
            problem = call->leg.problem;
    }
    return answers > 0 ? STATUS(OK) : problem;
}

static void close_deliver(struct io_msg *msg)
{
    struct leg_call *call = CONTAINER_OF(msg, struct leg_call, msg);

    leg_close(&call->leg, on_leg_done, call);
}

static void close_on_slice(struct io_msg *msg)
{
    volume_round_return(CONTAINER_OF(msg, struct slice, map_msg)->volume);
}

/* Whatever has said that nothing is under way has returned: on the slice's reactor. */
static void close_slice_deliver(struct io_msg *msg)
{
    struct slice *const s = CONTAINER_OF(msg, struct slice, map_msg);

    s->map_msg.deliver = close_on_slice;
    reactor_post(s->volume->home, &s->map_msg);
}

static void volume_start_closing(struct volume *v)
{
    sm_move(&v->sm, VOL_CLOSING);
    volume_round_legs(v, has_store, close_deliver);
    for (unsigned i = 0; i < v->slice_count; i++) {
        v->calls_pending++;
        v->slices[i].map_msg.deliver = close_slice_deliver;
        reactor_post(v->slices[i].reactor, &v->slices[i].map_msg);
    }
}

static void stop_verifying(struct volume *v)
{
    v->after_fence = NULL;
    verify_close(v, v->after_stop);
}

/* Where there are replicas, their rounds and changes of members end first. */
static void volume_stop(struct volume *v, void (*then)(struct volume *v))
{
    v->after_stop = then;
    if (v->desc.replicas == 1) {
        stop_verifying(v);
        return;
    }
    v->after_fence = stop_verifying;
    members_fence(v);
}

static void volume_on_opened(struct volume *v)
{
    v->status = open_outcome(v);
    if (status_ok(v->status) && v->desc.replicas > 1 && !v->deleting)
        takeover_start(v);
    else
        volume_taken_over(v);
}

void volume_taken_over(struct volume *v)
{
    if (!status_ok(v->status)) {
        volume_start_closing(v);
        return;
    }
    sm_move(&v->sm, VOL_READY);
    void (*done)(void *ctx, struct status status, struct volume *volume) = v->on_opened;
    v->on_opened = NULL;
    if (v->desc.replicas > 1 && !v->deleting)
        takeover_settle(v);
    done(v->ctx, STATUS(OK), v);
}

static void volume_end(struct volume *v)
{
    const struct volume ended = *v;

    sm_move(&v->sm, VOL_ENDED);
    volume_free(v);
    if (ended.on_opened != NULL)
        ended.on_opened(ended.ctx, ended.status, NULL);
    else if (ended.on_deleted != NULL)
        ended.on_deleted(ended.ctx, ended.status);
    else
        ended.on_closed(ended.ctx);
}

/* Which disks could not forget the volume; the first failure. */
static struct status delete_outcome(const struct volume *v)
{
    struct status first = STATUS(OK);

    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *call = v->calls[i];
        if (has_nothing_to_delete(v, call))
            continue;
        /* OK where no call was made: but what is on another node is waited for (11.7). */
        const bool away = call->leg.remote != NULL && !leg_is_there(&call->leg) &&
                          (v->deleting || replace_needs(v, call));
        const struct status st = away ? STATUS(UNAVAILABLE) : call->io.status;
        /* A disk that never took a write of the volume does not know it. */
        if (status_ok(st) || status_is(st, STATUS_UNKNOWN_SHARD) || status_is(st, STATUS_NOT_FOUND))
            continue;
        log_warning(v->log, "volume '%s': disk '%s': delete: %s", v->desc.name, call->disk,
                    status_text(st));
        if (status_ok(first))
            first = st;
    }
    return first;
}

static void round_on_end(struct volume *v)
{
    assert(reactor_is_current(v->home));

    switch ((enum volume_state)v->sm.now) {
    case VOL_OPENING:
        volume_on_opened(v);
        return;
    case VOL_LISTING:
        takeover_on_listed(v);
        return;
    case VOL_TELLING:
        takeover_on_told(v);
        return;
    case VOL_DECIDING:
        volume_taken_over(v);
        return;
    case VOL_DESCRIBING:
        grow_on_described(v);
        return;
    case VOL_SPREADING:
        grow_on_spread(v);
        return;
    case VOL_DELETING:
        v->status = delete_outcome(v);
        volume_start_closing(v);
        return;
    case VOL_CLOSING:
        volume_end(v);
        return;
    case VOL_READY:
    case VOL_RECORDING:
    case VOL_ENDED:
        break;
    }
    sm_bug(&v->sm);
}

/* ---- The interface ---- */

/* Replicas of shards that the legs with a session have. */
static uint64_t replicas_seen(const struct volume *v)
{
    uint64_t seen = 0;

    for (uint32_t i = 0; i < v->map->shard_count; i++) {
        const struct copyset *const cs = map_copyset(v->map, i);
        for (unsigned slot = 0; slot < v->desc.replicas; slot++)
            seen += v->calls[cs->home_leg[slot]]->leg.session != NULL ? 1 : 0;
    }
    return seen;
}

/* Counted once, not for each replica. */
static uint64_t volume_used_bytes(const struct volume *v)
{
    uint64_t used = 0;

    for (uint32_t i = 0; i < v->call_count; i++)
        used += atomic_load_explicit(&v->calls[i]->leg.used_bytes, memory_order_relaxed);
    if (v->desc.replicas == 1)
        return used;
    const uint64_t seen = replicas_seen(v);
    return seen == 0 ? 0 : (uint64_t)((unsigned __int128)used * v->map->shard_count / seen);
}

static void volume_ns_info(struct nvme_ns *ns, struct nvme_ns_info *out_info)
{
    const struct volume *v = CONTAINER_OF(ns, struct volume, ns);

    assert(reactor_is_current(v->home));
    *out_info = (struct nvme_ns_info) {
        .uuid = v->desc.uuid,
        .bytes = v->desc.bytes,
        .used_bytes = volume_used_bytes(v),
        .lba_bytes = v->desc.lba_bytes,
        .optimal_io_bytes = v->desc.stripe_unit_bytes,
        .atomic_bytes = STORE_BLOCK_BYTES,
    };
    static_assert(sizeof out_info->nguid == sizeof out_info->uuid.b, "both have 16 bytes");
    memcpy(out_info->nguid, v->desc.uuid.b, sizeof out_info->nguid);
}

static const struct nvme_ns_ops volume_ns_ops = {
    .submit = command_submit,
    .cancel = command_cancel,
    .loss_heard = command_loss_heard,
    .info = volume_ns_info,
};

static void open_on_failed(struct io_msg *msg)
{
    struct volume *v = CONTAINER_OF(msg, struct volume, round_msg);

    sm_move(&v->sm, VOL_CLOSING);
    volume_end(v);
}

struct status volume_open(const struct volume_config *config,
                          void (*done)(void *ctx, struct status status, struct volume *volume),
                          void *ctx)
{
    assert(config->reactor_count > 0);
    assert(reactor_is_current(config->reactors[0]));

    struct volume *v = calloc(1, sizeof *v);
    if (v == NULL)
        return STATUS(NO_MEMORY);
    v->ns.ops = &volume_ns_ops;
    v->desc = config->volume;
    v->log = config->log;
    v->home = config->reactors[0];
    v->epoch = config->epoch;
    v->waited = config->waited;
    v->deleting = config->deleting;
    v->no_leases = config->no_leases;
    v->patience_ns =
        config->replica_timeout_ns > 0 ? config->replica_timeout_ns : VOLUME_PATIENCE_NS;
    io_timer_init(&v->resync_timer, resync_home_on_timer);
    v->on_opened = done;
    v->ctx = ctx;
    sm_init(&v->sm, volume_states, VOL_OPENING);
    v->status = volume_alloc(v, config);
    if (!status_ok(v->status)) {
        v->round_msg.deliver = open_on_failed;
        reactor_post(v->home, &v->round_msg);
        return STATUS(OK);
    }
    for (uint32_t i = 0; i < v->call_count; i++)
        volume_leg_must_know(v, v->calls[i]);
    volume_round_legs(v, has_store, open_deliver);
    return STATUS(OK);
}

struct nvme_ns *volume_ns(struct volume *v)
{
    return &v->ns;
}

void volume_fence(struct volume *v)
{
    assert(reactor_is_current(v->home));
    members_fence(v);
}

void volume_close(struct volume *v, void (*done)(void *ctx), void *ctx)
{
    v->on_closed = done;
    v->ctx = ctx;
    volume_stop(v, volume_start_closing);
}

static void delete_on_leg(struct leg_io *io)
{
    leg_call_return(CONTAINER_OF(io, struct leg_call, io));
}

static void delete_deliver(struct io_msg *msg)
{
    struct leg_call *call = CONTAINER_OF(msg, struct leg_call, msg);

    call->io.leg = &call->leg;
    call->io.remote = &call->remote_io;
    call->io.reactor = call->leg.reactor;
    call->io.done = delete_on_leg;
    call->io.store.opcode = STORE_OP_DELETE_VOLUME;
    leg_submit(&call->io);
}

static void volume_start_deleting(struct volume *v)
{
    sm_move(&v->sm, VOL_DELETING);
    volume_round_legs(v, is_there, delete_deliver);
}

void volume_delete(struct volume *v, void (*done)(void *ctx, struct status status), void *ctx)
{
    v->on_deleted = done;
    v->ctx = ctx;
    volume_stop(v, volume_start_deleting);
}

static uint32_t replicas_out(const struct volume *v)
{
    uint32_t out = 0;

    for (uint32_t i = 0; v->members.group != NULL && i < v->map->copyset_count; i++) {
        const unsigned members = group_members(v->members.group, v->map->copysets[i]->number);
        out += v->desc.replicas - (unsigned)__builtin_popcount(members);
    }
    return out;
}

void volume_get_resync(const struct volume *v, struct volume_resync *out_resync)
{
    assert(reactor_is_current(v->home));
    *out_resync = (struct volume_resync) {
        .replicas_out = replicas_out(v),
        .regions_left = atomic_load(&v->resync.regions_left),
        .regions_done = atomic_load(&v->resync.regions_done),
        .compared_bytes = atomic_load(&v->resync.compared_bytes),
        .copied_bytes = atomic_load(&v->resync.copied_bytes),
        .repaired_bytes = atomic_load(&v->resync.repaired_bytes),
    };
    for (uint32_t i = 0; i < v->copyset_count; i++)
        out_resync->replicas_busy += v->copysets[i]->home.busy ? 1 : 0;
}

/* False: it is beyond the volume's end, in its last shards. */
static bool range_of(const struct volume *v, const struct unreadable_range *r,
                     struct volume_range *out_range)
{
    const struct layout *const l = &v->map->layout;
    const uint64_t used = layout_shard_used(l, r->shard);

    if (r->offset >= used)
        return false;
    *out_range = (struct volume_range) { layout_address(l, r->shard, r->offset),
                                         min_u64(r->bytes, used - r->offset) };
    return true;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct volume_range *const ra = a, *const rb = b;

    return ra->offset < rb->offset ? -1 : ra->offset > rb->offset;
}

unsigned volume_get_unreadable(const struct volume *v, struct volume_range *out_ranges,
                               bool *out_more)
{
    struct unreadable_range r;
    unsigned count = 0;

    assert(reactor_is_current(v->home));
    *out_more = false;
    for (unsigned i = 0; i < v->slice_count; i++) {
        const struct unreadable *const u = &v->slices[i].unreadable;
        *out_more |= atomic_load(&u->more);
        for (unsigned k = 0; k < VOLUME_UNREADABLE_MAX; k++) {
            if (!unreadable_get(u, k, &r))
                continue;
            if (count == VOLUME_UNREADABLE_MAX)
                *out_more = true;
            else if (range_of(v, &r, &out_ranges[count]))
                count++;
        }
    }
    qsort(out_ranges, count, sizeof *out_ranges, compare_ranges);
    return count;
}

void volume_get_stats(const struct volume *v, struct volume_stats *out_stats)
{
    *out_stats = (struct volume_stats) { 0 };
    for (unsigned i = 0; i < v->slice_count; i++) {
        struct order_stats order;
        order_get_stats(v->slices[i].order, &order);
        out_stats->order_entered += order.entered;
        out_stats->order_waited += order.waited;
        out_stats->commands_waited += v->slices[i].waited;
    }
}
