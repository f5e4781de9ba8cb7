/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the device backends share.
 */
#ifndef DISK_DEV_INTERNAL_H
#define DISK_DEV_INTERNAL_H

#include "disk/dev.h"

/* Ends a request with its outcome.  io may be gone afterwards. */
void dev_io_finish(struct dev_io *io, struct status st);

#endif
