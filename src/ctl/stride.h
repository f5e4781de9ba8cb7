/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stride of a volume: the nodes that its shards may lie on, as a union of copysets.
 *
 * It is what bounds the harm: a node that fails touches the volumes whose strides have it, and
 * with strides of s of n nodes these are about s/n of all volumes.  Copysets with no node in common
 * are taken first, of these the emptiest, and those that are equal in an order drawn for the
 * volume; so nodes fill evenly, and one that is new is used next.
 *
 * Threading: pure.   Memory: the caller's.
 */
#ifndef CTL_STRIDE_H
#define CTL_STRIDE_H

#include "ctl/copyset.h"

struct stride_request {
    struct uuid volume;
    uint64_t planned_bytes; /* Of the volume, with all its replicas. */
    /* At most so many; at least one copyset is taken.  0: as many as two copysets have,
     * and as many more as it takes for the planned bytes to fit. */
    uint32_t nodes_max;
};

/*
 * Chooses among the copysets whose nodes are all in allowed.  out_sets has those that lie in the
 * stride, in the order of sets; out_sets may be sets itself.  Returns the stride: 0 if no copyset
 * is allowed, and then out_sets is empty.
 */
uint64_t stride_choose(const struct placement_cluster *cluster, const struct copysets *sets,
                       uint64_t allowed, const struct stride_request *request,
                       struct copysets *out_sets);

/* Keeps, in out_sets, the copysets whose nodes are all in nodes; returns the nodes they have. */
uint64_t stride_within(const struct copysets *sets, uint64_t nodes, struct copysets *out_sets);

#endif
