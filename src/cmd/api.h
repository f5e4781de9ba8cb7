/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands' way to the API: where it is, a call that says what failed, and replies as JSON.
 *
 * Threading: the main thread.   Memory: replies are lent to whoever prints them.
 */
#ifndef CMD_API_H
#define CMD_API_H

#include <jansson.h>

#include "cmd/cli.h"
#include "io/addr.h"
#include "nvme/nqn.h"
#include "rpc/client.h"

#define API_DEFAULT   "127.0.0.1:7420"
#define API_PORT      7420

#define API_OPTION_ID 900 /* No letter. */

/* The option that every command which asks the API has, beside CLI_OPTION_OUTPUT. */
#define API_OPTION                                                             \
    {                                                                          \
        "api", API_OPTION_ID, "ADDR:PORT",                                     \
            "address of the API (default $TRILITH_API, then\n" API_DEFAULT ")" \
    }

/* What these two options said. */
struct api_options {
    const char *api; /* NULL: TRILITH_API, then API_DEFAULT. */
    enum cli_format format;
};

/* Takes the option if it is one of the two.  False: it is not, or is wrong and that was said. */
bool api_option(struct cli_args *args, int id, struct api_options *o) MUST_CHECK;

/* Parses the command line of a command that has no others.  False: end with args->exit_status. */
bool api_parse(const struct cli_syntax *syntax, int argc, char **argv, struct cli_args *args,
               struct api_options *o) MUST_CHECK;

/* Prints the reply to a request.  Returns the exit status. */
typedef int api_report_fn(enum cli_format format, const ProtobufCMessage *request,
                          const ProtobufCMessage *reply);

/*
 * Makes one call, which the API may hold for wait_ms, and lets report print the reply; without one
 * there is nothing to print.  Returns report's exit status, or, when it was said on standard error
 * why there is no reply: COMMAND_USAGE if the API finds the request wrong, else COMMAND_FAILED.
 */
int api_run(const struct api_options *o, const ProtobufCServiceDescriptor *service,
            const char *method, const ProtobufCMessage *request, unsigned wait_ms,
            api_report_fn *report) MUST_CHECK;

/* ---- Several calls over one connection ---- */

struct api;

/* Nothing is connected before the first call.  NULL: it has said why. */
struct api *api_session_open(const struct api_options *o);
void api_session_close(struct api *api);

/* The exit status, when it was said why there is no reply; COMMAND_OK: *out_reply is one, for
 * rpc_message_free(). */
int api_session_call(struct api *api, const ProtobufCServiceDescriptor *service, const char *method,
                     const ProtobufCMessage *request, unsigned timeout_ms,
                     ProtobufCMessage **out_reply) MUST_CHECK;

/* Where a host finds a volume. */
struct api_volume {
    struct io_addr address;
    struct nqn_text nqn;
    uint64_t bytes;
};

/* Asks for the volume of this name, which must be ready.  False: it has said why. */
bool api_find_volume(const char *option, const char *name,
                     struct api_volume *out_volume) MUST_CHECK;

/*
 * A message as a JSON object with the names of its definition; enumerations as lower-case words
 * without their prefix ("ready").
 */
json_t *api_json(const ProtobufCMessage *message);

#endif
