/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `trilith up`: a controller and a node in one process.  They know each other by the API alone,
 * so that they can as well be two: `trilith node run` is the node, and `trilith up --nodes N` the
 * controller beside so many of these.
 *
 *   options -> directory -> disks -> ports -> controller -> node -> wait for a signal -> stop
 *
 * Threading: the main thread sets up, waits for signals, and tears down; all work is done by the
 *            controller's threads and the node's reactors, which wake it with SIGUSR1.
 * Memory:    one struct up for the life of the process.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/command.h"
#include "cmd/up_children.h"
#include "cmd/up_config.h"
#include "cmd/up_dir.h"
#include "cmd/up_disks.h"
#include "cmd/up_node.h"
#include "cmd/up_options.h"
#include "cmd/version.h"
#include "ctl/controller.h"
#include "rpc/call.h"

/* A signal that comes earlier after the first one is the same: who ends a group of processes tells
 * each of them, and so does the one that has started them. */
#define SECOND_SIGNAL_MS 1000u

/* How long processes are waited for that are no children: nodes end within half a minute. */
#define OTHERS_MS 40000u

/* How long a port is waited for that a killed process may have had. */
#define PORT_TRIES    200
#define PORT_PAUSE_US 20000

/* How long a route to the controller is waited for. */
#define ROUTE_TRIES    150
#define ROUTE_PAUSE_US 200000

struct up {
    struct up_options options;
    struct up_dir dir;
    struct up_disks disks;
    struct controller *controller; /* NULL: node run. */
    struct up_node node;
    struct up_children children; /* With --nodes. */
    int argc;
    char **argv;
    struct log log;
    struct up_run run;
    char api_text[IO_ADDR_TEXT_BYTES]; /* Where the node's agent finds the API. */
    char token[RPC_TOKEN_BYTES];       /* The cluster's. */
    pthread_t main_thread;
};

/* ---- The process ---- */

static void log_to_stderr(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    if (level == LOG_LEVEL_INFO)
        fprintf(stderr, "trilith: %s\n", line);
    else
        fprintf(stderr, "trilith: %s: %s\n", log_level_name(level), line);
}

/* Every connection, disk and ring takes descriptors. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void wake_main(void *ctx)
{
    const struct up *up = ctx;

    pthread_kill(up->main_thread, SIGUSR1);
}

/* Blocks, in this thread and those that it makes, what the main thread waits for. */
static void block_signals(sigset_t *out_set)
{
    sigemptyset(out_set);
    sigaddset(out_set, SIGTERM);
    sigaddset(out_set, SIGINT);
    sigaddset(out_set, SIGUSR1);
    sigaddset(out_set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, out_set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* ---- Ports ---- */

union any_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t to_sockaddr(const struct io_addr *addr, union any_sockaddr *out)
{
    memset(out, 0, sizeof *out);
    if (addr->family == IO_FAMILY_IPV4) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(addr->port);
        memcpy(&out->v4.sin_addr, addr->ip, sizeof out->v4.sin_addr);
        return sizeof out->v4;
    }
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(addr->port);
    out->v6.sin6_scope_id = addr->scope_id;
    memcpy(&out->v6.sin6_addr, addr->ip, sizeof out->v6.sin6_addr);
    return sizeof out->v6;
}

static void fd_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Listens on the address for a moment, and takes over the port that it gave; 0 or an errno. */
static int try_port(struct io_addr *addr)
{
    union any_sockaddr sa;
    socklen_t bytes = to_sockaddr(addr, &sa);
    const int on = 1;
    CLEANUP(fd_close) int fd = socket(sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, &sa.any, bytes) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, &sa.any, &bytes) != 0)
        return errno;
    addr->port = ntohs(addr->family == IO_FAMILY_IPV4 ? sa.v4.sin_port : sa.v6.sin6_port);
    return 0;
}

/*
 * Sees whether the address can be listened on, and chooses its port if that is 0.  The target
 * listens later, when the disks are open; this is for a clear message before anything is made,
 * and because the controller is told the port first.
 *
 * The port of a process that was killed is free only when the kernel has let go of its rings: it
 * is worth waiting for that.
 */
static struct status check_port(const char *option, bool patient, struct io_addr *addr)
{
    int err = try_port(addr);

    for (unsigned i = 0; i < PORT_TRIES && patient && err == EADDRINUSE; i++) {
        usleep(PORT_PAUSE_US);
        err = try_port(addr);
    }
    if (err == 0)
        return STATUS(OK);
    (void)cli_fail("cannot listen on %s: %s; %s chooses another", io_addr_format(addr).s,
                   strerror(err), option);
    return status_from_errno(err);
}

/* An address under which this machine reaches a service that listens on addr. */
static struct io_addr reachable(const struct io_addr *addr)
{
    struct io_addr to = *addr;

    if (!io_addr_is_any(addr))
        return to;
    memset(to.ip, 0, sizeof to.ip);
    if (addr->family == IO_FAMILY_IPV4)
        memcpy(to.ip, (const uint8_t[]) { 127, 0, 0, 1 }, 4);
    else
        to.ip[15] = 1;
    return to;
}

/* From which address this machine would send to another one; 0 or an errno.  Nothing is sent. */
static int find_source(const struct io_addr *to, struct io_addr *out)
{
    union any_sockaddr sa;
    socklen_t bytes = to_sockaddr(to, &sa);
    CLEANUP(fd_close) int fd = socket(sa.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, &sa.any, bytes) != 0 || getsockname(fd, &sa.any, &bytes) != 0)
        return errno;
    *out = *to;
    if (to->family == IO_FAMILY_IPV4)
        memcpy(out->ip, &sa.v4.sin_addr, sizeof sa.v4.sin_addr);
    else
        memcpy(out->ip, &sa.v6.sin6_addr, sizeof sa.v6.sin6_addr);
    return 0;
}

/* The network may not be there yet, when the machine has just started. */
static bool may_pass(int err)
{
    return err == ENETUNREACH || err == EHOSTUNREACH || err == ENETDOWN || err == EADDRNOTAVAIL;
}

/* The address of this machine from which it reaches the controller, as others then reach it. */
static struct status seen_by_controller(const struct up_options *o, struct io_addr *out)
{
    int err = find_source(&o->control, out);

    for (unsigned i = 0; i < ROUTE_TRIES && may_pass(err); i++) {
        usleep(ROUTE_PAUSE_US);
        err = find_source(&o->control, out);
    }
    if (err != 0) {
        (void)cli_fail("cannot tell at which address other nodes reach this one, as the controller "
                       "at %s is not reached (%s): say it with --advertise",
                       io_addr_format(&o->control).s, strerror(err));
        return STATUS(UNAVAILABLE);
    }
    if (o->listen.family != o->control.family && o->listen.family == IO_FAMILY_IPV4) {
        (void)cli_fail("other nodes are to reach this one by IPv6, as it reaches the controller at "
                       "%s, but it listens on %s: say --listen :: or --advertise",
                       io_addr_format(&o->control).s, io_addr_format(&o->listen).s);
        return STATUS(INVALID);
    }
    out->port = o->listen.port;
    return STATUS(OK);
}

static struct status choose_addresses(struct up *up)
{
    struct up_options *o = &up->options;

    TRY(check_port("--listen or --port", up->dir.was_killed, &o->listen));
    up->run.listen = o->listen;
    up->run.advertise = o->has_advertise ? o->advertise : reachable(&o->listen);
    if (!o->has_advertise && o->name != NULL && io_addr_is_any(&o->listen))
        TRY(seen_by_controller(o, &up->run.advertise));
    if (up->run.advertise.port == 0)
        up->run.advertise.port = o->listen.port;
    o->advertise = up->run.advertise;
    return o->name != NULL ? STATUS(OK) : check_port("--api", up->dir.was_killed, &o->api);
}

/* ---- Starting ---- */

static struct status start_controller(struct up *up)
{
    char meta[PATH_MAX];
    char problem[CONTROLLER_PROBLEM_BYTES] = "";
    const struct io_addr_text listen = io_addr_format(&up->options.api);
    const struct controller_config config = {
        .meta_path = meta,
        .has_nodes = up_dir_has_joined(&up->dir),
        .listen = listen.s,
        .cluster_name = "trilith",
        .version = TRILITH_VERSION,
        .token = up->token,
        .log = &up->log,
        .rebuild_after_ns = up->options.rebuild_after_ns,
    };

    TRY(up_dir_check_meta(&up->dir));
    TRY(up_dir_path(&up->dir, "meta.db", meta));
    const struct status st = controller_start(&config, problem, &up->controller);
    if (!status_ok(st)) {
        (void)cli_fail("%s", problem);
        return st;
    }
    up->run.api = up->options.api;
    up->run.api.port = controller_port(up->controller);
    return STATUS(OK);
}

/* Where the nodes find the API. */
static void choose_api(struct up *up)
{
    const struct io_addr api =
        up->options.name != NULL ? up->options.control : reachable(&up->run.api);

    if (up->options.name != NULL)
        up->run.api = api;
    snprintf(up->api_text, sizeof up->api_text, "%s", io_addr_format(&api).s);
}

static struct status start_node(struct up *up)
{
    struct up_node_config config = {
        .options = &up->options,
        .disks = &up->disks,
        .dir = &up->dir,
        .listen = up->run.listen,
        .advertise = up->run.advertise,
        .api = up->api_text,
        .token = up->token,
        .log = &up->log,
        .wake = wake_main,
        .ctx = up,
    };

    TRY(up_dir_node_uuid(&up->dir, &config.uuid));
    return up_node_start(&up->node, &config);
}

static void print_node(const struct up *up)
{
    printf("Trilith %s, node '%s' in '%s/%s', process %ld, of the cluster at %s\n", TRILITH_VERSION,
           up->options.name, up->dir.path, up->options.name, (long)getpid(), up->api_text);
    printf("  NVMe/TCP  %s\n", io_addr_format(&up->run.listen).s);
    fflush(stdout);
}

static void print_cluster(const struct up *up)
{
    printf("Trilith %s in '%s', process %ld\n", TRILITH_VERSION, up->dir.path, (long)getpid());
    printf("  API       %s\n", io_addr_format(&up->run.api).s);
    for (unsigned i = 0; i < up->children.count; i++)
        printf("  node-%-4u port %u, process %ld\n", i + 1, up->run.listen.port + i,
               (long)up->children.pid[i]);
    fflush(stdout);
}

static void print_start(const struct up *up)
{
    if (up->options.name != NULL) {
        print_node(up);
        return;
    }
    printf("Trilith %s in '%s', process %ld\n", TRILITH_VERSION, up->dir.path, (long)getpid());
    printf("  API       %s\n", io_addr_format(&up->run.api).s);
    printf("  NVMe/TCP  %s\n", io_addr_format(&up->run.listen).s);
    for (unsigned i = 0; i < up->disks.count; i++)
        printf("  %-9s %s\n", i == 0 ? "disks" : "", up->disks.config[i].path);
    printf("A volume is made with: trilith volume create db1 --size 1G --api %s\n", up->api_text);
    fflush(stdout);
}

/* ---- Running ---- */

/* Waits until the node's state is neither of the two, or a signal to end comes. */
static bool wait_for_end_signal(struct up *up, const sigset_t *signals,
                                enum up_node_state while_state)
{
    while (up_node_state(&up->node) == while_state) {
        int signal_number = 0;
        if (while_state == UP_NODE_UP)
            up_node_run(&up->node);
        if (sigwait(signals, &signal_number) == 0 && signal_number != SIGUSR1 &&
            signal_number != SIGCHLD)
            return true;
    }
    return false;
}

static struct status MUST_CHECK write_args(const struct up *up, char *const *args)
{
    size_t bytes = 1;
    size_t at = 0;

    for (unsigned i = 0; args[i] != NULL; i++)
        bytes += strlen(args[i]) + 1;
    char *text = calloc(1, bytes);
    if (text == NULL)
        return STATUS(NO_MEMORY);
    for (unsigned i = 0; args[i] != NULL; i++)
        at += (size_t)snprintf(text + at, bytes - at, "%s\n", args[i]);
    const struct status st = up_dir_replace(&up->dir, up_dir_of_node(&up->dir, "args").s, text);
    free(text);
    return st;
}

/*
 * node run: what it was started with, an argument a line, for `trilith node start`.  --force was
 * said of what the disks held then: the next time they may hold something else.
 */
static struct status keep_args(const struct up *up)
{
    static const char *const once[] = { "force", NULL };

    if (up->options.name == NULL)
        return STATUS(OK);
    char **args = up_options_spell(&up->options, up->argc, up->argv, once);
    const struct status st = args != NULL ? write_args(up, args) : STATUS(NO_MEMORY);
    free(args);
    return st;
}

/* Serves until it is told to end; the exit status. */
static int serve(struct up *up, const sigset_t *signals)
{
    if (wait_for_end_signal(up, signals, UP_NODE_STARTING))
        return COMMAND_OK;
    if (up_node_state(&up->node) == UP_NODE_FAILED)
        return cli_fail("the node cannot serve: %s", up_node_problem(&up->node));
    if (!status_ok(up_disks_remember(&up->disks, &up->dir, up_node_served(&up->node))) ||
        !status_ok(keep_args(up)) || !status_ok(up_dir_write_run(&up->dir, &up->run)))
        return COMMAND_FAILED;
    print_start(up);
    (void)wait_for_end_signal(up, signals, UP_NODE_UP);
    log_info(&up->log, "stopping");
    return COMMAND_OK;
}

/* A second signal means now: the disks survive it like any other kill. */
static void stop_node(struct up *up, const sigset_t *signals)
{
    const enum up_node_state before = up_node_state(&up->node);
    const uint64_t since_ms = cli_now_ms();

    up_node_stop(&up->node);
    for (enum up_node_state now = before; now != UP_NODE_STOPPED; now = up_node_state(&up->node))
        if (wait_for_end_signal(up, signals, now) && cli_now_ms() - since_ms >= SECOND_SIGNAL_MS)
            _exit(COMMAND_FAILED);
    up_node_destroy(&up->node);
}

static int run_node(struct up *up, const sigset_t *signals)
{
    int exit_status = COMMAND_FAILED;

    if (status_ok(start_node(up))) {
        exit_status = serve(up, signals);
        stop_node(up, signals);
    } else {
        up_node_destroy(&up->node);
    }
    return exit_status;
}

/* Of processes that are no children no signal tells. */
static bool has_others(const struct up *up)
{
    return up_children_others(&up->children, up->options.data) > 0;
}

/* Waits for a signal to end, or until no node is left if they were told to end. */
static bool wait_for_children(struct up *up, const sigset_t *signals, bool ending)
{
    const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
    const uint64_t since_ms = cli_now_ms();

    while (!ending || up->children.running > 0 ||
           (has_others(up) && cli_now_ms() - since_ms < OTHERS_MS)) {
        const int signal_number = sigtimedwait(signals, NULL, ending ? &pause : NULL);
        if ((signal_number == SIGTERM || signal_number == SIGINT) &&
            (!ending || cli_now_ms() - since_ms >= SECOND_SIGNAL_MS))
            return true;
        up_children_reap(&up->children, &up->log);
    }
    return false;
}

/* A second signal to end means now: the nodes' processes are told so by the kernel. */
static int run_children(struct up *up, const sigset_t *signals)
{
    if (!status_ok(
            up_children_start(&up->children, &up->options, up->argc, up->argv, up->api_text)) ||
        !status_ok(up_dir_write_run(&up->dir, &up->run)))
        return COMMAND_FAILED;
    print_cluster(up);
    (void)wait_for_children(up, signals, false);
    log_info(&up->log, "stopping");
    up_children_stop(&up->children, up->options.data);
    if (wait_for_children(up, signals, true))
        _exit(COMMAND_FAILED);
    up_children_name_others(&up->children, up->options.data, &up->log);
    return has_others(up) ? COMMAND_FAILED : COMMAND_OK;
}

static int run(struct up *up, const sigset_t *signals)
{
    if (!status_ok(choose_addresses(up)) ||
        !status_ok(
            up_dir_token(&up->dir, up->options.token_path, up->options.name == NULL, up->token)))
        return COMMAND_FAILED;
    if (up->options.name == NULL && !status_ok(start_controller(up)))
        return COMMAND_FAILED;
    choose_api(up);
    const int exit_status =
        up->options.nodes > 0 ? run_children(up, signals) : run_node(up, signals);
    if (up->controller != NULL)
        controller_stop(up->controller);
    return exit_status;
}

static struct status open_dir(struct up *up)
{
    const struct up_options *o = &up->options;

    return o->name != NULL ? up_dir_open_node(o->data, o->name, &up->dir)
                           : up_dir_open(o->data, &up->dir);
}

static int run_in_dir(struct up *up)
{
    sigset_t signals;

    if (!status_ok(open_dir(up)))
        return COMMAND_FAILED;
    const struct status st =
        up->options.nodes > 0 ? STATUS(OK) : up_disks_prepare(&up->options, &up->dir, &up->disks);
    int exit_status = status_is(st, STATUS_INVALID) ? COMMAND_USAGE : COMMAND_FAILED;
    if (status_ok(st)) {
        block_signals(&signals);
        rpc_library_init();
        exit_status = run(up, &signals);
        rpc_library_fini();
    }
    up_dir_close(&up->dir);
    return exit_status;
}

static int run_command(int argc, char **argv,
                       bool (*parse)(int argc, char **argv, struct up_options *out_options,
                                     int *out_exit))
{
    int exit_status = COMMAND_OK;
    struct up *up = calloc(1, sizeof *up);

    if (up == NULL)
        return cli_fail("%s", status_text(STATUS(NO_MEMORY)));
    if (parse(argc, argv, &up->options, &exit_status)) {
        up->argc = argc;
        up->argv = argv;
        up->log = (struct log) { .level = up->options.log_level, .sink = log_to_stderr };
        up->main_thread = pthread_self();
        raise_descriptors();
        exit_status = run_in_dir(up);
    }
    free(up);
    return exit_status;
}

int cmd_up(int argc, char **argv)
{
    return run_command(argc, argv, up_options_parse);
}

int cmd_node_run(int argc, char **argv)
{
    CLEANUP(up_config_free) struct up_config config;

    if (!status_ok(up_config_expand(&config, &argc, &argv)))
        return COMMAND_FAILED;
    return run_command(argc, argv, up_options_parse_node);
}
