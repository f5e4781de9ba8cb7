/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl_fixture.h"

#include <string.h>

#include "common/no_log.h"

static void start(struct fixture *f)
{
    const struct ctl_config config = { f->meta, &f->sim.loop, &f->log,
                                       "test",  "0.0",        f->rebuild_after_ns };
    assert_true(status_ok(ctl_create(&config, &f->ctl)));
    ctl_set_address(f->ctl, "127.0.0.1:7420");
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    rpc_sim_init(&f->sim, 1);
    f->log = (struct log) { .level = LOG_LEVEL_ERROR, .sink = no_log };
    assert_true(status_ok(meta_sim_open(&f->meta)));
    f->rebuild_after_ns = CTL_REBUILD_NEVER;
    start(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    ctl_stop(f->ctl);
    ctl_destroy(f->ctl);
    meta_close(f->meta);
    arena_free(&f->arena);
    free(f);
    return 0;
}

void fixture_restart(struct fixture *f)
{
    ctl_stop(f->ctl);
    ctl_destroy(f->ctl);
    start(f);
}

/* ---- Calls ---- */

void call_start(struct fixture *f, enum ctl_service service, unsigned method,
                const ProtobufCMessage *request, struct rpc_sim_call *call)
{
    rpc_sim_start(&f->sim, ctl_service(f->ctl, service), method, request, call);
}

const char *call_text(struct fixture *f, enum ctl_service service, unsigned method,
                      const ProtobufCMessage *request, enum rpc_code code)
{
    struct rpc_sim_call call;
    call_start(f, service, method, request, &call);
    assert_true(call.ended);
    assert_string_equal(rpc_code_name(call.code), rpc_code_name(code));
    const char *text = arena_text(&f->arena, call.text);
    rpc_sim_call_fini(&call);
    return text;
}

/* What a message of many parts gives back goes with the arena. */
static void keep(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

const void *call_reply(struct fixture *f, enum ctl_service service, unsigned method,
                       const ProtobufCMessage *request)
{
    struct rpc_sim_call call;
    call_start(f, service, method, request, &call);
    assert_true(call.ended);
    assert_string_equal(call.text, "");
    /* Once more, into memory that lives as long as the test. */
    const size_t bytes = protobuf_c_message_get_packed_size(call.reply);
    uint8_t *packed = arena_alloc(&f->arena, bytes);
    protobuf_c_message_pack(call.reply, packed);
    const ProtobufCMessageDescriptor *type = call.reply->descriptor;
    rpc_sim_call_fini(&call);
    ProtobufCAllocator allocator = { NULL, keep, &f->arena };
    allocator.alloc = (void *(*)(void *, size_t))(void *)arena_alloc;
    return protobuf_c_message_unpack(type, &allocator, bytes, packed);
}

/* ---- The node ---- */

void node_init(struct fake_node *n, unsigned number, unsigned disk_count, uint64_t disk_bytes)
{
    *n = (struct fake_node) { .uuid = { { 0x40, (uint8_t)number } },
                              .disk_count = disk_count,
                              .disk_bytes = disk_bytes };
    snprintf(n->name, sizeof n->name, "node-%u", number);
}

const Trilith__V1__JoinClusterResponse *node_join(struct fixture *f, const struct fake_node *n)
{
    Trilith__V1__JoinClusterRequest request = TRILITH__V1__JOIN_CLUSTER_REQUEST__INIT;
    request.node_uuid = arena_uuid_bytes(&f->arena, n->uuid);
    request.name = arena_text(&f->arena, n->name);
    request.address = arena_text(&f->arena, n->address != NULL ? n->address : "192.0.2.1");
    request.instance = n->instance;
    request.number = n->number;
    request.port = 4420;
    request.zone = arena_text(&f->arena, n->zone != NULL ? n->zone : "");
    request.rack = arena_text(&f->arena, n->rack != NULL ? n->rack : "");
    request.roles = arena_alloc(&f->arena, sizeof n->roles);
    memcpy(request.roles, n->roles, sizeof n->roles);
    request.n_roles = n->role_count;
    return call_reply(f, CTL_SERVICE_NODE, JOIN, &request.base);
}

static Trilith__V1__DiskReport *disk_report(struct fixture *f, const struct fake_node *n,
                                            unsigned i)
{
    Trilith__V1__DiskReport *d = arena_alloc(&f->arena, sizeof *d);
    const uint8_t of = n->disk_of[i] != 0 ? n->disk_of[i] : n->uuid.b[1];
    const struct uuid uuid = { { 0xd0, of, (uint8_t)i } };
    trilith__v1__disk_report__init(d);
    d->uuid = arena_uuid_bytes(&f->arena, uuid);
    if (n->disk_names[i] != NULL)
        d->name = arena_text(&f->arena, n->disk_names[i]);
    else if (n->disk_of[i] != 0)
        d->name = arena_printf(&f->arena, "node-%u/disk-%u", of, i + 1);
    else
        d->name = arena_printf(&f->arena, "%s/disk-%u", n->name, i + 1);
    d->path = n->disk_paths[i] != NULL ? arena_text(&f->arena, n->disk_paths[i])
                                       : arena_printf(&f->arena, "/dev/disk-%u", i + 1);
    d->bytes = n->disk_bytes;
    d->free_bytes = n->disk_bytes;
    d->checksum_bytes = n->checksum_bytes;
    d->checksum_budget_bytes = 2 * n->checksum_bytes;
    d->health = n->disk_health[i];
    d->health_reason = arena_text(&f->arena, n->disk_health[i] > 1 ? "it clicks" : "");
    d->failure = arena_text(&f->arena, n->disk_failed[i] ? "it smokes" : "");
    return d;
}

void node_report(struct fixture *f, struct fake_node *n)
{
    Trilith__V1__ReportStatusRequest request = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    Trilith__V1__DiskReport *disks[NODE_DISKS_MAX];
    Trilith__V1__VolumeReport *volumes[8];

    for (unsigned i = 0; i < n->disk_count; i++)
        disks[i] = disk_report(f, n, i);
    if (n->disk_count > 0)
        disks[0]->scrub = n->scrub;
    for (unsigned i = 0; i < n->volume_count; i++)
        volumes[i] = &n->volumes[i];
    request.node_uuid = arena_uuid_bytes(&f->arena, n->uuid);
    request.revision = n->revision;
    request.instance = n->instance;
    request.number = n->number;
    request.disks = disks;
    request.n_disks = n->disk_count;
    request.volumes = volumes;
    request.n_volumes = n->volume_count;
    Trilith__V1__OrderResult result = TRILITH__V1__ORDER_RESULT__INIT;
    Trilith__V1__OrderResult *results[1] = { &result };
    result.id = n->result_id;
    result.problem = arena_text(&f->arena, n->result_id != 0 ? n->result : "");
    request.orders = results;
    request.n_orders = n->result_id != 0 ? 1 : 0;
    char *features[1] = { arena_text(&f->arena, n->io_feature != NULL ? n->io_feature : "") };
    request.io_features = features;
    request.n_io_features = n->io_feature != NULL ? 1 : 0;
    ProtobufCBinaryData heard[1] = { arena_uuid_bytes(&f->arena, n->hears) };
    request.heard_node_uuids = heard;
    request.n_heard_node_uuids = uuid_is_nil(n->hears) ? 0 : 1;
    (void)call_reply(f, CTL_SERVICE_NODE, REPORT, &request.base);
}

const Trilith__V1__WatchNodeResponse *node_part(struct fixture *f, const struct fake_node *n)
{
    Trilith__V1__WatchNodeRequest request = TRILITH__V1__WATCH_NODE_REQUEST__INIT;
    request.node_uuid = arena_uuid_bytes(&f->arena, n->uuid);
    return call_reply(f, CTL_SERVICE_NODE, WATCH, &request.base);
}

Trilith__V1__VolumeReport *node_says(struct fixture *f, struct fake_node *n,
                                     ProtobufCBinaryData volume, int state)
{
    unsigned i = 0;
    while (i < n->volume_count && memcmp(n->volumes[i].uuid.data, volume.data, 16) != 0)
        i++;
    if (i == n->volume_count) {
        struct uuid uuid;
        assert_true(n->volume_count < 8);
        n->volume_count++;
        trilith__v1__volume_report__init(&n->volumes[i]);
        memcpy(uuid.b, volume.data, 16);
        n->volumes[i].uuid = arena_uuid_bytes(&f->arena, uuid);
    }
    n->volumes[i].state = (Trilith__V1__VolumeReportState)state;
    return &n->volumes[i];
}

/* ---- Volumes ---- */

void create_start(struct fixture *f, const char *name, uint64_t bytes, struct rpc_sim_call *call)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    spec.name = arena_text(&f->arena, name);
    spec.bytes = bytes;
    request.spec = &spec;
    call_start(f, CTL_SERVICE_VOLUME, CREATE, &request.base, call);
}

static ProtobufCBinaryData part_uuid(struct fixture *f, const struct fake_node *n, const char *name)
{
    const Trilith__V1__WatchNodeResponse *part = node_part(f, n);
    for (size_t i = 0; i < part->n_volumes; i++)
        if (strcmp(part->volumes[i]->name, name) == 0)
            return part->volumes[i]->uuid;
    fail_msg("volume '%s' is not in the node's part", name);
    return (ProtobufCBinaryData) { 0, NULL };
}

void create_ready(struct fixture *f, struct fake_node *n, const char *name, uint64_t bytes)
{
    struct rpc_sim_call call;
    create_start(f, name, bytes, &call);
    assert_false(call.ended);
    (void)node_says(f, n, part_uuid(f, n, name),
                    TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY);
    node_report(f, n);
    assert_true(call.ended);
    assert_int_equal(call.code, RPC_OK);
    rpc_sim_call_fini(&call);
}

const Trilith__V1__Volume *get_volume(struct fixture *f, const char *name)
{
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    request.name = arena_text(&f->arena, name);
    const Trilith__V1__GetVolumeResponse *r = call_reply(f, CTL_SERVICE_VOLUME, GET, &request.base);
    return r->volume;
}
