/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/validate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "ctl/limits.h"
#include "io/addr.h"
#include "nvme/nqn.h"

static struct status __attribute__((format(printf, 2, 3)))
wrong(struct problem *problem, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(problem->s, sizeof problem->s, format, ap);
    va_end(ap);
    return STATUS(INVALID);
}

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static struct status check_text(const char *text, const char *field, size_t bytes_max,
                                struct problem *problem)
{
    if (strlen(text) <= bytes_max)
        return STATUS(OK);
    return wrong(problem, "%s is longer than %zu bytes", field, bytes_max);
}

struct status validate_uuid(ProtobufCBinaryData field, const char *name, struct uuid *out_uuid,
                            struct problem *problem)
{
    struct uuid uuid;
    if (field.len != sizeof uuid.b)
        return wrong(problem, "%s has %zu bytes, not 16", name, field.len);
    memcpy(uuid.b, field.data, sizeof uuid.b);
    if (uuid_is_nil(uuid))
        return wrong(problem, "%s is nil", name);
    *out_uuid = uuid;
    return STATUS(OK);
}

struct status validate_wait(uint32_t wait_ms, struct problem *problem)
{
    if (wait_ms <= CTL_WAIT_MS_MAX)
        return STATUS(OK);
    return wrong(problem, "wait_ms %u is above %u", wait_ms, CTL_WAIT_MS_MAX);
}

/* ---- A volume's specification ---- */

struct status validate_disk_path(const char *path, struct problem *problem)
{
    if (path[0] != '/')
        return wrong(problem, "disk '%.100s': a path that begins with '/' is needed", path);
    if (strlen(path) > CTL_PATH_BYTES_MAX || strchr(path, '\n') != NULL)
        return wrong(problem,
                     "disk '%.100s': a path of at most %d bytes, without line breaks, is "
                     "needed",
                     path, CTL_PATH_BYTES_MAX);
    return STATUS(OK);
}

struct status validate_volume_bytes(const char *name, uint64_t bytes, struct problem *problem)
{
    if (bytes == 0)
        return wrong(problem, "volume '%.100s': its size is missing", name);
    if (bytes % CTL_VOLUME_BYTES_UNIT != 0)
        return wrong(problem, "volume '%.100s': a size of %llu bytes is not a multiple of %llu",
                     name, (unsigned long long)bytes, (unsigned long long)CTL_VOLUME_BYTES_UNIT);
    if (bytes > CTL_VOLUME_BYTES_MAX)
        return wrong(problem, "volume '%.100s': %s is more than a volume can have, which is %s",
                     name, size_format(bytes).s, size_format(CTL_VOLUME_BYTES_MAX).s);
    return STATUS(OK);
}

static struct status check_layout(const Trilith__V1__VolumeSpec *s, struct problem *problem)
{
    if (s->lba_bytes != 0 && s->lba_bytes != 512 && s->lba_bytes != CTL_LBA_BYTES_DEF)
        return wrong(problem,
                     "volume '%s': LBAs of %u bytes are not supported, but 512 and 4096 are",
                     s->name, s->lba_bytes);
    if (s->shard_bytes != 0 &&
        (!is_power_of_two(s->shard_bytes) || s->shard_bytes < CTL_SHARD_BYTES_MIN ||
         s->shard_bytes > CTL_SHARD_BYTES_MAX))
        return wrong(problem, "volume '%s': a shard size is a power of two from 64M to 64G",
                     s->name);
    if (s->shard_bytes != 0 && s->bytes > s->shard_bytes * CTL_SHARDS_MAX)
        return wrong(problem, "volume '%s': more than %u shards; take larger ones", s->name,
                     CTL_SHARDS_MAX);
    if (s->stripe_unit_bytes != 0 &&
        (!is_power_of_two(s->stripe_unit_bytes) || s->stripe_unit_bytes < CTL_STRIPE_UNIT_MIN ||
         s->stripe_unit_bytes > CTL_STRIPE_UNIT_MAX))
        return wrong(problem, "volume '%s': a stripe unit is a power of two from 4K to 512K",
                     s->name);
    if (s->stripe_width > CTL_STRIPE_WIDTH_MAX)
        return wrong(problem, "volume '%s': a stripe is at most %u shards wide", s->name,
                     CTL_STRIPE_WIDTH_MAX);
    return STATUS(OK);
}

struct status validate_min_in_sync(const char *name, uint32_t min_in_sync, uint32_t replicas,
                                   struct problem *problem)
{
    if (min_in_sync <= replicas)
        return STATUS(OK);
    return wrong(problem,
                 "volume '%s': of %u replica%s %u can never be in sync; --min-in-sync is at most "
                 "%u",
                 name, replicas, replicas == 1 ? "" : "s", min_in_sync, replicas);
}

static struct status check_replicas(const Trilith__V1__VolumeSpec *s, struct problem *problem)
{
    const uint32_t replicas = s->replicas != 0 ? s->replicas : 1;

    if (replicas > CTL_REPLICAS_MAX)
        return wrong(problem, "volume '%s': it cannot have %u replicas, but 1, 2 or 3", s->name,
                     replicas);
    TRY(validate_min_in_sync(s->name, s->min_in_sync, replicas, problem));
    if (replicas == 1 && s->stride_nodes > 1)
        return wrong(problem,
                     "volume '%s': one replica lies on one node; --stride is for 2 or 3 replicas",
                     s->name);
    if (replicas == 1 && s->apart != TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_UNSPECIFIED)
        return wrong(problem,
                     "volume '%s': one replica lies on one node; --apart is for 2 or 3 replicas",
                     s->name);
    if (s->apart > TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_ZONE)
        return wrong(problem, "volume '%s': apart has no such value", s->name);
    if (s->stride_nodes > CTL_NODES_MAX)
        return wrong(problem, "volume '%s': a stride of %u nodes is more than a cluster has, %u",
                     s->name, s->stride_nodes, CTL_NODES_MAX);
    if (s->stride_nodes != 0 && s->stride_nodes < replicas)
        return wrong(problem,
                     "volume '%s': a stride of %u nodes has no room for %u replicas; it has at "
                     "least %u",
                     s->name, s->stride_nodes, replicas, replicas);
    return STATUS(OK);
}

static struct status check_hosts(const Trilith__V1__VolumeSpec *s, struct problem *problem)
{
    if (s->n_allowed_hosts > CTL_HOSTS_MAX)
        return wrong(problem, "volume '%s': more than %u allowed hosts", s->name, CTL_HOSTS_MAX);
    for (size_t i = 0; i < s->n_allowed_hosts; i++)
        if (!nqn_is_valid(s->allowed_hosts[i]))
            return wrong(problem,
                         "volume '%s': '%.80s' is not a host NQN; the host has its own in "
                         "/etc/nvme/hostnqn",
                         s->name, s->allowed_hosts[i]);
    return STATUS(OK);
}

struct status validate_spec(const Trilith__V1__VolumeSpec *spec, struct problem *problem)
{
    if (spec == NULL)
        return wrong(problem, "the specification is missing");
    if (!volume_name_is_valid(spec->name))
        return wrong(problem, "volume '%.80s': a name has %s", spec->name, VOLUME_NAME_RULE);
    TRY(validate_volume_bytes(spec->name, spec->bytes, problem));
    TRY(check_layout(spec, problem));
    TRY(check_replicas(spec, problem));
    TRY(check_hosts(spec, problem));
    if (spec->on_unflushed_loss > TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_CONTINUE)
        return wrong(problem, "volume '%s': on_unflushed_loss has no such value", spec->name);
    return STATUS(OK);
}

/* ---- What nodes say ---- */

/* A label is a name, or empty. */
static struct status check_label(const char *node, const char *kind, const char *label,
                                 struct problem *problem)
{
    if (label[0] == '\0' || volume_name_is_valid(label))
        return STATUS(OK);
    return wrong(problem, "node '%s': %s '%.80s': a label has %s", node, kind, label,
                 VOLUME_NAME_RULE);
}

static struct status check_roles(const Trilith__V1__JoinClusterRequest *r, struct problem *problem)
{
    for (size_t i = 0; i < r->n_roles; i++)
        if (r->roles[i] != TRILITH__V1__NODE_ROLE__NODE_ROLE_STORE &&
            r->roles[i] != TRILITH__V1__NODE_ROLE__NODE_ROLE_TARGET)
            return wrong(problem, "node '%s': it has a role that is neither store nor target",
                         r->name);
    return STATUS(OK);
}

/* Other nodes parse it: one that cannot be parsed would keep all of their part from them. */
static struct status check_address(const char *node, const char *address, struct problem *problem)
{
    struct io_addr addr;

    if (address[0] == '\0')
        return wrong(problem, "node '%s': its address is missing", node);
    TRY(check_text(address, "address", CTL_ADDRESS_BYTES_MAX, problem));
    if (status_ok(io_addr_parse(address, 0, &addr)) && address[0] != '[' &&
        (addr.family == IO_FAMILY_IPV6 || strchr(address, ':') == NULL)) /* Without a port. */
        return STATUS(OK);
    return wrong(problem, "node '%s': its address '%s' is not an IP address", node, address);
}

struct status validate_join(const Trilith__V1__JoinClusterRequest *r, struct problem *problem)
{
    struct uuid uuid;

    TRY(validate_uuid(r->node_uuid, "node_uuid", &uuid, problem));
    if (r->cluster_uuid.len != 0)
        TRY(validate_uuid(r->cluster_uuid, "cluster_uuid", &uuid, problem));
    if (!volume_name_is_valid(r->name))
        return wrong(problem, "node '%.80s': a name has %s", r->name, VOLUME_NAME_RULE);
    TRY(check_address(r->name, r->address, problem));
    TRY(check_text(r->version, "version", CTL_NAME_BYTES_MAX, problem));
    if (r->port > UINT16_MAX) /* 0: it does not know yet. */
        return wrong(problem, "node '%s': %u is not a port", r->name, r->port);
    TRY(check_label(r->name, "zone", r->zone, problem));
    TRY(check_label(r->name, "rack", r->rack, problem));
    return check_roles(r, problem);
}

static struct status check_disk(const Trilith__V1__DiskReport *d, struct problem *problem)
{
    struct uuid uuid;

    TRY(validate_uuid(d->uuid, "disks.uuid", &uuid, problem));
    TRY(check_text(d->name, "disks.name", CTL_NAME_BYTES_MAX, problem));
    TRY(check_text(d->path, "disks.path", CTL_PATH_BYTES_MAX, problem));
    TRY(check_text(d->backend, "disks.backend", CTL_NAME_BYTES_MAX, problem));
    TRY(check_text(d->model, "disks.model", CTL_NAME_BYTES_MAX, problem));
    TRY(check_text(d->serial, "disks.serial", CTL_NAME_BYTES_MAX, problem));
    TRY(check_text(d->failure, "disks.failure", CTL_TEXT_BYTES_MAX, problem));
    TRY(check_text(d->health_reason, "disks.health_reason", CTL_TEXT_BYTES_MAX, problem));
    TRY(check_text(d->device_log, "disks.device_log", CTL_TEXT_BYTES_MAX, problem));
    if (d->health > TRILITH__V1__DISK_HEALTH__DISK_HEALTH_FAILED)
        return wrong(problem, "disk '%s': health %d is none", d->name, (int)d->health);
    /* Sizes are added up: 1,024 disks of less than 2^53 bytes (8 PiB) stay below 2^63. */
    if (d->bytes >> 53 != 0 || d->free_bytes > d->bytes)
        return wrong(problem, "disk '%s': %llu bytes with %llu free cannot be", d->name,
                     (unsigned long long)d->bytes, (unsigned long long)d->free_bytes);
    if (d->checksum_bytes >> 53 != 0 || d->checksum_budget_bytes >> 53 != 0)
        return wrong(problem, "disk '%s': %llu bytes of memory for checksums, of %llu, cannot be",
                     d->name, (unsigned long long)d->checksum_bytes,
                     (unsigned long long)d->checksum_budget_bytes);
    if (d->scrub != NULL && d->scrub->finding != NULL) {
        const Trilith__V1__ScrubFindingReport *f = d->scrub->finding;
        TRY(validate_uuid(f->volume_uuid, "disks.scrub.finding.volume_uuid", &uuid, problem));
        if (f->bytes == 0 || f->bytes % 4096 != 0 || f->offset % 4096 != 0 || f->bytes >> 53 != 0)
            return wrong(problem, "disk '%s': %llu bad bytes at %llu cannot be", d->name,
                         (unsigned long long)f->bytes, (unsigned long long)f->offset);
    }
    return STATUS(OK);
}

static struct status check_verification(const Trilith__V1__VerificationReport *v,
                                        struct problem *problem)
{
    struct uuid uuid;

    TRY(check_text(v->failure, "verification.failure", CTL_TEXT_BYTES_MAX, problem));
    if (v->n_replicas > CTL_REPLICAS_MAX || v->n_findings > CTL_VERIFICATION_FINDINGS_MAX)
        return wrong(problem, "a verification of %zu replicas, with %zu findings, cannot be",
                     v->n_replicas, v->n_findings);
    for (size_t i = 0; i < v->n_replicas; i++)
        if (v->replicas[i]->sha256.len != (v->replicas[i]->whole ? 32 : 0))
            return wrong(problem, "a digest of %zu bytes is none", v->replicas[i]->sha256.len);
    for (size_t i = 0; i < v->n_findings; i++) {
        const Trilith__V1__VerificationFindingReport *f = v->findings[i];
        TRY(validate_uuid(f->disk_uuid, "verification.findings.disk_uuid", &uuid, problem));
        TRY(check_text(f->reason, "verification.findings.reason", CTL_TEXT_BYTES_MAX, problem));
        if (f->problem < TRILITH__V1__VERIFICATION_PROBLEM__VERIFICATION_PROBLEM_BAD ||
            f->problem > TRILITH__V1__VERIFICATION_PROBLEM__VERIFICATION_PROBLEM_UNREAD ||
            f->replica < 1 || f->replica > CTL_REPLICAS_MAX)
            return wrong(problem, "a finding of kind %u in replica %u is none", f->problem,
                         f->replica);
    }
    return STATUS(OK);
}

/* Sizes fit JavaScript's numbers; an end is below 2^54. */
static struct status check_unreadable(const Trilith__V1__VolumeReport *v, struct problem *problem)
{
    if (v->n_unreadable > CTL_UNREADABLE_MAX)
        return wrong(problem, "more than %u unreadable ranges of a volume", CTL_UNREADABLE_MAX);
    for (size_t i = 0; i < v->n_unreadable; i++) {
        const Trilith__V1__VolumeRangeReport *r = v->unreadable[i];
        if (r->bytes == 0 || r->bytes % CTL_VOLUME_BYTES_UNIT != 0 ||
            r->offset % CTL_VOLUME_BYTES_UNIT != 0 || r->bytes >> 53 != 0 || r->offset >> 53 != 0)
            return wrong(problem, "%llu unreadable bytes at %llu of a volume cannot be",
                         (unsigned long long)r->bytes, (unsigned long long)r->offset);
    }
    return STATUS(OK);
}

static struct status check_volume(const Trilith__V1__VolumeReport *v, struct problem *problem)
{
    struct uuid uuid;

    TRY(validate_uuid(v->uuid, "volumes.uuid", &uuid, problem));
    TRY(check_text(v->reason, "volumes.reason", CTL_TEXT_BYTES_MAX, problem));
    if (v->state < TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_OPENING ||
        v->state > TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_DELETED)
        return wrong(problem, "volumes.state %d is none", (int)v->state);
    if (v->n_connected_hosts > CTL_CONNECTED_MAX)
        return wrong(problem, "more than %u connected hosts", CTL_CONNECTED_MAX);
    for (size_t i = 0; i < v->n_connected_hosts; i++)
        TRY(check_text(v->connected_hosts[i], "volumes.connected_hosts", NQN_BYTES_MAX, problem));
    if (v->n_forgotten > CTL_DISKS_MAX)
        return wrong(problem, "a volume with more than %u forgotten disks", CTL_DISKS_MAX);
    if (v->n_disks > CTL_DISKS_MAX)
        return wrong(problem, "more than %u disks of a volume", CTL_DISKS_MAX);
    for (size_t i = 0; i < v->n_disks; i++) {
        TRY(validate_uuid(v->disks[i]->uuid, "volumes.disks.uuid", &uuid, problem));
        TRY(check_text(v->disks[i]->problem, "volumes.disks.problem", CTL_TEXT_BYTES_MAX, problem));
    }
    if (v->n_mends > CTL_MENDS_MAX)
        return wrong(problem, "more than %u repairs of a volume", CTL_MENDS_MAX);
    for (size_t i = 0; i < v->n_mends; i++)
        TRY(check_text(v->mends[i]->failure, "volumes.mends.failure", CTL_TEXT_BYTES_MAX, problem));
    TRY(check_unreadable(v, problem));
    return v->verification != NULL ? check_verification(v->verification, problem) : STATUS(OK);
}

struct status validate_report(const Trilith__V1__ReportStatusRequest *r, struct problem *problem)
{
    struct uuid uuid;

    TRY(validate_uuid(r->node_uuid, "node_uuid", &uuid, problem));
    if (r->n_disks > CTL_DISKS_MAX || r->n_disk_problems > CTL_DISKS_MAX)
        return wrong(problem, "more than %u disks", CTL_DISKS_MAX);
    /* Volumes that are being deleted and others that were created count at the same time. */
    if (r->n_volumes > 2 * CTL_VOLUMES_MAX)
        return wrong(problem, "more than %u volumes", 2 * CTL_VOLUMES_MAX);
    for (size_t i = 0; i < r->n_disks; i++)
        TRY(check_disk(r->disks[i], problem));
    for (size_t i = 0; i < r->n_disk_problems; i++) {
        TRY(check_text(r->disk_problems[i]->path, "disk_problems.path", CTL_PATH_BYTES_MAX,
                       problem));
        TRY(check_text(r->disk_problems[i]->text, "disk_problems.text", CTL_TEXT_BYTES_MAX,
                       problem));
    }
    for (size_t i = 0; i < r->n_volumes; i++)
        TRY(check_volume(r->volumes[i], problem));
    if (r->n_orders > CTL_ORDERS_MAX)
        return wrong(problem, "more than %u orders", CTL_ORDERS_MAX);
    for (size_t i = 0; i < r->n_orders; i++)
        TRY(check_text(r->orders[i]->problem, "orders.problem", CTL_TEXT_BYTES_MAX, problem));
    if (r->n_io_features > CTL_IO_FEATURES_MAX)
        return wrong(problem, "more than %u io_features", CTL_IO_FEATURES_MAX);
    for (size_t i = 0; i < r->n_io_features; i++)
        TRY(check_text(r->io_features[i], "io_features", CTL_NAME_BYTES_MAX, problem));
    if (r->n_refusals > CTL_REFUSALS_MAX)
        return wrong(problem, "more than %u refusals", CTL_REFUSALS_MAX);
    for (size_t i = 0; i < r->n_refusals; i++)
        TRY(check_text(r->refusals[i]->status, "refusals.status", CTL_NAME_BYTES_MAX, problem));
    if (r->n_heard_node_uuids > CTL_HEARD_MAX)
        return wrong(problem, "more than %u heard_node_uuids", CTL_HEARD_MAX);
    for (size_t i = 0; i < r->n_heard_node_uuids; i++)
        TRY(validate_uuid(r->heard_node_uuids[i], "heard_node_uuids", &uuid, problem));
    return STATUS(OK);
}
