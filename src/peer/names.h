/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two nodes call each other on a link (docs/replication.md, section 2.1): the engine's node
 * is the host, the store's node the subsystem.
 *
 *   nqn.2026-01.io.trilith:node:UUID      host NQN: engines of the node with this UUID
 *   nqn.2026-01.io.trilith:store:UUID     subsystem: stores of the node with this UUID
 *
 * Threading: pure.   Memory: values.
 */
#ifndef PEER_NAMES_H
#define PEER_NAMES_H

#include "base/status.h"
#include "base/uuid.h"
#include "nvme/nqn.h"

#define PEER_NODE_NQN_PREFIX  "nqn.2026-01.io.trilith:node:"
#define PEER_STORE_NQN_PREFIX "nqn.2026-01.io.trilith:store:"

/* The host NQN under which engines of this node connect. */
struct nqn_text peer_node_nqn(struct uuid node);

/* The NQN of the subsystem in front of this node's stores. */
struct nqn_text peer_store_nqn(struct uuid node);

/*
 * The node in a host NQN.  NOT_FOUND if it is the NQN of anything else: in another form than
 * peer_node_nqn() gives it, too, so that one node has one name.
 */
struct status peer_node_parse(const char *nqn, struct uuid *out_node) MUST_CHECK;

#endif
