/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of the API, decoded, checked and carried out by a controller on a simulated meta
 * store that knows one node with three disks.
 *
 *   again and again: byte: method | 0x80: first let 20 s pass; 2 bytes: length; the request
 *
 * No request breaks the controller; each call ends once; and afterwards the status and the
 * node's part can be read, with every shard on a disk that exists.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "rpc/sim.h"
#include "trilith/v1/node.pb-c.h"
#include "trilith/v1/status.pb-c.h"

#define CALLS_MAX   16
#define DISKS       3
#define TIME_PASSES 0x80
#define PASSING_NS  (UINT64_C(20000) * 1000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct world {
    struct rpc_sim sim;
    struct meta *meta;
    struct log log;
    struct ctl *ctl;
    struct rpc_sim_call calls[CALLS_MAX];
    unsigned call_count;
};

/* The node that the inputs of the corpus speak for. */
static uint8_t node_uuid[16] = "fuzz-node-uuid-1";
static uint8_t disk_uuids[DISKS][16] = { "fuzz-disk-uuid-1", "fuzz-disk-uuid-2",
                                         "fuzz-disk-uuid-3" };

static void drop_line(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    (void)level;
    (void)line;
}

static const ProtobufCBinaryData node_field = { sizeof node_uuid, node_uuid };

static void must_succeed(struct world *w, enum ctl_service service, unsigned method,
                         const ProtobufCMessage *request)
{
    struct rpc_sim_call call;
    rpc_sim_start(&w->sim, ctl_service(w->ctl, service), method, request, &call);
    assert(call.ended && call.code == RPC_OK);
    rpc_sim_call_fini(&call);
}

static void join(struct world *w)
{
    Trilith__V1__JoinClusterRequest request = TRILITH__V1__JOIN_CLUSTER_REQUEST__INIT;
    char name[] = "node-1";
    char address[] = "192.0.2.1";

    request.node_uuid = node_field;
    request.name = name;
    request.address = address;
    request.port = 4420;
    must_succeed(w, CTL_SERVICE_NODE, 0, &request.base);
}

static void report(struct world *w)
{
    Trilith__V1__ReportStatusRequest request = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    Trilith__V1__DiskReport disks[DISKS];
    Trilith__V1__DiskReport *pointers[DISKS];
    char names[DISKS][4] = { "d-1", "d-2", "d-3" };

    for (unsigned i = 0; i < DISKS; i++) {
        trilith__v1__disk_report__init(&disks[i]);
        disks[i].uuid = (ProtobufCBinaryData) { sizeof disk_uuids[i], disk_uuids[i] };
        disks[i].name = names[i];
        disks[i].bytes = UINT64_C(100) << 30;
        pointers[i] = &disks[i];
    }
    request.node_uuid = node_field;
    request.disks = pointers;
    request.n_disks = DISKS;
    must_succeed(w, CTL_SERVICE_NODE, 2, &request.base);
}

static void world_open(struct world *w)
{
    memset(w, 0, sizeof *w);
    rpc_sim_init(&w->sim, 1);
    w->log = (struct log) { .level = LOG_LEVEL_DEBUG, .sink = drop_line };
    struct status st = meta_sim_open(&w->meta);
    assert(status_ok(st));
    const struct ctl_config config = { w->meta, &w->sim.loop, &w->log,
                                       "fuzz",  "0",          CTL_REBUILD_NEVER };
    st = ctl_create(&config, &w->ctl);
    assert(status_ok(st));
    join(w);
    report(w);
}

/* The method with this number, counted over all services. */
static const struct rpc_service *method_of(const struct world *w, unsigned number,
                                           unsigned *out_method)
{
    unsigned all = 0;
    for (unsigned s = 0; s < CTL_SERVICE_COUNT; s++)
        all += ctl_service(w->ctl, (enum ctl_service)s)->descriptor->n_methods;
    number %= all;
    for (unsigned s = 0;; s++) {
        const struct rpc_service *service = ctl_service(w->ctl, (enum ctl_service)s);
        if (number < service->descriptor->n_methods) {
            *out_method = number;
            return service;
        }
        number -= service->descriptor->n_methods;
    }
}

static void run(struct world *w, const uint8_t *data, size_t bytes)
{
    while (bytes >= 3 && w->call_count < CALLS_MAX) {
        const uint8_t first = data[0];
        const size_t wanted = data[1] | (size_t)data[2] << 8;
        const size_t length = wanted < bytes - 3 ? wanted : bytes - 3;
        unsigned method;

        if (first & TIME_PASSES)
            rpc_sim_advance(&w->sim, PASSING_NS);
        const struct rpc_service *service = method_of(w, first & 0x7f, &method);
        rpc_sim_start_bytes(&w->sim, service, method, (struct const_span) { data + 3, length },
                            &w->calls[w->call_count++]);
        data += 3 + length;
        bytes -= 3 + length;
    }
}

/* docs/disk-format.md, 2.5: growth adds whole groups behind the first run, and no more than need
 * be. */
static void check_shards(const Trilith__V1__DesiredVolume *v)
{
    const uint64_t group = v->shard_bytes * v->stripe_width;

    assert(v->bytes > 0 && v->shard_bytes > 0 && v->stripe_width > 0);
    if (v->first_run_shards == 0) {
        assert(v->n_placement == (v->bytes + v->shard_bytes - 1) / v->shard_bytes);
        return;
    }
    assert(v->n_placement > v->first_run_shards);
    assert((v->n_placement - v->first_run_shards) % v->stripe_width == 0);
    assert(v->n_placement * v->shard_bytes >= v->bytes);
    assert(v->n_placement * v->shard_bytes - v->bytes < group);
}

/* What was made of the requests can be read, and makes sense. */
static void check(struct world *w)
{
    Trilith__V1__GetStatusRequest status = TRILITH__V1__GET_STATUS_REQUEST__INIT;
    Trilith__V1__WatchNodeRequest watch = TRILITH__V1__WATCH_NODE_REQUEST__INIT;
    struct rpc_sim_call call;

    must_succeed(w, CTL_SERVICE_STATUS, 0, &status.base);
    watch.node_uuid = node_field;
    rpc_sim_start(&w->sim, ctl_service(w->ctl, CTL_SERVICE_NODE), 1, &watch.base, &call);
    assert(call.ended && call.code == RPC_OK);
    const Trilith__V1__WatchNodeResponse *part =
        (const Trilith__V1__WatchNodeResponse *)(const void *)call.reply;
    for (size_t i = 0; i < part->n_volumes; i++) {
        const Trilith__V1__DesiredVolume *v = part->volumes[i];
        const size_t places = v->replicas > 1 ? v->n_tuples / v->replicas : part->n_disk_uuids;
        check_shards(v);
        for (size_t p = 0; p < v->n_placement; p++)
            assert(v->placement[p] < places);
    }
    rpc_sim_call_fini(&call);
}

static void world_close(struct world *w)
{
    for (unsigned i = 0; i < w->call_count; i += 2)
        rpc_sim_cancel(&w->sim, &w->calls[i]);
    ctl_stop(w->ctl);
    for (unsigned i = 0; i < w->call_count; i++)
        rpc_sim_call_fini(&w->calls[i]);
    ctl_destroy(w->ctl);
    meta_close(w->meta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct world *w = malloc(sizeof *w);

    assert(w != NULL);
    world_open(w);
    run(w, data, bytes);
    check(w);
    world_close(w);
    free(w);
    return 0;
}
