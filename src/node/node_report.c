/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "node/node_internal.h"

static void report_health(const struct node_disk *d, struct node_disk_report *out)
{
    const struct health *h = &d->health;

    out->health = out->failure[0] != '\0' ? HEALTH_FAILED : h->state;
    snprintf(out->health_reason, sizeof out->health_reason, "%s",
             out->failure[0] != '\0' ? out->failure : h->reason);
    out->health_since_unix_ms = d->health_since_ns / NS_PER_MS;
    memcpy(out->read_ns, d->last_window.read_ns, sizeof out->read_ns);
    memcpy(out->write_ns, d->last_window.write_ns, sizeof out->write_ns);
    snprintf(out->device_log, sizeof out->device_log, "%s",
             d->log_read ? d->device_log.summary : "");
}

static void report_disk(const struct node_disk *d, struct node_disk_report *out)
{
    *out = (struct node_disk_report) {
        .uuid = d->info.identity.disk,
        .bytes = d->info.data_bytes,
        .free_bytes = d->info.free_bytes,
        .atomic_bytes = d->info.atomic_bytes,
        .media_errors = d->info.media_errors,
        .checksum_bytes = d->info.checksum_bytes,
        .checksum_budget_bytes = d->info.checksum_budget_bytes,
        .scrub = d->scrub.report,
    };
    snprintf(out->name, sizeof out->name, "%s", d->info.identity.disk_name);
    snprintf(out->path, sizeof out->path, "%s", d->config.path);
    snprintf(out->backend, sizeof out->backend, "%s", d->dev_info.backend);
    snprintf(out->model, sizeof out->model, "%s", d->dev_info.model);
    snprintf(out->serial, sizeof out->serial, "%s", d->dev_info.serial);
    if (d->info.failed)
        snprintf(out->failure, sizeof out->failure, "%s", NODE_DISK_FAILURE);
    report_health(d, out);
}

static void report_problem(const struct node_disk *d, struct node_disk_problem *out)
{
    *out = (struct node_disk_problem) { 0 };
    snprintf(out->path, sizeof out->path, "%s", d->config.path);
    snprintf(out->text, sizeof out->text, "%s", d->problem);
}

void node_fill_report(struct node *n, struct node_report *out_report)
{
    struct node_report_memory *m = n->report;

    assert(reactor_is_current(n->home));
    node_want_scrubs(n);
    *out_report = (struct node_report) {
        .revision = n->revision,
        .disks = m->disks,
        .problems = m->problems,
        .volumes = m->volumes,
        .heard = m->heard,
    };
    for (unsigned i = 0; i < n->disk_count; i++) {
        struct node_disk *d = &n->disks[i];
        if (d->store != NULL)
            report_disk(d, &m->disks[out_report->disk_count++]);
        else if (d->problem[0] != '\0')
            report_problem(d, &m->problems[out_report->problem_count++]);
        node_disk_refresh(d); /* For the next report: reports come every few seconds. */
    }
    if (n->server != NULL) {
        server_count(n->server, out_report->refusals);
        out_report->heard_count = server_heard(n->server, m->heard, NODE_HEARD_MAX);
    }
    out_report->refusals[STATUS_OK] = 0;
    LIST_FOR_EACH (link, &n->volumes) {
        struct node_volume *v = CONTAINER_OF(link, struct node_volume, link);
        node_volume_report(v, &m->volumes[out_report->volume_count++]);
    }
}
