/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks devices for the logs of device_log.h, in a thread of its own: the call blocks, on a sick
 * disk for as long as the kernel is patient.
 *
 *     device_logs_ask(logs, disk, path) --> thread: ioctl --> found(ctx, disk, &log), on home
 *
 * One device is asked after the other.  A rotating disk that sleeps is not woken: nothing is found
 * then.
 *
 * Threading: all functions, and found, on home.
 * Memory:    whatever the thread still works on when it is stopped is freed by it.
 */
#ifndef DISK_DEVICE_LOGS_H
#define DISK_DEVICE_LOGS_H

#include "base/uuid.h"
#include "disk/device_log.h"
#include "io/reactor.h"

struct device_logs;

/* log is NULL if the disk sleeps: what was known of it still holds. */
typedef void device_logs_fn(void *ctx, struct uuid disk, const struct device_log *log);

struct status device_logs_start(struct reactor *home, device_logs_fn *found, void *ctx,
                                struct device_logs **out_logs) MUST_CHECK;

/* found follows, once.  NO_MEMORY: it does not.  path is copied. */
struct status device_logs_ask(struct device_logs *logs, struct uuid disk,
                              const char *path) MUST_CHECK;

/*
 * found is not called any more.  Does not wait for the thread, but home has to turn once more: an
 * answer may be on its way.  NULL is allowed.
 */
void device_logs_stop(struct device_logs *logs);

/* The work itself, which blocks: false if the disk sleeps.  Of fd: an open block device. */
bool device_log_read(const char *path, struct device_log *out_log);
bool device_log_read_fd(int fd, struct device_log *out_log);

#endif
