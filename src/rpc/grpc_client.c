/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/client.h"

#include <assert.h>
#include <grpc/grpc_security.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/grpc_internal.h"

/* How long a lost connection is left alone, at most, before it is tried again. */
#define RECONNECT_MS_MIN 100
#define RECONNECT_MS_MAX 2000

/*
 * How long one attempt may take.  gRPC calls this the minimal backoff; a peer that is not there
 * refuses at once, but one on a busy machine takes its time to greet.
 */
#define CONNECT_MS 5000

/* gRPC's side of a request; ended by one event with the call as its tag. */
struct rpc_pending {
    struct list_node link; /* In the client's. */
    struct rpc_client *client;
    struct rpc_request *request;
    const ProtobufCMessageDescriptor *reply_type;
    grpc_call *call;
    grpc_byte_buffer *payload;
    grpc_metadata token; /* If the client has one. */

    /* Filled by gRPC. */
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *reply;
    grpc_status_code code;
    grpc_slice text;
};

struct rpc_client {
    grpc_channel *channel;
    grpc_completion_queue *queue;
    pthread_t thread;
    char token[RPC_TOKEN_BYTES]; /* "": none. */

    pthread_mutex_t lock; /* Of what follows. */
    pthread_cond_t idle;
    struct list pending;
    unsigned busy; /* Requests whose done has not returned. */
    bool closing;
};

/* ---- Ending ---- */

static void take_reply(struct rpc_pending *p)
{
    struct rpc_request *r = p->request;
    const grpc_slice bytes = grpc_adapter_slice(p->reply);
    const struct status st =
        rpc_decode(p->reply_type, grpc_adapter_span(&bytes), &r->reply, r->error.text);

    grpc_slice_unref(bytes);
    if (!status_ok(st))
        r->error.code = RPC_INTERNAL;
}

static void pending_free(struct rpc_pending *p)
{
    grpc_metadata_array_destroy(&p->initial);
    grpc_metadata_array_destroy(&p->trailing);
    grpc_byte_buffer_destroy(p->payload);
    if (p->reply != NULL)
        grpc_byte_buffer_destroy(p->reply);
    grpc_slice_unref(p->text);
    grpc_slice_unref(p->token.value);
    grpc_call_unref(p->call);
    free(p);
}

static void client_leave(struct rpc_client *c)
{
    pthread_mutex_lock(&c->lock);
    if (--c->busy == 0)
        pthread_cond_broadcast(&c->idle);
    pthread_mutex_unlock(&c->lock);
}

static void on_end(struct rpc_pending *p)
{
    struct rpc_request *r = p->request;
    struct rpc_client *c = p->client;

    r->error.code = (enum rpc_code)p->code;
    snprintf(r->error.text, sizeof r->error.text, "%.*s", (int)GRPC_SLICE_LENGTH(p->text),
             (const char *)GRPC_SLICE_START_PTR(p->text));
    if (p->code == GRPC_STATUS_OK)
        take_reply(p);
    pthread_mutex_lock(&c->lock);
    r->pending = NULL;
    list_remove(&p->link);
    pthread_mutex_unlock(&c->lock);
    pending_free(p);
    r->done(r); /* r may be gone. */
    client_leave(c);
}

static void *client_run(void *ctx)
{
    struct rpc_client *c = ctx;
    for (;;) {
        const grpc_event event =
            grpc_completion_queue_next(c->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        assert(event.type == GRPC_OP_COMPLETE);
        on_end(event.tag);
    }
}

/* ---- Starting ---- */

static struct rpc_pending *pending_create(struct rpc_client *c,
                                          const ProtobufCServiceDescriptor *service,
                                          unsigned method, const ProtobufCMessage *message,
                                          unsigned timeout_ms)
{
    struct rpc_pending *p = calloc(1, sizeof *p);
    char path[256];

    assert(p != NULL);
    assert(method < service->n_methods);
    assert(message->descriptor == service->methods[method].input);
    grpc_adapter_path(service, method, path, sizeof path);
    const grpc_slice path_slice = grpc_slice_from_copied_string(path);
    const gpr_timespec deadline =
        grpc_adapter_deadline(grpc_adapter_now_ns() + timeout_ms * UINT64_C(1000000));
    *p = (struct rpc_pending) { .client = c,
                                .reply_type = service->methods[method].output,
                                .payload = grpc_adapter_pack(message),
                                .text = grpc_empty_slice(),
                                .token.key = grpc_slice_from_static_string(RPC_TOKEN_KEY),
                                .token.value = grpc_slice_from_copied_string(c->token) };
    grpc_metadata_array_init(&p->initial);
    grpc_metadata_array_init(&p->trailing);
    p->call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->queue,
                                       path_slice, NULL, deadline, NULL);
    grpc_slice_unref(path_slice);
    return p;
}

static void pending_start(struct rpc_pending *p)
{
    grpc_op ops[6] = {
        { .op = GRPC_OP_SEND_INITIAL_METADATA },  { .op = GRPC_OP_SEND_MESSAGE },
        { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT }, { .op = GRPC_OP_RECV_INITIAL_METADATA },
        { .op = GRPC_OP_RECV_MESSAGE },           { .op = GRPC_OP_RECV_STATUS_ON_CLIENT },
    };
    if (p->client->token[0] != '\0') {
        ops[0].data.send_initial_metadata.count = 1;
        ops[0].data.send_initial_metadata.metadata = &p->token;
    }
    ops[1].data.send_message.send_message = p->payload;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &p->initial;
    ops[4].data.recv_message.recv_message = &p->reply;
    ops[5].data.recv_status_on_client.trailing_metadata = &p->trailing;
    ops[5].data.recv_status_on_client.status = &p->code;
    ops[5].data.recv_status_on_client.status_details = &p->text;
    const grpc_call_error error = grpc_call_start_batch(p->call, ops, ARRAY_COUNT(ops), p, NULL);
    assert(error == GRPC_CALL_OK);
}

void rpc_client_set_token(struct rpc_client *client, const char token[RPC_TOKEN_BYTES])
{
    snprintf(client->token, sizeof client->token, "%s", token);
}

void rpc_client_start(struct rpc_client *client, const ProtobufCServiceDescriptor *service,
                      unsigned method, const ProtobufCMessage *request, unsigned timeout_ms,
                      struct rpc_request *out_request)
{
    struct rpc_pending *p = pending_create(client, service, method, request, timeout_ms);

    assert(out_request->done != NULL);
    p->request = out_request;
    pthread_mutex_lock(&client->lock);
    assert(!client->closing);
    client->busy++;
    list_node_init(&p->link);
    list_push_back(&client->pending, &p->link);
    out_request->pending = p;
    pthread_mutex_unlock(&client->lock);
    pending_start(p);
}

void rpc_client_cancel(struct rpc_client *client, struct rpc_request *request)
{
    /* Under the lock the pending half cannot go. */
    pthread_mutex_lock(&client->lock);
    if (request->pending != NULL)
        grpc_call_cancel(request->pending->call, NULL);
    pthread_mutex_unlock(&client->lock);
}

/* ---- Waiting ---- */

struct waiter {
    struct rpc_request request;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

static void on_waited(struct rpc_request *request)
{
    struct waiter *w = CONTAINER_OF(request, struct waiter, request);
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

struct status rpc_client_call(struct rpc_client *client, const ProtobufCServiceDescriptor *service,
                              unsigned method, const ProtobufCMessage *request, unsigned timeout_ms,
                              ProtobufCMessage **out_reply, struct rpc_error *out_error)
{
    struct waiter w = { .request.done = on_waited };

    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.wake, NULL);
    rpc_client_start(client, service, method, request, timeout_ms, &w.request);
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.wake, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.wake);

    *out_error = w.request.error;
    if (w.request.error.code == RPC_OK)
        *out_reply = w.request.reply;
    return rpc_status_of(w.request.error.code);
}

/* ---- Opening and closing ---- */

/* gRPC wants to be told whether an address is a number or a name. */
static struct status target_of(const char *address, char *out_target, size_t bytes)
{
    const char *port = strrchr(address, ':');
    if (port == NULL || port == address || port[1] == '\0' ||
        strspn(port + 1, "0123456789") != strlen(port + 1))
        return STATUS(INVALID);

    const char *scheme = "dns:///";
    if (address[0] == '[')
        scheme = "ipv6:";
    else if (strspn(address, "0123456789.") == (size_t)(port - address))
        scheme = "ipv4:";
    const int n = snprintf(out_target, bytes, "%s%s", scheme, address);
    return n > 0 && (size_t)n < bytes ? STATUS(OK) : STATUS(INVALID);
}

static grpc_channel *channel_create(const char *target)
{
    grpc_arg args[] = {
        grpc_adapter_integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)RPC_REPLY_BYTES_MAX),
        grpc_adapter_integer(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_MS_MIN),
        grpc_adapter_integer(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_MS),
        grpc_adapter_integer(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MS_MAX),
        grpc_adapter_integer(GRPC_ARG_HTTP2_BDP_PROBE, 0), /* As the server. */
        /* A cluster's own traffic does not go through the user's web proxy. */
        grpc_adapter_integer(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        /* Clients in one process do not share a connection: one may be slow. */
        grpc_adapter_integer(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
    };
    const grpc_channel_args channel_args = { ARRAY_COUNT(args), args };
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, plain, &channel_args);

    grpc_channel_credentials_release(plain);
    return channel;
}

struct status rpc_client_open(const char *address, struct rpc_client **out_client)
{
    char target[GRPC_ADDRESS_BYTES];

    TRY(target_of(address, target, sizeof target));
    struct rpc_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return STATUS(NO_MEMORY);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->idle, NULL);
    list_init(&c->pending);
    c->channel = channel_create(target);
    c->queue = grpc_completion_queue_create_for_next(NULL);
    const struct status st = grpc_adapter_thread(&c->thread, client_run, c);
    if (!status_ok(st)) {
        grpc_channel_destroy(c->channel);
        grpc_completion_queue_shutdown(c->queue);
        grpc_completion_queue_destroy(c->queue);
        free(c);
        return st;
    }
    *out_client = c;
    return STATUS(OK);
}

void rpc_client_close(struct rpc_client *client)
{
    if (client == NULL)
        return;
    pthread_mutex_lock(&client->lock);
    client->closing = true;
    LIST_FOR_EACH (n, &client->pending) {
        grpc_call_cancel(CONTAINER_OF(n, struct rpc_pending, link)->call, NULL);
    }
    while (client->busy > 0)
        pthread_cond_wait(&client->idle, &client->lock);
    pthread_mutex_unlock(&client->lock);
    grpc_channel_destroy(client->channel);
    grpc_completion_queue_shutdown(client->queue);
    pthread_join(client->thread, NULL);
    grpc_completion_queue_destroy(client->queue);
    pthread_cond_destroy(&client->idle);
    pthread_mutex_destroy(&client->lock);
    free(client);
}
