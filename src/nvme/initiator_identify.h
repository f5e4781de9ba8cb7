/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a controller's Identify data mean to a host.  The bytes are the peer's: whatever they
 * hold, what comes out is within our own limits (W1).
 *
 * Threading: pure.   Memory: caller's.
 */
#ifndef NVME_INITIATOR_IDENTIFY_H
#define NVME_INITIATOR_IDENTIFY_H

#include "nvme/identify_spec.h"
#include "nvme/initiator.h"

/*
 * Identify Controller.  Fills in what it says, leaves cntlid, queue_entries_max and io_queues.
 * CORRUPT if its id is not the one that Connect gave, or its capsules are too small to be true.
 */
struct status initiator_parse_ctrl(const uint8_t raw[NVME_IDENTIFY_BYTES],
                                   struct initiator_ctrl_info *info) MUST_CHECK;

/* Active Namespace ID list: the first namespace; NOT_FOUND if there is none. */
struct status initiator_parse_ns_list(const uint8_t raw[NVME_IDENTIFY_BYTES],
                                      uint32_t *out_nsid) MUST_CHECK;

/* Identify Namespace: size and LBA size.  UNSUPPORTED for formats with metadata or odd sizes. */
struct status initiator_parse_ns(const uint8_t raw[NVME_IDENTIFY_BYTES],
                                 struct initiator_ns_info *ns) MUST_CHECK;

/* Namespace Identification Descriptor list: the UUID, if there is one. */
void initiator_parse_ns_descriptors(const uint8_t raw[NVME_IDENTIFY_BYTES],
                                    struct initiator_ns_info *ns);

#endif
