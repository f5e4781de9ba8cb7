/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recording a new volume; see volume_create.c.
 *
 * Threading: as ctl.h.   Memory: nothing is kept.
 */
#ifndef CTL_VOLUME_CREATE_H
#define CTL_VOLUME_CREATE_H

#include "ctl/ctl_internal.h"

/*
 * Places and records a volume of a valid specification.  EXISTS: the name is taken; UNAVAILABLE:
 * no node can take it; problem says what.  warning is empty or says what the user should know.
 */
struct status volume_create(struct ctl *ctl, const Trilith__V1__VolumeSpec *spec,
                            char warning[RPC_TEXT_BYTES], struct problem *problem) MUST_CHECK;

#endif
