/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_verify.h"

#include <assert.h>
#include <stdlib.h>

#include "node/node_internal.h"

static void take_end(struct node_verify *verify, struct status status)
{
    verify->known->ended = true;
    verify->known->status = status;
}

static void on_verified(void *ctx, struct status status, const struct volume_verify *result)
{
    struct node_volume *const v = ctx;
    struct node_verify *const verify = &v->verify;
    const bool is_wanted = verify->running == verify->id;

    verify->running = 0;
    if (is_wanted) {
        verify->known->result = *result;
        take_end(verify, status);
        log_info(v->node->log, "volume '%s': verification ended: %s", v->desc.name,
                 !status_ok(status)              ? status_text(status)
                 : volume_verify_is_good(result) ? "all replicas are equal, without bad blocks"
                                                 : "not all is well");
    }
    node_changed(v->node);
    if (node_volume_is_served(v))
        node_verify_run(v);
}

void node_verify_run(struct node_volume *v)
{
    struct node_verify *const verify = &v->verify;
    const struct volume_verify_config config = { verify->bytes_per_s, on_verified, v };

    assert(node_volume_is_served(v));
    if (verify->id == 0 || verify->known != NULL || verify->running != 0)
        return;
    verify->known = calloc(1, sizeof *verify->known);
    if (verify->known == NULL)
        return; /* The next report tries again. */
    verify->known->id = verify->id;
    const struct status st = volume_verify_start(v->volume, &config);
    if (status_ok(st)) {
        verify->running = verify->id;
        log_info(v->node->log, "volume '%s': verification begins", v->desc.name);
    } else {
        take_end(verify, st);
    }
    node_changed(v->node);
}

void node_verify_want(struct node_volume *v, uint64_t id, uint64_t bytes_per_s)
{
    struct node_verify *const verify = &v->verify;

    if (verify->id == id)
        return;
    verify->id = id;
    verify->bytes_per_s = bytes_per_s;
    free(verify->known);
    verify->known = NULL;
    if (verify->running != 0 && v->volume != NULL)
        volume_verify_stop(v->volume);
}

const struct node_verification *node_verify_report(struct node_volume *v)
{
    struct node_verify *const verify = &v->verify;
    const bool runs = verify->running != 0 && verify->running == verify->id;

    if (node_volume_is_served(v))
        node_verify_run(v);
    if (runs && verify->known != NULL)
        verify->known->result = *volume_verify_progress(v->volume);
    return verify->known;
}

void node_verify_fini(struct node_verify *verify)
{
    assert(verify->running == 0);
    free(verify->known);
    verify->known = NULL;
}
