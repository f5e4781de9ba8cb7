/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the store's offline check of one disk and reports it.
 *
 * Threading: the main thread, on which the reactor runs meanwhile.   Memory: freed at its end.
 */
#ifndef CMD_DISK_CHECK_H
#define CMD_DISK_CHECK_H

#include "cmd/cli.h"

/* repair: what can be repaired is.  The command's exit status; all has been printed. */
int disk_check(const char *path, enum cli_format format, bool repair);

#endif
