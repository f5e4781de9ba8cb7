/* SPDX-License-Identifier: Apache-2.0 */
/* trilith disk list | show | check */
#include <stdio.h>
#include <string.h>

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
    { "NAME", "name", CLI_KIND_TEXT },       { "NODE", "node", CLI_KIND_TEXT },
    { "STATE", "state", CLI_KIND_TEXT },     { "SIZE", "bytes", CLI_KIND_SIZE },
    { "FREE", "free_bytes", CLI_KIND_SIZE }, { "PLANNED", "planned_bytes", CLI_KIND_SIZE },
    { "SHARDS", "shards", CLI_KIND_COUNT },  { "PATH", "path", CLI_KIND_TEXT },
};

static int disk_list(int argc, char **argv)
{
    Trilith__V1__ListDisksRequest request = TRILITH__V1__LIST_DISKS_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&list_syntax, argc, argv, &args, &o))
        return args.exit_status;
    const int status = api_call(&o, SERVICE, "ListDisks", &request.base, API_TIMEOUT_MS, &reply);
    if (status == COMMAND_OK) {
        json_t *all = api_json(reply);
        cli_print_rows(o.format, json_object_get(all, "disks"), list_columns,
                       ARRAY_COUNT(list_columns));
        json_decref(all);
    }
    rpc_message_free(reply);
    return status;
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
    { "size", "bytes", CLI_KIND_SIZE },
    { "free", "free_bytes", CLI_KIND_SIZE },
    { "planned", "planned_bytes", CLI_KIND_SIZE },
    { "shards", "shards", CLI_KIND_COUNT },
    { "atomic write", "atomic_bytes", CLI_KIND_SIZE },
    { "media errors", "media_errors", CLI_KIND_COUNT },
};

static int disk_show(int argc, char **argv)
{
    Trilith__V1__GetDiskRequest request = TRILITH__V1__GET_DISK_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&show_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = (char *)(uintptr_t)args.operands[0];
    const int status = api_call(&o, SERVICE, "GetDisk", &request.base, API_TIMEOUT_MS, &reply);
    if (status == COMMAND_OK) {
        json_t *all = api_json(reply);
        cli_print_record(o.format, json_object_get(all, "disk"), show_columns,
                         ARRAY_COUNT(show_columns));
        json_decref(all);
    }
    rpc_message_free(reply);
    return status;
}

/* ---- check ---- */

static const struct cli_option check_options[] = { CLI_OPTION_OUTPUT };

static const struct cli_syntax check_syntax = {
    .command = "trilith disk check",
    .operands = "PATH",
    .about = "Verifies everything on a disk that no 'trilith up' is using: structures, map and\n"
             "the checksum of every block.  It changes nothing, and prints every problem.\n"
             "Exit status 1: there are problems, or the disk could not be checked.",
    .options = check_options,
    .option_count = ARRAY_COUNT(check_options),
    .operands_min = 1,
    .operands_max = 1,
};

static int disk_check_command(int argc, char **argv)
{
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&check_syntax, argc, argv, &args, &o))
        return args.exit_status;
    return disk_check(args.operands[0], o.format);
}

static const struct command disk_commands[] = {
    { "list", "list all disks", disk_list },
    { "show", "show one disk", disk_show },
    { "check", "verify a disk offline", disk_check_command },
};

int cmd_disk(int argc, char **argv)
{
    return command_dispatch("trilith disk", disk_commands, ARRAY_COUNT(disk_commands), argc, argv);
}
