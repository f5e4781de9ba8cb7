/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_children.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/node_holder.h"

/* What is added to the options of `trilith up`. */
#define ARGS_MORE 11

/* ---- What a child is told ---- */

/* Options of `trilith up` that are not a node's, or that each child has of its own. */
static const char *const ours[] = { "nodes", "zones", "api", "port", "rebuild-after", NULL };

/* "node run", the node's own options, and those that it shares; out has room for them. */
static void child_args(char **out, char *const *shared, char *const own[ARGS_MORE])
{
    unsigned count = 0;

    while (count < ARGS_MORE && own[count] != NULL) {
        out[count] = own[count];
        count++;
    }
    for (unsigned i = 0; shared[i] != NULL; i++)
        out[count++] = shared[i];
    out[count] = NULL;
}

static void become(char *const *args)
{
    /* Ctrl-C is meant for whoever starts us, and that one ends us, however it ends itself. */
    (void)setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0)
        execv("/proc/self/exe", args);
    _exit(127);
}

static struct status MUST_CHECK start_one(struct up_children *c, const struct up_options *options,
                                          int argc, char *const *shared, const char *api)
{
    char name[32];
    char port[16];
    char zone[32];
    char *own[ARGS_MORE] = { (char *)(uintptr_t) "trilith",
                             (char *)(uintptr_t) "node",
                             (char *)(uintptr_t) "run",
                             (char *)(uintptr_t) "--name",
                             name,
                             (char *)(uintptr_t) "--controller",
                             (char *)(uintptr_t)api,
                             (char *)(uintptr_t) "--port",
                             port,
                             options->zones > 0 ? (char *)(uintptr_t) "--zone" : NULL,
                             zone };
    char **args = calloc((size_t)argc + ARGS_MORE + 1, sizeof *args);

    if (args == NULL)
        return STATUS(NO_MEMORY);
    snprintf(name, sizeof name, "node-%u", c->count + 1);
    snprintf(port, sizeof port, "%u",
             options->listen.port == 0 ? 0u : options->listen.port + c->count);
    snprintf(zone, sizeof zone, "zone-%u", options->zones > 0 ? c->count % options->zones + 1 : 0);
    child_args(args, shared, own);
    const pid_t pid = fork();
    if (pid == 0)
        become(args);
    const int err = errno;
    free(args);
    if (pid < 0) {
        (void)cli_fail("cannot start node '%s': %s", name, strerror(err));
        return status_from_errno(err);
    }
    c->pid[c->count++] = pid;
    c->running++;
    return STATUS(OK);
}

struct status up_children_start(struct up_children *c, const struct up_options *options, int argc,
                                char **argv, const char *api)
{
    char **const shared = up_options_spell(options, argc, argv, ours);
    struct status st = shared != NULL ? STATUS(OK) : STATUS(NO_MEMORY);

    *c = (struct up_children) { 0 };
    while (status_ok(st) && c->count < options->nodes)
        st = start_one(c, options, argc, shared, api);
    if (!status_ok(st))
        up_children_stop(c, options->data);
    free(shared);
    return st;
}

/* ---- Their ends ---- */

static void say_end(struct log *log, unsigned number, int status)
{
    if (WIFSIGNALED(status))
        log_error(log, "node 'node-%u': its process was ended by signal %d", number,
                  WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        log_error(log, "node 'node-%u': its process has ended with %d", number,
                  WEXITSTATUS(status));
    else
        log_info(log, "node 'node-%u': its process has ended", number);
}

void up_children_reap(struct up_children *c, struct log *log)
{
    for (unsigned i = 0; i < c->count; i++) {
        int status = 0;
        if (c->pid[i] == 0 || waitpid(c->pid[i], &status, WNOHANG) != c->pid[i])
            continue;
        c->pid[i] = 0;
        c->running--;
        say_end(log, i + 1, status);
    }
}

/* The process that runs a node whose child has ended; 0: none. */
static pid_t other_holder(const struct up_children *c, unsigned child, const char *data)
{
    char name[32];

    if (c->pid[child] != 0)
        return 0;
    snprintf(name, sizeof name, "node-%u", child + 1);
    const long pid = node_holder(data, name);
    return pid > 0 ? (pid_t)pid : 0;
}

unsigned up_children_others(const struct up_children *c, const char *data)
{
    unsigned count = 0;

    for (unsigned i = 0; i < c->count; i++)
        count += other_holder(c, i, data) != 0 ? 1 : 0;
    return count;
}

void up_children_name_others(const struct up_children *c, const char *data, struct log *log)
{
    for (unsigned i = 0; i < c->count; i++) {
        const pid_t other = other_holder(c, i, data);
        if (other != 0)
            log_error(log, "node 'node-%u': process %ld has not ended, and is not waited for",
                      i + 1, (long)other);
    }
}

void up_children_stop(const struct up_children *c, const char *data)
{
    for (unsigned i = 0; i < c->count; i++) {
        const pid_t other = other_holder(c, i, data);
        if (c->pid[i] != 0)
            (void)kill(c->pid[i], SIGTERM);
        else if (other != 0)
            (void)kill(other, SIGTERM);
    }
}
