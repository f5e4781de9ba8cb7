/* SPDX-License-Identifier: Apache-2.0 */
/* Subsystems: what hosts connect to. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "nvme/target.h"
#include "nvme/target_internal.h"

static void subsys_on_removed(struct io_task *task);

struct nvme_subsys *target_find_subsys(const struct nvme_target *target, const char *nqn)
{
    if (strcmp(nqn, target->discovery->nqn.s) == 0)
        return target->discovery;
    LIST_FOR_EACH (node, &target->subsystems) {
        struct nvme_subsys *subsys = CONTAINER_OF(node, struct nvme_subsys, link);

        if (strcmp(nqn, subsys->nqn.s) == 0)
            return subsys;
    }
    return NULL;
}

bool hosts_allow(const struct nqn_text *hosts, unsigned count, const char *host_nqn)
{
    if (count == 0)
        return true;
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(hosts[i].s, host_nqn) == 0)
            return true;
    }
    return false;
}

bool subsys_allows(const struct nvme_subsys *subsys, const char *host_nqn)
{
    if (subsys_is_vendor(subsys))
        return subsys->vendor->ops->allows(subsys->vendor, host_nqn);
    return hosts_allow(subsys->hosts, subsys->host_count, host_nqn);
}

/* ---- Adding ---- */

static struct status MUST_CHECK copy_hosts(const char *const *hosts, unsigned count,
                                           struct nqn_text **out_hosts)
{
    if (count > NVME_ALLOWED_HOSTS_MAX)
        return STATUS(LIMIT);
    for (unsigned i = 0; i < count; i++) {
        if (!nqn_is_valid(hosts[i]))
            return STATUS(INVALID);
    }
    struct nqn_text *copy = calloc(count + 1, sizeof *copy);
    if (copy == NULL)
        return STATUS(NO_MEMORY);
    for (unsigned i = 0; i < count; i++)
        memcpy(copy[i].s, hosts[i], strlen(hosts[i]));
    *out_hosts = copy;
    return STATUS(OK);
}

/* Identify's text fields are printable ASCII. */
static bool is_printable(const char *text, size_t bytes_max)
{
    const size_t bytes = strnlen(text, bytes_max + 1);

    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
    }
    return bytes > 0 && bytes <= bytes_max;
}

/* What is behind it: a namespace, or what takes a vendor's commands. */
static bool has_one_owner(const struct nvme_subsys_config *config)
{
    if (config->vendor != NULL)
        return config->ns == NULL && config->host_count == 0;
    return config->ns != NULL;
}

/* The LBA size is fixed from the first call on: other reactors read it. */
static struct status MUST_CHECK take_ns_size(struct nvme_subsys *subsys)
{
    struct nvme_ns_info info;

    subsys->ns->ops->info(subsys->ns, &info);
    if (info.lba_bytes != 512 && info.lba_bytes != 4096)
        return STATUS(INVALID);
    if (info.bytes == 0 || info.bytes % info.lba_bytes != 0)
        return STATUS(INVALID);
    const unsigned lba_shift = info.lba_bytes == 512 ? 9 : 12;
    if (subsys->lba_shift == 0)
        subsys->lba_shift = lba_shift;
    if (subsys->lba_shift != lba_shift)
        return STATUS(INVALID);
    atomic_store_explicit(&subsys->blocks, info.bytes >> lba_shift, memory_order_relaxed);
    return STATUS(OK);
}

static struct nvme_subsys *subsys_new(struct nvme_target *target, const char *nqn,
                                      const char *serial, const char *model)
{
    struct nvme_subsys *subsys = calloc(1, sizeof *subsys);

    if (subsys == NULL)
        return NULL;
    subsys->target = target;
    subsys->since_ns = reactor_now_ns(target->home);
    snprintf(subsys->nqn.s, sizeof subsys->nqn.s, "%s", nqn);
    snprintf(subsys->serial, sizeof subsys->serial, "%s", serial);
    snprintf(subsys->model, sizeof subsys->model, "%s", model);
    list_node_init(&subsys->link);
    list_init(&subsys->ctrls);
    io_task_init(&subsys->removed_task, subsys_on_removed);
    return subsys;
}

struct status subsys_create_discovery(struct nvme_target *target)
{
    target->discovery = subsys_new(target, NQN_DISCOVERY, "discovery", NVME_TARGET_MODEL);
    return target->discovery == NULL ? STATUS(NO_MEMORY) : STATUS(OK);
}

void subsys_free(struct nvme_subsys *subsys)
{
    if (subsys == NULL)
        return;
    assert(list_empty(&subsys->ctrls));
    free(subsys->hosts);
    free(subsys);
}

struct status nvme_subsys_add(struct nvme_target *target, const struct nvme_subsys_config *config,
                              struct nvme_subsys **out_subsys)
{
    const char *model = config->model != NULL ? config->model : NVME_TARGET_MODEL;

    assert(reactor_is_current(target->home));
    if (!nqn_is_valid(config->nqn) || !is_printable(config->serial, 20) || !is_printable(model, 40))
        return STATUS(INVALID);
    if (!has_one_owner(config))
        return STATUS(INVALID);
    if (target_find_subsys(target, config->nqn) != NULL)
        return STATUS(EXISTS);

    struct nvme_subsys *subsys = subsys_new(target, config->nqn, config->serial, model);
    if (subsys == NULL)
        return STATUS(NO_MEMORY);
    subsys->ns = config->ns;
    subsys->vendor = config->vendor;
    subsys->hosts_changed = config->hosts_changed;
    subsys->hosts_ctx = config->ctx;
    struct status st = subsys->ns != NULL ? take_ns_size(subsys) : STATUS(OK);
    if (status_ok(st))
        st = copy_hosts(config->hosts, config->host_count, &subsys->hosts);
    if (!status_ok(st)) {
        subsys_free(subsys);
        return st;
    }
    subsys->host_count = config->host_count;
    list_push_back(&target->subsystems, &subsys->link);
    discovery_subsys_changed(subsys);
    *out_subsys = subsys;
    return STATUS(OK);
}

/* ---- Changing ---- */

/* Whether the list is as it was; in another order it is not. */
static bool hosts_are(const struct nvme_subsys *subsys, const char *const *hosts, unsigned count)
{
    if (count != subsys->host_count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(subsys->hosts[i].s, hosts[i]) != 0)
            return false;
    }
    return true;
}

static void kill_who_is_not_allowed(struct nvme_subsys *subsys)
{
    LIST_FOR_EACH (node, &subsys->ctrls) {
        struct nvme_ctrl *ctrl = CONTAINER_OF(node, struct nvme_ctrl, link);

        if (!subsys_allows(subsys, ctrl->host_nqn.s))
            ctrl_kill(ctrl, "its host is not allowed any more");
    }
}

struct status nvme_subsys_set_hosts(struct nvme_subsys *subsys, const char *const *hosts,
                                    unsigned host_count)
{
    struct nqn_text *copy;

    assert(reactor_is_current(subsys->target->home) && subsys_is_volume(subsys));
    if (hosts_are(subsys, hosts, host_count))
        return STATUS(OK);
    TRY(copy_hosts(hosts, host_count, &copy));
    struct nqn_text *const old = subsys->hosts;
    const unsigned old_count = subsys->host_count;
    subsys->hosts = copy;
    subsys->host_count = host_count;
    kill_who_is_not_allowed(subsys);
    discovery_hosts_changed(subsys, old, old_count);
    free(old);
    return STATUS(OK);
}

void nvme_subsys_hosts_changed(struct nvme_subsys *subsys)
{
    assert(reactor_is_current(subsys->target->home) && subsys_is_vendor(subsys));
    kill_who_is_not_allowed(subsys);
}

void nvme_subsys_ns_changed(struct nvme_subsys *subsys)
{
    assert(reactor_is_current(subsys->target->home) && subsys_is_volume(subsys));

    const struct status st = take_ns_size(subsys);
    if (!status_ok(st)) {
        log_error(subsys->target->home->log, "'%s': its namespace has no valid size; kept the old",
                  subsys->nqn.s);
        return;
    }
    LIST_FOR_EACH (node, &subsys->ctrls) {
        struct nvme_ctrl *ctrl = CONTAINER_OF(node, struct nvme_ctrl, link);

        ctrl->ns_changed = true;
        ctrl_event(ctrl, NVME_AEN_NS_CHANGED);
    }
}

static bool is_listed(const struct nqn_text *nqns, unsigned count, const struct nqn_text *nqn)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(nqns[i].s, nqn->s) == 0)
            return true;
    }
    return false;
}

unsigned nvme_subsys_connected_hosts(const struct nvme_subsys *subsys, struct nqn_text *out_nqns,
                                     unsigned max)
{
    unsigned count = 0;

    LIST_FOR_EACH (node, &subsys->ctrls) {
        const struct nvme_ctrl *ctrl = CONTAINER_OF(node, struct nvme_ctrl, link);

        if (count < max && !is_listed(out_nqns, count, &ctrl->host_nqn))
            out_nqns[count++] = ctrl->host_nqn;
    }
    return count;
}

void nvme_subsys_stats(const struct nvme_subsys *subsys, struct nvme_subsys_stats *out_stats)
{
    *out_stats = (struct nvme_subsys_stats) { 0 };
    LIST_FOR_EACH (node, &subsys->ctrls) {
        out_stats->controllers++;
        out_stats->io_queues += CONTAINER_OF(node, struct nvme_ctrl, link)->io_queues;
    }
}

/* ---- Removing ---- */

static void subsys_on_removed(struct io_task *task)
{
    struct nvme_subsys *subsys = CONTAINER_OF(task, struct nvme_subsys, removed_task);
    void (*removed)(void *ctx) = subsys->removed;
    void *ctx = subsys->removed_ctx;

    list_remove(&subsys->link);
    subsys_free(subsys);
    removed(ctx);
}

void subsys_check_removed(struct nvme_subsys *subsys)
{
    if (subsys->removing && list_empty(&subsys->ctrls))
        reactor_defer(subsys->target->home, &subsys->removed_task);
}

void nvme_subsys_remove(struct nvme_subsys *subsys, void (*done)(void *ctx), void *ctx)
{
    assert(reactor_is_current(subsys->target->home) && !subsys->removing);

    subsys->removing = true;
    subsys->removed = done;
    subsys->removed_ctx = ctx;
    LIST_FOR_EACH (node, &subsys->ctrls)
        ctrl_kill(CONTAINER_OF(node, struct nvme_ctrl, link), "its volume is removed");
    discovery_subsys_changed(subsys);
    subsys_check_removed(subsys);
}
