/* SPDX-License-Identifier: Apache-2.0 */
/* Server and client over real sockets, with the VolumeService's messages and our own handlers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "rpc/client.h"
#include "rpc/server.h"
#include "trilith/v1/disk.pb-c.h"
#include "trilith/v1/volume.pb-c.h"

#define NS_PER_MS UINT64_C(1000000)

enum { CREATE, LIST, GET, DELETE, RESIZE };

static struct rpc_server *server;
static struct rpc_client *client;
static char address[64];
static struct rpc_call *kept;
static struct rpc_timer timer;
static atomic_uint canceled;
static atomic_uint turns;
static atomic_uint arrived;

/* ---- Handlers ---- */

/* Fails, with a text. */
static void on_create(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
    const Trilith__V1__CreateVolumeRequest *r =
        (const Trilith__V1__CreateVolumeRequest *)(const void *)request;
    (void)ctx;
    rpc_fail(call, RPC_ALREADY_EXISTS, "volume '%s' exists", r->spec != NULL ? r->spec->name : "");
}

static void on_timer(struct rpc_timer *t)
{
    Trilith__V1__ListVolumesResponse reply = TRILITH__V1__LIST_VOLUMES_RESPONSE__INIT;
    (void)t;
    struct rpc_call *call = kept;
    kept = NULL;
    rpc_reply(call, &reply.base);
}

/* Answers 20 ms later. */
static void on_list(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
    (void)ctx;
    (void)request;
    kept = call;
    rpc_timer_init(&timer, on_timer);
    rpc_timer_arm(rpc_server_loop(server), &timer,
                  rpc_now_ns(rpc_server_loop(server)) + 20 * NS_PER_MS);
}

/* Answers at once, with what it was asked. */
static void on_get(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
    const Trilith__V1__GetVolumeRequest *r =
        (const Trilith__V1__GetVolumeRequest *)(const void *)request;
    Trilith__V1__GetVolumeResponse reply = TRILITH__V1__GET_VOLUME_RESPONSE__INIT;
    Trilith__V1__Volume volume = TRILITH__V1__VOLUME__INIT;
    (void)ctx;
    volume.uuid = r->name;
    reply.volume = &volume;
    rpc_reply(call, &reply.base);
}

static void on_canceled(struct rpc_call *call)
{
    kept = NULL;
    canceled++;
    rpc_fail(call, RPC_CANCELLED, "gone");
}

/* Never answers by itself. */
static void on_delete(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
    (void)ctx;
    (void)request;
    kept = call;
    call->canceled = on_canceled;
    arrived++;
}

static void on_turn_end(void *ctx)
{
    (void)ctx;
    turns++;
}

static const struct rpc_method methods[] = {
    [CREATE] = { "CreateVolume", on_create },
    [LIST] = { "ListVolumes", on_list },
    [GET] = { "GetVolume", on_get },
    [DELETE] = { "DeleteVolume", on_delete },
    [RESIZE] = { "ResizeVolume", on_delete },
    { "StartVerification", on_delete },
    { "GetVerification", on_delete },
    { "StopVerification", on_delete },
    { "SetVolume", on_delete },
};

static const struct rpc_service service = { &trilith__v1__volume_service__descriptor, methods, NULL,
                                            false };
static const struct rpc_service for_nodes = { &trilith__v1__volume_service__descriptor, methods,
                                              NULL, true };

#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
static const char token[RPC_TOKEN_BYTES] = DIGITS "f";
static const char *server_token; /* NULL: it has none, and asks for none. */

/* ---- Set-up ---- */

static void start(const char *listen, const char *connect)
{
    uint16_t port;
    rpc_library_init();
    assert_true(status_ok(rpc_server_create(&server)));
    if (server_token != NULL)
        rpc_server_set_token(server, server_token);
    rpc_server_add(server, server_token != NULL ? &for_nodes : &service);
    rpc_server_loop(server)->turn_end = on_turn_end;
    assert_true(status_ok(rpc_server_listen(server, listen, &port)));
    assert_true(status_ok(rpc_server_start(server)));
    snprintf(address, sizeof address, connect, port);
    assert_true(status_ok(rpc_client_open(address, &client)));
}

static int setup(void **state)
{
    (void)state;
    start("127.0.0.1:0", "127.0.0.1:%u");
    return 0;
}

static void stopping(void *ctx)
{
    (void)ctx;
    if (kept != NULL)
        on_canceled(kept);
}

static int teardown(void **state)
{
    (void)state;
    rpc_client_close(client);
    if (server != NULL)
        rpc_server_stop(server, stopping, NULL, 1000);
    rpc_server_destroy(server);
    rpc_library_fini();
    return 0;
}

static struct status call(unsigned method, const ProtobufCMessage *request,
                          ProtobufCMessage **out_reply, struct rpc_error *out_error)
{
    return rpc_client_call(client, &trilith__v1__volume_service__descriptor, method, request, 10000,
                           out_reply, out_error);
}

/* ---- Tests ---- */

static void check_echo(void)
{
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    char name[] = "db1";
    ProtobufCMessage *reply = NULL;
    struct rpc_error error;

    request.name = name;
    assert_true(status_ok(call(GET, &request.base, &reply, &error)));
    const Trilith__V1__GetVolumeResponse *got =
        (const Trilith__V1__GetVolumeResponse *)(const void *)reply;
    assert_string_equal(got->volume->uuid, "db1");
    rpc_message_free(reply);
}

/* A request reaches its handler, and the reply the caller, over IPv4. */
static void round_trip(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        check_echo();
    assert_true(turns >= 100);
}

/* The same over IPv6, and by name. */
static void round_trip_ipv6(void **state)
{
    (void)state;
    start("[::1]:0", "[::1]:%u");
    check_echo();
    (void)teardown(state);
    start("127.0.0.1:0", "localhost:%u");
    check_echo();
    (void)teardown(state);
}

/* A failure arrives with its code and text. */
static void failure(void **state)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    char name[] = "db1";
    ProtobufCMessage *reply = NULL;
    struct rpc_error error;
    (void)state;
    spec.name = name;
    request.spec = &spec;
    assert_true(status_is(call(CREATE, &request.base, &reply, &error), STATUS_EXISTS));
    assert_int_equal(error.code, RPC_ALREADY_EXISTS);
    assert_string_equal(error.text, "volume 'db1' exists");
    assert_null(reply);
}

/* A handler may keep a call and answer it from a timer. */
static void kept_call(void **state)
{
    Trilith__V1__ListVolumesRequest request = TRILITH__V1__LIST_VOLUMES_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct rpc_error error;
    (void)state;
    assert_true(status_ok(call(LIST, &request.base, &reply, &error)));
    rpc_message_free(reply);
}

struct counted {
    struct rpc_request request;
    atomic_uint *done;
    enum rpc_code code;
};

static void on_counted(struct rpc_request *request)
{
    struct counted *c = CONTAINER_OF(request, struct counted, request);
    c->code = request->error.code;
    rpc_message_free(request->reply);
    (*c->done)++;
}

/* Waits until a counter that another thread moves has this value. */
static void wait_for(const atomic_uint *counter, unsigned value)
{
    for (unsigned i = 0; i < 20000 && *counter != value; i++) {
        const struct timespec ms = { .tv_nsec = (long)NS_PER_MS };
        nanosleep(&ms, NULL);
    }
    assert_int_equal(*counter, value);
}

/* When a caller goes away, the handler that keeps its call is told, once. */
static void caller_gone(void **state)
{
    Trilith__V1__DeleteVolumeRequest request = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    atomic_uint done = 0;
    struct counted c = { .request = { .done = on_counted }, .done = &done };
    (void)state;
    canceled = 0;
    arrived = 0;
    rpc_client_start(client, &trilith__v1__volume_service__descriptor, DELETE, &request.base, 60000,
                     &c.request);
    wait_for(&arrived, 1);
    rpc_client_cancel(client, &c.request);
    wait_for(&done, 1);
    wait_for(&canceled, 1);
    check_echo();
    assert_int_equal(canceled, 1);
}

/* A call whose time is over ends with that. */
static void deadline(void **state)
{
    Trilith__V1__DeleteVolumeRequest request = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct rpc_error error;
    (void)state;
    const struct status st = rpc_client_call(client, &trilith__v1__volume_service__descriptor,
                                             DELETE, &request.base, 50, &reply, &error);
    assert_true(status_is(st, STATUS_TIMED_OUT));
}

/* Closing a client ends what is under way, each call once. */
static void closing_client(void **state)
{
    Trilith__V1__DeleteVolumeRequest request = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    struct counted calls[8] = { 0 };
    atomic_uint done = 0;
    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(calls); i++) {
        calls[i].done = &done;
        calls[i].request.done = on_counted;
        rpc_client_start(client, &trilith__v1__volume_service__descriptor, DELETE, &request.base,
                         60000, &calls[i].request);
    }
    rpc_client_cancel(client, &calls[3].request);
    rpc_client_close(client);
    client = NULL;
    assert_int_equal(done, ARRAY_COUNT(calls));
    for (unsigned i = 0; i < ARRAY_COUNT(calls); i++)
        assert_int_equal(calls[i].code, RPC_CANCELLED);
}

/* A server that stops ends the calls that are kept, and its port is free again. */
static void stopping_server(void **state)
{
    Trilith__V1__DeleteVolumeRequest request = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    atomic_uint done = 0;
    struct counted c = { .request = { .done = on_counted }, .done = &done };
    (void)state;
    rpc_client_start(client, &trilith__v1__volume_service__descriptor, DELETE, &request.base, 60000,
                     &c.request);
    check_echo();
    rpc_server_stop(server, stopping, NULL, 5000);
    rpc_server_destroy(server);
    server = NULL;
    wait_for(&done, 1);
    /* Nobody is there now. */
    Trilith__V1__GetVolumeRequest get = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct rpc_error error;
    assert_true(status_is(call(GET, &get.base, &reply, &error), STATUS_UNAVAILABLE));
}

/* A port that is taken is refused. */
static void taken_port(void **state)
{
    struct rpc_server *second;
    uint16_t port;
    (void)state;
    assert_true(status_ok(rpc_server_create(&second)));
    assert_true(status_is(rpc_server_listen(second, address, &port), STATUS_BUSY));
    rpc_server_destroy(second);
}

/* A service that is not there is UNIMPLEMENTED; a request above the limit is refused. */
static void refusals(void **state)
{
    Trilith__V1__ListDisksRequest disks = TRILITH__V1__LIST_DISKS_REQUEST__INIT;
    Trilith__V1__GetVolumeRequest get = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct rpc_error error;
    (void)state;
    struct status st = rpc_client_call(client, &trilith__v1__disk_service__descriptor, 0,
                                       &disks.base, 10000, &reply, &error);
    assert_true(status_is(st, STATUS_UNSUPPORTED));
    get.name = malloc(RPC_REQUEST_BYTES_MAX + 2);
    memset(get.name, 'x', RPC_REQUEST_BYTES_MAX + 1);
    get.name[RPC_REQUEST_BYTES_MAX + 1] = '\0';
    st = call(GET, &get.base, &reply, &error);
    assert_int_equal(error.code, RPC_RESOURCE_EXHAUSTED);
    free(get.name);
    check_echo();
}

static struct rpc_error get_error(void)
{
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct rpc_error error;

    const struct status st = call(GET, &request.base, &reply, &error);
    assert_int_equal(status_ok(st), reply != NULL);
    rpc_message_free(reply);
    return error;
}

/* What is for nodes answers those alone who name the token. */
static void token_of_nodes(void **state)
{
    static const char near[RPC_TOKEN_BYTES] = DIGITS "e";
    static const char short_one[RPC_TOKEN_BYTES] = DIGITS;

    server_token = token;
    (void)setup(state);
    assert_int_equal(get_error().code, RPC_UNAUTHENTICATED);
    rpc_client_set_token(client, near);
    assert_int_equal(get_error().code, RPC_UNAUTHENTICATED);
    rpc_client_set_token(client, short_one);
    const struct rpc_error error = get_error();
    assert_int_equal(error.code, RPC_UNAUTHENTICATED);
    assert_non_null(strstr(error.text, "the cluster's token"));
    rpc_client_set_token(client, token);
    assert_int_equal(get_error().code, RPC_OK);
    (void)teardown(state);
    server_token = NULL; /* It asks for none. */
    (void)setup(state);
    rpc_client_set_token(client, token);
    check_echo();
    (void)teardown(state);
}

/* What is no address is refused before anything is tried. */
static void addresses(void **state)
{
    static const char *const bad[] = { "", "host", "host:", ":7420", "host:http", "1.2.3.4" };
    struct rpc_client *c;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_true(status_is(rpc_client_open(bad[i], &c), STATUS_INVALID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
        cmocka_unit_test(round_trip_ipv6),
        cmocka_unit_test_setup_teardown(failure, setup, teardown),
        cmocka_unit_test_setup_teardown(kept_call, setup, teardown),
        cmocka_unit_test_setup_teardown(caller_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_client, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_server, setup, teardown),
        cmocka_unit_test_setup_teardown(taken_port, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
        cmocka_unit_test(token_of_nodes),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests_name("grpc", tests, NULL, NULL);
}
