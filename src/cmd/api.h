/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands' way to the API: where it is, a call that says what failed, and replies as JSON.
 *
 * Threading: the main thread.   Memory: replies are the caller's, for rpc_message_free().
 */
#ifndef CMD_API_H
#define CMD_API_H

#include <jansson.h>

#include "cmd/cli.h"
#include "io/addr.h"
#include "nvme/nqn.h"
#include "rpc/client.h"

#define API_ADDRESS_BYTES 128
#define API_DEFAULT       "127.0.0.1:7420"
#define API_PORT          7420
#define API_TIMEOUT_MS    15000u

struct api {
    struct rpc_client *client;
    char address[API_ADDRESS_BYTES];
};

#define API_OPTION_ID 900 /* No letter. */

/* The option that every command which asks the API has; its value goes to api_open(). */
#define API_OPTION                                                             \
    {                                                                          \
        "api", API_OPTION_ID, "ADDR:PORT",                                     \
            "address of the API (default $TRILITH_API, then\n" API_DEFAULT ")" \
    }

/*
 * Opens the API at option (NULL: TRILITH_API, then API_DEFAULT).  False: it has said why.
 * Nothing is connected yet; api_call() does.
 */
bool api_open(struct api *api, const char *option) MUST_CHECK;
void api_close(struct api *api);

/* Makes a call.  False: it failed, and why was said on standard error. */
bool api_call(struct api *api, const ProtobufCServiceDescriptor *service, const char *method,
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
