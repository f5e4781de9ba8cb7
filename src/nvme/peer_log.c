/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines that peers cause, as often as they like.
 *
 * W2: each shard has so many of them, and then so many per second: a peer that connects and is
 * refused in a loop neither fills the disk with the log nor keeps the reactor writing it.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "nvme/conn.h"

/* Time that the lines so far have used up, each NVME_LOG_LINE_NS, runs ahead of the clock by at
 * most that of NVME_LOG_LINES_BURST. */
static bool may_log(struct nvme_shard *shard, uint64_t now_ns)
{
    const uint64_t from = max_u64(shard->log_used_until_ns, now_ns);

    if (from - now_ns >= NVME_LOG_LINES_BURST * NVME_LOG_LINE_NS)
        return false;
    shard->log_used_until_ns = from + NVME_LOG_LINE_NS;
    return true;
}

void peer_log(struct nvme_shard *shard, enum log_level level, const char *format, ...)
{
    struct log *log = shard->reactor->log;
    char line[LOG_LINE_BYTES];
    va_list args;

    if (level > log->level)
        return;
    if (!may_log(shard, reactor_now_ns(shard->reactor))) {
        shard->log_left_out++;
        return;
    }
    if (shard->log_left_out > 0)
        log_warning(log, "%" PRIu64 " lines about hosts were left out: there are too many",
                    shard->log_left_out);
    shard->log_left_out = 0;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log_write(log, level, "%s", line);
}
