/* SPDX-License-Identifier: Apache-2.0 */
/* trilith status */
#include <stdio.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "io/uring_features.h"
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
    { "sync changes", "group_changes", CLI_KIND_COUNT },
    { "sync commits", "group_commits", CLI_KIND_COUNT },
};

static const struct cli_column node_columns[] = {
    { "NODE", "name", CLI_KIND_TEXT },    { "ADDRESS", "address", CLI_KIND_TEXT },
    { "PORT", "port", CLI_KIND_COUNT },   { "CONNECTED", "connected", CLI_KIND_TEXT },
    { "DISKS", "disks", CLI_KIND_COUNT }, { "VOLUMES", "volumes", CLI_KIND_COUNT },
    { "IO", "io", CLI_KIND_TEXT },
};

/* For the table: what is missing of the kernel's features, so far as this program knows them. */
static void add_io(json_t *node, const Trilith__V1__NodeSummary *n)
{
    uint64_t features = 0;
    uint64_t one;

    if (!n->connected)
        return;
    for (size_t i = 0; i < n->n_io_features; i++)
        if (status_ok(uring_features_parse(n->io_features[i], &one)))
            features |= one;
    json_object_set_new(node, "io", json_string(uring_features_format_short(features).s));
}

static void print_nodes(json_t *nodes, const Trilith__V1__GetStatusResponse *r)
{
    for (size_t i = 0; i < r->n_nodes; i++)
        add_io(json_array_get(nodes, i), r->nodes[i]);
    cli_print_rows(CLI_FORMAT_TABLE, nodes, node_columns, ARRAY_COUNT(node_columns));
}

static int print_status(enum cli_format format, const ProtobufCMessage *request,
                        const ProtobufCMessage *reply)
{
    const Trilith__V1__GetStatusResponse *r =
        (const Trilith__V1__GetStatusResponse *)(const void *)reply;
    json_t *status = api_json(reply);

    (void)request;
    cli_print_record(format, status, summary_columns, ARRAY_COUNT(summary_columns));
    if (format == CLI_FORMAT_TABLE) {
        printf("\n");
        print_nodes(json_object_get(status, "nodes"), r);
        printf("\n%s\n", r->n_problems == 0 ? "all is well" : "problems:");
        for (size_t i = 0; i < r->n_problems; i++)
            printf("  %s\n", r->problems[i]);
    }
    json_decref(status);
    return r->n_problems == 0 ? COMMAND_OK : COMMAND_FAILED;
}

int cmd_status(int argc, char **argv)
{
    Trilith__V1__GetStatusRequest request = TRILITH__V1__GET_STATUS_REQUEST__INIT;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&status_syntax, argc, argv, &args, &o))
        return args.exit_status;
    return api_run(&o, &trilith__v1__status_service__descriptor, "GetStatus", &request.base, 0,
                   print_status);
}
