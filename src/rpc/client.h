/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC client of one server: calls that wait for their answer, and calls that report it.
 *
 * The connection is made with the first call and again whenever it is lost; a call while the
 * server cannot be reached fails with RPC_UNAVAILABLE at once.
 *
 * Threading: rpc_client_call(), _start() and _cancel() from any thread.  done is called on the
 *            client's own thread, which whoever lives on a reactor leaves with reactor_post().
 *            rpc_library_init() must have been called.
 * Memory:    struct rpc_request is the caller's, from start until done.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "rpc/call.h"
#include "rpc/decode.h"

struct rpc_client;

struct rpc_error {
    enum rpc_code code;
    char text[RPC_TEXT_BYTES]; /* For people. */
};

/* address: "127.0.0.1:7420", "[::1]:7420" or "name:7420".  INVALID if it is none of these. */
struct status rpc_client_open(const char *address, struct rpc_client **out_client) MUST_CHECK;

/* Names the token in every call from now on; copied. */
void rpc_client_set_token(struct rpc_client *client, const char token[RPC_TOKEN_BYTES]);

/* Ends what is under way, and returns when all of it has been reported.  NULL is allowed. */
void rpc_client_close(struct rpc_client *client);

/* ---- A call that is waited for ---- */

/*
 * On success *out_reply is the answer, for rpc_message_free(); on failure the status stands for
 * out_error->code.
 */
struct status rpc_client_call(struct rpc_client *client, const ProtobufCServiceDescriptor *service,
                              unsigned method, const ProtobufCMessage *request, unsigned timeout_ms,
                              ProtobufCMessage **out_reply, struct rpc_error *out_error) MUST_CHECK;

/* ---- A call that reports ---- */

struct rpc_request {
    void (*done)(struct rpc_request *request); /* The last thing that touches the request. */
    ProtobufCMessage *reply; /* NULL unless error.code is RPC_OK; whoever reads done frees it. */
    struct rpc_error error;

    /* Private to grpc_client.c. */
    struct rpc_pending *pending;
};

/*
 * Starts a call.  done is called exactly once, on the client's thread.
 */
void rpc_client_start(struct rpc_client *client, const ProtobufCServiceDescriptor *service,
                      unsigned method, const ProtobufCMessage *request, unsigned timeout_ms,
                      struct rpc_request *out_request);

/* Makes it end soon; done still follows.  Nothing happens if it is ending already. */
void rpc_client_cancel(struct rpc_client *client, struct rpc_request *request);

#endif
