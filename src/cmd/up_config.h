/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options from a file, for `trilith node run --config FILE`: one a line, as on the command line but
 * without the dashes; what stands on the command line comes behind them, and so wins.
 *
 *     # node-2 of the cluster in room 7
 *     name        node-2
 *     controller  192.0.2.1:7420
 *     data        /srv/trilith
 *     disk        /dev/disk/by-id/nvme-one
 *     disk        /dev/disk/by-id/nvme-two
 *
 * Threading: the main thread.   Memory: the heap; up_config_free().
 */
#ifndef CMD_UP_CONFIG_H
#define CMD_UP_CONFIG_H

#include "base/status.h"

struct up_config {
    char **argv;   /* NULL: there is no file. */
    char **values; /* That are the file's, ... */
    int count;     /* ... and how many. */
};

/*
 * Puts the file's options in the place of --config FILE, if that is among the arguments, which are
 * the config's then.  What is wrong has been printed.
 */
struct status up_config_expand(struct up_config *out_config, int *argc, char ***argv) MUST_CHECK;

/* Also after a failure. */
void up_config_free(struct up_config *config);

#endif
