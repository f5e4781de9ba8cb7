/* SPDX-License-Identifier: Apache-2.0 */
/* trilith status */
#include <stdio.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "trilith/v1/status.pb-c.h"

static const struct cli_option status_options[] = { CLI_OPTION_OUTPUT, API_OPTION };

static const struct cli_syntax status_syntax = {
    .command = "trilith status",
    .operands = "",
    .about = "Shows the cluster at a glance: nodes, disks, volumes, and what is wrong.\n"
             "Exit status 1: something is wrong, or the API cannot be reached.",
    .options = status_options,
    .option_count = ARRAY_COUNT(status_options),
};

static const struct cli_column summary_columns[] = {
    { "cluster", "cluster", CLI_KIND_TEXT },
    { "uuid", "cluster_uuid", CLI_KIND_TEXT },
    { "version", "version", CLI_KIND_TEXT },
    { "controllers", "controllers", CLI_KIND_LIST },
    { "volumes", "volumes", CLI_KIND_COUNT },
    { "volumes ready", "volumes_ready", CLI_KIND_COUNT },
    { "disks", "disks", CLI_KIND_COUNT },
    { "disks ready", "disks_ready", CLI_KIND_COUNT },
    { "capacity", "bytes", CLI_KIND_SIZE },
    { "free", "free_bytes", CLI_KIND_SIZE },
    { "planned", "planned_bytes", CLI_KIND_SIZE },
};

static const struct cli_column node_columns[] = {
    { "NODE", "name", CLI_KIND_TEXT },    { "ADDRESS", "address", CLI_KIND_TEXT },
    { "PORT", "port", CLI_KIND_COUNT },   { "CONNECTED", "connected", CLI_KIND_TEXT },
    { "DISKS", "disks", CLI_KIND_COUNT }, { "VOLUMES", "volumes", CLI_KIND_COUNT },
};

static void print_status(enum cli_format format, const Trilith__V1__GetStatusResponse *r)
{
    json_t *status = api_json(&r->base);

    cli_print_record(format, status, summary_columns, ARRAY_COUNT(summary_columns));
    if (format == CLI_FORMAT_TABLE) {
        printf("\n");
        cli_print_rows(format, json_object_get(status, "nodes"), node_columns,
                       ARRAY_COUNT(node_columns));
        printf("\n%s\n", r->n_problems == 0 ? "all is well" : "problems:");
        for (size_t i = 0; i < r->n_problems; i++)
            printf("  %s\n", r->problems[i]);
    }
    json_decref(status);
}

int cmd_status(int argc, char **argv)
{
    Trilith__V1__GetStatusRequest request = TRILITH__V1__GET_STATUS_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&status_syntax, argc, argv, &args, &o))
        return args.exit_status;
    int status = api_call(&o, &trilith__v1__status_service__descriptor, "GetStatus", &request.base,
                          API_TIMEOUT_MS, &reply);
    if (status == COMMAND_OK) {
        const Trilith__V1__GetStatusResponse *r =
            (const Trilith__V1__GetStatusResponse *)(const void *)reply;
        print_status(o.format, r);
        status = r->n_problems == 0 ? COMMAND_OK : COMMAND_FAILED;
    }
    rpc_message_free(reply);
    return status;
}
