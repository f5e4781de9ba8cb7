/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trilith volume verify: begins a verification, asks how far it is until it has ended, and prints
 * what was found.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "base/span.h"
#include "cmd/api.h"
#include "cmd/command.h"
#include "cmd/progress.h"
#include "trilith/v1/volume.pb-c.h"

#define SERVICE    (&trilith__v1__volume_service__descriptor)
#define TIMEOUT_MS 15000u
#define ASK_MS     250u /* How often progress is asked for. */

enum { OPT_RATE = 256 };

/* Set by the signal handler: the verification is to be stopped. */
static volatile sig_atomic_t interrupted;

struct verify_command {
    struct api_options options;
    uint64_t bytes_per_s;
    const char *name;
    struct api *api;
    struct progress progress;
    bool lost; /* The API knows of it no more, or cannot be reached: that was said. */
};

static const struct cli_option verify_options[] = {
    { "rate", OPT_RATE, "SIZE", "of the volume that is read each second, at most (256M)" },
    CLI_OPTION_OUTPUT,
    API_OPTION,
};

static const struct cli_syntax verify_syntax = {
    .command = "trilith volume verify",
    .operands = "NAME",
    .about = "Reads every block of every replica of a volume from the disks, checks it, and\n"
             "prints a SHA-256 of each replica, while hosts use the volume.  It mends nothing.\n"
             "The exit status is 0 only if all was read, without bad blocks, and is equal.",
    .options = verify_options,
    .option_count = ARRAY_COUNT(verify_options),
    .operands_min = 1,
    .operands_max = 1,
};

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* ---- Progress ---- */

static void tell_progress(struct verify_command *c, const Trilith__V1__Verification *v)
{
    const bool waits = v->state == TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_WAITING;
    const double part = v->bytes > 0 ? (double)v->done_bytes / (double)v->bytes : 0;
    char text[160];

    if (waits)
        snprintf(text, sizeof text, "volume '%s': waiting: %s", c->name, v->reason);
    else
        snprintf(text, sizeof text, "volume '%s': verified %s of %s", c->name,
                 size_format(v->done_bytes).s, size_format(v->bytes).s);
    progress_tell(&c->progress, ASK_MS, waits ? -1 : part, text);
}

/* ---- The report ---- */

static const struct cli_column record_columns[] = {
    { "volume", "volume", CLI_KIND_TEXT },
    { "size", "bytes", CLI_KIND_SIZE },
    { "result", "result", CLI_KIND_TEXT },
};

static const struct cli_column replica_columns[] = {
    { "REPLICA", "replica", CLI_KIND_COUNT },
    { "BAD BLOCKS", "bad_blocks", CLI_KIND_COUNT },
    { "DIFFERING", "differing_blocks", CLI_KIND_COUNT },
    { "NOT READ", "unread_bytes", CLI_KIND_SIZE },
    { "SHA-256", "digest", CLI_KIND_TEXT },
};

static const struct cli_column finding_columns[] = {
    { "ADDRESS", "offset", CLI_KIND_COUNT },  { "BYTES", "bytes", CLI_KIND_COUNT },
    { "REPLICA", "replica", CLI_KIND_COUNT }, { "DISK", "disk", CLI_KIND_TEXT },
    { "PROBLEM", "problem", CLI_KIND_TEXT },  { "REASON", "reason", CLI_KIND_TEXT },
};

static void print_tables(const Trilith__V1__Verification *v, json_t *record)
{
    size_t i;
    json_t *replica;

    json_object_set_new(record, "result",
                        json_string(v->good ? "all replicas were read, and are equal"
                                            : "not all is well: see below"));
    cli_print_record(CLI_FORMAT_TABLE, record, record_columns, ARRAY_COUNT(record_columns));
    json_array_foreach(json_object_get(record, "replicas"), i, replica)
        json_object_set_new(replica, "digest",
                            json_string(v->replicas[i]->whole ? v->replicas[i]->sha256
                                                              : "none: it was not read whole"));
    printf("\n");
    cli_print_rows(CLI_FORMAT_TABLE, json_object_get(record, "replicas"), replica_columns,
                   ARRAY_COUNT(replica_columns));
    if (v->n_findings == 0)
        return;
    printf("\n");
    cli_print_rows(CLI_FORMAT_TABLE, json_object_get(record, "findings"), finding_columns,
                   ARRAY_COUNT(finding_columns));
    if (v->findings_left > 0)
        printf("... and %" PRIu64 " more\n", v->findings_left);
}

static int report(const struct verify_command *c, const Trilith__V1__Verification *v)
{
    json_t *record;

    if (v->state != TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_ENDED)
        return cli_fail("volume '%s': the verification ended after %s of %s: %s", c->name,
                        size_format(v->done_bytes).s, size_format(v->bytes).s, v->reason);
    record = api_json(&v->base);
    if (c->options.format == CLI_FORMAT_TABLE)
        print_tables(v, record);
    else
        cli_print_record(CLI_FORMAT_JSON, record, record_columns, ARRAY_COUNT(record_columns));
    json_decref(record);
    if (v->good)
        return COMMAND_OK;
    return cli_fail("volume '%s': its replicas are not all whole and equal", c->name);
}

/* ---- The calls ---- */

static bool is_over(const Trilith__V1__Verification *v)
{
    return v->state == TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_ENDED ||
           v->state == TRILITH__V1__VERIFICATION_STATE__VERIFICATION_STATE_FAILED;
}

static void stop(struct verify_command *c, uint64_t id)
{
    Trilith__V1__StopVerificationRequest request = TRILITH__V1__STOP_VERIFICATION_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;

    request.id = id;
    /* If it cannot be told, it ends when nobody has asked for half a minute. */
    (void)!api_session_call(c->api, SERVICE, "StopVerification", &request.base, TIMEOUT_MS, &reply);
    rpc_message_free(reply);
}

/* Once more; true: it has ended, with *out_status. */
static bool ask(struct verify_command *c, uint64_t id, int *out_status)
{
    Trilith__V1__GetVerificationRequest request = TRILITH__V1__GET_VERIFICATION_REQUEST__INIT;
    const Trilith__V1__Verification *v = NULL;
    ProtobufCMessage *reply = NULL;
    bool over = true;

    request.id = id;
    *out_status =
        api_session_call(c->api, SERVICE, "GetVerification", &request.base, TIMEOUT_MS, &reply);
    c->lost = *out_status != COMMAND_OK;
    if (!c->lost)
        v = ((const Trilith__V1__GetVerificationResponse *)(const void *)reply)->verification;
    if (!c->lost && v == NULL) {
        *out_status = cli_fail("the API answered without a verification");
    } else if (v != NULL && is_over(v)) {
        progress_end(&c->progress);
        *out_status = report(c, v);
    } else if (v != NULL) {
        tell_progress(c, v);
        over = false;
    }
    rpc_message_free(reply);
    return over;
}

static int follow(struct verify_command *c, uint64_t id)
{
    const struct timespec pause = { .tv_nsec = ASK_MS * 1000000L };
    int status = COMMAND_FAILED;

    while (!interrupted && !ask(c, id, &status))
        (void)nanosleep(&pause, NULL);
    progress_end(&c->progress);
    if (interrupted)
        status = cli_fail("volume '%s': the verification was interrupted", c->name);
    if (!c->lost)
        stop(c, id);
    return status;
}

static int run(struct verify_command *c)
{
    Trilith__V1__StartVerificationRequest request = TRILITH__V1__START_VERIFICATION_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    uint64_t id = 0;

    request.name = (char *)(uintptr_t)c->name;
    request.bytes_per_s = c->bytes_per_s;
    const int status =
        api_session_call(c->api, SERVICE, "StartVerification", &request.base, TIMEOUT_MS, &reply);
    if (status != COMMAND_OK)
        return status;
    const Trilith__V1__Verification *v =
        ((const Trilith__V1__StartVerificationResponse *)(const void *)reply)->verification;
    if (v != NULL)
        id = v->id;
    rpc_message_free(reply);
    return id != 0 ? follow(c, id) : cli_fail("the API answered without a verification");
}

int cmd_volume_verify(int argc, char **argv)
{
    const struct sigaction action = { .sa_handler = on_signal };
    struct verify_command c = { 0 };
    struct cli_args args;
    int id;

    progress_init(&c.progress);
    cli_begin(&args, &verify_syntax, argc, argv);
    while ((id = cli_next(&args)) != CLI_END) {
        if (id == CLI_EXIT)
            return args.exit_status;
        if (id == OPT_RATE ? !cli_size(&args, "rate", &c.bytes_per_s)
                           : !api_option(&args, id, &c.options))
            return args.exit_status;
    }
    c.name = args.operands[0];
    c.api = api_session_open(&c.options);
    if (c.api == NULL)
        return COMMAND_FAILED;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    const int status = run(&c);
    api_session_close(c.api);
    return status;
}
