/* SPDX-License-Identifier: Apache-2.0 */
/* trilith disk list | show | add | grow | remove | check */
#include <stdint.h>
#include <time.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "cmd/disk_check.h"
#include "trilith/v1/disk.pb-c.h"

#define SERVICE (&trilith__v1__disk_service__descriptor)

/* ---- list ---- */

static const struct cli_option api_options[] = { CLI_OPTION_OUTPUT, API_OPTION };

static const struct cli_syntax list_syntax = {
    .command = "trilith disk list",
    .operands = "",
    .about = "Lists all disks of the cluster.",
    .options = api_options,
    .option_count = ARRAY_COUNT(api_options),
};

static const struct cli_column list_columns[] = {
    { "NAME", "name", CLI_KIND_TEXT },
    { "NODE", "node", CLI_KIND_TEXT },
    { "STATE", "state", CLI_KIND_TEXT },
    { "HEALTH", "health", CLI_KIND_TEXT },
    { "SIZE", "bytes", CLI_KIND_SIZE },
    { "FREE", "free_bytes", CLI_KIND_SIZE },
    { "PLANNED", "planned_bytes", CLI_KIND_SIZE },
    { "SHARDS", "shards", CLI_KIND_COUNT },
    { "PATH", "path", CLI_KIND_TEXT },
};

static int print_disks(enum cli_format format, const ProtobufCMessage *request,
                       const ProtobufCMessage *reply)
{
    json_t *all = api_json(reply);

    (void)request;
    cli_print_rows(format, json_object_get(all, "disks"), list_columns, ARRAY_COUNT(list_columns));
    json_decref(all);
    return COMMAND_OK;
}

static int disk_list(int argc, char **argv)
{
    Trilith__V1__ListDisksRequest request = TRILITH__V1__LIST_DISKS_REQUEST__INIT;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&list_syntax, argc, argv, &args, &o))
        return args.exit_status;
    return api_run(&o, SERVICE, "ListDisks", &request.base, 0, print_disks);
}

/* ---- show ---- */

static const struct cli_syntax show_syntax = {
    .command = "trilith disk show",
    .operands = "NAME",
    .about = "Shows one disk, named by its name or UUID.",
    .options = api_options,
    .option_count = ARRAY_COUNT(api_options),
    .operands_min = 1,
    .operands_max = 1,
};

static const struct cli_column show_columns[] = {
    { "name", "name", CLI_KIND_TEXT },
    { "uuid", "uuid", CLI_KIND_TEXT },
    { "node", "node", CLI_KIND_TEXT },
    { "path", "path", CLI_KIND_TEXT },
    { "backend", "backend", CLI_KIND_TEXT },
    { "model", "model", CLI_KIND_TEXT },
    { "serial", "serial", CLI_KIND_TEXT },
    { "state", "state", CLI_KIND_TEXT },
    { "reason", "reason", CLI_KIND_TEXT },
    { "health", "health", CLI_KIND_TEXT },
    { "health reason", "health_reason", CLI_KIND_TEXT },
    { "health since", "health_since", CLI_KIND_TEXT },
    { "read latency", "read_latency", CLI_KIND_TEXT },
    { "write latency", "write_latency", CLI_KIND_TEXT },
    { "device log", "device_log", CLI_KIND_TEXT },
    { "size", "bytes", CLI_KIND_SIZE },
    { "free", "free_bytes", CLI_KIND_SIZE },
    { "planned", "planned_bytes", CLI_KIND_SIZE },
    { "shards", "shards", CLI_KIND_COUNT },
    { "atomic write", "atomic_bytes", CLI_KIND_SIZE },
    { "media errors", "media_errors", CLI_KIND_COUNT },
    { "last scrub", "scrub_state", CLI_KIND_TEXT },
    { "scrub found", "found_blocks", CLI_KIND_COUNT },
    { "scrub repaired", "repaired_blocks", CLI_KIND_COUNT },
    { "not repaired", "lost_blocks", CLI_KIND_COUNT },
    { "checksum memory", "checksum_bytes", CLI_KIND_SIZE },
    { "checksum budget", "checksum_budget_bytes", CLI_KIND_SIZE },
};

/* For the table: as people read it. */
static void add_latency(json_t *disk, const char *key, const char *median, const char *most)
{
    const json_t *latency = json_object_get(disk, "latency");
    const json_int_t median_ns = json_integer_value(json_object_get(latency, median));
    const json_int_t most_ns = json_integer_value(json_object_get(latency, most));

    if (most_ns != 0)
        json_object_set_new(disk, key,
                            json_sprintf("%.3g ms, 99 of 100 below %.3g ms",
                                         (double)median_ns / 1e6, (double)most_ns / 1e6));
}

static void add_health(json_t *disk)
{
    const json_int_t ms = json_integer_value(json_object_get(disk, "health_since_unix_ms"));
    const time_t since_s = (time_t)(ms / 1000);
    char since[32] = "";
    struct tm tm;

    if (since_s != 0 && localtime_r(&since_s, &tm) != NULL)
        (void)strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &tm);
    json_object_set_new(disk, "health_since", json_string(since));
    add_latency(disk, "read_latency", "read_median_ns", "read_99_ns");
    add_latency(disk, "write_latency", "write_median_ns", "write_99_ns");
}

/* The counters of its last scrub beside what the disk has of its own. */
static void flatten_scrub(json_t *disk)
{
    static const char *const keys[] = { "found_blocks", "repaired_blocks", "lost_blocks" };
    const json_t *const scrub = json_object_get(disk, "scrub");

    json_object_set_new(disk, "scrub_state",
                        json_string(json_is_object(scrub)
                                        ? json_string_value(json_object_get(scrub, "state"))
                                        : "none"));
    for (size_t i = 0; i < ARRAY_COUNT(keys) && json_is_object(scrub); i++)
        json_object_set(disk, keys[i], json_object_get(scrub, keys[i]));
}

static int print_disk(enum cli_format format, const ProtobufCMessage *request,
                      const ProtobufCMessage *reply)
{
    json_t *all = api_json(reply);

    (void)request;
    if (format == CLI_FORMAT_TABLE) {
        add_health(json_object_get(all, "disk"));
        flatten_scrub(json_object_get(all, "disk"));
    }
    cli_print_record(format, json_object_get(all, "disk"), show_columns, ARRAY_COUNT(show_columns));
    json_decref(all);
    return COMMAND_OK;
}

static int disk_show(int argc, char **argv)
{
    Trilith__V1__GetDiskRequest request = TRILITH__V1__GET_DISK_REQUEST__INIT;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&show_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = (char *)(uintptr_t)args.operands[0];
    return api_run(&o, SERVICE, "GetDisk", &request.base, 0, print_disk);
}

/* ---- add, grow, remove and check ---- */

enum { OPT_NODE = 256, OPT_FORCE, OPT_WAIT, OPT_REPAIR };

#define OPTION_WAIT                                                                 \
    {                                                                               \
        "wait", OPT_WAIT, "SECONDS", "how long to wait for the node, 1 to 300 (30)" \
    }

struct disk_options {
    struct api_options api;
    const char *node;
    bool force;
    bool repair;
    uint64_t wait_s;
};

/* False: the command ends with args->exit_status. */
static bool parse(const struct cli_syntax *syntax, int argc, char **argv, struct cli_args *args,
                  struct disk_options *o)
{
    int id;

    *o = (struct disk_options) { .node = "", .wait_s = 30 };
    cli_begin(args, syntax, argc, argv);
    while ((id = cli_next(args)) != CLI_END) {
        bool ok = id != CLI_EXIT;
        if (id == OPT_NODE)
            o->node = args->value;
        else if (id == OPT_FORCE)
            o->force = true;
        else if (id == OPT_REPAIR)
            o->repair = true;
        else if (id == OPT_WAIT)
            ok = cli_number(args, "wait", 1, 300, &o->wait_s);
        else if (ok)
            ok = api_option(args, id, &o->api);
        if (!ok)
            return false;
    }
    return true;
}

static const struct cli_option add_options[] = {
    { "node", OPT_NODE, "NAME", "the node that has it (the only one)" },
    { "force", OPT_FORCE, NULL, "format it although it holds something else, which\nis lost" },
    OPTION_WAIT,
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax add_syntax = {
    .command = "trilith disk add",
    .operands = "PATH",
    .about = "Gives a running node one more disk: a file, partition or device.  A blank one is\n"
             "formatted, one of this cluster is taken up as it is.  Volumes that are created\n"
             "from now on may lie there.",
    .options = add_options,
    .option_count = ARRAY_COUNT(add_options),
    .operands_min = 1,
    .operands_max = 1,
};

static int disk_add(int argc, char **argv)
{
    Trilith__V1__AddDiskRequest request = TRILITH__V1__ADD_DISK_REQUEST__INIT;
    struct disk_options o;
    struct cli_args args;
    char path[PATH_MAX];

    if (!parse(&add_syntax, argc, argv, &args, &o))
        return args.exit_status;
    const int status = cli_disk_path(args.operands[0], path);
    if (status != COMMAND_OK)
        return status;
    request.path = path;
    request.node = (char *)(uintptr_t)o.node;
    request.force = o.force;
    request.wait_ms = (uint32_t)(o.wait_s * 1000);
    return api_run(&o.api, SERVICE, "AddDisk", &request.base, request.wait_ms, print_disk);
}

static const struct cli_option grow_options[] = { OPTION_WAIT, CLI_OPTION_OUTPUT, API_OPTION };

static const struct cli_syntax grow_syntax = {
    .command = "trilith disk grow",
    .operands = "NAME",
    .about =
        "Makes use of what a disk's file, partition or device has become larger by.  The disk,\n"
        "named by its name or UUID, is served all the time.  Make the device larger first,\n"
        "for example with 'truncate -s 2T FILE' or 'lvextend'.",
    .options = grow_options,
    .option_count = ARRAY_COUNT(grow_options),
    .operands_min = 1,
    .operands_max = 1,
};

static int disk_grow(int argc, char **argv)
{
    Trilith__V1__GrowDiskRequest request = TRILITH__V1__GROW_DISK_REQUEST__INIT;
    struct disk_options o;
    struct cli_args args;

    if (!parse(&grow_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = (char *)(uintptr_t)args.operands[0];
    request.wait_ms = (uint32_t)(o.wait_s * 1000);
    return api_run(&o.api, SERVICE, "GrowDisk", &request.base, request.wait_ms, print_disk);
}

static const struct cli_option remove_options[] = { OPTION_WAIT, CLI_OPTION_OUTPUT, API_OPTION };

static const struct cli_syntax remove_syntax = {
    .command = "trilith disk remove",
    .operands = "NAME",
    .about = "Takes a disk, named by its name or UUID, away from its node.  No shards may lie on\n"
             "it.  What is on the disk stays there, and it can be added again; a file that\n"
             "'trilith up' has made is deleted.",
    .options = remove_options,
    .option_count = ARRAY_COUNT(remove_options),
    .operands_min = 1,
    .operands_max = 1,
};

static int disk_remove(int argc, char **argv)
{
    Trilith__V1__RemoveDiskRequest request = TRILITH__V1__REMOVE_DISK_REQUEST__INIT;
    struct disk_options o;
    struct cli_args args;

    if (!parse(&remove_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = (char *)(uintptr_t)args.operands[0];
    request.wait_ms = (uint32_t)(o.wait_s * 1000);
    return api_run(&o.api, SERVICE, "RemoveDisk", &request.base, request.wait_ms, NULL);
}

/* ---- check ---- */

static const struct cli_option check_options[] = {
    { "repair", OPT_REPAIR, NULL, "write again what is there twice and damaged once" },
    CLI_OPTION_OUTPUT,
};

static const struct cli_syntax check_syntax = {
    .command = "trilith disk check",
    .operands = "PATH",
    .about = "Verifies everything on a disk that no 'trilith up' is using: structures, map and\n"
             "the checksum of every block.  It changes nothing without --repair, prints every\n"
             "problem, and says which of them --repair can repair.\n"
             "Exit status 1: problems remain, or the disk could not be checked or repaired.",
    .options = check_options,
    .option_count = ARRAY_COUNT(check_options),
    .operands_min = 1,
    .operands_max = 1,
};

static int disk_check_command(int argc, char **argv)
{
    struct disk_options o;
    struct cli_args args;

    if (!parse(&check_syntax, argc, argv, &args, &o))
        return args.exit_status;
    return disk_check(args.operands[0], o.api.format, o.repair);
}

static const struct command disk_commands[] = {
    { "list", "list all disks", disk_list },
    { "show", "show one disk", disk_show },
    { "add", "give a running node one more disk", disk_add },
    { "grow", "make use of what a disk's device has become larger by", disk_grow },
    { "remove", "take an empty disk away from its node", disk_remove },
    { "check", "verify a disk offline", disk_check_command },
};

int cmd_disk(int argc, char **argv)
{
    return command_dispatch("trilith disk", disk_commands, ARRAY_COUNT(disk_commands), argc, argv);
}
