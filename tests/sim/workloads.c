/* SPDX-License-Identifier: Apache-2.0 */
#include "workloads.h"

#include <stddef.h>

const struct workload *const workloads[] = { &work_net,  &work_store,    &work_target,
                                             &work_node, &work_replicas, &work_cluster,
                                             NULL };
