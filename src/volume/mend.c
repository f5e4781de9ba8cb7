/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/mend.h"

#include <assert.h>

#include "volume/volume_internal.h"

static void on_home(struct io_msg *msg)
{
    struct volume_mend *const m = CONTAINER_OF(msg, struct volume_mend, msg);

    m->done(m);
}

static void end(struct volume_mend *m, struct status status)
{
    m->status = status;
    m->msg.deliver = on_home;
    reactor_post(m->volume->home, &m->msg);
}

/* ---- On the slice ---- */

/* It was counted: who fences the slice waits for it. */
static void leave(struct volume_mend *m, struct status status)
{
    struct slice *const s = m->copyset->slice;

    assert(s->mending > 0);
    s->mending--;
    end(m, status);
    members_slice_quiet(s); /* Behind that message, if this was the last. */
}

static unsigned sources_of(const struct range_copy *c)
{
    return c->copyset->members;
}

static unsigned targets_of(const struct range_copy *c)
{
    const struct volume_mend *const m = CONTAINER_OF(c, const struct volume_mend, copy);

    return c->copyset->members & 1u << m->slot;
}

static void on_copied(struct range_copy *c, enum range_copy_end how)
{
    struct volume_mend *const m = CONTAINER_OF(c, struct volume_mend, copy);
    struct slice *const s = c->copyset->slice;

    m->repaired_bytes = c->copied_bytes;
    m->unreadable = c->unreadable;
    atomic_fetch_add(&m->volume->resync.repaired_bytes, c->copied_bytes);
    if (how == RANGE_COPY_FAILED && !s->fenced)
        members_report(s->volume, c->leg, c->status);
    leave(m, how == RANGE_COPY_FAILED ? c->status : STATUS(OK));
}

static const struct range_copy_ops mend_ops = {
    .sources = sources_of,
    .targets = targets_of,
    .done = on_copied,
};

static void on_slice(struct io_msg *msg)
{
    struct volume_mend *const m = CONTAINER_OF(msg, struct volume_mend, msg);
    struct copyset *const cs = m->copyset;
    const struct range_copy_range range = { m->shard, m->offset, m->bytes };

    cs->slice->mending++;
    if (cs->slice->fenced)
        leave(m, STATUS(FENCED));
    else if ((cs->members >> m->slot & 1) == 0)
        leave(m, STATUS(UNAVAILABLE));
    else if (cs->settling.left > 0)
        leave(m, STATUS(BUSY)); /* R9: what the members have there is not known yet. */
    else
        range_copy_start(&m->copy, cs, &mend_ops, &range);
}

/* ---- On home ---- */

/* Its copyset and slot; false: the volume has no such shard there. */
static bool find(struct volume_mend *m)
{
    const struct volume *const v = m->volume;

    if (m->shard >= v->map->shard_count || m->bytes == 0 ||
        m->offset >= v->map->layout.shard_bytes ||
        m->bytes > v->map->layout.shard_bytes - m->offset)
        return false;
    m->copyset = map_copyset(v->map, m->shard);
    for (m->slot = 0; m->slot < v->desc.replicas; m->slot++)
        if (uuid_equal(v->calls[m->copyset->home_leg[m->slot]]->uuid, m->disk))
            return true;
    return false;
}

/* What is beyond the volume's end, in its last shards, has no address. */
static uint64_t address_of(const struct volume_mend *m)
{
    const struct layout *const l = &m->volume->map->layout;

    return m->offset < layout_shard_used(l, m->shard) ? layout_address(l, m->shard, m->offset)
                                                      : UINT64_MAX;
}

void volume_mend(struct volume *v, struct volume_mend *m)
{
    assert(reactor_is_current(v->home));
    m->volume = v;
    m->address = UINT64_MAX;
    m->repaired_bytes = 0;
    m->unreadable = 0;
    if (!find(m)) {
        end(m, STATUS(NOT_FOUND));
        return;
    }
    m->address = address_of(m);
    if (v->members.fenced) {
        end(m, STATUS(FENCED));
    } else if (v->desc.replicas == 1) {
        end(m, STATUS(UNSUPPORTED));
    } else {
        range_copy_init(&m->copy);
        m->msg.deliver = on_slice;
        reactor_post(m->copyset->slice->reactor, &m->msg);
    }
}
