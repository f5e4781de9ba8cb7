/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_replace.h"

#include "node/node_internal.h"
#include "node/node_volume.h"

/* ---- Other disks ---- */

static void look_later(struct node_volume *v, bool busy)
{
    io_timer_arm(&v->replace_timer, v->node->home,
                 reactor_now_ns(v->node->home) +
                     (busy ? NODE_VOLUME_REPLACE_BUSY_NS : NODE_VOLUME_REPLACE_NS));
}

/* Tells the engine which slots are to get another disk (docs/replication.md, 9.12). */
static void replace_disks(struct node_volume *v)
{
    v->replace_news = false;
    if (v->desc.replicas == 1 || (v->replacement_count == 0 && !v->replace_asked))
        return;
    const struct status st = node_volume_try_replace(v);
    v->replace_asked = v->replacement_count > 0 || !status_ok(st);
    if (!status_ok(st) && !status_is(st, STATUS_BUSY) && !status_is(st, STATUS_FENCED))
        log_warning(v->node->log, "volume '%s': no disk can be replaced: %s", v->desc.name,
                    status_text(st));
    if (v->replace_asked)
        look_later(v, status_is(st, STATUS_BUSY));
}

/* ---- What replaced disks have ---- */

static bool is_forgotten(const struct node_volume *v, struct uuid disk)
{
    for (uint32_t i = 0; i < v->forgotten_count; i++)
        if (uuid_equal(v->forgotten[i], disk))
            return true;
    return false;
}

static void on_forgotten(void *ctx, struct status status)
{
    struct node_volume *v = ctx;

    v->forgetting = false;
    if (status_ok(status) && v->forgotten_count < NODE_VOLUME_FORGOTTEN_MAX) {
        log_info(v->node->log, "volume '%s': disk '%s': what it had of it is deleted", v->desc.name,
                 node_volume_disk_name(v, v->forget_disk).s);
        v->forgotten[v->forgotten_count++] = v->forget_disk;
        node_changed(v->node);
    }
}

/* Has the engine delete it on the next disk that can be reached (docs/replication.md, 9.17). */
static void forget_disks(struct node_volume *v)
{
    for (uint32_t i = 0; i < v->leftover_count && !v->forgetting; i++) {
        const uint32_t disk = v->leftovers[v->forget_next++ % v->leftover_count];
        const struct node_disk_name name = node_volume_disk_name(v, v->disks[disk]);
        const struct volume_disk d = node_volume_disk(v, disk, name.s);
        if (is_forgotten(v, d.uuid) || !node_volume_reaches(v, disk) ||
            v->forgotten_count == NODE_VOLUME_FORGOTTEN_MAX)
            continue;
        v->forget_disk = d.uuid;
        v->forgetting = status_ok(volume_forget(v->volume, &d, on_forgotten, v));
    }
    if (v->leftover_count > 0 && !io_timer_armed(&v->replace_timer))
        look_later(v, false);
}

void node_replace_drop_forgotten(struct node_volume *v)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < v->forgotten_count; i++) {
        bool still = false;
        for (uint32_t k = 0; k < v->leftover_count; k++)
            still |= uuid_equal(v->disks[v->leftovers[k]], v->forgotten[i]);
        if (still)
            v->forgotten[count++] = v->forgotten[i];
    }
    v->forgotten_count = count;
}

static void on_timer(struct io_timer *timer)
{
    struct node_volume *v = CONTAINER_OF(timer, struct node_volume, replace_timer);

    v->replace_news = true;
    node_volume_step(v);
}

void node_replace_init(struct node_volume *v)
{
    io_timer_init(&v->replace_timer, on_timer);
}

void node_replace_run(struct node_volume *v)
{
    replace_disks(v);
    forget_disks(v);
}
