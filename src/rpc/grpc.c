/* SPDX-License-Identifier: Apache-2.0 */
/* Where the RPC layer touches the operating system, and small helpers around gRPC's types. */
#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "rpc/call.h"
#include "rpc/grpc_internal.h"

/* gRPC's own lines say nothing that our errors do not, and are not meant for our users. */
static void drop_line(gpr_log_func_args *args)
{
    (void)args;
}

void rpc_library_init(void)
{
    gpr_set_log_function(drop_line);
    /* Names mean what they mean to every other program: getaddrinfo(), not c-ares. */
    setenv("GRPC_DNS_RESOLVER", "native", 0);
    /* Each client has a thread that waits: no timer has to look at its connection besides. */
    setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "0", 0);
    grpc_init();
}

void rpc_library_fini(void)
{
    grpc_shutdown_blocking();
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t grpc_adapter_now_ns(void)
{
    return clock_ns(CLOCK_BOOTTIME);
}

uint64_t grpc_adapter_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

void grpc_adapter_random(struct span out)
{
    /* Up to 256 bytes come whole, and nobody here asks for more. */
    assert(out.bytes <= 256);
    const ssize_t got = getrandom(out.at, out.bytes, 0);
    assert(got == (ssize_t)out.bytes);
}

gpr_timespec grpc_adapter_deadline(uint64_t deadline_ns)
{
    if (deadline_ns == UINT64_MAX)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    const uint64_t now_ns = grpc_adapter_now_ns();
    const uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_nanos((int64_t)left_ns, GPR_TIMESPAN));
}

struct status grpc_adapter_thread(pthread_t *out_thread, void *(*run)(void *ctx), void *ctx)
{
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int err = pthread_create(out_thread, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status_from_errno(err);
}

grpc_byte_buffer *grpc_adapter_pack(const ProtobufCMessage *message)
{
    const size_t bytes = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(bytes);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

grpc_slice grpc_adapter_slice(grpc_byte_buffer *buffer)
{
    grpc_byte_buffer_reader reader;

    if (buffer == NULL || !grpc_byte_buffer_reader_init(&reader, buffer))
        return grpc_empty_slice();
    const grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return slice;
}

void grpc_adapter_path(const ProtobufCServiceDescriptor *service, unsigned method, char *out_path,
                       size_t bytes)
{
    const int n = snprintf(out_path, bytes, "/%s/%s", service->name, service->methods[method].name);
    assert(n > 0 && (size_t)n < bytes);
}

grpc_arg grpc_adapter_integer(const char *name, int value)
{
    /* gRPC does not write to the name, and says so nowhere. */
    return (grpc_arg) { .type = GRPC_ARG_INTEGER,
                        .key = (char *)(uintptr_t)name,
                        .value.integer = value };
}
