/* SPDX-License-Identifier: Apache-2.0 */
#include "serve.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "io/uring.h"

static struct serve *served; /* For the signals' handlers, which are given nothing. */

/* Stopping and posting are a few atomics and a write(): safe in a handler. */
static void on_stop(int number)
{
    (void)number;
    reactor_stop(served->reactor);
}

static void on_report(int number)
{
    (void)number;
    if (!atomic_exchange(&served->reporting, true))
        reactor_post(served->reactor, &served->report);
}

static void report(struct io_msg *msg)
{
    struct serve *const s = CONTAINER_OF(msg, struct serve, report);
    const struct reactor_stats *const stats = &s->reactor->stats;
    struct rusage usage;
    uint64_t device_writes = 0;

    getrusage(RUSAGE_SELF, &usage);
    const int64_t cpu_us = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    for (unsigned i = 0; i < s->device_count; i++)
        device_writes += *s->device_writes[i];
    printf("{\"ops\": %" PRIu64 ", \"turns\": %" PRIu64 ", \"sleeps\": %" PRIu64
           ", \"syscalls\": %" PRIu64 ", \"cpu_us\": %" PRId64 ", \"device_writes\": %" PRIu64
           "}\n",
           stats->ops, stats->turns, stats->sleeps, stats->syscalls, cpu_us, device_writes);
    fflush(stdout);
    atomic_store(&s->reporting, false);
}

static void log_to_stderr(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

void serve_check(struct status st, const char *what)
{
    if (status_ok(st))
        return;
    fprintf(stderr, "%s: %s\n", what, status_text(st));
    exit(1);
}

static uint64_t spin_parse(const char *text)
{
    if (strcmp(text, "off") == 0)
        return URING_SPIN_OFF;
    if (strcmp(text, "auto") == 0)
        return URING_SPIN_AUTO;
    return strtoull(text, NULL, 10) * NS_PER_US;
}

void serve_init(struct serve *s, int argc, char **argv)
{
    static struct log log = { .level = LOG_LEVEL_WARNING, .sink = log_to_stderr };
    struct uring_config config = { .log = &log };
    const char *address = "127.0.0.1:0";

    *s = (struct serve) { .report.deliver = report };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--spin") == 0 && i + 1 < argc)
            config.spin_ns = spin_parse(argv[++i]);
        else if (strcmp(argv[i], "--disks") == 0 && i + 1 < argc)
            s->folder = argv[++i];
        else
            address = argv[i];
    }
    serve_check(io_addr_parse(address, 0, &s->listen), address);
    serve_check(uring_reactor_create(&config, &s->reactor), "the reactor");
    served = s;
    (void)signal(SIGTERM, on_stop);
    (void)signal(SIGINT, on_stop);
    (void)signal(SIGUSR1, on_report);
}

void serve_listening(const struct io_addr *bound)
{
    printf("listening on %s\n", io_addr_format(bound).s);
    fflush(stdout);
}

void serve_run(struct serve *s)
{
    reactor_run(s->reactor);
}
