/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gRPC server and client share: byte buffers, addresses, deadlines, threads.
 *
 * Threading: pure, but for grpc_adapter_thread().   Memory: as each says.
 */
#ifndef RPC_GRPC_INTERNAL_H
#define RPC_GRPC_INTERNAL_H

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>
#include <pthread.h>

#include "base/span.h"
#include "base/status.h"

#define GRPC_ADDRESS_BYTES 300

/* The boot-time clock, the wall clock, randomness. */
uint64_t grpc_adapter_now_ns(void);
uint64_t grpc_adapter_wall_ns(void);
void grpc_adapter_random(struct span out);

/* A deadline of gRPC for one of the boot-time clock; UINT64_MAX is never. */
gpr_timespec grpc_adapter_deadline(uint64_t deadline_ns);

/* Starts a thread with all signals blocked: they are the main thread's. */
struct status grpc_adapter_thread(pthread_t *out_thread, void *(*run)(void *ctx),
                                  void *ctx) MUST_CHECK;

/* The packed message as a byte buffer of gRPC's; grpc_byte_buffer_destroy() it. */
grpc_byte_buffer *grpc_adapter_pack(const ProtobufCMessage *message);

/* The bytes of a buffer in one piece; grpc_slice_unref() it.  Empty for NULL. */
grpc_slice grpc_adapter_slice(grpc_byte_buffer *buffer);

static inline struct const_span grpc_adapter_span(const grpc_slice *slice)
{
    return (struct const_span) { GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice) };
}

/* "/package.Service/Method". */
void grpc_adapter_path(const ProtobufCServiceDescriptor *service, unsigned method, char *out_path,
                       size_t bytes);

/* An argument of a channel or server that is a number. */
grpc_arg grpc_adapter_integer(const char *name, int value);

#endif
