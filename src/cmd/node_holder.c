/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/node_holder.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/span.h"

static void fd_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

long node_holder(const char *data, const char *name)
{
    char path[PATH_MAX];
    char text[32] = "";

    (void)snprintf(path, sizeof path, "%.3800s/%.200s/lock", data, name);
    CLEANUP(fd_close) const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return pread(fd, text, sizeof text - 1, 0) > 0 ? strtol(text, NULL, 10) : 0;
}
