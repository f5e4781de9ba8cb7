/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WatchNode: a node's part of the desired state, answered when it has changed.
 *
 * Threading: as ctl.h.   Memory: a held call has an entry in ctl.node_watches.
 */
#ifndef CTL_NODE_WATCH_H
#define CTL_NODE_WATCH_H

#include "ctl/ctl_internal.h"

void on_watch_node(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);

#endif
