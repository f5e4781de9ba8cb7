/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node's stores for engines of other nodes: a subsystem of the target's with the commands of the
 * store protocol, and the server behind it (docs/replication.md, section 2).  And the other
 * direction: the links to the stores of other nodes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "node/node_internal.h"
#include "peer/names.h"

#define SERIAL_BYTES 21

static_assert(NODE_DISKS_MAX <= SERVER_DISKS_MAX, "each disk has a slot");

/* Disks are dealt over the reactors as the server has its slots: node_init_disk(). */
static unsigned slot_of(const struct node *n, const struct node_disk *d)
{
    const unsigned slot = (unsigned)(d - n->disks);

    assert(d->reactor == n->reactors[slot % n->reactor_count]);
    return slot;
}

static struct status MUST_CHECK add_subsys(struct node *n)
{
    const struct nqn_text nqn = peer_store_nqn(n->stores.node);
    char serial[SERIAL_BYTES];
    const struct nvme_subsys_config config = {
        .nqn = nqn.s,
        .serial = serial,
        .vendor = server_vendor(n->server),
    };

    snprintf(serial, sizeof serial, "%.20s", uuid_format(n->stores.node).s);
    return nvme_subsys_add(n->target, &config, &n->stores_subsys);
}

/* Whether it is a member of the cluster, as the controller says. */
static bool allows(void *ctx, struct uuid engine)
{
    const struct node *n = ctx;

    for (uint32_t i = 0; i < n->member_count; i++)
        if (uuid_equal(n->members[i], engine))
            return true;
    return false;
}

static struct status MUST_CHECK open_links(struct node *n)
{
    const struct links_config config = {
        .reactors = n->reactors,
        .reactor_count = n->reactor_count,
        .cluster = n->membership.cluster,
        .node = n->stores.node,
        .log = n->log,
    };

    return links_create(&config, &n->links);
}

struct status node_stores_open(struct node *n)
{
    if (!n->stores.served)
        return STATUS(OK);
    const struct server_config config = {
        .reactors = n->reactors,
        .reactor_count = n->reactor_count,
        .cluster = n->membership.cluster,
        .leases = n->stores.leases,
        .allows = allows,
        .ctx = n,
    };
    TRY(open_links(n));
    TRY(server_create(&config, &n->server));
    for (unsigned i = 0; i < n->disk_count; i++) {
        if (n->disks[i].store != NULL)
            node_stores_add(n, &n->disks[i]);
    }
    return add_subsys(n);
}

void node_stores_add(struct node *n, struct node_disk *d)
{
    assert(d->store != NULL);
    if (n->server != NULL)
        server_add_disk(n->server, slot_of(n, d), d->info.identity.disk, d->store);
}

void node_stores_remove(struct node *n, struct node_disk *d, void (*done)(void *ctx), void *ctx)
{
    if (n->server != NULL)
        server_remove_disk(n->server, slot_of(n, d), done, ctx);
    else
        done(ctx);
}

struct status node_stores_set_members(struct node *n, const struct node_desired *desired)
{
    const size_t bytes = desired->member_count * sizeof *n->members;

    if (n->server == NULL)
        return STATUS(OK);
    struct uuid *const members = malloc(bytes + 1);
    if (members == NULL)
        return STATUS(NO_MEMORY);
    if (bytes > 0)
        memcpy(members, desired->members, bytes);
    free(n->members);
    n->members = members;
    n->member_count = desired->member_count;
    nvme_subsys_hosts_changed(n->stores_subsys);
    return STATUS(OK);
}

/* ---- The end ---- */

static void stop_server(void *ctx)
{
    struct node *n = ctx;

    if (n->server != NULL)
        server_stop(n->server, n->stores_stopped, n->stores_ctx);
    else
        n->stores_stopped(n->stores_ctx);
}

void node_stores_stop(struct node *n, void (*done)(void *ctx), void *ctx)
{
    n->stores_stopped = done;
    n->stores_ctx = ctx;
    if (n->links != NULL)
        links_stop(n->links, stop_server, n);
    else
        stop_server(n);
}

void node_stores_close(struct node *n)
{
    links_destroy(n->links);
    n->links = NULL;
    server_destroy(n->server);
    n->server = NULL;
}
