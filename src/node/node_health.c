/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The health of a node's disks: every window the load of each is brought from its reactor, and when
 * all are there, they are judged together (health.h).  A clock that ticks more often tells whether
 * the process ran all the time.
 */
#include <assert.h>
#include <stdio.h>

#include "node/node_internal.h"

/* What is told of a change. */
static void say(const struct node *n, const struct node_disk *d, enum health_state before)
{
    const char *name = d->info.identity.disk_name;

    if (d->health.state == HEALTH_HEALTHY)
        log_info(n->log, "disk '%s': healthy again", name);
    else
        log_warning(n->log, "disk '%s': %s, was %s: %s", name, health_state_name(d->health.state),
                    health_state_name(before), d->health.reason);
}

static void take_judgement(struct node *n, struct node_disk *d)
{
    const enum health_state before = d->health_told;

    if (d->health.window.ops > 0)
        d->last_window = d->health.window;
    if (d->health.state == before)
        return;
    d->health_told = d->health.state;
    d->health_since_ns = reactor_wall_ns(n->home);
    store_set_suspect(d->store, d->health.state != HEALTH_HEALTHY);
    say(n, d, before);
    node_changed(n);
}

static struct health_facts facts_of(struct node_disk *d)
{
    snprintf(d->kind, sizeof d->kind, "%s %s", d->dev_info.backend, d->dev_info.model);
    return (struct health_facts) {
        .kind = d->kind,
        .is_rotational = d->dev_info.is_rotational,
        .failure = d->info.failed ? NODE_DISK_FAILURE : "",
        .failing = d->info.lied ? NODE_DISK_LIED : "",
        .media_errors = d->info.media_errors,
        .log = d->log_read ? &d->device_log : NULL,
    };
}

static void judge(struct node *n)
{
    struct health_subject subjects[NODE_DISKS_MAX] = { 0 };
    struct node_disk *disks[NODE_DISKS_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < n->disk_count; i++) {
        struct node_disk *d = &n->disks[i];
        if (d->store == NULL || d->load_ns == 0)
            continue;
        health_window(&d->health, &d->load, d->load_ns, n->health_paused);
        subjects[count] = (struct health_subject) { &d->health, facts_of(d) };
        disks[count++] = d;
    }
    n->health_paused = false;
    health_judge(subjects, count, reactor_now_ns(n->home));
    for (unsigned i = 0; i < count; i++)
        take_judgement(n, disks[i]);
}

void node_health_on_refreshed(struct node_disk *d)
{
    struct node *n = d->node;

    if (!d->health_due)
        return;
    d->health_due = false;
    assert(n->health_due > 0);
    if (--n->health_due == 0 && !n->stopping)
        judge(n);
}

/* ---- Devices' own logs ---- */

static void ask_device(struct node *n, struct node_disk *d)
{
    if (n->ops->ask_device == NULL || d->store == NULL || d->log_asked)
        return;
    if (d->log_window > 0) {
        d->log_window--;
        return;
    }
    d->log_window = HEALTH_LOG_WINDOWS;
    d->log_asked = status_ok(n->ops->ask_device(n->ctx, d->info.identity.disk, d->config.path));
}

void node_take_device_log(struct node *n, struct uuid disk, const struct device_log *log)
{
    struct node_disk *d = node_find_disk(n, disk);

    assert(reactor_is_current(n->home));
    if (d == NULL)
        return; /* It was closed meanwhile. */
    d->log_asked = false;
    if (log == NULL)
        return;
    d->device_log = *log;
    d->log_read = true;
}

/* ---- The clock ---- */

static void arm(struct node *n)
{
    n->health_tick_ns = reactor_tick_ns(n->home, HEALTH_TICK_NS, NS_PER_S);
    io_timer_arm(&n->health_timer, n->home, n->health_tick_ns);
}

/* One that does not answer is waited for: then nothing is judged, as its reactor does not run. */
static void end_window(struct node *n)
{
    for (unsigned i = 0; i < n->disk_count; i++)
        ask_device(n, &n->disks[i]);
    if (n->health_due > 0)
        return;
    for (unsigned i = 0; i < n->disk_count; i++)
        n->health_due += n->disks[i].store != NULL;
    for (unsigned i = 0; i < n->disk_count; i++) {
        struct node_disk *d = &n->disks[i];
        d->health_due = d->store != NULL;
        node_disk_refresh(d); /* Or one is under way. */
    }
}

static void on_timer(struct io_timer *timer)
{
    struct node *n = CONTAINER_OF(timer, struct node, health_timer);

    if (reactor_now_ns(n->home) > n->health_tick_ns + HEALTH_LATE_NS)
        n->health_paused = true;
    arm(n);
    if (++n->health_ticks < HEALTH_WINDOW_NS / HEALTH_TICK_NS)
        return;
    n->health_ticks = 0;
    end_window(n);
}

void node_health_start(struct node *n)
{
    for (unsigned i = 0; i < n->disk_count; i++)
        ask_device(n, &n->disks[i]);
    io_timer_init(&n->health_timer, on_timer);
    arm(n);
}

void node_health_stop(struct node *n)
{
    io_timer_disarm(&n->health_timer);
}
