/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of the RPC layer, each with its reason.
 *
 * Threading: pure.   Memory: none.
 */
#ifndef RPC_LIMITS_H
#define RPC_LIMITS_H

/* The text of a failure, for people; longer ones are cut.  gRPC sends it in a header. */
#define RPC_TEXT_BYTES 512

/* A request that a server takes: the largest is a node's report of all its volumes
 * (node/agent_convert.c). */
#define RPC_REQUEST_BYTES_MAX (16u << 20)

/* A reply that a client takes: the largest is a node's whole part, with every placement and allowed
 * host (ctl/limits.h). */
#define RPC_REPLY_BYTES_MAX (96u << 20)

/* What one decoded message may take: an empty submessage of two bytes becomes about a hundred. */
#define RPC_DECODED_BYTES_MAX (256u << 20)
#define RPC_DECODED_PER_BYTE  64u
#define RPC_DECODED_BASE      (64u << 10)

/* Calls that a server has accepted and not answered; held watches count. */
#define RPC_CALLS_MAX 1024u

/* What nodes name, as 64 hexadecimal digits with a zero behind them, and under which key. */
#define RPC_TOKEN_BYTES 65
#define RPC_TOKEN_KEY   "trilith-token"

/* Of one connection, as HTTP/2 tells the client. */
#define RPC_CALLS_PER_CONNECTION_MAX 64

#endif
