/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serving remote procedure calls, apart from how they arrive: services, their handlers, and the
 * call that a handler answers, now or later.
 *
 *   grpc_server.c | sim.c --> rpc_dispatch(): decode, check --> handler --> rpc_reply() |
 * rpc_fail()
 *
 * Threading: handlers, timers and answers are all on the thread of one struct rpc_loop.
 * Memory:    a request is lent to its handler for the call of it; a reply is packed at once.
 */
#ifndef RPC_CALL_H
#define RPC_CALL_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "rpc/limits.h"

/* gRPC's status codes, with its numbers. */
enum rpc_code {
    RPC_OK = 0,
    RPC_CANCELLED = 1,
    RPC_UNKNOWN = 2,
    RPC_INVALID_ARGUMENT = 3,
    RPC_DEADLINE_EXCEEDED = 4,
    RPC_NOT_FOUND = 5,
    RPC_ALREADY_EXISTS = 6,
    RPC_PERMISSION_DENIED = 7,
    RPC_RESOURCE_EXHAUSTED = 8,
    RPC_FAILED_PRECONDITION = 9,
    RPC_ABORTED = 10,
    RPC_OUT_OF_RANGE = 11,
    RPC_UNIMPLEMENTED = 12,
    RPC_INTERNAL = 13,
    RPC_UNAVAILABLE = 14,
    RPC_DATA_LOSS = 15,
    RPC_UNAUTHENTICATED = 16,
    RPC_CODE_COUNT
};

/* "INVALID_ARGUMENT". */
const char *rpc_code_name(enum rpc_code code);

/* The code that says of a status what a caller can do about it, and the other way round. */
enum rpc_code rpc_code_of(struct status st);
struct status rpc_status_of(enum rpc_code code) MUST_CHECK;

/* gRPC's globals: the program calls these once, before and after everything else of this layer. */
void rpc_library_init(void);
void rpc_library_fini(void);

/* ---- A call that is being served ---- */

struct rpc_call;

struct rpc_call_ops {
    /* Ends the call; reply is NULL unless code is RPC_OK. */
    void (*finish)(struct rpc_call *call, enum rpc_code code, const char *text,
                   const ProtobufCMessage *reply);
};

struct rpc_call {
    const struct rpc_call_ops *ops;

    /* For the handler that keeps the call to answer it later. */
    void (*canceled)(struct rpc_call *call); /* The caller has gone: end the call now. */
    void *ctx;
};

/* Ends the call, which is gone then.  Each call is ended once. */
void rpc_reply(struct rpc_call *call, const ProtobufCMessage *reply);
void rpc_fail(struct rpc_call *call, enum rpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- Services ---- */

typedef void rpc_handler_fn(void *ctx, struct rpc_call *call, const ProtobufCMessage *request);

struct rpc_method {
    const char *name;
    rpc_handler_fn *handler;
};

struct rpc_service {
    const ProtobufCServiceDescriptor *descriptor;
    const struct rpc_method *methods; /* descriptor->n_methods of them, in its order. */
    void *ctx;
    bool for_nodes; /* Only for callers that name the server's token, if it has one. */
};

/* Decodes and checks the request (rpc/decode.h), then calls the handler or fails the call. */
void rpc_dispatch(const struct rpc_service *service, unsigned method, struct const_span request,
                  struct rpc_call *call);

#endif
