/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of what a request says, after it was decoded (W1): lengths, ranges, forms.  Every limit
 * is in limits.h.  A failure says which field, what is wrong with it, and what would be right.
 *
 * Threading: pure.   Memory: the problem is the caller's.
 */
#ifndef CTL_VALIDATE_H
#define CTL_VALIDATE_H

#include <stdbool.h>

#include "base/status.h"
#include "base/uuid.h"
#include "rpc/limits.h"
#include "trilith/v1/node.pb-c.h"
#include "trilith/v1/volume.pb-c.h"

struct problem {
    char s[RPC_TEXT_BYTES];
};

/* All of these return INVALID with a problem, or OK. */
struct status validate_spec(const Trilith__V1__VolumeSpec *spec,
                            struct problem *problem) MUST_CHECK;
struct status validate_join(const Trilith__V1__JoinClusterRequest *request,
                            struct problem *problem) MUST_CHECK;
struct status validate_report(const Trilith__V1__ReportStatusRequest *request,
                              struct problem *problem) MUST_CHECK;
/* An absolute path without line breaks. */
struct status validate_disk_path(const char *path, struct problem *problem) MUST_CHECK;
/* The size of a volume; its name is for the problem. */
struct status validate_volume_bytes(const char *name, uint64_t bytes,
                                    struct problem *problem) MUST_CHECK;
/* Of so many replicas at least so many in sync; 0 is not said. */
struct status validate_min_in_sync(const char *name, uint32_t min_in_sync, uint32_t replicas,
                                   struct problem *problem) MUST_CHECK;
struct status validate_wait(uint32_t wait_ms, struct problem *problem) MUST_CHECK;

/* The 16 bytes of field name; nil is refused. */
struct status validate_uuid(ProtobufCBinaryData field, const char *name, struct uuid *out_uuid,
                            struct problem *problem) MUST_CHECK;

#endif
