/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trilith node start | stop: the process of a node that has run on this machine before.
 *
 *   DIR/NAME/lock   held by the process, with its number in it
 *   DIR/NAME/args   what it was started with but --force, an argument a line
 *   DIR/NAME/log    what it says when `trilith node start` has started it
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/span.h"
#include "cmd/cli.h"
#include "cmd/command.h"
#include "cmd/node_holder.h"
#include "nvme/nqn.h"

#define WAIT_S   30
#define PAUSE_US 50000
#define ARGS_MAX 1024

enum { OPT_DATA = 256 };

static const struct cli_option options[] = {
    { "data", OPT_DATA, "DIR", "the directory that the node was run with" },
};

struct process {
    const char *name;
    const char *data;
    char folder[PATH_MAX]; /* DIR/NAME */
};

static void fd_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static void path_of(const struct process *p, const char *file, char out_path[PATH_MAX])
{
    (void)snprintf(out_path, PATH_MAX, "%.3900s/%s", p->folder, file);
}

/* False: the command ends with args->exit_status. */
static bool parse(const struct cli_syntax *syntax, int argc, char **argv, struct cli_args *args,
                  struct process *p)
{
    int id;

    *p = (struct process) { 0 };
    cli_begin(args, syntax, argc, argv);
    while ((id = cli_next(args)) != CLI_END) {
        if (id != OPT_DATA)
            return false;
        p->data = args->value;
    }
    p->name = args->operands[0];
    if (p->data == NULL) {
        (void)cli_usage(args, "--data DIR is missing: where does the node keep its files?");
        return false;
    }
    if (!volume_name_is_valid(p->name)) {
        (void)cli_usage(args, "node '%s': a name has %s", p->name, VOLUME_NAME_RULE);
        return false;
    }
    (void)snprintf(p->folder, sizeof p->folder, "%.3800s/%s", p->data, p->name);
    return true;
}

/* The number of the process that holds the lock; 0: none does, -1: that was said already. */
static long holder(const struct process *p)
{
    const long pid = node_holder(p->data, p->name);

    if (pid < 0)
        (void)cli_fail("node '%s': no node of this name has run in '%s': %s", p->name, p->data,
                       strerror(errno));
    return pid;
}

/* ---- stop ---- */

static const struct cli_syntax stop_syntax = {
    .command = "trilith node stop",
    .operands = "NAME --data DIR",
    .about = "Ends the process of a node on this machine in order, and waits until it has ended.",
    .options = options,
    .option_count = ARRAY_COUNT(options),
    .operands_min = 1,
    .operands_max = 1,
};

int cmd_node_stop(int argc, char **argv)
{
    struct process p;
    struct cli_args args;

    if (!parse(&stop_syntax, argc, argv, &args, &p))
        return args.exit_status;
    const long pid = holder(&p);
    if (pid < 0)
        return COMMAND_FAILED;
    if (pid == 0)
        return cli_fail("node '%s': it does not run", p.name);
    if (kill((pid_t)pid, SIGTERM) != 0)
        return cli_fail("node '%s': process %ld: %s", p.name, pid, strerror(errno));
    for (unsigned i = 0; i < WAIT_S * (1000000 / PAUSE_US); i++) {
        if (holder(&p) != pid)
            return COMMAND_OK;
        usleep(PAUSE_US);
    }
    return cli_fail("node '%s': process %ld has not ended within %d s", p.name, pid, WAIT_S);
}

/* ---- start ---- */

static const struct cli_syntax start_syntax = {
    .command = "trilith node start",
    .operands = "NAME --data DIR",
    .about = "Starts a node that has run on this machine before, as it was started then but for\n"
             "--force, and waits until it serves.  What it says is in DIR/NAME/log.",
    .options = options,
    .option_count = ARRAY_COUNT(options),
    .operands_min = 1,
    .operands_max = 1,
};

/* The file's lines as arguments behind "trilith node run"; NULL, and why was said. */
static char **read_args(const struct process *p, char *text, size_t bytes)
{
    static const char *const first[] = { "trilith", "node", "run" };
    char path[PATH_MAX];
    char **args = calloc(ARGS_MAX + 4, sizeof *args);
    unsigned count = 0;

    path_of(p, "args", path);
    CLEANUP(fd_close) const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 || args == NULL ? -1 : read(fd, text, bytes - 1);
    if (got < 0) {
        (void)cli_fail("node '%s': cannot read '%s': %s", p->name, path, strerror(errno));
        free(args);
        return NULL;
    }
    text[got] = '\0';
    for (; count < ARRAY_COUNT(first); count++)
        args[count] = (char *)(uintptr_t)first[count];
    for (char *line = text; *line != '\0' && count < ARGS_MAX;) {
        char *const end = line + strcspn(line, "\n");
        args[count++] = line;
        line = *end == '\0' ? end : end + 1;
        *end = '\0';
    }
    return args;
}

/* In the child: a process of its own, which survives us. */
static void become(const struct process *p, char *const *args)
{
    char path[PATH_MAX];

    path_of(p, "log", path);
    const int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log >= 0 && nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 &&
        dup2(log, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0 && setsid() >= 0)
        execv("/proc/self/exe", args);
    _exit(127);
}

/* Whether it has written where it listens.  Its lock is left alone: it may be about to take it. */
static bool is_up(const struct process *p, pid_t pid)
{
    char path[PATH_MAX];

    path_of(p, "run.json", path);
    json_t *run = json_load_file(path, 0, NULL);
    const bool up = json_integer_value(json_object_get(run, "pid")) == (json_int_t)pid;
    json_decref(run);
    return up;
}

static int wait_until_up(const struct process *p, pid_t pid)
{
    int status;

    for (unsigned i = 0; i < WAIT_S * (1000000 / PAUSE_US); i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return cli_fail("node '%s': it has ended; '%s/log' says why", p->name, p->folder);
        if (is_up(p, pid))
            return COMMAND_OK;
        usleep(PAUSE_US);
    }
    return cli_fail("node '%s': process %ld does not serve after %d s; see '%s/log'", p->name,
                    (long)pid, WAIT_S, p->folder);
}

int cmd_node_start(int argc, char **argv)
{
    static char text[1 << 16];
    struct process p;
    struct cli_args args;

    if (!parse(&start_syntax, argc, argv, &args, &p))
        return args.exit_status;
    const long pid = holder(&p);
    if (pid < 0)
        return COMMAND_FAILED;
    if (pid > 0)
        return cli_fail("node '%s': it runs already, as process %ld", p.name, pid);
    char **const child_args = read_args(&p, text, sizeof text);
    if (child_args == NULL)
        return COMMAND_FAILED;
    const pid_t child = fork();
    if (child == 0)
        become(&p, child_args);
    free(child_args);
    if (child < 0)
        return cli_fail("node '%s': %s", p.name, strerror(errno));
    return wait_until_up(&p, child);
}
