/* SPDX-License-Identifier: Apache-2.0 */
/* trilith volume create | list | show | resize | set | delete; each other has a file of its own. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "ctl/limits.h"
#include "nvme/limits.h"
#include "trilith/v1/volume.pb-c.h"

#define HOSTS_MAX 128 /* Allowed hosts of one volume. */
#define SERVICE   (&trilith__v1__volume_service__descriptor)

static_assert(HOSTS_MAX == CTL_HOSTS_MAX && CTL_HOSTS_MAX == NVME_ALLOWED_HOSTS_MAX,
              "who is allowed gets past the command line, the controller and the target");

enum {
    OPT_SIZE = 256,
    OPT_ALLOW_HOST,
    OPT_SHARD_SIZE,
    OPT_STRIPE_WIDTH,
    OPT_STRIPE_UNIT,
    OPT_BLOCK_SIZE,
    OPT_REPLICAS,
    OPT_MIN_IN_SYNC,
    OPT_NODE,
    OPT_STRIDE,
    OPT_DEGRADED,
    OPT_APART,
    OPT_SHARDS,
    OPT_UNFLUSHED_LOSS,
    OPT_WAIT,
    OPT_FORCE,
};

#define OPTION_WAIT                                                                 \
    {                                                                               \
        "wait", OPT_WAIT, "SECONDS", "how long to wait for the node, 1 to 300 (30)" \
    }

struct volume_options {
    struct api_options api;
    uint64_t wait_s;
    bool force;
    bool with_places;
    char *node; /* NULL: none was given. */
    Trilith__V1__VolumeSpec spec;
    char *hosts[HOSTS_MAX];
};

static const struct cli_column show_columns[] = {
    { "name", "name", CLI_KIND_TEXT },
    { "state", "state", CLI_KIND_TEXT },
    { "reason", "reason", CLI_KIND_TEXT },
    { "size", "bytes", CLI_KIND_SIZE },
    { "served size", "served_bytes", CLI_KIND_SIZE },
    { "used", "used_bytes", CLI_KIND_SIZE },
    { "replicas", "replicas", CLI_KIND_COUNT },
    { "min in sync", "min_in_sync", CLI_KIND_COUNT },
    { "apart", "apart", CLI_KIND_TEXT },
    { "degraded", "degraded", CLI_KIND_LIST },
    { "writes wait", "writes_wait", CLI_KIND_TEXT },
    { "unreadable", "unreadable", CLI_KIND_LIST },
    { "uuid", "uuid", CLI_KIND_TEXT },
    { "nqn", "nqn", CLI_KIND_TEXT },
    { "shards", "shards", CLI_KIND_COUNT },
    { "shard size", "shard_bytes", CLI_KIND_SIZE },
    { "stripe width", "stripe_width", CLI_KIND_COUNT },
    { "stripe unit", "stripe_unit_bytes", CLI_KIND_SIZE },
    { "block size", "lba_bytes", CLI_KIND_SIZE },
    { "on unflushed loss", "on_unflushed_loss", CLI_KIND_TEXT },
    { "disks", "disks", CLI_KIND_LIST },
    { "allowed hosts", "allowed_hosts", CLI_KIND_LIST },
    { "connected hosts", "connected_hosts", CLI_KIND_LIST },
    { "connect with", "connect", CLI_KIND_TEXT },
};

/* ---- A volume as users see it ---- */

static void add_connect(json_t *volume, const Trilith__V1__Volume *v)
{
    char line[512];

    if (v->n_targets == 0 || v->targets[0]->port == 0)
        return;
    snprintf(line, sizeof line, "nvme connect -t tcp -a %s -s %u -n %s", v->targets[0]->address,
             v->targets[0]->port, v->nqn);
    json_object_set_new(volume, "connect", json_string(line));
}

/* The specification's members beside the others: users do not care which is which. */
static json_t *volume_json(const Trilith__V1__Volume *v)
{
    json_t *volume = api_json(&v->base);
    json_t *spec = json_object_get(volume, "spec");

    if (json_is_object(spec))
        json_object_update(volume, spec);
    json_object_del(volume, "spec");
    if (v->spec != NULL && v->spec->replicas <= 1)
        json_object_del(volume, "apart"); /* There is nothing that it could be apart from. */
    add_connect(volume, v);
    return volume;
}

/* For people; what else prints them is for programs. */
static json_t *unreadable_texts(const Trilith__V1__Volume *v)
{
    json_t *texts = json_array();
    char text[64];

    for (size_t i = 0; i < v->n_unreadable; i++) {
        snprintf(text, sizeof text, "%llu bytes at %llu",
                 (unsigned long long)v->unreadable[i]->bytes,
                 (unsigned long long)v->unreadable[i]->offset);
        json_array_append_new(texts, json_string(text));
    }
    if (v->unreadable_more)
        json_array_append_new(texts, json_string("and more"));
    return texts;
}

static void print_volume(enum cli_format format, const Trilith__V1__Volume *v)
{
    json_t *volume = volume_json(v);

    if (format == CLI_FORMAT_TABLE)
        json_object_set_new(volume, "unreadable", unreadable_texts(v));
    cli_print_record(format, volume, show_columns, ARRAY_COUNT(show_columns));
    json_decref(volume);
}

static void print_warnings(const char *name, char *const *warnings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "trilith: volume '%s': warning: %s\n", name, warnings[i]);
}

static bool is_ready(const Trilith__V1__Volume *v)
{
    return v->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY;
}

/* ---- Options ---- */

static bool take_host(struct cli_args *args, struct volume_options *o)
{
    if (!nqn_is_valid(args->value)) {
        (void)cli_usage(args,
                        "--allow-host '%s' is not an NQN; the host has its own in "
                        "/etc/nvme/hostnqn",
                        args->value);
        return false;
    }
    if (o->spec.n_allowed_hosts == HOSTS_MAX) {
        (void)cli_usage(args, "--allow-host is given more than %d times", HOSTS_MAX);
        return false;
    }
    o->hosts[o->spec.n_allowed_hosts++] = (char *)(uintptr_t)args->value;
    return true;
}

static bool take_loss(struct cli_args *args, struct volume_options *o)
{
    if (strcmp(args->value, "error") == 0) {
        o->spec.on_unflushed_loss = TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_ERROR;
    } else if (strcmp(args->value, "continue") == 0) {
        o->spec.on_unflushed_loss = TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_CONTINUE;
    } else {
        (void)cli_usage(args, "--on-unflushed-loss '%s' is neither error nor continue",
                        args->value);
        return false;
    }
    return true;
}

static bool take_apart(struct cli_args *args, struct volume_options *o)
{
    static const char *const names[] = { "node", "rack", "zone" };

    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(args->value, names[i]) != 0)
            continue;
        o->spec.apart =
            (Trilith__V1__FailureDomain)(TRILITH__V1__FAILURE_DOMAIN__FAILURE_DOMAIN_NODE + i);
        return true;
    }
    (void)cli_usage(args, "--apart '%s' is none of node, rack and zone", args->value);
    return false;
}

static bool take_block_size(struct cli_args *args, struct volume_options *o)
{
    uint64_t bytes;
    if (!cli_size(args, "block-size", &bytes))
        return false;
    if (bytes != 512 && bytes != 4096) {
        (void)cli_usage(args, "--block-size '%s' is neither 512 nor 4096", args->value);
        return false;
    }
    o->spec.lba_bytes = (uint32_t)bytes;
    return true;
}

static bool take_unit(struct cli_args *args, struct volume_options *o)
{
    uint64_t bytes;
    if (!cli_size(args, "stripe-unit", &bytes))
        return false;
    /* What is too large for the field is too large for the API, which then says the limits. */
    o->spec.stripe_unit_bytes = (uint32_t)min_u64(bytes, UINT32_MAX);
    return true;
}

static bool take_number(struct cli_args *args, const char *option, uint64_t max, uint32_t *out)
{
    uint64_t number = 0;

    if (!cli_number(args, option, 1, max, &number))
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool take_option(struct cli_args *args, int id, struct volume_options *o)
{
    switch (id) {
    case OPT_SIZE:
        return cli_size(args, "size", &o->spec.bytes);
    case OPT_ALLOW_HOST:
        return take_host(args, o);
    case OPT_SHARD_SIZE:
        return cli_size(args, "shard-size", &o->spec.shard_bytes);
    case OPT_STRIPE_UNIT:
        return take_unit(args, o);
    case OPT_BLOCK_SIZE:
        return take_block_size(args, o);
    case OPT_STRIPE_WIDTH:
        return take_number(args, "stripe-width", CTL_STRIPE_WIDTH_MAX, &o->spec.stripe_width);
    case OPT_REPLICAS:
        return take_number(args, "replicas", CTL_REPLICAS_MAX, &o->spec.replicas);
    case OPT_MIN_IN_SYNC:
        return take_number(args, "min-in-sync", CTL_REPLICAS_MAX, &o->spec.min_in_sync);
    case OPT_STRIDE:
        return take_number(args, "stride", CTL_NODES_MAX, &o->spec.stride_nodes);
    case OPT_DEGRADED:
        o->spec.allow_degraded = true;
        return true;
    case OPT_APART:
        return take_apart(args, o);
    case OPT_NODE:
        o->node = (char *)(uintptr_t)args->value;
        return true;
    case OPT_SHARDS:
        o->with_places = true;
        return true;
    case OPT_UNFLUSHED_LOSS:
        return take_loss(args, o);
    case OPT_WAIT:
        return cli_number(args, "wait", 1, 300, &o->wait_s);
    case OPT_FORCE:
        o->force = true;
        return true;
    default:
        return api_option(args, id, &o->api);
    }
}

/* False: the command ends with args->exit_status. */
static bool parse(const struct cli_syntax *syntax, int argc, char **argv, struct cli_args *args,
                  struct volume_options *o)
{
    int id;

    *o = (struct volume_options) { .wait_s = 30 };
    trilith__v1__volume_spec__init(&o->spec);
    o->spec.allowed_hosts = o->hosts;
    cli_begin(args, syntax, argc, argv);
    while ((id = cli_next(args)) != CLI_END)
        if (id == CLI_EXIT || !take_option(args, id, o))
            return false;
    return true;
}

/* ---- create ---- */

static const struct cli_option create_options[] = {
    { "size", OPT_SIZE, "SIZE", "how large it is, such as 10G; a multiple of 4K" },
    { "allow-host", OPT_ALLOW_HOST, "NQN", "host that may connect; may be repeated (every\nhost)" },
    { "replicas", OPT_REPLICAS, "1|2|3", "copies of its data, on different nodes (1)" },
    { "min-in-sync", OPT_MIN_IN_SYNC, "N",
      "copies that a write needs; with fewer, writes wait\n(1; of three 2)" },
    { "apart", OPT_APART, "node|rack|zone",
      "what no two copies share (the widest of which there\nare as many as copies)" },
    { "allow-degraded", OPT_DEGRADED, NULL,
      "if there are not enough of these: copies in as many\nas there are, or on different disks of "
      "one node" },
    { "stride", OPT_STRIDE, "N",
      "nodes that it may lie on, at most (twice as many as\ncopies, or as many as it takes)" },
    { "shard-size", OPT_SHARD_SIZE, "SIZE", "size of its shards, 64M to 64G (1G, or what fits)" },
    { "stripe-width", OPT_STRIPE_WIDTH, "N", "shards that one stripe runs over (one per disk)" },
    { "stripe-unit", OPT_STRIPE_UNIT, "SIZE", "piece of a stripe on one shard, 4K to 512K (256K)" },
    { "block-size", OPT_BLOCK_SIZE, "512|4096",
      "the smallest piece that hosts read or write\n(4096)" },
    { "on-unflushed-loss", OPT_UNFLUSHED_LOSS, "error|continue",
      "whether a flush fails once after power loss took\nunflushed writes (error)" },
    OPTION_WAIT,
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax create_syntax = {
    .command = "trilith volume create",
    .operands = "NAME --size SIZE",
    .about = "Creates a volume and waits until hosts can connect to it.  Space is taken when it\n"
             "is written (thin).  Creating it again with the same options does nothing.",
    .options = create_options,
    .option_count = ARRAY_COUNT(create_options),
    .operands_min = 1,
    .operands_max = 1,
};

static int create_report(enum cli_format format, const ProtobufCMessage *request,
                         const ProtobufCMessage *reply)
{
    const Trilith__V1__CreateVolumeResponse *r =
        (const Trilith__V1__CreateVolumeResponse *)(const void *)reply;
    const char *name =
        ((const Trilith__V1__CreateVolumeRequest *)(const void *)request)->spec->name;

    if (r->volume == NULL || r->volume->spec == NULL)
        return cli_fail("the API answered without a volume");
    print_warnings(name, r->warnings, r->n_warnings);
    print_volume(format, r->volume);
    if (is_ready(r->volume))
        return COMMAND_OK;
    return cli_fail("volume '%s': it was created, but is not ready: %s; 'trilith volume show %s' "
                    "says when it is",
                    name, r->volume->reason, name);
}

static int volume_create(int argc, char **argv)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    struct volume_options o;
    struct cli_args args;

    if (!parse(&create_syntax, argc, argv, &args, &o))
        return args.exit_status;
    o.spec.name = (char *)(uintptr_t)args.operands[0];
    if (!volume_name_is_valid(o.spec.name))
        return cli_usage(&args, "volume '%s': a name has %s", o.spec.name, VOLUME_NAME_RULE);
    if (o.spec.bytes == 0)
        return cli_usage(&args, "volume '%s': --size is missing, such as --size 10G", o.spec.name);
    request.spec = &o.spec;
    request.wait_ms = (uint32_t)(o.wait_s * 1000);
    return api_run(&o.api, SERVICE, "CreateVolume", &request.base, request.wait_ms, create_report);
}

/* ---- list ---- */

static const struct cli_option list_options[] = { CLI_OPTION_OUTPUT, API_OPTION };

static const struct cli_syntax list_syntax = {
    .command = "trilith volume list",
    .operands = "",
    .about = "Lists all volumes.",
    .options = list_options,
    .option_count = ARRAY_COUNT(list_options),
};

static const struct cli_column list_columns[] = {
    { "NAME", "name", CLI_KIND_TEXT },       { "SIZE", "bytes", CLI_KIND_SIZE },
    { "USED", "used_bytes", CLI_KIND_SIZE }, { "REPLICAS", "replicas", CLI_KIND_COUNT },
    { "STATE", "state", CLI_KIND_TEXT },     { "HOSTS", "host_count", CLI_KIND_COUNT },
    { "NQN", "nqn", CLI_KIND_TEXT },
};

static int list_report(enum cli_format format, const ProtobufCMessage *request,
                       const ProtobufCMessage *reply)
{
    const Trilith__V1__ListVolumesResponse *r =
        (const Trilith__V1__ListVolumesResponse *)(const void *)reply;
    json_t *rows = json_array();

    (void)request;
    for (size_t i = 0; i < r->n_volumes; i++) {
        json_t *volume = volume_json(r->volumes[i]);
        json_object_set_new(volume, "host_count",
                            json_integer((json_int_t)r->volumes[i]->n_connected_hosts));
        json_array_append_new(rows, volume);
    }
    cli_print_rows(format, rows, list_columns, ARRAY_COUNT(list_columns));
    json_decref(rows);
    return COMMAND_OK;
}

static int volume_list(int argc, char **argv)
{
    Trilith__V1__ListVolumesRequest request = TRILITH__V1__LIST_VOLUMES_REQUEST__INIT;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&list_syntax, argc, argv, &args, &o))
        return args.exit_status;
    return api_run(&o, SERVICE, "ListVolumes", &request.base, 0, list_report);
}

/* ---- show ---- */

static const struct cli_option show_options[] = {
    { "shards", OPT_SHARDS, NULL, "also where each of its shards lies" },
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax show_syntax = {
    .command = "trilith volume show",
    .operands = "NAME",
    .about = "Shows one volume, named by its name, NQN or UUID, with the command that connects\n"
             "a Linux host to it; with several replicas, which of them are in sync.",
    .options = show_options,
    .option_count = ARRAY_COUNT(show_options),
    .operands_min = 1,
    .operands_max = 1,
};

static const struct cli_column replica_columns[] = {
    { "COPYSET", "copyset", CLI_KIND_COUNT },   { "SHARDS", "shards", CLI_KIND_COUNT },
    { "DISK", "disk", CLI_KIND_TEXT },          { "NODE", "node", CLI_KIND_TEXT },
    { "STATE", "state", CLI_KIND_TEXT },        { "SINCE", "since", CLI_KIND_TEXT },
    { "TO COPY", "left_bytes", CLI_KIND_SIZE }, { "PROBLEM", "problem", CLI_KIND_TEXT },
};

static const struct cli_column place_columns[] = {
    { "SHARD", "shard", CLI_KIND_COUNT },
    { "COPYSET", "copyset", CLI_KIND_COUNT },
    { "DISKS", "disks", CLI_KIND_LIST },
};

static void replica_state(const Trilith__V1__VolumeReplica *m, char *out, size_t bytes)
{
    if (m->in_sync)
        (void)snprintf(out, bytes, "in sync");
    else if (m->resync_bytes > 0)
        (void)snprintf(out, bytes, "resync %llu%%",
                       (unsigned long long)(m->resynced_bytes * 100 / m->resync_bytes));
    else
        (void)snprintf(out, bytes, m->whole ? "out, whole" : "out");
}

/* A row of the table of replicas. */
static json_t *replica_row(const Trilith__V1__VolumeCopyset *c, const Trilith__V1__VolumeReplica *m)
{
    json_t *row = api_json(&m->base);
    const time_t since_s = (time_t)(m->out_since_unix_ms / 1000);
    char since[32] = "";
    char state[32];
    struct tm tm;

    if (!m->in_sync && localtime_r(&since_s, &tm) != NULL)
        (void)strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &tm);
    json_object_set_new(row, "copyset", json_integer(c->number));
    json_object_set_new(row, "shards", json_integer(c->shards));
    json_object_set_new(row, "since", json_string(since));
    replica_state(m, state, sizeof state);
    json_object_set_new(row, "state", json_string(state));
    if (m->resync_bytes > m->resynced_bytes)
        json_object_set_new(row, "left_bytes",
                            json_integer((json_int_t)(m->resync_bytes - m->resynced_bytes)));
    return row;
}

/* The tables below the record: of replicas, if there are several, and of shards, if asked for. */
static void print_places(const Trilith__V1__Volume *v)
{
    json_t *volume = api_json(&v->base);
    json_t *replicas = json_array();

    for (size_t i = 0; i < v->n_copysets; i++)
        for (size_t k = 0; k < v->copysets[i]->n_replicas; k++)
            json_array_append_new(replicas,
                                  replica_row(v->copysets[i], v->copysets[i]->replicas[k]));
    if (v->n_copysets > 0) {
        printf("\n");
        cli_print_rows(CLI_FORMAT_TABLE, replicas, replica_columns, ARRAY_COUNT(replica_columns));
    }
    if (v->n_places > 0) {
        printf("\n");
        cli_print_rows(CLI_FORMAT_TABLE, json_object_get(volume, "places"), place_columns,
                       ARRAY_COUNT(place_columns));
    }
    json_decref(replicas);
    json_decref(volume);
}

static int show_report(enum cli_format format, const ProtobufCMessage *request,
                       const ProtobufCMessage *reply)
{
    const Trilith__V1__GetVolumeResponse *r =
        (const Trilith__V1__GetVolumeResponse *)(const void *)reply;

    (void)request;
    if (r->volume == NULL)
        return cli_fail("the API answered without a volume");
    print_volume(format, r->volume);
    if (format == CLI_FORMAT_TABLE)
        print_places(r->volume);
    return COMMAND_OK;
}

static int volume_show(int argc, char **argv)
{
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    struct volume_options o;
    struct cli_args args;

    if (!parse(&show_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = (char *)(uintptr_t)args.operands[0];
    request.with_places = o.with_places;
    return api_run(&o.api, SERVICE, "GetVolume", &request.base, 0, show_report);
}

/* ---- resize ---- */

static const struct cli_option resize_options[] = {
    { "size", OPT_SIZE, "SIZE", "its new size, such as 20G; a multiple of 4K" },
    OPTION_WAIT,
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax resize_syntax = {
    .command = "trilith volume resize",
    .operands = "NAME --size SIZE",
    .about = "Makes a volume larger and waits until hosts see it; they stay connected.  Volumes\n"
             "cannot shrink.",
    .options = resize_options,
    .option_count = ARRAY_COUNT(resize_options),
    .operands_min = 1,
    .operands_max = 1,
};

static int resize_report(enum cli_format format, const ProtobufCMessage *request,
                         const ProtobufCMessage *reply)
{
    const Trilith__V1__ResizeVolumeResponse *r =
        (const Trilith__V1__ResizeVolumeResponse *)(const void *)reply;
    const Trilith__V1__Volume *v = r->volume;
    const char *name = ((const Trilith__V1__ResizeVolumeRequest *)(const void *)request)->name;

    if (v == NULL || v->spec == NULL)
        return cli_fail("the API answered without a volume");
    print_warnings(name, r->warnings, r->n_warnings);
    print_volume(format, v);
    if (is_ready(v) && v->served_bytes >= v->spec->bytes)
        return COMMAND_OK;
    return cli_fail("volume '%s': it will grow, but has not yet: %s; 'trilith volume show %s' says "
                    "when it has",
                    name, v->reason, name);
}

static int volume_resize(int argc, char **argv)
{
    Trilith__V1__ResizeVolumeRequest request = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    struct volume_options o;
    struct cli_args args;

    if (!parse(&resize_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = (char *)(uintptr_t)args.operands[0];
    request.bytes = o.spec.bytes;
    request.wait_ms = (uint32_t)(o.wait_s * 1000);
    if (request.bytes == 0)
        return cli_usage(&args, "volume '%s': --size is missing, such as --size 20G", request.name);
    return api_run(&o.api, SERVICE, "ResizeVolume", &request.base, request.wait_ms, resize_report);
}

/* ---- set ---- */

static const struct cli_option set_options[] = {
    { "min-in-sync", OPT_MIN_IN_SYNC, "N", "replicas without which writes wait" },
    { "node", OPT_NODE, "NODE", "node that serves it: where hosts connect to" },
    OPTION_WAIT,
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax set_syntax = {
    .command = "trilith volume set",
    .operands = "NAME [--min-in-sync N] [--node NODE]",
    .about = "--min-in-sync changes how many replicas of a volume must be in sync for writes to\n"
             "go on.  Fewer bring back a volume whose writes wait for a disk that is gone for\n"
             "good; not more than are in sync now.  Hosts are disconnected for a moment, and\n"
             "connect again by themselves.\n\n"
             "--node lets another node serve a volume of several replicas, as when the one\n"
             "that does is gone, and waits until it does.  It has another address: hosts have\n"
             "to connect to it as 'trilith volume show' says.",
    .options = set_options,
    .option_count = ARRAY_COUNT(set_options),
    .operands_min = 1,
    .operands_max = 1,
};

/* The node goes on trying; the operator may know better. */
static int fail_unserved(const Trilith__V1__SetVolumeRequest *request, const Trilith__V1__Volume *v,
                         const char *node_before)
{
    const bool knows = node_before[0] != '\0';

    return cli_fail("volume '%s': node '%s' is to serve it, but does not yet: %s; 'trilith volume "
                    "set %s --node %s' lets %s serve it",
                    request->name, request->node, v->reason, request->name,
                    knows ? node_before : "NODE", knows ? "the one before" : "another one");
}

static int set_report(enum cli_format format, const ProtobufCMessage *request,
                      const ProtobufCMessage *reply)
{
    const Trilith__V1__SetVolumeResponse *r =
        (const Trilith__V1__SetVolumeResponse *)(const void *)reply;

    const Trilith__V1__SetVolumeRequest *asked =
        (const Trilith__V1__SetVolumeRequest *)(const void *)request;
    const Trilith__V1__Volume *v = r->volume;

    if (v == NULL)
        return cli_fail("the API answered without a volume");
    print_volume(format, v);
    if (asked->node[0] == '\0' || is_ready(v) ||
        v->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_DELETING)
        return COMMAND_OK;
    return fail_unserved(asked, v, r->node_before);
}

static int volume_set(int argc, char **argv)
{
    Trilith__V1__SetVolumeRequest request = TRILITH__V1__SET_VOLUME_REQUEST__INIT;
    struct volume_options o;
    struct cli_args args;

    if (!parse(&set_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = (char *)(uintptr_t)args.operands[0];
    request.min_in_sync = o.spec.min_in_sync;
    if (o.node != NULL && o.node[0] == '\0')
        return cli_usage(&args, "--node '' is not the name of a node");
    if (o.node != NULL)
        request.node = o.node;
    if (request.min_in_sync == 0 && o.node == NULL)
        return cli_usage(&args,
                         "volume '%s': what is to be changed? such as --min-in-sync 1, or --node "
                         "node-2",
                         request.name);
    request.wait_ms = (uint32_t)(o.wait_s * 1000);
    return api_run(&o.api, SERVICE, "SetVolume", &request.base, request.wait_ms, set_report);
}

/* ---- delete ---- */

static const struct cli_option delete_options[] = {
    { "force", OPT_FORCE, NULL, "also if hosts are connected" },
    OPTION_WAIT,
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax delete_syntax = {
    .command = "trilith volume delete",
    .operands = "NAME",
    .about = "Deletes a volume with all its data and waits until its space is free.",
    .options = delete_options,
    .option_count = ARRAY_COUNT(delete_options),
    .operands_min = 1,
    .operands_max = 1,
};

static const struct cli_column delete_columns[] = {
    { "name", "name", CLI_KIND_TEXT },
    { "gone", "gone", CLI_KIND_TEXT },
};

static int delete_report(enum cli_format format, const ProtobufCMessage *request,
                         const ProtobufCMessage *reply)
{
    const Trilith__V1__DeleteVolumeResponse *r =
        (const Trilith__V1__DeleteVolumeResponse *)(const void *)reply;
    const char *name = ((const Trilith__V1__DeleteVolumeRequest *)(const void *)request)->name;
    json_t *result = api_json(reply);

    json_object_set_new(result, "name", json_string(name));
    cli_print_record(format, result, delete_columns, ARRAY_COUNT(delete_columns));
    json_decref(result);
    if (r->gone)
        return COMMAND_OK;
    return cli_fail("volume '%s': it will be deleted, but is not gone yet: %s", name, r->reason);
}

static int volume_delete(int argc, char **argv)
{
    Trilith__V1__DeleteVolumeRequest request = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    struct volume_options o;
    struct cli_args args;

    if (!parse(&delete_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = (char *)(uintptr_t)args.operands[0];
    request.wait_ms = (uint32_t)(o.wait_s * 1000);
    request.force = o.force;
    return api_run(&o.api, SERVICE, "DeleteVolume", &request.base, request.wait_ms, delete_report);
}

static const struct command volume_commands[] = {
    { "create", "create a volume", volume_create },
    { "list", "list all volumes", volume_list },
    { "show", "show one volume, and how to connect to it", volume_show },
    { "resize", "make a volume larger", volume_resize },
    { "set", "change which node serves it, or how many replicas must be in sync", volume_set },
    { "delete", "delete a volume with its data", volume_delete },
    { "verify", "read all of a volume from its disks, and compare", cmd_volume_verify },
    { "wait", "wait until all replicas are in sync", cmd_volume_wait },
};

int cmd_volume(int argc, char **argv)
{
    return command_dispatch("trilith volume", volume_commands, ARRAY_COUNT(volume_commands), argc,
                            argv);
}
