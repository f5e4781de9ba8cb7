/* SPDX-License-Identifier: Apache-2.0 */
/* trilith scrub start | status | stop */
#include <stdio.h>
#include <time.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "trilith/v1/disk.pb-c.h"

#define SERVICE (&trilith__v1__disk_service__descriptor)

enum { OPT_RATE = 256 };

static const struct cli_option start_options[] = {
    { "rate", OPT_RATE, "SIZE", "of each disk that is read each second, at most (16M)" },
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax start_syntax = {
    .command = "trilith scrub start",
    .operands = "[DISK]",
    .about = "Begins to read all that has data, of one disk or of all, in the background, and to\n"
             "compare it with its checksums.  What is bad is repaired from another replica.",
    .options = start_options,
    .option_count = ARRAY_COUNT(start_options),
    .operands_max = 1,
};

static const struct cli_option other_options[] = { CLI_OPTION_OUTPUT, API_OPTION };

static const struct cli_syntax stop_syntax = {
    .command = "trilith scrub stop",
    .operands = "[DISK]",
    .about = "Ends the scrub of one disk, or of all, where it is.",
    .options = other_options,
    .option_count = ARRAY_COUNT(other_options),
    .operands_max = 1,
};

static const struct cli_syntax status_syntax = {
    .command = "trilith scrub status",
    .operands = "",
    .about =
        "Shows how far the scrub of each disk is, or the last one was, what it has found, and\n"
        "what could not be repaired.  The exit status is 1 if there is any.",
    .options = other_options,
    .option_count = ARRAY_COUNT(other_options),
};

/* ---- start, stop ---- */

static const struct cli_column begun_columns[] = { { "disks", "begun", CLI_KIND_COUNT } };
static const struct cli_column stopped_columns[] = { { "disks", "stopped", CLI_KIND_COUNT } };

static int start_report(enum cli_format format, const ProtobufCMessage *request,
                        const ProtobufCMessage *reply)
{
    json_t *const record = api_json(reply);

    (void)request;
    cli_print_record(format, record, begun_columns, ARRAY_COUNT(begun_columns));
    json_decref(record);
    return COMMAND_OK;
}

static int stop_report(enum cli_format format, const ProtobufCMessage *request,
                       const ProtobufCMessage *reply)
{
    json_t *const record = api_json(reply);

    (void)request;
    cli_print_record(format, record, stopped_columns, ARRAY_COUNT(stopped_columns));
    json_decref(record);
    return COMMAND_OK;
}

static int scrub_start(int argc, char **argv)
{
    Trilith__V1__StartScrubRequest request = TRILITH__V1__START_SCRUB_REQUEST__INIT;
    struct api_options o = { 0 };
    struct cli_args args;
    int id;

    cli_begin(&args, &start_syntax, argc, argv);
    while ((id = cli_next(&args)) != CLI_END) {
        if (id == CLI_EXIT)
            return args.exit_status;
        if (id == OPT_RATE ? !cli_size(&args, "rate", &request.bytes_per_s)
                           : !api_option(&args, id, &o))
            return args.exit_status;
    }
    if (args.operand_count > 0)
        request.disk = (char *)(uintptr_t)args.operands[0];
    return api_run(&o, SERVICE, "StartScrub", &request.base, 0, start_report);
}

static int scrub_stop(int argc, char **argv)
{
    Trilith__V1__StopScrubRequest request = TRILITH__V1__STOP_SCRUB_REQUEST__INIT;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&stop_syntax, argc, argv, &args, &o))
        return args.exit_status;
    if (args.operand_count > 0)
        request.disk = (char *)(uintptr_t)args.operands[0];
    return api_run(&o, SERVICE, "StopScrub", &request.base, 0, stop_report);
}

/* ---- status ---- */

static const struct cli_column status_columns[] = {
    { "DISK", "disk", CLI_KIND_TEXT },
    { "STATE", "state", CLI_KIND_TEXT },
    { "BEGUN", "begun", CLI_KIND_TEXT },
    { "READ", "done_bytes", CLI_KIND_SIZE },
    { "OF", "all_bytes", CLI_KIND_SIZE },
    { "FOUND", "found_blocks", CLI_KIND_COUNT },
    { "REPAIRED", "repaired_blocks", CLI_KIND_COUNT },
    { "NOT REPAIRED", "lost_blocks", CLI_KIND_COUNT },
    { "REASON", "reason", CLI_KIND_TEXT },
};

static const struct cli_column finding_columns[] = {
    { "DISK", "disk", CLI_KIND_TEXT },       { "VOLUME", "volume", CLI_KIND_TEXT },
    { "ADDRESS", "address", CLI_KIND_TEXT }, { "BYTES", "bytes", CLI_KIND_COUNT },
    { "SHARD", "shard", CLI_KIND_COUNT },    { "OFFSET", "shard_offset", CLI_KIND_COUNT },
    { "REASON", "reason", CLI_KIND_TEXT },
};

static json_t *scrub_row(const Trilith__V1__Scrub *s)
{
    json_t *const row = api_json(&s->base);
    const time_t begun_s = (time_t)(s->begun_unix_ms / 1000);
    char begun[32] = "";
    struct tm tm;

    if (localtime_r(&begun_s, &tm) != NULL)
        (void)strftime(begun, sizeof begun, "%Y-%m-%d %H:%M:%S", &tm);
    json_object_set_new(row, "begun", json_string(begun));
    return row;
}

static void add_findings(json_t *rows, const Trilith__V1__Scrub *s)
{
    for (size_t i = 0; i < s->n_findings; i++) {
        json_t *const row = api_json(&s->findings[i]->base);
        char address[24] = "-";

        if (s->findings[i]->offset != UINT64_MAX)
            snprintf(address, sizeof address, "%llu", (unsigned long long)s->findings[i]->offset);
        json_object_set_new(row, "address", json_string(address));
        json_object_set_new(row, "disk", json_string(s->disk));
        json_array_append_new(rows, row);
    }
}

static int status_report(enum cli_format format, const ProtobufCMessage *request,
                         const ProtobufCMessage *reply)
{
    const Trilith__V1__ListScrubsResponse *const r =
        (const Trilith__V1__ListScrubsResponse *)(const void *)reply;
    json_t *const rows = json_array();
    json_t *const findings = json_array();
    bool is_well = true;

    (void)request;
    for (size_t i = 0; i < r->n_scrubs; i++) {
        json_array_append_new(rows, scrub_row(r->scrubs[i]));
        add_findings(findings, r->scrubs[i]);
        is_well = is_well && r->scrubs[i]->lost_blocks == 0;
    }
    cli_print_rows(format, rows, status_columns, ARRAY_COUNT(status_columns));
    if (format == CLI_FORMAT_TABLE && json_array_size(findings) > 0) {
        printf("\nnot repaired:\n");
        cli_print_rows(format, findings, finding_columns, ARRAY_COUNT(finding_columns));
    }
    json_decref(findings);
    json_decref(rows);
    return is_well ? COMMAND_OK : cli_fail("some blocks are bad, and could not be repaired");
}

static int scrub_status(int argc, char **argv)
{
    Trilith__V1__ListScrubsRequest request = TRILITH__V1__LIST_SCRUBS_REQUEST__INIT;
    struct api_options o;
    struct cli_args args;

    if (!api_parse(&status_syntax, argc, argv, &args, &o))
        return args.exit_status;
    return api_run(&o, SERVICE, "ListScrubs", &request.base, 0, status_report);
}

static const struct command scrub_commands[] = {
    { "start", "read a disk, or all, in the background", scrub_start },
    { "status", "show how far that is, and what was found", scrub_status },
    { "stop", "end it", scrub_stop },
};

int cmd_scrub(int argc, char **argv)
{
    return command_dispatch("trilith scrub", scrub_commands, ARRAY_COUNT(scrub_commands), argc,
                            argv);
}
