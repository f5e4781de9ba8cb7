/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/api.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "trilith/v1/volume.pb-c.h"

#define ADDRESS_BYTES 128
#define TIMEOUT_MS    15000u /* Beside what the API is asked to wait. */

struct api {
    struct rpc_client *client;
    char address[ADDRESS_BYTES];
};

/* ---- Options ---- */

bool api_option(struct cli_args *args, int id, struct api_options *o)
{
    if (id == 'o')
        return cli_output(args, &o->format);
    if (id != API_OPTION_ID)
        return false;
    o->api = args->value;
    return true;
}

bool api_parse(const struct cli_syntax *syntax, int argc, char **argv, struct cli_args *args,
               struct api_options *o)
{
    int id;

    *o = (struct api_options) { 0 };
    cli_begin(args, syntax, argc, argv);
    while ((id = cli_next(args)) != CLI_END)
        if (id == CLI_EXIT || !api_option(args, id, o))
            return false;
    return true;
}

/* ---- Where it is ---- */

static bool address_choose(const char *option, struct api *api)
{
    const char *from = option;
    struct io_addr addr;

    if (from == NULL)
        from = getenv("TRILITH_API");
    if (from == NULL || from[0] == '\0')
        from = API_DEFAULT;
    if (strlen(from) + sizeof ":65535" > sizeof api->address) {
        (void)cli_fail("the address of the API, '%.40s...', is too long", from);
        return false;
    }
    if (status_ok(io_addr_parse(from, API_PORT, &addr)))
        snprintf(api->address, sizeof api->address, "%s", io_addr_format(&addr).s);
    else if (strchr(from, ':') == NULL)
        snprintf(api->address, sizeof api->address, "%s:%d", from, API_PORT);
    else
        snprintf(api->address, sizeof api->address, "%s", from);
    return true;
}

/* Nothing is connected yet: the first call does that.  False: it has said why. */
static bool api_open(struct api *api, const char *option)
{
    *api = (struct api) { 0 };
    if (!address_choose(option, api))
        return false;
    rpc_library_init();
    const struct status st = rpc_client_open(api->address, &api->client);
    if (status_ok(st))
        return true;
    rpc_library_fini();
    if (status_is(st, STATUS_INVALID))
        (void)cli_fail("'%s' is not an address of an API; write 192.0.2.1:7420, [::1]:7420 or "
                       "name:7420",
                       api->address);
    else
        (void)cli_fail("API at %s: %s", api->address, status_text(st));
    return false;
}

static void api_close(struct api *api)
{
    rpc_client_close(api->client);
    rpc_library_fini();
}

/* ---- Calls ---- */

/* Whether the failure is the connection's, in gRPC's words, and not the controller's answer. */
static bool is_unreachable(const struct rpc_error *error)
{
    static const char *const words[] = {
        "failed to connect", "Socket closed", "onnection reset", "DNS", "GOAWAY",
        "onnection refused"
    };
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (error->code == RPC_UNAVAILABLE && strstr(error->text, words[i]) != NULL)
            return true;
    return false;
}

/* Whether our own deadline has passed, in gRPC's words; the controller has others. */
static bool is_overdue(const struct rpc_error *error)
{
    static const char words[] = "Deadline Exceeded";

    return error->code == RPC_DEADLINE_EXCEEDED &&
           (error->text[0] == '\0' || strncmp(error->text, words, strlen(words)) == 0);
}

/* Says why a call failed; the exit status. */
static int call_failed(const struct api *api, const struct rpc_error *error, unsigned timeout_ms)
{
    if (is_unreachable(error))
        return cli_fail("cannot reach the API at %s; is 'trilith up' running there?  --api or "
                        "TRILITH_API names another address (%s)",
                        api->address, error->text);
    if (is_overdue(error))
        return cli_fail("the API at %s did not answer within %u s", api->address,
                        timeout_ms / 1000);
    (void)cli_fail("%s", error->text[0] != '\0' ? error->text : rpc_code_name(error->code));
    return error->code == RPC_INVALID_ARGUMENT ? COMMAND_USAGE : COMMAND_FAILED;
}

int api_session_call(struct api *api, const ProtobufCServiceDescriptor *service, const char *method,
                     const ProtobufCMessage *request, unsigned timeout_ms,
                     ProtobufCMessage **out_reply)
{
    struct rpc_error error;
    unsigned index = 0;

    while (index < service->n_methods && strcmp(service->methods[index].name, method) != 0)
        index++;
    assert(index < service->n_methods);
    const struct status st =
        rpc_client_call(api->client, service, index, request, timeout_ms, out_reply, &error);
    return status_ok(st) ? COMMAND_OK : call_failed(api, &error, timeout_ms);
}

/* The same over a connection of its own. */
static int call(const char *address, const ProtobufCServiceDescriptor *service, const char *method,
                const ProtobufCMessage *request, unsigned timeout_ms, ProtobufCMessage **out_reply)
{
    struct api api;

    if (!api_open(&api, address))
        return COMMAND_FAILED;
    const int status = api_session_call(&api, service, method, request, timeout_ms, out_reply);
    api_close(&api);
    return status;
}

struct api *api_session_open(const struct api_options *o)
{
    struct api *const api = malloc(sizeof *api);

    if (api == NULL)
        (void)cli_fail("%s", status_text(STATUS(NO_MEMORY)));
    if (api == NULL || !api_open(api, o->api)) {
        free(api);
        return NULL;
    }
    return api;
}

void api_session_close(struct api *api)
{
    api_close(api);
    free(api);
}

int api_run(const struct api_options *o, const ProtobufCServiceDescriptor *service,
            const char *method, const ProtobufCMessage *request, unsigned wait_ms,
            api_report_fn *report)
{
    ProtobufCMessage *reply = NULL;
    int status = call(o->api, service, method, request, wait_ms + TIMEOUT_MS, &reply);

    if (status == COMMAND_OK && report != NULL)
        status = report(o->format, request, reply);
    rpc_message_free(reply);
    return status;
}

/* ---- A volume's place ---- */

static bool volume_take(const Trilith__V1__Volume *v, const char *name,
                        struct api_volume *out_volume)
{
    struct io_addr address = { 0 };

    if (v == NULL || v->spec == NULL || v->n_targets == 0 ||
        v->state != TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY) {
        (void)cli_fail("volume '%s': it is not ready: %s", name,
                       v != NULL && v->reason[0] != '\0' ? v->reason
                                                         : "'trilith volume show' says more");
        return false;
    }
    if (!status_ok(
            io_addr_parse(v->targets[0]->address, (uint16_t)v->targets[0]->port, &address)) ||
        strlen(v->nqn) >= sizeof out_volume->nqn.s) {
        (void)cli_fail("volume '%s': its address '%s' is none", name, v->targets[0]->address);
        return false;
    }
    out_volume->address = address;
    out_volume->bytes = v->spec->bytes;
    snprintf(out_volume->nqn.s, sizeof out_volume->nqn.s, "%s", v->nqn);
    return true;
}

bool api_find_volume(const char *option, const char *name, struct api_volume *out_volume)
{
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    bool ok = false;

    request.name = (char *)(uintptr_t)name;
    if (call(option, &trilith__v1__volume_service__descriptor, "GetVolume", &request.base,
             TIMEOUT_MS, &reply) == COMMAND_OK)
        ok = volume_take(((const Trilith__V1__GetVolumeResponse *)(const void *)reply)->volume,
                         name, out_volume);
    rpc_message_free(reply);
    return ok;
}
