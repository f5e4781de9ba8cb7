/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller hears of a volume that is served. */
#include <stdio.h>

#include "node/node_internal.h"
#include "node/node_volume.h"

static void fill_problem(const struct volume_disk_state *state, char out[NODE_REASON_BYTES])
{
    const bool waits = state->waits && state->resync_bytes == 0;

    if (state->text[0] == '\0')
        snprintf(out, NODE_REASON_BYTES, "%s", waits ? "its turn to be resynced is to come" : "");
    else
        snprintf(out, NODE_REASON_BYTES, "%s%s", state->text,
                 state->holds_reads ? "; reads wait for it, too" : "");
}

/* The disks that the engine has a problem with; returns how many. */
static uint32_t volume_fill_problems(struct node_volume *v)
{
    struct volume_disk_state states[NODE_VOLUME_PROBLEMS_MAX];
    uint32_t count = 0;

    if (v->desc.replicas > 1)
        count = volume_get_problems(v->volume, states, NODE_VOLUME_PROBLEMS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct node_volume_disk *d = &v->problems[i];
        d->uuid = states[i].disk;
        d->unusable = !status_ok(states[i].problem);
        d->holds_writes = states[i].holds_writes;
        d->resync_bytes = states[i].resync_bytes;
        d->resynced_bytes = states[i].resynced_bytes;
        fill_problem(&states[i], d->problem);
    }
    return count;
}

void node_volume_fill_served(struct node_volume *v, struct node_volume_report *out_report)
{
    struct nvme_ns_info info;
    struct volume_resync resync;

    volume_ns(v->volume)->ops->info(volume_ns(v->volume), &info);
    volume_get_resync(v->volume, &resync);
    out_report->state = NODE_VOLUME_READY;
    out_report->used_bytes = info.used_bytes;
    out_report->bytes = info.bytes;
    out_report->resync_compared_bytes = resync.compared_bytes;
    out_report->resync_copied_bytes = resync.copied_bytes;
    snprintf(out_report->reason, sizeof out_report->reason, "%s", v->reason);
    out_report->connected_hosts = v->connected;
    out_report->connected_host_count =
        nvme_subsys_connected_hosts(v->subsys, v->connected, NODE_VOLUME_HOSTS_MAX);
    out_report->disks = v->problems;
    out_report->disk_count = volume_fill_problems(v);
    out_report->forgotten = v->forgotten;
    out_report->forgotten_count = v->forgotten_count;
    out_report->unreadable = v->unreadable;
    out_report->unreadable_count =
        volume_get_unreadable(v->volume, v->unreadable, &out_report->unreadable_more);
}
