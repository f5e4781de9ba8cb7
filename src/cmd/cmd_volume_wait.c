/* SPDX-License-Identifier: Apache-2.0 */
/* trilith volume wait: until all replicas are in sync, as for whoever restarts nodes in turn. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/span.h"
#include "cmd/api.h"
#include "cmd/command.h"
#include "cmd/progress.h"
#include "trilith/v1/volume.pb-c.h"

#define SERVICE       (&trilith__v1__volume_service__descriptor)
#define CALL_MS       15000u
#define ASK_MS        250u
#define TIMEOUT_S_MAX (366u * 24 * 3600)

enum { OPT_TIMEOUT = 256 };

struct wait_command {
    struct api_options options;
    uint64_t timeout_s; /* 0: none. */
    const char *name;
    struct api *api;
    struct progress progress;
    double most; /* What was left when there was most to do: shards. */
};

static const struct cli_option wait_options[] = {
    { "timeout", OPT_TIMEOUT, "SECONDS", "give up after so long (default: never)" },
    API_OPTION,
};

static const struct cli_syntax wait_syntax = {
    .command = "trilith volume wait",
    .operands = "NAME",
    .about = "Waits until a volume is served and all its replicas are in sync, and shows how\n"
             "far that is.  Then another node can be stopped without leaving it short of one.",
    .options = wait_options,
    .option_count = ARRAY_COUNT(wait_options),
    .operands_min = 1,
    .operands_max = 1,
};

/* Shards of replicas that are out of sync; what has been copied of one counts as done. */
static double shards_left(const Trilith__V1__Volume *v)
{
    double left = 0;

    for (size_t n = 0; n < v->n_copysets; n++) {
        const Trilith__V1__VolumeCopyset *const c = v->copysets[n];
        for (size_t i = 0; i < c->n_replicas; i++) {
            const Trilith__V1__VolumeReplica *const r = c->replicas[i];
            const double done =
                r->resync_bytes > 0 ? (double)r->resynced_bytes / (double)r->resync_bytes : 0;
            left += r->in_sync ? 0 : c->shards * (1 - done);
        }
    }
    return left;
}

static bool is_in_sync(const Trilith__V1__Volume *v)
{
    for (size_t n = 0; n < v->n_copysets; n++) {
        for (size_t i = 0; i < v->copysets[n]->n_replicas; i++) {
            const Trilith__V1__VolumeReplica *const r = v->copysets[n]->replicas[i];
            if (!r->in_sync || r->problem[0] != '\0')
                return false;
        }
    }
    return v->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY;
}

/* Why it is not done yet. */
static const char *what_is_missing(const Trilith__V1__Volume *v)
{
    if (v->state != TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY)
        return v->reason[0] != '\0' ? v->reason : "it is not ready";
    return v->n_degraded > 0 ? v->degraded[0] : "a replica is not there";
}

static void tell(struct wait_command *c, const Trilith__V1__Volume *v)
{
    const double left = shards_left(v);
    char text[160];

    if (left > c->most)
        c->most = left;
    snprintf(text, sizeof text, "volume '%s': %s", c->name, what_is_missing(v));
    progress_tell(&c->progress, ASK_MS, c->most > 0 ? 1 - left / c->most : -1, text);
}

/* Asks once more; true: it is over, with *out_status. */
static bool ask(struct wait_command *c, bool last, int *out_status)
{
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    bool over = true;

    request.name = (char *)(uintptr_t)c->name;
    *out_status = api_session_call(c->api, SERVICE, "GetVolume", &request.base, CALL_MS, &reply);
    if (*out_status != COMMAND_OK)
        return true;
    const Trilith__V1__Volume *const v =
        ((const Trilith__V1__GetVolumeResponse *)(const void *)reply)->volume;
    if (v == NULL) {
        *out_status = cli_fail("the API answered without a volume");
    } else if (!is_in_sync(v) && last) {
        progress_end(&c->progress);
        *out_status = cli_fail("volume '%s': not in sync after %llu s: %s", c->name,
                               (unsigned long long)c->timeout_s, what_is_missing(v));
    } else if (!is_in_sync(v)) {
        tell(c, v);
        over = false;
    }
    rpc_message_free(reply);
    return over;
}

static int run(struct wait_command *c)
{
    const struct timespec pause = { .tv_nsec = ASK_MS * 1000000L };
    const uint64_t end_ms = c->timeout_s == 0 ? UINT64_MAX : cli_now_ms() + c->timeout_s * 1000;
    int status;

    while (!ask(c, cli_now_ms() >= end_ms, &status))
        (void)nanosleep(&pause, NULL);
    progress_end(&c->progress);
    return status;
}

int cmd_volume_wait(int argc, char **argv)
{
    struct wait_command c = { 0 };
    struct cli_args args;
    int id;

    progress_init(&c.progress);
    cli_begin(&args, &wait_syntax, argc, argv);
    while ((id = cli_next(&args)) != CLI_END) {
        if (id == CLI_EXIT)
            return args.exit_status;
        if (id == OPT_TIMEOUT ? !cli_number(&args, "timeout", 1, TIMEOUT_S_MAX, &c.timeout_s)
                              : !api_option(&args, id, &c.options))
            return args.exit_status;
    }
    c.name = args.operands[0];
    c.api = api_session_open(&c.options);
    if (c.api == NULL)
        return COMMAND_FAILED;
    const int status = run(&c);
    api_session_close(c.api);
    return status;
}
