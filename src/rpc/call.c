/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/call.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rpc/decode.h"

static const char *const code_names[RPC_CODE_COUNT] = {
    [RPC_OK] = "OK",
    [RPC_CANCELLED] = "CANCELLED",
    [RPC_UNKNOWN] = "UNKNOWN",
    [RPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [RPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [RPC_NOT_FOUND] = "NOT_FOUND",
    [RPC_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [RPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [RPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [RPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [RPC_ABORTED] = "ABORTED",
    [RPC_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [RPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [RPC_INTERNAL] = "INTERNAL",
    [RPC_UNAVAILABLE] = "UNAVAILABLE",
    [RPC_DATA_LOSS] = "DATA_LOSS",
    [RPC_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

/* One line per code; the first status named is what the code becomes again. */
static const struct {
    enum rpc_code code;
    enum status_code status;
} code_statuses[] = {
    { RPC_OK, STATUS_OK },
    { RPC_CANCELLED, STATUS_CANCELED },
    { RPC_INVALID_ARGUMENT, STATUS_INVALID },
    { RPC_DEADLINE_EXCEEDED, STATUS_TIMED_OUT },
    { RPC_NOT_FOUND, STATUS_NOT_FOUND },
    { RPC_ALREADY_EXISTS, STATUS_EXISTS },
    { RPC_PERMISSION_DENIED, STATUS_DENIED },
    { RPC_RESOURCE_EXHAUSTED, STATUS_NO_SPACE },
    { RPC_RESOURCE_EXHAUSTED, STATUS_NO_MEMORY },
    { RPC_RESOURCE_EXHAUSTED, STATUS_LIMIT },
    { RPC_FAILED_PRECONDITION, STATUS_FOREIGN },
    { RPC_FAILED_PRECONDITION, STATUS_BAD_VERSION },
    { RPC_ABORTED, STATUS_CONFLICT },
    { RPC_OUT_OF_RANGE, STATUS_OUT_OF_RANGE },
    { RPC_UNIMPLEMENTED, STATUS_UNSUPPORTED },
    { RPC_INTERNAL, STATUS_IO },
    { RPC_UNAVAILABLE, STATUS_UNAVAILABLE },
    { RPC_UNAVAILABLE, STATUS_BUSY },
    { RPC_UNAVAILABLE, STATUS_SHUTTING_DOWN },
    { RPC_DATA_LOSS, STATUS_CORRUPT },
    { RPC_UNAUTHENTICATED, STATUS_DENIED },
};

const char *rpc_code_name(enum rpc_code code)
{
    return (unsigned)code < RPC_CODE_COUNT ? code_names[code] : "UNKNOWN";
}

enum rpc_code rpc_code_of(struct status st)
{
    for (size_t i = 0; i < ARRAY_COUNT(code_statuses); i++)
        if (code_statuses[i].status == st.code)
            return code_statuses[i].code;
    return RPC_INTERNAL;
}

struct status rpc_status_of(enum rpc_code code)
{
    for (size_t i = 0; i < ARRAY_COUNT(code_statuses); i++)
        if (code_statuses[i].code == code)
            return (struct status) { code_statuses[i].status };
    return STATUS(IO);
}

void rpc_reply(struct rpc_call *call, const ProtobufCMessage *reply)
{
    assert(reply != NULL);
    call->ops->finish(call, RPC_OK, "", reply);
}

void rpc_fail(struct rpc_call *call, enum rpc_code code, const char *format, ...)
{
    char text[RPC_TEXT_BYTES];
    va_list ap;

    assert(code != RPC_OK);
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    call->ops->finish(call, code, text, NULL);
}

void rpc_dispatch(const struct rpc_service *service, unsigned method, struct const_span request,
                  struct rpc_call *call)
{
    ProtobufCMessage *message;
    char problem[RPC_TEXT_BYTES];

    assert(method < service->descriptor->n_methods);
    const ProtobufCMessageDescriptor *type = service->descriptor->methods[method].input;
    const struct status st = rpc_decode(type, request, &message, problem);
    if (!status_ok(st)) {
        rpc_fail(call, rpc_code_of(st), "%s", problem);
        return;
    }
    service->methods[method].handler(service->ctx, call, message);
    rpc_message_free(message);
}
