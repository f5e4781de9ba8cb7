/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/version.h"

static const struct command commands[] = {
    { "volume", "create, list, show and delete volumes", cmd_volume },
    { "disk", "list and show disks", cmd_disk },
    { "status", "show the health of the cluster", cmd_status },
    { "perf", "measure and verify a volume over NVMe/TCP", cmd_perf },
    { "up", "run a controller and a node: a whole cluster on this machine", cmd_up },
    { "version", "print the version", cmd_version },
};

int cmd_version(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        printf("usage: trilith version\n\nPrints the version of this program.\n");
        return COMMAND_OK;
    }
    if (argc > 1) {
        fprintf(stderr, "trilith: 'version' takes no arguments, '%s' was given\n", argv[1]);
        return COMMAND_USAGE;
    }
    printf("trilith %s\n", TRILITH_VERSION);
    return COMMAND_OK;
}

int main(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0))
        return cmd_version(1, argv);
    return command_dispatch("trilith", commands, sizeof commands / sizeof commands[0], argc, argv);
}
