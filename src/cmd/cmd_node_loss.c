/* SPDX-License-Identifier: Apache-2.0 */
/* trilith node loss */
#include <stdio.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "ctl/loss.h"
#include "trilith/v1/status.pb-c.h"

#define FAILURES_DEFAULT 4

enum { OPT_FAILURES = 256, OPT_VOLUME };

static const struct cli_option options[] = {
    { "failures", OPT_FAILURES, "N", "up to so many nodes, 1 to 8 (4)" },
    { "volume", OPT_VOLUME, "NAME", "of this volume alone" },
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax syntax = {
    .command = "trilith node loss",
    .operands = "",
    .about = "Says how probable it is that data is lost if 1, 2, ... nodes are lost at the same\n"
             "moment and for good, any of them with equal probability: as the copies lie, and as\n"
             "they would if each shard's had been put on nodes drawn at random.",
    .options = options,
    .option_count = ARRAY_COUNT(options),
};

static const struct cli_column columns[] = {
    { "NODES LOST", "failures", CLI_KIND_COUNT },  { "PROBABILITY", "placed_text", CLI_KIND_COUNT },
    { "SHARDS", "placed_shards", CLI_KIND_COUNT }, { "IF RANDOM", "random_text", CLI_KIND_COUNT },
    { "SHARDS", "random_shards", CLI_KIND_COUNT },
};

/* The request behind which the rows travel to the report. */
struct loss_request {
    Trilith__V1__GetLossRequest request;
    json_t *rows;
};

static json_t *percent(double probability)
{
    return json_sprintf("%.3g%%", probability * 100);
}

static void add_figures(json_t *row, const Trilith__V1__GetLossResponse *r)
{
    json_object_set_new(
        row, "placed_text",
        r->exact ? percent(r->placed->probability)
                 : json_sprintf("%.3g%% to %.3g%%", r->at_least * 100, r->at_most * 100));
    json_object_set_new(row, "random_text", percent(r->random->probability));
    json_object_set_new(row, "placed_shards", json_sprintf("%.4g", r->placed->shards));
    json_object_set_new(row, "random_shards", json_sprintf("%.4g", r->random->shards));
}

static int take_row(enum cli_format format, const ProtobufCMessage *request,
                    const ProtobufCMessage *reply)
{
    json_t *const rows = ((const struct loss_request *)(const void *)request)->rows;
    const Trilith__V1__GetLossResponse *r =
        (const Trilith__V1__GetLossResponse *)(const void *)reply;

    if (r->placed == NULL || r->random == NULL)
        return cli_fail("the API answered without figures");
    json_t *row = api_json(reply);
    if (format == CLI_FORMAT_TABLE)
        add_figures(row, r);
    json_array_append_new(rows, row);
    return COMMAND_OK;
}

static uint64_t last(const json_t *rows, const char *key)
{
    const json_t *row = json_array_get(rows, json_array_size(rows) - 1);

    return (uint64_t)json_integer_value(json_object_get(row, key));
}

static void print(const struct api_options *o, const json_t *rows)
{
    if (o->format == CLI_FORMAT_TABLE)
        printf("%llu shards on %llu sets of nodes, of %llu nodes\n\n",
               (unsigned long long)last(rows, "shards"), (unsigned long long)last(rows, "copysets"),
               (unsigned long long)last(rows, "nodes"));
    cli_print_rows(o->format, rows, columns, ARRAY_COUNT(columns));
}

/* A call for each number: none keeps the controller for long. */
static int run(const struct api_options *o, struct loss_request *request, uint64_t failures)
{
    int exit_status = COMMAND_OK;

    for (uint32_t k = 1; k <= failures && exit_status == COMMAND_OK; k++) {
        request->request.failures = k;
        exit_status = api_run(o, &trilith__v1__status_service__descriptor, "GetLoss",
                              &request->request.base, 0, take_row);
        if (exit_status == COMMAND_OK && k >= last(request->rows, "nodes"))
            break; /* All of them: there are no more. */
    }
    if (exit_status == COMMAND_OK)
        print(o, request->rows);
    return exit_status;
}

int cmd_node_loss(int argc, char **argv)
{
    struct loss_request request = { .request = TRILITH__V1__GET_LOSS_REQUEST__INIT };
    struct api_options o = { 0 };
    uint64_t failures = FAILURES_DEFAULT;
    struct cli_args args;
    int id;

    cli_begin(&args, &syntax, argc, argv);
    while ((id = cli_next(&args)) != CLI_END) {
        bool good = id != CLI_EXIT;
        if (id == OPT_FAILURES)
            good = cli_number(&args, "failures", 1, LOSS_FAILURES_MAX, &failures);
        else if (id == OPT_VOLUME)
            request.request.volume = (char *)(uintptr_t)args.value;
        else if (good)
            good = api_option(&args, id, &o);
        if (!good)
            return args.exit_status;
    }
    request.rows = json_array();
    const int exit_status = run(&o, &request, failures);
    json_decref(request.rows);
    return exit_status;
}
