/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/server.h"

#include <assert.h>
#include <grpc/grpc_security.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/grpc_internal.h"

/*
 * The tags on the completion queue.  A call waits for up to two things at once: that its answer
 * was sent, and that it was closed (by the answer or by the caller, who then has gone).
 */
enum tag_kind { TAG_NEW_CALL, TAG_UNKNOWN_CALL, TAG_SENT, TAG_CLOSED, TAG_SHUT_DOWN };

struct tag {
    enum tag_kind kind;
};

struct registered_method {
    struct tag new_call;
    struct rpc_server *server;
    const struct rpc_service *service;
    unsigned index;
    void *handle; /* gRPC's. */
    bool asked;   /* A request for its next call is with gRPC. */

    /* Filled by gRPC when a call arrives. */
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload;
};

/* A call of a method that nobody has registered. */
struct unknown_method {
    struct tag new_call;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

struct server_call {
    struct rpc_call base;
    struct rpc_server *server;
    grpc_call *call;
    struct tag sent;
    struct tag closed;
    int was_canceled; /* Filled by gRPC. */
    bool finished;    /* The handler has answered. */
    bool is_sent;
    bool is_closed;
    grpc_byte_buffer *reply;
    grpc_slice text;
};

struct rpc_server {
    struct rpc_loop loop;
    grpc_server *server;
    grpc_completion_queue *queue;
    pthread_t thread;
    bool running;
    unsigned method_count;
    struct registered_method methods[RPC_METHODS_MAX];
    struct unknown_method unknown;
    unsigned call_count;
    char token[RPC_TOKEN_BYTES]; /* "": none. */

    struct tag shut_down;
    bool closing;
    /* Written by rpc_server_stop() before the shutdown that makes the thread read them. */
    void (*stopping)(void *ctx);
    void *stopping_ctx;
};

/* ---- The loop ---- */

static uint64_t loop_now_ns(struct rpc_loop *loop)
{
    (void)loop;
    return grpc_adapter_now_ns();
}

static uint64_t loop_wall_ns(struct rpc_loop *loop)
{
    (void)loop;
    return grpc_adapter_wall_ns();
}

static void loop_random(struct rpc_loop *loop, struct span out)
{
    (void)loop;
    grpc_adapter_random(out);
}

static const struct rpc_loop_ops loop_ops = { loop_now_ns, loop_wall_ns, loop_random };

/* ---- Calls ---- */

/* Asks gRPC for the next call of a method, unless enough are being served. */
static void ask_next(struct registered_method *m)
{
    struct rpc_server *s = m->server;

    if (m->asked || s->closing || s->call_count >= RPC_CALLS_MAX)
        return;
    m->payload = NULL;
    m->metadata.count = 0; /* gRPC appends. */
    const grpc_call_error error = grpc_server_request_registered_call(
        s->server, m->handle, &m->call, &m->deadline, &m->metadata, &m->payload, s->queue, s->queue,
        &m->new_call);
    assert(error == GRPC_CALL_OK);
    m->asked = true;
}

static void ask_unknown(struct rpc_server *s)
{
    if (s->closing)
        return;
    s->unknown.metadata.count = 0;
    const grpc_call_error error =
        grpc_server_request_call(s->server, &s->unknown.call, &s->unknown.details,
                                 &s->unknown.metadata, s->queue, s->queue, &s->unknown.new_call);
    assert(error == GRPC_CALL_OK);
}

static void ask_all(struct rpc_server *s)
{
    for (unsigned i = 0; i < s->method_count; i++)
        ask_next(&s->methods[i]);
}

static void call_free_if_over(struct server_call *c)
{
    struct rpc_server *s = c->server;

    if (!c->is_sent || !c->is_closed)
        return;
    if (c->reply != NULL)
        grpc_byte_buffer_destroy(c->reply);
    grpc_slice_unref(c->text);
    grpc_call_unref(c->call);
    free(c);
    s->call_count--;
    ask_all(s);
}

static void call_finish(struct rpc_call *base, enum rpc_code code, const char *text,
                        const ProtobufCMessage *reply)
{
    struct server_call *c = CONTAINER_OF(base, struct server_call, base);
    grpc_op ops[3] = { 0 };
    size_t count = 0;

    assert(!c->finished);
    c->finished = true;
    c->text = grpc_slice_from_copied_string(text);
    ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (reply != NULL) {
        c->reply = grpc_adapter_pack(reply);
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = c->reply;
    }
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status = (grpc_status_code)code;
    ops[count++].data.send_status_from_server.status_details = &c->text;
    const grpc_call_error error = grpc_call_start_batch(c->call, ops, count, &c->sent, NULL);
    assert(error == GRPC_CALL_OK);
}

static const struct rpc_call_ops call_ops = { call_finish };

/* From here on gRPC says when the call is over, also if the caller goes away. */
static void call_expect_close(struct server_call *c)
{
    grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
    op.data.recv_close_on_server.cancelled = &c->was_canceled;
    const grpc_call_error error = grpc_call_start_batch(c->call, &op, 1, &c->closed, NULL);
    assert(error == GRPC_CALL_OK);
}

static struct server_call *call_create(struct rpc_server *s, grpc_call *call)
{
    struct server_call *c = calloc(1, sizeof *c);

    assert(c != NULL);
    *c = (struct server_call) { .base.ops = &call_ops,
                                .server = s,
                                .call = call,
                                .sent = { TAG_SENT },
                                .closed = { TAG_CLOSED },
                                .text = grpc_empty_slice() };
    s->call_count++;
    call_expect_close(c);
    return c;
}

/* Takes as long for a token that is nearly right as for any other of its length. */
static bool is_token(const struct rpc_server *s, const grpc_slice *value)
{
    const uint8_t *const given = GRPC_SLICE_START_PTR(*value);
    const size_t bytes = strlen(s->token);
    unsigned differs = 0;

    if (GRPC_SLICE_LENGTH(*value) != bytes)
        return false;
    for (size_t i = 0; i < bytes; i++)
        differs |= (unsigned)given[i] ^ (uint8_t)s->token[i];
    return differs == 0;
}

/* Whether the call may be made. */
static bool is_admitted(const struct registered_method *m)
{
    if (!m->service->for_nodes || m->server->token[0] == '\0')
        return true;
    for (size_t i = 0; i < m->metadata.count; i++) {
        const grpc_metadata *const entry = &m->metadata.metadata[i];
        if (grpc_slice_str_cmp(entry->key, RPC_TOKEN_KEY) == 0)
            return is_token(m->server, &entry->value);
    }
    return false;
}

static void call_begin(struct registered_method *m)
{
    struct server_call *c = call_create(m->server, m->call);
    grpc_byte_buffer *payload = m->payload;
    const bool admitted = is_admitted(m);

    ask_next(m);

    const grpc_slice request = grpc_adapter_slice(payload);
    if (admitted)
        rpc_dispatch(m->service, m->index, grpc_adapter_span(&request), &c->base);
    else
        rpc_fail(&c->base, RPC_UNAUTHENTICATED,
                 "the cluster's token is missing or wrong: it is in DIR/token of its controller");
    grpc_slice_unref(request);
    if (payload != NULL)
        grpc_byte_buffer_destroy(payload);
}

/* A request that ends without a call is how the thread learns of the shutdown. */
static void on_new_call(struct registered_method *m, bool ok)
{
    struct rpc_server *s = m->server;

    m->asked = false;
    if (ok) {
        call_begin(m);
    } else if (!s->closing) {
        s->closing = true;
        if (s->stopping != NULL)
            s->stopping(s->stopping_ctx);
    }
}

static void on_unknown_call(struct rpc_server *s, bool ok)
{
    if (!ok)
        return;
    struct server_call *c = call_create(s, s->unknown.call);
    rpc_fail(&c->base, RPC_UNIMPLEMENTED, "this server has no such method");
    grpc_call_details_destroy(&s->unknown.details);
    grpc_call_details_init(&s->unknown.details);
    ask_unknown(s);
}

static void on_closed(struct server_call *c)
{
    c->is_closed = true;
    if (!c->finished && c->base.canceled != NULL)
        c->base.canceled(&c->base);
    call_free_if_over(c);
}

static void on_sent(struct server_call *c)
{
    c->is_sent = true;
    call_free_if_over(c);
}

/* ---- The thread ---- */

static void on_event(struct rpc_server *s, struct tag *tag, bool ok)
{
    switch (tag->kind) {
    case TAG_NEW_CALL:
        on_new_call(CONTAINER_OF(tag, struct registered_method, new_call), ok);
        break;
    case TAG_UNKNOWN_CALL:
        on_unknown_call(s, ok);
        break;
    case TAG_SENT:
        on_sent(CONTAINER_OF(tag, struct server_call, sent));
        break;
    case TAG_CLOSED:
        on_closed(CONTAINER_OF(tag, struct server_call, closed));
        break;
    case TAG_SHUT_DOWN:
        grpc_completion_queue_shutdown(s->queue);
        break;
    }
}

static void *server_run(void *ctx)
{
    struct rpc_server *s = ctx;

    ask_all(s);
    ask_unknown(s);
    for (;;) {
        const gpr_timespec deadline = grpc_adapter_deadline(rpc_loop_deadline_ns(&s->loop));
        const grpc_event event = grpc_completion_queue_next(s->queue, deadline, NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        if (event.type == GRPC_OP_COMPLETE)
            on_event(s, event.tag, event.success != 0);
        rpc_loop_turn(&s->loop);
    }
}

/* ---- The owner's side ---- */

struct status rpc_server_create(struct rpc_server **out_server)
{
    struct rpc_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return STATUS(NO_MEMORY);

    grpc_arg args[] = {
        /* Otherwise a second server could take the same port, and half of the calls. */
        grpc_adapter_integer(GRPC_ARG_ALLOW_REUSEPORT, 0),
        grpc_adapter_integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)RPC_REQUEST_BYTES_MAX),
        /* It would measure the connection at each call, by a ping and timers: that is wake-ups, and
           only helps megabytes over a long way. */
        grpc_adapter_integer(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        grpc_adapter_integer(GRPC_ARG_MAX_CONCURRENT_STREAMS, RPC_CALLS_PER_CONNECTION_MAX),
    };
    const grpc_channel_args channel_args = { ARRAY_COUNT(args), args };

    rpc_loop_init(&s->loop, &loop_ops);
    s->shut_down.kind = TAG_SHUT_DOWN;
    s->unknown.new_call.kind = TAG_UNKNOWN_CALL;
    grpc_call_details_init(&s->unknown.details);
    grpc_metadata_array_init(&s->unknown.metadata);
    s->queue = grpc_completion_queue_create_for_next(NULL);
    s->server = grpc_server_create(&channel_args, NULL);
    grpc_server_register_completion_queue(s->server, s->queue, NULL);
    *out_server = s;
    return STATUS(OK);
}

struct rpc_loop *rpc_server_loop(struct rpc_server *server)
{
    return &server->loop;
}

void rpc_server_set_token(struct rpc_server *server, const char token[RPC_TOKEN_BYTES])
{
    assert(!server->running);
    snprintf(server->token, sizeof server->token, "%s", token);
}

void rpc_server_add(struct rpc_server *server, const struct rpc_service *service)
{
    char path[256];

    assert(!server->running);
    for (unsigned i = 0; i < service->descriptor->n_methods; i++) {
        assert(server->method_count < RPC_METHODS_MAX);
        assert(strcmp(service->methods[i].name, service->descriptor->methods[i].name) == 0);
        struct registered_method *m = &server->methods[server->method_count++];
        *m = (struct registered_method) {
            .new_call = { TAG_NEW_CALL }, .server = server, .service = service, .index = i
        };
        grpc_metadata_array_init(&m->metadata);
        grpc_adapter_path(service->descriptor, i, path, sizeof path);
        m->handle = grpc_server_register_method(server->server, path, NULL,
                                                GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
        assert(m->handle != NULL);
    }
}

struct status rpc_server_listen(struct rpc_server *server, const char *address, uint16_t *out_port)
{
    grpc_server_credentials *plain = grpc_insecure_server_credentials_create();
    const int port = grpc_server_add_http2_port(server->server, address, plain);

    grpc_server_credentials_release(plain);
    if (port <= 0)
        return STATUS(BUSY);
    *out_port = (uint16_t)port;
    return STATUS(OK);
}

struct status rpc_server_start(struct rpc_server *server)
{
    assert(!server->running);
    grpc_server_start(server->server);
    TRY(grpc_adapter_thread(&server->thread, server_run, server));
    server->running = true;
    return STATUS(OK);
}

void rpc_server_stop(struct rpc_server *server, void (*stopping)(void *ctx), void *ctx,
                     unsigned grace_ms)
{
    const uint64_t end_ns = grpc_adapter_wall_ns() + grace_ms * UINT64_C(1000000);
    const struct timespec end = { .tv_sec = (time_t)(end_ns / UINT64_C(1000000000)),
                                  .tv_nsec = (long)(end_ns % UINT64_C(1000000000)) };

    assert(server->running);
    server->stopping = stopping;
    server->stopping_ctx = ctx;
    grpc_server_shutdown_and_notify(server->server, server->queue, &server->shut_down);
    if (pthread_timedjoin_np(server->thread, NULL, &end) != 0) {
        grpc_server_cancel_all_calls(server->server);
        pthread_join(server->thread, NULL);
    }
    server->running = false;
    assert(server->call_count == 0);
}

/* A server that never ran must be shut down too before gRPC lets go of it. */
static void drain(struct rpc_server *s)
{
    if (s->closing)
        return;
    grpc_server_shutdown_and_notify(s->server, s->queue, &s->shut_down);
    (void)grpc_completion_queue_next(s->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_completion_queue_shutdown(s->queue);
    (void)grpc_completion_queue_next(s->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

void rpc_server_destroy(struct rpc_server *server)
{
    if (server == NULL)
        return;
    assert(!server->running);
    drain(server);
    grpc_server_destroy(server->server);
    grpc_completion_queue_destroy(server->queue);
    for (unsigned i = 0; i < server->method_count; i++)
        grpc_metadata_array_destroy(&server->methods[i].metadata);
    grpc_call_details_destroy(&server->unknown.details);
    grpc_metadata_array_destroy(&server->unknown.metadata);
    free(server);
}
