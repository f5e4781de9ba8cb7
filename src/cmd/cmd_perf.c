/* SPDX-License-Identifier: Apache-2.0 */
/* `trilith perf`: one reactor, on this thread, and one run on it. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "cmd/perf_options.h"
#include "cmd/perf_report.h"
#include "cmd/perf_run.h"
#include "io/uring.h"

#define INTERRUPT_POLL_NS (100 * NS_PER_MS)

struct perf_command {
    struct perf_options options;
    struct reactor *reactor;
    struct perf_state *state; /* Of an existing verify-state file. */
    uint64_t verify_run;
    struct perf_run *run;
    struct io_timer interrupt_timer;
    bool show_progress;
    struct perf_stats last; /* At the last line of progress. */
    int exit_status;
};

/* Set by the signal handler, looked at by interrupt_timer. */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void log_sink(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    fprintf(stderr, "trilith: %s: %s\n", log_level_name(level), line);
}

static uint64_t process_cpu_ns(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_S +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * NS_PER_US;
}

/* ---- What the run reports ---- */

static void on_message(void *ctx, const char *line)
{
    const struct perf_command *p = ctx;

    if (p->show_progress)
        perf_report_progress_end();
    fprintf(stderr, "trilith: %s\n", line);
}

static void on_progress(void *ctx, const struct perf_stats *stats)
{
    struct perf_command *p = ctx;

    perf_report_progress(stats, &p->last);
    p->last = *stats;
}

static void on_ended(void *ctx, const struct perf_stats *stats, bool failed)
{
    struct perf_command *p = ctx;
    const bool bad = failed || stats->errors > 0 || stats->verify.blocks_wrong > 0;

    if (p->show_progress)
        perf_report_progress_end();
    if (stats->elapsed_ns > 0)
        perf_report(&p->options, stats, bad);
    p->exit_status = bad ? COMMAND_FAILED : COMMAND_OK;
    io_timer_disarm(&p->interrupt_timer);
    reactor_stop(p->reactor);
}

static void on_interrupt_timer(struct io_timer *timer)
{
    struct perf_command *p = CONTAINER_OF(timer, struct perf_command, interrupt_timer);

    if (interrupted) {
        perf_run_stop(p->run);
        return;
    }
    io_timer_arm(timer, p->reactor, reactor_now_ns(p->reactor) + INTERRUPT_POLL_NS);
}

/* ---- Identities ---- */

static struct status MUST_CHECK random_bytes(void *to, size_t bytes)
{
    return getrandom(to, bytes, 0) == (ssize_t)bytes ? STATUS(OK) : status_from_errno(errno);
}

/*
 * The host that we say we are.  With a verify state it is the same in every run: then the target
 * ends what a killed predecessor left behind before it answers us.
 */
static struct uuid make_host_id(const struct perf_command *p)
{
    uint8_t bytes[16];

    memcpy(bytes, &p->verify_run, 8);
    memcpy(bytes + 8, &p->options.seed, 8);
    return uuid_from_random(bytes);
}

/* Opens the verify-state file if there is one; chooses run and seed if there is none. */
static struct status MUST_CHECK take_identities(struct perf_command *p)
{
    struct perf_options *o = &p->options;

    TRY(random_bytes(&p->verify_run, sizeof p->verify_run));
    if (!o->has_seed)
        TRY(random_bytes(&o->seed, sizeof o->seed));
    if (o->verify_state == NULL)
        return STATUS(OK);
    const struct status st = perf_state_open_file(o->verify_state, &p->state);
    if (status_is(st, STATUS_NOT_FOUND))
        return STATUS(OK);
    TRY(st);

    const struct perf_state_id *id = perf_state_id(p->state);
    p->verify_run = id->block_id.run;
    o->seed = id->seed;
    if (!o->has_range) {
        o->offset = id->first_block * PERF_BLOCK_BYTES;
        o->size = id->block_count * PERF_BLOCK_BYTES;
    }
    return STATUS(OK);
}

static struct initiator_endpoint make_endpoint(const struct perf_command *p)
{
    const struct perf_options *o = &p->options;
    struct initiator_endpoint e = {
        .addr = o->to,
        .subsystem_nqn = o->subsystem_nqn,
        .host_id = make_host_id(p),
        .header_digest = o->digests,
        .data_digest = o->digests,
        .connect_timeout_ns = o->timeout_ns,
        .command_timeout_ns = o->timeout_ns,
    };

    if (o->host_nqn != NULL)
        (void)snprintf(e.host_nqn.s, sizeof e.host_nqn.s, "%s", o->host_nqn);
    else
        (void)snprintf(e.host_nqn.s, sizeof e.host_nqn.s, "nqn.2014-08.org.nvmexpress:uuid:%s",
                       uuid_format(e.host_id).s);
    return e;
}

/* ---- The run ---- */

static struct status MUST_CHECK make_run(struct perf_command *p, struct log *log)
{
    const struct perf_options *o = &p->options;
    const struct perf_run_config config = {
        .reactor = p->reactor,
        .log = log,
        .endpoint = make_endpoint(p),
        .connections = o->connections,
        .depth = o->depth,
        .reconnect_ns = o->reconnect_ns,
        .rw = o->rw,
        .read_percent = o->read_percent,
        .io_bytes = o->block_bytes,
        .range_offset = o->offset,
        .range_bytes = o->size,
        .time_ns = o->time_ns,
        .bytes_max = o->bytes,
        .fua = o->fua,
        .flush_every = o->flush_every,
        .seed = o->seed,
        .verify = o->verify,
        .power_loss = o->power_loss,
        .verify_run = p->verify_run,
        .state = p->state,
        .state_path = o->verify_state,
        .ctx = p,
        .cpu_ns = process_cpu_ns,
        .message = on_message,
        .progress = p->show_progress ? on_progress : NULL,
        .ended = on_ended,
    };

    return perf_run_create(&config, &p->run);
}

static int run_on_reactor(struct perf_command *p, struct log *log)
{
    const struct status st = make_run(p, log);

    if (!status_ok(st))
        return cli_fail("cannot start: %s", status_text(st));
    io_timer_init(&p->interrupt_timer, on_interrupt_timer);
    io_timer_arm(&p->interrupt_timer, p->reactor, reactor_clock_ns(p->reactor));
    perf_run_start(p->run);
    reactor_run(p->reactor);
    perf_run_destroy(p->run);
    return p->exit_status;
}

static int run(struct perf_command *p)
{
    struct log log = { .level = LOG_LEVEL_WARNING, .sink = log_sink };
    const struct uring_config uring = { .spin_ns = p->options.spin_ns,
                                        .features_mask = p->options.io_features_mask,
                                        .log = &log };

    struct status st = take_identities(p);
    if (!status_ok(st))
        return cli_fail("verify state '%s': %s", p->options.verify_state, status_text(st));
    if (p->state == NULL && p->options.verify_state != NULL && !perf_rw_writes(p->options.rw))
        return cli_fail("verify state '%s': there is no such file, and reading makes none",
                        p->options.verify_state);
    st = uring_reactor_create(&uring, &p->reactor);
    if (!status_ok(st))
        return cli_fail("io_uring: %s", status_text(st));

    const int exit_status = run_on_reactor(p, &log);
    reactor_destroy(p->reactor);
    return exit_status;
}

/* Without --to, asks the API where the volume is. */
static bool find_target(struct cli_args *args, struct perf_options *o)
{
    struct volume_name name;
    struct api_volume volume;

    if (o->has_to)
        return true;
    if (!status_ok(nqn_parse_volume(o->subsystem_nqn.s, &name))) {
        (void)cli_usage(args, "--to is missing: the API knows no subsystem '%s'", o->volume);
        return false;
    }
    args->exit_status = COMMAND_FAILED;
    if (!api_find_volume(o->api, name.s, &volume))
        return false;
    o->to = volume.address;
    o->subsystem_nqn = volume.nqn;
    return true;
}

static void catch_signals(void)
{
    const struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

int cmd_perf(int argc, char **argv)
{
    struct perf_command *p = calloc(1, sizeof *p);
    struct cli_args args;

    if (p == NULL)
        return cli_fail("out of memory");
    int exit_status;
    if (!perf_options_parse(argc, argv, &args, &p->options)) {
        exit_status = args.exit_status;
    } else if (!find_target(&args, &p->options)) {
        exit_status = args.exit_status;
    } else {
        catch_signals();
        p->show_progress = isatty(STDERR_FILENO) != 0;
        exit_status = run(p);
    }
    perf_state_close(p->state);
    free(p);
    return exit_status;
}
