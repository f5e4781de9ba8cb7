/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes are told where the others are, and their disks: volumes of theirs may lie on these, and
 * engines of others may use theirs.  It takes a transaction per node, after the one that has
 * changed it; of what does not come to that, a controller tells all nodes later, or when it starts.
 */
#include "ctl/ctl_internal.h"

static struct status bump_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    const struct uuid *node = ctx;

    return desired_bump(m, txn, *node);
}

static void tell_one(struct ctl *ctl, struct uuid node)
{
    const struct status st = meta_transact(ctl->meta, bump_build, &node, NULL);

    if (status_ok(st))
        return;
    log_error(ctl->log, "node %s could not be told where the others are: %s; trying on",
              uuid_format(node).s, status_text(st));
    ctl->untold = true;
}

void nodes_tell(struct ctl *ctl, struct uuid but)
{
    struct records nodes;
    const struct status st = records_read(ctl, KEY_NODES, &stored__v1__node__descriptor, &nodes);

    if (!status_ok(st)) {
        log_error(ctl->log, "nodes could not be told where the others are: %s; trying on",
                  status_text(st));
        ctl->untold = true;
        return;
    }
    for (size_t i = 0; i < nodes.count; i++) {
        const Stored__V1__Node *r = (const Stored__V1__Node *)(const void *)nodes.items[i];
        if (!uuid_equal(field_uuid(r->uuid), but))
            tell_one(ctl, field_uuid(r->uuid));
    }
    records_free(&nodes);
}

void nodes_tell_later(struct ctl *ctl)
{
    ctl->untold = true;
}

void nodes_tell_again(struct ctl *ctl)
{
    if (!ctl->untold)
        return;
    ctl->untold = false;
    nodes_tell(ctl, (struct uuid) { { 0 } });
}
