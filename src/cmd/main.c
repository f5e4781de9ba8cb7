/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/span.h"
#include "cmd/cli.h"
#include "cmd/command.h"
#include "cmd/version.h"

static const struct command commands[] = {
    { "volume", "create, list, show, resize, set, delete, verify and wait for volumes",
      cmd_volume },
    { "disk", "list, show, add, grow, remove and check disks", cmd_disk },
    { "scrub", "read disks in the background, and repair what is bad", cmd_scrub },
    { "node", "run, start, stop, list and show nodes; what losing some would lose", cmd_node },
    { "status", "show the health of the cluster", cmd_status },
    { "perf", "measure and verify a volume over NVMe/TCP", cmd_perf },
    { "up", "run a controller and a node: a whole cluster on this machine", cmd_up },
    { "version", "print the version", cmd_version },
};

static const struct cli_option version_options[] = { CLI_OPTION_OUTPUT };

static const struct cli_syntax version_syntax = {
    .command = "trilith version",
    .operands = "",
    .about = "Prints the version of this program.",
    .options = version_options,
    .option_count = ARRAY_COUNT(version_options),
};

int cmd_version(int argc, char **argv)
{
    enum cli_format format = CLI_FORMAT_TABLE;
    struct cli_args args;
    int id;

    cli_begin(&args, &version_syntax, argc, argv);
    while ((id = cli_next(&args)) != CLI_END)
        if (id == CLI_EXIT || !cli_output(&args, &format))
            return args.exit_status;
    if (format == CLI_FORMAT_TABLE)
        printf("trilith %s\n", TRILITH_VERSION);
    else
        printf("{\n  \"version\": \"%s\"\n}\n", TRILITH_VERSION);
    return COMMAND_OK;
}

/*
 * What is opened next shall not get the number of a stream that was closed: messages would go to
 * the lock file.  Libraries open some before main(), so that this begins anew: only those are
 * closed upon exec.
 */
static void open_streams(char **argv)
{
    bool good = true;
    bool again = false;

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        const int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && (flags & FD_CLOEXEC) == 0)
            continue;
        const int nothing = open("/dev/null", O_RDWR);
        good = good && nothing >= 0 && dup2(nothing, fd) == fd;
        if (nothing > STDERR_FILENO)
            close(nothing);
        again = true;
    }
    if (again && good)
        (void)execv("/proc/self/exe", argv);
}

static int run(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0))
        return cmd_version(1, argv);
    return command_dispatch("trilith", commands, sizeof commands / sizeof commands[0], argc, argv);
}

/* A script that reads what was printed must hear that some of it is missing. */
static int check_output(int status)
{
    const char *why = "some of it is missing";

    if (fflush(stdout) != 0)
        why = strerror(errno);
    else if (!ferror(stdout))
        return status;
    (void)cli_fail("the output could not be written: %s", why);
    return status == COMMAND_OK ? COMMAND_FAILED : status;
}

int main(int argc, char **argv)
{
    open_streams(argv);
    return check_output(run(argc, argv));
}
