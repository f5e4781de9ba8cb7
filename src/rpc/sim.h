/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulated RPC: a loop with virtual time and seeded randomness, and calls that arrive from the
 * same thread.  Tests and the fuzzer of the API drive the controller with it.
 *
 * Threading: one thread.   Memory: a call owns the reply that it received.
 */
#ifndef RPC_SIM_H
#define RPC_SIM_H

#include "base/rng.h"
#include "rpc/call.h"
#include "rpc/decode.h"
#include "rpc/loop.h"

struct rpc_sim {
    struct rpc_loop loop;
    uint64_t now_ns;
    struct rng rng;
};

struct rpc_sim_call {
    struct rpc_call base;
    bool ended;
    enum rpc_code code;
    char text[RPC_TEXT_BYTES];
    ProtobufCMessage *reply; /* NULL unless code is RPC_OK. */
};

void rpc_sim_init(struct rpc_sim *sim, uint64_t seed);

/* Lets time pass, timer by timer. */
void rpc_sim_advance(struct rpc_sim *sim, uint64_t ns);

/* Makes a call; it may have ended when this returns, or end later. */
void rpc_sim_start(struct rpc_sim *sim, const struct rpc_service *service, unsigned method,
                   const ProtobufCMessage *request, struct rpc_sim_call *call);
void rpc_sim_start_bytes(struct rpc_sim *sim, const struct rpc_service *service, unsigned method,
                         struct const_span request, struct rpc_sim_call *call);

/* The caller goes away: the handler must end the call. */
void rpc_sim_cancel(struct rpc_sim *sim, struct rpc_sim_call *call);

/* Frees what an ended call has received. */
void rpc_sim_call_fini(struct rpc_sim_call *call);

#endif
