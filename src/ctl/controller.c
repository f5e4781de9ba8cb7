/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/controller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "rpc/server.h"

/* Handlers take milliseconds; a longer one hangs on a disk, and is not worth waiting for. */
#define STOP_GRACE_MS 5000

struct controller {
    struct meta *meta;
    struct rpc_server *server;
    struct ctl *ctl;
    bool running;
    uint16_t port;
};

static struct status open_server(struct controller *c, const struct controller_config *config,
                                 char problem[CONTROLLER_PROBLEM_BYTES])
{
    char address[80];

    if (config->token != NULL)
        rpc_server_set_token(c->server, config->token);
    for (unsigned i = 0; i < CTL_SERVICE_COUNT; i++)
        rpc_server_add(c->server, ctl_service(c->ctl, (enum ctl_service)i));
    const struct status st = rpc_server_listen(c->server, config->listen, &c->port);
    if (!status_ok(st)) {
        snprintf(problem, CONTROLLER_PROBLEM_BYTES,
                 "API: cannot listen on '%.80s'; is the address this machine's, and the port free?",
                 config->listen);
        return st;
    }
    const char *colon = strrchr(config->listen, ':');
    snprintf(address, sizeof address, "%.*s:%u", (int)(colon != NULL ? colon - config->listen : 0),
             config->listen, c->port);
    ctl_set_address(c->ctl, address);
    return rpc_server_start(c->server);
}

static struct status open_all(struct controller *c, const struct controller_config *config,
                              char problem[CONTROLLER_PROBLEM_BYTES])
{
    char meta_problem[META_PROBLEM_BYTES] = "";
    struct status st = config->has_nodes
                           ? meta_sqlite_reopen(config->meta_path, meta_problem, &c->meta)
                           : meta_sqlite_open(config->meta_path, meta_problem, &c->meta);

    snprintf(problem, CONTROLLER_PROBLEM_BYTES, "%s", meta_problem);
    TRY(st);
    TRY(rpc_server_create(&c->server));
    const struct ctl_config ctl_config = { .meta = c->meta,
                                           .loop = rpc_server_loop(c->server),
                                           .log = config->log,
                                           .cluster_name = config->cluster_name,
                                           .version = config->version,
                                           .rebuild_after_ns = config->rebuild_after_ns };
    st = ctl_create(&ctl_config, &c->ctl);
    if (!status_ok(st)) {
        snprintf(problem, CONTROLLER_PROBLEM_BYTES, "meta store '%.120s': %s", config->meta_path,
                 status_text(st));
        return st;
    }
    TRY(open_server(c, config, problem));
    c->running = true;
    return STATUS(OK);
}

struct status controller_start(const struct controller_config *config,
                               char problem[CONTROLLER_PROBLEM_BYTES],
                               struct controller **out_controller)
{
    struct controller *c = calloc(1, sizeof *c);

    problem[0] = '\0';
    if (c == NULL)
        return STATUS(NO_MEMORY);
    const struct status st = open_all(c, config, problem);
    if (!status_ok(st)) {
        if (problem[0] == '\0')
            snprintf(problem, CONTROLLER_PROBLEM_BYTES, "controller: %s", status_text(st));
        controller_stop(c);
        return st;
    }
    *out_controller = c;
    return STATUS(OK);
}

uint16_t controller_port(const struct controller *controller)
{
    return controller->port;
}

struct uuid controller_cluster(const struct controller *controller)
{
    return ctl_cluster_uuid(controller->ctl);
}

static void on_stopping(void *ctx)
{
    ctl_stop(ctx);
}

void controller_stop(struct controller *controller)
{
    if (controller == NULL)
        return;
    if (controller->running)
        rpc_server_stop(controller->server, on_stopping, controller->ctl, STOP_GRACE_MS);
    ctl_destroy(controller->ctl);
    rpc_server_destroy(controller->server);
    meta_close(controller->meta);
    free(controller);
}
