/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetLoss of the StatusService: loss.h for the volumes that there are.
 *
 * A call takes up to a second of the controller's thread: it is asked by people, not by the clock.
 *
 * Threading: as ctl.h.   Memory: some 500 KiB while it works.
 */
#ifndef CTL_LOSS_SERVICE_H
#define CTL_LOSS_SERVICE_H

#include "ctl/ctl_internal.h"

void on_get_loss(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);

#endif
