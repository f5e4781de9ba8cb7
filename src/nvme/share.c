/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each peer may have of what all hosts share: queues, entries of queues, controllers.
 *
 * W2: a peer may have as much as is left free.  So n peers that take what they can leave a part of
 * 1 / (n + 1), as much as each of them has, and one of them alone leaves half.
 *
 * A peer is an address, not a host's name: without authentication any host may say any name, and
 * as many as it likes.  Hosts behind one address share what it may have.  Of an IPv6 address the
 * first 64 bits count, since whoever has one of these networks has all of its addresses; not so in
 * the network that all neighbours on a link share.
 */
#include <assert.h>

#include "nvme/target_internal.h"

#define PEER_IPV6_BYTES 8

static bool is_link_local(const struct io_addr *a)
{
    return a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

bool share_same_peer(const struct io_addr *a, const struct io_addr *b)
{
    size_t bytes = sizeof a->ip;

    if (a->family != b->family)
        return false;
    if (a->family == IO_FAMILY_IPV4)
        bytes = 4;
    else if (!is_link_local(a))
        bytes = PEER_IPV6_BYTES;
    return a->scope_id == b->scope_id && memcmp(a->ip, b->ip, bytes) == 0;
}

static struct nvme_peer *find_peer(const struct nvme_target *target, const struct io_addr *addr)
{
    LIST_FOR_EACH (node, &target->peers) {
        struct nvme_peer *peer = CONTAINER_OF(node, struct nvme_peer, link);

        if (share_same_peer(&peer->addr, addr))
            return peer;
    }
    return NULL;
}

/* Whether who has held of total, of which used are in use, may have wanted more. */
static bool within(unsigned held, unsigned wanted, unsigned used, unsigned total)
{
    if (used + wanted > total)
        return false;
    return held == 0 || held + wanted <= total - used - wanted;
}

bool share_allows_queue(const struct nvme_conn *conn, unsigned entries)
{
    const struct nvme_target *target = conn->target;
    const struct nvme_peer *peer = find_peer(target, &conn->peer);
    const unsigned held_entries = peer != NULL ? peer->entries : 0;
    const unsigned held_queues = peer != NULL ? peer->queues : 0;

    return within(held_entries, entries, target->commands, target->commands_max) &&
           within(held_queues, 1, target->queues, target->connections_max);
}

bool share_allows_ctrl(const struct nvme_subsys *subsys, const struct nvme_conn *conn)
{
    const struct nvme_peer *peer = find_peer(subsys->target, &conn->peer);
    unsigned held = 0, used = 0;

    LIST_FOR_EACH (node, &subsys->ctrls) {
        used++;
        if (peer != NULL && CONTAINER_OF(node, struct nvme_ctrl, link)->peer == peer)
            held++;
    }
    return within(held, 1, used, NVME_CNTLIDS_PER_NODE);
}

bool share_take(struct nvme_conn *conn, unsigned entries)
{
    struct nvme_target *target = conn->target;
    struct nvme_peer *peer = find_peer(target, &conn->peer);

    assert(conn->share == NULL);
    if (peer == NULL) {
        peer = calloc(1, sizeof *peer);
        if (peer == NULL)
            return false;
        peer->addr = conn->peer;
        list_node_init(&peer->link);
        list_push_back(&target->peers, &peer->link);
    }
    peer->queues++;
    peer->entries += entries;
    target->queues++;
    target->commands += entries;
    conn->share = peer;
    conn->home_entries = entries;
    return true;
}

void share_give_back(struct nvme_conn *conn)
{
    struct nvme_target *target = conn->target;
    struct nvme_peer *peer = conn->share;

    assert(peer != NULL && peer->queues > 0 && peer->entries >= conn->home_entries);
    target->commands -= conn->home_entries;
    target->queues--;
    peer->entries -= conn->home_entries;
    peer->queues--;
    conn->share = NULL;
    conn->home_entries = 0;
    if (peer->queues == 0) {
        list_remove(&peer->link);
        free(peer);
    }
}
