/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the messages of api/trilith/v1/node.proto and the structs of desired.h.
 *
 * Threading: pure.   Memory: results are built in the caller's arena; a report borrows from the
 *            node's as well.
 */
#ifndef NODE_AGENT_CONVERT_H
#define NODE_AGENT_CONVERT_H

#include "node/desired.h"
#include "rpc/arena.h"
#include "trilith/v1/node.pb-c.h"

/*
 * Checks the node's part (the controller is outside too, W1): CORRUPT if a length, an index or a
 * size in it cannot be, and then problem says which.
 */
struct status agent_desired(const Trilith__V1__WatchNodeResponse *response, struct arena *arena,
                            struct node_desired *out_desired,
                            char problem[NODE_REASON_BYTES]) MUST_CHECK;

Trilith__V1__ReportStatusRequest *agent_report(const struct node_report *report, struct uuid node,
                                               struct arena *arena);

#endif
