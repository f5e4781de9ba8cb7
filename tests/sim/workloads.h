/* SPDX-License-Identifier: Apache-2.0 */
/* The workloads, each in its own file. */
#ifndef TESTS_SIM_WORKLOADS_H
#define TESTS_SIM_WORKLOADS_H

#include "run.h"

extern const struct workload work_net;
extern const struct workload work_node;
extern const struct workload work_cluster;
extern const struct workload work_replicas;
extern const struct workload work_store;
extern const struct workload work_target;

#endif
