/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node's stores for engines of other nodes: a subsystem of the target's with the commands of the
 * store protocol, and the server behind it (docs/replication.md, section 2).
 */
#include <stdio.h>

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

struct status node_stores_open(struct node *n)
{
    if (!n->stores.served)
        return STATUS(OK);
    const struct server_config config = {
        .reactors = n->reactors,
        .reactor_count = n->reactor_count,
        .cluster = n->membership.cluster,
        .leases = n->stores.leases,
        .allows = n->stores.allows,
        .ctx = n->ctx,
    };
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

void node_stores_stop(struct node *n, void (*done)(void *ctx), void *ctx)
{
    if (n->server != NULL)
        server_stop(n->server, done, ctx);
    else
        done(ctx);
}

void node_stores_close(struct node *n)
{
    server_destroy(n->server);
    n->server = NULL;
}
