/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC server: one thread that takes calls, runs their handlers, timers and answers.
 *
 *     TRY(rpc_server_create(&server));
 *     rpc_server_add(server, &service);          before it starts
 *     TRY(rpc_server_listen(server, "127.0.0.1:7420", &port));
 *     TRY(rpc_server_start(server));
 *     ...
 *     rpc_server_stop(server);                   from any other thread; waits
 *
 * A method that nobody registered is UNIMPLEMENTED, a request above RPC_REQUEST_BYTES_MAX
 * RESOURCE_EXHAUSTED; calls above RPC_CALLS_MAX wait in gRPC until others have ended.
 *
 * Threading: create, add, listen, start, stop and destroy are the owner's; everything else
 *            happens on the server's thread.  rpc_library_init() must have been called.
 * Memory:    services are borrowed until the server is destroyed.
 */
#ifndef RPC_SERVER_H
#define RPC_SERVER_H

#include "rpc/call.h"
#include "rpc/loop.h"

#define RPC_SERVICES_MAX 16
#define RPC_METHODS_MAX  64

struct rpc_server;

struct status rpc_server_create(struct rpc_server **out_server) MUST_CHECK;

/* The loop of the server's thread; for timers and for turn_end. */
struct rpc_loop *rpc_server_loop(struct rpc_server *server);

/*
 * Services that are for nodes answer only calls that name this token, in the metadata
 * RPC_TOKEN_KEY; UNAUTHENTICATED otherwise.  Copied; before the start.
 */
void rpc_server_set_token(struct rpc_server *server, const char token[RPC_TOKEN_BYTES]);

void rpc_server_add(struct rpc_server *server, const struct rpc_service *service);

/*
 * Listens on an address such as "127.0.0.1:7420" or "[::]:7420", which is not yet served.  Port
 * 0 picks one.  BUSY if it cannot: most often another process has it.
 */
struct status rpc_server_listen(struct rpc_server *server, const char *address,
                                uint16_t *out_port) MUST_CHECK;

struct status rpc_server_start(struct rpc_server *server) MUST_CHECK;

/*
 * Takes no new calls, calls stopping on the server's thread (may be NULL), which must end the
 * calls that are kept, gives the rest grace_ms to end, cancels what is left, and returns when
 * the thread has ended.
 */
void rpc_server_stop(struct rpc_server *server, void (*stopping)(void *ctx), void *ctx,
                     unsigned grace_ms);

/* Not running.  NULL is allowed. */
void rpc_server_destroy(struct rpc_server *server);

#endif
