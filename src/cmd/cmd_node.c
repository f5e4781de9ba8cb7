/* SPDX-License-Identifier: Apache-2.0 */
/* trilith node list | show; run is in cmd_up.c, start and stop in cmd_node_process.c, loss in
 * cmd_node_loss.c */
#include <stdio.h>
#include <string.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "trilith/v1/status.pb-c.h"

#define SERVICE (&trilith__v1__status_service__descriptor)

static const struct cli_option options[] = { CLI_OPTION_OUTPUT, API_OPTION };

static const struct cli_column list_columns[] = {
    { "NODE", "name", CLI_KIND_TEXT },        { "ADDRESS", "address", CLI_KIND_TEXT },
    { "PORT", "port", CLI_KIND_COUNT },       { "CONNECTED", "connected", CLI_KIND_TEXT },
    { "ROLES", "roles", CLI_KIND_LIST },      { "ZONE", "zone", CLI_KIND_TEXT },
    { "RACK", "rack", CLI_KIND_TEXT },        { "DISKS", "disks", CLI_KIND_COUNT },
    { "VOLUMES", "volumes", CLI_KIND_COUNT }, { "UUID", "uuid", CLI_KIND_TEXT },
};

static const struct cli_column show_columns[] = {
    { "name", "name", CLI_KIND_TEXT },           { "uuid", "uuid", CLI_KIND_TEXT },
    { "address", "address", CLI_KIND_TEXT },     { "port", "port", CLI_KIND_COUNT },
    { "connected", "connected", CLI_KIND_TEXT }, { "roles", "roles", CLI_KIND_LIST },
    { "zone", "zone", CLI_KIND_TEXT },           { "rack", "rack", CLI_KIND_TEXT },
    { "disks", "disks", CLI_KIND_COUNT },        { "volumes", "volumes", CLI_KIND_COUNT },
    { "version", "version", CLI_KIND_TEXT },     { "io features", "io_features", CLI_KIND_LIST },
    { "refused", "refusals", CLI_KIND_LIST },
};

/* ---- list ---- */

static const struct cli_syntax list_syntax = {
    .command = "trilith node list",
    .operands = "",
    .about = "Lists all nodes that have joined the cluster.",
    .options = options,
    .option_count = ARRAY_COUNT(options),
};

static int list_report(enum cli_format format, const ProtobufCMessage *request,
                       const ProtobufCMessage *reply)
{
    json_t *status = api_json(reply);

    (void)request;
    cli_print_rows(format, json_object_get(status, "nodes"), list_columns,
                   ARRAY_COUNT(list_columns));
    json_decref(status);
    return COMMAND_OK;
}

static int node_list(int argc, char **argv)
{
    Trilith__V1__GetStatusRequest request = TRILITH__V1__GET_STATUS_REQUEST__INIT;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&list_syntax, argc, argv, &args, &o))
        return args.exit_status;
    return api_run(&o, SERVICE, "GetStatus", &request.base, 0, list_report);
}

/* ---- show ---- */

static const struct cli_syntax show_syntax = {
    .command = "trilith node show",
    .operands = "NAME",
    .about = "Shows one node, named by its name or UUID.",
    .options = options,
    .option_count = ARRAY_COUNT(options),
    .operands_min = 1,
    .operands_max = 1,
};

/* The request behind which the name travels to the report. */
struct show_request {
    Trilith__V1__GetStatusRequest request;
    const char *name;
};

/* For people; what else prints them is for programs. */
static json_t *refusal_texts(const Trilith__V1__NodeSummary *n)
{
    json_t *texts = json_array();
    char text[96];

    for (size_t i = 0; i < n->n_refusals; i++) {
        snprintf(text, sizeof text, "%.63s %llu", n->refusals[i]->status,
                 (unsigned long long)n->refusals[i]->count);
        json_array_append_new(texts, json_string(text));
    }
    return texts;
}

static int show_report(enum cli_format format, const ProtobufCMessage *request,
                       const ProtobufCMessage *reply)
{
    const char *name = ((const struct show_request *)(const void *)request)->name;
    const Trilith__V1__GetStatusResponse *r =
        (const Trilith__V1__GetStatusResponse *)(const void *)reply;

    for (size_t i = 0; i < r->n_nodes; i++) {
        if (strcmp(r->nodes[i]->name, name) != 0 && strcmp(r->nodes[i]->uuid, name) != 0)
            continue;
        json_t *node = api_json(&r->nodes[i]->base);
        if (format == CLI_FORMAT_TABLE)
            json_object_set_new(node, "refusals", refusal_texts(r->nodes[i]));
        cli_print_record(format, node, show_columns, ARRAY_COUNT(show_columns));
        json_decref(node);
        return COMMAND_OK;
    }
    return cli_fail("node '%.100s': there is none of this name; 'trilith node list' shows all",
                    name);
}

static int node_show(int argc, char **argv)
{
    struct show_request request = { .request = TRILITH__V1__GET_STATUS_REQUEST__INIT };
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&show_syntax, argc, argv, &args, &o))
        return args.exit_status;
    request.name = args.operands[0];
    return api_run(&o, SERVICE, "GetStatus", &request.request.base, 0, show_report);
}

static const struct command node_commands[] = {
    { "run", "run a node of a cluster whose controller runs elsewhere", cmd_node_run },
    { "start", "start a node that has run on this machine before", cmd_node_start },
    { "stop", "end a node that runs on this machine", cmd_node_stop },
    { "list", "list all nodes", node_list },
    { "show", "show one node", node_show },
    { "loss", "what would be lost if several nodes were lost at once", cmd_node_loss },
};

int cmd_node(int argc, char **argv)
{
    return command_dispatch("trilith node", node_commands, ARRAY_COUNT(node_commands), argc, argv);
}
