/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/names.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof PEER_STORE_NQN_PREFIX - 1 + UUID_TEXT_BYTES <= NQN_TEXT_BYTES,
               "a node's names must fit into an NQN");

static struct nqn_text nqn_of(const char *prefix, struct uuid node)
{
    struct nqn_text nqn = { { 0 } };

    snprintf(nqn.s, sizeof nqn.s, "%s%s", prefix, uuid_format(node).s);
    return nqn;
}

struct nqn_text peer_node_nqn(struct uuid node)
{
    return nqn_of(PEER_NODE_NQN_PREFIX, node);
}

struct nqn_text peer_store_nqn(struct uuid node)
{
    return nqn_of(PEER_STORE_NQN_PREFIX, node);
}

struct status peer_node_parse(const char *nqn, struct uuid *out_node)
{
    const size_t prefix_bytes = sizeof PEER_NODE_NQN_PREFIX - 1;
    struct uuid node;

    if (strncmp(nqn, PEER_NODE_NQN_PREFIX, prefix_bytes) != 0)
        return STATUS(NOT_FOUND);
    if (!status_ok(uuid_parse(nqn + prefix_bytes, &node)) || uuid_is_nil(node))
        return STATUS(NOT_FOUND);
    if (strcmp(peer_node_nqn(node).s, nqn) != 0)
        return STATUS(NOT_FOUND); /* In capitals. */
    *out_node = node;
    return STATUS(OK);
}
