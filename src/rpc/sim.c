/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static struct rpc_sim *sim_of(struct rpc_loop *loop)
{
    return CONTAINER_OF(loop, struct rpc_sim, loop);
}

static uint64_t sim_now_ns(struct rpc_loop *loop)
{
    return sim_of(loop)->now_ns;
}

/* Some day in 2026, so that wall-clock times look like such. */
static uint64_t sim_wall_ns(struct rpc_loop *loop)
{
    return UINT64_C(1780000000) * UINT64_C(1000000000) + sim_of(loop)->now_ns;
}

static void sim_random(struct rpc_loop *loop, struct span out)
{
    rng_fill(&sim_of(loop)->rng, out);
}

static const struct rpc_loop_ops sim_loop_ops = { sim_now_ns, sim_wall_ns, sim_random };

void rpc_sim_init(struct rpc_sim *sim, uint64_t seed)
{
    rpc_loop_init(&sim->loop, &sim_loop_ops);
    sim->now_ns = 1;
    rng_init(&sim->rng, seed);
}

void rpc_sim_advance(struct rpc_sim *sim, uint64_t ns)
{
    const uint64_t end_ns = sim->now_ns + ns;

    while (rpc_loop_deadline_ns(&sim->loop) <= end_ns) {
        sim->now_ns = max_u64(sim->now_ns, rpc_loop_deadline_ns(&sim->loop));
        rpc_loop_turn(&sim->loop);
    }
    sim->now_ns = end_ns;
    rpc_loop_turn(&sim->loop);
}

/* The reply goes through its bytes, as it would over a wire. */
static void sim_finish(struct rpc_call *base, enum rpc_code code, const char *text,
                       const ProtobufCMessage *reply)
{
    struct rpc_sim_call *call = CONTAINER_OF(base, struct rpc_sim_call, base);

    assert(!call->ended);
    call->ended = true;
    call->code = code;
    snprintf(call->text, sizeof call->text, "%s", text);
    if (reply == NULL)
        return;
    const size_t bytes = protobuf_c_message_get_packed_size(reply);
    uint8_t *packed = malloc(bytes + 1);
    assert(packed != NULL);
    protobuf_c_message_pack(reply, packed);
    const struct status st = rpc_decode(reply->descriptor, (struct const_span) { packed, bytes },
                                        &call->reply, call->text);
    assert(status_ok(st)); /* We made it. */
    free(packed);
}

static const struct rpc_call_ops sim_call_ops = { sim_finish };

void rpc_sim_start_bytes(struct rpc_sim *sim, const struct rpc_service *service, unsigned method,
                         struct const_span request, struct rpc_sim_call *call)
{
    *call = (struct rpc_sim_call) { .base.ops = &sim_call_ops };
    rpc_dispatch(service, method, request, &call->base);
    rpc_loop_turn(&sim->loop);
}

void rpc_sim_start(struct rpc_sim *sim, const struct rpc_service *service, unsigned method,
                   const ProtobufCMessage *request, struct rpc_sim_call *call)
{
    const size_t bytes = protobuf_c_message_get_packed_size(request);
    uint8_t *packed = malloc(bytes + 1);

    assert(packed != NULL);
    assert(request->descriptor == service->descriptor->methods[method].input);
    protobuf_c_message_pack(request, packed);
    rpc_sim_start_bytes(sim, service, method, (struct const_span) { packed, bytes }, call);
    free(packed);
}

void rpc_sim_cancel(struct rpc_sim *sim, struct rpc_sim_call *call)
{
    if (!call->ended && call->base.canceled != NULL)
        call->base.canceled(&call->base);
    rpc_loop_turn(&sim->loop);
}

void rpc_sim_call_fini(struct rpc_sim_call *call)
{
    assert(call->ended);
    rpc_message_free(call->reply);
}
